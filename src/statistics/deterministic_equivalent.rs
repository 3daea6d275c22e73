//! Statistics of ridge regression at any ratio of features to samples: the sample-dependent deterministic equivalent
//! (theory T12, T13; derivations/09-deterministic-equivalent.md).

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::{Measure, PAIRS_AT_ONCE, StatisticsError, pairs};
use crate::numerics::anderson::Anderson;
use crate::numerics::linalg;

const MAX_ITERATIONS: usize = 400;
/// After so many iterations a change within rounding is the end: this factor times the resolvent's relative error, and no more than
/// five digits lost to it.
const SETTLED: usize = 60;
const ROUNDING: f64 = 16.0;
const MOST_ROUNDING: f64 = 1e-5;

/// The equivalent on one measure.
#[derive(Debug, Clone)]
pub struct DeterministicEquivalent {
    /// W, F x D.
    pub mean: DMatrix<f64>,
    /// Covariance blocks F x F of the pairs of outputs (i, j), i <= j, i running slowest.
    pub covariances: Vec<DMatrix<f64>>,
    /// Q = (E[z z^T/(1 + delta)] + rho)^-1.
    pub resolvent: DMatrix<f64>,
    /// delta = z^T Q z / P at every node: the leverage of a sample there.
    pub leverage: Vec<f64>,
    /// Iterations and last change of the two fixed points (leverage; covariance, the worst of its blocks). The first change
    /// bounds what is left in ln(1 + delta); the second bounds c = z^T C z where leverages are of order one (D9.3, D9.4).
    pub iterations: (usize, usize),
    pub changes: (f64, f64),
    /// E[delta/(1+delta)] P: how many weights the samples determine.
    pub effective_features: f64,
    /// Size of the covariance recursion's second correction relative to its first (largest value over nodes): what the
    /// models' fluctuations add to themselves. Of a cold start: from a start near the solution it is the ratio of errors.
    pub amplification: f64,
}

/// delta(z) = z^T Q z / P with Q = (E[z z^T/(1 + delta)] + rho)^-1, W = Q E[z y^T/(1 + delta)], and
/// C = Q { (1/P) E[(r_i r_j + Cov_ij + z^T C z) z z^T/(1 + delta)^2] - (rho^2/P) w_i w_j^T } Q.
/// `tolerance` is the largest change of ln(1 + delta), and of z^T C z relative to its largest value with the residuals, at
/// which a fixed point is reached. `start` is a solution to begin with, from a coarser discretisation of the same distribution.
///
/// # Errors
/// When Sigma + rho is singular, a moment is not finite, or a fixed point is not reached.
pub fn deterministic_equivalent<M: Measure>(
    measure: &M,
    samples: usize,
    ridge: f64,
    tolerance: f64,
    start: Option<&DeterministicEquivalent>,
) -> Result<DeterministicEquivalent, StatisticsError> {
    let p = samples as f64;
    let leverage = Leverage::solve(measure, p, ridge, tolerance, start.map(|s| &s.resolvent))?;
    let weight: Vec<f64> = leverage.delta.iter().map(|d| 1.0 / (1.0 + d)).collect();
    let mean = &leverage.resolvent * measure.cross(&weight);
    let noise = Noise {
        measure,
        p,
        tolerance,
        rounding: leverage.rounding,
        resolvent: &leverage.resolvent,
        squared: weight.iter().map(|w| w * w).collect(),
    };
    let mut covariances = Vec::new();
    let (mut iterations, mut change, mut amplification) = (0, 0.0_f64, 0.0_f64);
    let outputs: Vec<(usize, usize)> = pairs(measure.outputs()).collect();
    for chunk in outputs.chunks(PAIRS_AT_ONCE) {
        let first = covariances.len();
        let blocks: Result<Vec<Block>, StatisticsError> = chunk
            .par_iter()
            .enumerate()
            .map(|(k, &pair)| {
                let start = start.map(|s| &s.covariances[first + k]);
                noise.block(&mean, pair, ridge, start)
            })
            .collect();
        for block in blocks? {
            iterations = iterations.max(block.iterations);
            change = change.max(block.change);
            amplification = amplification.max(block.amplification);
            covariances.push(block.covariance);
        }
    }
    let share: Vec<f64> = leverage.delta.iter().map(|d| d / (1.0 + d)).collect();
    Ok(DeterministicEquivalent {
        mean,
        covariances,
        effective_features: p * measure.mean(&share),
        resolvent: leverage.resolvent,
        leverage: leverage.delta,
        iterations: (leverage.iterations, iterations),
        changes: (leverage.change, change),
        amplification,
    })
}

struct Leverage {
    delta: Vec<f64>,
    resolvent: DMatrix<f64>,
    iterations: usize,
    change: f64,
    /// What rounding may leave of it.
    rounding: f64,
}

