//! The quenched layer: few samples as drawn, all others by their equivalent (theory T19; derivations/11-quenched-layer.md).

use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::{Binomial, Distribution, StandardNormal};
use rayon::prelude::*;

use super::{Equivalent, Measure, Population, StatisticsError};
use crate::family::{Linear, SampleRows};
use crate::numerics::linalg::{self, CholeskyScratch};
use crate::numerics::random::stream;
use crate::problem::{Problem, Training};

/// Layers drawn to average the resolvent over when leverages are evaluated again given the layer.
const RESOLVENT_DRAWS: u64 = 64;
/// Change of ln(1 + leverage) at which that has settled, in view of the noise of so many draws.
const SETTLED: f64 = 0.05;
const MAX_ROUNDS: usize = 4;

/// Samples of a linear family on the line, split by time: those whose t falls into the layer are drawn as they are, the
/// others enter by their deterministic equivalent with Gaussian fluctuations.
pub struct QuenchedLayer<'a> {
    problem: &'a Problem,
    family: &'a Linear,
    training: &'a Training,
    /// Disjoint intervals of time, in order.
    intervals: Vec<(f64, f64)>,
    /// Their total length.
    length: f64,
    /// Probability of a sample to fall into the layer.
    probability: f64,
    rest: Rest,
}

/// The samples outside the layer, on average and in their fluctuations.
struct Rest {
    /// 1_rest at the nodes of the equivalent's coarse quadrature.
    outside: Vec<f64>,
    /// E[1_rest z z^T/(1 + delta)], F x F, and its eigenvalues and eigenvectors U.
    sigma: DMatrix<f64>,
    values: Vec<f64>,
    vectors: DMatrix<f64>,
    /// E[1_rest y z/(1 + delta)].
    target: DVector<f64>,
    /// Factor L of the noise covariance (1/P) { E[1_rest (r^2 + z^T C z)/(1 + delta)^2 z z^T] - m m^T/Pr(rest) } = L L^T,
    /// m = E[1_rest r z/(1 + delta)]: the samples outside are a given number, each with this mean.
    noise: DMatrix<f64>,
}

impl<'a> QuenchedLayer<'a> {
    /// The layer that holds the first `panels` of [`by_leverage`], the rest with the leverages of the equivalent.
    pub fn new(
        problem: &'a Problem,
        family: &'a Linear,
        training: &'a Training,
        equivalent: &Equivalent<'_>,
        panels: &[usize],
    ) -> Result<Self, StatisticsError> {
        let population = &equivalent.population;
        let mut inside = panels.to_vec();
        inside.sort_unstable();
        let mut intervals: Vec<(f64, f64)> = Vec::new();
        for &i in &inside {
            let panel = &population.panels()[i];
            match intervals.last_mut() {
                Some(last) if last.1 == panel.start => last.1 = panel.end,
                _ => intervals.push((panel.start, panel.end)),
            }
        }
        let length: f64 = intervals.iter().map(|(low, high)| high - low).sum();
        let everything = panels.len() == population.panels().len();
        Ok(Self {
            problem,
            family,
            training,
            intervals,
            length,
            probability: if everything {
                1.0
            } else {
                (length / (problem.t_max - problem.t_min)).min(1.0)
            },
            rest: Rest::new(
                equivalent,
                training.samples as f64,
                outside(population, panels),
                &equivalent.coarse.leverage,
            )?,
        })
    }

