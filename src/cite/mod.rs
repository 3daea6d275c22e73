//! The works that an experiment rests on, as BibTeX: those of exactly the methods that it uses.

mod works;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::experiment::{Experiment, Method, Process, Scheme, Spacing, StatisticsKind};
use crate::family::Family;
use crate::problem::{Diffusion, Objective};
use crate::spec::{Case, Spec};
use works::Work;

/// BibTeX entries of all cases of a spec, sorted by key.
pub fn bibliography(spec: &Spec) -> String {
    let used: BTreeSet<Work> = spec.cases.iter().flat_map(of_case).collect();
    let mut entries: Vec<&str> = used.into_iter().map(Work::entry).collect();
    entries.sort_unstable_by_key(|entry| entry.split_once('{').map_or(*entry, |(_, rest)| rest));
    let mut text = entries.join("\n\n");
    text.push('\n');
    text
}

fn of_case(case: &Case) -> Vec<Work> {
    // The target's covariance, of which the maps are made, and all that follows from it.
    let mut used = vec![Work::Vkernel, Work::Vastola2025];
    let experiment = &case.experiment;
    if case.resolved["data"]["kind"] == "low-rank-mixture" {
        used.push(Work::WangSubspaces2024);
    }
    used.extend(of_diffusion(&experiment.problem.diffusion));
    if !case.has_model {
        return used;
    }
    used.extend(of_sampler(experiment));
    used.extend(of_family(experiment));
    used.extend(of_kinds(&case.resolved["model"]));
    used.extend(of_statistics(experiment));
    used.extend(
        experiment
            .predict
            .methods
            .iter()
            .flat_map(|m| of_method(*m)),
    );
    // The times of decision are in every result.
    used.push(Work::Biroli2024);
    if experiment.problem.dim() > 1 {
        used.push(Work::Burley2020);
    }
    used
}

fn of_diffusion(diffusion: &Diffusion) -> Vec<Work> {
    match diffusion {
        Diffusion::Vp { .. } | Diffusion::Ou | Diffusion::Expression(_) => {
            vec![Work::SongScore2021]
        }
        Diffusion::Edm => vec![Work::SongScore2021, Work::Karras2022],
        Diffusion::Flow => vec![Work::SongScore2021, Work::Lipman2023],
    }
}

fn of_sampler(experiment: &Experiment) -> Vec<Work> {
    let sampler = &experiment.sampler;
    let mut used = Vec::new();
    match sampler.process {
        Process::PfOde => {}
        Process::ReverseSde { .. } => used.extend([Work::Anderson1982, Work::Hirono2024]),
    }
    match sampler.scheme {
        Scheme::Euler => {}
        Scheme::Heun => used.push(Work::Karras2022),
        Scheme::Ddim => used.push(Work::SongDdim2021),
        Scheme::Adaptive => used.push(Work::Dormand1980),
    }
    if sampler.grid == Spacing::Karras && sampler.scheme != Scheme::Adaptive {
        used.push(Work::Karras2022);
    }
    used
}

fn of_family(experiment: &Experiment) -> Vec<Work> {
    let mut used = Vec::new();
    if let Some(training) = &experiment.training
        && training.objective == Objective::Dsm
    {
        used.push(Work::Vincent2011);
    }
    match &experiment.family {
        Family::Naive(naive) if naive.kappa == 0.0 => used.push(Work::Cao2025),
        Family::Naive(_) => {}
        Family::Linear(_) | Family::Kernel(_) => {}
        Family::LowRank(_) => used.push(Work::WangSubspaces2024),
        Family::Network(network) => {
            if network.protocol.optimiser.is_adam() {
                used.push(Work::Kingma2015);
            }
        }
    }
    used
}

/// By the kinds that the resolved model names: its own, its features' and its kernels'.
fn of_kinds(model: &Value) -> Vec<Work> {
    let parts = ["features", "kernels"].map(|key| model[key].as_array());
    let parts = parts.into_iter().flatten().flatten();
    let kinds = parts
        .chain([model])
        .filter_map(|part| part["kind"].as_str());
    kinds
        .flat_map(|kind| match kind {
            "random-fourier" => vec![Work::Rahimi2007],
            "nngp" => vec![Work::Lee2018],
            "ntk" | "mlp" => vec![Work::Jacot2018, Work::Lee2018],
            _ => Vec::new(),
        })
        .collect()
}

fn of_statistics(experiment: &Experiment) -> Vec<Work> {
    match experiment.predict.statistics {
        Some(StatisticsKind::Equivalent | StatisticsKind::QuenchedLayer) => vec![Work::Hastie2022],
        _ => Vec::new(),
    }
}

fn of_method(method: Method) -> Vec<Work> {
    match method {
        Method::Saddle => vec![Work::Martin1973],
        Method::GaussianScore => vec![Work::WangVastola2024],
        Method::SmoothedScore => vec![Work::Scarvelis2023, Work::Chen2025],
        Method::LinearRmt => vec![Work::WangRmt2026],
        Method::MeanField
        | Method::Semiclassical
        | Method::GaussianField
        | Method::SampleSum
        | Method::FokkerPlanck => Vec::new(),
    }
}
