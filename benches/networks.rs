//! Training of networks beside plain matrix products, on one thread and on two. Elements per second are flops per second of
//! the matrix products alone: activations and updates are not counted. Run with `cargo bench --bench networks`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use vkernel::family::kernel::{Activation, Architecture, Embedding, TimeEmbedding};
use vkernel::family::network::{
    Duration, Network, NetworkTraining, Optimiser, Parameterisation, Real,
};
use vkernel::monte_carlo::model_rng;
use vkernel::monte_carlo::network::{NetworkTrainer, Samples};
use vkernel::problem::{Data, Diffusion, Objective, Prediction, Problem, Training, Weighting};

const WIDTH: usize = 256;
const SAMPLES: usize = 512;
/// Steps of one measurement: what is done once per model is shared by so many.
const STEPS: usize = 20;

fn problem() -> Problem {
    Problem {
        data: Data::points(&[vec![-1.0], vec![0.0], vec![1.0]], None)
            .expect("three points are data"),
        diffusion: Diffusion::Vp {
            beta_min: 0.1,
            beta_delta: 19.9,
        },
        t_min: 1e-2,
        t_max: 1.0,
    }
}

fn network(activation: Activation) -> Network {
    let architecture = Architecture {
        depth: 2,
        activation,
        weight_std: 1.4,
        bias_std: 0.1,
    };
    let embedding = Embedding {
        dim: 1,
        time: TimeEmbedding::Raw,
        scale_inputs: None,
    };
    let predicts = Prediction::Denoiser;
    Network::new(
        architecture,
        embedding,
        WIDTH,
        Parameterisation::Ntk,
        predicts,
    )
    .expect("the network is valid")
}

fn options(optimiser: Optimiser) -> NetworkTraining {
    NetworkTraining {
        optimiser,
        duration: Duration::Steps(STEPS),
        relative_loss: None,
        rates: Vec::new(),
        centred: false,
    }
}

/// c = a b of an m x k and a k x n matrix, on each of some threads.
fn products<T: Real>(c: &mut Criterion, name: &str, (m, k, n): (usize, usize, usize)) {
    let mut group = c.benchmark_group("networks/matrix-product");
    group.sample_size(20);
    let (a, b) = (vec![T::one(); m * k], vec![T::one(); k * n]);
    for threads in [1, 2] {
        let mut out = vec![vec![T::zero(); m * n]; threads];
        group.throughput(Throughput::Elements((2 * m * k * n * threads) as u64));
        let id = BenchmarkId::new(format!("{name}-{m}x{k}x{n}"), threads);
        group.bench_function(id, |bench| {
            bench.iter(|| {
                out.par_iter_mut().for_each(|out| {
                    matmul(
                        MatMut::from_column_major_slice_mut(out, m, n),
                        Accum::Replace,
                        MatRef::from_column_major_slice(&a, m, k),
                        MatRef::from_column_major_slice(&b, k, n),
                        T::one(),
                        Par::Seq,
                    )
                });
                black_box(out[0][0])
            })
        });
    }
    group.finish();
}

/// Steps of full-batch training, one model per thread.
fn steps<T: Real>(c: &mut Criterion, name: &str) {
    let mut group = c.benchmark_group(format!("networks/step-{name}"));
    group.sample_size(20);
    let problem = problem();
    let training = Training {
        objective: Objective::Dsm,
        weighting: Weighting::Uniform,
        samples: SAMPLES,
        draws: 1,
        ridge: 0.0,
        time: None,
    };
    // Adam has the dearest update, and needs no curvature at the start.
    let adam = options(Optimiser::ADAM);
    for activation in [Activation::Relu, Activation::Erf, Activation::Gelu] {
        let network = network(activation);
        let samples = Samples::<T>::draw(&problem, &network, &training, &mut model_rng(1, 0));
        let flops = NetworkTrainer::<T>::step_flops(&network, SAMPLES) * STEPS as f64;
        for threads in [1, 2] {
            group.throughput(Throughput::Elements(flops as u64 * threads));
            let id = BenchmarkId::new(format!("{activation:?}"), threads);
            let mut trainers: Vec<_> = (0..threads)
                .map(|_| {
                    NetworkTrainer::new(&network, &adam, SAMPLES).expect("the options are valid")
                })
                .collect();
            group.bench_function(id, |bench| {
                bench.iter(|| {
                    let train = |trainer: &mut NetworkTrainer<'_, T>| {
                        let trained = trainer.train(&samples, &mut model_rng(1, 0));
                        trained.expect("training does not fail").parameters[0].to_f64()
                    };
                    trainers.par_iter_mut().map(train).sum::<f64>()
                })
            });
        }
    }
    group.finish();
}

fn all_products(c: &mut Criterion) {
    for shape in [(1024, 1024, 1024), (WIDTH, WIDTH, SAMPLES)] {
        products::<f32>(c, "f32", shape);
        products::<f64>(c, "f64", shape);
    }
}

fn all_steps(c: &mut Criterion) {
    steps::<f32>(c, "f32");
    steps::<f64>(c, "f64");
}

criterion_group!(benches, all_products, all_steps);
criterion_main!(benches);
