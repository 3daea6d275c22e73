//! derivations/25-subspaces.md: the low-rank denoiser, its loss with its gradient, angles and distances.

use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use vkernel::family::{Assignment, Denoiser, LowRank, LowRankDenoiser, LowRankError};
use vkernel::monte_carlo::subspace::{
    Descent, DsmLoss, DsmNoise, Learner, Method, Mixture, Objective, Starts,
};
use vkernel::numerics::assignment::assign;
use vkernel::numerics::random::stream;
use vkernel::numerics::subspace::{
    Matching, join, leading_subspace, nearest_points, nearest_subspace, orthogonal_bases,
    principal_sines, random_basis,
};
use vkernel::problem::Diffusion;

use super::common::*;

pub fn normal<R: Rng>(rng: &mut R, rows: usize, columns: usize) -> DMatrix<f64> {
    DMatrix::from_fn(rows, columns, |_, _| rng.sample(StandardNormal))
}

pub fn bases<R: Rng>(rng: &mut R, n: usize, ranks: &[usize]) -> Vec<DMatrix<f64>> {
    ranks.iter().map(|d| random_basis(rng, n, *d)).collect()
}

fn mixture(ranks: &[usize], weights: &[f64], assignment: Assignment) -> LowRank {
    let bases = bases(&mut stream(25, 1), 12, ranks);
    LowRank::new(bases, weights.to_vec(), assignment).unwrap()
}

/// Posterior weights and mean of the Gaussian mixture with covariances U_k U_k^T, by dense inverses and determinants.
fn dense(model: &LowRank, alpha: f64, sigma2: f64, x: &DVector<f64>) -> (Vec<f64>, DVector<f64>) {
    let n = x.len();
    let mut logs = Vec::new();
    let mut means = Vec::new();
    for (basis, weight) in model.bases.iter().zip(&model.weights) {
        let covariance = basis * basis.transpose();
        let noised = alpha * alpha * &covariance + DMatrix::identity(n, n) * sigma2;
        let factor = noised.cholesky().unwrap();
        let solved = factor.solve(x);
        logs.push(weight.ln() - 0.5 * factor.ln_determinant() - 0.5 * x.dot(&solved));
        means.push(alpha * covariance * solved);
    }
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let raw: Vec<f64> = logs.iter().map(|l| (l - largest).exp()).collect();
    let total: f64 = raw.iter().sum();
    let weights: Vec<f64> = raw.iter().map(|w| w / total).collect();
    let mean = means.iter().zip(&weights).map(|(m, w)| m * *w).sum();
    (weights, mean)
}

#[test]
fn d25_1_denoiser_is_the_posterior_mean_by_dense_algebra() {
    let model = mixture(&[2, 4, 3], &[0.5, 0.2, 0.3], Assignment::Soft);
    let mut rng = stream(25, 2);
    for diffusion in PROCESSES {
        let denoiser = LowRankDenoiser::new(&model, &diffusion);
        for t in [0.03, 0.3, 0.8] {
            let (alpha, sigma2) = (diffusion.alpha(t), diffusion.sigma2(t));
            // More points than go through the products together, half of them near the subspaces.
            let count = 600;
            let points = DMatrix::from_fn(12, count, |_, _| rng.sample::<f64, _>(StandardNormal));
            let points = DMatrix::from_columns(
                &points
                    .column_iter()
                    .enumerate()
                    .map(|(k, p)| match k % 4 {
                        3 => p.into_owned(),
                        k => {
                            alpha * &model.bases[k] * model.bases[k].transpose() * p
                                + p * sigma2.sqrt()
                        }
                    })
                    .collect::<Vec<_>>(),
            );
            let x = points.transpose();
            let mut denoised = vec![0.0; x.len()];
            denoiser.denoise(t, x.as_slice(), &mut denoised);
            let weights = denoiser.posterior_weights(t, x.as_slice());
            for (k, point) in points.column_iter().enumerate() {
                let (own, mean) = dense(&model, alpha, sigma2, &point.into_owned());
                for (i, m) in mean.iter().enumerate() {
                    close(denoised[i * count + k], *m, 1e-10, "posterior mean");
                }
                for (j, w) in own.iter().enumerate() {
                    close(weights[(k, j)], *w, 1e-10, "posterior weight");
                }
            }
        }
    }
}

