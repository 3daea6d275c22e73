//! Wrong input ends with exit code 2 and says where, what was found and what is allowed.

use serde_json::{Value, json};

use crate::support::{Place, SMALL};

/// The first occurrence of `from` in the spec replaced; where the replacement has several lines, they are all new.
fn changed(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    SMALL.replacen(from, to, 1)
}

/// Line of the spec on which `text` is first met.
fn line(spec: &str, text: &str) -> usize {
    1 + spec.lines().position(|l| l.contains(text)).unwrap()
}

/// A wrong spec: what replaces what, the text on the offending line, the field, parts of "found" and of "allowed".
type Wrong = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const WRONG: [Wrong; 24] = [
    (
        "samples = 40",
        "samples = 0",
        "samples = 0",
        "training.samples",
        "0",
        "an integer >= 1",
    ),
    (
        "samples = 40",
        "sample = 40",
        "sample = 40",
        "training.sample",
        "unknown key \"sample\"",
        "samples (the closest)",
    ),
    (
        "samples = 40",
        "samples = \"many\"",
        "many",
        "training.samples",
        "\"many\"",
        "an integer >= 1",
    ),
    (
        "samples = 40",
        "ridge = -0.5",
        "ridge",
        "training.ridge",
        "-0.5",
        ">= 0",
    ),
    (
        "samples = 40",
        "ridge = inf",
        "ridge",
        "training.ridge",
        "",
        "number",
    ),
    (
        "samples = 40",
        "samples = 20\nridge = 0",
        "ridge",
        "training.ridge",
        "0 with 20 samples for 36 features",
        "training.samples >= 36",
    ),
    (
        "kind = \"linear\"",
        "kind = \"transformer\"",
        "transformer",
        "model.kind",
        "\"transformer\"",
        "\"naive\" | \"linear\"",
    ),
    (
        "kind = \"linear\"",
        "kind = \"linear\"\nkappa = 0.1",
        "kappa",
        "model.kappa",
        "",
        "",
    ),
    (
        "[sampler]",
        "[sampler",
        "[sampler",
        "",
        "unclosed table",
        "valid TOML",
    ),
    (
        "[[-1.0], [1.0]]",
        "[[-1.0, 0.0], [1.0, 2.0, 3.0]]",
        "3.0]]",
        "data.points[1]",
        "3 coordinates",
        "2 coordinates, as the first",
    ),
    (
        "[[-1.0], [1.0]]",
        "[[nan], [1.0]]",
        "nan",
        "data.points[0][0]",
        "NaN",
        "a finite number",
    ),
    (
        "[[-1.0], [1.0]]",
        "[[-1.0], [1.0]]\nweights = [0.5, 0.4]",
        "weights",
        "data.weights",
        "a sum of 0.9",
        "sum to 1",
    ),
    (
        "kind = \"vp\"",
        "kind = \"vp\"\nt_min = 2.0",
        "t_min",
        "diffusion.t_min",
        "2.0",
        "< t_max = 1.0",
    ),
    (
        "of = \"x1\"",
        "of = \"x2\"",
        "x2",
        "model.features[0].of",
        "\"x2\"",
        "\"x1\"",
    ),
    (
        "count = 6",
        "count = 30000",
        "30000",
        "model.features[0].count",
        "30000",
        "20000",
    ),
    (
        "draws = 100",
        "methods = [\"fokker-planck\"]",
        "fokker",
        "predict.methods[0]",
        "\"fokker-planck\"",
        "\"mean-field\" | \"semiclassical\" | \"saddle\" | \"gaussian-field\"",
    ),
    (
        "steps = 20",
        "scheme = \"adaptive\"\nkind = \"reverse-sde\"",
        "scheme",
        "sampler.scheme",
        "\"adaptive\"",
        "\"euler\" | \"heun\" | \"ddim\"",
    ),
    (
        "particles = 64",
        "particles = 4",
        "particles",
        "monte_carlo.particles",
        "4",
        ">= 8",
    ),
    (
        "range = [-2.0, 2.0]",
        "range = [2.0, -2.0]",
        "[2.0, -2.0]",
        "output.range",
        "[2.0,-2.0]",
        "low < high",
    ),
    (
        "[[-1.0], [1.0]]",
        "[[-1.0], [1.0]]\nrotation = 45.0",
        "rotation",
        "data.rotation",
        "45.0 with D = 1",
        "no rotation unless D = 2",
    ),
    (
        "bins = 30",
        "directions = [[1.0]]",
        "directions",
        "output.directions",
        "[[1.0]]",
        "no directions in one dimension",
    ),
    (
        "of = \"x1\"",
        "of = [\"x1\", \"x1\"]",
        "x1",
        "model.features[0].of",
        "[\"x1\",\"x1\"]",
        "none twice",
    ),
    (
        "bins = 30",
        "bins = 30\n[sweep]\n\"training.samples\" = [20, -1]",
        "[20, -1]",
        "training.samples",
        "-1",
        "an integer >= 1",
    ),
    (
        "bins = 30",
        "bins = 30\n[sweep]\n\"training.sampels\" = [20]",
        "sampels",
        "training.sampels",
        "sampels",
        "samples",
    ),
];

