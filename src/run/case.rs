//! One case: densities of the theory, the Monte Carlo ensemble, and their comparison.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::checkpoint::{CaseKeys, Checkpoints, part_seed};
use super::predict::predict_case;
use super::prediction::PredictionSet;
use super::readouts::Readings;
use super::{Parts, Progress, RunError, exact, maps, networks, subspaces, trust};
use crate::compare::{BandAgreement, Distances, Gap, bootstrap_error};
use crate::density::{
    Ensemble, Estimate, Generator, Masses, RandomField, cloud_density, cloud_estimate, mean_field,
    noised_cloud, noised_data,
};
use crate::experiment::{Experiment, Method};
use crate::family::{ExactDenoiser, Family};
use crate::histogram::Grid;
use crate::monte_carlo::{EnsembleError, MonteCarlo};
use crate::readout::{MemorisedBins, Readout};
use crate::report::recovery::SUBSPACES;
use crate::report::result::{
    CaseResult, ComparisonResult, DATA, DensityResult, MEMORISED, MONTE_CARLO, Measured,
    NumberResult, PF_ODE,
};
use crate::spec::Case;

/// How often a growing ensemble is written down.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);

/// Evaluations of one component that the exact score's clouds may cost, and the least points of each cloud. An evaluation counts
/// several times where it takes many flops.
const EXACT_EVALUATIONS: usize = 1 << 20;
const FLOPS: f64 = 1024.0;
const FEWEST_POINTS: usize = 512;

