//! Gradient flow of a kernel machine for a finite time: mean and covariance to first order in each sample's influence (theory T16,
//! T17; derivations/22-kernel-machines.md).

use std::ops::Range;

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::kernel::{Level, expanded, largest};
use super::shared_points::SharedPoints;
use super::whitened::inner;
use super::{Measure, Population, StatisticsError, WeightStatistics, pairs};
use crate::family::KernelFamily;
use crate::numerics::linalg;
use crate::problem::{Problem, Training};

/// Modes that learn less than this share of their target by the end are left out.
const UNLEARNED: f64 = 1e-14;

/// Nodes whose features are held at a time.
pub(super) const BLOCK: usize = 512;

/// Groups of blocks that are summed independently: the same on any number of threads, and few, for each holds its sums.
pub(super) const GROUPS: usize = 8;

/// The weights' covariance by source: traces of E[lambda f f^T], the variance of the trained function over the training
/// distribution. They add up to the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowParts {
    /// The target's noise.
    pub target_noise: f64,
    /// Which samples were drawn.
    pub design: f64,
    /// That several samples share a clean point, beyond what as many fresh samples vary by.
    pub repeats: f64,
    /// The random initial function, filtered by I - k_tau.
    pub initial: f64,
}

/// The flow's linear algebra on one quadrature. With Sigma = E[z z^T], S = L^T Sigma L = U diag(mu) U^T and e = U^T L^T z.
pub(super) struct Modes {
    /// L U, F x r: the directions in which weights are learned independently.
    pub directions: DMatrix<f64>,
    /// mu.
    pub rates: Vec<f64>,
    /// (1 - e^{-mu tau})/mu.
    pub gains: DVector<f64>,
    time: f64,
    /// b = E[e y^T], r x D.
    targets: DMatrix<f64>,
}

impl Modes {
    /// The modes that learn more than a share `unlearned` of their target.
    pub fn new(
        sigma: &DMatrix<f64>,
        cross: &DMatrix<f64>,
        factor: &DMatrix<f64>,
        time: f64,
        unlearned: f64,
    ) -> Result<Self, StatisticsError> {
        let (rates, vectors) = linalg::symmetric_eigen(&inner(factor, sigma))?;
        let largest = rates.last().copied().unwrap_or(0.0);
        // Eigenvalues below the rounding of the largest are noise; what is slower than that is not learned either.
        let noise = largest * f64::EPSILON * rates.len() as f64;
        let first = rates.partition_point(|mu| *mu <= noise || mu * time <= unlearned);
        let kept = vectors.columns_range(first..).into_owned();
        let directions = linalg::multiply(linalg::view(factor), linalg::view(&kept));
        let rates = rates[first..].to_vec();
        let gain = |mu: &f64| -(-mu * time).exp_m1() / mu;
        Ok(Self {
            targets: directions.tr_mul(cross),
            directions,
            gains: DVector::from_iterator(rates.len(), rates.iter().map(gain)),
            rates,
            time,
        })
    }

    /// int_0^tau e^{-mu_k (tau - s)} (1 - e^{-mu_l s})/mu_l ds.
    fn memory(&self, k: usize, l: usize) -> f64 {
        let (a, b) = (self.rates[k], self.rates[l]);
        (self.gains[k] - self.decay(a, b)) / b
    }

    /// int_0^tau e^{-a (tau - s)} e^{-b s} ds = (e^{-b tau} - e^{-a tau})/(a - b), also where the rates are close.
    fn decay(&self, a: f64, b: f64) -> f64 {
        let (slow, gap) = (a.min(b), (a - b).abs());
        let x = gap * self.time;
        let share = if x < 1e-12 { 1.0 } else { -(-x).exp_m1() / x };
        (-slow * self.time).exp() * self.time * share
    }

    /// sum_k (1 - e^{-mu_k tau}), the modes learned, and lambda k_tau(z, z) at the nodes.
    pub fn reliability(&self, population: &Population<'_>) -> (f64, Vec<f64>) {
        let filter = DMatrix::from_diagonal(&self.gains);
        let learned = self
            .rates
            .iter()
            .zip(&self.gains)
            .map(|(mu, g)| mu * g)
            .sum();
        (
            learned,
            population.quadratic(&expanded(&self.directions, &filter, true)),
        )
    }

    /// What the influences remember of the mean function, one r x r matrix per output: h_kl b_l.
    pub fn memories(&self) -> Vec<DMatrix<f64>> {
        let r = self.rates.len();
        let columns = self.targets.column_iter();
        columns
            .map(|b| DMatrix::from_fn(r, r, |k, l| self.memory(k, l) * b[l]))
            .collect()
    }

