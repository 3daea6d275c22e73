//! derivations/19-training-by-factors.md.

use std::collections::BTreeMap;

use nalgebra::DMatrix;
use vkernel::family::features::{
    Factor, FeatureSet, Features, Fourier, Gaussian, Polynomial, SpaceFeatures,
};
use vkernel::family::{Linear, SampleRows};
use vkernel::monte_carlo::{Trainer, model_rng};
use vkernel::problem::{Data, Objective, Prediction, Problem, Training, Weighting};

use super::common::*;

fn gaussian(count: usize, low: f64, high: f64) -> FeatureSet {
    FeatureSet::Gaussian(Gaussian::new(count, low, high, 0.5))
}

fn fourier(count: usize) -> FeatureSet {
    FeatureSet::Fourier(Fourier::new(count, -1.5, 1.5))
}

fn polynomial(count: usize) -> FeatureSet {
    FeatureSet::Polynomial(Polynomial::new(count, -1.5, 1.5))
}

fn time() -> Factor {
    Factor::new(vec![gaussian(5, 1e-2, 1.0)])
}

fn plane() -> Problem {
    let points = [vec![0.9, 0.4], vec![-0.4, 0.9], vec![-0.9, -0.4]];
    problem(Data::points(&points, None).unwrap(), VP, 1e-2, 1.0)
}

fn family(space: [Vec<FeatureSet>; 2], time: Factor, predicts: Prediction) -> Linear {
    Linear {
        features: Features {
            space: SpaceFeatures::Product(space.into_iter().map(Factor::new).collect()),
            time,
        },
        predicts,
    }
}

/// 5 x 4 x 5 features.
fn example() -> Linear {
    let space = [vec![gaussian(5, -1.5, 1.5)], vec![fourier(4)]];
    family(space, time(), Prediction::Denoiser)
}

/// 12 x 1 x 5 features.
fn of_one_coordinate() -> Linear {
    let space = [vec![gaussian(6, -1.5, 1.5), polynomial(2)], vec![]];
    family(space, time(), Prediction::Score)
}

fn training(samples: usize) -> Training {
    Training {
        objective: Objective::Dsm,
        weighting: Weighting::Snr,
        samples,
        draws: 1,
        ridge: 0.1,
        time: None,
    }
}

/// Numbers of features of the factors, that of time last.
fn sizes(family: &Linear) -> Vec<usize> {
    let mut sizes = family.features.space.factor_sizes();
    sizes.push(family.features.time.len());
    sizes
}

/// All factors of P samples, F_i x P each.
fn factors(problem: &Problem, family: &Linear, training: &Training) -> Vec<DMatrix<f64>> {
    let sizes = sizes(family);
    let mut rows = SampleRows::new(problem, family, training);
    let mut rng = model_rng(7, 0);
    let mut all = DMatrix::zeros(sizes.iter().sum(), training.samples);
    for mut column in all.column_iter_mut() {
        rows.draw_factors(&mut rng, column.as_mut_slice());
    }
    let mut first = 0;
    let part = |size: &usize| {
        first += size;
        all.rows(first - size, *size).into_owned()
    };
    sizes.iter().map(part).collect()
}

/// Rows (P x F) and targets (P x D) of the same samples, written out.
fn rows_and_targets(
    problem: &Problem,
    family: &Linear,
    training: &Training,
    seed: u64,
) -> (DMatrix<f64>, DMatrix<f64>) {
    let (f, p, dim) = (family.features.len(), training.samples, problem.dim());
    let mut rows = SampleRows::new(problem, family, training);
    let (mut z, mut y) = (DMatrix::zeros(p, f), DMatrix::zeros(p, dim));
    let (mut rng, mut row) = (model_rng(7, seed), vec![0.0; f]);
    for k in 0..p {
        let target = rows.draw(&mut rng, &mut row);
        y.row_mut(k).copy_from_slice(target);
        z.row_mut(k).copy_from_slice(&row);
    }
    (z, y)
}

#[test]
fn d19_1_dual_gram_is_the_elementwise_product_of_the_factors() {
    let problem = plane();
    for family in [example(), of_one_coordinate()] {
        let training = training(37);
        let (z, _) = rows_and_targets(&problem, &family, &training, 0);
        let dense = &z * z.transpose();
        let product = factors(&problem, &family, &training)
            .iter()
            .map(|phi| phi.transpose() * phi)
            .reduce(|all, gram| all.component_mul(&gram))
            .unwrap();
        // Sums of F <= 100 products of 2 (n = 3) numbers; roundings relative to the diagonal.
        for i in 0..37 {
            for j in 0..37 {
                let scale = (dense[(i, i)] * dense[(j, j)]).sqrt();
                let off = (product[(i, j)] - dense[(i, j)]).abs();
                assert!(off <= 1e-14 * scale, "({i}, {j}): {off:e} of {scale:e}");
            }
        }
    }
}

