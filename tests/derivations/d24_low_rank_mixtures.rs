//! derivations/24-low-rank-mixtures.md, against dense linear algebra by nalgebra.

use nalgebra::{DMatrix, DVector};
use rand::RngExt;
use rand_distr::StandardNormal;

use vkernel::numerics::random::stream;
use vkernel::numerics::subspace::{leading_subspace, principal_sines, random_basis};
use vkernel::problem::{CloudPosterior, Component, Data, Diffusion, LowRankPosterior, Problem};
use vkernel::readout::principal_directions;
use vkernel::statistics::SubspaceFluctuation;

const VP: Diffusion = Diffusion::Vp {
    beta_min: 0.1,
    beta_delta: 19.9,
};

fn problem(dim: usize, ranks: &[usize], noise: f64, weights: &[f64], seed: u64) -> Problem {
    let mut rng = stream(seed, 0);
    let bases: Vec<_> = ranks
        .iter()
        .map(|d| random_basis(&mut rng, dim, *d))
        .collect();
    Problem {
        data: Data::low_rank(&bases, noise, Some(weights)).unwrap(),
        diffusion: VP,
        t_min: 1e-3,
        t_max: 1.0,
    }
}

/// Points of x_t, coordinate-major, that belong to all components and lie off all of them.
fn positions(problem: &Problem, t: f64, n: usize, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, 1);
    let (alpha, sigma) = (problem.diffusion.alpha(t), problem.diffusion.sigma(t));
    let dim = problem.dim();
    let mut x = vec![0.0; dim * n];
    let mut x0 = vec![0.0; dim];
    for k in 0..n {
        problem.data.sample(&mut rng, &mut x0);
        for i in 0..dim {
            let wild = if k % 4 == 3 { 0.3 } else { 0.0 };
            x[i * n + k] = alpha * x0[i] + (sigma + wild) * rng.sample::<f64, _>(StandardNormal);
        }
    }
    x
}

/// What dense linear algebra says at one position.
struct Dense {
    log_density: f64,
    weights: Vec<f64>,
    mean: DVector<f64>,
    score: DVector<f64>,
    covariance: DMatrix<f64>,
}

/// By Cholesky factors and inverses of the n x n covariances of the components, from the bases alone.
fn dense(
    bases: &[DMatrix<f64>],
    noise: f64,
    weights: &[f64],
    at: (f64, f64),
    x: &DVector<f64>,
) -> Dense {
    let (alpha, sigma2) = at;
    let dim = x.len();
    let identity = DMatrix::<f64>::identity(dim, dim);
    let (mut logs, mut means, mut scores, mut own) = (vec![], vec![], vec![], vec![]);
    for (basis, weight) in bases.iter().zip(weights) {
        let sigma = basis * basis.transpose() + &identity * (noise * noise);
        let m = &sigma * (alpha * alpha) + &identity * sigma2;
        let factor = m.clone().cholesky().unwrap();
        let log_det = 2.0 * factor.l().diagonal().map(f64::ln).sum();
        let solved = factor.solve(x);
        let constant = dim as f64 * (2.0 * std::f64::consts::PI).ln();
        logs.push(weight.ln() - 0.5 * (x.dot(&solved) + log_det + constant));
        means.push(&sigma * &solved * alpha);
        own.push(&sigma - &sigma * factor.solve(&sigma) * (alpha * alpha));
        scores.push(-solved);
    }
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|l| (l - top).exp()).sum();
    let weights: Vec<f64> = logs.iter().map(|l| (l - top).exp() / sum).collect();
    let add = |all: &[DVector<f64>]| {
        let terms = all.iter().zip(&weights).map(|(v, w)| v * *w);
        terms.fold(DVector::zeros(dim), |a, b| a + b)
    };
    let mean = add(&means);
    let mut covariance = DMatrix::zeros(dim, dim);
    for ((m, c), w) in means.iter().zip(&own).zip(&weights) {
        let deviation = m - &mean;
        covariance += (c + &deviation * deviation.transpose()) * *w;
    }
    Dense {
        log_density: top + sum.ln(),
        score: add(&scores),
        weights,
        mean,
        covariance,
    }
}

