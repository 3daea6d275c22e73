//! The figure of a sweep: one panel per case on shared axes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::FigureError;
use super::curves::{Curve, Curves};
use super::panel::{MARK, Panel, QUIET, legend_sample};
use super::scene::{Align, INK, Scene, Text, plain, text_width, upward};
use crate::report::format::{significant, swept_value, value_order};
use crate::report::result::{CaseResult, RunResult};

/// The key of cases that have names instead of swept values.
const NAMED: &str = "case";
/// Panels in a line when the panels only run on, and the most columns that one swept key may give.
const WRAP: usize = 5;
const MOST_COLUMNS: usize = 8;
/// Rows of panels on one page.
const PAGE: usize = 10;

pub(super) const LABEL: f64 = 66.0;
pub(super) const TICK_LABEL: f64 = 58.0;
pub(super) const STRIP: f64 = 54.0;
pub(super) const LEFT: f64 = 290.0;
/// Right of the panels: the row labels.
const RIGHT: f64 = 150.0;
/// From one line of a row label to the next.
const LINE: f64 = 90.0;
const TOP: f64 = 190.0;
const GAP: f64 = 60.0;
/// Between rows: room for the strip over each panel.
const ROW_GAP: f64 = 120.0;
const SAMPLE: f64 = 200.0;
/// Widths of a panel: what the page is divided into, and its limits.
const PAGE_WIDTH: f64 = 4300.0;
const NARROWEST: f64 = 800.0;
const WIDEST: f64 = 1400.0;

/// Which case goes where.
#[derive(Debug, PartialEq)]
struct Grid {
    /// Index of the case in each place, row by row.
    rows: Vec<Vec<Option<usize>>>,
    /// Over the columns; empty when each panel has its own label.
    columns: Vec<String>,
    /// Beside the rows, one line per swept key; empty likewise.
    row_labels: Vec<Vec<String>>,
    /// Over each panel, by case; empty when rows and columns say it.
    own_labels: Vec<String>,
}

/// Lays a sweep out, page by page.
pub(super) fn scenes(result: &RunResult) -> Result<Vec<Scene>, FigureError> {
    let curves = result
        .cases
        .iter()
        .map(|case| Ok(Curves::of(case)?.essential()))
        .collect::<Result<Vec<_>, FigureError>>()?;
    let sheet = Sheet {
        cases: &result.cases,
        grid: grid(&result.cases)?,
        x: x_range(&curves),
        y_max: curves
            .iter()
            .map(Curves::readable_height)
            .fold(0.0, f64::max),
        curves,
        title: super::run_name(result).to_string(),
    };
    (0..sheet.grid.rows.len())
        .step_by(PAGE)
        .map(|first| sheet.page(first))
        .collect()
}

fn x_range(curves: &[Curves]) -> (f64, f64) {
    curves
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), c| {
            (low.min(c.edges[0]), high.max(c.edges[c.edges.len() - 1]))
        })
}

/// Arranges the cases by their swept values.
fn grid(cases: &[CaseResult]) -> Result<Grid, FigureError> {
    let values = swept_values(cases.iter().map(|case| &case.case));
    let short = short_names(values.keys().copied());
    // The key of most values gives the columns; among equals the last, as the eye reads.
    let column_key = values
        .iter()
        .max_by_key(|(_, values)| values.len())
        .map(|(key, values)| (*key, values.clone()));
    match column_key {
        Some((key, columns)) if values.len() > 1 && columns.len() <= MOST_COLUMNS => {
            Ok(crossed(cases, key, &columns, &short))
        }
        _ => wrapped(cases, &short),
    }
}

/// The distinct values of each key that varies.
pub(super) fn swept_values<'a>(
    cases: impl Iterator<Item = &'a BTreeMap<String, Value>>,
) -> BTreeMap<&'a str, Vec<&'a Value>> {
    let mut values: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (key, value) in cases.flatten() {
        let known = values.entry(key).or_default();
        if !known.contains(&value) {
            known.push(value);
        }
    }
    values.retain(|_, known| known.len() > 1);
    for known in values.values_mut() {
        known.sort_by(|a, b| value_order(a, b));
    }
    values
}

