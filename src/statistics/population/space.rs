//! Population averages in D >= 2 (derivations/16-more-dimensions.md): Gauss-Legendre panels in time; in space a grid per
//! time in the plane, scattered points in more dimensions.

use std::ops::Range;

use faer::{Accum, MatRef, Par};
use nalgebra::{DMatrix, DVector};
use rand::Rng;
use rayon::prelude::*;

use super::contraction::{Contraction, pair_products};
use super::points::{Grid, Points, expected, fits_grid, scattered};
use super::{Attainable, Panel, add_products, over_panels, sliced, time_features, time_panels};
use crate::family::Linear;
use crate::family::features::dot;
use crate::numerics::linalg::{multiply, view, view_mut};
use crate::numerics::pairs;
use crate::numerics::panels::Rule;
use crate::problem::{CloudPosterior, Objective, Problem, Regression, Training};
use crate::statistics::{Measure, PAIRS_AT_ONCE};

/// Slices whose sums over space are held at a time.
const SLICES: usize = 32;

/// How a population in D >= 2 is laid and summed: by default the fastest that the features allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// A grid per time (D = 2), or scattered points.
    pub grid: bool,
    /// Sums factor by factor, where the features are products.
    pub separable: bool,
}

impl Layout {
    /// Grids in the plane, unless so many features without factors are summed that its nodes cost more than they tell;
    /// factor by factor wherever there are factors.
    pub fn of(family: &Linear, dim: usize) -> Self {
        const MOST_WHOLE: usize = 64;
        let space = &family.features.space;
        let separable = space.factors().is_some();
        Self {
            grid: dim == 2 && (separable || space.len() <= MOST_WHOLE),
            separable,
        }
    }
}

/// The nodes at one time: its points and, last, what lies where all features vanish.
struct Slice {
    /// The regression target and sqrt(lambda) at this time.
    regression: Regression,
    root: f64,
    /// The time; a posterior for each would hold the whole data each.
    t: f64,
    /// Index of the first node among all.
    first: usize,
    points: Points,
    /// Probabilities of the nodes: of all nodes of all slices they sum to 1.
    weight: Vec<f64>,
    /// E[y|x,t] at the points, output-major, without the factor sqrt(lambda).
    mean: Vec<f64>,
    /// Cov(y_i, y_j|x,t) at the points for i <= j, i running slowest, without the factor lambda.
    covariance: Vec<f64>,
}

/// A linear family on its training distribution in D >= 2, discretised at one refinement level.
pub struct SpacePopulation<'a> {
    problem: Problem,
    family: &'a Linear,
    objective: Objective,
    layout: Layout,
    contraction: Contraction,
    slices: Vec<Slice>,
    /// Features of time, F_t x slices.
    time: DMatrix<f64>,
    panels: Vec<Panel>,
}

/// The index of the pair (i, j) among the pairs i <= j of `count`, i running slowest.
fn pair_of(i: usize, j: usize, count: usize) -> usize {
    let (i, j) = (i.min(j), i.max(j));
    i * count - i * (i + 1) / 2 + j
}

impl<'a> SpacePopulation<'a> {
    /// As [`super::Population::coarsest_nodes`].
    pub fn coarsest_nodes(problem: &Problem, family: &Linear) -> u64 {
        let on_grid = Layout::of(family, problem.dim()).grid;
        let per_slice = |t: f64| expected(problem, family, t, on_grid);
        // A conversion from f64 saturates.
        (Rule::nodes_per_panel() as f64 * over_panels(problem, family, per_slice)) as u64
    }

    /// Flops of one sum over all nodes of the coarsest level, roughly: over the points of every time, then over times.
    pub fn pass_flops(problem: &Problem, family: &Linear) -> f64 {
        let layout = Layout::of(family, problem.dim());
        let contraction = Contraction::new(&family.features.space, layout.separable);
        let slices = Rule::nodes_per_panel() as f64 * over_panels(problem, family, |_| 1.0);
        let points = Self::coarsest_nodes(problem, family) as f64 / slices;
        let time = family.features.time.len() as f64;
        let times = time * (time + 1.0) * contraction.packed() as f64;
        slices * (contraction.flops(points, layout.grid) + times)
    }

    /// The level at which the statistics converge, as a rule.
    pub fn usual_level(problem: &Problem, family: &Linear) -> u32 {
        match Layout::of(family, problem.dim()).grid {
            true => 1,
            false => 2,
        }
    }

