//! derivations/27-data-sets.md.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use vkernel::family::Linear;
use vkernel::family::features::{Factor, FeatureSet, Features, Gaussian, SpaceFeatures};
use vkernel::monte_carlo::{Trainer, model_rng};
use vkernel::problem::{
    Data, Objective, Prediction, Problem, Samples, Training, Weighting, data_sets,
};
use vkernel::statistics::equivalent;

use super::common::*;

fn protocol(points: usize, draws: usize) -> Training {
    Training {
        objective: Objective::Dsm,
        weighting: Weighting::Snr,
        samples: points * draws,
        draws,
        ridge: 0.1,
        time: None,
    }
}

/// Data with a width: no two clean points are the same.
fn two_gaussians() -> Data {
    Data::diagonal_mixture(
        &[vec![-0.7], vec![0.6]],
        &[vec![0.2], vec![0.3]],
        Some(&[0.4, 0.6]),
    )
    .unwrap()
}

#[test]
fn d27_1_pairs_of_samples_that_share_a_clean_point() {
    let problem = problem(two_gaussians(), VP, 1e-2, 1.0);
    for (points, draws) in [(5, 3), (1, 4), (7, 1), (2, 6)] {
        let training = protocol(points, draws);
        // The target of a denoiser is the clean point.
        let y = Samples::draw(
            &problem,
            Prediction::Denoiser,
            &training,
            &mut model_rng(1, 0),
        )
        .y;
        let p = y.len();
        let shared = (0..p).flat_map(|i| (0..p).map(move |j| (i, j)));
        let shared = shared.filter(|(i, j)| i != j && y[*i] == y[*j]).count();
        let share = shared as f64 / (p * (p - 1)).max(1) as f64;
        close(
            training.sharing_probability(),
            share,
            1e-15,
            "share of pairs",
        );
    }
}

/// Moments of a sample of the toy: probability of its clean point, mean and variance of u given it.
const TOY: [(f64, f64, f64); 3] = [(0.5, 0.3, 0.7), (0.2, -1.0, 0.1), (0.3, 2.0, 0.4)];

/// All sequences of `n` clean points of the toy with their probabilities.
fn sequences(n: usize) -> Vec<(f64, Vec<usize>)> {
    (0..3_usize.pow(n as u32))
        .map(|mut code| {
            let points: Vec<usize> = (0..n)
                .map(|_| {
                    let c = code % 3;
                    code /= 3;
                    c
                })
                .collect();
            (points.iter().map(|c| TOY[*c].0).product(), points)
        })
        .collect()
}

/// Mean and variance from a mixture of (probability, mean, variance).
fn of_mixture(parts: impl Iterator<Item = (f64, f64, f64)>) -> (f64, f64) {
    let (mut first, mut second) = (0.0, 0.0);
    for (w, mean, variance) in parts {
        first += w * mean;
        second += w * (variance + mean * mean);
    }
    (first, second - first * first)
}

/// Variance of (1/P) sum_p u_p of the protocol, and of fresh samples of data sets of n points, by enumeration.
fn enumerated(points: usize, draws: usize, sizes: &[(f64, usize)]) -> (f64, f64) {
    let p = (points * draws) as f64;
    let m = draws as f64;
    let own = of_mixture(sequences(points).into_iter().map(|(w, set)| {
        let mean = set.iter().map(|c| m * TOY[*c].1).sum::<f64>() / p;
        let variance = set.iter().map(|c| m * TOY[*c].2).sum::<f64>() / (p * p);
        (w, mean, variance)
    }));
    let fresh = of_mixture(sizes.iter().flat_map(|&(share, n)| {
        sequences(n).into_iter().map(move |(w, set)| {
            let chosen = set.iter().map(|c| (1.0 / n as f64, TOY[*c].1, TOY[*c].2));
            let (mean, variance) = of_mixture(chosen);
            (share * w, mean, variance / p)
        })
    }));
    close(own.0, fresh.0, 1e-14, "means");
    (own.1, fresh.1)
}

#[test]
fn d27_2_fresh_samples_of_as_many_points_have_the_same_covariance() {
    // N' = (P - 1)/(m - 1) is a whole number: 7/1, 5/1, 8/2, 8/8.
    for (points, draws, size) in [(4, 2, 7), (3, 2, 5), (3, 3, 4), (1, 9, 1)] {
        let (own, fresh) = enumerated(points, draws, &[(1.0, size)]);
        close(fresh, own, 1e-14, "variance");
    }
    // As many points as the protocol has count their choice twice.
    let (own, fresh) = enumerated(4, 2, &[(1.0, 4)]);
    assert!(fresh > 1.2 * own, "{fresh} {own}");
}

