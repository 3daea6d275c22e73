//! Data sets that stand for those of models whose samples share clean points (derivations/27-data-sets.md).

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::{Data, DataError, Training};
use crate::numerics::normal;

/// Draws `count` data sets, each of as many points as make fresh samples of it share clean points as often as those of the
/// protocol do (D27.2, D27.4). Each is an independent sample of the data; together they are stratified (D27.6).
///
/// # Errors
/// When the data's points are not finite.
///
/// # Panics
/// Where samples share no clean points: fresh samples need no data set.
pub fn data_sets<R: Rng + ?Sized>(
    data: &Data,
    training: &Training,
    count: usize,
    rng: &mut R,
) -> Result<Vec<Data>, DataError> {
    let sharing = training.sharing_probability();
    assert!(sharing > 0.0, "samples that share clean points");
    let sizes: Vec<usize> = (0..count).map(|_| points(sharing, rng)).collect();
    let strata = Strata::new(data);
    let mut sets = vec![BTreeMap::new(); count];
    let mut order: Vec<usize> = (0..count).collect();
    for j in 0..sizes.iter().copied().max().unwrap_or(0) {
        order.shuffle(rng);
        for ((set, &size), &stratum) in sets.iter_mut().zip(&sizes).zip(&order) {
            // Drawn for every set, so that strata stay whole where sizes differ by one.
            let uniform = (stratum as f64 + rng.random::<f64>()) / count as f64;
            let (component, point) = strata.at(uniform, rng);
            if j < size {
                let key = match data.components()[component].is_point() {
                    true => (component, 0),
                    false => (component, j),
                };
                set.entry(key).or_insert((point, 0.0)).1 += 1.0 / size as f64;
            }
        }
    }
    let sets = sets.into_iter().map(|set| {
        let (points, weights): (Vec<Vec<f64>>, Vec<f64>) = set.into_values().unzip();
        Data::points(&points, Some(&weights))
    });
    sets.collect()
}

/// N' = 1/q, or a neighbouring integer so that its inverse is q on average.
fn points<R: Rng + ?Sized>(sharing: f64, rng: &mut R) -> usize {
    let n = (1.0 / sharing).floor();
    match rng.random::<f64>() < n * (sharing * (n + 1.0) - 1.0) {
        true => n as usize,
        false => n as usize + 1,
    }
}

/// The quantile function of the data, components of any weight in the order of their first coordinates.
struct Strata<'a> {
    data: &'a Data,
    order: Vec<usize>,
    /// Where each component's stretch of (0, 1) ends, in this order.
    ends: Vec<f64>,
}

impl<'a> Strata<'a> {
    fn new(data: &'a Data) -> Self {
        let components = data.components();
        let mut order: Vec<usize> = (0..components.len())
            .filter(|k| data.weights()[*k] > 0.0)
            .collect();
        order.sort_by(|a, b| components[*a].mean[0].total_cmp(&components[*b].mean[0]));
        let mut end = 0.0;
        let ends = order.iter().map(|k| {
            end += data.weights()[*k];
            end
        });
        Self {
            ends: ends.collect(),
            order,
            data,
        }
    }

    /// The component at a uniform number, and a point of it: its first normal variable has the rest of the number.
    fn at<R: Rng + ?Sized>(&self, uniform: f64, rng: &mut R) -> (usize, Vec<f64>) {
        let u = uniform * self.ends[self.ends.len() - 1];
        let place = self.ends.partition_point(|end| *end <= u);
        let place = place.min(self.order.len() - 1);
        let component = self.order[place];
        let weight = self.data.weights()[component];
        let within = (u - (self.ends[place] - weight)) / weight;
        let first = normal::quantile(within.clamp(f64::EPSILON, 1.0 - f64::EPSILON));
        let others = std::iter::repeat_with(|| rng.sample::<f64, _>(StandardNormal));
        let mut point = vec![0.0; self.data.dim()];
        let component_at = &self.data.components()[component];
        component_at.noised(1.0, 0.0, std::iter::once(first).chain(others), &mut point);
        (component, point)
    }
}
