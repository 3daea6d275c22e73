//! Schedules, features and weights written as expressions agree with the built-in ones.

use std::path::Path;

use num_dual::{Dual3_64, DualNum, third_derivative};
use vkernel::density::{Bins, mean_field};
use vkernel::experiment::Experiment;
use vkernel::family::features::{Expressions, FeatureSet, Fourier, Gaussian, Polynomial};
use vkernel::family::{Family, Linear, LinearDenoiser};
use vkernel::problem::{Diffusion, Schedule};
use vkernel::sampler::PfOde;
use vkernel::spec::{Format, Spec};
use vkernel::statistics::sandwich;
use vkernel::symbolic::{Expr, parse};

const VP_RATE: &str = "(0.1*t + 9.95*t^2)";

fn schedule(alpha: &str, sigma: &str) -> Diffusion {
    let read = |text: &str| parse(text, &["t"]).unwrap();
    Diffusion::Expression(Schedule::new(&read(alpha), &read(sigma)).unwrap().into())
}

fn relative(a: f64, b: f64) -> f64 {
    if a == b { 0.0 } else { (a - b).abs() / b.abs() }
}

/// alpha, sigma, beta, D and the drift, against the built-in process; also where sigma is tiny.
#[test]
fn schedules_are_the_built_in_ones() {
    let vp = Diffusion::Vp {
        beta_min: 0.1,
        beta_delta: 19.9,
    };
    let careful = format!("sqrt(-expm1(-2*{VP_RATE}))");
    for (built_in, alpha, sigma) in [
        (vp, format!("exp(-{VP_RATE})"), careful),
        (Diffusion::Edm, "1".into(), "t".into()),
        (Diffusion::Ou, "exp(-t)".into(), "sqrt(-expm1(-2*t))".into()),
        (Diffusion::Flow, "1 - t".into(), "t".into()),
    ] {
        let written = schedule(&alpha, &sigma);
        for t in [1e-9, 1e-4, 1e-2, 0.1, 0.37, 0.8, 0.99] {
            let both = |f: &dyn Fn(&Diffusion) -> f64| (f(&written), f(&built_in));
            for (name, (a, b)) in [
                ("alpha", both(&|d| d.alpha(t))),
                ("sigma", both(&|d| d.sigma(t))),
                ("alpha'", both(&|d| d.alpha_prime(t))),
                ("sigma sigma'", both(&|d| d.sigma_sigma_prime(t))),
                ("beta", both(&|d| d.beta(t))),
                ("D", both(&|d| d.diffusion_coefficient(t))),
                ("snr", both(&|d| d.snr(t))),
                ("drift", both(&|d| d.denoiser_drift(t).1)),
            ] {
                assert!(
                    relative(a, b) < 1e-13,
                    "{}, {name}({t}): {a} against {b}",
                    built_in.name()
                );
            }
        }
    }
}

/// 1 - exp(-2t) has an absolute error of rounding: sigma^2 loses what it is smaller than 1. expm1 does not.
#[test]
fn small_noise_needs_expm1() {
    let careless = schedule("exp(-t)", "sqrt(1 - exp(-2*t))");
    for t in [1e-2, 1e-4, 1e-6] {
        let exact = Diffusion::Ou.sigma2(t);
        assert!(relative(careless.sigma2(t), exact) <= 1.2e-16 / exact);
        assert!(
            relative(
                careless.sigma_sigma_prime(t),
                Diffusion::Ou.sigma_sigma_prime(t)
            ) < 1e-14
        );
    }
    assert!(relative(careless.sigma2(1e-6), Diffusion::Ou.sigma2(1e-6)) > 1e-12);
}

fn written(texts: &[String], window: (f64, f64)) -> Expressions {
    let features: Vec<Expr> = texts.iter().map(|f| parse(f, &["x"]).unwrap()).collect();
    Expressions::new(&features, "x", &[window]).unwrap()
}

