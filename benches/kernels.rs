//! The hot kernels: training against the matrix-multiply rate of the same machine, feature evaluation, push-forward,
//! tables, statistics. Run with `cargo bench`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;

use vkernel::action::{Action, Start, WhitenedFlow};
use vkernel::density::{
    Bins, Generator, PushForward, Refinement, SaddleLines, Tracing, choose_layer,
};
use vkernel::experiment::Experiment;
use vkernel::family::{Denoiser, Linear, LinearDenoiser};
use vkernel::monte_carlo::{Trainer, model_rng};
use vkernel::numerics::linalg;
use vkernel::sampler::PfOde;
use vkernel::spec::{Format, parse};
use vkernel::statistics::{VKernel, equivalent, sandwich};

/// The Fig. 2 panel with `side` x `side` features and `samples` samples.
fn panel(side: usize, samples: usize) -> Experiment {
    let overrides = [
        format!("model.features.0.count={side}"),
        format!("model.features.1.count={side}"),
        format!("training.samples={samples}"),
    ];
    let text = include_str!("../experiments/gap.toml");
    let spec = parse(
        text,
        Format::Toml,
        "gap.toml",
        Path::new("experiments"),
        &overrides,
        None,
    );
    spec.expect("the shipped spec is valid")
        .cases
        .remove(0)
        .experiment
}

fn linear(experiment: &Experiment) -> &Linear {
    experiment.family.linear().unwrap()
}

/// One model trained per iteration. Elements are flops of the normal equations with rows written out, P F^2 + F^3/3 (dual:
/// F P^2 + P^3/3): a rate above the machine's peak is work saved by the factors.
fn training(c: &mut Criterion) {
    let mut group = c.benchmark_group("training");
    group.sample_size(10);
    for (side, samples) in [
        (16, 64),
        (16, 256),
        (16, 1024),
        (16, 4096),
        (32, 1024),
        (32, 4096),
    ] {
        let experiment = panel(side, samples);
        let training = experiment.training.as_ref().expect("the panel is trained");
        let mut trainer = Trainer::new(&experiment.problem, linear(&experiment), training);
        let (f, p) = ((side * side) as f64, samples as f64);
        let order = f.min(p);
        let flops = f.max(p) * order * order + order.powi(3) / 3.0;
        group.throughput(Throughput::Elements(flops as u64));
        let id = format!("F{}/P{samples}", side * side);
        let mut index = 0;
        group.bench_function(BenchmarkId::new("train", &id), |b| {
            b.iter(|| {
                index += 1;
                let mut rng = model_rng(1, index);
                black_box(trainer.train(&mut rng).expect("the panel can be trained")[0])
            })
        });
        // The yardstick: the full product of the same factor, 2 F^2 P flops.
        let rows =
            nalgebra::DMatrix::from_fn(side * side, samples, |i, j| ((3 * i + 7 * j) % 11) as f64);
        group.throughput(Throughput::Elements((2.0 * f * f * p) as u64));
        group.bench_function(BenchmarkId::new("matrix-multiply", &id), |b| {
            b.iter(|| linalg::multiply(linalg::view(&rows), linalg::view(&rows).transpose()))
        });
    }
    group.finish();
}

/// The density of one model: all stratified trajectories, 80 steps.
fn sampling(c: &mut Criterion) {
    let experiment = panel(16, 1024);
    let family = linear(&experiment);
    let training = experiment.training.as_ref().expect("the panel is trained");
    let mut trainer = Trainer::new(&experiment.problem, family, training);
    let weights = trainer
        .train(&mut model_rng(1, 0))
        .expect("the panel can be trained")
        .to_vec();
    let model = LinearDenoiser {
        family,
        diffusion: &experiment.problem.diffusion,
        weights: &weights,
    };
    let generator = Generator::new(&experiment);
    let bins = Bins {
        low: -1.5,
        high: 1.5,
        count: 60,
    };
    let mut group = c.benchmark_group("sampling");
    group.bench_function("push-forward", |b| {
        b.iter(|| PushForward::new(generator.flow(), &model, &bins, Refinement::ensemble(256)))
    });
    let x: Vec<f64> = (0..4096)
        .map(|i| -2.0 + 4.0 * (i as f64 * 0.618).fract())
        .collect();
    let mut out = vec![0.0; x.len()];
    group.throughput(Throughput::Elements(x.len() as u64));
    group.bench_function("denoise", |b| {
        b.iter(|| model.denoise(0.1, black_box(&x), &mut out))
    });
    let table = model
        .tabulate(&[0.1], usize::MAX)
        .expect("Gaussian features have a bounded support");
    group.bench_function("denoise-tabulated", |b| {
        b.iter(|| table.denoise(0.1, black_box(&x), &mut out))
    });
    group.finish();
}

