//! Numbers of many points side by side.

use super::Points;

/// Points treated together: a dozen numbers of each stay in first-level cache.
pub(super) const BLOCK: usize = 32;

/// One number per point of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(align(64))]
pub(super) struct Lane(pub [f64; BLOCK]);

impl Lane {
    pub(super) const ZERO: Self = Self([0.0; BLOCK]);
}

/// One number per point, in blocks; beyond the last point there are zeros.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table(Vec<Lane>);

impl Table {
    pub(super) fn new(len: usize, value: impl Fn(usize) -> f64) -> Self {
        let mut lanes = vec![Lane::ZERO; len.div_ceil(BLOCK)];
        for i in 0..len {
            lanes[i / BLOCK].0[i % BLOCK] = value(i);
        }
        Self(lanes)
    }

    #[inline(always)]
    pub(super) fn lane(&self, block: usize) -> &[f64; BLOCK] {
        &self.0[block].0
    }

    #[inline(always)]
    pub(super) fn at(&self, i: usize) -> f64 {
        self.0[i / BLOCK].0[i % BLOCK]
    }
}

/// A block of points a against one point b.
#[derive(Clone, Copy)]
pub(super) struct Pairs<'a> {
    pub a: &'a Points,
    pub block: usize,
    pub b: &'a Points,
    pub column: usize,
}

impl Pairs<'_> {
    /// Points of the block; at most [`BLOCK`].
    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        (self.a.len() - self.block * BLOCK).min(BLOCK)
    }
}

/// A kernel at the pairs. Its gradient with respect to the inputs u of a is across (u - v) + along u, with the vectors u, v that
/// the kernel keeps for its points: the form that does not cancel where points coincide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub value: Lane,
    pub across: Lane,
    pub along: Lane,
}

impl Slot {
    pub(super) const ZERO: Self = Self {
        value: Lane::ZERO,
        across: Lane::ZERO,
        along: Lane::ZERO,
    };
}
