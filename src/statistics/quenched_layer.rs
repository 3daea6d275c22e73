//! The quenched layer: few samples as drawn, all others by their equivalent (theory T19; derivations/11-quenched-layer.md).

use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::{Binomial, Distribution, StandardNormal};
use rayon::prelude::*;

use super::whitened::{expanded, inner, projected};
use super::{Equivalent, Measure, Population, StatisticsError, pairs, symmetric_from_blocks};
use crate::family::{Linear, SampleRows};
use crate::numerics::linalg::{self, CholeskyScratch};
use crate::numerics::random::stream;
use crate::problem::{Problem, Training};

/// Layers drawn to average the resolvent over when leverages are evaluated again given the layer.
const RESOLVENT_DRAWS: u64 = 64;
/// Resolvents held at a time, F x F each.
const RESOLVENTS_AT_ONCE: u64 = 16;
/// Change of ln(1 + leverage) at which that has settled, in view of the noise of so many draws.
const SETTLED: f64 = 0.05;
const MAX_ROUNDS: usize = 4;

/// Samples of a linear family, split by time: those whose t falls into the layer are drawn as they are, the
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
    /// As those of the equivalent: with a whitening L rows are L^T z, and weights omega, until W = L omega is handed out.
    ridge: f64,
    whitening: Option<&'a DMatrix<f64>>,
    rest: Rest,
}

/// The samples outside the layer, on average and in their fluctuations.
struct Rest {
    /// 1_rest at the nodes of the equivalent's coarse quadrature.
    outside: Vec<f64>,
    /// E[1_rest z z^T/(1 + delta)], F x F, and its eigenvalues and eigenvectors U where layers are small enough to use them.
    sigma: DMatrix<f64>,
    spectrum: Option<Spectrum>,
    /// E[1_rest z y^T/(1 + delta)], F x D.
    target: DMatrix<f64>,
    /// Factor L of the noise covariance, D F x D F, of which the block of the outputs (i, j) is
    /// (1/P) { E[1_rest (r_i r_j + Cov_ij + z^T C_ij z)/(1 + delta)^2 z z^T] - m_i m_j^T/Pr(rest) },
    /// m = E[1_rest r z/(1 + delta)]: the samples outside are a given number, each with this mean.
    noise: DMatrix<f64>,
}

struct Spectrum {
    values: Vec<f64>,
    vectors: DMatrix<f64>,
}

