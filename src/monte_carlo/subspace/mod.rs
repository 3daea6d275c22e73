//! Subspaces learned from clean points: the low-rank mixture trained on its DSM loss, and clustering beside it
//! (derivations/25-subspaces.md).

mod dsm;
mod k_subspaces;
mod model;
mod start;
mod stiefel;
mod trial;

pub use dsm::{DsmLoss, DsmNoise, Mixture};
pub use k_subspaces::{Clustering, k_subspaces};
pub use model::{CleanSet, SubspaceTrainer, true_bases};
pub use stiefel::{Descent, Minimum, Objective, minimise};
pub use trial::{
    Arrangement, Cell, Outcome, RECOVERED, Rates, Sizes, TrialData, rates, same_partition, trial,
};

use nalgebra::DMatrix;
use rand::Rng;
use thiserror::Error;

use crate::family::{Assignment, LowRank};
use crate::numerics::linalg::LinalgError;
use crate::numerics::subspace::nearest_subspace;
use crate::problem::Diffusion;

/// A clustering that leaves no more than this share of the points' squared length outside is exact: no other start is tried.
const EXACT: f64 = 1e-24;

/// Why subspaces could not be learned.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum SubspaceError {
    #[error("there are no points to learn subspaces from")]
    NoPoints,
    #[error(
        "subspaces of rank {rank} do not exist in {ambient} dimensions; allowed are 1 to {ambient}"
    )]
    Rank { rank: usize, ambient: usize },
    #[error("{found} weights for {expected} subspaces")]
    WeightCount { found: usize, expected: usize },
    #[error("no start is tried: ask for the spectral one, or for random ones")]
    NoStart,
    #[error("the DSM loss needs at least one time and one pair of draws")]
    NoNoise,
    #[error("{classes} orthogonal subspaces of rank {rank} do not fit into {ambient} dimensions")]
    Orthogonal {
        classes: usize,
        rank: usize,
        ambient: usize,
    },
    #[error(transparent)]
    Linalg(#[from] LinalgError),
}

/// How the bases are found.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Lloyd's iteration on the clean points; for K = 1 the leading singular subspace, which is the minimum of the DSM loss.
    KSubspaces,
    /// Descent of the DSM loss on the Stiefel manifold.
    Gradient {
        diffusion: Diffusion,
        noise: DsmNoise,
        descent: Descent,
    },
}

/// Which starts are tried; the one with the least loss is kept, the first of equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Starts {
    /// The partition by the points' shape-interaction matrix. Costs O(N^3).
    pub spectral: bool,
    /// Uniform random subspaces.
    pub random: usize,
}

/// A training protocol of low-rank mixtures.
#[derive(Debug, Clone, PartialEq)]
pub struct Learner {
    /// d_k, 1..=n each.
    pub ranks: Vec<usize>,
    /// pi_k of the model, which are not learned; of any sum.
    pub weights: Vec<f64>,
    pub assignment: Assignment,
    pub starts: Starts,
    pub method: Method,
}

/// A trained low-rank mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    pub model: LowRank,
    /// The subspace of every clean point: that of the largest |U_k^T x|.
    pub labels: Vec<usize>,
    /// Squared length outside the subspaces (K-subspaces), or the DSM loss per point, of the best start.
    pub loss: f64,
    /// Position of the best start among those tried.
    pub start: usize,
    /// Rounds or steps of the best start.
    pub steps: usize,
    /// Did the best start settle?
    pub converged: bool,
}

impl Learner {
    /// K subspaces of one rank and equal weights.
    pub fn equal(classes: usize, rank: usize, starts: Starts, method: Method) -> Self {
        Self {
            ranks: vec![rank; classes],
            weights: vec![1.0 / classes as f64; classes],
            assignment: Assignment::Soft,
            starts,
            method,
        }
    }

