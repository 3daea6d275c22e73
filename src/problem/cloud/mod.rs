//! The posterior of the clean point at many positions of one time, in any dimension: the inner loop of the exact denoiser
//! and of averages over x_t where D >= 2 (D2.3).
//!
//! Positions lie in one flat slice, coordinate-major: `x[i * n + k]` is coordinate i of point k. Points are treated
//! [`LANES`] at a time, each lane by itself: a point's result has the same bits in whatever company it is computed.

mod points;
mod widths;

use nalgebra::DMatrix;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::{Component, LowRankPosterior, Problem};
use crate::numerics::elementary::exp;

/// Points treated together.
const LANES: usize = 8;

/// Thin components are completed by all of their axes in so many dimensions; beyond, a few axes are much cheaper than all.
const COMPLETED: usize = 8;

/// One number of each point treated together.
type Lanes = [f64; LANES];

/// Posterior moments of x0 given x_t at n points, all coordinate-major: entry e of point k stands at `e * n + k`.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudMoments {
    /// ln p(x|t), length n.
    pub log_density: Vec<f64>,
    /// E[x0|x,t], length D n.
    pub mean: Vec<f64>,
    /// Cov(x0|x,t), length D^2 n; entry (i, j) is e = i D + j. A sum of positive terms, relatively accurate also where
    /// it is tiny.
    pub covariance: Vec<f64>,
    /// grad ln p(x|t), length D n (T2).
    pub score: Vec<f64>,
}

/// The noised mixture at one time in any dimension. Agrees with [`super::posterior`] (tested).
#[derive(Debug, Clone)]
pub struct CloudPosterior {
    dim: usize,
    alpha: f64,
    sigma2: f64,
    /// ln of weight times the Gaussian's normalisation, per component.
    log_norm: Vec<f64>,
    /// Means of x0, component by component (M x D).
    means: Vec<f64>,
    /// Means alpha m of x_t (M x D).
    centres: Vec<f64>,
    /// `None` where all components are point masses.
    widths: Option<Widths>,
    /// Thin components in more than [`COMPLETED`] dimensions have this in place of all else.
    low_rank: Option<Box<LowRankPosterior>>,
    /// Components whose log weight is this far below the largest leave the mean as it is, all of them together.
    cut: f64,
}

/// What the covariances Sigma_k of the components give, with M_k = alpha^2 Sigma_k + sigma^2 I.
#[derive(Debug, Clone)]
struct Widths {
    /// R_k with R_k^T R_k = M_k^-1.
    whiten: Maps,
    /// M_k^-1.
    precision: Maps,
    /// alpha Sigma_k M_k^-1: how the conditional mean follows x.
    gain: Maps,
    /// Cov(x0|x,k) = sigma^2 Sigma_k M_k^-1.
    own: Maps,
    /// Its square root.
    root: Maps,
}

/// One D x D matrix per component, or only their diagonals.
#[derive(Debug, Clone)]
struct Maps {
    dim: usize,
    diagonal: bool,
    entries: Vec<f64>,
}

impl Maps {
    /// From the eigenvalues f(v) on the components' axes; `turned` leaves out the way back from the axes.
    fn new(components: &[Component], turned: bool, f: impl Fn(f64) -> f64) -> Self {
        let dim = components.first().map_or(0, |c| c.mean.len());
        let diagonal = components.iter().all(|c| c.axes.is_none());
        let mut entries = Vec::new();
        for c in components {
            let values = c.variances.map(&f);
            match &c.axes {
                _ if diagonal => entries.extend(&values),
                None => entries.extend(&DMatrix::from_diagonal(&values)),
                Some(axes) => {
                    let mut matrix = DMatrix::from_diagonal(&values) * axes.transpose();
                    if !turned {
                        matrix = axes * matrix;
                    }
                    // By rows.
                    entries.extend(&matrix.transpose());
                }
            }
        }
        Self {
            dim,
            diagonal,
            entries,
        }
    }

    /// The matrix of component k times `y`.
    #[inline]
    fn apply(&self, k: usize, y: &[Lanes], out: &mut [Lanes]) {
        let dim = self.dim;
        if self.diagonal {
            let entries = &self.entries[k * dim..][..dim];
            for ((out, y), v) in out.iter_mut().zip(y).zip(entries) {
                *out = y.map(|y| v * y);
            }
            return;
        }
        let rows = self.entries[k * dim * dim..][..dim * dim].chunks_exact(dim);
        for (out, row) in out.iter_mut().zip(rows) {
            let mut sum = [0.0; LANES];
            for (y, v) in y.iter().zip(row) {
                add_scaled(&mut sum, y, *v);
            }
            *out = sum;
        }
    }

