//! Statistics of a linear family at any ratio of features to samples (theory T12, T13).

use super::deterministic_equivalent::{DeterministicEquivalent, deterministic_equivalent};
use super::refinement::refine;
use super::{Population, Refinement, StatisticsError, WeightStatistics};
use crate::family::Linear;
use crate::problem::{Problem, Training};

/// Relative change between two refinements at which the quadrature has converged: far below what the equivalent itself
/// leaves out.
const CONVERGED: f64 = 1e-3;

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

/// Solves T12 and T13 for the training distribution of a linear family on the line.
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
            let solution =
                deterministic_equivalent(population, training.samples, training.ridge, start)?;
            Ok(Level {
                weights: WeightStatistics {
                    mean: solution.mean.column(0).into_owned(),
                    covariance: solution.covariances[0].clone(),
                },
                equivalent: solution,
            })
        },
    )?;
    Ok(Equivalent {
        weights: levels.fine.weights,
        coarser: levels.coarse.weights,
        refinement: levels.refinement,
        fine: levels.fine.equivalent,
        coarse: levels.coarse.equivalent,
        population: levels.population,
    })
}
