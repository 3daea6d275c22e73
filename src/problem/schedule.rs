//! Functions of time that a spec writes as expressions: a forward process and a weighting.

use crate::symbolic::{Expr, Tape, UnknownSymbol};

/// A forward process given by alpha(t) and sigma(t). What follows from them by the general rule (T1) is formed
/// symbolically, so it is exact and as accurate as the expressions: sigma = sqrt(1 - exp(-2*t)) loses digits at small t,
/// sqrt(-expm1(-2*t)) does not.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    alpha: Expr,
    sigma: Expr,
    tapes: ScheduleTapes,
}

/// One tape each: the solvers ask for one quantity at a time.
#[derive(Debug, Clone, PartialEq)]
struct ScheduleTapes {
    alpha: Tape,
    sigma: Tape,
    sigma2: Tape,
    alpha_prime: Tape,
    sigma_sigma_prime: Tape,
    beta: Tape,
}

impl Schedule {
    /// The process of two expressions in the symbol `t`.
    pub fn new(alpha: &Expr, sigma: &Expr) -> Result<Self, UnknownSymbol> {
        let (alpha, sigma) = (alpha.simplify(), sigma.simplify());
        let sigma2 = sigma.clone().pow(2.0).simplify();
        let half_slope = (Expr::from(0.5) * sigma2.derivative("t")).simplify();
        let alpha_prime = alpha.derivative("t");
        let beta = (-(alpha_prime.clone() / alpha.clone())).simplify();
        let tape = |e: &Expr| Tape::new(std::slice::from_ref(e), &["t"]);
        Ok(Self {
            tapes: ScheduleTapes {
                alpha: tape(&alpha)?,
                sigma: tape(&sigma)?,
                sigma2: tape(&sigma2)?,
                alpha_prime: tape(&alpha_prime)?,
                sigma_sigma_prime: tape(&half_slope)?,
                beta: tape(&beta)?,
            },
            alpha,
            sigma,
        })
    }

    /// alpha as an expression in `t`.
    pub fn alpha_expression(&self) -> &Expr {
        &self.alpha
    }

    /// sigma as an expression in `t`.
    pub fn sigma_expression(&self) -> &Expr {
        &self.sigma
    }

    pub(super) fn alpha(&self, t: f64) -> f64 {
        self.tapes.alpha.value(&[t])
    }

    pub(super) fn sigma(&self, t: f64) -> f64 {
        self.tapes.sigma.value(&[t])
    }

    pub(super) fn sigma2(&self, t: f64) -> f64 {
        self.tapes.sigma2.value(&[t])
    }

    pub(super) fn alpha_prime(&self, t: f64) -> f64 {
        self.tapes.alpha_prime.value(&[t])
    }

    pub(super) fn sigma_sigma_prime(&self, t: f64) -> f64 {
        self.tapes.sigma_sigma_prime.value(&[t])
    }

    pub(super) fn beta(&self, t: f64) -> f64 {
        self.tapes.beta.value(&[t])
    }
}

/// A weight on the squared error of the predicted quantity, as an expression in `t`, `alpha` and `sigma`.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeWeight {
    weight: Expr,
    tape: Tape,
}

impl TimeWeight {
    /// What the expression may depend on.
    pub const VARIABLES: [&str; 3] = ["t", "alpha", "sigma"];

    pub fn new(weight: &Expr) -> Result<Self, UnknownSymbol> {
        let weight = weight.simplify();
        Ok(Self {
            tape: Tape::new(std::slice::from_ref(&weight), &Self::VARIABLES)?,
            weight,
        })
    }

    /// The weight as an expression in [`Self::VARIABLES`].
    pub fn expression(&self) -> &Expr {
        &self.weight
    }

    /// Its value at time t, where the process has the given alpha and sigma.
    pub fn value(&self, t: f64, alpha: f64, sigma: f64) -> f64 {
        self.tape.value(&[t, alpha, sigma])
    }
}
