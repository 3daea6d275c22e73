//! The error function together with its own Gaussian, as straight lines of arithmetic for use inside of a `pulp` dispatch (see
//! [`super::elementary`]).
//!
//! erf(x) = 1 - e^(-x^2) R(x) for x >= 0 and odd, with R(x) = e^(x^2) erfc(x) smooth and slowly varying. R is a polynomial in
//! u = (x - 3)/(x + 3), which maps [0, inf) on [-1, 1): its Chebyshev series there, summed to powers of u. Truncated, it is
//! wrong by less than 4e-17 (double precision) and 6e-9 (single precision) times the Gaussian.

use super::elementary;

/// Powers of u, the highest first.
const DOUBLE: [f64; 23] = [
    6.387083976365434e-10,
    -8.378144609286691e-11,
    -6.9941542741893245e-9,
    -1.7217702325189018e-9,
    4.40870060022187e-8,
    3.238233337019294e-8,
    -2.320078151506018e-7,
    -2.9727626691250476e-7,
    1.250852450207557e-6,
    2.1218552379154322e-6,
    -7.977451285051468e-6,
    -1.2861166949405722e-5,
    6.405637015000673e-5,
    4.525545572993775e-5,
    -0.0005970619164854629,
    0.0007077464161807522,
    0.004269136329555466,
    -0.024392499316831198,
    0.07166583719815267,
    -0.15011593650084634,
    0.24560380171232724,
    -0.32623356004303644,
    0.17900115118138996,
];

/// The same series cut at the tenth power.
const SINGLE: [f32; 11] = [
    4.564089e-5,
    1.8398236e-5,
    -0.00057815603,
    0.00073204556,
    0.004259767,
    -0.024402605,
    0.07166798,
    -0.15011418,
    0.24560362,
    -0.32623366,
    0.17900115,
];

/// erf(x) and e^(-x^2), both to an absolute 1e-15. The Gaussian is held above 3e-308.
#[inline(always)]
pub fn erf_and_gauss(x: f64) -> (f64, f64) {
    let size = x.abs();
    let u = (size - 3.0) / (size + 3.0);
    let s = u * u;
    // Two chains, of the even powers (there are twelve) and of the odd ones: half the waiting for one product.
    let (mut even, mut odd) = (DOUBLE[0], DOUBLE[1]);
    for pair in DOUBLE[2..22].chunks_exact(2) {
        even = even.mul_add(s, pair[0]);
        odd = odd.mul_add(s, pair[1]);
    }
    let ratio = odd.mul_add(u, even.mul_add(s, DOUBLE[22]));
    let (gauss, _) = elementary::exp_both(-x * x);
    ((-gauss).mul_add(ratio, 1.0).copysign(x), gauss)
}

/// The same in single precision, to an absolute 3e-7.
#[inline(always)]
pub fn erf_and_gauss_single(x: f32) -> (f32, f32) {
    let size = x.abs();
    let u = (size - 3.0) / (size + 3.0);
    let s = u * u;
    let (mut even, mut odd) = (SINGLE[0], SINGLE[1]);
    for pair in SINGLE[2..10].chunks_exact(2) {
        even = even.mul_add(s, pair[0]);
        odd = odd.mul_add(s, pair[1]);
    }
    let ratio = odd.mul_add(u, even.mul_add(s, SINGLE[10]));
    let gauss = exp_single(-x * x);
    ((-gauss).mul_add(ratio, 1.0).copysign(x), gauss)
}

/// e^x for x <= 0 in single precision, zero below -87: x = n ln 2 + r, Taylor's series to the seventh power of r.
#[inline(always)]
fn exp_single(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    const BIAS: u32 = 127;
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    const LOWEST: f32 = -87.0;
    // A comparison, not `max`: NaN stays what it is.
    let held = if x < LOWEST { LOWEST } else { x };
    let shifted = held.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = (-n).mul_add(LN_2_LOW, (-n).mul_add(LN_2_HIGH, held));
    let mut sum: f32 = 1.0 / 5040.0;
    for c in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = sum.mul_add(r, c);
    }
    let value = sum * f32::from_bits(shifted.to_bits().wrapping_add(BIAS) << 23);
    if x < LOWEST { 0.0 } else { value }
}
