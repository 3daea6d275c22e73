//! Features of one coordinate at a block of points, by operations that run on vectors of points.
//!
//! Every point is treated alike and on its own: its result does not depend on the block it stands in, nor on the machine.

use pulp::Simd;

use super::{Factor, FeatureSet, Gaussian};
use crate::numerics::elementary::{exp, exp_both, sin_cos_turns};

/// Points of a block: the values of some 30 features at all of them stay in first-level cache.
pub(super) const BLOCK: usize = 96;

/// One number per point of a block, aligned so that no vector straddles two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Lane(pub [f64; BLOCK]);

impl Lane {
    pub(super) const ZERO: Self = Self([0.0; BLOCK]);
    pub(super) const ONE: Self = Self([1.0; BLOCK]);
}

/// Largest exponent that powers may reach, far from overflow.
const LARGEST: f64 = 600.0;
/// A feature below exp(-NEGLIGIBLE) of its height is lost against any other.
const NEGLIGIBLE: f64 = 40.0;

/// How a factor is evaluated by blocks: feature j is `scale[j] * exp(exponent) * value[j]`. The scales go into the weights, and
/// where the range of double precision allows, the exponents of all factors are summed before one exponential is taken of them.
#[derive(Debug)]
pub(super) enum BlockFactor<'a> {
    /// Evenly spaced Gaussians as powers of one number, z = exp(kappa p) with p the position relative to centre r in units of the
    /// spacing: exp(-(p-m)^2 kappa/2) = exp(-p^2 kappa/2) z^m exp(-m^2 kappa/2), m = j - r.
    Powers { bells: Bells, middle: usize },
    /// Evenly spaced Gaussians too many or too narrow for that.
    Bells(Bells),
    /// 1, cosines, sines.
    Waves {
        len: usize,
        cosines: usize,
        inverse_period: f64,
    },
    /// Anything else, point by point.
    Plain(&'a Factor),
}

/// Gaussians evenly spaced, p = (x - low)/spacing: height exp(-(p-j)^2 kappa/2).
#[derive(Debug)]
pub(super) struct Bells {
    len: usize,
    inverse_spacing: f64,
    /// p at the origin.
    offset: f64,
    kappa: f64,
    height: f64,
}

impl Bells {
    fn new(g: &Gaussian) -> Self {
        let inverse_spacing = 1.0 / g.spacing();
        let (low, _) = g.range();
        Self {
            len: g.len(),
            inverse_spacing,
            offset: -low * inverse_spacing,
            kappa: (g.spacing() / g.std()).powi(2),
            height: g.height(),
        }
    }

    /// Centres on either side of the middle one, at most.
    fn half(&self) -> f64 {
        (self.len / 2) as f64
    }

    /// Distance from the middle centre beyond which no feature matters.
    fn reach(&self) -> f64 {
        self.half() + (2.0 * NEGLIGIBLE / self.kappa).sqrt()
    }

    /// Largest exponents met in the powers and in the common factor, inside the reach.
    fn exponents(&self) -> [f64; 2] {
        let reach = self.reach();
        [
            self.kappa * reach * self.half(),
            0.5 * self.kappa * reach * reach,
        ]
    }
}

impl<'a> BlockFactor<'a> {
    pub(super) fn new(factor: &'a Factor) -> Self {
        match factor.sets() {
            [FeatureSet::Gaussian(g)] => {
                let bells = Bells::new(g);
                match bells.exponents().iter().all(|e| *e <= LARGEST) {
                    true => Self::Powers {
                        middle: bells.len / 2,
                        bells,
                    },
                    false => Self::Bells(bells),
                }
            }
            [FeatureSet::Fourier(f)] => Self::Waves {
                len: f.len(),
                cosines: f.waves().0,
                inverse_period: 1.0 / f.period(),
            },
            _ => Self::Plain(factor),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Powers { bells, .. } | Self::Bells(bells) => bells.len,
            Self::Waves { len, .. } => *len,
            Self::Plain(factor) => factor.len(),
        }
    }

    /// What does not depend on the point.
    pub(super) fn scales(&self) -> Vec<f64> {
        match self {
            Self::Powers { bells, middle } => (0..bells.len)
                .map(|j| {
                    let m = j as f64 - *middle as f64;
                    bells.height * (-0.5 * bells.kappa * m * m).exp()
                })
                .collect(),
            Self::Bells(bells) => vec![bells.height; bells.len],
            Self::Waves { .. } | Self::Plain(_) => vec![1.0; self.len()],
        }
    }

    /// Whether the factors' exponents can be summed: none of their products may overflow or underflow before the end.
    pub(super) fn share_exponents(factors: &[Self]) -> bool {
        let total = factors.iter().fold([0.0, 0.0], |sum, f| match f {
            Self::Powers { bells, .. } => {
                let [a, b] = bells.exponents();
                [sum[0] + a, sum[1] + b]
            }
            _ => sum,
        });
        total.iter().all(|e| *e <= LARGEST)
    }

    /// Whether values come with an exponent.
    pub(super) fn has_exponent(&self) -> bool {
        matches!(self, Self::Powers { .. })
    }

