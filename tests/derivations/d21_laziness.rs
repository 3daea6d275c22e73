//! derivations/21-networks.md: rates, the linearised network, and how lazy networks are.

use nalgebra::{DMatrix, DVector};
use vkernel::family::kernel::{Activation, Architecture};
use vkernel::family::network::{
    LayerRate, Network, NetworkTraining, NetworkTrainingError, Optimiser, Parameterisation,
    tangent_kernel,
};
use vkernel::monte_carlo::model_rng;
use vkernel::monte_carlo::network::{
    Samples, TrainedNetwork, laziness, linearised, train_networks,
};

use super::common::*;
use super::networks::*;

/// Lambda^(1/2) K Lambda^(1/2)/P, index o P + p.
fn curvature(network: &Network, w: &[f64], samples: &Samples<f64>) -> DMatrix<f64> {
    let p = samples.len();
    let kernel = tangent_kernel(network, w, &[], &samples.inputs, &samples.inputs);
    DMatrix::from_fn(kernel.nrows(), kernel.ncols(), |i, j| {
        (samples.weights[i % p] * samples.weights[j % p]).sqrt() * kernel[(i, j)] / p as f64
    })
}

#[test]
fn d21_5_rate_is_limited_by_the_curvature() {
    for (activation, batch) in [(Activation::Relu, None), (Activation::Gelu, Some(5))] {
        let network = network(architecture(activation, 2), (1, 40), Parameterisation::Ntk);
        let samples = drawn(&network, 23);
        let optimiser = |rate| match batch {
            None => Optimiser::GradientDescent { rate },
            Some(batch) => Optimiser::Sgd { batch, rate },
        };
        let trained = train(&network, &options(optimiser(None), 3), &samples).unwrap();
        let matrix = curvature(&network, &trained.initial, &samples);
        let exact = matrix.symmetric_eigenvalues().max();
        let lambda_max = trained.lambda_max.unwrap();
        // The iteration stops at changes of 1e-5 and stays below.
        assert!(
            lambda_max <= exact * (1.0 + 1e-12),
            "{lambda_max} above {exact}"
        );
        close(lambda_max, exact, 1e-3, "lambda_max");
        assert_eq!(trained.rate, 1.0 / lambda_max);
        let rate = 2.001 / lambda_max;
        let error = train(&network, &options(optimiser(Some(rate)), 3), &samples).unwrap_err();
        assert_eq!(
            error,
            NetworkTrainingError::Unstable {
                rate,
                limit: 2.0 / lambda_max,
                lambda_max
            }
        );
        let text = error.to_string();
        assert!(
            text.contains(&format!("2/lambda_max = {:.6}", 2.0 / lambda_max)),
            "{text}"
        );
        assert!(
            train(
                &network,
                &options(optimiser(Some(1.9 / lambda_max)), 1),
                &samples
            )
            .is_ok()
        );
    }
}

#[test]
fn d21_5_steps_miss_the_exponential_by_at_most_the_bound() {
    for n in 1_u32..200 {
        let steps = f64::from(n);
        let error = (0..=1000)
            .map(|k| steps * f64::from(k) / 1000.0)
            .map(|x| (-x).exp() - (1.0 - x / steps).powi(n as i32));
        let (least, most) = error.fold((0.0_f64, 0.0_f64), |(l, m), e| (l.min(e), m.max(e)));
        assert!(least >= -1e-14, "{n}: {least}");
        assert!(most <= 4.0 * (-2.0_f64).exp() / steps, "{n}: {most}");
        if n == 199 {
            // 2 e^-2/n for large n.
            close(most * steps, 2.0 * (-2.0_f64).exp(), 0.01, "error");
        }
    }
}

