//! The Fokker-Planck equation in the plane against closed forms, products of solutions on the line, and the naive family
//! sampled as it is defined.

use vkernel::density::{
    Bins, DensityError, Masses, PlaneFokkerPlanck, WhiteNoise, fokker_planck, fokker_planck_plane,
    plane_solution,
};
use vkernel::experiment::Spacing;
use vkernel::family::Naive;
use vkernel::monte_carlo::naive_trajectories;
use vkernel::numerics::normal;
use vkernel::problem::{Data, Diffusion, Problem, StartDensity, StartLaw};
use vkernel::sampler::time_grid;

use super::closed_forms::ClosedForm;
use super::common::*;

const BINS: Bins = Bins {
    low: -2.0,
    high: 2.0,
    count: 30,
};

fn plane(data: Data, (diffusion, t_min, t_max): (Diffusion, f64, f64)) -> Problem {
    Problem {
        data,
        diffusion,
        t_min,
        t_max,
    }
}

fn rotated(degrees: f64, [x, y]: [f64; 2]) -> [f64; 2] {
    let (s, c) = degrees.to_radians().sin_cos();
    [c * x - s * y, s * x + c * y]
}

fn points(all: &[[f64; 2]], degrees: f64) -> Data {
    let turned: Vec<Vec<f64>> = all.iter().map(|p| rotated(degrees, *p).to_vec()).collect();
    Data::points(&turned, None).unwrap()
}

/// Bins row-major, then the mass outside.
type Plane = (Vec<f64>, f64);

fn on_bins(masses: &Masses) -> Plane {
    (masses.inside().to_vec(), masses.tails().iter().sum())
}

fn tv(a: &Plane, b: &Plane) -> f64 {
    let inside: f64 = a.0.iter().zip(&b.0).map(|(a, b)| (a - b).abs()).sum();
    0.5 * (inside + (a.1 - b.1).abs())
}

fn with_outside(inside: Vec<f64>) -> Plane {
    let outside = 1.0 - inside.iter().sum::<f64>();
    (inside, outside)
}

fn solve(problem: &Problem, kappa: f64, churn: f64) -> PlaneFokkerPlanck {
    let started = std::time::Instant::now();
    let noise = WhiteNoise { kappa, churn };
    let solution = fokker_planck_plane(
        problem,
        noise,
        problem.diffusion.sigma(problem.t_max),
        [&BINS, &BINS],
    )
    .unwrap();
    println!(
        "{} cells, {} steps, errors {:?}, mass {:.1e}, smallest {:.1e}, {:.1} s",
        solution.cells.axes[0].cells,
        solution.steps,
        solution.estimate.errors,
        solution.mass_error,
        solution.smallest,
        started.elapsed().as_secs_f64()
    );
    // Rounding of sums over the steps.
    assert!(solution.mass_error < 1e-12, "{:e}", solution.mass_error);
    assert!(solution.smallest >= 0.0, "{:e}", solution.smallest);
    close(
        solution.estimate.masses.total(),
        1.0,
        1.0,
        1e-12,
        "mass in the bins",
    );
    assert!(solution.estimate.masses.cells.iter().all(|m| *m >= 0.0));
    solution
}

/// The stated error is the last change, at an order between one and two: of order one it is what is left.
#[track_caller]
fn within_stated(name: &str, solution: &PlaneFokkerPlanck, exact: &Plane, more: f64) {
    let distance = tv(&on_bins(&solution.estimate.masses), exact);
    let stated = solution.estimate.error() + more;
    println!("{name}: TV {distance:.2e}, stated {stated:.2e}");
    assert!(distance <= stated, "{name}: {distance:e} above {stated:e}");
}

/// Masses of a Gaussian: the second coordinate given the first in closed form, the first by Simpson's rule.
fn gaussian_bins(mean: [f64; 2], covariance: [f64; 3]) -> Plane {
    const STEPS: usize = 16;
    let slope = covariance[1] / covariance[0];
    let given = (covariance[2] - slope * covariance[1]).sqrt();
    let std = covariance[0].sqrt();
    let mut masses = Vec::new();
    for i in 0..BINS.count {
        for j in 0..BINS.count {
            let h = BINS.width() / STEPS as f64;
            let sum: f64 = (0..=STEPS)
                .map(|k| {
                    let weight = match k {
                        0 | STEPS => 1.0,
                        _ if k % 2 == 1 => 4.0,
                        _ => 2.0,
                    };
                    let x = BINS.edge(i) + h * k as f64;
                    let z = (x - mean[0]) / std;
                    let centre = mean[1] + slope * (x - mean[0]);
                    let cdf = |y: f64| normal::cdf((y - centre) / given);
                    weight * (-0.5 * z * z).exp() * (cdf(BINS.edge(j + 1)) - cdf(BINS.edge(j)))
                })
                .sum();
            masses.push(sum * h / 3.0 / (std * (2.0 * std::f64::consts::PI).sqrt()));
        }
    }
    with_outside(masses)
}

