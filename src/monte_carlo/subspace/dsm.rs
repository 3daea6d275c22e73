//! The DSM loss of a low-rank mixture on given clean points, as a function of its bases, with its gradient (D25.4, D25.5).

use nalgebra::DMatrix;
use rand::Rng;

use super::stiefel::Objective;
use crate::family::{Assignment, Level};
use crate::numerics::linalg::{add_product, multiply, view, view_mut};
use crate::numerics::subspace::random_basis;
use crate::problem::Diffusion;

/// Noised points that go through the products together: their values stay in second-level cache.
const CHUNK: usize = 512;

/// The noise that the loss is averaged over. Every clean point has, at every time, its own draws +-sqrt(n) q_j along random
/// orthonormal directions q_j, the same in all evaluations. In multiples of n pairs they average every polynomial of degree
/// three exactly; fewer do so on average over the directions.
#[derive(Debug, Clone, PartialEq)]
pub struct DsmNoise {
    /// Times t and the weights lambda of the squared error of x0 there.
    pub times: Vec<(f64, f64)>,
    /// Pairs of opposite draws per clean point and time.
    pub pairs: usize,
}

/// What is fixed of the model that is trained.
#[derive(Debug, Clone, Copy)]
pub struct Mixture<'a> {
    pub ranks: &'a [usize],
    /// pi_k.
    pub weights: &'a [f64],
    pub assignment: Assignment,
}

/// The loss, normalised by the sum of the weights, per clean point.
pub struct DsmLoss<'a> {
    clean: &'a DMatrix<f64>,
    mixture: Mixture<'a>,
    blocks: Vec<Block>,
}

/// Some noised points of one time.
struct Block {
    /// n x S.
    x: DMatrix<f64>,
    /// The clean point of every column.
    owners: Vec<usize>,
    level: Level,
    /// The share of one column in the loss.
    weight: f64,
}

impl<'a> DsmLoss<'a> {
    /// Bytes of the noised points.
    pub fn bytes(ambient: usize, points: usize, noise: &DsmNoise) -> u64 {
        let numbers = [ambient, points, noise.times.len(), 2 * noise.pairs];
        let count = numbers
            .iter()
            .fold(1_u64, |n, f| n.saturating_mul(*f as u64));
        count.saturating_mul(8)
    }

    /// Draws the noise of clean points (n x N).
    pub fn new<R: Rng + ?Sized>(
        clean: &'a DMatrix<f64>,
        diffusion: &Diffusion,
        mixture: Mixture<'a>,
        noise: &DsmNoise,
        rng: &mut R,
    ) -> Self {
        let total: f64 = noise.times.iter().map(|(_, w)| w).sum();
        let draws = 2 * noise.pairs;
        let at_once = (CHUNK / draws.max(1)).max(1);
        let mut blocks = Vec::new();
        for (t, weight) in &noise.times {
            let level = Level::new(diffusion, *t, mixture.ranks, mixture.weights);
            let scale = (diffusion.alpha(*t), diffusion.sigma(*t));
            for first in (0..clean.ncols()).step_by(at_once) {
                let last = (first + at_once).min(clean.ncols());
                let owners = (first..last).flat_map(|i| std::iter::repeat_n(i, draws));
                let mut block = Block {
                    x: DMatrix::zeros(clean.nrows(), draws * (last - first)),
                    owners: owners.collect(),
                    level: level.clone(),
                    weight: weight / (total * (draws * clean.ncols()) as f64),
                };
                block.draw(clean, scale, noise.pairs, rng);
                blocks.push(block);
            }
        }
        Self {
            clean,
            mixture,
            blocks,
        }
    }
}

impl Block {
    /// x = alpha x0 + sigma e with the draws e of [`DsmNoise`].
    fn draw<R: Rng + ?Sized>(
        &mut self,
        clean: &DMatrix<f64>,
        (alpha, sigma): (f64, f64),
        pairs: usize,
        rng: &mut R,
    ) {
        let n = clean.nrows();
        let radius = sigma * (n as f64).sqrt();
        let mut next = 0;
        while next < self.owners.len() {
            let x0 = alpha * clean.column(self.owners[next]);
            let mut left = pairs;
            while left > 0 {
                let frame = random_basis(rng, n, left.min(n));
                for direction in frame.column_iter() {
                    self.x.set_column(next, &(&x0 + radius * direction));
                    self.x.set_column(next + 1, &(&x0 - radius * direction));
                    next += 2;
                }
                left -= frame.ncols();
            }
        }
    }

