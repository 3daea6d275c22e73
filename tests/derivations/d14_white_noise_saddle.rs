use num_complex::Complex64;

use super::common::*;
use vkernel::action::white::{
    CurveOptions, Extremal, Jet, ScoreStep, Splitting, WhiteAction, WhiteNoise, WhiteStep,
    extremal_curve, pinned_extremal, score_steps,
};
use vkernel::compare::total_variation;
use vkernel::density::{Bins, fokker_planck, mean_field, white_saddle};
use vkernel::experiment::{Scheme, Spacing};
use vkernel::family::ExactDenoiser;
use vkernel::numerics::tridiagonal::Tridiagonal;
use vkernel::problem::{Data, Diffusion, LinePosterior, Problem, StartDensity, StartLaw};
use vkernel::sampler::{PfOde, time_grid};

/// x' = gain x + noise of constant variance.
struct Affine {
    gain: f64,
    variance: f64,
}

impl WhiteStep for Affine {
    fn jet(&self, x: f64) -> Jet {
        Jet {
            mean: [self.gain * x, self.gain, 0.0, 0.0, 0.0],
            variance: [self.variance, 0.0, 0.0, 0.0, 0.0],
        }
    }
}

/// An Euler step of dx = mu x dtau + s x dW.
struct Geometric {
    mu: f64,
    s: f64,
    h: f64,
}

impl WhiteStep for Geometric {
    fn jet(&self, x: f64) -> Jet {
        let (gain, v) = (1.0 + self.mu * self.h, self.s * self.s * self.h);
        Jet {
            mean: [gain * x, gain, 0.0, 0.0, 0.0],
            variance: [v * x * x, 2.0 * v * x, 2.0 * v, 0.0, 0.0],
        }
    }
}

/// x' = 1.1 x + 0.3 sin x + noise of variance kappa (1 + 0.5 sin 1.3 x).
struct Curved {
    kappa: f64,
}

impl WhiteStep for Curved {
    fn jet(&self, x: f64) -> Jet {
        let (s, c) = x.sin_cos();
        let (vs, vc) = (1.3 * x).sin_cos();
        let k = 0.5 * self.kappa;
        Jet {
            mean: [
                1.1 * x + 0.3 * s,
                1.1 + 0.3 * c,
                -0.3 * s,
                -0.3 * c,
                0.3 * s,
            ],
            variance: [
                self.kappa + k * vs,
                1.3 * k * vc,
                -1.69 * k * vs,
                -2.197 * k * vc,
                2.8561 * k * vs,
            ],
        }
    }
}

/// An Euler step of dx = cos x dtau + sqrt(kappa) dW.
struct Cosine {
    h: f64,
    kappa: f64,
}

impl WhiteStep for Cosine {
    fn jet(&self, x: f64) -> Jet {
        let (s, c) = x.sin_cos();
        let h = self.h;
        Jet {
            mean: [x + h * c, 1.0 - h * s, -h * c, h * s, h * c],
            variance: [self.kappa * h, 0.0, 0.0, 0.0, 0.0],
        }
    }
}

fn start(p: &Problem) -> StartDensity {
    StartDensity::new(p, StartLaw::Normal)
}

fn points() -> Problem {
    let data = Data::points(&[vec![-1.0], vec![0.1], vec![1.2]], Some(&[0.5, 0.2, 0.3]));
    problem(data.unwrap(), VP, 0.15, 0.9)
}

/// Twelve Euler steps of the naive family.
fn naive_steps(kappa: f64, churn: f64) -> Vec<ScoreStep> {
    let times = time_grid(Spacing::Log, 0.9, 0.15, 12);
    score_steps(
        &points(),
        Scheme::Euler,
        &times,
        WhiteNoise { kappa, churn },
    )
    .unwrap()
}

/// A path off the extremal: the noiseless one with a different number of standard deviations at every node.
fn rough_path(steps: &[ScoreStep]) -> Vec<f64> {
    let mut path = vec![0.25];
    for (k, step) in steps.iter().enumerate() {
        let jet = step.jet(path[k]);
        path.push(jet.mean[0] + jet.variance[0].sqrt() * (1.7 * k as f64 + 0.4).sin());
    }
    path
}

/// The density of x_N given x_0 by repeated quadrature over `grid`, the first step's density taken as it is.
fn transfer<S: WhiteStep>(steps: &[S], start: f64, end: f64, grid: &[(f64, f64)]) -> f64 {
    let kernel = |s: &S, x: f64, y: f64| {
        let jet = s.jet(x);
        normal_pdf(y, jet.mean[0], jet.variance[0])
    };
    let mut density: Vec<f64> = grid
        .iter()
        .map(|(y, _)| kernel(&steps[0], start, *y))
        .collect();
    let last = steps.len() - 1;
    for step in &steps[1..last] {
        let jets: Vec<(f64, f64, f64)> = grid
            .iter()
            .zip(&density)
            .map(|((x, w), q)| {
                let jet = step.jet(*x);
                (jet.mean[0], jet.variance[0], w * q)
            })
            .collect();
        density = grid
            .iter()
            .map(|(y, _)| {
                jets.iter()
                    .map(|(m, v, q)| q * normal_pdf(*y, *m, *v))
                    .sum()
            })
            .collect();
    }
    grid.iter()
        .zip(&density)
        .map(|((x, w), q)| w * q * kernel(&steps[last], *x, end))
        .sum()
}

/// Limit h -> 0 from values at h, h/2, h/4, ... with errors in powers of h.
fn richardson(mut values: Vec<f64>) -> f64 {
    let mut factor = 2.0;
    while values.len() > 1 {
        values = values
            .windows(2)
            .map(|w| (factor * w[1] - w[0]) / (factor - 1.0))
            .collect();
        factor *= 2.0;
    }
    values[0]
}

