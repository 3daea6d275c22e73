use super::common::*;
use super::dense::*;
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use vkernel::statistics::{DeterministicEquivalent, Measure, deterministic_equivalent};

/// Rows sqrt(lambda) phi with anisotropic Gaussian phi and lambda = 1/sigma^2, sigma uniform on [0.05, 1] (tail
/// P(lambda > l) ~ l^-1/2, from 1 to 400); two targets, not linear in phi, with correlated noise that varies.
fn heavy(features: usize, nodes: usize, seed: u64) -> Dense {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = DMatrix::zeros(features, nodes);
    let mut mean = DMatrix::zeros(2, nodes);
    let mut noise = Vec::new();
    for n in 0..nodes {
        let sigma = 0.05 + 0.95 * (n as f64 + 0.5) / nodes as f64;
        let phi = DVector::from_fn(features, |f, _| {
            rng.sample::<f64, _>(StandardNormal) / (1.0 + 4.0 * f as f64 / features as f64)
        });
        rows.set_column(n, &(&phi / sigma));
        let first = phi.iter().take(features.div_ceil(2)).sum::<f64>() / (features as f64).sqrt();
        mean[(0, n)] = (first + 0.5 * phi[0] * phi[1]) / sigma;
        mean[(1, n)] = (0.6 - first * first) / sigma;
        let spread = 0.3 + 0.4 * sigma;
        let l = DMatrix::from_row_slice(2, 2, &[spread, 0.0, 0.6 * spread, 0.5]);
        noise.push(l / sigma);
    }
    Dense {
        weight: vec![1.0 / nodes as f64; nodes],
        rows,
        mean,
        noise,
    }
}

fn solve(measure: &Dense, samples: usize, ridge: f64) -> DeterministicEquivalent {
    deterministic_equivalent(measure, samples, ridge, 1e-10, None).unwrap()
}

struct Ensemble {
    /// F x D each.
    weights: Vec<DMatrix<f64>>,
}

impl Ensemble {
    fn new(measure: &Dense, samples: usize, ridge: f64, models: usize, seed: u64) -> Self {
        let sampler = measure.sampler();
        let weights = (0..models)
            .map(|m| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(m as u64);
                let (rows, targets) = sampler.set(samples, &mut rng);
                trained(&rows, &targets, ridge)
            })
            .collect();
        Self { weights }
    }

    fn mean(&self, range: std::ops::Range<usize>) -> DMatrix<f64> {
        let n = range.len() as f64;
        self.weights[range].iter().sum::<DMatrix<f64>>() / n
    }

    /// Sample covariance of outputs i and j.
    fn covariance(&self, range: std::ops::Range<usize>, i: usize, j: usize) -> DMatrix<f64> {
        let mean = self.mean(range.clone());
        let n = range.len() as f64;
        let mut out = DMatrix::zeros(mean.nrows(), mean.nrows());
        for w in &self.weights[range] {
            let e = w - &mean;
            out.ger(1.0 / (n - 1.0), &e.column(i), &e.column(j), 1.0);
        }
        out
    }

    /// Squared deviation from theory relative to theory, unbiased: halves of the ensemble against each other.
    fn deviations(&self, theory: &DeterministicEquivalent) -> [f64; 4] {
        let n = self.weights.len();
        let halves = [0..n / 2, n / 2..n];
        let spread: f64 = theory.covariances[0].trace() + theory.covariances[2].trace();
        let [a, b] = halves.clone().map(|h| self.mean(h) - &theory.mean);
        let mut out = [a.dot(&b) / spread, 0.0, 0.0, 0.0];
        for (k, (i, j)) in [(0, 0), (0, 1), (1, 1)].into_iter().enumerate() {
            let c = &theory.covariances[k];
            let [a, b] = halves.clone().map(|h| self.covariance(h, i, j) - c);
            out[k + 1] = a.dot(&b) / c.norm_squared();
        }
        out
    }
}

/// Largest deviations of an ensemble from theory in standard errors: over all weights, and over all elements of the
/// covariance of the stacked outputs (standard errors from fourth moments).
fn worst(all: &Ensemble, theory: &DeterministicEquivalent) -> (f64, f64) {
    let n = all.weights.len() as f64;
    let mean = all.mean(0..all.weights.len());
    let f = mean.nrows();
    let centred = DMatrix::from_fn(mean.len(), all.weights.len(), |k, m| {
        all.weights[m].as_slice()[k] - mean.as_slice()[k]
    });
    let squares = centred.map(|v| v * v);
    let covariance = &centred * centred.transpose() / (n - 1.0);
    let fourth = &squares * squares.transpose() / n;
    let (mut first, mut second) = (0.0f64, 0.0f64);
    for k in 0..mean.len() {
        let e = mean.as_slice()[k] - theory.mean.as_slice()[k];
        first = first.max(e.abs() / (covariance[(k, k)] / n).sqrt());
        for l in 0..mean.len() {
            let (i, j) = (k / f, l / f);
            let block = &theory.covariances[i.min(j) * (5 - i.min(j)) / 2 + i.abs_diff(j)];
            let value = if i <= j {
                block[(k % f, l % f)]
            } else {
                block[(l % f, k % f)]
            };
            let c = covariance[(k, l)];
            let spread = (fourth[(k, l)] - c * c) / n;
            second = second.max((c - value).abs() / spread.sqrt());
        }
    }
    (first, second)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |a, b| a.max(b.abs()))
}