#[test]
fn d27_3_covariance_of_a_sum_of_influences() {
    let (_, total) = of_mixture(TOY.into_iter());
    let (_, between) = of_mixture(TOY.into_iter().map(|(w, mean, _)| (w, mean, 0.0)));
    for (points, draws) in [(4, 2), (2, 3), (1, 5), (5, 1)] {
        let p = (points * draws) as f64;
        let (own, _) = enumerated(points, draws, &[(1.0, 1)]);
        let formula = (total + (draws - 1) as f64 * between) / p;
        close(own, formula, 1e-14, "variance");
    }
}

#[test]
fn d27_4_neighbouring_numbers_of_points() {
    // 2 x 3 samples: q = 2/5, and 2 or 3 points with the probabilities 0.4 and 0.6.
    let (own, fresh) = enumerated(2, 3, &[(0.4, 2), (0.6, 3)]);
    close(fresh, own, 1e-14, "variance");
    let training = protocol(2, 3);
    let count = 20_000;
    let sets = data_sets(&two_gaussians(), &training, count, &mut model_rng(3, 0)).unwrap();
    let twos = sets.iter().filter(|s| s.components().len() == 2).count();
    let threes = sets.iter().filter(|s| s.components().len() == 3).count();
    assert_eq!(twos + threes, count);
    let error = (0.24 / count as f64).sqrt();
    let share = twos as f64 / count as f64;
    assert!((share - 0.4).abs() < 5.0 * error, "{share}");
}

fn family() -> Linear {
    let set = |count, low, high| {
        Factor::new(vec![FeatureSet::Gaussian(Gaussian::new(
            count, low, high, 0.5,
        ))])
    };
    Linear {
        features: Features {
            space: SpaceFeatures::Product(vec![set(8, -1.6, 1.6)]),
            time: set(5, 0.05, 1.0),
        },
        predicts: Prediction::Denoiser,
    }
}

/// Where trained denoisers are compared.
const PLACES: [(f64, f64); 8] = [
    (-0.8, 0.06),
    (-0.3, 0.06),
    (0.0, 0.1),
    (0.4, 0.1),
    (0.8, 0.1),
    (-0.5, 0.3),
    (0.3, 0.3),
    (0.0, 0.7),
];

fn features(family: &Linear, (x, t): (f64, f64)) -> DVector<f64> {
    let mut phi = vec![0.0; family.features.len()];
    family.features.values(&[x], t, &mut phi);
    DVector::from_vec(phi)
}

/// Mean and variance of trained denoisers at the places: of `models` models, and over drawn data sets with the statistics of fresh
/// samples inside.
fn against_models(data: Data, training: &Training, models: u64, sets: usize) {
    let problem = problem(data, VP, 0.05, 1.0);
    let family = family();
    let places: Vec<DVector<f64>> = PLACES.iter().map(|p| features(&family, *p)).collect();
    let trained: Vec<Vec<f64>> = (0..models)
        .into_par_iter()
        .map_init(
            || Trainer::new(&problem, &family, training),
            |trainer, i| {
                let weights = trainer.train(&mut model_rng(11, i)).unwrap();
                let weights = DVector::from_column_slice(weights);
                places.iter().map(|phi| phi.dot(&weights)).collect()
            },
        )
        .collect();
    let drawn = data_sets(&problem.data, training, sets, &mut model_rng(12, 0)).unwrap();
    let fresh = Training {
        draws: 1,
        ..training.clone()
    };
    let given: Vec<(DVector<f64>, DMatrix<f64>)> = drawn
        .into_iter()
        .map(|data| {
            let problem = Problem {
                data,
                ..problem.clone()
            };
            let found = equivalent(&problem, &family, &fresh).unwrap();
            (found.weights.mean.clone(), found.weights.covariance.clone())
        })
        .collect();
    let (n, k) = (models as f64, sets as f64);
    let (mut observed, mut predicted, mut between, mut off) = (0.0, 0.0, 0.0, 0.0_f64);
    for (place, phi) in places.iter().enumerate() {
        let mean = trained.iter().map(|o| o[place]).sum::<f64>() / n;
        let variance = trained
            .iter()
            .map(|o| (o[place] - mean).powi(2))
            .sum::<f64>()
            / (n - 1.0);
        let means: Vec<f64> = given.iter().map(|(w, _)| phi.dot(w)).collect();
        let average = means.iter().sum::<f64>() / k;
        let spread = means.iter().map(|m| (m - average).powi(2)).sum::<f64>() / (k - 1.0);
        let inside = given.iter().map(|(_, c)| phi.dot(&(c * phi))).sum::<f64>() / k;
        observed += variance;
        predicted += spread + inside;
        between += spread;
        off = off.max((average - mean).abs() / variance.sqrt());
    }
    println!(
        "{} x {}: trace {:.3}, mean off by {off:.3} std, {:.0} % between data sets",
        training.clean_points(),
        training.draws,
        predicted / observed,
        100.0 * between / predicted
    );
    // The bars of the equivalent (7 % at any number of samples), and of the variance between so many data sets, of which each place
    // has its own for the most part: 5 standard errors of one of them, for its share.
    let share = between / predicted;
    let allowed = 0.07 + 5.0 * share * (2.0 / k).sqrt() / 2.0;
    assert!(
        (predicted / observed - 1.0).abs() < allowed,
        "{predicted} {observed}"
    );
    // The mean of K independent data sets is known to 1/sqrt(K) of the spread between them; strata do better.
    let noise = 4.0 * (share / k + 1.0 / n).sqrt();
    assert!(off < 0.1 + noise, "mean off by {off} standard deviations");
}

