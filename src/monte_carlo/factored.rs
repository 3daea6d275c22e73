//! Training with rows that are products of factors, z_p = phi_1(x_p) ⊗ .. ⊗ phi_D(x_p) ⊗ sqrt(lambda) phi_t(t_p)
//! (derivations/19-training-by-factors.md).
//!
//! The rows are never all kept. With P < F the dual Gram matrix is the elementwise product of the factors' own,
//! Z Z^T = (Phi_1 Phi_1^T) ∘ .. ∘ (Phi_t Phi_t^T), at P^2 (F_1 + .. + F_t) flops instead of P^2 F. With P >= F the entries of
//! Z^T Z are sums over samples of one pair product per factor, and equal pairs are summed once: prod_i F_i (F_i + 1)/2 sums
//! instead of F (F + 1)/2.

use nalgebra::DMatrix;
use rand::Rng;

use super::{TrainError, TrainingCost};
use crate::family::{Linear, SampleRows};
use crate::numerics::linalg::{self, CholeskyScratch};
use crate::numerics::pairs;
use crate::problem::Training;

/// Columns of the dual Gram matrix made together: a panel of a thousand samples stays in second-level cache.
const PANEL: usize = 64;
/// Numbers of one chunk's largest matrix: 8 MB.
const CHUNK: usize = 1 << 20;
/// Largest number of pairs of space features that are summed as pairs.
const MOST_PAIRS: usize = 1 << 16;

/// Trains models of D >= 2 outputs one after another in the same memory.
pub(super) struct FactoredTrainer {
    samples: usize,
    ridge: f64,
    /// F_1, .., F_D (for features that are no product: F_x alone), F_t.
    sizes: Vec<usize>,
    outputs: usize,
    /// The samples' factors, one sample per column: all of them (dual), or one chunk (primal).
    factors: DMatrix<f64>,
    /// Y^T, in the same columns.
    targets: DMatrix<f64>,
    gram: DMatrix<f64>,
    cholesky: CholeskyScratch,
    /// Space features times outputs and features of time, the latter fastest.
    moments: DMatrix<f64>,
    pairs: Option<Pairs>,
    /// Weights, those of the first output first.
    weights: Vec<f64>,
}

/// What is chosen by the numbers of features and samples.
struct Plan {
    sizes: Vec<usize>,
    features: usize,
    samples: usize,
    dual: bool,
    /// Sums over pairs of space features, and pairs of time features, where pairs are summed.
    pairs: Option<(usize, usize)>,
}

impl Plan {
    fn new(family: &Linear, samples: usize) -> Self {
        let features = &family.features;
        let mut sizes = features.space.factor_sizes();
        sizes.push(features.time.len());
        let dual = samples < features.len();
        Self {
            pairs: (!dual).then(|| Pairs::worthwhile(&sizes)).flatten(),
            sizes,
            features: features.len(),
            samples,
            dual,
        }
    }

    /// Order of the system that is solved.
    fn order(&self) -> usize {
        self.features.min(self.samples)
    }

    /// Samples whose factors are held at a time.
    fn columns(&self) -> usize {
        let widest = self.pairs.map_or(self.features, |pairs| pairs.0);
        match self.dual {
            true => self.samples,
            false => chunk(widest).min(self.samples),
        }
    }
}

impl FactoredTrainer {
    pub(super) fn new(family: &Linear, training: &Training, outputs: usize) -> Self {
        let features = &family.features;
        let plan = Plan::new(family, training.samples);
        let (order, columns) = (plan.order(), plan.columns());
        Self {
            samples: training.samples,
            ridge: training.ridge,
            factors: DMatrix::zeros(plan.sizes.iter().sum(), columns),
            targets: DMatrix::zeros(outputs, columns),
            gram: DMatrix::zeros(order, order),
            cholesky: CholeskyScratch::new(order),
            moments: DMatrix::zeros(features.space_len(), outputs * features.time.len()),
            pairs: plan.pairs.map(|sums| Pairs::new(&plan.sizes, sums)),
            weights: vec![0.0; outputs * plan.features],
            sizes: plan.sizes,
            outputs,
        }
    }

