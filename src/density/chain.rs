//! The density of the discrete reverse SDE with one given denoiser, D = 1 (derivations/23-reverse-process.md).
//!
//! A step x -> c x + d Dn(x) + noise xi carries cell masses along its map and convolves them with a Gaussian: the
//! Chapman-Kolmogorov equation of the sampler's own chain, whose limit of small steps is the Fokker-Planck equation. What
//! the sampler has of discretisation error stays in.

use rayon::prelude::*;

use super::fokker_planck::Grid;
use super::remap::{Slopes, remap};
use super::{Bins, DensityError, Estimate, Masses};
use crate::compare::total_variation;
use crate::experiment::Scheme;
use crate::family::Denoiser;
use crate::problem::{LinePosterior, Problem, StartDensity};
use crate::sampler::reverse_step;

/// Total variation between two resolutions below which the density has converged.
const CONVERGED: f64 = 2e-4;
/// The same above which it is refused at the finest resolution.
const REFUSED: f64 = 2e-2;
const COARSEST: usize = 1000;
const FINEST: usize = 8000;
/// The grid covers the start and the noised data to this many standard deviations.
const REACH: f64 = 9.0;
/// The Gaussian is cut off here: 2e-15 of its mass.
const CUT: f64 = 8.0;
/// Noise in cells above which the Gaussian is taken at the cells' distances, with the right variance to exp(-2 pi^2 noise^2);
/// below, three cells carry its variance.
const RESOLVED: f64 = 0.8;
/// Edges that one task moves.
const CHUNK: usize = 512;

/// The chain of a sampler with a given denoiser.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a, M: ?Sized> {
    pub problem: &'a Problem,
    pub model: &'a M,
    pub scheme: Scheme,
    /// Node times, decreasing from t_max.
    pub times: &'a [f64],
    pub churn: f64,
    pub start: &'a StartDensity,
    pub bins: &'a Bins,
}

/// A density with its diagnostics.
#[derive(Debug, Clone)]
pub struct ChainDensity {
    pub estimate: Estimate,
    /// Does the map of some step fold?
    pub folds: bool,
    pub cells: usize,
}

impl<M: Denoiser + ?Sized> Chain<'_, M> {
    /// The density at the last time, refining the grid until it settles.
    ///
    /// # Errors
    /// [`DensityError::WhiteScheme`] for a scheme of several stages, [`DensityError::FokkerPlanck`] where the finest grid still
    /// changes the density by more than 2 % of its mass.
    pub fn density(&self) -> Result<ChainDensity, DensityError> {
        let mut cells = COARSEST;
        let (mut before, _) = self.carried(cells)?;
        loop {
            cells *= 2;
            let (masses, folds) = self.carried(cells)?;
            let change = total_variation(&masses, &before);
            if change <= CONVERGED || cells >= FINEST || change.is_nan() {
                if change > REFUSED || change.is_nan() {
                    return Err(DensityError::FokkerPlanck { change, cells });
                }
                return Ok(ChainDensity {
                    estimate: Estimate {
                        masses,
                        errors: vec![("grid", change)],
                    },
                    folds,
                    cells,
                });
            }
            before = masses;
        }
    }

    /// The binned density on so many cells, and whether a map folds.
    fn carried(&self, cells: usize) -> Result<(Masses, bool), DensityError> {
        let mut grid = self.grid(self.times[0], cells);
        let mut masses = grid.masses_of(self.start);
        let mut folds = false;
        for w in self.times.windows(2) {
            let (t, s) = (w[0], w[1]);
            let (c, d, noise) =
                reverse_step(&self.problem.diffusion, self.scheme, t, s, self.churn)
                    .ok_or(DensityError::WhiteScheme)?;
            let moved = self.moved(&grid, t, c, d);
            let next = self.grid(s, cells);
            let folded = moved.windows(2).any(|w| w[1] < w[0]);
            masses = if folded {
                spread(&moved, &masses, &next)
            } else {
                remap(moved, &masses, cells, |i| next.edge(i), Slopes::Quartic)
            };
            folds |= folded;
            masses = convolved(&masses, noise / next.width);
            grid = next;
        }
        let mut binned = Masses::zero(self.bins);
        for (i, m) in masses.iter().enumerate() {
            binned.spread(self.bins, grid.edge(i), grid.edge(i + 1), *m);
        }
        Ok((binned, folds))
    }

    /// Where the step's map sends the edges.
    fn moved(&self, grid: &Grid, t: f64, c: f64, d: f64) -> Vec<f64> {
        let mut x: Vec<f64> = (0..=grid.cells).map(|i| grid.edge(i)).collect();
        x.par_chunks_mut(CHUNK).for_each(|x| {
            let mut denoised = vec![0.0; x.len()];
            self.model.denoise(t, x, &mut denoised);
            for (x, dn) in x.iter_mut().zip(&denoised) {
                *x = c * *x + d * dn;
            }
        });
        x
    }

    /// The noised data, and the range of the bins with half as much again on either side: a learned denoiser leads elsewhere than the
    /// exact one.
    fn grid(&self, t: f64, cells: usize) -> Grid {
        let half = 0.5 * (self.bins.high - self.bins.low);
        let (mut low, mut high) = (self.bins.low - half, self.bins.high + half);
        for (centre, std) in LinePosterior::new(self.problem, t).marginals() {
            low = low.min(centre - REACH * std);
            high = high.max(centre + REACH * std);
        }
        if t == self.times[0] {
            let (first, last) = self.start.interval(REACH);
            (low, high) = (low.min(first), high.max(last));
        }
        Grid {
            low,
            width: (high - low) / cells as f64,
            cells,
        }
    }
}

