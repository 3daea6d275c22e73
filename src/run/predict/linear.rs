//! Predictions for linear families: statistics of the weights, then the densities they make.

use std::sync::Arc;
use std::time::Instant;

use nalgebra::DVector;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::expansion::expansion_shift;
use super::push::{Push, Pushed};
use super::{data_sets, saddles};
use crate::action::Action;
use crate::compare::total_variation;
use crate::density::{
    DensityError, Ensemble, GaussianField, Generator, LARGE_PARAMETER, LayerChoice, LayeredField,
    RandomField, SampleSumField, Semiclassical, Sum, choose_layer, cloud_estimate, gap_filling,
    gaussianity, saddle_density, semiclassical, semiclassical_cloud,
};
use crate::experiment::{Experiment, Method, Process, StatisticsKind};
use crate::family::Linear;
use crate::numerics::random::stream;
use crate::problem::{Problem, StartDensity, Training};
use crate::run::RunError;
use crate::run::prediction::{Closure, Grow, LIMITED, Outcome, PredictionSet, failed};
use crate::statistics::{
    Equivalent, FlowEquivalent, FlowSum, KernelStatistics, QuenchedLayer, SampleSum, Sandwich,
    StatisticsError, VKernel, WeightStatistics, equivalent, flow_equivalent, kernel_equivalent,
    kernel_statistics, sandwich,
};

pub(super) const FOLDS: &str =
    "the mean flow map folds: at these step sizes it is no longer monotone in x_T";

/// Change of the statistics at the last refinement beyond which a warning says so.
const COARSE: f64 = 1e-2;

/// Layers that the mean weights are averaged over, in two halves; fewer in more dimensions, where there are more weights.
const MEAN_DRAWS: u64 = 1024;
const MEAN_DRAWS_IN_SPACE: u64 = 256;

/// The statistics a case asks for.
pub(super) enum Statistics<'a> {
    Sandwich(Sandwich),
    /// Of gradient flow, to first order in a sample's influence.
    FirstOrder(Box<KernelStatistics>),
    /// Of gradient flow at any number of samples.
    Flow(Arc<FlowEquivalent<'a>>),
    Equivalent(Box<Equivalent<'a>>),
    Layered {
        equivalent: Box<Equivalent<'a>>,
        choice: Box<LayerChoice<'a>>,
    },
    /// Of gradient flow.
    LayeredFlow {
        equivalent: Arc<FlowEquivalent<'a>>,
        choice: Box<LayerChoice<'a>>,
    },
}

/// Everything the methods share.
pub(super) struct Job<'a> {
    /// The case, or the same with a data set in place of its data: what statistics are solved for.
    pub(super) experiment: &'a Experiment,
    problem: &'a Problem,
    family: &'a Linear,
    training: &'a Training,
    /// Of the case.
    generator: &'a Generator<'a>,
    case: usize,
    seed_of_layers: u64,
    /// Number up to which draws are grown.
    pub(super) draws: u64,
    pub(super) statistics: Statistics<'a>,
}

/// Computes every method of the case.
pub(super) fn predict(
    experiment: &Experiment,
    family: &Linear,
    case: usize,
    seed: &dyn Fn(Method) -> u64,
    grow: &mut Grow<'_>,
) -> Result<PredictionSet, RunError> {
    let generator = Generator::new(experiment).with_particles(experiment.predict.particles);
    if let Some(count) = experiment.predict.data_sets {
        return data_sets::predict(experiment, family, &generator, case, count, seed, grow);
    }
    let mut set = PredictionSet::default();
    let seed_of_layers = seed(Method::GaussianField);
    let Some(job) = Job::new(
        experiment,
        family,
        &generator,
        case,
        seed_of_layers,
        &mut set,
    )?
    else {
        return Ok(set); // refused by the spec: no weights are trained
    };
    let started = Instant::now();
    let (reference, quadrature) = job.reference()?;
    let reference_seconds = started.elapsed().as_secs_f64();
    job.describe_gaussianity(&mut set)?;
    for method in experiment.predict.own_methods() {
        let started = Instant::now();
        let outcome = match (method, &reference) {
            (Method::MeanField, Some(reference)) => Some(job.mean_field(reference, &mut set)?),
            _ => job.method(method, seed(method), grow, &mut set)?,
        };
        let Some(mut outcome) = outcome else {
            continue; // refused by the spec
        };
        outcome.estimate.errors.push(("quadrature", quadrature));
        let mut seconds = started.elapsed().as_secs_f64();
        if method == Method::MeanField {
            seconds += reference_seconds;
        }
        set.insert(method, outcome, seconds);
    }
    let field = set.by_method.get(&Method::GaussianField);
    let effect = (reference.as_ref().zip(field))
        .map(|(mean, field)| total_variation(mean.masses(), &field.estimate.masses));
    set.closure = job.statistics.closure(effect).or(set.closure);
    Ok(set)
}

