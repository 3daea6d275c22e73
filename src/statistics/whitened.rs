//! A training distribution seen through the features of a kernel.

use nalgebra::DMatrix;

use super::Measure;
use crate::numerics::linalg;

/// The rows L^T z of a measure with rows z: with K = phi^T L L^T phi the plain ridge on their weights is that of the kernel.
pub(super) struct Whitened<'a, M: Measure> {
    pub measure: &'a M,
    /// L, F x r.
    pub factor: &'a DMatrix<f64>,
}

/// L M L^T.
pub(super) fn outer(factor: &DMatrix<f64>, matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let factor = linalg::view(factor);
    linalg::multiply_three(factor, linalg::view(matrix), factor.transpose())
}

/// L C L^T, a block of a covariance.
pub(super) fn expanded(
    factor: &DMatrix<f64>,
    covariance: &DMatrix<f64>,
    symmetric: bool,
) -> DMatrix<f64> {
    let mut out = outer(factor, covariance);
    if symmetric {
        linalg::symmetrise(&mut out);
    }
    out
}

/// L^T M L.
pub(super) fn projected(factor: &DMatrix<f64>, matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let factor = linalg::view(factor);
    linalg::multiply_three(factor.transpose(), linalg::view(matrix), factor)
}

/// L^T M L of a symmetric matrix.
pub(super) fn inner(factor: &DMatrix<f64>, matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let mut out = projected(factor, matrix);
    linalg::symmetrise(&mut out);
    out
}

impl<M: Measure> Measure for Whitened<'_, M> {
    fn features(&self) -> usize {
        self.factor.ncols()
    }

    fn outputs(&self) -> usize {
        self.measure.outputs()
    }

    fn nodes(&self) -> usize {
        self.measure.nodes()
    }

    fn quadratic(&self, matrix: &DMatrix<f64>) -> Vec<f64> {
        self.measure.quadratic(&outer(self.factor, matrix))
    }

    fn project(&self, direction: &[f64]) -> Vec<f64> {
        let direction = self.factor * nalgebra::DVector::from_column_slice(direction);
        self.measure.project(direction.as_slice())
    }

    fn gram(&self, factor: &[f64]) -> DMatrix<f64> {
        inner(self.factor, &self.measure.gram(factor))
    }

    fn cross(&self, factor: &[f64]) -> DMatrix<f64> {
        self.factor.tr_mul(&self.measure.cross(factor))
    }

    fn residual(&self, weights: &DMatrix<f64>, outputs: (usize, usize)) -> Vec<f64> {
        self.measure.residual(&(self.factor * weights), outputs)
    }

    fn weights(&self) -> Vec<f64> {
        self.measure.weights()
    }
}
