//! Model families as feature kernels: one definition is both the model that is trained and the kernel that
//! is analysed.

pub mod features;
mod linear;
mod naive;
mod rows;
mod tabulated;

pub use linear::{Linear, LinearDenoiser};
pub use naive::{ExactDenoiser, Naive};
pub use rows::SampleRows;
pub use tabulated::TabulatedDenoiser;

/// A family of score models.
#[derive(Debug, Clone)]
pub enum Family {
    /// Fresh proxy noise at every sampling step (T9); kappa = 0 is the exact score.
    Naive(Naive),
    /// Linear in its weights, with fixed product features.
    Linear(Linear),
}

impl Family {
    /// Name used in specs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Naive(_) => "naive",
            Self::Linear(_) => "linear",
        }
    }
}

/// A denoiser: what every sampler integrates, x -> E[x0|x,t] as the model has it. Positions of n points in D dimensions are
/// one slice, coordinate-major: `x[i * n + k]` is coordinate i of point k.
pub trait Denoiser: Sync {
    /// Denoised position of each point: `x` and `denoised` of equal length D n.
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]);

    /// Denoised value and its exact derivative with respect to x, D = 1.
    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]);

    /// Tables at the given times that make many evaluations cheap, where the family has them and `particles`
    /// trajectories repay them.
    fn tabulate(&self, _times: &[f64], _particles: usize) -> Option<TabulatedDenoiser> {
        None
    }
}