    /// In the leading terms: what is held, and the products of one chunk besides.
    pub(super) fn cost(family: &Linear, samples: usize, outputs: usize) -> TrainingCost {
        let plan = Plan::new(family, samples);
        let (order, columns) = (plan.order(), plan.columns());
        let (space, time) = (family.features.space_len(), family.features.time.len());
        let factors: usize = plan.sizes.iter().sum();
        let weights = outputs * plan.features;
        let sums = plan.pairs.map_or(0, |(space_sums, time_sums)| {
            space_sums * time_sums + space * space / 2
        });
        let held = (factors + outputs) * columns + order * order + 2 * weights + sums;
        let chunk = chunk(plan.features).min(samples);
        let passing = match (plan.dual, plan.pairs) {
            (true, _) => ((factors + PANEL) * samples).max((space + outputs * time) * chunk),
            (false, Some((space_sums, _))) => space_sums * columns,
            (false, None) => plan.features * columns,
        };
        let [f, p, n] = [plan.features, samples, order].map(|n| n as f64);
        let gram = match (plan.dual, plan.pairs) {
            (true, _) => p * p * factors as f64,
            (false, Some((space_sums, time_sums))) => 2.0 * p * (space_sums * time_sums) as f64,
            (false, None) => p * f * f,
        };
        let solve = n.powi(3) / 3.0 + 2.0 * outputs as f64 * n * n;
        TrainingCost {
            bytes: ((held + passing) * size_of::<f64>()) as u64,
            flops: gram + solve + 2.0 * p * weights as f64,
        }
    }

    pub(super) fn train<R: Rng + ?Sized>(
        &mut self,
        samples: &mut SampleRows<'_>,
        rng: &mut R,
    ) -> Result<&[f64], TrainError> {
        self.moments.fill(0.0);
        match self.samples < self.features() {
            true => self.solve_dual(samples, rng)?,
            false => self.solve_primal(samples, rng)?,
        }
        if self.weights.iter().any(|w| !w.is_finite()) {
            return Err(TrainError::NotFinite);
        }
        Ok(&self.weights)
    }

    /// F.
    fn features(&self) -> usize {
        self.sizes.iter().product()
    }

