//! The rest of a layer in ridge regression, by the deterministic equivalent (derivations/11-quenched-layer.md).

use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::{Drawn, LayerWeights};
use crate::numerics::linalg::{self, CholeskyScratch};
use crate::statistics::whitened::{expanded, inner, projected};
use crate::statistics::{Equivalent, Measure, StatisticsError, pairs, symmetric_from_blocks};

/// The samples outside the layer, on average and in their fluctuations.
pub(super) struct RidgeRest<'a> {
    /// P, and the probability of a sample to fall into the layer.
    samples: usize,
    inside: f64,
    /// As those of the equivalent: with a whitening L rows are L^T z, and weights omega, until W = L omega is handed out.
    ridge: f64,
    whitening: Option<&'a DMatrix<f64>>,
    /// 1_rest and the leverages at the nodes of the equivalent's coarse quadrature.
    outside: Vec<f64>,
    leverage: Vec<f64>,
    /// E[1_rest z z^T/(1 + delta)], F x F, and its eigenvalues and eigenvectors U where layers are small enough to use them.
    sigma: DMatrix<f64>,
    spectrum: Option<Spectrum>,
    /// E[1_rest z y^T/(1 + delta)], F x D.
    target: DMatrix<f64>,
    /// Factor L of the noise covariance, D F x D F, of which the block of the outputs (i, j) is
    /// (1/P) { E[1_rest (r_i r_j + Cov_ij + z^T C_ij z)/(1 + delta)^2 z z^T] - m_i m_j^T/Pr(rest) },
    /// m = E[1_rest r z/(1 + delta)]: the samples outside are a given number, each with this mean.
    noise: DMatrix<f64>,
}

struct Spectrum {
    values: Vec<f64>,
    vectors: DMatrix<f64>,
}

impl<'a> RidgeRest<'a> {
    /// The rest with the leverages of the equivalent.
    pub fn new(
        equivalent: &Equivalent<'a>,
        samples: usize,
        inside: f64,
        outside: Vec<f64>,
    ) -> Result<Self, StatisticsError> {
        let leverage = equivalent.coarse.leverage.clone();
        Self::at(equivalent, samples, inside, outside, leverage)
    }

    fn at(
        equivalent: &Equivalent<'a>,
        samples: usize,
        inside: f64,
        outside: Vec<f64>,
        leverage: Vec<f64>,
    ) -> Result<Self, StatisticsError> {
        let (population, p) = (&equivalent.population, samples as f64);
        let shrunk: Vec<f64> = outside
            .iter()
            .zip(&leverage)
            .map(|(o, d)| o / (1.0 + d))
            .collect();
        let (sigma, target) = (population.gram(&shrunk), population.cross(&shrunk));
        let noise = noise_blocks(equivalent, p, &outside, &shrunk, &sigma, &target);
        let (sigma, target, noise) = match equivalent.whitening {
            None => (sigma, target, noise),
            Some(factor) => {
                let noise = noise.iter().map(|block| projected(factor, block));
                (
                    inner(factor, &sigma),
                    factor.tr_mul(&target),
                    noise.collect(),
                )
            }
        };
        let noise = symmetric_from_blocks(target.ncols(), &noise);
        let (f, outputs) = target.shape();
        // On the line a draw decides, whatever is expected.
        let few = outputs == 1 || inside * p <= Factor::dual_up_to(f, outputs) as f64;
        let decompose = few && equivalent.ridge > 0.0;
        // The two decompositions are most of the work, and sequential each.
        let (average, fluctuation) = rayon::join(
            || decompose.then(|| Spectrum::new(&sigma)).transpose(),
            || match outputs {
                1 => linalg::eigen_factor(&noise),
                _ => linalg::semidefinite_factor(&noise),
            },
        );
        Ok(Self {
            samples,
            inside,
            ridge: equivalent.ridge,
            whitening: equivalent.whitening,
            outside,
            leverage,
            sigma,
            spectrum: average?,
            target,
            noise: fluctuation?,
        })
    }

    /// The resolvent given a layer.
    pub fn resolvent(&self, drawn: &Drawn<'_>) -> Result<DMatrix<f64>, StatisticsError> {
        let f = self.sigma.nrows();
        let mut resolvent = DMatrix::identity(f, f);
        Quenched::new(self, drawn)?.apply(&mut resolvent);
        Ok(resolvent)
    }

    /// The rest with the leverages that an average resolvent makes, and the largest change of their ln(1 + delta).
    pub fn settled(
        self,
        equivalent: &Equivalent<'a>,
        mut resolvent: DMatrix<f64>,
    ) -> Result<(Self, f64), StatisticsError> {
        match self.whitening {
            Some(factor) => resolvent = expanded(factor, &resolvent, true),
            None => linalg::symmetrise(&mut resolvent),
        }
        let leverage: Vec<f64> = equivalent
            .population
            .quadratic(&resolvent)
            .iter()
            .map(|q| q.max(0.0) / self.samples as f64)
            .collect();
        let change = leverage
            .iter()
            .zip(&self.leverage)
            .zip(&self.outside)
            .filter(|(_, outside)| **outside > 0.0)
            .map(|((a, b), _)| ((1.0 + a) / (1.0 + b)).ln().abs())
            .fold(0.0, f64::max);
        let rest = Self::at(
            equivalent,
            self.samples,
            self.inside,
            self.outside,
            leverage,
        )?;
        Ok((rest, change))
    }

