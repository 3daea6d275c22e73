//! The output edge: the result file and its errors, the table, the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vkernel::density::DominantPath;
use vkernel::report::decomposition::{Decomposition, Side, decompositions};
use vkernel::report::paths::{
    DOMINANT_PATHS, Direction, DominantPaths, GAP_FILLING, GapFillingReport,
};
use vkernel::report::result::{
    CaseResult, ComparisonResult, DensityResult, LONGER_FILLING, MEMORISED, MapResult, Measured,
    NumberResult, Provenance, ReadoutResult, RunResult, SCHEMA, SHORTEST_FILLING, SegmentResult,
    Trust, TrustLevel,
};
use vkernel::report::{
    FigureError, ResultError, case_figure, comparison_table, comparison_table_of,
    decomposition_figure, decomposition_table, decomposition_table_of, gap_filling_figure,
    map_figure, maps_summary, memorised_figure, paths_figure, read_result, result_json,
    result_schema, segment_figure, sweep_figure, write_atomic, write_densities, write_figures,
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
        error: None,
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
        ..CaseResult::empty(BTreeMap::new())
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
fn gap_masses_and_bands_survive_the_file_and_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    let mut run = run_of(vec![synthetic_case(1e-2, 64)]);
    let case = &mut run.cases[0];
    let density = case.densities.get_mut("monte-carlo").unwrap();
    (density.gap_mass, density.gap_mass_se) = (Some(0.25), Some(0.01));
    density.gap_mass_replicates = vec![0.24, 0.25, 0.26];
    (
        case.comparisons[2].bands_within,
        case.comparisons[2].bands_bins,
    ) = (Some(0.5), Some(40));
    write_atomic(&path, &serde_json::to_vec(&run).unwrap()).unwrap();
    assert_eq!(read_result(&path).unwrap(), run);
    let validator = jsonschema::validator_for(&result_schema()).unwrap();
    assert!(validator.is_valid(&serde_json::to_value(&run).unwrap()));

    let at = "'result.json', cases[0].densities.data: ";
    for (field, value, message) in [
        (
            "gap_mass",
            json!(1.5),
            "gap_mass has the value 1.5, where 0 to 1 is expected",
        ),
        (
            "gap_mass_replicates",
            json!([0.5, -0.5]),
            "gap_mass_replicates has the value -0.5, where 0 to 1 is expected",
        ),
        (
            "gap_mass_se",
            json!(-0.5),
            "gap_mass_se has the negative value -0.5",
        ),
    ] {
        let (_, found) = failure(&changed(|v| {
            v["cases"][0]["densities"]["data"][field] = value;
        }));
        assert_eq!(found, format!("{at}{message}"));
    }
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
fn table_with_bands() {
    let mut case = synthetic_case(1e-2, 64);
    let comparison = &mut case.comparisons[2];
    (comparison.bands_within, comparison.bands_bins) = (Some(0.8125), Some(48));
    insta::assert_snapshot!(comparison_table(&run_of(vec![case])));
}

/// A density in five bins by hand; what is missing to 1 is outside. With the replicates of its gap mass, if any.
fn by_hand(mass: [f64; 5], replicates: &[f64]) -> DensityResult {
    let outside = 1.0 - mass.iter().sum::<f64>();
    let error = (replicates.len() > 1).then(|| 0.5 * (replicates[2] - replicates[0]));
    DensityResult {
        mass: mass.to_vec(),
        outside,
        tails: Some([0.0, outside]),
        error: None,
        se: None,
        quantiles: BTreeMap::new(),
        models: error.map(|_| 100),
        gap_mass: None,
        gap_mass_se: error,
        gap_mass_replicates: replicates.to_vec(),
    }
}

/// A case of which everything about its gaps is known: they are the bins 1 and 2 and the outside. Gap masses: data 0.011,
/// mean field 0.07, the exact target's models 0.16, the noisy target's 0.23, predicted 0.14 and 0.19.
fn case_of(objective: &str, samples: u64) -> CaseResult {
    let (monte_carlo, gaussian_field) = if objective == "esm" {
        let models = by_hand([0.4, 0.06, 0.05, 0.4, 0.04], &[0.15, 0.16, 0.17]);
        (models, by_hand([0.41, 0.06, 0.05, 0.41, 0.04], &[]))
    } else {
        let models = by_hand([0.36, 0.08, 0.07, 0.36, 0.05], &[0.215, 0.23, 0.245]);
        (models, by_hand([0.38, 0.07, 0.06, 0.38, 0.05], &[]))
    };
    CaseResult {
        case: BTreeMap::from([
            ("training.objective".to_string(), json!(objective)),
            ("training.samples".to_string(), json!(samples)),
        ]),
        edges: vec![(0..=5).map(f64::from).collect()],
        densities: BTreeMap::from([
            (
                "data".to_string(),
                by_hand([0.485, 0.004, 0.003, 0.5, 0.004], &[]),
            ),
            (
                "mean-field".to_string(),
                by_hand([0.45, 0.03, 0.02, 0.45, 0.03], &[]),
            ),
            ("gaussian-field".to_string(), gaussian_field),
            ("monte-carlo".to_string(), monte_carlo),
        ]),
        recommended: Some("gaussian-field".to_string()),
        ..CaseResult::empty(BTreeMap::new())
    }
}

/// Both objectives at two numbers of samples, and a third number for which there is only one of them.
fn run_of_objectives() -> RunResult {
    run_of(vec![
        case_of("esm", 64),
        case_of("esm", 256),
        case_of("dsm", 64),
        case_of("dsm", 256),
        case_of("dsm", 1024),
    ])
}

fn assert_near(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-12, "{value}, not {expected}");
}

