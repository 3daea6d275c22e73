//! Families of kernel machines: the exact kernel, which is trained, and its expansion in product features, which the theory is
//! solved in.

use nalgebra::DMatrix;

use super::Linear;
use super::expansion::{Expansion, ExpansionError};
use super::features::dot;
use super::kernel::Kernel;
use crate::numerics::random::stream;
use crate::problem::{Prediction, Problem, Samples, Training};

/// Least ridge, in units of the mean of lambda K(z, z): at a smaller one the condition of the systems leaves the fixed points of the
/// statistics fewer than six digits.
const JITTER: f64 = 1e-9;
/// Samples that this mean is estimated from, and their stream.
const RIDGE_DRAWS: usize = 512;
const RIDGE_SEED: u64 = 0x5eed_0009;

/// Models f in the reproducing-kernel space of K, trained from f = 0 or from a random initial function.
///
/// The expansion K(z, z') = phi(z)^T L L^T phi(z') in products of Chebyshev polynomials makes f = W phi linear in its weights,
/// with the ridge |f|_K^2 = W (L L^T)^-1 W^T: what the solvers of linear families need. Training does not use it.
#[derive(Debug, Clone)]
pub struct KernelFamily {
    pub kernel: Kernel,
    /// The polynomials.
    pub linear: Linear,
    /// L, F x r.
    pub factor: DMatrix<f64>,
    /// The covariance of the random initial function as such a factor, F x r', with the kernel it comes from.
    pub initial: Option<(Kernel, DMatrix<f64>)>,
    /// Root mean square of |f - its expansion| over unit balls |f|_K <= 1 at random points of the noised data, relative to that
    /// of f: an upper bound for what any trained function loses.
    pub expansion_error: f64,
}

impl KernelFamily {
    /// Expands `kernel`, and the kernel of the initial function if there is one.
    pub fn new(
        problem: &Problem,
        predicts: Prediction,
        kernel: Kernel,
        initial: Option<Kernel>,
    ) -> Result<Self, ExpansionError> {
        let expansion = Expansion::new(problem, &kernel)?;
        let initial = match initial {
            None => None,
            Some(first) => {
                let factor = expansion.factor_of(&first)?;
                Some((first, factor))
            }
        };
        Ok(Self {
            expansion_error: expansion.error,
            linear: Linear {
                features: expansion.features,
                predicts,
            },
            kernel,
            factor: expansion.factor,
            initial,
        })
    }

    /// The factor of the initial function's covariance, F x r', where that is random.
    pub fn initial_factor(&self) -> Option<&DMatrix<f64>> {
        self.initial.as_ref().map(|(_, factor)| factor)
    }

    /// The ridge that machines are trained with, and their statistics taken at: that of `training`, or where it is smaller the jitter
    /// that rounding asks for (D22.15).
    pub fn ridge(&self, problem: &Problem, training: &Training) -> f64 {
        let draws = Training {
            samples: RIDGE_DRAWS,
            draws: 1,
            ..training.clone()
        };
        let mut rng = stream(RIDGE_SEED, 0);
        let samples = Samples::draw(problem, self.linear.predicts, &draws, &mut rng);
        let points = self.kernel.points(&samples.x, &samples.t);
        let own = self.kernel.diagonal(&points);
        let trace = dot(&samples.lambda, &own);
        training.ridge.max(JITTER * trace / RIDGE_DRAWS as f64)
    }
}
