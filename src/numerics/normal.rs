//! The standard normal distribution.

use statrs::function::erf::{erfc, erfc_inv};
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2, TAU};

/// ln(2 pi).
pub const LOG_2_PI: f64 = 1.837_877_066_409_345_5;

/// Cumulative distribution function, to about 1e-10 of itself also in the lower tail (statrs' erfc).
pub fn cdf(z: f64) -> f64 {
    0.5 * erfc(-z * FRAC_1_SQRT_2)
}

/// Density.
pub fn pdf(z: f64) -> f64 {
    (-0.5 * z * z).exp() / TAU.sqrt()
}

/// Quantile function, u in (0, 1).
pub fn quantile(u: f64) -> f64 {
    -SQRT_2 * erfc_inv(2.0 * u)
}

/// Medians of `count` strata of equal probability.
pub fn strata(count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(move |i| quantile((i as f64 + 0.5) / count as f64))
}

/// Integral of the cdf from -infinity: z cdf(z) + pdf(z).
pub fn cdf_integral(z: f64) -> f64 {
    // For large -z the two terms cancel; the true value is then below 1e-17.
    if z < -8.5 { 0.0 } else { z * cdf(z) + pdf(z) }
}
