//! Samplers, slopes, finite differences and small families.

use std::path::{Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vkernel::experiment::{Process, SamplerOptions, Scheme, Spacing};
use vkernel::family::Linear;
use vkernel::family::features::{
    Factor, FeatureSet, Features, Gaussian, Polynomial, SpaceFeatures,
};
use vkernel::problem::{Data, Diffusion, Prediction, Problem, StartLaw};

pub const VP: Diffusion = Diffusion::Vp {
    beta_min: 0.1,
    beta_delta: 19.9,
};
/// The four forward processes with a time window each.
pub const PROCESSES: [(Diffusion, f64, f64); 4] = [
    (VP, 1e-2, 1.0),
    (Diffusion::Edm, 2e-3, 80.0),
    (Diffusion::Ou, 1e-3, 3.0),
    (Diffusion::Flow, 1e-2, 1.0),
];

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub fn experiment_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("experiments")
        .join(name)
}

/// A PF-ODE sampler; `steps` counts for fixed grids, `tolerance` for the adaptive scheme.
pub fn options(scheme: Scheme, steps: usize, tolerance: f64) -> SamplerOptions {
    SamplerOptions {
        process: Process::PfOde,
        scheme,
        steps,
        grid: Spacing::Log,
        tolerance,
        start: StartLaw::Normal,
    }
}

/// Gaussian mixture on the line with its own time window.
pub fn mixture(
    (diffusion, t_min, t_max): (Diffusion, f64, f64),
    means: &[f64],
    stds: &[f64],
    weights: &[f64],
) -> Problem {
    let column = |v: &[f64]| v.iter().map(|x| vec![*x]).collect::<Vec<_>>();
    Problem {
        data: Data::diagonal_mixture(&column(means), &column(stds), Some(weights)).unwrap(),
        diffusion,
        t_min,
        t_max,
    }
}

/// The three points of the paper's Fig. 2.
pub fn three_points(t_min: f64) -> Problem {
    mixture(
        (VP, t_min, 1.0),
        &[-1.0, 0.0, 1.0],
        &[0.0; 3],
        &[1.0 / 3.0; 3],
    )
}

pub fn factor(set: FeatureSet) -> Factor {
    Factor::new(vec![set])
}

/// `space` Gaussian features on [-1.5, 1.5] times the first `time` Legendre polynomials of the window.
pub fn small_family(problem: &Problem, space: usize, time: usize, predicts: Prediction) -> Linear {
    Linear {
        features: Features {
            space: SpaceFeatures::Product(vec![factor(FeatureSet::Gaussian(Gaussian::new(
                space, -1.5, 1.5, 0.8,
            )))]),
            time: factor(FeatureSet::Polynomial(Polynomial::new(
                time,
                problem.t_min,
                problem.t_max,
            ))),
        },
        predicts,
    }
}

/// Sixth-order central difference: truncation error f^(7) h^6 / 140.
pub fn slope(f: impl Fn(f64) -> f64, x: f64, h: f64) -> f64 {
    let odd = |k: f64| f(x + k * h) - f(x - k * h);
    (45.0 * odd(1.0) - 9.0 * odd(2.0) + odd(3.0)) / (60.0 * h)
}

/// Least-squares slope of ln y against ln x.
pub fn log_slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / n;
    let (mx, my) = (mean(&|p| p.0.ln()), mean(&|p| p.1.ln()));
    let top = mean(&|p| (p.0.ln() - mx) * (p.1.ln() - my));
    top / mean(&|p| (p.0.ln() - mx).powi(2))
}

/// Sample mean and variance.
pub fn moments(all: &[f64]) -> (f64, f64) {
    let n = all.len() as f64;
    let mean = all.iter().sum::<f64>() / n;
    let variance = all.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance)
}

pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    rng.sample(rand_distr::StandardNormal)
}

/// |a - b| <= tolerance * scale, with the numbers in the message.
#[track_caller]
pub fn close(a: f64, b: f64, scale: f64, tolerance: f64, what: &str) {
    assert!(
        (a - b).abs() <= tolerance * scale.abs(),
        "{what}: {a:.15e} against {b:.15e}, off by {:.2e} of {scale:.2e}, allowed {tolerance:.1e}",
        (a - b).abs() / scale.abs()
    );
}
