//! Kernels as expressions in both points (derivation 20).

use super::document::{Part, n, s};
use crate::family::kernel::{
    Activation, Architecture, Base, Embedding, Formula, Node, Order, Part as Inputs, TimeEmbedding,
};
use crate::symbolic::{Expr, Function};

/// Hidden layers that are written out; of deeper networks the recursion alone is given.
const WRITTEN_LAYERS: usize = 4;

/// Both points of a kernel.
pub(super) const PAIR: &[&str] = &["x", "t", "y", "s"];

/// Kernels as expressions in the two points (x, t) and (y, s).
pub(super) struct Writer<'a> {
    embedding: &'a Embedding,
    /// What is defined on the way.
    pub parts: Vec<Part>,
    /// Networks that are written already, with the inputs they see: kernels of one network share their recursion.
    networks: Vec<(Architecture, Inputs)>,
    leaves: usize,
}

impl<'a> Writer<'a> {
    pub fn new(embedding: &'a Embedding) -> Self {
        Self {
            embedding,
            parts: Vec::new(),
            networks: Vec::new(),
            leaves: 0,
        }
    }

    /// The value of a kernel; `None` with a network that is too deep to be written out.
    pub fn node(&mut self, node: &Node) -> Option<Expr> {
        match node {
            Node::Leaf { base, of } => self.leaf(base, *of),
            Node::Sum(nodes) => {
                let all: Option<Vec<Expr>> = nodes.iter().map(|n| self.node(n)).collect();
                all.map(Expr::Sum)
            }
            Node::Product(nodes) => nodes
                .iter()
                .map(|n| self.node(n))
                .reduce(|a, b| Some(a? * b?))?,
            Node::Scaled(factor, node) => Some(n(*factor) * self.node(node)?),
        }
    }

    fn leaf(&mut self, base: &Base, of: Inputs) -> Option<Expr> {
        let (u, v) = (self.inputs(of, "x", "t"), self.inputs(of, "y", "s"));
        let value = match base {
            Base::Rbf { length } => (n(-0.5) * square(&u, &v) / n(length * length)).exp(),
            Base::Matern { order, length } => {
                let (degree, polynomial): (f64, fn(Expr) -> Expr) = match order {
                    Order::Half => (1.0, |_| n(1.0)),
                    Order::ThreeHalves => (3.0, |q| n(1.0) + q),
                    Order::FiveHalves => (5.0, |q| n(1.0) + q.clone() + q.pow(2.0) / n(3.0)),
                };
                let q = (n(degree) * square(&u, &v)).sqrt() / n(*length);
                polynomial(q.clone()) * (-q).exp()
            }
            Base::RationalQuadratic { length, mixture } => {
                let part = square(&u, &v) / n(2.0 * mixture * length * length);
                (n(1.0) + part).pow(-mixture)
            }
            Base::Dot { offset, power } => (product(&u, &v) + n(*offset)).pow(f64::from(*power)),
            Base::Expression(Formula::Distance(f)) => f.substitute("r", &square(&u, &v).sqrt()),
            Base::Expression(Formula::Dot(f)) => f.substitute("s", &product(&u, &v)),
            Base::Expression(Formula::Pair(f)) => {
                // Not one after the other: the first value may contain the second's name.
                f.substitute("a", &s("u_"))
                    .substitute("b", &v[0])
                    .substitute("u_", &u[0])
            }
            Base::Nngp(architecture) => return self.network("q", architecture, of, &u, &v),
            Base::Ntk(architecture) => return self.network("Theta", architecture, of, &u, &v),
        };
        self.leaves += 1;
        let name = format!("k_{}", self.leaves);
        self.parts.push(Part::define(&name, PAIR, &value));
        Some(s(&name))
    }

