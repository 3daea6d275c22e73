//! derivations/16-more-dimensions.md.

use nalgebra::{DMatrix, DVector, Matrix2, Vector2};
use rand::RngExt;
use rand_distr::{Binomial, Distribution};
use rayon::prelude::*;
use std::f64::consts::{PI, TAU};
use std::time::Instant;
use vkernel::family::features::{
    Factor, FeatureSet, Features, Gaussian, Joint, Polynomial, SpaceFeatures,
};
use vkernel::family::{Linear, SampleRows};
use vkernel::monte_carlo::{Trainer, model_rng};
use vkernel::numerics::random::stream;
use vkernel::problem::{Data, Objective, Prediction, Problem, Training, Weighting};
use vkernel::statistics::{
    Equivalent, Layout, Measure, Population, QuenchedLayer, SampleSum, SpacePopulation, VKernel,
    WeightStatistics, by_leverage, equivalent, sandwich,
};

use super::common::*;

fn gaussian(count: usize) -> Factor {
    Factor::new(vec![FeatureSet::Gaussian(Gaussian::new(
        count, -1.5, 1.5, 0.8,
    ))])
}

fn polynomial(count: usize, low: f64, high: f64) -> Factor {
    Factor::new(vec![FeatureSet::Polynomial(Polynomial::new(
        count, low, high,
    ))])
}

fn family(factors: Vec<Factor>, time: Factor) -> Linear {
    Linear {
        features: Features {
            space: SpaceFeatures::Product(factors),
            time,
        },
        predicts: Prediction::Denoiser,
    }
}

fn training(samples: usize, ridge: f64) -> Training {
    Training {
        objective: Objective::Dsm,
        weighting: Weighting::Snr,
        samples,
        draws: 1,
        ridge,
        time: None,
    }
}

/// Three components, tilted and of different widths.
fn plane() -> Problem {
    let data = Data::full_mixture(
        &[vec![-0.8, 0.3], vec![0.5, 0.9], vec![0.6, -0.7]],
        &[
            vec![vec![0.05, 0.03], vec![0.03, 0.04]],
            vec![vec![0.0, 0.0], vec![0.0, 0.0]],
            vec![vec![0.02, -0.01], vec![-0.01, 0.06]],
        ],
        Some(&[0.5, 0.2, 0.3]),
    )
    .unwrap();
    problem(data, VP, 0.05, 1.0)
}

fn plane_family() -> Linear {
    family(vec![gaussian(4), gaussian(5)], polynomial(3, 0.05, 1.0))
}

/// The error of the plain sum over a tilted lattice, term by term.
#[test]
fn d16_1_error_of_a_grid_for_a_gaussian() {
    let (mean, shift) = (Vector2::new(0.13, -0.41), Vector2::new(0.2, 0.7));
    let covariance = Matrix2::<f64>::new(1.0, 0.75, 0.75, 0.8);
    let inverse = covariance.try_inverse().unwrap();
    let norm = 1.0 / (TAU * covariance.determinant().sqrt());
    for h in [2.0, 1.3, 1.0, 0.8] {
        let reach = (9.0 / h) as i32;
        let mut sum = -1.0;
        for i in -reach..=reach {
            for j in -reach..=reach {
                let x = h * (Vector2::new(f64::from(i), f64::from(j)) + shift) - mean;
                sum += h * h * norm * (-0.5 * x.dot(&(inverse * x))).exp();
            }
        }
        let mut predicted = 0.0;
        for i in -6..=6 {
            for j in -6..=6 {
                let k = Vector2::new(f64::from(i), f64::from(j));
                if (i, j) != (0, 0) {
                    let size = (-2.0 * PI * PI * k.dot(&(covariance * k)) / (h * h)).exp();
                    predicted += size * (TAU * k.dot(&(shift - mean / h))).cos();
                }
            }
        }
        assert!(
            (sum - predicted).abs() <= 1e-13,
            "{h}: {sum:e} {predicted:e}"
        );
    }
}

