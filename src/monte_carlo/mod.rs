//! The experiment the theory is held against: ensembles of really trained models, sampled.

mod kernel_machine;
mod naive;
pub mod network;
pub mod subspace;
mod train;

pub use crate::numerics::random::stream as model_rng;
pub use kernel_machine::{KernelDenoiser, KernelTrainer, TrainingSpectrum};
pub use naive::{naive_member, naive_trajectories};
pub use train::{TrainError, Trainer};

use std::time::Instant;
use thiserror::Error;

use crate::density::{DensityError, Generator, Member};
use crate::experiment::Experiment;
use crate::family::network::{NetworkTrainingError, Precision};
use crate::family::{ExactDenoiser, Family, LinearDenoiser, LowRankDenoiser};
use crate::readout::Readout;

use network::Networks;
use subspace::{SubspaceError, SubspaceTrainer};

/// Why a model of the ensemble failed.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum EnsembleError {
    #[error("model {index}: {source}")]
    Train { index: u64, source: TrainError },
    #[error("model {index}: {source}")]
    Network {
        index: u64,
        source: NetworkTrainingError,
    },
    #[error("model {index}: {source}")]
    Subspaces { index: u64, source: SubspaceError },
    #[error("model {index}: {source}")]
    Sample { index: u64, source: DensityError },
}

/// What training one model takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingCost {
    /// Memory of one thread.
    pub bytes: u64,
    pub flops: f64,
}

/// What trains the models of one thread.
pub enum Scratch<'a> {
    Linear(Box<Trainer<'a>>),
    Kernel(KernelTrainer<'a>),
    Single(Networks<'a, f32>),
    Double(Networks<'a, f64>),
    LowRank(Box<SubspaceTrainer<'a>>),
    /// The family has no weights.
    Untrained,
}

/// Makes the members of a case's Monte Carlo ensemble.
pub struct MonteCarlo<'a> {
    experiment: &'a Experiment,
    generator: Generator<'a>,
    seed: u64,
}

impl<'a> MonteCarlo<'a> {
    pub fn new(experiment: &'a Experiment, seed: u64) -> Self {
        Self {
            experiment,
            generator: Generator::new(experiment),
            seed,
        }
    }

    /// What is read off every model's points.
    pub fn readout(&self) -> &Readout {
        &self.generator.readout
    }

    /// Scratch for one thread.
    pub fn scratch(&self) -> Scratch<'a> {
        let problem = &self.experiment.problem;
        match (&self.experiment.family, &self.experiment.training) {
            (Family::Linear(family), Some(training)) => {
                Scratch::Linear(Box::new(Trainer::new(problem, family, training)))
            }
            (Family::Kernel(family), Some(training)) => {
                Scratch::Kernel(KernelTrainer::new(problem, family, training))
            }
            (Family::Network(family), Some(training)) => match family.precision {
                Precision::F32 => Scratch::Single(Networks::new(problem, family, training)),
                Precision::F64 => Scratch::Double(Networks::new(problem, family, training)),
            },
            (Family::LowRank(family), Some(training)) => {
                Scratch::LowRank(Box::new(SubspaceTrainer::new(problem, family, training)))
            }
            _ => Scratch::Untrained,
        }
    }

    /// Trains model `index` and samples it.
    pub fn member(&self, scratch: &mut Scratch<'a>, index: u64) -> Result<Member, EnsembleError> {
        let started = Instant::now();
        let mut rng = model_rng(self.seed, index);
        let sampled = |source| EnsembleError::Sample { index, source };
        let problem = &self.experiment.problem;
        let mut trained = 0.0;
        let generated = match (&self.experiment.family, scratch) {
            (Family::Linear(family), Scratch::Linear(trainer)) => {
                let weights = trainer
                    .train(&mut rng)
                    .map_err(|source| EnsembleError::Train { index, source })?;
                trained = started.elapsed().as_secs_f64();
                let model = LinearDenoiser {
                    family,
                    diffusion: &problem.diffusion,
                    weights,
                };
                self.generator.generate(&model, &mut rng).map_err(sampled)?
            }
            (_, Scratch::Single(networks)) => {
                let (generated, seconds) = networks.member(&self.generator, &mut rng, index)?;
                trained = seconds;
                generated
            }
            (_, Scratch::Double(networks)) => {
                let (generated, seconds) = networks.member(&self.generator, &mut rng, index)?;
                trained = seconds;
                generated
            }
            (_, Scratch::Kernel(trainer)) => {
                let model = trainer
                    .train(&mut rng)
                    .map_err(|source| EnsembleError::Train { index, source })?;
                trained = started.elapsed().as_secs_f64();
                self.generator.generate(&model, &mut rng).map_err(sampled)?
            }
            (_, Scratch::LowRank(trainer)) => {
                let failed = |source| EnsembleError::Subspaces { index, source };
                let clean = trainer.draw(&mut rng);
                let model = trainer
                    .train(&clean.points, &mut rng)
                    .map_err(failed)?
                    .model;
                trained = started.elapsed().as_secs_f64();
                let denoiser = LowRankDenoiser::new(&model, &problem.diffusion);
                self.generator
                    .generate(&denoiser, &mut rng)
                    .map_err(sampled)?
            }
            (Family::Naive(naive), _) if naive.kappa > 0.0 => {
                naive_member(problem, naive, &self.generator, &mut rng)
            }
            _ => self
                .generator
                .generate(&ExactDenoiser { problem }, &mut rng)
                .map_err(sampled)?,
        };
        Ok(generated.member((trained, started.elapsed().as_secs_f64() - trained)))
    }
}
