use super::common::*;
use vkernel::problem::{Data, Problem};

fn points() -> Problem {
    let data = Data::points(&[vec![-1.0], vec![0.1], vec![1.2]], Some(&[0.5, 0.2, 0.3]));
    problem(data.unwrap(), VP, 0.01, 1.0)
}

/// One Euler step of the naive family of length h from x at time t: every outcome with its probability.
fn outcomes(p: &Problem, x: f64, t: f64, h: f64, kappa: f64) -> Vec<(f64, f64)> {
    let d = &p.diffusion;
    let post = p.posterior(&[x], t);
    let score = post.score[0];
    p.data
        .components()
        .iter()
        .zip(&post.weights)
        .map(|(c, w)| {
            let proxy = (d.alpha(t) * c.mean[0] - x) / d.sigma2(t);
            let used = score + (kappa / h).sqrt() * (proxy - score);
            let u = d.beta(t) * x + d.diffusion_coefficient(t) * used;
            (x + h * u, *w)
        })
        .collect()
}

fn average(outcomes: &[(f64, f64)], g: impl Fn(f64) -> f64) -> f64 {
    outcomes.iter().map(|(x, w)| w * g(*x)).sum()
}

/// Drift u and covariance rate kappa D C D at (x, t).
fn coefficients(p: &Problem, x: f64, t: f64, kappa: f64) -> (f64, f64) {
    let d = &p.diffusion;
    let post = p.posterior(&[x], t);
    let big_d = d.diffusion_coefficient(t);
    let u = d.beta(t) * x + big_d * post.score[0];
    (
        u,
        kappa * big_d * big_d * post.proxy_score_covariance()[(0, 0)],
    )
}

const KAPPA: f64 = 0.2;
const PLACES: [(f64, f64); 4] = [(0.3, 0.3), (-0.7, 0.2), (1.1, 0.5), (0.05, 0.15)];

#[test]
fn d4_1_mean_and_variance_of_one_step() {
    let p = points();
    for (x, t) in PLACES {
        let (u, rate) = coefficients(&p, x, t, KAPPA);
        for h in [0.1, 1e-3] {
            let all = outcomes(&p, x, t, h, KAPPA);
            let mean = average(&all, |y| y);
            close(mean, x + h * u, 1e-13, "mean");
            close(
                average(&all, |y| (y - mean).powi(2)),
                h * rate,
                1e-12,
                "variance",
            );
        }
        // Denoiser form: the noise is sqrt(kappa h) b (x0 - E[x0|x]).
        let b = VP.denoiser_drift(t).1;
        let variance = p.posterior(&[x], t).covariance[(0, 0)];
        close(KAPPA * b * b * variance, rate, 1e-12, "denoiser form");
    }
}

/// The n-th cumulant is (kappa h)^(n/2) D^n times that of the proxy score, exactly.
#[test]
fn d4_2_higher_cumulants_vanish_faster_than_h() {
    let p = points();
    for (x, t) in PLACES {
        let post = p.posterior(&[x], t);
        let d = VP.diffusion_coefficient(t);
        let proxy: Vec<_> = p
            .data
            .components()
            .iter()
            .zip(&post.weights)
            .map(|(c, w)| ((VP.alpha(t) * c.mean[0] - x) / VP.sigma2(t), *w))
            .collect();
        let third_fourth = |all: &[(f64, f64)]| {
            let mean = average(all, |y| y);
            let m = |n: i32| average(all, |y| (y - mean).powi(n));
            (m(3), m(4) - 3.0 * m(2).powi(2))
        };
        let (k3, k4) = third_fourth(&proxy);
        for h in [0.1, 1e-2, 1e-3] {
            let (s3, s4) = third_fourth(&outcomes(&p, x, t, h, KAPPA));
            let unit = (KAPPA * h).sqrt() * d;
            // The step is a small number added to x: rounding of x relative to the unit.
            assert!(
                (s3 / unit.powi(3) - k3).abs() < 1e-9 * (1.0 + k3.abs()),
                "third, h = {h}"
            );
            assert!(
                (s4 / unit.powi(4) - k4).abs() < 1e-9 * (1.0 + k4.abs()),
                "fourth, h = {h}"
            );
        }
    }
}

