//! derivations/21-networks.md.

use nalgebra::DMatrix;
use rand::RngExt;
use rand_distr::StandardNormal;
use vkernel::family::Denoiser;
use vkernel::family::kernel::{Activation, Architecture, Embedding, TimeEmbedding};
use vkernel::family::network::{
    LayerRate, Network, NetworkDenoiser, NetworkError, Parameterisation, Pass, WIDEST, nngp,
    tangent_kernel,
};
use vkernel::monte_carlo::model_rng;
use vkernel::numerics::error_function::{erf_and_gauss, erf_and_gauss_single};
use vkernel::problem::Prediction;

use super::common::*;
use super::networks::*;

const BOTH: [Parameterisation; 2] = [Parameterisation::Ntk, Parameterisation::Standard];

fn normals(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = model_rng(seed, 99);
    (0..count).map(|_| rng.sample(StandardNormal)).collect()
}

/// Networks of several shapes with parameters and inputs (columns) of five points.
fn examples() -> Vec<(Network, Vec<f64>, Vec<f64>)> {
    let mut all = Vec::new();
    for activation in ACTIVATIONS {
        for (depth, dim, width) in [(1, 1, 5), (2, 2, 9), (3, 1, 4)] {
            for parameterisation in BOTH {
                let network = network(
                    architecture(activation, depth),
                    (dim, width),
                    parameterisation,
                );
                let mut w = Vec::new();
                network.initialise(&mut model_rng(3, depth as u64), &mut w);
                let inputs = network.embed(&normals(5 * dim, 4), &[0.1, 0.3, 0.5, 0.7, 0.9]);
                all.push((network, w, inputs));
            }
        }
    }
    all
}

/// The two are sums of at most some hundred terms in another order, and differ by the error function's 1e-15.
#[test]
fn d21_1_backpropagation_is_the_chain_rule_unit_by_unit() {
    for (network, w, inputs) in examples() {
        let (n, dim) = (5, network.outputs());
        let mut pass = Pass::new(&network, n);
        let values = pass.forward(&network, &w, &inputs).to_vec();
        let g = normals(n * dim, 5);
        let mut fast = vec![f64::NAN; network.parameters()];
        pass.backward(&network, &w, &inputs, &g, &mut fast);
        let mut slow = vec![0.0; network.parameters()];
        for p in 0..n {
            let inputs = &inputs[p * network.inputs()..(p + 1) * network.inputs()];
            let f = output(&network, &w, inputs);
            for (o, f) in f.iter().enumerate() {
                close(values[p * dim + o], *f, 1e-13, "output");
            }
            let own = gradient(&network, &w, inputs, &g[p * dim..(p + 1) * dim]);
            slow.iter_mut().zip(own).for_each(|(s, o)| *s += o);
        }
        for (a, b) in fast.iter().zip(&slow) {
            close(*a, *b, 1e-13, "gradient");
        }
    }
}

#[test]
fn d21_1_gradient_is_the_derivative_of_the_output() {
    for (network, w, inputs) in examples() {
        // A kink between the points of a difference spoils it.
        if network.architecture().activation == Activation::Relu {
            continue;
        }
        let n = 5;
        let g = normals(n * network.outputs(), 5);
        let loss = |w: &[f64]| -> f64 {
            let mut pass = Pass::new(&network, n);
            let f = pass.forward(&network, w, &inputs);
            f.iter().zip(&g).map(|(f, g)| f * g).sum()
        };
        let mut pass = Pass::new(&network, n);
        pass.forward(&network, &w, &inputs);
        let mut exact = vec![0.0; network.parameters()];
        pass.backward(&network, &w, &inputs, &g, &mut exact);
        for (i, exact) in exact.iter().enumerate() {
            let moved = |v: f64| {
                let mut w = w.clone();
                w[i] = v;
                loss(&w)
            };
            // Truncation f^(7) h^6/140 ~ 1e-12 times the seventh derivative, rounding 1e-15/h.
            close(slope(moved, w[i], 1e-2), *exact, 1e-9, "difference");
        }
    }
}

