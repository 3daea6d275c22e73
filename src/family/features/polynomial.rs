//! Polynomial features of an interval.

use super::Products;
use super::products::Term;

/// Largest number of polynomials whose products are expanded: their coefficients are n^3/12 numbers.
const MOST: usize = 64;

/// Legendre polynomials P_0 .. P_(n-1) of the range mapped to [-1, 1]: the same space as the monomials, in a basis
/// that stays well conditioned.
#[derive(Debug, Clone)]
pub struct Polynomial {
    count: usize,
    middle: f64,
    half: f64,
}

impl Polynomial {
    /// Degrees 0 to `count - 1` on `low..=high`.
    pub fn new(count: usize, low: f64, high: f64) -> Self {
        Self {
            count,
            middle: 0.5 * (low + high),
            half: 0.5 * (high - low),
        }
    }

    /// Middle and half length of the range.
    pub fn interval(&self) -> (f64, f64) {
        (self.middle, self.half)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn scale(&self) -> f64 {
        2.0 * self.half / self.count as f64
    }

    pub(super) fn values(&self, a: f64, out: &mut [f64]) {
        let z = (a - self.middle) / self.half;
        for n in 0..self.count {
            out[n] = match n {
                0 => 1.0,
                1 => z,
                _ => next(n, z, out),
            };
        }
    }

    /// P_j P_k is a sum of P_(j+k), P_(j+k-2), .., P_(j-k) with positive coefficients (Adams 1878): nothing cancels outside the
    /// range, where polynomials grow.
    pub(super) fn products(&self) -> Products {
        if self.count > MOST {
            return Products::pairs(self.count);
        }
        let functions = 2 * self.count - 1;
        // (1/2)_r / r!
        let ratios: Vec<f64> = (0..functions)
            .scan(1.0, |ratio, r| {
                let now = *ratio;
                *ratio *= (r as f64 + 0.5) / (r as f64 + 1.0);
                Some(now)
            })
            .collect();
        Products::closed(self.count, functions, product_values, |j, k| {
            let term = |r: usize| -> Term {
                let (top, degree) = (j + k - r, j + k - 2 * r);
                let weight = (2 * degree + 1) as f64 / (2 * top + 1) as f64;
                let share = ratios[r] * ratios[j - r] * ratios[k - r] / ratios[top];
                (degree, share * weight)
            };
            (0..=k).map(term).collect()
        })
    }

    pub(super) fn jet(&self, a: f64, value: &mut [f64], first: &mut [f64], second: &mut [f64]) {
        self.values(a, value);
        // P'_n = P'_(n-2) + (2n-1) P_(n-1), and the same once more for the second derivative.
        for n in 0..self.count {
            let (mut d, mut c) = (0.0, 0.0);
            if n >= 1 {
                let m = (2 * n - 1) as f64;
                d = m * value[n - 1] / self.half;
                c = m * first[n - 1] / self.half;
            }
            if n >= 2 {
                d += first[n - 2];
                c += second[n - 2];
            }
            first[n] = d;
            second[n] = c;
        }
    }

    pub(super) fn third(&self, a: f64, out: &mut [f64]) {
        let (mut value, mut first, mut second) = (
            vec![0.0; self.count],
            vec![0.0; self.count],
            vec![0.0; self.count],
        );
        self.jet(a, &mut value, &mut first, &mut second);
        // The recursion of `jet` once more.
        for n in 0..self.count {
            out[n] = 0.0;
            if n >= 1 {
                out[n] += (2 * n - 1) as f64 * second[n - 1] / self.half;
            }
            if n >= 2 {
                out[n] += out[n - 2];
            }
        }
    }
}

/// P_n(z), n >= 2, from those before it.
fn next(n: usize, z: f64, before: &[f64]) -> f64 {
    let m = n as f64;
    ((2.0 * m - 1.0) * z * before[n - 1] - (m - 1.0) * before[n - 2]) / m
}

/// Twice the degrees: the recurrence goes on.
fn product_values(features: &[f64], out: &mut [f64]) {
    let known = features.len();
    out[..known].copy_from_slice(features);
    for n in known..out.len() {
        out[n] = next(n, features[1], out);
    }
}
