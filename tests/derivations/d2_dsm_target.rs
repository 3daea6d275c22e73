use super::common::*;
use nalgebra::{DMatrix, DVector};
use num_dual::{DualNum, second_partial_derivative};
use vkernel::problem::{
    Data, Diffusion, LinePosterior, Objective, Prediction, Training, Weighting,
};

/// ln p(x|t) of the plane mixture from its definition (2 x 2 inverses by hand), for dual numbers.
fn plane_log_density<T: DualNum<Primitive = f64> + Copy>(x: [T; 2], alpha: f64, sigma2: f64) -> T {
    let means = [[-0.8, 0.3], [0.5, -0.6], [1.0, 1.0]];
    let covs = [[0.20, 0.12, 0.30], [0.0, 0.0, 0.0], [0.05, -0.03, 0.08]];
    let weights = [0.4, 0.35, 0.25];
    let mut sum = T::from(0.0);
    for ((m, c), w) in means.iter().zip(covs).zip(weights) {
        let (a, b, d) = (
            alpha * alpha * c[0] + sigma2,
            alpha * alpha * c[1],
            alpha * alpha * c[2] + sigma2,
        );
        let det = a * d - b * b;
        let (u, v) = (x[0] - alpha * m[0], x[1] - alpha * m[1]);
        let form = (u * u * d - u * v * (2.0 * b) + v * v * a) / det;
        sum += (form * -0.5).exp() * (w / (2.0 * std::f64::consts::PI * det.sqrt()));
    }
    sum.ln()
}

/// Averages over p(x0|x,t) on the line by brute force: components enumerated, x0 by quadrature of its prior
/// times the likelihood.
fn brute_posterior(data: &Data, d: &Diffusion, x: f64, t: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (alpha, sigma2) = (d.alpha(t), d.sigma2(t));
    let (mut top, mut bottom) = (0.0, 0.0);
    for (c, w) in data.components().iter().zip(data.weights()) {
        let std = c.variances[0].sqrt();
        let mut add = |x0: f64, weight: f64| {
            let l = weight * normal_pdf(x, alpha * x0, sigma2);
            top += l * f(x0);
            bottom += l;
        };
        if std == 0.0 {
            add(c.mean[0], *w);
        } else {
            for (z, q) in trapezoid(4000, -12.0, 12.0) {
                add(c.mean[0] + std * z, w * q * normal_pdf(z, 0.0, 1.0));
            }
        }
    }
    top / bottom
}

#[test]
fn d2_1_mean_proxy_score_is_the_score() {
    let data = line_mixture();
    for d in PROCESSES {
        let (alpha, sigma2) = (d.alpha(0.3), d.sigma2(0.3));
        for x in [-1.3, 0.0, 0.8, 2.1] {
            let proxy = |x0: f64| (alpha * x0 - x) / sigma2;
            let mean = brute_posterior(&data, &d, x, 0.3, proxy);
            let post = problem(data.clone(), d.clone(), 0.01, 1.0).posterior(&[x], 0.3);
            close(mean, post.score[0], 1e-11, "against the code");
            let log_density = |y: f64| {
                let p: f64 = data
                    .components()
                    .iter()
                    .zip(data.weights())
                    .map(|(c, w)| {
                        w * normal_pdf(
                            y,
                            alpha * c.mean[0],
                            alpha * alpha * c.variances[0] + sigma2,
                        )
                    })
                    .sum();
                p.ln()
            };
            // Sixth-order difference, step 2e-3 against a smallest scale of 0.3: below 1e-9.
            close(mean, slope(log_density, x, 2e-3), 1e-8, "against grad ln p");
        }
    }
}

