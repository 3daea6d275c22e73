use super::common::*;
use super::dense::Dense;
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use vkernel::experiment::{Process, SamplerOptions, Scheme, Spacing};
use vkernel::family::Denoiser;
use vkernel::problem::{Data, Decisions, Diffusion, Problem, StartLaw, mutual_information};
use vkernel::rivals::{LinearScore, Sample, SmoothedScore};
use vkernel::sampler::PfOde;
use vkernel::statistics::deterministic_equivalent;

fn adaptively(problem: &Problem) -> PfOde {
    let options = SamplerOptions {
        process: Process::PfOde,
        start: StartLaw::Normal,
        scheme: Scheme::Adaptive,
        steps: 1,
        grid: Spacing::Log,
        tolerance: 1e-13,
    };
    PfOde::new(problem, &options)
}

/// Gaussian data with the given covariance and mean, as a mixture of one.
fn gaussian(covariance: &DMatrix<f64>, mean: &[f64], diffusion: Diffusion) -> Problem {
    let rows = covariance.row_iter().map(|r| r.iter().copied().collect());
    Problem {
        data: Data::full_mixture(&[mean.to_vec()], &[rows.collect()], None).unwrap(),
        diffusion,
        t_min: 0.02,
        t_max: 0.9,
    }
}

fn on_the_line(points: &[f64], diffusion: Diffusion) -> Problem {
    let points: Vec<Vec<f64>> = points.iter().map(|p| vec![*p]).collect();
    Problem {
        data: Data::points(&points, None).unwrap(),
        diffusion,
        t_min: 0.02,
        t_max: 0.9,
    }
}

/// The denoiser of the fitted Gaussian is the exact one where the data are Gaussian, and its slope the derivative.
#[test]
fn d26_1_the_gaussian_score_is_exact_for_gaussian_data() {
    let covariance =
        DMatrix::from_row_slice(3, 3, &[1.0, 0.3, 0.1, 0.3, 0.5, -0.2, 0.1, -0.2, 0.4]);
    for diffusion in PROCESSES {
        let problem = gaussian(&covariance, &[0.4, -0.2, 0.1], diffusion);
        let score = LinearScore::gaussian(&problem).unwrap();
        for t in [0.05, 0.4, 0.85] {
            let x = [0.7, -0.3, 0.2, 1.4, -0.9, 0.05];
            let mut out = [0.0; 6];
            score.denoise(t, &x, &mut out);
            for k in 0..2 {
                let posterior = problem.posterior(&[x[k], x[2 + k], x[4 + k]], t);
                for i in 0..3 {
                    assert!((out[2 * i + k] - posterior.mean[i]).abs() < 1e-12);
                }
            }
        }
    }
}

/// The closed-form flow against the integrated one, every mean and width, from any start.
#[test]
fn d26_2_its_flow_in_closed_form() {
    let covariance = DMatrix::from_row_slice(2, 2, &[0.9, 0.35, 0.35, 0.3]);
    for diffusion in PROCESSES {
        let problem = gaussian(&covariance, &[0.4, -0.2], diffusion);
        let score = LinearScore::gaussian(&problem).unwrap();
        let (t, s) = (problem.t_max, problem.t_min);
        let (shift, growth) = score.carried(t, s);
        // Trajectories from the origin and from 0.8 along every axis.
        for (axis, growth) in growth.iter().enumerate() {
            let start = score.axes().column(axis) * 0.8;
            let mut x = vec![0.0, start[0], 0.0, start[1]];
            adaptively(&problem).flow(&score, &mut x).unwrap();
            let origin = DVector::from_column_slice(&[x[0], x[2]]);
            let end = DVector::from_column_slice(&[x[1], x[3]]);
            assert!((&origin - &shift).amax() < 1e-9, "{origin} {shift}");
            assert!(((end - origin).norm() - 0.8 * growth).abs() < 1e-9);
        }
    }
}

