//! Two and more dimensions, from the spec to the files.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Place, bare, bins_of_whole, density, numbers};

/// Two points in the plane and 4 x 4 x 4 Gaussian features.
const PLANE: &str = r#"seed = 7

[data]
kind = "points"
points = [[-1.0, 0.0], [1.0, 0.5]]

[diffusion]
kind = "vp"
t_min = 0.05

[model]
kind = "linear"

[[model.features]]
of = ["x1", "x2", "t"]
kind = "gaussian"
count = 4

[training]
samples = 60

[sampler]
steps = 8

[predict]
statistics = "sandwich"
draws = 40

[monte_carlo]
models = 40
particles = 128

[output]
range = [-2.0, 2.0]
bins = 12
"#;

/// The four leading axes of five columns of a file; the reverse SDE, which is cheap to predict.
const FILE: &str = r#"seed = 7

[data]
kind = "file"
path = "table.csv"
standardize = true
pca = 4

[diffusion]
kind = "vp"
t_min = 0.1

[model]
kind = "linear"

[[model.features]]
of = "x"
kind = "random-fourier"
count = 8
length = 2.0

[training]
samples = 30

[sampler]
kind = "reverse-sde"
steps = 8

[predict]
statistics = "sandwich"
draws = 20

[monte_carlo]
models = 20
particles = 64

[output]
bins = 6
"#;

/// Six rows in general position.
const TABLE: &str =
    "a,b,c,d,e\n1,0,0,2,1\n0,1,0,-1,0\n0,0,1,0,3\n-1,2,0,1,0\n0,-2,1,0,1\n3,0,-1,1,-2\n";

