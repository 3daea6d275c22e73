//! The weights after gradient flow as a sum over samples, to first order in each (theory T8, T14, T18;
//! derivations/22-kernel-machines.md).

use nalgebra::{DMatrix, DVector};
use num_complex::Complex64;
use rand::Rng;

use super::sample_sum::NodeLaw;
use super::{FlowEquivalent, Measure, StatisticsError};
use crate::numerics::complex::{ComplexMatrix, product, zip};
use crate::numerics::linalg;

/// omega = 2 Re sum_j c_j/z_j { w_j + Q_j [ (1/P) sum_p zeta_p r_j(z_p)/(1 + delta_j(z_p)) - m_j ] } with P independent samples of the
/// training distribution, whose residuals r_j are those at all ridges against the mean weights w_j, and m_j their mean: with the
/// influences of a [`super::SampleSum`] at complex ridges, given the initial function, which is drawn too.
pub struct FlowSum<'a> {
    equivalent: &'a FlowEquivalent<'a>,
    drawn: NodeLaw,
    /// E[y|z] at the nodes, of all outputs one after another.
    targets: Vec<f64>,
    /// m_j, r x D, and what one of the initial function's weights takes off it, r x r'.
    shifts: Vec<(ComplexMatrix, Option<ComplexMatrix>)>,
}

impl<'a> FlowSum<'a> {
    /// # Errors
    /// When the probabilities of the nodes or the equivalent are not finite.
    pub fn new(equivalent: &'a FlowEquivalent<'a>) -> Result<Self, StatisticsError> {
        let (population, field) = (&equivalent.population, equivalent.field());
        let mut probability = population.weights();
        let total: f64 = probability.iter().sum();
        for p in &mut probability {
            *p /= total;
        }
        let scale = Complex64::from(1.0 / total);
        let start = equivalent.family.initial.as_ref();
        let shifts: Vec<_> = equivalent
            .resolvents
            .iter()
            .map(|r| {
                let sigma = field.gram(&r.share);
                let mean = field.cross(&r.share) - product(&sigma, &r.weights);
                let initial = start.zip(r.fitted.as_ref()).map(|((_, factor), fitted)| {
                    (field.seen(&r.share, factor) - product(&sigma, fitted)) * scale
                });
                (mean * scale, initial)
            })
            .collect();
        let finite = |m: &ComplexMatrix| m.iter().all(|v| v.is_finite());
        if !shifts.iter().all(|(mean, _)| finite(mean)) {
            return Err(StatisticsError::NotFinite);
        }
        let none = DMatrix::zeros(population.features(), population.outputs());
        Ok(Self {
            equivalent,
            drawn: NodeLaw::new(&probability)?,
            targets: population.misfit(&none),
            shifts,
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
        let directions = &equivalent.modes.directions;
        let mut solved = DMatrix::zeros(directions.ncols(), outputs);
        for (k, resolvent) in equivalent.resolvents.iter().enumerate() {
            let turned = |m: &DMatrix<f64>| {
                linalg::multiply(linalg::view(directions).transpose(), linalg::view(m))
            };
            let (mean, initial) = &self.shifts[k];
            let mut moved = zip(&turned(&sums[2 * k]), &turned(&sums[2 * k + 1])) - mean;
            let mut weights = resolvent.weights.clone();
            if let Some(start) = &start {
                if let Some(initial) = initial {
                    moved += product(initial, &start.normal);
                }
                if let Some(fitted) = &resolvent.fitted {
                    weights -= product(fitted, &start.normal);
                }
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
