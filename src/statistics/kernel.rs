//! Statistics of kernel machines over training sets, of ridge regression and of gradient flow (theory T12, T13, T16, T17;
//! derivations/22-kernel-machines.md).

use nalgebra::DVector;

use super::equivalent::{Equivalent, kernel_equivalent};
use super::flow_equivalent::flow_equivalent;
use super::gradient_flow::gradient_flow;
use super::kernel_level::{CONVERGED, KernelStatistics, Level};
use super::refinement::refine;
use super::shared_points::SharedPoints;
use super::{StatisticsError, WeightStatistics};
use crate::family::KernelFamily;
use crate::problem::{Component, Problem, Training};

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
    if !first_order {
        return Ok(flow_equivalent(problem, family, training, time)?.statistics);
    }
    require_points(problem, training)?;
    let steps = refine(
        problem,
        &family.linear,
        training,
        CONVERGED,
        |population, _: Option<&Level>| gradient_flow(population, problem, family, training, time),
    )?;
    Ok(KernelStatistics::new(
        steps.fine,
        steps.coarse.weights,
        steps.refinement,
    ))
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

/// Refuses several draws of a clean point of data with a width.
fn require_points(problem: &Problem, training: &Training) -> Result<(), StatisticsError> {
    let points = problem.data.components().iter().all(Component::is_point);
    match training.draws <= 1 || points {
        true => Ok(()),
        false => Err(StatisticsError::Shared {
            draws: training.draws,
            found: "data with a width",
        }),
    }
}

impl WeightStatistics {
    /// Root mean square of f = W phi over models, for one output at one vector of features: sqrt(phi^T C phi).
    pub fn standard_deviation(&self, features: &DVector<f64>, output: usize) -> f64 {
        let f = features.len();
        let block = self.covariance.view((output * f, output * f), (f, f));
        features.dot(&(block * features)).max(0.0).sqrt()
    }
}
