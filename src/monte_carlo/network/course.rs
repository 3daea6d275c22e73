//! The loss as training goes on: when it is looked at, kept, and found to be too large.

use super::samples::Samples;
use crate::family::network::{NetworkTrainingError, Real};

/// Training has diverged where the loss is this many times that at the start, or that of the zero function if it is larger.
const GROWTH: f64 = 10.0;
/// Ratio of one step that is looked at to the next.
const SPACING: f64 = 1.25;

pub(super) struct Course {
    curve: Vec<(usize, f64)>,
    /// Next step to be kept.
    due: usize,
    /// Loss of the zero function.
    zero: f64,
    relative_loss: Option<f64>,
}

impl Course {
    pub(super) fn new<T: Real>(samples: &Samples<T>, relative_loss: Option<f64>) -> Self {
        let outputs = samples.targets.len() / samples.len();
        let square = |y: &[T]| y.iter().map(|y| y.to_f64().powi(2)).sum::<f64>();
        let sum: f64 = samples
            .targets
            .chunks_exact(outputs)
            .zip(&samples.weights)
            .map(|(y, weight)| weight.to_f64() * square(y))
            .sum();
        Self {
            curve: Vec::new(),
            due: 0,
            zero: 0.5 * sum / samples.len() as f64,
            relative_loss,
        }
    }

    /// Whether the loss before this step is kept.
    pub(super) fn is_due(&self, step: usize) -> bool {
        step >= self.due
    }

    /// Takes note of the loss over all samples before a step; true if it is low enough to end.
    pub(super) fn observe(&mut self, step: usize, loss: f64) -> Result<bool, NetworkTrainingError> {
        self.check(step, loss)?;
        if self.is_due(step) {
            self.curve.push((step, loss));
            self.due = (step + 1).max((step as f64 * SPACING) as usize);
        }
        let first = self.first(loss);
        if loss > GROWTH * first.max(self.zero) {
            return Err(NetworkTrainingError::Diverged { step, loss, first });
        }
        Ok(self.relative_loss.is_some_and(|part| loss <= part * first))
    }

    /// Refuses a loss that is no number.
    pub(super) fn check(&self, step: usize, loss: f64) -> Result<(), NetworkTrainingError> {
        match loss.is_finite() {
            true => Ok(()),
            false => Err(NetworkTrainingError::Diverged {
                step,
                loss,
                first: self.first(loss),
            }),
        }
    }

    /// Takes note of the loss at the end.
    pub(super) fn finish(&mut self, step: usize, loss: f64) -> Result<(), NetworkTrainingError> {
        self.observe(step, loss)?;
        if self.curve.last().is_none_or(|(last, _)| *last < step) {
            self.curve.push((step, loss));
        }
        Ok(())
    }

    pub(super) fn into_curve(self) -> Vec<(usize, f64)> {
        self.curve
    }

    fn first(&self, otherwise: f64) -> f64 {
        self.curve.first().map_or(otherwise, |(_, loss)| *loss)
    }
}
