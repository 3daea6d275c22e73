use super::common::*;
use nalgebra::{DMatrix, DVector};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vkernel::family::Linear;
use vkernel::family::features::{
    Factor, FeatureSet, Features, Gaussian, Polynomial, SpaceFeatures,
};
use vkernel::problem::{
    Data, Diffusion, LinePosterior, Objective, Prediction, Problem, Training, Weighting,
};
use vkernel::statistics::{
    DeterministicEquivalent, Measure, Population, SampleSum, deterministic_equivalent,
};

/// Three Gaussian features of x times two polynomials of t on a mixture with a point mass, `ou` on [0.1, 1.2].
pub struct Case {
    pub problem: Problem,
    pub family: Linear,
    pub training: Training,
}

fn case(samples: usize, objective: Objective, predicts: Prediction) -> Case {
    let data = Data::diagonal_mixture(
        &[vec![-0.6], vec![0.7], vec![1.3]],
        &[vec![0.2], vec![0.0], vec![0.1]],
        Some(&[0.3, 0.3, 0.4]),
    );
    let space = FeatureSet::Gaussian(Gaussian::new(3, -2.0, 2.0, 0.9));
    Case {
        problem: problem(data.unwrap(), Diffusion::Ou, 0.1, 1.2),
        family: Linear {
            features: Features {
                space: SpaceFeatures::Product(vec![Factor::new(vec![space])]),
                time: Factor::new(vec![FeatureSet::Polynomial(Polynomial::new(2, 0.1, 1.2))]),
            },
            predicts,
        },
        training: Training {
            objective,
            weighting: Weighting::Snr,
            samples,
            draws: 1,
            ridge: 0.3,
            time: None,
        },
    }
}

impl Case {
    pub fn solved(&self) -> (Population<'_>, DeterministicEquivalent) {
        let population = Population::new(&self.problem, &self.family, &self.training, 0);
        let de = deterministic_equivalent(
            &population,
            self.training.samples,
            self.training.ridge,
            1e-10,
            None,
        );
        (population, de.unwrap())
    }
}

pub fn noisy() -> Case {
    case(40, Objective::Dsm, Prediction::Denoiser)
}

fn all_cases() -> Vec<Case> {
    vec![
        noisy(),
        case(40, Objective::Esm, Prediction::Denoiser),
        case(10, Objective::Dsm, Prediction::Noise),
    ]
}

/// T13's inhomogeneity: Q { (1/P) E[r^2 z z^T/(1+delta)^2] - (rho^2/P) w w^T } Q.
fn first_term(
    population: &Population<'_>,
    de: &DeterministicEquivalent,
    t: &Training,
) -> DMatrix<f64> {
    let p = t.samples as f64;
    let factor: Vec<f64> = population
        .residual(&de.mean, (0, 0))
        .iter()
        .zip(&de.leverage)
        .map(|(r, d)| r / (p * (1.0 + d).powi(2)))
        .collect();
    let shrink = &de.mean * de.mean.transpose() * (t.ridge * t.ridge / p);
    &de.resolvent * (population.gram(&factor) - shrink) * &de.resolvent
}

fn draws(sum: &SampleSum<'_>, features: usize, n: usize, seed: u64) -> Vec<DVector<f64>> {
    (0..n)
        .map(|m| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(m as u64);
            let mut w = DVector::zeros(features);
            sum.draw(&mut rng, w.as_mut_slice());
            w
        })
        .collect()
}

/// A direction whose u . (W - w) has standard deviation `size` (by the first term of T13).
fn direction(covariance: &DMatrix<f64>, which: usize, size: f64) -> DVector<f64> {
    let u = DVector::from_fn(covariance.nrows(), |f, _| {
        ((f * (which + 2)) as f64 + 0.3 * which as f64).cos()
    });
    let variance = u.dot(&(covariance * &u));
    u * (size / variance.sqrt())
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (square / (n * (n - 1.0))).sqrt())
}

