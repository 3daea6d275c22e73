//! `[[model.features]]` of all coordinates at once: `of = "x"`.

use serde_json::Value;

use super::check_at;
use super::model::{MOST_FEATURES, count};
use super::output::is_interval;
use crate::experiment::OutputOptions;
use crate::family::features::Joint;
use crate::numerics::random::stream;
use crate::spec::error::Fault;
use crate::spec::fields::{refuse, refuse_inapplicable};
use crate::spec::path::FieldPath;
use crate::spec::raw::{FeatureKind, Placement, RawFeature};

/// The kinds of sets of all coordinates.
pub(super) const KINDS: &str = r#""radial" | "random-fourier" | "relu""#;
/// Stream of the features' random numbers, far from those of the trained models.
const STREAM: u64 = u64::MAX;

pub(super) fn is_joint(kind: FeatureKind) -> bool {
    matches!(
        kind,
        FeatureKind::Radial | FeatureKind::RandomFourier | FeatureKind::Relu
    )
}

/// The set in D >= 2 dimensions.
pub(super) fn resolve(
    raw: &mut RawFeature,
    tree: &Value,
    path: &FieldPath,
    output: &OutputOptions,
) -> Result<Joint, Fault> {
    let range = range(raw, path, output)?;
    match raw.kind {
        FeatureKind::RandomFourier => {
            let keys = ["of", "kind", "count", "length", "seed"];
            refuse_inapplicable(tree, path, "kind = \"random-fourier\"", &keys)?;
            let count = count(raw, path)?;
            let length = length(raw, path, 0.25 * mean_side(&range))?;
            let mut rng = stream(seed(raw, path)?, STREAM);
            Ok(Joint::random_fourier(range.len(), count, length, &mut rng))
        }
        FeatureKind::Relu => {
            let keys = ["of", "kind", "count", "range", "seed"];
            refuse_inapplicable(tree, path, "kind = \"relu\"", &keys)?;
            let count = count(raw, path)?;
            let mut rng = stream(seed(raw, path)?, STREAM);
            Ok(Joint::relu(count, &range, &mut rng))
        }
        _ => radial(raw, tree, path, &range),
    }
}

fn radial(
    raw: &mut RawFeature,
    tree: &Value,
    path: &FieldPath,
    range: &[(f64, f64)],
) -> Result<Joint, Fault> {
    let dim = range.len();
    if let Some(centres) = &raw.centres {
        let keys = ["of", "kind", "centres", "length"];
        refuse_inapplicable(tree, path, "kind = \"radial\" with centres", &keys)?;
        let list = path.key("centres");
        check_at(list.clone(), (1..=MOST_FEATURES).contains(&centres.len()))?;
        for (i, centre) in centres.iter().enumerate() {
            let well = centre.len() == dim && centre.iter().all(|v| v.is_finite());
            check_at(list.index(i), well)?;
        }
        let centres = centres.clone();
        let std = length(raw, path, half_spacing(range, centres.len()))?;
        return Ok(Joint::radial(&centres, std));
    }
    let keys = [
        "of",
        "kind",
        "count",
        "range",
        "placement",
        "centres",
        "length",
        "seed",
    ];
    refuse_inapplicable(tree, path, "kind = \"radial\"", &keys)?;
    let count = count(raw, path)?;
    match *raw.placement.get_or_insert(Placement::Random) {
        Placement::Random => {
            let std = length(raw, path, half_spacing(range, count))?;
            let mut rng = stream(seed(raw, path)?, STREAM);
            Ok(Joint::radial_random(count, range, std, &mut rng))
        }
        Placement::Grid => {
            let keys = ["of", "kind", "count", "range", "placement", "length"];
            refuse_inapplicable(tree, path, "placement = \"grid\"", &keys)?;
            let total = u32::try_from(dim).ok().and_then(|d| count.checked_pow(d));
            let Some(total) = total.filter(|n| *n <= MOST_FEATURES) else {
                return Err(Fault::at(
                    path.key("count"),
                    format!("{count} per coordinate in D = {dim}"),
                )
                .allowed(format!("at most {MOST_FEATURES} centres, count^D")));
            };
            let std = length(raw, path, half_spacing(range, total))?;
            Ok(Joint::radial(&grid(range, count), std))
        }
    }
}

/// The box of the features.
fn range(
    raw: &RawFeature,
    path: &FieldPath,
    output: &OutputOptions,
) -> Result<Vec<(f64, f64)>, Fault> {
    match raw.range {
        None => Ok(output.range.clone()),
        Some([low, high]) => {
            check_at(path.key("range"), is_interval((low, high)))?;
            Ok(vec![(low, high); output.range.len()])
        }
    }
}

fn length(raw: &mut RawFeature, path: &FieldPath, default: f64) -> Result<f64, Fault> {
    let length = *raw.length.get_or_insert(default);
    // Its square and its inverse enter.
    let well = (1e-150..=1e150).contains(&length);
    check_at(path.key("length"), well)?;
    Ok(length)
}

fn seed(raw: &mut RawFeature, path: &FieldPath) -> Result<u64, Fault> {
    const LARGEST: u64 = 1 << 53;
    let seed = *raw.seed.get_or_insert(0);
    match seed <= LARGEST {
        true => Ok(seed),
        false => Err(refuse(path.key("seed"))),
    }
}

/// Geometric mean of the sides.
fn mean_side(range: &[(f64, f64)]) -> f64 {
    let logs: f64 = range.iter().map(|(low, high)| (high - low).ln()).sum();
    (logs / range.len() as f64).exp()
}

/// Half the spacing of `count` centres on a grid over the range.
fn half_spacing(range: &[(f64, f64)], count: usize) -> f64 {
    let per_side = (count as f64).powf(1.0 / range.len() as f64);
    0.5 * mean_side(range) / (per_side - 1.0).max(1.0)
}

/// `count` centres per coordinate, evenly spaced, x1 slowest; a single one sits in the middle.
fn grid(range: &[(f64, f64)], count: usize) -> Vec<Vec<f64>> {
    let at = |(low, high): (f64, f64), i: usize| match count {
        1 => 0.5 * (low + high),
        _ => low + (high - low) * i as f64 / (count - 1) as f64,
    };
    range.iter().fold(vec![Vec::new()], |all, &side| {
        all.iter()
            .flat_map(|centre| (0..count).map(move |i| [&centre[..], &[at(side, i)]].concat()))
            .collect()
    })
}
