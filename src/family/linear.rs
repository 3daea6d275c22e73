//! Models linear in their weights.

use super::features::{Features, SpaceFeatures};
use super::{Denoiser, PlaneTables, TabulatedDenoiser};
use crate::problem::{Diffusion, Prediction};

/// f(x,t) = W phi(x,t), W of shape D x F.
#[derive(Debug, Clone)]
pub struct Linear {
    pub features: Features,
    /// What f stands for.
    pub predicts: Prediction,
}

/// One model of the linear family: weights of length D F, those of the first output first.
#[derive(Debug, Clone, Copy)]
pub struct LinearDenoiser<'a> {
    pub family: &'a Linear,
    pub diffusion: &'a Diffusion,
    pub weights: &'a [f64],
}

impl LinearDenoiser<'_> {
    /// Weights of the features of space at time t, of all outputs.
    pub(crate) fn space_weights(&self, t: f64) -> Vec<f64> {
        let features = &self.family.features;
        let mut out = vec![0.0; self.weights.len() / features.time.len()];
        features.contract_time(self.weights, t, &mut out);
        out
    }

    /// f at points of one time, the outputs one after another; `x` coordinate-major.
    pub fn output(&self, t: f64, x: &[f64], out: &mut [f64]) {
        self.space().contract(&self.space_weights(t), x, out);
    }

    /// f and its exact derivative in x, D = 1.
    pub fn output_with_slope(&self, t: f64, x: &[f64], out: &mut [f64], slope: &mut [f64]) {
        let factor = self.space().line();
        factor.contract_with_slope(&self.space_weights(t), x, out, slope);
    }

    /// The denoiser in D >= 2: the weights are few against the points, so they take the division by p.
    fn denoise_points(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        let mut weights = self.space_weights(t);
        if self.family.predicts == Prediction::Denoiser {
            return self.space().contract(&weights, x, denoised);
        }
        let r = self.family.predicts.regression(self.diffusion, t);
        for w in &mut weights {
            *w /= r.p;
        }
        self.space().contract(&weights, x, denoised);
        let ratio = r.q / r.p;
        for (d, x) in denoised.iter_mut().zip(x) {
            *d -= ratio * x;
        }
    }

    fn space(&self) -> &SpaceFeatures {
        &self.family.features.space
    }
}

impl Denoiser for LinearDenoiser<'_> {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        if self.space().dim() > 1 {
            return self.denoise_points(t, x, denoised);
        }
        self.output(t, x, denoised);
        if self.family.predicts != Prediction::Denoiser {
            let r = self.family.predicts.regression(self.diffusion, t);
            for (d, x) in denoised.iter_mut().zip(x) {
                *d = (*d - r.q * x) / r.p;
            }
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.output_with_slope(t, x, denoised, slope);
        if self.family.predicts != Prediction::Denoiser {
            let r = self.family.predicts.regression(self.diffusion, t);
            for ((d, s), x) in denoised.iter_mut().zip(slope).zip(x) {
                *d = (*d - r.q * x) / r.p;
                *s = (*s - r.q) / r.p;
            }
        }
    }

    fn tabulate(&self, times: &[f64], particles: usize) -> Option<TabulatedDenoiser> {
        match self.space().dim() {
            1 => TabulatedDenoiser::new(self, times, particles),
            _ => None,
        }
    }

    fn plane_tables(&self) -> Option<PlaneTables<'_>> {
        PlaneTables::new(self)
    }
}
