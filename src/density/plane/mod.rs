//! The Fokker-Planck equation of reverse processes with white noise in the plane (theory T9;
//! derivations/17-plane-fokker-planck.md): dq/dtau = -div[u q] + (1/2) d_i d_j [a_ij q], tau = t_max - t, D = 2, with the whole
//! matrix a = kappa (1+h)^2 D C D + 2 h D.
//!
//! Drift and noise are split as on the line. The drift is split once more by coordinate: every line of cells is carried
//! along its own characteristics. The noise is implicit along lattice directions (`noise`). Both keep the mass and never make any
//! of it negative. The grid follows the noised data as it narrows.

pub mod lattice;
pub mod noise;

use rayon::prelude::*;

use self::lattice::Symmetric;
use self::noise::{Jumps, Scratch};
use super::remap::{Slopes, remap};
use super::{Bins, DensityError, Estimate, Grid, Masses};
use crate::action::white::WhiteNoise;
use crate::compare::total_variation;
use crate::problem::{CloudPosterior, Problem, StartDensity};
use crate::sampler::churned_drift;

/// Total variation between two resolutions below which the solution has converged.
const CONVERGED: f64 = 2e-3;
/// The same above which it is refused at the finest resolution.
const REFUSED: f64 = 2e-2;
/// Cells per axis.
const COARSEST: usize = 48;
const FINEST: usize = 384;
/// The grid covers the noised data to so many standard deviations, more if as much mass as `AT_WALL` comes beside its walls.
const REACH: f64 = 7.0;
const WIDEST: f64 = 50.0;
const AT_WALL: f64 = 1e-3;
/// Signal-to-noise ratio alpha^2/sigma^2 below which nothing of the data is left to resolve in time.
const LOST: f64 = 1e-4;
/// Steps of the noise for one of the drift: they are cheap, and of first order.
const SUBSTEPS: usize = 2;

/// Equal cells of an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    pub low: f64,
    pub width: f64,
    pub cells: usize,
}

impl Axis {
    pub fn edge(&self, i: usize) -> f64 {
        self.low + self.width * i as f64
    }

    pub fn centre(&self, i: usize) -> f64 {
        self.low + self.width * (i as f64 + 0.5)
    }
}

/// Mass of every cell of a rectangle, row-major: the first coordinate runs slowest.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaneCells {
    pub axes: [Axis; 2],
    pub masses: Vec<f64>,
}

impl PlaneCells {
    /// The density on the products of the bins of the two coordinates.
    pub fn binned(&self, bins: [&Bins; 2]) -> Masses {
        let [first, second] = self.axes;
        let rows = onto_bins(&self.masses, second, bins[1]);
        let columns = bins[1].count + 2;
        let both = onto_bins(&transposed(&rows, columns), first, bins[0]);
        let both = transposed(&both, bins[0].count + 2);
        let mut masses = Grid::plane(*bins[0], *bins[1]).zero();
        let inside = both
            .chunks_exact(columns)
            .skip(1)
            .take(bins[0].count)
            .flat_map(|row| &row[1..=bins[1].count]);
        for (cell, mass) in masses.cells[1..].iter_mut().zip(inside) {
            *cell = *mass;
        }
        let outside = both.iter().sum::<f64>() - masses.total();
        masses.cells[0] = outside.max(0.0);
        masses
    }
}

/// Every line of cells onto the bins and what lies below and above them.
fn onto_bins(masses: &[f64], axis: Axis, bins: &Bins) -> Vec<f64> {
    let lines: Vec<Vec<f64>> = masses
        .par_chunks_exact(axis.cells)
        .map(|line| {
            let edges = (0..=axis.cells).map(|i| axis.edge(i)).collect();
            remap(
                edges,
                line,
                bins.count + 2,
                |i| bins.edge(i - 1),
                Slopes::Quartic,
            )
        })
        .collect();
    lines.concat()
}

/// A solution with its diagnostics.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaneFokkerPlanck {
    pub estimate: Estimate,
    /// The solution on its own grid, for any other readout.
    pub cells: PlaneCells,
    /// |total mass - 1| before binning.
    pub mass_error: f64,
    /// Smallest cell mass.
    pub smallest: f64,
    pub steps: usize,
}

