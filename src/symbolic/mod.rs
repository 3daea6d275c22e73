//! Formulas as data: parsed, differentiated exactly, simplified, evaluated fast and printed.
//!
//! A spec may give schedules, weightings and features as expressions; the same type carries the formulas that
//! `vkernel derive` prints. Everything is real and in double precision: [`Expr`] is the tree, [`parse`] reads one,
//! [`Tape`] evaluates many at once, and [`Expr::text`], [`Expr::latex`] and [`Expr::sympy`] print.
//!
//! ```
//! use vkernel::symbolic::{Tape, parse};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sigma = parse("sqrt(1 - exp(-2*t))", &["t"])?;
//! let slope = sigma.derivative("t");
//! assert_eq!(slope.text(), "exp(-2*t)/sqrt(1 - exp(-2*t))");
//! let tape = Tape::new(&[sigma * slope], &["t"])?;
//! assert!((tape.value(&[0.3]) - (-0.6_f64).exp()).abs() < 1e-15);
//! # Ok(())
//! # }
//! ```

mod derivative;
mod expr;
mod function;
mod latex;
mod parse;
mod print;
mod simplify;
mod tape;

pub use expr::{Constant, Expr};
pub use function::Function;
pub use latex::latex_symbol;
pub use parse::{ParseError, parse};
pub use tape::{Tape, UnknownSymbol};
