//! Training a kernel machine: the exact solution in the dual, P x P, of ridge regression or of gradient flow.

use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::{TrainError, TrainingCost};
use crate::family::kernel::{Kernel, Points};
use crate::family::{Denoiser, KernelFamily, LinearDenoiser};
use crate::numerics::linalg::{self, CholeskyScratch};
use crate::problem::{Diffusion, Problem, Samples, Training};

/// A trained kernel machine f(z) = f_0(z) + sum_p K(z, z_p) c_p, evaluated with the exact kernel.
pub struct KernelDenoiser<'a> {
    family: &'a KernelFamily,
    diffusion: &'a Diffusion,
    points: Points,
    /// c, D x P, those of the first output first.
    coefficients: Vec<f64>,
    /// Weights of f_0 in the family's expansion, length D F; without them f_0 = 0.
    initial: Option<Vec<f64>>,
}

/// The spectrum of S = Lambda^(1/2) K Lambda^(1/2)/P of one training set: it gives the machine at every time of the flow and at
/// every ridge.
pub struct TrainingSpectrum<'a> {
    family: &'a KernelFamily,
    diffusion: &'a Diffusion,
    points: Points,
    /// sqrt(lambda_p).
    roots: Vec<f64>,
    values: Vec<f64>,
    vectors: DMatrix<f64>,
    /// U^T Lambda^(1/2) (y - f_0), P x D.
    residual: DMatrix<f64>,
    initial: Option<Vec<f64>>,
}

/// Trains machines one after another.
pub struct KernelTrainer<'a> {
    problem: &'a Problem,
    family: &'a KernelFamily,
    training: &'a Training,
    /// Of ridge regression, with the jitter.
    ridge: f64,
}

impl<'a> KernelTrainer<'a> {
    pub fn new(problem: &'a Problem, family: &'a KernelFamily, training: &'a Training) -> Self {
        Self {
            problem,
            family,
            training,
            ridge: match training.time {
                Some(_) => 0.0,
                None => family.ridge(problem, training),
            },
        }
    }

    /// What one machine takes: its matrix, and for the flow the eigenvectors, some ten times P^3.
    pub fn cost(training: &Training) -> TrainingCost {
        let p = training.samples as u64;
        let (matrices, flops) = match training.time {
            None => (1, 1.0 / 3.0),
            Some(_) => (4, 10.0),
        };
        TrainingCost {
            bytes: p.saturating_mul(p).saturating_mul(8 * matrices),
            flops: flops * (training.samples as f64).powi(3),
        }
    }

