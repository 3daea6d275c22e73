//! derivations/21-networks.md: training.

use rand::seq::SliceRandom;
use vkernel::family::kernel::Activation;
use vkernel::family::network::{
    LayerRate, Network, NetworkTraining, NetworkTrainingError, Optimiser, Parameterisation,
};
use vkernel::monte_carlo::model_rng;
use vkernel::monte_carlo::network::{NetworkTrainer, Samples, TrainedNetwork, train_networks};
use vkernel::problem::{Objective, Training};

use super::common::*;
use super::networks::*;

/// Loss and its gradient on the given samples, unit by unit.
fn slow(network: &Network, w: &[f64], samples: &Samples<f64>, which: &[usize]) -> (f64, Vec<f64>) {
    let (per, dim) = (network.inputs(), network.outputs());
    let scale = 1.0 / which.len() as f64;
    let (mut loss, mut sum) = (0.0, vec![0.0; network.parameters()]);
    for &p in which {
        let inputs = &samples.inputs[p * per..(p + 1) * per];
        let targets = &samples.targets[p * dim..(p + 1) * dim];
        let f = output(network, w, inputs);
        let error: Vec<f64> = f.iter().zip(targets).map(|(f, y)| f - y).collect();
        let weight = samples.weights[p] * scale;
        loss += 0.5 * weight * error.iter().map(|e| e * e).sum::<f64>();
        let g: Vec<f64> = error.iter().map(|e| weight * e).collect();
        let own = gradient(network, w, inputs, &g);
        sum.iter_mut().zip(own).for_each(|(s, o)| *s += o);
    }
    (loss, sum)
}

#[track_caller]
fn same(a: &[f64], b: &[f64], tolerance: f64, what: &str) {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .for_each(|(a, b)| close(*a, *b, tolerance, what));
}

#[test]
fn d21_2_gradient_descent_takes_the_steps_of_the_loss() {
    let network = small(Parameterisation::Ntk);
    let samples = drawn(&network, 11);
    let trained = train(&network, &options(DESCENT, 30), &samples).unwrap();
    let all: Vec<usize> = (0..11).collect();
    let mut w = trained.initial.clone();
    let mut losses = Vec::new();
    for _ in 0..30 {
        let (loss, gradient) = slow(&network, &w, &samples, &all);
        losses.push(loss);
        w.iter_mut()
            .zip(gradient)
            .for_each(|(w, g)| *w -= trained.rate * g);
    }
    losses.push(slow(&network, &w, &samples, &all).0);
    same(&trained.parameters, &w, 1e-12, "parameters");
    assert_eq!((trained.steps, trained.stopped_early), (30, false));
    assert_eq!(trained.curve.last().unwrap().0, 30);
    for (step, loss) in &trained.curve {
        close(*loss, losses[*step], 1e-12, "loss");
    }
    assert!(
        losses.windows(2).all(|pair| pair[1] < pair[0]),
        "{losses:?}"
    );
}

/// Batches of 4 out of 11, reshuffled from the same generator: 4, 4, 3.
#[test]
fn d21_2_batches_take_the_steps_of_their_own_loss() {
    let network = small(Parameterisation::Standard);
    let samples = drawn(&network, 11);
    let sgd = Optimiser::Sgd {
        batch: 4,
        rate: None,
    };
    let options = options(sgd, 8);
    let mut trainer = NetworkTrainer::new(&network, &options, 11).unwrap();
    for model in 0..2 {
        let trained = trainer.train(&samples, &mut model_rng(6, model)).unwrap();
        let mut rng = model_rng(6, model);
        let mut w = Vec::new();
        network.initialise(&mut rng, &mut w);
        let mut order: Vec<usize> = (0..11).collect();
        let mut batches = Vec::new();
        while batches.len() < 8 {
            order.shuffle(&mut rng);
            batches.extend(order.chunks(4).map(<[usize]>::to_vec));
        }
        for batch in &batches[..8] {
            let gradient = slow(&network, &w, &samples, batch).1;
            w.iter_mut()
                .zip(gradient)
                .for_each(|(w, g)| *w -= trained.rate * g);
        }
        same(&trained.parameters, &w, 1e-12, "parameters");
    }
}

#[test]
fn d21_2_adam_takes_its_published_steps() {
    let network = small(Parameterisation::Standard);
    let samples = drawn(&network, 9);
    let (rate, beta1, beta2, epsilon) = (0.01, 0.8, 0.95, 1e-6);
    let adam = Optimiser::Adam {
        batch: None,
        rate,
        beta1,
        beta2,
        epsilon,
    };
    let trained = train(&network, &options(adam, 12), &samples).unwrap();
    assert_eq!((trained.lambda_max, trained.rate), (None, rate));
    let all: Vec<usize> = (0..9).collect();
    let mut w = trained.initial.clone();
    let (mut m, mut v) = (vec![0.0; w.len()], vec![0.0; w.len()]);
    for step in 1..=12 {
        let gradient = slow(&network, &w, &samples, &all).1;
        for (i, g) in gradient.iter().enumerate() {
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            let mean = m[i] / (1.0 - beta1.powi(step));
            let square = v[i] / (1.0 - beta2.powi(step));
            w[i] -= rate * mean / (square.sqrt() + epsilon);
        }
    }
    same(&trained.parameters, &w, 1e-11, "parameters");
}

