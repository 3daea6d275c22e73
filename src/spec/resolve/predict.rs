//! `[predict]`.

use serde_json::Value;

use super::{check, count};
use crate::experiment::{
    Method, MonteCarloOptions, OutputOptions, PredictOptions, Process, SamplerOptions, Scheme,
    Start, StatisticsKind,
};
use crate::family::Family;
use crate::problem::{Component, Objective, Problem, StartLaw, Training};
use crate::rivals::{LARGEST_DIMENSION, SmoothedScore};
use crate::spec::error::Fault;
use crate::spec::fields::{refuse, refuse_inapplicable};
use crate::spec::path::FieldPath;
use crate::spec::raw::RawPredict;

/// Defaults of `draws`, `starts`, `tolerance` and `data_sets`.
const DRAWS: u64 = 2000;
const STARTS: u64 = 64;
const TOLERANCE: f64 = 0.02;
const DATA_SETS: u64 = 16;
/// Points of a drawn data set: the posterior sums over all of them at every node.
const MOST_POINTS: f64 = 1e5;

/// What decides which methods apply.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub problem: &'a Problem,
    /// Are the data a low-rank mixture whose ranks are those of the model?
    pub fluctuates: bool,
    pub family: &'a Family,
    pub training: Option<&'a Training>,
    pub sampler: &'a SamplerOptions,
}

/// The theory side.
pub(super) fn resolve(
    raw: &mut RawPredict,
    tree: &Value,
    setting: &Setting<'_>,
    monte_carlo: &MonteCarloOptions,
    output: &OutputOptions,
) -> Result<PredictOptions, Fault> {
    if let Family::LowRank(_) = setting.family {
        return of_subspaces(raw, tree, setting, monte_carlo, output);
    }
    if setting.family.linear().is_none() {
        let path = FieldPath::of("predict");
        refuse_inapplicable(
            tree,
            &path,
            "model.kind = \"naive\"",
            &["methods", "smoothing", "starts"],
        )?;
        let methods = methods(raw, setting, None)?;
        return Ok(PredictOptions {
            statistics: None,
            starts: starts(raw, &methods)?,
            smoothing: smoothing(raw, &methods, setting.problem)?,
            methods,
            draws: count("predict.draws", DRAWS, 2, u64::MAX)?,
            data_sets: None,
            particles: monte_carlo.particles,
            tolerance: TOLERANCE,
            one_loop: false,
            gap: None,
        });
    }
    let one_loop = *raw.one_loop.get_or_insert(false);
    let statistics = statistics(raw, setting, one_loop)?;
    let draws = *raw.draws.get_or_insert(DRAWS);
    let draws = count("predict.draws", draws, 2, u64::MAX)?;
    let data_sets = data_sets(raw, setting, statistics, draws)?;
    let methods = methods(raw, setting, Some(statistics))?;
    if one_loop {
        check_one_loop(&methods, setting)?;
    }
    let starts = starts(raw, &methods)?;
    let gap = gap(raw, &methods, setting.sampler, output)?;
    if gap.is_some() && data_sets.is_some() {
        return Err(Fault::value(FieldPath::of("predict.gap")).allowed(
            "no gap where samples share clean points (training.draws > 1): what fills it is a fluctuation of one problem, not of an average over data sets",
        ));
    }
    let smoothing = smoothing(raw, &methods, setting.problem)?;
    let least = match monte_carlo.start {
        Start::Stratified => 32,
        Start::Random => 8,
    };
    // The resolution of the trained models: bands over single densities are compared at the same.
    let particles = *raw.particles.get_or_insert(monte_carlo.particles as u64);
    let tolerance = match statistics {
        StatisticsKind::QuenchedLayer => *raw.tolerance.get_or_insert(TOLERANCE),
        _ => {
            let path = FieldPath::of("predict.tolerance");
            if raw.tolerance.is_some() {
                return Err(Fault::value(path).allowed(
                    "no tolerance unless predict.statistics is \"quenched-layer\", whose layer it sizes",
                ));
            }
            TOLERANCE
        }
    };
    check("predict.tolerance", tolerance > 0.0 && tolerance < 1.0)?;
    Ok(PredictOptions {
        statistics: Some(statistics),
        methods,
        draws,
        data_sets,
        particles: count("predict.particles", particles, least, u64::MAX)?,
        tolerance,
        one_loop,
        starts,
        smoothing,
        gap,
    })
}