#[test]
fn a_decomposition_by_hand() {
    let rows = decompositions(&run_of_objectives());
    let order: Vec<(Side, &Value)> = rows
        .iter()
        .map(|row| (row.side, &row.case["training.samples"]))
        .collect();
    let (few, many) = (json!(64), json!(256));
    assert_eq!(
        order,
        [
            (Side::Measured, &few),
            (Side::Predicted, &few),
            (Side::Measured, &many),
            (Side::Predicted, &many)
        ]
    );
    assert_eq!(rows[0].case.len(), 1, "the objective is not the pair's");
    let measured = &rows[0];
    assert_near(measured.data, 0.011);
    assert_near(measured.bias.unwrap(), 0.059);
    assert_near(measured.design.value, 0.09);
    assert_near(measured.design.se.unwrap(), 0.01);
    assert_near(measured.target_noise.value, 0.07);
    // Of the differences 0.065, 0.07, 0.075: much of the noise of 0.01 and 0.015 is the same.
    assert_near(measured.target_noise.se.unwrap(), 0.005);
    assert_near(measured.total.value, 0.219);
    assert_near(measured.total.se.unwrap(), 0.015);
    assert_near(measured.share(0.07).unwrap(), 0.07 / 0.219);
    assert_near(measured.tv.mean_field.unwrap(), 0.085);
    assert_near(measured.tv.esm, 0.185);
    assert_near(measured.tv.dsm, 0.265);
    let predicted = &rows[1];
    assert_eq!(predicted.densities, ["gaussian-field", "gaussian-field"]);
    assert_near(predicted.bias.unwrap(), 0.059);
    assert_near(predicted.design.value, 0.07);
    assert_near(predicted.target_noise.value, 0.05);
    assert_eq!(predicted.target_noise.se, None);
}

#[test]
fn parts_add_up_whatever_is_missing() {
    let adds_up = |row: &Decomposition| {
        let sum = row.bias.unwrap_or(0.0) + row.design.value + row.target_noise.value;
        assert_near(sum, row.total.value);
    };
    let mut run = run_of_objectives();
    decompositions(&run).iter().for_each(adds_up);
    for case in &mut run.cases {
        case.densities.remove("mean-field");
    }
    let rows = decompositions(&run);
    rows.iter().for_each(adds_up);
    assert_eq!(rows[0].bias, None);
    assert_near(rows[0].design.value, 0.149);
    // Ensembles of different sizes were not resampled together.
    let models =
        |case: &mut CaseResult| case.densities.get_mut("monte-carlo").unwrap().models = Some(50);
    models(&mut run.cases[0]);
    assert_near(
        decompositions(&run)[0].target_noise.se.unwrap(),
        0.01_f64.hypot(0.015),
    );
    // A total within its noise has no shares.
    let mut noisy = decompositions(&run).remove(0);
    noisy.total.se = Some(0.11);
    assert_eq!(noisy.share(0.1), None);
    for case in &mut run.cases {
        case.densities.remove("monte-carlo");
    }
    let sides: Vec<Side> = decompositions(&run).iter().map(|row| row.side).collect();
    assert_eq!(sides, [Side::Predicted; 2]);
    // Without a pair there is nothing: no rows, no table, no figure.
    run.cases
        .retain(|case| case.case["training.objective"] == "dsm");
    assert_eq!(decomposition_table(&run), "");
    let dir = tempfile::tempdir().unwrap();
    let none = decomposition_figure(&run, &dir.path().join("decomposition")).unwrap();
    assert!(none.is_empty() && files_in(dir.path()).is_empty());
}

#[test]
fn table_of_a_decomposition() {
    insta::assert_snapshot!(decomposition_table(&run_of_objectives()));
}

#[test]
fn table_of_decompositions_of_several_results() {
    let mut second = run_of_objectives();
    for case in &mut second.cases {
        case.densities.remove("mean-field");
        case.densities.remove("monte-carlo");
    }
    let results = [
        ("a.json".to_string(), run_of_objectives()),
        ("b.json".to_string(), second),
    ];
    insta::assert_snapshot!(decomposition_table_of(&results));
}

#[test]
fn a_decomposition_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_of_objectives();
    let files = write_figures(&run, dir.path()).unwrap();
    assert_eq!(files.len(), 2 * (run.cases.len() + 2));
    let files = &files[files.len() - 2..];
    let svg = fs::read_to_string(&files[0]).unwrap();
    for text in [
        "synthetic: deviation from the training distribution",
        "mass in the gaps of the data",
        "bias of the mean score",
        "design: which samples were drawn",
        "target noise",
        "left: measured, ± 2 s.e.",
        "samples",
        "64",
        "256",
    ] {
        assert!(
            svg.contains(&format!(">\n{text}\n</text>")),
            "no label '{text}'"
        );
    }
    assert!(png_size(&files[1]).0 >= 1600);
    keep(files);
}

/// Long names of cases are broken into lines of one size, which have room side by side.
#[test]
fn long_labels_of_a_decomposition_are_broken_into_lines() {
    let dir = tempfile::tempdir().unwrap();
    let names = (1..=9).map(|depth| format!("infinitely wide network, depth {depth}"));
    let cases = names.flat_map(|name| {
        ["esm", "dsm"].map(|objective| {
            let mut case = case_of(objective, 64);
            case.case.insert("case".to_owned(), json!(name));
            case.case.remove("training.samples");
            case
        })
    });
    let files = decomposition_figure(&run_of(cases.collect()), &dir.path().join("long")).unwrap();
    let svg = fs::read_to_string(&files[0]).unwrap();
    let lines: Vec<&str> = svg.lines().collect();
    let mut sizes = BTreeSet::new();
    for words in ["infinitely", "depth"] {
        let labels = lines.windows(2).filter(|pair| pair[1].contains(words));
        let labels: Vec<_> = labels.collect();
        assert_eq!(labels.len(), 9, "{words}");
        for pair in labels {
            assert!(pair[1].len() < 20, "{}", pair[1]);
            let size = pair[0].split("font-size=\"").nth(1).unwrap();
            sizes.insert(size.split('"').next().unwrap().to_owned());
        }
    }
    assert_eq!(sizes.len(), 1, "{sizes:?}");
    keep(&files);
}

