//! The symbolic side: the formulas behind one experiment, with its own numbers filled in.
//!
//! [`fn@derive`] collects them in the order of the theory: forward process, target, features and statistics of the weights,
//! V-kernel, action, effective SDE, and which approximation is made where. A [`Derivation`] prints as text, as a LaTeX
//! document or as a SymPy script; closed forms are [expressions](crate::symbolic::Expr), so the script evaluates to the numbers of the code.

mod action;
mod approximations;
mod document;
mod kernel;
mod latex;
mod machine;
mod model;
mod process;
mod sympy;
mod target;
mod text;

pub use document::{Definition, Derivation, Formula, List, Part, Section};

use thiserror::Error;

use crate::experiment::Experiment;
use crate::family::Family;
use crate::spec::Spec;

/// Why nothing is derived.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeriveError {
    #[error("case {case}; there are {cases}, counted from 1")]
    NoSuchCase { case: usize, cases: usize },
    #[error("a spec without [model]; the formulas are those of a model")]
    NoModel,
    #[error("data with D = {dim}; the formulas are written for D = 1")]
    Dimension { dim: usize },
    #[error(
        "models of low rank; the formulas are written for naive models, for those linear in given features, for kernels and networks"
    )]
    LowRank,
}

/// Everything that is derived for one case of a spec, counted from 0.
pub fn derive_case(spec: &Spec, case: usize) -> Result<Derivation, DeriveError> {
    let cases = spec.cases.len();
    let Some(chosen) = spec.cases.get(case) else {
        return Err(DeriveError::NoSuchCase {
            case: case + 1,
            cases,
        });
    };
    if !chosen.has_model {
        return Err(DeriveError::NoModel);
    }
    let mut derivation = derive(&chosen.experiment)?;
    if cases > 1 {
        let values: Vec<String> = chosen
            .assignments
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        derivation.note = Some(format!(
            "Case {} of {cases}: {}. The others differ in these values.",
            case + 1,
            values.join(", ")
        ));
    }
    Ok(derivation)
}

/// Everything that is derived for one experiment (D = 1).
pub fn derive(experiment: &Experiment) -> Result<Derivation, DeriveError> {
    let dim = experiment.problem.dim();
    if dim != 1 {
        return Err(DeriveError::Dimension { dim });
    }
    if let Family::LowRank(_) = experiment.family {
        return Err(DeriveError::LowRank);
    }
    let process = process::ProcessForms::of(&experiment.problem.diffusion);
    let mut sections = vec![
        process::section(experiment, &process),
        target::section(experiment),
    ];
    sections.extend(match experiment.family.kernel() {
        Some(family) => machine::sections(experiment, family, &process),
        None => model::sections(experiment, &process),
    });
    sections.push(action::section(experiment, &process));
    sections.push(action::effective_sde(experiment));
    sections.push(approximations::section(experiment));
    Ok(Derivation {
        title: experiment.name.clone(),
        note: None,
        sections,
    })
}
