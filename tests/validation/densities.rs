//! Density solvers for one field and for Gaussian fields.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use vkernel::compare::total_variation;
use vkernel::density::{
    Bins, DensityError, GaussianField, Generator, Masses, PushForward, RandomField, Refinement,
    flow_tangents, loop_terms, mean_field, noised_data, semiclassical,
};
use vkernel::experiment::Scheme;
use vkernel::family::{Denoiser, Family, Linear, LinearDenoiser};
use vkernel::numerics::normal;
use vkernel::problem::{LinePosterior, Objective, Prediction, Problem, Training, Weighting};
use vkernel::sampler::PfOde;
use vkernel::statistics::{VKernel, WeightStatistics, sandwich};

use super::common::*;

/// A denoiser that makes a single DDIM step from t_max to t_min do x -> g(x).
struct Map<G> {
    c: f64,
    d: f64,
    g: G,
}

impl<G: Fn(f64) -> f64 + Sync> Denoiser for Map<G> {
    fn denoise(&self, _t: f64, x: &[f64], denoised: &mut [f64]) {
        for (o, x) in denoised.iter_mut().zip(x) {
            *o = ((self.g)(*x) - self.c * x) / self.d;
        }
    }
    fn denoise_with_slope(&self, _: f64, _: &[f64], _: &mut [f64], _: &mut [f64]) {
        unreachable!("the push-forward needs values only")
    }
}

/// The push-forward of N(0, sigma_T^2) through g, with the solver's own statement of its error.
fn push(g: impl Fn(f64) -> f64 + Sync, bins: &Bins) -> (PushForward, f64) {
    let problem = three_points(1e-2);
    let d = &problem.diffusion;
    let c = d.sigma(problem.t_min) / d.sigma(problem.t_max);
    let model = Map {
        c,
        d: d.alpha(problem.t_min) - d.alpha(problem.t_max) * c,
        g,
    };
    let flow = PfOde::new(&problem, &options(Scheme::Ddim, 1, 1e-8));
    let (estimate, push) = mean_field(&flow, &model, bins).unwrap();
    (push, estimate.error())
}

#[test]
fn push_forward_of_known_maps() {
    let bins = Bins {
        low: -2.0,
        high: 3.0,
        count: 50,
    };
    let sigma = VP.sigma(1.0);
    let law =
        |inverse: &dyn Fn(f64) -> f64| Masses::from_cdf(&bins, |x| normal::cdf(inverse(x) / sigma));
    // Affine, growing and convex (lognormal), steep at 0 and flat elsewhere (two narrow peaks), decreasing slope.
    let affine = (
        push(|x| 0.4 - 0.0 * x + 0.7 * x, &bins),
        law(&|y| (y - 0.4) / 0.7),
    );
    let lognormal = (
        push(f64::exp, &bins),
        law(&|y| if y > 0.0 { y.ln() } else { -40.0 }),
    );
    let cubic = (push(|x| x * x * x, &bins), law(&|y: f64| y.cbrt()));
    let step = (
        push(|x| (x / 1e-3).tanh() + 0.05 * x, &bins),
        // Inverted by bisection: the map is monotone.
        law(&|y| {
            let (mut a, mut b) = (-60.0, 60.0);
            for _ in 0..200 {
                let m = 0.5 * (a + b);
                if (m / 1e-3_f64).tanh() + 0.05 * m < y {
                    a = m
                } else {
                    b = m
                }
            }
            0.5 * (a + b)
        }),
    );
    for (name, ((push, stated), exact)) in [
        ("affine", affine),
        ("lognormal", lognormal),
        ("cubic", cubic),
        ("step", step),
    ] {
        let tv = total_variation(&push.masses, &exact);
        println!(
            "{name}: TV {tv:.1e}, stated {stated:.1e}, unresolved {:.1e}",
            push.unresolved
        );
        assert!(tv <= stated && stated < 2e-3, "{name}: {tv:e} {stated:e}");
        assert!(!push.folds, "{name}");
        close(push.masses.total(), 1.0, 1.0, 1e-12, name);
    }
}

