//! The spec as it is written: flat structs, every default still open. Their documentation is the JSON Schema's.

mod kernel;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::experiment::{Method, Scheme, Spacing, Start, StatisticsKind};
use crate::family::Assignment;
use crate::family::kernel::Activation;
use crate::family::network::{Parameterisation, Precision};
use crate::problem::{Objective, Prediction, StartLaw};

pub(super) use kernel::{KernelKind, RawKernel, TimeInputs};

/// A vkernel experiment: what is learned, by which model, and how the prediction is made and checked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "vkernel spec", extend("anyOf" = [{ "required": ["model"] }, { "required": ["map"] }]))]
pub(super) struct RawSpec {
    /// Name of the experiment and of its output directory. Default: the spec file's name without its ending.
    #[schemars(length(min = 1, max = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seed of every random number, at most 2^53. Default 0.
    #[schemars(extend("maximum" = 9_007_199_254_740_992_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    pub data: RawData,
    pub diffusion: RawDiffusion,
    /// What is trained. May be left out where there is a `map`; then only the maps are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<RawModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<RawTraining>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<RawSampler>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predict: Option<RawPredict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monte_carlo: Option<RawMonteCarlo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<RawOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<RawMap>,
    /// Dotted keys, each with a non-empty list of values: every combination is one case, the first key varying
    /// slowest. Array elements are addressed by number, as in "model.features.0.count". The key "case" has tables, each with a
    /// label and some part of a spec, for cases that differ in several tables at once. Default: one case.
    #[schemars(schema_with = "sweep_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<BTreeMap<String, Value>>,
}

/// The training distribution p(x0) in D dimensions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawData {
    /// points: point masses. mixture: Gaussians. low-rank-mixture: Gaussians around the origin, each of variance 1 on a subspace of few
    /// dimensions. file: the rows of a table, equally weighted; equal rows are merged.
    pub kind: DataKind,
    /// points: M x D coordinates.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<Vec<Vec<f64>>>,
    /// points, mixture, low-rank-mixture: M weights >= 0 that sum to 1 (within 1e-6). Default: equal weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f64>>,
    /// mixture: M x D means.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<Vec<Vec<f64>>>,
    /// mixture: M x D standard deviations per coordinate, >= 0. Give either these or `covariances`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stds: Option<Vec<Vec<f64>>>,
    /// mixture: M x D x D covariance matrices, symmetric and positive semi-definite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covariances: Option<Vec<Vec<Vec<f64>>>>,
    /// low-rank-mixture: the dimension D of the points. Not where `bases` are matrices, which tell it.
    #[schemars(range(min = 1, max = 16384))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u64>,
    /// low-rank-mixture: the dimension of every subspace, at most D. Give either this with `subspaces`, or `ranks`.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u64>,
    /// low-rank-mixture: the number of subspaces of dimension `rank`. Default 1.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subspaces: Option<u64>,
    /// low-rank-mixture: the dimension of each subspace, at most D.
    #[schemars(length(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<Vec<u64>>,
    /// low-rank-mixture: random: every subspace uniformly at random. orthogonal: disjoint columns of one random orthogonal matrix. Or
    /// the subspaces' bases themselves: for each a matrix of D rows whose columns are orthonormal (to 1e-6). Default random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bases: Option<RawBases>,
    /// low-rank-mixture: standard deviation s of isotropic noise added to the points of the subspaces, >= 0: the variance is 1 + s^2 on
    /// a subspace and s^2 off it. Default 0.
    #[schemars(range(min = 0.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
    /// low-rank-mixture: seed of random bases, at most 2^53. Default: the spec's seed.
    #[schemars(extend("maximum" = 9_007_199_254_740_992_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// file: a .csv with a header line or a .npy array of 1 or 2 axes, relative to the spec file's directory, or
    /// else to the current directory.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// file: the columns to use, by name (.csv) or by number from 0. Default: all.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<Column>>,
    /// file: subtract each column's mean and divide by its (population) standard deviation. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standardize: Option<bool>,
    /// file: project the centred columns on this many leading principal axes, each axis signed so that its largest
    /// component is positive. Default: no projection.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pca: Option<u64>,
    /// file: multiply all coordinates by this number, last of all; finite, not 0. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// file: use the first rows only. Default: all rows.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// Turns the data about the origin by so many degrees, counter-clockwise; two dimensions only. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<f64>,
    /// file: checksum of the file (FNV-1a, 64 bits, 16 hexadecimal digits); another file is refused. Resolved specs
    /// carry it. Default: not checked.
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum DataKind {
    Points,
    Mixture,
    LowRankMixture,
    File,
}

