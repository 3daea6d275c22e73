//! Population averages on the line: Gauss-Legendre panels in time and in space, D = 1.

use faer::{Accum, MatMut, MatRef, Par};
use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rayon::prelude::*;

use super::{Panel, add_products, over_panels, sliced, time_features, time_panels};
use crate::family::Linear;
use crate::numerics::linalg;
use crate::numerics::panels::{Rule, union};
use crate::problem::{LinePosterior, Objective, Problem, Regression, Training};
use crate::statistics::Measure;

/// Components of the noised mixture are followed to this many standard deviations: beyond lies less than 1e-17.
const REACH: f64 = 8.6;

/// The nodes at one time.
struct Slice {
    /// The posterior and the regression target at this time: what draws a target at a node.
    posterior: LinePosterior,
    regression: Regression,
    lambda: f64,
    /// Index of the first node among all.
    first: usize,
    x: Vec<f64>,
    /// Quadrature weight times density: the weights of all nodes of all slices sum to 1.
    weight: Vec<f64>,
    /// E[y|x,t] and Var(y|x,t) of the regression target, without the factor sqrt(lambda).
    mean: Vec<f64>,
    variance: Vec<f64>,
    /// Features of space, F_x x nodes.
    space: DMatrix<f64>,
}

/// A linear family on its training distribution on the line, discretised at one refinement level.
pub struct LinePopulation<'a> {
    family: &'a Linear,
    objective: Objective,
    slices: Vec<Slice>,
    /// Features of time, F_t x slices.
    time: DMatrix<f64>,
    /// The intervals of time that the slices come from, each with the range of its slices.
    panels: Vec<Panel>,
}

/// Law of the residual r = y - z^T w at a node under a tilt exp(e r).
#[derive(Debug, Clone, Copy)]
pub struct TiltedResidual {
    /// ln E[exp(e r)].
    pub log: f64,
    pub mean: f64,
    pub variance: f64,
}

impl<'a> LinePopulation<'a> {
    /// Estimate of the number of nodes that [`LinePopulation::new`] lays at the coarsest level (every level has four times as
    /// many), in constant time whatever the scales: what would be absurdly many saturates.
    pub fn coarsest_nodes(problem: &Problem, family: &Linear) -> u64 {
        let panels = |t: f64| expected_panels(&LinePosterior::new(problem, t), family);
        let per_panel = (Rule::nodes_per_panel() as f64).powi(2);
        // A conversion from f64 saturates.
        (per_panel * over_panels(problem, family, panels)) as u64
    }

    /// Bytes that a population of so many nodes holds, with what a fixed point on it needs besides: per node the features
    /// of space, five numbers, and an accelerated iteration's memory.
    pub fn bytes(family: &Linear, nodes: u64) -> u64 {
        let per_node = family.features.space_len() as u64 + 24;
        nodes.saturating_mul(per_node).saturating_mul(8)
    }

    /// Lays panels that resolve the features, the noise level at each time, and the layer at small t; every level
    /// halves them all.
    pub fn new(problem: &Problem, family: &'a Linear, training: &Training, level: u32) -> Self {
        let span = problem.t_max - problem.t_min;
        let panels = time_panels(problem, family);
        let times = Rule::composite(&panels, level);
        let mut slices: Vec<Slice> = times
            .nodes
            .par_iter()
            .zip(&times.weights)
            .map(|(&t, w)| Slice::new(problem, family, training, level, t, w / span))
            .collect();
        let mut first = 0;
        for slice in &mut slices {
            slice.first = first;
            first += slice.x.len();
        }
        let panels = sliced(&panels, slices.len());
        Self {
            family,
            objective: training.objective,
            time: time_features(family, &times.nodes),
            slices,
            panels,
        }
    }

    /// The panels of the time axis, in order.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// The nodes of a panel.
    pub fn nodes_of(&self, panel: &Panel) -> std::ops::Range<usize> {
        let last = &self.slices[panel.slices.end - 1];
        self.slices[panel.slices.start].first..last.first + last.x.len()
    }

