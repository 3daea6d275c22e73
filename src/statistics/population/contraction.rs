//! Sums of products of two features of space over the points of one time, and the reverse, by the product structure of the
//! features where they have one (D16.4).

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use nalgebra::DMatrix;

use super::points::Points;
use crate::family::features::{SpaceFeatures, dot};
use crate::numerics::linalg::{add_product, add_product_lower, multiply, view, view_mut};
use crate::numerics::pairs;

/// Scattered points treated together.
const BLOCK: usize = 256;

/// How the products phi_s phi_s' are summed. A symmetric form over pairs of features of space is kept packed: only what the
/// products distinguish.
pub(super) enum Contraction {
    /// phi = l x r (Kronecker), r running fastest: pairs of l, then pairs of r.
    Split {
        left: SpaceFeatures,
        right: SpaceFeatures,
    },
    /// Any features: pairs of them.
    Whole(SpaceFeatures),
}

impl Contraction {
    /// By the factors of the features where `separable`, the first half of the coordinates against the others.
    pub fn new(features: &SpaceFeatures, separable: bool) -> Self {
        match features.factors() {
            Some(factors) if separable && factors.len() > 1 => {
                let (left, right) = factors.split_at(factors.len() / 2);
                Self::Split {
                    left: SpaceFeatures::Product(left.to_vec()),
                    right: SpaceFeatures::Product(right.to_vec()),
                }
            }
            _ => Self::Whole(features.clone()),
        }
    }

    /// Length of a packed form.
    pub fn packed(&self) -> usize {
        match self {
            Self::Split { left, right } => pairs::count(left.len()) * pairs::count(right.len()),
            Self::Whole(features) => pairs::count(features.len()),
        }
    }

    /// Flops of one sum over the points of one time, roughly; on a square grid where `grid`.
    pub fn flops(&self, points: f64, grid: bool) -> f64 {
        /// Flops that one value of a feature costs.
        const VALUE: f64 = 300.0;
        let count = |n: usize| n as f64;
        match self {
            Self::Split { left, right } => {
                let (l, r) = (
                    count(pairs::count(left.len())),
                    count(pairs::count(right.len())),
                );
                match grid {
                    true => 2.0 * r * points + 2.0 * l * r * points.sqrt(),
                    false => (2.0 * l * r + VALUE * count(left.len() + right.len())) * points,
                }
            }
            Self::Whole(features) => {
                let n = count(features.len());
                (2.0 * n * n + VALUE * n) * points
            }
        }
    }

    /// Where the product phi_s phi_s' stands in a packed form.
    pub fn index(&self, s: usize, other: usize) -> usize {
        match self {
            Self::Split { right, .. } => {
                let r = right.len();
                pairs::place(s / r, other / r) * pairs::count(r) + pairs::place(s % r, other % r)
            }
            Self::Whole(_) => pairs::place(s, other),
        }
    }

    /// Sum of coefficient phi_s phi_s' over the points, packed.
    pub fn gram(&self, points: &Points, coefficient: &[f64]) -> Vec<f64> {
        match (self, points) {
            (Self::Split { left, right }, Points::Grid([first, second])) => {
                let (l, r) = (
                    pair_products(&axis(left, first)),
                    pair_products(&axis(right, second)),
                );
                let inner = on_grid(coefficient, second.len(), first.len());
                let half = multiply(view(&r), inner);
                let sum = multiply(view(&half), view(&l).transpose());
                sum.as_slice().to_vec()
            }
            (Self::Split { left, right }, _) => {
                let mut sum = DMatrix::zeros(pairs::count(right.len()), pairs::count(left.len()));
                for block in Block::all(points) {
                    let l = pair_products(&block.values(left, 0));
                    let mut r = pair_products(&block.values(right, left.dim()));
                    scale_columns(&mut r, block.own(coefficient));
                    add_product(view(&r), view(&l).transpose(), view_mut(&mut sum));
                }
                sum.as_slice().to_vec()
            }
            (Self::Whole(features), _) => {
                let n = features.len();
                let mut sum = DMatrix::zeros(n, n);
                for block in Block::all(points) {
                    let values = block.values(features, 0);
                    let mut scaled = values.clone();
                    scale_columns(&mut scaled, block.own(coefficient));
                    let (scaled, values) = (view(&scaled), view(&values).transpose());
                    add_product_lower(scaled, values, 1.0, view_mut(&mut sum));
                }
                (0..n)
                    .flat_map(|i| (0..=i).map(move |j| (i, j)))
                    .map(|at| sum[at])
                    .collect()
            }
        }
    }

