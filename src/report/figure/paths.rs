//! The figure of the dominant paths: where they run, and the response field along them.

use super::FigureError;
use super::axis::{Axis, Plot, Scale};
use super::color::{color_bar, ordered};
use super::diagnostic::Diagnostic;
use super::panel::QUIET;
use super::scene::{Align, Bar, Scene, Text};
use super::sweep::{fitting, plain};
use crate::report::format::{real, significant};
use crate::report::paths::{DOMINANT_PATHS, DominantPaths, PathReport};
use crate::report::result::CaseResult;

const WIDTH: f64 = 3800.0;
const TITLE: f64 = 68.0;
const LABEL: f64 = 66.0;
const TICK_LABEL: f64 = 60.0;
const NOTE: f64 = 50.0;
/// Left and right end of both frames; they share the axis of times.
const FRAME: (f64, f64) = (330.0, 2950.0);
const TOP: f64 = 280.0;
const UPPER: f64 = 1150.0;
const BETWEEN: f64 = 70.0;
const LOWER: f64 = 800.0;
/// Left and right end of the colour bar, and the right margin.
const BAR: (f64, f64) = (3060.0, 3150.0);
const MARGIN: f64 = 60.0;
const LINE_WIDTH: f64 = 10.0;

/// Lays the figure out; none when the case holds no paths.
pub(super) fn scene(case: &CaseResult, title: &str) -> Result<Option<Scene>, FigureError> {
    let Some(found) = read(case)? else {
        return Ok(None);
    };
    let times = &found.times;
    let of_times = Axis::of_times(times[0], times[times.len() - 1]);
    let x = found.paths.iter().flat_map(|p| p.x.iter().copied());
    let response = found.paths.iter().flat_map(|p| p.response.iter().copied());
    let upper = Plot {
        left: FRAME.0,
        top: TOP,
        width: FRAME.1 - FRAME.0,
        height: UPPER,
        x: of_times,
        y: Axis::covering(x),
    };
    let lower = Plot {
        top: upper.bottom() + BETWEEN,
        height: LOWER,
        y: Axis::covering_orders(response),
        ..upper
    };
    let mut scene = Scene::new(WIDTH, lower.bottom() + 250.0);
    let most = found.paths.iter().map(|p| p.action).fold(0.0, f64::max);
    let actions = Axis {
        scale: Scale::Linear,
        ends: (0.0, if most > 0.0 { most } else { 1.0 }),
    };
    zero_line(&mut scene, &lower);
    for path in in_order_of_paint(&found.paths) {
        let color = ordered(actions.fraction(path.action));
        for (plot, times, values) in [
            (&upper, times.as_slice(), &path.x),
            (&lower, &times[..times.len() - 1], &path.response),
        ] {
            scene.line(&plot.points(times, values), color, LINE_WIDTH, &[]);
        }
    }
    upper.frame(&mut scene);
    lower.frame(&mut scene);
    upper.ticks(&mut scene, TICK_LABEL, false);
    lower.ticks(&mut scene, TICK_LABEL, true);
    heading(
        &mut scene,
        title,
        "dominant paths, from their start x_T to their end x_0",
    )?;
    labels(&mut scene, &upper, &lower);
    let bar = Bar {
        left: BAR.0,
        right: BAR.1,
        top: upper.top + 90.0,
        bottom: upper.bottom(),
    };
    color_bar(&mut scene, bar, &actions, ordered, TICK_LABEL);
    scene.text(plain(
        "action S".to_owned(),
        (BAR.0, upper.top + 50.0),
        LABEL,
    ));
    notes(&mut scene, &lower, &found.paths)?;
    Ok(Some(scene))
}

