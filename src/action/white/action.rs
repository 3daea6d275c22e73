//! The action of a chain x_(k+1) = m_k(x_k) + sqrt(v_k(x_k)) xi_k on the line (derivations/14-white-noise-saddle.md):
//! S = sum_k (x_(k+1) - m_k)^2 / 2 v_k + (1/2) ln 2 pi v_k, and its form with response fields.

use num_complex::Complex64;

use super::{Jet, Splitting, WhiteStep};
use crate::numerics::tridiagonal::Tridiagonal;

/// The action of N steps. Paths have N + 1 nodes, ends included; derivatives are taken in the N - 1 nodes between.
#[derive(Debug, Clone, Copy)]
pub struct WhiteAction<'a, S> {
    steps: &'a [S],
}

/// Value of one term f(x, y), x the node before and y the one after the step, and its derivatives.
#[derive(Debug, Clone, Copy, Default)]
struct Term {
    value: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Term {
    /// (y - m)^2 / 2v (D14.3).
    fn quadratic(jet: &Jet, y: f64) -> Self {
        let ([m, m1, m2, ..], [v, v1, v2, ..]) = (jet.mean, jet.variance);
        let response = (y - m) / v;
        let pull = m1 + v1 * response;
        Self {
            value: 0.5 * (y - m) * response,
            x: -response * (m1 + 0.5 * v1 * response),
            y: response,
            xx: pull * pull / v - response * (m2 + 0.5 * v2 * response),
            xy: -pull / v,
            yy: 1.0 / v,
        }
    }

    /// (1/2) ln 2 pi v added.
    fn with_norm(mut self, jet: &Jet) -> Self {
        let [v, v1, v2, ..] = jet.variance;
        self.value += 0.5 * (std::f64::consts::TAU * v).ln();
        self.x += 0.5 * v1 / v;
        self.xx += 0.5 * (v2 / v - (v1 / v) * (v1 / v));
        self
    }
}

impl<'a, S: WhiteStep> WhiteAction<'a, S> {
    pub fn new(steps: &'a [S]) -> Self {
        Self { steps }
    }

    /// The whole action: exp(-S) is the density of the path x_1..x_N given x_0.
    pub fn value(&self, path: &[f64]) -> f64 {
        self.terms(path).map(|t| t.value).sum()
    }

    /// Gradient of [`Self::value`], length N - 1.
    pub fn gradient(&self, path: &[f64]) -> Vec<f64> {
        gradient(self.terms(path))
    }

    /// Hessian of [`Self::value`], size N - 1.
    pub fn hessian(&self, path: &[f64]) -> Tridiagonal {
        hessian(self.terms(path))
    }

    /// Hessian of [`Self::value`] times a vector of length N - 1, without the matrix.
    pub fn hessian_product(&self, path: &[f64], vector: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; vector.len()];
        for (k, t) in self.terms(path).enumerate() {
            // Step k starts at interior node k - 1 and ends at interior node k.
            let before = k.checked_sub(1).and_then(|i| vector.get(i)).copied();
            let after = vector.get(k).copied();
            if let (Some(x), Some(i)) = (before, k.checked_sub(1)) {
                out[i] += t.xx * x + t.xy * after.unwrap_or(0.0);
            }
            if let Some(y) = after {
                out[k] += t.yy * y + t.xy * before.unwrap_or(0.0);
            }
        }
        out
    }

    /// The part that is extremised, sum (x_(k+1) - m_k)^2 / 2 v_k with the splitting's mean.
    pub fn exponent(&self, path: &[f64], splitting: Splitting) -> f64 {
        self.quadratic(path, splitting).map(|t| t.value).sum()
    }

    /// Gradient of [`Self::exponent`], length N - 1.
    pub fn exponent_gradient(&self, path: &[f64], splitting: Splitting) -> Vec<f64> {
        gradient(self.quadratic(path, splitting))
    }

    /// Hessian of [`Self::exponent`], size N - 1.
    pub fn exponent_hessian(&self, path: &[f64], splitting: Splitting) -> Tridiagonal {
        hessian(self.quadratic(path, splitting))
    }

    /// Logarithm of the integrand with response fields p (length N): sum_k i p_k (x_(k+1) - m_k) - v_k p_k^2 / 2. Integrated
    /// over every p_k / 2 pi it gives exp(-S); its saddle in p lies at p = i (x_(k+1) - m_k) / v_k.
    pub fn with_response(&self, path: &[f64], response: &[Complex64]) -> Complex64 {
        self.jets(path)
            .zip(response)
            .map(|((jet, y), p)| {
                Complex64::i() * p * (y - jet.mean[0]) - 0.5 * jet.variance[0] * p * p
            })
            .sum()
    }

    /// Jet and end point of every step.
    fn jets(&self, path: &[f64]) -> impl Iterator<Item = (Jet, f64)> {
        self.steps
            .iter()
            .zip(path.windows(2))
            .map(|(s, w)| (s.jet(w[0]), w[1]))
    }

    fn terms(&self, path: &[f64]) -> impl Iterator<Item = Term> {
        self.jets(path)
            .map(|(jet, y)| Term::quadratic(&jet, y).with_norm(&jet))
    }

    fn quadratic(&self, path: &[f64], splitting: Splitting) -> impl Iterator<Item = Term> {
        self.jets(path)
            .map(move |(jet, y)| Term::quadratic(&jet.split(splitting), y))
    }
}

fn gradient(terms: impl Iterator<Item = Term>) -> Vec<f64> {
    let terms: Vec<Term> = terms.collect();
    terms.windows(2).map(|w| w[0].y + w[1].x).collect()
}

fn hessian(terms: impl Iterator<Item = Term>) -> Tridiagonal {
    let terms: Vec<Term> = terms.collect();
    let inner = terms.len().saturating_sub(1);
    Tridiagonal {
        diagonal: terms.windows(2).map(|w| w[0].yy + w[1].xx).collect(),
        off: terms.iter().take(inner).skip(1).map(|t| t.xy).collect(),
    }
}