/// The last part of each key, where no other key shares it.
pub(super) fn short_names<'a>(
    keys: impl Iterator<Item = &'a str> + Clone,
) -> BTreeMap<String, String> {
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    keys.clone()
        .map(|key| {
            let shared = keys
                .clone()
                .filter(|other| last(other) == last(key))
                .count()
                > 1;
            let name = if shared { key } else { last(key) };
            (key.to_string(), name.to_string())
        })
        .collect()
}

fn label(case: &CaseResult, keys: &[&str], short: &BTreeMap<String, String>) -> Vec<String> {
    keys.iter()
        .filter_map(|key| {
            let value = case.case.get(*key)?;
            let value = swept_value(value);
            Some(match *key {
                NAMED => value,
                _ => format!("{} = {value}", short.get(*key)?),
            })
        })
        .collect()
}

fn crossed(
    cases: &[CaseResult],
    column_key: &str,
    columns: &[&Value],
    short: &BTreeMap<String, String>,
) -> Grid {
    let others: Vec<&str> = short
        .keys()
        .map(String::as_str)
        .filter(|key| *key != column_key)
        .collect();
    let of_row = |index: usize| -> Vec<Option<&Value>> {
        others
            .iter()
            .map(|key| cases[index].case.get(*key))
            .collect()
    };
    let mut firsts: Vec<usize> = Vec::new();
    for index in 0..cases.len() {
        if !firsts.iter().any(|first| of_row(*first) == of_row(index)) {
            firsts.push(index);
        }
    }
    firsts.sort_by(|a, b| {
        let pairs = of_row(*a).into_iter().zip(of_row(*b));
        pairs
            .map(|(a, b)| value_order(a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null)))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let place = |first: usize, column: &Value| {
        (0..cases.len()).find(|index| {
            of_row(*index) == of_row(first) && cases[*index].case.get(column_key) == Some(column)
        })
    };
    Grid {
        rows: firsts
            .iter()
            .map(|first| columns.iter().map(|column| place(*first, column)).collect())
            .collect(),
        columns: columns
            .iter()
            .map(|value| {
                let name = short.get(column_key).map_or(column_key, String::as_str);
                format!("{name} = {}", swept_value(value))
            })
            .collect(),
        row_labels: firsts
            .iter()
            .map(|first| label(&cases[*first], &others, short))
            .collect(),
        own_labels: Vec::new(),
    }
}

/// Panels in lines, as many in a line as leave room for what is written over each.
fn wrapped(cases: &[CaseResult], short: &BTreeMap<String, String>) -> Result<Grid, FigureError> {
    let keys: Vec<&str> = short.keys().map(String::as_str).collect();
    let order = |index: &usize| -> Vec<&Value> {
        keys.iter()
            .map(|key| cases[*index].case.get(*key).unwrap_or(&Value::Null))
            .collect()
    };
    let mut sorted: Vec<usize> = (0..cases.len()).collect();
    // Cases with names of their own stay in the order in which they were written.
    if !keys.contains(&NAMED) {
        sorted.sort_by(|a, b| {
            let pairs = order(a).into_iter().zip(order(b));
            pairs
                .map(|(a, b)| value_order(a, b))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    let own_labels: Vec<String> = cases
        .iter()
        .map(|case| label(case, &keys, short).join(", "))
        .collect();
    let mut widest: f64 = 0.0;
    for label in &own_labels {
        widest = widest.max(text_width(label, STRIP)?);
    }
    let columns = (1..=WRAP)
        .rev()
        .find(|columns| panel_width(*columns) >= widest)
        .unwrap_or(1);
    Ok(Grid {
        rows: sorted
            .chunks(columns)
            .map(|line| line.iter().copied().map(Some).collect())
            .collect(),
        columns: Vec::new(),
        row_labels: Vec::new(),
        own_labels,
    })
}

/// Width of each of so many panels in a line.
fn panel_width(columns: usize) -> f64 {
    let inner = PAGE_WIDTH - GAP * (columns as f64 - 1.0);
    (inner / columns as f64).clamp(NARROWEST, WIDEST)
}

/// All that the pages of one sweep share.
struct Sheet<'a> {
    cases: &'a [CaseResult],
    curves: Vec<Curves>,
    grid: Grid,
    x: (f64, f64),
    y_max: f64,
    title: String,
}

impl Sheet<'_> {
    fn page(&self, first: usize) -> Result<Scene, FigureError> {
        let rows = &self.grid.rows[first..self.grid.rows.len().min(first + PAGE)];
        let columns = rows.iter().map(Vec::len).max().unwrap_or(1);
        let width = panel_width(columns);
        let frame = Frame {
            width,
            height: 0.68 * width,
            top: TOP + self.heading(),
            row_gap: ROW_GAP
                + if self.grid.own_labels.is_empty() {
                    0.0
                } else {
                    1.3 * STRIP
                },
        };
        let bottom = frame.place(rows.len() - 1, 0).1 + frame.height;
        let right = frame.place(0, columns - 1).0 + frame.width;
        let lines = self.grid.row_labels.iter().map(Vec::len).max().unwrap_or(1);
        let beside = RIGHT + LINE * lines.saturating_sub(1) as f64;
        let page_width = (right + beside).max(3300.0);
        let (entries, legend_height) =
            legend(&self.curves, &self.notes(), bottom + 290.0, page_width)?;
        let mut scene = Scene::new(page_width, bottom + 290.0 + legend_height);
        for (row, places) in rows.iter().enumerate() {
            for (column, index) in places.iter().enumerate() {
                let Some(index) = index else { continue };
                // Nothing below: the panel carries the numbers of its column.
                let lowest = rows
                    .get(row + 1)
                    .and_then(|r| r.get(column))
                    .copied()
                    .flatten();
                self.panel(&mut scene, &frame, (row, column), *index, lowest.is_none());
            }
        }
        self.labels(&mut scene, &frame, first, rows.len(), (right, bottom))?;
        for entry in entries {
            entry.draw(&mut scene);
        }
        Ok(scene)
    }

    /// Height of the title over everything.
    fn heading(&self) -> f64 {
        if self.title.is_empty() { 0.0 } else { 110.0 }
    }

    fn panel(
        &self,
        scene: &mut Scene,
        frame: &Frame,
        (row, column): (usize, usize),
        index: usize,
        lowest: bool,
    ) {
        let (left, top) = frame.place(row, column);
        let panel = Panel {
            left,
            top,
            width: frame.width,
            height: frame.height,
            x: self.x,
            y_max: self.y_max,
            pen: frame.pen(),
        };
        let curves = &self.curves[index];
        panel.draw(scene, curves);
        panel.x_ticks(scene, TICK_LABEL, lowest);
        panel.y_ticks(scene, TICK_LABEL, column == 0);
        for spike in panel.spikes(curves, 0.02 * panel.width) {
            scene.arrow_head((spike.x, top + 8.0), 30.0, MARK);
        }
        let mut over = top - 20.0;
        if let Some(agreement) = agreement(&self.cases[index], curves) {
            scene.text(Text {
                color: QUIET,
                align: Align::Right,
                ..plain(agreement, (panel.right(), over), STRIP)
            });
            over -= 1.3 * STRIP;
        }
        if let Some(own) = self.grid.own_labels.get(index) {
            scene.text(plain(own.clone(), (left, over), STRIP));
        }
    }

    fn labels(
        &self,
        scene: &mut Scene,
        frame: &Frame,
        first: usize,
        rows: usize,
        (right, bottom): (f64, f64),
    ) -> Result<(), FigureError> {
        scene.text(plain(self.title.clone(), (LEFT, 105.0), LABEL));
        for (column, label) in self.grid.columns.iter().enumerate() {
            let (left, _) = frame.place(0, column);
            let at = (left + 0.5 * frame.width, frame.top - 95.0);
            scene.text(Text {
                align: Align::Centre,
                ..plain(label.clone(), at, fitting(label, LABEL, frame.width)?)
            });
        }
        let row_labels = self.grid.row_labels.iter().skip(first).take(rows);
        for (row, lines) in row_labels.enumerate() {
            let (_, top) = frame.place(row, 0);
            for (line, label) in lines.iter().enumerate() {
                let x = right + 85.0 + LINE * line as f64;
                let em = fitting(label, LABEL, frame.height + frame.row_gap)?;
                upward(scene, label, (x, top + 0.5 * frame.height), em);
            }
        }
        scene.text(Text {
            align: Align::Centre,
            ..plain(
                "x".to_string(),
                (0.5 * (LEFT + right), bottom + 180.0),
                LABEL,
            )
        });
        let middle = 0.5 * (frame.top + bottom);
        upward(scene, "probability density", (100.0, middle), LABEL);
        Ok(())
    }

    /// What the marks in the panels mean.
    fn notes(&self) -> Vec<&'static str> {
        let leaves = |c: &Curve| c.density.iter().any(|d| *d > self.y_max);
        let marked = self.curves.iter().flat_map(|c| &c.curves).any(leaves);
        let compared = self.cases.iter().any(|case| case.best().is_some());
        notes(marked, compared)
    }
}

/// Explains the marks of peaks above the frame and the agreement over the panels, where there are any.
pub(super) fn notes(marked: bool, compared: bool) -> Vec<&'static str> {
    let of_marks = marked.then_some("▲ peak leaves the frame");
    let of_agreement = compared.then_some("TV: total variation to monte-carlo");
    of_marks.into_iter().chain(of_agreement).collect()
}