/// The mean of r z/(1+delta) is rho w, so that K has no slope at 0.
#[test]
fn d10_1_influence_has_mean_zero() {
    for case in all_cases() {
        let (population, de) = case.solved();
        let sum = SampleSum::new(&population, &de, &case.training).unwrap();
        let tilt = sum.tilt(&vec![0.0; population.features()]);
        let spread = first_term(&population, &de, &case.training).trace().sqrt();
        // P roundings of a sum of probabilities; the gradient's rounding is relative to the weights' spread.
        assert!(tilt.value().abs() < 1e-12, "{:e}", tilt.value());
        assert!(tilt.gradient().amax() < 1e-12 * spread.max(1.0));
        let shrink: Vec<f64> = de.leverage.iter().map(|d| 1.0 / (1.0 + d)).collect();
        let mean = population.cross(&shrink) - population.gram(&shrink) * &de.mean;
        let gap = (mean - &de.mean * case.training.ridge).amax();
        println!("E[r z/(1+delta)] - rho w: {gap:.1e}");
        // The leverage is solved to 1e-10.
        assert!(gap < 1e-9, "{gap:e}");
    }
}

/// Mean and covariance of draws: w, and T13 without its self-consistent part.
#[test]
fn d10_2_draws_have_the_mean_and_the_first_covariance() {
    for (index, case) in all_cases().into_iter().enumerate() {
        let (population, de) = case.solved();
        let sum = SampleSum::new(&population, &de, &case.training).unwrap();
        let n = 40_000;
        let all = draws(&sum, population.features(), n, 100 + index as u64);
        let theory = first_term(&population, &de, &case.training);
        let (mut first, mut second, mut full) = (0.0f64, 0.0f64, 0.0f64);
        for i in 0..population.features() {
            let own: Vec<f64> = all.iter().map(|w| w[i] - de.mean[(i, 0)]).collect();
            let (value, error) = mean_and_error(&own);
            first = first.max(value.abs() / error);
            for j in 0..=i {
                let products: Vec<f64> = all
                    .iter()
                    .map(|w| (w[i] - de.mean[(i, 0)]) * (w[j] - de.mean[(j, 0)]))
                    .collect();
                let (value, error) = mean_and_error(&products);
                second = second.max((value - theory[(i, j)]).abs() / error);
                full = full.max((value - de.covariances[0][(i, j)]).abs() / error);
            }
        }
        println!(
            "mean {first:.1} se, covariance {second:.1} se (against all of T13 {full:.0}; amplification {:.2}, trace {:.3})",
            de.amplification,
            theory.trace() / de.covariances[0].trace()
        );
        assert!(first < 5.0 && second < 5.0);
    }
}

/// P ln E exp(u . psi/P) from the joint law of (t, x0, x), in the order in which a sample is made: no posterior
/// anywhere. Gauss-Hermite rules of `hermite` nodes and a Gauss-Legendre rule of `legendre` times.
fn direct(
    case: &Case,
    de: &DeterministicEquivalent,
    u: &DVector<f64>,
    (hermite, legendre): (usize, usize),
) -> f64 {
    let (problem, p) = (&case.problem, case.training.samples as f64);
    let (rule, w) = (normal_rule(hermite), de.mean.column(0));
    let v = &de.resolvent * u;
    let mut total = 0.0;
    for (t, wt) in legendre_rule(legendre, problem.t_min, problem.t_max) {
        let (alpha, sigma) = (problem.diffusion.alpha(t), problem.diffusion.sigma(t));
        let root = case
            .training
            .lambda(problem, case.family.predicts, t)
            .sqrt();
        for (c, weight) in problem.data.components().iter().zip(problem.data.weights()) {
            let spread = c.variances[0].sqrt();
            let clean: &[(f64, f64)] = if spread > 0.0 { &rule } else { &[(0.0, 1.0)] };
            for (a, wa) in clean {
                let x0 = c.mean[0] + spread * a;
                for (b, wb) in &rule {
                    let mut z = DVector::zeros(u.len());
                    let x = alpha * x0 + sigma * b;
                    case.family.features.values(&[x], t, z.as_mut_slice());
                    z *= root;
                    let delta = z.dot(&(&de.resolvent * &z)) / p;
                    let pull = v.dot(&z) * (root * x0 - z.dot(&w)) / (1.0 + delta);
                    let psi = pull - case.training.ridge * v.dot(&w);
                    total += wt * weight * wa * wb * (psi / p).exp_m1();
                }
            }
        }
    }
    p * (total / (problem.t_max - problem.t_min)).ln_1p()
}