    /// Draws P samples, and a random initial function where the family has one, and trains.
    pub fn train<R: Rng + ?Sized>(&self, rng: &mut R) -> Result<KernelDenoiser<'a>, TrainError> {
        let samples = Samples::draw(
            self.problem,
            self.family.linear.predicts,
            self.training,
            rng,
        );
        let initial = self.initial(rng);
        match self.training.time {
            Some(time) => Ok(self.spectrum(&samples, initial)?.at_time(time)),
            None => self.solve(&samples, initial),
        }
    }

    /// The spectrum of one training set.
    pub fn spectrum(
        &self,
        samples: &Samples,
        initial: Option<Vec<f64>>,
    ) -> Result<TrainingSpectrum<'a>, TrainError> {
        let points = self.family.kernel.points(&samples.x, &samples.t);
        let (roots, matrix) = self.system(samples, &points);
        self.decomposed(samples, points, roots, &matrix, initial)
    }

    /// The spectrum of a given S.
    fn decomposed(
        &self,
        samples: &Samples,
        points: Points,
        roots: Vec<f64>,
        matrix: &DMatrix<f64>,
        initial: Option<Vec<f64>>,
    ) -> Result<TrainingSpectrum<'a>, TrainError> {
        let residual = self.residual(samples, &roots, initial.as_deref());
        let (values, vectors) = linalg::symmetric_eigen(matrix)?;
        Ok(TrainingSpectrum {
            residual: vectors.tr_mul(&residual),
            family: self.family,
            diffusion: &self.problem.diffusion,
            points,
            roots,
            values,
            vectors,
            initial,
        })
    }

    /// What the family's expansion changes of one trained machine: outputs at places (x coordinate-major, with their times) of the
    /// machine with the exact kernel less those of the machine with the expansion, on the same samples (at most 512), from f = 0.
    /// One row per place, one column per output.
    pub fn expansion_change<R: Rng + ?Sized>(
        &self,
        x: &[f64],
        t: &[f64],
        rng: &mut R,
    ) -> Result<DMatrix<f64>, TrainError> {
        const MOST: usize = 512;
        let training = Training {
            samples: self.training.samples.min(MOST),
            draws: 1,
            ..self.training.clone()
        };
        let predicts = self.family.linear.predicts;
        let samples = Samples::draw(self.problem, predicts, &training, rng);
        let points = self.family.kernel.points(&samples.x, &samples.t);
        let (roots, system) = self.system(&samples, &points);
        let mut cross = DMatrix::zeros(roots.len(), t.len());
        let there = self.family.kernel.points(x, t);
        let kernel = &self.family.kernel;
        kernel.matrix(&points, &there, cross.as_mut_slice());
        // Rows L^T phi take the place of the kernel.
        let own = self.coordinates(&samples.x, &samples.t);
        let expanded_cross = &own * self.coordinates(x, t).transpose();
        let rows = DMatrix::from_fn(own.nrows(), own.ncols(), |i, k| roots[i] * own[(i, k)]);
        let expanded = &rows * rows.transpose() / roots.len() as f64;
        let outputs = |system: &DMatrix<f64>, cross: &DMatrix<f64>| {
            let spectrum =
                self.decomposed(&samples, points.clone(), roots.clone(), system, None)?;
            let model = match self.training.time {
                Some(time) => spectrum.at_time(time),
                None => spectrum.at_ridge(self.ridge),
            };
            let c = DMatrix::from_vec(cross.nrows(), self.problem.dim(), model.coefficients);
            Ok(cross.tr_mul(&c))
        };
        let exact: Result<_, TrainError> = outputs(&system, &cross);
        Ok(exact? - outputs(&expanded, &expanded_cross)?)
    }

    /// L^T phi at every place, a row each.
    fn coordinates(&self, x: &[f64], t: &[f64]) -> DMatrix<f64> {
        let mut phi = DMatrix::zeros(self.family.linear.features.len(), t.len());
        for (k, mut column) in phi.column_iter_mut().enumerate() {
            self.features_at(x, t, k, column.as_mut_slice());
        }
        phi.tr_mul(&self.family.factor)
    }

    /// phi at place k of many.
    fn features_at(&self, x: &[f64], t: &[f64], k: usize, phi: &mut [f64]) {
        let point: Vec<f64> = x.iter().skip(k).step_by(t.len()).copied().collect();
        self.family.linear.features.values(&point, t[k], phi);
    }

    fn solve(
        &self,
        samples: &Samples,
        initial: Option<Vec<f64>>,
    ) -> Result<KernelDenoiser<'a>, TrainError> {
        let points = self.family.kernel.points(&samples.x, &samples.t);
        let (roots, mut matrix) = self.system(samples, &points);
        let mut solution = self.residual(samples, &roots, initial.as_deref());
        for i in 0..roots.len() {
            matrix[(i, i)] += self.ridge;
        }
        let mut scratch = CholeskyScratch::new(roots.len());
        linalg::cholesky(linalg::view_mut(&mut matrix), &mut scratch)?;
        linalg::cholesky_solve(linalg::view(&matrix), linalg::view_mut(&mut solution));
        finish(
            self.family,
            &self.problem.diffusion,
            points,
            &roots,
            &solution,
            initial,
        )
    }

    /// sqrt(lambda_p) and S.
    fn system(&self, samples: &Samples, points: &Points) -> (Vec<f64>, DMatrix<f64>) {
        let p = samples.t.len();
        let roots: Vec<f64> = samples.lambda.iter().map(|l| l.sqrt()).collect();
        let mut matrix = DMatrix::zeros(p, p);
        self.family.kernel.gram(points, matrix.as_mut_slice());
        for (j, mut column) in matrix.column_iter_mut().enumerate() {
            for (value, root) in column.iter_mut().zip(&roots) {
                *value *= root * roots[j] / p as f64;
            }
        }
        (roots, matrix)
    }

    /// Lambda^(1/2) (y - f_0), P x D.
    fn residual(&self, samples: &Samples, roots: &[f64], initial: Option<&[f64]>) -> DMatrix<f64> {
        let (p, dim) = (roots.len(), self.problem.dim());
        let mut out = DMatrix::from_column_slice(p, dim, &samples.y);
        if let Some(weights) = initial {
            let mut phi = DVector::zeros(self.family.linear.features.len());
            for k in 0..p {
                self.features_at(&samples.x, &samples.t, k, phi.as_mut_slice());
                for (o, w) in weights.chunks_exact(phi.len()).enumerate() {
                    out[(k, o)] -= crate::family::features::dot(w, phi.as_slice());
                }
            }
        }
        for (k, root) in roots.iter().enumerate() {
            out.row_mut(k).scale_mut(*root);
        }
        out
    }

    /// Weights of a random initial function.
    fn initial<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<Vec<f64>> {
        let factor = self.family.initial_factor()?;
        let outputs = 0..self.problem.dim();
        let weights = outputs.flat_map(|_| {
            let eta = DVector::from_fn(factor.ncols(), |_, _| rng.sample(StandardNormal));
            (factor * eta).as_slice().to_vec()
        });
        Some(weights.collect())
    }
}

