//! What is read off generated points, in any dimension: binned densities along directions, moments, distances from the
//! training points, and what lies between them (derivations/18-readouts.md).

use nalgebra::{DMatrix, DVector};

use crate::histogram::{Bins, Grid, Masses};
use crate::numerics::linalg::{self, LinalgError};
use crate::problem::{Component, Problem};

/// A point is memorised when its nearest training point is less than this share of the distance to the second nearest away.
pub const MEMORISED: f64 = 1.0 / 3.0;

/// Strips and discs between and around training points have this half-width, in units of the shortest segment.
const HALF_WIDTH: f64 = 0.1;
/// A strip covers this part in the middle of its segment.
const MIDDLE: f64 = 0.5;
/// Distances from the training points are binned up to this share of the widest range.
const REACH: f64 = 0.25;
/// Segments are drawn between at most so many training points.
pub const MOST_ENDS: usize = 64;

/// Moments are read off in so many dimensions: their number grows with the square.
const MOST_MOMENTS: usize = 16;

/// What is read off besides the main density. Each view is a list of averages over the generated points.
#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// Binned density of the projections on one or two of the readout's directions.
    Density { directions: Vec<usize>, grid: Grid },
    /// Binned density of the distance to the nearest training point.
    NearestDistance { bins: Bins },
    /// Share of memorised points ([`MEMORISED`]).
    Memorised,
    /// First and second moments: D, then D (D + 1)/2 by rows of the upper triangle.
    Moments,
    /// Mass in the strip between two training points.
    Strip(Strip),
    /// Mass in the disc around every training point.
    Discs,
}

/// Where on the line a generated point is memorised ([`MEMORISED`]), by bin.
#[derive(Debug, Clone, PartialEq)]
pub struct MemorisedBins {
    /// Memorised part of every bin, 0 to 1.
    parts: Vec<f64>,
}

impl MemorisedBins {
    /// Nothing unless the data are two points or more (counted once where they coincide), D = 1, each with memorised points on
    /// either side over at least the width of a bin.
    pub fn new(problem: &Problem, bins: &Bins) -> Option<Self> {
        if problem.dim() > 1 {
            return None;
        }
        let mut points: Vec<f64> = training_points(problem).iter().copied().collect();
        points.sort_unstable_by(f64::total_cmp);
        points.dedup();
        if points.len() < 2 {
            return None;
        }
        let width = bins.width();
        // Of two points p < q: p is nearer by the factor up to p + near (q - p), and from p - far (q - p) on.
        let (near, far) = (MEMORISED / (1.0 + MEMORISED), MEMORISED / (1.0 - MEMORISED));
        let gap = |i: usize| points[i + 1] - points[i];
        let mut parts = vec![0.0; bins.count];
        for (i, p) in points.iter().enumerate() {
            let below = (i > 0).then(|| gap(i - 1));
            let above = (i + 1 < points.len()).then(|| gap(i));
            let reach = |own: Option<f64>, other: Option<f64>| {
                let own = own.map_or(f64::INFINITY, |g| near * g);
                own.min(other.map_or(f64::INFINITY, |g| far * g))
            };
            let (left, right) = (reach(below, above), reach(above, below));
            if left + right < width {
                return None;
            }
            for (bin, part) in parts.iter_mut().enumerate() {
                let low = bins.low + bin as f64 * width;
                let inside = (p + right).min(low + width) - (p - left).max(low);
                *part += inside.max(0.0) / width;
            }
        }
        Some(Self { parts })
    }

    /// Memorised mass of a distribution, as if each bin's were spread evenly over it.
    pub fn mass(&self, of: &Masses) -> f64 {
        let bins = of.inside().iter().zip(&self.parts);
        bins.map(|(mass, part)| mass * part).sum()
    }
}

/// The middle of the segment between two training points.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    pub ends: [usize; 2],
    centre: DVector<f64>,
    /// Unit vector along the segment.
    axis: DVector<f64>,
    half_length: f64,
}

impl Strip {
    fn new(points: &DMatrix<f64>, ends: [usize; 2]) -> Self {
        let (a, b) = (points.column(ends[0]), points.column(ends[1]));
        let length = (b - a).norm();
        Self {
            ends,
            centre: 0.5 * (a + b),
            axis: (b - a) / length,
            half_length: 0.5 * MIDDLE * length,
        }
    }

    /// Length of the whole segment.
    pub fn segment(&self) -> f64 {
        2.0 * self.half_length / MIDDLE
    }
}

/// The directions, bins and views of a case.
#[derive(Debug, Clone)]
pub struct Readout {
    dim: usize,
    /// Unit vectors of length D.
    directions: Vec<Vec<f64>>,
    /// Bins of the main density, along the first one or two directions.
    pub grid: Grid,
    pub views: Vec<View>,
    /// Training points, D x M; none where the data are no points.
    points: DMatrix<f64>,
    half_width: f64,
}

