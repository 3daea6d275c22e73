//! How far the theory of a kernel, which is that of its expansion in polynomials, is from the kernel's own machines (D22.16).

use nalgebra::DVector;

use crate::experiment::Experiment;
use crate::monte_carlo::KernelTrainer;
use crate::numerics::random::stream;
use crate::problem::Triple;
use crate::sampler::time_grid;
use crate::statistics::WeightStatistics;

const PLACES: usize = 64;
/// It is part of the prediction, not of the experiment.
const SEED: u64 = 0x5eed_00e5;

/// What the expansion changes of a machine, in standard deviations over machines (root mean squares), where the sampler goes: at noised
/// data of times spaced as its grid.
pub(super) fn expansion_shift(weights: &WeightStatistics, experiment: &Experiment) -> Option<f64> {
    let (problem, sampler) = (&experiment.problem, &experiment.sampler);
    let (family, training) = (experiment.family.kernel()?, experiment.training.as_ref()?);
    let (dim, features) = (problem.dim(), &family.linear.features);
    let times = time_grid(sampler.grid, problem.t_max, problem.t_min, PLACES - 1);
    let mut rng = stream(SEED, 0);
    let mut x = vec![0.0; dim * PLACES];
    let mut place = Triple {
        t: 0.0,
        x0: vec![0.0; dim],
        x: vec![0.0; dim],
    };
    let mut phi = DVector::zeros(features.len());
    let mut variance = 0.0;
    for (k, t) in times.iter().enumerate() {
        place.t = *t;
        problem.sample_at_time(&mut rng, &mut place);
        for (i, coordinate) in place.x.iter().enumerate() {
            x[i * PLACES + k] = *coordinate;
        }
        features.values(&place.x, *t, phi.as_mut_slice());
        for output in 0..dim {
            variance += weights.standard_deviation(&phi, output).powi(2);
        }
    }
    let trainer = KernelTrainer::new(problem, family, training);
    let change = trainer
        .expansion_change(&x, &times, &mut stream(SEED, 1))
        .ok()?;
    let shift = (change.norm_squared() / variance).sqrt();
    shift.is_finite().then_some(shift)
}
