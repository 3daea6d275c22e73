//! Statistics of kernel machines over training sets, of ridge regression and of gradient flow (theory T12, T13, T16, T17;
//! derivations/22-kernel-machines.md).

use nalgebra::{DMatrix, DVector};

use super::deterministic_equivalent::{DeterministicEquivalent, deterministic_equivalent};
use super::flow_equivalent::flow_equivalent;
use super::gradient_flow::gradient_flow;
use super::kernel_level::{FlowParts, Level, expanded, largest};
use super::refinement::refine;
use super::shared_points::SharedPoints;
use super::whitened::Whitened;
use super::{Measure, Population, Refinement, StatisticsError, WeightStatistics, pairs};
use crate::family::KernelFamily;
use crate::problem::{Component, Problem, Training};

/// Relative change between two refinements at which the quadrature has converged.
const CONVERGED: f64 = 1e-3;

/// Tolerances of the fixed points, on the first quadrature and on finer ones.
const TOLERANCE: f64 = 1e-10;
const FINER_TOLERANCE: f64 = 1e-6;

/// Mean and covariance of the weights in which a kernel family is expanded, with what is known of their accuracy.
#[derive(Debug, Clone)]
pub struct KernelStatistics {
    pub weights: WeightStatistics,
    /// The same at the refinement before.
    pub coarser: WeightStatistics,
    pub refinement: Refinement,
    /// How many weights the samples determine.
    pub effective_features: f64,
    /// Largest leverage of a sample on the training distribution: delta = z^T Q z/P of the equivalent, lambda k_tau(z,z)/P of the
    /// flow, whose first order needs it small; with what the other samples of a clean point move the flow by there (D22.14).
    pub largest_leverage: f64,
    /// Of the flow: its covariance by source.
    pub parts: Option<FlowParts>,
}

/// Statistics of the trained weights: of gradient flow at `training.time`, at any number of samples or to the first order in a
/// sample's influence (`first_order`), or without a time of ridge regression.
pub fn kernel_statistics(
    problem: &Problem,
    family: &KernelFamily,
    training: &Training,
    first_order: bool,
) -> Result<KernelStatistics, StatisticsError> {
    require_covered(problem, training, first_order)?;
    let rho = family.ridge(problem, training);
    let steps = refine(
        problem,
        &family.linear,
        training,
        CONVERGED,
        |population, before: Option<&Level>| match training.time {
            Some(time) if first_order => gradient_flow(population, problem, family, training, time),
            Some(time) => flow_equivalent(population, family, training, time),
            None => {
                let start = before.and_then(|b| b.equivalent.as_ref());
                ridge(population, &family.factor, (training.samples, rho), start)
            }
        },
    )?;
    Ok(KernelStatistics {
        coarser: steps.coarse.weights,
        refinement: steps.refinement,
        effective_features: steps.fine.effective_features,
        largest_leverage: steps.fine.largest_leverage,
        parts: steps.fine.parts,
        weights: steps.fine.weights,
    })
}

impl KernelStatistics {
    /// Bytes that samples which share clean points take besides: sums for every point of the data.
    pub fn shared_bytes(problem: &Problem, family: &KernelFamily, training: &Training) -> u64 {
        match training.draws {
            0 | 1 => 0,
            _ => {
                let points = problem.data.components().len();
                SharedPoints::bytes(points, family.factor.ncols(), problem.dim())
            }
        }
    }
}

/// Refuses several draws of a clean point where their statistics are not known.
fn require_covered(
    problem: &Problem,
    training: &Training,
    first_order: bool,
) -> Result<(), StatisticsError> {
    let points = problem.data.components().iter().all(Component::is_point);
    let found = match training.time {
        _ if training.draws <= 1 => return Ok(()),
        None => "ridge regression",
        Some(_) if !first_order => "the flow at any number of samples",
        Some(_) if !points => "data with a width",
        Some(_) => return Ok(()),
    };
    Err(StatisticsError::Shared {
        draws: training.draws,
        found,
    })
}

/// The deterministic equivalent of kernel ridge regression.
fn ridge(
    population: &Population<'_>,
    factor: &DMatrix<f64>,
    (samples, rho): (usize, f64),
    start: Option<&DeterministicEquivalent>,
) -> Result<Level, StatisticsError> {
    let measure = Whitened {
        measure: population,
        factor,
    };
    let tolerance = match start {
        None => TOLERANCE,
        Some(_) => FINER_TOLERANCE,
    };
    let solution = deterministic_equivalent(&measure, samples, rho, tolerance, start)?;
    let covariances: Vec<DMatrix<f64>> = pairs(measure.outputs())
        .zip(&solution.covariances)
        .map(|((i, j), c)| expanded(factor, c, i == j))
        .collect();
    Ok(Level {
        weights: WeightStatistics::from_blocks(&(factor * &solution.mean), &covariances),
        effective_features: solution.effective_features,
        largest_leverage: largest(&solution.leverage, &measure.weights()),
        parts: None,
        equivalent: Some(solution),
    })
}

impl WeightStatistics {
    /// Root mean square of f = W phi over models, for one output at one vector of features: sqrt(phi^T C phi).
    pub fn standard_deviation(&self, features: &DVector<f64>, output: usize) -> f64 {
        let f = features.len();
        let block = self.covariance.view((output * f, output * f), (f, f));
        features.dot(&(block * features)).max(0.0).sqrt()
    }
}
