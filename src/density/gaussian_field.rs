//! Draws of the Gaussian field: the value of the Gaussian-closed path integral.

use nalgebra::DVector;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::{DensityError, WeightField};
use crate::family::Linear;
use crate::problem::Diffusion;
use crate::statistics::{VKernel, WeightStatistics};

/// Draws W = mean + L eta of a linear family's weights.
#[derive(Debug, Clone)]
pub struct GaussianField<'a> {
    kernel: &'a VKernel<'a>,
    mean: &'a DVector<f64>,
    seed: u64,
}

impl<'a> GaussianField<'a> {
    pub fn new(kernel: &'a VKernel<'a>, weights: &'a WeightStatistics, seed: u64) -> Self {
        Self {
            kernel,
            mean: &weights.mean,
            seed,
        }
    }
}

impl WeightField for GaussianField<'_> {
    fn family(&self) -> &Linear {
        self.kernel.family()
    }

    fn diffusion(&self) -> &Diffusion {
        &self.kernel.problem().diffusion
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Result<DVector<f64>, DensityError> {
        let eta = DVector::from_fn(self.kernel.rank(), |_, _| {
            rng.sample::<f64, _>(StandardNormal)
        });
        let mut weights = self.mean.clone();
        weights.gemv(1.0, self.kernel.factor(), &eta, 1.0);
        Ok(weights)
    }
}
