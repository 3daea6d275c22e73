//! The expansion of kernels in products of Chebyshev polynomials (derivations/22-kernel-machines.md, D22.1), laid out where it loses
//! least.

use nalgebra::DMatrix;
use thiserror::Error;

use super::features::{
    Chebyshev, Factor, FeatureSet, Features, SpaceFeatures, Variable, dot, kronecker,
};
use super::kernel::{Kernel, Points, TimeEmbedding};
use crate::numerics::linalg::{self, LinalgError};
use crate::numerics::random::stream;
use crate::problem::{Problem, Triple};

/// Standard deviations of the noised data that the expansion reaches over on either side.
const REACH: f64 = 6.0;

/// Polynomials per length scale of the kernel and half an interval, and besides: a Gaussian's spectrum ends at some five inverse
/// lengths, and a polynomial of degree n resolves the wave number n over half the interval.
const PER_LENGTH: f64 = 5.0;
const BESIDES: f64 = 8.0;

/// Largest number of product polynomials, on the line (their matrices have 128 MiB) and in more dimensions, where statistics take
/// more of each.
const MOST_POLYNOMIALS: usize = 4096;
const MOST_POLYNOMIALS_IN_SPACE: usize = 1296;
/// Fewest polynomials of one variable: fewer resolve nothing.
const FEWEST: f64 = 6.0;

/// Share of the kernel's functions that an expansion may lose.
const MOST_LOST: f64 = 0.5;

/// What a kernel's matrix may differ from its factor's by, relative to its largest element: more than rounding means that it has
/// negative eigenvalues.
const ROUNDING: f64 = 1e-9;

/// Widths that the coordinates are stretched about their middle with, in units of half the range.
const WIDTHS: [f64; 6] = [0.8, 0.4, 0.2, 0.1, 0.05, 0.025];
/// Fewest polynomials of time that the search goes down to.
const FEWEST_OF_TIME: f64 = 3.0;
/// An expansion whose kernel is off by less (relative Frobenius norm) is not worth improving.
const SMALL: f64 = 1e-4;

/// Why a kernel could not be expanded.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ExpansionError {
    #[error(
        "the kernel varies over {space:.3} in x and {time:.3} in t: on |x| <= {reach:.3} its expansion would take {wanted:.0} polynomials, of which {allowed} are allowed"
    )]
    TooFine {
        space: f64,
        time: f64,
        reach: f64,
        wanted: f64,
        allowed: usize,
    },
    #[error(
        "an expansion in {polynomials} polynomials loses {lost:.2} of the kernel's functions (root mean square)"
    )]
    Lossy { polynomials: usize, lost: f64 },
    #[error(
        "the kernel is not positive semidefinite: its matrix differs from every L L^T by at least {off:.3e} of its largest element"
    )]
    Indefinite { off: f64 },
    #[error("the kernel is not finite on the noised data")]
    NotFinite,
    #[error(transparent)]
    Linalg(#[from] LinalgError),
}

/// Products of Chebyshev polynomials of the coordinates and of time, chosen for one kernel.
pub(super) struct Expansion {
    grid: Grid,
    pub features: Features,
    /// L with K = phi^T L L^T phi at the nodes, F x r.
    pub factor: DMatrix<f64>,
    /// Root mean square of |f - its expansion| over unit balls |f|_K <= 1 at random points of the noised data, relative to that of f.
    pub error: f64,
}

impl Expansion {
    /// Looks for the best layout: how far to stretch the coordinates, so that polynomials are spent where the data
    /// are, and how many of the polynomials to give to time.
    pub fn new(problem: &Problem, kernel: &Kernel) -> Result<Self, ExpansionError> {
        let search = Search::new(problem, kernel)?;
        let Candidate {
            grid, matrix, lost, ..
        } = search.best();
        let factor = grid.factor(&matrix)?;
        if lost.is_nan() || lost > MOST_LOST {
            return Err(ExpansionError::Lossy {
                polynomials: grid.t.len(),
                lost,
            });
        }
        Ok(Self {
            features: grid.features(),
            factor,
            error: lost,
            grid,
        })
    }