fn gaussians(count: usize, low: f64, high: f64, width: f64) -> Vec<String> {
    let spacing = (high - low) / (count - 1) as f64;
    (0..count)
        .map(|i| {
            let (centre, std) = (low + spacing * i as f64, width * spacing);
            format!("exp(-(x - ({centre:?}))^2/(2*{std:?}^2))/({std:?}*sqrt(2*pi))")
        })
        .collect()
}

fn fourier(count: usize, length: f64) -> Vec<String> {
    let cosines = count / 2;
    let one = ["1".to_owned()];
    let cos = (1..=cosines).map(|k| format!("cos(2*pi*{k}*x/{length:?})"));
    let sin = (1..count - cosines).map(|k| format!("sin(2*pi*{k}*x/{length:?})"));
    one.into_iter().chain(cos).chain(sin).collect()
}

#[test]
fn features_are_the_built_in_ones() {
    let (low, high) = (-1.5, 2.0);
    let legendre: Vec<String> = ["1", "z", "(3*z^2 - 1)/2", "(5*z^3 - 3*z)/2"]
        .map(|p| p.replace('z', "((x - 0.25)/1.75)"))
        .to_vec();
    for (built_in, texts) in [
        (
            FeatureSet::Gaussian(Gaussian::new(7, low, high, 0.6)),
            gaussians(7, low, high, 0.6),
        ),
        (
            FeatureSet::Fourier(Fourier::new(8, low, high)),
            fourier(8, high - low),
        ),
        (
            FeatureSet::Polynomial(Polynomial::new(4, low, high)),
            legendre,
        ),
    ] {
        let n = built_in.len();
        let expressions = FeatureSet::Expression(written(&texts, (low, high)));
        assert_eq!(expressions.len(), n);
        assert!(expressions.support().is_none());
        // The estimated scale is that of the built-in set up to a factor (exact for Fourier features).
        let ratio = expressions.scale() / built_in.scale();
        assert!((0.5..2.0).contains(&ratio), "{ratio}");
        for x in [-2.0, -1.5, -0.3, 0.0, 0.71, 2.0, 3.1] {
            let mut jets = [
                [vec![0.0; n], vec![0.0; n], vec![0.0; n]],
                [vec![0.0; n], vec![0.0; n], vec![0.0; n]],
            ];
            for (set, [v, d, c]) in [&built_in, &expressions].into_iter().zip(&mut jets) {
                set.jet(x, v, d, c);
                let mut alone = vec![0.0; n];
                set.values(x, &mut alone);
                assert_eq!(alone, *v);
            }
            let [exact, tapes] = jets;
            for (order, (exact, tapes)) in exact.iter().zip(&tapes).enumerate() {
                let scale = exact.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
                for (a, b) in exact.iter().zip(tapes) {
                    assert!(
                        (a - b).abs() < 2e-13 * scale,
                        "order {order} at {x}: {a} against {b}"
                    );
                }
            }
        }
    }
}

#[test]
fn third_derivatives_are_those_of_dual_numbers() {
    let texts = [
        "exp(-x^2/2)*sin(3*x)".to_owned(),
        "tanh(x)/(1 + x^2)".to_owned(),
    ];
    let set = written(&texts, (-2.0, 2.0));
    for x in [-1.3, 0.2, 1.9] {
        let mut all = [[0.0; 2]; 4];
        let [v, d, c, j] = &mut all;
        set.derivatives(x, &mut [v, d, c, j]);
        let first = |x: Dual3_64| (-x * x * 0.5).exp() * (x * 3.0).sin();
        let second = |x: Dual3_64| x.tanh() / (x * x + 1.0);
        let exact = [third_derivative(first, x), third_derivative(second, x)];
        for (i, (v, d, c, j)) in exact.into_iter().enumerate() {
            for (order, exact) in [v, d, c, j].into_iter().enumerate() {
                assert!((all[order][i] - exact).abs() < 1e-12 * (1.0 + exact.abs()));
            }
        }
    }
}

