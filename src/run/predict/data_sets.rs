//! Predictions where samples share clean points: averages over drawn data sets, given which samples are fresh
//! (derivations/27-data-sets.md).

use std::collections::BTreeMap;
use std::time::Instant;

use nalgebra::DVector;
use serde_json::json;

use super::linear::{FOLDS, Job};
use super::push::{Push, Pushed};
use crate::compare::total_variation;
use crate::density::{Ensemble, Estimate, Generator, Masses, Member, RandomField};
use crate::experiment::{Experiment, Method};
use crate::family::Linear;
use crate::histogram::Grid;
use crate::numerics::random::stream;
use crate::problem::data_sets;
use crate::run::RunError;
use crate::run::prediction::{Closure, Grow, Outcome, PredictionSet};

/// Stream of the data sets among those of the draws.
const DATA_SETS: u64 = u64::MAX;

/// Computes every method of the case, data set by data set.
pub(super) fn predict(
    experiment: &Experiment,
    family: &Linear,
    generator: &Generator<'_>,
    case: usize,
    count: usize,
    seed: &dyn Fn(Method) -> u64,
    grow: &mut Grow<'_>,
) -> Result<PredictionSet, RunError> {
    let Some(training) = &experiment.training else {
        return Ok(PredictionSet::default()); // refused by the spec: no weights are trained
    };
    let seed_of_layers = seed(Method::GaussianField);
    let mut rng = stream(seed_of_layers, DATA_SETS);
    let sets = data_sets(&experiment.problem.data, training, count, &mut rng)
        .map_err(|source| RunError::DataSets { case, source })?;
    let per_set = experiment.predict.draws_per_data_set();
    let mut averages = Averages::default();
    for (k, data) in sets.into_iter().enumerate() {
        let Some(given) = experiment.given(data) else {
            continue; // not with a number of data sets
        };
        let mut part = PredictionSet::default();
        let seed_of_set = seed_of_layers.wrapping_add(k as u64);
        let job = Job::new(&given, family, generator, case, seed_of_set, &mut part)?;
        let Some(mut job) = job else {
            continue; // refused by the spec, as above
        };
        // Draws are numbered through.
        let all = experiment.predict.draws as u64;
        job.draws = all.min(per_set * (k as u64 + 1));
        averages.add(&job, count, seed, grow, &mut part)?;
        averages.keep(part);
    }
    let push = Push {
        experiment,
        family,
        generator,
        case,
        seed: seed_of_layers,
    };
    let mut set = averages.report(&push)?;
    set.diagnostics.insert(
        "data_sets".into(),
        json!({
            "drawn": count,
            "points_of_the_protocol": training.clean_points(),
            "points_for_fresh_samples": 1.0 / training.sharing_probability(),
        }),
    );
    Ok(set)
}

/// What the data sets come to, one after another.
#[derive(Default)]
struct Averages {
    /// What the first one tells of its statistics; warnings of all.
    set: PredictionSet,
    sets: usize,
    /// Sums of the mean weights of every second data set.
    weights: [Option<DVector<f64>>; 2],
    /// Sum of the densities of the mean weights, where the sampler has them.
    reference: Option<Masses>,
    quadrature: f64,
    closures: Vec<Closure>,
    ensembles: BTreeMap<Method, Ensemble>,
    /// What methods without draws make of each data set.
    solved: BTreeMap<Method, Vec<Estimate>>,
    seconds: BTreeMap<Method, f64>,
}

