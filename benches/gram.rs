//! Kernels of (x, t) in the plane: Gram matrices, sums and gradients of 4096 points. Elements are pairs of points; a Gram matrix
//! evaluates half of them. Run with `cargo bench --bench gram`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use vkernel::family::kernel::{
    Activation, Architecture, Base, Embedding, Kernel, Node, Part, TimeEmbedding,
};
use vkernel::monte_carlo::model_rng;
use vkernel::numerics::low_discrepancy::ScrambledSobol;

const POINTS: usize = 4096;
const DIM: usize = 2;

fn bases() -> Vec<(&'static str, Base)> {
    let ntk = |activation| {
        Base::Ntk(Architecture {
            depth: 3,
            activation,
            weight_std: std::f64::consts::SQRT_2,
            bias_std: 0.1,
        })
    };
    vec![
        ("ntk-relu", ntk(Activation::Relu)),
        ("ntk-erf", ntk(Activation::Erf)),
        ("ntk-gelu", ntk(Activation::Gelu)),
        ("rbf", Base::Rbf { length: 0.5 }),
    ]
}

/// Evenly spread over [-1.5, 1.5]^2 and the times (0, 1).
fn points() -> (Vec<f64>, Vec<f64>) {
    let net = ScrambledSobol::new(&mut model_rng(1, 0));
    let coordinate = |i: usize| (0..POINTS as u64).map(move |k| net.coordinate(i, k));
    let x = (0..DIM).flat_map(coordinate).map(|u| 3.0 * u - 1.5);
    (x.collect(), coordinate(DIM).collect())
}

fn kernels(c: &mut Criterion) {
    let mut group = c.benchmark_group("kernel");
    group.sample_size(10);
    group.throughput(Throughput::Elements((POINTS * POINTS) as u64));
    let (x, t) = points();
    let (mut gram, weights) = (vec![0.0; POINTS * POINTS], vec![1.0; POINTS]);
    let (mut out, mut gradient) = (vec![0.0; POINTS], vec![0.0; DIM * POINTS]);
    for (name, base) in bases() {
        let embedding = Embedding {
            dim: DIM,
            time: TimeEmbedding::Raw,
            scale_inputs: None,
        };
        let node = Node::Leaf {
            base,
            of: Part::All,
        };
        let kernel = Kernel::new(DIM, embedding, node).expect("the kernels are valid");
        let a = kernel.points(&x, &t);
        group.bench_function(BenchmarkId::new("gram", name), |b| {
            b.iter(|| kernel.gram(black_box(&kernel.points(&x, &t)), &mut gram));
        });
        group.bench_function(BenchmarkId::new("combine", name), |b| {
            b.iter(|| kernel.combine(black_box(&a), &a, &weights, &mut out));
        });
        group.bench_function(BenchmarkId::new("gradient", name), |b| {
            b.iter(|| {
                kernel.combine_with_gradient(black_box(&a), &a, &weights, &mut out, &mut gradient)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
