//! The density of the saddle-point expansion: lines of saddles for every x_T, normalised and averaged.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{LineEnd, SaddleLines, Tracing};
use crate::action::{Action, Start, WhitenedFlow};
use crate::compare::total_variation;
use crate::density::{DensityError, Estimate};
use crate::histogram::{Bins, Masses};
use crate::numerics::normal;
use crate::numerics::random::stream;
use crate::problem::StartDensity;

/// |eta|^2/2 that lines are followed to: 5 standard deviations.
const LARGEST_ACTION: f64 = 12.5;
/// Largest step along a line, and accuracy of x_0 on it as a share of a bin.
const LARGEST_STEP: f64 = 0.3;
const RESOLUTION: f64 = 0.1;
/// Draws of eta per x_T that look for further lines.
const SEARCHES: usize = 2;
/// Starts and ends of the paths that are shown.
const SHOWN_STARTS: usize = 5;
const SHOWN_ENDS: usize = 13;

/// What the saddle-point density was made of.
#[derive(Debug, Clone)]
pub struct SaddleDensity {
    pub estimate: Estimate,
    pub account: Account,
    /// The dominant paths between some starts and ends.
    pub paths: Vec<DominantPath>,
}

/// Every pair (x_T, bin of x_0) and what became of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    pub starts: usize,
    /// Lines of saddles over all starts, and the most that one start has.
    pub lines: usize,
    pub most_lines: usize,
    /// Pairs (x_T, bin) by the number of minima at the bin's middle: one, several.
    pub one_minimum: usize,
    pub several_minima: usize,
    /// Pairs without a minimum, by the reason.
    pub without: BTreeMap<&'static str, usize>,
    /// Draws that led to no saddle.
    pub lost_searches: usize,
    /// Folds (caustics) that the lines pass.
    pub folds: usize,
    /// Mass of the expansion before normalisation: mean, smallest and largest over x_T.
    pub raw_mass: [f64; 3],
    /// Bound on the mass beyond ends that failed: the largest over x_T of Pr(|eta| beyond).
    pub beyond_failures: f64,
    pub evaluations: usize,
}

/// The path of least action from x_T to x_0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DominantPath {
    pub start: f64,
    pub end: f64,
    /// |eta|^2/2: the path is exp(-action) times as likely as the mean path, but for its fluctuations.
    pub action: f64,
    /// x at the node times, N + 1.
    pub x: Vec<f64>,
    /// Response field of every step, N.
    pub response: Vec<f64>,
}

/// Lines of one start and their density.
struct OneStart {
    lines: SaddleLines,
    /// Normalised, and from every other saddle of the lines.
    masses: Masses,
    coarse: Masses,
    raw: f64,
}

/// The density T15 for `starts` strata of x_T, normalised for each, and averaged.
///
/// # Errors
/// When a mean path overflows, or a start has no density at all.
pub fn saddle_density(
    action: &Action<'_>,
    start: &StartDensity,
    starts: usize,
    seed: u64,
    bins: &Bins,
) -> Result<SaddleDensity, DensityError> {
    let positions: Vec<f64> = start.strata(starts).collect();
    let tracing = tracing(bins);
    let all: Vec<OneStart> = positions
        .par_iter()
        .enumerate()
        .map(|(i, &x)| OneStart::new(action, x, &tracing, (seed, i as u64), bins))
        .collect::<Result<_, _>>()?;
    let masses = average(bins, all.iter().map(|s| &s.masses));
    let half = average(bins, all.iter().step_by(2).map(|s| &s.masses));
    let other = average(bins, all.iter().skip(1).step_by(2).map(|s| &s.masses));
    let coarse = average(bins, all.iter().map(|s| &s.coarse));
    let account = Account::of(&all, &positions, bins);
    let mean_miss = all.iter().map(|s| (s.raw - 1.0).abs()).sum::<f64>() / starts as f64;
    let estimate = Estimate {
        errors: vec![
            // Two halves differ by twice what the whole is off by, if not by more: stratified means converge faster.
            ("starts", 0.5 * total_variation(&half, &other)),
            ("line", total_variation(&masses, &coarse)),
            // What the expansion leaves out is of the order of the mass it misses.
            ("expansion", 0.5 * mean_miss),
        ],
        masses,
    };
    Ok(SaddleDensity {
        estimate,
        account,
        paths: shown(action, &positions, &all, bins)?,
    })
}

/// How lines are followed for a density on these bins: three ranges wide on either side, since a line may come back.
pub(super) fn tracing(bins: &Bins) -> Tracing {
    let width = bins.high - bins.low;
    Tracing {
        largest_action: LARGEST_ACTION,
        range: (bins.low - 3.0 * width, bins.high + 3.0 * width),
        largest_step: LARGEST_STEP,
        resolution: RESOLUTION * bins.width(),
    }
}

fn average<'a>(bins: &Bins, all: impl Iterator<Item = &'a Masses>) -> Masses {
    let all: Vec<&Masses> = all.collect();
    let mut sum = Masses::zero(bins);
    for masses in &all {
        sum.accumulate(masses, 1.0 / all.len() as f64);
    }
    sum
}

