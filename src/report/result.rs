//! The result file, `vkernel.result/1`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::measured::Measured;
use super::recovery::{Recovery, SUBSPACES};
use crate::compare::{Distances, NoiseFloor, Quartiles};
use crate::density::{Grid, Masses};
use thiserror::Error;

/// The `schema` field of every result.
pub const SCHEMA: &str = "vkernel.result/1";
/// Name of the noised data p(x|t_min) among the densities.
pub const DATA: &str = "data";
/// Name of the density that the exact score generates.
pub const PF_ODE: &str = "pf-ode";
/// Name of the average density of trained models.
pub const MONTE_CARLO: &str = "monte-carlo";
/// Name of the share of memorised points among the numbers.
pub const MEMORISED: &str = "memorised fraction";
/// Name of the speciation and collapse times ([`crate::problem::Decisions`]) among the diagnostics.
pub const DECISIONS: &str = "decisions";

/// Name of the mean filling of the shortest segments among the numbers.
pub const SHORTEST_FILLING: &str = "filling of the shortest segments";
/// Name of the mean filling of the other segments.
pub const LONGER_FILLING: &str = "filling of the longer segments";
/// Segments up to this much longer than the shortest count as shortest.
pub const AS_SHORT: f64 = 1.0 + 1e-6;

/// How far the masses of a density may be from summing to 1: rounding of the file, not of the numerics.
const MASS_TOLERANCE: f64 = 1e-6;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunResult {
    /// Always `vkernel.result/1`.
    pub schema: String,
    /// Version of vkernel that wrote the file.
    pub version: String,
    /// The spec with every default filled in.
    pub spec: Value,
    pub provenance: Provenance,
    pub cases: Vec<CaseResult>,
}

/// Where a result comes from; the only part that differs between two runs of one spec and seed (with `seconds`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    pub seed: u64,
    pub threads: usize,
    /// Start of the run, UTC, RFC 3339.
    pub started: String,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// The command line.
    pub command: String,
    /// Commit of the working directory's repository, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
}

/// One case of the sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseResult {
    /// Values of the swept keys; empty without a sweep.
    pub case: BTreeMap<String, Value>,
    /// Per coordinate, bins + 1 increasing edges.
    pub edges: Vec<Vec<f64>>,
    /// D >= 2: the unit vectors that the axes of `edges` lie along. In more than two dimensions the densities are those of
    /// the points' projections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directions: Vec<Vec<f64>>,
    /// Mass per bin of every density, by name: data, pf-ode, the prediction methods, monte-carlo.
    pub densities: BTreeMap<String, DensityResult>,
    /// D >= 2: further densities, such as marginals along directions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readouts: Vec<ReadoutResult>,
    /// Memorised fraction: of the points less than a third as far from the nearest training point as from the second nearest (in
    /// D = 1 from the bins, where they are fine enough). In D >= 2 also mean, covariance, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<NumberResult>,
    /// D = 2: how full the segments between neighbouring training points are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentResult>,
    /// Where the target of training is noisy, at one time each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<MapResult>,
    /// In D >= 2 and with maps: means of the data's components, a point of D coordinates each, as figures show them. Where
    /// there are too many (more than 20 000 numbers), every n-th.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub means: Vec<Vec<f64>>,
    /// How far each prediction is to be trusted, from the theory alone.
    pub trust: BTreeMap<String, Trust>,
    /// The predicted density the program itself would quote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended: Option<String>,
    pub comparisons: Vec<ComparisonResult>,
    /// Condition numbers, refinement levels, effective rank, warnings, ... Models of low rank have `subspaces`, predictions
    /// `decisions`: speciation and collapse times of the data. Kernel ridge regression with less of a ridge than rounding needs has
    /// `jitter`, with the ridge `asked` for and the one `taken`.
    ///
    /// For the exact score of data points (naive, kappa = 0): `start_weights` with the weights of the points in the `data`, as
    /// `posterior` (reverse SDE, churn 1; with `posterior_error`) and `basins` (probability flow, D = 1) give them from the sampler's
    /// start, which of the two is `predicted` for this sampler, and in D = 1 the `shares` of every density by the nearest point, with
    /// `monte_carlo_se`, the binomial standard error over so many `trajectories`; and in D = 1 `memorised`, the `shares` of every
    /// density `within` a tenth of the smallest distance between points of one of them.
    #[schemars(schema_with = "diagnostics_schema")]
    pub diagnostics: BTreeMap<String, Value>,
    pub seconds: Seconds,
}

