use super::common::*;
use super::d3_path_integral::{ddim, euler};
use nalgebra::{DMatrix, DVector};
use num_dual::{DualNum, first_derivative, second_derivative, second_partial_derivative};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use vkernel::family::features::{Factor, FeatureSet, Features, Gaussian, SpaceFeatures};
use vkernel::problem::Prediction;

const NX: usize = 5;
const NT: usize = 3;
pub const F: usize = NX * NT;
pub const LOW: f64 = 0.05;

/// A small random linear model with 5 x 3 Gaussian features under `vp`, from t = 1 to 0.05.
pub struct Model {
    pub kind: Prediction,
    pub features: Features,
    pub weights: DVector<f64>,
    /// L with C_W = L L^T.
    pub root: DMatrix<f64>,
    pub start: f64,
}

/// Values, first and second derivatives in x of every feature at one node, by the library.
pub struct Jet {
    pub value: DVector<f64>,
    pub first: DVector<f64>,
    pub second: DVector<f64>,
}

pub fn model(kind: Prediction) -> Model {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut normal = || rng.sample::<f64, _>(StandardNormal);
    let space = FeatureSet::Gaussian(Gaussian::new(NX, -1.5, 1.5, 0.6));
    let time = FeatureSet::Gaussian(Gaussian::new(NT, LOW, 1.0, 0.8));
    Model {
        kind,
        features: Features {
            space: SpaceFeatures::Product(vec![Factor::new(vec![space])]),
            time: Factor::new(vec![time]),
        },
        weights: DVector::from_fn(F, |_, _| 0.4 * normal()),
        root: DMatrix::from_fn(F, F, |_, _| 0.05 * normal()),
        start: 0.6,
    }
}

/// Log-spaced times.
pub fn log_grid(steps: usize) -> Vec<f64> {
    (0..=steps)
        .map(|k| LOW.powf(k as f64 / steps as f64))
        .collect()
}

pub type Step = fn(&vkernel::problem::Diffusion, f64, f64) -> (f64, f64);
pub const SCHEMES: [(&str, Step); 2] = [("euler", euler), ("ddim", ddim)];

impl Model {
    /// Own definition of the features, for dual numbers.
    fn output<T: DualNum<Primitive = f64> + Copy>(&self, w: &[T], x: T, t: f64) -> T {
        let bump =
            |z: T, std: f64| (z * z * -0.5).exp() / (std * (2.0 * std::f64::consts::PI).sqrt());
        let (dx, dt) = (3.0 / (NX - 1) as f64, (1.0 - LOW) / (NT - 1) as f64);
        let mut sum = T::from(0.0);
        for i in 0..NX {
            let sx = 0.6 * dx;
            let space = bump((x - (-1.5 + dx * i as f64)) / sx, sx);
            for j in 0..NT {
                let st = 0.8 * dt;
                let time = bump(T::from((t - LOW - dt * j as f64) / st), st);
                sum += w[i * NT + j] * space * time;
            }
        }
        sum
    }

    /// D^ = (f - q x)/p.
    fn denoiser<T: DualNum<Primitive = f64> + Copy>(&self, w: &[T], x: T, t: f64) -> T {
        let r = self.kind.regression(&VP, t);
        (self.output(w, x, t) - x * r.q) / r.p
    }

    /// The discrete flow map Phi(W; x_T).
    pub fn flow<T: DualNum<Primitive = f64> + Copy>(
        &self,
        w: &[T],
        step: Step,
        times: &[f64],
    ) -> T {
        let mut x = T::from(self.start);
        for pair in times.windows(2) {
            let (c, d) = step(&VP, pair[0], pair[1]);
            x = x * c + self.denoiser(w, x, pair[0]) * d;
        }
        x
    }

    /// Phi along W + e v.
    fn along<T: DualNum<Primitive = f64> + Copy>(&self, direction: &[f64], e: T) -> Vec<T> {
        (0..F).map(|j| e * direction[j] + self.weights[j]).collect()
    }

    fn plain(&self) -> Vec<f64> {
        self.weights.as_slice().to_vec()
    }

    /// phi/p, phi'/p and phi''/p at a node, from the library's features.
    pub fn jet(&self, x: f64, t: f64) -> Jet {
        let p = self.kind.regression(&VP, t).p;
        let (mut v, mut d, mut c) = ([0.0; NX], [0.0; NX], [0.0; NX]);
        self.features.space.line().jet(x, &mut v, &mut d, &mut c);
        let mut time = [0.0; NT];
        self.features.time.values(t, &mut time);
        let spread = |s: &[f64; NX]| DVector::from_fn(F, |j, _| s[j / NT] * time[j % NT] / p);
        Jet {
            value: spread(&v),
            first: spread(&d),
            second: spread(&c),
        }
    }

