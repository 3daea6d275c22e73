//! The main job: every case of a spec predicted, trained, sampled and compared, resumable at any moment.

mod ahead;
mod case;
mod checkpoint;
mod exact;
mod maps;
mod networks;
mod predict;
mod prediction;
mod readouts;
mod subspaces;
mod trust;

pub use ahead::work_ahead;
pub use checkpoint::Checkpoints;
pub use predict::predict_case;
pub use prediction::{Closure, Grow, Prediction, PredictionSet};

use checkpoint::CaseKeys;
use thiserror::Error;

use crate::density::DensityError;
use crate::monte_carlo::EnsembleError;
use crate::problem::DataError;
use crate::report::result::CaseResult;
use crate::spec::Spec;
use crate::statistics::StatisticsError;

/// Which parts of the job to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    pub predict: bool,
    pub train: bool,
}

/// Where the run stands. Sent often: the receiver limits its own rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Index of the case, from 0, and number of cases.
    pub case: usize,
    pub cases: usize,
    /// What is being computed.
    pub part: &'a str,
    /// Members done and to do.
    pub done: u64,
    pub total: u64,
}

/// Why a run ended early.
#[derive(Debug, Error)]
pub enum RunError {
    #[error("case {case}: statistics: {source}")]
    Statistics {
        case: usize,
        source: StatisticsError,
    },
    #[error("case {case}: {part}: {source}")]
    Density {
        case: usize,
        part: String,
        source: DensityError,
    },
    #[error("case {case}: data sets: {source}")]
    DataSets { case: usize, source: DataError },
    #[error("case {case}: monte-carlo: {source}")]
    Ensemble { case: usize, source: EnsembleError },
    #[error("checkpoint {path}: {source}")]
    Checkpoint {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "case {case}: the map at t = {t} is not a number at x = {x:?}: data or range of extreme size"
    )]
    Map { case: usize, t: f64, x: Vec<f64> },
    #[error("case {case}: {density} has a mass that is not finite or not a probability ({value})")]
    Mass {
        case: usize,
        density: String,
        value: f64,
    },
}

/// Runs all cases in order. What was finished before (in `checkpoints`) is taken over with the same bits.
pub fn run(
    spec: &Spec,
    parts: Parts,
    checkpoints: &Checkpoints,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<CaseResult>, RunError> {
    let cases = spec.cases.len();
    let mut results = Vec::with_capacity(cases);
    let all: Vec<CaseKeys> = spec.cases.iter().map(|c| CaseKeys::new(c, parts)).collect();
    for (index, (case, keys)) in spec.cases.iter().zip(&all).enumerate() {
        let result = match checkpoints.load::<CaseResult>(&keys.finished) {
            Some(done) => done,
            None => {
                let mut context = case::Context {
                    index,
                    cases,
                    checkpoints,
                    keys,
                    progress: &mut *progress,
                };
                let result = context.run(case, parts)?;
                checkpoints.save(&keys.finished, &result)?;
                result
            }
        };
        // Cases that differ only in what is predicted share one ensemble: it stays until the last of them is done.
        let shared = all[index + 1..]
            .iter()
            .any(|later| later.monte_carlo == keys.monte_carlo);
        checkpoints.forget(&keys.partial(shared));
        results.push(result);
    }
    Ok(results)
}