/// tr C / (tr C + |s|^2) at one time on a grid of pixels: the share of noise in the square of the target, the proxy score. C
/// is its covariance, s the score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MapResult {
    pub t: f64,
    /// Per coordinate, the increasing centres of the pixels.
    pub axes: Vec<Vec<f64>>,
    /// By pixel, row-major: the first coordinate runs slowest.
    #[schemars(inner(range(min = 0, max = 1)))]
    pub values: Vec<f64>,
}

/// A further density of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadoutResult {
    /// direction 1, directions 3 and 4, distance to the nearest training point, ...
    pub name: String,
    /// The unit vectors that points are projected on; empty for distances.
    pub directions: Vec<Vec<f64>>,
    /// Per axis, bins + 1 increasing edges.
    pub edges: Vec<Vec<f64>>,
    pub densities: BTreeMap<String, DensityResult>,
    pub comparisons: Vec<ComparisonResult>,
}

/// A number that every density has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NumberResult {
    pub name: String,
    /// By the name of the density.
    pub values: BTreeMap<String, Measured>,
}

/// What lies between two neighbouring training points (no third one in the ball whose diameter they span).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentResult {
    /// Indices of the training points.
    pub ends: [usize; 2],
    pub from: Vec<f64>,
    pub to: Vec<f64>,
    pub length: f64,
    /// Mass per area in a strip along the middle half of the segment, relative to that in discs around its ends, by the name
    /// of the density. Half-width and radius are a tenth of the shortest segment.
    pub filling: BTreeMap<String, Measured>,
}

/// One density: masses, not densities per unit length. `mass` and `outside` sum to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DensityResult {
    /// Mass per bin (row-major).
    #[schemars(inner(range(min = 0, max = 1)))]
    pub mass: Vec<f64>,
    /// Mass outside the range.
    pub outside: f64,
    /// Mass below and above the range (one dimension only); they sum to `outside`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tails: Option<[f64; 2]>,
    /// Estimated total-variation error of the numerics: quadrature, push-forward, finite draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// Standard error of each bin's mass over models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub se: Option<Vec<f64>>,
    /// Quantiles over models of each bin's mass, keyed "0.25", "0.75".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quantiles: BTreeMap<String, Vec<f64>>,
    /// Number of models (Monte Carlo) or draws (sampled predictions).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<usize>,
    /// Mass in the gaps of the case's `data`: in its bins of least mass that together hold at most 1 %, and outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub gap_mass: Option<f64>,
    /// Standard error of `gap_mass` over models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_mass_se: Option<f64>,
    /// Bootstrap replicates of `gap_mass`. Ensembles of as many models are resampled together: the standard error of a
    /// difference of their gap masses is the standard deviation of the differences, replicate by replicate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gap_mass_replicates: Vec<f64>,
}

impl DensityResult {
    /// A density without anything known of its errors.
    pub fn of(masses: &Masses, grid: &Grid) -> Self {
        let tails = masses.tails();
        Self {
            mass: masses.inside().to_vec(),
            outside: tails[0] + tails[1],
            tails: (grid.axes().len() == 1).then_some(tails),
            error: None,
            se: None,
            quantiles: BTreeMap::new(),
            models: None,
            gap_mass: None,
            gap_mass_se: None,
            gap_mass_replicates: Vec::new(),
        }
    }

    /// The masses with what lies outside. Without `tails` (which one-dimensional densities have) all of that counts as
    /// above: right for total variation, not for distances that know an order.
    pub fn masses(&self) -> Masses {
        let [below, above] = self.tails.unwrap_or([0.0, self.outside]);
        let mut cells = Vec::with_capacity(self.mass.len() + 2);
        cells.push(below);
        cells.extend(&self.mass);
        cells.push(above);
        Masses { cells }
    }