fn minimum<S: WhiteStep>(steps: &[S], splitting: Splitting, start: f64, end: f64) -> Extremal {
    let guess = Extremal::noiseless(steps, splitting, start);
    pinned_extremal(steps, splitting, &guess, end).unwrap()
}

fn ln_leading<S: WhiteStep>(steps: &[S], splitting: Splitting, start: f64, end: f64) -> f64 {
    let found = minimum(steps, splitting, start, end)
        .fluctuations(steps, splitting)
        .unwrap();
    assert_eq!(found.index, 0);
    found.ln_density()
}

/// exp(-S) is the density of the path: the product of the transition densities.
#[test]
fn d14_1_action_is_minus_the_log_density_of_the_path() {
    let steps = naive_steps(0.2, 0.3);
    let path = rough_path(&steps);
    let product: f64 = steps
        .iter()
        .zip(path.windows(2))
        .map(|(s, w)| {
            let jet = s.jet(w[0]);
            normal_pdf(w[1], jet.mean[0], jet.variance[0]).ln()
        })
        .sum();
    close(
        WhiteAction::new(&steps).value(&path),
        -product,
        1e-13,
        "action",
    );
}

/// Mean and variance of a step are those of the sampled family (by its outcomes), their derivatives by differences; the
/// churn's by the reverse SDE's Euler-Maruyama.
#[test]
fn d14_2_steps_of_the_naive_family_and_of_churn() {
    let p = points();
    let d = p.diffusion.clone();
    let (t, s, kappa) = (0.4, 0.37, 0.2);
    let step =
        &score_steps(&p, Scheme::Euler, &[t, s], WhiteNoise { kappa, churn: 0.0 }).unwrap()[0];
    let h: f64 = t - s;
    for x in [-0.9, -0.2, 0.05, 0.6, 1.4] {
        let jet = step.jet(x);
        let post = p.posterior(&[x], t);
        let (mut mean, mut square) = (0.0, 0.0);
        for (c, w) in p.data.components().iter().zip(&post.weights) {
            let proxy = (d.alpha(t) * c.mean[0] - x) / d.sigma2(t);
            let used = post.score[0] + (kappa / h).sqrt() * (proxy - post.score[0]);
            let y = x + h * (d.beta(t) * x + d.diffusion_coefficient(t) * used);
            mean += w * y;
            square += w * (y - jet.mean[0]).powi(2);
        }
        close(jet.mean[0], mean, 1e-13, "mean");
        close(jet.variance[0], square, 1e-13, "variance");
        for n in 0..4 {
            // Truncation 1e-3^6 times a derivative of order 7 (1e3 to 1e6 here), rounding 1e-16/1e-3.
            let mean = slope(|y| step.jet(y).mean[n], x, 1e-3);
            let variance = slope(|y| step.jet(y).variance[n], x, 1e-3);
            close(jet.mean[n + 1], mean, 1e-9, "mean's derivative");
            close(jet.variance[n + 1], variance, 1e-9, "variance's derivative");
        }
        let churned = &score_steps(
            &p,
            Scheme::Euler,
            &[t, s],
            WhiteNoise {
                kappa: 0.0,
                churn: 0.7,
            },
        )
        .unwrap()[0];
        let drift = d.beta(t) * x + 1.7 * d.diffusion_coefficient(t) * post.score[0];
        close(churned.jet(x).mean[0], x + h * drift, 1e-13, "churn's mean");
        let noise = 2.0 * 0.7 * d.diffusion_coefficient(t) * h;
        close(churned.jet(x).variance[0], noise, 1e-13, "churn's variance");
    }
}

/// d kappa_n/dx = (alpha/sigma^2) kappa_(n+1), for point masses and for Gaussians.
#[test]
fn d14_2_posterior_cumulants_are_each_others_slopes() {
    for data in [points().data, line_mixture()] {
        let p = problem(data, VP, 0.01, 1.0);
        for t in [0.1, 0.3, 0.7] {
            let line = LinePosterior::new(&p, t);
            let r = line.alpha() / line.sigma2();
            for x in [-1.1, -0.4, 0.0, 0.3, 0.8] {
                let here = line.cumulants(x);
                close(here[0], line.at(x).mean, 1e-14, "mean");
                for n in 0..5 {
                    let h = 0.02 * line.sigma2();
                    let by_slope = slope(|y| line.cumulants(y)[n], x, h) / r;
                    close(here[n + 1], by_slope, 1e-8, "cumulant");
                }
            }
        }
    }
}