    /// F_t.
    fn times(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    /// Fills the first `count` columns with fresh samples.
    fn draw<R: Rng + ?Sized>(&mut self, samples: &mut SampleRows<'_>, rng: &mut R, count: usize) {
        for p in 0..count {
            let column = self.factors.column_mut(p).data.into_slice_mut();
            let target = samples.draw_factors(rng, column);
            self.targets.column_mut(p).copy_from_slice(target);
        }
    }

    /// W = Y^T (Z Z^T + P rho)^-1 Z.
    fn solve_dual<R: Rng + ?Sized>(
        &mut self,
        samples: &mut SampleRows<'_>,
        rng: &mut R,
    ) -> Result<(), TrainError> {
        self.draw(samples, rng, self.samples);
        let mut first = 0;
        for (i, &size) in self.sizes.iter().enumerate() {
            multiply_gram(
                &self.factors.rows(first, size).into_owned(),
                &mut self.gram,
                i == 0,
            );
            first += size;
        }
        self.factorise(self.ridge * self.samples as f64)?;
        let mut dual = self.targets.transpose();
        linalg::cholesky_solve(linalg::view(&self.gram), linalg::view_mut(&mut dual));
        self.targets = dual.transpose();
        let columns = chunk(self.features());
        for start in (0..self.samples).step_by(columns) {
            self.add_moments(start, columns.min(self.samples - start));
        }
        self.arrange();
        Ok(())
    }

    /// W = (1/P) Y^T Z ((1/P) Z^T Z + rho)^-1.
    fn solve_primal<R: Rng + ?Sized>(
        &mut self,
        samples: &mut SampleRows<'_>,
        rng: &mut R,
    ) -> Result<(), TrainError> {
        let columns = self.factors.ncols();
        self.gram.fill(0.0);
        if let Some(pairs) = &mut self.pairs {
            pairs.sums.fill(0.0);
        }
        for start in (0..self.samples).step_by(columns) {
            let count = columns.min(self.samples - start);
            self.draw(samples, rng, count);
            self.add_moments(0, count);
            match &mut self.pairs {
                Some(pairs) => pairs.add(&self.factors, count),
                None => {
                    let rows = khatri_rao(&self.factors, &self.sizes, 0, count);
                    let rows = linalg::view(&rows);
                    let gram = linalg::view_mut(&mut self.gram);
                    linalg::add_product_lower(rows, rows.transpose(), 1.0, gram);
                }
            }
        }
        if let Some(pairs) = &self.pairs {
            pairs.expand(&mut self.gram);
        }
        let scale = 1.0 / self.samples as f64;
        self.gram *= scale;
        self.moments *= scale;
        self.factorise(self.ridge)?;
        self.arrange();
        let size = self.features();
        let rhs = faer::MatMut::from_column_major_slice_mut(&mut self.weights, size, self.outputs);
        linalg::cholesky_solve(linalg::view(&self.gram), rhs);
        Ok(())
    }

    fn factorise(&mut self, ridge: f64) -> Result<(), TrainError> {
        for i in 0..self.gram.nrows() {
            self.gram[(i, i)] += ridge;
        }
        linalg::cholesky(linalg::view_mut(&mut self.gram), &mut self.cholesky)?;
        Ok(())
    }

    /// Adds sum over samples of y_o phi_s phi_a to the moments.
    fn add_moments(&mut self, start: usize, count: usize) {
        let (space, time) = self.sizes.split_at(self.sizes.len() - 1);
        let rows = khatri_rao(&self.factors, space, start, count);
        let first = self.factors.nrows() - time[0];
        let targets = DMatrix::from_fn(self.outputs * time[0], count, |i, p| {
            let (o, a) = (i / time[0], i % time[0]);
            self.targets[(o, start + p)] * self.factors[(first + a, start + p)]
        });
        linalg::add_product(
            linalg::view(&rows),
            linalg::view(&targets).transpose(),
            linalg::view_mut(&mut self.moments),
        );
    }

    /// The moments in the order of the weights.
    fn arrange(&mut self) {
        let (times, features) = (self.times(), self.features());
        for (i, w) in self.weights.iter_mut().enumerate() {
            let (o, s, a) = (i / features, i % features / times, i % times);
            *w = self.moments[(s, o * times + a)];
        }
    }
}

/// Samples of a chunk of which each makes `width` numbers.
fn chunk(width: usize) -> usize {
    (CHUNK / width.max(1)).clamp(16, 256)
}

/// Columns of products of the factors, the last factor fastest, for `count` samples from `start`.
fn khatri_rao(factors: &DMatrix<f64>, sizes: &[usize], start: usize, count: usize) -> DMatrix<f64> {
    let mut out = DMatrix::zeros(sizes.iter().product(), count);
    for p in 0..count {
        let mut rest = factors.column(start + p).data.into_slice();
        let column = out.column_mut(p).data.into_slice_mut();
        column[0] = 1.0;
        let mut length = 1;
        for &size in sizes {
            let (own, others) = rest.split_at(size);
            spread(column, length, own);
            rest = others;
            length *= size;
        }
    }
    out
}

/// Replaces the first `length` numbers of `all` by their products with `factor`, the latter fastest. Backwards, so that no
/// product lands on a number still to be read.
fn spread(all: &mut [f64], length: usize, factor: &[f64]) {
    for i in (0..length).rev() {
        let value = all[i];
        let products = &mut all[i * factor.len()..(i + 1) * factor.len()];
        for (product, f) in products.iter_mut().zip(factor) {
            *product = value * f;
        }
    }
}

/// Multiplies the lower triangle of `gram` by that of `factor^T factor`, elementwise; replaces it if `fresh`.
fn multiply_gram(factor: &DMatrix<f64>, gram: &mut DMatrix<f64>, fresh: bool) {
    let samples = factor.ncols();
    let all = linalg::view(factor);
    for first in (0..samples).step_by(PANEL) {
        let width = PANEL.min(samples - first);
        let panel = linalg::multiply(
            all.subcols(first, samples - first).transpose(),
            all.subcols(first, width),
        );
        for j in 0..width {
            let own = gram.column_mut(first + j).data.into_slice_mut();
            let products = panel.column(j).data.into_slice();
            let (own, products) = (&mut own[first + j..], &products[j..]);
            match fresh {
                true => own.copy_from_slice(products),
                false => own.iter_mut().zip(products).for_each(|(k, g)| *k *= g),
            }
        }
    }
}

/// Sums over samples of products of one pair of features per factor.
struct Pairs {
    sizes: Vec<usize>,
    /// Products of pairs of the space factors times the pairs of time features.
    sums: DMatrix<f64>,
    /// Row of `sums` of two space features, F_x x F_x.
    space_index: Vec<u32>,
}

impl Pairs {
    /// Numbers of sums over pairs of space features and of pairs of time features; `None` where single features are
    /// cheaper, or the sums too many.
    fn worthwhile(sizes: &[usize]) -> Option<(usize, usize)> {
        let (space, time) = sizes.split_at(sizes.len() - 1);
        let checked = |sizes: &[usize]| {
            sizes
                .iter()
                .try_fold(1_usize, |all, n| all.checked_mul(pairs::count(*n)))
        };
        let space_sums = checked(space).filter(|n| *n <= MOST_PAIRS)?;
        let time_sums = pairs::count(time[0]);
        let features: usize = sizes.iter().product();
        // Making the pairs costs about as much as eight of the sums that each of them enters.
        let cheaper = space_sums * (time_sums + 8) < pairs::count(features);
        cheaper.then_some((space_sums, time_sums))
    }

