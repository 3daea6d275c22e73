//! A derivation as a SymPy script.

use std::fmt::Write as _;

use super::document::{Derivation, Part};

/// Names that SymPy provides; symbols of the theory come after them and may reuse one (`beta`).
const HEADER: &str = "\
from sympy import Abs, Add, E, acos, asin, atan, cos, cosh, erf, exp, log, pi, sign, sin, sinh, sqrt
from sympy import symbols, sympify, tan, tanh

# Position and time; y and s are a second position and time, or the time at which a step ends.
x, t, y, s = symbols('x t y s', real=True)


def at(expression, values):
    \"\"\"An expression at given values: a number where nothing is left open.\"\"\"
    result = sympify(expression).subs(values)
    return float(result) if result.is_number else result
";

impl Derivation {
    /// A script that defines every closed form under its name; run it with `exec` or import it.
    pub fn sympy(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "# {}: formulas derived by vkernel.",
            one_line(&self.title)
        );
        if let Some(note) = &self.note {
            let _ = writeln!(out, "# {}", one_line(note));
        }
        out.push_str(HEADER);
        for section in &self.sections {
            let _ = write!(out, "\n# {}\n", section.title);
            for part in &section.parts {
                let _ = writeln!(out, "{}", part_sympy(part));
            }
        }
        out
    }
}

fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

fn part_sympy(part: &Part) -> String {
    match part {
        Part::Text(text) => format!("# {}", one_line(text)),
        Part::Formula(formula) => format!("# {}", formula.text),
        Part::Definition(d) => format!("{} = {}", d.name, d.value.sympy()),
        Part::List(list) => {
            let entries: Vec<String> = list
                .values
                .iter()
                .map(|v| format!("    {},\n", v.sympy()))
                .collect();
            format!("{} = [\n{}]", list.name, entries.concat())
        }
        Part::Script(lines) => lines.clone(),
    }
}