/// The Fig. 2 sweep with parts of both signs, a single pair, and pairs without a mean field.
#[test]
fn decompositions_of_every_shape_are_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let mut fig2 = run_of(Vec::new());
    for objective in ["esm", "dsm"] {
        for t_min in [1e-4, 1e-3, 1e-2] {
            for samples in [64, 128, 256, 512, 1024] {
                let mut case = case_of(objective, samples);
                case.case
                    .insert("diffusion.t_min".to_string(), json!(t_min));
                if samples == 1024 {
                    // Here noise sharpens what the mean field blurs.
                    let exact = by_hand([0.46, 0.02, 0.02, 0.46, 0.02], &[0.055, 0.06, 0.065]);
                    let noisy = by_hand([0.475, 0.01, 0.01, 0.475, 0.02], &[0.02, 0.03, 0.04]);
                    let models = if objective == "esm" { exact } else { noisy };
                    case.densities.insert("monte-carlo".to_string(), models);
                }
                fig2.cases.push(case);
            }
        }
    }
    let mut single = run_of(vec![case_of("esm", 64), case_of("dsm", 64)]);
    let mut without = run_of_objectives();
    for case in &mut single.cases {
        case.case.remove("training.samples");
    }
    for case in &mut without.cases {
        case.densities.remove("mean-field");
    }
    for (name, run) in [("fig2", fig2), ("single", single), ("without", without)] {
        let files = decomposition_figure(&run, &dir.path().join(name)).unwrap();
        assert_eq!(files.len(), 2);
        assert!(png_size(&files[1]).0 >= 1600);
        keep(&files);
    }
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
    for cases in [
        vec![],
        vec![synthetic_case(1e-2, 64)],
        vec![plane_case(0.0)],
    ] {
        let count = cases.len();
        let error = sweep_figure(&run_of(cases), &dir.path().join("sweep")).unwrap_err();
        assert!(matches!(error, FigureError::NoSweep { cases } if cases == count));
    }
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
    assert!(svg.contains(">\nt_min = 0.01\n</text>") && svg.contains(">\nridge = 0.2\n</text>"));
    for png in [&files[1], &files[3]] {
        assert!(png_size(png).0 >= 1600);
    }
    keep(&files);
}

#[test]
fn densities_that_contradict_their_edges_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut case = synthetic_case(1e-2, 64);
    case.edges.push(vec![0.0, 1.0, 2.0]);
    let error = case_figure(&case, &dir.path().join("plane")).unwrap_err();
    assert!(matches!(error, FigureError::Malformed { .. }));
    case.edges.push(vec![0.0, 1.0]);
    let error = case_figure(&case, &dir.path().join("space")).unwrap_err();
    assert!(matches!(error, FigureError::Dimension { dim: 3 }));
    case.edges = vec![vec![-1.0, 1.0]];
    let error = case_figure(&case, &dir.path().join("short")).unwrap_err();
    assert!(matches!(error, FigureError::Malformed { .. }));
    assert!(files_in(dir.path()).is_empty());
}

/// Four bumps of this width on the unit circle, and `bridge` of the mass between them.
fn plane_density(angle: f64, width: f64, bridge: f64) -> DensityResult {
    let side = |i: usize| -1.5 + 3.0 * (i as f64 + 0.5) / 30.0;
    let mut mass = Vec::with_capacity(900);
    for i in 0..900 {
        let (x, y) = (side(i / 30), side(i % 30));
        let bumps: f64 = (0..4)
            .map(|k| angle + f64::from(k) * std::f64::consts::FRAC_PI_2)
            .map(|a| (x - a.cos()).powi(2) + (y - a.sin()).powi(2))
            .map(|square| (-0.5 * square / (width * width)).exp())
            .sum();
        let ring = (-0.5 * ((x.hypot(y) - 0.75) / 0.15).powi(2)).exp();
        mass.push(bumps + bridge * ring);
    }
    let total: f64 = mass.iter().sum::<f64>() / 0.98;
    mass.iter_mut().for_each(|m| *m /= total);
    DensityResult {
        outside: 1.0 - mass.iter().sum::<f64>(),
        mass,
        tails: None,
        ..peaks(0.1, 0.3, 0.0)
    }
}

fn plane_case(angle: f64) -> CaseResult {
    let edges: Vec<f64> = (0..=30).map(|i| -1.5 + 0.1 * f64::from(i)).collect();
    let mut monte_carlo = plane_density(angle, 0.14, 0.12);
    monte_carlo.models = Some(2000);
    let densities = BTreeMap::from([
        ("data".to_string(), plane_density(angle, 0.08, 0.0)),
        (
            "gaussian-field".to_string(),
            plane_density(angle, 0.15, 0.1),
        ),
        ("monte-carlo".to_string(), monte_carlo),
    ]);
    let mean = |k: i32| angle + f64::from(k) * std::f64::consts::FRAC_PI_2;
    CaseResult {
        edges: vec![edges.clone(), edges],
        directions: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        comparisons: vec![compared("gaussian-field", &densities)],
        densities,
        recommended: Some("gaussian-field".to_string()),
        means: (0..4).map(|k| vec![mean(k).cos(), mean(k).sin()]).collect(),
        ..CaseResult::empty(BTreeMap::from([("angle".to_string(), json!(angle))]))
    }
}

#[test]
fn densities_in_the_plane_are_heat_maps() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_of(vec![plane_case(0.0), plane_case(0.5), plane_case(0.75)]);
    let files = write_figures(&run, dir.path()).unwrap();
    assert_eq!(files.len(), 8);
    let sheet = fs::read_to_string(dir.path().join("sweep.svg")).unwrap();
    // Predicted, trained, difference, of three cases; a dot has a rim and a heart.
    assert_eq!(sheet.matches("<image ").count(), 9);
    assert_eq!(sheet.matches("<circle ").count(), 9 * 4 * 2);
    let tv = run.cases[1].comparisons[0].tv;
    let agreement = format!("TV {tv:.3}, floor 0.012");
    assert!(sheet.contains(&agreement), "{agreement}");
    let width = png_size(&dir.path().join("sweep.png")).0;
    assert!(width >= 1600, "{width}");
    // Only one side, and only the data.
    let mut one = plane_case(0.0);
    one.case.clear();
    one.densities.remove("monte-carlo");
    let svg = |case: &CaseResult, name: &str| {
        let files = case_figure(case, &dir.path().join(name)).unwrap();
        fs::read_to_string(&files[0]).unwrap()
    };
    assert_eq!(svg(&one, "predicted").matches("<image ").count(), 1);
    one.recommended = None;
    one.densities.remove("gaussian-field");
    assert!(svg(&one, "data").contains(">\ndata\n</text>"));
    keep(&files);
}