    /// The 25 % and 75 % quantiles over models, where there are both.
    pub fn quartiles(&self) -> Option<Quartiles<'_>> {
        Some(Quartiles {
            lower: self.quantiles.get("0.25")?,
            upper: self.quantiles.get("0.75")?,
        })
    }
}

/// Reliability of a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    pub level: TrustLevel,
    pub reason: String,
    /// Estimated total variation from the density that infinitely many trained models would have, where the theory has an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
}

/// high | limited | none.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TrustLevel {
    None,
    Limited,
    High,
}

/// Distances of one predicted density from a reference. A floor is what the reference's own sampling noise gives:
/// the expected distance between it and the truth, by bootstrap over models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComparisonResult {
    pub predicted: String,
    pub reference: String,
    /// Total variation, the outside mass as one more bin.
    pub tv: f64,
    pub tv_floor: f64,
    /// 95 % quantile of the bootstrap distribution whose mean is `tv_floor`.
    pub tv_floor_95: f64,
    /// Wasserstein-1 between the binned distributions, outside mass placed on the range's ends. In the plane the larger of
    /// both coordinates', and so for `ks`.
    pub w1: f64,
    pub w1_floor: f64,
    /// Kolmogorov-Smirnov at the bin edges.
    pub ks: f64,
    pub ks_floor: f64,
    /// Share of the bins in which both edges of the predicted 25/75 % band over models lie within 20 % of the reference
    /// band's width of the reference's; where both densities have bands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub bands_within: Option<f64>,
    /// Number of those bins: where the reference's mean mass exceeds 1e-3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands_bins: Option<usize>,
}

impl ComparisonResult {
    /// Distances of a density from Monte Carlo, with their floors.
    pub fn of(name: &str, distances: &Distances, floor: &NoiseFloor) -> Self {
        Self {
            predicted: name.into(),
            reference: MONTE_CARLO.into(),
            tv: distances.tv,
            tv_floor: floor.mean.tv,
            tv_floor_95: floor.tv_95,
            w1: distances.w1,
            w1_floor: floor.mean.w1,
            ks: distances.ks,
            ks_floor: floor.mean.ks,
            bands_within: None,
            bands_bins: None,
        }
    }
}

/// Wall-clock seconds by part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seconds {
    /// Per prediction method.
    pub predict: BTreeMap<String, f64>,
    pub train: f64,
    pub sample: f64,
}

impl CaseResult {
    /// A case, given its swept values, of which nothing is known yet.
    pub fn empty(case: BTreeMap<String, Value>) -> Self {
        Self {
            case,
            edges: Vec::new(),
            directions: Vec::new(),
            densities: BTreeMap::new(),
            readouts: Vec::new(),
            numbers: Vec::new(),
            segments: Vec::new(),
            maps: Vec::new(),
            means: Vec::new(),
            trust: BTreeMap::new(),
            recommended: None,
            comparisons: Vec::new(),
            diagnostics: BTreeMap::new(),
            seconds: Seconds::default(),
        }
    }

    /// Names of the predicted densities: all but the data, the exact score and Monte Carlo.
    pub fn predictions(&self) -> impl Iterator<Item = &str> {
        self.densities
            .keys()
            .map(String::as_str)
            .filter(|name| ![DATA, PF_ODE, MONTE_CARLO].contains(name))
    }

    /// The comparison of one density with Monte Carlo.
    pub fn against_monte_carlo(&self, predicted: &str) -> Option<&ComparisonResult> {
        self.comparisons
            .iter()
            .find(|c| c.predicted == predicted && c.reference == MONTE_CARLO)
    }

    /// The prediction of lowest total variation to Monte Carlo.
    pub fn best(&self) -> Option<&ComparisonResult> {
        self.predictions()
            .filter_map(|name| self.against_monte_carlo(name))
            .min_by(|a, b| a.tv.total_cmp(&b.tv))
    }

