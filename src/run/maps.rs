//! The maps of one case.

use super::RunError;
use crate::problem::{Problem, grid_points, noise_share};
use crate::report::result::MapResult;
use crate::spec::Case;

/// Most numbers that a result holds of the data's component means.
const MOST_NUMBERS: usize = 20_000;

/// The maps that a case asks for; `tell` hears how many are done.
pub(super) fn maps(
    case: &Case,
    index: usize,
    mut tell: impl FnMut(u64, u64),
) -> Result<Vec<MapResult>, RunError> {
    let Some(options) = &case.map else {
        return Ok(Vec::new());
    };
    let axes = options.axes();
    let x = grid_points(&axes);
    let total = options.times.len() as u64;
    let mut maps = Vec::with_capacity(options.times.len());
    for t in &options.times {
        tell(maps.len() as u64, total);
        let values = noise_share(&case.experiment.problem, *t, &x);
        if let Some(pixel) = values.iter().position(|v| v.is_nan()) {
            return Err(RunError::Map {
                case: index,
                t: *t,
                x: x.iter()
                    .skip(pixel)
                    .step_by(values.len())
                    .copied()
                    .collect(),
            });
        }
        maps.push(MapResult {
            t: *t,
            axes: axes.clone(),
            values,
        });
    }
    Ok(maps)
}

/// Means of the data's components, so many of them that figures can hold them.
pub(super) fn component_means(problem: &Problem) -> Vec<Vec<f64>> {
    let components = problem.data.components();
    let step = (components.len() * problem.dim()).div_ceil(MOST_NUMBERS);
    let shown = components.iter().step_by(step.max(1));
    shown.map(|c| c.mean.as_slice().to_vec()).collect()
}
