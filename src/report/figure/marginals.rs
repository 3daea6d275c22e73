//! The figure of a case's further densities of one axis: marginals along directions, the distance to the nearest training
//! point.

use super::FigureError;
use super::curves::{Curve, Curves};
use super::panel::{MARK, Panel, QUIET};
use super::readouts::{as_case, coordinate};
use super::scene::{Align, Scene, Text, plain, upward};
use super::sweep::{LABEL, LEFT, STRIP, TICK_LABEL, agreement, fitting, legend, notes};
use crate::report::result::{CaseResult, ReadoutResult};

const COLUMNS: usize = 3;
/// Rows of panels on one page.
const PAGE: usize = 6;
const TOP: f64 = 330.0;
/// Between panels: room for the numbers of the vertical axes.
const GAP: f64 = 240.0;
/// Between rows: room for the name of the axis, and for two lines over each panel.
const ROW_GAP: f64 = 430.0;
const MARGIN: f64 = 110.0;
const PAGE_WIDTH: f64 = 4300.0;
const WIDEST: f64 = 1700.0;
const SHAPE: f64 = 0.68;
const NARROWEST_PAGE: f64 = 2600.0;

/// Lays the figure out, page by page; none when the case has no such densities.
pub(super) fn scenes(case: &CaseResult, title: &str) -> Result<Vec<Scene>, FigureError> {
    let shown: Vec<Shown> = case
        .readouts
        .iter()
        .filter(|readout| readout.edges.len() == 1)
        .map(|readout| Shown::of(case, readout))
        .collect::<Result<_, _>>()?;
    shown
        .chunks(COLUMNS * PAGE)
        .map(|shown| page(shown, title))
        .collect()
}

/// One panel.
struct Shown {
    name: String,
    axis: String,
    agreement: String,
    curves: Curves,
}

impl Shown {
    fn of(case: &CaseResult, readout: &ReadoutResult) -> Result<Self, FigureError> {
        let own = as_case(case, readout);
        let curves = Curves::of(&own)?.essential();
        let axis = match readout.directions.first() {
            Some(along) => coordinate(along).unwrap_or_else(|| "projection".to_owned()),
            None => "distance".to_owned(),
        };
        Ok(Self {
            name: readout.name.clone(),
            axis,
            agreement: agreement(&own, &curves).unwrap_or_default(),
            curves,
        })
    }

    /// Does a curve leave the frame?
    fn leaves(&self) -> bool {
        let highest = self.curves.readable_height();
        let leaves = |c: &Curve| c.density.iter().any(|d| *d > highest);
        self.curves.curves.iter().any(leaves)
    }
}

fn page(shown: &[Shown], title: &str) -> Result<Scene, FigureError> {
    let columns = shown.len().min(COLUMNS) as f64;
    let inner = PAGE_WIDTH - LEFT - MARGIN - GAP * (columns - 1.0);
    let width = (inner / columns).min(WIDEST);
    let height = SHAPE * width;
    let rows = shown.len().div_ceil(COLUMNS) as f64;
    let bottom = TOP + rows * (height + ROW_GAP) - ROW_GAP;
    let right = LEFT + columns * (width + GAP) - GAP;
    let page_width = (right + MARGIN).max(NARROWEST_PAGE);
    let curves: Vec<Curves> = shown.iter().map(|s| s.curves.clone()).collect();
    let notes = notes(
        shown.iter().any(Shown::leaves),
        shown.iter().any(|s| !s.agreement.is_empty()),
    );
    let (entries, below) = legend(&curves, &notes, bottom + 290.0, page_width)?;
    let mut scene = Scene::new(page_width, bottom + 290.0 + below);
    let em = fitting(title, LABEL, page_width - LEFT - MARGIN)?;
    scene.text(plain(title.to_owned(), (LEFT, 105.0), em));
    for (index, one) in shown.iter().enumerate() {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        let panel = Panel {
            left: LEFT + column as f64 * (width + GAP),
            top: TOP + row as f64 * (height + ROW_GAP),
            width,
            height,
            x: (
                one.curves.edges[0],
                one.curves.edges[one.curves.edges.len() - 1],
            ),
            y_max: one.curves.readable_height(),
            pen: 0.85,
        };
        draw(&mut scene, &panel, one)?;
    }
    let middle = 0.5 * (TOP + bottom);
    upward(&mut scene, "probability density", (90.0, middle), LABEL);
    for entry in entries {
        entry.draw(&mut scene);
    }
    Ok(scene)
}

fn draw(scene: &mut Scene, panel: &Panel, shown: &Shown) -> Result<(), FigureError> {
    panel.draw(scene, &shown.curves);
    panel.x_ticks(scene, TICK_LABEL, true);
    panel.y_ticks(scene, TICK_LABEL, true);
    for spike in panel.spikes(&shown.curves, 0.02 * panel.width) {
        scene.arrow_head((spike.x, panel.top + 8.0), 30.0, MARK);
    }
    let em = fitting(&shown.name, LABEL, panel.width)?;
    scene.text(plain(
        shown.name.clone(),
        (panel.left, panel.top - 95.0),
        em,
    ));
    scene.text(Text {
        color: QUIET,
        ..plain(
            shown.agreement.clone(),
            (panel.left, panel.top - 22.0),
            STRIP,
        )
    });
    let middle = panel.left + 0.5 * panel.width;
    scene.text(Text {
        align: Align::Centre,
        ..plain(shown.axis.clone(), (middle, panel.bottom() + 180.0), LABEL)
    });
    Ok(())
}