/// g.(J u) = (J^T g).u.
#[test]
fn d21_1_forward_and_backward_derivatives_are_transposed() {
    for (network, w, inputs) in examples() {
        let mut pass = Pass::new(&network, 5);
        pass.forward(&network, &w, &inputs);
        let (g, u) = (
            normals(5 * network.outputs(), 6),
            normals(network.parameters(), 7),
        );
        let mut gradient = vec![0.0; network.parameters()];
        pass.backward(&network, &w, &inputs, &g, &mut gradient);
        let forward = pass.along_parameters(&network, &w, &inputs, &u);
        let left: f64 = forward.iter().zip(&g).map(|(a, b)| a * b).sum();
        let right: f64 = gradient.iter().zip(&u).map(|(a, b)| a * b).sum();
        close(left, right, 1e-12, "adjoint");
    }
}

#[test]
fn d21_1_activations_have_the_error_function_to_rounding() {
    let (mut double, mut single) = (0.0_f64, 0.0_f64);
    for k in -80_000..=80_000 {
        let x = f64::from(k) * 1e-4;
        let (value, gauss) = erf_and_gauss(x);
        double = double.max((value - libm::erf(x)).abs());
        double = double.max((gauss - (-x * x).exp()).abs());
        let rounded = f64::from(x as f32);
        let (value, gauss) = erf_and_gauss_single(x as f32);
        single = single.max((f64::from(value) - libm::erf(rounded)).abs());
        single = single.max((f64::from(gauss) - (-rounded * rounded).exp()).abs());
    }
    assert!(double <= 1e-15, "{double:e}");
    assert!(single <= 3e-7, "{single:e}");
    for x in [30.0, 1e300] {
        assert_eq!(erf_and_gauss(x).0, 1.0);
        assert_eq!(erf_and_gauss(-x).0, -1.0);
        assert!(erf_and_gauss(x).1 <= 1e-300);
    }
    for x in [12.0_f32, 1e18] {
        assert_eq!(erf_and_gauss_single(-x), (-1.0, 0.0));
    }
    assert!(erf_and_gauss(f64::NAN).0.is_nan() && erf_and_gauss_single(f32::NAN).0.is_nan());
}

#[test]
fn d21_2_parameterisations_start_from_one_function() {
    for activation in ACTIVATIONS {
        let mut values = Vec::new();
        for parameterisation in BOTH {
            let network = network(architecture(activation, 3), (2, 16), parameterisation);
            let mut w = Vec::new();
            network.initialise(&mut model_rng(1, 1), &mut w);
            let inputs = network.embed(&normals(14, 4), &[0.1; 7]);
            let mut pass = Pass::new(&network, 7);
            values.push(pass.forward(&network, &w, &inputs).to_vec());
        }
        for (a, b) in values[0].iter().zip(&values[1]) {
            close(*a, *b, 1e-13, "output");
        }
    }
}

/// Draws made in double precision: single precision is the same network, to its rounding through three layers.
#[test]
fn d21_2_precisions_start_from_one_function() {
    for activation in ACTIVATIONS {
        let network = network(architecture(activation, 3), (1, 64), Parameterisation::Ntk);
        let (mut w, mut v) = (Vec::<f64>::new(), Vec::<f32>::new());
        network.initialise(&mut model_rng(1, 1), &mut w);
        network.initialise(&mut model_rng(1, 1), &mut v);
        let (x, t) = (normals(9, 4), [0.3; 9]);
        let (a, b) = (network.embed(&x, &t), network.embed(&x, &t));
        let (mut double, mut single) = (Pass::new(&network, 9), Pass::new(&network, 9));
        let single = single.forward(&network, &v, &b);
        for (a, b) in double.forward(&network, &w, &a).iter().zip(single) {
            close(f64::from(*b), *a, 1e-5, "output");
        }
    }
}