/// The probability that a population's grid holds: one to the error of its rule, for features without a support.
#[test]
fn d16_1_a_grid_holds_all_probability() {
    let problem = plane();
    let family = family(
        vec![polynomial(2, -1.0, 1.0), polynomial(2, -1.0, 1.0)],
        Factor::default(),
    );
    let population = Population::new(&problem, &family, &training(10, 0.1), 0);
    let first = DVector::from_fn(family.features.len(), |i, _| f64::from(i == 0));
    // The first feature is the constant: it tells the nodes of the grid from those that only carry probability.
    let constant = population.project(first.as_slice());
    let weights = population.weights();
    let carried: f64 = weights
        .iter()
        .zip(&constant)
        .filter(|(_, c)| **c == 0.0)
        .map(|(w, _)| w)
        .sum();
    // Beyond eight standard deviations of either coordinate lies 3e-15; the rule's own error (D16.1) is below that.
    assert!(carried <= 1e-12, "{carried:e}");
    assert!((weights.iter().sum::<f64>() - 1.0).abs() <= 1e-12);
}

#[test]
fn d16_2_poles_set_the_rate() {
    let (a, v): (f64, f64) = (20.0, 1.0);
    let f = |x: f64| (-0.5 * (x / 1.2).powi(2)).exp() / (1.0 + a * (-0.5 * x * x / (v * v)).exp());
    let sum = |h: f64| {
        let reach = (12.0 / h).ceil() as i32;
        (-reach..=reach)
            .map(|n| h * f(h * f64::from(n)))
            .sum::<f64>()
    };
    let exact = sum(1.0 / 64.0);
    let (re, im) = (2.0 * v * v * a.ln(), 2.0 * v * v * PI);
    let eta = (0.5 * (re.hypot(im) - re)).sqrt();
    // The residue's phase turns with 1/h by 2 pi Re(pole): compare the largest errors of two stretches that are six half
    // turns apart.
    let turn = 0.5 / (0.5 * (re.hypot(im) + re)).sqrt();
    let largest = |from: f64| {
        (0..60)
            .map(|i| (sum(1.0 / (from + turn * f64::from(i) / 30.0)) - exact).abs())
            .fold(0.0, f64::max)
    };
    let rate = (largest(1.0) / largest(1.0 + 6.0 * turn)).ln() / (TAU * 6.0 * turn);
    println!("eta = {eta:.4}, rate {rate:.4}");
    assert!((rate / eta - 1.0).abs() <= 0.01, "{rate} {eta}");
}

/// Averages over scattered points against the closed moments of a mixture in three dimensions.
#[test]
fn d16_3_scattered_points_have_the_law_of_the_noised_data() {
    let tilted = vec![
        vec![0.3, 0.1, 0.0],
        vec![0.1, 0.2, -0.05],
        vec![0.0, -0.05, 0.1],
    ];
    let data = Data::full_mixture(
        &[vec![0.5, -0.2, 0.3], vec![-0.4, 0.6, 0.0]],
        &[tilted.clone(), vec![vec![0.0; 3]; 3]],
        Some(&[0.7, 0.3]),
    )
    .unwrap();
    let problem = problem(data, VP, 0.1, 0.5);
    let family = family(
        vec![gaussian(3), gaussian(3), gaussian(3)],
        Factor::default(),
    );
    let mut protocol = training(10, 0.1);
    protocol.weighting = Weighting::Uniform;
    let exact = hermite_gram(&problem, &family, 20, |v| v);
    let squares = hermite_gram(&problem, &family, 20, |v| v * v);
    let variance: f64 = squares.iter().zip(&exact).map(|(s, g)| s - g * g).sum();
    for level in 0..3 {
        let population = Population::new(&problem, &family, &protocol, level);
        let gram = population.gram(&vec![1.0; population.nodes()]);
        let error = (&gram - &exact).norm();
        let random = (variance / population.nodes() as f64).sqrt();
        println!(
            "{} points: {:.2e} of the norm, random points {:.2e}",
            population.nodes(),
            error / exact.norm(),
            random / exact.norm()
        );
        // 1/n against 1/sqrt(n) for a thousand points and more at a time.
        assert!(error <= 0.2 * random, "{error:e} {random:e}");
    }
}

