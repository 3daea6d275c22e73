//! Fully connected networks of finite width: the models whose limit of infinite width the kernels of
//! [`super::kernel`] are (derivations/21-networks.md).
//!
//! Parameters are one vector, layer after layer, the weights of a layer (outputs x inputs, column-major) before its biases.
//! Values at n points are matrices of one column per point.

mod denoiser;
mod elementwise;
mod pass;
mod protocol;
mod real;
mod tangent_kernel;

pub use denoiser::NetworkDenoiser;
pub use pass::Pass;
pub use protocol::{Duration, NetworkTraining, NetworkTrainingError, Optimiser};
pub use real::{Precision, Real};
pub use tangent_kernel::{LayerRate, nngp, tangent_kernel};

use faer::MatRef;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::kernel::{Architecture, Embedding, KernelError};
use crate::problem::Prediction;

/// Where the scale of a layer's weights stands. At initialisation both give the same function; gradient descent moves them at
/// different rates (D21.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parameterisation {
    /// z = W_std/sqrt(fan_in) w h + b_std b, w and b standard normal at the start.
    Ntk,
    /// z = w h + b, with w ~ N(0, W_std^2/fan_in) and b ~ N(0, b_std^2) at the start.
    Standard,
}

/// A network that cannot be.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum NetworkError {
    #[error(transparent)]
    Architecture(#[from] KernelError),
    #[error("the network's width is {width}; it must be 1 to {WIDEST}")]
    Width { width: usize },
}

/// More units than this in a layer are refused: their weights would take 128 GiB and more.
pub const WIDEST: usize = 1 << 17;

/// A fully connected network f(x, t) of `depth` hidden layers of equal width.
#[derive(Debug, Clone)]
pub struct Network {
    architecture: Architecture,
    embedding: Embedding,
    width: usize,
    parameterisation: Parameterisation,
    predicts: Prediction,
    layers: Vec<Layer>,
}

/// One affine layer: z = weight_factor w h + bias_factor b.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    /// Place of the first weight in the vector of parameters.
    pub first: usize,
    pub weight_factor: f64,
    pub bias_factor: f64,
    /// Standard deviations at initialisation.
    weight_std: f64,
    bias_std: f64,
}

impl Layer {
    /// Place of the first bias.
    pub fn first_bias(&self) -> usize {
        self.first + self.inputs * self.outputs
    }

    /// One past the last parameter.
    pub fn end(&self) -> usize {
        self.first_bias() + self.outputs
    }

    /// Weights, outputs x inputs.
    pub fn weights<'a, T>(&self, parameters: &'a [T]) -> MatRef<'a, T> {
        let weights = &parameters[self.first..self.first_bias()];
        MatRef::from_column_major_slice(weights, self.outputs, self.inputs)
    }

    /// Biases.
    pub fn biases<'a, T>(&self, parameters: &'a [T]) -> &'a [T] {
        &parameters[self.first_bias()..self.end()]
    }
}

impl Network {
    /// A network of D outputs, D the number of coordinates of the embedding.
    pub fn new(
        architecture: Architecture,
        embedding: Embedding,
        width: usize,
        parameterisation: Parameterisation,
        predicts: Prediction,
    ) -> Result<Self, NetworkError> {
        architecture.check()?;
        embedding.check(embedding.dim)?;
        if !(1..=WIDEST).contains(&width) {
            return Err(NetworkError::Width { width });
        }
        let (inputs, outputs) = (embedding.inputs(), embedding.dim);
        let mut layers = Vec::with_capacity(architecture.depth + 1);
        let mut first = 0;
        for l in 0..=architecture.depth {
            let fan_in = if l == 0 { inputs } else { width };
            let fan_out = if l == architecture.depth {
                outputs
            } else {
                width
            };
            let scales = (
                architecture.weight_std / (fan_in as f64).sqrt(),
                architecture.bias_std,
            );
            let (factors, stds) = match parameterisation {
                Parameterisation::Ntk => (scales, (1.0, 1.0)),
                Parameterisation::Standard => ((1.0, 1.0), scales),
            };
            let layer = Layer {
                inputs: fan_in,
                outputs: fan_out,
                first,
                weight_factor: factors.0,
                bias_factor: factors.1,
                weight_std: stds.0,
                bias_std: stds.1,
            };
            first = layer.end();
            layers.push(layer);
        }
        Ok(Self {
            architecture,
            embedding,
            width,
            parameterisation,
            predicts,
            layers,
        })
    }

    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    pub fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    /// Units of every hidden layer.
    pub fn width(&self) -> usize {
        self.width
    }

    pub fn parameterisation(&self) -> Parameterisation {
        self.parameterisation
    }

    /// Numbers that the first layer sees.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// D.
    pub fn outputs(&self) -> usize {
        self.embedding.dim
    }

    /// What f stands for.
    pub fn predicts(&self) -> Prediction {
        self.predicts
    }

    /// Layers from the inputs on, `depth` + 1 of them.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.layers.last().map_or(0, Layer::end)
    }

    /// Random parameters. Drawn in double precision, so that both precisions start from the same network to rounding, and
    /// from standard normal numbers in a fixed order, so that both parameterisations start from the same function.
    pub fn initialise<T: Real, R: Rng + ?Sized>(&self, rng: &mut R, parameters: &mut Vec<T>) {
        parameters.clear();
        parameters.reserve(self.parameters());
        let mut normal = |std: f64| {
            let z: f64 = StandardNormal.sample(rng);
            T::from_f64(std * z)
        };
        for layer in &self.layers {
            let weights = layer.inputs * layer.outputs;
            parameters.extend((0..weights).map(|_| normal(layer.weight_std)));
            parameters.extend((0..layer.outputs).map(|_| normal(layer.bias_std)));
        }
    }

    /// Inputs of n points as columns, inputs x n. `x` is coordinate-major: coordinate i of point k is `x[i * n + k]`.
    pub fn embed<T: Real>(&self, x: &[f64], t: &[f64]) -> Vec<T> {
        let (n, dim) = (t.len(), self.embedding.dim);
        let mut point = vec![0.0; dim];
        let mut columns = Vec::with_capacity(n * self.inputs());
        for (k, t) in t.iter().enumerate() {
            for (i, v) in point.iter_mut().enumerate() {
                *v = x[i * n + k];
            }
            columns.extend(
                self.embedding
                    .embed(&point, *t)
                    .into_iter()
                    .map(T::from_f64),
            );
        }
        columns
    }

    /// Rates at which the inputs of n points move with coordinate i, inputs x n.
    pub fn rates_along<T: Real>(&self, i: usize, n: usize) -> Vec<T> {
        let mut column = vec![T::zero(); self.inputs()];
        column[i] = T::from_f64(self.embedding.scale());
        column.repeat(n)
    }
}
