//! derivations/19-training-by-factors.md.

use nalgebra::DMatrix;
use vkernel::family::features::{
    Chebyshev, Expressions, Factor, FeatureSet, Features, Fourier, Gaussian, Joint, Polynomial,
    Products, SpaceFeatures, Variable,
};
use vkernel::family::{Linear, ProductSums, SampleRows};
use vkernel::monte_carlo::{Trainer, model_rng};
use vkernel::problem::{Data, Objective, Prediction, Problem, Training, Weighting};
use vkernel::symbolic::parse;

use super::common::*;

const EPS: f64 = f64::EPSILON;

fn gaussian(count: usize, low: f64, high: f64) -> FeatureSet {
    FeatureSet::Gaussian(Gaussian::new(count, low, high, 0.5))
}

fn fourier(count: usize) -> FeatureSet {
    FeatureSet::Fourier(Fourier::new(count, -1.5, 1.5))
}

fn polynomial(count: usize) -> FeatureSet {
    FeatureSet::Polynomial(Polynomial::new(count, -1.5, 1.5))
}

fn chebyshev(count: usize, variable: Variable) -> FeatureSet {
    FeatureSet::Chebyshev(Chebyshev::new(count, -1.2, 1.2, variable))
}

fn stretched() -> Variable {
    Variable::Stretched {
        centre: 0.2,
        width: 0.3,
    }
}

fn written() -> FeatureSet {
    let features =
        ["tanh(x)", "x^2", "exp(x)", "sin(3*x)"].map(|text| parse(text, &["x"]).unwrap());
    FeatureSet::Expression(Expressions::new(&features, "x", &[(-2.0, 2.0)]).unwrap())
}

fn time() -> Vec<FeatureSet> {
    vec![gaussian(5, 1e-2, 1.0)]
}

/// Three points in D dimensions.
fn space(dim: usize) -> Problem {
    let points = [[0.9, 0.4, 0.1], [-0.4, 0.9, -0.6], [-0.9, -0.4, 0.5]];
    let points = points.map(|x| x[..dim].to_vec());
    problem(Data::points(&points, None).unwrap(), VP, 1e-2, 1.0)
}

/// Products of the sets of every coordinate with those of time.
fn family(space: Vec<Vec<FeatureSet>>, time: Vec<FeatureSet>, predicts: Prediction) -> Linear {
    Linear {
        features: Features {
            space: SpaceFeatures::Product(space.into_iter().map(Factor::new).collect()),
            time: Factor::new(time),
        },
        predicts,
    }
}

/// 5 x 4 x 5 features.
fn example() -> Linear {
    let space = vec![vec![gaussian(5, -1.5, 1.5)], vec![fourier(4)]];
    family(space, time(), Prediction::Denoiser)
}

/// (6 x 2) x 1 x 5 features.
fn of_one_coordinate() -> Linear {
    let space = vec![vec![gaussian(6, -1.5, 1.5), polynomial(2)], vec![]];
    family(space, time(), Prediction::Score)
}

/// 9 x 7 features of the line, of time not closed.
fn line() -> Linear {
    let time = vec![FeatureSet::Gaussian(Gaussian::new(7, 1e-2, 1.0, 0.8))];
    family(vec![vec![fourier(9)]], time, Prediction::Noise)
}

/// Random waves of two coordinates, which are not closed, times 6 features of time.
fn waves() -> Linear {
    Linear {
        features: Features {
            space: SpaceFeatures::Joint(Joint::random_fourier(2, 7, 0.6, &mut model_rng(3, 0))),
            time: Factor::new(vec![gaussian(6, 1e-2, 1.0)]),
        },
        predicts: Prediction::Denoiser,
    }
}

