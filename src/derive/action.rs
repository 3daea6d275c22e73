//! The path integral and its Gaussian closure (theory T4, T6, T7, Prop. 3.1; the whitened form of section 6).

use super::document::{Part, Section, s};
use super::process::ProcessForms;
use crate::experiment::{Experiment, Process, Scheme, Spacing, StatisticsKind};
use crate::family::Family;
use crate::problem::{Prediction, StartLaw};
use crate::symbolic::Expr;

/// What the path integral averages over.
fn averaged(experiment: &Experiment) -> &'static str {
    match (&experiment.family, experiment.sampler.process) {
        (
            Family::Linear(_) | Family::Kernel(_) | Family::Network(_) | Family::LowRank(_),
            Process::PfOde,
        ) => {
            "The map from x_T to x_0 is deterministic for one trained model. Its average over training sets is the path integral (T4); p is the response field."
        }
        (
            Family::Linear(_) | Family::Kernel(_) | Family::Network(_) | Family::LowRank(_),
            Process::ReverseSde { .. },
        ) => {
            "The average over training sets and over the sampler's own noise is the path integral (T4); p is the response field."
        }
        (Family::Naive(_), _) => {
            "Noise enters afresh at every step; the average over it is the path integral (T4); p is the response field."
        }
    }
}

pub(super) fn section(experiment: &Experiment, process: &ProcessForms) -> Section {
    let mut parts = vec![
        Part::text(averaged(experiment)),
        Part::formula(
            "q(x_0 | x_T) = int Dp Dx exp{i int p (x' + beta x + D s_avg) dt - (1/2) int int p V p' dt dt' + higher cumulants}",
            r"q(x_0 \mid x_T) = \int \mathcal{D}p \, \mathcal{D}x \, \exp\left\{ i \int p_t \left(\dot{x}_t + \beta x_t + D s_{\mathrm{avg}}\right) \mathrm{d}t - \frac{1}{2} \iint p_t V(x_t, t; x_{t'}, t') p_{t'} \, \mathrm{d}t \, \mathrm{d}t' + \cdots \right\}",
        ),
    ];
    parts.extend(grid(experiment));
    parts.extend(steps(experiment, process));
    if experiment.family.linear().is_some() {
        parts.push(Part::text("Integrating p out leaves a Gaussian in the residuals of the path (T7). V has rank at most F, so the code integrates over whitened weights instead: W = Wbar + L eta, C_W = L L^T, with the flow map x_0 = Phi(eta; x_T)."));
        parts.push(Part::formula(
            "q(x_0 | x_T) = int d eta (2 pi)^(-r/2) exp(-|eta|^2/2) delta(x_0 - Phi(eta; x_T))",
            r"q(x_0 \mid x_T) = \int \frac{\mathrm{d}\eta}{(2 \pi)^{r/2}} \, \mathrm{e}^{-|\eta|^2 / 2} \, \delta\left(x_0 - \Phi(\eta; x_T)\right)",
        ));
    }
    Section {
        title: "Action".into(),
        parts,
    }
}

fn grid(experiment: &Experiment) -> Vec<Part> {
    let sampler = &experiment.sampler;
    if sampler.scheme == Scheme::Adaptive {
        return Vec::new();
    }
    let (text, latex) = match sampler.grid {
        Spacing::Uniform => (
            "t_k = t_max + (k/N) (t_min - t_max)",
            r"t_k = t_{\max} + \frac{k}{N} \left(t_{\min} - t_{\max}\right)",
        ),
        Spacing::Log => (
            "t_k = t_max (t_min/t_max)^(k/N)",
            r"t_k = t_{\max} \left(\frac{t_{\min}}{t_{\max}}\right)^{k/N}",
        ),
        Spacing::Karras => (
            "t_k = [t_max^(1/7) + (k/N) (t_min^(1/7) - t_max^(1/7))]^7",
            r"t_k = \left[t_{\max}^{1/7} + \frac{k}{N} \left(t_{\min}^{1/7} - t_{\max}^{1/7}\right)\right]^{7}",
        ),
    };
    vec![
        Part::text(format!(
            "The grid of the sampler has N = {} steps.",
            sampler.steps
        )),
        Part::formula(text, latex),
    ]
}

