//! derivations/18-readouts.md.

use nalgebra::{DMatrix, DVector};
use std::path::Path;
use vkernel::compare::total_variation;
use vkernel::density::{
    Ensemble, Generator, Masses, cloud_density, noised_cloud, semiclassical_cloud,
};
use vkernel::experiment::Experiment;
use vkernel::family::{ExactDenoiser, Family, LinearDenoiser};
use vkernel::numerics::normal;
use vkernel::numerics::random::stream;
use vkernel::readout::{MemorisedBins, Readout, View, principal_directions};
use vkernel::sampler::PfOde;
use vkernel::spec::{Format, parse};
use vkernel::statistics::WeightStatistics;

use rand::RngExt;

fn experiment(text: &str) -> Experiment {
    let spec = parse(text, Format::Toml, "spec.toml", Path::new("."), &[], None).unwrap();
    spec.cases.into_iter().next().unwrap().experiment
}

/// Gaussian data in the plane with a tilted covariance, the exact score.
fn gaussian() -> Experiment {
    experiment(
        r#"
        data = { kind = "mixture", means = [[0.3, -0.2]], covariances = [[[0.30, 0.12], [0.12, 0.20]]] }
        diffusion = { kind = "vp", t_min = 1e-2 }
        model = { kind = "naive" }
        sampler = { scheme = "adaptive", tolerance = 1e-7 }
        output = { range = [-2.0, 2.0], bins = 16 }
        "#,
    )
}

/// Mass of N(mean, covariance) per cell of a plane's grid: quadrature over the first coordinate, the conditional's cdf over the
/// second.
fn gaussian_masses(readout: &Readout, mean: [f64; 2], c: [f64; 3]) -> Masses {
    let [first, second] = readout.grid.axes() else {
        panic!("no plane");
    };
    let [c11, c12, c22] = c;
    let std = (c22 - c12 * c12 / c11).sqrt();
    let mut masses = readout.grid.zero();
    for i in 0..first.count {
        for (x, w) in super::common::legendre_rule(20, first.edge(i), first.edge(i + 1)) {
            let weight = w * super::common::normal_pdf(x, mean[0], c11);
            let centre = mean[1] + c12 / c11 * (x - mean[0]);
            for j in 0..second.count {
                let cdf = |k: usize| normal::cdf((second.edge(k) - centre) / std);
                masses.cells[1 + i * second.count + j] += weight * (cdf(j + 1) - cdf(j));
            }
        }
    }
    masses.cells[0] = 1.0 - masses.inside().iter().sum::<f64>();
    masses
}

