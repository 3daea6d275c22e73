//! The expansion of x_0's cumulants over models in the size of V, to the first order beyond Gaussian
//! (derivations/15-loop-corrections.md).

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use crate::density::DensityError;
use crate::family::Linear;
use crate::family::features::{Factor, dot};
use crate::numerics::linalg;
use crate::problem::Problem;
use crate::sampler::{PfOde, Step};
use crate::statistics::{VKernel, WeightStatistics};

/// The expansion parameter is not small beyond this. What the corrections leave out is smaller than they are by the parameter
/// once more: at 0.3 about a tenth of a standard deviation, or of the variance.
pub const LARGE_PARAMETER: f64 = 0.3;

/// Cumulants over models of x_0 at one x_T: leading order in V, and the order after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoopTerms {
    /// x_0 at the mean weights.
    pub end: f64,
    /// |J|^2, of order V.
    pub variance: f64,
    /// What the mean gains at order V: (1/2) tr H (T14a).
    pub mean_correction: f64,
    /// What the variance gains at order V^2, in two parts: (1/2) tr H^2, from the curvature of the map,
    pub curvature: f64,
    /// and J . grad tr H, from the change of its slope.
    pub slope_change: f64,
    /// The third cumulant at its leading order V^2: 3 J^T H J.
    pub third_cumulant: f64,
}

impl LoopTerms {
    /// What the variance gains at order V^2.
    pub fn variance_correction(&self) -> f64 {
        self.curvature + self.slope_change
    }

    /// The larger of |mean correction| / standard deviation and the sizes of the variance's two corrections / variance: they
    /// do not count against each other, their sum can be small where the next order is not. 0 without fluctuations,
    /// infinite where a term overflows.
    pub fn parameter(&self) -> f64 {
        let size = self.curvature + self.slope_change.abs();
        if self.variance == 0.0 && size == 0.0 && self.mean_correction == 0.0 {
            return 0.0;
        }
        let shift = self.mean_correction.abs() / self.variance.sqrt();
        let spread = size / self.variance;
        if (shift + spread).is_finite() {
            shift.max(spread)
        } else {
            f64::INFINITY
        }
    }

    /// Whether the corrections are small enough to be applied; the corrected variance is then positive.
    pub fn holds(&self) -> bool {
        self.parameter() <= LARGE_PARAMETER
    }

    /// Third cumulant in units of the leading order's standard deviation.
    pub fn skewness(&self) -> f64 {
        self.third_cumulant / self.variance.powf(1.5)
    }
}

/// One step x -> c x + d Dn(x) with the model in whitened weights, W = mean + L eta:
/// Dn = mean . phi(x) + eta . R phi(x) - drift x, phi the features of space.
struct Node {
    c: f64,
    d: f64,
    /// q/p of the regression.
    drift: f64,
    /// Mean weights of the space features, over p.
    mean: Vec<f64>,
    /// R = L^T (. x phi(t)) / p, r x F_x.
    response: DMatrix<f64>,
}

impl Node {
    fn new(
        problem: &Problem,
        family: &Linear,
        mean: &[f64],
        factor: &DMatrix<f64>,
        (t, c, d): (f64, f64, f64),
    ) -> Self {
        let features = &family.features;
        let regression = family.predicts.regression(&problem.diffusion, t);
        let mut contracted = vec![0.0; features.space_len()];
        let mut contract = |weights: &[f64]| {
            features.contract_time(weights, t, &mut contracted);
            contracted.iter().map(|v| v / regression.p).collect()
        };
        let rows: Vec<DVector<f64>> = factor
            .column_iter()
            .map(|column| DVector::from_vec(contract(column.clone_owned().as_slice())))
            .collect();
        let mut response = DMatrix::zeros(rows.len(), features.space_len());
        for (i, row) in rows.iter().enumerate() {
            response.set_row(i, &row.transpose());
        }
        Self {
            c,
            d,
            drift: regression.q / regression.p,
            mean: contract(mean),
            response,
        }
    }
}

/// The steps of a one-stage scheme with the fluctuations' responses, shared by all starts: N F r / F_t numbers.
struct Nodes<'a> {
    space: &'a Factor,
    rank: usize,
    steps: Vec<Node>,
}

/// Bytes of the tables that [`loop_terms`] shares between the starts of a sampler with so many steps.
pub fn loop_bytes(family: &Linear, steps: usize) -> u64 {
    let features = &family.features;
    [features.len(), features.space_len(), steps]
        .into_iter()
        .fold(size_of::<f64>() as u64, |all, n| {
            all.saturating_mul(n as u64)
        })
}

/// Leading cumulants and first corrections of x_0 at every start. Cost per start with N steps and r whitened weights:
/// 6 N r F_x flops for the responses and 2 N r^2 for tr H^2; once for all starts, the eigenvalues of the covariance.
/// [`DensityError::OneLoopScheme`] unless every step is Euler's or DDIM's.
pub fn loop_terms(
    problem: &Problem,
    family: &Linear,
    flow: &PfOde,
    weights: &WeightStatistics,
    starts: &[f64],
) -> Result<Vec<LoopTerms>, DensityError> {
    let steps = one_stage(flow).ok_or(DensityError::OneLoopScheme)?;
    let kernel = VKernel::new(problem, family, weights, 0.0)?;
    let mean = weights.mean.as_slice();
    let nodes = Nodes {
        space: &family.features.space[0],
        rank: kernel.rank(),
        steps: steps
            .into_par_iter()
            .map(|step| Node::new(problem, family, mean, kernel.factor(), step))
            .collect(),
    };
    Ok(starts
        .par_iter()
        .map(|&x| Path::along(&nodes, x).terms(&nodes))
        .collect())
}

