//! The density that one given model generates.

use rand::Rng;

use super::{Bins, DensityError, Masses, Member, PushForward, Refinement, plane_flow};
use crate::experiment::{Experiment, Process, Scheme, Start};
use crate::family::Denoiser;
use crate::numerics::low_discrepancy::ScrambledSobol;
use crate::numerics::normal;
use crate::problem::{Problem, StartDensity};
use crate::readout::{Reading, Readout};
use crate::sampler::{PfOde, time_grid};

/// Random starts are integrated in blocks: long enough to reuse a table, short enough to stay in cache.
const BLOCK: usize = 8192;

/// The same in D >= 2, where points are blocked before they start: at most so many, and of so many coordinates.
const POINTS: usize = 4096;
const COORDINATES: usize = 1 << 21;

/// Blocks that share tables of the model in the plane.
const GROUP: usize = 32;

/// Trajectories and bins per axis with which, in D >= 2, one draw is compared with another from the same starts: coarse, so
/// that the distance grows in proportion to how far the points move.
const PROBE: (usize, usize) = (256, 10);

/// A case's sampler with its starts and readout: what turns a denoiser into a density.
#[derive(Debug, Clone)]
pub struct Generator<'a> {
    problem: &'a Problem,
    process: Process,
    scheme: Scheme,
    times: Vec<f64>,
    flow: PfOde,
    start: Start,
    particles: usize,
    pub readout: Readout,
}

/// One model's density with what is known of its accuracy.
#[derive(Debug, Clone)]
pub struct Generated {
    pub masses: Masses,
    /// The values of the readout's views.
    pub values: Vec<f64>,
    pub unresolved: f64,
    pub folds: bool,
}

impl<'a> Generator<'a> {
    pub fn new(experiment: &'a Experiment) -> Self {
        let (problem, sampler) = (&experiment.problem, &experiment.sampler);
        Self {
            problem,
            process: sampler.process,
            scheme: sampler.scheme,
            times: time_grid(sampler.grid, problem.t_max, problem.t_min, sampler.steps),
            flow: PfOde::new(problem, sampler),
            start: experiment.monte_carlo.start,
            particles: experiment.monte_carlo.particles,
            readout: experiment.readout(),
        }
    }

    /// The bins of the line, D = 1.
    pub fn bins(&self) -> &Bins {
        &self.readout.grid.axes()[0]
    }

    /// For comparing one draw with another from the same starts: `line` trajectories in D = 1.
    pub fn probe(self, line: usize) -> Self {
        if self.readout.dim() == 1 {
            return self.with_particles(line);
        }
        let (particles, bins) = PROBE;
        Self {
            readout: self.readout.coarse(bins),
            ..self.with_particles(particles)
        }
    }

    /// The same with other starts.
    pub fn with_start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The problem.
    pub fn problem(&self) -> &'a Problem {
        self.problem
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

    /// Churn h of the reverse SDE, 0 for the probability flow.
    pub fn churn(&self) -> f64 {
        match self.process {
            Process::PfOde => 0.0,
            Process::ReverseSde { churn } => churn,
        }
    }

    /// The node times.
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// Law of x_T.
    pub fn start_density(&self) -> &StartDensity {
        self.flow.start()
    }

