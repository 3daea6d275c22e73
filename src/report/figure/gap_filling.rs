//! The figure of what fills a gap: how the denoiser changes, which paths then end in the gap, and in which directions of the
//! weights the change lies.

use super::FigureError;
use super::axis::{Axis, Plot, Scale};
use super::color::{color_bar, diverging};
use super::curves::BLUE;
use super::diagnostic::Diagnostic;
use super::panel::{FRAME_WIDTH, QUIET, TICK, tick_below};
use super::scene::{Align, Bar, INK, Scene, Text, plain, upward};
use super::sheet::{
    FRAME, LABEL, MARGIN, TICK_LABEL, TOP, WIDTH, heading, time_label, vertical_label,
};
use super::sweep::fitting;
use crate::report::format::{significant, with_error};
use crate::report::paths::{Direction, GAP_FILLING, GapFillingReport};
use crate::report::result::CaseResult;

const NOTE: f64 = 56.0;
const MAP: f64 = 1300.0;
/// Under the map: the numbers and the name of its axis, and the heading of the bars.
const BETWEEN: f64 = 400.0;
const BARS: f64 = 520.0;
/// Right end of the bars, left end of the text beside them.
const BARS_END: f64 = 1950.0;
const TEXT: f64 = 2080.0;
/// Left and right end of the colour bar.
const BAR: (f64, f64) = (3240.0, 3330.0);
/// The map is drawn between its grid points, in this many pieces, and in this many colours on either side of white.
const PIECES: (usize, usize) = (4, 4);
const LEVELS: f64 = 24.0;

/// Lays the figure out; none when the case holds no gap, or no map of it.
pub(super) fn scene(case: &CaseResult, title: &str) -> Result<Option<Scene>, FigureError> {
    let Some(found) = read(case)? else {
        return Ok(None);
    };
    let positions = &found.positions;
    let all_times = || found.times.iter().chain(&found.path_times);
    let map = Plot {
        left: FRAME.0,
        top: TOP,
        width: FRAME.1 - FRAME.0,
        height: MAP,
        x: Axis::of_times(
            all_times().copied().fold(f64::NEG_INFINITY, f64::max),
            all_times().copied().fold(f64::INFINITY, f64::min),
        ),
        y: Axis {
            scale: Scale::Linear,
            ends: (positions[0], positions[positions.len() - 1]),
        },
    };
    let mut scene = Scene::new(WIDTH, map.bottom() + BETWEEN + BARS + 260.0);
    let values = Axis::up_to(found.denoiser_change.iter().flatten().copied(), true);
    heat(&mut scene, &map, &found, &values);
    edges(&mut scene, &map, &found);
    map.frame(&mut scene);
    map.ticks(&mut scene, TICK_LABEL, true);
    gap(&mut scene, &map, &found);
    let what = format!(
        "what fills the gap from {} to {}: the most likely fluctuation of the training set",
        significant(found.low, 3),
        significant(found.high, 3)
    );
    heading(&mut scene, title, &what)?;
    vertical_label(&mut scene, "x", &map)?;
    time_label(&mut scene, &map);
    scale(&mut scene, &map, &values);
    let top = map.bottom() + BETWEEN;
    directions(&mut scene, top, &found.directions)?;
    account(&mut scene, top, &found)?;
    Ok(Some(scene))
}

