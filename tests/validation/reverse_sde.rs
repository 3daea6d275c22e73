//! The reverse SDE: its steps are affine maps with noise, read off with a generator whose normals are all zero or all
//! equal, so that means and variances are carried without sampling.

use std::convert::Infallible;

use rand::{RngExt, TryRng};
use vkernel::compare::total_variation;
use vkernel::density::{Bins, Masses, noised_data};
use vkernel::experiment::{Scheme, Spacing};
use vkernel::family::ExactDenoiser;
use vkernel::problem::Problem;
use vkernel::sampler::{reverse_sde, time_grid};

use super::closed_forms::{ClosedForm, all};
use super::common::*;

/// Returns the same bits for ever.
struct Constant(u64);

impl TryRng for Constant {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0 >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0)
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.fill(0);
        Ok(())
    }
}

/// Bits that the ziggurat turns into a standard normal of exactly 0, and into one near 1/2.
const ZERO: u64 = 1 << 63;
const OTHER: u64 = (1 << 63) | (1 << 60) | 100;

fn normal_of(bits: u64) -> f64 {
    Constant(bits).sample(rand_distr::StandardNormal)
}

/// (offset, slope, noise) of one step at Gaussian data, where the denoiser is affine.
fn affine(problem: &Problem, scheme: Scheme, w: &[f64], churn: f64) -> (f64, f64, f64) {
    let step = |x: f64, bits: u64| {
        let mut x = [x];
        reverse_sde(
            &ExactDenoiser { problem },
            &problem.diffusion,
            scheme,
            w,
            churn,
            &mut x,
            &mut Constant(bits),
        )
        .unwrap();
        x[0]
    };
    let offset = step(0.0, ZERO);
    let noise = (step(0.0, OTHER) - offset) / normal_of(OTHER);
    (offset, step(1.0, ZERO) - offset, noise)
}

/// Mean and variance after all steps.
fn carried(
    problem: &Problem,
    scheme: Scheme,
    steps: usize,
    churn: f64,
    (mut mean, mut variance): (f64, f64),
) -> (f64, f64) {
    let times = time_grid(Spacing::Log, problem.t_max, problem.t_min, steps);
    for w in times.windows(2) {
        let (offset, slope, noise) = affine(problem, scheme, w, churn);
        mean = offset + slope * mean;
        variance = slope * slope * variance + noise * noise;
    }
    (mean, variance)
}

fn start(problem: &Problem) -> (f64, f64) {
    (0.0, problem.diffusion.sigma2(problem.t_max))
}

/// Euler-Maruyama needs D at t_max, which is infinite for `flow` at t = 1.
fn regular(case: &ClosedForm) -> ClosedForm {
    let p = &case.problem;
    let t_max = if p.diffusion.name() == "flow" {
        0.99
    } else {
        p.t_max
    };
    let c = &p.data.components()[0];
    ClosedForm::new(
        (p.diffusion.clone(), p.t_min, t_max),
        c.mean[0],
        c.variances[0].sqrt(),
    )
}

#[test]
fn the_rigged_generator_gives_zero() {
    assert_eq!(normal_of(ZERO), 0.0);
    assert!(normal_of(OTHER).abs() > 0.1, "{}", normal_of(OTHER));
}

#[test]
fn exponential_step_is_exact_for_a_point_mass() {
    for case in all()
        .iter()
        .filter(|c| c.problem.data.components()[0].is_point())
    {
        for churn in [0.3, 0.5, 1.0, 2.0] {
            let (mean, variance) = case.law(churn);
            for steps in [1, 2, 7, 50] {
                let (m, v) = carried(
                    &case.problem,
                    Scheme::Ddim,
                    steps,
                    churn,
                    start(&case.problem),
                );
                // Rounding of the steps: differences of numbers of the size of x_T (edm: 80).
                let scale = 1.0 + case.problem.diffusion.sigma(case.problem.t_max);
                close(m, mean, scale, 1e-13, &case.name);
                close(v, variance, variance + 1e-3 * scale, 1e-11, &case.name);
            }
        }
    }
}

/// Started from one point y instead of a law it is the Ornstein-Uhlenbeck bridge from y to the data point.
#[test]
fn point_mass_under_ou_is_the_bridge() {
    let (x0, t, t_max) = (-0.7, 0.4, 3.0);
    let case = ClosedForm::new((vkernel::problem::Diffusion::Ou, t, t_max), x0, 0.0);
    let shrink = |s: f64| -(-2.0 * s).exp_m1();
    for y in [-2.0, 0.0, 1.3] {
        let mean = x0 * (-t).exp()
            + (t - t_max).exp() * shrink(t) / shrink(t_max) * (y - (-t_max).exp() * x0);
        let variance = shrink(t) * shrink(t_max - t) / shrink(t_max);
        let (m, v) = carried(&case.problem, Scheme::Ddim, 5, 1.0, (y, 0.0));
        close(m, mean, 1.0, 1e-14, "bridge mean");
        close(v, variance, variance, 1e-13, "bridge variance");
    }
}

