//! Trials of subspace recovery: random subspaces, points on them, training, and how much of the truth was found.

use nalgebra::DMatrix;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rayon::prelude::*;

use super::{Learner, SubspaceError, Trained};
use crate::numerics::linalg::{multiply, view};
use crate::numerics::random::stream;
use crate::numerics::subspace::{Matching, orthogonal_bases, random_basis};

/// Sine of the largest principal angle below which subspaces count as recovered from points without noise: the theory says
/// equal, which in floating point is 1e-16 times the condition of the points' coordinates.
pub const RECOVERED: f64 = 1e-6;

/// How the true subspaces lie to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// Independent and uniform.
    Random,
    /// Disjoint columns of one random orthogonal matrix.
    Orthogonal,
}

/// Numbers of points per subspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// N_k of each.
    Equal(usize),
    /// So many points of all, each from any subspace with equal probability.
    Total(usize),
}

/// What a set of trials has in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// n.
    pub ambient: usize,
    /// d of every subspace, 1..=n.
    pub rank: usize,
    /// K.
    pub classes: usize,
    pub sizes: Sizes,
    /// Standard deviation s of the noise in every coordinate: x0 = U a + e.
    pub noise: f64,
    pub arrangement: Arrangement,
}

/// The data of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialData {
    /// The true subspaces.
    pub bases: Vec<DMatrix<f64>>,
    /// Clean points, n x N, class by class.
    pub points: DMatrix<f64>,
    /// Class of every point.
    pub labels: Vec<usize>,
}

impl Cell {
    /// Draws subspaces and points.
    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Result<TrialData, SubspaceError> {
        let bases = self.bases(rng)?;
        let labels = self.labels(rng);
        let mut points = DMatrix::from_fn(self.ambient, labels.len(), |_, _| {
            self.noise * rng.sample::<f64, _>(StandardNormal)
        });
        for (mut point, k) in points.column_iter_mut().zip(&labels) {
            let latent = DMatrix::from_fn(self.rank, 1, |_, _| rng.sample(StandardNormal));
            point += multiply(view(&bases[*k]), view(&latent)).column(0);
        }
        Ok(TrialData {
            bases,
            points,
            labels,
        })
    }

    fn bases<R: Rng + ?Sized>(&self, rng: &mut R) -> Result<Vec<DMatrix<f64>>, SubspaceError> {
        let (ambient, rank) = (self.ambient, self.rank);
        if !(1..=ambient).contains(&rank) {
            return Err(SubspaceError::Rank { rank, ambient });
        }
        let ranks = vec![rank; self.classes];
        match self.arrangement {
            Arrangement::Random => {
                let bases = ranks.iter().map(|d| random_basis(rng, ambient, *d));
                Ok(bases.collect())
            }
            Arrangement::Orthogonal => {
                orthogonal_bases(rng, ambient, &ranks).ok_or(SubspaceError::Orthogonal {
                    classes: self.classes,
                    rank,
                    ambient,
                })
            }
        }
    }

    fn labels<R: Rng + ?Sized>(&self, rng: &mut R) -> Vec<usize> {
        match self.sizes {
            Sizes::Equal(size) => (0..size * self.classes).map(|i| i / size).collect(),
            Sizes::Total(total) => {
                let class = |_| rng.random_range(0..self.classes);
                let mut labels: Vec<usize> = (0..total).map(class).collect();
                labels.sort_unstable();
                labels
            }
        }
    }
}

/// What one learner found of one trial's truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub trained: Trained,
    /// Learned subspaces matched to the true ones.
    pub matching: Matching,
    /// Is the partition of the points the true one, but for the names of its classes?
    pub partition: bool,
}

/// Trial `index`: every learner on the same data.
pub fn trial(
    cell: &Cell,
    learners: &[Learner],
    seed: u64,
    index: u64,
) -> Result<Vec<Outcome>, SubspaceError> {
    let data = cell.draw(&mut stream(seed, 2 * index))?;
    let outcome = |learner: &Learner| {
        let trained = learner.train(&data.points, &mut stream(seed, 2 * index + 1))?;
        Ok(Outcome {
            matching: Matching::new(&trained.model.bases, &data.bases)?,
            partition: same_partition(&trained.labels, &data.labels),
            trained,
        })
    };
    learners.iter().map(outcome).collect()
}

/// Do two labellings share points alike, whatever the classes' names?
pub fn same_partition(a: &[usize], b: &[usize]) -> bool {
    let names = |labels: &[usize]| -> Vec<usize> {
        let mut seen: Vec<usize> = Vec::new();
        let name = |l: &usize| match seen.iter().position(|s| s == l) {
            Some(name) => name,
            None => {
                seen.push(*l);
                seen.len() - 1
            }
        };
        labels.iter().map(name).collect()
    };
    names(a) == names(b)
}

/// What a learner did in a number of trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// Share of trials in which the sine of every principal angle was below the threshold.
    pub recovered: f64,
    /// Share of trials in which the points were shared as they are in truth.
    pub partition: f64,
    /// Sine of the largest principal angle of every trial, in increasing order.
    pub largest: Vec<f64>,
    /// Mean over trials and subspaces of |sin Theta|_F^2.
    pub squared: f64,
    /// Its standard error.
    pub squared_error: f64,
    /// Share of trials in which this learner and the first one shared the points alike.
    pub agrees: f64,
}

/// Runs the trials, in parallel; the same bits with any number of threads. One entry per learner.
pub fn rates(
    cell: &Cell,
    learners: &[Learner],
    threshold: f64,
    trials: usize,
    seed: u64,
) -> Result<Vec<Rates>, SubspaceError> {
    let outcomes: Result<Vec<Vec<Outcome>>, SubspaceError> = (0..trials as u64)
        .into_par_iter()
        .map(|index| trial(cell, learners, seed, index))
        .collect();
    let outcomes = outcomes?;
    let of = |learner| summarise(&outcomes, learner, threshold, cell.classes as f64);
    Ok((0..learners.len()).map(of).collect())
}

fn summarise(trials: &[Vec<Outcome>], learner: usize, threshold: f64, classes: f64) -> Rates {
    let count = trials.len() as f64;
    let own = || trials.iter().map(|t| &t[learner]);
    let share = |yes: &dyn Fn(&Vec<Outcome>) -> bool| {
        trials.iter().filter(|t| yes(t)).count() as f64 / count
    };
    let mut largest: Vec<f64> = own().map(|o| o.matching.largest()).collect();
    largest.sort_unstable_by(f64::total_cmp);
    let squares: Vec<f64> = own().map(|o| o.matching.squared() / classes).collect();
    let mean = squares.iter().sum::<f64>() / count;
    let variance = squares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    Rates {
        recovered: share(&|t| t[learner].matching.largest() <= threshold),
        partition: share(&|t| t[learner].partition),
        agrees: share(&|t| same_partition(&t[learner].trained.labels, &t[0].trained.labels)),
        largest,
        squared: mean,
        squared_error: (variance / count).sqrt(),
    }
}
