//! What fills a gap: the most likely fluctuation of the training set, and the gap's probability by importance sampling
//! around it (D13.9).

use std::sync::atomic::{AtomicU64, Ordering};

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

/// Bracket of xi = x_T/sigma around where an edge is expected, and how far it may grow.
const BRACKET: f64 = 0.25;
const REACH: f64 = 6.0;
const ROOT_STEPS: usize = 60;
/// Accuracy of an edge: x_0 there, as a share of the gap. The descent needs a smooth function, a draw does not.
const EDGE: f64 = 1e-3;
const SMOOTH_EDGE: f64 = 1e-8;
/// Length of the gradient at which the optimum is found: |eta| is of order one.
const FLAT: f64 = 1e-3;
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
    let mut target = Target {
        map: WhitenedFlow {
            action,
            start: Start::Normal { std: sigma_start },
        },
        gap,
        near: 0.0,
        count: AtomicU64::new(0),
    };
    let mean = DVector::zeros(action.rank());
    let first = target.edges(&mean, 0.0, SMOOTH_EDGE)?;
    let unfilled = first.mass();
    if unfilled.is_nan() || unfilled <= 0.0 {
        return Err(DensityError::GapOutOfReach {
            low: gap.0,
            high: gap.1,
        });
    }
    target.near = first.middle();
    let eta = target.optimum(&mean)?;
    let here = target.edges(&eta, target.near, SMOOTH_EDGE)?;
    let near = here.middle();
    let weights: Vec<f64> = (0..draws as u64)
        .into_par_iter()
        .map(|i| target.weight(&eta, near, seed, i))
        .collect::<Result<_, _>>()?;
    let n = draws as f64;
    let probability = weights.iter().sum::<f64>() / n;
    let variance = weights
        .iter()
        .map(|w| (w - probability).powi(2))
        .sum::<f64>()
        / (n - 1.0);
    // An edge out of reach is shown by the outermost path.
    let path = |xi: f64| target.map.path(&eta.clone().push(xi.clamp(-REACH, REACH)));
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
    /// Between the edges; of one that is out of reach (infinite) the outermost start counts.
    fn middle(&self) -> f64 {
        0.5 * (self.low.clamp(-REACH, REACH) + self.high.clamp(-REACH, REACH))
    }

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
    /// Where the edges are looked for.
    near: f64,
    count: AtomicU64,
}

impl Target<'_> {
    fn end(&self, eta: &DVector<f64>, xi: f64) -> Result<f64, ActionError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.map.end(&eta.clone().push(xi))
    }

    /// Both edges, looked for around `near`.
    fn edges(&self, eta: &DVector<f64>, near: f64, accuracy: f64) -> Result<Edges, ActionError> {
        let mut known: Vec<(f64, f64)> = Vec::new();
        let mut reach = BRACKET;
        for side in [-1.0, 1.0] {
            reach = reach.min(REACH);
            loop {
                let xi = near + side * reach;
                let end = self.end(eta, xi)?;
                known.push((xi, end));
                let outside = if side < 0.0 {
                    end <= self.gap.0
                } else {
                    end > self.gap.1
                };
                if outside || reach >= REACH {
                    break;
                }
                reach *= 2.0;
            }
            reach = BRACKET;
        }
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(Edges {
            low: self.edge(eta, &mut known, self.gap.0, accuracy)?,
            high: self.edge(eta, &mut known, self.gap.1, accuracy)?,
        })
    }

    /// xi whose trajectory ends at `end`, from sorted trajectories that are `known`: regula falsi (Illinois), with
    /// halving where the secant keeps to one end, since the flow is steep between the points.
    fn edge(
        &self,
        eta: &DVector<f64>,
        known: &mut Vec<(f64, f64)>,
        end: f64,
        accuracy: f64,
    ) -> Result<f64, ActionError> {
        let Some(i) = known.windows(2).position(|w| w[0].1 <= end && w[1].1 > end) else {
            let below = known.last().is_some_and(|last| last.1 <= end);
            return Ok(if below {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            });
        };
        let accuracy = accuracy * (self.gap.1 - self.gap.0);
        let ((mut a, mut fa), (mut b, mut fb)) = (known[i], known[i + 1]);
        (fa, fb) = (fa - end, fb - end);
        let mut side: i32 = 0;
        for _ in 0..ROOT_STEPS {
            let x = if side.abs() >= 2 {
                side = 0;
                0.5 * (a + b)
            } else {
                (a * fb - b * fa) / (fb - fa)
            };
            let f = self.end(eta, x)? - end;
            let at = known.partition_point(|k| k.0 < x);
            known.insert(at, (x, f + end));
            if f.abs() < accuracy || x <= a || x >= b {
                return Ok(x);
            }
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
        Ok(0.5 * (a + b))
    }

    /// Minimiser of |eta|^2/2 - ln P(gap | eta).
    fn optimum(&self, start: &DVector<f64>) -> Result<DVector<f64>, DensityError> {
        let failed = |e: Error| DensityError::Optimum {
            message: e.to_string(),
        };
        let solver: LBFGS<_, Vec<f64>, Vec<f64>, f64> =
            LBFGS::new(MoreThuenteLineSearch::new(), MEMORY)
                .with_tolerance_grad(FLAT)
                .and_then(|solver| solver.with_tolerance_cost(0.1 * FLAT * FLAT))
                .map_err(failed)?;
        let start = start.as_slice().to_vec();
        let outcome = Executor::new(self, solver)
            .configure(|state| state.param(start).max_iters(DESCENT))
            .run()
            .map_err(failed)?;
        let best = outcome
            .state()
            .get_best_param()
            .ok_or_else(|| DensityError::Optimum {
                message: "no finite point was met".into(),
            })?;
        Ok(DVector::from_column_slice(best))
    }

    /// P(gap | eta') times the ratio of N(0, I) to the proposal: half N(0, I), half N(eta, I), draws taking turns. No
    /// weight then exceeds 2 P(gap | eta'), however far the integrand is from a Gaussian around eta.
    fn weight(
        &self,
        eta: &DVector<f64>,
        near: f64,
        seed: u64,
        index: u64,
    ) -> Result<f64, ActionError> {
        let mut rng = stream(seed, index);
        let mut drawn = DVector::from_fn(eta.len(), |_, _| rng.sample::<f64, _>(StandardNormal));
        if index % 2 == 1 {
            drawn += eta;
        }
        let ratio = 2.0 / (1.0 + (eta.dot(&drawn) - 0.5 * eta.norm_squared()).exp());
        Ok(ratio * self.edges(&drawn, near, EDGE)?.mass())
    }
}

impl CostFunction for &Target<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, eta: &Vec<f64>) -> Result<f64, Error> {
        let eta = DVector::from_column_slice(eta);
        let mass = self.edges(&eta, self.near, SMOOTH_EDGE)?.mass();
        Ok(0.5 * eta.norm_squared() - mass.max(f64::MIN_POSITIVE).ln())
    }
}

impl Gradient for &Target<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    /// The edge moves by d xi/d eta = -(dPhi/d eta)/(dPhi/d xi).
    fn gradient(&self, eta: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let eta = DVector::from_column_slice(eta);
        let edges = self.edges(&eta, self.near, SMOOTH_EDGE)?;
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
