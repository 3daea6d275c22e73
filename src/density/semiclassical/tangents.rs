//! The flow map with its first derivative in the weights (derivations/06-semiclassical.md, D6.1).

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use crate::density::DensityError;
use crate::family::{Linear, LinearDenoiser};
use crate::problem::Problem;
use crate::sampler::{PfOde, Stage, Step};
use crate::statistics::WeightStatistics;

/// The flow map x_T -> x_0 at the mean weights with its derivative in the weights.
#[derive(Debug, Clone)]
pub struct FlowTangents {
    /// x_0 at the mean weights, per start.
    pub end: Vec<f64>,
    /// d x_0 / d W, F x starts.
    pub tangent: DMatrix<f64>,
}

/// Integrates the mean path of every start with its sensitivities.
pub fn flow_tangents(
    problem: &Problem,
    family: &Linear,
    flow: &PfOde,
    weights: &WeightStatistics,
    starts: &[f64],
) -> Result<FlowTangents, DensityError> {
    let model = LinearDenoiser {
        family,
        diffusion: &problem.diffusion,
        weights: weights.mean.as_slice(),
    };
    let mut end = starts.to_vec();
    let times = flow.flow(&model, &mut end)?;
    let steps: Vec<Step> = flow.steps(&times).collect();
    let paths: Vec<TangentPath> = starts
        .par_iter()
        .map(|&x| {
            let mut path = TangentPath::new(x, family.features.len());
            for step in &steps {
                path.advance(problem, family, &weights.mean, step);
            }
            path
        })
        .collect();
    let tangent = DMatrix::from_columns(
        &paths
            .iter()
            .map(|p| p.tangent.column(0))
            .collect::<Vec<_>>(),
    );
    Ok(FlowTangents { end, tangent })
}

/// A mean path carried with dx/dW.
struct TangentPath {
    x: f64,
    tangent: DVector<f64>,
}

/// The denoiser at one point of the mean path: value and slope in x, and its features (d Dn/dW).
struct Local {
    value: f64,
    slope: f64,
    features: DVector<f64>,
}

impl Local {
    fn new(problem: &Problem, family: &Linear, weights: &DVector<f64>, x: f64, t: f64) -> Self {
        let features = &family.features;
        let (space, time) = (features.space_len(), features.time.len());
        let mut contracted = vec![0.0; space];
        features.contract_time(weights.as_slice(), t, &mut contracted);
        let mut jets = vec![0.0; 3 * space];
        let (v, rest) = jets.split_at_mut(space);
        let (d, c) = rest.split_at_mut(space);
        features.space.line().jet(x, v, d, c);
        let mut clock = vec![0.0; time];
        features.time.values(t, &mut clock);
        let r = family.predicts.regression(&problem.diffusion, t);
        let dot = |l: &[f64]| crate::family::features::dot(l, &contracted);
        let product = v
            .iter()
            .flat_map(|a| clock.iter().map(move |b| a * b / r.p));
        Self {
            value: (dot(v) - r.q * x) / r.p,
            slope: (dot(d) - r.q) / r.p,
            features: DVector::from_iterator(space * time, product),
        }
    }
}

impl TangentPath {
    fn new(x: f64, features: usize) -> Self {
        Self {
            x,
            tangent: DVector::zeros(features),
        }
    }

    fn advance(&mut self, problem: &Problem, family: &Linear, weights: &DVector<f64>, step: &Step) {
        match step {
            Step::OneStage { t, c, d } => {
                let local = Local::new(problem, family, weights, self.x, *t);
                let growth = c + d * local.slope;
                self.tangent.axpy(*d, &local.features, growth);
                self.x = c * self.x + d * local.value;
            }
            Step::RungeKutta { tableau, h, stages } => {
                let mut slopes: Vec<(f64, DVector<f64>)> = Vec::with_capacity(stages.len());
                for (row, stage) in tableau.a.iter().zip(stages) {
                    let mut x = self.x;
                    let mut tangent = self.tangent.clone();
                    for (a, (k, dk)) in row.iter().zip(&slopes) {
                        x += h * a * k;
                        tangent.axpy(h * a, dk, 1.0);
                    }
                    slopes.push(Self::stage_slope(
                        problem, family, weights, stage, x, tangent,
                    ));
                }
                for (b, (k, dk)) in tableau.b.iter().zip(&slopes) {
                    self.x += h * b * k;
                    self.tangent.axpy(h * b, dk, 1.0);
                }
            }
        }
    }

    fn stage_slope(
        problem: &Problem,
        family: &Linear,
        weights: &DVector<f64>,
        stage: &Stage,
        x: f64,
        mut tangent: DVector<f64>,
    ) -> (f64, DVector<f64>) {
        let local = Local::new(problem, family, weights, x, stage.t);
        tangent *= stage.a + stage.b * local.slope;
        tangent.axpy(stage.b, &local.features, 1.0);
        (stage.a * x + stage.b * local.value, tangent)
    }
}