#[test]
fn d25_1_sharp_takes_the_largest_projection() {
    let sharp = mixture(&[3, 3, 3], &[1.0, 1.0, 1.0], Assignment::Sharp);
    // At this noise the weights overflow without log-sum-exp.
    let (diffusion, t) = (Diffusion::Edm, 1e-3);
    let points = normal(&mut stream(25, 3), 12, 40);
    let x = points.transpose();
    let denoiser = LowRankDenoiser::new(&sharp, &diffusion);
    let mut denoised = vec![0.0; x.len()];
    denoiser.denoise(t, x.as_slice(), &mut denoised);
    for (k, point) in points.column_iter().enumerate() {
        let squares = sharp.bases.iter().map(|u| (u.transpose() * point).norm());
        let squares: Vec<f64> = squares.collect();
        let first = (0..3)
            .max_by(|a, b| squares[*a].total_cmp(&squares[*b]))
            .unwrap();
        let own = &sharp.bases[first] * (sharp.bases[first].transpose() * point) / (1.0 + t * t);
        for (i, m) in own.iter().enumerate() {
            close(denoised[i * 40 + k], *m, 1e-12, "sharp");
        }
        assert_eq!(denoiser.posterior_weights(t, x.as_slice())[(k, first)], 1.0);
    }
    // The soft assignment is the same there, and on the line the slope is that of the values.
    let soft = LowRank {
        assignment: Assignment::Soft,
        ..sharp
    };
    let mut other = vec![0.0; x.len()];
    LowRankDenoiser::new(&soft, &diffusion).denoise(t, x.as_slice(), &mut other);
    assert_eq!(denoised, other);
    let ones = vec![DMatrix::from_element(1, 1, -1.0)];
    let line = LowRank::new(ones, vec![1.0], Assignment::Soft).unwrap();
    let line = LowRankDenoiser::new(&line, &diffusion);
    let (mut values, mut slopes) = ([0.0; 2], [0.0; 2]);
    line.denoise_with_slope(0.7, &[0.3, 0.8], &mut values, &mut slopes);
    close((values[1] - values[0]) / 0.5, slopes[0], 1e-14, "slope");
}

#[test]
fn low_rank_mixtures_are_checked() {
    let basis = || random_basis(&mut stream(1, 1), 4, 2);
    let found = |bases, weights| LowRank::new(bases, weights, Assignment::Soft).unwrap_err();
    assert_eq!(found(vec![], vec![]), LowRankError::Empty);
    assert!(matches!(
        found(vec![basis(), DMatrix::identity(3, 2)], vec![1.0, 1.0]),
        LowRankError::Shape {
            index: 1,
            rows: 3,
            columns: 2,
            expected: 4
        }
    ));
    assert!(matches!(
        found(vec![basis() * 1.001], vec![1.0]),
        LowRankError::NotOrthonormal { index: 0, .. }
    ));
    assert!(matches!(
        found(vec![basis() * f64::NAN], vec![1.0]),
        LowRankError::NotOrthonormal { .. }
    ));
    assert!(matches!(
        found(vec![basis(), basis()], vec![1.0]),
        LowRankError::WeightCount {
            found: 1,
            expected: 2
        }
    ));
    assert!(matches!(
        found(vec![basis(), basis()], vec![1.0, 0.0]),
        LowRankError::Weight { index: 1, .. }
    ));
}

/// Time nodes and their weights.
pub fn noise(times: &[(f64, f64)], pairs: usize) -> DsmNoise {
    DsmNoise {
        times: times.to_vec(),
        pairs,
    }
}

const TIMES: [(f64, f64); 3] = [(0.05, 2.0), (0.2, 1.0), (0.7, 0.3)];

#[test]
fn d25_2_one_subspace_is_principal_components() {
    let mut rng = stream(25, 4);
    let (n, d) = (12, 3);
    let starts = Starts {
        spectral: false,
        random: 1,
    };
    for diffusion in PROCESSES {
        for count in [2, 3, 7, 40] {
            // Not on a subspace: the statement is about any points. Principal values 3, 2.5, 2, ...
            let spread = DMatrix::from_fn(
                n,
                n,
                |i, j| if i == j { 3.0 / (1.0 + i as f64) } else { 0.0 },
            );
            let points = random_basis(&mut rng, n, n) * spread * normal(&mut rng, n, count);
            let mixture = Mixture {
                ranks: &[d],
                weights: &[1.0],
                assignment: Assignment::Soft,
            };
            let loss = DsmLoss::new(&points, &diffusion, mixture, &noise(&TIMES, n), &mut rng);
            let second = &points * points.transpose() / count as f64;
            let (mut total, mut kappa, mut floor) = (0.0, 0.0, 0.0);
            for (t, weight) in TIMES {
                let (alpha, sigma2) = (diffusion.alpha(t), diffusion.sigma2(t));
                let c = alpha / (alpha * alpha + sigma2);
                total += weight;
                kappa += weight * c * alpha * (2.0 - c * alpha);
                floor += weight * c * c * sigma2;
            }
            let basis = random_basis(&mut rng, n, d);
            let inside = (basis.transpose() * &second * &basis).trace();
            let expected = second.trace() + (d as f64 * floor - kappa * inside) / total;
            close(loss.evaluate(&basis).0, expected, 1e-12, "loss");

            let method = Method::Gradient {
                diffusion: diffusion.clone(),
                noise: noise(&TIMES, n),
                descent: Descent {
                    tolerance: 1e-9,
                    steps: 3000,
                },
            };
            let learner = Learner::equal(1, d, starts, method);
            let trained = learner.train(&points, &mut rng).unwrap();
            let exact = leading_subspace(&points, d).unwrap();
            // Fewer points than dimensions leave the rest open: then the points' span is inside.
            let span = leading_subspace(&points, d.min(count)).unwrap();
            let sines = principal_sines(&trained.model.bases[0], &span).unwrap();
            println!(
                "{} N = {count}: {:?}, {} steps",
                diffusion.name(),
                sines.last(),
                trained.steps
            );
            assert!(sines.iter().all(|s| *s < 1e-6), "{sines:?}");
            assert!((exact.transpose() * &exact - DMatrix::identity(d, d)).amax() < 1e-14);
            assert!(principal_sines(&exact, &span).unwrap()[d.min(count) - 1] < 1e-12);
        }
    }
}

