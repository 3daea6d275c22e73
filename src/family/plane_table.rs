//! A linear model with product features tabulated in the plane, one time after another: for many trajectories of one model.
//!
//! At a given time both outputs are sums of products of features of x1 and x2, so that the coefficients of their bicubic spline
//! are the same sums of the features' own: a table costs far less than evaluating the model at its nodes. It covers a rectangle
//! and is exact evaluation outside.

use pulp::{Arch, Simd, WithSimd};

use super::features::Factor;
use super::{Denoiser, LinearDenoiser};
use crate::problem::Regression;

/// Table cells per length scale of the features. A cubic spline is exact to h^4 max|fourth derivative| / 384 = 1.3e-5 of
/// a Gaussian feature's height, 4e-6 of a wave's.
const CELLS_PER_SCALE: f64 = 5.0;
/// Most cells of an axis, and the farthest from the origin: beyond, nothing would repay a table.
const MOST_CELLS: f64 = 4096.0;
const FARTHEST: f64 = 1e9;

/// A look-up costs as much as so many features: three times its 4 x 4 products.
const LOOK_UP: usize = 48;

/// Pole of the filter that turns values at nodes into coefficients of their cubic spline, 3^(1/2) - 2.
const POLE: f64 = -0.267_949_192_431_122_7;
/// Nodes after which the filter has forgotten its ends: POLE^14 = 1e-8.
const MEMORY: usize = 14;
/// A coefficient below this part of the largest is lost in single precision.
const LOST: f64 = 1e-9;

/// Outputs in the plane.
const OUTPUTS: usize = 2;
/// Numbers of one row of the 4 x 4 coefficients that a point sees: those of both outputs side by side.
const ROW: usize = 4 * OUTPUTS;
/// Points looked up together.
const LANES: usize = 64;
/// Numbers of a table's row that are summed in registers.
const TILE: usize = 64;

/// The four cubic B-splines of a cell as polynomials of the place in it, lowest order first, each twice: once for every output.
const SPLINES: [[f32; ROW]; 4] = {
    const A: f32 = 1.0 / 6.0;
    const B: f32 = 2.0 / 3.0;
    [
        [A, A, B, B, A, A, 0.0, 0.0],
        [-0.5, -0.5, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0],
        [0.5, 0.5, -1.0, -1.0, 0.5, 0.5, 0.0, 0.0],
        [-A, -A, 0.5, 0.5, -0.5, -0.5, A, A],
    ]
};

/// Makes the tables of one model.
pub struct PlaneTables<'a> {
    model: LinearDenoiser<'a>,
    axes: [Nodes<'a>; 2],
}

/// The features of one coordinate as splines: nodes at the multiples of the spacing.
struct Nodes<'a> {
    factor: &'a Factor,
    spacing: f64,
    /// Nodes `first..first + count`, more as tables ask for them.
    first: i64,
    count: usize,
    /// Coefficients, one contiguous run per feature.
    coefficients: Vec<f64>,
}

/// Both outputs at one time, a bicubic spline on a rectangle.
pub struct PlaneTable<'a> {
    model: LinearDenoiser<'a>,
    t: f64,
    /// Of the features of space, divided by p.
    weights: Vec<f64>,
    /// q/p of the regression target y = p x0 + q x: the denoiser is f/p - (q/p) x.
    ratio: f64,
    axes: [Cells; 2],
    /// Of f/p, the second coordinate fastest, both outputs of a node side by side; one more node below the first cell than above
    /// the last.
    coefficients: Vec<f32>,
}

/// Cells of one axis of a table.
#[derive(Debug, Clone, Copy)]
struct Cells {
    inverse_spacing: f64,
    /// In cells from the origin.
    first: i64,
    count: usize,
}

impl<'a> PlaneTables<'a> {
    /// `None` unless the features are products of one factor per coordinate of the plane, and enough to be worth a table.
    pub fn new(model: &LinearDenoiser<'a>) -> Option<Self> {
        let [first, second] = model.family.features.space.factors()? else {
            return None;
        };
        if first.len() * second.len() <= LOOK_UP {
            return None;
        }
        Some(Self {
            model: *model,
            axes: [Nodes::new(first), Nodes::new(second)],
        })
    }