/// One step of the leverage's plain iteration in u = ln(1 + delta).
fn image(measure: &Dense, u: &[f64], samples: usize, ridge: f64) -> Vec<f64> {
    let weight: Vec<f64> = u.iter().map(|u| (-u).exp()).collect();
    let f = measure.features();
    let q = (measure.gram(&weight) + DMatrix::identity(f, f) * ridge)
        .cholesky()
        .unwrap()
        .inverse();
    measure
        .quadratic(&q)
        .iter()
        .map(|v| (v / samples as f64).ln_1p())
        .collect()
}

/// Contraction factor of D9.3 at a solution: the largest delta/(1+delta) (1 - rho |Qz|^2 / z^T Q z).
fn contraction(measure: &Dense, de: &DeterministicEquivalent, ridge: f64) -> f64 {
    let square = measure.quadratic(&(&de.resolvent * &de.resolvent));
    let form = measure.quadratic(&de.resolvent);
    de.leverage
        .iter()
        .zip(square.iter().zip(&form))
        .map(|(d, (s, q))| d / (1.0 + d) * (1.0 - ridge * s / q))
        .fold(0.0, f64::max)
}

#[test]
fn d9_1_leave_one_out_identities() {
    let (samples, ridge) = (10, 0.2);
    let measure = heavy(5, 300, 1);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (rows, targets) = measure.sampler().set(samples, &mut rng);
    let p = samples as f64;
    let q = sample_resolvent(&rows, ridge);
    let w = trained(&rows, &targets, ridge);
    let mut gradient = DMatrix::zeros(5, 2);
    for k in 0..samples {
        let z = rows.column(k).into_owned();
        let without = rows.clone().remove_column(k);
        // The mean over the other samples keeps the divisor P: rescale the ridge.
        let scale = p / (p - 1.0);
        let q_without = sample_resolvent(&without, ridge * scale) * scale;
        let w_without = trained(&without, &targets.clone().remove_column(k), ridge * scale);
        let delta = z.dot(&(&q_without * &z)) / p;
        let e = targets.column(k) - w_without.tr_mul(&z);
        // Rounding of inverses whose condition number is below 1e5.
        let shrunk = (&q * &z) * (1.0 + delta) - &q_without * &z;
        assert!(shrunk.amax() < 1e-10, "{:e}", shrunk.amax());
        let step = &w - &w_without - &q_without * &z * e.transpose() / (p * (1.0 + delta));
        assert!(step.amax() < 1e-10, "{:e}", step.amax());
        gradient += &z * e.transpose() / (p * (1.0 + delta));
    }
    assert!((gradient - &w * ridge).amax() < 1e-10);
}

#[test]
fn d9_2_fixed_point_of_resolvent_leverage_and_mean() {
    let (samples, ridge, models) = (24, 0.3, 4000);
    let measure = heavy(24, 2000, 2);
    let de = solve(&measure, samples, ridge);
    // The equations, written once more.
    let weight: Vec<f64> = de.leverage.iter().map(|d| 1.0 / (1.0 + d)).collect();
    let inverse = measure.gram(&weight) + DMatrix::identity(24, 24) * ridge;
    let gap = (&inverse * &de.resolvent - DMatrix::identity(24, 24)).amax();
    assert!(gap < 1e-9, "{gap:e}");
    let gap = (&inverse * &de.mean - measure.cross(&weight)).amax();
    assert!(gap < 1e-9, "{gap:e}");
    // The mean resolvent of trained models, and the mean leverage of a fresh sample.
    let sampler = measure.sampler();
    let (mut traces, mut leverages) = (Vec::new(), Vec::new());
    let p = samples as f64;
    for m in 0..models {
        let mut rng = ChaCha8Rng::seed_from_u64(20);
        rng.set_stream(m);
        let (rows, _) = sampler.set(samples, &mut rng);
        let q = sample_resolvent(&rows, ridge);
        traces.push(q.trace() / de.resolvent.trace());
        let own = measure.quadratic(&q);
        let share: Vec<f64> = own
            .iter()
            .zip(&de.leverage)
            .map(|(o, d)| (o / p - d) / (1.0 + d))
            .collect();
        leverages.push(measure.mean(&share));
    }
    let (trace, trace_error) = mean_and_error(&traces);
    let (leverage, leverage_error) = mean_and_error(&leverages);
    assert!((trace - 1.0).abs() < 5.0 * trace_error);
    println!("tr Q of models over theory {trace:.5} +- {trace_error:.5}");
    println!("E[(delta of models - delta)/(1+delta)] {leverage:.5} +- {leverage_error:.5}");
    assert!(leverage.abs() < 5.0 * leverage_error);
}

