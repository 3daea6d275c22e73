//! The reverse process of Gaussian data from one point, in closed form (derivations/23-reverse-process.md): for a point
//! mass under `Ou` with churn 1 the Ornstein-Uhlenbeck bridge (Cao et al., arXiv 2501.17054).

use super::Diffusion;

/// One coordinate of the reverse process with churn h, dx = [beta x + (1+h) D s] dtau + sqrt(2 h D) dW, of data N(m, v)
/// (v = 0: a point mass), started from one position at t_max. The standardised position (x - alpha m)/S,
/// S^2 = alpha^2 v + sigma^2, is a stationary Gaussian Markov process (D23.1), so means and two-time covariances are the
/// law of the whole path.
#[derive(Debug, Clone)]
pub struct Bridge {
    pub diffusion: Diffusion,
    /// Mean m and variance v of the data.
    pub mean: f64,
    pub variance: f64,
    /// h >= 0; 0 is the probability flow, 1 the time-reversed forward process.
    pub churn: f64,
    /// Where it starts: time and position.
    pub start: (f64, f64),
}

impl Bridge {
    /// Standard deviation S of x_t over the data.
    fn spread(&self, t: f64) -> f64 {
        let alpha = self.diffusion.alpha(t);
        (alpha * alpha * self.variance + self.diffusion.sigma2(t)).sqrt()
    }

    /// ln of the correlation of the standardised positions at `t` and a later step `s <= t` (D23.1).
    fn log_correlation(&self, t: f64, s: f64) -> f64 {
        if t == s || self.churn == 0.0 {
            return 0.0;
        }
        let ratio = |t: f64| self.diffusion.alpha(t) / self.spread(t);
        // -infinity where the signal is lost altogether (`Flow` at t = 1).
        self.churn * (ratio(t) / ratio(s)).ln()
    }

    /// x_s = offset + slope x_t + std xi for t >= s: (offset, slope, std), exactly.
    pub fn transition(&self, t: f64, s: f64) -> (f64, f64, f64) {
        let kept = self.log_correlation(t, s);
        let slope = self.spread(s) / self.spread(t) * kept.exp();
        let offset = (self.diffusion.alpha(s) - slope * self.diffusion.alpha(t)) * self.mean;
        (
            offset,
            slope,
            self.spread(s) * (-(2.0 * kept).exp_m1()).sqrt(),
        )
    }

    /// E[x_t | start] (D23.2).
    pub fn mean_at(&self, t: f64) -> f64 {
        let (offset, slope, _) = self.transition(self.start.0, t);
        offset + slope * self.start.1
    }

    /// Cov[x_t, x_s | start] for t >= s, both at most the time of the start (D23.3).
    pub fn covariance(&self, t: f64, s: f64) -> f64 {
        let (_, slope, _) = self.transition(t, s);
        let (_, _, std) = self.transition(self.start.0, t);
        slope * std * std
    }
}
