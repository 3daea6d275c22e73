//! Training networks one after another in the same memory.

use rand::Rng;
use rand::seq::SliceRandom;

use super::course::Course;
use super::curvature::largest_eigenvalue;
use super::samples::Samples;
use super::update::Update;
use crate::family::network::{
    Duration, Layer, Network, NetworkTraining, NetworkTrainingError, Pass, Real,
};
use crate::problem::{Problem, Training};

/// One trained network.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedNetwork<T> {
    /// Parameters at initialisation.
    pub initial: Vec<T>,
    /// Parameters at the end.
    pub parameters: Vec<T>,
    /// (step, loss over all samples before it) at steps spaced evenly in their logarithm, and at the end.
    pub curve: Vec<(usize, f64)>,
    /// Steps taken.
    pub steps: usize,
    /// Learning rate.
    pub rate: f64,
    /// Largest eigenvalue of the loss's curvature at initialisation; not computed for Adam.
    pub lambda_max: Option<f64>,
    /// Whether `relative_loss` ended the training.
    pub stopped_early: bool,
}

/// Learning rate and number of steps.
struct Plan {
    rate: f64,
    steps: usize,
    lambda_max: Option<f64>,
}

/// Minimises (1/2P) sum_p lambda_p |f(z_p) - y_p|^2. What comes out depends on the samples and the random numbers alone.
pub struct NetworkTrainer<'a, T> {
    network: &'a Network,
    options: &'a NetworkTraining,
    pass: Pass<T>,
    /// lambda (f - y)/n of the samples at hand, D x n.
    residuals: Vec<T>,
    gradient: Vec<T>,
    update: Update<T>,
    batch: Samples<T>,
    order: Vec<usize>,
}

impl<'a, T: Real> NetworkTrainer<'a, T> {
    /// Memory for training on `samples` samples.
    pub fn new(
        network: &'a Network,
        options: &'a NetworkTraining,
        samples: usize,
    ) -> Result<Self, NetworkTrainingError> {
        options.validate(samples, network.layers().len())?;
        let columns = options.columns(samples);
        Ok(Self {
            network,
            options,
            pass: Pass::new(network, columns),
            residuals: vec![T::default(); network.outputs() * columns],
            gradient: vec![T::default(); network.parameters()],
            update: Update::new(network, options),
            batch: Samples::empty(),
            order: (0..samples).collect(),
        })
    }

    /// Memory of one thread, bytes: activations, parameters at both ends, gradient and moments, samples.
    pub fn bytes(network: &Network, options: &NetworkTraining, samples: usize) -> u64 {
        let columns = options.columns(samples);
        let copies = if options.optimiser.is_adam() { 5 } else { 3 };
        let per_sample = network.inputs() + network.outputs() + 1;
        let numbers = Pass::<T>::numbers(network, columns)
            .saturating_add(network.parameters().saturating_mul(copies))
            .saturating_add(per_sample.saturating_mul(samples + columns))
            .saturating_add(network.outputs() * columns);
        (numbers as u64).saturating_mul(size_of::<T>() as u64)
    }

    /// Floating-point operations of the matrix products of one step on `columns` samples: two per weight and sample forward,
    /// two for the gradient, two to pass it below (not from the first layer).
    pub fn step_flops(network: &Network, columns: usize) -> f64 {
        let products = |(l, layer): (usize, &Layer)| {
            let weights = (layer.inputs * layer.outputs) as f64;
            weights * if l == 0 { 4.0 } else { 6.0 }
        };
        columns as f64
            * network
                .layers()
                .iter()
                .enumerate()
                .map(products)
                .sum::<f64>()
    }

    /// Draws a training set of its own, and trains on it.
    pub fn train_fresh<R: Rng + ?Sized>(
        &mut self,
        problem: &Problem,
        training: &Training,
        rng: &mut R,
    ) -> Result<(Samples<T>, TrainedNetwork<T>), NetworkTrainingError> {
        let samples = Samples::draw(problem, self.network, training, rng);
        let trained = self.train(&samples, rng)?;
        Ok((samples, trained))
    }

    /// Draws initial parameters and trains them.
    pub fn train<R: Rng + ?Sized>(
        &mut self,
        samples: &Samples<T>,
        rng: &mut R,
    ) -> Result<TrainedNetwork<T>, NetworkTrainingError> {
        let mut initial = Vec::new();
        self.network.initialise(rng, &mut initial);
        self.train_from(initial, samples, rng)
    }

    /// Trains given initial parameters; `rng` shuffles the batches.
    pub fn train_from<R: Rng + ?Sized>(
        &mut self,
        initial: Vec<T>,
        samples: &Samples<T>,
        rng: &mut R,
    ) -> Result<TrainedNetwork<T>, NetworkTrainingError> {
        let (expected, got) = (self.order.len(), samples.len());
        if expected != got {
            return Err(NetworkTrainingError::Samples { expected, got });
        }
        let centred;
        let samples = match self.options.centred {
            true => {
                centred = self.shifted(&initial, samples);
                &centred
            }
            false => samples,
        };
        let plan = self.plan(&initial, samples)?;
        let mut parameters = initial.clone();
        let mut course = Course::new(samples, self.options.relative_loss);
        let steps = self.descend(&mut parameters, samples, &plan, &mut course, rng)?;
        Ok(TrainedNetwork {
            initial,
            parameters,
            steps,
            rate: plan.rate,
            lambda_max: plan.lambda_max,
            stopped_early: steps < plan.steps,
            curve: course.into_curve(),
        })
    }