    /// The values of one slice among those of all nodes.
    fn own<'b>(&self, slice: &Slice, all: &'b [f64]) -> &'b [f64] {
        &all[slice.first..slice.first + slice.x.len()]
    }

    /// Node values computed slice by slice.
    fn by_slice(&self, f: impl Fn(usize, &Slice, &mut [f64]) + Sync) -> Vec<f64> {
        let parts: Vec<Vec<f64>> = self
            .slices
            .par_iter()
            .enumerate()
            .map(|(i, slice)| {
                let mut out = vec![0.0; slice.x.len()];
                f(i, slice, &mut out);
                out
            })
            .collect();
        parts.concat()
    }

    /// E[y|z] - W^T z at every node, W of shape F x 1.
    pub fn misfit(&self, weights: &DMatrix<f64>) -> Vec<f64> {
        self.by_slice(|i, slice, out| {
            self.fit(i, slice, weights.as_slice(), out);
            let root = slice.lambda.sqrt();
            for (o, y) in out.iter_mut().zip(&slice.mean) {
                *o = root * (y - *o);
            }
        })
    }

    /// The slice of a node, and its index there.
    fn place(&self, node: usize) -> (usize, usize) {
        let slice = self.slices.partition_point(|s| s.first <= node) - 1;
        (slice, node - self.slices[slice].first)
    }

    /// out += factor z at a node; `out` of length F.
    pub(super) fn add_row(&self, node: usize, factor: f64, out: &mut [f64]) {
        let (i, index) = self.place(node);
        let (slice, time) = (&self.slices[i], self.time.column(i));
        let scale = factor * slice.lambda.sqrt();
        let space = slice.space.column(index);
        add_products(out, scale, space.as_slice(), time.as_slice());
    }

    /// A draw of the target y = sqrt(lambda) f at a node: its conditional law, or its mean under the exact objective.
    /// `scratch` keeps the posterior's weights.
    pub(super) fn draw_target<R: Rng + ?Sized>(
        &self,
        node: usize,
        rng: &mut R,
        scratch: &mut Vec<f64>,
    ) -> f64 {
        let (i, index) = self.place(node);
        let slice = &self.slices[i];
        let target = match self.objective {
            Objective::Esm => slice.mean[index],
            Objective::Dsm => {
                let x = slice.x[index];
                let uniform = rng.random::<f64>();
                let normal = || rng.sample::<f64, _>(StandardNormal);
                let (_, clean) = slice.posterior.mean_and_draw(x, uniform, normal, scratch);
                slice.regression.p * clean + slice.regression.q * x
            }
        };
        slice.lambda.sqrt() * target
    }

    /// As [`super::Population::responsibilities`].
    pub(super) fn responsibilities(&self, nodes: std::ops::Range<usize>) -> DMatrix<f64> {
        let components = self.slices[0].posterior.marginals().count();
        let mut out = DMatrix::zeros(components, nodes.len());
        for (node, mut column) in nodes.zip(out.column_iter_mut()) {
            let (i, index) = self.place(node);
            let slice = &self.slices[i];
            let x = slice.x[index];
            slice.posterior.responsibilities(x, column.as_mut_slice());
        }
        out
    }

    /// As [`super::Population::target_given_clean`].
    pub(super) fn target_given_clean(&self) -> (Vec<f64>, Vec<f64>) {
        let noisy = self.objective == Objective::Dsm;
        let slopes = self.by_slice(|_, slice, out| {
            let slope = if noisy { slice.regression.p } else { 0.0 };
            out.fill(slice.lambda.sqrt() * slope);
        });
        let offsets = self.by_slice(|_, slice, out| {
            let root = slice.lambda.sqrt();
            for ((o, x), mean) in out.iter_mut().zip(&slice.x).zip(&slice.mean) {
                *o = root * if noisy { slice.regression.q * x } else { *mean };
            }
        });
        (slopes, offsets)
    }

    /// The residual's law at every node under the tilt exp(e r); `fit` is z^T w, `tilt` is e, both per node.
    pub(super) fn tilted(&self, fit: &[f64], tilt: &[f64]) -> Vec<TiltedResidual> {
        let parts: Vec<Vec<TiltedResidual>> = self
            .slices
            .par_iter()
            .map(|slice| {
                self.own(slice, fit)
                    .iter()
                    .zip(self.own(slice, tilt))
                    .enumerate()
                    .map(|(n, (fit, tilt))| slice.tilted(self.objective, n, *fit, *tilt))
                    .collect()
            })
            .collect();
        parts.concat()
    }

    /// Sum of factor z over all nodes, without their probabilities: the adjoint of [`Measure::project`]. Length F.
    pub(super) fn combine(&self, factor: &[f64]) -> DVector<f64> {
        self.sum_features(|slice, n| slice.lambda.sqrt() * self.own(slice, factor)[n])
    }

    /// Sum of coefficient phi over all nodes, length F.
    fn sum_features(&self, coefficient: impl Fn(&Slice, usize) -> f64 + Sync) -> DVector<f64> {
        let parts: Vec<Vec<f64>> = self
            .slices
            .par_iter()
            .map(|slice| {
                let mut sum = vec![0.0; slice.space.nrows()];
                for (n, phi) in slice.space.column_iter().enumerate() {
                    let scale = coefficient(slice, n);
                    for (s, p) in sum.iter_mut().zip(phi.as_slice()) {
                        *s += scale * p;
                    }
                }
                sum
            })
            .collect();
        let mut out = DVector::zeros(self.features());
        for (part, v) in parts.iter().zip(self.time.column_iter()) {
            add_products(out.as_mut_slice(), 1.0, part, v.as_slice());
        }
        out
    }

    /// All products v_a v_b of the time features, F_t^2 x slices.
    fn time_pairs(&self) -> DMatrix<f64> {
        let n = self.time.nrows();
        DMatrix::from_fn(n * n, self.time.ncols(), |ab, s| {
            self.time[(ab / n, s)] * self.time[(ab % n, s)]
        })
    }

    /// f = W phi at the nodes of one slice.
    fn fit(&self, index: usize, slice: &Slice, weights: &[f64], out: &mut [f64]) {
        let v = self.time.column(index);
        let contracted: Vec<f64> = weights
            .chunks_exact(v.len())
            .map(|row| crate::family::features::dot(row, v.as_slice()))
            .collect();
        for (o, phi) in out.iter_mut().zip(slice.space.column_iter()) {
            *o = crate::family::features::dot(&contracted, phi.as_slice());
        }
    }
}

