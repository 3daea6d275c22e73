//! The posterior at many points against the one at a single point, against closed forms, and its bits against themselves.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use vkernel::problem::{CloudPosterior, Data, Posterior, Problem};

use super::common::*;

/// What the components of a random problem look like.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Points,
    Diagonal,
    Full,
}

/// B B^T, symmetric to the last bit; rank one where `flat`.
fn random_covariance(rng: &mut ChaCha8Rng, dim: usize, flat: bool) -> Vec<Vec<f64>> {
    let rank = if flat { 1 } else { dim };
    let b: Vec<Vec<f64>> = (0..dim)
        .map(|_| (0..rank).map(|_| 0.5 * normal(rng)).collect())
        .collect();
    let product = |i: usize, j: usize| b[i].iter().zip(&b[j]).map(|(a, b)| a * b).sum();
    (0..dim)
        .map(|i| (0..dim).map(|j| product(i.min(j), i.max(j))).collect())
        .collect()
}

/// Up to 12 components in up to 4 dimensions; in `Diagonal` some are point masses, in `Full` some are degenerate.
fn random_problem(rng: &mut ChaCha8Rng, shape: Shape) -> Problem {
    let dim = rng.random_range(1..=4);
    let count = rng.random_range(1..=12);
    let means: Vec<Vec<f64>> = (0..count)
        .map(|_| (0..dim).map(|_| 2.0 * normal(rng)).collect())
        .collect();
    let raw: Vec<f64> = (0..count)
        .map(|_| rng.random::<f64>().powi(3) + 1e-6)
        .collect();
    let sum: f64 = raw.iter().sum();
    let weights: Vec<f64> = raw.iter().map(|w| w / sum).collect();
    let data = match shape {
        Shape::Points => Data::points(&means, Some(&weights)),
        Shape::Diagonal => {
            let stds: Vec<Vec<f64>> = (0..count)
                .map(|k| {
                    let size = if k % 3 == 0 { 0.0 } else { 0.7 };
                    (0..dim).map(|_| size * rng.random::<f64>()).collect()
                })
                .collect();
            Data::diagonal_mixture(&means, &stds, Some(&weights))
        }
        Shape::Full => {
            let covariances: Vec<_> = (0..count)
                .map(|k| random_covariance(rng, dim, k % 4 == 0))
                .collect();
            Data::full_mixture(&means, &covariances, Some(&weights))
        }
    };
    let (diffusion, t_min, t_max) = PROCESSES[rng.random_range(0..4)].clone();
    Problem {
        data: data.unwrap(),
        diffusion,
        t_min,
        t_max,
    }
}

/// Relative rounding error of the posterior weights: exponents of size E carry E times 1e-16 into them.
fn weight_error(problem: &Problem, p: &Posterior, x: &[f64], t: f64) -> f64 {
    let sigma2 = problem.diffusion.sigma2(t);
    let square: f64 = x.iter().map(|x| (x.abs() + 10.0).powi(2)).sum();
    // What |x - alpha m|^2 / (2 sigma^2) is at most, and what comes out of it where the components are wide.
    1e-15 * (10.0 + p.log_density.abs() + 0.1 * square / sigma2)
}

