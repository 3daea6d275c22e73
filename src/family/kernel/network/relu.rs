//! ReLU: the angle between the two points' features passes from layer to layer (Cho and Saul 2009), here through 1 - cos, which
//! never cancels (D20.6 to D20.9).

use std::f64::consts::{FRAC_1_PI, SQRT_2};

use super::super::lanes::{BLOCK, Lane, Pairs, Slot, Table};
use super::{Network, Start};
use crate::numerics::elementary::atan_small;

/// Sines below it are rounding: directions are then taken as the same, or as opposite.
const ALIGNED: f64 = 1e-15;

/// Tables of a layer: length of the feature vector, its inverse (0 for none), derivative of its logarithm with respect to that of
/// the first.
const TABLES: usize = 3;

/// A block of pairs at one layer. `_turn` is a derivative with respect to the first layer's angle, `_grow` to the logarithm of the
/// first layer's length |U|.
struct State {
    angle: Lane,
    /// 1 - cos of the angle.
    less: Lane,
    sin: Lane,
    kernel: Lane,
    angle_turn: Lane,
    angle_grow: Lane,
    kernel_turn: Lane,
    kernel_grow: Lane,
    /// c |U||V|, with c = weight/2.
    scale: Lane,
    /// 1 - cos of the next angle if there were no bias.
    rest: Lane,
}

/// What the layer's step knows of the two sides.
struct Sides<'a> {
    length: &'a [f64; BLOCK],
    other_length: f64,
    inverse: &'a [f64; BLOCK],
    other_inverse: f64,
    growth: &'a [f64; BLOCK],
}

impl<'a> Sides<'a> {
    #[inline(always)]
    fn new(layer: usize, index: usize, pairs: &Pairs<'a>) -> Self {
        let (a, b) = (&pairs.a.leaves[index].tables, &pairs.b.leaves[index].tables);
        let first = TABLES * layer;
        Self {
            length: a[first].lane(pairs.block),
            other_length: b[first].at(pairs.column),
            inverse: a[first + 1].lane(pairs.block),
            other_inverse: b[first + 1].at(pairs.column),
            growth: a[first + 2].lane(pairs.block),
        }
    }
}

impl Network {
    /// c = weight/2: the factor of the variance from layer to layer.
    #[inline(always)]
    fn gain(&self) -> f64 {
        0.5 * self.weight
    }

    pub(super) fn relu_tables(&self, lengths: &[f64]) -> Vec<Table> {
        let n = lengths.len();
        let first: Vec<f64> = lengths.iter().map(|l| l * l).collect();
        let (mut squares, mut gained) = (first.clone(), first);
        let mut tables = Vec::with_capacity(TABLES * self.depth);
        for _ in 0..self.depth {
            let inverse = |i: usize| {
                if squares[i] > 0.0 {
                    1.0 / squares[i].sqrt()
                } else {
                    0.0
                }
            };
            let growth = |i: usize| {
                if squares[i] > 0.0 {
                    gained[i] / squares[i]
                } else {
                    1.0
                }
            };
            tables.push(Table::new(n, |i| squares[i].sqrt()));
            tables.push(Table::new(n, inverse));
            tables.push(Table::new(n, growth));
            for (square, gained) in squares.iter_mut().zip(&mut gained) {
                *square = self.gain() * *square + self.bias;
                *gained *= self.gain();
            }
        }
        tables
    }

    #[inline(always)]
    pub(super) fn relu<const SLOPES: bool>(
        &self,
        index: usize,
        pairs: &Pairs,
        start: &Start,
        slot: &mut Slot,
    ) {
        let first = Sides::new(0, index, pairs);
        let mut state = State::new(start, &first);
        let (less, sin) = (state.less, state.sin);
        for layer in 0..self.depth {
            let sides = Sides::new(layer, index, pairs);
            self.next_kernel::<SLOPES>(&sides, &mut state);
            if layer + 1 < self.depth {
                let next = Sides::new(layer + 1, index, pairs);
                self.next_angle::<SLOPES>(&sides, &next, &mut state);
            }
        }
        slot.value = state.kernel;
        if SLOPES {
            self.gradient(&first, &less, &sin, &state, slot);
        }
    }