impl<'a> Job<'a> {
    /// Solves the statistics, and tells of them. `None` for a family without trained weights.
    pub(super) fn new(
        experiment: &'a Experiment,
        family: &'a Linear,
        generator: &'a Generator<'a>,
        case: usize,
        seed_of_layers: u64,
        set: &mut PredictionSet,
    ) -> Result<Option<Self>, RunError> {
        let (Some(training), Some(kind)) = (&experiment.training, experiment.predict.statistics)
        else {
            return Ok(None);
        };
        let started = Instant::now();
        let statistics = Statistics::new(experiment, family, training, kind, seed_of_layers)
            .map_err(|source| RunError::Density {
                case,
                part: "statistics".into(),
                source,
            })?;
        set.statistics_seconds = started.elapsed().as_secs_f64();
        statistics.describe(set, experiment, family, training.samples);
        Ok(Some(Self {
            experiment,
            problem: &experiment.problem,
            family,
            training,
            generator,
            case,
            seed_of_layers,
            draws: experiment.predict.draws as u64,
            statistics,
        }))
    }

    /// Every method but the push-forward of the mean weights; `None` where it does not apply.
    pub(super) fn method(
        &self,
        method: Method,
        seed: u64,
        grow: &mut Grow<'_>,
        set: &mut PredictionSet,
    ) -> Result<Option<Outcome>, RunError> {
        Ok(match method {
            Method::Semiclassical => Some(self.semiclassical(seed, set)?),
            Method::Saddle if self.problem.dim() == 1 => Some(self.saddle(seed, set)?),
            Method::GaussianField => Some(Outcome::sampled(self.gaussian_field(seed, grow, set)?)),
            Method::SampleSum => self.sample_sum(seed, grow)?.map(Outcome::sampled),
            _ => None,
        })
    }