/// A sweep may go from the line to the plane: a page of panels, then a page of heat maps.
#[test]
fn a_sweep_of_the_line_and_the_plane() {
    let dir = tempfile::tempdir().unwrap();
    let all = [
        synthetic_case(1e-2, 64),
        synthetic_case(1e-2, 256),
        plane_case(0.0),
        plane_case(0.5),
    ];
    write_figures(&run_of(all.to_vec()), dir.path()).unwrap();
    let svg = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(svg("sweep.svg").matches("<image ").count(), 0);
    assert_eq!(svg("sweep-2.svg").matches("<image ").count(), 2 * 3);
    // One of each has no company: only the others are on a sheet.
    let alone = tempfile::tempdir().unwrap();
    write_figures(&run_of(all[..3].to_vec()), alone.path()).unwrap();
    let files = files_in(alone.path());
    assert!(files.contains(&"sweep.svg".to_string()), "{files:?}");
    assert!(!files.contains(&"sweep-2.svg".to_string()), "{files:?}");
    let pair = tempfile::tempdir().unwrap();
    write_figures(&run_of(all[1..3].to_vec()), pair.path()).unwrap();
    assert!(!files_in(pair.path()).contains(&"sweep.svg".to_string()));
}

/// A case in four dimensions: the main plane, two marginals, a distance and the plane of directions 3 and 4.
fn projected_case(points: usize) -> CaseResult {
    let mut case = plane_case(0.3);
    case.case.clear();
    let unit = |i: usize| (0..4).map(|k| if i == k { 1.0 } else { 0.0 }).collect();
    let turned = vec![0.6, 0.0, 0.0, 0.8];
    let along = [turned, unit(1), unit(2), vec![0.8, 0.0, 0.0, -0.6]];
    case.directions = along[..2].to_vec();
    // Inside the range along the first two directions; all on one place in the others.
    case.means = (0..points)
        .map(|k| 1.2 * (k as f64 + 0.5) / points as f64)
        .map(|r| vec![0.6 * r, r, 0.0, 0.8 * r])
        .collect();
    let on_line = synthetic_case(1e-2, 256);
    let readout = |name: &str, directions: &[Vec<f64>], source: &CaseResult| ReadoutResult {
        name: name.to_string(),
        directions: directions.to_vec(),
        edges: source.edges.clone(),
        densities: source.densities.clone(),
        comparisons: source.comparisons.clone(),
    };
    case.readouts = vec![
        readout("direction 1", &along[..1], &on_line),
        readout("direction 3", &along[2..3], &on_line),
        readout("direction 4", &along[3..], &on_line),
        readout("directions 3 and 4", &along[2..], &case),
        readout("distance to the nearest training point", &[], &on_line),
    ];
    case
}

fn label_count(svg: &str, label: &str) -> usize {
    svg.matches(&format!(">\n{label}\n</text>")).count()
}

#[test]
fn projections_and_marginals_are_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let case = projected_case(40);
    let files = write_figures(&run_of(vec![case.clone()]), dir.path()).unwrap();
    assert_eq!(
        files_in(dir.path()),
        [
            "density.png",
            "density.svg",
            "marginals.png",
            "marginals.svg"
        ]
    );
    let svg = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let density = svg("density.svg");
    // Two planes of three panels. In the first all dots lie inside, in the second all on the origin.
    assert_eq!(density.matches("<image ").count(), 6);
    assert_eq!(density.matches("<circle ").count(), 6 * 40 * 2);
    // Below every panel, and upright once per row.
    let axes = ["direction 1", "x₂", "x₃", "direction 4"];
    assert_eq!(axes.map(|axis| label_count(&density, axis)), [3, 1, 3, 1]);

    let marginals = svg("marginals.svg");
    for name in [
        "direction 1",
        "direction 3",
        "direction 4",
        "distance to the nearest training point",
        "x₃",
        "distance",
    ] {
        assert_eq!(label_count(&marginals, name), 1, "{name}");
    }
    assert_eq!(label_count(&marginals, "projection"), 2);
    let shown = &case.readouts[0].comparisons;
    let found = shown.iter().find(|c| c.predicted == "gaussian-field");
    let agreement = format!("TV {:.3}, floor 0.012", found.unwrap().tv);
    assert_eq!(label_count(&marginals, &agreement), 4, "{agreement}");
    // Of the predictions the recommended one only.
    assert!(!marginals.contains("mean-field"));
    png_size(&dir.path().join("marginals.png"));
    keep(&files);

    // In a sweep after the case's name.
    let mut sweep = vec![case.clone(), case];
    for (k, case) in sweep.iter_mut().enumerate() {
        case.case.insert("k".to_string(), json!(k));
    }
    let folder = tempfile::tempdir().unwrap();
    write_figures(&run_of(sweep), folder.path()).unwrap();
    let names = files_in(folder.path());
    for name in ["case-01-k=0-marginals.svg", "case-02-k=1-marginals.png"] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
}

/// Dots that would hide the density become half transparent squares.
#[test]
fn many_points_leave_the_density_visible() {
    let dir = tempfile::tempdir().unwrap();
    let files = case_figure(&projected_case(400), &dir.path().join("many")).unwrap();
    let svg = fs::read_to_string(&files[0]).unwrap();
    assert_eq!(svg.matches("<circle ").count(), 0);
    assert_eq!(svg.matches("opacity=\"0.5\"").count(), 6 * 400);
}