/// Families of every kind of features in one to three dimensions, and the number of their sums.
fn families() -> Vec<(Linear, usize)> {
    let d = Prediction::Denoiser;
    let plain = |count| chebyshev(count, Variable::Plain);
    let log = || Variable::Log;
    let times = FeatureSet::Chebyshev(Chebyshev::new(5, 1e-2, 1.0, log()));
    vec![
        (example(), 9 * 8 * 9),
        (of_one_coordinate(), (11 * 3) * 9),
        (line(), 17 * 13),
        (waves(), 28 * 11),
        (family(vec![vec![polynomial(8)]], vec![times], d), 15 * 9),
        (
            family(vec![vec![chebyshev(6, stretched())]], vec![fourier(5)], d),
            11 * 9,
        ),
        (
            // A set that is not closed beside sets that are, two sets of time, and the constant.
            family(
                vec![vec![written()], vec![plain(4)]],
                vec![polynomial(3), fourier(3)],
                d,
            ),
            (10 * 7) * (5 * 5),
        ),
        (
            family(
                vec![
                    vec![gaussian(6, -1.5, 1.5)],
                    vec![fourier(5)],
                    vec![polynomial(5)],
                ],
                vec![],
                d,
            ),
            11 * 9 * 9,
        ),
        (
            family(
                vec![vec![fourier(4)], vec![], vec![gaussian(3, -1.5, 1.5)]],
                time(),
                d,
            ),
            (8 * 5) * 9,
        ),
    ]
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

/// Products of the features' factors, those of time last.
fn products(family: &Linear) -> Vec<Products> {
    let features = &family.features;
    [features.space.products(), features.time.products()].concat()
}

/// sqrt(lambda) and the factors of P samples one after another, a sample per column.
fn factors(problem: &Problem, family: &Linear, training: &Training) -> DMatrix<f64> {
    let length = 1 + family.features.factor_sizes().iter().sum::<usize>();
    let mut rows = SampleRows::new(problem, family, training);
    let mut rng = model_rng(7, 0);
    let mut all = DMatrix::zeros(length, training.samples);
    for mut column in all.column_iter_mut() {
        rows.draw_factors(&mut rng, column.as_mut_slice());
    }
    all
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
    for (family, _) in families() {
        let (problem, training) = (space(family.features.space.dim()), training(37));
        let (z, _) = rows_and_targets(&problem, &family, &training, 0);
        let dense = &z * z.transpose();
        let all = factors(&problem, &family, &training);
        let mut first = 0;
        let product = [vec![1], family.features.factor_sizes()]
            .concat()
            .iter()
            .map(|size| {
                let phi = all.rows(first, *size);
                first += size;
                phi.transpose() * phi
            })
            .reduce(|all, gram| all.component_mul(&gram))
            .unwrap();
        // Sums of F <= 150 products of up to 2 x 4 numbers; roundings relative to the diagonal.
        for i in 0..37 {
            for j in 0..37 {
                let scale = (dense[(i, i)] * dense[(j, j)]).sqrt();
                let off = (product[(i, j)] - dense[(i, j)]).abs();
                assert!(off <= 1e-14 * scale, "({i}, {j}): {off:e} of {scale:e}");
            }
        }
    }
}

/// Z^T Z of samples in two chunks, by sums of product functions.
fn gram_by_sums(family: &Linear, factors: &DMatrix<f64>) -> DMatrix<f64> {
    let f = family.features.len();
    let mut sums = ProductSums::new(&family.features).unwrap();
    let (half, mut gram) = (factors.ncols() / 2, DMatrix::zeros(f, f));
    sums.add(factors, 0..half);
    sums.add(factors, half..factors.ncols());
    sums.expand(&mut gram);
    gram
}

#[test]
fn d19_2_primal_gram_is_made_of_sums_of_product_functions() {
    for (family, count) in families() {
        let (problem, training) = (space(family.features.space.dim()), training(300));
        let functions = |p: &Products| p.functions();
        let sums: usize = products(&family).iter().map(functions).product();
        let f = family.features.len();
        assert_eq!(sums, count);
        assert!(sums < f * (f + 1) / 2, "{sums} sums for {f} features");
        let (z, _) = rows_and_targets(&problem, &family, &training, 0);
        let dense = z.tr_mul(&z);
        let gram = gram_by_sums(&family, &factors(&problem, &family, &training));
        // As large as an entry can be where no feature is larger than its set is anywhere: (D19.7) with room for 300 terms.
        let trace = dense.trace();
        for i in 0..f {
            for j in 0..=i {
                let off = (gram[(i, j)] - dense[(i, j)]).abs();
                assert!(off <= 1e-14 * trace, "({i}, {j}): {off:e} of {trace:e}");
            }
        }
    }
    // The numbers of the file: 10 x 10 x 10, by pairs and by functions.
    let triangle = |n: usize| n * (n + 1) / 2;
    assert_eq!((triangle(10).pow(3), triangle(1000)), (166_375, 500_500));
    for (set, functions) in [(gaussian(10, -1.5, 1.5), 6859), (fourier(10), 8000)] {
        assert_eq!(set.products().functions().pow(3), functions);
    }
}

/// Weights of all outputs from either form, and as trained, against LU of the normal equations: features that are summed by
/// products and not, fewer samples than features and more, one and several chunks.
#[test]
fn d19_3_one_factorisation_serves_all_outputs() {
    let constant = |family: Linear| Linear {
        features: Features {
            space: family.features.space,
            time: Factor::default(),
        },
        predicts: family.predicts,
    };
    let mut all: Vec<Linear> = families().into_iter().map(|(family, _)| family).collect();
    all.extend([constant(example()), constant(of_one_coordinate())]);
    for family in all {
        let f = family.features.len();
        let problem = space(family.features.space.dim());
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
                let trained = DMatrix::from_column_slice(f, problem.dim(), weights);
                let off = (trained - &dense).amax();
                assert!(off <= allowed, "F = {f}, P = {samples}: trained {off:e}");
            }
        }
    }
}

