//! Extremals of the white-noise action in phase space (position, response field), and their Gaussian fluctuations.
//!
//! With theta_k = (x_(k+1) - m_k)/v_k, the response field at p = i theta, an extremal obeys (D14.6)
//!     x_(k+1) = m_k + v_k theta_k,    theta_(k-1) = m_k' theta_k + (1/2) v_k' theta_k^2 :
//! no division by v_k, which falls to exp(-1/sigma^2) and below. Newton's method on this two-point problem is a forward
//! Riccati sweep and a backward substitution, O(N); the sweep is also the Gel'fand-Yaglom determinant.

use thiserror::Error;

use super::{Jet, Splitting, WhiteStep};

/// Newton steps before a target is given up.
const MAX_NEWTON: usize = 14;
/// Size of the last Newton step, relative to 1 + |x| and to the natural scale of the response field: the next one, which
/// quadratic convergence makes its square, is below rounding.
const CONVERGED: f64 = 1e-7;
/// Shortest part of a Newton step tried.
const LEAST_DAMPING: f64 = 1.0 / 64.0;
/// Targets between a guess and a far target are halved down to this part of the way.
const LEAST_STRIDE: f64 = 1e-6;

/// Why an extremal was not found.
#[derive(Debug, Error, Clone, Copy, PartialEq)]
pub enum ExtremalError {
    #[error("Newton's method did not converge in {steps} steps (last change {change:.1e})")]
    NotConverged { steps: usize, change: f64 },
    #[error("the fluctuations became singular or not finite at step {step}")]
    Singular { step: usize },
    #[error("the curve of extremals turns too sharply at x_0 = {x}")]
    Turned { x: f64 },
    #[error("no minimum with a finite mass lies on the curve of extremals")]
    NoMass,
    #[error("continuation stopped at x_0 = {reached} on the way to {target}")]
    Stalled { reached: f64, target: f64 },
}

/// A path x_0..x_N (N + 1 nodes) and its response field theta_0..theta_(N-1).
#[derive(Debug, Clone, PartialEq)]
pub struct Extremal {
    pub path: Vec<f64>,
    pub response: Vec<f64>,
}

/// Gaussian fluctuations around an extremal whose two ends are held.
#[derive(Debug, Clone, PartialEq)]
pub struct Fluctuations {
    /// The action's extremised part, sum v theta^2 / 2.
    pub exponent: f64,
    /// Sigma_k, k = 1..N: slope dx_k/dtheta_(k-1) of the extremals from x_0, by Riccati's recursion (D14.8).
    pub riccati: Vec<f64>,
    /// ln |D|, D = Sigma_N prod (1 - Sigma_k G_k) = prod v_k det A'' (D14.8).
    pub ln_determinant: f64,
    /// Negative directions of A'' (Morse index): 0 is a minimum.
    pub index: usize,
    /// sum theta_k v_k' / 4 for the Lamperti splitting, 0 for Ito's (D14.12).
    pub correction: f64,
}

impl Fluctuations {
    /// Logarithm of this extremal's contribution to the density, -A + correction - (1/2) ln 2 pi |D|.
    pub fn ln_density(&self) -> f64 {
        self.correction - self.exponent - 0.5 * (self.ln_determinant + std::f64::consts::TAU.ln())
    }
}

/// The condition at the end that selects one extremal from x_0: `position` x_N + `response` theta_(N-1) = `value`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constraint {
    pub position: f64,
    pub response: f64,
    pub value: f64,
}

impl Constraint {
    /// x_N = `x`.
    pub fn pinned(x: f64) -> Self {
        Self {
            position: 1.0,
            response: 0.0,
            value: x,
        }
    }
}

/// Linearisation of one step and the residuals of both its equations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    /// m' + v' theta.
    pub f: f64,
    /// m'' theta + v'' theta^2 / 2.
    pub g: f64,
    pub v: f64,
    /// m + v theta - x_(k+1).
    position: f64,
    /// m' theta + v' theta^2 / 2 - theta_(k-1); 0 at the first step, whose start is held.
    response: f64,
}

/// Forward sweep: delta x_k = slope delta theta_(k-1) + offset.
struct Sweep {
    steps: Vec<Linear>,
    slope: Vec<f64>,
    offset: Vec<f64>,
}

