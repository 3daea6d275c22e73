//! Population averages over z = (x, t) by quadrature: E over t uniform on [t_min, t_max] and x ~ p(x|t).

mod contraction;
mod line;
mod points;
mod space;

pub use line::LinePopulation;
pub(super) use line::TiltedResidual;
pub use space::{Layout, SpacePopulation};

use nalgebra::{DMatrix, DVector};
use rand::Rng;

use super::Measure;
use crate::family::Linear;
use crate::numerics::panels::graded;
use crate::problem::{Problem, Training};

/// A linear family on its training distribution, discretised at one refinement level.
pub enum Population<'a> {
    /// D = 1: Gauss-Legendre panels along the line.
    Line(LinePopulation<'a>),
    /// D >= 2: a grid per time in the plane, scattered points in more dimensions.
    Space(Box<SpacePopulation<'a>>),
}

/// A piece of the time axis with the slices inside.
#[derive(Debug, Clone)]
pub struct Panel {
    pub start: f64,
    pub end: f64,
    slices: std::ops::Range<usize>,
}

/// How well a population's quadrature must agree with the one before, relative to what the statistics ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attainable {
    /// Changes below this show that the last level is as good as statistics need, or as the rule gets at a bearable size.
    pub converged: f64,
    /// Relative change above which the result is refused after the last refinement.
    pub refused: f64,
}

impl<'a> Population<'a> {
    /// Lays the nodes of a refinement level: finer in time and in space with every level.
    pub fn new(problem: &Problem, family: &'a Linear, training: &Training, level: u32) -> Self {
        match problem.dim() {
            1 => Self::Line(LinePopulation::new(problem, family, training, level)),
            dim => Self::Space(Box::new(SpacePopulation::new(
                problem,
                family,
                training,
                level,
                Layout::of(family, dim),
            ))),
        }
    }

    /// Estimate of the number of nodes that [`Population::new`] lays at the coarsest level (every level has about four
    /// times as many), in constant time whatever the scales: what would be absurdly many saturates.
    pub fn coarsest_nodes(problem: &Problem, family: &Linear) -> u64 {
        match problem.dim() {
            1 => LinePopulation::coarsest_nodes(problem, family),
            _ => SpacePopulation::coarsest_nodes(problem, family),
        }
    }

    /// Number of panels of the time axis, in constant time.
    pub fn panel_count(problem: &Problem, family: &Linear) -> f64 {
        over_panels(problem, family, |_| 1.0)
    }

    /// Bytes that a population of so many nodes holds, with what a fixed point on it needs besides.
    pub fn bytes(family: &Linear, nodes: u64) -> u64 {
        match family.features.space.dim() {
            1 => LinePopulation::bytes(family, nodes),
            _ => SpacePopulation::bytes(family, nodes),
        }
    }

    /// The level at which the statistics converge, as a rule.
    pub fn usual_level(problem: &Problem, family: &Linear) -> u32 {
        match problem.dim() {
            1 => 1,
            _ => SpacePopulation::usual_level(problem, family),
        }
    }

    pub(super) fn attainable(&self) -> Attainable {
        match self {
            Self::Line(_) => Attainable {
                converged: 0.0,
                refused: 1e-3,
            },
            Self::Space(space) => space.attainable(),
        }
    }

    /// The panels of the time axis, in order.
    pub fn panels(&self) -> &[Panel] {
        match self {
            Self::Line(line) => line.panels(),
            Self::Space(space) => space.panels(),
        }
    }

    /// The nodes of a panel.
    pub fn nodes_of(&self, panel: &Panel) -> std::ops::Range<usize> {
        match self {
            Self::Line(line) => line.nodes_of(panel),
            Self::Space(space) => space.nodes_of(panel),
        }
    }

    /// E[y|z] - W^T z at every node, of all outputs one after another; W of shape F x D.
    pub fn misfit(&self, weights: &DMatrix<f64>) -> Vec<f64> {
        match self {
            Self::Line(line) => line.misfit(weights),
            Self::Space(space) => space.misfit(weights),
        }
    }

    /// out += factor z at a node for every output; `factors` of length D, `out` of length D F.
    pub(super) fn add_row(&self, node: usize, factors: &[f64], out: &mut [f64]) {
        match self {
            Self::Line(line) => line.add_row(node, factors[0], out),
            Self::Space(space) => space.add_row(node, factors, out),
        }
    }

    /// A draw of the target y = sqrt(lambda) f at a node into `target` (length D): its conditional law, or its mean under
    /// the exact objective. `scratch` keeps what a draw needs.
    pub(super) fn draw_target<R: Rng + ?Sized>(
        &self,
        node: usize,
        rng: &mut R,
        scratch: &mut Vec<f64>,
        target: &mut [f64],
    ) {
        match self {
            Self::Line(line) => target[0] = line.draw_target(node, rng, scratch),
            Self::Space(space) => space.draw_target(node, rng, scratch, target),
        }
    }

    /// Posterior probabilities of the data's M components at some nodes, M x nodes; zero where all features vanish.
    pub(super) fn responsibilities(&self, nodes: std::ops::Range<usize>) -> DMatrix<f64> {
        match self {
            Self::Line(line) => line.responsibilities(nodes),
            Self::Space(space) => space.responsibilities(nodes),
        }
    }