impl Leverage {
    /// Iterates on u = ln(1 + delta), which is smooth where delta is large and keeps every iterate admissible.
    fn solve<M: Measure>(
        measure: &M,
        p: f64,
        ridge: f64,
        tolerance: f64,
        start: Option<&DMatrix<f64>>,
    ) -> Result<Self, StatisticsError> {
        let of = |q: &DMatrix<f64>| -> Vec<f64> {
            measure
                .quadratic(q)
                .iter()
                .map(|v| (v.max(0.0) / p).ln_1p())
                .collect()
        };
        let mut u = match start {
            Some(q) => of(q),
            None => vec![0.0; measure.nodes()],
        };
        // What a node does to Q grows with its leverage; the fit should look there.
        let mut anderson: Option<Anderson> = None;
        let mut change = f64::INFINITY;
        for iteration in 1..=MAX_ITERATIONS {
            let weight: Vec<f64> = u.iter().map(|u| (-u).exp()).collect();
            let gram = measure.gram(&weight);
            let rounding = match ridge > 0.0 {
                true => (ROUNDING * f64::EPSILON * gram.trace() / ridge).min(MOST_ROUNDING),
                false => 0.0,
            };
            let resolvent = resolvent(gram, ridge)?;
            let image = of(&resolvent);
            change = u
                .iter()
                .zip(&image)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            if !change.is_finite() {
                return Err(StatisticsError::NotFinite);
            }
            if change <= tolerance || iteration >= SETTLED && change <= rounding {
                let delta = image.iter().map(|u| u.exp_m1()).collect();
                return Ok(Self {
                    delta,
                    resolvent,
                    iterations: iteration,
                    change,
                    rounding,
                });
            }
            u = match &mut anderson {
                Some(anderson) => anderson.next(&u, &image),
                None => {
                    // The first image has the right orders of magnitude.
                    let mut emphasis = measure.weights();
                    for (w, u) in emphasis.iter_mut().zip(&image) {
                        *w *= -(-u).exp_m1();
                    }
                    anderson = Some(Anderson::new(emphasis));
                    image
                }
            };
            for u in &mut u {
                *u = u.max(0.0);
            }
        }
        Err(StatisticsError::FixedPoint {
            what: "leverage",
            iterations: MAX_ITERATIONS,
            change,
            allowed: tolerance,
        })
    }
}

/// (gram + ridge)^-1.
pub(super) fn resolvent(
    mut gram: DMatrix<f64>,
    ridge: f64,
) -> Result<DMatrix<f64>, StatisticsError> {
    if gram.iter().any(|v| !v.is_finite()) {
        return Err(StatisticsError::NotFinite);
    }
    for i in 0..gram.nrows() {
        gram[(i, i)] += ridge;
    }
    Ok(linalg::inverse(gram)?)
}

/// The covariance's linear recursion.
struct Noise<'a, M> {
    measure: &'a M,
    p: f64,
    tolerance: f64,
    /// What may be left of the change after many iterations.
    rounding: f64,
    resolvent: &'a DMatrix<f64>,
    /// 1/(1+delta)^2.
    squared: Vec<f64>,
}

struct Block {
    covariance: DMatrix<f64>,
    iterations: usize,
    change: f64,
    amplification: f64,
}

impl<M: Measure> Noise<'_, M> {
    /// Q { (1/P) E[noise z z^T/(1+delta)^2] } Q.
    fn filtered(&self, noise: &[f64]) -> DMatrix<f64> {
        let factor: Vec<f64> = noise
            .iter()
            .zip(&self.squared)
            .map(|(n, s)| n * s / self.p)
            .collect();
        self.sandwiched(&self.measure.gram(&factor))
    }

    fn sandwiched(&self, inner: &DMatrix<f64>) -> DMatrix<f64> {
        let resolvent = linalg::view(self.resolvent);
        linalg::multiply_three(resolvent, linalg::view(inner), resolvent)
    }

    /// Solves for c = z^T C z at the nodes, c = b + K c with the positive operator K, by accelerated iteration.
    fn block(
        &self,
        mean: &DMatrix<f64>,
        (i, j): (usize, usize),
        ridge: f64,
        start: Option<&DMatrix<f64>>,
    ) -> Result<Block, StatisticsError> {
        let residual = self.measure.residual(mean, (i, j));
        let shrink = mean.column(i) * mean.column(j).transpose();
        let fixed = self.filtered(&residual) - self.sandwiched(&shrink) * (ridge * ridge / self.p);
        let scale = residual.iter().fold(0.0_f64, |m, r| m.max(r.abs()));
        let mut emphasis = self.measure.weights();
        for (w, s) in emphasis.iter_mut().zip(&self.squared) {
            *w *= s;
        }
        let mut anderson = Anderson::new(emphasis);
        let mut c = self.measure.quadratic(start.unwrap_or(&fixed));
        let (mut change, mut amplification) = (f64::INFINITY, 0.0);
        for iteration in 1..=MAX_ITERATIONS {
            let mut covariance = self.filtered(&c) + &fixed;
            let image = self.measure.quadratic(&covariance);
            let size = image.iter().fold(scale, |m, v| m.max(v.abs()));
            let before = change;
            change = c
                .iter()
                .zip(&image)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max)
                / size.max(f64::MIN_POSITIVE);
            if iteration == 2 {
                amplification = change / before;
            }
            if !change.is_finite() {
                return Err(StatisticsError::NotFinite);
            }
            if change <= self.tolerance || iteration >= SETTLED && change <= self.rounding {
                if i == j {
                    linalg::symmetrise(&mut covariance);
                }
                return Ok(Block {
                    covariance,
                    iterations: iteration,
                    change,
                    amplification,
                });
            }
            c = anderson.next(&c, &image);
        }
        Err(StatisticsError::FixedPoint {
            what: "covariance",
            iterations: MAX_ITERATIONS,
            change,
            allowed: self.tolerance,
        })
    }
}
