//! The exact score, averaged over a Gaussian neighbourhood of every position.

use gauss_quad::{GaussHermite, GaussLegendre};
use nalgebra::DMatrix;
use std::f64::consts::{PI, SQRT_2};

use crate::family::Denoiser;
use crate::numerics::elementary::exp;
use crate::numerics::low_discrepancy::ScrambledSobol;
use crate::numerics::normal;
use crate::numerics::random::stream;
use crate::problem::{CloudPosterior, LinePosterior, Problem};

/// Nodes of a panel on the line: with panels no longer than the smoothing width, a Gaussian is integrated to rounding.
const NODES: usize = 12;
/// The average on the line reaches so many widths to either side.
const REACH: f64 = 9.0;
/// Error of a panel's average, relative to the largest denoised position, at which it is not cut again; and the most cuts.
const RESOLVED: f64 = 1e-12;
const MOST_CUTS: u32 = 40;
/// A width below this share of the lengths over which the denoiser changes is averaged over by a Gauss-Hermite rule of so many nodes.
const SMOOTH: f64 = 0.25;
const HERMITE_NODES: usize = 16;
/// Seed of the nodes in D >= 2.
const SEED: u64 = 0x5eed;

/// E[D(x + w z)], z ~ N(0, I) and D the exact denoiser: the denoiser of the smoothed score, because the one is an affine function
/// of the other (D26.3). The width w_t = alpha_t w keeps its size relative to the data.
#[derive(Debug, Clone)]
pub struct SmoothedScore<'a> {
    problem: &'a Problem,
    /// w, in units of x_0.
    width: f64,
    /// D >= 2: rows z of the average, in pairs of opposite sign, D numbers each.
    nodes: Vec<Vec<f64>>,
    /// D = 1: nodes and weights of a panel [-1, 1], and of the mean over a standard normal.
    panel: Vec<(f64, f64)>,
    hermite: Vec<(f64, f64)>,
}

impl<'a> SmoothedScore<'a> {
    /// `width` w > 0 in units of x_0. In D >= 2 the average is over `nodes` low-discrepancy points (rounded up to an even number);
    /// on the line it is exact to rounding.
    pub fn new(problem: &'a Problem, width: f64, nodes: usize) -> Self {
        let dim = problem.dim();
        let sequence = ScrambledSobol::new(&mut stream(SEED, 0));
        let half = if dim > 1 { nodes.div_ceil(2) } else { 0 };
        let mut all = Vec::with_capacity(2 * half);
        for k in 0..half {
            let z: Vec<f64> = (0..dim)
                .map(|i| normal::quantile(sequence.coordinate(i, k as u64)))
                .collect();
            all.push(z.iter().map(|z| -z).collect());
            all.push(z);
        }
        let count = |n| std::num::NonZeroUsize::new(n).unwrap_or(std::num::NonZeroUsize::MIN);
        let hermite = GaussHermite::new(count(HERMITE_NODES));
        Self {
            problem,
            width,
            nodes: all,
            panel: GaussLegendre::new(count(NODES))
                .iter()
                .map(|(x, w)| (*x, *w))
                .collect(),
            hermite: hermite
                .iter()
                .map(|(x, w)| (SQRT_2 * x, w / PI.sqrt()))
                .collect(),
        }
    }

    /// Half the median distance from a component's mean to its nearest neighbour, so that neighbourhoods of neighbours meet
    /// half-way. `None` with fewer than two different means.
    pub fn default_width(problem: &Problem) -> Option<f64> {
        let means: Vec<_> = problem.data.components().iter().map(|c| &c.mean).collect();
        let mut nearest: Vec<f64> = (means.iter().enumerate())
            .map(|(i, a)| {
                (means.iter().enumerate())
                    .filter(|(j, _)| *j != i)
                    .map(|(_, b)| (*a - *b).norm())
                    .filter(|distance| *distance > 0.0)
                    .fold(f64::INFINITY, f64::min)
            })
            .filter(|distance| distance.is_finite())
            .collect();
        nearest.sort_by(f64::total_cmp);
        nearest.get(nearest.len() / 2).map(|median| 0.5 * median)
    }

    fn on_the_line(&self, t: f64, x: &[f64], mut out: impl FnMut(usize, f64, f64)) {
        let posterior = LinePosterior::new(self.problem, t);
        let width = self.problem.diffusion.alpha(t) * self.width;
        let centres = || posterior.marginals().map(|(centre, _)| centre);
        let lowest = centres().fold(f64::INFINITY, f64::min);
        let highest = centres().fold(f64::NEG_INFINITY, f64::max);
        // The denoiser changes over lengths of sigma and of sigma^2 over the distance between the outermost components.
        let sigma2 = posterior.sigma2();
        if width * ((highest - lowest) / sigma2 + sigma2.sqrt().recip()) < SMOOTH {
            for (k, &x) in x.iter().enumerate() {
                let (value, slope) = self.by_hermite(&posterior, width, x);
                out(k, value, slope);
            }
            return;
        }
        let table = Table::new(&posterior, width, &self.panel);
        for (k, &x) in x.iter().enumerate() {
            // Beyond the table all components but one have lost their weight: the denoiser is linear.
            let (value, slope) = match x.abs() <= table.reach {
                true => table.at(x),
                false => self.by_hermite(&posterior, 0.0, x),
            };
            out(k, value, slope);
        }
    }

