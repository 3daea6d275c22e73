//! Fixed features of one variable, and their products over the coordinates and time.

mod block;
mod chebyshev;
mod expression;
mod fourier;
mod gaussian;
mod joint;
mod polynomial;
mod product;
mod products;
mod space;

pub use chebyshev::{Chebyshev, Variable};
pub use expression::{ExpressionError, Expressions, FeatureError};
pub use fourier::Fourier;
pub use gaussian::Gaussian;
pub use joint::Joint;
pub use polynomial::Polynomial;
pub use products::Products;
pub use space::SpaceFeatures;

/// n over m.
const BINOMIAL: [[f64; 4]; 4] = [
    [1.0, 0.0, 0.0, 0.0],
    [1.0, 1.0, 0.0, 0.0],
    [1.0, 2.0, 1.0, 0.0],
    [1.0, 3.0, 3.0, 1.0],
];

/// A finite set of features of one variable, with exact derivatives up to the third.
#[derive(Debug, Clone)]
pub enum FeatureSet {
    Gaussian(Gaussian),
    Fourier(Fourier),
    Polynomial(Polynomial),
    Expression(Expressions),
    Chebyshev(Chebyshev),
}

impl FeatureSet {
    /// Number of features.
    #[allow(clippy::len_without_is_empty)] // a feature set is never empty
    pub fn len(&self) -> usize {
        match self {
            Self::Gaussian(s) => s.len(),
            Self::Fourier(s) => s.len(),
            Self::Polynomial(s) => s.len(),
            Self::Expression(s) => s.len(),
            Self::Chebyshev(s) => s.len(),
        }
    }

    /// Feature values at `a` into `out` (length [`Self::len`]).
    pub fn values(&self, a: f64, out: &mut [f64]) {
        match self {
            Self::Gaussian(s) => s.values(a, out),
            Self::Fourier(s) => s.values(a, out),
            Self::Polynomial(s) => s.values(a, out),
            Self::Expression(s) => s.values(a, out),
            Self::Chebyshev(s) => s.values(a, out),
        }
    }

    /// Values, first and second derivatives at `a`; three slices of length [`Self::len`].
    pub fn jet(&self, a: f64, value: &mut [f64], first: &mut [f64], second: &mut [f64]) {
        match self {
            Self::Gaussian(s) => s.jet(a, value, first, second),
            Self::Fourier(s) => s.jet(a, value, first, second),
            Self::Polynomial(s) => s.jet(a, value, first, second),
            Self::Expression(s) => s.jet(a, value, first, second),
            Self::Chebyshev(s) => s.jet(a, value, first, second),
        }
    }

    /// Third derivatives at `a` into `out` (length [`Self::len`]).
    pub fn third(&self, a: f64, out: &mut [f64]) {
        match self {
            Self::Gaussian(s) => s.third(a, out),
            Self::Fourier(s) => s.third(a, out),
            Self::Polynomial(s) => s.third(a, out),
            Self::Expression(s) => s.third(a, out),
            Self::Chebyshev(s) => s.third(a, out),
        }
    }

    /// The functions that products of two features are made of.
    pub fn products(&self) -> Products {
        match self {
            Self::Gaussian(s) => s.products(),
            Self::Fourier(s) => s.products(),
            Self::Polynomial(s) => s.products(),
            Self::Expression(s) => Products::pairs(s.len()),
            Self::Chebyshev(s) => s.products(),
        }
    }

    /// Length over which the features vary: quadrature panels must not be longer.
    pub fn scale(&self) -> f64 {
        match self {
            Self::Gaussian(s) => s.std(),
            Self::Fourier(s) => s.scale(),
            Self::Polynomial(s) => s.scale(),
            Self::Expression(s) => s.scale(),
            Self::Chebyshev(s) => s.scale(),
        }
    }

    /// Interval outside which every feature vanishes to double precision, if there is one.
    pub fn support(&self) -> Option<(f64, f64)> {
        match self {
            Self::Gaussian(s) => Some(s.support()),
            Self::Fourier(_) | Self::Polynomial(_) | Self::Expression(_) | Self::Chebyshev(_) => {
                None
            }
        }
    }
}

