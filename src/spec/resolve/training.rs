//! `[training]`.

use std::sync::Arc;

use serde_json::Value;

use super::{check, count, expression};
use crate::family::Family;
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
    family: &Family,
) -> Result<Option<Training>, Fault> {
    let Family::Linear(linear) = family else {
        return match raw {
            None => Ok(None),
            Some(_) => Err(Fault::at(FieldPath::of("training"), "[training]").allowed(
                "no [training] with model.kind = \"naive\", which has no weights to train; it applies to model.kind = \"linear\"",
            )),
        };
    };
    let raw = raw.get_or_insert_default();
    let samples = count(
        "training.samples",
        *raw.samples.get_or_insert(1024),
        1,
        u64::MAX,
    )?;
    let ridge = *raw.ridge.get_or_insert(0.1);
    check("training.ridge", ridge.is_finite() && ridge >= 0.0)?;
    let features = linear.features.len();
    if ridge == 0.0 && samples < features {
        let found = format!("0 with {samples} samples for {features} features");
        return Err(Fault::at(FieldPath::of("training.ridge"), found).allowed(format!(
            "a number > 0, or training.samples >= {features}: without a ridge the fit would be singular"
        )));
    }
    Ok(Some(Training {
        objective: *raw.objective.get_or_insert(Objective::Dsm),
        weighting: weighting(raw, tree, problem)?,
        samples,
        ridge,
    }))
}

fn weighting(raw: &mut RawTraining, tree: &Value, problem: &Problem) -> Result<Weighting, Fault> {
    let kind = *raw.weighting.get_or_insert(WeightingKind::Snr);
    if kind != WeightingKind::Expression {
        let keys = ["objective", "weighting", "samples", "ridge"];
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
