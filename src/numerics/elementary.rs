//! Elementary functions as straight lines of arithmetic: loops over them run on vectors, and every result depends on its own
//! argument alone, to the last bit on any machine (products and sums are fused only where `mul_add` says so).
//!
//! [`exp`] is fast anywhere. The others are for use inside of a `pulp` dispatch: elsewhere `mul_add` may be the call of a slow
//! library function.

use std::f64::consts::{LN_2, LOG2_E, TAU};

/// The leading 26 bits of ln 2: the product with an exponent is exact.
const LN_2_HIGH: f64 = f64::from_bits(LN_2.to_bits() & !0x7ff_ffff);
/// The rest.
const LN_2_LOW: f64 = 1.299_650_689_388_988_9e-8;
/// Arguments are held here; exp(-LARGEST) is still a normal number.
const LARGEST: f64 = 708.0;

/// Adding and subtracting it rounds to an integer, which in between stands in the lowest bits.
const SHIFT: f64 = 6_755_399_441_055_744.0;

/// e^x within 2 units in the last place. Zero below x = -708, where the result would leave the normal numbers, and e^708
/// above 708.
///
/// x = n ln 2 + r with |r| <= ln(2)/2, and e^r = 1 + 2p/(q - p) with p odd and q even in r (the rational approximation of the
/// Cephes library).
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let held = hold(x);
    let n = (held * LOG2_E + SHIFT) - SHIFT;
    let r = (held - n * LN_2_HIGH) - n * LN_2_LOW;
    let s = r * r;
    let p = r * (1.0 + s * (3.029_944_077_074_419_6e-2 + s * 1.261_771_930_748_105_9e-4));
    let q = 2.0
        + s * (2.272_655_482_081_550_3e-1
            + s * (2.524_483_403_496_841e-3 + s * 3.001_985_051_386_644_6e-6));
    let value = (1.0 + 2.0 * p / (q - p)) * power_of_two(n);
    if x < -LARGEST { 0.0 } else { value }
}

/// e^x and e^-x, |x| held below 708.
#[inline(always)]
pub fn exp_both(x: f64) -> (f64, f64) {
    let held = hold(x);
    let n = (held * LOG2_E).round_ties_even();
    let (even, odd) = hyperbolic(reduce(held, n));
    (
        (even + odd) * power_of_two(n),
        (even - odd) * power_of_two(-n),
    )
}

/// Comparisons, not `clamp`: one instruction each, and NaN stays what it is.
#[inline(always)]
fn hold(x: f64) -> f64 {
    let x = if x > LARGEST { LARGEST } else { x };
    if x < -LARGEST { -LARGEST } else { x }
}

/// x - n ln 2.
#[inline(always)]
fn reduce(x: f64, n: f64) -> f64 {
    (-n).mul_add(LN_2_LOW, (-n).mul_add(LN_2_HIGH, x))
}

/// 2^n, n an integer within +-1022.
#[inline(always)]
fn power_of_two(n: f64) -> f64 {
    // The integer in the low bits becomes the exponent.
    const BIAS: u64 = 1023;
    f64::from_bits(((n + SHIFT).to_bits().wrapping_add(BIAS)) << 52)
}

/// cosh r and sinh r for |r| <= ln(2)/2: Taylor's series, the first term left out below 1e-17.
#[inline(always)]
fn hyperbolic(r: f64) -> (f64, f64) {
    let s = r * r;
    let even = series(
        s,
        [
            1.0 / 479_001_600.0,
            1.0 / 3_628_800.0,
            1.0 / 40_320.0,
            1.0 / 720.0,
            1.0 / 24.0,
            0.5,
            1.0,
        ],
    );
    let odd = series(
        s,
        [
            1.0 / 6_227_020_800.0,
            1.0 / 39_916_800.0,
            1.0 / 362_880.0,
            1.0 / 5040.0,
            1.0 / 120.0,
            1.0 / 6.0,
            1.0,
        ],
    );
    (even, odd * r)
}

/// Sine and cosine of 2 pi `turns`.
#[inline(always)]
pub fn sin_cos_turns(turns: f64) -> (f64, f64) {
    // Whole turns are dropped exactly, then quarters: the angle left is within +-pi/4.
    let turns = turns - turns.round_ties_even();
    let quarters = (4.0 * turns).round_ties_even();
    let angle = (-0.25f64).mul_add(quarters, turns) * TAU;
    let s = angle * angle;
    let sin = angle
        * series(
            s,
            [
                -1.0 / 1_307_674_368_000.0,
                1.0 / 6_227_020_800.0,
                -1.0 / 39_916_800.0,
                1.0 / 362_880.0,
                -1.0 / 5040.0,
                1.0 / 120.0,
                -1.0 / 6.0,
                1.0,
            ],
        );
    let cos = series(
        s,
        [
            1.0 / 20_922_789_888_000.0,
            -1.0 / 87_178_291_200.0,
            1.0 / 479_001_600.0,
            -1.0 / 3_628_800.0,
            1.0 / 40_320.0,
            -1.0 / 720.0,
            1.0 / 24.0,
            -0.5,
            1.0,
        ],
    );
    let swapped = quarters * quarters == 1.0;
    let (sin, cos) = if swapped { (cos, sin) } else { (sin, cos) };
    // A quarter turn back leaves (-cos, sin), one forth (cos, -sin), two of either (-sin, -cos).
    let half = quarters * quarters == 4.0;
    let sin = if half | (quarters == -1.0) { -sin } else { sin };
    let cos = if half | (quarters == 1.0) { -cos } else { cos };
    (sin, cos)
}

/// arctan t for |t| <= tan(pi/8), within 1 unit in the last place: t times the polynomial of degree 11 in t^2 that fits
/// arctan(t)/t there at Chebyshev's points, to 1.3e-18.
#[inline(always)]
pub fn atan_small(t: f64) -> f64 {
    t * series(
        t * t,
        [
            -1.780_539_720_541_944_5e-2,
            3.796_525_745_386_593e-2,
            -5.035_102_456_601_552e-2,
            5.846_878_297_330_873e-2,
            -6.662_951_813_629_19e-2,
            7.692_045_330_902_225e-2,
            -9.090_896_809_064_027e-2,
            1.111_111_074_491_965_8e-1,
            -1.428_571_427_925_025e-1,
            1.999_999_999_994_089_2e-1,
            -3.333_333_333_333_312e-1,
            1.0,
        ],
    )
}

/// Angle of the point (x, y) with x >= 0 from the x-axis, `hypotenuse` = |(x, y)|: tan of its quarter is
/// y/(x + h + sqrt(2 h (x + h))).
#[inline(always)]
pub fn angle(y: f64, x: f64, hypotenuse: f64) -> f64 {
    let sum = x + hypotenuse;
    4.0 * atan_small(y / (sum + (2.0 * hypotenuse * sum).sqrt()))
}

/// Horner's scheme, the highest power first.
#[inline(always)]
fn series<const N: usize>(s: f64, coefficients: [f64; N]) -> f64 {
    let mut sum = coefficients[0];
    for c in &coefficients[1..] {
        sum = sum.mul_add(s, *c);
    }
    sum
}