#[test]
fn d10_3_generating_function_from_its_definition() {
    let case = noisy();
    let at = |level: u32, u: &DVector<f64>| {
        let population = Population::new(&case.problem, &case.family, &case.training, level);
        let de = deterministic_equivalent(&population, 40, 0.3, 1e-10, None).unwrap();
        let sum = SampleSum::new(&population, &de, &case.training).unwrap();
        let value = sum.tilt(u.as_slice()).value();
        (value, de)
    };
    let (population, de) = case.solved();
    let covariance = first_term(&population, &de, &case.training);
    for which in 0..3 {
        let u = direction(&covariance, which, 1.5);
        let (coarse, _) = at(0, &u);
        let (value, de) = at(1, &u);
        let (rough, fine) = (
            direct(&case, &de, &u, (32, 36)),
            direct(&case, &de, &u, (44, 48)),
        );
        // Both sides change by more than their error when refined; 1e-9 for the fixed points' tolerance.
        let allowed = (value - coarse).abs() + (fine - rough).abs() + 1e-9;
        println!(
            "K {value:.9}, from the definition {fine:.9}: {:.1e} of {allowed:.1e}",
            value - fine
        );
        assert!((value - fine).abs() < allowed);
    }
}

/// The posterior's moment generating function: by quadrature over x0, and its derivatives.
#[test]
fn d10_4_tilted_posterior() {
    let case = noisy();
    for t in [0.1, 0.4, 1.2] {
        let posterior = LinePosterior::new(&case.problem, t);
        let full = |x: f64| case.problem.posterior(&[x], t);
        for x in [-1.5, 0.2, 0.9] {
            for tau in [-3.0, 0.0, 0.7, 40.0] {
                let tilted = posterior.tilted(x, tau);
                let log = |tau: f64| posterior.tilted(x, tau).log;
                // Sixth-order differences with step 0.05: truncation below 1e-8 for cumulants of order one.
                close(slope(log, tau, 0.05), tilted.mean, 1e-7, "mean");
                close(curvature(log, tau, 0.05), tilted.variance, 1e-7, "variance");
            }
            let at = full(x);
            let still = posterior.tilted(x, 0.0);
            close(still.mean, at.mean[0], 1e-13, "untilted mean");
            close(
                still.variance,
                at.covariance[(0, 0)],
                1e-12,
                "untilted variance",
            );
            close(still.log, 0.0, 1e-14, "normalised");
        }
        // Far out in tau nothing overflows: the component with the largest reach wins.
        let far = posterior.tilted(0.3, 1e6);
        assert!(far.log.is_finite() && far.variance > 0.0);
        // One Gaussian component by quadrature.
        let one = Data::diagonal_mixture(&[vec![0.4]], &[vec![0.3]], None).unwrap();
        let single = problem(one, Diffusion::Ou, 0.1, 1.2);
        let at = single.posterior(&[0.1], t);
        let direct: f64 = normal_rule(30)
            .iter()
            .map(|(z, w)| w * (1.7 * (at.mean[0] + at.covariance[(0, 0)].sqrt() * z)).exp())
            .sum();
        close(
            LinePosterior::new(&single, t).tilted(0.1, 1.7).log,
            direct.ln(),
            1e-13,
            "log",
        );
    }
}

#[test]
fn d10_5_gradient_and_hessian_of_the_generating_function() {
    for case in all_cases() {
        let (population, de) = case.solved();
        let sum = SampleSum::new(&population, &de, &case.training).unwrap();
        let covariance = first_term(&population, &de, &case.training);
        let zero = vec![0.0; population.features()];
        // At 0 the Hessian is T13's first term.
        let still = sum.tilt(&zero);
        for f in 0..population.features() {
            let mut unit = zero.clone();
            unit[f] = 1.0;
            let gap = (still.hessian_times(&unit) - covariance.column(f)).amax();
            // rho w is replaced by the quadrature's own mean, equal to 1e-10.
            assert!(gap < 1e-9 * covariance.amax(), "{gap:e}");
        }
        for size in [0.5, 3.0] {
            let u = direction(&covariance, 0, size);
            let h = direction(&covariance, 1, 1.0);
            let along = |s: f64| sum.tilt((&u + &h * s).as_slice());
            let tilt = along(0.0);
            // In units of standard deviations K's cumulants are of order one; step 0.02, sixth order: truncation
            // below 1e-9; rounding of K, P epsilon = 1e-14, over the step.
            let first = slope(|s| along(s).value(), 0.0, 0.02);
            close(first, tilt.gradient().dot(&h), 1e-8, "gradient");
            let bend = tilt.hessian_times(h.as_slice());
            for f in 0..population.features() {
                let second = slope(|s| along(s).gradient()[f], 0.0, 0.02);
                let scale = covariance[(f, f)].sqrt();
                close(second / scale, bend[f] / scale, 1e-8, "Hessian");
            }
            // Symmetric and positive.
            let other = tilt.hessian_times(u.as_slice()).dot(&h);
            close(other, bend.dot(&u), 1e-11, "symmetric");
            assert!(bend.dot(&h) > 0.0);
        }
    }
}

