//! Kernels that are one function of the distance or of the inner product.

use super::Order;
use super::lanes::{BLOCK, Lane, Slot};
use crate::numerics::elementary::exp;

/// A function k of a squared distance or an inner product, as value and derivative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Elementary {
    Rbf { length: f64 },
    Matern { order: Order, length: f64 },
    RationalQuadratic { length: f64, mixture: f64 },
    Dot { offset: f64, power: u32 },
}

impl Elementary {
    /// Does it take the inner product, not the squared distance?
    pub(super) fn of_product(&self) -> bool {
        matches!(self, Self::Dot { .. })
    }

    /// Value, and the factor of the gradient: of u - v for distances, of v for inner products.
    #[inline(always)]
    pub(super) fn evaluate<const SLOPES: bool>(&self, argument: &Lane, slot: &mut Slot) {
        match *self {
            Self::Rbf { length } => {
                let rate = -0.5 / (length * length);
                each::<SLOPES>(argument, slot, |square| {
                    let value = exp(rate * square);
                    (value, 2.0 * rate * value)
                });
            }
            Self::Matern { order, length } => matern::<SLOPES>(order, length, argument, slot),
            Self::RationalQuadratic { length, mixture } => {
                let rate = 1.0 / (length * length);
                each::<SLOPES>(argument, slot, |square| {
                    let part = 0.5 * rate * square / mixture;
                    let value = (-mixture * part.ln_1p()).exp();
                    (value, -rate * value / (1.0 + part))
                });
            }
            Self::Dot { offset, power } => each::<SLOPES>(argument, slot, |product| {
                let base = product + offset;
                let lower = whole_power(base, power - 1);
                (base * lower, f64::from(power) * lower)
            }),
        }
        if SLOPES && self.of_product() {
            // Along v = u - (u - v).
            for k in 0..BLOCK {
                slot.along.0[k] = slot.across.0[k];
                slot.across.0[k] = -slot.across.0[k];
            }
        }
    }

    /// Length over which it varies, in units of its inputs.
    pub(super) fn scale(&self) -> f64 {
        match *self {
            Self::Rbf { length }
            | Self::Matern { length, .. }
            | Self::RationalQuadratic { length, .. } => length,
            Self::Dot { .. } => 1.0,
        }
    }
}

#[inline(always)]
fn each<const SLOPES: bool>(
    argument: &Lane,
    slot: &mut Slot,
    function: impl Fn(f64) -> (f64, f64),
) {
    for k in 0..BLOCK {
        let (value, slope) = function(argument.0[k]);
        slot.value.0[k] = value;
        if SLOPES {
            slot.across.0[k] = slope;
        }
    }
}

/// In q = sqrt(2 nu) r/length: e^-q times 1, 1 + q, 1 + q + q^2/3. The first has a kink at r = 0; its derivative there is the mean
/// over all directions, 0.
#[inline(always)]
fn matern<const SLOPES: bool>(order: Order, length: f64, argument: &Lane, slot: &mut Slot) {
    let degree: f64 = match order {
        Order::Half => 1.0,
        Order::ThreeHalves => 3.0,
        Order::FiveHalves => 5.0,
    };
    let rate = degree.sqrt() / length;
    let square = rate * rate;
    match order {
        Order::Half => each::<SLOPES>(argument, slot, |s| {
            let q = rate * s.sqrt();
            let value = exp(-q);
            (value, if q > 0.0 { -square * value / q } else { 0.0 })
        }),
        Order::ThreeHalves => each::<SLOPES>(argument, slot, |s| {
            let q = rate * s.sqrt();
            let fall = exp(-q);
            ((1.0 + q) * fall, -square * fall)
        }),
        Order::FiveHalves => each::<SLOPES>(argument, slot, |s| {
            let q = rate * s.sqrt();
            let fall = exp(-q);
            let value = (1.0 + q * (1.0 + q / 3.0)) * fall;
            (value, -square / 3.0 * (1.0 + q) * fall)
        }),
    }
}

/// By squaring: the same multiplications on every lane.
#[inline(always)]
fn whole_power(base: f64, power: u32) -> f64 {
    let (mut value, mut square, mut rest) = (1.0, base, power);
    while rest > 0 {
        if rest & 1 == 1 {
            value *= square;
        }
        square *= square;
        rest >>= 1;
    }
    value
}
