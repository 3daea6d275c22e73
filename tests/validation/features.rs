//! Feature sets against their definitions written once more for dual numbers, and the fast paths against plain sums.

use std::f64::consts::TAU;

use num_dual::{Dual3_64, DualNum, third_derivative};
use rand::RngExt;
use vkernel::family::features::{
    Factor, FeatureSet, Features, Fourier, Gaussian, Polynomial, SpaceFeatures,
};
use vkernel::family::{Denoiser, Linear, LinearDenoiser, TabulatedDenoiser};
use vkernel::problem::Prediction;

use super::common::*;

/// A feature set by its parameters, to be built twice: by the library and from its definition.
#[derive(Clone, Copy)]
enum Definition {
    Gaussian {
        count: usize,
        low: f64,
        high: f64,
        width: f64,
    },
    Fourier {
        count: usize,
        low: f64,
        high: f64,
    },
    Polynomial {
        count: usize,
        low: f64,
        high: f64,
    },
}

impl Definition {
    fn build(self) -> FeatureSet {
        match self {
            Self::Gaussian {
                count,
                low,
                high,
                width,
            } => FeatureSet::Gaussian(Gaussian::new(count, low, high, width)),
            Self::Fourier { count, low, high } => {
                FeatureSet::Fourier(Fourier::new(count, low, high))
            }
            Self::Polynomial { count, low, high } => {
                FeatureSet::Polynomial(Polynomial::new(count, low, high))
            }
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Gaussian { count, .. }
            | Self::Fourier { count, .. }
            | Self::Polynomial { count, .. } => count,
        }
    }

    /// Feature i at `a`, from the definition.
    fn value(self, i: usize, a: Dual3_64) -> Dual3_64 {
        match self {
            Self::Gaussian {
                count,
                low,
                high,
                width,
            } => {
                let (centre, spacing) = if count == 1 {
                    (0.5 * (low + high), high - low)
                } else {
                    let spacing = (high - low) / (count - 1) as f64;
                    (low + spacing * i as f64, spacing)
                };
                let std = width * spacing;
                let z = (a - centre) / std;
                (z * z * -0.5).exp() / (std * TAU.sqrt())
            }
            Self::Fourier { count, low, high } => {
                let cosines = count / 2;
                let k = if i <= cosines { i } else { i - cosines };
                let angle = a * (TAU * k as f64 / (high - low));
                if i <= cosines {
                    angle.cos()
                } else {
                    angle.sin()
                }
            }
            // P_n(z) = 2^-n sum_k binomial(n, k)^2 (z-1)^(n-k) (z+1)^k.
            Self::Polynomial { low, high, .. } => {
                let z = (a - 0.5 * (low + high)) / (0.5 * (high - low));
                let mut sum = z * 0.0;
                let mut binomial = 1.0;
                for k in 0..=i {
                    sum += (z - 1.0).powi((i - k) as i32)
                        * (z + 1.0).powi(k as i32)
                        * (binomial * binomial);
                    binomial *= (i - k) as f64 / (k + 1) as f64;
                }
                sum / 2f64.powi(i as i32)
            }
        }
    }
}

const SETS: [Definition; 8] = [
    Definition::Gaussian {
        count: 16,
        low: -1.5,
        high: 1.5,
        width: 0.5,
    },
    Definition::Gaussian {
        count: 3,
        low: 0.0,
        high: 2.0,
        width: 1.7,
    },
    Definition::Gaussian {
        count: 1,
        low: -1.0,
        high: 1.5,
        width: 0.3,
    },
    Definition::Fourier {
        count: 1,
        low: -1.0,
        high: 1.0,
    },
    Definition::Fourier {
        count: 6,
        low: -2.0,
        high: 1.0,
    },
    Definition::Fourier {
        count: 7,
        low: 0.0,
        high: 1.0,
    },
    Definition::Polynomial {
        count: 1,
        low: -1.0,
        high: 1.0,
    },
    Definition::Polynomial {
        count: 9,
        low: -1.5,
        high: 2.5,
    },
];

/// Value and three derivatives of product i (the last set running fastest), by dual numbers.
fn dual_jet(sets: &[Definition], mut i: usize, a: f64) -> (f64, f64, f64, f64) {
    let mut indices = Vec::new();
    for set in sets.iter().rev() {
        indices.push(i % set.len());
        i /= set.len();
    }
    indices.reverse();
    third_derivative(
        |a| {
            sets.iter()
                .zip(&indices)
                .fold(a * 0.0 + 1.0, |product, (set, &i)| {
                    product * set.value(i, a)
                })
        },
        a,
    )
}

