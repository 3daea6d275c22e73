//! The numbers networks are made of.

use std::fmt::Debug;
use std::ops::Neg;

use faer::traits::RealField;
use serde::{Deserialize, Serialize};

use crate::numerics::error_function::{erf_and_gauss, erf_and_gauss_single};

/// Precision of a network's parameters and arithmetic, as a setting: [`Real`] is `f32` or `f64` accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    F32,
    F64,
}

/// Single or double precision.
pub trait Real:
    RealField + Copy + Default + Debug + Send + Sync + Neg<Output = Self> + 'static
{
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn root(self) -> Self;
    /// erf(x) and e^(-x^2).
    fn erf_and_gauss(self) -> (Self, Self);
}

impl Real for f64 {
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn erf_and_gauss(self) -> (Self, Self) {
        erf_and_gauss(self)
    }
}

impl Real for f32 {
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn erf_and_gauss(self) -> (Self, Self) {
        erf_and_gauss_single(self)
    }
}