/// Where the subspaces of a low-rank mixture come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum RawBases {
    Drawn(DrawnBases),
    /// K matrices, each by its D rows.
    Given(Vec<Vec<Vec<f64>>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum DrawnBases {
    Random,
    Orthogonal,
}

/// A column of a data file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum Column {
    Number(usize),
    Name(String),
}

/// The forward process x_t = alpha x_0 + sigma xi and its time window.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDiffusion {
    /// vp: variance preserving. edm: alpha = 1, sigma = t. ou: Ornstein-Uhlenbeck. flow: alpha = 1 - t, sigma = t.
    /// expression: `alpha` and `sigma` as written.
    pub kind: DiffusionKind,
    /// vp: the rate beta = -alpha'/alpha at t = 0, >= 0. Default 0.1.
    #[schemars(range(min = 0.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_min: Option<f64>,
    /// vp: growth of beta from t = 0 to t = 1, >= 0. Default 19.9.
    #[schemars(range(min = 0.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_delta: Option<f64>,
    /// vp: what beta stands for. "vastola" (default): alpha = exp(-integral of beta); "song": alpha = exp(-integral of
    /// beta / 2), as in Song et al. 2021, so that published constants can be used as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convention: Option<BetaConvention>,
    /// expression: the signal amplitude alpha as an expression in t, such as "cos(pi*t/2)", >= 0.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<String>,
    /// expression: the noise's standard deviation sigma as an expression in t, > 0. sqrt(-expm1(-2*t)) keeps the digits
    /// that sqrt(1 - exp(-2*t)) loses at small t. alpha^2/sigma^2 must not grow with t.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<String>,
    /// The cutoff epsilon at which training times and the sampler end, >= 1e-12. Default 0.01 (edm: 0.002; expression:
    /// none).
    #[schemars(range(min = 1e-12))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t_min: Option<f64>,
    /// The time at which the sampler starts, > t_min. Default 1 (edm: 80, ou: 5, expression: none).
    /// flow: at most 1.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t_max: Option<f64>,
}

/// What beta stands for in the variance-preserving process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum BetaConvention {
    Vastola,
    Song,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum DiffusionKind {
    Vp,
    Edm,
    Ou,
    Flow,
    Expression,
}

