//! Lines of saddles, followed by pseudo-arclength in eta.

use nalgebra::DVector;

use super::frame::Frame;
use crate::action::{ActionError, FlowMap};
use crate::numerics::normal::LOG_2_PI;

/// A stationary point of |eta|^2/2 on the surface Phi(eta) = x_0.
#[derive(Debug, Clone)]
pub struct Saddle {
    pub eta: DVector<f64>,
    /// x_0.
    pub end: f64,
    /// S = |eta|^2/2.
    pub action: f64,
    /// lambda = dS/dx_0, with eta = lambda J.
    pub multiplier: f64,
    /// |J|.
    pub gradient_norm: f64,
    /// ln |det_perp| of theory T15.
    pub log_determinant: f64,
    /// Directions on the surface in which the action falls: 0 at a minimum.
    pub index: usize,
    /// Unit tangent of the line of saddles.
    pub tangent: DVector<f64>,
    /// Tangent times J/|J|: dx_0/ds = |J| turn, zero at a fold.
    pub turn: f64,
}

impl Saddle {
    /// ln of the density T15 at this saddle; meant for minima.
    pub fn log_density(&self) -> f64 {
        -self.action - self.gradient_norm.ln() - 0.5 * (self.log_determinant + LOG_2_PI)
    }

    /// Density per unit of x_0, zero unless a minimum.
    pub fn density(&self) -> f64 {
        if self.index == 0 {
            self.log_density().exp()
        } else {
            0.0
        }
    }

    /// turn^2/det_perp with the determinant's sign: regular through a fold, where both vanish. The mass of a line is
    /// (2 pi)^{-1/2} e^{-S} times its root, per unit of arclength.
    pub(super) fn weight(&self) -> f64 {
        let sign = if self.index.is_multiple_of(2) {
            1.0
        } else {
            -1.0
        };
        sign * self.turn * self.turn * (-self.log_determinant).exp()
    }
}

/// Why a line of saddles was not followed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LineEnd {
    /// The action is larger than asked for: nothing of weight beyond.
    Action,
    /// x_0 has left the range asked for.
    Range,
    /// Newton's method failed at the smallest step.
    Stalled,
    /// More points than allowed.
    TooLong,
    /// The path overflowed, or does not depend on eta.
    Undefined,
    /// Back at its first point.
    Closed,
}

impl LineEnd {
    /// Has something been left out?
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Stalled | Self::TooLong | Self::Undefined)
    }
}

/// One line of saddles, in order.
#[derive(Debug, Clone)]
pub struct Branch {
    pub saddles: Vec<Saddle>,
    /// Why it ends before its first point and after its last.
    pub ends: [LineEnd; 2],
    /// Evaluations of the map to second order.
    pub evaluations: usize,
}

/// How lines are followed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracing {
    /// |eta|^2/2 beyond which nothing is wanted.
    pub largest_action: f64,
    /// x_0 beyond which nothing is wanted.
    pub range: (f64, f64),
    /// Largest step of arclength in eta.
    pub largest_step: f64,
    /// Accuracy of x_0 between neighbouring points: a fraction of what is to be resolved.
    pub resolution: f64,
}

/// Smallest step of arclength in eta.
const SMALLEST_STEP: f64 = 1e-5;
/// Newton iterations before a step is taken to be too long.
const ITERATIONS: usize = 6;
/// Part of eta along the constraint surface at which a saddle is found. The action's error is its square.
pub(super) const CONVERGED: f64 = 1e-7;
/// Points of one line in either direction.
const POINTS: usize = 4000;
/// Angle by which the tangent may turn in one step, and the change of the root of the weight.
const TURN: f64 = 0.25;
const WEIGHT_CHANGE: f64 = 0.2;
/// Strain (see [`strain`]) at which a step is rejected.
const TOO_MUCH: f64 = 2.5;
/// Limits of the change of the step from one to the next.
const SHRINK: f64 = 0.3;
const GROW: f64 = 1.8;

/// The saddle near `eta`, found by Newton's method in the hyperplane through it across `across`, or at fixed x_0.
pub(super) enum Fix<'a> {
    Across(&'a DVector<f64>),
    End(f64),
}

/// Newton's method from a guess. `Ok(None)`: it did not converge.
pub(super) fn polish(
    map: &dyn FlowMap,
    guess: DVector<f64>,
    fix: &Fix<'_>,
    before: &DVector<f64>,
    iterations: usize,
    evaluations: &mut usize,
) -> Result<Option<Saddle>, ActionError> {
    let mut eta = guess;
    let mut last = f64::INFINITY;
    for _ in 0..iterations {
        let expansion = map.second_order(&eta)?;
        *evaluations += 1;
        let Some(frame) = Frame::new(&expansion, &eta) else {
            return Ok(None);
        };
        let miss = match fix {
            Fix::Across(_) => 0.0,
            Fix::End(end) => (end - expansion.end) / frame.gradient_norm,
        };
        let distance = frame.distance().hypot(miss);
        let scale = 1.0 + eta.norm();
        let done = match fix {
            Fix::Across(_) => distance < CONVERGED * scale,
            // At a given x_0 one step more, which squares what is left: the density is wanted to rounding.
            Fix::End(_) => last < CONVERGED * scale,
        };
        if done {
            return Ok(Some(saddle(&expansion.end, eta, &frame, before)));
        }
        if !(distance.is_finite() && distance < 4.0 * last) {
            return Ok(None);
        }
        last = distance;
        let mut step = frame.newton(miss);
        if let Fix::Across(direction) = fix {
            let tangent = frame.tangent(direction);
            let slope = tangent.dot(direction);
            step -= &tangent * (step.dot(direction) / slope);
        }
        if !step.norm().is_finite() || step.norm() > 1.0 + 0.5 * scale {
            return Ok(None);
        }
        eta += step;
    }
    Ok(None)
}