impl<'a> QuenchedLayer<'a> {
    /// The layer that holds the first `panels` of [`by_leverage`], the rest with the leverages of the equivalent.
    pub fn new(
        problem: &'a Problem,
        family: &'a Linear,
        training: &'a Training,
        equivalent: &Equivalent<'a>,
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
        let probability = if everything {
            1.0
        } else {
            (length / (problem.t_max - problem.t_min)).min(1.0)
        };
        Ok(Self {
            problem,
            family,
            training,
            intervals,
            length,
            probability,
            ridge: equivalent.ridge,
            whitening: equivalent.whitening,
            rest: Rest::new(
                equivalent,
                training.samples,
                probability,
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
            let (samples, outside) = (self.training.samples, self.rest.outside);
            self.rest = Rest::new(equivalent, samples, self.probability, outside, &leverage)?;
            if change <= SETTLED {
                break;
            }
        }
        Ok(self)
    }

    /// L Q L^T of the resolvent averaged over layers.
    fn mean_resolvent(&self, seed: u64) -> Result<DMatrix<f64>, StatisticsError> {
        let f = self.rest.sigma.nrows();
        let mut mean = DMatrix::zeros(f, f);
        for first in (0..RESOLVENT_DRAWS).step_by(RESOLVENTS_AT_ONCE as usize) {
            let parts: Result<Vec<DMatrix<f64>>, StatisticsError> = (first
                ..first + RESOLVENTS_AT_ONCE)
                .into_par_iter()
                .map(|i| {
                    let quenched = self.draw(&mut stream(seed, i))?;
                    let mut resolvent = DMatrix::identity(f, f);
                    quenched.apply(&mut resolvent);
                    Ok(resolvent)
                })
                .collect();
            for part in parts? {
                mean += part / RESOLVENT_DRAWS as f64;
            }
        }
        Ok(match self.whitening {
            Some(factor) => expanded(factor, &mean, true),
            None => {
                linalg::symmetrise(&mut mean);
                mean
            }
        })
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
    fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Result<Quenched<'_>, StatisticsError> {
        let count = Binomial::new(self.training.samples as u64, self.probability)
            .map(|b| b.sample(rng) as usize)
            .unwrap_or(0);
        let mut samples = SampleRows::new(self.problem, self.family, self.training);
        let mut rows = DMatrix::zeros(self.family.features.len(), count);
        let mut targets = DMatrix::zeros(count, self.problem.dim());
        for k in 0..count {
            let t = self.time(rng.random::<f64>());
            let target = samples.draw_at(t, rng, rows.column_mut(k).as_mut_slice());
            for (o, y) in target.iter().enumerate() {
                targets[(k, o)] = *y;
            }
        }
        if let Some(factor) = self.whitening {
            rows = linalg::multiply(linalg::view(factor).transpose(), linalg::view(&rows));
        }
        Quenched::new(self, rows, &targets)
    }

    /// W of all outputs one after another, from the weights that are solved for, a column each.
    fn lifted(&self, solved: &[f64], outputs: usize) -> DVector<f64> {
        match self.whitening {
            None => DVector::from_column_slice(solved),
            Some(factor) => {
                let omega = DMatrix::from_column_slice(factor.ncols(), outputs, solved);
                DVector::from_column_slice((factor * omega).as_slice())
            }
        }
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
        let (f, outputs) = quenched.target.shape();
        let eta = DVector::from_fn(outputs * f, |_, _| rng.sample::<f64, _>(StandardNormal));
        let noise = &self.rest.noise * eta * quenched.share.sqrt();
        // The targets of all outputs, then the same with noise.
        let mut both = DMatrix::zeros(f, 2 * outputs);
        let (mean, noisy) = both.as_mut_slice().split_at_mut(outputs * f);
        for (((m, y), target), noise) in
            mean.iter_mut().zip(noisy).zip(&quenched.target).zip(&noise)
        {
            *m = *target;
            *y = target + noise;
        }
        quenched.apply(&mut both);
        if both.iter().any(|w| !w.is_finite()) {
            return Err(StatisticsError::NotFinite);
        }
        let (mean, weights) = both.as_slice().split_at(outputs * f);
        Ok(LayerWeights {
            conditional_mean: self.lifted(mean, outputs),
            weights: self.lifted(weights, outputs),
        })
    }

    /// Cov(W | layer), D F x D F, of the layer that the same random numbers draw in [`QuenchedLayer::weights`].
    pub fn conditional_covariance<R: Rng + ?Sized>(
        &self,
        rng: &mut R,
    ) -> Result<DMatrix<f64>, StatisticsError> {
        let quenched = self.draw(rng)?;
        let noise = &self.rest.noise * quenched.share.sqrt();
        let (f, outputs) = quenched.target.shape();
        let features = self.family.features.len();
        let mut factor = DMatrix::zeros(outputs * features, noise.ncols());
        for o in 0..outputs {
            let mut block = noise.rows(o * f, f).into_owned();
            quenched.apply(&mut block);
            if let Some(whitening) = self.whitening {
                block = linalg::multiply(linalg::view(whitening), linalg::view(&block));
            }
            factor.rows_mut(o * features, features).copy_from(&block);
        }
        Ok(linalg::multiply(
            linalg::view(&factor),
            linalg::view(&factor).transpose(),
        ))
    }
}

/// One draw of the weights.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// E[W | layer], length D F.
    pub conditional_mean: DVector<f64>,
    /// W, length D F.
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
        samples: usize,
        inside: f64,
        outside: Vec<f64>,
        leverage: &[f64],
    ) -> Result<Self, StatisticsError> {
        let (population, p) = (&equivalent.population, samples as f64);
        let shrunk: Vec<f64> = outside
            .iter()
            .zip(leverage)
            .map(|(o, d)| o / (1.0 + d))
            .collect();
        let (sigma, target) = (population.gram(&shrunk), population.cross(&shrunk));
        let noise = noise_blocks(equivalent, p, &outside, &shrunk, &sigma, &target);
        let (sigma, target, noise) = match equivalent.whitening {
            None => (sigma, target, noise),
            Some(factor) => {
                let noise = noise.iter().map(|block| projected(factor, block));
                (
                    inner(factor, &sigma),
                    factor.tr_mul(&target),
                    noise.collect(),
                )
            }
        };
        let noise = symmetric_from_blocks(target.ncols(), &noise);
        let (f, outputs) = target.shape();
        // On the line a draw decides, whatever is expected.
        let few = outputs == 1 || inside * p <= Factor::dual_up_to(f, outputs) as f64;
        let decompose = few && equivalent.ridge > 0.0;
        // The two decompositions are most of the work, and sequential each.
        let (average, fluctuation) = rayon::join(
            || decompose.then(|| Spectrum::new(&sigma)).transpose(),
            || match outputs {
                1 => linalg::eigen_factor(&noise),
                _ => linalg::semidefinite_factor(&noise),
            },
        );
        Ok(Self {
            outside,
            sigma,
            spectrum: average?,
            target,
            noise: fluctuation?,
        })
    }
}

