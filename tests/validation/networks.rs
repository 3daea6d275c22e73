//! What networks of finite width have from their own tangent kernel, and what from its motion: their densities against those of the
//! same networks linearised at their initial parameters, and of machines of infinite width.

use nalgebra::{DMatrix, DVector};
use vkernel::compare::{Gap, total_variation};
use vkernel::density::{Ensemble, Generated, Generator};
use vkernel::experiment::Experiment;
use vkernel::family::network::{Network, NetworkDenoiser, Pass, tangent_kernel};
use vkernel::family::{Denoiser, Family, NetworkFamily};
use vkernel::monte_carlo::network::{NetworkTrainer, Samples, TrainedNetwork, linearised};
use vkernel::monte_carlo::{EnsembleError, MonteCarlo, model_rng};
use vkernel::problem::Diffusion;

use super::common::*;

const MODELS: u64 = 400;
const SEED: u64 = 17;

/// f_0 + (df/dw) dw: a network linearised at its initial parameters w, in one dimension.
struct Linearised<'a> {
    network: &'a Network,
    diffusion: &'a Diffusion,
    initial: &'a [f64],
    step: Vec<f64>,
}

impl<'a> Linearised<'a> {
    /// Trained as the network was, on the same samples by as many steps (D21.6), in its parameters.
    fn new(
        experiment: &'a Experiment,
        family: &'a NetworkFamily,
        samples: &Samples<f64>,
        trained: &'a TrainedNetwork<f64>,
    ) -> Self {
        let (network, initial) = (&family.network, &trained.initial);
        let inputs = &samples.inputs;
        let p = samples.len();
        let roots = DVector::from_fn(p, |i, _| samples.weights[i].sqrt());
        let kernel = tangent_kernel(network, initial, &family.protocol.rates, inputs, inputs);
        let curvature =
            DMatrix::from_fn(p, p, |i, j| roots[i] * roots[j] * kernel[(i, j)] / p as f64);
        let eigen = curvature.symmetric_eigen();
        let mut pass = Pass::new(network, p);
        let start = pass.forward(network, initial, inputs).to_vec();
        let misfit = DVector::from_fn(p, |i, _| roots[i] * (samples.targets[i] - start[i]));
        let mut modes = eigen.eigenvectors.tr_mul(&misfit) / p as f64;
        for (mode, s) in modes.iter_mut().zip(eigen.eigenvalues.iter()) {
            // sum over the steps of rate (1 - rate s)^k
            *mode *= (0..trained.steps)
                .map(|k| trained.rate * (1.0 - trained.rate * s).powi(k as i32))
                .sum::<f64>();
        }
        let dual = (eigen.eigenvectors * modes).component_mul(&roots);
        let mut step = vec![0.0; initial.len()];
        pass.backward(network, initial, inputs, dual.as_slice(), &mut step);
        Self {
            network,
            diffusion: &experiment.problem.diffusion,
            initial,
            step,
        }
    }
}

impl Denoiser for Linearised<'_> {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        let inputs = self.network.embed::<f64>(x, &vec![t; x.len()]);
        let mut pass = Pass::new(self.network, x.len());
        let start = pass.forward(self.network, self.initial, &inputs).to_vec();
        let change = pass.along_parameters(self.network, self.initial, &inputs, &self.step);
        let regression = self.network.predicts().regression(self.diffusion, t);
        for (k, d) in denoised.iter_mut().enumerate() {
            *d = (start[k] + change[k] - regression.q * x[k]) / regression.p;
        }
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        const STEP: f64 = 1e-6;
        self.denoise(t, x, denoised);
        let beside: Vec<f64> = x.iter().map(|x| x + STEP).collect();
        self.denoise(t, &beside, slope);
        for (s, d) in slope.iter_mut().zip(denoised) {
            *s = (*s - *d) / STEP;
        }
    }
}

/// What trained networks generate, and their linearisations.
fn ensembles(experiment: &Experiment, family: &NetworkFamily) -> [Ensemble; 2] {
    let training = experiment.training.as_ref().unwrap();
    let generator = Generator::new(experiment);
    let (network, protocol) = (&family.network, &family.protocol);
    [false, true].map(|linear| {
        let mut ensemble = Ensemble::new(generator.readout.grid.clone());
        let member = |trainer: &mut NetworkTrainer<'_, f64>, index| {
            let mut rng = model_rng(SEED, index);
            let trained = trainer.train_fresh(&experiment.problem, training, &mut rng);
            let (samples, trained) =
                trained.map_err(|source| EnsembleError::Network { index, source })?;
            let generated = match linear {
                true => generator.generate(
                    &Linearised::new(experiment, family, &samples, &trained),
                    &mut rng,
                ),
                false => generator.generate(
                    &NetworkDenoiser {
                        network,
                        diffusion: &experiment.problem.diffusion,
                        parameters: &trained.parameters,
                        initial: None,
                    },
                    &mut rng,
                ),
            };
            generated
                .map(|g: Generated| g.member((0.0, 0.0)))
                .map_err(|source| EnsembleError::Sample { index, source })
        };
        let trainer = || NetworkTrainer::new(network, protocol, training.samples).unwrap();
        ensemble
            .extend(MODELS, trainer, member, |_| Ok(()))
            .unwrap();
        ensemble
    })
}

