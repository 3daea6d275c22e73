//! `[model]`.

use serde_json::Value;

use super::kernel::Expanded;
use super::output::is_interval;
use super::{check, check_at, expression, joint, kernel, subspaces};
use crate::experiment::OutputOptions;
use crate::family::features::{
    ExpressionError, Expressions, Factor, FeatureSet, Features, Fourier, Gaussian, Joint,
    Polynomial, SpaceFeatures,
};
use crate::family::{Family, Linear, Naive};
use crate::problem::{Prediction, Problem};
use crate::spec::error::Fault;
use crate::spec::fields::{allowed_for, refuse, refuse_inapplicable};
use crate::spec::path::FieldPath;
use crate::spec::raw::{Combine, FeatureKind, ModelKind, RawFeature, RawModel, Variables};

/// Largest number F of product features.
pub(super) const MOST_FEATURES: usize = 20_000;

/// The family of models.
pub(super) fn resolve(
    raw: &mut RawModel,
    tree: &Value,
    problem: &Problem,
    output: &OutputOptions,
    expanded: &mut Expanded,
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
            let keys = ["kind", "predicts", "combine", "features"];
            refuse_inapplicable(tree, &path, "model.kind = \"linear\"", &keys)?;
            let predicts = *raw.predicts.get_or_insert(Prediction::Denoiser);
            let list = path.key("features");
            let Some(sets) = raw.features.as_mut().filter(|sets| !sets.is_empty()) else {
                return Err(refuse(list));
            };
            let combine = raw.combine.unwrap_or(Combine::Product);
            if combine == Combine::Sum {
                return Err(Fault::at(path.key("combine"), "\"sum\" with features")
                    .allowed("\"product\" | \"additive\""));
            }
            let features = features(sets, combine, tree, &list, problem, output)?;
            Ok(Family::Linear(Linear { features, predicts }))
        }
        ModelKind::LowRank => subspaces::family(raw, tree, problem),
        ModelKind::Kernel | ModelKind::Ntk | ModelKind::Mlp => {
            kernel::resolve(raw, tree, problem, expanded)
        }
    }
}

/// What a feature set is a function of.
enum Variable {
    /// Coordinate, from 0.
    Space(usize),
    /// All coordinates at once.
    All,
    Time,
}

/// The sets read so far.
struct Sets {
    combine: Combine,
    space: Vec<Vec<FeatureSet>>,
    joint: Option<Joint>,
    time: Vec<FeatureSet>,
}

impl Sets {
    fn into_features(self) -> Features {
        let factors = || self.space.iter().cloned().map(Factor::new).collect();
        let space = match (&self.joint, self.combine) {
            (Some(joint), _) => SpaceFeatures::Joint(joint.clone()),
            (None, Combine::Additive) if self.space.len() > 1 => SpaceFeatures::Additive(factors()),
            (None, _) => SpaceFeatures::Product(factors()),
        };
        Features {
            space,
            time: Factor::new(self.time),
        }
    }

    /// F, at most `usize::MAX`.
    fn total(&self) -> usize {
        let product = |sets: &[FeatureSet]| {
            sets.iter()
                .fold(1_usize, |all, set| all.saturating_mul(set.len()))
        };
        let own = self
            .space
            .iter()
            .filter(|sets| !sets.is_empty())
            .map(|sets| product(sets));
        let space = match (&self.joint, self.combine) {
            (Some(joint), _) => joint.len(),
            (None, Combine::Additive) if self.space.len() > 1 => {
                own.fold(0, usize::saturating_add).max(1)
            }
            (None, _) => own.fold(1, usize::saturating_mul),
        };
        space.saturating_mul(product(&self.time))
    }

    /// Reads the set of one variable.
    fn add(
        &mut self,
        raw: &mut RawFeature,
        tree: &Value,
        path: &FieldPath,
        problem: &Problem,
        output: &OutputOptions,
    ) -> Result<(), Fault> {
        let variable = variable(raw, problem.dim(), path)?;
        let alone = match variable {
            Variable::All if self.combine == Combine::Additive => {
                return Err(Fault::at(
                    FieldPath::of("model.combine"),
                    "\"additive\" with a set of all coordinates",
                )
                .allowed("\"product\", or sets of single coordinates"));
            }
            Variable::All => !self.has_space(),
            Variable::Space(_) => self.joint.is_none(),
            Variable::Time => true,
        };
        if !alone {
            return Err(Fault::at(path.key("of"), format!("{:?} beside other coordinates' sets", raw.of.name()))
                .allowed("one set of \"x\" alone, or sets of \"x1\", \"x2\", ..., combined as model.combine says"));
        }
        match variable {
            Variable::All => self.joint = Some(joint::resolve(raw, tree, path, output)?),
            Variable::Space(i) => {
                let set = one_set(raw, tree, path, problem, output, &variable)?;
                self.space[i].push(set);
            }
            Variable::Time => {
                let set = one_set(raw, tree, path, problem, output, &variable)?;
                self.time.push(set);
            }
        }
        let total = self.total();
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
        Ok(())
    }

    fn has_space(&self) -> bool {
        self.joint.is_some() || self.space.iter().any(|sets| !sets.is_empty())
    }
}