/// E[phi phi^T], or of products that a function is applied to first, by Gauss-Hermite rules of `count` nodes along the axes
/// of every component and Gauss-Legendre in time: exact for polynomials.
fn hermite_gram(
    problem: &Problem,
    family: &Linear,
    count: usize,
    of: impl Fn(f64) -> f64,
) -> DMatrix<f64> {
    let f = family.features.len();
    let mut gram = DMatrix::zeros(f, f);
    let span = problem.t_max - problem.t_min;
    let rule = normal_rule(count);
    for (t, weight) in legendre_rule(24, problem.t_min, problem.t_max) {
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        let data = &problem.data;
        for (c, share) in data.components().iter().zip(data.weights()) {
            let dim = problem.dim();
            for index in 0..rule.len().pow(dim as u32) {
                let mut w = weight / span * share;
                let mut left = index;
                let along = DVector::from_fn(dim, |i, _| {
                    let (x, own) = rule[left % rule.len()];
                    left /= rule.len();
                    w *= own;
                    (alpha * alpha * c.variances[i] + sigma2).sqrt() * x
                });
                let turned = match &c.axes {
                    Some(u) => u * along,
                    None => along,
                };
                let x = &c.mean * alpha + turned;
                let mut phi = DVector::zeros(f);
                family.features.values(x.as_slice(), t, phi.as_mut_slice());
                for j in 0..f {
                    for i in 0..f {
                        gram[(i, j)] += w * of(phi[i] * phi[j]);
                    }
                }
            }
        }
    }
    gram
}

/// In the plane the grid gives the same moments, to the time rule's accuracy.
#[test]
fn d16_1_moments_of_polynomials_in_the_plane() {
    let problem = plane();
    let along = || polynomial(3, -1.0, 1.0);
    let family = family(vec![along(), along()], polynomial(2, 0.05, 1.0));
    let mut protocol = training(10, 0.1);
    protocol.weighting = Weighting::Uniform;
    let population = Population::new(&problem, &family, &protocol, 0);
    let gram = population.gram(&vec![1.0; population.nodes()]);
    let exact = hermite_gram(&problem, &family, 6, |v| v);
    let error = (&gram - &exact).norm() / exact.norm();
    println!("{error:e}");
    // Fourth moments beyond the reach.
    assert!(error <= 1e-11, "{error:e}");
}

/// Every node sum against loops over the rows, on grids and on scattered points, factor by factor and not.
#[test]
fn d16_4_sums_by_factors_are_sums_over_nodes() {
    // Late times only: fewer nodes to loop over.
    let plane = Problem {
        t_min: 0.4,
        ..plane()
    };
    let in_space = Data::points(&[vec![0.4, -0.3, 0.2], vec![-0.5, 0.1, 0.6]], None).unwrap();
    let in_space = problem(in_space, VP, 0.4, 1.0);
    let cases = [
        (
            &plane,
            family(vec![gaussian(3), gaussian(4)], polynomial(2, 0.4, 1.0)),
        ),
        (
            &in_space,
            family(
                vec![gaussian(2), gaussian(3), gaussian(2)],
                polynomial(2, 0.4, 1.0),
            ),
        ),
    ];
    for (problem, family) in &cases {
        let dim = problem.dim();
        for grid in [true, false] {
            if grid && dim > 2 {
                continue;
            }
            for separable in [true, false] {
                let layout = Layout { grid, separable };
                let protocol = training(30, 0.1);
                let population = SpacePopulation::new(problem, family, &protocol, 0, layout);
                against_loops(&population, &format!("D = {dim}, {layout:?}"));
            }
        }
    }
}

