//! The comparison table: how far each predicted density is from Monte Carlo, in plain text.

use std::collections::BTreeSet;

use super::format::{significant, swept_value};
use super::grid::{ABSENT, Column, Grid};
use super::result::{CaseResult, ComparisonResult, MONTE_CARLO, RunResult, TrustLevel};
use crate::experiment::Method;

/// Reasons of limited trust that are spelled out below the table; more would bury it.
const MOST_REASONS: usize = 8;

/// The comparisons of one result as a table; empty where there are only maps, or diagnostics.
pub fn comparison_table(result: &RunResult) -> String {
    table(&[("", result)])
}

/// The comparisons of several results in one table, each result under its name.
pub fn comparison_table_of(results: &[(String, RunResult)]) -> String {
    let named: Vec<(&str, &RunResult)> = results
        .iter()
        .map(|(name, result)| (name.as_str(), result))
        .collect();
    table(&named)
}

fn table(results: &[(&str, &RunResult)]) -> String {
    let cases: Vec<(&str, &CaseResult)> = results
        .iter()
        .flat_map(|(name, result)| result.cases.iter().map(|case| (*name, case)))
        .collect();
    if cases.is_empty() {
        return "There are no cases in this result.\n".to_string();
    }
    let only_maps = |case: &CaseResult| {
        case.densities.is_empty() && !(case.maps.is_empty() && case.diagnostics.is_empty())
    };
    if cases.iter().all(|(_, case)| only_maps(case)) {
        return String::new();
    }
    if cases
        .iter()
        .all(|(_, case)| case.predictions().next().is_none())
    {
        return without_predictions(&cases);
    }
    let columns = Columns::of(&cases);
    let mut grid = Grid::new(columns.header());
    for (name, case) in &cases {
        for (index, row) in columns.rows(case).into_iter().enumerate() {
            let labels = columns.labels(name, case, index == 0);
            grid.push(labels.into_iter().chain(row).collect(), index == 0);
        }
    }
    let mut text = grid.to_string();
    text.push('\n');
    for line in columns.legend(&cases) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Which columns there is anything to put in.
struct Columns {
    named: bool,
    swept: Vec<String>,
    compared: bool,
    /// Some comparison is with something else than Monte Carlo.
    references: bool,
    /// Some comparison is of bands over models.
    bands: bool,
    /// Theories are compared: what each costs is told as well.
    rivals: bool,
}

impl Columns {
    fn of(cases: &[(&str, &CaseResult)]) -> Self {
        let keys: BTreeSet<&String> = cases
            .iter()
            .flat_map(|(_, case)| case.case.keys())
            .collect();
        let comparisons: Vec<&ComparisonResult> = cases
            .iter()
            .flat_map(|(_, case)| &case.comparisons)
            .collect();
        Self {
            named: cases.iter().any(|(name, _)| !name.is_empty()),
            swept: keys.into_iter().cloned().collect(),
            compared: !comparisons.is_empty(),
            references: comparisons.iter().any(|c| c.reference != MONTE_CARLO),
            bands: comparisons.iter().any(|c| c.bands_within.is_some()),
            rivals: cases
                .iter()
                .flat_map(|(_, case)| case.predictions())
                .any(is_rival),
        }
    }

    fn header(&self) -> Vec<Column> {
        let mut header = Vec::new();
        if self.named {
            header.push(Column::left("result"));
        }
        header.extend(self.swept.iter().map(|key| Column::right(key)));
        header.push(Column::left("   method"));
        if self.references {
            header.push(Column::left("reference"));
        }
        if self.compared {
            let distances = ["TV", "floor", "TV/floor", "W1 (floor)", "KS (floor)"];
            header.extend(distances.map(Column::right));
        }
        if self.bands {
            header.push(Column::right("bands"));
        }
        header.push(Column::right("error"));
        if self.rivals {
            header.push(Column::right("seconds"));
        }
        header.push(Column::left("trust"));
        header
    }

    /// What tells a case from the others; on its first row only, so that cases stand out as blocks.
    fn labels(&self, name: &str, case: &CaseResult, first: bool) -> Vec<String> {
        let name = self.named.then(|| name.to_string());
        let values = self.swept.iter().map(|key| {
            let value = case.case.get(key);
            value.map_or_else(|| ABSENT.to_string(), swept_value)
        });
        let labels = name.into_iter().chain(values);
        labels
            .map(|label| if first { label } else { String::new() })
            .collect()
    }

    /// The rows of one case without its labels: every comparison, then the predictions that were compared with nothing.
    fn rows(&self, case: &CaseResult) -> Vec<Vec<String>> {
        let best = case.best().map(|c| c.predicted.as_str());
        let mut rows: Vec<Vec<String>> = case
            .comparisons
            .iter()
            .map(|c| self.row(case, &c.predicted, best, Some(c)))
            .collect();
        let compared: BTreeSet<&str> = case
            .comparisons
            .iter()
            .map(|c| c.predicted.as_str())
            .collect();
        rows.extend(
            case.predictions()
                .filter(|name| !compared.contains(name))
                .map(|name| self.row(case, name, best, None)),
        );
        if rows.is_empty() {
            rows.push(self.row(case, "(no prediction)", best, None));
        }
        rows
    }

    fn row(
        &self,
        case: &CaseResult,
        method: &str,
        best: Option<&str>,
        comparison: Option<&ComparisonResult>,
    ) -> Vec<String> {
        let mark = |condition: bool, sign: char| if condition { sign } else { ' ' };
        let to_monte_carlo = comparison.filter(|c| c.reference == MONTE_CARLO);
        let marks: String = [
            mark(case.recommended.as_deref() == Some(method), '>'),
            mark(to_monte_carlo.is_some() && best == Some(method), '*'),
        ]
        .into_iter()
        .collect();
        let mut row = vec![format!("{marks} {method}")];
        if self.references {
            row.push(comparison.map_or_else(|| ABSENT.to_string(), |c| c.reference.clone()));
        }
        if self.compared {
            row.extend(distances(comparison));
        }
        if self.bands {
            row.push(comparison.and_then(bands).unwrap_or_else(|| ABSENT.into()));
        }
        let density = case.densities.get(method);
        row.push(
            density
                .and_then(|d| d.error)
                .map_or_else(|| ABSENT.to_string(), number),
        );
        if self.rivals {
            row.push(seconds(case, method).map_or_else(|| ABSENT.to_string(), number));
        }
        let trust = case.trust.get(method);
        row.push(trust.map_or_else(|| ABSENT.to_string(), |t| level(t.level).to_string()));
        row
    }

    fn legend(&self, cases: &[(&str, &CaseResult)]) -> Vec<String> {
        let mut lines = Vec::new();
        if self.compared {
            lines.push(
                "> recommended   * lowest TV of its case   ~ within Monte Carlo noise (TV below the 95 % quantile of the floor)"
                    .to_string(),
            );
            lines.push(
                "TV total variation, W1 Wasserstein-1, KS Kolmogorov-Smirnov; floor: the distance that Monte Carlo's own noise gives;"
                    .to_string(),
            );
            lines.push("error: estimated TV error of the prediction's numerics".to_string());
            if self.rivals {
                lines.push(
                    "seconds: time of the prediction, with the statistics that it shares with others"
                        .to_string(),
                );
            }
            if self.bands {
                lines.push(
                    "bands: share of the bins (their number) in which the 25/75 % band over models is right to 20 % of its width"
                        .to_string(),
                );
            }
        } else {
            lines.push(
                "> recommended   error: estimated TV error of the prediction's numerics"
                    .to_string(),
            );
            lines.push(
                "There is no Monte Carlo density in this result: the predictions are compared with nothing."
                    .to_string(),
            );
        }
        lines.extend(reasons(cases));
        lines
    }
}

fn distances(comparison: Option<&ComparisonResult>) -> [String; 5] {
    let Some(c) = comparison else {
        return [ABSENT; 5].map(str::to_string);
    };
    let with_floor =
        |distance: f64, floor: f64| format!("{} ({})", number(distance), number(floor));
    let ratio = if c.tv_floor > 0.0 {
        number(c.tv / c.tv_floor)
    } else {
        ABSENT.to_string()
    };
    let noise = if c.tv <= c.tv_floor_95 { "~" } else { "" };
    [
        format!("{noise}{}", number(c.tv)),
        number(c.tv_floor),
        ratio,
        with_floor(c.w1, c.w1_floor),
        with_floor(c.ks, c.ks_floor),
    ]
}

fn bands(comparison: &ComparisonResult) -> Option<String> {
    let share = 100.0 * comparison.bands_within?;
    Some(format!("{share:.0} % ({})", comparison.bands_bins?))
}

fn number(value: f64) -> String {
    significant(value, 3)
}

fn level(level: TrustLevel) -> &'static str {
    match level {
        TrustLevel::High => "high",
        TrustLevel::Limited => "limited",
        TrustLevel::None => "none",
    }
}