impl Extremal {
    /// The noiseless path from `start`: theta = 0, an extremal whatever the noise, with A = 0.
    pub fn noiseless<S: WhiteStep>(steps: &[S], splitting: Splitting, start: f64) -> Self {
        let mut path = Vec::with_capacity(steps.len() + 1);
        path.push(start);
        let mut x = start;
        for step in steps {
            x = step.jet(x).split(splitting).mean[0];
            path.push(x);
        }
        Self {
            path,
            response: vec![0.0; steps.len()],
        }
    }

    /// x_N and theta_(N-1).
    pub fn end(&self) -> (f64, f64) {
        let last = |v: &[f64]| v.last().copied().unwrap_or(f64::NAN);
        (last(&self.path), last(&self.response))
    }

    fn sweep<S: WhiteStep>(
        &self,
        steps: &[S],
        splitting: Splitting,
    ) -> Result<Sweep, ExtremalError> {
        let n = steps.len();
        let mut sweep = Sweep {
            steps: Vec::with_capacity(n),
            slope: Vec::with_capacity(n),
            offset: Vec::with_capacity(n),
        };
        let (mut slope, mut offset) = (0.0, 0.0);
        for (k, step) in steps.iter().enumerate() {
            let jet = step.jet(self.path[k]).split(splitting);
            let l = self.linear(k, &jet);
            let loose = 1.0 - slope * l.g;
            offset = l.f * (slope * l.response + offset) / loose + l.position;
            slope = l.f * l.f * slope / loose + l.v;
            if !(slope.is_finite() && offset.is_finite()) {
                return Err(ExtremalError::Singular { step: k });
            }
            sweep.steps.push(l);
            sweep.slope.push(slope);
            sweep.offset.push(offset);
        }
        Ok(sweep)
    }

    pub(super) fn linear(&self, k: usize, jet: &Jet) -> Linear {
        let ([m, m1, m2, ..], [v, v1, v2, ..]) = (jet.mean, jet.variance);
        let theta = self.response[k];
        Linear {
            f: m1 + v1 * theta,
            g: theta * (m2 + 0.5 * v2 * theta),
            v,
            position: m + v * theta - self.path[k + 1],
            response: if k == 0 {
                0.0
            } else {
                theta * (m1 + 0.5 * v1 * theta) - self.response[k - 1]
            },
        }
    }

    /// Newton's method from here until the path is an extremal that meets the constraint. The start x_0 stays.
    pub fn solve<S: WhiteStep>(
        &mut self,
        steps: &[S],
        splitting: Splitting,
        constraint: Constraint,
    ) -> Result<(), ExtremalError> {
        let (mut change, mut size) = self.newton(steps, splitting, constraint)?;
        for _ in 0..MAX_NEWTON {
            if size < CONVERGED {
                self.add(&change, 1.0);
                return Ok(());
            }
            let mut damping = 1.0;
            loop {
                let mut trial = self.clone();
                trial.add(&change, damping);
                // Natural monotonicity: the next correction must be smaller than this one (Deuflhard).
                match trial.newton(steps, splitting, constraint) {
                    Ok((next, smaller)) if smaller < (1.0 - 0.25 * damping) * size => {
                        (*self, change, size) = (trial, next, smaller);
                        break;
                    }
                    Err(e) if damping < LEAST_DAMPING => return Err(e),
                    Ok(_) if damping < LEAST_DAMPING => {
                        return Err(ExtremalError::NotConverged {
                            steps: MAX_NEWTON,
                            change: size,
                        });
                    }
                    _ => damping *= 0.5,
                }
            }
        }
        Err(ExtremalError::NotConverged {
            steps: MAX_NEWTON,
            change: size,
        })
    }

    /// The Newton step from here and its size.
    fn newton<S: WhiteStep>(
        &self,
        steps: &[S],
        splitting: Splitting,
        constraint: Constraint,
    ) -> Result<(Self, f64), ExtremalError> {
        self.correction(&self.sweep(steps, splitting)?, constraint)
    }

    fn add(&mut self, change: &Self, factor: f64) {
        for (x, d) in self.path.iter_mut().zip(&change.path) {
            *x += factor * d;
        }
        for (theta, d) in self.response.iter_mut().zip(&change.response) {
            *theta += factor * d;
        }
    }

