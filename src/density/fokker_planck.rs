//! The Fokker-Planck equation of reverse processes with white noise (theory T9; derivations/04-naive-family.md):
//! dq/dtau = -d/dx[u q] + (1/2) d2/dx2 [a q], tau = t_max - t, D = 1.
//!
//! Drift and noise are split. The drift carries the cumulative distribution along its characteristics and a monotone
//! cubic brings it back to the grid: conservative and positive at any step. The noise is a backward-Euler step of the
//! conservative three-point operator, whose matrix has non-negative inverse and unit column sums. The grid follows the
//! noised data as it narrows.

use rayon::prelude::*;

use super::remap::{Slopes, remap};
use super::{Bins, DensityError, Estimate, Masses};
use crate::action::white::WhiteNoise;
use crate::compare::total_variation;
use crate::problem::{LinePosterior, Problem, StartDensity};
use crate::sampler::churned_drift;

/// Total variation between two resolutions below which the solution has converged.
const CONVERGED: f64 = 5e-4;
/// The same above which it is refused at the finest resolution.
const REFUSED: f64 = 2e-2;
const COARSEST: usize = 1000;
const FINEST: usize = 8000;
/// The grid covers the noised data to this many standard deviations.
const REACH: f64 = 9.0;

/// A solution with its diagnostics.
#[derive(Debug, Clone)]
pub struct FokkerPlanck {
    pub estimate: Estimate,
    /// |total mass - 1| before binning.
    pub mass_error: f64,
    /// Smallest cell mass.
    pub smallest: f64,
    pub cells: usize,
    pub steps: usize,
}

/// Solves from the law `start` at t_max to t_min, refining grid and step together until the binned density settles.
pub fn fokker_planck(
    problem: &Problem,
    noise: WhiteNoise,
    start: &StartDensity,
    bins: &Bins,
) -> Result<FokkerPlanck, DensityError> {
    let mut cells = COARSEST;
    let mut before = Solver::new(problem, noise, start, cells).solve();
    loop {
        cells *= 2;
        let now = Solver::new(problem, noise, start, cells).solve();
        let masses = now.binned(bins);
        let change = total_variation(&masses, &before.binned(bins));
        if change <= CONVERGED || cells >= FINEST {
            if change > REFUSED || change.is_nan() {
                return Err(DensityError::FokkerPlanck { change, cells });
            }
            return Ok(FokkerPlanck {
                mass_error: (now.masses.iter().sum::<f64>() - 1.0).abs(),
                smallest: now.masses.iter().copied().fold(f64::INFINITY, f64::min),
                // The splitting is of first order: what is left is about the last change.
                estimate: Estimate {
                    masses,
                    errors: vec![("grid", change)],
                },
                cells,
                steps: cells / 2,
            });
        }
        before = now;
    }
}

/// Uniform cells of an interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub low: f64,
    pub width: f64,
    pub cells: usize,
}

impl Grid {
    pub fn edge(&self, i: usize) -> f64 {
        self.low + self.width * i as f64
    }

    /// The start's mass in every cell. What lies outside (1e-18) is spread over them, by a factor: rounding could make a difference
    /// negative.
    pub fn masses_of(&self, start: &StartDensity) -> Vec<f64> {
        let mass = |i| start.mass(self.edge(i), self.edge(i + 1));
        let mut masses: Vec<f64> = (0..self.cells).map(mass).collect();
        let inside: f64 = masses.iter().sum();
        masses.iter_mut().for_each(|m| *m /= inside);
        masses
    }
}

struct Solver<'a> {
    problem: &'a Problem,
    noise: WhiteNoise,
    start: &'a StartDensity,
    cells: usize,
    times: Vec<f64>,
}

/// Cell masses on a grid.
struct Solution {
    grid: Grid,
    masses: Vec<f64>,
}

impl<'a> Solver<'a> {
    fn new(problem: &'a Problem, noise: WhiteNoise, start: &'a StartDensity, cells: usize) -> Self {
        Self {
            problem,
            noise,
            start,
            cells,
            times: crate::sampler::time_grid(
                crate::experiment::Spacing::Log,
                problem.t_max,
                problem.t_min,
                cells / 2,
            ),
        }
    }