    /// The average, and that of the slope (alpha/sigma^2) Var(x_0|x), where the denoiser is smooth over a width.
    fn by_hermite(&self, posterior: &LinePosterior, width: f64, x: f64) -> (f64, f64) {
        let (mut value, mut variance) = (0.0, 0.0);
        for (z, weight) in &self.hermite {
            let moments = posterior.at(x + width * z);
            value += weight * moments.mean;
            variance += weight * moments.variance;
        }
        (value, posterior.alpha() / posterior.sigma2() * variance)
    }
}

/// The exact denoiser at quadrature nodes of increasing position, at one time.
struct Table {
    width: f64,
    /// Positions up to this far from 0 are served.
    reach: f64,
    /// Error of a panel's average that is allowed.
    allowed: f64,
    positions: Vec<f64>,
    /// Denoiser times the quadrature weight, and the weight.
    values: Vec<(f64, f64)>,
}

impl Table {
    fn new(posterior: &LinePosterior, width: f64, rule: &[(f64, f64)]) -> Self {
        let marginals = || posterior.marginals();
        let reach = marginals()
            .map(|(centre, std)| centre.abs() + 14.0 * std)
            .fold(0.0, f64::max);
        let (low, high) = (-reach - REACH * width, reach + REACH * width);
        let panels = ((high - low) / width).ceil().max(1.0);
        // What a rounding error is relative to.
        let largest = marginals()
            .map(|(centre, _)| centre.abs() / posterior.alpha())
            .chain([low, high].map(|x| posterior.at(x).mean.abs()))
            .fold(0.0, f64::max);
        let mut table = Self {
            width,
            reach,
            allowed: RESOLVED * largest,
            positions: Vec::new(),
            values: Vec::new(),
        };
        let length = (high - low) / panels;
        for k in 0..panels as usize {
            let start = low + length * k as f64;
            table.refine(posterior, rule, (start, start + length), MOST_CUTS);
        }
        table
    }

    /// Adds the nodes of a panel, cut until its halves give the same integrals of D and x D.
    fn refine(
        &mut self,
        posterior: &LinePosterior,
        rule: &[(f64, f64)],
        (low, high): (f64, f64),
        cuts: u32,
    ) {
        let middle = 0.5 * (low + high);
        let nodes = |low: f64, high: f64| -> Vec<(f64, f64, f64)> {
            let (centre, half) = (0.5 * (low + high), 0.5 * (high - low));
            rule.iter()
                .map(|(z, w)| {
                    let x = centre + half * z;
                    (x, half * w, posterior.at(x).mean)
                })
                .collect()
        };
        let integral = |nodes: &[(f64, f64, f64)]| {
            nodes.iter().fold((0.0, 0.0), |(zero, one), n| {
                let (x, w, value) = *n;
                (
                    zero + w * value,
                    one + w * value * (x - middle) / (high - low),
                )
            })
        };
        let whole = nodes(low, high);
        let mut halves = nodes(low, middle);
        halves.extend(nodes(middle, high));
        let (a, b) = (integral(&whole), integral(&halves));
        let allowed = self.allowed * (high - low);
        if cuts == 0 || ((a.0 - b.0).abs() <= allowed && (a.1 - b.1).abs() <= allowed) {
            for (x, w, value) in whole {
                self.positions.push(x);
                self.values.push((w * value, w));
            }
            return;
        }
        self.refine(posterior, rule, (low, middle), cuts - 1);
        self.refine(posterior, rule, (middle, high), cuts - 1);
    }

    /// The average and its slope at `x`.
    fn at(&self, x: f64) -> (f64, f64) {
        let reach = REACH * self.width;
        let first = self.positions.partition_point(|y| *y < x - reach);
        let last = self.positions.partition_point(|y| *y <= x + reach);
        let (mut value, mut slope) = (0.0, 0.0);
        let (mut weight, mut tilt) = (0.0, 0.0);
        for (y, (d, w)) in (self.positions[first..last].iter()).zip(&self.values[first..last]) {
            // Not normalised: the weights' sum takes care of that.
            let z = (y - x) / self.width;
            let density = exp(-0.5 * z * z);
            value += density * d;
            slope += density * z / self.width * d;
            weight += density * w;
            tilt += density * z / self.width * w;
        }
        // What the ends of the reach cut off is shared out.
        (value / weight, (slope - value / weight * tilt) / weight)
    }
}

impl Denoiser for SmoothedScore<'_> {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        if self.problem.dim() == 1 {
            self.on_the_line(t, x, |k, value, _| denoised[k] = value);
            return;
        }
        let posterior = CloudPosterior::new(self.problem, t);
        let width = self.problem.diffusion.alpha(t) * self.width;
        let n = x.len() / self.problem.dim();
        let share = 1.0 / self.nodes.len() as f64;
        let (mut moved, mut mean) = (DMatrix::zeros(n, self.problem.dim()), vec![0.0; x.len()]);
        denoised.fill(0.0);
        for z in &self.nodes {
            moved.as_mut_slice().copy_from_slice(x);
            for (mut column, z) in moved.column_iter_mut().zip(z) {
                column.add_scalar_mut(width * z);
            }
            posterior.mean(moved.as_slice(), &mut mean);
            for (out, mean) in denoised.iter_mut().zip(&mean) {
                *out += share * mean;
            }
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slopes: &mut [f64]) {
        self.on_the_line(t, x, |k, value, slope| {
            denoised[k] = value;
            slopes[k] = slope;
        });
    }
}
