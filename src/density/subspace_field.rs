//! Low-rank mixtures whose bases fluctuate around the true ones: the Gaussian field of that family (derivations/25-subspaces.md).

use std::time::Instant;

use super::{DensityError, Generator, Member, RandomField};
use crate::family::{LowRank, LowRankDenoiser};
use crate::numerics::random::stream;
use crate::problem::Diffusion;
use crate::statistics::SubspaceFluctuation;

/// Draws every basis from its Gaussian fluctuation, U_k + U_k_perp A with independent elements of A, orthonormalised.
#[derive(Debug, Clone)]
pub struct SubspaceField<'a> {
    pub diffusion: &'a Diffusion,
    /// The saddle: the limit of many samples.
    pub limit: &'a LowRank,
    /// One for every basis.
    pub fluctuations: Vec<SubspaceFluctuation>,
    pub seed: u64,
}

impl RandomField for SubspaceField<'_> {
    fn member(&self, generator: &Generator<'_>, index: u64) -> Result<Member, DensityError> {
        let started = Instant::now();
        let mut rng = stream(self.seed, index);
        let bases = self.limit.bases.iter().zip(&self.fluctuations);
        let model = LowRank {
            bases: bases.map(|(u, law)| law.draw(u, &mut rng)).collect(),
            ..self.limit.clone()
        };
        let drawn = started.elapsed().as_secs_f64();
        let denoiser = LowRankDenoiser::new(&model, self.diffusion);
        let generated = generator.generate(&denoiser, &mut rng)?;
        Ok(generated.member((drawn, started.elapsed().as_secs_f64() - drawn)))
    }
}