#[test]
fn d2_2_proxy_score_covariance_three_ways() {
    for d in PROCESSES {
        let p = problem(plane_mixture(), d.clone(), 0.01, 1.0);
        for t in [0.15, 0.4, 0.8] {
            let (alpha, sigma2) = (d.alpha(t), d.sigma2(t));
            for x in [[0.3, -0.2], [-1.1, 0.9], [0.9, 1.2]] {
                let post = p.posterior(&x, t);
                let code = post.proxy_score_covariance();
                for i in 0..2 {
                    for j in 0..2 {
                        let (_, _, _, hessian) = second_partial_derivative(
                            |(u, v)| {
                                // Shift coordinate i by u and coordinate j by v.
                                let mut y = [u * 0.0 + x[0], u * 0.0 + x[1]];
                                y[i] += u;
                                y[j] += v;
                                plane_log_density(y, alpha, sigma2)
                            },
                            (0.0, 0.0),
                        );
                        let identity = if i == j { 1.0 / sigma2 } else { 0.0 };
                        let ratio = (alpha / sigma2).powi(2);
                        let scale = 1.0 + 1.0 / sigma2;
                        // Dual numbers: rounding, amplified by the cancellation against 1/sigma^2.
                        close(
                            code[(i, j)] / scale,
                            (identity + hessian) / scale,
                            1e-12,
                            "Hessian",
                        );
                        close(
                            code[(i, j)],
                            ratio * post.covariance[(i, j)],
                            1e-12,
                            "Cov(x0|x)",
                        );
                    }
                }
            }
        }
    }
    // Pure point masses, by enumeration of the posterior.
    let points = [vec![1.0, 0.0], vec![-0.5, 0.8], vec![-0.5, -0.8]];
    let p = problem(Data::points(&points, None).unwrap(), VP, 0.01, 1.0);
    let (x, t) = (DVector::from_vec(vec![0.1, 0.3]), 0.25);
    let (alpha, sigma2) = (VP.alpha(t), VP.sigma2(t));
    let like: Vec<f64> = points
        .iter()
        .map(|m| {
            let m = DVector::from_column_slice(m);
            (-0.5 * (&x - m * alpha).norm_squared() / sigma2).exp()
        })
        .collect();
    let total: f64 = like.iter().sum();
    let (mut mean, mut second) = (DVector::zeros(2), DMatrix::zeros(2, 2));
    for (m, l) in points.iter().zip(&like) {
        let s = (DVector::from_column_slice(m) * alpha - &x) / sigma2;
        mean += &s * (l / total);
        second += &s * s.transpose() * (l / total);
    }
    let covariance = second - &mean * mean.transpose();
    let post = p.posterior(x.as_slice(), t);
    assert!((covariance - post.proxy_score_covariance()).amax() < 1e-12);
    assert!((mean - post.score).amax() < 1e-12);
}

#[test]
fn d2_3_posterior_of_a_mixture_by_quadrature() {
    let data = line_mixture();
    for d in PROCESSES {
        for t in [0.2, 0.6] {
            let line = LinePosterior::new(&problem(data.clone(), d.clone(), 0.01, 1.0), t);
            for x in [-1.3, 0.0, 0.8, 2.1] {
                let mean = brute_posterior(&data, &d, x, t, |x0| x0);
                let variance = brute_posterior(&data, &d, x, t, |x0| (x0 - mean).powi(2));
                let m = line.at(x);
                close(m.mean, mean, 1e-11, "mean");
                close(m.variance, variance, 1e-11, "variance");
                let post = problem(data.clone(), d.clone(), 0.01, 1.0).posterior(&[x], t);
                close(post.mean[0], mean, 1e-11, "mean, general code");
                close(
                    post.covariance[(0, 0)],
                    variance,
                    1e-11,
                    "variance, general code",
                );
            }
        }
    }
}

#[test]
fn d2_4_second_order_tweedie() {
    for d in PROCESSES {
        let p = problem(plane_mixture(), d.clone(), 0.01, 1.0);
        for (x, t) in [([0.3, -0.2], 0.3), ([-1.1, 0.9], 0.6), ([0.9, 1.2], 0.2)] {
            let factor = d.alpha(t) / d.sigma2(t);
            let covariance = p.posterior(&x, t).covariance;
            for i in 0..2 {
                for j in 0..2 {
                    let moved = |e: f64| {
                        let mut y = x;
                        y[j] += e;
                        p.posterior(&y, t).mean[i]
                    };
                    // Sixth-order difference, step 2e-3 against a scale sigma >= 0.2: below 1e-9.
                    let jacobian = slope(moved, 0.0, 2e-3);
                    close(jacobian, factor * covariance[(i, j)], 1e-8, d.name());
                }
            }
        }
    }
}

/// J1(f) - J0(f) for any f, with x0 enumerated or integrated and x integrated by Gauss-Hermite.
#[test]
fn d2_5_noisy_objective_is_exact_objective_plus_constant() {
    let data = line_mixture();
    let p = problem(data.clone(), VP, 0.05, 1.0);
    for kind in [Prediction::Denoiser, Prediction::Score, Prediction::Noise] {
        for t in [0.2, 0.5] {
            let (alpha, sigma) = (VP.alpha(t), VP.sigma(t));
            let r = kind.regression(&VP, t);
            let line = LinePosterior::new(&p, t);
            let z_rule = normal_rule(60);
            let average = |g: &dyn Fn(f64, f64) -> f64| {
                let mut sum = 0.0;
                for (c, w) in data.components().iter().zip(data.weights()) {
                    for (u, wu) in &z_rule {
                        let x0 = c.mean[0] + c.variances[0].sqrt() * u;
                        for (z, wz) in &z_rule {
                            sum += w * wu * wz * g(x0, alpha * x0 + sigma * z);
                        }
                    }
                }
                sum
            };
            let gap = |f: &dyn Fn(f64) -> f64| {
                let noisy = average(&|x0, x| 0.5 * (f(x) - r.p * x0 - r.q * x).powi(2));
                let exact = average(&|_, x| 0.5 * (f(x) - r.p * line.at(x).mean - r.q * x).powi(2));
                noisy - exact
            };
            let constant = average(&|_, x| 0.5 * r.p * r.p * line.at(x).variance);
            // 60-point Gauss-Hermite of functions of scale >= 0.5: below 1e-9 relative.
            close(gap(&|_| 0.0), constant, 1e-8, "f = 0");
            close(
                gap(&|x| (1.7 * x).sin() + 0.3 * x * x),
                constant,
                1e-8,
                "f = sin + square",
            );
        }
    }
}

