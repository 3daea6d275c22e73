//! Large-sample statistics of weighted ridge regression (theory T11, derivations/05-sandwich.md).

use nalgebra::DMatrix;

use super::deterministic_equivalent::resolvent;
use super::refinement::refine;
use super::{Measure, Population, Refinement, StatisticsError, WeightStatistics, pairs};
use crate::family::Linear;
use crate::numerics::linalg;
use crate::problem::{Problem, Training};

/// Relative change between two refinements at which the quadrature has converged.
const CONVERGED: f64 = 1e-7;

/// Mean and covariance of the weights at P >> F, with what is known of their accuracy.
#[derive(Debug, Clone)]
pub struct Sandwich {
    pub weights: WeightStatistics,
    /// The same at the refinement before: its effect on a density is the quadrature's error.
    pub coarser: WeightStatistics,
    pub refinement: Refinement,
    /// Condition number of Sigma + ridge.
    pub condition: f64,
    /// Effective number of features, tr[Sigma (Sigma + ridge)^-1].
    pub effective_features: f64,
}

/// One level's result with what the diagnostics need.
struct Level {
    weights: WeightStatistics,
    sigma: DMatrix<f64>,
}

impl AsRef<WeightStatistics> for Level {
    fn as_ref(&self) -> &WeightStatistics {
        &self.weights
    }
}

/// Computes W = A Q and Cov(W) = (1/P) Q { E[lambda^2 (Var(y|x,t) + r^2) phi phi^T] - rho^2 W^T W } Q,
/// Q = (Sigma + rho)^-1, and with several outputs the same for every pair, Cov(y_i, y_j|x,t) + r_i r_j. The last term is the squared mean of a sample's influence, E[lambda r phi] = rho W.
pub fn sandwich(
    problem: &Problem,
    family: &Linear,
    training: &Training,
) -> Result<Sandwich, StatisticsError> {
    let steps = refine(problem, family, training, CONVERGED, |population, _| {
        at_level(population, training)
    })?;
    let (spectrum, _) = linalg::symmetric_eigen(&steps.fine.sigma)?;
    let largest = spectrum.last().copied().unwrap_or(0.0).max(0.0);
    let smallest = spectrum.first().copied().unwrap_or(0.0).max(0.0);
    Ok(Sandwich {
        weights: steps.fine.weights,
        coarser: steps.coarse.weights,
        refinement: steps.refinement,
        condition: (largest + training.ridge) / (smallest + training.ridge),
        effective_features: spectrum
            .iter()
            .map(|s| s.max(0.0))
            .map(|s| s / (s + training.ridge))
            .sum(),
    })
}

fn at_level(population: &Population<'_>, training: &Training) -> Result<Level, StatisticsError> {
    let ones = vec![1.0; population.nodes()];
    let sigma = population.gram(&ones);
    let rho = training.ridge;
    let q = resolvent(sigma.clone(), rho)?;
    let weights = &q * population.cross(&ones);
    let blocks: Vec<DMatrix<f64>> = pairs(population.outputs())
        .map(|(i, j)| {
            let mut noise = population.gram(&population.residual(&weights, (i, j)));
            noise.ger(-rho * rho, &weights.column(i), &weights.column(j), 1.0);
            noise /= training.samples as f64;
            let outer = linalg::view(&q);
            let mut covariance = linalg::multiply_three(outer, linalg::view(&noise), outer);
            if i == j {
                linalg::symmetrise(&mut covariance);
            }
            covariance
        })
        .collect();
    Ok(Level {
        weights: WeightStatistics::from_blocks(&weights, &blocks),
        sigma,
    })
}