    /// How well subspaces were recovered, where that is among the diagnostics and can be read.
    pub fn recovery(&self) -> Option<Recovery> {
        serde_json::from_value(self.diagnostics.get(SUBSPACES)?.clone()).ok()
    }

    /// The number of this name.
    pub fn number(&self, name: &str) -> Option<&NumberResult> {
        self.numbers.iter().find(|n| n.name == name)
    }

    /// The prediction to show where there is room for one: the recommended, else the best, else the first.
    pub fn leading(&self) -> Option<&str> {
        self.recommended
            .as_deref()
            .filter(|name| self.densities.contains_key(*name))
            .or_else(|| self.best().map(|c| c.predicted.as_str()))
            .or_else(|| self.predictions().next())
    }
}

/// Why a file is no result.
#[derive(Debug, Error)]
pub enum ResultError {
    #[error("cannot read the result '{}': {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("'{}', line {line}, column {column}: not JSON: {message}", path.display())]
    NotJson {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
    #[error("'{}' is not a vkernel result: its field 'schema' is {found}, where \"{SCHEMA}\" is expected", path.display())]
    Schema { path: PathBuf, found: String },
    #[error("'{}', line {line}, field '{field}': {message}", path.display())]
    Field {
        path: PathBuf,
        line: usize,
        field: String,
        message: String,
    },
    #[error("'{}', {place}: {message}", path.display())]
    Inconsistent {
        path: PathBuf,
        place: String,
        message: String,
    },
}

/// Anything by its name; what has a type of its own is described.
fn diagnostics_schema(generator: &mut SchemaGenerator) -> Schema {
    let subspaces = generator.subschema_for::<Recovery>();
    json_schema!({
        "type": "object",
        "properties": { SUBSPACES: subspaces },
        "additionalProperties": true,
    })
}

/// JSON Schema of a result.
pub fn result_schema() -> Value {
    schemars::schema_for!(RunResult).to_value()
}

/// Reads a result file and checks what its types cannot say: increasing edges, one mass per bin, total mass 1.
///
/// # Errors
/// [`ResultError`] with the file, and the line and field or the case and density at fault.
pub fn read_result(path: &Path) -> Result<RunResult, ResultError> {
    let owned = || path.to_path_buf();
    let text = std::fs::read_to_string(path).map_err(|source| ResultError::Read {
        path: owned(),
        source,
    })?;
    let any: Value = serde_json::from_str(&text).map_err(|e| ResultError::NotJson {
        path: owned(),
        line: e.line(),
        column: e.column(),
        message: without_position(&e.to_string()),
    })?;
    // Asked before the fields: the fields of a future schema may well differ, and that is not the reader's mistake.
    let found = any.get("schema");
    if found.and_then(Value::as_str) != Some(SCHEMA) {
        return Err(ResultError::Schema {
            path: owned(),
            found: found.map_or_else(|| "missing".to_string(), Value::to_string),
        });
    }
    let mut reader = serde_json::Deserializer::from_str(&text);
    let result: RunResult =
        serde_path_to_error::deserialize(&mut reader).map_err(|e| ResultError::Field {
            path: owned(),
            line: e.inner().line(),
            field: e.path().to_string(),
            message: without_position(&e.inner().to_string()),
        })?;
    for (index, case) in result.cases.iter().enumerate() {
        check_case(case).map_err(|(place, message)| ResultError::Inconsistent {
            path: owned(),
            place: format!("cases[{index}].{place}"),
            message,
        })?;
    }
    Ok(result)
}

/// serde_json appends the position, which these messages put in front.
fn without_position(message: &str) -> String {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(head, _)| head)
        .to_string()
}