#[test]
fn readouts_that_contradict_their_edges_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut case = projected_case(4);
    case.readouts[1].edges[0].pop();
    let error = write_figures(&run_of(vec![case.clone()]), dir.path()).unwrap_err();
    assert!(matches!(error, FigureError::Malformed { .. }), "{error}");
    let path = dir.path().join("result.json");
    fs::write(&path, result_json(&run_of(vec![case])).unwrap()).unwrap();
    let error = read_result(&path).unwrap_err().to_string();
    assert!(
        error.contains("cases[0].readouts[1].densities.data: mass has 60 values"),
        "{error}"
    );
}

#[test]
fn a_result_has_its_numbers_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    let run = run_of(vec![projected_case(40), segmented_case(0.4, 0.1)]);
    let text = result_json(&run).unwrap();
    let as_pretty = serde_json::to_vec_pretty(&run).unwrap();
    assert!(text.len() * 10 < as_pretty.len() * 8, "{}", text.len());
    let value: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(value, serde_json::to_value(&run).unwrap());
    fs::write(&path, &text).unwrap();
    assert_eq!(read_result(&path).unwrap(), run);
}

/// A square of training points of which the sides and the diagonals are this full.
fn segmented_case(sides: f64, diagonals: f64) -> CaseResult {
    let mut case = plane_case(0.3);
    let measured = |value, se| Measured {
        value,
        se: Some(se),
    };
    let of = |filling: f64| {
        BTreeMap::from([
            ("gaussian-field".to_string(), measured(0.9 * filling, 0.01)),
            ("monte-carlo".to_string(), measured(filling, 0.03)),
        ])
    };
    for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let (from, to) = (case.means[a].clone(), case.means[b].clone());
        let length = (from[0] - to[0]).hypot(from[1] - to[1]);
        case.segments.push(SegmentResult {
            ends: [a, b],
            filling: of(if length < 1.7 { sides } else { diagonals }),
            from,
            to,
            length,
        });
    }
    for (name, filling) in [(SHORTEST_FILLING, sides), (LONGER_FILLING, diagonals)] {
        case.numbers.push(NumberResult {
            name: name.to_string(),
            values: of(filling),
        });
    }
    case
}

/// Widths of the lines of this colour that are not along an axis, thickest first.
fn slanted_widths(svg: &str, color: &str) -> Vec<f64> {
    let mut widths: Vec<f64> = svg
        .lines()
        .filter(|line| line.starts_with("<polyline") && line.contains(color))
        .filter(|line| {
            let (_, points) = line.split_once("points=\"").unwrap();
            let (points, _) = points.split_once('"').unwrap();
            let [a, b] = [0, 1].map(|k| points.split_whitespace().nth(k).unwrap());
            let ((ax, ay), (bx, by)) = (a.split_once(',').unwrap(), b.split_once(',').unwrap());
            ax != bx && ay != by
        })
        .map(|line| {
            let (_, width) = line.split_once("stroke-width=\"").unwrap();
            width.split_once('"').unwrap().0.parse().unwrap()
        })
        .collect();
    widths.sort_by(|a, b| b.total_cmp(a));
    widths
}

#[test]
fn a_square_is_told_from_a_cross() {
    let dir = tempfile::tempdir().unwrap();
    let square = run_of(vec![segmented_case(0.4, 0.1)]);
    let files = segment_figure(&square, &dir.path().join("square")).unwrap();
    let svg = fs::read_to_string(&files[0]).unwrap();
    assert_eq!(label_count(&svg, "sides"), 1);
    assert_eq!(label_count(&svg, "diagonals"), 1);
    assert_eq!(label_count(&svg, "recommended: gaussian-field"), 1);
    // As thick as they are full: the sides four times as thick as the diagonals.
    for color in ["#E69F00", "#0072B2"] {
        let widths = slanted_widths(&svg, color);
        assert_eq!(widths.len(), 6, "{widths:?}");
        let ratio = widths[0] / widths[5];
        // Widths are whole units: the thin ones are half a unit off at most.
        assert!(
            (ratio - 4.0).abs() < 4.0 * 0.5 / widths[5] + 0.1,
            "{widths:?}"
        );
        assert_eq!(widths[3], widths[0]);
        assert_eq!(widths[4], widths[5]);
    }
    keep(&files);

    // A rhombus is no square, and all cases are on one sheet.
    let mut rhombus = segmented_case(0.1, 0.4);
    for segment in &mut rhombus.segments {
        if segment.length > 1.7 {
            segment.length *= 1.1;
        }
    }
    let both = run_of(vec![segmented_case(0.1, 0.4), rhombus]);
    let files = write_figures(&both, dir.path()).unwrap();
    let svg = fs::read_to_string(dir.path().join("segments.svg")).unwrap();
    let labels = ["diagonals", "longer", "sides", "shortest"];
    assert_eq!(labels.map(|label| label_count(&svg, label)), [1; 4]);
    png_size(&dir.path().join("segments.png"));
    keep(&files);
}

