//! Gradient flow of a kernel machine for a finite time: mean and covariance to first order in each sample's influence (theory T16,
//! T17; derivations/22-kernel-machines.md).

use std::ops::Range;

use nalgebra::DMatrix;

use super::flow_modes::{Modes, by_groups};
use super::kernel_level::{FlowParts, Level, largest};
use super::shared_points::SharedPoints;
use super::whitened::{expanded, inner};
use super::{Measure, Population, StatisticsError, WeightStatistics, pairs};
use crate::family::KernelFamily;
use crate::numerics::linalg;
use crate::problem::{Problem, Training};

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
    let modes = Modes::new(&sigma, &population.cross(&ones), &family.factor, time)?;
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
    let start = family.initial_factor()?;
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
