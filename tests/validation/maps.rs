//! Maps of the noise in the target against sums of Gaussians written out here.

use std::path::Path;

use rand::RngExt;
use vkernel::problem::{Data, Diffusion, Problem, grid_points, noise_share};
use vkernel::run::{Checkpoints, Parts, run};
use vkernel::spec::{Spec, load};

use super::common::*;

/// A Gaussian of the mixture; the covariance by rows.
struct Component {
    weight: f64,
    mean: Vec<f64>,
    covariance: Vec<Vec<f64>>,
}

fn points(means: &[Vec<f64>]) -> Vec<Component> {
    let one = |mean: &Vec<f64>| Component {
        weight: 1.0 / means.len() as f64,
        mean: mean.clone(),
        covariance: vec![vec![0.0; mean.len()]; mean.len()],
    };
    means.iter().map(one).collect()
}

/// ln of weight times density, mean of s~, trace of its covariance: of one component at one point.
type Part = (f64, Vec<f64>, f64);

/// E|s~ - s|^2 / E|s~|^2 from E|s~|^2 and s themselves, D <= 2: with M = alpha^2 Sigma + sigma^2 I inverted by hand, given
/// the component s~ has mean -M^-1 (x - alpha m) and covariance I/sigma^2 - M^-1 (T3 for one Gaussian).
fn direct(components: &[Component], alpha: f64, sigma2: f64, x: &[f64]) -> f64 {
    let dim = x.len();
    let mut parts: Vec<Part> = Vec::new();
    for c in components {
        let m = |i: usize, j: usize| {
            let own = alpha * alpha * c.covariance[i][j];
            if i == j { own + sigma2 } else { own }
        };
        let y: Vec<f64> = (0..dim).map(|i| x[i] - alpha * c.mean[i]).collect();
        let (det, inverse) = if dim == 1 {
            (m(0, 0), vec![vec![1.0 / m(0, 0)]])
        } else {
            let det = m(0, 0) * m(1, 1) - m(0, 1) * m(1, 0);
            let inverse = vec![
                vec![m(1, 1) / det, -m(0, 1) / det],
                vec![-m(1, 0) / det, m(0, 0) / det],
            ];
            (det, inverse)
        };
        let score: Vec<f64> = (0..dim)
            .map(|i| -(0..dim).map(|j| inverse[i][j] * y[j]).sum::<f64>())
            .collect();
        let form: f64 = -y.iter().zip(&score).map(|(y, s)| y * s).sum::<f64>();
        // The constant 2 pi cancels.
        let log = c.weight.ln() - 0.5 * (form + det.ln());
        // tr(I/sigma^2 - M^-1) = tr(alpha^2 Sigma M^-1) / sigma^2, which does not cancel.
        let own: f64 = (0..dim)
            .flat_map(|i| (0..dim).map(move |j| (i, j)))
            .map(|(i, j)| alpha * alpha * c.covariance[i][j] * inverse[j][i] / sigma2)
            .sum();
        parts.push((log, score, own));
    }
    let top = parts.iter().map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = parts.iter().map(|p| (p.0 - top).exp()).sum();
    let average = |f: &dyn Fn(&Part) -> f64| {
        parts
            .iter()
            .map(|p| (p.0 - top).exp() / sum * f(p))
            .sum::<f64>()
    };
    let score: Vec<f64> = (0..dim).map(|i| average(&|p| p.1[i])).collect();
    let noise = average(&|p| {
        let deviations = p.1.iter().zip(&score).map(|(a, b)| (a - b) * (a - b));
        deviations.sum::<f64>() + p.2
    });
    noise / (noise + score.iter().map(|s| s * s).sum::<f64>())
}

