//! The posterior at one position, its covariance as trace, quadratic form and action on vectors (D24.5).

use nalgebra::{DMatrix, DVector};

use super::LowRankPosterior;

/// Posterior of x0 given one x, components with few axes of many. The covariance is kept as its parts, K (n d + n) numbers; all
/// that is computed of it is a sum of positive terms, relatively accurate also where it is tiny.
#[derive(Debug, Clone)]
pub struct LowRankPoint<'a> {
    posterior: &'a LowRankPosterior,
    /// ln p(x|t).
    pub log_density: f64,
    /// Posterior weights of the components, summing to 1.
    pub weights: Vec<f64>,
    /// grad ln p(x|t), length D (T2).
    pub score: DVector<f64>,
    /// E[x0|x,t], length D.
    pub mean: DVector<f64>,
    /// E[x0|x,k] - E[x0|x] of every component.
    deviations: Vec<DVector<f64>>,
}

impl<'a> LowRankPoint<'a> {
    /// `means` are E[x0|x,k].
    pub(super) fn new(
        posterior: &'a LowRankPosterior,
        log_density: f64,
        weights: Vec<f64>,
        score: DVector<f64>,
        means: Vec<DVector<f64>>,
    ) -> Self {
        // Differences from the heaviest component: what the others add keeps its digits, be it 1e-300.
        let heaviest =
            (0..weights.len()).fold(0, |h, k| if weights[k] > weights[h] { k } else { h });
        let mut deviations: Vec<DVector<f64>> =
            means.iter().map(|m| m - &means[heaviest]).collect();
        let mut shift = DVector::zeros(posterior.dim());
        for (w, deviation) in weights.iter().zip(&deviations) {
            shift.axpy(*w, deviation, 1.0);
        }
        for deviation in &mut deviations {
            *deviation -= &shift;
        }
        Self {
            posterior,
            log_density,
            mean: &means[heaviest] + shift,
            weights,
            score,
            deviations,
        }
    }

    /// Cov(x0|x,t) v.
    pub fn covariance_times(&self, v: &DVector<f64>) -> DVector<f64> {
        let mut out = DVector::zeros(v.len());
        for ((w, part), deviation) in self.parts() {
            out.axpy(w, &part.applied(&part.own, v), 1.0);
            out.axpy(w * deviation.dot(v), deviation, 1.0);
        }
        out
    }

    /// v^T Cov(x0|x,t) v.
    pub fn quadratic_form(&self, v: &DVector<f64>) -> f64 {
        let forms = self.parts().map(|((w, part), deviation)| {
            let along = part.axes.tr_mul(v);
            let squares = along.iter().zip(&part.own.along);
            let inside = squares.map(|(a, own)| own * a * a).sum::<f64>();
            let outside = part.own.off * (v.norm_squared() - along.norm_squared()).max(0.0);
            w * (inside + outside + deviation.dot(v).powi(2))
        });
        forms.sum()
    }

    /// Trace of Cov(x0|x,t).
    pub fn trace(&self) -> f64 {
        let dim = self.posterior.dim();
        let traces = self
            .parts()
            .map(|((w, part), deviation)| w * (part.own.trace(dim) + deviation.norm_squared()));
        traces.sum()
    }

    /// Cov(x0|x,t), D x D.
    pub fn covariance(&self) -> DMatrix<f64> {
        let dim = self.posterior.dim();
        let mut covariance = DMatrix::zeros(dim, dim);
        for ((w, part), deviation) in self.parts() {
            let mut scaled = part.axes.clone();
            for (mut column, own) in scaled.column_iter_mut().zip(&part.own.along) {
                column *= w * (own - part.own.off);
            }
            covariance.gemm(1.0, &scaled, &part.axes.transpose(), 1.0);
            for i in 0..dim {
                covariance[(i, i)] += w * part.own.off;
            }
            covariance.ger(w, deviation, deviation, 1.0);
        }
        covariance
    }

    /// alpha^2/sigma^4: what turns the covariance of x0 into C, that of the proxy score (T3).
    pub fn proxy_score_factor(&self) -> f64 {
        let ratio = self.posterior.alpha() / self.posterior.sigma2();
        ratio * ratio
    }

    fn parts(&self) -> impl Iterator<Item = ((f64, &super::posterior::Part), &DVector<f64>)> {
        let weighted = self.weights.iter().copied().zip(&self.posterior.parts);
        weighted.zip(&self.deviations)
    }
}
