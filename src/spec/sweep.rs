//! The sweep: swept keys, their product, and the spec that all cases share.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::document::{Document, Origin};
use super::error::{Fault, show};
use super::named_cases;
use super::path::{FieldPath, Segment};

/// Largest number of cases of one spec.
const MOST_CASES: usize = 100_000;

/// The swept keys in the order they were written.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    axes: Vec<Axis>,
}

/// One swept key.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// The key as the result names it: `training.samples`.
    pub name: String,
    pub path: FieldPath,
    pub values: Vec<Value>,
    pub origin: Option<Origin>,
}

impl Axis {
    /// Does some value say something about the key at `path`, or about one around it?
    fn sets(&self, path: &FieldPath) -> bool {
        self.values.iter().any(|value| self.wrote(path, value))
    }

    /// Has `value` put there what stands at `path` of a case's tree?
    pub fn wrote(&self, path: &FieldPath, value: &Value) -> bool {
        match named_cases::is_named(&self.path) {
            true => named_cases::says(value, path),
            false => self.path.contains(path),
        }
    }

    /// Where `value` says what stands at `path` of a case's tree.
    pub fn origin_of<'d>(
        &'d self,
        document: &'d Document,
        path: &FieldPath,
        value: &Value,
    ) -> Option<&'d Origin> {
        let index = self.values.iter().position(|case| case == value);
        match (&self.origin, index) {
            (Some(Origin::Line(_)), Some(index)) if named_cases::is_named(&self.path) => {
                let mut written = FieldPath::of("sweep").key(&self.name).index(index);
                for segment in path.segments() {
                    written.push(segment.clone());
                }
                document.origin(&written)
            }
            (origin, _) => origin.as_ref(),
        }
    }

    /// Puts a value into the spec's tree.
    pub fn apply(&self, tree: &mut Value, value: &Value) -> Result<(), Fault> {
        if named_cases::is_named(&self.path) {
            named_cases::apply(tree, value);
            return Ok(());
        }
        self.path.set(tree, value.clone()).map_err(|fault| Fault {
            path: self.path.clone(),
            ..fault
        })
    }

    /// What a value is called in results.
    fn shown(&self, value: &Value) -> Value {
        match named_cases::is_named(&self.path) {
            true => named_cases::label(value),
            false => value.clone(),
        }
    }
}

/// The values of one case, one per axis.
pub(super) type Choice<'s> = Vec<(&'s Axis, &'s Value)>;

impl Sweep {
    /// Takes the sweep out of a document.
    pub fn take(document: &mut Document) -> Result<Self, Fault> {
        let root = FieldPath::of("sweep");
        let Some(table) = root.remove(&mut document.tree) else {
            return Ok(Self::default());
        };
        let mut found = Vec::new();
        collect(&root, &root, &table, &mut found)?;
        // The tree is sorted by key; the order of the file is that of the first mention.
        found.sort_by_key(|(written, _, _)| {
            let mentioned = document.sweep_order.iter().position(|p| p == written);
            mentioned.unwrap_or(usize::MAX)
        });
        let mut sweep = Self::default();
        for (written, path, values) in found {
            let origin = document.origin(&written).cloned();
            sweep.insert(path, values, origin, &written)?;
        }
        Ok(sweep)
    }

    /// Sets the sweep of one key, or with an empty path replaces the whole sweep.
    pub fn set(&mut self, path: &FieldPath, value: Value, origin: Origin) -> Result<(), Fault> {
        let mut written = FieldPath::of("sweep");
        for segment in path.segments() {
            written.push(segment.clone());
        }
        let mut found = Vec::new();
        collect(&FieldPath::of("sweep"), &written, &value, &mut found)?;
        if path.is_root() {
            self.axes.clear();
        }
        for (written, path, values) in found {
            self.insert(path, values, Some(origin.clone()), &written)?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        path: FieldPath,
        values: Vec<Value>,
        origin: Option<Origin>,
        written: &FieldPath,
    ) -> Result<(), Fault> {
        if named_cases::is_named(&path) {
            named_cases::check(written, &values)?;
        }
        let axis = Axis {
            name: dotted(&path),
            path,
            values,
            origin,
        };
        if let Some(same) = self.axes.iter_mut().find(|a| a.path == axis.path) {
            *same = axis;
            return Ok(());
        }
        let overlaps = |a: &&Axis| a.sets(&axis.path) || axis.sets(&a.path);
        if let Some(other) = self.axes.iter().find(overlaps) {
            let found = format!("{} beside {}", axis.name, other.name);
            return Err(Fault::at(written.clone(), found)
                .allowed("swept keys none of which lies inside another"));
        }
        self.axes.push(axis);
        Ok(())
    }

    /// An override of `path` replaces the sweep of that key and of every key below it.
    pub fn yield_to(&mut self, path: &FieldPath) -> Result<(), Fault> {
        self.axes.retain(|axis| !path.contains(&axis.path));
        for axis in &mut self.axes {
            if named_cases::is_named(&axis.path) {
                named_cases::forget(&mut axis.values, path);
            }
        }
        match self.axes.iter().find(|axis| axis.path.contains(path)) {
            None => Ok(()),
            Some(axis) => {
                let found = format!("a key inside {}, which is swept", axis.name);
                Err(Fault::at(path.clone(), found).allowed(format!(
                    "{} or sweep.\"{}\" as a whole",
                    axis.name, axis.name
                )))
            }
        }
    }

    /// Every combination of values, the first axis slowest; one empty choice without a sweep.
    pub fn choices(&self) -> Result<Vec<Choice<'_>>, Fault> {
        let count = self
            .axes
            .iter()
            .try_fold(1_usize, |n, axis| n.checked_mul(axis.values.len()))
            .filter(|n| *n <= MOST_CASES);
        if count.is_none() {
            let sizes: Vec<String> = self
                .axes
                .iter()
                .map(|a| a.values.len().to_string())
                .collect();
            let found = format!("{} cases", sizes.join(" x "));
            return Err(Fault::at(FieldPath::of("sweep"), found)
                .allowed(format!("at most {MOST_CASES} cases")));
        }
        let mut choices: Vec<Choice<'_>> = vec![Vec::new()];
        for axis in &self.axes {
            choices = choices
                .iter()
                .flat_map(|choice| {
                    axis.values.iter().map(move |value| {
                        let mut longer = choice.clone();
                        longer.push((axis, value));
                        longer
                    })
                })
                .collect();
        }
        Ok(choices)
    }

