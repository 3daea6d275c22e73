//! Matrices of a kernel and sums over its second point, on all threads. Chunks are fixed and sums run in the order of the points,
//! so results do not depend on the number of threads.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::lanes::{BLOCK, Lane, Pairs};
use super::{Kernel, Points};

/// Columns of a matrix that one task fills: the tables of a block of rows are read that often in a row.
const PANEL: usize = 32;

impl Kernel {
    /// K(a_i, b_j) into `out[j * a.len() + i]`: column-major, rows a. `out` has `a.len() * b.len()` numbers.
    pub fn matrix(&self, a: &Points, b: &Points, out: &mut [f64]) {
        if a.is_empty() {
            return;
        }
        let panels = out.par_chunks_mut(PANEL * a.len()).enumerate();
        panels.for_each(|(panel, out)| {
            Arch::new().dispatch(Panel {
                kernel: self,
                a,
                b,
                first: panel * PANEL,
                from_block: 0,
                out,
            });
        });
    }

    /// K(a_i, a_j) into `out`, n x n and exactly symmetric, with half the evaluations of [`Self::matrix`].
    pub fn gram(&self, a: &Points, out: &mut [f64]) {
        let n = a.len();
        if n == 0 {
            return;
        }
        let panels = out.par_chunks_mut(PANEL * n).enumerate();
        panels.for_each(|(panel, out)| {
            Arch::new().dispatch(Panel {
                kernel: self,
                a,
                b: a,
                first: panel * PANEL,
                from_block: panel * PANEL / BLOCK,
                out,
            });
        });
        mirror(n, out);
    }

    /// K(a_i, a_i).
    pub fn diagonal(&self, a: &Points) -> Vec<f64> {
        let mut out = vec![0.0; a.len()];
        out.par_chunks_mut(BLOCK)
            .enumerate()
            .for_each(|(block, out)| {
                Arch::new().dispatch(Diagonal {
                    kernel: self,
                    a,
                    block,
                    out,
                });
            });
        out
    }

    /// `out[o * a.len() + i] = sum_j weights[o * b.len() + j] K(a_i, b_j)`, without a matrix in memory.
    pub fn combine(&self, a: &Points, b: &Points, weights: &[f64], out: &mut [f64]) {
        self.sums::<false>(a, b, weights, out, &mut []);
    }

    /// The same, and its exact derivatives along the D coordinates of a: `gradient[(o * D + c) * a.len() + i]`. Where a kernel has
    /// a kink (Matern 1/2 and ReLU networks at coinciding points) its own derivative is the mean over the two sides, 0 for
    /// the part with the kink.
    pub fn combine_with_gradient(
        &self,
        a: &Points,
        b: &Points,
        weights: &[f64],
        out: &mut [f64],
        gradient: &mut [f64],
    ) {
        self.sums::<true>(a, b, weights, out, gradient);
    }

    fn sums<const SLOPES: bool>(
        &self,
        a: &Points,
        b: &Points,
        weights: &[f64],
        out: &mut [f64],
        gradient: &mut [f64],
    ) {
        if a.is_empty() || b.is_empty() {
            out.fill(0.0);
            gradient.fill(0.0);
            return;
        }
        let outputs = weights.len() / b.len();
        let blocks: Vec<Vec<Lane>> = (0..a.len().div_ceil(BLOCK))
            .into_par_iter()
            .map(|block| {
                let sums = Sums::<SLOPES> {
                    kernel: self,
                    a,
                    block,
                    b,
                    weights,
                    outputs,
                };
                Arch::new().dispatch(sums)
            })
            .collect();
        for (block, sums) in blocks.iter().enumerate() {
            let start = block * BLOCK;
            let used = start..a.len().min(start + BLOCK);
            let rows = out.chunks_exact_mut(a.len());
            let slopes = gradient.chunks_exact_mut(a.len());
            for (row, sum) in rows.chain(slopes).zip(sums) {
                row[used.clone()].copy_from_slice(&sum.0[..used.len()]);
            }
        }
    }
}

