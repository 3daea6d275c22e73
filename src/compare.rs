//! Distances between binned densities, and what sampling noise makes of them (derivations/08-distances.md).

use crate::histogram::{Bins, Grid, Masses};

/// Total variation, (1/2) sum |a - b| over the bins and the mass outside as one more bin.
pub fn total_variation(a: &Masses, b: &Masses) -> f64 {
    let outside = |m: &Masses| m.tails().iter().sum::<f64>();
    let bins: f64 = a
        .inside()
        .iter()
        .zip(b.inside())
        .map(|(a, b)| (a - b).abs())
        .sum();
    0.5 * (bins + (outside(a) - outside(b)).abs())
}

/// Wasserstein-1 distance: integral of |F_a - F_b| with the mass spread evenly inside each bin and what lies outside
/// placed on the ends of the range (a lower bound for what runs far out).
pub fn wasserstein(a: &Masses, b: &Masses, bins: &Bins) -> f64 {
    let width = bins.width();
    let mut gap = a.cells[0] - b.cells[0];
    let mut sum = 0.0;
    for (a, b) in a.inside().iter().zip(b.inside()) {
        let next = gap + a - b;
        // The difference is linear across the bin; where it changes sign the two triangles add.
        sum += if gap * next >= 0.0 {
            0.5 * (gap.abs() + next.abs())
        } else {
            0.5 * (gap * gap + next * next) / (gap.abs() + next.abs())
        };
        gap = next;
    }
    sum * width
}

/// Kolmogorov-Smirnov distance at the bin edges.
pub fn kolmogorov_smirnov(a: &Masses, b: &Masses) -> f64 {
    let mut gap = 0.0;
    let mut worst: f64 = 0.0;
    for (a, b) in a.cells.iter().zip(&b.cells) {
        gap += a - b;
        worst = worst.max(f64::abs(gap));
    }
    worst
}

/// The three distances at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distances {
    pub tv: f64,
    pub w1: f64,
    pub ks: f64,
}

impl Distances {
    /// In the plane, `w1` and `ks` are the larger of those of the two marginals ([`Grid::marginal`]).
    pub fn between(a: &Masses, b: &Masses, grid: &Grid) -> Self {
        let mut distances = Self {
            tv: total_variation(a, b),
            w1: 0.0,
            ks: 0.0,
        };
        for (axis, bins) in grid.axes().iter().enumerate() {
            let (a, b) = (grid.marginal(a, axis), grid.marginal(b, axis));
            distances.w1 = distances.w1.max(wasserstein(&a, &b, bins));
            distances.ks = distances.ks.max(kolmogorov_smirnov(&a, &b));
        }
        distances
    }
}

/// What the sampling noise of an ensemble's mean density does to distances from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseFloor {
    /// Expected distances between the ensemble's mean and the truth.
    pub mean: Distances,
    /// 95 % quantile of the total variation.
    pub tv_95: f64,
}

impl NoiseFloor {
    /// From bootstrap replicates of the mean over models.
    pub fn from_replicates(mean: &Masses, replicates: &[Masses], grid: &Grid) -> Self {
        let distances: Vec<Distances> = replicates
            .iter()
            .map(|r| Distances::between(r, mean, grid))
            .collect();
        let average = |f: fn(&Distances) -> f64| {
            distances.iter().map(f).sum::<f64>() / distances.len().max(1) as f64
        };
        let mut tv: Vec<f64> = distances.iter().map(|d| d.tv).collect();
        tv.sort_by(f64::total_cmp);
        let rank = (0.95 * tv.len() as f64).ceil() as usize;
        Self {
            mean: Distances {
                tv: average(|d| d.tv),
                w1: average(|d| d.w1),
                ks: average(|d| d.ks),
            },
            tv_95: tv.get(rank.saturating_sub(1)).copied().unwrap_or(0.0),
        }
    }
}

/// Most of the data's mass that its gaps may hold.
const GAP_SHARE: f64 = 0.01;

/// Where a reference distribution has next to nothing: its bins of least mass that together hold at most 1 % of all mass,
/// and everything outside the range. What a model puts there it cannot have from the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    inside: Vec<bool>,
}

impl Gap {
    /// The gaps of `data`. Bins are taken by mass, those of equal mass by index.
    pub fn of(data: &Masses) -> Self {
        let mass = data.inside();
        let limit = GAP_SHARE * data.cells.iter().sum::<f64>();
        let mut order: Vec<usize> = (0..mass.len()).collect();
        order.sort_by(|a, b| mass[*a].total_cmp(&mass[*b]).then(a.cmp(b)));
        let mut inside = vec![false; mass.len()];
        let mut held = 0.0;
        for bin in order {
            held += mass[bin];
            if held > limit {
                break;
            }
            inside[bin] = true;
        }
        Self { inside }
    }

    /// Does the bin belong to the gaps?
    pub fn contains(&self, bin: usize) -> bool {
        self.inside.get(bin).copied().unwrap_or(false)
    }

    /// Mass of a distribution in the gaps and outside the range.
    pub fn mass(&self, of: &Masses) -> f64 {
        let tails: f64 = of.tails().iter().sum();
        let bins = of.inside().iter().zip(&self.inside);
        tails + bins.filter(|(_, gap)| **gap).map(|(m, _)| m).sum::<f64>()
    }
}

/// Standard deviation of bootstrap replicates of an estimate: its standard error. `None` for fewer than two.
pub fn bootstrap_error(replicates: &[f64]) -> Option<f64> {
    let n = replicates.len() as f64;
    let mean = replicates.iter().sum::<f64>() / n;
    let square: f64 = replicates.iter().map(|r| (r - mean).powi(2)).sum();
    (replicates.len() > 1).then(|| (square / (n - 1.0)).sqrt())
}

/// Bins of less mean mass say nothing about a band: their quantiles are zeros and rare events.
const BAND_MASS: f64 = 1e-3;
/// How far a band's edge may be off, in widths of the reference's band.
const BAND_TOLERANCE: f64 = 0.2;

/// Quartiles over models of each bin's mass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quartiles<'a> {
    pub lower: &'a [f64],
    pub upper: &'a [f64],
}

/// How much of a predicted band over models is right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BandAgreement {
    /// Share of the bins in which both edges are within a fifth of the reference band's width of where they should be.
    pub within: f64,
    /// Number of bins that were looked at.
    pub bins: usize,
}

impl BandAgreement {
    /// Compares bands over the bins in which the reference's `mean` exceeds 1e-3; `None` if there are none.
    pub fn between(
        predicted: Quartiles<'_>,
        reference: Quartiles<'_>,
        mean: &[f64],
    ) -> Option<Self> {
        let edges = |q: Quartiles<'_>, bin: usize| Some((*q.lower.get(bin)?, *q.upper.get(bin)?));
        let mut agreement = (0, 0);
        for (bin, _) in mean.iter().enumerate().filter(|(_, m)| **m > BAND_MASS) {
            let ((low, high), (true_low, true_high)) =
                (edges(predicted, bin)?, edges(reference, bin)?);
            let tolerance = BAND_TOLERANCE * (true_high - true_low);
            let right =
                (low - true_low).abs() <= tolerance && (high - true_high).abs() <= tolerance;
            agreement.0 += usize::from(right);
            agreement.1 += 1;
        }
        let (right, bins) = agreement;
        (bins > 0).then(|| Self {
            within: right as f64 / bins as f64,
            bins,
        })
    }
}
