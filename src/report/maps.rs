//! What maps say in a few words.

use std::fmt::Write;

use super::format::{short, short_title, significant};
use super::result::RunResult;

/// Longest name of a case, in characters.
const LONGEST: usize = 60;

/// One line per map: the range of the share of noise, and its mean over the pixels. Empty when there are no maps.
pub fn maps_summary(result: &RunResult) -> String {
    let mut text = String::new();
    for (index, case) in result.cases.iter().enumerate() {
        let values = short_title(result, index);
        let name = match (result.cases.len(), values.chars().count()) {
            (1, _) => String::new(),
            (_, n) if n <= LONGEST => format!("{values}, "),
            _ => format!("case {}, ", index + 1),
        };
        for map in &case.maps {
            let (low, high) = map
                .values
                .iter()
                .fold((1.0_f64, 0.0_f64), |(l, h), v| (l.min(*v), h.max(*v)));
            let mean = map.values.iter().sum::<f64>() / map.values.len() as f64;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{name}t = {}: share of noise in the target from {} to {}, mean {}",
                short(map.t),
                significant(low, 3),
                significant(high, 3),
                significant(mean, 3),
            );
        }
    }
    text
}