/// Gradient, Hessian and Hessian products against sixth-order differences, to 1e-7 of the largest element.
#[test]
fn d14_3_gradient_and_hessian_by_differences() {
    for (kappa, churn) in [(0.2, 0.0), (0.2, 0.3), (0.0, 0.5)] {
        let steps = naive_steps(kappa, churn);
        let path = rough_path(&steps);
        let action = WhiteAction::new(&steps);
        let moved = |i: usize, by: f64| {
            let mut path = path.clone();
            path[i] += by;
            path
        };
        type Parts<'a> = (
            &'a dyn Fn(&[f64]) -> f64,
            &'a dyn Fn(&[f64]) -> Vec<f64>,
            Tridiagonal,
        );
        let whole: Parts = (
            &|p| action.value(p),
            &|p| action.gradient(p),
            action.hessian(&path),
        );
        let ito: Parts = (
            &|p| action.exponent(p, Splitting::Ito),
            &|p| action.exponent_gradient(p, Splitting::Ito),
            action.exponent_hessian(&path, Splitting::Ito),
        );
        let lamperti: Parts = (
            &|p| action.exponent(p, Splitting::Lamperti),
            &|p| action.exponent_gradient(p, Splitting::Lamperti),
            action.exponent_hessian(&path, Splitting::Lamperti),
        );
        for (value, gradient, hessian) in [whole, ito, lamperti] {
            let exact = gradient(&path);
            let largest = exact.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
            for (i, g) in exact.iter().enumerate() {
                let h = 0.02 * steps[i].jet(path[i]).variance[0].sqrt();
                let by = slope(|e| value(&moved(i + 1, e)), 0.0, h);
                assert!((g - by).abs() < 1e-7 * largest, "gradient {i}: {g} {by}");
            }
            let n = hessian.len();
            let vector: Vec<f64> = (0..n).map(|i| (0.7 * i as f64).cos() * 1e-2).collect();
            let along = |e: f64| {
                let mut path = path.clone();
                for (x, v) in path[1..=n].iter_mut().zip(&vector) {
                    *x += e * v;
                }
                gradient(&path)
            };
            let product = hessian.product(&vector);
            let largest = product.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
            for (i, exact) in product.iter().enumerate() {
                let by = slope(|e| along(e)[i], 0.0, 0.02);
                assert!(
                    (exact - by).abs() < 1e-7 * largest,
                    "Hessian {i}: {exact} {by}"
                );
            }
        }
        let vector: Vec<f64> = (0..path.len() - 2).map(|i| (i as f64).sin()).collect();
        let with = action.hessian(&path).product(&vector);
        for (a, b) in action.hessian_product(&path, &vector).iter().zip(with) {
            close(*a, b, 1e-12, "product without the matrix");
        }
    }
}

/// The response fields integrated out numerically give exp(-S); their saddle lies at p = i theta.
#[test]
fn d14_4_integrating_the_response_field_gives_the_action() {
    let steps = &naive_steps(0.2, 0.3)[..2];
    let path = &rough_path(&naive_steps(0.2, 0.3))[..3];
    let action = WhiteAction::new(steps);
    let axis = |k: usize| {
        let wide = 9.0 / steps[k].jet(path[k]).variance[0].sqrt();
        trapezoid(120, -wide, wide)
    };
    let mut sum = Complex64::new(0.0, 0.0);
    for (p, wp) in axis(0) {
        for (q, wq) in axis(1) {
            let response = [Complex64::new(p, 0.0), Complex64::new(q, 0.0)];
            sum += action.with_response(path, &response).exp() * (wp * wq);
        }
    }
    let density = sum / (2.0 * std::f64::consts::PI).powi(2);
    let exact = (-action.value(path)).exp();
    // The integrand is 1e-18 at the ends; the trapezoid rule is then exact to rounding.
    close(density.re / exact, 1.0, 1e-13, "density");
    assert!((density.im / exact).abs() < 1e-13);

    let saddle: Vec<Complex64> = steps
        .iter()
        .zip(path.windows(2))
        .map(|(s, w)| {
            let jet = s.jet(w[0]);
            Complex64::new(0.0, (w[1] - jet.mean[0]) / jet.variance[0])
        })
        .collect();
    let at = action.with_response(path, &saddle);
    close(
        at.re,
        -action.exponent(path, Splitting::Ito),
        1e-13,
        "saddle",
    );
    assert!(at.im.abs() < 1e-13);
}

/// Newton's method on a tridiagonal system from `path`, its ends held.
fn tridiagonal_newton(
    mut path: Vec<f64>,
    gradient: impl Fn(&[f64]) -> Vec<f64>,
    hessian: impl Fn(&[f64]) -> Tridiagonal,
) -> Vec<f64> {
    for _ in 0..60 {
        let step = hessian(&path).solve(&gradient(&path));
        for (x, d) in path[1..].iter_mut().zip(&step) {
            *x -= d;
        }
        if step.iter().all(|d| d.abs() < 1e-13) {
            return path;
        }
    }
    panic!("no convergence");
}

/// (1/2) ln v in what is extremised: the path of geometric Brownian motion runs away like 1/h.
#[test]
fn d14_5_the_logarithm_stays_out_of_the_extremum() {
    let (s, end) = (0.1, 1.2_f64);
    let deviation = |n: usize| {
        let steps: Vec<Geometric> = (0..n)
            .map(|_| Geometric {
                mu: 0.1,
                s,
                h: 1.0 / n as f64,
            })
            .collect();
        let action = WhiteAction::new(&steps);
        let found = minimum(&steps, Splitting::Ito, 1.0, end).path;
        // Extremal of the quadratic part: a constant ratio.
        close(found[n / 2], end.sqrt(), 1e-9, "constant ratio");
        let whole = tridiagonal_newton(found, |p| action.gradient(p), |p| action.hessian(p));
        whole[n / 2].ln() - 0.5 * end.ln()
    };
    let (one, two, four) = (deviation(24), deviation(48), deviation(96));
    println!("{one} {two} {four}");
    // y'' = s^2/h: -s^2/(8 h) in the middle, to first order in it.
    close(one, -s * s * 24.0 / 8.0, 2e-2, "first order");
    close(two / one, 2.0, 0.05, "grows like 1/h");
    close(four / two, 2.0, 0.05, "grows like 1/h");
}