/// The family of score models.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    /// naive: fresh proxy noise at every sampling step. linear: fixed features, trained weights. kernel: kernel regression.
    /// ntk: an infinitely wide network in its lazy regime, the kernel being its neural tangent kernel of x and t. mlp: networks of
    /// finite width, predicted in that limit. low-rank: mixtures of Gaussians on subspaces, the bases learned.
    pub kind: ModelKind,
    /// naive: strength of the proxy noise, in units of time, >= 0. Default 0, the exact score.
    #[schemars(range(min = 0.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kappa: Option<f64>,
    /// linear, kernel, ntk: what the model's output stands for: E[x0|x,t], grad ln p(x|t) or E[noise|x,t]. Default denoiser.
    #[schemars(schema_with = "prediction_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicts: Option<Prediction>,
    /// linear: how the features of several coordinates combine. product: all products. additive: side by side, so that the
    /// model is a sum of functions of one coordinate. kernel: product or sum of the kernels. Default product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub combine: Option<Combine>,
    /// linear: the feature sets; the model's features are their products.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<RawFeature>>,
    /// kernel: its parts, combined as `combine` says.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernels: Option<Vec<RawKernel>>,
    /// kernel, ntk, mlp: what stands for the time. raw: t. log: ln t. fourier: cos and sin of 2 pi k t/time_period,
    /// k = 1..time_count. Default raw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeInputs>,
    /// fourier: the number of frequencies.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_count: Option<u64>,
    /// fourier: the period. Default twice the time window, 2 (t_max - t_min).
    #[schemars(range(min = 1e-150, max = 1e150))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_period: Option<f64>,
    /// ntk, mlp: the number of hidden layers.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u64>,
    /// ntk, mlp: activation of the hidden layers. Default relu.
    #[schemars(schema_with = "activation_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// ntk, mlp: standard deviation of the weights w in z = weight_std/sqrt(fan_in) w h + bias_std b. Default sqrt(2).
    #[schemars(range(min = 1e-3, max = 1e3))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_std: Option<f64>,
    /// ntk, mlp: standard deviation of the biases. Default 0.1.
    #[schemars(range(min = 0.0, max = 1e3))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias_std: Option<f64>,
    /// mlp: width of the hidden layers. Default 256.
    #[schemars(range(min = 1, max = 131_072))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u64>,
    /// mlp: ntk: weights are standard normal and scaled in every layer. standard: the same function with the scales in the weights,
    /// which gradient descent then moves at other rates. Default ntk.
    #[schemars(schema_with = "parameterisation_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameterisation: Option<Parameterisation>,
    /// mlp: precision of parameters and arithmetic. Default f32.
    #[schemars(schema_with = "precision_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// low-rank: the dimension of every subspace, at most D. Give either this with `subspaces`, or `ranks`. Default: the data's.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u64>,
    /// low-rank: the number of subspaces of dimension `rank`. Default: the data's, else 1.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subspaces: Option<u64>,
    /// low-rank: the dimension of each subspace, at most D. Default: those of the data.
    #[schemars(length(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<Vec<u64>>,
    /// low-rank: soft: by the posterior weights of the subspaces. sharp: the subspace of the largest one takes all. Default soft.
    #[schemars(schema_with = "assignment_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
    /// ntk, mlp: where training starts. zero: at f = 0 (a network's own function at the start is subtracted). random: at the
    /// function of a random network. Default random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<Initial>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Initial {
    Zero,
    Random,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum ModelKind {
    Naive,
    Linear,
    Kernel,
    Ntk,
    Mlp,
    #[serde(rename = "low-rank")]
    LowRank,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Combine {
    Product,
    Additive,
    Sum,
}

/// A set of features of one variable, or of all coordinates at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFeature {
    /// The variable: x1, x2, ..., or t; x for all coordinates of D >= 2 at once, in one set (radial, random-fourier, relu).
    /// An array of variables, such as ["x1", "x2", "t"], gives each of them such a set.
    #[schemars(schema_with = "of_schema")]
    pub of: Variables,
    /// gaussian: normal densities on evenly spaced centres. fourier: 1, cosines, sines with the range as period.
    /// polynomial: Legendre polynomials of the range. expression: as written. Of x: radial: isotropic normal densities.
    /// random-fourier: sqrt(2/count) cos(w.x + b), w normal, b uniform. relu: max(0, u.x + b), u of length 1.
    pub kind: FeatureKind,
    /// Number of features in the set. Required unless the kind is expression, where it is the number of expressions, or centres
    /// are given. radial with placement = "grid": number per coordinate.
    #[schemars(range(min = 1, max = 20_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Low and high end. Default: [t_min, t_max] for t, the output range for a coordinate. radial: of every coordinate, for
    /// the centres; relu: of every coordinate, the planes cross the sphere around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// gaussian: standard deviation in units of the spacing of the centres, from 1e-3 to 1e3. Default 0.5.
    #[schemars(range(min = 1e-3, max = 1e3))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<f64>,
    /// expression: the features as expressions in the variable (x stands for the set's own coordinate), such as "exp(-x^2/2)". They are
    /// differentiated exactly and must be finite, with three derivatives, wherever noised data lie.
    #[schemars(length(min = 1, max = 20_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expressions: Option<Vec<String>>,
    /// radial: where the centres are. random: uniform in the range. grid: `count` per coordinate, evenly spaced, the ends
    /// included. Default random. Does not go with `centres`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// radial: the centres, D coordinates each.
    #[schemars(length(min = 1, max = 20_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centres: Option<Vec<Vec<f64>>>,
    /// radial: the standard deviation; default half the spacing of as many centres on a grid. random-fourier: 1/length is the
    /// standard deviation of each component of w; default a quarter of the mean side of the output range.
    #[schemars(range(min = 1e-150, max = 1e150))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<f64>,
    /// radial with random centres, random-fourier, relu: seed of the features, the same for all models, at most 2^53. Default 0.
    #[schemars(extend("maximum" = 9_007_199_254_740_992_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// The variables that a feature set is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Variables {
    One(String),
    Each(Vec<String>),
}

