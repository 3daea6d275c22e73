//! Features written as expressions of one variable.

use std::sync::Arc;

use thiserror::Error;

use crate::symbolic::{Expr, Tape, UnknownSymbol};

/// Highest derivative that is compiled.
const ORDERS: usize = 3;
/// Largest expression (in nodes) whose derivative is formed.
const LARGEST: usize = 20_000;
/// Points per window at which the features are looked at; finer structure is not seen.
const GRID: usize = 4096;

/// Why an expression makes no feature.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ExpressionError {
    #[error(transparent)]
    Unknown(#[from] UnknownSymbol),
    #[error("its derivative {order} has {size} nodes; at most {LARGEST} are compiled")]
    TooLarge { order: usize, size: usize },
    #[error("its derivative {order} is {value} at {at}")]
    NotFinite { order: usize, value: f64, at: f64 },
}

/// A fault of one feature of a set.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("feature {index}: {error}")]
pub struct FeatureError {
    /// From 0.
    pub index: usize,
    pub error: ExpressionError,
}

/// Features of one variable as expressions, with exact derivatives. They vanish nowhere for certain, so they have no
/// support.
#[derive(Debug, Clone)]
pub struct Expressions {
    features: Vec<Expr>,
    /// `tapes[k]`: the features, then their first k derivatives order by order.
    tapes: Arc<[Tape; ORDERS + 1]>,
    scale: f64,
}

impl Expressions {
    /// Compiles features of the symbol `variable`. They and their derivatives must be finite on every window (low, high).
    ///
    /// The length scale is the smallest of sqrt(variation of f / largest |f''|) over features and windows, the variation
    /// being half the distance between the extremes: 1/k for sin(k x), 0.7 standard deviations for a Gaussian; at
    /// most a window's length. It is the starting length of quadrature panels, which refine themselves.
    pub fn new(
        features: &[Expr],
        variable: &str,
        windows: &[(f64, f64)],
    ) -> Result<Self, FeatureError> {
        let count = features.len();
        let mut all: Vec<Expr> = features.iter().map(Expr::simplify).collect();
        for order in 1..=ORDERS {
            for index in 0..count {
                let last = &all[(order - 1) * count + index];
                let size = last.size();
                if size > LARGEST {
                    let error = ExpressionError::TooLarge {
                        order: order - 1,
                        size,
                    };
                    return Err(FeatureError { index, error });
                }
                all.push(last.derivative(variable));
            }
        }
        let compile = |orders: usize| Tape::new(&all[..(orders + 1) * count], &[variable]);
        let unknown = |e: UnknownSymbol| FeatureError {
            index: 0,
            error: e.into(),
        };
        let mut set = Self {
            tapes: Arc::new([
                compile(0).map_err(unknown)?,
                compile(1).map_err(unknown)?,
                compile(2).map_err(unknown)?,
                compile(3).map_err(unknown)?,
            ]),
            scale: f64::INFINITY,
            features: features.to_vec(),
        };
        for window in windows {
            set.scale = set.scale.min(set.scale_on(*window)?);
        }
        Ok(set)
    }

    /// The features as they were given.
    pub fn features(&self) -> &[Expr] {
        &self.features
    }

    pub(super) fn len(&self) -> usize {
        self.features.len()
    }

    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    pub(super) fn values(&self, a: f64, out: &mut [f64]) {
        self.derivatives(a, &mut [out]);
    }

    pub(super) fn jet(&self, a: f64, value: &mut [f64], first: &mut [f64], second: &mut [f64]) {
        self.derivatives(a, &mut [value, first, second]);
    }

    pub(super) fn third(&self, a: f64, out: &mut [f64]) {
        let n = out.len();
        let (mut v, mut d, mut c) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        self.derivatives(a, &mut [&mut v, &mut d, &mut c, out]);
    }

    /// Derivatives of orders 0, 1, ... at `a`, one slice of the set's length for each; at most four slices.
    pub fn derivatives(&self, a: f64, out: &mut [&mut [f64]]) {
        let count = self.features.len();
        let orders = out.len().clamp(1, ORDERS + 1) - 1;
        self.tapes[orders].evaluate(&[a], |i, value| out[i / count][i % count] = value);
    }

    /// The length scale on one window, and the check that everything is finite there.
    fn scale_on(&self, (low, high): (f64, f64)) -> Result<f64, FeatureError> {
        let count = self.features.len();
        let mut extremes = vec![(f64::INFINITY, f64::NEG_INFINITY); count];
        let mut steepest = vec![0.0_f64; count];
        let mut fault = None;
        for k in 0..=GRID {
            let at = low + (high - low) * k as f64 / GRID as f64;
            self.tapes[ORDERS].evaluate(&[at], |i, value| {
                let (order, index) = (i / count, i % count);
                if !value.is_finite() && fault.is_none() {
                    let error = ExpressionError::NotFinite { order, value, at };
                    fault = Some(FeatureError { index, error });
                }
                match order {
                    0 => {
                        let (least, most) = &mut extremes[index];
                        (*least, *most) = (least.min(value), most.max(value));
                    }
                    2 => steepest[index] = steepest[index].max(value.abs()),
                    _ => {}
                }
            });
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        let scale = |((least, most), second): (&(f64, f64), &f64)| {
            let variation = 0.5 * (most - least);
            // A straight line has no scale of its own.
            if variation > 0.0 && *second > 0.0 {
                (variation / second).sqrt()
            } else {
                f64::INFINITY
            }
        };
        Ok(extremes
            .iter()
            .zip(&steepest)
            .map(scale)
            .fold(high - low, f64::min))
    }
}
