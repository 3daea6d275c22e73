//! Draws of the sum over samples: the path integral with all cumulants of first order (theory T8, T14).

use nalgebra::DVector;
use rand_chacha::ChaCha8Rng;

use super::{DensityError, WeightField};
use crate::family::Linear;
use crate::problem::{Diffusion, Problem};
use crate::statistics::{FlowSum, SampleSum};

/// Draws W of a linear family as its sum over training samples.
pub struct SampleSumField<'a> {
    sum: Sum<'a>,
    problem: &'a Problem,
    family: &'a Linear,
    seed: u64,
}

/// The sum, of ridge regression or of gradient flow.
pub enum Sum<'a> {
    Ridge(SampleSum<'a>),
    Flow(FlowSum<'a>),
}

impl<'a> SampleSumField<'a> {
    pub fn new(sum: Sum<'a>, problem: &'a Problem, family: &'a Linear, seed: u64) -> Self {
        Self {
            sum,
            problem,
            family,
            seed,
        }
    }
}

impl WeightField for SampleSumField<'_> {
    fn family(&self) -> &Linear {
        self.family
    }

    fn diffusion(&self) -> &Diffusion {
        &self.problem.diffusion
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Result<DVector<f64>, DensityError> {
        match &self.sum {
            Sum::Ridge(sum) => {
                let mut weights = DVector::zeros(self.problem.dim() * self.family.features.len());
                sum.draw(rng, weights.as_mut_slice());
                Ok(weights)
            }
            Sum::Flow(sum) => Ok(sum.draw(rng)),
        }
    }
}