    /// Weights given a layer.
    pub fn weights<R: Rng + ?Sized>(
        &self,
        drawn: &Drawn<'_>,
        rng: &mut R,
    ) -> Result<LayerWeights, StatisticsError> {
        let share = drawn.share;
        let quenched = Quenched::new(self, drawn)?;
        let (f, outputs) = quenched.target.shape();
        let eta = DVector::from_fn(outputs * f, |_, _| rng.sample::<f64, _>(StandardNormal));
        let noise = &self.noise * eta * share.sqrt();
        // The targets of all outputs, then the same with noise.
        let mut both = DMatrix::zeros(f, 2 * outputs);
        let (mean, noisy) = both.as_mut_slice().split_at_mut(outputs * f);
        for (((m, y), target), noise) in
            mean.iter_mut().zip(noisy).zip(&quenched.target).zip(&noise)
        {
            *m = *target;
            *y = target + noise;
        }
        quenched.apply(&mut both);
        let (mean, weights) = both.as_slice().split_at(outputs * f);
        Ok(LayerWeights {
            conditional_mean: self.lifted(mean, outputs),
            weights: self.lifted(weights, outputs),
        })
    }

    /// Cov(W | layer), D F x D F.
    pub fn conditional_covariance(
        &self,
        drawn: &Drawn<'_>,
    ) -> Result<DMatrix<f64>, StatisticsError> {
        let noise = &self.noise * drawn.share.sqrt();
        let quenched = Quenched::new(self, drawn)?;
        let (f, outputs) = quenched.target.shape();
        let features = self.whitening.map_or(f, DMatrix::nrows);
        let mut factor = DMatrix::zeros(outputs * features, noise.ncols());
        for o in 0..outputs {
            let mut block = noise.rows(o * f, f).into_owned();
            quenched.apply(&mut block);
            if let Some(whitening) = self.whitening {
                block = linalg::multiply(linalg::view(whitening), linalg::view(&block));
            }
            factor.rows_mut(o * features, features).copy_from(&block);
        }
        Ok(linalg::multiply(
            linalg::view(&factor),
            linalg::view(&factor).transpose(),
        ))
    }

    /// W of all outputs one after another, from the weights that are solved for, a column each.
    fn lifted(&self, solved: &[f64], outputs: usize) -> DVector<f64> {
        match self.whitening {
            None => DVector::from_column_slice(solved),
            Some(factor) => {
                let omega = DMatrix::from_column_slice(factor.ncols(), outputs, solved);
                DVector::from_column_slice((factor * omega).as_slice())
            }
        }
    }
}

impl Spectrum {
    fn new(sigma: &DMatrix<f64>) -> Result<Self, StatisticsError> {
        let (values, vectors) = linalg::symmetric_eigen(sigma)?;
        Ok(Self {
            values: values.iter().map(|v| v.max(0.0)).collect(),
            vectors,
        })
    }
}

/// Covariances F x F of what the samples outside the layer add to E[z y^T], of all pairs of outputs.
fn noise_blocks(
    equivalent: &Equivalent<'_>,
    p: f64,
    outside: &[f64],
    shrunk: &[f64],
    sigma: &DMatrix<f64>,
    target: &DMatrix<f64>,
) -> Vec<DMatrix<f64>> {
    let population = &equivalent.population;
    let means: Vec<DVector<f64>> = target
        .column_iter()
        .zip(equivalent.coarse.mean.column_iter())
        .map(|(target, w)| target - sigma * w)
        .collect();
    let probability = population.mean(outside);
    pairs(means.len())
        .zip(&equivalent.noise)
        .map(|((i, j), noise)| {
            let amplitude: Vec<f64> = noise
                .iter()
                .zip(shrunk)
                .map(|(n, s)| n * s * s / p)
                .collect();
            let mut block = population.gram(&amplitude);
            if probability > 0.0 {
                block.ger(-1.0 / (p * probability), &means[i], &means[j], 1.0);
            }
            block
        })
        .collect()
}

/// A layer as drawn: (share Sigma_rest + rho + Z Z^T/P)^-1 in factored form.
struct Quenched<'a> {
    /// share A_rest + Z Y/P, F x D.
    target: DMatrix<f64>,
    factor: Factor<'a>,
}

enum Factor<'a> {
    /// Cholesky factor of the F x F matrix: F^3/3 flops, and n F^2 for Z Z^T by rows.
    Primal(DMatrix<f64>),
    /// In the eigenbasis U of Sigma_rest, where share Sigma_rest + rho = diag(root^2) for every share:
    /// B = diag(1/root) U^T Z/sqrt(P) and the Cholesky factor of I + B^T B. 2 n F^2 + n^2 F flops.
    Dual {
        spectrum: &'a Spectrum,
        root: Vec<f64>,
        rows: DMatrix<f64>,
        gram: DMatrix<f64>,
    },
}

