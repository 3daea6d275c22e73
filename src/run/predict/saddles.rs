//! What the saddle points say, as diagnostics of the result.

use serde_json::json;

use crate::density::{Bins, GapFilling, SaddleDensity};
use crate::family::{Denoiser, Linear, LinearDenoiser};
use crate::problem::Problem;
use crate::report::paths::{
    DOMINANT_PATHS, Direction, DominantPaths, GAP_FILLING, GapFillingReport,
};
use crate::run::prediction::PredictionSet;
use crate::statistics::VKernel;

/// Principal directions that are listed.
const DIRECTIONS: usize = 8;
/// Positions and times of the map of the denoiser's change.
const MAP_POSITIONS: usize = 61;
const MAP_TIMES: usize = 41;
/// Share of the mass that may lie beyond ends of lines that failed before it is worth a warning.
const BEYOND: f64 = 0.01;

/// Adds the account of a saddle-point density and its dominant paths.
pub(super) fn describe(solution: &SaddleDensity, times: &[f64], set: &mut PredictionSet) {
    let account = &solution.account;
    let [mean, smallest, largest] = account.raw_mass;
    set.diagnostics.insert(
        "saddle".into(),
        json!({
            "starts": account.starts,
            "lines": account.lines,
            "most_lines_of_a_start": account.most_lines,
            "folds": account.folds,
            "pairs_with_one_minimum": account.one_minimum,
            "pairs_with_several_minima": account.several_minima,
            "pairs_without_minimum": account.without,
            "searches_without_saddle": account.lost_searches,
            "raw_mass": { "mean": mean, "smallest": smallest, "largest": largest },
            "mass_beyond_failed_ends": account.beyond_failures,
            "evaluations": account.evaluations,
        }),
    );
    let paths = DominantPaths {
        times: times.to_vec(),
        paths: solution.paths.clone(),
    };
    set.diagnostics.insert(DOMINANT_PATHS.into(), json!(paths));
    if account.beyond_failures > BEYOND {
        set.warnings.push(format!(
            "saddle: lines of saddles could not be followed to their end; up to {:.1} % of the mass of a start lies beyond",
            100.0 * account.beyond_failures
        ));
    }
}

/// What the denoiser's change is evaluated on.
pub(super) struct FillingMap<'a> {
    pub problem: &'a Problem,
    pub family: &'a Linear,
    /// Node times of the sampler.
    pub times: &'a [f64],
    pub bins: &'a Bins,
}

/// Adds what fills the gap.
pub(super) fn describe_filling(
    filling: &GapFilling,
    kernel: &VKernel<'_>,
    map: &FillingMap<'_>,
    set: &mut PredictionSet,
) {
    let (p, se) = (filling.probability, filling.standard_error);
    let (times, positions, denoiser_change) = map.change(filling);
    let report = GapFillingReport {
        low: filling.gap.0,
        high: filling.gap.1,
        probability: p,
        standard_error: se,
        evaluations: filling.evaluations,
        direct_evaluations: (p * (1.0 - p) / (se * se).max(f64::MIN_POSITIVE)).min(f64::MAX),
        action: filling.action,
        filled: filling.filled,
        unfilled: filling.unfilled,
        directions: directions(filling, kernel),
        weights_change: filling.perturbation.as_slice().to_vec(),
        times,
        positions,
        denoiser_change,
        path_times: map.times.to_vec(),
        edges: filling.edges.clone(),
    };
    set.diagnostics.insert(GAP_FILLING.into(), json!(report));
}

/// The columns of the factor are principal directions times their standard deviations.
fn directions(filling: &GapFilling, kernel: &VKernel<'_>) -> Vec<Direction> {
    let rank = kernel.rank();
    let total = filling.eta.norm_squared().max(f64::MIN_POSITIVE);
    let mut all: Vec<Direction> = (0..rank)
        .map(|i| Direction {
            // Eigenvalues come in increasing order.
            rank: rank - i,
            standard_deviation: kernel.factor().column(i).norm(),
            deviations: filling.eta[i],
            share: filling.eta[i] * filling.eta[i] / total,
        })
        .collect();
    all.sort_by(|a, b| b.share.total_cmp(&a.share));
    all.truncate(DIRECTIONS);
    all
}

impl FillingMap<'_> {
    /// Times, positions and the change of the denoiser there.
    fn change(&self, filling: &GapFilling) -> (Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
        let positions: Vec<f64> = (0..MAP_POSITIONS)
            .map(|i| {
                let f = i as f64 / (MAP_POSITIONS - 1) as f64;
                self.bins.low + f * (self.bins.high - self.bins.low)
            })
            .collect();
        let stride = self.times.len().div_ceil(MAP_TIMES).max(1);
        let times: Vec<f64> = self.times.iter().copied().step_by(stride).collect();
        let zero = vec![0.0; filling.perturbation.len()];
        let denoised = |weights: &[f64], t: f64| {
            let model = LinearDenoiser {
                family: self.family,
                diffusion: &self.problem.diffusion,
                weights,
            };
            let mut out = vec![0.0; positions.len()];
            model.denoise(t, &positions, &mut out);
            out
        };
        let rows = times.iter().map(|&t| {
            // The denoiser is affine in the weights: its change is what the change of weights adds to no weights.
            let with = denoised(filling.perturbation.as_slice(), t);
            let without = denoised(&zero, t);
            with.iter().zip(&without).map(|(a, b)| a - b).collect()
        });
        let rows = rows.collect();
        (times, positions, rows)
    }
}
