//! The training distribution p(x0): a finite mixture of Gaussians of any covariance, point masses included.

use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use thiserror::Error;

use super::Component;

/// Why a data distribution was refused.
#[derive(Debug, Error, PartialEq)]
pub enum DataError {
    #[error("the data set is empty")]
    Empty,
    #[error("point {index} has {found} coordinates, the first has {expected}")]
    Dimension {
        index: usize,
        found: usize,
        expected: usize,
    },
    #[error("{found} weights for {expected} components")]
    WeightCount { found: usize, expected: usize },
    #[error("weight {index} is {value}; weights are finite and not negative")]
    Weight { index: usize, value: f64 },
    #[error("the weights sum to {sum}; they must sum to 1 (within 1e-6)")]
    WeightSum { sum: f64 },
    #[error("coordinate {coordinate} of component {index} is {value}; it must be finite")]
    NotFinite {
        index: usize,
        coordinate: usize,
        value: f64,
    },
    #[error("standard deviation {value} of component {index}; it must be finite and not negative")]
    Std { index: usize, value: f64 },
    #[error(
        "the covariance of component {index} is {rows} x {cols}; it must be {expected} x {expected}"
    )]
    CovarianceShape {
        index: usize,
        rows: usize,
        cols: usize,
        expected: usize,
    },
    #[error(
        "the covariance of component {index} is not symmetric and positive semi-definite (lowest eigenvalue {lowest:.3e})"
    )]
    Covariance { index: usize, lowest: f64 },
    #[error(
        "basis {index} has {rows} rows and {columns} columns; it must have {dim} rows and 1 to {dim} columns"
    )]
    BasisShape {
        index: usize,
        rows: usize,
        columns: usize,
        dim: usize,
    },
    #[error(
        "the columns of basis {index} are not orthonormal: U^T U is off the identity by {deviation:.3e}"
    )]
    Orthonormal { index: usize, deviation: f64 },
    #[error("the standard deviation {value} off the subspaces; it must be finite and not negative")]
    Noise { value: f64 },
}

/// A mixture of Gaussians and point masses in D dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    components: Vec<Component>,
    weights: Vec<f64>,
    log_weights: Vec<f64>,
    cumulative: Vec<f64>,
}

impl Data {
    /// Point masses: `points` is M x D, `weights` of length M or equal when absent.
    pub fn points(points: &[Vec<f64>], weights: Option<&[f64]>) -> Result<Self, DataError> {
        let components = points
            .iter()
            .map(|p| Component::along_coordinates(p, DVector::zeros(p.len())))
            .collect();
        Self::new(components, weights)
    }

    /// Gaussians with the given standard deviation per coordinate (M x D each).
    pub fn diagonal_mixture(
        means: &[Vec<f64>],
        stds: &[Vec<f64>],
        weights: Option<&[f64]>,
    ) -> Result<Self, DataError> {
        let mut components = Vec::with_capacity(means.len());
        for (index, (mean, std)) in means.iter().zip(stds).enumerate() {
            if std.len() != mean.len() {
                return Err(DataError::Dimension {
                    index,
                    found: std.len(),
                    expected: mean.len(),
                });
            }
            if let Some(&value) = std.iter().find(|s| !s.is_finite() || **s < 0.0) {
                return Err(DataError::Std { index, value });
            }
            let variances = DVector::from_iterator(std.len(), std.iter().map(|s| s * s));
            components.push(Component::along_coordinates(mean, variances));
        }
        Self::new(components, weights)
    }

    /// Gaussians with full covariance matrices (each D x D, given by rows).
    pub fn full_mixture(
        means: &[Vec<f64>],
        covariances: &[Vec<Vec<f64>>],
        weights: Option<&[f64]>,
    ) -> Result<Self, DataError> {
        let mut components = Vec::with_capacity(means.len());
        for (index, (mean, rows)) in means.iter().zip(covariances).enumerate() {
            components.push(Component::with_covariance(index, mean, rows)?);
        }
        Self::new(components, weights)
    }

