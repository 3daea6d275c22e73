//! The output edge: the result file and its errors, the table, the figures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vkernel::report::result::{
    CaseResult, ComparisonResult, DensityResult, Provenance, RunResult, SCHEMA, Seconds, Trust,
    TrustLevel,
};
use vkernel::report::{
    FigureError, ResultError, case_figure, comparison_table, comparison_table_of, read_result,
    result_schema, sweep_figure, write_atomic, write_figures,
};

const BINS: usize = 60;

/// Three Gaussians of standard deviation `std` at -1, 0, 1, by midpoints in ten slices per bin; the rest is outside.
fn peaks(std: f64, blur: f64, lift: f64) -> DensityResult {
    let width = 3.0 / BINS as f64;
    let shape = |x: f64| -> f64 {
        let of = |centre: f64, std: f64| (-0.5 * ((x - centre) / std).powi(2)).exp() / std;
        [-1.0, 0.0, 1.0]
            .iter()
            .map(|c| (1.0 - lift) * of(*c, std) + lift * of(*c, blur))
            .sum()
    };
    let mut mass: Vec<f64> = (0..BINS)
        .map(|bin| {
            (0..200)
                .map(|k| shape(-1.5 + width * (bin as f64 + (k as f64 + 0.5) / 200.0)))
                .sum()
        })
        .collect();
    let inside = 1.0 - 0.02 * lift;
    let total: f64 = mass.iter().sum();
    mass.iter_mut().for_each(|m| *m *= inside / total);
    DensityResult {
        mass,
        outside: 1.0 - inside,
        tails: Some([0.5 * (1.0 - inside); 2]),
        error: None,
        se: None,
        quantiles: BTreeMap::new(),
        models: None,
        gap_mass: None,
        gap_mass_se: None,
        gap_mass_replicates: Vec::new(),
    }
}

/// The density with the spread over models that an ensemble would have.
fn with_spread(mut density: DensityResult, spread: f64) -> DensityResult {
    let scaled = |factor: f64| density.mass.iter().map(|m| factor * m).collect::<Vec<_>>();
    density.quantiles = BTreeMap::from([
        ("0.25".to_string(), scaled(1.0 - spread)),
        ("0.75".to_string(), scaled(1.0 + 0.8 * spread)),
    ]);
    density
}

fn synthetic_case(t_min: f64, samples: u64) -> CaseResult {
    let data_std = (10.0 * t_min * t_min + 0.1 * t_min).sqrt().max(0.004);
    // More training samples, sharper peaks.
    let lift = 0.9 - 0.08 * (samples as f64 / 64.0).log2();
    let learned = |shift: f64| peaks(0.09, 0.33, (lift + shift).min(1.0));
    let mut monte_carlo = with_spread(learned(0.0), 0.5);
    // A deterministic ripple in place of sampling noise.
    for (bin, pair) in monte_carlo.mass.chunks_exact_mut(2).enumerate() {
        let moved = 0.04 * pair[0].min(pair[1]) * (bin as f64 * 1.7).sin();
        pair[0] += moved;
        pair[1] -= moved;
    }
    monte_carlo.se = Some(monte_carlo.mass.iter().map(|m| 0.01 * m).collect());
    monte_carlo.models = Some(2000);
    let mut gaussian_field = with_spread(learned(0.01), 0.45);
    gaussian_field.error = Some(0.0102);
    gaussian_field.models = Some(512);
    let mut mean_field = peaks(0.05, 0.22, 0.7 * lift);
    mean_field.error = Some(1.25e-5);
    let mut semiclassical = peaks(0.12, 0.4, lift);
    semiclassical.error = Some(3.1e-4);
    let densities = BTreeMap::from([
        ("data".to_string(), peaks(data_std, 0.3, 0.0)),
        ("pf-ode".to_string(), peaks(1.4 * data_std, 0.3, 0.01)),
        ("mean-field".to_string(), mean_field),
        ("semiclassical".to_string(), semiclassical),
        ("gaussian-field".to_string(), gaussian_field),
        ("monte-carlo".to_string(), monte_carlo),
    ]);
    let comparisons = ["mean-field", "semiclassical", "gaussian-field"]
        .into_iter()
        .map(|name| compared(name, &densities))
        .collect();
    let trust = |level, reason: &str| Trust {
        level,
        reason: reason.to_string(),
    };
    CaseResult {
        case: BTreeMap::from([
            ("diffusion.t_min".to_string(), json!(t_min)),
            ("training.samples".to_string(), json!(samples)),
        ]),
        edges: vec![
            (0..=BINS)
                .map(|i| -1.5 + 3.0 * i as f64 / BINS as f64)
                .collect(),
        ],
        densities,
        trust: BTreeMap::from([
            (
                "gaussian-field".to_string(),
                trust(TrustLevel::High, "the estimator is Gaussian"),
            ),
            (
                "mean-field".to_string(),
                trust(TrustLevel::None, "the spread is not small"),
            ),
            (
                "semiclassical".to_string(),
                trust(TrustLevel::Limited, "the spread is 0.3 of the spacing"),
            ),
        ]),
        recommended: Some("gaussian-field".to_string()),
        comparisons,
        diagnostics: BTreeMap::new(),
        seconds: Seconds::default(),
    }
}

