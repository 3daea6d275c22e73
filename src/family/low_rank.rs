//! Low-rank mixtures (Wang et al. 2409.02426): the denoiser of data on K linear subspaces, with learnable bases
//! (derivations/25-subspaces.md).

use faer::{MatMut, MatRef};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Denoiser;
use crate::numerics::linalg::{add_product, multiply, view};
use crate::numerics::subspace;
use crate::problem::Diffusion;

/// Points that are denoised together.
const CHUNK: usize = 512;
/// |U^T U - I| that counts as orthonormal, element by element.
const ORTHONORMAL: f64 = 1e-8;

/// How points are shared among the subspaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assignment {
    /// By the posterior weights: the exact posterior mean.
    Soft,
    /// The subspace of the largest posterior weight takes all; for equal ranks and weights that of the largest |U_k^T x|.
    Sharp,
}

/// Why bases and weights make no mixture.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum LowRankError {
    #[error("a low-rank mixture needs at least one basis")]
    Empty,
    #[error(
        "basis {index} is {rows} x {columns}; it must have {expected} rows and 1 to {expected} columns"
    )]
    Shape {
        index: usize,
        rows: usize,
        columns: usize,
        expected: usize,
    },
    #[error(
        "basis {index} is not orthonormal: U^T U differs from I by {error:.1e}, allowed {ORTHONORMAL:.0e}"
    )]
    NotOrthonormal { index: usize, error: f64 },
    #[error("{found} weights for {expected} subspaces")]
    WeightCount { found: usize, expected: usize },
    #[error("weight {index} is {value}; weights are finite and positive")]
    Weight { index: usize, value: f64 },
}

/// x0 = U_k a with probability pi_k, a ~ N(0, I) of d_k dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// U_k, n x d_k with orthonormal columns.
    pub bases: Vec<DMatrix<f64>>,
    /// pi_k, positive, in any unit.
    pub weights: Vec<f64>,
    pub assignment: Assignment,
}

impl LowRank {
    /// Checks the shapes, that bases are orthonormal to 1e-8, and the weights.
    pub fn new(
        bases: Vec<DMatrix<f64>>,
        weights: Vec<f64>,
        assignment: Assignment,
    ) -> Result<Self, LowRankError> {
        let expected = bases.first().ok_or(LowRankError::Empty)?.nrows();
        for (index, basis) in bases.iter().enumerate() {
            check_basis(index, basis, expected)?;
        }
        if weights.len() != bases.len() {
            return Err(LowRankError::WeightCount {
                found: weights.len(),
                expected: bases.len(),
            });
        }
        let wrong = |w: &f64| !(w.is_finite() && *w > 0.0);
        if let Some(index) = weights.iter().position(wrong) {
            let value = weights[index];
            return Err(LowRankError::Weight { index, value });
        }
        Ok(Self {
            bases,
            weights,
            assignment,
        })
    }

    /// Ambient dimension n.
    pub fn dim(&self) -> usize {
        self.bases.first().map_or(0, DMatrix::nrows)
    }

    /// d_k of every subspace.
    pub fn ranks(&self) -> Vec<usize> {
        self.bases.iter().map(DMatrix::ncols).collect()
    }
}

fn check_basis(index: usize, basis: &DMatrix<f64>, expected: usize) -> Result<(), LowRankError> {
    let (rows, columns) = basis.shape();
    if rows != expected || !(1..=expected).contains(&columns) {
        return Err(LowRankError::Shape {
            index,
            rows,
            columns,
            expected,
        });
    }
    let gram = multiply(view(basis).transpose(), view(basis));
    let error = (gram - DMatrix::identity(columns, columns)).amax();
    // Written so that NaN is refused.
    match error <= ORTHONORMAL {
        true => Ok(()),
        false => Err(LowRankError::NotOrthonormal { index, error }),
    }
}

/// What one time means for the posterior (D25.1).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Level {
    /// c = alpha/(alpha^2 + sigma^2): the posterior mean is c U_k U_k^T x.
    pub gain: f64,
    /// h = alpha^2/(2 sigma^2 (alpha^2 + sigma^2)): ln w_k rises by h |U_k^T x|^2.
    pub rate: f64,
    /// ln pi_k + (d_k/2) ln(sigma^2/(alpha^2 + sigma^2)).
    pub log_prior: Vec<f64>,
}

impl Level {
    pub fn new(diffusion: &Diffusion, t: f64, ranks: &[usize], weights: &[f64]) -> Self {
        let (alpha, sigma2) = (diffusion.alpha(t), diffusion.sigma2(t));
        let total = alpha * alpha + sigma2;
        let shrink = 0.5 * (sigma2 / total).ln();
        let log_prior = ranks.iter().zip(weights);
        Self {
            gain: alpha / total,
            rate: alpha * alpha / (2.0 * sigma2 * total),
            log_prior: log_prior
                .map(|(d, pi)| pi.ln() + *d as f64 * shrink)
                .collect(),
        }
    }

