//! Weights of the data points from any start, memorisation, support, and the density of the reverse SDE with a given denoiser.

use super::common::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use vkernel::action::white::{WhiteStep, score_steps};
use vkernel::compare::total_variation;
use vkernel::density::{
    Bins, Chain, DensityError, Masses, WhiteNoise, basin_weights, fokker_planck,
    fokker_planck_plane, mean_field, posterior_weights,
};
use vkernel::experiment::{Process, SamplerOptions, Scheme, Spacing};
use vkernel::family::{Denoiser, ExactDenoiser, Naive};
use vkernel::monte_carlo::{model_rng, naive_trajectories};
use vkernel::numerics::normal;
use vkernel::problem::{Data, Diffusion, LinePosterior, Problem, StartDensity, StartLaw};
use vkernel::sampler::{NoisyStep, PfOde, reverse_sde, time_grid};

const POINTS: [f64; 3] = [-1.0, 0.3, 1.2];
const WEIGHTS: [f64; 3] = [0.5, 0.2, 0.3];
const PATHS: usize = 100_000;
/// Paths of one random stream.
const BLOCK: usize = 2000;

fn points(diffusion: Diffusion, t_min: f64, t_max: f64) -> Problem {
    let places: Vec<Vec<f64>> = POINTS.iter().map(|p| vec![*p]).collect();
    problem(
        Data::points(&places, Some(&WEIGHTS)).unwrap(),
        diffusion,
        t_min,
        t_max,
    )
}

/// End points of `paths` trajectories of the reverse SDE with the exact score, stochastic Heun; churn 0: of the flow.
fn simulated(
    p: &Problem,
    paths: usize,
    law: StartLaw,
    churn: f64,
    steps: usize,
    seed: u64,
) -> Vec<f64> {
    let start = StartDensity::new(p, law);
    let times = time_grid(Spacing::Log, p.t_max, p.t_min, steps);
    (0..paths / BLOCK)
        .into_par_iter()
        .flat_map_iter(|block| {
            let mut rng = model_rng(seed, block as u64);
            let mut x: Vec<f64> = (0..BLOCK).map(|_| start.quantile(rng.random())).collect();
            let model = ExactDenoiser { problem: p };
            reverse_sde(
                &model,
                &p.diffusion,
                Scheme::Heun,
                &times,
                churn,
                &mut x,
                &mut rng,
            )
            .unwrap();
            x
        })
        .collect()
}

/// Shares of the nearest points, and the largest and the mean distance from them.
fn shares(p: &Problem, x: &[f64]) -> ([f64; 3], f64) {
    let alpha = p.diffusion.alpha(p.t_min);
    let count = x.len() as f64;
    let mut shares = [0.0; 3];
    let mut sum = 0.0;
    for x in x {
        let distance = |i: &usize| (x - alpha * POINTS[*i]).abs();
        let nearest = (0..3)
            .min_by(|i, j| distance(i).total_cmp(&distance(j)))
            .unwrap();
        shares[nearest] += 1.0 / count;
        // From the training point itself, as Wasserstein's distance from the data has it.
        sum += (x - POINTS[nearest]).abs();
    }
    (shares, sum / count)
}

/// Standard errors off the prediction, point by point, and chi-square with two degrees of freedom.
fn deviations(found: &[f64; 3], predicted: &[f64]) -> ([f64; 3], f64) {
    let n = PATHS as f64;
    let z = [0, 1, 2]
        .map(|i| (found[i] - predicted[i]) / (predicted[i] * (1.0 - predicted[i]) / n).sqrt());
    let square = (0..3)
        .map(|i| n * (found[i] - predicted[i]).powi(2) / predicted[i])
        .sum();
    (z, square)
}

