//! Which approximation is made where, and what it neglects.

use super::document::{Part, Section};
use crate::experiment::{Experiment, Method, Process, Scheme, StatisticsKind};
use crate::family::Family;

pub(super) fn section(experiment: &Experiment) -> Section {
    let mut items: Vec<(String, &str)> = Vec::new();
    if let Some(kind) = experiment.predict.statistics {
        items.push((
            format!("predict.statistics = {:?}", kind.name()),
            statistics(kind),
        ));
    }
    for method in &experiment.predict.methods {
        items.push((
            format!("method {:?}", method.name()),
            solver(*method, experiment),
        ));
    }
    items.push((
        format!("sampler.steps = {}", experiment.sampler.steps),
        discretisation(experiment),
    ));
    items.push((
        format!("start at t_max = {:?}", experiment.problem.t_max),
        "Trajectories start from N(0, sigma^2) instead of p(x | t_max); neglected is the signal left there, of relative size alpha/sigma at t_max.",
    ));
    items.push((
        format!("end at t_min = {:?}", experiment.problem.t_min),
        "The density is that at t_min: data noised by sigma(t_min), not the clean data.",
    ));
    if let Some(sets) = experiment.predict.data_sets {
        items.push((
            format!("samples that share clean points, {sets} data sets"),
            "Averages over drawn data sets of (P - 1)/(m - 1) points, given which samples are fresh (derivation 27): the formulas hold for each of them with its points as the data. Any two samples have their joint law; neglected is how often three and more share a point, and the number of data sets is finite.",
        ));
    }
    if experiment.family.linear().is_some() {
        items.push((
            "averages over training samples".into(),
            "Quadrature over t and x, refined until the statistics stop changing; nothing is neglected beyond the reported error.",
        ));
    }
    Section {
        title: "Approximations".into(),
        parts: items
            .into_iter()
            .map(|(place, what)| Part::text(format!("{place}: {what}")))
            .collect(),
    }
}

fn statistics(kind: StatisticsKind) -> &'static str {
    match kind {
        StatisticsKind::Sandwich => {
            "The limit P >> F (T11): the second moments of the features are their averages. Neglected are the fluctuations of the design (leverage delta = z^T Q z/P), of relative order F/P."
        }
        StatisticsKind::Equivalent => {
            "The deterministic equivalent (T12, T13): each sample has its own leverage, but the leverage does not fluctuate from one training set to the next. Neglected is the occupancy of rare, heavy samples, which matters around F/P = 1."
        }
        StatisticsKind::QuenchedLayer => {
            "The quenched layer (T19): samples of large leverage are drawn as they are, the rest by its equivalent. Neglected are fluctuations of the rest's leverage, below predict.tolerance by the theory's own estimate; the draws are finite in number."
        }
    }
}

fn solver(method: Method, experiment: &Experiment) -> &'static str {
    let layered = experiment.predict.statistics == Some(StatisticsKind::QuenchedLayer);
    match method {
        Method::MeanField if layered => {
            "The flow of the mean score pushes the start forward. Neglected is all of V: the variation between trained models."
        }
        Method::MeanField => {
            "V = 0: the flow of the mean score alone. Neglected is the variation between trained models."
        }
        Method::Semiclassical if experiment.predict.one_loop => {
            "A Gaussian around the mean path, its mean and variance corrected by one loop (T14a) where V is small enough. Neglected is the next order in V: large near the boundaries between basins."
        }
        Method::Semiclassical => {
            "A Gaussian around the mean path, linear in the weights' fluctuation. Neglected is the curvature of the flow map: first order in V for the mean, and everything near the boundaries between basins."
        }
        Method::Saddle if matches!(experiment.family, Family::Naive(_)) => {
            "The extremal path from x_T to x_0 with its Gaussian fluctuations and the next order of the small-noise expansion. Neglected is the order after it; the distance between the two orders is the stated error."
        }
        Method::Saddle => {
            "The most likely fluctuation of the weights that leads from x_T to x_0, with Gaussian fluctuations around it (T15), normalised for each x_T. Neglected are loops: relative order V, of the size of what the mass misses of one."
        }
        Method::GaussianField if layered => {
            "Gaussian closure given the layer: draws of layer and rest, each pushed forward exactly. Neglected are cumulants beyond the second of the rest only; the draws are finite in number."
        }
        Method::GaussianField => {
            "Gaussian closure (Prop. 3.1): draws of Gaussian weights, each pushed forward exactly. Neglected are all cumulants of the trained weights beyond the second (skewness, heavy tails); the draws are finite in number."
        }
        Method::SampleSum => {
            "All cumulants to first order in each sample's influence (T8, T14). Neglected are interactions between samples; the draws are finite in number."
        }
        Method::FokkerPlanck => {
            "White noise in continuous time (T9). Neglected are the sampler's finite steps: the noise comes as rare large jumps where the posterior is nearly certain, and the limit is approached as the square root of the step."
        }
        Method::GaussianScore => {
            "The score of the Gaussian with the data's mean and covariance (Wang and Vastola, arXiv 2412.09726), its flow in closed form. Neglected are all other properties of the data, and the model."
        }
        Method::SmoothedScore => {
            "The exact score averaged over a Gaussian neighbourhood of predict.smoothing times alpha (Scarvelis et al., arXiv 2310.12395). Neglected are the model and its training; the width is no result of theirs."
        }
        Method::LinearRmt => {
            "The mean linear denoiser of as many points as one model has, by random-matrix theory (arXiv 2602.02908). Neglected are its fluctuations and all that is not linear."
        }
    }
}

fn discretisation(experiment: &Experiment) -> &'static str {
    let stochastic = matches!(experiment.sampler.process, Process::ReverseSde { .. });
    match experiment.sampler.scheme {
        Scheme::Euler | Scheme::Ddim if stochastic => {
            "The theory takes the sampler's own steps, so the prediction has the bias of the steps and of their noise that the samples have; nothing further is neglected."
        }
        Scheme::Euler | Scheme::Ddim => {
            "The path integral is discretised as the sampler is (T6), so predicted and sampled densities share the bias of finite steps; nothing further is neglected."
        }
        Scheme::Heun => {
            "The solvers push forward with the scheme itself, so predicted and sampled densities share its bias; the action is written for continuous time, which differs at third order in one step."
        }
        Scheme::Adaptive => {
            "Steps are chosen to meet sampler.tolerance (the number of steps above is not used); neglected is the error below it."
        }
    }
}
