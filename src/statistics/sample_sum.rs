//! The trained weights as a sum over samples, to first order in each (theory T8, T14; derivations/10-sample-sum.md).

use nalgebra::{DMatrix, DVector};
use rand::Rng;
use rand_distr::{Distribution, weighted::WeightedAliasIndex};

use super::population::TiltedResidual;
use super::{DeterministicEquivalent, Measure, Population, StatisticsError};
use crate::problem::Training;

/// Nodes less probable than this are never drawn: P draws meet one of them less than once in 10^9 models.
const NEVER: f64 = 1e-14;

/// W = w + (1/P) sum_p psi(z_p), psi(z) = Q [ r z/(1+delta) - m ], with P independent samples of the training
/// distribution; r = y - z^T w, and m = E[r z/(1+delta)] = rho w; of each output alike.
///
/// Its distribution over training sets is known completely: [`SampleSum::draw`] draws from it, [`SampleSum::tilt`] gives
/// its cumulant generating function (of one output).
pub struct SampleSum<'a> {
    population: &'a Population<'a>,
    equivalent: &'a DeterministicEquivalent,
    samples: usize,
    /// z^T w of every output, and 1/(1+delta), at the nodes.
    fits: Vec<Vec<f64>>,
    shrink: Vec<f64>,
    /// m, F x D.
    shift: DMatrix<f64>,
    drawn: NodeLaw,
}

/// The nodes of a quadrature as a law to draw samples' places from.
pub(super) struct NodeLaw {
    /// Probabilities of the nodes, summing to 1, and what the quadrature's sum to.
    pub probability: Vec<f64>,
    pub total: f64,
    /// Those that are drawn.
    nodes: Vec<usize>,
    alias: WeightedAliasIndex<f64>,
}

impl NodeLaw {
    pub fn new(population: &Population<'_>) -> Result<Self, StatisticsError> {
        let mut probability = population.weights();
        let total: f64 = probability.iter().sum();
        for p in &mut probability {
            *p /= total;
        }
        let (nodes, chances) = probability
            .iter()
            .enumerate()
            .filter(|(_, p)| **p >= NEVER)
            .unzip();
        Ok(Self {
            probability,
            total,
            nodes,
            alias: WeightedAliasIndex::new(chances).map_err(|_| StatisticsError::NotFinite)?,
        })
    }

    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> usize {
        self.nodes[self.alias.sample(rng)]
    }
}

impl<'a> SampleSum<'a> {
    /// The sum over samples drawn from the nodes of `population`, on which `equivalent` was solved.
    ///
    /// # Errors
    /// When the probabilities of the nodes or the equivalent are not finite.
    ///
    /// # Panics
    /// When `equivalent` was solved on another quadrature.
    pub fn new(
        population: &'a Population<'a>,
        equivalent: &'a DeterministicEquivalent,
        training: &Training,
    ) -> Result<Self, StatisticsError> {
        assert_eq!(equivalent.leverage.len(), population.nodes());
        let drawn = NodeLaw::new(population)?;
        let mut sum = Self {
            population,
            equivalent,
            samples: training.samples,
            fits: equivalent
                .mean
                .column_iter()
                .map(|w| population.project(w.as_slice()))
                .collect(),
            shrink: equivalent
                .leverage
                .iter()
                .map(|d| 1.0 / (1.0 + d))
                .collect(),
            shift: DMatrix::zeros(population.features(), population.outputs()),
            drawn,
        };
        // The mean of what is summed on this very quadrature: equal to rho w up to the fixed point's tolerance, but with
        // it the influence has mean zero to rounding.
        sum.shift = match population.outputs() {
            1 => {
                let residual = population.tilted(&sum.fits[0], &vec![0.0; population.nodes()]);
                let pulled = sum.pulled(&residual, |n, r| sum.drawn.probability[n] * r.mean);
                DMatrix::from_column_slice(pulled.len(), 1, pulled.as_slice())
            }
            _ => {
                let seen = population.gram(&sum.shrink) * &equivalent.mean;
                (population.cross(&sum.shrink) - seen) / sum.drawn.total
            }
        };
        if sum.shift.iter().any(|v| !v.is_finite()) {
            return Err(StatisticsError::NotFinite);
        }
        Ok(sum)
    }

    /// Sum over nodes of coefficient z/(1+delta).
    fn pulled(
        &self,
        residuals: &[TiltedResidual],
        coefficient: impl Fn(usize, &TiltedResidual) -> f64,
    ) -> DVector<f64> {
        let factor: Vec<f64> = residuals
            .iter()
            .enumerate()
            .map(|(n, r)| coefficient(n, r) * self.shrink[n])
            .collect();
        self.population.combine(&factor)
    }

