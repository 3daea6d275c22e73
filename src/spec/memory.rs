//! Memory: estimated before it is allocated, so that a case that cannot fit is refused with the number.

use crate::action::Action;
use crate::density::{Ensemble, SaddleLines};
use crate::experiment::{Experiment, Method, StatisticsKind};
use crate::family::{Family, Linear};
use crate::monte_carlo::network::NetworkTrainer;
use crate::monte_carlo::subspace::SubspaceTrainer;
use crate::monte_carlo::{KernelTrainer, Trainer};
use crate::statistics::{FlowEquivalent, KernelStatistics, Population};

/// Bytes that one case needs, in the leading terms. Sizes that overflow are `u64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// F, the number of features; 0 for the naive family.
    pub features: u64,
    /// P, the number of training samples per model; 0 for the naive family.
    pub samples: u64,
    /// Workspace of training one model, needed once per thread: the Gram matrix, F x F, or P x P where P < F, and the factors of
    /// some samples.
    pub training_per_thread: u64,
    /// Workspace of drawing one quenched layer, needed once per thread: its rows, at most P, and the matrix solved with.
    pub layer_per_thread: u64,
    /// Trajectories of one model, needed once per thread.
    pub sampling_per_thread: u64,
    /// Statistics of the weights: twelve F x F matrices at the peak (two refinement levels, factors, products), in D >= 2
    /// of size D F, and the quadrature up to the level that it takes as a rule; with samples that share clean points, their sums;
    /// of gradient flow the forms at all its ridges, with a layer the residuals there; with loop corrections, their responses at every step.
    pub statistics: u64,
    /// Nodes of the coarsest quadrature.
    pub nodes: u64,
    /// Running averages of two ensembles, in D >= 2 of one for every density; models and draws stream through, so their
    /// number does not enter.
    pub densities: u64,
}

const FLOAT: u64 = size_of::<f64>() as u64;

impl MemoryEstimate {
    /// Estimates the memory of a case.
    pub fn of(experiment: &Experiment) -> Self {
        if let Some(given) = experiment.given_one() {
            return Self::of(&given);
        }
        let family = experiment.family.linear();
        let features = family.map_or(0, |linear| linear.features.len() as u64);
        let samples = experiment.training.as_ref().map_or(0, |t| t.samples as u64);
        let (nodes, quadrature, finest) = match family {
            Some(linear) => {
                let problem = &experiment.problem;
                let nodes = Population::coarsest_nodes(problem, linear);
                // Every level has four times the nodes of the one before.
                let last = Population::usual_level(problem, linear);
                let held = nodes.saturating_mul((0..=last).map(|l| 4_u64.pow(l)).sum());
                let finest = nodes.saturating_mul(4_u64.pow(last));
                (nodes, Population::bytes(linear, held), finest)
            }
            None => (0, 0, 0),
        };
        let training = match (&experiment.family, &experiment.training) {
            (Family::Linear(linear), Some(training)) => {
                Trainer::cost(linear, training.samples).bytes
            }
            (Family::Kernel(_), Some(training)) => KernelTrainer::cost(training).bytes,
            (Family::Network(family), Some(training)) => {
                NetworkTrainer::<f64>::bytes(&family.network, &family.protocol, training.samples)
            }
            (Family::LowRank(family), Some(training)) => {
                SubspaceTrainer::new(&experiment.problem, family, training).bytes()
            }
            _ => 0,
        };
        let dim = experiment.problem.dim();
        let layered = experiment.predict.statistics == Some(StatisticsKind::QuenchedLayer);
        let (layer, layer_of_flow) = match (layered, flow_nodes(experiment, nodes)) {
            (true, Some(nodes)) => (
                FlowEquivalent::draw_bytes(nodes, dim, features, samples),
                FlowEquivalent::layer_bytes(nodes, dim),
            ),
            (true, None) => (
                product(&[samples, features, FLOAT])
                    .saturating_add(product(&[features, features, FLOAT])),
                0,
            ),
            (false, _) => (0, 0),
        };
        let first_order = experiment.predict.statistics == Some(StatisticsKind::Sandwich);
        let flow = match flow_nodes(experiment, nodes) {
            Some(_) if !first_order => FlowEquivalent::solution_bytes(finest, dim),
            _ => 0,
        };
        let shared = match (experiment.family.kernel(), &experiment.training) {
            (Some(kernel), Some(training)) => {
                KernelStatistics::shared_bytes(&experiment.problem, kernel, training)
            }
            _ => 0,
        };
        let loops = family.map_or(0, |linear| expansion_bytes(linear, experiment));
        let dim = dim as u64;
        let monte_carlo = experiment.monte_carlo;
        Self {
            features,
            samples,
            training_per_thread: training,
            layer_per_thread: layer,
            sampling_per_thread: product(&[4, monte_carlo.particles as u64, dim, FLOAT]),
            statistics: product(&[12, dim, features, dim, features, FLOAT])
                .saturating_add(quadrature)
                .saturating_add(flow)
                .saturating_add(shared)
                .saturating_add(layer_of_flow)
                .saturating_add(loops),
            nodes,
            densities: densities(experiment),
        }
    }

