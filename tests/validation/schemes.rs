//! Order of convergence of every scheme, measured.

use vkernel::experiment::{Scheme, Spacing};
use vkernel::family::{Denoiser, ExactDenoiser};
use vkernel::problem::Problem;
use vkernel::sampler::{PfOde, Step, reverse_sde, time_grid};

use super::closed_forms::push;
use super::common::*;

/// Fixed-step schemes and their nominal orders.
pub const ORDERS: [(Scheme, f64); 3] = [
    (Scheme::Euler, 1.0),
    (Scheme::Heun, 2.0),
    (Scheme::Ddim, 1.0),
];

/// Largest number of steps: the next-to-leading term, of relative size 1/steps, is then far below 0.1 in the slope.
const STEPS: usize = 6400;

#[track_caller]
pub fn check_order(what: &str, order: f64, scheme: Scheme, error: impl Fn(usize) -> f64) {
    // A second-order error must stay above rounding: fewer steps.
    let finest = if scheme == Scheme::Heun {
        STEPS / 4
    } else {
        STEPS
    };
    let points: Vec<(f64, f64)> = [finest / 4, finest / 2, finest]
        .iter()
        .map(|&n| (n as f64, error(n)))
        .collect();
    let measured = -log_slope(&points);
    println!(
        "{what}: order {measured:.3}, errors {:.1e} to {:.1e}",
        points[0].1, points[2].1
    );
    assert!(
        (measured - order).abs() < 0.1,
        "{what}: order {measured:.3} instead of {order}: {points:?}"
    );
}

/// Dormand-Prince steps on a fixed grid, uniform in ln t.
fn dormand_prince(problem: &Problem, steps: usize, starts: &[f64]) -> Vec<f64> {
    let mut x = starts.to_vec();
    let mut scratch = Vec::new();
    let times = time_grid(Spacing::Log, problem.t_max, problem.t_min, steps);
    for w in times.windows(2) {
        Step::new(&problem.diffusion, Scheme::Adaptive, w[0], w[1]).advance(
            &ExactDenoiser { problem },
            &mut x,
            &mut scratch,
            None,
        );
    }
    x
}

/// Two overlapping Gaussians, and starts on both sides of the boundary between their basins.
fn two_components(index: usize) -> (Problem, [f64; 3]) {
    let problem = mixture(
        PROCESSES[index].clone(),
        &[-0.8, 0.6],
        &[0.4, 0.3],
        &[0.4, 0.6],
    );
    let sigma = problem.diffusion.sigma(problem.t_max);
    (problem, [-1.1 * sigma, 0.2 * sigma, 1.7 * sigma])
}

