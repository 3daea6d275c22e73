//! Gram matrices of product features from sums over samples of product functions (derivations/19-training-by-factors.md).

use std::ops::Range;

use nalgebra::DMatrix;

use super::features::{Features, Products};
use crate::numerics::linalg::{self, khatri_rao};
use crate::numerics::pairs;

/// Largest number of products of the space factors' functions.
const MOST: usize = 1 << 16;
/// Making the functions of a sample costs about as much as so many of the sums that each of them enters, of which few at a time run at
/// a fraction of a wide product's rate (64 random waves times 4 features of time: 0.50 s by 2080 x 7 sums, 0.16 s with rows).
const MAKING: usize = 24;

/// Sums over samples of lambda times one product function per factor, and the Gram matrix Z^T Z that is made of them.
#[derive(Debug, Clone)]
pub struct ProductSums {
    /// Of sqrt(lambda), the factors of space, and those of time.
    products: Vec<Products>,
    /// Number of factors before those of time.
    space: usize,
    /// Functions of time times those of space: in memory a tensor of one index per factor, that of time fastest.
    sums: DMatrix<f64>,
}

impl ProductSums {
    /// Sums of nothing; `None` where products of whole features are cheaper, or the sums too many.
    pub fn where_cheaper(features: &Features) -> Option<Self> {
        Self::with(features, |spaces, times| {
            spaces.saturating_mul(times.saturating_add(MAKING)) < pairs::count(features.len())
        })
    }

    /// The same whatever it costs.
    pub fn new(features: &Features) -> Option<Self> {
        Self::with(features, |_, _| true)
    }

    /// Where that many functions of space and of time are welcome.
    fn with(features: &Features, welcome: impl Fn(usize, usize) -> bool) -> Option<Self> {
        // sqrt(lambda) is one feature: the sets of space and time are closed as they are, not times a number.
        let space = [vec![Products::pairs(1)], features.space.products()].concat();
        let time = features.time.products();
        let functions = |products: &[Products]| {
            let mut all = products.iter().map(Products::functions);
            all.try_fold(1_usize, |all, n| all.checked_mul(n))
        };
        let (spaces, times) = (functions(&space)?, functions(&time)?);
        (spaces <= MOST && welcome(spaces, times)).then(|| Self {
            space: space.len(),
            sums: DMatrix::zeros(times, spaces),
            products: [space, time].concat(),
        })
    }

    /// Numbers of functions of space and of time.
    pub fn functions(&self) -> (usize, usize) {
        (self.sums.ncols(), self.sums.nrows())
    }

    /// Forgets all samples.
    pub fn clear(&mut self) {
        self.sums.fill(0.0);
    }

    /// Adds the samples of some columns, which hold sqrt(lambda) and their factors one after another as
    /// [`SampleRows::draw_factors`](super::SampleRows::draw_factors) fills them.
    pub fn add(&mut self, factors: &DMatrix<f64>, columns: Range<usize>) {
        let count = columns.len();
        let sizes: Vec<usize> = self.products.iter().map(Products::functions).collect();
        let mut functions = DMatrix::zeros(sizes.iter().sum(), count);
        for (p, mut column) in columns.zip(functions.column_iter_mut()) {
            let mut features = factors.column(p).data.into_slice();
            let mut rest = column.as_mut_slice();
            for products in &self.products {
                let (own, others) = features.split_at(products.features());
                let (out, left) = rest.split_at_mut(products.functions());
                products.values(own, out);
                (features, rest) = (others, left);
            }
        }
        let (space, time) = sizes.split_at(self.space);
        let spaces = khatri_rao(&functions, 0, space, 0..count);
        let times = khatri_rao(&functions, space.iter().sum(), time, 0..count);
        linalg::add_product(
            linalg::view(&times),
            linalg::view(&spaces).transpose(),
            linalg::view_mut(&mut self.sums),
        );
    }

    /// The lower triangle of Z^T Z, F x F; the rest is left as it is.
    pub fn expand(&self, gram: &mut DMatrix<f64>) {
        let mut left = self.sums.len();
        let rest = |products: &Products| {
            left /= products.functions();
            vec![0.0; left]
        };
        let mut scratch: Vec<Vec<f64>> = self.products.iter().map(rest).collect();
        expand(
            &self.products,
            self.sums.as_slice(),
            (0, 0),
            &mut scratch,
            gram,
        );
    }
}

/// The block of the Gram matrix from `at` on: `sums` are those of the remaining factors' functions, the pair of features of every
/// factor before being given. On the diagonal, where these pairs are of equal features, the lower triangle alone.
fn expand(
    products: &[Products],
    sums: &[f64],
    at: (usize, usize),
    scratch: &mut [Vec<f64>],
    gram: &mut DMatrix<f64>,
) {
    let ([first, rest @ ..], [own, deeper @ ..]) = (products, scratch) else {
        return;
    };
    let width: usize = rest.iter().map(Products::features).product();
    let triangle = at.0 == at.1;
    for k in 0..first.features() {
        let start = if triangle { k } else { 0 };
        if rest.is_empty() {
            let column = gram.column_mut(at.1 + k).data.into_slice_mut();
            let entries = &mut column[at.0 + start..at.0 + first.features()];
            for (j, entry) in (start..).zip(entries) {
                *entry = first.product(j, k, sums);
            }
            continue;
        }
        for j in start..first.features() {
            first.product_of_rows(j, k, sums, own);
            expand(
                rest,
                own,
                (at.0 + j * width, at.1 + k * width),
                deeper,
                gram,
            );
        }
    }
}