/// Everything is linear for Gaussian data and separates along the principal axes of its covariance, here 25 degrees off the
/// grid's: two closed forms on the line, turned.
struct GaussianCase {
    problem: Problem,
    along: [ClosedForm; 2],
    variances: [f64; 2],
}

const TURN: f64 = 25.0;

impl GaussianCase {
    fn new(window: (Diffusion, f64, f64)) -> Self {
        let (means, stds) = ([0.3, -0.2], [0.8, 0.35]);
        let along = [0, 1].map(|i| ClosedForm::new(window.clone(), means[i], stds[i]));
        let variances = stds.map(|s| s * s);
        let c = turned_covariance(variances);
        let rows = vec![vec![c[0], c[1]], vec![c[1], c[2]]];
        let mean = rotated(TURN, means).to_vec();
        Self {
            problem: plane(Data::full_mixture(&[mean], &[rows], None).unwrap(), window),
            along,
            variances,
        }
    }

    /// Law at t_min; `added` is the variance that the proxy noise adds along each axis.
    fn law(&self, churn: f64, added: [f64; 2]) -> Plane {
        let laws = [0, 1].map(|i| self.along[i].law(churn));
        let variances = [0, 1].map(|i| laws[i].1 + added[i]);
        gaussian_bins(
            rotated(TURN, [laws[0].0, laws[1].0]),
            turned_covariance(variances),
        )
    }

    /// With y = (x - alpha m)/l along an axis, dy is noise of variance kappa b^2 v sigma^2/l^4 dtau.
    fn added(&self, kappa: f64) -> [f64; 2] {
        let d = &self.problem.diffusion;
        self.variances.map(|v| {
            let l2 = |t: f64| d.alpha(t).powi(2) * v + d.sigma2(t);
            let rate = |y: f64| {
                let t = y.exp();
                let (_, b) = d.denoiser_drift(t);
                t * kappa * b * b * v * d.sigma2(t) / l2(t).powi(2)
            };
            let (low, high) = (self.problem.t_min.ln(), self.problem.t_max.ln());
            l2(self.problem.t_min) * quadrature::integrate(rate, low, high, 1e-12).integral
        })
    }
}

fn turned_covariance([v, w]: [f64; 2]) -> [f64; 3] {
    let (s, c) = TURN.to_radians().sin_cos();
    [
        c * c * v + s * s * w,
        c * s * (v - w),
        s * s * v + c * c * w,
    ]
}

#[test]
fn churn_with_a_turned_gaussian_is_the_closed_form() {
    for window in [PROCESSES[0].clone(), PROCESSES[2].clone()] {
        let case = GaussianCase::new(window);
        let name = case.problem.diffusion.name();
        within_stated(
            name,
            &solve(&case.problem, 0.0, 1.0),
            &case.law(1.0, [0.0; 2]),
            0.0,
        );
    }
}

#[test]
fn proxy_noise_with_a_turned_gaussian_is_the_closed_form() {
    let case = GaussianCase::new(PROCESSES[0].clone());
    for kappa in [0.05, 0.2] {
        let exact = case.law(0.0, case.added(kappa));
        let name = format!("kappa {kappa}");
        within_stated(&name, &solve(&case.problem, kappa, 0.0), &exact, 0.0);
    }
}

/// The error falls with the grid, at least at first order.
#[test]
fn the_error_falls_with_the_grid() {
    let case = GaussianCase::new(PROCESSES[0].clone());
    let (proxy, churned) = (case.law(0.0, case.added(0.2)), case.law(1.0, [0.0; 2]));
    for (kappa, churn, exact) in [(0.2, 0.0, &proxy), (0.0, 1.0, &churned)] {
        let errors: Vec<(f64, f64)> = [48, 96, 192]
            .iter()
            .map(|&cells| {
                let noise = WhiteNoise { kappa, churn };
                let solution = plane_solution(&case.problem, noise, cells).unwrap();
                (
                    cells as f64,
                    tv(&on_bins(&solution.binned([&BINS, &BINS])), exact),
                )
            })
            .collect();
        println!("kappa {kappa}, churn {churn}: {errors:?}");
        let order = -log_slope(&errors);
        assert!(order > 0.9, "{order} {errors:?}");
    }
}