    /// Draws P samples and writes W into `weights` (length D F): D (P F + F^2) operations. Depends on `rng` alone.
    ///
    /// # Panics
    /// When `weights` is not of length D F.
    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R, weights: &mut [f64]) {
        assert_eq!(weights.len(), self.shift.len());
        let scale = 1.0 / self.samples as f64;
        let (mut sum, mut scratch) = (-&self.shift, Vec::new());
        let mut pull = vec![0.0; self.fits.len()];
        for _ in 0..self.samples {
            let node = self.drawn.draw(rng);
            self.population
                .draw_target(node, rng, &mut scratch, &mut pull);
            for (pull, fit) in pull.iter_mut().zip(&self.fits) {
                *pull = scale * self.shrink[node] * (*pull - fit[node]);
            }
            self.population.add_row(node, &pull, sum.as_mut_slice());
        }
        let outputs = weights.chunks_exact_mut(self.shift.nrows());
        for (o, weights) in outputs.enumerate() {
            let moved = &self.equivalent.resolvent * sum.column(o);
            let mean = self.equivalent.mean.column(o);
            for ((w, mean), m) in weights.iter_mut().zip(&mean).zip(&moved) {
                *w = mean + m;
            }
        }
    }

    /// The distribution tilted by exp(u . W), u of length F: the cumulant generating function of W - w and its
    /// derivatives at u. A path with response fields theta_k has u = sum_k d_k theta_k phi(x_k, t_k)/p_k; a real saddle of
    /// the path integral is at real u. Costs one pass over the nodes (F_x each, and the mixture's components) and F^2.
    ///
    /// Exact on the quadrature: u must not be so large that the tilted mass sits at its ends.
    ///
    /// # Panics
    /// When `u` is not of length F, or there are several outputs.
    pub fn tilt(&self, u: &[f64]) -> Tilt<'_> {
        let direction = self.filtered(u);
        let residuals = self
            .population
            .tilted(&self.fits[0], &self.exponents(&direction));
        let logs: Vec<f64> = residuals
            .iter()
            .zip(&self.drawn.probability)
            .map(|(r, p)| p.ln() + r.log)
            .collect();
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut weight: Vec<f64> = logs.iter().map(|l| (l - top).exp()).collect();
        let total: f64 = weight.iter().sum();
        for w in &mut weight {
            *w /= total;
        }
        let value = self.samples as f64 * (top + total.ln()) - self.shift.column(0).dot(&direction);
        let pull = self.pulled(&residuals, |n, r| weight[n] * r.mean) - self.shift.column(0);
        Tilt {
            sum: self,
            value,
            gradient: &self.equivalent.resolvent * pull,
            weight,
            residuals,
        }
    }

    /// Q u.
    fn filtered(&self, u: &[f64]) -> DVector<f64> {
        assert_eq!(u.len(), self.shift.len());
        &self.equivalent.resolvent * DVector::from_column_slice(u)
    }

    /// v^T z/(P (1+delta)) at the nodes: the factor of r in u . psi/P, v = Q u.
    fn exponents(&self, direction: &DVector<f64>) -> Vec<f64> {
        let mut out = self.population.project(direction.as_slice());
        for (o, s) in out.iter_mut().zip(&self.shrink) {
            *o *= s / self.samples as f64;
        }
        out
    }
}

/// K(u) = ln E exp(u . (W - w)) = P ln E_z exp(u . psi(z)/P) and its derivatives at one u.
pub struct Tilt<'a> {
    sum: &'a SampleSum<'a>,
    value: f64,
    gradient: DVector<f64>,
    /// Tilted probabilities of the nodes.
    weight: Vec<f64>,
    residuals: Vec<TiltedResidual>,
}

impl Tilt<'_> {
    /// K(u). Its rounding error is P times that of a logarithm.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// dK/du, length F: the mean of W - w under the tilt.
    pub fn gradient(&self) -> &DVector<f64> {
        &self.gradient
    }

    /// (d^2 K/du^2) h, length F: the covariance of W under the tilt, applied to h. As costly as the tilt itself.
    pub fn hessian_times(&self, h: &[f64]) -> DVector<f64> {
        let along = self.sum.exponents(&self.sum.filtered(h));
        let mean: f64 = (0..along.len())
            .map(|n| self.weight[n] * self.residuals[n].mean * along[n])
            .sum();
        let pull = self.sum.pulled(&self.residuals, |n, r| {
            self.weight[n] * ((r.mean * along[n] - mean) * r.mean + r.variance * along[n])
        });
        &self.sum.equivalent.resolvent * pull
    }
}
