//! Values and derivatives of a network at many points at once, by matrix products.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::elementwise::{activate, scale_by, sum_columns};
use super::{Layer, Network, Real};

/// Memory of one thread for networks of one shape at up to a number of points, and the state of the last
/// [`Pass::forward`]: derivatives are taken at its points and parameters.
#[derive(Debug)]
pub struct Pass<T> {
    points: usize,
    /// h_l of every hidden layer, width x points.
    hidden: Vec<Vec<T>>,
    /// phi'(z_l).
    slopes: Vec<Vec<T>>,
    outputs: Vec<T>,
    /// Derivatives on their way through the layers: of one layer, and of the next.
    current: Vec<T>,
    next: Vec<T>,
}

/// A layer as [`Pass::propagate`] shows it.
pub(super) struct Visited<'a, T> {
    pub layer: &'a Layer,
    /// Derivative of the loss with respect to z of this layer, outputs x points.
    pub signal: &'a [T],
    /// What enters this layer, inputs x points.
    pub entering: &'a [T],
}

impl<T: Real> Pass<T> {
    /// Memory for at most `points` points.
    pub fn new(network: &Network, points: usize) -> Self {
        let (depth, width) = (network.architecture().depth, network.width());
        let hidden = || vec![vec![T::default(); width * points]; depth];
        let widest = width.max(network.outputs()) * points;
        Self {
            points: 0,
            hidden: hidden(),
            slopes: hidden(),
            outputs: vec![T::default(); network.outputs() * points],
            current: vec![T::default(); widest],
            next: vec![T::default(); widest],
        }
    }

    /// Numbers that [`Pass::new`] allocates.
    pub fn numbers(network: &Network, points: usize) -> usize {
        let (depth, width) = (network.architecture().depth, network.width());
        let widest = width.max(network.outputs());
        points * (2 * depth * width + network.outputs() + 2 * widest)
    }

    /// Outputs (D x n) at n points given by their inputs (inputs x n).
    pub fn forward(&mut self, network: &Network, parameters: &[T], inputs: &[T]) -> &[T] {
        self.points = inputs.len() / network.inputs();
        let n = self.points;
        for (l, layer) in network.layers().iter().enumerate() {
            let size = layer.outputs * n;
            let (before, after) = self.hidden.split_at_mut(l);
            let entering = before.last().map_or(inputs, |h| &h[..layer.inputs * n]);
            let Some(values) = after.first_mut() else {
                let out = &mut self.outputs[..size];
                multiply(layer, parameters, entering, out, Accum::Replace);
                add_bias(layer, parameters, out);
                break;
            };
            let values = &mut values[..size];
            multiply(layer, parameters, entering, values, Accum::Replace);
            activate(
                network.architecture().activation,
                (layer.biases(parameters), T::from_f64(layer.bias_factor)),
                values,
                &mut self.slopes[l][..size],
            );
        }
        &self.outputs[..network.outputs() * n]
    }

    /// h of the last hidden layer, width x points, of memory that was made for exactly the points of the last forward pass.
    pub(super) fn into_last_hidden(mut self) -> Vec<T> {
        self.hidden.pop().unwrap_or_default()
    }

    /// Gradient with respect to the parameters of sum_op g_op f_op, where `weights` holds g (D x n).
    pub fn backward(
        &mut self,
        network: &Network,
        parameters: &[T],
        inputs: &[T],
        weights: &[T],
        gradient: &mut [T],
    ) {
        let n = self.points;
        self.propagate(network, parameters, inputs, weights, |visited| {
            let layer = visited.layer;
            let (weights, biases) =
                gradient[layer.first..layer.end()].split_at_mut(layer.inputs * layer.outputs);
            matmul(
                MatMut::from_column_major_slice_mut(weights, layer.outputs, layer.inputs),
                Accum::Replace,
                MatRef::from_column_major_slice(visited.signal, layer.outputs, n),
                MatRef::from_column_major_slice(visited.entering, layer.inputs, n).transpose(),
                T::from_f64(layer.weight_factor),
                Par::Seq,
            );
            sum_columns(visited.signal, T::from_f64(layer.bias_factor), biases);
        });
    }

