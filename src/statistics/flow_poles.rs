//! The deterministic equivalent at complex ridges, of which a gradient flow is a sum (theory T18;
//! derivations/22-kernel-machines.md).

use nalgebra::DMatrix;
use num_complex::Complex64;
use rayon::prelude::*;

use super::gradient_flow::conditional_covariance;
use super::whitened::Whitened;
use super::{Measure, Population, StatisticsError};
use crate::numerics::anderson::Anderson;
use crate::numerics::complex::{
    ComplexMatrix, flat, interleaved, inverse, join, largest_difference, product, split, zip,
};
use crate::numerics::exponential::decay_poles;

/// Poles in the upper half plane: an error below 2e-4 in the filter (D22.9).
pub(super) const POLES: usize = 5;
const MAX_ITERATIONS: usize = 200;
/// Largest change of ln(1 + delta).
const TOLERANCE: f64 = 1e-7;
/// Largest change of a covariance's form at the nodes, relative to its largest value with the residuals: of the pair of ridges that
/// weighs most in the filter, more of the others in inverse proportion.
const COVARIANCE_TOLERANCE: f64 = 1e-6;
/// The same of a pair that hardly weighs: layers draw the residuals of every ridge.
const LOOSEST: f64 = 1e-3;

/// The equivalent of ridge regression at one complex ridge.
pub(super) struct Resolvent {
    /// The ridge, and this resolvent's coefficient in the flow's filter.
    pub ridge: Complex64,
    pub coefficient: Complex64,
    /// Q = (E[z z^T/(1 + delta)] + ridge)^-1.
    pub matrix: ComplexMatrix,
    /// 1/(1 + delta) at the nodes.
    pub share: Vec<Complex64>,
    /// Weights in the modes, r x D.
    pub weights: ComplexMatrix,
    /// Of the initial function's factor: what is fitted of it, r x r', and what is left, F x r'.
    pub fitted: Option<ComplexMatrix>,
    pub left: Option<ComplexMatrix>,
}

/// What some of the samples make at one ridge, in the modes.
pub(super) struct Sums {
    /// 1/(1 + delta) at the nodes, zero at those of other samples.
    pub share: Vec<Complex64>,
    /// E[share zeta zeta^T], r x r.
    pub sigma: ComplexMatrix,
    /// E[share zeta y^T], r x D.
    target: ComplexMatrix,
    /// m = E[share zeta r^T] of the residuals against the mean weights, r x D.
    mean: ComplexMatrix,
    /// The same two of the initial function's factor, r x r'.
    initial: Option<[ComplexMatrix; 2]>,
}

impl Sums {
    /// The target less the initial function's, which is given by its standard normal numbers, r' x D.
    pub fn target_given(&self, initial: Option<&ComplexMatrix>) -> ComplexMatrix {
        match (&self.initial, initial) {
            (Some([own, _]), Some(normal)) => &self.target - product(own, normal),
            _ => self.target.clone(),
        }
    }

    /// m of the targets less such an initial function.
    pub fn mean_given(&self, initial: Option<&ComplexMatrix>) -> ComplexMatrix {
        match (&self.initial, initial) {
            (Some([_, own]), Some(normal)) => &self.mean - product(own, normal),
            _ => self.mean.clone(),
        }
    }
}

/// z^T C_ij z at the nodes, the covariance of two outputs' weights at the ridges i and j, or at i and the conjugate of j.
pub(super) struct Form {
    pub ridges: (usize, usize),
    pub conjugate: bool,
    pub values: Vec<Complex64>,
}

/// A measure with complex factors.
pub(super) struct Field<'a, 'b> {
    pub measure: Whitened<'a, Population<'b>>,
    pub samples: f64,
}