#[test]
fn d25_3_sines_of_known_angles() {
    let mut rng = stream(25, 5);
    let frame = random_basis(&mut rng, 10, 6);
    let (u, outside) = (frame.columns(0, 3).into_owned(), frame.columns(3, 3));
    let angles = [1e-12, 1e-5, 0.7];
    let turned = DMatrix::from_fn(10, 3, |i, k: usize| {
        u[(i, k)] * f64::cos(angles[k]) + outside[(i, k)] * f64::sin(angles[k])
    });
    // In any bases, and for a subspace in a larger one.
    let (first, second) = (
        &u * random_basis(&mut rng, 3, 3),
        &turned * random_basis(&mut rng, 3, 3),
    );
    for (s, angle) in principal_sines(&first, &second).unwrap().iter().zip(angles) {
        assert!((s - angle.sin()).abs() < 2e-15, "{s:e} {angle:e}");
    }
    let squared: f64 = angles.iter().map(|a| a.sin().powi(2)).sum();
    close(
        3.0 - (first.transpose() * &second).norm_squared(),
        squared,
        1e-14,
        "Frobenius",
    );
    let larger = frame.columns(0, 5).into_owned();
    for (a, b) in [(&larger, &second), (&second, &larger)] {
        let sines = principal_sines(a, b).unwrap();
        assert_eq!(sines.len(), 3);
        close(sines[2], angles[2].sin(), 1e-14, "the direction outside");
        assert!(sines[1] < 1e-14);
    }
    // Tangents of a tilted basis.
    let tilt = normal(&mut rng, 3, 3) * 0.3;
    let tilted = (&u + outside * &tilt).qr().q();
    let tangents = tilt.svd(false, false).singular_values;
    let sines = principal_sines(&u, &tilted).unwrap();
    for (s, t) in sines.iter().rev().zip(tangents.iter()) {
        close(s / (1.0 - s * s).sqrt(), *t, 1e-12, "tangent");
    }
}

#[test]
fn subspaces_are_matched_at_the_least_cost() {
    fn least(cost: &DMatrix<f64>, row: usize, free: &mut Vec<usize>) -> f64 {
        let mut best = if free.is_empty() { 0.0 } else { f64::INFINITY };
        for place in 0..free.len() {
            let column = free.remove(place);
            best = best.min(cost[(row, column)] + least(cost, row + 1, free));
            free.insert(place, column);
        }
        best
    }
    let mut rng = stream(25, 6);
    for size in 1..=6 {
        for _ in 0..40 {
            let cost = DMatrix::from_fn(size, size, |_, _| rng.random::<f64>() - 0.3);
            let columns = assign(&cost);
            let found: f64 = columns.iter().enumerate().map(|(i, j)| cost[(i, *j)]).sum();
            let best = least(&cost, 0, &mut (0..size).collect());
            close(found, best, 1e-12, "cost");
        }
    }
    let truth = orthogonal_bases(&mut rng, 9, &[2, 2, 2]).unwrap();
    let learned = [truth[2].clone(), truth[0].clone(), truth[1].clone()];
    let matching = Matching::new(&learned, &truth).unwrap();
    assert_eq!(matching.learned_of, [1, 2, 0]);
    assert!(matching.largest() < 1e-14);
    assert!(orthogonal_bases(&mut rng, 5, &[3, 3]).is_none());
}

