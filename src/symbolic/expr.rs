//! The expression tree.

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Function;

/// A named number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Constant {
    Pi,
    E,
}

impl Constant {
    pub fn value(self) -> f64 {
        match self {
            Self::Pi => std::f64::consts::PI,
            Self::E => std::f64::consts::E,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Pi => "pi",
            Self::E => "e",
        }
    }
}

/// A real expression. Differences are sums with a factor -1, quotients are products with a power -1.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// Finite.
    Number(f64),
    Constant(Constant),
    Symbol(String),
    Sum(Vec<Expr>),
    Product(Vec<Expr>),
    Power(Box<Expr>, Box<Expr>),
    Apply(Function, Box<Expr>),
}

impl Expr {
    pub fn symbol(name: &str) -> Self {
        Self::Symbol(name.to_owned())
    }

    pub fn pi() -> Self {
        Self::Constant(Constant::Pi)
    }

    pub fn apply(function: Function, argument: Self) -> Self {
        Self::Apply(function, Box::new(argument))
    }

    pub fn exp(self) -> Self {
        Self::apply(Function::Exp, self)
    }

    pub fn sqrt(self) -> Self {
        Self::apply(Function::Sqrt, self)
    }

    pub fn pow(self, exponent: f64) -> Self {
        Self::Power(Box::new(self), Box::new(Self::Number(exponent)))
    }

    /// Number of nodes.
    pub fn size(&self) -> usize {
        1 + match self {
            Self::Number(_) | Self::Constant(_) | Self::Symbol(_) => 0,
            Self::Sum(parts) | Self::Product(parts) => parts.iter().map(Self::size).sum(),
            Self::Power(base, exponent) => base.size() + exponent.size(),
            Self::Apply(_, argument) => argument.size(),
        }
    }

    /// Does the symbol occur?
    pub fn depends_on(&self, symbol: &str) -> bool {
        match self {
            Self::Number(_) | Self::Constant(_) => false,
            Self::Symbol(name) => name == symbol,
            Self::Sum(parts) | Self::Product(parts) => parts.iter().any(|p| p.depends_on(symbol)),
            Self::Power(base, exponent) => base.depends_on(symbol) || exponent.depends_on(symbol),
            Self::Apply(_, argument) => argument.depends_on(symbol),
        }
    }

    /// The expression with every occurrence of a symbol replaced.
    pub fn substitute(&self, symbol: &str, value: &Self) -> Self {
        let inside = |e: &Self| e.substitute(symbol, value);
        match self {
            Self::Number(_) | Self::Constant(_) => self.clone(),
            Self::Symbol(name) if name == symbol => value.clone(),
            Self::Symbol(_) => self.clone(),
            Self::Sum(parts) => Self::Sum(parts.iter().map(inside).collect()),
            Self::Product(parts) => Self::Product(parts.iter().map(inside).collect()),
            Self::Power(base, exponent) => {
                Self::Power(Box::new(inside(base)), Box::new(inside(exponent)))
            }
            Self::Apply(function, argument) => Self::apply(*function, inside(argument)),
        }
    }

    pub(super) fn is_number(&self, value: f64) -> bool {
        matches!(self, Self::Number(n) if *n == value)
    }

    /// A total order: numbers, constants, symbols, then what is built of them; a power stands beside its base.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let (base, exponent) = self.base_and_exponent();
        let (other_base, other_exponent) = other.base_and_exponent();
        base.order_of_bases(other_base)
            .then_with(|| match (exponent, other_exponent) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(a), Some(b)) => a.order(b),
            })
    }

    fn base_and_exponent(&self) -> (&Self, Option<&Self>) {
        match self {
            Self::Power(base, exponent) => (base, Some(exponent)),
            _ => (self, None),
        }
    }

    fn order_of_bases(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Constant(a), Self::Constant(b)) => a.cmp(b),
            (Self::Symbol(a), Self::Symbol(b)) => a.cmp(b),
            (Self::Sum(a), Self::Sum(b)) | (Self::Product(a), Self::Product(b)) => {
                order_of_lists(a, b)
            }
            (Self::Power(..), Self::Power(..)) => self.order(other),
            (Self::Apply(f, a), Self::Apply(g, b)) => f.cmp(g).then_with(|| a.order(b)),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Number(_) => 0,
            Self::Constant(_) => 1,
            Self::Symbol(_) => 2,
            Self::Power(..) => 3,
            Self::Product(_) => 4,
            Self::Apply(..) => 5,
            Self::Sum(_) => 6,
        }
    }
}

fn order_of_lists(a: &[Expr], b: &[Expr]) -> Ordering {
    a.iter()
        .zip(b)
        .map(|(a, b)| a.order(b))
        .find(|o| o.is_ne())
        .unwrap_or(a.len().cmp(&b.len()))
}

impl From<f64> for Expr {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl Add for Expr {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::Sum(vec![self, other])
    }
}

impl Sub for Expr {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::Sum(vec![self, -other])
    }
}

impl Mul for Expr {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::Product(vec![self, other])
    }
}

impl Div for Expr {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        Self::Product(vec![self, other.pow(-1.0)])
    }
}

impl Neg for Expr {
    type Output = Self;
    fn neg(self) -> Self {
        match self {
            Self::Number(n) => Self::Number(-n),
            other => Self::Product(vec![Self::Number(-1.0), other]),
        }
    }
}