/// Rates of the standard parameterisation's layers that make its steps those of the other.
#[test]
fn d21_3_layer_rates_turn_one_parameterisation_into_the_other() {
    let (ntk, standard) = (
        small(Parameterisation::Ntk),
        small(Parameterisation::Standard),
    );
    let samples = drawn(&ntk, 13);
    let one = train(&ntk, &options(DESCENT, 40), &samples).unwrap();
    let mut two = options(
        Optimiser::GradientDescent {
            rate: Some(one.rate),
        },
        40,
    );
    two.rates = ntk
        .layers()
        .iter()
        .map(|layer| LayerRate {
            weights: layer.weight_factor.powi(2),
            biases: layer.bias_factor.powi(2),
        })
        .collect();
    let two = train(&standard, &two, &samples).unwrap();
    close(
        two.lambda_max.unwrap(),
        one.lambda_max.unwrap(),
        1e-9,
        "curvature",
    );
    for layer in ntk.layers() {
        for i in layer.first..layer.end() {
            let factor = match i < layer.first_bias() {
                true => layer.weight_factor,
                false => layer.bias_factor,
            };
            close(
                two.parameters[i],
                factor * one.parameters[i],
                1e-11,
                "parameter",
            );
        }
    }
    for ((_, a), (_, b)) in one.curve.iter().zip(&two.curve) {
        close(*a, *b, 1e-11, "loss");
    }
}

#[test]
fn d21_2_models_depend_on_seed_and_index_alone() {
    let network = network(
        architecture(Activation::Gelu, 2),
        (1, 24),
        Parameterisation::Ntk,
    );
    let batch = Some(5);
    let adam = Optimiser::Adam {
        batch,
        rate: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    };
    let sgd = Optimiser::Sgd {
        batch: 7,
        rate: None,
    };
    for optimiser in [DESCENT, sgd, adam] {
        let options = options(optimiser, 20);
        let ensemble = |threads: usize, models: std::ops::Range<u64>| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let read = |_, _: &Samples<f32>, trained: TrainedNetwork<f32>| trained;
            let (problem, training) = (line(), training(16));
            let all = pool.install(|| {
                train_networks(&problem, &network, &training, &options, (3, models), read)
            });
            all.unwrap()
                .into_iter()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        };
        let (one, three) = (ensemble(1, 0..7), ensemble(3, 0..7));
        assert!(one == three);
        assert!(one[4..] == ensemble(2, 4..7));
        assert!(one[0].parameters != one[1].parameters);
    }
}

/// f - f_0 trained from zero, and the targets left as they are.
#[test]
fn d21_3_centred_training_starts_from_zero() {
    let network = small(Parameterisation::Ntk);
    let samples = drawn(&network, 10);
    let mut options = options(DESCENT, 25);
    options.centred = true;
    let trained = train(&network, &options, &samples).unwrap();
    let zero: f64 = samples
        .targets
        .iter()
        .zip(&samples.weights)
        .map(|(y, l)| l * y * y)
        .sum();
    close(trained.curve[0].1, zero / 20.0, 1e-13, "first loss");
    let mut shifted = samples.clone();
    for (p, y) in shifted.targets.iter_mut().enumerate() {
        *y += output(
            &network,
            &trained.initial,
            &samples.inputs[2 * p..2 * p + 2],
        )[0];
    }
    options.centred = false;
    let other = train(&network, &options, &shifted).unwrap();
    same(&trained.parameters, &other.parameters, 1e-12, "parameters");
}

#[test]
fn d21_2_targets_are_those_of_the_objective() {
    let network = small(Parameterisation::Ntk);
    let (problem, dsm) = (line(), training(50));
    let esm = Training {
        objective: Objective::Esm,
        ..dsm.clone()
    };
    let noisy = Samples::<f64>::draw(&problem, &network, &dsm, &mut model_rng(2, 0));
    let exact = Samples::<f64>::draw(&problem, &network, &esm, &mut model_rng(2, 0));
    assert_eq!((noisy.inputs == exact.inputs, noisy.len()), (true, 50));
    for p in 0..50 {
        let (x, t) = (noisy.inputs[2 * p] / 0.8, noisy.inputs[2 * p + 1]);
        assert!([-1.0, 0.0, 1.0].contains(&noisy.targets[p]));
        close(
            exact.targets[p],
            problem.posterior(&[x], t).mean[0],
            1e-12,
            "target",
        );
        close(noisy.weights[p], VP.sigma2(t), 1e-14, "weight");
    }
}