/// Mean and its standard error.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (square / (n * (n - 1.0))).sqrt())
}

#[test]
fn d9_3_leverage_is_unique_and_the_iteration_contracts() {
    let measure = heavy(24, 2000, 3);
    let ridge = 0.3;
    let norms = measure.quadratic(&DMatrix::identity(24, 24));
    for samples in [96, 24, 6] {
        let de = solve(&measure, samples, ridge);
        let q = contraction(&measure, &de, ridge);
        // Bound of D9.3 anywhere between the two starts.
        let bound = largest(&norms) / (samples as f64 * ridge);
        let everywhere = bound / (1.0 + bound);
        let mut low = vec![0.0; measure.nodes()];
        let mut high: Vec<f64> = norms
            .iter()
            .map(|n| (n / (samples as f64 * ridge)).ln_1p())
            .collect();
        let distance = |a: &[f64], b: &[f64]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max)
        };
        let (mut steps, mut rate) = (0, 0.0);
        while distance(&low, &high) > 1e-12 && steps < 1000 {
            let next = [&low, &high].map(|u| image(&measure, u, samples, ridge));
            rate = distance(&next[0], &next[1]) / distance(&low, &high);
            // Rounding of the resolvent shows below 1e-10.
            if distance(&low, &high) > 1e-10 {
                assert!(rate <= everywhere, "{rate} {everywhere}");
                for (n, u) in next[0].iter().zip(&low) {
                    assert!(*n >= u - 1e-12, "increasing from below");
                }
                for (n, u) in next[1].iter().zip(&high) {
                    assert!(*n <= u + 1e-12, "decreasing from above");
                }
            }
            let [below, above] = next;
            (low, high) = (below, above);
            steps += 1;
        }
        assert!(steps < 1000);
        let u: Vec<f64> = de.leverage.iter().map(|d| d.ln_1p()).collect();
        let apart = distance(&u, &low);
        let residual = distance(&u, &image(&measure, &u, samples, ridge));
        println!(
            "P {samples}: plain {steps} steps, last rate {rate:.3}, factor {q:.4}, bound {everywhere:.5}; accelerated {} steps, change {:.1e}, residual {residual:.1e}, apart {apart:.1e}",
            de.iterations.0, de.changes.0
        );
        // The map does not expand: applied once more it moves the answer by no more than the reported change, and the
        // answer is within factor/(1 - factor) of it (1e-13 for rounding).
        assert!(residual <= de.changes.0 + 1e-13);
        assert!(apart <= de.changes.0 * everywhere / (1.0 - everywhere) + 1e-12);
    }
}

#[test]
fn d9_4_covariance_recursion_against_a_direct_solution() {
    let (features, nodes, ridge) = (8, 300, 0.3);
    let measure = heavy(features, nodes, 4);
    for samples in [32, 8, 2] {
        let p = samples as f64;
        let de = solve(&measure, samples, ridge);
        let factor = contraction(&measure, &de, ridge);
        // The kernel of the recursion between nodes: (1/P) w' (z^T Q z')^2 / (1 + delta')^2.
        let form = measure.rows.tr_mul(&(&de.resolvent * &measure.rows));
        let kernel = DMatrix::from_fn(nodes, nodes, |a, b| {
            let g = form[(a, b)] / (1.0 + de.leverage[b]);
            measure.weight[b] * g * g / p
        });
        let norm = DVector::from_fn(nodes, |n, _| 1.0 + de.leverage[n]);
        let grown = &kernel * &norm;
        let measured = (0..nodes).map(|n| grown[n] / norm[n]).fold(0.0, f64::max);
        // D9.3's factor is the norm of this kernel: equal up to the accuracy of the fixed point.
        close(measured, factor, 1e-8, "contraction of the noise");
        let squared: Vec<f64> = norm.iter().map(|n| 1.0 / (n * n)).collect();
        for (k, (i, j)) in [(0, 0), (0, 1), (1, 1)].into_iter().enumerate() {
            let residual = measure.residual(&de.mean, (i, j));
            let shrink = de.mean.column(i) * de.mean.column(j).transpose() * (ridge * ridge / p);
            let covariance = |c: &[f64]| {
                let inner: Vec<f64> = (0..nodes)
                    .map(|n| (residual[n] + c[n]) * squared[n] / p)
                    .collect();
                &de.resolvent * (measure.gram(&inner) - &shrink) * &de.resolvent
            };
            let b = DVector::from_vec(measure.quadratic(&covariance(&vec![0.0; nodes])));
            let c = (DMatrix::identity(nodes, nodes) - &kernel)
                .lu()
                .solve(&b)
                .unwrap();
            let direct = covariance(c.as_slice());
            let gap = (&direct - &de.covariances[k]).amax() / direct.amax();
            println!(
                "P {samples} ({i},{j}): gap {gap:.1e}, change {:.1e}",
                de.changes.1
            );
            // The returned matrix is the recursion of a c that moves by `change` (of the largest residual or c) per
            // step: weighted by 1/(1+delta) its distance to the solution is below factor/(1 - factor) of that.
            let own = measure.quadratic(&de.covariances[k]);
            let size = largest(&own).max(largest(&residual));
            let next = measure.quadratic(&covariance(&own));
            for n in 0..nodes {
                let moved = (next[n] - own[n]).abs() / norm[n];
                assert!(moved <= factor * de.changes.1 * size * (1.0 + 1e-6) + 1e-13 * size);
                let apart = (c[n] - own[n]).abs() / norm[n];
                assert!(
                    apart <= factor / (1.0 - factor) * de.changes.1 * size + 1e-12 * size,
                    "{apart:e}"
                );
            }
            if i == j {
                let spectrum = direct.symmetric_eigenvalues();
                assert!(spectrum.min() > -1e-14 * spectrum.max(), "a covariance");
            }
        }
    }
}

