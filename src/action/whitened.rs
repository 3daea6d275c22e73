//! The path integral in whitened weights: exp(-|eta|^2/2) on the paths that eta makes.

use nalgebra::{DMatrix, DVector};

use super::{Action, ActionError, FlowMap, SecondOrder};

/// Where paths start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// At a given x_T.
    At(f64),
    /// At x_T = std xi with xi ~ N(0, 1) one more whitened coordinate, the last.
    Normal { std: f64 },
}

/// The flow map eta -> x_0 of an [`Action`]; its paths weighted with exp(-|eta|^2/2) are the path integral.
///
/// Costs, in multiplications: the end r F + N F, the gradient twice that, the second order N r (2 F_x + 3) more.
#[derive(Debug, Clone, Copy)]
pub struct WhitenedFlow<'a> {
    pub action: &'a Action<'a>,
    pub start: Start,
}

/// The path of one eta with what its derivatives are made of.
struct Path {
    /// Positions x_0 ... x_N.
    x: Vec<f64>,
    /// d x_{k+1}/d x_k, and the second derivative.
    growth: Vec<f64>,
    curvature: Vec<f64>,
    /// Features of space and their slopes at x_k, F_x x N.
    features: DMatrix<f64>,
    slopes: DMatrix<f64>,
}

impl WhitenedFlow<'_> {
    /// The weights of the model, length r, and x_T.
    fn split(&self, eta: &DVector<f64>) -> (DVector<f64>, f64) {
        let rank = self.action.rank();
        let start = match self.start {
            Start::At(x) => x,
            Start::Normal { std } => std * eta[rank],
        };
        let mut weights = self.action.mean.clone();
        weights.gemv(1.0, &self.action.factor, &eta.rows(0, rank), 1.0);
        (weights, start)
    }

    fn trace(&self, weights: &DVector<f64>, start: f64) -> Result<Path, ActionError> {
        let space = self.action.space();
        let (m, n) = (space.len(), self.action.len());
        let mut path = Path {
            x: vec![start],
            growth: Vec::with_capacity(n),
            curvature: Vec::with_capacity(n),
            features: DMatrix::zeros(m, n),
            slopes: DMatrix::zeros(m, n),
        };
        let mut x = start;
        let mut second = vec![0.0; m];
        for (k, step) in self.action.steps.iter().enumerate() {
            let run = k * m..(k + 1) * m;
            let value = &mut path.features.as_mut_slice()[run.clone()];
            let slope = &mut path.slopes.as_mut_slice()[run];
            space.jet(x, value, slope, &mut second);
            let (v, d, c) = (
                step.contract(weights, value),
                step.contract(weights, slope),
                step.contract(weights, &second),
            );
            x = step.c * x + v;
            if !x.is_finite() {
                return Err(ActionError::NotFinite { step: k });
            }
            path.x.push(x);
            path.growth.push(step.c + d);
            path.curvature.push(c);
        }
        Ok(path)
    }

    /// d x_N/d x_{k+1} of every step, and d x_N/d x_0 at last.
    fn propagators(path: &Path) -> (Vec<f64>, f64) {
        let n = path.growth.len();
        let mut later = vec![0.0; n];
        let mut product = 1.0;
        for k in (0..n).rev() {
            later[k] = product;
            product *= path.growth[k];
        }
        (later, product)
    }

    /// The path x_0 ... x_N of eta.
    pub fn path(&self, eta: &DVector<f64>) -> Result<Vec<f64>, ActionError> {
        let (weights, start) = self.split(eta);
        self.action.path_of(start, &weights)
    }

    /// Response fields theta_k = multiplier times d x_N/d x_{k+1} along the path of a saddle (p = i theta).
    pub fn response_field(
        &self,
        eta: &DVector<f64>,
        multiplier: f64,
    ) -> Result<Vec<f64>, ActionError> {
        let (weights, start) = self.split(eta);
        let (later, _) = Self::propagators(&self.trace(&weights, start)?);
        Ok(later.into_iter().map(|g| multiplier * g).collect())
    }
}

impl FlowMap for WhitenedFlow<'_> {
    fn dim(&self) -> usize {
        self.action.rank() + usize::from(matches!(self.start, Start::Normal { .. }))
    }

    fn end(&self, eta: &DVector<f64>) -> Result<f64, ActionError> {
        let (weights, start) = self.split(eta);
        let path = self.action.path_of(start, &weights)?;
        Ok(path[path.len() - 1])
    }

    /// By adjoints in the space of the weights: J = L^T sum_k w_k phi_k.
    fn gradient(&self, eta: &DVector<f64>) -> Result<(f64, DVector<f64>), ActionError> {
        let (weights, start) = self.split(eta);
        let path = self.trace(&weights, start)?;
        let (later, whole) = Self::propagators(&path);
        let rank = self.action.rank();
        let mut pull = DVector::zeros(weights.len());
        for (k, step) in self.action.steps.iter().enumerate() {
            let runs = pull.as_mut_slice().chunks_exact_mut(step.clock.len());
            for (run, s) in runs.zip(path.features.column(k).iter()) {
                let scale = later[k] * s;
                for (p, tick) in run.iter_mut().zip(&step.clock) {
                    *p += scale * tick;
                }
            }
        }
        let mut gradient = DVector::zeros(self.dim());
        gradient
            .rows_mut(0, rank)
            .gemv_tr(1.0, &self.action.factor, &pull, 0.0);
        if let Start::Normal { std } = self.start {
            gradient[rank] = std * whole;
        }
        Ok((path.x[self.action.len()], gradient))
    }

    /// H = sum_k w_k (x''_k J_k J_k^T + v'_k J_k^T + J_k v'_k^T), J_k = d x_k/d eta (theory section 6).
    fn second_order(&self, eta: &DVector<f64>) -> Result<SecondOrder, ActionError> {
        let (weights, start) = self.split(eta);
        let path = self.trace(&weights, start)?;
        let (later, _) = Self::propagators(&path);
        let (rank, dim, n) = (self.action.rank(), self.dim(), self.action.len());
        let mut tangent = DVector::zeros(dim);
        if let Start::Normal { std } = self.start {
            tangent[rank] = std;
        }
        let (mut left, mut right) = (DMatrix::zeros(dim, n), DMatrix::zeros(dim, n));
        for (k, step) in self.action.steps.iter().enumerate() {
            left.set_column(k, &tangent);
            let mut half = right.column_mut(k);
            half.rows_mut(0, rank)
                .gemv(later[k], &step.response, &path.slopes.column(k), 0.0);
            half.axpy(0.5 * later[k] * path.curvature[k], &tangent, 1.0);
            tangent *= path.growth[k];
            tangent
                .rows_mut(0, rank)
                .gemv(1.0, &step.response, &path.features.column(k), 1.0);
        }
        Ok(SecondOrder {
            end: path.x[n],
            gradient: tangent,
            left,
            right,
        })
    }
}
