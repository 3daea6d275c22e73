//! A derivation as a LaTeX document.

use std::fmt::Write as _;

use super::document::{Derivation, Part};
use super::text::shown;
use crate::symbolic::latex_symbol;

impl Derivation {
    /// A complete document (amsmath). Every formula stands between `\[` and `\]` on lines of their own.
    pub fn latex(&self) -> String {
        let mut out = String::from(
            "\\documentclass{article}\n\\usepackage{amsmath,amssymb}\n\\usepackage[a3paper,landscape,margin=2cm]{geometry}\n\\allowdisplaybreaks\n",
        );
        let _ = write!(
            out,
            "\\title{{{}}}\n\\date{{}}\n\\begin{{document}}\n\\maketitle\n",
            escape(&self.title)
        );
        if let Some(note) = &self.note {
            let _ = write!(out, "\n{}\n", escape(note));
        }
        for section in &self.sections {
            let _ = write!(out, "\n\\section{{{}}}\n", escape(&section.title));
            for part in &section.parts {
                out.push_str(&part_latex(part));
            }
        }
        out.push_str("\n\\end{document}\n");
        out
    }
}

fn display(math: &str) -> String {
    format!("\\[\n{math}\n\\]\n")
}

fn part_latex(part: &Part) -> String {
    match part {
        Part::Text(text) => format!("\n{}\n", escape(text)),
        Part::Formula(formula) => display(&formula.latex),
        Part::Definition(d) => {
            let arguments: Vec<String> = d.arguments.iter().map(|a| latex_symbol(a)).collect();
            let name = latex_symbol(&d.name);
            display(&format!(
                "{name}({}) = {}",
                arguments.join(", "),
                d.value.latex()
            ))
        }
        Part::List(list) => {
            let arguments: Vec<String> = list.arguments.iter().map(|a| latex_symbol(a)).collect();
            let arguments = arguments.join(", ");
            shown(list.values.len())
                .into_iter()
                .map(|i| match i {
                    Some(i) => {
                        let name = latex_symbol(&format!("{}_{i}", list.name));
                        display(&format!("{name}({arguments}) = {}", list.values[i].latex()))
                    }
                    None => display("\\vdots"),
                })
                .collect()
        }
        Part::Script(_) => String::new(),
    }
}

/// Plain text with LaTeX's own characters made harmless.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}
