//! The statistics given a quenched layer against trained models at any ratio of features to samples: mean and spread of
//! the denoiser itself, in the setting of Fig. 2 (t_min = 1e-2).

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use vkernel::density::choose_layer;
use vkernel::experiment::Experiment;
use vkernel::family::{Family, Linear};
use vkernel::monte_carlo::{Trainer, model_rng};
use vkernel::statistics::{WeightStatistics, equivalent, sandwich};

use super::common::*;

/// Mean and standard deviation of the denoiser at x in [-1.2, 1.2] and five times, over many weights.
struct Field {
    mean: Vec<f64>,
    std: Vec<f64>,
    members: f64,
}

fn probes(family: &Linear) -> DMatrix<f64> {
    let mut columns = Vec::new();
    for t in [0.01, 0.03, 0.1, 0.3, 0.7] {
        for i in 0..49 {
            let mut phi = DVector::zeros(family.features.len());
            let x = -1.2 + 0.05 * f64::from(i);
            family.features.values(&[x], t, phi.as_mut_slice());
            columns.push(phi);
        }
    }
    DMatrix::from_columns(&columns)
}

impl Field {
    fn of(probes: &DMatrix<f64>, weights: &[DVector<f64>]) -> Self {
        let members = weights.len() as f64;
        let values: Vec<DVector<f64>> = weights.par_iter().map(|w| probes.tr_mul(w)).collect();
        let mut mean = DVector::zeros(probes.ncols());
        for v in &values {
            mean += v / members;
        }
        let mut square = DVector::zeros(probes.ncols());
        for v in &values {
            square += (v - &mean).map(|d| d * d) / (members - 1.0);
        }
        Self {
            mean: mean.as_slice().to_vec(),
            std: square.iter().map(|s| s.sqrt()).collect(),
            members,
        }
    }

    fn gaussian(probes: &DMatrix<f64>, weights: &WeightStatistics) -> Self {
        let spread = &weights.covariance * probes;
        Self {
            mean: probes.tr_mul(&weights.mean).as_slice().to_vec(),
            std: probes
                .column_iter()
                .zip(spread.column_iter())
                .map(|(p, s)| p.dot(&s).max(0.0).sqrt())
                .collect(),
            members: f64::INFINITY,
        }
    }
}

/// How two fields differ.
struct Agreement {
    /// Relative difference of the means, L2 over the probes, and its expectation from sampling noise alone.
    mean: f64,
    noise: f64,
    /// Ratios of standard deviations, sorted.
    ratios: Vec<f64>,
}

impl Agreement {
    fn between(predicted: &Field, trained: &Field) -> Self {
        let norm = trained.mean.iter().map(|m| m * m).sum::<f64>();
        let off = predicted
            .mean
            .iter()
            .zip(&trained.mean)
            .map(|(a, b)| (a - b).powi(2))
            .sum::<f64>();
        let variance = |f: &Field| f.std.iter().map(|s| s * s).sum::<f64>() / f.members;
        let noise = variance(trained)
            + if predicted.members.is_finite() {
                variance(predicted)
            } else {
                0.0
            };
        let mut ratios: Vec<f64> = predicted
            .std
            .iter()
            .zip(&trained.std)
            .map(|(a, b)| a / b)
            .collect();
        ratios.sort_by(f64::total_cmp);
        Self {
            mean: (off / norm).sqrt(),
            noise: (noise / norm).sqrt(),
            ratios,
        }
    }

    fn median(&self) -> f64 {
        self.ratios[self.ratios.len() / 2]
    }

    fn print(&self, samples: usize, name: &str) {
        println!(
            "P = {samples:5} {name:15} mean off by {:.4} (noise alone {:.4}), std ratio median {:.3}, {:.3} to {:.3}",
            self.mean,
            self.noise,
            self.median(),
            self.ratios[0],
            self.ratios[self.ratios.len() - 1]
        );
    }
}

/// The layer's statistics against `members` trained models, from as many draws; the other statistics are printed beside.
fn compare(samples: usize, members: u64) -> Agreement {
    let overrides = [format!("training.samples={samples}")];
    let spec = vkernel::spec::load(&experiment_file("gap.toml"), &overrides, None).unwrap();
    let experiment: &Experiment = &spec.cases[0].experiment;
    let Family::Linear(family) = &experiment.family else {
        panic!("a linear family")
    };
    let (problem, training) = (&experiment.problem, experiment.training.as_ref().unwrap());
    let probes = probes(family);
    let trained: Vec<DVector<f64>> = (0..members)
        .into_par_iter()
        .map_init(
            || Trainer::new(problem, family, training),
            |trainer, i| DVector::from_column_slice(trainer.train(&mut model_rng(31, i)).unwrap()),
        )
        .collect();
    let trained = Field::of(&probes, &trained);
    let large = sandwich(problem, family, training).unwrap();
    Agreement::between(&Field::gaussian(&probes, &large.weights), &trained)
        .print(samples, "sandwich");
    let equivalent = equivalent(problem, family, training).unwrap();
    Agreement::between(&Field::gaussian(&probes, &equivalent.weights), &trained)
        .print(samples, "equivalent");
    let choice = choose_layer(experiment, family, training, &equivalent, 0.02, 7).unwrap();
    let drawn: Vec<DVector<f64>> = (0..members)
        .into_par_iter()
        .map(|i| choice.layer.weights(&mut model_rng(32, i)).unwrap().weights)
        .collect();
    let agreement = Agreement::between(&Field::of(&probes, &drawn), &trained);
    agreement.print(samples, "quenched-layer");
    agreement
}

/// 1500 models each: the means agree within twice the noise, the spreads by the median within what is asked of 20 000.
#[test]
fn denoiser_at_any_ratio() {
    for samples in [64, 256] {
        let agreement = compare(samples, 1500);
        assert!(
            agreement.mean <= 2.0 * agreement.noise,
            "{samples}: {}",
            agreement.mean
        );
        assert!(
            (0.9..=1.1).contains(&agreement.median()),
            "{samples}: {}",
            agreement.median()
        );
    }
}

/// The README's table: minutes.
#[test]
#[ignore = "trains 60 000 models"]
fn denoiser_against_20000_models() {
    for samples in [64, 256, 1024] {
        let agreement = compare(samples, 20_000);
        assert!(
            agreement.mean <= (2.0 * agreement.noise).max(0.02),
            "{samples}: {}",
            agreement.mean
        );
        assert!(
            (0.95..=1.05).contains(&agreement.median()),
            "{samples}: {}",
            agreement.median()
        );
    }
}
