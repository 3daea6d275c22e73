//! Real response fields with all cumulants of the weights: S = theta.r - K(u), u = sum_k theta_k phi_k (T8, D12.5).

use nalgebra::{DMatrix, DVector};

use super::{Action, PathJet, add};
use crate::family::features::kronecker;
use crate::statistics::SampleSum;

/// The cumulant generating function K(u) = ln E exp(u . (W - mean)) of the weights.
pub trait Cumulants {
    /// K(u) and dK/du, u of length F.
    fn value_and_gradient(&self, u: &DVector<f64>) -> (f64, DVector<f64>);

    /// (d^2 K/du^2) h at u.
    fn hessian_times(&self, u: &DVector<f64>, h: &DVector<f64>) -> DVector<f64>;
}

/// K = u^T C u/2: the Gaussian closure.
#[derive(Debug, Clone, Copy)]
pub struct GaussianCumulants<'a> {
    pub covariance: &'a DMatrix<f64>,
}

impl Cumulants for GaussianCumulants<'_> {
    fn value_and_gradient(&self, u: &DVector<f64>) -> (f64, DVector<f64>) {
        let gradient = self.covariance * u;
        (0.5 * u.dot(&gradient), gradient)
    }

    fn hessian_times(&self, _u: &DVector<f64>, h: &DVector<f64>) -> DVector<f64> {
        self.covariance * h
    }
}

impl Cumulants for SampleSum<'_> {
    fn value_and_gradient(&self, u: &DVector<f64>) -> (f64, DVector<f64>) {
        let tilt = self.tilt(u.as_slice());
        (tilt.value(), tilt.gradient().clone())
    }

    fn hessian_times(&self, u: &DVector<f64>, h: &DVector<f64>) -> DVector<f64> {
        self.tilt(u.as_slice()).hessian_times(h.as_slice())
    }
}

/// The action at real response fields p = i theta, with any cumulants.
#[derive(Debug, Clone)]
pub struct ResponseAction {
    /// The path integral's weight at p = i theta is exp(-value).
    pub value: f64,
    /// By x_1 ... x_N.
    pub by_path: DVector<f64>,
    /// By theta_0 ... theta_{N-1}.
    pub by_response: DVector<f64>,
}

impl Action<'_> {
    /// S on the path x_0 ... x_N with the real response field theta_0 ... theta_{N-1}.
    ///
    /// # Panics
    /// When the lengths are not N + 1 and N.
    pub fn with_cumulants(
        &self,
        cumulants: &dyn Cumulants,
        path: &[f64],
        response: &DVector<f64>,
    ) -> ResponseAction {
        let jet = self.feature_jet(path);
        let (k, mean) = cumulants.value_and_gradient(&(&jet.value * response));
        let n = self.len();
        let mut out = ResponseAction {
            value: response.dot(&jet.residual) - k,
            by_path: DVector::zeros(n),
            by_response: &jet.residual - jet.value.tr_mul(&mean),
        };
        let slopes = jet.slope.tr_mul(&mean);
        for k in 0..n {
            let back = -response[k] * (jet.growth[k] + slopes[k]);
            add(&mut out.by_path, k, back, response[k]);
        }
        out
    }

    /// The Hessian of [`Self::with_cumulants`] times a direction (by path, by response), each of length N.
    pub fn cumulant_hessian_times(
        &self,
        cumulants: &dyn Cumulants,
        path: &[f64],
        response: &DVector<f64>,
        (along_path, along_response): (&DVector<f64>, &DVector<f64>),
    ) -> (DVector<f64>, DVector<f64>) {
        let jet = self.feature_jet(path);
        let u = &jet.value * response;
        let (_, mean) = cumulants.value_and_gradient(&u);
        let n = self.len();
        let step = DVector::from_fn(n, |k, _| if k == 0 { 0.0 } else { along_path[k - 1] });
        let moved = response.component_mul(&step);
        let turned =
            cumulants.hessian_times(&u, &(&jet.value * along_response + &jet.slope * moved));
        let (slopes, seconds) = (jet.slope.tr_mul(&mean), jet.second.tr_mul(&mean));
        let (values_turned, slopes_turned) = (jet.value.tr_mul(&turned), jet.slope.tr_mul(&turned));
        let mut by_path = DVector::zeros(n);
        let mut by_response = DVector::zeros(n);
        for k in 0..n {
            let (theta, dtheta, dx) = (response[k], along_response[k], step[k]);
            by_response[k] = along_path[k] - (jet.growth[k] + slopes[k]) * dx - values_turned[k];
            let back = -dtheta * (jet.growth[k] + slopes[k])
                - theta * ((jet.curvature[k] + seconds[k]) * dx + slopes_turned[k]);
            add(&mut by_path, k, back, dtheta);
        }
        (by_path, by_response)
    }

    /// The path's jet with the F features of a step, times its coefficients, instead of the r responses to eta.
    fn feature_jet(&self, path: &[f64]) -> PathJet {
        self.jet_of(path, self.mean.len(), |step, s, mut column| {
            column.copy_from_slice(&kronecker(s.as_slice(), &step.clock));
        })
    }
}
