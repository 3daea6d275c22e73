//! Reading specs: defaults, the resolved spec, sweeps, overrides, data files, the schema.

use std::collections::BTreeMap;
use std::path::Path;

use approx::assert_relative_eq;
use proptest::prelude::*;
use serde_json::{Value, json};
use vkernel::experiment::{Experiment, Method, Process, Scheme, Spacing, Start, StatisticsKind};
use vkernel::family::Family;
use vkernel::problem::{Diffusion, Objective, Prediction, StartLaw, Weighting};
use vkernel::spec::{Format, Spec, SpecError, load, parse, spec_schema};

/// The spec of the documentation.
const FULL: &str = r#"
name = "fig2-panel"
seed = 1

[data]
kind = "points"
points = [[-1.0], [0.0], [1.0]]

[diffusion]
kind = "vp"
beta_min = 0.1
beta_delta = 19.9
t_min = 1e-2
t_max = 1.0

[model]
kind = "linear"
predicts = "denoiser"
[[model.features]]
of = "x1"
kind = "gaussian"
count = 16
range = [-1.5, 1.5]
width = 0.5
[[model.features]]
of = "t"
kind = "gaussian"
count = 16
width = 0.5

[training]
objective = "dsm"
weighting = "snr"
samples = 1024
ridge = 0.1

[sampler]
kind = "pf-ode"
scheme = "ddim"
steps = 80
grid = "log"

[predict]
statistics = "sandwich"
methods = ["mean-field", "semiclassical", "gaussian-field"]

[monte_carlo]
models = 2000

[output]
range = [-1.5, 1.5]
bins = 60

[sweep]
"training.samples" = [64, 128]
"diffusion.t_min" = [1e-4, 1e-3, 1e-2]
"#;

const SHORT: &str = r#"
[data]
kind = "points"
points = [[-1.0], [1.0]]
[diffusion]
kind = "vp"
[model]
kind = "linear"
[[model.features]]
of = "x1"
kind = "fourier"
count = 8
"#;

const NAIVE: &str = r#"
[data]
kind = "mixture"
means = [[-1.0], [1.0]]
stds = [[0.1], [0.2]]
weights = [0.25, 0.75]
[diffusion]
kind = "edm"
[model]
kind = "naive"
"#;

fn read_with(text: &str, overrides: &[&str]) -> Result<Spec, SpecError> {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    parse(
        text,
        Format::Toml,
        "dir/spec.toml",
        Path::new("."),
        &overrides,
        None,
    )
}

fn read(text: &str) -> Spec {
    read_with(text, &[]).unwrap()
}

fn only(text: &str) -> Experiment {
    let mut spec = read(text);
    assert_eq!(spec.cases.len(), 1);
    spec.cases.remove(0).experiment
}

fn reread(resolved: &Value) -> Spec {
    let text = resolved.to_string();
    parse(&text, Format::Json, "again.json", Path::new("."), &[], None).unwrap()
}

/// Experiments hold no equality; their debug text shows every number in full.
fn shown(experiment: &Experiment) -> String {
    format!("{experiment:?}")
}

#[test]
fn defaults_of_the_linear_family() {
    let e = only(SHORT);
    assert_eq!((e.name.as_str(), e.seed), ("spec", 0));
    assert_eq!(
        e.problem.diffusion,
        Diffusion::Vp {
            beta_min: 0.1,
            beta_delta: 19.9
        }
    );
    assert_eq!((e.problem.t_min, e.problem.t_max), (1e-2, 1.0));
    let training = e.training.as_ref().unwrap();
    assert_eq!((training.samples, training.ridge), (1024, 0.1));
    assert_eq!(training.objective, Objective::Dsm);
    assert_eq!(training.weighting, Weighting::Snr);
    assert_eq!(e.sampler.process, Process::PfOde);
    assert_eq!(e.sampler.scheme, Scheme::Ddim);
    assert_eq!((e.sampler.steps, e.sampler.grid), (80, Spacing::Log));
    assert_eq!(e.predict.statistics, Some(StatisticsKind::QuenchedLayer));
    assert_eq!(
        e.predict.methods,
        [Method::MeanField, Method::GaussianField]
    );
    assert_eq!((e.predict.draws, e.predict.one_loop), (2000, false));
    assert_eq!((e.predict.particles, e.predict.tolerance), (256, 0.02));
    assert_eq!((e.monte_carlo.models, e.monte_carlo.particles), (1000, 256));
    assert_eq!(e.monte_carlo.start, Start::Stratified);
    // A quarter of the spread of 2, which is more than four standard deviations of the noise at t_min.
    assert_eq!(e.output.range, [(-1.5, 1.5)]);
    assert_eq!(e.output.bins, 60);
    let Family::Linear(linear) = e.family else {
        panic!("not linear")
    };
    assert_eq!(linear.predicts, Prediction::Denoiser);
    assert_eq!((linear.features.len(), linear.features.time.len()), (8, 1));
}