    /// The same for another kernel.
    pub fn factor_of(&self, kernel: &Kernel) -> Result<DMatrix<f64>, ExpansionError> {
        let nodes = kernel.points(&self.grid.x, &self.grid.t);
        self.grid.factor(&gram(kernel, &nodes))
    }
}

/// Numbers of polynomials, of the coordinates and last of time, and how far the coordinates are stretched.
#[derive(Debug, Clone, PartialEq)]
struct Layout {
    counts: Vec<usize>,
    /// Index into [`WIDTHS`].
    stretch: Option<usize>,
}

impl Layout {
    fn narrower(&self) -> Option<Self> {
        let next = self.stretch.map_or(0, |index| index + 1);
        (next < WIDTHS.len()).then(|| self.stretched(Some(next)))
    }

    fn wider(&self) -> Option<Self> {
        let index = self.stretch?;
        Some(self.stretched(index.checked_sub(1)))
    }

    fn stretched(&self, stretch: Option<usize>) -> Self {
        Self {
            stretch,
            ..self.clone()
        }
    }
}

/// A layout with its nodes, and the kernel's matrix there.
struct Candidate {
    layout: Layout,
    grid: Grid,
    matrix: DMatrix<f64>,
    /// Frobenius norm of K - its expansion at the points, relative to that of K: what sums of sections K(., z_p) with random
    /// coefficients lose. Unit balls, which hold functions much rougher than trained ones, would spend all on space.
    off: f64,
    /// As [`Expansion::error`].
    lost: f64,
}

/// What layouts are compared by.
struct Search<'a> {
    kernel: &'a Kernel,
    /// Of the coordinates, and of time.
    ranges: Vec<(f64, f64)>,
    time: (f64, f64),
    variable: Variable,
    /// Polynomials that the coordinates would take.
    wanted: Vec<f64>,
    /// Most products.
    most: f64,
    start: Layout,
    /// Points of the noised data, with their times, as the kernel's and with its matrix there.
    x: Vec<f64>,
    t: Vec<f64>,
    points: Points,
    exact: DMatrix<f64>,
}

impl<'a> Search<'a> {
    fn new(problem: &Problem, kernel: &'a Kernel) -> Result<Self, ExpansionError> {
        let dim = problem.dim();
        let count = |half: f64, scale: f64| (PER_LENGTH * half / scale + BESIDES).ceil();
        let ranges: Vec<(f64, f64)> = (0..dim).map(|i| reach(problem, i)).collect();
        let (variable, half) = time_variable(problem, kernel);
        let mut counts: Vec<f64> = ranges
            .iter()
            .enumerate()
            .map(|(i, (low, high))| count(0.5 * (high - low), kernel.length_scale(i)))
            .collect();
        let wanted_in_space = counts.clone();
        counts.push(count(half, kernel.time_scale()));
        let wanted: f64 = counts.iter().product();
        let allowed = if dim == 1 {
            MOST_POLYNOMIALS
        } else {
            MOST_POLYNOMIALS_IN_SPACE
        };
        if !shrink(&mut counts, allowed) {
            return Err(ExpansionError::TooFine {
                space: (0..dim)
                    .map(|i| kernel.length_scale(i))
                    .fold(f64::INFINITY, f64::min),
                time: kernel.time_scale(),
                reach: ranges
                    .iter()
                    .map(|(low, high)| high.max(-low))
                    .fold(0.0, f64::max),
                wanted,
                allowed,
            });
        }
        let (x, t) = probes(problem);
        let points = kernel.points(&x, &t);
        Ok(Self {
            kernel,
            exact: gram(kernel, &points),
            points,
            ranges,
            time: (problem.t_min, problem.t_max),
            variable,
            wanted: wanted_in_space,
            most: wanted.min(allowed as f64),
            start: Layout {
                counts: counts.iter().map(|n| *n as usize).collect(),
                stretch: None,
            },
            x,
            t,
        })
    }

