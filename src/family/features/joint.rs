//! Features of all coordinates at once, for the dimensions in which products are too many.

use std::f64::consts::TAU;

use pulp::{Arch, Simd, WithSimd};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::block::{BLOCK, Lane};
use crate::numerics::elementary::{exp, sin_cos_turns};

/// Features evaluated together before they are summed: their values stay in first-level cache.
const GROUP: usize = 16;

/// A set of features of a point in D dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Joint {
    dim: usize,
    kind: Kind,
    /// A vector of length D per feature, one after another: centres, frequencies (turns per unit length) or directions.
    vectors: Vec<f64>,
    /// A number per feature: phases in turns, or offsets.
    offsets: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Isotropic normal densities: exp(-|x - c|^2/(2 std^2)) times their height.
    Radial { std: f64 },
    /// sqrt(2/m) cos(w.x + b), with w ~ N(0, 1/length^2).
    RandomFourier { length: f64 },
    /// max(0, u.x + b).
    Relu,
}

impl Joint {
    /// Normal densities of standard deviation `std` > 0 around at least one given centre (each of the same D >= 1 numbers).
    pub fn radial(centres: &[Vec<f64>], std: f64) -> Self {
        Self {
            dim: centres[0].len(),
            kind: Kind::Radial { std },
            vectors: centres.concat(),
            offsets: vec![0.0; centres.len()],
        }
    }

    /// The same around `count` centres uniform on a box.
    pub fn radial_random<R: Rng + ?Sized>(
        count: usize,
        range: &[(f64, f64)],
        std: f64,
        rng: &mut R,
    ) -> Self {
        let centres: Vec<Vec<f64>> = (0..count)
            .map(|_| {
                let uniform = |&(low, high): &(f64, f64)| low + (high - low) * rng.random::<f64>();
                range.iter().map(uniform).collect()
            })
            .collect();
        Self::radial(&centres, std)
    }

    /// `count` waves of random direction and phase: their mean products approach exp(-|x - y|^2/(2 length^2)) (Rahimi and
    /// Recht 2007).
    pub fn random_fourier<R: Rng + ?Sized>(
        dim: usize,
        count: usize,
        length: f64,
        rng: &mut R,
    ) -> Self {
        let mut vectors = Vec::with_capacity(dim * count);
        let mut offsets = Vec::with_capacity(count);
        for _ in 0..count {
            vectors.extend((0..dim).map(|_| rng.sample::<f64, _>(StandardNormal) / (length * TAU)));
            offsets.push(rng.random::<f64>());
        }
        Self {
            dim,
            kind: Kind::RandomFourier { length },
            vectors,
            offsets,
        }
    }

    /// `count` rectified planes: u uniform on the sphere, the plane's distance from the middle of the box uniform up to half
    /// the box's diagonal.
    pub fn relu<R: Rng + ?Sized>(count: usize, range: &[(f64, f64)], rng: &mut R) -> Self {
        let dim = range.len();
        let radius = 0.5
            * range
                .iter()
                .map(|(l, h)| (h - l).powi(2))
                .sum::<f64>()
                .sqrt();
        let mut vectors = Vec::with_capacity(dim * count);
        let mut offsets = Vec::with_capacity(count);
        for _ in 0..count {
            let direction = unit_vector(dim, rng);
            let middle = direction
                .iter()
                .zip(range)
                .map(|(u, (l, h))| 0.5 * u * (l + h));
            offsets.push(radius * (2.0 * rng.random::<f64>() - 1.0) - middle.sum::<f64>());
            vectors.extend(direction);
        }
        Self {
            dim,
            kind: Kind::Relu,
            vectors,
            offsets,
        }
    }

    /// D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of features.
    #[allow(clippy::len_without_is_empty)] // there is at least one
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Vectors of the features, D numbers each: centres (radial), w/(2 pi) (random Fourier) or u (ReLU).
    pub fn vectors(&self) -> impl Iterator<Item = &[f64]> {
        self.vectors.chunks_exact(self.dim)
    }

    /// Numbers of the features: 0 (radial), b/(2 pi) (random Fourier) or b (ReLU).
    pub fn offsets(&self) -> &[f64] {
        &self.offsets
    }