    /// Slope of D^ at a node.
    pub fn slope(&self, jet: &Jet, t: f64) -> f64 {
        let r = self.kind.regression(&VP, t);
        self.weights.dot(&jet.first) - r.q / r.p
    }

    pub fn path(&self, step: Step, times: &[f64]) -> Vec<f64> {
        let w = self.plain();
        let mut path = vec![self.start];
        for pair in times.windows(2) {
            let (c, d) = step(&VP, pair[0], pair[1]);
            let x = path[path.len() - 1];
            path.push(c * x + d * self.denoiser(&w, x, pair[0]));
        }
        path
    }

    /// The recursions of g and m; returns both at the end.
    fn recursion(&self, step: Step, times: &[f64]) -> (DVector<f64>, f64) {
        let covariance = &self.root * self.root.transpose();
        let (mut g, mut m) = (DVector::zeros(F), 0.0);
        for (pair, x) in times.windows(2).zip(self.path(step, times)) {
            let (c, d) = step(&VP, pair[0], pair[1]);
            let jet = self.jet(x, pair[0]);
            let gain = c + d * self.slope(&jet, pair[0]);
            let spread = &covariance * &g;
            let curvature = self.weights.dot(&jet.second);
            m = gain * m + d * (0.5 * curvature * g.dot(&spread) + jet.first.dot(&spread));
            g = g * gain + jet.value * d;
        }
        (g, m)
    }

    /// (1/2) tr(C_W Hessian), by second derivatives along the columns of L.
    fn half_trace(&self, flow: impl Fn(&[num_dual::Dual2_64]) -> num_dual::Dual2_64) -> f64 {
        (0..F)
            .map(|j| {
                let column: Vec<f64> = self.root.column(j).iter().copied().collect();
                0.5 * second_derivative(|e| flow(&self.along(&column, e)), 0.0).2
            })
            .sum()
    }
}

pub const KINDS: [Prediction; 2] = [Prediction::Denoiser, Prediction::Noise];

#[test]
fn d6_1_sensitivity_recursion_is_the_gradient_of_the_flow_map() {
    for kind in KINDS {
        let model = model(kind);
        // The features used here are the library's.
        let mut phi = vec![0.0; F];
        model.features.values(&[0.37], 0.42, &mut phi);
        let own = model.output(&model.plain(), 0.37, 0.42);
        close(
            model.weights.dot(&DVector::from_vec(phi)),
            own,
            1e-13,
            "features",
        );
        let times = log_grid(12);
        for (name, step) in SCHEMES {
            let (g, _) = model.recursion(step, &times);
            for j in 0..F {
                let mut unit = [0.0; F];
                unit[j] = 1.0;
                let (_, exact) =
                    first_derivative(|e| model.flow(&model.along(&unit, e), step, &times), 0.0);
                close(g[j], exact, 1e-12, name);
            }
        }
    }
}

#[test]
fn d6_2_variance_is_a_double_sum_of_propagators_over_v() {
    for kind in KINDS {
        let model = model(kind);
        let times = log_grid(12);
        let covariance = &model.root * model.root.transpose();
        for (name, step) in SCHEMES {
            let path = model.path(step, &times);
            let jets: Vec<Jet> = (0..12).map(|k| model.jet(path[k], times[k])).collect();
            let coefficient: Vec<_> = times.windows(2).map(|w| step(&VP, w[0], w[1])).collect();
            let propagator = |from: usize| -> f64 {
                (from..12)
                    .map(|k| coefficient[k].0 + coefficient[k].1 * model.slope(&jets[k], times[k]))
                    .product()
            };
            let mut sum = 0.0;
            for k in 0..12 {
                for l in 0..12 {
                    let kernel = jets[k].value.dot(&(&covariance * &jets[l].value));
                    let v = coefficient[k].1 * coefficient[l].1 * kernel;
                    sum += propagator(k + 1) * v * propagator(l + 1);
                }
            }
            let (g, _) = model.recursion(step, &times);
            close(g.dot(&(&covariance * &g)), sum, 1e-12, name);
        }
    }
}