    /// Coordinate descent from the start: the width, the share of time, the width again.
    fn best(&self) -> Candidate {
        let start = self.candidate(self.start.clone());
        if start.off.is_nan() || start.off <= SMALL {
            return start;
        }
        let stretched = self.descend(start, |l| l.narrower());
        let fewer = self.descend(stretched, |l| self.with_time(l, -1.0));
        let more = self.descend(fewer, |l| self.with_time(l, 1.0));
        let narrower = self.descend(more, |l| l.narrower());
        self.descend(narrower, |l| l.wider())
    }

    /// Steps as long as the expansion gets better; `next` changes a layout's counts or its stretch.
    fn descend(&self, mut best: Candidate, next: impl Fn(&Layout) -> Option<Layout>) -> Candidate {
        while let Some(layout) = next(&best.layout) {
            let candidate = self.candidate(layout);
            if candidate.off.is_nan() || candidate.off >= best.off {
                break;
            }
            best = candidate;
        }
        best
    }

    /// So many more polynomials of time, and of the coordinates in proportion as many as there may be.
    fn with_time(&self, layout: &Layout, more: f64) -> Option<Layout> {
        let of_time = *layout.counts.last()? as f64 + more;
        let in_space: f64 = self.wanted.iter().product();
        let shrunk = (self.most / (of_time * in_space)).powf(1.0 / self.wanted.len() as f64);
        let mut counts: Vec<f64> = self
            .wanted
            .iter()
            .map(|n| (n * shrunk).floor().max(FEWEST))
            .collect();
        counts.push(of_time);
        let fits = counts.iter().product::<f64>() <= self.most && of_time >= FEWEST_OF_TIME;
        fits.then(|| Layout {
            counts: counts.iter().map(|n| *n as usize).collect(),
            stretch: layout.stretch,
        })
    }

    fn candidate(&self, layout: Layout) -> Candidate {
        let grid = self.grid(&layout);
        let nodes = self.kernel.points(&grid.x, &grid.t);
        let matrix = gram(self.kernel, &nodes);
        let (off, lost) = self.errors(&grid, &nodes, &matrix);
        Candidate {
            layout,
            grid,
            matrix,
            off,
            lost,
        }
    }

    /// With c(z) the cardinal functions of interpolation: the relative Frobenius norm of K - c^T K c at the points, and the power
    /// function P^2 = K(z,z) - 2 c^T k(z) + c^T K c, summed and divided by the sum of K(z,z), its root.
    fn errors(&self, grid: &Grid, nodes: &Points, matrix: &DMatrix<f64>) -> (f64, f64) {
        let (n, m, exact) = (self.t.len(), grid.t.len(), &self.exact);
        let mut cross = DMatrix::zeros(m, n);
        let kernel = self.kernel;
        kernel.matrix(nodes, &self.points, cross.as_mut_slice());
        let cardinal = grid.cardinal_functions(&self.x, &self.t);
        let image = linalg::multiply(linalg::view(matrix), linalg::view(&cardinal));
        let expanded = linalg::multiply(linalg::view(&cardinal).transpose(), linalg::view(&image));
        let mut lost = 0.0;
        for k in 0..n {
            let between = cardinal.column(k).dot(&cross.column(k));
            lost += (exact[(k, k)] - 2.0 * between + expanded[(k, k)]).max(0.0);
        }
        let off = (exact - expanded).norm() / exact.norm();
        (off, (lost / exact.trace()).sqrt())
    }

    fn grid(&self, layout: &Layout) -> Grid {
        let variable = |(low, high): (f64, f64)| match layout.stretch {
            None => Variable::Plain,
            Some(index) => Variable::Stretched {
                centre: 0.5 * (low + high),
                width: WIDTHS[index] * 0.5 * (high - low),
            },
        };
        let coordinates = self.ranges.iter().zip(&layout.counts);
        let mut sets: Vec<Chebyshev> = coordinates
            .map(|(range, n)| Chebyshev::new(*n, range.0, range.1, variable(*range)))
            .collect();
        let (first, last) = self.time;
        let of_time = layout.counts[self.ranges.len()];
        sets.push(Chebyshev::new(of_time, first, last, self.variable));
        Grid::new(sets)
    }
}

