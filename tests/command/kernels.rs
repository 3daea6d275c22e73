//! Kernel machines and networks, from the spec to the files.

use serde_json::Value;

use crate::support::{Place, bins_of_whole};

/// Two points, a short diffusion, few of everything.
fn spec(model: &str, training: &str, rest: &str) -> String {
    format!(
        r#"seed = 3
[data]
kind = "points"
points = [[-1.0], [1.0]]
[diffusion]
kind = "vp"
t_min = 0.1
[model]
{model}
[training]
samples = 48
{training}
[sampler]
steps = 8
[predict]
draws = 100
{rest}
[monte_carlo]
models = 60
particles = 64
[output]
range = [-2.0, 2.0]
bins = 16
"#
    )
}

const NTK: &str = "kind = \"ntk\"\ndepth = 1\nbias_std = 0.5";
const MLP: &str = "kind = \"mlp\"\ndepth = 1\nbias_std = 0.5\nwidth = 128";

fn run(text: &str, arguments: &[&str]) -> Value {
    Place::with(text).result_of("out", arguments)
}

fn comparison<'a>(case: &'a Value, predicted: &str) -> &'a Value {
    let all = case["comparisons"].as_array().unwrap();
    all.iter().find(|c| c["predicted"] == predicted).unwrap()
}

#[test]
fn the_flow_of_a_kernel_to_two_orders() {
    let sweep = "[sweep]\n\"training.time\" = [10.0]\n\"predict.statistics\" = [\"sandwich\", \"equivalent\"]\n";
    let text = spec(NTK, "", "methods = [\"mean-field\", \"gaussian-field\"]") + sweep;
    // The noise of 100 draws is most of the distance.
    let result = run(&text, &["--set", "predict.draws=400"]);
    let cases = result["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        for name in [
            "data",
            "pf-ode",
            "mean-field",
            "gaussian-field",
            "monte-carlo",
        ] {
            assert_eq!(bins_of_whole(&case["densities"][name]), 16, "{name}");
        }
        let statistics = &case["diagnostics"]["statistics"];
        assert!(statistics["kernel_expansion_error"].as_f64().unwrap() < 0.5);
        let first_order = case["case"]["predict.statistics"] == "sandwich";
        assert_eq!(statistics["variance"].is_object(), first_order);
        // Far from the exact score, near the trained machines.
        let field = comparison(case, "gaussian-field");
        let exact = comparison(case, "pf-ode");
        assert!(field["tv"].as_f64().unwrap() < 0.5 * exact["tv"].as_f64().unwrap());
    }
    // The machines do not depend on the statistics.
    let trained = |i: usize| &cases[i]["densities"]["monte-carlo"];
    assert_eq!(trained(0), trained(1));
}

#[test]
fn kernel_ridge_regression_with_every_solver() {
    let model = "kind = \"kernel\"\n[[model.kernels]]\nof = \"x\"\nkind = \"rbf\"\nlength = 1.5\n[[model.kernels]]\nof = \"t\"\nkind = \"rbf\"\nlength = 0.6\n";
    let methods =
        "methods = [\"mean-field\", \"semiclassical\", \"saddle\", \"gaussian-field\"]\nstarts = 8";
    let result = run(&spec(model, "ridge = 0.1", methods), &[]);
    let case = &result["cases"][0];
    for method in ["mean-field", "semiclassical", "saddle", "gaussian-field"] {
        let tv = comparison(case, method)["tv"].as_f64().unwrap();
        assert!(tv < 0.3, "{method}: {tv}");
    }
    assert_eq!(case["diagnostics"]["statistics"]["kind"], "equivalent");
}

#[test]
fn networks_are_predicted_in_their_limit() {
    let text = spec(MLP, "time = 10.0", "statistics = \"sandwich\"");
    let result = run(&text, &["--threads", "2"]);
    let case = &result["cases"][0];
    let field = comparison(case, "gaussian-field");
    let exact = comparison(case, "pf-ode");
    assert!(field["tv"].as_f64().unwrap() < 0.5 * exact["tv"].as_f64().unwrap());
    let level = &case["trust"]["gaussian-field"]["level"];
    assert_ne!(level, "high", "a finite width is beyond the theory");
    let networks = &case["diagnostics"]["networks"];
    let drift = networks["kernel_drift"].as_f64().unwrap();
    assert!(drift > 0.0 && drift < 0.5, "{drift}");
    let loss = networks["first_networks"][0]["loss"].as_array().unwrap();
    let of = |i: usize| loss[i][1].as_f64().unwrap();
    assert!(of(loss.len() - 1) < of(0));
    // The same bits on one thread.
    let again = run(&text, &["--threads", "1"]);
    assert_eq!(again["cases"][0]["densities"], case["densities"]);
    assert_eq!(again["cases"][0]["diagnostics"]["networks"], *networks);
}

#[test]
fn batches_and_adam() {
    for (name, training, level) in [
        (
            "sgd",
            "optimizer = \"sgd\"\nbatch = 16\ntime = 5.0",
            "limited",
        ),
        ("adam", "optimizer = \"adam\"\nsteps = 50", "none"),
    ] {
        let rest = "statistics = \"sandwich\"\nmethods = [\"gaussian-field\"]";
        let text = spec(MLP, training, rest);
        let result = run(&text, &["--set", "monte_carlo.models=8"]);
        let case = &result["cases"][0];
        let found = case["trust"]["gaussian-field"]["level"].as_str().unwrap();
        assert!(found == level || found == "none", "{name}: {found}");
        let drift = &case["diagnostics"]["networks"]["kernel_drift"];
        assert_eq!(drift.is_null(), name == "adam");
    }
}

#[test]
fn a_kernel_in_the_plane() {
    // A long one, for few polynomials.
    let rbf = "kind = \"kernel\"\nkernels = [{ kind = \"rbf\", of = \"xt\", length = 2.5 }]";
    let text = spec(
        rbf,
        "time = 10.0",
        "statistics = \"sandwich\"\nmethods = [\"mean-field\"]",
    )
    .replace("[[-1.0], [1.0]]", "[[-1.0, 0.0], [1.0, 0.5]]");
    let result = run(&text, &["--set", "monte_carlo.models=4"]);
    let case = &result["cases"][0];
    assert!(comparison(case, "mean-field")["tv"].as_f64().unwrap() < 0.6);
}

/// What a prediction's trust says does not depend on which other methods were asked for.
#[test]
fn trust_of_the_gaussian_field_alone() {
    let sweep = "[sweep]\n\"predict.methods\" = [[\"gaussian-field\"], [\"mean-field\", \"gaussian-field\"]]\n";
    let kernel = "kind = \"kernel\"\nkernels = [{ kind = \"rbf\", of = \"xt\", length = 1.0 }]";
    let text = spec(kernel, "time = 30.0", "statistics = \"equivalent\"") + sweep;
    let result = run(&text, &["--set", "monte_carlo.models=4"]);
    let trust = |case: usize| &result["cases"][case]["trust"]["gaussian-field"];
    assert_eq!(trust(0)["level"], trust(1)["level"]);
    for case in [0, 1] {
        let reason = trust(case)["reason"].as_str().unwrap();
        assert!(
            reason.contains("largest leverage") && reason.contains("closure"),
            "{reason}"
        );
    }
}