/// The smoothed score by brute force: the exact score at many shifted positions.
#[test]
fn d26_3_smoothing_on_the_line() {
    for (points, width) in [(vec![-1.0, 1.0], 0.5), (vec![-1.0, 0.0, 0.7], 0.2)] {
        for diffusion in PROCESSES {
            let problem = on_the_line(&points, diffusion);
            let smoothed = SmoothedScore::new(&problem, width, 0);
            for t in [0.05, 0.1, 0.6] {
                let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
                let brute = |x: f64| {
                    let rule = trapezoid(40_000, -9.5, 9.5);
                    let score = |z: f64| {
                        let at = problem.posterior(&[x + alpha * width * z], t);
                        normal_pdf(z, 0.0, 1.0) * at.score[0]
                    };
                    (integrate(&rule, score) * sigma2 + x) / alpha
                };
                for x in [-0.83, 0.02, 0.4] {
                    let mut out = [0.0];
                    let mut slope_at = [0.0];
                    smoothed.denoise_with_slope(t, &[x], &mut out, &mut slope_at);
                    assert!(
                        (out[0] - brute(x)).abs() < 1e-9,
                        "{t} {x}: {out:?} {}",
                        brute(x)
                    );
                    let value = |x: f64| {
                        let mut out = [0.0];
                        smoothed.denoise(t, &[x], &mut out);
                        out[0]
                    };
                    let numeric = slope(value, x, 1e-3 * width * alpha);
                    assert!((slope_at[0] - numeric).abs() < 1e-6 * (1.0 + numeric.abs()));
                }
            }
        }
    }
}

/// In the plane, points on one axis are the line's problem; what the average over low-discrepancy points is off by falls with
/// their number. A Gaussian's denoiser, being linear, is not changed by smoothing, nor any by a width of almost nothing.
#[test]
fn d26_3_smoothing_in_the_plane_and_its_limits() {
    let line = on_the_line(&[-1.0, 1.0], VP);
    let plane = Problem {
        data: Data::points(&[vec![-1.0, 0.0], vec![1.0, 0.0]], None).unwrap(),
        ..line.clone()
    };
    let exact = SmoothedScore::new(&line, 0.5, 0);
    let worst = |nodes: usize| -> f64 {
        let smoothed = SmoothedScore::new(&plane, 0.5, nodes);
        let mut worst = 0.0_f64;
        for (t, x, y) in [(0.05, 0.2, 0.3), (0.2, -0.4, 0.0), (0.5, 0.1, -1.0)] {
            let (mut one, mut two) = ([0.0], [0.0; 2]);
            exact.denoise(t, &[x], &mut one);
            smoothed.denoise(t, &[x, y], &mut two);
            worst = worst.max((one[0] - two[0]).abs()).max(two[1].abs());
        }
        worst
    };
    let (few, many) = (worst(64), worst(4096));
    println!("largest difference with 64 nodes {few:.1e}, with 4096 {many:.1e}");
    assert!(few < 0.03 && many < few / 8.0);

    let covariance = DMatrix::from_row_slice(2, 2, &[0.9, 0.35, 0.35, 0.3]);
    for (problem, width, x) in [
        (
            gaussian(&covariance, &[0.4, -0.2], VP),
            0.7,
            vec![0.3, -0.8],
        ),
        (plane, 1e-7, vec![0.3, -0.8]),
        (line, 1e-7, vec![0.3]),
    ] {
        let smoothed = SmoothedScore::new(&problem, width, 16);
        let mut out = vec![0.0; x.len()];
        smoothed.denoise(0.2, &x, &mut out);
        let posterior = problem.posterior(&x, 0.2);
        for (a, b) in out.iter().zip(posterior.mean.iter()) {
            assert!((a - b).abs() < 1e-10, "{a} {b}");
        }
    }
}

/// Chen's interpolated score between two points: D(x) = x/(1 - delta_t) held between -1 and 1, delta_t = kappa sigma, alpha = 1.
struct TwoPoints {
    kappa: f64,
}