fn statistics(c: &mut Criterion) {
    let mut group = c.benchmark_group("statistics");
    group.sample_size(10);
    for side in [16, 32] {
        let experiment = panel(side, 1024);
        let training = experiment.training.as_ref().expect("the panel is trained");
        group.bench_function(
            BenchmarkId::new("sandwich", format!("F{}", side * side)),
            |b| b.iter(|| sandwich(&experiment.problem, linear(&experiment), training)),
        );
        group.bench_function(
            BenchmarkId::new("equivalent", format!("F{}", side * side)),
            |b| b.iter(|| equivalent(&experiment.problem, linear(&experiment), training)),
        );
    }
    group.finish();
}

/// One draw of the weights given a quenched layer; compare with `training/train`.
fn layer(c: &mut Criterion) {
    let mut group = c.benchmark_group("layer");
    group.sample_size(10);
    for samples in [64, 256, 1024] {
        let experiment = panel(16, samples);
        let family = linear(&experiment);
        let training = experiment.training.as_ref().expect("the panel is trained");
        let statistics = equivalent(&experiment.problem, family, training)
            .expect("the panel has its statistics");
        let choice = choose_layer(&experiment, family, training, &statistics, 0.02, 1)
            .expect("the panel has a layer");
        let mut index = 0;
        group.bench_function(BenchmarkId::new("draw", format!("F256/P{samples}")), |b| {
            b.iter(|| {
                index += 1;
                choice.layer.weights(&mut model_rng(1, index))
            })
        });
    }
    group.finish();
}

/// The line of saddles of one start: by the number of steps, and by the number of weights (full rank). A second-order
/// evaluation costs r^2 (2 N + r/3) flops at its leading order.
fn saddles(c: &mut Criterion) {
    let mut group = c.benchmark_group("saddle");
    group.sample_size(10);
    let tracing = Tracing {
        largest_action: 12.5,
        range: (-10.5, 10.5),
        largest_step: 0.3,
        resolution: 0.005,
    };
    for (side, steps) in [(8, 80), (12, 80), (16, 40), (16, 80), (16, 160), (22, 80)] {
        let mut experiment = panel(side, 4096);
        experiment.sampler.steps = steps;
        let family = linear(&experiment);
        let training = experiment.training.as_ref().expect("the panel is trained");
        let statistics = equivalent(&experiment.problem, family, training)
            .expect("the panel has its statistics");
        let kernel = VKernel::new(&experiment.problem, family, &statistics.weights, 0.0)
            .expect("the covariance can be factored");
        let flow = PfOde::new(&experiment.problem, &experiment.sampler);
        let action = Action::new(&kernel, &statistics.weights, &flow, 1.0)
            .expect("the scheme has one stage");
        let map = WhitenedFlow {
            action: &action,
            start: Start::At(0.4),
        };
        let find = || SaddleLines::find(&map, &tracing, 0, &mut model_rng(1, 0));
        let lines = find().expect("the mean path is finite");
        // Time per element is time per evaluation.
        group.throughput(Throughput::Elements(lines.evaluations as u64));
        let id = format!("F{}/N{steps}", side * side);
        group.bench_function(BenchmarkId::new("line", id), |b| b.iter(find));
    }
    group.finish();
}

criterion_group!(benches, training, sampling, statistics, layer, saddles);
criterion_main!(benches);