impl Field<'_, '_> {
    /// The resolvents of the flow for a time, with what they fit of an initial function's factor.
    pub fn resolvents(
        &self,
        time: f64,
        initial: Option<&DMatrix<f64>>,
    ) -> Result<Vec<Resolvent>, StatisticsError> {
        decay_poles(POLES)
            .par_iter()
            .map(|pole| {
                // (1 - e^{-tau x})/x: the partial fractions of 1/(x (z + tau x)), the pole at 0 cancelling.
                let coefficient = pole.coefficient / pole.place;
                self.resolvent(pole.place / time, coefficient, initial)
            })
            .collect()
    }

    /// z^T M z at the nodes.
    pub fn quadratic(&self, matrix: &ComplexMatrix) -> Vec<Complex64> {
        join(
            self.measure.quadratic(&matrix.map(|v| v.re)),
            self.measure.quadratic(&matrix.map(|v| v.im)),
        )
    }

    /// E[factor z z^T].
    pub fn gram(&self, factor: &[Complex64]) -> ComplexMatrix {
        let (re, im) = split(factor);
        zip(&self.measure.gram(&re), &self.measure.gram(&im))
    }

    pub fn cross(&self, factor: &[Complex64]) -> ComplexMatrix {
        let (re, im) = split(factor);
        zip(&self.measure.cross(&re), &self.measure.cross(&im))
    }

    /// Iterates on u = ln(1 + delta), which stays off the cut: with the ridge in one half plane, delta is in the other.
    fn resolvent(
        &self,
        ridge: Complex64,
        coefficient: Complex64,
        initial: Option<&DMatrix<f64>>,
    ) -> Result<Resolvent, StatisticsError> {
        let n = self.measure.nodes();
        let mut u = vec![Complex64::ZERO; n];
        let mut anderson: Option<Anderson> = None;
        let mut change = f64::INFINITY;
        for _ in 0..MAX_ITERATIONS {
            let share: Vec<Complex64> = u.iter().map(|u| (-u).exp()).collect();
            let mut system = self.gram(&share);
            for i in 0..system.nrows() {
                system[(i, i)] += ridge;
            }
            let matrix = inverse(&system)?;
            let image: Vec<Complex64> = self
                .quadratic(&matrix)
                .iter()
                .map(|v| (v / self.samples + 1.0).ln())
                .collect();
            change = largest_difference(&u, &image);
            if !change.is_finite() {
                return Err(StatisticsError::NotFinite);
            }
            if change <= TOLERANCE {
                return Ok(self.finish(ridge, coefficient, matrix, share, initial));
            }
            u = match &mut anderson {
                Some(anderson) => interleaved(&anderson.next(&flat(&u), &flat(&image))),
                None => {
                    let weights = self.measure.weights();
                    let emphasis = weights.iter().zip(&image).map(|(w, u)| w * u.norm());
                    anderson = Some(Anderson::new(emphasis.flat_map(|e| [e, e]).collect()));
                    image
                }
            };
        }
        Err(StatisticsError::FixedPoint {
            what: "leverage at a complex ridge",
            iterations: MAX_ITERATIONS,
            change,
            allowed: TOLERANCE,
        })
    }

    /// What the samples of a share make, against the mean weights of a resolvent and an initial function's factor.
    pub fn sums(
        &self,
        share: Vec<Complex64>,
        resolvent: &Resolvent,
        initial: Option<&DMatrix<f64>>,
    ) -> Sums {
        let (sigma, target) = (self.gram(&share), self.cross(&share));
        let mean = &target - product(&sigma, &resolvent.weights);
        let initial = initial.zip(resolvent.fitted.as_ref());
        let initial = initial.map(|(factor, fitted)| {
            let seen = self.seen(&share, factor);
            let mean = &seen - product(&sigma, fitted);
            [seen, mean]
        });
        Sums {
            share,
            sigma,
            target,
            mean,
            initial,
        }
    }

    /// E[factor zeta z^T] L, of weights' factor L.
    fn seen(&self, factor: &[Complex64], weights: &DMatrix<f64>) -> ComplexMatrix {
        let (re, im) = split(factor);
        let population = self.measure.measure;
        let of = |factor: &[f64]| {
            self.measure
                .factor
                .tr_mul(&(population.gram(factor) * weights))
        };
        zip(&of(&re), &of(&im))
    }

