//! The Onsager-Machlup form: the path alone, S = (1/2) r^T V^-1 r + (1/2) log det V + (N/2) log 2 pi (T7, D12.2).

use nalgebra::{DMatrix, DVector};

use super::{Action, ActionError, PathJet, add};
use crate::numerics::linalg;
use crate::numerics::normal::LOG_2_PI;

/// What stands for V^-1 where V is singular: it has rank r at most, and close points make it nearly so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Regularisation {
    /// Pseudo-inverse and pseudo-determinant on the eigenvectors above `tolerance` times the largest eigenvalue. The
    /// residual has to lie in their span, to the square root of the tolerance: elsewhere the action is infinite.
    Range { tolerance: f64 },
    /// V + variance I: independent noise of that variance at every step. 0 is V itself.
    Noise { variance: f64 },
}

/// The action of a path under [`Regularisation::Noise`], with its exact derivatives in x_1 ... x_N.
#[derive(Debug, Clone)]
pub struct OnsagerMachlup {
    /// exp(-value) is the density of the path.
    pub value: f64,
    /// Length N.
    pub gradient: DVector<f64>,
    /// theta = V^-1 r, the response field of the path (p = i theta).
    pub response: DVector<f64>,
    jet: PathJet,
    /// V^-1.
    inverse: DMatrix<f64>,
    /// sum_l theta_l v_l, length r: the smallest whitened weights that make the path.
    pull: DVector<f64>,
    /// B^T V^-1, r x N.
    filtered: DMatrix<f64>,
}

impl Action<'_> {
    /// The value of the action on the path x_0 ... x_N.
    ///
    /// # Errors
    /// When V is singular beyond the regularisation, or the path is outside its range.
    pub fn onsager_machlup_value(
        &self,
        path: &[f64],
        regularisation: Regularisation,
    ) -> Result<f64, ActionError> {
        match regularisation {
            Regularisation::Noise { variance } => Ok(self.onsager_machlup(path, variance)?.value),
            Regularisation::Range { tolerance } => self.on_range(path, tolerance),
        }
    }

    fn on_range(&self, path: &[f64], tolerance: f64) -> Result<f64, ActionError> {
        let jet = self.jet(path);
        // Singular values of B^T: the eigenvalues of V itself would lose twice as many digits.
        let (values, vectors) = linalg::right_singular(&jet.value)?;
        let largest = values.first().copied().unwrap_or(0.0);
        let mut outside = jet.residual.clone();
        let mut value = 0.0;
        for (sigma, direction) in values.iter().zip(vectors.column_iter()) {
            if *sigma > tolerance.sqrt() * largest {
                let along = direction.dot(&jet.residual);
                outside.axpy(-along, &direction, 1.0);
                value += 0.5 * ((along / sigma).powi(2) + LOG_2_PI) + sigma.ln();
            }
        }
        let distance = outside.norm() / jet.residual.norm().max(f64::MIN_POSITIVE);
        if distance > tolerance.sqrt() {
            return Err(ActionError::OffRange { distance });
        }
        Ok(value)
    }

    /// The action of the path x_0 ... x_N with noise of the given variance added to V.
    ///
    /// # Errors
    /// When V plus the noise is not positive definite.
    ///
    /// # Panics
    /// When `path` is not of length N + 1.
    pub fn onsager_machlup(
        &self,
        path: &[f64],
        variance: f64,
    ) -> Result<OnsagerMachlup, ActionError> {
        let jet = self.jet(path);
        let n = self.len();
        let mut v = jet.v();
        for k in 0..n {
            v[(k, k)] += variance;
        }
        let (inverse, log_det) = linalg::inverse_with_log_det(v)?;
        let response = &inverse * &jet.residual;
        let value = 0.5 * (response.dot(&jet.residual) + log_det + n as f64 * LOG_2_PI);
        let mut om = OnsagerMachlup {
            value,
            gradient: DVector::zeros(n),
            pull: &jet.value * &response,
            filtered: &jet.value * &inverse,
            response,
            jet,
            inverse,
        };
        for k in 0..n {
            let theta = om.response[k];
            let slope = om.jet.slope.column(k);
            let back = -theta * (om.jet.growth[k] + slope.dot(&om.pull))
                + slope.dot(&om.filtered.column(k));
            add(&mut om.gradient, k, back, theta);
        }
        Ok(om)
    }
}

impl OnsagerMachlup {
    /// sum_l theta_l v_l. Without noise the smallest whitened weights whose path this is: the value without its log det is
    /// half their square (D12.3). With noise the part of them that the field has, the noise making the rest.
    pub fn whitened(&self) -> &DVector<f64> {
        &self.pull
    }

    /// The Hessian times a direction, both of length N: N^2 r operations.
    pub fn hessian_times(&self, direction: &DVector<f64>) -> DVector<f64> {
        let (jet, n) = (&self.jet, direction.len());
        let step = |k: usize| if k == 0 { 0.0 } else { direction[k - 1] };
        let mut moved = jet.slope.clone();
        for k in 0..n {
            moved.column_mut(k).scale_mut(step(k));
        }
        let half = moved.tr_mul(&jet.value);
        let v_dot = &half + half.transpose();
        let residual = DVector::from_fn(n, |k, _| direction[k] - jet.growth[k] * step(k));
        let response = &self.inverse * (residual - &v_dot * &self.response);
        let pull = &jet.value * &response + &moved * &self.response;
        let filtered = (&moved - &self.filtered * v_dot) * &self.inverse;
        let mut out = DVector::zeros(n);
        for k in 0..n {
            let (theta, theta_dot, dx) = (self.response[k], response[k], step(k));
            let (slope, second) = (jet.slope.column(k), jet.second.column(k));
            let back = -theta_dot * (jet.growth[k] + slope.dot(&self.pull))
                - theta * (jet.curvature[k] * dx + dx * second.dot(&self.pull) + slope.dot(&pull))
                + dx * second.dot(&self.filtered.column(k))
                + slope.dot(&filtered.column(k));
            add(&mut out, k, back, theta_dot);
        }
        out
    }
}
