//! Mixtures of low-rank Gaussians and the models that learn them, from the spec to the result.

use std::path::Path;

use rand::RngExt;
use rand_distr::StandardNormal;
use serde_json::Value;
use vkernel::compare::total_variation;
use vkernel::density::{Generator, cloud_density};
use vkernel::experiment::Experiment;
use vkernel::family::ExactDenoiser;
use vkernel::numerics::random::stream;
use vkernel::report::recovery::Recovery;
use vkernel::report::result::{CaseResult, MONTE_CARLO, PF_ODE};
use vkernel::run::{Checkpoints, Parts, run};
use vkernel::spec::{Format, Spec, parse};

fn spec(text: &str) -> Spec {
    parse(text, Format::Toml, "spec.toml", Path::new("."), &[], None).unwrap()
}

fn results(text: &str, train: bool) -> Vec<CaseResult> {
    let parts = Parts {
        predict: true,
        train,
    };
    run(&spec(text), parts, &Checkpoints::none(), &mut |_| {}).unwrap()
}

fn recoveries(text: &str) -> Vec<Recovery> {
    let all = results(text, true);
    all.iter().map(|case| case.recovery().unwrap()).collect()
}

/// The exact score's density of a low-rank mixture and of the same data written with covariances: other code in two dimensions and
/// three, the same trajectories.
#[test]
fn a_low_rank_mixture_is_the_mixture_with_its_covariances() {
    for dim in [2, 3] {
        let rest = r#"
            diffusion = { kind = "vp", t_min = 0.02 }
            model = { kind = "naive" }
            sampler = { steps = 20 }
            output = { range = [-3.0, 3.0], bins = 12 }
        "#;
        let thin = format!(
            "data = {{ kind = \"low-rank-mixture\", dimension = {dim}, ranks = [1, 2], noise = 0.3, weights = [0.7, 0.3], seed = 5 }}\n{rest}"
        );
        let experiment: Experiment = spec(&thin).cases[0].experiment.clone();
        let covariances: Vec<Vec<Vec<f64>>> = experiment
            .problem
            .data
            .subspaces()
            .unwrap()
            .iter()
            .map(|u| {
                let full = *u * u.transpose();
                let own = |i, j| full[(i, j)] + if i == j { 0.09 } else { 0.0 };
                (0..dim)
                    .map(|i| (0..dim).map(|j| own(i, j)).collect())
                    .collect()
            })
            .collect();
        let means = vec![vec![0.0; dim]; 2];
        // Directions of the first, so that both are read off along the same.
        let directions: Vec<&[f64]> = experiment
            .output
            .directions
            .iter()
            .map(|d| d.along.as_slice())
            .collect();
        let full = format!(
            "data = {{ kind = \"mixture\", means = {means:?}, covariances = {covariances:?}, weights = [0.7, 0.3] }}\n{}",
            rest.replace(
                "bins = 12",
                &format!("bins = 12, directions = {directions:?}")
            )
        );
        let both = [thin, full].map(|text| {
            let experiment = spec(&text).cases[0].experiment.clone();
            let exact = ExactDenoiser {
                problem: &experiment.problem,
            };
            let generator = Generator::new(&experiment);
            cloud_density(&generator, &exact, 1 << 11, 7)
                .unwrap()
                .mean()
        });
        // One of 2^15 points may lie on an edge to rounding.
        let tv = total_variation(&both[0], &both[1]);
        assert!(tv < 1e-4, "D = {dim}: {tv:e}");
    }
}

/// The exact score in many dimensions: what it generates is the noised data.
#[test]
fn the_exact_score_generates_the_data_in_many_dimensions() {
    let case = results(
        r#"
        data = { kind = "low-rank-mixture", dimension = 24, rank = 2, subspaces = 2, noise = 0.1 }
        diffusion = { kind = "vp", t_min = 0.05 }
        model = { kind = "naive" }
        sampler = { steps = 40 }
        output = { range = [-2.5, 2.5], bins = 10 }
        "#,
        false,
    )
    .remove(0);
    let tv = total_variation(
        &case.densities["data"].masses(),
        &case.densities[PF_ODE].masses(),
    );
    // 2^18 points in 102 cells, sqrt(102/2^18)/2 = 0.01 of noise and 40 steps' bias, which is of the same size (D18).
    assert!(tv < 0.03, "{tv}");
    // Marginals along four axes, and no table of 24 x 24 moments.
    assert!(
        case.numbers.is_empty() && case.readouts.len() == 5,
        "{}",
        case.readouts.len()
    );
}

fn transition(data: &str, training: &str, sweep: &str) -> String {
    format!(
        r#"
        seed = 3
        data = {{ kind = "low-rank-mixture", dimension = 16, rank = 3, {data} }}
        diffusion = {{ kind = "vp" }}
        model = {{ kind = "low-rank" }}
        training = {{ {training} }}
        sampler = {{ steps = 10 }}
        monte_carlo = {{ models = 20 }}
        output = {{ densities = false }}
        sweep = {{ {sweep} }}
        "#
    )
}