fn read(case: &CaseResult) -> Result<Option<DominantPaths>, FigureError> {
    let key = Diagnostic(DOMINANT_PATHS);
    let Some(found) = key.read::<DominantPaths>(case)? else {
        return Ok(None);
    };
    if found.paths.is_empty() {
        return Ok(None);
    }
    key.times("times", &found.times)?;
    let steps = found.times.len() - 1;
    for (i, path) in found.paths.iter().enumerate() {
        key.numbers(&format!("paths[{i}].x"), &path.x, steps + 1)?;
        key.numbers(&format!("paths[{i}].response"), &path.response, steps)?;
        let ends = [path.start, path.end, path.action];
        key.numbers(&format!("paths[{i}]"), &ends, ends.len())?;
        if path.action < 0.0 {
            return Err(key.malformed(format!("paths[{i}].action is {}, below 0", path.action)));
        }
    }
    Ok(Some(found))
}

/// The likely paths last, over the others.
fn in_order_of_paint(paths: &[PathReport]) -> Vec<&PathReport> {
    let mut order: Vec<&PathReport> = paths.iter().collect();
    order.sort_by(|a, b| b.action.total_cmp(&a.action));
    order
}

fn zero_line(scene: &mut Scene, plot: &Plot) {
    let y = plot.y_at(0.0);
    scene.line(&[(plot.left, y), (plot.right(), y)], QUIET, 3.0, &[]);
}

/// The title as over the densities, and under it what is drawn.
pub(super) fn heading(scene: &mut Scene, title: &str, what: &str) -> Result<(), FigureError> {
    let room = WIDTH - FRAME.0 - MARGIN;
    let em = fitting(title, TITLE, room)?;
    scene.text(plain(title.to_owned(), (FRAME.0, 110.0), em));
    scene.text(Text {
        color: QUIET,
        ..plain(
            what.to_owned(),
            (FRAME.0, 210.0),
            fitting(what, TICK_LABEL, room)?,
        )
    });
    Ok(())
}

fn labels(scene: &mut Scene, upper: &Plot, lower: &Plot) {
    let asinh = match lower.y.scale {
        Scale::Asinh(width) => format!("θ  (asinh(θ/{}))", real(width)),
        _ => "θ".to_owned(),
    };
    upward(scene, "x".to_owned(), upper);
    upward(scene, format!("response {asinh}"), lower);
    time_label(scene, lower);
}

/// The name of a frame's vertical axis.
pub(super) fn upward(scene: &mut Scene, content: String, plot: &Plot) {
    scene.text(Text {
        align: Align::Centre,
        upwards: true,
        ..plain(content, (95.0, plot.top + 0.5 * plot.height), LABEL)
    });
}

/// The name of a horizontal axis of times.
pub(super) fn time_label(scene: &mut Scene, plot: &Plot) {
    let scale = match plot.x.scale {
        Scale::Log => ", log scale",
        _ => "",
    };
    let content = format!("time t, from t_max at the left to t_min at the right{scale}");
    let at = (plot.left + 0.5 * plot.width, plot.bottom() + 200.0);
    scene.text(Text {
        align: Align::Centre,
        ..plain(content, at, LABEL)
    });
}

/// Beside the lower frame: what the colours mean, and the extremes.
fn notes(scene: &mut Scene, lower: &Plot, paths: &[PathReport]) -> Result<(), FigureError> {
    let [least, most] = [f64::min, f64::max].map(|of| {
        let actions = paths.iter().map(|p| p.action);
        significant(actions.reduce(of).unwrap_or(0.0), 3)
    });
    let count = match paths.len() {
        1 => "1 path".to_owned(),
        n => format!("{n} paths"),
    };
    let lines = [
        count,
        format!("S from {least}"),
        format!("to {most}"),
        String::new(),
        "S = |η|²/2 of the".to_owned(),
        "fluctuation η of the".to_owned(),
        "weights: exp(−S)".to_owned(),
        "times as likely as".to_owned(),
        "the mean path, but".to_owned(),
        "for the fluctuations".to_owned(),
        "around it".to_owned(),
    ];
    for (line, content) in lines.into_iter().enumerate() {
        let em = fitting(&content, NOTE, WIDTH - BAR.0 - MARGIN)?;
        let y = lower.top + NOTE + 1.4 * NOTE * line as f64;
        scene.text(Text {
            color: QUIET,
            ..plain(content, (BAR.0, y), em)
        });
    }
    Ok(())
}