/// Surroundings of one case's run.
pub(super) struct Context<'a> {
    pub index: usize,
    pub cases: usize,
    pub checkpoints: &'a Checkpoints,
    pub keys: &'a CaseKeys,
    pub progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Context<'_> {
    pub fn run(&mut self, case: &Case, parts: Parts) -> Result<CaseResult, RunError> {
        let mut result = match case.has_model {
            true => self.densities(case, parts)?,
            false => CaseResult::empty(case.assignments.clone()),
        };
        if parts.predict {
            result.maps = maps::maps(case, self.index, |done, total| {
                self.tell("maps", done, total);
            })?;
        }
        let problem = &case.experiment.problem;
        if (problem.dim() > 1 && !result.densities.is_empty()) || !result.maps.is_empty() {
            result.means = maps::component_means(problem);
        }
        Ok(result)
    }

    /// All that is predicted and trained of a model.
    fn densities(&mut self, case: &Case, parts: Parts) -> Result<CaseResult, RunError> {
        if !case.experiment.output.has_densities() {
            let mut result = CaseResult::empty(case.assignments.clone());
            if parts.train {
                self.subspaces(case, &mut result)?;
            }
            return Ok(result);
        }
        let generator = Generator::new(&case.experiment);
        let grid = &generator.readout.grid;
        let references = self.references(case, &generator)?;
        let mut readings = Readings::new(&generator.readout);
        let mut result = CaseResult {
            edges: grid.edges(),
            ..CaseResult::empty(case.assignments.clone())
        };
        for reference in &references {
            let entry = DensityResult {
                error: reference.error,
                ..DensityResult::of(&reference.masses, grid)
            };
            result.densities.insert(reference.name.to_owned(), entry);
            if let Some(cloud) = &reference.cloud {
                readings.insert(reference.name, cloud);
            }
        }
        let mut predictions = PredictionSet::default();
        if parts.predict {
            predictions = self.predict(case)?;
            self.report_predictions(case, &predictions, grid, &mut result);
            for (method, prediction) in &predictions.by_method {
                if let Some(ensemble) = prediction.read() {
                    readings.insert(method.name(), ensemble);
                }
            }
        }
        let trained = match parts.train {
            true => Some(self.monte_carlo(case)?),
            false => None,
        };
        if let Some(ensemble) = &trained {
            report_ensemble(ensemble, grid, &mut result);
            compare(&predictions, ensemble, grid, &mut result);
            readings.insert(MONTE_CARLO, ensemble);
            self.tell("networks", 0, 1);
            let seed = part_seed(case, MONTE_CARLO);
            if let Some(described) = networks::describe(&case.experiment, seed) {
                let described = described.map_err(|source| RunError::Ensemble {
                    case: self.index,
                    source: EnsembleError::Network { index: 0, source },
                })?;
                result.diagnostics.insert("networks".into(), described);
            }
            self.subspaces(case, &mut result)?;
        }
        readings.report(&mut result);
        if let Some(memorised) = MemorisedBins::new(&case.experiment.problem, generator.bins()) {
            add_memorised_fraction(&mut result, &memorised, &predictions, trained.as_ref());
        }
        if let Some(jitter) = jitter(&case.experiment) {
            result.diagnostics.insert("jitter".into(), jitter);
        }
        exact::describe(
            &case.experiment,
            part_seed(case, "start-weights"),
            &mut result,
        );
        self.check(&result)?;
        Ok(result)
    }

    /// How well models of low rank recover the true subspaces.
    fn subspaces(&mut self, case: &Case, result: &mut CaseResult) -> Result<(), RunError> {
        let started = Instant::now();
        let seed = part_seed(case, MONTE_CARLO);
        let Some(described) = subspaces::describe(&case.experiment, seed) else {
            return Ok(());
        };
        let described = described.map_err(|source| RunError::Ensemble {
            case: self.index,
            source,
        })?;
        result
            .diagnostics
            .insert(SUBSPACES.into(), json!(described));
        if result.densities.is_empty() {
            result.seconds.train = started.elapsed().as_secs_f64();
        }
        Ok(())
    }

    fn tell(&mut self, part: &str, done: u64, total: u64) {
        (self.progress)(Progress {
            case: self.index,
            cases: self.cases,
            part,
            done,
            total,
        });
    }

    /// The noised data and the exact score's push-forward, through the case's own scheme.
    fn references(
        &mut self,
        case: &Case,
        generator: &Generator<'_>,
    ) -> Result<Vec<Reference>, RunError> {
        self.tell("references", 0, 1);
        let problem = &case.experiment.problem;
        let failed = |source| RunError::Density {
            case: self.index,
            part: PF_ODE.into(),
            source,
        };
        let model = ExactDenoiser { problem };
        if problem.dim() > 1 {
            let seed = part_seed(case, PF_ODE);
            // Every evaluation sums over all components.
            let components = problem.data.components().len();
            let costly = (problem.denoiser_flops() / (FLOPS * components as f64)).max(1.0);
            let points = (EXACT_EVALUATIONS as f64 / (components as f64 * costly)) as usize;
            let exact = cloud_density(generator, &model, points.max(FEWEST_POINTS), seed)
                .map_err(failed)?;
            let data =
                noised_cloud(problem, problem.t_min, &generator.readout, seed).map_err(failed)?;
            return Ok(vec![
                Reference::cloud(DATA, data),
                Reference::cloud(PF_ODE, exact),
            ]);
        }
        let bins = generator.bins();
        let (exact, _) = mean_field(generator.flow(), &model, bins).map_err(failed)?;
        let data = noised_data(problem, problem.t_min, bins);
        Ok(vec![
            Reference {
                name: DATA,
                masses: data,
                error: None,
                cloud: None,
            },
            Reference::line(PF_ODE, &exact),
        ])
    }

    fn predict(&mut self, case: &Case) -> Result<PredictionSet, RunError> {
        self.tell("statistics", 0, 1);
        let index = self.index;
        let seed = |method: Method| part_seed(case, method.name());
        let block = case.experiment.predict.draws_per_data_set();
        predict_case(
            &case.experiment,
            index,
            &seed,
            &mut |method, field, generator, begun, draws| {
                let stored = || self.stored(&self.keys.sampled(method), &generator.readout, block);
                let begun = begun.unwrap_or_else(stored);
                self.sampled(method, field, generator, begun, draws)
            },
        )
    }

    fn sampled(
        &mut self,
        method: Method,
        field: &dyn RandomField,
        generator: &Generator<'_>,
        begun: Ensemble,
        draws: u64,
    ) -> Result<Ensemble, RunError> {
        let key = self.keys.sampled(method);
        let index = self.index;
        let wrap = |source| RunError::Density {
            case: index,
            part: method.name().into(),
            source,
        };
        self.grow(
            method.name(),
            &key,
            begun,
            draws,
            || (),
            |(), i| field.member(generator, i).map_err(wrap),
        )
    }

    fn monte_carlo(&mut self, case: &Case) -> Result<Ensemble, RunError> {
        let key = self.keys.monte_carlo.clone();
        let monte_carlo = MonteCarlo::new(&case.experiment, part_seed(case, MONTE_CARLO));
        let begun = self.stored(&key, monte_carlo.readout(), 1);
        let index = self.index;
        let wrap = |source: EnsembleError| RunError::Ensemble {
            case: index,
            source,
        };
        self.grow(
            MONTE_CARLO,
            &key,
            begun,
            case.experiment.monte_carlo.models as u64,
            || monte_carlo.scratch(),
            |scratch, i| monte_carlo.member(scratch, i).map_err(wrap),
        )
    }

    /// An ensemble at its last checkpoint, or an empty one of such blocks.
    fn stored(&self, key: &str, readout: &Readout, block: u64) -> Ensemble {
        let empty = || Ensemble::with_values(readout.grid.clone(), readout.len()).in_blocks(block);
        self.checkpoints.load(key).unwrap_or_else(empty)
    }

    /// Grows an ensemble, writing a checkpoint every now and then.
    fn grow<S>(
        &mut self,
        part: &str,
        key: &str,
        mut ensemble: Ensemble,
        total: u64,
        init: impl Fn() -> S + Sync,
        make: impl Fn(&mut S, u64) -> Result<crate::density::Member, RunError> + Sync,
    ) -> Result<Ensemble, RunError> {
        let mut saved = Instant::now();
        self.tell(part, ensemble.members().min(total), total);
        let outcome = ensemble.extend(total, init, make, |state| {
            self.tell(part, state.members(), total);
            if saved.elapsed() >= CHECKPOINT_INTERVAL || state.members() == total {
                self.checkpoints.save(key, state)?;
                saved = Instant::now();
            }
            Ok(())
        });
        outcome.map(|()| ensemble)
    }

    fn report_predictions(
        &self,
        case: &Case,
        set: &PredictionSet,
        grid: &Grid,
        result: &mut CaseResult,
    ) {
        for (method, prediction) in &set.by_method {
            let name = method.name().to_owned();
            let mut entry = DensityResult {
                error: Some(prediction.estimate.error()),
                ..DensityResult::of(&prediction.estimate.masses, grid)
            };
            if let Some(ensemble) = &prediction.ensemble {
                add_bands(&mut entry, ensemble);
            }
            result.densities.insert(name.clone(), entry);
            if let Some(ensemble) = &prediction.ensemble {
                add_gap_mass(result, &name, ensemble);
            }
            result.seconds.predict.insert(name, prediction.seconds);
        }
        if set.statistics_seconds > 0.0 {
            result
                .seconds
                .predict
                .insert("statistics".into(), set.statistics_seconds);
        }
        result.trust = trust::assess(&case.experiment, set);
        result.recommended = trust::recommend(set);
        result.diagnostics.extend(set.diagnostics.clone());
        if !set.warnings.is_empty() {
            result
                .diagnostics
                .insert("warnings".into(), json!(set.warnings));
        }
    }

    /// Every density is a probability distribution, or the run fails here.
    fn check(&self, result: &CaseResult) -> Result<(), RunError> {
        for (name, d) in &result.densities {
            let total = d.mass.iter().sum::<f64>() + d.outside;
            let worst = d
                .mass
                .iter()
                .chain([&d.outside])
                .copied()
                .find(|m| !(m.is_finite() && *m >= 0.0));
            let value = worst.or(((total - 1.0).abs() > 1e-9 || total.is_nan()).then_some(total));
            if let Some(value) = value {
                return Err(RunError::Mass {
                    case: self.index,
                    density: name.clone(),
                    value,
                });
            }
        }
        Ok(())
    }
}

