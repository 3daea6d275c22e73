//! Composite Gauss-Legendre quadrature on panels whose length follows the integrand's local scale.

use gauss_quad::GaussLegendre;

/// Nodes per panel: exact for polynomials of degree 15 on each.
const NODES: usize = 8;

/// Nodes and weights of a composite rule.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    pub nodes: Vec<f64>,
    pub weights: Vec<f64>,
}

/// The 8-point Gauss-Legendre rule on [-1, 1], in increasing order of nodes.
fn reference() -> Vec<(f64, f64)> {
    let rule = GaussLegendre::new(
        std::num::NonZeroUsize::new(NODES).unwrap_or(std::num::NonZeroUsize::MIN),
    );
    let mut pairs: Vec<(f64, f64)> = rule.iter().map(|(x, w)| (*x, *w)).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    pairs
}

impl Rule {
    /// Nodes that one panel gets at level 0.
    pub fn nodes_per_panel() -> usize {
        NODES
    }

    /// One panel per pair of neighbouring edges, each cut into `2^level` equal parts.
    pub fn composite(edges: &[(f64, f64)], level: u32) -> Self {
        let reference = reference();
        let parts = 1usize << level;
        let mut rule = Self::default();
        for &(low, high) in edges {
            let width = (high - low) / parts as f64;
            for part in 0..parts {
                let middle = low + width * (part as f64 + 0.5);
                for (z, w) in &reference {
                    rule.nodes.push(middle + 0.5 * width * z);
                    rule.weights.push(0.5 * width * w);
                }
            }
        }
        rule
    }
}

/// Panels of `low..=high` that double in length from `first` on until they reach `longest`.
pub fn graded(low: f64, high: f64, first: f64, longest: f64) -> Vec<(f64, f64)> {
    let mut panels = Vec::new();
    let (mut start, mut length) = (low, first.min(longest));
    while start < high {
        let mut end = start + length;
        // No sliver at the end.
        if end + 0.25 * length > high {
            end = high;
        }
        panels.push((start, end));
        start = end;
        length = (2.0 * length).min(longest);
    }
    panels
}

/// Union of intervals, sorted and disjoint.
pub fn union(mut intervals: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    intervals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut merged: Vec<(f64, f64)> = Vec::with_capacity(intervals.len());
    for (low, high) in intervals {
        match merged.last_mut() {
            Some(last) if low <= last.1 => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    merged
}