/// Subspaces fluctuate by themselves: there are no statistics of weights to choose.
fn of_subspaces(
    raw: &mut RawPredict,
    tree: &Value,
    setting: &Setting<'_>,
    monte_carlo: &MonteCarloOptions,
    output: &OutputOptions,
) -> Result<PredictOptions, Fault> {
    let keys = ["methods", "draws", "particles", "smoothing"];
    let path = FieldPath::of("predict");
    refuse_inapplicable(tree, &path, "model.kind = \"low-rank\"", &keys)?;
    let methods = match output.has_densities() {
        true => methods(raw, setting, None)?,
        false if raw.methods.is_some() => {
            return Err(Fault::value(path.key("methods"))
                .allowed("nothing with output.densities = false: all methods predict densities"));
        }
        false => Vec::new(),
    };
    let draws = *raw.draws.get_or_insert(DRAWS);
    let particles = *raw.particles.get_or_insert(monte_carlo.particles as u64);
    let smoothing = smoothing(raw, &methods, setting.problem)?;
    Ok(PredictOptions {
        statistics: None,
        methods,
        draws: count("predict.draws", draws, 2, u64::MAX)?,
        data_sets: None,
        particles: count("predict.particles", particles, 8, u64::MAX)?,
        tolerance: TOLERANCE,
        one_loop: false,
        starts: count("predict.starts", STARTS, 8, 100_000)?,
        smoothing,
        gap: None,
    })
}

fn only_with_saddle(key: &str) -> Fault {
    Fault::value(FieldPath::of(key))
        .allowed("nothing without the method \"saddle\", which it belongs to")
}

fn starts(raw: &mut RawPredict, methods: &[Method]) -> Result<usize, Fault> {
    if !methods.contains(&Method::Saddle) {
        return match raw.starts {
            Some(_) => Err(only_with_saddle("predict.starts")),
            None => count("predict.starts", STARTS, 8, 100_000),
        };
    }
    let starts = *raw.starts.get_or_insert(STARTS);
    count("predict.starts", starts, 8, 100_000)
}

/// The width that the score is smoothed by; of no meaning without the method.
fn smoothing(raw: &mut RawPredict, methods: &[Method], problem: &Problem) -> Result<f64, Fault> {
    let path = FieldPath::of("predict.smoothing");
    if !methods.contains(&Method::SmoothedScore) {
        return match raw.smoothing {
            Some(_) => Err(Fault::value(path)
                .allowed("nothing without the method \"smoothed-score\", which it belongs to")),
            None => Ok(0.0),
        };
    }
    let Some(width) = raw
        .smoothing
        .or_else(|| SmoothedScore::default_width(problem))
    else {
        return Err(Fault::at(
            path,
            "nothing, and data without a distance between neighbours",
        )
        .allowed("a finite number > 0"));
    };
    check("predict.smoothing", width > 0.0)?;
    raw.smoothing = Some(width);
    Ok(width)
}

fn gap(
    raw: &RawPredict,
    methods: &[Method],
    sampler: &SamplerOptions,
    output: &OutputOptions,
) -> Result<Option<(f64, f64)>, Fault> {
    let Some([low, high]) = raw.gap else {
        return Ok(None);
    };
    if !methods.contains(&Method::Saddle) {
        return Err(only_with_saddle("predict.gap"));
    }
    if sampler.start == StartLaw::Noised {
        return Err(Fault::value(FieldPath::of("predict.gap")).allowed(
            "no gap with sampler.start = \"noised\": the start is one of the Gaussian variables that are optimised",
        ));
    }
    let inside = output
        .range
        .first()
        .is_some_and(|&(l, h)| l <= low && low < high && high <= h);
    check("predict.gap", inside)?;
    Ok(Some((low, high)))
}