/// x -> x^2 folds: reported, and still the chi-square law.
#[test]
fn push_forward_reports_folds() {
    let bins = Bins {
        low: -1.0,
        high: 4.0,
        count: 50,
    };
    let sigma = VP.sigma(1.0);
    let (push, _) = push(|x| x * x, &bins);
    let exact = Masses::from_cdf(&bins, |y| {
        if y <= 0.0 {
            0.0
        } else {
            1.0 - 2.0 * normal::cdf(-y.sqrt() / sigma)
        }
    });
    assert!(push.folds);
    let tv = total_variation(&push.masses, &exact);
    // 2048 quantiles: the pair around the fold alone carries 1/2048.
    assert!(tv < 2e-3, "{tv:e}");
}

/// p(x|t) by its cumulative against the density of the posterior, integrated.
#[test]
fn noised_data_is_the_integrated_density() {
    let bins = Bins {
        low: -1.7,
        high: 1.9,
        count: 36,
    };
    for window in PROCESSES {
        let problem = mixture(
            window,
            &[-1.0, 0.2, 0.9],
            &[0.2, 0.0, 0.4],
            &[0.3, 0.3, 0.4],
        );
        for t in [0.05, 0.4, 0.9] {
            let line = LinePosterior::new(&problem, t);
            let masses = noised_data(&problem, t, &bins);
            for (i, mass) in masses.inside().iter().enumerate() {
                let density = |x: f64| line.at(x).log_density.exp();
                // Quarters of a bin: no component is narrower.
                let exact: f64 = (0..4)
                    .map(|k| {
                        let low = bins.edge(i) + 0.25 * bins.width() * f64::from(k);
                        quadrature::integrate(density, low, low + 0.25 * bins.width(), 1e-14)
                            .integral
                    })
                    .sum();
                // The normal cdf comes from an erfc that is good to 2.4e-11 (1e-10 of itself).
                close(*mass, exact, 1.0, 5e-11, "bin");
            }
            close(masses.total(), 1.0, 1.0, 1e-14, "total");
        }
    }
}

fn protocol(samples: usize) -> Training {
    Training {
        objective: Objective::Dsm,
        weighting: Weighting::Snr,
        samples,
        draws: 1,
        ridge: 0.1,
        time: None,
    }
}

/// A family small enough for brute force, with its statistics.
fn small() -> (Problem, Linear, WeightStatistics) {
    let problem = three_points(1e-2);
    let family = small_family(&problem, 6, 3, Prediction::Denoiser);
    let weights = sandwich(&problem, &family, &protocol(1000))
        .unwrap()
        .weights;
    (problem, family, weights)
}

fn scaled(weights: &WeightStatistics, factor: f64) -> WeightStatistics {
    WeightStatistics {
        mean: weights.mean.clone(),
        covariance: &weights.covariance * factor,
    }
}

fn ends(
    problem: &Problem,
    family: &Linear,
    flow: &PfOde,
    weights: &DVector<f64>,
    starts: &[f64],
) -> Vec<f64> {
    let mut x = starts.to_vec();
    let model = LinearDenoiser {
        family,
        diffusion: &problem.diffusion,
        weights: weights.as_slice(),
    };
    flow.flow(&model, &mut x).unwrap();
    x
}

const STARTS: [f64; 5] = [-1.8, -0.6, 0.1, 0.45, 1.3];

