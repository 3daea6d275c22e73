//! The rule by which a gradient moves the parameters.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use crate::family::network::{LayerRate, Network, NetworkTraining, Optimiser, Real};

/// State of an optimiser between steps.
pub(super) struct Update<T> {
    /// Parameters that share a rate, and that rate.
    parts: Vec<(Range<usize>, f64)>,
    adam: Option<Adam<T>>,
}

struct Adam<T> {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    steps: i32,
    mean: Vec<T>,
    square: Vec<T>,
}

impl<T: Real> Update<T> {
    pub(super) fn new(network: &Network, options: &NetworkTraining) -> Self {
        let mut parts = Vec::new();
        for (l, layer) in network.layers().iter().enumerate() {
            let rate = options.rates.get(l).copied().unwrap_or(LayerRate::ONE);
            parts.push((layer.first..layer.first_bias(), rate.weights));
            parts.push((layer.first_bias()..layer.end(), rate.biases));
        }
        let adam = match options.optimiser {
            Optimiser::Adam {
                beta1,
                beta2,
                epsilon,
                ..
            } => Some(Adam {
                beta1,
                beta2,
                epsilon,
                steps: 0,
                mean: vec![T::zero(); network.parameters()],
                square: vec![T::zero(); network.parameters()],
            }),
            _ => None,
        };
        Self { parts, adam }
    }

    /// Forgets all steps.
    pub(super) fn reset(&mut self) {
        if let Some(adam) = &mut self.adam {
            adam.steps = 0;
            adam.mean.fill(T::zero());
            adam.square.fill(T::zero());
        }
    }

    /// One step.
    pub(super) fn apply(&mut self, parameters: &mut [T], gradient: &[T], rate: f64) {
        if let Some(adam) = &mut self.adam {
            adam.steps = adam.steps.saturating_add(1);
        }
        for (range, factor) in &self.parts {
            let (parameters, gradient) = (&mut parameters[range.clone()], &gradient[range.clone()]);
            match &mut self.adam {
                None => Arch::new().dispatch(Descend {
                    parameters,
                    gradient,
                    rate: T::from_f64(factor * rate),
                }),
                Some(adam) => {
                    Arch::new().dispatch(adam.step(parameters, gradient, range, factor * rate))
                }
            }
        }
    }
}

impl<T: Real> Adam<T> {
    fn step<'a>(
        &'a mut self,
        parameters: &'a mut [T],
        gradient: &'a [T],
        range: &Range<usize>,
        rate: f64,
    ) -> AdamStep<'a, T> {
        let unbias = |beta: f64| 1.0 / (1.0 - beta.powi(self.steps));
        AdamStep {
            parameters,
            gradient,
            keep: [T::from_f64(self.beta1), T::from_f64(self.beta2)],
            take: [T::from_f64(1.0 - self.beta1), T::from_f64(1.0 - self.beta2)],
            rate: T::from_f64(rate * unbias(self.beta1)),
            unbias: T::from_f64(unbias(self.beta2)),
            epsilon: T::from_f64(self.epsilon),
            mean: &mut self.mean[range.clone()],
            square: &mut self.square[range.clone()],
        }
    }
}

struct Descend<'a, T> {
    parameters: &'a mut [T],
    gradient: &'a [T],
    rate: T,
}

impl<T: Real> WithSimd for Descend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (w, g) in self.parameters.iter_mut().zip(self.gradient) {
            *w -= self.rate * *g;
        }
    }
}

struct AdamStep<'a, T> {
    parameters: &'a mut [T],
    gradient: &'a [T],
    mean: &'a mut [T],
    square: &'a mut [T],
    keep: [T; 2],
    take: [T; 2],
    rate: T,
    unbias: T,
    epsilon: T,
}

impl<T: Real> WithSimd for AdamStep<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let moments = self.mean.iter_mut().zip(self.square);
        for ((w, g), (m, v)) in self.parameters.iter_mut().zip(self.gradient).zip(moments) {
            *m = self.keep[0] * *m + self.take[0] * *g;
            *v = self.keep[1] * *v + self.take[1] * *g * *g;
            *w -= self.rate * *m / ((*v * self.unbias).root() + self.epsilon);
        }
    }
}