    /// Bytes that a population of so many nodes holds, with what fixed points on it need besides: per node its point and
    /// moments, and an accelerated iteration's memory for every pair of outputs solved at a time; the packed forms.
    pub fn bytes(family: &Linear, nodes: u64) -> u64 {
        const ITERATION: u64 = 20;
        let (space, time) = (&family.features.space, family.features.time.len() as u64);
        let dim = space.dim() as u64;
        let at_once = (dim * (dim + 1) / 2).min(PAIRS_AT_ONCE as u64);
        let per_node = 1 + 2 * dim + dim * (dim + 1) / 2 + ITERATION * at_once;
        let packed = Contraction::new(space, true).packed() as u64;
        let forms = packed.saturating_mul(SLICES as u64 + time.saturating_mul(time + 1));
        nodes
            .saturating_mul(per_node)
            .saturating_add(forms)
            .saturating_mul(8)
    }

    /// Lays the nodes; every level halves the panels of time and doubles the points of each time.
    pub fn new(
        problem: &Problem,
        family: &'a Linear,
        training: &Training,
        level: u32,
        layout: Layout,
    ) -> Self {
        let span = problem.t_max - problem.t_min;
        let panels = time_panels(problem, family);
        let times = Rule::composite(&panels, level);
        let laying = Laying {
            problem,
            family,
            training,
            layout,
            level,
        };
        let mut slices: Vec<Slice> = times
            .nodes
            .par_iter()
            .zip(&times.weights)
            .enumerate()
            .map(|(i, (&t, w))| laying.slice(i, t, w / span))
            .collect();
        let mut first = 0;
        for slice in &mut slices {
            slice.first = first;
            first += slice.weight.len();
        }
        let panels = sliced(&panels, slices.len());
        Self {
            problem: problem.clone(),
            family,
            objective: training.objective,
            layout,
            contraction: Contraction::new(&family.features.space, layout.separable),
            time: time_features(family, &times.nodes),
            slices,
            panels,
        }
    }

    /// A grid's error of 3e-3 becomes 3e-4 at the next level, which is the one that counts: its exponent grows with the
    /// inverse spacing (D16.2). Scattered points go like a little more than 1/n. Near the interpolation threshold the
    /// covariance's recursion amplifies the error; what is left of it is told with the result.
    pub(super) fn attainable(&self) -> Attainable {
        match self.layout.grid {
            true => Attainable {
                converged: 3e-3,
                refused: 0.2,
            },
            false => Attainable {
                converged: 1e-2,
                refused: 5e-2,
            },
        }
    }

    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// The nodes of a panel.
    pub fn nodes_of(&self, panel: &Panel) -> Range<usize> {
        let last = &self.slices[panel.slices.end - 1];
        self.slices[panel.slices.start].first..last.first + last.weight.len()
    }

    /// E[y|z] - W^T z at every node, of all outputs one after another; W of shape F x D.
    pub fn misfit(&self, weights: &DMatrix<f64>) -> Vec<f64> {
        let outputs: Vec<Vec<f64>> = (0..weights.ncols())
            .map(|o| {
                self.by_slice(|i, slice, out| {
                    self.misfit_of(i, slice, weights, o, out);
                    for r in out {
                        *r *= slice.root;
                    }
                })
            })
            .collect();
        outputs.concat()
    }

    /// f - W phi of output `o` at the points of one slice, without the factor sqrt(lambda).
    fn misfit_of(
        &self,
        i: usize,
        slice: &Slice,
        weights: &DMatrix<f64>,
        o: usize,
        out: &mut [f64],
    ) {
        self.fit(i, slice, weights.column(o).as_slice(), out);
        for (r, y) in out.iter_mut().zip(slice.mean_of(o)) {
            *r = y - *r;
        }
    }

    /// Node values computed slice by slice at the points; zero where features vanish.
    fn by_slice(&self, f: impl Fn(usize, &Slice, &mut [f64]) + Sync) -> Vec<f64> {
        self.in_slices(0..self.slices.len(), f)
    }

    /// The same of some slices.
    fn in_slices(
        &self,
        range: Range<usize>,
        f: impl Fn(usize, &Slice, &mut [f64]) + Sync,
    ) -> Vec<f64> {
        let parts: Vec<Vec<f64>> = range
            .into_par_iter()
            .map(|i| {
                let slice = &self.slices[i];
                let mut out = vec![0.0; slice.weight.len()];
                let points = slice.points.len();
                if points > 0 {
                    f(i, slice, &mut out[..points]);
                }
                out
            })
            .collect();
        parts.concat()
    }