impl Spectrum {
    fn new(sigma: &DMatrix<f64>) -> Result<Self, StatisticsError> {
        let (values, vectors) = linalg::symmetric_eigen(sigma)?;
        Ok(Self {
            values: values.iter().map(|v| v.max(0.0)).collect(),
            vectors,
        })
    }
}

/// Covariances F x F of what the samples outside the layer add to E[z y^T], of all pairs of outputs.
fn noise_blocks(
    equivalent: &Equivalent<'_>,
    p: f64,
    outside: &[f64],
    shrunk: &[f64],
    sigma: &DMatrix<f64>,
    target: &DMatrix<f64>,
) -> Vec<DMatrix<f64>> {
    let population = &equivalent.population;
    let means: Vec<DVector<f64>> = target
        .column_iter()
        .zip(equivalent.coarse.mean.column_iter())
        .map(|(target, w)| target - sigma * w)
        .collect();
    let probability = population.mean(outside);
    pairs(means.len())
        .zip(&equivalent.noise)
        .map(|((i, j), noise)| {
            let amplitude: Vec<f64> = noise
                .iter()
                .zip(shrunk)
                .map(|(n, s)| n * s * s / p)
                .collect();
            let mut block = population.gram(&amplitude);
            if probability > 0.0 {
                block.ger(-1.0 / (p * probability), &means[i], &means[j], 1.0);
            }
            block
        })
        .collect()
}

/// A layer as drawn: (share Sigma_rest + rho + Z Z^T/P)^-1 in factored form.
struct Quenched<'a> {
    /// Number of samples outside the layer over its expectation.
    share: f64,
    /// share A_rest + Z Y/P, F x D.
    target: DMatrix<f64>,
    factor: Factor<'a>,
}

enum Factor<'a> {
    /// Cholesky factor of the F x F matrix: F^3/3 + n F^2 flops.
    Primal(DMatrix<f64>),
    /// In the eigenbasis U of Sigma_rest, where share Sigma_rest + rho = diag(root^2) for every share:
    /// B = diag(1/root) U^T Z/sqrt(P) and the Cholesky factor of I + B^T B. 2 n F^2 + n^2 F flops.
    Dual {
        spectrum: &'a Spectrum,
        root: Vec<f64>,
        rows: DMatrix<f64>,
        gram: DMatrix<f64>,
    },
}

impl<'a> Quenched<'a> {
    fn new(
        layer: &'a QuenchedLayer<'_>,
        rows: DMatrix<f64>,
        targets: &DMatrix<f64>,
    ) -> Result<Self, StatisticsError> {
        let (f, n) = rows.shape();
        let p = layer.training.samples as f64;
        let share = if layer.probability < 1.0 {
            (p - n as f64) / (p * (1.0 - layer.probability))
        } else {
            0.0
        };
        let mut target = &layer.rest.target * share;
        for (mut total, y) in target.column_iter_mut().zip(targets.column_iter()) {
            total += &rows * y / p;
        }
        let ridge = layer.ridge;
        let few = n <= Factor::dual_up_to(f, targets.ncols());
        let factor = match &layer.rest.spectrum {
            Some(spectrum) if few => Factor::dual(spectrum, &rows, share, p, ridge)?,
            _ => Factor::primal(&layer.rest, &rows, share, p, ridge)?,
        };
        Ok(Self {
            share,
            target,
            factor,
        })
    }

    /// Multiplies the columns of `right` by the resolvent.
    fn apply(&self, right: &mut DMatrix<f64>) {
        match &self.factor {
            Factor::Primal(factor) => {
                linalg::cholesky_solve(linalg::view(factor), linalg::view_mut(right));
            }
            Factor::Dual {
                spectrum,
                root,
                rows,
                gram,
            } => {
                let turned = linalg::view(&spectrum.vectors);
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

impl<'a> Factor<'a> {
    /// Largest number of rows for the dual form: where it costs less. By the flops that is F/4; on the line F/2, as results
    /// on record have it.
    fn dual_up_to(features: usize, outputs: usize) -> usize {
        match outputs {
            1 => features / 2,
            _ => features / 4,
        }
    }

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
        spectrum: &'a Spectrum,
        rows: &DMatrix<f64>,
        share: f64,
        p: f64,
        ridge: f64,
    ) -> Result<Self, StatisticsError> {
        let n = rows.ncols();
        let root: Vec<f64> = spectrum
            .values
            .iter()
            .map(|v| (share * v + ridge).sqrt())
            .collect();
        let mut rows = linalg::multiply(
            linalg::view(&spectrum.vectors).transpose(),
            linalg::view(rows),
        );
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
        Ok(Self::Dual {
            spectrum,
            root,
            rows,
            gram,
        })
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
