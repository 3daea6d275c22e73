//! A pair of axes that may be logarithmic or run backwards, for figures of functions rather than of densities.

use super::panel::{FRAME_WIDTH, tick_below, tick_left, ticks};
use super::scene::Scene;
use crate::report::format::{real, significant};

/// Largest to smallest value from which on the axis of times and of swept numbers is logarithmic.
const LOG_FROM: f64 = 20.0;
/// Decades on either side of an asinh axis that are shown apart.
const ASINH_DECADES: i32 = 2;
/// Smaller differences are none.
const SMALLEST_SPAN: f64 = 1e-250;
/// Longest number beside a tick.
const LONGEST: usize = 8;

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Linear,
    Log,
    /// Linear up to about this value, logarithmic beyond it, on both sides of zero.
    Asinh(f64),
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.log10(),
            Self::Asinh(width) => (value / width).asinh(),
        }
    }

    fn value(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Log => 10_f64.powf(place),
            Self::Asinh(width) => width * place.sinh(),
        }
    }
}

/// The values at the two ends, of which either may be the larger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub scale: Scale,
    pub ends: (f64, f64),
}

impl Axis {
    /// A linear axis that shows all these values, with a little air.
    pub fn covering(values: impl Iterator<Item = f64>) -> Self {
        Self::spread(Scale::Linear, values)
    }

    /// As [`Axis::covering`], for values of either sign and of many orders of magnitude; shows zero.
    pub fn covering_orders(values: impl Iterator<Item = f64> + Clone) -> Self {
        let largest = values.clone().fold(0.0, |m: f64, v| m.max(v.abs()));
        let width = if largest > SMALLEST_SPAN {
            10_f64.powf(largest.log10().round() - f64::from(ASINH_DECADES))
        } else {
            1.0
        };
        Self::spread(Scale::Asinh(width), values.chain([0.0]))
    }

    /// As [`Axis::covering`], logarithmic where the values are positive and span orders of magnitude.
    pub fn covering_numbers(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
        let log = low > 0.0 && high / low > LOG_FROM;
        Self::spread(if log { Scale::Log } else { Scale::Linear }, values)
    }

    /// A linear axis from 0, or from the opposite value, to the largest size of these values.
    pub fn up_to(values: impl Iterator<Item = f64>, symmetric: bool) -> Self {
        let largest = values.fold(0.0, |m: f64, v| m.max(v.abs()));
        let end = if largest > SMALLEST_SPAN {
            largest
        } else {
            1.0
        };
        Self {
            scale: Scale::Linear,
            ends: (if symmetric { -end } else { 0.0 }, end),
        }
    }

    /// From the first time at the left to the last at the right, logarithmic where the times span orders of magnitude.
    pub fn of_times(first: f64, last: f64) -> Self {
        let log = last > f64::MIN_POSITIVE && first / last > LOG_FROM;
        Self {
            scale: if log { Scale::Log } else { Scale::Linear },
            ends: (first, last),
        }
    }

    fn spread(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .map(|v| scale.place(v))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
        let size = low.abs().max(high.abs());
        let air = if high - low > (1e-9 * size).max(SMALLEST_SPAN) {
            0.04 * (high - low)
        } else if size > SMALLEST_SPAN {
            0.1 * size
        } else {
            1.0
        };
        Self {
            scale,
            ends: (scale.value(low - air), scale.value(high + air)),
        }
    }

    /// Where a value is between the ends, 0 to 1; values beyond them are at the end.
    pub fn fraction(&self, value: f64) -> f64 {
        let [from, to, at] = [self.ends.0, self.ends.1, value].map(|v| self.scale.place(v));
        let fraction = (at - from) / (to - from);
        if fraction.is_nan() {
            0.0
        } else {
            fraction.clamp(0.0, 1.0)
        }
    }

    /// Round values, about `wanted` of them, with their labels.
    pub fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let low = self.ends.0.min(self.ends.1);
        let high = self.ends.0.max(self.ends.1);
        let round = match self.scale {
            // No round numbers fit between ends that hardly differ.
            Scale::Linear if high - low <= (1e-12 * high.abs().max(-low)).max(SMALLEST_SPAN) => {
                Vec::new()
            }
            Scale::Linear => {
                let short = |(value, label): (f64, String)| match label.chars().count() {
                    0..=LONGEST => (value, label),
                    _ => (value, signed(&significant(value, 3))),
                };
                return ticks(low, high, wanted).into_iter().map(short).collect();
            }
            Scale::Log => {
                let few = (high / low).log10() < 3.0;
                let factors: &[u32] = if few { &[1, 2, 5] } else { &[1] };
                thinned(decades(low, high, factors), 2 * wanted)
            }
            Scale::Asinh(width) => {
                let beyond = decades(0.999 * width, high.max(-low), &[1]);
                let beyond = thinned(beyond, wanted.div_ceil(2));
                let below = beyond.iter().rev().map(|v| -v);
                let all = below.chain([0.0]).chain(beyond.iter().copied());
                all.filter(|v| (low..=high).contains(v)).collect()
            }
        };
        let labelled = |v: f64| (v, signed(&real(v)));
        round.into_iter().map(labelled).collect()
    }
}

