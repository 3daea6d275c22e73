//! The problem: what is learned (data), how it is noised (diffusion), what the model regresses on
//! (target) and how it is trained (training protocol).

mod bridge;
mod cloud;
mod component;
mod data;
mod data_sets;
mod decisions;
mod diffusion;
mod line;
mod low_rank;
mod noise_share;
mod schedule;
mod start;
mod target;
mod training;

pub use bridge::Bridge;
pub use cloud::{CloudMoments, CloudPosterior};
pub use component::Component;
pub use data::{Data, DataError};
pub use data_sets::data_sets;
pub use decisions::{Decisions, mutual_information};
pub use diffusion::Diffusion;
pub use line::{LineMoments, LinePosterior, TiltedMoments};
pub use low_rank::{LowRankPoint, LowRankPosterior};
pub use noise_share::{grid_points, noise_share};
pub use schedule::{Schedule, TimeWeight};
pub use start::{StartDensity, StartLaw};
pub use target::{Posterior, Prediction, Regression, posterior};
pub(crate) use training::Triples;
pub use training::{Objective, Samples, Training, Triple, Weighting};

/// Data distribution, forward process and time window: everything that exists before a model does.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub data: Data,
    pub diffusion: Diffusion,
    /// The cutoff epsilon: training times and the sampler end here.
    pub t_min: f64,
    /// The sampler starts here.
    pub t_max: f64,
}

impl Problem {
    /// Dimension D of the data.
    pub fn dim(&self) -> usize {
        self.data.dim()
    }

    /// Flops of the exact denoiser at one position: a distance from every component, or products with its axes.
    pub fn denoiser_flops(&self) -> f64 {
        let dim = self.dim() as f64;
        let one = |c: &Component| match &c.axes {
            Some(axes) => 8.0 * dim * axes.ncols() as f64,
            None => 8.0 * dim,
        };
        self.data.components().iter().map(one).sum()
    }

    /// Posterior of the clean point given `x` at time `t`.
    pub fn posterior(&self, x: &[f64], t: f64) -> Posterior {
        posterior(&self.data, &self.diffusion, x, t)
    }
}