#[test]
fn the_posterior_at_many_points_is_the_one_at_each() {
    let mut rng = rng(11);
    for round in 0..600 {
        let shape = [Shape::Points, Shape::Diagonal, Shape::Full][round % 3];
        let problem = random_problem(&mut rng, shape);
        let dim = problem.dim();
        let t = match round % 5 {
            0 => 1e-12,
            1 => 1e-5,
            _ => problem.t_min * (problem.t_max / problem.t_min).powf(0.95 * rng.random::<f64>()),
        };
        let cloud = CloudPosterior::new(&problem, t);
        let n = rng.random_range(1..=21);
        let reach = [1.0, 3.0, 1e3, 1e7][round % 4];
        let x: Vec<f64> = (0..dim * n).map(|_| reach * normal(&mut rng)).collect();
        let moments = cloud.moments(&x);
        let mut means = vec![0.0; dim * n];
        cloud.mean(&x, &mut means);
        for k in 0..n {
            let point: Vec<f64> = (0..dim).map(|i| x[i * n + k]).collect();
            let p = problem.posterior(&point, t);
            let allowed = weight_error(&problem, &p, &point, t);
            let size = 10.0 + reach;
            let log = moments.log_density[k];
            close(log, p.log_density, 1.0, allowed, "log density");
            // Squared separations, of which the weights' errors move a share.
            let largest = p.covariance.trace();
            for i in 0..dim {
                let at = i * n + k;
                close(
                    moments.mean[at],
                    p.mean[i],
                    size,
                    allowed,
                    "mean of the moments",
                );
                close(means[at], p.mean[i], size, allowed, "mean");
                let scale = p.score.amax() + 1.0 + largest.sqrt() / problem.diffusion.sigma2(t);
                close(moments.score[at], p.score[i], scale, allowed, "score");
                for j in 0..dim {
                    let entry = moments.covariance[(i * dim + j) * n + k];
                    // The second term: conditional means of size `size`, as rounded.
                    let scale = 32.0 * largest + 1e-15 * size * size;
                    close(
                        entry,
                        p.covariance[(i, j)],
                        scale,
                        allowed.max(1e-13),
                        "covariance",
                    );
                }
            }
        }
    }
}

/// Two points at +-m in the plane: E[x0|x] = m tanh(z), Cov = m m^T / cosh^2 z with z = alpha m.x / sigma^2. Where the
/// other point has weight 1e-200, the covariance and the score's share of it keep their digits.
#[test]
fn two_points_in_the_plane_in_closed_form() {
    let m = [0.6, -0.8];
    let points = [m.to_vec(), m.map(|v| -v).to_vec()];
    for (diffusion, t_min, t_max) in PROCESSES {
        let problem = Problem {
            data: Data::points(&points, None).unwrap(),
            diffusion,
            t_min,
            t_max,
        };
        for t in [1e-3, 0.1, 0.7] {
            let cloud = CloudPosterior::new(&problem, t);
            let (alpha, sigma2) = (cloud.alpha(), cloud.sigma2());
            for z in [-220.0, -3.0, 0.0, 0.2, 1.5, 40.0, 220.0_f64] {
                // A point beside the line through the two, at the place where z is as wanted.
                let along = z * sigma2 / alpha;
                let x = [along * m[0] + 0.3 * m[1], along * m[1] - 0.3 * m[0]];
                let found = cloud.moments(&x);
                let exponent = (along.abs() + 2.0).powi(2) / sigma2;
                let variance = z.cosh().powi(-2);
                for i in 0..2 {
                    let mean = z.tanh() * m[i];
                    close(found.mean[i], mean, 1.0, 1e-15 * (1.0 + exponent), "mean");
                    for j in 0..2 {
                        let entry = found.covariance[2 * i + j];
                        let exact = variance * m[i] * m[j];
                        close(entry, exact, exact, 4e-15 * (10.0 + exponent), "covariance");
                    }
                }
            }
        }
    }
}

/// Exactly on a training point the score is all that the other points make of it, however little.
#[test]
fn the_score_on_a_point_is_what_the_others_leave() {
    let problem = Problem {
        data: Data::points(&[vec![0.0, 0.0], vec![1.0, 0.0]], None).unwrap(),
        diffusion: vkernel::problem::Diffusion::Edm,
        t_min: 1e-3,
        t_max: 1.0,
    };
    for t in [0.5, 0.1, 0.04, 0.03] {
        let found = CloudPosterior::new(&problem, t).moments(&[0.0, 0.0]);
        // Weight of the other point; down to exp(-555).
        let odds = (-0.5 / (t * t)).exp();
        let other = odds / (1.0 + odds);
        let score = other / (t * t);
        close(found.score[0], score, score, 1e-12, "score");
        assert_eq!(found.score[1], 0.0);
        let variance = other * (1.0 - other);
        close(found.covariance[0], variance, variance, 1e-12, "variance");
    }
}

