//! `[model]` with kind = "kernel" or "ntk".

use serde_json::Value;

use super::{check, check_at, count, expression};
use crate::family::kernel::{
    Activation, Architecture, Base, Embedding, Formula, Kernel, Node, Order, Part, TimeEmbedding,
};
use crate::family::network::{Network, NetworkTraining, Parameterisation, Precision};
use crate::family::{ExpansionError, Family, KernelFamily, NetworkFamily};
use crate::problem::{Prediction, Problem};
use crate::spec::error::Fault;
use crate::spec::fields::{allowed_for, refuse, refuse_inapplicable};
use crate::spec::path::FieldPath;
use crate::spec::raw::{Combine, Initial, KernelKind, ModelKind, RawKernel, RawModel, TimeInputs};
use crate::symbolic::Expr;

/// Most frequencies of the time; most hidden layers.
const LARGEST_COUNT: u64 = 1000;

/// Families of earlier cases with the problem that they were expanded for: a sweep of anything else leaves them as they are.
#[derive(Default)]
pub(super) struct Expanded(Vec<(Problem, KernelFamily)>);

impl Expanded {
    fn family(
        &mut self,
        problem: &Problem,
        predicts: Prediction,
        kernel: Kernel,
        initial: Option<Kernel>,
    ) -> Result<KernelFamily, ExpansionError> {
        let same = |(on, family): &&(Problem, KernelFamily)| {
            let first = family.initial.as_ref().map(|(kernel, _)| kernel);
            (on, family.linear.predicts) == (problem, predicts)
                && (&family.kernel, first) == (&kernel, initial.as_ref())
        };
        if let Some((_, family)) = self.0.iter().find(same) {
            return Ok(family.clone());
        }
        let family = KernelFamily::new(problem, predicts, kernel, initial)?;
        self.0.push((problem.clone(), family.clone()));
        Ok(family)
    }
}

/// The family of kernel machines, expanded on the noised data.
pub(super) fn resolve(
    raw: &mut RawModel,
    tree: &Value,
    problem: &Problem,
    expanded: &mut Expanded,
) -> Result<Family, Fault> {
    let path = FieldPath::of("model");
    let predicts = *raw.predicts.get_or_insert(Prediction::Denoiser);
    let own: &[&str] = match raw.kind {
        ModelKind::Ntk => &["depth", "activation", "weight_std", "bias_std", "initial"],
        ModelKind::Mlp => &[
            "depth",
            "activation",
            "weight_std",
            "bias_std",
            "initial",
            "width",
            "parameterisation",
            "precision",
        ],
        _ => &["combine", "kernels"],
    };
    let shared = ["kind", "predicts", "time", "time_count", "time_period"];
    let keys = [&shared, own].concat();
    let name = match raw.kind {
        ModelKind::Ntk => "model.kind = \"ntk\"",
        ModelKind::Mlp => "model.kind = \"mlp\"",
        _ => "model.kind = \"kernel\"",
    };
    refuse_inapplicable(tree, &path, name, &keys)?;
    let time = time(raw, tree, problem)?;
    let embedding = Embedding {
        dim: problem.dim(),
        time,
        scale_inputs: None,
    };
    let kernel = |node: Node| {
        Kernel::new(problem.dim(), embedding.clone(), node)
            .map_err(|e| Fault::at(path.clone(), e.to_string()).allowed("a kernel"))
    };
    let mut finite = None;
    let (kernel, initial) = match raw.kind {
        ModelKind::Ntk | ModelKind::Mlp => {
            let architecture = network(of_model(raw), &path)?;
            if raw.kind == ModelKind::Mlp {
                finite = Some(of_finite_width(raw, architecture, &embedding, predicts)?);
            }
            let of_all = |base| {
                kernel(Node::Leaf {
                    base,
                    of: Part::All,
                })
            };
            let initial = match *raw.initial.get_or_insert(Initial::Random) {
                Initial::Zero => None,
                Initial::Random => Some(of_all(Base::Nngp(architecture))?),
            };
            (of_all(Base::Ntk(architecture))?, initial)
        }
        _ => (
            kernel(tree_of(raw, tree, &path, problem.dim(), time)?)?,
            None,
        ),
    };
    let family = expanded
        .family(problem, predicts, kernel, initial)
        .map_err(|e| Fault::at(path.clone(), e.to_string()).allowed(EXPANDABLE))?;
    Ok(match finite {
        None => Family::Kernel(Box::new(family)),
        Some(network) => Family::Network(Box::new(NetworkFamily {
            network,
            // The rest of the protocol is that of [training].
            protocol: NetworkTraining {
                centred: raw.initial == Some(Initial::Zero),
                ..NetworkTraining::flow(1.0, 1)
            },
            precision: *raw.precision.get_or_insert(Precision::F32),
            limit: family,
        })),
    })
}

