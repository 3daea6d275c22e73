//! The reverse process, discretised: time grids, one-step schemes of the probability-flow ODE, their tangents in the
//! weights, and the reverse SDE. The path integral is discretised exactly as the sampler is (T6).

mod reverse_sde;
mod step;

pub(crate) use reverse_sde::churned_drift;
pub use reverse_sde::{NoisyStep, reverse_sde, reverse_step};
pub use step::{Stage, Step, Tableau};

use rand::Rng;
use thiserror::Error;

use crate::experiment::{Process, SamplerOptions, Scheme, Spacing};
use crate::family::Denoiser;
use crate::problem::{Diffusion, Problem, StartDensity};

/// Why a trajectory could not be integrated.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum SamplerError {
    #[error("the adaptive step fell below rounding at t = {time:.6e}; raise sampler.tolerance")]
    StepTooSmall { time: f64 },
    #[error(
        "more than {steps} adaptive steps (at t = {time:.6e}); raise sampler.tolerance or use a fixed grid"
    )]
    TooManySteps { steps: usize, time: f64 },
    #[error("the reverse SDE has no adaptive scheme; sampler.scheme is euler, heun or ddim")]
    AdaptiveNoise,
    #[error("the denoiser is not finite at t = {time:.6e}")]
    NotFinite { time: f64 },
}

/// Trajectories that run away (a polynomial model far outside its range) are held here: beyond every output range,
/// far from overflow.
const FAR: f64 = 1e9;

const MAX_ADAPTIVE_STEPS: usize = 200_000;
/// First step of the adaptive scheme, as a ratio of times.
const FIRST_RATIO: f64 = 0.97;
/// Relative step in t below which rounding takes over.
const SMALLEST_STEP: f64 = 1e-13;

/// The node times t_0 = t_max > ... > t_N = t_min.
pub fn time_grid(spacing: Spacing, t_max: f64, t_min: f64, steps: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let mut times: Vec<f64> = (0..=steps)
        .map(|k| {
            let f = k as f64 / steps as f64;
            match spacing {
                Spacing::Uniform => t_max + f * (t_min - t_max),
                Spacing::Log => t_max * (t_min / t_max).powf(f),
                Spacing::Karras => {
                    let (a, b) = (t_max.powf(1.0 / RHO), t_min.powf(1.0 / RHO));
                    (a + f * (b - a)).powf(RHO)
                }
            }
        })
        .collect();
    // The ends are exact, whatever powf rounds to.
    times[0] = t_max;
    times[steps] = t_min;
    times
}

/// Integrates the probability-flow ODE of any denoiser on the line.
#[derive(Debug, Clone)]
pub struct PfOde {
    diffusion: Diffusion,
    scheme: Scheme,
    times: Vec<f64>,
    tolerance: f64,
    start: StartDensity,
}

impl PfOde {
    pub fn new(problem: &Problem, options: &SamplerOptions) -> Self {
        Self {
            diffusion: problem.diffusion.clone(),
            scheme: options.scheme,
            times: time_grid(options.grid, problem.t_max, problem.t_min, options.steps),
            tolerance: options.tolerance,
            start: StartDensity::new(problem, options.start),
        }
    }

    /// Carries the positions `x` from t_max to t_min, all with the same steps. Returns the node times.
    pub fn flow<M: Denoiser + ?Sized>(
        &self,
        model: &M,
        x: &mut [f64],
    ) -> Result<Vec<f64>, SamplerError> {
        if self.scheme == Scheme::Adaptive {
            return self.flow_adaptively(model, x);
        }
        self.flow_on(model, &self.times, x)?;
        Ok(self.times.clone())
    }

    /// Carries positions by the process itself: this flow, or the reverse SDE with the flow's scheme and node times.
    pub fn carry<M: Denoiser + ?Sized, R: Rng + ?Sized>(
        &self,
        process: Process,
        model: &M,
        x: &mut [f64],
        rng: &mut R,
    ) -> Result<(), SamplerError> {
        match process {
            Process::PfOde => self.flow(model, x).map(|_| ()),
            Process::ReverseSde { churn } => {
                let (diffusion, times) = (&self.diffusion, &self.times);
                reverse_sde(model, diffusion, self.scheme, times, churn, x, rng)
            }
        }
    }

    /// Law of the positions at t_max that the sampler starts from.
    pub fn start(&self) -> &StartDensity {
        &self.start
    }

    /// The node times; `None` for the adaptive scheme, whose times depend on the trajectories.
    pub fn grid(&self) -> Option<&[f64]> {
        (self.scheme != Scheme::Adaptive).then_some(&self.times)
    }

    /// The steps of this scheme on given node times.
    pub fn steps<'a>(&'a self, times: &'a [f64]) -> impl Iterator<Item = Step> + 'a {
        times
            .windows(2)
            .map(|w| Step::new(&self.diffusion, self.scheme, w[0], w[1]))
    }

