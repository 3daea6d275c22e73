//! Gradient flow on samples that share clean points: what the influences of a point's samples have in common (D22.12 to D22.14,
//! derivations/22-kernel-machines.md).

use std::ops::Range;

use nalgebra::DMatrix;

use super::flow_modes::{BLOCK, GROUPS, Modes, by_groups};
use super::{Measure, Population};
use crate::numerics::linalg;
use crate::problem::Data;

/// Averages over the samples of each of the data's M points.
pub(super) struct SharedPoints {
    /// sqrt(pi_c) (E[u|x0 = c] - E[u]) of every output, r x M.
    deviations: Vec<DMatrix<f64>>,
    /// The largest k_tau(z, z') sqrt(lambda lambda') of a point, averaged over its samples z and z'.
    pub kinship: f64,
}

/// Sums over the nodes with their weights times the posterior weights of the points, r x M: of the influences at c = 0, of
/// their slopes in c without the gain, and of the rows e.
struct Sums {
    influences: Vec<DMatrix<f64>>,
    slopes: DMatrix<f64>,
    rows: DMatrix<f64>,
}

/// What the sums need at every node.
struct Nodes<'a> {
    population: &'a Population<'a>,
    modes: &'a Modes,
    memories: Vec<DMatrix<f64>>,
    weights: Vec<f64>,
    slopes: Vec<f64>,
    offsets: Vec<f64>,
}

impl SharedPoints {
    /// Bytes for so many points, modes and outputs: the sums of every group, and the posterior weights at its nodes.
    pub fn bytes(points: usize, rank: usize, outputs: usize) -> u64 {
        let per_group = (outputs + 2).saturating_mul(rank).saturating_add(2 * BLOCK);
        let all = points.saturating_mul(per_group).saturating_mul(GROUPS + 1);
        (all as u64).saturating_mul(size_of::<f64>() as u64)
    }

    /// The data's components are points.
    pub fn new(population: &Population<'_>, modes: &Modes, data: &Data) -> Self {
        let mut sums = Nodes::new(population, modes).sums(data.components().len());
        for (c, component) in data.components().iter().enumerate() {
            for (sum, mean) in sums.influences.iter_mut().zip(component.mean.iter()) {
                let slopes = sums.slopes.column(c);
                let own = sum.column_mut(c).into_iter().zip(&slopes).zip(&modes.gains);
                for ((u, slope), gain) in own {
                    *u += gain * slope * mean;
                }
            }
        }
        for sum in &mut sums.influences {
            let mean = sum.column_sum();
            for (mut column, pi) in sum.column_iter_mut().zip(data.weights()) {
                // A point without probability has no samples, and its sums vanish.
                if *pi > 0.0 {
                    column /= pi.sqrt();
                    column.axpy(-pi.sqrt(), &mean, 1.0);
                }
            }
        }
        let kinship = |(row, pi): (nalgebra::DVectorView<'_, f64>, &f64)| -> f64 {
            let squares = row.iter().zip(&modes.gains).map(|(e, g)| g * e * e);
            squares.sum::<f64>() / (pi * pi)
        };
        let likely = sums.rows.column_iter().zip(data.weights());
        Self {
            kinship: (likely.filter(|(_, pi)| **pi > 0.0))
                .map(kinship)
                .fold(0.0, f64::max),
            deviations: sums.influences,
        }
    }

    /// Cov_c(E[u_i|x0 = c], E[u_j|x0 = c]), r x r.
    pub fn covariance(&self, (i, j): (usize, usize)) -> DMatrix<f64> {
        let (left, right) = (&self.deviations[i], &self.deviations[j]);
        linalg::multiply(linalg::view(left), linalg::view(right).transpose())
    }
}

impl<'a> Nodes<'a> {
    fn new(population: &'a Population<'a>, modes: &'a Modes) -> Self {
        let (slopes, offsets) = population.target_given_clean();
        Self {
            population,
            modes,
            memories: modes.memories(),
            weights: population.weights(),
            slopes,
            offsets,
        }
    }

    fn sums(&self, points: usize) -> Sums {
        let (r, outputs) = (self.modes.rates.len(), self.memories.len());
        let zeros = || DMatrix::zeros(r, points);
        let empty = || Sums {
            influences: vec![zeros(); outputs],
            slopes: zeros(),
            rows: zeros(),
        };
        let add = |sums: &mut Sums, block| self.add(block, sums);
        let mut whole = empty();
        for part in by_groups(self.population.nodes(), empty, add) {
            for (a, b) in whole.influences.iter_mut().zip(part.influences) {
                *a += b;
            }
            whole.slopes += part.slopes;
            whole.rows += part.rows;
        }
        whole
    }

    /// Adds the nodes of a block: products r x nodes x points, of the points that are likely at any of them.
    fn add(&self, block: Range<usize>, sums: &mut Sums) {
        let mut shares = self.population.responsibilities(block.clone());
        for (mut column, w) in shares.column_iter_mut().zip(&self.weights[block.clone()]) {
            column *= *w;
        }
        let likely: Vec<usize> = (0..shares.nrows())
            .filter(|c| shares.row(*c).iter().any(|w| *w > 0.0))
            .collect();
        let shares = shares.select_rows(&likely);
        let gather = |values: &DMatrix<f64>, sum: &mut DMatrix<f64>| {
            let part = linalg::multiply(linalg::view(values), linalg::view(&shares).transpose());
            for (c, column) in likely.iter().zip(part.column_iter()) {
                let mut sum = sum.column_mut(*c);
                sum += column;
            }
        };
        let mut e = self.modes.values(self.population, block.clone());
        let nodes = self.weights.len();
        for (o, (memory, sum)) in self.memories.iter().zip(&mut sums.influences).enumerate() {
            let offsets = &self.offsets[o * nodes..][block.clone()];
            gather(&self.modes.influences(&e, memory, offsets), sum);
        }
        gather(&e, &mut sums.rows);
        for (mut column, slope) in e.column_iter_mut().zip(&self.slopes[block]) {
            column *= *slope;
        }
        gather(&e, &mut sums.slopes);
    }
}