/// The indices of feature f in its factors.
fn places(mut f: usize, sizes: &[usize]) -> Vec<usize> {
    let mut places = vec![0; sizes.len()];
    for (place, size) in places.iter_mut().zip(sizes).rev() {
        *place = f % size;
        f /= size;
    }
    places
}

#[test]
fn d19_2_primal_gram_is_made_of_sums_over_pairs() {
    let problem = plane();
    for (family, distinct) in [(example(), 15 * 10 * 15), (of_one_coordinate(), 78 * 15)] {
        let (sizes, training) = (sizes(&family), training(60));
        let factors = factors(&problem, &family, &training);
        let (z, _) = rows_and_targets(&problem, &family, &training, 0);
        let dense = z.transpose() * &z;
        let mut sums = BTreeMap::<Vec<[usize; 2]>, f64>::new();
        for f in 0..dense.nrows() {
            for g in 0..=f {
                let (a, b) = (places(f, &sizes), places(g, &sizes));
                let pairs: Vec<[usize; 2]> = a
                    .iter()
                    .zip(&b)
                    .map(|(j, k)| [*j.min(k), *j.max(k)])
                    .collect();
                let sum = *sums.entry(pairs.clone()).or_insert_with(|| {
                    let term = |p: usize| -> f64 {
                        let pair = |(phi, [j, k]): (&DMatrix<f64>, &[usize; 2])| {
                            phi[(*j, p)] * phi[(*k, p)]
                        };
                        factors.iter().zip(&pairs).map(pair).product()
                    };
                    (0..training.samples).map(term).sum()
                });
                let scale = (dense[(f, f)] * dense[(g, g)]).sqrt();
                let off = (sum - dense[(f, g)]).abs();
                assert!(off <= 1e-14 * scale, "({f}, {g}): {off:e} of {scale:e}");
            }
        }
        assert_eq!(sums.len(), distinct);
        let f = dense.nrows();
        assert!(distinct < f * (f + 1) / 2);
    }
    // The numbers of the file: 10 x 10 x 10.
    let triangle = |n: usize| n * (n + 1) / 2;
    assert_eq!((triangle(10).pow(3), triangle(1000)), (166_375, 500_500));
}

/// Weights of all outputs from either form, and as trained, against LU of the normal equations: features that are summed by
/// pairs and not, fewer samples than features and more, one and several chunks.
#[test]
fn d19_3_one_factorisation_serves_all_outputs() {
    let problem = plane();
    let constant = |family: Linear| Linear {
        features: Features {
            space: family.features.space,
            time: Factor::default(),
        },
        predicts: family.predicts,
    };
    let families = [
        example(),
        of_one_coordinate(),
        constant(example()),
        constant(of_one_coordinate()),
    ];
    for family in families {
        let f = family.features.len();
        for samples in [1, 9, f - 1, f, f + 7, 700] {
            let training = training(samples);
            let mut trainer = Trainer::new(&problem, &family, &training);
            for seed in 0..2 {
                let weights = trainer.train(&mut model_rng(7, seed)).unwrap();
                let (z, y) = rows_and_targets(&problem, &family, &training, seed);
                let p = samples as f64;
                let normal = z.tr_mul(&z) / p + DMatrix::identity(f, f) * training.ridge;
                let dense = normal.lu().solve(&(z.tr_mul(&y) / p)).unwrap();
                let gram =
                    &z * z.transpose() + DMatrix::identity(samples, samples) * (p * training.ridge);
                let dual = z.tr_mul(&gram.lu().solve(&y).unwrap());
                // The condition number is at most tr(Z^T Z / P)/rho ~ 1e4 here, times a rounding of each side.
                let allowed = 1e-10 * dense.amax();
                let off = (&dual - &dense).amax();
                assert!(off <= allowed, "F = {f}, P = {samples}: dual {off:e}");
                let trained = DMatrix::from_column_slice(f, 2, weights);
                let off = (trained - &dense).amax();
                assert!(off <= allowed, "F = {f}, P = {samples}: trained {off:e}");
            }
        }
    }
}