#[test]
fn defaults_that_depend_on_the_setting() {
    let exact = only(NAIVE);
    assert!(exact.training.is_none() && exact.predict.statistics.is_none());
    assert_eq!(exact.predict.methods, [Method::MeanField]);
    assert_eq!(
        (exact.monte_carlo.models, exact.monte_carlo.particles),
        (100, 256)
    );
    assert_eq!((exact.problem.t_min, exact.problem.t_max), (2e-3, 80.0));
    assert_eq!(exact.sampler.scheme, Scheme::Ddim);
    let margin = 4.0 * f64::sqrt(0.04 + 4e-6);
    assert_relative_eq!(exact.output.range[0].1, 1.0 + margin, epsilon = 1e-12);

    let noisy = only(&format!("{NAIVE}kappa = 0.1\n"));
    assert_eq!(
        noisy.predict.methods,
        [Method::MeanField, Method::FokkerPlanck]
    );
    assert_eq!(noisy.sampler.scheme, Scheme::Euler);
    assert_eq!(
        (noisy.monte_carlo.start, noisy.monte_carlo.particles),
        (Start::Random, 4096)
    );

    let sde = only(&format!("{NAIVE}[sampler]\nkind = \"reverse-sde\"\n"));
    assert_eq!(sde.sampler.process, Process::ReverseSde { churn: 1.0 });
    assert_eq!(sde.predict.methods, [Method::FokkerPlanck]);

    let sde = only(&format!(
        "{SHORT}[sampler]\nkind = \"reverse-sde\"\nchurn = 0.5\n"
    ));
    assert_eq!(sde.sampler.process, Process::ReverseSde { churn: 0.5 });
    assert_eq!(
        sde.predict.methods,
        [Method::MeanField, Method::GaussianField]
    );
    assert_eq!(sde.monte_carlo.start, Start::Random);
    // A step of several stages is no map with noise after it.
    let heun = only(&format!(
        "{SHORT}[sampler]\nkind = \"reverse-sde\"\nscheme = \"heun\"\n"
    ));
    assert_eq!(heun.predict.methods, [Method::GaussianField]);

    assert_eq!(sde.sampler.start, StartLaw::Normal);
    for (name, law) in [
        ("normal", StartLaw::Normal),
        ("standard", StartLaw::Standard),
        ("noised", StartLaw::Noised),
    ] {
        let spec = only(&format!("{SHORT}[sampler]\nstart = \"{name}\"\n"));
        assert_eq!(spec.sampler.start, law);
    }

    let adaptive = only(&format!("{SHORT}[sampler]\nscheme = \"adaptive\"\n"));
    assert_eq!(adaptive.sampler.tolerance, 1e-8);
    let flow = only(&SHORT.replace("vp", "flow"));
    assert_eq!((flow.problem.t_min, flow.problem.t_max), (1e-2, 1.0));
    let ou = only(&SHORT.replace("vp", "ou"));
    assert_eq!((ou.problem.t_min, ou.problem.t_max), (1e-2, 5.0));
    let point = only(
        &NAIVE
            .replace("[[-1.0], [1.0]]", "[[2.0], [2.0]]")
            .replace("[[0.1], [0.2]]", "[[0], [0]]"),
    );
    assert_eq!(point.output.range, [(1.5, 2.5)]);
}

/// The most trustworthy statistics that serve the methods: the layer for mean and Gaussian field, the equivalent else.
#[test]
fn default_statistics_follow_the_methods() {
    let kind = |predict: &str| {
        let e = only(&format!("{SHORT}[predict]\n{predict}\n"));
        (e.predict.statistics.unwrap(), e.predict.methods)
    };
    use Method::{GaussianField, MeanField, SampleSum, Semiclassical};
    assert_eq!(
        kind("methods = [\"gaussian-field\"]"),
        (StatisticsKind::QuenchedLayer, vec![GaussianField])
    );
    assert_eq!(
        kind("methods = [\"semiclassical\"]"),
        (StatisticsKind::Equivalent, vec![Semiclassical])
    );
    assert_eq!(
        kind("one_loop = true"),
        (
            StatisticsKind::Equivalent,
            vec![MeanField, Semiclassical, GaussianField, SampleSum]
        )
    );
    assert_eq!(
        kind("statistics = \"sandwich\""),
        (
            StatisticsKind::Sandwich,
            vec![MeanField, Semiclassical, GaussianField]
        )
    );
}

#[test]
fn feature_sets_become_factors() {
    let text = format!(
        "{SHORT}[[model.features]]\nof = \"x1\"\nkind = \"polynomial\"\ncount = 3\n\
         [[model.features]]\nof = \"t\"\nkind = \"gaussian\"\ncount = 4\n"
    );
    let Family::Linear(linear) = only(&text).family else {
        panic!("not linear")
    };
    assert_eq!(linear.features.space.dim(), 1);
    assert_eq!(linear.features.space_len(), 24);
    assert_eq!(linear.features.len(), 96);
    // Four centres on [t_min, t_max] = [0.01, 1]: spacing 0.33, width one half of it.
    assert_relative_eq!(linear.features.time.scale(), 0.165, epsilon = 1e-12);
}

#[test]
fn the_resolved_spec_fills_in_every_default() {
    let spec = read(SHORT);
    assert_eq!(
        spec.resolved,
        json!({
            "name": "spec",
            "seed": 0,
            "data": { "kind": "points", "points": [[-1.0], [1.0]] },
            "diffusion": { "kind": "vp", "beta_min": 0.1, "beta_delta": 19.9, "convention": "vastola", "t_min": 0.01, "t_max": 1.0 },
            "model": { "kind": "linear", "predicts": "denoiser", "features": [
                { "of": "x1", "kind": "fourier", "count": 8, "range": [-1.5, 1.5] }
            ] },
            "training": { "objective": "dsm", "weighting": "snr", "samples": 1024, "ridge": 0.1 },
            "sampler": { "kind": "pf-ode", "scheme": "ddim", "steps": 80, "grid": "log", "start": "normal" },
            "predict": {
                "statistics": "quenched-layer",
                "methods": ["mean-field", "gaussian-field"],
                "draws": 2000,
                "particles": 256,
                "tolerance": 0.02,
                "one_loop": false
            },
            "monte_carlo": { "models": 1000, "start": "stratified", "particles": 256 },
            "output": { "range": [[-1.5, 1.5]], "bins": 60 }
        })
    );
    assert_eq!(spec.cases[0].resolved, spec.resolved);
}

/// Reading a resolved spec gives the same experiments, and the same resolved spec.
fn check_round_trip(spec: &Spec) {
    let again = reread(&spec.resolved);
    assert_eq!(again.resolved, spec.resolved);
    assert_eq!(again.cases.len(), spec.cases.len());
    let by_values: BTreeMap<String, &vkernel::spec::Case> = again
        .cases
        .iter()
        .map(|c| (format!("{:?}", c.assignments), c))
        .collect();
    for case in &spec.cases {
        let other = by_values[&format!("{:?}", case.assignments)];
        assert_eq!(shown(&other.experiment), shown(&case.experiment));
        assert_eq!(other.resolved, case.resolved);
        let alone = reread(&case.resolved);
        assert_eq!(alone.cases.len(), 1);
        assert_eq!(shown(&alone.cases[0].experiment), shown(&case.experiment));
        assert_eq!(alone.cases[0].resolved, case.resolved);
    }
}

