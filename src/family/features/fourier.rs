//! Fourier features of an interval.

use std::f64::consts::TAU;

use super::{Products, chebyshev};

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

    /// Products of waves are waves of the sums and differences of their numbers: cosines up to 2 C of the C in the set, and sines up
    /// to C + S.
    pub(super) fn products(&self) -> Products {
        let (cosines, sines) = self.waves();
        // The first sine among the functions, less one: that of number 0.
        let zero = 2 * cosines;
        let functions = match sines {
            0 => zero + 1,
            _ => zero + 1 + cosines + sines,
        };
        Products::closed(self.count, functions, product_values, |j, k| {
            match (j > cosines, k > cosines) {
                (false, _) => chebyshev::product(j, k),
                (true, false) => {
                    let sine = j - cosines;
                    if k == 0 {
                        return vec![(zero + sine, 1.0)];
                    }
                    let mut terms = vec![(zero + sine + k, 0.5)];
                    if sine != k {
                        let sign = if sine > k { 0.5 } else { -0.5 };
                        terms.push((zero + sine.abs_diff(k), sign));
                    }
                    terms
                }
                (true, true) => vec![(j - k, 0.5), (j + k - zero, -0.5)],
            }
        })
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

/// Cosines of the numbers 0 to 2 C, then sines from 1, by addition of angles from the features.
fn product_values(features: &[f64], out: &mut [f64]) {
    let cosines = features.len() / 2;
    let (cos, sin) = features.split_at(cosines + 1);
    let (double_cos, double_sin) = out.split_at_mut(2 * cosines + 1);
    for (m, o) in double_cos.iter_mut().enumerate() {
        *o = match cos.get(m) {
            Some(value) => *value,
            None => 2.0 * cos[m / 2] * cos[m.div_ceil(2)] - cos[m % 2],
        };
    }
    for (i, o) in double_sin.iter_mut().enumerate() {
        let m = i + 1;
        *o = match sin.get(i) {
            Some(value) => *value,
            None => 2.0 * sin[m / 2 - 1] * cos[m.div_ceil(2)] + (m % 2) as f64 * sin[0],
        };
    }
}
