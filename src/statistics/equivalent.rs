//! Statistics of a linear family at any ratio of features to samples (theory T12, T13).

use super::deterministic_equivalent::{DeterministicEquivalent, deterministic_equivalent};
use super::refinement::refine;
use super::{Measure, Population, Refinement, StatisticsError, WeightStatistics, pairs};
use crate::family::Linear;
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
    equivalent: DeterministicEquivalent,
    weights: WeightStatistics,
}

impl AsRef<WeightStatistics> for Level {
    fn as_ref(&self) -> &WeightStatistics {
        &self.weights
    }
}

/// Solves T12 and T13 for the training distribution of a linear family.
pub fn equivalent<'a>(
    problem: &Problem,
    family: &'a Linear,
    training: &Training,
) -> Result<Equivalent<'a>, StatisticsError> {
    let levels = refine(
        problem,
        family,
        training,
        CONVERGED,
        |population, before: Option<&Level>| {
            let start = before.map(|b| &b.equivalent);
            let tolerance = match start {
                None => TOLERANCE,
                Some(_) => FINER_TOLERANCE,
            };
            let solution = deterministic_equivalent(
                population,
                training.samples,
                training.ridge,
                tolerance,
                start,
            )?;
            Ok(Level {
                weights: WeightStatistics::from_blocks(&solution.mean, &solution.covariances),
                equivalent: solution,
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
        fine: levels.fine.equivalent,
        coarse,
        population: levels.population,
    })
}
