//! The work ahead, estimated before anything runs.

use std::fmt::Write;

use super::checkpoint::share_models;
use crate::experiment::{Experiment, MapOptions, Method, Process, Scheme, Start, StatisticsKind};
use crate::family::features::SpaceFeatures;
use crate::family::network::{Duration, Precision};
use crate::family::{Family, Linear, NetworkFamily};
use crate::monte_carlo::network::NetworkTrainer;
use crate::monte_carlo::subspace::SubspaceTrainer;
use crate::monte_carlo::{KernelTrainer, Trainer};
use crate::numerics::random::stream;
use crate::problem::{Problem, Samples, Training};
use crate::spec::memory::flow_nodes;
use crate::spec::{Case, MemoryEstimate, Spec};
use crate::statistics::{FlowEquivalent, Population, SpacePopulation};

/// Real fixed points in those of gradient flow: real and imaginary parts at five ridges, of the pairs of ridges with one output, and
/// with two.
const FLOW_RIDGES: f64 = 10.0;
const SAME_OUTPUT: f64 = 60.0;
const TWO_OUTPUTS: f64 = 100.0;
/// Modes that a flow learns, as a share of the features of its kernel's expansion: two fifths in the plane.
const FLOW_MODES: f64 = 0.4;

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
/// The same for products of matrices in single precision.
const SINGLE_RATE: f64 = 5e10;
/// Seconds assumed for one evaluation of a denoiser at one position.
const EVALUATION: f64 = 4e-8;
/// Seconds assumed for one component at one position, where densities of the data or their scores are evaluated.
const PAIR: f64 = 4e-9;

/// In D >= 2: rate assumed for sums of features at positions, flops per second and thread; flops for one exponential or sine.
const CONTRACTION_RATE: f64 = 2.6e10;
const ELEMENTARY: f64 = 25.0;
/// Trajectories behind the density of one field in D >= 2.
const CLOUD: f64 = 262_144.0;
/// Draws that find the layer in D >= 2: without one, at each of its sizes, in settling it, and of its mean weights.
const ANCHOR_DRAWS: f64 = 512.0;
const PROBE_DRAWS: f64 = 64.0;
const SETTLING_DRAWS: f64 = 128.0;
const MEAN_DRAWS: f64 = 256.0;
const MEAN_DRAWS_ON_THE_LINE: f64 = 1024.0;
/// Trajectories of each of the former two.
const PROBE: f64 = 256.0;
/// Starts of the semiclassical expansion in D >= 2.
const EXPANSIONS: f64 = 1024.0;
/// Flops of an eigendecomposition over the cube of its size.
const EIGEN: f64 = 9.0;

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
        let (train, mut predict) = seconds(experiment, &memory);
        let mut averaged = String::new();
        if let (Some(given), Some(sets)) = (experiment.given_one(), experiment.predict.data_sets) {
            predict = sets as f64 * seconds(&given, &memory).1;
            averaged = format!(", {sets} data sets");
        }
        // Cases that differ only in what is predicted share their models.
        let trained = spec.cases[..i].iter().any(|c| share_models(c, case));
        let seconds = (predict + if trained { 0.0 } else { train }) / threads as f64;
        total += seconds;
        peak = peak.max(memory.total(threads));
        let _ = writeln!(
            text,
            "  case {}: {swept}F = {}, P = {}, {} models{averaged}, memory {}, about {}",
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
    map.times.len() as f64 * pixels * problem.data.components().len() as f64 * PAIR
}

