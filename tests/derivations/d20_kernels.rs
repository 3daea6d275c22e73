//! derivations/20-kernels.md.

use proptest::prelude::*;
use rand::RngExt;
use serde::Deserialize;
use vkernel::family::kernel::{
    Activation, Architecture, Base, Embedding, Formula, Kernel, KernelError, Node, Order, Part,
    TimeEmbedding,
};
use vkernel::monte_carlo::model_rng;
use vkernel::symbolic::parse;

use super::common::*;

fn embedding(dim: usize, time: TimeEmbedding) -> Embedding {
    Embedding {
        dim,
        time,
        scale_inputs: None,
    }
}

fn leaf(base: Base, of: Part) -> Node {
    Node::Leaf { base, of }
}

/// A kernel of x alone.
fn of_space(dim: usize, base: Base) -> Kernel {
    let node = leaf(base, Part::Space);
    Kernel::new(dim, embedding(dim, TimeEmbedding::None), node).unwrap()
}

fn architecture(activation: Activation, depth: usize, bias_std: f64) -> Architecture {
    Architecture {
        depth,
        activation,
        weight_std: 1.3,
        bias_std,
    }
}

const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Erf, Activation::Gelu];
const ORDERS: [Order; 3] = [Order::Half, Order::ThreeHalves, Order::FiveHalves];

/// K(x, y) for one pair.
fn value(kernel: &Kernel, (x, t): (&[f64], f64), (y, s): (&[f64], f64)) -> f64 {
    let (a, b) = (kernel.points(x, &[t]), kernel.points(y, &[s]));
    let mut out = [0.0];
    kernel.matrix(&a, &b, &mut out);
    out[0]
}

/// Of kernels of x alone.
fn at(kernel: &Kernel, x: &[f64], y: &[f64]) -> f64 {
    value(kernel, (x, 1.0), (y, 1.0))
}

/// Gradient of K(x, y) with respect to x.
fn gradient(kernel: &Kernel, (x, t): (&[f64], f64), (y, s): (&[f64], f64)) -> Vec<f64> {
    let (a, b) = (kernel.points(x, &[t]), kernel.points(y, &[s]));
    let mut slopes = vec![0.0; x.len()];
    kernel.combine_with_gradient(&a, &b, &[1.0], &mut [0.0], &mut slopes);
    slopes
}

/// Points uniform on [-1.5, 1.5]^dim, coordinate-major, and times in [0.1, 1].
fn points(n: usize, dim: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut rng = model_rng(seed, 0);
    let x = (0..n * dim).map(|_| rng.random_range(-1.5..1.5)).collect();
    let t = (0..n).map(|_| rng.random_range(0.1..1.0)).collect();
    (x, t)
}

/// Every kind of kernel, alone.
fn bases() -> Vec<Base> {
    let expression = |text: &str, variables: &[&str]| parse(text, variables).unwrap();
    let mut all = vec![
        Base::Rbf { length: 0.7 },
        Base::RationalQuadratic {
            length: 0.6,
            mixture: 1.4,
        },
        Base::Dot {
            offset: 0.3,
            power: 3,
        },
        Base::Expression(Formula::Distance(expression("exp(-r^2)*cos(r)", &["r"]))),
        Base::Expression(Formula::Dot(expression("exp(s/3)", &["s"]))),
    ];
    all.extend(ORDERS.map(|order| Base::Matern { order, length: 0.9 }));
    for activation in ACTIVATIONS {
        for (depth, bias) in [(1, 0.0), (1, 0.4), (3, 0.3), (2, 0.0)] {
            all.push(Base::Nngp(architecture(activation, depth, bias)));
            all.push(Base::Ntk(architecture(activation, depth, bias)));
        }
    }
    all
}

/// A kernel with every kind of node and of part in the plane.
fn tree(first: Base, second: Base) -> Kernel {
    let pair = parse("1 + a*b + cos(a - b)", &["a", "b"]).unwrap();
    let node = Node::Sum(vec![
        Node::Product(vec![
            leaf(first, Part::All),
            leaf(Base::Rbf { length: 0.8 }, Part::Time),
            leaf(
                Base::Matern {
                    order: Order::FiveHalves,
                    length: 1.1,
                },
                Part::Coordinate(1),
            ),
        ]),
        Node::Scaled(0.4, Box::new(leaf(second, Part::Space))),
        leaf(Base::Expression(Formula::Pair(pair)), Part::Coordinate(0)),
    ]);
    let embedding = Embedding {
        dim: 2,
        time: TimeEmbedding::Fourier {
            count: 2,
            period: 3.0,
        },
        scale_inputs: Some(0.8),
    };
    Kernel::new(2, embedding, node).unwrap()
}

