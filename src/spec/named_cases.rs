//! Cases that differ in several tables at once: `[[sweep.case]]`, each a part of a spec under a label. It is put over the rest of
//! the spec, tables key by key, everything else as a whole.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::{Fault, show};
use super::path::FieldPath;

/// The swept key, and the key of a case's name.
const CASE: &str = "case";
const LABEL: &str = "label";
const ALLOWED: &str = "[[sweep.case]] tables, each with a label of its own and some part of a spec, such as data = { ... }";

/// Is this the swept key of named cases?
pub(super) fn is_named(path: &FieldPath) -> bool {
    *path == FieldPath::of(CASE)
}

/// Checks the cases written at `written`.
pub(super) fn check(written: &FieldPath, cases: &[Value]) -> Result<(), Fault> {
    let mut labels = BTreeSet::new();
    for (i, case) in cases.iter().enumerate() {
        let path = written.index(i);
        let Value::Object(table) = case else {
            return Err(Fault::at(path, show(case)).allowed(ALLOWED));
        };
        let label = match table.get(LABEL) {
            Some(Value::String(label)) if !label.is_empty() => label,
            Some(other) => return Err(Fault::at(path.key(LABEL), show(other)).allowed(ALLOWED)),
            None => return Err(Fault::at(path, "a case without a label").allowed(ALLOWED)),
        };
        if !labels.insert(label) {
            return Err(Fault::at(path.key(LABEL), show(&table[LABEL]))
                .allowed("a label that no other case has"));
        }
        if let Some(key) = table.keys().find(|k| *k == "name" || *k == "sweep") {
            return Err(Fault::at(path.key(key), show(&table[key]))
                .allowed("any part of a spec but name and sweep"));
        }
    }
    Ok(())
}

/// Does a case say something about the key at `path`, or about one inside it?
pub(super) fn says(case: &Value, path: &FieldPath) -> bool {
    path.get(case).is_some()
}

/// Takes the key at `path` out of every case.
pub(super) fn forget(cases: &mut [Value], path: &FieldPath) {
    for case in cases {
        path.remove(case);
    }
}

/// What a case is called in results.
pub(super) fn label(case: &Value) -> Value {
    case.get(LABEL).cloned().unwrap_or_default()
}

/// Puts a case over the spec.
pub(super) fn apply(tree: &mut Value, case: &Value) {
    let mut part = case.clone();
    FieldPath::of(LABEL).remove(&mut part);
    merge(tree, &part);
}

fn merge(tree: &mut Value, part: &Value) {
    let Value::Object(table) = part else {
        *tree = part.clone();
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    for (key, inner) in table {
        if let Value::Object(tree) = tree {
            merge(tree.entry(key.clone()).or_insert(Value::Null), inner);
        }
    }
}