    /// Mean weights in the modes, r x D.
    fn mean(&self) -> DMatrix<f64> {
        DMatrix::from_fn(self.rates.len(), self.targets.ncols(), |k, o| {
            self.gains[k] * self.targets[(k, o)]
        })
    }
}

/// Mean, covariance and what they rest on, on one quadrature.
pub(super) fn gradient_flow(
    population: &Population<'_>,
    problem: &Problem,
    family: &KernelFamily,
    training: &Training,
    time: f64,
) -> Result<Level, StatisticsError> {
    let ones = vec![1.0; population.nodes()];
    let sigma = population.gram(&ones);
    let modes = Modes::new(
        &sigma,
        &population.cross(&ones),
        &family.factor,
        time,
        UNLEARNED,
    )?;
    let (design, mean_influence) = design(population, &modes);
    let samples = training.samples as f64;
    let shared = (training.draws > 1).then(|| SharedPoints::new(population, &modes, &problem.data));
    // The other samples of a sample's clean point, of all samples.
    let others = (training.draws.max(1) - 1) as f64 / samples;
    let initial = initial(family, &modes, &sigma);
    let (mut blocks, mut parts) = (Vec::new(), [0.0; 4]);
    for ((i, j), mut drawn) in pairs(population.outputs()).zip(design) {
        let noise = target_noise(population, &modes, (i, j)) / samples;
        drawn.ger(
            -1.0,
            &mean_influence.column(i),
            &mean_influence.column(j),
            1.0,
        );
        drawn /= samples;
        let repeats = shared.as_ref().map(|s| s.covariance((i, j)) * others);
        let mut all = &noise + &drawn;
        if let Some(repeats) = &repeats {
            all += repeats;
        }
        let whole = expanded(&modes.directions, &all, i == j);
        let whole = match (&initial, i == j) {
            (Some(initial), true) => {
                parts[3] += sigma.dot(initial);
                whole + initial
            }
            _ => whole,
        };
        if i == j {
            // In the modes E[lambda f f^T] is diagonal.
            let variance = |c: &DMatrix<f64>| -> f64 {
                modes
                    .rates
                    .iter()
                    .enumerate()
                    .map(|(k, mu)| mu * c[(k, k)])
                    .sum()
            };
            parts[0] += variance(&noise);
            parts[1] += variance(&drawn);
            parts[2] += repeats.as_ref().map_or(0.0, variance);
        }
        blocks.push(whole);
    }
    let (effective_features, leverage) = modes.reliability(population);
    let kinship = shared.map_or(0.0, |s| s.kinship);
    Ok(Level {
        weights: WeightStatistics::from_blocks(&(&modes.directions * modes.mean()), &blocks),
        effective_features,
        largest_leverage: largest(&leverage, &population.weights()) / samples + kinship * others,
        parts: Some(FlowParts {
            target_noise: parts[0],
            design: parts[1],
            repeats: parts[2],
            initial: parts[3],
        }),
        equivalent: None,
    })
}

/// E[Cov(y_i, y_j) e e^T] filtered by the gains.
fn target_noise(
    population: &Population<'_>,
    modes: &Modes,
    outputs: (usize, usize),
) -> DMatrix<f64> {
    let variance = conditional_covariance(population, outputs);
    let mut out = inner(&modes.directions, &population.gram(&variance));
    for (k, mut column) in out.column_iter_mut().enumerate() {
        column.component_mul_assign(&modes.gains);
        column *= modes.gains[k];
    }
    out
}

/// Cov(y_i, y_j|z) at the nodes.
pub(super) fn conditional_covariance(
    population: &Population<'_>,
    (i, j): (usize, usize),
) -> Vec<f64> {
    let n = population.nodes();
    let none = DMatrix::zeros(population.features(), population.outputs());
    let means = population.misfit(&none);
    let second = population.residual(&none, (i, j));
    let products = means[i * n..(i + 1) * n]
        .iter()
        .zip(&means[j * n..(j + 1) * n]);
    second
        .iter()
        .zip(products)
        .map(|(s, (a, b))| s - a * b)
        .collect()
}

