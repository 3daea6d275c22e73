//! Kernels written as expressions.

use super::lanes::{BLOCK, Lane, Slot};
use super::{Formula, KernelError};
use crate::symbolic::{Expr, Tape};

/// A kernel's expression and its derivative, compiled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    pub argument: Argument,
    /// The value, and the derivative with respect to the first input.
    tape: Tape,
    scale: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    Distance,
    Product,
    Pair,
}

impl Written {
    pub(super) fn new(formula: &Formula) -> Result<Self, KernelError> {
        let (expression, inputs, argument) = match formula {
            Formula::Distance(e) => (e, &["r"][..], Argument::Distance),
            Formula::Dot(e) => (e, &["s"][..], Argument::Product),
            Formula::Pair(e) => (e, &["a", "b"][..], Argument::Pair),
        };
        let outputs = [expression.simplify(), expression.derivative(inputs[0])];
        let tape = Tape::new(&outputs, inputs)?;
        let scale = match argument {
            Argument::Distance => scale(expression, &tape),
            Argument::Product | Argument::Pair => 1.0,
        };
        Ok(Self {
            argument,
            tape,
            scale,
        })
    }

    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    /// Of a squared distance or an inner product.
    pub(super) fn of_vectors(&self, argument: &Lane, slot: &mut Slot) {
        for k in 0..BLOCK {
            if self.argument == Argument::Distance {
                let r = argument.0[k].sqrt();
                let (value, slope) = self.at(&[r]);
                slot.value.0[k] = value;
                // At a kink in r = 0 the mean over all directions.
                slot.across.0[k] = if r > 0.0 { slope / r } else { 0.0 };
                slot.along.0[k] = 0.0;
            } else {
                let (value, slope) = self.at(&[argument.0[k]]);
                slot.value.0[k] = value;
                slot.across.0[k] = -slope;
                slot.along.0[k] = slope;
            }
        }
    }

    /// Of a pair of numbers, whose vectors are the constant 1: the derivative stands along it.
    pub(super) fn of_pairs(&self, a: &[f64; BLOCK], b: f64, slot: &mut Slot) {
        for (k, a) in a.iter().enumerate() {
            let (value, slope) = self.at(&[*a, b]);
            slot.value.0[k] = value;
            slot.across.0[k] = 0.0;
            slot.along.0[k] = slope;
        }
    }

    fn at(&self, inputs: &[f64]) -> (f64, f64) {
        let mut results = [0.0; 2];
        self.tape.evaluate(inputs, |i, value| results[i] = value);
        (results[0], results[1])
    }
}

/// Variation over the steepest slope of k(r) on a logarithmic grid: 1.6 standard deviations for a Gaussian; 1 where nothing varies.
fn scale(expression: &Expr, tape: &Tape) -> f64 {
    const DECADES: f64 = 6.0;
    const GRID: i32 = 480;
    if !expression.depends_on("r") {
        return 1.0;
    }
    let (mut low, mut high, mut steepest) = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64);
    for k in -GRID..=GRID {
        let r = 10f64.powf(DECADES * f64::from(k) / f64::from(GRID));
        tape.evaluate(&[r], |output, value| match output {
            _ if !value.is_finite() => {}
            0 => (low, high) = (low.min(value), high.max(value)),
            _ => steepest = steepest.max(value.abs()),
        });
    }
    let scale = (high - low) / steepest;
    if scale.is_normal() { scale } else { 1.0 }
}
