//! Functions of one variable: their names, values and derivatives.

use super::Expr;

/// A real function of one real variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    Exp,
    /// Natural logarithm.
    Ln,
    Sqrt,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Erf,
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// exp(u) - 1 without cancellation at small u.
    ExpM1,
    /// ln(1 + u) without cancellation at small u.
    Log1p,
}

impl Function {
    pub const ALL: [Self; 17] = [
        Self::Exp,
        Self::Ln,
        Self::Sqrt,
        Self::Sin,
        Self::Cos,
        Self::Tan,
        Self::Asin,
        Self::Acos,
        Self::Atan,
        Self::Sinh,
        Self::Cosh,
        Self::Tanh,
        Self::Erf,
        Self::Abs,
        Self::Sign,
        Self::ExpM1,
        Self::Log1p,
    ];

    /// Name in expressions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Ln => "ln",
            Self::Sqrt => "sqrt",
            Self::Sin => "sin",
            Self::Cos => "cos",
            Self::Tan => "tan",
            Self::Asin => "asin",
            Self::Acos => "acos",
            Self::Atan => "atan",
            Self::Sinh => "sinh",
            Self::Cosh => "cosh",
            Self::Tanh => "tanh",
            Self::Erf => "erf",
            Self::Abs => "abs",
            Self::Sign => "sign",
            Self::ExpM1 => "expm1",
            Self::Log1p => "log1p",
        }
    }

    /// The function of that name; `log` is `ln`, and `Abs` (as SymPy writes it) is `abs`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "log" => Some(Self::Ln),
            "Abs" => Some(Self::Abs),
            _ => Self::ALL.into_iter().find(|f| f.name() == name),
        }
    }

    /// Its value; NaN outside the domain.
    pub fn value(self, u: f64) -> f64 {
        match self {
            Self::Exp => u.exp(),
            Self::Ln => u.ln(),
            Self::Sqrt => u.sqrt(),
            Self::Sin => u.sin(),
            Self::Cos => u.cos(),
            Self::Tan => u.tan(),
            Self::Asin => u.asin(),
            Self::Acos => u.acos(),
            Self::Atan => u.atan(),
            Self::Sinh => u.sinh(),
            Self::Cosh => u.cosh(),
            Self::Tanh => u.tanh(),
            Self::Erf => statrs::function::erf::erf(u),
            Self::Abs => u.abs(),
            Self::Sign if u == 0.0 => 0.0,
            Self::Sign => u.signum() * if u.is_nan() { f64::NAN } else { 1.0 },
            Self::ExpM1 => u.exp_m1(),
            Self::Log1p => u.ln_1p(),
        }
    }

    /// The derivative at `u`, as an expression. That of `abs` and `sign` holds away from 0.
    pub(super) fn derivative(self, u: Expr) -> Expr {
        let one = || Expr::from(1.0);
        let square = |f: Self, u: Expr| Expr::apply(f, u).pow(2.0);
        match self {
            Self::Exp | Self::ExpM1 => u.exp(),
            Self::Ln => one() / u,
            Self::Log1p => one() / (one() + u),
            Self::Sqrt => one() / (Expr::from(2.0) * u.sqrt()),
            Self::Sin => Expr::apply(Self::Cos, u),
            Self::Cos => -Expr::apply(Self::Sin, u),
            Self::Tan => one() + square(Self::Tan, u),
            Self::Asin => one() / (one() - u.pow(2.0)).sqrt(),
            Self::Acos => -(one() / (one() - u.pow(2.0)).sqrt()),
            Self::Atan => one() / (one() + u.pow(2.0)),
            Self::Sinh => Expr::apply(Self::Cosh, u),
            Self::Cosh => Expr::apply(Self::Sinh, u),
            // As 1/cosh^2 and not as 1 - tanh^2, which cancels where tanh is near 1.
            Self::Tanh => square(Self::Cosh, u).pow(-1.0),
            Self::Erf => Expr::from(2.0) * (-u.pow(2.0)).exp() / Expr::pi().sqrt(),
            Self::Abs => Expr::apply(Self::Sign, u),
            Self::Sign => Expr::from(0.0),
        }
    }
}