fn bases(problem: &Problem) -> Vec<DMatrix<f64>> {
    let all = problem.data.subspaces().unwrap();
    all.into_iter().cloned().collect()
}

/// Largest difference relative to the largest element.
fn off(a: &[f64], b: &[f64]) -> f64 {
    let scale = b.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale
}

#[test]
fn d24_1_functions_of_the_covariance() {
    let problem = problem(7, &[2, 3], 0.4, &[0.5, 0.5], 11);
    for component in problem.data.components() {
        let sigma = component.covariance();
        let shifted = &sigma + DMatrix::identity(7, 7) * 0.3;
        let inverse = shifted.clone().try_inverse().unwrap();
        let own = component.spectral_matrix(|v| 1.0 / (v + 0.3));
        assert!(off(own.as_slice(), inverse.as_slice()) < 1e-13);
        let y = DVector::from_fn(7, |i, _| (i as f64).sin() + 0.2);
        let product = component.spectral(|v| 1.0 / (v + 0.3), y.clone());
        assert!(off(product.as_slice(), (inverse * y).as_slice()) < 1e-13);
    }
}

/// Score, posterior and C at n = 48 against dense linear algebra: the bar is 1e-10.
#[test]
fn d24_2_d24_4_d24_5_posterior_against_dense_linear_algebra() {
    let weights = [0.5, 0.2, 0.3];
    let mut worst = [0.0_f64; 7];
    for (case, noise) in [0.0, 0.05, 0.5].into_iter().enumerate() {
        let problem = problem(48, &[3, 8, 5], noise, &weights, 21 + case as u64);
        let (bases, n) = (bases(&problem), 12);
        for t in [0.01, 0.1, 0.4, 1.0] {
            let x = positions(&problem, t, n, 31 + case as u64);
            let posterior = LowRankPosterior::new(&problem, t);
            let (mut score, mut shares) = (vec![0.0; 48 * n], vec![0.0; 3 * n]);
            let logs = posterior.score(&x, &mut score, &mut shares);
            let mut mean = vec![0.0; 48 * n];
            CloudPosterior::new(&problem, t).mean(&x, &mut mean);
            let at = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
            for k in 0..n {
                let column = |all: &[f64]| DVector::from_fn(48, |i, _| all[i * n + k]);
                let position = column(&x);
                let truth = dense(&bases, noise, &weights, at, &position);
                let point = posterior.at(position.as_slice());
                let v = DVector::from_fn(48, |i, _| (0.7 * i as f64 + 0.1).cos());
                let product = &truth.covariance * &v;
                let shares = &shares[3 * k..][..3];
                let pairs = shares.iter().zip(&truth.weights);
                let errors = [
                    (logs[k] - truth.log_density).abs() / truth.log_density.abs(),
                    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max),
                    off(column(&score).as_slice(), truth.score.as_slice()),
                    off(column(&mean).as_slice(), truth.mean.as_slice()),
                    off(point.covariance().as_slice(), truth.covariance.as_slice()),
                    off(point.covariance_times(&v).as_slice(), product.as_slice())
                        .max((point.quadratic_form(&v) / v.dot(&product) - 1.0).abs()),
                    (point.trace() / truth.covariance.trace() - 1.0).abs(),
                ];
                for (w, e) in worst.iter_mut().zip(errors) {
                    *w = w.max(e);
                }
                let own = problem.posterior(position.as_slice(), t);
                assert!(off(own.covariance.as_slice(), truth.covariance.as_slice()) < 1e-10);
                assert!(
                    (point.proxy_score_factor() * own.covariance[(0, 0)]
                        / own.proxy_score_covariance()[(0, 0)]
                        - 1.0)
                        .abs()
                        < 1e-12
                );
            }
        }
    }
    eprintln!("log density, weights, score, mean, covariance, its products, its trace: {worst:?}");
    assert!(worst.iter().all(|w| *w < 1e-10), "{worst:?}");
}