    /// Coordinate i of the matrix of component k times `y`, with the bits of [`Self::apply`].
    fn coordinate(&self, k: usize, i: usize, y: impl Fn(usize) -> f64) -> f64 {
        let dim = self.dim;
        if self.diagonal {
            return self.entries[k * dim + i] * y(i);
        }
        let row = &self.entries[(k * dim + i) * dim..][..dim];
        (row.iter().enumerate()).fold(0.0, |sum, (j, v)| sum + v * y(j))
    }

    /// Entry (i, j) of component k.
    fn entry(&self, k: usize, i: usize, j: usize) -> f64 {
        match (self.diagonal, i == j) {
            (true, true) => self.entries[k * self.dim + i],
            (true, false) => 0.0,
            (false, _) => self.entries[(k * self.dim + i) * self.dim + j],
        }
    }
}

/// Calls the kernel of the fixed dimension `$dim`, or evaluates `$other` where there is none.
macro_rules! fixed {
    ($self:ident, $kernel:ident ( $($argument:expr),* ), $other:expr) => {
        match $self.dim {
            1 => $self.$kernel::<1>($($argument),*),
            2 => $self.$kernel::<2>($($argument),*),
            3 => $self.$kernel::<3>($($argument),*),
            4 => $self.$kernel::<4>($($argument),*),
            8 => $self.$kernel::<8>($($argument),*),
            _ => $other,
        }
    };
}

/// exp of every lane.
#[inline(always)]
fn exp_lanes(x: &Lanes) -> Lanes {
    std::array::from_fn(|l| exp(x[l]))
}

/// exp of every lane, 0 below -`cut`.
#[inline(always)]
fn relative_weights(log: &Lanes, cut: f64) -> Lanes {
    let w = exp_lanes(log);
    std::array::from_fn(|l| if log[l] < -cut { 0.0 } else { w[l] })
}

/// The component whose share of lane `l`'s weights contains `mark`, 0 <= mark < their sum.
fn chosen(weights: &[Lanes], l: usize, mark: f64) -> usize {
    let last = weights.len() - 1;
    let mut left = mark;
    let found = weights[..last].iter().position(|w| {
        left -= w[l];
        left < 0.0
    });
    found.unwrap_or(last)
}

/// Is every lane below `limit`? Without branches between the lanes.
#[inline(always)]
fn all_below(x: &Lanes, limit: f64) -> bool {
    x.iter().fold(true, |all, x| all & (*x < limit))
}

/// sum += v y in every lane.
#[inline(always)]
fn add_scaled(sum: &mut Lanes, y: &Lanes, v: f64) {
    for (sum, y) in sum.iter_mut().zip(y) {
        *sum += v * y;
    }
}

/// sum += w y, lane by lane.
#[inline(always)]
fn add_product(sum: &mut Lanes, w: &Lanes, y: &Lanes) {
    for ((sum, w), y) in sum.iter_mut().zip(w).zip(y) {
        *sum += w * y;
    }
}

/// Points treated together, with room for what is computed of them.
struct Block {
    x: Vec<Lanes>,
    /// Per component ln p(k, x|t), later its weight relative to the largest.
    logs: Vec<Lanes>,
    misfit: Vec<Lanes>,
    value: Vec<Lanes>,
    slope: Vec<Lanes>,
}

impl Block {
    fn new(posterior: &CloudPosterior) -> Self {
        let zeros = vec![[0.0; LANES]; posterior.dim];
        Self {
            logs: vec![[0.0; LANES]; posterior.log_norm.len()],
            x: zeros.clone(),
            misfit: zeros.clone(),
            value: zeros.clone(),
            slope: zeros,
        }
    }

    /// Takes the points from `start` on; where fewer are left the last of them fills the lanes.
    fn load(&mut self, x: &[f64], n: usize, start: usize) {
        for (i, lanes) in self.x.iter_mut().enumerate() {
            *lanes = std::array::from_fn(|l| x[i * n + (start + l).min(n - 1)]);
        }
    }
}

/// Puts the lanes that stand for points `start..n` into row `row` of `out`.
fn store(out: &mut [f64], n: usize, row: usize, start: usize, lanes: &Lanes) {
    let count = LANES.min(n - start);
    out[row * n + start..][..count].copy_from_slice(&lanes[..count]);
}