fn compared(name: &str, densities: &BTreeMap<String, DensityResult>) -> ComparisonResult {
    let (a, b) = (&densities[name].mass, &densities["monte-carlo"].mass);
    let differences = a.iter().zip(b).map(|(a, b)| a - b);
    let mut cumulative = Vec::new();
    let mut sum = 0.0;
    for d in differences.clone() {
        sum += d;
        cumulative.push(f64::abs(sum));
    }
    ComparisonResult {
        predicted: name.to_string(),
        reference: "monte-carlo".to_string(),
        tv: 0.5 * differences.map(f64::abs).sum::<f64>(),
        tv_floor: 0.012,
        tv_floor_95: 0.025,
        w1: cumulative.iter().sum::<f64>() * 3.0 / BINS as f64,
        w1_floor: 0.0041,
        ks: cumulative.iter().copied().fold(0.0, f64::max),
        ks_floor: 0.0063,
        bands_within: None,
        bands_bins: None,
    }
}

fn run_of(cases: Vec<CaseResult>) -> RunResult {
    RunResult {
        schema: SCHEMA.to_string(),
        version: "0.1.0".to_string(),
        spec: json!({ "name": "synthetic" }),
        provenance: Provenance {
            seed: 1,
            threads: 2,
            started: "2025-01-01T00:00:00Z".to_string(),
            seconds: 1.5,
            command: "vkernel run synthetic.toml".to_string(),
            git: None,
        },
        cases,
    }
}

/// The 15 cases of three cutoffs and five numbers of samples.
fn synthetic_run() -> RunResult {
    let cases = [1e-4, 1e-3, 1e-2].into_iter().flat_map(|t_min| {
        [64, 128, 256, 512, 1024]
            .into_iter()
            .map(move |samples| synthetic_case(t_min, samples))
    });
    run_of(cases.collect())
}

fn files_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn png_size(path: &Path) -> (u32, u32) {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let white = pixels.iter().filter(|p| **p == 255).count();
    assert!(
        white > pixels.len() / 2 && white < pixels.len() * 99 / 100,
        "neither empty nor flooded"
    );
    (info.width, info.height)
}

#[test]
fn write_atomic_replaces_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    write_atomic(&path, b"first").unwrap();
    write_atomic(&path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(files_in(dir.path()), ["result.json"]);
}

