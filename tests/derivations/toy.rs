//! A small linear family, and its path integral written once more in complex numbers: every derivative of the action is
//! then Cauchy's integral over a circle.

use super::common::*;
use super::d3_path_integral::{ddim, euler};
use nalgebra::{DMatrix, DVector};
use num_complex::Complex64;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use vkernel::action::Action;
use vkernel::experiment::{Process, SamplerOptions, Scheme, Spacing};
use vkernel::family::Linear;
use vkernel::family::features::{Factor, FeatureSet, Features, Gaussian, SpaceFeatures};
use vkernel::problem::{Diffusion, Prediction, Problem, StartLaw};
use vkernel::sampler::PfOde;
use vkernel::statistics::{VKernel, WeightStatistics};

pub type C = Complex64;

const NX: usize = 5;
const NT: usize = 3;
/// Features.
pub const F: usize = NX * NT;
const WIDTH: f64 = 0.6;
const REACH: f64 = 1.5;
const LOW: f64 = 0.1;
const HIGH: f64 = 1.2;

pub const PREDICTIONS: [Prediction; 3] =
    [Prediction::Denoiser, Prediction::Score, Prediction::Noise];
pub const SCHEMES: [Scheme; 2] = [Scheme::Euler, Scheme::Ddim];

/// 5 x 3 Gaussian features under `ou` on [0.1, 1.2], random weights with a random covariance of given rank.
pub struct Toy {
    pub problem: Problem,
    pub family: Linear,
    pub weights: WeightStatistics,
    pub flow: PfOde,
    pub scheme: Scheme,
}

impl Toy {
    /// `spread` is the standard deviation of the entries of a factor of the covariance.
    pub fn new(
        seed: u64,
        (predicts, scheme): (Prediction, Scheme),
        steps: usize,
        (rank, spread): (usize, f64),
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mean = normals(F, &mut rng) * 0.4;
        let root = DMatrix::from_fn(F, rank, |_, _| {
            spread * rng.sample::<f64, _>(StandardNormal)
        });
        let problem = problem(line_mixture(), Diffusion::Ou, LOW, HIGH);
        let space = FeatureSet::Gaussian(Gaussian::new(NX, -REACH, REACH, WIDTH));
        let time = FeatureSet::Gaussian(Gaussian::new(NT, LOW, HIGH, WIDTH));
        Self {
            flow: PfOde::new(&problem, &options(scheme, steps)),
            problem,
            family: Linear {
                features: Features {
                    space: SpaceFeatures::Product(vec![Factor::new(vec![space])]),
                    time: Factor::new(vec![time]),
                },
                predicts,
            },
            weights: WeightStatistics {
                mean,
                covariance: &root * root.transpose(),
            },
            scheme,
        }
    }

    /// The V-kernel; what is left of null eigenvalues by rounding is cut off.
    pub fn kernel(&self) -> VKernel<'_> {
        VKernel::new(&self.problem, &self.family, &self.weights, 1e-12).unwrap()
    }

    pub fn action(&self, strength: f64) -> Action<'_> {
        Action::new(&self.kernel(), &self.weights, &self.flow, strength).unwrap()
    }

    /// The same path integral, by the definitions.
    pub fn own(&self, action: &Action<'_>) -> Own {
        let step = match self.scheme {
            Scheme::Ddim => ddim,
            _ => euler,
        };
        let d = &self.problem.diffusion;
        let steps = self.flow.grid().unwrap().windows(2).map(|w| {
            let (c, e) = step(d, w[0], w[1]);
            let r = self.family.predicts.regression(d, w[0]);
            (w[0], c - e * r.q / r.p, e / r.p)
        });
        Own {
            steps: steps.collect(),
            mean: self.weights.mean.clone(),
            factor: action.factor().clone(),
        }
    }
}

pub fn options(scheme: Scheme, steps: usize) -> SamplerOptions {
    SamplerOptions {
        process: Process::PfOde,
        scheme,
        steps,
        grid: Spacing::Log,
        tolerance: 1e-8,
        start: StartLaw::Normal,
    }
}

/// x -> c x + d W phi(x, t) with W = mean + L eta.
pub struct Own {
    /// t, c, d by steps.
    steps: Vec<(f64, f64, f64)>,
    mean: DVector<f64>,
    factor: DMatrix<f64>,
}

impl Own {
    fn features(x: C, t: f64) -> DVector<C> {
        let bump = |z: C, std: f64| {
            (z * z * (-0.5 / (std * std))).exp() / (std * (2.0 * std::f64::consts::PI).sqrt())
        };
        let (dx, dt) = (
            2.0 * REACH / (NX - 1) as f64,
            (HIGH - LOW) / (NT - 1) as f64,
        );
        DVector::from_fn(F, |f, _| {
            let (i, j) = ((f / NT) as f64, (f % NT) as f64);
            bump(x + REACH - dx * i, WIDTH * dx) * bump(C::from(t - LOW - dt * j), WIDTH * dt)
        })
    }

