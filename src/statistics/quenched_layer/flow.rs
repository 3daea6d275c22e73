//! The rest of a layer in gradient flow: ridge regression at the poles of its filter, on the same samples
//! (derivations/22-kernel-machines.md).

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};
use num_complex::Complex64;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rayon::prelude::*;

use super::{Drawn, LayerWeights};
use crate::numerics::complex::{self, ComplexMatrix, product, zip};
use crate::numerics::linalg;
use crate::statistics::flow_equivalent::Start;
use crate::statistics::flow_poles::Sums;
use crate::statistics::whitened::expanded;
use crate::statistics::{FlowEquivalent, Measure, StatisticsError, pairs, symmetric_from_blocks};

/// The samples outside the layer, on average at every pole, and what their fluctuations are drawn from.
pub(super) struct FlowRest<'a> {
    equivalent: Arc<FlowEquivalent<'a>>,
    /// Probability of a sample to fall into the layer.
    inside: f64,
    /// 1_rest at the nodes of the equivalent's quadrature.
    outside: Vec<f64>,
    /// At every ridge.
    poles: Vec<Sums>,
}

impl<'a> FlowRest<'a> {
    /// The rest with the leverages of the equivalent.
    pub fn new(equivalent: Arc<FlowEquivalent<'a>>, inside: f64, outside: Vec<f64>) -> Self {
        let shares = equivalent.resolvents.iter().map(|r| r.share.clone());
        let shares = shares.collect();
        Self::at(equivalent, inside, outside, shares)
    }

    /// The rest with given 1/(1 + delta) of every pole.
    fn at(
        equivalent: Arc<FlowEquivalent<'a>>,
        inside: f64,
        outside: Vec<f64>,
        shares: Vec<Vec<Complex64>>,
    ) -> Self {
        let field = equivalent.field();
        let initial = equivalent.initial();
        let poles = equivalent
            .resolvents
            .par_iter()
            .zip(shares)
            .map(|(resolvent, mut share)| {
                for (share, outside) in share.iter_mut().zip(&outside) {
                    *share *= outside;
                }
                field.sums(share, resolvent, initial)
            })
            .collect();
        Self {
            equivalent,
            inside,
            outside,
            poles,
        }
    }

    /// Real and imaginary parts of the resolvents given a layer, pole by pole.
    pub fn resolvents(&self, drawn: &Drawn<'_>) -> Result<Vec<DMatrix<f64>>, StatisticsError> {
        let rows = self.in_modes(&drawn.rows());
        let mut parts = Vec::new();
        for system in self.systems(drawn.share, &rows) {
            let resolvent = complex::inverse(&system)?;
            parts.extend([resolvent.map(|v| v.re), resolvent.map(|v| v.im)]);
        }
        Ok(parts)
    }

    /// The rest with the leverages that average resolvents make, and the largest change of their ln(1 + delta).
    pub fn settled(self, resolvents: &[DMatrix<f64>]) -> Result<(Self, f64), StatisticsError> {
        let (field, samples) = (self.equivalent.field(), self.equivalent.samples);
        let (mut change, mut shares) = (0.0_f64, Vec::new());
        for (pole, parts) in self.poles.iter().zip(resolvents.chunks_exact(2)) {
            let mut share = field.quadratic(&zip(&parts[0], &parts[1]));
            for ((new, old), outside) in share.iter_mut().zip(&pole.share).zip(&self.outside) {
                *new = 1.0 / (1.0 + *new / samples);
                if *outside > 0.0 {
                    change = change.max((*old / *new).ln().norm());
                }
            }
            shares.push(share);
        }
        if !change.is_finite() {
            return Err(StatisticsError::NotFinite);
        }
        let equivalent = self.equivalent.clone();
        Ok((
            Self::at(equivalent, self.inside, self.outside, shares),
            change,
        ))
    }

    /// zeta of the layer's samples, r x n.
    fn in_modes(&self, rows: &DMatrix<f64>) -> DMatrix<f64> {
        let directions = linalg::view(&self.equivalent.modes.directions);
        linalg::multiply(directions.transpose(), linalg::view(rows))
    }

    /// share Sigma_rest + zeta zeta^T/P + rho of every pole.
    fn systems(&self, share: f64, rows: &DMatrix<f64>) -> impl Iterator<Item = ComplexMatrix> {
        let view = linalg::view(rows);
        let own = linalg::multiply(view, view.transpose()) / self.equivalent.samples;
        let resolvents = self.equivalent.resolvents.iter();
        self.poles.iter().zip(resolvents).map(move |(pole, r)| {
            let mut system = pole.sigma.zip_map(&own, |rest, own| rest * share + own);
            for k in 0..system.nrows() {
                system[(k, k)] += r.ridge;
            }
            system
        })
    }

