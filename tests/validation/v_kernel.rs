//! The V-kernel as an operator.

use nalgebra::{DMatrix, DVector};
use rand::RngExt;
use vkernel::family::Linear;
use vkernel::numerics::linalg::symmetric_eigen;
use vkernel::problem::{Objective, Prediction, Problem, Training, Weighting};
use vkernel::statistics::{VKernel, WeightStatistics, sandwich};

use super::common::*;

fn case(predicts: Prediction) -> (Problem, Linear, WeightStatistics) {
    let problem = three_points(1e-2);
    let family = small_family(&problem, 5, 3, predicts);
    let training = Training {
        objective: Objective::Dsm,
        weighting: Weighting::Snr,
        samples: 1000,
        draws: 1,
        ridge: 0.1,
        time: None,
    };
    let weights = sandwich(&problem, &family, &training).unwrap().weights;
    (problem, family, weights)
}

const PREDICTIONS: [Prediction; 3] = [Prediction::Denoiser, Prediction::Score, Prediction::Noise];

fn random_points(problem: &Problem, n: usize) -> Vec<(f64, f64)> {
    let mut rng = rng(4);
    (0..n)
        .map(|_| {
            let t = problem.t_min + (problem.t_max - problem.t_min) * rng.random::<f64>();
            (1.5 * normal(&mut rng), t)
        })
        .collect()
}

/// D Cov[score, score'] D', the score written out for each kind of model: f itself, -f/sigma, (alpha f - x)/sigma^2.
#[test]
fn value_is_the_covariance_of_the_drift() {
    for predicts in PREDICTIONS {
        let (problem, family, weights) = case(predicts);
        let kernel = VKernel::new(&problem, &family, &weights, 0.0).unwrap();
        let d = &problem.diffusion;
        let row = |(x, t): (f64, f64)| {
            let mut phi = DVector::zeros(family.features.len());
            family.features.values(&[x], t, phi.as_mut_slice());
            let score_per_output = match predicts {
                Prediction::Denoiser => d.alpha(t) / d.sigma2(t),
                Prediction::Score => 1.0,
                Prediction::Noise => -1.0 / d.sigma(t),
            };
            phi * (d.diffusion_coefficient(t) * score_per_output)
        };
        let points = random_points(&problem, 12);
        for p in &points {
            for q in &points {
                let (a, b) = (row(*p), row(*q));
                let exact = a.dot(&(&weights.covariance * &b));
                let size = (a.dot(&(&weights.covariance * &a))
                    * b.dot(&(&weights.covariance * &b)))
                .sqrt();
                // Negative eigenvalues of rounding size (1e-16 of the largest) are left out of the factor.
                let rounding = 1e-14 * weights.covariance.trace() * a.norm() * b.norm();
                close(
                    kernel.value(*p, *q),
                    exact,
                    1e-12 * size + rounding,
                    1.0,
                    "V",
                );
            }
        }
        let gap = kernel.factor() * kernel.factor().transpose() - &weights.covariance;
        assert!(
            gap.amax() < 1e-13 * weights.covariance.trace(),
            "{:e}",
            gap.amax()
        );
    }
}

#[test]
fn on_a_path_it_is_symmetric_and_positive() {
    let (problem, family, weights) = case(Prediction::Denoiser);
    let kernel = VKernel::new(&problem, &family, &weights, 0.0).unwrap();
    let path = random_points(&problem, 40);
    let dense = kernel.on_path(&path).dense();
    let rank_bound = kernel.rank();
    assert!(rank_bound <= family.features.len());
    for (i, p) in path.iter().enumerate() {
        for (j, q) in path.iter().enumerate() {
            close(
                dense[(i, j)],
                kernel.value(*p, *q),
                dense.amax(),
                1e-14,
                "path",
            );
            close(
                dense[(i, j)],
                dense[(j, i)],
                dense.amax(),
                1e-15,
                "symmetry",
            );
        }
    }
    let (values, _) = symmetric_eigen(&dense).unwrap();
    let top = values[values.len() - 1];
    assert!(values[0] > -1e-13 * top, "{:e}", values[0]);
    // 40 points, at most F = 15 directions (D3.7).
    let positive = values.iter().filter(|v| **v > 1e-12 * top).count();
    assert!(positive <= rank_bound, "{positive} > {rank_bound}");
}

/// The reported share is the share of the trace, is within the budget, and bounds every value's error:
/// |V - V_truncated| <= (dropped trace) |row| |row'|.
#[test]
fn truncation_is_what_it_says() {
    let (problem, family, weights) = case(Prediction::Noise);
    let full = VKernel::new(&problem, &family, &weights, 0.0).unwrap();
    assert_eq!(full.truncated(), 0.0);
    let trace = weights.covariance.trace();
    let points = random_points(&problem, 15);
    let mut last = full.rank();
    for budget in [1e-6, 1e-3, 0.05, 0.5] {
        let kernel = VKernel::new(&problem, &family, &weights, budget).unwrap();
        assert!(kernel.rank() <= last && kernel.rank() >= 1);
        last = kernel.rank();
        let kept = (kernel.factor() * kernel.factor().transpose()).trace();
        close(
            kernel.truncated(),
            1.0 - kept / trace,
            1.0,
            1e-12,
            "share of the trace",
        );
        assert!(kernel.truncated() <= budget);
        for &(x, t) in &points {
            let mut phi = DVector::zeros(family.features.len());
            family.features.values(&[x], t, phi.as_mut_slice());
            let (_, b) = family.predicts.drift(&problem.diffusion, t);
            let gap = full.value((x, t), (x, t)) - kernel.value((x, t), (x, t));
            let bound = kernel.truncated() * trace * (b * phi.norm()).powi(2);
            assert!(
                gap >= -1e-12 * bound.max(1e-12) && gap <= bound * (1.0 + 1e-9) + 1e-12,
                "{gap:e} {bound:e}"
            );
        }
    }
    // Nothing fluctuates: rank 0, V = 0.
    let frozen = WeightStatistics {
        mean: weights.mean.clone(),
        covariance: DMatrix::zeros(15, 15),
    };
    let kernel = VKernel::new(&problem, &family, &frozen, 0.0).unwrap();
    assert_eq!(
        (kernel.rank(), kernel.value((0.3, 0.2), (0.1, 0.5))),
        (0, 0.0)
    );
}