impl Denoiser for TwoPoints {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        for (out, x) in denoised.iter_mut().zip(x) {
            *out = (x / (1.0 - self.kappa * t)).clamp(-1.0, 1.0);
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.denoise(t, x, denoised);
        let inside = 1.0 - self.kappa * t;
        for (slope, x) in slope.iter_mut().zip(x) {
            *slope = if x.abs() < inside { 1.0 / inside } else { 0.0 };
        }
    }
}

/// The end law of Chen's two points in closed form: inside, x/(1 - delta_t) is constant along a trajectory, so that the density
/// is that of the start, stretched; outside, trajectories approach the points, which get the rest of the mass.
#[test]
fn d26_4_the_two_point_law() {
    let problem = Problem {
        t_min: 1e-3,
        t_max: 0.8,
        ..on_the_line(&[-1.0, 1.0], Diffusion::Edm)
    };
    let model = TwoPoints { kappa: 0.5 };
    let inside = |t: f64| 1.0 - model.kappa * t;
    let flow = adaptively(&problem);
    let ends = |starts: &[f64]| -> Vec<f64> {
        // One at a time: the steps then serve one trajectory.
        let end = |x: &f64| {
            let mut x = vec![*x];
            flow.flow(&model, &mut x).unwrap();
            x[0]
        };
        starts.iter().map(end).collect()
    };
    let (from, to) = (inside(problem.t_max), inside(problem.t_min));
    // Density: p_0(z) = p_T(z (1 - delta_T)) (1 - delta_T), from the slope of the map.
    for z in [-0.95, -0.5, 0.0, 0.3, 0.99] {
        let start = z * from;
        let h = 1e-3 * from;
        let x = ends(&[start - h, start, start + h]);
        assert!((x[1] - z * to).abs() < 1e-10, "{z}: {}", x[1]);
        let sigma = problem.t_max;
        let density = normal_pdf(start, 0.0, sigma * sigma) * 2.0 * h / (x[2] - x[0]);
        let closed = normal_pdf(z * from, 0.0, sigma * sigma) * from / to;
        assert!((density - closed).abs() < 1e-8, "{z}: {density} {closed}");
    }
    // Point masses: all that ends beyond 0.999, less the density's share of it. The start of that trajectory, by halving; further out
    // trajectories draw so close to one another that the integrator's own error would blur it.
    let edge = 0.999;
    let (mut low, mut high) = (0.0, 2.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        match ends(&[middle])[0] < edge * to {
            true => low = middle,
            false => high = middle,
        }
    }
    let cdf = |x: f64| vkernel::numerics::normal::cdf(x / problem.t_max);
    let density = legendre_rule(8, edge * to, to);
    let density = integrate(&density, |z| {
        normal_pdf(z * from / to, 0.0, problem.t_max.powi(2)) * from / to
    });
    let mass = 1.0 - cdf(low) - density;
    assert!((mass - (1.0 - cdf(from))).abs() < 1e-8, "{mass}");
    // And they are points: sigma/sigma_T times where they were.
    let x = ends(&[1.5])[0];
    assert!((x - 1.0 - 0.5 * problem.t_min / problem.t_max).abs() < 1e-9);
}

/// Eigenvalues falling as a power, of mean 1.
fn spectrum(dim: usize) -> Vec<f64> {
    let raw: Vec<f64> = (0..dim).map(|k| 1.0 / (1.0 + k as f64)).collect();
    let mean = raw.iter().sum::<f64>() / dim as f64;
    raw.iter().map(|v| v / mean).collect()
}

fn normal(rows: usize, cols: usize, rng: &mut ChaCha8Rng) -> DMatrix<f64> {
    DMatrix::from_fn(rows, cols, |_, _| rng.sample(StandardNormal))
}