/// Values of a set and of its product functions at a point.
fn at(set: &FeatureSet, a: f64) -> (Vec<f64>, Vec<f64>) {
    let products = set.products();
    let (mut values, mut functions) = (vec![0.0; set.len()], vec![0.0; products.functions()]);
    set.values(a, &mut values);
    products.values(&values, &mut functions);
    (values, functions)
}

/// Coefficients of phi_j phi_k in the product functions.
fn coefficients(products: &Products, j: usize, k: usize) -> Vec<f64> {
    let functions = products.functions();
    let unit = |m: usize| -> Vec<f64> { (0..functions).map(|i| f64::from(i == m)).collect() };
    (0..functions)
        .map(|m| products.product(j, k, &unit(m)))
        .collect()
}

/// All products of two features at some points: `allowed` is the largest error of a product of values.
fn check_products(
    set: &FeatureSet,
    points: &[f64],
    allowed: impl Fn(f64, usize, usize, f64) -> f64,
) {
    let products = set.products();
    for &a in points {
        let (values, functions) = at(set, a);
        for j in 0..set.len() {
            for k in 0..set.len() {
                let (product, exact) = (products.product(j, k, &functions), values[j] * values[k]);
                let off = (product - exact).abs();
                let allowed = allowed(a, j, k, exact);
                assert!(off <= allowed, "{j} {k} at {a}: {product:e}, not {exact:e}");
            }
        }
    }
}

const POINTS: [f64; 9] = [-2.7, -1.5, -0.8, -0.33, 0.0, 0.1, 0.71, 1.5, 3.1];

#[test]
fn d19_4_products_of_gaussians_are_gaussians_between_them() {
    let (low, spacing, count) = (-1.5, 0.3, 11);
    for width in [0.2, 0.5, 1.0, 3.0] {
        let set = FeatureSet::Gaussian(Gaussian::new(count, low, low + spacing * 10.0, width));
        let products = set.products();
        assert_eq!(products.functions(), 2 * count - 1);
        let exponent = |a: f64, c: f64| 0.5 * ((a - c) / (width * spacing)).powi(2);
        check_products(&set, &POINTS, |a, j, k, exact| {
            // An exponent is rounded, and with it the factor that the value is multiplied by.
            let centre = |j: usize| low + spacing * j as f64;
            let size = 1.0 + exponent(a, centre(j)) + exponent(a, centre(k));
            8.0 * EPS * size * exact + f64::MIN_POSITIVE
        });
        for j in 0..count {
            for k in 0..=j {
                // One term, and it is the middle's.
                let coefficients = coefficients(&products, j, k);
                let others = coefficients.iter().enumerate().filter(|(m, _)| *m != j + k);
                assert!(others.clone().all(|(_, c)| *c == 0.0) && coefficients[j + k] >= 0.0);
            }
        }
    }
}

