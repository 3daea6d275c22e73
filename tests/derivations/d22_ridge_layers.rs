//! derivations/22-kernel-machines.md: the quenched layer and the sum over samples of kernel ridge regression, against machines solved
//! here in the dual with the exact kernel.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use vkernel::family::KernelFamily;
use vkernel::numerics::random::stream;
use vkernel::problem::{Prediction, Problem, Training, Triple};
use vkernel::statistics::{QuenchedLayer, SampleSum, by_leverage, kernel_equivalent};

use super::common::*;
use super::d22_kernel_machines::{family, features, line, near, rbf, training};

pub const SAMPLES: usize = 48;
const RIDGE: f64 = 0.02;
/// Where machines are compared.
pub const PLACES: [(f64, f64); 8] = [
    (-1.2, 0.15),
    (-0.6, 0.15),
    (0.3, 0.15),
    (0.9, 0.15),
    (-1.5, 0.5),
    (-0.4, 0.5),
    (0.8, 0.5),
    (0.2, 0.9),
];

/// Samples as drawn: places, times, targets.
#[derive(Default, Clone)]
pub struct Drawn {
    pub x: Vec<f64>,
    pub t: Vec<f64>,
    pub y: Vec<f64>,
}

impl Drawn {
    pub fn add(&mut self, problem: &Problem, t: f64, rng: &mut ChaCha8Rng) {
        let mut triple = Triple {
            t,
            x0: vec![0.0],
            x: vec![0.0],
        };
        problem.sample_at_time(rng, &mut triple);
        self.x.push(triple.x[0]);
        self.t.push(t);
        self.y.push(triple.x0[0]);
    }

    /// With fresh samples outside an interval of time.
    pub fn completed(
        &self,
        problem: &Problem,
        (low, high): (f64, f64),
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut all = self.clone();
        while all.t.len() < SAMPLES {
            let t = problem.t_min + (problem.t_max - problem.t_min) * rng.random::<f64>();
            if !(low..high).contains(&t) {
                all.add(problem, t, rng);
            }
        }
        all
    }
}

/// Outputs at the places of the machine with the exact kernel: f_0 + K(., Z) Lambda^1/2 g(S) Lambda^1/2 (y - f_0)/P with
/// S = Lambda^1/2 K Lambda^1/2/P and g(s) = 1/(s + rho), or (1 - e^{-s tau})/s of gradient flow; f_0 by its weights.
pub fn machine(
    problem: &Problem,
    family: &KernelFamily,
    training: &Training,
    drawn: &Drawn,
    start: Option<&DVector<f64>>,
) -> DVector<f64> {
    let p = drawn.t.len();
    let root = |t: &f64| training.lambda(problem, Prediction::Denoiser, *t).sqrt();
    let roots = DVector::from_iterator(p, drawn.t.iter().map(root));
    let points = family.kernel.points(&drawn.x, &drawn.t);
    let mut matrix = DMatrix::zeros(p, p);
    family.kernel.gram(&points, matrix.as_mut_slice());
    let system = DMatrix::from_fn(p, p, |i, j| roots[i] * matrix[(i, j)] * roots[j] / p as f64);
    let eigen = SymmetricEigen::new(system);
    let gain = |s: f64| match training.time {
        None => 1.0 / (s + training.ridge),
        Some(time) if s * time > 1e-9 => -(-s * time).exp_m1() / s,
        Some(time) => time,
    };
    let mut residual = DVector::from_column_slice(&drawn.y);
    if let Some(start) = start {
        for (r, (x, t)) in residual.iter_mut().zip(drawn.x.iter().zip(&drawn.t)) {
            *r -= features(family, (*x, *t)).dot(start);
        }
    }
    let turned = eigen.eigenvectors.tr_mul(&residual.component_mul(&roots));
    let solved = &eigen.eigenvectors * eigen.eigenvalues.map(gain).component_mul(&turned);
    let c = solved.component_mul(&roots) / p as f64;
    let (x, t): (Vec<f64>, Vec<f64>) = PLACES.iter().copied().unzip();
    let mut cross = DMatrix::zeros(p, PLACES.len());
    let places = family.kernel.points(&x, &t);
    family.kernel.matrix(&points, &places, cross.as_mut_slice());
    let learned = cross.tr_mul(&c);
    match start {
        Some(start) => learned + probes(family).tr_mul(start),
        None => learned,
    }
}

/// Features at the places, a column each.
pub fn probes(family: &KernelFamily) -> DMatrix<f64> {
    DMatrix::from_columns(&PLACES.map(|place| features(family, place)))
}

fn setting() -> (Problem, KernelFamily, Training) {
    let problem = line();
    let family = family(&problem, rbf(1, 0.8), None);
    (problem, family, training(SAMPLES, RIDGE, None))
}

/// The samples of a draw of the layer, from the random numbers in the order in which it takes them.
pub fn layer_of(layer: &QuenchedLayer<'_>, rng: &mut ChaCha8Rng) -> Drawn {
    let (n, low, high) = layer_opening(layer, SAMPLES, rng);
    let mut drawn = Drawn::default();
    for _ in 0..n {
        let t = low + (high - low) * rng.random::<f64>();
        drawn.add(layer.problem(), t, rng);
    }
    drawn
}

