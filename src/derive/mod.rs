//! The symbolic side: the formulas behind one experiment, with its own numbers filled in.
//!
//! [`derive`] collects them in the order of the theory: forward process, target, features and statistics of the weights,
//! V-kernel, action, effective SDE, and which approximation is made where. A [`Derivation`] prints as text, as a LaTeX
//! document or as a SymPy script; closed forms are [`Expr`]s, so the script evaluates to the numbers of the code.

mod action;
mod approximations;
mod document;
mod latex;
mod model;
mod process;
mod sympy;
mod target;
mod text;

pub use document::{Definition, Derivation, Formula, List, Part, Section};

use crate::experiment::Experiment;
use crate::spec::Spec;

/// Everything that is derived for one case of a spec, counted from 0; `None` where the spec has no such case.
pub fn derive_case(spec: &Spec, case: usize) -> Option<Derivation> {
    let chosen = spec.cases.get(case)?;
    let mut derivation = derive(&chosen.experiment);
    if spec.cases.len() > 1 {
        let values: Vec<String> = chosen
            .assignments
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        derivation.note = Some(format!(
            "Case {} of {}: {}. The others differ in these values.",
            case + 1,
            spec.cases.len(),
            values.join(", ")
        ));
    }
    Some(derivation)
}

/// Everything that is derived for one experiment (D = 1).
pub fn derive(experiment: &Experiment) -> Derivation {
    let process = process::ProcessForms::of(&experiment.problem.diffusion);
    let mut sections = vec![
        process::section(experiment, &process),
        target::section(experiment),
    ];
    sections.extend(model::sections(experiment, &process));
    sections.push(action::section(experiment, &process));
    sections.push(action::effective_sde(experiment));
    sections.push(approximations::section(experiment));
    Derivation {
        title: experiment.name.clone(),
        note: None,
        sections,
    }
}
