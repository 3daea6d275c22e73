//! Gradient flow at any number of samples: the deterministic equivalent at complex ridges, summed to the flow's filter (theory T18;
//! derivations/22-kernel-machines.md).

use std::sync::OnceLock;

use nalgebra::{DMatrix, SymmetricEigen};
use num_complex::Complex64;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rayon::prelude::*;

use super::flow_modes::Modes;
use super::flow_poles::{Field, Form, POLES, Resolvent};
use super::gradient_flow::conditional_covariance;
use super::kernel_level::{CONVERGED, KernelStatistics, Level, largest};
use super::refinement::refine;
use super::whitened::{Whitened, expanded};
use super::{Measure, Population, StatisticsError, WeightStatistics, pairs};
use crate::family::KernelFamily;
use crate::numerics::complex::{ComplexMatrix, product};
use crate::problem::{Problem, Training};

/// Mean and covariance of the weights after gradient flow, with what is known of their accuracy and what a layer needs.
pub struct FlowEquivalent<'a> {
    pub statistics: KernelStatistics,
    /// The quadrature before the finest; everything that follows is on it.
    pub population: Population<'a>,
    /// lambda k_tau(z, z) at the nodes: P times the leverage of the first order.
    pub leverage: Vec<f64>,
    family: &'a KernelFamily,
    pub(super) samples: f64,
    pub(super) modes: Modes,
    pub(super) resolvents: Vec<Resolvent>,
    /// Of the pairs of outputs.
    forms: Vec<Vec<Form>>,
    /// E[y|z] - w^T z at the nodes, of the ridges' mean weights, of all outputs one after another.
    means: OnceLock<Vec<Vec<Complex64>>>,
    factors: OnceLock<Vec<f64>>,
}

/// The initial function of one model.
pub(super) struct Start {
    /// Standard normal, r' x D.
    pub normal: ComplexMatrix,
    /// Weights, F x D.
    pub weights: DMatrix<f64>,
}

struct FlowLevel {
    level: Level,
    leverage: Vec<f64>,
    modes: Modes,
    resolvents: Vec<Resolvent>,
    forms: Vec<Vec<Form>>,
}

impl AsRef<WeightStatistics> for FlowLevel {
    fn as_ref(&self) -> &WeightStatistics {
        &self.level.weights
    }
}

/// Solves T18 for gradient flow of so much time.
pub fn flow_equivalent<'a>(
    problem: &Problem,
    family: &'a KernelFamily,
    training: &Training,
    time: f64,
) -> Result<FlowEquivalent<'a>, StatisticsError> {
    if training.draws > 1 {
        return Err(StatisticsError::Shared {
            draws: training.draws,
            found: "the flow at any number of samples",
        });
    }
    let levels = refine(
        problem,
        &family.linear,
        training,
        CONVERGED,
        |population, _: Option<&FlowLevel>| flow_level(population, family, training, time),
    )?;
    let coarse = levels.coarse;
    Ok(FlowEquivalent {
        statistics: KernelStatistics::new(
            levels.fine.level,
            coarse.level.weights,
            levels.refinement,
        ),
        population: levels.population,
        leverage: coarse.leverage,
        family,
        samples: training.samples as f64,
        modes: coarse.modes,
        resolvents: coarse.resolvents,
        forms: coarse.forms,
        means: OnceLock::new(),
        factors: OnceLock::new(),
    })
}

