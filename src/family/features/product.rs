//! Sums of product features at many points: sum over j1 .. jD of w[j1, .., jD] phi_j1(x1) .. phi_jD(xD).

use pulp::{Arch, Simd, WithSimd};

use super::Factor;
use super::block::{BLOCK, BlockFactor, Lane};
use crate::numerics::elementary::exp;

/// Largest number of rows of weights contracted together: with two vectors of points, a row's two sums, the points' values and a
/// weight fill the 16 registers of AVX2, and a load serves almost two multiplications.
const ROWS: usize = 6;
/// Vectors of points contracted together.
const VECTORS: usize = 2;

/// `out[o * n + k] = sum_s weights[o * F_x + s] phi_s(x_k)`; `x` coordinate-major, `weights` output-major.
pub(super) fn contract(factors: &[Factor], weights: &[f64], x: &[f64], out: &mut [f64]) {
    let factors: Vec<BlockFactor<'_>> = factors.iter().map(BlockFactor::new).collect();
    let packed = pack(&factors, weights);
    Arch::new().dispatch(Contraction {
        factors: &factors,
        packed: &packed,
        x,
        out,
    });
}

/// The weights with the factors' scales, in the order in which they are read: rows (those of the last factor) in groups, each
/// group's first columns first.
fn pack(factors: &[BlockFactor<'_>], weights: &[f64]) -> Vec<f64> {
    let scales = factors
        .iter()
        .fold(vec![1.0], |all, f| super::kronecker(&all, &f.scales()));
    let (columns, rows) = last_two(factors);
    let scaled: Vec<f64> = weights
        .chunks_exact(scales.len())
        .flat_map(|w| w.iter().zip(&scales).map(|(w, s)| w * s))
        .collect();
    let mut packed = Vec::with_capacity(scaled.len());
    for matrix in scaled.chunks_exact(columns * rows) {
        let mut first = 0;
        for size in groups(rows) {
            for j in 0..columns {
                packed.extend((first..first + size).map(|r| matrix[r * columns + j]));
            }
            first += size;
        }
    }
    packed
}

/// Number of features of the last factor, and of the one before it.
fn last_two(factors: &[BlockFactor<'_>]) -> (usize, usize) {
    let mut sizes = factors.iter().rev().map(BlockFactor::len);
    (sizes.next().unwrap_or(1), sizes.next().unwrap_or(1))
}

/// Sizes of the groups, as equal as they can be.
#[inline(always)]
fn groups(rows: usize) -> impl Iterator<Item = usize> {
    let count = rows.div_ceil(ROWS);
    (0..count).map(move |i| rows / count + usize::from(i < rows % count))
}

struct Contraction<'a> {
    factors: &'a [BlockFactor<'a>],
    packed: &'a [f64],
    x: &'a [f64],
    out: &'a mut [f64],
}

impl WithSimd for Contraction<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let points = self.x.len() / self.factors.len();
        if points == 0 {
            return;
        }
        let mut block = Block::new(self.factors);
        let full = points / BLOCK * BLOCK;
        let mut contraction = self;
        for start in (0..full).step_by(BLOCK) {
            contraction.block(simd, &mut block, start, BLOCK, BLOCK);
        }
        let used = points - full;
        if used > 0 {
            let count = used.next_multiple_of(VECTORS * S::F64_LANES);
            contraction.block(simd, &mut block, full, used, count);
        }
    }
}

impl<'a> Contraction<'a> {
    /// The `used` points from `start`; `count` are they rounded up to whole vectors. Inlined twice: a whole block's loops have
    /// fixed lengths.
    #[inline(always)]
    fn block<S: Simd>(
        &mut self,
        simd: S,
        block: &mut Block<'a>,
        start: usize,
        used: usize,
        count: usize,
    ) {
        let points = self.x.len() / self.factors.len();
        let share = self.packed.len() / (self.out.len() / points);
        block.fill(simd, self.x, start, used, count);
        for (o, packed) in self.packed.chunks_exact(share).enumerate() {
            block.sum(simd, packed, count);
            let out = &mut self.out[o * points + start..][..used];
            for ((out, sum), e) in out.iter_mut().zip(&block.sum.0).zip(&block.exponential.0) {
                *out = sum * e;
            }
        }
    }
}

/// The factors at a block of points.
struct Block<'a> {
    factors: &'a [BlockFactor<'a>],
    shared: bool,
    /// Of all factors one after another.
    values: Vec<Lane>,
    exponential: Lane,
    sum: Lane,
}