/// Seconds of one thread for the models, and for the predictions.
fn seconds(experiment: &Experiment, memory: &MemoryEstimate) -> (f64, f64) {
    let train = match (&experiment.family, &experiment.training) {
        (Family::Linear(family), Some(training)) => {
            Trainer::cost(family, training.samples).flops / FLOP_RATE
        }
        (Family::Kernel(_), Some(training)) => KernelTrainer::cost(training).flops / FLOP_RATE,
        (Family::Network(family), Some(training)) => {
            network_seconds(&experiment.problem, family, training)
        }
        (Family::LowRank(family), Some(training)) => {
            SubspaceTrainer::new(&experiment.problem, family, training).flops() / FLOP_RATE
        }
        _ => 0.0,
    };
    if !experiment.output.has_densities() {
        return (experiment.monte_carlo.models as f64 * train, 0.0);
    }
    if experiment.problem.dim() > 1 {
        let space = Space::new(experiment);
        let sample = space.travel(experiment.monte_carlo.particles as f64);
        let models = experiment.monte_carlo.models as f64 * (train + sample);
        return (models, space.predict());
    }
    let evaluations = evaluations(experiment);
    // Refinement of steep stretches adds about a quarter to the stratified starts.
    let trajectories = match experiment.monte_carlo.start {
        Start::Stratified => 1.25 * experiment.monte_carlo.particles as f64,
        Start::Random => experiment.monte_carlo.particles as f64,
    };
    let sample = evaluations * trajectories * EVALUATION;
    let trained = evaluations * trajectories * evaluation(experiment);
    let models = experiment.monte_carlo.models as f64 * (train + trained);
    match experiment.family.linear() {
        Some(family) => {
            let fraction =
                experiment.predict.particles as f64 / experiment.monte_carlo.particles as f64;
            (
                models,
                predict_seconds(experiment, memory, family, sample * fraction.min(1.0)),
            )
        }
        None => (models, naive_seconds(experiment)),
    }
}

/// Seconds of one thread for the predictions of the naive family on the line: the Fokker-Planck equation, whose grid is refined
/// until it resolves the noise at t_min (1 s at sigma = 0.06, 24 s at 0.0045).
fn naive_seconds(experiment: &Experiment) -> f64 {
    const SECONDS: f64 = 0.02;
    const EXPONENT: f64 = -1.3;
    let problem = &experiment.problem;
    let sigma = problem.diffusion.sigma(problem.t_min);
    match experiment.predict.methods.contains(&Method::FokkerPlanck) {
        true => SECONDS * sigma.max(1e-4).powf(EXPONENT),
        false => 0.0,
    }
}

/// Seconds of one thread for one network: matrix products, and what every unit costs besides.
fn network_seconds(problem: &Problem, family: &NetworkFamily, training: &Training) -> f64 {
    const UNIT: f64 = 1.5e-9;
    let rate = match family.precision {
        Precision::F32 => SINGLE_RATE,
        Precision::F64 => 0.5 * SINGLE_RATE,
    };
    let network = &family.network;
    let columns = family.protocol.columns(training.samples);
    let units = (network.width() * network.architecture().depth * columns) as f64;
    let step = NetworkTrainer::<f64>::step_flops(network, columns) / rate + UNIT * units;
    let steps = match family.protocol.duration {
        Duration::Steps(steps) => steps as f64,
        Duration::FlowTime { tau, .. } => match family.protocol.optimiser.rate() {
            Some(rate) => tau / rate,
            None => tau * curvature(problem, family, training),
        },
    };
    steps * step
}

/// Largest eigenvalue of the loss's curvature in the limit of infinite width, on some samples: the inverse of the rate.
fn curvature(problem: &Problem, family: &NetworkFamily, training: &Training) -> f64 {
    const SAMPLES: usize = 128;
    let training = Training {
        samples: SAMPLES,
        draws: 1,
        ..training.clone()
    };
    let samples = Samples::draw(
        problem,
        family.network.predicts(),
        &training,
        &mut stream(0, 0),
    );
    let trainer = KernelTrainer::new(problem, &family.limit, &training);
    match trainer.spectrum(&samples, None) {
        Ok(spectrum) => spectrum.rates().0,
        Err(_) => 0.0, // training will say why
    }
}

/// Seconds of one evaluation of a trained model on the line.
fn evaluation(experiment: &Experiment) -> f64 {
    match (&experiment.family, &experiment.training) {
        (Family::Kernel(_), Some(training)) => training.samples as f64 * PAIR,
        (Family::Network(family), _) => 2.0 * family.network.parameters() as f64 / FLOP_RATE,
        // An exponential for every component, and often a normal number.
        (Family::Naive(_), _) => {
            let components = experiment.problem.data.components().len() as f64;
            EVALUATION * (0.5 + 0.75 * components)
        }
        _ => EVALUATION,
    }
}

/// Evaluations of the denoiser per trajectory.
fn evaluations(experiment: &Experiment) -> f64 {
    match experiment.sampler.scheme {
        Scheme::Euler | Scheme::Ddim => experiment.sampler.steps as f64,
        Scheme::Heun => 2.0 * experiment.sampler.steps as f64,
        Scheme::Adaptive => 7.0 * ADAPTIVE_STEPS,
    }
}

