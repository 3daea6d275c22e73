//! Families of kernel machines: the exact kernel, which is trained, and its expansion in product features, which the theory is
//! solved in.

use nalgebra::DMatrix;
use thiserror::Error;

use super::Linear;
use super::features::{Chebyshev, Factor, FeatureSet, Features, SpaceFeatures, Variable, dot};
use super::kernel::{Kernel, Points, TimeEmbedding};
use crate::numerics::linalg::{self, LinalgError};
use crate::numerics::random::stream;
use crate::problem::{Prediction, Problem, Samples, Training};

/// Standard deviations of the noised data that the expansion reaches over on either side.
const REACH: f64 = 6.0;

/// Polynomials per length scale of the kernel and half an interval, and besides: a Gaussian's spectrum ends at some five inverse
/// lengths, and a polynomial of degree n resolves the wave number n over half the interval.
const PER_LENGTH: f64 = 5.0;
const BESIDES: f64 = 8.0;

/// Largest number of product polynomials, on the line (their matrices have 128 MiB) and in more dimensions, where statistics take
/// more of each.
const MOST_POLYNOMIALS: usize = 4096;
const MOST_POLYNOMIALS_IN_SPACE: usize = 1280;
/// Fewest polynomials of one variable: fewer resolve nothing.
const FEWEST: f64 = 6.0;

/// Share of the kernel's functions that an expansion may lose.
const MOST_LOST: f64 = 0.5;

/// What a kernel's matrix may differ from its factor's by, relative to its largest element: more than rounding means that it has
/// negative eigenvalues.
const ROUNDING: f64 = 1e-9;

/// Least ridge, in units of the mean of lambda K(z, z): at a smaller one the condition of the systems leaves the fixed points of the
/// statistics fewer than six digits.
const JITTER: f64 = 1e-9;
/// Samples that this mean is estimated from, and their stream.
const RIDGE_DRAWS: usize = 512;
const RIDGE_SEED: u64 = 0x5eed_0009;

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

/// Models f in the reproducing-kernel space of K, trained from f = 0 or from a random initial function.
///
/// The expansion K(z, z') = phi(z)^T L L^T phi(z') in products of Chebyshev polynomials makes f = W phi linear in its weights,
/// with the ridge |f|_K^2 = W (L L^T)^-1 W^T: what the solvers of linear families need. Training does not use it.
#[derive(Debug, Clone)]
pub struct KernelFamily {
    pub kernel: Kernel,
    /// The polynomials.
    pub linear: Linear,
    /// L, F x r.
    pub factor: DMatrix<f64>,
    /// The covariance of the random initial function as such a factor, F x r', with the kernel it comes from.
    pub initial: Option<(Kernel, DMatrix<f64>)>,
    /// Root mean square of |f - its expansion| over unit balls |f|_K <= 1 at random points of the noised data, relative to that
    /// of f: an upper bound for what any trained function loses.
    pub expansion_error: f64,
}

impl KernelFamily {
    /// Expands `kernel`, and the kernel of the initial function if there is one.
    pub fn new(
        problem: &Problem,
        predicts: Prediction,
        kernel: Kernel,
        initial: Option<Kernel>,
    ) -> Result<Self, ExpansionError> {
        let grid = Grid::new(problem, &kernel)?;
        let matrix = grid.matrix(&kernel);
        let factor = grid.factor(&matrix)?;
        let initial = match initial {
            None => None,
            Some(first) => {
                let matrix = grid.matrix(&first);
                let factor = grid.factor(&matrix)?;
                Some((first, factor))
            }
        };
        let expansion_error = grid.error(problem, &kernel, &matrix);
        if expansion_error.is_nan() || expansion_error > MOST_LOST {
            return Err(ExpansionError::Lossy {
                polynomials: grid.t.len(),
                lost: expansion_error,
            });
        }
        Ok(Self {
            expansion_error,
            linear: Linear {
                features: grid.features,
                predicts,
            },
            kernel,
            factor,
            initial,
        })
    }