#[test]
fn resolved_specs_round_trip() {
    let three = NAIVE.replace(
        "means = [[-1.0], [1.0]]\nstds = [[0.1], [0.2]]\nweights = [0.25, 0.75]",
        "means = [[0.1], [0.2], [0.7]]\ncovariances = [[[0.1]], [[0.2]], [[0.3]]]",
    );
    for text in [
        FULL.to_owned(),
        SHORT.to_owned(),
        NAIVE.to_owned(),
        three,
        SHORT.replace(
            "[[-1.0], [1.0]]",
            "[[0.1], [0.2], [0.7]]\nweights = [0.1, 0.2, 0.7]",
        ),
        format!("{SHORT}[sampler]\nscheme = \"adaptive\"\n"),
        // Defaults that differ from case to case: methods, start, training, ranges.
        format!("{NAIVE}[sweep]\n\"model.kappa\" = [0.0, 0.1]\n"),
        format!(
            "{SHORT}[sweep]\n\"data.points\" = [[[0.0]], [[-2.0], [3.0]]]\n\"sampler.kind\" = [\"pf-ode\", \"reverse-sde\"]\n"
        ),
        format!(
            "{NAIVE}[sweep]\nmodel = [{{ kind = \"naive\" }}, {{ kind = \"linear\", features = [{{ of = \"x1\", kind = \"fourier\", count = 4 }}] }}]\n"
        ),
        format!("{SHORT}[sweep]\n\"model.features.0.count\" = [4, 6]\nseed = [1, 2]\n"),
    ] {
        check_round_trip(&read(&text));
    }
}

#[test]
fn defaults_that_differ_between_cases_stay_open() {
    let spec = read(&format!("{NAIVE}[sweep]\n\"model.kappa\" = [0.0, 0.1]\n"));
    assert_eq!(spec.resolved["model"], json!({ "kind": "naive" }));
    assert_eq!(spec.resolved["predict"], json!({}));
    assert_eq!(spec.resolved["monte_carlo"], json!({ "models": 100 }));
    assert_eq!(spec.resolved["sweep"], json!({ "model.kappa": [0.0, 0.1] }));
    assert_eq!(
        spec.cases[1].resolved["monte_carlo"]["particles"],
        json!(4096)
    );
    assert!(spec.cases[1].resolved.get("sweep").is_none());
}

#[test]
fn sweeps_run_in_the_order_of_the_file() {
    let spec = read(FULL);
    let order: Vec<(u64, f64)> = spec
        .cases
        .iter()
        .map(|c| {
            let samples = c.assignments["training.samples"].as_u64().unwrap();
            let t_min = c.assignments["diffusion.t_min"].as_f64().unwrap();
            assert_eq!(
                c.experiment.training.as_ref().unwrap().samples as u64,
                samples
            );
            assert_eq!(c.experiment.problem.t_min, t_min);
            assert_eq!(c.resolved["training"]["samples"], json!(samples));
            (samples, t_min)
        })
        .collect();
    let expected = [
        (64, 1e-4),
        (64, 1e-3),
        (64, 1e-2),
        (128, 1e-4),
        (128, 1e-3),
        (128, 1e-2),
    ];
    assert_eq!(order, expected);
    // The time features follow the swept cutoff.
    let range = |i: usize| spec.cases[i].resolved["model"]["features"][1]["range"].clone();
    assert_eq!(
        (range(0), range(2)),
        (json!([1e-4, 1.0]), json!([1e-2, 1.0]))
    );
}

/// Cases of a sweep share what their kernels are expanded in; none gets another's.
#[test]
fn swept_kernels_are_those_of_their_cases() {
    let problem = "diffusion = { kind = \"vp\" }\ntraining = { samples = 64, time = 1.0 }\n[data]\nkind = \"points\"\npoints = [[-1.0], [1.0]]\n";
    let kernel = "[model]\nkind = \"kernel\"\nkernels = [{ of = \"xt\", kind = \"rbf\", length = 2.0 }]\n[sweep]\n\"training.time\" = [1.0, 2.0]\n\"model.kernels.0.length\" = [2.0, 3.0]\n\"model.predicts\" = [\"denoiser\", \"noise\"]\n\"diffusion.t_min\" = [0.1, 0.2]";
    let network = "[model]\nkind = \"ntk\"\n[sweep]\n\"diffusion.t_min\" = [0.1]\n\"training.samples\" = [32, 64]\n\"model.depth\" = [1, 2]\n\"model.initial\" = [\"random\", \"zero\"]";
    for (model, cases) in [(kernel, 16), (network, 8)] {
        let text = format!("{problem}{model}");
        let spec = read(&text);
        assert_eq!(spec.cases.len(), cases);
        for case in &spec.cases {
            let overrides: Vec<String> = (case.assignments.iter())
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
            let alone = read_with(&text, &overrides).unwrap();
            assert_eq!(shown(&case.experiment), shown(&alone.cases[0].experiment));
        }
    }
}

#[test]
fn sweep_keys_may_be_nested_and_address_elements() {
    let quoted = read(FULL);
    let nested = FULL.replace("\"training.samples\" =", "training.samples =");
    let nested = read(&nested);
    assert_eq!(nested.resolved, quoted.resolved);
    assert_eq!(nested.cases.len(), 6);
    let elements = read(&format!(
        "{SHORT}[sweep]\n\"model.features[0].count\" = [4, 6]\n"
    ));
    assert_eq!(
        elements.cases[1].assignments["model.features.0.count"],
        json!(6)
    );
    assert_eq!(
        elements.cases[1].resolved["model"]["features"][0]["count"],
        json!(6)
    );
}

#[test]
fn json_and_toml_are_one_language() {
    let tree: toml::Table = FULL.parse().unwrap();
    let text = serde_json::to_string_pretty(&tree).unwrap();
    let path = Path::new(".");
    let json = parse(&text, Format::Json, "dir/spec.json", path, &[], None).unwrap();
    let toml = read(FULL);
    assert_eq!(json.resolved, toml.resolved);
    // The text is sorted by key, and so are its cases.
    for (i, j) in [(0, 0), (1, 3), (2, 1), (3, 4), (4, 2), (5, 5)] {
        let (a, b) = (&json.cases[i], &toml.cases[j]);
        assert_eq!(a.assignments, b.assignments);
        assert_eq!(shown(&a.experiment), shown(&b.experiment));
    }
}