    /// Mean step and v_k.
    fn step(&self, k: usize, x: C) -> (C, DVector<C>) {
        let (t, c, d) = self.steps[k];
        let phi = Self::features(x, t) * C::from(d);
        let mean = x * c + self.mean.map(C::from).dot(&phi);
        (mean, self.factor.map(C::from).tr_mul(&phi))
    }

    /// Residuals and B (N x r) on a path.
    pub fn field(&self, path: &[C]) -> (DVector<C>, DMatrix<C>) {
        let n = self.steps.len();
        let mut residual = DVector::zeros(n);
        let mut rows = DMatrix::zeros(n, self.factor.ncols());
        for k in 0..n {
            let (mean, v) = self.step(k, path[k]);
            residual[k] = path[k + 1] - mean;
            rows.set_row(k, &v.transpose());
        }
        (residual, rows)
    }

    pub fn v(&self, path: &[C]) -> DMatrix<C> {
        let (_, rows) = self.field(path);
        &rows * rows.transpose()
    }

    /// -i p.r + p^T V p/2.
    pub fn msr(&self, path: &[C], p: &DVector<C>) -> C {
        let (r, rows) = self.field(path);
        let pull = rows.tr_mul(p);
        -C::i() * p.dot(&r) + 0.5 * pull.dot(&pull)
    }

    /// r^T V^-1 r/2 + (ln det V)/2 + (N/2) ln 2 pi, V with `variance` added to its diagonal.
    pub fn onsager_machlup(&self, path: &[C], variance: f64) -> C {
        let (r, _) = self.field(path);
        let n = r.len();
        let v = self.v(path) + DMatrix::identity(n, n) * C::from(variance);
        let lu = v.lu();
        let quadratic = r.dot(&lu.solve(&r).unwrap());
        0.5 * (quadratic + lu.determinant().ln() + n as f64 * (2.0 * std::f64::consts::PI).ln())
    }

    /// Steps `from`.. of the model eta, started at x.
    pub fn end(&self, from: usize, start: C, eta: &[C]) -> C {
        let eta = DVector::from_column_slice(eta);
        (from..self.steps.len()).fold(start, |x, k| {
            let (mean, v) = self.step(k, x);
            mean + v.dot(&eta)
        })
    }
}

const CIRCLE: usize = 16;
const RADIUS: f64 = 0.01;

fn circle() -> impl Iterator<Item = C> {
    (0..CIRCLE).map(|j| C::cis(std::f64::consts::TAU * j as f64 / CIRCLE as f64))
}

/// f'(0) = (1/2 pi i) oint f/z^2 dz over a circle, by the trapezoid rule: its error is the term of order
/// radius^16, the rounding 1e-16/radius.
pub fn cauchy(f: impl Fn(C) -> C) -> C {
    circle().map(|e| f(e * RADIUS) / e).sum::<C>() / (CIRCLE as f64 * RADIUS)
}

/// d^2 f/dz1 dz2 at 0 by two circles; rounding 1e-16/radius^2.
pub fn cauchy2(f: impl Fn(C, C) -> C) -> C {
    let sum: C = circle()
        .flat_map(|a| circle().map(move |b| (a, b)))
        .map(|(a, b)| f(a * RADIUS, b * RADIUS) / (a * b))
        .sum();
    sum / (CIRCLE as f64 * RADIUS).powi(2)
}

/// The vector with z added to entry i.
pub fn bumped(v: &[C], i: usize, z: C) -> Vec<C> {
    let mut out = v.to_vec();
    out[i] += z;
    out
}

/// v + z d.
pub fn moved(v: &[C], d: &[C], z: C) -> Vec<C> {
    v.iter().zip(d).map(|(v, d)| v + z * d).collect()
}

pub fn complex(v: &[f64]) -> Vec<C> {
    v.iter().map(|x| C::from(*x)).collect()
}

pub fn normals<R: Rng>(n: usize, rng: &mut R) -> DVector<f64> {
    DVector::from_fn(n, |_, _| rng.sample::<f64, _>(StandardNormal))
}

/// N + 1 positions spread over the range of the features.
pub fn random_path<R: Rng>(steps: usize, rng: &mut R) -> Vec<f64> {
    (0..=steps)
        .map(|_| REACH * (2.0 * rng.random::<f64>() - 1.0))
        .collect()
}

/// max |a - b| <= tolerance max |b|; returns the ratio.
#[track_caller]
pub fn near(a: &DVector<C>, b: &DVector<C>, tolerance: f64, what: &str) -> f64 {
    let gap = (a - b).map(|z| z.norm()).max();
    let size = b.map(|z| z.norm()).max();
    assert!(gap <= tolerance * size, "{what}: {gap:.3e} of {size:.3e}");
    gap / size
}

/// The same for real vectors.
#[track_caller]
pub fn near_real(a: &DVector<f64>, b: &DVector<f64>, tolerance: f64, what: &str) -> f64 {
    near(&a.map(C::from), &b.map(C::from), tolerance, what)
}