impl Variables {
    /// Their names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Each(names) => names,
        }
    }

    /// The only name, or the first.
    pub fn name(&self) -> &str {
        self.names().first().map_or("", String::as_str)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum FeatureKind {
    Gaussian,
    Fourier,
    Polynomial,
    Expression,
    Radial,
    RandomFourier,
    Relu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Placement {
    Random,
    Grid,
}

/// How the weights are trained: weighted ridge regression on P triples (t, x0, x), or gradient flow. Not for the naive family.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTraining {
    /// dsm: the noisy target of denoising score matching. esm: its conditional mean. Default dsm.
    #[schemars(schema_with = "objective_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Weight of a squared error: snr is alpha^2/sigma^2 on the error of x0; uniform is 1, sigma2 is sigma^2 and
    /// expression is `weight` on the error of the predicted quantity. Default snr.
    #[schemars(schema_with = "weighting_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighting: Option<WeightingKind>,
    /// expression: the weight as an expression in t, alpha and sigma, >= 0, such as "alpha^2/sigma^2".
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// P, the number of samples per model. Default 1024 without a `dataset`.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// low-rank: N_k, as many clean points per model from each of the data's subspaces. Give either this or `dataset` (default 1000).
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_subspace: Option<u64>,
    /// low-rank: k-subspaces: clustering; for a single subspace the leading singular subspace, which minimises the loss. gradient:
    /// descent of the DSM loss on the Stiefel manifold, averaged over noises at four times. Default k-subspaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<FitKind>,
    /// low-rank: random starts, besides a spectral one with up to 600 points; the best result is kept. Default 8.
    #[schemars(range(min = 1, max = 10_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// N, the number of clean points per model, drawn from the data distribution; each is noised `draws` times, so that there are
    /// P = N m samples. Give either this or `samples`.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<u64>,
    /// m, the number of times that each clean point is noised, at as many times t. With `samples` it divides them: N = P/m.
    /// Default 1, P fresh triples. low-rank, gradient: noisy points of each clean point at each of four times, an even number,
    /// default 32.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<u64>,
    /// The ridge added to the second-moment matrix of the features, >= 0; 0 needs samples >= features. Of a kernel at least 1e-9 of the
    /// mean of lambda K(z, z) is taken, the jitter that rounding asks for (reported in the diagnostics). Default 0.1.
    #[schemars(range(min = 0.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ridge: Option<f64>,
    /// kernel, ntk: time tau of gradient flow on the mean loss (1/2P) sum lambda |f - y|^2, > 0, instead of ridge regression.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// mlp: gd: gradient descent on all samples. sgd: on batches. adam. Default gd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerKind>,
    /// mlp: the learning rate. Default with gd and sgd: one over the largest curvature of the loss at the start, half the limit of
    /// stability; a rate beyond that limit is refused. Default with adam: 0.001.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// mlp: number of steps, instead of a time; gd and sgd then need a learning rate.
    #[schemars(range(min = 1, max = 100_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// sgd, adam: samples in a batch, reshuffled in every epoch. Default with sgd 64, with adam all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// mlp: ends training early when the loss has fallen to this part of the first. Default 0, never.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_loss: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum FitKind {
    KSubspaces,
    Gradient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum OptimizerKind {
    Gd,
    Sgd,
    Adam,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WeightingKind {
    Snr,
    Uniform,
    Sigma2,
    Expression,
}

/// How trajectories are integrated from t_max to t_min.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSampler {
    /// pf-ode: the probability-flow ODE. reverse-sde: the reverse diffusion. Default pf-ode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<SamplerKind>,
    /// reverse-sde: strength h of the noise relative to the reverse diffusion of the forward process, >= 0 (0: the probability flow).
    /// Default 1.
    #[schemars(extend("minimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<f64>,
    /// euler | heun | ddim | adaptive; reverse-sde has no adaptive, proxy noise (kappa > 0) has euler.
    /// Default ddim (euler with proxy noise).
    #[schemars(schema_with = "scheme_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Number of steps of the fixed-step schemes. Default 80.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Spacing of the time grid. Default log.
    #[schemars(schema_with = "grid_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<Spacing>,
    /// adaptive: relative and absolute error per step, from 1e-14 to 0.1. Default 1e-8.
    #[schemars(range(min = 1e-14, max = 0.1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// Law of the positions at t_max. normal: N(0, sigma(t_max)^2 I). standard: N(0, I). noised: the noised data. Default normal.
    #[schemars(schema_with = "start_law_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartLaw>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum SamplerKind {
    PfOde,
    ReverseSde,
}

/// The theory side.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPredict {
    /// linear, kernel: statistics of the trained weights. sandwich: many more samples than features; with gradient flow (kernel,
    /// ntk, mlp) to first order in a sample's influence. equivalent: any number. quenched-layer: given the samples that carry the
    /// weight (methods mean-field, gaussian-field). Default: the most trustworthy that serve the methods, which is quenched-layer,
    /// or equivalent for other methods and for gradient flow in D >= 2 (draws there take seconds).
    #[schemars(schema_with = "statistics_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<StatisticsKind>,
    /// The predicted densities. Default: all that apply to the model and the sampler, but saddle, which takes as long as
    /// all the others together, and the rival theories gaussian-score, smoothed-score and linear-rmt (pf-ode).
    #[schemars(schema_with = "methods_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<Method>>,
    /// linear: draws of each sampled prediction (gaussian-field, sample-sum). Default 2000.
    #[schemars(range(min = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<u64>,
    /// linear, kernel: data sets that are drawn and averaged over where samples share clean points (training.draws > 1), unless
    /// gradient flow on points is solved to first order (statistics sandwich). Default 16.
    #[schemars(range(min = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_sets: Option<u64>,
    /// linear: trajectories per draw, at least 8, or 32 with stratified starts. The average density needs few, bands over
    /// single densities as many as the models they are compared with. Default monte_carlo.particles.
    #[schemars(range(min = 8))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub particles: Option<u64>,
    /// quenched-layer: estimated error of the closure (total variation) at which the layer is large enough, 0 to 1.
    /// Default 0.02.
    #[schemars(range(min = 0, max = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// linear: correct mean and variance of `semiclassical` to the next order in V, wherever V is small enough (schemes
    /// euler and ddim). Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_loop: Option<bool>,
    /// smoothed-score: width of the Gaussian neighbourhood that the exact score is averaged over, in units of x0, > 0. Default:
    /// half the median distance from a point (or a component's mean) to its nearest neighbour.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// saddle: starts x_T whose lines of saddles are followed. Default 64.
    #[schemars(range(min = 8, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<u64>,
    /// saddle: an interval [low, high] of x_0 whose filling is explained: its probability, and the fluctuation of the
    /// training set that fills it most easily. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<[f64; 2]>,
}

/// The Monte Carlo side.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMonteCarlo {
    /// Number of independently trained models (naive: of independent groups of particles). Default 1000 (naive: 100).
    #[schemars(range(min = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<u64>,
    /// stratified: quantiles of the starting Gaussian, pushed forward as a density. random: independent draws.
    /// Default: stratified where the sampler is deterministic, else random.
    #[schemars(schema_with = "start_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Trajectories per model: at least 8, stratified at least 32. Default 4096 (stratified: 256).
    #[schemars(range(min = 8))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub particles: Option<u64>,
}