#[test]
fn named_cases_lie_over_the_rest_of_the_spec() {
    let text = format!(
        "{SHORT}[[sweep.case]]\nlabel = \"few\"\ntraining = {{ samples = 64 }}\n\n[[sweep.case]]\nlabel = \"other points\"\ndata = {{ points = [[0.0], [2.0]] }}\nseed = 5\n"
    );
    let spec = read(&text);
    let labels: Vec<&Value> = spec.cases.iter().map(|c| &c.assignments["case"]).collect();
    assert_eq!(labels, [&json!("few"), &json!("other points")]);
    let [few, other] = &spec.cases[..] else {
        panic!("{} cases", spec.cases.len());
    };
    let samples = |case: &vkernel::spec::Case| case.experiment.training.as_ref().unwrap().samples;
    assert_eq!(samples(few), 64);
    assert_ne!(samples(other), 64);
    assert_eq!(other.experiment.seed, 5);
    assert_eq!(other.resolved["data"]["kind"], few.resolved["data"]["kind"]);
    assert_eq!(other.resolved["data"]["points"], json!([[0.0], [2.0]]));
    // The resolved spec gives the same cases again.
    let again = parse(
        &spec.resolved.to_string(),
        Format::Json,
        "again",
        Path::new("."),
        &[],
        None,
    );
    let again = again.unwrap();
    for (a, b) in spec.cases.iter().zip(&again.cases) {
        assert_eq!((&a.resolved, &a.assignments), (&b.resolved, &b.assignments));
    }
    // An override holds in every case.
    let overridden = read_with(&text, &["training.samples=32"]).unwrap();
    assert!(overridden.cases.iter().all(|c| samples(c) == 32));
}

#[test]
fn the_order_of_json_sweeps_is_that_of_the_file() {
    let text = read(SHORT).resolved.to_string();
    let swept = text.replacen(
        '{',
        "{\"sweep\":{\"training.samples\":[1,2],\n\"seed\":[3,4]},",
        1,
    );
    let spec = parse(&swept, Format::Json, "a.json", Path::new("."), &[], None).unwrap();
    let order: Vec<_> = spec
        .cases
        .iter()
        .map(|c| {
            (
                c.experiment.training.as_ref().unwrap().samples,
                c.experiment.seed,
            )
        })
        .collect();
    assert_eq!(order, [(1, 3), (1, 4), (2, 3), (2, 4)]);
}

#[test]
fn overrides_change_the_tree() {
    let spec = read_with(
        SHORT,
        &[
            "training.samples=64",
            "model.features.0.count=4",
            "model.features[0].range=[-2, 2]",
            "name=other",
            "sampler.scheme=euler",
            "output={ bins = 10 }",
            "diffusion.kind=\"ou\"",
        ],
    )
    .unwrap();
    let e = &spec.cases[0].experiment;
    assert_eq!(e.training.as_ref().unwrap().samples, 64);
    assert_eq!((spec.name.as_str(), e.output.bins), ("other", 10));
    assert_eq!(e.sampler.scheme, Scheme::Euler);
    assert_eq!(e.problem.diffusion, Diffusion::Ou);
    let feature = &spec.resolved["model"]["features"][0];
    assert_eq!(
        (&feature["count"], &feature["range"]),
        (&json!(4), &json!([-2.0, 2.0]))
    );
}

#[test]
fn overrides_and_sweeps() {
    let cases = |overrides: &[&str]| read_with(FULL, overrides).unwrap().cases.len();
    assert_eq!(cases(&[]), 6);
    // An override of a swept key, or of a table around it, replaces its sweep.
    assert_eq!(cases(&["training.samples=64"]), 3);
    assert_eq!(cases(&["training={ samples = 64 }"]), 3);
    assert_eq!(cases(&["sweep.\"training.samples\"=[64]"]), 3);
    assert_eq!(cases(&["sweep.training.samples=[64, 65, 66]"]), 9);
    assert_eq!(cases(&["sweep.\"training.ridge\"=[0.1, 0.2]"]), 12);
    assert_eq!(cases(&["sweep={}"]), 1);
    let spec = read_with(FULL, &["training.samples=64"]).unwrap();
    assert_eq!(
        spec.cases[0].experiment.training.as_ref().unwrap().samples,
        64
    );
    assert!(!spec.cases[0].assignments.contains_key("training.samples"));
}

#[test]
fn the_seed_can_be_given_apart() {
    let path = Path::new(".");
    let spec = parse(SHORT, Format::Toml, "a.toml", path, &[], Some(7)).unwrap();
    assert_eq!((spec.seed, spec.cases[0].experiment.seed), (7, 7));
    assert_eq!(spec.resolved["seed"], json!(7));
    let swept = format!("{SHORT}[sweep]\nseed = [1, 2]\n");
    let spec = parse(&swept, Format::Toml, "a.toml", path, &[], Some(7)).unwrap();
    assert_eq!(spec.cases.len(), 1);
}

#[test]
fn errors_name_their_line() {
    let line = |text: &str, overrides: &[&str]| {
        let error = read_with(text, overrides).unwrap_err().to_string();
        error.lines().next().unwrap().to_owned()
    };
    let bad = FULL.replace("ridge = 0.1", "ridge = -0.1");
    assert_eq!(line(&bad, &[]), "dir/spec.toml:35: training.ridge");
    let bad = FULL.replace("count = 16\nrange", "count = -1\nrange");
    assert_eq!(line(&bad, &[]), "dir/spec.toml:22: model.features[0].count");
    assert_eq!(
        line(FULL, &["training.ridge=-1"]),
        "--set training.ridge=-1: training.ridge"
    );
    let bad = FULL.replace("[64, 128]", "[64,\n 0]");
    assert_eq!(line(&bad, &[]), "dir/spec.toml:55: training.samples");
}

/// Reads `name` with the content `bytes` as data of dimension one.
fn data_file(name: &str, bytes: &[u8], keys: &str) -> Spec {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), bytes).unwrap();
    let file = dir.path().join("spec.toml");
    let table = format!("kind = \"file\"\npath = \"{name}\"\n{keys}");
    std::fs::write(
        &file,
        SHORT.replace("kind = \"points\"\npoints = [[-1.0], [1.0]]", &table),
    )
    .unwrap();
    let spec = load(&file, &[], None).unwrap();
    // The resolved spec reads the same file.
    let resolved = spec.resolved.to_string();
    let again = parse(&resolved, Format::Json, "a.json", dir.path(), &[], None).unwrap();
    assert_eq!(
        shown(&again.cases[0].experiment),
        shown(&spec.cases[0].experiment)
    );
    spec
}

fn points(spec: &Spec) -> (Vec<f64>, Vec<f64>) {
    let data = &spec.cases[0].experiment.problem.data;
    let points = data.components().iter().map(|c| c.mean[0]).collect();
    (points, data.weights().to_vec())
}