#[test]
fn d22_17_a_layer_of_everything_is_training() {
    let (problem, family, training) = setting();
    let equivalent = kernel_equivalent(&problem, &family, &training).unwrap();
    let order = by_leverage(&equivalent);
    let layer =
        QuenchedLayer::new(&problem, &family.linear, &training, &equivalent, &order).unwrap();
    let probes = probes(&family);
    for index in 0..4 {
        let drawn = layer_of(&layer, &mut stream(5, index));
        assert_eq!(drawn.t.len(), SAMPLES);
        let trained = machine(&problem, &family, &training, &drawn, None);
        let weights = layer.weights(&mut stream(5, index)).unwrap().weights;
        let found = probes.tr_mul(&weights);
        for (found, trained) in found.iter().zip(&trained) {
            near(*found, *trained, 1.0, 1e-6, "a trained machine");
        }
    }
}

/// Without a layer mean and covariance are those of the equivalent.
#[test]
fn d22_17_an_empty_layer_is_the_equivalent() {
    let (problem, family, training) = setting();
    let equivalent = kernel_equivalent(&problem, &family, &training).unwrap();
    let layer = QuenchedLayer::new(&problem, &family.linear, &training, &equivalent, &[]).unwrap();
    let probes = probes(&family);
    let mean = layer.weights(&mut stream(8, 0)).unwrap().conditional_mean;
    let spread = layer.conditional_covariance(&mut stream(8, 0)).unwrap();
    for phi in probes.column_iter() {
        let expected = phi.dot(&equivalent.coarse.mean.column(0));
        near(phi.dot(&mean), expected, 1.0, 1e-7, "mean");
        let expected = phi.dot(&(&equivalent.coarse.covariances[0] * phi));
        near(
            phi.dot(&(&spread * phi)),
            expected,
            expected,
            1e-5,
            "variance",
        );
    }
}

/// Outputs at the places of so many machines, trained on samples inside a layer and fresh ones of the rest, against what is predicted
/// for that layer, which the random numbers draw.
pub fn add_layer(
    moments: &mut ConditionalMoments,
    layer: &QuenchedLayer<'_>,
    rng: &mut ChaCha8Rng,
    inside: &Drawn,
    machines: u64,
    machine: impl Fn(&Drawn) -> DVector<f64> + Sync,
    probes: &DMatrix<f64>,
) {
    let (problem, interval) = (layer.problem(), layer.intervals()[0]);
    let outputs: Vec<DVector<f64>> = (0..machines)
        .into_par_iter()
        .map(|i| machine(&inside.completed(problem, interval, &mut stream(77, i))))
        .collect();
    let spread = layer.conditional_covariance(&mut rng.clone()).unwrap();
    let mean = probes.tr_mul(&layer.weights(rng).unwrap().conditional_mean);
    for (j, phi) in probes.column_iter().enumerate() {
        let values: Vec<f64> = outputs.iter().map(|m| m[j]).collect();
        moments.add(&values, mean[j], phi.dot(&(&spread * phi)).sqrt());
    }
}

/// Given one layer as drawn, about half of the samples: machines trained on it and on fresh samples of the rest.
#[test]
fn d22_17_conditional_mean_and_covariance_against_trained_machines() {
    let (problem, family, training) = setting();
    let equivalent = kernel_equivalent(&problem, &family, &training).unwrap();
    let order = by_leverage(&equivalent);
    let panels = &order[..order.len() / 2];
    let layer = QuenchedLayer::new(&problem, &family.linear, &training, &equivalent, panels)
        .unwrap()
        .settle(&equivalent, 3)
        .unwrap();
    let probes = probes(&family);
    let mut moments = ConditionalMoments::default();
    for index in 0..6 {
        let inside = layer_of(&layer, &mut stream(5, index));
        let machine = |all: &Drawn| machine(&problem, &family, &training, all, None);
        let rng = &mut stream(5, index);
        add_layer(&mut moments, &layer, rng, &inside, 2000, machine, &probes);
    }
    // Measured: 1.004 (0.938 to 1.051) and 0.009.
    moments.assert_close();
}

/// Where leverages are small the draws of the sum have the equivalent's mean and covariance.
#[test]
fn d22_17_the_sum_over_samples_has_the_equivalents_covariance() {
    let (problem, family, _) = setting();
    let training = training(4000, 0.1, None);
    let equivalent = kernel_equivalent(&problem, &family, &training).unwrap();
    assert!(equivalent.largest_leverage() < 0.1);
    let sum = SampleSum::new(&equivalent.population, &equivalent.coarse, &training).unwrap();
    let probes = probes(&family);
    let draws: Vec<DVector<f64>> = (0..600_u64)
        .into_par_iter()
        .map(|i| {
            let mut weights = DVector::zeros(probes.nrows());
            sum.draw(&mut stream(4, i), weights.as_mut_slice());
            probes.tr_mul(&weights)
        })
        .collect();
    for (j, phi) in probes.column_iter().enumerate() {
        let variance = phi.dot(&(&equivalent.coarse.covariances[0] * phi));
        let mean = phi.dot(&equivalent.coarse.mean.column(0));
        let values: Vec<f64> = draws.iter().map(|d| d[j]).collect();
        assert_drawn(&values, mean, variance, 0.05, "a place");
    }
}
