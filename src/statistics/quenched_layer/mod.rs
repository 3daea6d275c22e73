//! The quenched layer: few samples as drawn, all others by their equivalent (theory T19; derivations/11-quenched-layer.md, and of
//! gradient flow derivations/22-kernel-machines.md).

mod flow;
mod ridge;

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::{Binomial, Distribution};
use rayon::prelude::*;

use self::flow::FlowRest;
use self::ridge::RidgeRest;
use super::{Equivalent, FlowEquivalent, Measure, Population, StatisticsError, WeightStatistics};
use crate::family::features::Features;
use crate::family::{Linear, ProductSums, SampleRows};
use crate::numerics::linalg;
use crate::numerics::random::stream;
use crate::problem::{Problem, Training};

/// Layers drawn to average the resolvent over when leverages are evaluated again given the layer.
const RESOLVENT_DRAWS: u64 = 64;
/// Resolvents held at a time.
const RESOLVENTS_AT_ONCE: u64 = 16;
/// Change of ln(1 + leverage) at which that has settled, in view of the noise of so many draws.
const SETTLED: f64 = 0.05;
const MAX_ROUNDS: usize = 4;
/// Samples whose product functions are held at a time.
const CHUNK: usize = 256;

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
    /// Sums of nothing, where product functions are cheaper than rows.
    sums: Option<ProductSums>,
    rest: Rest<'a>,
}

/// The samples outside the layer.
enum Rest<'a> {
    Ridge(Box<RidgeRest<'a>>),
    Flow(FlowRest<'a>),
}

/// The equivalent of all samples, which a layer takes some out of.
#[derive(Clone, Copy)]
pub enum Unlayered<'e, 'a> {
    /// Of ridge regression.
    Ridge(&'e Equivalent<'a>),
    /// Of gradient flow.
    Flow(&'e Arc<FlowEquivalent<'a>>),
}

/// The samples of a layer.
struct Drawn<'a> {
    features: &'a Features,
    sums: Option<&'a ProductSums>,
    /// sqrt(lambda) and the features' factors, a sample per column.
    factors: DMatrix<f64>,
    /// y, n x D.
    targets: DMatrix<f64>,
    /// Number of samples outside the layer over its expectation.
    share: f64,
}

impl Drawn<'_> {
    /// Z, F x n.
    fn rows(&self) -> DMatrix<f64> {
        let sizes = [vec![1], self.features.factor_sizes()].concat();
        linalg::khatri_rao(&self.factors, 0, &sizes, 0..self.factors.ncols())
    }

    /// The lower triangle of Z Z^T by sums of product functions, where these are cheaper than rows.
    fn gram(&self) -> Option<DMatrix<f64>> {
        let (f, n) = (self.features.len(), self.factors.ncols());
        let mut sums = self.sums?.clone();
        for start in (0..n).step_by(CHUNK) {
            sums.add(&self.factors, start..n.min(start + CHUNK));
        }
        let mut gram = DMatrix::zeros(f, f);
        sums.expand(&mut gram);
        Some(gram)
    }
}

/// One draw of the weights.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// E[W | layer], length D F; of a flow also given its initial function.
    pub conditional_mean: DVector<f64>,
    /// W, length D F.
    pub weights: DVector<f64>,
}

impl<'e, 'a> From<&'e Equivalent<'a>> for Unlayered<'e, 'a> {
    fn from(equivalent: &'e Equivalent<'a>) -> Self {
        Self::Ridge(equivalent)
    }
}

impl<'e, 'a> From<&'e Arc<FlowEquivalent<'a>>> for Unlayered<'e, 'a> {
    fn from(equivalent: &'e Arc<FlowEquivalent<'a>>) -> Self {
        Self::Flow(equivalent)
    }
}

impl<'e, 'a> Unlayered<'e, 'a> {
    /// Mean and covariance of the weights.
    pub fn weights(self) -> &'e WeightStatistics {
        match self {
            Self::Ridge(equivalent) => &equivalent.weights,
            Self::Flow(equivalent) => &equivalent.statistics.weights,
        }
    }

    /// The quadrature whose panels a layer is made of.
    fn population(self) -> &'e Population<'a> {
        match self {
            Self::Ridge(equivalent) => &equivalent.population,
            Self::Flow(equivalent) => &equivalent.population,
        }
    }

    /// Leverages at its nodes; of a flow lambda k_tau(z, z)/P, up to the constant P.
    fn leverage(self) -> &'e [f64] {
        match self {
            Self::Ridge(equivalent) => &equivalent.coarse.leverage,
            Self::Flow(equivalent) => &equivalent.leverage,
        }
    }
}

