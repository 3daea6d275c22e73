//! The posterior of the clean point: two implementations, closed forms, differences, and the extremes.

use nalgebra::{DMatrix, DVector, Rotation3};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use vkernel::problem::{Data, LinePosterior, Problem};

use super::common::*;

/// Up to five components, some of them point masses, weights of any size.
fn random_mixture(rng: &mut ChaCha8Rng) -> Problem {
    let count = rng.random_range(1..=5);
    let means: Vec<f64> = (0..count).map(|_| 3.0 * normal(rng)).collect();
    let stds: Vec<f64> = (0..count)
        .map(|_| {
            if rng.random::<f64>() < 0.4 {
                0.0
            } else {
                0.8 * rng.random::<f64>()
            }
        })
        .collect();
    let raw: Vec<f64> = (0..count)
        .map(|_| rng.random::<f64>().powi(3) + 1e-6)
        .collect();
    let sum: f64 = raw.iter().sum();
    let weights: Vec<f64> = raw.iter().map(|w| w / sum).collect();
    mixture(
        PROCESSES[rng.random_range(0..4)].clone(),
        &means,
        &stds,
        &weights,
    )
}

#[test]
fn line_posterior_is_the_general_posterior() {
    let mut rng = rng(1);
    for _ in 0..2000 {
        let problem = random_mixture(&mut rng);
        let t = problem.t_min * (problem.t_max / problem.t_min).powf(rng.random::<f64>());
        let line = LinePosterior::new(&problem, t);
        let sigma = line.sigma2().sqrt();
        let x = 4.0 * normal(&mut rng) + sigma * normal(&mut rng);
        let (fast, slow) = (line.at(x), problem.posterior(&[x], t));
        // Exponents of size E carry a rounding error of E times 1e-16 into the weights.
        let exponent = 1.0 + slow.log_density.abs() + (x.abs() + 10.0).powi(2) / line.sigma2();
        let allowed = 4e-16 * exponent;
        close(
            fast.log_density,
            slow.log_density,
            exponent,
            4e-16,
            "log density",
        );
        close(
            fast.mean,
            slow.mean[0],
            1.0 + fast.mean.abs(),
            4.0 * allowed.max(1e-15),
            "mean",
        );
        close(
            fast.score,
            slow.score[0],
            1.0 + fast.score.abs() + 1.0 / sigma,
            4.0 * allowed.max(1e-15),
            "score",
        );
        // A variance far below the squared separations inherits the weights' relative error.
        close(
            fast.variance,
            slow.covariance[(0, 0)],
            fast.variance + 1e-300,
            16.0 * allowed.max(1e-14),
            "variance",
        );
    }
}

/// Two points at +-1: E[x0|x] = tanh(alpha x/sigma^2), Var = 1/cosh^2.
#[test]
fn two_points_in_closed_form() {
    for window in PROCESSES {
        let problem = mixture(window.clone(), &[-1.0, 1.0], &[0.0; 2], &[0.5; 2]);
        for t in [window.1, 0.03, 0.2, 0.7] {
            let line = LinePosterior::new(&problem, t);
            for z in [-30.0, -2.0, -1e-3, 0.0, 0.4, 3.0, 200.0_f64] {
                let x = z * line.sigma2() / line.alpha();
                let m = line.at(x);
                let exponent = (x.abs() + 1.0).powi(2) / line.sigma2();
                close(m.mean, z.tanh(), 1.0, 1e-15 * (1.0 + exponent), "mean");
                let variance = z.cosh().powi(-2);
                close(
                    m.variance,
                    variance,
                    variance,
                    4e-15 * (10.0 + exponent),
                    "variance",
                );
                let score = (line.alpha() * z.tanh() - x) / line.sigma2();
                close(
                    m.score,
                    score,
                    1.0 + exponent,
                    1e-14 * (1.0 + exponent),
                    "score",
                );
            }
        }
    }
}