/// Bar: within 2 standard errors of 1e5 paths, T = 0.5 to 5. Of 15 right predictions 0.7 lie beyond on average, and more than two with
/// probability 3 %; none beyond 3.5 with 99 %.
#[test]
fn d23_6_weights_from_a_standard_normal_start() {
    let (mut total, mut beyond) = (0.0, 0);
    for (k, t_max) in [0.5, 1.0, 2.0, 3.0, 5.0].into_iter().enumerate() {
        let p = points(Diffusion::Ou, 1e-3, t_max);
        let start = StartDensity::new(&p, StartLaw::Standard);
        let predicted = posterior_weights(&p, &start, 0);
        assert!(
            predicted.errors.iter().all(|e| *e < 1e-12),
            "{:?}",
            predicted.errors
        );
        let (found, _) = shares(
            &p,
            &simulated(&p, PATHS, StartLaw::Standard, 1.0, 300, k as u64),
        );
        let (z, square) = deviations(&found, &predicted.weights);
        println!(
            "T = {t_max}: predicted {:.5?}, found {found:.5?}, z {z:.2?}, chi2 {square:.2}",
            predicted.weights
        );
        beyond += z.iter().filter(|z| z.abs() > 2.0).count();
        assert!(z.iter().all(|z| z.abs() < 3.5), "T = {t_max}: {z:?}");
        total += square;
        // Not the data's own weights while T is short: five standard errors and more.
        let (off, _) = deviations(&WEIGHTS, &predicted.weights);
        assert!(
            t_max > 0.7 || off.iter().any(|z| z.abs() > 5.0),
            "T = {t_max}: {off:?}"
        );
    }
    // Ten degrees of freedom: 99 % lie below 23.2.
    println!("chi2 {total:.2} with 10 degrees of freedom, {beyond} of 15 beyond 2 standard errors");
    assert!(beyond <= 2, "{beyond}");
    assert!(total < 23.2, "{total}");
}

/// From the noised data the weights are those of the data, whatever T.
#[test]
fn d23_6_from_the_noised_data_the_weights_are_the_datas() {
    let plane = Data::points(
        &[vec![-1.0, 0.2], vec![0.3, -0.5], vec![1.2, 0.9]],
        Some(&WEIGHTS),
    );
    let plane = problem(plane.unwrap(), Diffusion::Ou, 1e-3, 0.7);
    for p in [
        points(Diffusion::Ou, 1e-3, 0.7),
        points(VP, 1e-3, 0.3),
        plane,
    ] {
        let start = StartDensity::new(&p, StartLaw::Noised);
        let weights = posterior_weights(&p, &start, 1);
        for ((w, e), expected) in weights.weights.iter().zip(&weights.errors).zip(WEIGHTS) {
            assert!(
                (w - expected).abs() < 4.0 * e + 1e-12,
                "{w} against {expected}, {e:e}"
            );
            assert!(*e < 1e-3, "{e:e}");
        }
        if p.dim() == 1 {
            for (w, expected) in basin_weights(&p, &start).iter().zip(WEIGHTS) {
                close(*w, expected, 1e-12, "basin");
            }
        }
    }
}

/// In the plane by nets against the line: points on one axis, where the other coordinate says nothing.
#[test]
fn d23_6_nets_in_the_plane_agree_with_the_line() {
    let line = points(Diffusion::Ou, 1e-3, 0.5);
    let places: Vec<Vec<f64>> = POINTS.iter().map(|p| vec![0.6 * p, 0.8 * p]).collect();
    let data = Data::points(&places, Some(&WEIGHTS)).unwrap();
    let plane = problem(data, Diffusion::Ou, 1e-3, 0.5);
    let on_line = posterior_weights(&line, &StartDensity::new(&line, StartLaw::Standard), 0);
    let in_plane = posterior_weights(&plane, &StartDensity::new(&plane, StartLaw::Standard), 3);
    for ((a, b), e) in in_plane
        .weights
        .iter()
        .zip(&on_line.weights)
        .zip(&in_plane.errors)
    {
        assert!((a - b).abs() < 4.0 * e && *e < 1e-3, "{a} {b} {e:e}");
    }
}

/// Weights by the Fokker-Planck equation at t_min: mass nearest to each point.
fn weights_by_equation(p: &Problem, churn: f64, start: &StartDensity) -> [f64; 3] {
    let bins = Bins {
        low: -2.0,
        high: 2.0,
        count: 160,
    };
    let noise = WhiteNoise { kappa: 0.0, churn };
    let solution = fokker_planck(p, noise, start, &bins).unwrap();
    let mut weights = [0.0; 3];
    for (i, m) in solution.estimate.masses.cells.iter().enumerate() {
        let centre = bins.low + bins.width() * (i as f64 - 0.5);
        let near = |i: &usize| (centre - POINTS[*i]).abs();
        weights[(0..3).min_by(|a, b| near(a).total_cmp(&near(b))).unwrap()] += m;
    }
    weights
}

