//! Averages over an ensemble of densities that streams through: memory does not grow with the number of models.

use std::time::{Duration, Instant};

use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Generated, Grid, Masses};
use crate::compare::NoiseFloor;
use crate::numerics::random::stream;
use crate::numerics::sketch::MassSketch;

/// Bootstrap replicates kept along.
const REPLICATES: usize = 200;
/// Most members that are computed in parallel before they are folded in, in order.
const CHUNK: u64 = 64;
/// Chunks that take longer are halved, down to a member per thread: a kill costs no more than one chunk.
const LONG: Duration = Duration::from_secs(4);
/// Seed of the bootstrap's own random numbers: they are part of the estimator, not of the experiment.
const BOOTSTRAP_SEED: u64 = 0x5eed_b007;

/// One member's contribution.
#[derive(Debug, Clone)]
pub struct Member {
    pub masses: Masses,
    /// What else was read off its points ([`crate::readout::Readout`]).
    pub values: Vec<f64>,
    /// Bound on the mass that the push-forward may have misplaced.
    pub unresolved: f64,
    pub folds: bool,
    /// Seconds spent in making the model and in sampling it.
    pub seconds: (f64, f64),
}

impl Member {
    /// A density of which nothing else is known.
    pub fn of(masses: Masses) -> Self {
        Self {
            masses,
            values: Vec::new(),
            unresolved: 0.0,
            folds: false,
            seconds: (0.0, 0.0),
        }
    }
}

/// Mean, standard error, quantiles and bootstrap replicates of a stream of densities. Serialisable: a run that was
/// stopped continues from its last state with the same bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ensemble {
    grid: Grid,
    members: u64,
    /// Consecutive members that the bootstrap keeps together.
    block: u64,
    /// Over the members: of the masses, then of the values.
    sum: Vec<f64>,
    square: Vec<f64>,
    /// Poisson bootstrap: each replicate counts a block of members 0, 1, 2, ... times, independently.
    replicates: Vec<Vec<f64>>,
    replicate_weights: Vec<f64>,
    sketches: Vec<MassSketch>,
    unresolved: f64,
    folded: u64,
    seconds: (f64, f64),
}

impl Ensemble {
    /// Of densities alone.
    pub fn new(grid: impl Into<Grid>) -> Self {
        Self::with_values(grid, 0)
    }

    /// Of densities, each with so many values besides.
    pub fn with_values(grid: impl Into<Grid>, values: usize) -> Self {
        let grid = grid.into();
        let cells = grid.count() + 2 + values;
        Self {
            members: 0,
            block: 1,
            sum: vec![0.0; cells],
            square: vec![0.0; cells],
            replicates: vec![vec![0.0; cells]; REPLICATES],
            replicate_weights: vec![0.0; REPLICATES],
            sketches: vec![MassSketch::default(); grid.count()],
            grid,
            unresolved: 0.0,
            folded: 0,
            seconds: (0.0, 0.0),
        }
    }

    /// The same of members that come in blocks of so many with something in common, a data set: replicates and the noise floor
    /// are those of independent blocks.
    pub fn in_blocks(self, block: u64) -> Self {
        Self { block, ..self }
    }

    /// A density that is known as it is, without a spread.
    pub fn of_one(grid: Grid, generated: Generated) -> Self {
        let mut ensemble = Self::with_values(grid, generated.values.len());
        ensemble.add(&generated.member((0.0, 0.0)));
        ensemble
    }

    /// Number of members so far.
    pub fn members(&self) -> u64 {
        self.members
    }

    /// Bytes that an ensemble holds per bin, whatever the number of members; a value besides needs less.
    pub const fn bytes_per_bin() -> usize {
        Self::bytes_per_value() + MassSketch::BYTES
    }

    /// Memory that an ensemble takes per value besides.
    pub const fn bytes_per_value() -> usize {
        size_of::<f64>() * (REPLICATES + 2)
    }