    /// W phi at the points of one slice.
    fn fit(&self, index: usize, slice: &Slice, weights: &[f64], out: &mut [f64]) {
        let v = self.time.column(index);
        let contracted: Vec<f64> = weights
            .chunks_exact(v.len())
            .map(|row| dot(row, v.as_slice()))
            .collect();
        self.contraction.fit(&slice.points, &contracted, out);
    }

    /// Sum of coefficient z at the nodes, length F. The coefficients are those of one slice.
    fn sum_rows(&self, coefficient: impl Fn(&Slice) -> Vec<f64> + Sync) -> Vec<f64> {
        let parts: Vec<Vec<f64>> = self
            .slices
            .par_iter()
            .map(|slice| match slice.points.len() {
                0 => vec![0.0; self.family.features.space_len()],
                _ => self.contraction.combine(&slice.points, &coefficient(slice)),
            })
            .collect();
        let mut out = vec![0.0; self.features()];
        for (part, v) in parts.iter().zip(self.time.column_iter()) {
            add_products(&mut out, 1.0, part, v.as_slice());
        }
        out
    }

    /// Sum of factor z over all nodes, without their probabilities.
    pub(super) fn combine(&self, factor: &[f64]) -> DVector<f64> {
        let sum = self.sum_rows(|slice| {
            let own = &factor[slice.first..slice.first + slice.points.len()];
            own.iter().map(|f| slice.root * f).collect()
        });
        DVector::from_vec(sum)
    }

    /// Where the product of features s and s' of space stands in a packed form, F_x x F_x, and the same of time.
    fn indices(&self) -> (DMatrix<usize>, DMatrix<usize>) {
        let (space, time) = (self.family.features.space_len(), self.time.nrows());
        (
            DMatrix::from_fn(space, space, |s, other| self.contraction.index(s, other)),
            DMatrix::from_fn(time, time, pairs::place),
        )
    }

    /// Products of all pairs of features of time, one column per slice.
    fn time_pairs(&self, slices: Range<usize>) -> DMatrix<f64> {
        pair_products(&self.time.columns_range(slices).into_owned())
    }

    /// The slice of a node, and its index there.
    fn place(&self, node: usize) -> (usize, usize) {
        let slice = self.slices.partition_point(|s| s.first <= node) - 1;
        (slice, node - self.slices[slice].first)
    }

    /// As [`super::Population::add_row`].
    pub(super) fn add_row(&self, node: usize, factors: &[f64], out: &mut [f64]) {
        let (i, index) = self.place(node);
        let (slice, time) = (&self.slices[i], self.time.column(i));
        if index >= slice.points.len() {
            return;
        }
        let features = &self.family.features.space;
        let (mut x, mut phi) = (vec![0.0; self.problem.dim()], vec![0.0; features.len()]);
        slice.points.coordinates(index, &mut x);
        features.values(&x, &mut phi);
        let outputs = out.chunks_exact_mut(phi.len() * time.len());
        for (factor, out) in factors.iter().zip(outputs) {
            add_products(out, factor * slice.root, &phi, time.as_slice());
        }
    }

    /// A draw of the target at a node; anything where features vanish, and with them what the target does.
    pub(super) fn draw_target<R: Rng + ?Sized>(
        &self,
        node: usize,
        rng: &mut R,
        scratch: &mut Vec<f64>,
        target: &mut [f64],
    ) {
        let (i, index) = self.place(node);
        let slice = &self.slices[i];
        target.fill(0.0);
        if index >= slice.points.len() {
            return;
        }
        match self.objective {
            Objective::Esm => {
                for (o, y) in target.iter_mut().enumerate() {
                    *y = slice.root * slice.mean_of(o)[index];
                }
            }
            Objective::Dsm => {
                let mut x = vec![0.0; target.len()];
                slice.points.coordinates(index, &mut x);
                scratch.resize(x.len(), 0.0);
                CloudPosterior::new(&self.problem, slice.t).mean_and_draw(&x, rng, scratch, target);
                let Regression { p, q } = slice.regression;
                for (y, x) in target.iter_mut().zip(&x) {
                    *y = slice.root * (p * *y + q * x);
                }
            }
        }
    }

