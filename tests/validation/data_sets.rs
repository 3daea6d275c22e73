//! Models whose samples share clean points against what is predicted for them: small data sets, on data that are points and on data
//! with a width.

use vkernel::report::result::CaseResult;
use vkernel::run::{Checkpoints, Parts, run};
use vkernel::spec::{Format, parse};

/// One case in the format of a spec, with as many models as draws.
fn result(text: &str, predict: &str, models: usize) -> CaseResult {
    let text =
        format!("{text}\n[predict]\ndraws = {models}\n{predict}[monte_carlo]\nmodels = {models}\n");
    run_of(&text, true)
}

/// The case of a spec, predicted, and trained where that is asked for.
fn run_of(text: &str, train: bool) -> CaseResult {
    let spec = parse(text, Format::Toml, "spec.toml", ".".as_ref(), &[], None).unwrap();
    let parts = Parts {
        predict: true,
        train,
    };
    run(&spec, parts, &Checkpoints::none(), &mut |_| ())
        .unwrap()
        .remove(0)
}

const POINTS: &str = "[data]\nkind = \"points\"\npoints = [[-1.0], [0.0], [1.0]]\n";
const GAUSSIANS: &str =
    "[data]\nkind = \"mixture\"\nmeans = [[-0.8], [0.5]]\nstds = [[0.15], [0.3]]\n";
const PLANE: &str = "[data]\nkind = \"mixture\"\nmeans = [[-0.7, 0.2], [0.6, -0.3]]\nstds = [[0.2, 0.4], [0.3, 0.2]]\n";

const FEATURES: &str = r#"
[diffusion]
kind = "vp"
t_min = 0.03
[model]
kind = "linear"
[[model.features]]
of = "x1"
kind = "gaussian"
count = 10
range = [-1.6, 1.6]
[[model.features]]
of = "t"
kind = "gaussian"
count = 8
[sampler]
steps = 40
[output]
range = [-2.0, 2.0]
bins = 40
"#;

const KERNEL: &str = r#"
[diffusion]
kind = "vp"
t_min = 0.05
[model]
kind = "kernel"
[[model.kernels]]
of = "xt"
kind = "rbf"
length = 0.8
[sampler]
steps = 30
[output]
range = [-2.0, 2.0]
bins = 20
"#;

const IN_THE_PLANE: &str = r#"
[diffusion]
kind = "vp"
t_min = 0.05
[model]
kind = "linear"
[[model.features]]
of = ["x1", "x2"]
kind = "gaussian"
count = 6
range = [-1.6, 1.6]
[[model.features]]
of = "t"
kind = "gaussian"
count = 5
[sampler]
steps = 30
[output]
range = [-2.0, 2.0]
bins = 20
"#;

/// Estimated error and 95 % of the noise cover the distance.
fn covered(name: &str, text: &str, models: usize) {
    let case = result(text, "", models);
    let method = case.recommended.clone().unwrap();
    let found = case.against_monte_carlo(&method).unwrap();
    let trust = &case.trust[&method];
    let allowed = trust.error.unwrap() + found.tv_floor_95;
    println!(
        "{name}: {method} TV {:.4}, floor {:.4}, estimated error {:.4}, {:?}",
        found.tv,
        found.tv_floor,
        trust.error.unwrap(),
        trust.level
    );
    assert!(found.tv <= allowed, "{name}: {} > {allowed}", found.tv);
}

#[test]
fn eight_points_on_the_line() {
    let training = "[training]\ndataset = 8\ndraws = 32\n";
    covered("points", &format!("{POINTS}{FEATURES}{training}"), 400);
    covered(
        "Gaussians",
        &format!("{GAUSSIANS}{FEATURES}{training}"),
        400,
    );
}

