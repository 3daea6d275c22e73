//! Where the deviation from the training distribution comes from: bias of the mean score, the design (which samples were
//! drawn) and target noise, by comparing models trained on the noisy target with models trained on the exact one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::format::{significant, swept_value};
use super::grid::{ABSENT, Column, Grid};
use super::result::{CaseResult, DATA, DensityResult, MONTE_CARLO, RunResult};
use crate::compare::{Gap, bootstrap_error, total_variation};
use crate::experiment::Method;

/// The swept key by which the cases of a pair differ.
const OBJECTIVE: &str = "training.objective";
const EXACT: &str = "esm";
const NOISY: &str = "dsm";
/// Totals of fewer standard errors are not divided by.
const SIGNIFICANT: f64 = 2.0;

/// Trained models, or the theory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The Monte Carlo ensembles of both cases.
    Measured,
    /// The recommended prediction of each case.
    Predicted,
}

/// An estimate and its standard error over models, where there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    pub value: f64,
    pub se: Option<f64>,
}

/// Total variation distances from the noised data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FromData {
    pub mean_field: Option<f64>,
    pub esm: f64,
    pub dsm: f64,
}

/// The gap mass G of one pair of cases, taken apart: G(dsm) = G(data) + bias + design + target noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Decomposition {
    /// Values of the swept keys that both cases share.
    pub case: BTreeMap<String, Value>,
    pub side: Side,
    /// Names of the two densities, of the exact target's case and of the noisy target's.
    pub densities: [String; 2],
    /// G(data).
    pub data: f64,
    /// Bias of the mean score, G(mean-field) - G(data); unknown where there is no mean-field density.
    pub bias: Option<f64>,
    /// Which samples were drawn, G(esm) - G(mean-field); with the bias in it where that is unknown.
    pub design: Quantity,
    /// G(dsm) - G(esm), the designs being the same.
    pub target_noise: Quantity,
    /// G(dsm) - G(data).
    pub total: Quantity,
    pub tv: FromData,
}

impl Decomposition {
    /// A part as a share of the total; `None` where the total is lost in its own noise.
    pub fn share(&self, part: f64) -> Option<f64> {
        let noise = SIGNIFICANT * self.total.se.unwrap_or(0.0);
        (self.total.value.abs() > noise).then(|| part / self.total.value)
    }

    fn of(pair: &Pair<'_>, side: Side) -> Option<Self> {
        let names = match side {
            Side::Measured => [MONTE_CARLO, MONTE_CARLO],
            Side::Predicted => [
                pair.esm.recommended.as_deref()?,
                pair.dsm.recommended.as_deref()?,
            ],
        };
        let esm = pair.esm.densities.get(names[0])?;
        let dsm = pair.dsm.densities.get(names[1])?;
        let data = pair.dsm.densities.get(DATA)?.masses();
        // The push-forward of the mean denoiser, the same for both objectives.
        let mean_field = [pair.esm, pair.dsm]
            .into_iter()
            .find_map(|case| case.densities.get(Method::MeanField.name()))
            .map(DensityResult::masses);
        let gap = Gap::of(&data);
        let of = |density: &DensityResult| gap.mass(&density.masses());
        let data_gap = gap.mass(&data);
        let mean_field_gap = mean_field.as_ref().map(|m| gap.mass(m));
        let from_data = |density: &DensityResult| total_variation(&density.masses(), &data);
        Some(Self {
            case: pair.case.clone(),
            side,
            densities: names.map(str::to_owned),
            data: data_gap,
            bias: mean_field_gap.map(|g| g - data_gap),
            design: Quantity {
                value: of(esm) - mean_field_gap.unwrap_or(data_gap),
                se: esm.gap_mass_se,
            },
            target_noise: Quantity {
                value: of(dsm) - of(esm),
                se: error_of_difference(dsm, esm),
            },
            total: Quantity {
                value: of(dsm) - data_gap,
                se: dsm.gap_mass_se,
            },
            tv: FromData {
                mean_field: mean_field.map(|m| total_variation(&m, &data)),
                esm: from_data(esm),
                dsm: from_data(dsm),
            },
        })
    }
}

/// Standard error of a difference of gap masses. Ensembles of as many models were resampled together, so the noise of the
/// designs that they share is not counted; otherwise they are taken as independent.
fn error_of_difference(a: &DensityResult, b: &DensityResult) -> Option<f64> {
    let replicates = [&a.gap_mass_replicates, &b.gap_mass_replicates];
    if a.models == b.models && replicates[0].len() == replicates[1].len() {
        let pairs = replicates[0].iter().zip(replicates[1]);
        let differences: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
        if let Some(error) = bootstrap_error(&differences) {
            return Some(error);
        }
    }
    match (a.gap_mass_se, b.gap_mass_se) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0.0).hypot(b.unwrap_or(0.0))),
    }
}

/// Two cases that differ in the objective alone.
struct Pair<'a> {
    case: BTreeMap<String, Value>,
    esm: &'a CaseResult,
    dsm: &'a CaseResult,
}

