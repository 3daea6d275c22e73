//! Training samples of a linear family as rows of its regression.

use rand::Rng;

use super::Linear;
use crate::problem::{Objective, Problem, Training, Triple};

/// Draws training samples one after another as rows z = sqrt(lambda) phi (length F) with targets sqrt(lambda) f (length D).
pub struct SampleRows<'a> {
    problem: &'a Problem,
    family: &'a Linear,
    training: &'a Training,
    space: Vec<f64>,
    time: Vec<f64>,
    triple: Triple,
    target: Vec<f64>,
}

impl<'a> SampleRows<'a> {
    pub fn new(problem: &'a Problem, family: &'a Linear, training: &'a Training) -> Self {
        Self {
            problem,
            family,
            training,
            space: vec![0.0; family.features.space_len()],
            time: vec![0.0; family.features.time.len()],
            triple: Triple {
                t: 0.0,
                x0: vec![0.0; problem.dim()],
                x: vec![0.0; problem.dim()],
            },
            target: vec![0.0; problem.dim()],
        }
    }

    /// A fresh sample, t uniform on [t_min, t_max]: fills the row and returns the target.
    pub fn draw<R: Rng + ?Sized>(&mut self, rng: &mut R, row: &mut [f64]) -> &[f64] {
        self.problem.sample_triple(rng, &mut self.triple);
        self.fill(row)
    }

    /// A sample at a given time.
    pub fn draw_at<R: Rng + ?Sized>(&mut self, t: f64, rng: &mut R, row: &mut [f64]) -> &[f64] {
        self.triple.t = t;
        self.problem.sample_at_time(rng, &mut self.triple);
        self.fill(row)
    }

    fn fill(&mut self, row: &mut [f64]) -> &[f64] {
        let (t, x) = (self.triple.t, &self.triple.x);
        let features = &self.family.features;
        let regression = self.family.predicts.regression(&self.problem.diffusion, t);
        let root = self
            .training
            .lambda(self.problem, self.family.predicts, t)
            .sqrt();
        features.space.values(x, &mut self.space);
        features.time.values(t, &mut self.time);
        for (chunk, s) in row.chunks_exact_mut(self.time.len()).zip(&self.space) {
            let factor = root * s;
            for (z, v) in chunk.iter_mut().zip(&self.time) {
                *z = factor * v;
            }
        }
        match self.training.objective {
            Objective::Dsm => self.target.copy_from_slice(&self.triple.x0),
            Objective::Esm => {
                let mean = self.problem.posterior(x, t).mean;
                self.target.copy_from_slice(mean.as_slice());
            }
        }
        for (y, x) in self.target.iter_mut().zip(x) {
            *y = root * (regression.p * *y + regression.q * x);
        }
        &self.target
    }
}