/// d x_0/dW by sixth-order differences of the flow, for every scheme and prediction type.
#[test]
fn tangents_are_the_derivative_of_the_flow() {
    // A cutoff at which 20 steps of every scheme are stable: the differences need a smooth map.
    let problem = three_points(0.1);
    for predicts in [Prediction::Denoiser, Prediction::Score, Prediction::Noise] {
        let family = small_family(&problem, 4, 2, predicts);
        let weights = sandwich(&problem, &family, &protocol(1000))
            .unwrap()
            .weights;
        for scheme in [Scheme::Euler, Scheme::Ddim, Scheme::Heun] {
            let flow = PfOde::new(&problem, &options(scheme, 20, 1e-8));
            let tangents = flow_tangents(&problem, &family, &flow, &weights, &STARTS).unwrap();
            let x = ends(&problem, &family, &flow, &weights.mean, &STARTS);
            for (k, start) in STARTS.iter().enumerate() {
                close(tangents.end[k], x[k], 1.0 + x[k].abs(), 1e-13, "end");
                let column = tangents.tangent.column(k);
                for f in 0..family.features.len() {
                    let moved = |e: f64| {
                        let mut w = weights.mean.clone();
                        w[f] += e;
                        ends(&problem, &family, &flow, &w, &[*start])[0]
                    };
                    let h = 5e-4 / (1.0 + column.amax());
                    // What halving the step changes, and rounding of the end points (amplified along the flow) over h.
                    let (fine, coarse) = (slope(moved, 0.0, h), slope(moved, 0.0, 2.0 * h));
                    let allowed = (fine - coarse).abs() + 3e-8 * (1.0 + column.amax());
                    close(column[f], fine, allowed, 1.0, "tangent");
                    assert!(allowed < 1e-5 * (1.0 + column.amax()), "{allowed:e}");
                }
            }
        }
    }
}

/// The one-loop shift is (1/2) tr(Cov d2 x_0/dW2), the trace by second differences along the columns of the factor.
#[test]
fn one_loop_shift_is_half_the_trace_of_the_hessian() {
    let (problem, family, weights) = small();
    // The mean does not depend on the covariance's scale; a small one keeps the differences smooth.
    let weights = scaled(&weights, 1e-2);
    let kernel = VKernel::new(&problem, &family, &weights, 0.0).unwrap();
    for scheme in [Scheme::Euler, Scheme::Ddim] {
        let flow = PfOde::new(&problem, &options(scheme, 20, 1e-8));
        let terms = loop_terms(&problem, &family, &flow, &weights, &STARTS).unwrap();
        for (k, start) in STARTS.iter().enumerate() {
            let at = |direction: DVector<f64>, e: f64| {
                ends(
                    &problem,
                    &family,
                    &flow,
                    &(&weights.mean + direction * e),
                    &[*start],
                )[0]
            };
            let mut trace = 0.0;
            for column in kernel.factor().column_iter() {
                // Sixth-order second difference.
                let h = 2e-2;
                let even =
                    |m: f64| at(column.into_owned(), m * h) + at(column.into_owned(), -m * h);
                trace += (270.0 * even(1.0) - 27.0 * even(2.0) + 2.0 * even(3.0)
                    - 490.0 * at(column.into_owned(), 0.0))
                    / (180.0 * h * h);
            }
            let (size, shift) = (terms[k].variance, terms[k].mean_correction);
            println!(
                "{scheme:?}, start {start}: shift {shift:.6e}, differences {:.6e}",
                0.5 * trace
            );
            // Rounding 1e-16 x 490/180/h^2 a column, truncation h^6.
            close(shift, 0.5 * trace, size + shift.abs() + 1e-3, 1e-6, "shift");
        }
    }
}

#[test]
fn one_loop_needs_a_one_stage_scheme() {
    let (problem, family, weights) = small();
    let bins = Bins {
        low: -1.5,
        high: 1.5,
        count: 30,
    };
    for scheme in [Scheme::Heun, Scheme::Adaptive] {
        let flow = PfOde::new(&problem, &options(scheme, 20, 1e-6));
        let outcome = semiclassical(&problem, &family, &flow, &weights, true, &bins);
        assert_eq!(outcome.err(), Some(DensityError::OneLoopScheme));
    }
}