/// E[u_i u_j^T] for the pairs of outputs and E[u], r x D, of a sample's influence without the target's noise:
/// u_k = e_k int_0^tau e^{-mu_k (tau - s)} (E[y|z] - f_s(z)) ds, f_s the mean function at time s.
fn design(population: &Population<'_>, modes: &Modes) -> (Vec<DMatrix<f64>>, DMatrix<f64>) {
    let (r, outputs) = (modes.rates.len(), population.outputs());
    let memories = modes.memories();
    let targets = population.misfit(&DMatrix::zeros(population.features(), outputs));
    let (weights, nodes) = (population.weights(), population.nodes());
    let empty = || {
        let second = vec![DMatrix::zeros(r, r); pairs(outputs).count()];
        (second, DMatrix::zeros(r, outputs))
    };
    let add = |(second, first): &mut (Vec<DMatrix<f64>>, DMatrix<f64>), block: Range<usize>| {
        let e = modes.values(population, block.clone());
        let influences: Vec<DMatrix<f64>> = memories
            .iter()
            .enumerate()
            .map(|(o, memory)| {
                let targets = &targets[o * nodes..][block.clone()];
                modes.influences(&e, memory, targets)
            })
            .collect();
        accumulate(&influences, &weights[block], second, first);
    };
    let (mut second, mut first) = empty();
    for (s, f) in by_groups(nodes, empty, add) {
        for (a, b) in second.iter_mut().zip(s) {
            *a += b;
        }
        first += f;
    }
    (second, first)
}

/// Sums over the nodes, block by block, of every group of blocks.
pub(super) fn by_groups<T: Send>(
    nodes: usize,
    empty: impl Fn() -> T + Sync,
    add: impl Fn(&mut T, Range<usize>) + Sync,
) -> Vec<T> {
    let per_group = nodes.div_ceil(BLOCK).div_ceil(GROUPS) * BLOCK;
    (0..GROUPS)
        .into_par_iter()
        .map(|group| {
            let mut sum = empty();
            let range = (group * per_group).min(nodes)..((group + 1) * per_group).min(nodes);
            for start in range.clone().step_by(BLOCK) {
                add(&mut sum, start..(start + BLOCK).min(range.end));
            }
            sum
        })
        .collect()
}

impl Modes {
    /// e at some nodes, r x nodes.
    pub fn values(&self, population: &Population<'_>, block: Range<usize>) -> DMatrix<f64> {
        let mut rows = DMatrix::zeros(self.directions.nrows(), block.len());
        for (node, mut row) in block.zip(rows.column_iter_mut()) {
            population.add_row(node, &[1.0], row.as_mut_slice());
        }
        linalg::multiply(
            linalg::view(&self.directions).transpose(),
            linalg::view(&rows),
        )
    }

    /// The influences u at nodes with modes `e` and mean targets y, r x nodes.
    pub fn influences(
        &self,
        e: &DMatrix<f64>,
        memory: &DMatrix<f64>,
        targets: &[f64],
    ) -> DMatrix<f64> {
        let mut out = linalg::multiply(linalg::view(memory), linalg::view(e));
        for ((mut column, e), y) in out.column_iter_mut().zip(e.column_iter()).zip(targets) {
            for ((u, e), g) in column.iter_mut().zip(e.iter()).zip(&self.gains) {
                *u = e * (g * y - *u);
            }
        }
        out
    }
}

fn accumulate(
    influences: &[DMatrix<f64>],
    weights: &[f64],
    second: &mut [DMatrix<f64>],
    first: &mut DMatrix<f64>,
) {
    for (i, own) in influences.iter().enumerate() {
        let mut weighted = own.clone();
        for (mut column, w) in weighted.column_iter_mut().zip(weights) {
            column *= *w;
        }
        for ((a, j), sum) in pairs(influences.len()).zip(second.iter_mut()) {
            if a == i {
                linalg::add_product(
                    linalg::view(&weighted),
                    linalg::view(&influences[j]).transpose(),
                    linalg::view_mut(sum),
                );
            }
        }
        let mut column = first.column_mut(i);
        for w in weighted.column_iter() {
            column += w;
        }
    }
}

/// The covariance of the initial function's weights as they are left at the end, F x F:
/// w(tau) = w(0) - L U diag(gain) U^T L^T Sigma w(0).
fn initial(family: &KernelFamily, modes: &Modes, sigma: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let (_, start) = family.initial.as_ref()?;
    let mut seen = modes
        .directions
        .tr_mul(&linalg::multiply(linalg::view(sigma), linalg::view(start)));
    for mut column in seen.column_iter_mut() {
        column.component_mul_assign(&modes.gains);
    }
    let left = start - linalg::multiply(linalg::view(&modes.directions), linalg::view(&seen));
    Some(linalg::multiply(
        linalg::view(&left),
        linalg::view(&left).transpose(),
    ))
}
