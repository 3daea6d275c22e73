//! The closed form of the reverse process from a point, and the schemes of the reverse SDE against it.

use super::common::*;
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use vkernel::experiment::{Scheme, Spacing};
use vkernel::family::{Denoiser, ExactDenoiser};
use vkernel::problem::{Bridge, Data, Diffusion, Problem};
use vkernel::sampler::{NoisyStep, SamplerError, reverse_sde, time_grid};

const SCHEMES: [Scheme; 3] = [Scheme::Euler, Scheme::Heun, Scheme::Ddim];

/// Processes with their windows; D is infinite for `flow` at t = 1.
fn windows() -> [(Diffusion, f64, f64); 4] {
    [
        (Diffusion::Ou, 0.05, 3.0),
        (VP, 0.01, 1.0),
        (Diffusion::Edm, 0.05, 5.0),
        (Diffusion::Flow, 0.02, 0.95),
    ]
}

fn bridge(diffusion: &Diffusion, t_max: f64, variance: f64, churn: f64) -> Bridge {
    Bridge {
        diffusion: diffusion.clone(),
        mean: -0.7,
        variance,
        churn,
        start: (t_max, 1.3),
    }
}

fn gaussian(bridge: &Bridge, t_min: f64) -> Problem {
    let data = Data::diagonal_mixture(
        &[vec![bridge.mean]],
        &[vec![bridge.variance.sqrt()]],
        Some(&[1.0]),
    );
    problem(
        data.unwrap(),
        bridge.diffusion.clone(),
        t_min,
        bridge.start.0,
    )
}

/// The forward process itself: x_s and x_t, s < t, of data N(m, v) have the covariance (alpha_t/alpha_s) Var x_s. Time reversal
/// leaves the joint law as it is, so that churn 1 is this Gaussian conditioned on x_T.
#[test]
fn d23_1_churn_one_is_the_forward_process_conditioned_on_its_end() {
    for (d, t_min, t_max) in windows() {
        for variance in [0.0, 0.2] {
            let bridge = bridge(&d, t_max, variance, 1.0);
            let times = [t_max, 0.6 * t_max, 0.2 * t_max, t_min];
            let spread = |t: f64| d.alpha(t).powi(2) * variance + d.sigma2(t);
            let joint = DMatrix::from_fn(4, 4, |i, j| {
                let (t, s) = (times[i].max(times[j]), times[i].min(times[j]));
                d.alpha(t) / d.alpha(s) * spread(s)
            });
            let mean = DVector::from_fn(4, |i, _| d.alpha(times[i]) * bridge.mean);
            for i in 1..4 {
                let gain = joint[(i, 0)] / joint[(0, 0)];
                close(
                    bridge.mean_at(times[i]),
                    mean[i] + gain * (1.3 - mean[0]),
                    1e-12,
                    "mean",
                );
                for j in i..4 {
                    let conditional = joint[(i, j)] - gain * joint[(j, 0)];
                    close(
                        bridge.covariance(times[i], times[j]),
                        conditional,
                        1e-12,
                        "covariance",
                    );
                }
            }
        }
    }
}

/// (dm/dtau, dv/dtau) of dx = [beta x + (1+h) D s] dtau + sqrt(2 h D) dW at Gaussian data, integrated by RK4.
fn moments_by_integration(bridge: &Bridge, t_end: f64) -> (f64, f64) {
    let d = &bridge.diffusion;
    let rate = |t: f64, (m, v): (f64, f64)| {
        let spread = d.alpha(t).powi(2) * bridge.variance + d.sigma2(t);
        let big_d = d.diffusion_coefficient(t);
        let pull = (1.0 + bridge.churn) * big_d / spread;
        let slope = d.beta(t) - pull;
        (
            slope * m + pull * d.alpha(t) * bridge.mean,
            2.0 * slope * v + 2.0 * bridge.churn * big_d,
        )
    };
    let (start, n) = (bridge.start.0, 40_000);
    let mut state = (bridge.start.1, 0.0);
    let at = |k: f64| start * (t_end / start).powf(k / f64::from(n));
    for k in 0..n {
        let (t, s) = (at(f64::from(k)), at(f64::from(k) + 1.0));
        let (h, middle) = (t - s, 0.5 * (t + s));
        let step = |y: (f64, f64), k: (f64, f64), h: f64| (y.0 + h * k.0, y.1 + h * k.1);
        let k1 = rate(t, state);
        let k2 = rate(middle, step(state, k1, 0.5 * h));
        let k3 = rate(middle, step(state, k2, 0.5 * h));
        let k4 = rate(s, step(state, k3, h));
        state.0 += h / 6.0 * (k1.0 + 2.0 * (k2.0 + k3.0) + k4.0);
        state.1 += h / 6.0 * (k1.1 + 2.0 * (k2.1 + k3.1) + k4.1);
    }
    state
}