#[test]
fn a_wrong_spec_is_traced_to_its_line() {
    for (from, to, at, field, found, allowed) in WRONG {
        let spec = changed(from, to);
        let place = Place::with(&spec);
        let expected = line(&spec, at);
        for job in ["run", "predict", "train", "check"] {
            let message = place.refuse(&[job, "spec.toml"]);
            let head = match field {
                "" => format!("error: spec.toml:{expected}\n"),
                field => format!("error: spec.toml:{expected}: {field}\n"),
            };
            assert!(message.starts_with(&head), "{head}{to}\n{message}");
            let part = |name: &str| -> String {
                let start = format!("  {name}: ");
                let line = message.lines().find_map(|l| l.strip_prefix(&start));
                line.unwrap_or_else(|| panic!("no {name}: {message}"))
                    .to_owned()
            };
            assert!(part("found").contains(found), "{found}: {message}");
            assert!(part("allowed").contains(allowed), "{allowed}: {message}");
        }
        assert_eq!(place.names("."), ["spec.toml"], "{to}");
    }
}

#[test]
fn a_missing_section_is_named() {
    let place = Place::with(&SMALL[..SMALL.find("[model]").unwrap()]);
    let message = place.refuse(&["run", "spec.toml"]);
    assert!(
        message.starts_with("error: spec.toml: model\n"),
        "{message}"
    );
}

#[test]
fn a_wrong_override_is_quoted() {
    let place = Place::with(SMALL);
    let wrong = [
        ("training.samples", "KEY=VALUE"),
        ("training.samples=0", "an integer >= 1"),
        ("training.samples=x", "an integer >= 1"),
        ("training.sampels=4", "samples"),
        ("training..samples=4", "a dotted key"),
        ("model.features.7.count=4", ""),
        ("training.samples=1000000000000", "bytes"),
        ("sweep.\"training.ridge\"=[]", ""),
        ("name=\"../above\"", ""),
        ("=3", "a dotted key"),
    ];
    for (text, allowed) in wrong {
        let message = place.refuse(&["run", "spec.toml", "--set", text]);
        assert!(message.starts_with("error: --set "), "{message}");
        assert!(message.contains("\n  allowed: "), "{message}");
        assert!(message.contains(allowed), "{allowed}: {message}");
    }
    let message = place.refuse(&["run", "spec.toml", "--seed", "18446744073709551615"]);
    assert!(
        message.starts_with("error: --seed 18446744073709551615: seed"),
        "{message}"
    );
    assert_eq!(place.names("."), ["spec.toml"]);
}

#[test]
fn a_file_that_is_no_spec_is_named() {
    let place = Place::with(SMALL);
    place.write("empty.toml", "");
    place.write("list.json", "[1, 2]");
    place.write("half.json", "{\"data\": {\"kind\": ");
    place.write("typed.json", "{\"data\": 3}");
    for name in [
        "absent.toml",
        ".",
        "empty.toml",
        "list.json",
        "half.json",
        "typed.json",
    ] {
        let message = place.refuse(&["check", name]);
        assert!(message.starts_with(&format!("error: {name}")), "{message}");
        assert!(message.contains("\n  allowed: "), "{message}");
    }
    std::fs::write(place.path("bytes.toml"), b"\xff\xfe\x00").unwrap();
    let message = place.refuse(&["check", "bytes.toml"]);
    assert!(message.starts_with("error: bytes.toml"), "{message}");
}

#[test]
fn a_wrong_data_file_is_traced_to_its_line_and_column() {
    let file = changed("kind = \"points\"", "kind = \"file\"");
    let file = file.replace("points = [[-1.0], [1.0]]", "path = \"table.csv\"");
    let place = Place::with(&file);
    let message = place.refuse(&["run", "spec.toml"]);
    assert!(
        message.starts_with("error: spec.toml:5: data.path"),
        "{message}"
    );
    place.write("table.csv", "a\n1\n2\nx\n");
    let message = place.refuse(&["run", "spec.toml"]);
    assert!(
        message.starts_with("error: table.csv:4: column \"a\""),
        "{message}"
    );
    place.write("table.csv", "a\n");
    let message = place.refuse(&["run", "spec.toml"]);
    assert!(message.contains("table.csv"), "{message}");
}