/// At noise so small that |x|^2 - |U^T x|^2 has no digits left: a position on a subspace and its own noise in closed form.
#[test]
fn d24_2_near_a_subspace_at_small_noise() {
    let problem = problem(48, &[4], 0.0, &[1.0], 41);
    let basis = &bases(&problem)[0];
    let t = 1e-10;
    let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
    let a = DVector::from_column_slice(&[1.0, -0.5, 0.25, 2.0]);
    // A direction off the subspace.
    let mut e = DVector::from_fn(48, |i, _| (i as f64 + 0.5).sin());
    e -= basis * basis.tr_mul(&e);
    e -= basis * basis.tr_mul(&e);
    let e = e.normalize() * (3.0 * sigma2.sqrt());
    let x = basis * &a * alpha + &e;
    let point = LowRankPosterior::new(&problem, t)
        .at(x.as_slice())
        .log_density;
    let ln = |v: f64| (2.0 * std::f64::consts::PI * v).ln();
    let expected = -0.5 * (9.0 + a.norm_squared() * alpha * alpha / (alpha * alpha + sigma2))
        - 0.5 * (4.0 * ln(alpha * alpha + sigma2) + 44.0 * ln(sigma2));
    // Rounding of x itself, 2e-16 beside a noise of 5e-6 at a distance of three times that: 1e-10 of the exponent.
    assert!((point - expected).abs() < 1e-8, "{:e}", point - expected);
}

#[test]
fn d24_3_weights_of_the_paper() {
    let weights = [0.3, 0.7];
    let problem = problem(20, &[4, 2], 0.0, &weights, 51);
    let bases = bases(&problem);
    for t in [0.05, 0.3, 0.8] {
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        let x = positions(&problem, t, 10, 52);
        let mut shares = vec![0.0; 20];
        CloudPosterior::new(&problem, t).responsibilities(&x, &mut shares);
        for k in 0..10 {
            let position = DVector::from_fn(20, |i, _| x[i * 10 + k]);
            let logs: Vec<f64> = bases
                .iter()
                .zip(weights)
                .map(|(u, w): (&DMatrix<f64>, f64)| {
                    let total = alpha * alpha + sigma2;
                    let square = u.tr_mul(&position).norm_squared();
                    w.ln()
                        + 0.5 * u.ncols() as f64 * (sigma2 / total).ln()
                        + alpha * alpha * square / (2.0 * sigma2 * total)
                })
                .collect();
            let first = 1.0 / (1.0 + (logs[1] - logs[0]).exp());
            assert!((shares[2 * k] - first).abs() < 1e-11, "{t} {k}");
        }
    }
}

/// In two, three and nine dimensions the same data written as a mixture with covariances, by other code.
#[test]
fn d24_4_the_same_as_a_mixture_with_covariances() {
    for (dim, ranks, noise) in [
        (2, [1, 1], 0.0),
        (2, [1, 2], 0.2),
        (3, [2, 1], 0.1),
        (9, [2, 4], 0.3),
    ] {
        let thin = problem(dim, &ranks, noise, &[0.4, 0.6], 61);
        let covariances: Vec<Vec<Vec<f64>>> = bases(&thin)
            .iter()
            .map(|u: &DMatrix<f64>| {
                let full = u * u.transpose();
                let entry = |i, j| full[(i, j)] + if i == j { noise * noise } else { 0.0 };
                (0..dim)
                    .map(|i| (0..dim).map(|j| entry(i, j)).collect())
                    .collect()
            })
            .collect();
        let means = vec![vec![0.0; dim]; 2];
        let full = Problem {
            data: Data::full_mixture(&means, &covariances, Some(&[0.4, 0.6])).unwrap(),
            ..thin.clone()
        };
        for t in [0.01, 0.2, 1.0] {
            let x = positions(&thin, t, 20, 62);
            let both = [&thin, &full].map(|p| CloudPosterior::new(p, t).moments(&x));
            let [a, b] = &both;
            assert!(off(&a.mean, &b.mean) < 1e-11, "{dim} {t}");
            assert!(off(&a.score, &b.score) < 1e-10, "{dim} {t}");
            assert!(off(&a.covariance, &b.covariance) < 1e-10, "{dim} {t}");
            assert!(off(&a.log_density, &b.log_density) < 1e-10, "{dim} {t}");
        }
    }
}

