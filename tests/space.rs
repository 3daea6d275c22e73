//! Features of points in D >= 2: the fast contraction against plain sums of the definitions, tables of models in the plane against
//! the models, and what one panel of Fig. 3 costs.

use std::f64::consts::TAU;
use std::path::Path;
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use vkernel::compare::total_variation;
use vkernel::density::{Generated, Generator};
use vkernel::experiment::Experiment;
use vkernel::family::features::{
    Factor, FeatureSet, Features, Fourier, Gaussian, Joint, Polynomial, SpaceFeatures,
};
use vkernel::family::{Denoiser, Family, Linear, LinearDenoiser, PlaneTables};
use vkernel::monte_carlo::{MonteCarlo, Trainer, model_rng};
use vkernel::numerics::elementary;
use vkernel::problem::{Diffusion, Prediction};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn gaussian(count: usize, low: f64, high: f64, width: f64) -> FeatureSet {
    FeatureSet::Gaussian(Gaussian::new(count, low, high, width))
}

fn fourier(count: usize, low: f64, high: f64) -> FeatureSet {
    FeatureSet::Fourier(Fourier::new(count, low, high))
}

fn polynomial(count: usize, low: f64, high: f64) -> FeatureSet {
    FeatureSet::Polynomial(Polynomial::new(count, low, high))
}

fn product(sets: Vec<Vec<FeatureSet>>) -> SpaceFeatures {
    SpaceFeatures::Product(sets.into_iter().map(Factor::new).collect())
}

/// exp, its pair and the sines against the standard library's over their whole ranges.
#[test]
fn elementary_functions_to_a_few_roundings() {
    let mut rng = rng(1);
    let mut worst = [0.0_f64; 4];
    for _ in 0..1_000_000 {
        let x = 1416.0 * rng.random::<f64>() - 708.0;
        let (up, down) = elementary::exp_both(x);
        let (plus, minus) = (x.exp(), (-x).exp());
        worst[0] = worst[0].max((elementary::exp(x) / plus - 1.0).abs());
        worst[1] = worst[1].max((up / plus - 1.0).abs().max((down / minus - 1.0).abs()));
        let turns = 2.0 * rng.random::<f64>() - 1.0;
        let (sin, cos) = elementary::sin_cos_turns(turns);
        // The angle itself, 2 pi turns, is rounded for the standard library: 4e-16 + 3e-16 at most.
        let (s, c) = (TAU * turns).sin_cos();
        worst[2] = worst[2].max((sin - s).abs());
        worst[3] = worst[3].max((cos - c).abs());
    }
    println!(
        "exp {:.1e}, both {:.1e}, sin {:.1e}, cos {:.1e}",
        worst[0], worst[1], worst[2], worst[3]
    );
    // Three roundings of the series and the scaling, and the standard library's own.
    assert!(worst[0] < 6e-16 && worst[1] < 6e-16);
    assert!(worst[2] < 1.5e-15 && worst[3] < 1.5e-15);
    for k in -8_i32..=8 {
        let (sin, cos) = elementary::sin_cos_turns(f64::from(k) * 0.25 + 1e6);
        let exact = [(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)][k.rem_euclid(4) as usize];
        assert_eq!(
            (sin.abs() * sin.signum() + 0.0, cos + 0.0),
            exact,
            "{k} quarters"
        );
    }
    assert_eq!(elementary::exp(0.0), 1.0);
    assert_eq!(elementary::exp(-709.0), 0.0);
    assert_eq!(elementary::exp(f64::NEG_INFINITY), 0.0);
    assert!(elementary::exp(f64::NAN).is_nan());
    assert!(elementary::exp_both(f64::NAN).0.is_nan());
    assert!(elementary::sin_cos_turns(f64::NAN).0.is_nan());
    assert!(elementary::exp(1e300).is_finite());
}

const BOX: [(f64, f64); 2] = [(-1.5, 1.5), (-1.0, 2.0)];