    /// The model at time t, tabulated on a rectangle (low, high); `None` where so many points would not repay it.
    pub fn tabulate(
        &mut self,
        t: f64,
        rectangle: [(f64, f64); 2],
        points: usize,
    ) -> Option<PlaneTable<'a>> {
        let [first, second] = &mut self.axes;
        let rows = first.cells(rectangle[0])?;
        let columns = second.cells(rectangle[1])?;
        let features = first.factor.len() * second.factor.len();
        // In multiplications for each output; a table's first sum is small against its second.
        let table = rows.nodes() * columns.nodes() * first.factor.len();
        if table + points * LOOK_UP > points * features {
            return None;
        }
        first.cover(&rows);
        second.cover(&columns);
        let mut weights = self.model.space_weights(t);
        let Regression { p, q } = (self.model.family.predicts).regression(self.model.diffusion, t);
        for w in &mut weights {
            *w /= p;
        }
        let coefficients = Arch::new().dispatch(Sums {
            axes: [first, second],
            cells: [&rows, &columns],
            weights: &weights,
        });
        Some(PlaneTable {
            model: self.model,
            t,
            weights,
            ratio: q / p,
            axes: [rows, columns],
            coefficients,
        })
    }
}

impl Denoiser for PlaneTable<'_> {
    /// `t` must be the tabulated time.
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        debug_assert_eq!(self.t, t);
        let mut outside = Vec::new();
        Arch::new().dispatch(LookUp {
            table: self,
            x,
            denoised,
            outside: &mut outside,
        });
        if !outside.is_empty() {
            self.evaluate(&outside, x, denoised);
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.model.denoise_with_slope(t, x, denoised, slope);
    }
}

impl PlaneTable<'_> {
    /// The tabulated time.
    pub fn t(&self) -> f64 {
        self.t
    }

    /// The model itself at some of the points.
    fn evaluate(&self, points: &[usize], x: &[f64], denoised: &mut [f64]) {
        let n = x.len() / OUTPUTS;
        let places = || (0..OUTPUTS).flat_map(|i| points.iter().map(move |k| i * n + k));
        let x: Vec<f64> = places().map(|place| x[place]).collect();
        let mut out = vec![0.0; x.len()];
        let space = &self.model.family.features.space;
        space.contract(&self.weights, &x, &mut out);
        for ((place, out), x) in places().zip(out).zip(x) {
            denoised[place] = out - self.ratio * x;
        }
    }
}

impl<'a> Nodes<'a> {
    fn new(factor: &'a Factor) -> Self {
        let spacing = factor.scale() / CELLS_PER_SCALE;
        Self {
            factor,
            // A coordinate without features has no scale.
            spacing: if spacing.is_finite() { spacing } else { 1.0 },
            first: 0,
            count: 0,
            coefficients: Vec::new(),
        }
    }

    /// Cells that cover an interval, unless they are too many.
    fn cells(&self, (low, high): (f64, f64)) -> Option<Cells> {
        let first = (low / self.spacing).floor();
        let count = (high / self.spacing).ceil() - first;
        let few = (1.0..=MOST_CELLS).contains(&count) && first.abs() < FARTHEST;
        few.then_some(Cells {
            inverse_spacing: 1.0 / self.spacing,
            first: first as i64,
            count: count as usize,
        })
    }

    /// Computes the coefficients of the cells' nodes, if they are not there.
    fn cover(&mut self, cells: &Cells) {
        let (mut first, mut end) = (cells.first - 1, cells.first - 1 + cells.nodes() as i64);
        let own_end = self.first + self.count as i64;
        if self.count > 0 {
            if self.first <= first && end <= own_end {
                return;
            }
            // Trajectories that spread go on doing so.
            let slack = (end - first) / 8;
            (first, end) = ((first - slack).min(self.first), (end + slack).max(own_end));
        }
        let count = (end - first) as usize;
        let features = self.factor.len();
        let long = count + 2 * MEMORY;
        let mut values = vec![0.0; features * long];
        let mut at_node = vec![0.0; features];
        for k in 0..long {
            let node = first - MEMORY as i64 + k as i64;
            self.factor.values(node as f64 * self.spacing, &mut at_node);
            for (j, v) in at_node.iter().enumerate() {
                values[j * long + k] = *v;
            }
        }
        self.coefficients = values
            .chunks_exact_mut(long)
            .flat_map(|values| {
                spline(values);
                values[MEMORY..MEMORY + count].iter().copied()
            })
            .collect();
        (self.first, self.count) = (first, count);
    }