/// The discretised action, for the step of the scheme in use.
fn steps(experiment: &Experiment, process: &ProcessForms) -> Vec<Part> {
    let scheme = experiment.sampler.scheme;
    if matches!(scheme, Scheme::Heun | Scheme::Adaptive) {
        return vec![Part::text(
            "The scheme is a Runge-Kutta method with several evaluations per step: the action is that of the continuous process above; the solvers push trajectories forward with the scheme itself.",
        )];
    }
    let mut parts = vec![
        Part::text(
            "One step from t = t_k to s = t_(k+1) is affine in the denoiser Dn, and the discretised action is that of these steps (T6), with r_k the residuals of a path.",
        ),
        Part::formula(
            "x_(k+1) = c_k x_k + d_k Dn(x_k, t_k)",
            r"x_{k+1} = c_k \, x_k + d_k \, \widehat{D}(x_k, t_k)",
        ),
    ];
    let (c, d, noise) = coefficients(experiment, process);
    let arguments = &["t", "s"];
    parts.push(Part::define("c", arguments, &c));
    parts.push(Part::define("d", arguments, &d));
    if let Some(noise) = noise {
        parts.push(Part::text(
            "The reverse SDE adds to each step a fresh standard normal number times the following.",
        ));
        parts.push(Part::define("noise", arguments, &noise));
    }
    parts.push(Part::formula(
        "S = (1/2) r^T V^-1 r + (1/2) log det V, r_k = x_(k+1) - c_k x_k - d_k Dn_avg(x_k, t_k), V_kl = d_k d_l Cov[Dn(x_k, t_k), Dn(x_l, t_l)] (+ noise_k^2 for k = l)",
        r"S = \frac{1}{2} r^T V^{-1} r + \frac{1}{2} \ln \det V, \qquad r_k = x_{k+1} - c_k x_k - d_k \widehat{D}_{\mathrm{avg}}(x_k, t_k), \qquad V_{kl} = d_k d_l \, \mathrm{Cov}\left[\widehat{D}(x_k, t_k), \widehat{D}(x_l, t_l)\right] + \delta_{kl} \, \mathrm{noise}_k^2",
    ));
    parts
}

/// (c, d, noise) of one step from t to s.
fn coefficients(experiment: &Experiment, process: &ProcessForms) -> (Expr, Expr, Option<Expr>) {
    let later = |e: &Expr| e.substitute("t", &s("s"));
    let (alpha, sigma) = (&process.alpha, &process.sigma);
    let h = s("t") - s("s");
    let churn = match experiment.sampler.process {
        Process::PfOde | Process::ReverseSde { churn: 0.0 } => None,
        Process::ReverseSde { churn } => Some(Expr::from(churn)),
    };
    if experiment.sampler.scheme == Scheme::Euler {
        let (a, b) = process.drift(Prediction::Denoiser);
        let diffusion = || process.diffusion_coefficient.clone();
        let pull = churn
            .clone()
            .map(|churn| churn * diffusion() / sigma.clone().pow(2.0));
        let pull = pull.unwrap_or(Expr::from(0.0));
        let c = Expr::from(1.0) + h.clone() * (a - pull.clone());
        let d = h.clone() * (b + pull * alpha.clone());
        let noise = churn.map(|churn| (Expr::from(2.0) * churn * diffusion() * h).sqrt());
        return (c, d, noise);
    }
    let ratio = later(sigma) / sigma.clone();
    let rho = ratio.clone() * alpha.clone() / later(alpha);
    let kept = |power: Expr| Expr::Power(Box::new(rho.clone()), Box::new(power));
    let c = match &churn {
        None => ratio,
        Some(churn) => ratio * kept(churn.clone()),
    };
    let d = later(alpha) - alpha.clone() * c.clone();
    let noise = churn.map(|churn| {
        let lost = kept(Expr::from(2.0) * churn).simplify();
        later(sigma) * (Expr::from(1.0) - lost).sqrt()
    });
    (c, d, noise)
}

