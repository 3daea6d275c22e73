//! The family of low-rank mixtures whose bases are learned from a data set (Wang et al., arXiv 2409.02426).

use super::Assignment;

/// K subspaces of given ranks, learned; every model of the family is a [`super::LowRank`].
#[derive(Debug, Clone, PartialEq)]
pub struct SubspaceFamily {
    /// d_k.
    pub ranks: Vec<usize>,
    /// pi_k, which are not learned.
    pub weights: Vec<f64>,
    pub assignment: Assignment,
    pub protocol: SubspaceTraining,
}

/// How the bases are learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubspaceTraining {
    pub points: CleanPoints,
    pub fit: SubspaceFit,
    /// Random starts besides the spectral one; the best result is kept.
    pub restarts: usize,
}

/// The clean points of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanPoints {
    /// N of all, drawn from the data distribution.
    Total(usize),
    /// N_k drawn from every component of the data.
    PerSubspace(usize),
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubspaceFit {
    /// The squared length outside the subspaces, by Lloyd's iteration; for K = 1 the DSM loss itself.
    KSubspaces,
    /// The DSM loss, by descent on the Stiefel manifold, with so many pairs of opposite noises per clean point and time.
    Gradient { pairs: usize },
}