    /// Coefficients of feature `j` at the cells' nodes.
    fn of(&self, j: usize, cells: &Cells) -> &[f64] {
        let start = j * self.count + (cells.first - 1 - self.first) as usize;
        &self.coefficients[start..start + cells.nodes()]
    }
}

impl Cells {
    /// Nodes of the splines that reach into the cells: one below the first, two from the upper end on.
    fn nodes(&self) -> usize {
        self.count + 3
    }
}

/// Values at nodes into the coefficients of the cubic spline through them, (c[k-1] + 4 c[k] + c[k+1])/6 = value[k], by one
/// recursion up and one down; wrong within [`MEMORY`] nodes of the ends. What is lost in single precision is zero.
fn spline(values: &mut [f64]) {
    let mut previous = 0.0;
    for v in values.iter_mut() {
        previous = *v + POLE * previous;
        *v = previous;
    }
    let mut next = 0.0;
    for v in values.iter_mut().rev() {
        next = POLE * (next - *v);
        *v = 6.0 * next;
    }
    let largest = values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    for v in values {
        // Denormal numbers would be slow.
        if v.abs() < LOST * largest {
            *v = 0.0;
        }
    }
}

/// The coefficients of a table: sums over the features of the second coordinate, then of the first.
struct Sums<'a> {
    axes: [&'a Nodes<'a>; 2],
    cells: [&'a Cells; 2],
    weights: &'a [f64],
}

impl WithSimd for Sums<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f32> {
        let [rows, columns] = self.cells;
        let width = OUTPUTS * columns.nodes();
        let tiles = width.div_ceil(TILE);
        let inner = self.inner(tiles);
        let mut factors = Vec::with_capacity(self.axes[0].factor.len());
        let mut table = Vec::with_capacity(rows.nodes() * width);
        for k in 0..rows.nodes() {
            factors.clear();
            for (j, terms) in inner.chunks_exact(tiles).enumerate() {
                let factor = self.axes[0].of(j, rows)[k] as f32;
                if factor != 0.0 {
                    factors.push((factor, terms));
                }
            }
            for tile in 0..tiles {
                let mut sum = [0.0; TILE];
                for (factor, terms) in &factors {
                    for (s, v) in sum.iter_mut().zip(&terms[tile]) {
                        *s = factor.mul_add(*v, *s);
                    }
                }
                table.extend_from_slice(&sum[..TILE.min(width - tile * TILE)]);
            }
        }
        table
    }
}

impl Sums<'_> {
    /// For every feature of the first coordinate a row of whole tiles: both outputs at a node side by side.
    #[inline(always)]
    fn inner(&self, tiles: usize) -> Vec<[f32; TILE]> {
        let (axis, cells) = (self.axes[1], self.cells[1]);
        let features = axis.factor.len();
        let rows = self.weights.len() / OUTPUTS / features;
        let mut out = vec![[0.0; TILE]; rows * tiles];
        let mut sum = vec![0.0; cells.nodes()];
        for (j, row) in out.chunks_exact_mut(tiles).enumerate() {
            for o in 0..OUTPUTS {
                sum.fill(0.0);
                for i in 0..features {
                    let weight = self.weights[(o * rows + j) * features + i];
                    for (s, c) in sum.iter_mut().zip(axis.of(i, cells)) {
                        *s += weight * c;
                    }
                }
                let places = row.as_flattened_mut().iter_mut().skip(o).step_by(OUTPUTS);
                for (place, s) in places.zip(&sum) {
                    *place = *s as f32;
                }
            }
        }
        out
    }
}

/// Values at many points.
struct LookUp<'a, 'b> {
    table: &'a PlaneTable<'b>,
    x: &'a [f64],
    denoised: &'a mut [f64],
    /// Receives the points outside of the table.
    outside: &'a mut Vec<usize>,
}

