//! NNGP and NTK of fully connected networks of infinite width, layer by layer.
//!
//! A network of n inputs sees the vector U = (weight_std/sqrt(n) u, bias_std), whose inner products are the covariances of the
//! first layer (D20.5). It is kept as its length and its direction: angles between directions come from the differences
//! and sums of unit vectors, exact to rounding for nearly equal and opposite points.

mod relu;
mod smooth;

use super::lanes::{BLOCK, Lane, Pairs, Slot, Table};
use super::leaf_points::{LeafPoints, components};
use super::{Activation, Architecture};
use smooth::{Erf, Gelu};

/// A network's kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Network {
    depth: usize,
    activation: Activation,
    /// Variance of the weights, weight_std^2.
    weight: f64,
    /// Variance of the biases.
    bias: f64,
    /// weight_std/sqrt(n): derivative of U with respect to u.
    first: f64,
    /// The tangent kernel, or else the covariance.
    tangent: bool,
}

/// The first covariances of a block of pairs, with unit vectors.
struct Start {
    /// 1 - cos of the angle between U and V.
    less: Lane,
    /// |sum of the unit vectors|^2/2, which is 1 + cos.
    more: Lane,
}

impl Network {
    /// Of `inputs` inputs.
    pub(super) fn new(architecture: &Architecture, inputs: usize, tangent: bool) -> Self {
        Self {
            depth: architecture.depth,
            activation: architecture.activation,
            weight: architecture.weight_std.powi(2),
            bias: architecture.bias_std.powi(2),
            first: architecture.weight_std / (inputs as f64).sqrt(),
            tangent,
        }
    }

    /// Numbers kept per point of `inputs` inputs: the unit vector and three per hidden layer, for smooth activations the length
    /// and the last variance too.
    pub(super) fn numbers(&self, inputs: usize) -> usize {
        let ends = if self.activation == Activation::Relu {
            0
        } else {
            2
        };
        inputs + usize::from(self.bias > 0.0) + 3 * self.depth + ends
    }

    /// Unit vectors (`raw`: the inputs), the lengths of U as the first table, and the tables of the layers.
    pub(super) fn points(&self, n: usize, raw: &[impl Fn(usize) -> f64]) -> LeafPoints {
        let component = |c: usize, i: usize| self.first * raw[c](i);
        let length = |i: usize| {
            let squares = (0..raw.len()).map(|c| component(c, i).powi(2));
            (squares.sum::<f64>() + self.bias).sqrt()
        };
        let lengths: Vec<f64> = (0..n).map(length).collect();
        // At the origin without biases there is no direction.
        let unit = |part: f64, i: usize| {
            if lengths[i] > 0.0 {
                part / lengths[i]
            } else {
                0.0 * part
            }
        };
        let mut vectors: Vec<Table> = (0..raw.len())
            .map(|c| Table::new(n, |i| unit(component(c, i), i)))
            .collect();
        if self.bias > 0.0 {
            vectors.push(Table::new(n, |i| unit(self.bias.sqrt(), i)));
        }
        let tables = match self.activation {
            Activation::Relu => self.relu_tables(&lengths),
            Activation::Erf => self.smooth_tables::<Erf>(&lengths),
            Activation::Gelu => self.smooth_tables::<Gelu>(&lengths),
        };
        LeafPoints { vectors, tables }
    }

    #[inline(always)]
    pub(super) fn evaluate<const SLOPES: bool>(
        &self,
        index: usize,
        pairs: &Pairs,
        slot: &mut Slot,
    ) {
        let start = start(index, pairs);
        match self.activation {
            Activation::Relu => self.relu::<SLOPES>(index, pairs, &start, slot),
            Activation::Erf => self.smooth::<Erf, SLOPES>(index, pairs, &start, slot),
            Activation::Gelu => self.smooth::<Gelu, SLOPES>(index, pairs, &start, slot),
        }
    }
}

#[inline(always)]
fn start(index: usize, pairs: &Pairs) -> Start {
    let (mut less, mut more) = (Lane::ZERO, Lane::ZERO);
    components(index, pairs, |u, v| {
        for k in 0..BLOCK {
            let (difference, sum) = (u[k] - v, u[k] + v);
            less.0[k] = difference.mul_add(difference, less.0[k]);
            more.0[k] = sum.mul_add(sum, more.0[k]);
        }
    });
    for k in 0..BLOCK {
        less.0[k] *= 0.5;
        more.0[k] *= 0.5;
    }
    Start { less, more }
}
