//! The weights after gradient flow as a sum over samples, to first order in each (theory T8, T14, T18;
//! derivations/22-kernel-machines.md).

use nalgebra::{DMatrix, DVector};
use num_complex::Complex64;
use rand::Rng;

use super::flow_poles::{Resolvent, Sums};
use super::sample_sum::NodeLaw;
use super::{FlowEquivalent, Measure, StatisticsError};
use crate::numerics::complex::{product, zip};
use crate::numerics::linalg;

/// omega = 2 Re sum_j c_j/z_j { w_j + Q_j [ (1/P) sum_p zeta_p r_j(z_p)/(1 + delta_j(z_p)) - m_j ] } with P independent samples of the
/// training distribution, whose residuals r_j are those at all ridges against the mean weights w_j, and m_j their mean: with the
/// influences of a [`super::SampleSum`] at complex ridges, given the initial function, which is drawn too.
pub struct FlowSum<'a> {
    equivalent: &'a FlowEquivalent<'a>,
    drawn: NodeLaw,
    /// E[y|z] at the nodes, of all outputs one after another.
    targets: Vec<f64>,
    /// Of all samples, at every ridge: m_j, and what the initial function takes off it.
    sums: Vec<Sums>,
}

impl<'a> FlowSum<'a> {
    /// # Errors
    /// When the probabilities of the nodes or the equivalent are not finite.
    pub fn new(equivalent: &'a FlowEquivalent<'a>) -> Result<Self, StatisticsError> {
        let (population, field) = (&equivalent.population, equivalent.field());
        let of = |r: &Resolvent| field.sums(r.share.clone(), r, equivalent.initial());
        let sums: Vec<Sums> = equivalent.resolvents.iter().map(of).collect();
        let finite = |s: &Sums| s.mean_given(None).iter().all(|v| v.is_finite());
        if !sums.iter().all(finite) {
            return Err(StatisticsError::NotFinite);
        }
        let none = DMatrix::zeros(population.features(), population.outputs());
        Ok(Self {
            equivalent,
            drawn: NodeLaw::new(population)?,
            targets: population.misfit(&none),
            sums,
        })
    }

    /// Draws P samples, and an initial function where the family has one, and returns W, of length D F. Depends on `rng` alone.
    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> DVector<f64> {
        let (equivalent, population) = (self.equivalent, &self.equivalent.population);
        let start = equivalent.start(rng);
        let residuals = equivalent.residuals(start.as_ref());
        let (n, f, outputs) = (
            population.nodes(),
            population.features(),
            population.outputs(),
        );
        // Real and imaginary parts of sum_p z r/(1 + delta), of all ridges.
        let mut sums = vec![DMatrix::zeros(f, outputs); 2 * residuals.len()];
        let (mut scratch, mut target) = (Vec::new(), vec![0.0; outputs]);
        let mut pull = vec![0.0; outputs];
        for _ in 0..equivalent.samples as usize {
            let node = self.drawn.draw(rng);
            population.draw_target(node, rng, &mut scratch, &mut target);
            for (k, (residuals, resolvent)) in
                residuals.iter().zip(&equivalent.resolvents).enumerate()
            {
                let own = |o: usize| {
                    let noise = target[o] - self.targets[o * n + node];
                    (residuals[o * n + node] + noise) * resolvent.share[node]
                };
                for (part, of) in [|v: Complex64| v.re, |v: Complex64| v.im]
                    .into_iter()
                    .enumerate()
                {
                    for (o, pull) in pull.iter_mut().enumerate() {
                        *pull = of(own(o)) / equivalent.samples;
                    }
                    population.add_row(node, &pull, sums[2 * k + part].as_mut_slice());
                }
            }
        }
        let scale = Complex64::from(1.0 / self.drawn.total);
        let directions = &equivalent.modes.directions;
        let mut solved = DMatrix::zeros(directions.ncols(), outputs);
        for (k, resolvent) in equivalent.resolvents.iter().enumerate() {
            let turned = |m: &DMatrix<f64>| {
                linalg::multiply(linalg::view(directions).transpose(), linalg::view(m))
            };
            let mean = self.sums[k].mean_given(start.as_ref().map(|s| &s.normal)) * scale;
            let moved = zip(&turned(&sums[2 * k]), &turned(&sums[2 * k + 1])) - mean;
            let mut weights = resolvent.weights.clone();
            if let (Some(start), Some(fitted)) = (&start, &resolvent.fitted) {
                weights -= product(fitted, &start.normal);
            }
            weights += product(&resolvent.matrix, &moved);
            solved += weights.map(|w| 2.0 * (w * resolvent.coefficient).re);
        }
        let mut weights: DMatrix<f64> = directions * solved;
        if let Some(start) = &start {
            weights += &start.weights;
        }
        DVector::from_column_slice(weights.as_slice())
    }
}