/// Var(z^T Q_P z/P) of every node: Q_P z is itself a ridge solution, so T13 gives its covariance.
fn leverage_variance(measure: &Dense, de: &DeterministicEquivalent, samples: usize) -> Vec<f64> {
    let (n, p) = (measure.nodes(), samples as f64);
    let form = measure.rows.tr_mul(&(&de.resolvent * &measure.rows));
    let kernel = DMatrix::from_fn(n, n, |a, b| {
        let g = form[(a, b)] / (1.0 + de.leverage[b]);
        measure.weight[b] * g * g / p
    });
    // Column z: (1/P) E'[(x^T Q z')^2 (z'^T Q z)^2/(1+delta')^2] - (1/P) (x^T Q S Q z)^2.
    let squares = form.map(|v| v * v);
    let weight: Vec<f64> = de.leverage.iter().map(|d| 1.0 / (1.0 + d)).collect();
    let pulled = &de.resolvent * measure.gram(&weight) * &de.resolvent * &measure.rows;
    let means = measure.rows.tr_mul(&pulled);
    let own = &kernel * squares - means.map(|v| v * v) / p;
    let all = (DMatrix::identity(n, n) - kernel).lu().solve(&own).unwrap();
    (0..n).map(|k| all[(k, k)] / (p * p)).collect()
}

/// What the equivalent neglects, E[Var(delta)/(1+delta)^2], from the theory itself and from trained models.
#[test]
fn d9_5_leverage_fluctuates_by_what_is_neglected() {
    let ridge = 0.3;
    for (features, samples, models) in [
        (4, 4000, 3000),
        (4, 400, 6000),
        (4, 4, 6000),
        (24, 96, 1500),
        (24, 24, 2000),
        (24, 6, 4000),
    ] {
        let measure = heavy(features, 400, 5);
        let de = solve(&measure, samples, ridge);
        let p = samples as f64;
        let relative = |variance: &[f64]| {
            let v: Vec<f64> = variance
                .iter()
                .zip(&de.leverage)
                .map(|(v, d)| v / (1.0 + d).powi(2))
                .collect();
            measure.mean(&v)
        };
        let theory = relative(&leverage_variance(&measure, &de, samples));
        let sampler = measure.sampler();
        let all: Vec<Vec<f64>> = (0..models)
            .map(|m| {
                let mut rng = ChaCha8Rng::seed_from_u64(50);
                rng.set_stream(m);
                let (rows, _) = sampler.set(samples, &mut rng);
                measure.quadratic(&sample_resolvent(&rows, ridge))
            })
            .collect();
        let means: Vec<f64> = (0..measure.nodes())
            .map(|n| all.iter().map(|a| a[n]).sum::<f64>() / models as f64)
            .collect();
        let per_model: Vec<f64> = all
            .iter()
            .map(|a| {
                let squares: Vec<f64> = a
                    .iter()
                    .zip(&means)
                    .map(|(a, m)| ((a - m) / p).powi(2))
                    .collect();
                relative(&squares)
            })
            .collect();
        let (value, error) = mean_and_error(&per_model);
        println!(
            "F {features} P {samples}: E[Var(delta)/(1+delta)^2] {theory:.3e}, models {value:.3e} +- {error:.1e}, ratio {:.3} +- {:.3}",
            theory / value,
            error / value
        );
        // The formula is the first order in 1/P, with F/P = 0.1 % in the first line.
        assert!(samples < 4000 || (value - theory).abs() < 5.0 * error);
    }
}