fn is_valid(place: &Place, result: &Value) {
    for (of, value) in [("result", result), ("spec", &result["spec"])] {
        let schema: Value = serde_json::from_str(&place.succeed(&["schema", of]).out).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

/// Masses and what lies outside sum to 1, in the densities and in everything that is read off besides.
fn densities_sum_to_one(case: &Value, cells: usize) {
    for (name, d) in case["densities"].as_object().unwrap() {
        assert_eq!(bins_of_whole(d), cells, "{name}");
    }
    for readout in case["readouts"].as_array().unwrap() {
        for d in readout["densities"].as_object().unwrap().values() {
            bins_of_whole(d);
        }
    }
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|v| v["name"].as_str().unwrap()).collect()
}

/// The value of a number in one of the densities.
fn number(case: &Value, name: &str, of: &str) -> f64 {
    let all = case["numbers"].as_array().unwrap();
    let found = all.iter().find(|n| n["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no number {name}"));
    found["values"][of]["value"].as_f64().unwrap()
}

#[test]
fn a_run_in_the_plane() {
    let place = Place::with(PLANE);
    let one = place.result_of("one", &["--threads", "1"]);
    is_valid(&place, &one);
    let case = &one["cases"][0];
    densities_sum_to_one(case, 12 * 12);
    let methods: Vec<&String> = case["densities"].as_object().unwrap().keys().collect();
    let all = [
        "data",
        "gaussian-field",
        "mean-field",
        "monte-carlo",
        "pf-ode",
        "semiclassical",
    ];
    assert_eq!(methods, all);
    assert_eq!(density(&one, 0, "monte-carlo")["models"], 40);
    assert_eq!(
        names(&case["readouts"]),
        ["distance to the nearest training point"]
    );
    // One segment, so that there is none longer.
    let segments = case["segments"].as_array().unwrap();
    assert_eq!(segments.len(), 1);
    let length = segments[0]["length"].as_f64().unwrap();
    assert!((length - 4.25_f64.sqrt()).abs() < 1e-12, "{length}");
    // The data's moments have closed forms: alpha times the points' mean, alpha^2 their covariance plus sigma^2.
    let alpha = (-(0.1 * 0.05 + 0.5 * 19.9 * 0.05_f64 * 0.05)).exp();
    let noise = 1.0 - alpha * alpha;
    for (name, expected) in [
        ("mean of x1", 0.0),
        ("mean of x2", 0.25 * alpha),
        ("variance of x1", alpha * alpha + noise),
        ("covariance of x1 and x2", 0.25 * alpha * alpha),
        ("variance of x2", 0.0625 * alpha * alpha + noise),
    ] {
        let found = number(case, name, "data");
        // 16 low-discrepancy clouds of 2^14 points: far better than 1e-3.
        assert!(
            (found - expected).abs() < 1e-3,
            "{name}: {found}, {expected}"
        );
    }
    let two = place.result_of("two", &["--threads", "2"]);
    assert_eq!(bare(one), bare(two));
    // The files of the result, drawn again from what is stored.
    let names = place.names("one");
    for file in ["density.csv", "density.png", "density.svg", "result.json"] {
        assert!(names.iter().any(|n| n == file), "{names:?}");
    }
    assert_eq!(names, place.names("two"));
    let read = |name: &str| fs::read(place.path(name)).unwrap();
    let (csv, svg) = (read("one/density.csv"), read("one/density.svg"));
    assert_eq!(csv, read("two/density.csv"));
    place.succeed(&["plot", "one"]);
    assert_eq!(svg, read("one/density.svg"));
    assert_eq!(names, place.names("one"));
    let table = place.succeed(&["compare", "one", "two"]).out;
    assert!(table.contains("semiclassical"), "{table}");
}

#[test]
fn a_file_in_four_dimensions() {
    let place = Place::with(FILE);
    place.write("table.csv", TABLE);
    let one = place.result_of("one", &["--threads", "1"]);
    is_valid(&place, &one);
    let case = &one["cases"][0];
    densities_sum_to_one(case, 6 * 6);
    // Along every axis, and the plane of the third and fourth; the first two are the density itself.
    assert_eq!(
        names(&case["readouts"]),
        [
            "direction 1",
            "direction 2",
            "direction 3",
            "direction 4",
            "directions 3 and 4",
            "distance to the nearest training point",
        ]
    );
    assert_eq!(case["directions"].as_array().unwrap().len(), 2);
    // The data are turned to their principal axes already: the directions are the coordinates, up to their signs.
    let directions = one["spec"]["output"]["directions"].as_array().unwrap();
    for (i, direction) in directions.iter().enumerate() {
        for (j, v) in numbers(direction).iter().enumerate() {
            let expected = if i == j { 1.0 } else { 0.0 };
            assert!((v.abs() - expected).abs() < 1e-9, "{directions:?}");
        }
    }
    let covariances = names(&case["numbers"]);
    assert!(covariances.contains(&"covariance of x1 and x4"));
    let two = place.result_of("two", &["--threads", "2"]);
    assert_eq!(bare(one), bare(two));
    let files = place.names("one");
    for file in ["density.csv", "density.png", "density.svg", "result.json"] {
        assert!(files.iter().any(|f| f == file), "{files:?}");
    }
    // Beside a result of another dimension.
    let other = Place::with(PLANE);
    let sde = ["--set", "sampler.kind=reverse-sde"];
    other.result_of("plane", &sde);
    let plane = other.path("plane");
    let table = place.succeed(&["compare", "one", plane.to_str().unwrap()]);
    assert!(table.out.contains("gaussian-field"), "{}", table.out);
}

/// Killed among the trained models, it keeps the draws that it had and ends with the same bits.
#[test]
fn a_killed_run_in_the_plane_continues() {
    let place = Place::with(PLANE);
    let settings = [
        "sampler.kind=reverse-sde",
        "sampler.steps=40",
        "monte_carlo.models=3000",
        "monte_carlo.particles=256",
    ];
    let more: Vec<&str> = settings.iter().flat_map(|s| ["--set", s]).collect();
    let arguments = [&["run", "spec.toml", "-o", "out"][..], &more].concat();
    // Stored when all its draws are made: the models take ten times as long.
    let stored = || {
        let names = place.names("out/checkpoint");
        names
            .iter()
            .any(|n| n.ends_with("-gaussian-field.json") && !n.starts_with('.'))
    };
    let mut child = place
        .command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !stored() && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "ended before the kill");
    assert!(!place.path("out/result.json").exists());
    let last = place.succeed(&arguments);
    assert!(!last.err.contains("gaussian-field 0/"), "{}", last.err);
    assert!(last.err.contains("monte-carlo"), "{}", last.err);
    let undisturbed = place.result_of("undisturbed", &more);
    assert_eq!(bare(place.json("out/result.json")), bare(undisturbed));
}

#[test]
fn formulas_are_those_of_the_line() {
    let place = Place::with(PLANE);
    for format in ["text", "latex", "sympy"] {
        let message = place.refuse(&["derive", "spec.toml", "--format", format]);
        assert!(
            message.contains("D = 2") && message.contains("D = 1"),
            "{message}"
        );
    }
}
