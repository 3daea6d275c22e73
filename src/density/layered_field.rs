//! The Gaussian field given a quenched layer, averaged over layers; and the choice of the layer (theory T19,
//! derivations/11-quenched-layer.md).

use nalgebra::DVector;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{DensityError, GaussianField, Generator, Masses, WeightField};
use crate::compare::total_variation;
use crate::experiment::{Experiment, Start};
use crate::family::{Linear, LinearDenoiser};
use crate::numerics::random::stream;
use crate::problem::{Diffusion, Problem, Training};
use crate::statistics::{QuenchedLayer, Unlayered, VKernel, by_leverage};

/// Draws with which the effect of the noise on the average density is measured, and on single densities.
const ANCHOR_DRAWS: u64 = 512;
const PROBE_DRAWS: u64 = 64;
/// Starts per draw: coarse, for comparisons of one draw with another from the same starts.
const PROBE_STARTS: usize = 32;

/// Draws a layer, then the Gaussian field that the rest makes given it.
pub struct LayeredField<'a> {
    layer: &'a QuenchedLayer<'a>,
    seed: u64,
}

impl<'a> LayeredField<'a> {
    pub fn new(layer: &'a QuenchedLayer<'a>, seed: u64) -> Self {
        Self { layer, seed }
    }
}

impl WeightField for LayeredField<'_> {
    fn family(&self) -> &Linear {
        self.layer.family()
    }

    fn diffusion(&self) -> &Diffusion {
        &self.layer.problem().diffusion
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Result<DVector<f64>, DensityError> {
        Ok(self.layer.weights(rng)?.weights)
    }
}

/// What the Gaussian part of a closure does to the density: the size of what is treated approximately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseEffect {
    /// Total variation that the noise makes to a single density, on average over draws.
    pub single: f64,
    /// Total variation that it makes to the average density (its sampling noise removed).
    pub average: f64,
}

/// One size of the layer that was looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    /// Number of panels of time in the layer.
    pub panels: usize,
    /// Expected number of samples in it.
    pub samples: f64,
    /// Effect of the noise on single densities, given the layer.
    pub single: f64,
    /// Estimated error of the closure.
    pub error: f64,
}

/// A layer with the reason for its size.
pub struct LayerChoice<'a> {
    pub layer: QuenchedLayer<'a>,
    /// The effect of all noise, without a layer: what the errors are scaled from.
    pub anchor: NoiseEffect,
    /// The chosen size.
    pub chosen: Rung,
    /// All sizes looked at, in increasing order.
    pub ladder: Vec<Rung>,
}

/// Finds the smallest layer, in the order of leverage, at which the closure's estimated error is at most `tolerance`.
///
/// What the closure treats approximately is the rest's noise. Its whole effect on the average density bounds the error of
/// treating it as Gaussian, and is of second order in its effect on single densities (the noise has mean zero): it is
/// measured without a layer, where it is large, and scaled by the square of the latter, which few draws determine.
pub fn choose_layer<'e, 'a: 'e>(
    experiment: &'a Experiment,
    family: &'a Linear,
    training: &'a Training,
    unlayered: impl Into<Unlayered<'e, 'a>>,
    tolerance: f64,
    seed: u64,
) -> Result<LayerChoice<'a>, DensityError> {
    let unlayered = unlayered.into();
    let search = Search {
        problem: &experiment.problem,
        family,
        training,
        unlayered,
        generator: Generator::new(experiment).probe(PROBE_STARTS),
        order: by_leverage(unlayered),
        seed,
    };
    let anchor = search.anchor()?;
    let mut ladder = vec![Rung {
        panels: 0,
        samples: 0.0,
        single: anchor.single,
        error: anchor.average,
    }];
    // Bisection: the effect falls as the layer grows. What is accepted is kept, the smallest last.
    let (mut low, mut high) = (0, search.order.len());
    let mut accepted = None;
    if anchor.average <= tolerance {
        accepted = Some((ladder[0], search.layer(0)?));
        high = 0;
    }
    while high > low + 1 {
        let middle = usize::midpoint(low, high);
        let (rung, layer) = search.rung(middle, &anchor)?;
        ladder.push(rung);
        if rung.error <= tolerance {
            high = middle;
            accepted = Some((rung, layer));
        } else {
            low = middle;
        }
    }
    let (chosen, layer) = match accepted {
        Some(accepted) => accepted,
        None => {
            let everything = search.rung(high, &anchor)?;
            ladder.push(everything.0);
            everything
        }
    };
    ladder.sort_by_key(|r| r.panels);
    Ok(LayerChoice {
        layer: layer.settle(unlayered, seed)?,
        anchor,
        chosen,
        ladder,
    })
}

struct Search<'a, 'b> {
    problem: &'a Problem,
    family: &'a Linear,
    training: &'a Training,
    unlayered: Unlayered<'b, 'a>,
    generator: Generator<'a>,
    order: Vec<usize>,
    seed: u64,
}

