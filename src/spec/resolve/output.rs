//! `[output]`.

use super::{check, check_at, count};
use crate::experiment::{Direction, OutputOptions};
use crate::problem::Problem;
use crate::readout::principal_directions;
use crate::spec::error::Fault;
use crate::spec::path::FieldPath;
use crate::spec::raw::{RawOutput, RawRange};

/// The bins of the densities, which models of low rank may go without.
pub(super) fn resolve(
    raw: &mut RawOutput,
    problem: &Problem,
    low_rank: bool,
) -> Result<OutputOptions, Fault> {
    let dim = problem.dim();
    if raw.densities == Some(false) {
        return without_densities(raw, low_rank);
    }
    let range = ranges(&mut raw.range, problem, FieldPath::of("output.range"))?;
    check("output.bins", raw.bins != Some(0))?;
    let default = if dim == 1 { 60 } else { 30 };
    let bins = count("output.bins", *raw.bins.get_or_insert(default), 1, 10_000)?;
    let directions = directions(raw, problem, &range)?;
    Ok(OutputOptions {
        range,
        bins,
        directions,
    })
}

fn without_densities(raw: &RawOutput, low_rank: bool) -> Result<OutputOptions, Fault> {
    let path = FieldPath::of("output");
    if !low_rank {
        return Err(Fault::value(path.key("densities")).allowed(
            "true unless model.kind = \"low-rank\", whose subspaces are compared besides",
        ));
    }
    for (key, given) in [
        ("range", raw.range.is_some()),
        ("bins", raw.bins.is_some()),
        ("directions", raw.directions.is_some()),
    ] {
        if given {
            return Err(Fault::value(path.key(key)).allowed("nothing with densities = false"));
        }
    }
    Ok(OutputOptions {
        range: Vec::new(),
        bins: 0,
        directions: Vec::new(),
    })
}

/// One range per coordinate, from what is written at `path` or from the data.
pub(super) fn ranges(
    raw: &mut Option<RawRange>,
    problem: &Problem,
    path: FieldPath,
) -> Result<Vec<(f64, f64)>, Fault> {
    let dim = problem.dim();
    let range: Vec<(f64, f64)> = match &*raw {
        Some(RawRange::All([low, high])) => vec![(*low, *high); dim],
        Some(RawRange::Each(pairs)) if pairs.len() == dim => {
            pairs.iter().map(|[low, high]| (*low, *high)).collect()
        }
        Some(RawRange::Each(pairs)) => {
            return Err(
                Fault::at(path, format!("{} pairs", pairs.len())).allowed(format!(
                    "one pair for all coordinates, or {dim}: one per coordinate"
                )),
            );
        }
        None => {
            let derived: Vec<_> = (0..dim)
                .map(|i| extent(problem, &coordinate(i, dim)))
                .collect();
            if !derived.iter().all(|r| is_interval(*r)) {
                return Err(Fault::at(path, "data whose extent gives no range")
                    .allowed("a range given in the spec"));
            }
            *raw = Some(RawRange::Each(derived.iter().map(|r| [r.0, r.1]).collect()));
            derived
        }
    };
    check_at(path, range.iter().all(|r| is_interval(*r)))?;
    Ok(range)
}

/// Principal axes that densities are reported along by default.
const PRINCIPAL_AXES: usize = 4;

/// Directions with their ranges.
fn directions(
    raw: &mut RawOutput,
    problem: &Problem,
    range: &[(f64, f64)],
) -> Result<Vec<Direction>, Fault> {
    let dim = problem.dim();
    let path = FieldPath::of("output.directions");
    if dim == 1 && raw.directions.is_some() {
        return Err(Fault::value(path).allowed("no directions in one dimension"));
    }
    let given = match (&raw.directions, dim) {
        (Some(given), _) => given
            .iter()
            .enumerate()
            .map(|(i, v)| {
                unit(v, dim).ok_or_else(|| {
                    Fault::value(path.index(i))
                        .allowed(format!("a vector of {dim} finite numbers, not all 0"))
                })
            })
            .collect::<Result<Vec<_>, Fault>>()?,
        (None, 1 | 2) => {
            return Ok((0..dim)
                .map(|i| Direction {
                    along: coordinate(i, dim),
                    range: range[i],
                })
                .collect());
        }
        (None, _) => {
            let axes = principal_directions(problem, PRINCIPAL_AXES.min(dim)).map_err(|e| {
                Fault::at(path.clone(), format!("no principal axes ({e})"))
                    .allowed("directions given in the spec")
            })?;
            raw.directions = Some(axes.clone());
            axes
        }
    };
    if given.len() < 2 {
        return Err(Fault::value(path).allowed(format!(
            "two or more vectors of {dim} numbers: densities are reported along pairs of directions"
        )));
    }
    let shared = match raw.range {
        Some(RawRange::All([low, high])) => Some((low, high)),
        _ => None,
    };
    let directions: Vec<Direction> = given
        .into_iter()
        .map(|along| Direction {
            range: shared.unwrap_or_else(|| extent(problem, &along)),
            along,
        })
        .collect();
    check_at(path, directions.iter().all(|d| is_interval(d.range)))?;
    Ok(directions)
}

/// The unit vector along coordinate `i`.
fn coordinate(i: usize, dim: usize) -> Vec<f64> {
    (0..dim).map(|j| if i == j { 1.0 } else { 0.0 }).collect()
}

/// A vector of length 1, if it has a direction. One that has length 1 to rounding stays as it is.
fn unit(v: &[f64], dim: usize) -> Option<Vec<f64>> {
    let largest = v.iter().fold(0.0_f64, |m, c| m.max(c.abs()));
    if v.len() != dim || !largest.is_normal() {
        return None;
    }
    let scaled: Vec<f64> = v.iter().map(|c| c / largest).collect();
    let length = scaled.iter().map(|c| c * c).sum::<f64>().sqrt();
    if (length * largest - 1.0).abs() < 1e-14 {
        return Some(v.to_vec());
    }
    Some(scaled.iter().map(|c| c / length).collect())
}

/// Is this a proper interval, of finite length?
pub(super) fn is_interval((low, high): (f64, f64)) -> bool {
    low.is_finite() && low < high && (high - low).is_finite()
}

/// Where the noised data lie along a unit vector: the extent of the component means, widened on either side by a
/// quarter of itself or by four standard deviations of the widest component at t_min; for a single point by 1/2.
fn extent(problem: &Problem, along: &[f64]) -> (f64, f64) {
    let (alpha, sigma2) = (
        problem.diffusion.alpha(problem.t_min),
        problem.diffusion.sigma2(problem.t_min),
    );
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut widest = 0.0_f64;
    for c in problem.data.components() {
        let mean: f64 = c.mean.iter().zip(along).map(|(m, a)| m * a).sum();
        low = low.min(mean);
        high = high.max(mean);
        widest = widest.max(c.variance_along(along));
    }
    let spread = high - low;
    let mut margin = (0.25 * spread).max(4.0 * (alpha * alpha * widest + sigma2).sqrt());
    if spread == 0.0 && widest == 0.0 {
        margin = margin.max(0.5);
    }
    (low - margin, high + margin)
}