impl Measure for LinePopulation<'_> {
    fn features(&self) -> usize {
        self.family.features.len()
    }

    fn outputs(&self) -> usize {
        1
    }

    fn nodes(&self) -> usize {
        self.slices.last().map_or(0, |s| s.first + s.x.len())
    }

    /// Contracts the time features of all slices in one product (2 F^2 flops per slice), then space (2 F_x^2 per node).
    fn quadratic(&self, matrix: &DMatrix<f64>) -> Vec<f64> {
        let (space, time) = (self.slices[0].space.nrows(), self.time.nrows());
        let unfolded = DMatrix::from_fn(space * space, time * time, |ij, ab| {
            matrix[(
                (ij / space) * time + ab / time,
                (ij % space) * time + ab % time,
            )]
        });
        let contracted = parallel_product(&unfolded, &self.time_pairs());
        self.by_slice(|i, slice, out| {
            let inner = MatRef::from_column_major_slice(
                &contracted.as_slice()[i * space * space..(i + 1) * space * space],
                space,
                space,
            );
            let half = linalg::multiply(inner, linalg::view(&slice.space));
            for ((o, l), r) in out
                .iter_mut()
                .zip(half.column_iter())
                .zip(slice.space.column_iter())
            {
                *o = slice.lambda * crate::family::features::dot(l.as_slice(), r.as_slice());
            }
        })
    }

    fn gram(&self, factor: &[f64]) -> DMatrix<f64> {
        let (space, time) = (self.slices[0].space.nrows(), self.time.nrows());
        let grams: Vec<DMatrix<f64>> = self
            .slices
            .par_iter()
            .map(|slice| {
                let mut weighted = slice.space.clone();
                for ((mut column, w), f) in weighted
                    .column_iter_mut()
                    .zip(&slice.weight)
                    .zip(self.own(slice, factor))
                {
                    column *= w * f * slice.lambda;
                }
                linalg::multiply(
                    linalg::view(&weighted),
                    linalg::view(&slice.space).transpose(),
                )
            })
            .collect();
        let mut all = DMatrix::zeros(space * space, grams.len());
        for (gram, mut column) in grams.iter().zip(all.column_iter_mut()) {
            column.copy_from_slice(gram.as_slice());
        }
        let folded = parallel_product(&all, &self.time_pairs().transpose());
        let mut out = DMatrix::from_fn(space * time, space * time, |row, column| {
            folded[(
                (row / time) * space + column / time,
                (row % time) * time + column % time,
            )]
        });
        linalg::symmetrise(&mut out);
        out
    }

    fn cross(&self, factor: &[f64]) -> DMatrix<f64> {
        let sum = self.sum_features(|slice, n| {
            slice.weight[n] * self.own(slice, factor)[n] * slice.lambda * slice.mean[n]
        });
        DMatrix::from_column_slice(sum.len(), 1, sum.as_slice())
    }

    fn project(&self, direction: &[f64]) -> Vec<f64> {
        self.by_slice(|i, slice, out| {
            self.fit(i, slice, direction, out);
            let root = slice.lambda.sqrt();
            for o in out {
                *o *= root;
            }
        })
    }

    fn residual(&self, weights: &DMatrix<f64>, _: (usize, usize)) -> Vec<f64> {
        self.by_slice(|i, slice, out| {
            self.fit(i, slice, weights.as_slice(), out);
            for ((o, y), variance) in out.iter_mut().zip(&slice.mean).zip(&slice.variance) {
                *o = slice.lambda * (variance + (y - *o).powi(2));
            }
        })
    }

    fn weights(&self) -> Vec<f64> {
        self.slices
            .iter()
            .flat_map(|s| s.weight.iter().copied())
            .collect()
    }
}

