//! The density of a sampler with white noise by the saddle points of its path integral: for every start x_T the curve of
//! all extremals, its minima with their Gaussian fluctuations (derivations/14-white-noise-saddle.md).

use rayon::prelude::*;

use super::{Bins, DensityError, Estimate, Masses};
use crate::action::white::{
    CurveEnd, CurveNode, CurveOptions, ExtremalCurve, ExtremalError, ScoreStep, Splitting,
    WhiteNoise, extremal_curve, score_steps,
};
use crate::compare::total_variation;
use crate::experiment::Scheme;
use crate::problem::{Problem, StartDensity};

/// Actions above this are left out: exp(-30) is 1e-13.
const CUTOFF: f64 = 30.0;
/// Total variation between the first two orders above which the expansion has failed.
const TOO_STRONG: f64 = 0.25;
/// Extremals per direction; a curve takes a few hundred.
const LONGEST: usize = 20_000;
/// Step along the curve in standard deviations of the end point: the log-linear interpolation of the density is then off by
/// stride^2/12.
const STRIDE: f64 = 0.15;

/// The density with what became of every pair of a start and a bin centre.
#[derive(Debug, Clone, PartialEq)]
pub struct WhiteSaddle {
    /// With the next order of the small-noise expansion in the exponent. Its named error `expansion` is the distance from
    /// `leading`.
    pub estimate: Estimate,
    /// Saddles and Gaussian fluctuations alone.
    pub leading: Masses,
    /// Starts times bins; the next five add up to it.
    pub pairs: usize,
    /// With at least one minimum.
    pub solved: usize,
    /// Beyond where the action passes the cutoff: density below exp(-30) of the largest.
    pub negligible: usize,
    /// Reached only by extremals that are no minima.
    pub no_minimum: usize,
    /// Beyond where the continuation failed.
    pub failed: usize,
    /// Beyond a curve that was cut off because it was too long.
    pub too_long: usize,
    /// Of those solved, pairs with more than one minimum.
    pub several: usize,
    /// Mass per start before normalisation: mean, least, largest.
    pub raw_mass: [f64; 3],
    /// Starts left out because they have no extremal at all, with the reason.
    pub lost: Vec<(f64, ExtremalError)>,
}

/// Saddle-point density at the last of `times` of a sampler with the exact score and white noise that takes the steps
/// between `times` (decreasing from t_max) with `scheme`, averaged over `starts` strata of
/// x_T (128 are plenty) and normalised for each. D = 1.
///
/// It is the density of the discrete sampler: what that has of discretisation error stays in.
///
/// # Errors
/// [`DensityError::WithoutNoise`] where there is nothing to expand in, [`DensityError::NoiseTooStrong`] where the expansion
/// fails, [`DensityError::NoExtremal`] if no start has an extremal.
pub fn white_saddle(
    problem: &Problem,
    noise: WhiteNoise,
    scheme: Scheme,
    times: &[f64],
    start: &StartDensity,
    bins: &Bins,
    starts: usize,
) -> Result<WhiteSaddle, DensityError> {
    if noise.kappa <= 0.0 && noise.churn <= 0.0 {
        return Err(DensityError::WithoutNoise);
    }
    let solver = Solver {
        steps: score_steps(problem, scheme, times, noise).ok_or(DensityError::WhiteScheme)?,
        start,
        bins,
    };
    let starts = starts.max(1);
    let half = solver.average(starts.div_ceil(2))?.result.estimate.masses;
    let Average {
        mut result,
        every_other,
        weight,
    } = solver.average(starts)?;
    let expansion = total_variation(&result.estimate.masses, &result.leading);
    if expansion > TOO_STRONG || expansion.is_nan() {
        return Err(DensityError::NoiseTooStrong {
            distance: expansion,
        });
    }
    let distance = |other: &Masses| total_variation(&result.estimate.masses, other);
    result.estimate.errors = vec![
        ("expansion", expansion),
        ("starts", distance(&half)),
        ("curve", distance(&every_other)),
        ("lost starts", 1.0 - weight),
    ];
    Ok(result)
}

/// Probability below the middle of one of `count` strata of the law of x_T, and that of the stratum. Probability grows like
/// 3 s^2 - 2 s^3 with s = 0..1 uniform, so that the tails get their share of starts.
fn stratum(i: usize, count: usize) -> (f64, f64) {
    let below = |k: f64| {
        let s = k / count as f64;
        s * s * (3.0 - 2.0 * s)
    };
    let i = i as f64;
    (below(i + 0.5), below(i + 1.0) - below(i))
}

struct Solver<'a> {
    steps: Vec<ScoreStep>,
    start: &'a StartDensity,
    bins: &'a Bins,
}

struct Average {
    result: WhiteSaddle,
    /// The density from every other extremal.
    every_other: Masses,
    /// Probability of the starts that have a density.
    weight: f64,
}

