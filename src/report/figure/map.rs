//! The figure of the maps: where the target of training is noisy, a row per case and a column per time; on the line curves.

use plotters::style::{RGBColor, WHITE};

use super::FigureError;
use super::axis::{Axis, Plot, Scale};
use super::color::{color_bar, ordered};
use super::heat::{Field, HeatPanel, edges_between};
use super::panel::{MARK, QUIET};
use super::scene::{Align, Bar, Scene, Text, plain, text_width, upward};
use super::sweep::fitting;
use crate::report::format::{short, short_title};
use crate::report::result::{CaseResult, MapResult, RunResult};

/// Panels in a line, and lines on a page.
const LINE: usize = 6;
const PAGE: usize = 8;

const LABEL: f64 = 62.0;
const TICK_LABEL: f64 = 52.0;
const LEFT: f64 = 300.0;
const TOP: f64 = 330.0;
const GAP: f64 = 100.0;
const ROW_GAP: f64 = 150.0;
const PAGE_WIDTH: f64 = 4300.0;
const NARROWEST: f64 = 620.0;
const WIDEST: f64 = 1500.0;
/// From the panels to the colour bar, its width, and the room for its numbers and the names of the rows.
const BAR_GAP: f64 = 190.0;
const BAR: f64 = 70.0;
const MARGIN: f64 = 260.0;
const BOTTOM: f64 = 250.0;
/// Shape of a panel of curves.
const CURVES: f64 = 0.55;
/// Longest name of a case beside its row, in em.
const LONGEST: f64 = 24.0;

const WHAT: &str =
    "share of noise in the target, tr C / (tr C + |s|²): C covariance of the proxy score, s score";

/// Lays the maps of all cases out, page by page; none when there are none.
pub(super) fn scenes(result: &RunResult) -> Result<Vec<Scene>, FigureError> {
    let mut lines = Vec::new();
    for (index, case) in result.cases.iter().enumerate() {
        let name = name(result, index)?;
        match case.maps.first().map(|map| map.axes.len()) {
            None => {}
            Some(1) => lines.push(Line::new(&name, case, &case.maps)),
            Some(2) => lines.extend(case.maps.chunks(LINE).map(|m| Line::new(&name, case, m))),
            Some(dim) => return Err(FigureError::Dimension { dim }),
        }
    }
    let title = super::run_name(result);
    lines.chunks(PAGE).map(|lines| page(lines, title)).collect()
}

/// What tells a case from the others, if that is short.
fn name(result: &RunResult, index: usize) -> Result<String, FigureError> {
    if result.cases.len() == 1 {
        return Ok(String::new());
    }
    let values = short_title(result, index);
    Ok(match text_width(&values, 1.0)? <= LONGEST {
        true => values,
        false => format!("case {}", index + 1),
    })
}

/// Maps side by side, or the curves of one case.
struct Line<'a> {
    name: String,
    maps: &'a [MapResult],
    edges: Vec<Vec<f64>>,
    means: &'a [Vec<f64>],
}

impl<'a> Line<'a> {
    fn new(name: &str, case: &'a CaseResult, maps: &'a [MapResult]) -> Self {
        Self {
            name: name.to_owned(),
            maps,
            edges: maps[0]
                .axes
                .iter()
                .map(|axis| edges_between(axis))
                .collect(),
            means: &case.means,
        }
    }

    fn is_plane(&self) -> bool {
        self.edges.len() == 2
    }

    fn panels(&self) -> usize {
        if self.is_plane() { self.maps.len() } else { 1 }
    }

    fn field(&self, map: usize) -> Field<'_> {
        Field {
            edges: [&self.edges[0], &self.edges[1]],
            values: &self.maps[map].values,
        }
    }

    fn shape(&self) -> f64 {
        if self.is_plane() {
            self.field(0).shape()
        } else {
            CURVES
        }
    }

    fn times(&self) -> Vec<f64> {
        self.maps.iter().map(|map| map.t).collect()
    }
}

