//! How far the end points of single paths are from Gaussian, from the statistics alone (derivations/11-quenched-layer.md).

use super::{DensityError, flow_tangents};
use crate::family::Linear;
use crate::problem::Problem;
use crate::sampler::PfOde;
use crate::statistics::{Equivalent, Measure};

/// Stratified starts of the paths.
const STARTS: usize = 24;

/// Cumulants of x_0 over models at fixed x_T, to first order in every sample's influence along the mean path; averages
/// over x_T.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gaussianity {
    /// |skewness| of x_0.
    pub skewness: f64,
    /// Excess kurtosis of x_0.
    pub excess_kurtosis: f64,
    /// Number of equally strong samples that would make the same kurtosis with Gaussian residuals: 3 / kurtosis.
    pub effective_rows: f64,
}

/// x_0 responds to the weights with J = dx_0/dW (length F), so one sample moves it by r a / P, a = J^T Q z/(1 + delta): the
/// cumulants are P^(1-k) E[(r a)^k]. The residual counts as Gaussian around its mean at each node.
pub fn gaussianity(
    problem: &Problem,
    family: &Linear,
    flow: &PfOde,
    equivalent: &Equivalent<'_>,
    samples: usize,
) -> Result<Gaussianity, DensityError> {
    let p = samples as f64;
    let starts: Vec<f64> = flow.start().strata(STARTS).collect();
    let tangents = flow_tangents(problem, family, flow, &equivalent.weights, &starts)?;
    let (population, solution) = (&equivalent.population, &equivalent.coarse);
    let weights = population.weights();
    let misfit = population.misfit(&solution.mean);
    let (mut skewness, mut kurtosis) = (0.0, 0.0);
    for tangent in tangents.tangent.column_iter() {
        let filtered = &solution.resolvent * tangent;
        let influence = population.project(filtered.as_slice());
        let [mut second, mut third, mut fourth] = [0.0; 3];
        for (i, v) in influence.iter().enumerate() {
            let a = v / (1.0 + solution.leverage[i]);
            let (mean, square) = (misfit[i], equivalent.noise[0][i]);
            let spread = (square - mean * mean).max(0.0);
            second += weights[i] * square * a.powi(2);
            third += weights[i] * (mean.powi(3) + 3.0 * mean * spread) * a.powi(3);
            fourth += weights[i]
                * (mean.powi(4) + 6.0 * mean * mean * spread + 3.0 * spread * spread)
                * a.powi(4);
        }
        if second > 0.0 {
            skewness += (third / second.powf(1.5)).abs() / p.sqrt();
            kurtosis += fourth / (second * second) / p;
        }
    }
    let n = STARTS as f64;
    Ok(Gaussianity {
        skewness: skewness / n,
        excess_kurtosis: kurtosis / n,
        effective_rows: 3.0 * n / kurtosis,
    })
}