#[test]
fn d18_1_scrambled_nets_are_unbiased_and_better_than_random_points() {
    let experiment = gaussian();
    let problem = &experiment.problem;
    let t = problem.t_min;
    let (alpha, s2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
    let noised = gaussian_masses(
        &experiment.readout(),
        [0.3 * alpha, -0.2 * alpha],
        [
            alpha * alpha * 0.30 + s2,
            alpha * alpha * 0.12,
            alpha * alpha * 0.20 + s2,
        ],
    );
    let cloud = noised_cloud(problem, t, &experiment.readout(), 7).unwrap();
    let points = 16.0 * f64::from(1 << 14);
    // Independent points: (1/2) sqrt(2/pi) sum sqrt(m (1-m)/n).
    let random: f64 = noised
        .cells
        .iter()
        .map(|m| (m * (1.0 - m) / points).sqrt())
        .sum();
    let random = 0.5 * (2.0 / std::f64::consts::PI).sqrt() * random;
    let error = total_variation(&cloud.mean(), &noised);
    assert!(error < 0.5 * random, "{error:e} against {random:e}");
}

#[test]
fn d18_2_spread_over_clouds_is_the_error() {
    let experiment = gaussian();
    let problem = &experiment.problem;
    let t = problem.t_min;
    let (alpha, s2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
    let exact = gaussian_masses(
        &experiment.readout(),
        [0.3 * alpha, -0.2 * alpha],
        [
            alpha * alpha * 0.30 + s2,
            alpha * alpha * 0.12,
            alpha * alpha * 0.20 + s2,
        ],
    );
    // Twelve independent estimates with their own error estimates. An estimate from 16 clouds knows its standard deviation to
    // 1/sqrt(2 * 15) = 18 % per bin; over many bins and twelve repeats the mean ratio is known to a few per cent, and the
    // bootstrap of 16 is short by sqrt(15/16) (D8.4).
    let (mut errors, mut estimates) = (0.0, 0.0);
    for seed in 0..12 {
        let cloud: Ensemble = noised_cloud(problem, t, &experiment.readout(), seed).unwrap();
        errors += total_variation(&cloud.mean(), &exact);
        estimates += cloud.noise_floor().mean.tv;
    }
    let ratio = errors / estimates;
    assert!((0.85..1.25).contains(&ratio), "{ratio}");
}

#[test]
fn d18_2_push_forward_of_the_exact_score() {
    let experiment = gaussian();
    let problem = &experiment.problem;
    let generator = Generator::new(&experiment);
    let cloud = cloud_density(&generator, &ExactDenoiser { problem }, 4096, 3).unwrap();
    // The flow of a Gaussian is linear along each principal axis: from N(0, sigma_T^2) it ends, in the eigenbasis, at
    // m alpha_e + (x_T - m alpha_T) sqrt(v_e/v_T), v_t = alpha_t^2 v + sigma_t^2.
    let at = |t: f64| (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
    let ((ae, se), (at, st)) = (at(problem.t_min), at(problem.t_max));
    let eigen = DMatrix::from_row_slice(2, 2, &[0.30, 0.12, 0.12, 0.20]).symmetric_eigen();
    let m = eigen
        .eigenvectors
        .tr_mul(&DVector::from_vec(vec![0.3, -0.2]));
    let mut mean = DVector::zeros(2);
    let mut covariance = DMatrix::zeros(2, 2);
    for i in 0..2 {
        let v = eigen.eigenvalues[i];
        let ratio: f64 = (ae * ae * v + se) / (at * at * v + st);
        let axis = eigen.eigenvectors.column(i);
        mean += axis * (m[i] * (ae - at * ratio.sqrt()));
        covariance += axis * axis.transpose() * (st * ratio);
    }
    let exact = gaussian_masses(
        &generator.readout,
        [mean[0], mean[1]],
        [covariance[(0, 0)], covariance[(0, 1)], covariance[(1, 1)]],
    );
    let error = total_variation(&cloud.mean(), &exact);
    let floor = cloud.noise_floor();
    assert!(
        error < 1.5 * floor.tv_95,
        "{error:e} against {:e}",
        floor.tv_95
    );
    let (measured, spread) = generator.readout.mean_and_covariance(&cloud.values());
    for i in 0..2 {
        assert!(
            (measured[i] - mean[i]).abs() < 2e-4,
            "{} {}",
            measured[i],
            mean[i]
        );
        for j in 0..2 {
            assert!((spread[(i, j)] - covariance[(i, j)]).abs() < 1e-3);
        }
    }
}

#[test]
fn d18_3_projections_of_gaussians_and_principal_directions() {
    let experiment = experiment(
        r#"
        data = { kind = "mixture", means = [[0.5, 0.0, -0.5], [-0.5, 0.2, 0.5]], stds = [[0.3, 0.1, 0.2], [0.1, 0.4, 0.2]] }
        diffusion = { kind = "ou", t_min = 0.05, t_max = 3.0 }
        model = { kind = "naive" }
        output = { directions = [[1.0, 1.0, 0.0], [0.0, 3.0, 4.0]], bins = 12 }
        "#,
    );
    let problem = &experiment.problem;
    let t = problem.t_min;
    let readout = experiment.readout();
    let cloud = noised_cloud(problem, t, &readout, 1).unwrap();
    let (alpha, s2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
    let values = cloud.values();
    let mut marginals = 0;
    for (view, range) in readout.places() {
        let View::Density { directions, grid } = view else {
            continue;
        };
        let [i] = directions[..] else { continue };
        let e = &readout.directions()[i];
        let law: Vec<(f64, f64)> = [
            ([0.5, 0.0, -0.5], [0.3, 0.1, 0.2]),
            ([-0.5, 0.2, 0.5], [0.1, 0.4, 0.2]),
        ]
        .iter()
        .map(|(m, s): &([f64; 3], [f64; 3])| {
            let mean: f64 = m.iter().zip(e).map(|(m, e)| m * e).sum();
            let variance: f64 = s.iter().zip(e).map(|(s, e)| (s * e).powi(2)).sum();
            (alpha * mean, (alpha * alpha * variance + s2).sqrt())
        })
        .collect();
        let exact = Masses::from_cdf(&grid.axes()[0], |x| {
            law.iter()
                .map(|(m, s)| 0.5 * normal::cdf((x - m) / s))
                .sum()
        });
        let own = Masses {
            cells: values[range].to_vec(),
        };
        assert!(total_variation(&own, &exact) < 1e-3);
        marginals += 1;
    }
    assert_eq!(marginals, 2);

    // Eigenvectors of the covariance of many draws, against the closed form's.
    let axes = principal_directions(problem, 3).unwrap();
    let covariance = problem.data.covariance();
    let mut rng = stream(5, 0);
    let mut sum = DMatrix::<f64>::zeros(3, 3);
    let mut first = DVector::<f64>::zeros(3);
    let n = 200_000;
    let mut x = vec![0.0; 3];
    for _ in 0..n {
        problem.data.sample(&mut rng, &mut x);
        let x = DVector::from_column_slice(&x);
        first += &x;
        sum += &x * x.transpose();
    }
    let sampled = sum / f64::from(n) - &first * first.transpose() / f64::from(n).powi(2);
    assert!((&sampled - &covariance).amax() < 5.0 * 0.5 / f64::from(n).sqrt());
    let mut before = f64::INFINITY;
    for axis in &axes {
        let v = DVector::from_column_slice(axis);
        let image = &covariance * &v;
        let value = v.dot(&image);
        assert!((image - &v * value).amax() < 1e-12);
        assert!(value <= before);
        before = value;
    }
}

/// D18.7 against the definition, point by point.
#[test]
fn d18_7_memorised_stretches_of_the_line() {
    let points = [-1.3, -0.2, 0.0, 1.1, 1.1];
    let experiment = experiment(
        r#"
        data = { kind = "points", points = [[1.1], [-0.2], [-1.3], [0.0], [1.1]] }
        diffusion = { kind = "vp" }
        model = { kind = "naive" }
        output = { range = [-2.1, 1.7], bins = 57 }
        "#,
    );
    let readout = experiment.readout();
    let bins = &readout.grid.axes()[0];
    let memorised = MemorisedBins::new(&experiment.problem, bins).unwrap();
    let by_definition = |x: f64| {
        let mut distances: Vec<f64> = points[..4].iter().map(|p| (p - x).abs()).collect();
        distances.sort_by(f64::total_cmp);
        distances[0] < distances[1] / 3.0
    };
    // Every bin by itself, then all with random masses, half of it outside the range.
    let mut rng = stream(5, 0);
    let (mut all, mut expected) = (Masses::zero(bins), 0.0);
    all.cells[0] = 0.5;
    for bin in 0..bins.count {
        let one = 4000;
        let place = |k: usize| bins.edge(bin) + bins.width() * (k as f64 + 0.5) / one as f64;
        let part = (0..one).filter(|k| by_definition(place(*k))).count() as f64 / one as f64;
        let mut alone = Masses::zero(bins);
        alone.cells[bin + 1] = 1.0;
        assert!(
            (memorised.mass(&alone) - part).abs() < 2.0 / one as f64,
            "bin {bin}"
        );
        all.cells[bin + 1] = rng.random();
        expected += all.cells[bin + 1] * part;
    }
    assert!(expected > 1.0);
    assert!((memorised.mass(&all) - expected).abs() < 1e-3 * expected);
}

#[test]
fn d18_7_nothing_is_told_where_there_is_nothing_to_tell() {
    let told = |data: &str, bins: usize| {
        let text = format!(
            "data = {data}\ndiffusion = {{ kind = \"vp\" }}\nmodel = {{ kind = \"naive\" }}\noutput = {{ range = [-1.0, 1.0], bins = {bins} }}"
        );
        let experiment = experiment(&text);
        MemorisedBins::new(&experiment.problem, &experiment.readout().grid.axes()[0]).is_some()
    };
    let close = r#"{ kind = "points", points = [[-1.0], [0.9], [1.0]] }"#;
    assert!(told(close, 100));
    // The stretch around 1 is 0.075 long.
    assert!(told(close, 27) && !told(close, 26));
    assert!(!told(
        r#"{ kind = "points", points = [[0.5], [0.5]] }"#,
        100
    ));
    assert!(!told(
        r#"{ kind = "mixture", means = [[-1.0], [1.0]], stds = [[0.1], [0.1]] }"#,
        100
    ));
}

#[test]
fn d18_4_memorised_points_fill_a_ball_of_apollonius() {
    let experiment = experiment(
        r#"
        data = { kind = "points", points = [[0.2, -0.1], [1.1, 0.5]] }
        diffusion = { kind = "vp" }
        model = { kind = "naive" }
        "#,
    );
    let readout = experiment.readout();
    let place = readout
        .places()
        .find(|(view, _)| matches!(view, View::Memorised))
        .map(|(_, range)| range.start)
        .unwrap();
    let (a, b) = ([0.2, -0.1], [1.1, 0.5]);
    let squared = (b[0] - a[0]) * (b[0] - a[0]) + (b[1] - a[1]) * (b[1] - a[1]);
    let inside = |x: [f64; 2], a: [f64; 2], b: [f64; 2]| {
        let centre = [a[0] - (b[0] - a[0]) / 8.0, a[1] - (b[1] - a[1]) / 8.0];
        let d = (x[0] - centre[0]).powi(2) + (x[1] - centre[1]).powi(2);
        d < 9.0 / 64.0 * squared
    };
    let mut rng = stream(2, 0);
    let (mut both, mut neither) = (0, 0);
    for _ in 0..20_000 {
        let x = [
            rng.random::<f64>() * 4.0 - 1.5,
            rng.random::<f64>() * 4.0 - 1.5,
        ];
        let mut reading = readout.empty();
        readout.add(&mut reading, &x, |_| 1.0);
        let expected = inside(x, a, b) || inside(x, b, a);
        assert_eq!(reading.values[place] > 0.5, expected, "{x:?}");
        both += usize::from(expected);
        neither += usize::from(!expected);
    }
    assert!(both > 500 && neither > 500);
}

#[test]
fn d18_5_filling_of_segments() {
    let experiment = experiment(
        r#"
        data = { kind = "points", points = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], rotation = 22.5 }
        diffusion = { kind = "vp" }
        model = { kind = "naive" }
        "#,
    );
    let readout = experiment.readout();
    let strips: Vec<_> = readout
        .places()
        .filter_map(|(view, range)| match view {
            View::Strip(strip) => Some((strip.clone(), range.start)),
            _ => None,
        })
        .collect();
    // Four sides and two diagonals.
    assert_eq!(strips.len(), 6);
    let sides = strips
        .iter()
        .filter(|(s, _)| (s.segment() - 2.0_f64.sqrt()).abs() < 1e-12);
    assert_eq!(sides.count(), 4);
    let discs = readout
        .places()
        .find(|(view, _)| matches!(view, View::Discs))
        .map(|(_, range)| range)
        .unwrap();
    let h = 0.1 * 2.0_f64.sqrt();
    assert!((readout.half_width() - h).abs() < 1e-12);

    // A uniform density: masses are areas, counted on a fine lattice of points (errors of half a cell along the perimeters).
    let n = 1500;
    let cell = 2.6 / n as f64;
    let mut x = vec![0.0; 2 * n * n];
    for i in 0..n {
        for j in 0..n {
            x[i * n + j] = -1.3 + cell * (i as f64 + 0.5);
            x[n * n + i * n + j] = -1.3 + cell * (j as f64 + 0.5);
        }
    }
    let mut reading = readout.empty();
    readout.add(&mut reading, &x, |_| cell * cell);
    for (strip, place) in &strips {
        let length = strip.segment();
        let area = 0.5 * length * 2.0 * h;
        assert!((readout.strip_area(strip) - area).abs() < 1e-12);
        let slack = 2.0 * cell * (length + 4.0 * h);
        assert!((reading.values[*place] - area).abs() < slack);
    }
    for mass in &reading.values[discs] {
        let area = std::f64::consts::PI * h * h;
        assert!((mass - area).abs() < 2.0 * cell * 2.0 * std::f64::consts::PI * h);
    }
}

#[test]
fn d18_6_gaussian_fluctuations_in_the_plane() {
    for scheme in ["ddim", "heun"] {
        fluctuations(scheme);
    }
}

fn fluctuations(scheme: &str) {
    let experiment = experiment(&format!(
        r#"
        data = {{ kind = "points", points = [[1.0, 0.0], [-0.5, 0.8]] }}
        diffusion = {{ kind = "ou", t_min = 0.1, t_max = 2.0 }}
        sampler = {{ scheme = "{scheme}", steps = 12 }}
        output = {{ range = [-2.0, 2.0] }}
        [model]
        kind = "linear"
        predicts = "denoiser"
        features = [
            {{ of = "x1", kind = "gaussian", count = 3, range = [-1.5, 1.5], width = 1.0 }},
            {{ of = "x2", kind = "polynomial", count = 2, range = [-2.0, 2.0] }},
            {{ of = "t", kind = "polynomial", count = 2 }},
        ]
        [predict]
        statistics = "equivalent"
        "#
    ));
    let Family::Linear(family) = &experiment.family else {
        panic!("not linear");
    };
    let problem = &experiment.problem;
    let size = 2 * family.features.len();
    let mut rng = stream(11, 0);
    let mean = DVector::from_fn(size, |_, _| 0.3 * (rng.random::<f64>() - 0.5));
    let half = DMatrix::from_fn(size, size, |_, _| 0.4 * (rng.random::<f64>() - 0.5));
    let covariance = &half * half.transpose();
    let weights = WeightStatistics {
        mean: mean.clone(),
        covariance: covariance.clone(),
    };
    let generator = Generator::new(&experiment);
    let flow = PfOde::new(problem, &experiment.sampler);
    let end = |weights: &DVector<f64>, x: &[f64]| {
        let model = LinearDenoiser {
            family,
            diffusion: &problem.diffusion,
            weights: weights.as_slice(),
        };
        let mut x = x.to_vec();
        flow.flow(&model, &mut x).unwrap();
        x
    };
    // J by central differences at the nodes of a Gauss-Hermite rule in both coordinates of the start.
    let side = 32;
    let sigma = problem.diffusion.sigma(problem.t_max);
    let rule = super::common::normal_rule(side);
    let n = side * side;
    let starts: Vec<f64> = (0..2 * n)
        .map(|j| {
            sigma
                * if j < n {
                    rule[j / side].0
                } else {
                    rule[(j - n) % side].0
                }
        })
        .collect();
    let step = 1e-5;
    let columns: Vec<Vec<f64>> = (0..size)
        .map(|k| {
            let mut up = mean.clone();
            let mut down = mean.clone();
            up[k] += step;
            down[k] -= step;
            let (up, down) = (end(&up, &starts), end(&down, &starts));
            up.iter()
                .zip(down)
                .map(|(a, b)| (a - b) / (2.0 * step))
                .collect()
        })
        .collect();
    let mut expected = DMatrix::<f64>::zeros(2, 2);
    for k in 0..n {
        let j = DMatrix::from_fn(2, size, |i, w| columns[w][i * n + k]);
        expected += &j * &covariance * j.transpose() * (rule[k / side].1 * rule[k % side].1);
    }
    let smeared = semiclassical_cloud(&generator, family, &weights, 4).unwrap();
    let model = LinearDenoiser {
        family,
        diffusion: &problem.diffusion,
        weights: mean.as_slice(),
    };
    let ends = cloud_density(&generator, &model, usize::MAX, 5).unwrap();
    let readout = &generator.readout;
    let (_, with) = readout.mean_and_covariance(&smeared.values());
    let (_, without) = readout.mean_and_covariance(&ends.values());
    // Between its 1024 starts the covariance is that of the nearest one: about a per cent of it. The displacements are
    // independent of the ends, on average over 16 clouds of 2^14 points: five standard errors of their product.
    let noise = 2.0 * (without.amax() * expected.amax() / f64::from(16 << 14)).sqrt();
    let slack = 0.02 * expected.trace() + 5.0 * noise;
    assert!(slack < 0.1 * expected.trace());
    let gained = with - without;
    assert!((&gained - &expected).amax() < slack, "{gained} {expected}");
    assert!(expected[(0, 1)].abs() > 2.0 * slack || expected[(0, 0)] != expected[(1, 1)]);
}