/// Why some predictions are trusted less, each reason once.
fn reasons(cases: &[(&str, &CaseResult)]) -> Vec<String> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for (_, case) in cases {
        for (method, trust) in &case.trust {
            if trust.level == TrustLevel::High {
                continue;
            }
            let line = format!("trust {}, {method}: {}", level(trust.level), trust.reason);
            match counted.iter_mut().find(|(known, _)| *known == line) {
                Some((_, count)) => *count += 1,
                None => counted.push((line, 1)),
            }
        }
    }
    let more = counted.len().saturating_sub(MOST_REASONS);
    let mut lines: Vec<String> = counted
        .into_iter()
        .take(MOST_REASONS)
        .map(|(line, count)| match count {
            1 => line,
            _ => format!("{line} ({count} cases)"),
        })
        .collect();
    if more > 0 {
        lines.push(format!("and {more} more reasons in the result's `trust`"));
    }
    lines
}

/// What a result of the Monte Carlo side alone has to say.
fn is_rival(method: &str) -> bool {
    Method::ALL
        .iter()
        .any(|m| m.is_rival() && m.name() == method)
}

/// Seconds that a prediction took, the statistics included where it is built on them.
fn seconds(case: &CaseResult, method: &str) -> Option<f64> {
    let own = case.seconds.predict.get(method)?;
    let shared = match is_rival(method) {
        true => None,
        false => case.seconds.predict.get("statistics"),
    };
    Some(own + shared.copied().unwrap_or(0.0))
}

fn without_predictions(cases: &[(&str, &CaseResult)]) -> String {
    let columns = Columns::of(cases);
    let mut header: Vec<Column> = Vec::new();
    if columns.named {
        header.push(Column::left("result"));
    }
    header.extend(columns.swept.iter().map(|key| Column::right(key)));
    header.push(Column::left("density"));
    header.push(Column::right("models"));
    header.push(Column::right("outside"));
    let mut grid = Grid::new(header);
    for (name, case) in cases {
        for (index, (density, values)) in case.densities.iter().enumerate() {
            let labels = columns.labels(name, case, index == 0).into_iter();
            let models = values
                .models
                .map_or_else(|| ABSENT.to_string(), |n| n.to_string());
            let cells = [density.clone(), models, number(values.outside)];
            grid.push(labels.chain(cells).collect(), index == 0);
        }
    }
    format!("{grid}\nThere are no predicted densities in this result: nothing to compare.\n")
}