/// Every cell's mass evenly between its moved edges, in whatever order those are; what leaves the grid stays at its ends.
fn spread(moved: &[f64], masses: &[f64], next: &Grid) -> Vec<f64> {
    let (low, high) = (next.low, next.edge(next.cells));
    // Just inside the last cell: an edge belongs to the cell above it.
    let inside = |x: f64| x.clamp(low, high - 1e-9 * next.width);
    // Everything beyond the ends is outside.
    let bins = Bins {
        low,
        high,
        count: next.cells,
    };
    let mut out = Masses::zero(&bins);
    for (w, m) in moved.windows(2).zip(masses) {
        out.spread(&bins, inside(w[0]), inside(w[1]), *m);
    }
    out.cells[1..=next.cells].to_vec()
}

/// Convolution with a Gaussian whose standard deviation is `noise` cells, normalised for every source so that all mass stays.
fn convolved(masses: &[f64], noise: f64) -> Vec<f64> {
    if noise == 0.0 {
        return masses.to_vec();
    }
    let kernel = kernel(noise);
    let reach = kernel.len() - 1;
    let n = masses.len();
    // What would pass an end is put back in proportion: the mass there is negligible.
    let kept: Vec<f64> = (0..n)
        .map(|j| {
            let inside = |distance: usize| kernel[..=distance.min(reach)].iter().sum::<f64>();
            if j >= reach && j + reach < n {
                return masses[j];
            }
            masses[j] / (inside(j) + inside(n - 1 - j) - kernel[0])
        })
        .collect();
    (0..n)
        .into_par_iter()
        .map(|i| {
            let first = i.saturating_sub(reach);
            let last = (i + reach).min(n - 1);
            (first..=last)
                .map(|j| kernel[i.abs_diff(j)] * kept[j])
                .sum()
        })
        .collect()
}

/// Weights at the distances 0, 1, ... cells; those of both sides together sum to one.
fn kernel(noise: f64) -> Vec<f64> {
    if noise < RESOLVED {
        let variance = noise * noise;
        return vec![1.0 - variance, 0.5 * variance];
    }
    let reach = (CUT * noise).ceil() as usize;
    let mut weights: Vec<f64> = (0..=reach)
        .map(|k| (-0.5 * (k as f64 / noise).powi(2)).exp())
        .collect();
    let total = 2.0 * weights.iter().sum::<f64>() - weights[0];
    weights.iter_mut().for_each(|w| *w /= total);
    weights
}