    /// Evaluates the leverages of the rest again, with the resolvent averaged over layers as they are drawn instead of
    /// the equivalent's: in the equivalent the layer's own fluctuations are averaged too early.
    pub fn settle(
        mut self,
        equivalent: &Equivalent<'_>,
        seed: u64,
    ) -> Result<Self, StatisticsError> {
        if self.intervals.is_empty() || self.probability >= 1.0 {
            return Ok(self);
        }
        let population = &equivalent.population;
        let p = self.training.samples as f64;
        let mut leverage = equivalent.coarse.leverage.clone();
        for _ in 0..MAX_ROUNDS {
            let resolvent = self.mean_resolvent(seed)?;
            let next: Vec<f64> = population
                .quadratic(&resolvent)
                .iter()
                .map(|q| q.max(0.0) / p)
                .collect();
            let change = next
                .iter()
                .zip(&leverage)
                .zip(&self.rest.outside)
                .filter(|(_, outside)| **outside > 0.0)
                .map(|((a, b), _)| ((1.0 + a) / (1.0 + b)).ln().abs())
                .fold(0.0, f64::max);
            leverage = next;
            self.rest = Rest::new(equivalent, p, self.rest.outside, &leverage)?;
            if change <= SETTLED {
                break;
            }
        }
        Ok(self)
    }

    fn mean_resolvent(&self, seed: u64) -> Result<DMatrix<f64>, StatisticsError> {
        let f = self.family.features.len();
        let parts: Result<Vec<DMatrix<f64>>, StatisticsError> = (0..RESOLVENT_DRAWS)
            .into_par_iter()
            .map(|i| {
                let quenched = self.draw(&mut stream(seed, i))?;
                let mut resolvent = DMatrix::identity(f, f);
                quenched.apply(&self.rest, &mut resolvent);
                Ok(resolvent)
            })
            .collect();
        let mut mean = DMatrix::zeros(f, f);
        for part in parts? {
            mean += part / RESOLVENT_DRAWS as f64;
        }
        linalg::symmetrise(&mut mean);
        Ok(mean)
    }

    pub fn problem(&self) -> &'a Problem {
        self.problem
    }

    pub fn family(&self) -> &'a Linear {
        self.family
    }

    /// The intervals of time.
    pub fn intervals(&self) -> &[(f64, f64)] {
        &self.intervals
    }

    /// Expected number of samples in the layer.
    pub fn expected_samples(&self) -> f64 {
        self.probability * self.training.samples as f64
    }

    /// Draws the layer's samples and factors what they make of the regression.
    fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Result<Quenched, StatisticsError> {
        let count = Binomial::new(self.training.samples as u64, self.probability)
            .map(|b| b.sample(rng) as usize)
            .unwrap_or(0);
        let mut samples = SampleRows::new(self.problem, self.family, self.training);
        let mut rows = DMatrix::zeros(self.family.features.len(), count);
        let mut targets = DVector::zeros(count);
        for k in 0..count {
            let t = self.time(rng.random::<f64>());
            targets[k] = samples.draw_at(t, rng, rows.column_mut(k).as_mut_slice())[0];
        }
        Quenched::new(self, rows, &targets)
    }

    /// The time at a fraction of the layer's length.
    fn time(&self, fraction: f64) -> f64 {
        let mut left = fraction * self.length;
        for (low, high) in &self.intervals {
            if left < high - low {
                return low + left;
            }
            left -= high - low;
        }
        self.intervals.last().map_or(0.0, |i| i.1)
    }

    /// Weights given a layer: the conditional mean, and with the Gaussian fluctuations of the rest.
    pub fn weights<R: Rng + ?Sized>(&self, rng: &mut R) -> Result<LayerWeights, StatisticsError> {
        let quenched = self.draw(rng)?;
        let f = self.family.features.len();
        let eta = DVector::from_fn(f, |_, _| rng.sample::<f64, _>(StandardNormal));
        let mut both = DMatrix::zeros(f, 2);
        both.set_column(0, &quenched.target);
        let noise = &self.rest.noise * eta * quenched.share.sqrt();
        both.set_column(1, &(&quenched.target + noise));
        quenched.apply(&self.rest, &mut both);
        if both.iter().any(|w| !w.is_finite()) {
            return Err(StatisticsError::NotFinite);
        }
        Ok(LayerWeights {
            conditional_mean: both.column(0).into_owned(),
            weights: both.column(1).into_owned(),
        })
    }

    /// Cov(W | layer), F x F, of the layer that the same random numbers draw in [`QuenchedLayer::weights`].
    pub fn conditional_covariance<R: Rng + ?Sized>(
        &self,
        rng: &mut R,
    ) -> Result<DMatrix<f64>, StatisticsError> {
        let quenched = self.draw(rng)?;
        let mut factor = &self.rest.noise * quenched.share.sqrt();
        quenched.apply(&self.rest, &mut factor);
        Ok(linalg::multiply(
            linalg::view(&factor),
            linalg::view(&factor).transpose(),
        ))
    }
}

