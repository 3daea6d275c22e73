//! Kernels, the machines trained with them, and the V-kernel they make (theory, section 7; derivations 20 and 22).

use super::document::{Part, Section, n, s};
use super::model::{law, meaning, weight};
use super::process::ProcessForms;
use crate::experiment::{Experiment, StatisticsKind};
use crate::family::kernel::{
    Activation, Architecture, Base, Embedding, Formula, Node, Order, Part as Inputs, TimeEmbedding,
};
use crate::family::{Family, KernelFamily};
use crate::problem::{Objective, Training};
use crate::symbolic::{Expr, Function};

/// Hidden layers that are written out; of deeper networks the recursion alone is given.
const WRITTEN_LAYERS: usize = 4;

/// Both points of a kernel.
const PAIR: &[&str] = &["x", "t", "y", "s"];

pub(super) fn sections(
    experiment: &Experiment,
    family: &KernelFamily,
    process: &ProcessForms,
) -> Vec<Section> {
    let mut all = vec![model(experiment, family, process)];
    if let Some(training) = &experiment.training {
        all.push(trained(experiment, family, training));
    }
    all.push(v_kernel(family, process));
    all
}

fn model(experiment: &Experiment, family: &KernelFamily, process: &ProcessForms) -> Section {
    let (p, q) = process.regression(family.linear.predicts);
    let mut parts = vec![
        Part::text(format!(
            "The model predicts {} with a function in the reproducing-kernel space of K; its regression target is affine in the clean point.",
            meaning(family.linear.predicts)
        )),
        Part::formula(
            "f(x, t), y = p x_0 + q x",
            r"f(x, t), \qquad y = p(t) \, x_0 + q(t) \, x",
        ),
        Part::define("p", &["t"], &p),
        Part::define("q", &["t"], &q),
    ];
    if let Family::Network(network) = &experiment.family {
        parts.push(Part::text(format!(
            "The networks have width {}; the formulas are those of the limit of infinite width, in which training with gradient descent is linear in the network's output and K is its neural tangent kernel.",
            network.network.width()
        )));
    }
    let mut writer = Writer::new(family.kernel.embedding());
    let value = writer.node(family.kernel.node());
    let first = (family.initial.as_ref()).map(|(first, _)| writer.node(first.node()));
    parts.append(&mut writer.parts);
    if let Some(value) = value {
        parts.push(Part::define("K", PAIR, &value));
        parts.push(Part::Script(KERNEL.into()));
    }
    if let Some(first) = first {
        parts.push(Part::text(
            "Training starts from a random function, a Gaussian process of mean 0 and covariance K_0: the network's output at initialisation.",
        ));
        parts.extend(first.map(|first| Part::define("K_0", PAIR, &first)));
    }
    Section {
        title: "Model".into(),
        parts,
    }
}

/// Kernels as expressions in the two points (x, t) and (y, s).
struct Writer<'a> {
    embedding: &'a Embedding,
    parts: Vec<Part>,
    /// Networks that are written already, with the inputs they see: kernels of one network share their recursion.
    networks: Vec<(Architecture, Inputs)>,
    leaves: usize,
}

impl<'a> Writer<'a> {
    fn new(embedding: &'a Embedding) -> Self {
        Self {
            embedding,
            parts: Vec::new(),
            networks: Vec::new(),
            leaves: 0,
        }
    }