/// The memorised fraction at three cutoffs and two numbers of samples.
#[test]
fn the_memorised_fraction_is_drawn_against_the_swept_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = run_of(
        [1e-4, 1e-3, 1e-2]
            .into_iter()
            .flat_map(|t_min| [64, 256].map(|samples| synthetic_case(t_min, samples)))
            .collect(),
    );
    let stem = dir.path().join("memorised");
    assert!(memorised_figure(&run, &stem).unwrap().is_empty());
    for (i, case) in run.cases.iter_mut().enumerate() {
        let measured = |value: f64, se| Measured { value, se };
        let leading = case.leading().unwrap().to_owned();
        case.numbers.push(NumberResult {
            name: MEMORISED.into(),
            values: BTreeMap::from([
                ("pf-ode".into(), measured(1.0, None)),
                (leading, measured(0.1 * i as f64, Some(0.02))),
                ("monte-carlo".into(), measured(0.12 * i as f64, Some(0.03))),
            ]),
        });
    }
    let files = memorised_figure(&run, &stem).unwrap();
    assert_eq!(files_in(dir.path()), ["memorised.png", "memorised.svg"]);
    let svg = fs::read_to_string(&files[0]).unwrap();
    for text in [
        "t_min",
        "samples = 64",
        "samples = 256",
        "memorised fraction",
        "predicted",
        "trained",
        "exact score",
    ] {
        assert!(
            svg.contains(&format!(">\n{text}\n</text>")),
            "no label '{text}'"
        );
    }
    // One curve of three points is solid, Monte Carlo's; two panels have one each.
    let orange = svg
        .lines()
        .filter(|l| l.starts_with("<polyline") && l.contains("#E69F00"));
    let corners = |line: &str| {
        line.split("points=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .split_whitespace()
            .count()
    };
    assert_eq!(orange.filter(|l| corners(l) == 3).count(), 2);
    // What is no number is not drawn.
    for case in &mut run.cases {
        for value in case.numbers[0].values.values_mut() {
            value.value = f64::NAN;
        }
    }
    memorised_figure(&run, &stem).unwrap();
    // A single value of the key is no curve.
    run.cases.truncate(1);
    assert!(memorised_figure(&run, &stem).unwrap().is_empty());
}

#[test]
fn segments_that_cannot_be_drawn_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut SegmentResult)| {
        let mut case = segmented_case(0.1, 0.4);
        change(&mut case.segments[2]);
        segment_figure(&run_of(vec![case]), &dir.path().join("none")).unwrap_err()
    };
    let error = refused(&|s| s.from.push(1.0));
    assert!(
        matches!(error, FigureError::Dimension { dim: 3 }),
        "{error}"
    );
    let nan = Measured {
        value: f64::NAN,
        se: None,
    };
    let error = refused(&|s| s.filling.extend([("monte-carlo".to_string(), nan)]));
    assert!(error.to_string().starts_with("segment 0 to 3: "), "{error}");
    let error = refused(&|s| s.to[1] = 1e300);
    assert!(matches!(error, FigureError::Malformed { .. }), "{error}");
    assert!(files_in(dir.path()).is_empty());
    // Nothing to draw, empty segments, points at one place.
    let none = run_of(vec![plane_case(0.0)]);
    assert!(
        segment_figure(&none, &dir.path().join("none"))
            .unwrap()
            .is_empty()
    );
    let mut flat = segmented_case(0.0, 0.0);
    for segment in &mut flat.segments {
        (segment.from, segment.to, segment.length) = (vec![1.0; 2], vec![1.0; 2], 0.0);
    }
    assert_eq!(
        segment_figure(&run_of(vec![flat]), &dir.path().join("flat"))
            .unwrap()
            .len(),
        2
    );
}

/// Two cases with two maps each.
fn mapped_run() -> RunResult {
    let axis: Vec<f64> = (0..40).map(|i| -1.95 + 0.1 * f64::from(i)).collect();
    let map = |t: f64| MapResult {
        t,
        axes: vec![axis.clone(), axis.clone()],
        values: (0..1600)
            .map(|k| axis[k / 40].hypot(axis[k % 40] - 1.0))
            .map(|r| (-r / t).exp())
            .collect(),
    };
    let case = |name: &str| CaseResult {
        maps: vec![map(0.1), map(1.0)],
        means: vec![vec![0.0, 1.0]],
        ..CaseResult::empty(BTreeMap::from([("data.kind".to_string(), json!(name))]))
    };
    run_of(vec![case("one"), case("two")])
}

#[test]
fn a_result_of_maps_alone_is_a_result() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    let mut run = mapped_run();
    let text = serde_json::to_string(&run).unwrap();
    let validator = jsonschema::validator_for(&result_schema()).unwrap();
    assert!(validator.is_valid(&serde_json::from_str(&text).unwrap()));
    fs::write(&path, &text).unwrap();
    assert_eq!(read_result(&path).unwrap(), run);
    assert_eq!(comparison_table(&run), "");
    let summary = maps_summary(&run);
    assert_eq!(summary.lines().count(), 4);
    assert!(summary.starts_with("data.kind = one, t = 0.1: share of noise in the target from "));

    let figures = tempfile::tempdir().unwrap();
    let written = write_figures(&run, figures.path()).unwrap();
    assert_eq!(files_in(figures.path()), ["map.png", "map.svg"]);
    assert_eq!(write_densities(&run, figures.path()).unwrap().len(), 0);
    let svg = fs::read_to_string(figures.path().join("map.svg")).unwrap();
    assert_eq!(svg.matches("<image ").count(), 4);
    // The dots, and nothing else, over the maps; times over the first row only.
    assert_eq!(svg.matches("<circle ").count(), 8);
    assert_eq!(svg.matches(">\nt = 0.1\n</text>").count(), 1);
    keep(&written);

    // Lists too long for a row are told by their number.
    for (k, case) in run.cases.iter_mut().enumerate() {
        let points: Vec<[f64; 2]> = (0..6).map(|i| [0.125 * i as f64, k as f64]).collect();
        case.case = BTreeMap::from([("data.points".to_string(), json!(points))]);
    }
    let files = map_figure(&run, &figures.path().join("lists")).unwrap();
    let svg = fs::read_to_string(&files[0]).unwrap();
    assert_eq!(svg.matches(">\n6 points (2)\n</text>").count(), 1);
    assert!(maps_summary(&run).starts_with("6 points (1), t = 0.1: "));

    run.cases[0].maps[1].values[3] = 1.5;
    fs::write(&path, serde_json::to_string(&run).unwrap()).unwrap();
    let error = read_result(&path).unwrap_err().to_string();
    assert!(
        error.contains("cases[0].maps[1]: values has the value 1.5"),
        "{error}"
    );
    run.cases[0].maps[1].values.pop();
    fs::write(&path, serde_json::to_string(&run).unwrap()).unwrap();
    let error = read_result(&path).unwrap_err().to_string();
    assert!(
        error.contains("1599 values, where the axes make 1600 pixels"),
        "{error}"
    );
}

