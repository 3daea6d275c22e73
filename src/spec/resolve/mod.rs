//! From raw to typed: fills every default into the raw structs, checks every rule, builds the experiment.

mod data;
mod diffusion;
mod expression;
mod joint;
mod kernel;
mod low_rank;
mod map;
mod model;
mod monte_carlo;
mod output;
mod predict;
mod protocol;
mod sampler;
mod subspaces;
mod training;

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use self::kernel::Expanded;
use super::data_file::FileData;
use super::error::Fault;
use super::fields::{self, refuse};
use super::memory::MemoryEstimate;
use super::path::FieldPath;
use super::raw::{ModelKind, RawSpec};
use crate::experiment::{Experiment, MapOptions, Process, SamplerOptions};
use crate::family::Family;
use crate::monte_carlo::subspace::true_bases;
use crate::problem::{Prediction, Problem};

/// Largest seed: every integer up to here is exact in JSON.
const LARGEST_SEED: u64 = 1 << 53;

/// Resolves the cases of one spec; a data file is read once, and a kernel expanded once on the same data.
pub(super) struct Resolver<'a> {
    default_name: String,
    base_dir: &'a Path,
    files: HashMap<String, FileData>,
    expanded: Expanded,
}

impl<'a> Resolver<'a> {
    /// `source` is the path of the spec, `base_dir` where relative data paths start.
    pub fn new(source: &str, base_dir: &'a Path) -> Self {
        let stem = Path::new(source).file_stem().unwrap_or_default();
        Self {
            default_name: stem.to_string_lossy().into_owned(),
            base_dir,
            files: HashMap::new(),
            expanded: Expanded::default(),
        }
    }

    /// The case in `tree`.
    pub fn resolve(&mut self, tree: &Value) -> Result<ResolvedCase, Fault> {
        let mut raw = fields::deserialize(tree)?;
        let (name, seed) = self.identity(&mut raw)?;
        let data = self.data(&mut raw.data, tree, seed)?;
        let (diffusion, t_min, t_max) = diffusion::resolve(&mut raw.diffusion, tree)?;
        let problem = Problem {
            data,
            diffusion,
            t_min,
            t_max,
        };
        let map = match &mut raw.map {
            Some(raw) => Some(map::resolve(raw, &problem)?),
            None => None,
        };
        let has_model = raw.model.is_some();
        let experiment = match (&map, has_model) {
            (_, true) => modelled(&mut raw, tree, name, seed, problem, &mut self.expanded)?,
            (Some(map), false) => {
                map::require_no_model_tables(&raw)?;
                map::exact_score(name, seed, problem, map)
            }
            (None, false) => return Err(map::require_model()),
        };
        let resolved = serde_json::to_value(&raw)
            .map_err(|e| Fault::at(FieldPath::default(), e.to_string()).allowed("a finite spec"))?;
        Ok(ResolvedCase {
            resolved,
            experiment,
            map,
            has_model,
        })
    }

    fn identity(&self, raw: &mut RawSpec) -> Result<(String, u64), Fault> {
        let name = raw.name.get_or_insert_with(|| self.default_name.clone());
        // The name becomes a directory.
        let legal = |c: char| !c.is_control() && c != '/' && c != '\\';
        let ok = (1..=200).contains(&name.chars().count())
            && name.chars().all(legal)
            && name.trim() == name
            && name != "."
            && name != "..";
        let seed = *raw.seed.get_or_insert(0);
        check("name", ok)?;
        check("seed", seed <= LARGEST_SEED)?;
        Ok((name.clone(), seed))
    }
}

/// One case: its own spec with every default filled in, and what it asks for.
pub(super) struct ResolvedCase {
    pub resolved: Value,
    pub experiment: Experiment,
    pub map: Option<MapOptions>,
    pub has_model: bool,
}

