//! derivations/22-kernel-machines.md: samples that share clean points.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use vkernel::family::KernelFamily;
use vkernel::family::kernel::{Base, Embedding, Kernel, Node, Part, TimeEmbedding};
use vkernel::monte_carlo::{KernelTrainer, model_rng};
use vkernel::problem::{Data, Diffusion, Objective, Prediction, Problem, Samples, Training};
use vkernel::statistics::{KernelStatistics, StatisticsError, kernel_statistics};

use super::common::*;
use super::d22_kernel_machines::{
    PLACES, family, features, flow_in_the_expansion, graded, line, near, rbf, small, statistics,
    trained, training,
};

fn shared(samples: usize, draws: usize, time: f64) -> Training {
    Training {
        draws,
        ..training(samples, 0.0, Some(time))
    }
}

#[test]
fn d22_12_samples_share_their_clean_points() {
    let problem = line();
    let draw = |training: &Training| {
        Samples::draw(
            &problem,
            Prediction::Denoiser,
            training,
            &mut model_rng(5, 0),
        )
    };
    // Continuous data, so that two clean points are never the same.
    let wide = Problem {
        data: Data::diagonal_mixture(&[vec![0.0]], &[vec![1.0]], None).unwrap(),
        ..line()
    };
    let protocol = shared(22, 4, 1.0);
    let own = Samples::draw(&wide, Prediction::Denoiser, &protocol, &mut model_rng(5, 0));
    for k in 0..22 {
        for j in 0..k {
            // The target of a denoiser is the clean point.
            assert_eq!(own.y[k] == own.y[j], k / 4 == j / 4, "samples {j} and {k}");
            assert!(own.t[k] != own.t[j] && own.x[k] != own.x[j]);
        }
    }
    // The exact objective sees the same samples.
    let noisy = draw(&protocol);
    let exact = draw(&Training {
        objective: Objective::Esm,
        ..protocol
    });
    assert_eq!((&noisy.t, &noisy.x), (&exact.t, &exact.x));
    for k in 0..22 {
        assert_eq!(noisy.y[k], noisy.y[k / 4 * 4]);
        let mean = problem.posterior(&[exact.x[k]], exact.t[k]).mean[0];
        close(exact.y[k], mean, 1e-12, "exact target");
    }
}

/// Variance of trained functions, summed over some places: of `models` machines, and predicted; and the means' largest error in
/// standard deviations.
fn against_machines(training: &Training, models: u64) -> (f64, f64, f64) {
    let (problem, family) = small();
    let found = statistics(&problem, &family, training);
    let trainer = KernelTrainer::new(&problem, &family, training);
    let outputs: Vec<Vec<f64>> = (0..models)
        .into_par_iter()
        .map(|i| trained(&flow_in_the_expansion(&trainer, &problem, training, i)))
        .collect();
    let n = models as f64;
    let (mut observed, mut predicted, mut off) = (0.0, 0.0, 0.0_f64);
    for (k, place) in PLACES.iter().enumerate() {
        let phi = features(&family, *place);
        let mean = outputs.iter().map(|o| o[k]).sum::<f64>() / n;
        let variance = outputs.iter().map(|o| (o[k] - mean).powi(2)).sum::<f64>() / (n - 1.0);
        observed += variance;
        predicted += found.weights.standard_deviation(&phi, 0).powi(2);
        off = off.max((mean - found.weights.mean.dot(&phi)).abs() / variance.sqrt());
    }
    println!(
        "{:?}, m = {}: leverage {:.3}, trace {:.3}, mean off by {off:.3}; {:?}",
        training.objective,
        training.draws,
        found.largest_leverage,
        predicted / observed,
        found.parts
    );
    (observed, predicted, off)
}

#[test]
fn d22_12_covariance_against_trained_machines() {
    let models = 3000;
    for (draws, objective) in [
        (8, Objective::Dsm),
        (24, Objective::Dsm),
        (24, Objective::Esm),
    ] {
        let mut training = shared(240, draws, 0.5);
        training.objective = objective;
        let (observed, predicted, off) = against_machines(&training, models);
        // The bars of D22.5: 5 % and 0.1 standard deviations where leverages are small, with the machines' own noise.
        near(predicted, observed, observed, 0.05 + 0.026, "trace");
        assert!(off < 0.1 + 4.0 / (models as f64).sqrt(), "{off}");
    }
}

