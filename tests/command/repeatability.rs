//! One spec and one seed give one result, whatever the number of threads and whatever else is swept.

use crate::support::{NAIVE, Place, SMALL, bare, density, numbers};

/// Specs by name, as changes to [`SMALL`].
const LINEAR: [(&str, &[&str]); 13] = [
    ("as it is", &[]),
    (
        "swept",
        &[
            r#"sweep."training.samples"=[20, 40]"#,
            r#"sweep."diffusion.t_min"=[0.01, 0.05]"#,
        ],
    ),
    ("random starts", &["monte_carlo.start=random"]),
    (
        "random starts, adaptive",
        &[
            "monte_carlo.start=random",
            "sampler.scheme=adaptive",
            "sampler.tolerance=1e-4",
        ],
    ),
    ("reverse SDE", &["sampler.kind=reverse-sde"]),
    (
        "reverse SDE, Euler",
        &[
            "sampler.kind=reverse-sde",
            "sampler.scheme=euler",
            "sampler.churn=0.5",
        ],
    ),
    (
        "score",
        &["model.predicts=score", "training.weighting=sigma2"],
    ),
    (
        "noise",
        &["model.predicts=noise", "training.weighting=uniform"],
    ),
    ("Heun", &["sampler.scheme=heun", "sampler.grid=karras"]),
    (
        "adaptive",
        &["sampler.scheme=adaptive", "sampler.tolerance=1e-4"],
    ),
    (
        "Euler with loop corrections",
        &[
            "sampler.scheme=euler",
            "sampler.grid=uniform",
            "predict.one_loop=true",
        ],
    ),
    ("data sets", &["training.draws=4", "predict.data_sets=3"]),
    (
        "more samples than features",
        &["training.samples=100", "training.objective=esm"],
    ),
];

const OTHER: [(&str, &[&str]); 3] = [
    ("proxy noise", &[]),
    ("exact score", &["model.kappa=0"]),
    (
        "exact score, reverse SDE",
        &["model.kappa=0", "sampler.kind=reverse-sde"],
    ),
];

fn same_on_any_threads(spec: &str, variants: &[(&str, &[&str])]) {
    let place = Place::with(spec);
    for (name, changes) in variants {
        let sets: Vec<&str> = changes.iter().flat_map(|c| ["--set", c]).collect();
        let [one, three] = ["1", "3"].map(|threads| {
            let mut arguments = sets.clone();
            arguments.extend(["--threads", threads]);
            let result = place.result_of(threads, &arguments);
            assert_eq!(result["provenance"]["threads"].to_string(), threads);
            bare(result)
        });
        assert_eq!(one, three, "{name}");
    }
}

#[test]
fn threads_do_not_change_linear_models() {
    same_on_any_threads(SMALL, &LINEAR);
}

#[test]
fn threads_do_not_change_the_naive_family() {
    same_on_any_threads(NAIVE, &OTHER);
}

#[test]
fn the_seed_decides() {
    let place = Place::with(SMALL);
    let written = bare(place.result_of("a", &[]));
    assert_eq!(bare(place.result_of("b", &[])), written);
    assert_eq!(bare(place.result_of("c", &["--seed", "7"])), written);
    let other = place.result_of("d", &["--seed", "8"]);
    assert_eq!(other["provenance"]["seed"], 8);
    assert_eq!(
        bare(place.result_of("e", &["--seed", "8"])),
        bare(other.clone())
    );
    for name in ["monte-carlo", "gaussian-field"] {
        assert_ne!(
            density(&other, 0, name)["mass"],
            density(&written, 0, name)["mass"]
        );
    }
    // The mean field of a quenched layer is an average over layers as drawn.
    assert_ne!(
        density(&other, 0, "mean-field"),
        density(&written, 0, "mean-field")
    );
    for name in ["data", "pf-ode"] {
        assert_eq!(density(&other, 0, name), density(&written, 0, name));
    }
}

#[test]
fn a_case_is_the_same_alone_and_in_a_sweep() {
    let place = Place::with(SMALL);
    let sweep = r#"sweep."training.samples"=[20, 40, 60]"#;
    let swept = place.result_of("swept", &["--set", sweep]);
    for (i, samples) in ["20", "40", "60"].into_iter().enumerate() {
        let change = format!("training.samples={samples}");
        let alone = place.result_of(samples, &["--set", &change]);
        let case = &swept["cases"][i];
        assert_eq!(case["case"]["training.samples"].to_string(), samples);
        for part in ["densities", "comparisons", "trust", "edges", "diagnostics"] {
            assert_eq!(alone["cases"][0][part], case[part], "{part}");
        }
        // An override takes the key out of the sweep.
        let fixed = place.result_of("fixed", &["--set", sweep, "--set", &change]);
        assert_eq!(fixed["cases"].as_array().unwrap().len(), 1);
        assert_eq!(
            density(&fixed, 0, "monte-carlo"),
            density(&alone, 0, "monte-carlo")
        );
    }
    // Two samplers are compared on the same models, and a swept sampler changes no models.
    let sweep = r#"sweep."sampler.scheme"=["euler", "ddim"]"#;
    let schemes = place.result_of("schemes", &["--set", sweep]);
    assert_eq!(
        density(&schemes, 1, "monte-carlo"),
        density(&place.result_of("ddim", &[]), 0, "monte-carlo")
    );
}

/// Cell masses of the Monte Carlo density, all of them times the number of models.
fn sums(place: &Place, models: usize) -> Vec<f64> {
    let change = format!("monte_carlo.models={models}");
    let result = place.result_of(
        "out",
        &[
            "--set",
            &change,
            "--set",
            "monte_carlo.start=random",
            "--set",
            "monte_carlo.particles=16",
        ],
    );
    let density = density(&result, 0, "monte-carlo");
    let mut cells = numbers(&density["mass"]);
    cells.extend(numbers(&density["tails"]));
    cells.iter().map(|m| m * models as f64).collect()
}

#[test]
fn more_models_extend_an_ensemble() {
    let place = Place::with(SMALL);
    let mut before = sums(&place, 2);
    for models in 3..8 {
        let now = sums(&place, models);
        // What was added is one model: sixteen particles, none of them negative.
        let added: Vec<f64> = now
            .iter()
            .zip(&before)
            .map(|(n, b)| 16.0 * (n - b))
            .collect();
        for particles in &added {
            assert!(*particles > -1e-9, "{added:?}");
            assert!((particles - particles.round()).abs() < 1e-9, "{added:?}");
        }
        assert!((added.iter().sum::<f64>() - 16.0).abs() < 1e-9, "{added:?}");
        before = now;
    }
}
