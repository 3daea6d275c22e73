//! The theory side of a case: statistics, then every density method asked for.

mod data_sets;
mod expansion;
mod linear;
mod push;
mod rivals;
mod saddles;
mod subspaces;

pub(super) use subspaces::fluctuations;

use std::time::Instant;

use serde_json::json;

use super::RunError;
use super::prediction::{Grow, Outcome, PredictionSet, failed};
use crate::density::{
    DensityError, Ensemble, Estimate, Generated, Generator, WhiteNoise, cloud_density,
    cloud_estimate, fokker_planck, fokker_planck_plane, mean_field, white_saddle,
};
use crate::experiment::{Experiment, Method};
use crate::family::{ExactDenoiser, Family};
use crate::problem::StartDensity;

/// Computes every method of the case.
pub fn predict_case(
    experiment: &Experiment,
    case: usize,
    seed: &dyn Fn(Method) -> u64,
    grow: &mut Grow<'_>,
) -> Result<PredictionSet, RunError> {
    let mut set = match experiment.predict.own_methods().next() {
        Some(_) => predict_own(experiment, case, seed, grow)?,
        None => PredictionSet::default(),
    };
    rivals::predict(experiment, case, seed, &mut set)?;
    Ok(set)
}

/// The methods that are this program's own theory.
fn predict_own(
    experiment: &Experiment,
    case: usize,
    seed: &dyn Fn(Method) -> u64,
    grow: &mut Grow<'_>,
) -> Result<PredictionSet, RunError> {
    match &experiment.family {
        Family::Linear(family) => linear::predict(experiment, family, case, seed, grow),
        Family::Kernel(family) => linear::predict(experiment, &family.linear, case, seed, grow),
        Family::Network(family) => {
            linear::predict(experiment, &family.limit.linear, case, seed, grow)
        }
        Family::LowRank(family) => subspaces::predict(experiment, family, case, seed, grow),
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
    for method in experiment.predict.own_methods() {
        let started = Instant::now();
        if problem.dim() > 1 {
            let (estimate, cloud) = naive_in_space(
                experiment,
                method,
                kappa,
                &generator,
                seed(method),
                &mut set,
            )
            .map_err(failed(case, method))?;
            let outcome = Outcome::read_off(estimate, Some(cloud));
            set.insert(method, outcome, started.elapsed().as_secs_f64());
            continue;
        }
        let estimate = match method {
            Method::FokkerPlanck => {
                let solution = fokker_planck(
                    problem,
                    noise(&generator, kappa),
                    generator.start_density(),
                    generator.bins(),
                )
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
                let (estimate, _) = mean_field(generator.flow(), &exact, generator.bins())
                    .map_err(failed(case, method))?;
                estimate
            }
        };
        set.insert(method, estimate, started.elapsed().as_secs_f64());
    }
    Ok(set)
}

/// The push-forward through the exact score in D >= 2, or the Fokker-Planck equation in the plane; the spec refuses the rest.
fn naive_in_space(
    experiment: &Experiment,
    method: Method,
    kappa: f64,
    generator: &Generator<'_>,
    seed: u64,
    set: &mut PredictionSet,
) -> Result<(Estimate, Ensemble), DensityError> {
    let problem = &experiment.problem;
    // The plane's solver starts from an isotropic normal law; the spec refuses the noised data there.
    let (Method::FokkerPlanck, [first, second], StartDensity::Normal { std }) = (
        method,
        generator.readout.grid.axes(),
        generator.start_density(),
    ) else {
        let exact = ExactDenoiser { problem };
        let cloud = cloud_density(generator, &exact, usize::MAX, seed)?;
        return Ok((cloud_estimate(&cloud), cloud));
    };
    let solution = fokker_planck_plane(problem, noise(generator, kappa), *std, [first, second])?;
    let [rows, columns] = solution.cells.axes;
    set.diagnostics.insert(
        "fokker-planck".into(),
        json!({
            "mass_error": solution.mass_error,
            "smallest_cell_mass": solution.smallest,
            "cells": [rows.cells, columns.cells],
            "steps": solution.steps,
        }),
    );
    // Everything else is read off the centres of the solution's own cells.
    let cells = rows.cells * columns.cells;
    let x: Vec<f64> = (0..cells)
        .map(|k| rows.centre(k / columns.cells))
        .chain((0..cells).map(|k| columns.centre(k % columns.cells)))
        .collect();
    let mut reading = generator.readout.empty();
    let weights = &solution.cells.masses;
    generator.readout.add(&mut reading, &x, |k| weights[k]);
    let ensemble = Ensemble::of_one(
        generator.readout.grid.clone(),
        Generated {
            masses: solution.estimate.masses.clone(),
            values: reading.values,
            unresolved: 0.0,
            folds: false,
        },
    );
    Ok((solution.estimate, ensemble))
}

fn noise(generator: &Generator<'_>, kappa: f64) -> WhiteNoise {
    WhiteNoise {
        kappa,
        churn: generator.churn(),
    }
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
        noise(generator, kappa),
        experiment.sampler.scheme,
        generator.times(),
        generator.start_density(),
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