/// E[f(G)] for G of the Gamma law with shape and rate nu, by the trapezoid rule in ln g.
fn over_gamma(nu: f64, f: impl Fn(f64) -> f64) -> f64 {
    let rule = trapezoid(4000, -60.0, 6.0);
    let density = |l: f64| (nu * l - nu * l.exp()).exp();
    let total = integrate(&rule, density);
    integrate(&rule, |l| density(l) * f(l.exp())) / total
}

#[test]
fn d20_1_distances_as_mixtures_of_gaussians() {
    // Trapezoid rules that converge beyond rounding; exponential tails cut below 1e-13.
    for r in [0.0, 0.03, 0.4, 1.0, 2.7] {
        let (x, y) = ([0.2, -0.5], [0.2 + 0.6 * r, -0.5 - 0.8 * r]);
        let length: f64 = 0.8;
        let q = r * r / (2.0 * length * length);
        let rbf = at(&of_space(2, Base::Rbf { length }), &x, &y);
        assert!((rbf - (-q).exp()).abs() < 1e-15);
        for (order, nu) in ORDERS.into_iter().zip([0.5, 1.5, 2.5]) {
            let found = at(&of_space(2, Base::Matern { order, length }), &x, &y);
            let mixture = over_gamma(nu, |g| (-q / g).exp());
            assert!((found - mixture).abs() < 1e-12, "{order:?} {r}");
        }
        let mixture = 1.7;
        let base = Base::RationalQuadratic { length, mixture };
        let expected = over_gamma(mixture, |g| (-q * g).exp());
        assert!((at(&of_space(2, base), &x, &y) - expected).abs() < 1e-12);
    }
}

#[test]
fn d20_1_inner_products_by_the_binomial_theorem() {
    let (x, y) = ([0.4, -1.1, 0.3], [0.9, 0.2, -0.7]);
    let s: f64 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
    let base = Base::Dot {
        offset: 0.3,
        power: 3,
    };
    let expected = s.powi(3) + 0.9 * s * s + 0.27 * s + 0.027;
    assert!((at(&of_space(3, base), &x, &y) - expected).abs() < 1e-15);
}

#[test]
fn d20_2_gradients_of_every_kernel_by_differences() {
    // Truncation f^(7) h^6/140 below 1e-11, rounding 1e-15/h.
    for (i, base) in bases().into_iter().enumerate() {
        let kernel = tree(base.clone(), bases()[(i + 3) % bases().len()].clone());
        let (x, t) = points(4, 2, i as u64);
        for (a, b) in [(0, 1), (1, 2), (2, 3)] {
            let (p, q) = ([x[a], x[4 + a]], [x[b], x[4 + b]]);
            let found = gradient(&kernel, (&p, t[a]), (&q, t[b]));
            for c in 0..2 {
                let along = |s: f64| {
                    let mut p = p;
                    p[c] = s;
                    value(&kernel, (&p, t[a]), (&q, t[b]))
                };
                let expected = slope(along, p[c], 3e-3);
                let error = (found[c] - expected).abs();
                assert!(error < 1e-9 * (1.0 + expected.abs()), "{base:?}: {error:e}");
            }
        }
    }
}