    pub(super) fn new(
        components: Vec<Component>,
        weights: Option<&[f64]>,
    ) -> Result<Self, DataError> {
        let first = components.first().ok_or(DataError::Empty)?;
        let dim = first.mean.len();
        if dim == 0 {
            return Err(DataError::Empty);
        }
        for (index, c) in components.iter().enumerate() {
            if c.mean.len() != dim {
                return Err(DataError::Dimension {
                    index,
                    found: c.mean.len(),
                    expected: dim,
                });
            }
            if let Some((coordinate, &value)) =
                c.mean.iter().enumerate().find(|(_, v)| !v.is_finite())
            {
                return Err(DataError::NotFinite {
                    index,
                    coordinate,
                    value,
                });
            }
        }
        let weights = match weights {
            None => vec![1.0 / components.len() as f64; components.len()],
            Some(w) => checked_weights(w, components.len())?,
        };
        let mut total = 0.0;
        let cumulative = weights
            .iter()
            .map(|w| {
                total += w;
                total
            })
            .collect();
        Ok(Self {
            log_weights: weights.iter().map(|w| w.ln()).collect(),
            components,
            weights,
            cumulative,
        })
    }

    /// Dimension D.
    pub fn dim(&self) -> usize {
        self.components[0].mean.len()
    }

    pub fn components(&self) -> &[Component] {
        &self.components
    }

    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    pub(crate) fn log_weights(&self) -> &[f64] {
        &self.log_weights
    }

    /// The component that a uniform random number chooses.
    pub fn component_at(&self, uniform: f64) -> &Component {
        &self.components[self.index_at(uniform)]
    }

    fn index_at(&self, uniform: f64) -> usize {
        let u = uniform * self.cumulative[self.cumulative.len() - 1];
        let k = self.cumulative.partition_point(|c| *c <= u);
        k.min(self.components.len() - 1)
    }

    /// Draws one clean point into `x0` (length D).
    pub fn sample<R: Rng + ?Sized>(&self, rng: &mut R, x0: &mut [f64]) {
        self.sample_labelled(rng, x0);
    }

    /// The same; returns the component that the point belongs to.
    pub fn sample_labelled<R: Rng + ?Sized>(&self, rng: &mut R, x0: &mut [f64]) -> usize {
        let k = self.index_at(rng.random::<f64>());
        self.components[k].sample(rng, x0);
        k
    }

    /// Mean of the whole mixture, length D.
    pub fn mean(&self) -> DVector<f64> {
        let mut mean = DVector::zeros(self.dim());
        for (c, w) in self.components.iter().zip(&self.weights) {
            mean.axpy(*w, &c.mean, 1.0);
        }
        mean
    }
}

impl Data {
    /// The mixture turned about the origin by so many degrees, counter-clockwise. D = 2.
    ///
    /// # Panics
    /// In another dimension.
    pub fn rotated(mut self, degrees: f64) -> Self {
        assert_eq!(self.dim(), 2, "a rotation of the plane");
        let (sin, cos) = degrees.to_radians().sin_cos();
        let turn = DMatrix::from_row_slice(2, 2, &[cos, -sin, sin, cos]);
        for component in &mut self.components {
            component.mean = &turn * &component.mean;
            if !component.is_point() {
                component.axes = Some(match &component.axes {
                    None => turn.clone(),
                    Some(axes) => &turn * axes,
                });
            }
        }
        self
    }

    /// Covariance of the whole mixture, D x D.
    pub fn covariance(&self) -> DMatrix<f64> {
        let mean = self.mean();
        let mut covariance = DMatrix::zeros(self.dim(), self.dim());
        for (c, w) in self.components.iter().zip(&self.weights) {
            let deviation = &c.mean - &mean;
            covariance.ger(*w, &deviation, &deviation, 1.0);
            covariance += c.covariance() * *w;
        }
        covariance
    }
}

fn checked_weights(weights: &[f64], expected: usize) -> Result<Vec<f64>, DataError> {
    if weights.len() != expected {
        return Err(DataError::WeightCount {
            found: weights.len(),
            expected,
        });
    }
    for (index, &value) in weights.iter().enumerate() {
        if !value.is_finite() || value < 0.0 {
            return Err(DataError::Weight { index, value });
        }
    }
    let sum: f64 = weights.iter().sum();
    if (sum - 1.0).abs() > 1e-6 {
        return Err(DataError::WeightSum { sum });
    }
    Ok(weights.iter().map(|w| w / sum).collect())
}