fn largest(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

#[test]
fn orders_on_a_mixture() {
    for index in 0..PROCESSES.len() {
        let (problem, starts) = two_components(index);
        let name = problem.diffusion.name();
        let exact = push(&problem, Scheme::Adaptive, 1, &starts);
        // The reference by another route: 4000 fixed steps of order 5.
        let fixed = dormand_prince(&problem, 4000, &starts);
        assert!(
            largest(&exact, &fixed) < 1e-8,
            "{name}: {:e}",
            largest(&exact, &fixed)
        );
        for (scheme, order) in ORDERS {
            check_order(&format!("{scheme:?}, {name}"), order, scheme, |n| {
                largest(&push(&problem, scheme, n, &starts), &fixed)
            });
        }
    }
}

/// Order 5 is a local error of order 6, measured on single steps; over a whole trajectory the errors fall at least as
/// fast as h^5 (for `vp` the leading coefficients nearly cancel along the way, and h^6 is what shows).
#[test]
fn dormand_prince_has_order_five() {
    for index in 0..PROCESSES.len() {
        let (problem, starts) = two_components(index);
        let name = problem.diffusion.name();
        let single = |h: f64, pieces: usize| {
            let (mut x, mut scratch) = ([-0.4, 0.15, 0.9].to_vec(), Vec::new());
            for k in 0..pieces {
                let time = |k: usize| 0.5 * (-h * k as f64 / pieces as f64).exp();
                Step::new(&problem.diffusion, Scheme::Adaptive, time(k), time(k + 1)).advance(
                    &ExactDenoiser { problem: &problem },
                    &mut x,
                    &mut scratch,
                    None,
                );
            }
            x
        };
        // The reference: 16 steps of a sixteenth, 16^-5 = 1e-6 of the error.
        let points: Vec<(f64, f64)> = [0.1, 0.08, 0.06]
            .iter()
            .map(|&h| (h, largest(&single(h, 1), &single(h, 16))))
            .collect();
        let local = log_slope(&points);
        println!("{name}: local order {local:.3}, {points:?}");
        // The next term is of relative size 2 h or less and moves the slope by that.
        assert!((local - 6.0).abs() < 0.2, "{name}: {local} {points:?}");

        let exact = dormand_prince(&problem, 4000, &starts);
        let length = (problem.t_max / problem.t_min).ln();
        let points: Vec<(f64, f64)> = [0.12, 0.085, 0.06]
            .iter()
            .map(|h| {
                let n = (length / h) as usize;
                let error = largest(&dormand_prince(&problem, n, &starts), &exact);
                (n as f64, error)
            })
            .collect();
        let order = -log_slope(&points);
        println!("{name}: order {order:.3}, {points:?}");
        assert!(order > 4.9, "{name}: {order}");
    }
}

/// The embedded estimate is of the same order as the true error of one step: 5 against 6 for the higher formula.
#[test]
fn embedded_error_estimate_is_of_order_five() {
    let (problem, starts) = two_components(0);
    let estimate = |ratio: f64| {
        let mut x = starts.to_vec();
        let mut error = vec![0.0; 3];
        let mut scratch = Vec::new();
        Step::new(&problem.diffusion, Scheme::Adaptive, 0.3, 0.3 * ratio).advance(
            &ExactDenoiser { problem: &problem },
            &mut x,
            &mut scratch,
            Some(&mut error),
        );
        error.iter().fold(0.0, |m: f64, e| m.max(e.abs()))
    };
    let points: Vec<(f64, f64)> = [0.04, 0.02, 0.01]
        .iter()
        .map(|h: &f64| (*h, estimate((-h).exp())))
        .collect();
    let order = log_slope(&points);
    println!("embedded estimate: order {order:.3}");
    assert!((order - 5.0).abs() < 0.1, "{order}");
}

/// Grids end exactly, decrease, and have the spacing they are named after.
#[test]
fn time_grids() {
    type Transform = fn(f64) -> f64;
    let transform: [(Spacing, Transform); 3] = [
        (Spacing::Uniform, |t| t),
        (Spacing::Log, f64::ln),
        (Spacing::Karras, |t| t.powf(1.0 / 7.0)),
    ];
    for (spacing, f) in transform {
        let times = time_grid(spacing, 80.0, 2e-3, 37);
        assert_eq!((times[0], times[37], times.len()), (80.0, 2e-3, 38));
        let step = (f(2e-3) - f(80.0)) / 37.0;
        for w in times.windows(2) {
            assert!(w[1] < w[0]);
            // Rounding of t, amplified where the transform is steep (uniform steps near t_min).
            close(f(w[1]) - f(w[0]), step, step, 1e-10, "spacing");
        }
    }
}

/// A polynomial with terms of both signs, as learned ones are: at 1e9 it is of size 1e63, at 1e63 it is a difference of infinities.
struct Polynomial;

impl Denoiser for Polynomial {
    fn denoise(&self, _: f64, x: &[f64], denoised: &mut [f64]) {
        for (d, x) in denoised.iter_mut().zip(x) {
            *d = 1e3 * (x.powi(7) - x.powi(6) + x);
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.denoise(t, x, denoised);
        for (s, x) in slope.iter_mut().zip(x) {
            *s = 1e3 * (7.0 * x.powi(6) - 6.0 * x.powi(5) + 1.0);
        }
    }
}

/// Trajectories that run away are held far off, between the stages of a step too.
#[test]
fn runaways_are_held() {
    for (scheme, _) in ORDERS {
        for index in 0..PROCESSES.len() {
            let (problem, starts) = two_components(index);
            let held = |what: &str, x: &[f64]| {
                assert!(
                    x.iter().all(|x| x.abs() <= 1e9) && x.iter().any(|x| x.abs() == 1e9),
                    "{what} {scheme:?} {index}: {x:?}"
                );
            };
            let mut x = starts.map(|x| 10.0 * x);
            let flow = PfOde::new(&problem, &options(scheme, 20, 1e-6));
            flow.flow(&Polynomial, &mut x).unwrap();
            held("flow", &x);
            let mut x = starts.map(|x| 10.0 * x);
            // With noise `flow` cannot start at t = 1.
            let times = time_grid(Spacing::Log, 0.99 * problem.t_max, problem.t_min, 20);
            let diffusion = &problem.diffusion;
            let rng = &mut rng(7);
            reverse_sde(&Polynomial, diffusion, scheme, &times, 1.0, &mut x, rng).unwrap();
            held("reverse SDE", &x);
        }
    }
}
