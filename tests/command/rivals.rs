//! Rival theories beside the predictions, from the spec to the table.

use crate::support::{NAIVE, Place, SMALL, bins_of_whole, density};

const RIVALS: [&str; 3] = ["gaussian-score", "smoothed-score", "linear-rmt"];

#[test]
fn rivals_stand_beside_the_predictions() {
    let methods =
        "predict.methods=[\"mean-field\", \"gaussian-score\", \"smoothed-score\", \"linear-rmt\"]";
    for plane in [false, true] {
        let text = match plane {
            false => SMALL.to_owned(),
            true => SMALL
                .replace("[[-1.0], [1.0]]", "[[-1.0, 0.0], [1.0, 0.0]]")
                .replace("of = \"x1\"", "of = [\"x1\", \"x2\"]")
                .replace("count = 6", "count = 3")
                .replace("bins = 30", "bins = 10")
                .replace("kind = \"vp\"", "kind = \"vp\"\nt_min = 0.05"),
        };
        let place = Place::with(&text);
        let result = place.result_of("out", &["--set", methods]);
        let case = &result["cases"][0];
        for name in RIVALS {
            bins_of_whole(density(&result, 0, name));
            assert_eq!(case["trust"][name]["level"], "none");
            let all = case["comparisons"].as_array().unwrap();
            assert!(all.iter().any(|c| c["predicted"] == name));
            assert!(case["seconds"]["predict"][name].as_f64().unwrap() >= 0.0);
        }
        assert_eq!(case["recommended"], "mean-field");
        let decisions = &case["diagnostics"]["decisions"];
        assert_eq!(decisions["leading_variance"], 1.0);
        let (collapse, speciation) = (&decisions["collapse"], &decisions["speciation"]);
        assert!(collapse.as_f64().unwrap() < speciation.as_f64().unwrap());
        let table = place.succeed(&["compare", "out/result.json"]).out;
        assert!(
            table.contains("seconds") && table.contains("linear-rmt"),
            "{table}"
        );
    }
}

#[test]
fn the_exact_score_has_rivals_too() {
    let place = Place::with(&NAIVE.replace("kappa = 0.2", "kappa = 0.0"));
    let methods = "predict.methods=[\"mean-field\", \"gaussian-score\", \"smoothed-score\"]";
    let result = place.result_of(
        "out",
        &["--set", methods, "--set", "predict.smoothing=0.01"],
    );
    // Almost nothing is smoothed: nearly what the exact score gives, far from a Gaussian.
    let distance = |name: &str| {
        let all = result["cases"][0]["comparisons"].as_array().unwrap();
        let one = all.iter().find(|c| c["predicted"] == name).unwrap();
        one["tv"].as_f64().unwrap()
    };
    assert!((distance("smoothed-score") - distance("mean-field")).abs() < 0.01);
    assert!(distance("gaussian-score") > 0.3);
}

#[test]
fn rivals_are_refused_where_they_do_not_apply() {
    let place = Place::with(NAIVE);
    for (setting, part) in [
        (vec!["predict.methods=[\"linear-rmt\"]"], "linear-rmt"),
        (vec!["predict.smoothing=0.1"], "smoothed-score"),
        (
            vec![
                "sampler.kind=reverse-sde",
                "predict.methods=[\"gaussian-score\"]",
            ],
            "reverse-sde",
        ),
        (
            vec![
                "data.points=[[0.5]]",
                "predict.methods=[\"smoothed-score\"]",
            ],
            "predict.smoothing",
        ),
    ] {
        let arguments: Vec<&str> = setting.iter().flat_map(|s| ["--set", s]).collect();
        let message = place.refuse(&[&["check", "spec.toml"], &arguments[..]].concat());
        assert!(message.contains(part), "{message}");
    }
}