    /// Sum of form phi_s phi_s' over the pairs, at every point; `form` is packed, each pair once.
    pub fn quadratic(&self, points: &Points, form: &[f64], out: &mut [f64]) {
        match (self, points) {
            (Self::Split { left, right }, Points::Grid([first, second])) => {
                let (l, r) = (
                    pair_products(&axis(left, first)),
                    pair_products(&axis(right, second)),
                );
                let form = MatRef::from_column_major_slice(form, r.nrows(), l.nrows());
                let half = multiply(form, view(&l));
                let (rows, columns) = (second.len(), first.len());
                let out = MatMut::from_column_major_slice_mut(out, rows, columns);
                let r = view(&r).transpose();
                matmul(out, Accum::Replace, r, view(&half), 1.0, Par::Seq);
            }
            (Self::Split { left, right }, _) => {
                for block in Block::all(points) {
                    let l = pair_products(&block.values(left, 0));
                    let r = pair_products(&block.values(right, left.dim()));
                    let form = MatRef::from_column_major_slice(form, r.nrows(), l.nrows());
                    dot_columns(&multiply(form, view(&l)), &r, block.own_mut(out));
                }
            }
            (Self::Whole(features), _) => {
                let n = features.len();
                let lower = DMatrix::from_fn(n, n, |i, j| match j <= i {
                    true => form[pairs::place(i, j)],
                    false => 0.0,
                });
                for block in Block::all(points) {
                    let values = block.values(features, 0);
                    let half = multiply(view(&lower), view(&values));
                    dot_columns(&half, &values, block.own_mut(out));
                }
            }
        }
    }

    /// Sum of weight_s phi_s at every point.
    pub fn fit(&self, points: &Points, weights: &[f64], out: &mut [f64]) {
        match (self, points) {
            (Self::Split { left, right }, Points::Grid([first, second])) => {
                let (l, r) = (axis(left, first), axis(right, second));
                let weights = MatRef::from_column_major_slice(weights, r.nrows(), l.nrows());
                let half = multiply(weights, view(&l));
                let out = MatMut::from_column_major_slice_mut(out, second.len(), first.len());
                let r = view(&r).transpose();
                matmul(out, Accum::Replace, r, view(&half), 1.0, Par::Seq);
            }
            (Self::Split { left, right }, _) => {
                for block in Block::all(points) {
                    let (l, r) = (block.values(left, 0), block.values(right, left.dim()));
                    let weights = MatRef::from_column_major_slice(weights, r.nrows(), l.nrows());
                    dot_columns(&multiply(weights, view(&l)), &r, block.own_mut(out));
                }
            }
            (Self::Whole(features), _) => {
                for block in Block::all(points) {
                    let values = block.values(features, 0);
                    for (o, v) in block.own_mut(out).iter_mut().zip(values.column_iter()) {
                        *o = dot(weights, v.as_slice());
                    }
                }
            }
        }
    }