    fn finish(
        &self,
        ridge: Complex64,
        coefficient: Complex64,
        matrix: ComplexMatrix,
        share: Vec<Complex64>,
        initial: Option<&DMatrix<f64>>,
    ) -> Resolvent {
        let weights = product(&matrix, &self.cross(&share));
        let (mut fitted, mut left) = (None, None);
        if let Some(initial) = initial {
            let own = product(&matrix, &self.seen(&share, initial));
            let directions = self.measure.factor;
            let learned = zip(
                &(directions * own.map(|v| v.re)),
                &(directions * own.map(|v| v.im)),
            );
            left = Some(initial.map(|v| Complex64::new(v, 0.0)) - learned);
            fitted = Some(own);
        }
        Resolvent {
            ridge,
            coefficient,
            matrix,
            share,
            weights,
            fitted,
            left,
        }
    }

    /// The flow's covariance of two outputs: the sum of those of all pairs of ridges, which come in conjugate pairs too; with their
    /// forms at the nodes, of one output i <= j only.
    pub fn covariance(
        &self,
        resolvents: &[Resolvent],
        outputs: (usize, usize),
    ) -> Result<(DMatrix<f64>, Vec<Form>), StatisticsError> {
        let noise = conditional_covariance(self.measure.measure, outputs);
        let same = outputs.0 == outputs.1;
        let n = resolvents.len();
        let mut tasks = Vec::new();
        for i in 0..n {
            for j in 0..n {
                // With one output the transpose stands for the exchange of the ridges.
                if !same || j >= i {
                    tasks.extend([(i, j, false), (i, j, true)]);
                }
            }
        }
        let weight =
            |i: usize, j: usize| (resolvents[i].coefficient * resolvents[j].coefficient).norm();
        let heaviest = (0..n).map(|i| weight(i, i)).fold(0.0, f64::max);
        let parts: Result<Vec<(DMatrix<f64>, Form)>, StatisticsError> = tasks
            .par_iter()
            .map(|&(i, j, conjugate)| {
                let (a, b) = (&resolvents[i], resolvents[j].conjugate_if(conjugate));
                let allowed = (COVARIANCE_TOLERANCE * heaviest / weight(i, j)).min(LOOSEST);
                let (found, values) = self.pair(a, &b, outputs, &noise, allowed)?;
                let coefficient = a.coefficient * b.coefficient;
                let part = found.map(|v| 2.0 * (v * coefficient).re);
                let part = match same && i != j {
                    true => &part + part.transpose(),
                    false => part,
                };
                let form = Form {
                    ridges: (i, j),
                    conjugate,
                    values,
                };
                Ok((part, form))
            })
            .collect();
        let r = self.measure.features();
        let (mut sum, mut forms) = (DMatrix::zeros(r, r), Vec::new());
        for (part, form) in parts? {
            sum += part;
            forms.push(form);
        }
        Ok((sum, forms))
    }

