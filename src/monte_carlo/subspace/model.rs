//! Low-rank models of one case: their clean points, their training, and what they learn in the limit of many samples.

use nalgebra::DMatrix;
use rand::Rng;

use super::{Descent, DsmNoise, Learner, Method, Starts, SubspaceError, Trained};
use crate::family::{CleanPoints, LowRank, SubspaceFamily, SubspaceFit};
use crate::numerics::random::stream;
use crate::problem::{Component, Prediction, Problem, Training};

/// Noise levels that the DSM loss is averaged over, evenly spaced in ln t.
const TIMES: usize = 4;
/// End of a descent.
const DESCENT: Descent = Descent {
    tolerance: 1e-9,
    steps: 2000,
};
/// Points up to which the spectral start is tried: it takes time N^3.
const MOST_SPECTRAL: usize = 600;
/// Random starts of the fit to the whole data, and the points that stand for data which are no points.
const LIMIT_STARTS: usize = 4;
const LIMIT_POINTS: usize = 4096;
/// Seed of that fit: it is part of the estimator, not of the experiment.
const LIMIT_SEED: u64 = 0x5eed_5b5b;

/// Clean points of one model, n x N, and the component of the data that each belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanSet {
    pub points: DMatrix<f64>,
    pub labels: Vec<usize>,
}

/// Trains the models of a case.
#[derive(Debug, Clone)]
pub struct SubspaceTrainer<'a> {
    problem: &'a Problem,
    family: &'a SubspaceFamily,
    learner: Learner,
}

impl<'a> SubspaceTrainer<'a> {
    pub fn new(problem: &'a Problem, family: &'a SubspaceFamily, training: &Training) -> Self {
        let points = points(problem, family);
        let protocol = &family.protocol;
        let learner = Learner {
            ranks: family.ranks.clone(),
            weights: family.weights.clone(),
            assignment: family.assignment,
            starts: match (protocol.fit, family.ranks.len()) {
                // Every start ends in the leading singular subspace.
                (SubspaceFit::KSubspaces, 1) => Starts {
                    spectral: false,
                    random: 1,
                },
                _ => Starts {
                    spectral: points <= MOST_SPECTRAL,
                    random: protocol.restarts,
                },
            },
            method: match protocol.fit {
                SubspaceFit::KSubspaces => Method::KSubspaces,
                SubspaceFit::Gradient { pairs } => Method::Gradient {
                    diffusion: problem.diffusion.clone(),
                    noise: noise(problem, training, pairs),
                    descent: DESCENT,
                },
            },
        };
        Self {
            problem,
            family,
            learner,
        }
    }

    /// Is it descent of the DSM loss?
    pub fn descends(&self) -> bool {
        self.learner.method != Method::KSubspaces
    }

    /// Bytes of the training of one model.
    pub fn bytes(&self) -> u64 {
        let (dim, points) = (self.problem.dim(), points(self.problem, self.family));
        let noised = match &self.learner.method {
            Method::KSubspaces => 0,
            Method::Gradient { noise, .. } => super::DsmLoss::bytes(dim, points, noise),
        };
        // The points, their parts outside the subspaces, and the spectral start's matrices.
        let spectral = if self.learner.starts.spectral {
            points
        } else {
            0
        };
        let points = points as u64;
        let floats = points.saturating_mul(4 * dim as u64 + 4 * spectral as u64);
        noised.saturating_add(floats.saturating_mul(8))
    }

    /// Flops of the training of one model, roughly.
    pub fn flops(&self) -> f64 {
        /// Rounds of Lloyd's iteration, and steps of a descent, from one start.
        const ROUNDS: f64 = 10.0;
        const STEPS: f64 = 100.0;
        let (dim, points) = (
            self.problem.dim() as f64,
            points(self.problem, self.family) as f64,
        );
        let columns: f64 = self.family.ranks.iter().map(|d| *d as f64).sum();
        let starts = self.learner.starts.random as f64 + 1.0;
        let fit = 10.0 * dim * points * (columns + points.min(dim));
        match &self.learner.method {
            Method::KSubspaces => starts * ROUNDS * fit,
            Method::Gradient { noise, .. } => {
                let draws = (2 * noise.pairs * noise.times.len()) as f64;
                starts * STEPS * 8.0 * dim * points * draws * columns
            }
        }
    }

