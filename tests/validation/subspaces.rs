//! Recovery of subspaces in n = 48 dimensions against the theory of derivations/25-subspaces.md: tables that take minutes, each
//! printed by `cargo test --release --test validation subspaces::NAME -- --ignored --nocapture`.

use std::time::Instant;

use nalgebra::DMatrix;
use rand::RngExt;
use rand_distr::StandardNormal;
use vkernel::family::{Assignment, Denoiser, LowRank, LowRankDenoiser};
use vkernel::monte_carlo::subspace::{
    Arrangement, Cell, Descent, DsmNoise, Learner, Method, RECOVERED, Rates, Sizes, Starts, rates,
};
use vkernel::numerics::random::stream;
use vkernel::numerics::subspace::random_basis;
use vkernel::problem::Diffusion;
use vkernel::statistics::{SubspaceFluctuation, determined};

const AMBIENT: usize = 48;
const SEED: u64 = 1;
const TRIALS: usize = 50;
const SPECTRAL: Starts = Starts {
    spectral: true,
    random: 0,
};

fn random(starts: usize) -> Starts {
    Starts {
        spectral: false,
        random: starts,
    }
}

fn cell(rank: usize, classes: usize, size: usize) -> Cell {
    Cell {
        ambient: AMBIENT,
        rank,
        classes,
        sizes: Sizes::Equal(size),
        noise: 0.0,
        arrangement: Arrangement::Random,
    }
}

fn clustering(cell: &Cell, starts: Starts) -> Learner {
    Learner::equal(cell.classes, cell.rank, starts, Method::KSubspaces)
}

/// Descent of the DSM loss at one noise level of the variance-exploding process, to where it no longer moves or 400 steps.
fn descent(
    cell: &Cell,
    starts: Starts,
    sigma: f64,
    assignment: Assignment,
    pairs: usize,
) -> Learner {
    let method = Method::Gradient {
        diffusion: Diffusion::Edm,
        noise: DsmNoise {
            times: vec![(sigma, 1.0)],
            pairs,
        },
        descent: Descent {
            tolerance: 1e-6,
            steps: 400,
        },
    };
    Learner {
        assignment,
        ..Learner::equal(cell.classes, cell.rank, starts, method)
    }
}

fn run(cell: &Cell, learners: &[Learner], trials: usize) -> Vec<Rates> {
    rates(cell, learners, RECOVERED, trials, SEED).unwrap()
}

fn median(found: &Rates) -> f64 {
    found.largest[found.largest.len() / 2]
}

#[test]
#[ignore = "half a minute; prints the transition"]
fn transition() {
    for (classes, name, starts) in [
        (1, "singular subspace", random(1)),
        (2, "spectral start", SPECTRAL),
        (2, "20 random starts", random(20)),
        (3, "spectral start", SPECTRAL),
        (3, "20 random starts", random(20)),
    ] {
        println!("K = {classes}, {name}; rows d = 2..8, columns N_k = 2..15; * determined");
        for rank in 2..=8 {
            print!("{rank:2}");
            for size in 2..=15 {
                let cell = cell(rank, classes, size);
                let share = run(&cell, &[clustering(&cell, starts)], TRIALS)[0].recovered;
                let determined = determined(rank, &vec![size; classes]);
                print!(" {share:4.2}{}", if determined { '*' } else { ' ' });
                // Fewer points than dimensions never do; enough always do, where the search is not left to chance.
                assert!(size >= rank || share == 0.0);
                assert!(!determined || starts.random > 1 || share >= 0.95);
            }
            println!();
        }
    }
}

/// Clustering and descent on the same data from the same starts.
fn compare(cell: &Cell, starts: Starts, sigma: f64) -> f64 {
    let soft = descent(cell, starts, sigma, Assignment::Soft, 6);
    let found = run(cell, &[clustering(cell, starts), soft], TRIALS);
    println!(
        "K = {}, d = {}, {:?}: true by clustering {:4.2}, by descent {:4.2}, both alike {:4.2}; largest sine {:.1e}",
        cell.classes,
        cell.rank,
        cell.sizes,
        found[0].partition,
        found[1].partition,
        found[1].agrees,
        median(&found[1])
    );
    found[1].agrees
}