#[test]
fn d27_5_mean_and_covariance_against_trained_models() {
    // Few points with many draws, whose choice is most of what varies, and two draws each, where N' = N would be far off.
    against_models(two_gaussians(), &protocol(12, 20), 4000, 64);
    let points = Data::points(&[vec![-1.0], vec![0.0], vec![1.0]], None).unwrap();
    against_models(points, &protocol(120, 2), 4000, 64);
}

#[test]
fn d27_6_each_data_set_is_free_and_together_they_are_stratified() {
    // One Gaussian: the sum of a data set's points.
    let data = Data::diagonal_mixture(&[vec![0.5]], &[vec![2.0]], None).unwrap();
    let training = protocol(3, 2);
    let (count, repeats) = (8, 4000);
    let (mut own, mut first_by_second, mut all) = (Vec::new(), 0.0, Vec::new());
    for repeat in 0..repeats {
        let sets = data_sets(&data, &training, count, &mut model_rng(5, repeat)).unwrap();
        let sums: Vec<f64> = sets
            .iter()
            .map(|set| set.components().iter().map(|c| c.mean[0] - 0.5).sum())
            .collect();
        let points = sets[0].components();
        first_by_second += (points[0].mean[0] - 0.5) * (points[1].mean[0] - 0.5);
        own.push(sums[0]);
        all.push(sums.iter().sum::<f64>() / count as f64);
    }
    // N' = 5: five independent points of variance 4.
    assert_drawn(&own, 0.0, 5.0 * 4.0, 0.0, "one data set");
    let covariance = first_by_second / repeats as f64;
    assert!(
        covariance.abs() < 5.0 * 4.0 / (repeats as f64).sqrt(),
        "{covariance}"
    );
    // Within a stratum (a, b) of a standard normal variable, of probability 1/K: E[z] = K (pdf(a) - pdf(b)), E[z^2] = 1 + K (a pdf(a)
    // - b pdf(b)).
    let edge = |i: usize| -> Option<f64> {
        (i > 0 && i < count).then(|| quantile(i as f64 / count as f64))
    };
    let pdf =
        |z: Option<f64>| z.map_or(0.0, |z| (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt());
    let k = count as f64;
    let within = (0..count).map(|i| {
        let (a, b) = (edge(i), edge(i + 1));
        let mean = k * (pdf(a) - pdf(b));
        let square = 1.0 + k * (a.unwrap_or(0.0) * pdf(a) - b.unwrap_or(0.0) * pdf(b));
        square - mean * mean
    });
    let variance = 5.0 * 4.0 * within.sum::<f64>() / (k * k);
    assert!(variance < 0.2 * 5.0 * 4.0 / k);
    assert_drawn(&all, 0.0, variance, 0.0, "mean of the data sets");
}

/// Quantile of the standard normal law, by bisection of its distribution function.
fn quantile(u: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..80 {
        let middle: f64 = 0.5 * (low + high);
        match 0.5 * libm::erfc(-middle / std::f64::consts::SQRT_2) < u {
            true => low = middle,
            false => high = middle,
        }
    }
    0.5 * (low + high)
}