#[test]
fn d23_2_mean_and_variance_of_any_churn_solve_the_moment_equations() {
    for (d, t_min, t_max) in windows() {
        for variance in [0.0, 0.2] {
            for churn in [0.0, 0.3, 1.0, 2.5] {
                let bridge = bridge(&d, t_max, variance, churn);
                let (mean, square) = moments_by_integration(&bridge, t_min);
                // RK4 with 4e4 steps of relative length 1e-4.
                close(bridge.mean_at(t_min), mean, 1e-10, "mean");
                close(bridge.covariance(t_min, t_min), square, 1e-10, "variance");
            }
        }
    }
    // The formula of theory section 8.
    let (x0, y, t, t_max) = (-0.7, 1.3, 0.4_f64, 3.0_f64);
    let kept = |s: f64| 1.0 - (-2.0 * s).exp();
    let bridge = bridge(&Diffusion::Ou, t_max, 0.0, 1.0);
    let gain = (t - t_max).exp() * kept(t) / kept(t_max);
    close(
        bridge.mean_at(t),
        x0 * (-t).exp() + gain * (y - (-t_max).exp() * x0),
        1e-14,
        "OU mean",
    );
    close(
        bridge.covariance(t, t),
        kept(t) * kept(t_max - t) / kept(t_max),
        1e-14,
        "OU variance",
    );
}

/// Markov: the covariance of two times is that of the earlier carried on by the mean of a restart there.
#[test]
fn d23_3_two_time_covariance_is_that_of_a_markov_process() {
    for (d, t_min, t_max) in windows() {
        for churn in [0.3, 1.0, 2.5] {
            let whole = bridge(&d, t_max, 0.2, churn);
            for (t, s) in [(0.7 * t_max, 0.3 * t_max), (0.5 * t_max, t_min)] {
                let restart = |y: f64| {
                    Bridge {
                        start: (t, y),
                        ..whole.clone()
                    }
                    .mean_at(s)
                };
                let carried = (restart(1.0) - restart(0.0)) * whole.covariance(t, t);
                close(whole.covariance(t, s), carried, 1e-13, "covariance");
                // The law at s is that of the restart, averaged over the law at t.
                let again = Bridge {
                    start: (t, 0.0),
                    ..whole.clone()
                };
                let slope = restart(1.0) - restart(0.0);
                let total = again.covariance(s, s) + slope * slope * whole.covariance(t, t);
                close(whole.covariance(s, s), total, 1e-13, "total variance");
            }
        }
    }
}

/// (offset, slope, noise) of a step, which is affine at Gaussian data.
fn affine(p: &Problem, step: &NoisyStep) -> (f64, f64, f64) {
    let model = ExactDenoiser { problem: p };
    let mut x = [0.0, 1.0, 0.0];
    step.advance(&model, &mut x, &[0.0, 0.0, 1.0], &mut Vec::new());
    (x[0], x[1] - x[0], x[2] - x[0])
}

fn step(p: &Problem, scheme: Scheme, w: &[f64], churn: f64) -> NoisyStep {
    NoisyStep::new(&p.diffusion, scheme, w[0], w[1], churn).unwrap()
}

