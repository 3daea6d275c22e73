//! Descent on a product of Stiefel manifolds: K matrices with orthonormal columns, side by side in one n x sum d_k matrix.
//!
//! The losses here depend on the subspaces alone, so the Riemannian gradient is (I - U_k U_k^T) G_k. Steps are those of Barzilai
//! and Borwein, retracted by QR, accepted by Zhang and Hager's non-monotone form of Armijo's rule (Wen & Yin 2013).

use nalgebra::DMatrix;

use crate::numerics::linalg::{multiply, orthonormal, view};
use crate::numerics::subspace::{join, split};

/// Armijo's fraction of the predicted decrease.
const ARMIJO: f64 = 1e-4;
/// Weight of past values in the reference value; 0 is Armijo's rule itself.
const MEMORY: f64 = 0.85;
/// Halvings of a step before the descent is given up as at rounding.
const HALVINGS: usize = 40;
/// Steps stay within these bounds, in units of 1 / |gradient| at the start.
const STEPS: (f64, f64) = (1e-10, 1e10);

/// A function of K subspaces.
pub trait Objective {
    /// Value and Euclidean gradient (n x sum d_k) at bases side by side.
    fn evaluate(&self, joined: &DMatrix<f64>) -> (f64, DMatrix<f64>);
}

/// When the descent ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Descent {
    /// Bound on the Riemannian gradient's Frobenius norm.
    pub tolerance: f64,
    pub steps: usize,
}

/// Where the descent ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    pub bases: Vec<DMatrix<f64>>,
    pub value: f64,
    /// Frobenius norm of the Riemannian gradient.
    pub gradient: f64,
    pub steps: usize,
    /// Did the gradient fall below the tolerance?
    pub converged: bool,
}

/// A point of the descent.
struct Place {
    joined: DMatrix<f64>,
    value: f64,
    gradient: DMatrix<f64>,
}

impl Place {
    fn new(objective: &impl Objective, joined: DMatrix<f64>, ranks: &[usize]) -> Self {
        let (value, euclidean) = objective.evaluate(&joined);
        let gradient = project(&joined, euclidean, ranks);
        Self {
            joined,
            value,
            gradient,
        }
    }
}

/// Minimises from the given bases (n x d_k, orthonormal).
pub fn minimise(objective: &impl Objective, start: &[DMatrix<f64>], descent: Descent) -> Minimum {
    let ranks: Vec<usize> = start.iter().map(DMatrix::ncols).collect();
    let mut place = Place::new(objective, join(start), &ranks);
    let unit = 1.0 / place.gradient.norm().max(f64::MIN_POSITIVE);
    let (mut step, mut steps) = (0.1 * unit, 0);
    let (mut reference, mut weight) = (place.value, 1.0);
    while steps < descent.steps && place.gradient.norm() > descent.tolerance {
        let Some(next) = search(objective, &place, &mut step, reference, &ranks) else {
            break;
        };
        step = next_step(&place, &next, steps).clamp(STEPS.0 * unit, STEPS.1 * unit);
        let heavier = MEMORY * weight + 1.0;
        reference = (MEMORY * weight * reference + next.value) / heavier;
        weight = heavier;
        place = next;
        steps += 1;
    }
    let gradient = place.gradient.norm();
    Minimum {
        bases: split(&place.joined, &ranks),
        value: place.value,
        gradient,
        steps,
        converged: gradient <= descent.tolerance,
    }
}

/// The first of the halved steps that falls far enough below the reference.
fn search(
    objective: &impl Objective,
    place: &Place,
    step: &mut f64,
    reference: f64,
    ranks: &[usize],
) -> Option<Place> {
    let slope = place.gradient.norm_squared();
    // Values carry the rounding of a long sum; below it every step is as good.
    let rounding = 1e-14 * place.value.abs();
    for _ in 0..HALVINGS {
        let moved = retract(&place.joined, &place.gradient, *step, ranks);
        let next = Place::new(objective, moved, ranks);
        if next.value <= reference - ARMIJO * *step * slope + rounding {
            return Some(next);
        }
        *step *= 0.5;
    }
    None
}

/// Barzilai and Borwein's two steps in turn.
fn next_step(old: &Place, new: &Place, count: usize) -> f64 {
    let moved = &new.joined - &old.joined;
    let turned = &new.gradient - &old.gradient;
    let cross = moved.dot(&turned).abs().max(f64::MIN_POSITIVE);
    match count.is_multiple_of(2) {
        true => moved.norm_squared() / cross,
        false => cross / turned.norm_squared().max(f64::MIN_POSITIVE),
    }
}

/// (I - U_k U_k^T) G_k.
fn project(joined: &DMatrix<f64>, mut gradient: DMatrix<f64>, ranks: &[usize]) -> DMatrix<f64> {
    let mut first = 0;
    for d in ranks {
        let basis = view(joined).subcols(first, *d);
        let along = multiply(basis.transpose(), view(&gradient).subcols(first, *d));
        let inside = multiply(basis, view(&along));
        let mut own = gradient.columns_mut(first, *d);
        own -= inside;
        first += d;
    }
    gradient
}

/// QR retraction of U_k - step * gradient_k.
fn retract(
    joined: &DMatrix<f64>,
    gradient: &DMatrix<f64>,
    step: f64,
    ranks: &[usize],
) -> DMatrix<f64> {
    let moved = joined - gradient * step;
    let bases: Vec<_> = split(&moved, ranks).iter().map(orthonormal).collect();
    join(&bases)
}
