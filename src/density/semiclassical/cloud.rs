//! Gaussian fluctuations around the mean paths in D >= 2 (derivations/18-readouts.md).

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use crate::density::cloud::{CLOUD_POINTS, average};
use crate::density::{DensityError, Ensemble, Generator};
use crate::family::{Denoiser, Linear, LinearDenoiser};
use crate::numerics::linalg;
use crate::numerics::low_discrepancy::ScrambledSobol;
use crate::numerics::normal;
use crate::numerics::random::stream;
use crate::problem::Regression;
use crate::sampler::{Stage, Step};
use crate::statistics::WeightStatistics;

/// Starts whose covariance is computed; between them it is that of the nearest.
const NODES: usize = 1024;

/// The semiclassical density in D >= 2: around the end of every mean path a Gaussian of covariance J Cov(W) J^T, J = dx_0/dW,
/// D x D F. Costs N F D^2 flops per start and step, and 2 D (D F)^2 per start.
pub fn semiclassical_cloud(
    generator: &Generator<'_>,
    family: &Linear,
    weights: &WeightStatistics,
    seed: u64,
) -> Result<Ensemble, DensityError> {
    let problem = generator.problem();
    let dim = problem.dim();
    let law = generator.start_density();
    let model = LinearDenoiser {
        family,
        diffusion: &problem.diffusion,
        weights: weights.mean.as_slice(),
    };
    let spread = Spread::new(generator, &model, weights, seed)?;
    average(&generator.readout, |i| {
        let sequence = ScrambledSobol::new(&mut stream(seed, i + 1));
        let quantile = |i: usize, k: usize| normal::quantile(sequence.coordinate(i, k as u64));
        let n = CLOUD_POINTS;
        let component = |k: usize| sequence.coordinate(2 * dim, k as u64);
        let starts = law.points(dim, n, component, quantile);
        let mut x = starts.clone();
        generator.flow().flow(&model, &mut x)?;
        for k in 0..n {
            let factor = spread.nearest(|i| starts[i * n + k]);
            let z = DVector::from_fn(dim, |i, _| quantile(dim + i, k));
            for (i, moved) in (factor * z).iter().enumerate() {
                x[i * n + k] += moved;
            }
        }
        let mut reading = generator.readout.empty();
        generator.readout.add(&mut reading, &x, |_| 1.0 / n as f64);
        Ok(reading.into())
    })
}

/// Covariances of x_0 over models at some starts, as factors.
struct Spread {
    starts: Vec<DVector<f64>>,
    factors: Vec<DMatrix<f64>>,
}

impl Spread {
    fn new(
        generator: &Generator<'_>,
        model: &LinearDenoiser<'_>,
        weights: &WeightStatistics,
        seed: u64,
    ) -> Result<Self, DensityError> {
        let dim = generator.problem().dim();
        let sequence = ScrambledSobol::new(&mut stream(seed, 0));
        // The adaptive scheme shares its steps among all paths: those of one flow of all starts.
        let mut together = generator.start_density().points(
            dim,
            NODES,
            |k| sequence.coordinate(dim, k as u64),
            |i, k| normal::quantile(sequence.coordinate(i, k as u64)),
        );
        let starts: Vec<DVector<f64>> = (0..NODES)
            .map(|k| DVector::from_fn(dim, |i, _| together[i * NODES + k]))
            .collect();
        let times = generator.flow().flow(model, &mut together)?;
        let steps: Vec<Step> = generator.flow().steps(&times).collect();
        let factors: Result<Vec<DMatrix<f64>>, DensityError> = starts
            .par_iter()
            .map(|start| {
                let tangent = tangent(model, &steps, start);
                let half =
                    linalg::multiply(linalg::view(&weights.covariance), linalg::view(&tangent));
                let mut covariance = tangent.tr_mul(&half);
                linalg::symmetrise(&mut covariance);
                Ok(linalg::eigen_factor(&covariance)?)
            })
            .collect();
        Ok(Self {
            starts,
            factors: factors?,
        })
    }