/// P E[delta/(1+delta)] = tr[S Q] = F - rho tr Q: how many weights the samples determine.
#[test]
fn d9_6_effective_number_of_features() {
    let measure = heavy(24, 2000, 6);
    let ridge = 0.3;
    for samples in [96, 24, 6] {
        let de = solve(&measure, samples, ridge);
        let trace = 24.0 - ridge * de.resolvent.trace();
        close(de.effective_features, trace, 1e-8, "trace");
        assert!(de.effective_features < 24.0_f64.min(samples as f64));
        let sampler = measure.sampler();
        let all: Vec<f64> = (0..2000)
            .map(|m| {
                let mut rng = ChaCha8Rng::seed_from_u64(60);
                rng.set_stream(m);
                let (rows, _) = sampler.set(samples, &mut rng);
                24.0 - ridge * sample_resolvent(&rows, ridge).trace()
            })
            .collect();
        let (value, error) = mean_and_error(&all);
        println!(
            "P {samples}: {:.3}, models {value:.3} +- {error:.3}",
            de.effective_features
        );
        assert!((value - de.effective_features).abs() < 5.0 * error);
    }
}

/// The large-P formulas D5.4 (first term) and D5.5 are the limit, reached at rate 1/P.
#[test]
fn d9_7_many_samples_give_the_sandwich() {
    let (features, ridge) = (8, 0.3);
    let measure = heavy(features, 400, 7);
    let ones = vec![1.0; measure.nodes()];
    let q = (measure.gram(&ones) + DMatrix::identity(features, features) * ridge)
        .cholesky()
        .unwrap()
        .inverse();
    let w = &q * measure.cross(&ones);
    // E[lambda^2 r phi^T (phi^T Q phi)] of D5.4.
    let form = measure.quadratic(&q);
    let pull = measure.cross(&form) - measure.gram(&form) * &w;
    let first = -(&q * pull);
    let blocks: Vec<DMatrix<f64>> = [(0, 0), (0, 1), (1, 1)]
        .into_iter()
        .map(|(i, j)| {
            let shrink = w.column(i) * w.column(j).transpose() * (ridge * ridge);
            &q * (measure.gram(&measure.residual(&w, (i, j))) - shrink) * &q
        })
        .collect();
    let (mut zeroth, mut rest, mut noise) = (Vec::new(), Vec::new(), Vec::new());
    for exponent in [4, 5, 6] {
        let samples = 10usize.pow(exponent);
        let (de, p) = (solve(&measure, samples, ridge), samples as f64);
        zeroth.push((p, (&de.mean - &w).norm() / w.norm()));
        rest.push((p, (&de.mean - &w - &first / p).norm() / w.norm()));
        let gap: f64 = (0..3)
            .map(|k| (&de.covariances[k] * p - &blocks[k]).norm() / blocks[k].norm())
            .fold(0.0, f64::max);
        noise.push((p, gap));
    }
    println!("{zeroth:?}\n{rest:?}\n{noise:?}");
    let slopes = [&zeroth, &rest, &noise].map(|s| log_slope(s));
    println!("slopes {slopes:?}");
    // The next order changes a slope by no more than the largest relative deviation itself.
    assert!((slopes[0] + 1.0).abs() < noise[0].1);
    assert!((slopes[1] + 2.0).abs() < noise[0].1);
    assert!((slopes[2] + 1.0).abs() < noise[0].1);
}

/// Mean and covariance (D = 1) of the ridge regressions on two samples, by enumeration of all pairs of nodes; the
/// targets' noise integrated out.
fn enumerate_pairs(measure: &Dense, ridge: f64) -> (DVector<f64>, DMatrix<f64>) {
    let f = measure.features();
    let (mut mean, mut second) = (DVector::zeros(f), DMatrix::zeros(f, f));
    for a in 0..measure.nodes() {
        for b in 0..measure.nodes() {
            let weight = measure.weight[a] * measure.weight[b];
            let rows = DMatrix::from_columns(&[measure.rows.column(a), measure.rows.column(b)]);
            let map = sample_resolvent(&rows, ridge) * &rows * 0.5;
            let w = &map * DVector::from_vec(vec![measure.mean[(0, a)], measure.mean[(0, b)]]);
            let noise = [a, b].map(|n| measure.covariance(n)[(0, 0)]);
            let spread = &map * DMatrix::from_diagonal(&DVector::from_row_slice(&noise));
            second += (&w * w.transpose() + spread * map.transpose()) * weight;
            mean += w * weight;
        }
    }
    let covariance = second - &mean * mean.transpose();
    (mean, covariance)
}