    /// Bytes that making models, or drawing them, needs on every thread.
    pub fn models_per_thread(&self) -> u64 {
        self.training_per_thread.max(self.layer_per_thread)
    }

    /// Bytes needed on `threads` threads.
    pub fn total(&self, threads: usize) -> u64 {
        let per_thread = self
            .models_per_thread()
            .saturating_add(self.sampling_per_thread);
        product(&[per_thread, threads.max(1) as u64])
            .saturating_add(self.statistics)
            .saturating_add(self.densities)
    }
}

/// Nodes of the quadrature before the finest, as a rule, where the statistics are those of gradient flow: what a layer draws at.
pub(crate) fn flow_nodes(experiment: &Experiment, coarsest: u64) -> Option<u64> {
    experiment.training.as_ref()?.time?;
    let linear = &experiment.family.kernel()?.linear;
    let level = Population::usual_level(&experiment.problem, linear);
    Some(coarsest.saturating_mul(4_u64.saturating_pow(level.saturating_sub(1))))
}

/// Every ensemble with what is read off it. Kept together: in D = 1 a prediction's and the trained models', in more
/// dimensions also those of the references and of all other predictions.
fn densities(experiment: &Experiment) -> u64 {
    if experiment.output.directions.is_empty() {
        return 0; // maps without a model, or subspaces alone
    }
    let readout = experiment.readout();
    let cells = power(
        experiment.output.bins as u64,
        readout.grid.axes().len() as u64,
    );
    let one = product(&[Ensemble::bytes_per_bin() as u64, cells]).saturating_add(product(&[
        Ensemble::bytes_per_value() as u64,
        readout.len() as u64,
    ]));
    match experiment.problem.dim() {
        1 => product(&[2, one]),
        _ => product(&[3 + experiment.predict.methods.len() as u64, one]),
    }
}

/// Tables of the loop corrections and of the saddles, and the lines of the latter.
fn expansion_bytes(linear: &Linear, experiment: &Experiment) -> u64 {
    let (predict, steps) = (&experiment.predict, experiment.sampler.steps);
    let saddles = predict.methods.contains(&Method::Saddle);
    let action = match predict.one_loop || saddles {
        true => Action::bytes(linear, steps),
        false => 0,
    };
    let lines = match saddles {
        true => SaddleLines::bytes(linear, predict.starts as u64),
        false => 0,
    };
    action.saturating_add(lines)
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |all, f| all.saturating_mul(*f))
}

fn power(base: u64, exponent: u64) -> u64 {
    base.saturating_pow(u32::try_from(exponent).unwrap_or(u32::MAX))
}

/// Memory that is free for use, in bytes; 8 GiB where the system does not tell.
pub fn available_bytes() -> u64 {
    const FALLBACK: u64 = 8 << 30;
    std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            kib.checked_mul(1024)
        })
        .unwrap_or(FALLBACK)
}
