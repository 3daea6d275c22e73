//! derivations/25-subspaces.md: how many points determine the subspaces, and what noise does to them.

use nalgebra::DMatrix;
use vkernel::monte_carlo::subspace::{
    Arrangement, Cell, Learner, Method, RECOVERED, Sizes, Starts, rates, same_partition,
};
use vkernel::numerics::random::stream;
use vkernel::numerics::subspace::{leading_subspace, principal_sines, random_basis};
use vkernel::statistics::{SubspaceFluctuation, determined, probability_determined};

use super::common::*;
use super::d25_subspaces::normal;

/// All labellings of so many points with K names.
fn labellings(points: usize, classes: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..classes.pow(points as u32)).map(move |code| {
        let digit = |place: usize| code / classes.pow(place as u32) % classes;
        (0..points).map(digit).collect()
    })
}

#[test]
fn d25_7_determined_by_all_partitions() {
    let rank_of = |points: &DMatrix<f64>| match points.ncols() {
        0 => 0,
        _ => points.rank(1e-9),
    };
    let mut rng = stream(25, 20);
    for (n, d, sizes) in [
        (5, 2, vec![1]),
        (5, 2, vec![2]),
        (5, 2, vec![2, 2]),
        (5, 2, vec![2, 3]),
        (5, 2, vec![1, 6]),
        (5, 3, vec![3, 3]),
        (5, 3, vec![4, 3]),
        // The subspaces meet: their ranks sum to more than n.
        (4, 3, vec![4, 4]),
        (4, 1, vec![1, 1, 1]),
        (4, 2, vec![2, 2, 3]),
        (4, 2, vec![2, 3, 3]),
        (4, 2, vec![1, 4, 3]),
    ] {
        let labels: Vec<usize> = sizes
            .iter()
            .enumerate()
            .flat_map(|(k, m)| vec![k; *m])
            .collect();
        let mut points = DMatrix::zeros(n, 0);
        for m in &sizes {
            let own = random_basis(&mut rng, n, d) * normal(&mut rng, d, *m);
            let joined: Vec<_> = points.column_iter().chain(own.column_iter()).collect();
            points = DMatrix::from_columns(&joined);
        }
        let group = |labels: &[usize], k: usize| {
            let own: Vec<usize> = (0..labels.len()).filter(|i| labels[*i] == k).collect();
            rank_of(&points.select_columns(&own))
        };
        let spans = (0..sizes.len()).all(|k| group(&labels, k) == d);
        let other = labellings(labels.len(), sizes.len())
            .any(|l| !same_partition(&l, &labels) && (0..sizes.len()).all(|k| group(&l, k) <= d));
        assert_eq!(determined(d, &sizes), spans && !other, "d = {d}, {sizes:?}");
    }
}

#[test]
fn d25_8_shape_interaction_and_the_transition() {
    let spectral = Starts {
        spectral: true,
        random: 0,
    };
    for (classes, arrangement) in [(2, Arrangement::Orthogonal), (3, Arrangement::Random)] {
        let cell = |size| Cell {
            ambient: 24,
            rank: 5,
            classes,
            sizes: Sizes::Equal(size),
            noise: 0.0,
            arrangement,
        };
        let data = cell(6).draw(&mut stream(25, 21)).unwrap();
        let svd = data.points.clone().svd(false, true);
        let rows = svd.v_t.unwrap();
        let leading = rows.rows(0, 5 * classes);
        let interaction = leading.transpose() * leading;
        for i in 0..6 * classes {
            for j in 0..6 * classes {
                // D25.8: blocks only, each the identity less one direction.
                let entry = interaction[(i, j)];
                assert_eq!(
                    entry.abs() > 1e-9,
                    data.labels[i] == data.labels[j],
                    "{i} {j} {entry:e}"
                );
            }
        }
        let learner = [Learner::equal(classes, 5, spectral, Method::KSubspaces)];
        let share = |size| rates(&cell(size), &learner, RECOVERED, 20, 4).unwrap()[0].recovered;
        assert_eq!([share(5), share(6), share(9)], [0.0, 1.0, 1.0]);
    }
}