/// At the samples of the linearised network, in the norm that training sees.
#[test]
fn d21_5_descent_stays_within_its_bound_of_the_flow() {
    let network = network(
        architecture(Activation::Relu, 2),
        (1, 30),
        Parameterisation::Ntk,
    );
    let samples = drawn(&network, 20);
    let mut w = Vec::new();
    network.initialise(&mut model_rng(6, 0), &mut w);
    let tau = 12.0;
    let at =
        |steps| linearised(&network, &[], &w, &samples, (tau, steps), &samples.inputs).unwrap();
    let distance = |a: &[f64], b: &[f64]| {
        let pairs = a.iter().zip(b).zip(&samples.weights);
        pairs
            .map(|((a, b), l)| l * (a - b).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let inputs = samples.inputs.chunks(2);
    let start: Vec<f64> = inputs.map(|z| output(&network, &w, z)[0]).collect();
    let first = distance(&start, &samples.targets);
    let largest = curvature(&network, &w, &samples)
        .symmetric_eigenvalues()
        .max();
    let fewest = (tau * largest).ceil() as usize;
    let flow = at(None);
    for steps in [fewest, 2 * fewest, 20 * fewest] {
        let bound = 4.0 * (-2.0_f64).exp() / steps as f64 * first;
        let error = distance(&flow, &at(Some(steps)));
        assert!(error <= bound, "{steps} steps: {error:e}, bound {bound:e}");
        assert!(error > 0.0);
    }
}

/// The closed form against explicit integration of d f/d tau = -(1/P) K Lambda (f - y) at the samples and at other points.
#[test]
fn d21_6_linearised_network_solves_its_flow() {
    let network = network(
        architecture(Activation::Gelu, 1),
        (2, 20),
        Parameterisation::Ntk,
    );
    let plane = problem(plane_mixture(), VP, 1e-2, 1.0);
    let samples = Samples::<f64>::draw(&plane, &network, &training(7), &mut model_rng(5, 0));
    let mut w = Vec::new();
    network.initialise(&mut model_rng(6, 0), &mut w);
    let points = network.embed::<f64>(&[0.3, -1.0, 0.2, 0.5], &[0.1, 0.6]);
    let rates = [
        LayerRate::ONE,
        LayerRate {
            weights: 0.5,
            biases: 2.0,
        },
    ];
    let both = [&samples.inputs[..], &points].concat();
    let kernel = tangent_kernel(&network, &w, &rates, &both, &samples.inputs);
    let start = |o: usize, k: usize| output(&network, &w, &both[3 * k..3 * k + 3])[o];
    let mut f = DVector::from_fn(18, |i, _| start(i / 9, i % 9));
    let target = |o: usize, p: usize| samples.targets[2 * p + o];
    let speed = |f: &DVector<f64>| {
        let error = DVector::from_fn(14, |i, _| {
            let (o, p) = (i / 7, i % 7);
            samples.weights[p] * (f[o * 9 + p] - target(o, p)) / 7.0
        });
        -(&kernel * error)
    };
    let (tau, steps) = (3.0, 2000);
    let h = tau / f64::from(steps);
    // Gradient descent of the linearised network, by 50 steps.
    let mut stepped = f.clone();
    for _ in 0..50 {
        stepped += speed(&stepped) * (tau / 50.0);
    }
    let (tau_steps, descended) = ((tau, Some(50)), &stepped);
    let closed = linearised(&network, &rates, &w, &samples, tau_steps, &points).unwrap();
    for (k, o) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        close(closed[2 * k + o], descended[o * 9 + 7 + k], 1e-11, "steps");
    }
    for _ in 0..steps {
        let a = speed(&f);
        let b = speed(&(&f + &a * (0.5 * h)));
        let c = speed(&(&f + &b * (0.5 * h)));
        let d = speed(&(&f + &c * h));
        f += (a + b * 2.0 + c * 2.0 + d) * (h / 6.0);
    }
    let exact = linearised(&network, &rates, &w, &samples, (tau, None), &points).unwrap();
    for k in 0..2 {
        for o in 0..2 {
            // Fourth order: (h lambda)^4 ~ 1e-9 and less.
            close(exact[2 * k + o], f[o * 9 + 7 + k], 1e-8, "output");
        }
    }
}

/// Root mean squares over seeds of kernel drift and of the distance from the linearisation.
fn distances(width: usize, centred: bool) -> (f64, f64) {
    const SEEDS: u64 = 128;
    let architecture = Architecture {
        depth: 1,
        activation: Activation::Erf,
        weight_std: 1.5,
        bias_std: 0.5,
    };
    let network = network(architecture, (1, width), Parameterisation::Ntk);
    let mut options = NetworkTraining::flow(4.0, 100_000);
    options.optimiser = Optimiser::GradientDescent { rate: Some(0.02) };
    options.centred = centred;
    let points = network.embed::<f64>(&[-1.2, -0.5, 0.1, 0.7, 1.3], &[0.2, 0.4, 0.6, 0.8, 0.3]);
    let read = |_: u64, samples: &Samples<f64>, trained: TrainedNetwork<f64>| {
        let lazy = laziness(&network, &options, samples, &trained, &points).unwrap();
        (lazy.kernel_drift.powi(2), lazy.output_deviation.powi(2))
    };
    let seeds = (31, 0..SEEDS);
    let all = train_networks(&line(), &network, &training(12), &options, seeds, read);
    let sum = all.unwrap().into_iter().fold((0.0, 0.0), |sum, one| {
        let (drift, deviation) = one.unwrap();
        (sum.0 + drift, sum.1 + deviation)
    });
    let mean = |sum: f64| (sum / SEEDS as f64).sqrt();
    (mean(sum.0), mean(sum.1))
}

#[test]
fn d21_7_networks_become_lazy_with_the_width() {
    for centred in [false, true] {
        let (mut drift, mut deviation) = (Vec::new(), Vec::new());
        for width in [128, 256, 512, 1024] {
            let (a, b) = distances(width, centred);
            drift.push((width as f64, a));
            deviation.push((width as f64, b));
        }
        for (name, values) in [("drift", drift), ("deviation", deviation)] {
            let slope = log_slope(&values);
            println!("centred {centred}: {name} {slope:.3} {values:.5?}");
            assert!((slope + 1.0).abs() <= 0.1, "{name}: {slope}");
        }
    }
}