impl CloudPosterior {
    /// Prepares time `t`.
    pub fn new(problem: &Problem, t: f64) -> Self {
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        let data = &problem.data;
        let thin = data.components().iter().any(Component::is_thin);
        let low_rank = (thin && problem.dim() > COMPLETED)
            .then(|| Box::new(LowRankPosterior::new(problem, t)));
        let completed: Vec<Component> = match (&low_rank, thin) {
            (None, true) => data.components().iter().map(Component::completed).collect(),
            _ => Vec::new(),
        };
        let components = match (&low_rank, thin) {
            (Some(_), _) => &[],
            (None, true) => &completed[..],
            (None, false) => data.components(),
        };
        let spread = |v: f64| alpha * alpha * v + sigma2;
        let log_norm = components
            .iter()
            .zip(data.log_weights())
            .map(|(c, log_weight)| {
                let logs = c.variances.iter();
                let logs = logs.map(|v| (2.0 * std::f64::consts::PI * spread(*v)).ln());
                log_weight - 0.5 * logs.sum::<f64>()
            })
            .collect();
        let means: Vec<f64> = components
            .iter()
            .flat_map(|c| c.mean.iter().copied())
            .collect();
        let points = components.iter().all(Component::is_point);
        let maps = |turned, f: &dyn Fn(f64) -> f64| Maps::new(components, turned, f);
        Self {
            dim: problem.dim(),
            alpha,
            sigma2,
            log_norm,
            centres: means.iter().map(|m| alpha * m).collect(),
            means,
            low_rank,
            widths: (!points).then(|| Widths {
                whiten: maps(true, &|v| spread(v).sqrt().recip()),
                precision: maps(false, &|v| spread(v).recip()),
                gain: maps(false, &|v| alpha * v / spread(v)),
                own: maps(false, &|v| v * sigma2 / spread(v)),
                root: maps(false, &|v| (v * sigma2 / spread(v)).sqrt()),
            }),
            // M exp(-cut) = exp(-37) < 2^-53.
            cut: 37.0 + (components.len() as f64).ln(),
        }
    }