/// The sign of typography, not the hyphen.
fn signed(number: &str) -> String {
    number.replace('-', "\u{2212}")
}

/// `factors` times the powers of ten between two positive values.
fn decades(low: f64, high: f64, factors: &[u32]) -> Vec<f64> {
    let [first, last] = [low.log10().floor(), high.log10().floor()].map(|d| d as i32);
    (first..=last)
        // Read as text, so that the value is the nearest to the round number and prints as it.
        .flat_map(|d| factors.iter().map(move |f| format!("{f}e{d}").parse()))
        .flatten()
        .filter(|v| (low..=high).contains(v))
        .collect()
}

/// Every n-th value, so that at most `most` remain; the last, which is the largest, among them.
fn thinned(values: Vec<f64>, most: usize) -> Vec<f64> {
    let step = values.len().div_ceil(most.max(1)).max(1);
    let skip = (values.len() + step - 1) % step;
    values.into_iter().skip(skip).step_by(step).collect()
}

/// A frame in the scene with its axes, y upwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plot {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
}

impl Plot {
    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    pub fn x_at(&self, x: f64) -> f64 {
        self.left + self.width * self.x.fraction(x)
    }

    pub fn y_at(&self, y: f64) -> f64 {
        self.bottom() - self.height * self.y.fraction(y)
    }

    /// Points of a line through these values.
    pub fn points(&self, x: &[f64], y: &[f64]) -> Vec<(f64, f64)> {
        let pairs = x.iter().zip(y);
        pairs.map(|(x, y)| (self.x_at(*x), self.y_at(*y))).collect()
    }

    /// Draws the frame over what is in it.
    pub fn frame(&self, scene: &mut Scene) {
        let sides = (self.left, self.right());
        scene.frame(sides, (self.top, self.bottom()), FRAME_WIDTH);
    }

    /// Ticks below, with or without numbers, and to the left.
    pub fn ticks(&self, scene: &mut Scene, em: f64, x_numbers: bool) {
        for (value, label) in self.x.ticks(6) {
            let label = if x_numbers { label } else { String::new() };
            tick_below(scene, (self.x_at(value), self.bottom()), label, em);
        }
        self.y_ticks(scene, em);
    }

    /// Ticks to the left.
    pub fn y_ticks(&self, scene: &mut Scene, em: f64) {
        let wanted = (self.height / (2.0 * em)).clamp(3.0, 6.0) as usize;
        for (value, label) in self.y.ticks(wanted) {
            tick_left(scene, (self.left, self.y_at(value)), label, em);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis) -> Vec<String> {
        axis.ticks(6).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn times_run_from_the_left_and_in_decades_where_they_span_them() {
        let log = Axis::of_times(1.0, 0.01);
        assert_eq!(
            labels(log),
            ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]
        );
        assert_eq!(log.fraction(1.0), 0.0);
        assert!((log.fraction(0.1) - 0.5).abs() < 1e-12);
        assert_eq!(labels(Axis::of_times(1e3, 1e-3)).len(), 7);
        let linear = Axis::of_times(1.0, 0.0);
        assert_eq!(linear.scale, Scale::Linear);
        assert_eq!(linear.fraction(0.25), 0.75);
    }

    #[test]
    fn orders_of_both_signs_are_told_apart() {
        let axis = Axis::covering_orders([-210.0, -0.1, 60.0].into_iter());
        assert_eq!(axis.scale, Scale::Asinh(1.0));
        assert_eq!(
            labels(axis),
            ["\u{2212}100", "\u{2212}10", "\u{2212}1", "0", "1", "10"]
        );
        assert!(axis.fraction(-210.0) > 0.0 && axis.fraction(60.0) < 1.0);
    }

    /// What no figure should hold is still drawn in finite time, at finite places.
    #[test]
    fn axes_of_extreme_values_are_finite() {
        for values in [
            vec![0.0],
            vec![1e200, 1e200],
            vec![-1e200, 1e200],
            vec![0.0, 5e-324],
            vec![1e16, 1e16 + 2.0],
        ] {
            for axis in [
                Axis::covering(values.iter().copied()),
                Axis::covering_orders(values.iter().copied()),
                Axis::up_to(values.iter().copied(), true),
                Axis::of_times(values[values.len() - 1], values[0]),
            ] {
                assert!(axis.ticks(6).len() < 30, "{axis:?}");
                for v in &values {
                    assert!((0.0..=1.0).contains(&axis.fraction(*v)), "{axis:?}");
                }
            }
        }
    }
}
