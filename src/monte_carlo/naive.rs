//! Sampling the naive family as it is defined: a fresh clean point at every step (theory T9).

use std::convert::Infallible;

use nalgebra::DVector;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::density::{Generated, Generator};
use crate::family::Naive;
use crate::problem::{Component, LinePosterior, Problem};

/// Independent trajectories, each Euler step with s + sqrt(kappa/h) (proxy score - s), the proxy score's x0 drawn from
/// p(x0|x,t).
pub fn naive_member<R: Rng + ?Sized>(
    problem: &Problem,
    naive: &Naive,
    generator: &Generator<'_>,
    rng: &mut R,
) -> Generated {
    if problem.dim() > 1 {
        let reading = generator.read_blocks(rng, |x, rng| {
            naive_trajectories(problem, naive, generator.times(), x, rng);
            Ok::<(), Infallible>(())
        });
        let Ok(reading) = reading;
        return reading.into();
    }
    let mut x = generator.random_starts(rng);
    naive_trajectories(problem, naive, generator.times(), &mut x, rng);
    generator.count(&x)
}

/// Moves the positions `x` of n points in D dimensions (D n numbers, coordinate-major) along `times`, each as an independent
/// trajectory of the naive family.
pub fn naive_trajectories<R: Rng + ?Sized>(
    problem: &Problem,
    naive: &Naive,
    times: &[f64],
    x: &mut [f64],
    rng: &mut R,
) {
    for w in times.windows(2) {
        let (t, h) = (w[0], w[0] - w[1]);
        let amplitude = (naive.kappa / h).sqrt();
        // proxy score - s = (alpha/sigma^2)(x0 - E[x0|x]), and D alpha/sigma^2 = b.
        let (a, b) = problem.diffusion.denoiser_drift(t);
        let drift = |x: f64, mean: f64, clean: f64| a * x + b * (mean + amplitude * (clean - mean));
        if problem.dim() == 1 {
            line_step(problem, t, h, drift, x, rng);
        } else {
            space_step(problem, t, h, drift, x, rng);
        }
    }
}

fn line_step<R: Rng + ?Sized>(
    problem: &Problem,
    t: f64,
    h: f64,
    drift: impl Fn(f64, f64, f64) -> f64,
    x: &mut [f64],
    rng: &mut R,
) {
    let posterior = LinePosterior::new(problem, t);
    let mut weights = Vec::new();
    for x in x {
        let uniform = rng.random::<f64>();
        let (mean, clean) =
            posterior.mean_and_draw(*x, uniform, || rng.sample(StandardNormal), &mut weights);
        *x += h * drift(*x, mean, clean);
    }
}

fn space_step<R: Rng + ?Sized>(
    problem: &Problem,
    t: f64,
    h: f64,
    drift: impl Fn(f64, f64, f64) -> f64,
    x: &mut [f64],
    rng: &mut R,
) {
    let dim = problem.dim();
    let n = x.len() / dim;
    let mut posterior = SpacePosterior::new(problem, t);
    let (mut point, mut clean) = (vec![0.0; dim], vec![0.0; dim]);
    for k in 0..n {
        for (i, p) in point.iter_mut().enumerate() {
            *p = x[i * n + k];
        }
        posterior.mean_and_draw(&point, rng, &mut clean);
        for i in 0..dim {
            x[i * n + k] += h * drift(point[i], posterior.mean[i], clean[i]);
        }
    }
}

/// Posterior means and draws at one time in any dimension, with the memory they need.
struct SpacePosterior<'a> {
    components: Vec<SpaceComponent<'a>>,
    alpha: f64,
    sigma2: f64,
    weights: Vec<f64>,
    /// E[x0|x] of every component, one after the other.
    conditional: Vec<f64>,
    /// E[x0|x,t] at the last point.
    mean: Vec<f64>,
}

struct SpaceComponent<'a> {
    component: &'a Component,
    point: bool,
    /// ln(weight / sqrt(det 2 pi (alpha^2 Sigma + sigma^2))).
    log_norm: f64,
}

