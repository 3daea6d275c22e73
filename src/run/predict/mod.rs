//! The theory side of a case: statistics, then every density method asked for.

mod linear;
mod saddles;
mod space;

use std::time::Instant;

use serde_json::json;

use super::RunError;
use super::prediction::{Grow, PredictionSet, failed};
use crate::density::{
    DensityError, Estimate, Generator, WhiteNoise, cloud_density, cloud_estimate, fokker_planck,
    mean_field, white_saddle,
};
use crate::experiment::{Experiment, Method, Process};
use crate::family::{ExactDenoiser, Family};

/// Computes every method of the case.
pub fn predict_case(
    experiment: &Experiment,
    case: usize,
    seed: &dyn Fn(Method) -> u64,
    grow: &mut Grow<'_>,
) -> Result<PredictionSet, RunError> {
    match &experiment.family {
        Family::Linear(family) => linear::predict(experiment, family, case, seed, grow),
        Family::Naive(naive) => predict_naive(experiment, naive.kappa, case, seed),
    }
}

fn predict_naive(
    experiment: &Experiment,
    kappa: f64,
    case: usize,
    seed: &dyn Fn(Method) -> u64,
) -> Result<PredictionSet, RunError> {
    let problem = &experiment.problem;
    let generator = Generator::new(experiment);
    let mut set = PredictionSet::default();
    for &method in &experiment.predict.methods {
        let started = Instant::now();
        if problem.dim() > 1 && method == Method::MeanField {
            let exact = ExactDenoiser { problem };
            let cloud = cloud_density(&generator, &exact, usize::MAX, seed(method))
                .map_err(failed(case, method))?;
            let seconds = started.elapsed().as_secs_f64();
            set.insert_cloud(method, cloud_estimate(&cloud), cloud, seconds);
            continue;
        }
        let estimate = match method {
            Method::FokkerPlanck => {
                let solution = fokker_planck(problem, noise(experiment, kappa), generator.bins())
                    .map_err(failed(case, method))?;
                set.diagnostics.insert(
                    "fokker-planck".into(),
                    json!({
                        "mass_error": solution.mass_error,
                        "smallest_cell_mass": solution.smallest,
                        "cells": solution.cells,
                        "steps": solution.steps,
                    }),
                );
                solution.estimate
            }
            Method::Saddle => match white_saddles(experiment, kappa, case, &generator, &mut set)? {
                Some(estimate) => estimate,
                None => continue,
            },
            _ => {
                let exact = ExactDenoiser { problem };
                let (estimate, _) = mean_field(problem, generator.flow(), &exact, generator.bins())
                    .map_err(failed(case, method))?;
                estimate
            }
        };
        set.insert(method, estimate, None, started.elapsed().as_secs_f64());
    }
    Ok(set)
}

fn noise(experiment: &Experiment, kappa: f64) -> WhiteNoise {
    let churn = match experiment.sampler.process {
        Process::PfOde => 0.0,
        Process::ReverseSde { churn } => churn,
    };
    WhiteNoise { kappa, churn }
}

/// The saddle-point density, or a warning that says why the expansion has none.
fn white_saddles(
    experiment: &Experiment,
    kappa: f64,
    case: usize,
    generator: &Generator<'_>,
    set: &mut PredictionSet,
) -> Result<Option<Estimate>, RunError> {
    let solution = white_saddle(
        &experiment.problem,
        noise(experiment, kappa),
        experiment.sampler.scheme,
        generator.times(),
        generator.bins(),
        experiment.predict.starts,
    );
    let solution = match solution {
        Ok(solution) => solution,
        Err(refusal @ (DensityError::NoiseTooStrong { .. } | DensityError::NoExtremal { .. })) => {
            set.warnings.push(format!("saddle: {refusal}"));
            return Ok(None);
        }
        Err(error) => return Err(failed(case, Method::Saddle)(error)),
    };
    let [mean, smallest, largest] = solution.raw_mass;
    set.diagnostics.insert(
        "saddle".into(),
        json!({
            "pairs": solution.pairs,
            "pairs_solved": solution.solved,
            "pairs_with_several_minima": solution.several,
            "pairs_negligible": solution.negligible,
            "pairs_without_minimum": {
                "only saddles that are no minima": solution.no_minimum,
                "the curve stalls before it": solution.failed,
                "the curve is too long": solution.too_long,
            },
            "starts_lost": solution.lost.iter().map(|(x, reason)| json!({ "start": x, "reason": reason.to_string() })).collect::<Vec<_>>(),
            "raw_mass": { "mean": mean, "smallest": smallest, "largest": largest },
        }),
    );
    Ok(Some(solution.estimate))
}