    /// Dimension D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    pub fn sigma2(&self) -> f64 {
        self.sigma2
    }

    /// E[x0|x,t] at the n points of `x`, into `out` (both coordinate-major, length D n).
    pub fn mean(&self, x: &[f64], out: &mut [f64]) {
        if let Some(low_rank) = &self.low_rank {
            return low_rank.mean(x, out);
        }
        self.mean_blocks(x, out, |_, _, _| {});
    }

    /// E[x0|x,t] at the n points of `x`, into `mean`, and a draw from p(x0|x,t) at each, into `clean` (all coordinate-major,
    /// length D n). The random numbers are those of the first point, then those of the second, and so on.
    pub fn mean_and_draw<R: Rng + ?Sized>(
        &self,
        x: &[f64],
        rng: &mut R,
        mean: &mut [f64],
        clean: &mut [f64],
    ) {
        debug_assert_eq!(clean.len(), x.len());
        if let Some(low_rank) = &self.low_rank {
            return low_rank.mean_and_draw(x, rng, mean, clean);
        }
        let n = self.count(x);
        let mut normals = vec![0.0; self.dim];
        self.mean_blocks(x, mean, |block, sum, start| {
            for l in 0..LANES.min(n - start) {
                let k = chosen(&block.logs, l, rng.random::<f64>() * sum[l]);
                if self.widths.is_some() {
                    normals.fill_with(|| rng.sample(StandardNormal));
                }
                for i in 0..self.dim {
                    clean[i * n + start + l] = self.clean(block, (l, k), i, &normals);
                }
            }
        });
    }

    /// Posterior probabilities of the M components at the n points of `x` (coordinate-major), those of the first point first, into
    /// `out` of length M n. What rounding leaves nothing of is 0.
    pub fn responsibilities(&self, x: &[f64], out: &mut [f64]) {
        if let Some(low_rank) = &self.low_rank {
            return low_rank.responsibilities(x, out);
        }
        let (n, components) = (self.count(x), self.log_norm.len());
        let mut mean = vec![0.0; x.len()];
        self.mean_blocks(x, &mut mean, |block, sum, start| {
            let points = out[start * components..].chunks_exact_mut(components);
            for (l, own) in points.take(LANES.min(n - start)).enumerate() {
                for (r, w) in own.iter_mut().zip(&block.logs) {
                    *r = w[l] / sum[l];
                }
            }
        });
    }

    /// Coordinate i of x0 at lane `l`, given component `k` and standard normal numbers.
    fn clean(&self, block: &Block, (l, k): (usize, usize), i: usize, normals: &[f64]) -> f64 {
        let dim = self.dim;
        let misfit = |j: usize| block.x[j][l] - self.centres[k * dim + j];
        let spread = self.widths.as_ref().map_or(0.0, |widths| {
            let shift = widths.gain.coordinate(k, i, misfit);
            shift + widths.root.coordinate(k, i, |j| normals[j])
        });
        self.means[k * dim + i] + spread
    }

    /// The means block by block; after each, `visit` is given the block with the weights in `logs`, their sums, and the
    /// block's first point.
    #[inline(always)]
    fn mean_blocks(
        &self,
        x: &[f64],
        out: &mut [f64],
        mut visit: impl FnMut(&Block, &Lanes, usize),
    ) {
        let n = self.count(x);
        debug_assert_eq!(out.len(), x.len());
        let mut block = Block::new(self);
        let mut mean = vec![[0.0; LANES]; self.dim];
        for start in (0..n).step_by(LANES) {
            block.load(x, n, start);
            let top = self.log_joint(&mut block);
            let sum = self.weighted_means(&mut block, &top, &mut mean);
            for (i, mean) in mean.iter().enumerate() {
                let mean = std::array::from_fn(|l| mean[l] / sum[l]);
                store(out, n, i, start, &mean);
            }
            visit(&block, &sum, start);
        }
    }

    /// Log density, mean, covariance and score at the n points of `x` (coordinate-major, length D n). No component is
    /// left out, so that a covariance of 1e-300 is still that covariance.
    pub fn moments(&self, x: &[f64]) -> CloudMoments {
        if let Some(low_rank) = &self.low_rank {
            return low_rank.moments(x);
        }
        let (n, dim) = (self.count(x), self.dim);
        let mut moments = CloudMoments {
            log_density: vec![0.0; n],
            mean: vec![0.0; dim * n],
            covariance: vec![0.0; dim * dim * n],
            score: vec![0.0; dim * n],
        };
        let mut block = Block::new(self);
        let mut central = Central::new(dim);
        for start in (0..n).step_by(LANES) {
            block.load(x, n, start);
            let top = self.log_joint(&mut block);
            self.central_moments(&mut block, &top, &mut central);
            let log_density = std::array::from_fn(|l| top[l] + central.sum[l].ln());
            store(&mut moments.log_density, n, 0, start, &log_density);
            for i in 0..dim {
                store(&mut moments.mean, n, i, start, &central.mean[i]);
                store(&mut moments.score, n, i, start, &central.score[i]);
                for j in 0..dim {
                    let entry = &central.covariance[i.max(j) * dim + i.min(j)];
                    store(&mut moments.covariance, n, i * dim + j, start, entry);
                }
            }
        }
        moments
    }

    fn count(&self, x: &[f64]) -> usize {
        debug_assert_eq!(x.len() % self.dim, 0);
        x.len() / self.dim
    }

    /// Fills `block.logs`; the largest of them per lane.
    fn log_joint(&self, block: &mut Block) -> Lanes {
        match self.widths {
            None => fixed!(self, log_joint_points(block), self.log_joint_any(block)),
            Some(ref widths) => fixed!(
                self,
                log_joint_widths(widths, block),
                self.log_joint_any(block)
            ),
        }
    }

    fn log_joint_any(&self, block: &mut Block) -> Lanes {
        let dim = self.dim;
        let mut top = [f64::NEG_INFINITY; LANES];
        let half = match self.widths {
            None => 0.5 / self.sigma2,
            Some(_) => 0.5,
        };
        for (k, log) in block.logs.iter_mut().enumerate() {
            let centre = &self.centres[k * dim..][..dim];
            let mut square = [0.0; LANES];
            match &self.widths {
                None => {
                    for (x, c) in block.x.iter().zip(centre) {
                        for (square, x) in square.iter_mut().zip(x) {
                            *square += (x - c) * (x - c);
                        }
                    }
                }
                Some(widths) => {
                    subtract(&block.x, centre, &mut block.misfit);
                    widths.whiten.apply(k, &block.misfit, &mut block.value);
                    for z in &block.value {
                        add_product(&mut square, z, z);
                    }
                }
            }
            let norm = self.log_norm[k];
            *log = square.map(|s| norm - half * s);
            for (top, log) in top.iter_mut().zip(log) {
                *top = if *log > *top { *log } else { *top };
            }
        }
        top
    }

    /// Sums of w and of w E[x0|x,k] over the components that count, w relative to the largest weight; the weights are left in
    /// `block.logs`.
    fn weighted_means(&self, block: &mut Block, top: &Lanes, mean: &mut [Lanes]) -> Lanes {
        match self.widths {
            None => fixed!(
                self,
                weighted_points(block, top, mean),
                self.weighted_any(block, top, mean)
            ),
            Some(ref widths) => fixed!(
                self,
                weighted_widths(widths, block, top, mean),
                self.weighted_any(block, top, mean)
            ),
        }
    }

    fn weighted_any(&self, block: &mut Block, top: &Lanes, mean: &mut [Lanes]) -> Lanes {
        let (dim, cut) = (self.dim, self.cut);
        let mut sum = [0.0; LANES];
        mean.fill([0.0; LANES]);
        for k in 0..block.logs.len() {
            let log: Lanes = std::array::from_fn(|l| block.logs[k][l] - top[l]);
            if all_below(&log, -cut) {
                block.logs[k] = [0.0; LANES];
                continue;
            }
            let w = relative_weights(&log, cut);
            block.logs[k] = w;
            add_scaled(&mut sum, &w, 1.0);
            if self.widths.is_none() {
                for (mean, m) in mean.iter_mut().zip(&self.means[k * dim..][..dim]) {
                    add_scaled(mean, &w, *m);
                }
            } else {
                self.conditional(block, k);
                for (mean, value) in mean.iter_mut().zip(&block.value) {
                    add_product(mean, &w, value);
                }
            }
        }
        sum
    }

    /// E[x0|x,k] into `block.value` and the score of component k into `block.slope`.
    #[inline]
    fn conditional(&self, block: &mut Block, k: usize) {
        let dim = self.dim;
        let (mean, centre) = (
            &self.means[k * dim..][..dim],
            &self.centres[k * dim..][..dim],
        );
        subtract(&block.x, centre, &mut block.misfit);
        let Some(widths) = &self.widths else {
            for (i, m) in mean.iter().enumerate() {
                block.value[i] = [*m; LANES];
                block.slope[i] = block.misfit[i].map(|y| -y / self.sigma2);
            }
            return;
        };
        widths.gain.apply(k, &block.misfit, &mut block.value);
        widths.precision.apply(k, &block.misfit, &mut block.slope);
        for (i, m) in mean.iter().enumerate() {
            block.value[i] = block.value[i].map(|shift| m + shift);
            block.slope[i] = block.slope[i].map(|s| -s);
        }
    }

    /// Moments as differences from those of the heaviest component: what the others add keeps its digits, be it 1e-300.
    fn central_moments(&self, block: &mut Block, top: &Lanes, central: &mut Central) {
        self.heaviest(block, top, central);
        match self.widths {
            None => self.shifts_of_point_masses(block, top, central),
            Some(_) => self.shifts(block, top, central),
        }
        match self.widths {
            None => fixed!(
                self,
                spread_of_points(block, central),
                self.spread(block, central)
            ),
            Some(_) => self.spread(block, central),
        }
        for entry in &mut central.covariance {
            divide(entry, &central.sum);
        }
        for (mean, shift) in central.mean.iter_mut().zip(&central.shift) {
            add_scaled(mean, shift, 1.0);
        }
        for (score, turn) in central.score.iter_mut().zip(&central.turn) {
            add_scaled(score, turn, 1.0);
        }
    }

    /// Without widths the scores of two components differ by alpha/sigma^2 times what their means do.
    fn shifts_of_point_masses(&self, block: &mut Block, top: &Lanes, central: &mut Central) {
        fixed!(self, shifts_of_points(block, top, central), {
            self.shifts(block, top, central);
            return;
        });
        let ratio = self.alpha / self.sigma2;
        for (shift, turn) in central.shift.iter_mut().zip(&mut central.turn) {
            divide(shift, &central.sum);
            *turn = shift.map(|shift| ratio * shift);
        }
    }

    /// What the other components add to mean and score of the heaviest; the weights are left in `block.logs`.
    fn shifts(&self, block: &mut Block, top: &Lanes, central: &mut Central) {
        let dim = self.dim;
        central.clear();
        for k in 0..block.logs.len() {
            let w = exp_lanes(&std::array::from_fn(|l| block.logs[k][l] - top[l]));
            block.logs[k] = w;
            if all_below(&w, f64::MIN_POSITIVE) {
                continue;
            }
            add_scaled(&mut central.sum, &w, 1.0);
            self.conditional(block, k);
            for i in 0..dim {
                let (value, mean) = (&block.value[i], &central.mean[i]);
                let shift = std::array::from_fn(|l| value[l] - mean[l]);
                add_product(&mut central.shift[i], &w, &shift);
                let (slope, score) = (&block.slope[i], &central.score[i]);
                let turn = std::array::from_fn(|l| slope[l] - score[l]);
                add_product(&mut central.turn[i], &w, &turn);
            }
        }
        for shift in central.shift.iter_mut().chain(&mut central.turn) {
            divide(shift, &central.sum);
        }
    }

    /// Conditional mean and score of the heaviest component of each lane.
    fn heaviest(&self, block: &Block, top: &Lanes, central: &mut Central) {
        let dim = self.dim;
        for l in 0..LANES {
            // Without a largest weight nothing is defined, and NaN comes out whatever the component.
            let k = block.logs.iter().position(|log| log[l] == top[l]);
            let k = k.unwrap_or(0);
            let misfit = |j: usize| block.x[j][l] - self.centres[k * dim + j];
            for i in 0..dim {
                let mean = self.means[k * dim + i];
                // With the bits of `conditional`: differences of this component from itself vanish.
                let (mean, score) = match &self.widths {
                    None => (mean, -misfit(i) / self.sigma2),
                    Some(widths) => (
                        mean + widths.gain.coordinate(k, i, misfit),
                        -widths.precision.coordinate(k, i, misfit),
                    ),
                };
                central.mean[i][l] = mean;
                central.score[i][l] = score;
            }
        }
    }

    /// Sums of the weights in `block.logs` times the deviations from the mean, squared, and the components' own
    /// covariances; lower triangle.
    fn spread(&self, block: &mut Block, central: &mut Central) {
        let dim = self.dim;
        central.covariance.fill([0.0; LANES]);
        for k in 0..block.logs.len() {
            let w = block.logs[k];
            if all_below(&w, f64::MIN_POSITIVE) {
                continue;
            }
            self.conditional(block, k);
            for i in 0..dim {
                for l in 0..LANES {
                    let deviation = block.value[i][l] - central.mean[i][l];
                    block.value[i][l] = deviation - central.shift[i][l];
                }
            }
            for i in 0..dim {
                let deviation = block.value[i];
                let row = &mut central.covariance[i * dim..];
                for (j, (other, entry)) in block.value[..=i].iter().zip(row).enumerate() {
                    let own = self
                        .widths
                        .as_ref()
                        .map_or(0.0, |all| all.own.entry(k, i, j));
                    let square = std::array::from_fn(|l| deviation[l] * other[l] + own);
                    add_product(entry, &w, &square);
                }
            }
        }
    }
}