#[track_caller]
fn against_loops(population: &SpacePopulation<'_>, what: &str) {
    let (f, d, nodes) = (
        population.features(),
        population.outputs(),
        population.nodes(),
    );
    let mut rng = stream(4, f as u64);
    // The rows, one feature at a time.
    let columns: Vec<Vec<f64>> = (0..f)
        .map(|s| {
            let unit = DVector::from_fn(f, |i, _| f64::from(i == s));
            population.project(unit.as_slice())
        })
        .collect();
    let rows = DMatrix::from_fn(f, nodes, |s, n| columns[s][n]);
    let weights = population.weights();
    let factor: Vec<f64> = (0..nodes).map(|_| rng.random::<f64>()).collect();
    let random = DMatrix::from_fn(f, f, |_, _| rng.random::<f64>() - 0.5);
    let models = DMatrix::from_fn(f, d, |_, _| rng.random::<f64>() - 0.5);

    let mut scaled = rows.clone();
    for (n, mut column) in scaled.column_iter_mut().enumerate() {
        column *= weights[n] * factor[n];
    }
    let gram = &scaled * rows.transpose();
    let size = gram.norm();
    let off = (population.gram(&factor) - &gram).norm();
    assert!(off <= 1e-12 * size, "{what}: gram {:e}", off / size);

    let half = &random * &rows;
    let quadratic = population.quadratic(&random);
    let largest = rows
        .column_iter()
        .map(|z| z.norm_squared())
        .fold(0.0, f64::max);
    for (n, value) in quadratic.iter().enumerate() {
        let loops = half.column(n).dot(&rows.column(n));
        assert!(
            (value - loops).abs() <= 1e-12 * largest,
            "{what}: quadratic"
        );
    }

    // Means of targets from the residuals of no model; a model's fit from the rows.
    let targets = population.misfit(&DMatrix::zeros(f, d));
    let targets = DMatrix::from_fn(d, nodes, |o, n| targets[o * nodes + n]);
    let cross = &scaled * targets.transpose();
    let off = (population.cross(&factor) - &cross).norm();
    assert!(off <= 1e-12 * cross.norm(), "{what}: cross");
    let fit = models.tr_mul(&rows);
    let none = DMatrix::zeros(f, d);
    for i in 0..d {
        for j in i..d {
            let with = population.residual(&models, (i, j));
            let without = population.residual(&none, (i, j));
            let largest = with.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            for n in 0..nodes {
                let change = (targets[(i, n)] - fit[(i, n)]) * (targets[(j, n)] - fit[(j, n)])
                    - targets[(i, n)] * targets[(j, n)];
                let off = with[n] - without[n] - change;
                assert!(off.abs() <= 1e-12 * largest, "{what}: residual {off:e}");
            }
        }
    }
}

/// Second moments of the targets: E[y y^T phi_0^2] from the residual without a model, against the data's own moments.
#[test]
fn d16_5_residuals_hold_the_full_covariance_of_the_target() {
    let problem = plane();
    let family = family(
        vec![polynomial(1, -1.0, 1.0), polynomial(1, -1.0, 1.0)],
        Factor::default(),
    );
    let mut protocol = training(10, 0.1);
    protocol.weighting = Weighting::Uniform;
    let population = Population::new(&problem, &family, &protocol, 0);
    let none = DMatrix::zeros(1, 2);
    let data = &problem.data;
    for (i, j) in [(0, 0), (0, 1), (1, 1)] {
        // E[x0_i x0_j] over the posterior and x is that of the data.
        let exact: f64 = data
            .components()
            .iter()
            .zip(data.weights())
            .map(|(c, w)| {
                let covariance = match &c.axes {
                    Some(u) => u * DMatrix::from_diagonal(&c.variances) * u.transpose(),
                    None => DMatrix::from_diagonal(&c.variances),
                };
                w * (c.mean[i] * c.mean[j] + covariance[(i, j)])
            })
            .sum();
        let found = population.mean(&population.residual(&none, (i, j)));
        assert!((found - exact).abs() <= 1e-9, "{i}{j}: {found} {exact}");
    }
}

/// With all panels in the layer a draw is the trained model; with none its mean and covariance are the equivalent's.
#[test]
fn d16_6_layer_of_everything_and_of_nothing() {
    let (problem, family) = (plane(), plane_family());
    let protocol = training(40, 0.1);
    let equivalent = equivalent(&problem, &family, &protocol).unwrap();
    let order = by_leverage(&equivalent);
    let (f, p) = (family.features.len(), protocol.samples);
    let all = QuenchedLayer::new(&problem, &family, &protocol, &equivalent, &order).unwrap();
    for index in 0..3 {
        let mut rng = stream(5, index);
        let n = Binomial::new(p as u64, 1.0).unwrap().sample(&mut rng) as usize;
        assert_eq!(n, p);
        let mut samples = SampleRows::new(&problem, &family, &protocol);
        let (mut rows, mut targets) = (DMatrix::zeros(f, p), DMatrix::zeros(p, 2));
        let (low, high) = all.intervals()[0];
        for k in 0..p {
            let t = low + (high - low) * rng.random::<f64>();
            let y = samples.draw_at(t, &mut rng, rows.column_mut(k).as_mut_slice());
            targets.set_row(k, &nalgebra::RowDVector::from_column_slice(y));
        }
        let gram = &rows * rows.transpose() / p as f64 + DMatrix::identity(f, f) * protocol.ridge;
        let trained = gram
            .cholesky()
            .unwrap()
            .solve(&(&rows * targets / p as f64));
        let trained = DVector::from_column_slice(trained.as_slice());
        let drawn = all.weights(&mut stream(5, index)).unwrap();
        let off = (&drawn.weights - &trained).norm() / trained.norm();
        assert!(off <= 1e-8, "{off:e}");
    }

    let none = QuenchedLayer::new(&problem, &family, &protocol, &equivalent, &[]).unwrap();
    let mean = none.weights(&mut stream(5, 0)).unwrap().conditional_mean;
    let expected = &equivalent.coarse.mean;
    let off = (&mean - DVector::from_column_slice(expected.as_slice())).norm() / mean.norm();
    assert!(off <= 1e-8, "{off:e}");
    let covariance = none.conditional_covariance(&mut stream(5, 0)).unwrap();
    let mut at = 0;
    for i in 0..2 {
        for j in i..2 {
            let block = covariance.view((i * f, j * f), (f, f));
            let of = &equivalent.coarse.covariances[at];
            let off = (block - of).norm() / of.norm();
            println!("block {i}{j}: {off:e}");
            // The fixed points' tolerance is 1e-10, the raise of the diagonal 1e-13 of it (and 1/ridge of that).
            assert!(off <= 1e-7, "{i}{j}: {off:e}");
            at += 1;
        }
    }
}