#[test]
fn write_atomic_leaves_nothing_when_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    // A directory of that name with something in it cannot be replaced by a file.
    let path = dir.path().join("taken");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("inside"), b"").unwrap();
    write_atomic(&path, b"bytes").unwrap_err();
    assert_eq!(files_in(dir.path()), ["taken"]);
    write_atomic(&dir.path().join("missing/file"), b"bytes").unwrap_err();
}

#[test]
fn a_result_satisfies_its_schema() {
    let schema = result_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut value = serde_json::to_value(synthetic_run()).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    value["cases"][0]["densities"]["data"]["mass"][0] = json!(-0.1);
    assert!(!validator.is_valid(&value));
}

#[test]
fn a_result_survives_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    let run = synthetic_run();
    write_atomic(&path, &serde_json::to_vec_pretty(&run).unwrap()).unwrap();
    assert_eq!(read_result(&path).unwrap(), run);
}

/// Reads a file of this text, which must fail; the message without the directory.
fn failure(text: &str) -> (ResultError, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    fs::write(&path, text).unwrap();
    let error = read_result(&path).unwrap_err();
    let message = error.to_string();
    let prefix = format!("{}/", dir.path().display());
    (error, message.replace(&prefix, ""))
}

/// The text of a result of one case after a change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::to_value(run_of(vec![synthetic_case(1e-2, 64)])).unwrap();
    change(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn a_missing_file_is_named() {
    let error = read_result(Path::new("nowhere/result.json")).unwrap_err();
    assert!(matches!(error, ResultError::Read { .. }));
    assert!(
        error
            .to_string()
            .starts_with("cannot read the result 'nowhere/result.json': ")
    );
}

#[test]
fn broken_json_is_located() {
    let (error, message) = failure("{\n  \"schema\": \"vkernel.result/1\",\n  oops\n}");
    assert!(matches!(error, ResultError::NotJson { line: 3, .. }));
    assert_eq!(
        message,
        "'result.json', line 3, column 3: not JSON: key must be a string"
    );
}

#[test]
fn another_schema_is_refused() {
    let (error, message) = failure(&changed(|v| v["schema"] = json!("vkernel.result/2")));
    assert!(matches!(error, ResultError::Schema { .. }));
    assert_eq!(
        message,
        "'result.json' is not a vkernel result: its field 'schema' is \"vkernel.result/2\", where \"vkernel.result/1\" is expected"
    );
    let (_, message) = failure("[1, 2]");
    assert!(message.contains("'schema' is missing"), "{message}");
}

#[test]
fn a_wrong_field_is_named() {
    let (error, message) = failure(&changed(|v| {
        v["cases"][0]["comparisons"][1]["tv"] = json!("0.1")
    }));
    assert!(matches!(error, ResultError::Field { .. }));
    assert!(
        message.contains("field 'cases[0].comparisons[1].tv'"),
        "{message}"
    );
    assert!(message.contains("expected f64"), "{message}");
}

#[test]
fn masses_must_sum_to_one() {
    let (error, message) = failure(&changed(|v| {
        v["cases"][0]["densities"]["pf-ode"]["outside"] = json!(0.25);
    }));
    assert!(matches!(error, ResultError::Inconsistent { .. }));
    assert!(
        message
            .starts_with("'result.json', cases[0].densities.pf-ode: mass and outside sum to 1.2"),
        "{message}"
    );
    let (_, message) = failure(&changed(|v| {
        v["cases"][0]["densities"]["data"]["mass"]
            .as_array_mut()
            .unwrap()
            .pop();
    }));
    assert!(
        message.ends_with("mass has 59 values, where the edges make 60 bins"),
        "{message}"
    );
}

#[test]
fn table_of_a_sweep() {
    insta::assert_snapshot!(comparison_table(&synthetic_run()));
}

#[test]
fn table_of_several_results() {
    let mut second = synthetic_case(1e-2, 256);
    // Where theory and Monte Carlo disagree about the best.
    second.recommended = Some("semiclassical".to_string());
    let results = [
        ("a.json".to_string(), run_of(vec![synthetic_case(1e-2, 64)])),
        ("b.json".to_string(), run_of(vec![second])),
    ];
    insta::assert_snapshot!(comparison_table_of(&results));
}

#[test]
fn table_without_monte_carlo() {
    let mut case = synthetic_case(1e-2, 64);
    case.case.clear();
    case.densities.remove("monte-carlo");
    case.comparisons.clear();
    insta::assert_snapshot!(comparison_table(&run_of(vec![case])));
}

#[test]
fn table_without_predictions() {
    let mut case = synthetic_case(1e-2, 64);
    for name in ["mean-field", "semiclassical", "gaussian-field"] {
        case.densities.remove(name);
    }
    case.comparisons.clear();
    case.trust.clear();
    case.recommended = None;
    insta::assert_snapshot!(comparison_table(&run_of(vec![case])));
    assert_eq!(
        comparison_table(&run_of(Vec::new())),
        "There are no cases in this result.\n"
    );
}

#[test]
fn a_case_figure_names_every_density() {
    let dir = tempfile::tempdir().unwrap();
    let case = synthetic_case(1e-3, 256);
    let files = case_figure(&case, &dir.path().join("case.0")).unwrap();
    assert_eq!(files_in(dir.path()), ["case.0.png", "case.0.svg"]);
    let svg = fs::read_to_string(&files[0]).unwrap();
    let labels = [
        "x",
        "probability density",
        "diffusion.t_min = 0.001, training.samples = 256",
    ];
    for text in labels
        .into_iter()
        .chain(case.densities.keys().map(String::as_str))
    {
        assert!(
            svg.contains(&format!(">\n{text}\n</text>")),
            "no label '{text}'"
        );
    }
    let tv = case.comparisons[2].tv;
    assert!(svg.contains(&format!("TV {tv:.4}, noise floor 0.0120")));
    let (width, height) = png_size(&files[1]);
    assert!(width >= 1600 && height >= 800, "{width} x {height}");
}

#[test]
fn rendering_is_deterministic() {
    let dir = tempfile::tempdir().unwrap();
    let case = synthetic_case(1e-3, 256);
    let first = case_figure(&case, &dir.path().join("a")).unwrap();
    let second = case_figure(&case, &dir.path().join("b")).unwrap();
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
    }
}

