//! Statistics of ridge regression at any ratio of features to samples (theory T12, T13): of a linear family, or of a kernel in its
//! expansion.

use nalgebra::DMatrix;

use super::deterministic_equivalent::{DeterministicEquivalent, deterministic_equivalent};
use super::kernel_level::largest;
use super::refinement::refine;
use super::whitened::{Whitened, expanded};
use super::{Measure, Population, Refinement, StatisticsError, WeightStatistics, pairs};
use crate::family::{KernelFamily, Linear};
use crate::problem::{Problem, Training};

/// Relative change between two refinements at which the quadrature has converged: far below what the equivalent itself
/// leaves out.
const CONVERGED: f64 = 1e-3;

/// Tolerances of the fixed points: of the first quadrature's, and of finer ones, which start from the one before and
/// serve to tell how far that is off.
const TOLERANCE: f64 = 1e-10;
const FINER_TOLERANCE: f64 = 1e-6;

/// Mean and covariance of the weights by the deterministic equivalent, with what is known of their accuracy.
pub struct Equivalent<'a> {
    pub weights: WeightStatistics,
    /// The same at the refinement before: its effect on a density is the quadrature's error.
    pub coarser: WeightStatistics,
    pub refinement: Refinement,
    /// The ridge, with a kernel's jitter.
    pub ridge: f64,
    /// L of a kernel's expansion, F x r, whose ridge is that of the weights omega with W = L omega: its fixed points are solved in
    /// them, and given as those of W, mean L omega, covariances L C L^T and resolvent L Q L^T.
    pub whitening: Option<&'a DMatrix<f64>>,
    /// The fixed points on the finest quadrature.
    pub fine: DeterministicEquivalent,
    /// The fixed points on the quadrature before, and that quadrature: cheaper, and good to `refinement.change`.
    pub coarse: DeterministicEquivalent,
    pub population: Population<'a>,
    /// Second moments r_i r_j + Cov(y_i, y_j) + z^T C_ij z of a sample's residuals against a model that has not seen it, at
    /// the nodes of `population`, of the pairs of outputs (i, j), i <= j, i running slowest.
    pub noise: Vec<Vec<f64>>,
}

struct Level {
    /// Of W.
    equivalent: DeterministicEquivalent,
    /// Of omega, where that is solved for.
    whitened: Option<DeterministicEquivalent>,
    weights: WeightStatistics,
}

impl AsRef<WeightStatistics> for Level {
    fn as_ref(&self) -> &WeightStatistics {
        &self.weights
    }
}

impl Equivalent<'_> {
    /// Largest leverage of a sample on the training distribution.
    pub fn largest_leverage(&self) -> f64 {
        largest(&self.coarse.leverage, &self.population.weights())
    }
}

/// Solves T12 and T13 for the training distribution of a linear family.
pub fn equivalent<'a>(
    problem: &Problem,
    family: &'a Linear,
    training: &Training,
) -> Result<Equivalent<'a>, StatisticsError> {
    solve(problem, family, training, training.ridge, None)
}

/// The same for kernel ridge regression, in the kernel's expansion.
pub fn kernel_equivalent<'a>(
    problem: &Problem,
    family: &'a KernelFamily,
    training: &Training,
) -> Result<Equivalent<'a>, StatisticsError> {
    if training.draws > 1 {
        return Err(StatisticsError::Shared {
            draws: training.draws,
            found: "ridge regression",
        });
    }
    let ridge = family.ridge(problem, training);
    solve(
        problem,
        &family.linear,
        training,
        ridge,
        Some(&family.factor),
    )
}

fn solve<'a>(
    problem: &Problem,
    family: &'a Linear,
    training: &Training,
    ridge: f64,
    whitening: Option<&'a DMatrix<f64>>,
) -> Result<Equivalent<'a>, StatisticsError> {
    let levels = refine(
        problem,
        family,
        training,
        CONVERGED,
        |population, before: Option<&Level>| {
            let start = before.map(|b| b.whitened.as_ref().unwrap_or(&b.equivalent));
            let tolerance = match start {
                None => TOLERANCE,
                Some(_) => FINER_TOLERANCE,
            };
            let samples = training.samples;
            let (equivalent, whitened) = match whitening {
                None => (
                    deterministic_equivalent(population, samples, ridge, tolerance, start)?,
                    None,
                ),
                Some(factor) => {
                    let measure = Whitened {
                        measure: population,
                        factor,
                    };
                    let omega =
                        deterministic_equivalent(&measure, samples, ridge, tolerance, start)?;
                    (lifted(&omega, factor, population.outputs()), Some(omega))
                }
            };
            Ok(Level {
                weights: WeightStatistics::from_blocks(&equivalent.mean, &equivalent.covariances),
                equivalent,
                whitened,
            })
        },
    )?;
    let coarse = levels.coarse.equivalent;
    let population = &levels.population;
    let noise = pairs(population.outputs())
        .zip(&coarse.covariances)
        .map(|(pair, covariance)| {
            let residual = population.residual(&coarse.mean, pair);
            let own = population.quadratic(covariance);
            residual.iter().zip(&own).map(|(r, c)| r + c).collect()
        })
        .collect();
    Ok(Equivalent {
        noise,
        weights: levels.fine.weights,
        coarser: levels.coarse.weights,
        refinement: levels.refinement,
        ridge,
        whitening,
        fine: levels.fine.equivalent,
        coarse,
        population: levels.population,
    })
}

/// What was solved for omega, of W = L omega.
fn lifted(
    solved: &DeterministicEquivalent,
    factor: &DMatrix<f64>,
    outputs: usize,
) -> DeterministicEquivalent {
    DeterministicEquivalent {
        mean: factor * &solved.mean,
        covariances: pairs(outputs)
            .zip(&solved.covariances)
            .map(|((i, j), c)| expanded(factor, c, i == j))
            .collect(),
        resolvent: expanded(factor, &solved.resolvent, true),
        leverage: solved.leverage.clone(),
        iterations: solved.iterations,
        changes: solved.changes,
        effective_features: solved.effective_features,
        amplification: solved.amplification,
    }
}
