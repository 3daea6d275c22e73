//! The training protocol: objective, weighting, number of samples, ridge.

use std::sync::Arc;

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::{Prediction, Problem, TimeWeight};

/// Which target the model regresses on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Denoising score matching: the noisy proxy target (J1).
    Dsm,
    /// Explicit score matching: its conditional mean, without noise (J0).
    Esm,
}

/// Weight of a sample's squared error as a function of time.
#[derive(Debug, Clone, PartialEq)]
pub enum Weighting {
    /// alpha^2/sigma^2 on the error of the implied x0, whatever is predicted.
    Snr,
    /// 1 on the error of the predicted quantity.
    Uniform,
    /// sigma^2 on the error of the predicted quantity.
    Sigma2,
    /// A written weight on the error of the predicted quantity.
    Expression(Arc<TimeWeight>),
}

/// P fresh triples (t, x0, x), t uniform on [t_min, t_max], fitted by weighted ridge regression.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    pub objective: Objective,
    pub weighting: Weighting,
    /// P, the number of fresh samples per model.
    pub samples: usize,
    /// rho in (Sigma + rho I).
    pub ridge: f64,
}

impl Training {
    /// Weight lambda(t) on the squared error of the predicted quantity.
    pub fn lambda(&self, problem: &Problem, prediction: Prediction, t: f64) -> f64 {
        match &self.weighting {
            Weighting::Uniform => 1.0,
            Weighting::Sigma2 => problem.diffusion.sigma2(t),
            Weighting::Expression(weight) => {
                weight.value(t, problem.diffusion.alpha(t), problem.diffusion.sigma(t))
            }
            Weighting::Snr => {
                // The x0-error is the error of the predicted quantity divided by p.
                let p = prediction.regression(&problem.diffusion, t).p;
                problem.diffusion.snr(t) / (p * p)
            }
        }
    }
}

/// One training sample: time, clean point, noised point.
#[derive(Debug, Clone)]
pub struct Triple {
    pub t: f64,
    pub x0: Vec<f64>,
    pub x: Vec<f64>,
}

impl Problem {
    /// Draws one fresh triple into `triple` (vectors of length D).
    pub fn sample_triple<R: Rng + ?Sized>(&self, rng: &mut R, triple: &mut Triple) {
        triple.t = self.t_min + (self.t_max - self.t_min) * rng.random::<f64>();
        self.sample_at_time(rng, triple);
    }

    /// Draws x0 and x of a triple whose time is given.
    pub fn sample_at_time<R: Rng + ?Sized>(&self, rng: &mut R, triple: &mut Triple) {
        self.data.sample(rng, &mut triple.x0);
        let (alpha, sigma) = (
            self.diffusion.alpha(triple.t),
            self.diffusion.sigma(triple.t),
        );
        for (x, x0) in triple.x.iter_mut().zip(&triple.x0) {
            *x = alpha * x0 + sigma * rng.sample::<f64, _>(StandardNormal);
        }
    }
}