/// The weights depend on the churn: basins of the flow at 0, posterior at 1, the data's own beyond.
#[test]
fn d23_7_weights_depend_on_the_churn() {
    let p = points(Diffusion::Ou, 1e-2, 0.5);
    let start = StartDensity::new(&p, StartLaw::Standard);
    let posterior = posterior_weights(&p, &start, 0).weights;
    let basins = basin_weights(&p, &start);
    let distance = |a: &[f64], b: &[f64]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max)
    };
    assert!(
        distance(&posterior, &basins) > 0.01,
        "{posterior:?} {basins:?}"
    );
    let mut before = f64::INFINITY;
    for churn in [0.0, 0.3, 1.0, 3.0] {
        let found = weights_by_equation(&p, churn, &start);
        println!("churn {churn}: {found:.5?}; basins {basins:.5?}, posterior {posterior:.5?}");
        if churn == 0.0 {
            assert!(distance(&found, &basins) < 5e-4, "{found:?} {basins:?}");
        }
        if churn == 1.0 {
            assert!(
                distance(&found, &posterior) < 5e-4,
                "{found:?} {posterior:?}"
            );
        }
        let off = distance(&found, &WEIGHTS);
        assert!(off < before, "churn {churn}: {off} after {before}");
        before = off;
        if churn == 0.3 {
            let (sampled, _) = shares(
                &p,
                &simulated(&p, PATHS, StartLaw::Standard, churn, 300, 40),
            );
            let (z, _) = deviations(&sampled, &found);
            println!("churn {churn}: simulated {sampled:.5?}, z {z:.2?}");
            assert!(z.iter().all(|z| z.abs() < 3.0), "churn {churn}: {z:?}");
        }
    }
    assert!(before < 0.02, "{before}");
}

/// Basins of the flow: bisection of the start between two ends of the adaptive scheme.
#[test]
fn d23_8_basins_of_the_probability_flow() {
    for (d, t_max) in [
        (Diffusion::Ou, 0.5),
        (Diffusion::Ou, 2.0),
        (Diffusion::Edm, 1.5),
        (VP, 0.4),
    ] {
        let p = points(d, 1e-4, t_max);
        let options = SamplerOptions {
            process: Process::PfOde,
            scheme: Scheme::Adaptive,
            steps: 1,
            grid: Spacing::Log,
            tolerance: 1e-9,
            start: StartLaw::Standard,
        };
        let flow = PfOde::new(&p, &options);
        let end = |x: f64| {
            let mut x = [x];
            flow.flow(&ExactDenoiser { problem: &p }, &mut x).unwrap();
            x[0]
        };
        let boundary = |target: f64| {
            let (mut low, mut high) = (-8.0, 8.0);
            for _ in 0..40 {
                let middle = 0.5 * (low + high);
                if end(middle) < target {
                    low = middle
                } else {
                    high = middle
                }
            }
            normal::cdf(low)
        };
        let (first, second) = (boundary(-0.35), boundary(0.75));
        let weights = basin_weights(&p, flow.start());
        for (found, expected) in weights.iter().zip([first, second - first, 1.0 - second]) {
            close(*found, expected, 1e-6, "basin");
        }
    }
}

/// The distance from the nearest point is sigma(t_min)|xi|: W1 = sqrt(2/pi) sigma, of order t^(1/2) for ou and vp, t for edm.
#[test]
fn d23_9_the_approach_to_the_data_is_a_power_of_t_min() {
    for (d, t_max, nominal) in [
        (Diffusion::Ou, 5.0, 0.5),
        (VP, 1.0, 0.5),
        (Diffusion::Edm, 30.0, 1.0),
    ] {
        for churn in [0.0, 1.0] {
            let mut errors = Vec::new();
            for t_min in [1e-2, 1e-3, 1e-4] {
                let p = points(d.clone(), t_min, t_max);
                let x = simulated(&p, PATHS / 5, StartLaw::Noised, churn, 120, 7);
                let (weights, distance) = shares(&p, &x);
                let alpha = p.diffusion.alpha(t_min);
                let sigma = p.diffusion.sigma(t_min);
                let near = |radius: f64| {
                    let inside = |x: &&f64| POINTS.iter().any(|m| (*x - alpha * m).abs() < radius);
                    x.iter().filter(inside).count() as f64 / x.len() as f64
                };
                let (fixed, scaled) = (near(0.1), near(4.0 * sigma));
                println!(
                    "{} churn {churn} t_min {t_min:e}: W1 {distance:.4e}, predicted {:.4e}; within 0.1: {fixed:.5}, within 4 sigma: {scaled:.5}; weights {weights:.4?}",
                    d.name(),
                    (2.0 / std::f64::consts::PI).sqrt() * sigma
                );
                // Exactly, 6e-5 lie beyond 4 sigma.
                assert!(scaled >= 0.999, "{scaled}");
                assert!(t_min > 1e-4 || fixed >= 0.999, "{fixed}");
                errors.push((t_min, distance));
            }
            let found = log_slope(&errors);
            println!("{} churn {churn}: exponent {found:.3}", d.name());
            assert!((found - nominal).abs() < 0.1, "{} {found}", d.name());
        }
    }
}

