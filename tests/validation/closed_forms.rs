//! Problems with their analytic solutions, and one test that runs every scheme against all of them.
//!
//! Gaussian data N(m, v) keep the flow map affine (derivations/07): with l^2 = alpha^2 v + sigma^2,
//! x_eps = alpha_eps m + (l_eps/l_T)(x_T - alpha_T m). A point mass is v = 0, where l = sigma. With churn h the deviation
//! w/l is an Ornstein-Uhlenbeck process in the time ln(l/alpha), because D/l^2 = d ln(l/alpha)/dt: it is damped by
//! R^h, R = (l_eps/alpha_eps)/(l_T/alpha_T), and gains the variance 1 - R^(2h).

use vkernel::compare::total_variation;
use vkernel::density::{Bins, Masses, mean_field};
use vkernel::experiment::Scheme;
use vkernel::family::ExactDenoiser;
use vkernel::numerics::normal;
use vkernel::problem::{Diffusion, Problem};
use vkernel::sampler::PfOde;

use super::common::*;

/// A one-component problem and what the exact score does with N(0, sigma_T^2).
pub struct ClosedForm {
    pub name: String,
    pub problem: Problem,
    mean: f64,
    variance: f64,
}

impl ClosedForm {
    pub fn new(window: (Diffusion, f64, f64), mean: f64, std: f64) -> Self {
        Self {
            name: format!("{} with N({mean}, {std}^2)", window.0.name()),
            problem: mixture(window.clone(), &[mean], &[std], &[1.0]),
            mean,
            variance: std * std,
        }
    }

    /// Standard deviation of the noised data.
    fn spread(&self, t: f64) -> f64 {
        let d = &self.problem.diffusion;
        (d.alpha(t).powi(2) * self.variance + d.sigma2(t)).sqrt()
    }

    /// The PF-ODE's map from x_T to x at t_min.
    pub fn map(&self, x: f64) -> f64 {
        let (d, low, high) = (
            &self.problem.diffusion,
            self.problem.t_min,
            self.problem.t_max,
        );
        d.alpha(low) * self.mean
            + self.spread(low) / self.spread(high) * (x - d.alpha(high) * self.mean)
    }

    /// Mean and variance at t_min of the reverse process with churn h (0 for the PF-ODE), started in a law of the
    /// given mean and variance.
    pub fn law_from(&self, start: (f64, f64), churn: f64) -> (f64, f64) {
        let (d, low, high) = (
            &self.problem.diffusion,
            self.problem.t_min,
            self.problem.t_max,
        );
        let ratio = self.spread(low) * d.alpha(high) / (d.alpha(low) * self.spread(high));
        let kept = ratio.powf(churn);
        let (l, l_start) = (self.spread(low), self.spread(high));
        let mean =
            d.alpha(low) * self.mean + l * kept * (start.0 - d.alpha(high) * self.mean) / l_start;
        let variance = l * l * (kept * kept * start.1 / (l_start * l_start) + 1.0 - kept * kept);
        (mean, variance)
    }

    /// The same from the sampler's start N(0, sigma_T^2).
    pub fn law(&self, churn: f64) -> (f64, f64) {
        let start = self.problem.diffusion.sigma2(self.problem.t_max);
        self.law_from((0.0, start), churn)
    }

    /// Mean and variance of the noised data at time t.
    pub fn marginal(&self, t: f64) -> (f64, f64) {
        let alpha = self.problem.diffusion.alpha(t);
        (alpha * self.mean, self.spread(t).powi(2))
    }
}

/// Gaussian data and a point mass under every process.
pub fn all() -> Vec<ClosedForm> {
    PROCESSES
        .iter()
        .flat_map(|w| {
            [
                ClosedForm::new(w.clone(), 0.3, 0.5),
                ClosedForm::new(w.clone(), -0.7, 0.0),
            ]
        })
        .collect()
}

/// Where the scheme carries the starts.
pub fn push(problem: &Problem, scheme: Scheme, steps: usize, starts: &[f64]) -> Vec<f64> {
    let mut x = starts.to_vec();
    let flow = PfOde::new(problem, &options(scheme, steps, 1e-11));
    flow.flow(&ExactDenoiser { problem }, &mut x).unwrap();
    x
}

