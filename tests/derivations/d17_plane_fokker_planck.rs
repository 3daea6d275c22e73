use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vkernel::density::plane::lattice::{Decomposition, Symmetric, decompose};
use vkernel::density::plane::noise::{Jumps, Scratch};
use vkernel::problem::Data;

use super::common::*;

fn sum(decomposition: &Decomposition) -> Symmetric {
    let mut a = [0.0; 3];
    for (e, weight) in decomposition {
        assert!(*weight >= 0.0, "{decomposition:?}");
        let e = e.map(f64::from);
        a[0] += weight * e[0] * e[0];
        a[1] += weight * e[0] * e[1];
        a[2] += weight * e[1] * e[1];
    }
    a
}

/// Principal variances `v` and `w`, the first at `angle`.
fn turned(v: f64, w: f64, angle: f64) -> Symmetric {
    let (s, c) = angle.sin_cos();
    [
        c * c * v + s * s * w,
        c * s * (v - w),
        s * s * v + c * c * w,
    ]
}

fn half_trace(a: Symmetric) -> [f64; 2] {
    [0.5 * (a[0] + a[2]); 2]
}

#[test]
fn d17_1_sum_over_the_perpendiculars_of_an_obtuse_superbase() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..2000 {
        let ratio = 1e-5f64.powf(rng.random());
        let a = turned(1.0, ratio, std::f64::consts::PI * rng.random::<f64>());
        let found = decompose(a, half_trace(a), 100_000);
        let again = sum(&found);
        let length = |e: [i32; 2]| f64::from(e[0]).hypot(f64::from(e[1]));
        let used = found.iter().filter(|(_, w)| *w > 0.0);
        let longest = used.map(|(e, _)| length(*e)).fold(0.0, f64::max);
        // Products are rounded relative to squared lengths, and multiply squared lengths.
        let rounding = f64::EPSILON * longest.powi(4).max(4.0);
        for k in 0..3 {
            assert!((again[k] - a[k]).abs() < rounding, "{a:?} {again:?}");
        }
        // Offsets are short in the metric of the inverse.
        assert!(longest <= 2.0 / ratio.sqrt(), "{longest} {ratio}");
    }
}

#[test]
fn d17_2_limited_offsets_keep_trace_and_axes() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for reach in 1..=8 {
        // As in D17.1, for the longest offset.
        let rounding = f64::EPSILON * f64::from(2 * reach * reach).powi(2).max(4.0);
        let bound = 1.0 - f64::from(reach) / f64::from(reach * reach + 1).sqrt();
        let mut largest: f64 = 0.0;
        let corner = 0.5 / f64::from(reach);
        let angles = (0..3000).map(|_| std::f64::consts::PI * rng.random::<f64>());
        for angle in angles.chain([0.5 * corner.atan() + 0.25 * (2.0 * corner).atan()]) {
            let a = turned(1.0, 0.0, angle);
            let found = decompose(a, half_trace(a), reach);
            assert!(
                found
                    .iter()
                    .all(|(e, _)| e[0].abs().max(e[1].abs()) <= reach)
            );
            let b = sum(&found);
            let apart = [(a[0] - a[2], 2.0 * a[1]), (b[0] - b[2], 2.0 * b[1])];
            let [before, after] = apart.map(|(x, y)| x.hypot(y));
            let mixed = 1.0 - after / before;
            assert!((b[0] + b[2] - 1.0).abs() < rounding, "trace {b:?}");
            let cross = apart[0].0 * apart[1].1 - apart[0].1 * apart[1].0;
            assert!(cross.abs() < rounding, "axes {a:?} {b:?}");
            assert!(
                (-rounding..=bound + rounding).contains(&mixed),
                "{mixed} {bound}"
            );
            largest = largest.max(mixed);
        }
        // The bound is sharp: the widest gap is the one beside the grid's axes.
        assert!(largest > 0.9 * bound, "{largest} {bound}");
    }
}

/// Covariance of a smooth anisotropic field in units of the cells.
fn field(x: f64, y: f64) -> Symmetric {
    turned(2.0 + x.sin(), 0.3 + 0.1 * y.cos(), 0.4 + 0.3 * x * y)
}

