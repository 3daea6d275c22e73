//! Printing as LaTeX.

use super::print::{Binding, fraction, number, signed_sum};
use super::{Constant, Expr, Function};

const GREEK: [&str; 23] = [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega", "Theta",
];

impl Expr {
    /// The expression as LaTeX for math mode.
    pub fn latex(&self) -> String {
        print(self).0
    }
}

/// A symbol's name as LaTeX: greek letters by their commands, what follows `_` and trailing digits as subscripts.
pub fn latex_symbol(name: &str) -> String {
    if let Some((base, index)) = name.split_once('_')
        && !base.is_empty()
        && !index.is_empty()
    {
        let parts: Vec<String> = index.split('_').map(latex_symbol).collect();
        return format!("{}_{{{}}}", latex_symbol(base), parts.join(","));
    }
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if !letters.is_empty() && letters.len() < name.len() {
        return format!("{}_{{{}}}", latex_symbol(letters), &name[letters.len()..]);
    }
    if GREEK.contains(&name) {
        format!("\\{name}")
    } else if name.chars().count() > 1 && !name.chars().all(|c| c.is_ascii_digit()) {
        format!("\\mathrm{{{}}}", name.replace('_', "\\_"))
    } else {
        name.to_owned()
    }
}

/// A number as LaTeX, powers of ten written out.
fn latex_number(n: f64) -> (String, Binding) {
    let digits = number(n);
    match digits.split_once('e') {
        Some((mantissa, exponent)) => (
            format!("{mantissa} \\cdot 10^{{{exponent}}}"),
            Binding::Product,
        ),
        None => (digits, Binding::Atom),
    }
}

fn print(e: &Expr) -> (String, Binding) {
    match e {
        Expr::Number(n) if *n < 0.0 => (format!("-{}", latex_number(-n).0), Binding::Sum),
        Expr::Number(n) => latex_number(*n),
        Expr::Constant(Constant::Pi) => ("\\pi".to_owned(), Binding::Atom),
        Expr::Constant(Constant::E) => ("\\mathrm{e}".to_owned(), Binding::Atom),
        Expr::Symbol(name) => (latex_symbol(name), Binding::Atom),
        Expr::Sum(terms) => (
            signed_sum(terms, |term| inside(term, Binding::Product)),
            Binding::Sum,
        ),
        Expr::Product(factors) => product(factors),
        Expr::Power(_, exponent) if matches!(**exponent, Expr::Number(n) if n < 0.0) => {
            product(std::slice::from_ref(e))
        }
        Expr::Power(base, exponent) => {
            let text = format!("{}^{{{}}}", base_of_power(base), print(exponent).0);
            (text, Binding::Power)
        }
        Expr::Apply(function, argument) => apply(*function, argument),
    }
}

fn parentheses(text: &str) -> String {
    format!("\\left({text}\\right)")
}

fn inside(e: &Expr, least: Binding) -> String {
    let (text, binding) = print(e);
    if binding >= least {
        text
    } else {
        parentheses(&text)
    }
}

/// Subscripts and superscripts of one symbol stand together; everything else that is no plain atom is enclosed.
fn base_of_power(base: &Expr) -> String {
    match base {
        Expr::Number(_) | Expr::Constant(_) | Expr::Symbol(_) => inside(base, Binding::Atom),
        other => parentheses(&print(other).0),
    }
}

fn product(factors: &[Expr]) -> (String, Binding) {
    let (negative, above, below) = fraction(factors);
    let chain = |factors: &[Expr]| -> String {
        // One factor alone in a fraction needs no parentheses.
        let least = if factors.len() == 1 && !below.is_empty() {
            Binding::Sum
        } else {
            Binding::Product
        };
        let mut text = String::new();
        for factor in factors {
            let part = inside(factor, least);
            if !text.is_empty() {
                let digits = part.starts_with(|c: char| c.is_ascii_digit());
                text.push_str(if digits { " \\cdot " } else { " \\, " });
            }
            text.push_str(&part);
        }
        text
    };
    let above = if above.is_empty() {
        "1".to_owned()
    } else {
        chain(&above)
    };
    let text = if below.is_empty() {
        above
    } else {
        format!("\\frac{{{above}}}{{{}}}", chain(&below))
    };
    if negative {
        (format!("-{text}"), Binding::Sum)
    } else {
        (text, Binding::Product)
    }
}

fn apply(function: Function, argument: &Expr) -> (String, Binding) {
    let text = print(argument).0;
    let enclosed = parentheses(&text);
    let name = match function {
        // Tall exponents are hard to read.
        Function::Exp if text.contains("\\frac") => "\\exp",
        Function::Exp => return (format!("\\mathrm{{e}}^{{{text}}}"), Binding::Power),
        Function::ExpM1 => {
            return (
                format!("\\left(\\mathrm{{e}}^{{{text}}} - 1\\right)"),
                Binding::Atom,
            );
        }
        Function::Sqrt => return (format!("\\sqrt{{{text}}}"), Binding::Atom),
        Function::Abs => return (format!("\\left|{text}\\right|"), Binding::Atom),
        Function::Log1p => {
            return (
                format!(
                    "\\ln\\left(1 + {}\\right)",
                    inside(argument, Binding::Product)
                ),
                Binding::Product,
            );
        }
        Function::Ln => "\\ln",
        Function::Sin => "\\sin",
        Function::Cos => "\\cos",
        Function::Tan => "\\tan",
        Function::Asin => "\\arcsin",
        Function::Acos => "\\arccos",
        Function::Atan => "\\arctan",
        Function::Sinh => "\\sinh",
        Function::Cosh => "\\cosh",
        Function::Tanh => "\\tanh",
        Function::Erf => "\\operatorname{erf}",
        Function::Sign => "\\operatorname{sign}",
    };
    (format!("{name}{enclosed}"), Binding::Product)
}