    /// Learns from clean points (n x N).
    pub fn train<R: Rng + ?Sized>(
        &self,
        points: &DMatrix<f64>,
        rng: &mut R,
    ) -> Result<Trained, SubspaceError> {
        self.check(points)?;
        let starts = self.starts(points, rng)?;
        match &self.method {
            Method::KSubspaces => self.cluster(points, starts),
            Method::Gradient {
                diffusion,
                noise,
                descent,
            } => {
                let mixture = Mixture {
                    ranks: &self.ranks,
                    weights: &self.weights,
                    assignment: self.assignment,
                };
                let loss = DsmLoss::new(points, diffusion, mixture, noise, rng);
                self.descend(points, &loss, starts, *descent)
            }
        }
    }

    fn check(&self, points: &DMatrix<f64>) -> Result<(), SubspaceError> {
        let ambient = points.nrows();
        if points.is_empty() {
            return Err(SubspaceError::NoPoints);
        }
        if let Some(rank) = self.ranks.iter().find(|d| !(1..=ambient).contains(*d)) {
            return Err(SubspaceError::Rank {
                rank: *rank,
                ambient,
            });
        }
        if self.weights.len() != self.ranks.len() {
            return Err(SubspaceError::WeightCount {
                found: self.weights.len(),
                expected: self.ranks.len(),
            });
        }
        match &self.method {
            Method::Gradient { noise, .. } if noise.times.is_empty() || noise.pairs == 0 => {
                Err(SubspaceError::NoNoise)
            }
            _ => Ok(()),
        }
    }

    fn starts<R: Rng + ?Sized>(
        &self,
        points: &DMatrix<f64>,
        rng: &mut R,
    ) -> Result<Vec<Vec<DMatrix<f64>>>, SubspaceError> {
        let mut starts = Vec::new();
        if self.starts.spectral {
            let labels = start::spectral(points, &self.ranks)?;
            starts.push(start::fit(points, &labels, &self.ranks)?);
        }
        for _ in 0..self.starts.random {
            starts.push(start::random(rng, points.nrows(), &self.ranks));
        }
        match starts.is_empty() {
            true => Err(SubspaceError::NoStart),
            false => Ok(starts),
        }
    }

    fn cluster(
        &self,
        points: &DMatrix<f64>,
        starts: Vec<Vec<DMatrix<f64>>>,
    ) -> Result<Trained, SubspaceError> {
        let mut best: Option<Trained> = None;
        for (start, bases) in starts.into_iter().enumerate() {
            let found = k_subspaces(points, bases)?;
            if best.as_ref().is_none_or(|b| found.residual < b.loss) {
                best = Some(Trained {
                    model: self.model(found.bases),
                    labels: found.labels,
                    loss: found.residual,
                    start,
                    steps: found.rounds,
                    converged: found.settled,
                });
            }
            if found.residual <= EXACT * points.norm_squared() {
                break;
            }
        }
        best.ok_or(SubspaceError::NoStart)
    }

    fn descend(
        &self,
        points: &DMatrix<f64>,
        loss: &DsmLoss<'_>,
        starts: Vec<Vec<DMatrix<f64>>>,
        descent: Descent,
    ) -> Result<Trained, SubspaceError> {
        let minima = starts.iter().map(|bases| minimise(loss, bases, descent));
        let best = minima
            .enumerate()
            .reduce(|best, next| match next.1.value < best.1.value {
                true => next,
                false => best,
            });
        let (start, found) = best.ok_or(SubspaceError::NoStart)?;
        let nearest = nearest_subspace(points, &found.bases);
        Ok(Trained {
            labels: nearest.into_iter().map(|(k, _)| k).collect(),
            model: self.model(found.bases),
            loss: found.value,
            start,
            steps: found.steps,
            converged: found.converged,
        })
    }

    fn model(&self, bases: Vec<DMatrix<f64>>) -> LowRank {
        LowRank {
            bases,
            weights: self.weights.clone(),
            assignment: self.assignment,
        }
    }
}
