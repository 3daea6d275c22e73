//! Distances on cases done by hand, and the noise floor against ensembles drawn over and over.

use rand_distr::{Distribution, Gamma};
use vkernel::compare::{
    BandAgreement, Distances, Gap, Quartiles, bootstrap_error, kolmogorov_smirnov, total_variation,
    wasserstein,
};
use vkernel::density::{Bins, Ensemble, Masses, Member};
use vkernel::monte_carlo::model_rng;
use vkernel::numerics::normal;

use super::common::*;

fn masses(cells: &[f64]) -> Masses {
    Masses {
        cells: cells.to_vec(),
    }
}

#[test]
fn by_hand() {
    let bins = Bins {
        low: 0.0,
        high: 1.0,
        count: 4,
    };
    // Cells: below, four bins of width 1/4, above.
    let a = masses(&[0.0, 0.5, 0.5, 0.0, 0.0, 0.0]);
    let b = masses(&[0.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
    let d = Distances::between(&a, &b, &bins.into());
    // Disjoint halves of the unit interval: everything moves by 1/2.
    assert_eq!((d.tv, d.w1, d.ks), (1.0, 0.5, 1.0));
    // Bins next to each other that exchange 0.2: spread evenly, 0.2 moves by one width.
    let c = masses(&[0.0, 0.3, 0.7, 0.0, 0.0, 0.0]);
    let d = Distances::between(&a, &c, &bins.into());
    close(d.tv, 0.2, 1.0, 1e-15, "TV");
    close(d.w1, 0.05, 1.0, 1e-15, "W1");
    close(d.ks, 0.2, 1.0, 1e-15, "KS");
    // The cumulatives cross in the middle of a bin: two triangles of height 0.1.
    let even = masses(&[0.0, 0.25, 0.25, 0.25, 0.25, 0.0]);
    let peaked = masses(&[0.0, 0.15, 0.45, 0.15, 0.25, 0.0]);
    // F differences at the edges: -0.1, +0.1, 0, 0. Areas: 0.05 w, 2 x 0.025 w, 0.05 w, 0.
    close(
        wasserstein(&peaked, &even, &bins),
        0.15 * 0.25,
        1.0,
        1e-15,
        "W1 with a crossing",
    );
    // The two tails count as one more bin for TV, and are kept apart by the cumulatives.
    let left = masses(&[0.3, 0.7, 0.0, 0.0, 0.0, 0.0]);
    let right = masses(&[0.0, 0.7, 0.0, 0.0, 0.0, 0.3]);
    assert_eq!(total_variation(&left, &right), 0.0);
    close(
        wasserstein(&left, &right, &bins),
        0.3,
        1.0,
        1e-15,
        "W1 of the tails",
    );
    close(
        kolmogorov_smirnov(&left, &right),
        0.3,
        1.0,
        1e-15,
        "KS of the tails",
    );
}

/// Two shifted Gaussians: W1 is the shift, KS and TV are 2 Phi(shift/2 std) - 1.
#[test]
fn shifted_gaussians() {
    let bins = Bins {
        low: -6.0,
        high: 6.0,
        count: 600,
    };
    let law = |mean: f64| Masses::from_cdf(&bins, |x| normal::cdf((x - mean) / 0.5));
    for shift in [0.05, 0.3, 1.0] {
        let d = Distances::between(&law(-0.5 * shift), &law(0.5 * shift), &bins.into());
        let overlap = 2.0 * normal::cdf(0.5 * shift / 0.5) - 1.0;
        close(d.w1, shift, 1.0, 1e-9, "W1");
        // The crossing at 0 is a bin edge: no mass is lost in a bin.
        close(d.tv, overlap, 1.0, 1e-9, "TV");
        close(d.ks, overlap, 1.0, 1e-9, "KS");
    }
}

#[test]
fn bounds_and_symmetry() {
    let bins = Bins {
        low: -1.0,
        high: 1.0,
        count: 10,
    };
    let (a, b) = (histogram(1, 12), histogram(2, 12));
    let (d, e) = (
        Distances::between(&a, &b, &bins.into()),
        Distances::between(&b, &a, &bins.into()),
    );
    assert_eq!(d, e);
    assert!(d.ks <= 1.0 && d.tv <= 1.0 && d.w1 <= 2.0 * d.ks);
    let zero = Distances::between(&a, &a, &bins.into());
    assert_eq!((zero.tv, zero.w1, zero.ks), (0.0, 0.0, 0.0));
}

/// A random histogram: Dirichlet with exponents from 0.2 to about 1.
fn histogram(index: u64, cells: usize) -> Masses {
    let mut rng = model_rng(8, index);
    let g: Vec<f64> = exponents(cells)
        .iter()
        .map(|a| Gamma::new(*a, 1.0).unwrap().sample(&mut rng))
        .collect();
    let total: f64 = g.iter().sum();
    masses(&g.iter().map(|g| g / total).collect::<Vec<_>>())
}

fn exponents(cells: usize) -> Vec<f64> {
    (0..cells)
        .map(|i| 0.2 + 0.8 * i as f64 / cells as f64)
        .collect()
}

#[test]
fn noise_floor_is_the_distance_to_the_truth() {
    let bins = Bins {
        low: 0.0,
        high: 1.0,
        count: 20,
    };
    let cells = 22;
    let total: f64 = exponents(cells).iter().sum();
    let truth = masses(
        &exponents(cells)
            .iter()
            .map(|a| a / total)
            .collect::<Vec<_>>(),
    );
    let (members, repeats) = (200, 400);
    let mut direct: Vec<Distances> = Vec::new();
    let mut floors = Vec::new();
    for repeat in 0..repeats {
        let mut ensemble = Ensemble::new(bins);
        ensemble
            .extend::<_, ()>(
                members,
                || (),
                |(), i| {
                    Ok(Member {
                        masses: histogram(100 + repeat * members + i, cells),
                        values: Vec::new(),
                        unresolved: 0.0,
                        folds: false,
                        seconds: (0.0, 0.0),
                    })
                },
                |_| Ok(()),
            )
            .unwrap();
        direct.push(Distances::between(&ensemble.mean(), &truth, &bins.into()));
        if repeat < 60 {
            floors.push(ensemble.noise_floor());
        }
    }
    let average = |v: Vec<f64>| {
        let (mean, variance) = moments(&v);
        (mean, (variance / v.len() as f64).sqrt())
    };
    type Pick = fn(&Distances) -> f64;
    let picks: [(&str, Pick); 3] = [("TV", |d| d.tv), ("W1", |d| d.w1), ("KS", |d| d.ks)];
    for (name, pick) in picks {
        let (truth, truth_error) = average(direct.iter().map(pick).collect());
        let (floor, floor_error) = average(floors.iter().map(|f| pick(&f.mean)).collect());
        println!(
            "{name}: floor {floor:.5} +- {floor_error:.5}, direct {truth:.5} +- {truth_error:.5}"
        );
        // Bias of a plug-in standard deviation, (excess kurtosis + 2)/(8 n) with kurtosis below 10: 0.75 %; the Poisson
        // bootstrap varies its total by 1/sqrt(n) and divides by it, which is of second order: 1/n.
        let allowed = 5.0 * truth_error.hypot(floor_error) + 0.0125 * truth;
        assert!((floor - truth).abs() < allowed, "{name}: {floor} {truth}");
    }
    // The 95 % quantile: covered by 95 % of independent ensembles, within 5 binomial standard errors, and a quantile of
    // 200 replicates is itself uncertain by 1.5 %.
    let (level, _) = average(floors.iter().map(|f| f.tv_95).collect());
    let covered = direct.iter().filter(|d| d.tv <= level).count() as f64 / repeats as f64;
    println!("95 % level {level:.5}: covers {covered:.3} of {repeats} ensembles");
    let error = (0.95_f64 * 0.05 / repeats as f64).sqrt() + 0.015;
    assert!((covered - 0.95).abs() < 5.0 * error, "{covered}");
}

/// Mean and standard error over members, and the streaming quantiles to the 1 % they promise.
#[test]
fn ensemble_statistics_are_those_of_its_members() {
    let bins = Bins {
        low: 0.0,
        high: 1.0,
        count: 10,
    };
    let n = 500;
    let all: Vec<Masses> = (0..n).map(|i| histogram(i, 12)).collect();
    let mut ensemble = Ensemble::new(bins);
    ensemble
        .extend::<_, ()>(
            n,
            || (),
            |(), i| {
                Ok(Member {
                    masses: all[i as usize].clone(),
                    values: Vec::new(),
                    unresolved: 0.25,
                    folds: i % 2 == 0,
                    seconds: (1.0, 2.0),
                })
            },
            |_| Ok(()),
        )
        .unwrap();
    let (mean, se, median) = (
        ensemble.mean(),
        ensemble.standard_error(),
        ensemble.quantile(0.5),
    );
    for bin in 0..bins.count {
        let mut values: Vec<f64> = all.iter().map(|m| m.inside()[bin]).collect();
        let (m, v) = moments(&values);
        close(mean.inside()[bin], m, 1.0, 1e-14, "mean");
        close(
            se[bin],
            (v / n as f64).sqrt(),
            se[bin],
            1e-10,
            "standard error",
        );
        values.sort_by(f64::total_cmp);
        // Between the order statistics on either side, or within a level of the sketch (1.05 %).
        let (low, high) = (values[n as usize / 2 - 1], values[n as usize / 2]);
        assert!(
            median[bin] > low * 0.985 && median[bin] < high * 1.015,
            "{} {low} {high}",
            median[bin]
        );
    }
    assert_eq!((ensemble.folded(), ensemble.unresolved()), (0.5, 0.25));
}

#[test]
fn gaps_by_hand() {
    // From the emptiest: 0.003, then the first of the two bins of 0.004; the second would make 0.011 of 1.
    let data = masses(&[0.001, 0.485, 0.004, 0.003, 0.5, 0.004, 0.003]);
    let gap = Gap::of(&data);
    let inside: Vec<bool> = (0..5).map(|bin| gap.contains(bin)).collect();
    assert_eq!(inside, [false, true, true, false, false]);
    assert!(!gap.contains(5));
    close(gap.mass(&data), 0.011, 1.0, 1e-15, "data");
    let model = masses(&[0.02, 0.4, 0.06, 0.05, 0.4, 0.04, 0.03]);
    close(gap.mass(&model), 0.16, 1.0, 1e-15, "model");
    // Bins without data are gaps, whatever the rest.
    let atom = masses(&[0.0, 0.0, 1.0, 0.0, 0.0]);
    let gap = Gap::of(&atom);
    assert!(gap.contains(0) && !gap.contains(1) && gap.contains(2));
}

#[test]
fn bands_by_hand() {
    // Five bins; the last holds too little to be looked at.
    let mean = [0.2, 0.3, 0.3, 0.199, 0.001];
    let reference = Quartiles {
        lower: &[0.1, 0.2, 0.2, 0.1, 0.0],
        upper: &[0.2, 0.4, 0.3, 0.1, 0.0],
    };
    // Off by 0.1 of a width of 0.1 at one edge; by 0.19 and 0.15 of 0.2; by 0.25 of 0.1; a band of no width met exactly.
    let predicted = Quartiles {
        lower: &[0.11, 0.238, 0.175, 0.1, 0.5],
        upper: &[0.2, 0.37, 0.3, 0.1, 0.5],
    };
    let agreement = BandAgreement::between(predicted, reference, &mean).unwrap();
    assert_eq!((agreement.within, agreement.bins), (0.75, 4));
    let itself = BandAgreement::between(reference, reference, &mean).unwrap();
    assert_eq!(itself.within, 1.0);
    assert_eq!(
        BandAgreement::between(predicted, reference, &[1e-3; 5]),
        None
    );
}

/// The bootstrap error of a gap mass is its members' scatter over sqrt(n), and that of a difference keeps what members of
/// the same index share.
#[test]
fn gap_masses_have_bootstrap_errors() {
    let n = 400;
    let bins = Bins {
        low: 0.0,
        high: 1.0,
        count: 20,
    };
    let fixed = histogram(1, 22);
    let gap = Gap::of(&masses(
        &exponents(22)
            .iter()
            .map(|a| (8.0 * a).exp())
            .collect::<Vec<_>>(),
    ));
    let mixed = |i: u64, share: f64| {
        let own = histogram(2000 + i, 22);
        let cells = own.cells.iter().zip(&fixed.cells);
        masses(
            &cells
                .map(|(a, f)| (1.0 - share) * a + share * f)
                .collect::<Vec<_>>(),
        )
    };
    let replicates = |share: f64| -> Vec<f64> {
        let mut ensemble = Ensemble::new(bins);
        let member = |(): &mut (), i| {
            Ok(Member {
                masses: mixed(i, share),
                values: Vec::new(),
                unresolved: 0.0,
                folds: false,
                seconds: (0.0, 0.0),
            })
        };
        ensemble
            .extend::<_, ()>(n, || (), member, |_| Ok(()))
            .unwrap();
        ensemble.replicates().iter().map(|r| gap.mass(r)).collect()
    };
    let (own, other) = (replicates(0.0), replicates(0.1));
    let scatter: Vec<f64> = (0..n).map(|i| gap.mass(&mixed(i, 0.0))).collect();
    let expected = (moments(&scatter).1 / n as f64).sqrt();
    let error = bootstrap_error(&own).unwrap();
    println!("gap mass: bootstrap error {error:.5}, scatter over sqrt(n) {expected:.5}");
    // 200 replicates know their standard deviation to 5 %.
    close(error, expected, expected, 0.25, "standard error");
    // 0.9 a + 0.1 f - a = 0.1 (f - a), replicate by replicate.
    let differences: Vec<f64> = other.iter().zip(&own).map(|(b, a)| b - a).collect();
    let error_of_difference = bootstrap_error(&differences).unwrap();
    close(error_of_difference, 0.1 * error, error, 1e-10, "difference");
    assert_eq!(bootstrap_error(&[0.5]), None);
}