/// Places the entries of the one legend of several panels, in lines as long as the page is wide; also its height.
pub(super) fn legend<'a>(
    curves: &'a [Curves],
    notes: &[&str],
    top: f64,
    page_width: f64,
) -> Result<(Vec<Placed<'a>>, f64), FigureError> {
    let mut shown: Vec<&Curve> = Vec::new();
    for curve in curves.iter().flat_map(|c| &c.curves) {
        if !shown.iter().any(|known| known.name == curve.name) {
            shown.push(curve);
        }
    }
    shown.sort_by_key(|curve| curve.role);
    let entries = shown
        .into_iter()
        .map(|curve| (Some(curve), entry_text(curve)))
        .chain(notes.iter().map(|note| (None, (*note).to_owned())));
    let line = 2.0 * TICK_LABEL;
    let (mut x, mut y) = (LEFT, top);
    let mut placed = Vec::new();
    for (curve, text) in entries {
        let sample = curve.map_or(0.0, |_| SAMPLE + 30.0);
        let width = sample + text_width(&text, TICK_LABEL)?;
        if x > LEFT && x + width > page_width - 40.0 {
            (x, y) = (LEFT, y + line);
        }
        placed.push(Placed {
            curve,
            text,
            at: (x, y),
        });
        x += width + 90.0;
    }
    Ok((placed, y - top + line))
}