    /// As [`super::Population::responsibilities`].
    pub(super) fn responsibilities(&self, nodes: Range<usize>) -> DMatrix<f64> {
        let (dim, components) = (self.problem.dim(), self.problem.data.components().len());
        let mut out = DMatrix::zeros(components, nodes.len());
        let mut start = nodes.start;
        while start < nodes.end {
            let (i, index) = self.place(start);
            let slice = &self.slices[i];
            let end = nodes.end.min(slice.first + slice.weight.len());
            let count = end.min(slice.first + slice.points.len()).max(start) - start;
            let (mut x, mut point) = (vec![0.0; dim * count], vec![0.0; dim]);
            for k in 0..count {
                slice.points.coordinates(index + k, &mut point);
                for (coordinate, value) in point.iter().enumerate() {
                    x[coordinate * count + k] = *value;
                }
            }
            let first = (start - nodes.start) * components;
            let own = &mut out.as_mut_slice()[first..first + count * components];
            CloudPosterior::new(&self.problem, slice.t).responsibilities(&x, own);
            start = end;
        }
        out
    }

    /// As [`super::Population::target_given_clean`].
    pub(super) fn target_given_clean(&self) -> (Vec<f64>, Vec<f64>) {
        let noisy = self.objective == Objective::Dsm;
        let slopes = self.by_slice(|_, slice, out| {
            out.fill(slice.root * if noisy { slice.regression.p } else { 0.0 });
        });
        let offsets = (0..self.outputs()).flat_map(|o| {
            self.by_slice(|_, slice, out| {
                if !noisy {
                    out.copy_from_slice(slice.mean_of(o));
                } else {
                    let mut x = vec![0.0; self.problem.dim()];
                    for (k, offset) in out.iter_mut().enumerate() {
                        slice.points.coordinates(k, &mut x);
                        *offset = slice.regression.q * x[o];
                    }
                }
                for offset in out {
                    *offset *= slice.root;
                }
            })
        });
        (slopes, offsets.collect())
    }
}

