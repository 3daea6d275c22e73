//! The figure of a phase transition: the share of models that recover the true subspaces, over two swept keys, with the line that
//! the theory predicts; a panel for every combination of the others.

use std::collections::BTreeMap;

use plotters::style::WHITE;
use serde_json::Value;

use super::FigureError;
use super::axis::{Axis, Scale};
use super::color::{color_bar, ordered};
use super::heat::{Field, HeatPanel, edges_between};
use super::panel::QUIET;
use super::scene::{Align, Bar, INK, Scene, Text, plain, upward};
use super::sweep::{fitting, short_names, swept_values};
use crate::report::format::{swept_value, value_order};
use crate::report::recovery::Recovery;
use crate::report::result::RunResult;

/// Panels in a line.
const LINE: usize = 4;
const LABEL: f64 = 62.0;
const TICK_LABEL: f64 = 52.0;
const LEFT: f64 = 300.0;
const TOP: f64 = 360.0;
const GAP: f64 = 130.0;
const ROW_GAP: f64 = 330.0;
const WIDTH: f64 = 1150.0;
const BAR_GAP: f64 = 110.0;
const BAR: f64 = 70.0;
const MARGIN: f64 = 200.0;
const BOTTOM: f64 = 250.0;
/// Strokes of the predicted line and of the light rim that keeps it visible on dark cells.
const STROKE: f64 = 12.0;
const RIM: f64 = 22.0;
/// Strokes and gaps of the line on which every subspace has as many points as dimensions.
const DASHES: [f64; 2] = [40.0, 30.0];
/// Where the predicted line runs: half of the models.
const HALF: f64 = 0.5;

/// Lays the map out; none unless recovery was measured over a sweep of two or more keys.
pub(super) fn scenes(result: &RunResult) -> Result<Vec<Scene>, FigureError> {
    let cells: Vec<Cell> = result
        .cases
        .iter()
        .filter_map(|case| Some((&case.case, case.recovery()?)))
        .collect();
    let Some(keys) = Keys::of(&cells) else {
        return Ok(Vec::new());
    };
    let panels = keys.panels(&cells);
    Ok(vec![page(&keys, &panels, super::run_name(result))?])
}

/// Swept values of a case, and what was measured.
type Cell<'a> = (&'a BTreeMap<String, Value>, Recovery);

