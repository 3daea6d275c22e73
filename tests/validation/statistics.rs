//! Population averages and the sandwich against brute-force integration, plain Monte Carlo, solvable cases and
//! trained models.

use nalgebra::{DMatrix, DVector};
use quadrature::double_exponential;
use rayon::prelude::*;
use vkernel::family::Linear;
use vkernel::family::features::{
    Factor, FeatureSet, Features, Fourier, Gaussian, Polynomial, SpaceFeatures,
};
use vkernel::monte_carlo::{Trainer, model_rng};
use vkernel::problem::{Diffusion, Objective, Prediction, Problem, Training, Triple, Weighting};
use vkernel::statistics::{Measure, Population, StatisticsError, sandwich};

use super::common::*;

fn training(objective: Objective, weighting: Weighting, samples: usize, ridge: f64) -> Training {
    Training {
        objective,
        weighting,
        samples,
        draws: 1,
        ridge,
        time: None,
    }
}

/// Problems, families and protocols with few features.
fn cases() -> Vec<(&'static str, Problem, Linear, Training)> {
    let points = three_points(1e-2);
    let skewed = mixture(
        PROCESSES[2].clone(),
        &[-0.7, 0.9],
        &[0.0, 0.4],
        &[0.35, 0.65],
    );
    let flow = mixture(PROCESSES[3].clone(), &[-0.5, 0.8], &[0.1, 0.0], &[0.6, 0.4]);
    let fourier = Linear {
        features: Features {
            space: SpaceFeatures::Product(vec![factor(FeatureSet::Fourier(Fourier::new(
                3, -2.0, 2.0,
            )))]),
            time: Factor::default(),
        },
        predicts: Prediction::Noise,
    };
    vec![
        (
            "three points, gaussian x polynomial, snr",
            points.clone(),
            small_family(&points, 2, 2, Prediction::Denoiser),
            training(Objective::Dsm, Weighting::Snr, 100, 0.1),
        ),
        (
            "ou, gaussian, uniform, noise",
            skewed.clone(),
            small_family(&skewed, 3, 1, Prediction::Noise),
            training(Objective::Dsm, Weighting::Uniform, 100, 0.2),
        ),
        (
            "flow, fourier, sigma2, exact objective",
            flow,
            fourier,
            training(Objective::Esm, Weighting::Sigma2, 100, 0.05),
        ),
    ]
}

fn phi(family: &Linear, x: f64, t: f64) -> Vec<f64> {
    let mut out = vec![0.0; family.features.len()];
    family.features.values(&[x], t, &mut out);
    out
}