/// Large ridge, any P: mean exact to 1/rho and wrong by Sigma a/P at 1/rho^2; covariance exact at its leading order.
#[test]
fn d9_8_large_ridge() {
    let measure = heavy(3, 12, 8).combined(&DMatrix::from_row_slice(1, 2, &[1.0, 0.0]));
    let ones = vec![1.0; measure.nodes()];
    let (sigma, a) = (
        measure.gram(&ones),
        measure.cross(&ones).column(0).into_owned(),
    );
    let norms = measure.quadratic(&DMatrix::identity(3, 3));
    let quartic = measure.cross(&norms).column(0).into_owned();
    let zero = DMatrix::zeros(3, 1);
    let leading = (measure.gram(&measure.residual(&zero, (0, 0))) - &a * a.transpose()) * 0.5;
    let (mut second, mut missing, mut noise, mut exact) = (vec![], vec![], vec![], vec![]);
    for ridge in [1e5, 1e6, 1e7] {
        let de = solve(&measure, 2, ridge);
        let (mean, covariance) = enumerate_pairs(&measure, ridge);
        let w = de.mean.column(0).into_owned();
        let shrink = &sigma * &a + &quartic * 0.5;
        let gap = (&a / ridge - &w) * (ridge * ridge) - &shrink;
        second.push((ridge, gap.norm() / shrink.norm()));
        let gap = (&mean - &w) * (ridge * ridge) - &sigma * &a * 0.5;
        missing.push((ridge, gap.norm() / (&sigma * &a).norm()));
        let scaled = |c: &DMatrix<f64>| (c * (ridge * ridge) - &leading).norm() / leading.norm();
        noise.push((ridge, scaled(&de.covariances[0])));
        exact.push((ridge, scaled(&covariance)));
    }
    println!("{second:?}\n{missing:?}\n{noise:?}\n{exact:?}");
    for gaps in [&second, &missing, &noise, &exact] {
        // Each vanishes like 1/rho; the next order bends the slope by the largest gap.
        let slope = log_slope(gaps);
        assert!(
            (slope + 1.0).abs() < gaps[0].1.max(1e-3),
            "{slope} {gaps:?}"
        );
    }
}

/// The ridge regression whose closed form everybody knows: isotropic rows of one length.
struct Isotropic {
    features: usize,
    samples: usize,
    ridge: f64,
    scale2: f64,
    beta2: f64,
    noise2: f64,
}

impl Isotropic {
    /// The positive root of rho delta^2 + (s^2 + rho - gamma s^2) delta - gamma s^2 = 0.
    fn delta(&self) -> f64 {
        let g = self.features as f64 / self.samples as f64 * self.scale2;
        let b = self.scale2 + self.ridge - g;
        let root = (b * b + 4.0 * self.ridge * g).sqrt();
        // The form without cancellation for either sign of b.
        if b > 0.0 {
            2.0 * g / (b + root)
        } else {
            (root - b) / (2.0 * self.ridge)
        }
    }

    /// mu/(s^2 + mu), the share of the signal that is lost; mu = rho (1 + delta).
    fn lost(&self) -> f64 {
        let mu = self.ridge * (1.0 + self.delta());
        mu / (self.scale2 + mu)
    }

    /// Squared bias of a prediction.
    fn bias2(&self) -> f64 {
        self.scale2 * self.beta2 * self.lost().powi(2)
    }

    /// s^2 tr C, without and with the ridge term.
    fn variance(&self, ridge_term: bool) -> f64 {
        let kept = 1.0 - self.lost();
        let a = self.features as f64 / self.samples as f64 * kept * kept;
        let shrink =
            self.lost().powi(2) * kept * kept * self.beta2 * self.scale2 / self.samples as f64;
        let own = a * (self.noise2 + self.bias2()) - if ridge_term { shrink } else { 0.0 };
        own / (1.0 - a)
    }
}

#[test]
fn d9_9_isotropic_rows_give_marchenko_and_pastur() {
    let (features, scale2, noise2) = (32, 1.7, 0.4_f64);
    for samples in [128, 32, 8] {
        for ridge in [1e-3, 0.1, 2.0] {
            // Nodes at +- s sqrt(F) e_k: E z z^T = s^2 I and all rows of one length.
            let length = (scale2 * features as f64).sqrt();
            let rows = DMatrix::from_fn(features, 2 * features, |f, n| {
                let sign = if n % 2 == 0 { length } else { -length };
                if f == n / 2 { sign } else { 0.0 }
            });
            let beta = DVector::from_fn(features, |f, _| (f as f64 * 0.7).sin());
            let measure = Dense {
                weight: vec![0.5 / features as f64; 2 * features],
                mean: DMatrix::from_row_slice(1, features, beta.as_slice()) * &rows,
                noise: vec![DMatrix::from_element(1, 1, noise2.sqrt()); 2 * features],
                rows,
            };
            let de = solve(&measure, samples, ridge);
            let known = Isotropic {
                features,
                samples,
                ridge,
                scale2,
                beta2: beta.norm_squared(),
                noise2,
            };
            // Fixed points reached to 1e-10 in ln(1 + delta), amplified by 1/(1 - factor).
            let allowed = 1e-10 / (1.0 - contraction(&measure, &de, ridge));
            close(de.leverage[0], known.delta(), allowed, "delta");
            let mean = (&de.mean - &beta * (1.0 - known.lost())).amax();
            assert!(mean < allowed, "{mean:e}");
            let variance = scale2 * de.covariances[0].trace();
            println!(
                "gamma {} rho {ridge}: delta {:.4}, bias^2 {:.4}, variance {variance:.4}, classical {:.4}",
                features as f64 / samples as f64,
                known.delta(),
                known.bias2(),
                known.variance(false)
            );
            close(variance, known.variance(true), 10.0 * allowed, "variance");
        }
    }
}