    /// Sum of coefficient phi_s over the points, length F_x.
    pub fn combine(&self, points: &Points, coefficient: &[f64]) -> Vec<f64> {
        match (self, points) {
            (Self::Split { left, right }, Points::Grid([first, second])) => {
                let (l, r) = (axis(left, first), axis(right, second));
                let inner = on_grid(coefficient, second.len(), first.len());
                let half = multiply(view(&r), inner);
                let sum = multiply(view(&half), view(&l).transpose());
                sum.as_slice().to_vec()
            }
            (Self::Split { left, right }, _) => {
                let mut sum = DMatrix::zeros(right.len(), left.len());
                for block in Block::all(points) {
                    let (l, mut r) = (block.values(left, 0), block.values(right, left.dim()));
                    scale_columns(&mut r, block.own(coefficient));
                    add_product(view(&r), view(&l).transpose(), view_mut(&mut sum));
                }
                sum.as_slice().to_vec()
            }
            (Self::Whole(features), _) => {
                let mut sum = vec![0.0; features.len()];
                for block in Block::all(points) {
                    let values = block.values(features, 0);
                    for (c, v) in block.own(coefficient).iter().zip(values.column_iter()) {
                        for (sum, v) in sum.iter_mut().zip(v.iter()) {
                            *sum += c * v;
                        }
                    }
                }
                sum
            }
        }
    }
}

/// Node values of a grid: the second axis runs fastest.
fn on_grid(values: &[f64], rows: usize, columns: usize) -> MatRef<'_, f64> {
    MatRef::from_column_major_slice(values, rows, columns)
}

/// Features of one coordinate along an axis, features x nodes.
fn axis(features: &SpaceFeatures, nodes: &[f64]) -> DMatrix<f64> {
    let mut values = DMatrix::zeros(features.len(), nodes.len());
    for (x, mut column) in nodes.iter().zip(values.column_iter_mut()) {
        features.values(&[*x], column.as_mut_slice());
    }
    values
}

/// Products of all pairs of rows, column by column.
pub(super) fn pair_products(values: &DMatrix<f64>) -> DMatrix<f64> {
    let mut out = DMatrix::zeros(pairs::count(values.nrows()), values.ncols());
    for (v, mut column) in values.column_iter().zip(out.column_iter_mut()) {
        for (o, product) in column.iter_mut().zip(pairs::products(v.as_slice())) {
            *o = product;
        }
    }
    out
}

fn scale_columns(matrix: &mut DMatrix<f64>, factors: &[f64]) {
    for (mut column, f) in matrix.column_iter_mut().zip(factors) {
        column *= *f;
    }
}

/// Inner products of the columns of two matrices.
fn dot_columns(left: &DMatrix<f64>, right: &DMatrix<f64>, out: &mut [f64]) {
    for ((o, l), r) in out
        .iter_mut()
        .zip(left.column_iter())
        .zip(right.column_iter())
    {
        *o = dot(l.as_slice(), r.as_slice());
    }
}

/// Points treated together.
struct Block<'a> {
    points: &'a Points,
    range: std::ops::Range<usize>,
}

impl<'a> Block<'a> {
    fn all(points: &'a Points) -> impl Iterator<Item = Self> {
        let n = points.len();
        (0..n).step_by(BLOCK).map(move |start| Self {
            points,
            range: start..(start + BLOCK).min(n),
        })
    }

    /// Features of the coordinates from `first` on, features x points.
    fn values(&self, features: &SpaceFeatures, first: usize) -> DMatrix<f64> {
        let (dim, n) = (features.dim(), self.range.len());
        let (mut x, mut point) = (vec![0.0; dim * n], vec![0.0; self.points.dim()]);
        for (k, index) in self.range.clone().enumerate() {
            self.points.coordinates(index, &mut point);
            for (i, a) in point[first..first + dim].iter().enumerate() {
                x[i * n + k] = *a;
            }
        }
        let mut values = DMatrix::zeros(features.len(), n);
        features.values_at(&x, values.as_mut_slice());
        values
    }

    fn own<'b>(&self, all: &'b [f64]) -> &'b [f64] {
        &all[self.range.clone()]
    }

    fn own_mut<'b>(&self, all: &'b mut [f64]) -> &'b mut [f64] {
        &mut all[self.range.clone()]
    }
}
