//! The exact score of finite data on the line: how much of every density is memorised, and how it divides among the points
//! (derivations/23-reverse-process.md).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::density::{basin_weights, posterior_weights};
use crate::experiment::{Experiment, Process, Start};
use crate::family::Family;
use crate::problem::{Problem, StartDensity};
use crate::report::result::{CaseResult, DensityResult, MONTE_CARLO};

/// Points beyond which a list of their weights is no diagnostic.
const MOST_POINTS: usize = 64;
/// A generated point is memorised within this share of the smallest distance between training points.
const NEAR: f64 = 0.1;

/// Adds `start_weights` and `memorised` to the diagnostics where the score is exact and the data are points; in D >= 2 the
/// predicted weights alone.
pub(super) fn describe(experiment: &Experiment, seed: u64, result: &mut CaseResult) {
    let problem = &experiment.problem;
    let points = problem.data.components();
    let exact = matches!(&experiment.family, Family::Naive(naive) if naive.kappa == 0.0);
    if !exact || points.len() > MOST_POINTS || !points.iter().all(|c| c.is_point()) {
        return;
    }
    let mut weights = predicted(experiment, seed);
    if problem.dim() == 1 {
        let measured = measured(experiment, result);
        weights.extend(measured);
        if let Some(memorised) = memorised(problem, result) {
            result.diagnostics.insert("memorised".into(), memorised);
        }
    }
    result
        .diagnostics
        .insert("start_weights".into(), json!(weights));
}

/// The weights that the theory gives: of the data, of the reverse SDE with churn 1, and on the line of the probability flow.
fn predicted(experiment: &Experiment, seed: u64) -> BTreeMap<&'static str, Value> {
    let problem = &experiment.problem;
    let start = StartDensity::new(problem, experiment.sampler.start);
    let mut out = BTreeMap::from([("data", json!(problem.data.weights()))]);
    let posterior = posterior_weights(problem, &start, seed);
    out.insert("posterior_error", json!(posterior.errors));
    let basins = (problem.dim() == 1).then(|| basin_weights(problem, &start));
    let own = match experiment.sampler.process {
        Process::ReverseSde { churn: 1.0 } => Some(&posterior.weights),
        Process::ReverseSde { churn: 0.0 } | Process::PfOde => basins.as_ref(),
        Process::ReverseSde { .. } => None, // that of the Fokker-Planck equation alone, among the shares
    };
    if let Some(own) = own {
        out.insert("predicted", json!(own));
    }
    out.insert("posterior", json!(posterior.weights));
    if let Some(basins) = basins {
        out.insert("basins", json!(basins));
    }
    out
}

/// Each density's mass by the nearest point, and the standard error and chi-square of the simulated one where its trajectories are
/// independent.
fn measured(experiment: &Experiment, result: &CaseResult) -> BTreeMap<&'static str, Value> {
    let problem = &experiment.problem;
    let places = places(problem);
    let edges = &result.edges[0];
    let shares: BTreeMap<&str, Vec<f64>> = result
        .densities
        .iter()
        .map(|(name, d)| (name.as_str(), shares(d, edges, &places)))
        .collect();
    let mut out = BTreeMap::new();
    let monte_carlo = &experiment.monte_carlo;
    let independent = match experiment.sampler.process {
        Process::ReverseSde { .. } => true,
        Process::PfOde => monte_carlo.start == Start::Random,
    };
    if let (Some(found), true) = (shares.get(MONTE_CARLO), independent) {
        let n = (monte_carlo.models * monte_carlo.particles) as f64;
        let se: Vec<f64> = found.iter().map(|w| (w * (1.0 - w) / n).sqrt()).collect();
        out.insert("trajectories", json!(n));
        out.insert("monte_carlo_se", json!(se));
    }
    out.insert("shares", json!(shares));
    out
}

/// Where the points lie at t_min.
fn places(problem: &Problem) -> Vec<f64> {
    let alpha = problem.diffusion.alpha(problem.t_min);
    let points = problem.data.components().iter();
    points.map(|c| alpha * c.mean[0]).collect()
}

/// Centre and mass of every bin.
fn bins<'a>(density: &'a DensityResult, edges: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    let centres = edges.windows(2).map(|w| 0.5 * (w[0] + w[1]));
    centres.zip(density.mass.iter().copied())
}

/// Mass of the bins nearest to each place.
fn shares(density: &DensityResult, edges: &[f64], places: &[f64]) -> Vec<f64> {
    let mut shares = vec![0.0; places.len()];
    for (centre, mass) in bins(density, edges) {
        let distance = |i: &usize| (places[*i] - centre).abs();
        let nearest = (0..places.len()).min_by(|i, j| distance(i).total_cmp(&distance(j)));
        if let Some(nearest) = nearest {
            shares[nearest] += mass;
        }
    }
    shares
}

/// Mass of every density within a tenth of the smallest distance between training points of one of them; nothing where a bin is
/// wider than that.
fn memorised(problem: &Problem, result: &CaseResult) -> Option<Value> {
    let mut places = places(problem);
    places.sort_by(f64::total_cmp);
    let smallest = places
        .windows(2)
        .map(|w| w[1] - w[0])
        .filter(|d| *d > 0.0)
        .fold(f64::INFINITY, f64::min);
    let (within, edges) = (NEAR * smallest, &result.edges[0]);
    if !within.is_finite() || edges[1] - edges[0] > within {
        return None;
    }
    let near = |centre: f64| places.iter().any(|p| (p - centre).abs() <= within);
    let mass = |d: &DensityResult| -> f64 {
        let memorised = bins(d, edges).filter(|(centre, _)| near(*centre));
        memorised.map(|(_, mass)| mass).sum()
    };
    let shares: BTreeMap<&str, f64> = result
        .densities
        .iter()
        .map(|(name, d)| (name.as_str(), mass(d)))
        .collect();
    Some(json!({ "within": within, "shares": shares }))
}