#[test]
fn adaptive_gives_the_closed_law() {
    for case in all() {
        let sigma = case.problem.diffusion.sigma(case.problem.t_max);
        let x = push(
            &case.problem,
            Scheme::Adaptive,
            1,
            &[0.0, sigma, -2.0 * sigma],
        );
        let (mean, variance) = case.law(0.0);
        let std = variance.sqrt();
        // The map is affine: two trajectories are the law of a Gaussian start, the third tests that it is.
        close(x[0], mean, mean, 1e-6, &case.name);
        close(x[1] - x[0], std, std, 1e-6, &case.name);
        close(x[2], mean - 2.0 * std, std, 1e-6, &case.name);
        close(case.map(0.0), mean, mean, 1e-14, &case.name);
    }
}

/// Binned densities, within the error that the solver itself states.
#[test]
fn push_forward_of_the_adaptive_flow_is_the_closed_density() {
    for case in all() {
        let (mean, variance) = case.law(0.0);
        let std = variance.sqrt();
        let bins = Bins {
            low: mean - 4.0 * std,
            high: mean + 3.0 * std,
            count: 50,
        };
        let exact = Masses::from_cdf(&bins, |x| normal::cdf((x - mean) / std));
        let problem = &case.problem;
        let flow = PfOde::new(problem, &options(Scheme::Adaptive, 1, 1e-11));
        let (estimate, push) = mean_field(&flow, &ExactDenoiser { problem }, &bins).unwrap();
        let tv = total_variation(&estimate.masses, &exact);
        println!(
            "{}: TV {tv:.1e}, stated {:.1e}",
            case.name,
            estimate.error()
        );
        assert!(tv <= estimate.error(), "{}: {tv:e}", case.name);
        assert!(estimate.error() < 1e-3 && !push.folds, "{}", case.name);
        close(estimate.masses.total(), 1.0, 1.0, 1e-12, &case.name);
    }
}

/// Every fixed-step scheme tends to the closed form at its own order, on every problem.
#[test]
fn every_scheme_has_its_order_on_every_closed_form() {
    for case in all() {
        for (scheme, order) in super::schemes::ORDERS {
            let sigma = case.problem.diffusion.sigma(case.problem.t_max);
            let starts = [0.0, sigma, -2.0 * sigma];
            let exact = starts.map(|x| case.map(x));
            let error = |steps: usize| {
                let x = push(&case.problem, scheme, steps, &starts);
                x.iter()
                    .zip(&exact)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f64::max)
            };
            let what = format!("{scheme:?}, {}", case.name);
            // Where sigma is linear in t Euler is DDIM (derivations/03).
            let ddim = scheme == Scheme::Ddim
                || scheme == Scheme::Euler
                    && ["edm", "flow"].contains(&case.problem.diffusion.name());
            let heun =
                scheme == Scheme::Heun && ["edm", "flow"].contains(&case.problem.diffusion.name());
            if (ddim || heun) && case.variance == 0.0 {
                // Exact where the denoiser is constant: three steps are as good as any.
                assert!(error(3) < 1e-13 * (1.0 + sigma), "{what}: {:e}", error(3));
                continue;
            }
            super::schemes::check_order(&what, order, scheme, error);
        }
    }
}

/// The end points quoted in the documentation of experiments/gaussian.toml and in derivations/07.
#[test]
fn quoted_numbers() {
    let case = ClosedForm::new(PROCESSES[0].clone(), 0.3, 0.5);
    let (mean, variance) = case.law(0.0);
    assert_eq!(
        format!("{mean:.5} {:.5}", variance.sqrt()),
        "0.29940 0.50298"
    );
    for (steps, std) in [(80, "0.49436"), (320, "0.50081")] {
        let x = push(
            &case.problem,
            Scheme::Ddim,
            steps,
            &[0.0, case.problem.diffusion.sigma(1.0)],
        );
        assert_eq!(format!("{:.5}", x[1] - x[0]), std);
    }
}