    pub(super) fn push(&self) -> Push<'_> {
        Push {
            experiment: self.experiment,
            family: self.family,
            generator: self.generator,
            case: self.case,
            seed: self.seed_of_layers,
        }
    }

    /// The density of the mean weights without a layer, where the sampler has one, and what the quadrature's last refinement
    /// changes in it: that stands for its error in all densities.
    pub(super) fn reference(&self) -> Result<(Option<Pushed>, f64), RunError> {
        let push = self.push();
        if !push.applies() {
            return Ok((None, self.statistics.change()));
        }
        let (fine, coarse) = self.statistics.quadratures();
        let (fine, coarse) = (push.of(fine)?, push.of(coarse)?);
        let change = total_variation(fine.masses(), coarse.masses());
        Ok((Some(fine), change))
    }

    /// Only the equivalent knows the samples' influences, and only the flow on the line has paths.
    fn describe_gaussianity(&self, set: &mut PredictionSet) -> Result<(), RunError> {
        let (Statistics::Equivalent(equivalent) | Statistics::Layered { equivalent, .. }) =
            &self.statistics
        else {
            return Ok(());
        };
        if self.experiment.sampler.process != Process::PfOde || self.problem.dim() > 1 {
            return Ok(());
        }
        let shape = gaussianity(
            self.problem,
            self.family,
            self.generator.flow(),
            equivalent,
            self.training.samples,
        )
        .map_err(failed(self.case, Method::GaussianField))?;
        set.diagnostics.insert(
            "x0_over_models".into(),
            json!({
                "skewness": shape.skewness,
                "excess_kurtosis": shape.excess_kurtosis,
                "effective_rows": shape.effective_rows,
            }),
        );
        Ok(())
    }

    /// The push-forward of the mean weights: with a layer, of their average over layers, whose two halves tell its noise.
    fn mean_field(&self, reference: &Pushed, set: &mut PredictionSet) -> Result<Outcome, RunError> {
        let pushed = match self.statistics.choice() {
            Some(_) => self.push().of_halves(&self.mean_weights(1)?)?,
            None => reference.clone(),
        };
        if pushed.folds {
            set.warnings.push(FOLDS.into());
        }
        Ok(pushed.into())
    }

    /// Mean weights, twice: over either half of the layers where there are any, a `share`-th of the usual number.
    pub(super) fn mean_weights(&self, share: u64) -> Result<[DVector<f64>; 2], RunError> {
        let Some(choice) = self.statistics.choice() else {
            let mean = self.statistics.quadratures().0;
            return Ok([mean.clone(), mean.clone()]);
        };
        let draws = match self.problem.dim() {
            1 => MEAN_DRAWS,
            _ => MEAN_DRAWS_IN_SPACE,
        };
        let half = (draws / 2).div_ceil(share);
        mean_weights(&choice.layer, half, self.seed_of_layers).map_err(|source| {
            RunError::Statistics {
                case: self.case,
                source,
            }
        })
    }

    /// Refused by the spec where there is a layer.
    fn semiclassical(&self, seed: u64, set: &mut PredictionSet) -> Result<Outcome, RunError> {
        let failed = failed(self.case, Method::Semiclassical);
        let weights = self.statistics.gaussian();
        if self.problem.dim() > 1 {
            let cloud =
                semiclassical_cloud(self.generator, self.family, weights, seed).map_err(failed)?;
            return Ok(Outcome::read_off(cloud_estimate(&cloud), Some(cloud)));
        }
        let solution = semiclassical(
            self.problem,
            self.family,
            self.generator.flow(),
            weights,
            self.experiment.predict.one_loop,
            self.generator.bins(),
        )
        .map_err(failed)?;
        describe_loops(&solution, set);
        Ok(solution.estimate.into())
    }

    /// Refused by the spec where there is a layer, or a scheme without a discretised action.
    fn saddle(&self, seed: u64, set: &mut PredictionSet) -> Result<Outcome, RunError> {
        let kernel = self.kernel()?;
        let failed = failed(self.case, Method::Saddle);
        let weights = self.statistics.gaussian();
        let action = Action::new(&kernel, weights, self.generator.flow(), 1.0)
            .map_err(|e| failed(e.into()))?;
        let start = self.generator.start_density();
        let predict = &self.experiment.predict;
        let bins = self.generator.bins();
        let solution =
            saddle_density(&action, start, predict.starts, seed, bins).map_err(&failed)?;
        saddles::describe(&solution, self.generator.times(), set);
        if let Some(gap) = predict.gap {
            let map = saddles::FillingMap {
                problem: self.problem,
                family: self.family,
                times: self.generator.times(),
                bins,
            };
            let StartDensity::Normal { std } = start else {
                // refused by the spec: the start is one of the Gaussian variables that are optimised
                return Ok(solution.estimate.into());
            };
            match gap_filling(&action, *std, gap, predict.draws, seed) {
                Ok(filling) => saddles::describe_filling(&filling, &kernel, &map, set),
                // The density stands without it.
                Err(
                    refusal @ (DensityError::GapOutOfReach { .. } | DensityError::Optimum { .. }),
                ) => set.warnings.push(format!("predict.gap: {refusal}")),
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(solution.estimate.into())
    }

    /// The V-kernel without a layer.
    fn kernel(&self) -> Result<VKernel<'_>, RunError> {
        VKernel::new(self.problem, self.family, self.statistics.gaussian(), 0.0).map_err(|source| {
            RunError::Statistics {
                case: self.case,
                source,
            }
        })
    }

    fn gaussian_field(
        &self,
        seed: u64,
        grow: &mut Grow<'_>,
        set: &mut PredictionSet,
    ) -> Result<Ensemble, RunError> {
        if let Some(choice) = self.statistics.choice() {
            return self.grow(
                Method::GaussianField,
                &LayeredField::new(&choice.layer, seed),
                grow,
            );
        }
        let weights = self.statistics.gaussian();
        let kernel = self.kernel()?;
        set.diagnostics
            .insert("v_kernel_rank".into(), json!(kernel.rank()));
        let field = GaussianField::new(&kernel, weights, seed);
        self.grow(Method::GaussianField, &field, grow)
    }

    /// `None` where statistics have no sum over samples.
    fn sample_sum(&self, seed: u64, grow: &mut Grow<'_>) -> Result<Option<Ensemble>, RunError> {
        let sum = match &self.statistics {
            Statistics::Equivalent(e) => {
                SampleSum::new(&e.population, &e.coarse, self.training).map(Sum::Ridge)
            }
            Statistics::Flow(flow) => FlowSum::new(flow).map(Sum::Flow),
            _ => return Ok(None),
        }
        .map_err(|source| RunError::Statistics {
            case: self.case,
            source,
        })?;
        let field = SampleSumField::new(sum, self.problem, self.family, seed);
        self.grow(Method::SampleSum, &field, grow).map(Some)
    }

    fn grow(
        &self,
        method: Method,
        field: &dyn RandomField,
        grow: &mut Grow<'_>,
    ) -> Result<Ensemble, RunError> {
        grow(method, field, self.generator, None, self.draws)
    }
}

