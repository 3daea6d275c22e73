//! Kernels of a network of finite width: the tangent kernel of its parameters (NTK), and the covariance of its outputs over
//! the last layer (NNGP).

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use super::{Network, Pass, Real};

/// Learning rates of a layer's weights and biases, as multiples of the common one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayerRate {
    pub weights: f64,
    pub biases: f64,
}

impl LayerRate {
    pub const ONE: Self = Self {
        weights: 1.0,
        biases: 1.0,
    };
}

/// What the tangent kernel is made of, at n points.
struct Sensitivities<T> {
    points: usize,
    layers: Vec<Factors<T>>,
}

struct Factors<T> {
    /// What enters the layer, inputs x n.
    entering: Vec<T>,
    /// Derivatives of the outputs with respect to z of the layer, outputs x D n, those of the first output first.
    signals: Vec<T>,
}

impl<T: Real> Sensitivities<T> {
    fn new(network: &Network, parameters: &[T], inputs: &[T]) -> Self {
        let points = inputs.len() / network.inputs();
        let outputs = network.outputs();
        let mut pass = Pass::new(network, points);
        pass.forward(network, parameters, inputs);
        let mut layers = Vec::new();
        let mut weights = vec![T::zero(); outputs * points];
        for o in 0..outputs {
            for (i, w) in weights.iter_mut().enumerate() {
                *w = T::from_f64(f64::from(u8::from(i % outputs == o)));
            }
            let mut back = 0;
            pass.propagate(network, parameters, inputs, &weights, |visited| {
                if o == 0 {
                    layers.push(Factors {
                        entering: visited.entering.to_vec(),
                        signals: Vec::with_capacity(visited.signal.len() * outputs),
                    });
                }
                layers[back].signals.extend_from_slice(visited.signal);
                back += 1;
            });
        }
        layers.reverse();
        Self { points, layers }
    }
}

/// Tangent kernel sum over parameters of rate (df_o(a_k)/dw) (df_o'(b_k')/dw) at the inputs `a` and `b` (inputs x n each),
/// D n_a x D n_b with index o n + k (D21.4). `rates` are those of the layers; none given stands for 1.
///
/// Holds the derivatives with respect to every unit at all points: 2 D width depth (n_a + n_b) numbers.
pub fn tangent_kernel<T: Real>(
    network: &Network,
    parameters: &[T],
    rates: &[LayerRate],
    a: &[T],
    b: &[T],
) -> DMatrix<f64> {
    let left = Sensitivities::new(network, parameters, a);
    let right = Sensitivities::new(network, parameters, b);
    let outputs = network.outputs();
    let mut kernel = DMatrix::zeros(outputs * left.points, outputs * right.points);
    for (l, layer) in network.layers().iter().enumerate() {
        let rate = rates.get(l).copied().unwrap_or(LayerRate::ONE);
        let of_weights = rate.weights * layer.weight_factor.powi(2);
        let of_biases = rate.biases * layer.bias_factor.powi(2);
        let (f, g) = (&left.layers[l], &right.layers[l]);
        let entering = products(layer.inputs, &f.entering, &g.entering);
        let signals = products(layer.outputs, &f.signals, &g.signals);
        for (j, mut column) in kernel.column_iter_mut().enumerate() {
            let inner = &entering[j % right.points * left.points..][..left.points];
            let own = &signals[j * outputs * left.points..][..outputs * left.points];
            for (i, k) in column.iter_mut().enumerate() {
                let factor = of_weights * inner[i % left.points].to_f64() + of_biases;
                *k += factor * own[i].to_f64();
            }
        }
    }
    kernel
}

/// Covariance of every output over the weights of the last layer, the others as they are:
/// (W_std^2/width) h(a).h(b) + b_std^2, n_a x n_b.
pub fn nngp<T: Real>(network: &Network, parameters: &[T], a: &[T], b: &[T]) -> DMatrix<f64> {
    let hidden = |inputs: &[T]| {
        let points = inputs.len() / network.inputs();
        let mut pass = Pass::new(network, points);
        pass.forward(network, parameters, inputs);
        pass.into_last_hidden()
    };
    let (h, g) = (hidden(a), hidden(b));
    let width = network.width();
    let scale = network.architecture().weight_std.powi(2) / width as f64;
    let bias = network.architecture().bias_std.powi(2);
    let inner = products(width, &h, &g);
    DMatrix::from_iterator(
        h.len() / width,
        g.len() / width,
        inner.iter().map(|v| scale * v.to_f64() + bias),
    )
}

/// a^T b of matrices of `rows` rows, column-major.
fn products<T: Real>(rows: usize, a: &[T], b: &[T]) -> Vec<T> {
    let (m, n) = (a.len() / rows, b.len() / rows);
    let mut out = vec![T::zero(); m * n];
    matmul(
        MatMut::from_column_major_slice_mut(&mut out, m, n),
        Accum::Replace,
        MatRef::from_column_major_slice(a, rows, m).transpose(),
        MatRef::from_column_major_slice(b, rows, n),
        T::one(),
        Par::Seq,
    );
    out
}