/// `lhs * rhs` with the columns of the result shared out in fixed blocks: the same bits on any number of threads.
fn parallel_product(lhs: &DMatrix<f64>, rhs: &DMatrix<f64>) -> DMatrix<f64> {
    const COLUMNS: usize = 32;
    let (rows, inner) = lhs.shape();
    let mut out = DMatrix::zeros(rows, rhs.ncols());
    out.as_mut_slice()
        .par_chunks_mut(rows * COLUMNS)
        .zip(rhs.as_slice().par_chunks(inner * COLUMNS))
        .for_each(|(out, rhs)| {
            let columns = rhs.len() / inner;
            faer::linalg::matmul::matmul(
                MatMut::from_column_major_slice_mut(out, rows, columns),
                Accum::Replace,
                linalg::view(lhs),
                MatRef::from_column_major_slice(rhs, inner, columns),
                1.0,
                Par::Seq,
            );
        });
    out
}

impl Slice {
    fn new(
        problem: &Problem,
        family: &Linear,
        training: &Training,
        level: u32,
        t: f64,
        time_weight: f64,
    ) -> Self {
        let regression = family.predicts.regression(&problem.diffusion, t);
        let posterior = LinePosterior::new(problem, t);
        let rule = Rule::composite(&space_panels(&posterior, family), level);
        let (mut x, mut weight, mut mean, mut variance) = (vec![], vec![], vec![], vec![]);
        for (&node, w) in rule.nodes.iter().zip(&rule.weights) {
            let m = posterior.at(node);
            let mass = time_weight * w * m.log_density.exp();
            if mass > 0.0 {
                x.push(node);
                weight.push(mass);
                mean.push(regression.p * m.mean + regression.q * node);
                variance.push(match training.objective {
                    Objective::Dsm => regression.p * regression.p * m.variance,
                    Objective::Esm => 0.0,
                });
            }
        }
        let mut space = DMatrix::zeros(family.features.space_len(), x.len());
        for (x, mut column) in x.iter().zip(space.column_iter_mut()) {
            family
                .features
                .space
                .line()
                .values(*x, column.as_mut_slice());
        }
        Self {
            posterior,
            regression,
            lambda: training.lambda(problem, family.predicts, t),
            first: 0,
            x,
            weight,
            mean,
            variance,
            space,
        }
    }