/// Draws from p(x0|x) in many dimensions have its mean and covariance.
#[test]
fn d24_5_draws_of_the_clean_point() {
    let problem = problem(12, &[2, 3], 0.1, &[0.5, 0.5], 71);
    let (t, n) = (0.3, 40_000);
    let position: Vec<f64> = (0..12).map(|i| 0.4 * (i as f64).cos()).collect();
    let x: Vec<f64> = position.iter().flat_map(|v| vec![*v; n]).collect();
    let (mut mean, mut clean) = (vec![0.0; 12 * n], vec![0.0; 12 * n]);
    let posterior = CloudPosterior::new(&problem, t);
    posterior.mean_and_draw(&x, &mut stream(72, 0), &mut mean, &mut clean);
    let truth = problem.posterior(&position, t);
    for i in 0..12 {
        let own = &clean[i * n..][..n];
        let average = own.iter().sum::<f64>() / n as f64;
        let variance = own.iter().map(|v| (v - average).powi(2)).sum::<f64>() / n as f64;
        let expected = truth.covariance[(i, i)];
        let error = (expected / n as f64).sqrt();
        assert!((average - truth.mean[i]).abs() < 4.5 * error, "{i}");
        // Two Gaussians at most: a kurtosis of 3 or so.
        assert!(
            (variance / expected - 1.0).abs() < 4.5 * (3.0 / n as f64).sqrt(),
            "{i}"
        );
        assert!((mean[i * n] - truth.mean[i]).abs() < 1e-11);
    }
}

#[test]
fn d24_6_moments_and_principal_axes_of_the_data() {
    let problem = problem(24, &[3, 2], 0.2, &[0.3, 0.7], 81);
    let data = &problem.data;
    let bases = bases(&problem);
    let mut expected = DMatrix::identity(24, 24) * 0.04;
    for (u, w) in bases.iter().zip([0.3, 0.7]) {
        expected += u * u.transpose() * w;
    }
    assert!(off(data.covariance().as_slice(), expected.as_slice()) < 1e-13);
    assert_eq!(data.mean().amax(), 0.0);
    // By eigenvectors of the dense matrix: each direction has the variance of its rank.
    let mut values: Vec<f64> = expected
        .clone()
        .symmetric_eigen()
        .eigenvalues
        .iter()
        .copied()
        .collect();
    values.sort_by(|a, b| b.total_cmp(a));
    for (axis, value) in principal_directions(&problem, 4)
        .unwrap()
        .iter()
        .zip(values)
    {
        let v = DVector::from_column_slice(axis);
        assert!((&expected * &v - &v * value).norm() < 1e-12);
    }
    // Sampled, clean and noised.
    let n = 40_000;
    let mut rng = stream(82, 0);
    let mut second = DMatrix::zeros(24, 24);
    let mut x0 = vec![0.0; 24];
    for _ in 0..n {
        data.sample(&mut rng, &mut x0);
        let v = DVector::from_column_slice(&x0);
        second.ger(1.0 / n as f64, &v, &v, 1.0);
    }
    // Standard error of an element: at most sqrt(3 v_i v_j / n); 576 of them.
    let scale = expected.diagonal().amax();
    assert!((second - &expected).amax() < 4.5 * scale * (3.0_f64 / f64::from(n)).sqrt());
    let component: &Component = &data.components()[0];
    let direction: Vec<f64> = (0..24).map(|i| f64::from(u8::from(i == 5))).collect();
    let along = component.variance_along(&direction);
    assert!((along - component.covariance()[(5, 5)]).abs() < 1e-14);
}

