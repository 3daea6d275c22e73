//! What a result in more than one dimension says besides its densities, in plain text.

use std::collections::BTreeMap;

use super::format::{significant, swept_title, with_error};
use super::grid::{ABSENT, Column, Grid};
use super::result::{CaseResult, DATA, MONTE_CARLO, Measured, PF_ODE, RunResult};

/// More training points than this have too many segments to list.
const MOST_SEGMENTS: usize = 12;

/// Further densities, numbers and segments of every case; empty in one dimension.
pub fn readout_table(result: &RunResult) -> String {
    let tables: Vec<String> = result.cases.iter().filter_map(of_case).collect();
    tables.join("\n")
}

/// The columns: data, the leading prediction, Monte Carlo.
struct Sides<'a> {
    leading: Option<&'a str>,
}

fn of_case(case: &CaseResult) -> Option<String> {
    if case.numbers.is_empty() && case.segments.is_empty() && case.readouts.is_empty() {
        return None;
    }
    let sides = Sides {
        leading: case.leading(),
    };
    let title = swept_title(&case.case);
    let mut text = match title.is_empty() {
        true => String::new(),
        false => format!("{title}\n"),
    };
    let mut grid = Grid::new(sides.header("density"));
    let mut any = false;
    for readout in &case.readouts {
        let compared = |name: Option<&str>| {
            let own = readout.comparisons.iter();
            let found = own
                .into_iter()
                .find(|c| Some(c.predicted.as_str()) == name)?;
            Some(format!(
                "TV {} (floor {})",
                significant(found.tv, 3),
                significant(found.tv_floor, 2)
            ))
        };
        let cells = [compared(Some(PF_ODE)), compared(sides.leading), None];
        any |= cells.iter().any(Option::is_some);
        grid.push(row(&readout.name, cells), false);
    }
    if any {
        text.push_str(&format!("{grid}\n"));
    }
    let mut grid = Grid::new(sides.header("number"));
    for number in &case.numbers {
        grid.push(row(&number.name, sides.cells(&number.values)), false);
    }
    if !case.segments.is_empty() && case.segments.len() <= MOST_SEGMENTS {
        for segment in &case.segments {
            let name = format!(
                "filling of the segment {} to {}",
                point(&segment.from),
                point(&segment.to)
            );
            grid.push(row(&name, sides.cells(&segment.filling)), false);
        }
    }
    if !case.numbers.is_empty() {
        text.push_str(&grid.to_string());
    }
    Some(text)
}

impl Sides<'_> {
    fn header(&self, what: &str) -> Vec<Column> {
        vec![
            Column::left(what),
            Column::right(PF_ODE),
            Column::right(self.leading.unwrap_or(ABSENT)),
            Column::right(MONTE_CARLO),
        ]
    }

    fn cells(&self, values: &BTreeMap<String, Measured>) -> [Option<String>; 3] {
        let cell = |name: &str| {
            let measured = values.get(name)?;
            Some(match measured.se {
                Some(se) if se > 0.0 => with_error(measured.value, se),
                _ => significant(measured.value, 3),
            })
        };
        [
            cell(PF_ODE).or_else(|| cell(DATA)),
            self.leading.and_then(cell),
            cell(MONTE_CARLO),
        ]
    }
}

fn row(name: &str, cells: [Option<String>; 3]) -> Vec<String> {
    let cells = cells.map(|c| c.unwrap_or_else(|| ABSENT.to_owned()));
    std::iter::once(name.to_owned()).chain(cells).collect()
}

fn point(x: &[f64]) -> String {
    let coordinates: Vec<String> = x.iter().map(|c| format!("{c:.2}")).collect();
    format!("({})", coordinates.join(", "))
}
