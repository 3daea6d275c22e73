//! Denoisers that are affine in x, from the data's mean and covariance alone.

use nalgebra::{DMatrix, DVector};

use crate::family::Denoiser;
use crate::numerics::linalg::{self, LinalgError};
use crate::problem::{Diffusion, Problem};

/// Relative change at which Newton's iteration for kappa has converged, and its limit; from above it is monotone.
const CONVERGED: f64 = 1e-15;
const MOST_ITERATIONS: usize = 200;

/// What a linear denoiser is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The data's own mean and covariance.
    Everything,
    /// The covariance of n points, their mean being known.
    KnownMean(usize),
    /// Mean and covariance of n >= 2 points.
    FittedMean(usize),
}

/// D(x) = mu + Sigma (Sigma + kappa)^-1 (x/alpha - mu), with mean mu and covariance Sigma of the data (D26.1, D26.5).
///
/// kappa = sigma^2/alpha^2 is the exact denoiser of Gaussian data. Trained on n points it is, on average over training sets and for
/// n and D large, the renormalised ridge kappa of random-matrix theory.
#[derive(Debug, Clone)]
pub struct LinearScore {
    diffusion: Diffusion,
    /// mu, length D.
    mean: DVector<f64>,
    /// Eigenvectors u_k of Sigma as columns, D x D.
    axes: DMatrix<f64>,
    /// Eigenvalues lambda_k >= 0 of Sigma.
    variances: Vec<f64>,
    sample: Sample,
}

impl LinearScore {
    /// The score of the Gaussian with the data's mean and covariance.
    ///
    /// # Errors
    /// Where the eigendecomposition fails.
    pub fn gaussian(problem: &Problem) -> Result<Self, LinalgError> {
        Self::trained(problem, Sample::Everything)
    }

    /// The mean over training sets of the linear denoiser that is trained on `sample` (arXiv 2602.02908), the noise integrated over.
    ///
    /// # Errors
    /// Where the eigendecomposition fails.
    pub fn trained(problem: &Problem, sample: Sample) -> Result<Self, LinalgError> {
        let (values, axes) = linalg::symmetric_eigen(&problem.data.covariance())?;
        Ok(Self {
            diffusion: problem.diffusion.clone(),
            mean: problem.data.mean(),
            axes,
            variances: values.into_iter().map(|v| v.max(0.0)).collect(),
            sample,
        })
    }

    /// Points that the covariance is free to follow, and the factor of sigma^2/alpha^2 in its ridge: a fitted mean takes one point,
    /// and leaves the covariance smaller by (n - 1)/n.
    fn freedom(&self) -> Option<(f64, f64)> {
        match self.sample {
            Sample::Everything => None,
            Sample::KnownMean(n) => Some((n as f64, 1.0)),
            Sample::FittedMean(n) => {
                let n = n as f64;
                Some((n - 1.0, n / (n - 1.0)))
            }
        }
    }

    /// kappa at the noise level `ratio` = sigma^2/alpha^2: the solution of
    /// kappa - ratio = (kappa/n) tr Sigma (Sigma + kappa)^-1, or `ratio` itself without training (D26.5).
    pub fn kappa(&self, ratio: f64) -> f64 {
        let Some((n, factor)) = self.freedom() else {
            return ratio;
        };
        let ratio = factor * ratio;
        // The difference of the two sides is convex, so that Newton's iteration from above the root falls to it.
        let mut kappa = ratio + self.variances.iter().sum::<f64>() / n;
        for _ in 0..MOST_ITERATIONS {
            let (mut value, mut slope) = (kappa - ratio, 1.0);
            for v in &self.variances {
                let share = v / (v + kappa);
                value -= kappa * share / n;
                slope -= share * share / n;
            }
            let next = kappa - value / slope;
            let change = (kappa - next).abs();
            if !next.is_finite() || next <= 0.0 {
                break;
            }
            kappa = next;
            if change <= CONVERGED * kappa {
                break;
            }
        }
        kappa
    }

