//! derivations/25-subspaces.md: the loss at small noise, clustering and descent.

use nalgebra::DMatrix;
use vkernel::family::Assignment;
use vkernel::monte_carlo::subspace::{
    Arrangement, Cell, Descent, DsmLoss, Learner, Method, Mixture, Objective, RECOVERED, Sizes,
    Starts, SubspaceError, k_subspaces, minimise, rates, same_partition,
};
use vkernel::numerics::random::stream;
use vkernel::numerics::subspace::join;
use vkernel::problem::Diffusion;

use super::common::*;
use super::d25_subspaces::{bases, noise};

fn cell(rank: usize, classes: usize, size: usize) -> Cell {
    Cell {
        ambient: 24,
        rank,
        classes,
        sizes: Sizes::Equal(size),
        noise: 0.0,
        arrangement: Arrangement::Random,
    }
}

#[test]
fn d25_6_small_noise_is_clustering() {
    let mut rng = stream(25, 10);
    let data = cell(3, 3, 9).draw(&mut rng).unwrap();
    let clustered = k_subspaces(&data.points, bases(&mut rng, 24, &[3, 3, 3])).unwrap();
    let mean = data.points.norm_squared() / 27.0;
    for assignment in [Assignment::Soft, Assignment::Sharp] {
        let mixture = Mixture {
            ranks: &[3, 3, 3],
            weights: &[1.0, 1.0, 1.0],
            assignment,
        };
        let sigma = 1e-3;
        let setting = noise(&[(sigma, 1.0)], 24);
        let loss = DsmLoss::new(&data.points, &Diffusion::Edm, mixture, &setting, &mut rng);
        let c = 1.0 / (1.0 + sigma * sigma);
        let expected =
            mean + 3.0 * (c * sigma).powi(2) - c * (2.0 - c) * (mean - clustered.residual / 27.0);
        let found = loss.evaluate(&join(&clustered.bases)).0;
        close(found, expected, 1e-12, "loss");
        // At the clusters' subspaces nothing pulls: the bases are stationary for both.
        let descent = Descent {
            tolerance: 1e-9,
            steps: 1,
        };
        assert!(minimise(&loss, &clustered.bases, descent).converged);
    }
    // Truth is where the rounds stay; from elsewhere they end settled too.
    let stayed = k_subspaces(&data.points, data.bases.clone()).unwrap();
    assert!(stayed.settled && stayed.residual < 1e-24 * data.points.norm_squared());
    assert!(same_partition(&stayed.labels, &data.labels));
    let outside = data.points.column_iter().map(|x| {
        let squares = clustered
            .bases
            .iter()
            .map(|u| x.norm_squared() - (u.transpose() * x).norm_squared());
        squares.fold(f64::INFINITY, f64::min)
    });
    close(clustered.residual, outside.sum(), 1e-12, "residual");
    assert!(clustered.settled);
}

#[test]
fn d25_6_descent_and_clustering_agree() {
    for (classes, rank, size) in [(2, 3, 6), (3, 2, 5)] {
        let starts = Starts {
            spectral: true,
            random: 1,
        };
        let method = Method::Gradient {
            diffusion: Diffusion::Edm,
            noise: noise(&[(0.1, 1.0)], 6),
            descent: Descent {
                tolerance: 1e-5,
                steps: 200,
            },
        };
        let learners = [
            Learner::equal(classes, rank, starts, Method::KSubspaces),
            Learner::equal(classes, rank, starts, method),
        ];
        let cell = cell(rank, classes, size);
        let found = rates(&cell, &learners, RECOVERED, 20, 3).unwrap();
        println!("K = {classes}: {:?}", found);
        assert!(found[0].recovered >= 0.95 && found[1].agrees >= 0.95);
        // The same bits on one thread.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let alone = pool.install(|| rates(&cell, &learners, RECOVERED, 20, 3).unwrap());
        assert_eq!(found, alone);
    }
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let starts = Starts {
        spectral: false,
        random: 1,
    };
    let refused = |learner: Learner, points: &DMatrix<f64>| {
        learner.train(points, &mut stream(1, 1)).unwrap_err()
    };
    let learner = |rank| Learner::equal(2, rank, starts, Method::KSubspaces);
    let points = DMatrix::identity(3, 4);
    let empty = DMatrix::zeros(3, 0);
    assert_eq!(refused(learner(1), &empty), SubspaceError::NoPoints);
    assert_eq!(
        refused(learner(4), &points),
        SubspaceError::Rank {
            rank: 4,
            ambient: 3
        }
    );
    let mut odd = learner(1);
    odd.weights.pop();
    assert_eq!(
        refused(odd, &points),
        SubspaceError::WeightCount {
            found: 1,
            expected: 2
        }
    );
    let mut none = learner(1);
    none.starts.random = 0;
    assert_eq!(refused(none, &points), SubspaceError::NoStart);
    let mut silent = learner(1);
    silent.method = Method::Gradient {
        diffusion: Diffusion::Edm,
        noise: noise(&[], 2),
        descent: Descent {
            tolerance: 1e-6,
            steps: 1,
        },
    };
    assert_eq!(refused(silent, &points), SubspaceError::NoNoise);
    let tight = Cell {
        arrangement: Arrangement::Orthogonal,
        ..cell(13, 2, 3)
    };
    assert_eq!(
        tight.draw(&mut stream(1, 1)).unwrap_err(),
        SubspaceError::Orthogonal {
            classes: 2,
            rank: 13,
            ambient: 24
        }
    );
}
