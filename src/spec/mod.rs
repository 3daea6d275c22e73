//! The input edge: a spec file becomes typed experiments, or an error that names the file, the line, the field,
//! what was found and what is allowed.
//!
//! A spec is written in TOML, or in JSON of the same structure. Both become one tree that remembers its lines;
//! overrides and the values of a sweep are put into the tree; the raw structs are read from it; every default is
//! filled in and every rule checked. The JSON Schema of the raw structs is [`spec_schema`].

mod data_file;
mod document;
mod error;
mod fields;
pub mod memory;
mod named_cases;
mod overrides;
mod path;
mod raw;
mod resolve;
mod sweep;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use document::Format;
pub use error::{Place, Problem, SpecError};
pub use memory::MemoryEstimate;
pub use raw::spec_schema;

use crate::experiment::{Experiment, MapOptions};
use document::{Document, Origin};
use error::{Fault, shorten, show};
use resolve::Resolver;
use sweep::{Choice, Sweep};

/// A spec, read and resolved.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    /// Seed of the (first) case.
    pub seed: u64,
    /// Name of the spec in errors: its path.
    pub source: String,
    /// The whole spec with every default filled in, the sweep included; a default that differs from case to case
    /// stays open. Read as a JSON spec it gives the same cases, sorted by the swept keys' names.
    pub resolved: Value,
    /// At least one; the product of the swept values, the first key slowest.
    pub cases: Vec<Case>,
}

/// One case of a spec.
#[derive(Debug, Clone)]
pub struct Case {
    /// Value of each swept key; empty without a sweep.
    pub assignments: BTreeMap<String, Value>,
    /// This case as a spec of its own, every default filled in. Everything that its result depends on is in it
    /// (a data file by its checksum), so that it can serve as the key of a checkpoint.
    pub resolved: Value,
    /// Without a model that of the exact score, of which nothing is run.
    pub experiment: Experiment,
    /// The maps to be made.
    pub map: Option<MapOptions>,
    /// Is there a model? If not, there are maps, and nothing else is asked for.
    pub has_model: bool,
}

impl Spec {
    /// Refuses the spec if a case does not fit into the available memory on `threads` threads. [`load`] has checked
    /// a single thread already, the least that a run needs.
    pub fn check_memory(&self, threads: usize) -> Result<(), SpecError> {
        let limit = memory::available_bytes();
        for case in &self.cases {
            resolve::check_memory(&case.experiment, threads, limit).map_err(|fault| {
                let place = Place::Spec {
                    file: self.source.clone(),
                    line: None,
                };
                problem(fault, place, &case.resolved, &case.assignments)
            })?;
        }
        Ok(())
    }
}

/// Reads the spec at `path` (JSON if its name ends in `.json`, else TOML).
///
/// `overrides` are texts `KEY=VALUE`: KEY a dotted path (`training.samples`, `model.features.0.count`,
/// `sweep."training.samples"`), VALUE a TOML value, or else the text itself. An override of a swept key replaces
/// the sweep of that key. `seed` overrides the key `seed`.
pub fn load(path: &Path, overrides: &[String], seed: Option<u64>) -> Result<Spec, SpecError> {
    let source = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| Problem {
        place: Place::Spec {
            file: source.clone(),
            line: None,
        },
        field: String::new(),
        found: e.to_string(),
        allowed: "a TOML or JSON file that can be read".to_owned(),
        case: None,
    })?;
    let json = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let format = if json { Format::Json } else { Format::Toml };
    let base_dir = path.parent().unwrap_or_else(|| Path::new("."));
    parse(&text, format, &source, base_dir, overrides, seed)
}

