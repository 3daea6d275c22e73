//! How lazy a trained network is: what its tangent kernel has moved by, and how far its output is from that of the network
//! linearised around its initial parameters.

use nalgebra::{DMatrix, DVector};

use thiserror::Error;

use super::samples::Samples;
use super::trainer::TrainedNetwork;
use crate::family::network::{
    LayerRate, Network, NetworkTraining, Optimiser, Pass, Real, tangent_kernel,
};
use crate::numerics::linalg::{self, LinalgError};

/// Distance of one trained network from the lazy limit, at given points.
#[derive(Debug, Clone, PartialEq)]
pub struct Laziness {
    /// |K_end - K_0|/|K_0| of the tangent kernel at the points, Frobenius norms.
    pub kernel_drift: f64,
    /// Root mean square of f - f_lin over the points, relative to that of f_lin - f_0.
    pub output_deviation: f64,
    /// Outputs at the points, D x n: of the trained network, and of its linearisation after the same flow time.
    pub trained: Vec<f64>,
    pub linearised: Vec<f64>,
}

/// Why laziness cannot be told.
#[derive(Debug, Error, Clone, Copy, PartialEq)]
pub enum LazinessError {
    #[error("the linearised network follows gradient descent, not Adam")]
    Adam,
    #[error(transparent)]
    Linalg(#[from] LinalgError),
}

/// Compares a trained network with its own linearisation, trained on the same samples: by the same number of steps where these
/// were of gradient descent, by gradient flow of the same time after SGD. At points given by their inputs (inputs x n), in
/// double precision, whatever the network was trained in. Holds two kernels of D n x D n and one of D P x D P numbers, and factors
/// the latter.
pub fn laziness<T: Real>(
    network: &Network,
    options: &NetworkTraining,
    samples: &Samples<T>,
    trained: &TrainedNetwork<T>,
    points: &[f64],
) -> Result<Laziness, LazinessError> {
    let steps = match options.optimiser {
        Optimiser::GradientDescent { .. } => Some(trained.steps),
        Optimiser::Sgd { .. } => None,
        Optimiser::Adam { .. } => return Err(LazinessError::Adam),
    };
    let double = |values: &[T]| values.iter().map(|v| v.to_f64()).collect::<Vec<f64>>();
    let (initial, parameters) = (double(&trained.initial), double(&trained.parameters));
    let rates = &options.rates;
    let start = tangent_kernel(network, &initial, rates, points, points);
    let end = tangent_kernel(network, &parameters, rates, points, points);
    let mut samples = samples.to_double();
    if options.centred {
        let f0 = outputs(network, &initial, &samples.inputs);
        samples
            .targets
            .iter_mut()
            .zip(f0)
            .for_each(|(y, f)| *y += f);
    }
    let tau = trained.rate * trained.steps as f64;
    let linearised = linearised(network, rates, &initial, &samples, (tau, steps), points)?;
    let trained = outputs(network, &parameters, points);
    let f0 = outputs(network, &initial, points);
    let distance = |a: &[f64], b: &[f64]| -> f64 {
        let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    Ok(Laziness {
        kernel_drift: (&end - &start).norm() / start.norm(),
        output_deviation: distance(&trained, &linearised) / distance(&linearised, &f0),
        trained,
        linearised,
    })
}

fn outputs(network: &Network, parameters: &[f64], inputs: &[f64]) -> Vec<f64> {
    let mut pass = Pass::new(network, inputs.len() / network.inputs());
    pass.forward(network, parameters, inputs).to_vec()
}

/// Outputs (D x n) at points (inputs x n) of the network linearised around its initial parameters, after gradient flow for
/// the time tau, or gradient descent in a number of equal steps (D21.6):
/// f_0(z) - (1/P) K(z,Z) Lambda^(1/2) [(1 - e^(-S tau))/S] Lambda^(1/2) (f_0(Z) - y) with S = Lambda^(1/2) K Lambda^(1/2)/P,
/// in its eigenvectors.
pub fn linearised(
    network: &Network,
    rates: &[LayerRate],
    initial: &[f64],
    samples: &Samples<f64>,
    (tau, steps): (f64, Option<usize>),
    points: &[f64],
) -> Result<Vec<f64>, LinalgError> {
    let (count, dim) = (samples.len(), network.outputs());
    let scale = 1.0 / count as f64;
    // Index o P + p, as the tangent kernel has it.
    let roots: Vec<f64> = samples.weights.iter().map(|w| w.sqrt()).collect();
    let roots = DVector::from_vec(roots.repeat(dim));
    let f0 = outputs(network, initial, &samples.inputs);
    let residual = DVector::from_fn(count * dim, |i, _| {
        let place = i % count * dim + i / count;
        roots[i] * (f0[place] - samples.targets[place])
    });
    let kernel = tangent_kernel(network, initial, rates, &samples.inputs, &samples.inputs);
    let curvature = DMatrix::from_fn(count * dim, count * dim, |i, j| {
        scale * roots[i] * roots[j] * kernel[(i, j)]
    });
    let (values, vectors) = linalg::symmetric_eigen(&curvature)?;
    let mut modes = vectors.tr_mul(&residual);
    for (m, s) in modes.iter_mut().zip(&values) {
        *m *= elapsed(*s, tau, steps) * scale;
    }
    let dual = (&vectors * modes).component_mul(&roots);
    let across = tangent_kernel(network, initial, rates, points, &samples.inputs);
    let change = across * dual;
    let mut values = outputs(network, initial, points);
    let n = points.len() / network.inputs();
    for (place, f) in values.iter_mut().enumerate() {
        *f -= change[place % dim * n + place / dim];
    }
    Ok(values)
}

/// (1 - e^(-s tau))/s, or (1 - (1 - s tau/n)^n)/s of n steps; tau where s vanishes.
fn elapsed(s: f64, tau: f64, steps: Option<usize>) -> f64 {
    if s <= 0.0 || tau == 0.0 {
        return tau;
    }
    match steps {
        None => -(-s * tau).exp_m1() / s,
        Some(n) => {
            let factor = 1.0 - s * tau / n as f64;
            let kept = factor.abs().powf(n as f64);
            let sign = if factor < 0.0 && n % 2 == 1 {
                -1.0
            } else {
                1.0
            };
            (1.0 - sign * kept) / s
        }
    }
}