/// Product features of one variable: the Kronecker product of its sets (the constant 1 when there is none).
#[derive(Debug, Clone, Default)]
pub struct Factor {
    sets: Vec<FeatureSet>,
}

impl Factor {
    pub fn new(sets: Vec<FeatureSet>) -> Self {
        Self { sets }
    }

    /// The sets whose product this is.
    pub fn sets(&self) -> &[FeatureSet] {
        &self.sets
    }

    /// Number of product features, at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.sets.iter().map(FeatureSet::len).product()
    }

    /// Values at `a` into `out` (length [`Self::len`]), the last set running fastest.
    pub fn values(&self, a: f64, out: &mut [f64]) {
        match &self.sets[..] {
            [] => out[0] = 1.0,
            [only] => only.values(a, out),
            sets => {
                let parts = sets.iter().map(|s| {
                    let mut v = vec![0.0; s.len()];
                    s.values(a, &mut v);
                    v
                });
                out.copy_from_slice(&parts.reduce(|l, r| kronecker(&l, &r)).unwrap_or_default());
            }
        }
    }

    /// Products of two features of every set; those of the constant 1 when there is none.
    pub fn products(&self) -> Vec<Products> {
        match &self.sets[..] {
            [] => vec![Products::pairs(1)],
            sets => sets.iter().map(FeatureSet::products).collect(),
        }
    }

    /// Numbers of features of the sets; 1 when there is none.
    pub fn set_sizes(&self) -> Vec<usize> {
        match &self.sets[..] {
            [] => vec![1],
            sets => sets.iter().map(FeatureSet::len).collect(),
        }
    }

    /// Values of the sets at `a`, one after another; the constant 1 when there is none.
    pub fn set_values(&self, a: f64, out: &mut [f64]) {
        if self.sets.is_empty() {
            out[0] = 1.0;
        }
        let mut rest = out;
        for set in &self.sets {
            let (own, others) = rest.split_at_mut(set.len());
            set.values(a, own);
            rest = others;
        }
    }

    /// Values, first and second derivatives at `a`; three slices of length [`Self::len`].
    pub fn jet(&self, a: f64, value: &mut [f64], first: &mut [f64], second: &mut [f64]) {
        if let [only] = &self.sets[..] {
            return only.jet(a, value, first, second);
        }
        let (mut v, mut d, mut c) = (vec![1.0], vec![0.0], vec![0.0]);
        for set in &self.sets {
            let n = set.len();
            let (mut sv, mut sd, mut sc) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            set.jet(a, &mut sv, &mut sd, &mut sc);
            // Leibniz: (fg)'' = f''g + 2 f'g' + f g''.
            c = sum(&[
                kronecker(&c, &sv),
                kronecker(&d, &sd),
                kronecker(&d, &sd),
                kronecker(&v, &sc),
            ]);
            d = sum(&[kronecker(&d, &sv), kronecker(&v, &sd)]);
            v = kronecker(&v, &sv);
        }
        value.copy_from_slice(&v);
        first.copy_from_slice(&d);
        second.copy_from_slice(&c);
    }

    /// Third derivatives at `a` into `out` (length [`Self::len`]).
    pub fn third(&self, a: f64, out: &mut [f64]) {
        if let [only] = &self.sets[..] {
            return only.third(a, out);
        }
        // Derivatives 0 to 3 of the product so far; Leibniz: (fg)^(n) = sum of n over m f^(m) g^(n-m).
        let mut product = [vec![1.0], vec![0.0], vec![0.0], vec![0.0]];
        for set in &self.sets {
            let mut own = [(); 4].map(|()| vec![0.0; set.len()]);
            let [v, d, c, e] = &mut own;
            set.jet(a, v, d, c);
            set.third(a, e);
            product = [0, 1, 2, 3].map(|n| {
                let terms: Vec<Vec<f64>> = (0..=n)
                    .map(|m| {
                        let term = kronecker(&product[m], &own[n - m]);
                        term.iter().map(|t| BINOMIAL[n][m] * t).collect()
                    })
                    .collect();
                sum(&terms)
            });
        }
        out.copy_from_slice(&product[3]);
    }

    /// `out[i] = weights . values(x[i])`.
    pub fn contract(&self, weights: &[f64], x: &[f64], out: &mut [f64]) {
        match &self.sets[..] {
            [FeatureSet::Gaussian(set)] => return set.contract(weights, x, out),
            [FeatureSet::Chebyshev(set)] => return set.contract(weights, x, out),
            _ => {}
        }
        let mut v = vec![0.0; self.len()];
        for (x, o) in x.iter().zip(out) {
            self.values(*x, &mut v);
            *o = dot(weights, &v);
        }
    }

    /// Like [`Self::contract`], with the exact derivative beside the value.
    pub fn contract_with_slope(
        &self,
        weights: &[f64],
        x: &[f64],
        out: &mut [f64],
        slope: &mut [f64],
    ) {
        let n = self.len();
        let (mut v, mut d, mut c) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        for ((x, o), s) in x.iter().zip(out).zip(slope) {
            self.jet(*x, &mut v, &mut d, &mut c);
            *o = dot(weights, &v);
            *s = dot(weights, &d);
        }
    }

    /// Smallest length scale of the sets; infinite when there is none.
    pub fn scale(&self) -> f64 {
        self.sets
            .iter()
            .map(FeatureSet::scale)
            .fold(f64::INFINITY, f64::min)
    }

    /// Interval outside which the product vanishes, if there is one.
    pub fn support(&self) -> Option<(f64, f64)> {
        self.sets
            .iter()
            .filter_map(FeatureSet::support)
            .reduce(|l, r| (l.0.max(r.0), l.1.min(r.1)))
    }
}

