//! The posterior in the plane, without allocation: the inner loop of the two-dimensional solvers.

use super::Problem;

/// A symmetric 2 x 2 matrix: its elements 11, 12, 22.
pub type Symmetric = [f64; 3];

/// Posterior mean of x0 and score at one point of the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaneMean {
    /// E[x0|x,t].
    pub mean: [f64; 2],
    /// grad ln p(x|t).
    pub score: [f64; 2],
}

/// Posterior moments of x0 given x in the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaneMoments {
    /// ln p(x|t).
    pub log_density: f64,
    /// E[x0|x,t].
    pub mean: [f64; 2],
    /// Cov(x0|x,t).
    pub covariance: Symmetric,
    /// grad ln p(x|t).
    pub score: [f64; 2],
}

#[derive(Debug, Clone, Copy)]
struct PlaneComponent {
    /// Mean of x0.
    mean: [f64; 2],
    /// Mean alpha m of x_t.
    centre: [f64; 2],
    /// Covariance alpha^2 Sigma + sigma^2 of x_t, and its inverse.
    marginal: Symmetric,
    precision: Symmetric,
    /// alpha Sigma precision: how E[x0|x] of this component follows x.
    gain: Symmetric,
    /// Cov(x0|x) of this component.
    own: Symmetric,
    /// ln(weight / (2 pi sqrt(det marginal))).
    log_norm: f64,
}

/// The noised mixture at one time, D = 2. Agrees with [`super::posterior`] (tested).
#[derive(Debug, Clone)]
pub struct PlanePosterior {
    components: Vec<PlaneComponent>,
}

impl PlanePosterior {
    /// Prepares time `t`. The problem must be two-dimensional.
    pub fn new(problem: &Problem, t: f64) -> Self {
        debug_assert_eq!(problem.dim(), 2);
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        let components = problem
            .data
            .components()
            .iter()
            .zip(problem.data.log_weights())
            .map(|(c, log_weight)| {
                let marginal = |v: f64| alpha * alpha * v + sigma2;
                let (u, v) = match &c.axes {
                    Some(axes) => ([axes[(0, 0)], axes[(1, 0)]], [axes[(0, 1)], axes[(1, 1)]]),
                    None => ([1.0, 0.0], [0.0, 1.0]),
                };
                // A function of the covariance, through its eigenvalues.
                let of = |f: &dyn Fn(f64) -> f64| {
                    let (f, g) = (f(c.variances[0]), f(c.variances[1]));
                    [
                        f * u[0] * u[0] + g * v[0] * v[0],
                        f * u[0] * u[1] + g * v[0] * v[1],
                        f * u[1] * u[1] + g * v[1] * v[1],
                    ]
                };
                let log_det: f64 = c.variances.iter().map(|v| marginal(*v).ln()).sum();
                PlaneComponent {
                    mean: [c.mean[0], c.mean[1]],
                    centre: [alpha * c.mean[0], alpha * c.mean[1]],
                    marginal: of(&marginal),
                    precision: of(&|v| 1.0 / marginal(v)),
                    gain: of(&|v| alpha * v / marginal(v)),
                    own: of(&|v| v * sigma2 / marginal(v)),
                    log_norm: log_weight - 0.5 * log_det - (2.0 * std::f64::consts::PI).ln(),
                }
            })
            .collect();
        Self { components }
    }

    /// Mean and standard deviation of each coordinate of x_t, for every mixture component.
    pub fn marginals(&self) -> impl Iterator<Item = [(f64, f64); 2]> + '_ {
        self.components.iter().map(|c| {
            [
                (c.centre[0], c.marginal[0].sqrt()),
                (c.centre[1], c.marginal[2].sqrt()),
            ]
        })
    }

    /// Posterior mean and score at `x`.
    pub fn mean(&self, x: [f64; 2]) -> PlaneMean {
        let top = self.largest(x);
        let (mut sum, mut mean, mut pull) = (0.0, [0.0; 2], [0.0; 2]);
        for c in &self.components {
            let (log, misfit, force) = c.log_joint(x);
            let w = (log - top).exp();
            let conditional = c.conditional(misfit);
            sum += w;
            for i in 0..2 {
                mean[i] += w * conditional[i];
                pull[i] += w * force[i];
            }
        }
        PlaneMean {
            mean: mean.map(|m| m / sum),
            score: pull.map(|f| -f / sum),
        }
    }

    /// Posterior moments at `x`.
    pub fn at(&self, x: [f64; 2]) -> PlaneMoments {
        let top = self.largest(x);
        let (mut sum, mut mean, mut pull, mut second) = (0.0, [0.0; 2], [0.0; 2], [0.0; 3]);
        for c in &self.components {
            let (log, misfit, force) = c.log_joint(x);
            let w = (log - top).exp();
            let conditional = c.conditional(misfit);
            // Updating mean and scatter together keeps the covariance a sum of positive terms: no cancellation.
            let before = sum;
            sum += w;
            let off = [conditional[0] - mean[0], conditional[1] - mean[1]];
            let share = if sum > 0.0 { w / sum } else { 0.0 };
            let spread = before * share;
            second[0] += spread * off[0] * off[0] + w * c.own[0];
            second[1] += spread * off[0] * off[1] + w * c.own[1];
            second[2] += spread * off[1] * off[1] + w * c.own[2];
            for i in 0..2 {
                mean[i] += share * off[i];
                pull[i] += w * force[i];
            }
        }
        PlaneMoments {
            log_density: top + sum.ln(),
            mean,
            covariance: second.map(|s| s / sum),
            score: pull.map(|f| -f / sum),
        }
    }

    fn largest(&self, x: [f64; 2]) -> f64 {
        self.components
            .iter()
            .map(|c| c.log_joint(x).0)
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

impl PlaneComponent {
    /// ln of weight times density at `x`, the misfit x - alpha m, and the precision times it.
    fn log_joint(&self, x: [f64; 2]) -> (f64, [f64; 2], [f64; 2]) {
        let misfit = [x[0] - self.centre[0], x[1] - self.centre[1]];
        let force = apply(&self.precision, misfit);
        let square = misfit[0] * force[0] + misfit[1] * force[1];
        (self.log_norm - 0.5 * square, misfit, force)
    }

    /// E[x0|x] of this component alone.
    fn conditional(&self, misfit: [f64; 2]) -> [f64; 2] {
        let shift = apply(&self.gain, misfit);
        [self.mean[0] + shift[0], self.mean[1] + shift[1]]
    }
}

fn apply(m: &Symmetric, v: [f64; 2]) -> [f64; 2] {
    [m[0] * v[0] + m[1] * v[1], m[1] * v[0] + m[2] * v[1]]
}
