//! Features of a point in D dimensions.

use super::{Factor, kronecker, product};

/// The features of space. Points come as flat coordinate-major slices: coordinate i of point k of n is `x[i * n + k]`.
/// Weights and values of several outputs are output-major.
#[derive(Debug, Clone)]
pub enum SpaceFeatures {
    /// One factor per coordinate: all products, x1 running slowest.
    Product(Vec<Factor>),
}

impl SpaceFeatures {
    /// D.
    pub fn dim(&self) -> usize {
        match self {
            Self::Product(factors) => factors.len(),
        }
    }

    /// F_x, the number of features.
    #[allow(clippy::len_without_is_empty)] // there is at least one
    pub fn len(&self) -> usize {
        match self {
            Self::Product(factors) => factors.iter().map(Factor::len).product(),
        }
    }

    /// The factor of the only coordinate, D = 1.
    ///
    /// # Panics
    /// In more dimensions, which the solvers of the line are never given.
    pub fn line(&self) -> &Factor {
        match self {
            Self::Product(factors) => {
                assert_eq!(factors.len(), 1, "the features of a line");
                &factors[0]
            }
        }
    }

    /// Length over which the features vary along coordinate `i`; infinite where they do not.
    pub fn scale(&self, i: usize) -> f64 {
        match self {
            Self::Product(factors) => factors[i].scale(),
        }
    }

    /// Interval of coordinate `i` outside which every feature vanishes, if there is one.
    pub fn support(&self, i: usize) -> Option<(f64, f64)> {
        match self {
            Self::Product(factors) => factors[i].support(),
        }
    }

    /// Values at one point `x` (length D) into `out` (length F_x).
    pub fn values(&self, x: &[f64], out: &mut [f64]) {
        match self {
            Self::Product(factors) => match &factors[..] {
                [only] => only.values(x[0], out),
                factors => {
                    let mut all = vec![1.0];
                    for (factor, &a) in factors.iter().zip(x) {
                        let mut v = vec![0.0; factor.len()];
                        factor.values(a, &mut v);
                        all = kronecker(&all, &v);
                    }
                    out.copy_from_slice(&all);
                }
            },
        }
    }

    /// Sizes of the factors whose product the features are, the first running slowest: their product is F_x.
    pub fn factor_sizes(&self) -> Vec<usize> {
        match self {
            Self::Product(factors) => factors.iter().map(Factor::len).collect(),
        }
    }

    /// Values of the factors at one point, one after another; length: the sum of [`Self::factor_sizes`].
    pub fn factor_values(&self, x: &[f64], out: &mut [f64]) {
        match self {
            Self::Product(factors) => {
                let mut rest = out;
                for (factor, &a) in factors.iter().zip(x) {
                    let (own, others) = rest.split_at_mut(factor.len());
                    factor.values(a, own);
                    rest = others;
                }
            }
        }
    }

    /// Values at one point, and derivatives along every coordinate: `jacobian[i * F_x + s]` is d phi_s / d x_i.
    pub fn jacobian(&self, x: &[f64], values: &mut [f64], jacobian: &mut [f64]) {
        match self {
            Self::Product(factors) => {
                let jets: Vec<[Vec<f64>; 2]> = factors
                    .iter()
                    .zip(x)
                    .map(|(factor, &a)| {
                        let n = factor.len();
                        let (mut v, mut d, mut c) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
                        factor.jet(a, &mut v, &mut d, &mut c);
                        [v, d]
                    })
                    .collect();
                // The product with the derivative taken in coordinate `of`, if any.
                let product = |of: Option<usize>| {
                    jets.iter().enumerate().fold(vec![1.0], |all, (i, [v, d])| {
                        kronecker(&all, if of == Some(i) { d } else { v })
                    })
                };
                values.copy_from_slice(&product(None));
                for (i, row) in jacobian.chunks_exact_mut(values.len()).enumerate() {
                    row.copy_from_slice(&product(Some(i)));
                }
            }
        }
    }

    /// Sums W phi at many points: `out[o * n + k] = sum_s weights[o * F_x + s] phi_s(x_k)`, one factor contracted at a time.
    pub fn contract(&self, weights: &[f64], x: &[f64], out: &mut [f64]) {
        match self {
            Self::Product(factors) => match &factors[..] {
                [only] if weights.len() == only.len() => only.contract(weights, x, out),
                factors => product::contract(factors, weights, x, out),
            },
        }
    }
}
