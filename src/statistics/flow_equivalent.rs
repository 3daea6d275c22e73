//! Gradient flow at any number of samples: the deterministic equivalent at complex ridges, summed to the flow's filter (theory T18;
//! derivations/22-kernel-machines.md).

use nalgebra::DMatrix;
use num_complex::Complex64;
use rayon::prelude::*;

use super::flow_modes::Modes;
use super::gradient_flow::conditional_covariance;
use super::kernel_level::{Level, largest};
use super::whitened::{Whitened, expanded};
use super::{Measure, Population, StatisticsError, WeightStatistics, pairs};
use crate::family::KernelFamily;
use crate::numerics::anderson::Anderson;
use crate::numerics::exponential::decay_poles;
use crate::numerics::linalg;
use crate::problem::Training;

type Complex = DMatrix<Complex64>;

/// Poles in the upper half plane: an error below 2e-4 in the filter (D22.9).
const POLES: usize = 5;
const MAX_ITERATIONS: usize = 200;
/// Largest change of ln(1 + delta), and of a covariance's form at the nodes relative to its largest value with the residuals.
const TOLERANCE: f64 = 1e-7;

/// The equivalent of ridge regression at one complex ridge.
struct Resolvent {
    /// The ridge, and this resolvent's coefficient in the flow's filter.
    ridge: Complex64,
    coefficient: Complex64,
    /// Q = (E[z z^T/(1 + delta)] + ridge)^-1.
    matrix: Complex,
    /// 1/(1 + delta) at the nodes.
    share: Vec<Complex64>,
    /// Weights in the modes, r x D.
    weights: Complex,
    /// Of the initial function's factor: what is fitted of it, r x r', and what is left, F x r'.
    fitted: Option<Complex>,
    left: Option<Complex>,
}

/// A measure with complex factors.
struct Field<'a, 'b> {
    measure: Whitened<'a, Population<'b>>,
    samples: f64,
}

/// Mean and covariance of the weights after the flow, on one quadrature: (1 - e^{-tau x})/x = sum_j c_j/(x + rho_j) turns both
/// into those of ridge regressions, rho_j = z_j/tau.
pub(super) fn flow_equivalent(
    population: &Population<'_>,
    family: &KernelFamily,
    training: &Training,
    time: f64,
) -> Result<Level, StatisticsError> {
    let ones = vec![1.0; population.nodes()];
    let (sigma, cross) = (population.gram(&ones), population.cross(&ones));
    let modes = Modes::new(&sigma, &cross, &family.factor, time)?;
    let field = Field {
        measure: Whitened {
            measure: population,
            factor: &modes.directions,
        },
        samples: training.samples as f64,
    };
    let initial = family.initial.as_ref().map(|(_, factor)| factor);
    let resolvents: Result<Vec<Resolvent>, StatisticsError> = decay_poles(POLES)
        .par_iter()
        .map(|pole| {
            // (1 - e^{-tau x})/x: the partial fractions of 1/(x (z + tau x)), the pole at 0 cancelling.
            let coefficient = pole.coefficient / pole.place;
            field.resolvent(pole.place / time, coefficient, initial)
        })
        .collect();
    let resolvents = resolvents?;
    let outputs = population.outputs();
    let mut mean = DMatrix::zeros(modes.rates.len(), outputs);
    for r in &resolvents {
        mean += r.weights.map(|w| 2.0 * (w * r.coefficient).re);
    }
    let mut blocks = Vec::new();
    for pair in pairs(outputs) {
        let covariance = field.covariance(&resolvents, pair)?;
        let mut block = expanded(&modes.directions, &covariance, pair.0 == pair.1);
        if let (Some(initial), true) = (initial, pair.0 == pair.1) {
            block += left_of_initial(&modes, &resolvents, initial);
        }
        blocks.push(block);
    }
    let (effective_features, leverage) = modes.reliability(population);
    Ok(Level {
        weights: WeightStatistics::from_blocks(&(&modes.directions * mean), &blocks),
        effective_features,
        largest_leverage: largest(&leverage, &population.weights()) / field.samples,
        parts: None,
    })
}

/// Covariance of the weights of the initial function that are left at the end, F x F.
fn left_of_initial(
    modes: &Modes,
    resolvents: &[Resolvent],
    initial: &DMatrix<f64>,
) -> DMatrix<f64> {
    let mut learned = DMatrix::zeros(modes.rates.len(), initial.ncols());
    for r in resolvents {
        if let Some(fitted) = &r.fitted {
            learned += fitted.map(|w| 2.0 * (w * r.coefficient).re);
        }
    }
    let left = initial - &modes.directions * learned;
    &left * left.transpose()
}

impl Field<'_, '_> {
    /// z^T M z at the nodes.
    fn quadratic(&self, matrix: &Complex) -> Vec<Complex64> {
        join(
            self.measure.quadratic(&matrix.map(|v| v.re)),
            self.measure.quadratic(&matrix.map(|v| v.im)),
        )
    }

    /// E[factor z z^T].
    fn gram(&self, factor: &[Complex64]) -> Complex {
        let (re, im) = split(factor);
        zip(&self.measure.gram(&re), &self.measure.gram(&im))
    }

