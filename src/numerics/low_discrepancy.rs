//! Points that fill the unit cube evenly.

/// The additive recurrence of the generalised golden ratio: point k is frac(shift + k (1/g, 1/g^2, ..., 1/g^D)) with
/// g^(D+1) = g + 1 (M. Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018). With a random shift every
/// point is uniform, and an average over the points is unbiased.
#[derive(Debug, Clone)]
pub struct Recurrence {
    steps: Vec<f64>,
}

impl Recurrence {
    /// In `dim` dimensions.
    pub fn new(dim: usize) -> Self {
        let mut g = 2.0_f64;
        // A contraction with slope below 1/2: 60 rounds are more than double precision holds.
        for _ in 0..60 {
            g = (1.0 + g).powf(1.0 / (dim as f64 + 1.0));
        }
        Self {
            steps: (1..=dim).map(|i| g.powi(-(i as i32))).collect(),
        }
    }

    /// Coordinate `i` of point `index`, in (0, 1).
    pub fn coordinate(&self, i: usize, index: u64, shift: f64) -> f64 {
        let u = (shift + index as f64 * self.steps[i]).fract();
        // The quantile functions that follow are infinite at the ends.
        u.clamp(f64::EPSILON, 1.0 - f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::Recurrence;

    #[test]
    fn averages_converge_faster_than_random_points() {
        // The mean of u1 u2^2 u3 over the cube is 1/12; random points leave 0.09/sqrt(n) of error.
        let sequence = Recurrence::new(3);
        let error = |n: u64| {
            let u = |i, k| sequence.coordinate(i, k, 0.3);
            let sum: f64 = (0..n).map(|k| u(0, k) * u(1, k).powi(2) * u(2, k)).sum();
            (sum / n as f64 - 1.0 / 12.0).abs()
        };
        assert!(error(1 << 16) < 0.1 * 0.09 / 256.0, "{:e}", error(1 << 16));
    }

    #[test]
    fn the_plane_has_the_published_steps() {
        let plane = Recurrence::new(2);
        assert!((plane.steps[0] - 0.754_877_666_246_692_8).abs() < 1e-14);
        assert!((plane.steps[1] - 0.569_840_290_998_053_3).abs() < 1e-14);
    }
}
