//! The theory side of a case: statistics, then every density method asked for.

mod linear;
mod saddles;

use std::time::Instant;

use serde_json::json;

use super::RunError;
use super::prediction::{Grow, PredictionSet, failed};
use crate::density::{Generator, WhiteNoise, fokker_planck, mean_field};
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
        Family::Naive(naive) => predict_naive(experiment, naive.kappa, case),
    }
}

fn predict_naive(
    experiment: &Experiment,
    kappa: f64,
    case: usize,
) -> Result<PredictionSet, RunError> {
    let problem = &experiment.problem;
    let generator = Generator::new(experiment);
    let mut set = PredictionSet::default();
    for &method in &experiment.predict.methods {
        let started = Instant::now();
        let estimate = match method {
            Method::FokkerPlanck => {
                let churn = match experiment.sampler.process {
                    Process::PfOde => 0.0,
                    Process::ReverseSde { churn } => churn,
                };
                let solution = fokker_planck(problem, WhiteNoise { kappa, churn }, &generator.bins)
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
            _ => {
                let exact = ExactDenoiser { problem };
                let (estimate, _) = mean_field(problem, generator.flow(), &exact, &generator.bins)
                    .map_err(failed(case, method))?;
                estimate
            }
        };
        set.insert(method, estimate, None, started.elapsed().as_secs_f64());
    }
    Ok(set)
}
