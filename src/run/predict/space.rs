//! Predictions for linear families in D >= 2: the same statistics, densities from clouds of points.

use std::time::Instant;

use nalgebra::DVector;

use super::linear::{Job, mean_weights, sampled};
use crate::compare::total_variation;
use crate::density::{Ensemble, cloud_density, cloud_estimate, semiclassical_cloud};
use crate::experiment::Method;
use crate::family::LinearDenoiser;
use crate::run::RunError;
use crate::run::prediction::{Grow, PredictionSet, failed};

impl Job<'_> {
    /// Every method of the case.
    pub(super) fn in_space(
        &self,
        seed: &dyn Fn(Method) -> u64,
        grow: &mut Grow<'_>,
        mut set: PredictionSet,
    ) -> Result<PredictionSet, RunError> {
        let (reference, quadrature) = self.reference_cloud()?;
        for method in self.experiment.predict.own_methods() {
            let started = Instant::now();
            let (mut estimate, ensemble, cloud) = match method {
                Method::MeanField => {
                    let (cloud, noise) = self.mean_cloud(&reference)?;
                    let mut estimate = cloud_estimate(&cloud);
                    estimate.errors.extend(noise.map(|e| ("draws", e)));
                    (estimate, None, Some(cloud))
                }
                Method::Semiclassical => {
                    let cloud = semiclassical_cloud(
                        &self.generator,
                        self.family,
                        self.statistics.gaussian(),
                        seed(method),
                    )
                    .map_err(failed(self.case, method))?;
                    (cloud_estimate(&cloud), None, Some(cloud))
                }
                Method::GaussianField => {
                    let ensemble = self.gaussian_field(seed(method), grow, &mut set)?;
                    (sampled(&ensemble), Some(ensemble), None)
                }
                Method::SampleSum => {
                    let Some(ensemble) = self.sample_sum(seed(method), grow)? else {
                        continue; // refused by the spec: the sum needs the influences, and has no layer
                    };
                    (sampled(&ensemble), Some(ensemble), None)
                }
                _ => continue, // refused by the spec
            };
            estimate.errors.push(("quadrature", quadrature));
            let seconds = started.elapsed().as_secs_f64();
            match cloud {
                Some(cloud) => set.insert_cloud(method, estimate, cloud, seconds),
                None => set.insert(method, estimate, ensemble, seconds),
            }
        }
        self.assess_closure(Some(&reference.mean()), &mut set);
        Ok(set)
    }

    fn cloud(&self, weights: &DVector<f64>) -> Result<Ensemble, RunError> {
        let model = LinearDenoiser {
            family: self.family,
            diffusion: &self.problem.diffusion,
            weights: weights.as_slice(),
        };
        cloud_density(&self.generator, &model, usize::MAX, self.seed_of_layers)
            .map_err(failed(self.case, Method::MeanField))
    }

    /// What the mean weights without a layer generate, and what the quadrature's last refinement changes in it, from the same
    /// starts with the same noise.
    fn reference_cloud(&self) -> Result<(Ensemble, f64), RunError> {
        let (fine, coarse) = self.statistics.quadratures();
        let (fine, coarse) = (self.cloud(fine)?, self.cloud(coarse)?);
        let change = total_variation(&fine.mean(), &coarse.mean());
        Ok((fine, change))
    }

    /// The push-forward of the mean weights; with a layer of their average over layers, and what the noise of that average
    /// makes.
    fn mean_cloud(&self, reference: &Ensemble) -> Result<(Ensemble, Option<f64>), RunError> {
        let Some(choice) = self.statistics.choice() else {
            return Ok((reference.clone(), None));
        };
        let [a, b] = mean_weights(&choice.layer, self.seed_of_layers).map_err(|source| {
            RunError::Statistics {
                case: self.case,
                source,
            }
        })?;
        let mean = self.cloud(&((&a + &b) * 0.5))?;
        let halves = total_variation(&self.cloud(&a)?.mean(), &self.cloud(&b)?.mean());
        Ok((mean, Some(0.5 * halves)))
    }
}