    /// The value of a kernel; `None` with a network that is too deep to be written out.
    fn node(&mut self, node: &Node) -> Option<Expr> {
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
        let one = || n(1.0);
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
                (one() + part).pow(-mixture)
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
            Base::Nngp(architecture) => {
                let index = self.network(architecture, of, &u, &v);
                return (architecture.depth <= WRITTEN_LAYERS)
                    .then(|| s(&named("q", index, architecture.depth)));
            }
            Base::Ntk(architecture) => {
                let index = self.network(architecture, of, &u, &v);
                return (architecture.depth <= WRITTEN_LAYERS)
                    .then(|| s(&named("Theta", index, architecture.depth)));
            }
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

    /// The recursion of a network (D20.5, D20.6, D20.10, D20.11), and its number.
    fn network(
        &mut self,
        architecture: &Architecture,
        of: Inputs,
        u: &[Expr],
        v: &[Expr],
    ) -> usize {
        if let Some(known) = self.networks.iter().position(|n| *n == (*architecture, of)) {
            return known;
        }
        self.networks.push((*architecture, of));
        let index = self.networks.len() - 1;
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
            return index;
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
        index
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

/// The training protocol, what it makes of one training set, and the first two moments over training sets.
fn trained(experiment: &Experiment, family: &KernelFamily, training: &Training) -> Section {
    let target = match training.objective {
        Objective::Dsm => "the noisy target y itself (dsm)",
        Objective::Esm => {
            "its conditional mean E[y | x, t], without noise (esm: Var(u | x, t) = 0 below)"
        }
    };
    let samples = match training.draws {
        1 => format!("P = {} fresh samples", training.samples),
        m => format!(
            "P = {} samples, {m} noised versions of each of {} clean points",
            training.samples,
            training.clean_points()
        ),
    };
    let start = match family.initial {
        Some(_) => "a random function f_0",
        None => "f_0 = 0",
    };
    let mut parts = match training.time {
        Some(time) => vec![
            Part::text(format!(
                "Gradient flow from {start} for the time tau = {time:?} on {samples} (t uniform), on {target}, with the weight lambda on the squared error of the model's output. One training set is solved in the dual, with the exact kernel."
            )),
            Part::formula(
                "df/dtau(z) = -(1/P) sum_p K(z, z_p) lambda_p (f(z_p) - y_p)",
                r"\frac{\mathrm{d} f(z)}{\mathrm{d} \tau} = -\frac{1}{P} \sum_p K(z, z_p) \, \lambda_p \left(f(z_p) - y_p\right)",
            ),
            Part::formula(
                "f(z) = f_0(z) + (1/P) k(z)^T Lambda^(1/2) S^-1 (1 - exp(-tau S)) Lambda^(1/2) (y - f_0), S = Lambda^(1/2) K Lambda^(1/2)/P",
                r"f(z) = f_0(z) + \frac{1}{P} k(z)^T \Lambda^{1/2} S^{-1} \left(1 - \mathrm{e}^{-\tau S}\right) \Lambda^{1/2} \left(y - f_0\right), \qquad S = \frac{1}{P} \Lambda^{1/2} K \Lambda^{1/2}",
            ),
        ],
        None => vec![
            Part::text(format!(
                "Kernel ridge regression on {samples} (t uniform), ridge rho = {:?} (a smaller one than rounding allows is replaced, and the result says so), on {target}, with the weight lambda on the squared error of the model's output. One training set is solved in the dual, with the exact kernel.",
                training.ridge
            )),
            Part::formula(
                "f = argmin (1/P) sum_p lambda(t_p) (f(z_p) - y_p)^2 + rho |f|_K^2 = (1/P) k(z)^T Lambda^(1/2) (S + rho)^-1 Lambda^(1/2) y, S = Lambda^(1/2) K Lambda^(1/2)/P",
                r"f = \operatorname*{arg\,min} \; \frac{1}{P} \sum_p \lambda(t_p) \left(f(z_p) - y_p\right)^2 + \rho \left|f\right|_K^2 = \frac{1}{P} k(z)^T \Lambda^{1/2} \left(S + \rho\right)^{-1} \Lambda^{1/2} y, \qquad S = \frac{1}{P} \Lambda^{1/2} K \Lambda^{1/2}",
            ),
        ],
    };
    parts.push(Part::define(
        "lambda_t",
        &["t"],
        &weight(training, family.linear.predicts),
    ));
    parts.extend([
        Part::text(format!(
            "The theory is solved in an expansion of the kernel in F = {} products of Chebyshev polynomials phi, of rank r = {}: f is linear in weights omega of dimension r, and the ridge is theirs.",
            family.linear.features.len(),
            family.factor.ncols()
        )),
        Part::formula(
            "K(z, z') = phi(z)^T L L^T phi(z'), f(z) = omega L^T phi(z), z -> sqrt(lambda) L^T phi, u = sqrt(lambda) y below; W = omega L^T, C_W = L C L^T",
            r"K(z, z') = \phi(z)^T L L^T \phi(z'), \qquad f(z) = \omega L^T \phi(z), \qquad z \to \sqrt{\lambda} \, L^T \phi, \quad u = \sqrt{\lambda} \, y, \qquad W = \omega L^T, \quad C_W = L C L^T",
        ),
    ]);
    if let Some(kind) = experiment.predict.statistics {
        match training.time {
            None => parts.extend(law(kind)),
            Some(_) => parts.extend(law_of_flow(
                kind,
                training.draws > 1,
                family.initial.is_some(),
            )),
        }
    }
    Section {
        title: "Trained functions".into(),
        parts,
    }
}

fn law_of_flow(kind: StatisticsKind, shared: bool, random_start: bool) -> Vec<Part> {
    let modes = Part::formula(
        "E[z z^T] = U diag(mu) U^T, e = U^T z, g_k = (1 - exp(-mu_k tau))/mu_k",
        r"\mathbb{E}[z z^T] = U \, \mathrm{diag}(\mu) \, U^T, \qquad e = U^T z, \qquad g_k = \frac{1 - \mathrm{e}^{-\mu_k \tau}}{\mu_k}",
    );
    let first_order = [
        Part::text(
            "To first order in one sample's influence (T16, T17; derivation 22), with the modes of the population.",
        ),
        modes,
        Part::formula(
            "E[omega_k] = g_k b_k, b = E[e u], u_k(z, y) = e_k [g_k u - sum_l h_kl b_l e_l], h_kl = [g_k - (exp(-mu_l tau) - exp(-mu_k tau))/(mu_k - mu_l)]/mu_l",
            r"\mathbb{E}\left[\omega_k\right] = g_k b_k, \qquad b = \mathbb{E}[e u], \qquad u_k(z, y) = e_k \left[g_k u - \sum_l h_{kl} b_l e_l\right], \qquad h_{kl} = \frac{1}{\mu_l} \left[g_k - \frac{\mathrm{e}^{-\mu_l \tau} - \mathrm{e}^{-\mu_k \tau}}{\mu_k - \mu_l}\right]",
        ),
        Part::formula(
            "Cov(omega) = (1/P) Cov(u_k(z, y)): target noise g E[Var(u | x, t) e e^T] g and the design",
            r"\mathrm{Cov}(\omega) = \frac{1}{P} \mathrm{Cov}\left(u(z, y)\right) = \frac{1}{P} \left\{g \, \mathbb{E}\left[\mathrm{Var}(u \mid x, t) \, e e^T\right] g + \mathrm{Cov}\left(\mathbb{E}\left[u(z, y) \mid z\right]\right)\right\}",
        ),
    ];
    let shared_points = Part::formula(
        "+ ((m - 1)/P) Cov_(x_0)(E[u_k(z, y) | x_0]) of the m samples that share a clean point",
        r"{} + \frac{m - 1}{P} \, \mathrm{Cov}_{x_0}\left(\mathbb{E}\left[u(z, y) \mid x_0\right]\right)",
    );
    let equivalent = [
        Part::text(
            "At any number of samples: the filter of the flow is a sum of those of ridge regressions at complex ridges rho_j, ten points z_j = rho_j tau of Talbot's contour with coefficients c_j (T18), and each pair of them has its deterministic equivalent (T12, T13, continued analytically; derivation 22).",
        ),
        Part::formula(
            "(1 - exp(-tau S))/S = sum_j (c_j/z_j)/(S + rho_j), omega = sum_j (c_j/z_j) omega_j, Cov(omega) = sum_ij c_i c_j/(z_i z_j) C_ij",
            r"\frac{1 - \mathrm{e}^{-\tau S}}{S} = \sum_j \frac{c_j / z_j}{S + \rho_j}, \qquad \omega = \sum_j \frac{c_j}{z_j} \omega_j, \qquad \mathrm{Cov}(\omega) = \sum_{ij} \frac{c_i c_j}{z_i z_j} C_{ij}",
        ),
        Part::formula(
            "delta_j(z) = z^T Q_j z/P, Q_j = (E[z z^T/(1 + delta_j)] + rho_j)^-1, E[omega_j] = E[u z^T/(1 + delta_j)] Q_j",
            r"\delta_j(z) = \frac{z^T Q_j z}{P}, \qquad Q_j = \left(\mathbb{E}\left[\frac{z z^T}{1 + \delta_j}\right] + \rho_j\right)^{-1}, \qquad \bar{\omega}_j = \mathbb{E}\left[\frac{u z^T}{1 + \delta_j}\right] Q_j",
        ),
        Part::formula(
            "C_ij = Q_i {(1/P) E[(Var(u | x, t) + r_i r_j + z^T C_ij z)/((1 + delta_i) (1 + delta_j)) z z^T] - (rho_i rho_j/P) E[omega_i]^T E[omega_j]} Q_j, r_j = E[u | x, t] - E[omega_j] z",
            r"C_{ij} = Q_i \left\{\frac{1}{P} \mathbb{E}\left[\frac{\mathrm{Var}(u \mid x, t) + r_i r_j + z^T C_{ij} z}{(1 + \delta_i)(1 + \delta_j)} z z^T\right] - \frac{\rho_i \rho_j}{P} \bar{\omega}_i^T \bar{\omega}_j\right\} Q_j, \qquad r_j = \mathbb{E}[u \mid x, t] - \bar{\omega}_j z",
        ),
    ];
    let layer = [
        Part::text(
            "The samples of largest leverage (the layer A) are drawn as they are, for every ridge the same, the rest is replaced by its equivalent (T19); given the layer and the initial function, omega is Gaussian to the closure used here.",
        ),
        Part::formula(
            "omega_j = [A_rest,j + xi_j + (1/P) sum_A u z^T] [Sigma_rest,j + (1/P) sum_A z z^T + rho_j]^-1, Cov(xi_i, xi_j) = (1/P) E[1_rest (Var(u | x, t) + r_i r_j + z^T C_ij z)/((1 + delta_i) (1 + delta_j)) z z^T]",
            r"\omega_j = \left[A_{\mathrm{rest}, j} + \xi_j + \frac{1}{P} \sum_A u z^T\right] \left[\Sigma_{\mathrm{rest}, j} + \frac{1}{P} \sum_A z z^T + \rho_j\right]^{-1}, \qquad \mathrm{Cov}(\xi_i, \xi_j) = \frac{1}{P} \mathbb{E}\left[1_{\mathrm{rest}} \frac{\mathrm{Var}(u \mid x, t) + r_i r_j + z^T C_{ij} z}{(1 + \delta_i)(1 + \delta_j)} z z^T\right]",
        ),
    ];
    let start = [
        Part::text(
            "A random initial function is left over where it has not been forgotten, and enters the residuals u - f_0 of the samples.",
        ),
        Part::formula(
            "f_left = f_0 - phi^T L U g U^T L^T E[lambda phi f_0] to first order in 1/P",
            r"f_{\mathrm{left}} = f_0 - \phi^T L \, U g U^T L^T \, \mathbb{E}\left[\lambda \phi f_0\right] + O(1/P)",
        ),
    ];
    let mut parts: Vec<Part> = match kind {
        StatisticsKind::Sandwich => first_order.into(),
        StatisticsKind::Equivalent => equivalent.into(),
        StatisticsKind::QuenchedLayer => equivalent.into_iter().chain(layer).collect(),
    };
    if shared {
        parts.push(shared_points);
    }
    if random_start {
        parts.extend(start);
    }
    parts
}

fn v_kernel(family: &KernelFamily, process: &ProcessForms) -> Section {
    let (a, b) = process.drift(family.linear.predicts);
    Section {
        title: "V-kernel".into(),
        parts: vec![
            Part::text(
                "The drift of the probability-flow ODE is affine in the model's output f, so its covariance over training sets, the V-kernel (T5), is that of the trained functions between two points.",
            ),
            Part::formula(
                "beta x + D score_model = a x + b f",
                r"\beta \, x + D \, \hat{s}(x, t) = a(t) \, x + b(t) \, f(x, t)",
            ),
            Part::define("a", &["t"], &a),
            Part::define("b", &["t"], &b),
            Part::formula(
                "V(x, t; y, s) = b(t) b(s) Cov[f(x, t), f(y, s)] = b(t) b(s) sum_ij phi_i(x, t) C_W[i, j] phi_j(y, s)",
                r"V(x, t; y, s) = b(t) \, b(s) \, \mathrm{Cov}\left[f(x, t), f(y, s)\right] = b(t) \, b(s) \sum_{ij} \phi_i(x, t) \, \left(C_W\right)_{ij} \, \phi_j(y, s)",
            ),
            Part::Script(KERNEL_V.into()),
        ],
    }
}

/// The kernel at two points.
const KERNEL: &str = "

def kernel(x_, t_, y_, s_):
    \"\"\"K between the points (x_, t_) and (y_, s_).\"\"\"
    return at(K, {x: x_, t: t_, y: y_, s: s_})
";

/// The V-kernel as a function of the trained functions' covariance.
const KERNEL_V: &str = "

def V(x_, t_, y_, s_, C_f):
    \"\"\"The V-kernel; C_f(x, t, y, s) is the covariance of the trained functions, such as K for their prior.\"\"\"
    return at(b, {t: t_})*at(b, {t: s_})*C_f(x_, t_, y_, s_)
";
