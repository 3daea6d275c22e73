//! What statistics need of a training distribution, whatever it is.

use nalgebra::DMatrix;

/// A training distribution as weighted nodes, each a row z = sqrt(lambda) phi (length F) with a random target
/// y = sqrt(lambda) f (length D) of known mean and covariance. Node values come and go as slices of length
/// [`Measure::nodes`]; E is the sum over nodes with their weights.
pub trait Measure: Sync {
    /// F.
    fn features(&self) -> usize;

    /// D.
    fn outputs(&self) -> usize;

    fn nodes(&self) -> usize;

    /// z^T M z at every node, M of shape F x F (only its symmetric part counts).
    fn quadratic(&self, matrix: &DMatrix<f64>) -> Vec<f64>;

    /// u^T z at every node, u of length F.
    fn project(&self, direction: &[f64]) -> Vec<f64>;

    /// E[factor z z^T], F x F.
    fn gram(&self, factor: &[f64]) -> DMatrix<f64>;

    /// E[factor z E[y|z]^T], F x D.
    fn cross(&self, factor: &[f64]) -> DMatrix<f64>;

    /// r_i r_j + Cov(y_i, y_j) at every node, r = E[y|z] - W^T z with W of shape F x D.
    fn residual(&self, weights: &DMatrix<f64>, outputs: (usize, usize)) -> Vec<f64>;

    /// Probability of every node.
    fn weights(&self) -> Vec<f64>;

    /// The average of a node value.
    fn mean(&self, factor: &[f64]) -> f64 {
        self.weights().iter().zip(factor).map(|(w, f)| w * f).sum()
    }
}
