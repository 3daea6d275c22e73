//! What no crate gives in the form needed here: panel quadrature, sequential dense linear algebra on nalgebra
//! storage, the normal distribution's shorthand, streaming quantiles, a stable hash.

pub mod anderson;
pub mod hash;
pub mod linalg;
pub mod normal;
pub mod panels;
pub mod random;
pub mod sketch;
