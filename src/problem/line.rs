//! The posterior on the line, without allocation: the inner loop of every one-dimensional solver.

use super::Problem;

/// Posterior moments of x0 given x in one dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineMoments {
    /// ln p(x|t).
    pub log_density: f64,
    /// E[x0|x,t].
    pub mean: f64,
    /// Var(x0|x,t).
    pub variance: f64,
    /// d ln p(x|t) / dx.
    pub score: f64,
}

/// Law of x0 given x under a tilt exp(tau x0), in one dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TiltedMoments {
    /// ln E[exp(tau x0)|x,t].
    pub log: f64,
    /// Mean and variance of the tilted law: the first two derivatives of `log`.
    pub mean: f64,
    pub variance: f64,
}

#[derive(Debug, Clone, Copy)]
struct LineComponent {
    /// Mean of x0.
    mean: f64,
    /// Variance of x0.
    variance: f64,
    /// Mean alpha m of x_t.
    centre: f64,
    /// Variance alpha^2 v + sigma^2 of x_t.
    marginal: f64,
    /// ln(weight / sqrt(2 pi marginal)).
    log_norm: f64,
}

/// The noised mixture at one time, D = 1. Agrees with [`super::posterior`] (tested).
#[derive(Debug, Clone)]
pub struct LinePosterior {
    components: Vec<LineComponent>,
    alpha: f64,
    sigma2: f64,
}

impl LinePosterior {
    /// Prepares time `t`. The problem must be one-dimensional.
    pub fn new(problem: &Problem, t: f64) -> Self {
        debug_assert_eq!(problem.dim(), 1);
        let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
        let data = &problem.data;
        let components = data
            .components()
            .iter()
            .zip(data.log_weights())
            .map(|(c, log_weight)| {
                let (mean, variance) = (c.mean[0], c.variances[0]);
                let marginal = alpha * alpha * variance + sigma2;
                LineComponent {
                    mean,
                    variance,
                    centre: alpha * mean,
                    marginal,
                    log_norm: log_weight - 0.5 * (2.0 * std::f64::consts::PI * marginal).ln(),
                }
            })
            .collect();
        Self {
            components,
            alpha,
            sigma2,
        }
    }

    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    pub fn sigma2(&self) -> f64 {
        self.sigma2
    }

    /// Mean and standard deviation of x_t of each mixture component.
    pub fn marginals(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.components
            .iter()
            .map(|c| (c.centre, c.marginal.sqrt()))
    }

    fn log_joint(c: &LineComponent, x: f64) -> f64 {
        let misfit = x - c.centre;
        c.log_norm - 0.5 * misfit * misfit / c.marginal
    }

