//! The path integral on the line, discretised as the sampler is (theory T6, T7; derivations/12-action.md): for a linear
//! family one action in three forms.
//!
//! | form | variables | file |
//! |---|---|---|
//! | Martin-Siggia-Rose | path x and response field p (complex) | [`Action::msr`] |
//! | Onsager-Machlup | path x, with (1/2) log det V | [`Action::onsager_machlup`] |
//! | whitened weights | eta, V = B B^T | [`WhitenedFlow`] |
//!
//! White noise (the naive family, the reverse SDE) has its own in Ito form: [`white`].

mod cumulants;
mod discretised;
mod map;
mod msr;
mod onsager_machlup;
pub mod white;
mod whitened;

pub use cumulants::{Cumulants, GaussianCumulants, ResponseAction};
pub use discretised::{Action, PathJet};
pub use map::{FlowMap, SecondOrder};
pub use msr::{Msr, MsrVector};
pub use onsager_machlup::{OnsagerMachlup, Regularisation};
pub use whitened::{Start, WhitenedFlow};

use thiserror::Error;

use crate::numerics::linalg::LinalgError;

/// Why an action could not be built or evaluated.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ActionError {
    #[error("the discretised action needs a one-stage scheme (sampler.scheme = euler or ddim)")]
    Scheme,
    #[error(
        "the path leaves the range of V: its residual misses it by {distance:.2e} of its length"
    )]
    OffRange { distance: f64 },
    #[error("V on the path: {0}; use fewer steps, a regularisation, or the whitened weights")]
    Singular(#[from] LinalgError),
    #[error("the path is not finite after step {step}")]
    NotFinite { step: usize },
}

/// Adds to the derivatives by x_k, which is fixed for k = 0, and by x_{k+1}.
fn add<T: nalgebra::Scalar + Copy + std::ops::AddAssign>(
    by_path: &mut nalgebra::DVector<T>,
    k: usize,
    here: T,
    next: T,
) {
    if k > 0 {
        by_path[k - 1] += here;
    }
    by_path[k] += next;
}