/// One subspace of rank 3 is determined by 3 points, two by 4 points each (D25.7).
#[test]
fn subspaces_are_learned_from_as_many_points_as_determine_them() {
    let text = transition(
        "subspaces = 1",
        "restarts = 8",
        r#""data.subspaces" = [1, 2], "training.per_subspace" = [2, 3, 4]"#,
    );
    let all = recoveries(&text);
    let measured: Vec<f64> = all.iter().map(|r| r.recovered).collect();
    let predicted: Vec<f64> = all
        .iter()
        .map(|r| r.predicted.as_ref().unwrap().recovered.unwrap())
        .collect();
    assert_eq!(predicted, [0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
    // Three points on each of two subspaces: several partitions fit without a residual, ten of them at most, and the true one is
    // found by chance. Fewer points span no subspace.
    assert_eq!([measured[0], measured[3]], [0.0, 0.0], "{measured:?}");
    assert!(measured[4] < 0.5, "{measured:?}");
    // Clustering may miss the best partition in one trial of twenty: the theory says what is determined, not what is found.
    assert_eq!([measured[1], measured[2]], [1.0, 1.0], "{measured:?}");
    assert!(measured[5] >= 0.95, "{measured:?}");
    assert!(all.iter().all(|r| r.truth == "data" && r.threshold == 1e-6));
    // Where the subspaces are right so is the partition, and points lie on them.
    assert!(all[5].true_partition >= Some(0.95));
}

/// The same bits on one thread and on several.
#[test]
fn recovery_does_not_depend_on_the_number_of_threads() {
    let text = transition("subspaces = 2, noise = 0.1", "per_subspace = 9", "");
    let text = text.replace("sweep = {  }", "");
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| recoveries(&text))
    };
    assert_eq!(on(1), on(3));
}

/// Noise off the subspace turns what is learned as the Gaussian fluctuations say (D25.11).
#[test]
fn noise_turns_the_learned_subspace_as_predicted() {
    let text = transition("noise = 0.1", "per_subspace = 400", "")
        .replace("sweep = {  }", "")
        .replace("models = 20", "models = 200");
    let recovery = recoveries(&text).remove(0);
    let (measured, predicted) = (recovery.squared_sines, recovery.predicted.unwrap());
    let error = measured.se.unwrap();
    // The next order in 1/N: about (n s^2 + d)/N = 1 %.
    let allowed = 4.0 * error + 0.01 * predicted.squared_sines_first_order;
    assert!(
        (measured.value - predicted.squared_sines_first_order).abs() < allowed,
        "{} +- {error}, predicted {}",
        measured.value,
        predicted.squared_sines_first_order
    );
    assert_eq!(recovery.recovered, 1.0);
}

