//! `[diffusion]`.

use std::sync::Arc;

use serde_json::Value;

use super::{check, expression};
use crate::problem::{Diffusion, Schedule};
use crate::spec::error::Fault;
use crate::spec::fields::{refuse, refuse_inapplicable};
use crate::spec::path::FieldPath;
use crate::spec::raw::{BetaConvention, DiffusionKind, RawDiffusion};

/// The forward process with its time window (t_min, t_max).
pub(super) fn resolve(
    raw: &mut RawDiffusion,
    tree: &Value,
) -> Result<(Diffusion, f64, f64), Fault> {
    let vp: &[&str] = &[
        "kind",
        "beta_min",
        "beta_delta",
        "convention",
        "t_min",
        "t_max",
    ];
    let plain: &[&str] = &["kind", "t_min", "t_max"];
    let written: &[&str] = &["kind", "alpha", "sigma", "t_min", "t_max"];
    let (name, keys, window) = match raw.kind {
        DiffusionKind::Vp => ("vp", vp, Some((1e-2, 1.0))),
        DiffusionKind::Edm => ("edm", plain, Some((2e-3, 80.0))),
        DiffusionKind::Ou => ("ou", plain, Some((1e-2, 5.0))),
        DiffusionKind::Flow => ("flow", plain, Some((1e-2, 1.0))),
        DiffusionKind::Expression => ("expression", written, None),
    };
    let kind = format!("diffusion.kind = {name:?}");
    refuse_inapplicable(tree, &FieldPath::of("diffusion"), &kind, keys)?;
    let diffusion = match raw.kind {
        DiffusionKind::Vp => vp_process(raw)?,
        DiffusionKind::Edm => Diffusion::Edm,
        DiffusionKind::Ou => Diffusion::Ou,
        DiffusionKind::Flow => Diffusion::Flow,
        DiffusionKind::Expression => written_process(raw)?,
    };
    let (t_min, t_max) = time_window(raw, window)?;
    if raw.kind == DiffusionKind::Expression {
        check_schedule(&diffusion, t_min, t_max)?;
    }
    check_noise(&diffusion, t_min, t_max)?;
    Ok((diffusion, t_min, t_max))
}

fn vp_process(raw: &mut RawDiffusion) -> Result<Diffusion, Fault> {
    let beta_min = *raw.beta_min.get_or_insert(0.1);
    let beta_delta = *raw.beta_delta.get_or_insert(19.9);
    check(
        "diffusion.beta_min",
        beta_min.is_finite() && beta_min >= 0.0,
    )?;
    check(
        "diffusion.beta_delta",
        beta_delta.is_finite() && beta_delta >= 0.0,
    )?;
    if beta_min == 0.0 && beta_delta == 0.0 {
        let path = FieldPath::of("diffusion.beta_delta");
        return Err(
            Fault::at(path, "beta_min = 0 and beta_delta = 0: no noise at all")
                .allowed("at least one of the two > 0"),
        );
    }
    // One convention inside; the other is half of it.
    let factor = match raw.convention.get_or_insert(BetaConvention::Vastola) {
        BetaConvention::Vastola => 1.0,
        BetaConvention::Song => 0.5,
    };
    Ok(Diffusion::Vp {
        beta_min: factor * beta_min,
        beta_delta: factor * beta_delta,
    })
}

fn written_process(raw: &RawDiffusion) -> Result<Diffusion, Fault> {
    let read = |text: &Option<String>, key: &str| {
        expression::required(text.as_ref(), FieldPath::of("diffusion").key(key), &["t"])
    };
    let (alpha, sigma) = (read(&raw.alpha, "alpha")?, read(&raw.sigma, "sigma")?);
    match Schedule::new(&alpha, &sigma) {
        Ok(schedule) => Ok(Diffusion::Expression(Arc::new(schedule))),
        Err(_) => Err(refuse(FieldPath::of("diffusion.alpha"))),
    }
}

