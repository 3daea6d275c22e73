//! Exact differentiation.

use super::Expr;

impl Expr {
    /// The derivative with respect to a symbol, simplified.
    pub fn derivative(&self, symbol: &str) -> Self {
        slope(self, symbol).map_or(Self::Number(0.0), |e| e.simplify())
    }
}

/// The derivative; `None` where the symbol does not occur.
fn slope(e: &Expr, symbol: &str) -> Option<Expr> {
    match e {
        Expr::Number(_) | Expr::Constant(_) => None,
        Expr::Symbol(name) => (name == symbol).then_some(Expr::Number(1.0)),
        Expr::Sum(terms) => {
            let slopes: Vec<Expr> = terms.iter().filter_map(|t| slope(t, symbol)).collect();
            (!slopes.is_empty()).then_some(Expr::Sum(slopes))
        }
        Expr::Product(factors) => {
            let terms: Vec<Expr> = factors
                .iter()
                .enumerate()
                .filter_map(|(i, factor)| {
                    let mut factors = factors.clone();
                    factors[i] = slope(factor, symbol)?;
                    Some(Expr::Product(factors))
                })
                .collect();
            (!terms.is_empty()).then_some(Expr::Sum(terms))
        }
        Expr::Power(base, exponent) => power(base, exponent, symbol),
        Expr::Apply(function, argument) => {
            let inner = slope(argument, symbol)?;
            Some(function.derivative((**argument).clone()) * inner)
        }
    }
}

fn power(base: &Expr, exponent: &Expr, symbol: &str) -> Option<Expr> {
    use super::Function::Ln;
    let whole = || Expr::Power(Box::new(base.clone()), Box::new(exponent.clone()));
    // The exponent a constant: a b^(a-1) b'. It needs no logarithm, so it holds for negative bases too.
    let by_base = slope(base, symbol).map(|inner| {
        let lowered = exponent.clone() - Expr::Number(1.0);
        let rest = Expr::Power(Box::new(base.clone()), Box::new(lowered));
        exponent.clone() * rest * inner
    });
    let by_exponent =
        slope(exponent, symbol).map(|inner| whole() * Expr::apply(Ln, base.clone()) * inner);
    match (by_base, by_exponent) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
