//! The forward process x_t = alpha_t x_0 + sigma_t xi (theory T1, derivations/01-forward-process.md).

use std::sync::Arc;

use super::Schedule;

/// Isotropic forward processes. Everything follows from alpha and sigma by the general rule (T1):
/// beta = -alpha'/alpha, D = sigma sigma' + beta sigma^2.
#[derive(Debug, Clone, PartialEq)]
pub enum Diffusion {
    /// Variance preserving: alpha = exp(-(beta_min t + beta_delta t^2/2)), sigma^2 = 1 - alpha^2.
    /// In this convention (Vastola's) beta is twice that of Song et al., who write exp(-integral beta / 2).
    Vp { beta_min: f64, beta_delta: f64 },
    /// Variance exploding: alpha = 1, sigma = t (Karras et al. 2022).
    Edm,
    /// Ornstein-Uhlenbeck: alpha = exp(-t), sigma^2 = 1 - exp(-2t).
    Ou,
    /// Linear interpolation between data and noise (flow matching): alpha = 1 - t, sigma = t, t in (0, 1].
    Flow,
    /// alpha and sigma as written in the spec.
    Expression(Arc<Schedule>),
}

impl Diffusion {
    /// Signal amplitude alpha_t.
    pub fn alpha(&self, t: f64) -> f64 {
        match self {
            Self::Vp {
                beta_min,
                beta_delta,
            } => (-vp_exponent(*beta_min, *beta_delta, t)).exp(),
            Self::Edm => 1.0,
            Self::Ou => (-t).exp(),
            Self::Flow => 1.0 - t,
            Self::Expression(schedule) => schedule.alpha(t),
        }
    }

    /// Noise variance sigma_t^2, accurate to rounding also where it is tiny (an expression as far as it is itself).
    pub fn sigma2(&self, t: f64) -> f64 {
        match self {
            Self::Vp {
                beta_min,
                beta_delta,
            } => -(-2.0 * vp_exponent(*beta_min, *beta_delta, t)).exp_m1(),
            Self::Ou => -(-2.0 * t).exp_m1(),
            Self::Edm | Self::Flow => t * t,
            Self::Expression(schedule) => schedule.sigma2(t),
        }
    }

    /// Noise standard deviation sigma_t.
    pub fn sigma(&self, t: f64) -> f64 {
        match self {
            Self::Expression(schedule) => schedule.sigma(t),
            _ => self.sigma2(t).sqrt(),
        }
    }

    /// d alpha / dt.
    pub fn alpha_prime(&self, t: f64) -> f64 {
        match self {
            Self::Flow => -1.0,
            Self::Edm => 0.0,
            Self::Ou => -self.alpha(t),
            Self::Vp {
                beta_min,
                beta_delta,
            } => -(beta_min + beta_delta * t) * self.alpha(t),
            Self::Expression(schedule) => schedule.alpha_prime(t),
        }
    }

    /// sigma sigma' = (1/2) d sigma^2 / dt.
    pub fn sigma_sigma_prime(&self, t: f64) -> f64 {
        match self {
            Self::Edm | Self::Flow => t,
            Self::Ou => (-2.0 * t).exp(),
            Self::Vp {
                beta_min,
                beta_delta,
            } => {
                (beta_min + beta_delta * t) * (-2.0 * vp_exponent(*beta_min, *beta_delta, t)).exp()
            }
            Self::Expression(schedule) => schedule.sigma_sigma_prime(t),
        }
    }

    /// Drift rate beta_t = -alpha'/alpha (infinite where alpha = 0).
    pub fn beta(&self, t: f64) -> f64 {
        match self {
            Self::Vp {
                beta_min,
                beta_delta,
            } => beta_min + beta_delta * t,
            Self::Edm => 0.0,
            Self::Ou => 1.0,
            Self::Flow => 1.0 / (1.0 - t),
            Self::Expression(schedule) => schedule.beta(t),
        }
    }

    /// Diffusion coefficient D_t = g_t^2/2 = sigma sigma' + beta sigma^2 (infinite for `Flow` at t = 1).
    pub fn diffusion_coefficient(&self, t: f64) -> f64 {
        self.sigma_sigma_prime(t) + self.beta(t) * self.sigma2(t)
    }

    /// Signal-to-noise ratio alpha^2 / sigma^2.
    pub fn snr(&self, t: f64) -> f64 {
        let alpha = self.alpha(t);
        alpha * alpha / self.sigma2(t)
    }

    /// Coefficients (a, b) of the probability-flow drift beta x + D s = a x + b E[x0|x] in terms of the
    /// denoiser: a = -sigma'/sigma, b = alpha sigma'/sigma - alpha'. Regular also where alpha = 0.
    pub fn denoiser_drift(&self, t: f64) -> (f64, f64) {
        let rate = self.sigma_sigma_prime(t) / self.sigma2(t);
        (-rate, self.alpha(t) * rate - self.alpha_prime(t))
    }

    /// Name used in specs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vp { .. } => "vp",
            Self::Edm => "edm",
            Self::Ou => "ou",
            Self::Flow => "flow",
            Self::Expression(_) => "expression",
        }
    }
}

/// Integrated rate -ln(alpha) of the variance-preserving process.
fn vp_exponent(beta_min: f64, beta_delta: f64, t: f64) -> f64 {
    beta_min * t + 0.5 * beta_delta * t * t
}