#[test]
fn a_wrong_command_line_is_refused() {
    let place = Place::with(SMALL);
    let wrong: [&[&str]; 9] = [
        &["run", "spec.toml", "--frobnicate"],
        &["run"],
        &["run", "spec.toml", "--threads", "0"],
        &["run", "spec.toml", "--seed", "-1"],
        &["frobnicate", "spec.toml"],
        &["schema", "other"],
        &["compare"],
        &["plot"],
        &["check", "spec.toml", "--set"],
    ];
    for arguments in wrong {
        let message = place.refuse(arguments);
        assert!(message.starts_with("error: "), "{message}");
        assert!(
            message.contains("Usage: ") || message.contains("--help"),
            "{message}"
        );
    }
    assert_eq!(place.names("."), ["spec.toml"]);
}

#[test]
fn a_file_that_is_no_result_is_named() {
    let place = Place::with(SMALL);
    let result = place.result_of("good", &[]);
    let with = |pointer: &str, value: Value| {
        let mut result = result.clone();
        *result.pointer_mut(pointer).unwrap() = value;
        result.to_string()
    };
    let whole = result.to_string();
    let mut fewer = result["cases"][0]["densities"]["data"]["mass"].clone();
    fewer.as_array_mut().unwrap().pop();
    let wrong = [
        ("empty.json", String::new(), "line"),
        ("half.json", whole[..whole.len() / 2].to_owned(), "line"),
        ("list.json", "[]".to_owned(), "schema"),
        ("other.json", json!({"name": "x"}).to_string(), "schema"),
        ("toml.json", SMALL.to_owned(), "line"),
        (
            "later.json",
            with("/schema", json!("vkernel.result/2")),
            "vkernel.result/2",
        ),
        (
            "typed.json",
            with("/cases/0/densities/data/outside", json!("x")),
            "outside",
        ),
        (
            "null.json",
            with("/cases/0/densities/data/mass/0", Value::Null),
            "mass",
        ),
        (
            "negative.json",
            with("/cases/0/densities/data/mass/0", json!(-0.1)),
            "negative",
        ),
        (
            "sum.json",
            with("/cases/0/densities/data/outside", json!(0.5)),
            "sum to",
        ),
        (
            "length.json",
            with("/cases/0/densities/data/mass", fewer),
            "29 values",
        ),
        (
            "edges.json",
            with("/cases/0/edges/0/1", json!(-2.0)),
            "edge",
        ),
        (
            "named.json",
            with("/cases/0/recommended", json!("oracle")),
            "oracle",
        ),
        ("none.json", with("/cases/0/edges", json!([])), "edges"),
    ];
    for (name, text, part) in &wrong {
        place.write(name, text);
        for job in ["compare", "plot"] {
            let message = place.refuse(&[job, name]);
            assert!(message.starts_with("error: "), "{message}");
            assert!(message.contains(name), "{message}");
            assert!(message.contains(part), "{name}, {part}: {message}");
        }
        // One wrong file among good ones.
        let message = place.refuse(&["compare", "good", name]);
        assert!(message.contains(name), "{message}");
    }
    for job in ["compare", "plot"] {
        for name in ["absent.json", "."] {
            let message = place.refuse(&[job, name]);
            assert!(message.starts_with("error: "), "{message}");
        }
    }
}

/// Every value of a result, replaced by something else, is either refused or drawn: never a panic.
#[test]
fn no_result_makes_the_table_or_the_figures_panic() {
    let place = Place::with(SMALL);
    let result = place.result_of("good", &["--set", "output.bins=3"]);
    let mut pointers = Vec::new();
    collect(&result["cases"], "/cases".to_owned(), &mut pointers);
    pointers.retain(|p| !p.contains("/diagnostics") && !p.contains("/seconds"));
    let others = [json!([]), json!({}), json!(1e300), json!(0), json!("x")];
    let folder = place.path("figures");
    std::fs::create_dir(&folder).unwrap();
    let path = place.path("mutant.json");
    let mut read = 0;
    for (i, pointer) in pointers.iter().enumerate() {
        let mut mutant = result.clone();
        *mutant.pointer_mut(pointer).unwrap() = others[i % others.len()].clone();
        std::fs::write(&path, mutant.to_string()).unwrap();
        if let Ok(result) = vkernel::report::read_result(&path) {
            read += 1;
            let _ = vkernel::report::comparison_table(&result);
            if let Err(error) = vkernel::report::write_figures(&result, &folder) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(
        read > 5 && read < pointers.len(),
        "{read} of {}",
        pointers.len()
    );
}

fn collect(value: &Value, pointer: String, all: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                collect(item, format!("{pointer}/{i}"), all);
            }
        }
        Value::Object(table) => {
            for (key, item) in table {
                collect(item, format!("{pointer}/{key}"), all);
            }
        }
        _ => {}
    }
    all.push(pointer);
}