    fn solve(&self) -> Solution {
        let mut grid = self.grid(self.times[0]);
        let mut masses = grid.masses_of(self.start);
        for w in self.times.windows(2) {
            let (t, s) = (w[0], w[1]);
            self.diffuse(&grid, t, 0.5 * (t - s), &mut masses);
            let next = self.grid(s);
            masses = self.carry(&grid, &next, t, s, &masses);
            grid = next;
            self.diffuse(&grid, s, 0.5 * (t - s), &mut masses);
        }
        Solution { grid, masses }
    }

    fn grid(&self, t: f64) -> Grid {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (centre, std) in LinePosterior::new(self.problem, t).marginals() {
            low = low.min(centre - REACH * std);
            high = high.max(centre + REACH * std);
        }
        if t == self.problem.t_max {
            let (first, last) = self.start.interval(REACH);
            low = low.min(first);
            high = high.max(last);
        }
        Grid {
            low,
            width: (high - low) / self.cells as f64,
            cells: self.cells,
        }
    }

    /// Drift beta x + (1+h) D s and noise strength a = kappa (1+h)^2 D C D + 2 h D: the proxy score's noise enters wherever the
    /// score does (D23.12).
    fn coefficients(&self, posterior: &LinePosterior, t: f64, x: f64) -> (f64, f64) {
        let (a, b, rate) = churned_drift(&self.problem.diffusion, t, self.noise.churn);
        let m = posterior.at(x);
        let proxy = match self.noise.kappa {
            0.0 => 0.0,
            kappa => kappa * b * b * m.variance,
        };
        (a * x + b * m.mean, proxy + 2.0 * rate)
    }

    /// One step of the drift alone: edges move along the flow (midpoint rule), the cumulative distribution with them.
    fn carry(&self, grid: &Grid, next: &Grid, t: f64, s: f64, masses: &[f64]) -> Vec<f64> {
        let h = t - s;
        let middle = (t * s).sqrt();
        let (start, halfway) = (
            LinePosterior::new(self.problem, t),
            LinePosterior::new(self.problem, middle),
        );
        let moved: Vec<f64> = (0..=grid.cells)
            .into_par_iter()
            .map(|i| {
                let x = grid.edge(i);
                let (u, _) = self.coefficients(&start, t, x);
                let (u, _) = self.coefficients(&halfway, middle, x + (t - middle) * u);
                x + h * u
            })
            .collect();
        remap(
            moved,
            masses,
            next.cells,
            |i| next.edge(i),
            Slopes::Parabolic,
        )
    }

    /// Backward Euler of dq/dtau = (1/2) d2/dx2 [a q] with closed ends.
    fn diffuse(&self, grid: &Grid, t: f64, h: f64, masses: &mut [f64]) {
        if self.noise.kappa == 0.0 && self.noise.churn == 0.0 {
            return;
        }
        let posterior = LinePosterior::new(self.problem, t);
        let scale = 0.5 * h / (grid.width * grid.width);
        let strength: Vec<f64> = (0..grid.cells)
            .into_par_iter()
            .map(|i| {
                let x = grid.low + grid.width * (i as f64 + 0.5);
                scale * self.coefficients(&posterior, t, x).1
            })
            .collect();
        // Column j of the matrix: 1 + (neighbours) a_j on the diagonal, -a_j above and below. Thomas elimination.
        let n = grid.cells;
        let mut upper = vec![0.0; n];
        let mut before = 0.0;
        for i in 0..n {
            let neighbours = f64::from(u8::from(i > 0)) + f64::from(u8::from(i + 1 < n));
            let below = if i > 0 { -strength[i - 1] } else { 0.0 };
            let above = if i + 1 < n { -strength[i + 1] } else { 0.0 };
            let pivot =
                1.0 + neighbours * strength[i] - below * if i > 0 { upper[i - 1] } else { 0.0 };
            upper[i] = above / pivot;
            masses[i] = (masses[i] - below * before) / pivot;
            before = masses[i];
        }
        for i in (0..n.saturating_sub(1)).rev() {
            masses[i] -= upper[i] * masses[i + 1];
        }
    }
}

impl Solution {
    fn binned(&self, bins: &Bins) -> Masses {
        let mut masses = Masses::zero(bins);
        for (i, m) in self.masses.iter().enumerate() {
            masses.spread(bins, self.grid.edge(i), self.grid.edge(i + 1), *m);
        }
        masses
    }
}
