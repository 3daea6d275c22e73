//! The posterior of the clean point at many positions of one time, for components with few axes: by products with the n x d bases,
//! all positions at once, never a matrix of n x n (D24.2 to D24.5).

use faer::MatRef;
use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::LowRankPoint;
use crate::numerics::linalg::{add_product, multiply, view};
use crate::problem::target::softmax;
use crate::problem::{CloudMoments, Component, Problem};

/// Positions treated together: their coordinates in 4096 dimensions fill two megabytes.
const CHUNK: usize = 64;
/// What lies off the axes is |y|^2 - |U^T y|^2, and is computed as a vector where the difference is this much smaller than |y|^2:
/// three of sixteen digits are lost at most.
const CANCELLED: f64 = 1e-3;

/// The noised mixture at one time, its components Gaussians with few axes of many. Agrees with [`crate::problem::posterior`] (tested).
/// Positions lie coordinate-major, `x[i * n + k]` is coordinate i of point k.
#[derive(Debug, Clone)]
pub struct LowRankPosterior {
    dim: usize,
    alpha: f64,
    sigma2: f64,
    pub(super) parts: Vec<Part>,
}

/// A function of the eigenvalues of one component's covariance: along its axes, and off them.
#[derive(Debug, Clone)]
pub(super) struct Spectrum {
    pub along: Vec<f64>,
    pub off: f64,
}

impl Spectrum {
    fn new(component: &Component, f: impl Fn(f64) -> f64) -> Self {
        Self {
            along: component.variances.iter().map(|v| f(*v)).collect(),
            off: if component.is_thin() {
                f(component.off_axes)
            } else {
                0.0
            },
        }
    }

    pub fn trace(&self, dim: usize) -> f64 {
        self.along.iter().sum::<f64>() + (dim - self.along.len()) as f64 * self.off
    }
}

/// What one component gives, M = alpha^2 Sigma + sigma^2 I.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// ln of weight times the Gaussian's normalisation.
    log_norm: f64,
    /// Orthonormal columns, D x d.
    pub axes: DMatrix<f64>,
    /// Mean of x0; `None` at the origin.
    pub mean: Option<DVector<f64>>,
    /// M^-1.
    precision: Spectrum,
    /// alpha Sigma M^-1: how the conditional mean follows x.
    gain: Spectrum,
    /// Cov(x0|x,k) = sigma^2 Sigma M^-1.
    pub own: Spectrum,
}

impl Part {
    fn new(component: &Component, log_weight: f64, alpha: f64, sigma2: f64) -> Self {
        let dim = component.mean.len();
        let spread = |v: f64| alpha * alpha * v + sigma2;
        let logs = Spectrum::new(component, |v| (2.0 * std::f64::consts::PI * spread(v)).ln());
        let identity = || DMatrix::identity(dim, dim);
        Self {
            log_norm: log_weight - 0.5 * logs.trace(dim),
            axes: component.axes.clone().unwrap_or_else(identity),
            mean: component
                .mean
                .iter()
                .any(|m| *m != 0.0)
                .then(|| component.mean.clone()),
            precision: Spectrum::new(component, |v| spread(v).recip()),
            gain: Spectrum::new(component, |v| alpha * v / spread(v)),
            own: Spectrum::new(component, |v| v * sigma2 / spread(v)),
        }
    }

    fn is_thin(&self) -> bool {
        self.axes.ncols() < self.axes.nrows()
    }
}

/// Some of the positions, m x D, on their way through the components.
struct Chunk<'a> {
    x: MatRef<'a, f64>,
    /// Per component the coordinates of x - alpha mu along the axes, m x d.
    along: Vec<DMatrix<f64>>,
    /// Posterior weights of the K components (K x m), and ln p(x|t).
    weights: DMatrix<f64>,
    log_density: Vec<f64>,
}

impl LowRankPosterior {
    /// Prepares time `t`.
    pub fn new(problem: &Problem, t: f64) -> Self {
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        let data = &problem.data;
        let parts = data.components().iter().zip(data.log_weights());
        Self {
            dim: problem.dim(),
            alpha,
            sigma2,
            parts: parts
                .map(|(c, log_weight)| Part::new(c, *log_weight, alpha, sigma2))
                .collect(),
        }
    }

