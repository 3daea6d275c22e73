//! `[model]`.

use serde_json::Value;

use super::output::is_interval;
use super::{check, check_at, expression};
use crate::experiment::OutputOptions;
use crate::family::features::{
    ExpressionError, Expressions, Factor, FeatureSet, Features, Fourier, Gaussian, Polynomial,
    SpaceFeatures,
};
use crate::family::{Family, Linear, Naive};
use crate::problem::{Prediction, Problem};
use crate::spec::error::Fault;
use crate::spec::fields::{allowed_for, refuse, refuse_inapplicable};
use crate::spec::path::FieldPath;
use crate::spec::raw::{FeatureKind, ModelKind, RawFeature, RawModel};

/// Largest number F of product features.
const MOST_FEATURES: usize = 20_000;

/// The family of models.
pub(super) fn resolve(
    raw: &mut RawModel,
    tree: &Value,
    problem: &Problem,
    output: &OutputOptions,
) -> Result<Family, Fault> {
    let path = FieldPath::of("model");
    match raw.kind {
        ModelKind::Naive => {
            refuse_inapplicable(tree, &path, "model.kind = \"naive\"", &["kind", "kappa"])?;
            let kappa = *raw.kappa.get_or_insert(0.0);
            check("model.kappa", kappa.is_finite() && kappa >= 0.0)?;
            Ok(Family::Naive(Naive { kappa }))
        }
        ModelKind::Linear => {
            let keys = ["kind", "predicts", "features"];
            refuse_inapplicable(tree, &path, "model.kind = \"linear\"", &keys)?;
            let predicts = *raw.predicts.get_or_insert(Prediction::Denoiser);
            let list = path.key("features");
            let Some(sets) = raw.features.as_mut().filter(|sets| !sets.is_empty()) else {
                return Err(refuse(list));
            };
            let features = features(sets, tree, &list, problem, output)?;
            Ok(Family::Linear(Linear { features, predicts }))
        }
    }
}

/// What a feature set is a function of.
enum Variable {
    /// Coordinate, from 0.
    Space(usize),
    Time,
}

fn features(
    raw: &mut [RawFeature],
    tree: &Value,
    list: &FieldPath,
    problem: &Problem,
    output: &OutputOptions,
) -> Result<Features, Fault> {
    let dim = problem.dim();
    let mut space: Vec<Vec<FeatureSet>> = vec![Vec::new(); dim];
    let mut time = Vec::new();
    let mut total = 1_usize;
    for (i, raw) in raw.iter_mut().enumerate() {
        let path = list.index(i);
        let variable = variable(&raw.of, dim).ok_or_else(|| refuse(path.key("of")))?;
        let default = match variable {
            Variable::Space(i) => output.range[i],
            Variable::Time => (problem.t_min, problem.t_max),
        };
        let set = if raw.kind == FeatureKind::Expression {
            written_set(raw, tree, &path, &windows(problem, output, &variable))?
        } else {
            feature_set(raw, tree, &path, default)?
        };
        total = total.saturating_mul(set.len());
        if total > MOST_FEATURES {
            let key = match raw.kind {
                FeatureKind::Expression => "expressions",
                _ => "count",
            };
            return Err(
                Fault::at(path.key(key), format!("{total} product features so far")).allowed(
                    format!("at most {MOST_FEATURES} features, the product of all counts"),
                ),
            );
        }
        match variable {
            Variable::Space(i) => space[i].push(set),
            Variable::Time => time.push(set),
        }
    }
    if space.iter().all(Vec::is_empty) {
        return Err(Fault::at(list.clone(), "features of t only")
            .allowed("at least one feature set of a coordinate, such as of = \"x1\""));
    }
    Ok(Features {
        space: SpaceFeatures::Product(space.into_iter().map(Factor::new).collect()),
        time: Factor::new(time),
    })
}

fn variable(of: &str, dim: usize) -> Option<Variable> {
    if of == "t" {
        return Some(Variable::Time);
    }
    let number: usize = of.strip_prefix('x')?.parse().ok()?;
    let known = (1..=dim).contains(&number) && of == format!("x{number}");
    known.then(|| Variable::Space(number - 1))
}

/// Where a variable's features are evaluated: the time window, or the output range and the reach of the noised data.
fn windows(problem: &Problem, output: &OutputOptions, variable: &Variable) -> Vec<(f64, f64)> {
    /// Standard deviations on either side of a noised component.
    const REACH: f64 = 9.0;
    let Variable::Space(i) = *variable else {
        return vec![(problem.t_min, problem.t_max)];
    };
    let mut reach = output.range[i];
    for t in expression::times(problem.t_min, problem.t_max) {
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        for component in problem.data.components() {
            let widest = component.variances.max();
            let std = (alpha * alpha * widest + sigma2).sqrt();
            let mean = alpha * component.mean[i];
            reach = (
                reach.0.min(mean - REACH * std),
                reach.1.max(mean + REACH * std),
            );
        }
    }
    vec![output.range[i], reach]
}

