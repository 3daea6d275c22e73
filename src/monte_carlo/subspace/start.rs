//! Where the search for subspaces starts.

use nalgebra::DMatrix;
use rand::Rng;

use crate::numerics::linalg::{self, LinalgError, multiply, view};
use crate::numerics::subspace::{leading_subspace, random_basis};

/// Rounds of k-means, which needs a handful.
const ROUNDS: usize = 100;

/// Uniform random subspaces.
pub(super) fn random<R: Rng + ?Sized>(rng: &mut R, n: usize, ranks: &[usize]) -> Vec<DMatrix<f64>> {
    ranks.iter().map(|d| random_basis(rng, n, *d)).collect()
}

/// The leading subspace of each class of a partition of the points (n x N).
pub(super) fn fit(
    points: &DMatrix<f64>,
    labels: &[usize],
    ranks: &[usize],
) -> Result<Vec<DMatrix<f64>>, LinalgError> {
    let fit = |(k, d): (usize, &usize)| {
        let own: Vec<usize> = (0..labels.len()).filter(|i| labels[*i] == k).collect();
        leading_subspace(&points.select_columns(&own), *d)
    };
    ranks.iter().enumerate().map(fit).collect()
}

/// A partition of the points (n x N) from their shape-interaction matrix V V^T, V their leading sum d_k right singular vectors:
/// for independent subspaces without noise it has no entries between classes (D25.8). Its squared entries are affinities,
/// clustered by the K leading eigenvectors of the normalised graph.
pub(super) fn spectral(points: &DMatrix<f64>, ranks: &[usize]) -> Result<Vec<usize>, LinalgError> {
    let (values, vectors) = linalg::right_singular(points)?;
    let rank = ranks.iter().sum::<usize>().min(values.len());
    let leading = vectors.columns(0, rank).into_owned();
    let mut affinity = multiply(view(&leading), view(&leading).transpose());
    // The degree of a point is its leverage, since V V^T is a projection.
    let scale = affinity
        .diagonal()
        .map(|d| if d > 0.0 { 1.0 / d.sqrt() } else { 0.0 });
    for j in 0..affinity.ncols() {
        for i in 0..affinity.nrows() {
            affinity[(i, j)] *= affinity[(i, j)] * scale[i] * scale[j];
        }
    }
    let (_, vectors) = linalg::symmetric_eigen(&affinity)?;
    let classes = ranks.len().min(vectors.ncols());
    let mut rows = vectors
        .columns(vectors.ncols() - classes, classes)
        .transpose();
    for mut row in rows.column_iter_mut() {
        row.try_normalize_mut(0.0);
    }
    Ok(k_means(&rows, classes))
}

/// k-means of columns, started from the first and then always the farthest one.
fn k_means(points: &DMatrix<f64>, classes: usize) -> Vec<usize> {
    let mut centres = points.columns(0, classes.min(1)).into_owned();
    while centres.ncols() < classes {
        let nearest = nearest_centres(points, &centres);
        let mut far = 0;
        for (i, (_, square)) in nearest.iter().enumerate() {
            if *square > nearest[far].1 {
                far = i;
            }
        }
        let last = centres.ncols();
        centres = centres.insert_column(last, 0.0);
        centres.set_column(last, &points.column(far));
    }
    let mut labels = Vec::new();
    for _ in 0..ROUNDS {
        let nearest = nearest_centres(points, &centres);
        let new: Vec<usize> = nearest.into_iter().map(|(k, _)| k).collect();
        if new == labels {
            break;
        }
        labels = new;
        for (k, mut centre) in centres.column_iter_mut().enumerate() {
            let own = labels.iter().enumerate().filter(|(_, l)| **l == k);
            let (mut sum, mut count) = (centre.clone_owned() * 0.0, 0.0);
            for (i, _) in own {
                sum += points.column(i);
                count += 1.0;
            }
            if count > 0.0 {
                centre.copy_from(&(sum / count));
            }
        }
    }
    labels
}

fn nearest_centres(points: &DMatrix<f64>, centres: &DMatrix<f64>) -> Vec<(usize, f64)> {
    let nearest = |x: nalgebra::DVectorView<'_, f64>| {
        let mut best = (0, f64::INFINITY);
        for (k, centre) in centres.column_iter().enumerate() {
            let square = (x - centre).norm_squared();
            if square < best.1 {
                best = (k, square);
            }
        }
        best
    };
    points.column_iter().map(nearest).collect()
}
