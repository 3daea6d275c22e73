//! One kernel of the tree, on the inputs that it sees.

use std::ops::Range;

use super::elementary::Elementary;
use super::lanes::{BLOCK, Lane, Pairs, Slot, Table};
use super::leaf_points::{LeafPoints, components};
use super::network::Network;
use super::written::{Argument, Written};
use super::{Base, Embedding, KernelError, Part};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaf {
    /// Of all inputs.
    inputs: Range<usize>,
    /// The coordinates among them; they come first.
    coordinates: Range<usize>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Elementary(Elementary),
    Network(Network),
    Written(Written),
}

impl Leaf {
    pub(super) fn new(base: &Base, part: Part, embedding: &Embedding) -> Result<Self, KernelError> {
        let (dim, all) = (embedding.dim, embedding.inputs());
        let (inputs, coordinates) = match part {
            Part::Space => (0..dim, 0..dim),
            Part::Coordinate(i) if i < dim => (i..i + 1, i..i + 1),
            Part::Coordinate(index) => return Err(KernelError::Coordinate { index, dim }),
            Part::Time => (embedding.time_range(), 0..0),
            Part::All => (0..all, 0..dim),
        };
        if inputs.is_empty() {
            return Err(KernelError::NoTime);
        }
        base.check(inputs.len())?;
        let kind = match *base {
            Base::Nngp(ref a) => Kind::Network(Network::new(a, inputs.len(), false)),
            Base::Ntk(ref a) => Kind::Network(Network::new(a, inputs.len(), true)),
            Base::Expression(ref formula) => Kind::Written(Written::new(formula)?),
            Base::Rbf { length } => Kind::Elementary(Elementary::Rbf { length }),
            Base::Matern { order, length } => {
                Kind::Elementary(Elementary::Matern { order, length })
            }
            Base::RationalQuadratic { length, mixture } => {
                Kind::Elementary(Elementary::RationalQuadratic { length, mixture })
            }
            Base::Dot { offset, power } => Kind::Elementary(Elementary::Dot { offset, power }),
        };
        Ok(Self {
            inputs,
            coordinates,
            kind,
        })
    }

    /// Does the kernel see coordinate `i`?
    pub(super) fn sees(&self, i: usize) -> bool {
        self.coordinates.contains(&i)
    }

    /// Does it see the time?
    pub(super) fn sees_time(&self) -> bool {
        self.inputs.len() > self.coordinates.len()
    }

    /// Length over which it varies, in units of its inputs.
    pub(super) fn scale(&self) -> f64 {
        match &self.kind {
            Kind::Elementary(e) => e.scale(),
            Kind::Network(_) => 1.0,
            Kind::Written(w) => w.scale(),
        }
    }

    /// Numbers kept per point.
    pub(super) fn numbers(&self) -> usize {
        let inputs = self.inputs.len();
        match &self.kind {
            Kind::Network(network) => network.numbers(inputs),
            Kind::Written(written) if written.argument == Argument::Pair => 2,
            Kind::Elementary(_) | Kind::Written(_) => inputs,
        }
    }

    /// Of `n` points with `inputs[i * stride..]` the inputs of point i.
    pub(super) fn points(&self, inputs: &[f64], stride: usize) -> LeafPoints {
        let n = inputs.len() / stride;
        let raw = |c: usize| move |i: usize| inputs[i * stride + c];
        let tables = || self.inputs.clone().map(|c| Table::new(n, raw(c))).collect();
        match &self.kind {
            Kind::Network(network) => {
                let raw: Vec<_> = self.inputs.clone().map(raw).collect();
                network.points(n, &raw)
            }
            Kind::Written(written) if written.argument == Argument::Pair => LeafPoints {
                vectors: vec![Table::new(n, |_| 1.0)],
                tables: tables(),
            },
            Kind::Elementary(_) | Kind::Written(_) => LeafPoints {
                vectors: tables(),
                tables: Vec::new(),
            },
        }
    }

    /// The kernel at a block of pairs; with `SLOPES` also its gradient. `index` is the leaf's own.
    #[inline(always)]
    pub(super) fn evaluate<const SLOPES: bool>(
        &self,
        index: usize,
        pairs: &Pairs,
        slot: &mut Slot,
    ) {
        match &self.kind {
            Kind::Elementary(function) => {
                let argument = match function.of_product() {
                    true => products(index, pairs),
                    false => squares(index, pairs),
                };
                function.evaluate::<SLOPES>(&argument, slot);
            }
            Kind::Network(network) => network.evaluate::<SLOPES>(index, pairs, slot),
            Kind::Written(written) => match written.argument {
                Argument::Distance => written.of_vectors(&squares(index, pairs), slot),
                Argument::Product => written.of_vectors(&products(index, pairs), slot),
                Argument::Pair => {
                    let a = pairs.a.leaves[index].tables[0].lane(pairs.block);
                    let b = pairs.b.leaves[index].tables[0].at(pairs.column);
                    written.of_pairs(a, b, slot);
                }
            },
        }
    }

    /// Derivative along coordinate `i`'s input, times `rate`, added to `sum`.
    #[inline(always)]
    pub(super) fn add_slope(
        &self,
        i: usize,
        index: usize,
        pairs: &Pairs,
        slot: &Slot,
        rate: &Lane,
        sum: &mut Lane,
    ) {
        let component = i - self.coordinates.start;
        let u = pairs.a.leaves[index].vectors[component].lane(pairs.block);
        let v = pairs.b.leaves[index].vectors[component].at(pairs.column);
        for k in 0..BLOCK {
            let slope = slot.across.0[k].mul_add(u[k] - v, slot.along.0[k] * u[k]);
            sum.0[k] = rate.0[k].mul_add(slope, sum.0[k]);
        }
    }
}

/// |u - v|^2.
#[inline(always)]
fn squares(index: usize, pairs: &Pairs) -> Lane {
    let mut sum = Lane::ZERO;
    components(index, pairs, |u, v| {
        for k in 0..BLOCK {
            let d = u[k] - v;
            sum.0[k] = d.mul_add(d, sum.0[k]);
        }
    });
    sum
}

/// u.v.
#[inline(always)]
fn products(index: usize, pairs: &Pairs) -> Lane {
    let mut sum = Lane::ZERO;
    components(index, pairs, |u, v| {
        for k in 0..BLOCK {
            sum.0[k] = u[k].mul_add(v, sum.0[k]);
        }
    });
    sum
}
