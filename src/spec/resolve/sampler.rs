//! `[sampler]`.

use serde_json::Value;

use super::{check, count};
use crate::experiment::{Process, SamplerOptions, Scheme, Spacing};
use crate::family::Family;
use crate::spec::error::Fault;
use crate::spec::fields::refuse_inapplicable;
use crate::spec::path::FieldPath;
use crate::spec::raw::{RawSampler, SamplerKind};

/// Default of `tolerance`.
const TOLERANCE: f64 = 1e-8;

/// The sampler.
pub(super) fn resolve(
    raw: &mut RawSampler,
    tree: &Value,
    family: &Family,
) -> Result<SamplerOptions, Fault> {
    let proxy_noise = matches!(family, Family::Naive(naive) if naive.kappa > 0.0);
    let process = process(raw, tree)?;
    let scheme = scheme(raw, tree, process, proxy_noise)?;
    let steps = count("sampler.steps", *raw.steps.get_or_insert(80), 1, 1_000_000)?;
    let tolerance = match scheme {
        Scheme::Adaptive => *raw.tolerance.get_or_insert(TOLERANCE),
        _ => TOLERANCE,
    };
    check("sampler.tolerance", (1e-14..=0.1).contains(&tolerance))?;
    Ok(SamplerOptions {
        process,
        scheme,
        steps,
        grid: *raw.grid.get_or_insert(Spacing::Log),
        tolerance,
        start: *raw.start.get_or_insert_default(),
    })
}

fn process(raw: &mut RawSampler, tree: &Value) -> Result<Process, Fault> {
    let path = FieldPath::of("sampler");
    match *raw.kind.get_or_insert(SamplerKind::PfOde) {
        SamplerKind::PfOde => {
            let keys = ["kind", "scheme", "steps", "grid", "tolerance", "start"];
            refuse_inapplicable(tree, &path, "sampler.kind = \"pf-ode\"", &keys)?;
            Ok(Process::PfOde)
        }
        SamplerKind::ReverseSde => {
            let churn = *raw.churn.get_or_insert(1.0);
            check("sampler.churn", churn.is_finite() && churn >= 0.0)?;
            Ok(Process::ReverseSde { churn })
        }
    }
}

fn scheme(
    raw: &mut RawSampler,
    tree: &Value,
    process: Process,
    proxy_noise: bool,
) -> Result<Scheme, Fault> {
    let default = if proxy_noise {
        Scheme::Euler
    } else {
        Scheme::Ddim
    };
    let scheme = *raw.scheme.get_or_insert(default);
    let path = FieldPath::of("sampler");
    if proxy_noise && scheme != Scheme::Euler {
        return Err(Fault::value(path.key("scheme")).allowed(
            "\"euler\" with model.kappa > 0, whose proxy noise is defined per Euler step",
        ));
    }
    let stochastic = matches!(process, Process::ReverseSde { .. });
    if stochastic && scheme == Scheme::Adaptive {
        return Err(Fault::value(path.key("scheme"))
            .allowed("\"euler\" | \"heun\" | \"ddim\" with sampler.kind = \"reverse-sde\""));
    }
    if scheme != Scheme::Adaptive {
        let keys = ["kind", "churn", "scheme", "steps", "grid", "start"];
        refuse_inapplicable(tree, &path, "a scheme other than \"adaptive\"", &keys)?;
    }
    Ok(scheme)
}
