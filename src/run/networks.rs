//! What is told of trained networks beside their densities: losses, and how lazy they are.

use serde_json::{Value, json};

use crate::experiment::Experiment;
use crate::family::network::{NetworkTrainingError, Precision, Real};
use crate::family::{Family, NetworkFamily};
use crate::monte_carlo::network::{Networks, Report};
use crate::problem::{Problem, Samples, Training};

/// The first networks of the ensemble are looked at.
const LOOKED_AT: u64 = 4;
/// Points at which networks are compared with their linearisations: fresh samples.
const POINTS: usize = 64;
/// Stream of the points, far from those of the models.
const STREAM: u64 = u64::MAX - 1;

/// Loss curves and laziness of the first networks; nothing for other families.
pub(super) fn describe(
    experiment: &Experiment,
    seed: u64,
) -> Option<Result<Value, NetworkTrainingError>> {
    let (Family::Network(family), Some(training)) = (&experiment.family, &experiment.training)
    else {
        return None;
    };
    let problem = &experiment.problem;
    let reports = match family.precision {
        Precision::F32 => reports(
            Networks::<f32>::new(problem, family, training),
            seed,
            problem,
            training,
        ),
        Precision::F64 => reports(
            Networks::<f64>::new(problem, family, training),
            seed,
            problem,
            training,
        ),
    };
    Some(reports.map(|reports| summary(family, &reports)))
}

fn reports<T: Real>(
    mut networks: Networks<'_, T>,
    seed: u64,
    problem: &Problem,
    training: &Training,
) -> Result<Vec<Report>, NetworkTrainingError> {
    let points = Training {
        samples: POINTS,
        draws: 1,
        ..training.clone()
    };
    let mut rng = crate::numerics::random::stream(seed, STREAM);
    let points = Samples::draw(
        problem,
        crate::problem::Prediction::Denoiser,
        &points,
        &mut rng,
    );
    (0..LOOKED_AT)
        .map(|index| networks.report((seed, index), (&points.x, &points.t)))
        .collect()
}

fn summary(family: &NetworkFamily, reports: &[Report]) -> Value {
    let lazy: Vec<_> = reports.iter().filter_map(|r| r.laziness.as_ref()).collect();
    let mean = |of: fn(&crate::monte_carlo::network::Laziness) -> f64| {
        let sum: f64 = lazy.iter().map(|l| of(l)).sum();
        (!lazy.is_empty()).then(|| sum / lazy.len() as f64)
    };
    let network = |report: &Report| {
        json!({
            "learning_rate": report.rate,
            "steps": report.steps,
            "largest_curvature": report.lambda_max,
            "loss": report.curve.iter().map(|(step, loss)| json!([step, loss])).collect::<Vec<_>>(),
        })
    };
    json!({
        "width": family.network.width(),
        "parameters": family.network.parameters(),
        "kernel_drift": mean(|l| l.kernel_drift),
        "deviation_from_linearised": mean(|l| l.output_deviation),
        "first_networks": reports.iter().map(network).collect::<Vec<_>>(),
    })
}