/// Phase-space Newton and Newton on the tridiagonal system find the same path, where both are possible; the response is
/// (x' - m)/v there and obeys the second equation.
#[test]
fn d14_6_extremals_two_ways() {
    let steps = naive_steps(0.2, 0.3);
    let action = WhiteAction::new(&steps);
    for splitting in [Splitting::Ito, Splitting::Lamperti] {
        for end in [-0.7, 0.3, 0.9] {
            let found = minimum(&steps, splitting, 0.25, end);
            for (k, step) in steps.iter().enumerate() {
                let jet = step.jet(found.path[k]).split(splitting);
                let theta = (found.path[k + 1] - jet.mean[0]) / jet.variance[0];
                close(found.response[k], theta, 1e-9, "response");
                if k > 0 {
                    let back = theta * (jet.mean[1] + 0.5 * jet.variance[1] * theta);
                    close(found.response[k - 1], back, 1e-9, "second equation");
                }
            }
            let mut nearby = found.path.clone();
            nearby[1..12].iter_mut().for_each(|x| *x += 1e-3);
            let again = tridiagonal_newton(
                nearby,
                |p| action.exponent_gradient(p, splitting),
                |p| action.exponent_hessian(p, splitting),
            );
            for (a, b) in found.path.iter().zip(again) {
                close(*a, b, 1e-10, "path");
            }
        }
    }
}

/// The Newton step by the Riccati sweep converges quadratically from far, and continuation takes over where it does not:
/// ends all over the line are reached, also where v spans a hundred orders of magnitude.
#[test]
fn d14_7_every_end_is_reached() {
    let data = Data::points(&[vec![-1.0], vec![0.0], vec![1.0]], None).unwrap();
    let p = problem(data, VP, 1e-2, 1.0);
    let times = time_grid(Spacing::Log, 1.0, 1e-2, 100);
    let steps = score_steps(
        &p,
        Scheme::Euler,
        &times,
        WhiteNoise {
            kappa: 0.05,
            churn: 0.0,
        },
    )
    .unwrap();
    for start in [-1.0, 0.1, 0.3] {
        for end in [-1.05, -0.6, -0.2, 0.0, 0.45, 0.95] {
            let found = minimum(&steps, Splitting::Ito, start, end);
            assert!((found.path[100] - end).abs() < 1e-9);
            // The chain's own equations, in units of the distance between the data.
            for (k, step) in steps.iter().enumerate() {
                let jet = step.jet(found.path[k]);
                let next = jet.mean[0] + jet.variance[0] * found.response[k];
                assert!((found.path[k + 1] - next).abs() < 1e-9, "step {k}");
            }
        }
    }
}

/// Determinant: pivots of the tridiagonal Hessian, a dense determinant, Riccati, and the Jacobi field of Gel'fand and Yaglom.
#[test]
fn d14_8_determinant_by_pivots_and_riccati() {
    let steps = naive_steps(0.2, 0.3);
    let action = WhiteAction::new(&steps);
    for end in [-0.7, 0.3, 0.9] {
        let found = minimum(&steps, Splitting::Ito, 0.25, end);
        let hessian = action.exponent_hessian(&found.path, Splitting::Ito);
        let ln_v: f64 = steps
            .iter()
            .zip(&found.path)
            .map(|(s, x)| s.jet(*x).variance[0].ln())
            .sum();
        let by_pivots: f64 = hessian.pivots().iter().map(|d| d.ln()).sum();
        let n = hessian.len();
        let dense = nalgebra::DMatrix::from_fn(n, n, |i, j| match i.abs_diff(j) {
            0 => hessian.diagonal[i],
            1 => hessian.off[i.min(j)],
            _ => 0.0,
        });
        close(dense.determinant().ln(), by_pivots, 1e-12, "dense");
        let fluctuations = found.fluctuations(&steps, Splitting::Ito).unwrap();
        close(
            fluctuations.ln_determinant,
            ln_v + by_pivots,
            1e-11,
            "Riccati",
        );
        close(
            fluctuations.exponent,
            action.exponent(&found.path, Splitting::Ito),
            1e-11,
            "exponent",
        );
        let jets: Vec<Jet> = steps
            .iter()
            .zip(&found.path)
            .map(|(s, x)| s.jet(*x))
            .collect();
        close(
            jacobi_determinant(&jets, &found.response).ln(),
            ln_v + by_pivots,
            1e-9,
            "Jacobi",
        );
    }
}

/// X_N prod F_k of the Jacobi field that starts with X_0 = 0, Y_0 = 1.
fn jacobi_determinant(jets: &[Jet], response: &[f64]) -> f64 {
    let (mut x, mut y, mut product) = (0.0, 1.0, 1.0);
    for (k, (jet, theta)) in jets.iter().zip(response).enumerate() {
        let f = jet.mean[1] + jet.variance[1] * theta;
        let g = theta * (jet.mean[2] + 0.5 * jet.variance[2] * theta);
        if k > 0 {
            y = (y - g * x) / f;
            product *= f;
        }
        x = f * x + jet.variance[0] * y;
    }
    x * product
}

/// The Jacobi field is the derivative of the end point in the first response field, by shooting.
#[test]
fn d14_9_jacobi_field_by_shooting() {
    let steps: Vec<Curved> = (0..5).map(|_| Curved { kappa: 0.05 }).collect();
    let found = minimum(&steps, Splitting::Ito, 0.2, 1.3);
    let shoot = |first: f64| {
        let (mut x, mut theta) = (0.2, first);
        for (k, step) in steps.iter().enumerate() {
            let jet = step.jet(x);
            if k > 0 {
                // theta_(k-1) = m' theta + v' theta^2 / 2, the root that tends to theta_(k-1)/m'.
                let (m1, v1) = (jet.mean[1], jet.variance[1]);
                theta = 2.0 * theta / (m1 + (m1 * m1 + 2.0 * v1 * theta).sqrt());
            }
            x = jet.mean[0] + jet.variance[0] * theta;
        }
        x
    };
    close(shoot(found.response[0]), 1.3, 1e-9, "shooting hits");
    let jets: Vec<Jet> = steps
        .iter()
        .zip(&found.path)
        .map(|(s, x)| s.jet(*x))
        .collect();
    let product: f64 = jets
        .iter()
        .zip(&found.response)
        .skip(1)
        .map(|(jet, theta)| jet.mean[1] + jet.variance[1] * theta)
        .product();
    let by = slope(shoot, found.response[0], 1e-3) * product;
    close(
        jacobi_determinant(&jets, &found.response),
        by,
        1e-9,
        "derivative",
    );
}