/// K(u) is the logarithm of the mean of exp(u . (W - w)) over draws; its third derivative is their third cumulant.
#[test]
fn d10_6_generating_function_and_third_cumulant_of_draws() {
    for (index, case) in all_cases().into_iter().enumerate() {
        let (population, de) = case.solved();
        let sum = SampleSum::new(&population, &de, &case.training).unwrap();
        let covariance = first_term(&population, &de, &case.training);
        let all = draws(&sum, population.features(), 40_000, 200 + index as u64);
        for which in 0..3 {
            let u = direction(&covariance, which, 1.0);
            let phases: Vec<f64> = all
                .iter()
                .map(|w| u.dot(&(w - de.mean.column(0))))
                .collect();
            for sign in [1.0, -1.0] {
                let own: Vec<f64> = phases.iter().map(|p| (sign * p).exp()).collect();
                let (value, error) = mean_and_error(&own);
                let theory = sum.tilt((&u * sign).as_slice()).value();
                let off = (value.ln() - theory) * value / error;
                println!(
                    "K {theory:.5}, draws {:.5} ({off:.1} se); Gaussian 0.5",
                    value.ln()
                );
                assert!(off.abs() < 5.0);
            }
            // Third cumulant: the slope of the second along u, truncation of order 1e-8.
            let second = |s: f64| {
                let tilt = sum.tilt((&u * s).as_slice());
                tilt.hessian_times(u.as_slice()).dot(&u)
            };
            let third = slope(second, 0.0, 0.02);
            let cubes: Vec<f64> = phases.iter().map(|p| p.powi(3)).collect();
            let (value, error) = mean_and_error(&cubes);
            println!("third cumulant {third:.4}, draws {value:.4} +- {error:.4}");
            assert!((value - third).abs() < 5.0 * error);
        }
    }
}

/// The sum is what it is called: cumulants of order n fall as P^(1-n).
#[test]
fn d10_7_cumulants_fall_with_the_number_of_samples() {
    let mut third = Vec::new();
    for samples in [1000, 4000, 16000] {
        let case = case(samples, Objective::Dsm, Prediction::Denoiser);
        let (population, de) = case.solved();
        let sum = SampleSum::new(&population, &de, &case.training).unwrap();
        let covariance = first_term(&population, &de, &case.training);
        let u = direction(&covariance, 0, 1.0);
        let second = |s: f64| {
            let tilt = sum.tilt((&u * s).as_slice());
            tilt.hessian_times(u.as_slice()).dot(&u)
        };
        third.push((samples as f64, slope(second, 0.0, 0.02).abs()));
    }
    // With u scaled to unit variance (u ~ P^1/2), the third cumulant is of order P^-1/2.
    let rate = log_slope(&third);
    println!("{third:?} slope {rate:.4}");
    // F/P = 0.6 % at the first point.
    assert!((rate + 0.5).abs() < 0.006);
}

#[test]
fn d10_8_a_draw_depends_on_its_generator_alone() {
    let case = noisy();
    let (population, de) = case.solved();
    let sum = SampleSum::new(&population, &de, &case.training).unwrap();
    let again = SampleSum::new(&population, &de, &case.training).unwrap();
    let bits = |s: &SampleSum<'_>| -> Vec<u64> {
        draws(s, population.features(), 3, 7)
            .iter()
            .flat_map(|w| w.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
            .collect()
    };
    assert_eq!(bits(&sum), bits(&again));
}
