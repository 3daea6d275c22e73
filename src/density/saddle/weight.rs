//! The mass that a line of saddles carries, by bins of x_0.

use nalgebra::DVector;

use super::branch::{Branch, Saddle};
use crate::histogram::{Bins, Masses};
use crate::numerics::normal::LOG_2_PI;

/// Pieces of one stretch between neighbouring saddles.
const PIECES: usize = 16;

/// Adds the density T15 of the minima on the line: per unit of arclength (2 pi)^{-1/2} e^{-S} turn/sqrt(det_perp), which
/// stays bounded at folds (D13.5). Returns the mass added. `stride` 2 leaves out every other saddle.
pub(super) fn deposit(branch: &Branch, stride: usize, bins: &Bins, masses: &mut Masses) -> f64 {
    let kept: Vec<&Saddle> = branch.saddles.iter().step_by(stride).collect();
    let lengths: Vec<f64> = kept.windows(2).map(|w| length(w[0], w[1])).collect();
    let weights: Vec<f64> = kept.iter().map(|s| s.weight()).collect();
    let slopes = monotone_slopes(&weights, &lengths);
    let mut total = 0.0;
    for (i, pair) in kept.windows(2).enumerate() {
        let (a, b) = (pair[0], pair[1]);
        if a.index > 0 && b.index > 0 {
            continue;
        }
        let h = lengths[i];
        let action = Hermite::new(a.action, rise(a), b.action, rise(b), h);
        let end = end_between(a, b, h);
        let weight = Hermite::new(weights[i], slopes[i], weights[i + 1], slopes[i + 1], h);
        let mut from = a.end;
        for j in 0..PIECES {
            let middle = (j as f64 + 0.5) / PIECES as f64;
            let to = end.at((j as f64 + 1.0) / PIECES as f64);
            let mass =
                (-action.at(middle) - 0.5 * LOG_2_PI).exp() * weight.at(middle).max(0.0).sqrt() * h
                    / PIECES as f64;
            masses.spread(bins, from, to, mass);
            total += mass;
            from = to;
        }
    }
    total
}

/// x_0 between neighbours.
fn end_between(a: &Saddle, b: &Saddle, h: f64) -> Hermite {
    let slope = |s: &Saddle| s.gradient_norm * s.turn;
    Hermite::new(a.end, slope(a), b.end, slope(b), h)
}

/// Points of eta between neighbours at which the line passes `x`: two where it folds in between.
pub(super) fn crossings(a: &Saddle, b: &Saddle, x: f64) -> Vec<DVector<f64>> {
    let h = length(a, b);
    let end = end_between(a, b, h);
    let at = |j: usize| match j {
        0 => a.end,
        PIECES => b.end,
        j => end.at(j as f64 / PIECES as f64),
    };
    (0..PIECES)
        .map(|j| (j as f64, at(j), at(j + 1)))
        // A point that lies on x belongs to one of its two stretches.
        .filter(|(_, from, to)| (*from < x) != (*to < x))
        .map(|(j, from, to)| {
            let z = (j + (x - from) / (to - from)) / PIECES as f64;
            let (y, bump) = (1.0 - z, h * z * (1.0 - z));
            // The cubic with the tangents at both ends.
            &a.eta * (y * y * (1.0 + 2.0 * z))
                + &b.eta * (z * z * (1.0 + 2.0 * y))
                + (&a.tangent * y - &b.tangent * z) * bump
        })
        .collect()
}

/// dS/ds.
fn rise(s: &Saddle) -> f64 {
    s.eta.dot(&s.tangent)
}

/// Arclength between neighbours: that of the circle with their tangents.
fn length(a: &Saddle, b: &Saddle) -> f64 {
    let half = 0.5 * a.tangent.dot(&b.tangent).clamp(-1.0, 1.0).acos();
    let stretch = if half > 1e-4 { half / half.sin() } else { 1.0 };
    stretch * (&b.eta - &a.eta).norm()
}

/// Slopes of a monotone cubic (Fritsch and Carlson 1980): no overshoot where the weight varies by orders of magnitude.
fn monotone_slopes(values: &[f64], lengths: &[f64]) -> Vec<f64> {
    let secants: Vec<f64> = values
        .windows(2)
        .zip(lengths)
        .map(|(w, h)| (w[1] - w[0]) / h)
        .collect();
    (0..values.len())
        .map(
            |i| match (i.checked_sub(1).map(|j| secants[j]), secants.get(i)) {
                (None, None) => 0.0,
                (Some(s), None) => s,
                (None, Some(&s)) => s,
                (Some(l), Some(&r)) if l * r <= 0.0 => 0.0,
                (Some(l), Some(&r)) => {
                    let (hl, hr) = (lengths[i - 1], lengths[i]);
                    let (wl, wr) = (2.0 * hr + hl, hr + 2.0 * hl);
                    (wl + wr) / (wl / l + wr / r)
                }
            },
        )
        .collect()
}

/// A cubic by values and slopes at its ends; argument from 0 to 1.
struct Hermite([f64; 4]);

impl Hermite {
    fn new(a: f64, da: f64, b: f64, db: f64, h: f64) -> Self {
        let (da, db, rise) = (da * h, db * h, b - a);
        Self([a, da, 3.0 * rise - 2.0 * da - db, da + db - 2.0 * rise])
    }

    fn at(&self, z: f64) -> f64 {
        let [k0, k1, k2, k3] = self.0;
        k0 + z * (k1 + z * (k2 + z * k3))
    }
}
