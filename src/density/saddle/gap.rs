//! What fills a gap: the most likely fluctuation of the training set, and the gap's probability by importance sampling
//! around it (D13.9).

use argmin::core::{CostFunction, Error, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use nalgebra::DVector;
use rand::RngExt;
use rand_distr::StandardNormal;
use rayon::prelude::*;

use crate::action::{Action, ActionError, FlowMap, Start, WhitenedFlow};
use crate::density::DensityError;
use crate::numerics::normal;
use crate::numerics::random::stream;

/// Positions of xi = x_T/sigma that bracket the edges of the gap, and refinements of the brackets.
const SECTIONS: usize = 24;
const REACH: f64 = 6.0;
const ROOT_STEPS: usize = 40;
/// Accuracy of an edge in xi: far below the probabilities asked for, relative to the largest.
const EDGE: f64 = 1e-7;
const DESCENT: u64 = 80;
const MEMORY: usize = 10;

/// The gap's probability P(gap) = E_eta P(gap | eta), with P(gap | eta) exact by the edges in x_T.
#[derive(Debug, Clone)]
pub struct GapFilling {
    /// low and high end of x_0.
    pub gap: (f64, f64),
    /// The fluctuation that makes e^{-|eta|^2/2} P(gap | eta) largest.
    pub eta: DVector<f64>,
    /// |eta|^2/2, and P(gap | eta) there and at the mean model.
    pub action: f64,
    pub filled: f64,
    pub unfilled: f64,
    /// P(gap) and its standard error from draws around eta.
    pub probability: f64,
    pub standard_error: f64,
    /// Trajectories integrated, the search for eta included.
    pub evaluations: u64,
    /// Paths of the edges under the optimal fluctuation.
    pub edges: [Vec<f64>; 2],
    /// Weights of the optimal model minus the mean ones, length F.
    pub perturbation: DVector<f64>,
}

/// Finds the optimal fluctuation, then draws `draws` models around it.
///
/// # Errors
/// When the mean model itself reaches the gap with no x_T within 6 standard deviations, or a path overflows.
pub fn gap_filling(
    action: &Action<'_>,
    sigma_start: f64,
    gap: (f64, f64),
    draws: usize,
    seed: u64,
) -> Result<GapFilling, DensityError> {
    let target = Target {
        map: WhitenedFlow {
            action,
            start: Start::Normal { std: sigma_start },
        },
        gap,
        count: std::sync::atomic::AtomicU64::new(0),
    };
    let mean = DVector::zeros(action.rank());
    let unfilled = target.edges(&mean)?.mass();
    if unfilled.is_nan() || unfilled <= 0.0 {
        return Err(DensityError::GapOutOfReach {
            low: gap.0,
            high: gap.1,
        });
    }
    let eta = target.optimum(&mean)?;
    let here = target.edges(&eta)?;
    let weights: Vec<f64> = (0..draws as u64)
        .into_par_iter()
        .map(|i| target.weight(&eta, seed, i))
        .collect::<Result<_, _>>()?;
    let n = draws as f64;
    let probability = weights.iter().sum::<f64>() / n;
    let variance = weights
        .iter()
        .map(|w| (w - probability).powi(2))
        .sum::<f64>()
        / (n - 1.0);
    let path = |xi: f64| target.map.path(&eta.clone().push(xi));
    Ok(GapFilling {
        gap,
        action: 0.5 * eta.norm_squared(),
        filled: here.mass(),
        unfilled,
        probability,
        standard_error: (variance / n).sqrt(),
        edges: [path(here.low)?, path(here.high)?],
        evaluations: target.count.into_inner(),
        perturbation: action.factor() * &eta,
        eta,
    })
}

/// Start xi of the trajectories that end at the edges of the gap. The flow map is monotone in x_T.
struct Edges {
    low: f64,
    high: f64,
}

impl Edges {
    fn mass(&self) -> f64 {
        // Both in the same tail: differences of small numbers, not of numbers near one.
        if self.low > 0.0 {
            normal::cdf(-self.low) - normal::cdf(-self.high)
        } else {
            normal::cdf(self.high) - normal::cdf(self.low)
        }
    }
}

struct Target<'a> {
    map: WhitenedFlow<'a>,
    gap: (f64, f64),
    count: std::sync::atomic::AtomicU64,
}