/// The nodes of tensor-product Chebyshev interpolation, the last coordinate (time) running fastest.
struct Grid {
    sets: Vec<Chebyshev>,
    /// All nodes, coordinate-major, and their times.
    x: Vec<f64>,
    t: Vec<f64>,
}

impl Grid {
    fn new(sets: Vec<Chebyshev>) -> Self {
        let axes: Vec<Vec<f64>> = sets.iter().map(Chebyshev::nodes).collect();
        let nodes: usize = axes.iter().map(Vec::len).product();
        // Coordinate i of node k: the mixed-radix digits of k.
        let along = |i: usize| {
            let after: usize = axes[i + 1..].iter().map(Vec::len).product();
            let axis = &axes[i];
            (0..nodes).map(move |k| axis[k / after % axis.len()])
        };
        let dim = sets.len() - 1;
        Self {
            x: (0..dim).flat_map(along).collect(),
            t: along(dim).collect(),
            sets,
        }
    }

    /// The products whose coefficients values at the nodes give.
    fn features(&self) -> Features {
        let factor = |set: &Chebyshev| Factor::new(vec![FeatureSet::Chebyshev(set.clone())]);
        let dim = self.sets.len() - 1;
        Features {
            space: SpaceFeatures::Product(self.sets[..dim].iter().map(factor).collect()),
            time: factor(&self.sets[dim]),
        }
    }

    /// L with K = phi^T L L^T phi at the nodes, from the kernel's matrix there.
    fn factor(&self, matrix: &DMatrix<f64>) -> Result<DMatrix<f64>, ExpansionError> {
        if matrix.iter().any(|v| !v.is_finite()) {
            return Err(ExpansionError::NotFinite);
        }
        let mut factor = linalg::pivoted_factor(matrix)?;
        require_whole(matrix, &factor)?;
        for mut column in factor.column_iter_mut() {
            self.to_coefficients(column.as_mut_slice());
        }
        Ok(factor)
    }

    /// Values at the nodes to coefficients of the products, in place, axis by axis.
    fn to_coefficients(&self, values: &mut [f64]) {
        let mut inner = 1;
        for set in self.sets.iter().rev() {
            let transform = set.transform();
            let n = (transform.len() as f64).sqrt() as usize;
            let mut line = vec![0.0; n];
            for block in values.chunks_exact_mut(n * inner) {
                for offset in 0..inner {
                    for (j, l) in line.iter_mut().enumerate() {
                        *l = block[j * inner + offset];
                    }
                    for (k, row) in transform.chunks_exact(n).enumerate() {
                        block[k * inner + offset] = dot(row, &line);
                    }
                }
            }
            inner *= n;
        }
    }

    /// The cardinal functions of interpolation at points, a column each.
    fn cardinal_functions(&self, x: &[f64], t: &[f64]) -> DMatrix<f64> {
        let (n, dim) = (t.len(), self.sets.len() - 1);
        let mut out = DMatrix::zeros(self.t.len(), n);
        for (k, mut column) in out.column_iter_mut().enumerate() {
            let mut all = vec![1.0];
            for (i, set) in self.sets.iter().enumerate() {
                let a = if i == dim { t[k] } else { x[i * n + k] };
                all = kronecker(&all, &cardinal_functions(set, a));
            }
            column.copy_from_slice(&all);
        }
        out
    }
}

/// The kernel's matrix at its points.
fn gram(kernel: &Kernel, points: &Points) -> DMatrix<f64> {
    let n = points.len();
    let mut out = DMatrix::zeros(n, n);
    kernel.gram(points, out.as_mut_slice());
    out
}