/// A legend entry and the left end of its middle line; an entry without a curve explains a mark.
pub(super) struct Placed<'a> {
    curve: Option<&'a Curve>,
    text: String,
    at: (f64, f64),
}

impl Placed<'_> {
    pub fn draw(self, scene: &mut Scene) {
        let (mut x, y) = self.at;
        let mut color = QUIET;
        if let Some(curve) = self.curve {
            legend_sample(scene, curve, self.at, SAMPLE);
            x += SAMPLE + 30.0;
            color = INK;
        }
        scene.text(Text {
            color,
            ..plain(self.text, (x, y + 0.36 * TICK_LABEL), TICK_LABEL)
        });
    }
}

/// Size and raster of the panels.
struct Frame {
    width: f64,
    height: f64,
    top: f64,
    row_gap: f64,
}

impl Frame {
    /// Small panels are drawn with a finer pen.
    fn pen(&self) -> f64 {
        (self.width / 1400.0).clamp(0.62, 1.0)
    }

    /// Upper left corner of a panel.
    fn place(&self, row: usize, column: usize) -> (f64, f64) {
        (
            LEFT + column as f64 * (self.width + GAP),
            self.top + row as f64 * (self.height + self.row_gap),
        )
    }
}

/// The size at which a text is no longer than `room`, at most `em`.
pub(super) fn fitting(content: &str, em: f64, room: f64) -> Result<f64, FigureError> {
    Ok(em * (room / text_width(content, em)?.max(1.0)).min(1.0))
}

fn entry_text(curve: &Curve) -> String {
    format!("{}: {}", curve.name, curve.meaning())
}

/// Distance of the shown prediction from Monte Carlo, and its noise floor.
pub(super) fn agreement(case: &CaseResult, curves: &Curves) -> Option<String> {
    let comparison = case.against_monte_carlo(curves.leading.as_deref()?)?;
    Some(format!(
        "TV {}, floor {}",
        significant(comparison.tv, 2),
        significant(comparison.tv_floor, 2)
    ))
}