/// Mean and variance at every node, and the slope of each step.
fn recursion(p: &Problem, scheme: Scheme, times: &[f64], bridge: &Bridge) -> Vec<(f64, f64, f64)> {
    let mut state = (bridge.start.1, 0.0, 1.0);
    let mut all = vec![state];
    for w in times.windows(2) {
        let (offset, slope, noise) = affine(p, &step(p, scheme, w, bridge.churn));
        state = (
            offset + slope * state.0,
            slope * slope * state.1 + noise * noise,
            slope,
        );
        all.push(state);
    }
    all
}

/// Bar: 1e-3 relative. The moments of the schemes follow from the linear recursion without sampling; 1e5 paths agree with the
/// closed form within their standard errors (0.45 % of a variance: the 1e-3 cannot be read off them).
#[test]
fn d23_4_path_law_of_every_scheme_against_the_bridge() {
    let bridge = bridge(&Diffusion::Ou, 3.0, 0.0, 1.0);
    let p = gaussian(&bridge, 0.05);
    let model = ExactDenoiser { problem: &p };
    for (scheme, steps) in [
        (Scheme::Euler, 20_000),
        (Scheme::Heun, 400),
        (Scheme::Ddim, 50),
    ] {
        let times = time_grid(Spacing::Log, p.t_max, p.t_min, steps);
        let nodes = [steps / 4, steps / 2, 3 * steps / 4, steps];
        let all = recursion(&p, scheme, &times, &bridge);
        let mut worst = 0.0_f64;
        for (a, &i) in nodes.iter().enumerate() {
            worst = worst.max((all[i].0 / bridge.mean_at(times[i]) - 1.0).abs());
            for &j in &nodes[a..] {
                let slope: f64 = all[i + 1..=j].iter().map(|n| n.2).product();
                let ratio = slope * all[i].1 / bridge.covariance(times[i], times[j]);
                worst = worst.max((ratio - 1.0).abs());
            }
        }
        println!("{scheme:?}, {steps} steps: largest relative error of the moments {worst:.2e}");
        assert!(worst < 1e-3, "{scheme:?}: {worst:.2e}");

        // The same grid, thinned to 400 steps, sampled.
        let steps = steps.min(400);
        let times = time_grid(Spacing::Log, p.t_max, p.t_min, steps);
        let all = recursion(&p, scheme, &times, &bridge);
        let (n, half) = (100_000, steps / 2);
        let mut rng = ChaCha8Rng::seed_from_u64(23);
        let mut x = vec![bridge.start.1; n];
        let mut run = |x: &mut Vec<f64>, times: &[f64]| {
            reverse_sde(&model, &p.diffusion, scheme, times, 1.0, x, &mut rng).unwrap();
        };
        run(&mut x, &times[..=half]);
        let early = x.clone();
        run(&mut x, &times[half..]);
        let mean = |x: &[f64]| x.iter().sum::<f64>() / n as f64;
        let covariance = |x: &[f64], y: &[f64]| {
            let (mx, my) = (mean(x), mean(y));
            x.iter()
                .zip(y)
                .map(|(x, y)| (x - mx) * (y - my))
                .sum::<f64>()
                / n as f64
        };
        let slope: f64 = all[half + 1..].iter().map(|n| n.2).product();
        let (v, w, c) = (all[half].1, all[steps].1, slope * all[half].1);
        let root = (n as f64).sqrt();
        for (what, found, exact, se) in [
            ("mean", mean(&x), all[steps].0, w.sqrt() / root),
            ("variance", covariance(&x, &x), w, w * 2f64.sqrt() / root),
            (
                "covariance",
                covariance(&early, &x),
                c,
                (v * w + c * c).sqrt() / root,
            ),
        ] {
            let z = (found - exact) / se;
            println!(
                "{scheme:?}, {what}: {found:.6} against {exact:.6}, {z:.2} standard errors of {:.1e} relative",
                se / exact.abs()
            );
            assert!(z.abs() < 3.0, "{scheme:?} {what}: {z}");
        }
    }
}

/// Nominal order by how the error at the end falls with the number of steps; `None` where it is rounding.
fn order(errors: &[(f64, f64)]) -> Option<f64> {
    (errors[errors.len() - 1].1 > 1e-11).then(|| -log_slope(errors))
}