/// A product of sets of x1, none of x2, Fourier features of x3.
fn additive() -> SpaceFeatures {
    let sets = [
        vec![gaussian(5, -1.5, 1.5, 0.5), polynomial(2, -1.5, 1.5)],
        vec![],
        vec![fourier(6, -1.5, 1.5)],
    ];
    SpaceFeatures::Additive(sets.into_iter().map(Factor::new).collect())
}

fn radial() -> Joint {
    Joint::radial_random(37, &BOX, 0.4, &mut rng(7))
}

/// Feature sets of two to four coordinates: all ways of evaluation, alone and together.
fn spaces() -> Vec<(&'static str, SpaceFeatures)> {
    vec![
        (
            "Fig. 3, Gaussian",
            product(vec![
                vec![gaussian(10, -1.5, 1.5, 0.5)],
                vec![gaussian(10, -1.5, 1.5, 0.5)],
            ]),
        ),
        (
            "Fig. 3, Fourier",
            product(vec![
                vec![fourier(10, -1.5, 1.5)],
                vec![fourier(10, -1.5, 1.5)],
            ]),
        ),
        (
            "exponents that cannot be summed",
            product(vec![
                vec![gaussian(18, -1.5, 1.5, 0.5)],
                vec![gaussian(18, -1.0, 1.5, 0.5)],
            ]),
        ),
        (
            "too narrow for powers",
            product(vec![
                vec![gaussian(7, -1.5, 1.5, 0.1)],
                vec![gaussian(40, -1.5, 1.5, 0.6)],
            ]),
        ),
        (
            "one feature",
            product(vec![
                vec![gaussian(1, -1.5, 1.5, 0.5)],
                vec![fourier(1, -1.0, 1.0)],
            ]),
        ),
        (
            "mixed, with a product and a coordinate without features",
            product(vec![
                vec![gaussian(5, -1.5, 1.5, 0.7), polynomial(3, -1.5, 1.5)],
                vec![],
                vec![fourier(6, -1.0, 1.0)],
            ]),
        ),
        (
            "four coordinates",
            product(vec![
                vec![gaussian(3, -1.5, 1.5, 0.5)],
                vec![fourier(2, -1.5, 1.5)],
                vec![gaussian(13, -1.5, 1.5, 0.5)],
                vec![polynomial(4, -1.5, 1.5)],
            ]),
        ),
        ("additive", additive()),
        ("radial", SpaceFeatures::Joint(radial())),
        (
            "random Fourier",
            SpaceFeatures::Joint(Joint::random_fourier(2, 37, 0.4, &mut rng(8))),
        ),
        (
            "rectified",
            SpaceFeatures::Joint(Joint::relu(37, &BOX, &mut rng(9))),
        ),
    ]
}

/// So many coordinates, uniform over a length about the origin.
fn cloud(count: usize, length: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let uniform = |_| length * rng.random::<f64>() - 0.5 * length;
    (0..count).map(uniform).collect()
}

/// Point k of n.
fn point_of(x: &[f64], n: usize, k: usize) -> Vec<f64> {
    x.iter().skip(k).step_by(n).copied().collect()
}

#[test]
fn contraction_is_the_plain_sum() {
    let mut rng = rng(2);
    for (name, space) in spaces() {
        let (dim, features) = (space.dim(), space.len());
        let n = 3 * 97;
        let mut x = cloud(dim * n, 4.0, &mut rng);
        // Far outside, where everything vanishes or goes on.
        for (k, far) in [3.0, 8.0, 20.0, 1e3, -1e3].into_iter().enumerate() {
            x[7 * k] = far;
        }
        let weights: Vec<f64> = (0..2 * features)
            .map(|_| rng.sample(StandardNormal))
            .collect();
        let mut out = vec![f64::NAN; 2 * n];
        space.contract(&weights, &x, &mut out);
        let mut phi = vec![0.0; features];
        let mut worst = 0.0_f64;
        for k in 0..n {
            let point = point_of(&x, n, k);
            space.values(&point, &mut phi);
            for (o, w) in weights.chunks_exact(features).enumerate() {
                let plain: f64 = w.iter().zip(&phi).map(|(w, p)| w * p).sum();
                let size: f64 = w.iter().zip(&phi).map(|(w, p)| (w * p).abs()).sum();
                // A feature near exp(-40) of its height is known to 1e-14 of itself on either side. At 1e3 the angle of a
                // Fourier feature is known to 1e3 roundings.
                let far = point.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
                let error = (out[o * n + k] - plain).abs();
                assert!(
                    error <= (2e-14 + 1e-15 * far) * size + 1e-15,
                    "{name}, {point:?}: {} against {plain}",
                    out[o * n + k]
                );
                worst = worst.max(error / size.max(1e-3));
            }
        }
        println!("{name}: F_x = {features}, largest error {worst:.1e} of the terms");
    }
}

