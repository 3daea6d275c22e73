//! The figure of the dominant paths: where they run, and the response field along them.

use super::FigureError;
use super::axis::{Axis, Plot};
use super::color::{color_bar, ordered};
use super::diagnostic::Diagnostic;
use super::panel::QUIET;
use super::scene::{Bar, Scene, Text, plain, upward};
use super::sheet::{
    FRAME, LABEL, MARGIN, TICK_LABEL, TOP, WIDTH, heading, time_label, vertical_label,
};
use super::sweep::fitting;
use crate::density::DominantPath;
use crate::problem::Decisions;
use crate::report::format::significant;
use crate::report::paths::{DOMINANT_PATHS, DominantPaths};
use crate::report::result::{CaseResult, DECISIONS};

const NOTE: f64 = 50.0;
const UPPER: f64 = 1150.0;
const BETWEEN: f64 = 70.0;
const LOWER: f64 = 800.0;
/// Left and right end of the colour bar.
const BAR: (f64, f64) = (3080.0, 3170.0);
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
    let actions = Axis::up_to(found.paths.iter().map(|p| p.action), false);
    zero_line(&mut scene, &lower);
    decisions(&mut scene, &upper, &lower, case)?;
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
    vertical_label(&mut scene, "x", &upper)?;
    vertical_label(&mut scene, "response field θ (asinh scale)", &lower)?;
    time_label(&mut scene, &lower);
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
fn in_order_of_paint(paths: &[DominantPath]) -> Vec<&DominantPath> {
    let mut order: Vec<&DominantPath> = paths.iter().collect();
    order.sort_by(|a, b| b.action.total_cmp(&a.action));
    order
}

fn zero_line(scene: &mut Scene, plot: &Plot) {
    let y = plot.y_at(0.0);
    scene.line(&[(plot.left, y), (plot.right(), y)], QUIET, 3.0, &[]);
}

/// Upright lines where the reverse process decides for a class, and for a training point.
fn decisions(
    scene: &mut Scene,
    upper: &Plot,
    lower: &Plot,
    case: &CaseResult,
) -> Result<(), FigureError> {
    let Some(found) = Diagnostic(DECISIONS).read::<Decisions>(case)? else {
        return Ok(());
    };
    for (time, name) in [
        (found.speciation, "speciation"),
        (found.collapse, "collapse"),
    ] {
        let Some(x) = time.map(|t| upper.x_at(t)).filter(|x| x.is_finite()) else {
            continue;
        };
        if !(upper.left..=upper.right()).contains(&x) {
            continue;
        }
        for plot in [upper, lower] {
            let line = [(x, plot.top), (x, plot.bottom())];
            scene.line(&line, QUIET, 4.0, &[12.0, 18.0]);
        }
        upward(scene, name, (x - NOTE, upper.bottom() - 3.0 * NOTE), NOTE);
    }
    Ok(())
}

/// Beside the lower frame: what the colours mean, and the extremes.
fn notes(scene: &mut Scene, lower: &Plot, paths: &[DominantPath]) -> Result<(), FigureError> {
    let [least, most] = [f64::min, f64::max].map(|of| {
        let actions = paths.iter().map(|p| p.action);
        significant(actions.reduce(of).unwrap_or(0.0), 3)
    });
    let lines = match paths.len() {
        1 => ["1 path".to_owned(), format!("S is {least}")],
        n => [format!("{n} paths"), format!("S from {least} to {most}")],
    };
    let meaning = [
        "",
        "S = |η|²/2: a path is",
        "exp(−S) times as likely",
        "as the mean path, but for",
        "the fluctuations around it",
    ];
    let lines = lines.into_iter().chain(meaning.map(str::to_owned));
    for (line, content) in lines.enumerate() {
        let em = fitting(&content, NOTE, WIDTH - BAR.0 - MARGIN)?;
        let y = lower.top + NOTE + 1.4 * NOTE * line as f64;
        scene.text(Text {
            color: QUIET,
            ..plain(content, (BAR.0, y), em)
        });
    }
    Ok(())
}
