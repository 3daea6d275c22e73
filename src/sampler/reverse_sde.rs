//! The reverse SDE with churn h: dx = [beta x + (1+h) D s] dtau + sqrt(2 h D) dW (Hirono et al., arXiv 2403.11262).
//! Orders of the schemes: derivations/23-reverse-process.md.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::{SamplerError, contain, hold};
use crate::experiment::Scheme;
use crate::family::Denoiser;
use crate::problem::Diffusion;

/// One step of the reverse SDE from a time to the next smaller one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NoisyStep {
    /// x -> c x + d Dn(x, t) + noise xi. `Scheme::Euler` is Euler-Maruyama. `Scheme::Ddim` freezes the denoiser:
    /// x_s = alpha_s Dn + (sigma_s/sigma_t) rho^h (x - alpha_t Dn) + sigma_s sqrt(1 - rho^(2h)) xi,
    /// rho = (sigma_s/alpha_s)/(sigma_t/alpha_t), exact for a point mass and DDIM at h = 0.
    OneStage { t: f64, c: f64, d: f64, noise: f64 },
    /// Stochastic Heun: the drift a x + b Dn averaged over the start and the end of an Euler-Maruyama step with the same noise,
    /// whose variance is that of the trapezoid rule.
    Heun {
        /// Time, a and b at the start and at the end.
        stages: [(f64, f64, f64); 2],
        h: f64,
        noise: f64,
    },
}

impl NoisyStep {
    /// The step of `scheme` from `t` down to `s`.
    ///
    /// # Errors
    /// [`SamplerError::AdaptiveNoise`]: there is no adaptive scheme.
    pub fn new(
        diffusion: &Diffusion,
        scheme: Scheme,
        t: f64,
        s: f64,
        churn: f64,
    ) -> Result<Self, SamplerError> {
        if scheme == Scheme::Heun {
            return Ok(heun(diffusion, t, s, churn));
        }
        let (c, d, noise) =
            reverse_step(diffusion, scheme, t, s, churn).ok_or(SamplerError::AdaptiveNoise)?;
        Ok(Self::OneStage { t, c, d, noise })
    }

    /// Time at which the step starts.
    pub fn start(&self) -> f64 {
        match self {
            Self::OneStage { t, .. } => *t,
            Self::Heun { stages, .. } => stages[0].0,
        }
    }

    /// Advances all positions in place, with one standard normal number for each in `normals`.
    pub fn advance<M: Denoiser + ?Sized>(
        &self,
        model: &M,
        x: &mut [f64],
        normals: &[f64],
        scratch: &mut Vec<f64>,
    ) {
        let n = x.len();
        scratch.resize(3 * n, 0.0);
        let (denoised, rest) = scratch.split_at_mut(n);
        match self {
            Self::OneStage { t, c, d, noise } => {
                model.denoise(*t, x, denoised);
                for ((x, dn), xi) in x.iter_mut().zip(denoised.iter()).zip(normals) {
                    *x = c * *x + d * dn + noise * xi;
                }
            }
            Self::Heun { stages, h, noise } => {
                let (slope, ahead) = rest.split_at_mut(n);
                let [(t, a, b), (s, a_end, b_end)] = *stages;
                model.denoise(t, x, denoised);
                for i in 0..n {
                    slope[i] = a * x[i] + b * denoised[i];
                    ahead[i] = x[i] + h * slope[i] + noise * normals[i];
                }
                hold(ahead);
                model.denoise(s, ahead, denoised);
                for i in 0..n {
                    let end = a_end * ahead[i] + b_end * denoised[i];
                    x[i] += 0.5 * h * (slope[i] + end) + noise * normals[i];
                }
            }
        }
    }
}

/// Carries positions from `times[0]` to the last time with fresh noise at each step.
pub fn reverse_sde<M: Denoiser + ?Sized, R: Rng + ?Sized>(
    model: &M,
    diffusion: &Diffusion,
    scheme: Scheme,
    times: &[f64],
    churn: f64,
    x: &mut [f64],
    rng: &mut R,
) -> Result<(), SamplerError> {
    let mut normals = vec![0.0; x.len()];
    let mut scratch = Vec::new();
    for w in times.windows(2) {
        let step = NoisyStep::new(diffusion, scheme, w[0], w[1], churn)?;
        normals.fill_with(|| rng.sample(StandardNormal));
        step.advance(model, x, &normals, &mut scratch);
        contain(x, step.start())?;
    }
    Ok(())
}

/// One step from `t` to `s` of a scheme with one stage: coefficients of x and of the denoiser, and the standard deviation of the
/// noise. At churn 0 they are those of the PF-ODE. `None` for schemes of several stages.
pub fn reverse_step(
    diffusion: &Diffusion,
    scheme: Scheme,
    t: f64,
    s: f64,
    churn: f64,
) -> Option<(f64, f64, f64)> {
    match scheme {
        Scheme::Euler => Some(euler_maruyama(diffusion, t, s, churn)),
        Scheme::Ddim => Some(exponential(diffusion, t, s, churn)),
        Scheme::Heun | Scheme::Adaptive => None,
    }
}

/// The drift a x + b Dn with churn, and half the variance of the noise per unit time.
pub(crate) fn churned_drift(diffusion: &Diffusion, t: f64, churn: f64) -> (f64, f64, f64) {
    let (a, b) = diffusion.denoiser_drift(t);
    // D may be infinite where the denoiser's drift is regular (`flow` at t = 1).
    let rate = if churn > 0.0 {
        churn * diffusion.diffusion_coefficient(t)
    } else {
        0.0
    };
    // The extra drift churn D s = churn D (alpha Dn - x)/sigma^2.
    let pull = rate / diffusion.sigma2(t);
    (a - pull, b + pull * diffusion.alpha(t), rate)
}

fn heun(diffusion: &Diffusion, t: f64, s: f64, churn: f64) -> NoisyStep {
    let h = t - s;
    let (a, b, rate) = churned_drift(diffusion, t, churn);
    let (a_end, b_end, rate_end) = churned_drift(diffusion, s, churn);
    NoisyStep::Heun {
        stages: [(t, a, b), (s, a_end, b_end)],
        h,
        noise: (h * (rate + rate_end)).sqrt(),
    }
}

fn euler_maruyama(diffusion: &Diffusion, t: f64, s: f64, churn: f64) -> (f64, f64, f64) {
    let h = t - s;
    let (a, b, rate) = churned_drift(diffusion, t, churn);
    (1.0 + h * a, h * b, (2.0 * rate * h).sqrt())
}

fn exponential(diffusion: &Diffusion, t: f64, s: f64, churn: f64) -> (f64, f64, f64) {
    let ratio = diffusion.sigma(s) / diffusion.sigma(t);
    let rho = ratio * diffusion.alpha(t) / diffusion.alpha(s);
    let c = ratio * rho.powf(churn);
    let lost = match churn {
        0.0 => 0.0, // also where rho = 0
        _ => -(2.0 * churn * rho.ln()).exp_m1(),
    };
    (
        c,
        diffusion.alpha(s) - diffusion.alpha(t) * c,
        diffusion.sigma(s) * lost.sqrt(),
    )
}
