//! Statistics on finer and finer quadratures, until they no longer change.

use nalgebra::DMatrix;

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
    /// Relative change of the trained functions between the last two levels (D16.10).
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
            change: change_of_functions(&next, fine.as_ref(), coarse.as_ref()),
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

/// Relative change of the trained functions over the training distribution (D16.10), the larger of two: of the mean function (root
/// mean square, relative to that of the functions), and of the variance (mean absolute value, relative to its mean). Weights
/// would not do: directions that hardly move the function change most.
fn change_of_functions(
    population: &Population<'_>,
    now: &WeightStatistics,
    before: &WeightStatistics,
) -> f64 {
    let f = population.features();
    let mean_of = |values: Vec<f64>, of: fn(f64) -> f64| {
        population.mean(&values.into_iter().map(of).collect::<Vec<f64>>())
    };
    let shift = &now.mean - &before.mean;
    let difference = &now.covariance - &before.covariance;
    let (mut sizes, mut shifts, mut variances, mut changes) = (0.0, 0.0, 0.0, 0.0);
    for output in 0..population.outputs() {
        let own = output * f;
        let block = |covariance: &DMatrix<f64>| covariance.view((own, own), (f, f)).into_owned();
        let square = |v: f64| v * v;
        sizes += mean_of(population.project(now.mean.rows(own, f).as_slice()), square);
        shifts += mean_of(population.project(shift.rows(own, f).as_slice()), square);
        variances += mean_of(population.quadratic(&block(&now.covariance)), f64::abs);
        changes += mean_of(population.quadratic(&block(&difference)), f64::abs);
    }
    let ratio = |change: f64, size: f64| change / size.max(f64::MIN_POSITIVE);
    let mean = ratio(shifts, sizes + variances).sqrt();
    mean.max(ratio(changes, variances))
}
