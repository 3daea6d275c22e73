//! The expansion of x_0's cumulants over models in the size of V, to the first order beyond Gaussian
//! (derivations/15-loop-corrections.md).

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use crate::action::{Action, ActionError};
use crate::density::DensityError;
use crate::family::Linear;
use crate::numerics::linalg;
use crate::problem::Problem;
use crate::sampler::PfOde;
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
    let kernel = VKernel::new(problem, family, weights, 0.0)?;
    let action = Action::new(&kernel, weights, flow, 1.0).map_err(|e| match e {
        ActionError::Scheme => DensityError::OneLoopScheme,
        other => other.into(),
    })?;
    Ok(starts
        .par_iter()
        .map(|&x| Path::along(&action, x).terms())
        .collect())
}

/// What the second pass needs of the first, per step.
struct Local {
    /// d x_(k+1) / d x_k.
    growth: f64,
    /// Second and third derivative of the mean step.
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
    /// First and second derivatives in x of the steps' responses v_k, r x N.
    slopes: DMatrix<f64>,
    curvatures: DMatrix<f64>,
}

impl Path {
    /// The recursion of the gradient (D6.1) in whitened weights.
    fn along(action: &Action<'_>, start: f64) -> Self {
        let (rank, n) = (action.rank(), action.len());
        let mut path = Self {
            end: start,
            locals: Vec::with_capacity(n),
            gradients: DMatrix::zeros(rank, n),
            gradient: DVector::zeros(rank),
            slopes: DMatrix::zeros(rank, n),
            curvatures: DMatrix::zeros(rank, n),
        };
        let space = action.space();
        let m = space.len();
        let (mut v, mut d) = (DVector::zeros(m), DVector::zeros(m));
        let (mut c, mut e) = (DVector::zeros(m), DVector::zeros(m));
        for (k, step) in action.steps().iter().enumerate() {
            let x = path.end;
            space.jet(x, v.as_mut_slice(), d.as_mut_slice(), c.as_mut_slice());
            space.third(x, e.as_mut_slice());
            let growth = step.c + step.mean.dot(&d);
            path.locals.push(Local {
                growth,
                second: step.mean.dot(&c),
                third: step.mean.dot(&e),
            });
            path.gradients.set_column(k, &path.gradient);
            path.slopes.column_mut(k).gemv(1.0, &step.response, &d, 0.0);
            path.curvatures
                .column_mut(k)
                .gemv(1.0, &step.response, &c, 0.0);
            path.gradient.gemv(1.0, &step.response, &v, growth);
            path.end = step.c * x + step.mean.dot(&v);
        }
        path
    }

    fn terms(&self) -> LoopTerms {
        let directional = self.towards_gradient();
        LoopTerms {
            end: self.end,
            variance: self.gradient.norm_squared(),
            mean_correction: 0.5 * directional.trace,
            curvature: 0.5 * self.square_trace(),
            slope_change: directional.trace_slope,
            third_cumulant: 3.0 * self.gradient.dot(&directional.bent),
        }
    }

    /// tr H^2 by D15.4: H = B J^T + J B^T with the columns w_k (v'_k + x''_k J_k / 2) of B, w_k the
    /// later propagators and x''_k the second derivative of the step, so tr H^2 = 2 tr (B J^T)^2 + 2 |B J^T|^2.
    fn square_trace(&self) -> f64 {
        let mut later = 1.0;
        let mut weighted = self.slopes.clone();
        for (k, local) in self.locals.iter().enumerate().rev() {
            let mut column = weighted.column_mut(k);
            column.axpy(0.5 * later * local.second, &self.gradients.column(k), later);
            later *= local.growth;
        }
        let product = linalg::multiply(
            linalg::view(&weighted),
            linalg::view(&self.gradients).transpose(),
        );
        2.0 * (product.dot(&product.transpose()) + product.norm_squared())
    }

    /// Moves the whitened weights along J: derivatives of the path (D15.5) carried beside tr H.
    fn towards_gradient(&self) -> Directional {
        let along = &self.gradient;
        let mut state = Directional {
            bent: DVector::zeros(along.len()),
            trace: 0.0,
            trace_slope: 0.0,
        };
        for (k, local) in self.locals.iter().enumerate() {
            let gradient = self.gradients.column(k);
            let (slope, curvature) = (self.slopes.column(k), self.curvatures.column(k));
            let moved = gradient.dot(along);
            let size = gradient.norm_squared();
            let growth_slope = local.second * moved + slope.dot(along);
            let bending = (local.third * moved + curvature.dot(along)) * size
                + 2.0 * local.second * gradient.dot(&state.bent)
                + 2.0 * (moved * curvature.dot(&gradient) + slope.dot(&state.bent));
            state.trace_slope =
                local.growth * state.trace_slope + growth_slope * state.trace + bending;
            state.trace =
                local.growth * state.trace + local.second * size + 2.0 * slope.dot(&gradient);
            state.bent.axpy(growth_slope, &gradient, local.growth);
            state.bent.axpy(moved, &slope, 1.0);
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