#[test]
fn d17_3_jumps_are_the_generator_to_second_order() {
    let f = |x: f64, y: f64| (1.3 * x + 0.4).sin() * (0.7 * y).cos();
    for (x, y) in [(0.3, -0.2), (-0.8, 0.5), (1.1, 0.9)] {
        let a = field(x, y);
        let (p, q) = (1.3 * x + 0.4, 0.7 * y);
        let exact = 0.5
            * (-1.69 * a[0] * p.sin() * q.cos()
                - 2.0 * 0.91 * a[1] * p.cos() * q.sin()
                - 0.49 * a[2] * p.sin() * q.cos());
        let error = |h: f64| {
            let jumps: f64 = decompose(a, half_trace(a), 50)
                .iter()
                .map(|(e, weight)| {
                    let [u, v] = e.map(|e| h * f64::from(e));
                    0.5 * weight * (f(x + u, y + v) - 2.0 * f(x, y) + f(x - u, y - v)) / (h * h)
                })
                .sum();
            (jumps - exact).abs()
        };
        let data: Vec<_> = [0.04, 0.02, 0.01].iter().map(|h| (*h, error(*h))).collect();
        // The next order is h^2 of the error: 1 % at the largest h with offsets of up to a few cells.
        close(log_slope(&data), 2.0, 0.02, "order");
    }
}

const ROWS: usize = 7;
const COLUMNS: usize = 6;
const CELLS: usize = ROWS * COLUMNS;

fn cell_field(i: usize, j: usize) -> Symmetric {
    // Cells without noise break the lines up.
    if (i + 2 * j).is_multiple_of(7) {
        return [0.0; 3];
    }
    field(0.3 * i as f64 - 1.0, 0.4 * j as f64 - 1.0)
}

fn cell_row(i: usize) -> Vec<Symmetric> {
    (0..COLUMNS).map(|j| cell_field(i, j)).collect()
}

/// Every cell's jump rates by offset, to the dense matrix of d q/dtau.
fn dense_generators(reach: i32) -> std::collections::BTreeMap<[i32; 2], DMatrix<f64>> {
    let mut all = std::collections::BTreeMap::new();
    for i in 0..ROWS {
        for j in 0..COLUMNS {
            let a = cell_field(i, j);
            for (e, weight) in decompose(a, half_trace(a), reach) {
                let g = all.entry(e).or_insert_with(|| DMatrix::zeros(CELLS, CELLS));
                for sign in [-1, 1] {
                    let (k, l) = (i as i32 + sign * e[0], j as i32 + sign * e[1]);
                    if (0..ROWS as i32).contains(&k) && (0..COLUMNS as i32).contains(&l) {
                        let (from, to) = (i * COLUMNS + j, k as usize * COLUMNS + l as usize);
                        g[(to, from)] += 0.5 * weight;
                        g[(from, from)] -= 0.5 * weight;
                    }
                }
            }
        }
    }
    all
}

#[test]
fn d17_4_implicit_steps_keep_mass_and_sign() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let generators = dense_generators(3);
    let start: Vec<f64> = (0..CELLS).map(|_| rng.random::<f64>()).collect();
    for duration in [0.01, 0.7, 50.0] {
        let step = |g: &DMatrix<f64>, q: DVector<f64>| {
            let matrix = DMatrix::identity(CELLS, CELLS) - g * (0.5 * duration);
            for column in matrix.column_iter() {
                close(column.sum(), 1.0, 1e-12, "column sum");
            }
            let inverse = matrix.try_inverse().unwrap();
            assert!(inverse.min() > -1e-13, "{}", inverse.min());
            inverse * q
        };
        let mut dense = DVector::from_column_slice(&start);
        for g in generators.values() {
            dense = step(g, dense);
        }
        for g in generators.values().rev() {
            dense = step(g, dense);
        }
        let jumps = Jumps::new([ROWS, COLUMNS], [1.0, 1.0], 3, duration, cell_row);
        let mut masses = start.clone();
        jumps.spread(duration, 1, &mut masses, &mut Scratch::new(CELLS));
        for (a, b) in masses.iter().zip(dense.iter()) {
            close(*a, *b, 1e-12, "line by line");
        }
    }
    // Very stiff: no subtraction, so the mass stays to rounding.
    let jumps = Jumps::new([ROWS, COLUMNS], [1e-6, 1e-6], 3, 1.0, cell_row);
    let mut masses = start.clone();
    jumps.spread(1.0, 2, &mut masses, &mut Scratch::new(CELLS));
    close(masses.iter().sum(), start.iter().sum(), 1e-14, "mass");
    assert!(masses.iter().all(|m| *m >= 0.0));
}