fn of_width(width: usize) -> Experiment {
    let overrides = [
        "model.precision=\"f64\"".to_owned(),
        "sweep.\"training.time\"=[100.0]".to_owned(),
        format!("sweep.\"model.width\"=[{width}]"),
    ];
    let spec = vkernel::spec::load(&experiment_file("width.toml"), &overrides, None).unwrap();
    spec.cases[0].experiment.clone()
}

/// Machines of infinite width, each solved exactly.
fn limit(experiment: &Experiment, family: &NetworkFamily) -> Ensemble {
    let mut experiment = experiment.clone();
    experiment.family = Family::Kernel(Box::new(family.limit.clone()));
    let machines = MonteCarlo::new(&experiment, SEED);
    let mut ensemble = Ensemble::new(machines.readout().grid.clone());
    ensemble
        .extend(
            MODELS,
            || machines.scratch(),
            |scratch, index| machines.member(scratch, index),
            |_| Ok(()),
        )
        .unwrap();
    ensemble
}

/// The parameters' way to the linearised network is the dual's.
#[test]
fn linearised_networks_are_those_of_the_dual() {
    let experiment = of_width(32);
    let Family::Network(family) = &experiment.family else {
        panic!("a network")
    };
    let training = experiment.training.as_ref().unwrap();
    let (network, rates) = (&family.network, &family.protocol.rates);
    let mut trainer = NetworkTrainer::new(network, &family.protocol, training.samples).unwrap();
    let (samples, trained) = trainer
        .train_fresh(&experiment.problem, training, &mut model_rng(SEED, 0))
        .unwrap();
    let (x, t) = ([-1.3, -0.2, 0.6, 1.1], [0.05, 0.1, 0.4, 0.9]);
    let duration = (trained.rate * trained.steps as f64, Some(trained.steps));
    let points = network.embed::<f64>(&x, &t);
    let dual = linearised(
        network,
        rates,
        &trained.initial,
        &samples,
        duration,
        &points,
    )
    .unwrap();
    let model = Linearised::new(&experiment, family, &samples, &trained);
    for (k, dual) in dual.iter().enumerate() {
        let mut denoised = [0.0];
        model.denoise(t[k], &x[k..=k], &mut denoised);
        let regression = network
            .predicts()
            .regression(&experiment.problem.diffusion, t[k]);
        let output = regression.p * denoised[0] + regression.q * x[k];
        assert!((output - dual).abs() < 1e-8, "{output} {dual}");
    }
}

#[test]
#[ignore = "a measurement of some minutes"]
fn networks_their_linearisations_and_the_limit() {
    println!(
        "width: TV trained-linearised, linearised-limit, trained-limit (noise of one side); gap masses of the three"
    );
    for width in [32, 128, 512] {
        let experiment = of_width(width);
        let Family::Network(family) = &experiment.family else {
            panic!("a network")
        };
        let [trained, linearised] = ensembles(&experiment, family);
        let limit = limit(&experiment, family);
        let [a, b, c] = [&trained, &linearised, &limit].map(|e| e.mean());
        let data = vkernel::density::noised_data(
            &experiment.problem,
            experiment.problem.t_min,
            Generator::new(&experiment).bins(),
        );
        let gap = Gap::of(&data);
        let noise = [&trained, &linearised, &limit].map(|e| e.noise_of(MODELS as f64));
        println!(
            "{width}: {:.4}, {:.4}, {:.4} ({noise:.4?}); {:.4}, {:.4}, {:.4}",
            total_variation(&a, &b),
            total_variation(&b, &c),
            total_variation(&a, &c),
            gap.mass(&a),
            gap.mass(&b),
            gap.mass(&c)
        );
        if width <= 128 {
            // Narrow networks are nearer to their linearisations than to the limit.
            assert!(total_variation(&a, &b) < total_variation(&a, &c));
        }
    }
}
