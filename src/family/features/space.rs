//! Features of a point in D dimensions.

use super::{Factor, Joint, Products, kronecker, product};

/// The features of space. Points come as flat coordinate-major slices: coordinate i of point k of n is `x[i * n + k]`.
/// Weights and values of several outputs are output-major.
#[derive(Debug, Clone)]
pub enum SpaceFeatures {
    /// One factor per coordinate: all products, x1 running slowest.
    Product(Vec<Factor>),
    /// One factor per coordinate, D >= 2: their features side by side, those of x1 first. A coordinate without sets has none.
    Additive(Vec<Factor>),
    /// Features of all coordinates at once, D >= 2.
    Joint(Joint),
}

impl SpaceFeatures {
    /// The factors of product features, one per coordinate.
    pub fn factors(&self) -> Option<&[Factor]> {
        match self {
            Self::Product(factors) => Some(factors),
            Self::Additive(_) | Self::Joint(_) => None,
        }
    }

    /// D.
    pub fn dim(&self) -> usize {
        match self {
            Self::Product(factors) | Self::Additive(factors) => factors.len(),
            Self::Joint(joint) => joint.dim(),
        }
    }

    /// F_x, the number of features.
    #[allow(clippy::len_without_is_empty)] // there is at least one
    pub fn len(&self) -> usize {
        match self {
            Self::Product(factors) => factors.iter().map(Factor::len).product(),
            Self::Additive(factors) => factors.iter().map(own_len).sum(),
            Self::Joint(joint) => joint.len(),
        }
    }

    /// The factor of the only coordinate, D = 1.
    ///
    /// # Panics
    /// In more dimensions, which the solvers of the line are never given.
    pub fn line(&self) -> &Factor {
        match self {
            Self::Product(factors) if factors.len() == 1 => &factors[0],
            _ => panic!("the features of a line in D = {}", self.dim()),
        }
    }

    /// Length over which the features vary along coordinate `i`; infinite where they do not.
    pub fn scale(&self, i: usize) -> f64 {
        match self {
            Self::Product(factors) | Self::Additive(factors) => factors[i].scale(),
            Self::Joint(joint) => joint.scale(),
        }
    }

    /// Interval of coordinate `i` outside which every feature vanishes, if there is one.
    pub fn support(&self, i: usize) -> Option<(f64, f64)> {
        match self {
            Self::Product(factors) => factors[i].support(),
            // The features of the other coordinates do not vanish there.
            Self::Additive(_) => None,
            Self::Joint(joint) => joint.support(i),
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
            Self::Additive(factors) => {
                for (i, factor, own) in side_by_side(factors) {
                    factor.values(x[i], &mut out[own]);
                }
            }
            Self::Joint(joint) => joint.values(x, out),
        }
    }

    /// Values at n points, one point after another: `out[k * F_x + s]` is phi_s(x_k). The result at a point does not depend on the
    /// other points; it is that of [`Self::values`] but for rounding.
    pub fn values_at(&self, x: &[f64], out: &mut [f64]) {
        if let Self::Joint(joint) = self {
            return joint.values_at(x, out);
        }
        let points = x.len() / self.dim();
        let mut point = vec![0.0; self.dim()];
        for (k, out) in out.chunks_exact_mut(self.len()).enumerate() {
            for (i, a) in point.iter_mut().enumerate() {
                *a = x[i * points + k];
            }
            self.values(&point, out);
        }
    }

    /// Numbers of features of the factors whose product the features are, the first running slowest: a factor per set of every
    /// coordinate (the constant 1 for a coordinate without), or all features where they are no product. Their product is F_x.
    pub fn factor_sizes(&self) -> Vec<usize> {
        match self {
            Self::Product(factors) => factors.iter().flat_map(Factor::set_sizes).collect(),
            Self::Additive(_) | Self::Joint(_) => vec![self.len()],
        }
    }

    /// Products of two features of every factor.
    pub fn products(&self) -> Vec<Products> {
        match self {
            Self::Product(factors) => factors.iter().flat_map(Factor::products).collect(),
            Self::Additive(_) | Self::Joint(_) => vec![Products::pairs(self.len())],
        }
    }

    /// Values of the factors at one point, one after another; length: the sum of [`Self::factor_sizes`].
    pub fn factor_values(&self, x: &[f64], out: &mut [f64]) {
        match self {
            Self::Product(factors) => {
                let mut rest = out;
                for (factor, &a) in factors.iter().zip(x) {
                    let length = factor.set_sizes().iter().sum();
                    let (own, others) = rest.split_at_mut(length);
                    factor.set_values(a, own);
                    rest = others;
                }
            }
            Self::Additive(_) | Self::Joint(_) => self.values(x, out),
        }
    }

    /// Values at one point, and derivatives along every coordinate: `jacobian[i * F_x + s]` is d phi_s / d x_i.
    pub fn jacobian(&self, x: &[f64], values: &mut [f64], jacobian: &mut [f64]) {
        match self {
            Self::Product(factors) => {
                let jets: Vec<[Vec<f64>; 2]> = factors
                    .iter()
                    .zip(x)
                    .map(|(f, &a)| first_order(f, a))
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
            Self::Additive(factors) => {
                jacobian.fill(0.0);
                let features = values.len();
                for (i, factor, own) in side_by_side(factors) {
                    let [v, d] = first_order(factor, x[i]);
                    values[own.clone()].copy_from_slice(&v);
                    jacobian[i * features..][own].copy_from_slice(&d);
                }
            }
            Self::Joint(joint) => joint.jacobian(x, values, jacobian),
        }
    }

    /// Sums W phi at many points: `out[o * n + k] = sum_s weights[o * F_x + s] phi_s(x_k)`. The result at a point does not depend
    /// on the other points.
    pub fn contract(&self, weights: &[f64], x: &[f64], out: &mut [f64]) {
        match self {
            Self::Product(factors) => match &factors[..] {
                [only] if weights.len() == only.len() => only.contract(weights, x, out),
                factors => product::contract(factors, weights, x, out),
            },
            Self::Additive(factors) => add_up(factors, self.len(), weights, x, out),
            Self::Joint(joint) => joint.contract(weights, x, out),
        }
    }
}

/// Number of features of a coordinate, none without sets.
fn own_len(factor: &Factor) -> usize {
    match factor.sets() {
        [] => 0,
        _ => factor.len(),
    }
}

/// The coordinates that have features, each with its factor and its place among all features.
fn side_by_side(
    factors: &[Factor],
) -> impl Iterator<Item = (usize, &Factor, std::ops::Range<usize>)> {
    let mut end = 0;
    factors.iter().enumerate().filter_map(move |(i, factor)| {
        let start = end;
        end += own_len(factor);
        (end > start).then_some((i, factor, start..end))
    })
}

/// Values and first derivatives.
fn first_order(factor: &Factor, a: f64) -> [Vec<f64>; 2] {
    let n = factor.len();
    let (mut v, mut d, mut c) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    factor.jet(a, &mut v, &mut d, &mut c);
    [v, d]
}

/// One sum per coordinate.
fn add_up(factors: &[Factor], features: usize, weights: &[f64], x: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    let points = x.len() / factors.len();
    let mut part = vec![0.0; out.len()];
    for (i, factor, own) in side_by_side(factors) {
        let own: Vec<f64> = weights
            .chunks_exact(features)
            .flat_map(|w| w[own.clone()].iter().copied())
            .collect();
        let x = &x[i * points..(i + 1) * points];
        product::contract(std::slice::from_ref(factor), &own, x, &mut part);
        for (o, p) in out.iter_mut().zip(&part) {
            *o += p;
        }
    }
}