impl OneStart {
    fn new(
        action: &Action<'_>,
        x: f64,
        tracing: &Tracing,
        (seed, index): (u64, u64),
        bins: &Bins,
    ) -> Result<Self, DensityError> {
        let map = WhitenedFlow {
            action,
            start: Start::At(x),
        };
        let lines = SaddleLines::find(&map, tracing, SEARCHES, &mut stream(seed, index))?;
        let normalised = |stride: usize| {
            let (raw, mass) = lines.raw_density(bins, stride);
            let mut masses = Masses::zero(bins);
            masses.accumulate(&raw, 1.0 / mass);
            (masses, mass)
        };
        let ((masses, raw), (coarse, _)) = (normalised(1), normalised(2));
        if !(raw.is_finite() && raw > 0.0) {
            return Err(DensityError::NoSaddle { start: x });
        }
        Ok(Self {
            lines,
            masses,
            coarse,
            raw,
        })
    }

    /// Minima at x_0: how often the line passes there as one.
    fn minima(&self, end: f64) -> usize {
        self.lines
            .stretches()
            .filter(|w| (w[0].end - end) * (w[1].end - end) < 0.0)
            .filter(|w| w[0].index == 0 || w[1].index == 0)
            .count()
    }

    /// Why no line passes x_0 as a minimum.
    fn reason(&self, end: f64) -> &'static str {
        let passes = self
            .lines
            .stretches()
            .any(|w| (w[0].end - end) * (w[1].end - end) < 0.0);
        if passes {
            return "only saddles that are no minima";
        }
        let nearest = self
            .lines
            .line_ends()
            .map(|(saddle, why)| ((saddle.end - end).abs(), why))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        match nearest {
            Some((_, LineEnd::Action)) => "more than 5 standard deviations away",
            Some((_, LineEnd::Range | LineEnd::Closed)) => "no line passes",
            Some((_, LineEnd::Stalled)) => "the line stalls before it",
            Some((_, LineEnd::TooLong)) => "the line is too long",
            Some((_, LineEnd::Undefined)) | None => "the path overflows or does not depend on eta",
        }
    }

    /// Mass beyond ends of lines that failed, at most: that of |eta . direction| beyond the last point.
    fn beyond_failures(&self) -> f64 {
        self.lines
            .line_ends()
            .filter(|(_, why)| why.is_failure())
            .map(|(saddle, _)| normal::cdf(-(2.0 * saddle.action).sqrt()))
            .sum()
    }
}

impl Account {
    fn of(all: &[OneStart], positions: &[f64], bins: &Bins) -> Self {
        let masses = || all.iter().map(|s| s.raw);
        let mut account = Self {
            starts: positions.len(),
            raw_mass: [
                masses().sum::<f64>() / all.len() as f64,
                masses().fold(f64::INFINITY, f64::min),
                masses().fold(0.0, f64::max),
            ],
            beyond_failures: all
                .iter()
                .map(OneStart::beyond_failures)
                .fold(0.0, f64::max),
            ..Self::default()
        };
        for start in all {
            let lines = start.lines.branches.len();
            account.lines += lines;
            account.most_lines = account.most_lines.max(lines);
            account.lost_searches += start.lines.lost;
            account.evaluations += start.lines.evaluations;
            account.folds += start
                .lines
                .stretches()
                .filter(|w| w[0].turn * w[1].turn < 0.0)
                .count();
            for i in 0..bins.count {
                let middle = 0.5 * (bins.edge(i) + bins.edge(i + 1));
                match start.minima(middle) {
                    0 => *account.without.entry(start.reason(middle)).or_insert(0) += 1,
                    1 => account.one_minimum += 1,
                    _ => account.several_minima += 1,
                }
            }
        }
        account
    }
}

/// The minima of least action between a few starts and evenly spaced ends.
fn shown(
    action: &Action<'_>,
    positions: &[f64],
    all: &[OneStart],
    bins: &Bins,
) -> Result<Vec<DominantPath>, DensityError> {
    let picked = |k: usize| (2 * k + 1) * positions.len() / (2 * SHOWN_STARTS);
    let pairs: Vec<(usize, f64)> = (0..SHOWN_STARTS.min(positions.len()))
        .flat_map(|k| {
            (0..SHOWN_ENDS).map(move |j| {
                let f = (j as f64 + 0.5) / SHOWN_ENDS as f64;
                (picked(k), bins.low + f * (bins.high - bins.low))
            })
        })
        .collect();
    let found: Vec<Option<DominantPath>> = pairs
        .par_iter()
        .map(|&(i, end)| dominant(action, positions[i], &all[i].lines, end))
        .collect::<Result<_, _>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// The path of least action that ends at x_0 among the minima on these lines.
fn dominant(
    action: &Action<'_>,
    start: f64,
    lines: &SaddleLines,
    end: f64,
) -> Result<Option<DominantPath>, DensityError> {
    let map = WhitenedFlow {
        action,
        start: Start::At(start),
    };
    let least = lines
        .at(&map, end)?
        .into_iter()
        .min_by(|a, b| a.action.total_cmp(&b.action));
    let Some(saddle) = least else {
        return Ok(None);
    };
    Ok(Some(DominantPath {
        start,
        end: saddle.end,
        action: saddle.action,
        x: map.path(&saddle.eta)?,
        response: map.response_field(&saddle.eta, saddle.multiplier)?,
    }))
}
