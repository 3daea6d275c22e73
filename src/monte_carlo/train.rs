//! Training a linear model: the closed-form solution of weighted ridge regression on P fresh samples.

use nalgebra::DMatrix;
use rand::Rng;
use thiserror::Error;

use super::TrainingCost;
use super::factored::FactoredTrainer;
use crate::family::{Linear, SampleRows};
use crate::numerics::linalg::{self, CholeskyScratch, LinalgError};
use crate::problem::{Problem, Training};

/// Why training failed.
#[derive(Debug, Error, Clone, Copy, PartialEq)]
pub enum TrainError {
    #[error("{0}; raise training.ridge")]
    Singular(#[from] LinalgError),
    #[error("the weights are not finite; the features overflow on the training samples")]
    NotFinite,
}

/// Trains models one after another in the same memory: with all rows in D = 1, factor by factor in more dimensions.
pub struct Trainer<'a> {
    samples: SampleRows<'a>,
    method: Method<'a>,
}

enum Method<'a> {
    Rows(RowTrainer<'a>),
    Factors(FactoredTrainer),
}

impl<'a> Trainer<'a> {
    pub fn new(problem: &'a Problem, family: &'a Linear, training: &'a Training) -> Self {
        Self {
            samples: SampleRows::new(problem, family, training),
            method: match problem.dim() {
                1 => Method::Rows(RowTrainer::new(family, training)),
                dim => Method::Factors(FactoredTrainer::new(family, training, dim)),
            },
        }
    }

    /// What one model takes, by the leading terms.
    pub fn cost(family: &Linear, samples: usize) -> TrainingCost {
        match family.features.space.dim() {
            1 => RowTrainer::cost(family, samples),
            dim => FactoredTrainer::cost(family, samples, dim),
        }
    }

    /// Draws P triples and returns the trained weights (length D F, those of the first output first).
    pub fn train<R: Rng + ?Sized>(&mut self, rng: &mut R) -> Result<&[f64], TrainError> {
        self.samples.start_set();
        match &mut self.method {
            Method::Rows(rows) => rows.train(&mut self.samples, rng),
            Method::Factors(factors) => factors.train(&mut self.samples, rng),
        }
    }
}

/// Rows z = sqrt(lambda) phi and targets y = sqrt(lambda) f solve
/// W = (1/P) Y^T Z ((1/P) Z^T Z + rho)^-1. With P >= F the F x F normal equations are factored (P F^2 + F^3/3 flops); with
/// P < F the dual P x P ones, W = Y^T (Z Z^T + P rho)^-1 Z (F P^2 + P^3/3).
struct RowTrainer<'a> {
    training: &'a Training,
    /// Z^T, F x P: one sample per column.
    rows: DMatrix<f64>,
    /// Y, P x 1.
    targets: DMatrix<f64>,
    gram: DMatrix<f64>,
    cholesky: CholeskyScratch,
    weights: DMatrix<f64>,
}

impl<'a> RowTrainer<'a> {
    fn new(family: &Linear, training: &'a Training) -> Self {
        let (f, p) = (family.features.len(), training.samples);
        let order = f.min(p);
        Self {
            training,
            rows: DMatrix::zeros(f, p),
            targets: DMatrix::zeros(p, 1),
            gram: DMatrix::zeros(order, order),
            cholesky: CholeskyScratch::new(order),
            weights: DMatrix::zeros(f, 1),
        }
    }

    /// All rows, and the Gram matrix: F x F, or P x P where P < F.
    fn cost(family: &Linear, samples: usize) -> TrainingCost {
        let f = family.features.len();
        let (low, high) = (f.min(samples), f.max(samples));
        let numbers = samples
            .saturating_mul(f)
            .saturating_add(low.saturating_mul(low)) as u64;
        TrainingCost {
            bytes: numbers.saturating_mul(size_of::<f64>() as u64),
            flops: high as f64 * (low as f64).powi(2) + (low as f64).powi(3) / 3.0,
        }
    }

    fn train<R: Rng + ?Sized>(
        &mut self,
        samples: &mut SampleRows<'_>,
        rng: &mut R,
    ) -> Result<&[f64], TrainError> {
        for p in 0..self.training.samples {
            let target = samples.draw(rng, self.rows.column_mut(p).as_mut_slice());
            self.targets[p] = target[0];
        }
        if self.training.samples < self.rows.nrows() {
            self.solve_dual()?;
        } else {
            self.solve_primal()?;
        }
        let weights = self.weights.as_slice();
        if weights.iter().any(|w| !w.is_finite()) {
            return Err(TrainError::NotFinite);
        }
        Ok(weights)
    }

    fn solve_primal(&mut self) -> Result<(), TrainError> {
        let scale = 1.0 / self.training.samples as f64;
        let rows = linalg::view(&self.rows).transpose();
        linalg::gram_lower(rows, scale, linalg::view_mut(&mut self.gram));
        for i in 0..self.gram.nrows() {
            self.gram[(i, i)] += self.training.ridge;
        }
        self.contract_targets(scale);
        linalg::cholesky(linalg::view_mut(&mut self.gram), &mut self.cholesky)?;
        linalg::cholesky_solve(
            linalg::view(&self.gram),
            linalg::view_mut(&mut self.weights),
        );
        Ok(())
    }

    fn solve_dual(&mut self) -> Result<(), TrainError> {
        let rows = linalg::view(&self.rows);
        linalg::gram_lower(rows, 1.0, linalg::view_mut(&mut self.gram));
        for i in 0..self.gram.nrows() {
            self.gram[(i, i)] += self.training.ridge * self.training.samples as f64;
        }
        linalg::cholesky(linalg::view_mut(&mut self.gram), &mut self.cholesky)?;
        linalg::cholesky_solve(
            linalg::view(&self.gram),
            linalg::view_mut(&mut self.targets),
        );
        self.contract_targets(1.0);
        Ok(())
    }

    /// weights = scale * Z^T Y.
    fn contract_targets(&mut self, scale: f64) {
        faer::linalg::matmul::matmul(
            linalg::view_mut(&mut self.weights),
            faer::Accum::Replace,
            linalg::view(&self.rows),
            linalg::view(&self.targets),
            scale,
            faer::Par::Seq,
        );
    }
}
