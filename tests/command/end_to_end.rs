//! Every subcommand from the spec to the files.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{NAIVE, Place, SMALL, bare, bins_of_whole, density, numbers, read_json};

const FILES: [&str; 4] = ["density.csv", "density.png", "density.svg", "result.json"];

fn is_valid(schema: &Value, value: &Value) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

fn schema(place: &Place, of: &str) -> Value {
    serde_json::from_str(&place.succeed(&["schema", of]).out).unwrap()
}

#[test]
fn run_writes_a_whole_result() {
    let place = Place::with(SMALL);
    let done = place.succeed(&["run", "spec.toml"]);
    assert_eq!(place.names("out/spec"), FILES);
    for file in FILES {
        assert!(done.out.contains(file), "{}", done.out);
    }
    let result = place.json("out/spec/result.json");
    assert_eq!(result["schema"], "vkernel.result/1");
    assert_eq!(result["spec"]["name"], "spec");
    assert_eq!(result["provenance"]["seed"], 7);
    let case = &result["cases"][0];
    let names: Vec<&String> = case["densities"].as_object().unwrap().keys().collect();
    let all = [
        "data",
        "gaussian-field",
        "mean-field",
        "monte-carlo",
        "pf-ode",
    ];
    assert_eq!(names, all);
    assert_eq!(case["comparisons"].as_array().unwrap().len(), 3);
    assert_eq!(case["recommended"], "gaussian-field");
    for name in all {
        assert_eq!(bins_of_whole(density(&result, 0, name)), 30, "{name}");
    }
    assert_eq!(density(&result, 0, "monte-carlo")["models"], 130);
    assert_eq!(density(&result, 0, "gaussian-field")["models"], 100);
}