impl<'a> Quenched<'a> {
    fn new(rest: &'a RidgeRest<'_>, drawn: &Drawn<'_>) -> Result<Self, StatisticsError> {
        let (mut rows, targets, share) = (drawn.rows(), &drawn.targets, drawn.share);
        if let Some(factor) = rest.whitening {
            rows = linalg::multiply(linalg::view(factor).transpose(), linalg::view(&rows));
        }
        let (f, n) = rows.shape();
        let p = rest.samples as f64;
        let mut target = &rest.target * share;
        for (mut total, y) in target.column_iter_mut().zip(targets.column_iter()) {
            total += &rows * y / p;
        }
        let few = n <= Factor::dual_up_to(f, targets.ncols());
        let factor = match &rest.spectrum {
            Some(spectrum) if few => Factor::dual(spectrum, &rows, share, p, rest.ridge)?,
            _ => {
                // Sums of products are those of rows as they are drawn; where rounding makes them indefinite, rows may do.
                let sums = rest.whitening.is_none().then(|| drawn.gram()).flatten();
                let factored = sums.and_then(|gram| Factor::primal(rest, gram, share).ok());
                match factored {
                    Some(factor) => factor,
                    None => {
                        let mut gram = DMatrix::zeros(f, f);
                        let z = linalg::view(&rows).transpose();
                        linalg::gram_lower(z, 1.0, linalg::view_mut(&mut gram));
                        Factor::primal(rest, gram, share)?
                    }
                }
            }
        };
        Ok(Self { target, factor })
    }

    /// Multiplies the columns of `right` by the resolvent.
    fn apply(&self, right: &mut DMatrix<f64>) {
        match &self.factor {
            Factor::Primal(factor) => {
                linalg::cholesky_solve(linalg::view(factor), linalg::view_mut(right));
            }
            Factor::Dual {
                spectrum,
                root,
                rows,
                gram,
            } => {
                let turned = linalg::view(&spectrum.vectors);
                let mut b = linalg::multiply(turned.transpose(), linalg::view(right));
                scale_rows(&mut b, root);
                let mut inner = linalg::multiply(linalg::view(rows).transpose(), linalg::view(&b));
                linalg::cholesky_solve(linalg::view(gram), linalg::view_mut(&mut inner));
                b -= linalg::multiply(linalg::view(rows), linalg::view(&inner));
                scale_rows(&mut b, root);
                *right = linalg::multiply(turned, linalg::view(&b));
            }
        }
    }
}

impl<'a> Factor<'a> {
    /// Largest number of rows for the dual form: where it costs less. By the flops that is F/4; on the line F/2, as results
    /// on record have it.
    fn dual_up_to(features: usize, outputs: usize) -> usize {
        match outputs {
            1 => features / 2,
            _ => features / 4,
        }
    }

    /// From the lower triangle of Z Z^T.
    fn primal(
        rest: &RidgeRest<'_>,
        mut gram: DMatrix<f64>,
        share: f64,
    ) -> Result<Self, StatisticsError> {
        let (f, scale) = (gram.nrows(), 1.0 / rest.samples as f64);
        gram.zip_apply(&rest.sigma, |g, s| *g = *g * scale + share * s);
        for i in 0..f {
            gram[(i, i)] += rest.ridge;
        }
        linalg::cholesky(linalg::view_mut(&mut gram), &mut CholeskyScratch::new(f))?;
        Ok(Self::Primal(gram))
    }

    fn dual(
        spectrum: &'a Spectrum,
        rows: &DMatrix<f64>,
        share: f64,
        p: f64,
        ridge: f64,
    ) -> Result<Self, StatisticsError> {
        let n = rows.ncols();
        let root: Vec<f64> = spectrum
            .values
            .iter()
            .map(|v| (share * v + ridge).sqrt())
            .collect();
        let mut rows = linalg::multiply(
            linalg::view(&spectrum.vectors).transpose(),
            linalg::view(rows),
        );
        rows /= p.sqrt();
        scale_rows(&mut rows, &root);
        let mut gram = DMatrix::zeros(n, n);
        if n > 0 {
            linalg::gram_lower(linalg::view(&rows), 1.0, linalg::view_mut(&mut gram));
            for i in 0..n {
                gram[(i, i)] += 1.0;
            }
            linalg::cholesky(linalg::view_mut(&mut gram), &mut CholeskyScratch::new(n))?;
        }
        Ok(Self::Dual {
            spectrum,
            root,
            rows,
            gram,
        })
    }
}

/// Divides row i by root i.
fn scale_rows(matrix: &mut DMatrix<f64>, root: &[f64]) {
    for mut column in matrix.column_iter_mut() {
        for (v, r) in column.iter_mut().zip(root) {
            *v /= r;
        }
    }
}