/// Linear denoisers trained on n Gaussian points: v^T D(x) for pairs (v, x), over many training sets.
fn trained_denoisers(
    spectrum: &[f64],
    n: usize,
    ratio: f64,
    pairs: &[(DVector<f64>, DVector<f64>)],
    models: u64,
    fitted_mean: bool,
) -> Vec<(f64, f64)> {
    let dim = spectrum.len();
    let values: Vec<Vec<f64>> = (0..models)
        .into_par_iter()
        .map(|m| {
            let mut rng = ChaCha8Rng::seed_from_u64(26);
            rng.set_stream(m);
            let mut x = normal(dim, n, &mut rng);
            for (mut row, v) in x.row_iter_mut().zip(spectrum) {
                row *= v.sqrt();
            }
            let mean = match fitted_mean {
                true => x.column_mean(),
                false => DVector::zeros(dim),
            };
            for mut column in x.column_iter_mut() {
                column -= &mean;
            }
            let covariance = &x * x.transpose() / n as f64;
            let ridged = &covariance + DMatrix::identity(dim, dim) * ratio;
            let inverse = ridged.cholesky().unwrap().inverse();
            let of = |(v, y): &(DVector<f64>, DVector<f64>)| {
                let from = y - &mean;
                v.dot(&(&mean + &from - &inverse * &from * ratio))
            };
            pairs.iter().map(of).collect()
        })
        .collect();
    (0..pairs.len())
        .map(|k| {
            let one = || values.iter().map(|v| v[k]);
            let mean = one().sum::<f64>() / models as f64;
            let var = one().map(|v| (v - mean).powi(2)).sum::<f64>() / (models - 1) as f64;
            (mean, var)
        })
        .collect()
}

fn diagonal_problem(spectrum: &[f64], ratio: f64) -> Problem {
    let dim = spectrum.len();
    let stds = spectrum.iter().map(|v| v.sqrt()).collect();
    Problem {
        data: Data::diagonal_mixture(&[vec![0.0; dim]], &[stds], None).unwrap(),
        diffusion: Diffusion::Edm,
        t_min: 0.5 * ratio.sqrt(),
        t_max: 2.0 * ratio.sqrt(),
    }
}

/// The renormalised ridge solves its equation; isotropic data give a quadratic one.
#[test]
fn d26_5_renormalised_ridge() {
    for (dim, n) in [(2, 1), (16, 8), (64, 1280), (8, 8)] {
        for ratio in [1e-6, 0.1, 30.0] {
            let values = spectrum(dim);
            let score =
                LinearScore::trained(&diagonal_problem(&values, ratio), Sample::KnownMean(n))
                    .unwrap();
            let kappa = score.kappa(ratio);
            let df1: f64 = values.iter().map(|v| v / (v + kappa)).sum();
            let residual = kappa - ratio - kappa * df1 / n as f64;
            assert!(
                residual.abs() < 1e-12 * (1.0 + kappa),
                "{dim} {n} {ratio}: {residual:e}"
            );
            let ones = vec![1.0; dim];
            let score = LinearScore::trained(&diagonal_problem(&ones, ratio), Sample::KnownMean(n))
                .unwrap();
            let c = dim as f64 / n as f64;
            // kappa^2 + kappa (1 - ratio - c) - ratio = 0.
            let b = 1.0 - ratio - c;
            let half = 0.5 * (b * b + 4.0 * ratio).sqrt();
            let closed = if b < 0.0 {
                half - 0.5 * b
            } else {
                ratio / (half + 0.5 * b)
            };
            assert!((score.kappa(ratio) / closed - 1.0).abs() < 1e-10);
            // A fitted mean is one point less of a covariance that is (n - 1)/n as large.
            if n > 1 {
                let problem = diagonal_problem(&ones, ratio);
                let fitted = LinearScore::trained(&problem, Sample::FittedMean(n)).unwrap();
                let less = LinearScore::trained(&problem, Sample::KnownMean(n - 1)).unwrap();
                let raised = ratio * n as f64 / (n as f64 - 1.0);
                assert!((fitted.kappa(ratio) / less.kappa(raised) - 1.0).abs() < 1e-14);
            }
        }
    }
}

