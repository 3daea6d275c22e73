//! What kernels are made of, and what is wrong with some of them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::symbolic::{Expr, UnknownSymbol};

/// Lengths, scales and the like must lie here: squares and their inverses stay finite.
const SMALLEST: f64 = 1e-150;
const LARGEST: f64 = 1e150;
/// Deepest network.
pub const DEEPEST: usize = 1000;

/// Why there is no such kernel.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum KernelError {
    #[error(
        "the kernel has {kernel} coordinates, its embedding {embedding}; both must be the same, at least 1"
    )]
    Dimension { kernel: usize, embedding: usize },
    #[error("the {name} is {value}; it must be a number from {SMALLEST:e} to {LARGEST:e}")]
    NotPositive { name: &'static str, value: f64 },
    #[error("the {name} is {value}; it must be a number from 0 to {LARGEST:e}")]
    Negative { name: &'static str, value: f64 },
    #[error("the network has {depth} hidden layers; it must have 1 to {DEEPEST}")]
    Depth { depth: usize },
    #[error("the power is {power}; it must be 1 to 64")]
    Power { power: u32 },
    #[error("the time embedding has {count} frequencies; it must have 1 to 10000")]
    Frequencies { count: usize },
    #[error("coordinate {index} (counted from 0) of a kernel of {dim}")]
    Coordinate { index: usize, dim: usize },
    #[error("a part of the kernel sees the time, which the embedding leaves out")]
    NoTime,
    #[error("an empty {kind} of kernels")]
    Empty { kind: &'static str },
    #[error("a kernel of a pair of numbers stands for one input, not for {inputs}")]
    Pair { inputs: usize },
    #[error(transparent)]
    Unknown(#[from] UnknownSymbol),
}

/// Activation of a network's hidden layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// max(0, z).
    Relu,
    Erf,
    /// z times the normal distribution function of z.
    Gelu,
}

/// A fully connected network in NTK parameterisation: every layer is z = weight_std/sqrt(fan_in) w h + bias_std b with w and b
/// standard normal and all trained, the output layer too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Architecture {
    /// Hidden layers, 1 to [`DEEPEST`].
    pub depth: usize,
    pub activation: Activation,
    /// > 0.
    pub weight_std: f64,
    /// >= 0.
    pub bias_std: f64,
}

/// Smoothness nu of a Matern kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Half,
    ThreeHalves,
    FiveHalves,
}

/// A kernel as an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Formula {
    /// In `r`, the distance.
    Distance(Expr),
    /// In `s`, the inner product.
    Dot(Expr),
    /// In `a` and `b`, the one input of either point. Symmetry is the writer's.
    Pair(Expr),
}

/// A kernel of two vectors of inputs u, v; r = |u - v|.
#[derive(Debug, Clone, PartialEq)]
pub enum Base {
    /// exp(-r^2/(2 length^2)).
    Rbf {
        length: f64,
    },
    /// exp(-r/length) times 1, 1 + q, 1 + q + q^2/3 with q = sqrt(2 nu) r/length.
    Matern {
        order: Order,
        length: f64,
    },
    /// (1 + r^2/(2 mixture length^2))^-mixture.
    RationalQuadratic {
        length: f64,
        mixture: f64,
    },
    /// (u.v + offset)^power.
    Dot {
        offset: f64,
        power: u32,
    },
    /// Covariance of an infinitely wide network's output at initialisation.
    Nngp(Architecture),
    /// Its neural tangent kernel.
    Ntk(Architecture),
    Expression(Formula),
}

/// The inputs that a kernel sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All coordinates.
    Space,
    /// One coordinate, from 0.
    Coordinate(usize),
    /// What the time gives.
    Time,
    All,
}

/// A kernel of (x, t) as a tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Leaf {
        base: Base,
        of: Part,
    },
    Sum(Vec<Node>),
    Product(Vec<Node>),
    /// A positive multiple.
    Scaled(f64, Box<Node>),
}

/// A number that must be positive, far from overflow.
pub(super) fn positive(name: &'static str, value: f64) -> Result<(), KernelError> {
    match (SMALLEST..=LARGEST).contains(&value) {
        true => Ok(()),
        false => Err(KernelError::NotPositive { name, value }),
    }
}

fn not_negative(name: &'static str, value: f64) -> Result<(), KernelError> {
    match (0.0..=LARGEST).contains(&value) {
        true => Ok(()),
        false => Err(KernelError::Negative { name, value }),
    }
}

impl Architecture {
    pub(in crate::family) fn check(&self) -> Result<(), KernelError> {
        if self.depth == 0 || self.depth > DEEPEST {
            return Err(KernelError::Depth { depth: self.depth });
        }
        positive("standard deviation of the weights", self.weight_std)?;
        not_negative("standard deviation of the biases", self.bias_std)
    }
}

impl Base {
    /// For a part of `inputs` inputs.
    pub(super) fn check(&self, inputs: usize) -> Result<(), KernelError> {
        match self {
            Self::Rbf { length } | Self::Matern { length, .. } => positive("length", *length),
            Self::RationalQuadratic { length, mixture } => {
                positive("length", *length)?;
                positive("mixture", *mixture)
            }
            Self::Dot { power, .. } if !(1..=64).contains(power) => {
                Err(KernelError::Power { power: *power })
            }
            Self::Dot { offset, .. } => not_negative("offset", *offset),
            Self::Nngp(architecture) | Self::Ntk(architecture) => architecture.check(),
            Self::Expression(Formula::Pair(_)) if inputs != 1 => Err(KernelError::Pair { inputs }),
            Self::Expression(_) => Ok(()),
        }
    }
}
