//! Where the target of denoising score matching is noisy: the share of the proxy score's square that is noise (theory T2, T3;
//! Fig. 1 of arXiv 2504.12532).

use rayon::prelude::*;

use super::{CloudPosterior, Problem};

/// Points evaluated together on one thread.
const CHUNK: usize = 1024;

/// tr C / (tr C + |s|^2) at time `t` and the n points of `x`, by point; C the proxy score's covariance, s the score, so
/// that the denominator is E|proxy score|^2. `x` is coordinate-major (length D n).
///
/// 0 where the clean point is known, 1 where the score vanishes. Exactly on a training point at small t both terms come
/// from the other points alone, and vanish to rounding: their ratio then tends to 1, which is what is returned. Without
/// signal (alpha = 0) or with a single point there is no noise, and all shares are 0.
///
/// NaN comes out where squares of the positions overflow.
pub fn noise_share(problem: &Problem, t: f64, x: &[f64]) -> Vec<f64> {
    let (posterior, dim) = (CloudPosterior::new(problem, t), problem.dim());
    let n = x.len() / dim;
    let starts: Vec<usize> = (0..n).step_by(CHUNK).collect();
    let chunks: Vec<Vec<f64>> = starts
        .into_par_iter()
        .map(|start| {
            let end = n.min(start + CHUNK);
            let part: Vec<f64> = (0..dim)
                .flat_map(|i| x[i * n + start..i * n + end].iter().copied())
                .collect();
            shares(&posterior, &part, is_noisy(problem))
        })
        .collect();
    chunks.concat()
}

/// Can the clean point be anything but one?
fn is_noisy(problem: &Problem) -> bool {
    let data = &problem.data;
    let possible = data.weights().iter().filter(|w| **w > 0.0).count();
    possible > 1 || !data.components().iter().all(super::Component::is_point)
}

fn shares(posterior: &CloudPosterior, x: &[f64], noisy: bool) -> Vec<f64> {
    let dim = posterior.dim();
    let n = x.len() / dim;
    let (alpha, sigma2) = (posterior.alpha(), posterior.sigma2());
    let moments = posterior.moments(x);
    let square = |v: f64| v * v;
    (0..n)
        .map(|k| {
            // Both times sigma^4: neither large where sigma is small nor small where it is large.
            let trace: f64 = (0..dim)
                .map(|i| moments.covariance[i * (dim + 1) * n + k])
                .sum();
            let noise = alpha * alpha * trace;
            let signal: f64 = (0..dim)
                .map(|i| square(sigma2 * moments.score[i * n + k]))
                .sum();
            if noise == 0.0 && signal == 0.0 {
                return if noisy && alpha > 0.0 { 1.0 } else { 0.0 };
            }
            noise / (noise + signal)
        })
        .collect()
}

/// All points of a regular grid, the first axis slowest, coordinate-major.
pub fn grid_points(axes: &[Vec<f64>]) -> Vec<f64> {
    let n: usize = axes.iter().map(Vec::len).product();
    let mut x = Vec::with_capacity(n * axes.len());
    let mut repeats = n;
    for axis in axes {
        repeats /= axis.len();
        let run = axis.iter().flat_map(|v| std::iter::repeat_n(*v, repeats));
        x.extend(run.cycle().take(n));
    }
    x
}
