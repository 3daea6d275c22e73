//! derivations/15-loop-corrections.md.

use nalgebra::{DMatrix, DVector};
use num_dual::{DualNum, second_partial_derivative, third_derivative, third_partial_derivative};
use rand::RngExt;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use vkernel::density::{Generator, LARGE_PARAMETER, LoopTerms, loop_terms, semiclassical};
use vkernel::experiment::{Experiment, Process, SamplerOptions, Scheme, Spacing};
use vkernel::family::{Family, Linear};
use vkernel::problem::{Data, Prediction, StartLaw};
use vkernel::sampler::PfOde;
use vkernel::statistics::{VKernel, WeightStatistics, equivalent};

use super::common::*;
use super::d3_path_integral::ddim;
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
        curvature: 0.5 * v * v,
        slope_change: v * v,
        third_cumulant: 3.0 * v * v,
    }
}

#[test]
fn d15_3_third_cumulant_at_leading_order() {
    let remainder = |k: usize, v: f64| {
        let terms = lognormal_terms(v);
        let expansion = [
            terms.end + terms.mean_correction,
            terms.variance + terms.variance_correction(),
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
                start: StartLaw::Normal,
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
            assert!(slope.abs() > 1e-2 * own.variance_correction().abs());
            let relative = |a: f64, b: f64, what: &str| close(a / b, 1.0, 1e-10, what);
            relative(own.end, moved(&model, step, &[(0.0, unit(0))]), "end");
            relative(own.variance, j.norm_squared(), "variance");
            relative(own.mean_correction, 0.5 * exact.trace(), "mean");
            relative(
                own.variance_correction(),
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

/// The size of V at which the largest of the first corrections, squared where they are of order V^(1/2), is `size`.
fn strength(terms: &LoopTerms, size: f64) -> f64 {
    let shift = terms.mean_correction.powi(2) / terms.variance;
    let spread = terms.variance_correction().abs() / terms.variance;
    size / shift.max(spread).max(terms.skewness().powi(2))
}

/// Errors of mean, variance and third cumulant (the last two relative) of the flow map, against quadrature
/// over three whitened weights with the root given.
fn remainders(model: &Model, which: usize, root: &DMatrix<f64>) -> [f64; 3] {
    let own = terms(model, which, root);
    assert!(own.holds(), "{}", own.parameter());
    let (step, times) = (SCHEMES[which].1, log_grid(STEPS));
    let end = |eta: [f64; 3]| {
        let w = &model.weights + root * DVector::from_row_slice(&eta);
        model.flow(w.as_slice(), step, &times)
    };
    let (exact, check) = (
        cumulants(&cube_rule(10), end),
        cumulants(&cube_rule(14), end),
    );
    let found = [
        own.end + own.mean_correction,
        own.variance + own.variance_correction(),
        own.third_cumulant,
    ];
    let scale = [1.0, own.variance, own.third_cumulant.abs()];
    [0, 1, 2].map(|k| {
        let error = (found[k] - exact[k]).abs();
        // The quadrature's own error is far below what is measured.
        assert!((check[k] - exact[k]).abs() < 1e-2 * error, "quadrature");
        error / scale[k]
    })
}

/// No sampling noise: so slopes are those of the expansion, for sizes of V at which the next order is a few percent.
#[test]
fn d15_6_measured_orders_of_the_remainders() {
    let mut model = model(Prediction::Denoiser);
    for start in [0.6, -0.9, 1.4] {
        model.start = start;
        let root = model.root.columns(0, 3).into_owned();
        for (which, (name, _)) in SCHEMES.into_iter().enumerate() {
            let unit = strength(&terms(&model, which, &root), 1.0);
            let all = [1e-3, 5e-4, 2.5e-4].map(|size: f64| {
                (
                    size,
                    remainders(&model, which, &(&root * (size * unit).sqrt())),
                )
            });
            let slopes = [0, 1, 2].map(|k| log_slope(&all.map(|(v, r)| (v, r[k]))));
            println!("start {start}, {name}: slopes {slopes:.3?}");
            for (slope, order) in slopes.into_iter().zip([2.0, 2.0, 1.0]) {
                assert!((slope - order).abs() < 0.1, "{slope} is not {order}");
            }
        }
    }
}

// ---- Fig. 2 ------------------------------------------------------------------------------------------------

/// One panel of Fig. 2 with P samples, and its statistics.
fn panel(samples: usize) -> (Experiment, Linear, WeightStatistics) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/gap.toml");
    let overrides = [
        format!("training.samples={samples}"),
        "predict.statistics=equivalent".to_owned(),
    ];
    let spec = vkernel::spec::load(&path, &overrides, None).unwrap();
    let experiment = spec.cases[0].experiment.clone();
    let Family::Linear(family) = experiment.family.clone() else {
        panic!("a linear family")
    };
    let training = experiment.training.clone().unwrap();
    let weights = equivalent(&experiment.problem, &family, &training)
        .unwrap()
        .weights;
    (experiment, family, weights)
}

/// The DDIM flow along one direction of the weights: x_0 at `mean + e direction`, the features written out once more.
struct Line<'a> {
    family: &'a Linear,
    times: Vec<f64>,
    /// Per step, the weights of the 16 features of space: of the mean and of the direction.
    weights: Vec<[[f64; 16]; 2]>,
}

impl<'a> Line<'a> {
    fn new(family: &'a Linear, times: &[f64], mean: &DVector<f64>, along: &DVector<f64>) -> Self {
        let at = |weights: &DVector<f64>, t: f64| {
            let mut out = [0.0; 16];
            let features = &family.features;
            features.contract_time(weights.as_slice(), t, &mut out);
            out
        };
        Self {
            family,
            times: times.to_vec(),
            weights: times
                .iter()
                .map(|t| [at(mean, *t), at(along, *t)])
                .collect(),
        }
    }

    fn end<T: DualNum<Primitive = f64> + Copy>(&self, start: f64, e: T) -> T {
        assert_eq!(self.family.features.space_len(), 16);
        let std = 0.5 * 3.0 / 15.0;
        let height = 1.0 / (std * (2.0 * std::f64::consts::PI).sqrt());
        let mut x = T::from(start);
        for (pair, [mean, along]) in self.times.windows(2).zip(&self.weights) {
            let (c, d) = ddim(&VP, pair[0], pair[1]);
            let mut sum = T::from(0.0);
            for i in 0..16 {
                let z = (x - (-1.5 + 0.2 * i as f64)) / std;
                sum += (z * z * -0.5).exp() * height * (e * along[i] + mean[i]);
            }
            x = x * c + sum * d;
        }
        x
    }
}

fn mean_and_error(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Sizes of V in units of the V of P = 4096.
const SIZES: [f64; 3] = [1.0 / 64.0, 1.0 / 128.0, 1.0 / 256.0];

/// Along one draw of eta: three derivatives of x_0, and at every size of V the even and odd part of its displacement.
type Draw = ([f64; 3], [[f64; 2]; 3]);

/// Fig. 2 at full rank, away from basin boundaries: the terms within the sampling error of their averages over draws,
/// and the remainders' orders, the same draws at every size of V with their first three orders removed draw by draw.
#[test]
fn d15_7_orders_in_the_setting_of_fig_2() {
    let (experiment, family, weights) = panel(4096);
    let flow = PfOde::new(&experiment.problem, &experiment.sampler);
    let times = flow.grid().unwrap();
    let kernel = VKernel::new(&experiment.problem, &family, &weights, 0.0).unwrap();
    let starts = [-2.0, 0.15, 1.0];
    let own = loop_terms(&experiment.problem, &family, &flow, &weights, &starts).unwrap();
    for (start, own) in starts.into_iter().zip(own) {
        let draws: Vec<Draw> = (0..4000_u64)
            .into_par_iter()
            .map(|i| {
                let mut rng = vkernel::numerics::random::stream(15, i);
                let eta = DVector::from_fn(kernel.rank(), |_, _| rng.sample(StandardNormal));
                let line = Line::new(&family, times, &weights.mean, &(kernel.factor() * eta));
                let (zero, first, second, third) = third_derivative(|e| line.end(start, e), 0.0);
                let parts = SIZES.map(|v: f64| {
                    let (plus, minus) = (line.end(start, v.sqrt()), line.end(start, -v.sqrt()));
                    [0.5 * (plus + minus) - zero, 0.5 * (plus - minus)]
                });
                ([first, second, third], parts)
            })
            .collect();
        let average = |f: &dyn Fn(&Draw) -> f64| {
            mean_and_error(draws.iter().map(f).collect::<Vec<_>>().into_iter())
        };
        let bend = average(&|(d, _)| 0.5 * d[1]);
        let spread = average(&|(d, _)| d[0] * d[0]);
        let next = average(&|(d, _)| d[0] * d[2] / 3.0 + (0.5 * d[1] - bend.0).powi(2));
        println!(
            "start {start}: parameter {:.3} at P = 4096",
            own.parameter()
        );
        for (what, found, (sampled, error)) in [
            ("mean", own.mean_correction, bend),
            ("variance", own.variance, spread),
            ("variance's correction", own.variance_correction(), next),
        ] {
            println!("  {what} {found:.4e}, sampled {sampled:.4e} +- {error:.1e}");
            assert!((found - sampled).abs() < 5.0 * error, "{what}");
        }
        let left = |k: usize| {
            let v = SIZES[k];
            let even = average(&|(_, p)| p[k][0]).0;
            let square = average(&|(_, p)| p[k][1].powi(2) + (p[k][0] - even).powi(2)).0;
            [
                (v, (even - v * bend.0).abs()),
                (v, (square - v * spread.0 - v * v * next.0).abs() / v),
            ]
        };
        for (i, what) in ["mean", "variance"].into_iter().enumerate() {
            let slope = log_slope(&[left(0)[i], left(1)[i], left(2)[i]]);
            println!("  {what}: slope {slope:.3}");
            assert!((slope - 2.0).abs() < 0.1, "{what}: {slope} is not 2");
        }
    }
}

/// Mean and variance left over, in standard deviations and relative, where the parameter is at its threshold.
fn left_at_threshold(model: &Model, which: usize, root: &DMatrix<f64>) -> [f64; 2] {
    let unit = terms(model, which, root);
    let shift = unit.mean_correction.abs() / unit.variance.sqrt();
    let spread = (unit.curvature + unit.slope_change.abs()) / unit.variance;
    let v = (LARGE_PARAMETER / shift)
        .powi(2)
        .min(LARGE_PARAMETER / spread);
    let scaled = root * v.sqrt();
    let own = terms(model, which, &scaled);
    close(own.parameter(), LARGE_PARAMETER, 1e-9, "parameter");
    let (step, times) = (SCHEMES[which].1, log_grid(STEPS));
    let end = |eta: [f64; 3]| {
        let w = &model.weights + &scaled * DVector::from_row_slice(&eta);
        model.flow(w.as_slice(), step, &times)
    };
    let [mean, variance, _] = cumulants(&cube_rule(20), end);
    [
        (mean - own.end - own.mean_correction).abs() / own.variance.sqrt(),
        (variance / own.variance - 1.0 - own.variance_correction() / own.variance).abs(),
    ]
}

/// The rule behind the threshold, that what is left out is the parameter's square: of 72 flow maps, in the middle.
#[test]
fn d15_8_what_the_threshold_leaves_out() {
    let mut left = [vec![], vec![]];
    let mut model = model(Prediction::Denoiser);
    for start in [-1.4, -0.9, -0.5, -0.2, 0.1, 0.3, 0.6, 1.0, 1.4] {
        model.start = start;
        for first in [0, 3, 6, 9] {
            let root = model.root.columns(first, 3).into_owned();
            for which in 0..2 {
                let found = left_at_threshold(&model, which, &root);
                left[0].push(found[0]);
                left[1].push(found[1]);
            }
        }
    }
    for (what, mut values) in ["mean", "variance"].into_iter().zip(left) {
        values.sort_by(f64::total_cmp);
        let quantile = |q: f64| values[(q * (values.len() - 1) as f64) as usize];
        println!(
            "{what}: {:.3} in the middle, {:.3} at 90 %, {:.3} at most",
            quantile(0.5),
            quantile(0.9),
            quantile(1.0)
        );
        assert!(quantile(0.5) < LARGE_PARAMETER * LARGE_PARAMETER);
    }
    // exp(s eta) at its threshold, in closed form.
    let v = 0.2;
    let own = lognormal_terms(v);
    close(own.parameter(), LARGE_PARAMETER, 1e-14, "lognormal");
    let [mean, variance, _] = lognormal(v);
    assert!((mean - own.end - own.mean_correction).abs() / v.sqrt() < 0.09);
    assert!((variance - v - own.variance_correction()).abs() / v < 0.09);
    // Opposite parts of the variance's correction are counted each.
    let large = lognormal_terms(1.0);
    let cancelling = LoopTerms {
        slope_change: -large.curvature,
        mean_correction: 0.0,
        ..large
    };
    assert!(!cancelling.holds() && cancelling.variance_correction() == 0.0);
}

/// Fig. 2's setting with P = 65 536, where V is small enough at most x_T: the corrections bring mean and variance nearer to
/// those of draws wherever they are applied, on average.
#[test]
fn d15_8_corrections_help_where_they_are_applied() {
    let (experiment, family, weights) = panel(65_536);
    let flow = PfOde::new(&experiment.problem, &experiment.sampler);
    let times = flow.grid().unwrap();
    let kernel = VKernel::new(&experiment.problem, &family, &weights, 0.0).unwrap();
    let starts: Vec<f64> = (0..32).map(|i| -1.95 + 3.9 * f64::from(i) / 31.0).collect();
    let own = loop_terms(&experiment.problem, &family, &flow, &weights, &starts).unwrap();
    let draws: Vec<Vec<f64>> = (0..4000_u64)
        .into_par_iter()
        .flat_map_iter(|i| {
            let mut rng = vkernel::numerics::random::stream(16, i);
            let eta = DVector::from_fn(kernel.rank(), |_, _| rng.sample(StandardNormal));
            let line = Line::new(&family, times, &weights.mean, &(kernel.factor() * eta));
            // Antithetic pairs: the mean's noise is of second order.
            let end = |e: f64| starts.iter().map(|x| line.end(*x, e)).collect();
            [end(1.0), end(-1.0)]
        })
        .collect();
    let (mut before, mut after) = ([0.0; 2], [0.0; 2]);
    let mut applied = 0;
    for (k, own) in own.iter().enumerate().filter(|(_, t)| t.holds()) {
        let (mean, _) = mean_and_error(draws.iter().map(|d| d[k]));
        let (variance, _) = mean_and_error(draws.iter().map(|d| (d[k] - mean).powi(2)));
        let mean = (mean - own.end) / own.variance.sqrt();
        let variance = variance / own.variance - 1.0;
        let shift = own.mean_correction / own.variance.sqrt();
        let spread = own.variance_correction() / own.variance;
        let errors = [(mean, mean - shift), (variance, variance - spread)];
        for (i, (leading, corrected)) in errors.into_iter().enumerate() {
            before[i] += leading * leading;
            after[i] += corrected * corrected;
        }
        applied += 1;
    }
    for (i, what) in ["mean", "variance"].into_iter().enumerate() {
        let rms = |sum: f64| (sum / f64::from(applied)).sqrt();
        let (before, after) = (rms(before[i]), rms(after[i]));
        println!("{what}: rms error {before:.4} -> {after:.4} over {applied} of 32 x_T");
        assert!(after < before, "{what}");
    }
}

/// The program refuses the corrections of Fig. 2 (P = 1024) at almost all x_T, fewer the larger P.
#[test]
fn d15_9_v_is_too_large_in_fig_2() {
    let refused = [1024, 16_384, 262_144].map(|samples| {
        let (experiment, family, weights) = panel(samples);
        let flow = PfOde::new(&experiment.problem, &experiment.sampler);
        let bins = *Generator::new(&experiment).bins();
        let solution =
            semiclassical(&experiment.problem, &family, &flow, &weights, true, &bins).unwrap();
        let loops = solution.loops.unwrap();
        println!("P = {samples}: {loops:.3?}");
        loops.refused
    });
    assert!(refused[0] > refused[1] && refused[1] > refused[2]);
    assert!(refused[0] > 0.5 && refused[2] < 0.5);
}
