//! `[model]` of kind low-rank, and the part of `[training]` that is its own.

use serde_json::Value;

use super::{check, check_at, count};
use crate::family::{
    Assignment, CleanPoints, Family, SubspaceFamily, SubspaceFit, SubspaceTraining,
};
use crate::problem::Problem;
use crate::spec::error::Fault;
use crate::spec::fields::{allowed_for, refuse_inapplicable};
use crate::spec::path::FieldPath;
use crate::spec::raw::{FitKind, RawModel, RawTraining};

/// Defaults.
const DATASET: u64 = 1000;
const RESTARTS: u64 = 8;
const DRAWS: u64 = 32;
const MOST_SUBSPACES: u64 = 1000;
/// Random starts, and noisy points of one clean point and time.
const MOST_RESTARTS: u64 = 10_000;
const MOST_DRAWS: u64 = 1_000_000;

/// Keys of `[training]`.
const KEYS: [&str; 7] = [
    "dataset",
    "per_subspace",
    "method",
    "restarts",
    "draws",
    "weighting",
    "weight",
];
/// Those that no other family has.
const OWN: [&str; 3] = ["per_subspace", "method", "restarts"];

/// The family; its training is [`protocol`]'s.
pub(super) fn family(raw: &mut RawModel, tree: &Value, problem: &Problem) -> Result<Family, Fault> {
    let path = FieldPath::of("model");
    let keys = ["kind", "rank", "subspaces", "ranks", "assignment"];
    refuse_inapplicable(tree, &path, "model.kind = \"low-rank\"", &keys)?;
    let ranks = ranks(raw, problem)?;
    let assignment = *raw.assignment.get_or_insert(Assignment::Soft);
    let weights = match own_ranks(problem) {
        Some(own) if own == ranks => problem.data.weights().to_vec(),
        _ => vec![1.0 / ranks.len() as f64; ranks.len()],
    };
    if let Some(k) = weights.iter().position(|w| *w == 0.0) {
        let found = format!("0 for subspace {}", k + 1);
        return Err(Fault::at(FieldPath::of("data.weights"), found)
            .allowed("numbers > 0 with model.kind = \"low-rank\", whose weights they are"));
    }
    Ok(Family::LowRank(Box::new(SubspaceFamily {
        ranks,
        weights,
        assignment,
        protocol: SubspaceTraining {
            points: CleanPoints::Total(1),
            fit: SubspaceFit::KSubspaces,
            restarts: 1,
        },
    })))
}

/// The ranks of the data's subspaces.
fn own_ranks(problem: &Problem) -> Option<Vec<usize>> {
    let bases = problem.data.subspaces()?;
    Some(bases.iter().map(|u| u.ncols()).collect())
}

/// As written, or those of the data.
fn ranks(raw: &mut RawModel, problem: &Problem) -> Result<Vec<usize>, Fault> {
    let (path, dim) = (FieldPath::of("model"), problem.dim() as u64);
    let written = raw.rank.is_some() || raw.subspaces.is_some();
    if let Some(ranks) = &raw.ranks {
        if written {
            let key = if raw.rank.is_some() {
                "rank"
            } else {
                "subspaces"
            };
            return Err(Fault::value(path.key(key)).allowed("either this or ranks, not both"));
        }
        check("model.ranks", !ranks.is_empty())?;
        check("model.ranks", ranks.len() as u64 <= MOST_SUBSPACES)?;
        for (k, rank) in ranks.iter().enumerate() {
            check_at(path.key("ranks").index(k), (1..=dim).contains(rank))?;
        }
        return Ok(ranks.iter().map(|rank| *rank as usize).collect());
    }
    let own = own_ranks(problem);
    if let (Some(own), false) = (&own, written) {
        raw.ranks = Some(own.iter().map(|d| *d as u64).collect());
        return Ok(own.clone());
    }
    let Some(rank) = raw.rank.or(own.as_ref().map(|own| own[0] as u64)) else {
        let path = path.key("rank");
        let allowed = allowed_for(&path).unwrap_or_default();
        return Err(Fault::at(path, "nothing").allowed(allowed));
    };
    raw.rank = Some(rank);
    let rank = count("model.rank", rank, 1, dim)?;
    let subspaces = *raw
        .subspaces
        .get_or_insert(own.map_or(1, |own| own.len() as u64));
    let subspaces = count("model.subspaces", subspaces, 1, MOST_SUBSPACES)?;
    Ok(vec![rank; subspaces])
}

/// How models are trained: the protocol, and N.
pub(super) fn protocol(
    raw: &mut RawTraining,
    tree: &Value,
    problem: &Problem,
) -> Result<(SubspaceTraining, usize), Fault> {
    let path = FieldPath::of("training");
    refuse_inapplicable(tree, &path, "model.kind = \"low-rank\"", &KEYS)?;
    let (points, samples) = points(raw, problem)?;
    let restarts = *raw.restarts.get_or_insert(RESTARTS);
    let restarts = count("training.restarts", restarts, 1, MOST_RESTARTS)?;
    let fit = match *raw.method.get_or_insert(FitKind::KSubspaces) {
        FitKind::KSubspaces => {
            for (key, given) in [
                ("draws", raw.draws.is_some()),
                ("weighting", raw.weighting.is_some()),
            ] {
                if given {
                    return Err(Fault::value(path.key(key)).allowed(
                        "nothing with training.method = \"k-subspaces\", which sees clean points only",
                    ));
                }
            }
            SubspaceFit::KSubspaces
        }
        FitKind::Gradient => {
            let draws = *raw.draws.get_or_insert(DRAWS);
            let even = count("training.draws", draws, 2, MOST_DRAWS)?;
            if !even.is_multiple_of(2) {
                return Err(Fault::value(path.key("draws")).allowed(
                    "an even number with model.kind = \"low-rank\": noises come in opposite pairs",
                ));
            }
            SubspaceFit::Gradient { pairs: even / 2 }
        }
    };
    let protocol = SubspaceTraining {
        points,
        fit,
        restarts,
    };
    Ok((protocol, samples))
}

fn points(raw: &mut RawTraining, problem: &Problem) -> Result<(CleanPoints, usize), Fault> {
    let Some(size) = raw.per_subspace else {
        let total = *raw.dataset.get_or_insert(DATASET);
        let total = count("training.dataset", total, 1, u64::MAX)?;
        return Ok((CleanPoints::Total(total), total));
    };
    let path = FieldPath::of("training.per_subspace");
    if raw.dataset.is_some() {
        return Err(Fault::value(path).allowed("either this or training.dataset, not both"));
    }
    if problem.data.subspaces().is_none() {
        return Err(Fault::value(path).allowed(
            "training.dataset unless data.kind = \"low-rank-mixture\": other data have no subspaces to draw from",
        ));
    }
    let size = count("training.per_subspace", size, 1, u64::MAX)?;
    let total = size.checked_mul(problem.data.components().len());
    let total = total.ok_or_else(|| {
        Fault::value(FieldPath::of("training.per_subspace"))
            .allowed("fewer than 2^64 points in all")
    })?;
    Ok((CleanPoints::PerSubspace(size), total))
}

/// Refuses what only this family has.
pub(super) fn refuse_own(tree: &Value) -> Result<(), Fault> {
    for key in OWN {
        let path = FieldPath::of("training").key(key);
        if path.get(tree).is_some() {
            return Err(Fault::value(path).allowed("nothing unless model.kind = \"low-rank\""));
        }
    }
    Ok(())
}
