//! The figure of densities in the plane: predicted beside trained beside their difference, a row per case.

use plotters::style::{RGBColor, WHITE};

use super::FigureError;
use super::axis::{Axis, Scale};
use super::color::{color_bar, diverging, ordered};
use super::heat::{Field, HeatPanel};
use super::panel::QUIET;
use super::readouts::{as_case, axis_name};
use super::scene::{Align, Bar, INK, Scene, Text, plain, text_width, upward};
use super::sweep::fitting;
use crate::report::format::{significant, swept_title};
use crate::report::result::{CaseResult, DATA, DensityResult, MONTE_CARLO, RunResult};

/// Rows on a page of a sweep.
const PAGE: usize = 5;

const TITLE: f64 = 66.0;
const LABEL: f64 = 60.0;
const STRIP: f64 = 52.0;
const TICK_LABEL: f64 = 52.0;
const LEFT: f64 = 300.0;
const TOP: f64 = 380.0;
/// Between panels, and beyond a colour bar, whose numbers stand there.
const GAP: f64 = 70.0;
const BAR_GAP: f64 = 45.0;
const BAR: f64 = 60.0;
const BAR_LABELS: f64 = 290.0;
const ROW_GAP: f64 = 390.0;
const MARGIN: f64 = 130.0;
const BOTTOM: f64 = 240.0;
const WIDTH: f64 = 1000.0;
const TALLEST: f64 = 1300.0;

/// The figure of one case, page by page: its densities, and those of the further planes that it reports.
pub(super) fn case_scenes(case: &CaseResult, title: &str) -> Result<Vec<Scene>, FigureError> {
    let planes = case.readouts.iter().filter(|r| r.edges.len() == 2);
    let others: Vec<CaseResult> = planes.map(|r| as_case(case, r)).collect();
    let rows = std::iter::once(case)
        .chain(&others)
        .map(|shown| Row::of(shown, axis_names(case, &shown.directions), String::new()))
        .collect::<Result<Vec<_>, _>>()?;
    pages(&rows, title)
}

/// All cases, page by page.
pub(super) fn sweep_scenes(result: &RunResult) -> Result<Vec<Scene>, FigureError> {
    let rows = result
        .cases
        .iter()
        .map(|case| {
            let axes = axis_names(case, &case.directions);
            Row::of(case, axes, swept_title(&case.case))
        })
        .collect::<Result<Vec<_>, _>>()?;
    pages(&rows, super::run_name(result))
}