/// The OU bridge of theory section 8: path, variances, density; with exact steps exactly, with Euler steps extrapolated.
#[test]
fn d14_10_ornstein_uhlenbeck_bridge() {
    let (start, end, total) = (0.7, -0.4, 1.5);
    let exact = |h: f64| Affine {
        gain: (-h).exp(),
        variance: -(-2.0 * h).exp_m1(),
    };
    let lengths: Vec<f64> = (0..30).map(|k| 0.02 + 0.001 * (k * k) as f64).collect();
    let scale = total / lengths.iter().sum::<f64>();
    let steps: Vec<Affine> = lengths.iter().map(|h| exact(h * scale)).collect();
    let found = minimum(&steps, Splitting::Ito, start, end);
    let hessian = WhiteAction::new(&steps).exponent_hessian(&found.path, Splitting::Ito);
    let laws = |t: f64| -(-2.0 * t).exp_m1();
    let mut t = 0.0;
    for k in 1..30 {
        t += lengths[k - 1] * scale;
        let mean = start * (-t).exp()
            + (-(total - t)).exp() * laws(t) / laws(total) * (end - (-total).exp() * start);
        let variance = laws(t) * laws(total - t) / laws(total);
        close(found.path[k], mean, 1e-12, "mean of the bridge");
        let mut unit = vec![0.0; 29];
        unit[k - 1] = 1.0;
        close(
            hessian.solve(&unit)[k - 1],
            variance,
            1e-12,
            "variance of the bridge",
        );
    }
    let density = normal_pdf(end, start * (-total).exp(), laws(total)).ln();
    close(
        ln_leading(&steps, Splitting::Ito, start, end),
        density,
        1e-12,
        "density",
    );
    let euler: Vec<f64> = [50, 100, 200, 400, 800]
        .iter()
        .map(|&n| {
            let h = total / n as f64;
            let steps: Vec<Affine> = (0..n)
                .map(|_| Affine {
                    gain: 1.0 - h,
                    variance: 2.0 * h,
                })
                .collect();
            ln_leading(&steps, Splitting::Ito, start, end)
        })
        .collect();
    let errors: Vec<(f64, f64)> = [800.0, 400.0]
        .iter()
        .zip(euler.iter().rev())
        .map(|(n, l)| (1.0 / n, (l - density).abs()))
        .collect();
    close(log_slope(&errors), 1.0, 0.02, "first order in the step");
    close(richardson(euler), density, 1e-9, "extrapolated");
}

/// The reverse SDE (churn 1, exponential steps) of one data point is the bridge seen backwards.
#[test]
fn d14_10_reverse_sde_of_one_point_is_the_bridge() {
    let (point, y, t_min, t_max) = (0.3, 1.1, 0.05_f64, 2.0_f64);
    let p = problem(
        Data::points(&[vec![point]], None).unwrap(),
        Diffusion::Ou,
        t_min,
        t_max,
    );
    let times = time_grid(Spacing::Log, t_max, t_min, 25);
    let steps = score_steps(
        &p,
        Scheme::Ddim,
        &times,
        WhiteNoise {
            kappa: 0.0,
            churn: 1.0,
        },
    )
    .unwrap();
    let laws = |t: f64| -(-2.0 * t).exp_m1();
    let mean = point * (-t_min).exp()
        + (-(t_max - t_min)).exp() * laws(t_min) / laws(t_max) * (y - (-t_max).exp() * point);
    let variance = laws(t_min) * laws(t_max - t_min) / laws(t_max);
    for end in [0.1, 0.3, 0.8] {
        let exact = normal_pdf(end, mean, variance).ln();
        close(
            ln_leading(&steps, Splitting::Ito, y, end),
            exact,
            1e-11,
            "density",
        );
    }
}

const GBM: (f64, f64) = (0.3, 0.5);

fn geometric(n: usize) -> Vec<Geometric> {
    let (mu, s) = GBM;
    (0..n)
        .map(|_| Geometric {
            mu,
            s,
            h: 1.0 / n as f64,
        })
        .collect()
}

fn lognormal(x: f64) -> f64 {
    let (mu, s) = GBM;
    normal_pdf(x.ln(), mu - 0.5 * s * s, s * s).ln() - x.ln()
}

const NUMBERS: [usize; 5] = [50, 100, 200, 400, 800];

/// Ito's splitting at leading order misses exp(-s^2 tau/8) of the lognormal law, whatever the end, in the limit h -> 0.
#[test]
fn d14_11_geometric_brownian_motion_at_leading_order() {
    let (mu, s) = GBM;
    for end in [0.6, 1.0, 1.4, 2.5_f64] {
        let values: Vec<f64> = NUMBERS
            .iter()
            .map(|&n| ln_leading(&geometric(n), Splitting::Ito, 1.0, end))
            .collect();
        close(
            richardson(values),
            lognormal(end) + s * s / 8.0,
            1e-8,
            "leading order",
        );
        // The exponent in closed form: a constant ratio.
        let ratio = end.powf(1.0 / 50.0);
        let exponent = 50.0 * (ratio - 1.0 - mu / 50.0).powi(2) / (2.0 * s * s / 50.0);
        let steps = geometric(50);
        let found = minimum(&steps, Splitting::Ito, 1.0, end)
            .fluctuations(&steps, Splitting::Ito)
            .unwrap();
        close(found.exponent, exponent, 1e-10, "exponent");
    }
}

