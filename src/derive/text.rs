//! A derivation as text.

use std::fmt::Write as _;

use super::document::{Derivation, List, Part};

/// Entries of a list that are printed at either end when it is long.
const SHOWN: usize = 3;
/// Longest list that is printed whole.
const WHOLE: usize = 12;

impl Derivation {
    /// The derivation as plain text.
    pub fn text(&self) -> String {
        let mut out = format!(
            "{}\n{}\n",
            self.title,
            "=".repeat(self.title.chars().count())
        );
        if let Some(note) = &self.note {
            let _ = write!(out, "\n{}\n", wrap(note));
        }
        for (i, section) in self.sections.iter().enumerate() {
            let title = format!("{}. {}", i + 1, section.title);
            let _ = write!(out, "\n{title}\n{}\n", "-".repeat(title.chars().count()));
            for part in &section.parts {
                if let Some(text) = part_text(part) {
                    let _ = write!(out, "\n{text}\n");
                }
            }
        }
        out
    }
}

fn part_text(part: &Part) -> Option<String> {
    match part {
        Part::Text(text) => Some(wrap(text)),
        Part::Formula(formula) => Some(format!("  {}", formula.text)),
        Part::Definition(d) => Some(format!(
            "  {}({}) = {}",
            d.name,
            d.arguments.join(", "),
            d.value
        )),
        Part::List(list) => Some(list_text(list)),
        Part::Script(_) => None,
    }
}

/// Places of the entries that are shown; `None` stands for those left out.
pub(super) fn shown(length: usize) -> Vec<Option<usize>> {
    if length <= WHOLE {
        return (0..length).map(Some).collect();
    }
    let first = (0..SHOWN).map(Some);
    first.chain([None, Some(length - 1)]).collect()
}

fn list_text(list: &List) -> String {
    let arguments = list.arguments.join(", ");
    let line = |i: Option<usize>| match i {
        Some(i) => format!("  {}[{i}]({arguments}) = {}", list.name, list.values[i]),
        None => "  ... (the SymPy form has them all)".to_owned(),
    };
    let lines: Vec<String> = shown(list.values.len()).into_iter().map(line).collect();
    lines.join("\n")
}

/// Lines of at most 100 characters.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 100 {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
    }
    out
}