fn read(case: &CaseResult) -> Result<Option<GapFillingReport>, FigureError> {
    let key = Diagnostic(GAP_FILLING);
    let Some(found) = key.read::<GapFillingReport>(case)? else {
        return Ok(None);
    };
    if found.denoiser_change.is_empty() && found.times.is_empty() {
        return Ok(None);
    }
    key.times("times", &found.times)?;
    let positions = &found.positions;
    key.numbers("positions", positions, positions.len())?;
    if positions.len() < 2 || positions.windows(2).any(|x| x[1] <= x[0]) {
        return Err(key.malformed("positions do not increase over two or more values".to_owned()));
    }
    if found.denoiser_change.len() != found.times.len() {
        return Err(key.malformed(format!(
            "denoiser_change has {} rows, where there are {} times",
            found.denoiser_change.len(),
            found.times.len()
        )));
    }
    for (i, row) in found.denoiser_change.iter().enumerate() {
        key.numbers(&format!("denoiser_change[{i}]"), row, positions.len())?;
    }
    if !found.path_times.is_empty() {
        key.times("path_times", &found.path_times)?;
    }
    for (i, edge) in found.edges.iter().enumerate() {
        key.numbers(&format!("edges[{i}]"), edge, found.path_times.len())?;
    }
    for d in &found.directions {
        let numbers = [d.standard_deviation, d.deviations, d.share];
        key.numbers("a direction", &numbers, numbers.len())?;
    }
    let numbers = [
        found.low,
        found.high,
        found.probability,
        found.standard_error,
        found.action,
        found.filled,
        found.unfilled,
    ];
    key.numbers("the account", &numbers, numbers.len())?;
    if found.low >= found.high {
        return Err(key.malformed(format!(
            "the gap from {} to {} is empty",
            found.low, found.high
        )));
    }
    Ok(Some(found))
}

/// The map, interpolated between its grid points; neighbours of one colour are one rectangle.
fn heat(scene: &mut Scene, map: &Plot, found: &GapFillingReport, values: &Axis) {
    let times = refined(&found.times, PIECES.0, |t| map.x_at(t));
    let positions = refined(&found.positions, PIECES.1, |x| map.y_at(x));
    for (j, row, (bottom, top)) in &positions {
        let level = |i: usize, column: f64| {
            let at = |i: usize| {
                let values = &found.denoiser_change[i];
                values[*j] + row * (values[j + 1] - values[*j])
            };
            let value = at(i) + column * (at(i + 1) - at(i));
            (2.0 * values.fraction(value) - 1.0) * LEVELS
        };
        let runs = times
            .chunk_by(|a, b| level(a.0, a.1).round() == level(b.0, b.1).round())
            .filter_map(|run| {
                let (first, last) = (run.first()?, run.last()?);
                let level = level(first.0, first.1).round();
                // White is the paper.
                (level != 0.0).then_some((level, first.2.0, last.2.1))
            });
        for (level, left, right) in runs {
            let bar = Bar {
                left,
                right,
                top: *top,
                bottom: *bottom,
            };
            scene.steps(vec![bar], diverging(0.5 + 0.5 * level / LEVELS), 1.0);
        }
    }
}

/// Cuts each interval of a grid into pieces: index of the interval, place of the piece's middle in it, its two ends in the
/// scene.
fn refined(grid: &[f64], pieces: usize, at: impl Fn(f64) -> f64) -> Vec<(usize, f64, (f64, f64))> {
    let cut = |i: usize, k: f64| {
        let [a, b] = [grid[i], grid[i + 1]].map(&at);
        // On the paper's scale, which may be logarithmic; whole units, so that neighbours meet.
        (a + k / pieces as f64 * (b - a)).round()
    };
    (0..grid.len() - 1)
        .flat_map(|i| (0..pieces).map(move |k| (i, k as f64)))
        .map(|(i, k)| {
            let ends = (cut(i, k), cut(i, k + 1.0));
            (i, (k + 0.5) / pieces as f64, ends)
        })
        .collect()
}

/// The two paths that end at the gap's edges.
fn edges(scene: &mut Scene, map: &Plot, found: &GapFillingReport) {
    for edge in &found.edges {
        scene.line(&map.points(&found.path_times, edge), INK, 11.0, &[]);
    }
}

/// A bracket to the right of the map.
fn gap(scene: &mut Scene, map: &Plot, found: &GapFillingReport) {
    let [low, high] = [found.low, found.high].map(|x| map.y_at(x));
    let (near, far) = (map.right() + 20.0, map.right() + 55.0);
    let bracket = [(near, high), (far, high), (far, low), (near, low)];
    scene.line(&bracket, INK, 11.0, &[]);
    let at = (far + 25.0, 0.5 * (low + high) + 0.36 * TICK_LABEL);
    scene.text(plain("gap".to_owned(), at, TICK_LABEL));
}

