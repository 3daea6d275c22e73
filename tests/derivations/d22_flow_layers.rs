//! derivations/22-kernel-machines.md: the quenched layer of gradient flow, against machines solved in the dual with the exact kernel.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use nalgebra::DVector;
use rand::{RngExt, TryRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use vkernel::family::KernelFamily;
use vkernel::numerics::random::stream;
use vkernel::problem::{Data, Problem, Training};
use vkernel::statistics::{
    FlowEquivalent, FlowSum, QuenchedLayer, WeightStatistics, by_leverage, flow_equivalent,
};

use super::common::*;
use super::d22_kernel_machines::{family, line, near, rbf, training};
use super::d22_ridge_layers::{Drawn, SAMPLES, add_layer, layer_of, machine, probes};

const TIME: f64 = 20.0;

/// Three points on the line, from a random initial function.
static SETTING: LazyLock<(Problem, KernelFamily, Training)> = LazyLock::new(|| {
    let problem = line();
    let family = family(&problem, rbf(1, 0.8), Some(rbf(1, 2.0)));
    (problem, family, training(SAMPLES, 0.0, Some(TIME)))
});

static EQUIVALENT: LazyLock<Arc<FlowEquivalent<'static>>> = LazyLock::new(|| {
    let (problem, family, training) = &*SETTING;
    Arc::new(flow_equivalent(problem, family, training, TIME).unwrap())
});

/// The layer of some panels in this setting.
fn layer(panels: &[usize]) -> QuenchedLayer<'static> {
    let (problem, family, training) = &*SETTING;
    QuenchedLayer::new(problem, &family.linear, training, &*EQUIVALENT, panels).unwrap()
}

fn half() -> QuenchedLayer<'static> {
    let order = by_leverage(&*EQUIVALENT);
    layer(&order[..order.len() / 2])
        .settle(&*EQUIVALENT, 3)
        .unwrap()
}

/// The initial function that a layer draws after its samples, by its weights.
fn start_of(family: &KernelFamily, rng: &mut ChaCha8Rng) -> DVector<f64> {
    let (_, factor) = family.initial.as_ref().unwrap();
    let normal = || rng.sample::<f64, _>(StandardNormal);
    let normal: Vec<f64> = std::iter::repeat_with(normal)
        .take(factor.ncols())
        .collect();
    factor * DVector::from_vec(normal)
}

/// Five pairs of poles make the filter to 2e-4 of the smaller of its limits (D22.9).
#[test]
fn d22_18_a_layer_of_everything_is_training() {
    let (problem, family, training) = &*SETTING;
    let layer = layer(&by_leverage(&*EQUIVALENT));
    let probes = probes(family);
    for index in 0..4 {
        let mut rng = stream(5, index);
        let drawn = layer_of(&layer, &mut rng);
        assert_eq!(drawn.t.len(), SAMPLES);
        let start = start_of(family, &mut rng);
        let trained = machine(problem, family, training, &drawn, Some(&start));
        let draw = layer.weights(&mut stream(5, index)).unwrap();
        assert_eq!(draw.weights, draw.conditional_mean);
        let found = probes.tr_mul(&draw.weights);
        for (found, trained) in found.iter().zip(&trained) {
            near(*found, *trained, 1.0, 1e-3, "a trained machine");
        }
    }
}

/// Draws without a layer against the mean and the covariance of the equivalent on the same quadrature, in functions at some places and,
/// with several outputs, their sum.
fn assert_equivalent(layer: &QuenchedLayer<'_>, expected: &WeightStatistics, draws: u64) {
    let (features, outputs) = (&layer.family().features, layer.problem().dim());
    let f = features.len();
    let draws: Vec<DVector<f64>> = (0..draws)
        .into_par_iter()
        .map(|i| layer.weights(&mut stream(6, i)).unwrap().weights)
        .collect();
    for (x, t) in [(-0.7, 0.25), (0.2, 0.3), (0.9, 0.6)] {
        let place: Vec<f64> = (0..outputs).map(|i| x - 0.4 * i as f64).collect();
        let mut phi = vec![0.0; f];
        features.values(&place, t, &mut phi);
        let u = DVector::from_fn(outputs * f, |i, _| phi[i % f]);
        let variance = u.dot(&(&expected.covariance * &u));
        let values: Vec<f64> = draws.iter().map(|w| u.dot(w)).collect();
        assert_drawn(&values, u.dot(&expected.mean), variance, 0.0, "a function");
    }
}

#[test]
fn d22_18_an_empty_layer_is_the_equivalent() {
    assert_equivalent(&layer(&[]), &EQUIVALENT.statistics.coarser, 300);
}