#[test]
fn d17_5_covariance_of_an_implicit_step_is_exact() {
    const N: usize = 81;
    let (a, widths, duration) = (turned(0.9, 0.2, 0.5), [0.5, 0.4], 0.3);
    let jumps = Jumps::new([N, N], widths, 20, duration, |_| vec![a; N]);
    for substeps in [1, 3] {
        let mut masses = vec![0.0; N * N];
        masses[N * N / 2] = 1.0;
        jumps.spread(duration, substeps, &mut masses, &mut Scratch::new(N * N));
        let at = |k: usize| {
            let offset = |i: usize| i as f64 - (N / 2) as f64;
            [widths[0] * offset(k / N), widths[1] * offset(k % N)]
        };
        let average = |f: &dyn Fn([f64; 2]) -> f64| -> f64 {
            masses.iter().enumerate().map(|(k, m)| m * f(at(k))).sum()
        };
        for i in 0..2 {
            close(average(&|x| x[i]), 0.0, 1e-12, "mean");
            for j in 0..=i {
                let moment = average(&|x| x[i] * x[j]);
                // The tails have fallen to 1e-13 at the walls.
                close(moment, duration * a[i + j], 1e-10, "covariance");
            }
        }
    }
}

/// Classical Runge-Kutta of dx/dtau = f from t down to s, in 64 steps.
fn flow(f: impl Fn([f64; 2], f64) -> [f64; 2], mut x: [f64; 2], t: f64, s: f64) -> [f64; 2] {
    let h = (t - s) / 64.0;
    let add = |x: [f64; 2], k: [f64; 2], c: f64| [x[0] + c * k[0], x[1] + c * k[1]];
    for step in 0..64 {
        let t = t - h * f64::from(step);
        let k1 = f(x, t);
        let k2 = f(add(x, k1, 0.5 * h), t - 0.5 * h);
        let k3 = f(add(x, k2, 0.5 * h), t - 0.5 * h);
        let k4 = f(add(x, k3, h), t - h);
        for i in 0..2 {
            x[i] += h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]);
        }
    }
    x
}

/// One coordinate after the other over [t, m], in the opposite order over [m, s]: symmetric, hence of second order.
#[test]
fn d17_6_alternating_coordinates_are_of_second_order() {
    let corners = [vec![1.0, 0.2], vec![-0.5, 0.8], vec![-0.4, -0.9]];
    let p = problem(Data::points(&corners, None).unwrap(), VP, 0.01, 1.0);
    let drift = |x: [f64; 2], t: f64| {
        let (a, b) = p.diffusion.denoiser_drift(t);
        let mean = p.posterior(&x, t).mean;
        [a * x[0] + b * mean[0], a * x[1] + b * mean[1]]
    };
    let only = |along: usize| {
        move |x: [f64; 2], t: f64| {
            let mut u = drift(x, t);
            u[1 - along] = 0.0;
            u
        }
    };
    for (x, t) in [([0.3, 0.2], 0.3), ([-0.4, 0.1], 0.4), ([0.1, -0.6], 0.5)] {
        let error = |h: f64| {
            let (middle, end) = (t - h, t - 2.0 * h);
            let mut split = x;
            for (along, from, to) in [
                (0, t, middle),
                (1, t, middle),
                (1, middle, end),
                (0, middle, end),
            ] {
                split = flow(only(along), split, from, to);
            }
            let exact = flow(drift, x, t, end);
            (split[0] - exact[0]).hypot(split[1] - exact[1])
        };
        let data: Vec<_> = [4e-3, 2e-3, 1e-3].iter().map(|h| (*h, error(*h))).collect();
        // Local error h^3; the next order leaves a few per cent at these h.
        close(log_slope(&data), 3.0, 0.02, "local order");
    }
}
