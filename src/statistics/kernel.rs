//! Statistics of kernel machines over training sets, of ridge regression and of gradient flow (theory T12, T13, T16, T17;
//! derivations/22-kernel-machines.md).

use nalgebra::DVector;

use super::equivalent::{Equivalent, kernel_equivalent};
use super::flow_equivalent::flow_equivalent;
use super::gradient_flow::gradient_flow;
use super::kernel_level::{FlowParts, Level};
use super::refinement::refine;
use super::shared_points::SharedPoints;
use super::{Refinement, StatisticsError, WeightStatistics};
use crate::family::KernelFamily;
use crate::problem::{Component, Problem, Training};

/// Relative change between two refinements at which the quadrature has converged.
const CONVERGED: f64 = 1e-3;

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
    let Some(time) = training.time else {
        return Ok(kernel_equivalent(problem, family, training)?.into());
    };
    require_covered(problem, training, first_order)?;
    let steps = refine(
        problem,
        &family.linear,
        training,
        CONVERGED,
        |population, _: Option<&Level>| match first_order {
            true => gradient_flow(population, problem, family, training, time),
            false => flow_equivalent(population, family, training, time),
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

impl From<Equivalent<'_>> for KernelStatistics {
    fn from(equivalent: Equivalent<'_>) -> Self {
        Self {
            effective_features: equivalent.fine.effective_features,
            largest_leverage: equivalent.largest_leverage(),
            weights: equivalent.weights,
            coarser: equivalent.coarser,
            refinement: equivalent.refinement,
            parts: None,
        }
    }
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

/// Refuses several draws of a clean point where the flow's statistics are not known.
fn require_covered(
    problem: &Problem,
    training: &Training,
    first_order: bool,
) -> Result<(), StatisticsError> {
    let points = problem.data.components().iter().all(Component::is_point);
    let found = match (first_order, points) {
        _ if training.draws <= 1 => return Ok(()),
        (true, true) => return Ok(()),
        (true, false) => "data with a width",
        (false, _) => "the flow at any number of samples",
    };
    Err(StatisticsError::Shared {
        draws: training.draws,
        found,
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