/// A point's sums are the same bits alone, in any block, and at any place of it.
#[test]
fn contraction_does_not_depend_on_the_block() {
    let mut rng = rng(3);
    for (name, space) in spaces() {
        let (dim, features, n) = (space.dim(), space.len(), 211);
        let x = cloud(dim * n, 5.0, &mut rng);
        let weights: Vec<f64> = (0..2 * features)
            .map(|_| rng.sample(StandardNormal))
            .collect();
        let mut all = vec![0.0; 2 * n];
        space.contract(&weights, &x, &mut all);
        for k in 0..n {
            let point = point_of(&x, n, k);
            let mut alone = [0.0; 2];
            space.contract(&weights, &point, &mut alone);
            assert_eq!(
                alone.map(f64::to_bits),
                [all[k], all[n + k]].map(f64::to_bits),
                "{name}"
            );
        }
        let nan = vec![f64::NAN; dim];
        let mut out = [0.0; 2];
        space.contract(&weights, &nan, &mut out);
        assert!(
            features == 1 || out.iter().all(|v| v.is_nan()),
            "{name}: NaN is lost"
        );
        space.contract(&weights, &[], &mut []);
    }
}

#[test]
fn values_at_many_points_are_those_at_each() {
    let mut rng = rng(4);
    for (name, space) in spaces() {
        let (dim, features, n) = (space.dim(), space.len(), 211);
        let x = cloud(dim * n, 5.0, &mut rng);
        let mut all = vec![f64::NAN; features * n];
        space.values_at(&x, &mut all);
        let (mut phi, mut alone) = (vec![0.0; features], vec![0.0; features]);
        for (k, at) in all.chunks_exact(features).enumerate() {
            let point = point_of(&x, n, k);
            space.values(&point, &mut phi);
            space.values_at(&point, &mut alone);
            for ((a, b), c) in at.iter().zip(&phi).zip(&alone) {
                assert!(
                    (a - b).abs() <= 2e-14 * b.abs() + 1e-14,
                    "{name}, {point:?}: {a} against {b}"
                );
                assert_eq!(a.to_bits(), c.to_bits(), "{name}");
            }
        }
        space.values_at(&[], &mut []);
    }
}