    /// Samples the model.
    pub fn generate<M: Denoiser, R: Rng + ?Sized>(
        &self,
        model: &M,
        rng: &mut R,
    ) -> Result<Generated, DensityError> {
        if self.readout.dim() > 1 {
            return Ok(self.generate_cloud(model, rng)?.into());
        }
        match (self.process, self.start) {
            (Process::PfOde, Start::Stratified) => {
                let push = PushForward::new(
                    &self.flow,
                    model,
                    self.bins(),
                    Refinement::ensemble(self.particles),
                )?;
                Ok(Generated {
                    masses: push.masses,
                    values: Vec::new(),
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
            (Process::ReverseSde { .. }, _) => {
                let mut x = self.random_starts(rng);
                self.flow.carry(self.process, model, &mut x, rng)?;
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

    /// Independent x_T, coordinate-major.
    pub fn random_starts<R: Rng + ?Sized>(&self, rng: &mut R) -> Vec<f64> {
        Starts::random(self).block(0, self.particles, rng)
    }

    /// In D >= 2: trajectories of the process.
    fn generate_cloud<M: Denoiser, R: Rng + ?Sized>(
        &self,
        model: &M,
        rng: &mut R,
    ) -> Result<Reading, DensityError> {
        if let (Process::PfOde, Some(_)) = (self.process, self.flow.grid())
            && self.particles >= plane_flow::FEWEST
            && model.plane_tables().is_some()
        {
            return self.read_groups(GROUP, rng, |blocks, _| {
                Ok(plane_flow::carry(&self.flow, model, &self.readout, blocks)?)
            });
        }
        self.read_blocks(rng, |x, rng| {
            Ok(self.flow.carry(self.process, model, x, rng)?)
        })
    }

    /// In D >= 2: moves low-discrepancy or random starts, in blocks, and reads off where they end.
    pub fn read_blocks<R: Rng + ?Sized, E>(
        &self,
        rng: &mut R,
        mut travel: impl FnMut(&mut [f64], &mut R) -> Result<(), E>,
    ) -> Result<Reading, E> {
        self.read_groups(1, rng, |blocks, rng| {
            blocks.iter_mut().try_for_each(|x| travel(x, rng))
        })
    }

    /// The same for groups of so many blocks.
    fn read_groups<R: Rng + ?Sized, E>(
        &self,
        size: usize,
        rng: &mut R,
        mut travel: impl FnMut(&mut [Vec<f64>], &mut R) -> Result<(), E>,
    ) -> Result<Reading, E> {
        let mut reading = self.readout.empty();
        let starts = Starts::new(self, rng);
        let mass = 1.0 / self.particles as f64;
        let most = POINTS.min((COORDINATES / self.readout.dim()).max(1));
        let mut first = 0;
        while first < self.particles {
            let mut blocks = Vec::new();
            while blocks.len() < size && first < self.particles {
                let count = most.min(self.particles - first);
                blocks.push(starts.block(first, count, rng));
                first += count;
            }
            travel(&mut blocks, rng)?;
            for x in &blocks {
                self.readout.add(&mut reading, x, |_| mass);
            }
        }
        Ok(reading)
    }

    /// Histogram of end points, D = 1.
    pub fn count(&self, x: &[f64]) -> Generated {
        let mut masses = Masses::zero(self.bins());
        let one = 1.0 / x.len() as f64;
        let mut counts = vec![0u64; masses.cells.len()];
        for x in x {
            counts[self.bins().cell(*x)] += 1;
        }
        for (m, c) in masses.cells.iter_mut().zip(counts) {
            *m = c as f64 * one;
        }
        Generated {
            masses,
            values: Vec::new(),
            unresolved: 0.0,
            folds: false,
        }
    }
}

impl From<Reading> for Generated {
    fn from(reading: Reading) -> Self {
        Self {
            masses: reading.masses,
            values: reading.values,
            unresolved: 0.0,
            folds: false,
        }
    }
}

impl Generated {
    /// As a member of an ensemble.
    pub fn member(self, seconds: (f64, f64)) -> Member {
        Member {
            masses: self.masses,
            values: self.values,
            unresolved: self.unresolved,
            folds: self.folds,
            seconds,
        }
    }
}

/// Starts x_T, independent or from a low-discrepancy sequence.
struct Starts<'a> {
    dim: usize,
    law: &'a StartDensity,
    /// In place of independent starts.
    sequence: Option<ScrambledSobol>,
}

impl<'a> Starts<'a> {
    fn new<R: Rng + ?Sized>(generator: &'a Generator<'_>, rng: &mut R) -> Self {
        match generator.start {
            Start::Stratified => Self {
                sequence: Some(ScrambledSobol::new(rng)),
                ..Self::random(generator)
            },
            Start::Random => Self::random(generator),
        }
    }

    fn random(generator: &'a Generator<'_>) -> Self {
        Self {
            dim: generator.readout.dim(),
            law: generator.start_density(),
            sequence: None,
        }
    }

    /// Starts `first..first + count`, coordinate-major.
    fn block<R: Rng + ?Sized>(&self, first: usize, count: usize, rng: &mut R) -> Vec<f64> {
        let Some(sequence) = self.sequence else {
            return self.law.random_points(self.dim, count, rng);
        };
        let uniform = |i: usize, k: usize| sequence.coordinate(i, (first + k) as u64);
        self.law.points(
            self.dim,
            count,
            |k| uniform(self.dim, k),
            |i, k| normal::quantile(uniform(i, k)),
        )
    }
}
