//! Features, the law of the trained weights, and the V-kernel they make (theory T5, T9 to T14, T19).

use super::document::{List, Part, Section, n, s};
use super::process::ProcessForms;
use crate::experiment::{Experiment, StatisticsKind};
use crate::family::features::{Factor, FeatureSet};
use crate::family::{Family, Linear, Naive};
use crate::problem::{Objective, Prediction, Training, Weighting};
use crate::symbolic::Expr;

pub(super) fn sections(experiment: &Experiment, process: &ProcessForms) -> Vec<Section> {
    match (&experiment.family, &experiment.training) {
        (Family::Linear(linear), Some(training)) => vec![
            model(linear, process),
            weights(experiment, training, linear.predicts),
            v_kernel(linear, process),
        ],
        (Family::Linear(linear), None) => vec![model(linear, process), v_kernel(linear, process)],
        (Family::Kernel(_) | Family::Network(_) | Family::LowRank(_), _) => Vec::new(), // no given features
        (Family::Naive(naive), _) => vec![naive_v_kernel(*naive)],
    }
}

pub(super) fn meaning(predicts: Prediction) -> &'static str {
    match predicts {
        Prediction::Denoiser => "the denoiser E[x_0 | x, t]",
        Prediction::Score => "the score",
        Prediction::Noise => "the noise E[xi | x, t]",
    }
}

fn model(linear: &Linear, process: &ProcessForms) -> Section {
    let (p, q) = process.regression(linear.predicts);
    let features = &linear.features;
    let mut parts = vec![
        Part::text(format!(
            "The model is linear in its weights and predicts {}; its regression target is affine in the clean point.",
            meaning(linear.predicts)
        )),
        Part::formula(
            "f(x, t) = sum_i W_i phi_i(x, t), y = p x_0 + q x",
            r"f(x, t) = \sum_i W_i \, \phi_i(x, t), \qquad y = p(t) \, x_0 + q(t) \, x",
        ),
        Part::define("p", &["t"], &p),
        Part::define("q", &["t"], &q),
        Part::text(format!(
            "There are F = {} features: products of {} of x and {} of t, the latter running fastest.",
            features.len(),
            features.space_len(),
            features.time.len()
        )),
    ];
    parts.push(Part::List(List {
        name: "phi_x".into(),
        arguments: &["x"],
        values: factor(features.space.line(), "x"),
    }));
    parts.push(Part::List(List {
        name: "phi_t".into(),
        arguments: &["t"],
        values: factor(&features.time, "t"),
    }));
    parts.push(Part::Script(FEATURES.into()));
    Section {
        title: "Model".into(),
        parts,
    }
}

/// The products of a factor's sets, the last running fastest.
fn factor(factor: &Factor, variable: &str) -> Vec<Expr> {
    let mut all = vec![n(1.0)];
    for set in factor.sets() {
        let values = feature_set(set, variable);
        all = all
            .iter()
            .flat_map(|l| values.iter().map(move |r| l.clone() * r.clone()))
            .collect();
    }
    all.iter().map(Expr::simplify).collect()
}

fn feature_set(set: &FeatureSet, variable: &str) -> Vec<Expr> {
    let a = || s(variable);
    match set {
        FeatureSet::Gaussian(g) => {
            let height = || n(g.std()) * (n(2.0) * Expr::pi()).sqrt();
            g.centres()
                .map(|centre| {
                    let z = (a() - n(centre)) / n(g.std());
                    (n(-0.5) * z.pow(2.0)).exp() / height()
                })
                .collect()
        }
        FeatureSet::Fourier(f) => {
            let wave = |function, k: usize| {
                let angle = n(2.0 * k as f64) * Expr::pi() * a() / n(f.period());
                Expr::apply(function, angle)
            };
            let (cosines, sines) = f.waves();
            std::iter::once(n(1.0))
                .chain((1..=cosines).map(|k| wave(crate::symbolic::Function::Cos, k)))
                .chain((1..=sines).map(|k| wave(crate::symbolic::Function::Sin, k)))
                .collect()
        }
        FeatureSet::Polynomial(p) => {
            let (middle, half) = p.interval();
            legendre(&((a() - n(middle)) / n(half)), set.len())
        }
        FeatureSet::Expression(e) => e
            .features()
            .iter()
            .map(|f| f.substitute("x1", &s("x")))
            .collect(),
        FeatureSet::Chebyshev(_) => Vec::new(), // of a kernel's expansion, which is not written out
    }
}

