//! Statistics of the trained weights over training sets: mean, covariance, and the V-kernel they make.

mod deterministic_equivalent;
mod equivalent;
mod flow_equivalent;
mod flow_modes;
mod flow_poles;
mod flow_sum;
mod gradient_flow;
mod kernel;
mod kernel_level;
mod measure;
mod population;
mod quenched_layer;
mod refinement;
mod sample_sum;
mod sandwich;
mod shared_points;
mod subspace;
mod v_kernel;
mod whitened;

pub use deterministic_equivalent::{DeterministicEquivalent, deterministic_equivalent};
pub use equivalent::{Equivalent, equivalent, kernel_equivalent};
pub use flow_equivalent::{FlowEquivalent, flow_equivalent};
pub use flow_sum::FlowSum;
pub use kernel::kernel_statistics;
pub use kernel_level::{FlowParts, KernelStatistics};
pub use measure::Measure;
pub use population::{Layout, LinePopulation, Panel, Population, SpacePopulation};
pub use quenched_layer::{LayerWeights, QuenchedLayer, Unlayered, by_leverage};
pub use refinement::Refinement;
pub use sample_sum::{SampleSum, Tilt};
pub use sandwich::{Sandwich, sandwich};
pub use subspace::{SubspaceFluctuation, determined, probability_determined};
pub use v_kernel::{PathFactor, VKernel};

use nalgebra::{DMatrix, DVector};
use thiserror::Error;

use crate::numerics::linalg::LinalgError;

/// Pairs of outputs whose covariances are solved for at a time: each holds some twenty numbers per node.
const PAIRS_AT_ONCE: usize = 3;

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
        "the fixed point of the {what} was not reached: change {change:.2e} after {iterations} iterations, allowed {allowed:.0e}; leverages diverge where the ridge is next to 0 and the samples are about as many as the features: raise training.ridge"
    )]
    FixedPoint {
        what: &'static str,
        iterations: usize,
        change: f64,
        allowed: f64,
    },
    #[error(
        "samples that share clean points (training.draws = {draws}) are covered for gradient flow to first order, on data that are points; not for {found}"
    )]
    Shared { draws: usize, found: &'static str },
    #[error("the weights' statistics are not finite; the features overflow on the noised data")]
    NotFinite,
}

/// Mean and covariance of the weights of a linear family over training sets. The weights of the first output come first.
#[derive(Debug, Clone)]
pub struct WeightStatistics {
    /// Mean weights, length D F.
    pub mean: DVector<f64>,
    /// Covariance, D F x D F.
    pub covariance: DMatrix<f64>,
}

impl WeightStatistics {
    /// From the weights F x D and the blocks F x F of the pairs of outputs (i, j), i <= j, i running slowest: Cov of the
    /// weights of i with those of j.
    fn from_blocks(mean: &DMatrix<f64>, blocks: &[DMatrix<f64>]) -> Self {
        Self {
            mean: DVector::from_column_slice(mean.as_slice()),
            covariance: symmetric_from_blocks(mean.ncols(), blocks),
        }
    }
}

/// The symmetric matrix whose blocks (i, j), i <= j, i running slowest, are given.
fn symmetric_from_blocks(outputs: usize, blocks: &[DMatrix<f64>]) -> DMatrix<f64> {
    if let ([only], 1) = (blocks, outputs) {
        return only.clone();
    }
    let f = blocks[0].nrows();
    let mut whole = DMatrix::zeros(outputs * f, outputs * f);
    for ((i, j), block) in pairs(outputs).zip(blocks) {
        whole.view_mut((i * f, j * f), (f, f)).copy_from(block);
        if i != j {
            whole
                .view_mut((j * f, i * f), (f, f))
                .copy_from(&block.transpose());
        }
    }
    whole
}

/// The pairs of outputs (i, j), i <= j, i running slowest.
fn pairs(outputs: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..outputs).flat_map(move |i| (i..outputs).map(move |j| (i, j)))
}
