//! `[training]`.

use std::sync::Arc;

use serde_json::Value;

use super::{check, count, expression, protocol, subspaces};
use crate::family::{Family, SubspaceFit};
use crate::problem::{Objective, Problem, TimeWeight, Training, Weighting};
use crate::spec::error::Fault;
use crate::spec::fields::{refuse, refuse_inapplicable};
use crate::spec::path::FieldPath;
use crate::spec::raw::{RawTraining, WeightingKind};

/// The training protocol; `None` for the naive family, which has no weights.
pub(super) fn resolve(
    raw: &mut Option<RawTraining>,
    tree: &Value,
    problem: &Problem,
    family: &mut Family,
) -> Result<Option<Training>, Fault> {
    if let Family::LowRank(low_rank) = family {
        let raw = raw.get_or_insert_default();
        let (protocol, samples) = subspaces::protocol(raw, tree, problem)?;
        low_rank.protocol = protocol;
        return Ok(Some(Training {
            objective: Objective::Dsm,
            weighting: match protocol.fit {
                SubspaceFit::KSubspaces => Weighting::Snr,
                SubspaceFit::Gradient { .. } => weighting(raw, tree, problem)?,
            },
            samples,
            draws: 1,
            ridge: 0.0,
            time: None,
        }));
    }
    subspaces::refuse_own(tree)?;
    let Some(features) = family.linear().map(|linear| linear.features.len()) else {
        return match raw {
            None => Ok(None),
            Some(_) => Err(Fault::at(FieldPath::of("training"), "[training]").allowed(
                "no [training] with model.kind = \"naive\", which has no weights to train; it applies to model.kind = \"linear\"",
            )),
        };
    };
    let raw = raw.get_or_insert_default();
    let kernel = family.kernel().is_some();
    let (samples, draws) = samples_and_draws(raw, kernel)?;
    let time = match family {
        Family::Network(networks) => {
            let centred = networks.protocol.centred;
            let (protocol, time) = protocol::resolve(raw, samples, centred)?;
            networks.protocol = protocol;
            Some(time)
        }
        _ => {
            refuse_of_networks(tree)?;
            time(raw, kernel)?
        }
    };
    let ridge = match time {
        Some(_) => 0.0,
        None => *raw.ridge.get_or_insert(0.1),
    };
    check("training.ridge", ridge.is_finite() && ridge >= 0.0)?;
    if !kernel && ridge == 0.0 && samples < features {
        let found = format!("0 with {samples} samples for {features} features");
        return Err(Fault::at(FieldPath::of("training.ridge"), found).allowed(format!(
            "a number > 0, or training.samples >= {features}: without a ridge the fit would be singular"
        )));
    }
    Ok(Some(Training {
        objective: *raw.objective.get_or_insert(Objective::Dsm),
        weighting: weighting(raw, tree, problem)?,
        samples,
        draws,
        ridge,
        time,
    }))
}

/// P and m, from P or from N.
fn samples_and_draws(raw: &mut RawTraining, kernel: bool) -> Result<(usize, usize), Fault> {
    // With features and samples fresh ones are what is meant.
    if kernel || raw.dataset.is_some() {
        raw.draws.get_or_insert(1);
    }
    let path = FieldPath::of("training.draws");
    let draws = count("training.draws", raw.draws.unwrap_or(1), 1, u64::MAX)?;
    let Some(dataset) = raw.dataset else {
        let samples = *raw.samples.get_or_insert(1024);
        let samples = count("training.samples", samples, 1, u64::MAX)?;
        if !samples.is_multiple_of(draws) {
            let found = format!("{draws} draws of each clean point in {samples} samples");
            return Err(Fault::at(path, found).allowed(
                "a divisor of training.samples, or training.dataset = N instead of them for N points with as many draws each",
            ));
        }
        return Ok((samples, draws));
    };
    if raw.samples.is_some() {
        return Err(Fault::value(FieldPath::of("training.dataset")).allowed(
            "either training.samples or a dataset, whose samples are training.dataset times training.draws, not both",
        ));
    }
    let points = count("training.dataset", dataset, 1, u64::MAX)?;
    match points.checked_mul(draws) {
        Some(samples) => Ok((samples, draws)),
        None => {
            let found = format!("{draws} draws of each of {points} clean points");
            Err(Fault::at(path, found).allowed("fewer than 2^64 samples in all"))
        }
    }
}

/// Keys of every family, and those that only networks have.
const KEYS: [&str; 10] = [
    "per_subspace",
    "method",
    "restarts",
    "objective",
    "weighting",
    "samples",
    "dataset",
    "draws",
    "ridge",
    "time",
];
const OF_NETWORKS: [&str; 5] = [
    "optimizer",
    "learning_rate",
    "steps",
    "batch",
    "relative_loss",
];

fn refuse_of_networks(tree: &Value) -> Result<(), Fault> {
    for key in OF_NETWORKS {
        let path = FieldPath::of("training").key(key);
        if path.get(tree).is_some() {
            return Err(Fault::value(path).allowed("nothing unless model.kind = \"mlp\""));
        }
    }
    Ok(())
}

/// tau of the gradient flow, which is solved for kernels.
fn time(raw: &RawTraining, kernel: bool) -> Result<Option<f64>, Fault> {
    let Some(time) = raw.time else {
        return Ok(None);
    };
    let path = FieldPath::of("training.time");
    if !kernel {
        return Err(Fault::value(path).allowed(
            "no time with features, which are fitted by ridge regression; gradient flow is that of model.kind = \"kernel\" or \"ntk\"",
        ));
    }
    if raw.ridge.is_some() {
        return Err(Fault::value(path).allowed("either a time or a ridge, not both"));
    }
    check("training.time", time.is_finite() && time > 0.0)?;
    Ok(Some(time))
}

fn weighting(raw: &mut RawTraining, tree: &Value, problem: &Problem) -> Result<Weighting, Fault> {
    let kind = *raw.weighting.get_or_insert(WeightingKind::Snr);
    if kind != WeightingKind::Expression {
        let keys = [&KEYS[..], &OF_NETWORKS].concat();
        let setting = "a weighting other than \"expression\"";
        refuse_inapplicable(tree, &FieldPath::of("training"), setting, &keys)?;
    }
    match kind {
        WeightingKind::Snr => Ok(Weighting::Snr),
        WeightingKind::Uniform => Ok(Weighting::Uniform),
        WeightingKind::Sigma2 => Ok(Weighting::Sigma2),
        WeightingKind::Expression => written_weight(raw, problem),
    }
}

fn written_weight(raw: &RawTraining, problem: &Problem) -> Result<Weighting, Fault> {
    let path = FieldPath::of("training.weight");
    let expr = expression::required(raw.weight.as_ref(), path.clone(), &TimeWeight::VARIABLES)?;
    let weight = TimeWeight::new(&expr).map_err(|_| refuse(path.clone()))?;
    let mut largest = 0.0_f64;
    for t in expression::times(problem.t_min, problem.t_max) {
        let value = weight.value(t, problem.diffusion.alpha(t), problem.diffusion.sigma(t));
        if !(value.is_finite() && value >= 0.0) {
            let allowed = refuse(path.clone()).allowed;
            return Err(Fault::at(path, format!("{value:?} at t = {t:?}")).allowed(allowed));
        }
        largest = largest.max(value);
    }
    if largest == 0.0 {
        return Err(Fault::at(path, "0 at every time").allowed("a weight that is > 0 somewhere"));
    }
    Ok(Weighting::Expression(Arc::new(weight)))
}
