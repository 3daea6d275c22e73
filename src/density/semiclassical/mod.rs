//! Gaussian fluctuations around the mean path, and their back-reaction on mean and variance (theory section 6;
//! derivations/06-semiclassical.md and 15-loop-corrections.md).

mod cloud;
mod loops;
mod smear;
mod tangents;

pub use cloud::semiclassical_cloud;
pub use loops::{LARGE_PARAMETER, LoopTerms, loop_terms};
pub use tangents::{FlowTangents, flow_tangents};

use super::{Bins, DensityError, Estimate};
use crate::family::Linear;
use crate::numerics::linalg;
use crate::problem::Problem;
use crate::sampler::PfOde;
use crate::statistics::WeightStatistics;

/// Stratified starts of the mean paths.
const NODES: usize = 1024;

/// The semiclassical density with what its diagnostics need.
#[derive(Debug, Clone)]
pub struct Semiclassical {
    pub estimate: Estimate,
    /// Largest standard deviation of x_0 over the starts.
    pub largest_std: f64,
    /// Present when corrections were asked for.
    pub loops: Option<LoopReport>,
}

/// Where V is too large for the loop corrections, and how large they are.
#[derive(Debug, Clone, PartialEq)]
pub struct LoopReport {
    /// Probability of the x_T whose corrections are refused: [`LoopTerms::parameter`] above [`LARGE_PARAMETER`].
    pub refused: f64,
    /// Those x_T, as intervals in increasing order.
    pub refused_between: Vec<(f64, f64)>,
    /// Largest |mean correction| / standard deviation, over the starts where it is finite.
    pub largest_mean_correction: f64,
    /// Largest |variance correction| / variance, likewise.
    pub largest_variance_correction: f64,
    /// Largest |skewness| of x_0 at leading order, likewise.
    pub largest_skewness: f64,
}

/// Gaussians around the mean paths, x_0 of every start with its variance.
struct Fluctuations {
    centres: Vec<f64>,
    variances: Vec<f64>,
}

/// Gaussian of mean x_0(x_T) and variance J Cov(W) J^T around every mean path, averaged over x_T. With
/// `one_loop` both carry their first correction in V wherever the expansion holds ([`LoopTerms::holds`]).
pub fn semiclassical(
    problem: &Problem,
    family: &Linear,
    flow: &PfOde,
    weights: &WeightStatistics,
    one_loop: bool,
    bins: &Bins,
) -> Result<Semiclassical, DensityError> {
    let starts: Vec<f64> = flow.start().strata(NODES).collect();
    let mut around = Fluctuations::leading(problem, family, flow, weights, &starts)?;
    let loops = if one_loop {
        let terms = loop_terms(problem, family, flow, weights, &starts)?;
        around.correct(&terms);
        Some(LoopReport::new(&starts, &terms))
    } else {
        None
    };
    let stds: Vec<f64> = around.variances.iter().map(|v| v.sqrt()).collect();
    let masses = smear::smear(bins, &around.centres, &stds, 1);
    let coarse = smear::smear(bins, &around.centres, &stds, 2);
    let change = crate::compare::total_variation(&masses, &coarse);
    Ok(Semiclassical {
        estimate: Estimate {
            masses,
            errors: vec![("starts", change)],
        },
        largest_std: stds.iter().copied().fold(0.0, f64::max),
        loops,
    })
}

impl Fluctuations {
    /// Leading order in V.
    fn leading(
        problem: &Problem,
        family: &Linear,
        flow: &PfOde,
        weights: &WeightStatistics,
        starts: &[f64],
    ) -> Result<Self, DensityError> {
        let FlowTangents { end, tangent } = flow_tangents(problem, family, flow, weights, starts)?;
        let spread = linalg::multiply(linalg::view(&weights.covariance), linalg::view(&tangent));
        let variances = spread
            .column_iter()
            .zip(tangent.column_iter())
            .map(|(s, t)| s.dot(&t).max(0.0))
            .collect();
        Ok(Self {
            centres: end,
            variances,
        })
    }

    /// Adds the next order where it is small.
    fn correct(&mut self, terms: &[LoopTerms]) {
        let own = self.centres.iter_mut().zip(&mut self.variances);
        for ((centre, variance), term) in own.zip(terms).filter(|(_, term)| term.holds()) {
            *centre += term.mean_correction;
            *variance = (*variance + term.variance_correction()).max(0.0);
        }
    }
}

impl LoopReport {
    fn new(starts: &[f64], terms: &[LoopTerms]) -> Self {
        let largest = |size: &dyn Fn(&LoopTerms) -> f64| {
            let sizes = terms.iter().map(size).filter(|s| s.is_finite());
            sizes.fold(0.0, f64::max)
        };
        let refused = terms.iter().filter(|t| !t.holds()).count();
        Self {
            refused: refused as f64 / terms.len() as f64,
            refused_between: refused_intervals(starts, terms),
            largest_mean_correction: largest(&|t| t.mean_correction.abs() / t.variance.sqrt()),
            largest_variance_correction: largest(&|t| t.variance_correction().abs() / t.variance),
            largest_skewness: largest(&|t| t.skewness().abs()),
        }
    }
}

/// First and last of every run of neighbouring starts that are refused.
fn refused_intervals(starts: &[f64], terms: &[LoopTerms]) -> Vec<(f64, f64)> {
    let mut intervals: Vec<(f64, f64)> = Vec::new();
    let mut inside = false;
    for (&x, term) in starts.iter().zip(terms) {
        match (term.holds(), inside, intervals.last_mut()) {
            (false, true, Some(last)) => last.1 = x,
            (false, _, _) => intervals.push((x, x)),
            _ => {}
        }
        inside = !term.holds();
    }
    intervals
}