/// A written process must be one: finite, with noise everywhere, its signal-to-noise ratio falling (D_t >= 0).
fn check_schedule(diffusion: &Diffusion, t_min: f64, t_max: f64) -> Result<(), Fault> {
    /// D_t < 0 by less than this share of its terms is rounding.
    const ROUNDING: f64 = 1e-6;
    for t in expression::times(t_min, t_max) {
        let (alpha, sigma, sigma2) = (diffusion.alpha(t), diffusion.sigma(t), diffusion.sigma2(t));
        let (alpha_slope, half_slope) = (diffusion.alpha_prime(t), diffusion.sigma_sigma_prime(t));
        if !(alpha.is_finite() && alpha >= 0.0 && alpha_slope.is_finite()) {
            return Err(at_time(
                "alpha",
                t,
                &format!("alpha = {alpha:?}, alpha' = {alpha_slope:?}"),
            ));
        }
        if !(sigma2.is_finite() && sigma2 > 0.0 && sigma > 0.0 && half_slope.is_finite()) {
            return Err(at_time(
                "sigma",
                t,
                &format!("sigma = {sigma:?}, sigma^2 = {sigma2:?}, sigma sigma' = {half_slope:?}"),
            ));
        }
        // alpha D_t, which stays regular where the signal ends.
        let (gain, loss) = (alpha * half_slope, alpha_slope * sigma2);
        if gain - loss < -ROUNDING * (gain.abs() + loss.abs()) {
            let found = format!("an alpha^2/sigma^2 that grows at t = {t:?}");
            return Err(Fault::at(FieldPath::of("diffusion.sigma"), found)
                .allowed("expressions whose alpha^2/sigma^2 falls from t_min to t_max: noise is added, not removed"));
        }
    }
    if diffusion.snr(t_max) < diffusion.snr(t_min) {
        return Ok(());
    }
    Err(Fault::at(
        FieldPath::of("diffusion.sigma"),
        "the same alpha^2/sigma^2 at t_min and t_max",
    )
    .allowed("expressions whose alpha^2/sigma^2 falls from t_min to t_max"))
}

fn at_time(key: &str, t: f64, what: &str) -> Fault {
    let path = FieldPath::of("diffusion").key(key);
    let allowed = refuse(path.clone()).allowed;
    Fault::at(path, format!("{what} at t = {t:?}")).allowed(allowed)
}

fn time_window(raw: &mut RawDiffusion, default: Option<(f64, f64)>) -> Result<(f64, f64), Fault> {
    // A window turned around is blamed on the end that the spec gives.
    let blamed = if raw.t_min.is_some() {
        "t_min"
    } else {
        "t_max"
    };
    let end = |given: &mut Option<f64>, key: &str, default: Option<f64>| {
        *given = given.or(default);
        given.ok_or_else(|| {
            let path = FieldPath::of("diffusion").key(key);
            let allowed = refuse(path.clone()).allowed;
            Fault::at(path, "nothing").allowed(format!(
                "{allowed}; diffusion.kind = \"expression\" has no default"
            ))
        })
    };
    let t_min = end(&mut raw.t_min, "t_min", default.map(|d| d.0))?;
    let t_max = end(&mut raw.t_max, "t_max", default.map(|d| d.1))?;
    check("diffusion.t_min", t_min.is_finite() && t_min >= 1e-12)?;
    check("diffusion.t_max", t_max.is_finite() && t_max > 0.0)?;
    if raw.kind == DiffusionKind::Flow && t_max > 1.0 {
        return Err(Fault::value(FieldPath::of("diffusion.t_max"))
            .allowed("at most 1 with diffusion.kind = \"flow\""));
    }
    if t_min >= t_max {
        let allowed = match blamed {
            "t_min" => format!("a finite number >= 1e-12 and < t_max = {t_max:?}"),
            _ => format!("a finite number > t_min = {t_min:?}"),
        };
        return Err(Fault::value(FieldPath::of("diffusion").key(blamed)).allowed(allowed));
    }
    Ok((t_min, t_max))
}

/// The noise must neither vanish at t_min nor overflow at t_max.
fn check_noise(diffusion: &Diffusion, t_min: f64, t_max: f64) -> Result<(), Fault> {
    for (key, t) in [("t_min", t_min), ("t_max", t_max)] {
        let sigma2 = diffusion.sigma2(t);
        if !(sigma2.is_finite() && sigma2 >= f64::MIN_POSITIVE) {
            let found = format!("{t:?}, where sigma^2 = {sigma2:?}");
            return Err(Fault::at(FieldPath::of("diffusion").key(key), found)
                .allowed("a time where sigma^2 is finite and > 0"));
        }
    }
    Ok(())
}