/// Solves from N(0, `std`^2 I) at t_max to t_min in the plane, refining grid and step together until the density on the bins of
/// the two coordinates settles. The error is the last change plus what came near the walls of the grid.
///
/// # Errors
/// The problem is not two-dimensional, or the finest grid changes the density by more than 2 % of its mass.
pub fn fokker_planck_plane(
    problem: &Problem,
    noise: WhiteNoise,
    std: f64,
    bins: [&Bins; 2],
) -> Result<PlaneFokkerPlanck, DensityError> {
    if problem.dim() != 2 {
        return Err(DensityError::NotAPlane { dim: problem.dim() });
    }
    let mut cells = COARSEST;
    let mut reach = REACH;
    let mut before = Solver::new(problem, noise, std, cells, reach).solve();
    // Strong proxy noise goes beyond the noised data.
    while before.at_wall > AT_WALL && reach < WIDEST {
        reach *= 1.5;
        before = Solver::new(problem, noise, std, cells, reach).solve();
    }
    let mut binned = before.cells.binned(bins);
    loop {
        cells *= 2;
        let now = Solver::new(problem, noise, std, cells, reach).solve();
        let finer = now.cells.binned(bins);
        let change = total_variation(&finer, &binned);
        if change <= CONVERGED || cells >= FINEST || change.is_nan() {
            if !(change.max(now.at_wall) <= REFUSED && change.is_finite()) {
                return Err(DensityError::FokkerPlanck { change, cells });
            }
            let all = &now.cells.masses;
            return Ok(PlaneFokkerPlanck {
                estimate: Estimate {
                    masses: finer,
                    errors: vec![("grid", change), ("walls", now.at_wall)],
                },
                mass_error: (all.iter().sum::<f64>() - 1.0).abs(),
                smallest: all.iter().copied().fold(f64::INFINITY, f64::min),
                cells: now.cells,
                steps: cells / 2,
            });
        }
        binned = finer;
    }
}

/// The solution from N(0, sigma_T^2 I) on `cells` cells per axis (at least 8) with half as many steps: one resolution of [`fokker_planck_plane`], for
/// whoever wants to measure how it converges.
///
/// # Errors
/// The problem is not two-dimensional, or `cells` is too small.
pub fn plane_solution(
    problem: &Problem,
    noise: WhiteNoise,
    cells: usize,
) -> Result<PlaneCells, DensityError> {
    if problem.dim() != 2 {
        return Err(DensityError::NotAPlane { dim: problem.dim() });
    }
    if cells < 8 {
        return Err(DensityError::FewCells { cells });
    }
    let std = problem.diffusion.sigma(problem.t_max);
    Ok(Solver::new(problem, noise, std, cells, REACH).solve().cells)
}

struct Solver<'a> {
    problem: &'a Problem,
    noise: WhiteNoise,
    /// Standard deviation of the start.
    std: f64,
    /// Cells per axis.
    cells: usize,
    /// Standard deviations of the noised data that the grid covers.
    reach: f64,
    times: Vec<f64>,
}

/// Times from t_max to t_min, evenly spaced in ln t + ln(sigma/alpha), the second term held where the signal is lost.
///
/// Rates of drift and noise are those of ln(sigma/alpha): steps in ln t alone are long against them while `vp` is noise.
fn node_times(problem: &Problem, steps: usize) -> Vec<f64> {
    let d = &problem.diffusion;
    let place = |t: f64| t.ln() - 0.5 * (d.snr(t) + LOST).ln();
    let (first, last) = (place(problem.t_max), place(problem.t_min));
    let mut times = vec![problem.t_max];
    for k in 1..steps {
        let wanted = first + (last - first) * k as f64 / steps as f64;
        let (mut low, mut high) = (problem.t_min.ln(), problem.t_max.ln());
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if place(middle.exp()) < wanted {
                low = middle;
            } else {
                high = middle;
            }
        }
        times.push((0.5 * (low + high)).exp());
    }
    times.push(problem.t_min);
    times
}

/// The end of a solution.
struct Solution {
    cells: PlaneCells,
    /// Largest mass met beside the walls in the second half of the steps.
    at_wall: f64,
}