/// One draw of the weights.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// E[W | layer], length F.
    pub conditional_mean: DVector<f64>,
    /// W, length F.
    pub weights: DVector<f64>,
}

/// The panels of a population in the order of their mean leverage, the largest first.
pub fn by_leverage(equivalent: &Equivalent<'_>) -> Vec<usize> {
    let population = &equivalent.population;
    let weights = population.weights();
    let mean: Vec<f64> = population
        .panels()
        .iter()
        .map(|panel| {
            let nodes = population.nodes_of(panel);
            let mass: f64 = weights[nodes.clone()].iter().sum();
            let sum: f64 = nodes
                .map(|i| weights[i] * equivalent.coarse.leverage[i])
                .sum();
            sum / mass
        })
        .collect();
    let mut order: Vec<usize> = (0..mean.len()).collect();
    order.sort_by(|&a, &b| mean[b].total_cmp(&mean[a]));
    order
}

/// 1 at the nodes outside some panels, 0 inside.
fn outside(population: &Population<'_>, inside: &[usize]) -> Vec<f64> {
    let mut rest = vec![1.0; population.nodes()];
    for &i in inside {
        let nodes = population.nodes_of(&population.panels()[i]);
        rest[nodes].fill(0.0);
    }
    rest
}

impl Rest {
    fn new(
        equivalent: &Equivalent<'_>,
        p: f64,
        outside: Vec<f64>,
        leverage: &[f64],
    ) -> Result<Self, StatisticsError> {
        let population = &equivalent.population;
        let shrunk: Vec<f64> = outside
            .iter()
            .zip(leverage)
            .map(|(o, d)| o / (1.0 + d))
            .collect();
        let sigma = population.gram(&shrunk);
        let target = population.cross(&shrunk).column(0).into_owned();
        let amplitude: Vec<f64> = equivalent
            .noise
            .iter()
            .zip(&shrunk)
            .map(|(n, s)| n * s * s / p)
            .collect();
        let mut noise = population.gram(&amplitude);
        let mean = &target - &sigma * equivalent.coarse.mean.column(0);
        let probability = population.mean(&outside);
        if probability > 0.0 {
            noise.ger(-1.0 / (p * probability), &mean, &mean, 1.0);
        }
        // The two decompositions are most of the work, and sequential each.
        let (average, fluctuation) = rayon::join(
            || linalg::symmetric_eigen(&sigma),
            || linalg::symmetric_eigen(&noise),
        );
        let ((values, vectors), (spectrum, mut noise)) = (average?, fluctuation?);
        for (mut column, v) in noise.column_iter_mut().zip(&spectrum) {
            column *= v.max(0.0).sqrt();
        }
        Ok(Self {
            outside,
            sigma,
            values: values.iter().map(|v| v.max(0.0)).collect(),
            vectors,
            target,
            noise,
        })
    }
}

/// A layer as drawn: (share Sigma_rest + rho + Z Z^T/P)^-1 in factored form.
struct Quenched {
    /// Number of samples outside the layer over its expectation.
    share: f64,
    /// share A_rest + Z y/P.
    target: DVector<f64>,
    factor: Factor,
}

enum Factor {
    /// Cholesky factor of the F x F matrix: F^3/3 + n F^2 flops.
    Primal(DMatrix<f64>),
    /// In the eigenbasis U of Sigma_rest, where share Sigma_rest + rho = diag(root^2) for every share:
    /// B = diag(1/root) U^T Z/sqrt(P) and the Cholesky factor of I + B^T B. 2 n F^2 + n^2 F flops.
    Dual {
        root: Vec<f64>,
        rows: DMatrix<f64>,
        gram: DMatrix<f64>,
    },
}