    /// Weights given a layer and an initial function.
    pub fn weights<R: Rng + ?Sized>(
        &self,
        drawn: Drawn<'_>,
        rng: &mut R,
    ) -> Result<LayerWeights, StatisticsError> {
        let start = self.equivalent.start(rng);
        let z = drawn.rows();
        let rows = self.in_modes(&z);
        let mut targets = drawn.targets;
        if let Some(start) = &start {
            targets -= z.tr_mul(&start.weights);
        }
        let seen = &rows * targets / self.equivalent.samples;
        let (r, outputs) = seen.shape();
        let noise = match self.inside < 1.0 {
            true => self.noise(start.as_ref(), rng),
            false => vec![DMatrix::zeros(r, outputs); self.poles.len()],
        };
        let mut solved = DMatrix::zeros(r, 2 * outputs);
        let normal = start.as_ref().map(|s| &s.normal);
        let systems = self.systems(drawn.share, &rows);
        let resolvents = &self.equivalent.resolvents;
        for (((pole, noise), system), resolvent) in
            self.poles.iter().zip(&noise).zip(systems).zip(resolvents)
        {
            let mut target = pole.target_given(normal);
            target *= Complex64::from(drawn.share);
            target += seen.map(Complex64::from);
            // The targets of all outputs, then the same with noise.
            let mut both = DMatrix::zeros(r, 2 * outputs);
            both.columns_mut(0, outputs).copy_from(&target);
            target += noise * Complex64::from(drawn.share.sqrt());
            both.columns_mut(outputs, outputs).copy_from(&target);
            complex::solve(system, &mut both);
            solved += both.map(|w| 2.0 * (w * resolvent.coefficient).re);
        }
        let lifted = |first: usize| {
            let omega = solved.columns(first, outputs);
            let mut weights: DMatrix<f64> = &self.equivalent.modes.directions * omega;
            if let Some(start) = &start {
                weights += &start.weights;
            }
            DVector::from_column_slice(weights.as_slice())
        };
        Ok(LayerWeights {
            conditional_mean: lifted(0),
            weights: lifted(outputs),
        })
    }

    /// What the samples of the rest add to E[zeta y^T] beyond its mean, at every pole, r x D: a Gaussian field of complex residuals at
    /// the nodes (D22.19).
    fn noise<R: Rng + ?Sized>(&self, start: Option<&Start>, rng: &mut R) -> Vec<ComplexMatrix> {
        let (equivalent, samples) = (&self.equivalent, self.equivalent.samples);
        let (population, factors) = (&equivalent.population, equivalent.factors());
        let (n, outputs) = (population.nodes(), population.outputs());
        let means = equivalent.residuals(start);
        let size = 2 * self.poles.len() * outputs;
        let mut values = vec![Complex64::ZERO; self.poles.len() * outputs * n];
        let (mut normal, mut drawn) = (vec![0.0; size], vec![0.0; size]);
        let mut common = 0.0;
        for (node, weight) in population.weights().iter().enumerate() {
            if self.outside[node] == 0.0 {
                continue;
            }
            let root = (weight / samples).sqrt();
            for e in &mut normal {
                *e = rng.sample::<f64, _>(StandardNormal);
            }
            let fixed: f64 = rng.sample(StandardNormal);
            common += root * fixed;
            drawn.fill(0.0);
            let factor = &factors[node * size * size..][..size * size];
            for (column, e) in factor.chunks_exact(size).zip(&normal) {
                for (d, v) in drawn.iter_mut().zip(column) {
                    *d += v * e;
                }
            }
            for o in 0..outputs {
                for (k, pole) in self.poles.iter().enumerate() {
                    let at = 2 * (o * self.poles.len() + k);
                    let residual =
                        Complex64::new(drawn[at], drawn[at + 1]) + means[k][o * n + node] * fixed;
                    values[(k * outputs + o) * n + node] = residual * pole.share[node] * root;
                }
            }
        }
        let directions = linalg::view(&equivalent.modes.directions);
        (0..self.poles.len())
            .map(|k| {
                let mut sums = DMatrix::zeros(population.features(), 2 * outputs);
                for o in 0..outputs {
                    let own = &values[(k * outputs + o) * n..][..n];
                    let (re, im) = complex::split(own);
                    sums.set_column(2 * o, &population.combine(&re));
                    sums.set_column(2 * o + 1, &population.combine(&im));
                }
                let sums = linalg::multiply(directions.transpose(), linalg::view(&sums));
                // The samples of the rest are a given number, each with this mean.
                let mean = self.poles[k].mean_given(start.map(|s| &s.normal));
                let mean = mean * Complex64::from(common / (1.0 - self.inside));
                DMatrix::from_fn(sums.nrows(), outputs, |i, o| {
                    Complex64::new(sums[(i, 2 * o)], sums[(i, 2 * o + 1)]) - mean[(i, o)]
                })
            })
            .collect()
    }

