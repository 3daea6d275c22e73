//! Printing: as text that [`super::parse`] reads again, and as SymPy.

use super::tape::without_sign;
use super::{Constant, Expr, Function};

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Text,
    SymPy,
}

/// How tightly a printed expression holds together.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(super) enum Binding {
    Sum,
    Product,
    Power,
    Atom,
}

impl Expr {
    /// The expression as the parser reads it.
    pub fn text(&self) -> String {
        print(self, Style::Text).0
    }

    /// The expression as SymPy reads it; `expm1` and `log1p`, which it lacks, are written out.
    pub fn sympy(&self) -> String {
        print(self, Style::SymPy).0
    }
}

impl std::fmt::Display for Expr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

/// The shortest digits that give the number back.
pub(super) fn number(n: f64) -> String {
    if n.fract() == 0.0 && n.abs() < 1e15 {
        format!("{n:.0}")
    } else {
        format!("{n:?}")
    }
}

fn print(e: &Expr, style: Style) -> (String, Binding) {
    match e {
        Expr::Number(n) if *n < 0.0 => (number(*n), Binding::Sum),
        Expr::Number(n) => (number(*n), Binding::Atom),
        Expr::Constant(Constant::E) if style == Style::SymPy => ("E".to_owned(), Binding::Atom),
        Expr::Constant(c) => (c.name().to_owned(), Binding::Atom),
        Expr::Symbol(name) => (name.clone(), Binding::Atom),
        Expr::Sum(terms) => (
            signed_sum(terms, |term| inside(term, Binding::Product, style)),
            Binding::Sum,
        ),
        Expr::Product(factors) => product(factors, style),
        Expr::Power(_, exponent) if matches!(**exponent, Expr::Number(n) if n < 0.0) => {
            product(std::slice::from_ref(e), style)
        }
        Expr::Power(base, exponent) => (power(base, exponent, style), Binding::Power),
        Expr::Apply(function, argument) => apply(*function, argument, style),
    }
}

/// The expression in parentheses unless it binds at least as tightly as asked.
fn inside(e: &Expr, least: Binding, style: Style) -> String {
    let (text, binding) = print(e, style);
    if binding >= least {
        text
    } else {
        format!("({text})")
    }
}

/// A term with a plus comes first, if there is one.
fn in_reading_order(terms: &[Expr]) -> Vec<(bool, Expr)> {
    let mut signed: Vec<(bool, Expr)> = terms.iter().map(without_sign).collect();
    if let Some(first) = signed.iter().position(|(negative, _)| !negative) {
        signed[..=first].rotate_right(1);
    }
    signed
}

/// The terms with their signs between them, each printed by `inside`.
pub(super) fn signed_sum(terms: &[Expr], inside: impl Fn(&Expr) -> String) -> String {
    let mut text = String::new();
    for (i, (negative, term)) in in_reading_order(terms).into_iter().enumerate() {
        text.push_str(match (i, negative) {
            (0, false) => "",
            (0, true) => "-",
            (_, false) => " + ",
            (_, true) => " - ",
        });
        text.push_str(&inside(&term));
    }
    if text.is_empty() {
        "0".to_owned()
    } else {
        text
    }
}

/// Sign, factors above and factors below the line of a product.
pub(super) fn fraction(factors: &[Expr]) -> (bool, Vec<Expr>, Vec<Expr>) {
    let (mut negative, mut above, mut below) = (false, Vec::new(), Vec::new());
    for factor in factors {
        match factor {
            Expr::Number(n) if *n < 0.0 && above.is_empty() => {
                negative = !negative;
                if *n != -1.0 {
                    above.push(Expr::Number(-n));
                }
            }
            Expr::Power(base, exponent) => match **exponent {
                Expr::Number(-1.0) => below.push((**base).clone()),
                Expr::Number(n) if n < 0.0 => below.push((**base).clone().pow(-n)),
                _ => above.push(factor.clone()),
            },
            other => above.push(other.clone()),
        }
    }
    (negative, above, below)
}

fn product(factors: &[Expr], style: Style) -> (String, Binding) {
    let (negative, above, below) = fraction(factors);
    let chain = |factors: &[Expr]| {
        let parts: Vec<String> = factors
            .iter()
            .map(|f| inside(f, Binding::Power, style))
            .collect();
        parts.join("*")
    };
    let mut text = if above.is_empty() {
        "1".to_owned()
    } else {
        chain(&above)
    };
    match below.len() {
        0 => {}
        1 => text = format!("{text}/{}", chain(&below)),
        _ => text = format!("{text}/({})", chain(&below)),
    }
    if negative {
        (format!("-{text}"), Binding::Sum)
    } else {
        (text, Binding::Product)
    }
}

fn power(base: &Expr, exponent: &Expr, style: Style) -> String {
    let operator = match style {
        Style::Text => "^",
        Style::SymPy => "**",
    };
    let base = inside(base, Binding::Atom, style);
    format!("{base}{operator}{}", inside(exponent, Binding::Atom, style))
}

fn apply(function: Function, argument: &Expr, style: Style) -> (String, Binding) {
    let text = print(argument, style).0;
    let name = match (style, function) {
        (Style::SymPy, Function::ExpM1) => return (format!("(exp({text}) - 1)"), Binding::Atom),
        (Style::SymPy, Function::Log1p) => return (format!("log(1 + ({text}))"), Binding::Atom),
        (Style::SymPy, Function::Ln) => "log",
        (Style::SymPy, Function::Abs) => "Abs",
        _ => function.name(),
    };
    (format!("{name}({text})"), Binding::Atom)
}