fn of_finite_width(
    raw: &mut RawModel,
    architecture: Architecture,
    embedding: &Embedding,
    predicts: Prediction,
) -> Result<Network, Fault> {
    let width = count("model.width", *raw.width.get_or_insert(256), 1, 131_072)?;
    let parameterisation = *raw.parameterisation.get_or_insert(Parameterisation::Ntk);
    let embedding = embedding.clone();
    Network::new(architecture, embedding, width, parameterisation, predicts)
        .map_err(|e| Fault::at(FieldPath::of("model"), e.to_string()).allowed("a network"))
}

/// What a kernel must be to be expanded.
const EXPANDABLE: &str = "a positive semidefinite kernel, finite on the noised data, whose lengths are not far below what those spread over";

fn time(raw: &mut RawModel, tree: &Value, problem: &Problem) -> Result<TimeEmbedding, Fault> {
    let inputs = *raw.time.get_or_insert(TimeInputs::Raw);
    if inputs != TimeInputs::Fourier {
        let name = match inputs {
            TimeInputs::Log => "log",
            _ => "raw",
        };
        for key in ["time_count", "time_period"] {
            let path = FieldPath::of("model").key(key);
            if path.get(tree).is_some() {
                let found = format!("{key}, which does not apply to model.time = {name:?}");
                return Err(Fault::at(path, found).allowed("it with model.time = \"fourier\""));
            }
        }
    }
    Ok(match inputs {
        TimeInputs::Raw => TimeEmbedding::Raw,
        TimeInputs::Log => TimeEmbedding::Log,
        TimeInputs::Fourier => {
            let path = FieldPath::of("model.time_count");
            let Some(frequencies) = raw.time_count else {
                return Err(missing(path));
            };
            let default = 2.0 * (problem.t_max - problem.t_min);
            let period = *raw.time_period.get_or_insert(default);
            check("model.time_period", is_length(period))?;
            TimeEmbedding::Fourier {
                count: count("model.time_count", frequencies, 1, LARGEST_COUNT)?,
                period,
            }
        }
    })
}

/// The parts of `[[model.kernels]]`.
fn tree_of(
    raw: &mut RawModel,
    tree: &Value,
    path: &FieldPath,
    dim: usize,
    time: TimeEmbedding,
) -> Result<Node, Fault> {
    let list = path.key("kernels");
    let combine = *raw.combine.get_or_insert(Combine::Product);
    let Some(kernels) = raw.kernels.as_mut().filter(|k| !k.is_empty()) else {
        return Err(refuse(list));
    };
    let mut nodes = Vec::with_capacity(kernels.len());
    let mut of_time_only = true;
    for (i, raw) in kernels.iter_mut().enumerate() {
        let path = list.index(i);
        let of = part(&raw.of, dim, &path)?;
        of_time_only &= of == Part::Time;
        let base = base(raw, tree, &path, of, dim, time)?;
        let scale = *raw.scale.get_or_insert(1.0);
        check_at(path.key("scale"), is_length(scale))?;
        nodes.push(Node::Scaled(scale, Box::new(Node::Leaf { base, of })));
    }
    if of_time_only {
        return Err(Fault::at(list, "kernels of t only")
            .allowed("at least one kernel of a coordinate, such as of = \"x\""));
    }
    match combine {
        Combine::Product => Ok(Node::Product(nodes)),
        Combine::Sum => Ok(Node::Sum(nodes)),
        Combine::Additive => Err(Fault::at(path.key("combine"), "\"additive\" with kernels")
            .allowed("\"product\" | \"sum\"")),
    }
}

