//! A trained network as a denoiser.

use super::{Network, Pass, Real};
use crate::family::Denoiser;
use crate::problem::{Diffusion, Regression};

/// Points that go through the layers together: their values stay in second-level cache.
const CHUNK: usize = 128;

/// One network: E[x0|x,t] = (f - q x)/p with f its output, less the output of the initial parameters where these are given.
#[derive(Debug, Clone, Copy)]
pub struct NetworkDenoiser<'a, T> {
    pub network: &'a Network,
    pub diffusion: &'a Diffusion,
    pub parameters: &'a [T],
    /// Parameters of which the output is subtracted.
    pub initial: Option<&'a [T]>,
}

impl<T: Real> NetworkDenoiser<'_, T> {
    /// Outputs f at n points of any times, D x n column-major; positions coordinate-major.
    pub fn outputs(&self, x: &[f64], t: &[f64]) -> Vec<f64> {
        let inputs = self.network.embed::<T>(x, t);
        let mut values = Vec::with_capacity(self.network.outputs() * t.len());
        let mut pass = Pass::new(self.network, CHUNK.min(t.len()));
        for inputs in inputs.chunks(CHUNK * self.network.inputs()) {
            let first = values.len();
            let trained = pass.forward(self.network, self.parameters, inputs);
            values.extend(trained.iter().map(|f| f.to_f64()));
            if let Some(initial) = self.initial {
                let start = pass.forward(self.network, initial, inputs);
                for (f, f0) in values[first..].iter_mut().zip(start) {
                    *f -= f0.to_f64();
                }
            }
        }
        values
    }

    fn regression(&self, t: f64) -> Regression {
        self.network.predicts().regression(self.diffusion, t)
    }

    /// Adds `sign` times the output and its derivative with respect to x, D = 1.
    fn add_with_slope(
        &self,
        (parameters, sign): (&[T], f64),
        (t, x): (f64, &[f64]),
        value: &mut [f64],
        slope: &mut [f64],
    ) {
        let inputs = self.network.embed::<T>(x, &vec![t; x.len()]);
        let rates = self.network.rates_along::<T>(0, x.len());
        let per_chunk = CHUNK * self.network.inputs();
        let mut pass = Pass::new(self.network, CHUNK.min(x.len()));
        let chunks = inputs.chunks(per_chunk).zip(rates.chunks(per_chunk));
        let places = value.chunks_mut(CHUNK).zip(slope.chunks_mut(CHUNK));
        for ((inputs, rates), (value, slope)) in chunks.zip(places) {
            let f = pass.forward(self.network, parameters, inputs);
            value
                .iter_mut()
                .zip(f)
                .for_each(|(v, f)| *v += sign * f.to_f64());
            let df = pass.along_inputs(self.network, parameters, rates);
            slope
                .iter_mut()
                .zip(df)
                .for_each(|(s, df)| *s += sign * df.to_f64());
        }
    }
}

impl<T: Real> Denoiser for NetworkDenoiser<'_, T> {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        let outputs = self.network.outputs();
        let n = x.len() / outputs;
        let Regression { p, q } = self.regression(t);
        let values = self.outputs(x, &vec![t; n]);
        for (k, point) in values.chunks_exact(outputs).enumerate() {
            for (i, f) in point.iter().enumerate() {
                denoised[i * n + k] = (f - q * x[i * n + k]) / p;
            }
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        denoised.fill(0.0);
        slope.fill(0.0);
        self.add_with_slope((self.parameters, 1.0), (t, x), denoised, slope);
        if let Some(initial) = self.initial {
            self.add_with_slope((initial, -1.0), (t, x), denoised, slope);
        }
        let Regression { p, q } = self.regression(t);
        for ((d, s), x) in denoised.iter_mut().zip(slope).zip(x) {
            *d = (*d - q * x) / p;
            *s = (*s - q) / p;
        }
    }
}