    /// Adds the block's part of the gradient and returns that of the value.
    fn add(
        &self,
        joined: &DMatrix<f64>,
        clean: &DMatrix<f64>,
        mixture: Mixture<'_>,
        gradient: &mut DMatrix<f64>,
    ) -> f64 {
        let coordinates = multiply(view(joined).transpose(), view(&self.x));
        let weights = self.weights(&coordinates, mixture);
        let mut weighted = coordinates.clone();
        for_blocks(&mut weighted, &weights, mixture.ranks, |part, w| {
            part.iter_mut().for_each(|p| *p *= self.level.gain * w);
        });
        let mut error = multiply(view(joined), view(&weighted));
        for (mut column, owner) in error.column_iter_mut().zip(&self.owners) {
            column -= clean.column(*owner);
        }
        let along = multiply(view(joined).transpose(), view(&error));
        let turned = self.turned(&coordinates, &along, &weights, mixture);
        weighted *= 2.0 * self.weight;
        let target = &mut *gradient;
        add_product(view(&error), view(&weighted).transpose(), view_mut(target));
        add_product(view(&self.x), view(&turned).transpose(), view_mut(target));
        self.weight * error.norm_squared()
    }

    /// Posterior weights, K x S.
    fn weights(&self, coordinates: &DMatrix<f64>, mixture: Mixture<'_>) -> DMatrix<f64> {
        let mut weights = DMatrix::zeros(mixture.ranks.len(), coordinates.ncols());
        for (mut own, column) in weights.column_iter_mut().zip(coordinates.column_iter()) {
            let mut first = 0;
            for (square, d) in own.iter_mut().zip(mixture.ranks) {
                *square = column.rows(first, *d).norm_squared();
                first += d;
            }
            self.level.weigh(mixture.assignment, own.as_mut_slice());
        }
        weights
    }

    /// What x is multiplied with in the gradient: 2 lambda c w_k [R_k + 2 h (b_k - b) P_k], R_k = U_k^T r, b_k = R_k . P_k,
    /// b their mean; without the second part where the weights are sharp, which do not change with the bases.
    fn turned(
        &self,
        coordinates: &DMatrix<f64>,
        along: &DMatrix<f64>,
        weights: &DMatrix<f64>,
        mixture: Mixture<'_>,
    ) -> DMatrix<f64> {
        let mut turned = along.clone();
        let mut overlaps = vec![0.0; mixture.ranks.len()];
        let scale = 2.0 * self.weight * self.level.gain;
        for (i, mut column) in turned.column_iter_mut().enumerate() {
            let (p, w) = (coordinates.column(i), weights.column(i));
            let mut mean = 0.0;
            if mixture.assignment == Assignment::Soft {
                let mut first = 0;
                for ((b, d), w) in overlaps.iter_mut().zip(mixture.ranks).zip(w.iter()) {
                    *b = column.rows(first, *d).dot(&p.rows(first, *d));
                    mean += w * *b;
                    first += d;
                }
            }
            let mut first = 0;
            for ((b, d), w) in overlaps.iter().zip(mixture.ranks).zip(w.iter()) {
                let rise = 2.0 * self.level.rate * (b - mean);
                let own = column.rows_mut(first, *d);
                for (r, p) in own.into_iter().zip(p.rows(first, *d).iter()) {
                    *r = scale * w * (*r + rise * p);
                }
                first += d;
            }
        }
        turned
    }
}

/// Calls `f` on the rows of each subspace in each column, with the subspace's weight there.
fn for_blocks(
    matrix: &mut DMatrix<f64>,
    weights: &DMatrix<f64>,
    ranks: &[usize],
    f: impl Fn(&mut [f64], f64),
) {
    let height = matrix.nrows();
    let columns = matrix.as_mut_slice().chunks_exact_mut(height.max(1));
    for (column, weights) in columns.zip(weights.column_iter()) {
        let mut rest = column;
        for (d, w) in ranks.iter().zip(weights.iter()) {
            let (own, after) = rest.split_at_mut(*d);
            f(own, *w);
            rest = after;
        }
    }
}

impl Objective for DsmLoss<'_> {
    fn evaluate(&self, joined: &DMatrix<f64>) -> (f64, DMatrix<f64>) {
        let mut gradient = DMatrix::zeros(joined.nrows(), joined.ncols());
        let mut value = 0.0;
        for block in &self.blocks {
            value += block.add(joined, self.clean, self.mixture, &mut gradient);
        }
        (value, gradient)
    }
}
