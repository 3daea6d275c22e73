//! Training samples of a linear family as rows of its regression.

use rand::Rng;

use super::Linear;
use crate::problem::{Problem, Training, Triple, Triples};

/// Draws training samples one after another as rows z = sqrt(lambda) phi (length F) with targets sqrt(lambda) f (length D).
pub struct SampleRows<'a> {
    problem: &'a Problem,
    family: &'a Linear,
    training: &'a Training,
    space: Vec<f64>,
    time: Vec<f64>,
    triples: Triples<'a>,
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
            triples: Triples::new(problem, training),
            triple: Triple::new(problem.dim()),
            target: vec![0.0; problem.dim()],
        }
    }

    /// Starts a training set: the next sample has a clean point of its own.
    pub fn start_set(&mut self) {
        self.triples = Triples::new(self.problem, self.training);
    }

    /// The next sample of the training set, t uniform on [t_min, t_max]: fills the row and returns the target.
    pub fn draw<R: Rng + ?Sized>(&mut self, rng: &mut R, row: &mut [f64]) -> &[f64] {
        self.triples.next(rng, &mut self.triple);
        self.fill(row)
    }

    /// A fresh sample at a given time.
    pub fn draw_at<R: Rng + ?Sized>(&mut self, t: f64, rng: &mut R, row: &mut [f64]) -> &[f64] {
        self.triple.t = t;
        self.problem.sample_at_time(rng, &mut self.triple);
        self.fill(row)
    }

    /// The next sample as the factors of its row: sqrt(lambda), a factor of one feature, then the features' factors
    /// ([`Features::factor_values`]). Returns the target. Draws the same samples as [`Self::draw`].
    ///
    /// [`Features::factor_values`]: super::features::Features::factor_values
    pub fn draw_factors<R: Rng + ?Sized>(&mut self, rng: &mut R, factors: &mut [f64]) -> &[f64] {
        self.triples.next(rng, &mut self.triple);
        self.fill_factors(factors)
    }

    /// A fresh sample at a given time as the factors of its row.
    pub fn draw_factors_at<R: Rng + ?Sized>(
        &mut self,
        t: f64,
        rng: &mut R,
        factors: &mut [f64],
    ) -> &[f64] {
        self.triple.t = t;
        self.problem.sample_at_time(rng, &mut self.triple);
        self.fill_factors(factors)
    }

    fn fill_factors(&mut self, factors: &mut [f64]) -> &[f64] {
        let (root, features) = (self.root(), &self.family.features);
        factors[0] = root;
        features.factor_values(&self.triple.x, self.triple.t, &mut factors[1..]);
        self.fill_target(root)
    }

    /// sqrt(lambda).
    fn root(&self) -> f64 {
        self.training
            .lambda(self.problem, self.family.predicts, self.triple.t)
            .sqrt()
    }

    fn fill(&mut self, row: &mut [f64]) -> &[f64] {
        let (t, x) = (self.triple.t, &self.triple.x);
        let features = &self.family.features;
        let root = self.root();
        features.space.values(x, &mut self.space);
        features.time.values(t, &mut self.time);
        for (chunk, s) in row.chunks_exact_mut(self.time.len()).zip(&self.space) {
            let factor = root * s;
            for (z, v) in chunk.iter_mut().zip(&self.time) {
                *z = factor * v;
            }
        }
        self.fill_target(root)
    }

    fn fill_target(&mut self, root: f64) -> &[f64] {
        let regression = self
            .family
            .predicts
            .regression(&self.problem.diffusion, self.triple.t);
        self.training.set_clean(self.problem, &mut self.triple);
        let (clean, x) = (&self.triple.x0, &self.triple.x);
        for ((y, clean), x) in self.target.iter_mut().zip(clean).zip(x) {
            *y = root * (regression.p * clean + regression.q * x);
        }
        &self.target
    }
}