fn features(
    raw: &mut [RawFeature],
    combine: Combine,
    tree: &Value,
    list: &FieldPath,
    problem: &Problem,
    output: &OutputOptions,
) -> Result<Features, Fault> {
    let dim = problem.dim();
    let mut sets = Sets {
        combine,
        space: vec![Vec::new(); dim],
        joint: None,
        time: Vec::new(),
    };
    for (i, raw) in raw.iter_mut().enumerate() {
        let path = list.index(i);
        let names = raw.of.names().to_vec();
        let repeated = names
            .iter()
            .enumerate()
            .any(|(i, n)| names[..i].contains(n));
        if names.is_empty() || repeated {
            return Err(refuse(path.key("of")));
        }
        let several = matches!(raw.of, Variables::Each(_));
        for name in names {
            let mut one = RawFeature {
                of: Variables::One(name),
                ..raw.clone()
            };
            sets.add(&mut one, tree, &path, problem, output)?;
            if !several {
                *raw = one;
            } else {
                // The default of the range is every variable's own.
                raw.width = one.width;
            }
        }
    }
    if !sets.has_space() {
        return Err(Fault::at(list.clone(), "features of t only")
            .allowed("at least one feature set of a coordinate, such as of = \"x1\""));
    }
    Ok(sets.into_features())
}

/// A set of features of a single variable.
fn one_set(
    raw: &mut RawFeature,
    tree: &Value,
    path: &FieldPath,
    problem: &Problem,
    output: &OutputOptions,
    variable: &Variable,
) -> Result<FeatureSet, Fault> {
    if raw.kind == FeatureKind::Expression {
        return written_set(raw, tree, path, &windows(problem, output, variable));
    }
    let default = match *variable {
        Variable::Space(i) => output.range[i],
        Variable::Time | Variable::All => (problem.t_min, problem.t_max),
    };
    feature_set(raw, tree, path, default)
}

fn variable(raw: &RawFeature, dim: usize, path: &FieldPath) -> Result<Variable, Fault> {
    let of = raw.of.name();
    let joint = joint::is_joint(raw.kind);
    if of == "x" && (joint || dim > 1) {
        return match (joint, dim) {
            (true, 1) => Err(
                Fault::at(path.key("of"), "all coordinates of data with D = 1")
                    .allowed("\"x1\" or \"t\", with another kind: sets of \"x\" are for D >= 2"),
            ),
            (true, _) => Ok(Variable::All),
            (false, _) => Err(Fault::value(path.key("kind")).allowed(format!(
                "{} with of = \"x\"; sets of single coordinates are of = {}",
                joint::KINDS,
                coordinates(dim)
            ))),
        };
    }
    let number = of.strip_prefix('x').and_then(|n| n.parse::<usize>().ok());
    let known = number.filter(|n| (1..=dim).contains(n) && of == format!("x{n}"));
    let found = match known {
        _ if of == "t" => Variable::Time,
        Some(number) => Variable::Space(number - 1),
        None => {
            let all = match (dim, joint) {
                (1, _) => "",
                (_, true) => ", \"x\" (all of them)",
                (_, false) => ", \"x\" (all of them, with kinds of their own)",
            };
            return Err(Fault::at(path.key("of"), format!("{of:?} with D = {dim}"))
                .allowed(format!("{}{all} or \"t\"", coordinates(dim))));
        }
    };
    match joint {
        true => Err(Fault::at(
            path.key("of"),
            format!("{of:?} with a set of all coordinates"),
        )
        .allowed(format!("of = \"x\" (D >= 2) with {}", joint::KINDS))),
        false => Ok(found),
    }
}

/// The names of the coordinates, in words.
fn coordinates(dim: usize) -> String {
    match dim {
        1..=4 => {
            let names: Vec<String> = (1..=dim).map(|i| format!("\"x{i}\"")).collect();
            names.join(", ")
        }
        _ => format!("\"x1\" to \"x{dim}\""),
    }
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
            let widest = component.widest();
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
    let of = raw.of.name();
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
    // `x` is short for the set's own coordinate, so that a list serves several.
    let variables: &[&str] = if of == "t" { &[of] } else { &[of, "x"] };
    let features = texts
        .iter()
        .enumerate()
        .map(|(i, text)| {
            let read = expression::read(text, list.index(i), variables)?;
            Ok(read.substitute("x", &crate::symbolic::Expr::symbol(of)))
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    match Expressions::new(&features, of, windows) {
        Ok(set) => Ok(FeatureSet::Expression(set)),
        Err(fault) => {
            let path = list.index(fault.index);
            let found = match fault.error {
                ExpressionError::NotFinite {
                    order: 0,
                    value,
                    at,
                } => {
                    format!("an expression that is {value:?} at {} = {at:?}", of)
                }
                ExpressionError::NotFinite { order, value, at } => format!(
                    "an expression whose derivative {order} is {value:?} at {} = {at:?}",
                    of
                ),
                other => other.to_string(),
            };
            let allowed = refuse(path.clone()).allowed;
            Err(Fault::at(path, found).allowed(allowed))
        }
    }
}

/// The number of features.
pub(super) fn count(raw: &RawFeature, path: &FieldPath) -> Result<usize, Fault> {
    let path = path.key("count");
    let Some(count) = raw.count else {
        let allowed = allowed_for(&path).unwrap_or_default();
        return Err(Fault::at(path, "nothing").allowed(allowed));
    };
    usize::try_from(count)
        .ok()
        .filter(|n| (1..=MOST_FEATURES).contains(n))
        .ok_or_else(|| refuse(path))
}

fn feature_set(
    raw: &mut RawFeature,
    tree: &Value,
    path: &FieldPath,
    default_range: (f64, f64),
) -> Result<FeatureSet, Fault> {
    let (kind, keys): (_, &[&str]) = match raw.kind {
        FeatureKind::Fourier => ("fourier", &["of", "kind", "count", "range"]),
        FeatureKind::Polynomial => ("polynomial", &["of", "kind", "count", "range"]),
        _ => ("gaussian", &["of", "kind", "count", "range", "width"]),
    };
    refuse_inapplicable(tree, path, &format!("kind = {kind:?}"), keys)?;
    let count = count(raw, path)?;
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