    /// Dimension D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    pub fn sigma2(&self) -> f64 {
        self.sigma2
    }

    /// E[x0|x,t] at the n points of `x`, into `out` (both coordinate-major, length D n).
    pub fn mean(&self, x: &[f64], out: &mut [f64]) {
        self.chunks(x, |start, chunk| {
            self.means(chunk, start, out);
        });
    }

    /// grad ln p(x|t) (T2) into `score`, coordinate-major, and the posterior weights of the K components into `weights`, those of
    /// the first point first (length K n). Returns ln p(x|t), length n.
    pub fn score(&self, x: &[f64], score: &mut [f64], weights: &mut [f64]) -> Vec<f64> {
        let mut log_density = Vec::with_capacity(x.len() / self.dim);
        let components = self.parts.len();
        self.chunks(x, |start, chunk| {
            self.weighted(chunk, start, score, |p| (&p.precision, -1.0));
            log_density.extend(&chunk.log_density);
            let own = &mut weights[start * components..][..components * chunk.log_density.len()];
            own.copy_from_slice(chunk.weights.as_slice());
        });
        log_density
    }

    /// Posterior weights of the K components at the n points of `x`, those of the first point first (length K n).
    pub fn responsibilities(&self, x: &[f64], out: &mut [f64]) {
        let components = self.parts.len();
        self.chunks(x, |start, chunk| {
            let own = &mut out[start * components..][..components * chunk.log_density.len()];
            own.copy_from_slice(chunk.weights.as_slice());
        });
    }

    /// As [`crate::problem::CloudPosterior::mean_and_draw`].
    pub fn mean_and_draw<R: Rng + ?Sized>(
        &self,
        x: &[f64],
        rng: &mut R,
        mean: &mut [f64],
        clean: &mut [f64],
    ) {
        let n = x.len() / self.dim;
        self.chunks(x, |start, chunk| {
            self.means(chunk, start, mean);
            for k in 0..chunk.log_density.len() {
                let chosen = chosen(chunk.weights.column(k).as_slice(), rng.random::<f64>());
                let normals = DVector::from_fn(self.dim, |_, _| rng.sample(StandardNormal));
                let point = self.conditional(chosen, &row(chunk.x, k))
                    + self.parts[chosen].rooted(&normals);
                for (i, p) in point.iter().enumerate() {
                    clean[i * n + start + k] = *p;
                }
            }
        });
    }

    /// Moments as of [`crate::problem::CloudPosterior::moments`]: the covariances are dense, D^2 numbers for every point.
    /// [`Self::at`] gives their traces and products without.
    pub fn moments(&self, x: &[f64]) -> CloudMoments {
        let (n, dim) = (x.len() / self.dim, self.dim);
        let mut moments = CloudMoments {
            log_density: vec![0.0; n],
            mean: vec![0.0; dim * n],
            covariance: vec![0.0; dim * dim * n],
            score: vec![0.0; dim * n],
        };
        for k in 0..n {
            let position: Vec<f64> = (0..dim).map(|i| x[i * n + k]).collect();
            let point = self.at(&position);
            moments.log_density[k] = point.log_density;
            for i in 0..dim {
                moments.mean[i * n + k] = point.mean[i];
                moments.score[i * n + k] = point.score[i];
            }
            for (e, c) in point.covariance().iter().enumerate() {
                moments.covariance[e * n + k] = *c;
            }
        }
        moments
    }

    /// Everything about one position `x`, of length D.
    pub fn at(&self, x: &[f64]) -> LowRankPoint<'_> {
        let mut score = vec![0.0; self.dim];
        let mut weights = vec![0.0; self.parts.len()];
        let log_density = self.score(x, &mut score, &mut weights)[0];
        let x = DVector::from_column_slice(x);
        let means = (0..self.parts.len()).map(|k| self.conditional(k, &x));
        LowRankPoint::new(self, log_density, weights, score.into(), means.collect())
    }

    /// E[x0|x,k].
    fn conditional(&self, k: usize, x: &DVector<f64>) -> DVector<f64> {
        let part = &self.parts[k];
        let mut misfit = x.clone();
        if let Some(mean) = &part.mean {
            misfit.axpy(-self.alpha, mean, 1.0);
        }
        let shift = part.applied(&part.gain, &misfit);
        match &part.mean {
            Some(mean) => mean + shift,
            None => shift,
        }
    }

    fn chunks(&self, x: &[f64], mut visit: impl FnMut(usize, &Chunk<'_>)) {
        let n = x.len() / self.dim;
        debug_assert_eq!(n * self.dim, x.len());
        let all = MatRef::from_column_major_slice(x, n, self.dim);
        for start in (0..n).step_by(CHUNK) {
            let some = all.subrows(start, CHUNK.min(n - start));
            visit(start, &self.chunk(some));
        }
    }

    fn chunk<'a>(&self, x: MatRef<'a, f64>) -> Chunk<'a> {
        let (count, components) = (x.nrows(), self.parts.len());
        let mut along = Vec::with_capacity(components);
        let mut logs = DMatrix::zeros(components, count);
        for (k, part) in self.parts.iter().enumerate() {
            let shifted = part.mean.as_ref().map(|mean| {
                DMatrix::from_fn(count, self.dim, |p, i| x[(p, i)] - self.alpha * mean[i])
            });
            let y = shifted.as_ref().map_or(x, view);
            let z = multiply(y, view(&part.axes));
            for (p, square) in part.squares(y, &z).into_iter().enumerate() {
                logs[(k, p)] = part.log_norm - 0.5 * square;
            }
            along.push(z);
        }
        let mut log_density = Vec::with_capacity(count);
        for mut column in logs.column_iter_mut() {
            let (log, weights) = softmax(column.as_slice());
            log_density.push(log);
            column.copy_from_slice(&weights);
        }
        Chunk {
            x,
            along,
            weights: logs,
            log_density,
        }
    }

    /// E[x0|x] of a chunk into its places of `out`.
    fn means(&self, chunk: &Chunk<'_>, start: usize, out: &mut [f64]) {
        self.weighted(chunk, start, out, |p| (&p.gain, 1.0));
        let n = out.len() / self.dim;
        for (k, part) in self.parts.iter().enumerate() {
            let Some(mean) = &part.mean else { continue };
            for p in 0..chunk.log_density.len() {
                for (i, m) in mean.iter().enumerate() {
                    out[i * n + start + p] += chunk.weights[(k, p)] * m;
                }
            }
        }
    }

    /// Sum over the components of w sign f(Sigma) (x - alpha mu), f one of their spectra, into the chunk's places of `out`.
    fn weighted<'s>(
        &'s self,
        chunk: &Chunk<'_>,
        start: usize,
        out: &mut [f64],
        of: impl Fn(&'s Part) -> (&'s Spectrum, f64),
    ) {
        let (n, count) = (out.len() / self.dim, chunk.log_density.len());
        // f(Sigma) = f_off + U (f - f_off) U^T: the first term of all components together.
        let mut straight = vec![0.0; count];
        for (k, part) in self.parts.iter().enumerate() {
            let (spectrum, sign) = of(part);
            for (s, w) in straight.iter_mut().zip(chunk.weights.row(k).iter()) {
                *s += sign * w * spectrum.off;
            }
        }
        for i in 0..self.dim {
            let places = out[i * n + start..][..count].iter_mut();
            for (p, (out, s)) in places.zip(&straight).enumerate() {
                *out = if *s == 0.0 { 0.0 } else { s * chunk.x[(p, i)] };
            }
        }
        for (k, part) in self.parts.iter().enumerate() {
            let (spectrum, sign) = of(part);
            let mut z = chunk.along[k].clone();
            for (mut column, f) in z.column_iter_mut().zip(&spectrum.along) {
                let weights = chunk.weights.row(k);
                for (z, w) in column.iter_mut().zip(weights.iter()) {
                    *z *= sign * w * (f - spectrum.off);
                }
            }
            let places = faer::MatMut::from_column_major_slice_mut(out, n, self.dim);
            add_product(
                view(&z),
                view(&part.axes).transpose(),
                places.subrows_mut(start, count),
            );
            let Some(mean) = part.mean.as_ref().filter(|_| spectrum.off != 0.0) else {
                continue;
            };
            for p in 0..count {
                let shift = sign * chunk.weights[(k, p)] * spectrum.off * self.alpha;
                for (i, m) in mean.iter().enumerate() {
                    out[i * n + start + p] -= shift * m;
                }
            }
        }
    }
}

