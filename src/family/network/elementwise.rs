//! What is done to every unit of a layer between matrix products, each in one pass over the memory on vectors of units.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use pulp::{Arch, Simd, WithSimd};

use super::Real;
use crate::family::kernel::Activation;

/// h = phi(z + s b) and phi'(z + s b). `values` holds z in columns of as many units as there are biases, and h afterwards.
pub(super) fn activate<T: Real>(
    activation: Activation,
    (bias, factor): (&[T], T),
    values: &mut [T],
    slopes: &mut [T],
) {
    Arch::new().dispatch(Activate {
        activation,
        bias,
        factor,
        values,
        slopes,
    });
}

struct Activate<'a, T> {
    activation: Activation,
    bias: &'a [T],
    factor: T,
    values: &'a mut [T],
    slopes: &'a mut [T],
}

impl<T: Real> WithSimd for Activate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.activation {
            Activation::Relu => self.each(relu),
            Activation::Erf => self.each(erf),
            Activation::Gelu => self.each(gelu),
        }
    }
}

impl<T: Real> Activate<'_, T> {
    #[inline(always)]
    fn each(self, function: impl Fn(T) -> (T, T)) {
        let units = self.bias.len();
        let columns = self.values.chunks_exact_mut(units);
        for (values, slopes) in columns.zip(self.slopes.chunks_exact_mut(units)) {
            for ((z, d), b) in values.iter_mut().zip(slopes).zip(self.bias) {
                (*z, *d) = function(*z + self.factor * *b);
            }
        }
    }
}

/// max(0, z); the slope at the kink is 0.
#[inline(always)]
fn relu<T: Real>(z: T) -> (T, T) {
    match z > T::zero() {
        true => (z, T::one()),
        false => (T::zero(), T::zero()),
    }
}

#[inline(always)]
fn erf<T: Real>(z: T) -> (T, T) {
    let (value, gauss) = z.erf_and_gauss();
    (value, T::from_f64(FRAC_2_SQRT_PI) * gauss)
}

/// z Phi(z), Phi the distribution function of the normal distribution.
#[inline(always)]
fn gelu<T: Real>(z: T) -> (T, T) {
    let (error, gauss) = (z * T::from_f64(FRAC_1_SQRT_2)).erf_and_gauss();
    let half = T::from_f64(0.5);
    let below = half + half * error;
    let density = T::from_f64(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2) * gauss;
    (z * below, below + z * density)
}

/// `values *= factors`.
pub(super) fn scale_by<T: Real>(values: &mut [T], factors: &[T]) {
    Arch::new().dispatch(ScaleBy { values, factors });
}

struct ScaleBy<'a, T> {
    values: &'a mut [T],
    factors: &'a [T],
}

impl<T: Real> WithSimd for ScaleBy<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (v, f) in self.values.iter_mut().zip(self.factors) {
            *v *= *f;
        }
    }
}

/// `sums = scale` times the sum of the columns.
pub(super) fn sum_columns<T: Real>(columns: &[T], scale: T, sums: &mut [T]) {
    Arch::new().dispatch(SumColumns {
        columns,
        scale,
        sums,
    });
}

struct SumColumns<'a, T> {
    columns: &'a [T],
    scale: T,
    sums: &'a mut [T],
}

impl<T: Real> WithSimd for SumColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.sums.fill(T::zero());
        for column in self.columns.chunks_exact(self.sums.len()) {
            for (sum, v) in self.sums.iter_mut().zip(column) {
                *sum += *v;
            }
        }
        for sum in self.sums {
            *sum *= self.scale;
        }
    }
}
