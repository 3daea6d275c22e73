//! Networks written out unit by unit, and the kernels of their infinitely wide limits.

use std::f64::consts::{PI, SQRT_2};

use libm::erf;
use nalgebra::DMatrix;
use vkernel::family::kernel::{
    Activation, Architecture, Base, Embedding, Kernel, Node, Part, TimeEmbedding,
};
use vkernel::family::network::{
    Duration, Layer, Network, NetworkTraining, NetworkTrainingError, Optimiser, Parameterisation,
};
use vkernel::monte_carlo::model_rng;
use vkernel::monte_carlo::network::{NetworkTrainer, Samples, TrainedNetwork};
use vkernel::problem::{Data, Objective, Prediction, Problem, Training, Weighting};

use super::common::*;

pub const DESCENT: Optimiser = Optimiser::GradientDescent { rate: None };
pub const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Erf, Activation::Gelu];

pub fn architecture(activation: Activation, depth: usize) -> Architecture {
    Architecture {
        depth,
        activation,
        weight_std: 1.3,
        bias_std: 0.4,
    }
}

/// `dim` coordinates and t.
pub fn embedding(dim: usize) -> Embedding {
    Embedding {
        dim,
        time: TimeEmbedding::Raw,
        scale_inputs: Some(0.8),
    }
}

pub fn network(
    architecture: Architecture,
    (dim, width): (usize, usize),
    parameterisation: Parameterisation,
) -> Network {
    Network::new(
        architecture,
        embedding(dim),
        width,
        parameterisation,
        Prediction::Denoiser,
    )
    .unwrap()
}

pub fn line() -> Problem {
    problem(
        Data::points(&[vec![-1.0], vec![0.0], vec![1.0]], None).unwrap(),
        VP,
        1e-2,
        1.0,
    )
}

pub fn training(samples: usize) -> Training {
    Training {
        objective: Objective::Dsm,
        weighting: Weighting::Sigma2,
        samples,
        draws: 1,
        ridge: 0.0,
        time: None,
    }
}

/// phi(z) and phi'(z).
pub fn phi(activation: Activation, z: f64) -> (f64, f64) {
    match activation {
        Activation::Relu => (z.max(0.0), if z > 0.0 { 1.0 } else { 0.0 }),
        Activation::Erf => (erf(z), 2.0 / PI.sqrt() * (-z * z).exp()),
        Activation::Gelu => {
            let below = 0.5 * (1.0 + erf(z / SQRT_2));
            (z * below, below + z * normal_pdf(z, 0.0, 1.0))
        }
    }
}

/// Values of every layer (h_0 = inputs first, the outputs last), and phi' of the hidden ones, at one point.
pub fn values(network: &Network, w: &[f64], inputs: &[f64]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let (mut all, mut slopes) = (vec![inputs.to_vec()], Vec::new());
    for (l, layer) in network.layers().iter().enumerate() {
        let entering = &all[l];
        let z = (0..layer.outputs).map(|i| {
            let weighted = (0..layer.inputs).map(|j| w[place(layer, i, j)] * entering[j]);
            layer.weight_factor * weighted.sum::<f64>()
                + layer.bias_factor * w[layer.first_bias() + i]
        });
        if l + 1 == network.layers().len() {
            all.push(z.collect());
            break;
        }
        let (h, d) = z.map(|z| phi(network.architecture().activation, z)).unzip();
        all.push(h);
        slopes.push(d);
    }
    (all, slopes)
}

pub fn place(layer: &Layer, i: usize, j: usize) -> usize {
    layer.first + j * layer.outputs + i
}

/// f at one point.
pub fn output(network: &Network, w: &[f64], inputs: &[f64]) -> Vec<f64> {
    values(network, w, inputs).0.pop().unwrap()
}

/// Gradient of sum_o g_o f_o at one point by the chain rule, unit by unit.
pub fn gradient(network: &Network, w: &[f64], inputs: &[f64], g: &[f64]) -> Vec<f64> {
    let (all, slopes) = values(network, w, inputs);
    let mut out = vec![0.0; network.parameters()];
    let mut signal = g.to_vec();
    for (l, layer) in network.layers().iter().enumerate().rev() {
        for i in 0..layer.outputs {
            for j in 0..layer.inputs {
                out[place(layer, i, j)] = layer.weight_factor * signal[i] * all[l][j];
            }
            out[layer.first_bias() + i] = layer.bias_factor * signal[i];
        }
        if l > 0 {
            let below = |j: usize| {
                let sum: f64 = (0..layer.outputs)
                    .map(|i| w[place(layer, i, j)] * signal[i])
                    .sum();
                layer.weight_factor * sum * slopes[l - 1][j]
            };
            signal = (0..layer.inputs).map(below).collect();
        }
    }
    out
}

/// NNGP and NTK of the infinitely wide network of an architecture.
pub fn limits(architecture: Architecture, x: &[f64], t: &[f64]) -> [DMatrix<f64>; 2] {
    [Base::Nngp(architecture), Base::Ntk(architecture)].map(|base| {
        let of = Part::All;
        let kernel = Kernel::new(1, embedding(1), Node::Leaf { base, of }).unwrap();
        let points = kernel.points(x, t);
        let mut matrix = DMatrix::zeros(t.len(), t.len());
        kernel.gram(&points, matrix.as_mut_slice());
        matrix
    })
}

pub fn options(optimiser: Optimiser, steps: usize) -> NetworkTraining {
    NetworkTraining {
        optimiser,
        duration: Duration::Steps(steps),
        relative_loss: None,
        rates: Vec::new(),
        centred: false,
    }
}

pub fn small(parameterisation: Parameterisation) -> Network {
    network(architecture(Activation::Erf, 2), (1, 7), parameterisation)
}

pub fn drawn(network: &Network, samples: usize) -> Samples<f64> {
    Samples::draw(&line(), network, &training(samples), &mut model_rng(5, 0))
}

pub fn train(
    network: &Network,
    options: &NetworkTraining,
    samples: &Samples<f64>,
) -> Result<TrainedNetwork<f64>, NetworkTrainingError> {
    NetworkTrainer::new(network, options, samples.len())?.train(samples, &mut model_rng(6, 0))
}