/// With true random numbers: 5 standard errors of 200 000 trajectories.
#[test]
fn sampled_law_of_a_point_mass() {
    let particles = 200_000;
    for (index, case) in all().iter().enumerate() {
        if !case.problem.data.components()[0].is_point() {
            continue;
        }
        let problem = &case.problem;
        let mut rng = rng(100 + index as u64);
        let sigma = problem.diffusion.sigma(problem.t_max);
        let mut x: Vec<f64> = (0..particles).map(|_| sigma * normal(&mut rng)).collect();
        let times = time_grid(Spacing::Log, problem.t_max, problem.t_min, 6);
        let exact = ExactDenoiser { problem };
        reverse_sde(
            &exact,
            &problem.diffusion,
            Scheme::Ddim,
            &times,
            0.5,
            &mut x,
            &mut rng,
        )
        .unwrap();
        let ((mean, variance), (m, v)) = (case.law(0.5), moments(&x));
        let n = particles as f64;
        close(m, mean, (variance / n).sqrt(), 5.0, &case.name);
        close(v, variance, variance * (2.0 / n).sqrt(), 5.0, &case.name);
    }
}

#[test]
fn weak_order_is_one() {
    for case in all().iter().map(regular) {
        for scheme in [Scheme::Euler, Scheme::Ddim] {
            if scheme == Scheme::Ddim && case.problem.data.components()[0].is_point() {
                continue; // exact
            }
            for churn in [0.5, 1.0] {
                let exact = case.law(churn);
                let errors: Vec<[(f64, f64); 2]> = [1600, 3200, 6400]
                    .iter()
                    .map(|&n| {
                        let (m, v) = carried(&case.problem, scheme, n, churn, start(&case.problem));
                        [
                            (n as f64, (m - exact.0).abs()),
                            (n as f64, (v - exact.1).abs()),
                        ]
                    })
                    .collect();
                for (k, what) in ["mean", "variance"].iter().enumerate() {
                    let points: Vec<_> = errors.iter().map(|e| e[k]).collect();
                    let order = -log_slope(&points);
                    println!(
                        "{scheme:?}, churn {churn}, {}, {what}: order {order:.3}, error {:.1e}",
                        case.name, points[2].1
                    );
                    // A mean that does not depend on the step beyond rounding has no order to measure.
                    if points[2].1 > 1e-11 {
                        assert!(
                            (order - 1.0).abs() < 0.2,
                            "{}: {order} {points:?}",
                            case.name
                        );
                    }
                }
            }
        }
    }
}

/// From p(x|t_max) the exact score leads to p(x|t_min), whatever the churn: two step sizes, extrapolated.
#[test]
fn churn_preserves_the_marginals() {
    for case in all().iter().map(regular) {
        let (problem, first) = (&case.problem, case.marginal(case.problem.t_max));
        let (mean, variance) = case.marginal(problem.t_min);
        for churn in [0.5, 1.0] {
            let (law, spread) = case.law_from(first, churn);
            close(law, mean, mean, 1e-12, &case.name);
            close(spread, variance, variance, 1e-12, &case.name);
            let [a, b, c] =
                [2000, 4000, 8000].map(|n| carried(problem, Scheme::Euler, n, churn, first));
            // First order: 2 b - a and 2 c - b are of second order, and the latter is off by a third of their difference.
            let check = |pick: fn(&(f64, f64)) -> f64, exact: f64| {
                let (coarse, fine) = (2.0 * pick(&b) - pick(&a), 2.0 * pick(&c) - pick(&b));
                let allowed = (fine - coarse).abs() + 1e-12 * exact.abs();
                close(fine, exact, allowed, 1.0, &case.name);
                assert!(allowed < 1e-4 * exact.abs(), "{}: {allowed:e}", case.name);
            };
            check(|law| law.0, mean);
            check(|law| law.1, variance);
        }
    }
}

/// The same for a mixture, sampled: total variation from p(x|t_min) within its sampling noise.
#[test]
fn churn_preserves_a_mixture() {
    let problem = mixture(PROCESSES[0].clone(), &[-0.8, 0.6], &[0.3, 0.2], &[0.4, 0.6]);
    let bins = Bins {
        low: -2.0,
        high: 2.0,
        count: 40,
    };
    let exact = noised_data(&problem, problem.t_min, &bins);
    let (particles, steps) = (100_000, 400);
    for (scheme, churn) in [
        (Scheme::Ddim, 0.5),
        (Scheme::Ddim, 1.0),
        (Scheme::Euler, 1.0),
    ] {
        let mut rng = rng(7);
        // vp forgets its data to 4e-5 at t = 1: N(0, sigma_T^2) is p(x|t_max).
        let mut x: Vec<f64> = (0..particles).map(|_| normal(&mut rng)).collect();
        let times = time_grid(Spacing::Log, problem.t_max, problem.t_min, steps);
        let model = ExactDenoiser { problem: &problem };
        reverse_sde(
            &model,
            &problem.diffusion,
            scheme,
            &times,
            churn,
            &mut x,
            &mut rng,
        )
        .unwrap();
        let mut masses = Masses::zero(&bins);
        for x in &x {
            masses.cells[bins.cell(*x)] += 1.0 / particles as f64;
        }
        let noise: f64 = exact
            .cells
            .iter()
            .map(|p| 0.5 * (2.0 / std::f64::consts::PI * p * (1.0 - p) / particles as f64).sqrt())
            .sum();
        let tv = total_variation(&masses, &exact);
        println!("{scheme:?}, churn {churn}: TV {tv:.4}, noise {noise:.4}");
        // A first-order scheme at 400 steps adds up to 1/400 of a relative change per unit rate.
        assert!(
            tv < 1.5 * noise + 4.0 / steps as f64,
            "{scheme:?} {churn}: {tv}"
        );
    }
}