/// With the Stratonovich drift in the exponent the leading order is exact in the limit, at first order in the step.
#[test]
fn d14_12_lamperti_splitting_is_exact_for_geometric_brownian_motion() {
    for end in [0.6, 1.0, 1.4, 2.5_f64] {
        let values: Vec<f64> = NUMBERS
            .iter()
            .map(|&n| ln_leading(&geometric(n), Splitting::Lamperti, 1.0, end))
            .collect();
        let errors: Vec<(f64, f64)> = NUMBERS
            .iter()
            .zip(&values)
            .skip(3)
            .map(|(n, v)| (1.0 / *n as f64, (v - lognormal(end)).abs()))
            .collect();
        println!(
            "{end}: errors {errors:?}, extrapolated {:.2e}",
            richardson(values.clone()) - lognormal(end)
        );
        close(log_slope(&errors), 1.0, 0.05, "order in the step");
        close(richardson(values), lognormal(end), 1e-8, "extrapolated");
    }
}

/// The vertices by Taylor expansion of one term of the action in (x, zeta), differentiated numerically.
#[test]
fn d14_13_next_order_against_a_chain_of_two_steps() {
    // One free node: the expansion of a one-dimensional integral, -f4/8 a^2 + 5 f3^2/24 a^3 + ..., with numerical derivatives.
    let steps: Vec<Curved> = (0..2).map(|_| Curved { kappa: 0.03 }).collect();
    for end in [0.1, 0.5, 1.0] {
        let found = minimum(&steps, Splitting::Ito, 0.3, end);
        let action = WhiteAction::new(&steps);
        let at = |x: f64| [0.3, x, end];
        let x = found.path[1];
        let curvature_of = |x: f64| action.exponent_hessian(&at(x), Splitting::Ito).diagonal[0];
        let log = |x: f64| action.value(&at(x)) - action.exponent(&at(x), Splitting::Ito);
        let (f2, f3, f4) = (
            curvature_of(x),
            slope(curvature_of, x, 1e-2),
            curvature(curvature_of, x, 1e-2),
        );
        let (b1, b2) = (slope(log, x, 1e-2), curvature(log, x, 1e-2));
        let expected = -f4 / (8.0 * f2 * f2) + 5.0 * f3 * f3 / (24.0 * f2.powi(3)) - 0.5 * b2 / f2
            + 0.5 * b1 * b1 / f2
            + 0.5 * b1 * f3 / (f2 * f2);
        close(found.next_order(&steps), expected, 1e-7, "next order");
    }
}

/// The correlation of vertices by Hermite projection, against the double sum over steps with dense covariances: every
/// diagram from numerical third and fourth derivatives of the action.
#[test]
fn d14_14_hermite_projection_is_the_double_sum() {
    let steps = naive_steps(0.2, 0.3);
    let found = minimum(&steps, Splitting::Ito, 0.25, 0.7);
    let dense = dense_next_order(&WhiteAction::new(&steps), &found.path);
    let fast = found.next_order(&steps);
    println!("{fast} {dense}");
    // Differences of a gradient whose elements are 1e3 at steps of 1e-2 standard deviations.
    close(fast, dense, 1e-5, "next order");
}

/// -<T4> - <B2> + (1/2) <(T3 + B1)^2> by Wick's theorem with full tensors.
fn dense_next_order(action: &WhiteAction<'_, ScoreStep>, path: &[f64]) -> f64 {
    let n = path.len() - 2;
    let quadratic = |p: &[f64]| action.exponent_hessian(p, Splitting::Ito);
    let full = |h: &Tridiagonal| {
        nalgebra::DMatrix::from_fn(n, n, |i, j| match i.abs_diff(j) {
            0 => h.diagonal[i],
            1 => h.off[i.min(j)],
            _ => 0.0,
        })
    };
    let c = full(&quadratic(path)).try_inverse().unwrap();
    let h: Vec<f64> = (0..n).map(|i| 0.05 * c[(i, i)].sqrt()).collect();
    let moved = |shifts: &[(usize, f64)]| {
        let mut p = path.to_vec();
        for (i, by) in shifts {
            p[i + 1] += by;
        }
        p
    };
    // Third derivative tensor, as a matrix per index.
    let odd = |f: &dyn Fn(f64) -> nalgebra::DMatrix<f64>, h: f64| {
        ((f(h) - f(-h)) * 45.0 - (f(2.0 * h) - f(-2.0 * h)) * 9.0 + (f(3.0 * h) - f(-3.0 * h)))
            / (60.0 * h)
    };
    let third: Vec<_> = (0..n)
        .map(|k| odd(&|e| full(&quadratic(&moved(&[(k, e)]))), h[k]))
        .collect();
    let fourth = |k: usize, l: usize| {
        odd(
            &|d| odd(&|e| full(&quadratic(&moved(&[(k, e), (l, d)]))), h[k]),
            h[l],
        )
    };
    let log = |p: &[f64], i: usize| {
        action.gradient(p)[i] - action.exponent_gradient(p, Splitting::Ito)[i]
    };
    let b1: Vec<f64> = (0..n).map(|i| log(path, i)).collect();
    let mut total = 0.0;
    // <T4> = (1/8) S_ijkl C_ij C_kl; only neighbours couple.
    for k in 0..n {
        for l in k.saturating_sub(1)..n.min(k + 2) {
            total -= 0.125 * fourth(k, l).dot(&c) * c[(k, l)];
            total -= 0.5 * slope(|e| log(&moved(&[(l, e)]), k), 0.0, h[l]) * c[(k, l)];
        }
    }
    // J_i = S_ijk C_jk / 2 + b_i joins to itself; the other contraction is S_ijk S_lmn C_il C_jm C_kn / 12.
    let j: Vec<f64> = third
        .iter()
        .zip(&b1)
        .map(|(t, b)| 0.5 * t.dot(&c) + b)
        .collect();
    for i in 0..n {
        for l in 0..n {
            total += 0.5 * j[i] * c[(i, l)] * j[l];
            total += (&c * &third[i] * &c).dot(&third[l]) * c[(i, l)] / 12.0;
        }
    }
    total
}

