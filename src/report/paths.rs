//! What a saddle-point prediction says beyond its density: dominant paths, and what fills a gap.

use serde::{Deserialize, Serialize};

use crate::density::DominantPath;

/// Keys of a case's diagnostics.
pub const DOMINANT_PATHS: &str = "dominant_paths";
pub const GAP_FILLING: &str = "gap_filling";

/// Paths of least action between some x_T and x_0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DominantPaths {
    /// t_0 > ... > t_N.
    pub times: Vec<f64>,
    pub paths: Vec<DominantPath>,
}

/// The most likely fluctuation of the training set that fills a gap, and the gap's probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GapFillingReport {
    pub low: f64,
    pub high: f64,
    /// Probability of the gap over models and x_T, from draws around the fluctuation and around none.
    pub probability: f64,
    pub standard_error: f64,
    /// Trajectories integrated, and what independent draws of a model and one x_T would need for the same error.
    pub evaluations: u64,
    pub direct_evaluations: f64,
    /// |eta|^2/2 of the fluctuation.
    pub action: f64,
    /// The gap's probability for the model with this fluctuation, and for the mean model.
    pub filled: f64,
    pub unfilled: f64,
    /// Principal directions of Cov(W) that carry most of it.
    pub directions: Vec<Direction>,
    /// Change of the weights, length F.
    pub weights_change: Vec<f64>,
    /// Change of the denoiser on a grid, one row per time; the score's is alpha/sigma^2 times this.
    pub times: Vec<f64>,
    pub positions: Vec<f64>,
    pub denoiser_change: Vec<Vec<f64>>,
    /// Paths of the edges of what flows into the gap, at all N + 1 times of the sampler.
    pub path_times: Vec<f64>,
    pub edges: [Vec<f64>; 2],
}

/// A principal direction of the weights' covariance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// 1 is the direction of largest variance.
    pub rank: usize,
    /// Standard deviation of the weights along it.
    pub standard_deviation: f64,
    /// The fluctuation along it, in standard deviations, and its share of |eta|^2.
    pub deviations: f64,
    pub share: f64,
}