/// What one cloud of points gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The main density.
    pub masses: Masses,
    /// The values of all views, one after another.
    pub values: Vec<f64>,
}

impl Readout {
    /// The density on the line, and nothing besides.
    pub fn line(bins: Bins) -> Self {
        Self {
            dim: 1,
            directions: vec![vec![1.0]],
            grid: bins.into(),
            views: Vec::new(),
            points: DMatrix::zeros(1, 0),
            half_width: 0.0,
        }
    }

    /// In the plane the main density is that of the coordinates along `directions`; beyond, of the first two directions, and
    /// every direction has its marginal. `bins` belong to the directions, in order.
    ///
    /// # Panics
    /// With fewer than two directions, or not as many bins.
    pub fn new(problem: &Problem, directions: Vec<Vec<f64>>, bins: &[Bins]) -> Self {
        assert!(directions.len() >= 2 && directions.len() == bins.len());
        let dim = problem.dim();
        let mut readout = Self {
            dim,
            directions,
            grid: Grid::plane(bins[0], bins[1]),
            views: Vec::new(),
            points: training_points(problem),
            half_width: 0.0,
        };
        if dim > 2 {
            readout.add_densities(bins);
        }
        if dim <= MOST_MOMENTS {
            readout.views.push(View::Moments);
        }
        if readout.points.ncols() >= 2 {
            readout.add_neighbours(bins);
        }
        readout
    }

    /// A marginal along every direction, and the planes of the third and fourth, fifth and sixth, ...
    fn add_densities(&mut self, bins: &[Bins]) {
        for (i, own) in bins.iter().enumerate() {
            self.views.push(View::Density {
                directions: vec![i],
                grid: (*own).into(),
            });
        }
        for i in (2..bins.len().saturating_sub(1)).step_by(2) {
            self.views.push(View::Density {
                directions: vec![i, i + 1],
                grid: Grid::plane(bins[i], bins[i + 1]),
            });
        }
    }

    /// What is told by the distances from the training points.
    fn add_neighbours(&mut self, bins: &[Bins]) {
        let shortest = self.shortest_distance();
        let count = bins[0].count;
        let widest = bins.iter().map(|b| b.high - b.low).fold(0.0, f64::max);
        self.views.push(View::NearestDistance {
            bins: Bins {
                low: 0.0,
                high: REACH * widest,
                count,
            },
        });
        self.views.push(View::Memorised);
        if self.dim == 2 && self.points.ncols() <= MOST_ENDS {
            self.half_width = HALF_WIDTH * shortest;
            self.views.push(View::Discs);
            for ends in self.neighbours() {
                self.views.push(View::Strip(Strip::new(&self.points, ends)));
            }
        }
    }

    fn shortest_distance(&self) -> f64 {
        let n = self.points.ncols();
        (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| (self.points.column(i) - self.points.column(j)).norm())
            .fold(f64::INFINITY, f64::min)
    }

    /// Pairs of training points with no third one inside the ball whose diameter they span (the Gabriel graph). Points on
    /// the ball itself do not count: of a square, sides and diagonals are pairs.
    fn neighbours(&self) -> Vec<[usize; 2]> {
        let n = self.points.ncols();
        let between = |i: usize, j: usize| {
            let (a, b) = (self.points.column(i), self.points.column(j));
            let length = (a - b).norm_squared();
            (0..n).all(|k| {
                let c = self.points.column(k);
                k == i || k == j || (a - c).dot(&(b - c)) > -1e-9 * length
            })
        };
        (0..n)
            .flat_map(|i| (i + 1..n).map(move |j| [i, j]))
            .filter(|[i, j]| between(*i, *j))
            .collect()
    }

    /// The main density alone, with so many bins along each axis.
    pub fn coarse(&self, count: usize) -> Self {
        let axis = |i: usize| Bins {
            count,
            ..self.grid.axes()[i]
        };
        Self {
            grid: Grid::plane(axis(0), axis(1)),
            views: Vec::new(),
            ..self.clone()
        }
    }

    /// D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The unit vectors that projections are taken on.
    pub fn directions(&self) -> &[Vec<f64>] {
        &self.directions
    }

    /// Coordinates of training point `i`.
    pub fn point(&self, i: usize) -> Vec<f64> {
        self.points.column(i).iter().copied().collect()
    }

    /// Half-width of strips, and radius of discs.
    pub fn half_width(&self) -> f64 {
        self.half_width
    }

    /// Area of the strip between two training points.
    pub fn strip_area(&self, strip: &Strip) -> f64 {
        2.0 * strip.half_length * 2.0 * self.half_width
    }

    /// Area of a disc.
    pub fn disc_area(&self) -> f64 {
        std::f64::consts::PI * self.half_width * self.half_width
    }

