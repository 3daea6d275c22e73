//! The naive family (theory T9) and its noise-free limit, the exact denoiser.

use super::Denoiser;
use crate::problem::{CloudPosterior, LinePosterior, Problem};

/// Each Euler step of length h uses s + sqrt(kappa/h) (proxy score - s) with x0 drawn afresh from p(x0|x,t).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Naive {
    /// Strength of the proxy noise, in units of time; 0 is the exact score.
    pub kappa: f64,
}

/// The posterior mean of the training distribution: the optimum of DSM.
#[derive(Debug, Clone, Copy)]
pub struct ExactDenoiser<'a> {
    pub problem: &'a Problem,
}

impl Denoiser for ExactDenoiser<'_> {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        if self.problem.dim() > 1 {
            return CloudPosterior::new(self.problem, t).mean(x, denoised);
        }
        let posterior = LinePosterior::new(self.problem, t);
        for (d, x) in denoised.iter_mut().zip(x) {
            *d = posterior.at(*x).mean;
        }
    }

    /// The slope of the posterior mean is (alpha/sigma^2) Var(x0|x,t) (second-order Tweedie formula).
    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        let posterior = LinePosterior::new(self.problem, t);
        let factor = posterior.alpha() / posterior.sigma2();
        for ((d, s), x) in denoised.iter_mut().zip(slope).zip(x) {
            let moments = posterior.at(*x);
            *d = moments.mean;
            *s = factor * moments.variance;
        }
    }
}