    /// Turns the squared lengths |U_k^T x|^2 into posterior weights, by log-sum-exp; sharp weights are 0 and 1, the first of
    /// equals taking all.
    pub fn weigh(&self, assignment: Assignment, squares: &mut [f64]) {
        for (s, prior) in squares.iter_mut().zip(&self.log_prior) {
            *s = prior + self.rate * *s;
        }
        let mut first = 0;
        for (k, s) in squares.iter().enumerate() {
            if *s > squares[first] {
                first = k;
            }
        }
        if assignment == Assignment::Sharp {
            squares.fill(0.0);
            squares[first] = 1.0;
            return;
        }
        let largest = squares[first];
        let mut sum = 0.0;
        for s in squares.iter_mut() {
            *s = (*s - largest).exp();
            sum += *s;
        }
        for s in squares.iter_mut() {
            *s /= sum;
        }
    }
}

/// A low-rank mixture as a denoiser: E[x0|x,t] = c sum_k w_k U_k U_k^T x (D25.1), by products with thin matrices.
#[derive(Debug, Clone)]
pub struct LowRankDenoiser<'a> {
    model: &'a LowRank,
    diffusion: &'a Diffusion,
    ranks: Vec<usize>,
    /// All bases side by side, n x sum d_k.
    joined: DMatrix<f64>,
}

impl<'a> LowRankDenoiser<'a> {
    pub fn new(model: &'a LowRank, diffusion: &'a Diffusion) -> Self {
        Self {
            model,
            diffusion,
            ranks: model.ranks(),
            joined: subspace::join(&model.bases),
        }
    }

    /// Posterior weights of the subspaces, points x K (0 and 1 where the assignment is sharp).
    pub fn posterior_weights(&self, t: f64, x: &[f64]) -> DMatrix<f64> {
        let points = points_of(x, self.model.dim());
        let level = self.level(t);
        let mut weights = DMatrix::zeros(points.nrows(), self.ranks.len());
        for first in (0..points.nrows()).step_by(CHUNK) {
            let chunk = points.subrows(first, CHUNK.min(points.nrows() - first));
            let projected = multiply(chunk, view(&self.joined));
            let own = self.weights(&level, &projected);
            weights.rows_mut(first, own.nrows()).copy_from(&own);
        }
        weights
    }

    fn level(&self, t: f64) -> Level {
        Level::new(self.diffusion, t, &self.ranks, &self.model.weights)
    }

    /// Posterior weights from the coordinates in the subspaces (points x sum d_k).
    fn weights(&self, level: &Level, projected: &DMatrix<f64>) -> DMatrix<f64> {
        let mut weights = DMatrix::zeros(projected.nrows(), self.ranks.len());
        let mut first = 0;
        for (mut column, d) in weights.column_iter_mut().zip(&self.ranks) {
            for coordinate in projected.columns(first, *d).column_iter() {
                column.zip_apply(&coordinate, |s, p| *s += p * p);
            }
            first += d;
        }
        let mut own = vec![0.0; self.ranks.len()];
        for mut row in weights.row_iter_mut() {
            own.iter_mut().zip(row.iter()).for_each(|(o, s)| *o = *s);
            level.weigh(self.model.assignment, &mut own);
            row.iter_mut().zip(&own).for_each(|(s, o)| *s = *o);
        }
        weights
    }
}

/// Coordinate-major positions as a matrix, points x n.
fn points_of(x: &[f64], dim: usize) -> MatRef<'_, f64> {
    MatRef::from_column_major_slice(x, x.len() / dim, dim)
}

impl Denoiser for LowRankDenoiser<'_> {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        let dim = self.model.dim();
        let points = points_of(x, dim);
        denoised.fill(0.0);
        let mut out = MatMut::from_column_major_slice_mut(denoised, points.nrows(), dim);
        let level = self.level(t);
        for first in (0..points.nrows()).step_by(CHUNK) {
            let count = CHUNK.min(points.nrows() - first);
            let mut projected = multiply(points.subrows(first, count), view(&self.joined));
            let weights = self.weights(&level, &projected);
            let owners = self.ranks.iter().enumerate();
            let owners = owners.flat_map(|(k, d)| std::iter::repeat_n(k, *d));
            for (mut coordinate, k) in projected.column_iter_mut().zip(owners) {
                let weight = weights.column(k);
                coordinate.zip_apply(&weight, |p, w| *p *= level.gain * w);
            }
            let back = view(&self.joined).transpose();
            add_product(
                view(&projected),
                back,
                out.as_mut().subrows_mut(first, count),
            );
        }
    }

    /// On the line every subspace is the line itself: E[x0|x,t] = c x.
    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.denoise(t, x, denoised);
        slope.fill(self.level(t).gain);
    }
}