#[test]
fn csv_rows_become_points_and_equal_rows_merge() {
    let csv = b"a, b\n1,2\n3,4\n5, 2.0\n\"7\",2\n";
    let spec = data_file("d.csv", csv, "columns = [\"b\"]");
    assert_eq!(points(&spec), (vec![2.0, 4.0], vec![0.75, 0.25]));
    assert_eq!(spec.name, "spec");
    let data = &spec.resolved["data"];
    assert_eq!(data["path"], json!("d.csv"));
    assert_eq!(data["standardize"], json!(false));
    assert!(data.get("points").is_none());
    let spec = data_file("d.csv", csv, "columns = [0]\nmax_rows = 3");
    assert_eq!(points(&spec).0, [1.0, 3.0, 5.0]);
    let spec = data_file("d.csv", b"a\n0.0\n-0.0\n", "");
    assert_eq!(points(&spec), (vec![0.0], vec![1.0]));
}

#[test]
fn columns_are_standardised() {
    let spec = data_file("d.csv", b"a\n1\n2\n3\n", "standardize = true");
    let z = f64::sqrt(1.5);
    let (points, weights) = points(&spec);
    for (p, expected) in points.iter().zip([-z, 0.0, z]) {
        assert_relative_eq!(*p, expected, epsilon = 1e-14);
    }
    assert_eq!(weights, [1.0 / 3.0; 3]);
}

#[test]
fn pca_projects_on_the_leading_axis() {
    // Along (3, 4)/5 with a little across it: the axis is known by symmetry.
    let mut csv = "a,b\n".to_owned();
    for (along, across) in [(-2.0, 0.0), (2.0, 0.0), (0.0, 0.5), (0.0, -0.5)] {
        let (a, b) = (0.6 * along - 0.8 * across, 0.8 * along + 0.6 * across);
        csv.push_str(&format!("{},{}\n", 10.0 + a, b - 20.0));
    }
    let spec = data_file("d.csv", csv.as_bytes(), "pca = 1");
    let (points, _) = points(&spec);
    for (p, expected) in points.iter().zip([-2.0, 2.0, 0.0, 0.0]) {
        assert_relative_eq!(*p, expected, epsilon = 1e-12);
    }
}

fn npy(descr: &str, order: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values);
    bytes
}