pub(super) fn effective_sde(experiment: &Experiment) -> Section {
    let (text, latex) = match &experiment.family {
        Family::Linear(_) | Family::Kernel(_) | Family::Network(_) | Family::LowRank(_) => (
            "x' = -beta x - D s_avg(x, t) + xi(x, t), E[xi(x, t) xi(y, s)] = V(x, t; y, s)",
            r"\dot{x}_t = -\beta \, x_t - D \, s_{\mathrm{avg}}(x_t, t) + \xi(x_t, t), \qquad \mathbb{E}\left[\xi(x, t) \, \xi(y, s)\right] = V(x, t; y, s)",
        ),
        Family::Naive(naive)
            if naive.kappa > 0.0
                && matches!(experiment.sampler.process, Process::ReverseSde { .. }) =>
        {
            (
                "x' = -beta x - (1 + h) D score(x, t) + xi, E[xi xi'] = [kappa (1 + h)^2 D C D + 2 h D] delta(t - t') (Ito)",
                r"\dot{x}_t = -\beta \, x_t - (1 + h) D \, s(x_t, t) + \xi_t, \qquad \mathbb{E}\left[\xi_t \xi_{t'}\right] = \left[\kappa \, (1 + h)^2 D C D + 2 h D\right] \delta(t - t')",
            )
        }
        Family::Naive(_) => (
            "x' = -beta x - D score(x, t) + xi, E[xi xi'] = kappa D C D delta(t - t') (Ito)",
            r"\dot{x}_t = -\beta \, x_t - D \, s(x_t, t) + \xi_t, \qquad \mathbb{E}\left[\xi_t \xi_{t'}\right] = \kappa \, D C D \, \delta(t - t')",
        ),
    };
    let mut parts = vec![
        Part::text(
            "With the first two cumulants only, sampling from the average over training sets is integrating, from t_max down to t_min, an equation with zero-mean Gaussian noise (Prop. 3.1).",
        ),
        Part::formula(text, latex),
        Part::text(
            "V = 0 gives back the flow of the mean score: memorisation, where that is the exact one.",
        ),
    ];
    if experiment.predict.statistics == Some(StatisticsKind::QuenchedLayer) {
        parts.push(Part::text("With the quenched layer s_avg and V are conditional on the layer, and the density is the average over layers."));
    }
    parts.push(Part::text(match experiment.sampler.start {
        StartLaw::Normal => "It starts from x_T of the law N(0, sigma(t_max)^2).",
        StartLaw::Standard => "It starts from x_T of the law N(0, 1).",
        StartLaw::Noised => {
            "It starts from the noised data, x_T = alpha(t_max) x_0 + sigma(t_max) xi."
        }
    }));
    if let Process::ReverseSde { churn } = experiment.sampler.process {
        parts.push(Part::text(format!(
            "The sampler is the reverse SDE with churn h = {churn:?}: the score enters 1 + h times, and there is white noise of strength 2 h D besides."
        )));
        parts.push(Part::formula(
            "dx = [beta x + (1 + h) D s] dtau + sqrt(2 h D) dW, tau = t_max - t",
            r"\mathrm{d}x = \left[\beta \, x + (1 + h) D \, s\right] \mathrm{d}\tau + \sqrt{2 h D} \, \mathrm{d}W, \qquad \tau = t_{\max} - t",
        ));
    }
    Section {
        title: "Effective SDE".into(),
        parts,
    }
}