/// Some columns of a matrix, from a block of rows on.
struct Panel<'a> {
    kernel: &'a Kernel,
    a: &'a Points,
    b: &'a Points,
    first: usize,
    from_block: usize,
    out: &'a mut [f64],
}

impl WithSimd for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let n = self.a.len();
        let mut scratch = self.kernel.tree.scratch();
        for block in self.from_block..n.div_ceil(BLOCK) {
            for (j, column) in self.out.chunks_exact_mut(n).enumerate() {
                let pairs = Pairs {
                    a: self.a,
                    block,
                    b: self.b,
                    column: self.first + j,
                };
                let values = self.kernel.tree.evaluate::<false>(&pairs, &mut scratch);
                let count = pairs.count();
                column[block * BLOCK..][..count].copy_from_slice(&values.0[..count]);
            }
        }
    }
}

/// A block of the diagonal: every point against itself.
struct Diagonal<'a> {
    kernel: &'a Kernel,
    a: &'a Points,
    block: usize,
    out: &'a mut [f64],
}

impl WithSimd for Diagonal<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let mut scratch = self.kernel.tree.scratch();
        for (k, out) in self.out.iter_mut().enumerate() {
            let pairs = Pairs {
                a: self.a,
                block: self.block,
                b: self.a,
                column: self.block * BLOCK + k,
            };
            *out = self.kernel.tree.evaluate::<false>(&pairs, &mut scratch).0[k];
        }
    }
}

/// Sums over all of b for a block of a: per output the value, then (with `SLOPES`) per output the derivatives along all coordinates.
struct Sums<'a, const SLOPES: bool> {
    kernel: &'a Kernel,
    a: &'a Points,
    block: usize,
    b: &'a Points,
    weights: &'a [f64],
    outputs: usize,
}

impl<const SLOPES: bool> WithSimd for Sums<'_, SLOPES> {
    type Output = Vec<Lane>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<Lane> {
        let (kernel, count) = (self.kernel, self.b.len());
        let dim = if SLOPES { kernel.dim() } else { 0 };
        let mut sums = vec![Lane::ZERO; self.outputs * (1 + dim)];
        let (values, slopes) = sums.split_at_mut(self.outputs);
        let mut scratch = kernel.tree.scratch();
        for column in 0..count {
            let pairs = Pairs {
                a: self.a,
                block: self.block,
                b: self.b,
                column,
            };
            let value = kernel.tree.evaluate::<SLOPES>(&pairs, &mut scratch);
            let weight = |o: usize| self.weights[o * count + column];
            for (o, sum) in values.iter_mut().enumerate() {
                add(weight(o), value, sum);
            }
            for c in 0..dim {
                let mut slope = Lane::ZERO;
                for (index, leaf) in kernel.tree.leaves.iter().enumerate() {
                    if leaf.sees(c) {
                        let (slot, rate) = (&scratch.slots[index], &scratch.leaf_rates[index]);
                        leaf.add_slope(c, index, &pairs, slot, rate, &mut slope);
                    }
                }
                for o in 0..self.outputs {
                    add(
                        kernel.embedding().scale() * weight(o),
                        &slope,
                        &mut slopes[o * dim + c],
                    );
                }
            }
        }
        sums
    }
}

#[inline(always)]
fn add(weight: f64, value: &Lane, sum: &mut Lane) {
    for k in 0..BLOCK {
        sum.0[k] = weight.mul_add(value.0[k], sum.0[k]);
    }
}

/// Copies the lower triangle of a column-major n x n matrix onto the upper one.
fn mirror(n: usize, matrix: &mut [f64]) {
    for first in (0..n).step_by(PANEL) {
        let (done, rest) = matrix.split_at_mut(first * n);
        let columns = &mut rest[..PANEL.min(n - first) * n];
        // Inside the square on the diagonal both halves belong to these columns.
        for i in 0..columns.len() / n {
            for j in 0..i {
                columns[i * n + first + j] = columns[j * n + first + i];
            }
        }
        columns
            .par_chunks_mut(n)
            .enumerate()
            .for_each(|(j, column)| {
                for (i, out) in column[..first].iter_mut().enumerate() {
                    *out = done[i * n + first + j];
                }
            });
    }
}