    /// Length over which the features vary; for rectified planes, which have kinks, the mean distance of these along a line.
    pub fn scale(&self) -> f64 {
        match self.kind {
            Kind::Radial { std } => std,
            Kind::RandomFourier { length } => length,
            Kind::Relu => {
                let widest = self.offsets.iter().fold(0.0_f64, |m, b| m.max(b.abs()));
                2.0 * widest / self.len() as f64
            }
        }
    }

    /// Interval of coordinate `i` outside which every feature vanishes to double precision, if there is one.
    pub fn support(&self, i: usize) -> Option<(f64, f64)> {
        /// exp(-z^2/2) = 1e-17.4 at this many standard deviations.
        const REACH: f64 = 8.944_271_909_999_16;
        let Kind::Radial { std } = self.kind else {
            return None;
        };
        let (low, high) = self
            .vectors()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), c| {
                (l.min(c[i]), h.max(c[i]))
            });
        Some((low - REACH * std, high + REACH * std))
    }

    /// Factor common to all features.
    fn height(&self) -> f64 {
        match self.kind {
            Kind::Radial { std } => (std * TAU.sqrt()).powi(-(self.dim as i32)),
            Kind::RandomFourier { .. } => (2.0 / self.len() as f64).sqrt(),
            Kind::Relu => 1.0,
        }
    }

    /// Values at one point.
    pub(super) fn values(&self, x: &[f64], out: &mut [f64]) {
        let height = self.height();
        for ((v, b), o) in self.vectors().zip(&self.offsets).zip(out) {
            *o = height * self.feature(v, *b, x).0;
        }
    }

    /// Values at one point, and derivatives along every coordinate, output-major. At a kink the derivative is 0.
    pub(super) fn jacobian(&self, x: &[f64], values: &mut [f64], jacobian: &mut [f64]) {
        let (height, n) = (self.height(), self.len());
        for (s, (v, b)) in self.vectors().zip(&self.offsets).enumerate() {
            let (value, rate) = self.feature(v, *b, x);
            values[s] = height * value;
            for i in 0..self.dim {
                let direction = match self.kind {
                    Kind::Radial { std } => (v[i] - x[i]) / (std * std),
                    Kind::RandomFourier { .. } => TAU * v[i],
                    Kind::Relu => v[i],
                };
                jacobian[i * n + s] = height * rate * direction;
            }
        }
    }

    /// A feature without its height, and its derivative along its own argument.
    fn feature(&self, v: &[f64], b: f64, x: &[f64]) -> (f64, f64) {
        match self.kind {
            Kind::Radial { std } => {
                let square: f64 = x.iter().zip(v).map(|(x, c)| (x - c).powi(2)).sum();
                let value = (-0.5 * square / (std * std)).exp();
                (value, value)
            }
            Kind::RandomFourier { .. } => {
                let (sin, cos) = (TAU * (super::dot(x, v) + b)).sin_cos();
                (cos, -sin)
            }
            Kind::Relu => {
                let distance = super::dot(x, v) + b;
                match distance > 0.0 {
                    true => (distance, 1.0),
                    // NaN stays what it is.
                    false => (0.0 * distance, 0.0),
                }
            }
        }
    }

    /// `out[o * n + k] = sum_s weights[o * F_x + s] phi_s(x_k)`.
    pub(super) fn contract(&self, weights: &[f64], x: &[f64], out: &mut [f64]) {
        Arch::new().dispatch(Contraction {
            joint: self,
            weights,
            x,
            out,
        });
    }

    /// Values at n points: `out[k * F_x + s]` is feature s at point k.
    pub(super) fn values_at(&self, x: &[f64], out: &mut [f64]) {
        Arch::new().dispatch(Evaluation {
            joint: self,
            x,
            out,
        });
    }

    /// Values without the height of some features at the first `count` points of a block.
    #[inline(always)]
    fn lanes(&self, first: usize, x: &[Lane], count: usize, values: &mut [Lane]) {
        for (s, lane) in values.iter_mut().enumerate() {
            let feature = first + s;
            let vector = &self.vectors[feature * self.dim..(feature + 1) * self.dim];
            let lane = &mut lane.0[..count];
            match self.kind {
                Kind::Radial { std } => {
                    lane.fill(0.0);
                    for (x, c) in x.iter().zip(vector) {
                        for (o, x) in lane.iter_mut().zip(&x.0) {
                            *o = (x - c).mul_add(x - c, *o);
                        }
                    }
                    let rate = -0.5 / (std * std);
                    for o in lane {
                        *o = exp(rate * *o);
                    }
                }
                Kind::RandomFourier { .. } | Kind::Relu => {
                    lane.fill(self.offsets[feature]);
                    for (x, w) in x.iter().zip(vector) {
                        for (o, x) in lane.iter_mut().zip(&x.0) {
                            *o = x.mul_add(*w, *o);
                        }
                    }
                    for o in lane {
                        *o = match self.kind {
                            Kind::Relu if *o > 0.0 => *o,
                            Kind::Relu => 0.0 * *o,
                            _ => sin_cos_turns(*o).1,
                        };
                    }
                }
            }
        }
    }
}