/// The statistics asked for; those of kernel families depend on their training.
fn statistics(
    raw: &mut RawPredict,
    setting: &Setting<'_>,
    one_loop: bool,
) -> Result<StatisticsKind, Fault> {
    let (Some(_), Some(training)) = (setting.family.kernel(), setting.training) else {
        let default = default_statistics(raw, one_loop);
        return Ok(*raw.statistics.get_or_insert(default));
    };
    let default = match training.time {
        // Conditional means of the protocol's own data are the target: first order has them in closed form.
        Some(_) if training.draws > 1 && training.objective == Objective::Esm => {
            StatisticsKind::Sandwich
        }
        // A draw of a flow's layer reads the residuals' law at every node: gigabytes in more than two dimensions.
        Some(_) if setting.problem.dim() > 2 => StatisticsKind::Equivalent,
        _ => default_statistics(raw, one_loop),
    };
    let asked = *raw.statistics.get_or_insert(default);
    if training.time.is_none() && asked == StatisticsKind::Sandwich {
        return Err(Fault::value(FieldPath::of("predict.statistics"))
            .allowed("\"equivalent\" or \"quenched-layer\" with kernel ridge regression"));
    }
    Ok(asked)
}

/// How many data sets are averaged over: none where samples are fresh, or share clean points in closed form.
fn data_sets(
    raw: &mut RawPredict,
    setting: &Setting<'_>,
    statistics: StatisticsKind,
    draws: usize,
) -> Result<Option<usize>, Fault> {
    let path = FieldPath::of("predict.data_sets");
    let shared = setting.training.filter(|t| t.draws > 1);
    let Some(training) = shared.filter(|t| !in_closed_form(setting, t, statistics)) else {
        return match raw.data_sets {
            Some(_) => Err(Fault::value(path).allowed(
                "nothing unless samples share clean points (training.draws > 1), and these are not solved to first order (gradient flow on points with predict.statistics = \"sandwich\")",
            )),
            None => Ok(None),
        };
    };
    if training.objective == Objective::Esm {
        return Err(Fault::value(FieldPath::of("training.objective")).allowed(
            "\"dsm\" where samples share clean points (training.draws > 1); \"esm\" there with gradient flow on points and predict.statistics = \"sandwich\"",
        ));
    }
    let count = count(
        "predict.data_sets",
        *raw.data_sets.get_or_insert(DATA_SETS),
        2,
        u64::MAX,
    )?;
    if 1.0 / training.sharing_probability() > MOST_POINTS {
        let found = format!("{} with {} samples", training.draws, training.samples);
        return Err(Fault::at(FieldPath::of("training.draws"), found).allowed(format!(
            "1, or more: predictions are averages over data sets of (samples - 1)/(draws - 1) points, at most {MOST_POINTS}"
        )));
    }
    if count > draws {
        return Err(Fault::value(path).allowed(format!("at most predict.draws = {draws}")));
    }
    Ok(Some(count))
}

/// Gradient flow on points to first order (D22.12).
fn in_closed_form(setting: &Setting<'_>, training: &Training, statistics: StatisticsKind) -> bool {
    training.time.is_some()
        && statistics == StatisticsKind::Sandwich
        && setting
            .problem
            .data
            .components()
            .iter()
            .all(Component::is_point)
}

/// The most trustworthy statistics that serve the methods asked for.
fn default_statistics(raw: &RawPredict, one_loop: bool) -> StatisticsKind {
    let served = |methods: &Vec<Method>| {
        methods
            .iter()
            .all(|m| m.is_rival() || matches!(m, Method::MeanField | Method::GaussianField))
    };
    if !one_loop && raw.methods.as_ref().is_none_or(served) {
        StatisticsKind::QuenchedLayer
    } else {
        StatisticsKind::Equivalent
    }
}