/// Every kind against its definition, written out once more.
#[test]
fn features_of_all_coordinates_are_what_they_say() {
    let (x, mut out) = ([0.3, -0.7], [0.0; 37]);
    let set = radial();
    set_values(&set, &x, &mut out);
    for (c, v) in set.vectors().zip(out) {
        let square = (x[0] - c[0]).powi(2) + (x[1] - c[1]).powi(2);
        let density = (-square / (2.0 * 0.16)).exp() / (TAU * 0.16);
        assert!((v - density).abs() <= 1e-13 * density, "{v} {density}");
        assert!((-1.5..=1.5).contains(&c[0]) && (-1.0..=2.0).contains(&c[1]));
    }
    let space = SpaceFeatures::Joint(Joint::radial(&[vec![0.0, 1.0], vec![2.0, 0.0]], 0.5));
    assert_eq!((space.len(), space.dim(), space.scale(1)), (2, 2, 0.5));
    let (low, high) = space.support(0).unwrap();
    let at_edge = (-0.5 * (low / 0.5_f64).powi(2)).exp();
    assert!(at_edge < 1e-17 && (high - 2.0 + low).abs() < 1e-12);

    // Products of random Fourier features average to the Gaussian kernel; 1/sqrt(m) is their spread.
    let many = SpaceFeatures::Joint(Joint::random_fourier(2, 100_000, 0.5, &mut rng(1)));
    let (mut a, mut b) = (vec![0.0; many.len()], vec![0.0; many.len()]);
    many.values(&[0.1, 0.2], &mut a);
    many.values(&[0.4, -0.1], &mut b);
    let kernel: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    let expected = (-(0.09 + 0.09) / (2.0 * 0.25_f64)).exp();
    assert!(
        (kernel - expected).abs() < 4.0 / 1e5_f64.sqrt(),
        "{kernel} {expected}"
    );

    let relu = Joint::relu(1000, &BOX, &mut rng(2));
    let radius = 0.5 * 18.0_f64.sqrt();
    let mut mean = 0.0;
    for (u, b) in relu.vectors().zip(relu.offsets()) {
        assert!((u[0] * u[0] + u[1] * u[1] - 1.0).abs() < 1e-14);
        // Height of the plane above the middle of the box.
        let middle = 0.5 * u[1] + b;
        assert!(middle.abs() <= radius);
        mean += middle / 1000.0;
    }
    assert!(mean.abs() < 4.0 * radius / 3000.0_f64.sqrt(), "{mean}");
    let mut values = vec![0.0; 1000];
    set_values(&relu, &x, &mut values);
    for ((u, b), v) in relu.vectors().zip(relu.offsets()).zip(values) {
        assert_eq!(v, (u[0] * x[0] + u[1] * x[1] + b).max(0.0));
    }

    let sum = additive();
    let mut out = vec![0.0; sum.len()];
    sum.values(&[0.3, 9.0, -0.7], &mut out);
    let mut own = [vec![0.0; 10], vec![0.0; 6]];
    Factor::new(vec![gaussian(5, -1.5, 1.5, 0.5), polynomial(2, -1.5, 1.5)])
        .values(0.3, &mut own[0]);
    fourier(6, -1.5, 1.5).values(-0.7, &mut own[1]);
    assert_eq!(out, own.concat());
}

fn set_values(set: &Joint, x: &[f64], out: &mut [f64]) {
    SpaceFeatures::Joint(set.clone()).values(x, out);
}

/// Derivatives of every kind against sixth-order differences (error h^6 f^(7)/140).
#[test]
fn jacobians_of_every_kind() {
    for (name, space) in spaces() {
        let (dim, features) = (space.dim(), space.len());
        let x: Vec<f64> = (0..dim).map(|i| 0.3 - 0.4 * i as f64).collect();
        let (mut values, mut plain) = (vec![0.0; features], vec![0.0; features]);
        let mut jacobian = vec![0.0; dim * features];
        space.jacobian(&x, &mut values, &mut jacobian);
        space.values(&x, &mut plain);
        let largest = plain.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        for (v, p) in values.iter().zip(&plain) {
            assert!((v - p).abs() <= 1e-14 * largest, "{name}");
        }
        for i in 0..dim {
            let h = 2e-3 * space.scale(i).min(1.0);
            let mut slope = vec![0.0; features];
            for (k, factor) in [(1, 45.0), (2, -9.0), (3, 1.0)] {
                for sign in [1.0, -1.0] {
                    let mut y = x.clone();
                    y[i] += sign * f64::from(k) * h;
                    space.values(&y, &mut plain);
                    for (s, p) in slope.iter_mut().zip(&plain) {
                        *s += sign * factor * p / (60.0 * h);
                    }
                }
            }
            for (s, d) in slope.iter().zip(&jacobian[i * features..]) {
                // Seven derivatives of a normal density are at most 106 heights per scale^7.
                let allowed = largest / space.scale(i).min(1.0) * (1e-12 + 1e-15 / 2e-3);
                assert!((s - d).abs() <= allowed, "{name}, x{}: {s} {d}", i + 1);
            }
        }
    }
}