    fn new(sizes: &[usize], (space_sums, time_sums): (usize, usize)) -> Self {
        Self {
            sizes: sizes.to_vec(),
            sums: DMatrix::zeros(space_sums, time_sums),
            space_index: pair_indices(&sizes[..sizes.len() - 1]),
        }
    }

    /// Adds the samples in the first `count` columns.
    fn add(&mut self, factors: &DMatrix<f64>, count: usize) {
        let squares: Vec<usize> = self.sizes.iter().map(|n| pairs::count(*n)).collect();
        let mut pairs = DMatrix::zeros(squares.iter().sum(), count);
        for p in 0..count {
            let mut rest = factors.column(p).data.into_slice();
            let mut column = pairs.column_mut(p).data.into_slice_mut().iter_mut();
            for &size in &self.sizes {
                let (own, others) = rest.split_at(size);
                rest = others;
                let products = pairs::products(own);
                products.zip(&mut column).for_each(|(v, out)| *out = v);
            }
        }
        let (space, time) = squares.split_at(squares.len() - 1);
        let products = khatri_rao(&pairs, space, 0, count);
        let times = linalg::view(&pairs).subrows(pairs.nrows() - time[0], time[0]);
        linalg::add_product(
            linalg::view(&products),
            times.transpose(),
            linalg::view_mut(&mut self.sums),
        );
    }

    /// The lower triangle of Z^T Z.
    fn expand(&self, gram: &mut DMatrix<f64>) {
        let times = self.sizes[self.sizes.len() - 1];
        let space = gram.nrows() / times;
        for column in 0..gram.ncols() {
            let (s, a) = (column / times, column % times);
            let entries = gram.column_mut(column).data.into_slice_mut();
            for (r, entries) in entries.chunks_exact_mut(times).enumerate().skip(s) {
                let row = self.space_index[r * space + s] as usize;
                for (b, entry) in entries.iter_mut().enumerate() {
                    *entry = self.sums[(row, pairs::place(a, b))];
                }
            }
        }
    }
}

/// Place of every pair of product features among the products of the factors' pairs.
fn pair_indices(sizes: &[usize]) -> Vec<u32> {
    let features: usize = sizes.iter().product();
    let index = |mut r: usize, mut s: usize| {
        let (mut place, mut stride) = (0, 1);
        for &n in sizes.iter().rev() {
            place += stride * pairs::place(r % n, s % n);
            stride *= pairs::count(n);
            (r, s) = (r / n, s / n);
        }
        place as u32
    };
    (0..features * features)
        .map(|i| index(i / features, i % features))
        .collect()
}