    /// Extends the ensemble to `total` members. `make` computes a member from its index alone (with scratch from `init`,
    /// one per thread), so the result does not depend on the number of threads. `after_chunk` is called between chunks
    /// and may stop the run by an error.
    pub fn extend<S, E: Send>(
        &mut self,
        total: u64,
        init: impl Fn() -> S + Sync,
        make: impl Fn(&mut S, u64) -> Result<Member, E> + Sync,
        mut after_chunk: impl FnMut(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let threads = rayon::current_num_threads() as u64;
        let mut size = threads.min(CHUNK);
        while self.members < total {
            let started = Instant::now();
            let end = (self.members + size).min(total);
            let chunk: Result<Vec<Member>, E> = (self.members..end)
                .into_par_iter()
                .map_init(&init, &make)
                .collect();
            for member in chunk? {
                self.add(&member);
            }
            after_chunk(self)?;
            size = match started.elapsed() < LONG {
                true => (2 * size).min(CHUNK),
                false => (size / 2).max(threads.min(CHUNK)),
            };
        }
        Ok(())
    }

    /// Adds one member.
    pub fn add(&mut self, member: &Member) {
        let cells = || member.masses.cells.iter().chain(&member.values);
        for ((s, q), m) in self.sum.iter_mut().zip(&mut self.square).zip(cells()) {
            *s += m;
            *q += m * m;
        }
        let mut rng = stream(BOOTSTRAP_SEED, self.members / self.block);
        for (replicate, total) in self.replicates.iter_mut().zip(&mut self.replicate_weights) {
            let weight = poisson_one(rng.next_u32());
            if weight > 0.0 {
                *total += weight;
                for (r, m) in replicate.iter_mut().zip(cells()) {
                    *r += weight * m;
                }
            }
        }
        for (sketch, m) in self.sketches.iter_mut().zip(member.masses.inside()) {
            sketch.add(*m);
        }
        self.unresolved += member.unresolved;
        self.folded += u64::from(member.folds);
        self.seconds.0 += member.seconds.0;
        self.seconds.1 += member.seconds.1;
        self.members += 1;
    }

    /// Mean density.
    pub fn mean(&self) -> Masses {
        let n = self.members.max(1) as f64;
        Masses {
            cells: self.sum[..self.cells()].iter().map(|s| s / n).collect(),
        }
    }

    /// Mean of the values.
    pub fn values(&self) -> Vec<f64> {
        let n = self.members.max(1) as f64;
        self.sum[self.cells()..].iter().map(|s| s / n).collect()
    }

    /// Cells of the density.
    fn cells(&self) -> usize {
        self.grid.count() + 2
    }

    /// Standard error of the mean mass of each bin.
    pub fn standard_error(&self) -> Vec<f64> {
        if self.block == 1 {
            return self.error_of_independent_members();
        }
        let (mean, replicates) = (self.mean(), self.replicates());
        let spread = |(k, m): (usize, &f64)| {
            let squares = replicates.iter().map(|r| (r.inside()[k] - m).powi(2));
            (squares.sum::<f64>() / replicates.len().max(1) as f64).sqrt()
        };
        mean.inside().iter().enumerate().map(spread).collect()
    }

    /// The same, whatever blocks have in common.
    fn error_of_independent_members(&self) -> Vec<f64> {
        let n = self.members as f64;
        self.sum
            .iter()
            .zip(&self.square)
            .skip(1)
            .take(self.grid.count())
            .map(|(s, q)| ((q / n - (s / n).powi(2)).max(0.0) / (n - 1.0).max(1.0)).sqrt())
            .collect()
    }

    /// Quantile over members of each bin's mass (to about 1 % of itself).
    pub fn quantile(&self, q: f64) -> Vec<f64> {
        self.sketches.iter().map(|s| s.quantile(q)).collect()
    }

    /// The noise of the mean.
    pub fn noise_floor(&self) -> NoiseFloor {
        NoiseFloor::from_replicates(&self.mean(), &self.replicates(), &self.grid)
    }

    /// Total variation expected between the mean of so many independent members and the truth.
    pub fn noise_of(&self, members: f64) -> f64 {
        if self.block == 1 {
            return self.noise_floor().mean.tv * (self.members as f64 / members).sqrt();
        }
        // Every bin's mean deviates by a normal number, E|z| = sqrt(2/pi); how bins are correlated does not matter.
        let errors: f64 = self.error_of_independent_members().iter().sum();
        0.5 * errors * std::f64::consts::FRAC_2_PI.sqrt() * (self.members as f64 / members).sqrt()
    }

    /// Bootstrap replicates of the mean density. How often replicate k counts member i depends on k and i alone: two
    /// ensembles of as many members are resampled together, so that differences of their replicates keep what members of
    /// the same index have in common.
    pub fn replicates(&self) -> Vec<Masses> {
        self.replicated(..self.cells())
            .map(|cells| Masses { cells })
            .collect()
    }

    /// Bootstrap replicates of the mean values, in the same order.
    pub fn value_replicates(&self) -> Vec<Vec<f64>> {
        self.replicated(self.cells()..).collect()
    }

    fn replicated<R>(&self, part: R) -> impl Iterator<Item = Vec<f64>>
    where
        R: std::slice::SliceIndex<[f64], Output = [f64]> + Clone,
    {
        let drawn = self.replicates.iter().zip(&self.replicate_weights);
        drawn
            .filter(|(_, w)| **w > 0.0)
            .map(move |(r, w)| r[part.clone()].iter().map(|v| v / w).collect())
    }

    /// Mean bound on the mass misplaced by the push-forward.
    pub fn unresolved(&self) -> f64 {
        self.unresolved / self.members.max(1) as f64
    }

    /// Share of members whose map folds.
    pub fn folded(&self) -> f64 {
        self.folded as f64 / self.members.max(1) as f64
    }

    /// Seconds of making and of sampling, summed over members and threads.
    pub fn seconds(&self) -> (f64, f64) {
        self.seconds
    }
}

/// A Poisson(1) number from 32 random bits, by inversion.
fn poisson_one(bits: u32) -> f64 {
    let u = (f64::from(bits) + 0.5) / 4_294_967_296.0;
    let mut probability = (-1.0_f64).exp();
    let mut cumulative = probability;
    let mut k = 0.0;
    while u > cumulative && k < 16.0 {
        k += 1.0;
        probability /= k;
        cumulative += probability;
    }
    k
}