fn saddle(end: &f64, eta: DVector<f64>, frame: &Frame, before: &DVector<f64>) -> Saddle {
    let (index, log_determinant) = frame.inertia();
    let tangent = frame.tangent(before);
    Saddle {
        end: *end,
        action: 0.5 * eta.norm_squared(),
        multiplier: frame.multiplier,
        gradient_norm: frame.gradient_norm,
        log_determinant,
        index,
        turn: tangent.dot(&frame.normal),
        tangent,
        eta,
    }
}

impl Branch {
    /// The line of saddles through `first`, in both directions.
    pub fn through(map: &dyn FlowMap, first: Saddle, tracing: &Tracing) -> Self {
        let mut evaluations = 0;
        let (forward, after, closed) = follow(map, &first, 1.0, tracing, &mut evaluations);
        if closed {
            let mut saddles = vec![first];
            saddles.extend(forward);
            return Self {
                saddles,
                ends: [LineEnd::Closed; 2],
                evaluations,
            };
        }
        let (mut saddles, before, _) = follow(map, &first, -1.0, tracing, &mut evaluations);
        saddles.reverse();
        for s in &mut saddles {
            s.tangent.neg_mut();
            s.turn = -s.turn;
        }
        saddles.push(first);
        saddles.extend(forward);
        Self {
            saddles,
            ends: [before, after],
            evaluations,
        }
    }
}

/// The saddle at eta = 0: the mean path. `None` when Phi does not depend on eta there.
pub(super) fn mean_path(
    map: &dyn FlowMap,
    evaluations: &mut usize,
) -> Result<Option<Saddle>, ActionError> {
    let zero = DVector::zeros(map.dim());
    let expansion = map.second_order(&zero)?;
    *evaluations += 1;
    Ok(Frame::new(&expansion, &zero)
        .map(|frame| saddle(&expansion.end, zero, &frame, &expansion.gradient)))
}

fn follow(
    map: &dyn FlowMap,
    first: &Saddle,
    sign: f64,
    tracing: &Tracing,
    evaluations: &mut usize,
) -> (Vec<Saddle>, LineEnd, bool) {
    let mut line: Vec<Saddle> = Vec::new();
    let mut here = first.clone();
    here.tangent *= sign;
    here.turn *= sign;
    let (mut step, mut bend) = (0.25 * tracing.largest_step, None::<DVector<f64>>);
    loop {
        if here.action > tracing.largest_action {
            return (line, LineEnd::Action, false);
        }
        if here.end < tracing.range.0 || here.end > tracing.range.1 {
            return (line, LineEnd::Range, false);
        }
        if line.len() >= POINTS {
            return (line, LineEnd::TooLong, false);
        }
        let mut guess = &here.eta + &here.tangent * step;
        if let Some(bend) = &bend {
            guess += bend * (0.5 * step * step);
        }
        let fix = Fix::Across(&here.tangent);
        let found = polish(map, guess, &fix, &here.tangent, ITERATIONS, evaluations);
        let next = match found {
            Ok(Some(next)) if strain(&here, &next, tracing) < TOO_MUCH => next,
            _ if step > SMALLEST_STEP => {
                step *= 0.5;
                bend = None;
                continue;
            }
            Ok(_) => return (line, LineEnd::Stalled, false),
            Err(_) => return (line, LineEnd::Undefined, false),
        };
        let length = (&next.eta - &here.eta).norm();
        bend = Some((&next.tangent - &here.tangent) / length);
        let strain = strain(&here, &next, tracing);
        here = next;
        line.push(here.clone());
        let home = &here.eta - &first.eta;
        if line.len() > 8 && home.norm() < step && here.tangent.dot(&first.tangent) * sign > 0.5 {
            // The loop ends at the first point itself, neither before nor beyond it.
            if home.dot(&here.tangent) > 0.0 {
                line.pop();
            }
            let mut last = first.clone();
            last.tangent *= sign;
            last.turn *= sign;
            line.push(last);
            return (line, LineEnd::Closed, true);
        }
        let wanted = (1.0 / strain.max(1e-9)).clamp(SHRINK, GROW);
        step = (wanted * step).clamp(SMALLEST_STEP, tracing.largest_step);
    }
}

/// How badly two neighbours resolve what lies between them; 1 is as much as wanted. The first-order change is removed
/// from x_0: what is left bounds the error of a cubic through both.
fn strain(a: &Saddle, b: &Saddle, tracing: &Tracing) -> f64 {
    let turn = a.tangent.dot(&b.tangent).clamp(-1.0, 1.0).acos();
    let length = (&b.eta - &a.eta).norm();
    let slopes = a.gradient_norm * a.turn + b.gradient_norm * b.turn;
    let bend = (b.end - a.end - 0.5 * length * slopes).abs();
    let root = |s: &Saddle| s.weight().max(0.0).sqrt();
    let change = (root(a) - root(b)).abs() / root(a).max(root(b)).max(0.05);
    let counted = (-a.action.min(b.action)).exp().sqrt();
    let worst = (bend / tracing.resolution).max(change / WEIGHT_CHANGE) * counted;
    // The error of a cubic falls with the fourth power of the step, that of the tangent with the first.
    (turn / TURN).max(worst.sqrt())
}