/// The saddle points bring their density, the dominant paths and what fills a gap, as numbers and as figures.
#[test]
fn saddles_with_their_paths_and_a_gap() {
    let place = Place::with(SMALL);
    let settings = [
        "predict.methods=[\"saddle\",\"gaussian-field\"]",
        "predict.starts=8",
        "predict.gap=[-0.3,0.3]",
        "training.samples=2000",
    ];
    let mut words = vec!["predict", "spec.toml"];
    for setting in settings {
        words.extend(["--set", setting]);
    }
    place.succeed(&words);
    let files = place.names("out/spec");
    for file in [
        "paths.png",
        "paths.svg",
        "gap-filling.png",
        "gap-filling.svg",
    ] {
        assert!(files.iter().any(|f| f == file), "{files:?}");
    }
    let result = place.json("out/spec/result.json");
    let diagnostics = &result["cases"][0]["diagnostics"];
    let account = &diagnostics["saddle"];
    let count = |key: &str| account[key].as_u64().unwrap();
    let without: u64 = account["pairs_without_minimum"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    let pairs = count("pairs_with_one_minimum") + count("pairs_with_several_minima") + without;
    assert_eq!(pairs, 8 * 30);
    // The gap's probability, by importance sampling, against the mass of the drawn densities in its bins.
    let gap = &diagnostics["gap_filling"];
    let field = numbers(&density(&result, 0, "gaussian-field")["mass"]);
    let edges = numbers(&result["cases"][0]["edges"][0]);
    let drawn: f64 = (0..30)
        .map(|i| {
            let (low, high) = (edges[i].max(-0.3), edges[i + 1].min(0.3));
            field[i] * (high - low).max(0.0) / (edges[i + 1] - edges[i])
        })
        .sum();
    let (p, se) = (
        gap["probability"].as_f64().unwrap(),
        gap["standard_error"].as_f64().unwrap(),
    );
    // Five standard errors of both: 100 draws each, the density's taken as uncertain as the other.
    assert!((p - drawn).abs() < 5.0 * 1.5 * se, "{p} +- {se}, {drawn}");
    assert!(gap["filled"].as_f64().unwrap() > gap["unfilled"].as_f64().unwrap());
}

/// A gap beyond what the mean model reaches is a warning, one that holds everything has probability one.
#[test]
fn gaps_at_the_ends() {
    let place = Place::with(SMALL);
    let solve = |gap: &str| {
        let gap = format!("predict.gap={gap}");
        let methods = "predict.methods=[\"saddle\"]";
        let words = ["predict", "spec.toml", "--set", methods, "--set", &gap];
        place.succeed(&[&words[..], &["--set", "predict.starts=8"]].concat());
        place.json("out/spec/result.json")["cases"][0]["diagnostics"].clone()
    };
    let all = solve("[-2.0,2.0]");
    let p = all["gap_filling"]["probability"].as_f64().unwrap();
    assert!((0.5..1.5).contains(&p), "{p}");
    let beyond = solve("[1.9999,2.0]");
    if beyond.get("gap_filling").is_none() {
        let warning = beyond["warnings"][0].as_str().unwrap();
        assert!(
            warning.starts_with("predict.gap: the mean model"),
            "{warning}"
        );
    }
}

/// White noise that is too strong to expand in: the other methods stand, and a warning says why one is missing.
#[test]
fn saddles_of_strong_noise_are_refused() {
    let place = Place::with(NAIVE);
    let methods = "predict.methods=[\"saddle\",\"fokker-planck\"]";
    let noise = "model.kappa=1.0";
    let done = place.succeed(&["predict", "spec.toml", "--set", methods, "--set", noise]);
    let result = place.json("out/spec/result.json");
    let densities = &result["cases"][0]["densities"];
    assert!(densities.get("saddle").is_none() && densities.get("fokker-planck").is_some());
    let warnings = &result["cases"][0]["diagnostics"]["warnings"];
    assert!(warnings[0].as_str().unwrap().starts_with("saddle: "));
    assert!(done.out.contains("warning: saddle: "), "{}", done.out);
}

/// Cases that differ only in what is predicted have one ensemble between them, and each its own methods.
#[test]
fn statistics_share_their_models() {
    let place = Place::with(SMALL);
    let sweep = r#"sweep."predict.statistics"=["sandwich", "equivalent", "quenched-layer"]"#;
    let result = place.result_of("out", &["--set", sweep]);
    is_valid(&schema(&place, "result"), &result);
    let methods = [
        &["mean-field", "semiclassical", "gaussian-field"][..],
        &[
            "mean-field",
            "semiclassical",
            "gaussian-field",
            "sample-sum",
        ],
        &["mean-field", "gaussian-field"],
    ];
    let alone = place.result_of("alone", &[]);
    for (case, methods) in methods.iter().enumerate() {
        assert_eq!(
            density(&result, case, "monte-carlo"),
            density(&alone, 0, "monte-carlo")
        );
        let densities = result["cases"][case]["densities"].as_object().unwrap();
        assert_eq!(densities.len(), 3 + methods.len());
        for method in *methods {
            assert!(densities.contains_key(*method), "{case}: {method}");
            assert!(result["cases"][case]["trust"][*method]["reason"].is_string());
        }
    }
    let layer = &result["cases"][2]["diagnostics"]["quenched_layer"];
    assert!(layer["expected_samples"].as_f64().unwrap() <= 40.0);
    assert!(layer["estimated_error"].as_f64().unwrap() <= 0.02);
}

/// Where V is too large for the loop corrections the result says so: in the diagnostics, a warning and the trust.
#[test]
fn loop_corrections_say_where_v_is_too_large() {
    let place = Place::with(SMALL);
    let settings = [
        "predict.one_loop=true",
        r#"predict.methods=["semiclassical"]"#,
        r#"sweep."training.samples"=[40, 1000000]"#,
    ];
    let mut arguments = vec!["predict", "spec.toml", "-o", "out"];
    arguments.extend(settings.iter().flat_map(|s| ["--set", s]));
    place.succeed(&arguments);
    let result = place.json("out/result.json");
    is_valid(&schema(&place, "result"), &result);
    let says = |case: usize| {
        let case = &result["cases"][case];
        let loops = &case["diagnostics"]["semiclassical"]["one_loop"];
        let intervals = loops["refused_between"].as_array().unwrap().len();
        let trust = &case["trust"]["semiclassical"];
        let warned = case["diagnostics"]["warnings"]
            .to_string()
            .contains("V is too large");
        let reason = trust["reason"].as_str().unwrap().contains("V is too large");
        assert_eq!(intervals > 0, warned);
        (
            loops["refused_share"].as_f64().unwrap(),
            warned,
            reason,
            trust["level"] == "none",
        )
    };
    let (few, many) = (says(0), says(1));
    assert!(few.0 > 0.5 && few.1 && few.2 && few.3, "{few:?}");
    assert!(many.0 < 0.5 && !many.2 && !many.3, "{many:?}");
}

#[test]
fn columns_hold_the_masses_of_the_result() {
    let place = Place::with(SMALL);
    let result = place.result_of("out", &[]);
    let text = fs::read_to_string(place.path("out/density.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!((&header[0], &header[1]), ("low", "high"));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 32);
    for (column, name) in header.iter().enumerate().skip(2) {
        let cells: Vec<f64> = rows.iter().map(|r| r[column].parse().unwrap()).collect();
        assert_eq!(cells[1..31], numbers(&density(&result, 0, name)["mass"]));
        assert_eq!(cells[0], density(&result, 0, name)["tails"][0]);
        assert_eq!(cells[31], density(&result, 0, name)["tails"][1]);
    }
}

#[test]
fn a_sweep_writes_columns_and_figures_of_every_case() {
    let place = Place::with(SMALL);
    let sweep = r#"sweep."training.samples"=[20, 40]"#;
    let result = place.result_of("out", &["--set", sweep]);
    assert_eq!(result["cases"].as_array().unwrap().len(), 2);
    assert_eq!(result["cases"][1]["case"]["training.samples"], 40);
    let names = place.names("out");
    for file in [
        "case-01-training.samples=20.csv",
        "case-02-training.samples=40.csv",
        "result.json",
    ] {
        assert!(names.iter().any(|n| n == file), "{names:?}");
    }
    assert!(names.iter().all(|n| !n.starts_with('.')), "{names:?}");
    is_valid(&schema(&place, "result"), &result);
    is_valid(&schema(&place, "spec"), &result["spec"]);
}

const OBJECTIVES: &str = r#"sweep."training.objective"=["esm", "dsm"]"#;

#[test]
fn a_sweep_over_the_objective_takes_the_deviation_apart() {
    let place = Place::with(SMALL);
    let arguments = ["run", "spec.toml", "-o", "out", "--set", OBJECTIVES];
    let printed = place.succeed(&arguments).out;
    let (_, table) = printed.split_once("Deviation from").unwrap();
    assert!(
        table.contains("measured") && table.contains("predicted"),
        "{table}"
    );
    for file in ["decomposition.svg", "decomposition.png"] {
        assert!(place.path("out").join(file).exists() && printed.contains(file));
    }
    let stored = place.succeed(&["compare", "out"]).out;
    for line in table.lines().filter(|line| line.contains("measured")) {
        assert!(stored.contains(line.trim()), "{line}\nnot in\n{stored}");
    }
    let result = place.json("out/result.json");
    is_valid(&schema(&place, "result"), &result);
    for case in 0..2 {
        for name in ["monte-carlo", "gaussian-field"] {
            let d = density(&result, case, name);
            let [gap, error] = ["gap_mass", "gap_mass_se"].map(|f| d[f].as_f64().unwrap());
            assert!(
                gap > 0.0 && gap < 1.0 && error > 0.0 && error < 0.5 * gap,
                "{d}"
            );
            assert_eq!(numbers(&d["gap_mass_replicates"]).len(), 200);
        }
    }
    let comparisons = result["cases"][1]["comparisons"].as_array().unwrap();
    for c in comparisons {
        let sampled = c["predicted"] == "gaussian-field";
        assert_eq!(c["bands_within"].is_number(), sampled, "{c}");
        assert_eq!(c["bands_bins"].is_number(), sampled, "{c}");
    }
    // The noisy target's case is the one that the spec without a sweep has.
    let alone = place.result_of("alone", &[]);
    assert_eq!(
        density(&alone, 0, "monte-carlo"),
        density(&result, 1, "monte-carlo")
    );
    fs::remove_file(place.path("out/decomposition.svg")).unwrap();
    place.succeed(&["plot", "out"]);
    assert!(place.path("out/decomposition.svg").exists());
}

/// With a single data point the exact target is the noisy one: models of both objectives differ only if their samples do.
#[test]
fn both_objectives_see_the_same_samples() {
    let place = Place::with(&SMALL.replace("[[-1.0], [1.0]]", "[[0.5]]"));
    let result = place.result_of("out", &["--set", OBJECTIVES]);
    assert_eq!(result["cases"][0]["case"]["training.objective"], "esm");
    for name in ["monte-carlo", "gaussian-field"] {
        assert_eq!(density(&result, 0, name), density(&result, 1, name));
    }
}

#[test]
fn result_and_spec_satisfy_their_schemas() {
    for spec in [SMALL, NAIVE] {
        let place = Place::with(spec);
        let result = place.result_of("out", &[]);
        is_valid(&schema(&place, "result"), &result);
        is_valid(&schema(&place, "spec"), &result["spec"]);
        let written: toml::Table = spec.parse().unwrap();
        let written = serde_json::to_value(written).unwrap();
        is_valid(&schema(&place, "spec"), &written);
    }
    // The spec's is what `schema` prints when not asked.
    let place = Place::with(SMALL);
    assert_eq!(
        place.succeed(&["schema"]).out,
        place.succeed(&["schema", "spec"]).out
    );
}

#[test]
fn the_resolved_spec_repeats_the_run() {
    for spec in [SMALL, NAIVE] {
        let place = Place::with(spec);
        let first = place.result_of("out", &[]);
        place.write("again.json", &first["spec"].to_string());
        place.succeed(&["run", "again.json", "-q", "-o", "again"]);
        assert_eq!(bare(place.json("again/result.json")), bare(first));
    }
}

#[test]
fn predict_trains_nothing_and_train_predicts_nothing() {
    let place = Place::with(SMALL);
    let both = place.result_of("both", &[]);
    place.succeed(&["predict", "spec.toml", "-q", "-o", "theory"]);
    place.succeed(&["train", "spec.toml", "-q", "-o", "models"]);
    let schema = schema(&place, "result");
    let [theory, models] = ["theory", "models"].map(|f| place.json(&format!("{f}/result.json")));
    for (result, folder) in [(&theory, "theory"), (&models, "models")] {
        is_valid(&schema, result);
        assert_eq!(place.names(folder), FILES);
    }
    // What each half has is what the whole has, bit for bit.
    let densities = |r: &Value| r["cases"][0]["densities"].as_object().unwrap().clone();
    let whole = densities(&both);
    for (name, d) in densities(&theory).iter().chain(&densities(&models)) {
        assert_eq!(whole[name], *d, "{name}");
    }
    assert!(!densities(&theory).contains_key("monte-carlo"));
    assert_eq!(densities(&theory).len(), 4);
    assert_eq!(theory["cases"][0]["trust"], both["cases"][0]["trust"]);
    let names: Vec<String> = densities(&models).keys().cloned().collect();
    assert_eq!(names, ["data", "monte-carlo", "pf-ode"]);
    assert!(models["cases"][0]["recommended"].is_null());
    for result in [&theory, &models] {
        let comparisons = result["cases"][0]["comparisons"].as_array().unwrap();
        assert!(comparisons.iter().all(|c| c["predicted"] == "pf-ode"));
    }
}

#[test]
fn compare_prints_the_table_of_the_run() {
    let place = Place::with(SMALL);
    let run = place.succeed(&["run", "spec.toml", "-o", "out"]).out;
    let table = run.split("\n\n").next().unwrap();
    assert!(table.contains("gaussian-field"), "{table}");
    for path in ["out", "out/result.json"] {
        let stored = place.succeed(&["compare", path]).out;
        // The stored table names the result in one column more.
        for line in table.lines().skip(2) {
            assert!(stored.contains(line.trim()), "{line}\nnot in\n{stored}");
        }
    }
    place.succeed(&["run", "spec.toml", "-q", "-o", "other", "--seed", "8"]);
    let both = place.succeed(&["compare", "out", "other"]).out;
    assert!(both.contains("out ") && both.contains("other "), "{both}");
}

#[test]
fn plot_draws_the_same_figures_again() {
    let place = Place::with(SMALL);
    place.result_of("out", &[]);
    let [svg, png] =
        ["svg", "png"].map(|kind| fs::read(place.path(&format!("out/density.{kind}"))).unwrap());
    assert!(svg.starts_with(b"<svg") || svg.starts_with(b"<?xml"));
    assert!(png.starts_with(b"\x89PNG"));
    fs::remove_file(place.path("out/density.png")).unwrap();
    let beside = place.succeed(&["plot", "out"]).out;
    assert!(beside.contains("density.png"), "{beside}");
    place.succeed(&["plot", "out/result.json", "-o", "elsewhere/deep"]);
    for folder in ["out", "elsewhere/deep"] {
        assert_eq!(
            fs::read(place.path(&format!("{folder}/density.svg"))).unwrap(),
            svg
        );
        assert_eq!(
            fs::read(place.path(&format!("{folder}/density.png"))).unwrap(),
            png
        );
    }
}

#[test]
fn check_runs_nothing() {
    let place = Place::with(SMALL);
    let sweep = r#"sweep."training.samples"=[20, 40]"#;
    let done = place.succeed(&["check", "spec.toml", "--set", sweep, "--threads", "3"]);
    assert_eq!(place.names("."), ["spec.toml"]);
    let (spec, ahead) = done.out.split_once("\n\n").unwrap();
    let spec: Value = serde_json::from_str(spec).unwrap();
    is_valid(&schema(&place, "spec"), &spec);
    assert_eq!(spec["sampler"]["scheme"], "ddim");
    assert!(ahead.contains("2 case(s) on 3 thread(s)"), "{ahead}");
    let second = "case 2: training.samples = 40; F = 36, P = 40, 130 models, memory";
    assert!(ahead.contains(second), "{ahead}");
}

#[test]
fn quiet_prints_nothing_and_progress_goes_to_standard_error() {
    let place = Place::with(SMALL);
    for job in ["run", "predict", "train"] {
        let done = place.succeed(&[job, "spec.toml", "--quiet"]);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""), "{job}");
    }
    let done = place.succeed(&["run", "spec.toml"]);
    assert!(!done.out.contains("case 1/1"), "{}", done.out);
    let lines: Vec<&str> = done.err.lines().collect();
    let parts = ["references", "statistics", "gaussian-field", "monte-carlo"];
    for part in parts {
        let start = format!("case 1/1 {part} 0/");
        assert!(lines.iter().any(|l| l.starts_with(&start)), "{lines:?}");
    }
    // No control characters of a progress bar.
    assert!(!done.err.contains('\u{1b}') && !done.err.contains('\r'));
}

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let place = Place::with(SMALL);
    place.result_of("stored", &[]);
    let commands: [&[&str]; 5] = [
        &["run", "spec.toml", "-o", "out"],
        &["check", "spec.toml"],
        &["schema", "result"],
        &["compare", "stored"],
        &["plot", "stored"],
    ];
    for arguments in commands {
        let status = place.command(arguments).stdout(closed()).status();
        assert_eq!(status.unwrap().code(), Some(0), "{arguments:?}");
    }
    // Nobody follows the progress either: the work is done all the same.
    let mut command = place.command(&["run", "spec.toml", "-o", "unseen"]);
    let status = command.stdout(closed()).stderr(closed()).status();
    assert_eq!(status.unwrap().code(), Some(0));
    assert_eq!(
        bare(place.json("unseen/result.json")),
        bare(place.json("stored/result.json"))
    );
    // The exit code still tells what the message could not.
    let mut command = place.command(&["run", "absent.toml"]);
    let status = command.stdout(closed()).stderr(closed()).status();
    assert_eq!(status.unwrap().code(), Some(2));
}

