//! Training a linear model: the closed-form solution of weighted ridge regression on P fresh samples
//! (derivations/19-training-by-factors.md).
//!
//! Rows are products of factors, z_p = sqrt(lambda) ⊗ phi_1(x_p) ⊗ .. ⊗ phi_D(x_p) ⊗ phi_t(t_p), and are never all kept. With P < F
//! the dual Gram matrix is the elementwise product of the factors' own, Z Z^T = (Phi_1 Phi_1^T) ∘ .. ∘ (Phi_t Phi_t^T), at
//! P^2 (F_1 + .. + F_t) flops instead of P^2 F. With P >= F the entries of Z^T Z are made of sums over samples of one product
//! function per factor: about prod_i (2 F_i - 1) sums instead of F (F + 1)/2 where the features are closed under products.

use nalgebra::DMatrix;
use rand::Rng;
use thiserror::Error;

use super::TrainingCost;
use crate::family::{Linear, ProductSums, SampleRows};
use crate::numerics::linalg::{self, CholeskyScratch, LinalgError, khatri_rao};
use crate::problem::{Problem, Training};

/// Columns of the dual Gram matrix made together: a panel of a thousand samples stays in second-level cache.
const PANEL: usize = 64;
/// Numbers of one chunk's largest matrix: 8 MB.
const CHUNK: usize = 1 << 20;

/// Why training failed.
#[derive(Debug, Error, Clone, Copy, PartialEq)]
pub enum TrainError {
    #[error("{0}; raise training.ridge")]
    Singular(#[from] LinalgError),
    #[error("the weights are not finite; the features overflow on the training samples")]
    NotFinite,
}

/// Trains models one after another in the same memory.
pub struct Trainer<'a> {
    rows: SampleRows<'a>,
    samples: usize,
    ridge: f64,
    /// Numbers of features of the factors: 1, sqrt(lambda), then those of space (of features that are no product: F_x alone); and
    /// those of time.
    space: Vec<usize>,
    time: Vec<usize>,
    outputs: usize,
    /// The samples' factors, one sample per column: all of them (dual), or one chunk (primal).
    factors: DMatrix<f64>,
    /// Y^T, in the same columns.
    targets: DMatrix<f64>,
    gram: DMatrix<f64>,
    cholesky: CholeskyScratch,
    /// Space features times outputs and features of time, the latter fastest.
    moments: DMatrix<f64>,
    sums: Option<ProductSums>,
    /// Weights, those of the first output first.
    weights: Vec<f64>,
}

/// What is chosen by the numbers of features and samples.
struct Plan {
    space: Vec<usize>,
    time: Vec<usize>,
    features: usize,
    samples: usize,
    dual: bool,
    /// Sums of product functions, where these are cheaper.
    sums: Option<ProductSums>,
}

impl Plan {
    fn new(family: &Linear, samples: usize) -> Self {
        let features = &family.features;
        let dual = samples < features.len();
        Self {
            space: [vec![1], features.space.factor_sizes()].concat(),
            time: features.time.set_sizes(),
            features: features.len(),
            samples,
            dual,
            sums: (!dual)
                .then(|| ProductSums::where_cheaper(features))
                .flatten(),
        }
    }

    /// Product functions of space and of time, where these are summed.
    fn functions(&self) -> Option<(usize, usize)> {
        self.sums.as_ref().map(ProductSums::functions)
    }

    /// Numbers of one sample's factors.
    fn factors(&self) -> usize {
        self.space.iter().chain(&self.time).sum()
    }

    /// Order of the system that is solved.
    fn order(&self) -> usize {
        self.features.min(self.samples)
    }

    /// Samples whose factors are held at a time.
    fn columns(&self) -> usize {
        let widest = self.functions().map_or(self.features, |(space, _)| space);
        match self.dual {
            true => self.samples,
            false => chunk(widest).min(self.samples),
        }
    }
}

