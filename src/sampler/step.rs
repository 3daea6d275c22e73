//! One step of the probability-flow ODE dx/dt = -(a x + b Dn(x,t)), Dn the denoiser.

use super::hold;
use crate::experiment::Scheme;
use crate::family::Denoiser;
use crate::problem::Diffusion;

/// Coefficients of an explicit Runge-Kutta method.
#[derive(Debug)]
pub struct Tableau {
    /// Lower triangle by rows: stage i uses `a[i][j]`, j < i.
    pub a: &'static [&'static [f64]],
    pub b: &'static [f64],
    /// Difference between `b` and an embedded formula.
    pub error: &'static [f64],
    pub c: &'static [f64],
}

/// Heun's second-order method.
const HEUN: Tableau = Tableau {
    a: &[&[], &[1.0]],
    b: &[0.5, 0.5],
    error: &[-0.5, 0.5],
    c: &[0.0, 1.0],
};

/// Dormand and Prince 1980, order 5(4).
const DORMAND_PRINCE: Tableau = Tableau {
    a: &[
        &[],
        &[1.0 / 5.0],
        &[3.0 / 40.0, 9.0 / 40.0],
        &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        &[
            19372.0 / 6561.0,
            -25360.0 / 2187.0,
            64448.0 / 6561.0,
            -212.0 / 729.0,
        ],
        &[
            9017.0 / 3168.0,
            -355.0 / 33.0,
            46732.0 / 5247.0,
            49.0 / 176.0,
            -5103.0 / 18656.0,
        ],
        &[
            35.0 / 384.0,
            0.0,
            500.0 / 1113.0,
            125.0 / 192.0,
            -2187.0 / 6784.0,
            11.0 / 84.0,
        ],
    ],
    b: &[
        35.0 / 384.0,
        0.0,
        500.0 / 1113.0,
        125.0 / 192.0,
        -2187.0 / 6784.0,
        11.0 / 84.0,
        0.0,
    ],
    error: &[
        71.0 / 57600.0,
        0.0,
        -71.0 / 16695.0,
        71.0 / 1920.0,
        -17253.0 / 339200.0,
        22.0 / 525.0,
        -1.0 / 40.0,
    ],
    c: &[0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0],
};

/// The right-hand side at one stage: dx/dv = a x + b Dn(x, t), v the step variable.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    pub t: f64,
    pub a: f64,
    pub b: f64,
}

/// One step from a time to the next smaller one.
#[derive(Debug, Clone)]
pub enum Step {
    /// x -> c x + d Dn(x, t): Euler (c = 1 + h a, d = h b) and DDIM (c = sigma_s/sigma_t, d = alpha_s - alpha_t c,
    /// exact where the denoiser is constant).
    OneStage { t: f64, c: f64, d: f64 },
    /// An explicit Runge-Kutta step of length h in t (Heun) or ln t (Dormand-Prince).
    RungeKutta {
        tableau: &'static Tableau,
        h: f64,
        stages: Vec<Stage>,
    },
}

impl Step {
    /// The step of `scheme` from `t` down to `s`.
    pub fn new(diffusion: &Diffusion, scheme: Scheme, t: f64, s: f64) -> Self {
        match scheme {
            Scheme::Euler => {
                let (a, b) = diffusion.denoiser_drift(t);
                let h = t - s;
                Self::OneStage {
                    t,
                    c: 1.0 + h * a,
                    d: h * b,
                }
            }
            Scheme::Ddim => {
                let c = diffusion.sigma(s) / diffusion.sigma(t);
                Self::OneStage {
                    t,
                    c,
                    d: diffusion.alpha(s) - diffusion.alpha(t) * c,
                }
            }
            Scheme::Heun => Self::runge_kutta(&HEUN, s - t, |c| {
                let time = if c == 1.0 { s } else { t };
                let (a, b) = diffusion.denoiser_drift(time);
                Stage {
                    t: time,
                    a: -a,
                    b: -b,
                }
            }),
            Scheme::Adaptive => {
                let h = (s / t).ln();
                Self::runge_kutta(&DORMAND_PRINCE, h, |c| {
                    let time = if c == 1.0 { s } else { t * (c * h).exp() };
                    let (a, b) = diffusion.denoiser_drift(time);
                    Stage {
                        t: time,
                        a: -time * a,
                        b: -time * b,
                    }
                })
            }
        }
    }

    fn runge_kutta(tableau: &'static Tableau, h: f64, stage: impl Fn(f64) -> Stage) -> Self {
        Self::RungeKutta {
            tableau,
            h,
            stages: tableau.c.iter().map(|&c| stage(c)).collect(),
        }
    }

    /// Time at which the step starts.
    pub fn start(&self) -> f64 {
        match self {
            Self::OneStage { t, .. } => *t,
            Self::RungeKutta { stages, .. } => stages[0].t,
        }
    }

    /// Times at which the denoiser is evaluated.
    pub fn times(&self) -> impl Iterator<Item = f64> {
        let (only, stages) = match self {
            Self::OneStage { t, .. } => (Some(*t), &[][..]),
            Self::RungeKutta { stages, .. } => (None, &stages[..]),
        };
        only.into_iter().chain(stages.iter().map(|stage| stage.t))
    }

    /// Advances all positions in place; `error` receives the embedded error estimate of a Runge-Kutta step.
    pub fn advance<M: Denoiser + ?Sized>(
        &self,
        model: &M,
        x: &mut [f64],
        scratch: &mut Vec<f64>,
        error: Option<&mut [f64]>,
    ) {
        let n = x.len();
        match self {
            Self::OneStage { t, c, d } => {
                scratch.resize(n, 0.0);
                model.denoise(*t, x, scratch);
                for (x, denoised) in x.iter_mut().zip(scratch.iter()) {
                    *x = c * *x + d * denoised;
                }
            }
            Self::RungeKutta { tableau, h, stages } => {
                // Layout: the stage position, then one slope per stage.
                scratch.resize(n * (stages.len() + 1), 0.0);
                let (position, slopes) = scratch.split_at_mut(n);
                for (i, stage) in stages.iter().enumerate() {
                    position.copy_from_slice(x);
                    for (j, a) in tableau.a[i].iter().enumerate() {
                        for (p, k) in position.iter_mut().zip(&slopes[j * n..]) {
                            *p += h * a * k;
                        }
                    }
                    hold(position);
                    let slope = &mut slopes[i * n..(i + 1) * n];
                    model.denoise(stage.t, position, slope);
                    for (k, p) in slope.iter_mut().zip(position.iter()) {
                        *k = stage.a * p + stage.b * *k;
                    }
                }
                let combine = |weights: &[f64], i: usize| -> f64 {
                    let sum: f64 = weights
                        .iter()
                        .enumerate()
                        .map(|(j, w)| w * slopes[j * n + i])
                        .sum();
                    h * sum
                };
                if let Some(error) = error {
                    for (i, e) in error.iter_mut().enumerate() {
                        *e = combine(tableau.error, i);
                    }
                }
                for (i, x) in x.iter_mut().enumerate() {
                    *x += combine(tableau.b, i);
                }
            }
        }
    }
}