#[test]
fn d25_8_one_subspace_is_recovered_from_d_points() {
    let start = Starts {
        spectral: false,
        random: 1,
    };
    for d in [2, 5, 8] {
        let learner = [Learner::equal(1, d, start, Method::KSubspaces)];
        let share = |size| {
            let cell = Cell {
                ambient: 48,
                rank: d,
                classes: 1,
                sizes: Sizes::Equal(size),
                noise: 0.0,
                arrangement: Arrangement::Random,
            };
            rates(&cell, &learner, RECOVERED, 30, 5).unwrap()[0].recovered
        };
        assert_eq!([share(d - 1), share(d)], [0.0, 1.0]);
    }
}

#[test]
fn d25_9_probability_by_enumeration() {
    for (d, total, weights) in [
        (2, 4, vec![1.0]),
        (3, 2, vec![1.0]),
        (2, 9, vec![0.5, 0.2, 0.3]),
        (1, 5, vec![0.5, 0.2, 0.3]),
        (3, 10, vec![2.0, 6.0]),
    ] {
        let all: f64 = weights.iter().sum();
        let mut expected = 0.0;
        for labels in labellings(total, weights.len()) {
            let mut sizes = vec![0; weights.len()];
            labels.iter().for_each(|k| sizes[*k] += 1);
            if determined(d, &sizes) {
                expected += labels.iter().map(|k| weights[*k] / all).product::<f64>();
            }
        }
        close(
            probability_determined(d, &weights, total),
            expected,
            1e-12,
            "probability",
        );
    }
    // Against trials with random sizes: 200 of them, five standard errors.
    let cell = Cell {
        ambient: 24,
        rank: 3,
        classes: 2,
        sizes: Sizes::Total(9),
        noise: 0.0,
        arrangement: Arrangement::Random,
    };
    let starts = Starts {
        spectral: true,
        random: 20,
    };
    let learner = Learner::equal(2, 3, starts, Method::KSubspaces);
    let found = rates(&cell, &[learner], RECOVERED, 200, 6).unwrap()[0].recovered;
    let p = probability_determined(3, &[0.5, 0.5], 9);
    println!("recovered {found}, predicted {p}");
    assert!((found - p).abs() < 5.0 * (p * (1.0 - p) / 200.0).sqrt());
}

