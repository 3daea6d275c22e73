//! Networks as members of a Monte Carlo ensemble.

use std::time::Instant;

use rand_chacha::ChaCha8Rng;

use super::lazy::{Laziness, laziness};
use super::{NetworkTrainer, Samples, TrainedNetwork};
use crate::density::{Generated, Generator};
use crate::family::NetworkFamily;
use crate::family::network::{NetworkDenoiser, NetworkTrainingError, Real};
use crate::monte_carlo::{EnsembleError, model_rng};
use crate::problem::{Problem, Training};

/// Largest number D P of targets of which the tangent kernel is compared: its eigenvectors take some ten times the cube.
const MOST_TARGETS: usize = 2048;

/// Trains the networks of one thread.
pub struct Networks<'a, T> {
    problem: &'a Problem,
    family: &'a NetworkFamily,
    training: &'a Training,
    trainer: Option<NetworkTrainer<'a, T>>,
}

/// How one network was trained, for the eye: its loss, and its distance from the lazy limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// (step, loss over all samples before it).
    pub curve: Vec<(usize, f64)>,
    pub rate: f64,
    pub steps: usize,
    pub lambda_max: Option<f64>,
    /// Where gradients were followed, and the samples are few enough.
    pub laziness: Option<Laziness>,
}

impl<'a, T: Real> Networks<'a, T> {
    pub fn new(problem: &'a Problem, family: &'a NetworkFamily, training: &'a Training) -> Self {
        Self {
            problem,
            family,
            training,
            trainer: None,
        }
    }

    /// Trains network `index` of an ensemble and generates from it; also the seconds of the training.
    pub fn member(
        &mut self,
        generator: &Generator<'_>,
        rng: &mut ChaCha8Rng,
        index: u64,
    ) -> Result<(Generated, f64), EnsembleError> {
        let started = Instant::now();
        let (_, network) = self
            .train(rng)
            .map_err(|source| EnsembleError::Network { index, source })?;
        let seconds = started.elapsed().as_secs_f64();
        let centred = self.family.protocol.centred;
        let model = NetworkDenoiser {
            network: &self.family.network,
            diffusion: &self.problem.diffusion,
            parameters: &network.parameters,
            initial: centred.then_some(&network.initial),
        };
        let generated = generator
            .generate(&model, rng)
            .map_err(|source| EnsembleError::Sample { index, source })?;
        Ok((generated, seconds))
    }

    fn train(
        &mut self,
        rng: &mut ChaCha8Rng,
    ) -> Result<(Samples<T>, TrainedNetwork<T>), NetworkTrainingError> {
        let (network, protocol) = (&self.family.network, &self.family.protocol);
        let trainer = match &mut self.trainer {
            Some(trainer) => trainer,
            none => none.insert(NetworkTrainer::new(
                network,
                protocol,
                self.training.samples,
            )?),
        };
        trainer.train_fresh(self.problem, self.training, rng)
    }

    /// Trains network `index` of an ensemble once more and looks at it closely, at points (x coordinate-major, times).
    pub fn report(
        &mut self,
        (seed, index): (u64, u64),
        (x, t): (&[f64], &[f64]),
    ) -> Result<Report, NetworkTrainingError> {
        let (samples, trained) = self.train(&mut model_rng(seed, index))?;
        let (network, protocol) = (&self.family.network, &self.family.protocol);
        let few = samples.len() * network.outputs() <= MOST_TARGETS;
        let points = network.embed::<f64>(x, t);
        // Adam has no linearisation.
        let compared = few
            .then(|| laziness(network, protocol, &samples, &trained, &points))
            .and_then(Result::ok);
        Ok(Report {
            rate: trained.rate,
            steps: trained.steps,
            lambda_max: trained.lambda_max,
            curve: trained.curve,
            laziness: compared,
        })
    }
}