impl Measure for SpacePopulation<'_> {
    fn features(&self) -> usize {
        self.family.features.len()
    }

    fn outputs(&self) -> usize {
        self.problem.dim()
    }

    fn nodes(&self) -> usize {
        self.slices.last().map_or(0, |s| s.first + s.weight.len())
    }

    /// Packs the form, contracts time (F_t (F_t + 1)/2 products per packed entry and slice), then space.
    fn quadratic(&self, matrix: &DMatrix<f64>) -> Vec<f64> {
        let time = self.time.nrows();
        let (space_index, time_index) = self.indices();
        let pairs = pairs::count(time);
        let mut form = DMatrix::zeros(self.contraction.packed(), pairs);
        for (column, values) in matrix.column_iter().enumerate() {
            for (row, v) in values.iter().enumerate() {
                form[(
                    space_index[(row / time, column / time)],
                    time_index[(row % time, column % time)],
                )] += v;
            }
        }
        let all = self.slices.len();
        let mut values = Vec::with_capacity(self.nodes());
        for first in (0..all).step_by(SLICES) {
            let range = first..(first + SLICES).min(all);
            let pairs = self.time_pairs(range.clone());
            let contracted = multiply(view(&form), view(&pairs));
            values.extend(self.in_slices(range, |i, slice, out| {
                let form = contracted.column(i - first);
                self.contraction
                    .quadratic(&slice.points, form.as_slice(), out);
                for o in out {
                    *o *= slice.root * slice.root;
                }
            }));
        }
        values
    }

    fn project(&self, direction: &[f64]) -> Vec<f64> {
        self.by_slice(|i, slice, out| {
            self.fit(i, slice, direction, out);
            for o in out {
                *o *= slice.root;
            }
        })
    }

    fn gram(&self, factor: &[f64]) -> DMatrix<f64> {
        let (packed, time) = (self.contraction.packed(), self.time.nrows());
        let mut folded = DMatrix::zeros(packed, pairs::count(time));
        for (chunk, slices) in self.slices.chunks(SLICES).enumerate() {
            let sums: Vec<Vec<f64>> = slices
                .par_iter()
                .map(|slice| match slice.points.len() {
                    0 => vec![0.0; packed],
                    _ => {
                        let lambda = slice.root * slice.root;
                        let coefficient = slice.weighted(factor, lambda);
                        self.contraction.gram(&slice.points, &coefficient)
                    }
                })
                .collect();
            let sums = sums.concat();
            let first = chunk * SLICES;
            let pairs = self.time_pairs(first..first + slices.len());
            faer::linalg::matmul::matmul(
                view_mut(&mut folded),
                Accum::Add,
                MatRef::from_column_major_slice(&sums, packed, slices.len()),
                view(&pairs).transpose(),
                1.0,
                Par::Seq,
            );
        }
        let (space_index, time_index) = self.indices();
        let f = self.features();
        DMatrix::from_fn(f, f, |row, column| {
            folded[(
                space_index[(row / time, column / time)],
                time_index[(row % time, column % time)],
            )]
        })
    }

    fn cross(&self, factor: &[f64]) -> DMatrix<f64> {
        let columns: Vec<f64> = (0..self.outputs())
            .flat_map(|o| {
                self.sum_rows(|slice| {
                    let mut coefficient = slice.weighted(factor, slice.root * slice.root);
                    for (c, y) in coefficient.iter_mut().zip(slice.mean_of(o)) {
                        *c *= y;
                    }
                    coefficient
                })
            })
            .collect();
        DMatrix::from_column_slice(self.features(), self.outputs(), &columns)
    }

    fn residual(&self, weights: &DMatrix<f64>, (i, j): (usize, usize)) -> Vec<f64> {
        let outputs = self.outputs();
        self.by_slice(|k, slice, out| {
            self.misfit_of(k, slice, weights, i, out);
            if i == j {
                for r in out.iter_mut() {
                    *r *= *r;
                }
            } else {
                let mut other = vec![0.0; out.len()];
                self.misfit_of(k, slice, weights, j, &mut other);
                for (r, other) in out.iter_mut().zip(&other) {
                    *r *= other;
                }
            }
            let n = out.len();
            let covariance = &slice.covariance[pair_of(i, j, outputs) * n..][..n];
            let lambda = slice.root * slice.root;
            for (r, c) in out.iter_mut().zip(covariance) {
                *r = lambda * (*r + c);
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

/// What all slices of a population have in common.
struct Laying<'a> {
    problem: &'a Problem,
    family: &'a Linear,
    training: &'a Training,
    layout: Layout,
    level: u32,
}

impl Laying<'_> {
    fn slice(&self, index: usize, t: f64, time_weight: f64) -> Slice {
        let (problem, family, training) = (self.problem, self.family, self.training);
        let on_grid = self.layout.grid && fits_grid(problem, family, t);
        let (points, lengths) = if on_grid {
            let grid = Grid::new(problem, family, t, self.level);
            (Points::Grid(grid.axes), Some(grid.lengths))
        } else {
            (scattered(problem, t, index, self.level), None)
        };
        let posterior = CloudPosterior::new(problem, t);
        let cloud = points.cloud();
        let moments = posterior.moments(&cloud);
        let n = points.len();
        let mut weight = match lengths {
            Some([first, second]) => first
                .iter()
                .flat_map(|a| second.iter().map(move |b| a * b))
                .zip(&moments.log_density)
                .map(|(area, log)| time_weight * area * log.exp())
                .collect(),
            None => vec![time_weight / n as f64; n],
        };
        let inside: f64 = weight.iter().sum();
        weight.push((time_weight - inside).max(0.0));
        let regression = family.predicts.regression(&problem.diffusion, t);
        let Regression { p, q } = regression;
        let mean = moments
            .mean
            .iter()
            .zip(&cloud)
            .map(|(m, x)| p * m + q * x)
            .collect();
        let variance = match training.objective {
            Objective::Dsm => p * p,
            Objective::Esm => 0.0,
        };
        let dim = problem.dim();
        let covariance = (0..dim)
            .flat_map(|i| (i..dim).map(move |j| i * dim + j))
            .flat_map(|e| &moments.covariance[e * n..(e + 1) * n])
            .map(|c| variance * c)
            .collect();
        Slice {
            regression,
            root: training.lambda(problem, family.predicts, t).sqrt(),
            t,
            first: 0,
            points,
            weight,
            mean,
            covariance,
        }
    }
}

impl Slice {
    /// E[y|x,t] of one output at the points.
    fn mean_of(&self, output: usize) -> &[f64] {
        let n = self.points.len();
        &self.mean[output * n..(output + 1) * n]
    }

    /// scale times probability times `factor` (of all nodes of the population) at the points.
    fn weighted(&self, factor: &[f64], scale: f64) -> Vec<f64> {
        let n = self.points.len();
        self.weight[..n]
            .iter()
            .zip(&factor[self.first..self.first + n])
            .map(|(w, f)| scale * w * f)
            .collect()
    }
}