    fn nearest(&self, x: impl Fn(usize) -> f64) -> &DMatrix<f64> {
        let distance = |s: &DVector<f64>| -> f64 {
            s.iter().enumerate().map(|(i, a)| (a - x(i)).powi(2)).sum()
        };
        let mut best = (f64::INFINITY, 0);
        for (k, start) in self.starts.iter().enumerate() {
            let d = distance(start);
            if d < best.0 {
                best = (d, k);
            }
        }
        &self.factors[best.1]
    }
}

/// d x_0 / d W along the mean path of one start, D F x D (the transpose of J).
fn tangent(model: &LinearDenoiser<'_>, steps: &[Step], start: &DVector<f64>) -> DMatrix<f64> {
    let mut path = Path {
        x: start.clone(),
        tangent: DMatrix::zeros(model.weights.len(), start.len()),
    };
    for step in steps {
        path.advance(model, step);
    }
    path.tangent
}

/// A mean path with its derivative in the weights.
#[derive(Clone)]
struct Path {
    x: DVector<f64>,
    tangent: DMatrix<f64>,
}

impl Path {
    fn advance(&mut self, model: &LinearDenoiser<'_>, step: &Step) {
        match step {
            Step::OneStage { t, c, d } => {
                let stage = Stage {
                    t: *t,
                    a: *c,
                    b: *d,
                };
                *self = self.image(model, &stage);
            }
            Step::RungeKutta { tableau, h, stages } => {
                let mut slopes: Vec<Self> = Vec::with_capacity(stages.len());
                for (row, stage) in tableau.a.iter().zip(stages) {
                    let mut at = self.clone();
                    for (a, slope) in row.iter().zip(&slopes) {
                        at.add(slope, h * a);
                    }
                    slopes.push(at.image(model, stage));
                }
                for (b, slope) in tableau.b.iter().zip(&slopes) {
                    self.add(slope, h * b);
                }
            }
        }
    }

    fn add(&mut self, other: &Self, factor: f64) {
        self.x.axpy(factor, &other.x, 1.0);
        self.tangent
            .zip_apply(&other.tangent, |t, o| *t += factor * o);
    }

    /// a x + b Dn(x, t), and its derivative in the weights: a step of one stage, or a slope of several.
    fn image(&self, model: &LinearDenoiser<'_>, stage: &Stage) -> Self {
        let dim = self.x.len();
        let (family, features) = (model.family, &model.family.features);
        let space = features.space_len();
        let (mut values, mut slopes) = (vec![0.0; space], vec![0.0; space * dim]);
        features
            .space
            .jacobian(self.x.as_slice(), &mut values, &mut slopes);
        let mut clock = vec![0.0; features.time.len()];
        features.time.values(stage.t, &mut clock);
        let Regression { p, q } = family.predicts.regression(model.diffusion, stage.t);
        let weights = model.space_weights(stage.t);
        let dot = crate::family::features::dot;
        // d(a x + b Dn)/dx.
        let growth = DMatrix::from_fn(dim, dim, |o, i| {
            let own = if o == i { 1.0 } else { 0.0 };
            let slope = dot(
                &weights[o * space..(o + 1) * space],
                &slopes[i * space..(i + 1) * space],
            );
            stage.a * own + stage.b * (slope - q * own) / p
        });
        let mut denoised = vec![0.0; dim];
        model.denoise(stage.t, self.x.as_slice(), &mut denoised);
        let mut tangent = &self.tangent * growth.transpose();
        let features = crate::family::features::kronecker(&values, &clock);
        for o in 0..dim {
            let rows = o * features.len()..(o + 1) * features.len();
            for (t, f) in tangent.column_mut(o).as_mut_slice()[rows]
                .iter_mut()
                .zip(&features)
            {
                *t += stage.b / p * f;
            }
        }
        Self {
            x: &self.x * stage.a + DVector::from_vec(denoised) * stage.b,
            tangent,
        }
    }
}
