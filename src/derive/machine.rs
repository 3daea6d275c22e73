//! Machines trained with a kernel: the law of the trained functions, and the V-kernel they make (theory, section 7; derivation 22).

use super::document::{Part, Section};
use super::kernel::{PAIR, Writer};
use super::model::{drift, law, meaning, samples, target, weight};
use super::process::ProcessForms;
use crate::experiment::{Experiment, StatisticsKind};
use crate::family::{Family, KernelFamily};
use crate::problem::Training;

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

/// The training protocol, what it makes of one training set, and the first two moments over training sets.
fn trained(experiment: &Experiment, family: &KernelFamily, training: &Training) -> Section {
    let target = target(training.objective);
    let samples = samples(training);
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
                training.draws > 1 && experiment.predict.data_sets.is_none(),
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
    let mut parts = drift(
        family.linear.predicts,
        process,
        "that of the trained functions between two points",
    );
    parts.extend([
        Part::formula(
            "V(x, t; y, s) = b(t) b(s) Cov[f(x, t), f(y, s)] = b(t) b(s) sum_ij phi_i(x, t) C_W[i, j] phi_j(y, s)",
            r"V(x, t; y, s) = b(t) \, b(s) \, \mathrm{Cov}\left[f(x, t), f(y, s)\right] = b(t) \, b(s) \sum_{ij} \phi_i(x, t) \, \left(C_W\right)_{ij} \, \phi_j(y, s)",
        ),
        Part::Script(KERNEL_V.into()),
    ]);
    Section {
        title: "V-kernel".into(),
        parts,
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
