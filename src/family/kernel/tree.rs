//! Sums, products and multiples of kernels, evaluated on blocks of pairs.

use super::lanes::{BLOCK, Lane, Pairs, Slot};
use super::leaf::Leaf;
use super::{Embedding, KernelError, Node, positive};

/// The tree with its nodes in a row, children before their parents; the last is the root.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    pub leaves: Vec<Leaf>,
    nodes: Vec<Operation>,
}

/// Operands are nodes, or a leaf.
#[derive(Debug, Clone, PartialEq)]
enum Operation {
    Leaf(usize),
    Sum(Vec<usize>),
    Product(Vec<usize>),
    Scaled(f64, usize),
}

/// Room for one evaluation.
pub(super) struct Scratch {
    pub slots: Vec<Slot>,
    values: Vec<Lane>,
    /// Derivative of the root with respect to every node.
    rates: Vec<Lane>,
    /// The same with respect to every leaf.
    pub leaf_rates: Vec<Lane>,
}

impl Tree {
    pub(super) fn new(node: &Node, embedding: &Embedding) -> Result<Self, KernelError> {
        let mut tree = Self {
            leaves: Vec::new(),
            nodes: Vec::new(),
        };
        tree.add(node, embedding)?;
        Ok(tree)
    }

    fn add(&mut self, node: &Node, embedding: &Embedding) -> Result<usize, KernelError> {
        let all = |tree: &mut Self, kind, nodes: &[Node]| match nodes {
            [] => Err(KernelError::Empty { kind }),
            nodes => nodes.iter().map(|n| tree.add(n, embedding)).collect(),
        };
        let operation = match node {
            Node::Leaf { base, of } => {
                self.leaves.push(Leaf::new(base, *of, embedding)?);
                Operation::Leaf(self.leaves.len() - 1)
            }
            Node::Sum(nodes) => Operation::Sum(all(self, "sum", nodes)?),
            Node::Product(nodes) => Operation::Product(all(self, "product", nodes)?),
            Node::Scaled(factor, node) => {
                positive("scale", *factor)?;
                Operation::Scaled(*factor, self.add(node, embedding)?)
            }
        };
        self.nodes.push(operation);
        Ok(self.nodes.len() - 1)
    }

    pub(super) fn scratch(&self) -> Scratch {
        Scratch {
            slots: vec![Slot::ZERO; self.leaves.len()],
            values: vec![Lane::ZERO; self.nodes.len()],
            rates: vec![Lane::ZERO; self.nodes.len()],
            leaf_rates: vec![Lane::ZERO; self.leaves.len()],
        }
    }

    /// The kernel at a block of pairs; with `SLOPES`, the leaves' gradients and the derivatives with respect to them too.
    #[inline(always)]
    pub(super) fn evaluate<'s, const SLOPES: bool>(
        &self,
        pairs: &Pairs,
        scratch: &'s mut Scratch,
    ) -> &'s Lane {
        for (index, (leaf, slot)) in self.leaves.iter().zip(&mut scratch.slots).enumerate() {
            leaf.evaluate::<SLOPES>(index, pairs, slot);
        }
        for (i, operation) in self.nodes.iter().enumerate() {
            let (before, rest) = scratch.values.split_at_mut(i);
            operation.evaluate(&scratch.slots, before, &mut rest[0]);
        }
        if SLOPES {
            self.differentiate(scratch);
        }
        &scratch.values[self.nodes.len() - 1]
    }

    /// From the root to the leaves.
    #[inline(always)]
    fn differentiate(&self, scratch: &mut Scratch) {
        let last = self.nodes.len() - 1;
        scratch.rates[last] = Lane([1.0; BLOCK]);
        for (i, operation) in self.nodes.iter().enumerate().rev() {
            let (rates, rest) = scratch.rates.split_at_mut(i);
            let rate = &rest[0];
            match operation {
                Operation::Leaf(leaf) => scratch.leaf_rates[*leaf] = *rate,
                Operation::Sum(children) => {
                    for child in children {
                        rates[*child] = *rate;
                    }
                }
                Operation::Product(children) => {
                    for child in children {
                        // All factors but the child: no division, for a factor may vanish.
                        let mut product = *rate;
                        for other in children.iter().filter(|o| *o != child) {
                            multiply(&mut product, &scratch.values[*other]);
                        }
                        rates[*child] = product;
                    }
                }
                Operation::Scaled(factor, child) => {
                    rates[*child] = *rate;
                    rates[*child].0.iter_mut().for_each(|r| *r *= factor);
                }
            }
        }
    }
}

impl Operation {
    #[inline(always)]
    fn evaluate(&self, slots: &[Slot], values: &[Lane], out: &mut Lane) {
        match self {
            Self::Leaf(leaf) => *out = slots[*leaf].value,
            Self::Sum(children) => {
                *out = Lane::ZERO;
                for child in children {
                    for k in 0..BLOCK {
                        out.0[k] += values[*child].0[k];
                    }
                }
            }
            Self::Product(children) => {
                *out = Lane([1.0; BLOCK]);
                for child in children {
                    multiply(out, &values[*child]);
                }
            }
            Self::Scaled(factor, child) => {
                for k in 0..BLOCK {
                    out.0[k] = factor * values[*child].0[k];
                }
            }
        }
    }
}

#[inline(always)]
fn multiply(product: &mut Lane, factor: &Lane) {
    for k in 0..BLOCK {
        product.0[k] *= factor.0[k];
    }
}
