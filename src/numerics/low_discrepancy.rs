//! Points that fill the unit cube evenly.

use rand::Rng;

/// Points of one sequence; longer ones go on with another scrambling.
const LENGTH: u64 = 1 << 16;
/// Half the spacing of the numbers that the sequence is made of: keeps them off 0 and 1.
const HALF: f64 = 0.5 / 16_777_216.0;

/// The Sobol sequence with a random Owen scrambling (B. Burley, "Practical hash-based Owen scrambling", 2020): every point is
/// uniform on the cube, so that an average over the points is unbiased, and any two coordinates fill their square evenly.
/// The first 256 dimensions; beyond them coordinates are independent.
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
        // The same dimension under two scramblings would put the points of a square on few lines.
        let Some(dimension) = u32::try_from(i)
            .ok()
            .filter(|i| *i < sobol_burley::NUM_DIMENSIONS)
        else {
            return independent(self.seed, i as u64, index);
        };
        f64::from(sobol_burley::sample(
            (index % LENGTH) as u32,
            dimension,
            seed,
        )) + HALF
    }
}

/// A uniform random number by its address: SplitMix64 (Steele, Lea and Flood 2014), once for every part of it.
fn independent(seed: u32, i: u64, index: u64) -> f64 {
    let mixed = [u64::from(seed), i, index]
        .into_iter()
        .fold(0, |z, part| mix(z ^ mix(part)));
    ((mixed >> 40) as f64) / 16_777_216.0 + HALF
}

fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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
        for (i, j) in [(0, 1), (0, 5), (3, 7), (2, 16), (0, 255)] {
            let mut cells = [0_i32; 64];
            for k in 0..4096 {
                let cell = |i| (8.0 * sequence.coordinate(i, k)) as usize;
                cells[8 * cell(i) + cell(j)] += 1;
            }
            let worst = cells.iter().map(|c| (c - 64).abs()).max();
            assert!(worst <= Some(8), "{i} {j}: {worst:?}");
        }
    }

    #[test]
    fn further_coordinates_are_independent() {
        // 2^16 points in 8 x 8 cells: 1024 +- 32 each, four standard deviations allowed for the largest of 64 (6e-3 to be passed).
        let sequence = ScrambledSobol::new(&mut stream(3, 0));
        for (i, j) in [(0, 256), (255, 511), (256, 257), (300, 1000)] {
            let mut cells = [0_i32; 64];
            for k in 0..1 << 16 {
                let cell = |i| (8.0 * sequence.coordinate(i, k)) as usize;
                cells[8 * cell(i) + cell(j)] += 1;
            }
            let worst = cells.iter().map(|c| (c - 1024).abs()).max();
            assert!(worst < Some(128), "{i} {j}: {worst:?}");
        }
    }
}
