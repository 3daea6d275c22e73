//! The forward process in closed form (theory T1).

use super::document::{Part, Section, n, s};
use crate::experiment::Experiment;
use crate::problem::{Diffusion, Prediction};
use crate::symbolic::Expr;

/// alpha, sigma^2 and what follows from them, as expressions in `t`.
pub(super) struct ProcessForms {
    pub alpha: Expr,
    pub sigma: Expr,
    pub beta: Expr,
    pub diffusion_coefficient: Expr,
    /// sigma'/sigma.
    rate: Expr,
    alpha_prime: Expr,
}

impl ProcessForms {
    pub fn of(diffusion: &Diffusion) -> Self {
        let t = || s("t");
        let one = || n(1.0);
        // alpha, sigma, and beta and D where a shorter form than the general rule's is known.
        let (alpha, sigma, known) = match diffusion {
            Diffusion::Vp {
                beta_min,
                beta_delta,
            } => {
                let exponent = n(*beta_min) * t() + n(0.5 * beta_delta) * t().pow(2.0);
                let beta = n(*beta_min) + n(*beta_delta) * t();
                let sigma = (one() - (n(-2.0) * exponent.clone()).exp()).sqrt();
                ((-exponent).exp(), sigma, Some((beta.clone(), beta)))
            }
            Diffusion::Edm => (one(), t(), Some((n(0.0), t()))),
            Diffusion::Ou => {
                let sigma = (one() - (n(-2.0) * t()).exp()).sqrt();
                ((-t()).exp(), sigma, Some((one(), one())))
            }
            Diffusion::Flow => {
                let rest = || one() - t();
                (rest(), t(), Some((one() / rest(), t() / rest())))
            }
            Diffusion::Expression(schedule) => (
                schedule.alpha_expression().clone(),
                schedule.sigma_expression().clone(),
                None,
            ),
        };
        Self::from_schedule(alpha.simplify(), sigma.simplify(), known)
    }

    /// The general rule: beta = -alpha'/alpha, D = sigma sigma' + beta sigma^2.
    fn from_schedule(alpha: Expr, sigma: Expr, known: Option<(Expr, Expr)>) -> Self {
        let sigma2 = sigma.clone().pow(2.0).simplify();
        let half_slope = (n(0.5) * sigma2.derivative("t")).simplify();
        let alpha_prime = alpha.derivative("t");
        let (beta, diffusion_coefficient) = known.unwrap_or_else(|| {
            let beta = -(alpha_prime.clone() / alpha.clone());
            (beta.clone(), half_slope.clone() + beta * sigma2.clone())
        });
        Self {
            rate: (half_slope / sigma2).simplify(),
            beta: beta.simplify(),
            diffusion_coefficient: diffusion_coefficient.simplify(),
            alpha,
            sigma,
            alpha_prime,
        }
    }

    /// (a, b) of the probability-flow drift a x + b f in terms of the denoiser (f = E[x0|x,t]).
    fn denoiser_drift(&self) -> (Expr, Expr) {
        let b = self.alpha.clone() * self.rate.clone() - self.alpha_prime.clone();
        (-self.rate.clone(), b)
    }

    /// (a, b) in terms of the model's output.
    pub fn drift(&self, predicts: Prediction) -> (Expr, Expr) {
        let (a, b) = self.denoiser_drift();
        let (p, q) = self.regression(predicts);
        let b = (b / p).simplify();
        ((a - b.clone() * q).simplify(), b)
    }

    /// (p, q) of the regression target y = p x0 + q x.
    pub fn regression(&self, predicts: Prediction) -> (Expr, Expr) {
        let (alpha, sigma) = (self.alpha.clone(), self.sigma.clone());
        match predicts {
            Prediction::Denoiser => (n(1.0), n(0.0)),
            Prediction::Score => (alpha / sigma.clone().pow(2.0), -sigma.pow(-2.0)),
            Prediction::Noise => (-(alpha / sigma.clone()), sigma.pow(-1.0)),
        }
    }
}

pub(super) fn section(experiment: &Experiment, forms: &ProcessForms) -> Section {
    let problem = &experiment.problem;
    let define = |name: &str, value: &Expr| Part::define(name, &["t"], value);
    Section {
        title: "Forward process".into(),
        parts: vec![
            Part::text(format!(
                "The process {:?} from t_min = {:?} to t_max = {:?} (T1).",
                problem.diffusion.name(),
                problem.t_min,
                problem.t_max
            )),
            Part::formula(
                "x_t = alpha(t) x_0 + sigma(t) xi, xi ~ N(0, 1)",
                r"x_t = \alpha(t) \, x_0 + \sigma(t) \, \xi, \qquad \xi \sim \mathcal{N}(0, 1)",
            ),
            define("alpha", &forms.alpha),
            define("sigma", &forms.sigma),
            Part::text("The rates follow from alpha and sigma by the general rule."),
            Part::formula(
                "dx = -beta x dt + sqrt(2 D) dW, beta = -alpha'/alpha, D = sigma sigma' + beta sigma^2",
                r"\mathrm{d}x = -\beta \, x \, \mathrm{d}t + \sqrt{2 D} \, \mathrm{d}W, \qquad \beta = -\frac{\alpha'}{\alpha}, \qquad D = \sigma \sigma' + \beta \sigma^2",
            ),
            define("beta", &forms.beta),
            define("D", &forms.diffusion_coefficient),
        ],
    }
}