/// The process's coefficients at one time.
struct Coefficients {
    posterior: CloudPosterior,
    /// Drift a x + b E[x0|x].
    a: f64,
    b: f64,
    /// Noise per unit time: `proxy` Cov(x0|x) + `white`.
    proxy: f64,
    white: f64,
}

impl Coefficients {
    /// Drift beta x + (1+h) D s with s = (alpha E[x0|x] - x)/sigma^2, noise kappa (1+h)^2 D C D + 2 h D (D23.12).
    fn new(problem: &Problem, noise: WhiteNoise, t: f64) -> Self {
        let (a, b, rate) = churned_drift(&problem.diffusion, t, noise.churn);
        Self {
            a,
            b,
            // (1+h) D alpha/sigma^2 = b: the proxy score's noise enters through the denoiser's coefficient.
            proxy: noise.kappa * b * b,
            white: 2.0 * rate,
            posterior: CloudPosterior::new(problem, t),
        }
    }

    /// One coordinate of the drift at n points (coordinate-major).
    fn drift(&self, along: usize, x: &[f64]) -> Vec<f64> {
        let n = x.len() / 2;
        let mut mean = vec![0.0; x.len()];
        self.posterior.mean(x, &mut mean);
        let own = along * n..(along + 1) * n;
        let pairs = x[own.clone()].iter().zip(&mean[own]);
        pairs.map(|(x, m)| self.a * x + self.b * m).collect()
    }

    /// The noise at n points (coordinate-major).
    fn noise(&self, x: &[f64]) -> Vec<Symmetric> {
        let n = x.len() / 2;
        if self.proxy == 0.0 {
            return vec![[self.white, 0.0, self.white]; n];
        }
        let c = self.posterior.moments(x).covariance;
        let entry = |e: usize, k: usize| self.proxy * c[e * n + k];
        (0..n)
            .map(|k| {
                [
                    entry(0, k) + self.white,
                    entry(1, k),
                    entry(3, k) + self.white,
                ]
            })
            .collect()
    }
}

impl<'a> Solver<'a> {
    fn new(problem: &'a Problem, noise: WhiteNoise, std: f64, cells: usize, reach: f64) -> Self {
        Self {
            problem,
            noise,
            std,
            cells,
            reach,
            times: node_times(problem, cells / 2),
        }
    }

    fn solve(&self) -> Solution {
        let mut cells = self.start();
        let mut scratch = Scratch::new(self.cells * self.cells);
        let mut at_wall = 0.0;
        let mut before = 0.0;
        for (k, w) in self.times.windows(2).enumerate() {
            let (t, s) = (w[0], w[1]);
            // The halves of two neighbouring steps meet at the same time: one step of noise.
            self.diffuse(&mut cells, t, 0.5 * (before + t - s), &mut scratch);
            // The first steps may be long against the noise, and their tails are forgotten.
            if 2 * k >= self.cells / 2 {
                at_wall = beside_walls(&cells).max(at_wall);
            }
            // The order of the coordinates alternates: pairs of steps are symmetric.
            self.carry(&mut cells, k % 2, t, s);
            self.carry(&mut cells, 1 - k % 2, t, s);
            before = t - s;
        }
        self.diffuse(&mut cells, self.problem.t_min, 0.5 * before, &mut scratch);
        Solution { cells, at_wall }
    }

    /// The normal start on the first grid.
    fn start(&self) -> PlaneCells {
        let law = StartDensity::Normal { std: self.std };
        let axes = [0, 1].map(|d| self.axis(d, self.problem.t_max));
        let along = axes.map(|axis| {
            let mut masses: Vec<f64> = (0..axis.cells)
                .map(|i| law.mass(axis.edge(i), axis.edge(i + 1)))
                .collect();
            // What lies outside of the first grid (1e-11) is spread over it, by a factor: no mass becomes negative.
            let inside: f64 = masses.iter().sum();
            masses.iter_mut().for_each(|m| *m /= inside);
            masses
        });
        let masses = along[0]
            .iter()
            .flat_map(|p| along[1].iter().map(move |q| p * q))
            .collect();
        PlaneCells { axes, masses }
    }

