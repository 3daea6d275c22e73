//! A map from whitened weights to the end of a path, with the derivatives that saddle points need.

use nalgebra::{DMatrix, DVector};

use super::ActionError;

/// x_0 = Phi(eta), eta ~ N(0, I): a trained model's trajectory as a function of its fluctuation.
pub trait FlowMap: Sync {
    /// Length of eta.
    fn dim(&self) -> usize;

    /// Phi(eta).
    fn end(&self, eta: &DVector<f64>) -> Result<f64, ActionError>;

    /// Phi and J = dPhi/deta.
    fn gradient(&self, eta: &DVector<f64>) -> Result<(f64, DVector<f64>), ActionError>;

    /// Phi, J and the Hessian as a sum of outer products.
    fn second_order(&self, eta: &DVector<f64>) -> Result<SecondOrder, ActionError>;
}

/// Phi to second order at one eta. The Hessian is `left right^T + right left^T`.
#[derive(Debug, Clone)]
pub struct SecondOrder {
    pub end: f64,
    /// J, length r.
    pub gradient: DVector<f64>,
    /// r x n.
    pub left: DMatrix<f64>,
    /// r x n.
    pub right: DMatrix<f64>,
}

impl SecondOrder {
    /// (d^2 Phi/d eta^2) y.
    pub fn hessian_times(&self, y: &DVector<f64>) -> DVector<f64> {
        &self.left * self.right.tr_mul(y) + &self.right * self.left.tr_mul(y)
    }
}