impl Quenched {
    fn new(
        layer: &QuenchedLayer<'_>,
        rows: DMatrix<f64>,
        targets: &DVector<f64>,
    ) -> Result<Self, StatisticsError> {
        let (f, n) = rows.shape();
        let p = layer.training.samples as f64;
        let share = if layer.probability < 1.0 {
            (p - n as f64) / (p * (1.0 - layer.probability))
        } else {
            0.0
        };
        let target = &layer.rest.target * share + &rows * targets / p;
        let factor = if 2 * n > f || layer.training.ridge == 0.0 {
            Factor::primal(&layer.rest, &rows, share, p, layer.training.ridge)?
        } else {
            Factor::dual(&layer.rest, &rows, share, p, layer.training.ridge)?
        };
        Ok(Self {
            share,
            target,
            factor,
        })
    }

    /// Multiplies the columns of `right` by the resolvent.
    fn apply(&self, rest: &Rest, right: &mut DMatrix<f64>) {
        match &self.factor {
            Factor::Primal(factor) => {
                linalg::cholesky_solve(linalg::view(factor), linalg::view_mut(right));
            }
            Factor::Dual { root, rows, gram } => {
                let turned = linalg::view(&rest.vectors);
                let mut b = linalg::multiply(turned.transpose(), linalg::view(right));
                scale_rows(&mut b, root);
                let mut inner = linalg::multiply(linalg::view(rows).transpose(), linalg::view(&b));
                linalg::cholesky_solve(linalg::view(gram), linalg::view_mut(&mut inner));
                b -= linalg::multiply(linalg::view(rows), linalg::view(&inner));
                scale_rows(&mut b, root);
                *right = linalg::multiply(turned, linalg::view(&b));
            }
        }
    }
}

impl Factor {
    fn primal(
        rest: &Rest,
        rows: &DMatrix<f64>,
        share: f64,
        p: f64,
        ridge: f64,
    ) -> Result<Self, StatisticsError> {
        let f = rows.nrows();
        let mut gram = DMatrix::zeros(f, f);
        linalg::gram_lower(
            linalg::view(rows).transpose(),
            1.0 / p,
            linalg::view_mut(&mut gram),
        );
        gram.zip_apply(&rest.sigma, |g, s| *g += share * s);
        for i in 0..f {
            gram[(i, i)] += ridge;
        }
        linalg::cholesky(linalg::view_mut(&mut gram), &mut CholeskyScratch::new(f))?;
        Ok(Self::Primal(gram))
    }

    fn dual(
        rest: &Rest,
        rows: &DMatrix<f64>,
        share: f64,
        p: f64,
        ridge: f64,
    ) -> Result<Self, StatisticsError> {
        let n = rows.ncols();
        let root: Vec<f64> = rest
            .values
            .iter()
            .map(|v| (share * v + ridge).sqrt())
            .collect();
        let mut rows =
            linalg::multiply(linalg::view(&rest.vectors).transpose(), linalg::view(rows));
        rows /= p.sqrt();
        scale_rows(&mut rows, &root);
        let mut gram = DMatrix::zeros(n, n);
        if n > 0 {
            linalg::gram_lower(linalg::view(&rows), 1.0, linalg::view_mut(&mut gram));
            for i in 0..n {
                gram[(i, i)] += 1.0;
            }
            linalg::cholesky(linalg::view_mut(&mut gram), &mut CholeskyScratch::new(n))?;
        }
        Ok(Self::Dual { root, rows, gram })
    }
}

/// Divides row i by root i.
fn scale_rows(matrix: &mut DMatrix<f64>, root: &[f64]) {
    for mut column in matrix.column_iter_mut() {
        for (v, r) in column.iter_mut().zip(root) {
            *v /= r;
        }
    }
}
