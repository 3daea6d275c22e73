//! K-subspaces clustering: what the DSM loss of a low-rank mixture becomes at small noise (D25.6).

use nalgebra::DMatrix;

use super::start::fit;
use crate::numerics::linalg::LinalgError;
use crate::numerics::subspace::nearest_subspace;

/// Rounds of assignment and fit; the sum of squares falls in every one, and a few dozen end it.
const ROUNDS: usize = 300;

/// Points shared among subspaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// n x d_k each.
    pub bases: Vec<DMatrix<f64>>,
    /// The subspace of every point: that of the largest |U_k^T x|.
    pub labels: Vec<usize>,
    /// sum_i |x_i - U U^T x_i|^2 with each point's own subspace.
    pub residual: f64,
    pub rounds: usize,
    /// Did the last round move no point?
    pub settled: bool,
}

/// Lloyd's iteration: points (n x N) to the subspace of the largest projection, every subspace to the leading one of its points,
/// until no point moves.
///
/// # Errors
/// When singular values do not converge.
pub fn k_subspaces(
    points: &DMatrix<f64>,
    start: Vec<DMatrix<f64>>,
) -> Result<Clustering, LinalgError> {
    let ranks: Vec<usize> = start.iter().map(DMatrix::ncols).collect();
    let mut found = assign(points, start);
    while !found.settled && found.rounds < ROUNDS {
        let bases = fit(points, &found.labels, &ranks)?;
        let next = assign(points, bases);
        found = Clustering {
            rounds: found.rounds + 1,
            settled: next.labels == found.labels,
            ..next
        };
    }
    Ok(found)
}

fn assign(points: &DMatrix<f64>, bases: Vec<DMatrix<f64>>) -> Clustering {
    let nearest = nearest_subspace(points, &bases);
    let residual = nearest
        .iter()
        .zip(points.column_iter())
        .map(|((_, share), x)| share * share * x.norm_squared());
    Clustering {
        residual: residual.sum(),
        labels: nearest.iter().map(|(k, _)| *k).collect(),
        bases,
        rounds: 0,
        settled: false,
    }
}