impl<'a> QuenchedLayer<'a> {
    /// The layer that holds the first `panels` of [`by_leverage`], the rest with the leverages of the equivalent.
    pub fn new<'e>(
        problem: &'a Problem,
        family: &'a Linear,
        training: &'a Training,
        unlayered: impl Into<Unlayered<'e, 'a>>,
        panels: &[usize],
    ) -> Result<Self, StatisticsError>
    where
        'a: 'e,
    {
        let unlayered = unlayered.into();
        let population = unlayered.population();
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
        let (samples, outside) = (training.samples, outside(population, panels));
        let rest = match unlayered {
            Unlayered::Ridge(equivalent) => Rest::Ridge(Box::new(RidgeRest::new(
                equivalent,
                samples,
                probability,
                outside,
            )?)),
            Unlayered::Flow(equivalent) => {
                Rest::Flow(FlowRest::new(equivalent.clone(), probability, outside))
            }
        };
        Ok(Self {
            problem,
            family,
            training,
            intervals,
            length,
            probability,
            sums: ProductSums::where_cheaper(&family.features),
            rest,
        })
    }

    /// Evaluates the leverages of the rest again, with the resolvent averaged over layers as they are drawn instead of
    /// the equivalent's: in the equivalent the layer's own fluctuations are averaged too early.
    ///
    /// # Panics
    /// When `unlayered` is not of the kind that the layer was made of.
    pub fn settle<'e>(
        mut self,
        unlayered: impl Into<Unlayered<'e, 'a>>,
        seed: u64,
    ) -> Result<Self, StatisticsError>
    where
        'a: 'e,
    {
        let unlayered = unlayered.into();
        if self.intervals.is_empty() || self.probability >= 1.0 {
            return Ok(self);
        }
        for _ in 0..MAX_ROUNDS {
            let resolvents = self.mean_resolvents(seed)?;
            let (rest, change) = match (self.rest, unlayered) {
                (Rest::Ridge(rest), Unlayered::Ridge(equivalent)) => {
                    let only = resolvents.into_iter().next().unwrap_or_default();
                    let (rest, change) = rest.settled(equivalent, only)?;
                    (Rest::Ridge(Box::new(rest)), change)
                }
                (Rest::Flow(rest), Unlayered::Flow(_)) => {
                    let (rest, change) = rest.settled(&resolvents)?;
                    (Rest::Flow(rest), change)
                }
                _ => panic!("the layer was made of another equivalent"),
            };
            self.rest = rest;
            if change <= SETTLED {
                break;
            }
        }
        Ok(self)
    }

    /// The resolvents averaged over layers: that of the ridge, or real and imaginary parts at the flow's poles.
    fn mean_resolvents(&self, seed: u64) -> Result<Vec<DMatrix<f64>>, StatisticsError> {
        let mut mean: Vec<DMatrix<f64>> = Vec::new();
        for first in (0..RESOLVENT_DRAWS).step_by(RESOLVENTS_AT_ONCE as usize) {
            let parts: Result<Vec<Vec<DMatrix<f64>>>, StatisticsError> = (first
                ..first + RESOLVENTS_AT_ONCE)
                .into_par_iter()
                .map(|i| {
                    let drawn = self.draw(&mut stream(seed, i));
                    match &self.rest {
                        Rest::Ridge(rest) => Ok(vec![rest.resolvent(&drawn)?]),
                        Rest::Flow(rest) => rest.resolvents(&drawn),
                    }
                })
                .collect();
            for part in parts? {
                let part = part.into_iter().map(|m| m / RESOLVENT_DRAWS as f64);
                match mean.is_empty() {
                    true => mean = part.collect(),
                    false => mean.iter_mut().zip(part).for_each(|(sum, m)| *sum += m),
                }
            }
        }
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

    /// Draws the layer's samples.
    fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Drawn<'_> {
        let count = Binomial::new(self.training.samples as u64, self.probability)
            .map(|b| b.sample(rng) as usize)
            .unwrap_or(0);
        let mut samples = SampleRows::new(self.problem, self.family, self.training);
        let features = &self.family.features;
        let length = 1 + features.factor_sizes().iter().sum::<usize>();
        let mut factors = DMatrix::zeros(length, count);
        let mut targets = DMatrix::zeros(count, self.problem.dim());
        for k in 0..count {
            let t = self.time(rng.random::<f64>());
            let target = samples.draw_factors_at(t, rng, factors.column_mut(k).as_mut_slice());
            for (o, y) in target.iter().enumerate() {
                targets[(k, o)] = *y;
            }
        }
        let p = self.training.samples as f64;
        let share = if self.probability < 1.0 {
            (p - count as f64) / (p * (1.0 - self.probability))
        } else {
            0.0
        };
        Drawn {
            features,
            sums: self.sums.as_ref(),
            factors,
            targets,
            share,
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
        let drawn = self.draw(rng);
        let weights = match &self.rest {
            Rest::Ridge(rest) => rest.weights(&drawn, rng),
            Rest::Flow(rest) => rest.weights(drawn, rng),
        }?;
        let LayerWeights {
            conditional_mean: mean,
            weights: noisy,
        } = &weights;
        match mean.iter().chain(noisy).all(|w| w.is_finite()) {
            true => Ok(weights),
            false => Err(StatisticsError::NotFinite),
        }
    }

    /// Cov(W | layer), D F x D F, of the layer that the same random numbers draw in [`QuenchedLayer::weights`]; of a flow also
    /// given its initial function.
    pub fn conditional_covariance<R: Rng + ?Sized>(
        &self,
        rng: &mut R,
    ) -> Result<DMatrix<f64>, StatisticsError> {
        let drawn = self.draw(rng);
        match &self.rest {
            Rest::Ridge(rest) => rest.conditional_covariance(&drawn),
            Rest::Flow(rest) => rest.conditional_covariance(&drawn, rng),
        }
    }
}

/// The panels of a population in the order of their mean leverage, the largest first.
pub fn by_leverage<'e, 'a: 'e>(unlayered: impl Into<Unlayered<'e, 'a>>) -> Vec<usize> {
    let unlayered = unlayered.into();
    let (population, leverage) = (unlayered.population(), unlayered.leverage());
    let weights = population.weights();
    let mean: Vec<f64> = population
        .panels()
        .iter()
        .map(|panel| {
            let nodes = population.nodes_of(panel);
            let mass: f64 = weights[nodes.clone()].iter().sum();
            let sum: f64 = nodes.map(|i| weights[i] * leverage[i]).sum();
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
