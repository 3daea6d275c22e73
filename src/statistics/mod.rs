//! Statistics of the trained weights over training sets: mean, covariance, and the V-kernel they make.

mod deterministic_equivalent;
mod equivalent;
mod measure;
mod population;
mod quenched_layer;
mod refinement;
mod sample_sum;
mod sandwich;
mod v_kernel;

pub use deterministic_equivalent::{DeterministicEquivalent, deterministic_equivalent};
pub use equivalent::{Equivalent, equivalent};
pub use measure::Measure;
pub use population::{Panel, Population};
pub use quenched_layer::{LayerWeights, QuenchedLayer, by_leverage};
pub use refinement::Refinement;
pub use sample_sum::{SampleSum, Tilt};
pub use sandwich::{Sandwich, sandwich};
pub use v_kernel::{PathFactor, VKernel};

use nalgebra::{DMatrix, DVector};
use thiserror::Error;

use crate::numerics::linalg::LinalgError;

/// Why the statistics could not be computed.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum StatisticsError {
    #[error(
        "the quadrature did not converge: relative change {change:.2e} at refinement {level} ({nodes} nodes), allowed {allowed:.0e}"
    )]
    Quadrature {
        change: f64,
        level: u32,
        nodes: usize,
        allowed: f64,
    },
    #[error("Sigma + ridge cannot be inverted: {0}; raise training.ridge or use fewer features")]
    Singular(#[from] LinalgError),
    #[error(
        "the fixed point of the {what} was not reached: change {change:.2e} after {iterations} iterations, allowed {allowed:.0e}"
    )]
    FixedPoint {
        what: &'static str,
        iterations: usize,
        change: f64,
        allowed: f64,
    },
    #[error("the weights' statistics are not finite; the features overflow on the noised data")]
    NotFinite,
}

/// Mean and covariance of the weights of a linear family over training sets (D = 1).
#[derive(Debug, Clone)]
pub struct WeightStatistics {
    /// Mean weights, length F.
    pub mean: DVector<f64>,
    /// Covariance, F x F.
    pub covariance: DMatrix<f64>,
}
