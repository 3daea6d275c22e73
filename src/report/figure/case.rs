//! The figure of one case: all densities in one frame, and beside it what they are and how well they agree.

use super::FigureError;
use super::curves::{Curve, Curves, Role};
use super::panel::{MARK, Panel, QUIET, legend_sample};
use super::scene::{Align, INK, Scene, Text, text_width, upward};
use crate::report::format::significant;
use crate::report::result::CaseResult;

const NARROWEST: f64 = 3800.0;
const TITLE: f64 = 68.0;
const LABEL: f64 = 66.0;
const TICK_LABEL: f64 = 60.0;
const NAME: f64 = 60.0;
const DETAIL: f64 = 48.0;
/// Left and right end of the frame, left end of the legend.
const FRAME: (f64, f64) = (290.0, 2780.0);
const FRAME_TOP: f64 = 270.0;
const LEGEND: f64 = 2880.0;
const SAMPLE: f64 = 230.0;
const ENTRY: f64 = 168.0;
const MARGIN: f64 = 60.0;
/// Room below the last entry for the annotation.
const NOTES: f64 = 330.0;
const SHORTEST_FRAME: f64 = 1660.0;

/// Lays the figure of one case out.
pub(super) fn scene(case: &CaseResult, curves: &Curves, title: &str) -> Result<Scene, FigureError> {
    let height = SHORTEST_FRAME.max(ENTRY * curves.curves.len() as f64 + NOTES);
    let panel = Panel {
        left: FRAME.0,
        top: FRAME_TOP,
        width: FRAME.1 - FRAME.0,
        height,
        x: (curves.edges[0], curves.edges[curves.edges.len() - 1]),
        y_max: curves.readable_height(),
        pen: 1.0,
    };
    let entries: Vec<Entry> = curves.curves.iter().map(|c| Entry::of(case, c)).collect();
    let width = width(&entries)?;
    let mut scene = Scene::new(width, FRAME_TOP + height + 260.0);
    panel.draw(&mut scene, curves);
    panel.x_ticks(&mut scene, TICK_LABEL, true);
    panel.y_ticks(&mut scene, TICK_LABEL, true);
    titles(&mut scene, &panel, title, width)?;
    let marked = spikes(&mut scene, &panel, curves)?;
    legend(&mut scene, &entries);
    notes(&mut scene, &panel, case, curves, marked);
    Ok(scene)
}

fn titles(scene: &mut Scene, panel: &Panel, title: &str, width: f64) -> Result<(), FigureError> {
    let middle = panel.left + 0.5 * panel.width;
    // Long sweeps have long titles; the figure does not grow with them.
    let room = width - panel.left - MARGIN;
    let em = TITLE * (room / text_width(title, TITLE)?.max(1.0)).min(1.0);
    scene.text(Text {
        content: title.to_string(),
        at: (panel.left, 110.0),
        em,
        color: INK,
        align: Align::Left,
        upwards: false,
    });
    scene.text(Text {
        content: "x".to_string(),
        at: (middle, panel.bottom() + 195.0),
        em: LABEL,
        color: INK,
        align: Align::Centre,
        upwards: false,
    });
    let middle = panel.top + 0.5 * panel.height;
    upward(scene, "probability density", (100.0, middle), LABEL);
    Ok(())
}

/// Marks the peaks above the frame, with their heights where there is room; whether there were any.
fn spikes(scene: &mut Scene, panel: &Panel, curves: &Curves) -> Result<bool, FigureError> {
    let spikes = panel.spikes(curves, 0.01 * panel.width);
    let mut free_from = f64::NEG_INFINITY;
    for spike in &spikes {
        scene.arrow_head((spike.x, panel.top - 44.0), 30.0, MARK);
        let content = significant(spike.peak, 3);
        let half = 0.5 * text_width(&content, DETAIL)?;
        if spike.x - half < free_from {
            continue;
        }
        free_from = spike.x + half + 0.4 * DETAIL;
        scene.text(Text {
            content,
            at: (spike.x, panel.top - 58.0),
            em: DETAIL,
            color: MARK,
            align: Align::Centre,
            upwards: false,
        });
    }
    Ok(!spikes.is_empty())
}

/// One curve in the legend.
struct Entry<'a> {
    curve: &'a Curve,
    /// The second line: what the curve is, or how far a prediction is from Monte Carlo.
    detail: String,
}

impl<'a> Entry<'a> {
    fn of(case: &CaseResult, curve: &'a Curve) -> Self {
        let mut parts = Vec::new();
        if curve.role != Role::Prediction {
            parts.push(curve.meaning());
        } else if let Some(comparison) = case.against_monte_carlo(&curve.name) {
            parts.push(format!("TV {}", significant(comparison.tv, 3)));
        } else {
            parts.push(curve.meaning());
        }
        if case.recommended.as_deref() == Some(curve.name.as_str()) {
            parts.push("recommended".to_string());
        }
        if let (Role::Prediction, Some(band)) = (curve.role, &curve.band) {
            parts.push(format!("dots {}", band.meaning));
        }
        Self {
            curve,
            detail: parts.join(", "),
        }
    }
}

const LEGEND_TEXT: f64 = LEGEND + SAMPLE + 40.0;

/// Width of the figure, as wide as the legend needs it.
fn width(entries: &[Entry]) -> Result<f64, FigureError> {
    let mut width = NARROWEST;
    for entry in entries {
        for (text, em) in [(&entry.curve.name, NAME), (&entry.detail, DETAIL)] {
            width = width.max(LEGEND_TEXT + text_width(text, em)? + MARGIN);
        }
    }
    Ok(width)
}

fn legend(scene: &mut Scene, entries: &[Entry]) {
    for (index, entry) in entries.iter().enumerate() {
        let y = FRAME_TOP + 40.0 + ENTRY * index as f64;
        legend_sample(scene, entry.curve, (LEGEND, y), SAMPLE);
        let below = 0.36 * NAME;
        for (content, em, color, baseline) in [
            (&entry.curve.name, NAME, INK, y + below),
            (&entry.detail, DETAIL, QUIET, y + below + 1.35 * DETAIL),
        ] {
            scene.text(Text {
                content: content.clone(),
                at: (LEGEND_TEXT, baseline),
                em,
                color,
                align: Align::Left,
                upwards: false,
            });
        }
    }
}

/// Below the legend, on the frame's foot: agreement of the leading prediction, and what the marks mean.
fn notes(scene: &mut Scene, panel: &Panel, case: &CaseResult, curves: &Curves, marked: bool) {
    let mut lines = Vec::new();
    let leading = curves.leading.as_deref();
    if let Some(comparison) = leading.and_then(|name| case.against_monte_carlo(name)) {
        lines.push(format!(
            "{} to {}:",
            comparison.predicted, comparison.reference
        ));
        lines.push(format!(
            "TV {}, noise floor {}",
            significant(comparison.tv, 3),
            significant(comparison.tv_floor, 3)
        ));
    }
    if marked {
        lines.push("▲ peak that leaves the frame".to_string());
    }
    for (above, content) in lines.into_iter().rev().enumerate() {
        scene.text(Text {
            content,
            at: (LEGEND, panel.bottom() - 8.0 - 1.45 * DETAIL * above as f64),
            em: DETAIL,
            color: QUIET,
            align: Align::Left,
            upwards: false,
        });
    }
}