/// sum /= w, lane by lane.
#[inline(always)]
fn divide(sum: &mut Lanes, w: &Lanes) {
    for (sum, w) in sum.iter_mut().zip(w) {
        *sum /= w;
    }
}

/// y = x - c.
#[inline(always)]
fn subtract(x: &[Lanes], c: &[f64], y: &mut [Lanes]) {
    for ((y, x), c) in y.iter_mut().zip(x).zip(c) {
        *y = x.map(|x| x - c);
    }
}

/// Sums of one block on the way to its moments.
struct Central {
    /// Of the weights relative to the largest.
    sum: Lanes,
    /// First those of the heaviest component, then of all.
    mean: Vec<Lanes>,
    score: Vec<Lanes>,
    /// What the other components add to them.
    shift: Vec<Lanes>,
    turn: Vec<Lanes>,
    /// D x D, the lower triangle.
    covariance: Vec<Lanes>,
}

impl Central {
    fn new(dim: usize) -> Self {
        let zeros = vec![[0.0; LANES]; dim];
        Self {
            sum: [0.0; LANES],
            mean: zeros.clone(),
            score: zeros.clone(),
            shift: zeros.clone(),
            turn: zeros,
            covariance: vec![[0.0; LANES]; dim * dim],
        }
    }

    fn clear(&mut self) {
        self.sum = [0.0; LANES];
        for sums in [&mut self.shift, &mut self.turn] {
            sums.fill([0.0; LANES]);
        }
    }
}