/// The bins of the reported densities.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutput {
    /// Low and high end: one pair for all coordinates, or one per coordinate. Default: the data's extent, widened on
    /// either side by a quarter of itself or by four standard deviations of a noised component, whichever is larger. One
    /// pair also holds for all `directions`; otherwise these have the data's extent along them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<RawRange>,
    /// Bins per axis. Default 60, in more than one dimension 30.
    #[schemars(range(min = 1, max = 10_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bins: Option<u64>,
    /// D >= 2: two or more directions, vectors of D numbers (of any length), that densities are reported along: that of the
    /// first two together, and in more than two dimensions the marginal along each and the planes of the third and fourth,
    /// ... Default: the coordinates in two dimensions, else the first four principal axes of the data.
    #[schemars(length(min = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directions: Option<Vec<Vec<f64>>>,
    /// model.kind = "low-rank": false leaves all densities out, so that models are trained and their subspaces compared with the
    /// true ones, and nothing else is done. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub densities: Option<bool>,
}

/// Maps, in one or two dimensions, of where the target of training is noisy: tr C / (tr C + |s|^2) with C the proxy score's
/// covariance and s the score.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMap {
    /// Times from diffusion.t_min to diffusion.t_max, one map for each. Default: five from t_min to t_max, evenly spaced in
    /// ln t.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<Vec<f64>>,
    /// Low and high end: one pair for all coordinates, or one per coordinate. Default: as that of `output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<RawRange>,
    /// Pixels per coordinate; the maps are evaluated at their centres. Default 200, on the line 1000.
    #[schemars(range(min = 2, max = 2000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<u64>,
}