fn check_case(case: &CaseResult) -> Result<(), Fault> {
    check_densities(&case.edges, &case.densities)?;
    for (index, readout) in case.readouts.iter().enumerate() {
        check_readout(readout)
            .map_err(|(place, message)| (format!("readouts[{index}].{place}"), message))?;
    }
    for (index, map) in case.maps.iter().enumerate() {
        check_map(map).map_err(|message| (format!("maps[{index}]"), message))?;
    }
    let dim = case.means.first().map_or(0, Vec::len);
    if case.means.iter().any(|mean| mean.len() != dim) {
        let message = "needs as many coordinates in every point".to_string();
        return Err(("means".to_string(), message));
    }
    if let Some(name) = &case.recommended
        && !case.densities.contains_key(name)
    {
        return Err((
            "recommended".to_string(),
            format!("there is no density '{name}' in this case"),
        ));
    }
    Ok(())
}

/// A place in a case, and what is wrong there.
type Fault = (String, String);

fn check_readout(readout: &ReadoutResult) -> Result<(), Fault> {
    if readout.edges.is_empty() {
        return Err(("edges".to_string(), "needs an axis".to_string()));
    }
    check_densities(&readout.edges, &readout.densities)
}

fn check_densities(
    edges: &[Vec<f64>],
    densities: &BTreeMap<String, DensityResult>,
) -> Result<(), Fault> {
    for (axis, edges) in edges.iter().enumerate() {
        if edges.len() < 2 || edges.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err((
                format!("edges[{axis}]"),
                "needs at least two edges, each above the one before".to_string(),
            ));
        }
    }
    let bins: usize = edges.iter().map(|edges| edges.len() - 1).product();
    for (name, density) in densities {
        check_density(density, bins).map_err(|message| (format!("densities.{name}"), message))?;
    }
    Ok(())
}

fn check_map(map: &MapResult) -> Result<(), String> {
    let increasing = |axis: &Vec<f64>| axis.windows(2).all(|pair| pair[0] < pair[1]);
    if !(1..=2).contains(&map.axes.len()) || !map.axes.iter().all(|a| a.len() > 1 && increasing(a))
    {
        return Err("needs one or two axes of two or more increasing positions".to_string());
    }
    let pixels: usize = map.axes.iter().map(Vec::len).product();
    if map.values.len() != pixels {
        return Err(format!(
            "values has {} values, where the axes make {pixels} pixels",
            map.values.len()
        ));
    }
    match map.values.iter().find(|v| !(0.0..=1.0).contains(*v)) {
        None => Ok(()),
        Some(value) => Err(format!(
            "values has the value {value}, where 0 to 1 is expected"
        )),
    }
}

fn check_density(density: &DensityResult, bins: usize) -> Result<(), String> {
    let quantiles = density
        .quantiles
        .iter()
        .map(|(level, values)| (format!("quantiles[\"{level}\"]"), values));
    let lists = [("mass".to_string(), &density.mass)]
        .into_iter()
        .chain(density.se.iter().map(|se| ("se".to_string(), se)))
        .chain(quantiles);
    for (field, values) in lists {
        if values.len() != bins {
            return Err(format!(
                "{field} has {} values, where the edges make {bins} bins",
                values.len()
            ));
        }
        if let Some(value) = values.iter().find(|v| **v < 0.0) {
            return Err(format!("{field} has the negative value {value}"));
        }
    }
    let shares = [("gap_mass", density.gap_mass)].into_iter().chain(
        density
            .gap_mass_replicates
            .iter()
            .map(|r| ("gap_mass_replicates", Some(*r))),
    );
    for (field, value) in shares {
        // Sums of masses: rounding may carry them past 1.
        let range = -MASS_TOLERANCE..=1.0 + MASS_TOLERANCE;
        if let Some(value) = value.filter(|v| !range.contains(v)) {
            return Err(format!(
                "{field} has the value {value}, where 0 to 1 is expected"
            ));
        }
    }
    if let Some(value) = density.gap_mass_se.filter(|v| *v < 0.0) {
        return Err(format!("gap_mass_se has the negative value {value}"));
    }
    let total = density.mass.iter().sum::<f64>() + density.outside;
    if (total - 1.0).abs() > MASS_TOLERANCE {
        return Err(format!(
            "mass and outside sum to {total}, where 1 is expected"
        ));
    }
    Ok(())
}