/// The work of a case in D >= 2, in seconds of one thread.
struct Space<'a> {
    experiment: &'a Experiment,
    dim: f64,
    /// One trajectory with the exact score, and with the family.
    exact: f64,
    trajectory: f64,
}

impl<'a> Space<'a> {
    fn new(experiment: &'a Experiment) -> Self {
        let (problem, evaluations) = (&experiment.problem, evaluations(experiment));
        let dim = problem.dim() as f64;
        let pairs = problem.data.components().len() as f64 * PAIR;
        let exact = evaluations * pairs.max(problem.denoiser_flops() / FLOP_RATE);
        let trajectory = match experiment.family.linear() {
            None => match &experiment.family {
                Family::LowRank(family) => {
                    let columns: usize = family.ranks.iter().sum();
                    evaluations * 4.0 * dim * columns as f64 / FLOP_RATE
                }
                _ => exact,
            },
            Some(family) => {
                let space = family.features.space_len() as f64;
                let elementary = match family.features.space {
                    SpaceFeatures::Joint(_) => space,
                    // Sets of one coordinate go from one feature to the next by a recurrence.
                    SpaceFeatures::Product(_) | SpaceFeatures::Additive(_) => dim,
                };
                let flops = 2.0 * dim * space + ELEMENTARY * elementary;
                evaluations * flops / CONTRACTION_RATE
            }
        };
        Self {
            experiment,
            dim,
            exact,
            trajectory,
        }
    }

    /// So many trajectories.
    fn travel(&self, particles: f64) -> f64 {
        particles * self.trajectory
    }

    fn predict(&self) -> f64 {
        let predict = &self.experiment.predict;
        let reference = match self.experiment.sampler.process {
            Process::PfOde => CLOUD * self.exact,
            Process::ReverseSde { .. } => 0.0,
        };
        match (self.experiment.family.linear(), predict.statistics) {
            (Some(family), Some(kind)) => {
                let methods = predict.methods.iter();
                reference
                    + self.statistics(family, kind)
                    + methods.map(|m| self.method(family, kind, *m)).sum::<f64>()
            }
            _ => {
                let sampled = predict.methods.contains(&Method::GaussianField);
                let draws = if sampled { predict.draws as f64 } else { 0.0 };
                2.0 * reference + draws * self.travel(predict.particles as f64)
            }
        }
    }

    /// The statistics, and the push-forwards that tell the quadrature's error.
    fn statistics(&self, family: &Linear, kind: StatisticsKind) -> f64 {
        let problem = &self.experiment.problem;
        let f = family.features.len() as f64;
        let pairs = self.dim * (self.dim + 1.0) / 2.0;
        let (mut passes, mut products) = (0.0, 0.0);
        let training = self.experiment.training.as_ref();
        let at_ridges =
            kind != StatisticsKind::Sandwich && training.is_some_and(|t| t.time.is_some());
        for level in 0..=SpacePopulation::usual_level(problem, family) {
            // Rounds of the leverages and of each covariance: a form at the nodes and a sum over them.
            let (leverage, covariance) = match (kind, level) {
                (StatisticsKind::Sandwich, _) => (1.0, 1.0),
                (_, 0) => (10.0, 8.0),
                _ => (4.0, 5.0),
            };
            let (leverage, covariances) = match at_ridges {
                false => (leverage, covariance * pairs),
                true => (
                    FLOW_RIDGES * leverage,
                    covariance * (SAME_OUTPUT * self.dim + TWO_OUTPUTS * (pairs - self.dim)),
                ),
            };
            passes += 4.0_f64.powi(level as i32) * 2.0 * (leverage + covariances);
            products += leverage + 2.0 * covariances;
        }
        let pass = SpacePopulation::pass_flops(problem, family);
        let modes = if at_ridges { FLOW_MODES * f } else { f };
        let alone = (passes * pass + products * 2.0 * f * f * modes) / FLOP_RATE;
        let layer = match kind {
            StatisticsKind::QuenchedLayer => self.layer(family),
            _ => 0.0,
        };
        alone + layer + 2.0 * self.travel(CLOUD)
    }

