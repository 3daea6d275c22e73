//! Gaussian features: normal densities on evenly spaced centres.

use super::Products;

/// Below this factor a term is lost against its neighbours in double precision: exp(-EXPONENT) ~ 1e-17.
const EXPONENT: f64 = 40.0;
/// exp(LARGEST) is far from overflow, and exp(-LARGEST) from underflow.
const LARGEST: f64 = 600.0;

/// Normal densities (with their 1/(std sqrt(2 pi)) factor) centred on `count` evenly spaced points of a range,
/// of standard deviation `width` times the spacing.
#[derive(Debug, Clone)]
pub struct Gaussian {
    low: f64,
    spacing: f64,
    count: usize,
    std: f64,
    /// Neighbours on either side that matter at the nearest centre.
    window: usize,
    /// exp(-m^2 kappa/2) for m = 0..=window, kappa = (spacing/std)^2.
    ladder: Vec<f64>,
}

impl Gaussian {
    /// `count` >= 2 centres on `low..=high`; width > 0. (A single centre sits in the middle and takes the whole
    /// range as its spacing.)
    pub fn new(count: usize, low: f64, high: f64, width: f64) -> Self {
        let (low, spacing) = if count > 1 {
            (low, (high - low) / (count - 1) as f64)
        } else {
            (0.5 * (low + high), high - low)
        };
        let kappa = 1.0 / (width * width);
        let reach = (0.5 + (2.0 * EXPONENT / kappa).sqrt()).ceil();
        let window = (reach as usize).min(count);
        Self {
            low,
            spacing,
            count,
            std: width * spacing,
            window,
            ladder: (0..=window)
                .map(|m| (-0.5 * kappa * (m * m) as f64).exp())
                .collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Standard deviation of each feature.
    pub fn std(&self) -> f64 {
        self.std
    }

    /// The centres, in increasing order.
    pub fn centres(&self) -> impl Iterator<Item = f64> {
        (0..self.count).map(|i| self.centre(i))
    }

    fn centre(&self, i: usize) -> f64 {
        self.low + self.spacing * i as f64
    }

    pub(super) fn support(&self) -> (f64, f64) {
        let reach = (2.0 * EXPONENT).sqrt() * self.std;
        (self.low - reach, self.centre(self.count - 1) + reach)
    }

    /// Distance of neighbouring centres.
    pub(super) fn spacing(&self) -> f64 {
        self.spacing
    }

    /// The first centre and the last.
    pub(super) fn range(&self) -> (f64, f64) {
        (self.low, self.centre(self.count - 1))
    }

    /// Value at the centre.
    pub(super) fn height(&self) -> f64 {
        1.0 / (self.std * (2.0 * std::f64::consts::PI).sqrt())
    }

    pub(super) fn values(&self, a: f64, out: &mut [f64]) {
        for (i, o) in out.iter_mut().enumerate() {
            let z = (a - self.centre(i)) / self.std;
            *o = self.height() * (-0.5 * z * z).exp();
        }
    }

    pub(super) fn jet(&self, a: f64, value: &mut [f64], first: &mut [f64], second: &mut [f64]) {
        self.values(a, value);
        for i in 0..self.count {
            let z = (a - self.centre(i)) / self.std;
            first[i] = -z / self.std * value[i];
            second[i] = (z * z - 1.0) / (self.std * self.std) * value[i];
        }
    }

    pub(super) fn third(&self, a: f64, out: &mut [f64]) {
        self.values(a, out);
        for (i, o) in out.iter_mut().enumerate() {
            let z = (a - self.centre(i)) / self.std;
            *o *= z * (3.0 - z * z) / self.std.powi(3);
        }
    }

    /// phi_j phi_k is a Gaussian about the middle of the centres, which depends on j + k alone: the product of the neighbours in the
    /// middle times exp(-kappa ((j-k)^2 - (j+k mod 2))/4). Nothing cancels.
    pub(super) fn products(&self) -> Products {
        let values = |features: &[f64], out: &mut [f64]| {
            for (m, o) in out.iter_mut().enumerate() {
                *o = features[m / 2] * features[m.div_ceil(2)];
            }
        };
        let kappa = (self.spacing / self.std).powi(2);
        Products::closed(self.count, 2 * self.count - 1, values, |j, k| {
            let distance = j - k;
            let exponent = 0.25 * kappa * (distance * distance - distance % 2) as f64;
            vec![(j + k, (-exponent).exp())]
        })
    }

    /// `out[i] = weights . values(x[i])` with two exponentials a point: around the nearest centre j, at distance
    /// u spacings, the neighbour m steps away has exp(-(u-m)^2 kappa/2) = exp(-u^2 kappa/2) exp(kappa u)^m ladder[m].
    pub(super) fn contract(&self, weights: &[f64], x: &[f64], out: &mut [f64]) {
        // Zero padding removes every bounds decision from the inner loop.
        let pad = self.window;
        let mut padded = vec![0.0; self.count + 2 * pad];
        let height = self.height();
        for (p, w) in padded[pad..].iter_mut().zip(weights) {
            *p = w * height;
        }
        let kappa = (self.spacing / self.std).powi(2);
        let last = (self.count - 1) as f64;
        for (x, o) in x.iter().zip(out) {
            let position = (x - self.low) / self.spacing;
            let nearest = position.round().clamp(0.0, last);
            let u = position - nearest;
            // More than 40 standard deviations outside everything underflows.
            if u * u * kappa > 1600.0 {
                *o = 0.0;
                continue;
            }
            let j = nearest as usize + pad;
            // Where the powers of `step` would overflow (narrow features, or far outside) the terms are summed as they are.
            if kappa * u.abs() * pad as f64 > LARGEST {
                *o = (0..=2 * pad)
                    .map(|m| {
                        let distance = u - (m as f64 - pad as f64);
                        padded[j + m - pad] * (-0.5 * kappa * distance * distance).exp()
                    })
                    .sum();
                continue;
            }
            let step = (kappa * u).exp();
            let back = 1.0 / step;
            let (mut up, mut down) = (1.0, 1.0);
            let mut sum = padded[j];
            let right = &padded[j + 1..=j + pad];
            let left = &padded[j - pad..j];
            for ((r, l), e) in right.iter().zip(left.iter().rev()).zip(&self.ladder[1..]) {
                up *= step;
                down *= back;
                sum += e * (r * up + l * down);
            }
            *o = sum * (-0.5 * kappa * u * u).exp();
        }
    }
}
