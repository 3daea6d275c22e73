//! What rival theories say of the case, whatever its family, and when the reverse process decides.

use std::time::Instant;

use serde_json::json;

use crate::experiment::{Experiment, Method};
use crate::problem::Decisions;
use crate::report::result::DECISIONS;
use crate::rivals::{LARGEST_DIMENSION, rival_density};
use crate::run::RunError;
use crate::run::prediction::{Outcome, PredictionSet, failed};

/// Adds the densities of the rival methods asked for, and the speciation and collapse times.
pub(super) fn predict(
    experiment: &Experiment,
    case: usize,
    seed: &dyn Fn(Method) -> u64,
    set: &mut PredictionSet,
) -> Result<(), RunError> {
    for method in experiment.predict.rival_methods() {
        let started = Instant::now();
        let density =
            rival_density(experiment, method, seed(method)).map_err(failed(case, method))?;
        let seconds = started.elapsed().as_secs_f64();
        let Some((estimate, cloud)) = density else {
            continue; // refused by the spec
        };
        set.insert(method, Outcome::read_off(estimate, cloud), seconds);
    }
    if experiment.problem.dim() > LARGEST_DIMENSION {
        return Ok(());
    }
    let points = experiment.training.as_ref().map(|t| t.clean_points());
    let decisions = Decisions::new(&experiment.problem, points);
    set.diagnostics.insert(DECISIONS.into(), json!(decisions));
    Ok(())
}