#[test]
fn d22_18_an_empty_layer_in_the_plane_is_the_equivalent() {
    const TIME: f64 = 1.0;
    let points = [vec![-0.8, 0.3], vec![0.6, -0.5]];
    let problem = problem(Data::points(&points, None).unwrap(), VP, 0.2, 1.0);
    let family = family(&problem, rbf(2, 5.0), Some(rbf(2, 6.0)));
    let training = training(60, 0.0, Some(TIME));
    let equivalent = Arc::new(flow_equivalent(&problem, &family, &training, TIME).unwrap());
    let layer = QuenchedLayer::new(&problem, &family.linear, &training, &equivalent, &[]).unwrap();
    assert_equivalent(&layer, &equivalent.statistics.coarser, 80);
}

/// The random numbers of one stream up to some word, then those of another.
struct Spliced {
    head: ChaCha8Rng,
    end: u128,
    tail: ChaCha8Rng,
}

impl Spliced {
    fn current(&mut self) -> &mut ChaCha8Rng {
        match self.head.get_word_pos() < self.end {
            true => &mut self.head,
            false => &mut self.tail,
        }
    }
}

impl TryRng for Spliced {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.current().try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.current().try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.current().try_fill_bytes(out)
    }
}

/// Draws given one layer have the conditional covariance that sums over the nodes give.
#[test]
fn d22_18_draws_have_the_conditional_covariance() {
    const DRAWS: u64 = 300;
    let family = &SETTING.1;
    let (layer, probes) = (half(), probes(family));
    let mut after = stream(9, 0);
    let _ = layer_of(&layer, &mut after);
    let _ = start_of(family, &mut after);
    let spread = layer.conditional_covariance(&mut stream(9, 0)).unwrap();
    let expected = probes.tr_mul(&(spread * &probes));
    let mean = layer.weights(&mut stream(9, 0)).unwrap().conditional_mean;
    let moved: Vec<DVector<f64>> = (1..=DRAWS)
        .into_par_iter()
        .map(|i| {
            let mut rng = Spliced {
                head: stream(9, 0),
                end: after.get_word_pos(),
                tail: stream(9, i),
            };
            let draw = layer.weights(&mut rng).unwrap();
            assert_eq!(draw.conditional_mean, mean);
            probes.tr_mul(&(draw.weights - &mean))
        })
        .collect();
    let n = DRAWS as f64;
    for j in 0..probes.ncols() {
        for k in 0..=j {
            let found = moved.iter().map(|m| m[j] * m[k]).sum::<f64>() / n;
            let scale = (expected[(j, j)] * expected[(k, k)]).sqrt();
            let off = (found - expected[(j, k)]) / scale;
            println!("{j}, {k}: correlation off by {off:.3}");
            // Five standard errors of a mean of products of normal numbers.
            assert!(off.abs() <= 5.0 * (2.0 / n).sqrt(), "{j}, {k}: {off}");
        }
    }
}

/// Given one layer as drawn, about half of the samples, and the initial function: machines trained on it and on fresh samples of the
/// rest.
#[test]
fn d22_18_conditional_mean_and_covariance_against_trained_machines() {
    let (problem, family, training) = &*SETTING;
    let (layer, probes) = (half(), probes(family));
    let mut moments = ConditionalMoments::default();
    for index in 0..3 {
        let mut rng = stream(5, index);
        let inside = layer_of(&layer, &mut rng);
        let start = start_of(family, &mut rng);
        let machine = |all: &Drawn| machine(problem, family, training, all, Some(&start));
        let rng = &mut stream(5, index);
        add_layer(&mut moments, &layer, rng, &inside, 500, machine, &probes);
    }
    // Measured with 2000 machines on each of six layers: 0.983 (0.882 to 1.137) and 0.054; without an initial function 0.990 (0.948
    // to 1.034) and 0.048.
    moments.assert_close();
}

/// Where leverages are small the draws of the sum have the equivalent's mean and covariance.
#[test]
fn d22_20_the_sum_over_samples_has_the_equivalents_covariance() {
    const TIME: f64 = 5.0;
    const DRAWS: u64 = 400;
    let (problem, family, _) = &*SETTING;
    let training = training(2000, 0.0, Some(TIME));
    let equivalent = flow_equivalent(problem, family, &training, TIME).unwrap();
    let leverage = equivalent.statistics.largest_leverage;
    assert!(leverage < 0.1, "{leverage}");
    let sum = FlowSum::new(&equivalent).unwrap();
    let probes = probes(family);
    let expected = &equivalent.statistics.coarser;
    let draws: Vec<DVector<f64>> = (0..DRAWS)
        .into_par_iter()
        .map(|i| probes.tr_mul(&sum.draw(&mut stream(4, i))))
        .collect();
    for (j, phi) in probes.column_iter().enumerate() {
        let variance = phi.dot(&(&expected.covariance * phi));
        let values: Vec<f64> = draws.iter().map(|d| d[j]).collect();
        assert_drawn(
            &values,
            phi.dot(&expected.mean),
            variance,
            leverage,
            "a place",
        );
    }
}