/// Where the heat map of the file is brightest, the values are highest: the first coordinate along x, the second upwards.
#[test]
fn the_picture_of_a_map_is_the_right_way_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = mapped_run();
    run.cases.truncate(1);
    run.cases[0].maps.truncate(1);
    // No dots over the peak at (0, 1).
    run.cases[0].means.clear();
    map_figure(&run, &dir.path().join("map")).unwrap();
    let svg = fs::read_to_string(dir.path().join("map.svg")).unwrap();
    let place = |name: &str| -> f64 {
        let (_, after) = svg.split_once("<image ").unwrap();
        let (_, after) = after.split_once(&format!("{name}=\"")).unwrap();
        after.split_once('"').unwrap().0.parse().unwrap()
    };
    let file = std::io::BufReader::new(fs::File::open(dir.path().join("map.png")).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    // Two units of the drawing per pixel; x and y from the range [-2, 2].
    let color = |x: f64, y: f64| {
        let column = (place("x") + place("width") * (x + 2.0) / 4.0) / 2.0;
        let row = (place("y") + place("height") * (2.0 - y) / 4.0) / 2.0;
        let at = 3 * (row as usize * info.width as usize + column as usize);
        [pixels[at], pixels[at + 1], pixels[at + 2]]
    };
    let dark = [68, 1, 84];
    assert_eq!(color(1.0, 0.0), dark);
    assert_eq!(color(-1.0, 0.0), dark);
    assert_eq!(color(0.0, -1.0), dark);
    assert!(color(0.0, 1.0)[1] > 80, "{:?}", color(0.0, 1.0));
}

/// Adds dominant paths and what fills a gap, of made-up shape.
fn with_saddles(mut case: CaseResult) -> CaseResult {
    let steps = 40;
    let times: Vec<f64> = (0..=steps)
        .map(|k| 10_f64.powf(-2.0 * f64::from(k) / f64::from(steps)))
        .collect();
    let path = |start: f64, end: f64| DominantPath {
        start,
        end,
        action: 2.0 * (end - start) * (end - start),
        x: times.iter().map(|t| end + (start - end) * t * t).collect(),
        response: (times[1..].iter().map(|t| (end - start) * 10.0 / t.sqrt())).collect(),
    };
    let ends = [-1.1, -0.9, -0.3, 0.2, 0.9, 1.3];
    let paths = ends.into_iter().zip([-1.4, -0.6, 0.4, 0.9, 0.5, 1.4]);
    let dominant = DominantPaths {
        paths: paths.map(|(end, start)| path(start, end)).collect(),
        times: times.clone(),
    };
    let positions: Vec<f64> = (0..31).map(|i| -1.5 + 0.1 * f64::from(i)).collect();
    let coarse: Vec<f64> = times.iter().copied().step_by(2).collect();
    let change = |t: f64, x: f64| 0.1 * (3.0 * x).sin() * (-(x * x)).exp() * t * (-4.0 * t).exp();
    let edge = |low: f64, high: f64| times.iter().map(|t| low + (high - low) * t).collect();
    let filling = GapFillingReport {
        low: 0.4,
        high: 0.6,
        probability: 0.0123,
        standard_error: 0.0004,
        evaluations: 4000,
        direct_evaluations: 80_000.0,
        action: 0.83,
        filled: 0.061,
        unfilled: 0.0042,
        directions: (1..=8)
            .map(|rank| Direction {
                rank,
                standard_deviation: 0.1 / rank as f64,
                deviations: [0.8, -0.6][rank % 2] / rank as f64,
                share: 0.4 / (rank * rank) as f64,
            })
            .collect(),
        weights_change: vec![0.1; 4],
        denoiser_change: (coarse.iter())
            .map(|t| positions.iter().map(|x| change(*t, *x)).collect())
            .collect(),
        times: coarse,
        positions,
        edges: [edge(0.4, 0.3), edge(0.6, 0.5)],
        path_times: times,
    };
    case.diagnostics
        .insert(DOMINANT_PATHS.to_string(), json!(dominant));
    case.diagnostics
        .insert(GAP_FILLING.to_string(), json!(filling));
    case
}

#[test]
fn saddles_are_drawn_beside_the_densities() {
    let dir = tempfile::tempdir().unwrap();
    let mut case = with_saddles(synthetic_case(1e-2, 64));
    case.case.clear();
    let files = write_figures(&run_of(vec![case.clone()]), dir.path()).unwrap();
    let names = [
        "density.png",
        "density.svg",
        "gap-filling.png",
        "gap-filling.svg",
        "paths.png",
        "paths.svg",
    ];
    assert_eq!(files_in(dir.path()), names);
    for (file, texts) in [
        (
            "paths.svg",
            [
                "synthetic",
                "action S",
                "time t, from t_max at the left to t_min at the right, log scale",
                "6 paths",
            ],
        ),
        (
            "gap-filling.svg",
            [
                "synthetic",
                "change of the denoiser",
                "0.01230 ± 0.00040",
                "time t, from t_max at the left to t_min at the right, log scale",
            ],
        ),
    ] {
        let svg = fs::read_to_string(dir.path().join(file)).unwrap();
        for text in texts {
            assert!(
                svg.contains(&format!(">\n{text}\n</text>")),
                "no label '{text}' in {file}"
            );
        }
    }
    for file in ["paths.png", "gap-filling.png"] {
        assert!(png_size(&dir.path().join(file)).0 >= 1600);
    }
    keep(&files);
    // The same bytes again, from the file.
    let path = dir.path().join("result.json");
    write_atomic(&path, &serde_json::to_vec(&run_of(vec![case])).unwrap()).unwrap();
    let again = tempfile::tempdir().unwrap();
    for (a, b) in files
        .iter()
        .zip(write_figures(&read_result(&path).unwrap(), again.path()).unwrap())
    {
        assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
    }
}