/// Many draws at each of a few points: their mean and covariance are the posterior's.
#[test]
fn draws_have_the_moments_of_the_posterior() {
    let mut rng = rng(14);
    for round in 0..12 {
        let shape = [Shape::Points, Shape::Diagonal, Shape::Full][round % 3];
        let problem = random_problem(&mut rng, shape);
        let (dim, t) = (problem.dim(), [0.05, 0.4][round % 2]);
        let cloud = CloudPosterior::new(&problem, t);
        let place: Vec<f64> = (0..dim).map(|_| normal(&mut rng)).collect();
        // Not a multiple of the lanes.
        let n = 40_003;
        let x: Vec<f64> = place.iter().flat_map(|x| vec![*x; n]).collect();
        let (mut mean, mut clean) = (vec![0.0; dim * n], vec![0.0; dim * n]);
        cloud.mean_and_draw(&x, &mut rng, &mut mean, &mut clean);
        let mut alone = vec![0.0; dim * n];
        cloud.mean(&x, &mut alone);
        assert_eq!(mean, alone);
        let p = problem.posterior(&place, t);
        // A component of weight 1/n may or may not have been met: its separation, up to 10, over n.
        let unseen = [2.0, 20.0].map(|separation| separation / n as f64);
        let average = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        for i in 0..dim {
            let off = |c: usize, k: usize| clean[c * n + k] - p.mean[c];
            let error = (p.covariance[(i, i)] / n as f64).sqrt();
            close(average(&|k| off(i, k)), 0.0, error + unseen[0], 5.0, "mean");
            for j in 0..=i {
                let found = average(&|k| off(i, k) * off(j, k));
                let square = average(&|k| (off(i, k) * off(j, k)).powi(2));
                let error = ((square - found * found).max(0.0) / n as f64).sqrt();
                let scale = error + unseen[1];
                close(found, p.covariance[(i, j)], scale, 5.0, "covariance");
            }
        }
    }
}

/// A point's bits do not depend on the points beside it.
#[test]
fn any_blocking_gives_the_same_bits() {
    let mut rng = rng(12);
    for shape in [Shape::Points, Shape::Diagonal, Shape::Full] {
        let problem = random_problem(&mut rng, shape);
        let dim = problem.dim();
        let cloud = CloudPosterior::new(&problem, 0.02);
        let n = 37;
        let x: Vec<f64> = (0..dim * n).map(|_| 2.0 * normal(&mut rng)).collect();
        let mut all = vec![0.0; dim * n];
        cloud.mean(&x, &mut all);
        let moments = cloud.moments(&x);
        for (first, last) in [(0, 1), (3, 4), (5, 18), (36, 37), (9, 37)] {
            let count = last - first;
            let part: Vec<f64> = (0..dim)
                .flat_map(|i| x[i * n + first..i * n + last].to_vec())
                .collect();
            let mut mean = vec![0.0; dim * count];
            cloud.mean(&part, &mut mean);
            let of_part = cloud.moments(&part);
            for k in 0..count {
                assert_eq!(of_part.log_density[k], moments.log_density[first + k]);
                for i in 0..dim {
                    assert_eq!(mean[i * count + k], all[i * n + first + k]);
                    assert_eq!(
                        of_part.score[i * count + k],
                        moments.score[i * n + first + k]
                    );
                }
                for e in 0..dim * dim {
                    let whole = moments.covariance[e * n + first + k];
                    assert_eq!(of_part.covariance[e * count + k], whole);
                }
            }
        }
    }
}

/// Components left out of the mean are too light to be seen, however many they are.
#[test]
fn thousands_of_points_lose_nothing_to_the_cut() {
    let mut rng = rng(13);
    let points: Vec<Vec<f64>> = (0..3000)
        .map(|_| vec![normal(&mut rng), normal(&mut rng)])
        .collect();
    let problem = Problem {
        data: Data::points(&points, None).unwrap(),
        diffusion: VP,
        t_min: 1e-3,
        t_max: 1.0,
    };
    for t in [1e-3, 0.05, 0.3, 0.9] {
        let cloud = CloudPosterior::new(&problem, t);
        let x: Vec<f64> = (0..40).map(|_| 1.5 * normal(&mut rng)).collect();
        let mut mean = vec![0.0; 40];
        cloud.mean(&x, &mut mean);
        for k in 0..20 {
            let p = problem.posterior(&[x[k], x[20 + k]], t);
            let allowed = weight_error(&problem, &p, &[x[k], x[20 + k]], t);
            close(mean[k], p.mean[0], 4.0, allowed, "mean");
            close(mean[20 + k], p.mean[1], 4.0, allowed, "mean");
        }
    }
}
