//! Chebyshev polynomials of an interval: the basis that smooth kernels are expanded in.

use super::products::Term;
use super::{Products, dot};

/// Which function of the argument the polynomials are of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Variable {
    Plain,
    /// Its logarithm, for an interval that spans decades.
    Log,
    /// asinh((a - centre)/width): even steps within a width of the centre, even ratios beyond, for structure in the middle of a
    /// long interval.
    Stretched {
        centre: f64,
        width: f64,
    },
}

impl Variable {
    fn of(self, a: f64) -> f64 {
        match self {
            Self::Plain => a,
            Self::Log => a.ln(),
            Self::Stretched { centre, width } => ((a - centre) / width).asinh(),
        }
    }

    fn inverse(self, u: f64) -> f64 {
        match self {
            Self::Plain => u,
            Self::Log => u.exp(),
            Self::Stretched { centre, width } => centre + width * u.sinh(),
        }
    }

    /// The first three derivatives.
    fn derivatives(self, a: f64) -> [f64; 3] {
        match self {
            Self::Plain => [1.0, 0.0, 0.0],
            Self::Log => [1.0, -1.0 / a, 2.0 / (a * a)].map(|d| d / a),
            Self::Stretched { centre, width } => {
                let s = (a - centre) / width;
                let q = 1.0 / (1.0 + s * s);
                let first = q.sqrt() / width;
                [
                    first,
                    -first * q * s / width,
                    first * q * q * (2.0 * s * s - 1.0) / (width * width),
                ]
            }
        }
    }
}

/// Chebyshev polynomials T_0 .. T_(n-1) of a range mapped to [-1, 1]. Outside of the range they keep their values at its ends: a
/// polynomial would explode where a trajectory strays.
#[derive(Debug, Clone)]
pub struct Chebyshev {
    count: usize,
    low: f64,
    high: f64,
    variable: Variable,
    /// The middle of the variable's interval, and half its length.
    middle: f64,
    half: f64,
}

/// The terms of cos(j a) cos(k a), j >= k, in cosines: of T_j T_k in T.
pub(super) fn product(j: usize, k: usize) -> Vec<Term> {
    match k {
        0 => vec![(j, 1.0)],
        _ => vec![(j + k, 0.5), (j - k, 0.5)],
    }
}

/// Arguments evaluated together.
const LANES: usize = 16;

impl Chebyshev {
    /// Degrees 0 to `count - 1` on `low..=high`, which is positive if the polynomials are of the logarithm.
    pub fn new(count: usize, low: f64, high: f64, variable: Variable) -> Self {
        let (first, last) = (variable.of(low), variable.of(high));
        Self {
            count,
            low,
            high,
            variable,
            middle: 0.5 * (first + last),
            half: 0.5 * (last - first),
        }
    }

    /// The nodes at which interpolation by the polynomials is exact, in decreasing order.
    pub fn nodes(&self) -> Vec<f64> {
        (0..self.count)
            .map(|j| {
                let angle = std::f64::consts::PI * (j as f64 + 0.5) / self.count as f64;
                let u = self.middle + self.half * angle.cos();
                self.variable.inverse(u).clamp(self.low, self.high)
            })
            .collect()
    }

