//! The density that one deterministic map x_T -> x_0 makes of the law of x_T.

use super::{Bins, Masses};
use crate::family::Denoiser;
use crate::problem::StartDensity;
use crate::sampler::{PfOde, SamplerError};

/// How finely the map is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refinement {
    /// Stratified quantiles of x_T to start with.
    pub quantiles: usize,
    /// Rounds in which every stretch that is mapped to more than a bin is cut in four.
    pub rounds: usize,
}

impl Refinement {
    /// For one field whose density is wanted to high accuracy.
    pub const SINGLE: Self = Self {
        quantiles: 2048,
        rounds: 7,
    };

    /// For each member of an ensemble of fields.
    pub fn ensemble(quantiles: usize) -> Self {
        Self {
            quantiles,
            rounds: 3,
        }
    }
}

/// A trajectory by its start (as probability and as position) and its end.
#[derive(Debug, Clone, Copy)]
struct Node {
    u: f64,
    start: f64,
    end: f64,
}

/// The push-forward of one field.
#[derive(Debug, Clone)]
pub struct PushForward {
    pub masses: Masses,
    /// Bound on the misplaced mass: half of what still sits on stretches mapped across a whole bin.
    pub unresolved: f64,
    /// Does the map fold (x_0 not monotone in x_T)? The exact flow never does; a large Euler step can.
    pub folds: bool,
}

impl PushForward {
    /// Integrates stratified quantiles of x_T, refines where the map is steep (basin boundaries),
    /// and spreads the mass between neighbouring trajectories evenly between their ends.
    pub fn new<M: Denoiser + ?Sized>(
        flow: &PfOde,
        model: &M,
        bins: &Bins,
        refinement: Refinement,
    ) -> Result<Self, SamplerError> {
        let mut nodes = integrate(
            flow,
            model,
            &start_nodes(flow.start(), refinement.quantiles),
        )?;
        for _ in 0..refinement.rounds {
            let added = cuts(&nodes, bins, flow.start());
            if added.is_empty() {
                break;
            }
            nodes.extend(integrate(flow, model, &added)?);
            nodes.sort_by(|a, b| a.u.total_cmp(&b.u));
        }
        Ok(Self::collect(&nodes, bins))
    }

    fn collect(nodes: &[Node], bins: &Bins) -> Self {
        let mut masses = Masses::zero(bins);
        let (mut unresolved, mut folds) = (0.0, false);
        for pair in nodes.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            masses.spread(bins, a.end, b.end, b.u - a.u);
            folds |= b.end < a.end - 1e-12 * a.end.abs();
            if is_steep(&a, &b, bins) {
                unresolved += 0.5 * (b.u - a.u);
            }
        }
        // Beyond the outermost trajectories there is next to nothing; it stays with them.
        if let (Some(first), Some(last)) = (nodes.first(), nodes.last()) {
            masses.cells[bins.cell(first.end)] += first.u;
            masses.cells[bins.cell(last.end)] += 1.0 - last.u;
        }
        Self {
            masses,
            unresolved,
            folds,
        }
    }
}

/// Is a stretch mapped across at least one whole bin (within the range)?
fn is_steep(a: &Node, b: &Node, bins: &Bins) -> bool {
    bins.cell(a.end).abs_diff(bins.cell(b.end)) > 1
}

/// Stratified quantiles, with a few more into each tail.
fn start_nodes(law: &StartDensity, quantiles: usize) -> Vec<(f64, f64)> {
    let first = 0.5 / quantiles as f64;
    let tail = [512.0, 64.0, 8.0].map(|f| first / f);
    let middle = (0..quantiles).map(|i| (i as f64 + 0.5) / quantiles as f64);
    let lower = tail.iter().map(|&u| (u, law.quantile(u)));
    let upper = tail.iter().rev().map(|&u| (1.0 - u, law.upper_quantile(u)));
    lower
        .chain(middle.map(|u| (u, law.quantile(u))))
        .chain(upper)
        .collect()
}

/// Three new starts inside every steep stretch.
fn cuts(nodes: &[Node], bins: &Bins, law: &StartDensity) -> Vec<(f64, f64)> {
    let mut starts = Vec::new();
    for pair in nodes.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        if is_steep(a, b, bins) {
            for f in [0.25, 0.5, 0.75] {
                let start = a.start + f * (b.start - a.start);
                let u = law.cdf(start);
                if a.u < u && u < b.u {
                    starts.push((u, start));
                }
            }
        }
    }
    starts
}

fn integrate<M: Denoiser + ?Sized>(
    flow: &PfOde,
    model: &M,
    starts: &[(f64, f64)],
) -> Result<Vec<Node>, SamplerError> {
    let mut x: Vec<f64> = starts.iter().map(|s| s.1).collect();
    flow.flow(model, &mut x)?;
    Ok(starts
        .iter()
        .zip(x)
        .map(|(&(u, start), end)| Node { u, start, end })
        .collect())
}