fn scale(scene: &mut Scene, map: &Plot, values: &Axis) {
    let bar = Bar {
        left: BAR.0,
        right: BAR.1,
        top: map.top,
        bottom: map.bottom(),
    };
    color_bar(scene, bar, values, diverging, TICK_LABEL);
    let beside = (BAR.1 + 380.0, map.top + 0.5 * map.height);
    upward(scene, "change of the denoiser", beside, LABEL);
}

/// Bars of the principal directions, by their share.
fn directions(scene: &mut Scene, top: f64, all: &[Direction]) -> Result<(), FigureError> {
    if all.is_empty() {
        return Ok(());
    }
    let deviations = all.iter().map(|d| d.deviations);
    let plot = Plot {
        left: FRAME.0,
        top,
        width: BARS_END - FRAME.0,
        height: BARS,
        x: Axis {
            scale: Scale::Linear,
            ends: (0.0, all.len() as f64),
        },
        y: Axis::covering(deviations.chain([0.0])),
    };
    let zero = plot.y_at(0.0);
    for (i, direction) in all.iter().enumerate() {
        let [left, middle, right] = [0.18, 0.5, 0.82].map(|f| plot.x_at(i as f64 + f));
        let end = plot.y_at(direction.deviations);
        let bar = Bar {
            left,
            right,
            top: end.min(zero),
            bottom: end.max(zero),
        };
        scene.steps(vec![bar], BLUE, 0.8);
        let label = direction.rank.to_string();
        let em = fitting(&label, TICK_LABEL, 0.9 * plot.width / all.len() as f64)?;
        tick_below(scene, (middle, plot.bottom()), label, em);
    }
    scene.line(
        &[(plot.left, zero), (plot.right(), zero)],
        INK,
        FRAME_WIDTH,
        &[],
    );
    plot.frame(scene);
    plot.y_ticks(scene, TICK_LABEL);
    vertical_label(scene, "std. deviations", &plot)?;
    let below = plot.bottom() + TICK + 2.9 * TICK_LABEL;
    let share: f64 = all.iter().map(|d| d.share).sum();
    let name = "principal direction of Cov(W), 1 = largest variance";
    scene.text(Text {
        align: Align::Centre,
        ..plain(
            name.to_owned(),
            (0.5 * (plot.left + plot.right()), below),
            NOTE,
        )
    });
    let over = format!(
        "the fluctuation along its main directions, {} % of |η|²",
        significant(100.0 * share, 2)
    );
    let em = fitting(&over, NOTE, plot.width)?;
    scene.text(Text {
        color: QUIET,
        ..plain(over, (plot.left, top - 35.0), em)
    });
    Ok(())
}

/// What the gap's probability is, beside the bars.
fn account(scene: &mut Scene, top: f64, found: &GapFillingReport) -> Result<(), FigureError> {
    let rows = [
        (
            "probability over models",
            with_error(found.probability, found.standard_error),
        ),
        ("   in the mean model", significant(found.unfilled, 3)),
        ("   with the fluctuation", significant(found.filled, 3)),
        ("action |η|²/2", significant(found.action, 3)),
    ];
    let line = 1.75 * NOTE;
    for (i, (name, value)) in rows.into_iter().enumerate() {
        let y = top + NOTE + line * i as f64;
        let room = WIDTH - MARGIN - TEXT - 780.0;
        let em = fitting(&value, NOTE, room)?;
        scene.text(plain(name.to_owned(), (TEXT, y), NOTE));
        scene.text(plain(value, (TEXT + 780.0, y), em));
    }
    let y = top + NOTE + line * 4.4;
    scene.line(
        &[(TEXT, y - 0.3 * NOTE), (TEXT + 130.0, y - 0.3 * NOTE)],
        INK,
        11.0,
        &[],
    );
    scene.text(Text {
        color: QUIET,
        ..plain(
            "paths that then end at the edges of the gap".to_owned(),
            (TEXT + 165.0, y),
            NOTE,
        )
    });
    Ok(())
}