fn spec(text: &str) -> Spec {
    vkernel::spec::parse(text, Format::Toml, "test.toml", Path::new("."), &[], None)
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn linear(experiment: &Experiment) -> &Linear {
    experiment.family.linear().unwrap()
}

/// A linear experiment; `x` are its features of x1.
fn experiment(diffusion: &str, x: &str, t: &str, weighting: &str) -> Experiment {
    let text = format!(
        "[data]\nkind = \"mixture\"\nmeans = [[-1.0], [0.6]]\nstds = [[0.2], [0.3]]\n\
         [diffusion]\n{diffusion}\nt_min = 0.02\nt_max = 1.0\n\
         [model]\nkind = \"linear\"\n[[model.features]]\nof = \"x1\"\n{x}\n[[model.features]]\nof = \"t\"\n{t}\n\
         [training]\nsamples = 300\nridge = 0.05\n{weighting}\n[output]\nrange = [-2.0, 2.0]\n"
    );
    spec(&text).cases.remove(0).experiment
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|t| format!("{t:?}")).collect();
    format!(
        "kind = \"expression\"\nexpressions = [{}]",
        quoted.join(", ")
    )
}

/// Largest difference of mean weights, covariance and mean-field masses, each relative to the largest entry.
fn differences(a: &Experiment, b: &Experiment) -> [f64; 3] {
    let weights = [a, b].map(|e| {
        sandwich(&e.problem, linear(e), e.training.as_ref().unwrap())
            .unwrap()
            .weights
    });
    let masses = [a, b].map(|e| {
        let flow = PfOde::new(&e.problem, &e.sampler);
        let model = LinearDenoiser {
            family: linear(e),
            diffusion: &e.problem.diffusion,
            weights: weights[0].mean.as_slice(),
        };
        let bins = Bins {
            low: -2.0,
            high: 2.0,
            count: 40,
        };
        mean_field(&flow, &model, &bins).unwrap().0.masses
    });
    let [wa, wb] = &weights;
    let mean = (&wa.mean - &wb.mean).amax() / wa.mean.amax();
    let covariance = (&wa.covariance - &wb.covariance).amax() / wa.covariance.amax();
    let mass = masses[0]
        .cells
        .iter()
        .zip(&masses[1].cells)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    [mean, covariance, mass]
}

/// The same experiment twice, built in and written out. Fourier features have the same length scale both ways, hence the
/// same quadrature: rounding only.
/// A list in x serves every coordinate that it is given to.
#[test]
fn a_list_of_expressions_serves_several_coordinates() {
    let model = |features: &str| {
        let text = format!(
            "[data]\nkind = \"points\"\npoints = [[0.0, 1.0], [1.0, 0.0]]\n[diffusion]\nkind = \"vp\"\nt_min = 0.05\n\
             [model]\nkind = \"linear\"\nfeatures = [{features}, {{ of = \"t\", kind = \"gaussian\", count = 3 }}]\n\
             [training]\nsamples = 64\n"
        );
        let experiment = spec(&text).cases.swap_remove(0).experiment;
        let features = &linear(&experiment).features;
        let mut values = vec![0.0; features.len()];
        features.values(&[0.3, -1.1], 0.4, &mut values);
        values
    };
    let one = model(
        "{ of = [\"x1\", \"x2\"], kind = \"expression\", expressions = [\"1\", \"x\", \"exp(-x^2)\"] }",
    );
    let two = model(
        "{ of = \"x1\", kind = \"expression\", expressions = [\"1\", \"x1\", \"exp(-x1^2)\"] }, \
         { of = \"x2\", kind = \"expression\", expressions = [\"1\", \"x2\", \"exp(-x2^2)\"] }",
    );
    assert_eq!(one.len(), 27);
    assert_eq!(one, two);
}

