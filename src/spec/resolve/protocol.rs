//! How networks are trained: the part of `[training]` that is theirs.

use super::{check, count};
use crate::family::network::{Duration, NetworkTraining, Optimiser};
use crate::spec::error::Fault;
use crate::spec::fields::refuse;
use crate::spec::path::FieldPath;
use crate::spec::raw::{OptimizerKind, RawTraining};

/// Defaults.
const TIME: f64 = 100.0;
const BATCH: u64 = 64;
const ADAM_STEPS: u64 = 1000;
const ADAM_RATE: f64 = 1e-3;

/// Largest number of steps, asked for or needed for a time.
const MOST_STEPS: u64 = 100_000_000;

/// The protocol, and the flow time that it stands for.
pub(super) fn resolve(
    raw: &mut RawTraining,
    samples: usize,
    centred: bool,
) -> Result<(NetworkTraining, f64), Fault> {
    let at = |key: &str| FieldPath::of("training").key(key);
    if raw.ridge.is_some() {
        return Err(Fault::value(at("ridge")).allowed(
            "no ridge with model.kind = \"mlp\", which is trained for a time or a number of steps",
        ));
    }
    if let Some(rate) = raw.learning_rate {
        check("training.learning_rate", rate.is_finite() && rate > 0.0)?;
    }
    if let Some(part) = raw.relative_loss {
        check("training.relative_loss", (0.0..1.0).contains(&part))?;
    }
    let kind = *raw.optimizer.get_or_insert(OptimizerKind::Gd);
    let optimiser = match kind {
        OptimizerKind::Gd => {
            if raw.batch.is_some() {
                return Err(Fault::value(at("batch")).allowed(
                    "no batch with training.optimizer = \"gd\", which takes all samples",
                ));
            }
            Optimiser::GradientDescent {
                rate: raw.learning_rate,
            }
        }
        OptimizerKind::Sgd => Optimiser::Sgd {
            batch: batch(*raw.batch.get_or_insert(BATCH.min(samples as u64)), samples)?,
            rate: raw.learning_rate,
        },
        OptimizerKind::Adam => adam(raw, samples)?,
    };
    let (duration, time) = duration(raw, kind)?;
    let protocol = NetworkTraining {
        optimiser,
        duration,
        relative_loss: raw.relative_loss.filter(|part| *part > 0.0),
        rates: Vec::new(),
        centred,
    };
    Ok((protocol, time))
}

fn batch(asked: u64, samples: usize) -> Result<usize, Fault> {
    count("training.batch", asked, 1, samples as u64)
}

fn adam(raw: &mut RawTraining, samples: usize) -> Result<Optimiser, Fault> {
    let Optimiser::Adam {
        beta1,
        beta2,
        epsilon,
        ..
    } = Optimiser::ADAM
    else {
        return Err(refuse(FieldPath::of("training.optimizer")));
    };
    Ok(Optimiser::Adam {
        batch: raw.batch.map(|b| batch(b, samples)).transpose()?,
        rate: *raw.learning_rate.get_or_insert(ADAM_RATE),
        beta1,
        beta2,
        epsilon,
    })
}

/// A time, or a number of steps of a given rate.
fn duration(raw: &mut RawTraining, kind: OptimizerKind) -> Result<(Duration, f64), Fault> {
    let path = FieldPath::of("training.time");
    if kind == OptimizerKind::Adam {
        if raw.time.is_some() {
            return Err(Fault::value(path).allowed(
                "training.steps with training.optimizer = \"adam\", which follows no flow",
            ));
        }
        raw.steps.get_or_insert(ADAM_STEPS);
    }
    if let Some(steps) = raw.steps {
        if raw.time.is_some() {
            return Err(Fault::value(path).allowed("either a time or a number of steps, not both"));
        }
        let steps = count("training.steps", steps, 1, MOST_STEPS)?;
        let Some(rate) = raw.learning_rate else {
            return Err(
                Fault::at(FieldPath::of("training.learning_rate"), "nothing").allowed(
                    "a finite number > 0 where training.steps is given; or training.time instead",
                ),
            );
        };
        return Ok((Duration::Steps(steps), steps as f64 * rate));
    }
    let tau = *raw.time.get_or_insert(TIME);
    check("training.time", tau.is_finite() && tau > 0.0)?;
    let most_steps = usize::try_from(MOST_STEPS).unwrap_or(usize::MAX);
    Ok((Duration::FlowTime { tau, most_steps }, tau))
}