/// Wider peaks than at 1e-2 need fewer cells.
const T_MIN: f64 = 3e-2;
const SQUARE: [[f64; 2]; 4] = [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]];

fn two_points(bins: &Bins, kappa: f64, churn: f64) -> (Masses, f64) {
    let line = mixture((VP, T_MIN, 1.0), &[-1.0, 1.0], &[0.0; 2], &[0.5; 2]);
    let solution = fokker_planck(
        &line,
        WhiteNoise { kappa, churn },
        &StartDensity::new(&line, StartLaw::Normal),
        bins,
    )
    .unwrap();
    let error = solution.estimate.error();
    (solution.estimate.masses, error)
}

/// Four points on a square are a product: the posterior, hence drift and noise, separate by coordinate.
#[test]
fn a_square_is_a_product_of_two_lines() {
    for (kappa, churn) in [(0.2, 0.0), (0.0, 1.0)] {
        let (line, error) = two_points(&BINS, kappa, churn);
        let product = line
            .inside()
            .iter()
            .flat_map(|p| line.inside().iter().map(move |q| p * q))
            .collect();
        let problem = plane(points(&SQUARE, 0.0), (VP, T_MIN, 1.0));
        within_stated(
            &format!("square, kappa {kappa}, churn {churn}"),
            &solve(&problem, kappa, churn),
            &with_outside(product),
            2.0 * error,
        );
    }
}

/// The same turned by 30 degrees, which needs the off-diagonal elements of the noise: product of two lines on 1000 bins each,
/// cut into quarters that go to the bin that holds their turned centre.
#[test]
fn a_turned_square_is_the_turned_product() {
    let fine = Bins {
        low: -2.5,
        high: 2.5,
        count: 1000,
    };
    let (kappa, churn) = (0.2, 0.0);
    let (line, error) = two_points(&fine, kappa, churn);
    let turned = |places: &[f64]| {
        let share = 1.0 / (places.len() * places.len()) as f64;
        let line = line.inside();
        let axis: Vec<(f64, f64)> = places
            .iter()
            .flat_map(|p| {
                line.iter()
                    .enumerate()
                    .map(move |(i, m)| (i as f64 + p, *m))
            })
            .map(|(at, m)| (fine.low + fine.width() * at, m))
            .collect();
        let mut product = vec![0.0; BINS.count * BINS.count];
        for (x, p) in &axis {
            for (y, q) in &axis {
                let [a, b] = rotated(30.0, [*x, *y]).map(|x| BINS.cell(x));
                if (1..=BINS.count).contains(&a) && (1..=BINS.count).contains(&b) {
                    product[(a - 1) * BINS.count + b - 1] += share * p * q;
                }
            }
        }
        with_outside(product)
    };
    // Four places in every cell instead of one: what that changes is what the cells' extent amounts to.
    let exact = turned(&[0.25, 0.75]);
    let pixels = tv(&exact, &turned(&[0.5]));
    let problem = plane(points(&SQUARE, 30.0), (VP, T_MIN, 1.0));
    let solution = solve(&problem, kappa, churn);
    println!("reference: cells {pixels:.1e}, error of a line {error:.1e}");
    within_stated("turned square", &solution, &exact, 2.0 * error + pixels);
}

/// Mean total variation between a density and a sample of n, and the standard deviation of that distance.
fn sampling_noise(exact: &Plane, n: usize) -> (f64, f64) {
    let deviations = exact
        .0
        .iter()
        .chain([&exact.1])
        .map(|p| (p * (1.0 - p)).max(0.0) / n as f64);
    let (mut mean, mut variance) = (0.0, 0.0);
    for v in deviations {
        mean += 0.5 * (2.0 * v / std::f64::consts::PI).sqrt();
        variance += 0.25 * (1.0 - 2.0 / std::f64::consts::PI) * v;
    }
    (mean, variance.sqrt())
}

fn sampled(problem: &Problem, kappa: f64, steps: usize, n: usize) -> Plane {
    let mut rng = rng(5);
    let start = problem.diffusion.sigma(problem.t_max);
    let mut x: Vec<f64> = (0..2 * n).map(|_| start * normal(&mut rng)).collect();
    let times = time_grid(Spacing::Log, problem.t_max, problem.t_min, steps);
    naive_trajectories(problem, &Naive { kappa }, 0.0, &times, &mut x, &mut rng);
    let mut masses = vec![0.0; BINS.count * BINS.count];
    for (a, b) in x[..n].iter().zip(&x[n..]) {
        let (i, j) = (BINS.cell(*a), BINS.cell(*b));
        if (1..=BINS.count).contains(&i) && (1..=BINS.count).contains(&j) {
            masses[(i - 1) * BINS.count + j - 1] += 1.0 / n as f64;
        }
    }
    with_outside(masses)
}