    /// Variance over training sets of v^T D(x) at time `t`, v and x of length D:
    /// kappa^2/(n - df2) [q(v, v) q(y, y) + q(v, y)^2], y = x/alpha - mu, q(u, w) = u^T Sigma (Sigma + kappa)^-2 w,
    /// df2 = tr Sigma^2 (Sigma + kappa)^-2 (D26.6). arXiv 2602.02908 has the first term only, which is all where v and y have
    /// little in common. With a fitted mean n - 1 takes the place of n and q(y, y) + (n - 1)/n that of q(y, y). Zero without training.
    pub fn variance(&self, t: f64, v: &[f64], x: &[f64]) -> f64 {
        let Some((n, factor)) = self.freedom() else {
            return 0.0;
        };
        let alpha = self.diffusion.alpha(t);
        let kappa = self.kappa(self.diffusion.sigma2(t) / (alpha * alpha));
        let share = |lambda: f64| lambda / (lambda + kappa);
        let df2: f64 = self.variances.iter().map(|l| share(*l).powi(2)).sum();
        let along = |u: DVector<f64>| self.axes.tr_mul(&u);
        let v = along(DVector::from_column_slice(v));
        let y = along(DVector::from_column_slice(x) / alpha - &self.mean);
        let q = |u: &DVector<f64>, w: &DVector<f64>| -> f64 {
            (u.iter().zip(w.iter()).zip(&self.variances))
                .map(|((u, w), l)| u * w * share(*l) / (l + kappa))
                .sum()
        };
        let of_mean = match self.sample {
            Sample::FittedMean(_) => 1.0 / factor,
            _ => 0.0,
        };
        let moments = q(&v, &v) * (q(&y, &y) + of_mean) + q(&v, &y).powi(2);
        kappa * kappa / (n - df2) * moments
    }

    /// The flow of the Gaussian score from `t` to `s` in closed form (D26.2): x -> shift + U diag(growth) U^T x, shift of length D,
    /// growth along every axis u_k.
    pub fn carried(&self, t: f64, s: f64) -> (DVector<f64>, Vec<f64>) {
        let (from, to) = (self.diffusion.alpha(t), self.diffusion.alpha(s));
        let spread =
            |v: f64, alpha: f64, t: f64| (alpha * alpha * v + self.diffusion.sigma2(t)).sqrt();
        let growth: Vec<f64> = (self.variances.iter())
            .map(|v| spread(*v, to, s) / spread(*v, from, t))
            .collect();
        let along = self.axes.tr_mul(&self.mean);
        let moved = (along.iter().zip(&growth)).map(|(m, g)| (to - from * g) * m);
        let moved = DVector::from_iterator(along.len(), moved);
        (&self.axes * moved, growth)
    }

    /// Eigenvectors of the covariance as columns.
    pub fn axes(&self) -> &DMatrix<f64> {
        &self.axes
    }

    /// d D/d x along every axis at time `t`: lambda/((lambda + kappa) alpha), in a form that is regular at alpha = 0.
    fn gains(&self, t: f64) -> Vec<f64> {
        let alpha = self.diffusion.alpha(t);
        let sigma2 = self.diffusion.sigma2(t);
        if self.sample == Sample::Everything || alpha == 0.0 {
            let gain = |v: &f64| alpha * v / (alpha * alpha * v + sigma2);
            return self.variances.iter().map(gain).collect();
        }
        let kappa = self.kappa(sigma2 / (alpha * alpha));
        let gain = |v: &f64| v / ((v + kappa) * alpha);
        self.variances.iter().map(gain).collect()
    }
}

impl Denoiser for LinearScore {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        let dim = self.mean.len();
        let n = x.len() / dim;
        let alpha = self.diffusion.alpha(t);
        let gains = self.gains(t);
        // Points are rows here: (x - alpha mu) U diag(gains) U^T + mu.
        let mut from_mean = DMatrix::from_column_slice(n, dim, x);
        for (mut column, m) in from_mean.column_iter_mut().zip(self.mean.iter()) {
            column.add_scalar_mut(-alpha * m);
        }
        let axes = linalg::view(&self.axes);
        let mut along = linalg::multiply(linalg::view(&from_mean), axes);
        for (mut column, gain) in along.column_iter_mut().zip(&gains) {
            column *= *gain;
        }
        let back = linalg::multiply(linalg::view(&along), axes.transpose());
        for ((out, column), m) in (denoised.chunks_exact_mut(n))
            .zip(back.column_iter())
            .zip(self.mean.iter())
        {
            for (out, v) in out.iter_mut().zip(column.iter()) {
                *out = m + v;
            }
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.denoise(t, x, denoised);
        slope.fill(self.gains(t)[0]);
    }
}
