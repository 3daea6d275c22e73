//! Expressions, what a spec builds of them, and the formulas that `derive` prints.

mod algebra;
mod derive;
mod written;
