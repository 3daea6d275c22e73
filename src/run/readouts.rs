//! What a case in D >= 2 reports besides its main density: further densities, numbers, and what lies between the training
//! points.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::compare::{Distances, NoiseFloor, bootstrap_error};
use crate::density::{Ensemble, Grid, Masses};
use crate::readout::{Readout, Strip, View};
use crate::report::result::{
    AS_SHORT, CaseResult, ComparisonResult, DATA, DensityResult, LONGER_FILLING, MEMORISED,
    MONTE_CARLO, Measured, NumberResult, ReadoutResult, SHORTEST_FILLING, SegmentResult,
};

/// Everything that was read off, by the name of its density.
pub(super) struct Readings<'a> {
    readout: &'a Readout,
    values: BTreeMap<String, Values>,
    /// Where the masses of the discs stand among the values.
    discs: usize,
}

/// What one ensemble's readout gives.
struct Values {
    mean: Vec<f64>,
    /// Bootstrap replicates of the mean; none of a density without a spread.
    replicates: Vec<Vec<f64>>,
}

/// A number as a function of the values of one reading.
type Number<'a> = dyn Fn(&[f64]) -> f64 + 'a;

impl<'a> Readings<'a> {
    pub fn new(readout: &'a Readout) -> Self {
        Self {
            readout,
            values: BTreeMap::new(),
            discs: readout
                .places()
                .find(|(view, _)| matches!(view, View::Discs))
                .map_or(0, |(_, range)| range.start),
        }
    }

    pub fn insert(&mut self, name: &str, ensemble: &Ensemble) {
        let replicates = match ensemble.members() {
            0 | 1 => Vec::new(),
            _ => ensemble.value_replicates(),
        };
        let mean = ensemble.values();
        self.values
            .insert(name.to_owned(), Values { mean, replicates });
    }

    /// Writes all views into the result.
    pub fn report(&self, result: &mut CaseResult) {
        if self.readout.is_empty() {
            return;
        }
        let axes = self.readout.grid.axes().len();
        result.directions = self.readout.directions()[..axes].to_vec();
        for (view, range) in self.readout.places() {
            match view {
                View::Density { directions, grid } => {
                    let along = |i: &usize| self.readout.directions()[*i].clone();
                    let name = match directions[..] {
                        [i] => format!("direction {}", i + 1),
                        _ => {
                            let numbers = directions.iter().map(|i| (i + 1).to_string());
                            format!("directions {}", numbers.collect::<Vec<_>>().join(" and "))
                        }
                    };
                    let along = directions.iter().map(along).collect();
                    let entry = self.density(name, along, grid, range);
                    result.readouts.push(entry);
                }
                View::NearestDistance { bins } => {
                    let name = "distance to the nearest training point".to_owned();
                    let grid = Grid::from(*bins);
                    let entry = self.density(name, Vec::new(), &grid, range);
                    result.readouts.push(entry);
                }
                View::Memorised => {
                    let number = self.number(MEMORISED, &|v| v[range.start]);
                    result.numbers.push(number);
                }
                View::Moments => self.moments(&range, result),
                View::Strip(strip) => {
                    let segment = self.segment(strip, range.start);
                    result.segments.push(segment);
                }
                View::Discs => {}
            }
        }
        self.shape(result);
    }

    /// A number of every ensemble, with its standard error over members.
    fn number(&self, name: &str, of: &Number<'_>) -> NumberResult {
        NumberResult {
            name: name.to_owned(),
            values: self.measured(of),
        }
    }

    fn measured(&self, of: &Number<'_>) -> BTreeMap<String, Measured> {
        let all = self.values.iter().map(|(name, values)| {
            let replicates: Vec<f64> = values.replicates.iter().map(|v| of(v)).collect();
            let measured = Measured {
                value: of(&values.mean),
                se: bootstrap_error(&replicates),
            };
            (name.clone(), measured)
        });
        // What is read relative to the discs means nothing where nothing lies in them.
        all.filter(|(_, m)| m.value.is_finite() && m.se.is_none_or(f64::is_finite))
            .collect()
    }