/// E over t and x of g(x, t, E[y|x,t], Var(y|x,t)), one component and one octave of time after the other, by nested
/// double-exponential quadrature.
fn brute_force(
    problem: &Problem,
    family: &Linear,
    training: &Training,
    size: f64,
    g: &(dyn Fn(f64, f64, f64, f64) -> f64 + Sync),
) -> f64 {
    let span = problem.t_max - problem.t_min;
    let mut edges = vec![problem.t_min];
    while edges[edges.len() - 1] < problem.t_max {
        edges.push((1.7 * edges[edges.len() - 1]).min(problem.t_max));
    }
    let slice = |t: f64| -> f64 {
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        let r = family.predicts.regression(&problem.diffusion, t);
        let value = |x: f64| {
            let (mean, variance) = posterior_by_hand(problem, alpha, sigma2, x);
            let noise = match training.objective {
                Objective::Dsm => r.p * r.p * variance,
                Objective::Esm => 0.0,
            };
            g(x, t, r.p * mean + r.q * x, noise)
        };
        problem
            .data
            .components()
            .iter()
            .zip(problem.data.weights())
            .map(|(c, w)| {
                let std = (alpha * alpha * c.variances[0] + sigma2).sqrt();
                let normal = |z: f64| (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
                let integrand = |z: f64| normal(z) * value(alpha * c.mean[0] + std * z);
                // Cut where the integrand may turn: at every component's centre and a few of its widths from it.
                let mut cuts = vec![-8.8, 8.8];
                for o in problem.data.components() {
                    let other = (alpha * alpha * o.variances[0] + sigma2).sqrt();
                    for k in [-5.0, -2.0, 0.0, 2.0, 5.0] {
                        cuts.push((alpha * (o.mean[0] - c.mean[0]) + k * other) / std);
                    }
                }
                cuts.retain(|z| z.abs() <= 8.8);
                cuts.sort_by(f64::total_cmp);
                let sum: f64 = cuts
                    .windows(2)
                    .filter(|k| k[1] - k[0] > 1e-9)
                    .map(|k| {
                        double_exponential::integrate(integrand, k[0], k[1], 1e-13 * size).integral
                    })
                    .sum();
                w * sum
            })
            .sum()
    };
    edges
        .par_windows(2)
        .map(|w| {
            double_exponential::integrate(slice, w[0], w[1], 1e-11 * size * span).integral / span
        })
        .sum()
}

/// Posterior mean and variance of x0, written out.
fn posterior_by_hand(problem: &Problem, alpha: f64, sigma2: f64, x: f64) -> (f64, f64) {
    let terms = || {
        let data = &problem.data;
        data.components().iter().zip(data.weights()).map(|(c, w)| {
            let (m, v) = (c.mean[0], c.variances[0]);
            let marginal = alpha * alpha * v + sigma2;
            let z = (x - alpha * m) / marginal.sqrt();
            let log = w.ln() - 0.5 * (z * z + marginal.ln());
            let mean = m + alpha * v * (x - alpha * m) / marginal;
            (log, mean, v * sigma2 / marginal)
        })
    };
    let top = terms().map(|k| k.0).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms().map(|k| (k.0 - top).exp()).sum();
    let mean: f64 = terms().map(|k| (k.0 - top).exp() / sum * k.1).sum();
    let variance = terms()
        .map(|k| (k.0 - top).exp() / sum * (k.2 + (k.1 - mean).powi(2)))
        .sum();
    (mean, variance)
}

#[test]
fn weights_sum_to_one_at_every_level() {
    for (name, problem, family, training) in cases() {
        for level in 0..3 {
            let population = Population::new(&problem, &family, &training, level);
            let total: f64 = population.weights().iter().sum();
            println!("{name}, level {level}: total - 1 = {:.1e}", total - 1.0);
            // Panels of one standard deviation, 8 nodes each, to 8.6 standard deviations: 1e-12 at the coarsest.
            close(total, 1.0, 1.0, 1e-11, name);
        }
    }
}

/// The estimate that memory is refused by, against what is laid.
#[test]
fn nodes_are_estimated_to_a_factor_of_two() {
    for (name, problem, family, training) in cases() {
        let laid = Population::new(&problem, &family, &training, 0).nodes() as f64;
        let estimated = Population::coarsest_nodes(&problem, &family) as f64;
        println!("{name}: {estimated} estimated, {laid} laid");
        assert!((0.5..=2.0).contains(&(estimated / laid)), "{name}");
    }
}

/// Sigma, A and the residual Gram matrix, element by element.
#[test]
fn moments_against_double_exponential_quadrature() {
    for (name, problem, family, training) in cases() {
        let population = Population::new(&problem, &family, &training, 2);
        let ones = vec![1.0; population.nodes()];
        let (sigma_all, target_all) = (population.gram(&ones), population.cross(&ones));
        let f = family.features.len();
        let weights = DVector::from_fn(f, |i, _| 0.3 - 0.2 * i as f64);
        let matrix = DMatrix::from_column_slice(f, 1, weights.as_slice());
        let gram = population.gram(&population.residual(&matrix, (0, 0)));
        let lambda = |t: f64| training.lambda(&problem, family.predicts, t);
        for (i, j) in [(0, 0), (0, f - 1), (1, f - 1)] {
            let size = sigma_all.amax();
            let sigma = brute_force(&problem, &family, &training, size, &|x, t, _, _| {
                let v = phi(&family, x, t);
                lambda(t) * v[i] * v[j]
            });
            close(sigma_all[(i, j)], sigma, sigma_all.amax(), 1e-9, name);
            close(sigma_all[(j, i)], sigma, sigma_all.amax(), 1e-9, name);
            let residual = brute_force(
                &problem,
                &family,
                &training,
                gram.amax(),
                &|x, t, mean, noise| {
                    let v = phi(&family, x, t);
                    let r = mean
                        - v.iter()
                            .zip(weights.iter())
                            .map(|(a, b)| a * b)
                            .sum::<f64>();
                    lambda(t).powi(2) * (noise + r * r) * v[i] * v[j]
                },
            );
            close(gram[(i, j)], residual, gram.amax(), 1e-9, name);
        }
        for i in [0, f - 1] {
            let size = target_all.amax();
            let target = brute_force(&problem, &family, &training, size, &|x, t, mean, _| {
                lambda(t) * mean * phi(&family, x, t)[i]
            });
            close(target_all[i], target, target_all.amax(), 1e-9, name);
        }
    }
}

/// The same by sampling, with the noisy target itself: 5 standard errors of 10^6 triples.
#[test]
fn moments_against_plain_monte_carlo() {
    for (name, problem, family, training) in cases() {
        let population = Population::new(&problem, &family, &training, 1);
        let ones = vec![1.0; population.nodes()];
        let (sigma_all, target_all) = (population.gram(&ones), population.cross(&ones));
        let f = family.features.len();
        let weights = DVector::from_fn(f, |i, _| 0.3 - 0.2 * i as f64);
        let matrix = DMatrix::from_column_slice(f, 1, weights.as_slice());
        let gram = population.gram(&population.residual(&matrix, (0, 0)));
        let expected: Vec<f64> = sigma_all
            .iter()
            .chain(target_all.iter())
            .chain(gram.iter())
            .copied()
            .collect();
        let blocks = 16;
        let per_block = 62_500;
        let sums: Vec<Vec<(f64, f64)>> = (0..blocks)
            .into_par_iter()
            .map(|block| {
                let mut rng = model_rng(11, block);
                let mut z = Triple {
                    t: 0.0,
                    x0: vec![0.0],
                    x: vec![0.0],
                };
                let mut sums = vec![(0.0, 0.0); expected.len()];
                for _ in 0..per_block {
                    problem.sample_triple(&mut rng, &mut z);
                    let v = phi(&family, z.x[0], z.t);
                    let l = training.lambda(&problem, family.predicts, z.t);
                    let r = family.predicts.regression(&problem.diffusion, z.t);
                    let clean = match training.objective {
                        Objective::Dsm => z.x0[0],
                        Objective::Esm => problem.posterior(&z.x, z.t).mean[0],
                    };
                    let y = r.p * clean + r.q * z.x[0];
                    let misfit = y - v
                        .iter()
                        .zip(weights.iter())
                        .map(|(a, b)| a * b)
                        .sum::<f64>();
                    let mut k = 0;
                    let mut add = |value: f64| {
                        sums[k].0 += value;
                        sums[k].1 += value * value;
                        k += 1;
                    };
                    v.iter().for_each(|a| v.iter().for_each(|b| add(l * a * b)));
                    v.iter().for_each(|a| add(l * y * a));
                    v.iter()
                        .for_each(|a| v.iter().for_each(|b| add(l * l * misfit * misfit * a * b)));
                }
                sums
            })
            .collect();
        let n = (blocks * per_block) as f64;
        for (k, expected) in expected.iter().enumerate() {
            let mean = sums.iter().map(|s| s[k].0).sum::<f64>() / n;
            let square = sums.iter().map(|s| s[k].1).sum::<f64>() / n;
            let error = ((square - mean * mean).max(0.0) / n).sqrt();
            close(mean, *expected, error + 1e-12, 5.0, name);
        }
    }
}

/// One constant feature, uniform weighting: Sigma = 1 for every training set, so
/// W = mean(y)/(1 + rho), of mean E[y]/(1 + rho) and variance Var(y)/(P (1 + rho)^2) at any P.
#[test]
fn one_constant_feature_in_closed_form() {
    let problem = mixture(PROCESSES[2].clone(), &[0.4], &[0.6], &[1.0]);
    let family = Linear {
        features: Features {
            space: SpaceFeatures::Product(vec![factor(FeatureSet::Fourier(Fourier::new(
                1, -1.0, 1.0,
            )))]),
            time: Factor::default(),
        },
        predicts: Prediction::Denoiser,
    };
    // Variance of the exact target E[x0|x,t]: v minus the posterior variance, averaged over t.
    let explained = double_exponential::integrate(
        |t| {
            let (a2, s2) = (
                problem.diffusion.alpha(t).powi(2),
                problem.diffusion.sigma2(t),
            );
            a2 * 0.36 * 0.36 / (a2 * 0.36 + s2)
        },
        problem.t_min,
        problem.t_max,
        1e-13,
    )
    .integral
        / (problem.t_max - problem.t_min);
    for (objective, variance) in [(Objective::Dsm, 0.36), (Objective::Esm, explained)] {
        for ridge in [0.0, 0.1, 3.0] {
            let protocol = training(objective, Weighting::Uniform, 37, ridge);
            let s = sandwich(&problem, &family, &protocol).unwrap();
            let (mean, covariance) = (s.weights.mean[0], s.weights.covariance[(0, 0)]);
            close(mean, 0.4 / (1.0 + ridge), mean, 1e-9, "mean");
            let exact = variance / (37.0 * (1.0 + ridge).powi(2));
            close(covariance, exact, exact, 1e-8, "variance");
            close(
                s.effective_features,
                1.0 / (1.0 + ridge),
                1.0,
                1e-9,
                "effective features",
            );
        }
    }
}

struct Trained {
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
    /// Standard errors of the covariance, from the fourth moments.
    error: DMatrix<f64>,
}

fn train(problem: &Problem, family: &Linear, protocol: Training, models: u64) -> Trained {
    let all: Vec<DVector<f64>> = (0..models)
        .into_par_iter()
        .map_init(
            || Trainer::new(problem, family, &protocol),
            |trainer, i| {
                let mut rng = model_rng(protocol.samples as u64, i);
                DVector::from_column_slice(trainer.train(&mut rng).unwrap())
            },
        )
        .collect();
    let n = models as f64;
    let f = all[0].len();
    let mut mean = DVector::zeros(f);
    all.iter().for_each(|w| mean += w / n);
    let (mut covariance, mut square) = (DMatrix::zeros(f, f), DMatrix::zeros(f, f));
    for w in &all {
        let e = w - &mean;
        let product = &e * e.transpose();
        square += product.component_mul(&product) / n;
        covariance += product / (n - 1.0);
    }
    let error = (square - covariance.component_mul(&covariance)).map(|v| (v.max(0.0) / n).sqrt());
    Trained {
        mean,
        covariance,
        error,
    }
}

/// 8000 trained models at P = 1000 and at P = 2000. Finite-P corrections are series in 1/P: the combination
/// 2 M(2000) - M(1000) is free of the first of them, and 5 of its standard errors are allowed.
#[test]
fn sandwich_against_trained_models() {
    let problem = mixture(
        PROCESSES[2].clone(),
        &[-0.7, 0.9],
        &[0.0, 0.4],
        &[0.35, 0.65],
    );
    let models = 8000;
    for (predicts, objective, weighting) in [
        (Prediction::Denoiser, Objective::Dsm, Weighting::Uniform),
        (Prediction::Noise, Objective::Esm, Weighting::Uniform),
    ] {
        let family = small_family(&problem, 3, 1, predicts);
        let protocol = |samples| training(objective, weighting.clone(), samples, 0.1);
        let (half, full) = (
            train(&problem, &family, protocol(1000), models),
            train(&problem, &family, protocol(2000), models),
        );
        let theory = sandwich(&problem, &family, &protocol(2000))
            .unwrap()
            .weights;
        let mut worst: (f64, f64) = (0.0, 0.0);
        for i in 0..theory.mean.len() {
            let error =
                ((4.0 * full.covariance[(i, i)] + half.covariance[(i, i)]) / models as f64).sqrt();
            let mean = 2.0 * full.mean[i] - half.mean[i];
            worst.0 = worst.0.max((mean - theory.mean[i]).abs() / error);
            for j in 0..=i {
                // P Cov is what tends to a limit.
                let value = 2.0 * full.covariance[(i, j)] - 0.5 * half.covariance[(i, j)];
                let error = (2.0 * full.error[(i, j)]).hypot(0.5 * half.error[(i, j)]);
                worst.1 = worst
                    .1
                    .max((value - theory.covariance[(i, j)]).abs() / error);
            }
        }
        let trace = full.covariance.trace() / theory.covariance.trace();
        println!(
            "{predicts:?} {objective:?}: mean {:.1}, covariance {:.1} standard errors, trace at P = 2000 {trace:.4}",
            worst.0, worst.1
        );
        assert!(worst.0 < 5.0 && worst.1 < 5.0, "{worst:?}");
    }
}

/// Primal and dual training solve the same problem: P just below and just above F by the normal equations.
#[test]
fn training_is_ridge_regression() {
    let problem = three_points(1e-2);
    let family = small_family(&problem, 5, 3, Prediction::Score);
    let f = family.features.len();
    for samples in [3, f - 1, f, 4 * f] {
        let protocol = training(Objective::Dsm, Weighting::Sigma2, samples, 0.05);
        let mut trainer = Trainer::new(&problem, &family, &protocol);
        let weights = DVector::from_column_slice(trainer.train(&mut rng(9)).unwrap());
        // The same samples once more: the gradient of the loss vanishes.
        let mut rng = rng(9);
        let mut z = Triple {
            t: 0.0,
            x0: vec![0.0],
            x: vec![0.0],
        };
        let mut gradient = &weights * protocol.ridge;
        let mut size = 0.0;
        for _ in 0..samples {
            problem.sample_triple(&mut rng, &mut z);
            let v = DVector::from_vec(phi(&family, z.x[0], z.t));
            let r = family.predicts.regression(&problem.diffusion, z.t);
            let y = r.p * z.x0[0] + r.q * z.x[0];
            let l = protocol.lambda(&problem, family.predicts, z.t) / samples as f64;
            gradient += &v * (l * (v.dot(&weights) - y));
            size += l * y.abs() * v.amax();
        }
        // Conditioning (largest eigenvalue over ridge, about 1e3) times rounding.
        assert!(
            gradient.amax() < 1e-11 * size,
            "P = {samples}: {:e} of {size:e}",
            gradient.amax()
        );
    }
}

/// Degree 30 on [-1, 1] at data of order 1e5: squares of 1e318 overflow, and the sandwich says so.
#[test]
fn overflowing_features_are_refused() {
    let problem = mixture(
        (Diffusion::Edm, 0.5, 1.0),
        &[0.0, 1e5],
        &[0.0; 2],
        &[0.5; 2],
    );
    let family = Linear {
        features: Features {
            space: SpaceFeatures::Product(vec![factor(FeatureSet::Polynomial(Polynomial::new(
                31, -1.0, 1.0,
            )))]),
            time: Factor::default(),
        },
        predicts: Prediction::Denoiser,
    };
    let protocol = training(Objective::Dsm, Weighting::Snr, 100, 0.1);
    assert_eq!(
        sandwich(&problem, &family, &protocol).err(),
        Some(StatisticsError::NotFinite)
    );
}

/// More features than the data can tell apart, and no ridge: refused with a reason, or a condition number that says it.
#[test]
fn singular_moments_are_refused() {
    let problem = three_points(1e-2);
    // Two Gaussians far from all data vanish to double precision.
    let family = Linear {
        features: Features {
            space: SpaceFeatures::Product(vec![factor(FeatureSet::Gaussian(Gaussian::new(
                2, 500.0, 501.0, 0.5,
            )))]),
            time: Factor::default(),
        },
        predicts: Prediction::Denoiser,
    };
    let protocol = training(Objective::Dsm, Weighting::Snr, 100, 0.0);
    let outcome = sandwich(&problem, &family, &protocol);
    assert!(
        matches!(outcome, Err(StatisticsError::Singular(_))),
        "{outcome:?}"
    );
}
