//! Polynomial features of an interval.

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
                _ => {
                    let m = n as f64;
                    ((2.0 * m - 1.0) * z * out[n - 1] - (m - 1.0) * out[n - 2]) / m
                }
            };
        }
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