#[test]
fn d25_4_loss_by_the_denoiser_on_the_same_noise() {
    let (n, ranks, weights) = (12, [2, 4, 3], [0.5, 0.2, 0.3]);
    let points = normal(&mut stream(25, 7), n, 5);
    for assignment in [Assignment::Soft, Assignment::Sharp] {
        let model = mixture(&ranks, &weights, assignment);
        // Five pairs of one frame, and a frame with three of a second one.
        for pairs in [5, n + 3] {
            let mixture = Mixture {
                ranks: &ranks,
                weights: &weights,
                assignment,
            };
            let setting = noise(&TIMES, pairs);
            let loss = DsmLoss::new(&points, &VP, mixture, &setting, &mut stream(25, 8));
            assert_eq!(
                DsmLoss::bytes(n, 5, &setting),
                (8 * n * 5 * 3 * 2 * pairs) as u64
            );
            let (mut rng, mut expected, mut total) = (stream(25, 8), 0.0, 0.0);
            let denoiser = LowRankDenoiser::new(&model, &VP);
            for (t, weight) in TIMES {
                total += weight;
                for x0 in points.column_iter() {
                    let mut frames = vec![random_basis(&mut rng, n, pairs.min(n))];
                    if pairs > n {
                        frames.push(random_basis(&mut rng, n, pairs - n));
                    }
                    if pairs > n {
                        let second = &frames[0] * frames[0].transpose();
                        assert!((second - DMatrix::identity(n, n)).amax() < 1e-13);
                    }
                    for (direction, sign) in frames
                        .iter()
                        .flat_map(|f| f.column_iter())
                        .flat_map(|q| [(q, 1.0), (q, -1.0)])
                    {
                        let e = direction * (n as f64).sqrt() * sign;
                        let x = VP.alpha(t) * x0 + VP.sigma(t) * e;
                        let mut denoised = vec![0.0; n];
                        denoiser.denoise(t, x.as_slice(), &mut denoised);
                        let error = (DVector::from_vec(denoised) - x0).norm_squared();
                        expected += weight * error / (5 * 2 * pairs) as f64;
                    }
                }
            }
            let found = loss.evaluate(&join(&model.bases)).0;
            close(found, expected / total, 1e-12, "loss");
        }
    }
}

#[test]
fn d25_5_gradient_by_finite_differences() {
    let (ranks, weights) = ([2, 4, 3], [0.5, 0.2, 0.3]);
    let mut rng = stream(25, 9);
    let points = normal(&mut rng, 12, 6);
    for assignment in [Assignment::Soft, Assignment::Sharp] {
        let mixture = Mixture {
            ranks: &ranks,
            weights: &weights,
            assignment,
        };
        let loss = DsmLoss::new(&points, &VP, mixture, &noise(&TIMES, 5), &mut rng);
        // Any matrix will do: the gradient is that of the extension to all of them.
        let place = normal(&mut rng, 12, 9) * 0.3;
        let (_, gradient) = loss.evaluate(&place);
        for _ in 0..4 {
            let direction = normal(&mut rng, 12, 9).normalize();
            let along = |h: f64| loss.evaluate(&(&place + &direction * h)).0;
            // Rounding of the differences 1e-16/h against their truncation h^6.
            close(
                gradient.dot(&direction),
                slope(along, 0.0, 1e-3),
                1e-10,
                "gradient",
            );
        }
    }
}

#[test]
fn distances_by_brute_force() {
    let mut rng = stream(25, 11);
    let (points, training) = (normal(&mut rng, 7, 300), normal(&mut rng, 7, 50));
    let bases = bases(&mut rng, 7, &[2, 3]);
    let nearest = nearest_points(&points, &training);
    let shares = nearest_subspace(&points, &bases);
    for (k, x) in points.column_iter().enumerate() {
        let distances: Vec<f64> = training.column_iter().map(|y| (x - y).norm()).collect();
        let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
        assert_eq!(nearest[k].1, least);
        let others = (0..distances.len()).filter(|i| *i != nearest[k].0);
        let second = others.map(|i| distances[i]).fold(f64::INFINITY, f64::min);
        assert_eq!(nearest[k].2, second);
        assert_eq!(distances[nearest[k].0], least);
        let outside = bases
            .iter()
            .map(|u| (x - u * u.transpose() * x).norm() / x.norm());
        close(
            shares[k].1,
            outside.fold(f64::INFINITY, f64::min),
            1e-13,
            "share",
        );
    }
    // A training point is its own nearest, at no distance; a point of a subspace lies in it to rounding.
    assert!(
        nearest_points(&training, &training)
            .iter()
            .enumerate()
            .all(|(i, n)| (n.0, n.1) == (i, 0.0))
    );
    let inside = &bases[1] * normal(&mut rng, 3, 5);
    assert!(
        nearest_subspace(&inside, &bases)
            .iter()
            .all(|(k, s)| *k == 1 && *s < 1e-14)
    );
    assert_eq!(nearest_subspace(&DMatrix::zeros(7, 1), &bases), [(0, 0.0)]);
}
