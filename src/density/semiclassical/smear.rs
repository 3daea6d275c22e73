//! Densities of Gaussians around a chain of end points.

use crate::density::{Bins, Masses};
use crate::numerics::normal;

/// Mixture over the starts: the mass between two neighbours lies on the segment between their ends, convolved with a
/// Gaussian of their mean variance. `stride` 2 leaves every other start out.
pub(super) fn smear(bins: &Bins, centres: &[f64], stds: &[f64], stride: usize) -> Masses {
    let kept: Vec<usize> = (0..centres.len()).step_by(stride).collect();
    let strata = centres.len() as f64;
    let mut below = vec![0.0; bins.count + 1];
    let mut add = |a: f64, b: f64, std: f64, mass: f64| {
        for (i, f) in below.iter_mut().enumerate() {
            *f += mass * smeared_cdf(bins.edge(i), a, b, std);
        }
    };
    for pair in kept.windows(2) {
        let (i, j) = (pair[0], pair[1]);
        let std = (0.5 * (stds[i] * stds[i] + stds[j] * stds[j])).sqrt();
        add(centres[i], centres[j], std, (j - i) as f64 / strata);
    }
    if let (Some(&first), Some(&last)) = (kept.first(), kept.last()) {
        let tail = |k: usize| (k as f64 + 0.5) / strata;
        add(centres[first], centres[first], stds[first], tail(first));
        add(centres[last], centres[last], stds[last], 1.0 - tail(last));
    }
    let mut cells = Vec::with_capacity(bins.count + 2);
    let mut before = 0.0;
    for f in below {
        let f: f64 = f;
        cells.push((f - before).max(0.0));
        before = f.max(before);
    }
    cells.push((1.0 - before).max(0.0));
    Masses { cells }
}

/// P(X + std Z <= edge) with X uniform between a and b.
fn smeared_cdf(edge: f64, a: f64, b: f64, std: f64) -> f64 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let width = high - low;
    if width <= 1e-6 * std || width == 0.0 {
        let middle = 0.5 * (low + high);
        return if std > 0.0 {
            normal::cdf((edge - middle) / std)
        } else {
            f64::from(u8::from(edge >= middle))
        };
    }
    if std <= 1e-9 * width {
        return ((edge - low) / width).clamp(0.0, 1.0);
    }
    let upper = normal::cdf_integral((edge - low) / std);
    let lower = normal::cdf_integral((edge - high) / std);
    ((upper - lower) * std / width).clamp(0.0, 1.0)
}