/// Against quadrature over the nodes between: relative error of first order in the noise, of second with the next order.
#[test]
fn d14_15_orders_in_the_noise() {
    let grid = trapezoid(1500, -1.5, 3.5);
    let (mut leading, mut next) = (Vec::new(), Vec::new());
    for kappa in [0.02, 0.01, 0.005] {
        let steps: Vec<Curved> = (0..4).map(|_| Curved { kappa }).collect();
        // An end at a fixed distance from the noiseless one.
        let exact = transfer(&steps, 0.2, 0.9, &grid).ln();
        let found = minimum(&steps, Splitting::Ito, 0.2, 0.9);
        let first = found
            .fluctuations(&steps, Splitting::Ito)
            .unwrap()
            .ln_density();
        leading.push((kappa, (first - exact).abs()));
        next.push((kappa, (first + found.next_order(&steps) - exact).abs()));
    }
    println!("{leading:?} {next:?}");
    close(log_slope(&leading), 1.0, 0.05, "leading order");
    close(log_slope(&next), 2.0, 0.1, "next order");
}

/// Geometric Brownian motion: the next order is -s^2 tau/8, which makes Ito's splitting exact too.
#[test]
fn d14_15_next_order_of_geometric_brownian_motion() {
    let s = GBM.1;
    for end in [0.6, 1.4, 2.5_f64] {
        let values: Vec<f64> = NUMBERS
            .iter()
            .map(|&n| {
                let steps = geometric(n);
                minimum(&steps, Splitting::Ito, 1.0, end).next_order(&steps)
            })
            .collect();
        close(richardson(values), -s * s / 8.0, 1e-7, "next order");
    }
}

/// dx = cos x dtau + noise, from 0 back to 0. One way goes against the drift to -pi/2 and back with it, another with the
/// drift to pi/2 and back against it; to stay costs more and has as many negative directions as pi fits into the time
/// (extremals obey the pendulum's equation). The curve finds them all, and the minima add up to the density.
#[test]
fn d14_16_one_curve_holds_all_extremals() {
    let found = |n: usize, kappa: f64| {
        let steps: Vec<Cosine> = (0..n).map(|_| Cosine { h: 0.1, kappa }).collect();
        let options = CurveOptions {
            splitting: Splitting::Ito,
            spacing: 0.02,
            stride: 0.1,
            low: -3.5,
            high: 3.5,
            cutoff: 12.0 / kappa,
            longest: 20_000,
        };
        let curve = extremal_curve(&steps, 0.0, &options).unwrap();
        let mut at = Vec::new();
        for w in curve.nodes.windows(2) {
            if (w[0].end <= 0.0) == (w[1].end <= 0.0) {
                continue;
            }
            let part = w[0].end / (w[0].end - w[1].end);
            let ln = |n: &vkernel::action::white::CurveNode| n.ln_density + n.next;
            at.push((w[0].index, ln(&w[0]) + part * (ln(&w[1]) - ln(&w[0]))));
        }
        (at, transfer(&steps, 0.0, 0.0, &trapezoid(700, -4.0, 4.0)))
    };
    let indices = |at: &[(usize, f64)]| at.iter().map(|a| a.0).collect::<Vec<_>>();
    let (at, _) = found(80, 0.1);
    assert_eq!(indices(&at), [0, 1, 2, 1, 0]);
    let errors: Vec<(f64, f64)> = [0.05, 0.025]
        .iter()
        .map(|&kappa| {
            let (at, exact) = found(50, kappa);
            assert_eq!(indices(&at), [0, 1, 0]);
            let (a, b) = (at[0].1.exp(), at[2].1.exp());
            println!(
                "{kappa}: minima {a:.4e}, {b:.4e}, exact {exact:.4e}, off by {:.2e}",
                (a + b) / exact - 1.0
            );
            // Neither minimum is the density alone.
            assert!((a.max(b) / exact - 1.0).abs() > 2.0 * ((a + b) / exact - 1.0).abs());
            (kappa, ((a + b) / exact - 1.0).abs())
        })
        .collect();
    assert!(errors[1].1 < 0.5 * errors[0].1, "{errors:?}");
}

