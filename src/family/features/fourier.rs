//! Fourier features of an interval.

use std::f64::consts::TAU;

/// The constant, then cos(2 pi k a/L) for k = 1..=ceil((n-1)/2), then sin(2 pi k a/L) for k = 1..=floor((n-1)/2),
/// L the length of the range: Vastola's order and phase (the origin is a = 0, wherever the range lies).
#[derive(Debug, Clone)]
pub struct Fourier {
    count: usize,
    length: f64,
}

impl Fourier {
    /// `count` >= 1 features with period `high - low`.
    pub fn new(count: usize, low: f64, high: f64) -> Self {
        Self {
            count,
            length: high - low,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The length of the range.
    pub fn period(&self) -> f64 {
        self.length
    }

    /// Number of cosines and of sines.
    pub fn waves(&self) -> (usize, usize) {
        (self.cosines(), self.count - 1 - self.cosines())
    }

    fn cosines(&self) -> usize {
        self.count / 2
    }

    pub(super) fn scale(&self) -> f64 {
        self.length / (TAU * self.cosines().max(1) as f64)
    }

    pub(super) fn values(&self, a: f64, out: &mut [f64]) {
        let cosines = self.cosines();
        out[0] = 1.0;
        for k in 1..=cosines {
            let (sin, cos) = (TAU * k as f64 * a / self.length).sin_cos();
            out[k] = cos;
            if cosines + k < self.count {
                out[cosines + k] = sin;
            }
        }
    }

    pub(super) fn jet(&self, a: f64, value: &mut [f64], first: &mut [f64], second: &mut [f64]) {
        let cosines = self.cosines();
        (value[0], first[0], second[0]) = (1.0, 0.0, 0.0);
        for k in 1..=cosines {
            let omega = TAU * k as f64 / self.length;
            let (sin, cos) = (omega * a).sin_cos();
            (value[k], first[k], second[k]) = (cos, -omega * sin, -omega * omega * cos);
            if cosines + k < self.count {
                let i = cosines + k;
                (value[i], first[i], second[i]) = (sin, omega * cos, -omega * omega * sin);
            }
        }
    }

    pub(super) fn third(&self, a: f64, out: &mut [f64]) {
        let cosines = self.cosines();
        out[0] = 0.0;
        for k in 1..=cosines {
            let omega = TAU * k as f64 / self.length;
            let (sin, cos) = (omega * a).sin_cos();
            out[k] = omega.powi(3) * sin;
            if cosines + k < self.count {
                out[cosines + k] = -omega.powi(3) * cos;
            }
        }
    }
}
