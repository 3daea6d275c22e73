//! A case's further densities as cases of their own, and the names of their axes.

use std::collections::BTreeMap;

use crate::report::result::{CaseResult, ReadoutResult};

/// What the figures of densities need of a readout. It leads with what the case leads with.
pub(super) fn as_case(case: &CaseResult, readout: &ReadoutResult) -> CaseResult {
    let leading = case.leading();
    let mut densities = readout.densities.clone();
    for (name, density) in &mut densities {
        // The ensembles are the case's; it is there that their sizes are stated.
        let own = case.densities.get(name).and_then(|d| d.models);
        density.models = density.models.or(own);
    }
    CaseResult {
        edges: readout.edges.clone(),
        directions: readout.directions.clone(),
        densities,
        means: case.means.clone(),
        recommended: leading
            .filter(|name| readout.densities.contains_key(*name))
            .map(str::to_owned),
        comparisons: readout.comparisons.clone(),
        ..CaseResult::empty(BTreeMap::new())
    }
}

/// The coordinate that lies along this direction, if one does.
pub(super) fn coordinate(along: &[f64]) -> Option<String> {
    let index = along.iter().position(|a| *a == 1.0)?;
    let alone = along.iter().filter(|a| **a != 0.0).count() == 1;
    alone.then(|| subscripted('x', index + 1))
}

/// What a direction is called: a coordinate, or as in the case's marginals, or by its place among the axes.
pub(super) fn axis_name(case: &CaseResult, along: &[f64]) -> String {
    let marginal = || {
        let mut own = case.readouts.iter();
        let found = own.find(|r| matches!(&r.directions[..], [only] if only == along))?;
        Some(found.name.clone())
    };
    let place = || case.directions.iter().position(|other| other == along);
    coordinate(along)
        .or_else(marginal)
        .or_else(|| Some(format!("direction {}", place()? + 1)))
        .unwrap_or_else(|| "projection".to_owned())
}

fn subscripted(letter: char, number: usize) -> String {
    let below = |digit: char| match digit.to_digit(10) {
        Some(d) => char::from_u32(u32::from('₀') + d).unwrap_or(digit),
        None => digit,
    };
    std::iter::once(letter)
        .chain(number.to_string().chars().map(below))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_told_from_other_directions() {
        let mut along = vec![0.0; 12];
        along[11] = 1.0;
        assert_eq!(coordinate(&along).as_deref(), Some("x₁₂"));
        assert_eq!(coordinate(&[1.0, 0.0]).as_deref(), Some("x₁"));
        assert_eq!(coordinate(&[0.0, -1.0]), None);
        assert_eq!(coordinate(&[0.6, 0.8]), None);
        assert_eq!(coordinate(&[]), None);
    }
}
