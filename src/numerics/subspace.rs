//! Linear subspaces of R^n, each given by an n x d matrix of orthonormal columns: random ones, those that fit points best, the
//! angles between them, and how far points lie from them (derivations/25-subspaces.md).

use nalgebra::{DMatrix, DVector, DVectorView};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::assignment;
use super::linalg::{self, LinalgError, multiply, view};

/// Singular values below this share of the largest, times the larger of the matrix's sides, are rounding.
const ROUNDING: f64 = f64::EPSILON;

/// A basis of a subspace drawn uniformly (Haar measure), n x d with d <= n.
pub fn random_basis<R: Rng + ?Sized>(rng: &mut R, n: usize, d: usize) -> DMatrix<f64> {
    let normal = DMatrix::from_fn(n, d, |_, _| rng.sample::<f64, _>(StandardNormal));
    linalg::orthonormal(&normal)
}

/// Bases of mutually orthogonal random subspaces: disjoint columns of one random orthogonal matrix. `None` where the ranks sum to
/// more than n.
pub fn orthogonal_bases<R: Rng + ?Sized>(
    rng: &mut R,
    n: usize,
    ranks: &[usize],
) -> Option<Vec<DMatrix<f64>>> {
    let total = ranks.iter().sum();
    (total <= n).then(|| split(&random_basis(rng, n, total), ranks))
}

/// The columns of a matrix, n x sum d_k, as K matrices n x d_k.
pub fn split(joined: &DMatrix<f64>, ranks: &[usize]) -> Vec<DMatrix<f64>> {
    let mut first = 0;
    let part = |d: &usize| {
        first += d;
        joined.columns(first - d, *d).into_owned()
    };
    ranks.iter().map(part).collect()
}

/// K matrices n x d_k side by side.
pub fn join(bases: &[DMatrix<f64>]) -> DMatrix<f64> {
    let rows = bases.first().map_or(0, DMatrix::nrows);
    let columns = bases.iter().flat_map(DMatrix::column_iter);
    let columns: Vec<_> = columns.collect();
    match columns.is_empty() {
        true => DMatrix::zeros(rows, 0),
        false => DMatrix::from_columns(&columns),
    }
}

/// The d-dimensional subspace that holds most of the points' squared length: the leading left singular vectors of the n x N
/// matrix (D25.2). Fewer independent points than d leave it open; it is completed by [`complete`].
///
/// # Errors
/// When the singular values do not converge.
pub fn leading_subspace(points: &DMatrix<f64>, d: usize) -> Result<DMatrix<f64>, LinalgError> {
    let (n, count) = points.shape();
    if count == 0 {
        return Ok(complete(DMatrix::zeros(n, 0), d));
    }
    let (values, vectors) = linalg::right_singular(&points.transpose())?;
    let least = values[0] * ROUNDING * n.max(count) as f64;
    let rank = values.iter().filter(|v| **v > least).count();
    Ok(complete(vectors.columns(0, rank.min(d)).into_owned(), d))
}

/// Adds columns to an orthonormal basis until it has d: each time the part outside of the coordinate axis farthest from the
/// span so far, the first of equals.
pub fn complete(basis: DMatrix<f64>, d: usize) -> DMatrix<f64> {
    let (n, rank) = basis.shape();
    let mut basis = basis.insert_columns(rank, d.saturating_sub(rank), 0.0);
    for next in rank..d {
        let inside = |i: usize| basis.view((i, 0), (1, next)).norm_squared();
        let mut axis = 0;
        for i in 1..n {
            // A margin of rounding, so that equals are equal.
            if inside(i) < inside(axis) - 1e-12 {
                axis = i;
            }
        }
        let mut column = DVector::zeros(n);
        column[axis] = 1.0;
        for _ in 0..2 {
            let span = basis.columns(0, next);
            column -= span * (span.transpose() * &column);
        }
        basis.set_column(next, &column.normalize());
    }
    basis
}