/// Covariance of the noise given part of the samples, from draws of the layer with the rows as they are.
#[test]
fn d16_6_draws_have_the_conditional_covariance() {
    let (problem, family) = (plane(), plane_family());
    let protocol = training(40, 0.1);
    let equivalent = equivalent(&problem, &family, &protocol).unwrap();
    let order = by_leverage(&equivalent);
    for panels in [0, order.len() / 2] {
        let layer = QuenchedLayer::new(&problem, &family, &protocol, &equivalent, &order[..panels])
            .unwrap();
        // Whitened by the conditional covariance, the deviations of many layers have unit variance along any direction.
        let n = 400;
        let mut square = 0.0;
        let f = 2 * family.features.len();
        for i in 0..n {
            let draw = layer.weights(&mut stream(6, i)).unwrap();
            let covariance = layer.conditional_covariance(&mut stream(6, i)).unwrap();
            let deviation = draw.weights - draw.conditional_mean;
            // Directions that mix the outputs.
            let u = DVector::from_fn(f, |k, _| ((k as f64 + 1.0) * (i as f64 + 0.5)).sin());
            square += u.dot(&deviation).powi(2) / u.dot(&(&covariance * &u)) / n as f64;
        }
        let error = (2.0 / n as f64).sqrt();
        println!("{panels} panels: {square:.3} +- {error:.3}");
        assert!((square - 1.0).abs() <= 5.0 * error, "{square}");
    }
}

/// Draws of the sum over samples have its mean, and its covariance over both outputs.
#[test]
fn d16_5_sum_over_samples_of_two_outputs() {
    let (problem, family) = (plane(), plane_family());
    let protocol = training(60, 0.1);
    let equivalent = equivalent(&problem, &family, &protocol).unwrap();
    let population = &equivalent.population;
    let sum = SampleSum::new(population, &equivalent.coarse, &protocol).unwrap();
    let f = family.features.len();
    let n = 4000;
    let draws: Vec<DVector<f64>> = (0..n)
        .map(|i| {
            let mut weights = DVector::zeros(2 * f);
            sum.draw(&mut stream(8, i), weights.as_mut_slice());
            weights
        })
        .collect();
    // The first term of D16.5: without the models' own spread.
    let q = &equivalent.coarse.resolvent;
    let blocks: Vec<DMatrix<f64>> = [(0, 0), (0, 1), (1, 1)]
        .iter()
        .map(|&(i, j)| {
            let factor: Vec<f64> = population
                .residual(&equivalent.coarse.mean, (i, j))
                .iter()
                .zip(&equivalent.coarse.leverage)
                .map(|(r, d)| r / (1.0 + d).powi(2) / 60.0)
                .collect();
            let (a, b) = (
                equivalent.coarse.mean.column(i),
                equivalent.coarse.mean.column(j),
            );
            let inner = population.gram(&factor) - a * b.transpose() * (0.01 / 60.0);
            q * inner * q
        })
        .collect();
    let mean = DVector::from_column_slice(equivalent.coarse.mean.as_slice());
    for k in 0..12 {
        let u = DVector::from_fn(2 * f, |i, _| ((i as f64 + 0.3) * (k as f64 + 1.7)).sin());
        let (u1, u2) = (u.rows(0, f), u.rows(f, f));
        let variance = u1.dot(&(&blocks[0] * u1))
            + 2.0 * u1.dot(&(&blocks[1] * u2))
            + u2.dot(&(&blocks[2] * u2));
        let values: Vec<f64> = draws.iter().map(|w| u.dot(&(w - &mean))).collect();
        let off = values.iter().sum::<f64>() / n as f64;
        assert!(off.abs() <= 5.0 * (variance / n as f64).sqrt(), "mean {k}");
        let second = values.iter().map(|v| v * v).sum::<f64>() / n as f64;
        let fourth = values.iter().map(|v| v.powi(4)).sum::<f64>() / n as f64;
        let error = ((fourth - second * second) / n as f64).sqrt();
        assert!(
            (second - variance).abs() <= 5.0 * error,
            "{k}: {second} {variance} +- {error}"
        );
    }
}

