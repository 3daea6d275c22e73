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

impl<M: Measure> Whitened<'_, M> {
    /// L M L^T.
    fn outer(&self, matrix: &DMatrix<f64>) -> DMatrix<f64> {
        let half = linalg::multiply(linalg::view(self.factor), linalg::view(matrix));
        linalg::multiply(linalg::view(&half), linalg::view(self.factor).transpose())
    }
}

/// L^T M L.
pub(super) fn inner(factor: &DMatrix<f64>, matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let half = linalg::multiply(linalg::view(matrix), linalg::view(factor));
    let mut out = linalg::multiply(linalg::view(factor).transpose(), linalg::view(&half));
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
        self.measure.quadratic(&self.outer(matrix))
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