/// The methods that apply, and the setting that decides it.
fn applicable(setting: &Setting<'_>, statistics: Option<StatisticsKind>) -> (Vec<Method>, String) {
    let (methods, because) = match (setting.family, setting.fluctuates) {
        (Family::LowRank(_), false) => (
            &[Method::MeanField][..],
            "model.kind = \"low-rank\" and data that are no low-rank mixture of the same ranks"
                .into(),
        ),
        _ => on_the_line(setting, statistics),
    };
    // Saddles are found on the line, the Fokker-Planck equation is solved up to the plane.
    let dim = setting.problem.dim();
    let sampler = setting.sampler;
    // Averages over data sets are those of mean weights, of draws, and of densities on the line.
    let averaged = match (setting.training, statistics) {
        (Some(training), Some(statistics)) => {
            training.draws > 1 && !in_closed_form(setting, training, statistics)
        }
        _ => false,
    };
    let one_stage = matches!(sampler.scheme, Scheme::Euler | Scheme::Ddim);
    let solved = |m: &Method| match m {
        Method::Semiclassical => dim == 1 || !averaged,
        Method::Saddle => dim == 1,
        Method::FokkerPlanck => dim == 1 || dim == 2 && sampler.start != StartLaw::Noised,
        // On the line the density of the reverse SDE's own chain, whose steps are a map and noise after it.
        Method::MeanField => dim > 1 || one_stage || sampler.process == Process::PfOde,
        _ => true,
    };
    let own = methods.iter().copied().filter(solved);
    let methods = own.chain(rivals(setting)).collect();
    let because = match averaged {
        true => format!("training.draws > 1, {because}"),
        false => because,
    };
    match dim {
        1 => (methods, because),
        _ => (methods, format!("D = {dim}, {because}")),
    }
}

/// The rival theories: of the flow, and of models that are trained on a number of points.
fn rivals(setting: &Setting<'_>) -> impl Iterator<Item = Method> {
    let dim = setting.problem.dim();
    let flows = setting.sampler.process == Process::PfOde && dim <= LARGEST_DIMENSION;
    // A mean and a covariance need two points.
    let trained = setting.training.is_some_and(|t| t.clean_points() >= 2);
    Method::ALL.into_iter().filter(move |method| {
        flows && method.is_rival() && (trained || *method != Method::LinearRmt)
    })
}

