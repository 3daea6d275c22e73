//! A training distribution given by an explicit list of weighted rows, and ridge regressions on samples of it: the
//! brute force that the deterministic equivalent is compared with.

use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal, weighted::WeightedAliasIndex};
use vkernel::statistics::Measure;

/// Nodes of a measure: rows z, targets y of given mean and of Gaussian noise with given covariance.
#[derive(Clone)]
pub struct Dense {
    /// Probabilities, K.
    pub weight: Vec<f64>,
    /// F x K.
    pub rows: DMatrix<f64>,
    /// E[y|z], D x K.
    pub mean: DMatrix<f64>,
    /// L with Cov(y|z) = L L^T, D x D at every node.
    pub noise: Vec<DMatrix<f64>>,
}

impl Measure for Dense {
    fn features(&self) -> usize {
        self.rows.nrows()
    }

    fn outputs(&self) -> usize {
        self.mean.nrows()
    }

    fn nodes(&self) -> usize {
        self.weight.len()
    }

    fn quadratic(&self, matrix: &DMatrix<f64>) -> Vec<f64> {
        let half = matrix * &self.rows;
        (0..self.nodes())
            .map(|n| half.column(n).dot(&self.rows.column(n)))
            .collect()
    }

    fn project(&self, direction: &[f64]) -> Vec<f64> {
        let u = DVector::from_column_slice(direction);
        self.rows.tr_mul(&u).as_slice().to_vec()
    }

    fn gram(&self, factor: &[f64]) -> DMatrix<f64> {
        self.weighted(factor) * self.rows.transpose()
    }

    fn cross(&self, factor: &[f64]) -> DMatrix<f64> {
        self.weighted(factor) * self.mean.transpose()
    }

    fn residual(&self, weights: &DMatrix<f64>, (i, j): (usize, usize)) -> Vec<f64> {
        let r = &self.mean - weights.tr_mul(&self.rows);
        (0..self.nodes())
            .map(|n| r[(i, n)] * r[(j, n)] + self.covariance(n)[(i, j)])
            .collect()
    }

    fn weights(&self) -> Vec<f64> {
        self.weight.clone()
    }
}

impl Dense {
    /// Rows times (weight factor), F x K.
    fn weighted(&self, factor: &[f64]) -> DMatrix<f64> {
        let mut out = self.rows.clone();
        for ((mut column, w), f) in out.column_iter_mut().zip(&self.weight).zip(factor) {
            column *= w * f;
        }
        out
    }

    /// Cov(y|z) at a node.
    pub fn covariance(&self, node: usize) -> DMatrix<f64> {
        &self.noise[node] * self.noise[node].transpose()
    }

    /// The measure of B y: outputs combined by the rows of B.
    pub fn combined(&self, b: &DMatrix<f64>) -> Self {
        Self {
            mean: b * &self.mean,
            noise: self.noise.iter().map(|l| b * l).collect(),
            ..self.clone()
        }
    }

    /// Targets replaced by their means: the exact objective.
    pub fn exact(&self) -> Self {
        let mut out = self.clone();
        for l in &mut out.noise {
            l.fill(0.0);
        }
        out
    }

    pub fn sampler(&self) -> Sampler<'_> {
        Sampler {
            measure: self,
            alias: WeightedAliasIndex::new(self.weight.clone()).unwrap(),
        }
    }
}

/// Draws of training sets from a [`Dense`] measure.
pub struct Sampler<'a> {
    measure: &'a Dense,
    alias: WeightedAliasIndex<f64>,
}

impl Sampler<'_> {
    /// Rows (F x P) and targets (D x P) of one training set.
    pub fn set<R: Rng>(&self, samples: usize, rng: &mut R) -> (DMatrix<f64>, DMatrix<f64>) {
        let m = self.measure;
        let mut rows = DMatrix::zeros(m.features(), samples);
        let mut targets = DMatrix::zeros(m.outputs(), samples);
        for p in 0..samples {
            let n = self.alias.sample(rng);
            rows.set_column(p, &m.rows.column(n));
            let unit = DVector::from_fn(m.noise[n].ncols(), |_, _| {
                rng.sample::<f64, _>(StandardNormal)
            });
            targets.set_column(p, &(m.mean.column(n) + &m.noise[n] * unit));
        }
        (rows, targets)
    }
}

/// (Z Z^T / P + rho)^-1 of a training set.
pub fn sample_resolvent(rows: &DMatrix<f64>, ridge: f64) -> DMatrix<f64> {
    let (f, p) = rows.shape();
    let gram = rows * rows.transpose() / p as f64 + DMatrix::identity(f, f) * ridge;
    gram.cholesky().unwrap().inverse()
}

/// Trained weights, F x D.
pub fn trained(rows: &DMatrix<f64>, targets: &DMatrix<f64>, ridge: f64) -> DMatrix<f64> {
    let (f, p) = rows.shape();
    let scale = 1.0 / p as f64;
    let gram = rows * rows.transpose() * scale + DMatrix::identity(f, f) * ridge;
    let cross = rows * targets.transpose() * scale;
    gram.cholesky().unwrap().solve(&cross)
}
