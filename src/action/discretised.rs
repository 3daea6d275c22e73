//! The steps of the sampler with the law of the field on them.

use nalgebra::{DMatrix, DVector, DVectorViewMut};

use super::ActionError;
use crate::family::Linear;
use crate::family::features::{Factor, dot};
use crate::numerics::linalg;
use crate::sampler::{PfOde, Step};
use crate::statistics::{VKernel, WeightStatistics};

/// The discretised path integral of a linear family on the line under a one-stage scheme (Euler, DDIM):
/// x_{k+1} = c_k x_k + m_k(x_k) + v_k(x_k) . eta, eta ~ N(0, I_r), so that V_kl = v_k . v_l on a path (T6).
#[derive(Debug, Clone)]
pub struct Action<'a> {
    pub(super) family: &'a Linear,
    /// Cov(W) = L L^T, F x r.
    pub(super) factor: DMatrix<f64>,
    /// Mean weights, length F.
    pub(super) mean: DVector<f64>,
    pub(super) steps: Vec<ActionStep>,
}

/// One step: x -> c x + s(x)^T (W clock), s the features of space and W the weights as a matrix, space x time.
#[derive(Debug, Clone)]
pub(crate) struct ActionStep {
    /// Time at which the field is evaluated.
    pub(super) t: f64,
    pub(crate) c: f64,
    /// Features of time, times d/p of the step.
    pub(super) clock: Vec<f64>,
    /// W clock at the mean weights, length F_x.
    pub(crate) mean: DVector<f64>,
    /// Response of W clock to eta, r x F_x.
    pub(crate) response: DMatrix<f64>,
}

/// Mean step and response vectors of a path with their derivatives in x; k = 0..N.
#[derive(Debug, Clone)]
pub struct PathJet {
    /// r_k = x_{k+1} - c_k x_k - m_k(x_k), length N.
    pub residual: DVector<f64>,
    /// d/dx_k of c_k x_k + m_k(x_k), and the second derivative.
    pub growth: DVector<f64>,
    pub curvature: DVector<f64>,
    /// v_k, v'_k, v''_k as columns, r x N.
    pub value: DMatrix<f64>,
    pub slope: DMatrix<f64>,
    pub second: DMatrix<f64>,
}

impl<'a> Action<'a> {
    /// The action of `kernel` times `strength` around `weights.mean` on the steps of `flow`.
    ///
    /// # Errors
    /// When the scheme has more than one stage.
    pub fn new(
        kernel: &VKernel<'a>,
        weights: &WeightStatistics,
        flow: &PfOde,
        strength: f64,
    ) -> Result<Self, ActionError> {
        let (problem, family) = (kernel.problem(), kernel.family());
        let factor = kernel.factor() * strength.sqrt();
        let times = flow.grid().ok_or(ActionError::Scheme)?;
        let steps = flow
            .steps(times)
            .map(|step| {
                let Step::OneStage { t, c, d } = step else {
                    return Err(ActionError::Scheme);
                };
                let r = family.predicts.regression(&problem.diffusion, t);
                // D = (W phi - q x)/p.
                let shape = (c - d * r.q / r.p, d / r.p);
                Ok(ActionStep::new(family, &weights.mean, &factor, t, shape))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            family,
            factor,
            mean: weights.mean.clone(),
            steps,
        })
    }

    /// Bytes of the action of so many steps: a response of every feature of space at every step, and the factor.
    pub fn bytes(family: &Linear, steps: usize) -> u64 {
        let (f, space) = (
            family.features.len() as u64,
            family.features.space_len() as u64,
        );
        let responses = (steps as u64).saturating_mul(space).saturating_mul(f);
        responses
            .saturating_add(f.saturating_mul(f))
            .saturating_mul(size_of::<f64>() as u64)
    }

    /// N, the number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Has the sampler no step at all?
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps, in order.
    pub(crate) fn steps(&self) -> &[ActionStep] {
        &self.steps
    }

    /// The features of space.
    pub(crate) fn space(&self) -> &Factor {
        self.family.features.space.line()
    }

    /// r, the number of whitened weights.
    pub fn rank(&self) -> usize {
        self.factor.ncols()
    }