#[test]
#[ignore = "minutes; prints how often DSM descent and clustering agree"]
fn agreement() {
    println!("spectral and 2 random starts, sigma = 0.1");
    let both = Starts {
        random: 2,
        ..SPECTRAL
    };
    for classes in [2, 3] {
        for rank in 2..=8 {
            for size in [rank, rank + 1, 2 * rank + 1] {
                let agrees = compare(&cell(rank, classes, size), both, 0.1);
                assert!(size == rank || agrees >= 0.95);
            }
        }
    }
}

#[test]
#[ignore = "minutes; prints how often they agree when all starts are random"]
fn agreement_from_random_starts() {
    for sigma in [0.1, 0.3] {
        println!("10 random starts, sigma = {sigma}");
        for (classes, rank) in [(2, 2), (2, 4), (3, 2), (3, 3)] {
            let agrees = compare(&cell(rank, classes, 2 * rank + 1), random(10), sigma);
            // Where clustering from ten random starts always finds the truth.
            assert!(classes + rank > 4 || agrees >= 0.95);
        }
    }
}

#[test]
#[ignore = "minutes; prints what orthogonality and the assignment change"]
fn assignment() {
    println!("median largest sine (share of true partitions), K = 2, d = 4, N_k = 12");
    for sigma in [0.1, 0.3, 0.5, 1.0, 2.0] {
        print!("sigma {sigma}:");
        for arrangement in [Arrangement::Random, Arrangement::Orthogonal] {
            for assignment in [Assignment::Soft, Assignment::Sharp] {
                let cell = Cell {
                    arrangement,
                    ..cell(4, 2, 12)
                };
                let learner = descent(&cell, SPECTRAL, sigma, assignment, AMBIENT);
                let found = &run(&cell, &[learner], TRIALS)[0];
                print!(
                    "  {arrangement:?} {assignment:?} {:.1e} ({:4.2})",
                    median(found),
                    found.partition
                );
                // D25.6 holds at small noise; with noise as large as the data nothing is learned.
                assert!(sigma > 0.1 || median(found) < RECOVERED);
                assert!(sigma < 2.0 || median(found) > 0.9);
            }
        }
        println!();
    }
}

#[test]
#[ignore = "a quarter of a minute; prints squared sines against three predictions"]
fn noise() {
    println!("E |sin Theta|_F^2, d = 4: 400 trials | first order | small noise | spiked");
    for noise in [0.01, 0.1, 0.5, 1.0] {
        for samples in [6, 8, 12, 24, 48, 96, 384, 1536] {
            let cell = Cell {
                noise,
                ..cell(4, 1, samples)
            };
            let found = &run(&cell, &[clustering(&cell, random(1))], 400)[0];
            let theory = SubspaceFluctuation {
                ambient: AMBIENT,
                rank: 4,
                noise,
                samples,
            };
            let (first, small, spiked) =
                (theory.first_order(), theory.small_noise(), theory.spiked());
            println!(
                "s = {noise}, N = {samples:4}: {:.3e} +- {:.0e} | {first:.3e} | {:.3e} | {spiked:.3e}",
                found.squared,
                found.squared_error,
                small.unwrap_or(f64::NAN),
            );
            // Each where it claims to hold, to its own next order.
            let n = samples as f64;
            let off = |theory: f64| (found.squared - theory).abs() - 5.0 * found.squared_error;
            assert!(samples < 384 || noise > 0.5 || off(first) < first * AMBIENT as f64 / n);
            assert!(
                samples < 48 || n < 4.0 * theory.threshold() || {
                    off(spiked) < spiked * (4.0 / AMBIENT as f64 + 5.0 / n)
                }
            );
            let small = small.unwrap_or(0.0);
            assert!(noise > 0.01 || samples < 8 || off(small) < small * small);
        }
    }
}

#[test]
#[ignore = "80 million numbers; prints the time"]
fn denoiser_in_4096_dimensions() {
    let (n, points) = (4096, 10_000);
    let mut rng = stream(SEED, 0);
    let bases = (0..10).map(|_| random_basis(&mut rng, n, 8)).collect();
    let model = LowRank::new(bases, vec![0.1; 10], Assignment::Soft).unwrap();
    let x = DMatrix::from_fn(points, n, |_, _| rng.sample::<f64, _>(StandardNormal));
    let mut denoised = vec![0.0; points * n];
    let started = Instant::now();
    LowRankDenoiser::new(&model, &Diffusion::Ou).denoise(0.5, x.as_slice(), &mut denoised);
    let seconds = started.elapsed().as_secs_f64();
    println!("{seconds:.2} s");
    assert!(seconds < 5.0);
}
