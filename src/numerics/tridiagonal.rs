//! Symmetric tridiagonal matrices: the Hessian of a chain.

/// A symmetric tridiagonal matrix of size n.
#[derive(Debug, Clone, PartialEq)]
pub struct Tridiagonal {
    /// Length n.
    pub diagonal: Vec<f64>,
    /// Element k couples k and k + 1; length n - 1 (empty for n = 0).
    pub off: Vec<f64>,
}

impl Tridiagonal {
    pub fn len(&self) -> usize {
        self.diagonal.len()
    }

    pub fn is_empty(&self) -> bool {
        self.diagonal.is_empty()
    }

    /// Pivots of L D L^T without exchange: their product is the determinant and as many are negative as eigenvalues are
    /// (Sylvester). Not finite where a leading minor vanishes.
    pub fn pivots(&self) -> Vec<f64> {
        let mut pivots = Vec::with_capacity(self.len());
        let mut before = 0.0;
        for (k, diagonal) in self.diagonal.iter().enumerate() {
            let pivot = if k == 0 {
                *diagonal
            } else {
                diagonal - self.off[k - 1] * self.off[k - 1] / before
            };
            pivots.push(pivot);
            before = pivot;
        }
        pivots
    }

    /// Matrix times vector of length n.
    pub fn product(&self, v: &[f64]) -> Vec<f64> {
        (0..self.len())
            .map(|k| {
                let mut sum = self.diagonal[k] * v[k];
                if k > 0 {
                    sum += self.off[k - 1] * v[k - 1];
                }
                if k + 1 < self.len() {
                    sum += self.off[k] * v[k + 1];
                }
                sum
            })
            .collect()
    }

    /// Solves for a right-hand side of length n. Not finite where a leading minor vanishes.
    pub fn solve(&self, right: &[f64]) -> Vec<f64> {
        let pivots = self.pivots();
        let mut x = right.to_vec();
        for k in 1..self.len() {
            x[k] -= self.off[k - 1] / pivots[k - 1] * x[k - 1];
        }
        for k in (0..self.len()).rev() {
            x[k] /= pivots[k];
            if k + 1 < self.len() {
                x[k] -= self.off[k] / pivots[k] * x[k + 1];
            }
        }
        x
    }
}