#[test]
fn a_folder_of_the_users_own_is_left_alone() {
    let place = Place::with(SMALL);
    fs::create_dir_all(place.path("out/checkpoint")).unwrap();
    place.write("out/checkpoint/weights.json", "{}");
    place.write("out/checkpoint/step-monte-carlo.json", "{}");
    place.write("out/.notes.tmp", "mine");
    place.result_of("out", &[]);
    assert_eq!(
        place.names("out/checkpoint"),
        ["step-monte-carlo.json", "weights.json"]
    );
    assert!(place.path("out/.notes.tmp").exists());
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let place = Place::with(SMALL);
    place.write("file", "in the way");
    for arguments in [
        ["run", "spec.toml", "-q", "-o", "file"],
        ["train", "spec.toml", "-q", "-o", "file/below"],
    ] {
        let done = place.vkernel(&arguments);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.err.starts_with("error: "), "{done:?}");
        assert!(done.err.contains("file"), "{done:?}");
    }
    assert_eq!(read_text(&place, "file"), "in the way");
}

fn read_text(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path(name)).unwrap()
}

#[test]
fn a_data_file_is_found_beside_its_spec() {
    let place = Place::with("");
    fs::create_dir(place.path("specs")).unwrap();
    let spec = SMALL
        .replace("kind = \"points\"", "kind = \"file\"")
        .replace(
            "points = [[-1.0], [1.0]]",
            "path = \"table.csv\"\ncolumns = [\"b\"]",
        );
    place.write("specs/real.toml", &spec);
    place.write("specs/table.csv", "a,b\nu,-1\nv,1\nw,1\n");
    place.succeed(&["predict", "specs/real.toml", "-q"]);
    let result = read_json(&place.path("out/real/result.json"));
    assert!(result["spec"]["data"]["checksum"].is_string());
    let [below, above]: [f64; 2] = {
        let mass = numbers(&density(&result, 0, "data")["mass"]);
        [mass[..15].iter().sum(), mass[15..].iter().sum()]
    };
    assert!((below - 1.0 / 3.0).abs() < 1e-9 && (above - 2.0 / 3.0).abs() < 1e-9);
}
