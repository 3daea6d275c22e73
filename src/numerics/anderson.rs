//! Fixed points x = g(x) by Anderson acceleration (Walker and Ni 2011, type II).

use nalgebra::{DMatrix, DVector};

/// Differences kept: enough for the slow directions of a contraction, few enough for a well-conditioned fit.
const DEPTH: usize = 6;

/// The memory of an accelerated iteration: feed it pairs (x, g(x)), get the next x.
#[derive(Debug, Clone)]
pub struct Anderson {
    /// Weight of every component in the least-squares fit.
    weight: Vec<f64>,
    last: Option<(Vec<f64>, Vec<f64>)>,
    /// Differences of residuals and of images, newest last.
    residuals: Vec<Vec<f64>>,
    images: Vec<Vec<f64>>,
}

impl Anderson {
    pub fn new(weight: Vec<f64>) -> Self {
        Self {
            weight,
            last: None,
            residuals: Vec::new(),
            images: Vec::new(),
        }
    }

    /// The next iterate after `image` = g(`x`): the combination of past images whose residual is least. The first one is
    /// the plain step.
    pub fn next(&mut self, x: &[f64], image: &[f64]) -> Vec<f64> {
        let residual: Vec<f64> = image.iter().zip(x).map(|(g, x)| g - x).collect();
        if let Some((residual_before, image_before)) = self.last.take() {
            if self.residuals.len() == DEPTH {
                self.residuals.remove(0);
                self.images.remove(0);
            }
            self.residuals.push(difference(&residual, &residual_before));
            self.images.push(difference(image, &image_before));
        }
        let mut next = image.to_vec();
        for (gamma, change) in self.coefficients(&residual).iter().zip(&self.images) {
            for (n, c) in next.iter_mut().zip(change) {
                *n -= gamma * c;
            }
        }
        self.last = Some((residual, image.to_vec()));
        next
    }

    /// Minimises |residual - sum gamma_j (residual differences)_j| in the weighted norm. Directions that the rounding of
    /// the normal equations hides are left out.
    fn coefficients(&self, residual: &[f64]) -> Vec<f64> {
        let n = self.residuals.len();
        if n == 0 {
            return Vec::new();
        }
        let scale: Vec<f64> = self
            .residuals
            .iter()
            .map(|r| self.inner(r, r).sqrt().max(f64::MIN_POSITIVE))
            .collect();
        let gram = DMatrix::from_fn(n, n, |i, j| {
            self.inner(&self.residuals[i], &self.residuals[j]) / (scale[i] * scale[j])
        });
        let right = DVector::from_fn(n, |i, _| {
            self.inner(&self.residuals[i], residual) / scale[i]
        });
        let eigen = gram.symmetric_eigen();
        let mut solution = DVector::zeros(n);
        for (value, vector) in eigen
            .eigenvalues
            .iter()
            .zip(eigen.eigenvectors.column_iter())
        {
            if *value > 1e-12 {
                solution.axpy(vector.dot(&right) / value, &vector, 1.0);
            }
        }
        solution.iter().zip(&scale).map(|(s, r)| s / r).collect()
    }

    fn inner(&self, a: &[f64], b: &[f64]) -> f64 {
        self.weight
            .iter()
            .zip(a)
            .zip(b)
            .map(|((w, a), b)| w * a * b)
            .sum()
    }
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}
