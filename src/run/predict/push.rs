//! What a model of given weights generates.

use nalgebra::DVector;

use crate::compare::total_variation;
use crate::density::{
    Chain, Ensemble, Estimate, Generator, Masses, cloud_density, cloud_estimate, mean_field,
};
use crate::experiment::{Experiment, Method, Process, Scheme};
use crate::family::{Linear, LinearDenoiser};
use crate::run::RunError;
use crate::run::prediction::{Outcome, failed};

/// The sampler of a case, for models of one family.
pub(super) struct Push<'a> {
    pub experiment: &'a Experiment,
    pub family: &'a Linear,
    pub generator: &'a Generator<'a>,
    pub case: usize,
    /// Of clouds in D >= 2.
    pub seed: u64,
}

/// The density of one model.
#[derive(Clone)]
pub(super) struct Pushed {
    pub estimate: Estimate,
    /// On the line: is its map of x_T not monotone?
    pub folds: bool,
    /// In D >= 2, what it was read off.
    pub cloud: Option<Ensemble>,
}

impl Pushed {
    pub fn masses(&self) -> &Masses {
        &self.estimate.masses
    }
}

impl From<Pushed> for Outcome {
    fn from(pushed: Pushed) -> Self {
        Self::read_off(pushed.estimate, pushed.cloud)
    }
}

impl Push<'_> {
    /// Has the sampler a density that needs no random numbers, or clouds? On the line schemes of several stages have none with
    /// noise.
    pub fn applies(&self) -> bool {
        let sampler = &self.experiment.sampler;
        self.experiment.problem.dim() > 1
            || sampler.process == Process::PfOde
            || matches!(sampler.scheme, Scheme::Euler | Scheme::Ddim)
    }

    /// The density of the model with the given weights: on the line its push-forward, or with noise the density of the sampler's
    /// chain, in more dimensions clouds from the same starts with the same noise.
    pub fn of(&self, weights: &DVector<f64>) -> Result<Pushed, RunError> {
        let denoiser = LinearDenoiser {
            family: self.family,
            diffusion: &self.experiment.problem.diffusion,
            weights: weights.as_slice(),
        };
        let failed = failed(self.case, Method::MeanField);
        let generator = self.generator;
        if self.experiment.problem.dim() > 1 {
            let cloud =
                cloud_density(generator, &denoiser, usize::MAX, self.seed).map_err(failed)?;
            return Ok(Pushed {
                estimate: cloud_estimate(&cloud),
                folds: false,
                cloud: Some(cloud),
            });
        }
        let (estimate, folds) = match self.experiment.sampler.process {
            Process::PfOde => {
                let (estimate, push) =
                    mean_field(generator.flow(), &denoiser, generator.bins()).map_err(failed)?;
                (estimate, push.folds)
            }
            Process::ReverseSde { churn } => {
                let density = Chain {
                    problem: generator.problem(),
                    model: &denoiser,
                    scheme: self.experiment.sampler.scheme,
                    times: generator.times(),
                    churn,
                    start: generator.start_density(),
                    bins: generator.bins(),
                }
                .density()
                .map_err(failed)?;
                (density.estimate, density.folds)
            }
        };
        Ok(Pushed {
            estimate,
            folds,
            cloud: None,
        })
    }

    /// Of the mean of two independent estimates of the weights: half of what the densities of the two differ by is its noise.
    pub fn of_halves(&self, [a, b]: &[DVector<f64>; 2]) -> Result<Pushed, RunError> {
        let mut pushed = self.of(&((a + b) * 0.5))?;
        let halves = total_variation(self.of(a)?.masses(), self.of(b)?.masses());
        pushed.estimate.errors.push(("draws", 0.5 * halves));
        Ok(pushed)
    }
}