/// With few points the noise of each counts, and recovery up to the noise level is a matter of chance: of the smallest singular value
/// of few latent vectors (D25.12).
#[test]
fn noise_makes_recovery_from_few_points_a_matter_of_chance() {
    let text = transition("noise = 0.02", "", r#""training.per_subspace" = [4, 5, 7]"#)
        .replace("models = 20", "models = 400");
    let shares: Vec<(f64, f64)> = recoveries(&text)
        .iter()
        .map(|r| {
            (
                r.recovered,
                r.predicted.as_ref().unwrap().recovered.unwrap(),
            )
        })
        .collect();
    for (measured, predicted) in &shares {
        // 400 models and 1000 draws; the next order is s^2 (n - d), half a percent.
        let error = (predicted * (1.0 - predicted) * (1.0 / 400.0 + 1.0 / 1000.0)).sqrt();
        assert!(
            (measured - predicted).abs() < 4.0 * error + 0.01,
            "{shares:?}"
        );
    }
    assert!(shares[0].1 < 0.5 && shares[2].1 > 0.5, "{shares:?}");
}

/// Off a subspace that is known the model's output vanishes, and DDIM multiplies what is there by sigma_s/sigma_t at every step: at
/// the end it is sigma(t_min) times a standard normal vector. Along it every step is linear too.
#[test]
fn generated_points_lie_off_the_subspaces_by_the_noise_at_the_end() {
    let text = transition("subspaces = 1", "per_subspace = 30", "").replace("sweep = {  }", "");
    let experiment = spec(&text).cases[0].experiment.clone();
    let generated = recoveries(&text).remove(0).generated;
    let problem = &experiment.problem;
    let times =
        vkernel::sampler::time_grid(experiment.sampler.grid, problem.t_max, problem.t_min, 10);
    let diffusion = &problem.diffusion;
    let along = times
        .windows(2)
        .fold(diffusion.sigma(problem.t_max), |x, w| {
            let (alpha, sigma2) = (diffusion.alpha(w[0]), diffusion.sigma2(w[0]));
            let denoised = alpha / (alpha * alpha + sigma2) * x;
            let ratio = diffusion.sigma(w[1]) / diffusion.sigma(w[0]);
            diffusion.alpha(w[1]) * denoised + ratio * (x - alpha * denoised)
        });
    let off = diffusion.sigma(problem.t_min);
    let mut rng = stream(1, 0);
    let mut normal = |scale: f64| -> f64 { scale * rng.sample::<f64, _>(StandardNormal) };
    let shares: Vec<f64> = (0..200_000)
        .map(|_| {
            let inside: f64 = (0..3).map(|_| normal(along).powi(2)).sum();
            let outside: f64 = (0..13).map(|_| normal(off).powi(2)).sum();
            (outside / (inside + outside)).sqrt()
        })
        .collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let variance = shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / shares.len() as f64;
    let points = (generated.models * generated.points) as f64;
    let error = (variance / points).sqrt();
    assert!(
        (generated.off_subspaces - mean).abs() < 4.5 * error,
        "{} {mean}",
        generated.off_subspaces
    );
    // Clean points lie on it.
    assert!(generated.fresh_off_subspaces < 1e-14);
    assert!(generated.memorised < 0.5);
}

/// With noise the learned models scatter; both predictions of the average density agree with it, and trust says why.
#[test]
fn predicted_densities_of_learned_subspaces() {
    let case = results(
        r#"
        seed = 3
        data = { kind = "low-rank-mixture", dimension = 10, rank = 2, subspaces = 2, bases = "orthogonal", noise = 0.05 }
        diffusion = { kind = "vp", t_min = 0.05 }
        model = { kind = "low-rank" }
        training = { per_subspace = 40 }
        sampler = { steps = 15 }
        predict = { draws = 40, particles = 1024 }
        monte_carlo = { models = 40, particles = 1024 }
        output = { range = [-3.0, 3.0], bins = 10 }
        "#,
        true,
    )
    .remove(0);
    for name in ["mean-field", "gaussian-field"] {
        let own = case
            .comparisons
            .iter()
            .find(|c| c.predicted == name && c.reference == MONTE_CARLO)
            .unwrap();
        // Draws and models are 40 x 1024 points each: two such ensembles differ by sqrt(2) floors.
        assert!(
            own.tv < 2.0 * own.tv_floor_95,
            "{name}: {} {}",
            own.tv,
            own.tv_floor_95
        );
    }
    assert_eq!(case.recommended.as_deref(), Some("gaussian-field"));
    let level = serde_json::to_value(case.trust["gaussian-field"].level).unwrap();
    assert_eq!(
        level,
        Value::from("high"),
        "{}",
        case.trust["gaussian-field"].reason
    );
}

/// Data that are no low-rank mixture: the truth is the fit to all of them.
#[test]
fn subspaces_of_other_data() {
    let recovery = recoveries(
        r#"
        data = { kind = "points", points = [[1.0, 0.0, 0.0], [2.0, 0.1, 0.0], [-1.0, 0.0, 0.1], [0.0, 1.0, 1.0], [0.0, -2.0, -2.1], [0.1, 1.5, 1.5]] }
        diffusion = { kind = "vp" }
        model = { kind = "low-rank", rank = 1, subspaces = 2 }
        training = { dataset = 400, method = "gradient", draws = 4, restarts = 2 }
        sampler = { steps = 10 }
        monte_carlo = { models = 4 }
        output = { densities = false }
        "#,
    )
    .remove(0);
    assert_eq!(recovery.truth, "fit");
    assert!(recovery.predicted.is_none() && recovery.true_partition.is_none());
    // Nearly all points many times over: the fit to them is close to the fit to all.
    assert!(
        recovery.median_largest_sine < 0.1,
        "{}",
        recovery.median_largest_sine
    );
    assert_eq!(recovery.clustering_partition, Some(1.0));
}

/// Distances are those of points that the case's own sampler generates. Over a short time the flow keeps most of where it starts: from
/// N(0, sigma^2) within the subspaces' shrunken noise, from the noised data at the data's distances.
#[test]
fn generated_points_come_from_the_cases_own_sampler() {
    let text = |sampler: &str| {
        transition("", "per_subspace = 60", "")
            .replace("sweep = {  }", "")
            .replace("sampler = { ", &format!("sampler = {{ {sampler}"))
            .replace("kind = \"vp\"", "kind = \"vp\", t_max = 0.1")
    };
    let to_training = |sampler: &str| {
        let found = recoveries(&text(sampler)).remove(0).generated;
        (found.to_training, found.fresh_to_training)
    };
    let (normal, fresh) = to_training("");
    for sampler in [
        "start = \"noised\", ",
        "start = \"noised\", kind = \"reverse-sde\", ",
    ] {
        let (noised, fresh) = to_training(sampler);
        assert!(
            (noised / fresh - 1.0).abs() < 0.1,
            "{sampler}: {noised} {fresh}"
        );
    }
    assert!((normal / fresh - 1.0).abs() > 0.2, "{normal} {fresh}");
}
