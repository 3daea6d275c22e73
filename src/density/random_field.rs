//! Closures of the path integral that are sampled: each draw of the model is pushed forward exactly.

use nalgebra::DVector;
use rand_chacha::ChaCha8Rng;
use std::time::Instant;

use super::{DensityError, Generator, Member};
use crate::family::{Linear, LinearDenoiser};
use crate::numerics::random::stream;
use crate::problem::Diffusion;

/// A law of models that can be drawn from.
pub trait RandomField: Sync {
    /// The density of draw `index`.
    fn member(&self, generator: &Generator<'_>, index: u64) -> Result<Member, DensityError>;
}

/// A law of a linear family's weights that can be drawn from.
pub trait WeightField: Sync {
    fn family(&self) -> &Linear;

    fn diffusion(&self) -> &Diffusion;

    /// Fixes all draws; draw i uses stream i.
    fn seed(&self) -> u64;

    /// Weights, length F.
    fn draw(&self, rng: &mut ChaCha8Rng) -> Result<DVector<f64>, DensityError>;
}

impl<F: WeightField> RandomField for F {
    fn member(&self, generator: &Generator<'_>, index: u64) -> Result<Member, DensityError> {
        let started = Instant::now();
        let mut rng = stream(self.seed(), index);
        let weights = self.draw(&mut rng)?;
        let drawn = started.elapsed().as_secs_f64();
        let model = LinearDenoiser {
            family: self.family(),
            diffusion: self.diffusion(),
            weights: weights.as_slice(),
        };
        let generated = generator.generate(&model, &mut rng)?;
        Ok(generated.member((drawn, started.elapsed().as_secs_f64() - drawn)))
    }
}
