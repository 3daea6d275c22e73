//! `[[model.kernels]]`, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::activation_schema;
use crate::family::kernel::Activation;

/// A kernel of some of the inputs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::spec) struct RawKernel {
    /// What it sees: x (all coordinates), x1, x2, ..., t (what stands for the time), xt (everything).
    #[schemars(regex(pattern = "^(t|xt|x|x[1-9][0-9]*)$"))]
    pub of: String,
    /// Of two vectors of inputs at the distance r. rbf: exp(-r^2/(2 length^2)). matern: of the given order.
    /// rational-quadratic: (1 + r^2/(2 mixture length^2))^-mixture. dot: (inner product + offset)^power. nngp: covariance of an
    /// infinitely wide network. ntk: its tangent kernel. expression: as written.
    pub kind: KernelKind,
    /// Factor, > 0. Default 1.
    #[schemars(range(min = 1e-150, max = 1e150))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// rbf, matern, rational-quadratic: over which it falls, in units of the inputs.
    #[schemars(range(min = 1e-150, max = 1e150))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<f64>,
    /// matern: its smoothness, 0.5, 1.5 or 2.5. Default 1.5.
    #[schemars(extend("enum" = [0.5, 1.5, 2.5]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// rational-quadratic: > 0; large values approach rbf. Default 1.
    #[schemars(range(min = 1e-150, max = 1e150))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixture: Option<f64>,
    /// dot: >= 0. Default 1.
    #[schemars(range(min = 0.0, max = 1e150))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<f64>,
    /// dot: Default 2.
    #[schemars(range(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<u64>,
    /// nngp, ntk: the number of hidden layers.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u64>,
    /// nngp, ntk: activation of the hidden layers. Default relu.
    #[schemars(schema_with = "activation_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// nngp, ntk: standard deviation of the weights w in z = weight_std/sqrt(fan_in) w h + bias_std b. Default sqrt(2).
    #[schemars(range(min = 1e-3, max = 1e3))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_std: Option<f64>,
    /// nngp, ntk: standard deviation of the biases. Default 0.1.
    #[schemars(range(min = 0.0, max = 1e3))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias_std: Option<f64>,
    /// expression: in r (the distance), in s (the inner product), or in a and b (the one input of either point), such as
    /// "exp(-r^2)". It must be positive definite, which shows when a matrix of it is factorised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(in crate::spec) enum KernelKind {
    Rbf,
    Matern,
    RationalQuadratic,
    Dot,
    Nngp,
    Ntk,
    Expression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(in crate::spec) enum TimeInputs {
    Raw,
    Log,
    Fourier,
}