/// Mean and standard error of the values of independent trials.
fn mean(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// The learned subspace of N points around the first d coordinate axes.
fn learned(theory: &SubspaceFluctuation, index: u64) -> DMatrix<f64> {
    let mut rng = stream(25, 1000 + index);
    let mut points = normal(&mut rng, theory.ambient, theory.samples) * theory.noise;
    let mut inside = points.rows_mut(0, theory.rank);
    inside += normal(&mut rng, theory.rank, theory.samples);
    leading_subspace(&points, theory.rank).unwrap()
}

/// A in the basis [I; A] of a subspace.
fn tilt(basis: &DMatrix<f64>, d: usize) -> DMatrix<f64> {
    let top = basis.rows(0, d).into_owned();
    basis.rows(d, basis.nrows() - d) * top.try_inverse().unwrap()
}

#[test]
fn d25_10_tilt_by_simulation() {
    let theory = SubspaceFluctuation {
        ambient: 8,
        rank: 2,
        noise: 0.3,
        samples: 1000,
    };
    let tilts: Vec<_> = (0..1000).map(|i| tilt(&learned(&theory, i), 2)).collect();
    let (variance, error) = mean(tilts.iter().map(|a| a.norm_squared() / 12.0));
    let predicted = theory.tilt_variance();
    println!("variance {variance:.4e} +- {error:.1e}, predicted {predicted:.4e}");
    // The next order is n/N.
    assert!((variance - predicted).abs() < 5.0 * error + predicted * 8.0 / 1000.0);
    // Elements are uncorrelated.
    let (cross, error) = mean(
        tilts
            .iter()
            .map(|a| a[(0, 0)] * a[(1, 0)] + a[(2, 0)] * a[(2, 1)]),
    );
    assert!(cross.abs() < 5.0 * error, "{cross:e} {error:e}");
}

#[test]
fn d25_11_draws_of_the_fluctuation() {
    let theory = SubspaceFluctuation {
        ambient: 20,
        rank: 4,
        noise: 0.1,
        samples: 2000,
    };
    let basis = random_basis(&mut stream(25, 30), 20, 4);
    let mut rng = stream(25, 31);
    let squared = (0..400).map(|_| {
        let drawn = theory.draw(&basis, &mut rng);
        assert!((drawn.transpose() * &drawn - DMatrix::identity(4, 4)).amax() < 1e-14);
        principal_sines(&basis, &drawn)
            .unwrap()
            .iter()
            .map(|s| s * s)
            .sum()
    });
    let (found, error) = mean(squared);
    let predicted = theory.first_order();
    println!("draws {found:.4e} +- {error:.1e}, predicted {predicted:.4e}");
    // Sines for tangents: relative order |A|^2.
    assert!((found - predicted).abs() < 5.0 * error + predicted * predicted);
    // And so do subspaces learned from points.
    let own = (0..400).map(|i| {
        let top = learned(&theory, 5000 + i);
        4.0 - top.rows(0, 4).norm_squared()
    });
    let (found, error) = mean(own);
    println!("learned {found:.4e} +- {error:.1e}");
    assert!((found - predicted).abs() < 5.0 * error + predicted * 20.0 / 2000.0);
}

#[test]
fn d25_12_few_points_by_simulation() {
    for samples in [9, 14, 40] {
        let theory = SubspaceFluctuation {
            ambient: 10,
            rank: 3,
            noise: 1e-4,
            samples,
        };
        let tangents = (0..3000).map(|i| tilt(&learned(&theory, i), 3).norm_squared());
        let (found, error) = mean(tangents);
        let predicted = theory.small_noise().unwrap();
        println!(
            "N = {samples}: {found:.4e} +- {error:.1e}, predicted {predicted:.4e}, first order {:.4e}",
            theory.first_order()
        );
        assert!((found - predicted).abs() < 5.0 * error, "N = {samples}");
        // The order in 1/N misses it by (d + 1)/N.
        assert!(theory.first_order() < predicted - (found - predicted).abs());
    }
    let none = SubspaceFluctuation {
        ambient: 10,
        rank: 3,
        noise: 1e-4,
        samples: 4,
    };
    assert_eq!(none.small_noise(), None);
}

#[test]
fn d25_13_many_dimensions_by_simulation() {
    for (noise, samples) in [(0.5, 100), (0.8, 200)] {
        let theory = SubspaceFluctuation {
            ambient: 200,
            rank: 1,
            noise,
            samples,
        };
        let (found, error) = mean((0..60).map(|i| 1.0 - learned(&theory, i)[(0, 0)].powi(2)));
        let spiked = theory.spiked();
        println!(
            "s = {noise}, N = {samples}: {found:.4} +- {error:.4}, spiked {spiked:.4}, first order {:.4}",
            theory.first_order()
        );
        // Corrections are of order 1/n.
        assert!((found - spiked).abs() < 5.0 * error + 2.0 / 200.0);
        assert!((found - theory.first_order()).abs() > 5.0 * error + 2.0 / 200.0);
    }
    // Below the threshold nothing is recovered.
    let lost = SubspaceFluctuation {
        ambient: 200,
        rank: 1,
        noise: 1.2,
        samples: 100,
    };
    assert!((lost.samples as f64) < lost.threshold());
    assert_eq!(lost.spiked(), 1.0);
    let (found, _) = mean((0..30).map(|i| 1.0 - learned(&lost, i)[(0, 0)].powi(2)));
    assert!(found > 0.9, "{found}");
}
