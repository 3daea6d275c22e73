//! derivations/15-loop-corrections.md.

use nalgebra::{DMatrix, DVector};
use num_dual::{DualNum, second_partial_derivative, third_partial_derivative};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use vkernel::density::{LARGE_PARAMETER, LoopTerms, loop_terms, semiclassical};
use vkernel::experiment::{Experiment, Process, SamplerOptions, Scheme, Spacing};
use vkernel::family::{Family, Linear};
use vkernel::problem::{Data, Prediction};
use vkernel::sampler::PfOde;
use vkernel::statistics::{Equivalent, VKernel, WeightStatistics, equivalent};

use super::common::*;
use super::d6_semiclassical::{F, KINDS, LOW, Model, SCHEMES, Step, log_grid, model};

const STEPS: usize = 12;

/// Tensor Gauss-Hermite rule for eta ~ N(0, I_3).
fn cube_rule(n: usize) -> Vec<([f64; 3], f64)> {
    let line = normal_rule(n);
    let mut rule = Vec::with_capacity(n * n * n);
    for (x, u) in &line {
        for (y, v) in &line {
            for (z, w) in &line {
                rule.push(([*x, *y, *z], u * v * w));
            }
        }
    }
    rule
}

/// Mean, variance and third cumulant of f(eta).
fn cumulants(rule: &[([f64; 3], f64)], f: impl Fn([f64; 3]) -> f64 + Sync) -> [f64; 3] {
    let values: Vec<f64> = rule.par_iter().map(|(eta, _)| f(*eta)).collect();
    let average = |g: &dyn Fn(f64) -> f64| -> f64 {
        let terms = values.iter().zip(rule).map(|(v, (_, w))| w * g(*v));
        terms.sum()
    };
    let mean = average(&|v| v);
    [
        mean,
        average(&|v| (v - mean).powi(2)),
        average(&|v| (v - mean).powi(3)),
    ]
}

/// Gradient, Hessian and gradient of the Hessian's trace at 0 of a function of three variables.
trait Smooth {
    fn at<T: DualNum<Primitive = f64> + Copy>(&self, eta: [T; 3]) -> T;

    fn first(&self) -> DVector<f64> {
        DVector::from_fn(3, |i, _| self.third(i, i, i)[0])
    }

    fn second(&self) -> DMatrix<f64> {
        DMatrix::from_fn(3, 3, |i, j| self.third(i, j, j)[1])
    }

    fn trace_gradient(&self) -> DVector<f64> {
        DVector::from_fn(3, |i, _| (0..3).map(|j| self.third(i, j, j)[2]).sum())
    }

    /// Derivatives by eta_i; by eta_i and eta_j; by eta_i, eta_j and eta_k.
    fn third(&self, i: usize, j: usize, k: usize) -> [f64; 3] {
        let moved = |(u, v, w): (_, _, _)| {
            let mut eta = [u * 0.0; 3];
            eta[i] += u;
            eta[j] += v;
            eta[k] += w;
            self.at::<num_dual::HyperHyperDual64>(eta)
        };
        let (_, first, _, _, second, _, _, third) =
            third_partial_derivative(moved, (0.0, 0.0, 0.0));
        [first, second, third]
    }
}

/// a . eta + b (c . eta)^2.
struct Quadratic {
    a: [f64; 3],
    b: f64,
    c: [f64; 3],
}

/// sin(a . eta + b) exp(c . eta).
struct Wave {
    a: [f64; 3],
    b: f64,
    c: [f64; 3],
}

fn product<T: DualNum<Primitive = f64> + Copy>(a: &[f64; 3], eta: &[T; 3]) -> T {
    eta[0] * a[0] + eta[1] * a[1] + eta[2] * a[2]
}

impl Smooth for Quadratic {
    fn at<T: DualNum<Primitive = f64> + Copy>(&self, eta: [T; 3]) -> T {
        let bend = product(&self.c, &eta);
        product(&self.a, &eta) + bend * bend * self.b
    }
}

impl Smooth for Wave {
    fn at<T: DualNum<Primitive = f64> + Copy>(&self, eta: [T; 3]) -> T {
        (product(&self.a, &eta) + self.b).sin() * product(&self.c, &eta).exp()
    }
}

fn norm2(a: &[f64; 3]) -> f64 {
    a.iter().map(|v| v * v).sum()
}

