//! The theory side of a case: statistics, then every density method asked for.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::RunError;
use crate::compare::total_variation;
use crate::density::{
    DensityError, Ensemble, Estimate, GaussianField, Generator, WhiteNoise, fokker_planck,
    mean_field, semiclassical,
};
use crate::experiment::{Experiment, Method, Process};
use crate::family::{ExactDenoiser, Family, Linear, LinearDenoiser};
use crate::statistics::{Sandwich, VKernel, sandwich};

/// One predicted density.
#[derive(Debug, Clone)]
pub struct Prediction {
    pub estimate: Estimate,
    /// The ensemble behind a sampled prediction: bands and sampling noise.
    pub ensemble: Option<Ensemble>,
    pub seconds: f64,
}

/// All predictions of a case.
#[derive(Debug, Clone, Default)]
pub struct PredictionSet {
    pub by_method: BTreeMap<Method, Prediction>,
    pub diagnostics: BTreeMap<String, Value>,
    pub warnings: Vec<String>,
    /// Seconds of the statistics, shared by all methods.
    pub statistics_seconds: f64,
    /// Effective number of features over the number of samples: the small parameter of the sandwich.
    pub feature_ratio: Option<f64>,
}

/// How an ensemble of draws is grown: handed in by the caller, who knows about checkpoints and progress.
pub type Grow<'a> =
    dyn FnMut(&GaussianField<'_>, &Generator<'_>, u64) -> Result<Ensemble, RunError> + 'a;

/// Computes every method of the case.
pub fn predict_case(
    experiment: &Experiment,
    case: usize,
    seed: u64,
    grow: &mut Grow<'_>,
) -> Result<PredictionSet, RunError> {
    match &experiment.family {
        Family::Linear(family) => predict_linear(experiment, family, case, seed, grow),
        Family::Naive(naive) => predict_naive(experiment, naive.kappa, case),
    }
}

fn failed(case: usize, method: Method) -> impl Fn(DensityError) -> RunError {
    move |source| RunError::Density {
        case,
        part: method.name().into(),
        source,
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

fn predict_linear(
    experiment: &Experiment,
    family: &Linear,
    case: usize,
    seed: u64,
    grow: &mut Grow<'_>,
) -> Result<PredictionSet, RunError> {
    let problem = &experiment.problem;
    let generator = Generator::new(experiment);
    let mut set = PredictionSet::default();
    let Some(training) = &experiment.training else {
        return Ok(set);
    };
    let started = Instant::now();
    let statistics = sandwich(problem, family, training)
        .map_err(|source| RunError::Statistics { case, source })?;
    set.statistics_seconds = started.elapsed().as_secs_f64();
    set.describe_statistics(&statistics, training.samples);

    let [fine, coarse] = [&statistics.weights, &statistics.coarser].map(|w| LinearDenoiser {
        family,
        diffusion: &problem.diffusion,
        weights: w.mean.as_slice(),
    });
    // What the quadrature's last refinement changes in the mean-field density stands for its error in all of them.
    let started = Instant::now();
    let push = |denoiser: &LinearDenoiser<'_>| {
        mean_field(problem, generator.flow(), denoiser, &generator.bins)
            .map_err(failed(case, Method::MeanField))
    };
    // The reverse SDE has no push-forward; the spec refuses mean-field there.
    let (mean, quadrature) = if experiment.sampler.process == Process::PfOde {
        let mean = push(&fine)?;
        let seconds = started.elapsed().as_secs_f64();
        let change = total_variation(&mean.0.masses, &push(&coarse)?.0.masses);
        (Some((mean, seconds)), change)
    } else {
        (None, statistics.refinement.change)
    };

    for &method in &experiment.predict.methods {
        let started = Instant::now();
        let wrap = failed(case, method);
        let mut before = 0.0;
        let (mut estimate, ensemble) = match method {
            Method::MeanField => {
                let Some(((estimate, push), seconds)) = mean.clone() else {
                    continue;
                };
                before = seconds;
                if push.folds {
                    set.warnings.push(
                        "the mean flow map folds: at these step sizes it is no longer monotone in x_T".into(),
                    );
                }
                (estimate, None)
            }
            Method::Semiclassical => {
                let one_loop = experiment.predict.one_loop;
                let solution = semiclassical(
                    problem,
                    family,
                    generator.flow(),
                    &statistics.weights,
                    one_loop,
                    &generator.bins,
                )
                .map_err(wrap)?;
                set.diagnostics.insert(
                    "semiclassical".into(),
                    json!({
                        "largest_std": solution.largest_std,
                        "largest_one_loop_shift_over_std": solution.largest_shift,
                    }),
                );
                if one_loop {
                    set.warnings.push(format!(
                        "the one-loop mean shift reaches {:.2} standard deviations; the expansion holds where it is far below one, and near basin boundaries it makes the density worse",
                        solution.largest_shift
                    ));
                }
                (solution.estimate, None)
            }
            Method::GaussianField => {
                let kernel = VKernel::new(problem, family, &statistics.weights, 0.0)
                    .map_err(|source| RunError::Statistics { case, source })?;
                set.diagnostics
                    .insert("v_kernel_rank".into(), json!(kernel.rank()));
                let field = GaussianField::new(&kernel, &statistics.weights, seed);
                let ensemble = grow(&field, &generator, experiment.predict.draws as u64)?;
                let estimate = Estimate {
                    masses: ensemble.mean(),
                    errors: vec![
                        ("draws", ensemble.noise_floor().mean.tv),
                        ("push-forward", ensemble.unresolved()),
                    ],
                };
                (estimate, Some(ensemble))
            }
            Method::FokkerPlanck => continue, // refused by the spec: no white noise here
        };
        estimate.errors.push(("quadrature", quadrature));
        let seconds = before + started.elapsed().as_secs_f64();
        set.insert(method, estimate, ensemble, seconds);
    }
    Ok(set)
}

impl PredictionSet {
    fn insert(
        &mut self,
        method: Method,
        estimate: Estimate,
        ensemble: Option<Ensemble>,
        seconds: f64,
    ) {
        let parts: BTreeMap<&str, f64> = estimate.errors.iter().copied().collect();
        self.diagnostics
            .insert(format!("error.{}", method.name()), json!(parts));
        self.by_method.insert(
            method,
            Prediction {
                estimate,
                ensemble,
                seconds,
            },
        );
    }

    fn describe_statistics(&mut self, statistics: &Sandwich, samples: usize) {
        let ratio = statistics.effective_features / samples as f64;
        self.feature_ratio = Some(ratio);
        self.diagnostics.insert(
            "statistics".into(),
            json!({
                "kind": "sandwich",
                "features": statistics.weights.mean.len(),
                "effective_features": statistics.effective_features,
                "effective_features_over_samples": ratio,
                "condition": statistics.condition,
                "quadrature_nodes": statistics.refinement.nodes,
                "quadrature_level": statistics.refinement.level,
                "quadrature_relative_change": statistics.refinement.change,
            }),
        );
        if ratio > super::trust::LIMITED {
            self.warnings.push(format!(
                "the sandwich formula holds for many more samples than effective features; here {:.1} features meet {samples} samples",
                statistics.effective_features
            ));
        }
    }
}
