//! What weights the exact reverse process gives the data points when it does not start from p(x|t_max)
//! (theory section 8; derivations/23-reverse-process.md).

use rayon::prelude::*;

use super::cloud::CLOUDS;
use crate::numerics::low_discrepancy::ScrambledSobol;
use crate::numerics::normal;
use crate::numerics::random::stream;
use crate::problem::{LinePosterior, Problem, StartDensity};

/// The start is integrated over to so many standard deviations.
const REACH: f64 = 10.0;
/// Intervals of the first trapezoid rule and of the last.
const COARSEST: usize = 256;
const FINEST: usize = 1 << 18;
/// Change of a weight at which the rule has converged.
const CONVERGED: f64 = 1e-12;
/// Starts per scrambling in D >= 2.
const STARTS: usize = 4096;

/// Weights of the components of the data, in their order; they sum to one.
#[derive(Debug, Clone, PartialEq)]
pub struct StartWeights {
    pub weights: Vec<f64>,
    /// Estimated error of each weight: of the quadrature on the line, one standard error in D >= 2.
    pub errors: Vec<f64>,
}

/// The reverse SDE with churn 1, the time-reversed forward process, carries p(x|t_max) to the data point by point: its law of
/// the data point given x_T is the posterior, and the weights are its average over the start (D23.6). On the line by the trapezoid
/// rule, in D >= 2 over scrambled nets.
pub fn posterior_weights(problem: &Problem, start: &StartDensity, seed: u64) -> StartWeights {
    if problem.dim() > 1 {
        return over_nets(problem, start, seed);
    }
    let mut intervals = COARSEST;
    let mut before = on_line(problem, start, intervals);
    loop {
        intervals *= 2;
        let weights = on_line(problem, start, intervals);
        let errors: Vec<f64> = weights
            .iter()
            .zip(&before)
            .map(|(a, b)| (a - b).abs())
            .collect();
        if intervals >= FINEST || errors.iter().all(|e| *e <= CONVERGED) {
            return StartWeights { weights, errors };
        }
        before = weights;
    }
}

/// The probability flow on the line keeps the order of points: it gives each the start's mass between two quantiles of p(x|t_max),
/// those of the weights summed up to it (D23.8). Data are points, t_min -> 0.
pub fn basin_weights(problem: &Problem, start: &StartDensity) -> Vec<f64> {
    let noised = StartDensity::new(problem, crate::problem::StartLaw::Noised);
    let components = problem.data.components();
    let mut order: Vec<usize> = (0..components.len()).collect();
    order.sort_by(|i, j| components[*i].mean[0].total_cmp(&components[*j].mean[0]));
    let mut weights = vec![0.0; components.len()];
    let (mut below, mut left) = (0.0, f64::NEG_INFINITY);
    for (place, &i) in order.iter().enumerate() {
        below += problem.data.weights()[i];
        let right = if place + 1 == order.len() {
            f64::INFINITY
        } else {
            noised.quantile(below)
        };
        weights[i] = start.mass(left, right);
        left = right;
    }
    weights
}

fn on_line(problem: &Problem, start: &StartDensity, intervals: usize) -> Vec<f64> {
    let posterior = LinePosterior::new(problem, problem.t_max);
    let (low, high) = start.interval(REACH);
    let width = (high - low) / intervals as f64;
    let count = problem.data.weights().len();
    let mut sum = vec![0.0; count];
    let mut own = vec![0.0; count];
    // The integrand vanishes at the ends: all nodes count alike, and analytic, so that the rule converges faster than any power.
    for k in 0..=intervals {
        let x = low + width * k as f64;
        posterior.responsibilities(x, &mut own);
        let density = start.density(x);
        for (s, w) in sum.iter_mut().zip(&own) {
            *s += density * w;
        }
    }
    normalised(sum)
}

fn over_nets(problem: &Problem, start: &StartDensity, seed: u64) -> StartWeights {
    let nets: Vec<Vec<f64>> = (0..CLOUDS)
        .into_par_iter()
        .map(|i| one_net(problem, start, &ScrambledSobol::new(&mut stream(seed, i))))
        .collect();
    let n = nets.len() as f64;
    let count = problem.data.weights().len();
    let mean = |k: usize| nets.iter().map(|net| net[k]).sum::<f64>() / n;
    let weights: Vec<f64> = (0..count).map(mean).collect();
    let errors = (0..count)
        .map(|k| {
            let squares: f64 = nets.iter().map(|net| (net[k] - weights[k]).powi(2)).sum();
            (squares / (n * (n - 1.0))).sqrt()
        })
        .collect();
    StartWeights { weights, errors }
}

fn one_net(problem: &Problem, start: &StartDensity, net: &ScrambledSobol) -> Vec<f64> {
    let dim = problem.dim();
    let x = start.points(
        dim,
        STARTS,
        |k| net.coordinate(dim, k as u64),
        |i, k| normal::quantile(net.coordinate(i, k as u64)),
    );
    let mut sum = vec![0.0; problem.data.weights().len()];
    for k in 0..STARTS {
        let point: Vec<f64> = (0..dim).map(|i| x[i * STARTS + k]).collect();
        let weights = problem.posterior(&point, problem.t_max).weights;
        for (s, w) in sum.iter_mut().zip(&weights) {
            *s += w;
        }
    }
    normalised(sum)
}

fn normalised(mut weights: Vec<f64>) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= total);
    weights
}