/// A panel of experiments/fig3-published.toml, 22.5 degrees: 100 models of F = 1000 features and P = 500 samples, each sampled
/// from 100 000 random starts by 30 Euler steps.
fn panel(kind: &str, overrides: &[&str]) -> Experiment {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/fig3-published.toml");
    let kind = format!("sweep.\"model.features.0.kind\"=[\"{kind}\"]");
    let set = [&kind, "sweep.\"data.rotation\"=[22.5]"];
    let overrides: Vec<String> = set
        .iter()
        .chain(overrides)
        .map(ToString::to_string)
        .collect();
    let mut spec = vkernel::spec::load(&path, &overrides, None).unwrap();
    spec.cases.remove(0).experiment
}

fn linear(experiment: &Experiment) -> &Linear {
    match &experiment.family {
        Family::Linear(family) => family,
        _ => panic!("Fig. 3 is linear"),
    }
}

/// The same model without its tables.
struct Exact<'a>(LinearDenoiser<'a>);

impl Denoiser for Exact<'_> {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        self.0.denoise(t, x, denoised);
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.0.denoise_with_slope(t, x, denoised, slope);
    }
}

/// Densities of trained models from the same starts, as they are generated and by exact evaluation at every step.
fn both_ways(
    experiment: &Experiment,
    generator: &Generator<'_>,
    models: u64,
) -> Vec<[Generated; 2]> {
    let problem = &experiment.problem;
    let family = linear(experiment);
    let training = experiment.training.as_ref().unwrap();
    let mut trainer = Trainer::new(problem, family, training);
    (0..models)
        .map(|index| {
            let mut rng = model_rng(1, index);
            let weights = trainer.train(&mut rng).unwrap();
            let model = LinearDenoiser {
                family,
                diffusion: &problem.diffusion,
                weights,
            };
            let tabulated = generator.generate(&model, &mut rng.clone()).unwrap();
            let exact = generator.generate(&Exact(model), &mut rng).unwrap();
            [tabulated, exact]
        })
        .collect()
}

/// Tables put fewer than 1e-3 of the mass elsewhere, model by model; the moments tell that there were tables.
#[test]
fn tabulated_densities_are_the_exact_densities() {
    for kind in ["gaussian", "fourier"] {
        let mut worst = 0.0_f64;
        let panel = panel(kind, &[]);
        for [tabulated, exact] in both_ways(&panel, &Generator::new(&panel), 8) {
            assert_ne!(tabulated.values, exact.values, "{kind}: no tables");
            worst = worst.max(total_variation(&tabulated.masses, &exact.masses));
        }
        println!("{kind}: largest TV of a model {worst:.1e}");
        assert!(worst < 1e-3, "{kind}: {worst:e}");
    }
}