/// Data that fill an interval: what is generated lies in the noised interval, alpha [-1, 1] widened by sigma times a standard normal, and
/// its denoised position strictly inside the interval.
#[test]
fn d23_10_the_support_is_inside_the_datas() {
    let places: Vec<Vec<f64>> = (0..41).map(|i| vec![-1.0 + 0.05 * f64::from(i)]).collect();
    let p = problem(Data::points(&places, None).unwrap(), VP, 1e-4, 1.0);
    let model = ExactDenoiser { problem: &p };
    for churn in [0.0, 1.0] {
        let x = simulated(&p, PATHS / 5, StartLaw::Normal, churn, 80, 11);
        let mut denoised = vec![0.0; x.len()];
        model.denoise(p.t_min, &x, &mut denoised);
        assert!(denoised.iter().all(|d| d.abs() <= 1.0));
        let widest = x.iter().fold(0.0_f64, |w, x| w.max(x.abs()));
        let sigma = p.diffusion.sigma(p.t_min);
        println!("churn {churn}: farthest {widest:.5}, sigma {sigma:.5}");
        // Of 2000 normal numbers at the two ends of the interval none lies beyond 5 with probability 1 - 6e-4.
        assert!(widest < 1.0 + 5.0 * sigma, "{widest}");
    }
}

const BINS: Bins = Bins {
    low: -2.0,
    high: 2.0,
    count: 50,
};

/// A denoiser that is nobody's posterior mean, as learned ones are: it leads into the gap, and beyond the data.
struct Learned;

impl Denoiser for Learned {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        for (d, x) in denoised.iter_mut().zip(x) {
            *d = 1.1 * (2.0 * x / (0.5 + t)).tanh() + 0.2 * (3.0 * x).sin();
        }
    }
    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.denoise(t, x, denoised);
        for (s, x) in slope.iter_mut().zip(x) {
            let u = 2.0 / (0.5 + t);
            *s = 1.1 * u / (u * x).cosh().powi(2) + 0.6 * (3.0 * x).cos();
        }
    }
}

fn chain<M: Denoiser>(
    p: &Problem,
    model: &M,
    scheme: Scheme,
    steps: usize,
    churn: f64,
) -> (Masses, f64) {
    let times = time_grid(Spacing::Log, p.t_max, p.t_min, steps);
    let density = Chain {
        problem: p,
        model,
        scheme,
        times: &times,
        churn,
        start: &StartDensity::new(p, StartLaw::Normal),
        bins: &BINS,
    }
    .density()
    .unwrap();
    let error = density.estimate.error();
    (density.estimate.masses, error)
}

/// The chain's density against its own trajectories, at steps so long that the continuous equation is far off.
#[test]
fn d23_11_density_of_the_chain_is_that_of_its_trajectories() {
    let p = points(VP, 1e-2, 1.0);
    for (scheme, churn) in [
        (Scheme::Ddim, 1.0),
        (Scheme::Euler, 1.0),
        (Scheme::Ddim, 0.3),
        (Scheme::Ddim, 3.0),
    ] {
        let steps = 25;
        let (density, error) = chain(&p, &Learned, scheme, steps, churn);
        let times = time_grid(Spacing::Log, p.t_max, p.t_min, steps);
        let mut counts = Masses::zero(&BINS);
        for block in 0..PATHS / BLOCK {
            let mut rng = model_rng(3, block as u64);
            let sigma = p.diffusion.sigma(p.t_max);
            let mut x: Vec<f64> = (0..BLOCK)
                .map(|_| sigma * rng.sample::<f64, _>(StandardNormal))
                .collect();
            reverse_sde(
                &Learned,
                &p.diffusion,
                scheme,
                &times,
                churn,
                &mut x,
                &mut rng,
            )
            .unwrap();
            for x in x {
                counts.cells[BINS.cell(x)] += 1.0 / PATHS as f64;
            }
        }
        let noise: f64 = density
            .cells
            .iter()
            .map(|p| 0.5 * (2.0 / std::f64::consts::PI * p * (1.0 - p) / PATHS as f64).sqrt())
            .sum();
        let tv = total_variation(&density, &counts);
        println!(
            "{scheme:?} churn {churn}: TV {tv:.4}, sampling noise {noise:.4}, stated error {error:.1e}"
        );
        assert!(tv < 1.5 * noise + error, "{scheme:?} {churn}: {tv}");
    }
}