impl Part {
    /// y^T M^-1 y for every row y (m x D), `z` their coordinates along the axes.
    fn squares(&self, y: MatRef<'_, f64>, z: &DMatrix<f64>) -> Vec<f64> {
        let count = y.nrows();
        let (mut square, mut inside) = (vec![0.0; count], vec![0.0; count]);
        for (column, precision) in z.column_iter().zip(&self.precision.along) {
            for ((square, inside), z) in square.iter_mut().zip(&mut inside).zip(column.iter()) {
                *square += precision * z * z;
                *inside += z * z;
            }
        }
        if !self.is_thin() {
            return square;
        }
        let mut whole = vec![0.0; count];
        for i in 0..y.ncols() {
            for (p, whole) in whole.iter_mut().enumerate() {
                *whole += y[(p, i)] * y[(p, i)];
            }
        }
        for p in 0..count {
            let mut off = whole[p] - inside[p];
            if off < CANCELLED * whole[p] {
                off = (row(y, p) - &self.axes * z.row(p).transpose()).norm_squared();
            }
            square[p] += self.precision.off * off;
        }
        square
    }

    /// f(Sigma) y for one of the spectra.
    pub fn applied(&self, spectrum: &Spectrum, y: &DVector<f64>) -> DVector<f64> {
        let mut along = self.axes.tr_mul(y);
        for (a, f) in along.iter_mut().zip(&spectrum.along) {
            *a *= f - spectrum.off;
        }
        let mut out = &self.axes * along;
        out.axpy(spectrum.off, y, 1.0);
        out
    }

    /// Square root of Cov(x0|x,k), times `y`.
    fn rooted(&self, y: &DVector<f64>) -> DVector<f64> {
        let root = Spectrum {
            along: self.own.along.iter().map(|v| v.sqrt()).collect(),
            off: self.own.off.sqrt(),
        };
        self.applied(&root, y)
    }
}

/// Row `p` as a vector.
fn row(x: MatRef<'_, f64>, p: usize) -> DVector<f64> {
    DVector::from_fn(x.ncols(), |i, _| x[(p, i)])
}

/// The component whose share of the weights contains `uniform`.
fn chosen(weights: &[f64], uniform: f64) -> usize {
    let mut left = uniform;
    let found = weights.iter().position(|w| {
        left -= w;
        left < 0.0
    });
    found.unwrap_or(weights.len() - 1)
}
