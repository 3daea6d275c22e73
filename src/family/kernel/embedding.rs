//! What a kernel or a network sees of a point (x, t): a vector of inputs.

use std::f64::consts::TAU;
use std::ops::Range;

use super::KernelError;

/// Largest number of frequencies of a time embedding.
const MOST_FREQUENCIES: usize = 10_000;

/// The inputs that the time gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TimeEmbedding {
    /// None: the kernel does not see the time.
    None,
    /// t itself.
    Raw,
    /// ln t, for t > 0.
    Log,
    /// cos(2 pi k t/period), k = 1..count, then the sines.
    Fourier { count: usize, period: f64 },
}

/// (x, t) -> inputs: the D coordinates times `scale_inputs`, then what the time gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// D >= 1.
    pub dim: usize,
    pub time: TimeEmbedding,
    /// Factor of the coordinates; `None` is 1.
    pub scale_inputs: Option<f64>,
}

impl Embedding {
    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.dim + self.time_inputs()
    }

    /// Which of the inputs come from the time.
    pub fn time_range(&self) -> Range<usize> {
        self.dim..self.inputs()
    }

    /// The inputs at one point; `x` has D numbers.
    pub fn embed(&self, x: &[f64], t: f64) -> Vec<f64> {
        let mut inputs = Vec::with_capacity(self.inputs());
        inputs.extend(x.iter().map(|x| x * self.scale()));
        match self.time {
            TimeEmbedding::None => {}
            TimeEmbedding::Raw => inputs.push(t),
            TimeEmbedding::Log => inputs.push(t.ln()),
            TimeEmbedding::Fourier { count, period } => {
                let angle = |k: usize| TAU * k as f64 * t / period;
                inputs.extend((1..=count).map(|k| angle(k).cos()));
                inputs.extend((1..=count).map(|k| angle(k).sin()));
            }
        }
        inputs
    }

    /// Derivative of a coordinate's input with respect to the coordinate.
    pub fn scale(&self) -> f64 {
        self.scale_inputs.unwrap_or(1.0)
    }

    /// Time over which inputs move by `length`; with [`TimeEmbedding::Log`] it is a difference of ln t. Infinite without
    /// a time.
    pub fn time_scale(&self, length: f64) -> f64 {
        match self.time {
            TimeEmbedding::None => f64::INFINITY,
            TimeEmbedding::Raw | TimeEmbedding::Log => length,
            // The fastest wave moves at 2 pi count/period, and is never farther away than one of its own radians.
            TimeEmbedding::Fourier { count, period } => {
                length.min(1.0) * period / (TAU * count as f64)
            }
        }
    }

    fn time_inputs(&self) -> usize {
        match self.time {
            TimeEmbedding::None => 0,
            TimeEmbedding::Raw | TimeEmbedding::Log => 1,
            TimeEmbedding::Fourier { count, .. } => 2 * count,
        }
    }

    pub(in crate::family) fn check(&self, dim: usize) -> Result<(), KernelError> {
        if self.dim != dim || dim == 0 {
            return Err(KernelError::Dimension {
                kernel: dim,
                embedding: self.dim,
            });
        }
        super::positive("scale of the inputs", self.scale())?;
        if let TimeEmbedding::Fourier { count, period } = self.time {
            super::positive("period", period)?;
            if count == 0 || count > MOST_FREQUENCIES {
                return Err(KernelError::Frequencies { count });
            }
        }
        Ok(())
    }
}
