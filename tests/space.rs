//! Features of points in D >= 2: the fast contraction against plain sums of the definitions, and what one panel of Fig. 3 costs.

use std::f64::consts::TAU;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use vkernel::experiment::{Process, SamplerOptions, Scheme, Spacing};
use vkernel::family::features::{
    Factor, FeatureSet, Features, Fourier, Gaussian, Joint, Polynomial, SpaceFeatures,
};
use vkernel::family::{Linear, LinearDenoiser};
use vkernel::monte_carlo::{Trainer, model_rng};
use vkernel::numerics::elementary;
use vkernel::problem::{
    Data, Diffusion, Objective, Prediction, Problem, StartLaw, Training, Weighting,
};
use vkernel::sampler::PfOde;

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

#[test]
fn contraction_is_the_plain_sum() {
    let mut rng = rng(2);
    for (name, space) in spaces() {
        let (dim, features) = (space.dim(), space.len());
        let n = 3 * 97;
        let mut x: Vec<f64> = (0..dim * n)
            .map(|_| 4.0 * rng.random::<f64>() - 2.0)
            .collect();
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
            let point: Vec<f64> = (0..dim).map(|i| x[i * n + k]).collect();
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
        let x: Vec<f64> = (0..dim * n)
            .map(|_| 5.0 * rng.random::<f64>() - 2.5)
            .collect();
        let weights: Vec<f64> = (0..2 * features)
            .map(|_| rng.sample(StandardNormal))
            .collect();
        let mut all = vec![0.0; 2 * n];
        space.contract(&weights, &x, &mut all);
        for k in 0..n {
            let point: Vec<f64> = (0..dim).map(|i| x[i * n + k]).collect();
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

/// Four points on the unit circle, as in the paper's Fig. 3.
fn circle(t_min: f64) -> Problem {
    let points: Vec<Vec<f64>> = (0..4)
        .map(|k| {
            let (sin, cos) = (TAU * (f64::from(k) / 4.0 + 0.0625)).sin_cos();
            vec![cos, sin]
        })
        .collect();
    Problem {
        data: Data::points(&points, None).unwrap(),
        diffusion: Diffusion::Vp {
            beta_min: 0.1,
            beta_delta: 19.9,
        },
        t_min,
        t_max: 1.0,
    }
}

fn training(samples: usize) -> Training {
    Training {
        objective: Objective::Dsm,
        weighting: Weighting::Snr,
        samples,
        draws: 1,
        ridge: 0.1,
        time: None,
    }
}

/// The work of one panel of the paper's Fig. 3: 100 models of F = 1000 features and P = 500 samples, trained, and each sampled
/// from 100 000 random starts by 30 Euler steps. Run with `cargo test --release --test space -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn one_panel_of_figure_3() {
    let problem = circle(1e-2);
    let sampler = SamplerOptions {
        process: Process::PfOde,
        scheme: Scheme::Euler,
        steps: 30,
        grid: Spacing::Uniform,
        tolerance: 1e-8,
        start: StartLaw::Normal,
    };
    let flow = PfOde::new(&problem, &sampler);
    type Make = fn(usize, f64, f64) -> FeatureSet;
    let kinds: [(&str, Make); 2] = [
        ("gaussian", |n, l, h| gaussian(n, l, h, 0.5)),
        ("fourier", fourier),
    ];
    for (name, make) in kinds {
        let family = Linear {
            features: Features {
                space: product(vec![vec![make(10, -1.5, 1.5)], vec![make(10, -1.5, 1.5)]]),
                time: Factor::new(vec![make(10, 1e-2, 1.0)]),
            },
            predicts: Prediction::Denoiser,
        };
        let training = training(500);
        let started = Instant::now();
        let parts = [(); 3].map(|()| AtomicU64::new(0));
        let clock = |part: usize, from: Instant| {
            let nanoseconds = from.elapsed().as_nanos() as u64;
            parts[part].fetch_add(nanoseconds, Ordering::Relaxed);
        };
        let inside: Vec<usize> = (0..100_u64)
            .into_par_iter()
            .map_init(
                || Trainer::new(&problem, &family, &training),
                |trainer, index| {
                    let mut rng = model_rng(1, index);
                    let from = Instant::now();
                    let weights = trainer.train(&mut rng).unwrap();
                    clock(0, from);
                    let model = LinearDenoiser {
                        family: &family,
                        diffusion: &problem.diffusion,
                        weights,
                    };
                    let from = Instant::now();
                    let sigma = problem.diffusion.sigma(problem.t_max);
                    let mut inside = 0;
                    for _ in 0..25 {
                        let mut x: Vec<f64> = (0..8_000)
                            .map(|_| sigma * rng.sample::<f64, _>(StandardNormal))
                            .collect();
                        flow.flow(&model, &mut x).unwrap();
                        inside += x.iter().filter(|v| v.abs() < 1.5).count();
                    }
                    clock(1, from);
                    inside
                },
            )
            .collect();
        println!(
            "{name}: {}",
            undisturbed(&problem, &family, &training, &flow)
        );
        let seconds = parts
            .each_ref()
            .map(|p| p.load(Ordering::Relaxed) as f64 * 1e-9);
        println!(
            "{name}: {:.2} s in all; over threads, training {:.2} s, sampling {:.2} s; {:.3} of coordinates inside; peak {}",
            started.elapsed().as_secs_f64(),
            seconds[0],
            seconds[1],
            inside.iter().sum::<usize>() as f64 / 2e7,
            peak_memory()
        );
    }
}

/// The fastest of many short runs on one thread: the rates of a machine that others use too, undisturbed.
fn undisturbed(problem: &Problem, family: &Linear, training: &Training, flow: &PfOde) -> String {
    let mut trainer = Trainer::new(problem, family, training);
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
    let mut generator = rng(1);
    const POINTS: usize = 4000;
    let mut x = vec![0.0; 2 * POINTS];
    let mut draw = |x: &mut [f64]| x.fill_with(|| generator.sample(StandardNormal));
    let start = fastest(400, &mut || draw(&mut x));
    let sample = fastest(400, &mut || {
        draw(&mut x);
        flow.flow(&model, &mut x).unwrap();
    });
    let space: Vec<f64> = (0..200).map(|i| f64::from(i).sin()).collect();
    let mut out = vec![0.0; x.len()];
    let evaluate = fastest(400, &mut || {
        family.features.space.contract(&space, &x, &mut out)
    });
    let panel = 100.0 * (train + sample * 1e5 / POINTS as f64);
    format!(
        "fastest: training {:.2} ms, start {:.1} ns, evaluation {:.2} ns, 30 steps {:.0} ns; 100 models {:.2} s on one thread",
        1e3 * train,
        1e9 * start / POINTS as f64,
        1e9 * evaluate / POINTS as f64,
        1e9 * sample / POINTS as f64,
        panel
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
