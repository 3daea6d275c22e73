//! What one kernel of the tree keeps of its points.

use super::lanes::{BLOCK, Pairs, Table};

/// What a leaf keeps of its points.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LeafPoints {
    /// The vectors in which gradients are written, one table per component.
    pub vectors: Vec<Table>,
    /// Other numbers of each point.
    pub tables: Vec<Table>,
}

/// Hands over every component of the block's vectors and of the one beside it.
#[inline(always)]
pub(super) fn components(index: usize, pairs: &Pairs, mut receive: impl FnMut(&[f64; BLOCK], f64)) {
    let (a, b) = (&pairs.a.leaves[index], &pairs.b.leaves[index]);
    for (u, v) in a.vectors.iter().zip(&b.vectors) {
        receive(u.lane(pairs.block), v.at(pairs.column));
    }
}