/// The same whatever the dimension.
fn on_the_line(
    setting: &Setting<'_>,
    statistics: Option<StatisticsKind>,
) -> (&'static [Method], String) {
    use Method::{FokkerPlanck, GaussianField, MeanField, Saddle, SampleSum, Semiclassical};
    let (family, sampler) = (setting.family, setting.sampler);
    // The discretised action has one field a step.
    let action = matches!(sampler.scheme, Scheme::Euler | Scheme::Ddim);
    let (methods, setting): (&[Method], &str) = match (family, sampler.process) {
        (Family::Linear(_) | Family::Kernel(_) | Family::Network(_), process) => {
            let statistics = statistics.unwrap_or(StatisticsKind::QuenchedLayer);
            let ode = process == Process::PfOde;
            let methods: &[Method] = match (statistics, ode) {
                (StatisticsKind::Sandwich, true) if action => {
                    &[MeanField, Semiclassical, Saddle, GaussianField]
                }
                (StatisticsKind::Sandwich, true) => &[MeanField, Semiclassical, GaussianField],
                (StatisticsKind::Equivalent, true) if action => {
                    &[MeanField, Semiclassical, Saddle, GaussianField, SampleSum]
                }
                (StatisticsKind::Equivalent, true) => {
                    &[MeanField, Semiclassical, GaussianField, SampleSum]
                }
                (StatisticsKind::QuenchedLayer, true) => &[MeanField, GaussianField],
                (StatisticsKind::Equivalent, false) => &[MeanField, GaussianField, SampleSum],
                (_, false) => &[MeanField, GaussianField],
            };
            let kind = if ode { "pf-ode" } else { "reverse-sde" };
            return (
                methods,
                format!(
                    "model.kind = \"{}\", predict.statistics = \"{}\", sampler.kind = \"{kind}\" and scheme = \"{}\"",
                    family.name(),
                    statistics.name(),
                    sampler.scheme.name()
                ),
            );
        }
        (Family::LowRank(_), _) => (&[MeanField, GaussianField], "model.kind = \"low-rank\""),
        (Family::Naive(naive), Process::PfOde) if naive.kappa > 0.0 && action => (
            &[MeanField, Saddle, FokkerPlanck],
            "model.kind = \"naive\" and kappa > 0",
        ),
        (Family::Naive(naive), Process::PfOde) if naive.kappa > 0.0 => (
            &[MeanField, FokkerPlanck],
            "model.kind = \"naive\", kappa > 0 and a scheme of several stages",
        ),
        (Family::Naive(_), Process::PfOde) => (
            &[MeanField],
            "model.kind = \"naive\", kappa = 0 and sampler.kind = \"pf-ode\"",
        ),
        (Family::Naive(naive), Process::ReverseSde { churn })
            if action && naive.kappa.max(churn) > 0.0 =>
        {
            (
                &[Saddle, FokkerPlanck],
                "model.kind = \"naive\" and sampler.kind = \"reverse-sde\"",
            )
        }
        (Family::Naive(_), Process::ReverseSde { .. }) => (
            &[FokkerPlanck],
            "model.kind = \"naive\", sampler.kind = \"reverse-sde\", and no noise or a scheme of several stages",
        ),
    };
    (methods, setting.to_owned())
}

fn methods(
    raw: &mut RawPredict,
    setting: &Setting<'_>,
    statistics: Option<StatisticsKind>,
) -> Result<Vec<Method>, Fault> {
    let path = FieldPath::of("predict.methods");
    let (applicable, setting) = applicable(setting, statistics);
    if applicable.is_empty() {
        return Err(Fault::at(FieldPath::of("sampler.kind"), setting).allowed(
            "sampler.kind = \"pf-ode\", or a linear model: the reverse SDE with the exact score is solved in D <= 2 (in D = 2 unless sampler.start = \"noised\")",
        ));
    }
    let methods = raw.methods.get_or_insert_with(|| {
        let asked_for = |m: &&Method| **m != Method::Saddle && !m.is_rival();
        applicable.iter().filter(asked_for).copied().collect()
    });
    check("predict.methods", !methods.is_empty())?;
    for (i, method) in methods.iter().enumerate() {
        if !applicable.contains(method) {
            let names: Vec<String> = applicable
                .iter()
                .map(|m| format!("{:?}", m.name()))
                .collect();
            return Err(Fault::value(path.index(i))
                .allowed(format!("with {setting}: {}", names.join(" | "))));
        }
        if methods[..i].contains(method) {
            return Err(refuse(path));
        }
    }
    Ok(methods.clone())
}

fn check_one_loop(methods: &[Method], setting: &Setting<'_>) -> Result<(), Fault> {
    let path = FieldPath::of("predict.one_loop");
    if !methods.contains(&Method::Semiclassical) {
        return Err(Fault::value(path).allowed(
            "false without the method \"semiclassical\", which the correction belongs to",
        ));
    }
    if setting.problem.dim() > 1 {
        return Err(Fault::value(path).allowed("false in more than one dimension"));
    }
    if !matches!(setting.sampler.scheme, Scheme::Euler | Scheme::Ddim) {
        return Err(
            Fault::value(path).allowed("false unless sampler.scheme is \"euler\" or \"ddim\"")
        );
    }
    Ok(())
}