impl<'a> Statistics<'a> {
    fn new(
        experiment: &'a Experiment,
        family: &'a Linear,
        training: &'a Training,
        kind: StatisticsKind,
        seed: u64,
    ) -> Result<Self, DensityError> {
        let problem = &experiment.problem;
        let tolerance = experiment.predict.tolerance;
        let equivalent = match (experiment.family.kernel(), training.time) {
            (Some(kernel), Some(_)) if kind == StatisticsKind::Sandwich => {
                let flow = kernel_statistics(problem, kernel, training, true)?;
                return Ok(Self::FirstOrder(Box::new(flow)));
            }
            (Some(kernel), Some(time)) => {
                let equivalent = Arc::new(flow_equivalent(problem, kernel, training, time)?);
                if kind == StatisticsKind::Equivalent {
                    return Ok(Self::Flow(equivalent));
                }
                let choice =
                    choose_layer(experiment, family, training, &equivalent, tolerance, seed)?;
                let choice = Box::new(choice);
                return Ok(Self::LayeredFlow { equivalent, choice });
            }
            (Some(kernel), None) => kernel_equivalent(problem, kernel, training)?,
            (None, _) if kind == StatisticsKind::Sandwich => {
                return Ok(Self::Sandwich(sandwich(problem, family, training)?));
            }
            (None, _) => equivalent(problem, family, training)?,
        };
        let equivalent = Box::new(equivalent);
        if kind == StatisticsKind::Equivalent {
            return Ok(Self::Equivalent(equivalent));
        }
        let choice = choose_layer(experiment, family, training, &*equivalent, tolerance, seed)?;
        let choice = Box::new(choice);
        Ok(Self::Layered { equivalent, choice })
    }

    /// The layer, where there is one.
    pub(super) fn choice(&self) -> Option<&LayerChoice<'a>> {
        match self {
            Self::Layered { choice, .. } | Self::LayeredFlow { choice, .. } => Some(choice),
            _ => None,
        }
    }

    /// Mean and covariance without a layer.
    pub(super) fn gaussian(&self) -> &WeightStatistics {
        match self {
            Self::Sandwich(s) => &s.weights,
            Self::FirstOrder(k) => &k.weights,
            Self::Flow(e) | Self::LayeredFlow { equivalent: e, .. } => &e.statistics.weights,
            Self::Equivalent(e) | Self::Layered { equivalent: e, .. } => &e.weights,
        }
    }

    /// Mean weights on the last two quadratures.
    pub(super) fn quadratures(&self) -> (&DVector<f64>, &DVector<f64>) {
        match self {
            Self::Sandwich(s) => (&s.weights.mean, &s.coarser.mean),
            Self::FirstOrder(k) => (&k.weights.mean, &k.coarser.mean),
            Self::Flow(e) | Self::LayeredFlow { equivalent: e, .. } => {
                (&e.statistics.weights.mean, &e.statistics.coarser.mean)
            }
            Self::Equivalent(e) | Self::Layered { equivalent: e, .. } => {
                (&e.weights.mean, &e.coarser.mean)
            }
        }
    }

    /// Relative change of the statistics between the last two quadratures.
    pub(super) fn change(&self) -> f64 {
        match self {
            Self::Sandwich(s) => s.refinement.change,
            Self::FirstOrder(k) => k.refinement.change,
            Self::Flow(e) | Self::LayeredFlow { equivalent: e, .. } => {
                e.statistics.refinement.change
            }
            Self::Equivalent(e) | Self::Layered { equivalent: e, .. } => e.refinement.change,
        }
    }

    /// Without a layer the field's whole effect on the average density, the distance from what the mean weights generate, bounds what
    /// its being Gaussian is off by. `None` of first order, of many samples, or with a layer, where `describe` has told.
    pub(super) fn closure(&self, effect: Option<f64>) -> Option<Closure> {
        match self {
            Self::Flow(flow) => Some(Closure::Kernel {
                effect,
                leverage: flow.statistics.largest_leverage,
            }),
            Self::Equivalent(e) if e.whitening.is_some() => Some(Closure::Kernel {
                effect,
                leverage: e.largest_leverage(),
            }),
            Self::Equivalent(_) => effect.map(|effect| Closure::Gaussian { effect }),
            _ => None,
        }
    }

    fn describe(
        &self,
        set: &mut PredictionSet,
        experiment: &Experiment,
        family: &Linear,
        samples: usize,
    ) {
        match self {
            Self::FirstOrder(k) => describe_kernel(k, "gradient-flow", experiment, set),
            Self::Flow(e) => describe_kernel(&e.statistics, "flow-equivalent", experiment, set),
            Self::LayeredFlow { equivalent, choice } => {
                describe_kernel(&equivalent.statistics, "quenched-layer", experiment, set);
                describe_layer(choice, samples, set);
            }
            Self::Sandwich(s) => describe_sandwich(s, family, samples, set),
            Self::Equivalent(e) => describe_equivalent(e, family, "equivalent", experiment, set),
            Self::Layered {
                equivalent, choice, ..
            } => {
                describe_equivalent(equivalent, family, "quenched-layer", experiment, set);
                describe_layer(choice, samples, set);
            }
        }
    }
}