#[test]
fn either_side_alone_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let mut predicted = synthetic_case(1e-2, 256);
    predicted.densities.remove("monte-carlo");
    predicted.comparisons.clear();
    let files = case_figure(&predicted, &dir.path().join("predicted")).unwrap();
    let svg = fs::read_to_string(&files[0]).unwrap();
    assert!(svg.contains(">\npredicted, recommended, dots 25–75 %\n</text>"));
    assert!(!svg.contains("monte-carlo") && !svg.contains("TV"));
    let mut trained = synthetic_case(1e-2, 256);
    trained.densities.retain(|name, _| name == "monte-carlo");
    trained
        .densities
        .get_mut("monte-carlo")
        .unwrap()
        .quantiles
        .clear();
    trained.comparisons.clear();
    trained.recommended = None;
    let more = case_figure(&trained, &dir.path().join("trained")).unwrap();
    let svg = fs::read_to_string(&more[0]).unwrap();
    assert!(svg.contains(">\nmean of 2000 models, ± 2 s.e.\n</text>"));
    keep(&files);
    keep(&more);
}

#[test]
fn mass_out_of_sight_leaves_an_empty_frame_and_nan_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut case = synthetic_case(1e-2, 256);
    for density in case.densities.values_mut() {
        density.mass.fill(0.0);
        density.outside = 1.0;
        density.quantiles.clear();
    }
    case_figure(&case, &dir.path().join("empty")).unwrap();
    case.densities.get_mut("data").unwrap().mass[3] = f64::NAN;
    let error = case_figure(&case, &dir.path().join("nan")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "density 'data': the mass NaN is not finite"
    );
}