/// A set of features that the spec writes out.
fn written_set(
    raw: &RawFeature,
    tree: &Value,
    path: &FieldPath,
    windows: &[(f64, f64)],
) -> Result<FeatureSet, Fault> {
    let keys = ["of", "kind", "expressions"];
    refuse_inapplicable(tree, path, "kind = \"expression\"", &keys)?;
    let list = path.key("expressions");
    let texts = raw.expressions.as_deref().unwrap_or_default();
    if texts.is_empty() {
        let found = match raw.expressions {
            None => "nothing",
            Some(_) => "[]",
        };
        let allowed = refuse(list.clone()).allowed;
        return Err(Fault::at(list, found).allowed(allowed));
    }
    check_at(list.clone(), texts.len() <= MOST_FEATURES)?;
    // `x` is short for `x1`.
    let variables: &[&str] = if raw.of == "x1" {
        &["x1", "x"]
    } else {
        &[&raw.of]
    };
    let features = texts
        .iter()
        .enumerate()
        .map(|(i, text)| {
            let read = expression::read(text, list.index(i), variables)?;
            Ok(read.substitute("x", &crate::symbolic::Expr::symbol(&raw.of)))
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    match Expressions::new(&features, &raw.of, windows) {
        Ok(set) => Ok(FeatureSet::Expression(set)),
        Err(fault) => {
            let path = list.index(fault.index);
            let found = match fault.error {
                ExpressionError::NotFinite {
                    order: 0,
                    value,
                    at,
                } => {
                    format!("an expression that is {value:?} at {} = {at:?}", raw.of)
                }
                ExpressionError::NotFinite { order, value, at } => format!(
                    "an expression whose derivative {order} is {value:?} at {} = {at:?}",
                    raw.of
                ),
                other => other.to_string(),
            };
            let allowed = refuse(path.clone()).allowed;
            Err(Fault::at(path, found).allowed(allowed))
        }
    }
}

/// `expressions` belongs to one kind only.
fn refuse_expressions(raw: &RawFeature, path: &FieldPath) -> Result<(), Fault> {
    if raw.expressions.is_none() {
        return Ok(());
    }
    let found = "expressions, which does not apply to kind = \"gaussian\"";
    Err(Fault::at(path.key("expressions"), found)
        .allowed("with kind = \"gaussian\": of, kind, count, range, width"))
}

fn feature_set(
    raw: &mut RawFeature,
    tree: &Value,
    path: &FieldPath,
    default_range: (f64, f64),
) -> Result<FeatureSet, Fault> {
    if raw.kind != FeatureKind::Gaussian {
        let keys = ["of", "kind", "count", "range"];
        let kind = match raw.kind {
            FeatureKind::Fourier => "kind = \"fourier\"",
            _ => "kind = \"polynomial\"",
        };
        refuse_inapplicable(tree, path, kind, &keys)?;
    }
    refuse_expressions(raw, path)?;
    let Some(count) = raw.count else {
        let allowed = allowed_for(&path.key("count")).unwrap_or_default();
        return Err(Fault::at(path.key("count"), "nothing").allowed(allowed));
    };
    let count = usize::try_from(count)
        .ok()
        .filter(|n| (1..=MOST_FEATURES).contains(n))
        .ok_or_else(|| refuse(path.key("count")))?;
    let [low, high] = *raw.range.get_or_insert(default_range.into());
    check_at(path.key("range"), is_interval((low, high)))?;
    Ok(match raw.kind {
        FeatureKind::Fourier => FeatureSet::Fourier(Fourier::new(count, low, high)),
        FeatureKind::Polynomial => FeatureSet::Polynomial(Polynomial::new(count, low, high)),
        _ => {
            let width = *raw.width.get_or_insert(0.5);
            check_at(path.key("width"), (1e-3..=1e3).contains(&width))?;
            let spacing = (high - low) / count.saturating_sub(1).max(1) as f64;
            if !(width * spacing).is_normal() {
                let allowed = allowed_for(&path.key("range")).unwrap_or_default();
                return Err(Fault::value(path.key("range")).allowed(format!(
                    "{allowed}, far enough apart for centres between them"
                )));
            }
            FeatureSet::Gaussian(Gaussian::new(count, low, high, width))
        }
    })
}