/// All maps of a spec at random pixels; the numbers of cases and of maps.
fn check_pixels(spec: &Spec, components: &[Vec<Component>], seed: u64) -> (usize, usize) {
    let parts = Parts {
        predict: true,
        train: false,
    };
    let results = run(spec, parts, &Checkpoints::none(), &mut |_| ()).unwrap();
    let mut rng = rng(seed);
    let mut maps = 0;
    for ((case, result), components) in spec.cases.iter().zip(&results).zip(components) {
        let diffusion = &case.experiment.problem.diffusion;
        for map in &result.maps {
            let (alpha, sigma2) = (diffusion.alpha(map.t), diffusion.sigma2(map.t));
            for _ in 0..400 {
                let pixel = rng.random_range(0..map.values.len());
                // Row-major: the last coordinate runs fastest.
                let (mut left, mut x) = (pixel, Vec::new());
                for axis in map.axes.iter().rev() {
                    x.insert(0, axis[left % axis.len()]);
                    left /= axis.len();
                }
                let exact = direct(components, alpha, sigma2, &x);
                close(map.values[pixel], exact, 1.0, 1e-10, "share of noise");
                // Relatively too, where it is small: exponents up to 1e4 carry 1e-12.
                close(map.values[pixel], exact, exact, 1e-10, "share of noise");
            }
            maps += 1;
        }
    }
    (results.len(), maps)
}

fn polygon() -> Vec<Vec<f64>> {
    (0..6)
        .map(|k| f64::from(k) * std::f64::consts::TAU / 6.0)
        .map(|angle| vec![angle.cos(), angle.sin()])
        .collect()
}

fn pairs(x: [f64; 6], y: [f64; 6]) -> Vec<Vec<f64>> {
    x.iter().zip(y).map(|(x, y)| vec![*x, y]).collect()
}

/// The published figure: the sets and the process as the paper gives them.
#[test]
fn figure_1_is_a_direct_evaluation() {
    let spec = load(&experiment_file("fig1.toml"), &[], None).unwrap();
    let diffusion = &spec.cases[0].experiment.problem.diffusion;
    for t in [0.05, 0.1, 0.2, 0.5, 0.75] {
        close(diffusion.alpha(t), (1.0 - t).sqrt(), 1.0, 1e-15, "alpha");
        close(diffusion.sigma2(t), t, t, 1e-15, "sigma^2");
    }
    let diagonal: [f64; 6] = std::array::from_fn(|k| -1.0 + 0.4 * k as f64);
    let sets = [
        polygon(),
        pairs(diagonal, diagonal),
        pairs(
            [-1.0, -1.0, -1.0, 0.0, 0.5, 1.0],
            [-1.0, 0.0, 1.0, -1.0, -1.0, -1.0],
        ),
        pairs(
            [-1.0, -0.9, -0.3, 0.1, 0.2, 0.9],
            [-1.0, 1.0, 0.2, -0.1, -0.1, 0.7],
        ),
    ]
    .map(|set| points(&set));
    assert_eq!(check_pixels(&spec, &sets, 21), (4, 20));
    let map = spec.cases[0].map.as_ref().unwrap();
    assert_eq!(map.times, [0.05, 0.1, 0.2, 0.5, 0.75]);
    let axes = map.axes();
    assert_eq!((axes.len(), axes[0].len()), (2, 200));
    close(axes[0][0], -1.99, 1.0, 1e-15, "first centre");
    close(axes[1][199], 1.99, 1.0, 1e-15, "last centre");
}

fn written(dir: &Path, data: &str, diffusion: &str) -> Spec {
    let path = dir.join("map.toml");
    let text = format!("[data]\n{data}\n[diffusion]\n{diffusion}\n[map]\npoints = 60\n");
    std::fs::write(&path, text).unwrap();
    load(&path, &[], None).unwrap()
}