#[test]
fn d23_5_weak_orders_are_one_and_two() {
    for (d, t_min, t_max) in windows() {
        for variance in [0.0, 0.2] {
            for (scheme, nominal) in SCHEMES.into_iter().zip([1.0, 2.0, 1.0]) {
                let bridge = bridge(&d, t_max, variance, 1.0);
                let p = gaussian(&bridge, t_min);
                let errors = |pick: fn(&(f64, f64, f64)) -> f64, exact: f64| -> Vec<(f64, f64)> {
                    [800, 1600, 3200]
                        .iter()
                        .map(|&n| {
                            let times = time_grid(Spacing::Log, t_max, t_min, n);
                            let all = recursion(&p, scheme, &times, &bridge);
                            (n as f64, (pick(&all[n]) - exact).abs())
                        })
                        .collect()
                };
                let mean = order(&errors(|n| n.0, bridge.mean_at(t_min)));
                let square = order(&errors(|n| n.1, bridge.covariance(t_min, t_min)));
                println!(
                    "{} v = {variance} {scheme:?}: weak orders {mean:?}, {square:?}",
                    d.name()
                );
                // The exponential step is exact for a point mass.
                assert!(square.is_some() || (scheme == Scheme::Ddim && variance == 0.0));
                for found in [mean, square].into_iter().flatten() {
                    assert!(
                        (found - nominal).abs() < 0.2,
                        "{} {scheme:?}: {found}",
                        d.name()
                    );
                }
            }
        }
    }
}

/// Covariances over one step of the exact solution's noise I = int K g dW with the scheme's own standard normal number xi, both of
/// the same Brownian motion W: xi = Delta W/sqrt(h) for the Runge-Kutta schemes, for the exponential step the normalised noise of
/// the frozen denoiser's linear equation, which is a point mass's.
fn coupling(bridge: &Bridge, scheme: Scheme, t: f64, s: f64) -> f64 {
    let d = &bridge.diffusion;
    let point = Bridge {
        variance: 0.0,
        ..bridge.clone()
    };
    integrate(&legendre_rule(8, s, t), |r| {
        let rate = 2.0 * bridge.churn * d.diffusion_coefficient(r);
        let exact = bridge.transition(r, s).1;
        match scheme {
            Scheme::Ddim => exact * rate * point.transition(r, s).1 / point.transition(t, s).2,
            _ => exact * (rate / (t - s)).sqrt(),
        }
    })
}

/// Root mean square of the difference from the exact solution at the end, both driven by the same Brownian motion: mean and
/// covariance of the pair (x, difference) follow a linear recursion.
fn strong_error(p: &Problem, scheme: Scheme, times: &[f64], bridge: &Bridge) -> f64 {
    let (mut x, mut e) = (bridge.start.1, 0.0);
    let (mut xx, mut xe, mut ee) = (0.0, 0.0, 0.0);
    for w in times.windows(2) {
        let (offset, slope, noise) = affine(p, &step(p, scheme, w, bridge.churn));
        let (o, k, std) = bridge.transition(w[0], w[1]);
        let shared = coupling(bridge, scheme, w[0], w[1]);
        // x' = o + k x + I, e' = (offset - o) + slope e + (slope - k) x + noise xi - I.
        let extra = slope - k;
        let noise_xe = noise * shared - std * std;
        let noise_ee = noise * noise - 2.0 * noise * shared + std * std;
        (ee, xe, xx) = (
            slope * slope * ee + 2.0 * slope * extra * xe + extra * extra * xx + noise_ee,
            k * (slope * xe + extra * xx) + noise_xe,
            k * k * xx + std * std,
        );
        (x, e) = (o + k * x, offset - o + slope * e + extra * x);
    }
    (e * e + ee).sqrt()
}