impl Solver<'_> {
    fn average(&self, starts: usize) -> Result<Average, DensityError> {
        let curves: Vec<(f64, f64, Result<ExtremalCurve, ExtremalError>)> = (0..starts)
            .into_par_iter()
            .map(|i| {
                let (u, weight) = stratum(i, starts);
                let start = self.start.quantile(u);
                (start, weight, self.curve(start))
            })
            .collect();
        let mut sum = Average {
            result: WhiteSaddle {
                estimate: Estimate {
                    masses: Masses::zero(self.bins),
                    errors: Vec::new(),
                },
                leading: Masses::zero(self.bins),
                pairs: starts * self.bins.count,
                solved: 0,
                negligible: 0,
                no_minimum: 0,
                failed: 0,
                too_long: 0,
                several: 0,
                raw_mass: [0.0, f64::INFINITY, 0.0],
                lost: Vec::new(),
            },
            every_other: Masses::zero(self.bins),
            weight: 0.0,
        };
        for (start, weight, curve) in curves {
            match curve {
                Ok(curve) => sum.add(self.bins, &curve, weight),
                Err(e) => {
                    sum.result.failed += self.bins.count;
                    sum.result.lost.push((start, e));
                }
            }
        }
        sum.normalised()
    }

    /// The extremals from one start.
    fn curve(&self, start: f64) -> Result<ExtremalCurve, ExtremalError> {
        let width = self.bins.high - self.bins.low;
        let curve = extremal_curve(
            &self.steps,
            start,
            &CurveOptions {
                splitting: Splitting::Ito,
                spacing: 0.5 * self.bins.width(),
                stride: STRIDE,
                low: self.bins.low - width,
                high: self.bins.high + width,
                cutoff: CUTOFF,
                longest: LONGEST,
            },
        )?;
        let mass = curve_masses(self.bins, &curve.nodes, 1, next_order).total();
        if mass > 0.0 && mass.is_finite() {
            Ok(curve)
        } else {
            Err(ExtremalError::NoMass)
        }
    }
}

impl Average {
    fn add(&mut self, bins: &Bins, curve: &ExtremalCurve, weight: f64) {
        self.weight += weight;
        let masses = |stride, ln_density: fn(&CurveNode) -> f64| {
            curve_masses(bins, &curve.nodes, stride, ln_density)
        };
        let next = masses(1, next_order);
        let raw = next.total();
        self.result.estimate.masses.accumulate(&next, weight / raw);
        for (sum, other) in [
            (&mut self.result.leading, masses(1, |n| n.ln_density)),
            (&mut self.every_other, masses(2, next_order)),
        ] {
            // A short curve may have nothing left of every other extremal; then that density lacks this start.
            sum.accumulate(&other, weight / other.total().max(f64::MIN_POSITIVE));
        }
        let [mean, least, largest] = &mut self.result.raw_mass;
        *mean += weight * raw;
        *least = least.min(raw);
        *largest = largest.max(raw);
        for i in 0..bins.count {
            self.classify(curve, 0.5 * (bins.edge(i) + bins.edge(i + 1)));
        }
    }

    /// Counts the pair of this curve's start and the end point `x`.
    fn classify(&mut self, curve: &ExtremalCurve, x: f64) {
        let (mut minima, mut others) = (0, 0);
        for pair in curve.nodes.windows(2) {
            if (pair[0].end <= x) != (pair[1].end <= x) {
                if pair[0].index == 0 && pair[1].index == 0 {
                    minima += 1;
                } else {
                    others += 1;
                }
            }
        }
        let result = &mut self.result;
        if minima > 0 {
            result.solved += 1;
            result.several += usize::from(minima > 1);
            return;
        }
        if others > 0 {
            result.no_minimum += 1;
            return;
        }
        let below = curve.nodes.first().is_some_and(|n| x < n.end);
        match curve.ends[usize::from(!below)] {
            CurveEnd::Unlikely | CurveEnd::OutOfRange => result.negligible += 1,
            CurveEnd::TooLong => result.too_long += 1,
            CurveEnd::Failed(_) => result.failed += 1,
        }
    }

    fn normalised(mut self) -> Result<Self, DensityError> {
        let found = self.weight;
        if let (true, Some((start, reason))) = (found == 0.0, self.result.lost.first()) {
            return Err(DensityError::NoExtremal {
                start: *start,
                reason: *reason,
            });
        }
        for masses in [
            &mut self.result.estimate.masses,
            &mut self.result.leading,
            &mut self.every_other,
        ] {
            masses.cells.iter_mut().for_each(|m| *m /= found);
        }
        self.result.raw_mass[0] /= found;
        Ok(self)
    }
}

/// The logarithm of an extremal's contribution with the next order in the exponent.
fn next_order(node: &CurveNode) -> f64 {
    node.ln_density + node.next
}

/// Mass under the minima of a curve, with ln q linear between neighbouring extremals (every `stride`-th is used).
fn curve_masses(
    bins: &Bins,
    nodes: &[CurveNode],
    stride: usize,
    ln_density: fn(&CurveNode) -> f64,
) -> Masses {
    let mut masses = Masses::zero(bins);
    let kept: Vec<&CurveNode> = nodes.iter().step_by(stride).collect();
    for pair in kept.windows(2) {
        if pair[0].index == 0 && pair[1].index == 0 {
            let (a, b) = if pair[0].end <= pair[1].end {
                (pair[0], pair[1])
            } else {
                (pair[1], pair[0])
            };
            deposit(
                bins,
                (a.end, ln_density(a)),
                (b.end, ln_density(b)),
                &mut masses,
            );
        }
    }
    masses
}

/// Adds the integral of exp of a linear function between two points, given as (x, value) with x increasing.
fn deposit(bins: &Bins, (a, at_a): (f64, f64), (b, at_b): (f64, f64), masses: &mut Masses) {
    let slope = (at_b - at_a) / (b - a);
    let last = bins.cell(b);
    let (mut x, mut value) = (a, at_a);
    for cell in bins.cell(a)..=last {
        let (next, next_value) = if cell == last {
            (b, at_b)
        } else {
            // Cell k ends at edge k.
            (bins.edge(cell), at_a + slope * (bins.edge(cell) - a))
        };
        masses.cells[cell] += (next - x) * mean_exponential(value, next_value);
        (x, value) = (next, next_value);
    }
}

/// Mean of exp over the interval between `a` and `b`.
fn mean_exponential(a: f64, b: f64) -> f64 {
    let half = 0.5 * (b - a);
    let shape = if half.abs() < 1e-4 {
        1.0 + half * half / 6.0
    } else {
        half.sinh() / half
    };
    (0.5 * (a + b)).exp() * shape
}
