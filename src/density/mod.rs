//! Density solvers: from the statistics of the learned score to the density it typically generates.

mod chain;
mod cloud;
mod ensemble;
mod fokker_planck;
mod gaussian_field;
mod gaussianity;
mod generate;
mod layered_field;
mod mean_field;
pub mod plane;
mod plane_flow;
mod push_forward;
mod random_field;
mod remap;
mod saddle;
mod sample_sum_field;
mod semiclassical;
mod start_weights;
mod subspace_field;
mod white_saddle;

pub use chain::{Chain, ChainDensity};
pub use cloud::{cloud_density, cloud_estimate, mapped_cloud, noised_cloud};
pub use ensemble::{Ensemble, Member};
pub use fokker_planck::{FokkerPlanck, fokker_planck};
pub use gaussian_field::GaussianField;
pub use gaussianity::{Gaussianity, gaussianity};
pub use generate::{Generated, Generator};
pub use layered_field::{LayerChoice, LayeredField, NoiseEffect, Rung, choose_layer};
pub use mean_field::{mean_field, noised_data};
pub use plane::{Axis, PlaneCells, PlaneFokkerPlanck, fokker_planck_plane, plane_solution};
pub use push_forward::{PushForward, Refinement};
pub use random_field::{RandomField, WeightField};
pub use saddle::{
    Account, Branch, DominantPath, GapFilling, LineEnd, Saddle, SaddleDensity, SaddleLines,
    Tracing, gap_filling, saddle_density,
};
pub use sample_sum_field::{SampleSumField, Sum};
pub use semiclassical::{
    FlowTangents, LARGE_PARAMETER, LoopReport, LoopTerms, Semiclassical, flow_tangents, loop_terms,
    semiclassical, semiclassical_cloud,
};
pub use start_weights::{StartWeights, basin_weights, posterior_weights};
pub use subspace_field::SubspaceField;
pub use white_saddle::{WhiteSaddle, white_saddle};

pub use crate::action::white::WhiteNoise;
pub use crate::histogram::{Bins, Grid, Masses};

use thiserror::Error;

use crate::action::ActionError;
use crate::action::white::ExtremalError;
use crate::numerics::linalg::LinalgError;
use crate::sampler::SamplerError;
use crate::statistics::StatisticsError;

/// Why a density could not be computed.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum DensityError {
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    #[error(transparent)]
    Linalg(#[from] LinalgError),
    #[error(transparent)]
    Statistics(#[from] StatisticsError),
    #[error(transparent)]
    Action(#[from] ActionError),
    #[error("no saddle carries any mass for x_T = {start:.4}")]
    NoSaddle { start: f64 },
    #[error(
        "the mean model sends no x_T within 6 standard deviations into the gap [{low}, {high}]: choose a gap between regions that it reaches"
    )]
    GapOutOfReach { low: f64, high: f64 },
    #[error("the search for the optimal fluctuation failed: {message}")]
    Optimum { message: String },
    #[error("the loop corrections need a one-stage scheme (sampler.scheme = euler or ddim)")]
    OneLoopScheme,
    #[error("the white-noise action needs a one-stage scheme (sampler.scheme = euler or ddim)")]
    WhiteScheme,
    #[error("there is no noise to expand in (kappa = 0 and churn = 0)")]
    WithoutNoise,
    #[error(
        "the noise is too strong for the saddle-point expansion: total variation {distance:.2} between its first two orders"
    )]
    NoiseTooStrong { distance: f64 },
    #[error("no start has an extremal; the first, x_T = {start}: {reason}")]
    NoExtremal { start: f64, reason: ExtremalError },
    #[error(
        "the Fokker-Planck solution did not converge: total variation {change:.2e} between {cells} cells and half as many"
    )]
    FokkerPlanck { change: f64, cells: usize },
    #[error("the solver is for two dimensions; the data have {dim}")]
    NotAPlane { dim: usize },
    #[error("{cells} cells per axis are too few for a grid (at least 8)")]
    FewCells { cells: usize },
}

/// A predicted density with the estimate of its own numerical error (total variation) by source.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    pub masses: Masses,
    /// Named contributions to the error.
    pub errors: Vec<(&'static str, f64)>,
}

impl Estimate {
    /// Estimated total-variation error: the contributions in quadrature.
    pub fn error(&self) -> f64 {
        self.errors.iter().map(|(_, e)| e * e).sum::<f64>().sqrt()
    }
}
