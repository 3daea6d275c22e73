//! Where reverse trajectories start.

use std::cell::RefCell;

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::{LinePosterior, Problem};
use crate::numerics::normal;

/// The law of x_T asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartLaw {
    /// N(0, sigma_T^2 I).
    #[default]
    Normal,
    /// N(0, I).
    Standard,
    /// The noised data p(x|t_max).
    Noised,
}

/// The law of x_T for one problem.
#[derive(Debug, Clone)]
pub enum StartDensity {
    /// N(0, std^2 I).
    Normal { std: f64 },
    /// The noised data, in any dimension, by their components.
    Noised {
        problem: Problem,
        /// Centre, standard deviation and weight of each component; only on the line.
        line: Vec<(f64, f64, f64)>,
    },
}

impl StartDensity {
    pub fn new(problem: &Problem, law: StartLaw) -> Self {
        match law {
            StartLaw::Normal => Self::Normal {
                std: problem.diffusion.sigma(problem.t_max),
            },
            StartLaw::Standard => Self::Normal { std: 1.0 },
            StartLaw::Noised => Self::Noised {
                problem: problem.clone(),
                line: line_components(problem),
            },
        }
    }

    /// P(x_T <= x), D = 1.
    pub fn cdf(&self, x: f64) -> f64 {
        match self {
            Self::Normal { std } => normal::cdf(x / std),
            Self::Noised { line, .. } => line
                .iter()
                .map(|(centre, std, w)| w * normal::cdf((x - centre) / std))
                .sum(),
        }
    }

    /// Density of x_T, D = 1.
    pub fn density(&self, x: f64) -> f64 {
        match self {
            Self::Normal { std } => normal::pdf(x / std) / std,
            Self::Noised { line, .. } => line
                .iter()
                .map(|(centre, std, w)| w * normal::pdf((x - centre) / std) / std)
                .sum(),
        }
    }

    /// P(x_T > x), D = 1, accurate where it is small.
    fn above(&self, x: f64) -> f64 {
        match self {
            Self::Normal { std } => normal::cdf(-x / std),
            Self::Noised { line, .. } => line
                .iter()
                .map(|(centre, std, w)| w * normal::cdf((centre - x) / std))
                .sum(),
        }
    }

    /// P(a < x_T <= b), D = 1, from whichever tail is more accurate.
    pub fn mass(&self, a: f64, b: f64) -> f64 {
        let above = self.above(a);
        if above < 0.5 {
            above - self.above(b)
        } else {
            self.cdf(b) - self.cdf(a)
        }
    }

    /// Inverse of `cdf`, u in (0, 1).
    pub fn quantile(&self, u: f64) -> f64 {
        match self {
            Self::Normal { std } => std * normal::quantile(u),
            Self::Noised { line, .. } => {
                // The quantiles of the components enclose that of the mixture.
                let z = normal::quantile(u);
                let ends = line.iter().map(|(centre, std, _)| centre + std * z);
                let low = ends.clone().fold(f64::INFINITY, f64::min);
                let high = ends.fold(f64::NEG_INFINITY, f64::max);
                self.bisect(u, low, high)
            }
        }
    }

    /// The x beyond which lies the probability u, D = 1: from the upper tail what `quantile` is from the lower.
    pub fn upper_quantile(&self, u: f64) -> f64 {
        match self {
            Self::Normal { std } => -std * normal::quantile(u),
            Self::Noised { .. } => self.quantile(1.0 - u),
        }
    }

    /// Halves the interval until rounding; from the nearer tail.
    fn bisect(&self, u: f64, mut low: f64, mut high: f64) -> f64 {
        loop {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                return middle;
            }
            let below = if u < 0.5 {
                self.cdf(middle) < u
            } else {
                self.above(middle) > 1.0 - u
            };
            if below {
                low = middle;
            } else {
                high = middle;
            }
        }
    }

    /// Medians of `count` strata of equal probability, D = 1.
    pub fn strata(&self, count: usize) -> impl Iterator<Item = f64> + '_ {
        (0..count).map(move |i| self.quantile((i as f64 + 0.5) / count as f64))
    }

    /// Interval that holds all but the mass beyond `reach` standard deviations of every component, D = 1.
    pub fn interval(&self, reach: f64) -> (f64, f64) {
        match self {
            Self::Normal { std } => (-reach * std, reach * std),
            Self::Noised { line, .. } => line.iter().fold(
                (f64::INFINITY, f64::NEG_INFINITY),
                |(low, high), (centre, std, _)| {
                    (
                        low.min(centre - reach * std),
                        high.max(centre + reach * std),
                    )
                },
            ),
        }
    }

    /// Independent starts in D dimensions, coordinate-major, D n numbers.
    pub fn random_points<R: Rng + ?Sized>(
        &self,
        dim: usize,
        count: usize,
        rng: &mut R,
    ) -> Vec<f64> {
        let rng = RefCell::new(rng);
        self.points(
            dim,
            count,
            |_| rng.borrow_mut().random(),
            |_, _| rng.borrow_mut().sample(StandardNormal),
        )
    }

    /// Starts in D dimensions (coordinate-major, D n numbers) from standard normal numbers: `normal(i, k)` for coordinate i of
    /// start k, and `uniform(k)` for what chooses its component.
    pub fn points(
        &self,
        dim: usize,
        count: usize,
        mut uniform: impl FnMut(usize) -> f64,
        mut normal: impl FnMut(usize, usize) -> f64,
    ) -> Vec<f64> {
        match self {
            Self::Normal { std } => {
                let mut x = Vec::with_capacity(dim * count);
                for i in 0..dim {
                    x.extend((0..count).map(|k| std * normal(i, k)));
                }
                x
            }
            Self::Noised { problem, .. } => {
                let t = problem.t_max;
                let (alpha, sigma) = (problem.diffusion.alpha(t), problem.diffusion.sigma(t));
                let mut x = vec![0.0; dim * count];
                let mut point = vec![0.0; dim];
                for k in 0..count {
                    let component = problem.data.component_at(uniform(k));
                    let normals = (0..dim).map(|i| normal(i, k));
                    component.noised(alpha, sigma, normals, &mut point);
                    for (i, p) in point.iter().enumerate() {
                        x[i * count + k] = *p;
                    }
                }
                x
            }
        }
    }
}

fn line_components(problem: &Problem) -> Vec<(f64, f64, f64)> {
    if problem.dim() > 1 {
        return Vec::new();
    }
    LinePosterior::new(problem, problem.t_max)
        .marginals()
        .zip(problem.data.weights())
        .map(|((centre, std), w)| (centre, std, *w))
        .collect()
}