/// Mean and variance against trained linear denoisers. The formulas are those of large n and D; how far 64 and 2 dimensions are
/// from that is printed. The variance needs the term q(v, y)^2, which only pairs with little in common can do without.
#[test]
fn d26_6_trained_linear_denoisers() {
    let models = 4000;
    let mut worst_mean = 0.0_f64;
    for (dim, n) in [(64, 32), (64, 128), (16, 32), (16, 320), (2, 40)] {
        let ratio = 0.3;
        let values = spectrum(dim);
        let problem = diagonal_problem(&values, ratio);
        let t = ratio.sqrt();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let random: Vec<DVector<f64>> = (0..6)
            .map(|_| normal(dim, 1, &mut rng).column(0).into())
            .collect();
        let mut pairs: Vec<_> = random
            .windows(2)
            .map(|w| (w[0].clone(), w[1].clone()))
            .collect();
        pairs.push((random[0].clone(), random[0].clone()));
        for fitted in [false, true] {
            let measured = trained_denoisers(&values, n, ratio, &pairs, models, fitted);
            let sample = match fitted {
                true => Sample::FittedMean(n),
                false => Sample::KnownMean(n),
            };
            let score = LinearScore::trained(&problem, sample).unwrap();
            let (mut ratios, mut without, mut deviation) = (Vec::new(), Vec::new(), 0.0_f64);
            for ((v, y), (mean, variance)) in pairs.iter().zip(&measured) {
                let mut out = vec![0.0; dim];
                score.denoise(t, y.as_slice(), &mut out);
                let theory = v.dot(&DVector::from_column_slice(&out));
                let predicted = score.variance(t, v.as_slice(), y.as_slice());
                deviation = deviation.max((mean - theory).abs() / predicted.sqrt());
                ratios.push(variance / predicted);
                without.push(first_term(&score, &values, (t, n), (v, y), fitted) / predicted);
            }
            let average = ratios.iter().sum::<f64>() / ratios.len() as f64;
            let (own, crossed) = (ratios[pairs.len() - 1], without[pairs.len() - 1]);
            println!(
                "d = {dim}, n = {n}, mean {}: variance / predicted {average:.3} on average, {own:.3} for v = y \
                 (there the first term alone is {crossed:.3} of it); mean off by at most {deviation:.3} sd",
                if fitted { "fitted" } else { "known" }
            );
            // 4000 models give a variance to 2.2 %, six pairs together to about 1 %.
            if dim == 64 {
                assert!((average - 1.0).abs() < 0.03, "{average}");
                assert!((own - 1.0).abs() < 0.08 && crossed < 0.9, "{own} {crossed}");
                worst_mean = worst_mean.max(deviation);
            }
        }
    }
    assert!(worst_mean < 0.1, "{worst_mean}");
}

/// kappa^2/(n - df2) q(v, v) (q(y, y) + fitted), written out once more.
fn first_term(
    score: &LinearScore,
    values: &[f64],
    (t, n): (f64, usize),
    (v, y): (&DVector<f64>, &DVector<f64>),
    fitted: bool,
) -> f64 {
    let kappa = score.kappa(t * t);
    let q = |u: &DVector<f64>| -> f64 {
        (u.iter().zip(values))
            .map(|(u, l)| u * u * l / (l + kappa).powi(2))
            .sum()
    };
    let df2: f64 = values.iter().map(|l| (l / (l + kappa)).powi(2)).sum();
    let (one, n) = (if fitted { 1.0 } else { 0.0 }, n as f64);
    kappa * kappa / (n - one - df2) * q(v) * (q(y) + one * (n - 1.0) / n)
}