    /// Number of values of a view.
    pub fn size(&self, view: &View) -> usize {
        match view {
            View::Density { grid, .. } => grid.count() + 2,
            View::NearestDistance { bins } => bins.count + 2,
            View::Memorised | View::Strip(_) => 1,
            View::Moments => self.dim + self.dim * (self.dim + 1) / 2,
            View::Discs => self.points.ncols(),
        }
    }

    /// Number of values of all views.
    pub fn len(&self) -> usize {
        self.views.iter().map(|view| self.size(view)).sum()
    }

    /// Is the main density all there is?
    pub fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    /// Every view with where its values are.
    pub fn places(&self) -> impl Iterator<Item = (&View, std::ops::Range<usize>)> {
        self.views.iter().scan(0, |start, view| {
            let range = *start..*start + self.size(view);
            *start = range.end;
            Some((view, range))
        })
    }

    /// No points yet.
    pub fn empty(&self) -> Reading {
        Reading {
            masses: self.grid.zero(),
            values: vec![0.0; self.len()],
        }
    }

    /// Adds points to a reading: `x` is coordinate-major (D n), `weight` the mass of point k.
    pub fn add(&self, reading: &mut Reading, x: &[f64], weight: impl Fn(usize) -> f64) {
        let cloud = Cloud::new(self, x);
        for k in 0..cloud.len {
            let cell = self.grid.cell(|axis| cloud.projections[axis][k]);
            reading.masses.cells[cell] += weight(k);
        }
        for (view, range) in self.places() {
            self.add_to_view(view, &cloud, &mut reading.values[range], &weight);
        }
    }

    fn add_to_view(
        &self,
        view: &View,
        cloud: &Cloud<'_>,
        values: &mut [f64],
        weight: &impl Fn(usize) -> f64,
    ) {
        let points = 0..cloud.len;
        match view {
            View::Density { directions, grid } => {
                for k in points {
                    let cell = grid.cell(|axis| cloud.projections[directions[axis]][k]);
                    values[cell] += weight(k);
                }
            }
            View::NearestDistance { bins } => {
                for (k, (first, _)) in cloud.nearest.iter().enumerate() {
                    values[bins.cell(first.sqrt())] += weight(k);
                }
            }
            View::Memorised => {
                let memorised = |pair: &(f64, f64)| pair.0 < MEMORISED * MEMORISED * pair.1;
                let all = cloud.nearest.iter().enumerate();
                values[0] += all
                    .filter(|(_, pair)| memorised(pair))
                    .map(|(k, _)| weight(k))
                    .sum::<f64>();
            }
            View::Moments => {
                let (first, second) = values.split_at_mut(self.dim);
                let mut second = second.iter_mut();
                for (i, mean) in first.iter_mut().enumerate() {
                    let a = cloud.coordinate(i);
                    *mean += points.clone().map(|k| weight(k) * a[k]).sum::<f64>();
                    for (j, square) in (i..self.dim).zip(second.by_ref()) {
                        let b = cloud.coordinate(j);
                        let sum = points.clone().map(|k| weight(k) * a[k] * b[k]);
                        *square += sum.sum::<f64>();
                    }
                }
            }
            View::Strip(strip) => {
                let inside = cloud.inside(strip, self.half_width);
                let inside = points.filter(|&k| inside[k]);
                values[0] += inside.map(weight).sum::<f64>();
            }
            View::Discs => {
                let radius = self.half_width * self.half_width;
                for (v, centre) in values.iter_mut().zip(self.points.column_iter()) {
                    let squares = cloud.square_distances(centre.as_slice());
                    let inside = points.clone().filter(|&k| squares[k] < radius);
                    *v += inside.map(weight).sum::<f64>();
                }
            }
        }
    }

    /// Mean and covariance (D x D) from the values of [`View::Moments`].
    pub fn mean_and_covariance(&self, values: &[f64]) -> (Vec<f64>, DMatrix<f64>) {
        let mean = values[..self.dim].to_vec();
        let mut covariance = DMatrix::zeros(self.dim, self.dim);
        let mut second = values[self.dim..].iter();
        for i in 0..self.dim {
            for (j, s) in (i..self.dim).zip(second.by_ref()) {
                let c = s - mean[i] * mean[j];
                (covariance[(i, j)], covariance[(j, i)]) = (c, c);
            }
        }
        (mean, covariance)
    }
}

/// Points on their way into a reading.
struct Cloud<'a> {
    x: &'a [f64],
    len: usize,
    /// Per direction, the projection of every point.
    projections: Vec<Vec<f64>>,
    /// Per point, the two smallest squared distances from training points; empty where nobody asks.
    nearest: Vec<(f64, f64)>,
}