#[test]
fn d23_5_strong_orders_are_one() {
    for (d, t_min, t_max) in windows() {
        for variance in [0.0, 0.2] {
            for scheme in SCHEMES {
                if scheme == Scheme::Ddim && variance == 0.0 {
                    continue; // exact
                }
                let bridge = bridge(&d, t_max, variance, 1.0);
                let p = gaussian(&bridge, t_min);
                let errors: Vec<(f64, f64)> = [800, 1600, 3200]
                    .iter()
                    .map(|&n| {
                        let times = time_grid(Spacing::Log, t_max, t_min, n);
                        (n as f64, strong_error(&p, scheme, &times, &bridge))
                    })
                    .collect();
                let found = -log_slope(&errors);
                println!(
                    "{} v = {variance} {scheme:?}: strong order {found:.3}, {errors:?}",
                    d.name()
                );
                assert!(
                    (found - 1.0).abs() < 0.1,
                    "{} {scheme:?}: {found}",
                    d.name()
                );
            }
        }
    }
}

/// The recursion of the strong error against paths that are really driven by the same Brownian motion.
#[test]
fn d23_5_strong_error_of_sampled_paths() {
    let bridge = bridge(&Diffusion::Ou, 3.0, 0.2, 1.0);
    let p = gaussian(&bridge, 0.05);
    let times = time_grid(Spacing::Log, p.t_max, p.t_min, 40);
    let n = 20_000;
    for scheme in SCHEMES {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut x = vec![bridge.start.1; n];
        let mut exact = x.clone();
        let mut scratch = Vec::new();
        for w in times.windows(2) {
            let (offset, slope, std) = bridge.transition(w[0], w[1]);
            let shared = coupling(&bridge, scheme, w[0], w[1]);
            let rest = (std * std - shared * shared).max(0.0).sqrt();
            let normals: Vec<f64> = (0..n).map(|_| rng.sample(StandardNormal)).collect();
            let model = ExactDenoiser { problem: &p };
            step(&p, scheme, w, 1.0).advance(&model, &mut x, &normals, &mut scratch);
            for (y, xi) in exact.iter_mut().zip(&normals) {
                let other: f64 = rng.sample(StandardNormal);
                *y = offset + slope * *y + shared * xi + rest * other;
            }
        }
        let square = |k: i32| -> f64 {
            x.iter()
                .zip(&exact)
                .map(|(x, y)| (x - y).powi(k))
                .sum::<f64>()
                / n as f64
        };
        let expected = strong_error(&p, scheme, &times, &bridge).powi(2);
        let se = ((square(4) - square(2).powi(2)) / n as f64).sqrt();
        println!(
            "{scheme:?}: mean square {:.4e} +- {se:.1e}, expected {expected:.4e}",
            square(2)
        );
        assert!((square(2) - expected).abs() < 3.0 * se, "{scheme:?}");
    }
}

#[test]
fn d23_5_there_is_no_adaptive_noise() {
    let found = NoisyStep::new(&VP, Scheme::Adaptive, 0.5, 0.4, 1.0);
    assert_eq!(found, Err(SamplerError::AdaptiveNoise));
}

/// At churn 0 the steps are those of the probability flow, also where D is infinite.
#[test]
fn d23_5_without_churn_the_steps_are_the_flow() {
    use vkernel::sampler::Step;
    struct Bent;
    impl Denoiser for Bent {
        fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
            for (d, x) in denoised.iter_mut().zip(x) {
                *d = (x + t).sin();
            }
        }
        fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
            self.denoise(t, x, denoised);
            for (s, x) in slope.iter_mut().zip(x) {
                *s = (x + t).cos();
            }
        }
    }
    for (diffusion, t) in [(VP, 0.5), (Diffusion::Flow, 1.0)] {
        for scheme in SCHEMES {
            let mut a = [0.3, -1.1];
            let mut b = a;
            let noisy = NoisyStep::new(&diffusion, scheme, t, 0.4, 0.0).unwrap();
            noisy.advance(&Bent, &mut a, &[1.0, -2.0], &mut Vec::new());
            Step::new(&diffusion, scheme, t, 0.4).advance(&Bent, &mut b, &mut Vec::new(), None);
            close(a[0], b[0], 1e-14, "first");
            close(a[1], b[1], 1e-14, "second");
        }
    }
}