    fn axis(&self, along: usize, t: f64) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let (alpha, sigma2) = (
            self.problem.diffusion.alpha(t),
            self.problem.diffusion.sigma2(t),
        );
        let mut direction = [0.0; 2];
        direction[along] = 1.0;
        for component in self.problem.data.components() {
            let centre = alpha * component.mean[along];
            let std = (alpha * alpha * component.variance_along(&direction) + sigma2).sqrt();
            low = low.min(centre - self.reach * std);
            high = high.max(centre + self.reach * std);
        }
        if t == self.problem.t_max {
            low = low.min(-self.reach * self.std);
            high = high.max(self.reach * self.std);
        }
        Axis {
            low,
            width: (high - low) / self.cells as f64,
            cells: self.cells,
        }
    }

    fn diffuse(&self, cells: &mut PlaneCells, t: f64, duration: f64, scratch: &mut Scratch) {
        if self.noise.kappa == 0.0 && self.noise.churn == 0.0 {
            return;
        }
        let coefficients = Coefficients::new(self.problem, self.noise, t);
        let [first, second] = cells.axes;
        // Offsets grow with the resolution in cells and shrink in length: both errors that they balance vanish.
        let longest = (0.25 * (self.cells as f64).sqrt()).round().max(1.0) as i32;
        let jumps = Jumps::new(
            [first.cells, second.cells],
            [first.width, second.width],
            longest,
            duration,
            |i| {
                let mut centres = vec![first.centre(i); second.cells];
                centres.extend((0..second.cells).map(|j| second.centre(j)));
                coefficients.noise(&centres)
            },
        );
        jumps.spread(duration, SUBSTEPS, &mut cells.masses, scratch);
    }

    /// One step of one coordinate's drift, from the grid of time `t` to that of time `s` along that coordinate.
    fn carry(&self, cells: &mut PlaneCells, along: usize, t: f64, s: f64) {
        let h = t - s;
        let middle = (t * s).sqrt();
        let start = Coefficients::new(self.problem, self.noise, t);
        let halfway = Coefficients::new(self.problem, self.noise, middle);
        let (axis, across) = (cells.axes[along], cells.axes[1 - along]);
        let next = self.axis(along, s);
        if along == 0 {
            cells.masses = transposed(&cells.masses, across.cells);
        }
        let edges: Vec<f64> = (0..=axis.cells).map(|i| axis.edge(i)).collect();
        let n = edges.len();
        let lines: Vec<Vec<f64>> = cells
            .masses
            .par_chunks_exact(axis.cells)
            .enumerate()
            .map(|(j, line)| {
                let mut places = vec![across.centre(j); 2 * n];
                places[along * n..][..n].copy_from_slice(&edges);
                let drift = start.drift(along, &places);
                for (x, u) in places[along * n..].iter_mut().zip(drift) {
                    *x += (t - middle) * u;
                }
                let drift = halfway.drift(along, &places).into_iter();
                let moved = edges.iter().zip(drift).map(|(x, u)| x + h * u).collect();
                remap(moved, line, next.cells, |i| next.edge(i), Slopes::Quartic)
            })
            .collect();
        cells.masses = lines.concat();
        if along == 0 {
            cells.masses = transposed(&cells.masses, next.cells);
        }
        cells.axes[along] = next;
    }
}

/// Mass of the outermost cells and their neighbours.
fn beside_walls(cells: &PlaneCells) -> f64 {
    const LAYERS: usize = 2;
    let [rows, columns] = cells.axes.map(|a| a.cells);
    let near = |i: usize, n: usize| i < LAYERS || i + LAYERS >= n;
    cells
        .masses
        .chunks_exact(columns)
        .enumerate()
        .map(|(i, row)| {
            if near(i, rows) {
                row.iter().sum::<f64>()
            } else {
                row[..LAYERS].iter().sum::<f64>() + row[columns - LAYERS..].iter().sum::<f64>()
            }
        })
        .sum()
}

/// Columns of a row-major matrix of `columns` columns, one after the other.
fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    const BLOCK: usize = 32;
    let rows = matrix.len() / columns;
    let mut out = vec![0.0; matrix.len()];
    for i0 in (0..rows).step_by(BLOCK) {
        for j0 in (0..columns).step_by(BLOCK) {
            for i in i0..(i0 + BLOCK).min(rows) {
                for j in j0..(j0 + BLOCK).min(columns) {
                    out[j * rows + i] = matrix[i * columns + j];
                }
            }
        }
    }
    out
}
