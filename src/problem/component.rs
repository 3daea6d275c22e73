//! One Gaussian of a mixture, its covariance kept by its axes: all of them, or few of many with one variance off them.

use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::DataError;
use crate::numerics::subspace::complete;

/// One Gaussian of the mixture, its covariance kept as eigenvalues and eigenvectors so that
/// (alpha^2 Sigma + sigma^2 I)^-1 is exact at every noise level, down to sigma = 0.
///
/// With r < D axes U the covariance is Sigma = U diag(v) U^T + v_off (I - U U^T): a component that is thin
/// (derivations/24-low-rank-mixtures.md).
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    pub mean: DVector<f64>,
    /// Eigenvalues of the covariance (variances along `axes`), length r; all zero for a point mass.
    pub variances: DVector<f64>,
    /// Orthonormal eigenvectors as columns (D x r); `None` stands for the coordinate axes, r = D.
    pub axes: Option<DMatrix<f64>>,
    /// Variance in every direction orthogonal to the axes; of no meaning, and 0, where r = D.
    pub off_axes: f64,
}

impl Component {
    /// With the given variance along every coordinate.
    pub(super) fn along_coordinates(mean: &[f64], variances: DVector<f64>) -> Self {
        Self {
            mean: DVector::from_column_slice(mean),
            variances,
            axes: None,
            off_axes: 0.0,
        }
    }

    /// With a full covariance matrix (D x D, by rows).
    pub(super) fn with_covariance(
        index: usize,
        mean: &[f64],
        rows: &[Vec<f64>],
    ) -> Result<Self, DataError> {
        let d = mean.len();
        let cols = rows.iter().map(Vec::len).find(|l| *l != d).unwrap_or(d);
        if rows.len() != d || cols != d {
            return Err(DataError::CovarianceShape {
                index,
                rows: rows.len(),
                cols,
                expected: d,
            });
        }
        let cov = DMatrix::from_fn(d, d, |i, j| rows[i][j]);
        if let Some(&value) = cov.iter().find(|v| !v.is_finite()) {
            return Err(DataError::NotFinite {
                index,
                coordinate: 0,
                value,
            });
        }
        let scale = cov.amax();
        if (&cov - cov.transpose()).amax() > 1e-12 * scale {
            return Err(DataError::Covariance {
                index,
                lowest: f64::NAN,
            });
        }
        let refused = || DataError::Covariance {
            index,
            lowest: f64::NAN,
        };
        let eigen =
            nalgebra::SymmetricEigen::try_new(cov, f64::EPSILON, 10_000).ok_or_else(refused)?;
        let lowest = eigen.eigenvalues.min();
        if lowest < -1e-12 * scale {
            return Err(DataError::Covariance { index, lowest });
        }
        Ok(Self {
            mean: DVector::from_column_slice(mean),
            variances: eigen.eigenvalues.map(|v| v.max(0.0)),
            axes: Some(eigen.eigenvectors),
            off_axes: 0.0,
        })
    }

    /// Is this a point mass?
    pub fn is_point(&self) -> bool {
        self.off_axes == 0.0 && self.variances.iter().all(|&v| v == 0.0)
    }

    /// Are there directions off the axes?
    pub fn is_thin(&self) -> bool {
        self.off_dimension() > 0
    }

    /// Number D - r of directions off the axes.
    pub fn off_dimension(&self) -> usize {
        self.mean.len() - self.variances.len()
    }

    /// Largest and smallest variance in any direction.
    pub fn widest(&self) -> f64 {
        self.variances.iter().copied().fold(self.off(), f64::max)
    }

    pub fn narrowest(&self) -> f64 {
        let off = if self.is_thin() {
            self.off_axes
        } else {
            f64::INFINITY
        };
        self.variances.iter().copied().fold(off, f64::min)
    }

    /// The variance off the axes, 0 where there is nothing off them.
    fn off(&self) -> f64 {
        if self.is_thin() { self.off_axes } else { 0.0 }
    }

    /// Coordinates of a vector along the axes, length r.
    pub(crate) fn in_axes(&self, v: DVector<f64>) -> DVector<f64> {
        match &self.axes {
            Some(u) => u.tr_mul(&v),
            None => v,
        }
    }

    /// The vector of these coordinates along the axes, length D.
    pub(crate) fn along_axes(&self, v: DVector<f64>) -> DVector<f64> {
        match &self.axes {
            Some(u) => u * v,
            None => v,
        }
    }

    /// Coordinates along the axes, and what is left off them where there is anything.
    pub(crate) fn split(&self, v: DVector<f64>) -> (DVector<f64>, Option<DVector<f64>>) {
        if !self.is_thin() {
            return (self.in_axes(v), None);
        }
        let along = self.in_axes(v.clone());
        let off = v - self.along_axes(along.clone());
        (along, Some(off))
    }