#[test]
fn npy_arrays_of_every_layout() {
    let f8: Vec<u8> = [1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let big: Vec<u8> = [1.0_f64, 2.0]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    let f4: Vec<u8> = [1.5_f32, 2.5]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let i8s: Vec<u8> = [-1_i64, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
    let i2: Vec<u8> = [-1_i16, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
    for (bytes, keys, expected) in [
        (
            npy("<f8", "False", "(6,)", &f8),
            "",
            vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        ),
        (
            npy("<f8", "False", "(3, 2)", &f8),
            "columns = [1]",
            vec![2.0, 4.0, 6.0],
        ),
        (
            npy("<f8", "True", "(3, 2)", &f8),
            "columns = [1]",
            vec![4.0, 5.0, 6.0],
        ),
        (
            npy("<f8", "False", "(3, 2)", &f8),
            "columns = [0]\nmax_rows = 2",
            vec![1.0, 3.0],
        ),
        (npy(">f8", "False", "(2, 1)", &big), "", vec![1.0, 2.0]),
        (npy("<f4", "False", "(2,)", &f4), "", vec![1.5, 2.5]),
        (npy("<i8", "False", "(2,)", &i8s), "", vec![-1.0, 7.0]),
        (npy("<i2", "False", "(2,)", &i2), "", vec![-1.0, 7.0]),
        (npy("|u1", "False", "(2,)", &[0, 255]), "", vec![0.0, 255.0]),
        (npy("|i1", "False", "(2,)", &[0, 255]), "", vec![0.0, -1.0]),
    ] {
        assert_eq!(
            points(&data_file("d.npy", &bytes, keys)).0,
            expected,
            "{keys}"
        );
    }
}

#[test]
fn the_memory_of_a_case_is_estimated() {
    let spec = read(SHORT);
    let need = vkernel::spec::MemoryEstimate::of(&spec.cases[0].experiment);
    assert_eq!((need.features, need.samples), (8, 1024));
    // Of 256 samples sqrt(lambda), 8 features of space, the constant of time, the target and the rows; the matrix, twice the weights.
    let held = (1 + 8 + 1 + 1) * 256 + 8 * 8 + 2 * 8;
    assert_eq!(need.training_per_thread, 8 * (held + 8 * 256));
    // Twelve matrices, and per node of the first two quadratures the features of space and 24 numbers.
    assert!((1_000..1_000_000).contains(&need.nodes), "{}", need.nodes);
    assert_eq!(
        need.statistics,
        12 * 8 * 8 * 8 + 5 * need.nodes * (8 + 24) * 8
    );
    // The action: the factor of the covariance, and 8 fluctuations by 8 features of space at every step. With saddles, two
    // vectors of 8 for each of 400 points of the lines of 10 starts.
    let steps = spec.cases[0].experiment.sampler.steps as u64;
    let action = 8 * (8 * 8 + 8 * 8 * steps);
    let lines = 10 * 400 * 2 * 8 * 8;
    for (predict, expected) in [
        ("one_loop = true", action),
        ("methods = [\"saddle\"]\nstarts = 10", action + lines),
    ] {
        let with = read(&format!("{SHORT}[predict]\n{predict}\n"));
        let more = vkernel::spec::MemoryEstimate::of(&with.cases[0].experiment).statistics;
        assert_eq!(more - need.statistics, expected, "{predict}");
    }
    // Two running averages: sums, squares and 200 bootstrap replicates, and 1537 counts, per bin. The number of models
    // does not enter.
    assert_eq!(need.densities, 2 * 60 * (8 * 202 + 4 * 1537 + 8));
    let per_thread = need.models_per_thread() + need.sampling_per_thread;
    assert_eq!(need.total(4) - need.total(1), 3 * per_thread);
    spec.check_memory(2).unwrap();
    assert!(spec.check_memory(usize::MAX).is_err());
}

/// Two points in the plane and one set of features, the same for both coordinates and time.
const PLANE: &str = r#"
[data]
kind = "points"
points = [[-1.0, 0.0], [1.0, 0.5]]
[diffusion]
kind = "vp"
[model]
kind = "linear"
[[model.features]]
of = ["x1", "x2", "t"]
kind = "gaussian"
count = 4
[training]
samples = 60
"#;

/// Training keeps factors, not rows; and every density is an ensemble.
#[test]
fn the_memory_of_a_case_in_the_plane_is_estimated() {
    let need = |changes: &[&str]| {
        let spec = read_with(PLANE, changes).unwrap();
        vkernel::spec::MemoryEstimate::of(&spec.cases[0].experiment)
    };
    let (few, many) = (need(&[]), need(&["training.samples=1000000"]));
    assert_eq!((few.features, few.samples), (64, 60));
    // The dual form, P = 60: factors of 12 features with sqrt(lambda), and two targets of every sample, P x P, and twice the
    // weights; a copy of the factors and a panel of 64 columns.
    let held = (13 + 2) * 60 + 60 * 60 + 2 * 2 * 64;
    assert_eq!(few.training_per_thread, 8 * (held + (13 + 64) * 60));
    // Drawn layers keep rows.
    assert_eq!(few.layer_per_thread, 8 * (64 * 60 + 64 * 64));
    // P >= F: seven product functions per factor, so 49 of space times 7 of time; the factors and the functions of space of 256
    // samples. P does not enter.
    let held = (13 + 2) * 256 + 64 * 64 + 2 * 2 * 64 + 49 * 7;
    assert_eq!(many.training_per_thread, 8 * (held + 49 * 256));
    let sandwich = need(&["training.samples=1000000", "predict.statistics=sandwich"]);
    assert_eq!(sandwich.layer_per_thread, 0);
    assert!(sandwich.total(2) < many.total(2) / 2);
    // Mean field, Gaussian field, data, exact score and trained models; 30 x 30 bins with sketches, and without them five
    // moments, distances in 30 bins and beyond, the memorised share, one strip and two discs.
    let per_bin = 8 * 202 + 4 * 1537 + 8;
    let values = 5 + 32 + 1 + 1 + 2;
    assert_eq!(few.densities, 5 * (900 * per_bin + values * 8 * 202));
    assert!(read_with(PLANE, &["output.bins=10000"]).is_err());
}

/// What `check` says of the setting of Fig. 3, against what `cargo bench --bench plane` measures: within a factor of three, on one
/// thread.
#[test]
fn the_time_of_a_case_in_the_plane_is_estimated() {
    use vkernel::monte_carlo::Trainer;
    let text = PLANE.replace("count = 4", "count = 10");
    let rate = 1.5e10;
    for (samples, measured) in [(500, 2.5e-3), (2000, 0.027), (8000, 0.038)] {
        let e = only(&text.replace("samples = 60", &format!("samples = {samples}")));
        let Family::Linear(linear) = &e.family else {
            panic!("a linear family");
        };
        let estimated = Trainer::cost(linear, samples).flops / rate;
        let ratio = estimated / measured;
        assert!((1.0 / 3.0..3.0).contains(&ratio), "P = {samples}: {ratio}");
    }
    // In all: the statistics and drawn layers of about a minute of one thread, and little for two models.
    let overrides = [
        "predict.draws=2",
        "monte_carlo.models=2",
        "training.samples=2000",
    ];
    let spec = read_with(&text, &overrides).unwrap();
    let printed = vkernel::run::work_ahead(&spec, 1);
    let seconds = seconds_in(printed.lines().last().unwrap());
    assert!((20.0..240.0).contains(&seconds), "{printed}");
    // Few features without factors on scattered points: the nodes cost more than everything else.
    let cube = PLANE
        .replace("[[-1.0, 0.0], [1.0, 0.5]]", "[[-1.0, 0.0, 0.3], [1.0, 0.5, 0.0], [0.0, 0.0, -1.0]]")
        .replace(
            "of = [\"x1\", \"x2\", \"t\"]\nkind = \"gaussian\"\ncount = 4",
            "of = \"x\"\nkind = \"random-fourier\"\ncount = 20\n[[model.features]]\nof = \"t\"\nkind = \"gaussian\"\ncount = 4",
        );
    let printed = vkernel::run::work_ahead(&read_with(&cube, &overrides[..2]).unwrap(), 1);
    let seconds = seconds_in(printed.lines().last().unwrap());
    // Measured: 146 s.
    assert!((45.0..450.0).contains(&seconds), "{printed}");
}

/// The seconds in "about 12.3 s" or "about 4 min".
fn seconds_in(line: &str) -> f64 {
    let (_, after) = line.split_once("about ").unwrap();
    let mut words = after.split_whitespace();
    let number: f64 = words.next().unwrap().parse().unwrap();
    match words.next().unwrap() {
        "min" => 60.0 * number,
        _ => number,
    }
}

#[test]
fn one_set_of_several_variables() {
    let short = only(PLANE);
    let long = only(
        &PLANE.replace(
            "of = [\"x1\", \"x2\", \"t\"]\nkind = \"gaussian\"\ncount = 4",
            &["x1", "x2", "t"]
                .map(|of| format!("of = {of:?}\nkind = \"gaussian\"\ncount = 4"))
                .join("\n[[model.features]]\n"),
        ),
    );
    assert_eq!(format!("{:?}", short.family), format!("{:?}", long.family));
    let Family::Linear(linear) = &short.family else {
        panic!("a linear family");
    };
    assert_eq!(linear.features.len(), 64);
    // Every variable has its own default range: the extent -1 to 1 and a quarter of it, and four standard deviations of the
    // noise at t_min about 0 to 0.5, where they reach farther than a quarter.
    let sigma2 = 1.0 - f64::exp(-2.0 * (0.1 * 0.01 + 0.5 * 19.9 * 0.01 * 0.01));
    let reach = 4.0 * sigma2.sqrt();
    assert!(reach > 0.125 && reach < 0.5);
    assert_eq!(short.output.range[0], (-1.5, 1.5));
    assert_relative_eq!(short.output.range[1].0, -reach, epsilon = 1e-12);
    assert_relative_eq!(short.output.range[1].1, 0.5 + reach, epsilon = 1e-12);
    // It stays one set in what is written out, without a range, which would be shared.
    let spec = read(PLANE);
    let set = &spec.resolved["model"]["features"][0];
    assert_eq!(set["of"], json!(["x1", "x2", "t"]));
    assert!(set.get("range").is_none() && set["width"] == json!(0.5));
    check_round_trip(&spec);
}

#[test]
fn data_are_turned() {
    let text = PLANE.replace("0.5]]", "0.5]]\nrotation = 30.0");
    let e = only(&text);
    let (sin, cos) = (0.5, 0.75_f64.sqrt());
    for (component, [x, y]) in e
        .problem
        .data
        .components()
        .iter()
        .zip([[-1.0, 0.0], [1.0, 0.5]])
    {
        assert_relative_eq!(component.mean[0], cos * x - sin * y, epsilon = 1e-15);
        assert_relative_eq!(component.mean[1], sin * x + cos * y, epsilon = 1e-15);
    }
    let spec = read_with(&text, &["sweep.\"data.rotation\"=[0.0, 22.5]"]).unwrap();
    assert_eq!(spec.cases.len(), 2);
    check_round_trip(&spec);
}

#[test]
fn directions_are_unit_vectors_with_ranges() {
    let text = format!("{PLANE}[output]\ndirections = [[3.0, 4.0], [0.0, -1e200]]\n");
    let e = only(&text);
    let along: Vec<&[f64]> = e.output.directions.iter().map(|d| &d.along[..]).collect();
    assert_relative_eq!(along[0][0], 0.6, epsilon = 1e-15);
    assert_relative_eq!(along[0][1], 0.8, epsilon = 1e-15);
    assert_eq!(along[1], [0.0, -1.0]);
    // The projections of the points on (0.6, 0.8) are -0.6 and 1: a quarter of 1.6 on either side.
    let (low, high) = e.output.directions[0].range;
    assert_relative_eq!(low, -1.0, epsilon = 1e-12);
    assert_relative_eq!(high, 1.4, epsilon = 1e-12);
    check_round_trip(&read(&text));
}

/// Without directions the principal ones are taken, and written out.
#[test]
fn principal_directions_are_resolved() {
    let data = "[[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, 0.5, 0.0], [0.0, -0.5, 0.0]]";
    let text = PLANE
        .replace("[[-1.0, 0.0], [1.0, 0.5]]", data)
        .replace("\"x2\", ", "\"x2\", \"x3\", ");
    let spec = read(&text);
    // Variances 8/6, 2/6 and 0.5/6 along x1, x3 and x2.
    let directions = spec.resolved["output"]["directions"].as_array().unwrap();
    assert_eq!(directions.len(), 3);
    for (direction, axis) in directions.iter().zip([0, 2, 1]) {
        for i in 0..3 {
            let expected = if i == axis { 1.0 } else { 0.0 };
            let found = direction[i].as_f64().unwrap().abs();
            assert_relative_eq!(found, expected, epsilon = 1e-12);
        }
    }
    check_round_trip(&spec);
    // The plane's are its coordinates, which are not written out.
    assert!(read(PLANE).resolved["output"].get("directions").is_none());
}

#[test]
fn data_files_are_scaled() {
    let spec = data_file("d.csv", b"a\n1.0\n-3.0\n", "scale = 0.5");
    assert_eq!(points(&spec).0, [0.5, -1.5]);
    assert_eq!(spec.resolved["data"]["scale"], json!(0.5));
}

const MAP: &str = r#"[data]
kind = "points"
points = [[-1.0, 0.0], [1.0, 0.5]]
[diffusion]
kind = "vp"
[map]
"#;

#[test]
fn a_map_needs_no_model() {
    let spec = read(MAP);
    let case = &spec.cases[0];
    assert!(!case.has_model);
    let map = case.map.as_ref().unwrap();
    assert_eq!(map.points, 200);
    assert_eq!(map.times.len(), 5);
    assert_eq!((map.times[0], map.times[4]), (1e-2, 1.0));
    assert!((map.times[2] - 0.1).abs() < 1e-15);
    // As that of the densities would be: the extent and a quarter of it, or four standard deviations at t_min.
    assert_eq!(map.range[0], (-1.5, 1.5));
    assert_eq!(only("[data]\nkind = \"points\"\npoints = [[-1.0], [1.0]]\n[diffusion]\nkind = \"vp\"\n[model]\nkind = \"naive\"\n[map]").output.bins, 60);
    // Everything is written out, and nothing else: no model, no tables of one.
    let keys: Vec<&String> = case.resolved.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["data", "diffusion", "map", "name", "seed"]);
    let again = reread(&case.resolved);
    assert_eq!(again.cases[0].map, case.map);
    assert_eq!(again.cases[0].resolved, case.resolved);
    let error = vkernel::derive::derive_case(&spec, 0).unwrap_err();
    assert!(error.to_string().contains("[model]"), "{error}");
}

#[test]
fn the_schema_accepts_what_is_accepted() {
    let schema = spec_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let turned = PLANE.replace("0.5]]", "0.5]]\nrotation = 30.0");
    let directed = format!("{PLANE}[output]\ndirections = [[3.0, 4.0], [0.0, 1.0]]\n");
    for text in [FULL, SHORT, NAIVE, MAP, PLANE, &turned, &directed] {
        let tree: toml::Table = text.parse().unwrap();
        let written = serde_json::to_value(tree).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&written)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        let spec = read(text);
        for resolved in spec
            .cases
            .iter()
            .map(|c| &c.resolved)
            .chain([&spec.resolved])
        {
            let errors: Vec<_> = validator
                .iter_errors(resolved)
                .map(|e| e.to_string())
                .collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}

#[test]
fn the_schema_refuses_what_is_refused() {
    let validator = jsonschema::validator_for(&spec_schema()).unwrap();
    let valid = read(SHORT).resolved;
    for (pointer, value) in [
        ("/training/ridge", json!(-0.1)),
        ("/training/ridge", json!(null)),
        ("/training/ridge", json!("0.1")),
        ("/training/samples", json!(0)),
        ("/training/samples", json!(1.5)),
        ("/training/weighting", json!("expressions")),
        ("/model/kind", json!("high-rank")),
        ("/model/features", json!([])),
        ("/model/features/0/range", json!([1, 2, 3])),
        ("/predict/methods", json!(["saddles"])),
        ("/sampler/scheme", json!("rk4")),
        ("/output", json!({ "bin": 3 })),
        ("/seed", json!(9_007_199_254_740_993_u64)),
    ] {
        let mut bad = valid.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&bad), "{pointer}: {bad}");
    }
}

/// The names that the schema lists are those the domain's enums read.
#[test]
fn the_schema_and_the_parser_know_the_same_names() {
    let schema = spec_schema();
    for (definition, property, table) in [
        ("RawModel", "predicts", "model"),
        ("RawTraining", "objective", "training"),
        ("RawTraining", "weighting", "training"),
        ("RawSampler", "grid", "sampler"),
        ("RawSampler", "scheme", "sampler"),
        ("RawSampler", "start", "sampler"),
        ("RawPredict", "statistics", "predict"),
        ("RawMonteCarlo", "start", "monte_carlo"),
    ] {
        let pointer = format!("/$defs/{definition}/properties/{property}/enum");
        let names = schema.pointer(&pointer).and_then(Value::as_array).unwrap();
        for name in names {
            let chosen = format!("{table}.{property}={name}");
            let mut overrides = vec![chosen.as_str()];
            if (property, name) == ("weighting", &json!("expression")) {
                overrides.push("training.weight=alpha");
            }
            read_with(SHORT, &overrides).unwrap();
        }
        // The refusal of another name lists exactly these.
        let error = read_with(SHORT, &[&format!("{table}.{property}=\"?\"")]).unwrap_err();
        let listed: Vec<String> = names.iter().map(Value::to_string).collect();
        assert_eq!(error.problems[0].allowed, listed.join(" | "));
    }
}

#[test]
fn depth_is_bounded() {
    let keys = vec!["a"; 100_000].join(".");
    let arrays = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [
        format!("{keys} = 1\n"),
        format!("[{keys}]\n"),
        arrays.clone(),
    ] {
        assert!(read_with(&text, &[]).is_err());
    }
    assert!(read_with(SHORT, &[&format!("{keys}=1")]).is_err());
    assert!(read_with(SHORT, &[&arrays]).is_err());
    let swept = format!("{SHORT}[sweep]\n\"{keys}\" = [1]\n");
    assert!(read_with(&swept, &[]).is_err());
    let json = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(&json, Format::Json, "a.json", Path::new("."), &[], None).is_err());
}