/// Features of space times features of time; the feature index runs over space slowest, time fastest.
#[derive(Debug, Clone)]
pub struct Features {
    pub space: SpaceFeatures,
    pub time: Factor,
}

impl Features {
    /// F, the number of features.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.space_len() * self.time.len()
    }

    /// F_x, the number of features of space alone.
    pub fn space_len(&self) -> usize {
        self.space.len()
    }

    /// Numbers of features of the factors whose product the features are: those of [`SpaceFeatures::factor_sizes`], then the sets of
    /// time.
    pub fn factor_sizes(&self) -> Vec<usize> {
        [self.space.factor_sizes(), self.time.set_sizes()].concat()
    }

    /// Values of the factors, one after another; length: the sum of [`Self::factor_sizes`].
    pub fn factor_values(&self, x: &[f64], t: f64, out: &mut [f64]) {
        let times = self.time.set_sizes().iter().sum::<usize>();
        let (space, time) = out.split_at_mut(out.len() - times);
        self.space.factor_values(x, space);
        self.time.set_values(t, time);
    }

    /// phi(x, t) into `out` (length F).
    pub fn values(&self, x: &[f64], t: f64, out: &mut [f64]) {
        let (mut space, mut time) = (vec![0.0; self.space_len()], vec![0.0; self.time.len()]);
        self.space.values(x, &mut space);
        self.time.values(t, &mut time);
        out.copy_from_slice(&kronecker(&space, &time));
    }

    /// Weights of the space features at time t: `out[i] = sum_j weights[i, j] phi_j(t)`, of all outputs one after another.
    pub fn contract_time(&self, weights: &[f64], t: f64, out: &mut [f64]) {
        let mut v = vec![0.0; self.time.len()];
        self.time.values(t, &mut v);
        for (row, o) in weights.chunks_exact(v.len()).zip(out) {
            *o = dot(row, &v);
        }
    }
}

/// l ⊗ r, the second running fastest.
pub(crate) fn kronecker(l: &[f64], r: &[f64]) -> Vec<f64> {
    l.iter()
        .flat_map(|a| r.iter().map(move |b| a * b))
        .collect()
}

pub(crate) fn dot(l: &[f64], r: &[f64]) -> f64 {
    l.iter().zip(r).map(|(a, b)| a * b).sum()
}

fn sum(terms: &[Vec<f64>]) -> Vec<f64> {
    (0..terms[0].len())
        .map(|i| terms.iter().map(|t| t[i]).sum())
        .collect()
}
