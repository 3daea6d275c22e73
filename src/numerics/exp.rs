//! The exponential of several numbers at once, in operations that a compiler turns into vector instructions.

/// ln 2 in two parts: multiples of the first by an exponent of a double are exact.
const LN2_HIGH: f64 = 6.931_457_519_531_25e-1;
const LN2_LOW: f64 = 1.428_606_820_309_417_2e-6;

/// Adding this rounds to an integer, which then stands in the lowest bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Below this the exponential is taken for 0; it is then less than 4e-308.
pub const EXP_LOWEST: f64 = -708.0;

/// exp(x) for every lane, x < 709, within 2 units in the last place; 0 below [`EXP_LOWEST`].
///
/// x = k ln 2 + r with |r| <= ln(2)/2, and exp(r) = 1 + 2p/(q - p) with p odd and q even in r (the rational
/// approximation of the Cephes library). The same bits on every processor.
#[inline(always)]
pub fn exp_lanes<const L: usize>(x: &[f64; L]) -> [f64; L] {
    std::array::from_fn(|l| {
        let x = x[l];
        let shifted = x * std::f64::consts::LOG2_E + ROUND;
        let k = shifted - ROUND;
        let r = (x - k * LN2_HIGH) - k * LN2_LOW;
        let z = r * r;
        let p = r * (1.0 + z * (3.029_944_077_074_419_6e-2 + z * 1.261_771_930_748_105_9e-4));
        let q = 2.0
            + z * (2.272_655_482_081_550_3e-1
                + z * (2.524_483_403_496_841e-3 + z * 3.001_985_051_386_644_6e-6));
        let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
        let value = (1.0 + 2.0 * p / (q - p)) * scale;
        if x < EXP_LOWEST { 0.0 } else { value }
    })
}

#[cfg(test)]
mod tests {
    use super::exp_lanes;

    #[test]
    fn agrees_with_the_standard_exponential() {
        for i in 0..200_000 {
            // From 700 down to -708, with points close to 0 and to odd multiples of ln(2)/2.
            let x = [
                700.0 - 1408.0 * (i as f64 / 199_999.0),
                -1e-9 * i as f64,
                (f64::from(i % 1000) + 0.5) * -std::f64::consts::LN_2,
                -(1.3_f64).powi(-(i % 200)),
            ];
            let x = x.map(|x| x.max(-708.0));
            for (x, y) in x.iter().zip(exp_lanes(&x)) {
                let exact = x.exp();
                // 2 units in the last place.
                assert!(
                    (y - exact).abs() <= 2.0 * f64::EPSILON * exact,
                    "exp({x:e}) = {y:e} against {exact:e}"
                );
            }
        }
        let edge = exp_lanes(&[f64::NEG_INFINITY, -1e300, -709.0, 0.0, -0.0, f64::NAN]);
        assert_eq!(edge[..5], [0.0, 0.0, 0.0, 1.0, 1.0]);
        assert!(edge[5].is_nan());
    }
}