impl<'a> Trainer<'a> {
    pub fn new(problem: &'a Problem, family: &'a Linear, training: &'a Training) -> Self {
        let features = &family.features;
        let plan = Plan::new(family, training.samples);
        let (order, columns, outputs) = (plan.order(), plan.columns(), problem.dim());
        Self {
            rows: SampleRows::new(problem, family, training),
            samples: training.samples,
            ridge: training.ridge,
            factors: DMatrix::zeros(plan.factors(), columns),
            targets: DMatrix::zeros(outputs, columns),
            gram: DMatrix::zeros(order, order),
            cholesky: CholeskyScratch::new(order),
            moments: DMatrix::zeros(features.space_len(), outputs * features.time.len()),
            sums: plan.sums,
            weights: vec![0.0; outputs * plan.features],
            space: plan.space,
            time: plan.time,
            outputs,
        }
    }

    /// What one model takes, in the leading terms: what is held, and the products of one chunk besides.
    pub fn cost(family: &Linear, samples: usize) -> TrainingCost {
        let plan = Plan::new(family, samples);
        let outputs = family.features.space.dim();
        let (order, columns, factors) = (plan.order(), plan.columns(), plan.factors());
        let (space, time) = (family.features.space_len(), family.features.time.len());
        let weights = outputs * plan.features;
        let functions = plan.functions();
        let sums = functions.map_or(0, |(space, time)| space * time);
        let held = ((factors + outputs) * columns)
            .saturating_add(order.saturating_mul(order))
            .saturating_add(2 * weights + sums);
        let chunk = chunk(plan.features).min(samples);
        let passing = match (plan.dual, functions) {
            (true, _) => ((factors + PANEL) * samples).max((space + outputs * time) * chunk),
            (false, Some((space, _))) => space * columns,
            (false, None) => plan.features * columns,
        };
        let [f, p, n] = [plan.features, samples, order].map(|n| n as f64);
        let gram = match (plan.dual, functions) {
            (true, _) => p * p * factors as f64,
            (false, Some(_)) => 2.0 * p * sums as f64,
            (false, None) => p * f * f,
        };
        let solve = n.powi(3) / 3.0 + 2.0 * outputs as f64 * n * n;
        let numbers = held.saturating_add(passing) as u64;
        TrainingCost {
            bytes: numbers.saturating_mul(size_of::<f64>() as u64),
            flops: gram + solve + 2.0 * p * weights as f64,
        }
    }

    /// Draws P triples and returns the trained weights (length D F, those of the first output first).
    ///
    /// # Errors
    /// If the normal equations are singular in double precision, or the weights not finite.
    pub fn train<R: Rng + Clone>(&mut self, rng: &mut R) -> Result<&[f64], TrainError> {
        self.rows.start_set();
        match (self.samples < self.features(), self.sums.is_some()) {
            (true, _) => self.solve_dual(rng)?,
            (false, false) => self.solve_primal(rng, false)?,
            (false, true) => {
                let mut again = rng.clone();
                // A matrix that is singular but for rounding: with rows written out it is a Gram matrix up to the rounding of its
                // sums alone.
                if self.solve_primal(rng, true).is_err() {
                    self.rows.start_set();
                    self.solve_primal(&mut again, false)?;
                }
            }
        }
        if self.weights.iter().any(|w| !w.is_finite()) {
            return Err(TrainError::NotFinite);
        }
        Ok(&self.weights)
    }

    /// F.
    fn features(&self) -> usize {
        self.moments.nrows() * self.times()
    }

    /// F_t.
    fn times(&self) -> usize {
        self.moments.ncols() / self.outputs
    }

    /// Fills the first `count` columns with the next samples.
    fn draw<R: Rng>(&mut self, rng: &mut R, count: usize) {
        for p in 0..count {
            let column = self.factors.column_mut(p).data.into_slice_mut();
            let target = self.rows.draw_factors(rng, column);
            self.targets.column_mut(p).copy_from_slice(target);
        }
    }

    /// W = Y^T (Z Z^T + P rho)^-1 Z.
    fn solve_dual<R: Rng>(&mut self, rng: &mut R) -> Result<(), TrainError> {
        self.draw(rng, self.samples);
        let mut first = 0;
        for &size in self.space.iter().chain(&self.time) {
            let factor = self.factors.rows(first, size).into_owned();
            multiply_gram(&factor, &mut self.gram, first == 0);
            first += size;
        }
        self.factorise(self.ridge * self.samples as f64)?;
        let mut dual = self.targets.transpose();
        linalg::cholesky_solve(linalg::view(&self.gram), linalg::view_mut(&mut dual));
        self.targets = dual.transpose();
        self.moments.fill(0.0);
        let columns = chunk(self.features());
        for start in (0..self.samples).step_by(columns) {
            self.add_moments(start, columns.min(self.samples - start));
        }
        self.arrange();
        Ok(())
    }

