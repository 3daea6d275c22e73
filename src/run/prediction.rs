//! What a prediction is: densities with what the theory says of itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::RunError;
use crate::density::{DensityError, Ensemble, Estimate, Generator, RandomField};
use crate::experiment::Method;

/// The sandwich is the leading order in (effective features / samples); its corrections are of that relative size.
/// Below 5 % it is trusted, up to 20 % with care, beyond not at all.
pub(super) const HIGH: f64 = 0.05;
pub(super) const LIMITED: f64 = 0.2;

/// One predicted density.
#[derive(Debug, Clone)]
pub struct Prediction {
    pub estimate: Estimate,
    /// The ensemble behind a sampled prediction: bands and sampling noise.
    pub ensemble: Option<Ensemble>,
    /// The clouds behind another prediction in D >= 2.
    pub cloud: Option<Ensemble>,
    pub seconds: f64,
}

impl Prediction {
    /// What its readings are in.
    pub(super) fn read(&self) -> Option<&Ensemble> {
        self.ensemble.as_ref().or(self.cloud.as_ref())
    }
}

/// All predictions of a case.
#[derive(Debug, Clone, Default)]
pub struct PredictionSet {
    pub by_method: BTreeMap<Method, Prediction>,
    pub diagnostics: BTreeMap<String, Value>,
    pub warnings: Vec<String>,
    /// Seconds of the statistics, shared by all methods.
    pub statistics_seconds: f64,
    /// How good the closure behind the predictions is (families with trained weights).
    pub closure: Option<Closure>,
    /// Kernels: root mean square of what their expansion changes of a trained machine, in standard deviations over machines.
    pub expansion_shift: Option<f64>,
    /// Probability of the x_T at which V is too large for the loop corrections, where they were asked for.
    pub loops_refused: Option<f64>,
}

/// What the theory says of its own approximations, before numerical errors.
#[derive(Debug, Clone, PartialEq)]
pub enum Closure {
    /// The sandwich holds for effective features / samples far below 1.
    LargeSamples { feature_ratio: f64 },
    /// Gradient flow to first order in every sample's influence: the largest leverage.
    FirstOrder { leverage: f64 },
    /// Kernel machines at any number of samples: the whole effect of the Gaussian field on the average density, where it was
    /// computed, and the largest leverage.
    Kernel { effect: Option<f64>, leverage: f64 },
    /// The equivalent with a Gaussian field: the whole effect of the field on the average density bounds its error.
    Gaussian { effect: f64 },
    /// The Gaussian field given a layer: estimated error, and the samples that the layer holds of all.
    Layered {
        error: f64,
        layer: f64,
        samples: usize,
    },
}

impl Closure {
    /// Of an average over problems that are solved one by one, with the effect of the field on the average density.
    pub(super) fn average(all: &[Self], effect: Option<f64>) -> Option<Self> {
        let mean = |of: &dyn Fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        let worst = |of: &dyn Fn(&Self) -> f64| all.iter().map(of).fold(0.0, f64::max);
        let leverage = |closure: &Self| match closure {
            Self::FirstOrder { leverage } | Self::Kernel { leverage, .. } => *leverage,
            _ => 0.0,
        };
        Some(match all.first()? {
            Self::LargeSamples { .. } => Self::LargeSamples {
                feature_ratio: mean(&|c| match c {
                    Self::LargeSamples { feature_ratio } => *feature_ratio,
                    _ => 0.0,
                }),
            },
            Self::FirstOrder { .. } => Self::FirstOrder {
                leverage: worst(&leverage),
            },
            Self::Kernel { .. } => Self::Kernel {
                effect,
                leverage: worst(&leverage),
            },
            Self::Gaussian { .. } => Self::Gaussian { effect: effect? },
            Self::Layered { samples, .. } => {
                let parts = |c: &Self| match c {
                    Self::Layered { error, layer, .. } => (*error, *layer),
                    _ => (0.0, 0.0),
                };
                Self::Layered {
                    error: mean(&|c| parts(c).0),
                    layer: mean(&|c| parts(c).1),
                    samples: *samples,
                }
            }
        })
    }
}

/// How an ensemble of draws is grown to a number of members, from what was drawn of it before: handed in by the caller, who knows
/// about checkpoints and progress.
pub type Grow<'a> = dyn FnMut(
        Method,
        &dyn RandomField,
        &Generator<'_>,
        Option<Ensemble>,
        u64,
    ) -> Result<Ensemble, RunError>
    + 'a;

/// Wraps an error with its case and method.
pub(super) fn failed(case: usize, method: Method) -> impl Fn(DensityError) -> RunError {
    move |source| RunError::Density {
        case,
        part: method.name().into(),
        source,
    }
}

/// What a method came to.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub estimate: Estimate,
    /// The draws of a sampled one.
    pub ensemble: Option<Ensemble>,
    /// In D >= 2, what another was read off.
    pub cloud: Option<Ensemble>,
}

impl From<Estimate> for Outcome {
    fn from(estimate: Estimate) -> Self {
        Self {
            estimate,
            ensemble: None,
            cloud: None,
        }
    }
}

impl Outcome {
    /// The mean of draws.
    pub fn sampled(ensemble: Ensemble) -> Self {
        let estimate = Estimate {
            masses: ensemble.mean(),
            errors: vec![
                ("draws", ensemble.noise_floor().mean.tv),
                ("push-forward", ensemble.unresolved()),
            ],
        };
        Self {
            ensemble: Some(ensemble),
            ..estimate.into()
        }
    }

    /// A density that in D >= 2 was read off clouds.
    pub fn read_off(estimate: Estimate, cloud: Option<Ensemble>) -> Self {
        Self {
            cloud,
            ..estimate.into()
        }
    }
}

impl PredictionSet {
    /// Stores a method's density, and its errors by source among the diagnostics.
    pub(super) fn insert(&mut self, method: Method, outcome: impl Into<Outcome>, seconds: f64) {
        let outcome = outcome.into();
        let parts: BTreeMap<&str, f64> = outcome.estimate.errors.iter().copied().collect();
        self.diagnostics
            .insert(format!("error.{}", method.name()), json!(parts));
        self.by_method.insert(
            method,
            Prediction {
                estimate: outcome.estimate,
                ensemble: outcome.ensemble,
                cloud: outcome.cloud,
                seconds,
            },
        );
    }
}