    /// Backward substitution of the Newton step.
    fn correction(
        &self,
        sweep: &Sweep,
        constraint: Constraint,
    ) -> Result<(Self, f64), ExtremalError> {
        let n = sweep.steps.len();
        if n == 0 {
            return Err(ExtremalError::Singular { step: 0 });
        }
        let (x, theta) = self.end();
        let Constraint {
            position,
            response,
            value,
        } = constraint;
        let left = value - position * (x + sweep.offset[n - 1]) - response * theta;
        let mut delta_theta = left / (position * sweep.slope[n - 1] + response);
        let mut change = Self {
            path: vec![0.0; n + 1],
            response: vec![0.0; n],
        };
        change.path[n] = sweep.slope[n - 1] * delta_theta + sweep.offset[n - 1];
        change.response[n - 1] = delta_theta;
        for k in (1..n).rev() {
            let l = &sweep.steps[k];
            let (slope, offset) = (sweep.slope[k - 1], sweep.offset[k - 1]);
            let delta_x = (slope * (l.f * delta_theta + l.response) + offset) / (1.0 - slope * l.g);
            delta_theta = l.f * delta_theta + l.g * delta_x + l.response;
            change.path[k] = delta_x;
            change.response[k - 1] = delta_theta;
        }
        let mut size: f64 = 0.0;
        for k in 0..n {
            // 1/sqrt(Sigma) is the response that costs one unit of action.
            let scale = 1e-3 / sweep.slope[k].abs().sqrt() + self.response[k].abs();
            size = size
                .max(change.path[k + 1].abs() / (1.0 + self.path[k + 1].abs()))
                .max(change.response[k].abs() / scale);
        }
        if size.is_finite() {
            Ok((change, size))
        } else {
            Err(ExtremalError::Singular { step: n })
        }
    }

    /// The Gaussian fluctuations around this extremal with both ends held.
    pub fn fluctuations<S: WhiteStep>(
        &self,
        steps: &[S],
        splitting: Splitting,
    ) -> Result<Fluctuations, ExtremalError> {
        let mut out = Fluctuations {
            exponent: 0.0,
            riccati: Vec::with_capacity(steps.len()),
            ln_determinant: 0.0,
            index: 0,
            correction: 0.0,
        };
        let mut slope = 0.0;
        for (k, step) in steps.iter().enumerate() {
            let jet = step.jet(self.path[k]).split(splitting);
            let (l, theta) = (self.linear(k, &jet), self.response[k]);
            let loose = 1.0 - slope * l.g;
            let next = l.f * l.f * slope / loose + l.v;
            if k > 0 {
                // The pivot of A'' is next * loose / (v slope).
                out.index += usize::from((next < 0.0) ^ (loose < 0.0) ^ (slope < 0.0));
                out.ln_determinant += loose.abs().ln();
            }
            slope = next;
            out.riccati.push(slope);
            out.exponent += 0.5 * l.v * theta * theta;
            if splitting == Splitting::Lamperti {
                out.correction += 0.25 * theta * jet.variance[1];
            }
            if !slope.is_finite() {
                return Err(ExtremalError::Singular { step: k });
            }
        }
        out.ln_determinant += slope.abs().ln();
        if out.ln_determinant.is_finite() {
            Ok(out)
        } else {
            Err(ExtremalError::Singular { step: steps.len() })
        }
    }
}

/// The extremal from the guess's start to x_N = `target`: Newton's method, with targets on the way where the guess is too
/// far. The guess need not be an extremal.
pub fn pinned_extremal<S: WhiteStep>(
    steps: &[S],
    splitting: Splitting,
    guess: &Extremal,
    target: f64,
) -> Result<Extremal, ExtremalError> {
    let mut here = guess.clone();
    if here
        .solve(steps, splitting, Constraint::pinned(target))
        .is_ok()
    {
        return Ok(here);
    }
    here.clone_from(guess);
    let origin = guess.end().0;
    let (mut done, mut stride) = (0.0, 0.5);
    while done < 1.0 {
        let next = f64::min(done + stride, 1.0);
        let mut trial = here.clone();
        let x = origin + next * (target - origin);
        if trial.solve(steps, splitting, Constraint::pinned(x)).is_ok() {
            (here, done, stride) = (trial, next, 2.0 * stride);
        } else {
            stride *= 0.5;
            if stride < LEAST_STRIDE {
                return Err(ExtremalError::Stalled {
                    reached: here.end().0,
                    target,
                });
            }
        }
    }
    Ok(here)
}