const QUADRATIC: Quadratic = Quadratic {
    a: [0.5, -0.3, 0.2],
    b: 0.4,
    c: [0.3, 0.6, -0.2],
};
const WAVES: [Wave; 2] = [
    Wave {
        a: [0.9, -0.4, 0.3],
        b: 0.4,
        c: [0.2, 0.5, -0.3],
    },
    Wave {
        a: [-0.2, 0.7, 0.6],
        b: 1.1,
        c: [0.4, -0.1, 0.3],
    },
];

/// Mean, and third cumulant, of a quadratic map in closed form, by quadrature and from gradient and Hessian. The rule
/// with 8 nodes is exact to degree 15.
#[test]
fn d15_1_mean_and_cumulants_of_a_quadratic_map() {
    let Quadratic { a, b, c } = QUADRATIC;
    let across: f64 = a.iter().zip(&c).map(|(x, y)| x * y).sum();
    let rule = cube_rule(8);
    for v in [0.3, 1.0, 2.5_f64] {
        let exact = [
            v * b * norm2(&c),
            v * norm2(&a) + 2.0 * (v * b * norm2(&c)).powi(2),
            6.0 * v * v * b * across * across + 8.0 * (v * b * norm2(&c)).powi(3),
        ];
        let sampled = cumulants(&rule, |eta| QUADRATIC.at(eta.map(|e| v.sqrt() * e)));
        let (j, h, t) = (
            QUADRATIC.first(),
            QUADRATIC.second(),
            QUADRATIC.trace_gradient(),
        );
        let expansion = [
            0.5 * v * h.trace(),
            v * j.norm_squared() + v * v * (0.5 * (&h * &h).trace() + j.dot(&t)),
            3.0 * v * v * j.dot(&(&h * &j)),
        ];
        for k in 0..3 {
            close(sampled[k], exact[k], 1e-13, "quadrature");
        }
        close(expansion[0], exact[0], 1e-14, "mean: no further order");
        close(expansion[1], exact[1], 1e-14, "variance: no further order");
        let next = exact[2] - expansion[2];
        close(
            next,
            v.powi(3) * (&h * &h * &h).trace(),
            1e-13,
            "third cumulant",
        );
    }
}

/// Covariance of two outputs against quadrature: the remainder falls with the third power of V.
#[test]
fn d15_2_covariance_to_second_order_in_v() {
    let rule = cube_rule(16);
    let finer = cube_rule(20);
    let j = WAVES.each_ref().map(Smooth::first);
    let h = WAVES.each_ref().map(Smooth::second);
    let t = WAVES.each_ref().map(Smooth::trace_gradient);
    for (p, q) in [(0, 0), (0, 1), (1, 1)] {
        let covariance = |rule: &[([f64; 3], f64)], v: f64| {
            let at = |i: usize, eta: &[f64; 3]| WAVES[i].at(eta.map(|e| v.sqrt() * e));
            let mean = |i: usize| -> f64 { rule.iter().map(|(e, w)| w * at(i, e)).sum() };
            let (m, n) = (mean(p), mean(q));
            rule.iter()
                .map(|(e, w)| w * (at(p, e) - m) * (at(q, e) - n))
                .sum::<f64>()
        };
        let second = 0.5 * ((&h[p] * &h[q]).trace() + j[p].dot(&t[q]) + j[q].dot(&t[p]));
        let points = [0.04, 0.02, 0.01].map(|v| {
            let exact = covariance(&rule, v);
            close(covariance(&finer, v), exact, 1e-14, "quadrature");
            (v, (exact - v * j[p].dot(&j[q]) - v * v * second).abs())
        });
        println!("covariance {p}{q}: slope {:.3}", log_slope(&points));
        // The next order changes a slope between 0.01 and 0.04 by a few times V.
        close(log_slope(&points) / 3.0, 1.0, 0.05, "slope");
    }
}

/// exp(s z): all moments are known.
fn lognormal(v: f64) -> [f64; 3] {
    let e = v.exp_m1();
    [
        (0.5 * v).exp(),
        v.exp() * e,
        (1.5 * v).exp() * e * e * (e + 3.0),
    ]
}

/// exp(s z) has J = s, H = s^2, and s^3 next: its terms.
fn lognormal_terms(v: f64) -> LoopTerms {
    LoopTerms {
        end: 1.0,
        variance: v,
        mean_correction: 0.5 * v,
        variance_correction: 0.5 * v * v + v * v,
        third_cumulant: 3.0 * v * v,
    }
}