/// Two data sets of one clean point each: densities without draws are the mean of those of fresh samples of either point.
#[test]
fn densities_of_data_sets_are_averaged() {
    let predicted = |data: &str, training: &str, more: &str| {
        let text = format!(
            "[data]\nkind = \"points\"\npoints = {data}\n{FEATURES}[training]\n{training}\n[predict]\nstatistics = \"equivalent\"\n\
             methods = [\"semiclassical\", \"saddle\"]\nstarts = 8\n{more}"
        );
        run_of(&text, false)
    };
    let both = predicted(
        "[[-1.0], [1.0]]",
        "dataset = 1\ndraws = 2048",
        "data_sets = 2\n",
    );
    let [left, right] = ["[[-1.0]]", "[[1.0]]"].map(|data| predicted(data, "samples = 2048", ""));
    for method in ["semiclassical", "saddle"] {
        let masses = [&both, &left, &right].map(|case| case.densities[method].masses());
        let mut apart = 0.0;
        for ((both, left), right) in (masses[0].cells.iter())
            .zip(&masses[1].cells)
            .zip(&masses[2].cells)
        {
            assert!((both - 0.5 * (left + right)).abs() < 1e-6, "{method}");
            apart += (left - right).abs();
        }
        assert!(apart > 1.5, "{method}: two points");
        let errors = &both.diagnostics[&format!("error.{method}")];
        assert!(errors["data sets"].as_f64().unwrap() > 0.1, "{errors}");
    }
}

/// Sum over bins of the interquartile range of models.
fn spread(case: &CaseResult, density: &str) -> f64 {
    let quantiles = &case.densities[density].quantiles;
    let ranges = quantiles["0.75"].iter().zip(&quantiles["0.25"]);
    ranges.map(|(high, low)| high - low).sum()
}

/// Many samples of four points: what varies between models is which points they saw, and fresh samples know nothing of it. The average
/// over models hardly tells.
#[test]
fn models_of_four_points_differ_by_their_points() {
    let shared = format!("{GAUSSIANS}{FEATURES}[training]\ndataset = 4\ndraws = 512\n");
    let fresh = format!("{GAUSSIANS}{FEATURES}[training]\nsamples = 2048\n");
    let sets = 64;
    let shared = result(&shared, &format!("data_sets = {sets}\n"), 400);
    let fresh = result(&fresh, "", 400);
    let trained = spread(&shared, "monte-carlo");
    let own = spread(&shared, "gaussian-field") / trained;
    let other = spread(&fresh, "gaussian-field") / trained;
    println!(
        "spread over models, predicted over trained: data sets {own:.3}, fresh samples {other:.3}"
    );
    // A spread over so many data sets is known to 1/sqrt(2 K) of itself.
    let allowed = 2.0 / (2.0 * f64::from(sets)).sqrt();
    assert!((own - 1.0).abs() < allowed, "{own}");
    assert!((other - 1.0).abs() > 1.5 * allowed, "{other}");
}

#[test]
#[ignore = "some minutes"]
fn shared_clean_points() {
    for (points, draws) in [(4, 64), (16, 16), (16, 64), (64, 16), (128, 2)] {
        for (name, data) in [("points", POINTS), ("Gaussians", GAUSSIANS)] {
            let training = format!("[training]\ndataset = {points}\ndraws = {draws}\n");
            let name = format!("{name}, features, {points} x {draws}");
            covered(&name, &format!("{data}{FEATURES}{training}"), 2000);
        }
    }
    let others = [
        (
            "Gaussians, kernel ridge",
            GAUSSIANS,
            KERNEL,
            "ridge = 0.1",
            1000,
        ),
        ("Gaussians, flow", GAUSSIANS, KERNEL, "time = 20.0", 1000),
        ("plane, features", PLANE, IN_THE_PLANE, "", 400),
    ];
    for (name, data, model, protocol, models) in others {
        for (points, draws) in [(8, 16), (32, 8)] {
            let training = format!("[training]\ndataset = {points}\ndraws = {draws}\n{protocol}\n");
            let name = format!("{name}, {points} x {draws}");
            covered(&name, &format!("{data}{model}{training}"), models);
        }
    }
}
