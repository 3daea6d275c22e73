//! What a network is trained on.

use rand::Rng;

use crate::family::network::{Network, Real};
use crate::problem::{self, Problem, Training};

/// P weighted examples: the network's inputs (inputs x P), targets y = p x0 + q x (D x P), and weights lambda of the squared
/// errors (P).
#[derive(Debug, Clone, PartialEq)]
pub struct Samples<T> {
    pub inputs: Vec<T>,
    pub targets: Vec<T>,
    pub weights: Vec<T>,
}

impl<T: Real> Samples<T> {
    /// P fresh triples, t uniform on [t_min, t_max]; the same ones that a linear or kernel family draws from this generator.
    pub fn draw<R: Rng + ?Sized>(
        problem: &Problem,
        network: &Network,
        training: &Training,
        rng: &mut R,
    ) -> Self {
        let drawn = problem::Samples::draw(problem, network.predicts(), training, rng);
        let (p, dim) = (drawn.t.len(), problem.dim());
        let convert = |values: &[f64]| values.iter().map(|v| T::from_f64(*v)).collect();
        let targets = (0..p * dim).map(|k| T::from_f64(drawn.y[k % dim * p + k / dim]));
        Self {
            inputs: network.embed(&drawn.x, &drawn.t),
            targets: targets.collect(),
            weights: convert(&drawn.lambda),
        }
    }

    /// P.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// The same in double precision.
    pub fn to_double(&self) -> Samples<f64> {
        let double = |values: &[T]| values.iter().map(|v| v.to_f64()).collect();
        Samples {
            inputs: double(&self.inputs),
            targets: double(&self.targets),
            weights: double(&self.weights),
        }
    }

    /// Copies the examples of the given numbers.
    pub(super) fn gather(&self, numbers: &[usize], out: &mut Self) {
        let (inputs, outputs) = (
            self.inputs.len() / self.len(),
            self.targets.len() / self.len(),
        );
        out.inputs.clear();
        out.targets.clear();
        out.weights.clear();
        for p in numbers {
            out.inputs
                .extend_from_slice(&self.inputs[p * inputs..(p + 1) * inputs]);
            out.targets
                .extend_from_slice(&self.targets[p * outputs..(p + 1) * outputs]);
            out.weights.push(self.weights[*p]);
        }
    }

    pub(super) fn empty() -> Self {
        Self {
            inputs: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
        }
    }
}