/// Real Gaussian rows: risk of trained ridge regressions against the closed form.
#[test]
fn d9_9_gaussian_rows_approach_it() {
    let (features, scale2, noise2) = (64, 1.0, 0.5);
    let beta = DVector::from_fn(features, |f, _| (f as f64 * 0.7).sin() / 4.0);
    for samples in [256, 64, 16] {
        let ridge = 0.1;
        let known = Isotropic {
            features,
            samples,
            ridge,
            scale2,
            beta2: beta.norm_squared(),
            noise2,
        };
        let risks: Vec<f64> = (0..400)
            .map(|m| {
                let mut rng = ChaCha8Rng::seed_from_u64(90);
                rng.set_stream(m);
                let rows = DMatrix::from_fn(features, samples, |_, _| {
                    rng.sample::<f64, _>(StandardNormal)
                });
                let unit =
                    DMatrix::from_fn(1, samples, |_, _| rng.sample::<f64, _>(StandardNormal));
                let targets = DMatrix::from_row_slice(1, features, beta.as_slice()) * &rows
                    + unit * f64::sqrt(noise2);
                let w = trained(&rows, &targets, ridge);
                noise2 + (w - &beta).norm_squared() * scale2
            })
            .collect();
        let (value, error) = mean_and_error(&risks);
        let theory = |term| noise2 + known.bias2() + known.variance(term);
        println!(
            "gamma {}: risk of models {value:.4} +- {error:.4}, with ridge term {:.4}, without {:.4}",
            features as f64 / samples as f64,
            theory(true),
            theory(false)
        );
        assert!((value - theory(true)).abs() < 5.0 * error);
    }
}

/// D outputs are D single ones in the diagonal blocks; the off-diagonal block by polarisation and by a rotation.
#[test]
fn d9_10_several_outputs() {
    let measure = heavy(8, 400, 10);
    let (samples, ridge) = (8, 0.3);
    let both = solve(&measure, samples, ridge);
    let single = |b: &[f64]| {
        let m = measure.combined(&DMatrix::from_row_slice(1, 2, b));
        solve(&m, samples, ridge)
    };
    let (first, second, sum) = (
        single(&[1.0, 0.0]),
        single(&[0.0, 1.0]),
        single(&[1.0, 1.0]),
    );
    let scale = both.covariances[0].amax().max(both.covariances[2].amax());
    // Fixed points reached to 1e-10 of the largest residual, each in its own run.
    let same = |a: &DMatrix<f64>, b: &DMatrix<f64>, what: &str| {
        let gap = (a - b).amax() / scale;
        println!("{what}: {gap:.1e}");
        assert!(gap < 1e-8, "{what}: {gap:e}");
    };
    same(&both.covariances[0], &first.covariances[0], "block (1,1)");
    same(&both.covariances[2], &second.covariances[0], "block (2,2)");
    let off = &both.covariances[1];
    let symmetric = (off + off.transpose()) * 0.5;
    let polar = (&sum.covariances[0] - &first.covariances[0] - &second.covariances[0]) * 0.5;
    same(&symmetric, &polar, "polarisation");
    // Its antisymmetric part is that of the ridge term alone.
    let shrink = &both.resolvent
        * both.mean.column(0)
        * both.mean.column(1).transpose()
        * &both.resolvent
        * (-ridge * ridge / samples as f64);
    same(
        &(off - off.transpose()),
        &(&shrink - shrink.transpose()),
        "antisymmetric part",
    );
    // Rotated outputs: every block of B C B^T.
    let (s, c) = 0.6_f64.sin_cos();
    let turned = solve(
        &measure.combined(&DMatrix::from_row_slice(2, 2, &[c, -s, s, c])),
        samples,
        ridge,
    );
    let [c11, c12, c22] = [0, 1, 2].map(|k| &both.covariances[k]);
    let expected = c11 * (c * s) + c12 * (c * c) - c12.transpose() * (s * s) - c22 * (c * s);
    same(&turned.covariances[1], &expected, "rotated block (1,2)");
}

/// Targets without noise: only the misfit and the models' own fluctuations are left.
#[test]
fn d9_11_exact_objective() {
    let noisy = heavy(24, 2000, 11);
    let measure = noisy.exact();
    let ridge = 0.3;
    for (samples, models) in [(96, 1500), (24, 3000), (6, 4000)] {
        let de = solve(&measure, samples, ridge);
        let with_noise = solve(&noisy, samples, ridge);
        assert!((&de.mean - &with_noise.mean).amax() < 1e-8, "same mean");
        let all = Ensemble::new(&measure, samples, ridge, models, 110);
        let (mean, covariance) = worst(&all, &de);
        let off = worst(&all, &with_noise).1;
        println!("P {samples}: {mean:.1} se, {covariance:.1} se; with the noise {off:.1} se");
        assert!(mean < 5.0 && covariance < 5.0 && off > 5.0);
    }
}

