//! The modes of gradient flow on one quadrature, and sums over it.

use std::ops::Range;

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::whitened::{expanded, inner};
use super::{Measure, Population, StatisticsError};
use crate::numerics::linalg;

/// Nodes whose features are held at a time.
pub(super) const BLOCK: usize = 512;

/// Groups of blocks that are summed independently: the same on any number of threads, and few, for each holds its sums.
pub(super) const GROUPS: usize = 8;

/// Modes that learn less than this share of what the fastest learns by the end are left out.
const UNLEARNED: f64 = 1e-6;

/// The flow's linear algebra on one quadrature. With Sigma = E[z z^T], S = L^T Sigma L = U diag(mu) U^T and e = U^T L^T z.
pub(super) struct Modes {
    /// L U, F x r: the directions in which weights are learned independently.
    pub directions: DMatrix<f64>,
    /// mu.
    pub rates: Vec<f64>,
    /// (1 - e^{-mu tau})/mu.
    pub gains: DVector<f64>,
    time: f64,
    /// b = E[e y^T], r x D.
    targets: DMatrix<f64>,
}

impl Modes {
    /// The modes that learn something by the time.
    pub fn new(
        sigma: &DMatrix<f64>,
        cross: &DMatrix<f64>,
        factor: &DMatrix<f64>,
        time: f64,
    ) -> Result<Self, StatisticsError> {
        let (rates, vectors) = linalg::symmetric_eigen(&inner(factor, sigma))?;
        let largest = rates.last().copied().unwrap_or(0.0);
        // Eigenvalues below the rounding of the largest are noise; what is slower than that is not learned either.
        let noise = largest * f64::EPSILON * rates.len() as f64;
        let least = UNLEARNED * -(-largest * time).exp_m1();
        let first = rates.partition_point(|mu| *mu <= noise || mu * time <= least);
        let kept = vectors.columns_range(first..).into_owned();
        let directions = linalg::multiply(linalg::view(factor), linalg::view(&kept));
        let rates = rates[first..].to_vec();
        let gain = |mu: &f64| -(-mu * time).exp_m1() / mu;
        Ok(Self {
            targets: directions.tr_mul(cross),
            directions,
            gains: DVector::from_iterator(rates.len(), rates.iter().map(gain)),
            rates,
            time,
        })
    }

    /// int_0^tau e^{-mu_k (tau - s)} (1 - e^{-mu_l s})/mu_l ds.
    pub fn memory(&self, k: usize, l: usize) -> f64 {
        let (a, b) = (self.rates[k], self.rates[l]);
        (self.gains[k] - self.decay(a, b)) / b
    }

    /// int_0^tau e^{-a (tau - s)} e^{-b s} ds = (e^{-b tau} - e^{-a tau})/(a - b), also where the rates are close.
    fn decay(&self, a: f64, b: f64) -> f64 {
        let (slow, gap) = (a.min(b), (a - b).abs());
        let x = gap * self.time;
        let share = if x < 1e-12 { 1.0 } else { -(-x).exp_m1() / x };
        (-slow * self.time).exp() * self.time * share
    }

    /// sum_k (1 - e^{-mu_k tau}), the modes learned, and lambda k_tau(z, z) at the nodes.
    pub fn reliability(&self, population: &Population<'_>) -> (f64, Vec<f64>) {
        let filter = DMatrix::from_diagonal(&self.gains);
        let learned = self
            .rates
            .iter()
            .zip(&self.gains)
            .map(|(mu, g)| mu * g)
            .sum();
        (
            learned,
            population.quadratic(&expanded(&self.directions, &filter, true)),
        )
    }

    /// What the influences remember of the mean function, one r x r matrix per output: h_kl b_l.
    pub fn memories(&self) -> Vec<DMatrix<f64>> {
        let r = self.rates.len();
        let columns = self.targets.column_iter();
        columns
            .map(|b| DMatrix::from_fn(r, r, |k, l| self.memory(k, l) * b[l]))
            .collect()
    }

    /// Mean weights in the modes, r x D.
    pub fn mean(&self) -> DMatrix<f64> {
        DMatrix::from_fn(self.rates.len(), self.targets.ncols(), |k, o| {
            self.gains[k] * self.targets[(k, o)]
        })
    }
}

/// Sums over the nodes, block by block, of every group of blocks.
pub(super) fn by_groups<T: Send>(
    nodes: usize,
    empty: impl Fn() -> T + Sync,
    add: impl Fn(&mut T, Range<usize>) + Sync,
) -> Vec<T> {
    let per_group = nodes.div_ceil(BLOCK).div_ceil(GROUPS) * BLOCK;
    (0..GROUPS)
        .into_par_iter()
        .map(|group| {
            let mut sum = empty();
            let range = (group * per_group).min(nodes)..((group + 1) * per_group).min(nodes);
            for start in range.clone().step_by(BLOCK) {
                add(&mut sum, start..(start + BLOCK).min(range.end));
            }
            sum
        })
        .collect()
}
