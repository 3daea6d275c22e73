//! The hot kernels in the plane beside the machine's own peaks. Elements per second are flops per second where the name says
//! nothing else. The features' exponentials and sines are not counted as flops. Run with `cargo bench --bench plane`.

use std::f64::consts::TAU;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nalgebra::DMatrix;
use rayon::prelude::*;

use vkernel::family::Linear;
use vkernel::family::features::{Factor, FeatureSet, Features, Fourier, Gaussian, SpaceFeatures};
use vkernel::monte_carlo::{Trainer, model_rng};
use vkernel::numerics::linalg;
use vkernel::problem::{Data, Diffusion, Objective, Prediction, Problem, Training, Weighting};

/// Features per coordinate and of time, as in the paper's Fig. 3.
const SIDE: usize = 10;
const OUTPUTS: usize = 2;
const POINTS: usize = 8192;

fn set(kind: &str, low: f64, high: f64) -> Factor {
    Factor::new(vec![match kind {
        "gaussian" => FeatureSet::Gaussian(Gaussian::new(SIDE, low, high, 0.5)),
        _ => FeatureSet::Fourier(Fourier::new(SIDE, low, high)),
    }])
}

fn space(kind: &str) -> SpaceFeatures {
    SpaceFeatures::Product(vec![set(kind, -1.5, 1.5), set(kind, -1.5, 1.5)])
}

fn problem() -> Problem {
    let corner = |k: u32| {
        let (sin, cos) = (TAU * f64::from(k) / 4.0).sin_cos();
        vec![cos, sin]
    };
    let points: Vec<Vec<f64>> = (0..4).map(corner).collect();
    Problem {
        data: Data::points(&points, None).expect("four points are data"),
        diffusion: Diffusion::Vp {
            beta_min: 0.1,
            beta_delta: 19.9,
        },
        t_min: 1e-2,
        t_max: 1.0,
    }
}

/// What the machine can do: a matrix product that fits in cache, and a + b s of arrays that do not.
fn peaks(c: &mut Criterion) {
    const SIZE: usize = 1000;
    const LENGTH: usize = 1 << 23;
    let mut group = c.benchmark_group("plane/peak");
    group.sample_size(10);
    let matrix = DMatrix::from_fn(SIZE, SIZE, |i, j| ((3 * i + 7 * j) % 11) as f64);
    let multiply = || linalg::multiply(linalg::view(&matrix), linalg::view(&matrix));
    for threads in [1, 2] {
        let flops = 2 * SIZE * SIZE * SIZE * threads;
        group.throughput(Throughput::Elements(flops as u64));
        group.bench_function(BenchmarkId::new("matrix-multiply", threads), |b| {
            b.iter(|| {
                let all = (0..threads).into_par_iter().map(|_| multiply()[(0, 0)]);
                all.sum::<f64>()
            })
        });
        let mut arrays = vec![(vec![0.0; LENGTH], vec![1.0; LENGTH], vec![2.0; LENGTH]); threads];
        group.throughput(Throughput::Bytes((3 * 8 * LENGTH * threads) as u64));
        group.bench_function(BenchmarkId::new("triad", threads), |b| {
            b.iter(|| {
                arrays.par_iter_mut().for_each(|(out, left, right)| {
                    for ((o, l), r) in out.iter_mut().zip(left).zip(right) {
                        *o = *l + 0.5 * *r;
                    }
                });
                black_box(arrays[0].0[0])
            })
        });
    }
    group.finish();
}

/// One iteration is all points: divide its time by 8192 for the time of one.
fn evaluation(c: &mut Criterion) {
    let mut group = c.benchmark_group("plane/evaluation");
    let weights: Vec<f64> = (0..OUTPUTS * SIDE * SIDE)
        .map(|i| (i as f64).sin())
        .collect();
    let x: Vec<f64> = (0..2 * POINTS)
        .map(|i| -2.0 + 4.0 * (i as f64 * 0.618).fract())
        .collect();
    let mut out = vec![0.0; OUTPUTS * POINTS];
    for kind in ["gaussian", "fourier"] {
        let space = space(kind);
        let flops = 2 * OUTPUTS * (SIDE * SIDE + SIDE) * POINTS;
        group.throughput(Throughput::Elements(flops as u64));
        group.bench_function(kind, |b| {
            b.iter(|| space.contract(&weights, black_box(&x), &mut out))
        });
    }
    group.finish();
}

/// One model. Elements are the flops of the smaller normal equations with rows written out, P F^2 + F^3/3 (dual:
/// F P^2 + P^3/3): a rate above the machine's peak is work saved by the factors.
fn training(c: &mut Criterion) {
    let mut group = c.benchmark_group("plane/training");
    group.sample_size(10);
    let problem = problem();
    for kind in ["gaussian", "fourier"] {
        let family = Linear {
            features: Features {
                space: space(kind),
                time: set(kind, 1e-2, 1.0),
            },
            predicts: Prediction::Denoiser,
        };
        for samples in [500, 2000, 8000] {
            let training = Training {
                objective: Objective::Dsm,
                weighting: Weighting::Snr,
                samples,
                draws: 1,
                ridge: 0.1,
                time: None,
            };
            let mut trainer = Trainer::new(&problem, &family, &training);
            let (f, p) = (family.features.len() as f64, samples as f64);
            let order = f.min(p);
            let flops = f.max(p) * order * order + order.powi(3) / 3.0;
            group.throughput(Throughput::Elements(flops as u64));
            let mut index = 0;
            group.bench_function(BenchmarkId::new(kind, samples), |b| {
                b.iter(|| {
                    index += 1;
                    let weights = trainer.train(&mut model_rng(1, index));
                    black_box(weights.expect("the panel can be trained")[0])
                })
            });
        }
    }
    group.finish();
}

criterion_group!(benches, peaks, evaluation, training);
criterion_main!(benches);