#[test]
fn tiny_times_and_points_far_outside() {
    let points = [-1.0, 0.0, 1.0];
    for window in PROCESSES {
        let problem = mixture(window.clone(), &points, &[0.0; 3], &[0.5, 0.2, 0.3]);
        for t in [1e-12, 1e-6, window.2 * 0.9] {
            let line = LinePosterior::new(&problem, t);
            for x in [1e6, 1e8, -1e6, -1e8] {
                let (m, p) = (line.at(x), problem.posterior(&[x], t));
                // The outermost point takes all; exactly so where alpha |x| / sigma^2 is large.
                let clear = line.alpha() * x.abs() / line.sigma2() > 100.0;
                for (mean, variance, score, log) in [
                    (m.mean, m.variance, m.score, m.log_density),
                    (p.mean[0], p.covariance[(0, 0)], p.score[0], p.log_density),
                ] {
                    assert!(mean.is_finite() && score.is_finite() && log.is_finite());
                    assert!((0.0..=1.0).contains(&variance));
                    if clear {
                        close(mean, x.signum(), 1.0, 1e-12, "mean");
                        let exact = (line.alpha() * x.signum() - x) / line.sigma2();
                        close(score, exact, exact, 1e-13, "score");
                        let misfit = x - line.alpha() * x.signum();
                        let weight: f64 = if x > 0.0 { 0.3 } else { 0.5 };
                        let log_exact = weight.ln()
                            - 0.5
                                * (misfit * misfit / line.sigma2()
                                    + (std::f64::consts::TAU * line.sigma2()).ln());
                        close(log, log_exact, log_exact, 1e-14, "log density");
                    }
                }
            }
            // At a training point, where the others are far in units of sigma.
            if line.sigma2().sqrt() < 0.01 {
                for (k, m) in points.iter().enumerate() {
                    let at = line.at(line.alpha() * m);
                    close(at.mean, *m, 1.0, 1e-12, "mean at a point");
                    assert!(at.variance < 1e-12);
                    let peak = problem.data.weights()[k].ln()
                        - 0.5 * (std::f64::consts::TAU * line.sigma2()).ln();
                    close(at.log_density, peak, peak.abs(), 1e-12, "peak");
                }
            }
        }
    }
}

/// A Gaussian component's posterior variance at tiny noise: sigma^2 v/(alpha^2 v + sigma^2), relatively accurate.
#[test]
fn tiny_variances_keep_their_digits() {
    let problem = mixture(PROCESSES[0].clone(), &[0.3], &[0.5], &[1.0]);
    for t in [1e-12, 1e-9, 1e-3] {
        let line = LinePosterior::new(&problem, t);
        let exact = line.sigma2() * 0.25 / (line.alpha().powi(2) * 0.25 + line.sigma2());
        close(line.at(0.1).variance, exact, exact, 1e-14, "variance");
        let full = problem.posterior(&[0.1], t);
        close(full.covariance[(0, 0)], exact, exact, 1e-14, "variance");
        // sigma^2 itself: 2 beta_min t at small t.
        let sigma2 = 2.0 * (0.1 * t + 9.95 * t * t);
        close(line.sigma2(), sigma2, sigma2, 1e-12 + sigma2, "sigma^2");
    }
}

fn space(rows: &[[f64; 3]; 3]) -> Vec<Vec<f64>> {
    rows.iter().map(|r| r.to_vec()).collect()
}

/// Diagonal covariances given as such, as full matrices, and turned by a rotation, in three dimensions.
#[test]
fn diagonal_full_and_rotated_covariances_agree() {
    let means = [
        vec![-0.8, 0.3, 0.1],
        vec![0.5, -0.6, 0.4],
        vec![1.0, 1.0, -1.0],
    ];
    let stds = [
        vec![0.4, 0.2, 0.6],
        vec![0.0, 0.0, 0.0],
        vec![0.1, 0.0, 0.3],
    ];
    let weights = [0.4, 0.35, 0.25];
    let turn = Rotation3::from_euler_angles(0.3, -0.8, 1.1);
    let turn = DMatrix::from_fn(3, 3, |i, j| turn[(i, j)]);
    let covariance =
        |s: &[f64]| DMatrix::from_diagonal(&DVector::from_vec(s.iter().map(|v| v * v).collect()));
    let rows = |m: &DMatrix<f64>| {
        let mut out = [[0.0; 3]; 3];
        for i in 0..3 {
            for j in 0..3 {
                // Symmetric to the last bit.
                out[i][j] = 0.5 * (m[(i, j)] + m[(j, i)]);
            }
        }
        space(&out)
    };
    let full: Vec<_> = stds.iter().map(|s| rows(&covariance(s))).collect();
    let turned: Vec<_> = stds
        .iter()
        .map(|s| rows(&(&turn * covariance(s) * turn.transpose())))
        .collect();
    let turned_means: Vec<Vec<f64>> = means
        .iter()
        .map(|m| (&turn * DVector::from_column_slice(m)).as_slice().to_vec())
        .collect();
    let make = |data| Problem {
        data,
        diffusion: VP,
        t_min: 1e-2,
        t_max: 1.0,
    };
    let diagonal = make(Data::diagonal_mixture(&means, &stds, Some(&weights)).unwrap());
    let full = make(Data::full_mixture(&means, &full, Some(&weights)).unwrap());
    let turned = make(Data::full_mixture(&turned_means, &turned, Some(&weights)).unwrap());
    let mut rng = rng(2);
    for _ in 0..200 {
        let x = DVector::from_fn(3, |_, _| 1.2 * normal(&mut rng));
        let t = 0.02 + 0.98 * rng.random::<f64>();
        let (a, b) = (
            diagonal.posterior(x.as_slice(), t),
            full.posterior(x.as_slice(), t),
        );
        let c = turned.posterior((&turn * &x).as_slice(), t);
        // Exponents up to about 1e3 at the smallest noise: 1e-12 in the weights.
        for (p, mean, score, covariance) in [
            (&b, b.mean.clone(), b.score.clone(), b.covariance.clone()),
            (
                &c,
                turn.tr_mul(&c.mean),
                turn.tr_mul(&c.score),
                turn.transpose() * &c.covariance * &turn,
            ),
        ] {
            close(
                p.log_density,
                a.log_density,
                1.0 + a.log_density.abs(),
                1e-12,
                "log density",
            );
            assert!((mean - &a.mean).amax() < 1e-11);
            assert!((score - &a.score).amax() < 1e-11 * (1.0 + a.score.amax()));
            assert!((covariance - &a.covariance).amax() < 1e-11);
        }
        let sum: f64 = a.weights.iter().sum();
        close(sum, 1.0, 1.0, 1e-14, "weights");
    }
}