    /// The sweep as the resolved spec shows it.
    pub fn resolved(&self) -> Option<Value> {
        if self.axes.is_empty() {
            return None;
        }
        let pair = |axis: &Axis| (axis.name.clone(), Value::Array(axis.values.clone()));
        Some(Value::Object(self.axes.iter().map(pair).collect()))
    }
}

/// A swept key as text that [`FieldPath::parse`] reads back: `model.features.0.count`.
fn dotted(path: &FieldPath) -> String {
    path.segments()
        .iter()
        .map(|segment| match segment {
            Segment::Key(key) => key.clone(),
            Segment::Index(index) => index.to_string(),
        })
        .collect::<Vec<_>>()
        .join(".")
}

/// A swept key: where it is written, which key it means, its values.
type Found = (FieldPath, FieldPath, Vec<Value>);

/// Collects the swept keys in `value`, which stands at `written`. Keys may be quoted ("a.b") or nested (a.b).
fn collect(
    root: &FieldPath,
    written: &FieldPath,
    value: &Value,
    found: &mut Vec<Found>,
) -> Result<(), Fault> {
    match value {
        Value::Object(table) => {
            for (key, inner) in table {
                collect(root, &written.key(key), inner, found)?;
            }
            Ok(())
        }
        Value::Array(values) if !values.is_empty() && written != root => {
            let path = target(&written.below(root))
                .map_err(|wrong| Fault::at(written.clone(), wrong).allowed(KEYS))?;
            if let Some(Segment::Key(first)) = path.segments().first()
                && (first == "name" || first == "sweep")
            {
                let found = format!("{first}, which cannot be swept");
                return Err(Fault::at(written.clone(), found).allowed(KEYS));
            }
            found.push((written.clone(), path, values.clone()));
            Ok(())
        }
        Value::Array(_) if written != root => {
            Err(Fault::at(written.clone(), "[]").allowed("at least one value"))
        }
        other => {
            let allowed = if written == root {
                "a table of dotted keys with non-empty arrays of values"
            } else {
                "a non-empty array of values"
            };
            Err(Fault::at(written.clone(), show(other)).allowed(allowed))
        }
    }
}

const KEYS: &str = "the dotted key of a spec, such as \"training.samples\"";

/// The key that a path below `sweep` means.
fn target(below: &FieldPath) -> Result<FieldPath, String> {
    let mut path = FieldPath::default();
    for segment in below.segments() {
        match segment {
            Segment::Key(key) => {
                for inner in FieldPath::parse(key)?.segments() {
                    path.push(inner.clone());
                }
            }
            index @ Segment::Index(_) => path.push(index.clone()),
        }
    }
    Ok(path)
}

/// The values of a case by swept key.
pub(super) fn assignments(choice: &Choice<'_>) -> BTreeMap<String, Value> {
    choice
        .iter()
        .map(|(axis, value)| (axis.name.clone(), axis.shown(value)))
        .collect()
}

/// The spec that all cases share: what they agree on, defaults included, and beside it whatever `written` says
/// itself. A default that differs from case to case stays open, so that reading the shared spec gives the same cases.
pub(super) fn shared(written: Option<&Value>, cases: &[&Value]) -> Option<Value> {
    let (first, others) = cases.split_first()?;
    if others.iter().all(|other| other == first) {
        return Some((*first).clone());
    }
    if let Some(tables) = all(cases, Value::as_object) {
        let mut keys: Vec<&String> = tables[0].keys().collect();
        let extra = written.and_then(Value::as_object).map(Map::keys);
        keys.extend(extra.into_iter().flatten());
        let mut table = Map::new();
        for key in keys {
            let written = written.and_then(|w| w.get(key));
            let inner: Option<Vec<&Value>> = tables.iter().map(|t| t.get(key)).collect();
            let value = match inner {
                Some(inner) => shared(written, &inner),
                None => written.cloned(),
            };
            if let Some(value) = value {
                table.insert(key.clone(), value);
            }
        }
        return Some(Value::Object(table));
    }
    if let Some(arrays) = all(cases, Value::as_array)
        && arrays
            .iter()
            .all(|a| a.len() == arrays[0].len() && a.iter().all(Value::is_object))
    {
        let items = (0..arrays[0].len()).map(|i| {
            let inner: Vec<&Value> = arrays.iter().map(|a| &a[i]).collect();
            shared(written.and_then(|w| w.get(i)), &inner)
        });
        return items.collect::<Option<Vec<_>>>().map(Value::Array);
    }
    written.cloned()
}

fn all<'v, T>(cases: &[&'v Value], view: impl Fn(&'v Value) -> Option<T>) -> Option<Vec<T>> {
    cases.iter().map(|case| view(case)).collect()
}