/// The statistics on a line that lies in the plane, by features of the first coordinate alone.
#[test]
fn d16_7_a_line_in_the_plane() {
    let slope = 0.6;
    let at = [-0.7, 0.1, 0.8];
    let line = Data::points(&at.map(|a| vec![a]), None).unwrap();
    let tilted = Data::points(&at.map(|a| vec![a, slope * a]), None).unwrap();
    let line = problem(line, VP, 0.05, 1.0);
    let tilted = problem(tilted, VP, 0.05, 1.0);
    let time = || polynomial(3, 0.05, 1.0);
    let on_line = family(vec![gaussian(7)], time());
    let in_plane = family(vec![gaussian(7), Factor::default()], time());
    let protocol = training(30, 0.1);
    let compare = |what: &str, one: &WeightStatistics, two: &WeightStatistics, allowed: f64| {
        let f = one.mean.len();
        for (i, a) in [1.0, slope].into_iter().enumerate() {
            let mean = two.mean.rows(i * f, f);
            let off = (mean - &one.mean * a).norm() / (a * one.mean.norm());
            println!("{what}: mean {i} {off:e}");
            assert!(off <= allowed, "{what}: mean {i} {off:e}");
            for (j, b) in [1.0, slope].into_iter().enumerate() {
                let block = two.covariance.view((i * f, j * f), (f, f));
                let size = a * b * one.covariance.norm();
                let off = (block - &one.covariance * (a * b)).norm() / size;
                println!("{what}: covariance {i}{j} {off:e}");
                assert!(off <= allowed, "{what}: {i}{j} {off:e}");
            }
        }
    };
    let one = sandwich(&line, &on_line, &protocol).unwrap();
    let two = sandwich(&tilted, &in_plane, &protocol).unwrap();
    compare("sandwich", &one.weights, &two.weights, 1e-4);
    let one = equivalent(&line, &on_line, &protocol).unwrap();
    let two = equivalent(&tilted, &in_plane, &protocol).unwrap();
    compare("equivalent", &one.weights, &two.weights, 1e-3);
}

/// Means and covariances of trained models, all pairs of outputs, in two dimensions at F/P = 2, 1/4 and in three at 1.
#[test]
fn d16_8_trained_models_in_two_and_three_dimensions() {
    let in_space = Data::full_mixture(
        &[vec![0.5, -0.2, 0.3], vec![-0.4, 0.6, 0.0]],
        &[
            vec![
                vec![0.1, 0.06, 0.0],
                vec![0.06, 0.1, -0.03],
                vec![0.0, -0.03, 0.05],
            ],
            vec![vec![0.0; 3]; 3],
        ],
        Some(&[0.6, 0.4]),
    )
    .unwrap();
    let in_space = problem(in_space, VP, 0.05, 1.0);
    let time = |n| polynomial(n, 0.05, 1.0);
    let small = || gaussian(3);
    let cases = [
        (
            plane(),
            family(vec![gaussian(5), gaussian(5)], time(3)),
            &[0.5, 4.0][..],
        ),
        (
            in_space,
            family(vec![small(), small(), small()], time(2)),
            &[1.0],
        ),
    ];
    for (problem, family, ratios) in &cases {
        for ratio in *ratios {
            let samples = (ratio * family.features.len() as f64) as usize;
            let protocol = training(samples, 0.3);
            let theory = equivalent(problem, family, &protocol).unwrap();
            against_trained(problem, family, &protocol, &theory);
        }
    }
}

