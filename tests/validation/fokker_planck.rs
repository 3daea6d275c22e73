//! The Fokker-Planck solver against exact push-forwards, closed forms and the naive family sampled as it is defined.

use vkernel::compare::{NoiseFloor, total_variation};
use vkernel::density::{
    Bins, Ensemble, FokkerPlanck, Masses, WhiteNoise, fokker_planck, mean_field, noised_data,
};
use vkernel::experiment::Scheme;
use vkernel::family::ExactDenoiser;
use vkernel::monte_carlo::MonteCarlo;
use vkernel::numerics::normal;
use vkernel::problem::{Problem, StartDensity, StartLaw};
use vkernel::sampler::PfOde;

use super::closed_forms::ClosedForm;
use super::common::*;

const BINS: Bins = Bins {
    low: -1.5,
    high: 1.5,
    count: 60,
};

fn solve(problem: &Problem, kappa: f64, churn: f64) -> FokkerPlanck {
    let solution = fokker_planck(
        problem,
        WhiteNoise { kappa, churn },
        &StartDensity::new(problem, StartLaw::Normal),
        &BINS,
    )
    .unwrap();
    assert!(solution.mass_error < 1e-10, "{:e}", solution.mass_error);
    assert!(solution.smallest >= 0.0, "{:e}", solution.smallest);
    close(
        solution.estimate.masses.total(),
        1.0,
        1.0,
        1e-10,
        "mass in the bins",
    );
    solution
}

#[track_caller]
fn within_stated(name: &str, solution: &FokkerPlanck, exact: &Masses, more: f64) {
    let tv = total_variation(&solution.estimate.masses, exact);
    // The stated error is the last change of a first-order sequence, e_n = c/n + O(1/n^2): equal to what is left up to
    // its second order. A quarter is allowed for that.
    let stated = 1.25 * solution.estimate.error() + more;
    println!(
        "{name}: TV {tv:.1e}, stated {stated:.1e}, {} cells",
        solution.cells
    );
    assert!(tv <= stated, "{name}: {tv:e} above {stated:e}");
}

/// No noise: the exact push-forward of the adaptive PF-ODE.
#[test]
fn without_noise_it_is_the_push_forward() {
    for problem in [
        three_points(1e-2),
        mixture(PROCESSES[0].clone(), &[-0.8, 0.6], &[0.3, 0.2], &[0.4, 0.6]),
        mixture(PROCESSES[2].clone(), &[-0.8, 0.6], &[0.3, 0.0], &[0.4, 0.6]),
    ] {
        let flow = PfOde::new(&problem, &options(Scheme::Adaptive, 1, 1e-10));
        let model = ExactDenoiser { problem: &problem };
        let (exact, _) = mean_field(&flow, &model, &BINS).unwrap();
        within_stated(
            problem.diffusion.name(),
            &solve(&problem, 0.0, 0.0),
            &exact.masses,
            exact.error(),
        );
    }
}

/// Churn with Gaussian data: the closed form of `closed_forms`.
#[test]
fn churn_with_gaussian_data_is_the_closed_form() {
    for (window, t_max) in [
        (PROCESSES[0].clone(), 1.0),
        (PROCESSES[2].clone(), 1.0),
        (PROCESSES[3].clone(), 0.9),
    ] {
        let case = ClosedForm::new((window.0, window.1, t_max), 0.3, 0.4);
        for churn in [0.5, 1.0] {
            let (mean, variance) = case.law(churn);
            let exact = Masses::from_cdf(&BINS, |x| normal::cdf((x - mean) / variance.sqrt()));
            let name = format!("{}, churn {churn}", case.name);
            within_stated(&name, &solve(&case.problem, 0.0, churn), &exact, 0.0);
        }
    }
}

/// Churn with a mixture: the marginals are preserved (vp forgets its data to 4e-5 at t = 1, hence the 1e-4).
#[test]
fn churn_with_a_mixture_gives_the_noised_data() {
    for problem in [
        three_points(1e-2),
        mixture(PROCESSES[0].clone(), &[-0.8, 0.6], &[0.3, 0.2], &[0.4, 0.6]),
    ] {
        let exact = noised_data(&problem, problem.t_min, &BINS);
        within_stated("mixture", &solve(&problem, 0.0, 1.0), &exact, 1e-4);
    }
}