#[test]
fn d6_3_one_loop_shift_is_half_the_trace_of_c_times_hessian() {
    for kind in KINDS {
        let model = model(kind);
        let times = log_grid(12);
        for (name, step) in SCHEMES {
            let (_, m) = model.recursion(step, &times);
            let exact = model.half_trace(|w| model.flow(w, step, &times));
            close(m, exact, 1e-12, name);
            assert!(exact.abs() > 1e-4, "the shift is not zero: {exact}");
        }
    }
}

/// T14a with its literal integral over the past, trapezoid rule on n uniform steps of tau (error O(n^-2)).
fn continuous_shift(model: &Model, n: usize) -> f64 {
    let covariance = &model.root * model.root.transpose();
    let h = (1.0 - LOW) / n as f64;
    let time = |i: usize| 1.0 - i as f64 * h;
    let w = model.plain();
    let path = runge_kutta(model, &w, n);
    let b: Vec<f64> = (0..=n).map(|i| VP.denoiser_drift(time(i)).1).collect();
    let jets: Vec<Jet> = (0..=n).map(|i| model.jet(path[i], time(i))).collect();
    let slope: Vec<f64> = (0..=n)
        .map(|i| VP.denoiser_drift(time(i)).0 + b[i] * model.slope(&jets[i], time(i)))
        .collect();
    // ln G(t_i, t_0).
    let mut log_g = vec![0.0; n + 1];
    for i in 0..n {
        log_g[i + 1] = log_g[i] + 0.5 * h * (slope[i] + slope[i + 1]);
    }
    let green = |i: usize, j: usize| (log_g[i] - log_g[j]).exp();
    let end = |j: usize, i: usize| if j == 0 || j == i { 0.5 * h } else { h };
    let spread: Vec<DVector<f64>> = jets.iter().map(|j| &covariance * &j.value).collect();
    let mut shift = 0.0;
    // Cov(t,t) by the double integral: dCov/dt = 2 slope Cov + 2 int V(t,s) G(t,s) ds, so one sum suffices;
    // the sum is kept in units of G(t,0)^2.
    let mut scaled_variance = 0.0;
    let mut before = 0.0;
    for i in 1..=n {
        let (mut memory, mut same) = (0.0, 0.0);
        for j in 0..=i {
            let weight = end(j, i) * green(i, j) * b[i] * b[j];
            memory += weight * jets[i].first.dot(&spread[j]);
            same += weight * jets[i].value.dot(&spread[j]);
        }
        let now = 2.0 * same / green(i, 0).powi(2);
        scaled_variance += 0.5 * h * (before + now);
        before = now;
        let variance = scaled_variance * green(i, 0).powi(2);
        let curvature = b[i] * model.weights.dot(&jets[i].second);
        shift += end(i, n) * green(n, i) * (0.5 * curvature * variance + memory);
    }
    shift
}

/// The path of the PF-ODE at n + 1 uniform times, by RK4.
fn runge_kutta<T: DualNum<Primitive = f64> + Copy>(model: &Model, w: &[T], n: usize) -> Vec<T> {
    let h = (1.0 - LOW) / n as f64;
    let u = |x: T, t: f64| {
        let (a, b) = VP.denoiser_drift(t);
        x * a + model.denoiser(w, x, t) * b
    };
    let mut path = vec![T::from(model.start)];
    for i in 0..n {
        let (x, t) = (path[i], 1.0 - i as f64 * h);
        let k1 = u(x, t);
        let k2 = u(x + k1 * (0.5 * h), t - 0.5 * h);
        let k3 = u(x + k2 * (0.5 * h), t - 0.5 * h);
        let k4 = u(x + k3 * h, t - h);
        path.push(x + (k1 + k2 * 2.0 + k3 * 2.0 + k4) * (h / 6.0));
    }
    path
}

#[test]
fn d6_4_continuous_one_loop_equation() {
    let model = model(Prediction::Denoiser);
    let exact = model.half_trace(|w| runge_kutta(&model, w, 800)[800]);
    let (coarse, fine) = (continuous_shift(&model, 400), continuous_shift(&model, 800));
    let extrapolated = (4.0 * fine - coarse) / 3.0;
    println!("T14a {fine} -> {extrapolated}, half trace {exact}");
    // Trapezoid error O(n^-2) of both integrals, removed once: the rest is O(n^-4) of scale 0.05, about 1e-5.
    close(extrapolated / exact, 1.0, 1e-4, "T14a");
    // The discrete recursion tends to it at first order in the step.
    for (name, step) in SCHEMES {
        let error = |n: usize| {
            let times: Vec<f64> = (0..=n)
                .map(|i| 1.0 - (1.0 - LOW) * i as f64 / n as f64)
                .collect();
            (model.recursion(step, &times).1 - exact).abs()
        };
        let data: Vec<_> = [2000, 4000, 8000]
            .iter()
            .map(|n| (*n as f64, error(*n)))
            .collect();
        close(log_slope(&data), -1.0, 0.03, name);
    }
}

