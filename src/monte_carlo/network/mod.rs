//! Networks of finite width, really trained by denoising score matching, and how far from lazy they are
//! (derivations/21-networks.md). Models are trained one per thread, every matrix product on one thread.

mod course;
mod curvature;
mod ensemble;
mod lazy;
mod samples;
mod trainer;
mod update;

pub use ensemble::{Networks, Report};
pub use lazy::{Laziness, LazinessError, laziness, linearised};
pub use samples::Samples;
pub use trainer::{NetworkTrainer, TrainedNetwork};

use std::ops::Range;

use rayon::prelude::*;

use super::model_rng;
use crate::family::network::{Network, NetworkTraining, NetworkTrainingError, Real};
use crate::problem::{Problem, Training};

/// Trains the models of the given indices, each on fresh samples of its own and from its own initial parameters, and reads
/// something off each. Model `index` depends on the seed and its index alone.
pub fn train_networks<T: Real, R: Send>(
    problem: &Problem,
    network: &Network,
    training: &Training,
    options: &NetworkTraining,
    (seed, models): (u64, Range<u64>),
    read: impl Fn(u64, &Samples<T>, TrainedNetwork<T>) -> R + Sync,
) -> Result<Vec<Result<R, NetworkTrainingError>>, NetworkTrainingError> {
    options.validate(training.samples, network.layers().len())?;
    let scratch = || NetworkTrainer::<T>::new(network, options, training.samples);
    let train = |trainer: &mut Result<NetworkTrainer<'_, T>, NetworkTrainingError>, index: u64| {
        let trainer = trainer.as_mut().map_err(|e| e.clone())?;
        let mut rng = model_rng(seed, index);
        let (samples, trained) = trainer.train_fresh(problem, training, &mut rng)?;
        Ok(read(index, &samples, trained))
    };
    Ok(models.into_par_iter().map_init(scratch, train).collect())
}
