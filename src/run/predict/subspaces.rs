//! Predictions for mixtures of low rank: what is learned of many samples, and its Gaussian fluctuations.

use std::time::Instant;

use crate::density::{DensityError, Ensemble, Estimate, Generator, SubspaceField};
use crate::density::{cloud_density, cloud_estimate, mean_field};
use crate::experiment::{Experiment, Method};
use crate::family::{CleanPoints, LowRank, LowRankDenoiser, SubspaceFamily};
use crate::monte_carlo::EnsembleError;
use crate::monte_carlo::subspace::{SubspaceTrainer, true_bases};
use crate::run::RunError;
use crate::run::prediction::{Grow, Outcome, PredictionSet, failed};
use crate::statistics::SubspaceFluctuation;

/// Computes every method of the case.
pub(super) fn predict(
    experiment: &Experiment,
    family: &SubspaceFamily,
    case: usize,
    seed: &dyn Fn(Method) -> u64,
    grow: &mut Grow<'_>,
) -> Result<PredictionSet, RunError> {
    let limit = limit(experiment, family).map_err(|source| RunError::Ensemble { case, source })?;
    let generator = Generator::new(experiment);
    let mut set = PredictionSet::default();
    let fluctuations = fluctuations(experiment, family);
    for method in experiment.predict.own_methods() {
        let started = Instant::now();
        let seconds = || started.elapsed().as_secs_f64();
        match (method, &fluctuations) {
            (Method::GaussianField, Some(fluctuations)) => {
                let field = SubspaceField {
                    diffusion: &experiment.problem.diffusion,
                    limit: &limit,
                    fluctuations: fluctuations.clone(),
                    seed: seed(method),
                };
                let particles = experiment.predict.particles;
                let generator = generator.clone().with_particles(particles);
                let draws = experiment.predict.draws as u64;
                let ensemble = grow(method, &field, &generator, None, draws)?;
                let estimate = Estimate {
                    masses: ensemble.mean(),
                    errors: vec![("draws", ensemble.noise_floor().mean.tv)],
                };
                let outcome = Outcome {
                    ensemble: Some(ensemble),
                    ..estimate.into()
                };
                set.insert(method, outcome, seconds());
            }
            _ => {
                let (estimate, cloud) = of_limit(experiment, &generator, &limit, seed(method))
                    .map_err(failed(case, method))?;
                set.insert(method, Outcome::read_off(estimate, cloud), seconds());
            }
        }
    }
    Ok(set)
}

fn limit(experiment: &Experiment, family: &SubspaceFamily) -> Result<LowRank, EnsembleError> {
    // Without training there is no such family; the spec always has one.
    let Some(training) = &experiment.training else {
        return Ok(LowRank {
            bases: true_bases(&experiment.problem, family).unwrap_or_default(),
            weights: family.weights.clone(),
            assignment: family.assignment,
        });
    };
    SubspaceTrainer::new(&experiment.problem, family, training)
        .limit()
        .map_err(|source| EnsembleError::Subspaces { index: 0, source })
}

/// The push-forward through the model of many samples.
fn of_limit(
    experiment: &Experiment,
    generator: &Generator<'_>,
    limit: &LowRank,
    seed: u64,
) -> Result<(Estimate, Option<Ensemble>), DensityError> {
    let problem = &experiment.problem;
    let model = LowRankDenoiser::new(limit, &problem.diffusion);
    if problem.dim() == 1 {
        let (estimate, _) = mean_field(generator.flow(), &model, generator.bins())?;
        return Ok((estimate, None));
    }
    let cloud = cloud_density(generator, &model, usize::MAX, seed)?;
    Ok((cloud_estimate(&cloud), Some(cloud)))
}

/// How the learned bases vary around the true ones, where the data are a low-rank mixture of the model's ranks.
pub(in crate::run) fn fluctuations(
    experiment: &Experiment,
    family: &SubspaceFamily,
) -> Option<Vec<SubspaceFluctuation>> {
    let problem = &experiment.problem;
    let bases = true_bases(problem, family)?;
    let (points, shares) = match family.protocol.points {
        CleanPoints::PerSubspace(size) => (size as f64, None),
        CleanPoints::Total(total) => (total as f64, Some(problem.data.weights())),
    };
    let all = bases.iter().zip(problem.data.components()).enumerate();
    Some(
        all.map(|(k, (basis, component))| SubspaceFluctuation {
            ambient: problem.dim(),
            rank: basis.ncols(),
            noise: component.off_axes.sqrt(),
            samples: (points * shares.map_or(1.0, |w| w[k])).round().max(1.0) as usize,
        })
        .collect(),
    )
}
