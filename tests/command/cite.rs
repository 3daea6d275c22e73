//! `vkernel cite`: the works of exactly what a spec uses.

use std::collections::BTreeSet;

use crate::support::{NAIVE, Place, SMALL};

/// Keys of the entries, each with its braces balanced and an author, a title and a year.
fn keys(bibliography: &str) -> BTreeSet<&str> {
    bibliography
        .split("\n\n")
        .map(|entry| {
            let (opening, closing) = (entry.matches('{').count(), entry.matches('}').count());
            assert_eq!(opening, closing, "{entry}");
            for field in ["author", "title", "year"] {
                assert!(entry.contains(&format!("\n  {field} = {{")), "{entry}");
            }
            let (_, rest) = entry.split_once('{').unwrap();
            rest.split_once(',').unwrap().0
        })
        .collect()
}

#[test]
fn works_follow_the_methods() {
    let place = Place::with(SMALL);
    let of = |settings: &[&str]| -> BTreeSet<String> {
        let settings = settings.iter().flat_map(|s| ["--set", s]);
        let arguments: Vec<&str> = ["cite", "spec.toml"].into_iter().chain(settings).collect();
        let text = place.succeed(&arguments).out;
        keys(&text).into_iter().map(str::to_owned).collect()
    };
    let plain = of(&[]);
    for key in [
        "vkernel",
        "vastola2025",
        "songscore2021",
        "songddim2021",
        "vincent2011",
        "hastie2022",
    ] {
        assert!(plain.contains(key), "{key}: {plain:?}");
    }
    let added =
        |settings: &[&str]| -> Vec<String> { of(settings).difference(&plain).cloned().collect() };
    assert_eq!(added(&["diffusion.kind=edm"]), ["karras2022"]);
    assert_eq!(added(&["sampler.scheme=adaptive"]), ["dormand1980"]);
    assert_eq!(
        added(&["sampler.kind=reverse-sde"]),
        ["anderson1982", "hirono2024"]
    );
    assert_eq!(
        added(&["predict.methods=[\"mean-field\", \"saddle\", \"linear-rmt\"]"]),
        ["martin1973", "wangrmt2026"]
    );
    assert!(!of(&["training.objective=esm"]).contains("vincent2011"));
    assert!(!of(&["predict.statistics=sandwich"]).contains("hastie2022"));

    let naive = Place::with(NAIVE);
    let text = naive.succeed(&["cite", "spec.toml"]).out;
    assert!(!keys(&text).contains("hastie2022"));
}
