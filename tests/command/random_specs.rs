//! Random valid specs, run through the library: densities are densities, whatever is combined.

use std::fmt::Write;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use vkernel::run::{Checkpoints, Parts, run};
use vkernel::spec::{Format, parse};

/// Number of random specs; the variable PROPTEST_CASES asks for more.
const SPECS: u32 = 16;
const SPECS_IN_SPACE: u32 = 12;

/// A number in TOML.
fn number(range: std::ops::Range<f64>) -> BoxedStrategy<String> {
    range.prop_map(|v| format!("{v:?}")).boxed()
}

/// A number whose logarithm is uniform.
fn scale(low: f64, high: f64) -> BoxedStrategy<String> {
    (low.ln()..high.ln())
        .prop_map(|v| format!("{:?}", v.exp()))
        .boxed()
}

fn one_of(names: &'static [&'static str]) -> BoxedStrategy<&'static str> {
    prop::sample::select(names).boxed()
}

/// Keys with values, some of them left to their defaults.
fn table(keys: Vec<(&'static str, BoxedStrategy<String>)>) -> BoxedStrategy<String> {
    let parts: Vec<BoxedStrategy<String>> = keys
        .into_iter()
        .map(|(key, value)| match key.strip_suffix('?') {
            Some(key) => prop::option::of(value)
                .prop_map(move |v| v.map_or(String::new(), |v| format!("{key} = {v}\n")))
                .boxed(),
            None => value.prop_map(move |v| format!("{key} = {v}\n")).boxed(),
        })
        .collect();
    parts.prop_map(|lines| lines.concat()).boxed()
}

fn quoted(names: &'static [&'static str]) -> BoxedStrategy<String> {
    one_of(names).prop_map(|n| format!("{n:?}")).boxed()
}

fn constant(value: &str) -> BoxedStrategy<String> {
    Just(value.to_owned()).boxed()
}

fn integer(range: std::ops::RangeInclusive<u32>) -> BoxedStrategy<String> {
    range.prop_map(|n| n.to_string()).boxed()
}

/// `count` numbers, each in brackets of this depth.
fn list(count: usize, depth: usize, range: std::ops::Range<f64>) -> BoxedStrategy<String> {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    prop::collection::vec(range, count)
        .prop_map(move |values| {
            let items: Vec<String> = values
                .iter()
                .map(|v| format!("{open}{v:?}{close}"))
                .collect();
            format!("[{}]", items.join(", "))
        })
        .boxed()
}

/// Weights that sum to 1 although some may vanish.
fn weights(count: usize) -> BoxedStrategy<String> {
    prop::collection::vec(0_u32..5, count)
        .prop_map(|mut parts| {
            parts[0] += 1;
            let total: u32 = parts.iter().sum();
            let parts: Vec<f64> = parts
                .iter()
                .map(|p| f64::from(*p) / f64::from(total))
                .collect();
            format!("{parts:?}")
        })
        .boxed()
}

fn data(folder: &Path) -> BoxedStrategy<String> {
    let points = (1_usize..5).prop_flat_map(|m| {
        table(vec![
            ("kind", constant("\"points\"")),
            ("points", list(m, 1, -2.0..2.0)),
            ("weights?", weights(m)),
        ])
    });
    let stds = (1_usize..4).prop_flat_map(|m| {
        table(vec![
            ("kind", constant("\"mixture\"")),
            ("means", list(m, 1, -2.0..2.0)),
            ("stds", list(m, 1, 0.0..1.0)),
            ("weights?", weights(m)),
        ])
    });
    let covariances = (1_usize..4).prop_flat_map(|m| {
        table(vec![
            ("kind", constant("\"mixture\"")),
            ("means", list(m, 1, -2.0..2.0)),
            ("covariances", list(m, 2, 0.0..1.0)),
        ])
    });
    let path = folder.join("rows.csv").display().to_string();
    let file = table(vec![
        ("kind", constant("\"file\"")),
        ("path", constant(&format!("{path:?}"))),
        (
            "columns",
            one_of(&["[\"a\"]", "[\"b\"]", "[0]"])
                .prop_map(str::to_owned)
                .boxed(),
        ),
        (
            "standardize?",
            any::<bool>().prop_map(|b| b.to_string()).boxed(),
        ),
        ("max_rows?", integer(2..=12)),
    ]);
    prop_oneof![2 => points, 2 => stds, 1 => covariances, 1 => file].boxed()
}