fn pages(rows: &[Row<'_>], title: &str) -> Result<Vec<Scene>, FigureError> {
    rows.chunks(PAGE).map(|rows| page(rows, title)).collect()
}

/// Names of the two axes of a plane; without directions they are the coordinates.
fn axis_names(case: &CaseResult, directions: &[Vec<f64>]) -> [String; 2] {
    match directions {
        [first, second, ..] => [first, second].map(|along| axis_name(case, along)),
        _ => ["x₁", "x₂"].map(str::to_owned),
    }
}

/// One plane of one case.
struct Row<'a> {
    name: String,
    edges: [&'a [f64]; 2],
    panels: Vec<Panel>,
    /// Largest mass per bin of the densities, and largest size of their difference.
    scales: [f64; 2],
    dots: Vec<[f64; 2]>,
    axes: [String; 2],
}

/// A density or a difference, with the lines over it.
struct Panel {
    values: Vec<f64>,
    lines: [String; 2],
    is_difference: bool,
}

impl<'a> Row<'a> {
    fn of(case: &'a CaseResult, axes: [String; 2], name: String) -> Result<Self, FigureError> {
        let [x, y] = case.edges.as_slice() else {
            return Err(FigureError::Dimension {
                dim: case.edges.len(),
            });
        };
        let panels = panels(case)?;
        let bins = (x.len() - 1) * (y.len() - 1);
        if let Some(panel) = panels.iter().find(|panel| panel.values.len() != bins) {
            return Err(FigureError::Malformed {
                part: panel.lines[0].clone(),
                message: format!("{} values, where there are {bins} bins", panel.values.len()),
            });
        }
        let largest = |difference: bool| {
            let shown = panels.iter().filter(|p| p.is_difference == difference);
            shown
                .flat_map(|p| &p.values)
                .fold(0.0, |m: f64, v| m.max(v.abs()))
        };
        Ok(Self {
            name,
            edges: [x, y],
            scales: [largest(false), largest(true)],
            panels,
            dots: case.means.iter().filter_map(|m| dot(case, m)).collect(),
            axes,
        })
    }

    fn field<'b>(&'b self, panel: &'b Panel) -> Field<'b> {
        Field {
            edges: self.edges,
            values: &panel.values,
        }
    }

    fn height(&self) -> f64 {
        (self.field(&self.panels[0]).shape() * WIDTH).min(TALLEST)
    }

    /// Does a colour bar follow this panel? After the last density, and after the difference.
    fn has_bar(&self, index: usize) -> bool {
        let next = self.panels.get(index + 1);
        next.is_none_or(|next| next.is_difference)
    }

    fn width(&self) -> f64 {
        let bars = self
            .panels
            .iter()
            .enumerate()
            .filter(|(i, _)| self.has_bar(*i));
        WIDTH * self.panels.len() as f64
            + GAP * (self.panels.len() - 1) as f64
            + (BAR_GAP + BAR + BAR_LABELS) * bars.count() as f64
    }
}

/// What there is to draw: prediction and Monte Carlo with their difference, one of them, or at least the data.
fn panels(case: &CaseResult) -> Result<Vec<Panel>, FigureError> {
    let density = |name: &str, over: String| {
        case.densities.get(name).map(|density| Panel {
            values: density.mass.clone(),
            lines: [over, outside(density)],
            is_difference: false,
        })
    };
    let leading = case.leading();
    let predicted = leading.and_then(|name| {
        let marked = case.recommended.as_deref() == Some(name);
        let word = if marked { "recommended" } else { "predicted" };
        density(name, format!("{word}: {name}"))
    });
    let trained = density(MONTE_CARLO, models(case));
    let mut panels: Vec<Panel> = predicted.into_iter().chain(trained).collect();
    if let [predicted, trained] = panels.as_slice() {
        let pairs = predicted.values.iter().zip(&trained.values);
        let difference = Panel {
            values: pairs.map(|(p, t)| p - t).collect(),
            lines: [
                "predicted − monte-carlo".to_owned(),
                agreement(case, leading),
            ],
            is_difference: true,
        };
        panels.push(difference);
    }
    if panels.is_empty() {
        panels.extend(density(DATA, DATA.to_owned()));
    }
    if panels.is_empty() {
        return Err(FigureError::Empty);
    }
    Ok(panels)
}

fn models(case: &CaseResult) -> String {
    let number = case.densities.get(MONTE_CARLO).and_then(|d| d.models);
    match number {
        Some(number) => format!("{MONTE_CARLO}, {number} models"),
        None => MONTE_CARLO.to_owned(),
    }
}

fn outside(density: &DensityResult) -> String {
    format!("outside: {}", significant(density.outside, 2))
}

fn agreement(case: &CaseResult, leading: Option<&str>) -> String {
    leading
        .and_then(|name| case.against_monte_carlo(name))
        .map_or_else(String::new, |c| {
            let [tv, floor] = [c.tv, c.tv_floor].map(|v| significant(v, 2));
            format!("TV {tv}, floor {floor}")
        })
}

/// Where a component's mean lies on the two axes.
fn dot(case: &CaseResult, mean: &[f64]) -> Option<[f64; 2]> {
    match case.directions.as_slice() {
        [] => mean.try_into().ok(),
        [first, second, ..] => Some([first, second].map(|along| {
            let pairs = mean.iter().zip(along);
            pairs.map(|(m, a)| m * a).sum()
        })),
        [_] => None,
    }
}

fn page(rows: &[Row<'_>], title: &str) -> Result<Scene, FigureError> {
    let widest = rows.iter().map(Row::width).fold(0.0, f64::max);
    let width = (LEFT + widest + MARGIN).max(LEFT + text_width("mass per bin", TITLE)?);
    let mut tops = vec![TOP];
    for row in rows {
        tops.push(tops[tops.len() - 1] + row.height() + ROW_GAP);
    }
    let mut scene = Scene::new(width, tops[rows.len()] - ROW_GAP + BOTTOM);
    let room = width - LEFT - 60.0;
    let em = fitting(title, TITLE, room)?;
    scene.text(plain(title.to_owned(), (LEFT, 105.0), em));
    scene.text(Text {
        color: QUIET,
        ..plain("mass per bin".to_owned(), (LEFT, 185.0), STRIP)
    });
    for (row, top) in rows.iter().zip(tops) {
        draw(&mut scene, row, top)?;
        let height = row.height();
        upward(
            &mut scene,
            row.name.clone(),
            (LEFT + row.width() + 60.0, top + 0.5 * height),
            fitting(&row.name, LABEL, height + 0.5 * ROW_GAP)?,
        );
    }
    Ok(scene)
}

fn draw(scene: &mut Scene, row: &Row<'_>, top: f64) -> Result<(), FigureError> {
    let (mut left, height) = (LEFT, row.height());
    for (index, shown) in row.panels.iter().enumerate() {
        let panel = HeatPanel {
            left,
            top,
            width: WIDTH,
            height,
            field: row.field(shown),
        };
        let axis = axis(row, shown.is_difference);
        // Specks are seen on what is nothing: on the dark end of the one scale, on the white middle of the other.
        let (color, speck): (fn(f64) -> RGBColor, RGBColor) = match shown.is_difference {
            true => (diverging, INK),
            false => (ordered, WHITE),
        };
        let of_value = |value| color(axis.fraction(value));
        panel.draw(scene, of_value, &row.dots, speck);
        panel.ticks(scene, TICK_LABEL, true, index == 0);
        over(scene, &panel, &shown.lines)?;
        let below = (left + 0.5 * WIDTH, panel.bottom() + 165.0);
        scene.text(Text {
            align: Align::Centre,
            ..plain(row.axes[0].clone(), below, LABEL)
        });
        left = panel.right() + GAP;
        if row.has_bar(index) {
            let place = Bar {
                left: panel.right() + BAR_GAP,
                right: panel.right() + BAR_GAP + BAR,
                top,
                bottom: panel.bottom(),
            };
            color_bar(scene, place, &axis, color, TICK_LABEL);
            left += BAR_GAP + BAR + BAR_LABELS;
        }
    }
    let beside = (LEFT - 190.0, top + 0.5 * height);
    upward(scene, row.axes[1].clone(), beside, LABEL);
    Ok(())
}

/// The scale of the densities of a row, or of their difference.
fn axis(row: &Row<'_>, difference: bool) -> Axis {
    let largest = row.scales[usize::from(difference)];
    let end = if largest > 0.0 { largest } else { 1.0 };
    Axis {
        scale: Scale::Linear,
        ends: (if difference { -end } else { 0.0 }, end),
    }
}

fn over(
    scene: &mut Scene,
    panel: &HeatPanel<'_>,
    [first, second]: &[String; 2],
) -> Result<(), FigureError> {
    let em = fitting(first, LABEL, panel.width)?;
    scene.text(plain(first.clone(), (panel.left, panel.top - 95.0), em));
    scene.text(Text {
        color: QUIET,
        ..plain(second.clone(), (panel.left, panel.top - 28.0), STRIP)
    });
    Ok(())
}