/// A few trajectories more than share a table are carried exactly, beside those that do.
#[test]
fn a_remainder_without_tables() {
    let panel = panel("gaussian", &[]);
    let generator = Generator::new(&panel).with_particles((1 << 17) + 8);
    for [tabulated, exact] in both_ways(&panel, &generator, 1) {
        let tv = total_variation(&tabulated.masses, &exact.masses);
        assert!(0.0 < tv && tv < 1e-3, "{tv:e}");
        assert!((tabulated.masses.cells.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}

/// Tables with few stratified starts, and with schemes of one stage and of two.
#[test]
fn tabulated_densities_of_other_samplers() {
    for scheme in ["ddim", "heun"] {
        let set = [
            &format!("sampler.scheme=\"{scheme}\""),
            "sampler.grid=\"log\"",
            "monte_carlo.start=\"stratified\"",
            "monte_carlo.particles=10_000",
        ];
        let panel = panel("gaussian", &set);
        for [tabulated, exact] in both_ways(&panel, &Generator::new(&panel), 8) {
            assert_ne!(tabulated.values, exact.values, "{scheme}: no tables");
            let tv = total_variation(&tabulated.masses, &exact.masses);
            assert!(tv < 1e-3, "{scheme}: {tv:e}");
        }
    }
}

/// Exact evaluation, to the last bit, where tables would put too many trajectories into other bins (much finer ones), where
/// features are so narrow that tables are larger than there are trajectories, and where there are few trajectories.
#[test]
fn tables_give_way() {
    let as_it_is = panel("gaussian", &[]);
    let narrow = panel("gaussian", &["model.features.0.width=0.02"]);
    let mut fine = Generator::new(&as_it_is);
    fine.readout = fine.readout.coarse(1000);
    let settings = [
        ("bins", &as_it_is, fine),
        ("features", &narrow, Generator::new(&narrow)),
        (
            "few",
            &as_it_is,
            Generator::new(&as_it_is).with_particles(8000),
        ),
    ];
    for (what, panel, generator) in settings {
        for [generated, exact] in both_ways(panel, &generator, 2) {
            assert!(generated.masses == exact.masses, "{what}");
            assert_eq!(generated.values, exact.values, "{what}");
        }
    }
}

/// Inside its rectangle a table is as near as a cubic spline of five cells per length scale is, outside it is the model.
#[test]
fn plane_table_is_the_model() {
    const CELLS: f64 = 5.0;
    const RECTANGLE: [(f64, f64); 2] = [(-1.1, 2.0), (-2.1, 0.3)];
    let mut rng = rng(11);
    let vp = Diffusion::Vp {
        beta_min: 0.1,
        beta_delta: 19.9,
    };
    // Height of a feature, and its fourth derivative in units of height/scale^4.
    let sets = [
        (gaussian(10, -1.5, 1.5, 0.5), 6.0 / TAU.sqrt(), 3.0),
        (fourier(10, -1.5, 1.5), 1.0, 1.0),
    ];
    for ((set, height, fourth), predicts) in sets.iter().flat_map(|set| {
        [Prediction::Denoiser, Prediction::Score, Prediction::Noise].map(|predicts| (set, predicts))
    }) {
        let family = Linear {
            features: Features {
                space: product(vec![vec![set.clone()], vec![set.clone()]]),
                time: Factor::new(vec![gaussian(10, 1e-2, 1.0, 0.5)]),
            },
            predicts,
        };
        let weights: Vec<f64> = (0..2000)
            .map(|_| 0.01 * rng.sample::<f64, _>(StandardNormal))
            .collect();
        let model = LinearDenoiser {
            family: &family,
            diffusion: &vp,
            weights: &weights,
        };
        let n = 20_000;
        let x: Vec<f64> = (0..2 * n)
            .map(|_| 6.0 * rng.random::<f64>() - 3.0)
            .collect();
        let (mut exact, mut fast) = (vec![0.0; 2 * n], vec![0.0; 2 * n]);
        let mut tables = PlaneTables::new(&model).unwrap();
        assert!(tables.tabulate(0.3, RECTANGLE, 100).is_none(), "few points");
        for t in [1.0, 0.3, 0.02] {
            let table = tables.tabulate(t, RECTANGLE, n).unwrap();
            model.denoise(t, &x, &mut exact);
            table.denoise(t, &x, &mut fast);
            let p = predicts.regression(&vp, t).p.abs();
            let mut at_t = vec![0.0; 200];
            family.features.contract_time(&weights, t, &mut at_t);
            let sums = at_t.chunks(100).map(|w| w.iter().map(|w| w.abs()).sum());
            let size = sums.fold(0.0, f64::max) * height * height / p;
            // In both coordinates 5/384 h^4 times the fourth derivative, which bounds the error of cubic splines (Hall 1968).
            // In single precision ten features of each coordinate and four splines of each are summed.
            let spline = 2.0 * fourth * 5.0 / 384.0 / CELLS.powi(4);
            let bound = size * (spline + 28.0 * f64::from(f32::EPSILON));
            let (mut worst, mut tabulated) = (0.0_f64, 0);
            for k in 0..n {
                let [x1, x2] = [x[k], x[n + k]];
                // The cell at the edge is tabulated too.
                let outside = !(-1.2..=2.1).contains(&x1) || !(-2.2..=0.4).contains(&x2);
                for place in [k, n + k] {
                    let error = (exact[place] - fast[place]).abs();
                    // Denoised values far outside the features lose roundings of their size.
                    let rounding = 1e-14 * (size + exact[place].abs());
                    if outside {
                        assert!(error <= rounding, "{predicts:?}, t = {t}: {error:e}");
                    } else {
                        worst = worst.max(error);
                        tabulated += usize::from(error > rounding);
                    }
                }
            }
            println!("{predicts:?}, t = {t}: {worst:.1e} of {size:.1e}, bound {bound:.1e}");
            assert!(worst < bound, "{predicts:?}, t = {t}: {worst:e} {bound:e}");
            assert!(tabulated > n / 4, "the table is not used");
            let mut out = [0.0; 4];
            table.denoise(t, &[f64::NAN, 0.1, 0.1, 1e300], &mut out);
            assert!(out[0].is_nan() && out[2].is_nan());
        }
    }
}

/// The work of one panel of the paper's Fig. 3 as `vkernel train experiments/fig3-published.toml` does it. Run with
/// `cargo test --release --test space -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn one_panel_of_figure_3() {
    for kind in ["gaussian", "fourier"] {
        let experiment = panel(kind, &[]);
        let monte_carlo = MonteCarlo::new(&experiment, 1);
        let models = experiment.monte_carlo.models as u64;
        let started = Instant::now();
        let members: Vec<_> = (0..models)
            .into_par_iter()
            .map_init(
                || monte_carlo.scratch(),
                |scratch, index| monte_carlo.member(scratch, index).unwrap(),
            )
            .collect();
        let seconds = started.elapsed().as_secs_f64();
        let (train, sample) = members.iter().fold((0.0, 0.0), |(train, sample), member| {
            (train + member.seconds.0, sample + member.seconds.1)
        });
        println!(
            "{kind}: {models} models in {seconds:.2} s; over threads, training {train:.2} s, sampling {sample:.2} s; peak {}",
            peak_memory()
        );
        println!("{kind}: {}", undisturbed(&experiment));
    }
}

/// The fastest of many short runs on one thread: the rates of a machine that others use too, undisturbed.
fn undisturbed(experiment: &Experiment) -> String {
    let (problem, family) = (&experiment.problem, linear(experiment));
    let mut trainer = Trainer::new(problem, family, experiment.training.as_ref().unwrap());
    let fastest = |runs: u32, run: &mut dyn FnMut()| {
        let seconds = (0..runs).map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64()
        });
        seconds.fold(f64::INFINITY, f64::min)
    };
    let train = fastest(100, &mut || {
        trainer.train(&mut model_rng(1, 0)).unwrap();
    });
    let weights = trainer.train(&mut model_rng(1, 0)).unwrap();
    let model = LinearDenoiser {
        family,
        diffusion: &problem.diffusion,
        weights,
    };
    let generator = Generator::new(experiment).with_particles(10_000);
    let points = 10_000;
    let mut x = Vec::new();
    let start = fastest(50, &mut || {
        x = generator.random_starts(&mut model_rng(2, 0));
    });
    let t = 0.3;
    let mut out = vec![0.0; x.len()];
    let evaluate = fastest(50, &mut || model.denoise(t, &x, &mut out));
    let mut tables = PlaneTables::new(&model).unwrap();
    let mut table = None;
    let tabulate = fastest(50, &mut || {
        table = tables.tabulate(t, [(-3.0, 3.0); 2], 100 * points);
    });
    let table = table.unwrap();
    let look_up = fastest(50, &mut || table.denoise(t, &x, &mut out));
    let read = fastest(50, &mut || {
        let mut reading = generator.readout.empty();
        generator.readout.add(&mut reading, &x, |_| 1e-4);
    });
    let each = |seconds: f64| 1e9 * seconds / points as f64;
    format!(
        "fastest: training {:.2} ms, table {:.0} us; per point start {:.1} ns, evaluation {:.1} ns, look-up {:.1} ns, readout {:.1} ns",
        1e3 * train,
        1e6 * tabulate,
        each(start),
        each(evaluate),
        each(look_up),
        each(read)
    )
}

/// Peak resident memory, where the system tells.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM"));
    line.map_or("unknown".into(), |l| {
        l.replace("VmHWM:", "").trim().to_owned()
    })
}