fn page(lines: &[Line<'_>], title: &str) -> Result<Scene, FigureError> {
    let columns = lines.iter().map(Line::panels).max().unwrap_or(1) as f64;
    let inner = PAGE_WIDTH - LEFT - BAR_GAP - BAR - MARGIN - GAP * (columns - 1.0);
    let width = (inner / columns).clamp(NARROWEST, WIDEST);
    let right = LEFT + columns * width + (columns - 1.0) * GAP;
    let mut tops = vec![TOP];
    for line in lines {
        tops.push(tops[tops.len() - 1] + line.shape() * width + ROW_GAP);
    }
    let bottom = tops[lines.len()] - ROW_GAP;
    let page_width = right + BAR_GAP + BAR + MARGIN;
    let mut scene = Scene::new(page_width, bottom + BOTTOM);
    headings(&mut scene, title, page_width)?;
    for (index, line) in lines.iter().enumerate() {
        let place = Place {
            top: tops[index],
            width,
            lowest: index + 1 == lines.len(),
            // Times stand over the first line, and over every line whose times are others.
            times: index == 0 || line.times() != lines[index - 1].times(),
        };
        match line.is_plane() {
            true => heat_maps(&mut scene, line, &place),
            false => curves(&mut scene, line, &place),
        }
        let height = line.shape() * width;
        if line.is_plane() {
            let at = (right + 80.0, tops[index] + 0.5 * height);
            let em = fitting(&line.name, LABEL, height + ROW_GAP)?;
            upward(&mut scene, line.name.clone(), at, em);
        }
    }
    axis_names(&mut scene, lines, (right, bottom));
    if lines.iter().any(Line::is_plane) {
        let place = Bar {
            left: right + BAR_GAP,
            right: right + BAR_GAP + BAR,
            top: TOP,
            bottom: bottom.min(TOP + 1600.0),
        };
        color_bar(&mut scene, place, &shares(), ordered, TICK_LABEL);
    }
    Ok(scene)
}

/// Where a line of panels goes, and what it says.
struct Place {
    top: f64,
    width: f64,
    lowest: bool,
    times: bool,
}

/// From 0 to 1.
fn shares() -> Axis {
    Axis {
        scale: Scale::Linear,
        ends: (0.0, 1.0),
    }
}

fn headings(scene: &mut Scene, title: &str, width: f64) -> Result<(), FigureError> {
    let room = width - LEFT - 60.0;
    scene.text(plain(
        title.to_owned(),
        (LEFT, 105.0),
        fitting(title, LABEL, room)?,
    ));
    let em = fitting(WHAT, TICK_LABEL, room)?;
    scene.text(Text {
        color: QUIET,
        ..plain(WHAT.to_owned(), (LEFT, 190.0), em)
    });
    Ok(())
}

fn heat_maps(scene: &mut Scene, line: &Line<'_>, place: &Place) {
    let dots: Vec<[f64; 2]> = line
        .means
        .iter()
        .filter_map(|mean| mean.as_slice().try_into().ok())
        .collect();
    for (index, map) in line.maps.iter().enumerate() {
        let panel = HeatPanel {
            left: LEFT + index as f64 * (place.width + GAP),
            top: place.top,
            width: place.width,
            height: line.shape() * place.width,
            field: line.field(index),
        };
        panel.draw(scene, ordered, &dots, WHITE);
        panel.ticks(scene, TICK_LABEL, place.lowest, index == 0);
        if place.times {
            let middle = panel.left + 0.5 * panel.width;
            scene.text(Text {
                align: Align::Centre,
                ..plain(time(map), (middle, place.top - 35.0), LABEL)
            });
        }
    }
}

/// The share over x, one curve per time.
fn curves(scene: &mut Scene, line: &Line<'_>, place: &Place) {
    let edges = &line.edges[0];
    let plot = Plot {
        left: LEFT,
        top: place.top,
        width: place.width,
        height: CURVES * place.width,
        x: Axis {
            scale: Scale::Linear,
            ends: (edges[0], edges[edges.len() - 1]),
        },
        y: shares(),
    };
    let color = |index: usize| -> RGBColor {
        // The lightest colours are hard to see on white.
        ordered(0.85 * index as f64 / (line.maps.len().max(2) - 1) as f64)
    };
    for (index, map) in line.maps.iter().enumerate() {
        scene.line(
            &plot.points(&map.axes[0], &map.values),
            color(index),
            8.0,
            &[],
        );
    }
    for x in line.means.iter().filter_map(|mean| mean.first()) {
        if (edges[0]..=edges[edges.len() - 1]).contains(x) {
            scene.arrow_head((plot.x_at(*x), plot.bottom() - 30.0), 30.0, MARK);
        }
    }
    plot.frame(scene);
    plot.ticks(scene, TICK_LABEL, true);
    scene.text(plain(
        line.name.clone(),
        (LEFT, place.top - 35.0),
        TICK_LABEL,
    ));
    // As many as there is room for beside the frame.
    let room = (plot.height / (1.4 * TICK_LABEL)) as usize;
    for (index, map) in line.maps.iter().enumerate().take(room) {
        let y = place.top + (1.0 + 1.4 * index as f64) * TICK_LABEL;
        scene.text(Text {
            color: color(index),
            ..plain(time(map), (plot.right() + 60.0, y), TICK_LABEL)
        });
    }
}

/// The time of a map, to a few digits.
fn time(map: &MapResult) -> String {
    format!("t = {}", short(map.t))
}

fn axis_names(scene: &mut Scene, lines: &[Line<'_>], (right, bottom): (f64, f64)) {
    let plane = lines.iter().all(Line::is_plane);
    let (across, along) = if plane {
        ("x₂", "x₁")
    } else {
        ("share of noise", "x")
    };
    scene.text(Text {
        align: Align::Centre,
        ..plain(
            along.to_owned(),
            (0.5 * (LEFT + right), bottom + 175.0),
            LABEL,
        )
    });
    upward(
        scene,
        across.to_owned(),
        (105.0, 0.5 * (TOP + bottom)),
        LABEL,
    );
}