    /// D20.6, D20.8.
    #[inline(always)]
    fn next_kernel<const SLOPES: bool>(&self, sides: &Sides, state: &mut State) {
        let gain = self.gain();
        // What the kernel of the layer before contributes: nothing to the covariance.
        let carried = if self.tangent { gain } else { 0.0 };
        for k in 0..BLOCK {
            let (angle, sin, less) = (state.angle.0[k], state.sin.0[k], state.less.0[k]);
            let share = 1.0 - angle * FRAC_1_PI;
            let rest = positive_part(less - (sin - angle * (1.0 - less)) * FRAC_1_PI);
            let scale = gain * (sides.length[k] * sides.other_length);
            let before = state.kernel.0[k];
            if SLOPES {
                let loss = scale * share * sin + carried * before * FRAC_1_PI;
                state.kernel_turn.0[k] =
                    carried * share * state.kernel_turn.0[k] - loss * state.angle_turn.0[k];
                state.kernel_grow.0[k] = scale * (1.0 - rest) * sides.growth[k]
                    + carried * share * state.kernel_grow.0[k]
                    - loss * state.angle_grow.0[k];
            }
            state.kernel.0[k] = scale * (1.0 - rest) + self.bias + carried * share * before;
            state.scale.0[k] = scale;
            state.rest.0[k] = rest;
        }
    }

    /// D20.7, D20.8.
    #[inline(always)]
    fn next_angle<const SLOPES: bool>(&self, sides: &Sides, next: &Sides, state: &mut State) {
        let shift = self.bias * self.gain();
        for k in 0..BLOCK {
            let (length, other) = (sides.length[k], sides.other_length);
            let (gap, scale, rest) = (length - other, state.scale.0[k], state.rest.0[k]);
            let lift = shift * (gap * gap)
                / (next.length[k] * next.other_length + (self.bias + scale) + f64::MIN_POSITIVE);
            let inverse = next.inverse[k] * next.other_inverse;
            let less = (lift + scale * rest) * inverse;
            let (low, high) = (less.sqrt(), (2.0 - less).sqrt());
            let sin = low * high;
            if SLOPES {
                let share = 1.0 - state.angle.0[k] * FRAC_1_PI;
                let pull = scale * share * state.sin.0[k];
                let rate = if sin > ALIGNED { inverse / sin } else { 0.0 };
                let own = next.inverse[k] * next.inverse[k];
                let tilt = shift * length * sides.growth[k] * own * (gap + other * rest);
                state.angle_grow.0[k] = (tilt + pull * state.angle_grow.0[k]) * rate;
                state.angle_turn.0[k] *= pull * rate;
            }
            state.less.0[k] = less;
            state.sin.0[k] = sin;
            state.angle.0[k] = 4.0 * atan_small(low / (high + SQRT_2));
        }
    }

    /// D20.9: from the derivatives along angle and length to those along the inputs.
    #[inline(always)]
    fn gradient(&self, first: &Sides, less: &Lane, sin: &Lane, state: &State, slot: &mut Slot) {
        for k in 0..BLOCK {
            let inverse_sin = if sin.0[k] > ALIGNED {
                1.0 / sin.0[k]
            } else {
                0.0
            };
            let turn = state.kernel_turn.0[k] * inverse_sin;
            let rate = self.first * first.inverse[k];
            slot.across.0[k] = rate * turn;
            slot.along.0[k] = rate * (state.kernel_grow.0[k] - turn * less.0[k]);
        }
    }
}

impl State {
    /// The first layer, D20.5.
    #[inline(always)]
    fn new(start: &Start, sides: &Sides) -> Self {
        let mut state = Self {
            angle: Lane::ZERO,
            less: start.less,
            sin: Lane::ZERO,
            kernel: Lane::ZERO,
            angle_turn: Lane([1.0; BLOCK]),
            angle_grow: Lane::ZERO,
            kernel_turn: Lane::ZERO,
            kernel_grow: Lane::ZERO,
            scale: Lane::ZERO,
            rest: Lane::ZERO,
        };
        for k in 0..BLOCK {
            let (less, more) = (start.less.0[k], start.more.0[k]);
            let (low, high) = ((2.0 * less).sqrt(), (2.0 * more).sqrt());
            let sin = (less * more).sqrt();
            let scale = sides.length[k] * sides.other_length;
            let inner = scale * (0.5 * (more - less));
            // tan of an eighth of the angle, from sine and cosine of its half.
            let eighth = low / (high + 2.0 + (8.0 + 4.0 * high).sqrt());
            state.angle.0[k] = 8.0 * atan_small(eighth);
            state.sin.0[k] = sin;
            state.kernel.0[k] = inner;
            state.kernel_turn.0[k] = -scale * sin;
            state.kernel_grow.0[k] = inner;
        }
        state
    }
}

/// A comparison, not `max`: NaN stays what it is.
#[inline(always)]
fn positive_part(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}