    /// W = (1/P) Y^T Z ((1/P) Z^T Z + rho)^-1, by sums of product functions or with rows.
    fn solve_primal<R: Rng>(&mut self, rng: &mut R, by_sums: bool) -> Result<(), TrainError> {
        let columns = self.factors.ncols();
        let mut sums = self.sums.take_if(|_| by_sums);
        match &mut sums {
            Some(sums) => sums.clear(),
            None => self.gram.fill(0.0),
        }
        self.moments.fill(0.0);
        for start in (0..self.samples).step_by(columns) {
            let count = columns.min(self.samples - start);
            self.draw(rng, count);
            self.add_moments(0, count);
            match &mut sums {
                Some(sums) => sums.add(&self.factors, 0..count),
                None => {
                    let rows = khatri_rao(&self.factors, 0, &self.sizes(), 0..count);
                    let rows = linalg::view(&rows);
                    let gram = linalg::view_mut(&mut self.gram);
                    linalg::add_product_lower(rows, rows.transpose(), 1.0, gram);
                }
            }
        }
        if let Some(sums) = sums {
            sums.expand(&mut self.gram);
            self.sums = Some(sums);
        }
        let scale = 1.0 / self.samples as f64;
        self.gram *= scale;
        self.moments *= scale;
        self.factorise(self.ridge)?;
        self.arrange();
        let size = self.features();
        let rhs = faer::MatMut::from_column_major_slice_mut(&mut self.weights, size, self.outputs);
        linalg::cholesky_solve(linalg::view(&self.gram), rhs);
        Ok(())
    }

    fn sizes(&self) -> Vec<usize> {
        [&self.space[..], &self.time].concat()
    }

    fn factorise(&mut self, ridge: f64) -> Result<(), TrainError> {
        for i in 0..self.gram.nrows() {
            self.gram[(i, i)] += ridge;
        }
        linalg::cholesky(linalg::view_mut(&mut self.gram), &mut self.cholesky)?;
        Ok(())
    }

    /// Adds sum over samples of y_o phi_s phi_a to the moments.
    fn add_moments(&mut self, start: usize, count: usize) {
        let columns = start..start + count;
        let spaces = khatri_rao(&self.factors, 0, &self.space, columns.clone());
        let first = self.space.iter().sum();
        let times = khatri_rao(&self.factors, first, &self.time, columns);
        let targets = DMatrix::from_fn(self.moments.ncols(), count, |i, p| {
            let (o, a) = (i / times.nrows(), i % times.nrows());
            self.targets[(o, start + p)] * times[(a, p)]
        });
        linalg::add_product(
            linalg::view(&spaces),
            linalg::view(&targets).transpose(),
            linalg::view_mut(&mut self.moments),
        );
    }

    /// The moments in the order of the weights.
    fn arrange(&mut self) {
        let (times, features) = (self.times(), self.features());
        for (i, w) in self.weights.iter_mut().enumerate() {
            let (o, s, a) = (i / features, i % features / times, i % times);
            *w = self.moments[(s, o * times + a)];
        }
    }
}

/// Samples of a chunk of which each makes `width` numbers.
fn chunk(width: usize) -> usize {
    (CHUNK / width.max(1)).clamp(16, 256)
}

/// Multiplies the lower triangle of `gram` by that of `factor^T factor`, elementwise; replaces it if `fresh`.
fn multiply_gram(factor: &DMatrix<f64>, gram: &mut DMatrix<f64>, fresh: bool) {
    let samples = factor.ncols();
    let all = linalg::view(factor);
    for first in (0..samples).step_by(PANEL) {
        let width = PANEL.min(samples - first);
        let panel = linalg::multiply(
            all.subcols(first, samples - first).transpose(),
            all.subcols(first, width),
        );
        for j in 0..width {
            let own = gram.column_mut(first + j).data.into_slice_mut();
            let products = panel.column(j).data.into_slice();
            let (own, products) = (&mut own[first + j..], &products[j..]);
            match fresh {
                true => own.copy_from_slice(products),
                false => own.iter_mut().zip(products).for_each(|(k, g)| *k *= g),
            }
        }
    }
}