    /// The target given the clean point, y = slope c + offset, at every node: slopes, and offsets of all outputs one after
    /// another.
    pub(super) fn target_given_clean(&self) -> (Vec<f64>, Vec<f64>) {
        match self {
            Self::Line(line) => line.target_given_clean(),
            Self::Space(space) => space.target_given_clean(),
        }
    }

    /// The residual's law at every node under the tilt exp(e r); `fit` is z^T w, `tilt` is e, both per node.
    ///
    /// # Panics
    /// With several outputs.
    pub(super) fn tilted(&self, fit: &[f64], tilt: &[f64]) -> Vec<TiltedResidual> {
        self.line().tilted(fit, tilt)
    }

    /// Sum of factor z over all nodes, without their probabilities: the adjoint of [`Measure::project`]. Length F.
    pub(super) fn combine(&self, factor: &[f64]) -> DVector<f64> {
        match self {
            Self::Line(line) => line.combine(factor),
            Self::Space(space) => space.combine(factor),
        }
    }

    fn line(&self) -> &LinePopulation<'a> {
        match self {
            Self::Line(line) => line,
            Self::Space(_) => panic!("the tilted law is that of one output"),
        }
    }
}

/// Hands a method of [`Measure`] to the population in use.
macro_rules! delegate {
    ($self:ident, $name:ident ( $($argument:expr),* )) => {
        match $self {
            Population::Line(line) => line.$name($($argument),*),
            Population::Space(space) => space.$name($($argument),*),
        }
    };
}

impl Measure for Population<'_> {
    fn features(&self) -> usize {
        delegate!(self, features())
    }

    fn outputs(&self) -> usize {
        delegate!(self, outputs())
    }

    fn nodes(&self) -> usize {
        delegate!(self, nodes())
    }

    fn quadratic(&self, matrix: &DMatrix<f64>) -> Vec<f64> {
        delegate!(self, quadratic(matrix))
    }

    fn project(&self, direction: &[f64]) -> Vec<f64> {
        delegate!(self, project(direction))
    }

    fn gram(&self, factor: &[f64]) -> DMatrix<f64> {
        delegate!(self, gram(factor))
    }

    fn cross(&self, factor: &[f64]) -> DMatrix<f64> {
        delegate!(self, cross(factor))
    }

    fn residual(&self, weights: &DMatrix<f64>, outputs: (usize, usize)) -> Vec<f64> {
        delegate!(self, residual(weights, outputs))
    }

    fn weights(&self) -> Vec<f64> {
        delegate!(self, weights())
    }
}

/// Features of time at the slices, F_t x slices.
fn time_features(family: &Linear, times: &[f64]) -> DMatrix<f64> {
    let features = &family.features.time;
    let mut values = DMatrix::zeros(features.len(), times.len());
    for (t, mut column) in times.iter().zip(values.column_iter_mut()) {
        features.values(*t, column.as_mut_slice());
    }
    values
}

/// The panels of the time axis with their slices, of which each has as many.
fn sliced(panels: &[(f64, f64)], slices: usize) -> Vec<Panel> {
    let per_panel = slices / panels.len();
    let pieces = panels.iter().enumerate();
    pieces
        .map(|(i, &(start, end))| Panel {
            start,
            end,
            slices: i * per_panel..(i + 1) * per_panel,
        })
        .collect()
}

/// out += factor (space x time), the features of time running fastest.
fn add_products(out: &mut [f64], factor: f64, space: &[f64], time: &[f64]) {
    for (row, a) in out.chunks_exact_mut(time.len()).zip(space) {
        let a = factor * a;
        for (o, b) in row.iter_mut().zip(time) {
            *o += a * b;
        }
    }
}

/// Panels of the time axis that resolve the features of time and the layer at small t.
fn time_panels(problem: &Problem, family: &Linear) -> Vec<(f64, f64)> {
    let span = problem.t_max - problem.t_min;
    let time_scale = family.features.time.scale();
    graded(
        problem.t_min,
        problem.t_max,
        problem.t_min,
        (1.5 * time_scale).min(span / 8.0),
    )
}

/// Expected sum of `per_panel` over the panels of [`time_panels`], in constant time: exact where they double in length,
/// from sampled times where they are equal.
fn over_panels(problem: &Problem, family: &Linear, per_panel: impl Fn(f64) -> f64) -> f64 {
    const SAMPLED_TIMES: u32 = 16;
    let span = problem.t_max - problem.t_min;
    let longest = (1.5 * family.features.time.scale()).min(span / 8.0);
    let doublings = (longest / problem.t_min).log2().ceil().max(0.0) as i32;
    let graded: f64 = (0..doublings)
        .map(|j| per_panel((problem.t_min * 2.0_f64.powi(j)).min(problem.t_max)))
        .sum();
    let middle = |i: u32| (f64::from(i) + 0.5) / f64::from(SAMPLED_TIMES);
    let mean = (0..SAMPLED_TIMES)
        .map(|i| per_panel(problem.t_min + span * middle(i)))
        .sum::<f64>()
        / f64::from(SAMPLED_TIMES);
    graded + (span / longest).ceil() * mean
}
