//! The prediction against trained models: linear family, sandwich, Gaussian field, the setting of Fig. 2 (t_min = 1e-2).

use vkernel::run::{Checkpoints, Parts, run};

use super::common::*;

/// Total variation between the predicted and the trained mean density, and the floors.
fn gap(samples: usize, models: usize) -> (f64, f64) {
    let overrides = [
        format!("training.samples={samples}"),
        format!("monte_carlo.models={models}"),
        format!("predict.draws={models}"),
        "predict.statistics=\"sandwich\"".to_owned(),
        "predict.methods=[\"gaussian-field\"]".to_owned(),
    ];
    let spec = vkernel::spec::load(&experiment_file("gap.toml"), &overrides, None).unwrap();
    let parts = Parts {
        predict: true,
        train: true,
    };
    let results = run(&spec, parts, &Checkpoints::none(), &mut |_| ()).unwrap();
    let comparison = results[0].against_monte_carlo("gaussian-field").unwrap();
    println!(
        "P = {samples}: TV {:.4}, floor {:.4} (95 %: {:.4}), trust {:?}",
        comparison.tv,
        comparison.tv_floor,
        comparison.tv_floor_95,
        results[0].trust["gaussian-field"].level
    );
    (comparison.tv, comparison.tv_floor)
}

/// F/P = 1/16: the sandwich holds. Both sides are means over 800: 2^1/2 floors of noise.
#[test]
fn sixteen_samples_per_feature() {
    let (tv, _) = gap(4096, 800);
    assert!(tv <= 0.03, "{tv}");
}

/// F/P = 1/4: corrections of that order are seen.
#[test]
fn four_samples_per_feature() {
    let (tv, _) = gap(1024, 1000);
    assert!(tv <= 0.09, "{tv}");
}