/// t, c and d of every step; `None` for a scheme of several stages.
fn one_stage(flow: &PfOde) -> Option<Vec<(f64, f64, f64)>> {
    flow.steps(flow.grid()?)
        .map(|step| match step {
            Step::OneStage { t, c, d } => Some((t, c, d)),
            Step::RungeKutta { .. } => None,
        })
        .collect()
}

/// What the second pass needs of the first, per step.
struct Local {
    /// d x_(k+1) / d x_k.
    growth: f64,
    /// Second and third derivative of the mean denoiser.
    second: f64,
    third: f64,
}

/// The mean path with its gradient in the whitened weights.
struct Path {
    end: f64,
    locals: Vec<Local>,
    /// J_k before each step, r x N.
    gradients: DMatrix<f64>,
    /// J after the last step.
    gradient: DVector<f64>,
    /// The responses' first and second derivatives in x, r x N.
    slopes: DMatrix<f64>,
    curvatures: DMatrix<f64>,
}

impl Path {
    /// The recursion of the gradient (D6.1) in whitened weights.
    fn along(nodes: &Nodes<'_>, start: f64) -> Self {
        let (rank, n) = (nodes.rank, nodes.steps.len());
        let mut path = Self {
            end: start,
            locals: Vec::with_capacity(n),
            gradients: DMatrix::zeros(rank, n),
            gradient: DVector::zeros(rank),
            slopes: DMatrix::zeros(rank, n),
            curvatures: DMatrix::zeros(rank, n),
        };
        let space = nodes.space.len();
        let (mut v, mut d) = (DVector::zeros(space), DVector::zeros(space));
        let (mut c, mut e) = (DVector::zeros(space), DVector::zeros(space));
        for (k, node) in nodes.steps.iter().enumerate() {
            let x = path.end;
            nodes
                .space
                .jet(x, v.as_mut_slice(), d.as_mut_slice(), c.as_mut_slice());
            nodes.space.third(x, e.as_mut_slice());
            let mean = |jet: &DVector<f64>| dot(&node.mean, jet.as_slice());
            let growth = node.c + node.d * (mean(&d) - node.drift);
            path.locals.push(Local {
                growth,
                second: mean(&c),
                third: mean(&e),
            });
            path.gradients.set_column(k, &path.gradient);
            path.slopes.column_mut(k).gemv(1.0, &node.response, &d, 0.0);
            path.curvatures
                .column_mut(k)
                .gemv(1.0, &node.response, &c, 0.0);
            path.gradient.gemv(node.d, &node.response, &v, growth);
            path.end = node.c * x + node.d * (mean(&v) - node.drift * x);
        }
        path
    }

    fn terms(&self, nodes: &Nodes<'_>) -> LoopTerms {
        let directional = self.towards_gradient(nodes);
        LoopTerms {
            end: self.end,
            variance: self.gradient.norm_squared(),
            mean_correction: 0.5 * directional.trace,
            curvature: 0.5 * self.square_trace(nodes),
            slope_change: directional.trace_slope,
            third_cumulant: 3.0 * self.gradient.dot(&directional.bent),
        }
    }

    /// tr H^2 by D15.4: H = B J^T + J B^T with the columns w_k (f'_k + Dn''_k J_k / 2) of B, w_k the step's coefficient
    /// times the later propagators, so tr H^2 = 2 tr (B J^T)^2 + 2 |B J^T|^2.
    fn square_trace(&self, nodes: &Nodes<'_>) -> f64 {
        let mut later = 1.0;
        let mut weighted = self.slopes.clone();
        for (k, local) in self.locals.iter().enumerate().rev() {
            let weight = nodes.steps[k].d * later;
            let mut column = weighted.column_mut(k);
            column.axpy(
                0.5 * weight * local.second,
                &self.gradients.column(k),
                weight,
            );
            later *= local.growth;
        }
        let product = linalg::multiply(
            linalg::view(&weighted),
            linalg::view(&self.gradients).transpose(),
        );
        2.0 * (product.dot(&product.transpose()) + product.norm_squared())
    }

    /// Moves the whitened weights along J: derivatives of the path (D15.5) carried beside tr H.
    fn towards_gradient(&self, nodes: &Nodes<'_>) -> Directional {
        let along = &self.gradient;
        let mut state = Directional {
            bent: DVector::zeros(nodes.rank),
            trace: 0.0,
            trace_slope: 0.0,
        };
        for (k, local) in self.locals.iter().enumerate() {
            let d = nodes.steps[k].d;
            let gradient = self.gradients.column(k);
            let (slope, curvature) = (self.slopes.column(k), self.curvatures.column(k));
            let moved = gradient.dot(along);
            let size = gradient.norm_squared();
            let growth_slope = d * (local.second * moved + slope.dot(along));
            let bending = (local.third * moved + curvature.dot(along)) * size
                + 2.0 * local.second * gradient.dot(&state.bent)
                + 2.0 * (moved * curvature.dot(&gradient) + slope.dot(&state.bent));
            state.trace_slope =
                local.growth * state.trace_slope + growth_slope * state.trace + d * bending;
            state.trace =
                local.growth * state.trace + d * (local.second * size + 2.0 * slope.dot(&gradient));
            state.bent.axpy(growth_slope, &gradient, local.growth);
            state.bent.axpy(d * moved, &slope, 1.0);
        }
        state
    }
}

/// Derivatives along J = J_N.
struct Directional {
    /// H J.
    bent: DVector<f64>,
    /// tr H.
    trace: f64,
    /// J . grad tr H.
    trace_slope: f64,
}