impl WithSimd for LookUp<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let table = self.table;
        let points = self.x.len() / OUTPUTS;
        let (x1, x2) = self.x.split_at(points);
        let (out1, out2) = self.denoised.split_at_mut(points);
        let width = OUTPUTS * table.axes[1].nodes();
        let mut start = 0;
        while start < points {
            let count = LANES.min(points - start);
            let range = start..start + count;
            // Short loops of arithmetic alone, which run on vectors, around the look-ups.
            let rows = table.axes[0].locate(&x1[range.clone()]);
            let columns = table.axes[1].locate(&x2[range.clone()]);
            let weights = splines(&rows.places);
            let mut products = [[0.0; ROW]; LANES];
            for (k, products) in products.iter_mut().enumerate() {
                let corner = rows.cells[k] as usize * width + OUTPUTS * columns.cells[k] as usize;
                let weights: [f32; 4] = std::array::from_fn(|r| weights[r][k]);
                let seen = &table.coefficients[corner..];
                weigh(simd, seen, width, weights, columns.places[k], products);
            }
            let values = products.map(|p| {
                let half: [f32; ROW / 2] = std::array::from_fn(|l| p[l] + p[l + ROW / 2]);
                [half[0] + half[2], half[1] + half[3]]
            });
            for (k, place) in range.clone().enumerate() {
                out1[place] = f64::from(values[k][0]) - table.ratio * x1[place];
                out2[place] = f64::from(values[k][1]) - table.ratio * x2[place];
            }
            let inside = |k: usize| rows.inside[k] & columns.inside[k];
            if !(0..count).fold(true, |all, k| all & inside(k)) {
                let outside = (0..count).filter(|k| !inside(*k));
                self.outside.extend(outside.map(|k| start + k));
            }
            start += count;
        }
    }
}

/// The coefficients that a point sees, four rows `width` apart, times both its splines, summed over the rows.
#[inline(always)]
fn weigh<S: Simd>(
    simd: S,
    seen: &[f32],
    width: usize,
    weights: [f32; 4],
    place: f32,
    products: &mut [f32; ROW],
) {
    let rows: [&[f32]; 4] = std::array::from_fn(|r| &seen[r * width..][..ROW]);
    let [w0, w1, w2, w3] = SPLINES.each_ref().map(|w| S::as_simd_f32s(w).0);
    let z = simd.splat_f32s(place);
    let weights = weights.map(|w| simd.splat_f32s(w));
    let (products, _) = S::as_mut_simd_f32s(products);
    for (v, out) in products.iter_mut().enumerate() {
        let [a, b, c, d] = rows.map(|row| S::as_simd_f32s(row).0[v]);
        let sum = simd.mul_f32s(weights[0], a);
        let sum = simd.mul_add_f32s(weights[1], b, sum);
        let sum = simd.mul_add_f32s(weights[2], c, sum);
        let sum = simd.mul_add_f32s(weights[3], d, sum);
        let spline = simd.mul_add_f32s(w3[v], z, w2[v]);
        let spline = simd.mul_add_f32s(spline, z, w1[v]);
        let spline = simd.mul_add_f32s(spline, z, w0[v]);
        *out = simd.mul_f32s(sum, spline);
    }
}

/// Where points are along one axis.
struct Located {
    cells: [u32; LANES],
    /// In the cell, 0 to 1.
    places: [f32; LANES],
    inside: [bool; LANES],
}

impl Cells {
    /// Points outside of the table are given its first cell.
    #[inline(always)]
    fn locate(&self, x: &[f64]) -> Located {
        // Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
        const SHIFT: f64 = 6_755_399_441_055_744.0;
        let (first, count) = (self.first as f64, self.count as f64);
        let mut located = Located {
            cells: [0; LANES],
            places: [0.0; LANES],
            inside: [true; LANES],
        };
        for (k, x) in x.iter().enumerate() {
            let position = x * self.inverse_spacing - first;
            let inside = (position > 0.0) & (position < count);
            let position = if inside { position } else { 0.5 };
            // Rounding half down to even may put a node into the cell below it, where its place is 1.
            let shifted = (position - 0.5) + SHIFT;
            located.cells[k] = (shifted.to_bits() - SHIFT.to_bits()) as u32;
            located.places[k] = (position - (shifted - SHIFT)) as f32;
            located.inside[k] = inside;
        }
        located
    }
}

/// The four splines at every place.
#[inline(always)]
fn splines(places: &[f32; LANES]) -> [[f32; LANES]; 4] {
    let [w0, w1, w2, w3] = &SPLINES;
    std::array::from_fn(|r| {
        let r = OUTPUTS * r;
        places.map(|z| w3[r].mul_add(z, w2[r]).mul_add(z, w1[r]).mul_add(z, w0[r]))
    })
}