/// In the linear regime (covariance scaled by 1e-6) the variance of sampled flow maps is J Cov J^T.
#[test]
fn semiclassical_variance_against_sampled_weights() {
    let (problem, family, weights) = small();
    let weights = scaled(&weights, 1e-6);
    let kernel = VKernel::new(&problem, &family, &weights, 0.0).unwrap();
    let flow = PfOde::new(&problem, &options(Scheme::Ddim, 80, 1e-8));
    let tangents = flow_tangents(&problem, &family, &flow, &weights, &STARTS).unwrap();
    let n = 20_000;
    let draws: Vec<Vec<f64>> = (0..n)
        .into_par_iter()
        .map(|i| {
            let mut rng = vkernel::monte_carlo::model_rng(3, i);
            let eta = DVector::from_fn(kernel.rank(), |_, _| normal(&mut rng));
            ends(
                &problem,
                &family,
                &flow,
                &(&weights.mean + kernel.factor() * eta),
                &STARTS,
            )
        })
        .collect();
    for k in 0..STARTS.len() {
        let x: Vec<f64> = draws.iter().map(|d| d[k]).collect();
        let (mean, variance) = moments(&x);
        let j = tangents.tangent.column(k);
        let theory = j.dot(&(&weights.covariance * j));
        println!(
            "start {}: ratio of variances {:.4}",
            STARTS[k],
            variance / theory
        );
        // 5 standard errors; corrections are of the order of the scale, 1e-6 times (variance/basin width^2).
        close(
            variance,
            theory,
            theory * (2.0 / n as f64).sqrt(),
            5.0,
            "variance",
        );
        close(
            mean,
            tangents.end[k],
            (theory / n as f64).sqrt(),
            5.0,
            "mean",
        );
    }
}

/// Without fluctuations the semiclassical density and the Gaussian field are the mean field.
#[test]
fn no_fluctuations_is_mean_field() {
    let (problem, family, weights) = small();
    let bins = Bins {
        low: -1.5,
        high: 1.5,
        count: 60,
    };
    let flow = PfOde::new(&problem, &options(Scheme::Ddim, 80, 1e-8));
    let model = LinearDenoiser {
        family: &family,
        diffusion: &problem.diffusion,
        weights: weights.mean.as_slice(),
    };
    let (mean, _) = mean_field(&flow, &model, &bins).unwrap();
    for (factor, loops) in [(0.0, false), (1e-14, false), (0.0, true), (1e-14, true)] {
        let narrow = scaled(&weights, factor);
        let solution = semiclassical(&problem, &family, &flow, &narrow, loops, &bins).unwrap();
        assert_eq!(solution.loops.map(|l| l.refused), loops.then_some(0.0));
        let tv = total_variation(&solution.estimate.masses, &mean.masses);
        let stated = solution.estimate.error() + mean.error();
        println!("covariance x {factor:e}: TV {tv:.1e}, stated errors {stated:.1e}");
        assert!(tv <= stated, "{tv:e} {stated:e}");
        close(solution.estimate.masses.total(), 1.0, 1.0, 1e-12, "total");
    }
    // The Gaussian field of zero covariance, through the case machinery: bit for bit the push-forward.
    let spec = vkernel::spec::load(&experiment_file("gap.toml"), &[], None).unwrap();
    let experiment = &spec.cases[0].experiment;
    let Family::Linear(family) = &experiment.family else {
        panic!("a linear family")
    };
    let statistics = sandwich(
        &experiment.problem,
        family,
        experiment.training.as_ref().unwrap(),
    )
    .unwrap();
    let size = statistics.weights.mean.len();
    let frozen = WeightStatistics {
        mean: statistics.weights.mean.clone(),
        covariance: DMatrix::zeros(size, size),
    };
    let kernel = VKernel::new(&experiment.problem, family, &frozen, 0.0).unwrap();
    let generator = Generator::new(experiment);
    let field = GaussianField::new(&kernel, &frozen, 1);
    let member = field.member(&generator, 5).unwrap();
    let model = LinearDenoiser {
        family,
        diffusion: &experiment.problem.diffusion,
        weights: frozen.mean.as_slice(),
    };
    let refinement = Refinement::ensemble(experiment.monte_carlo.particles);
    let push = PushForward::new(generator.flow(), &model, generator.bins(), refinement).unwrap();
    assert_eq!(member.masses, push.masses);
    // And the coarse push-forward of an ensemble's member is the fine one within the bound it states.
    let (fine, _) = mean_field(generator.flow(), &model, generator.bins()).unwrap();
    let tv = total_variation(&member.masses, &fine.masses);
    println!(
        "{} quantiles against 2048: TV {tv:.1e}",
        experiment.monte_carlo.particles
    );
    assert!(tv < 1e-2, "{tv:e}");
}
