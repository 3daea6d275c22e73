//! The exponential of a negative number as a sum of simple poles.

use num_complex::Complex64;
use std::f64::consts::PI;

/// A pole z in the upper half plane with its coefficient c.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pole {
    pub place: Complex64,
    pub coefficient: Complex64,
}

/// e^{-x} = 2 Re sum c/(z + x) + error for all x >= 0, with n poles z and their conjugates: the midpoint rule with 2n nodes on
/// Talbot's cotangent contour with Weideman's parameters, whose error falls as 3.89^(-2n) (Trefethen, Weideman and Schmelzer 2006).
pub fn decay_poles(n: usize) -> Vec<Pole> {
    let nodes = 2.0 * n as f64;
    (0..n)
        .map(|k| {
            let theta = (2.0 * k as f64 + 1.0) * PI / nodes;
            let (a, cotangent) = (0.6407, 1.0 / (0.6407 * theta).tan());
            let real = 0.5017 * theta * cotangent - 0.6122;
            let slope = 0.5017 * (cotangent - a * theta * (1.0 + cotangent * cotangent));
            let place = Complex64::new(real, 0.2645 * theta) * nodes;
            let tangent = Complex64::new(slope, 0.2645) * nodes;
            Pole {
                place,
                coefficient: place.exp() * tangent / Complex64::new(0.0, nodes),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poles_sum_to_the_exponential() {
        for (n, error) in [(4, 1e-4), (6, 5e-7), (8, 2e-9)] {
            let poles = decay_poles(n);
            let worst = (0..400)
                .map(|k| if k == 0 { 0.0 } else { 1e-4 * 1.06_f64.powi(k) })
                .map(|x| {
                    let sum: Complex64 = poles.iter().map(|p| p.coefficient / (p.place + x)).sum();
                    (2.0 * sum.re - (-x).exp()).abs()
                })
                .fold(0.0, f64::max);
            println!("{n} poles: {worst:.1e}");
            assert!(worst < error, "{n} poles: {worst:e}");
        }
    }
}
