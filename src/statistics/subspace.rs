//! Statistics of learned subspaces: how many points determine them, and how noise off them turns what is learned
//! (derivations/25-subspaces.md).

use nalgebra::DMatrix;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use statrs::distribution::{Binomial, Discrete};

use crate::numerics::linalg::{LinalgError, multiply, orthonormal, right_singular, view};

/// Do so many points in general position on each of K subspaces of rank d, without noise, determine the subspaces? Every
/// subspace needs d points, and of two subspaces one needs d + 1 where d > 1 (D25.7).
pub fn determined(rank: usize, sizes: &[usize]) -> bool {
    let bare = sizes.iter().filter(|size| **size == rank).count();
    sizes.iter().all(|size| *size >= rank) && (rank == 1 || bare <= 1)
}

/// Probability that `total` points determine the subspaces when each is on subspace k with probability proportional to
/// `weights[k]` (positive), D25.9.
pub fn probability_determined(rank: usize, weights: &[f64], total: usize) -> f64 {
    let mut left: f64 = weights.iter().sum();
    // Probability that so many points are left for the later subspaces and so many subspaces had just d.
    let mut reached = vec![[0.0; 2]; total + 1];
    reached[total][0] = 1.0;
    for (k, weight) in weights.iter().enumerate() {
        let share = match k + 1 == weights.len() {
            true => 1.0,
            false => (weight / left).clamp(0.0, 1.0),
        };
        left -= weight;
        let mut next = vec![[0.0; 2]; total + 1];
        for (remaining, from) in reached.iter().enumerate() {
            if from[0] + from[1] == 0.0 {
                continue;
            }
            let Ok(binomial) = Binomial::new(share, remaining as u64) else {
                continue;
            };
            for size in rank..=remaining {
                let p = binomial.pmf(size as u64);
                let to = &mut next[remaining - size];
                match size == rank && rank > 1 {
                    true => to[1] += p * from[0],
                    false => {
                        to[0] += p * from[0];
                        to[1] += p * from[1];
                    }
                }
            }
        }
        reached = next;
    }
    reached[0][0] + reached[0][1]
}

/// Points x0 = U a + e on one subspace: a ~ N(0, I) of d dimensions, e ~ N(0, s^2 I) of n. What is learned from N of them is
/// the leading d-dimensional subspace of their second moments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubspaceFluctuation {
    /// n.
    pub ambient: usize,
    /// d.
    pub rank: usize,
    /// s.
    pub noise: f64,
    /// N.
    pub samples: usize,
}

impl SubspaceFluctuation {
    /// n, d, s^2, N.
    fn numbers(&self) -> (f64, f64, f64, f64) {
        let square = self.noise * self.noise;
        (
            self.ambient as f64,
            self.rank as f64,
            square,
            self.samples as f64,
        )
    }

    /// Variance of each of the d (n - d) elements of the tilt A in U + U_perp A, to first order in 1/N: s^2 (1 + s^2)/N (D25.10).
    pub fn tilt_variance(&self) -> f64 {
        let (_, _, square, samples) = self.numbers();
        square * (1.0 + square) / samples
    }

    /// E |sin Theta|_F^2 to first order in 1/N, d (n - d) s^2 (1 + s^2)/N: Gaussian fluctuations around the saddle (D25.11).
    pub fn first_order(&self) -> f64 {
        let (n, d, _, _) = self.numbers();
        d * (n - d) * self.tilt_variance()
    }

    /// E |tan Theta|_F^2 to first order in s^2 at any N >= d + 2: d (n - d) s^2/(N - d - 1) (D25.12). `None` for fewer points,
    /// where the mean does not exist.
    pub fn small_noise(&self) -> Option<f64> {
        let (n, d, square, samples) = self.numbers();
        let spare = samples - d - 1.0;
        (spare >= 1.0).then(|| d * (n - d) * square / spare)
    }

    /// |sin Theta|_F^2 for n and N large at a fixed ratio (Baik, Ben Arous, Péché; Paul; Benaych-Georges & Nadakuditi):
    /// d (1 - cos^2), cos^2 = (1 - c/l^2)/(1 + c/l), l = 1/s^2, c = n/N, and cos^2 = 0 where N <= n s^4 (D25.13).
    pub fn spiked(&self) -> f64 {
        let (n, d, square, samples) = self.numbers();
        let c = n / samples;
        let cosine = (1.0 - c * square * square) / (1.0 + c * square);
        d * (1.0 - cosine.max(0.0))
    }

    /// N below which nothing of the subspace is recovered when n and N are large: n s^4.
    pub fn threshold(&self) -> f64 {
        self.ambient as f64 * self.noise.powi(4)
    }

    /// The tangent of the largest principal angle of one learned subspace, drawn from its law to first order in s at any N >= d: that
    /// of the largest singular value of s G (A A^T)^(-1/2), G of (n - d) x d and A of d x N standard normal numbers (D24.7), whose
    /// mean square is (D25.12). `None` for fewer points.
    ///
    /// # Errors
    /// When singular values do not converge.
    pub fn largest_tangent<R: Rng + ?Sized>(
        &self,
        rng: &mut R,
    ) -> Result<Option<f64>, LinalgError> {
        let (n, d) = (self.ambient, self.rank);
        let mut normals = |rows, columns| {
            DMatrix::from_fn(rows, columns, |_, _| rng.sample::<f64, _>(StandardNormal))
        };
        let latent = normals(self.samples, d);
        let outside = normals(n - d, d);
        if self.samples < d {
            return Ok(None);
        }
        if n == d {
            return Ok(Some(0.0));
        }
        // With A^T = Q S V^T the law of G is that of G V: its columns are divided by S.
        let (lengths, _) = right_singular(&latent)?;
        let mut tangents = outside;
        for (mut column, length) in tangents.column_iter_mut().zip(&lengths) {
            column *= self.noise / length;
        }
        let (values, _) = right_singular(&tangents)?;
        Ok(values.first().copied())
    }

    /// A learned basis drawn from the Gaussian fluctuation: U + U_perp A, orthonormalised. `basis` is U, n x d.
    pub fn draw<R: Rng + ?Sized>(&self, basis: &DMatrix<f64>, rng: &mut R) -> DMatrix<f64> {
        let (rows, columns) = basis.shape();
        let deviation = self.tilt_variance().sqrt();
        let normal = DMatrix::from_fn(rows, columns, |_, _| {
            deviation * rng.sample::<f64, _>(StandardNormal)
        });
        // Normal in all directions less its part inside: normal with unit variance in U_perp.
        let along = multiply(view(basis).transpose(), view(&normal));
        orthonormal(&(basis + &normal - multiply(view(basis), view(&along))))
    }
}