/// Mean weights over twice `half` draws of a layer, either half by itself.
fn mean_weights(
    layer: &QuenchedLayer<'_>,
    half: u64,
    seed: u64,
) -> Result<[DVector<f64>; 2], StatisticsError> {
    let mean = |first: u64| -> Result<DVector<f64>, StatisticsError> {
        let parts: Result<Vec<DVector<f64>>, StatisticsError> = (first..first + half)
            .into_par_iter()
            .map(|i| Ok(layer.weights(&mut stream(seed, i))?.conditional_mean))
            .collect();
        let parts = parts?;
        let mut sum = DVector::zeros(parts.first().map_or(0, DVector::len));
        for part in &parts {
            sum += part;
        }
        Ok(sum / half as f64)
    };
    Ok([mean(0)?, mean(half)?])
}

/// How far the expansion in V reaches: the corrections' sizes, and where they are refused.
fn describe_loops(solution: &Semiclassical, set: &mut PredictionSet) {
    let mut diagnostics = json!({ "largest_std": solution.largest_std });
    if let Some(loops) = &solution.loops {
        diagnostics["one_loop"] = json!({
            "threshold": LARGE_PARAMETER,
            "refused_share": loops.refused,
            "refused_between": loops.refused_between,
            "largest_mean_correction_over_std": loops.largest_mean_correction,
            "largest_variance_correction_over_variance": loops.largest_variance_correction,
            "largest_skewness": loops.largest_skewness,
        });
        set.loops_refused = Some(loops.refused);
        if loops.refused > 0.0 {
            set.warnings.push(format!(
                "V is too large for the loop corrections at {:.0} % of x_T, which keep the leading order: the mean moves by up to {:.2} standard deviations, the variance by up to {:.2} of itself, where at most {LARGE_PARAMETER} is small; diagnostics.semiclassical says where",
                100.0 * loops.refused,
                loops.largest_mean_correction,
                loops.largest_variance_correction,
            ));
        }
    }
    set.diagnostics.insert("semiclassical".into(), diagnostics);
}

fn describe_sandwich(
    sandwich: &Sandwich,
    family: &Linear,
    samples: usize,
    set: &mut PredictionSet,
) {
    let ratio = sandwich.effective_features / samples as f64;
    set.closure = Some(Closure::LargeSamples {
        feature_ratio: ratio,
    });
    set.diagnostics.insert(
        "statistics".into(),
        json!({
            "kind": "sandwich",
            "features": family.features.len(),
            "effective_features": sandwich.effective_features,
            "effective_features_over_samples": ratio,
            "condition": sandwich.condition,
            "quadrature_nodes": sandwich.refinement.nodes,
            "quadrature_level": sandwich.refinement.level,
            "quadrature_relative_change": sandwich.refinement.change,
        }),
    );
    if ratio > LIMITED {
        set.warnings.push(format!(
            "the sandwich formula holds for many more samples than effective features; here {:.1} features meet {samples} samples",
            sandwich.effective_features
        ));
    }
}