impl Target<'_> {
    fn end(&self, eta: &DVector<f64>, xi: f64) -> Result<f64, ActionError> {
        self.count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.map.end(&eta.clone().push(xi))
    }

    fn edges(&self, eta: &DVector<f64>) -> Result<Edges, ActionError> {
        let grid: Vec<(f64, f64)> = (0..=SECTIONS)
            .map(|i| {
                let xi = REACH * (2.0 * i as f64 / SECTIONS as f64 - 1.0);
                Ok((xi, self.end(eta, xi)?))
            })
            .collect::<Result<_, ActionError>>()?;
        Ok(Edges {
            low: self.edge(eta, &grid, self.gap.0)?,
            high: self.edge(eta, &grid, self.gap.1)?,
        })
    }

    /// xi whose trajectory ends at `end`: bracketed on the grid, then by regula falsi (Illinois).
    fn edge(&self, eta: &DVector<f64>, grid: &[(f64, f64)], end: f64) -> Result<f64, ActionError> {
        let Some(i) = grid.windows(2).position(|w| w[0].1 <= end && w[1].1 > end) else {
            let below = grid.last().is_some_and(|last| last.1 <= end);
            return Ok(if below {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            });
        };
        let ((mut a, fa), (mut b, fb)) = (grid[i], grid[i + 1]);
        let (mut fa, mut fb) = (fa - end, fb - end);
        let mut side: i32 = 0;
        for _ in 0..ROOT_STEPS {
            if b - a < EDGE || fa == 0.0 {
                break;
            }
            // The flow is steep between the points: fall back to halving when the secant keeps to one end.
            let x = if side.abs() >= 3 {
                side = 0;
                0.5 * (a + b)
            } else {
                (a * fb - b * fa) / (fb - fa)
            };
            let f = self.end(eta, x)? - end;
            if f <= 0.0 {
                (a, fa) = (x, f);
                if side < 0 {
                    fb *= 0.5;
                }
                side = side.min(0) - 1;
            } else {
                (b, fb) = (x, f);
                if side > 0 {
                    fa *= 0.5;
                }
                side = side.max(0) + 1;
            }
        }
        Ok(if fa == 0.0 { a } else { 0.5 * (a + b) })
    }

    /// Minimiser of |eta|^2/2 - ln P(gap | eta).
    fn optimum(&self, start: &DVector<f64>) -> Result<DVector<f64>, DensityError> {
        let solver: LBFGS<_, Vec<f64>, Vec<f64>, f64> =
            LBFGS::new(MoreThuenteLineSearch::new(), MEMORY);
        let start = start.as_slice().to_vec();
        let outcome = Executor::new(self, solver)
            .configure(|state| state.param(start).max_iters(DESCENT))
            .run()
            .map_err(|e| DensityError::Optimum {
                message: e.to_string(),
            })?;
        let best = outcome
            .state()
            .get_best_param()
            .ok_or_else(|| DensityError::Optimum {
                message: "no finite point was met".into(),
            })?;
        Ok(DVector::from_column_slice(best))
    }

    /// P(gap | eta + noise) times the ratio of N(0, I) to N(eta, I).
    fn weight(&self, eta: &DVector<f64>, seed: u64, index: u64) -> Result<f64, ActionError> {
        let mut rng = stream(seed, index);
        let noise = DVector::from_fn(eta.len(), |_, _| rng.sample::<f64, _>(StandardNormal));
        let ratio = (-eta.dot(&noise) - 0.5 * eta.norm_squared()).exp();
        Ok(ratio * self.edges(&(eta + noise))?.mass())
    }
}

impl CostFunction for &Target<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, eta: &Vec<f64>) -> Result<f64, Error> {
        let eta = DVector::from_column_slice(eta);
        let mass = self.edges(&eta)?.mass();
        Ok(0.5 * eta.norm_squared() - mass.max(f64::MIN_POSITIVE).ln())
    }
}

impl Gradient for &Target<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    /// The edge moves by d xi/d eta = -(dPhi/d eta)/(dPhi/d xi).
    fn gradient(&self, eta: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let eta = DVector::from_column_slice(eta);
        let edges = self.edges(&eta)?;
        let rank = eta.len();
        let mut sum = eta.clone();
        for (xi, sign) in [(edges.low, -1.0), (edges.high, 1.0)] {
            if !xi.is_finite() {
                continue;
            }
            let (_, slope) = self.map.gradient(&eta.clone().push(xi))?;
            let rate = sign * normal::pdf(xi) / (edges.mass() * slope[rank]);
            sum.axpy(rate, &slope.rows(0, rank), 1.0);
        }
        Ok(sum.as_slice().to_vec())
    }
}
