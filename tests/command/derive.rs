//! `derive`: its three notations, its cases, and what it refuses.

use crate::support::{NAIVE, Place, SMALL};

#[test]
fn every_notation_is_printed() {
    for (spec, own) in [(SMALL, "phi_x[0](x)"), (NAIVE, "kappa = 0.2")] {
        let place = Place::with(spec);
        let text = place.succeed(&["derive", "spec.toml"]);
        assert_eq!(
            text.out,
            place
                .succeed(&["derive", "spec.toml", "--format", "text"])
                .out
        );
        assert!(text.out.contains(own), "{}", text.out);
        assert_eq!(text.err, "");
        let latex = place
            .succeed(&["derive", "spec.toml", "--format", "latex"])
            .out;
        assert!(latex.starts_with("\\documentclass"), "{latex}");
        let sympy = place
            .succeed(&["derive", "spec.toml", "--format", "sympy"])
            .out;
        assert!(
            sympy.contains("\nalpha = exp(-(0.1*t + 9.95*t**2))\n"),
            "{sympy}"
        );
        // It runs nothing and writes nothing.
        assert_eq!(place.names("."), ["spec.toml"]);
    }
}

#[test]
fn overrides_and_cases_choose_what_is_derived() {
    let place = Place::with(SMALL);
    let sweep = "sweep.\"training.samples\"=[40, 50]";
    let first = place.succeed(&["derive", "spec.toml", "--set", sweep]).out;
    assert!(
        first.contains("Case 1 of 2: training.samples = 40"),
        "{first}"
    );
    let arguments = ["derive", "spec.toml", "--set", sweep, "--case", "2"];
    let second = place.succeed(&arguments).out;
    assert!(second.contains("P = 50"), "{second}");
    let other = place
        .succeed(&["derive", "spec.toml", "--set", "diffusion.kind=edm"])
        .out;
    assert!(other.contains("sigma(t) = t\n"), "{other}");
}

#[test]
fn what_cannot_be_derived_is_refused() {
    let place = Place::with(SMALL);
    let message = place.refuse(&["derive", "spec.toml", "--format", "mathml"]);
    for part in ["mathml", "latex", "sympy", "text"] {
        assert!(message.contains(part), "{message}");
    }
    let message = place.refuse(&["derive", "spec.toml", "--case", "2"]);
    assert!(message.contains("case 2; there are 1"), "{message}");
    place.refuse(&["derive", "spec.toml", "--case", "0"]);
    place.refuse(&["derive", "absent.toml"]);
    let message = place.refuse(&["derive", "spec.toml", "--set", "training.ridge=-1"]);
    assert!(message.contains("training.ridge"), "{message}");
    let wrong = [
        "derive",
        "spec.toml",
        "--set",
        "diffusion.kind=expression",
        "--set",
        "diffusion.alpha=exp(-t",
    ];
    let message = place.refuse(&wrong);
    assert!(message.contains("character 7"), "{message}");
}