impl<'a> SpacePosterior<'a> {
    fn new(problem: &'a Problem, t: f64) -> Self {
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        let (data, dim) = (&problem.data, problem.dim());
        let components = data
            .components()
            .iter()
            .zip(data.weights())
            .map(|(component, weight)| SpaceComponent {
                component,
                point: component.is_point(),
                log_norm: weight.ln()
                    - 0.5
                        * component
                            .variances
                            .iter()
                            .map(|v| {
                                (2.0 * std::f64::consts::PI * (alpha * alpha * v + sigma2)).ln()
                            })
                            .sum::<f64>(),
            })
            .collect();
        Self {
            components,
            alpha,
            sigma2,
            weights: vec![0.0; data.components().len()],
            conditional: vec![0.0; data.components().len() * dim],
            mean: vec![0.0; dim],
        }
    }

    /// Sets `self.mean` to E[x0|x,t] and `clean` to a draw from the posterior at `x`.
    fn mean_and_draw<R: Rng + ?Sized>(&mut self, x: &[f64], rng: &mut R, clean: &mut [f64]) {
        let dim = x.len();
        for ((c, w), conditional) in self
            .components
            .iter()
            .zip(&mut self.weights)
            .zip(self.conditional.chunks_exact_mut(dim))
        {
            *w = c.log_joint(x, self.alpha, self.sigma2, conditional);
        }
        let top = self
            .weights
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        self.mean.fill(0.0);
        let mut sum = 0.0;
        for (w, conditional) in self
            .weights
            .iter_mut()
            .zip(self.conditional.chunks_exact(dim))
        {
            *w = (*w - top).exp();
            sum += *w;
            for (m, c) in self.mean.iter_mut().zip(conditional) {
                *m += *w * c;
            }
        }
        self.mean.iter_mut().for_each(|m| *m /= sum);
        let mut left = rng.random::<f64>() * sum;
        let last = self.weights.len() - 1;
        let chosen = self.weights[..last]
            .iter()
            .position(|w| {
                left -= w;
                left < 0.0
            })
            .unwrap_or(last);
        clean.copy_from_slice(&self.conditional[chosen * dim..(chosen + 1) * dim]);
        self.components[chosen].add_spread(self.alpha, self.sigma2, rng, clean);
    }
}

impl SpaceComponent<'_> {
    /// ln of weight times density at `x`; `conditional` becomes E[x0|x] of this component.
    fn log_joint(&self, x: &[f64], alpha: f64, sigma2: f64, conditional: &mut [f64]) -> f64 {
        let c = self.component;
        conditional.copy_from_slice(c.mean.as_slice());
        if self.point {
            let square: f64 = x
                .iter()
                .zip(c.mean.iter())
                .map(|(x, m)| (x - alpha * m) * (x - alpha * m))
                .sum();
            return self.log_norm - 0.5 * square / sigma2;
        }
        let misfit = c.in_axes(DVector::from_column_slice(x) - &c.mean * alpha);
        let marginal = c.variances.map(|v| alpha * alpha * v + sigma2);
        let square = misfit.component_mul(&misfit).component_div(&marginal).sum();
        let shift = misfit.component_mul(&c.variances).component_div(&marginal) * alpha;
        for (m, s) in conditional.iter_mut().zip(c.along_axes(shift).iter()) {
            *m += s;
        }
        self.log_norm - 0.5 * square
    }

    /// Adds a draw of x0 - E[x0|x] of this component.
    fn add_spread<R: Rng + ?Sized>(&self, alpha: f64, sigma2: f64, rng: &mut R, clean: &mut [f64]) {
        if self.point {
            return;
        }
        let c = self.component;
        let along = c.variances.map(|v| {
            let narrowed = v * sigma2 / (alpha * alpha * v + sigma2);
            narrowed.sqrt() * rng.sample::<f64, _>(StandardNormal)
        });
        for (x, s) in clean.iter_mut().zip(c.along_axes(along).iter()) {
            *x += s;
        }
    }
}
