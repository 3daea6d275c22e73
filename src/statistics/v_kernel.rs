//! The V-kernel as an operator (theory T5, T9, T10).

use nalgebra::{DMatrix, DVector};

use super::{StatisticsError, WeightStatistics};
use crate::family::Linear;
use crate::numerics::linalg;
use crate::problem::Problem;

/// V(x,t; x',t') = D_t Cov[s(x,t), s(x',t')] D_t' of a linear family, kept as the low-rank factor Cov(W) = L L^T: every
/// value is an inner product of r-vectors.
#[derive(Debug, Clone)]
pub struct VKernel<'a> {
    problem: &'a Problem,
    family: &'a Linear,
    /// L, D F x r.
    factor: DMatrix<f64>,
    /// Share of the trace that was cut off.
    truncated: f64,
}

/// The V-kernel on a path of N space-time points: V = B B^T.
#[derive(Debug, Clone)]
pub struct PathFactor {
    /// B, N x r.
    pub rows: DMatrix<f64>,
}

impl PathFactor {
    /// The N x N matrix V_kl.
    pub fn dense(&self) -> DMatrix<f64> {
        linalg::multiply(
            linalg::view(&self.rows),
            linalg::view(&self.rows).transpose(),
        )
    }
}

impl<'a> VKernel<'a> {
    /// Factors the covariance, keeping the largest eigenvalues up to a share `1 - truncate` of the trace; 0 keeps all
    /// that are positive. In D >= 2 with nothing truncated the factor is Cholesky's, which is cheaper by twenty.
    pub fn new(
        problem: &'a Problem,
        family: &'a Linear,
        weights: &WeightStatistics,
        truncate: f64,
    ) -> Result<Self, StatisticsError> {
        if problem.dim() > 1 && truncate == 0.0 {
            return Ok(Self {
                problem,
                family,
                factor: linalg::semidefinite_factor(&weights.covariance)?,
                truncated: 0.0,
            });
        }
        let (values, vectors) = linalg::symmetric_eigen(&weights.covariance)?;
        let trace: f64 = values.iter().map(|v| v.max(0.0)).sum();
        // Eigenvalues come in increasing order; drop from the low end while the budget lasts.
        let mut dropped = 0.0;
        let mut first = 0;
        for v in &values {
            if *v > 0.0 && dropped + v > truncate * trace {
                break;
            }
            dropped += v.max(0.0);
            first += 1;
        }
        let rank = values.len() - first;
        let factor = DMatrix::from_fn(values.len(), rank, |i, j| {
            vectors[(i, first + j)] * values[first + j].sqrt()
        });
        Ok(Self {
            problem,
            family,
            factor,
            truncated: if trace > 0.0 { dropped / trace } else { 0.0 },
        })
    }

    pub fn problem(&self) -> &'a Problem {
        self.problem
    }

    pub fn family(&self) -> &'a Linear {
        self.family
    }

    /// L, D F x r: weights are mean + L eta with eta ~ N(0, I_r).
    pub fn factor(&self) -> &DMatrix<f64> {
        &self.factor
    }

    /// r.
    pub fn rank(&self) -> usize {
        self.factor.ncols()
    }

    /// Share of the covariance's trace outside the factor.
    pub fn truncated(&self) -> f64 {
        self.truncated
    }

    /// The r-vector v(x,t) with V(x,t;x',t') = v . v': the drift's response to each whitened weight, D = 1.
    pub fn response(&self, x: f64, t: f64) -> DVector<f64> {
        let features = &self.family.features;
        let mut phi = DVector::zeros(features.len());
        features.values(&[x], t, phi.as_mut_slice());
        let (_, coefficient) = self.family.predicts.drift(&self.problem.diffusion, t);
        self.factor.tr_mul(&phi) * coefficient
    }

    /// V at two space-time points, D = 1.
    pub fn value(&self, (x, t): (f64, f64), (y, s): (f64, f64)) -> f64 {
        self.response(x, t).dot(&self.response(y, s))
    }

    /// Restriction to a path, D = 1.
    pub fn on_path(&self, points: &[(f64, f64)]) -> PathFactor {
        let mut rows = DMatrix::zeros(points.len(), self.rank());
        for (i, &(x, t)) in points.iter().enumerate() {
            rows.set_row(i, &self.response(x, t).transpose());
        }
        PathFactor { rows }
    }
}