fn diffusion() -> BoxedStrategy<String> {
    prop_oneof![
        3 => table(vec![
            ("kind", constant("\"vp\"")),
            ("beta_min?", number(0.0..1.0)),
            ("beta_delta?", number(0.1..30.0)),
            ("t_min?", scale(1e-4, 0.1)),
            ("t_max?", number(0.5..1.0)),
        ]),
        2 => table(vec![
            ("kind", constant("\"edm\"")),
            ("t_min", scale(1e-2, 0.1)),
            ("t_max", scale(0.5, 20.0)),
        ]),
        2 => table(vec![
            ("kind", constant("\"ou\"")),
            ("t_min?", scale(1e-4, 0.1)),
            ("t_max?", number(0.5..6.0)),
        ]),
        2 => table(vec![
            ("kind", constant("\"flow\"")),
            ("t_min?", scale(1e-4, 0.1)),
            // At 1 itself there is no signal left, which some models need.
            ("t_max", number(0.5..0.999)),
        ]),
        1 => table(vec![
            ("kind", constant("\"expression\"")),
            ("alpha", constant("\"cos(pi*t/2)\"")),
            ("sigma", constant("\"sin(pi*t/2)\"")),
            ("t_min", scale(1e-3, 0.1)),
            ("t_max", number(0.5..0.99)),
        ]),
    ]
    .boxed()
}

fn feature_set(of: &'static str, range: &'static str) -> BoxedStrategy<String> {
    let kinds = prop_oneof![
        2 => table(vec![("kind", constant("\"gaussian\"")), ("width?", scale(0.1, 10.0))]),
        1 => table(vec![("kind", quoted(&["fourier", "polynomial"]))]),
    ];
    let rest = table(vec![
        ("of", constant(&format!("{of:?}"))),
        ("count", integer(1..=6)),
        ("range?", constant(range)),
    ]);
    let built_in =
        (kinds, rest).prop_map(|(kind, rest)| format!("[[model.features]]\n{kind}{rest}"));
    let written = Just(format!(
        "[[model.features]]\nof = {of:?}\nkind = \"expression\"\nexpressions = [\"1\", \"{of}\", \"tanh(2*{of})\"]\n"
    ));
    prop_oneof![4 => built_in, 1 => written].boxed()
}

/// A weighting, with its expression on the next line where it is written.
fn weighting() -> BoxedStrategy<String> {
    let written = "\"expression\"\nweight = \"alpha/sigma\"";
    prop_oneof![3 => quoted(&["snr", "uniform", "sigma2"]), 1 => constant(written)].boxed()
}

/// The model, its training and its predictions: everything that depends on the family.
fn linear() -> BoxedStrategy<String> {
    let model = table(vec![
        ("kind", constant("\"linear\"")),
        ("predicts?", quoted(&["denoiser", "score", "noise"])),
    ]);
    let one = || feature_set("x1", "[-1.7, 2.1]");
    let space = prop_oneof![
        4 => prop::collection::vec(one(), 1),
        1 => prop::collection::vec(one(), 2),
    ];
    let time = prop::option::of(feature_set("t", "[0.0, 0.8]"));
    let training = table(vec![
        ("objective?", quoted(&["dsm", "esm"])),
        ("weighting?", weighting()),
        ("samples", integer(1..=60)),
        ("ridge", scale(1e-3, 10.0)),
    ]);
    let ode = (
        table(vec![
            ("scheme?", quoted(&["euler", "heun", "ddim"])),
            ("steps", integer(1..=30)),
            ("grid?", quoted(&["uniform", "log", "karras"])),
            ("start?", quoted(STARTS)),
        ]),
        one_of(&[
            "",
            "methods = [\"mean-field\"]\n",
            "methods = [\"gaussian-field\", \"semiclassical\"]\n",
            "methods = [\"gaussian-score\", \"smoothed-score\", \"linear-rmt\"]\nsmoothing = 0.1\n",
        ]),
        start(),
    );
    let adaptive = (
        table(vec![
            ("scheme", constant("\"adaptive\"")),
            ("tolerance", scale(1e-8, 1e-2)),
        ]),
        Just(""),
        start(),
    );
    let one_loop = (
        table(vec![
            ("scheme", quoted(&["euler", "ddim"])),
            ("steps", integer(1..=30)),
        ]),
        Just("one_loop = true\n"),
        start(),
    );
    let sde = (reverse_sde(), Just(""), Just(RANDOM.to_owned()).boxed());
    let rest = prop_oneof![5 => ode, 1 => adaptive, 1 => one_loop, 2 => sde];
    (model, space, time, training, rest, 2_u32..30)
        .prop_map(
            |(model, space, time, training, (sampler, predict, start), draws)| {
                format!(
                    "[model]\n{model}{}{}[training]\n{training}[sampler]\n{sampler}[predict]\ndraws = {draws}\n{predict}[monte_carlo]\n{start}",
                    space.concat(),
                    time.unwrap_or_default(),
                )
            },
        )
        .boxed()
}

