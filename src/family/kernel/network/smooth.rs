//! Smooth activations: closed forms in the covariances p, q, r of two normal variables (D20.10 to D20.13).

use std::f64::consts::{FRAC_1_PI, FRAC_2_PI};

use super::super::lanes::{BLOCK, Lane, Pairs, Slot, Table};
use super::{Network, Start};
use crate::numerics::elementary::angle;

/// The covariance matrix (p, q; q, r) of the two sides, with g = p r - q^2 and sqrt((1 + m p)(1 + m r)), m from
/// [`Smooth::STRETCH`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Covariance {
    p: f64,
    q: f64,
    r: f64,
    g: f64,
    root: f64,
}

/// E[f f'] of an activation f, and derivatives; by Price's theorem the derivative with respect to q is E of the product of
/// the activation's derivatives.
pub(super) struct Moments {
    value: f64,
    /// d/dq.
    slope: f64,
    /// d/dp.
    by_p: f64,
    /// d^2/dq^2.
    slope_by_q: f64,
    /// d^2/dq dp.
    slope_by_p: f64,
}

pub(super) trait Smooth {
    /// The m of [`Covariance`].
    const STRETCH: f64;
    fn moments(c: Covariance) -> Moments;
}

/// D20.10 (Williams 1997).
pub(super) struct Erf;

impl Smooth for Erf {
    const STRETCH: f64 = 2.0;

    #[inline(always)]
    fn moments(Covariance { p, q, r, g, root }: Covariance) -> Moments {
        let determinant = 1.0 + 2.0 * (p + r) + 4.0 * g;
        let side = determinant.sqrt();
        let slope = 2.0 * FRAC_2_PI / side;
        Moments {
            value: FRAC_2_PI * angle(2.0 * q, side, root),
            slope,
            by_p: -slope * q / (1.0 + 2.0 * p),
            slope_by_q: 4.0 * q * slope / determinant,
            slope_by_p: -slope * (1.0 + 2.0 * r) / determinant,
        }
    }
}

/// D20.11, D20.12.
pub(super) struct Gelu;

impl Smooth for Gelu {
    const STRETCH: f64 = 1.0;

    #[inline(always)]
    fn moments(Covariance { p, q, r, g, root }: Covariance) -> Moments {
        let determinant = 1.0 + (p + r) + g;
        let side = determinant.sqrt();
        let inverse = 1.0 / determinant;
        // E of the product of the two densities, and of the two distribution functions.
        let densities = 0.5 * FRAC_1_PI / side;
        let both = 0.25 + 0.5 * FRAC_1_PI * angle(q, side, root);
        let (own, other) = (1.0 / (1.0 + p), 1.0 / (1.0 + r));
        let sum = own + other;
        let top = g + q * q * sum;
        let part = q * q * sum - (1.0 + (p + r));
        let mixed = 2.0 * sum + part * inverse;
        let mixed_by_q = 2.0 * q * inverse * (sum + part * inverse);
        let mixed_by_p = -2.0 * own * own
            - (q * q * own * own + 1.0) * inverse
            - part * (1.0 + r) * inverse * inverse;
        let by_p_of_both = -0.5 * q * own * densities;
        let fall = -0.5 * (1.0 + r) * inverse;
        Moments {
            value: q * both + top * densities,
            slope: both + q * densities * mixed,
            by_p: q * by_p_of_both + densities * (r - q * q * own * own + top * fall),
            slope_by_q: densities * (1.0 + mixed * (1.0 + q * q * inverse) + q * mixed_by_q),
            slope_by_p: by_p_of_both + q * densities * (mixed * fall + mixed_by_p),
        }
    }
}

/// Tables of a layer: p, sqrt(1 + m p), derivative of p with respect to the first p.
const TABLES: usize = 3;

/// A block of pairs at one layer. `_q` and `_p` are derivatives with respect to the first layer's q and p.
struct State {
    q: Lane,
    g: Lane,
    kernel: Lane,
    q_q: Lane,
    q_p: Lane,
    kernel_q: Lane,
    kernel_p: Lane,
}

