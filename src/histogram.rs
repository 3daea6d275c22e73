//! Binned densities on the line and in the plane.

use serde::{Deserialize, Serialize};

/// Equal bins of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bins {
    pub low: f64,
    pub high: f64,
    pub count: usize,
}

impl Bins {
    pub fn width(&self) -> f64 {
        (self.high - self.low) / self.count as f64
    }

    /// Edge i, i = 0..=count; the ends are exact.
    pub fn edge(&self, i: usize) -> f64 {
        if i == self.count {
            self.high
        } else {
            self.low + self.width() * i as f64
        }
    }

    pub fn edges(&self) -> Vec<f64> {
        (0..=self.count).map(|i| self.edge(i)).collect()
    }

    /// Index into [`Masses::cells`]: 0 below, 1..=count the bins, count + 1 above.
    pub fn cell(&self, x: f64) -> usize {
        if x < self.low {
            return 0;
        }
        if x >= self.high {
            return self.count + 1;
        }
        // The division may round across an edge; the last bin takes what does.
        1 + (((x - self.low) / self.width()) as usize).min(self.count - 1)
    }
}

/// The bins of a density: those of one axis, or the products of those of two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    axes: Vec<Bins>,
}

impl From<Bins> for Grid {
    fn from(bins: Bins) -> Self {
        Self { axes: vec![bins] }
    }
}

impl Grid {
    /// The products of the bins of two axes; the first index runs slowest.
    pub fn plane(first: Bins, second: Bins) -> Self {
        Self {
            axes: vec![first, second],
        }
    }

    /// The bins of every axis.
    pub fn axes(&self) -> &[Bins] {
        &self.axes
    }

    /// Number of bins.
    pub fn count(&self) -> usize {
        self.axes.iter().map(|bins| bins.count).product()
    }

    /// Per axis, its edges.
    pub fn edges(&self) -> Vec<Vec<f64>> {
        self.axes.iter().map(Bins::edges).collect()
    }

    /// A density without mass.
    pub fn zero(&self) -> Masses {
        Masses {
            cells: vec![0.0; self.count() + 2],
        }
    }

    /// Index into [`Masses::cells`] of a point, given by one position per axis. In the plane all that lies outside is in
    /// cell 0, and the last cell stays empty.
    pub fn cell(&self, at: impl Fn(usize) -> f64) -> usize {
        if let [bins] = self.axes[..] {
            return bins.cell(at(0));
        }
        let mut index = 0;
        for (axis, bins) in self.axes.iter().enumerate() {
            let cell = bins.cell(at(axis));
            if cell == 0 || cell > bins.count {
                return 0;
            }
            index = index * bins.count + cell - 1;
        }
        index + 1
    }

    /// The distribution of one coordinate of what lies inside; what lies outside the plane's range is shared between both
    /// ends.
    pub fn marginal(&self, masses: &Masses, axis: usize) -> Masses {
        let [below, above] = masses.tails();
        if self.axes.len() == 1 {
            return masses.clone();
        }
        let mut out = Masses::zero(&self.axes[axis]);
        let half = 0.5 * (below + above);
        let last = out.cells.len() - 1;
        (out.cells[0], out.cells[last]) = (half, half);
        let inner: usize = self.axes[axis + 1..].iter().map(|b| b.count).product();
        for (i, m) in masses.inside().iter().enumerate() {
            out.cells[1 + (i / inner) % self.axes[axis].count] += m;
        }
        out
    }
}

/// Mass below the range, in each bin, and above it: count + 2 cells that sum to 1. In the plane the bins come row by row,
/// and all mass outside is in the first cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Masses {
    pub cells: Vec<f64>,
}

impl Masses {
    pub fn zero(bins: &Bins) -> Self {
        Self {
            cells: vec![0.0; bins.count + 2],
        }
    }

    /// Mass per bin.
    pub fn inside(&self) -> &[f64] {
        &self.cells[1..self.cells.len() - 1]
    }

    /// Mass below and above the range.
    pub fn tails(&self) -> [f64; 2] {
        [self.cells[0], self.cells[self.cells.len() - 1]]
    }

    pub fn total(&self) -> f64 {
        self.cells.iter().sum()
    }

    /// From a cumulative distribution function.
    pub fn from_cdf(bins: &Bins, cdf: impl Fn(f64) -> f64) -> Self {
        let mut cells = Vec::with_capacity(bins.count + 2);
        let mut before = 0.0;
        for i in 0..=bins.count {
            let next: f64 = cdf(bins.edge(i));
            cells.push((next - before).max(0.0));
            before = next;
        }
        cells.push((1.0 - before).max(0.0));
        Self { cells }
    }

    /// Spreads `mass` evenly over the interval between `a` and `b`.
    pub fn spread(&mut self, bins: &Bins, a: f64, b: f64, mass: f64) {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let (first, last) = (bins.cell(low), bins.cell(high));
        if first == last {
            self.cells[first] += mass;
            return;
        }
        let per_length = mass / (high - low);
        let mut start = low;
        let mut left = mass;
        for cell in first..last {
            // Cell k ends at edge k, for the bins and for what lies below.
            let end = bins.edge(cell);
            let part = ((end - start) * per_length).clamp(0.0, left);
            self.cells[cell] += part;
            left -= part;
            start = end;
        }
        self.cells[last] += left;
    }

    /// Adds `factor` times another density.
    pub fn accumulate(&mut self, other: &Self, factor: f64) {
        for (a, b) in self.cells.iter_mut().zip(&other.cells) {
            *a += factor * b;
        }
    }
}