    /// Times at which the field is met, t_0 ... t_{N-1}.
    pub fn times(&self) -> impl Iterator<Item = f64> + '_ {
        self.steps.iter().map(|s| s.t)
    }

    /// L: the weights are mean + L eta.
    pub fn factor(&self) -> &DMatrix<f64> {
        &self.factor
    }

    /// Mean weights, length F.
    pub fn mean(&self) -> &DVector<f64> {
        &self.mean
    }

    /// The path x_0 = `start`, x_1, ..., x_N of the weights mean + L eta.
    ///
    /// # Errors
    /// When the path overflows.
    pub fn path(&self, start: f64, eta: &DVector<f64>) -> Result<Vec<f64>, ActionError> {
        let mut weights = self.mean.clone();
        weights.gemv(1.0, &self.factor, eta, 1.0);
        self.path_of(start, &weights)
    }

    /// The path of given weights, length F.
    pub(super) fn path_of(
        &self,
        start: f64,
        weights: &DVector<f64>,
    ) -> Result<Vec<f64>, ActionError> {
        let space = self.space();
        let mut s = vec![0.0; space.len()];
        let mut path = Vec::with_capacity(self.len() + 1);
        let mut x = start;
        path.push(x);
        for (k, step) in self.steps.iter().enumerate() {
            space.values(x, &mut s);
            x = step.c * x + step.contract(weights, &s);
            if !x.is_finite() {
                return Err(ActionError::NotFinite { step: k });
            }
            path.push(x);
        }
        Ok(path)
    }

    /// Everything a path integral needs on a path of N + 1 positions.
    ///
    /// # Panics
    /// When `path` has another length.
    pub fn jet(&self, path: &[f64]) -> PathJet {
        self.jet_of(path, self.rank(), |step, s, mut column| {
            column.gemv(1.0, &step.response, s, 0.0);
        })
    }

    /// The jet with columns of `rows` numbers that `fill` makes of the features of space, or their derivatives.
    pub(super) fn jet_of(
        &self,
        path: &[f64],
        rows: usize,
        fill: impl Fn(&ActionStep, &DVector<f64>, DVectorViewMut<'_, f64>),
    ) -> PathJet {
        assert_eq!(path.len(), self.len() + 1);
        let n = self.len();
        let space = self.space();
        let m = space.len();
        let mut jet = PathJet {
            residual: DVector::zeros(n),
            growth: DVector::zeros(n),
            curvature: DVector::zeros(n),
            value: DMatrix::zeros(rows, n),
            slope: DMatrix::zeros(rows, n),
            second: DMatrix::zeros(rows, n),
        };
        let (mut v, mut d, mut c) = (DVector::zeros(m), DVector::zeros(m), DVector::zeros(m));
        for (k, step) in self.steps.iter().enumerate() {
            space.jet(
                path[k],
                v.as_mut_slice(),
                d.as_mut_slice(),
                c.as_mut_slice(),
            );
            jet.residual[k] = path[k + 1] - step.c * path[k] - step.mean.dot(&v);
            jet.growth[k] = step.c + step.mean.dot(&d);
            jet.curvature[k] = step.mean.dot(&c);
            fill(step, &v, jet.value.column_mut(k));
            fill(step, &d, jet.slope.column_mut(k));
            fill(step, &c, jet.second.column_mut(k));
        }
        jet
    }
}

impl ActionStep {
    fn new(
        family: &Linear,
        mean: &DVector<f64>,
        factor: &DMatrix<f64>,
        t: f64,
        (c, scale): (f64, f64),
    ) -> Self {
        let features = &family.features;
        let mut clock = vec![0.0; features.time.len()];
        features.time.values(t, &mut clock);
        for tick in &mut clock {
            *tick *= scale;
        }
        let (space, time, rank) = (features.space_len(), clock.len(), factor.ncols());
        // Columns of L^T in runs of the time index: one product per feature of space.
        let response = DMatrix::from_fn(rank, space, |i, j| {
            (0..time)
                .map(|b| factor[(j * time + b, i)] * clock[b])
                .sum()
        });
        let mean = DVector::from_fn(space, |j, _| {
            (0..time).map(|b| mean[j * time + b] * clock[b]).sum()
        });
        Self {
            t,
            c,
            clock,
            mean,
            response,
        }
    }

    /// s^T (W clock).
    pub(super) fn contract(&self, weights: &DVector<f64>, s: &[f64]) -> f64 {
        weights
            .as_slice()
            .chunks_exact(self.clock.len())
            .zip(s)
            .map(|(row, s)| s * dot(row, &self.clock))
            .sum()
    }
}

impl PathJet {
    /// V on the path, N x N.
    pub fn v(&self) -> DMatrix<f64> {
        linalg::multiply(
            linalg::view(&self.value).transpose(),
            linalg::view(&self.value),
        )
    }
}