    fn cross(&self, factor: &[Complex64]) -> Complex {
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

    fn finish(
        &self,
        ridge: Complex64,
        coefficient: Complex64,
        matrix: Complex,
        share: Vec<Complex64>,
        initial: Option<&DMatrix<f64>>,
    ) -> Resolvent {
        let weights = product(&matrix, &self.cross(&share));
        let (mut fitted, mut left) = (None, None);
        if let Some(initial) = initial {
            let (re, im) = split(&share);
            let population = self.measure.measure;
            let seen = |factor: &[f64]| {
                self.measure
                    .factor
                    .tr_mul(&(population.gram(factor) * initial))
            };
            let own = product(&matrix, &zip(&seen(&re), &seen(&im)));
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

    /// The flow's covariance of two outputs: the sum of those of all pairs of ridges, which come in conjugate pairs too.
    fn covariance(
        &self,
        resolvents: &[Resolvent],
        outputs: (usize, usize),
    ) -> Result<DMatrix<f64>, StatisticsError> {
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
        let parts: Result<Vec<DMatrix<f64>>, StatisticsError> = tasks
            .par_iter()
            .map(|&(i, j, conjugate)| {
                let (a, b) = (&resolvents[i], resolvents[j].conjugate_if(conjugate));
                let found = self.pair(a, &b, outputs, &noise)?;
                let coefficient = a.coefficient * b.coefficient;
                let part = found.map(|v| 2.0 * (v * coefficient).re);
                Ok(match same && i != j {
                    true => &part + part.transpose(),
                    false => part,
                })
            })
            .collect();
        let r = self.measure.features();
        Ok(parts?
            .iter()
            .fold(DMatrix::zeros(r, r), |sum, part| sum + part))
    }

    /// C = Q_a { (1/P) E[(noise + r_a r_b + z^T C z) z z^T/((1 + delta_a)(1 + delta_b))] - (rho_a rho_b/P) w_a w_b^T } Q_b, with
    /// the initial function's misfit and fit beside those of the mean.
    fn pair(
        &self,
        a: &Resolvent,
        b: &Resolvent,
        (i, j): (usize, usize),
        noise: &[f64],
    ) -> Result<Complex, StatisticsError> {
        let share: Vec<Complex64> = a.share.iter().zip(&b.share).map(|(a, b)| a * b).collect();
        let filtered = |form: &[Complex64]| -> Complex {
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
        self.recursion(&fixed, filtered, &share, scale)
    }

    /// C = fixed + filtered(z^T C z), by accelerated iteration on the form at the nodes.
    fn recursion(
        &self,
        fixed: &Complex,
        filtered: impl Fn(&[Complex64]) -> Complex,
        share: &[Complex64],
        scale: f64,
    ) -> Result<Complex, StatisticsError> {
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
            if change <= TOLERANCE {
                return Ok(covariance);
            }
            form = interleaved(&anderson.next(&flat(&form), &flat(&image)));
        }
        Err(StatisticsError::FixedPoint {
            what: "covariance at complex ridges",
            iterations: MAX_ITERATIONS,
            change,
            allowed: TOLERANCE,
        })
    }

    /// E[y|z] - w^T z of one output.
    fn misfit(&self, resolvent: &Resolvent, output: usize) -> Vec<Complex64> {
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
        let of = |m: &Complex| if conjugate { m.conjugate() } else { m.clone() };
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

/// The product, by the real parts' products.
fn product(a: &Complex, b: &Complex) -> Complex {
    let [ar, ai] = [a.map(|v| v.re), a.map(|v| v.im)];
    let [br, bi] = [b.map(|v| v.re), b.map(|v| v.im)];
    let of =
        |a: &DMatrix<f64>, b: &DMatrix<f64>| linalg::multiply(linalg::view(a), linalg::view(b));
    zip(
        &(of(&ar, &br) - of(&ai, &bi)),
        &(of(&ar, &bi) + of(&ai, &br)),
    )
}

/// (A + i B)^-1 of a symmetric matrix whose imaginary part B is positive definite, as the ridge's half plane makes it:
/// B^-1 A X - i X with X = (B + A B^-1 A)^-1. Rows and columns are scaled first: in the modes the matrix is nearly diagonal, and
/// its eigenvalues span many decades.
fn inverse(matrix: &Complex) -> Result<Complex, StatisticsError> {
    let n = matrix.nrows();
    let scale: Vec<f64> = (0..n).map(|k| 1.0 / matrix[(k, k)].norm().sqrt()).collect();
    let scaled = |m: &DMatrix<f64>| DMatrix::from_fn(n, n, |i, j| m[(i, j)] * scale[i] * scale[j]);
    let (a, b) = (scaled(&matrix.map(|v| v.re)), scaled(&matrix.map(|v| v.im)));
    let of =
        |a: &DMatrix<f64>, b: &DMatrix<f64>| linalg::multiply(linalg::view(a), linalg::view(b));
    let ratio = of(&linalg::inverse(b.clone())?, &a);
    let mut sum = b + of(&a, &ratio);
    linalg::symmetrise(&mut sum);
    let x = linalg::inverse(sum)?;
    Ok(zip(&scaled(&of(&ratio, &x)), &scaled(&-x)))
}

fn zip(re: &DMatrix<f64>, im: &DMatrix<f64>) -> Complex {
    re.zip_map(im, Complex64::new)
}

fn join(re: Vec<f64>, im: Vec<f64>) -> Vec<Complex64> {
    re.into_iter()
        .zip(im)
        .map(|(r, i)| Complex64::new(r, i))
        .collect()
}

fn split(values: &[Complex64]) -> (Vec<f64>, Vec<f64>) {
    values.iter().map(|v| (v.re, v.im)).unzip()
}

fn flat(values: &[Complex64]) -> Vec<f64> {
    values.iter().flat_map(|v| [v.re, v.im]).collect()
}

fn interleaved(values: &[f64]) -> Vec<Complex64> {
    values
        .chunks_exact(2)
        .map(|v| Complex64::new(v[0], v[1]))
        .collect()
}

fn largest_difference(a: &[Complex64], b: &[Complex64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).norm())
        .fold(0.0, f64::max)
}