#[test]
fn d21_1_slope_in_x_is_the_derivative_of_the_denoiser() {
    for activation in [Activation::Erf, Activation::Gelu] {
        for predicts in [Prediction::Denoiser, Prediction::Score, Prediction::Noise] {
            let network = Network::new(
                architecture(activation, 2),
                embedding(1),
                12,
                Parameterisation::Ntk,
                predicts,
            )
            .unwrap();
            let (mut start, mut w) = (Vec::new(), Vec::new());
            network.initialise(&mut model_rng(8, 0), &mut start);
            network.initialise(&mut model_rng(8, 1), &mut w);
            for initial in [None, Some(&start[..])] {
                let model = NetworkDenoiser {
                    network: &network,
                    diffusion: &VP,
                    parameters: &w,
                    initial,
                };
                // More points than one chunk.
                let x: Vec<f64> = (0..300)
                    .map(|k| -2.0 + 4.0 * f64::from(k) / 299.0)
                    .collect();
                let (mut d, mut s) = (vec![0.0; 300], vec![0.0; 300]);
                model.denoise_with_slope(0.4, &x, &mut d, &mut s);
                let at = |x: f64| {
                    let mut out = [0.0];
                    model.denoise(0.4, &[x], &mut out);
                    out[0]
                };
                let written = |x: f64| {
                    let f = |w| output(&network, w, &network.embed(&[x], &[0.4]))[0];
                    let r = predicts.regression(&VP, 0.4);
                    (f(&w) - initial.map_or(0.0, f) - r.q * x) / r.p
                };
                for k in (0..300).step_by(23) {
                    close(d[k], written(x[k]), 1e-12, "value");
                    close(s[k], slope(at, x[k], 1e-2), 1e-9, "slope");
                }
            }
        }
    }
}

/// In the plane, coordinate-major.
#[test]
fn d21_1_denoiser_of_the_plane_is_the_network_point_by_point() {
    let network = network(
        architecture(Activation::Relu, 2),
        (2, 10),
        Parameterisation::Standard,
    );
    let mut w = Vec::new();
    network.initialise(&mut model_rng(8, 1), &mut w);
    let model = NetworkDenoiser {
        network: &network,
        diffusion: &VP,
        parameters: &w,
        initial: None,
    };
    let n = 200;
    let x = normals(2 * n, 3);
    let mut d = vec![0.0; 2 * n];
    model.denoise(0.2, &x, &mut d);
    for k in 0..n {
        let inputs = network.embed(&[x[k], x[n + k]], &[0.2]);
        let f = output(&network, &w, &inputs);
        close(d[k], f[0], 1e-12, "first coordinate");
        close(d[n + k], f[1], 1e-12, "second coordinate");
    }
}

/// K = J R J^T with J row by row from the chain rule.
#[test]
fn d21_4_tangent_kernel_is_made_of_layers() {
    for (network, w, inputs) in examples() {
        let (dim, per) = (network.outputs(), network.inputs());
        let rates: Vec<LayerRate> = (0..network.layers().len())
            .map(|l| LayerRate {
                weights: 0.5 + l as f64,
                biases: 2.0 / (1.0 + l as f64),
            })
            .collect();
        let rows = |range: std::ops::Range<usize>, rates: &[LayerRate]| {
            let n = range.len();
            let mut rows = DMatrix::zeros(dim * n, network.parameters());
            for (k, p) in range.enumerate() {
                for o in 0..dim {
                    let mut g = vec![0.0; dim];
                    g[o] = 1.0;
                    let row = gradient(&network, &w, &inputs[p * per..(p + 1) * per], &g);
                    for (l, layer) in network.layers().iter().enumerate() {
                        for i in layer.first..layer.end() {
                            let rate = match i < layer.first_bias() {
                                true => rates[l].weights,
                                false => rates[l].biases,
                            };
                            rows[(o * n + k, i)] = rate.sqrt() * row[i];
                        }
                    }
                }
            }
            rows
        };
        let ones = vec![LayerRate::ONE; rates.len()];
        for (given, rates) in [(&rates[..], &rates), (&[][..], &ones)] {
            let kernel = tangent_kernel(&network, &w, given, &inputs[..2 * per], &inputs);
            let slow = rows(0..2, rates) * rows(0..5, rates).transpose();
            for (a, b) in kernel.iter().zip(slow.iter()) {
                close(*a, *b, 1e-12, "kernel");
            }
        }
    }
}