/// One pair of ends for all coordinates, or one per coordinate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum RawRange {
    All([f64; 2]),
    Each(Vec<[f64; 2]>),
}

/// Schema of a choice between names. The names are those of the domain's own enums (tested).
macro_rules! choices {
    ($($function:ident: $($name:literal)|+;)*) => {
        $(fn $function(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string", "enum": [$($name),+] })
        })*
    };
}

choices! {
    prediction_schema: "denoiser" | "score" | "noise";
    activation_schema: "relu" | "erf" | "gelu";
    parameterisation_schema: "ntk" | "standard";
    precision_schema: "f32" | "f64";
    assignment_schema: "soft" | "sharp";
    objective_schema: "dsm" | "esm";
    weighting_schema: "snr" | "uniform" | "sigma2" | "expression";
    scheme_schema: "euler" | "heun" | "ddim" | "adaptive";
    grid_schema: "uniform" | "log" | "karras";
    statistics_schema: "sandwich" | "equivalent" | "quenched-layer";
    start_schema: "stratified" | "random";
    start_law_schema: "normal" | "standard" | "noised";
}

fn methods_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "uniqueItems": true,
        "items": { "type": "string", "enum": Method::ALL.map(Method::name) }
    })
}

fn of_schema(_: &mut SchemaGenerator) -> Schema {
    let one = serde_json::json!({ "type": "string", "pattern": "^(t|x|x[1-9][0-9]*)$" });
    json_schema!({ "anyOf": [one, { "type": "array", "minItems": 1, "uniqueItems": true, "items": one }] })
}

fn sweep_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "anyOf": [{ "type": "array", "minItems": 1 }, { "type": "object" }] }
    })
}

/// JSON Schema of a spec.
pub fn spec_schema() -> Value {
    let mut schema = schemars::schema_for!(RawSpec).to_value();
    remove_null(&mut schema);
    schema
}

/// Optional keys are left out, never null: takes the `null` alternatives out of a schema.
fn remove_null(schema: &mut Value) {
    if let Some(types) = schema.get_mut("type")
        && let Value::Array(alternatives) = types
    {
        alternatives.retain(|t| t != "null");
        if let [only] = &alternatives[..] {
            *types = only.clone();
        }
    }
    if let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") {
        alternatives.retain(|a| a.get("type").is_none_or(|t| t != "null"));
        if let [Value::Object(only)] = &alternatives[..] {
            let only = only.clone();
            if let Value::Object(table) = schema {
                table.remove("anyOf");
                table.extend(only);
            }
        }
    }
    match schema {
        Value::Object(table) => table.values_mut().for_each(remove_null),
        Value::Array(items) => items.iter_mut().for_each(remove_null),
        _ => {}
    }
}