    /// The clean points of one model.
    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> CleanSet {
        let (data, dim) = (&self.problem.data, self.problem.dim());
        let mut labels = Vec::new();
        let mut points = DMatrix::zeros(dim, points(self.problem, self.family));
        for (i, mut point) in points.column_iter_mut().enumerate() {
            let place = point.as_mut_slice();
            labels.push(match self.family.protocol.points {
                CleanPoints::Total(_) => data.sample_labelled(rng, place),
                CleanPoints::PerSubspace(size) => {
                    data.components()[i / size].sample(rng, place);
                    i / size
                }
            });
        }
        CleanSet { points, labels }
    }

    /// One model.
    ///
    /// # Errors
    /// As [`Learner::train`].
    pub fn train<R: Rng + ?Sized>(
        &self,
        points: &DMatrix<f64>,
        rng: &mut R,
    ) -> Result<Trained, SubspaceError> {
        self.learner.train(points, rng)
    }

    /// The same points clustered, by K-subspaces.
    ///
    /// # Errors
    /// As [`Learner::train`].
    pub fn cluster<R: Rng + ?Sized>(
        &self,
        points: &DMatrix<f64>,
        rng: &mut R,
    ) -> Result<Trained, SubspaceError> {
        let learner = Learner {
            method: Method::KSubspaces,
            ..self.learner.clone()
        };
        learner.train(points, rng)
    }

    /// The model in the limit of many samples: the data's own subspaces, or those that fit all of the data best.
    ///
    /// # Errors
    /// As [`Learner::train`].
    pub fn limit(&self) -> Result<LowRank, SubspaceError> {
        let own = LowRank {
            bases: Vec::new(),
            weights: self.family.weights.clone(),
            assignment: self.family.assignment,
        };
        if let Some(bases) = true_bases(self.problem, self.family) {
            return Ok(LowRank { bases, ..own });
        }
        let mut rng = stream(LIMIT_SEED, 0);
        let components = self.problem.data.components();
        let points = match components.iter().all(Component::is_point) {
            true => DMatrix::from_columns(
                &components
                    .iter()
                    .map(|c| c.mean.clone())
                    .collect::<Vec<_>>(),
            ),
            false => {
                let mut points = DMatrix::zeros(self.problem.dim(), LIMIT_POINTS);
                for mut point in points.column_iter_mut() {
                    self.problem.data.sample(&mut rng, point.as_mut_slice());
                }
                points
            }
        };
        let learner = Learner {
            method: Method::KSubspaces,
            starts: Starts {
                spectral: points.ncols() <= MOST_SPECTRAL,
                random: LIMIT_STARTS,
            },
            ..self.learner.clone()
        };
        Ok(learner.train(&points, &mut rng)?.model)
    }
}

/// The data's subspaces, where they are as many and of the same ranks as the model's.
pub fn true_bases(problem: &Problem, family: &SubspaceFamily) -> Option<Vec<DMatrix<f64>>> {
    let bases = problem.data.subspaces()?;
    let ranks = bases.iter().map(|u| u.ncols());
    ranks
        .eq(family.ranks.iter().copied())
        .then(|| bases.into_iter().cloned().collect())
}

/// N.
fn points(problem: &Problem, family: &SubspaceFamily) -> usize {
    match family.protocol.points {
        CleanPoints::Total(points) => points,
        CleanPoints::PerSubspace(size) => size.saturating_mul(problem.data.components().len()),
    }
}

fn noise(problem: &Problem, training: &Training, pairs: usize) -> DsmNoise {
    let ratio = problem.t_min / problem.t_max;
    let times = (0..TIMES).map(|k| {
        let t = problem.t_max * ratio.powf((k as f64 + 0.5) / TIMES as f64);
        (t, training.lambda(problem, Prediction::Denoiser, t))
    });
    DsmNoise {
        times: times.collect(),
        pairs,
    }
}
