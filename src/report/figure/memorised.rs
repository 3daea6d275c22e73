//! The figure of the memorised fraction against a swept number, predicted beside trained, with the standard errors of both; a
//! panel for every combination of the other swept values.

use std::collections::{BTreeMap, BTreeSet};

use super::FigureError;
use super::axis::{Axis, Plot};
use super::curves::{BLUE, ORANGE};
use super::panel::QUIET;
use super::scene::{Align, INK, Scene, Text, plain, text_width, upward};
use super::segments::is_drawable;
use super::sweep::{fitting, short_names, swept_values};
use crate::report::format::{swept_value, value_order};
use crate::report::result::{CaseResult, MEMORISED, MONTE_CARLO, Measured, PF_ODE, RunResult};

/// Panels in a line.
const LINE: usize = 3;
const LABEL: f64 = 62.0;
const TICK_LABEL: f64 = 52.0;
const LEFT: f64 = 300.0;
const TOP: f64 = 330.0;
/// Between panels: the numbers of the vertical axis of the right one.
const GAP: f64 = 200.0;
const ROW_GAP: f64 = 330.0;
const WIDTH: f64 = 1300.0;
/// Of a single panel.
const WIDEST: f64 = 2100.0;
const HEIGHT: f64 = 850.0;
const MARGIN: f64 = 110.0;
const BOTTOM: f64 = 330.0;
const SAMPLE: f64 = 160.0;
/// Half of an error bar, in standard errors, and half the width of its ends.
const ERRORS: f64 = 2.0;
const CAP: f64 = 16.0;

/// Lays the figure out; none unless the fraction is known over two or more values of a swept number.
pub(super) fn scenes(result: &RunResult) -> Result<Vec<Scene>, FigureError> {
    let cases: Vec<&CaseResult> = result
        .cases
        .iter()
        .filter(|case| case.number(MEMORISED).is_some())
        .collect();
    let Some(key) = swept_number(&cases) else {
        return Ok(Vec::new());
    };
    let keys: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| case.case.keys().map(String::as_str))
        .collect();
    let short = short_names(keys.iter().copied());
    let panels = panels(&cases, key, &short);
    Ok(vec![page(&panels, &short[key], super::run_name(result))?])
}

/// The key of numbers that takes the most values.
fn swept_number<'a>(cases: &[&'a CaseResult]) -> Option<&'a str> {
    swept_values(cases.iter().map(|case| &case.case))
        .into_iter()
        .filter(|(_, known)| known.iter().all(|v| v.is_number()))
        .max_by_key(|(_, known)| known.len())
        .map(|(key, _)| key)
}

/// One kind of density over the swept number.
#[derive(Default)]
struct Line {
    at: Vec<(f64, Measured)>,
}

struct Panel {
    name: String,
    exact: Line,
    predicted: Line,
    trained: Line,
}

fn panels(cases: &[&CaseResult], key: &str, short: &BTreeMap<String, String>) -> Vec<Panel> {
    let others = |case: &CaseResult| -> String {
        let values = case.case.iter().filter(|(k, _)| *k != key);
        let named = values.map(|(k, v)| format!("{} = {}", short[k], swept_value(v)));
        named.collect::<Vec<_>>().join(", ")
    };
    let mut sorted: Vec<&&CaseResult> = cases.iter().filter(|c| c.case.contains_key(key)).collect();
    sorted.sort_by(|a, b| value_order(&a.case[key], &b.case[key]));
    let mut panels: Vec<Panel> = Vec::new();
    for case in sorted {
        let name = others(case);
        let index = panels.iter().position(|p| p.name == name);
        let index = index.unwrap_or_else(|| {
            panels.push(Panel {
                name,
                exact: Line::default(),
                predicted: Line::default(),
                trained: Line::default(),
            });
            panels.len() - 1
        });
        let (Some(x), Some(number)) = (case.case[key].as_f64(), case.number(MEMORISED)) else {
            continue;
        };
        let panel = &mut panels[index];
        let sides = [
            (&mut panel.exact, Some(PF_ODE)),
            (&mut panel.predicted, case.leading()),
            (&mut panel.trained, Some(MONTE_CARLO)),
        ];
        for (line, density) in sides {
            let value = density.and_then(|name| number.values.get(name).copied());
            line.at.extend(value.filter(is_drawable).map(|v| (x, v)));
        }
    }
    panels
}