/// A density that predictions are seen against.
struct Reference {
    name: &'static str,
    masses: Masses,
    error: Option<f64>,
    /// D >= 2: the clouds that it was read off.
    cloud: Option<Ensemble>,
}

impl Reference {
    fn line(name: &'static str, estimate: &Estimate) -> Self {
        Self {
            name,
            masses: estimate.masses.clone(),
            error: Some(estimate.error()),
            cloud: None,
        }
    }

    fn cloud(name: &'static str, cloud: Ensemble) -> Self {
        let estimate = cloud_estimate(&cloud);
        Self {
            cloud: Some(cloud),
            ..Self::line(name, &estimate)
        }
    }
}

/// The ridge that was asked for and the one that was taken, where rounding asks for more (D22.15).
fn jitter(experiment: &Experiment) -> Option<Value> {
    let training = experiment.training.as_ref()?;
    let (Family::Kernel(family), None) = (&experiment.family, training.time) else {
        return None;
    };
    let taken = family.ridge(&experiment.problem, training);
    (taken > training.ridge).then(|| json!({ "asked": training.ridge, "taken": taken }))
}

/// The gap mass of an ensemble's mean with its standard error. Bins are correlated over models, so the standard errors of
/// the bins do not give it.
fn add_gap_mass(result: &mut CaseResult, name: &str, ensemble: &Ensemble) {
    let Some(gap) = result
        .densities
        .get(DATA)
        .map(|data| Gap::of(&data.masses()))
    else {
        return;
    };
    let Some(entry) = result.densities.get_mut(name) else {
        return;
    };
    let replicates: Vec<f64> = ensemble.replicates().iter().map(|r| gap.mass(r)).collect();
    entry.gap_mass = Some(gap.mass(&ensemble.mean()));
    entry.gap_mass_se = bootstrap_error(&replicates);
    entry.gap_mass_replicates = replicates;
}

