//! When the reverse process decides (Biroli, Bonnaire, de Bortoli & Mézard, arXiv 2402.18491; D26.8 to D26.10): for a class at
//! the speciation time, for a training point at the collapse time.

use serde::{Deserialize, Serialize};

use super::{CloudPosterior, Problem};
use crate::numerics::low_discrepancy::ScrambledSobol;
use crate::numerics::normal;
use crate::numerics::random::stream;

/// Points that an information is averaged over, and how many of them are treated at once.
const POINTS: u64 = 1 << 14;
const BLOCK: u64 = 256;
/// Seed of their scrambling: the same at all times, so that the average is as smooth and monotone in t as its integrand.
const SEED: u64 = 0x5eed;
/// Evaluations of a component, each of D^2 numbers, that are worth their time: fewer points are taken where there would be more.
const PAIRS: u64 = 1 << 22;
/// Halvings of the interval of ln t that a time is found in.
const HALVINGS: u32 = 40;
/// Dimension up to which the information is evaluated; its points need D^2 numbers each.
const LARGEST_DIMENSION: usize = 16;
/// Part of the entropy of point masses that is left when the posterior has decided for one of them.
const DECIDED: f64 = 0.01;

/// The times at which the reverse process decides; `None` where that does not happen between t_min and t_max.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decisions {
    /// Lambda, the largest eigenvalue of the data's covariance.
    pub leading_variance: f64,
    /// alpha^2 Lambda = sigma^2: the curvature of ln p(x|t) at the mean, along the leading direction of two symmetric
    /// points, changes its sign (D26.8).
    pub speciation: Option<f64>,
    /// alpha^2 Lambda = 1, the same for Lambda >> 1 in a process with sigma -> 1: (1/2) ln Lambda in `ou`.
    pub speciation_of_large_variance: Option<f64>,
    /// The mutual information I(x_0; x_t) has reached `collapse_information` (D26.10).
    pub collapse: Option<f64>,
    /// ln n of n training points, or 99 % of the entropy of the data where they are point masses with less than that.
    pub collapse_information: f64,
}

impl Decisions {
    /// Of models that are trained on `points` clean points; `None` stands for the data themselves.
    pub fn new(problem: &Problem, points: Option<usize>) -> Self {
        let covariance = problem.data.covariance();
        let leading_variance = covariance.symmetric_eigenvalues().max();
        let collapse_information = decided(problem, points);
        let diffusion = &problem.diffusion;
        let variance_preserving =
            (diffusion.alpha(problem.t_max).powi(2) + diffusion.sigma2(problem.t_max) - 1.0).abs()
                < 1e-6;
        let evaluable = problem.dim() <= LARGEST_DIMENSION && collapse_information.is_finite();
        Self {
            leading_variance,
            speciation: crossing(problem, |t| diffusion.snr(t) * leading_variance - 1.0),
            speciation_of_large_variance: variance_preserving
                .then(|| {
                    crossing(problem, |t| {
                        diffusion.alpha(t).powi(2) * leading_variance - 1.0
                    })
                })
                .flatten(),
            collapse: evaluable
                .then(|| {
                    crossing(problem, |t| {
                        mutual_information(problem, t) - collapse_information
                    })
                })
                .flatten(),
            collapse_information,
        }
    }
}

/// The information at which the posterior knows the training point. Infinite where the data have a density and nothing was drawn
/// from it.
fn decided(problem: &Problem, points: Option<usize>) -> f64 {
    let data = &problem.data;
    let drawn = points.map_or(f64::INFINITY, |n| (n as f64).ln());
    if !data.components().iter().all(super::Component::is_point) {
        return drawn;
    }
    let entropy: f64 = data
        .weights()
        .iter()
        .filter(|w| **w > 0.0)
        .map(|w| -w * w.ln())
        .sum();
    drawn.min((1.0 - DECIDED) * entropy)
}

/// Where a function that falls with t crosses zero, on ln t.
fn crossing(problem: &Problem, f: impl Fn(f64) -> f64) -> Option<f64> {
    let (mut low, mut high) = (problem.t_min.ln(), problem.t_max.ln());
    if !(f(problem.t_min) > 0.0 && f(problem.t_max) <= 0.0) {
        return None;
    }
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        match f(middle.exp()) > 0.0 {
            true => low = middle,
            false => high = middle,
        }
    }
    Some((0.5 * (low + high)).exp())
}

/// I(x_0; x_t) in nats: the sum over components of w_k (1/2) ln det(1 + alpha^2 Sigma_k/sigma^2), exactly, and
/// E[ln p(x_t|k) - ln p(x_t)] over low-discrepancy points, between 0 and the entropy of the weights (D26.9).
pub fn mutual_information(problem: &Problem, t: f64) -> f64 {
    let data = &problem.data;
    let (alpha, sigma) = (problem.diffusion.alpha(t), problem.diffusion.sigma(t));
    let within: f64 = (data.components().iter().zip(data.weights()))
        .map(|(component, weight)| {
            let variances = component.variances.iter();
            let log = |v: f64| (v * (alpha / sigma).powi(2)).ln_1p();
            let off = component.off_dimension() as f64 * log(component.off_axes);
            0.5 * weight * (variances.map(|v| log(*v)).sum::<f64>() + off)
        })
        .sum();
    within + between_components(problem, t, alpha, sigma)
}

/// E[ln p(x_t|k) - ln p(x_t)].
fn between_components(problem: &Problem, t: f64, alpha: f64, sigma: f64) -> f64 {
    let data = &problem.data;
    let (dim, components) = (problem.dim(), data.components().len() as u64);
    if components == 1 {
        return 0.0;
    }
    let posterior = CloudPosterior::new(problem, t);
    let points = (PAIRS / (components * (dim * dim) as u64)).clamp(BLOCK, POINTS);
    let sequence = ScrambledSobol::new(&mut stream(SEED, 0));
    let mut total = 0.0;
    let mut point = vec![0.0; dim];
    for first in (0..points).step_by(BLOCK as usize) {
        let n = BLOCK.min(points - first) as usize;
        let mut x = vec![0.0; dim * n];
        for k in 0..n {
            let uniform = |i: usize| sequence.coordinate(i, first + k as u64);
            let component = data.component_at(uniform(dim));
            let normals: Vec<f64> = (0..dim).map(|i| normal::quantile(uniform(i))).collect();
            component.noised(alpha, sigma, normals.iter().copied(), &mut point);
            for (i, p) in point.iter().enumerate() {
                x[i * n + k] = *p;
            }
            // ln p(x_t|k) of this very point.
            let log = |v: f64| (alpha * alpha * v + sigma * sigma).ln();
            let off = component.off_dimension() as f64 * log(component.off_axes);
            let spreads: f64 = component.variances.iter().map(|v| log(*v)).sum();
            let squares: f64 = normals.iter().map(|z| z * z + normal::LOG_2_PI).sum();
            total -= 0.5 * (squares + spreads + off);
        }
        total -= posterior.moments(&x).log_density.iter().sum::<f64>();
    }
    (total / points as f64).max(0.0)
}
