//! The density that one given model generates.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::{Bins, DensityError, Masses, PushForward, Refinement};
use crate::experiment::{Experiment, Process, Scheme, Start};
use crate::family::Denoiser;
use crate::problem::Problem;
use crate::sampler::{PfOde, reverse_sde, time_grid};

/// Random starts are integrated in blocks: long enough to reuse a table, short enough to stay in cache.
const BLOCK: usize = 8192;

/// A case's sampler with its starts and bins: what turns a denoiser into a density.
#[derive(Debug, Clone)]
pub struct Generator<'a> {
    problem: &'a Problem,
    process: Process,
    scheme: Scheme,
    times: Vec<f64>,
    flow: PfOde,
    start: Start,
    particles: usize,
    pub bins: Bins,
}

/// One model's density with what is known of its accuracy.
#[derive(Debug, Clone)]
pub struct Generated {
    pub masses: Masses,
    pub unresolved: f64,
    pub folds: bool,
}

impl<'a> Generator<'a> {
    pub fn new(experiment: &'a Experiment) -> Self {
        let (problem, sampler) = (&experiment.problem, &experiment.sampler);
        let (low, high) = experiment.output.range[0];
        Self {
            problem,
            process: sampler.process,
            scheme: sampler.scheme,
            times: time_grid(sampler.grid, problem.t_max, problem.t_min, sampler.steps),
            flow: PfOde::new(problem, sampler),
            start: experiment.monte_carlo.start,
            particles: experiment.monte_carlo.particles,
            bins: Bins {
                low,
                high,
                count: experiment.output.bins,
            },
        }
    }

    /// The same with another number of trajectories per model.
    pub fn with_particles(mut self, particles: usize) -> Self {
        self.particles = particles;
        self
    }

    /// Where trajectories start.
    pub fn start(&self) -> Start {
        self.start
    }

    /// The ODE integrator.
    pub fn flow(&self) -> &PfOde {
        &self.flow
    }

    /// The node times.
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    fn sigma_start(&self) -> f64 {
        self.problem.diffusion.sigma(self.problem.t_max)
    }

    /// Samples the model.
    pub fn generate<M: Denoiser, R: Rng + ?Sized>(
        &self,
        model: &M,
        rng: &mut R,
    ) -> Result<Generated, DensityError> {
        match (self.process, self.start) {
            (Process::PfOde, Start::Stratified) => {
                let push = PushForward::new(
                    &self.flow,
                    model,
                    self.sigma_start(),
                    &self.bins,
                    Refinement::ensemble(self.particles),
                )?;
                Ok(Generated {
                    masses: push.masses,
                    unresolved: push.unresolved,
                    folds: push.folds,
                })
            }
            (Process::PfOde, Start::Random) => {
                let mut x = self.random_starts(rng);
                if self.scheme == Scheme::Adaptive {
                    self.flow.flow(model, &mut x)?;
                } else if let Some(table) = model.tabulate(&self.times, self.particles) {
                    self.flow_in_blocks(&table, &mut x)?;
                } else {
                    self.flow_in_blocks(model, &mut x)?;
                }
                Ok(self.count(&x))
            }
            (Process::ReverseSde { churn }, _) => {
                let mut x = self.random_starts(rng);
                let diffusion = &self.problem.diffusion;
                reverse_sde(
                    model,
                    diffusion,
                    self.scheme,
                    &self.times,
                    churn,
                    &mut x,
                    rng,
                )?;
                Ok(self.count(&x))
            }
        }
    }

    fn flow_in_blocks<M: Denoiser>(&self, model: &M, x: &mut [f64]) -> Result<(), DensityError> {
        for block in x.chunks_mut(BLOCK) {
            self.flow.flow(model, block)?;
        }
        Ok(())
    }

    /// Independent x_T ~ N(0, sigma_T^2).
    pub fn random_starts<R: Rng + ?Sized>(&self, rng: &mut R) -> Vec<f64> {
        let sigma = self.sigma_start();
        (0..self.particles)
            .map(|_| sigma * rng.sample::<f64, _>(StandardNormal))
            .collect()
    }

    /// Histogram of end points.
    pub fn count(&self, x: &[f64]) -> Generated {
        let mut masses = Masses::zero(&self.bins);
        let one = 1.0 / x.len() as f64;
        let mut counts = vec![0u64; masses.cells.len()];
        for x in x {
            counts[self.bins.cell(*x)] += 1;
        }
        for (m, c) in masses.cells.iter_mut().zip(counts) {
            *m = c as f64 * one;
        }
        Generated {
            masses,
            unresolved: 0.0,
            folds: false,
        }
    }
}