#[test]
fn d22_12_ten_clean_points_against_trained_machines() {
    // Trained twenty times as long, where most of what varies is which points were drawn.
    let (models, training) = (2000, shared(240, 24, 10.0));
    let (problem, family) = small();
    let found = statistics(&problem, &family, &training);
    let parts = found.parts.unwrap();
    assert!(found.largest_leverage < 0.2);
    assert!(parts.repeats > 2.0 * (parts.design + parts.target_noise));
    let (observed, predicted, _) = against_machines(&training, models);
    near(predicted, observed, observed, 0.05 + 0.032, "trace");
}

/// A point of the data with averages over its samples, by Gauss rules given the point: no posterior enters.
struct Point {
    probability: f64,
    /// Probabilities of the nodes given the point.
    weights: Vec<f64>,
    /// sqrt(lambda) L^T phi at the nodes, r x nodes.
    rows: DMatrix<f64>,
    /// sqrt(lambda) y, nodes x D.
    targets: DMatrix<f64>,
}

fn points(problem: &Problem, family: &KernelFamily, training: &Training) -> Vec<Point> {
    let dim = problem.dim();
    let (times, normal) = match dim {
        1 => (
            legendre_rule(24, problem.t_min, problem.t_max),
            normal_rule(40),
        ),
        _ => (
            legendre_rule(8, problem.t_min, problem.t_max),
            normal_rule(16),
        ),
    };
    let span = problem.t_max - problem.t_min;
    let components = problem.data.components().iter().zip(problem.data.weights());
    components
        .map(|(component, probability)| {
            let (mut weights, mut rows, mut targets) = (vec![], vec![], vec![]);
            for (t, weight) in &times {
                for node in 0..normal.len().pow(dim as u32) {
                    let xi: Vec<_> = (0..dim as u32)
                        .map(|i| normal[node / normal.len().pow(i) % normal.len()])
                        .collect();
                    let (alpha, sigma) = (problem.diffusion.alpha(*t), problem.diffusion.sigma(*t));
                    let x: Vec<f64> = (component.mean.iter().zip(&xi))
                        .map(|(c, (xi, _))| alpha * c + sigma * xi)
                        .collect();
                    let predicts = family.linear.predicts;
                    let root = training.lambda(problem, predicts, *t).sqrt();
                    let mut phi = DVector::zeros(family.linear.features.len());
                    family.linear.features.values(&x, *t, phi.as_mut_slice());
                    rows.push(family.factor.tr_mul(&phi) * root);
                    weights.push(weight / span * xi.iter().map(|(_, w)| w).product::<f64>());
                    let clean = match training.objective {
                        Objective::Dsm => component.mean.clone(),
                        Objective::Esm => problem.posterior(&x, *t).mean,
                    };
                    let regression = predicts.regression(&problem.diffusion, *t);
                    let target = clean * regression.p + DVector::from_vec(x) * regression.q;
                    targets.push((target * root).transpose());
                }
            }
            Point {
                probability: *probability,
                weights,
                rows: DMatrix::from_columns(&rows),
                targets: DMatrix::from_rows(&targets),
            }
        })
        .collect()
}

/// What the statistics must be, from the points.
struct Expected {
    /// Modes: the columns of L U, F x r.
    directions: DMatrix<f64>,
    rates: DVector<f64>,
    /// Covariances of the influences of samples, and of their means given the clean point, of every output with itself.
    own: Vec<DMatrix<f64>>,
    between: Vec<DMatrix<f64>>,
    /// E[e|c], r x M.
    rows: DMatrix<f64>,
}

fn weighted(matrix: &DMatrix<f64>, weights: &[f64]) -> DMatrix<f64> {
    let mut out = matrix.clone();
    for (mut column, w) in out.column_iter_mut().zip(weights) {
        column *= *w;
    }
    out
}

