//! Saddles that the line through the mean path does not reach: found from drawn models.

use argmin::core::{CostFunction, Error, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use nalgebra::DVector;

use super::branch::{Branch, Fix, Saddle, polish};
use crate::action::FlowMap;

/// Iterations of the descent towards the nearest saddle, and its memory.
const DESCENT: u64 = 60;
const MEMORY: usize = 8;
/// Weight of the constraint against |eta|^2/2, in units of 1/|J|^2.
const PENALTY: f64 = 1e3;
/// Newton steps at fixed x_0 after it.
const ITERATIONS: usize = 25;
/// A saddle belongs to a known line when it lies off the tangent of one of its points by no more than this share of the
/// distance.
const ASIDE: f64 = 0.35;

/// |eta|^2/2 + (penalty/2) (Phi(eta) - x_0)^2.
struct Penalised<'a> {
    map: &'a dyn FlowMap,
    end: f64,
    penalty: f64,
}

impl CostFunction for Penalised<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, eta: &Vec<f64>) -> Result<f64, Error> {
        let eta = DVector::from_column_slice(eta);
        let miss = self.map.end(&eta)? - self.end;
        Ok(0.5 * eta.norm_squared() + 0.5 * self.penalty * miss * miss)
    }
}

impl Gradient for Penalised<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, eta: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let eta = DVector::from_column_slice(eta);
        let (end, gradient) = self.map.gradient(&eta)?;
        let sum = &eta + gradient * (self.penalty * (end - self.end));
        Ok(sum.as_slice().to_vec())
    }
}

/// The minimum of |eta|^2/2 on the surface through `eta` that a descent from it reaches: L-BFGS on a penalty, then
/// Newton's method on the constrained problem. `None` when either does not converge.
pub(super) fn descend(
    map: &dyn FlowMap,
    eta: &DVector<f64>,
    evaluations: &mut usize,
) -> Option<Saddle> {
    let (end, gradient) = map.gradient(eta).ok()?;
    let penalty = PENALTY / gradient.norm_squared().max(f64::MIN_POSITIVE);
    let problem = Penalised { map, end, penalty };
    let solver: LBFGS<_, Vec<f64>, Vec<f64>, f64> =
        LBFGS::new(MoreThuenteLineSearch::new(), MEMORY);
    let start = eta.as_slice().to_vec();
    let outcome = Executor::new(problem, solver)
        .configure(|state| state.param(start).max_iters(DESCENT))
        .run()
        .ok()?;
    *evaluations += outcome.state().get_func_counts().values().sum::<u64>() as usize;
    let best = DVector::from_column_slice(outcome.state().get_best_param()?);
    polish(
        map,
        best,
        &Fix::End(end),
        &gradient,
        ITERATIONS,
        evaluations,
    )
    .ok()?
}

/// Does the saddle lie on one of the lines?
pub(super) fn is_known(branches: &[Branch], saddle: &Saddle, step: f64) -> bool {
    branches.iter().flat_map(|b| &b.saddles).any(|known| {
        let from = &saddle.eta - &known.eta;
        let (distance, along) = (from.norm(), from.dot(&known.tangent));
        let aside = (distance * distance - along * along).max(0.0).sqrt();
        distance <= step && aside <= ASIDE * distance + 1e-6
    })
}