#[test]
fn d2_6_every_prediction_is_affine_in_the_clean_point() {
    for d in PROCESSES {
        let p = problem(line_mixture(), d.clone(), 0.01, 1.0);
        for (x, t) in [(0.4, 0.2), (-1.3, 0.7)] {
            let (alpha, sigma) = (d.alpha(t), d.sigma(t));
            let post = p.posterior(&[x], t);
            for x0 in [-1.0, 0.3, 2.0] {
                // The three targets from their definitions.
                let xi = (x - alpha * x0) / sigma;
                let proxy = (alpha * x0 - x) / (sigma * sigma);
                for (kind, y) in [
                    (Prediction::Denoiser, x0),
                    (Prediction::Score, proxy),
                    (Prediction::Noise, xi),
                ] {
                    let r = kind.regression(&d, t);
                    close(r.p * x0 + r.q * x, y, 1e-13, "y");
                    // The `snr` weight times the squared error of f is alpha^2/sigma^2 times that of x0.
                    let training = Training {
                        objective: Objective::Dsm,
                        weighting: Weighting::Snr,
                        samples: 1,
                        draws: 1,
                        ridge: 0.0,
                        time: None,
                    };
                    let error = 0.37;
                    let implied = error / r.p;
                    close(
                        training.lambda(&p, kind, t) * error * error,
                        d.snr(t) * implied * implied,
                        1e-13,
                        "snr weight",
                    );
                }
            }
            let of = |kind: Prediction| {
                let r = kind.regression(&d, t);
                (
                    r.p * post.mean[0] + r.q * x,
                    r.p * r.p * post.covariance[(0, 0)],
                )
            };
            let (score, c) = of(Prediction::Score);
            close(score, post.score[0], 1e-12 / d.sigma2(t), "score");
            close(c, post.proxy_score_covariance()[(0, 0)], 1e-12, "C");
            close(
                of(Prediction::Noise).0,
                -sigma * post.score[0],
                1e-12 / d.sigma2(t),
                "noise",
            );
        }
    }
}

/// E|s~ - s|^2 / E|s~|^2 by enumeration of the components and quadrature, and on the boundary between two points.
#[test]
fn d2_7_share_of_noise_in_the_target() {
    let data = line_mixture();
    for d in PROCESSES {
        let (alpha, sigma2) = (d.alpha(0.3), d.sigma2(0.3));
        for x in [-1.3, 0.0, 0.8, 2.1] {
            let proxy = |x0: f64| (alpha * x0 - x) / sigma2;
            let score = brute_posterior(&data, &d, x, 0.3, proxy);
            let noise = brute_posterior(&data, &d, x, 0.3, |x0| (proxy(x0) - score).powi(2));
            let square = brute_posterior(&data, &d, x, 0.3, |x0| proxy(x0).powi(2));
            let problem = problem(data.clone(), d.clone(), 0.01, 1.0);
            let share = vkernel::problem::noise_share(&problem, 0.3, &[x])[0];
            close(share, noise / square, 1e-11, "share of noise");
        }
    }
    // Points at (+-1, 0), x = (0, y): s = -(0, y)/sigma^2, tr C = alpha^2/sigma^4, so that it falls as 1/y^2.
    let points = Data::points(&[vec![-1.0, 0.0], vec![1.0, 0.0]], None).unwrap();
    let problem = problem(points, Diffusion::Ou, 0.01, 1.0);
    for (t, y) in [(0.02, 0.5), (0.3, 2.0), (0.3, 1e3)] {
        let alpha2 = (-2.0_f64 * t).exp();
        let share = vkernel::problem::noise_share(&problem, t, &[0.0, y])[0];
        close(share, alpha2 / (alpha2 + y * y), 1e-13, "on the boundary");
    }
}