    /// Values at the first `count` points of a block, and this factor's exponents added to those given.
    #[inline(always)]
    pub(super) fn values<S: Simd>(
        &self,
        simd: S,
        x: &Lane,
        count: usize,
        values: &mut [Lane],
        exponent: &mut Lane,
    ) {
        match self {
            Self::Powers { bells, middle } => {
                let (below, above) = values.split_at_mut(*middle);
                let [up, down] = bells.bases(x, *middle, count, exponent);
                if let Some((centre, above)) = above.split_first_mut() {
                    *centre = Lane::ONE;
                    powers::<S, true>(simd, &up, count, above);
                }
                powers::<S, false>(simd, &down, count, below);
            }
            Self::Bells(bells) => {
                for (j, lane) in values.iter_mut().enumerate() {
                    for k in 0..count {
                        let p = x.0[k].mul_add(bells.inverse_spacing, bells.offset) - j as f64;
                        lane.0[k] = exp(-0.5 * bells.kappa * p * p);
                    }
                }
            }
            Self::Waves {
                cosines,
                inverse_period,
                ..
            } => {
                if let Some((one, rest)) = values.split_first_mut() {
                    *one = Lane::ONE;
                    let (cos, sin) = rest.split_at_mut(*cosines);
                    waves(simd, x, count, *inverse_period, cos, sin);
                }
            }
            Self::Plain(factor) => {
                let mut point = vec![0.0; values.len()];
                for k in 0..count {
                    factor.values(x.0[k], &mut point);
                    for (lane, v) in values.iter_mut().zip(&point) {
                        lane.0[k] = *v;
                    }
                }
            }
        }
    }
}

impl Bells {
    /// z and 1/z, held constant beyond the reach: there the exponent alone makes everything vanish.
    #[inline(always)]
    fn bases(&self, x: &Lane, middle: usize, count: usize, exponent: &mut Lane) -> [Lane; 2] {
        let (mut up, mut down) = (Lane::ZERO, Lane::ZERO);
        let (offset, reach) = (self.offset - middle as f64, self.reach());
        for k in 0..count {
            let p = x.0[k].mul_add(self.inverse_spacing, offset);
            exponent.0[k] = (-0.5 * self.kappa * p).mul_add(p, exponent.0[k]);
            let held = if p > reach { reach } else { p };
            let held = if held < -reach { -reach } else { held };
            (up.0[k], down.0[k]) = exp_both(self.kappa * held);
        }
        [up, down]
    }
}

/// The first power and those after it.
#[inline(always)]
fn powers<S: Simd, const UP: bool>(simd: S, base: &Lane, count: usize, lanes: &mut [Lane]) {
    let (base, _) = S::as_simd_f64s(&base.0[..count]);
    for (i, b) in base.iter().enumerate() {
        let mut power = simd.splat_f64s(1.0);
        let mut store = |lane: &mut Lane| {
            power = simd.mul_f64s(power, *b);
            let (lane, _) = S::as_mut_simd_f64s(&mut lane.0);
            lane[i] = power;
        };
        match UP {
            true => lanes.iter_mut().for_each(&mut store),
            false => lanes.iter_mut().rev().for_each(&mut store),
        }
    }
}

/// cos and sin of 1, 2, ... times the angle, each from the one before by the addition theorem: the error grows as that of the
/// multiplied angle itself would. There is at most one cosine more than there are sines.
#[inline(always)]
fn waves<S: Simd>(
    simd: S,
    x: &Lane,
    count: usize,
    inverse_period: f64,
    cos: &mut [Lane],
    sin: &mut [Lane],
) {
    let (mut c1, mut s1) = (Lane::ZERO, Lane::ZERO);
    for k in 0..count {
        (s1.0[k], c1.0[k]) = sin_cos_turns(x.0[k] * inverse_period);
    }
    let (mut c, mut s) = (c1, s1);
    for (j, cos) in cos.iter_mut().enumerate() {
        if j > 0 {
            turn(simd, [&mut c, &mut s], [&c1, &s1], count);
        }
        cos.0[..count].copy_from_slice(&c.0[..count]);
        if let Some(sin) = sin.get_mut(j) {
            sin.0[..count].copy_from_slice(&s.0[..count]);
        }
    }
}

/// cos and sin of an angle from those of the angle before it and of the step.
#[inline(always)]
fn turn<S: Simd>(simd: S, [c, s]: [&mut Lane; 2], [c1, s1]: [&Lane; 2], count: usize) {
    let (c, _) = S::as_mut_simd_f64s(&mut c.0[..count]);
    let (s, _) = S::as_mut_simd_f64s(&mut s.0[..count]);
    let (c1, _) = S::as_simd_f64s(&c1.0[..count]);
    let (s1, _) = S::as_simd_f64s(&s1.0[..count]);
    for (((c, s), c1), s1) in c.iter_mut().zip(s).zip(c1).zip(s1) {
        let (cos, sin) = (*c, *s);
        *c = simd.negate_mul_add_f64s(sin, *s1, simd.mul_f64s(cos, *c1));
        *s = simd.mul_add_f64s(sin, *c1, simd.mul_f64s(cos, *s1));
    }
}
