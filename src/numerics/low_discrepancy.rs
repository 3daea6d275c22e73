//! Points that fill the unit cube evenly.

use rand::Rng;

/// Points of one sequence; longer ones go on with another scrambling.
const LENGTH: u64 = 1 << 16;
/// Half the spacing of the numbers that the sequence is made of: keeps them off 0 and 1.
const HALF: f64 = 0.5 / 16_777_216.0;

/// The Sobol sequence with a random Owen scrambling (B. Burley, "Practical hash-based Owen scrambling", 2020): every point is
/// uniform on the cube, so that an average over the points is unbiased, and any two coordinates fill their square evenly.
/// Up to 256 dimensions.
#[derive(Debug, Clone, Copy)]
pub struct ScrambledSobol {
    seed: u32,
}

impl ScrambledSobol {
    /// A random scrambling.
    pub fn new<R: Rng + ?Sized>(rng: &mut R) -> Self {
        Self {
            seed: rng.next_u32(),
        }
    }

    /// Coordinate `i` of point `index`, in (0, 1).
    pub fn coordinate(&self, i: usize, index: u64) -> f64 {
        // The golden ratio's bits keep the seeds of successive stretches apart.
        let stretch = (index / LENGTH) as u32;
        let seed = self.seed.wrapping_add(stretch.wrapping_mul(0x9e37_79b9));
        let dimension = i as u32 % sobol_burley::NUM_DIMENSIONS;
        f64::from(sobol_burley::sample(
            (index % LENGTH) as u32,
            dimension,
            seed,
        )) + HALF
    }
}

#[cfg(test)]
mod tests {
    use super::ScrambledSobol;
    use crate::numerics::random::stream;

    #[test]
    fn averages_converge_faster_than_random_points() {
        // The mean of u1 u2^2 u3 over the cube is 1/12; random points leave 0.09/sqrt(n) of error.
        let sequence = ScrambledSobol::new(&mut stream(1, 0));
        let error = |n: u64| {
            let u = |i, k| sequence.coordinate(i, k);
            let sum: f64 = (0..n).map(|k| u(0, k) * u(1, k).powi(2) * u(2, k)).sum();
            (sum / n as f64 - 1.0 / 12.0).abs()
        };
        assert!(error(1 << 14) < 0.1 * 0.09 / 128.0, "{:e}", error(1 << 14));
    }

    #[test]
    fn every_pair_of_coordinates_fills_its_square() {
        // 2^12 points in 8 x 8 equal cells: 64 each, where random points would be 8 off.
        let sequence = ScrambledSobol::new(&mut stream(2, 0));
        for (i, j) in [(0, 1), (0, 5), (3, 7), (2, 16)] {
            let mut cells = [0_i32; 64];
            for k in 0..4096 {
                let cell = |i| (8.0 * sequence.coordinate(i, k)) as usize;
                cells[8 * cell(i) + cell(j)] += 1;
            }
            let worst = cells.iter().map(|c| (c - 64).abs()).max();
            assert!(worst <= Some(8), "{i} {j}: {worst:?}");
        }
    }
}