#[test]
fn saddles_of_a_sweep_are_named_after_their_cases() {
    let dir = tempfile::tempdir().unwrap();
    let mut second = with_saddles(synthetic_case(1e-2, 256));
    second.diagnostics.remove(GAP_FILLING);
    let run = run_of(vec![synthetic_case(1e-2, 64), second]);
    write_figures(&run, dir.path()).unwrap();
    let stem = "case-02-diffusion.t_min=0.01-training.samples=256";
    let names = files_in(dir.path());
    assert_eq!(names.len(), 2 * 4, "{names:?}");
    assert!(names.contains(&format!("{stem}-paths.svg")), "{names:?}");
}

/// Draws a case after a change of its diagnostics; the message of the failure.
fn undrawn(change: impl FnOnce(&mut BTreeMap<String, Value>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut case = with_saddles(synthetic_case(1e-2, 64));
    change(&mut case.diagnostics);
    let error = write_figures(&run_of(vec![case]), dir.path()).unwrap_err();
    assert!(matches!(error, FigureError::Malformed { .. }), "{error}");
    error.to_string()
}

#[test]
fn saddles_that_contradict_themselves_are_refused() {
    let paths = |pointer: &'static str, value: Value| {
        undrawn(move |d| {
            *d.get_mut(DOMINANT_PATHS)
                .unwrap()
                .pointer_mut(pointer)
                .unwrap() = value
        })
    };
    let filling = |pointer: &'static str, value: Value| {
        undrawn(move |d| {
            *d.get_mut(GAP_FILLING)
                .unwrap()
                .pointer_mut(pointer)
                .unwrap() = value
        })
    };
    for (message, expected) in [
        (
            paths("/paths/1/x", json!([0.0])),
            "diagnostic 'dominant_paths': paths[1].x has 1 values, not 41",
        ),
        (
            paths("/paths/0/response/3", json!(1e300)),
            "diagnostic 'dominant_paths': paths[0].response has the value 1e300, which is no number to draw",
        ),
        (
            // What JSON makes of a value that is not finite.
            paths("/paths/0/response/3", json!(f64::NAN)),
            "diagnostic 'dominant_paths': invalid type: null, expected f64",
        ),
        (
            paths("/times/1", json!(2.0)),
            "diagnostic 'dominant_paths': times do not decrease over two or more values",
        ),
        (
            paths("/paths/0/action", json!(-1.0)),
            "diagnostic 'dominant_paths': paths[0].action is -1, below 0",
        ),
        (
            filling("/denoiser_change/2", json!([1.0, 2.0])),
            "diagnostic 'gap_filling': denoiser_change[2] has 2 values, not 31",
        ),
        (
            filling("/denoiser_change", json!([])),
            "diagnostic 'gap_filling': denoiser_change has 0 rows, where there are 21 times",
        ),
        (
            filling("/positions/4", json!(-7.0)),
            "diagnostic 'gap_filling': positions do not increase over two or more values",
        ),
        (
            filling("/edges/1", json!([])),
            "diagnostic 'gap_filling': edges[1] has 0 values, not 41",
        ),
        (
            filling("/high", json!(0.4)),
            "diagnostic 'gap_filling': the gap from 0.4 to 0.4 is empty",
        ),
    ] {
        assert_eq!(message, expected);
    }
    let not_paths = undrawn(|d| {
        d.insert(DOMINANT_PATHS.to_string(), json!("x"));
    });
    assert!(not_paths.starts_with("diagnostic 'dominant_paths': "));
}

/// Every value replaced by others is drawn or refused: never a panic. Empty lists give no figure.
#[test]
fn no_saddles_make_the_figures_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut case = with_saddles(synthetic_case(1e-2, 64));
    let stem = dir.path().join("figure");
    let draw = |case: &CaseResult| {
        [
            paths_figure(case, "", &stem).map(|files| files.len()),
            gap_filling_figure(case, "", &stem).map(|files| files.len()),
        ]
    };
    for (key, pointers) in [
        (
            DOMINANT_PATHS,
            ["/times/40", "/paths/2/x/7", "/paths/2/action"].as_slice(),
        ),
        (
            GAP_FILLING,
            &[
                "/low",
                "/probability",
                "/positions/30",
                "/denoiser_change/3/4",
                "/edges/0/5",
                "/directions/0/deviations",
                "/directions/0/rank",
            ],
        ),
    ] {
        let good = case.diagnostics[key].clone();
        for pointer in pointers {
            for value in [
                json!(1e199),
                json!(-1e199),
                json!(0),
                json!(5e-324),
                json!(null),
            ] {
                let mut changed = good.clone();
                *changed.pointer_mut(pointer).unwrap() = value;
                case.diagnostics.insert(key.to_string(), changed);
                for drawn in draw(&case) {
                    assert!(drawn.is_ok() || !drawn.unwrap_err().to_string().is_empty());
                }
            }
        }
        case.diagnostics.insert(key.to_string(), good);
    }
    case.diagnostics.insert(
        DOMINANT_PATHS.to_string(),
        json!({"times": [], "paths": []}),
    );
    let filling = case.diagnostics.get_mut(GAP_FILLING).unwrap();
    for list in ["directions", "path_times"] {
        filling[list] = json!([]);
    }
    filling["edges"] = json!([[], []]);
    let [paths, map] = draw(&case);
    assert_eq!((paths.unwrap(), map.unwrap()), (0, 2));
    let filling = case.diagnostics.get_mut(GAP_FILLING).unwrap();
    for list in ["times", "positions", "denoiser_change"] {
        filling[list] = json!([]);
    }
    assert_eq!(draw(&case).map(Result::unwrap), [0, 0]);
    case.diagnostics.clear();
    assert_eq!(draw(&case).map(Result::unwrap), [0, 0]);
}

/// Copies figures to the directory that VKERNEL_KEEP_FIGURES names, for a person to look at.
fn keep(files: &[PathBuf]) {
    if let Some(dir) = std::env::var_os("VKERNEL_KEEP_FIGURES") {
        for file in files {
            fs::copy(file, Path::new(&dir).join(file.file_name().unwrap())).unwrap();
        }
    }
}