/// Limits: many steps are the Fokker-Planck equation, no churn is the push-forward.
#[test]
fn d23_11_limits_of_the_chain() {
    let p = points(VP, 1e-2, 1.0);
    let model = ExactDenoiser { problem: &p };
    let start = StartDensity::new(&p, StartLaw::Normal);
    for churn in [0.3, 1.0] {
        let noise = WhiteNoise { kappa: 0.0, churn };
        let equation = fokker_planck(&p, noise, &start, &BINS).unwrap().estimate;
        let distances: Vec<(f64, f64)> = [100, 200, 400]
            .iter()
            .map(|&n| {
                (
                    n as f64,
                    total_variation(
                        &chain(&p, &model, Scheme::Ddim, n, churn).0,
                        &equation.masses,
                    ),
                )
            })
            .collect();
        let order = -log_slope(&distances);
        println!("churn {churn}: {distances:?}, order {order:.2}");
        assert!((order - 1.0).abs() < 0.2, "churn {churn}: {order}");
    }
    let options = super::toy::options(Scheme::Ddim, 80);
    let flow = PfOde::new(&p, &options);
    let (push, _) = mean_field(&flow, &Learned, &BINS).unwrap();
    let (quiet, error) = chain(&p, &Learned, Scheme::Ddim, 80, 0.0);
    let tv = total_variation(&quiet, &push.masses);
    println!(
        "churn 0: TV {tv:.1e}, stated {error:.1e} and {:.1e}",
        push.error()
    );
    assert!(tv < 3.0 * (error + push.error()), "{tv:e}");
    // As the churn vanishes the distance from the flow does, in proportion.
    let distances: Vec<(f64, f64)> = [0.04, 0.02, 0.01]
        .iter()
        .map(|&h| {
            (
                h,
                total_variation(&chain(&p, &Learned, Scheme::Ddim, 80, h).0, &quiet),
            )
        })
        .collect();
    println!("{distances:?}");
    assert!(distances[2].1 < 0.6 * distances[0].1, "{distances:?}");
}

#[test]
fn d23_11_schemes_of_several_stages_have_no_chain() {
    let p = points(VP, 1e-2, 1.0);
    let times = [1.0, 0.1, 0.01];
    let found = Chain {
        problem: &p,
        model: &Learned,
        scheme: Scheme::Heun,
        times: &times,
        churn: 1.0,
        start: &StartDensity::new(&p, StartLaw::Normal),
        bins: &BINS,
    }
    .density();
    assert_eq!(found.err(), Some(DensityError::WhiteScheme));
}

/// Proxy noise in the reverse SDE: the score enters 1 + h times, and so does its noise.
#[test]
fn d23_12_proxy_noise_with_churn() {
    let p = points(VP, 0.01, 1.0);
    let d = &p.diffusion;
    let (t, s, kappa, churn) = (0.4, 0.397, 0.2, 0.7);
    let noise = WhiteNoise { kappa, churn };
    let steps = score_steps(&p, Scheme::Euler, &[t, s], noise).unwrap();
    for x in [-0.9, -0.2, 0.05, 0.6, 1.4] {
        let post = p.posterior(&[x], t);
        let (h, big_d) = (t - s, d.diffusion_coefficient(t));
        let mut mean = 0.0;
        let mut square = 0.0;
        let outcome = |c: f64| {
            let proxy = (d.alpha(t) * c - x) / d.sigma2(t);
            let used = post.score[0] + (kappa / h).sqrt() * (proxy - post.score[0]);
            x + h * (d.beta(t) * x + (1.0 + churn) * big_d * used)
        };
        for (c, w) in POINTS.iter().zip(&post.weights) {
            mean += w * outcome(*c);
            square += w * outcome(*c).powi(2);
        }
        let jet = steps[0].jet(x);
        close(jet.mean[0], mean, 1e-13, "mean");
        close(
            jet.variance[0],
            square - mean * mean + 2.0 * churn * big_d * h,
            1e-12,
            "variance",
        );
        // The trajectories do the same.
        let n = 200_000;
        let mut y = vec![x; n];
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        naive_trajectories(&p, &Naive { kappa }, churn, &[t, s], &mut y, &mut rng);
        let m = y.iter().sum::<f64>() / n as f64;
        let v = y.iter().map(|y| (y - m).powi(2)).sum::<f64>() / n as f64;
        let se = (jet.variance[0] / n as f64).sqrt();
        assert!((m - mean).abs() < 4.0 * se, "{m} {mean}");
        // Kurtosis of the proxy noise at most that of a two-point law of weight 1/40.
        assert!(
            (v / jet.variance[0] - 1.0).abs() < 0.03,
            "{v} {}",
            jet.variance[0]
        );
    }
}

