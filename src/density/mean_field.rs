//! Densities of a single field: the data itself and the push-forward through one denoiser.

use super::{Bins, DensityError, Estimate, Masses, PushForward, Refinement};
use crate::family::Denoiser;
use crate::numerics::normal;
use crate::problem::{LinePosterior, Problem};
use crate::sampler::PfOde;

/// The noised data distribution p(x|t), exactly.
pub fn noised_data(problem: &Problem, t: f64, bins: &Bins) -> Masses {
    let marginals: Vec<(f64, f64)> = LinePosterior::new(problem, t).marginals().collect();
    Masses::from_cdf(bins, |x| {
        marginals
            .iter()
            .zip(problem.data.weights())
            .map(|((centre, std), w)| w * normal::cdf((x - centre) / std))
            .sum()
    })
}

/// The law of x_T carried through one denoiser: with the mean weights, the limit V -> 0 of the path integral;
/// with the exact denoiser, memorisation.
pub fn mean_field<M: Denoiser + ?Sized>(
    flow: &PfOde,
    model: &M,
    bins: &Bins,
) -> Result<(Estimate, PushForward), DensityError> {
    let fine = PushForward::new(flow, model, bins, Refinement::SINGLE)?;
    let coarse = Refinement {
        quantiles: Refinement::SINGLE.quantiles / 2,
        rounds: Refinement::SINGLE.rounds - 1,
    };
    let coarse = PushForward::new(flow, model, bins, coarse)?;
    let change = crate::compare::total_variation(&fine.masses, &coarse.masses);
    let estimate = Estimate {
        masses: fine.masses.clone(),
        errors: vec![("push-forward", change.max(fine.unresolved))],
    };
    Ok((estimate, fine))
}