    /// Posterior moments at `x`.
    pub fn at(&self, x: f64) -> LineMoments {
        let top = self
            .components
            .iter()
            .map(|c| Self::log_joint(c, x))
            .fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut mean, mut score) = (0.0, 0.0, 0.0);
        for c in &self.components {
            let w = (Self::log_joint(c, x) - top).exp();
            let misfit = x - c.centre;
            sum += w;
            mean += w * (c.mean + self.alpha * c.variance / c.marginal * misfit);
            score -= w * misfit / c.marginal;
        }
        mean /= sum;
        // A second pass keeps the variance a sum of positive terms: no cancellation where it is tiny.
        let mut variance = 0.0;
        for c in &self.components {
            let w = (Self::log_joint(c, x) - top).exp() / sum;
            let deviation = c.mean + self.alpha * c.variance / c.marginal * (x - c.centre) - mean;
            variance += w * (deviation * deviation + c.variance * self.sigma2 / c.marginal);
        }
        LineMoments {
            log_density: top + sum.ln(),
            mean,
            variance,
            score: score / sum,
        }
    }

    /// Weights of the components at `x`, in proportion to their posterior probabilities, the largest 1.
    fn weigh(&self, x: f64, out: &mut [f64]) {
        for (w, c) in out.iter_mut().zip(&self.components) {
            *w = Self::log_joint(c, x);
        }
        let top = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for w in out {
            *w = (*w - top).exp();
        }
    }

    /// Posterior probability of every component at `x`, into `out`.
    pub fn responsibilities(&self, x: f64, out: &mut [f64]) {
        self.weigh(x, out);
        let sum: f64 = out.iter().sum();
        for w in out {
            *w /= sum;
        }
    }

    /// Cumulants 1 to 6 of the posterior at `x`. Each gives the slope of the one before: d kappa_n/dx =
    /// (alpha/sigma^2) kappa_(n+1) (D14.2).
    pub fn cumulants(&self, x: f64) -> [f64; 6] {
        let LineMoments { mean, variance, .. } = self.at(x);
        let top = self
            .components
            .iter()
            .map(|c| Self::log_joint(c, x))
            .fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        let (mut third, mut fourth, mut fifth, mut sixth) = (0.0, 0.0, 0.0, 0.0);
        for c in &self.components {
            let w = (Self::log_joint(c, x) - top).exp();
            let d = c.mean + self.alpha * c.variance / c.marginal * (x - c.centre) - mean;
            let own = c.variance * self.sigma2 / c.marginal;
            // Central moments of a Gaussian whose mean is off by d.
            sum += w;
            third += w * d * (d * d + 3.0 * own);
            fourth += w * (d * d * (d * d + 6.0 * own) + 3.0 * own * own);
            fifth += w * d * (d * d * (d * d + 10.0 * own) + 15.0 * own * own);
            let square = d * d;
            sixth += w
                * (square * (square * (square + 15.0 * own) + 45.0 * own * own)
                    + 15.0 * own * own * own);
        }
        let [third, fourth, fifth, sixth] = [third, fourth, fifth, sixth].map(|m| m / sum);
        [
            mean,
            variance,
            third,
            fourth - 3.0 * variance * variance,
            fifth - 10.0 * variance * third,
            sixth - 15.0 * variance * fourth - 10.0 * third * third
                + 30.0 * variance * variance * variance,
        ]
    }

    /// Moment generating function of the posterior at `x`: every component keeps its variance, moves its mean by tau times
    /// it, and gains weight exp(tau mean + tau^2 variance / 2).
    pub fn tilted(&self, x: f64, tau: f64) -> TiltedMoments {
        let component = |c: &LineComponent| {
            let mean = c.mean + self.alpha * c.variance / c.marginal * (x - c.centre);
            let variance = c.variance * self.sigma2 / c.marginal;
            let plain = Self::log_joint(c, x);
            let gain = tau * (mean + 0.5 * tau * variance);
            (plain, plain + gain, mean + tau * variance, variance)
        };
        let (mut top, mut raised) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for (plain, tilted, ..) in self.components.iter().map(component) {
            top = top.max(plain);
            raised = raised.max(tilted);
        }
        let (mut below, mut sum, mut mean) = (0.0, 0.0, 0.0);
        for (plain, tilted, moved, _) in self.components.iter().map(component) {
            let w = (tilted - raised).exp();
            below += (plain - top).exp();
            sum += w;
            mean += w * moved;
        }
        mean /= sum;
        let mut variance = 0.0;
        for (_, tilted, moved, own) in self.components.iter().map(component) {
            let deviation = moved - mean;
            variance += (tilted - raised).exp() / sum * (deviation * deviation + own);
        }
        TiltedMoments {
            log: (raised - top) + (sum / below).ln(),
            mean,
            variance,
        }
    }

    /// E[x0|x,t] and a draw of x0 from the posterior, from one uniform random number and one standard normal (called
    /// for when the component drawn is not a point). `scratch` keeps the weights.
    pub fn mean_and_draw(
        &self,
        x: f64,
        uniform: f64,
        normal: impl FnOnce() -> f64,
        scratch: &mut Vec<f64>,
    ) -> (f64, f64) {
        scratch.resize(self.components.len(), 0.0);
        self.weigh(x, scratch);
        let conditional =
            |c: &LineComponent| c.mean + self.alpha * c.variance / c.marginal * (x - c.centre);
        let (mut sum, mut mean) = (0.0, 0.0);
        for (w, c) in scratch.iter().zip(&self.components) {
            sum += w;
            mean += w * conditional(c);
        }
        let mut left = uniform * sum;
        let last = self.components.len() - 1;
        let chosen = scratch[..last]
            .iter()
            .position(|w| {
                left -= w;
                left < 0.0
            })
            .unwrap_or(last);
        let chosen = &self.components[chosen];
        let mut clean = conditional(chosen);
        if chosen.variance > 0.0 {
            clean += (chosen.variance * self.sigma2 / chosen.marginal).sqrt() * normal();
        }
        (mean / sum, clean)
    }
}
