//! Canonical sums and products.
//!
//! The value is kept wherever the original has one. The simplified expression may have a value where the original has
//! none (x/x is 1 at x = 0 too). Rounding may differ.

use super::{Expr, Function};

impl Expr {
    /// Like terms and like factors collected in a fixed order, numbers folded, trivial parts removed.
    #[must_use]
    pub fn simplify(&self) -> Self {
        // What merges on one level can open another merger below it; a few passes find them.
        const PASSES: usize = 4;
        let mut last = self.pass();
        for _ in 1..PASSES {
            let next = last.pass();
            if next == last {
                break;
            }
            last = next;
        }
        last
    }

    /// One pass from the leaves up.
    fn pass(&self) -> Self {
        match self {
            Self::Number(_) | Self::Constant(_) | Self::Symbol(_) => self.clone(),
            Self::Sum(terms) => sum(terms.iter().map(Self::pass).collect()),
            Self::Product(factors) => product(factors.iter().map(Self::pass).collect()),
            Self::Power(base, exponent) => power(base.pass(), exponent.pass()),
            Self::Apply(function, argument) => apply(*function, argument.pass()),
        }
    }
}

/// The sum of simplified terms.
fn sum(terms: Vec<Expr>) -> Expr {
    let plain = collect(flatten(terms));
    let Expr::Sum(terms) = &plain else {
        return plain;
    };
    // Multiplying c (a + b) out pays where something then cancels or merges.
    let mut opened = Vec::new();
    for term in terms {
        let (c, rest) = split(term.clone());
        match rest {
            Expr::Sum(inner) => opened.extend(inner.into_iter().map(|e| scale(c, e))),
            rest => opened.push(scale(c, rest)),
        }
    }
    if opened.len() == terms.len() {
        return plain;
    }
    let opened = collect(opened);
    if opened.size() <= plain.size() {
        opened
    } else {
        plain
    }
}