/// Naive family with Gaussian data: the posterior variance v sigma^2/l^2 does not depend on x, so the noise is additive
/// and the law stays Gaussian: with y = (x - alpha m)/l, dy = noise of variance kappa b^2 v sigma^2/l^4 dtau.
#[test]
fn proxy_noise_with_gaussian_data_is_the_closed_form() {
    let case = ClosedForm::new(PROCESSES[0].clone(), 0.3, 0.4);
    let (problem, v) = (&case.problem, 0.16);
    for kappa in [0.05, 0.2] {
        let (mean, variance) = case.law(0.0);
        let l2 = |t: f64| problem.diffusion.alpha(t).powi(2) * v + problem.diffusion.sigma2(t);
        // Uniform in ln t, where the integrand is smooth.
        let added = quadrature::integrate(
            |y| {
                let t = y.exp();
                let (_, b) = problem.diffusion.denoiser_drift(t);
                t * kappa * b * b * v * problem.diffusion.sigma2(t) / l2(t).powi(2)
            },
            problem.t_min.ln(),
            problem.t_max.ln(),
            1e-12,
        )
        .integral;
        let variance = variance + l2(problem.t_min) * added;
        let exact = Masses::from_cdf(&BINS, |x| normal::cdf((x - mean) / variance.sqrt()));
        within_stated(
            &format!("kappa {kappa}"),
            &solve(problem, kappa, 0.0),
            &exact,
            0.0,
        );
    }
}

/// The naive family of experiments/naive.toml, sampled as it is defined: 100 000 trajectories.
fn sampled(kappa: f64, t_min: f64, steps: usize) -> (Masses, NoiseFloor) {
    let overrides = [
        format!("model.kappa={kappa}"),
        format!("diffusion.t_min={t_min}"),
        format!("sampler.steps={steps}"),
    ];
    let spec = vkernel::spec::load(&experiment_file("naive.toml"), &overrides, None).unwrap();
    let experiment = &spec.cases[0].experiment;
    let monte_carlo = MonteCarlo::new(experiment, 17 + steps as u64);
    let mut ensemble = Ensemble::new(monte_carlo.readout().grid.clone());
    ensemble
        .extend(
            100,
            || monte_carlo.scratch(),
            |scratch, i| monte_carlo.member(scratch, i),
            |_| Ok(()),
        )
        .unwrap();
    (ensemble.mean(), ensemble.noise_floor())
}

/// Where one step's jumps are small the sampled family is the solution, within its sampling noise; and the noise of the
/// target is what made the difference from the exact score.
#[test]
fn small_proxy_jumps_are_white_noise() {
    let (kappa, t_min) = (0.05, 0.1);
    let problem = three_points(t_min);
    let solution = solve(&problem, kappa, 0.0);
    let quiet = solve(&problem, 0.0, 0.0);
    let effect = total_variation(&solution.estimate.masses, &quiet.estimate.masses);
    let (masses, floor) = sampled(kappa, t_min, 500);
    let tv = total_variation(&solution.estimate.masses, &masses);
    println!(
        "TV {tv:.4}, floor {:.4} (95 %: {:.4}), effect of the noise {effect:.4}",
        floor.mean.tv, floor.tv_95
    );
    assert!(
        tv < floor.tv_95 + solution.estimate.error(),
        "{tv} {floor:?}"
    );
    assert!(effect > 4.0 * floor.mean.tv, "{effect}");
}

/// Larger jumps keep their skew: the distance falls like the square root of the step (D4.3). The sampling noise is taken
/// out in quadrature; it leaves about 10 % in each distance, 0.1 in the slope.
#[test]
fn naive_sampling_tends_to_the_equation_at_order_one_half() {
    let (kappa, t_min) = (0.2, 1e-2);
    let solution = solve(&three_points(t_min), kappa, 0.0);
    let points: Vec<(f64, f64)> = [80, 240, 720]
        .iter()
        .map(|&steps| {
            let (masses, floor) = sampled(kappa, t_min, steps);
            let tv = total_variation(&solution.estimate.masses, &masses);
            println!("{steps} steps: TV {tv:.4}, floor {:.4}", floor.mean.tv);
            (
                steps as f64,
                (tv * tv - floor.mean.tv.powi(2)).max(1e-12).sqrt(),
            )
        })
        .collect();
    let order = -log_slope(&points);
    println!("order {order:.3}");
    assert!((order - 0.5).abs() < 0.25, "{order} {points:?}");
}