/// The deterministic equivalent with rows x_0, targets x_0 and ridge sigma^2/alpha^2. Where every sample has the same leverage
/// (isotropic data on a sphere) the two agree to rounding; Gaussian rows, whose leverages vary, differ by a relative order 1/d.
#[test]
fn d26_7_the_deterministic_equivalent() {
    let ratio = 0.3;
    for dim in [2, 8, 32, 64] {
        for per_dim in [0.5, 2.0, 20.0] {
            let n = (per_dim * dim as f64) as usize;
            // A sphere: +- sqrt(d) e_k turned by a rotation.
            let values = vec![1.0; dim];
            let score =
                LinearScore::trained(&diagonal_problem(&values, ratio), Sample::KnownMean(n))
                    .unwrap();
            let kappa = score.kappa(ratio);
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            let turn = normal(dim, dim, &mut rng).qr().q();
            let rows = DMatrix::from_fn(dim, 2 * dim, |i, k| {
                let sign = if k < dim { 1.0 } else { -1.0 };
                sign * (dim as f64).sqrt() * turn[(i, k % dim)]
            });
            let solution =
                deterministic_equivalent(&of_the_sum(rows), n, ratio, 1e-12, None).unwrap();
            let expected = DMatrix::from_element(dim, 1, 1.0 / (1.0 + kappa));
            assert!((&solution.mean - expected).amax() < 1e-9);
        }
    }
    let mut last = f64::INFINITY;
    for dim in [4, 16, 64] {
        let n = 2 * dim;
        let values = spectrum(dim);
        let score =
            LinearScore::trained(&diagonal_problem(&values, ratio), Sample::KnownMean(n)).unwrap();
        let kappa = score.kappa(ratio);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut rows = normal(dim, 4000, &mut rng);
        // Second moments exact, so that only the spread of the leverages is left.
        let moment = &rows * rows.transpose() / 4000.0;
        let whiten = moment.cholesky().unwrap().l().try_inverse().unwrap();
        rows = whiten * rows;
        for (mut row, v) in rows.row_iter_mut().zip(&values) {
            row *= v.sqrt();
        }
        let solution = deterministic_equivalent(&of_the_sum(rows), n, ratio, 1e-10, None).unwrap();
        let mean = (values.iter().enumerate())
            .map(|(k, v)| (solution.mean[(k, 0)] - v / (v + kappa)).abs())
            .fold(0.0, f64::max);
        // Variance of the sum over D(e_1).
        let own = solution.covariances[0][(1, 1)];
        let mut y = vec![0.0; dim];
        y[1] = 1.0;
        let variance = score.variance(ratio.sqrt(), &vec![1.0; dim], &y);
        println!(
            "d = {dim}, n = {n}: mean differs by {mean:.2e}, variance by {:.1} %",
            100.0 * (own / variance - 1.0)
        );
        assert!(mean < 0.75 * last, "{mean} {last}");
        last = mean;
    }
}

/// Rows whose target is the sum of their entries: one output, to which every entry of the mean contributes.
fn of_the_sum(rows: DMatrix<f64>) -> Dense {
    let count = rows.ncols();
    Dense {
        weight: vec![1.0 / count as f64; count],
        mean: DMatrix::from_row_slice(1, count, rows.row_sum().as_slice()),
        rows,
        noise: vec![DMatrix::zeros(1, 1); count],
    }
}

/// At the speciation time of two symmetric points the curvature of ln p at the middle vanishes.
#[test]
fn d26_8_speciation() {
    for diffusion in [VP, Diffusion::Ou, Diffusion::Edm] {
        let a = 0.8;
        let problem = Problem {
            t_max: if diffusion == Diffusion::Edm {
                80.0
            } else {
                5.0
            },
            ..on_the_line(&[-a, a], diffusion)
        };
        let found = Decisions::new(&problem, None);
        assert!((found.leading_variance - a * a).abs() < 1e-14);
        let t = found.speciation.unwrap();
        let log_density = |x: f64| problem.posterior(&[x], t).log_density;
        let width = problem.diffusion.sigma(t);
        let second = curvature(log_density, 0.0, 0.02 * width) * width * width;
        assert!(second.abs() < 1e-8, "{second:e}");
    }
    // In Ornstein-Uhlenbeck (1/2) ln Lambda, where the two have come together.
    let far = Problem {
        t_max: 9.0,
        ..on_the_line(&[-50.0, 50.0], Diffusion::Ou)
    };
    let found = Decisions::new(&far, None);
    let asymptotic = found.speciation_of_large_variance.unwrap();
    assert!((asymptotic - 0.5 * 2500_f64.ln()).abs() < 1e-10);
    assert!((found.speciation.unwrap() - asymptotic).abs() < 3e-4);
}