    /// The ridge that machines are trained with, and their statistics taken at: that of `training`, or where it is smaller the jitter
    /// that rounding asks for (D22.15).
    pub fn ridge(&self, problem: &Problem, training: &Training) -> f64 {
        let draws = Training {
            samples: RIDGE_DRAWS,
            draws: 1,
            ..training.clone()
        };
        let mut rng = stream(RIDGE_SEED, 0);
        let samples = Samples::draw(problem, self.linear.predicts, &draws, &mut rng);
        let mut gram = DMatrix::zeros(RIDGE_DRAWS, RIDGE_DRAWS);
        let points = self.kernel.points(&samples.x, &samples.t);
        self.kernel.gram(&points, gram.as_mut_slice());
        let own = samples.lambda.iter().enumerate();
        let trace: f64 = own.map(|(i, lambda)| lambda * gram[(i, i)]).sum();
        training.ridge.max(JITTER * trace / RIDGE_DRAWS as f64)
    }
}

/// The nodes of tensor-product Chebyshev interpolation, the last coordinate (time) running fastest.
struct Grid {
    sets: Vec<Chebyshev>,
    features: Features,
    /// All nodes, coordinate-major, and their times.
    x: Vec<f64>,
    t: Vec<f64>,
}

impl Grid {
    fn new(problem: &Problem, kernel: &Kernel) -> Result<Self, ExpansionError> {
        let dim = problem.dim();
        let count = |half: f64, scale: f64| (PER_LENGTH * half / scale + BESIDES).ceil();
        let ranges: Vec<(f64, f64)> = (0..dim).map(|i| reach(problem, i)).collect();
        let (variable, half) = time_variable(problem, kernel);
        let mut counts: Vec<f64> = ranges
            .iter()
            .enumerate()
            .map(|(i, (low, high))| count(0.5 * (high - low), kernel.length_scale(i)))
            .collect();
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
        let mut sets: Vec<Chebyshev> = ranges
            .iter()
            .zip(&counts)
            .map(|((low, high), n)| Chebyshev::new(*n as usize, *low, *high, Variable::Plain))
            .collect();
        let time = Chebyshev::new(counts[dim] as usize, problem.t_min, problem.t_max, variable);
        sets.push(time);
        let axes: Vec<Vec<f64>> = sets.iter().map(Chebyshev::nodes).collect();
        let nodes: usize = axes.iter().map(Vec::len).product();
        // Coordinate i of node k: the mixed-radix digits of k.
        let along = |i: usize| {
            let after: usize = axes[i + 1..].iter().map(Vec::len).product();
            let axis = &axes[i];
            (0..nodes).map(move |k| axis[k / after % axis.len()])
        };
        let factor = |set: &Chebyshev| Factor::new(vec![FeatureSet::Chebyshev(set.clone())]);
        Ok(Self {
            x: (0..dim).flat_map(along).collect(),
            t: along(dim).collect(),
            features: Features {
                space: SpaceFeatures::Product(sets[..dim].iter().map(factor).collect()),
                time: factor(&sets[dim]),
            },
            sets,
        })
    }

    fn matrix(&self, kernel: &Kernel) -> DMatrix<f64> {
        let points = kernel.points(&self.x, &self.t);
        let n = self.t.len();
        let mut out = DMatrix::zeros(n, n);
        kernel.gram(&points, out.as_mut_slice());
        out
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

    /// The power function P^2 = K(z,z) - 2 c^T k(z) + c^T K c of interpolation, c the cardinal functions at z, summed over random
    /// points and divided by the sum of K(z,z).
    fn error(&self, problem: &Problem, kernel: &Kernel, matrix: &DMatrix<f64>) -> f64 {
        let (x, t) = probes(problem);
        let probes = kernel.points(&x, &t);
        let nodes: Points = kernel.points(&self.x, &self.t);
        let (n, m) = (t.len(), self.t.len());
        let mut cross = vec![0.0; n * m];
        kernel.matrix(&nodes, &probes, &mut cross);
        let own = kernel.diagonal(&probes);
        let dim = self.sets.len() - 1;
        let (mut lost, mut whole) = (0.0, 0.0);
        for k in 0..n {
            let mut cardinal = vec![1.0];
            for (i, set) in self.sets.iter().enumerate() {
                let a = if i == dim { t[k] } else { x[i * n + k] };
                cardinal = super::features::kronecker(&cardinal, &cardinal_functions(set, a));
            }
            let c = nalgebra::DVector::from_vec(cardinal);
            let between = dot(c.as_slice(), &cross[k * m..(k + 1) * m]);
            lost += (own[k] - 2.0 * between + c.dot(&(matrix * &c))).max(0.0);
            whole += own[k];
        }
        (lost / whole).sqrt()
    }
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
    let mut rng = crate::numerics::random::stream(0, 0);
    let mut triple = crate::problem::Triple {
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
