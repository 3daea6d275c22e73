//! `[data]`.

use serde_json::Value;

use super::{Resolver, check, low_rank};
use crate::problem::{Data, DataError};
use crate::spec::data_file::{self, FileRequest};
use crate::spec::error::Fault;
use crate::spec::fields::{allowed_for, refuse, refuse_inapplicable};
use crate::spec::path::FieldPath;
use crate::spec::raw::{DataKind, RawData};

impl Resolver<'_> {
    /// The data distribution. Equal weights stay unwritten: their rounded list would not sum to exactly 1.
    /// `seed` is the spec's.
    pub(super) fn data(
        &mut self,
        raw: &mut RawData,
        tree: &Value,
        seed: u64,
    ) -> Result<Data, Fault> {
        let (kind, keys): (_, &[&str]) = match raw.kind {
            DataKind::Points => ("points", &["kind", "points", "weights", "rotation"]),
            DataKind::Mixture => (
                "mixture",
                &[
                    "kind",
                    "means",
                    "stds",
                    "covariances",
                    "weights",
                    "rotation",
                ],
            ),
            DataKind::LowRankMixture => ("low-rank-mixture", &low_rank::KEYS),
            DataKind::File => (
                "file",
                &[
                    "kind",
                    "path",
                    "columns",
                    "standardize",
                    "pca",
                    "scale",
                    "max_rows",
                    "rotation",
                    "checksum",
                ],
            ),
        };
        let kind = format!("data.kind = {kind:?}");
        refuse_inapplicable(tree, &FieldPath::of("data"), &kind, keys)?;
        let data = match raw.kind {
            DataKind::Points => {
                let points = required(raw.points.as_ref(), "points")?;
                Data::points(points, raw.weights.as_deref()).map_err(|e| fault(e, "points"))
            }
            DataKind::Mixture => mixture(raw),
            DataKind::LowRankMixture => low_rank::resolve(raw, seed),
            DataKind::File => self.file(raw),
        }?;
        match raw.rotation {
            None => Ok(data),
            Some(degrees) if data.dim() == 2 => {
                check("data.rotation", degrees.is_finite())?;
                Ok(data.rotated(degrees))
            }
            Some(degrees) => {
                let path = FieldPath::of("data.rotation");
                let found = format!("{degrees:?} with D = {}", data.dim());
                Err(Fault::at(path, found).allowed("no rotation unless D = 2"))
            }
        }
    }

    fn file(&mut self, raw: &mut RawData) -> Result<Data, Fault> {
        check("data.max_rows", raw.max_rows != Some(0))?;
        check("data.pca", raw.pca != Some(0))?;
        check("data.scale", raw.scale.is_none_or(f64::is_normal))?;
        let request = FileRequest {
            path: required(raw.path.as_ref(), "path")?,
            base_dir: self.base_dir,
            columns: raw.columns.as_deref(),
            standardize: *raw.standardize.get_or_insert(false),
            scale: *raw.scale.get_or_insert(1.0),
            pca: raw.pca,
            max_rows: raw.max_rows,
            checksum: raw.checksum.as_deref(),
        };
        let key = serde_json::to_string(raw).unwrap_or_default();
        let file = match self.files.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(data_file::load(request)?)
            }
        };
        raw.checksum = Some(file.checksum.clone());
        Data::points(&file.points, Some(&file.weights)).map_err(|e| fault(e, "path"))
    }
}

pub(super) fn required<'r, T>(value: Option<&'r T>, key: &str) -> Result<&'r T, Fault> {
    value.ok_or_else(|| {
        let path = FieldPath::of("data").key(key);
        let allowed = allowed_for(&path).unwrap_or_default();
        Fault::at(path, "nothing").allowed(allowed)
    })
}

fn mixture(raw: &RawData) -> Result<Data, Fault> {
    let means = required(raw.means.as_ref(), "means")?;
    let weights = raw.weights.as_deref();
    match (&raw.stds, &raw.covariances) {
        (Some(stds), None) => {
            one_each("stds", stds.len(), means.len())?;
            for (i, (std, mean)) in stds.iter().zip(means).enumerate() {
                if std.len() != mean.len() {
                    return Err(
                        Fault::at(list("stds").index(i), length(std.len(), "number"))
                            .allowed(format!("{}, as the mean", length(mean.len(), "number"))),
                    );
                }
            }
            Data::diagonal_mixture(means, stds, weights).map_err(|e| fault(e, "means"))
        }
        (None, Some(covariances)) => {
            one_each("covariances", covariances.len(), means.len())?;
            Data::full_mixture(means, covariances, weights).map_err(|e| fault(e, "means"))
        }
        (given, _) => {
            let found = match given {
                Some(_) => "both stds and covariances",
                None => "neither stds nor covariances",
            };
            Err(Fault::at(FieldPath::of("data"), found).allowed("one of the two"))
        }
    }
}

pub(super) fn list(key: &str) -> FieldPath {
    FieldPath::of("data").key(key)
}

pub(super) fn length(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

fn one_each(key: &str, found: usize, means: usize) -> Result<(), Fault> {
    if found == means {
        return Ok(());
    }
    Err(Fault::at(list(key), format!("{found} of them"))
        .allowed(format!("{means}, one for each mean")))
}

/// Puts an error of the data layer onto the field that caused it; `key` names the list of the components.
pub(super) fn fault(error: DataError, key: &str) -> Fault {
    let components = list(key);
    let weights = list("weights");
    match error {
        DataError::Empty => refuse(components),
        DataError::Dimension {
            index,
            found,
            expected,
        } => Fault::at(components.index(index), length(found, "coordinate"))
            .allowed(format!("{}, as the first", length(expected, "coordinate"))),
        DataError::WeightCount { found, expected } => Fault::at(weights, length(found, "weight"))
            .allowed(format!("{}, one per component", length(expected, "weight"))),
        DataError::Weight { index, .. } => refuse(weights.index(index)),
        DataError::WeightSum { sum } => Fault::at(weights.clone(), format!("a sum of {sum:?}"))
            .allowed(allowed_for(&weights).unwrap_or_default()),
        DataError::NotFinite {
            index, coordinate, ..
        } => refuse(components.index(index).index(coordinate)),
        DataError::BasisShape {
            index,
            rows,
            columns,
            dim,
        } => Fault::at(
            list("bases").index(index),
            format!("a {rows} x {columns} matrix"),
        )
        .allowed(format!("a {dim} x d matrix, 1 <= d <= {dim}, by its rows")),
        DataError::Orthonormal { index, deviation } => {
            let path = list("bases").index(index);
            let found = format!("columns with U^T U off the identity by {deviation:.3e}");
            let allowed = allowed_for(&path).unwrap_or_default();
            Fault::at(path, found).allowed(allowed)
        }
        DataError::Noise { .. } => refuse(list("noise")),
        DataError::Std { index, value } => {
            Fault::at(list("stds").index(index), format!("{value:?}"))
                .allowed("finite numbers >= 0")
        }
        DataError::CovarianceShape {
            index,
            rows,
            cols,
            expected,
        } => Fault::at(
            list("covariances").index(index),
            format!("a {rows} x {cols} matrix"),
        )
        .allowed(format!("a {expected} x {expected} matrix, as the mean")),
        DataError::Covariance { index, lowest } => {
            let path = list("covariances").index(index);
            let allowed = allowed_for(&path).unwrap_or_default();
            if lowest.is_nan() {
                return Fault::value(path).allowed(allowed);
            }
            Fault::at(path, format!("an eigenvalue of {lowest:.3e}")).allowed(allowed)
        }
    }
}
