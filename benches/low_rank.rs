//! Score and posterior weights of a low-rank mixture in many dimensions. Elements per second are flops per second: two products with
//! every basis. Run with `cargo bench --bench low_rank`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

use vkernel::numerics::random::stream;
use vkernel::numerics::subspace::random_basis;
use vkernel::problem::{Data, Diffusion, LowRankPosterior, Problem};

const DIMENSION: usize = 4096;
const SUBSPACES: usize = 10;
const RANK: usize = 8;
const POINTS: usize = 10_000;

fn problem() -> Problem {
    let mut rng = stream(1, 0);
    let bases: Vec<_> = (0..SUBSPACES)
        .map(|_| random_basis(&mut rng, DIMENSION, RANK))
        .collect();
    Problem {
        data: Data::low_rank(&bases, 0.01, None).expect("random bases are orthonormal"),
        diffusion: Diffusion::Edm,
        t_min: 1e-3,
        t_max: 10.0,
    }
}

/// Points of the noised mixture, coordinate-major.
fn positions(problem: &Problem, t: f64) -> Vec<f64> {
    let mut rng = stream(2, 0);
    let mut x = vec![0.0; DIMENSION * POINTS];
    let mut triple = vkernel::problem::Triple {
        t,
        x0: vec![0.0; DIMENSION],
        x: vec![0.0; DIMENSION],
    };
    for k in 0..POINTS {
        problem.sample_at_time(&mut rng, &mut triple);
        for (i, v) in triple.x.iter().enumerate() {
            x[i * POINTS + k] = *v;
        }
    }
    x
}

fn score(c: &mut Criterion) {
    let problem = problem();
    let mut group = c.benchmark_group("low-rank mixture, n = 4096, K = 10, d = 8, 10000 points");
    group.sample_size(10);
    let flops = 4 * DIMENSION * SUBSPACES * RANK * POINTS;
    group.throughput(Throughput::Elements(flops as u64));
    for t in [1e-3, 1.0] {
        let x = positions(&problem, t);
        let (mut score, mut weights) = (vec![0.0; x.len()], vec![0.0; SUBSPACES * POINTS]);
        group.bench_function(format!("score and posterior weights, sigma = {t}"), |b| {
            b.iter(|| {
                let posterior = LowRankPosterior::new(&problem, t);
                posterior.score(black_box(&x), &mut score, &mut weights)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, score);
criterion_main!(benches);