impl Network {
    /// The lengths |U|, then the layers' tables.
    pub(super) fn smooth_tables<A: Smooth>(&self, lengths: &[f64]) -> Vec<Table> {
        let n = lengths.len();
        let mut p: Vec<f64> = lengths.iter().map(|l| l * l).collect();
        let mut growth = vec![1.0; n];
        let mut tables = vec![Table::new(n, |i| lengths[i])];
        for _ in 0..self.depth {
            tables.push(Table::new(n, |i| p[i]));
            tables.push(Table::new(n, |i| (1.0 + A::STRETCH * p[i]).sqrt()));
            tables.push(Table::new(n, |i| growth[i]));
            for (p, growth) in p.iter_mut().zip(&mut growth) {
                let root = 1.0 + A::STRETCH * *p;
                let moments = A::moments(Covariance {
                    p: *p,
                    q: *p,
                    r: *p,
                    g: 0.0,
                    root,
                });
                *growth *= self.weight * (moments.slope + 2.0 * moments.by_p);
                *p = self.weight * moments.value + self.bias;
            }
        }
        tables.push(Table::new(n, |i| p[i]));
        tables
    }

    #[inline(always)]
    pub(super) fn smooth<A: Smooth, const SLOPES: bool>(
        &self,
        index: usize,
        pairs: &Pairs,
        start: &Start,
        slot: &mut Slot,
    ) {
        let (a, b) = (&pairs.a.leaves[index].tables, &pairs.b.leaves[index].tables);
        let (length, other) = (a[0].lane(pairs.block), b[0].at(pairs.column));
        let mut state = State::new(start, length, other);
        for layer in 0..self.depth {
            self.next::<A, SLOPES>(1 + TABLES * layer, (a, b), pairs, &mut state);
        }
        slot.value = state.kernel;
        if SLOPES {
            for k in 0..BLOCK {
                let pull = self.first * other * state.kernel_q.0[k];
                slot.across.0[k] = -pull;
                slot.along.0[k] = 2.0 * self.first * length[k] * state.kernel_p.0[k] + pull;
            }
        }
    }

    /// D20.5, D20.13: one layer, whose tables start at `first`.
    #[inline(always)]
    fn next<A: Smooth, const SLOPES: bool>(
        &self,
        first: usize,
        (a, b): (&[Table], &[Table]),
        pairs: &Pairs,
        state: &mut State,
    ) {
        let own = |table: usize| a[first + table].lane(pairs.block);
        let (p, root, growth) = (own(0), own(1), own(2));
        let next = own(TABLES);
        let other = |table: usize| b[first + table].at(pairs.column);
        let (r, other_root, next_r) = (other(0), other(1), other(TABLES));
        let carried = if self.tangent { self.weight } else { 0.0 };
        for k in 0..BLOCK {
            let m = A::moments(Covariance {
                p: p[k],
                q: state.q.0[k],
                r,
                g: state.g.0[k],
                root: root[k] * other_root,
            });
            let q = self.weight * m.value + self.bias;
            let before = state.kernel.0[k];
            if SLOPES {
                let (q_q, q_p) = (state.q_q.0[k], state.q_p.0[k]);
                let slope_q = m.slope_by_q * q_q;
                let slope_p = m.slope_by_q * q_p + m.slope_by_p * growth[k];
                state.q_q.0[k] = self.weight * m.slope * q_q;
                state.q_p.0[k] = self.weight * (m.slope * q_p + m.by_p * growth[k]);
                state.kernel_q.0[k] =
                    state.q_q.0[k] + carried * (state.kernel_q.0[k] * m.slope + before * slope_q);
                state.kernel_p.0[k] =
                    state.q_p.0[k] + carried * (state.kernel_p.0[k] * m.slope + before * slope_p);
            }
            state.kernel.0[k] = q + carried * m.slope * before;
            state.q.0[k] = q;
            let g = next[k] * next_r - q * q;
            state.g.0[k] = if g < 0.0 { 0.0 } else { g };
        }
    }
}

impl State {
    /// The first layer, D20.5.
    #[inline(always)]
    fn new(start: &Start, length: &[f64; BLOCK], other: f64) -> Self {
        let mut state = Self {
            q: Lane::ZERO,
            g: Lane::ZERO,
            kernel: Lane::ZERO,
            q_q: Lane([1.0; BLOCK]),
            q_p: Lane::ZERO,
            kernel_q: Lane([1.0; BLOCK]),
            kernel_p: Lane::ZERO,
        };
        for k in 0..BLOCK {
            let (less, more) = (start.less.0[k], start.more.0[k]);
            let scale = length[k] * other;
            state.q.0[k] = scale * (0.5 * (more - less));
            // p r sin^2 of the angle.
            state.g.0[k] = scale * scale * (less * more);
            state.kernel.0[k] = state.q.0[k];
        }
        state
    }
}