/// The memorised fraction of every density on the line, with the standard error of those that are means over models.
fn add_memorised_fraction(
    result: &mut CaseResult,
    bins: &MemorisedBins,
    predictions: &PredictionSet,
    trained: Option<&Ensemble>,
) {
    let predicted = predictions.by_method.iter();
    let predicted = predicted.map(|(method, p)| (method.name(), p.ensemble.as_ref()));
    let ensembles: BTreeMap<&str, &Ensemble> = predicted
        .chain([(MONTE_CARLO, trained)])
        .filter_map(|(name, ensemble)| Some((name, ensemble?)))
        .collect();
    let measured = |name: &str, density: &DensityResult| Measured {
        value: bins.mass(&density.masses()),
        se: ensembles.get(name).and_then(|ensemble| {
            let replicates = ensemble.replicates();
            bootstrap_error(&replicates.iter().map(|r| bins.mass(r)).collect::<Vec<_>>())
        }),
    };
    let values = result.densities.iter();
    result.numbers.push(NumberResult {
        name: MEMORISED.to_owned(),
        values: values
            .map(|(name, density)| (name.clone(), measured(name, density)))
            .collect(),
    });
}

fn add_bands(entry: &mut DensityResult, ensemble: &Ensemble) {
    entry.se = Some(ensemble.standard_error());
    entry.models = Some(ensemble.members() as usize);
    for (name, q) in [("0.25", 0.25), ("0.5", 0.5), ("0.75", 0.75)] {
        entry.quantiles.insert(name.into(), ensemble.quantile(q));
    }
}

fn report_ensemble(ensemble: &Ensemble, grid: &Grid, result: &mut CaseResult) {
    let floor = ensemble.noise_floor();
    let mut entry = DensityResult {
        error: Some(ensemble.unresolved()),
        ..DensityResult::of(&ensemble.mean(), grid)
    };
    add_bands(&mut entry, ensemble);
    result.densities.insert(MONTE_CARLO.into(), entry);
    add_gap_mass(result, MONTE_CARLO, ensemble);
    (result.seconds.train, result.seconds.sample) = ensemble.seconds();
    result.diagnostics.insert(
        MONTE_CARLO.into(),
        json!({
            "tv_floor": floor.mean.tv,
            "tv_floor_95": floor.tv_95,
            "share_of_folded_maps": ensemble.folded(),
            "unresolved_mass": ensemble.unresolved(),
        }),
    );
}

/// Distances of every prediction, and of the exact score's push-forward as the baseline, from the Monte Carlo mean.
fn compare(set: &PredictionSet, ensemble: &Ensemble, grid: &Grid, result: &mut CaseResult) {
    let (mean, floor) = (ensemble.mean(), ensemble.noise_floor());
    let baseline = result.densities.get(PF_ODE).map(DensityResult::masses);
    let predicted = set
        .by_method
        .iter()
        .map(|(method, p)| (method.name(), p.estimate.masses.clone()));
    let all: Vec<(&str, Masses)> = predicted
        .chain(baseline.map(|masses| (PF_ODE, masses)))
        .collect();
    for (name, masses) in all {
        let bands = band_agreement(result, name);
        result.comparisons.push(ComparisonResult {
            bands_within: bands.map(|b| b.within),
            bands_bins: bands.map(|b| b.bins),
            ..ComparisonResult::of(name, &Distances::between(&masses, &mean, grid), &floor)
        });
    }
}

/// The bands of a prediction against those of Monte Carlo, where both have them.
fn band_agreement(result: &CaseResult, predicted: &str) -> Option<BandAgreement> {
    let reference = result.densities.get(MONTE_CARLO)?;
    let predicted = result.densities.get(predicted)?.quartiles()?;
    BandAgreement::between(predicted, reference.quartiles()?, &reference.mass)
}
