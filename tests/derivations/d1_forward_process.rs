use super::common::*;
use vkernel::problem::{Diffusion, Prediction, Problem};

/// Times inside (0, 1), where all four processes are regular.
const TIMES: [f64; 4] = [0.07, 0.3, 0.55, 0.9];

/// The kernels N(alpha x0, sigma^2) form a Markov process whose transition from t to t + e is
/// N(A x, S), A = alpha(t+e)/alpha(t), S = sigma^2(t+e) - A^2 sigma^2(t). Its drift and variance per unit time
/// are read off by differences, knowing nothing of the rule.
#[test]
fn d1_1_general_rule_is_the_infinitesimal_transition() {
    for d in PROCESSES {
        for t in TIMES {
            let gain = |e: f64| d.alpha(t + e) / d.alpha(t);
            let variance = |e: f64| d.sigma2(t + e) - gain(e).powi(2) * d.sigma2(t);
            // Sixth-order differences with step 2e-3: truncation below 1e-10, rounding about 1e-13.
            close(slope(gain, 0.0, 2e-3), -d.beta(t), 1e-8, d.name());
            let two_d = slope(variance, 0.0, 2e-3);
            close(two_d, 2.0 * d.diffusion_coefficient(t), 1e-8, d.name());
        }
    }
}

/// The moments of the SDE, m' = -beta m and s' = -2 beta s + 2 D, integrated from time 0 with the closed forms of
/// beta and D alone give back alpha and sigma^2.
#[test]
fn d1_2_four_processes_moments_from_beta_and_d() {
    type Closed = fn(f64) -> (f64, f64);
    let table: [(Diffusion, Closed); 4] = [
        (VP, |t| (0.1 + 19.9 * t, 0.1 + 19.9 * t)),
        (Diffusion::Edm, |t| (0.0, t)),
        (Diffusion::Ou, |_| (1.0, 1.0)),
        (Diffusion::Flow, |t| (1.0 / (1.0 - t), t / (1.0 - t))),
    ];
    for (d, closed) in table {
        for t in TIMES {
            let (beta, diffusion) = closed(t);
            close(d.beta(t), beta, 1e-14, "beta");
            close(d.diffusion_coefficient(t), diffusion, 1e-13, "D");
        }
        let end = 0.8;
        let n = 4000;
        let h = end / n as f64;
        let rate = |t: f64, y: [f64; 2]| {
            let (b, d) = closed(t);
            [-b * y[0], -2.0 * b * y[1] + 2.0 * d]
        };
        let mut y = [1.0, 0.0];
        for k in 0..n {
            y = rk4(rate, k as f64 * h, y, h);
        }
        // RK4, local rate times step <= 0.004: error below 1e-11.
        close(y[0], d.alpha(end), 1e-10, "alpha");
        close(y[1], d.sigma2(end), 1e-10, "sigma^2");
    }
    // Song et al. 2021 write exp(-1/2 integral beta_S): the same process for beta_S = 2 beta.
    let song = |t: f64| (-0.5 * (0.2 * t + 0.5 * 39.8 * t * t)).exp();
    close(VP.alpha(0.37), song(0.37), 1e-14, "convention");
}

