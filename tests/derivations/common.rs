//! Quadrature rules, finite differences, slopes and the problems the derivations are tested on.

use gauss_quad::{GaussHermite, GaussLegendre};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution};
use vkernel::problem::{Data, Diffusion, Problem};
use vkernel::statistics::QuenchedLayer;

/// Conditional moments given a quenched layer against those of trained models.
#[derive(Default)]
pub struct ConditionalMoments {
    /// Predicted over trained standard deviations.
    ratios: Vec<f64>,
    /// Predicted less trained means, in trained standard deviations.
    shifts: Vec<f64>,
}

impl ConditionalMoments {
    /// The values of trained models at one place, and what is predicted for their mean and standard deviation.
    pub fn add(&mut self, trained: &[f64], mean: f64, std: f64) {
        let n = trained.len() as f64;
        let average = trained.iter().sum::<f64>() / n;
        let own = (trained.iter().map(|v| (v - average).powi(2)).sum::<f64>() / n).sqrt();
        self.ratios.push(std / own);
        self.shifts.push((mean - average) / own);
    }

    /// Corrections are of the order of 1/(samples outside), about 1/24 where half of 48 are: twice that for the spread, and for
    /// the mean a small part of the spread it is to be added to.
    pub fn assert_close(mut self) {
        self.ratios.sort_by(f64::total_cmp);
        let rms = self.shifts.iter().map(|s| s * s).sum::<f64>() / self.shifts.len() as f64;
        let (rms, median) = (rms.sqrt(), self.ratios[self.ratios.len() / 2]);
        println!(
            "std ratio: median {median:.3}, {:.3} to {:.3}; mean off by {rms:.3} std (rms)",
            self.ratios[0],
            self.ratios[self.ratios.len() - 1]
        );
        assert!((median - 1.0).abs() <= 0.1, "{median}");
        assert!(rms <= 0.25, "{rms}");
    }
}

/// Values of draws have a mean to 4.5 of their standard errors, and a variance to 5 and what that may be off by besides.
pub fn assert_drawn(values: &[f64], mean: f64, variance: f64, besides: f64, what: &str) {
    let n = values.len() as f64;
    let off = values.iter().map(|v| v - mean).sum::<f64>() / n / variance.sqrt();
    let ratio = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n / variance;
    println!("{what}: mean off by {off:.4} std, variance ratio {ratio:.4}");
    assert!(off.abs() <= 4.5 / n.sqrt(), "{what}: mean off by {off}");
    let allowed = 5.0 * (2.0 / n).sqrt() + besides;
    assert!(
        (ratio - 1.0).abs() <= allowed,
        "{what}: variance ratio {ratio}"
    );
}

/// How many samples a draw of a layer with one interval has, and the interval, from the random numbers in the order in which the
/// layer takes them.
pub fn layer_opening(
    layer: &QuenchedLayer<'_>,
    samples: usize,
    rng: &mut ChaCha8Rng,
) -> (usize, f64, f64) {
    let probability = layer.expected_samples() / samples as f64;
    let n = Binomial::new(samples as u64, probability)
        .unwrap()
        .sample(rng) as usize;
    match layer.intervals() {
        [(low, high)] => (n, *low, *high),
        other => panic!("one interval expected, found {other:?}"),
    }
}

pub const VP: Diffusion = Diffusion::Vp {
    beta_min: 0.1,
    beta_delta: 19.9,
};
/// The four forward processes.
pub const PROCESSES: [Diffusion; 4] = [VP, Diffusion::Edm, Diffusion::Ou, Diffusion::Flow];

/// Nodes and weights of the mean over a standard normal.
pub fn normal_rule(n: usize) -> Vec<(f64, f64)> {
    let root_pi = std::f64::consts::PI.sqrt();
    GaussHermite::new(n.try_into().unwrap())
        .iter()
        .map(|(x, w)| (x * std::f64::consts::SQRT_2, w / root_pi))
        .collect()
}