impl<'a> Search<'a, '_> {
    fn layer(&self, panels: usize) -> Result<QuenchedLayer<'a>, DensityError> {
        Ok(QuenchedLayer::new(
            self.problem,
            self.family,
            self.training,
            self.unlayered,
            &self.order[..panels],
        )?)
    }

    fn density(
        &self,
        weights: &DVector<f64>,
        rng: &mut ChaCha8Rng,
    ) -> Result<Masses, DensityError> {
        let model = LinearDenoiser {
            family: self.family,
            diffusion: &self.problem.diffusion,
            weights: weights.as_slice(),
        };
        Ok(self.generator.generate(&model, rng)?.masses)
    }

    /// The equivalent's Gaussian field against its mean field; of a flow both with the same initial function, which nothing is
    /// approximate in.
    fn anchor(&self) -> Result<NoiseEffect, DensityError> {
        if let Unlayered::Flow(_) = self.unlayered {
            let empty = self.layer(0)?;
            return self.effect(ANCHOR_DRAWS, None, |rng| {
                let draw = empty.weights(rng)?;
                Ok((draw.weights, draw.conditional_mean))
            });
        }
        let weights = self.unlayered.weights();
        let kernel = VKernel::new(self.problem, self.family, weights, 0.0)?;
        let field = GaussianField::new(&kernel, weights, self.seed);
        // From stratified starts the mean field has one density, not one per draw.
        let mean = match self.generator.start() {
            Start::Stratified => Some(self.density(&weights.mean, &mut stream(self.seed, 0))?),
            Start::Random => None,
        };
        self.effect(ANCHOR_DRAWS, mean.as_ref(), |rng| {
            Ok((field.draw(rng)?, weights.mean.clone()))
        })
    }

    /// A size of the layer with its estimated error (D11.7), and the layer.
    fn rung(
        &self,
        panels: usize,
        anchor: &NoiseEffect,
    ) -> Result<(Rung, QuenchedLayer<'a>), DensityError> {
        let layer = self.layer(panels)?;
        let single = if panels == self.order.len() {
            // Nothing is left outside: the draw is a trained model.
            0.0
        } else {
            let effect = self.effect(PROBE_DRAWS, None, |rng| {
                let draw = layer.weights(rng)?;
                Ok((draw.weights, draw.conditional_mean))
            })?;
            effect.single
        };
        let rung = Rung {
            panels,
            samples: layer.expected_samples(),
            single,
            error: anchor.average * (single / anchor.single).powi(2),
        };
        Ok((rung, layer))
    }

    /// Densities with and without noise, from the same starts and random numbers. `without` is given where it is the same
    /// for all draws.
    fn effect(
        &self,
        draws: u64,
        without: Option<&Masses>,
        pair: impl Fn(&mut ChaCha8Rng) -> Result<(DVector<f64>, DVector<f64>), DensityError> + Sync,
    ) -> Result<NoiseEffect, DensityError> {
        let differences: Result<Vec<(f64, Masses)>, DensityError> = (0..draws)
            .into_par_iter()
            .map(|i| {
                let (with, mean) = pair(&mut stream(self.seed, 2 * i))?;
                let mut with = self.density(&with, &mut stream(self.seed, 2 * i + 1))?;
                let without = match without {
                    Some(masses) => masses.clone(),
                    None => self.density(&mean, &mut stream(self.seed, 2 * i + 1))?,
                };
                let single = total_variation(&with, &without);
                with.accumulate(&without, -1.0);
                Ok((single, with))
            })
            .collect();
        let differences = differences?;
        Ok(NoiseEffect {
            single: differences.iter().map(|d| d.0).sum::<f64>() / draws as f64,
            average: average_effect(&differences),
        })
    }
}

/// Total variation of the mean difference without what sampling adds to it. The halves of the draws are independent, so
/// the squared size of their sum less that of their difference is free of noise on average (for each bin's square; total
/// variation follows it to a factor near 1).
fn average_effect(differences: &[(f64, Masses)]) -> f64 {
    let half = differences.len() / 2;
    let Some((_, first)) = differences.first() else {
        return 0.0;
    };
    let zero = Masses {
        cells: vec![0.0; first.cells.len()],
    };
    let mean = |part: &[(f64, Masses)]| {
        let mut sum = zero.clone();
        for (_, d) in part {
            sum.accumulate(d, 1.0 / part.len() as f64);
        }
        sum
    };
    let (mut sum, second) = (mean(&differences[..half]), mean(&differences[half..]));
    let mut gap = sum.clone();
    sum.accumulate(&second, 1.0);
    gap.accumulate(&second, -1.0);
    let size = |m: &Masses| 0.5 * total_variation(m, &zero);
    (size(&sum).powi(2) - size(&gap).powi(2)).max(0.0).sqrt()
}
