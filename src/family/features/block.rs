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
                if let Some((centre, above)) = above.split_first_mut() {
                    *centre = Lane::ONE;
                    let (mut up, mut down) = (Lane::ZERO, Lane::ZERO);
                    let first = above.first_mut().unwrap_or(&mut up);
                    let last = below.last_mut().unwrap_or(&mut down);
                    bells.bases(x, *middle, count, exponent, [first, last]);
                    powers_up(simd, above, count);
                    powers_down(simd, below, count);
                }
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
    fn bases(
        &self,
        x: &Lane,
        middle: usize,
        count: usize,
        exponent: &mut Lane,
        [up, down]: [&mut Lane; 2],
    ) {
        let (offset, reach) = (self.offset - middle as f64, self.reach());
        for k in 0..count {
            let p = x.0[k].mul_add(self.inverse_spacing, offset);
            exponent.0[k] = (-0.5 * self.kappa * p).mul_add(p, exponent.0[k]);
            let held = if p > reach { reach } else { p };
            let held = if held < -reach { -reach } else { held };
            (up.0[k], down.0[k]) = exp_both(self.kappa * held);
        }
    }
}

/// The powers after the first, which is the first lane.
#[inline(always)]
fn powers_up<S: Simd>(simd: S, lanes: &mut [Lane], count: usize) {
    for m in 1..lanes.len() {
        let (done, rest) = lanes.split_at_mut(m);
        multiply(simd, &mut rest[0], &done[m - 1], &done[0], count);
    }
}

/// The powers after the first, which is the last lane, downwards.
#[inline(always)]
fn powers_down<S: Simd>(simd: S, lanes: &mut [Lane], count: usize) {
    for m in (1..lanes.len()).rev() {
        let (rest, done) = lanes.split_at_mut(m);
        multiply(
            simd,
            &mut rest[m - 1],
            &done[0],
            &done[done.len() - 1],
            count,
        );
    }
}

#[inline(always)]
fn multiply<S: Simd>(simd: S, out: &mut Lane, a: &Lane, b: &Lane, count: usize) {
    let (out, _) = S::as_mut_simd_f64s(&mut out.0[..count]);
    let (a, _) = S::as_simd_f64s(&a.0[..count]);
    let (b, _) = S::as_simd_f64s(&b.0[..count]);
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        *o = simd.mul_f64s(*a, *b);
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
    let Some(c1) = cos.first_mut() else {
        return;
    };
    let mut unused = Lane::ZERO;
    let s1 = sin.first_mut().unwrap_or(&mut unused);
    for k in 0..count {
        (s1.0[k], c1.0[k]) = sin_cos_turns(x.0[k] * inverse_period);
    }
    for j in 1..cos.len() {
        let (c, next_c) = cos.split_at_mut(j);
        let (s, next_s) = sin.split_at_mut(j);
        let (c, s) = ([&c[0], &c[j - 1]], [&s[0], &s[j - 1]]);
        rotate::<S, true>(simd, &mut next_c[0], [c[0], s[0]], [c[1], s[1]], count);
        if let Some(next) = next_s.first_mut() {
            rotate::<S, false>(simd, next, [c[0], s[0]], [s[1], c[1]], count);
        }
    }
}

/// c a - s b, the next cosine if (a, b) = (cos, sin), or c a + s b, the next sine if (a, b) = (sin, cos).
#[inline(always)]
fn rotate<S: Simd, const MINUS: bool>(
    simd: S,
    out: &mut Lane,
    [c, s]: [&Lane; 2],
    [a, b]: [&Lane; 2],
    count: usize,
) {
    let (out, _) = S::as_mut_simd_f64s(&mut out.0[..count]);
    let [c, s, a, b] = [c, s, a, b].map(|lane| S::as_simd_f64s(&lane.0[..count]).0);
    for ((((o, c), s), a), b) in out.iter_mut().zip(c).zip(s).zip(a).zip(b) {
        let product = simd.mul_f64s(*c, *a);
        *o = match MINUS {
            true => simd.negate_mul_add_f64s(*s, *b, product),
            false => simd.mul_add_f64s(*s, *b, product),
        };
    }
}
