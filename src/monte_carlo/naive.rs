//! Sampling the naive family as it is defined: a fresh clean point at every step (theory T9).

use std::convert::Infallible;

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::density::{Generated, Generator};
use crate::family::Naive;
use crate::problem::{CloudPosterior, LinePosterior, Problem};
use crate::sampler::churned_drift;

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
            naive_trajectories(problem, naive, generator.churn(), generator.times(), x, rng);
            Ok::<(), Infallible>(())
        });
        let Ok(reading) = reading;
        return reading.into();
    }
    let mut x = generator.random_starts(rng);
    let churn = generator.churn();
    naive_trajectories(problem, naive, churn, generator.times(), &mut x, rng);
    generator.count(&x)
}

/// Moves the positions `x` of n points in D dimensions (D n numbers, coordinate-major) along `times`, each as an independent
/// trajectory of the naive family; with churn the score enters 1 + churn times, with its noise, and white noise besides.
pub fn naive_trajectories<R: Rng + ?Sized>(
    problem: &Problem,
    naive: &Naive,
    churn: f64,
    times: &[f64],
    x: &mut [f64],
    rng: &mut R,
) {
    for w in times.windows(2) {
        let (t, h) = (w[0], w[0] - w[1]);
        let amplitude = (naive.kappa / h).sqrt();
        // proxy score - s = (alpha/sigma^2)(x0 - E[x0|x]), and (1 + churn) D alpha/sigma^2 = b.
        let (a, b, rate) = churned_drift(&problem.diffusion, t, churn);
        let drift = |x: f64, mean: f64, clean: f64| a * x + b * (mean + amplitude * (clean - mean));
        if problem.dim() == 1 {
            line_step(problem, t, h, drift, x, rng);
        } else {
            space_step(problem, t, h, drift, x, rng);
        }
        if rate > 0.0 {
            let noise = (2.0 * rate * h).sqrt();
            for x in x.iter_mut() {
                *x += noise * rng.sample::<f64, _>(StandardNormal);
            }
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
    let (mut mean, mut clean) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    CloudPosterior::new(problem, t).mean_and_draw(x, rng, &mut mean, &mut clean);
    for ((x, mean), clean) in x.iter_mut().zip(&mean).zip(&clean) {
        *x += h * drift(*x, *mean, *clean);
    }
}