#[test]
fn maps_of_mixtures_and_files_are_direct_evaluations() {
    let dir = tempfile::tempdir().unwrap();
    let line = written(
        dir.path(),
        "kind = \"mixture\"\nmeans = [[-1.0], [0.3], [1.0]]\nstds = [[0.0], [0.1], [0.3]]\nweights = [0.5, 0.2, 0.3]",
        "kind = \"vp\"",
    );
    let component = |weight, mean: &[f64], covariance: &[&[f64]]| Component {
        weight,
        mean: mean.to_vec(),
        covariance: covariance.iter().map(|row| row.to_vec()).collect(),
    };
    let of_line = [vec![
        component(0.5, &[-1.0], &[&[0.0]]),
        component(0.2, &[0.3], &[&[0.1 * 0.1]]),
        component(0.3, &[1.0], &[&[0.3 * 0.3]]),
    ]];
    assert_eq!(check_pixels(&line, &of_line, 22), (1, 5));

    let plane = written(
        dir.path(),
        "kind = \"mixture\"\nmeans = [[-1.0, 0.0], [0.3, 0.5], [1.0, -0.5]]\n\
         covariances = [[[0.1, 0.05], [0.05, 0.1]], [[0.0, 0.0], [0.0, 0.0]], [[0.01, 0.0], [0.0, 0.3]]]",
        "kind = \"edm\"\nt_min = 0.05\nt_max = 4.0",
    );
    let third = 1.0 / 3.0;
    let of_plane = [vec![
        component(third, &[-1.0, 0.0], &[&[0.1, 0.05], &[0.05, 0.1]]),
        component(third, &[0.3, 0.5], &[&[0.0, 0.0], &[0.0, 0.0]]),
        component(third, &[1.0, -0.5], &[&[0.01, 0.0], &[0.0, 0.3]]),
    ]];
    assert_eq!(check_pixels(&plane, &of_plane, 23), (1, 5));

    let rows: Vec<Vec<f64>> = (0..300)
        .map(f64::from)
        .map(|k| vec![(0.7 * k).sin() + 0.001 * k, (1.1 * k).cos() - 0.002 * k])
        .collect();
    let text: String = rows
        .iter()
        .map(|r| format!("{},{}\n", r[0], r[1]))
        .collect();
    std::fs::write(dir.path().join("points.csv"), format!("a,b\n{text}")).unwrap();
    let file = written(
        dir.path(),
        "kind = \"file\"\npath = \"points.csv\"",
        "kind = \"ou\"",
    );
    assert_eq!(check_pixels(&file, &[points(&rows)], 24), (1, 5));
}

/// Exactly on a point at small t the score vanishes with the others' weights, which leave the doubles: the share is 1 there
/// and 0 beside it. A single point, and no signal, leave no noise.
#[test]
fn the_limits_of_the_share() {
    let of = |means: &[Vec<f64>], diffusion| Problem {
        data: Data::points(means, None).unwrap(),
        diffusion,
        t_min: 1e-12,
        t_max: 1.0,
    };
    let two = of(&[vec![0.0, 0.0], vec![1.0, 0.0]], Diffusion::Edm);
    for t in [0.1, 0.05, 1e-3, 1e-9] {
        // On a point, beside it, and on the boundary between the two, where tr C = 1/(4 t^4) and s is along it.
        let x = [0.0, 1e-3, 0.5, 0.0, 0.0, 0.3];
        let share = noise_share(&two, t, &x);
        close(share[0], 1.0, 1.0, 1e-12, "on a point");
        assert!(share[1] < 1e-10, "{share:?}");
        let middle: f64 = 0.25 / (0.25 + 0.09);
        close(share[2], middle, 1.0, 1e-12, "between two points");
    }
    let far = noise_share(&two, 0.5, &[1e8, 0.5, 1e8, 1e12]);
    assert!(far[0] < 1e-30 && far[1] < 1e-20, "{far:?}");
    let one = of(&[vec![0.3]], Diffusion::Edm);
    assert_eq!(noise_share(&one, 0.1, &[0.3, 0.5]), [0.0, 0.0]);
    let noise = of(&[vec![-1.0], vec![1.0]], Diffusion::Flow);
    assert_eq!(noise_share(&noise, 1.0, &[0.0, 0.5]), [0.0, 0.0]);
}

/// The same bits on one thread and on three.
#[test]
fn maps_do_not_depend_on_the_threads() {
    let problem = three_points(1e-2);
    let axis: Vec<f64> = (0..5000).map(|k| -2.0 + 8e-4 * f64::from(k)).collect();
    let x = grid_points(&[axis]);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build()
            .unwrap()
            .install(|| noise_share(&problem, 0.02, &x))
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn the_first_coordinate_of_a_grid_runs_slowest() {
    let x = grid_points(&[vec![1.0, 2.0], vec![3.0, 4.0, 5.0]]);
    assert_eq!(
        x,
        [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0]
    );
}