    /// `out[k * n + j]`: what the value at node j adds to coefficient k.
    pub fn transform(&self) -> Vec<f64> {
        let n = self.count;
        let angle =
            |k: usize, j: usize| std::f64::consts::PI * k as f64 * (j as f64 + 0.5) / n as f64;
        let weight = |k: usize| if k == 0 { 1.0 } else { 2.0 };
        (0..n)
            .flat_map(|k| (0..n).map(move |j| weight(k) / n as f64 * angle(k, j).cos()))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The zeros' mean spacing; of the logarithm's, that in the middle. The polynomials oscillate faster at the ends, and stretched
    /// ones in the middle: there those of high degree, of which kernels hold little, and finer quadratures show whether it matters.
    pub(super) fn scale(&self) -> f64 {
        match self.variable {
            Variable::Plain | Variable::Stretched { .. } => {
                (self.high - self.low) / self.count as f64
            }
            Variable::Log => 2.0 * self.half / self.count as f64 * self.middle.exp(),
        }
    }

    pub(super) fn values(&self, a: f64, out: &mut [f64]) {
        let z = self.place(a).0;
        for n in 0..self.count {
            out[n] = match n {
                0 => 1.0,
                1 => z,
                _ => 2.0 * z * out[n - 1] - out[n - 2],
            };
        }
    }

    /// T_j T_k = (T_(j+k) + T_(j-k))/2, whatever the variable.
    pub(super) fn products(&self) -> Products {
        let values = |features: &[f64], out: &mut [f64]| {
            for (m, o) in out.iter_mut().enumerate() {
                *o = match features.get(m) {
                    Some(value) => *value,
                    None => 2.0 * features[m / 2] * features[m.div_ceil(2)] - features[m % 2],
                };
            }
        };
        Products::closed(self.count, 2 * self.count - 1, values, product)
    }

    pub(super) fn jet(&self, a: f64, value: &mut [f64], first: &mut [f64], second: &mut [f64]) {
        let mut third = vec![0.0; self.count];
        self.all(a, [value, first, second, &mut third]);
    }

    pub(super) fn third(&self, a: f64, out: &mut [f64]) {
        let mut rest = [(); 3].map(|()| vec![0.0; self.count]);
        let [value, first, second] = &mut rest;
        self.all(a, [value, first, second, out]);
    }

    /// `out[i] = weights . values(x[i])`: Clenshaw's recurrence on many arguments at a time.
    pub(super) fn contract(&self, weights: &[f64], x: &[f64], out: &mut [f64]) {
        for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
            let mut z = [0.0; LANES];
            for (z, x) in z.iter_mut().zip(x) {
                *z = self.place(*x).0;
            }
            let (mut b1, mut b2) = ([0.0; LANES], [0.0; LANES]);
            for w in weights[1..].iter().rev() {
                for k in 0..LANES {
                    let b = (2.0 * z[k]).mul_add(b1[k], w - b2[k]);
                    b2[k] = b1[k];
                    b1[k] = b;
                }
            }
            for (k, o) in out.iter_mut().enumerate() {
                *o = z[k].mul_add(b1[k], weights[0] - b2[k]);
            }
        }
    }

    /// The argument in [-1, 1], and its derivatives up to the third.
    fn place(&self, a: f64) -> (f64, [f64; 3]) {
        if !(self.low..=self.high).contains(&a) {
            return (if a > self.high { 1.0 } else { -1.0 }, [0.0; 3]);
        }
        (
            (self.variable.of(a) - self.middle) / self.half,
            self.variable.derivatives(a).map(|d| d / self.half),
        )
    }

    /// Values and three derivatives: the recurrence T_n = 2 z T_(n-1) - T_(n-2) differentiated, then the chain rule.
    fn all(&self, a: f64, out: [&mut [f64]; 4]) {
        let (z, [p, q, r]) = self.place(a);
        let [value, first, second, third] = out;
        let (mut before, mut last) = ([0.0; 4], [0.0; 4]);
        for n in 0..self.count {
            let now = match n {
                0 => [1.0, 0.0, 0.0, 0.0],
                1 => [z, 1.0, 0.0, 0.0],
                _ => [0.0, 1.0, 2.0, 3.0].map(|m: f64| {
                    let order = m as usize;
                    let lower = if order == 0 { 0.0 } else { last[order - 1] };
                    2.0 * (z * last[order] + m * lower) - before[order]
                }),
            };
            (before, last) = (last, now);
            value[n] = now[0];
            first[n] = now[1] * p;
            second[n] = now[2] * p * p + now[1] * q;
            third[n] = dot(&now[1..], &[r, 3.0 * p * q, p * p * p]);
        }
    }
}