/// One random change to a text.
fn mutated(text: &str) -> impl Strategy<Value = String> + use<> {
    let text = text.to_owned();
    let pieces = prop::sample::select(vec![
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        "\n",
        ",",
        "#",
        "nan",
        "inf",
        "-",
        "1e999",
        "0",
        "-1",
        "1e-320",
        "99999999999",
        "18446744073709551616",
        "null",
        "true",
        "é",
        "\u{0}",
        "[[",
        "\\u",
        "x1",
        "t",
        "[sweep]\n",
        "\"training.samples\" = [1, 2]\n",
        "kind = \"flow\"\n",
        "kind",
        "model.features",
        "\"\"\"",
        "1.7e308",
    ]);
    (
        any::<prop::sample::Index>(),
        0_usize..12,
        pieces,
        any::<bool>(),
    )
        .prop_map(move |(at, length, piece, insert)| {
            let chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len() + 1);
            let end = (at + length).min(chars.len());
            let head: String = chars[..at].iter().collect();
            let tail: String = chars[end..].iter().collect();
            if insert {
                format!("{head}{piece}{tail}")
            } else {
                format!("{head}{tail}")
            }
        })
}

fn twice_mutated(text: &str) -> impl Strategy<Value = String> + use<> {
    mutated(text).prop_flat_map(|t| mutated(&t))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_toml_panics(text in prop_oneof![twice_mutated(FULL), twice_mutated(SHORT), twice_mutated(NAIVE)]) {
        if let Err(error) = read_with(&text, &[]) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_json_panics(text in twice_mutated(&read(SHORT).resolved.to_string())) {
        let _ = parse(&text, Format::Json, "a.json", Path::new("."), &[], None);
    }

    #[test]
    fn no_override_panics(text in prop_oneof![
        "\\PC*",
        twice_mutated("model.features.0.count=3"),
        twice_mutated("sweep.\"training.samples\"=[64, 128]"),
    ]) {
        let _ = read_with(FULL, &[&text]);
    }

    #[test]
    fn any_number_anywhere_is_handled(
        key in prop::sample::select(vec![
            "seed", "data.points.0.0", "diffusion.beta_min", "diffusion.beta_delta", "diffusion.t_min",
            "diffusion.t_max", "model.features.0.count", "model.features.0.width", "model.features.0.range.0",
            "training.samples", "training.ridge", "sampler.steps", "predict.draws", "monte_carlo.models",
            "monte_carlo.particles", "output.bins", "output.range.1",
        ]),
        value in prop_oneof![
            any::<f64>().prop_map(|v| format!("{v:?}")),
            any::<i64>().prop_map(|v| v.to_string()),
            (0_i64..20).prop_map(|v| v.to_string()),
        ],
    ) {
        let text = FULL.split("[sweep]").next().unwrap();
        if let Ok(spec) = read_with(text, &[&format!("{key}={value}")]) {
            check_round_trip(&spec);
        }
    }

    #[test]
    fn no_data_file_panics(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        csv in any::<bool>(),
    ) {
        let values: Vec<u8> = [1.0_f64, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut bytes = npy("<f8", "True", "(2, 2)", &values);
        if csv {
            bytes = b"a,b\n1,2\n\"3\",4\n".to_vec();
        }
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(1 + cut.index(2 * bytes.len()));
        let dir = tempfile::tempdir().unwrap();
        let name = if csv { "d.csv" } else { "d.npy" };
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let table = format!("kind = \"file\"\npath = \"{name}\"\ncolumns = [0]\npca = 1");
        let text = SHORT.replace("kind = \"points\"\npoints = [[-1.0], [1.0]]", &table);
        let _ = parse(&text, Format::Toml, "a.toml", dir.path(), &[], None);
    }
}

/// alpha = exp(-integral of beta / 2) in the convention of Song et al.: half of everything.
#[test]
fn betas_of_song_are_halved() {
    let text = SHORT.replace("kind = \"vp\"", "kind = \"vp\"\nconvention = \"song\"");
    let (ours, songs) = (only(SHORT), only(&text));
    for t in [0.05, 0.4, 1.0] {
        let alpha = songs.problem.diffusion.alpha(t);
        assert_relative_eq!(
            alpha.powi(2),
            ours.problem.diffusion.alpha(t),
            epsilon = 1e-12
        );
    }
}