    /// What a part of the kernel sees of a point.
    fn inputs(&self, of: Inputs, x: &str, t: &str) -> Vec<Expr> {
        let space = || match self.embedding.scale() {
            1.0 => s(x),
            scale => n(scale) * s(x),
        };
        let time = || match self.embedding.time {
            TimeEmbedding::None => Vec::new(),
            TimeEmbedding::Raw => vec![s(t)],
            TimeEmbedding::Log => vec![Expr::apply(Function::Ln, s(t))],
            TimeEmbedding::Fourier { count, period } => {
                let waves = [Function::Cos, Function::Sin].map(|wave| {
                    (1..=count).map(move |k| {
                        let angle = n(2.0 * k as f64) * Expr::pi() * s(t) / n(period);
                        Expr::apply(wave, angle)
                    })
                });
                waves.into_iter().flatten().collect()
            }
        };
        match of {
            Inputs::Space | Inputs::Coordinate(_) => vec![space()],
            Inputs::Time => time(),
            Inputs::All => std::iter::once(space()).chain(time()).collect(),
        }
    }

    /// What a network's kernel is called after its last layer: q or Theta.
    fn network(
        &mut self,
        symbol: &str,
        architecture: &Architecture,
        of: Inputs,
        u: &[Expr],
        v: &[Expr],
    ) -> Option<Expr> {
        let known = self.networks.iter().position(|n| *n == (*architecture, of));
        let index = known.unwrap_or_else(|| {
            self.networks.push((*architecture, of));
            let index = self.networks.len() - 1;
            self.recursion(index, architecture, u, v);
            index
        });
        let depth = architecture.depth;
        (depth <= WRITTEN_LAYERS).then(|| s(&named(symbol, index, depth)))
    }

    /// The recursion of a network (D20.5, D20.6, D20.10, D20.11), its layers as far as they are written out.
    fn recursion(&mut self, index: usize, architecture: &Architecture, u: &[Expr], v: &[Expr]) {
        let [weight, bias] = [architecture.weight_std, architecture.bias_std].map(squared);
        let activation = match architecture.activation {
            Activation::Relu => "max(0, z)",
            Activation::Erf => "erf(z)",
            Activation::Gelu => "z Phi(z), Phi the normal distribution function",
        };
        self.parts.extend([
            Part::text(format!(
                "A fully connected network of infinite width with {} hidden layer(s), activation h = {activation}, variances {weight:?} of the weights (over the fan-in) and {bias:?} of the biases, all of them trained. q, p, r are covariance and variances of the two points before a layer, Theta is the tangent kernel.",
                architecture.depth
            )),
            Part::formula(
                "q_(l+1) = weight E[h(a) h(b)] + bias, Theta_0 = q_0, Theta_(l+1) = q_(l+1) + weight E[h'(a) h'(b)] Theta_l, (a, b) ~ N(0, [[p_l, q_l], [q_l, r_l]])",
                r"q_{l+1} = \omega^2 \, \mathbb{E}\left[h(a) h(b)\right] + \beta_b^2, \qquad \Theta_0 = q_0, \qquad \Theta_{l+1} = q_{l+1} + \omega^2 \, \mathbb{E}\left[h'(a) h'(b)\right] \Theta_l, \qquad (a, b) \sim \mathcal{N}\left(0, \begin{pmatrix} p_l & q_l \\ q_l & r_l \end{pmatrix}\right)",
            ),
        ]);
        if architecture.depth > WRITTEN_LAYERS {
            self.parts.push(Part::text(format!(
                "Up to {WRITTEN_LAYERS} layers are written out here."
            )));
            return;
        }
        let first = |u: &[Expr], v: &[Expr]| n(weight / u.len() as f64) * product(u, v) + n(bias);
        let name = |symbol: &str, layer: usize| named(symbol, index, layer);
        let define = |symbol: &str, layer: usize, value: Expr| {
            let of: &[&str] = match symbol {
                "p" => &["x", "t"],
                "r" => &["y", "s"],
                _ => PAIR,
            };
            Part::define(&name(symbol, layer), of, &value)
        };
        self.parts.extend([
            define("p", 0, first(u, u)),
            define("r", 0, first(v, v)),
            define("q", 0, first(u, v)),
            define("Theta", 0, s(&name("q", 0))),
        ]);
        for layer in 0..architecture.depth {
            let [p, q, r, theta] = ["p", "q", "r", "Theta"].map(|symbol| s(&name(symbol, layer)));
            let next = |a: &Expr, b: &Expr, c: &Expr| {
                let (value, _) = moments(architecture.activation, a, b, c);
                n(weight) * value + n(bias)
            };
            let (_, slope) = moments(architecture.activation, &p, &q, &r);
            self.parts.extend([
                define("p", layer + 1, next(&p, &p, &p)),
                define("r", layer + 1, next(&r, &r, &r)),
                define("q", layer + 1, next(&p, &q, &r)),
                define(
                    "Theta",
                    layer + 1,
                    s(&name("q", layer + 1)) + n(weight) * slope * theta,
                ),
            ]);
        }
    }
}