#[test]
fn d15_3_third_cumulant_at_leading_order() {
    let remainder = |k: usize, v: f64| {
        let terms = lognormal_terms(v);
        let expansion = [
            terms.end + terms.mean_correction,
            terms.variance + terms.variance_correction,
            terms.third_cumulant,
        ];
        (lognormal(v)[k] - expansion[k]).abs()
    };
    // Mean 1 + v/2 + v^2/8, variance v + 3 v^2/2 + 7 v^3/6, third cumulant 3 v^2 + ...
    for (k, order) in [(0, 2.0), (1, 3.0), (2, 3.0)] {
        let points = [0.02, 0.01, 0.005].map(|v| (v, remainder(k, v)));
        close(log_slope(&points) / order, 1.0, 0.02, "lognormal");
    }
    let rule = cube_rule(16);
    for wave in &WAVES {
        let (j, h) = (wave.first(), wave.second());
        let points = [0.04, 0.02, 0.01].map(|v: f64| {
            let exact = cumulants(&rule, |eta| wave.at(eta.map(|e| v.sqrt() * e)))[2];
            (v, (exact - 3.0 * v * v * j.dot(&(&h * &j))).abs())
        });
        println!("third cumulant: slope {:.3}", log_slope(&points));
        close(log_slope(&points) / 3.0, 1.0, 0.05, "slope");
    }
}

// ---- the flow map ------------------------------------------------------------------------------------------

/// What the library needs of the small model of file 6.
fn library(model: &Model, steps: usize) -> (vkernel::problem::Problem, Linear, [PfOde; 2]) {
    let data = Data::points(&[vec![0.0]], None).unwrap();
    let problem = problem(data, VP, LOW, 1.0);
    let flow = |scheme| {
        PfOde::new(
            &problem,
            &SamplerOptions {
                process: Process::PfOde,
                scheme,
                steps,
                grid: Spacing::Log,
                tolerance: 1e-8,
            },
        )
    };
    let flows = [flow(Scheme::Euler), flow(Scheme::Ddim)];
    let family = Linear {
        features: model.features.clone(),
        predicts: model.kind,
    };
    (problem, family, flows)
}

fn terms(model: &Model, which: usize, root: &DMatrix<f64>) -> LoopTerms {
    let (problem, family, flows) = library(model, STEPS);
    let weights = WeightStatistics {
        mean: model.weights.clone(),
        covariance: root * root.transpose(),
    };
    let starts = [model.start];
    loop_terms(&problem, &family, &flows[which], &weights, &starts).unwrap()[0]
}

/// x_0 at the weights mean + L (sum of e_m times direction m of eta).
fn moved<T: DualNum<Primitive = f64> + Copy>(
    model: &Model,
    step: Step,
    along: &[(T, DVector<f64>)],
) -> T {
    let directions: Vec<_> = along.iter().map(|(e, d)| (*e, &model.root * d)).collect();
    let w: Vec<T> = (0..F)
        .map(|f| {
            directions
                .iter()
                .fold(T::from(model.weights[f]), |w, (e, d)| w + *e * d[f])
        })
        .collect();
    model.flow(&w, step, &log_grid(STEPS))
}

fn unit(i: usize) -> DVector<f64> {
    DVector::from_fn(F, |j, _| f64::from(u8::from(i == j)))
}

/// The Hessian of the flow map in eta, by dual numbers.
fn flow_hessian(model: &Model, step: Step) -> DMatrix<f64> {
    DMatrix::from_fn(F, F, |i, j| {
        let at = |(u, v)| moved(model, step, &[(u, unit(i)), (v, unit(j))]);
        second_partial_derivative(at, (0.0, 0.0)).3
    })
}

/// H = sum of outer products, and tr H^2 from the Gram matrices of their factors.
#[test]
fn d15_4_hessian_as_a_sum_over_steps() {
    for kind in KINDS {
        let model = model(kind);
        let times = log_grid(STEPS);
        for (name, step) in SCHEMES {
            let path = model.path(step, &times);
            let (mut g, mut growths) = (DVector::zeros(F), Vec::new());
            let (mut rows, mut bends) = (Vec::new(), Vec::new());
            for (pair, x) in times.windows(2).zip(&path) {
                let (c, d) = step(&VP, pair[0], pair[1]);
                let jet = model.jet(*x, pair[0]);
                let growth = c + d * model.slope(&jet, pair[0]);
                let bend = &jet.first + 0.5 * model.weights.dot(&jet.second) * &g;
                rows.push(model.root.tr_mul(&g));
                bends.push(model.root.tr_mul(&bend) * d);
                g = g * growth + jet.value * d;
                growths.push(growth);
            }
            let weight = |k: usize| growths[k + 1..].iter().product::<f64>();
            let mut sum = DMatrix::zeros(F, F);
            let mut square = 0.0;
            for k in 0..STEPS {
                let outer = &bends[k] * rows[k].transpose() * weight(k);
                sum += &outer + outer.transpose();
                for l in 0..STEPS {
                    let crossed = rows[k].dot(&bends[l]) * rows[l].dot(&bends[k]);
                    let straight = rows[k].dot(&rows[l]) * bends[k].dot(&bends[l]);
                    square += 2.0 * weight(k) * weight(l) * (crossed + straight);
                }
            }
            let exact = flow_hessian(&model, step);
            for (a, b) in sum.iter().zip(&exact) {
                close(*a, *b, 1e-12, name);
            }
            close(square / (&exact * &exact).trace(), 1.0, 1e-11, "tr H^2");
        }
    }
}