fn expected(problem: &Problem, family: &KernelFamily, training: &Training) -> Expected {
    let mut points = points(problem, family, training);
    let r = family.factor.ncols();
    let (mut s, mut b) = (DMatrix::zeros(r, r), DMatrix::zeros(r, problem.dim()));
    for point in &points {
        let rows = weighted(&point.rows, &point.weights) * point.probability;
        s += &rows * point.rows.transpose();
        b += rows * &point.targets;
    }
    let eigen = s.symmetric_eigen();
    let b = eigen.eigenvectors.tr_mul(&b);
    for point in &mut points {
        point.rows = eigen.eigenvectors.tr_mul(&point.rows);
    }
    let mut out = Expected {
        directions: &family.factor * &eigen.eigenvectors,
        rows: DMatrix::from_columns(
            &points
                .iter()
                .map(|p| &p.rows * DVector::from_column_slice(&p.weights))
                .collect::<Vec<_>>(),
        ),
        rates: eigen.eigenvalues,
        own: vec![],
        between: vec![],
    };
    let time = training.time.unwrap();
    for o in 0..problem.dim() {
        let (mut mean, mut second) = (DVector::zeros(r), DMatrix::zeros(r, r));
        let mut conditional = vec![];
        for point in &points {
            let u = influences(point, &out.rates, &b.column(o).into_owned(), o, time);
            let own = weighted(&u, &point.weights);
            let average = own.column_sum();
            mean += &average * point.probability;
            second += own * u.transpose() * point.probability;
            conditional.push((average, point.probability));
        }
        let outer = &mean * mean.transpose();
        let squares = conditional
            .iter()
            .map(|(u, pi)| u * u.transpose() * *pi)
            .sum::<DMatrix<f64>>();
        out.own.push(second - &outer);
        out.between.push(squares - outer);
    }
    out
}

/// The influences of a point's samples on output `o`, integrated in time by Gauss rules: int e^{-mu (time - s)} e (y - f_s) ds.
fn influences(
    point: &Point,
    rates: &DVector<f64>,
    targets: &DVector<f64>,
    o: usize,
    time: f64,
) -> DMatrix<f64> {
    let mut out = DMatrix::zeros(rates.len(), point.weights.len());
    for (low, high) in graded(time) {
        for (s, weight) in legendre_rule(8, low, high) {
            let omega = DVector::from_fn(rates.len(), |l, _| {
                let mu = rates[l].max(1e-12);
                targets[l] * -(-mu * s).exp_m1() / mu
            });
            let misfit = point.targets.column(o) - point.rows.tr_mul(&omega);
            let memory = rates.map(|mu| weight * (-mu.max(0.0) * (time - s)).exp());
            out.ger(1.0, &memory, &misfit, 1.0);
        }
    }
    out.component_mul(&point.rows)
}

/// Three points of unequal weight in the plane, and a kernel on them.
fn plane() -> (Problem, KernelFamily) {
    let places = [vec![-0.5, 0.2], vec![0.4, -0.3], vec![0.3, 0.5]];
    let data = Data::points(&places, Some(&[0.5, 0.2, 0.3])).unwrap();
    let problem = problem(data, Diffusion::Edm, 0.2, 0.4);
    let embedding = Embedding {
        dim: 2,
        time: TimeEmbedding::Raw,
        scale_inputs: None,
    };
    let leaf = |of, length| Node::Leaf {
        base: Base::Rbf { length },
        of,
    };
    let product = Node::Product(vec![leaf(Part::Space, 6.0), leaf(Part::Time, 1.5)]);
    let kernel = Kernel::new(2, embedding, product).unwrap();
    let family = family(&problem, kernel, None);
    (problem, family)
}

/// Problems on the line that averages given the clean point are checked on.
fn problems() -> Vec<(Problem, KernelFamily)> {
    let points = [vec![-1.0], vec![0.2], vec![1.0]];
    let data = Data::points(&points, Some(&[0.5, 0.2, 0.3])).unwrap();
    let uneven = problem(data, VP, 0.1, 1.0);
    let noise = KernelFamily::new(&uneven, Prediction::Noise, rbf(1, 1.2), None).unwrap();
    vec![small(), (uneven, noise)]
}

#[test]
fn d22_13_influences_given_the_clean_point() {
    for (problem, family) in problems().into_iter().chain([plane()]) {
        for objective in [Objective::Dsm, Objective::Esm] {
            let mut training = shared(1000, 50, 0.5);
            training.objective = objective;
            let found = statistics(&problem, &family, &training);
            let expected = expected(&problem, &family, &training);
            check_covariance(&found, &expected, &training, &problem);
        }
    }
}