#[test]
fn d19_5_products_of_waves_are_waves_of_sums_and_differences() {
    for count in 1..=13 {
        let set = fourier(count);
        let functions = if count % 2 == 1 {
            2 * count - 1
        } else {
            2 * count
        };
        assert_eq!(
            set.products().functions(),
            functions.min(count * (count + 1) / 2)
        );
        check_products(&set, &POINTS, |_, _, _, _| 16.0 * EPS);
        for variable in [Variable::Plain, stretched()] {
            let set = chebyshev(count, variable);
            assert_eq!(
                set.products().functions(),
                (2 * count - 1).min(count * (count + 1) / 2)
            );
            // The recurrence of T_n loses up to n^2 roundings next to the ends.
            let allowed = EPS * (2 * count * count) as f64;
            check_products(&set, &POINTS, |_, _, _, _| allowed);
        }
        for j in 0..count {
            for k in 0..=j {
                let terms = coefficients(&set.products(), j, k);
                assert!(terms.iter().filter(|c| **c != 0.0).count() <= 2);
            }
        }
    }
}

#[test]
fn d19_6_products_of_legendre_polynomials_have_positive_coefficients() {
    let count = 12;
    let set = polynomial(count);
    let products = set.products();
    assert_eq!(products.functions(), 2 * count - 1);
    // |P_n| <= 1 in the range; outside nothing cancels, and the recurrence is good to a rounding per degree.
    check_products(&set, &POINTS, |_, _, _, exact| 1e-14 * exact.abs().max(1.0));
    // The coefficients by projection, with a rule that is exact for degree 4 (n - 1).
    let rule = legendre_rule(2 * count, -1.0, 1.0);
    let double = FeatureSet::Polynomial(Polynomial::new(2 * count - 1, -1.0, 1.0));
    for j in 0..count {
        for k in 0..=j {
            let terms = coefficients(&products, j, k);
            assert!(terms.iter().all(|c| *c >= 0.0));
            for (degree, c) in terms.iter().enumerate() {
                let product = |(z, w): &(f64, f64)| {
                    let mut p = vec![0.0; double.len()];
                    double.values(*z, &mut p);
                    w * p[j] * p[k] * p[degree]
                };
                let integral: f64 = rule.iter().map(product).sum();
                let projected = (degree as f64 + 0.5) * integral;
                assert!(
                    (c - projected).abs() <= 1e-13,
                    "{j} {k} {degree}: {c}, {projected}"
                );
            }
        }
    }
}

/// Features that are hard on rounding: waves and polynomials of a range ten times the data's (nearly dependent), polynomials of
/// half their range (which grow to a million), wide Gaussians (nearly dependent).
fn hard() -> Vec<(&'static str, Linear)> {
    let times = || vec![FeatureSet::Gaussian(Gaussian::new(5, 1e-2, 1.0, 2.0))];
    let d = Prediction::Denoiser;
    let wide = FeatureSet::Fourier(Fourier::new(12, -15.0, 15.0));
    let long = FeatureSet::Polynomial(Polynomial::new(12, -15.0, 15.0));
    let short = FeatureSet::Polynomial(Polynomial::new(10, -0.6, 0.6));
    let flat = FeatureSet::Gaussian(Gaussian::new(12, -1.5, 1.5, 2.0));
    let square = |set: FeatureSet| family(vec![vec![set.clone()], vec![set]], vec![], d);
    vec![
        ("waves", family(vec![vec![wide.clone()]], times(), d)),
        ("polynomials", family(vec![vec![long]], times(), d)),
        ("growing polynomials", family(vec![vec![short]], times(), d)),
        (
            "flat Gaussians",
            family(vec![vec![flat.clone()]], times(), d),
        ),
        ("waves in the plane", square(wide)),
        ("flat Gaussians in the plane", square(flat)),
    ]
}

/// A sum without the rounding of partial sums (Neumaier).
fn careful_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for term in terms {
        let next = sum + term;
        lost += match sum.abs() >= term.abs() {
            true => sum - next + term,
            false => term - next + sum,
        };
        sum = next;
    }
    sum + lost
}