const RANDOM: &str = "particles = 20\n";
/// Laws of x_T.
const STARTS: &[&str] = &["normal", "standard", "noised"];

fn start() -> BoxedStrategy<String> {
    let starts: &[&str] = &[
        "particles = 32\n",
        "start = \"stratified\"\nparticles = 50\n",
        "start = \"random\"\nparticles = 8\n",
    ];
    one_of(starts).prop_map(str::to_owned).boxed()
}

fn reverse_sde() -> BoxedStrategy<String> {
    table(vec![
        ("kind", constant("\"reverse-sde\"")),
        (
            "churn?",
            prop_oneof![3 => scale(0.05, 3.0), 1 => constant("0")].boxed(),
        ),
        ("scheme?", quoted(&["euler", "heun", "ddim"])),
        ("steps", integer(1..=30)),
        ("grid?", quoted(&["uniform", "log", "karras"])),
        ("start?", quoted(STARTS)),
    ])
}

fn naive() -> BoxedStrategy<String> {
    let noisy = (
        scale(1e-3, 1.0),
        table(vec![
            ("steps", integer(1..=30)),
            ("grid?", quoted(&["uniform", "log", "karras"])),
        ]),
        Just(RANDOM.to_owned()).boxed(),
    );
    let exact = (
        constant("0"),
        table(vec![
            ("scheme?", quoted(&["euler", "heun", "ddim", "adaptive"])),
            ("steps", integer(1..=30)),
        ]),
        start(),
    );
    let sde = (
        constant("0"),
        reverse_sde(),
        Just(RANDOM.to_owned()).boxed(),
    );
    prop_oneof![noisy, exact, sde]
        .prop_map(|(kappa, sampler, start)| {
            format!(
                "[model]\nkind = \"naive\"\nkappa = {kappa}\n[sampler]\n{sampler}[monte_carlo]\n{start}"
            )
        })
        .boxed()
}

fn any_spec(folder: &Path) -> impl Strategy<Value = String> {
    let output = table(vec![
        ("range?", constant("[-1.5, 2.5]")),
        ("bins?", integer(1..=40)),
    ]);
    let family = prop_oneof![10 => linear(), 2 => naive(), 1 => kernel()];
    (
        data(folder),
        diffusion(),
        family,
        2_u32..8,
        output,
        0_u32..1000,
    )
        .prop_map(|(data, diffusion, family, models, output, seed)| {
            let mut spec = format!("seed = {seed}\n[data]\n{data}[diffusion]\n{diffusion}");
            // The family ends in [monte_carlo].
            let _ = write!(spec, "{family}models = {models}\n[output]\n{output}");
            spec
        })
}

