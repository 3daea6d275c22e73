//! Random subspaces.

use nalgebra::DMatrix;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::problem::DataError;

/// One uniformly random subspace for every rank d_k, independent of the others: orthonormal bases, n x d_k.
///
/// # Errors
/// A rank d_k > n.
pub fn random_bases<R: Rng + ?Sized>(
    dim: usize,
    ranks: &[usize],
    rng: &mut R,
) -> Result<Vec<DMatrix<f64>>, DataError> {
    ranks.iter().map(|rank| random(dim, *rank, rng)).collect()
}

/// Disjoint columns of one random orthogonal matrix: orthonormal bases, n x d_k, of subspaces that are orthogonal to each other.
///
/// # Errors
/// More columns than n in all.
pub fn orthogonal_bases<R: Rng + ?Sized>(
    dim: usize,
    ranks: &[usize],
    rng: &mut R,
) -> Result<Vec<DMatrix<f64>>, DataError> {
    let columns = ranks.iter().fold(0_usize, |sum, d| sum.saturating_add(*d));
    let all = random(dim, columns, rng)?;
    let mut first = 0;
    let parts = ranks.iter().map(|rank| {
        first += rank;
        all.columns(first - rank, *rank).into_owned()
    });
    Ok(parts.collect())
}

fn random<R: Rng + ?Sized>(
    dim: usize,
    columns: usize,
    rng: &mut R,
) -> Result<DMatrix<f64>, DataError> {
    if columns > dim {
        return Err(DataError::Columns { columns, dim });
    }
    let normals = DMatrix::from_fn(dim, columns, |_, _| rng.sample(StandardNormal));
    Ok(orthonormalised(normals))
}

/// Orthonormal columns of the same span, by QR with a positive diagonal of R: those of a Gaussian matrix are uniformly distributed,
/// and columns that are orthonormal already stay as they are.
pub(super) fn orthonormalised(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let qr = matrix.qr();
    let (mut q, r) = qr.unpack();
    for (mut column, sign) in q.column_iter_mut().zip(r.diagonal().iter()) {
        column *= sign.signum();
    }
    q
}