fn page(panels: &[Panel], key: &str, title: &str) -> Result<Scene, FigureError> {
    let columns = panels.len().min(LINE) as f64;
    let rows = panels.len().div_ceil(LINE) as f64;
    let panel_width = if panels.len() == 1 { WIDEST } else { WIDTH };
    let right = LEFT + columns * (panel_width + GAP) - GAP;
    let bottom = TOP + rows * (HEIGHT + ROW_GAP) - ROW_GAP;
    let width = right + MARGIN;
    let mut scene = Scene::new(width, bottom + BOTTOM);
    let em = fitting(title, LABEL, width - LEFT)?;
    scene.text(plain(title.to_owned(), (LEFT, 105.0), em));
    let lines = || {
        let of = |p: &Panel| [&p.exact, &p.predicted, &p.trained].map(|l| l.at.clone());
        panels.iter().flat_map(of).flatten()
    };
    let x = Axis::covering_numbers(lines().map(|(x, _)| x));
    let highest = lines().map(|(_, v)| v.value + ERRORS * v.se.unwrap_or(0.0));
    let y = Axis::up_to(highest.map(|v| 1.05 * v), false);
    for (index, panel) in panels.iter().enumerate() {
        let (row, column) = (index / LINE, index % LINE);
        let plot = Plot {
            left: LEFT + column as f64 * (panel_width + GAP),
            top: TOP + row as f64 * (HEIGHT + ROW_GAP),
            width: panel_width,
            height: HEIGHT,
            x,
            y,
        };
        for (line, look) in [
            (&panel.exact, EXACT),
            (&panel.trained, TRAINED),
            (&panel.predicted, PREDICTED),
        ] {
            line.draw(&mut scene, &plot, look);
        }
        plot.frame(&mut scene);
        plot.ticks(&mut scene, TICK_LABEL, true);
        let em = fitting(&panel.name, LABEL, panel_width)?;
        scene.text(plain(panel.name.clone(), (plot.left, plot.top - 30.0), em));
        scene.text(Text {
            align: Align::Centre,
            ..plain(
                key.to_owned(),
                (plot.left + 0.5 * panel_width, plot.bottom() + 165.0),
                LABEL,
            )
        });
        if column == 0 {
            let middle = plot.top + 0.5 * HEIGHT;
            upward(&mut scene, "memorised fraction", (95.0, middle), LABEL);
        }
    }
    legend(&mut scene, bottom + 265.0)?;
    Ok(scene)
}

#[derive(Clone, Copy)]
struct Look {
    name: &'static str,
    color: plotters::style::RGBColor,
    dashes: &'static [f64],
}

const EXACT: Look = Look {
    name: "exact score",
    color: INK,
    dashes: &[8.0, 18.0],
};
const TRAINED: Look = Look {
    name: "trained",
    color: ORANGE,
    dashes: &[],
};
const PREDICTED: Look = Look {
    name: "predicted",
    color: BLUE,
    dashes: &[54.0, 26.0],
};
const STROKE: f64 = 11.0;

impl Line {
    fn draw(&self, scene: &mut Scene, plot: &Plot, look: Look) {
        let places: Vec<(f64, f64)> = self
            .at
            .iter()
            .map(|(x, v)| (plot.x_at(*x), plot.y_at(v.value)))
            .collect();
        if places.len() > 1 {
            scene.line(&places, look.color, STROKE, look.dashes);
        }
        for ((x, v), place) in self.at.iter().zip(&places) {
            let Some(se) = v.se else {
                continue;
            };
            let x = plot.x_at(*x);
            let ends = [-ERRORS, ERRORS].map(|k| plot.y_at(v.value + k * se));
            scene.line(&ends.map(|y| (x, y)), look.color, STROKE, &[]);
            for y in ends {
                scene.line(&[(x - CAP, y), (x + CAP, y)], look.color, STROKE, &[]);
            }
            scene.disc(*place, 1.4 * STROKE, look.color);
        }
    }
}

fn legend(scene: &mut Scene, y: f64) -> Result<(), FigureError> {
    let mut x = LEFT;
    for look in [EXACT, TRAINED, PREDICTED] {
        let sample = [(x, y), (x + SAMPLE, y)];
        scene.line(&sample, look.color, STROKE, look.dashes);
        x += SAMPLE + 30.0;
        let at = (x, y + 0.36 * TICK_LABEL);
        scene.text(plain(look.name.to_owned(), at, TICK_LABEL));
        x += text_width(look.name, TICK_LABEL)? + 80.0;
    }
    let note = "bars: 2 standard errors".to_owned();
    let at = (x, y + 0.36 * TICK_LABEL);
    scene.text(Text {
        color: QUIET,
        ..plain(note, at, TICK_LABEL)
    });
    Ok(())
}