/// Half the sum of the differences within the bins.
fn inside_distance(a: &Masses, b: &Masses) -> f64 {
    let pairs = a.inside().iter().zip(b.inside());
    0.5 * pairs.map(|(a, b)| (a - b).abs()).sum::<f64>()
}

/// The Fokker-Planck equation with both noises, on the line and in the plane, against trajectories and against each other.
#[test]
fn d23_12_fokker_planck_with_both_noises() {
    let p = points(VP, 0.1, 1.0);
    let (kappa, churn) = (0.1, 0.5);
    let noise = WhiteNoise { kappa, churn };
    let start = StartDensity::new(&p, StartLaw::Normal);
    let equation = fokker_planck(&p, noise, &start, &BINS).unwrap();
    let times = time_grid(Spacing::Log, p.t_max, p.t_min, 1000);
    let x: Vec<f64> = (0..PATHS / BLOCK)
        .into_par_iter()
        .flat_map_iter(|block| {
            let mut rng = model_rng(31, block as u64);
            let mut x: Vec<f64> = (0..BLOCK).map(|_| start.quantile(rng.random())).collect();
            naive_trajectories(&p, &Naive { kappa }, churn, &times, &mut x, &mut rng);
            x
        })
        .collect();
    let mut counts = Masses::zero(&BINS);
    x.iter()
        .for_each(|x| counts.cells[BINS.cell(*x)] += 1.0 / PATHS as f64);
    let masses = &equation.estimate.masses;
    let sampling: f64 = masses
        .cells
        .iter()
        .map(|p| 0.5 * (2.0 / std::f64::consts::PI * p * (1.0 - p) / PATHS as f64).sqrt())
        .sum();
    let tv = total_variation(masses, &counts);
    // The noise without the factor (1+h)^2: a strength of kappa/(1+h)^2.
    let weaker = WhiteNoise {
        kappa: kappa / 2.25,
        churn,
    };
    let other = fokker_planck(&p, weaker, &start, &BINS)
        .unwrap()
        .estimate
        .masses;
    let wrong = total_variation(&other, &counts);
    println!("TV {tv:.4} (sampling {sampling:.4}), without the factor {wrong:.4}");
    assert!(
        tv < 1.5 * sampling + 0.01 && wrong > 2.0 * tv,
        "{tv} {wrong}"
    );

    let places: Vec<Vec<f64>> = POINTS.iter().map(|p| vec![*p, 0.0]).collect();
    let plane = problem(Data::points(&places, Some(&WEIGHTS)).unwrap(), VP, 0.1, 1.0);
    let std = VP.sigma(1.0);
    let solution = fokker_planck_plane(&plane, noise, std, [&BINS, &BINS]).unwrap();
    let rows = &solution.estimate.masses.cells[1..];
    let mut marginal = Masses::zero(&BINS);
    for (i, row) in rows.chunks(BINS.count).enumerate() {
        marginal.cells[i + 1] = row.iter().sum();
    }
    // Mass outside of the bins, on whichever side, as one.
    let tails: f64 = masses.tails().iter().sum();
    let outside = (solution.estimate.masses.cells[0] - tails).abs();
    let tv = 0.5 * outside + inside_distance(&marginal, masses);
    println!(
        "plane against line: {tv:.1e}, stated {:.1e}",
        solution.estimate.error()
    );
    assert!(
        tv < 2.0 * (solution.estimate.error() + equation.estimate.error()),
        "{tv:e}"
    );
}

