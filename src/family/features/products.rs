//! Products of two features of one factor, as sums of few functions (derivations/19-training-by-factors.md).

use crate::numerics::pairs;

/// A product function and its coefficient.
pub(super) type Term = (usize, f64);

/// The functions that the products of two of a factor's n features are made of: far fewer than the n (n + 1)/2 products where the
/// features are closed under products, else the products themselves.
#[derive(Debug, Clone)]
pub struct Products {
    features: usize,
    functions: usize,
    closed: Option<Closed>,
}

#[derive(Debug, Clone)]
struct Closed {
    values: fn(&[f64], &mut [f64]),
    /// Where the terms of a pair begin, by its place, and where the last one's end.
    starts: Vec<usize>,
    terms: Vec<Term>,
}

impl Products {
    /// Every product for itself.
    pub(crate) fn pairs(features: usize) -> Self {
        Self {
            features,
            functions: pairs::count(features),
            closed: None,
        }
    }

    /// `functions` functions, made of the features' values at a point by `values`; the product of features j >= k is the sum of
    /// `terms(j, k)`. Where they are no fewer than the products these are taken, which need no sum.
    pub(super) fn closed(
        features: usize,
        functions: usize,
        values: fn(&[f64], &mut [f64]),
        terms: impl Fn(usize, usize) -> Vec<Term>,
    ) -> Self {
        if functions >= pairs::count(features) {
            return Self::pairs(features);
        }
        let (mut all, mut starts) = (Vec::new(), vec![0]);
        for j in 0..features {
            for k in 0..=j {
                all.extend(terms(j, k));
                starts.push(all.len());
            }
        }
        let closed = Closed {
            values,
            starts,
            terms: all,
        };
        Self {
            features,
            functions,
            closed: Some(closed),
        }
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of functions.
    pub fn functions(&self) -> usize {
        self.functions
    }

    /// The functions at a point, from the features there.
    pub fn values(&self, features: &[f64], out: &mut [f64]) {
        match &self.closed {
            Some(closed) => (closed.values)(features, out),
            None => pairs::products(features)
                .zip(out)
                .for_each(|(v, out)| *out = v),
        }
    }

    /// phi_j phi_k, or a sum of it, from the functions or their sums.
    pub fn product(&self, j: usize, k: usize, functions: &[f64]) -> f64 {
        let place = pairs::place(j, k);
        match &self.closed {
            Some(closed) => closed
                .terms(place)
                .iter()
                .map(|(m, c)| c * functions[*m])
                .sum(),
            None => functions[place],
        }
    }

    /// The same for `out.len()` sums of every function, which stand together.
    pub fn product_of_rows(&self, j: usize, k: usize, functions: &[f64], out: &mut [f64]) {
        let (place, width) = (pairs::place(j, k), out.len());
        let row = |m: usize| &functions[m * width..(m + 1) * width];
        let Some(closed) = &self.closed else {
            return out.copy_from_slice(row(place));
        };
        out.fill(0.0);
        for (m, c) in closed.terms(place) {
            for (o, f) in out.iter_mut().zip(row(*m)) {
                *o += c * f;
            }
        }
    }
}

impl Closed {
    fn terms(&self, place: usize) -> &[Term] {
        &self.terms[self.starts[place]..self.starts[place + 1]]
    }
}