/// Refuses a matrix that is not L L^T.
fn require_whole(matrix: &DMatrix<f64>, factor: &DMatrix<f64>) -> Result<(), ExpansionError> {
    const ROWS: usize = 64;
    let largest = matrix.diagonal().max();
    let own = (0..matrix.nrows()).map(|i| (matrix[(i, i)] - factor.row(i).norm_squared()).abs());
    let mut worst = own.fold(0.0, f64::max);
    for i in (0..matrix.nrows()).step_by(matrix.nrows().div_ceil(ROWS)) {
        let row = factor * factor.row(i).transpose();
        let difference = (matrix.column(i) - row).amax();
        worst = worst.max(difference);
    }
    let off = worst / largest;
    if off <= ROUNDING {
        Ok(())
    } else {
        Err(ExpansionError::Indefinite { off })
    }
}

/// Fewer polynomials of every variable, in proportion, until their products are at most so many: the error of the expansion tells
/// what that costs. False where the kernel would be left with a small part of what it asks for.
fn shrink(counts: &mut [f64], most: usize) -> bool {
    const SMALL: f64 = 0.3;
    let wanted = counts.to_vec();
    loop {
        let products: f64 = counts.iter().product();
        if products <= most as f64 {
            let mut kept = counts.iter().zip(&wanted);
            return kept.all(|(now, wanted)| now / wanted > SMALL);
        }
        let excess = (products / most as f64).powf(1.0 / counts.len() as f64);
        let before = counts.to_vec();
        for count in counts.iter_mut() {
            *count = (*count / excess).floor().max(FEWEST);
        }
        if *counts == before[..] {
            return false;
        }
    }
}

/// What the value at every node adds to the interpolant at `a`.
fn cardinal_functions(set: &Chebyshev, a: f64) -> Vec<f64> {
    let transform = set.transform();
    let set = FeatureSet::Chebyshev(set.clone());
    let mut values = vec![0.0; set.len()];
    set.values(a, &mut values);
    (0..values.len())
        .map(|j| {
            let column = transform.iter().skip(j).step_by(values.len());
            column.zip(&values).map(|(c, v)| c * v).sum()
        })
        .collect()
}

/// Points of the noised data, the same in every run.
fn probes(problem: &Problem) -> (Vec<f64>, Vec<f64>) {
    const PROBES: usize = 128;
    let dim = problem.dim();
    let mut rng = stream(0, 0);
    let mut triple = Triple {
        t: 0.0,
        x0: vec![0.0; dim],
        x: vec![0.0; dim],
    };
    let (mut x, mut t) = (vec![0.0; dim * PROBES], vec![0.0; PROBES]);
    for k in 0..PROBES {
        problem.sample_triple(&mut rng, &mut triple);
        t[k] = triple.t;
        for i in 0..dim {
            x[i * PROBES + k] = triple.x[i];
        }
    }
    (x, t)
}

/// Where the noised data are along a coordinate at any time.
fn reach(problem: &Problem, coordinate: usize) -> (f64, f64) {
    const TIMES: u32 = 64;
    let mut axis = vec![0.0; problem.dim()];
    axis[coordinate] = 1.0;
    let mut range = (f64::INFINITY, f64::NEG_INFINITY);
    for j in 0..=TIMES {
        let t = problem.t_min + (problem.t_max - problem.t_min) * f64::from(j) / f64::from(TIMES);
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        for component in problem.data.components() {
            let variance = component.variance_along(&axis);
            let spread = REACH * (alpha * alpha * variance + sigma2).sqrt();
            let centre = alpha * component.mean[coordinate];
            range = (range.0.min(centre - spread), range.1.max(centre + spread));
        }
    }
    range
}

/// The variable of time that the kernel is smooth in, and half its range.
fn time_variable(problem: &Problem, kernel: &Kernel) -> (Variable, f64) {
    if kernel.embedding().time == TimeEmbedding::Log {
        (Variable::Log, 0.5 * (problem.t_max / problem.t_min).ln())
    } else {
        (Variable::Plain, 0.5 * (problem.t_max - problem.t_min))
    }
}