/// Uniform on the unit sphere.
fn unit_vector<R: Rng + ?Sized>(dim: usize, rng: &mut R) -> Vec<f64> {
    loop {
        let normal: Vec<f64> = (0..dim).map(|_| rng.sample(StandardNormal)).collect();
        let length = super::dot(&normal, &normal).sqrt();
        if length > 0.0 {
            return normal.iter().map(|v| v / length).collect();
        }
    }
}

struct Contraction<'a> {
    joint: &'a Joint,
    weights: &'a [f64],
    x: &'a [f64],
    out: &'a mut [f64],
}

impl WithSimd for Contraction<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (features, dim) = (self.joint.len(), self.joint.dim);
        let (points, outputs) = (self.x.len() / dim, self.weights.len() / features);
        let height = self.joint.height();
        let (mut x, mut sums) = (vec![Lane::ZERO; dim], vec![Lane::ZERO; outputs]);
        let mut values = [Lane::ZERO; GROUP];
        for start in (0..points).step_by(BLOCK) {
            let used = BLOCK.min(points - start);
            let count = used.next_multiple_of(S::F64_LANES);
            load(&mut x, self.x, start, used);
            sums.fill(Lane::ZERO);
            for first in (0..features).step_by(GROUP) {
                let values = &mut values[..GROUP.min(features - first)];
                self.joint.lanes(first, &x, count, values);
                for (sum, weights) in sums.iter_mut().zip(self.weights.chunks_exact(features)) {
                    add(simd, sum, &weights[first..], values, count);
                }
            }
            for (sum, out) in sums.iter().zip(self.out.chunks_exact_mut(points)) {
                for (o, s) in out[start..start + used].iter_mut().zip(&sum.0) {
                    *o = height * s;
                }
            }
        }
    }
}

/// The coordinates of `used` points from `start` on, one lane each.
#[inline(always)]
fn load(lanes: &mut [Lane], x: &[f64], start: usize, used: usize) {
    let points = x.len() / lanes.len();
    for (lane, from) in lanes.iter_mut().zip(x.chunks_exact(points)) {
        lane.0[..used].copy_from_slice(&from[start..start + used]);
    }
}

struct Evaluation<'a> {
    joint: &'a Joint,
    x: &'a [f64],
    out: &'a mut [f64],
}

impl WithSimd for Evaluation<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let features = self.joint.len();
        let height = self.joint.height();
        let mut x = vec![Lane::ZERO; self.joint.dim];
        let mut values = [Lane::ZERO; GROUP];
        for (block, rows) in self.out.chunks_mut(BLOCK * features).enumerate() {
            let used = rows.len() / features;
            let count = used.next_multiple_of(S::F64_LANES);
            load(&mut x, self.x, block * BLOCK, used);
            for first in (0..features).step_by(GROUP) {
                let values = &mut values[..GROUP.min(features - first)];
                self.joint.lanes(first, &x, count, values);
                for (k, row) in rows.chunks_exact_mut(features).enumerate() {
                    for (o, lane) in row[first..].iter_mut().zip(values.iter()) {
                        *o = height * lane.0[k];
                    }
                }
            }
        }
    }
}

/// Adds the weighted values, in the order of the features.
#[inline(always)]
fn add<S: Simd>(simd: S, sum: &mut Lane, weights: &[f64], values: &[Lane], count: usize) {
    let (sums, _) = S::as_mut_simd_f64s(&mut sum.0[..count]);
    for (i, sum) in sums.iter_mut().enumerate() {
        for (w, lane) in weights.iter().zip(values) {
            let (v, _) = S::as_simd_f64s(&lane.0);
            *sum = simd.mul_add_f64s(simd.splat_f64s(*w), v[i], *sum);
        }
    }
}