    fn flow_on<M: Denoiser + ?Sized>(
        &self,
        model: &M,
        times: &[f64],
        x: &mut [f64],
    ) -> Result<(), SamplerError> {
        let mut scratch = Vec::new();
        for step in self.steps(times) {
            advance(&step, model, x, &mut scratch)?;
        }
        Ok(())
    }

    /// Dormand-Prince 5(4) in ln t with a proportional controller on the largest error of the whole batch: all
    /// trajectories share their steps, so the map x_T -> x_0 stays smooth. A trajectory that has left the range of all
    /// starts and would need steps below rounding (a polynomial model's solution can end at finite time) is held at a far
    /// position and left out of the control from there on.
    fn flow_adaptively<M: Denoiser + ?Sized>(
        &self,
        model: &M,
        x: &mut [f64],
    ) -> Result<Vec<f64>, SamplerError> {
        let (first, last) = (self.times[0], self.times[self.times.len() - 1]);
        let widest = x.iter().fold(0.0_f64, |w, x| w.max(x.abs()));
        let mut times = vec![first];
        let (mut t, mut ratio) = (first, FIRST_RATIO);
        let mut scratch = Vec::new();
        let mut trial = x.to_vec();
        let mut error = vec![0.0; x.len()];
        while t > last {
            if times.len() > MAX_ADAPTIVE_STEPS {
                return Err(SamplerError::TooManySteps {
                    steps: MAX_ADAPTIVE_STEPS,
                    time: t,
                });
            }
            // The last two steps share what is left instead of leaving a sliver.
            let next = if t * ratio <= last {
                last
            } else if t * ratio * ratio < last {
                (t * last).sqrt()
            } else {
                t * ratio
            };
            if next > last && t - next < SMALLEST_STEP * t {
                if !hold_runaways(x, &error, widest, self.tolerance) {
                    return Err(SamplerError::StepTooSmall { time: t });
                }
                ratio = FIRST_RATIO;
                continue;
            }
            trial.copy_from_slice(x);
            let step = Step::new(&self.diffusion, Scheme::Adaptive, t, next);
            step.advance(model, &mut trial, &mut scratch, Some(&mut error));
            for ((x, trial), e) in x.iter().zip(&mut trial).zip(&mut error) {
                if x.abs() >= FAR {
                    (*trial, *e) = (*x, 0.0);
                }
            }
            let worst = error
                .iter()
                .zip(&trial)
                .map(|(e, x)| relative_error(*e, *x, self.tolerance))
                .fold(0.0, f64::max);
            let factor = (0.9 * worst.max(1e-10).powf(-0.2)).clamp(0.2, 5.0);
            ratio = ((next / t).ln() * factor).exp();
            if worst <= 1.0 {
                x.copy_from_slice(&trial);
                contain(x, t)?;
                t = next;
                times.push(t);
            }
        }
        Ok(times)
    }
}

/// Advances positions by one step of a fixed grid.
///
/// # Errors
/// [`SamplerError::NotFinite`].
pub fn advance<M: Denoiser + ?Sized>(
    step: &Step,
    model: &M,
    x: &mut [f64],
    scratch: &mut Vec<f64>,
) -> Result<(), SamplerError> {
    step.advance(model, x, scratch, None);
    contain(x, step.start())
}

/// Error in units of what is allowed; whatever is not finite is too much.
fn relative_error(error: f64, x: f64, tolerance: f64) -> f64 {
    let value = error.abs() / (tolerance * (1.0 + x.abs()));
    if value.is_finite() { value } else { f64::MAX }
}

/// Moves the trajectories whose error is too large and which lie outside the range of all starts to the far position.
/// Is there any?
fn hold_runaways(x: &mut [f64], error: &[f64], widest: f64, tolerance: f64) -> bool {
    let mut any = false;
    for (x, e) in x.iter_mut().zip(error) {
        if x.abs() > widest && relative_error(*e, *x, tolerance) > 1.0 {
            *x = FAR.copysign(*x);
            any = true;
        }
    }
    any
}

/// Holds runaway trajectories at a far position; NaN is an error where it arises.
fn contain(x: &mut [f64], time: f64) -> Result<(), SamplerError> {
    match hold(x) {
        true => Ok(()),
        false => Err(SamplerError::NotFinite { time }),
    }
}

/// Holds runaway positions, also those between the stages of a step, where a polynomial's value at one would overflow at the next.
/// Are all of them numbers?
fn hold(x: &mut [f64]) -> bool {
    // Nearly always all is well, and then this is one pass without branches.
    if x.iter().fold(true, |well, x| well & (x.abs() <= FAR)) {
        return true;
    }
    for x in x.iter_mut() {
        *x = x.clamp(-FAR, FAR);
    }
    !x.iter().any(|x| x.is_nan())
}