fn pairs(result: &RunResult) -> Vec<Pair<'_>> {
    let with = |objective: &'static str| {
        let matches = move |case: &&CaseResult| {
            case.case.get(OBJECTIVE).and_then(Value::as_str) == Some(objective)
        };
        result.cases.iter().filter(matches)
    };
    let shared = |case: &CaseResult| {
        let mut values = case.case.clone();
        values.remove(OBJECTIVE);
        values
    };
    with(EXACT)
        .filter_map(|esm| {
            let case = shared(esm);
            let dsm = with(NOISY).find(|dsm| shared(dsm) == case && dsm.edges == esm.edges)?;
            Some(Pair { case, esm, dsm })
        })
        .collect()
}

/// Takes apart every pair of cases that differ in `training.objective` alone: trained models first, then the theory.
pub fn decompositions(result: &RunResult) -> Vec<Decomposition> {
    pairs(result)
        .iter()
        .flat_map(|pair| {
            [Side::Measured, Side::Predicted].map(|side| Decomposition::of(pair, side))
        })
        .flatten()
        .collect()
}

/// The decompositions of one result as a table; empty when there is no pair of objectives in it.
pub fn decomposition_table(result: &RunResult) -> String {
    table(&[("", decompositions(result))])
}

/// The decompositions of several results in one table, each result under its name.
pub fn decomposition_table_of(results: &[(String, RunResult)]) -> String {
    let named: Vec<(&str, Vec<Decomposition>)> = results
        .iter()
        .map(|(name, result)| (name.as_str(), decompositions(result)))
        .collect();
    table(&named)
}

fn table(results: &[(&str, Vec<Decomposition>)]) -> String {
    let rows: Vec<(&str, &Decomposition)> = results
        .iter()
        .flat_map(|(name, rows)| rows.iter().map(|row| (*name, row)))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let named = rows.iter().any(|(name, _)| !name.is_empty());
    let swept: BTreeSet<&String> = rows.iter().flat_map(|(_, row)| row.case.keys()).collect();
    let mut grid = Grid::new(header(named, &swept));
    let mut before: Option<(&str, &Decomposition)> = None;
    for (name, row) in &rows {
        let begins = before.is_none_or(|(n, r)| n != *name || r.case != row.case);
        let labels = labels(named.then_some(*name), &swept, row);
        let labels = labels
            .into_iter()
            .map(|l| if begins { l } else { String::new() });
        grid.push(labels.chain(cells(row)).collect(), begins);
        before = Some((name, row));
    }
    let mut text = format!(
        "Deviation from the training distribution: mass in the gaps of the data (its emptiest bins, 1 % of it at most) and outside\n\n{grid}\n"
    );
    text.push_str(LEGEND);
    if rows.iter().any(|(_, row)| row.bias.is_none()) {
        text.push_str("bias -: there is no mean-field density, and the design contains the bias\n");
    }
    text
}

const LEGEND: &str = "\
total = dsm - data = bias of the mean score (mean-field - data) + design: which samples were drawn (esm - mean-field) + target noise (dsm - esm);
± standard error over models, those of both objectives trained on the same samples; in brackets the share of the total; TV: total variation from the data
";

fn header(named: bool, swept: &BTreeSet<&String>) -> Vec<Column> {
    let mut header = Vec::new();
    if named {
        header.push(Column::left("result"));
    }
    header.extend(swept.iter().map(|key| Column::right(key)));
    header.push(Column::left("side"));
    let numbers = [
        "data",
        "total",
        "bias",
        "design",
        "target noise",
        "TV mean-field",
        "TV esm",
        "TV dsm",
    ];
    header.extend(numbers.map(Column::right));
    header
}

fn labels(name: Option<&str>, swept: &BTreeSet<&String>, row: &Decomposition) -> Vec<String> {
    let values = swept.iter().map(|key| {
        let value = row.case.get(*key);
        value.map_or_else(|| ABSENT.to_owned(), swept_value)
    });
    name.map(str::to_owned).into_iter().chain(values).collect()
}

fn cells(row: &Decomposition) -> Vec<String> {
    let number = |value: f64| significant(value, 3);
    let optional = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), number);
    let part = |quantity: Quantity| {
        let share = row.share(quantity.value);
        let share = share.map_or_else(String::new, |s| format!(" ({:.0} %)", 100.0 * s));
        format!("{}{share}", with_error(quantity))
    };
    let bias = row.bias.map(|value| part(Quantity { value, se: None }));
    vec![
        side(row),
        number(row.data),
        with_error(row.total),
        bias.unwrap_or_else(|| ABSENT.to_owned()),
        part(row.design),
        part(row.target_noise),
        optional(row.tv.mean_field),
        number(row.tv.esm),
        number(row.tv.dsm),
    ]
}

fn with_error(quantity: Quantity) -> String {
    let error = quantity
        .se
        .map_or_else(String::new, |se| format!(" ± {}", significant(se, 2)));
    format!("{}{error}", significant(quantity.value, 3))
}

fn side(row: &Decomposition) -> String {
    let [esm, dsm] = &row.densities;
    match row.side {
        Side::Measured => "measured".to_owned(),
        Side::Predicted if esm == dsm => format!("predicted ({dsm})"),
        Side::Predicted => format!("predicted (esm {esm}, dsm {dsm})"),
    }
}