/// Gauss-Legendre nodes and weights on [a, b].
pub fn legendre_rule(n: usize, a: f64, b: f64) -> Vec<(f64, f64)> {
    let (middle, half) = (0.5 * (a + b), 0.5 * (b - a));
    GaussLegendre::new(n.try_into().unwrap())
        .iter()
        .map(|(x, w)| (middle + half * x, w * half))
        .collect()
}

/// Trapezoid rule on [a, b]: for an integrand that is analytic and negligible at both ends its error falls
/// faster than any power of the spacing.
pub fn trapezoid(n: usize, a: f64, b: f64) -> Vec<(f64, f64)> {
    let h = (b - a) / n as f64;
    (0..=n)
        .map(|i| {
            let end = if i == 0 || i == n { 0.5 } else { 1.0 };
            (a + h * i as f64, h * end)
        })
        .collect()
}

pub fn integrate(rule: &[(f64, f64)], f: impl Fn(f64) -> f64) -> f64 {
    rule.iter().map(|(x, w)| w * f(*x)).sum()
}

/// Normal density.
pub fn normal_pdf(x: f64, mean: f64, variance: f64) -> f64 {
    (-0.5 * (x - mean).powi(2) / variance).exp() / (2.0 * std::f64::consts::PI * variance).sqrt()
}

/// Sixth-order central difference: truncation error f^(7) h^6 / 140.
pub fn slope(f: impl Fn(f64) -> f64, x: f64, h: f64) -> f64 {
    let odd = |k: f64| f(x + k * h) - f(x - k * h);
    (45.0 * odd(1.0) - 9.0 * odd(2.0) + odd(3.0)) / (60.0 * h)
}

/// Sixth-order central second difference: truncation error f^(8) h^6 / 560.
pub fn curvature(f: impl Fn(f64) -> f64, x: f64, h: f64) -> f64 {
    let even = |k: f64| f(x + k * h) + f(x - k * h);
    (270.0 * even(1.0) - 27.0 * even(2.0) + 2.0 * even(3.0) - 490.0 * f(x)) / (180.0 * h * h)
}

/// Least-squares slope of ln y against ln x.
pub fn log_slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0);
    for (x, y) in points {
        let (x, y) = (x.ln(), y.ln());
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
    }
    (n * sxy - sx * sy) / (n * sxx - sx * sx)
}

/// |a - b| <= tolerance (1 + |b|), with the numbers in the message.
#[track_caller]
pub fn close(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!(
        (a - b).abs() <= tolerance * (1.0 + b.abs()),
        "{what}: {a:.12e} against {b:.12e}, difference {:.3e}, allowed {tolerance:.1e} relative",
        (a - b).abs()
    );
}

pub fn problem(data: Data, diffusion: Diffusion, t_min: f64, t_max: f64) -> Problem {
    Problem {
        data,
        diffusion,
        t_min,
        t_max,
    }
}

/// A skewed mixture on the line: two Gaussians and a point mass.
pub fn line_mixture() -> Data {
    Data::diagonal_mixture(
        &[vec![-1.0], vec![0.4], vec![1.1]],
        &[vec![0.3], vec![0.0], vec![0.15]],
        Some(&[0.5, 0.2, 0.3]),
    )
    .unwrap()
}

/// A mixture in the plane with correlated covariances and a point mass.
pub fn plane_mixture() -> Data {
    Data::full_mixture(
        &[vec![-0.8, 0.3], vec![0.5, -0.6], vec![1.0, 1.0]],
        &[
            vec![vec![0.20, 0.12], vec![0.12, 0.30]],
            vec![vec![0.0, 0.0], vec![0.0, 0.0]],
            vec![vec![0.05, -0.03], vec![-0.03, 0.08]],
        ],
        Some(&[0.4, 0.35, 0.25]),
    )
    .unwrap()
}