fn check_covariance(
    found: &KernelStatistics,
    expected: &Expected,
    training: &Training,
    problem: &Problem,
) {
    let (p, m) = (training.samples as f64, training.draws as f64);
    let variance = |all: &[DMatrix<f64>]| -> f64 {
        let own = all.iter().map(|c| c.diagonal().dot(&expected.rates));
        own.sum::<f64>() / p
    };
    let parts = found.parts.unwrap();
    let repeats = (m - 1.0) * variance(&expected.between);
    println!(
        "D = {}, {:?}: {parts:?}, repeats {repeats:.6e}",
        problem.dim(),
        training.objective
    );
    // Twice what the refinement of the quadrature must change the covariance by at most, and the plane's.
    let tolerance = match problem.dim() {
        1 => 2e-3,
        _ => 6e-3,
    };
    near(parts.repeats, repeats, repeats, tolerance, "repeats");
    let alone = variance(&expected.own);
    let found_alone = parts.design + parts.target_noise;
    near(found_alone, alone, alone, tolerance, "fresh samples");
    let f = expected.directions.nrows();
    for (o, (own, between)) in expected.own.iter().zip(&expected.between).enumerate() {
        let modes = (own + between * (m - 1.0)) / p;
        let whole = &expected.directions * modes * expected.directions.transpose();
        let block = found.weights.covariance.view((o * f, o * f), (f, f));
        let change = (block - &whole).norm();
        near(change, 0.0, whole.norm(), tolerance, "covariance");
    }
}

#[test]
fn d22_13_a_single_point_is_shared_at_no_cost() {
    let data = Data::points(&[vec![0.5]], None).unwrap();
    let problem = problem(data, VP, 0.1, 1.0);
    let family = family(&problem, rbf(1, 1.2), None);
    let parts = statistics(&problem, &family, &shared(400, 400, 0.5))
        .parts
        .unwrap();
    assert!(parts.design > 0.0);
    near(parts.repeats, 0.0, parts.design, 1e-10, "repeats");
}

#[test]
fn d22_14_leverage_of_a_clean_point() {
    for (problem, family) in problems() {
        let with = shared(1000, 50, 0.5);
        let leverage =
            |training: &Training| statistics(&problem, &family, training).largest_leverage;
        let added = leverage(&with) - leverage(&shared(1000, 1, 0.5));
        let expected = expected(&problem, &family, &with);
        let gains = expected.rates.map(|mu| {
            let mu = mu.max(1e-14);
            -(-mu * 0.5).exp_m1() / mu
        });
        let own: Vec<f64> = (expected.rows.column_iter())
            .map(|e| 49.0 / 1000.0 * e.component_mul(&e).dot(&gains))
            .collect();
        let largest = own.iter().copied().fold(0.0, f64::max);
        println!("{added} {own:?}");
        near(added, largest, largest, 2e-3, "leverage");
        let average: f64 = own
            .iter()
            .zip(problem.data.weights())
            .map(|(a, b)| a * b)
            .sum();
        assert!(average <= own.len() as f64 / 20.0, "{average}");
    }
}

#[test]
fn d22_13_the_same_bits_on_any_number_of_threads() {
    let (problem, family) = small();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap()
            .install(|| statistics(&problem, &family, &shared(400, 8, 0.5)))
    };
    let (one, three) = (on(1), on(3));
    assert_eq!(one.weights.covariance, three.weights.covariance);
    assert_eq!(one.parts, three.parts);
    assert_eq!(one.largest_leverage, three.largest_leverage);
}

#[test]
fn d22_12_what_is_not_covered_is_refused() {
    let (problem, family) = small();
    let refused = |problem: &Problem, training: &Training, first_order: bool| {
        let found = kernel_statistics(problem, &family, training, first_order);
        match found {
            Err(StatisticsError::Shared { draws: 8, found }) => found,
            other => panic!("{other:?}"),
        }
    };
    let flow = shared(400, 8, 0.5);
    assert!(refused(&problem, &flow, false).contains("any number of samples"));
    let ridge = Training {
        time: None,
        ridge: 0.1,
        ..flow.clone()
    };
    assert!(refused(&problem, &ridge, true).contains("ridge"));
    let wide = Problem {
        data: Data::diagonal_mixture(&[vec![0.0]], &[vec![1.0]], None).unwrap(),
        ..problem.clone()
    };
    assert!(refused(&wide, &flow, true).contains("width"));
}