fn against_trained(
    problem: &Problem,
    family: &Linear,
    protocol: &Training,
    theory: &Equivalent<'_>,
) {
    const MODELS: u64 = 800;
    let (f, n) = (family.features.len(), MODELS as f64);
    let trained: Vec<DVector<f64>> = (0..MODELS)
        .into_par_iter()
        .map_init(
            || Trainer::new(problem, family, protocol),
            |trainer, i| DVector::from_column_slice(trainer.train(&mut model_rng(16, i)).unwrap()),
        )
        .collect();
    let mut mean = DVector::zeros(problem.dim() * f);
    for w in &trained {
        mean += w / n;
    }
    // Errors count as they show in the outputs: in the metric E[z z^T].
    let population = &theory.population;
    let metric = population.gram(&vec![1.0; population.nodes()]);
    let (predicted, off) = (&theory.weights, &mean - &theory.weights.mean);
    let (mut square, mut spread) = (0.0, 0.0);
    for o in 0..problem.dim() {
        let off = off.rows(o * f, f);
        square += off.dot(&(&metric * off));
        spread += (&metric * predicted.covariance.view((o * f, o * f), (f, f))).trace();
    }
    let off = (square / spread).sqrt();
    println!(
        "D = {}, F = {f}, P = {}: mean off by {off:.4} of a model's deviation (noise {:.4}), quadrature {:.1e}",
        problem.dim(),
        protocol.samples,
        n.sqrt().recip(),
        theory.refinement.change
    );
    // The average's own noise, and what is left out at order 1/P.
    let left_out = 1.0 / protocol.samples as f64;
    assert!(off <= 1.5 / n.sqrt() + left_out, "{off}");
    for i in 0..problem.dim() {
        for j in i..problem.dim() {
            let block = predicted.covariance.view((i * f, j * f), (f, f));
            // The trained block's component along the predicted one, whose own is positive.
            let along = &metric * block * &metric;
            let own = (along.transpose() * block).trace();
            let values: Vec<f64> = trained
                .iter()
                .map(|w| {
                    let d = w - &mean;
                    d.rows(i * f, f).dot(&(&along * d.rows(j * f, f))) / own * n / (n - 1.0)
                })
                .collect();
            let ratio = values.iter().sum::<f64>() / n;
            let error = values
                .iter()
                .map(|v| (v - ratio).powi(2))
                .sum::<f64>()
                .sqrt()
                / n;
            println!("  covariance {i}{j}: trained / theory {ratio:.3} +- {error:.3}");
            // D9.12 left 3 %.
            assert!((ratio - 1.0).abs() <= 5.0 * error + 0.05, "{ratio} {error}");
        }
    }
}

/// What the last refinement changed of the trained functions, by fresh samples of the training distribution.
#[test]
fn d16_10_change_of_functions_over_fresh_samples() {
    const BATCHES: u64 = 40;
    const SAMPLES: usize = 1000;
    let data = Data::full_mixture(
        &[vec![0.5, -0.2, 0.3], vec![-0.4, 0.6, 0.0]],
        &[vec![vec![0.0; 3]; 3], vec![vec![0.0; 3]; 3]],
        Some(&[0.6, 0.4]),
    )
    .unwrap();
    let problem = problem(data, VP, 0.05, 1.0);
    let waves = Joint::random_fourier(3, 40, 0.8, &mut stream(1, 0));
    let family = Linear {
        features: Features {
            space: SpaceFeatures::Joint(waves),
            time: polynomial(2, 0.05, 1.0),
        },
        predicts: Prediction::Denoiser,
    };
    let protocol = training(400, 0.1);
    let theory = equivalent(&problem, &family, &protocol).unwrap();
    let (now, before) = (&theory.weights, &theory.coarser);
    let (shift, difference) = (
        &now.mean - &before.mean,
        &now.covariance - &before.covariance,
    );
    let f = family.features.len();
    // Sums of f^2, (change of f)^2, Var f and |change of Var f|, of every batch.
    let sums: Vec<[f64; 4]> = (0..BATCHES)
        .into_par_iter()
        .map(|batch| {
            let mut rng = stream(2, batch);
            let mut rows = SampleRows::new(&problem, &family, &protocol);
            let (mut z, mut sums) = (DVector::zeros(f), [0.0; 4]);
            for _ in 0..SAMPLES {
                rows.draw(&mut rng, z.as_mut_slice());
                for o in 0..problem.dim() {
                    let own = o * f;
                    let form = |c: &DMatrix<f64>| z.dot(&(c.view((own, own), (f, f)) * &z));
                    sums[0] += now.mean.rows(own, f).dot(&z).powi(2);
                    sums[1] += shift.rows(own, f).dot(&z).powi(2);
                    sums[2] += form(&now.covariance);
                    sums[3] += form(&difference).abs();
                }
            }
            sums
        })
        .collect();
    let change = |left_out: Option<usize>| {
        let mut all = [0.0; 4];
        for (i, sums) in sums.iter().enumerate() {
            if left_out != Some(i) {
                for (a, s) in all.iter_mut().zip(sums) {
                    *a += s;
                }
            }
        }
        (all[1] / (all[0] + all[2])).sqrt().max(all[3] / all[2])
    };
    // The jackknife's standard error.
    let (n, sampled) = (BATCHES as f64, change(None));
    let squares = (0..sums.len()).map(|i| (change(Some(i)) - sampled).powi(2));
    let error = ((n - 1.0) / n * squares.sum::<f64>()).sqrt();
    let found = theory.refinement.change;
    println!("change {found:.3e}, by samples {sampled:.3e} +- {error:.1e}");
    assert!(error <= 0.05 * sampled, "{error}");
    // The nodes' own error is about the change itself.
    assert!(
        (found / sampled - 1.0).abs() <= 5.0 * error / sampled + found,
        "{found} {sampled}"
    );
}

