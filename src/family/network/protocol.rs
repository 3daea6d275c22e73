//! How a network is trained, and what can be wrong with it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::LayerRate;

/// Rule of one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Optimiser {
    /// All samples in every step. The rate defaults to 1/lambda_max, half the limit of stability.
    GradientDescent { rate: Option<f64> },
    /// Batches of samples, reshuffled in every epoch; what is left of an epoch is its last, smaller batch. The rate defaults to
    /// 1/lambda_max of all samples.
    Sgd { batch: usize, rate: Option<f64> },
    /// Kingma and Ba 2015, with bias correction; `batch` as in SGD, all samples without.
    Adam {
        batch: Option<usize>,
        rate: f64,
        beta1: f64,
        beta2: f64,
        epsilon: f64,
    },
}

impl Optimiser {
    /// Adam as published.
    pub const ADAM: Self = Self::Adam {
        batch: None,
        rate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    };

    pub(crate) fn batch(&self) -> Option<usize> {
        match self {
            Self::GradientDescent { .. } => None,
            Self::Sgd { batch, .. } => Some(*batch),
            Self::Adam { batch, .. } => *batch,
        }
    }

    pub(crate) fn rate(&self) -> Option<f64> {
        match self {
            Self::GradientDescent { rate } | Self::Sgd { rate, .. } => *rate,
            Self::Adam { rate, .. } => Some(*rate),
        }
    }

    pub(crate) fn is_adam(&self) -> bool {
        matches!(self, Self::Adam { .. })
    }
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duration {
    /// A number of steps.
    Steps(usize),
    /// Gradient-flow time tau = rate x steps: as few steps as the rate allows, of tau/steps each. At most `most_steps`.
    FlowTime { tau: f64, most_steps: usize },
}

/// A training protocol of networks.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkTraining {
    pub optimiser: Optimiser,
    pub duration: Duration,
    /// Ends training early when the loss has fallen to this part of the first.
    pub relative_loss: Option<f64>,
    /// Rates of the layers relative to the common one, for `depth` + 1 layers; empty: all 1.
    pub rates: Vec<LayerRate>,
    /// Trains f - f_0, the output less the one at initialisation.
    pub centred: bool,
}

/// Why a network is not trained, or was not.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum NetworkTrainingError {
    #[error("{name} must be {allowed}, got {value}")]
    Value {
        name: &'static str,
        allowed: &'static str,
        value: f64,
    },
    #[error("a batch must hold 1 to {samples} samples, got {batch}")]
    Batch { batch: usize, samples: usize },
    #[error("there are no training samples")]
    NoSamples,
    #[error("the trainer was made for {expected} samples, got {got}")]
    Samples { expected: usize, got: usize },
    #[error("rates of {given} layers were given; the network has {layers} layers")]
    Layers { given: usize, layers: usize },
    #[error("flow time is defined for gradient descent, not for Adam: give a number of steps")]
    NoFlowTime,
    #[error(
        "the learning rate {rate} is above the limit of stability 2/lambda_max = {limit:.6}, where lambda_max = {lambda_max:.6} is the largest eigenvalue of the loss's curvature on these samples"
    )]
    Unstable {
        rate: f64,
        limit: f64,
        lambda_max: f64,
    },
    #[error(
        "flow time {tau} takes {needed} steps of rate {rate:.6}, more than the {allowed} allowed"
    )]
    TooManySteps {
        tau: f64,
        needed: f64,
        rate: f64,
        allowed: usize,
    },
    #[error("training diverged: the loss was {loss} after step {step}, {first} at the start")]
    Diverged { step: usize, loss: f64, first: f64 },
    #[error(
        "the largest curvature of the loss at initialisation is {lambda_max}; it must be a finite number above 0"
    )]
    Flat { lambda_max: f64 },
}

impl NetworkTraining {
    /// Full-batch gradient descent for a flow time.
    pub fn flow(tau: f64, most_steps: usize) -> Self {
        Self {
            optimiser: Optimiser::GradientDescent { rate: None },
            duration: Duration::FlowTime { tau, most_steps },
            relative_loss: None,
            rates: Vec::new(),
            centred: false,
        }
    }

    /// Samples that go through the network together.
    pub fn columns(&self, samples: usize) -> usize {
        self.optimiser
            .batch()
            .map_or(samples, |batch| batch.min(samples))
    }

    pub(crate) fn validate(
        &self,
        samples: usize,
        layers: usize,
    ) -> Result<(), NetworkTrainingError> {
        if samples == 0 {
            return Err(NetworkTrainingError::NoSamples);
        }
        if let Some(batch) = self.optimiser.batch()
            && !(1..=samples).contains(&batch)
        {
            return Err(NetworkTrainingError::Batch { batch, samples });
        }
        if ![0, layers].contains(&self.rates.len()) {
            return Err(NetworkTrainingError::Layers {
                given: self.rates.len(),
                layers,
            });
        }
        self.numbers()
    }

    fn numbers(&self) -> Result<(), NetworkTrainingError> {
        const POSITIVE: &str = "a finite number above 0";
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if let Some(rate) = self.optimiser.rate() {
            check("the learning rate", POSITIVE, rate, positive(rate))?;
        }
        for rate in self.rates.iter().flat_map(|r| [r.weights, r.biases]) {
            let right = rate.is_finite() && rate >= 0.0;
            check(
                "a layer's rate",
                "a finite number of at least 0",
                rate,
                right,
            )?;
        }
        if let Some(part) = self.relative_loss {
            let right = (0.0..1.0).contains(&part);
            check("relative_loss", "at least 0 and below 1", part, right)?;
        }
        if let Optimiser::Adam {
            beta1,
            beta2,
            epsilon,
            ..
        } = self.optimiser
        {
            for (name, beta) in [("beta1", beta1), ("beta2", beta2)] {
                let right = (0.0..1.0).contains(&beta);
                check(name, "at least 0 and below 1", beta, right)?;
            }
            check("epsilon", POSITIVE, epsilon, positive(epsilon))?;
        }
        match self.duration {
            Duration::FlowTime { .. } if self.optimiser.is_adam() => {
                Err(NetworkTrainingError::NoFlowTime)
            }
            Duration::FlowTime { tau, .. } => {
                let right = tau.is_finite() && tau >= 0.0;
                check("tau", "a finite number of at least 0", tau, right)
            }
            Duration::Steps(_) => Ok(()),
        }
    }
}

fn check(
    name: &'static str,
    allowed: &'static str,
    value: f64,
    right: bool,
) -> Result<(), NetworkTrainingError> {
    match right {
        true => Ok(()),
        false => Err(NetworkTrainingError::Value {
            name,
            allowed,
            value,
        }),
    }
}
