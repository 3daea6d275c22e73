//! Saddle points of the path integral with their Gaussian fluctuations (theory T15; derivations/13-saddle.md).

mod branch;
mod density;
mod frame;
mod gap;
mod search;
mod weight;

pub use branch::{Branch, LineEnd, Saddle, Tracing};
pub use density::{Account, DominantPath, SaddleDensity, saddle_density};
pub use gap::{GapFilling, gap_filling};

use nalgebra::DVector;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::action::{ActionError, FlowMap};
use crate::family::Linear;
use crate::histogram::{Bins, Masses};
use branch::Fix;

/// Distance in eta, relative to 1 + |eta|, below which two saddles are the same.
const SAME: f64 = 1e-8;

/// The lines of saddles of one map, and the density they make.
#[derive(Debug, Clone)]
pub struct SaddleLines {
    pub branches: Vec<Branch>,
    /// Starts of a search that did not end at a saddle.
    pub lost: usize,
    /// Evaluations of the map, its gradient or its second order.
    pub evaluations: usize,
}

impl SaddleLines {
    /// Follows the line through the mean path, then those that `searches` draws of eta lead to.
    pub fn find<R: Rng + ?Sized>(
        map: &dyn FlowMap,
        tracing: &Tracing,
        searches: usize,
        rng: &mut R,
    ) -> Result<Self, ActionError> {
        let mut lines = Self {
            branches: Vec::new(),
            lost: 0,
            evaluations: 0,
        };
        match branch::mean_path(map, &mut lines.evaluations)? {
            Some(first) => lines.follow(map, first, tracing),
            None => lines.lost += 1,
        }
        for _ in 0..searches {
            let eta = DVector::from_fn(map.dim(), |_, _| rng.sample::<f64, _>(StandardNormal));
            match search::descend(map, &eta, &mut lines.evaluations) {
                None => lines.lost += 1,
                Some(found) if search::is_known(&lines.branches, &found, tracing.largest_step) => {}
                Some(found) => lines.follow(map, found, tracing),
            }
        }
        Ok(lines)
    }

    /// Bytes of the lines of so many starts: two vectors of length F for each of a few hundred saddles.
    pub fn bytes(family: &Linear, starts: u64) -> u64 {
        const SADDLES: u64 = 400;
        (family.features.len() as u64)
            .saturating_mul(2 * SADDLES * size_of::<f64>() as u64)
            .saturating_mul(starts)
    }

    fn follow(&mut self, map: &dyn FlowMap, first: Saddle, tracing: &Tracing) {
        let branch = Branch::through(map, first, tracing);
        self.evaluations += branch.evaluations;
        self.branches.push(branch);
    }

    /// The density by bins as the expansion gives it, and its mass: 1 to first order in V.
    pub fn raw_density(&self, bins: &Bins, stride: usize) -> (Masses, f64) {
        let mut masses = Masses::zero(bins);
        let mass = self
            .branches
            .iter()
            .map(|b| weight::deposit(b, stride, bins, &mut masses))
            .sum();
        (masses, mass)
    }

    /// The minima at exactly x_0, of every line that passes there.
    pub fn at(&self, map: &dyn FlowMap, end: f64) -> Result<Vec<Saddle>, ActionError> {
        let mut found: Vec<Saddle> = Vec::new();
        let mut evaluations = 0;
        for pair in self.stretches() {
            for guess in weight::crossings(&pair[0], &pair[1], end) {
                let fix = Fix::End(end);
                let tangent = &pair[0].tangent;
                let near = branch::polish(map, guess, &fix, tangent, 30, &mut evaluations)?;
                let is_new = |s: &Saddle| {
                    found
                        .iter()
                        .all(|f| (&f.eta - &s.eta).norm() > SAME * (1.0 + s.eta.norm()))
                };
                // Near a fold Newton's method may end at the minimum from the other side of it as well.
                if let Some(s) = near.filter(|s| s.index == 0 && is_new(s)) {
                    found.push(s);
                }
            }
        }
        Ok(found)
    }

    /// Neighbouring saddles on the lines.
    pub fn stretches(&self) -> impl Iterator<Item = &[Saddle]> {
        self.branches.iter().flat_map(|b| b.saddles.windows(2))
    }

    /// First and last saddle of every line, and why it ends there.
    pub fn line_ends(&self) -> impl Iterator<Item = (&Saddle, LineEnd)> {
        self.branches.iter().flat_map(|b| {
            [b.saddles.first(), b.saddles.last()]
                .into_iter()
                .zip(b.ends)
                .filter_map(|(saddle, why)| Some((saddle?, why)))
        })
    }
}