fn describe_kernel(
    kernel: &KernelStatistics,
    kind: &str,
    experiment: &Experiment,
    set: &mut PredictionSet,
) {
    let mut diagnostics = json!({
        "kind": kind,
        "effective_features": kernel.effective_features,
        "largest_leverage": kernel.largest_leverage,
        "quadrature_nodes": kernel.refinement.nodes,
        "quadrature_level": kernel.refinement.level,
        "quadrature_relative_change": kernel.refinement.change,
    });
    if let Some(parts) = &kernel.parts {
        diagnostics["variance"] = json!({
            "target_noise": parts.target_noise,
            "design": parts.design,
            "repeats": parts.repeats,
            "initial": parts.initial,
        });
        set.closure = Some(Closure::FirstOrder {
            leverage: kernel.largest_leverage,
        });
    }
    describe_expansion(&kernel.weights, experiment, &mut diagnostics, set);
    set.diagnostics.insert("statistics".into(), diagnostics);
    warn_if_coarse(kernel.refinement.change, set);
}

/// What a kernel was expanded in, and what that moves its machines by.
fn describe_expansion(
    weights: &WeightStatistics,
    experiment: &Experiment,
    diagnostics: &mut Value,
    set: &mut PredictionSet,
) {
    let Some(family) = experiment.family.kernel() else {
        return;
    };
    set.expansion_shift = expansion_shift(weights, experiment);
    diagnostics["polynomials"] = json!(family.linear.features.len());
    diagnostics["kernel_rank"] = json!(family.factor.ncols());
    diagnostics["kernel_expansion_error"] = json!(family.expansion_error);
    diagnostics["kernel_expansion_shift"] = json!(set.expansion_shift);
}

fn warn_if_coarse(change: f64, set: &mut PredictionSet) {
    if change > COARSE {
        set.warnings.push(format!(
            "the last refinement of the quadrature still changed the trained functions' mean or variance by {:.1} %",
            100.0 * change
        ));
    }
}

fn describe_equivalent(
    equivalent: &Equivalent<'_>,
    family: &Linear,
    kind: &str,
    experiment: &Experiment,
    set: &mut PredictionSet,
) {
    let fine = &equivalent.fine;
    warn_if_coarse(equivalent.refinement.change, set);
    let mut diagnostics = json!({
        "kind": kind,
        "features": family.features.len(),
        "effective_features": fine.effective_features,
        "leverage_iterations": fine.iterations.0,
        "leverage_residual": fine.changes.0,
        "covariance_iterations": fine.iterations.1,
        "covariance_residual": fine.changes.1,
        "covariance_amplification": equivalent.coarse.amplification,
        "quadrature_nodes": equivalent.refinement.nodes,
        "quadrature_level": equivalent.refinement.level,
        "quadrature_relative_change": equivalent.refinement.change,
    });
    if equivalent.whitening.is_some() {
        diagnostics["largest_leverage"] = json!(equivalent.largest_leverage());
        describe_expansion(&equivalent.weights, experiment, &mut diagnostics, set);
    }
    set.diagnostics.insert("statistics".into(), diagnostics);
}

fn describe_layer(choice: &LayerChoice<'_>, samples: usize, set: &mut PredictionSet) {
    set.closure = Some(Closure::Layered {
        error: choice.chosen.error,
        layer: choice.chosen.samples,
        samples,
    });
    let rung = |r: &crate::density::Rung| {
        json!({
            "expected_samples": r.samples,
            "noise_effect_on_single_densities": r.single,
            "estimated_error": r.error,
        })
    };
    set.diagnostics.insert(
        "quenched_layer".into(),
        json!({
            "intervals": choice.layer.intervals(),
            "expected_samples": choice.chosen.samples,
            "estimated_error": choice.chosen.error,
            "noise_effect_without_layer": choice.anchor.average,
            "ladder": choice.ladder.iter().map(rung).collect::<Vec<_>>(),
        }),
    );
}