/// Trace of the models' covariance of one output about their own mean, with its standard error.
fn trace(all: &Ensemble, output: usize) -> (f64, f64) {
    let mean = all.mean(0..all.weights.len());
    let squares: Vec<f64> = all
        .weights
        .iter()
        .map(|w| (w.column(output) - mean.column(output)).norm_squared())
        .collect();
    mean_and_error(&squares)
}

/// Trained models at F/P = 1/4, 1 and 4: all weights, and the traces of both diagonal blocks.
#[test]
fn d9_12_trained_models_at_any_ratio() {
    let features = 24;
    let measure = heavy(features, 2000, 12);
    for (samples, models) in [(96, 3000), (24, 6000), (6, 12000)] {
        for ridge in [0.3, 3.0] {
            let de = solve(&measure, samples, ridge);
            let all = Ensemble::new(&measure, samples, ridge, models, 120);
            let (mean, elements) = worst(&all, &de);
            let off = all.deviations(&de).map(|d| d.abs().sqrt());
            // Large-P theory at the same point.
            let far = solve(&measure, 1 << 40, ridge);
            let shift = (&de.mean - &far.mean).norm() / de.mean.norm();
            let inflation = 2f64.powi(40) / samples as f64;
            println!(
                "P {samples} rho {ridge}: effective {:.1}, largest delta {:.0}; mean {mean:.1} se ({:.4} sd), covariance {elements:.1} se ({:.3} {:.3}); T11 mean {:.2} off",
                de.effective_features,
                largest(&de.leverage),
                off[0],
                off[1],
                off[3],
                shift
            );
            assert!(mean < 5.0, "mean {mean} standard errors");
            for (output, block) in [(0, 0), (1, 2)] {
                let (value, error) = trace(&all, output);
                let theory = de.covariances[block].trace();
                let sandwich = far.covariances[block].trace() * inflation;
                println!(
                    "   trace {:.3} +- {:.3}, T11 {:.2}",
                    theory / value,
                    error / value,
                    sandwich / value
                );
                // Five standard errors and the relative order 1/P that D9.4 leaves out.
                let left_out = value / samples as f64;
                assert!((theory - value).abs() < 5.0 * error + left_out);
                assert!((sandwich - value).abs() > 5.0 * error);
            }
        }
    }
}

/// At fixed F/P = 1 the deviations from trained models shrink as both grow.
#[test]
fn d9_12_error_falls_with_the_size() {
    let (mut mean, mut noise) = (Vec::new(), Vec::new());
    for (features, models) in [(2, 50_000), (4, 50_000), (8, 25_000), (16, 12_500)] {
        let measure = heavy(features, 1000, 13);
        let de = solve(&measure, features, 0.3);
        let all = Ensemble::new(&measure, features, 0.3, models, 121);
        let off = all.deviations(&de);
        println!(
            "F = P = {features}: mean {:.4} sd, covariance {:.3} {:.3}",
            off[0].abs().sqrt(),
            off[1].abs().sqrt(),
            off[3].abs().sqrt()
        );
        mean.push(off[0]);
        noise.push((features as f64, off[1]));
    }
    // Squared deviations: at least the rate 1/F of a variance that is neglected.
    println!("slope {:.2}", log_slope(&noise));
    assert!(noise.windows(2).all(|w| w[1].1 < w[0].1));
    assert!(mean[0] > mean[1] && mean[1] > mean[2]);
}

/// Iterations of the accelerated fixed points, as counted when this was written: more of them is a regression. A start
/// at the solution takes one of each.
#[test]
fn d9_13_iterations() {
    let measure = heavy(24, 2000, 1);
    for (samples, ridge, counted) in [
        (96, 0.003, (11, 8)),
        (96, 0.3, (10, 7)),
        (96, 30.0, (6, 5)),
        (24, 0.003, (15, 8)),
        (24, 0.3, (11, 7)),
        (24, 30.0, (7, 5)),
        (6, 0.003, (16, 7)),
        (6, 0.3, (11, 7)),
        (6, 30.0, (7, 5)),
    ] {
        let de = solve(&measure, samples, ridge);
        println!(
            "P {samples} rho {ridge}: {:?}, changes {:?}",
            de.iterations, de.changes
        );
        assert!(de.iterations.0 <= counted.0 && de.iterations.1 <= counted.1);
        assert!(de.changes.0 <= 1e-10 && de.changes.1 <= 1e-10);
        let again = deterministic_equivalent(&measure, samples, ridge, 1e-10, Some(&de)).unwrap();
        assert_eq!(again.iterations, (1, 1));
    }
}