/// mu of every pair of features of a factor at its values.
fn magnitudes(products: &Products, values: &[f64]) -> DMatrix<f64> {
    let mut functions = vec![0.0; products.functions()];
    products.values(values, &mut functions);
    let n = products.features();
    DMatrix::from_fn(n, n, |j, k| {
        coefficients(products, j, k)
            .iter()
            .zip(&functions)
            .map(|(c, h)| (c * h).abs())
            .sum()
    })
}

#[test]
fn d19_7_gram_by_sums_is_as_good_as_by_rows() {
    for (name, family) in hard() {
        let (problem, training) = (space(family.features.space.dim()), training(150));
        let f = family.features.len();
        let p = training.samples;
        let (z, _) = rows_and_targets(&problem, &family, &training, 0);
        let all = factors(&problem, &family, &training);
        let gram = gram_by_sums(&family, &all);
        // Sums over samples of the products of mu.
        let mut bound = DMatrix::zeros(f, f);
        for sample in all.column_iter() {
            let lambda = sample[0] * sample[0];
            let (mut first, mut product) = (1, DMatrix::from_element(1, 1, lambda));
            for products in products(&family) {
                let own = sample.rows(first, products.features()).into_owned();
                product = product.kronecker(&magnitudes(&products, own.as_slice()));
                first += products.features();
            }
            bound += product;
        }
        let plain = z.tr_mul(&z);
        let (mut worst, mut worst_rows) = (0.0_f64, 0.0_f64);
        for i in 0..f {
            for j in 0..=i {
                let terms = || (0..p).map(|k| z[(k, i)] * z[(k, j)]);
                let (exact, size) = (careful_sum(terms()), terms().map(f64::abs).sum::<f64>());
                worst = worst.max((gram[(i, j)] - exact).abs() / bound[(i, j)]);
                worst_rows = worst_rows.max((plain[(i, j)] - exact).abs() / size);
            }
        }
        println!(
            "{name}: {:.1} roundings, by rows {:.1}",
            worst / EPS,
            worst_rows / EPS
        );
        // nu = P bounds any order of summation.
        assert!(
            worst <= p as f64 * EPS,
            "{name}: {:.1} roundings",
            worst / EPS
        );
    }
}

/// At ridges down to none at all, with hardly more samples than features: what is positive definite to rounding is solved, and the
/// weights solve the equations to rounding (relative to the sizes of their terms).
#[test]
fn d19_7_what_is_definite_to_rounding_is_solved() {
    for (name, family) in hard() {
        let (problem, f) = (space(family.features.space.dim()), family.features.len());
        let (mut solved, mut definite, mut worst) = (0, 0, 0.0_f64);
        for (ridge, samples) in [(1e-10, f + 3), (1e-13, f + 3), (1e-15, 3 * f), (0.0, 3 * f)] {
            let training = Training {
                ridge,
                ..training(samples)
            };
            let mut trainer = Trainer::new(&problem, &family, &training);
            for seed in 0..8 {
                let (z, y) = rows_and_targets(&problem, &family, &training, seed);
                let p = samples as f64;
                let normal = z.tr_mul(&z) / p + DMatrix::identity(f, f) * ridge;
                // A Cholesky factorisation of F steps may break down below F roundings of the norm.
                let solvable =
                    normal.symmetric_eigenvalues().min() > f as f64 * EPS * normal.norm();
                definite += usize::from(solvable);
                let weights = match trainer.train(&mut model_rng(7, seed)) {
                    Ok(weights) => DMatrix::from_column_slice(f, problem.dim(), weights),
                    Err(error) => {
                        assert!(!solvable, "{name}, ridge {ridge:e}: {error}");
                        continue;
                    }
                };
                solved += 1;
                let moments = z.tr_mul(&y) / p;
                let residual = (&normal * &weights - &moments).norm();
                let scale = normal.norm() * weights.norm() + moments.norm();
                worst = worst.max(residual / scale);
            }
        }
        println!("{name}: {solved} of 32 solved, {definite} definite; residual {worst:.1e}");
        // Cholesky's backward error is at most F roundings of the norm, that of the sums P.
        assert!(worst <= 4.0 * f as f64 * EPS, "{name}: {worst:e}");
    }
}