/// A variance without the last rounding: 2, not 2.0000000000000004.
fn squared(std: f64) -> f64 {
    let square = std * std;
    format!("{square:.14e}").parse().unwrap_or(square)
}

/// Symbols of the first network carry the layer alone.
fn named(symbol: &str, network: usize, layer: usize) -> String {
    match network {
        0 => format!("{symbol}_{layer}"),
        _ => format!("{symbol}_{layer}_{}", network + 1),
    }
}

fn square(u: &[Expr], v: &[Expr]) -> Expr {
    let terms = u
        .iter()
        .zip(v)
        .map(|(u, v)| (u.clone() - v.clone()).pow(2.0));
    Expr::Sum(terms.collect())
}

fn product(u: &[Expr], v: &[Expr]) -> Expr {
    Expr::Sum(
        u.iter()
            .zip(v)
            .map(|(u, v)| u.clone() * v.clone())
            .collect(),
    )
}

/// E[h(a) h(b)] and E[h'(a) h'(b)] of normal a and b with variances p, r and covariance q.
fn moments(activation: Activation, p: &Expr, q: &Expr, r: &Expr) -> (Expr, Expr) {
    let (p, q, r) = (|| p.clone(), || q.clone(), || r.clone());
    let (one, pi) = (|| n(1.0), Expr::pi);
    let arc = |root: &Expr, numerator: Expr| Expr::apply(Function::Atan, numerator / root.clone());
    match activation {
        Activation::Relu if p() == q() => (n(0.5) * p(), n(0.5)),
        Activation::Relu => {
            // (p r - q^2)^(1/2) is the sine times the lengths.
            let lengths = (p() * r()).sqrt();
            let angle = Expr::apply(Function::Acos, q() / lengths);
            let rest = pi() - angle;
            let height = (p() * r() - q().pow(2.0)).sqrt();
            (
                (height + q() * rest.clone()) / (n(2.0) * pi()),
                rest / (n(2.0) * pi()),
            )
        }
        Activation::Erf => {
            let stretched = |a: Expr| one() + n(2.0) * a;
            let root = (stretched(p()) * stretched(r()) - n(4.0) * q().pow(2.0)).sqrt();
            (
                n(2.0) * arc(&root, n(2.0) * q()) / pi(),
                n(4.0) / (pi() * root),
            )
        }
        Activation::Gelu => {
            let (a, c) = (one() + p(), one() + r());
            let determinant = a.clone() * c.clone() - q().pow(2.0);
            let root = determinant.clone().sqrt();
            let density = one() / (n(2.0) * pi() * root.clone());
            let both = n(0.25) + arc(&root, q()) / (n(2.0) * pi());
            let sum = one() / a + one() / c;
            let squared = q().pow(2.0) * sum.clone();
            let gap = p() * r() - q().pow(2.0);
            let value = q() * both.clone() + (gap + squared.clone()) * density.clone();
            let rest = squared - (one() + p() + r());
            let factor = n(2.0) * sum + rest / determinant;
            (value, both + q() * density * factor)
        }
    }
}