// ---- two dimensions: the order of the indices ---------------------------------------------------------------

const STEPS: usize = 10;
const H: f64 = 0.15;

/// Three features of the plane.
fn plane_features<T: DualNum<Primitive = f64> + Copy>(x: [T; 2]) -> [T; 3] {
    [
        (x[0] + x[1] * 0.3).sin(),
        (x[1] * 0.7 - x[0] * 0.2).cos(),
        x[0] * x[1] * (x[0] * x[0] * -0.2).exp(),
    ]
}

/// Euler steps x += H W phi(x), W of shape 2 x 3 given by rows.
fn plane_path<T: DualNum<Primitive = f64> + Copy>(w: &[T]) -> Vec<[T; 2]> {
    let mut path = vec![[T::from(0.8), T::from(-0.5)]];
    for k in 0..STEPS {
        let x = path[k];
        let phi = plane_features(x);
        let u = |i: usize| w[3 * i] * phi[0] + w[3 * i + 1] * phi[1] + w[3 * i + 2] * phi[2];
        path.push([x[0] + u(0) * H, x[1] + u(1) * H]);
    }
    path
}

/// First and second derivatives of the features in the plane.
fn plane_slope(x: [f64; 2], b: usize) -> [f64; 3] {
    std::array::from_fn(|f| {
        let moved = |e: num_dual::Dual64| {
            let mut y = [e * 0.0 + x[0], e * 0.0 + x[1]];
            y[b] += e;
            plane_features(y)[f]
        };
        first_derivative(moved, 0.0).1
    })
}

fn plane_curvature(x: [f64; 2], b: usize, c: usize) -> [f64; 3] {
    std::array::from_fn(|f| {
        let moved = |(u, v): (num_dual::HyperDual64, num_dual::HyperDual64)| {
            let mut y = [u * 0.0 + x[0], u * 0.0 + x[1]];
            y[b] += u;
            y[c] += v;
            plane_features(y)[f]
        };
        second_partial_derivative(moved, (0.0, 0.0)).3
    })
}

/// T14a in the plane: d_{1,b} V_ij G_bj, b contracting the derivative with the first index of G; with the indices
/// of G exchanged the result is another one.
#[test]
fn d6_5_index_order_of_the_memory_term() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let w: Vec<f64> = (0..6)
        .map(|_| 0.8 * rng.sample::<f64, _>(StandardNormal))
        .collect();
    let root = DMatrix::from_fn(6, 6, |_, _| 0.1 * rng.sample::<f64, _>(StandardNormal));
    let covariance = &root * root.transpose();
    let path = plane_path(&w);
    // Cov(W_if, W_jg) contracted with two feature vectors.
    let contract = |i: usize, a: &[f64; 3], j: usize, b: &[f64; 3]| -> f64 {
        let mut sum = 0.0;
        for f in 0..3 {
            for g in 0..3 {
                sum += a[f] * covariance[(3 * i + f, 3 * j + g)] * b[g];
            }
        }
        sum
    };
    let apply = |i: usize, v: [f64; 3]| (0..3).map(|f| w[3 * i + f] * v[f]).sum::<f64>();
    let values: Vec<[f64; 3]> = path.iter().map(|x| plane_features(*x)).collect();
    let step: Vec<DMatrix<f64>> = path
        .iter()
        .map(|x| {
            DMatrix::from_fn(2, 2, |i, b| {
                apply(i, plane_slope(*x, b)) * H + if i == b { 1.0 } else { 0.0 }
            })
        })
        .collect();
    // G(k, l): from just after step l - 1 to x_k.
    let green =
        |k: usize, l: usize| (l..k).fold(DMatrix::<f64>::identity(2, 2), |g, s| &step[s] * g);
    let shift = |exchanged: bool| {
        let mut m = DVector::<f64>::zeros(2);
        for k in 0..STEPS {
            let greens: Vec<_> = (0..k).map(|l| green(k, l + 1)).collect();
            let mut cov = DMatrix::<f64>::zeros(2, 2);
            for l in 0..k {
                for n in 0..k {
                    let v = DMatrix::from_fn(2, 2, |i, j| contract(i, &values[l], j, &values[n]));
                    cov += &greens[l] * v * greens[n].transpose() * (H * H);
                }
            }
            let mut next = &step[k] * &m;
            for i in 0..2 {
                for b in 0..2 {
                    for c in 0..2 {
                        let bend = apply(i, plane_curvature(path[k], b, c));
                        next[i] += 0.5 * H * bend * cov[(b, c)];
                    }
                    let gradient = plane_slope(path[k], b);
                    for (l, g) in greens.iter().enumerate() {
                        for j in 0..2 {
                            let v = contract(i, &gradient, j, &values[l]);
                            next[i] += H * H * v * if exchanged { g[(j, b)] } else { g[(b, j)] };
                        }
                    }
                }
            }
            m = next;
        }
        m
    };
    let (right, wrong) = (shift(false), shift(true));
    for i in 0..2 {
        let exact: f64 = (0..6)
            .map(|j| {
                let moved = |e| {
                    let w: Vec<_> = (0..6).map(|f| e * root[(f, j)] + w[f]).collect();
                    plane_path::<num_dual::Dual2_64>(&w)[STEPS][i]
                };
                0.5 * second_derivative(moved, 0.0).2
            })
            .sum();
        close(right[i], exact, 1e-12, "shift");
        println!("component {i}: {exact}, exchanged {}", wrong[i]);
        assert!((wrong[i] - exact).abs() > 1e-2 * exact.abs());
    }
}