    /// C = Q_a { (1/P) E[(noise + r_a r_b + z^T C z) z z^T/((1 + delta_a)(1 + delta_b))] - (rho_a rho_b/P) w_a w_b^T } Q_b, with
    /// the initial function's misfit and fit beside those of the mean.
    fn pair(
        &self,
        a: &Resolvent,
        b: &Resolvent,
        (i, j): (usize, usize),
        noise: &[f64],
        allowed: f64,
    ) -> Result<(ComplexMatrix, Vec<Complex64>), StatisticsError> {
        let share: Vec<Complex64> = a.share.iter().zip(&b.share).map(|(a, b)| a * b).collect();
        let filtered = |form: &[Complex64]| -> ComplexMatrix {
            let factor: Vec<Complex64> = form
                .iter()
                .zip(&share)
                .map(|(f, s)| f * s / self.samples)
                .collect();
            product(&product(&a.matrix, &self.gram(&factor)), &b.matrix)
        };
        let (own, other) = (self.misfit(a, i), self.misfit(b, j));
        let mut source: Vec<Complex64> = noise
            .iter()
            .zip(own.iter().zip(&other))
            .map(|(v, (r, s))| r * s + v)
            .collect();
        let mut shrink = a.weights.column(i) * b.weights.column(j).transpose();
        if let (Some(left), Some(right), true) = (&a.left, &b.left, i == j) {
            let form = product(left, &right.transpose());
            let population = self.measure.measure;
            let misfit = join(
                population.quadratic(&form.map(|v| v.re)),
                population.quadratic(&form.map(|v| v.im)),
            );
            for (s, m) in source.iter_mut().zip(&misfit) {
                *s += m;
            }
        }
        if let (Some(left), Some(right), true) = (&a.fitted, &b.fitted, i == j) {
            shrink += product(left, &right.transpose());
        }
        let ridges = a.ridge * b.ridge / self.samples;
        let shrunk = product(&product(&a.matrix, &shrink), &b.matrix);
        let fixed = filtered(&source) - shrunk * ridges;
        let scale = source
            .iter()
            .fold(f64::MIN_POSITIVE, |m, v| m.max(v.norm()));
        self.recursion(&fixed, filtered, &share, (scale, allowed))
    }

    /// C = fixed + filtered(z^T C z) with its form at the nodes, by accelerated iteration on that until it changes by less than
    /// `allowed`, relative to its largest value and `scale`.
    fn recursion(
        &self,
        fixed: &ComplexMatrix,
        filtered: impl Fn(&[Complex64]) -> ComplexMatrix,
        share: &[Complex64],
        (scale, allowed): (f64, f64),
    ) -> Result<(ComplexMatrix, Vec<Complex64>), StatisticsError> {
        let weights = self.measure.weights();
        let emphasis = weights.iter().zip(share).map(|(w, s)| w * s.norm());
        let mut anderson = Anderson::new(emphasis.flat_map(|e| [e, e]).collect());
        let mut form = self.quadratic(fixed);
        let mut change = f64::INFINITY;
        for _ in 0..MAX_ITERATIONS {
            let covariance = filtered(&form) + fixed;
            let image = self.quadratic(&covariance);
            let size = image.iter().fold(scale, |m, v| m.max(v.norm()));
            change = largest_difference(&form, &image) / size;
            if !change.is_finite() {
                return Err(StatisticsError::NotFinite);
            }
            if change <= allowed {
                return Ok((covariance, image));
            }
            form = interleaved(&anderson.next(&flat(&form), &flat(&image)));
        }
        Err(StatisticsError::FixedPoint {
            what: "covariance at complex ridges",
            iterations: MAX_ITERATIONS,
            change,
            allowed,
        })
    }

    /// E[y|z] - w^T z of one output.
    pub fn misfit(&self, resolvent: &Resolvent, output: usize) -> Vec<Complex64> {
        let n = self.measure.nodes();
        let re = self.measure.factor * resolvent.weights.map(|w| w.re);
        let im = resolvent.weights.column(output).map(|w| -w.im);
        let misfit = self.measure.measure.misfit(&re);
        join(
            misfit[output * n..(output + 1) * n].to_vec(),
            self.measure.project(im.as_slice()),
        )
    }
}

impl Resolvent {
    fn conjugate_if(&self, conjugate: bool) -> Self {
        let of = |m: &ComplexMatrix| if conjugate { m.conjugate() } else { m.clone() };
        let value = |v: Complex64| if conjugate { v.conj() } else { v };
        Self {
            ridge: value(self.ridge),
            coefficient: value(self.coefficient),
            matrix: of(&self.matrix),
            share: self.share.iter().map(|v| value(*v)).collect(),
            weights: of(&self.weights),
            fitted: self.fitted.as_ref().map(of),
            left: self.left.as_ref().map(of),
        }
    }
}