    /// Law of r = y - fit at node `n` under exp(tilt r).
    fn tilted(&self, objective: Objective, n: usize, fit: f64, tilt: f64) -> TiltedResidual {
        let root = self.lambda.sqrt();
        match objective {
            Objective::Esm => {
                let mean = root * self.mean[n] - fit;
                TiltedResidual {
                    log: tilt * mean,
                    mean,
                    variance: 0.0,
                }
            }
            Objective::Dsm => {
                let slope = root * self.regression.p;
                let rest = root * self.regression.q * self.x[n] - fit;
                let clean = self.posterior.tilted(self.x[n], tilt * slope);
                TiltedResidual {
                    log: tilt * rest + clean.log,
                    mean: slope * clean.mean + rest,
                    variance: slope * slope * clean.variance,
                }
            }
        }
    }
}

/// About as many panels as [`space_panels`] lays.
fn expected_panels(posterior: &LinePosterior, family: &Linear) -> f64 {
    let features = family.features.space.line();
    let support = features
        .support()
        .unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    let marginals: Vec<(f64, f64)> = posterior.marginals().collect();
    let narrowest = marginals.iter().map(|m| m.1).fold(f64::INFINITY, f64::min);
    let reach = |(centre, std): &(f64, f64)| (centre - REACH * std, centre + REACH * std);
    let pieces = union(marginals.iter().map(reach).collect());
    let length: f64 = pieces.iter().map(|p| p.1 - p.0).sum();
    let inside: f64 = pieces
        .iter()
        .map(|p| (p.1.min(support.1) - p.0.max(support.0)).max(0.0))
        .sum();
    // Each component's reach in units of its own width, and all of it in units of the narrowest: both bound the number.
    let by_noise = (2.0 * REACH * marginals.len() as f64).min(length / narrowest);
    by_noise.max(inside / (2.0 * features.scale())) + pieces.len() as f64
}

/// Panels that cover the noised data, each no longer than the narrowest component above it and, where there are
/// features, than they vary over.
fn space_panels(posterior: &LinePosterior, family: &Linear) -> Vec<(f64, f64)> {
    let features = family.features.space.line();
    let support = features
        .support()
        .unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    let mut pieces: Vec<(f64, f64, f64)> = posterior
        .marginals()
        .map(|(centre, std)| (centre - REACH * std, centre + REACH * std, std))
        .collect();
    pieces.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut panels = Vec::new();
    for (low, high) in union(pieces.iter().map(|p| (p.0, p.1)).collect()) {
        let mut start = low;
        while start < high {
            let noise = pieces
                .iter()
                .filter(|p| p.0 <= start && start < p.1)
                .map(|p| p.2)
                .fold(f64::INFINITY, f64::min);
            let mut length = if noise.is_finite() {
                noise
            } else {
                high - start
            };
            let mut limit = high;
            if start >= support.0 && start < support.1 {
                length = length.min(2.0 * features.scale());
                limit = limit.min(support.1);
            } else if start < support.0 {
                limit = limit.min(support.0);
            }
            let mut end = start + length;
            if end + 0.25 * length > limit {
                end = limit;
            }
            panels.push((start, end));
            start = end;
        }
    }
    panels
}
