//! The theory side of a case: statistics, then every density method asked for.

mod linear;

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::RunError;
use crate::density::{
    DensityError, Ensemble, Estimate, Generator, RandomField, WhiteNoise, fokker_planck, mean_field,
};
use crate::experiment::{Experiment, Method, Process};
use crate::family::{ExactDenoiser, Family};

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
    /// How good the closure behind the predictions is (families with trained weights).
    pub closure: Option<Closure>,
}

/// What the theory says of its own approximations, before numerical errors.
#[derive(Debug, Clone, PartialEq)]
pub enum Closure {
    /// The sandwich holds for effective features / samples far below 1.
    LargeSamples { feature_ratio: f64 },
    /// The equivalent with a Gaussian field: the whole effect of the field on the average density bounds its error.
    Gaussian { effect: f64 },
    /// The Gaussian field given a layer: estimated error, and the samples that the layer holds of all.
    Layered {
        error: f64,
        layer: f64,
        samples: usize,
    },
}

/// How an ensemble of draws is grown: handed in by the caller, who knows about checkpoints and progress.
pub type Grow<'a> =
    dyn FnMut(Method, &dyn RandomField, &Generator<'_>, u64) -> Result<Ensemble, RunError> + 'a;

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
}
