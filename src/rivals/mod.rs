//! Rival theories of what a diffusion model learns: denoisers that other explanations of generalisation put in the place of the
//! trained one, whatever the family. Their densities stand beside the predictions and are compared with the same trained models.
//! None of them knows the model's features.
//!
//! - [`LinearScore`]: the score of the Gaussian fitted to the data, whose flow is known in closed form (Wang & Vastola,
//!   arXiv 2412.09726), and the mean linear denoiser of n samples by random-matrix theory (arXiv 2602.02908).
//! - [`SmoothedScore`]: the exact score averaged over a neighbourhood (Scarvelis et al., arXiv 2310.12395; Chen,
//!   arXiv 2502.19499).
//!
//! Derivations: derivations/26-rival-theories.md.

/// Largest dimension of data whose covariance is taken to its eigenvectors.
pub const LARGEST_DIMENSION: usize = 1024;

mod density;
mod linear_score;
mod smoothed_score;

pub use density::rival_density;
pub use linear_score::{LinearScore, Sample};
pub use smoothed_score::SmoothedScore;
