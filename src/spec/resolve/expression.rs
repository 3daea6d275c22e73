//! Expressions in a spec: read, with their faults placed.

use crate::spec::error::{Fault, shorten};
use crate::spec::fields::refuse;
use crate::spec::path::FieldPath;
use crate::symbolic::{Expr, parse};

/// Points at which a function of time is looked at, on a logarithmic and on a uniform grid each.
const GRID: usize = 500;

/// Reads the expression at `path`; a missing one is refused.
pub(super) fn required(
    text: Option<&String>,
    path: FieldPath,
    variables: &[&str],
) -> Result<Expr, Fault> {
    match text {
        None => {
            let allowed = refuse(path.clone()).allowed;
            Err(Fault::at(path, "nothing").allowed(allowed))
        }
        Some(text) => read(text, path, variables),
    }
}

/// Reads the expression at `path`.
pub(super) fn read(text: &str, path: FieldPath, variables: &[&str]) -> Result<Expr, Fault> {
    parse(text, variables).map_err(|error| {
        let found = format!(
            "{:?}, in it {} at character {}",
            shorten(text),
            error.found,
            error.position
        );
        Fault::at(path, found).allowed(format!("there: {}", error.allowed))
    })
}

/// Times from t_min to t_max, both included, close together at both ends' scales.
pub(super) fn times(t_min: f64, t_max: f64) -> Vec<f64> {
    let share = |k: usize| k as f64 / GRID as f64;
    let uniform = (0..GRID).map(|k| t_min + (t_max - t_min) * share(k));
    let log = (1..GRID).map(|k| t_min * (t_max / t_min).powf(share(k)));
    let mut times: Vec<f64> = uniform.chain(log).chain([t_max]).collect();
    times.sort_by(f64::total_cmp);
    times
}