fn flatten(terms: Vec<Expr>) -> Vec<Expr> {
    let mut flat = Vec::with_capacity(terms.len());
    for term in terms {
        match term {
            Expr::Sum(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    flat
}

/// Adds the coefficients of equal terms.
fn collect(terms: Vec<Expr>) -> Expr {
    let mut parts: Vec<(f64, Expr)> = terms.into_iter().map(split).collect();
    // Stable: numbers are added in the order in which they were written.
    parts.sort_by(|a, b| a.1.order(&b.1));
    let mut merged: Vec<(f64, Expr)> = Vec::with_capacity(parts.len());
    for (c, rest) in parts {
        match merged.last_mut() {
            Some((total, last)) if *last == rest && (*total + c).is_finite() => *total += c,
            _ => merged.push((c, rest)),
        }
    }
    let mut terms: Vec<Expr> = merged
        .into_iter()
        .filter(|(c, _)| *c != 0.0)
        .map(|(c, rest)| scale(c, rest))
        .collect();
    match terms.len() {
        0 => Expr::Number(0.0),
        1 => terms.remove(0),
        _ => Expr::Sum(terms),
    }
}

/// A simplified term as coefficient and rest.
fn split(term: Expr) -> (f64, Expr) {
    match term {
        Expr::Number(n) => (n, Expr::Number(1.0)),
        Expr::Product(mut factors) => match factors[0] {
            Expr::Number(n) => {
                factors.remove(0);
                (n, unwrap_product(factors))
            }
            _ => (1.0, Expr::Product(factors)),
        },
        other => (1.0, other),
    }
}

/// The inverse of [`split`].
fn scale(c: f64, rest: Expr) -> Expr {
    if rest.is_number(1.0) {
        return Expr::Number(c);
    }
    if c == 1.0 {
        return rest;
    }
    let (inner, rest) = split(rest);
    let c = Expr::Number(if (c * inner).is_finite() {
        c * inner
    } else {
        c
    });
    match rest {
        rest if c.is_number(1.0) => rest,
        rest if rest.is_number(1.0) => c,
        Expr::Product(mut factors) => {
            factors.insert(0, c);
            Expr::Product(factors)
        }
        other => Expr::Product(vec![c, other]),
    }
}

fn unwrap_product(mut factors: Vec<Expr>) -> Expr {
    match factors.len() {
        0 => Expr::Number(1.0),
        1 => factors.remove(0),
        _ => Expr::Product(factors),
    }
}

/// Factors by kind.
#[derive(Default)]
struct Factors {
    numbers: Vec<f64>,
    /// Arguments of exponentials: exp(a) exp(b) = exp(a + b).
    exponents: Vec<Expr>,
    /// Bases with their numeric exponents.
    powers: Vec<(Expr, f64)>,
}

impl Factors {
    fn push(&mut self, factor: Expr) {
        match factor {
            Expr::Product(inner) => inner.into_iter().for_each(|f| self.push(f)),
            Expr::Number(n) => self.numbers.push(n),
            Expr::Apply(Function::Exp, argument) => self.exponents.push(*argument),
            Expr::Apply(Function::Sqrt, argument) => self.powers.push((*argument, 0.5)),
            Expr::Power(base, exponent) => match (*base, *exponent) {
                (Expr::Apply(Function::Sqrt, argument), Expr::Number(n)) => {
                    self.powers.push((*argument, 0.5 * n));
                }
                (base, Expr::Number(n)) => self.powers.push((base, n)),
                (base, exponent) => self
                    .powers
                    .push((Expr::Power(Box::new(base), Box::new(exponent)), 1.0)),
            },
            other => self.powers.push((other, 1.0)),
        }
    }
}

/// The product of simplified factors.
fn product(factors: Vec<Expr>) -> Expr {
    let mut sorted = Factors::default();
    for factor in factors {
        sorted.push(factor);
    }
    if sorted.numbers.contains(&0.0) {
        return Expr::Number(0.0);
    }
    sorted.powers.sort_by(|a, b| a.0.order(&b.0));
    let mut merged: Vec<(Expr, f64)> = Vec::with_capacity(sorted.powers.len());
    for (base, exponent) in sorted.powers {
        match merged.last_mut() {
            Some((last, total)) if *last == base => *total += exponent,
            _ => merged.push((base, exponent)),
        }
    }
    let (mut numbers, mut rest) = (sorted.numbers, Vec::with_capacity(merged.len()));
    for (base, exponent) in merged.into_iter().filter(|(_, e)| *e != 0.0) {
        match raise(base, exponent) {
            Expr::Number(n) => numbers.push(n),
            Expr::Product(inner) => {
                for factor in inner {
                    match factor {
                        Expr::Number(n) => numbers.push(n),
                        other => rest.push(other),
                    }
                }
            }
            other => rest.push(other),
        }
    }
    if !sorted.exponents.is_empty() {
        match apply(Function::Exp, sum(sorted.exponents)) {
            Expr::Number(n) => numbers.push(n),
            other => rest.push(other),
        }
    }
    let mut factors = fold_numbers(&numbers);
    factors.extend(rest);
    unwrap_product(factors)
}

/// Multiplies the numbers up; one that would overflow or underflow stays beside the others. A factor 1 is dropped.
fn fold_numbers(numbers: &[f64]) -> Vec<Expr> {
    let mut folded: Vec<f64> = Vec::new();
    for &n in numbers {
        match folded.last_mut() {
            Some(last) if (*last * n).is_normal() => *last *= n,
            _ => folded.push(n),
        }
    }
    folded.retain(|n| *n != 1.0);
    folded.into_iter().map(Expr::Number).collect()
}

/// base^exponent for a base that is itself no power with a numeric exponent; half-integers as powers of a root.
fn raise(base: Expr, exponent: f64) -> Expr {
    if exponent == 1.0 {
        return base;
    }
    if exponent.fract() != 0.0 && (2.0 * exponent).fract() == 0.0 {
        let root = apply(Function::Sqrt, base);
        return match 2.0 * exponent {
            1.0 => root,
            n => power(root, Expr::Number(n)),
        };
    }
    power(base, Expr::Number(exponent))
}

/// A power of simplified parts.
fn power(base: Expr, exponent: Expr) -> Expr {
    let Expr::Number(n) = exponent else {
        return match base {
            Expr::Number(1.0) => base,
            Expr::Constant(super::Constant::E) => apply(Function::Exp, exponent),
            // An exponential is positive: (exp u)^v = exp(u v).
            Expr::Apply(Function::Exp, u) => apply(Function::Exp, product(vec![*u, exponent])),
            base => Expr::Power(Box::new(base), Box::new(exponent)),
        };
    };
    if n == 0.0 {
        return Expr::Number(1.0);
    }
    if n == 1.0 {
        return base;
    }
    let whole = n.fract() == 0.0;
    match base {
        Expr::Number(b) if b.powf(n).is_normal() => Expr::Number(b.powf(n)),
        Expr::Apply(Function::Exp, u) => apply(Function::Exp, product(vec![*u, Expr::Number(n)])),
        Expr::Constant(super::Constant::E) => apply(Function::Exp, Expr::Number(n)),
        Expr::Apply(Function::Sqrt, u) if (0.5 * n).fract() == 0.0 => {
            power(*u, Expr::Number(0.5 * n))
        }
        // Only whole powers may be moved inside: sqrt(x^2) is not x.
        Expr::Power(inner, outer) if whole => match *outer {
            Expr::Number(m) => raise(*inner, m * n),
            other => Expr::Power(inner, Box::new(product(vec![other, Expr::Number(n)]))),
        },
        Expr::Product(factors) if whole => product(
            factors
                .into_iter()
                .map(|f| power(f, Expr::Number(n)))
                .collect(),
        ),
        base if !whole && (2.0 * n).fract() == 0.0 => raise(base, n),
        base => Expr::Power(Box::new(base), Box::new(Expr::Number(n))),
    }
}

/// A function of a simplified argument.
fn apply(function: Function, argument: Expr) -> Expr {
    match (function, argument) {
        (Function::Ln, Expr::Apply(Function::Exp, u))
        | (Function::Exp, Expr::Apply(Function::Ln, u)) => *u,
        (Function::Ln, Expr::Constant(super::Constant::E)) => Expr::Number(1.0),
        (Function::Sqrt, Expr::Apply(Function::Exp, u)) => {
            apply(Function::Exp, product(vec![*u, Expr::Number(0.5)]))
        }
        (function, Expr::Number(n)) => match exact(function, n) {
            Some(value) => Expr::Number(value),
            None => Expr::apply(function, Expr::Number(n)),
        },
        (function, argument) => Expr::apply(function, argument),
    }
}

/// The value where it is a whole number without rounding (exp(0), sqrt(4), ...); others stay as they are written.
fn exact(function: Function, n: f64) -> Option<f64> {
    let value = function.value(n);
    let known = match function {
        Function::Abs | Function::Sign => true,
        Function::Sqrt => value.fract() == 0.0 && value * value == n,
        Function::Ln => n == 1.0,
        _ => n == 0.0 && value.fract() == 0.0,
    };
    (known && value.is_finite()).then_some(value)
}