#[test]
fn jets_of_every_set_and_of_products() {
    let mut products: Vec<Vec<Definition>> = vec![Vec::new()];
    products.extend(SETS.map(|s| vec![s]));
    products.push(vec![SETS[1], SETS[4]]);
    products.push(vec![SETS[7], SETS[0]]);
    products.push(vec![SETS[4], SETS[1], SETS[6], SETS[7]]);
    for sets in &products {
        let factor = Factor::new(sets.iter().map(|s| s.build()).collect());
        let n = factor.len();
        assert_eq!(n, sets.iter().map(|s| s.len()).product::<usize>());
        let (mut v, mut d, mut c, mut plain) =
            (vec![0.0; n], vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let mut third = vec![0.0; n];
        for a in [-1.7, -0.31, 0.0, 0.5, 1.4, 2.9] {
            factor.jet(a, &mut v, &mut d, &mut c);
            factor.third(a, &mut third);
            factor.values(a, &mut plain);
            let weights: Vec<f64> = (0..n).map(|i| 1.0 / (1 + i) as f64).collect();
            let (mut f, mut slope) = ([0.0], [0.0]);
            factor.contract_with_slope(&weights, &[a], &mut f, &mut slope);
            let exact: Vec<_> = (0..n).map(|i| dual_jet(sets, i, a)).collect();
            let largest = |k: fn(&(f64, f64, f64, f64)) -> f64| {
                exact.iter().map(|e| k(e).abs()).fold(1e-200, f64::max)
            };
            let scales = [
                largest(|e| e.0),
                largest(|e| e.1),
                largest(|e| e.2),
                largest(|e| e.3),
            ];
            for (i, e) in exact.iter().enumerate() {
                // Rounding; the expanded polynomials cancel by up to 1e3 at the ends of their range.
                close(v[i], e.0, scales[0], 1e-12, "value");
                close(d[i], e.1, scales[1], 1e-12, "first derivative");
                close(c[i], e.2, scales[2], 1e-12, "second derivative");
                close(third[i], e.3, scales[3], 1e-12, "third");
                close(plain[i], v[i], scales[0], 1e-14, "values against jet");
            }
            let sum = |k: &[f64]| weights.iter().zip(k).map(|(w, v)| w * v).sum::<f64>();
            close(f[0], sum(&v), scales[0], 1e-12, "contracted value");
            close(slope[0], sum(&d), scales[1], 1e-12, "contracted slope");
        }
    }
}

/// The index runs over x1 slowest and t fastest, and inside a factor over the last set fastest.
#[test]
fn kronecker_order() {
    let (a, b, c, t) = (SETS[1], SETS[4], SETS[5], SETS[7]);
    let features = Features {
        space: SpaceFeatures::Product(vec![
            Factor::new(vec![a.build(), b.build()]),
            factor(c.build()),
        ]),
        time: factor(t.build()),
    };
    let (na, nb, nc, nt) = (a.len(), b.len(), c.len(), t.len());
    assert_eq!(
        (features.len(), features.space_len()),
        (na * nb * nc * nt, na * nb * nc)
    );
    let mut out = vec![0.0; features.len()];
    let (x, y, time) = (0.4, 0.7, 1.1);
    features.values(&[x, y], time, &mut out);
    let at = |d: Definition, i: usize, z: f64| d.value(i, Dual3_64::from_re(z)).re;
    for ia in 0..na {
        for ib in 0..nb {
            for ic in 0..nc {
                for it in 0..nt {
                    let index = ((ia * nb + ib) * nc + ic) * nt + it;
                    let expected = at(a, ia, x) * at(b, ib, x) * at(c, ic, y) * at(t, it, time);
                    close(out[index], expected, 1.0, 1e-13, "product");
                }
            }
        }
    }
    let weights: Vec<f64> = (0..features.len()).map(|i| (i as f64).sin()).collect();
    let mut contracted = vec![0.0; features.space_len()];
    features.contract_time(&weights, time, &mut contracted);
    for (s, value) in contracted.iter().enumerate() {
        let expected: f64 = (0..nt).map(|i| weights[s * nt + i] * at(t, i, time)).sum();
        close(*value, expected, nt as f64, 1e-13, "contraction over time");
    }
}

/// The two-exponential sum against the plain one, for narrow and wide features, inside, at the edge and far outside.
#[test]
fn fast_gaussian_contraction_is_the_plain_sum() {
    let mut rng = rng(1);
    let mut worst: f64 = 0.0;
    for width in [0.1, 0.13, 0.2, 0.35, 0.5, 0.8, 1.0, 1.7, 3.0, 5.0] {
        for count in [1, 2, 3, 7, 16, 33, 64] {
            let set = Gaussian::new(count, -1.5, 1.5, width);
            let std = set.std();
            let factor = factor(FeatureSet::Gaussian(set));
            let weights: Vec<f64> = (0..count).map(|_| normal(&mut rng)).collect();
            let mut x: Vec<f64> = (0..200).map(|_| -1.7 + 3.4 * rng.random::<f64>()).collect();
            for reach in [0.5, 3.0, 8.0, 12.0, 20.0, 30.0, 37.0, 39.9, 40.1, 60.0, 1e4] {
                x.extend([-1.5 - reach * std, 1.5 + reach * std]);
            }
            x.extend([-1.5, 1.5, 0.0, 1e9, -1e9]);
            let mut fast = vec![0.0; x.len()];
            factor.contract(&weights, &x, &mut fast);
            let mut phi = vec![0.0; count];
            for (x, fast) in x.iter().zip(&fast) {
                factor.values(*x, &mut phi);
                let plain: f64 = phi.iter().zip(&weights).map(|(p, w)| p * w).sum();
                let size: f64 = phi.iter().zip(&weights).map(|(p, w)| (p * w).abs()).sum();
                // A position known to 1e-16 of its size moves the exponent z^2/2 of the nearest centre by z times that.
                let z = (x.abs() - 1.5).max(0.0) / std;
                let distance = z + 0.5 / width;
                let allowed = 1e-13 + 1e-15 * distance * (x.abs() + 1.5) / std;
                let error = (fast - plain).abs();
                assert!(
                    error <= allowed * size + 1e-290,
                    "width {width}, count {count}, x = {x} ({z:.1} std outside): {fast:e} against {plain:e}"
                );
                if z < 8.0 {
                    worst = worst.max(error / size);
                }
            }
        }
    }
    println!("largest relative difference within 8 standard deviations {worst:.1e}");
}

/// A model with weights of random sign in the setting of Fig. 2, for every prediction type.
#[test]
fn tabulated_model_is_the_model() {
    let problem = three_points(1e-2);
    let mut rng = rng(5);
    let times = [1.0, 0.3, 0.05, 1e-2];
    for predicts in [Prediction::Denoiser, Prediction::Score, Prediction::Noise] {
        let family = Linear {
            features: Features {
                space: SpaceFeatures::Product(vec![factor(SETS[0].build())]),
                time: factor(FeatureSet::Gaussian(Gaussian::new(16, 1e-2, 1.0, 0.5))),
            },
            predicts,
        };
        let weights: Vec<f64> = (0..256).map(|_| 0.02 * normal(&mut rng)).collect();
        let model = LinearDenoiser {
            family: &family,
            diffusion: &problem.diffusion,
            weights: &weights,
        };
        let table = TabulatedDenoiser::new(&model, &times, 100_000).unwrap();
        let x: Vec<f64> = (0..20_001).map(|i| -3.0 + 3e-4 * f64::from(i)).collect();
        let n = x.len();
        let (mut exact, mut fast) = (vec![0.0; n], vec![0.0; n]);
        let (mut exact_slope, mut fast_slope) = (vec![0.0; n], vec![0.0; n]);
        for t in times {
            model.denoise_with_slope(t, &x, &mut exact, &mut exact_slope);
            table.denoise_with_slope(t, &x, &mut fast, &mut fast_slope);
            // Cubic Hermite interpolation: h^4/384 times the fourth derivative, 3 heights per std^4 for each feature.
            let p = family.predicts.regression(&problem.diffusion, t).p.abs();
            let mut contracted = vec![0.0; 16];
            family.features.contract_time(&weights, t, &mut contracted);
            let heights = contracted.iter().map(|w| w.abs()).sum::<f64>() / (0.1 * TAU.sqrt()) / p;
            let cell = 1.0 / 14.0_f64;
            let bound = heights * 3.0 * cell.powi(4) / 384.0;
            let worst = |a: &[f64], b: &[f64]| {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f64::max)
            };
            let (value, slope) = (worst(&exact, &fast), worst(&exact_slope, &fast_slope));
            println!(
                "{predicts:?}, t = {t}: value {value:.1e} (bound {bound:.1e}), slope {slope:.1e}"
            );
            // Denoised values far outside the features lose 1e-16 of their size.
            let size = exact.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            assert!(value < bound + 1e-13 * size, "{value:e} {bound:e}");
            if predicts == Prediction::Denoiser {
                assert!(value < 1e-6, "{value:e}");
            }
            // Its derivative: sqrt(3) h^3/216 times the fourth derivative.
            let bound = heights * 3.0 * cell.powi(3) * 3f64.sqrt() / 216.0 / 0.1;
            assert!(slope < bound + 1e-12 * size, "{slope:e} {bound:e}");
        }
        assert!(
            TabulatedDenoiser::new(&model, &times, 10).is_none(),
            "too few particles to repay it"
        );
    }
}