/// Kernel machines on the line: ridge regression or gradient flow. Broad kernels, which need few functions.
fn kernel() -> BoxedStrategy<String> {
    let rbf =
        Just("kind = \"kernel\"\n[[model.kernels]]\nkind = \"rbf\"\nof = \"xt\"\nlength = 2.0\n");
    let ntk = Just("kind = \"ntk\"\ndepth = 1\nactivation = \"erf\"\n");
    let how = prop_oneof![
        scale(1e-2, 1.0).prop_map(|v| format!("ridge = {v}\n")),
        scale(0.1, 100.0).prop_map(|v| format!("time = {v}\n")),
    ];
    let model = prop_oneof![
        (rbf, how).prop_map(|(model, how)| (model, how)),
        (ntk, scale(0.1, 30.0).prop_map(|v| format!("time = {v}\n"))),
    ];
    let sampler = table(vec![
        ("scheme?", quoted(&["euler", "heun", "ddim"])),
        ("steps", integer(1..=30)),
    ]);
    (model, 4_u32..40, sampler)
        .prop_map(|((model, how), samples, sampler)| {
            format!(
                "[model]\n{model}[training]\nsamples = {samples}\n{how}[sampler]\n{sampler}[predict]\ndraws = 4\n[monte_carlo]\nparticles = 32\n"
            )
        })
        .boxed()
}

/// Data in D dimensions: a low-rank mixture, or points.
fn data_in_space(dim: u32) -> BoxedStrategy<String> {
    let subspaces = table(vec![
        ("kind", constant("\"low-rank-mixture\"")),
        ("dimension", constant(&dim.to_string())),
        ("rank", integer(1..=2)),
        ("subspaces", integer(1..=3)),
        ("noise?", scale(1e-3, 0.5)),
    ]);
    let point = prop::collection::vec(-2.0..2.0, dim as usize);
    let points = prop::collection::vec(point, 1..6)
        .prop_map(|points| format!("kind = \"points\"\npoints = {points:?}\n"));
    prop_oneof![subspaces, points].boxed()
}

/// A model in D dimensions with its training.
fn model_in_space() -> BoxedStrategy<String> {
    let waves = (integer(1..=6), 2_u32..40).prop_map(|(count, samples)| {
        format!(
            "[model]\nkind = \"linear\"\n[[model.features]]\nof = \"x\"\nkind = \"random-fourier\"\ncount = {count}\n[training]\nsamples = {samples}\nridge = 0.1\n[predict]\ndraws = 3\nparticles = 64\n"
        )
    });
    let subspaces = (
        table(vec![
            ("rank", integer(1..=2)),
            ("subspaces", integer(1..=3)),
            ("assignment?", quoted(&["soft", "sharp"])),
        ]),
        table(vec![
            ("dataset", integer(1..=20)),
            ("restarts?", integer(1..=3)),
        ]),
    )
        .prop_map(|(model, training)| {
            format!("[model]\nkind = \"low-rank\"\n{model}[training]\n{training}")
        });
    let exact = constant("[model]\nkind = \"naive\"\nkappa = 0\n");
    prop_oneof![1 => waves, 4 => subspaces, 2 => exact].boxed()
}

fn spec_in_space() -> impl Strategy<Value = String> {
    let dim = 2_u32..6;
    let ode = table(vec![
        ("scheme?", quoted(&["euler", "heun", "ddim"])),
        ("steps", integer(1..=12)),
        ("start?", quoted(STARTS)),
    ]);
    let output = table(vec![
        ("range?", constant("[-1.5, 2.5]")),
        ("bins?", integer(1..=12)),
    ]);
    let sampler = prop_oneof![2 => ode, 1 => reverse_sde()];
    (dim, diffusion(), model_in_space(), sampler, output, 0_u32..1000)
        .prop_flat_map(|(dim, diffusion, model, sampler, output, seed)| {
            data_in_space(dim).prop_map(move |data| {
                format!(
                    "seed = {seed}\n[data]\n{data}[diffusion]\n{diffusion}{model}[sampler]\n{sampler}[monte_carlo]\nmodels = 3\nparticles = 64\n[output]\n{output}"
                )
            })
        })
}