    /// Samples with the initial output added to the targets: f fits them as f - f_0 fits the others.
    fn shifted(&mut self, initial: &[T], samples: &Samples<T>) -> Samples<T> {
        let mut shifted = samples.clone();
        let (inputs, outputs) = self.chunk_lengths();
        let chunks = samples.inputs.chunks(inputs);
        for (inputs, targets) in chunks.zip(shifted.targets.chunks_mut(outputs)) {
            let start = self.pass.forward(self.network, initial, inputs);
            targets.iter_mut().zip(start).for_each(|(y, f)| *y += *f);
        }
        shifted
    }

    /// Numbers of inputs and outputs of the samples that go through the network together.
    fn chunk_lengths(&self) -> (usize, usize) {
        let columns = self.options.columns(self.order.len());
        (
            columns * self.network.inputs(),
            columns * self.network.outputs(),
        )
    }

    fn plan(&mut self, initial: &[T], samples: &Samples<T>) -> Result<Plan, NetworkTrainingError> {
        let optimiser = &self.options.optimiser;
        let (given, duration) = (optimiser.rate(), self.options.duration);
        if let (true, Some(rate), Duration::Steps(steps)) = (optimiser.is_adam(), given, duration) {
            return Ok(Plan {
                rate,
                steps,
                lambda_max: None,
            });
        }
        let columns = self.options.columns(samples.len());
        let lambda_max = largest_eigenvalue(
            self.network,
            &self.options.rates,
            initial,
            samples,
            (&mut self.pass, columns),
        );
        if !(lambda_max.is_finite() && lambda_max > 0.0) {
            return Err(NetworkTrainingError::Flat { lambda_max });
        }
        let rate = given.unwrap_or(1.0 / lambda_max);
        let limit = 2.0 / lambda_max;
        if rate > limit {
            return Err(NetworkTrainingError::Unstable {
                rate,
                limit,
                lambda_max,
            });
        }
        let (rate, steps) = spread(duration, rate)?;
        Ok(Plan {
            rate,
            steps,
            lambda_max: Some(lambda_max),
        })
    }

    /// Takes the steps and returns how many.
    fn descend<R: Rng + ?Sized>(
        &mut self,
        parameters: &mut [T],
        samples: &Samples<T>,
        plan: &Plan,
        course: &mut Course,
        rng: &mut R,
    ) -> Result<usize, NetworkTrainingError> {
        self.update.reset();
        self.order.sort_unstable();
        let columns = self.options.columns(samples.len());
        let full = columns == samples.len();
        let mut batch = std::mem::replace(&mut self.batch, Samples::empty());
        let mut taken = plan.steps;
        let mut next = samples.len();
        for step in 0..plan.steps {
            if full || course.is_due(step) {
                let loss = self.loss(parameters, samples);
                if course.observe(step, loss)? {
                    taken = step;
                    break;
                }
            }
            if full {
                self.step(parameters, &samples.inputs, plan.rate);
                continue;
            }
            if next >= samples.len() {
                self.order.shuffle(rng);
                next = 0;
            }
            let end = (next + columns).min(samples.len());
            samples.gather(&self.order[next..end], &mut batch);
            next = end;
            let loss = self.loss(parameters, &batch);
            course.check(step, loss)?;
            self.step(parameters, &batch.inputs, plan.rate);
        }
        self.batch = batch;
        let loss = self.loss(parameters, samples);
        course.finish(taken, loss)?;
        Ok(taken)
    }

    /// One step from the residuals of the last [`Self::loss`].
    fn step(&mut self, parameters: &mut [T], inputs: &[T], rate: f64) {
        let weights = self.network.outputs() * inputs.len() / self.network.inputs();
        self.pass.backward(
            self.network,
            parameters,
            inputs,
            &self.residuals[..weights],
            &mut self.gradient,
        );
        self.update.apply(parameters, &self.gradient, rate);
    }

    /// Loss on samples; leaves the residuals of the last chunk of them, which is all if there is one.
    fn loss(&mut self, parameters: &[T], samples: &Samples<T>) -> f64 {
        let columns = self.options.columns(self.order.len());
        let (inputs, outputs) = self.chunk_lengths();
        let scale = 1.0 / samples.len() as f64;
        let chunks = samples.inputs.chunks(inputs);
        let targets = samples.targets.chunks(outputs);
        let weights = samples.weights.chunks(columns);
        let mut sum = 0.0;
        for ((inputs, targets), weights) in chunks.zip(targets).zip(weights) {
            let values = self.pass.forward(self.network, parameters, inputs);
            let width = self.network.outputs();
            let examples = values.chunks_exact(width).zip(targets.chunks_exact(width));
            let residuals = self.residuals.chunks_exact_mut(width);
            for (((f, y), r), weight) in examples.zip(residuals).zip(weights) {
                let factor = T::from_f64(weight.to_f64() * scale);
                for ((f, y), r) in f.iter().zip(y).zip(r) {
                    let error = *f - *y;
                    *r = factor * error;
                    sum += weight.to_f64() * error.to_f64().powi(2);
                }
            }
        }
        0.5 * scale * sum
    }
}

/// Rate and number of steps.
fn spread(duration: Duration, rate: f64) -> Result<(f64, usize), NetworkTrainingError> {
    match duration {
        Duration::Steps(steps) => Ok((rate, steps)),
        Duration::FlowTime { tau, most_steps } => {
            let needed = (tau / rate).ceil();
            if needed > most_steps as f64 {
                return Err(NetworkTrainingError::TooManySteps {
                    tau,
                    needed,
                    rate,
                    allowed: most_steps,
                });
            }
            match needed > 0.0 {
                true => Ok((tau / needed, needed as usize)),
                false => Ok((rate, 0)),
            }
        }
    }
}
