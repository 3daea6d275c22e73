//! The limit of stability of gradient descent.

use crate::family::network::{LayerRate, Network, Pass, Real};

use super::samples::Samples;

/// The iteration ends when the eigenvalue changes by less than this part of itself.
const TOLERANCE: f64 = 1e-5;
const MOST_ITERATIONS: usize = 300;

/// Largest eigenvalue of Lambda^(1/2) K Lambda^(1/2)/P, with K the tangent kernel at the samples and the layers' rates: that of
/// the loss's curvature in the Gauss-Newton sense (D21.5). Power iteration by products J^T v and J u, so that K is never formed; its
/// quotients rise towards the eigenvalue and never pass it. `pass` has memory for `columns` samples.
pub(super) fn largest_eigenvalue<T: Real>(
    network: &Network,
    rates: &[LayerRate],
    parameters: &[T],
    samples: &Samples<T>,
    (pass, columns): (&mut Pass<T>, usize),
) -> f64 {
    let outputs = network.outputs();
    let scale = 1.0 / samples.len() as f64;
    let roots: Vec<T> = samples
        .weights
        .iter()
        .flat_map(|w| vec![T::from_f64((w.to_f64() * scale).sqrt()); outputs])
        .collect();
    let mut vector = roots.clone();
    let mut product = Product {
        network,
        parameters,
        samples,
        columns,
        gradient: vec![T::zero(); network.parameters()],
        sum: vec![T::zero(); network.parameters()],
    };
    let mut last = 0.0;
    for _ in 0..MOST_ITERATIONS {
        let length = norm(&vector);
        if length == 0.0 || !length.is_finite() {
            return length;
        }
        let inverse = T::from_f64(1.0 / length);
        for (v, root) in vector.iter_mut().zip(&roots) {
            *v = *v * inverse * *root;
        }
        let square = product.transposed(pass, rates, &vector);
        product.forward(pass, &mut vector);
        for (v, root) in vector.iter_mut().zip(&roots) {
            *v *= *root;
        }
        if (square - last).abs() <= TOLERANCE * square {
            return square;
        }
        last = square;
    }
    last
}

fn norm<T: Real>(vector: &[T]) -> f64 {
    vector
        .iter()
        .map(|v| v.to_f64().powi(2))
        .sum::<f64>()
        .sqrt()
}

/// Products with the Jacobian J of all outputs with respect to all parameters, samples taken by chunks.
struct Product<'a, T> {
    network: &'a Network,
    parameters: &'a [T],
    samples: &'a Samples<T>,
    columns: usize,
    gradient: Vec<T>,
    sum: Vec<T>,
}

impl<T: Real> Product<'_, T> {
    /// Sets `sum` to R J^T v, R the rates, and returns v^T J R J^T v.
    fn transposed(&mut self, pass: &mut Pass<T>, rates: &[LayerRate], v: &[T]) -> f64 {
        self.sum.fill(T::zero());
        let (network, parameters) = (self.network, self.parameters);
        let chunks = self.samples.inputs.chunks(self.columns * network.inputs());
        for (inputs, v) in chunks.zip(v.chunks(self.columns * network.outputs())) {
            pass.forward(network, parameters, inputs);
            pass.backward(network, parameters, inputs, v, &mut self.gradient);
            for (sum, g) in self.sum.iter_mut().zip(&self.gradient) {
                *sum += *g;
            }
        }
        let mut square = 0.0;
        for (l, layer) in network.layers().iter().enumerate() {
            let rate = rates.get(l).copied().unwrap_or(LayerRate::ONE);
            let parts = [
                (layer.first..layer.first_bias(), rate.weights),
                (layer.first_bias()..layer.end(), rate.biases),
            ];
            for (range, rate) in parts {
                for u in &mut self.sum[range] {
                    square += rate * u.to_f64().powi(2);
                    *u *= T::from_f64(rate);
                }
            }
        }
        square
    }

    /// v = J `sum`.
    fn forward(&mut self, pass: &mut Pass<T>, v: &mut [T]) {
        let (network, parameters) = (self.network, self.parameters);
        let chunks = self.samples.inputs.chunks(self.columns * network.inputs());
        for (inputs, v) in chunks.zip(v.chunks_mut(self.columns * network.outputs())) {
            pass.forward(network, parameters, inputs);
            v.copy_from_slice(pass.along_parameters(network, parameters, inputs, &self.sum));
        }
    }
}
