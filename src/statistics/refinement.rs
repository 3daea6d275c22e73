//! Statistics on finer and finer quadratures, until they no longer change.

use super::{Measure, Population, StatisticsError, WeightStatistics};
use crate::family::Linear;
use crate::problem::{Problem, Training};

const MAX_LEVEL: u32 = 3;
/// Levels beyond the second are for integrands that need them, not for filling the memory: on the line, and in more
/// dimensions, where a level is several times as large and the last one's effect on the density is part of its error.
const MOST_BYTES: u64 = 4 << 30;
const MOST_BYTES_IN_SPACE: u64 = 2 << 30;

/// How far the quadrature was refined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Refinement {
    /// Relative change between the last two levels, the larger of mean and covariance (Frobenius norms).
    pub change: f64,
    pub level: u32,
    pub nodes: usize,
}

/// The last two levels.
pub(super) struct Levels<'a, T> {
    pub fine: T,
    pub coarse: T,
    /// The quadrature of `coarse`.
    pub population: Population<'a>,
    pub refinement: Refinement,
}

/// Computes statistics level by level until two agree to `converged`. `compute` is handed the level before.
pub(super) fn refine<'a, T: AsRef<WeightStatistics>>(
    problem: &Problem,
    family: &'a Linear,
    training: &Training,
    converged: f64,
    mut compute: impl FnMut(&Population<'a>, Option<&T>) -> Result<T, StatisticsError>,
) -> Result<Levels<'a, T>, StatisticsError> {
    let mut population = Population::new(problem, family, training, 0);
    let mut coarse = compute(&population, None)?;
    for level in 1..=MAX_LEVEL {
        let next = Population::new(problem, family, training, level);
        let fine = compute(&next, Some(&coarse))?;
        let attainable = next.attainable();
        let refinement = Refinement {
            change: relative(fine.as_ref(), coarse.as_ref()),
            level,
            nodes: next.nodes(),
        };
        if !refinement.change.is_finite() {
            return Err(StatisticsError::NotFinite);
        }
        let next_bytes = Population::bytes(family, 4 * refinement.nodes as u64);
        let most_bytes = match problem.dim() {
            1 => MOST_BYTES,
            _ => MOST_BYTES_IN_SPACE,
        };
        let last = level == MAX_LEVEL || next_bytes > most_bytes;
        if refinement.change <= converged.max(attainable.converged)
            || (last && refinement.change <= attainable.refused)
        {
            return Ok(Levels {
                fine,
                coarse,
                population,
                refinement,
            });
        }
        if last {
            return Err(StatisticsError::Quadrature {
                change: refinement.change,
                level,
                nodes: refinement.nodes,
                allowed: attainable.refused,
            });
        }
        (population, coarse) = (next, fine);
    }
    Err(StatisticsError::NotFinite)
}

/// Relative change of mean and covariance, the larger. A mean that vanishes by symmetry is measured by its own spread.
fn relative(now: &WeightStatistics, before: &WeightStatistics) -> f64 {
    let ratio = |change: f64, size: f64| change / size.max(f64::MIN_POSITIVE);
    let spread = now.covariance.trace().max(0.0).sqrt();
    let mean = ratio(
        (&now.mean - &before.mean).norm(),
        now.mean.norm().max(spread),
    );
    let covariance = ratio(
        (&now.covariance - &before.covariance).norm(),
        now.covariance.norm(),
    );
    mean.max(covariance)
}
