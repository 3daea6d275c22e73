//! The work ahead, estimated before anything runs.

use std::fmt::Write;

use super::checkpoint::share_models;
use crate::experiment::{Experiment, MapOptions, Method, Scheme, Start, StatisticsKind};
use crate::family::{Family, Linear};
use crate::spec::{Case, MemoryEstimate, Spec};

/// Passes over the quadrature that an equivalent's fixed points take, both levels counted in nodes of the coarser.
const PASSES: f64 = 150.0;
/// Sizes of the layer that are tried, and draws for each.
const LAYERS: f64 = 6.0;
/// Share of the samples in a layer.
const LAYER_SHARE: f64 = 0.2;

/// Evaluations of the flow map to second order for the line of saddles of one start.
const SADDLE_EVALUATIONS: f64 = 500.0;

/// Sustained rate assumed for dense factorisations, flops per second and thread.
const FLOP_RATE: f64 = 1.5e10;
/// Seconds assumed for one evaluation of a denoiser at one position.
const EVALUATION: f64 = 4e-8;
/// Seconds assumed for one component at one pixel of a map.
const MAP_PAIR: f64 = 4e-9;
/// Evaluations assumed per step of each scheme; an adaptive run is taken for 300 steps of seven stages.
const ADAPTIVE_STEPS: f64 = 300.0;

/// Cases, matrix sizes, memory and a rough time: what `check` prints.
pub fn work_ahead(spec: &Spec, threads: usize) -> String {
    let mut text = String::new();
    let mut total = 0.0;
    let mut peak = 0;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{} case(s) on {threads} thread(s)", spec.cases.len());
    for (i, case) in spec.cases.iter().enumerate() {
        let experiment = &case.experiment;
        let swept = swept(case);
        let mapping = case.map.as_ref().map_or(0.0, |map| map_seconds(case, map)) / threads as f64;
        total += mapping;
        if let Some(map) = &case.map {
            let pixels = map.points.pow(experiment.problem.dim() as u32);
            let _ = writeln!(
                text,
                "  case {}: {swept}maps at {} time(s), {pixels} pixels each, about {}",
                i + 1,
                map.times.len(),
                duration(mapping)
            );
        }
        if !case.has_model {
            continue;
        }
        let memory = MemoryEstimate::of(experiment);
        let (train, predict) = seconds(experiment, &memory);
        // Cases that differ only in what is predicted share their models.
        let trained = spec.cases[..i].iter().any(|c| share_models(c, case));
        let seconds = (predict + if trained { 0.0 } else { train }) / threads as f64;
        total += seconds;
        peak = peak.max(memory.total(threads));
        let _ = writeln!(
            text,
            "  case {}: {swept}F = {}, P = {}, {} models, memory {}, about {}",
            i + 1,
            memory.features,
            memory.samples,
            experiment.monte_carlo.models,
            bytes(memory.total(threads)),
            duration(seconds),
        );
    }
    let _ = writeln!(
        text,
        "in all: memory {}, about {} (a rough estimate from typical rates)",
        bytes(peak),
        duration(total)
    );
    text
}

/// The swept values of a case, as the beginning of a line.
fn swept(case: &Case) -> String {
    let values: Vec<String> = case
        .assignments
        .iter()
        .map(|(k, v)| format!("{k} = {v}"))
        .collect();
    match values.is_empty() {
        true => String::new(),
        false => format!("{}; ", values.join(", ")),
    }
}

/// Seconds of one thread for the maps.
fn map_seconds(case: &Case, map: &MapOptions) -> f64 {
    let problem = &case.experiment.problem;
    let pixels = (map.points as f64).powi(problem.dim() as i32);
    map.times.len() as f64 * pixels * problem.data.components().len() as f64 * MAP_PAIR
}

/// Seconds of one thread for the models, and for the predictions.
fn seconds(experiment: &Experiment, memory: &MemoryEstimate) -> (f64, f64) {
    let (f, p) = (memory.features as f64, memory.samples as f64);
    let order = f.min(p);
    let train = (f.max(p) * order * order + order.powi(3) / 3.0) / FLOP_RATE;
    let evaluations = match experiment.sampler.scheme {
        Scheme::Euler | Scheme::Ddim => experiment.sampler.steps as f64,
        Scheme::Heun => 2.0 * experiment.sampler.steps as f64,
        Scheme::Adaptive => 7.0 * ADAPTIVE_STEPS,
    };
    // Refinement of steep stretches adds about a quarter to the stratified starts.
    let trajectories = match experiment.monte_carlo.start {
        Start::Stratified => 1.25 * experiment.monte_carlo.particles as f64,
        Start::Random => experiment.monte_carlo.particles as f64,
    };
    let sample = evaluations * trajectories * EVALUATION;
    let models = experiment.monte_carlo.models as f64 * (train + sample);
    match &experiment.family {
        Family::Linear(family) => {
            let fraction =
                experiment.predict.particles as f64 / experiment.monte_carlo.particles as f64;
            (
                models,
                predict_seconds(experiment, memory, family, sample * fraction.min(1.0)),
            )
        }
        Family::Naive(_) => (models, 0.0),
    }
}

fn predict_seconds(
    experiment: &Experiment,
    memory: &MemoryEstimate,
    family: &Linear,
    sample: f64,
) -> f64 {
    let (f, p) = (memory.features as f64, memory.samples as f64);
    let space = family.features.space_len() as f64;
    let pass = 4.0 * memory.nodes as f64 * space * space / FLOP_RATE;
    let (passes, factorisations, draw) = match experiment.predict.statistics {
        Some(StatisticsKind::QuenchedLayer) => {
            let rows = LAYER_SHARE * p;
            let draw = rows * f * f + f.powi(3) / 3.0;
            (PASSES, PASSES + 20.0 * LAYERS, draw)
        }
        Some(StatisticsKind::Equivalent) => (PASSES, PASSES, 2.0 * f * f),
        _ => (10.0, 10.0, 2.0 * f * f),
    };
    let draws = experiment.predict.draws as f64;
    let saddles = if experiment.predict.methods.contains(&Method::Saddle) {
        // One evaluation: the form on the constraint surface, and its factor.
        let steps = experiment.sampler.steps as f64;
        let evaluation = (2.0 * steps * f * f + f.powi(3) / 3.0) / FLOP_RATE;
        experiment.predict.starts as f64 * SADDLE_EVALUATIONS * evaluation
    } else {
        0.0
    };
    saddles
        + passes * pass
        + factorisations * 2.0 * f.powi(3) / FLOP_RATE
        + draws * (draw / FLOP_RATE + sample)
}

fn bytes(n: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = n as f64 / MIB;
    if mib < 1024.0 {
        format!("{mib:.1} MiB")
    } else {
        format!("{:.2} GiB", mib / 1024.0)
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}
