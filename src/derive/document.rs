//! What a derivation consists of, whatever it is printed as.

use crate::symbolic::Expr;

/// The formulas of one experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Derivation {
    /// Name of the experiment.
    pub title: String,
    /// Which case of a sweep this is.
    pub note: Option<String>,
    pub sections: Vec<Section>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    pub title: String,
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Plain sentences.
    Text(String),
    /// A formula that is no closed form: with indices, averages, integrals.
    Formula(Formula),
    Definition(Definition),
    List(List),
    /// Lines that only the SymPy script has.
    Script(String),
}

/// A formula in both notations.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula {
    pub text: String,
    pub latex: String,
}

/// name(arguments) = value. The value may use the names defined before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub name: String,
    pub arguments: &'static [&'static str],
    pub value: Expr,
}

/// name\[i\](arguments) = values\[i\], i from 0.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    pub name: String,
    pub arguments: &'static [&'static str],
    pub values: Vec<Expr>,
}

impl Part {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn formula(text: impl Into<String>, latex: impl Into<String>) -> Self {
        Self::Formula(Formula {
            text: text.into(),
            latex: latex.into(),
        })
    }

    pub(super) fn define(name: &str, arguments: &'static [&'static str], value: &Expr) -> Self {
        Self::Definition(Definition {
            name: name.to_owned(),
            arguments,
            value: value.simplify(),
        })
    }
}

/// A symbol.
pub(super) fn s(name: &str) -> Expr {
    Expr::symbol(name)
}

/// A number.
pub(super) fn n(value: f64) -> Expr {
    Expr::from(value)
}
