//! What no crate gives in the form needed here: panel quadrature, accelerated fixed points, sequential dense linear
//! algebra on nalgebra storage, complex matrices, subspaces and the angles between them, the assignment problem, the normal distribution's
//! shorthand, random streams, low-discrepancy points, streaming quantiles, a stable hash, unordered pairs, symmetric
//! tridiagonal matrices, elementary functions and the error function for vector lanes.

pub mod anderson;
pub mod assignment;
pub mod complex;
pub mod elementary;
pub mod error_function;
pub mod exponential;
pub mod hash;
pub mod linalg;
pub mod low_discrepancy;
pub mod normal;
pub mod pairs;
pub mod panels;
pub mod random;
pub mod sketch;
pub mod subspace;
pub mod tridiagonal;