/// The response of a step to a change of the denoiser is 1 + h times that of the flow's step, and its noise has the variance 2 h D per
/// unit time: by finite differences of one Euler step.
#[test]
fn d23_13_fluctuations_enter_once_more_for_every_churn() {
    struct Shifted(f64);
    impl Denoiser for Shifted {
        fn denoise(&self, _: f64, x: &[f64], denoised: &mut [f64]) {
            for (d, x) in denoised.iter_mut().zip(x) {
                *d = x.sin() + self.0;
            }
        }
        fn denoise_with_slope(&self, _: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
            self.denoise(0.0, x, denoised);
            slope.copy_from_slice(&x.iter().map(|x| x.cos()).collect::<Vec<_>>());
        }
    }
    for d in PROCESSES {
        let (t, s) = (0.5, 0.4);
        let end = |shift: f64, churn: f64, xi: f64| {
            let mut x = [0.3];
            let step = NoisyStep::new(&d, Scheme::Euler, t, s, churn).unwrap();
            step.advance(&Shifted(shift), &mut x, &[xi], &mut Vec::new());
            x[0]
        };
        let response = |churn: f64| end(1.0, churn, 0.0) - end(0.0, churn, 0.0);
        for churn in [0.3, 1.0, 2.5] {
            close(
                response(churn),
                (1.0 + churn) * response(0.0),
                1e-13,
                "response",
            );
            let noise = end(0.0, churn, 1.0) - end(0.0, churn, 0.0);
            // 2 D is the rate of the forward process's noise: of x_t given x_s, sigma_t^2 - (alpha_t/alpha_s)^2 sigma_s^2.
            let gained =
                |e: f64| d.sigma2(t) - (d.alpha(t) / d.alpha(t - e)).powi(2) * d.sigma2(t - e);
            let rate = (4.0 * gained(1e-5) - gained(2e-5)) / 2e-5;
            close(noise * noise, churn * rate * (t - s), 1e-6, "noise");
        }
    }
}

/// The laws of the start by their own definitions.
#[test]
fn d23_14_laws_of_the_start() {
    let p = points(Diffusion::Ou, 1e-3, 0.5);
    let noised = StartDensity::new(&p, StartLaw::Noised);
    let posterior = LinePosterior::new(&p, p.t_max);
    for x in [-2.0, -0.4, 0.1, 1.7] {
        close(
            noised.density(x),
            posterior.at(x).log_density.exp(),
            1e-14,
            "density",
        );
        close(
            slope(|x| noised.cdf(x), x, 1e-2),
            noised.density(x),
            1e-9,
            "slope of the cdf",
        );
        close(noised.quantile(noised.cdf(x)), x, 1e-9, "quantile");
        close(
            noised.mass(x, x + 0.3),
            noised.cdf(x + 0.3) - noised.cdf(x),
            1e-14,
            "mass",
        );
    }
    let std = |law| match StartDensity::new(&p, law) {
        StartDensity::Normal { std } => std,
        StartDensity::Noised { .. } => f64::NAN,
    };
    close(
        std(StartLaw::Normal).powi(2),
        1.0 - (-1.0f64).exp(),
        1e-14,
        "sigma_T",
    );
    close(std(StartLaw::Standard), 1.0, 0.0, "one");
    // In the plane: mean and covariance of points from random numbers.
    let plane = problem(plane_mixture(), VP, 0.01, 0.3);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let n = 200_000;
    let uniforms: Vec<f64> = (0..n).map(|_| rng.random()).collect();
    let normals: Vec<f64> = (0..2 * n).map(|_| rng.sample(StandardNormal)).collect();
    let x = StartDensity::new(&plane, StartLaw::Noised).points(
        2,
        n,
        |k| uniforms[k],
        |i, k| normals[i * n + k],
    );
    let (alpha, sigma2) = (VP.alpha(0.3), VP.sigma2(0.3));
    let covariance = plane.data.covariance() * (alpha * alpha);
    for i in 0..2 {
        let own = &x[i * n..(i + 1) * n];
        let m = own.iter().sum::<f64>() / n as f64;
        let v = own.iter().map(|x| (x - m).powi(2)).sum::<f64>() / n as f64;
        let exact = covariance[(i, i)] + sigma2;
        assert!((m - alpha * plane.data.mean()[i]).abs() < 4.0 * (exact / n as f64).sqrt());
        assert!((v / exact - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt());
    }
}