    /// f(Sigma) y for a function of the eigenvalues.
    pub fn spectral(&self, f: impl Fn(f64) -> f64, y: DVector<f64>) -> DVector<f64> {
        let (mut along, off) = self.split(y);
        for (a, v) in along.iter_mut().zip(self.variances.iter()) {
            *a *= f(*v);
        }
        let out = self.along_axes(along);
        match off {
            None => out,
            Some(off) => out + off * f(self.off_axes),
        }
    }

    /// f(Sigma), D x D.
    pub fn spectral_matrix(&self, f: impl Fn(f64) -> f64) -> DMatrix<f64> {
        let off = if self.is_thin() {
            f(self.off_axes)
        } else {
            0.0
        };
        let along = DMatrix::from_diagonal(&self.variances.map(|v| f(v) - off));
        let mut matrix = match &self.axes {
            None => along,
            Some(u) => u * along * u.transpose(),
        };
        if self.is_thin() {
            for i in 0..self.mean.len() {
                matrix[(i, i)] += off;
            }
        }
        matrix
    }

    /// D x D.
    pub fn covariance(&self) -> DMatrix<f64> {
        self.spectral_matrix(|v| v)
    }

    /// The same component with all of its D axes.
    pub(crate) fn completed(&self) -> Self {
        let (Some(axes), true) = (&self.axes, self.is_thin()) else {
            return self.clone();
        };
        let (dim, rank) = axes.shape();
        let mut variances = DVector::from_element(dim, self.off_axes);
        variances.rows_mut(0, rank).copy_from(&self.variances);
        Self {
            mean: self.mean.clone(),
            variances,
            axes: Some(complete(axes.clone(), dim)),
            off_axes: 0.0,
        }
    }

    /// Draws one clean point into `x0` (length D).
    pub fn sample<R: Rng + ?Sized>(&self, rng: &mut R, x0: &mut [f64]) {
        if self.is_point() {
            x0.copy_from_slice(self.mean.as_slice());
            return;
        }
        let mut normal = || rng.sample::<f64, _>(StandardNormal);
        let along = DVector::from_iterator(
            self.variances.len(),
            self.variances.iter().map(|v| v.sqrt() * normal()),
        );
        let mut point = &self.mean + self.along_axes(along);
        if self.off() > 0.0 {
            let noise = DVector::from_fn(self.mean.len(), |_, _| normal());
            if let (_, Some(off)) = self.split(noise) {
                point.axpy(self.off_axes.sqrt(), &off, 1.0);
            }
        }
        x0.copy_from_slice(point.as_slice());
    }

    /// A point of the noised component, alpha x0 + sigma xi, from D standard normal numbers.
    pub fn noised(
        &self,
        alpha: f64,
        sigma: f64,
        normals: impl Iterator<Item = f64>,
        out: &mut [f64],
    ) {
        let spread = |v: f64| (alpha * alpha * v + sigma * sigma).sqrt();
        let dim = self.mean.len();
        let turned = if self.is_thin() {
            self.spectral(spread, DVector::from_iterator(dim, normals.take(dim)))
        } else {
            let scaled = normals.zip(self.variances.iter());
            let scaled = scaled.map(|(z, v)| spread(*v) * z);
            self.along_axes(DVector::from_iterator(dim, scaled))
        };
        out.copy_from_slice((&self.mean * alpha + turned).as_slice());
    }

    /// Variance along a unit vector.
    pub fn variance_along(&self, direction: &[f64]) -> f64 {
        let (along, off) = match (&self.axes, self.is_thin()) {
            (Some(axes), true) => {
                // A coordinate axis, most often: few rows count.
                let mut along = DVector::zeros(axes.ncols());
                for (i, a) in direction.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                    along += axes.row(i).transpose() * *a;
                }
                let off = direction.iter().map(|a| a * a).sum::<f64>() - along.norm_squared();
                (along, self.off_axes * off.max(0.0))
            }
            _ => (self.in_axes(DVector::from_column_slice(direction)), 0.0),
        };
        let squares = along.iter().zip(self.variances.iter());
        off + squares.map(|(a, v)| a * a * v).sum::<f64>()
    }

    /// Variance of coordinate `i`.
    pub(crate) fn variance_of(&self, i: usize) -> f64 {
        let Some(u) = &self.axes else {
            return self.variances[i];
        };
        let row = u.row(i);
        let along: f64 = row
            .iter()
            .zip(self.variances.iter())
            .map(|(a, v)| a * a * v)
            .sum();
        along + self.off() * (1.0 - row.norm_squared()).max(0.0)
    }
}
