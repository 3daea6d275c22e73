//! Mixtures of low-rank Gaussians: x0 = U_k a + s e with probability pi_k, a ~ N(0, I_d), e ~ N(0, I_n), U_k orthonormal n x d
//! (Wang et al., arXiv 2409.02426; derivations/24-low-rank-mixtures.md).

mod point;
mod posterior;

pub use point::LowRankPoint;
pub use posterior::LowRankPosterior;

use nalgebra::{DMatrix, DVector};

use super::{Component, Data, DataError};
use crate::numerics::linalg::orthonormal;

/// Columns may be this far from orthonormal, in the largest element of U^T U - I.
const ORTHONORMAL: f64 = 1e-6;

impl Data {
    /// Gaussians around the origin of variance 1 + s^2 on subspaces and s^2 off them: `bases` are n x d_k with orthonormal columns
    /// (to 1e-6, and then made so to rounding), `noise` is s.
    ///
    /// # Errors
    /// Bases of other shapes than n x 1 to n x n, or of columns that are not orthonormal.
    pub fn low_rank(
        bases: &[DMatrix<f64>],
        noise: f64,
        weights: Option<&[f64]>,
    ) -> Result<Self, DataError> {
        if !(noise.is_finite() && noise >= 0.0) {
            return Err(DataError::Noise { value: noise });
        }
        let dim = bases.first().map_or(0, DMatrix::nrows);
        let components = bases
            .iter()
            .enumerate()
            .map(|(index, basis)| component(index, basis, dim, noise * noise))
            .collect::<Result<Vec<_>, DataError>>()?;
        Self::new(components, weights)
    }

    /// Orthonormal bases (n x d_k) of the subspaces where the data are a mixture as [`Self::low_rank`] makes it.
    pub fn subspaces(&self) -> Option<Vec<&DMatrix<f64>>> {
        let all = self.components().iter();
        all.map(|c| c.axes.as_ref().filter(|_| is_low_rank(c)))
            .collect()
    }
}

/// Around the origin, of variance 1 + s^2 along all axes and s^2 off them?
fn is_low_rank(component: &Component) -> bool {
    let along = component.variances[0];
    let noise_fits = match component.is_thin() {
        true => along == 1.0 + component.off_axes,
        false => along >= 1.0,
    };
    noise_fits
        && component.variances.iter().all(|v| *v == along)
        && component.mean.iter().all(|m| *m == 0.0)
}

fn component(
    index: usize,
    basis: &DMatrix<f64>,
    dim: usize,
    off_axes: f64,
) -> Result<Component, DataError> {
    let (rows, columns) = basis.shape();
    if rows != dim || columns == 0 || columns > dim {
        return Err(DataError::BasisShape {
            index,
            rows,
            columns,
            dim,
        });
    }
    let deviation = (basis.tr_mul(basis) - DMatrix::identity(columns, columns)).amax();
    if deviation.is_nan() || deviation > ORTHONORMAL {
        return Err(DataError::Orthonormal { index, deviation });
    }
    Ok(Component {
        mean: DVector::zeros(dim),
        variances: DVector::from_element(columns, 1.0 + off_axes),
        axes: Some(orthonormal(basis)),
        off_axes: if columns < dim { off_axes } else { 0.0 },
    })
}
