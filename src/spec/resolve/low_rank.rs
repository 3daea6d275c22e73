//! `[data]` of kind low-rank-mixture.

use nalgebra::DMatrix;

use super::data::{fault, length, list, required};
use super::{LARGEST_SEED, check, check_at, count};
use crate::numerics::random::stream;
use crate::numerics::subspace::{orthogonal_bases, random_basis};
use crate::problem::Data;
use crate::spec::error::Fault;
use crate::spec::path::FieldPath;
use crate::spec::raw::{DrawnBases, RawBases, RawData};

pub(super) const KEYS: [&str; 9] = [
    "kind",
    "dimension",
    "rank",
    "subspaces",
    "ranks",
    "bases",
    "weights",
    "noise",
    "seed",
];

/// Largest dimension and number of subspaces.
const MOST_DIMENSIONS: u64 = 16_384;
const MOST_SUBSPACES: u64 = 1000;
/// Stream of the bases, far from those of models and draws.
const STREAM: u64 = u64::MAX - 2;

/// The mixture. `seed` is the spec's.
pub(super) fn resolve(raw: &mut RawData, seed: u64) -> Result<Data, Fault> {
    let noise = *raw.noise.get_or_insert(0.0);
    let drawn = match raw.bases.get_or_insert(RawBases::Drawn(DrawnBases::Random)) {
        RawBases::Drawn(drawn) => *drawn,
        RawBases::Given(given) => {
            let bases = matrices(given)?;
            refuse_beside_bases(raw)?;
            return Data::low_rank(&bases, noise, raw.weights.as_deref())
                .map_err(|e| fault(e, "bases"));
        }
    };
    let dimension = *required(raw.dimension.as_ref(), "dimension")?;
    let dim = count("data.dimension", dimension, 1, MOST_DIMENSIONS)?;
    let ranks = ranks(raw, dim)?;
    let own = *raw.seed.get_or_insert(seed);
    check("data.seed", own <= LARGEST_SEED)?;
    let mut rng = stream(own, STREAM);
    let bases = match drawn {
        DrawnBases::Random => ranks
            .iter()
            .map(|rank| random_basis(&mut rng, dim, *rank))
            .collect(),
        DrawnBases::Orthogonal => orthogonal_bases(&mut rng, dim, &ranks).ok_or_else(|| {
            let found = format!(
                "\"orthogonal\" with {} columns in {dim} dimensions",
                ranks.iter().sum::<usize>()
            );
            Fault::at(list("bases"), found)
                .allowed("at most as many columns in all as dimensions, or \"random\"")
        })?,
    };
    Data::low_rank(&bases, noise, raw.weights.as_deref()).map_err(|e| fault(e, "bases"))
}

/// The dimensions of the subspaces.
fn ranks(raw: &mut RawData, dim: usize) -> Result<Vec<usize>, Fault> {
    let Some(ranks) = &raw.ranks else {
        let rank = *required(raw.rank.as_ref(), "rank")?;
        let rank = count("data.rank", rank, 1, dim as u64)?;
        let subspaces = *raw.subspaces.get_or_insert(1);
        return Ok(vec![
            rank;
            count("data.subspaces", subspaces, 1, MOST_SUBSPACES)?
        ]);
    };
    for (key, given) in [("rank", raw.rank), ("subspaces", raw.subspaces)] {
        if given.is_some() {
            return Err(Fault::value(list(key)).allowed("either this or ranks, not both"));
        }
    }
    check(
        "data.ranks",
        !ranks.is_empty() && ranks.len() as u64 <= MOST_SUBSPACES,
    )?;
    for (k, rank) in ranks.iter().enumerate() {
        check_at(list("ranks").index(k), (1..=dim as u64).contains(rank))?;
    }
    Ok(ranks.iter().map(|rank| *rank as usize).collect())
}

/// Matrices tell the dimensions themselves, and nothing is drawn.
fn refuse_beside_bases(raw: &RawData) -> Result<(), Fault> {
    let given = [
        ("dimension", raw.dimension.is_some()),
        ("rank", raw.rank.is_some()),
        ("subspaces", raw.subspaces.is_some()),
        ("ranks", raw.ranks.is_some()),
        ("seed", raw.seed.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((key, _)) => Err(Fault::value(list(key))
            .allowed("nothing beside bases that are matrices, which tell it themselves")),
    }
}

fn matrices(given: &[Vec<Vec<f64>>]) -> Result<Vec<DMatrix<f64>>, Fault> {
    check("data.bases", !given.is_empty())?;
    let paths = (0..given.len()).map(|k| list("bases").index(k));
    given
        .iter()
        .zip(paths)
        .map(|(rows, path)| matrix(rows, &path))
        .collect()
}

fn matrix(rows: &[Vec<f64>], path: &FieldPath) -> Result<DMatrix<f64>, Fault> {
    let columns = rows.first().map_or(0, Vec::len);
    if let Some(i) = rows.iter().position(|row| row.len() != columns) {
        let found = length(rows[i].len(), "number");
        let allowed = format!("{}, as the first row", length(columns, "number"));
        return Err(Fault::at(path.index(i), found).allowed(allowed));
    }
    check_at(path.clone(), columns > 0)?;
    let matrix = DMatrix::from_fn(rows.len(), columns, |i, j| rows[i][j]);
    check_at(path.clone(), matrix.iter().all(|v| v.is_finite()))?;
    Ok(matrix)
}
