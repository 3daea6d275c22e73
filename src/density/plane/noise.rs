//! Backward-Euler steps of dq/dtau = (1/2) d_i d_j [a_ij q] in the plane, split by lattice direction.
//!
//! Every cell's covariance is a sum over lattice offsets e with non-negative weights, so the generator is one of jumps
//! between cells c - e, c, c + e. Along one offset the cells fall into lines, and the implicit step is a tridiagonal
//! system on each: its matrix has unit column sums and a non-negative inverse. Jumps that would leave the grid are left out.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::lattice::{Offset, Symmetric, decompose};

/// A jump rate that moves less than this share of a cell's mass is rounding.
const NEGLIGIBLE: f64 = 1e-17;

/// The jumps out of every cell at one time, by offset.
pub struct Jumps {
    rows: usize,
    columns: usize,
    /// Per offset: the cells that jump along it, ascending, with the rate 1/2 weight.
    by_offset: Vec<(Offset, Vec<(usize, f64)>)>,
}

/// Working memory of one grid.
pub struct Scratch {
    /// Rate times duration along one offset; zero between uses.
    rates: Vec<f64>,
    line: Vec<usize>,
    pivots: Vec<f64>,
}

impl Scratch {
    /// For a grid of `cells` cells.
    pub fn new(cells: usize) -> Self {
        Self {
            rates: vec![0.0; cells],
            line: Vec::new(),
            pivots: Vec::new(),
        }
    }
}

impl Jumps {
    /// `covariances(i)` are the noises a per unit time at the centres of the cells of row i; `widths` are the cells'; `duration`
    /// the longest step that will be taken. Offsets are limited to `reach` cells.
    pub fn new(
        shape: [usize; 2],
        widths: [f64; 2],
        reach: i32,
        duration: f64,
        covariances: impl Fn(usize) -> Vec<Symmetric> + Sync,
    ) -> Self {
        let [rows, columns] = shape;
        let scale = [
            1.0 / (widths[0] * widths[0]),
            1.0 / (widths[0] * widths[1]),
            1.0 / (widths[1] * widths[1]),
        ];
        let found: Vec<Vec<(Offset, usize, f64)>> = (0..rows)
            .into_par_iter()
            .map(|i| {
                let mut row = Vec::new();
                for (j, a) in covariances(i).into_iter().enumerate() {
                    let half = 0.5 * (a[0] + a[2]);
                    let isotropic = [half * scale[0], half * scale[2]];
                    if duration * (isotropic[0] + isotropic[1]) < NEGLIGIBLE {
                        continue;
                    }
                    let a = [a[0] * scale[0], a[1] * scale[1], a[2] * scale[2]];
                    for (offset, weight) in decompose(a, isotropic, reach) {
                        if 0.5 * duration * weight > NEGLIGIBLE {
                            row.push((offset, i * columns + j, 0.5 * weight));
                        }
                    }
                }
                row
            })
            .collect();
        let mut by_offset = BTreeMap::<Offset, Vec<(usize, f64)>>::new();
        for (offset, cell, rate) in found.into_iter().flatten() {
            by_offset.entry(offset).or_default().push((cell, rate));
        }
        Self {
            rows,
            columns,
            by_offset: by_offset.into_iter().collect(),
        }
    }

    /// Spreads `masses` for `duration`: every offset in turn for half of it, then in the opposite order, `substeps` times.
    pub fn spread(
        &self,
        duration: f64,
        substeps: usize,
        masses: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let half = 0.5 * duration / substeps as f64;
        for _ in 0..substeps {
            for (offset, cells) in &self.by_offset {
                self.along(*offset, cells, half, masses, scratch);
            }
            for (offset, cells) in self.by_offset.iter().rev() {
                self.along(*offset, cells, half, masses, scratch);
            }
        }
    }

    /// One implicit step along one offset.
    fn along(
        &self,
        offset: Offset,
        cells: &[(usize, f64)],
        duration: f64,
        masses: &mut [f64],
        scratch: &mut Scratch,
    ) {
        for &(cell, rate) in cells {
            scratch.rates[cell] = duration * rate;
        }
        for &(cell, _) in cells {
            let before = self.neighbour(cell, offset, -1);
            // A line starts where the cell before it does not jump.
            if before.is_none_or(|c| scratch.rates[c] == 0.0) {
                self.solve_line(cell, before, offset, masses, scratch);
            }
        }
        for &(cell, _) in cells {
            scratch.rates[cell] = 0.0;
        }
    }

    /// Solves the line of jumping cells that starts at `first`; `before` is the cell before it, if the grid has one.
    /// Thomas elimination without a subtraction: pivot = kept + what jumps on, kept = 1 + what jumps back for good.
    fn solve_line(
        &self,
        first: usize,
        before: Option<usize>,
        offset: Offset,
        masses: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let Scratch {
            rates,
            line,
            pivots,
        } = scratch;
        line.clear();
        pivots.clear();
        let (mut cell, mut carried) = (first, 0.0);
        // Share of a backward jump that does not return by the forward jumps already eliminated.
        let mut lost = if before.is_some() { 1.0 } else { 0.0 };
        let after = loop {
            let rate = rates[cell];
            let next = self.neighbour(cell, offset, 1);
            let kept = 1.0 + rate * lost;
            let pivot = kept + if next.is_some() { rate } else { 0.0 };
            masses[cell] += carried;
            line.push(cell);
            pivots.push(pivot);
            carried = masses[cell] * (rate / pivot);
            lost = kept / pivot;
            match next {
                Some(c) if rates[c] > 0.0 => cell = c,
                end => break end,
            }
        };
        let mut returned = 0.0;
        for (&cell, &pivot) in line.iter().zip(pivots.iter()).rev() {
            masses[cell] = (masses[cell] + returned) / pivot;
            returned = masses[cell] * rates[cell];
        }
        if let Some(c) = before {
            masses[c] += returned;
        }
        if let (Some(c), Some(last)) = (after, line.last()) {
            masses[c] += masses[*last] * rates[*last];
        }
    }

    /// The cell `sign` offsets away, if the grid has it.
    fn neighbour(&self, cell: usize, offset: Offset, sign: i32) -> Option<usize> {
        let (row, column) = (cell / self.columns, cell % self.columns);
        let row = row.checked_add_signed((sign * offset[0]) as isize)?;
        let column = column.checked_add_signed((sign * offset[1]) as isize)?;
        (row < self.rows && column < self.columns).then_some(row * self.columns + column)
    }
}
