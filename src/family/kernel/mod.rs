//! Positive definite kernels of z = (x, t): what an infinitely wide network, or a kernel machine, generalises with.
//!
//! A [`Kernel`] is a tree ([`Node`]) of kernels on inputs: the coordinates, and what an [`Embedding`] makes of the time. It is
//! evaluated on blocks of points side by side; derivatives along x are exact. Derived in `derivations/20-kernels.md`.
//!
//! ```
//! use vkernel::family::kernel::{Base, Embedding, Kernel, Node, Part, TimeEmbedding};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let embedding = Embedding { dim: 1, time: TimeEmbedding::Raw, scale_inputs: None };
//! let space = Node::Leaf { base: Base::Rbf { length: 0.5 }, of: Part::Space };
//! let time = Node::Leaf { base: Base::Rbf { length: 0.2 }, of: Part::Time };
//! let kernel = Kernel::new(1, embedding, Node::Product(vec![space, time]))?;
//! let points = kernel.points(&[0.0, 0.3], &[0.1, 0.2]);
//! let mut gram = [0.0; 4];
//! kernel.gram(&points, &mut gram);
//! assert!((gram[1] - (-0.5_f64 * (0.36 + 0.25)).exp()).abs() < 1e-15);
//! # Ok(())
//! # }
//! ```

// Loops over lanes index several of them at once.
#![allow(clippy::needless_range_loop)]

mod definition;
mod elementary;
mod embedding;
mod evaluate;
mod lanes;
mod leaf;
mod leaf_points;
mod network;
mod tree;
mod written;

pub use definition::{
    Activation, Architecture, Base, DEEPEST, Formula, KernelError, Node, Order, Part,
};
pub use embedding::{Embedding, TimeEmbedding};

use definition::positive;
use leaf::Leaf;
use leaf_points::LeafPoints;
use tree::Tree;

/// A kernel on z = (x, t).
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    embedding: Embedding,
    node: Node,
    tree: Tree,
}

/// Points with what is computed once for each: inputs, norms, the diagonals of every layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    len: usize,
    leaves: Vec<LeafPoints>,
}

impl Points {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Kernel {
    /// A kernel in `dim` = D dimensions. Every number in it must make sense; whether an expression is positive definite shows only
    /// when a matrix of it is factorised.
    pub fn new(dim: usize, embedding: Embedding, node: Node) -> Result<Self, KernelError> {
        embedding.check(dim)?;
        let tree = Tree::new(&node, &embedding)?;
        Ok(Self {
            embedding,
            node,
            tree,
        })
    }

    /// D.
    pub fn dim(&self) -> usize {
        self.embedding.dim
    }

    /// What it sees of a point.
    pub fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    /// The tree as it was given.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Points of this kernel, n = `t.len()`; `x` has D n numbers, coordinate-major: `x[i * n + k]` is coordinate i of point k.
    pub fn points(&self, x: &[f64], t: &[f64]) -> Points {
        let (n, dim) = (t.len(), self.dim());
        let mut inputs = Vec::with_capacity(n * self.embedding.inputs());
        let mut point = vec![0.0; dim];
        for (k, t) in t.iter().enumerate() {
            for (i, p) in point.iter_mut().enumerate() {
                *p = x[i * n + k];
            }
            inputs.extend(self.embedding.embed(&point, *t));
        }
        let of = |leaf: &Leaf| leaf.points(&inputs, self.embedding.inputs());
        Points {
            len: n,
            leaves: self.tree.leaves.iter().map(of).collect(),
        }
    }

    /// Bytes of `n` points of this kernel; a Gram matrix of them has 8 n^2 more, which the caller allocates. At most `u64::MAX`.
    pub fn bytes(&self, n: usize) -> u64 {
        let numbers: usize = self.tree.leaves.iter().map(Leaf::numbers).sum();
        let rows = n.div_ceil(lanes::BLOCK).saturating_mul(lanes::BLOCK);
        let bytes = rows
            .saturating_mul(numbers)
            .saturating_mul(size_of::<f64>());
        bytes.try_into().unwrap_or(u64::MAX)
    }

    /// Length over which the kernel varies along a coordinate, for the choice of quadratures: the smallest among its parts. Networks
    /// and inner products count as of order one in their inputs. Infinite if nothing sees the coordinate.
    pub fn length_scale(&self, coordinate: usize) -> f64 {
        let seeing = self.tree.leaves.iter().filter(|l| l.sees(coordinate));
        seeing.map(|l| l.scale()).fold(f64::INFINITY, f64::min) / self.embedding.scale()
    }

    /// Time over which the kernel varies, likewise; of ln t where the embedding takes the logarithm.
    pub fn time_scale(&self) -> f64 {
        let seeing = self.tree.leaves.iter().filter(|l| l.sees_time());
        let length = seeing.map(|l| l.scale()).fold(f64::INFINITY, f64::min);
        match length.is_finite() {
            true => self.embedding.time_scale(length),
            false => f64::INFINITY,
        }
    }
}
