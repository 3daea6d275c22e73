//! The densities that rival theories predict.

use super::{LinearScore, Sample, SmoothedScore};
use crate::compare::total_variation;
use crate::density::{
    DensityError, Ensemble, Estimate, Generator, Masses, cloud_density, cloud_estimate,
    mapped_cloud, mean_field,
};
use crate::experiment::{Experiment, Method};
use crate::family::Denoiser;
use crate::numerics::linalg;

/// Evaluations of one component that a point of a cloud may cost, and the least points of a cloud.
const EVALUATIONS: usize = 1 << 22;
const FEWEST_POINTS: usize = 512;
/// Components times nodes of the smoothed score's average in D >= 2, and the bounds on the nodes.
const NODE_EVALUATIONS: usize = 1 << 16;
const FEWEST_NODES: usize = 32;
const MOST_NODES: usize = 512;

/// The density of the rival theory `method`, which needs the PF-ODE; in D >= 2 with the cloud that it was read off. `None` where
/// the method is no rival's.
///
/// # Errors
/// Where a trajectory or a factorisation fails.
pub fn rival_density(
    experiment: &Experiment,
    method: Method,
    seed: u64,
) -> Result<Option<(Estimate, Option<Ensemble>)>, DensityError> {
    let problem = &experiment.problem;
    let generator = Generator::new(experiment);
    match method {
        Method::GaussianScore => {
            let score = LinearScore::gaussian(problem)?;
            gaussian(experiment, &generator, &score, seed).map(Some)
        }
        Method::LinearRmt => {
            let Some(training) = &experiment.training else {
                return Ok(None);
            };
            let score = LinearScore::trained(problem, Sample::FittedMean(training.clean_points()))?;
            pushed(experiment, &generator, &score, usize::MAX, seed).map(Some)
        }
        Method::SmoothedScore => smoothed(experiment, &generator, seed).map(Some),
        _ => Ok(None),
    }
}

/// The push-forward of the sampler's start through a denoiser.
fn pushed<M: Denoiser>(
    experiment: &Experiment,
    generator: &Generator<'_>,
    model: &M,
    points: usize,
    seed: u64,
) -> Result<(Estimate, Option<Ensemble>), DensityError> {
    let problem = &experiment.problem;
    if problem.dim() == 1 {
        let (estimate, _) = mean_field(generator.flow(), model, generator.bins())?;
        return Ok((estimate, None));
    }
    let cloud = cloud_density(generator, model, points, seed)?;
    Ok((cloud_estimate(&cloud), Some(cloud)))
}

/// The flow of the Gaussian score in closed form, without the steps of a sampler.
fn gaussian(
    experiment: &Experiment,
    generator: &Generator<'_>,
    score: &LinearScore,
    seed: u64,
) -> Result<(Estimate, Option<Ensemble>), DensityError> {
    let problem = &experiment.problem;
    let (shift, growth) = score.carried(problem.t_max, problem.t_min);
    if problem.dim() == 1 {
        let start = generator.start_density();
        let masses = Masses::from_cdf(generator.bins(), |x| start.cdf((x - shift[0]) / growth[0]));
        let errors = Vec::new();
        return Ok((Estimate { masses, errors }, None));
    }
    let mut stretch = score.axes().clone();
    for (mut column, growth) in stretch.column_iter_mut().zip(&growth) {
        column *= *growth;
    }
    // Points are rows: x -> x (U diag(growth) U^T) + shift.
    let map = linalg::multiply(
        linalg::view(&stretch),
        linalg::view(score.axes()).transpose(),
    );
    let cloud = mapped_cloud(generator, seed, |x| {
        let n = x.len() / shift.len();
        let moved = {
            let rows = faer::MatRef::from_column_major_slice(&*x, n, shift.len());
            linalg::multiply(rows, linalg::view(&map))
        };
        for ((x, column), m) in x.chunks_exact_mut(n).zip(moved.column_iter()).zip(&shift) {
            for (x, v) in x.iter_mut().zip(&column) {
                *x = m + v;
            }
        }
    })?;
    Ok((cloud_estimate(&cloud), Some(cloud)))
}

fn smoothed(
    experiment: &Experiment,
    generator: &Generator<'_>,
    seed: u64,
) -> Result<(Estimate, Option<Ensemble>), DensityError> {
    let problem = &experiment.problem;
    let components = problem.data.components().len();
    let nodes = (NODE_EVALUATIONS / components).clamp(FEWEST_NODES, MOST_NODES);
    let points = (EVALUATIONS / (components * nodes)).max(FEWEST_POINTS);
    let width = experiment.predict.smoothing;
    let fine = SmoothedScore::new(problem, width, nodes);
    let (mut estimate, cloud) = pushed(experiment, generator, &fine, points, seed)?;
    if cloud.is_some() {
        let coarse = SmoothedScore::new(problem, width, nodes / 2);
        let (half, _) = pushed(experiment, generator, &coarse, points, seed)?;
        let change = total_variation(&estimate.masses, &half.masses);
        estimate.errors.push(("smoothing", change));
    }
    Ok((estimate, cloud))
}