/// Sines of the principal angles between two subspaces in increasing order, as many as the smaller has dimensions. Accurate to
/// rounding also where they are tiny: singular values of what of one lies outside the other.
///
/// # Errors
/// When the singular values do not converge.
pub fn principal_sines(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<Vec<f64>, LinalgError> {
    let (large, small) = match a.ncols() < b.ncols() {
        true => (b, a),
        false => (a, b),
    };
    let outside = small - inside(large, small);
    let (values, _) = linalg::right_singular(&outside)?;
    Ok(values.iter().rev().map(|v| v.min(1.0)).collect())
}

/// U U^T X.
fn inside(basis: &DMatrix<f64>, points: &DMatrix<f64>) -> DMatrix<f64> {
    let coordinates = multiply(view(basis).transpose(), view(points));
    multiply(view(basis), view(&coordinates))
}

/// Learned subspaces beside the true ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// The learned subspace of every true one.
    pub learned_of: Vec<usize>,
    /// Per true subspace, the sines of the principal angles to its partner, in increasing order.
    pub sines: Vec<Vec<f64>>,
}

impl Matching {
    /// Matches K learned to K true subspaces so that the sum of squared sines is least.
    ///
    /// # Errors
    /// When singular values do not converge.
    pub fn new(learned: &[DMatrix<f64>], truth: &[DMatrix<f64>]) -> Result<Self, LinalgError> {
        let size = learned.len().min(truth.len());
        let mut cost = DMatrix::zeros(size, size);
        let mut sines = Vec::with_capacity(size * size);
        for (k, truth) in truth.iter().take(size).enumerate() {
            for (l, learned) in learned.iter().take(size).enumerate() {
                let own = principal_sines(learned, truth)?;
                cost[(k, l)] = own.iter().map(|s| s * s).sum();
                sines.push(own);
            }
        }
        let learned_of = assignment::assign(&cost);
        let own = learned_of.iter().enumerate();
        let sines = own.map(|(k, l)| sines[k * size + l].clone()).collect();
        Ok(Self { learned_of, sines })
    }

    /// The sine of the largest angle of all.
    pub fn largest(&self) -> f64 {
        self.sines.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// sum_k |sin Theta_k|_F^2.
    pub fn squared(&self) -> f64 {
        self.sines.iter().flatten().map(|s| s * s).sum()
    }
}

/// The subspace nearest to each point and the share of the point's length outside it, min_k |(I - U_k U_k^T) x| / |x|; points
/// n x N. The origin lies in every subspace.
pub fn nearest_subspace(points: &DMatrix<f64>, bases: &[DMatrix<f64>]) -> Vec<(usize, f64)> {
    let norms: Vec<f64> = points.column_iter().map(|x| x.norm()).collect();
    let mut nearest = vec![(0, f64::INFINITY); points.ncols()];
    for (k, basis) in bases.iter().enumerate() {
        let outside = points - inside(basis, points);
        for ((best, x), norm) in nearest.iter_mut().zip(outside.column_iter()).zip(&norms) {
            let share = match *norm > 0.0 {
                true => x.norm() / norm,
                false => 0.0,
            };
            if share < best.1 {
                *best = (k, share);
            }
        }
    }
    nearest
}

/// The nearest training point of each point with the distance to it, and the distance to the second nearest (infinite where there is
/// none): points n x P, training n x N, of which there is at least one.
pub fn nearest_points(points: &DMatrix<f64>, training: &DMatrix<f64>) -> Vec<(usize, f64, f64)> {
    let nearest = |x: DVectorView<'_, f64>| {
        let (mut index, mut first, mut second) = (0, f64::INFINITY, f64::INFINITY);
        for (i, known) in training.column_iter().enumerate() {
            let distance = (x - known).norm();
            second = second.min(distance.max(first));
            if distance < first {
                (index, first) = (i, distance);
            }
        }
        (index, first, second)
    };
    points.column_iter().map(nearest).collect()
}
