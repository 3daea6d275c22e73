//! A linear model tabulated in x at the times of a grid: for many trajectories of one model.

use super::{Denoiser, LinearDenoiser};
use crate::problem::Regression;

/// Table cells per length scale of the features. Cubic Hermite interpolation is then exact to h^4 max|fourth
/// derivative| / 384 = 2e-7 of a Gaussian feature's height, and a table of 16 features stays in first-level cache.
const CELLS_PER_SCALE: f64 = 14.0;

/// Positions looked up together.
const LANES: usize = 64;

/// Cubic Hermite interpolation of f = W phi from its exact values and slopes on the features' support; outside, f = 0.
pub struct TabulatedDenoiser {
    /// Lower end of the empty cell below the support.
    low: f64,
    inverse_spacing: f64,
    /// Middle of the empty cell above the support.
    last: f64,
    /// In the order of the (decreasing) times.
    tables: Vec<Table>,
}

struct Table {
    t: f64,
    /// q/p of the regression target y = p x0 + q x: the denoiser is f/p - (q/p) x.
    slope: f64,
    /// Coefficients of the cubic for f/p in each cell, in the position within the cell (0 to 1).
    cubics: Vec<[f64; 4]>,
}

impl TabulatedDenoiser {
    /// Tabulates at `times`. `None` when the features have no bounded support, or when `particles` trajectories would not
    /// repay the tables.
    pub fn new(model: &LinearDenoiser<'_>, times: &[f64], particles: usize) -> Option<Self> {
        let features = &model.family.features;
        let factor = features.space.line();
        let (low, high) = factor.support()?;
        let cells = ((high - low) / factor.scale() * CELLS_PER_SCALE).ceil();
        if !(1.0..=1e6).contains(&cells) || (particles as f64) < cells {
            return None;
        }
        let cells = cells as usize;
        let spacing = (high - low) / cells as f64;

        // Features at the nodes, one contiguous run per feature, serve all times.
        let space = factor.len();
        let mut values = vec![0.0; space * (cells + 1)];
        let mut slopes = vec![0.0; space * (cells + 1)];
        let (mut v, mut d, mut c) = (vec![0.0; space], vec![0.0; space], vec![0.0; space]);
        for i in 0..=cells {
            factor.jet(low + spacing * i as f64, &mut v, &mut d, &mut c);
            for j in 0..space {
                values[j * (cells + 1) + i] = v[j];
                slopes[j * (cells + 1) + i] = spacing * d[j];
            }
        }
        let mut weights = vec![0.0; space];
        let tables = times
            .iter()
            .map(|&t| {
                features.contract_time(model.weights, t, &mut weights);
                let mut nodes = vec![[0.0; 2]; cells + 1];
                for (j, w) in weights.iter().enumerate() {
                    let run = j * (cells + 1)..(j + 1) * (cells + 1);
                    for (node, (v, d)) in nodes
                        .iter_mut()
                        .zip(values[run.clone()].iter().zip(&slopes[run]))
                    {
                        node[0] += w * v;
                        node[1] += w * d;
                    }
                }
                let Regression { p, q } = model.family.predicts.regression(model.diffusion, t);
                let cubic = |n: &[[f64; 2]]| hermite(n[0], n[1]).map(|k| k / p);
                Table {
                    t,
                    slope: q / p,
                    cubics: std::iter::once([0.0; 4])
                        .chain(nodes.windows(2).map(cubic))
                        .chain(std::iter::once([0.0; 4]))
                        .collect(),
                }
            })
            .collect();
        Some(Self {
            low: low - spacing,
            inverse_spacing: 1.0 / spacing,
            last: cells as f64 + 1.5,
            tables,
        })
    }

    /// Cell of a position and the place in it. Positions outside the support fall into the empty cell at either end.
    #[inline(always)]
    fn locate(&self, x: f64) -> (usize, f64) {
        // Adding 2^52 rounds to an integer and leaves it in the low bits: far cheaper than a saturating conversion.
        const SHIFT: f64 = 4_503_599_627_370_496.0;
        let position = (x - self.low) * self.inverse_spacing;
        // Comparisons instead of `max` and `min`: one instruction each, and NaN ends in the first cell.
        let position = if position > 0.5 { position } else { 0.5 };
        let position = if position < self.last {
            position
        } else {
            self.last
        };
        let shifted = (position - 0.5) + SHIFT;
        let cell = shifted.to_bits() - SHIFT.to_bits();
        (cell as usize, position - (shifted - SHIFT))
    }

    fn table(&self, t: f64) -> &Table {
        let i = self.tables.partition_point(|table| table.t > t);
        &self.tables[i.min(self.tables.len() - 1)]
    }
}

impl Denoiser for TabulatedDenoiser {
    /// `t` must be one of the tabulated times.
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        let table = self.table(t);
        debug_assert_eq!(table.t, t);
        let (mut cells, mut places) = ([0usize; LANES], [0.0; LANES]);
        for (x, out) in x.chunks(LANES).zip(denoised.chunks_mut(LANES)) {
            // Two loops: the first is arithmetic alone and runs on vectors, the second is look-ups.
            for ((x, cell), place) in x.iter().zip(&mut cells).zip(&mut places) {
                (*cell, *place) = self.locate(*x);
            }
            for (((x, out), &cell), &z) in x.iter().zip(out).zip(&cells).zip(&places) {
                let [k0, k1, k2, k3] = table.cubics[cell];
                *out = (k0 + z * k1) + (z * z) * (k2 + z * k3) - table.slope * x;
            }
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.denoise(t, x, denoised);
        let table = self.table(t);
        for (x, s) in x.iter().zip(slope) {
            let (cell, z) = self.locate(*x);
            let [_, k1, k2, k3] = table.cubics[cell];
            let d = k1 + z * (2.0 * k2 + 3.0 * z * k3);
            *s = d * self.inverse_spacing - table.slope;
        }
    }
}

/// Cubic through two nodes of value and (spacing times) slope.
fn hermite([v0, d0]: [f64; 2], [v1, d1]: [f64; 2]) -> [f64; 4] {
    let rise = v1 - v0;
    [v0, d0, 3.0 * rise - 2.0 * d0 - d1, d0 + d1 - 2.0 * rise]
}