fn part(of: &str, dim: usize, path: &FieldPath) -> Result<Part, Fault> {
    let number = of.strip_prefix('x').and_then(|n| n.parse::<usize>().ok());
    let number = number.filter(|n| (1..=dim).contains(n) && of == format!("x{n}"));
    match (of, number) {
        ("x", _) => Ok(Part::Space),
        ("t", _) => Ok(Part::Time),
        ("xt", _) => Ok(Part::All),
        (_, Some(number)) => Ok(Part::Coordinate(number - 1)),
        _ => {
            let path = path.key("of");
            let allowed = allowed_for(&path).unwrap_or_default();
            Err(Fault::at(path, format!("{of:?} with D = {dim}")).allowed(allowed))
        }
    }
}

/// The kernel of one table, without its scale.
fn base(
    raw: &mut RawKernel,
    tree: &Value,
    path: &FieldPath,
    of: Part,
    dim: usize,
    time: TimeEmbedding,
) -> Result<Base, Fault> {
    let (name, keys): (_, &[&str]) = match raw.kind {
        KernelKind::Rbf => ("rbf", &["length"]),
        KernelKind::Matern => ("matern", &["order", "length"]),
        KernelKind::RationalQuadratic => ("rational-quadratic", &["length", "mixture"]),
        KernelKind::Dot => ("dot", &["offset", "power"]),
        KernelKind::Nngp => ("nngp", &["depth", "activation", "weight_std", "bias_std"]),
        KernelKind::Ntk => ("ntk", &["depth", "activation", "weight_std", "bias_std"]),
        KernelKind::Expression => ("expression", &["expression"]),
    };
    let keys = [&["of", "kind", "scale"], keys].concat();
    refuse_inapplicable(tree, path, &format!("kind = {name:?}"), &keys)?;
    Ok(match raw.kind {
        KernelKind::Rbf => Base::Rbf {
            length: length(raw, path)?,
        },
        KernelKind::Matern => Base::Matern {
            order: order(raw, path)?,
            length: length(raw, path)?,
        },
        KernelKind::RationalQuadratic => {
            let mixture = *raw.mixture.get_or_insert(1.0);
            check_at(path.key("mixture"), is_length(mixture))?;
            Base::RationalQuadratic {
                length: length(raw, path)?,
                mixture,
            }
        }
        KernelKind::Dot => dot(raw, path)?,
        KernelKind::Nngp => Base::Nngp(network(of_kernel(raw), path)?),
        KernelKind::Ntk => Base::Ntk(network(of_kernel(raw), path)?),
        KernelKind::Expression => {
            let inputs = match of {
                Part::Coordinate(_) => 1,
                Part::Space => dim,
                Part::Time => time_inputs(time),
                Part::All => dim + time_inputs(time),
            };
            Base::Expression(formula(raw, path, inputs)?)
        }
    })
}

fn time_inputs(time: TimeEmbedding) -> usize {
    let embedding = Embedding {
        dim: 1,
        time,
        scale_inputs: None,
    };
    embedding.time_range().len()
}