/// What a spec came to: every density a probability distribution, or an error that says what to change.
fn examine(text: &str, folder: &Path) -> Result<(), String> {
    let spec = parse(text, Format::Toml, "random.toml", folder, &[], None)
        .map_err(|e| format!("not a valid spec: {e}"))?;
    let parts = Parts {
        predict: true,
        train: true,
    };
    let cases = run(&spec, parts, &Checkpoints::none(), &mut |_| {}).map_err(|e| e.to_string())?;
    for case in &cases {
        for (name, density) in &case.densities {
            let total = density.mass.iter().sum::<f64>() + density.outside;
            let cells = density.mass.iter().chain([&density.outside]);
            for mass in cells {
                if !(mass.is_finite() && *mass >= 0.0) {
                    return Err(format!("{name} has a mass of {mass}"));
                }
            }
            if (total - 1.0).abs() > 1e-9 {
                return Err(format!("{name} has a total mass of {total}"));
            }
            let errors = density.se.iter().flatten().chain(&density.error);
            if errors
                .chain(density.quantiles.values().flatten())
                .any(|e| !e.is_finite())
            {
                return Err(format!("{name} has an error that is not finite"));
            }
        }
        let finite = case.comparisons.iter().all(|c| {
            [
                c.tv,
                c.tv_floor,
                c.tv_floor_95,
                c.w1,
                c.w1_floor,
                c.ks,
                c.ks_floor,
            ]
            .iter()
            .all(|d| d.is_finite() && *d >= 0.0)
        });
        if !finite {
            return Err("a distance is not finite".to_owned());
        }
        serde_json::to_string(case).map_err(|e| e.to_string())?;
    }
    Ok(())
}

#[test]
fn random_specs_give_densities() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = String::from("a,b\n");
    for i in 0..12 {
        let _ = writeln!(
            rows,
            "{},{}",
            f64::from(i % 5) - 2.0,
            f64::from(i * i) / 72.0
        );
    }
    std::fs::write(folder.path().join("rows.csv"), rows).unwrap();
    examine_all(SPECS, any_spec(folder.path()), folder.path());
}

#[test]
fn random_specs_in_space_give_densities() {
    examine_all(SPECS_IN_SPACE, spec_in_space(), Path::new("."));
}

fn examine_all(count: u32, specs: impl Strategy<Value = String>, folder: &Path) {
    let cases = std::env::var("PROPTEST_CASES").map_or(count, |n| n.parse().unwrap());
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // Always the same specs: a failure is there for everyone.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&specs, |text| {
        examine(&text, folder).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))
    });
    outcome.unwrap();
}

/// Each of these once ended in a panic or in an error without a cause.
#[test]
fn specs_that_failed_once_run() {
    let specs = [
        // Proxy noise on one Gaussian: the mass missing from the first grid was -1e-16.
        r#"
            data = { kind = "mixture", means = [[1.3425326312515546]], stds = [[0.5780411875972121]] }
            diffusion = { kind = "ou", t_max = 4.873559385528678 }
            model = { kind = "naive", kappa = 0.09704795614732244 }
            sampler = { steps = 19 }
            monte_carlo = { particles = 20, models = 5 }
            output = { range = [-1.5, 2.5], bins = 24 }
        "#,
        // The mean of the noise over all x is zero: so are the mean weights of features of t alone.
        r#"
            data = { kind = "points", points = [[-0.8], [1.1]] }
            diffusion = { kind = "vp" }
            model = { kind = "linear", predicts = "noise", features = [
                { of = "x1", kind = "fourier", count = 1 }, { of = "t", kind = "polynomial", count = 4 } ] }
            training = { weighting = "sigma2", samples = 28 }
            predict = { draws = 10 }
            monte_carlo = { particles = 32, models = 5 }
        "#,
        // Features far narrower than their spacing.
        r#"
            data = { kind = "points", points = [[-1.2], [1.1]] }
            diffusion = { kind = "vp" }
            model = { kind = "linear", features = [ { of = "x1", kind = "gaussian", count = 4, width = 0.01 } ] }
            training = { samples = 30 }
            predict = { draws = 10 }
            monte_carlo = { particles = 32, models = 5 }
        "#,
    ];
    for text in specs {
        if let Err(error) = examine(text, Path::new(".")) {
            panic!("{error}\n{text}");
        }
    }
}