/// The library's terms against derivatives by dual numbers, up to the third along J.
#[test]
fn d15_5_terms_of_the_flow_map_by_dual_numbers() {
    for kind in KINDS {
        let model = model(kind);
        for (which, (name, step)) in SCHEMES.into_iter().enumerate() {
            let own = terms(&model, which, &model.root);
            let exact = flow_hessian(&model, step);
            let j = DVector::from_fn(F, |i, _| {
                num_dual::first_derivative(|e| moved(&model, step, &[(e, unit(i))]), 0.0).1
            });
            let slope: f64 = (0..F)
                .map(|i| {
                    let at = |(u, v, w)| {
                        moved(&model, step, &[(u, j.clone()), (v, unit(i)), (w, unit(i))])
                    };
                    third_partial_derivative(at, (0.0, 0.0, 0.0)).7
                })
                .sum();
            let square = (&exact * &exact).trace();
            println!(
                "{name}: tr H^2 / 2 {:.6e}, J . grad tr H {slope:.6e}",
                0.5 * square
            );
            assert!(slope.abs() > 1e-2 * own.variance_correction.abs());
            let relative = |a: f64, b: f64, what: &str| close(a / b, 1.0, 1e-10, what);
            relative(own.end, moved(&model, step, &[(0.0, unit(0))]), "end");
            relative(own.variance, j.norm_squared(), "variance");
            relative(own.mean_correction, 0.5 * exact.trace(), "mean");
            relative(
                own.variance_correction,
                0.5 * square + slope,
                "variance's correction",
            );
            relative(
                own.third_cumulant,
                3.0 * j.dot(&(&exact * &j)),
                "third cumulant",
            );
        }
    }
}

/// Remainders of the flow map's cumulants against quadrature over three whitened weights: no sampling noise.
#[test]
fn d15_6_measured_orders_of_the_remainders() {
    let (rule, finer) = (cube_rule(14), cube_rule(18));
    let times = log_grid(STEPS);
    for kind in KINDS {
        for start in [0.6, -0.9, 1.4] {
            let mut model = model(kind);
            model.start = start;
            let root = model.root.columns(0, 3) * 3.0;
            for (which, (name, step)) in SCHEMES.into_iter().enumerate() {
                let mut remainders = [vec![], vec![], vec![]];
                for v in [0.1, 0.05, 0.025_f64] {
                    let scaled = &root * v.sqrt();
                    let own = terms(&model, which, &scaled);
                    let end = |eta: [f64; 3]| {
                        let w = &model.weights + &scaled * DVector::from_row_slice(&eta);
                        model.flow(w.as_slice(), step, &times)
                    };
                    let exact = cumulants(&rule, end);
                    let check = cumulants(&finer, end);
                    assert!(own.holds(), "{} at V {v}", own.parameter());
                    let found = [
                        own.end + own.mean_correction,
                        own.variance + own.variance_correction,
                        own.third_cumulant,
                    ];
                    for k in 0..3 {
                        let error = (found[k] - exact[k]).abs();
                        // The quadrature's own error is far below what is measured.
                        assert!((check[k] - exact[k]).abs() < 1e-3 * error);
                        remainders[k].push((
                            v,
                            if k == 0 {
                                error
                            } else {
                                error / exact[k].abs()
                            },
                        ));
                    }
                }
                let slopes = remainders.map(|r| log_slope(&r));
                println!("{kind:?}, start {start}, {name}: slopes {slopes:.3?}");
                for (slope, order) in slopes.into_iter().zip([2.0, 2.0, 1.0]) {
                    assert!((slope - order).abs() < 0.1, "{slope} is not {order}");
                }
            }
        }
    }
}