/// Seconds that this thread has computed, where the system tells (in hundredths), else wall-clock ones.
fn thread_seconds(started: std::time::Instant) -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    // After the name in brackets: user and system time are fields 14 and 15.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: Vec<f64> = fields
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse().ok())
        .collect();
    match ticks[..] {
        [user, system] => (user + system) / 100.0,
        _ => started.elapsed().as_secs_f64(),
    }
}

/// Score and posterior weights at 10^4 points in 4096 dimensions, ten subspaces of dimension 8, on one thread: the bar is 5 s.
#[test]
#[ignore = "a measurement"]
fn d24_4_cost_in_4096_dimensions() {
    let weights = [0.1; 10];
    let problem = problem(4096, &[8; 10], 0.01, &weights, 101);
    let n = 10_000;
    for t in [0.01, 0.5] {
        let x = positions(&problem, t, n, 102);
        let (mut score, mut shares) = (vec![0.0; x.len()], vec![0.0; 10 * n]);
        let started = std::time::Instant::now();
        let before = thread_seconds(started);
        let posterior = LowRankPosterior::new(&problem, t);
        posterior.score(&x, &mut score, &mut shares);
        let computed = thread_seconds(started) - before;
        let wall = started.elapsed().as_secs_f64();
        eprintln!("t = {t}: {computed:.2} s computed, {wall:.2} s of wall-clock time");
        assert!(computed < 5.0, "{computed}");
    }
}

/// Draws of the largest tangent: on lines a ratio of chi squares with a known mean, else against subspaces learned from points.
#[test]
fn d24_7_largest_tangent_of_a_subspace_learned_from_few_points() {
    let law = |rank, samples, noise| SubspaceFluctuation {
        ambient: 12,
        rank,
        noise,
        samples,
    };
    let mut rng = stream(111, 0);
    // d = 1: T^2 = s^2 chi^2_11/chi^2_12, of mean s^2 11/10 and variance 2 s^4 11 (11 + 10)/(10^2 8).
    let n = 20_000;
    let line = law(1, 12, 0.1);
    let draws = (0..n).map(|_| line.largest_tangent(&mut rng).unwrap().unwrap().powi(2));
    let mean = draws.sum::<f64>() / f64::from(n);
    let error = 0.01 * (2.0 * 11.0 * 21.0 / 800.0 / f64::from(n)).sqrt();
    assert!((mean - 0.011).abs() < 4.5 * error, "{mean}");
    assert_eq!(law(3, 2, 0.1).largest_tangent(&mut rng), Ok(None));
    // Medians of the logarithm: of the draws, and of subspaces learned at so little noise that the first order is all.
    let (few, noise, trials) = (law(3, 4, 1e-6), 1e-6, 2000);
    let truth = random_basis(&mut rng, 12, 3);
    let mut drawn = Vec::new();
    let mut learned = Vec::new();
    for _ in 0..trials {
        drawn.push(few.largest_tangent(&mut rng).unwrap().unwrap().ln());
        let mut normal = |rows, columns| {
            DMatrix::from_fn(rows, columns, |_, _| rng.sample::<f64, _>(StandardNormal))
        };
        let points = &truth * normal(3, 4) + normal(12, 4) * noise;
        let found = leading_subspace(&points, 3).unwrap();
        let sines = principal_sines(&found, &truth).unwrap();
        learned.push(sines[2].ln());
    }
    for values in [&mut drawn, &mut learned] {
        values.sort_by(f64::total_cmp);
    }
    // The median is uncertain by a quarter of the distance between the quantiles at 1/2 +- 1/sqrt(2000).
    let at = |values: &[f64], share: f64| values[(share * 2000.0) as usize];
    let step = 1.0 / 2000.0_f64.sqrt();
    let error = 0.25 * (at(&drawn, 0.5 + step) - at(&drawn, 0.5 - step));
    let gap = at(&drawn, 0.5) - at(&learned, 0.5);
    assert!(
        gap.abs() < 4.5 * std::f64::consts::SQRT_2 * error,
        "{gap} {error}"
    );
}