/// Legendre polynomials P_0, P_1, ... as sums of powers of z.
fn legendre(z: &Expr, count: usize) -> Vec<Expr> {
    let mut coefficients: Vec<Vec<f64>> = vec![vec![1.0], vec![0.0, 1.0]];
    for m in 2..count {
        let k = m as f64;
        let mut next = vec![0.0; m + 1];
        for (i, c) in coefficients[m - 1].iter().enumerate() {
            next[i + 1] += (2.0 * k - 1.0) / k * c;
        }
        for (i, c) in coefficients[m - 2].iter().enumerate() {
            next[i] -= (k - 1.0) / k * c;
        }
        coefficients.push(next);
    }
    coefficients
        .iter()
        .take(count)
        .map(|c| {
            let term = |(i, c): (usize, &f64)| n(*c) * z.clone().pow(i as f64);
            Expr::Sum(c.iter().enumerate().map(term).collect())
        })
        .collect()
}

/// What a model is trained on.
pub(super) fn samples(training: &Training) -> String {
    match training.draws {
        1 => format!("P = {} fresh samples", training.samples),
        m => format!(
            "P = {} samples, {m} noised versions of each of {} clean points",
            training.samples,
            training.clean_points()
        ),
    }
}

/// The training protocol and the first two moments of the weights.
fn weights(experiment: &Experiment, training: &Training, predicts: Prediction) -> Section {
    let target = target(training.objective);
    let mut parts = vec![
        Part::text(format!(
            "Ridge regression on {} (t uniform), ridge rho = {:?}, on {target}, with the weight lambda on the squared error of the model's output.",
            samples(training),
            training.ridge
        )),
        Part::formula(
            "W = argmin (1/P) sum_p lambda(t_p) (W phi(x_p, t_p) - y_p)^2 + rho |W|^2",
            r"W = \operatorname*{arg\,min} \; \frac{1}{P} \sum_p \lambda(t_p) \left(W \phi(x_p, t_p) - y_p\right)^2 + \rho \left|W\right|^2",
        ),
        Part::define("lambda_t", &["t"], &weight(training, predicts)),
        Part::formula(
            "W ~ (mean Wbar_i, covariance C_W[i, j]), z = sqrt(lambda) phi, u = sqrt(lambda) y",
            r"\mathbb{E}\left[W_i\right] = \bar{W}_i, \qquad \mathrm{Cov}\left(W_i, W_j\right) = C_{ij}, \qquad z = \sqrt{\lambda} \, \phi, \quad u = \sqrt{\lambda} \, y",
        ),
    ];
    if let Some(kind) = experiment.predict.statistics {
        parts.extend(law(kind));
    }
    Section {
        title: "Trained weights".into(),
        parts,
    }
}

/// What is regressed on.
pub(super) fn target(objective: Objective) -> &'static str {
    match objective {
        Objective::Dsm => "the noisy target y itself (dsm)",
        Objective::Esm => {
            "its conditional mean E[y | x, t], without noise (esm: Var(u | x, t) = 0 below)"
        }
    }
}

pub(super) fn weight(training: &Training, predicts: Prediction) -> Expr {
    let snr = || s("alpha").pow(2.0) / s("sigma").pow(2.0);
    match &training.weighting {
        Weighting::Uniform => n(1.0),
        Weighting::Sigma2 => s("sigma").pow(2.0),
        Weighting::Snr if predicts == Prediction::Denoiser => snr(),
        Weighting::Snr => snr() / s("p").pow(2.0),
        Weighting::Expression(weight) => weight.expression().clone(),
    }
}

pub(super) fn law(kind: StatisticsKind) -> Vec<Part> {
    let sandwich = [
        Part::text("Many more samples than features (T11); r is the residual u - Wbar z."),
        Part::formula(
            "Q = (E[z z^T] + rho)^-1, Wbar = E[u z^T] Q, C_W = (1/P) Q {E[(Var(u | x, t) + r^2) z z^T] - rho^2 Wbar^T Wbar} Q",
            r"Q = \left(\mathbb{E}[z z^T] + \rho\right)^{-1}, \quad \bar{W} = \mathbb{E}[u z^T] Q, \quad C = \frac{1}{P} Q \left\{\mathbb{E}\left[\left(\mathrm{Var}(u \mid x, t) + r^2\right) z z^T\right] - \rho^2 \bar{W}^T \bar{W}\right\} Q",
        ),
    ];
    let equivalent = [
        Part::text(
            "Any ratio of features to samples: the deterministic equivalent with sample-dependent leverage (T12, T13); r^2 is Var(u | x, t) plus the squared misfit.",
        ),
        Part::formula(
            "delta(z) = z^T Q z/P, Q = (E[z z^T/(1 + delta)] + rho)^-1, Wbar = E[u z^T/(1 + delta)] Q",
            r"\delta(z) = \frac{z^T Q z}{P}, \qquad Q = \left(\mathbb{E}\left[\frac{z z^T}{1 + \delta}\right] + \rho\right)^{-1}, \qquad \bar{W} = \mathbb{E}\left[\frac{u z^T}{1 + \delta}\right] Q",
        ),
        Part::formula(
            "C_W = Q {(1/P) E[(r^2 + z^T C_W z)/(1 + delta)^2 z z^T] - (rho^2/P) Wbar^T Wbar} Q",
            r"C = Q \left\{\frac{1}{P} \mathbb{E}\left[\frac{r^2 + z^T C z}{(1 + \delta)^2} z z^T\right] - \frac{\rho^2}{P} \bar{W}^T \bar{W}\right\} Q",
        ),
    ];
    let layer = [
        Part::text(
            "The samples of largest leverage (the layer A) are drawn as they are, the rest is replaced by its equivalent (T19); given the layer, W is Gaussian to the closure used here.",
        ),
        Part::formula(
            "W = [A_rest + xi + (1/P) sum_A u z^T] [Sigma_rest + (1/P) sum_A z z^T + rho]^-1, Cov(xi) = (1/P) E[1_rest (r^2 + z^T C_W z)/(1 + delta)^2 z z^T]",
            r"W = \left[A_{\mathrm{rest}} + \xi + \frac{1}{P} \sum_{A} u z^T\right] \left[\Sigma_{\mathrm{rest}} + \frac{1}{P} \sum_{A} z z^T + \rho\right]^{-1}, \qquad \mathrm{Cov}(\xi) = \frac{1}{P} \mathbb{E}\left[1_{\mathrm{rest}} \frac{r^2 + z^T C z}{(1 + \delta)^2} z z^T\right]",
        ),
    ];
    match kind {
        StatisticsKind::Sandwich => sandwich.into(),
        StatisticsKind::Equivalent => equivalent.into(),
        StatisticsKind::QuenchedLayer => equivalent.into_iter().chain(layer).collect(),
    }
}