    fn moments(&self, range: &Range<usize>, result: &mut CaseResult) {
        let dim = self.readout.dim();
        let moments = |v: &[f64]| self.readout.mean_and_covariance(&v[range.clone()]);
        for i in 0..dim {
            let name = format!("mean of x{}", i + 1);
            result
                .numbers
                .push(self.number(&name, &|v| moments(v).0[i]));
        }
        for i in 0..dim {
            for j in i..dim {
                let name = match i == j {
                    true => format!("variance of x{}", i + 1),
                    false => format!("covariance of x{} and x{}", i + 1, j + 1),
                };
                result
                    .numbers
                    .push(self.number(&name, &|v| moments(v).1[(i, j)]));
            }
        }
    }

    fn density(
        &self,
        name: String,
        directions: Vec<Vec<f64>>,
        grid: &Grid,
        range: Range<usize>,
    ) -> ReadoutResult {
        let masses = |values: &[f64]| Masses {
            cells: values[range.clone()].to_vec(),
        };
        let densities = self.values.iter().map(|(name, values)| {
            let density = DensityResult::of(&masses(&values.mean), grid);
            (name.clone(), density)
        });
        let mut comparisons = Vec::new();
        if let Some(reference) = self.values.get(MONTE_CARLO) {
            let mean = masses(&reference.mean);
            let replicates: Vec<Masses> = reference.replicates.iter().map(|v| masses(v)).collect();
            let floor = NoiseFloor::from_replicates(&mean, &replicates, grid);
            for (name, values) in &self.values {
                if ![DATA, MONTE_CARLO].contains(&name.as_str()) {
                    let distances = Distances::between(&masses(&values.mean), &mean, grid);
                    comparisons.push(ComparisonResult::of(name, &distances, &floor));
                }
            }
        }
        ReadoutResult {
            name,
            directions,
            edges: grid.edges(),
            densities: densities.collect(),
            comparisons,
        }
    }

    /// Density of mass in the strip relative to that in the discs at its ends.
    fn filling(&self, strip: &Strip, place: usize, values: &[f64]) -> f64 {
        let ends: f64 = strip.ends.iter().map(|end| values[self.discs + end]).sum();
        let strip = values[place] / self.readout.strip_area(strip);
        strip / (0.5 * ends / self.readout.disc_area())
    }

    fn segment(&self, strip: &Strip, place: usize) -> SegmentResult {
        SegmentResult {
            ends: strip.ends,
            from: self.readout.point(strip.ends[0]),
            to: self.readout.point(strip.ends[1]),
            length: strip.segment(),
            filling: self.measured(&|v| self.filling(strip, place, v)),
        }
    }

    /// A square or a cross: the shortest segments against the longer ones.
    fn shape(&self, result: &mut CaseResult) {
        let strips: Vec<(&Strip, usize)> = self
            .readout
            .places()
            .filter_map(|(view, range)| match view {
                View::Strip(strip) => Some((strip, range.start)),
                _ => None,
            })
            .collect();
        let shortest = strips
            .iter()
            .map(|(s, _)| s.segment())
            .fold(f64::INFINITY, f64::min);
        let is_short = |strip: &Strip| strip.segment() <= AS_SHORT * shortest;
        let mean = |short: bool, values: &[f64]| {
            let own = strips.iter().filter(|(s, _)| is_short(s) == short);
            let fillings: Vec<f64> = own.map(|(s, p)| self.filling(s, *p, values)).collect();
            fillings.iter().sum::<f64>() / fillings.len() as f64
        };
        if strips.is_empty() {
            return;
        }
        result
            .numbers
            .push(self.number(SHORTEST_FILLING, &|v| mean(true, v)));
        if strips.iter().all(|(s, _)| is_short(s)) {
            return;
        }
        result
            .numbers
            .push(self.number(LONGER_FILLING, &|v| mean(false, v)));
        result.numbers.push(self.number(
            "filling of the shortest less that of the longer segments",
            &|v| mean(true, v) - mean(false, v),
        ));
    }
}
