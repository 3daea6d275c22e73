//! The reverse SDE with churn h: dx = [beta x + (1+h) D s] dtau + sqrt(2 h D) dW (Hirono et al., arXiv 2403.11262).

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::{SamplerError, contain};
use crate::experiment::Scheme;
use crate::family::Denoiser;
use crate::problem::Diffusion;

/// Carries positions from `times[0]` to the last time with fresh noise at each step.
///
/// With `Scheme::Euler` this is Euler-Maruyama; any other scheme takes the exponential step, which freezes the denoiser:
/// x_s = alpha_s Dn + (sigma_s/sigma_t) rho^h (x - alpha_t Dn) + sigma_s sqrt(1 - rho^(2h)) xi,
/// rho = (sigma_s/alpha_s)/(sigma_t/alpha_t). It is exact for a point mass and becomes DDIM at h = 0.
pub fn reverse_sde<M: Denoiser + ?Sized, R: Rng + ?Sized>(
    model: &M,
    diffusion: &Diffusion,
    scheme: Scheme,
    times: &[f64],
    churn: f64,
    x: &mut [f64],
    rng: &mut R,
) -> Result<(), SamplerError> {
    let mut denoised = vec![0.0; x.len()];
    for w in times.windows(2) {
        let (t, s) = (w[0], w[1]);
        model.denoise(t, x, &mut denoised);
        let (c, d, noise) = reverse_step(diffusion, scheme, t, s, churn);
        for (x, dn) in x.iter_mut().zip(&denoised) {
            *x = c * *x + d * dn + noise * rng.sample::<f64, _>(StandardNormal);
        }
        contain(x, t)?;
    }
    Ok(())
}

/// One step from `t` to `s`: coefficients of x and of the denoiser, and the standard deviation of the noise. At churn 0
/// they are those of the PF-ODE's one-stage schemes.
pub fn reverse_step(
    diffusion: &Diffusion,
    scheme: Scheme,
    t: f64,
    s: f64,
    churn: f64,
) -> (f64, f64, f64) {
    match scheme {
        Scheme::Euler => euler_maruyama(diffusion, t, s, churn),
        _ => exponential(diffusion, t, s, churn),
    }
}

fn euler_maruyama(diffusion: &Diffusion, t: f64, s: f64, churn: f64) -> (f64, f64, f64) {
    let h = t - s;
    let (a, b) = diffusion.denoiser_drift(t);
    // D may be infinite where the denoiser's drift is regular (`flow` at t = 1).
    let d = if churn > 0.0 {
        diffusion.diffusion_coefficient(t)
    } else {
        0.0
    };
    // The extra drift churn D s = churn D (alpha Dn - x)/sigma^2.
    let pull = churn * d / diffusion.sigma2(t);
    (
        1.0 + h * (a - pull),
        h * (b + pull * diffusion.alpha(t)),
        (2.0 * churn * d * h).sqrt(),
    )
}

fn exponential(diffusion: &Diffusion, t: f64, s: f64, churn: f64) -> (f64, f64, f64) {
    let ratio = diffusion.sigma(s) / diffusion.sigma(t);
    let rho = ratio * diffusion.alpha(t) / diffusion.alpha(s);
    let c = ratio * rho.powf(churn);
    let kept = -(2.0 * churn * rho.ln()).exp_m1();
    (
        c,
        diffusion.alpha(s) - diffusion.alpha(t) * c,
        diffusion.sigma(s) * kept.sqrt(),
    )
}
