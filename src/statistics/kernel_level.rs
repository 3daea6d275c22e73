//! What the statistics of a gradient flow are on one quadrature, and what the solvers in a kernel's expansion share.

use super::{Refinement, WeightStatistics};

/// Relative change between two refinements at which the quadrature has converged.
pub(super) const CONVERGED: f64 = 1e-3;

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

impl KernelStatistics {
    pub(super) fn new(fine: Level, coarser: WeightStatistics, refinement: Refinement) -> Self {
        Self {
            weights: fine.weights,
            coarser,
            refinement,
            effective_features: fine.effective_features,
            largest_leverage: fine.largest_leverage,
            parts: fine.parts,
        }
    }
}

/// What one level found.
pub(super) struct Level {
    pub weights: WeightStatistics,
    pub effective_features: f64,
    pub largest_leverage: f64,
    pub parts: Option<FlowParts>,
}

impl AsRef<WeightStatistics> for Level {
    fn as_ref(&self) -> &WeightStatistics {
        &self.weights
    }
}

/// The weights' covariance by source: traces of E[lambda f f^T], the variance of the trained function over the training
/// distribution. They add up to the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowParts {
    /// The target's noise.
    pub target_noise: f64,
    /// Which samples were drawn.
    pub design: f64,
    /// That several samples share a clean point, beyond what as many fresh samples vary by.
    pub repeats: f64,
    /// The random initial function, filtered by I - k_tau.
    pub initial: f64,
}

/// The largest value that some sample out of a million has: the far tails have no samples, and no end either.
pub(super) fn largest(values: &[f64], probabilities: &[f64]) -> f64 {
    const TAIL: f64 = 1e-6;
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    let mut above = 0.0;
    for i in order {
        above += probabilities[i];
        if above > TAIL {
            return values[i];
        }
    }
    0.0
}