    /// Takes the derivative of sum_op g_op f_op back through the layers, from the output on.
    pub(super) fn propagate(
        &mut self,
        network: &Network,
        parameters: &[T],
        inputs: &[T],
        weights: &[T],
        mut visit: impl FnMut(Visited<'_, T>),
    ) {
        let n = self.points;
        self.current[..weights.len()].copy_from_slice(weights);
        for (l, layer) in network.layers().iter().enumerate().rev() {
            let signal = &self.current[..layer.outputs * n];
            let entering = match l {
                0 => inputs,
                _ => &self.hidden[l - 1][..layer.inputs * n],
            };
            visit(Visited {
                layer,
                signal,
                entering,
            });
            if l == 0 {
                break;
            }
            let below = &mut self.next[..layer.inputs * n];
            matmul(
                MatMut::from_column_major_slice_mut(&mut *below, layer.inputs, n),
                Accum::Replace,
                layer.weights(parameters).transpose(),
                MatRef::from_column_major_slice(signal, layer.outputs, n),
                T::from_f64(layer.weight_factor),
                Par::Seq,
            );
            scale_by(below, &self.slopes[l - 1][..layer.inputs * n]);
            std::mem::swap(&mut self.current, &mut self.next);
        }
    }

    /// Derivative of the outputs (D x n) along a direction of the inputs (inputs x n).
    pub fn along_inputs(&mut self, network: &Network, parameters: &[T], direction: &[T]) -> &[T] {
        self.tangent(network, |layer, l, rates, out| {
            let rates = if l == 0 { direction } else { rates };
            multiply(layer, parameters, rates, out, Accum::Replace);
        })
    }

    /// Derivative of the outputs (D x n) along a direction of the parameters.
    pub fn along_parameters(
        &mut self,
        network: &Network,
        parameters: &[T],
        inputs: &[T],
        direction: &[T],
    ) -> &[T] {
        let hidden = std::mem::take(&mut self.hidden);
        let n = self.points;
        self.tangent(network, |layer, l, rates, out| {
            let entering = match l {
                0 => inputs,
                _ => &hidden[l - 1][..layer.inputs * n],
            };
            multiply(layer, direction, entering, out, Accum::Replace);
            add_bias(layer, direction, out);
            if l > 0 {
                multiply(layer, parameters, rates, out, Accum::Add);
            }
        });
        self.hidden = hidden;
        &self.current[..network.outputs() * n]
    }

    /// Takes rates of change forward: `step` makes those of z of a layer from those of what enters it.
    fn tangent(
        &mut self,
        network: &Network,
        mut step: impl FnMut(&Layer, usize, &[T], &mut [T]),
    ) -> &[T] {
        let n = self.points;
        for (l, layer) in network.layers().iter().enumerate() {
            let out = &mut self.next[..layer.outputs * n];
            let entering = match l {
                0 => &[][..],
                _ => &self.current[..layer.inputs * n],
            };
            step(layer, l, entering, out);
            if let Some(slopes) = self.slopes.get(l) {
                scale_by(out, &slopes[..layer.outputs * n]);
            }
            std::mem::swap(&mut self.current, &mut self.next);
        }
        &self.current[..network.outputs() * n]
    }
}

/// `out` = or += weight_factor w `entering`.
fn multiply<T: Real>(
    layer: &Layer,
    parameters: &[T],
    entering: &[T],
    out: &mut [T],
    accumulate: Accum,
) {
    let n = entering.len() / layer.inputs;
    matmul(
        MatMut::from_column_major_slice_mut(out, layer.outputs, n),
        accumulate,
        layer.weights(parameters),
        MatRef::from_column_major_slice(entering, layer.inputs, n),
        T::from_f64(layer.weight_factor),
        Par::Seq,
    );
}

/// Adds bias_factor b to every column.
fn add_bias<T: Real>(layer: &Layer, parameters: &[T], out: &mut [T]) {
    let factor = T::from_f64(layer.bias_factor);
    for column in out.chunks_exact_mut(layer.outputs) {
        for (z, b) in column.iter_mut().zip(layer.biases(parameters)) {
            *z += factor * *b;
        }
    }
}