#[test]
fn an_experiment_of_expressions_is_the_built_in_one() {
    let vp = format!(
        "kind = \"expression\"\nalpha = \"exp(-{VP_RATE})\"\nsigma = \"sqrt(-expm1(-2*{VP_RATE}))\""
    );
    let weight = "weighting = \"expression\"\nweight = \"alpha^2/sigma^2\"";
    let legendre = ["1", "z", "(3*z^2 - 1)/2"]
        .map(|p| p.replace('z', "((t - 0.51)/0.49)"))
        .to_vec();
    let built_in = experiment(
        "kind = \"vp\"",
        "kind = \"fourier\"\ncount = 7\nrange = [-3.0, 3.0]",
        "kind = \"polynomial\"\ncount = 3",
        "",
    );
    let written = experiment(&vp, &list(&fourier(7, 6.0)), &list(&legendre), weight);
    let [mean, covariance, mass] = differences(&built_in, &written);
    println!("Fourier: mean {mean:.1e}, covariance {covariance:.1e}, masses {mass:.1e}");
    assert!(mean < 1e-10 && covariance < 1e-10 && mass < 1e-10);

    // Gaussians written out have no known support, so the panels differ: the quadrature's own accuracy.
    let built_in = experiment(
        "kind = \"vp\"",
        "kind = \"gaussian\"\ncount = 7\nrange = [-2.0, 2.0]\nwidth = 0.7",
        "kind = \"polynomial\"\ncount = 3",
        "",
    );
    let written = experiment(
        &vp,
        &list(&gaussians(7, -2.0, 2.0, 0.7)),
        &list(&legendre),
        weight,
    );
    let [mean, covariance, mass] = differences(&built_in, &written);
    println!("Gaussian: mean {mean:.1e}, covariance {covariance:.1e}, masses {mass:.1e}");
    // The built-in model is tabulated for many trajectories to 2e-7 of a feature's height.
    assert!(mean < 1e-7 && covariance < 1e-7 && mass < 1e-6);
}

/// The weight multiplies the error of the predicted quantity, as `uniform` and `sigma2` do.
#[test]
fn a_written_weight_is_the_named_one() {
    for predicts in ["denoiser", "score", "noise"] {
        for (name, weight) in [("sigma2", "sigma^2"), ("uniform", "1")] {
            let at = |weighting: &str| {
                let x = "kind = \"polynomial\"\ncount = 3";
                let mut e = experiment(
                    "kind = \"ou\"",
                    x,
                    "kind = \"polynomial\"\ncount = 1",
                    weighting,
                );
                let Family::Linear(l) = &mut e.family else {
                    panic!()
                };
                l.predicts = match predicts {
                    "denoiser" => vkernel::problem::Prediction::Denoiser,
                    "score" => vkernel::problem::Prediction::Score,
                    _ => vkernel::problem::Prediction::Noise,
                };
                let training = e.training.as_ref().unwrap();
                [0.02, 0.3, 1.0].map(|t| training.lambda(&e.problem, linear(&e).predicts, t))
            };
            let named = at(&format!("weighting = \"{name}\""));
            let written = at(&format!(
                "weighting = \"expression\"\nweight = \"{weight}\""
            ));
            for (a, b) in named.into_iter().zip(written) {
                assert!(
                    relative(a, b) < 1e-14,
                    "{predicts}, {name}: {a} against {b}"
                );
            }
        }
    }
}

/// The resolved spec reads back, and expressions are part of what a checkpoint's name is made of.
#[test]
fn expressions_are_part_of_the_resolved_spec() {
    let text = |sigma: &str| {
        format!(
            "[data]\nkind = \"points\"\npoints = [[0.0]]\n[diffusion]\nkind = \"expression\"\nalpha = \"1\"\n\
             sigma = \"{sigma}\"\nt_min = 0.1\nt_max = 2\n[model]\nkind = \"linear\"\n[[model.features]]\nof = \"x1\"\n\
             kind = \"expression\"\nexpressions = [\"1\", \"x\"]\n[training]\nweighting = \"expression\"\nweight = \"1/sigma\"\n"
        )
    };
    let first = spec(&text("t"));
    let again = vkernel::spec::parse(
        &first.resolved.to_string(),
        Format::Json,
        "again.json",
        Path::new("."),
        &[],
        None,
    );
    let mut again = again.unwrap().resolved;
    again["name"] = first.resolved["name"].clone();
    assert_eq!(again, first.resolved);
    assert_ne!(
        spec(&text("2*t")).cases[0].resolved,
        first.cases[0].resolved
    );
}
