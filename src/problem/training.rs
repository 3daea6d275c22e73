//! The training protocol: objective, weighting, number of samples and of clean points, ridge.

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

/// P triples (t, x0, x), t uniform on [t_min, t_max], fitted by weighted ridge regression, or by gradient flow. Times and noise
/// are fresh for every triple, the clean point for every `draws` of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    pub objective: Objective,
    pub weighting: Weighting,
    /// P, the number of samples per model.
    pub samples: usize,
    /// m >= 1, the samples that share a clean point: the data set has N = P/m points. 1 for fresh triples.
    pub draws: usize,
    /// rho in (Sigma + rho I).
    pub ridge: f64,
    /// tau, for which gradient flow on the mean loss (1/2P) sum lambda |f - y|^2 goes on, without a ridge; `None` for ridge
    /// regression. Kernel families only.
    pub time: Option<f64>,
}

impl Training {
    /// Leaves in `triple.x0` what the target is made of: the clean point, or under the exact objective its conditional mean.
    pub fn set_clean(&self, problem: &Problem, triple: &mut Triple) {
        if self.objective == Objective::Esm {
            let mean = problem.posterior(&triple.x, triple.t).mean;
            triple.x0.copy_from_slice(mean.as_slice());
        }
    }

    /// N, the number of clean points of one model.
    pub fn clean_points(&self) -> usize {
        self.samples.div_ceil(self.draws)
    }

    /// Probability that two samples of a training set share their clean point (D27.1).
    pub fn sharing_probability(&self) -> f64 {
        match self.draws {
            0 | 1 => 0.0,
            m => (m - 1) as f64 / (self.samples - 1) as f64,
        }
    }

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

impl Triple {
    /// In D dimensions.
    pub(crate) fn new(dim: usize) -> Self {
        Self {
            t: 0.0,
            x0: vec![0.0; dim],
            x: vec![0.0; dim],
        }
    }
}

/// The triples of training sets one after another: a clean point is drawn once for every m of them.
pub(crate) struct Triples<'a> {
    problem: &'a Problem,
    draws: usize,
    /// The clean point, for the exact objective overwrites that of the triple; and how many triples have it so far.
    clean: Vec<f64>,
    drawn: usize,
}

impl<'a> Triples<'a> {
    pub fn new(problem: &'a Problem, training: &Training) -> Self {
        Self {
            problem,
            draws: training.draws,
            clean: vec![0.0; problem.dim()],
            drawn: 0,
        }
    }

    /// Draws the next triple.
    pub fn next<R: Rng + ?Sized>(&mut self, rng: &mut R, triple: &mut Triple) {
        triple.t = self.problem.sample_time(rng);
        if self.drawn == 0 {
            self.problem.data.sample(rng, &mut self.clean);
        }
        self.drawn = (self.drawn + 1) % self.draws;
        triple.x0.copy_from_slice(&self.clean);
        self.problem.add_noise(rng, triple);
    }
}

/// A training set of P samples for D outputs.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Times, length P.
    pub t: Vec<f64>,
    /// Noised points, coordinate-major: coordinate i of sample p is `x[i * P + p]`.
    pub x: Vec<f64>,
    /// Targets, output-major like `x`.
    pub y: Vec<f64>,
    /// Weights of the squared errors, length P.
    pub lambda: Vec<f64>,
}

impl Samples {
    /// Draws the P samples of one model: a clean point once for every m of them.
    pub fn draw<R: Rng + ?Sized>(
        problem: &Problem,
        predicts: Prediction,
        training: &Training,
        rng: &mut R,
    ) -> Self {
        let (p, dim) = (training.samples, problem.dim());
        let mut samples = Self {
            t: vec![0.0; p],
            x: vec![0.0; dim * p],
            y: vec![0.0; dim * p],
            lambda: vec![0.0; p],
        };
        let mut triple = Triple::new(dim);
        let mut triples = Triples::new(problem, training);
        for k in 0..p {
            triples.next(rng, &mut triple);
            let regression = predicts.regression(&problem.diffusion, triple.t);
            samples.t[k] = triple.t;
            samples.lambda[k] = training.lambda(problem, predicts, triple.t);
            training.set_clean(problem, &mut triple);
            for i in 0..dim {
                samples.x[i * p + k] = triple.x[i];
                samples.y[i * p + k] = regression.p * triple.x0[i] + regression.q * triple.x[i];
            }
        }
        samples
    }
}

impl Problem {
    /// Draws one fresh triple into `triple` (vectors of length D).
    pub fn sample_triple<R: Rng + ?Sized>(&self, rng: &mut R, triple: &mut Triple) {
        triple.t = self.sample_time(rng);
        self.sample_at_time(rng, triple);
    }

    /// Draws x0 and x of a triple whose time is given.
    pub fn sample_at_time<R: Rng + ?Sized>(&self, rng: &mut R, triple: &mut Triple) {
        self.data.sample(rng, &mut triple.x0);
        self.add_noise(rng, triple);
    }

    /// A time, uniform on [t_min, t_max].
    fn sample_time<R: Rng + ?Sized>(&self, rng: &mut R) -> f64 {
        self.t_min + (self.t_max - self.t_min) * rng.random::<f64>()
    }

    /// Draws x of a triple whose time and x0 are given.
    fn add_noise<R: Rng + ?Sized>(&self, rng: &mut R, triple: &mut Triple) {
        let (alpha, sigma) = (
            self.diffusion.alpha(triple.t),
            self.diffusion.sigma(triple.t),
        );
        for (x, x0) in triple.x.iter_mut().zip(&triple.x0) {
            *x = alpha * x0 + sigma * rng.sample::<f64, _>(StandardNormal);
        }
    }
}