impl<'a> Cloud<'a> {
    fn new(readout: &Readout, x: &'a [f64]) -> Self {
        let len = x.len() / readout.dim;
        let projections = readout.directions.iter().map(|direction| {
            let mut out = vec![0.0; len];
            for (a, coordinate) in direction.iter().zip(x.chunks_exact(len.max(1))) {
                for (o, c) in out.iter_mut().zip(coordinate) {
                    *o += a * c;
                }
            }
            out
        });
        let asked = |v: &View| matches!(v, View::NearestDistance { .. } | View::Memorised);
        let mut cloud = Self {
            x,
            len,
            projections: projections.collect(),
            nearest: Vec::new(),
        };
        if readout.views.iter().any(asked) {
            cloud.nearest = cloud.two_nearest(&readout.points);
        }
        cloud
    }

    fn coordinate(&self, i: usize) -> &'a [f64] {
        &self.x[i * self.len..(i + 1) * self.len]
    }

    /// Squared distance of every point from a centre. One coordinate at a time: the loops over the cloud run on vectors.
    fn square_distances(&self, centre: &[f64]) -> Vec<f64> {
        let mut squares = vec![0.0; self.len];
        for (i, c) in centre.iter().enumerate() {
            for (s, a) in squares.iter_mut().zip(self.coordinate(i)) {
                *s += (a - c) * (a - c);
            }
        }
        squares
    }

    /// Which points are in a strip.
    fn inside(&self, strip: &Strip, half_width: f64) -> Vec<bool> {
        let squares = self.square_distances(strip.centre.as_slice());
        let mut along = vec![0.0; self.len];
        for (i, (centre, axis)) in strip.centre.iter().zip(strip.axis.iter()).enumerate() {
            for (sum, a) in along.iter_mut().zip(self.coordinate(i)) {
                *sum += (a - centre) * axis;
            }
        }
        let across = along.iter().zip(&squares).map(|(a, s)| s - a * a);
        across
            .zip(&along)
            .map(|(s, a)| (a.abs() < strip.half_length) & (s < half_width * half_width))
            .collect()
    }

    fn two_nearest(&self, training: &DMatrix<f64>) -> Vec<(f64, f64)> {
        let mut nearest = vec![(f64::INFINITY, f64::INFINITY); self.len];
        for centre in training.column_iter() {
            let squares = self.square_distances(centre.as_slice());
            for ((first, second), s) in nearest.iter_mut().zip(&squares) {
                *second = second.min(s.max(*first));
                *first = first.min(*s);
            }
        }
        nearest
    }
}

/// The data's point masses as columns; none if a component is wider than a point.
fn training_points(problem: &Problem) -> DMatrix<f64> {
    let components = problem.data.components();
    if !components.iter().all(Component::is_point) {
        return DMatrix::zeros(problem.dim(), 0);
    }
    DMatrix::from_columns(
        &components
            .iter()
            .map(|c| c.mean.clone())
            .collect::<Vec<_>>(),
    )
}

/// Unit vectors along the principal axes of the data, those of largest variance first, each signed so that its largest
/// component is positive.
///
/// # Errors
/// When the eigenvalues of the covariance cannot be computed.
pub fn principal_directions(problem: &Problem, count: usize) -> Result<Vec<Vec<f64>>, LinalgError> {
    let axes = principal_axes(problem, count)?;
    Ok(axes
        .into_iter()
        .map(|v| {
            let largest = v
                .iter()
                .fold(0.0_f64, |m, c| if c.abs() > m.abs() { *c } else { m });
            v.iter().map(|c| c * largest.signum()).collect()
        })
        .collect())
}

fn principal_axes(problem: &Problem, count: usize) -> Result<Vec<DVector<f64>>, LinalgError> {
    let data = &problem.data;
    let dense = || {
        let (_, vectors) = linalg::symmetric_eigen(&data.covariance())?;
        let all = vectors.column_iter().rev().take(count);
        Ok(all.map(|v| v.into_owned()).collect())
    };
    let Some(bases) = data.subspaces() else {
        return dense();
    };
    // Off all subspaces the covariance is a multiple of the identity: its leading axes are the left singular vectors of the
    // weighted bases side by side.
    let mut rows = Vec::new();
    for ((basis, w), c) in bases.iter().zip(data.weights()).zip(data.components()) {
        for (column, v) in basis.column_iter().zip(c.variances.iter()) {
            rows.push(column.transpose() * (w * (v - c.off_axes)).sqrt());
        }
    }
    // Bases of the whole space have nothing off them.
    if rows.len() >= problem.dim() || rows.len() < count {
        return dense();
    }
    let (_, vectors) = linalg::right_singular(&DMatrix::from_rows(&rows))?;
    let leading = vectors.column_iter().take(count);
    Ok(leading.map(|v| v.into_owned()).collect())
}