impl<'a> TrainingSpectrum<'a> {
    /// The machine after gradient flow for a time: c = (1/P) Lambda^(1/2) S^-1 (1 - e^{-S tau}) Lambda^(1/2) (y - f_0).
    pub fn at_time(&self, time: f64) -> KernelDenoiser<'a> {
        self.filtered(|s| {
            // The limit where S has no rank.
            if s.abs() * time < 1e-12 {
                time
            } else {
                -(-s * time).exp_m1() / s
            }
        })
    }

    /// The machine of ridge regression: c = (1/P) Lambda^(1/2) (S + rho)^-1 Lambda^(1/2) (y - f_0).
    pub fn at_ridge(&self, ridge: f64) -> KernelDenoiser<'a> {
        self.filtered(|s| 1.0 / (s + ridge))
    }

    /// The largest and the smallest rate of the flow.
    pub fn rates(&self) -> (f64, f64) {
        let of = |v: Option<&f64>| v.copied().unwrap_or(0.0);
        (of(self.values.last()), of(self.values.first()))
    }

    fn filtered(&self, gain: impl Fn(f64) -> f64) -> KernelDenoiser<'a> {
        let mut modes = self.residual.clone();
        for (k, s) in self.values.iter().enumerate() {
            // Rounding leaves eigenvalues a little below zero.
            modes.row_mut(k).scale_mut(gain(s.max(0.0)));
        }
        let solution = &self.vectors * modes;
        KernelDenoiser {
            family: self.family,
            diffusion: self.diffusion,
            points: self.points.clone(),
            coefficients: coefficients(&self.roots, &solution),
            initial: self.initial.clone(),
        }
    }
}

/// c = (1/P) Lambda^(1/2) solution, the outputs one after another.
fn coefficients(roots: &[f64], solution: &DMatrix<f64>) -> Vec<f64> {
    let p = roots.len() as f64;
    let columns = solution.column_iter();
    columns
        .flat_map(|c| {
            c.iter()
                .zip(roots)
                .map(|(c, r)| c * r / p)
                .collect::<Vec<f64>>()
        })
        .collect()
}

fn finish<'a>(
    family: &'a KernelFamily,
    diffusion: &'a Diffusion,
    points: Points,
    roots: &[f64],
    solution: &DMatrix<f64>,
    initial: Option<Vec<f64>>,
) -> Result<KernelDenoiser<'a>, TrainError> {
    let coefficients = coefficients(roots, solution);
    if coefficients.iter().any(|c| !c.is_finite()) {
        return Err(TrainError::NotFinite);
    }
    Ok(KernelDenoiser {
        family,
        diffusion,
        points,
        coefficients,
        initial,
    })
}

impl KernelDenoiser<'_> {
    fn kernel(&self) -> &Kernel {
        &self.family.kernel
    }

    /// f at points of one time, the outputs one after another; `x` coordinate-major.
    pub fn output(&self, t: f64, x: &[f64], out: &mut [f64]) {
        let points = self.at(t, x);
        self.kernel()
            .combine(&points, &self.points, &self.coefficients, out);
        if let Some(model) = self.start() {
            let mut first = vec![0.0; out.len()];
            model.output(t, x, &mut first);
            for (o, f) in out.iter_mut().zip(&first) {
                *o += f;
            }
        }
    }

    fn at(&self, t: f64, x: &[f64]) -> Points {
        let n = x.len() / self.kernel().dim();
        self.kernel().points(x, &vec![t; n])
    }

    fn start(&self) -> Option<LinearDenoiser<'_>> {
        let weights = self.initial.as_ref()?;
        Some(LinearDenoiser {
            family: &self.family.linear,
            diffusion: self.diffusion,
            weights,
        })
    }
}

impl Denoiser for KernelDenoiser<'_> {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        self.output(t, x, denoised);
        let r = self.family.linear.predicts.regression(self.diffusion, t);
        for (d, x) in denoised.iter_mut().zip(x) {
            *d = (*d - r.q * x) / r.p;
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        let points = self.at(t, x);
        let kernel = self.kernel();
        kernel.combine_with_gradient(&points, &self.points, &self.coefficients, denoised, slope);
        if let Some(model) = self.start() {
            let (mut first, mut rise) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            model.output_with_slope(t, x, &mut first, &mut rise);
            for k in 0..x.len() {
                denoised[k] += first[k];
                slope[k] += rise[k];
            }
        }
        let r = self.family.linear.predicts.regression(self.diffusion, t);
        for ((d, s), x) in denoised.iter_mut().zip(slope).zip(x) {
            *d = (*d - r.q * x) / r.p;
            *s = (*s - r.q) / r.p;
        }
    }
}
