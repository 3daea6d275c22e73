//! `[map]`.

use super::{check_at, count, output};
use crate::experiment::{
    Experiment, MapOptions, MonteCarloOptions, OutputOptions, PredictOptions, Process,
    SamplerOptions, Scheme, Spacing, Start,
};
use crate::family::{Family, Naive};
use crate::problem::{Problem, StartLaw};
use crate::spec::error::Fault;
use crate::spec::fields::allowed_for;
use crate::spec::path::FieldPath;
use crate::spec::raw::{RawMap, RawSpec};

/// Number of times by default.
const TIMES: usize = 5;
/// Most pixels of all maps of a case: with the text of the result they take about a gigabyte.
const MOST_PIXELS: usize = 20_000_000;
/// Ends of a range whose squares, divided by the smallest sigma^2, still are numbers.
const FARTHEST: f64 = 1e100;

/// The maps of a case.
pub(super) fn resolve(raw: &mut RawMap, problem: &Problem) -> Result<MapOptions, Fault> {
    let dim = problem.dim();
    if dim > 2 {
        return Err(Fault::at(FieldPath::of("data"), format!("D = {dim}"))
            .allowed("D = 1 or 2 with [map]; data.columns or data.pca can reduce a file"));
    }
    let range_path = FieldPath::of("map.range");
    let range = output::ranges(&mut raw.range, problem, range_path.clone())?;
    let near = |(low, high): &(f64, f64)| low.abs() <= FARTHEST && high.abs() <= FARTHEST;
    check_at(range_path, range.iter().all(near))?;
    let default = if dim == 1 { 1000 } else { 200 };
    let points = count("map.points", *raw.points.get_or_insert(default), 2, 2000)?;
    let times = times(raw, problem)?;
    let pixels = times.len().saturating_mul(points.pow(dim as u32));
    if pixels > MOST_PIXELS {
        let found = format!("{} times, {pixels} pixels in all", times.len());
        return Err(
            Fault::at(FieldPath::of("map.times"), found).allowed(format!(
                "at most {MOST_PIXELS} pixels in all maps of a case"
            )),
        );
    }
    Ok(MapOptions {
        times,
        range,
        points,
    })
}

fn times(raw: &mut RawMap, problem: &Problem) -> Result<Vec<f64>, Fault> {
    let (t_min, t_max) = (problem.t_min, problem.t_max);
    let path = FieldPath::of("map.times");
    let times = raw.times.get_or_insert_with(|| {
        let share = |i: usize| i as f64 / (TIMES - 1) as f64;
        let between = |i: usize| t_min * (t_max / t_min).powf(share(i));
        (0..TIMES).map(|i| between(i).clamp(t_min, t_max)).collect()
    });
    check_at(path.clone(), !times.is_empty())?;
    match times.iter().position(|t| !(t_min..=t_max).contains(t)) {
        None => Ok(times.clone()),
        Some(i) => Err(Fault::value(path.index(i)).allowed(format!(
            "a number from diffusion.t_min = {t_min:?} to diffusion.t_max = {t_max:?}"
        ))),
    }
}

/// Refuses what only a model gives a meaning to.
pub(super) fn require_no_model_tables(raw: &RawSpec) -> Result<(), Fault> {
    let given = [
        ("training", raw.training.is_some()),
        ("sampler", raw.sampler.is_some()),
        ("predict", raw.predict.is_some()),
        ("monte_carlo", raw.monte_carlo.is_some()),
        ("output", raw.output.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((table, _)) => Err(Fault::at(
            FieldPath::of(table),
            format!("[{table}] in a spec without [model]"),
        )
        .allowed("without [model]: name, seed, data, diffusion, map, sweep")),
    }
}

/// What must be there if no map is.
pub(super) fn require_model() -> Fault {
    let path = FieldPath::of("model");
    let allowed = allowed_for(&path).unwrap_or_default();
    Fault::at(path, "nothing").allowed(allowed)
}

/// The experiment of a spec that only asks for maps: the exact score, of which nothing is predicted or generated.
pub(super) fn exact_score(
    name: String,
    seed: u64,
    problem: Problem,
    map: &MapOptions,
) -> Experiment {
    Experiment {
        name,
        seed,
        problem,
        family: Family::Naive(Naive { kappa: 0.0 }),
        training: None,
        sampler: SamplerOptions {
            process: Process::PfOde,
            scheme: Scheme::Ddim,
            steps: 1,
            grid: Spacing::Log,
            tolerance: 1e-8,
            start: StartLaw::Normal,
        },
        predict: PredictOptions {
            statistics: None,
            methods: Vec::new(),
            draws: 0,
            data_sets: None,
            particles: 0,
            tolerance: 1.0,
            one_loop: false,
            smoothing: 0.0,
            starts: 0,
            gap: None,
        },
        monte_carlo: MonteCarloOptions {
            models: 0,
            start: Start::Random,
            particles: 0,
        },
        output: OutputOptions {
            range: map.range.clone(),
            bins: 1,
            directions: Vec::new(),
        },
    }
}
