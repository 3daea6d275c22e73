//! The target of denoising score matching: posterior of the clean point, score, and the covariance of the
//! proxy score (theory T2, T3; derivations/02-dsm-target.md).

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::{Data, Diffusion};

/// Posterior of x0 given x at time t, with the quantities DSM is made of.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// ln p(x|t).
    pub log_density: f64,
    /// Posterior weight of each mixture component, summing to 1.
    pub weights: Vec<f64>,
    /// E[x0|x,t], length D.
    pub mean: DVector<f64>,
    /// Cov(x0|x,t), D x D; a sum of positive terms, so relatively accurate also where it is tiny.
    pub covariance: DMatrix<f64>,
    /// grad ln p(x|t), length D (T2).
    pub score: DVector<f64>,
    alpha: f64,
    sigma2: f64,
}

impl Posterior {
    /// Covariance C of the proxy score, alpha^2/sigma^4 Cov(x0|x,t) (T3), D x D.
    pub fn proxy_score_covariance(&self) -> DMatrix<f64> {
        let ratio = self.alpha / self.sigma2;
        &self.covariance * (ratio * ratio)
    }
}

/// Computes the posterior at one space-time point. Weights go through log-sum-exp and every covariance through
/// its eigenvalues: correct down to t = 1e-12 and arbitrarily far from the data.
pub fn posterior(data: &Data, diffusion: &Diffusion, x: &[f64], t: f64) -> Posterior {
    let dim = data.dim();
    let (alpha, sigma2) = (diffusion.alpha(t), diffusion.sigma2(t));
    let x = DVector::from_column_slice(x);
    let ln_2pi = (2.0 * std::f64::consts::PI).ln();

    // Per component: log joint density, score, posterior mean; all in the eigenbasis of its covariance.
    let mut log_joint = Vec::with_capacity(data.components().len());
    let mut scores = Vec::with_capacity(data.components().len());
    let mut means = Vec::with_capacity(data.components().len());
    for (c, log_weight) in data.components().iter().zip(data.log_weights()) {
        let (misfit, off) = c.split(&x - &c.mean * alpha);
        let mut log = *log_weight;
        let mut score = misfit.clone();
        let mut shift = misfit.clone();
        for i in 0..misfit.len() {
            let v = alpha * alpha * c.variances[i] + sigma2;
            log -= 0.5 * (misfit[i] * misfit[i] / v + v.ln() + ln_2pi);
            score[i] = -misfit[i] / v;
            shift[i] = alpha * c.variances[i] / v * misfit[i];
        }
        let (mut score, mut mean) = (c.along_axes(score), &c.mean + c.along_axes(shift));
        if let Some(off) = off {
            let v = alpha * alpha * c.off_axes + sigma2;
            let count = c.off_dimension() as f64;
            log -= 0.5 * (off.norm_squared() / v + count * (v.ln() + ln_2pi));
            score.axpy(-1.0 / v, &off, 1.0);
            mean.axpy(alpha * c.off_axes / v, &off, 1.0);
        }
        log_joint.push(log);
        scores.push(score);
        means.push(mean);
    }
    let (log_density, weights) = softmax(&log_joint);

    let mut mean = DVector::zeros(dim);
    let mut score = DVector::zeros(dim);
    for ((w, m), s) in weights.iter().zip(&means).zip(&scores) {
        mean.axpy(*w, m, 1.0);
        score.axpy(*w, s, 1.0);
    }
    let mut covariance = DMatrix::zeros(dim, dim);
    for ((w, m), c) in weights.iter().zip(&means).zip(data.components()) {
        let deviation = m - &mean;
        covariance.ger(*w, &deviation, &deviation, 1.0);
        if !c.is_point() {
            covariance += c.spectral_matrix(|v| v * sigma2 / (alpha * alpha * v + sigma2)) * *w;
        }
    }
    Posterior {
        log_density,
        weights,
        mean,
        covariance,
        score,
        alpha,
        sigma2,
    }
}

/// ln sum exp and the normalised weights.
pub(super) fn softmax(log: &[f64]) -> (f64, Vec<f64>) {
    let top = log.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut weights: Vec<f64> = log.iter().map(|l| (l - top).exp()).collect();
    let sum: f64 = weights.iter().sum();
    for w in &mut weights {
        *w /= sum;
    }
    (top + sum.ln(), weights)
}

/// What the model's output stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// E[x0|x,t].
    Denoiser,
    /// grad ln p(x|t).
    Score,
    /// E[xi|x,t], the noise in x = alpha x0 + sigma xi.
    Noise,
}

/// The regression target at one time, y = p x0 + q x: every prediction type is affine in the clean point.
/// Hence E[y|x] = p E[x0|x] + q x and Cov(y|x) = p^2 Cov(x0|x).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Regression {
    pub p: f64,
    pub q: f64,
}

impl Prediction {
    /// The target's coefficients at time t.
    pub fn regression(self, diffusion: &Diffusion, t: f64) -> Regression {
        let (alpha, sigma2) = (diffusion.alpha(t), diffusion.sigma2(t));
        match self {
            Self::Denoiser => Regression { p: 1.0, q: 0.0 },
            Self::Score => Regression {
                p: alpha / sigma2,
                q: -1.0 / sigma2,
            },
            Self::Noise => Regression {
                p: -alpha / sigma2.sqrt(),
                q: 1.0 / sigma2.sqrt(),
            },
        }
    }

    /// Coefficients (a, b) of the probability-flow drift a x + b f in terms of this model output f.
    pub fn drift(self, diffusion: &Diffusion, t: f64) -> (f64, f64) {
        let (a, b) = diffusion.denoiser_drift(t);
        let Regression { p, q } = self.regression(diffusion, t);
        (a - b * q / p, b / p)
    }
}
