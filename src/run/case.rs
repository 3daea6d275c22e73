//! One case: densities of the theory, the Monte Carlo ensemble, and their comparison.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::checkpoint::{CaseKeys, Checkpoints, part_seed};
use super::predict::predict_case;
use super::prediction::PredictionSet;
use super::{Parts, Progress, RunError, trust};
use crate::compare::{BandAgreement, Distances, Gap, NoiseFloor, bootstrap_error};
use crate::density::{Bins, Ensemble, Generator, Masses, RandomField, mean_field, noised_data};
use crate::experiment::Method;
use crate::family::ExactDenoiser;
use crate::monte_carlo::{EnsembleError, MonteCarlo};
use crate::report::result::{
    CaseResult, ComparisonResult, DATA, DensityResult, MONTE_CARLO, PF_ODE, Seconds,
};
use crate::spec::Case;

/// How often a growing ensemble is written down.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);

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
        let generator = Generator::new(&case.experiment);
        let bins = generator.bins;
        let mut result = CaseResult {
            case: case.assignments.clone(),
            edges: vec![bins.edges()],
            densities: self.references(case, &generator)?,
            trust: BTreeMap::new(),
            recommended: None,
            comparisons: Vec::new(),
            diagnostics: BTreeMap::new(),
            seconds: Seconds::default(),
        };
        let mut predictions = PredictionSet::default();
        if parts.predict {
            predictions = self.predict(case)?;
            self.report_predictions(case, &predictions, &mut result);
        }
        if parts.train {
            let ensemble = self.monte_carlo(case)?;
            report_ensemble(&ensemble, &mut result);
            compare(&predictions, &ensemble, &bins, &mut result);
        }
        self.check(&result)?;
        Ok(result)
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
    ) -> Result<BTreeMap<String, DensityResult>, RunError> {
        self.tell("references", 0, 1);
        let problem = &case.experiment.problem;
        let bins = &generator.bins;
        let (exact, _) = mean_field(problem, generator.flow(), &ExactDenoiser { problem }, bins)
            .map_err(|source| RunError::Density {
                case: self.index,
                part: PF_ODE.into(),
                source,
            })?;
        let data = noised_data(problem, problem.t_min, bins);
        Ok(BTreeMap::from([
            (DATA.to_owned(), density(&data)),
            (
                PF_ODE.to_owned(),
                DensityResult {
                    error: Some(exact.error()),
                    ..density(&exact.masses)
                },
            ),
        ]))
    }

    fn predict(&mut self, case: &Case) -> Result<PredictionSet, RunError> {
        self.tell("statistics", 0, 1);
        let index = self.index;
        let seed = |method: Method| part_seed(case, method.name());
        predict_case(
            &case.experiment,
            index,
            &seed,
            &mut |method, field, generator, draws| self.sampled(method, field, generator, draws),
        )
    }

    fn sampled(
        &mut self,
        method: Method,
        field: &dyn RandomField,
        generator: &Generator<'_>,
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
            generator.bins,
            draws,
            || (),
            |(), i| field.member(generator, i).map_err(wrap),
        )
    }

    fn monte_carlo(&mut self, case: &Case) -> Result<Ensemble, RunError> {
        let key = self.keys.monte_carlo.clone();
        let monte_carlo = MonteCarlo::new(&case.experiment, part_seed(case, MONTE_CARLO));
        let index = self.index;
        let wrap = |source: EnsembleError| RunError::Ensemble {
            case: index,
            source,
        };
        self.grow(
            MONTE_CARLO,
            &key,
            monte_carlo.bins(),
            case.experiment.monte_carlo.models as u64,
            || monte_carlo.scratch(),
            |scratch, i| monte_carlo.member(scratch, i).map_err(wrap),
        )
    }

    /// Grows an ensemble from its last checkpoint, writing a new one every now and then.
    fn grow<S>(
        &mut self,
        part: &str,
        key: &str,
        bins: Bins,
        total: u64,
        init: impl Fn() -> S + Sync,
        make: impl Fn(&mut S, u64) -> Result<crate::density::Member, RunError> + Sync,
    ) -> Result<Ensemble, RunError> {
        let mut ensemble = self
            .checkpoints
            .load::<Ensemble>(key)
            .unwrap_or_else(|| Ensemble::new(bins));
        let mut saved = Instant::now();
        self.tell(part, ensemble.members(), total);
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

    fn report_predictions(&self, case: &Case, set: &PredictionSet, result: &mut CaseResult) {
        for (method, prediction) in &set.by_method {
            let name = method.name().to_owned();
            let mut entry = DensityResult {
                error: Some(prediction.estimate.error()),
                ..density(&prediction.estimate.masses)
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

fn density(masses: &Masses) -> DensityResult {
    let tails = masses.tails();
    DensityResult {
        mass: masses.inside().to_vec(),
        outside: tails[0] + tails[1],
        tails: Some(tails),
        error: None,
        se: None,
        quantiles: BTreeMap::new(),
        models: None,
        gap_mass: None,
        gap_mass_se: None,
        gap_mass_replicates: Vec::new(),
    }
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

fn add_bands(entry: &mut DensityResult, ensemble: &Ensemble) {
    entry.se = Some(ensemble.standard_error());
    entry.models = Some(ensemble.members() as usize);
    for (name, q) in [("0.25", 0.25), ("0.5", 0.5), ("0.75", 0.75)] {
        entry.quantiles.insert(name.into(), ensemble.quantile(q));
    }
}

fn report_ensemble(ensemble: &Ensemble, result: &mut CaseResult) {
    let floor = ensemble.noise_floor();
    let mut entry = DensityResult {
        error: Some(ensemble.unresolved()),
        ..density(&ensemble.mean())
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
fn compare(set: &PredictionSet, ensemble: &Ensemble, bins: &Bins, result: &mut CaseResult) {
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
            ..comparison(name, &Distances::between(&masses, &mean, bins), &floor)
        });
    }
}

/// The bands of a prediction against those of Monte Carlo, where both have them.
fn band_agreement(result: &CaseResult, predicted: &str) -> Option<BandAgreement> {
    let reference = result.densities.get(MONTE_CARLO)?;
    let predicted = result.densities.get(predicted)?.quartiles()?;
    BandAgreement::between(predicted, reference.quartiles()?, &reference.mass)
}

fn comparison(name: &str, distances: &Distances, floor: &NoiseFloor) -> ComparisonResult {
    ComparisonResult {
        predicted: name.into(),
        reference: MONTE_CARLO.into(),
        tv: distances.tv,
        tv_floor: floor.mean.tv,
        tv_floor_95: floor.tv_95,
        w1: distances.w1,
        w1_floor: floor.mean.w1,
        ks: distances.ks,
        ks_floor: floor.mean.ks,
        bands_within: None,
        bands_bins: None,
    }
}
