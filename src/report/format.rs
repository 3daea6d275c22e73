//! Numbers and swept values as people write them, shared by the table and the figures.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

use super::result::RunResult;

/// `value` with `digits` significant digits, in plain notation where that stays short.
pub(crate) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_string();
    }
    let scientific = format!("{value:.*e}", digits - 1);
    // Rounding may carry (0.9996 -> 1.00), so the exponent is read after it.
    let exponent: i32 = scientific
        .rsplit_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0);
    if (-3..6).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        format!("{value:.decimals$}")
    } else {
        scientific
    }
}

/// `value ± error`, both to the second digit of the error.
pub(super) fn with_error(value: f64, error: f64) -> String {
    let place = format!("{error:.1e}");
    let exponent = place.rsplit_once('e').and_then(|(_, e)| e.parse().ok());
    match exponent {
        Some(e @ -6..=0) if error > 0.0 => {
            let decimals = 1_usize.saturating_add_signed(-e);
            format!("{value:.decimals$} ± {error:.decimals$}")
        }
        _ => format!("{} ± {}", significant(value, 3), significant(error, 2)),
    }
}

/// A swept value: short, without the quotes of JSON.
pub(super) fn swept_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if !(number.is_u64() || number.is_i64()) => {
            number.as_f64().map_or_else(|| number.to_string(), real)
        }
        other => other.to_string(),
    }
}

/// Every digit of a real number, the shorter of the two notations.
pub(super) fn real(value: f64) -> String {
    let plain = value.to_string();
    let scientific = format!("{value:e}");
    let small = value != 0.0 && value.abs() < 1e-3;
    if small || scientific.len() + 3 < plain.len() {
        scientific
    } else {
        plain
    }
}

/// A real number as it is where that is short, else three digits of it.
pub(super) fn short(value: f64) -> String {
    const LONG: usize = 7;
    let all = real(value);
    if all.len() < LONG {
        all
    } else {
        significant(value, 3)
    }
}

/// `key = value` of each swept key, without the parts of the keys that say nothing.
pub(super) fn swept_title(case: &BTreeMap<String, Value>) -> String {
    case.iter()
        .map(|(key, value)| format!("{key} = {}", swept_value(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A case's swept values for where there is little room: long lists by their length and their number in the sweep, as in
/// "6 points (1)" for the first value of `data.points`.
pub(super) fn short_title(result: &RunResult, index: usize) -> String {
    const LONG: usize = 32;
    let cases = &result.cases;
    let part = |(key, value): (&String, &Value)| match value {
        Value::Array(list) if swept_value(value).len() > LONG => {
            let mut values: Vec<&Value> = Vec::new();
            for other in cases[..=index].iter().filter_map(|case| case.case.get(key)) {
                if !values.contains(&other) {
                    values.push(other);
                }
            }
            let number = values.iter().position(|other| *other == value);
            let name = key.rsplit('.').next().unwrap_or(key);
            format!("{} {name} ({})", list.len(), number.unwrap_or(0) + 1)
        }
        _ => format!("{key} = {}", swept_value(value)),
    };
    let parts: Vec<String> = cases[index].case.iter().map(part).collect();
    parts.join(", ")
}

/// Order of swept values: numbers by size, everything else by its text.
pub(super) fn value_order(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => swept_value(a).cmp(&swept_value(b)),
    }
}

/// Longest name of a case's files; file systems end at 255 bytes.
const LONGEST_STEM: usize = 120;

/// Name of a case's files without their ending: `density` for a single case, else `case-03-training.samples=256`, which
/// sorts as the cases do and which no shell or file system minds.
pub(super) fn case_stem(result: &RunResult, index: usize) -> String {
    if result.cases.len() == 1 {
        return "density".to_owned();
    }
    let digits = result.cases.len().to_string().len().max(2);
    let mut stem = format!("case-{:0digits$}", index + 1);
    for (key, value) in &result.cases[index].case {
        let safe = |c: char| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '=' | '+' => c,
            _ => '_',
        };
        stem.push('-');
        stem.extend(format!("{key}={}", swept_value(value)).chars().map(safe));
    }
    stem.truncate(LONGEST_STEM);
    stem
}

/// Name of the files of one part of a case: the part's alone for a single case, else after the case's.
pub(super) fn part_stem(result: &RunResult, index: usize, part: &str) -> String {
    match result.cases.len() {
        1 => part.to_owned(),
        _ => format!("{}-{part}", case_stem(result, index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn significant_digits_survive_carries_and_extremes() {
        for (value, expected) in [
            (0.031_23, "0.0312"),
            (0.001_234, "0.00123"),
            (0.000_31, "3.10e-4"),
            (0.999_6, "1.00"),
            (12.345, "12.3"),
            (1234.5, "1234"),
            (1.2e-7, "1.20e-7"),
            (3.4e9, "3.40e9"),
            (0.0, "0"),
            (-0.5, "-0.500"),
        ] {
            assert_eq!(significant(value, 3), expected);
        }
    }

    #[test]
    fn errors_say_which_digits_count() {
        for (value, error, expected) in [
            (0.001_16, 0.000_29, "0.00116 ± 0.00029"),
            (0.0123, 0.0004, "0.01230 ± 0.00040"),
            (0.5, 0.099_6, "0.50 ± 0.10"),
            (0.5, 0.0, "0.500 ± 0"),
            (1e-9, 1e-10, "1.00e-9 ± 1.0e-10"),
            (1234.0, 55.0, "1234 ± 55"),
        ] {
            assert_eq!(with_error(value, error), expected);
        }
    }

    #[test]
    fn swept_values_are_short() {
        for (value, expected) in [
            (serde_json::json!(1e-4), "1e-4"),
            (serde_json::json!(0.01), "0.01"),
            (serde_json::json!(256), "256"),
            (serde_json::json!("dsm"), "dsm"),
            (serde_json::json!(1.0), "1"),
        ] {
            assert_eq!(swept_value(&value), expected);
        }
    }
}