/// ln E exp(-i p xi) of one step's noise, over h, tends to -(1/2) kappa p D C D p: white noise. The error is the
/// third cumulant, O(h^1/2).
#[test]
fn d4_3_characteristic_functional_tends_to_white_noise() {
    use num_complex::Complex64;
    let p = points();
    for (x, t) in PLACES {
        let (u, rate) = coefficients(&p, x, t, KAPPA);
        let response = 1.0 / rate.sqrt();
        let error = |h: f64| {
            let sum: Complex64 = outcomes(&p, x, t, h, KAPPA)
                .iter()
                .map(|(y, w)| Complex64::new(0.0, -response * (y - x - h * u)).exp() * *w)
                .sum();
            (sum.ln() / h + 0.5 * response * response * rate).norm()
        };
        let data: Vec<_> = [1e-4, 1e-5, 1e-6].iter().map(|h| (*h, error(*h))).collect();
        // The correction to the slope is O(h^1/2) < 0.01 of it; the third cumulant is not zero at these places.
        close(log_slope(&data), 0.5, 0.03, "slope");
    }
}

/// Weak one-step expansion: E g(x_{k+1}) = g + h L g + O(h^3/2), L g = u g' + (1/2) kappa D C D g'' (Ito).
#[test]
fn d4_4_generator_acts_on_test_functions() {
    let p = points();
    for (x, t) in PLACES {
        let (u, rate) = coefficients(&p, x, t, KAPPA);
        let (g, g1, g2) = (
            (1.3 * x).sin(),
            1.3 * (1.3 * x).cos(),
            -1.69 * (1.3 * x).sin(),
        );
        let generator = u * g1 + 0.5 * rate * g2;
        let error = |h: f64| {
            let mean = average(&outcomes(&p, x, t, h, KAPPA), |y| (1.3 * y).sin());
            (mean - g - h * generator).abs()
        };
        let data: Vec<_> = [1e-4, 1e-5, 1e-6].iter().map(|h| (*h, error(*h))).collect();
        close(log_slope(&data), 1.5, 0.03, "slope");
    }
    // A posterior without skew has no h^3/2 term: two equal points seen from the middle give h^2.
    let data = Data::points(&[vec![-1.0], vec![1.0]], None).unwrap();
    let even = problem(data, VP, 0.01, 1.0);
    let (x, t) = (0.0, 0.3);
    let (u, rate) = coefficients(&even, x, t, KAPPA);
    let error = |h: f64| {
        let mean = average(&outcomes(&even, x, t, h, KAPPA), |y| (1.3 * y + 0.4).sin());
        let generator = u * 1.3 * 0.4f64.cos() - 0.5 * rate * 1.69 * 0.4f64.sin();
        (mean - 0.4f64.sin() - h * generator).abs()
    };
    let data: Vec<_> = [1e-2, 1e-3, 1e-4].iter().map(|h| (*h, error(*h))).collect();
    close(log_slope(&data), 2.0, 0.02, "slope without skew");
}

/// Fokker-Planck: the change of the mean of g over one step from a density q is h times the integral of g times
/// -(u q)' + (1/2) (kappa D C D q)''; the Stratonovich order (1/2) (sqrt(B) (sqrt(B) q)')' gives another number.
#[test]
fn d4_5_fokker_planck_in_ito_order() {
    let p = points();
    let t = 0.3;
    let q = |x: f64| 0.6 * normal_pdf(x, -0.4, 0.25) + 0.4 * normal_pdf(x, 0.7, 0.16);
    let g = |x: f64| (1.3 * x + 0.2).sin();
    let grid = trapezoid(800, -5.0, 5.0);
    let rate = |h: f64| {
        integrate(&grid, |x| {
            q(x) * (average(&outcomes(&p, x, t, h, KAPPA), g) - g(x))
        }) / h
    };
    // Errors in powers of h^1/2: eliminate the first two from three steps a factor 4 apart.
    let (r1, r2, r3) = (rate(4e-6), rate(1e-6), rate(2.5e-7));
    let (e1, e2) = (2.0 * r2 - r1, 2.0 * r3 - r2);
    let measured = (4.0 * e2 - e1) / 3.0;

    let b = |x: f64| coefficients(&p, x, t, KAPPA).1;
    let drift = |x: f64| coefficients(&p, x, t, KAPPA).0 * q(x);
    let ito = integrate(&grid, |x| {
        let change = -slope(drift, x, 5e-3) + 0.5 * curvature(|y| b(y) * q(y), x, 5e-3);
        g(x) * change
    });
    let stratonovich = integrate(&grid, |x| {
        let inner = |y: f64| b(y).sqrt() * slope(|z| b(z).sqrt() * q(z), y, 5e-3);
        g(x) * (-slope(drift, x, 5e-3) + 0.5 * slope(inner, x, 5e-3))
    });
    println!("measured {measured}, Ito {ito}, Stratonovich {stratonovich}");
    // Rounding of the differences g(x') - g(x) over h = 2.5e-7: 1e-9; remaining expansion error h^3/2/h: 1e-7.
    close(measured, ito, 1e-6, "Ito");
    assert!((measured - stratonovich).abs() > 1e-2);
}