#[test]
fn d21_2_training_ends_when_it_should() {
    let network = small(Parameterisation::Ntk);
    let samples = drawn(&network, 8);
    let mut early = options(DESCENT, 5000);
    early.relative_loss = Some(0.5);
    let trained = train(&network, &early, &samples).unwrap();
    assert!(trained.stopped_early && trained.steps < 5000);
    let (first, last) = (trained.curve[0], *trained.curve.last().unwrap());
    assert!(last.1 <= 0.5 * first.1 && last.0 == trained.steps);
    // One step fewer does not do.
    let before = train(&network, &options(DESCENT, trained.steps - 1), &samples).unwrap();
    assert!(before.curve.last().unwrap().1 > 0.5 * first.1);

    let flow = train(&network, &NetworkTraining::flow(7.0, 10_000), &samples).unwrap();
    close(flow.rate * flow.steps as f64, 7.0, 1e-14, "flow time");
    assert!(flow.rate <= 1.0 / flow.lambda_max.unwrap());
    assert_eq!(flow.steps, (7.0 * flow.lambda_max.unwrap()).ceil() as usize);
    let none = train(&network, &NetworkTraining::flow(0.0, 10), &samples).unwrap();
    assert_eq!((none.steps, none.parameters == none.initial), (0, true));
}

/// Counted by hand: 2 -> 256 -> 256 -> 1 at 512 samples, the products with the weights of each layer forward, for their gradient,
/// and (but for the first) backward.
#[test]
fn d21_1_cost_of_a_step_is_that_of_its_products() {
    let network = network(
        architecture(Activation::Relu, 2),
        (1, 256),
        Parameterisation::Ntk,
    );
    let flops = NetworkTrainer::<f32>::step_flops(&network, 512);
    assert_eq!(flops, 512.0 * (4.0 * 512.0 + 6.0 * 65_536.0 + 6.0 * 256.0));
    // At least the activations and slopes of two layers, in four bytes; twice that in eight.
    let options = options(DESCENT, 1);
    let single = NetworkTrainer::<f32>::bytes(&network, &options, 512);
    assert!(single >= 4 * 4 * 256 * 512);
    assert_eq!(
        NetworkTrainer::<f64>::bytes(&network, &options, 512),
        2 * single
    );
}

#[test]
fn d21_2_what_cannot_be_trained_is_refused() {
    let network = small(Parameterisation::Ntk);
    let samples = drawn(&network, 8);
    let message =
        |options: NetworkTraining| train(&network, &options, &samples).unwrap_err().to_string();
    let adam = |rate, beta1, epsilon| Optimiser::Adam {
        batch: None,
        rate,
        beta1,
        beta2: 0.999,
        epsilon,
    };
    let sgd = |batch| Optimiser::Sgd { batch, rate: None };
    let cases = [
        (sgd(0), "a batch must hold 1 to 8 samples, got 0"),
        (sgd(9), "a batch must hold 1 to 8 samples, got 9"),
        (
            adam(-1.0, 0.9, 1e-8),
            "the learning rate must be a finite number above 0, got -1",
        ),
        (
            adam(0.1, 1.0, 1e-8),
            "beta1 must be at least 0 and below 1, got 1",
        ),
        (
            adam(0.1, 0.9, 0.0),
            "epsilon must be a finite number above 0, got 0",
        ),
    ];
    for (optimiser, words) in cases {
        assert_eq!(message(options(optimiser, 5)), words);
    }
    let mut layers = options(DESCENT, 5);
    layers.rates = vec![LayerRate::ONE; 2];
    assert_eq!(
        message(layers),
        "rates of 2 layers were given; the network has 3 layers"
    );
    let mut adam_flow = NetworkTraining::flow(1.0, 5);
    adam_flow.optimiser = Optimiser::ADAM;
    assert_eq!(
        message(adam_flow),
        NetworkTrainingError::NoFlowTime.to_string()
    );
    let long = message(NetworkTraining::flow(1e6, 5));
    assert!(
        long.starts_with("flow time 1000000 takes ") && long.ends_with("more than the 5 allowed"),
        "{long}"
    );
    let frozen = LayerRate {
        weights: 0.0,
        biases: 0.0,
    };
    let mut flat = options(DESCENT, 5);
    flat.rates = vec![frozen; 3];
    assert!(message(flat).starts_with("the largest curvature of the loss at initialisation is 0;"));
    let wild = message(options(adam(1e200, 0.9, 1e-8), 5));
    assert!(
        wild.starts_with("training diverged: the loss was ") && wild.contains("after step 1"),
        "{wild}"
    );
    let fewer = drawn(&network, 7);
    let mut trainer_options = options(DESCENT, 5);
    trainer_options.centred = true;
    let mut trainer = NetworkTrainer::<f64>::new(&network, &trainer_options, 8).unwrap();
    let error = trainer.train(&fewer, &mut model_rng(0, 0)).unwrap_err();
    assert_eq!(
        error,
        NetworkTrainingError::Samples {
            expected: 8,
            got: 7
        }
    );
    let none = NetworkTrainer::<f64>::new(&network, &trainer_options, 0).err();
    assert_eq!(none, Some(NetworkTrainingError::NoSamples));
}