/// Three points are no product. Where one step's jumps are small the family as it is defined follows the equation within the
/// sampling noise, which is far below what the proxy noise does.
#[test]
fn a_triangle_sampled_as_it_is_defined() {
    let corners = [
        [1.0, 0.0],
        [-0.5, 0.75f64.sqrt()],
        [-0.5, -(0.75f64.sqrt())],
    ];
    let problem = plane(points(&corners, 10.0), (VP, 0.1, 1.0));
    let (kappa, n) = (0.1, 100_000);
    let solution = solve(&problem, kappa, 0.0);
    let quiet = solve(&problem, 0.0, 0.0);
    let density = on_bins(&solution.estimate.masses);
    let effect = tv(&density, &on_bins(&quiet.estimate.masses));
    let (floor, spread) = sampling_noise(&density, n);
    let distance = tv(&density, &sampled(&problem, kappa, 2000, n));
    println!("TV {distance:.4}, floor {floor:.4} ({spread:.4}), effect of the noise {effect:.4}");
    assert!(
        distance < floor + 3.0 * spread + solution.estimate.error(),
        "{distance}"
    );
    assert!(effect > 4.0 * floor, "{effect} {floor}");
}

/// Means, covariances and draws of a mixture in three dimensions: the step's two moments by the general posterior.
#[test]
fn one_proxy_step_in_space_has_the_moments_of_the_posterior() {
    let means = vec![vec![0.4, -0.3, 0.1], vec![-0.5, 0.2, 0.0]];
    let covariances = vec![
        vec![
            vec![0.3, 0.1, 0.0],
            vec![0.1, 0.2, 0.05],
            vec![0.0, 0.05, 0.4],
        ],
        vec![vec![0.0; 3]; 3],
    ];
    let data = Data::full_mixture(&means, &covariances, Some(&[0.6, 0.4])).unwrap();
    let problem = plane(data, (VP, 1e-2, 1.0));
    let (from, n, kappa) = ([0.1, 0.0, -0.1], 400_000, 0.2);
    let times = [0.2, 0.199];
    let h = times[0] - times[1];
    let mut x: Vec<f64> = from.iter().flat_map(|v| vec![*v; n]).collect();
    naive_trajectories(&problem, &Naive { kappa }, 0.0, &times, &mut x, &mut rng(9));
    let posterior = problem.posterior(&from, times[0]);
    let d = problem.diffusion.diffusion_coefficient(times[0]);
    let noise = posterior.proxy_score_covariance() * (kappa * h * d * d);
    let drift = |i: usize| problem.diffusion.beta(times[0]) * from[i] + d * posterior.score[i];
    let average = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
    for i in 0..3 {
        let mean = average(&|k| x[i * n + k]);
        let error = (noise[(i, i)] / n as f64).sqrt();
        close(mean, from[i] + h * drift(i), error, 5.0, "mean");
        for j in 0..=i {
            let centred = |c: usize, k: usize| x[c * n + k] - from[c] - h * drift(c);
            let found = average(&|k| centred(i, k) * centred(j, k));
            let square = average(&|k| (centred(i, k) * centred(j, k)).powi(2));
            let error = ((square - found * found) / n as f64).sqrt();
            close(found, noise[(i, j)], error, 5.0, "covariance");
        }
    }
}

#[test]
fn other_dimensions_are_refused() {
    let noise = WhiteNoise {
        kappa: 0.1,
        churn: 0.0,
    };
    let found = fokker_planck_plane(&three_points(1e-2), noise, 1.0, [&BINS, &BINS]);
    assert_eq!(found.unwrap_err(), DensityError::NotAPlane { dim: 1 });
    let found = plane_solution(&plane(points(&SQUARE, 0.0), (VP, 1e-2, 1.0)), noise, 4);
    assert_eq!(found.unwrap_err(), DensityError::FewCells { cells: 4 });
}

/// The same bits whatever the number of threads.
#[test]
fn threads_do_not_matter() {
    let problem = plane(points(&SQUARE, 17.0), (VP, 5e-2, 1.0));
    let noise = WhiteNoise {
        kappa: 0.1,
        churn: 0.0,
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| plane_solution(&problem, noise, 48).unwrap())
    };
    assert_eq!(run(1), run(3));
}