    /// The search for the layer.
    fn layer(&self, family: &Linear) -> f64 {
        let f = family.features.len() as f64;
        let all = self.dim * f;
        let panels = Population::panel_count(&self.experiment.problem, family);
        let sizes = panels.max(2.0).log2().ceil();
        let noise = EIGEN * f.powi(3) + all.powi(3) / 3.0;
        let flops = EIGEN * all.powi(3)
            + ANCHOR_DRAWS * 2.0 * all * all
            + sizes * (noise + PROBE_DRAWS * self.draw_flops(family))
            + SETTLING_DRAWS * (self.draw_flops(family) + 2.0 * f.powi(3));
        let probes = ANCHOR_DRAWS + 2.0 * sizes * PROBE_DRAWS;
        flops / FLOP_RATE + probes * self.travel(PROBE)
    }

    /// One draw of the weights given a layer.
    fn draw_flops(&self, family: &Linear) -> f64 {
        let f = family.features.len() as f64;
        let (problem, samples) = (
            &self.experiment.problem,
            self.experiment.training.as_ref().map_or(0, |t| t.samples),
        );
        let coarsest = Population::coarsest_nodes(problem, family);
        if let Some(nodes) = flow_nodes(self.experiment, coarsest) {
            return FlowEquivalent::draw_flops(nodes as f64, problem.dim(), FLOW_MODES * f);
        }
        let rows = LAYER_SHARE * samples as f64;
        let solve = match rows <= f / 4.0 {
            true => 2.0 * rows * f * f + rows * rows * f,
            false => rows * f * f + f.powi(3) / 3.0,
        };
        solve + 8.0 * self.dim * f * f + 2.0 * (self.dim * f).powi(2)
    }

    fn method(&self, family: &Linear, kind: StatisticsKind, method: Method) -> f64 {
        let predict = &self.experiment.predict;
        let all = self.dim * family.features.len() as f64;
        let layered = kind == StatisticsKind::QuenchedLayer;
        let draws = predict.draws as f64;
        let sampled = draws * self.travel(predict.particles as f64);
        match method {
            Method::MeanField if layered => {
                MEAN_DRAWS * self.draw_flops(family) / FLOP_RATE + 3.0 * self.travel(CLOUD)
            }
            Method::MeanField => self.travel(CLOUD),
            Method::Semiclassical => {
                let tangents = evaluations(self.experiment) * 4.0 * all * self.dim;
                let flops = EXPANSIONS * (tangents + 2.0 * self.dim * all * all);
                flops / FLOP_RATE + self.travel(CLOUD)
            }
            Method::GaussianField if layered => {
                draws * self.draw_flops(family) / FLOP_RATE + sampled
            }
            Method::GaussianField => {
                (EIGEN * all.powi(3) + draws * 2.0 * all * all) / FLOP_RATE + sampled
            }
            Method::SampleSum => {
                let training = self.experiment.training.as_ref();
                let samples = training.map_or(0, |t| t.samples);
                let sums = if training.is_some_and(|t| t.time.is_some()) {
                    FLOW_RIDGES
                } else {
                    1.0
                };
                draws * sums * 2.0 * samples as f64 * all / FLOP_RATE + sampled
            }
            _ => 0.0,
        }
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
    let flow = flow_nodes(experiment, memory.nodes);
    let (ridges, modes) = match flow {
        Some(_) => (FLOW_RIDGES, FLOW_MODES * f),
        None => (1.0, f),
    };
    let (passes, factorisations, draw, mean) = match experiment.predict.statistics {
        Some(StatisticsKind::QuenchedLayer) => {
            let draw = match flow {
                Some(nodes) => FlowEquivalent::draw_flops(nodes as f64, 1, modes),
                None => LAYER_SHARE * p * f * f + f.powi(3) / 3.0,
            };
            let factorisations = PASSES + 20.0 * LAYERS;
            (PASSES, factorisations, draw, MEAN_DRAWS_ON_THE_LINE)
        }
        Some(StatisticsKind::Equivalent) => (PASSES, PASSES, 2.0 * f * f, 0.0),
        _ => (10.0, 10.0, 2.0 * f * f, 0.0),
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
        + ridges * passes * pass
        + ridges * factorisations * 2.0 * modes.powi(3) / FLOP_RATE
        + mean * draw / FLOP_RATE
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