/// Mean and covariance of the weights after the flow, on one quadrature: (1 - e^{-tau x})/x = sum_j c_j/(x + rho_j) turns both
/// into those of ridge regressions, rho_j = z_j/tau.
fn flow_level(
    population: &Population<'_>,
    family: &KernelFamily,
    training: &Training,
    time: f64,
) -> Result<FlowLevel, StatisticsError> {
    let ones = vec![1.0; population.nodes()];
    let (sigma, cross) = (population.gram(&ones), population.cross(&ones));
    let modes = Modes::new(&sigma, &cross, &family.factor, time)?;
    let field = Field {
        measure: Whitened {
            measure: population,
            factor: &modes.directions,
        },
        samples: training.samples as f64,
    };
    let initial = family.initial_factor();
    let resolvents = field.resolvents(time, initial)?;
    let outputs = population.outputs();
    let mut mean = DMatrix::zeros(modes.rates.len(), outputs);
    for r in &resolvents {
        mean += r.weights.map(|w| 2.0 * (w * r.coefficient).re);
    }
    let (mut blocks, mut forms) = (Vec::new(), Vec::new());
    for pair in pairs(outputs) {
        let (covariance, own) = field.covariance(&resolvents, pair)?;
        let mut block = expanded(&modes.directions, &covariance, pair.0 == pair.1);
        if let (Some(initial), true) = (initial, pair.0 == pair.1) {
            block += left_of_initial(&modes, &resolvents, initial);
        }
        blocks.push(block);
        forms.push(own);
    }
    let (effective_features, leverage) = modes.reliability(population);
    Ok(FlowLevel {
        level: Level {
            weights: WeightStatistics::from_blocks(&(&modes.directions * mean), &blocks),
            effective_features,
            largest_leverage: largest(&leverage, &population.weights()) / field.samples,
            parts: None,
        },
        leverage,
        modes,
        resolvents,
        forms,
    })
}

/// Covariance of the weights of the initial function that are left at the end, F x F.
fn left_of_initial(
    modes: &Modes,
    resolvents: &[Resolvent],
    initial: &DMatrix<f64>,
) -> DMatrix<f64> {
    let mut learned = DMatrix::zeros(modes.rates.len(), initial.ncols());
    for r in resolvents {
        if let Some(fitted) = &r.fitted {
            learned += fitted.map(|w| 2.0 * (w * r.coefficient).re);
        }
    }
    let left = initial - &modes.directions * learned;
    &left * left.transpose()
}

impl<'a> FlowEquivalent<'a> {
    /// Bytes that the solution takes on a quadrature of so many nodes: the leverages at every ridge, the forms of all pairs of ridges
    /// of two outputs, and what iterating on one of them holds, on two threads.
    pub fn solution_bytes(nodes: u64, outputs: usize) -> u64 {
        const ITERATION: u64 = 20;
        let poles = POLES as u64;
        let forms = match outputs {
            1 => poles * (poles + 1),
            _ => 2 * poles * poles,
        };
        (poles + forms + 2 * ITERATION)
            .saturating_mul(size_of::<Complex64>() as u64)
            .saturating_mul(nodes)
    }

    /// Bytes that layers take on a quadrature of so many nodes: the residuals' law and the forms it is made of.
    pub fn layer_bytes(nodes: u64, outputs: usize) -> u64 {
        let ridges = (POLES * outputs) as u64;
        let (factor, forms) = (4 * ridges * ridges, 2 * ridges * ridges);
        (factor * size_of::<f64>() as u64)
            .saturating_add((forms + ridges) * size_of::<Complex64>() as u64)
            .saturating_mul(nodes)
    }

    /// Bytes that a draw given a layer takes: residuals at the nodes, rows of so many samples, and the complex matrix of one pole
    /// with its real parts.
    pub fn draw_bytes(nodes: u64, outputs: usize, features: u64, samples: u64) -> u64 {
        let residuals = nodes.saturating_mul(4 * (POLES * outputs) as u64);
        let matrices = features.saturating_mul(features).saturating_mul(6);
        residuals
            .saturating_add(matrices)
            .saturating_add(features.saturating_mul(samples).saturating_mul(2))
            .saturating_mul(size_of::<f64>() as u64)
    }

    /// Operations of a draw: a factorisation of every pole's matrix, and the residuals' sums over the nodes.
    pub fn draw_flops(nodes: f64, outputs: usize, features: f64) -> f64 {
        let ridges = (POLES * outputs) as f64;
        POLES as f64 * 8.0 / 3.0 * features.powi(3) + nodes * 8.0 * ridges * ridges
    }

    /// The population in the modes.
    pub(super) fn field(&self) -> Field<'_, 'a> {
        Field {
            measure: Whitened {
                measure: &self.population,
                factor: &self.modes.directions,
            },
            samples: self.samples,
        }
    }