fn v_kernel(linear: &Linear, process: &ProcessForms) -> Section {
    let mut parts = drift(linear.predicts, process, "a quadratic form in the features");
    parts.extend([
        Part::formula(
            "V(x, t; y, s) = D(t) Cov[score_model(x, t), score_model(y, s)] D(s) = b(t) b(s) sum_ij phi_i(x, t) C_W[i, j] phi_j(y, s)",
            r"V(x, t; y, s) = D_t \, \mathrm{Cov}\left[\hat{s}(x, t), \hat{s}(y, s)\right] D_s = b(t) \, b(s) \sum_{ij} \phi_i(x, t) \, C_{ij} \, \phi_j(y, s)",
        ),
        Part::Script(LINEAR_V.into()),
    ]);
    Section {
        title: "V-kernel".into(),
        parts,
    }
}

/// The drift of the flow in terms of the model's output, whose covariance is `form`.
pub(super) fn drift(predicts: Prediction, process: &ProcessForms, form: &str) -> Vec<Part> {
    let (a, b) = process.drift(predicts);
    vec![
        Part::text(format!(
            "The drift of the probability-flow ODE is affine in the model's output f, so its covariance over training sets, the V-kernel (T5), is {form}."
        )),
        Part::formula(
            "beta x + D score_model = a x + b f",
            r"\beta \, x + D \, \hat{s}(x, t) = a(t) \, x + b(t) \, f(x, t)",
        ),
        Part::define("a", &["t"], &a),
        Part::define("b", &["t"], &b),
    ]
}

/// The product features at a point.
const FEATURES: &str = "

def phi(x_, t_):
    \"\"\"The F features at a position and a time, that of time running fastest.\"\"\"
    space = [at(f, {x: x_}) for f in phi_x]
    time = [at(g, {t: t_}) for g in phi_t]
    return [f*g for f in space for g in time]
";

/// The V-kernel as a function of the weights' covariance.
const LINEAR_V: &str = "

def V(x_, t_, y_, s_, C_W):
    \"\"\"The V-kernel; C_W is the F x F covariance of the weights, as rows.\"\"\"
    left, right = phi(x_, t_), phi(y_, s_)
    form = sum(l*sum(c*r for c, r in zip(row, right)) for l, row in zip(left, C_W))
    return at(b, {t: t_})*at(b, {t: s_})*form
";

fn naive_v_kernel(naive: Naive) -> Section {
    let mut parts = vec![
        Part::text(format!(
            "The naive family uses the exact score with fresh proxy noise of strength kappa = {:?} at every Euler step (T9): the noise is white in time, and V is given by its strength.",
            naive.kappa
        )),
        Part::formula(
            "V(x, t; x', t') = kappa D C D delta(t - t')",
            r"V(x, t; x', t') = \kappa \, D_t \, C(x, t) \, D_t \, \delta(t - t')",
        ),
        Part::define(
            "V",
            &["x", "t"],
            &(n(naive.kappa) * s("D").pow(2.0) * s("C")),
        ),
    ];
    if naive.kappa == 0.0 {
        parts.push(Part::text(
            "kappa = 0 is the exact score: no noise, and the flow returns to the data.",
        ));
    }
    Section {
        title: "V-kernel".into(),
        parts,
    }
}