/// The mutual information by quadrature on the line; in closed form for a Gaussian in three dimensions.
#[test]
fn d26_9_mutual_information() {
    let points = on_the_line(&[-1.0, 0.2, 0.7], VP);
    let mixture = Problem {
        data: Data::diagonal_mixture(
            &[vec![-1.0], vec![0.6]],
            &[vec![0.2], vec![0.4]],
            Some(&[0.3, 0.7]),
        )
        .unwrap(),
        ..points.clone()
    };
    for problem in [points, mixture] {
        for t in [0.05, 0.2, 0.5] {
            let sigma2 = problem.diffusion.sigma2(t);
            let rule = trapezoid(40_000, -9.0, 9.0);
            let entropy = integrate(&rule, |x| {
                let log = problem.posterior(&[x], t).log_density;
                -log.exp() * log
            });
            let noise = 0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * sigma2).ln();
            let found = mutual_information(&problem, t);
            let expected = entropy - noise;
            assert!(
                (found - expected).abs() < 2e-3 * (1.0 + expected),
                "{t}: {found} {expected}"
            );
        }
    }
    let covariance =
        DMatrix::from_row_slice(3, 3, &[1.0, 0.3, 0.1, 0.3, 0.5, -0.2, 0.1, -0.2, 0.4]);
    let problem = gaussian(&covariance, &[0.4, -0.2, 0.1], VP);
    let inside = DMatrix::identity(3, 3) + covariance * problem.diffusion.snr(0.3);
    let expected = 0.5 * inside.determinant().ln();
    assert!((mutual_information(&problem, 0.3) - expected).abs() < 1e-12);
}

/// Collapse: with n points drawn from a Gaussian in closed form; with points, where a random trajectory's posterior has 1 % of its
/// entropy left, by sampling.
#[test]
fn d26_10_collapse() {
    let problem = gaussian(&DMatrix::identity(2, 2), &[0.0, 0.0], VP);
    let found = Decisions::new(&problem, Some(50));
    // ln(1 + snr) = ln n.
    assert!((problem.diffusion.snr(found.collapse.unwrap()) - 49.0).abs() < 1e-6);

    let problem = Problem {
        t_max: 0.99,
        ..on_the_line(&[-1.0, 0.0, 1.0], VP)
    };
    let found = Decisions::new(&problem, Some(1000));
    let t = found.collapse.unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (alpha, sigma) = (problem.diffusion.alpha(t), problem.diffusion.sigma(t));
    let draws = 200_000;
    let left: f64 = (0..draws)
        .map(|k| {
            let x = alpha * (f64::from(k % 3) - 1.0) + sigma * rng.sample::<f64, _>(StandardNormal);
            let logs = [-1.0, 0.0, 1.0].map(|m| -0.5 * ((x - alpha * m) / sigma).powi(2));
            let top = logs.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = logs.iter().map(|l| (l - top).exp()).sum();
            logs.iter()
                .map(|l| (l - top).exp() / sum)
                .filter(|p| *p > 0.0)
                .map(|p| -p * p.ln())
                .sum::<f64>()
        })
        .sum();
    let left = left / f64::from(draws) / 3_f64.ln();
    println!("entropy left at the collapse time: {:.3} %", 100.0 * left);
    assert!((left - 0.01).abs() < 0.001, "{left}");
    assert!(found.collapse < found.speciation);
}