fn rk4<const N: usize>(
    f: impl Fn(f64, [f64; N]) -> [f64; N],
    t: f64,
    y: [f64; N],
    h: f64,
) -> [f64; N] {
    let go = |k: [f64; N], s: f64| std::array::from_fn(|i| y[i] + s * k[i]);
    let k1 = f(t, y);
    let k2 = f(t + 0.5 * h, go(k1, 0.5 * h));
    let k3 = f(t + 0.5 * h, go(k2, 0.5 * h));
    let k4 = f(t + h, go(k3, h));
    std::array::from_fn(|i| y[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
}

#[test]
fn d1_3_denoiser_form_of_the_drift() {
    for d in PROCESSES {
        let plane = problem(plane_mixture(), d.clone(), 0.01, 1.0);
        for t in TIMES {
            for x in [[0.3, -0.2], [-1.5, 0.9], [2.0, 2.5]] {
                let p = plane.posterior(&x, t);
                let (a, b) = d.denoiser_drift(t);
                for (i, &xi) in x.iter().enumerate() {
                    let by_score = d.beta(t) * xi + d.diffusion_coefficient(t) * p.score[i];
                    // Both sides are differences of terms of size (1 + |x|)/sigma^2: rounding only.
                    let scale = 1.0 + xi.abs() / d.sigma2(t);
                    close(
                        by_score / scale,
                        (a * xi + b * p.mean[i]) / scale,
                        1e-13,
                        d.name(),
                    );
                    for kind in [Prediction::Denoiser, Prediction::Score, Prediction::Noise] {
                        let r = kind.regression(&d, t);
                        let f = r.p * p.mean[i] + r.q * xi;
                        let (af, bf) = kind.drift(&d, t);
                        close(
                            (af * xi + bf * f) / scale,
                            by_score / scale,
                            1e-13,
                            d.name(),
                        );
                    }
                }
                // b = D alpha / sigma^2, so b Cov(D^) b' = D Cov(s^) D'.
                close(
                    b,
                    d.diffusion_coefficient(t) * d.alpha(t) / d.sigma2(t),
                    1e-13,
                    "b",
                );
            }
        }
    }
    // At t = 1 of `flow` beta and D diverge and the denoiser form stays finite: a = -1, b = 1.
    assert_eq!(Diffusion::Flow.denoiser_drift(1.0), (-1.0, 1.0));
}

fn density(p: &Problem, x: f64, t: f64) -> f64 {
    p.posterior(&[x], t).log_density.exp()
}

/// Smooth data, so that finite differences in t have no narrow scale.
fn smooth(d: Diffusion) -> Problem {
    let data = vkernel::problem::Data::diagonal_mixture(
        &[vec![-1.0], vec![0.7]],
        &[vec![0.4], vec![0.3]],
        Some(&[0.6, 0.4]),
    );
    problem(data.unwrap(), d.clone(), 0.01, 1.0)
}

/// Residual of dp/dtau = -d[(beta x + (1+h) D s) p]/dx + h D d2p/dx2, tau = -t, by differences in x and t.
fn fokker_planck_residual(p: &Problem, churn: f64, x: f64, t: f64) -> (f64, f64) {
    let d = &p.diffusion;
    let dt = -slope(|u| density(p, x, u), t, 2e-3);
    let flux = |y: f64| {
        let s = p.posterior(&[y], t).score[0];
        (d.beta(t) * y + (1.0 + churn) * d.diffusion_coefficient(t) * s) * density(p, y, t)
    };
    let noise = churn * d.diffusion_coefficient(t) * curvature(|y| density(p, y, t), x, 1e-2);
    (dt, -slope(flux, x, 1e-2) + noise)
}

#[test]
fn d1_4_pf_ode_preserves_the_marginals() {
    for d in PROCESSES {
        let p = smooth(d.clone());
        for t in [0.3, 0.55, 0.8] {
            for x in [-1.2, -0.1, 0.5, 1.4] {
                let (left, right) = fokker_planck_residual(&p, 0.0, x, t);
                // Truncation of the sixth-order differences, scale 0.3 in x and in t: below 1e-8.
                close(left, right, 1e-7, d.name());
            }
        }
        // The same along a trajectory: the probability to the left of a moving point is constant.
        let cdf = |x: f64, t: f64| {
            let rule = legendre_rule(400, -14.0, x);
            integrate(&rule, |y| density(&p, y, t))
        };
        let mut y = [0.35];
        let (start, end, n) = (0.9, 0.2, 700);
        let h = (start - end) / n as f64;
        for k in 0..n {
            let rate = |tau: f64, y: [f64; 1]| {
                let t = start - tau;
                let (a, b) = d.denoiser_drift(t);
                [a * y[0] + b * p.posterior(&y, t).mean[0]]
            };
            y = rk4(rate, k as f64 * h, y, h);
        }
        close(cdf(y[0], end), cdf(0.35, start), 1e-9, d.name());
    }
}

#[test]
fn d1_5_reverse_sde_with_any_churn_preserves_the_marginals() {
    for d in PROCESSES {
        let p = smooth(d.clone());
        for churn in [0.3, 1.0, 2.5] {
            for x in [-1.2, -0.1, 0.5, 1.4] {
                let (left, right) = fokker_planck_residual(&p, churn, x, 0.45);
                close(left, right, 1e-6, d.name());
            }
        }
    }
    // The factor (1 + h) is needed: with 1 in its place the residual is h D div(s p), not small.
    let p = smooth(VP);
    let (left, right) = fokker_planck_residual(&p, 1.0, 0.5, 0.3);
    let missing = VP.diffusion_coefficient(0.3)
        * slope(
            |y| p.posterior(&[y], 0.3).score[0] * density(&p, y, 0.3),
            0.5,
            1e-2,
        );
    assert!((left - right).abs() < 1e-6 && missing.abs() > 1e-2);
}