/// Largest resident memory of this process so far, MiB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<f64>().ok())
        .map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Runs and prints seconds.
fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let clock = Instant::now();
    let out = run();
    println!("  {what}: {:.2} s", clock.elapsed().as_secs_f64());
    out
}

/// Seconds and memory of every part in the setting of Fig. 3: four points on the unit circle, 10 x 10 x 10 features.
#[test]
#[ignore = "a measurement of minutes"]
fn d16_9_cost_in_the_setting_of_fig_3() {
    let points = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]].map(|p| p.to_vec());
    let problem = problem(Data::points(&points, None).unwrap(), VP, 1e-2, 1.0);
    let set = |low, high| FeatureSet::Gaussian(Gaussian::new(10, low, high, 0.5));
    let along = || Factor::new(vec![set(-1.5, 1.5)]);
    let family = family(
        vec![along(), along()],
        Factor::new(vec![set(problem.t_min, problem.t_max)]),
    );
    for samples in [500, 2000, 8000] {
        let protocol = training(samples, 0.1);
        println!("P = {samples}");
        let s = timed("sandwich", || {
            sandwich(&problem, &family, &protocol).unwrap()
        });
        println!("    {:?}, peak {:.0} MiB", s.refinement, peak_memory());
        let e = timed("equivalent", || {
            equivalent(&problem, &family, &protocol).unwrap()
        });
        println!(
            "    {:?}, iterations {:?} then {:?}, amplification {:.3}, effective features {:.1}, peak {:.0} MiB",
            e.refinement,
            e.coarse.iterations,
            e.fine.iterations,
            e.coarse.amplification,
            e.fine.effective_features,
            peak_memory()
        );
        let kernel = timed("V-kernel", || {
            VKernel::new(&problem, &family, &e.weights, 0.0).unwrap()
        });
        assert_eq!(kernel.rank(), 2000);
        let order = by_leverage(&e);
        for panels in [3, order.len() / 2] {
            let order = &order[..panels];
            let layer = timed("layer", || {
                QuenchedLayer::new(&problem, &family, &protocol, &e, order).unwrap()
            });
            println!(
                "    {panels} panels, {:.0} samples",
                layer.expected_samples()
            );
            timed("sixteen draws on one thread", || {
                for i in 0..16 {
                    layer.weights(&mut stream(3, i)).unwrap();
                }
            });
        }
        let sum = timed("sum over samples", || {
            SampleSum::new(&e.population, &e.coarse, &protocol).unwrap()
        });
        timed("sixteen draws on one thread", || {
            let mut weights = vec![0.0; 2 * family.features.len()];
            for i in 0..16 {
                sum.draw(&mut stream(3, i), &mut weights);
            }
        });
        println!("    peak {:.0} MiB", peak_memory());
    }
}