/// Relative distances of the kernels of random networks from their limits, root mean square over the seeds.
fn distances(architecture: Architecture, width: usize, seeds: u64) -> (f64, f64) {
    let network = network(architecture, (1, width), Parameterisation::Ntk);
    let (x, t) = ([-1.2, -0.4, 0.1, 0.8, 1.5], [0.2, 0.9, 0.5, 0.1, 0.7]);
    let inputs = network.embed::<f64>(&x, &t);
    let [limit, tangent_limit] = limits(architecture, &x, &t);
    let (mut gaussian, mut tangent) = (0.0, 0.0);
    for seed in 0..seeds {
        let mut w = Vec::new();
        network.initialise(&mut model_rng(21, seed), &mut w);
        let k = nngp(&network, &w, &inputs, &inputs);
        gaussian += (k - &limit).norm_squared() / limit.norm_squared();
        let k = tangent_kernel(&network, &w, &[], &inputs, &inputs);
        tangent += (k - &tangent_limit).norm_squared() / tangent_limit.norm_squared();
    }
    let mean = |sum: f64| (sum / seeds as f64).sqrt();
    (mean(gaussian), mean(tangent))
}

#[test]
fn d21_4_kernels_at_initialisation_approach_their_limits_as_the_root_of_the_width() {
    for (activation, depth) in [
        (Activation::Relu, 1),
        (Activation::Relu, 2),
        (Activation::Erf, 2),
        (Activation::Gelu, 2),
    ] {
        let (mut gaussian, mut tangent) = (Vec::new(), Vec::new());
        for width in [32, 64, 128, 256, 512] {
            let (a, b) = distances(architecture(activation, depth), width, 24);
            gaussian.push((width as f64, a));
            tangent.push((width as f64, b));
        }
        for (name, errors) in [("NNGP", gaussian), ("NTK", tangent)] {
            let slope = log_slope(&errors);
            println!("{activation:?} depth {depth} {name}: slope {slope:.3}, {errors:.4?}");
            assert!(
                (slope + 0.5).abs() <= 0.1,
                "{activation:?} {depth} {name}: {slope}"
            );
        }
    }
}

#[test]
fn d21_1_networks_that_cannot_be_are_refused() {
    let good = architecture(Activation::Relu, 2);
    let make = |architecture: Architecture, width| {
        let (ntk, predicts) = (Parameterisation::Ntk, Prediction::Denoiser);
        let network = Network::new(architecture, embedding(3), width, ntk, predicts);
        network.map(|n| n.parameters())
    };
    // 4 -> 7 -> 7 -> 3 with biases.
    assert_eq!(make(good, 7), Ok(4 * 7 + 7 + 7 * 7 + 7 + 7 * 3 + 3));
    for width in [0, WIDEST + 1, usize::MAX] {
        let words = format!("the network's width is {width}; it must be 1 to 131072");
        assert_eq!(make(good, width).unwrap_err().to_string(), words);
    }
    for (depth, weight_std, bias_std) in [
        (0, 1.0, 0.1),
        (usize::MAX, 1.0, 0.1),
        (1, 0.0, 0.1),
        (1, f64::NAN, 0.1),
        (1, 1.0, -0.5),
        (1, 1.0, f64::INFINITY),
    ] {
        let wrong = Architecture {
            depth,
            weight_std,
            bias_std,
            ..good
        };
        assert!(matches!(make(wrong, 4), Err(NetworkError::Architecture(_))));
    }
    let timeless = Embedding {
        time: TimeEmbedding::Fourier {
            count: 2,
            period: 0.0,
        },
        ..embedding(1)
    };
    let network = Network::new(
        good,
        timeless,
        4,
        Parameterisation::Ntk,
        Prediction::Denoiser,
    );
    assert!(matches!(network, Err(NetworkError::Architecture(_))));
}