fn dot(raw: &mut RawKernel, path: &FieldPath) -> Result<Base, Fault> {
    let offset = *raw.offset.get_or_insert(1.0);
    check_at(path.key("offset"), (0.0..=1e150).contains(&offset))?;
    let power = u32::try_from(*raw.power.get_or_insert(2)).unwrap_or(u32::MAX);
    check_at(path.key("power"), (1..=64).contains(&power))?;
    Ok(Base::Dot { offset, power })
}

fn length(raw: &RawKernel, path: &FieldPath) -> Result<f64, Fault> {
    let path = path.key("length");
    match raw.length {
        None => Err(missing(path)),
        Some(length) => {
            check_at(path, is_length(length))?;
            Ok(length)
        }
    }
}

fn order(raw: &mut RawKernel, path: &FieldPath) -> Result<Order, Fault> {
    match *raw.order.get_or_insert(1.5) {
        0.5 => Ok(Order::Half),
        1.5 => Ok(Order::ThreeHalves),
        2.5 => Ok(Order::FiveHalves),
        _ => Err(refuse(path.key("order"))),
    }
}

/// The keys of a network, of a model or of one kernel.
struct Keys<'a> {
    depth: Option<u64>,
    activation: &'a mut Option<Activation>,
    weight_std: &'a mut Option<f64>,
    bias_std: &'a mut Option<f64>,
}

fn of_model(raw: &mut RawModel) -> Keys<'_> {
    Keys {
        depth: raw.depth,
        activation: &mut raw.activation,
        weight_std: &mut raw.weight_std,
        bias_std: &mut raw.bias_std,
    }
}

fn of_kernel(raw: &mut RawKernel) -> Keys<'_> {
    Keys {
        depth: raw.depth,
        activation: &mut raw.activation,
        weight_std: &mut raw.weight_std,
        bias_std: &mut raw.bias_std,
    }
}

fn network(keys: Keys, path: &FieldPath) -> Result<Architecture, Fault> {
    let Some(depth) = keys.depth else {
        return Err(missing(path.key("depth")));
    };
    check_at(path.key("depth"), (1..=LARGEST_COUNT).contains(&depth))?;
    let weight_std = *keys.weight_std.get_or_insert(std::f64::consts::SQRT_2);
    check_at(path.key("weight_std"), (1e-3..=1e3).contains(&weight_std))?;
    let bias_std = *keys.bias_std.get_or_insert(0.1);
    check_at(path.key("bias_std"), (0.0..=1e3).contains(&bias_std))?;
    Ok(Architecture {
        depth: usize::try_from(depth).map_err(|_| refuse(path.key("depth")))?,
        activation: *keys.activation.get_or_insert(Activation::Relu),
        weight_std,
        bias_std,
    })
}

/// A kernel as an expression: its symbols say what it is of.
fn formula(raw: &RawKernel, path: &FieldPath, inputs: usize) -> Result<Formula, Fault> {
    let path = path.key("expression");
    let read = expression::required(raw.expression.as_ref(), path.clone(), &["r", "s", "a", "b"])?;
    let has = |symbols: &[&str]| symbols.iter().any(|s| Expr::depends_on(&read, s));
    let kinds = (has(&["r"]), has(&["s"]), has(&["a", "b"]));
    match kinds {
        (_, false, false) => Ok(Formula::Distance(read)),
        (false, true, false) => Ok(Formula::Dot(read)),
        (false, false, true) if inputs == 1 => Ok(Formula::Pair(read)),
        (false, false, true) => Err(Fault::at(path, format!("a and b with {inputs} inputs"))
            .allowed("r or s; a and b stand for a single input, such as of = \"x1\"")),
        _ => Err(Fault::at(path, "symbols of different kinds together")
            .allowed("r alone, s alone, or a and b")),
    }
}

fn missing(path: FieldPath) -> Fault {
    let allowed = allowed_for(&path).unwrap_or_default();
    Fault::at(path, "nothing").allowed(allowed)
}

fn is_length(value: f64) -> bool {
    (1e-150..=1e150).contains(&value)
}
