//! Statistics of linear families in D >= 2: node sums against naive loops, quadrature against closed forms, equivalents and
//! layers against trained models, embeddings of the line, and the cost of Fig. 3's setting.

use std::time::Instant;

use nalgebra::{DMatrix, DVector};
use vkernel::family::Linear;
use vkernel::family::features::{FeatureSet, Features, Gaussian, SpaceFeatures};
use vkernel::numerics::random::stream;
use vkernel::problem::{Data, Objective, Prediction, Problem, Training, Weighting};
use vkernel::statistics::{QuenchedLayer, SampleSum, VKernel, by_leverage, equivalent, sandwich};

use super::common::*;

fn gaussian(count: usize, low: f64, high: f64, width: f64) -> FeatureSet {
    FeatureSet::Gaussian(Gaussian::new(count, low, high, width))
}

fn protocol(samples: usize, ridge: f64) -> Training {
    Training {
        objective: Objective::Dsm,
        weighting: Weighting::Snr,
        samples,
        ridge,
    }
}

/// Fig. 3: four points on the unit circle, 10 x 10 x 10 Gaussian features.
fn fig_3() -> (Problem, Linear) {
    let points = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]].map(|p| p.to_vec());
    let problem = Problem {
        data: Data::points(&points, None).unwrap(),
        diffusion: VP,
        t_min: 1e-2,
        t_max: 1.0,
    };
    let along = || factor(gaussian(10, -1.5, 1.5, 0.5));
    let family = Linear {
        features: Features {
            space: SpaceFeatures::Product(vec![along(), along()]),
            time: factor(gaussian(10, problem.t_min, problem.t_max, 0.5)),
        },
        predicts: Prediction::Denoiser,
    };
    (problem, family)
}

/// Largest resident memory of this process so far, MiB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<f64>().ok())
        .map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Seconds and memory of every part in the setting of Fig. 3.
#[test]
#[ignore = "a measurement of minutes"]
fn cost_of_fig_3() {
    let (problem, family) = fig_3();
    for samples in [500, 2000, 8000] {
        let training = protocol(samples, 0.1);
        let clock = Instant::now();
        let s = sandwich(&problem, &family, &training).unwrap();
        println!(
            "P = {samples}: sandwich {:.1} s, {:?}; peak {:.0} MiB",
            clock.elapsed().as_secs_f64(),
            s.refinement,
            peak_memory()
        );
        let clock = Instant::now();
        let e = equivalent(&problem, &family, &training).unwrap();
        println!(
            "P = {samples}: equivalent {:.1} s, {:?}, iterations {:?} then {:?}, amplification {:.3}, effective features {:.1}; peak {:.0} MiB",
            clock.elapsed().as_secs_f64(),
            e.refinement,
            e.coarse.iterations,
            e.fine.iterations,
            e.coarse.amplification,
            e.fine.effective_features,
            peak_memory()
        );
        let clock = Instant::now();
        let kernel = VKernel::new(&problem, &family, &e.weights, 0.0).unwrap();
        println!(
            "VKernel rank {} {:.1} s",
            kernel.rank(),
            clock.elapsed().as_secs_f64()
        );
        let order = by_leverage(&e);
        for panels in [3, order.len() / 2] {
            let clock = Instant::now();
            let layer =
                QuenchedLayer::new(&problem, &family, &training, &e, &order[..panels]).unwrap();
            let made = clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            for i in 0..8 {
                layer.weights(&mut stream(3, i)).unwrap();
            }
            println!(
                "layer of {panels}/{} panels ({:.0} samples): {made:.1} s, {:.4} s a draw (one thread)",
                order.len(),
                layer.expected_samples(),
                clock.elapsed().as_secs_f64() / 8.0
            );
        }
        let clock = Instant::now();
        let sum = SampleSum::new(&e.population, &e.coarse, &training).unwrap();
        let made = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let mut weights = vec![0.0; 2 * family.features.len()];
        for i in 0..8 {
            sum.draw(&mut stream(3, i), &mut weights);
        }
        println!(
            "sum: {made:.1} s, {:.4} s a draw (one thread); peak {:.0} MiB",
            clock.elapsed().as_secs_f64() / 8.0,
            peak_memory()
        );
    }
}
