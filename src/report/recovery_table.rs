//! How well subspaces were recovered, in plain text.

use super::format::{real, significant, swept_value, with_error};
use super::grid::{ABSENT, Column, Grid};
use super::recovery::Recovery;
use super::result::{CaseResult, RunResult};

/// Longer sweeps are told by where they cross from failure to recovery.
const MOST_ROWS: usize = 48;

/// Recovery of subspaces, a row per case, or where there are many the place of the transition; empty without any.
pub fn recovery_table(result: &RunResult) -> String {
    let rows: Vec<(&CaseResult, Recovery)> = result
        .cases
        .iter()
        .filter_map(|case| Some((case, case.recovery()?)))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut keys: Vec<&str> = Vec::new();
    for (case, _) in &rows {
        keys.extend(case.case.keys().map(String::as_str));
    }
    keys.sort_unstable();
    keys.dedup();
    if rows.len() > MOST_ROWS {
        return transitions(&rows, &keys);
    }
    let columns = keys.iter().map(|key| Column::right(key));
    let own = [
        "recovered",
        "predicted",
        "|sin|^2",
        "first order",
        "spiked",
        "true partition",
        "as clustering",
        "to training",
        "fresh",
        "off subspaces",
    ];
    let mut grid = Grid::new(columns.chain(own.map(Column::right)).collect());
    for (case, recovery) in &rows {
        let labels = keys.iter().map(|key| {
            let value = case.case.get(*key);
            value.map_or_else(|| ABSENT.to_owned(), swept_value)
        });
        grid.push(labels.chain(cells(recovery)).collect(), false);
    }
    format!("subspaces of trained models\n{grid}")
}

/// Where a long sweep crosses from failure to recovery: along the key of most values, a row per combination of the others.
fn transitions(rows: &[(&CaseResult, Recovery)], keys: &[&str]) -> String {
    let value =
        |case: &CaseResult, key: &str| case.case.get(key).map_or_else(String::new, swept_value);
    let distinct = |key: &&&str| {
        let mut values: Vec<String> = rows.iter().map(|(case, _)| value(case, key)).collect();
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    let Some(along) = keys.iter().max_by_key(distinct) else {
        return String::new();
    };
    let others: Vec<&&str> = keys.iter().filter(|key| *key != along).collect();
    let mut groups: Vec<(Vec<String>, Vec<Step>)> = Vec::new();
    for (case, recovery) in rows {
        let Some(at) = case.case.get(*along).and_then(serde_json::Value::as_f64) else {
            continue;
        };
        let predicted = recovery.predicted.as_ref();
        let step = Step {
            at,
            recovered: recovery.recovered,
            predicted: predicted.and_then(|p| p.recovered.or(p.spanned)),
        };
        let labels: Vec<String> = others.iter().map(|key| value(case, key)).collect();
        match groups.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, steps)) => steps.push(step),
            None => groups.push((labels, vec![step])),
        }
    }
    let columns = others.iter().map(|key| Column::right(key));
    let own = ["half recovered at", "predicted at", "all recovered at"];
    let mut grid = Grid::new(columns.chain(own.map(Column::right)).collect());
    for (labels, mut steps) in groups {
        steps.sort_by(|a, b| a.at.total_cmp(&b.at));
        let cells = [
            crossing(&steps, 0.5, |s| Some(s.recovered)),
            crossing(&steps, 0.5, |s| s.predicted),
            crossing(&steps, 1.0, |s| Some(s.recovered)),
        ];
        grid.push(labels.into_iter().chain(cells).collect(), false);
    }
    format!(
        "recovery of subspaces along {along}: the smallest value from which on it stays\n{grid}"
    )
}

/// One value of the key that a transition is sought along.
struct Step {
    at: f64,
    recovered: f64,
    predicted: Option<f64>,
}

/// The smallest value from which on the share stays at `share` or above.
fn crossing(steps: &[Step], share: f64, of: impl Fn(&Step) -> Option<f64>) -> String {
    let below = steps.iter().rposition(|s| of(s).is_none_or(|v| v < share));
    let first = below.map_or(0, |k| k + 1);
    steps
        .get(first)
        .map_or_else(|| ABSENT.to_owned(), |s| real(s.at))
}

fn cells(recovery: &Recovery) -> Vec<String> {
    let three = |value: f64| significant(value, 3);
    let absent = || ABSENT.to_owned();
    let predicted = recovery.predicted.as_ref();
    let squared = recovery.squared_sines;
    vec![
        format!("{:.2}", recovery.recovered),
        predicted
            .and_then(|p| p.recovered)
            .map_or_else(absent, |p| format!("{p:.2}")),
        squared
            .se
            .map_or_else(|| three(squared.value), |se| with_error(squared.value, se)),
        predicted.map_or_else(absent, |p| three(p.squared_sines_first_order)),
        predicted.map_or_else(absent, |p| three(p.squared_sines_spiked)),
        recovery
            .true_partition
            .map_or_else(absent, |p| format!("{p:.2}")),
        recovery
            .clustering_partition
            .map_or_else(absent, |p| format!("{p:.2}")),
        three(recovery.generated.to_training),
        three(recovery.generated.fresh_to_training),
        three(recovery.generated.off_subspaces),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_is_where_recovery_stays() {
        let shares = [0.0, 0.6, 0.2, 0.5, 1.0];
        let steps: Vec<Step> = (2..)
            .zip(shares)
            .map(|(at, recovered)| Step {
                at: f64::from(at),
                recovered,
                predicted: None,
            })
            .collect();
        assert_eq!(crossing(&steps, 0.5, |s| Some(s.recovered)), "5");
        assert_eq!(crossing(&steps, 1.0, |s| Some(s.recovered)), "6");
        assert_eq!(crossing(&steps, 0.5, |s| s.predicted), ABSENT);
        assert_eq!(crossing(&steps[..2], 0.9, |s| Some(s.recovered)), ABSENT);
    }
}
