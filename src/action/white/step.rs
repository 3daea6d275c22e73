//! One step x' = m(x) + sqrt(v(x)) xi of a process with white noise on the line, with its derivatives.

use crate::experiment::Scheme;
use crate::problem::{LinePosterior, Problem};
use crate::sampler::reverse_step;

/// White noise around the exact score: the naive family's proxy noise and the reverse SDE's churn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WhiteNoise {
    /// kappa of the naive family.
    pub kappa: f64,
    /// h of the reverse SDE.
    pub churn: f64,
}

/// Which part of the action is extremised; the rest is taken at the extremum (derivations/14-white-noise-saddle.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splitting {
    /// sum (x' - m)^2 / 2v: the leading order of the sampler's own chain for weak noise.
    Ito,
    /// The same with the mean m - v'/4, the Stratonovich drift: the expansion made in the coordinate that has additive
    /// noise, so that it is exact where the process is linear there (geometric Brownian motion).
    Lamperti,
}

/// Mean and variance of a step at one point, with their derivatives in x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jet {
    /// m and its first four derivatives.
    pub mean: [f64; 5],
    /// v and its first four derivatives.
    pub variance: [f64; 5],
}

impl Jet {
    /// The jet whose quadratic form is extremised: its mean's derivatives are right up to the third order.
    pub fn split(mut self, splitting: Splitting) -> Self {
        if splitting == Splitting::Lamperti {
            for (m, v) in self.mean.iter_mut().zip(&self.variance[1..]) {
                *m -= 0.25 * v;
            }
        }
        self
    }
}

/// A step with Gaussian noise whose mean and variance depend on where it starts (Ito).
pub trait WhiteStep: Sync {
    /// Mean and variance with their derivatives at `x`. The variance is not negative; 0 is a step without noise.
    fn jet(&self, x: f64) -> Jet;
}

/// A step of the sampler with the exact score and white noise.
#[derive(Debug, Clone)]
pub struct ScoreStep {
    posterior: LinePosterior,
    /// Coefficients of x and of the denoiser.
    c: f64,
    d: f64,
    /// Variance of the churn noise.
    churn: f64,
    /// Factor of Var(x0|x,t) in the variance of the proxy noise.
    proxy: f64,
}

/// The steps between consecutive `times` (decreasing). The proxy noise of a step of length h is that of the trained
/// family, (kappa/h) (d (x0 - E[x0|x]))^2 on average, d the step's own coefficient of the denoiser: kappa h b^2 Var(x0|x,t)
/// for `Scheme::Euler` of the PF-ODE (D4.1), (1 + churn)^2 times that with churn (D23.12). `None` for schemes of several stages.
pub fn score_steps(
    problem: &Problem,
    scheme: Scheme,
    times: &[f64],
    noise: WhiteNoise,
) -> Option<Vec<ScoreStep>> {
    times
        .windows(2)
        .map(|w| {
            let (t, s) = (w[0], w[1]);
            let (c, d, std) = reverse_step(&problem.diffusion, scheme, t, s, noise.churn)?;
            Some(ScoreStep {
                posterior: LinePosterior::new(problem, t),
                c,
                d,
                churn: std * std,
                proxy: noise.kappa / (t - s) * d * d,
            })
        })
        .collect()
}

impl WhiteStep for ScoreStep {
    fn jet(&self, x: f64) -> Jet {
        let [mean, k2, k3, k4, k5, k6] = self.posterior.cumulants(x);
        // d/dx raises the order of a posterior cumulant (D14.2).
        let r = self.posterior.alpha() / self.posterior.sigma2();
        Jet {
            mean: [
                self.c * x + self.d * mean,
                self.c + self.d * r * k2,
                self.d * r * r * k3,
                self.d * r * r * r * k4,
                self.d * r * r * r * r * k5,
            ],
            variance: [
                self.churn + self.proxy * k2,
                self.proxy * r * k3,
                self.proxy * r * r * k4,
                self.proxy * r * r * r * k5,
                self.proxy * r * r * r * r * k6,
            ],
        }
    }
}