impl Averages {
    fn add(
        &mut self,
        job: &Job<'_>,
        count: usize,
        seed: &dyn Fn(Method) -> u64,
        grow: &mut Grow<'_>,
        part: &mut PredictionSet,
    ) -> Result<(), RunError> {
        let (reference, quadrature) = job.reference()?;
        self.quadrature += quadrature;
        if let Some(pushed) = reference {
            match &mut self.reference {
                Some(sum) => sum.accumulate(pushed.masses(), 1.0),
                None => self.reference = Some(pushed.masses().clone()),
            }
        }
        // Every data set's draws come after those of the ones before.
        let mut begun = std::mem::take(&mut self.ensembles);
        let mut grow = |method, field: &dyn RandomField, generator: &Generator<'_>, _, total| {
            grow(method, field, generator, begun.remove(&method), total)
        };
        for method in job.experiment.predict.own_methods() {
            let started = Instant::now();
            if method == Method::MeanField {
                let halves = job.mean_weights(count as u64)?;
                let mean = (&halves[0] + &halves[1]) * 0.5;
                match &mut self.weights[self.sets % 2] {
                    Some(sum) => *sum += mean,
                    none => *none = Some(mean),
                }
            } else if let Some(outcome) = job.method(method, seed(method), &mut grow, part)? {
                match outcome.ensemble {
                    Some(draws) => {
                        self.ensembles.insert(method, draws);
                    }
                    None => self
                        .solved
                        .entry(method)
                        .or_default()
                        .push(outcome.estimate),
                }
            }
            *self.seconds.entry(method).or_default() += started.elapsed().as_secs_f64();
        }
        // The effect of the fluctuations is that on the average.
        self.closures
            .extend(job.statistics.closure(Some(0.0)).or(part.closure.take()));
        Ok(())
    }

    fn keep(&mut self, part: PredictionSet) {
        self.set.statistics_seconds += part.statistics_seconds;
        let worst = |known: &mut Option<f64>, new: Option<f64>| {
            *known = known.iter().copied().chain(new).reduce(f64::max);
        };
        worst(&mut self.set.expansion_shift, part.expansion_shift);
        worst(&mut self.set.loops_refused, part.loops_refused);
        for warning in part.warnings {
            if !self.set.warnings.contains(&warning) {
                self.set.warnings.push(warning);
            }
        }
        if self.sets == 0 {
            self.set.diagnostics = part.diagnostics;
        }
        self.sets += 1;
    }

    fn report(mut self, push: &Push<'_>) -> Result<PredictionSet, RunError> {
        let count = self.sets as f64;
        let quadrature = self.quadrature / count;
        let taken = std::mem::take(&mut self.seconds);
        let seconds = |method: Method| taken.get(&method).copied().unwrap_or(0.0);
        let field = self.ensembles.get(&Method::GaussianField);
        let effect = self.reference.take().zip(field).map(|(mut mean, field)| {
            mean.cells.iter_mut().for_each(|m| *m /= count);
            total_variation(&mean, &field.mean())
        });
        for (method, ensemble) in std::mem::take(&mut self.ensembles) {
            let mut outcome = Outcome::sampled(ensemble);
            outcome.estimate.errors.push(("quadrature", quadrature));
            self.set.insert(method, outcome, seconds(method));
        }
        for (method, estimates) in std::mem::take(&mut self.solved) {
            let mut estimate = average(&estimates, &push.generator.readout.grid);
            estimate.errors.push(("quadrature", quadrature));
            self.set.insert(method, estimate, seconds(method));
        }
        let started = Instant::now();
        if let Some(pushed) = self.mean_field(push)? {
            if pushed.folds {
                self.set.warnings.push(FOLDS.into());
            }
            let mut outcome = Outcome::from(pushed);
            outcome.estimate.errors.push(("quadrature", quadrature));
            let seconds = seconds(Method::MeanField) + started.elapsed().as_secs_f64();
            self.set.insert(Method::MeanField, outcome, seconds);
        }
        self.set.closure = Closure::average(&self.closures, effect);
        Ok(self.set)
    }

    /// The push-forward of the mean weights over data sets, and over layers where there are any.
    fn mean_field(&mut self, push: &Push<'_>) -> Result<Option<Pushed>, RunError> {
        let [Some(mut even), Some(mut odd)] = std::mem::take(&mut self.weights) else {
            return Ok(None); // not asked for
        };
        if !push.applies() {
            return Ok(None); // refused by the spec
        }
        even /= self.sets.div_ceil(2) as f64;
        odd /= (self.sets / 2) as f64;
        push.of_halves(&[even, odd]).map(Some)
    }
}

/// The average of densities of one grid, with their errors as if they had one cause, and what so few of them leave uncertain as if they
/// were independent.
fn average(all: &[Estimate], grid: &Grid) -> Estimate {
    let mut ensemble = Ensemble::new(grid.clone());
    let mut errors: Vec<(&'static str, f64)> = Vec::new();
    for estimate in all {
        ensemble.add(&Member::of(estimate.masses.clone()));
        for (name, error) in &estimate.errors {
            let share = error / all.len() as f64;
            match errors.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += share,
                None => errors.push((*name, share)),
            }
        }
    }
    errors.push(("data sets", ensemble.noise_floor().mean.tv));
    Estimate {
        masses: ensemble.mean(),
        errors,
    }
}