#[test]
fn a_sweep_is_drawn_case_by_case_and_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let run = synthetic_run();
    let files = write_figures(&run, dir.path()).unwrap();
    assert_eq!(files.len(), 2 * (run.cases.len() + 1));
    let mut names: Vec<String> = files
        .iter()
        .map(|f| f.file_name().unwrap().to_str().unwrap().to_string())
        .collect();
    assert_eq!(
        names[0],
        "case-01-diffusion.t_min=1e-4-training.samples=64.svg"
    );
    names.sort();
    assert_eq!(files_in(dir.path()), names);
    let svg = fs::read_to_string(dir.path().join("sweep.svg")).unwrap();
    for text in [
        "t_min = 1e-4",
        "t_min = 0.01",
        "samples = 64",
        "samples = 1024",
        "gaussian-field: predicted",
        "data: noised, p(x | t_min)",
        "monte-carlo: mean of 2000 models, 25–75 %",
        "probability density",
    ] {
        assert!(
            svg.contains(&format!(">\n{text}\n</text>")),
            "no label '{text}'"
        );
    }
    // Only the leading prediction is in the panels.
    assert!(!svg.contains("semiclassical"));
    assert!(png_size(&dir.path().join("sweep.png")).0 >= 1600);
    keep(&files);
}

#[test]
fn one_case_has_one_figure() {
    let dir = tempfile::tempdir().unwrap();
    let mut case = synthetic_case(1e-2, 64);
    case.case.clear();
    write_figures(&run_of(vec![case]), dir.path()).unwrap();
    assert_eq!(files_in(dir.path()), ["density.png", "density.svg"]);
    let error = sweep_figure(&run_of(Vec::new()), &dir.path().join("sweep")).unwrap_err();
    assert!(matches!(error, FigureError::NoSweep { cases: 0 }));
}

#[test]
fn sweeps_of_one_and_of_three_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = synthetic_run();
    one.cases.truncate(5);
    one.cases.push(synthetic_case(1e-4, 2048));
    one.cases.push(synthetic_case(1e-4, 4096));
    let mut files = sweep_figure(&one, &dir.path().join("one")).unwrap();
    let mut three = run_of(Vec::new());
    for (ridge, t_min) in [(0.1, 1e-3), (0.1, 1e-2), (0.2, 1e-3), (0.2, 1e-2)] {
        for samples in [64, 256, 1024] {
            let mut case = synthetic_case(t_min, samples);
            case.case.insert("training.ridge".to_string(), json!(ridge));
            three.cases.push(case);
        }
    }
    files.extend(sweep_figure(&three, &dir.path().join("three")).unwrap());
    assert_eq!(files.len(), 4);
    let svg = fs::read_to_string(&files[2]).unwrap();
    assert!(svg.contains(">\nt_min = 0.01, ridge = 0.2\n</text>"));
    for png in [&files[1], &files[3]] {
        assert!(png_size(png).0 >= 1600);
    }
    keep(&files);
}

#[test]
fn a_plane_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut case = synthetic_case(1e-2, 64);
    case.edges.push(vec![0.0, 1.0]);
    let error = case_figure(&case, &dir.path().join("plane")).unwrap_err();
    assert!(matches!(error, FigureError::Dimension { dim: 2 }));
    case.edges = vec![vec![-1.0, 1.0]];
    let error = case_figure(&case, &dir.path().join("short")).unwrap_err();
    assert!(matches!(error, FigureError::Malformed { .. }));
    assert!(files_in(dir.path()).is_empty());
}

/// Copies figures to the directory that VKERNEL_KEEP_FIGURES names, for a person to look at.
fn keep(files: &[PathBuf]) {
    if let Some(dir) = std::env::var_os("VKERNEL_KEEP_FIGURES") {
        for file in files {
            fs::copy(file, Path::new(&dir).join(file.file_name().unwrap())).unwrap();
        }
    }
}
