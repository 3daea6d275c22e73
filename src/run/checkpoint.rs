//! What survives a kill: finished cases and the state of running ensembles, as small files written whole.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Parts, RunError};
use crate::experiment::Method;
use crate::numerics::hash::fnv1a;
use crate::report::result::MONTE_CARLO;
use crate::report::write_atomic;
use crate::spec::Case;

/// A folder of checkpoints, or none at all (library use, tests).
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: Option<PathBuf>,
}

impl Checkpoints {
    /// Keeps checkpoints in `folder`, created on first use.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            folder: Some(folder.to_path_buf()),
        }
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self { folder: None }
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|f| f.join(format!("{key}.json")))
    }

    /// A stored state; `None` when there is none or it cannot be read (then the work is simply done again).
    pub(super) fn load<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let text = std::fs::read(self.path(key)?).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Stores a state, replacing the one before at once.
    pub(super) fn save<T: Serialize>(&self, key: &str, state: &T) -> Result<(), RunError> {
        let Some(path) = self.path(key) else {
            return Ok(());
        };
        let failed = |source| RunError::Checkpoint {
            path: path.display().to_string(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = serde_json::to_vec(state).map_err(|e| failed(e.into()))?;
        write_atomic(&path, &text).map_err(failed)
    }

    pub(super) fn forget(&self, keys: &[String]) {
        for path in keys.iter().filter_map(|k| self.path(k)) {
            // A checkpoint that stays behind costs space only.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Removes the checkpoints once the whole result is written, and the folder if nothing else is in it.
    pub fn clear(&self) {
        let Some(folder) = &self.folder else {
            return;
        };
        // What stays behind costs space only.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_checkpoint) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let _ = std::fs::remove_dir(folder);
    }
}

const FINISHED: &str = "case";
/// Methods that grow an ensemble.
const SAMPLED: [Method; 2] = [Method::GaussianField, Method::SampleSum];

/// Is this the name of a checkpoint, or of the temporary file that becomes one?
fn is_checkpoint(name: &str) -> bool {
    let stem = match name.strip_prefix('.') {
        Some(hidden) => hidden
            .split_once(".json.")
            .filter(|_| hidden.ends_with(".tmp"))
            .map(|(stem, _)| stem),
        None => name.strip_suffix(".json"),
    };
    stem.and_then(|stem| stem.split_once('-'))
        .is_some_and(|(hash, part)| {
            hash.len() == 16
                && hash.bytes().all(|b| b.is_ascii_hexdigit())
                && (part == FINISHED
                    || part == MONTE_CARLO
                    || SAMPLED.iter().any(|m| m.name() == part))
        })
}

/// Names of one case's checkpoints: a hash of its resolved spec and of the program's version, so that a changed spec
/// never continues from another's state. The ensemble of models does not depend on what is predicted: cases that differ
/// only in that share it.
pub(super) struct CaseKeys {
    pub finished: String,
    pub monte_carlo: String,
    hash: u64,
}

impl CaseKeys {
    pub fn new(case: &Case, parts: Parts) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let (assignments, resolved) = (&case.assignments, &case.resolved);
        let hash = fnv1a(format!("{version} {parts:?} {assignments:?} {resolved}").as_bytes());
        let trained = fnv1a(format!("{version} {}", models_of(case)).as_bytes());
        Self {
            finished: format!("{hash:016x}-{FINISHED}"),
            monte_carlo: format!("{trained:016x}-{MONTE_CARLO}"),
            hash,
        }
    }

    /// The draws of a sampled prediction.
    pub fn sampled(&self, method: Method) -> String {
        format!("{:016x}-{}", self.hash, method.name())
    }

    /// What a finished case no longer needs.
    pub fn partial(&self, keep_models: bool) -> Vec<String> {
        let models = (!keep_models).then(|| self.monte_carlo.clone());
        SAMPLED
            .map(|method| self.sampled(method))
            .into_iter()
            .chain(models)
            .collect()
    }
}

/// What defines a case's ensemble of models: all but what is predicted.
fn models_of(case: &Case) -> Value {
    let mut models = case.resolved.clone();
    if let Some(sections) = models.as_object_mut() {
        sections.retain(|name, _| !["predict", "sweep", "name"].contains(&name.as_str()));
    }
    models
}

/// Do two cases have the same ensemble of models?
pub(super) fn share_models(a: &Case, b: &Case) -> bool {
    models_of(a) == models_of(b)
}

/// Seed of one stochastic part of a case. It depends on the spec's seed and on what defines the trained models, not on
/// how they are sampled, how many there are or what else is swept: a case has the same models alone and in a sweep, an
/// ensemble can be extended, and two samplers are compared on the same models. Nor does it depend on the objective: models
/// with and without target noise are trained on the same designs, so that what they differ by is the target noise alone.
pub(super) fn part_seed(case: &Case, part: &str) -> u64 {
    let section = |name: &str| case.resolved.get(name).cloned().unwrap_or(Value::Null);
    let mut training = section("training");
    if let Some(objective) = training.get_mut("objective") {
        *objective = "dsm".into();
    }
    let identity = format!(
        "{} {} {} {} {} {part}",
        case.experiment.seed,
        section("data"),
        section("diffusion"),
        section("model"),
        training,
    );
    fnv1a(identity.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::Rng;

    use super::*;
    use crate::family::Family;
    use crate::monte_carlo::{Trainer, model_rng};
    use crate::spec::{Format, Spec, parse};

    fn spec(sweep: &str) -> Spec {
        let text = format!(
            r#"
            data = {{ kind = "points", points = [[-1.0], [1.0]] }}
            diffusion = {{ kind = "vp" }}
            training = {{ samples = 20 }}
            [model]
            kind = "linear"
            features = [
                {{ of = "x1", kind = "gaussian", count = 3, range = [-1.5, 1.5] }},
                {{ of = "t", kind = "gaussian", count = 3 }},
            ]
            [sweep]
            {sweep}
            "#
        );
        parse(&text, Format::Toml, "spec.toml", Path::new("."), &[], None).unwrap()
    }

    #[test]
    fn objectives_share_their_designs() {
        let spec = spec(r#""training.objective" = ["dsm", "esm"]"#);
        let seeds: Vec<u64> = spec
            .cases
            .iter()
            .map(|c| part_seed(c, MONTE_CARLO))
            .collect();
        assert_eq!(seeds[0], seeds[1]);
        // Both draw as many random numbers per model, so that their samplers start from the same points as well.
        let after_training: Vec<u64> = spec
            .cases
            .iter()
            .zip(&seeds)
            .map(|(case, seed)| {
                let Family::Linear(family) = &case.experiment.family else {
                    panic!("not linear");
                };
                let training = case.experiment.training.as_ref().unwrap();
                let mut rng = model_rng(*seed, 3);
                let mut trainer = Trainer::new(&case.experiment.problem, family, training);
                trainer.train(&mut rng).unwrap();
                rng.next_u64()
            })
            .collect();
        assert_eq!(after_training[0], after_training[1]);
    }

    #[test]
    fn seeds_of_models_with_target_noise_are_those_of_their_section() {
        let spec = spec(r#""training.samples" = [20, 40]"#);
        let seeds: Vec<u64> = spec
            .cases
            .iter()
            .map(|c| part_seed(c, MONTE_CARLO))
            .collect();
        assert_ne!(seeds[0], seeds[1]);
        for (case, seed) in spec.cases.iter().zip(seeds) {
            let [data, diffusion, model, training] =
                ["data", "diffusion", "model", "training"].map(|name| &case.resolved[name]);
            let identity = format!(
                "{} {data} {diffusion} {model} {training} {MONTE_CARLO}",
                spec.seed
            );
            assert_eq!(seed, fnv1a(identity.as_bytes()));
        }
    }
}