    /// The factor of the initial function's covariance, where the family has one.
    pub(super) fn initial(&self) -> Option<&'a DMatrix<f64>> {
        self.family.initial_factor()
    }

    /// Draws an initial function.
    pub(super) fn start<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<Start> {
        let factor = self.initial()?;
        let outputs = self.population.outputs();
        let mut normal = || rng.sample::<f64, _>(StandardNormal);
        let normal = DMatrix::from_fn(factor.ncols(), outputs, |_, _| normal());
        Some(Start {
            weights: factor * &normal,
            normal: normal.map(Complex64::from),
        })
    }

    /// A sample's residuals against the mean weights of every ridge, given the initial function: at the nodes, the target at its mean,
    /// of all outputs one after another.
    pub(super) fn residuals(&self, start: Option<&Start>) -> Vec<Vec<Complex64>> {
        let (population, outputs) = (&self.population, self.population.outputs());
        let means = self.means.get_or_init(|| {
            let field = self.field();
            let of = |r| (0..outputs).flat_map(|o| field.misfit(r, o)).collect();
            self.resolvents.iter().map(of).collect()
        });
        let mut means = means.clone();
        let Some(start) = start else {
            return means;
        };
        let n = population.nodes();
        for (means, resolvent) in means.iter_mut().zip(&self.resolvents) {
            let Some(left) = &resolvent.left else {
                continue;
            };
            for (o, left) in product(left, &start.normal).column_iter().enumerate() {
                let part = |of: fn(&Complex64) -> f64| {
                    population.project(&left.iter().map(of).collect::<Vec<f64>>())
                };
                let (re, im) = (part(|v| v.re), part(|v| v.im));
                for ((mean, re), im) in means[o * n..].iter_mut().zip(&re).zip(&im) {
                    *mean -= Complex64::new(*re, *im);
                }
            }
        }
        means
    }

    /// B of all nodes one after another, 2 POLES D x 2 POLES D each, by columns: with independent standard normal e the centred
    /// residuals at all ridges, against models that have not seen the sample, are B e, real and imaginary part of the ridges of every
    /// output. Computed at the first call.
    pub(super) fn factors(&self) -> &[f64] {
        self.factors.get_or_init(|| {
            let noise: Vec<Vec<f64>> = pairs(self.population.outputs())
                .map(|pair| conditional_covariance(&self.population, pair))
                .collect();
            (0..self.population.nodes())
                .into_par_iter()
                .flat_map_iter(|node| factor(self.covariance_at(node, &noise)))
                .collect()
        })
    }

    /// Covariance of the centred residuals at a node, E[g_i g_j] and E[g_i conj(g_j)] = Cov(y|z) + z^T C_ij z as that of real and
    /// imaginary parts.
    fn covariance_at(&self, node: usize, noise: &[Vec<f64>]) -> DMatrix<f64> {
        let outputs = self.population.outputs();
        let mut out = DMatrix::zeros(2 * POLES * outputs, 2 * POLES * outputs);
        for (((a, b), forms), noise) in pairs(outputs).zip(&self.forms).zip(noise) {
            let place = |output: usize, ridge: usize| 2 * (output * POLES + ridge);
            let mut put = |i: usize, j: usize, v: f64| {
                out[(i, j)] += v;
                if i != j {
                    out[(j, i)] += v;
                }
            };
            // The target's noise is the same at all ridges, and real.
            for i in 0..POLES {
                for j in (if a == b { i } else { 0 })..POLES {
                    put(place(a, i), place(b, j), noise[node]);
                }
            }
            for form in forms {
                let (i, j) = (place(a, form.ridges.0), place(b, form.ridges.1));
                let half = 0.5 * form.values[node];
                let sign = if form.conjugate { 1.0 } else { -1.0 };
                put(i, j, half.re);
                put(i + 1, j + 1, sign * half.re);
                if i == j {
                    // The pair of a ridge with itself: Re g Im g is half of Im g g, and g conj(g) is real.
                    if !form.conjugate {
                        put(i, j + 1, half.im);
                    }
                } else {
                    put(i, j + 1, -sign * half.im);
                    put(i + 1, j, half.im);
                }
            }
        }
        out
    }
}

/// B with B B^T = the positive part of a matrix, by columns.
fn factor(covariance: DMatrix<f64>) -> Vec<f64> {
    let eigen = SymmetricEigen::new(covariance);
    let mut vectors = eigen.eigenvectors;
    for (mut column, v) in vectors.column_iter_mut().zip(&eigen.eigenvalues) {
        column *= v.max(0.0).sqrt();
    }
    vectors.as_slice().to_vec()
}