/// Reads a spec from text. `source` is its name in errors and, without the ending, the default of `name`; relative
/// data paths start at `base_dir`, or else at the current directory. The rest is as for [`load`].
pub fn parse(
    text: &str,
    format: Format,
    source: &str,
    base_dir: &Path,
    overrides: &[String],
    seed: Option<u64>,
) -> Result<Spec, SpecError> {
    let mut document = Document::read(text, format, source)?;
    let sweep = Sweep::take(&mut document);
    let mut sweep = sweep.map_err(|fault| locate(fault, &document, &Vec::new(), source))?;
    overrides::apply(&mut document, &mut sweep, overrides, seed)?;
    let choices = sweep
        .choices()
        .map_err(|fault| locate(fault, &document, &Vec::new(), source))?;

    let mut resolver = Resolver::new(source, base_dir);
    let mut cases = Vec::with_capacity(choices.len());
    for choice in &choices {
        let mut tree = document.tree.clone();
        let case = resolve_case(&mut resolver, choice, &mut tree)
            .map_err(|fault| locate_in(fault, &document, choice, source, &tree))?;
        cases.push(case);
    }
    let first = &cases[0].experiment;
    Ok(Spec {
        name: first.name.clone(),
        seed: first.seed,
        source: source.to_owned(),
        resolved: resolve_whole(&document, &sweep, &cases),
        cases,
    })
}

fn resolve_case(
    resolver: &mut Resolver<'_>,
    choice: &Choice<'_>,
    tree: &mut Value,
) -> Result<Case, Fault> {
    for (axis, value) in choice {
        axis.apply(tree, value)?;
    }
    let case = resolver.resolve(tree)?;
    resolve::check_memory(&case.experiment, 1, memory::available_bytes())?;
    Ok(Case {
        assignments: sweep::assignments(choice),
        resolved: case.resolved,
        experiment: case.experiment,
        map: case.map,
        has_model: case.has_model,
    })
}

/// The resolved spec of all cases together.
fn resolve_whole(document: &Document, sweep: &Sweep, cases: &[Case]) -> Value {
    let resolved: Vec<&Value> = cases.iter().map(|c| &c.resolved).collect();
    let mut whole = sweep::shared(Some(&document.tree), &resolved).unwrap_or_default();
    if let (Value::Object(table), Some(sweep)) = (&mut whole, sweep.resolved()) {
        table.insert("sweep".to_owned(), sweep);
    }
    whole
}

fn locate(fault: Fault, document: &Document, choice: &Choice<'_>, source: &str) -> SpecError {
    locate_in(fault, document, choice, source, &document.tree)
}

/// Traces a fault in the tree of a case back to the place where the value was written.
fn locate_in(
    mut fault: Fault,
    document: &Document,
    choice: &Choice<'_>,
    source: &str,
    tree: &Value,
) -> SpecError {
    let swept = choice
        .iter()
        .find(|(axis, value)| axis.wrote(&fault.path, value));
    let origin = match swept {
        Some((axis, value)) => axis.origin_of(document, &fault.path, value),
        None => document.origin(&fault.path),
    };
    let place = match origin {
        Some(Origin::Override(text)) => Place::Override(text.clone()),
        Some(Origin::Line(line)) => Place::Spec {
            file: source.to_owned(),
            line: Some(*line),
        },
        None => Place::Spec {
            file: source.to_owned(),
            line: None,
        },
    };
    if let Some((axis, _)) = swept {
        let found = found(&fault, tree);
        fault.found = Some(format!("{found}, a value of sweep.\"{}\"", axis.name));
    }
    problem(fault, place, tree, &sweep::assignments(choice)).into()
}

fn found(fault: &Fault, tree: &Value) -> String {
    let written = || fault.path.get(tree).map_or("nothing".to_owned(), show);
    fault.found.clone().unwrap_or_else(written)
}

fn problem(
    fault: Fault,
    place: Place,
    tree: &Value,
    assignments: &BTreeMap<String, Value>,
) -> Problem {
    let case: Vec<String> = assignments
        .iter()
        .map(|(key, value)| format!("{key} = {}", show(value)))
        .collect();
    Problem {
        found: found(&fault, tree),
        field: fault.path.to_string(),
        place: fault.data.map_or(place, |data| *data),
        allowed: fault.allowed,
        case: (!case.is_empty()).then(|| shorten(&case.join(", "))),
    }
}