/// Which key lies along which axis: that of most values along x, the next along y, both of numbers.
struct Keys<'a> {
    x: (&'a str, Vec<f64>),
    y: (&'a str, Vec<f64>),
    others: Vec<&'a str>,
    short: BTreeMap<String, String>,
}

impl<'a> Keys<'a> {
    fn of(cells: &[Cell<'a>]) -> Option<Self> {
        let values = swept_values(cells.iter().map(|(case, _)| *case));
        let short = short_names(values.keys().copied());
        let mut numeric: Vec<(&str, Vec<f64>)> = values
            .iter()
            .filter_map(|(key, known)| {
                let numbers: Option<Vec<f64>> = known.iter().map(|v| v.as_f64()).collect();
                Some((*key, numbers?))
            })
            .collect();
        numeric.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers.len()));
        let mut numeric = numeric.into_iter();
        let (x, y) = (numeric.next()?, numeric.next()?);
        let others = values.keys().copied();
        let others = others.filter(|key| *key != x.0 && *key != y.0).collect();
        Some(Self {
            x,
            y,
            others,
            short,
        })
    }

    /// One panel for every combination of the other keys' values.
    fn panels(&self, cells: &[Cell<'a>]) -> Vec<Panel> {
        let of = |case: &'a BTreeMap<String, Value>| -> Vec<&'a Value> {
            let values = self.others.iter().filter_map(|key| case.get(*key));
            values.collect()
        };
        let mut combinations: Vec<Vec<&Value>> = Vec::new();
        for (case, _) in cells {
            if !combinations.contains(&of(case)) {
                combinations.push(of(case));
            }
        }
        combinations.sort_by(|a, b| {
            let pairs = a.iter().zip(b);
            let orders = pairs.map(|(a, b)| value_order(a, b));
            orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        combinations
            .iter()
            .map(|values| {
                let names = self.others.iter().zip(values).map(|(key, value)| {
                    let name = self.short.get(*key).map_or(*key, String::as_str);
                    format!("{name} = {}", swept_value(value))
                });
                let mut panel = Panel {
                    name: names.collect::<Vec<_>>().join(", "),
                    recovered: vec![None; self.x.1.len() * self.y.1.len()],
                    predicted: vec![None; self.x.1.len() * self.y.1.len()],
                    spanned: vec![None; self.x.1.len() * self.y.1.len()],
                };
                for (case, recovery) in cells.iter().filter(|(case, _)| of(case) == *values) {
                    let Some(place) = self.place(case) else {
                        continue;
                    };
                    panel.recovered[place] = Some(recovery.recovered);
                    let predicted = recovery.predicted.as_ref();
                    panel.predicted[place] = predicted.and_then(|p| p.recovered.or(p.spanned));
                    panel.spanned[place] = predicted.and_then(|p| p.spanned);
                }
                panel
            })
            .collect()
    }

    /// Index of a case's cell, x slowest.
    fn place(&self, case: &BTreeMap<String, Value>) -> Option<usize> {
        let index = |(key, values): &(&str, Vec<f64>)| {
            let value = case.get(*key)?.as_f64()?;
            values.iter().position(|v| *v == value)
        };
        Some(index(&self.x)? * self.y.1.len() + index(&self.y)?)
    }

    fn name(&self, key: &str) -> String {
        self.short
            .get(key)
            .cloned()
            .unwrap_or_else(|| key.to_owned())
    }
}

/// Cells by x, then y; `None` where the sweep has no case.
struct Panel {
    name: String,
    recovered: Vec<Option<f64>>,
    predicted: Vec<Option<f64>>,
    spanned: Vec<Option<f64>>,
}

/// Sides of cells between which a prediction crosses one half, as segments between corners (indices of edges).
fn crossing(cells: &[Option<f64>], columns: usize, rows: usize) -> Vec<[(usize, usize); 2]> {
    let above = |i: usize, j: usize| Some(cells[i * rows + j]? >= HALF);
    let mut sides = Vec::new();
    for i in 0..columns {
        for j in 0..rows {
            let own = above(i, j);
            if i + 1 < columns && differs(own, above(i + 1, j)) {
                sides.push([(i + 1, j), (i + 1, j + 1)]);
            }
            if j + 1 < rows && differs(own, above(i, j + 1)) {
                sides.push([(i, j + 1), (i + 1, j + 1)]);
            }
        }
    }
    sides
}

fn differs(a: Option<bool>, b: Option<bool>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a != b)
}

fn page(keys: &Keys<'_>, panels: &[Panel], title: &str) -> Result<Scene, FigureError> {
    let edges = [edges_between(&keys.x.1), edges_between(&keys.y.1)];
    let columns = panels.len().min(LINE);
    let rows = panels.len().div_ceil(LINE);
    let height = WIDTH * (keys.y.1.len() as f64 / keys.x.1.len() as f64).clamp(0.5, 1.2);
    let right = LEFT + columns as f64 * (WIDTH + GAP) - GAP;
    let bottom = TOP + rows as f64 * (height + ROW_GAP) - ROW_GAP;
    let width = right + BAR_GAP + BAR + MARGIN;
    let mut scene = Scene::new(width, bottom + BOTTOM);
    let what = "share of trained models that recover the subspaces; black: predicted, half of them; dashed: as many points in each as dimensions";
    scene.text(plain(
        title.to_owned(),
        (LEFT, 105.0),
        fitting(title, LABEL, width - LEFT)?,
    ));
    scene.text(Text {
        color: QUIET,
        ..plain(
            what.to_owned(),
            (LEFT, 190.0),
            fitting(what, TICK_LABEL, width - LEFT - 60.0)?,
        )
    });
    for (index, panel) in panels.iter().enumerate() {
        let (row, column) = (index / LINE, index % LINE);
        // A missing cell is drawn as nothing recovered.
        let values: Vec<f64> = panel.recovered.iter().map(|v| v.unwrap_or(0.0)).collect();
        let frame = HeatPanel {
            left: LEFT + column as f64 * (WIDTH + GAP),
            top: TOP + row as f64 * (height + ROW_GAP),
            width: WIDTH,
            height,
            field: Field {
                edges: [&edges[0], &edges[1]],
                values: &values,
            },
        };
        frame.draw(&mut scene, ordered, &[], WHITE);
        frame.ticks(&mut scene, TICK_LABEL, true, column == 0);
        line(
            &mut scene,
            &frame,
            panel,
            (keys.x.1.len(), keys.y.1.len()),
            &edges,
        );
        let em = fitting(&panel.name, LABEL, WIDTH)?;
        scene.text(plain(
            panel.name.clone(),
            (frame.left, frame.top - 30.0),
            em,
        ));
        scene.text(Text {
            align: Align::Centre,
            ..plain(
                keys.name(keys.x.0),
                (frame.left + 0.5 * WIDTH, frame.bottom() + 165.0),
                LABEL,
            )
        });
        if column == 0 {
            let middle = frame.top + 0.5 * height;
            upward(&mut scene, keys.name(keys.y.0), (110.0, middle), LABEL);
        }
    }
    let place = Bar {
        left: right + BAR_GAP,
        right: right + BAR_GAP + BAR,
        top: TOP,
        bottom: TOP + height,
    };
    let shares = Axis {
        scale: Scale::Linear,
        ends: (0.0, 1.0),
    };
    color_bar(&mut scene, place, &shares, ordered, TICK_LABEL);
    Ok(scene)
}

/// The predicted line along the sides of the cells.
fn line(
    scene: &mut Scene,
    frame: &HeatPanel<'_>,
    panel: &Panel,
    (columns, rows): (usize, usize),
    edges: &[Vec<f64>; 2],
) {
    let place = |(i, j): (usize, usize)| frame.at(edges[0][i], edges[1][j]);
    for side in crossing(&panel.spanned, columns, rows) {
        scene.line(&side.map(place), WHITE, STROKE, &DASHES);
    }
    let sides = crossing(&panel.predicted, columns, rows);
    for (color, width) in [(WHITE, RIM), (INK, STROKE)] {
        for side in &sides {
            scene.line(&side.map(place), color, width, &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_runs_between_cells_on_either_side_of_one_half() {
        // Three columns and two rows; recovered from the second column on in the first row, from the third in the second.
        let sides = crossing(&[0.0, 0.0, 1.0, 0.2, 1.0, 0.7].map(Some), 3, 2);
        assert_eq!(
            sides,
            [[(1, 0), (1, 1)], [(1, 1), (2, 1)], [(2, 1), (2, 2)],]
        );
        assert!(crossing(&[None; 6], 3, 2).is_empty());
    }
}