/// T2 and T3 by differences of the log density, in three dimensions with correlated covariances.
#[test]
fn score_and_proxy_covariance_from_the_log_density() {
    let data = Data::full_mixture(
        &[vec![-0.8, 0.3, 0.2], vec![0.5, -0.6, 0.0]],
        &[
            space(&[[0.2, 0.12, 0.0], [0.12, 0.3, -0.05], [0.0, -0.05, 0.1]]),
            space(&[[0.0; 3]; 3]),
        ],
        Some(&[0.55, 0.45]),
    )
    .unwrap();
    for (diffusion, _, _) in PROCESSES {
        let problem = Problem {
            data: data.clone(),
            diffusion: diffusion.clone(),
            t_min: 1e-2,
            t_max: 1.0,
        };
        for t in [0.15, 0.5, 0.9] {
            let sigma2 = diffusion.sigma2(t);
            let h = 0.01 * sigma2.sqrt();
            for x in [[0.1, -0.2, 0.3], [-0.9, 0.4, 0.0], [1.0, 1.0, -1.0]] {
                let p = problem.posterior(&x, t);
                let moved = |i: usize, a: f64| {
                    let mut y = x;
                    y[i] = a;
                    problem.posterior(&y, t)
                };
                let c = p.proxy_score_covariance();
                for i in 0..3 {
                    // Truncation (h/sigma)^6/140 ~ 1e-14, rounding 1e-16/0.01.
                    let score = slope(|a| moved(i, a).log_density, x[i], h);
                    close(p.score[i], score, 1.0 + 1.0 / sigma2, 1e-11, "score");
                    for j in 0..3 {
                        let second = slope(|a| moved(i, a).score[j], x[i], h);
                        let expected = second + if i == j { 1.0 / sigma2 } else { 0.0 };
                        close(c[(i, j)], expected, 1.0 / sigma2, 1e-10, "proxy covariance");
                    }
                }
            }
        }
    }
}

/// Draws from the posterior: 5 standard errors of mean and variance.
#[test]
fn posterior_draws_have_the_posterior_moments() {
    let problem = mixture(
        PROCESSES[0].clone(),
        &[-1.0, 0.2, 0.9],
        &[0.2, 0.0, 0.4],
        &[0.3, 0.3, 0.4],
    );
    let mut rng = rng(3);
    let n = 100_000;
    for (t, x) in [(0.1, 0.2), (0.3, -0.5), (0.8, 1.0)] {
        let line = LinePosterior::new(&problem, t);
        let mut weights = Vec::new();
        let draws: Vec<f64> = (0..n)
            .map(|_| {
                let u = rng.random();
                line.mean_and_draw(x, u, || normal(&mut rng), &mut weights)
                    .1
            })
            .collect();
        let (exact, (mean, variance)) = (line.at(x), moments(&draws));
        let fourth = draws.iter().map(|d| (d - mean).powi(4)).sum::<f64>() / n as f64;
        close(mean, exact.mean, (variance / n as f64).sqrt(), 5.0, "mean");
        let error = ((fourth - variance * variance) / n as f64).sqrt();
        close(variance, exact.variance, error, 5.0, "variance");
    }
}