/// The experiment of a spec with a model.
fn modelled(
    raw: &mut RawSpec,
    tree: &Value,
    name: String,
    seed: u64,
    problem: Problem,
    expanded: &mut Expanded,
) -> Result<Experiment, Fault> {
    let low_rank = (raw.model.as_ref()).is_some_and(|m| m.kind == ModelKind::LowRank);
    let output = output::resolve(raw.output.get_or_insert_default(), &problem, low_rank)?;
    let raw_model = raw.model.as_mut().ok_or_else(map::require_model)?;
    let mut family = model::resolve(raw_model, tree, &problem, &output, expanded)?;
    let training = training::resolve(&mut raw.training, tree, &problem, &mut family)?;
    let sampler = sampler::resolve(raw.sampler.get_or_insert_default(), tree, &family)?;
    require_signal(tree, &problem, &family, &sampler)?;
    let raw_monte_carlo = raw.monte_carlo.get_or_insert_default();
    let monte_carlo = monte_carlo::resolve(raw_monte_carlo, &problem, &family, &sampler)?;
    let raw_predict = raw.predict.get_or_insert_default();
    let setting = predict::Setting {
        problem: &problem,
        fluctuates: match &family {
            Family::LowRank(family) => true_bases(&problem, family).is_some(),
            _ => false,
        },
        family: &family,
        training: training.as_ref(),
        sampler: &sampler,
    };
    let predict = predict::resolve(raw_predict, tree, &setting, &monte_carlo, &output)?;
    Ok(Experiment {
        name,
        seed,
        problem,
        family,
        training,
        sampler,
        predict,
        monte_carlo,
        output,
    })
}

/// Refuses the spec's value at `path` unless `ok`.
fn check(path: &str, ok: bool) -> Result<(), Fault> {
    check_at(FieldPath::of(path), ok)
}

fn check_at(path: FieldPath, ok: bool) -> Result<(), Fault> {
    if ok { Ok(()) } else { Err(refuse(path)) }
}

/// A count within `low..=high`.
fn count(path: &str, value: u64, low: u64, high: u64) -> Result<usize, Fault> {
    check(path, (low..=high).contains(&value))?;
    usize::try_from(value).map_err(|_| refuse(FieldPath::of(path)))
}

/// Where the signal is gone (alpha = 0), neither a score nor a noise prediction determines x0, and D_t is infinite.
fn require_signal(
    tree: &Value,
    problem: &Problem,
    family: &Family,
    sampler: &SamplerOptions,
) -> Result<(), Fault> {
    let alpha = problem.diffusion.alpha(problem.t_max);
    let predicts = family.linear().map(|l| l.predicts);
    let reason = match (family, sampler.process) {
        (_, Process::ReverseSde { .. }) => "sampler.kind = \"reverse-sde\"",
        _ if predicts == Some(Prediction::Score) => "model.predicts = \"score\"",
        _ if predicts == Some(Prediction::Noise) => "model.predicts = \"noise\"",
        (Family::Naive(n), _) if n.kappa > 0.0 => "model.kappa > 0",
        _ => return Ok(()),
    };
    if alpha >= f64::MIN_POSITIVE {
        return Ok(());
    }
    let path = FieldPath::of("diffusion.t_max");
    let note = match path.get(tree) {
        Some(_) => "",
        None => " (the default)",
    };
    let found = format!("{:?}{note}, where alpha = {alpha:?}", problem.t_max);
    let allowed = match problem.diffusion.name() {
        "flow" => format!("t_max < 1 with {reason}, which needs alpha > 0"),
        _ => format!("a time where alpha > 0, which {reason} needs"),
    };
    Err(Fault::at(path, found).allowed(allowed))
}

/// Refuses what does not fit into `limit` bytes on `threads` threads.
pub(super) fn check_memory(
    experiment: &Experiment,
    threads: usize,
    limit: u64,
) -> Result<(), Fault> {
    let need = MemoryEstimate::of(experiment);
    let total = need.total(threads);
    if total <= limit {
        return Ok(());
    }
    let models = need.models_per_thread().saturating_mul(threads as u64);
    let sampling = need.sampling_per_thread.saturating_mul(threads as u64);
    let rows = need.samples.saturating_mul(need.features);
    let keeps_rows = need.models_per_thread() / (size_of::<f64>() as u64) >= rows;
    let largest = [models, sampling, need.statistics, need.densities]
        .into_iter()
        .fold(0, u64::max);
    let path = if largest == need.densities {
        "output.bins"
    } else if largest == sampling {
        "monte_carlo.particles"
    } else if largest == models && need.samples > need.features && keeps_rows {
        "training.samples"
    } else {
        "model.features"
    };
    let found = format!(
        "a need of {total} bytes (models {models}, sampling {sampling}, statistics {}, densities {})",
        need.statistics, need.densities
    );
    Err(Fault::at(FieldPath::of(path), found).allowed(format!(
        "at most {limit} bytes, the memory that is available (threads: {threads})"
    )))
}