/// The naive family against its Fokker-Planck equation.
#[test]
fn d14_17_naive_family_against_fokker_planck() {
    let data = Data::points(&[vec![-1.0], vec![0.0], vec![1.0]], None).unwrap();
    let p = problem(data, VP, 1e-2, 1.0);
    let bins = Bins {
        low: -1.5,
        high: 1.5,
        count: 60,
    };
    let times = time_grid(Spacing::Log, 1.0, 1e-2, 400);
    // What 400 Euler steps do to the noiseless density.
    let (bias, quiet) = {
        let options = vkernel::experiment::SamplerOptions {
            process: vkernel::experiment::Process::PfOde,
            scheme: Scheme::Euler,
            steps: 400,
            grid: Spacing::Log,
            tolerance: 1e-8,
            start: StartLaw::Normal,
        };
        let flow = PfOde::new(&p, &options);
        let (sampled, _) = mean_field(&flow, &ExactDenoiser { problem: &p }, &bins).unwrap();
        let quiet = fokker_planck(
            &p,
            WhiteNoise {
                kappa: 0.0,
                churn: 0.0,
            },
            &start(&p),
            &bins,
        )
        .unwrap();
        let bias = total_variation(&sampled.masses, &quiet.estimate.masses);
        (bias, quiet.estimate.masses)
    };
    println!("discretisation of the sampler: {bias:.4}");
    let mut distances = Vec::new();
    for kappa in [0.05, 0.01] {
        let noise = WhiteNoise { kappa, churn: 0.0 };
        let exact = fokker_planck(&p, noise, &start(&p), &bins)
            .unwrap()
            .estimate
            .masses;
        let found = white_saddle(&p, noise, Scheme::Euler, &times, &start(&p), &bins, 64).unwrap();
        let with = total_variation(&found.estimate.masses, &exact);
        let leading = total_variation(&found.leading, &exact);
        println!(
            "kappa {kappa}: TV {with:.4}, leading order {leading:.4}, effect of the noise {:.4}, errors {:?}, raw mass {:.4?}, pairs {}: solved {}, \
             negligible {}, failed {}, no minimum {}, several {}",
            total_variation(&exact, &quiet),
            found.estimate.errors,
            found.raw_mass,
            found.pairs,
            found.solved,
            found.negligible,
            found.failed,
            found.no_minimum,
            found.several
        );
        close(found.estimate.masses.total(), 1.0, 1e-12, "mass");
        assert_eq!(
            found.pairs,
            found.solved + found.negligible + found.no_minimum + found.failed + found.too_long
        );
        assert_eq!(
            found.failed + found.no_minimum + found.too_long + found.lost.len(),
            0
        );
        assert!(with < leading, "the next order helps");
        distances.push((with, found.estimate.error()));
    }
    // What is left is not more than stated and what the sampler's steps make, and falls with the noise.
    for (tv, stated) in &distances {
        assert!(*tv < stated + bias, "{distances:?}");
    }
    assert!(distances[1].0 < 0.5 * distances[0].0, "{distances:?}");
}

/// Churn with Gaussian data: everything is linear, so the saddle density is that of the chain, whose law is carried along in
/// closed form.
#[test]
fn d14_17_churn_with_gaussian_data_is_exact() {
    let data = Data::diagonal_mixture(&[vec![0.3]], &[vec![0.4]], None).unwrap();
    let p = problem(data, VP, 1e-2, 1.0);
    let bins = Bins {
        low: -1.5,
        high: 2.0,
        count: 35,
    };
    let times = time_grid(Spacing::Log, 1.0, 1e-2, 40);
    let noise = WhiteNoise {
        kappa: 0.1,
        churn: 1.0,
    };
    let steps = score_steps(&p, Scheme::Ddim, &times, noise).unwrap();
    let (mut mean, mut variance) = (0.0, p.diffusion.sigma2(1.0));
    for step in &steps {
        let jet = step.jet(mean);
        (mean, variance) = (
            jet.mean[0],
            jet.mean[1].powi(2) * variance + jet.variance[0],
        );
    }
    let exact = vkernel::density::Masses::from_cdf(&bins, |x| {
        vkernel::numerics::normal::cdf((x - mean) / variance.sqrt())
    });
    let found = white_saddle(&p, noise, Scheme::Ddim, &times, &start(&p), &bins, 64).unwrap();
    let tv = total_variation(&found.estimate.masses, &exact);
    println!(
        "TV {tv:.2e}, errors {:?}, raw {:?}",
        found.estimate.errors, found.raw_mass
    );
    // Log-linear interpolation: stride^2/12 of the shape before normalising; the tails of 64 starts: 1e-3.
    assert!(tv < 3e-3, "{tv}");
    assert!(found.raw_mass.iter().all(|m| (m - 1.0).abs() < 5e-3));
    for (what, error) in &found.estimate.errors {
        if *what == "expansion" {
            assert!(*error < 1e-12, "no next order where all is linear: {error}");
        }
    }
}

/// Strong noise is refused, with the distance between the orders.
#[test]
fn d14_17_strong_noise_is_refused() {
    let data = Data::points(&[vec![-1.0], vec![0.0], vec![1.0]], None).unwrap();
    let bins = Bins {
        low: -1.5,
        high: 1.5,
        count: 30,
    };
    let solve = |kappa: f64, t_min: f64| {
        let p = problem(data.clone(), VP, t_min, 1.0);
        let times = time_grid(Spacing::Log, 1.0, t_min, 100);
        let noise = WhiteNoise { kappa, churn: 0.0 };
        white_saddle(&p, noise, Scheme::Euler, &times, &start(&p), &bins, 8)
    };
    let strong = solve(1.0, 1e-2).unwrap_err();
    assert!(
        matches!(strong, vkernel::density::DensityError::NoiseTooStrong { distance } if distance > 0.25),
        "{strong}"
    );
}

/// Without noise there is nothing to expand in.
#[test]
fn d14_17_without_noise_is_an_error() {
    let p = points();
    let bins = Bins {
        low: -1.5,
        high: 1.5,
        count: 10,
    };
    let noise = WhiteNoise {
        kappa: 0.0,
        churn: 0.0,
    };
    let refused = white_saddle(
        &p,
        noise,
        Scheme::Euler,
        &[0.9, 0.5, 0.15],
        &start(&p),
        &bins,
        4,
    );
    assert_eq!(
        refused.unwrap_err(),
        vkernel::density::DensityError::WithoutNoise
    );
}