/// Against draws of the weights of amplitude e: what mean and variance leave out is of order e^4, second order in V.
#[test]
fn d6_6_residuals_are_second_order_in_v() {
    let model = model(Prediction::Denoiser);
    let times = log_grid(12);
    let zero = model.flow(&model.plain(), ddim, &times);
    let (g, m) = model.recursion(ddim, &times);
    let slope = model.root.tr_mul(&g);
    // Hessian in eta.
    let hessian = DMatrix::from_fn(F, F, |i, j| {
        let moved = |(u, v): (num_dual::HyperDual64, num_dual::HyperDual64)| {
            let w: Vec<_> = (0..F)
                .map(|f| u * model.root[(f, i)] + v * model.root[(f, j)] + model.weights[f])
                .collect();
            model.flow(&w, ddim, &times)
        };
        second_partial_derivative(moved, (0.0, 0.0)).3
    });
    close(0.5 * hessian.trace(), m, 1e-12, "trace of the full Hessian");
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let draws: Vec<DVector<f64>> = (0..4000)
        .map(|_| DVector::from_fn(F, |_, _| rng.sample(StandardNormal)))
        .collect();
    // The quadratic form's sample mean estimates 2 m without bias.
    let forms: Vec<f64> = draws.iter().map(|e| 0.5 * e.dot(&(&hessian * e))).collect();
    let mean = forms.iter().sum::<f64>() / forms.len() as f64;
    let variance = forms.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / forms.len() as f64;
    let error = (variance / forms.len() as f64).sqrt();
    assert!((mean - m).abs() < 5.0 * error);

    let residuals = |e: f64| {
        let (mut first, mut second) = (0.0, 0.0);
        for eta in &draws {
            let moved = |sign: f64| {
                let w = &model.weights + &model.root * eta * (sign * e);
                model.flow(w.as_slice(), ddim, &times)
            };
            let (plus, minus) = (moved(1.0), moved(-1.0));
            // Antithetic pairs cancel odd orders; the known second order is removed draw by draw.
            first += 0.5 * (plus + minus) - zero - 0.5 * e * e * eta.dot(&(&hessian * eta));
            second += (0.5 * (plus - minus)).powi(2) - (e * slope.dot(eta)).powi(2);
        }
        (first.abs(), second.abs())
    };
    let all: Vec<_> = [0.2, 0.1, 0.05]
        .iter()
        .map(|e| (e * e, residuals(*e)))
        .collect();
    for (name, pick) in [("mean", 0), ("variance", 1)] {
        let data: Vec<_> = all
            .iter()
            .map(|(v, r)| (*v, if pick == 0 { r.0 } else { r.1 }))
            .collect();
        println!("{name}: slope {:.3} in V", log_slope(&data));
        // The next order changes the slope by O(e^2) = O(0.04) times a ratio of order one.
        close(log_slope(&data), 2.0, 0.1, name);
    }
}
