//! `[monte_carlo]`.

use super::{check, count};
use crate::experiment::{MonteCarloOptions, Process, SamplerOptions, Start};
use crate::family::Family;
use crate::problem::Problem;
use crate::spec::error::Fault;
use crate::spec::path::FieldPath;
use crate::spec::raw::RawMonteCarlo;

/// The Monte Carlo side.
pub(super) fn resolve(
    raw: &mut RawMonteCarlo,
    problem: &Problem,
    family: &Family,
    sampler: &SamplerOptions,
) -> Result<MonteCarloOptions, Fault> {
    let random_because = match (family, sampler.process) {
        (_, Process::ReverseSde { .. }) => Some(REVERSE_SDE),
        (Family::Naive(naive), _) if naive.kappa > 0.0 => Some("model.kappa > 0"),
        _ => None,
    };
    let default_models = match family {
        Family::Linear(_) | Family::Kernel(_) => 1000,
        Family::Naive(_) | Family::Network(_) | Family::LowRank(_) => 100,
    };
    let default_start = match random_because {
        Some(_) => Start::Random,
        None => Start::Stratified,
    };
    let start = *raw.start.get_or_insert(default_start);
    if let (Start::Stratified, Some(reason)) = (start, random_because) {
        return Err(
            Fault::value(FieldPath::of("monte_carlo.start")).allowed(format!(
                "\"random\" with {reason}: a stratified start needs deterministic trajectories"
            )),
        );
    }
    let (default_particles, least) = match start {
        Start::Stratified if problem.dim() == 1 => (256, 32),
        // A histogram of points, not a chain of quantiles.
        Start::Stratified => (2048, 32),
        Start::Random => (4096, 8),
    };
    let models = *raw.models.get_or_insert(default_models);
    let particles = *raw.particles.get_or_insert(default_particles);
    check("monte_carlo.models", models >= 2)?;
    Ok(MonteCarloOptions {
        models: count("monte_carlo.models", models, 2, u64::MAX)?,
        start,
        particles: count("monte_carlo.particles", particles, least, u64::MAX)?,
    })
}

const REVERSE_SDE: &str = "sampler.kind = \"reverse-sde\"";
