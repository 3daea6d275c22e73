//! The target of denoising score matching for this data set (theory T2, T3).

use super::document::{Part, Section, n, s};
use crate::experiment::Experiment;
use crate::problem::Data;
use crate::symbolic::Expr;

/// Most components whose posterior is written out.
const MOST_COMPONENTS: usize = 12;

pub(super) fn section(experiment: &Experiment) -> Section {
    let data = &experiment.problem.data;
    let mut parts = vec![
        Part::text(
            "Denoising score matching regresses on the proxy score of one clean point. Its mean given x is the score (T2), its covariance C the target noise (T3).",
        ),
        Part::formula(
            "proxy_score = (alpha x_0 - x)/sigma^2, E[proxy_score | x, t] = score(x, t)",
            r"\tilde{s}(x, t; x_0) = \frac{\alpha \, x_0 - x}{\sigma^2}, \qquad \mathbb{E}\left[\tilde{s} \mid x, t\right] = s(x, t) = \partial_x \ln p(x \mid t)",
        ),
        Part::formula(
            "C(x, t) = Var[proxy_score | x, t] = (alpha^2/sigma^4) Var(x_0 | x, t)",
            r"C(x, t) = \mathrm{Var}\left[\tilde{s} \mid x, t\right] = \frac{\alpha^2}{\sigma^4} \, \mathrm{Var}\left(x_0 \mid x, t\right)",
        ),
    ];
    parts.extend(posterior_rule(data));
    if data.components().len() <= MOST_COMPONENTS {
        parts.extend(written_out(data));
    } else {
        parts.push(Part::text(format!(
            "The data have {} components, more than {MOST_COMPONENTS}: the sums are not written out; the SymPy form carries them as lists.",
            data.components().len()
        )));
        parts.push(Part::Script(as_lists(data)));
    }
    parts.push(Part::define(
        "score",
        &["x", "t"],
        &((s("alpha") * s("posterior_mean") - s("x")) / s("sigma").pow(2.0)),
    ));
    let ratio = s("alpha").pow(2.0) / s("sigma").pow(4.0);
    parts.push(Part::define(
        "C",
        &["x", "t"],
        &(ratio * s("posterior_variance")),
    ));
    Section {
        title: "Target of denoising score matching".into(),
        parts,
    }
}

fn posterior_rule(data: &Data) -> Vec<Part> {
    vec![
        Part::text(format!(
            "The clean point is drawn from {} component(s) of weight pi_m, mean mu_m and variance v_m; given x, component m has the weight w_m.",
            data.components().len()
        )),
        Part::formula(
            "w_m = g_m/sum_m g_m, g_m = pi_m N(x; alpha mu_m, alpha^2 v_m + sigma^2)",
            r"w_m = \frac{g_m}{\sum_l g_l}, \qquad g_m = \pi_m \, \mathcal{N}\left(x; \alpha \mu_m, \alpha^2 v_m + \sigma^2\right)",
        ),
        Part::formula(
            "E[x_0 | x, t] = sum_m w_m m_m, m_m = mu_m + alpha v_m (x - alpha mu_m)/(alpha^2 v_m + sigma^2)",
            r"\mathbb{E}\left[x_0 \mid x, t\right] = \sum_m w_m m_m, \qquad m_m = \mu_m + \frac{\alpha v_m \left(x - \alpha \mu_m\right)}{\alpha^2 v_m + \sigma^2}",
        ),
        Part::formula(
            "Var(x_0 | x, t) = sum_m w_m [v_m sigma^2/(alpha^2 v_m + sigma^2) + (m_m - E[x_0 | x, t])^2]",
            r"\mathrm{Var}\left(x_0 \mid x, t\right) = \sum_m w_m \left[\frac{v_m \sigma^2}{\alpha^2 v_m + \sigma^2} + \left(m_m - \mathbb{E}\left[x_0 \mid x, t\right]\right)^2\right]",
        ),
    ]
}

/// alpha^2 v + sigma^2.
fn marginal_variance(v: f64) -> Expr {
    s("alpha").pow(2.0) * n(v) + s("sigma").pow(2.0)
}

/// One definition per component, then the moments.
fn written_out(data: &Data) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut joints = Vec::new();
    let components = data.components().iter().zip(data.weights());
    for (i, (component, &weight)) in components.clone().enumerate() {
        let (mu, v) = (component.mean[0], component.variances[0]);
        let total = marginal_variance(v);
        let misfit = s("x") - s("alpha") * n(mu);
        let exponent = n(-0.5) * misfit.pow(2.0) / total.clone();
        let density = exponent.exp() / (n(2.0) * Expr::pi() * total).sqrt();
        let name = format!("g_{}", i + 1);
        parts.push(Part::define(&name, &["x", "t"], &(n(weight) * density)));
        joints.push(s(&name));
    }
    let evidence = Expr::Sum(joints.clone());
    parts.push(Part::define("evidence", &["x", "t"], &evidence));
    let mut mean_terms = Vec::new();
    let mut variance_terms = Vec::new();
    for ((component, _), g) in components.zip(&joints) {
        let (mu, v) = (component.mean[0], component.variances[0]);
        let total = marginal_variance(v);
        let misfit = s("x") - s("alpha") * n(mu);
        let m = n(mu) + s("alpha") * n(v) * misfit / total.clone();
        let within = n(v) * s("sigma").pow(2.0) / total;
        let between = (m.clone() - s("posterior_mean")).pow(2.0);
        let w = g.clone() / s("evidence");
        mean_terms.push(w.clone() * m);
        variance_terms.push(w * (within + between));
    }
    let arguments = &["x", "t"];
    parts.push(Part::define(
        "posterior_mean",
        arguments,
        &Expr::Sum(mean_terms),
    ));
    parts.push(Part::define(
        "posterior_variance",
        arguments,
        &Expr::Sum(variance_terms),
    ));
    parts
}

/// The same sums over Python lists.
fn as_lists(data: &Data) -> String {
    let column = |f: &dyn Fn(usize) -> f64| {
        let values: Vec<String> = (0..data.components().len())
            .map(|i| format!("{:?}", f(i)))
            .collect();
        values.join(", ")
    };
    let weights = column(&|i| data.weights()[i]);
    let means = column(&|i| data.components()[i].mean[0]);
    let variances = column(&|i| data.components()[i].variances[0]);
    [
        format!("pi_m = [{weights}]"),
        format!("mu_m = [{means}]"),
        format!("v_m = [{variances}]"),
        "total_m = [alpha**2*v + sigma**2 for v in v_m]".into(),
        "g_m = [w*exp(-(x - alpha*mu)**2/(2*u))/sqrt(2*pi*u) for w, mu, u in zip(pi_m, mu_m, total_m)]".into(),
        "m_m = [mu + alpha*v*(x - alpha*mu)/u for mu, v, u in zip(mu_m, v_m, total_m)]".into(),
        "evidence = Add(*g_m)".into(),
        "posterior_mean = Add(*[g*m for g, m in zip(g_m, m_m)])/evidence".into(),
        "posterior_variance = Add(*[g*(v*sigma**2/u + (m - posterior_mean)**2) for g, v, u, m in zip(g_m, v_m, total_m, m_m)])/evidence".into(),
    ]
    .join("\n")
}