#[test]
fn d20_2_matrices_and_sums_agree() {
    // Points that are no multiple of a block, two outputs; rounding only.
    let kernel = tree(
        Base::Ntk(architecture(Activation::Relu, 2, 0.2)),
        Base::Nngp(architecture(Activation::Gelu, 1, 0.2)),
    );
    let ((x, t), (y, s)) = (points(75, 2, 1), points(41, 2, 2));
    let (a, b) = (kernel.points(&x, &t), kernel.points(&y, &s));
    let mut matrix = vec![0.0; 75 * 41];
    kernel.matrix(&a, &b, &mut matrix);
    let weights: Vec<f64> = (0..82).map(|k| (0.7 * f64::from(k)).sin()).collect();
    let (mut out, mut again) = (vec![f64::NAN; 150], vec![f64::NAN; 150]);
    let mut slopes = vec![f64::NAN; 300];
    kernel.combine(&a, &b, &weights, &mut out);
    kernel.combine_with_gradient(&a, &b, &weights, &mut again, &mut slopes);
    for (o, weights) in weights.chunks(41).enumerate() {
        for i in 0..75 {
            let terms = weights.iter().enumerate();
            let sum: f64 = terms.map(|(j, w)| w * matrix[j * 75 + i]).sum();
            assert!((out[o * 75 + i] - sum).abs() < 1e-12);
            assert!((again[o * 75 + i] - sum).abs() < 1e-12);
            for c in 0..2 {
                let point = ([x[i], x[75 + i]], t[i]);
                let one =
                    |j: usize| gradient(&kernel, (&point.0, point.1), (&[y[j], y[41 + j]], s[j]));
                let sum: f64 = (0..41).map(|j| weights[j] * one(j)[c]).sum();
                assert!((slopes[(o * 2 + c) * 75 + i] - sum).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn d20_2_gram_is_symmetric_and_has_the_diagonal() {
    for base in bases() {
        let kernel = tree(base, Base::Rbf { length: 0.5 });
        let (x, t) = points(70, 2, 3);
        let a = kernel.points(&x, &t);
        let (mut gram, mut matrix) = (vec![f64::NAN; 4900], vec![f64::NAN; 4900]);
        kernel.gram(&a, &mut gram);
        kernel.matrix(&a, &a, &mut matrix);
        let diagonal = kernel.diagonal(&a);
        for i in 0..70 {
            assert_eq!(diagonal[i], gram[i * 70 + i]);
            for j in 0..70 {
                assert_eq!(gram[i * 70 + j], gram[j * 70 + i]);
                assert_eq!(gram[i * 70 + j], matrix[i * 70 + j]);
            }
        }
    }
}

#[test]
fn d20_3_inputs_of_the_time() {
    let at = |time: TimeEmbedding| embedding(1, time).embed(&[0.5], 0.3);
    assert_eq!(at(TimeEmbedding::None), [0.5]);
    assert_eq!(at(TimeEmbedding::Raw), [0.5, 0.3]);
    assert_eq!(at(TimeEmbedding::Log), [0.5, 0.3f64.ln()]);
    let fourier = at(TimeEmbedding::Fourier {
        count: 2,
        period: 2.0,
    });
    let angle = std::f64::consts::PI * 0.3;
    let expected = [
        angle.cos(),
        (2.0 * angle).cos(),
        angle.sin(),
        (2.0 * angle).sin(),
    ];
    for (found, expected) in fourier[1..].iter().zip(expected) {
        assert!((found - expected).abs() < 1e-15);
    }
}

#[test]
fn d20_4_expressions_are_the_kernels_that_they_spell() {
    let of = |text: &str, variables: &[&str], formula: fn(vkernel::symbolic::Expr) -> Formula| {
        Base::Expression(formula(parse(text, variables).unwrap()))
    };
    let rbf = Base::Rbf { length: 0.5 };
    let dot = Base::Dot {
        offset: 0.5,
        power: 2,
    };
    let same = [
        (of("exp(-2*r^2)", &["r"], Formula::Distance), rbf.clone()),
        (of("(s + 1/2)^2", &["s"], Formula::Dot), dot),
        (of("exp(-2*(a - b)^2)", &["a", "b"], Formula::Pair), rbf),
    ];
    for (written, base) in same {
        let kernels = [written, base].map(|base| of_space(1, base));
        for (x, y) in [(0.3, -0.4), (1.1, 1.0), (0.2, 0.2)] {
            let [found, expected] = kernels.each_ref().map(|k| at(k, &[x], &[y]));
            assert!((found - expected).abs() < 1e-14);
            let slopes = kernels
                .each_ref()
                .map(|k| gradient(k, (&[x], 1.0), (&[y], 1.0))[0]);
            assert!((slopes[0] - slopes[1]).abs() < 1e-14);
        }
    }
    // Variation 1 over the steepest slope exp(-1/2)/0.5, on a grid of 2.9 %: second order in its spacing.
    let kernel = of_space(1, of("exp(-2*r^2)", &["r"], Formula::Distance));
    assert!((kernel.length_scale(0) / (0.5 * 0.5_f64.exp()) - 1.0).abs() < 1e-3);
    assert_eq!(kernel.time_scale(), f64::INFINITY);
}

#[test]
fn d20_5_angles_to_rounding() {
    use vkernel::numerics::elementary::{angle, atan_small};
    // A few units in the last place: one each for the square root, the quotient and the polynomial.
    for k in 0..=1000 {
        let exact = f64::from(k) * std::f64::consts::FRAC_PI_2 / 1000.0;
        let (y, x) = exact.sin_cos();
        for sign in [1.0, -1.0] {
            let found = angle(3.0 * sign * y, 3.0 * x, 3.0);
            assert!((found - sign * exact).abs() <= 1e-15 * exact, "{exact}");
        }
        let t = f64::from(k) * std::f64::consts::FRAC_PI_8.tan() / 1000.0;
        assert!((atan_small(t) - t.atan()).abs() <= 3e-16 * t);
    }
    assert!(angle(f64::NAN, 1.0, 1.0).is_nan());
}

#[derive(Deserialize)]
struct Reference {
    inputs: Vec<[f64; 3]>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    activation: Activation,
    depth: usize,
    #[serde(rename = "W_std")]
    weight_std: f64,
    b_std: f64,
    nngp: Vec<Vec<f64>>,
    ntk: Vec<Vec<f64>>,
}

#[test]
fn d20_5_networks_against_an_independent_library() {
    let reference: Reference =
        serde_json::from_str(include_str!("../data/ntk_reference.json")).unwrap();
    for case in &reference.cases {
        let architecture = Architecture {
            depth: case.depth,
            activation: case.activation,
            weight_std: case.weight_std,
            bias_std: case.b_std,
        };
        let kernels = [Base::Nngp(architecture), Base::Ntk(architecture)];
        for (base, expected) in kernels.into_iter().zip([&case.nngp, &case.ntk]) {
            let kinked = matches!(base, Base::Ntk(_)) && case.activation == Activation::Relu;
            let kernel = of_space(3, base);
            for (i, (x, row)) in reference.inputs.iter().zip(expected).enumerate() {
                for (j, (y, expected)) in reference.inputs.iter().zip(row).enumerate() {
                    let found = at(&kernel, x, y);
                    if kinked && i == j {
                        // The library's arc cosine of a ratio rounded below 1 is off by up to 2e-8 there, and its NTK with it.
                        let exact = relu_tangent_diagonal(&architecture, x);
                        assert!((found / exact - 1.0).abs() < 1e-14, "{architecture:?}");
                        assert!((found - expected).abs() < 2.2e-8 * case.depth as f64 * exact);
                    } else {
                        let error = (found - expected).abs();
                        assert!(error < 1e-10, "{architecture:?} {i} {j}: {error:e}");
                    }
                }
            }
        }
    }
}

/// sum over k of c^(depth - k) p_k, c = weight/2: every layer's derivative kernel is c at coinciding points.
fn relu_tangent_diagonal(network: &Architecture, x: &[f64]) -> f64 {
    let (weight, bias) = (network.weight_std.powi(2), network.bias_std.powi(2));
    let mut p = weight / x.len() as f64 * x.iter().map(|x| x * x).sum::<f64>() + bias;
    let mut tangent = p;
    for _ in 0..network.depth {
        p = 0.5 * weight * p + bias;
        tangent = p + 0.5 * weight * tangent;
    }
    tangent
}

/// A smooth activation and its derivative.
fn activation(kind: Activation, z: f64) -> (f64, f64) {
    use statrs::function::erf::{erf, erfc};
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    match kind {
        Activation::Erf => {
            let slope = 2.0 * (-z * z).exp() / std::f64::consts::PI.sqrt();
            (erf(z), slope)
        }
        _ => {
            let below = 0.5 * erfc(-z / std::f64::consts::SQRT_2);
            (z * below, below + z * density)
        }
    }
}

/// E[f(a) f(b)] and E[f'(a) f'(b)] for the covariance (p, q; q, r), by a product rule.
fn moments(kind: Activation, p: f64, q: f64, r: f64) -> (f64, f64) {
    let rule = normal_rule(120);
    let (mut value, mut slope) = (0.0, 0.0);
    for (a, weight_a) in &rule {
        for (b, weight_b) in &rule {
            let first = p.sqrt() * a;
            let second = q / p.sqrt() * a + (r - q * q / p).max(0.0).sqrt() * b;
            let (f, g) = (activation(kind, first), activation(kind, second));
            value += weight_a * weight_b * f.0 * g.0;
            slope += weight_a * weight_b * f.1 * g.1;
        }
    }
    (value, slope)
}

/// NNGP and NTK by the recursion with quadrature in the place of closed forms.
fn by_quadrature(network: &Architecture, x: &[f64], y: &[f64]) -> (f64, f64) {
    let (weight, bias) = (network.weight_std.powi(2), network.bias_std.powi(2));
    let inner = |x: &[f64], y: &[f64]| {
        let sum: f64 = x.iter().zip(y).map(|(x, y)| x * y).sum();
        weight / x.len() as f64 * sum + bias
    };
    let (mut p, mut q, mut r) = (inner(x, x), inner(x, y), inner(y, y));
    let mut tangent = q;
    for _ in 0..network.depth {
        let next = |a: f64, b: f64, c: f64| moments(network.activation, a, b, c);
        let (value, slope) = next(p, q, r);
        let (first, second) = (next(p, p, p).0, next(r, r, r).0);
        tangent = weight * value + bias + tangent * weight * slope;
        (p, q, r) = (
            weight * first + bias,
            weight * value + bias,
            weight * second + bias,
        );
    }
    (q, tangent)
}

/// Pairs of points of the plane, the last one of equal points.
fn pairs() -> [([f64; 2], [f64; 2]); 3] {
    let (x, _) = points(3, 2, 17);
    [(0, 1), (1, 2), (0, 0)].map(|(a, b)| ([x[a], x[3 + a]], [x[b], x[3 + b]]))
}

/// Shallow and deep, with and without biases.
fn networks(activation: Activation) -> [Architecture; 4] {
    [(1, 0.0), (1, 0.5), (2, 0.3), (3, 0.1)]
        .map(|(depth, bias)| architecture(activation, depth, bias))
}

/// Largest distance of the covariances and of the tangent kernels from quadrature.
fn errors(activation: Activation) -> (f64, f64) {
    let mut worst = (0.0_f64, 0.0_f64);
    for network in networks(activation) {
        let kernels = [Base::Nngp(network), Base::Ntk(network)].map(|base| of_space(2, base));
        for (x, y) in pairs() {
            let (nngp, ntk) = by_quadrature(&network, &x, &y);
            worst.0 = worst.0.max((at(&kernels[0], &x, &y) - nngp).abs());
            worst.1 = worst.1.max((at(&kernels[1], &x, &y) - ntk).abs());
        }
    }
    worst
}

#[test]
fn d20_10_erf_networks_by_quadrature() {
    // 120 x 120 nodes: converged to 1e-10; statrs' error function is good to 1e-11.
    let (nngp, ntk) = errors(Activation::Erf);
    assert!(nngp < 1e-9 && ntk < 1e-9, "{nngp:e} {ntk:e}");
}

#[test]
fn d20_11_covariances_of_gelu_networks_by_quadrature() {
    assert!(errors(Activation::Gelu).0 < 1e-9);
}

#[test]
fn d20_12_tangent_kernels_of_gelu_networks_by_quadrature() {
    assert!(errors(Activation::Gelu).1 < 1e-9);
}

#[test]
fn d20_13_gradients_of_smooth_networks_by_differences_of_quadratures() {
    // Errors of the quadrature 1e-10 over steps of 1e-2; truncation f^(7) h^6/140 is smaller.
    for activation in [Activation::Erf, Activation::Gelu] {
        for network in &networks(activation)[1..3] {
            for (x, y) in pairs() {
                for c in 0..2 {
                    let along = |tangent: bool| {
                        let value = |s: f64| {
                            let mut x = x;
                            x[c] = s;
                            let (nngp, ntk) = by_quadrature(network, &x, &y);
                            if tangent { ntk } else { nngp }
                        };
                        slope(value, x[c], 1e-2)
                    };
                    for (base, tangent) in
                        [(Base::Nngp(*network), false), (Base::Ntk(*network), true)]
                    {
                        let found = gradient(&of_space(2, base), (&x, 1.0), (&y, 1.0))[c];
                        let expected = along(tangent);
                        assert!(
                            (found - expected).abs() < 1e-7,
                            "{network:?} {found} {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn d20_6_relu_by_an_integral_over_directions() {
    // One hidden layer without bias: E over the plane in polar coordinates; Gauss-Legendre to rounding.
    for degrees in [0.0, 1e-6, 0.3, 40.0, 90.0, 170.0, 179.999, 180.0] {
        let angle = f64::to_radians(degrees);
        let (x, y) = ([1.4, 0.0], [0.9 * angle.cos(), 0.9 * angle.sin()]);
        let network = architecture(Activation::Relu, 1, 0.0);
        let scale = network.weight_std.powi(2) / 2.0 * 1.4 * 0.9;
        let half = std::f64::consts::FRAC_PI_2;
        let rule = legendre_rule(40, angle - half, half);
        let moment = integrate(&rule, |a| a.cos() * (a - angle).cos()) / std::f64::consts::PI;
        let both = integrate(&rule, |_| 1.0) / (2.0 * std::f64::consts::PI);
        let weight = network.weight_std.powi(2);
        let nngp = at(&of_space(2, Base::Nngp(network)), &x, &y);
        assert!((nngp - weight * scale * moment).abs() < 1e-14);
        let ntk = at(&of_space(2, Base::Ntk(network)), &x, &y);
        let expected = weight * scale * (moment + angle.cos() * both);
        assert!((ntk - expected).abs() < 1e-14, "{degrees}");
    }
}

/// NNGP and NTK of ReLU by arc-cosine kernels as they are usually written (Cho and Saul 2009).
fn arc_cosine(network: &Architecture, x: &[f64], y: &[f64]) -> (f64, f64) {
    use std::f64::consts::PI;
    let (weight, bias) = (network.weight_std.powi(2), network.bias_std.powi(2));
    let inner = |x: &[f64], y: &[f64]| {
        let sum: f64 = x.iter().zip(y).map(|(x, y)| x * y).sum();
        weight / x.len() as f64 * sum + bias
    };
    let (mut p, mut q, mut r) = (inner(x, x), inner(x, y), inner(y, y));
    let mut tangent = q;
    for _ in 0..network.depth {
        let cos = (q / (p * r).sqrt()).clamp(-1.0, 1.0);
        let angle = cos.acos();
        let moment = (p * r).sqrt() * (angle.sin() + (PI - angle) * cos) / (2.0 * PI);
        q = weight * moment + bias;
        tangent = q + tangent * weight * (PI - angle) / (2.0 * PI);
        (p, r) = (weight * p / 2.0 + bias, weight * r / 2.0 + bias);
    }
    (q, tangent)
}

#[test]
fn d20_7_recursion_through_one_minus_cos() {
    // At angles where the arc cosine of a rounded number is good to 1e-14.
    for (depth, bias) in [(1, 0.3), (2, 0.0), (4, 0.2), (9, 0.7)] {
        let network = architecture(Activation::Relu, depth, bias);
        let (x, y) = ([0.9, -0.4, 0.2], [-0.3, 1.4, 0.8]);
        let (nngp, ntk) = arc_cosine(&network, &x, &y);
        let found =
            [Base::Nngp(network), Base::Ntk(network)].map(|base| at(&of_space(3, base), &x, &y));
        assert!((found[0] / nngp - 1.0).abs() < 1e-13, "{network:?}");
        assert!((found[1] / ntk - 1.0).abs() < 1e-13, "{network:?}");
    }
}

#[test]
fn d20_7_small_angles_keep_their_digits() {
    // Depth 2 without bias and equal lengths: NTK(0) - NTK(angle) = 3 c^2 l^2 angle/pi + O(angle^2), c = weight/2;
    // the difference of two rounded numbers has a relative error of 1e-16/angle.
    let network = architecture(Activation::Relu, 2, 0.0);
    let kernel = of_space(2, Base::Ntk(network));
    for angle in [1e-4_f64, 1e-6, 1e-8] {
        let (x, y) = ([1.0, 0.0], [angle.cos(), angle.sin()]);
        let gain = network.weight_std.powi(2) / 2.0;
        let slope = 3.0 * gain.powi(3) / std::f64::consts::PI;
        let loss = (at(&kernel, &x, &x) - at(&kernel, &x, &y)) / angle;
        assert!(
            (loss / slope - 1.0).abs() < 10.0 * angle + 2e-15 / angle,
            "{angle:e}"
        );
    }
}

#[test]
fn d20_8_derivatives_close_to_coinciding_and_opposite_points() {
    // Distances 1e-3 beside steps of 1e-4: truncation (h/distance)^6/140, rounding 1e-15/h.
    for (depth, bias) in [(1, 0.0), (2, 0.4), (3, 0.1)] {
        let kernel = of_space(2, Base::Ntk(architecture(Activation::Relu, depth, bias)));
        let y = [0.8, -0.5];
        for (sign, step) in [
            (1.0, [6e-4, 8e-4]),
            (-1.0, [6e-4, 8e-4]),
            (1.0, [-3e-4, -9e-4]),
        ] {
            let x = [sign * y[0] + step[0], sign * y[1] + step[1]];
            let found = gradient(&kernel, (&x, 1.0), (&y, 1.0));
            for c in 0..2 {
                let along = |s: f64| {
                    let mut x = x;
                    x[c] = s;
                    at(&kernel, &x, &y)
                };
                let expected = slope(along, x[c], 3e-5);
                assert!(
                    (found[c] - expected).abs() < 1e-8,
                    "{} {expected}",
                    found[c]
                );
            }
        }
    }
}

#[test]
fn d20_9_a_kink_has_the_mean_of_its_two_sides() {
    // The mean of the one-sided derivatives is the limit of symmetric differences, here linear in h where |h| h occurs:
    // extrapolated, the error is O(h^2) + 1e-15/h.
    let h = 1e-5;
    let matern = Base::Matern {
        order: Order::Half,
        length: 0.5,
    };
    for base in [
        matern,
        Base::Ntk(architecture(Activation::Relu, 3, 0.3)),
        Base::Ntk(architecture(Activation::Relu, 2, 0.0)),
    ] {
        let kernel = of_space(2, base);
        let x = [0.7, 0.4];
        let found = gradient(&kernel, (&x, 1.0), (&x, 1.0));
        for direction in [[1.0, 0.0], [0.6, -0.8]] {
            let moved = |h: f64| {
                at(
                    &kernel,
                    &[x[0] + h * direction[0], x[1] + h * direction[1]],
                    &x,
                )
            };
            let symmetric = |h: f64| (moved(h) - moved(-h)) / (2.0 * h);
            let expected = 2.0 * symmetric(0.5 * h) - symmetric(h);
            let along = found[0] * direction[0] + found[1] * direction[1];
            assert!((along - expected).abs() < 1e-8, "{along} {expected}");
        }
    }
}

#[test]
fn d20_9_the_origin_of_a_network_without_biases_is_finite() {
    for activation in ACTIVATIONS {
        for base in [
            Base::Nngp(architecture(activation, 3, 0.0)),
            Base::Ntk(architecture(activation, 3, 0.0)),
        ] {
            let kernel = of_space(2, base);
            for (x, y) in [
                ([0.0, 0.0], [0.3, 0.1]),
                ([0.3, 0.1], [0.0, 0.0]),
                ([0.0; 2], [0.0; 2]),
            ] {
                assert!(at(&kernel, &x, &y).abs() < 1e-15);
                assert!(
                    gradient(&kernel, (&x, 1.0), (&y, 1.0))
                        .iter()
                        .all(|g| g.is_finite())
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn d20_14_grams_are_positive_semidefinite(seed in 0u64..1000, first in 0usize..32, second in 0usize..32) {
        // Rounding of the eigenvalues: a few units of the largest; exp(-r^2) cos r is no kernel in the plane and stays out.
        let all: Vec<Base> = bases().into_iter().filter(|b| !matches!(b, Base::Expression(Formula::Distance(_)))).collect();
        let pick = |i: usize| all[i % all.len()].clone();
        let kernel = tree(pick(first), pick(second));
        let (x, t) = points(40, 2, seed);
        let a = kernel.points(&x, &t);
        let mut gram = nalgebra::DMatrix::zeros(40, 40);
        kernel.gram(&a, gram.as_mut_slice());
        let values = gram.symmetric_eigenvalues();
        prop_assert!(values.min() > -1e-13 * values.max() * 40.0, "{}", values.min());
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let kernel = tree(bases()[9].clone(), bases()[0].clone());
    let (x, t) = points(200, 2, 5);
    let a = kernel.points(&x, &t);
    let results = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let (mut gram, mut sums) = (vec![0.0; 40_000], vec![0.0; 200]);
            kernel.gram(&a, &mut gram);
            kernel.combine(&a, &a, &t, &mut sums);
            (gram, sums)
        })
    });
    assert_eq!(results[0], results[1]);
}

#[test]
fn bytes_of_points() {
    // 33 points are two blocks of 32. Three inputs: 3 numbers; ReLU: the bias and three for each of two layers more; erf: the
    // length and the last variance on top.
    let of = |base: Base| of_space(3, base).bytes(33);
    let network = |activation| Base::Ntk(architecture(activation, 2, 0.1));
    assert_eq!(of(Base::Rbf { length: 1.0 }), 64 * 3 * 8);
    assert_eq!(of(network(Activation::Relu)), 64 * 10 * 8);
    assert_eq!(of(network(Activation::Erf)), 64 * 12 * 8);
}

#[test]
fn what_is_no_kernel() {
    let error = |node: Node| {
        let embedding = embedding(2, TimeEmbedding::None);
        Kernel::new(2, embedding, node).unwrap_err()
    };
    let alone = |base: Base| error(leaf(base, Part::Space));
    for length in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-200] {
        assert!(matches!(
            alone(Base::Rbf { length }),
            KernelError::NotPositive { name: "length", .. }
        ));
        let scaled = Node::Scaled(
            length,
            Box::new(leaf(Base::Rbf { length: 1.0 }, Part::Space)),
        );
        assert!(matches!(
            error(scaled),
            KernelError::NotPositive { name: "scale", .. }
        ));
    }
    let network = architecture(Activation::Relu, 0, 0.1);
    assert_eq!(alone(Base::Ntk(network)), KernelError::Depth { depth: 0 });
    let network = architecture(Activation::Relu, 1, -0.1);
    assert!(matches!(
        alone(Base::Nngp(network)),
        KernelError::Negative { .. }
    ));
    assert_eq!(
        alone(Base::Dot {
            offset: 0.0,
            power: 0
        }),
        KernelError::Power { power: 0 }
    );
    assert_eq!(error(Node::Sum(vec![])), KernelError::Empty { kind: "sum" });
    assert_eq!(
        error(Node::Product(vec![])),
        KernelError::Empty { kind: "product" }
    );
    let rbf = Base::Rbf { length: 1.0 };
    assert_eq!(error(leaf(rbf.clone(), Part::Time)), KernelError::NoTime);
    assert_eq!(
        error(leaf(rbf, Part::Coordinate(2))),
        KernelError::Coordinate { index: 2, dim: 2 }
    );
    let pair = parse("a*b", &["a", "b"]).unwrap();
    assert_eq!(
        alone(Base::Expression(Formula::Pair(pair))),
        KernelError::Pair { inputs: 2 }
    );
    let stray = parse("r + q", &["r", "q"]).unwrap();
    assert!(matches!(
        alone(Base::Expression(Formula::Distance(stray))),
        KernelError::Unknown(_)
    ));
}

/// `cargo test --release --test derivations d20_15 -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn d20_15_time_of_a_matrix_of_4096_points() {
    let network = Architecture {
        depth: 3,
        activation: Activation::Relu,
        weight_std: std::f64::consts::SQRT_2,
        bias_std: 0.1,
    };
    let n = 4096;
    let (x, t) = points(n, 2, 9);
    let kernel = |base: Base| {
        Kernel::new(2, embedding(2, TimeEmbedding::Raw), leaf(base, Part::All)).unwrap()
    };
    let weights = vec![1.0; n];
    let kinds = ACTIVATIONS.map(|activation| {
        Base::Ntk(Architecture {
            activation,
            ..network
        })
    });
    for base in kinds.into_iter().chain([Base::Rbf { length: 0.5 }]) {
        let kernel = kernel(base.clone());
        let mut gram = vec![0.0; n * n];
        let (mut out, mut slopes) = (vec![0.0; n], vec![0.0; 2 * n]);
        for _ in 0..3 {
            let seconds = |f: &mut dyn FnMut()| {
                let start = std::time::Instant::now();
                f();
                start.elapsed().as_secs_f64()
            };
            let a = kernel.points(&x, &t);
            let matrix = seconds(&mut || kernel.gram(&kernel.points(&x, &t), &mut gram));
            let sums = seconds(&mut || kernel.combine(&a, &a, &weights, &mut out));
            let gradients = seconds(&mut || {
                kernel.combine_with_gradient(&a, &a, &weights, &mut out, &mut slopes)
            });
            println!(
                "{base:?}: gram {matrix:.3} s, combine {sums:.3} s, with gradient {gradients:.3} s"
            );
        }
    }
}