    /// Cov(W | layer, initial function), D F x D F: sums of the residuals' covariances over the nodes instead of draws.
    pub fn conditional_covariance<R: Rng + ?Sized>(
        &self,
        drawn: &Drawn<'_>,
        rng: &mut R,
    ) -> Result<DMatrix<f64>, StatisticsError> {
        let start = self.equivalent.start(rng);
        let rows = self.in_modes(&drawn.rows());
        let filters: Result<Vec<ComplexMatrix>, StatisticsError> = self
            .systems(drawn.share, &rows)
            .zip(&self.equivalent.resolvents)
            .map(|(system, r)| Ok(complex::inverse(&system)? * r.coefficient))
            .collect();
        let (filters, means) = (filters?, self.equivalent.residuals(start.as_ref()));
        let (r, outputs) = (rows.nrows(), self.equivalent.population.outputs());
        let mut blocks = Vec::new();
        for (a, b) in pairs(outputs) {
            let mut block = DMatrix::zeros(r, r);
            for i in 0..self.poles.len() {
                // With one output the transpose stands for the exchange of the ridges.
                for j in (if a == b { i } else { 0 })..self.poles.len() {
                    for conjugate in [false, true] {
                        let ridges = (i, j, conjugate);
                        let source = self.covariance(ridges, (a, b), &means, start.as_ref());
                        let right = match conjugate {
                            true => filters[j].conjugate(),
                            false => filters[j].clone(),
                        };
                        let part = product(&product(&filters[i], &source), &right);
                        let part = part.map(|v| 2.0 * drawn.share * v.re);
                        if a == b && i != j {
                            block += part.transpose();
                        }
                        block += part;
                    }
                }
            }
            blocks.push(expanded(&self.equivalent.modes.directions, &block, a == b));
        }
        Ok(symmetric_from_blocks(outputs, &blocks))
    }

    /// (1/P) { E[1_rest (r_i r_j + g_i g_j) zeta zeta^T/((1 + delta_i)(1 + delta_j))] - m_i m_j^T/Pr(rest) } of the outputs a, b, with
    /// the conjugate of j where it says so.
    fn covariance(
        &self,
        (i, j, conjugate): (usize, usize, bool),
        (a, b): (usize, usize),
        means: &[Vec<Complex64>],
        start: Option<&Start>,
    ) -> ComplexMatrix {
        let (equivalent, samples) = (&self.equivalent, self.equivalent.samples);
        let (population, factors) = (&equivalent.population, equivalent.factors());
        let (n, count) = (population.nodes(), self.poles.len());
        let size = 2 * count * population.outputs();
        let other = |v: Complex64| if conjugate { v.conj() } else { v };
        let factor: Vec<Complex64> = (0..n)
            .map(|node| {
                let factor = &factors[node * size * size..][..size * size];
                let centred: Complex64 = factor
                    .chunks_exact(size)
                    .map(|column| {
                        let of = |output: usize, ridge: usize| {
                            let at = 2 * (output * count + ridge);
                            Complex64::new(column[at], column[at + 1])
                        };
                        of(a, i) * other(of(b, j))
                    })
                    .sum();
                let fixed = means[i][a * n + node] * other(means[j][b * n + node]);
                let share = self.poles[i].share[node] * other(self.poles[j].share[node]);
                (centred + fixed) * share / samples
            })
            .collect();
        let normal = start.map(|s| &s.normal);
        let [mi, mj] = [i, j].map(|k| self.poles[k].mean_given(normal));
        let outer = mi.column(a) * mj.column(b).map(other).transpose();
        let scale = Complex64::from(1.0 / (samples * (1.0 - self.inside)));
        equivalent.field().gram(&factor) - outer * scale
    }
}