impl<'a> Block<'a> {
    fn new(factors: &'a [BlockFactor<'a>]) -> Self {
        Self {
            factors,
            shared: BlockFactor::share_exponents(factors),
            values: vec![Lane::ZERO; factors.iter().map(BlockFactor::len).sum()],
            exponential: Lane::ONE,
            sum: Lane::ZERO,
        }
    }

    /// Evaluates all factors at `used` points from `start`.
    #[inline(always)]
    fn fill<S: Simd>(&mut self, simd: S, x: &[f64], start: usize, used: usize, count: usize) {
        let points = x.len() / self.factors.len();
        let mut total = Lane::ZERO;
        let mut rest = &mut self.values[..];
        for (factor, x) in self.factors.iter().zip(x.chunks_exact(points)) {
            let (own, others) = rest.split_at_mut(factor.len());
            rest = others;
            let mut lane = Lane::ZERO;
            lane.0[..used].copy_from_slice(&x[start..start + used]);
            factor.values(simd, &lane, count, own, &mut total);
            if factor.has_exponent() && !self.shared {
                for e in &mut total.0[..count] {
                    *e = exp(*e);
                }
                for lane in own {
                    for (v, e) in lane.0[..count].iter_mut().zip(&total.0) {
                        *v *= e;
                    }
                }
                total = Lane::ZERO;
            }
        }
        if self.shared && self.factors.iter().any(BlockFactor::has_exponent) {
            for k in 0..count {
                self.exponential.0[k] = exp(total.0[k]);
            }
        }
    }

    /// The sum of one output, without the common exponential: the matrix of the last two factors by the registers, the factors
    /// before them one product at a time.
    #[inline(always)]
    fn sum<S: Simd>(&mut self, simd: S, packed: &[f64], count: usize) {
        let (columns, rows) = last_two(self.factors);
        let (before, inner) = self.values.split_at(self.values.len() - columns);
        let (before, outer) = before.split_at(before.len().saturating_sub(rows));
        let outer = if outer.is_empty() {
            &[Lane::ONE][..]
        } else {
            outer
        };
        let leading = &self.factors[..self.factors.len().saturating_sub(2)];
        self.sum = Lane::ZERO;
        if leading.is_empty() {
            return matrix(simd, packed, outer, inner, count, &mut self.sum);
        }
        for (index, packed) in packed.chunks_exact(columns * rows).enumerate() {
            let mut part = Lane::ZERO;
            matrix(simd, packed, outer, inner, count, &mut part);
            let (mut index, mut end) = (index, before.len());
            for factor in leading.iter().rev() {
                end -= factor.len();
                let value = &before[end + index % factor.len()];
                index /= factor.len();
                for (p, v) in part.0[..count].iter_mut().zip(&value.0) {
                    *p *= v;
                }
            }
            for (s, p) in self.sum.0[..count].iter_mut().zip(&part.0) {
                *s += p;
            }
        }
    }
}

/// Adds sum over r, j of w[r, j] outer_r inner_j.
#[inline(always)]
fn matrix<S: Simd>(
    simd: S,
    packed: &[f64],
    outer: &[Lane],
    inner: &[Lane],
    count: usize,
    sum: &mut Lane,
) {
    let (mut packed, mut outer) = (packed, outer);
    for size in groups(outer.len()) {
        let (panel, others) = packed.split_at(size * inner.len());
        let (rows, after) = outer.split_at(size);
        (packed, outer) = (others, after);
        match size {
            1 => group::<S, 1>(simd, panel, rows, inner, count, sum),
            2 => group::<S, 2>(simd, panel, rows, inner, count, sum),
            3 => group::<S, 3>(simd, panel, rows, inner, count, sum),
            4 => group::<S, 4>(simd, panel, rows, inner, count, sum),
            5 => group::<S, 5>(simd, panel, rows, inner, count, sum),
            _ => group::<S, ROWS>(simd, panel, rows, inner, count, sum),
        }
    }
}

/// The same for R rows, which stay in registers.
#[inline(always)]
fn group<S: Simd, const R: usize>(
    simd: S,
    panel: &[f64],
    outer: &[Lane],
    inner: &[Lane],
    count: usize,
    sum: &mut Lane,
) {
    let (weights, _) = panel.as_chunks::<R>();
    let (sums, _) = S::as_mut_simd_f64s(&mut sum.0[..count]);
    let (tiles, _) = sums.as_chunks_mut::<VECTORS>();
    for (tile, sums) in tiles.iter_mut().enumerate() {
        let vectors = |lane: &Lane| {
            let (v, _) = S::as_simd_f64s(&lane.0);
            [v[VECTORS * tile], v[VECTORS * tile + 1]]
        };
        let mut rows = [[simd.splat_f64s(0.0); VECTORS]; R];
        // Two columns a turn: the loop's own instructions would cost a tenth otherwise.
        let (pairs, last) = weights.as_chunks::<2>();
        let (lanes, rest) = inner.as_chunks::<2>();
        for ([w1, w2], [lane1, lane2]) in pairs.iter().zip(lanes) {
            rows = column(simd, rows, w1, vectors(lane1));
            rows = column(simd, rows, w2, vectors(lane2));
        }
        if let ([w], [lane]) = (last, rest) {
            rows = column(simd, rows, w, vectors(lane));
        }
        let mut total = *sums;
        for (row, lane) in rows.iter().zip(outer) {
            for ((s, r), v) in total.iter_mut().zip(row).zip(vectors(lane)) {
                *s = simd.mul_add_f64s(*r, v, *s);
            }
        }
        *sums = total;
    }
}

/// Adds one column's products to the rows' sums.
#[inline(always)]
fn column<S: Simd, const R: usize>(
    simd: S,
    mut rows: [[S::f64s; VECTORS]; R],
    weights: &[f64; R],
    values: [S::f64s; VECTORS],
) -> [[S::f64s; VECTORS]; R] {
    for (row, w) in rows.iter_mut().zip(weights) {
        let w = simd.splat_f64s(*w);
        for (s, v) in row.iter_mut().zip(values) {
            *s = simd.mul_add_f64s(w, v, *s);
        }
    }
    rows
}
