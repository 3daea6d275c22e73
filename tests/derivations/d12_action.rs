use super::common::*;
use super::d10_sample_sum::noisy;
use super::toy::*;
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vkernel::action::{
    Action, ActionError, Cumulants, FlowMap, GaussianCumulants, MsrVector, Regularisation, Start,
    WhitenedFlow,
};
use vkernel::experiment::Scheme;
use vkernel::family::LinearDenoiser;
use vkernel::problem::Prediction;
use vkernel::sampler::PfOde;
use vkernel::statistics::{SampleSum, WeightStatistics};

const LOG_2_PI: f64 = 1.837_877_066_409_345_5;

/// Every prediction with every scheme, 4 to 8 steps, four seeds each.
fn cases(rank: usize) -> Vec<(Toy, u64)> {
    let mut all = Vec::new();
    for predicts in PREDICTIONS {
        for scheme in SCHEMES {
            for i in 0..4 {
                let seed = 100 + all.len() as u64;
                let steps = 4 + (all.len() + i) % 5;
                all.push((Toy::new(seed, (predicts, scheme), steps, (rank, 0.3)), seed));
            }
        }
    }
    all
}

fn complex_normals(n: usize, rng: &mut ChaCha8Rng) -> DVector<C> {
    let (re, im) = (normals(n, rng), normals(n, rng));
    re.zip_map(&im, C::new)
}

/// Value, gradient and Hessian products of -i p.r + p^T V p/2, and S(x, -p*) = S(x, p)*.
#[test]
fn d12_1_msr_action_with_its_derivatives() {
    let (mut first, mut second) = (0.0_f64, 0.0_f64);
    for (toy, seed) in cases(F) {
        let action = toy.action(1.0);
        let (own, n) = (toy.own(&action), action.len());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let path = random_path(n, &mut rng);
        let (x, p) = (complex(&path), complex_normals(n, &mut rng));
        let msr = action.msr(&path, &p);
        let exact = own.msr(&x, &p);
        assert!((msr.value - exact).norm() < 1e-12 * exact.norm());
        let mirrored = action.msr(&path, &p.map(|z| -z.conj()));
        assert!((mirrored.value - exact.conj()).norm() < 1e-12 * exact.norm());

        let field = |q: &[C]| DVector::from_column_slice(q);
        let by_path = |i: usize, z| own.msr(&bumped(&x, i + 1, z), &p);
        let by_field = |i: usize, z| own.msr(&x, &field(&bumped(p.as_slice(), i, z)));
        let path_gradient = DVector::from_fn(n, |i, _| cauchy(|z| by_path(i, z)));
        let field_gradient = DVector::from_fn(n, |i, _| cauchy(|z| by_field(i, z)));
        first = first
            .max(near(&msr.gradient.path, &path_gradient, 1e-11, "by path"))
            .max(near(&msr.gradient.field, &field_gradient, 1e-11, "by p"));

        // x_0 is fixed: the direction of the path has no component there.
        let direction = MsrVector {
            path: complex_normals(n, &mut rng),
            field: complex_normals(n, &mut rng),
        };
        let product = msr.hessian_times(&direction);
        let along_x = field(&[&[C::ZERO], direction.path.as_slice()].concat());
        let along_p = direction.field.as_slice();
        let at = |x: Vec<C>, p: Vec<C>, w: C| {
            let (x, p) = (moved(&x, along_x.as_slice(), w), moved(&p, along_p, w));
            own.msr(&x, &field(&p))
        };
        let p = p.as_slice();
        let path_product = DVector::from_fn(n, |i, _| {
            cauchy2(|z, w| at(bumped(&x, i + 1, z), p.to_vec(), w))
        });
        let field_product =
            DVector::from_fn(n, |i, _| cauchy2(|z, w| at(x.clone(), bumped(p, i, z), w)));
        second = second
            .max(near(&product.path, &path_product, 1e-9, "H by path"))
            .max(near(&product.field, &field_product, 1e-9, "H by p"));
    }
    println!("gradient {first:.1e}, Hessian products {second:.1e} relative");
}

/// exp(-S)/(2 pi)^N, integrated over real response fields by quadrature, is the density of the path: real, and exp of
/// minus the Onsager-Machlup action.
#[test]
fn d12_2_integrating_the_response_fields_gives_onsager_machlup() {
    for (i, scheme) in SCHEMES.into_iter().enumerate() {
        let toy = Toy::new(7 + i as u64, (Prediction::Noise, scheme), 2, (F, 0.3));
        let action = toy.action(1.0);
        let mut rng = ChaCha8Rng::seed_from_u64(70);
        let path = random_path(2, &mut rng);
        let spectrum = action.jet(&path).v().symmetric_eigenvalues();
        // exp(-lambda p^2/2): 9 widths of the widest, a third of the narrowest as spacing, with which the trapezoid rule's
        // error is exp(-2 pi^2 9) times what the phase adds.
        let reach = 9.0 / spectrum.min().sqrt();
        let points = (2.0 * reach * 3.0 * spectrum.max().sqrt()).ceil() as usize;
        let rule = trapezoid(points, -reach, reach);
        let mut sum = C::ZERO;
        for (p, w) in &rule {
            for (q, u) in &rule {
                let field = DVector::from_vec(vec![C::from(*p), C::from(*q)]);
                sum += (-action.msr(&path, &field).value).exp() * (w * u);
            }
        }
        sum /= (2.0 * std::f64::consts::PI).powi(2);
        let density = (-action.onsager_machlup(&path, 0.0).unwrap().value).exp();
        println!("{points} points: {sum:.15} against {density:.15}");
        assert!((sum - density).norm() < 1e-12 * density);
    }
}

#[test]
fn d12_2_onsager_machlup_action_with_its_derivatives() {
    let (mut first, mut second, mut worst) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (toy, seed) in cases(F) {
        let action = toy.action(1.0);
        let (own, n) = (toy.own(&action), action.len());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let path = random_path(n, &mut rng);
        let x = complex(&path);
        let spectrum = action.jet(&path).v().symmetric_eigenvalues();
        worst = worst.max(spectrum.max() / spectrum.min());
        for variance in [0.0, 0.02] {
            let om = action.onsager_machlup(&path, variance).unwrap();
            let exact = own.onsager_machlup(&x, variance);
            close(om.value, exact.re, 1e-11, "value");
            let regularised = Regularisation::Noise { variance };
            let value = action.onsager_machlup_value(&path, regularised).unwrap();
            assert_eq!(value, om.value);
            let s = |x: &[C]| own.onsager_machlup(x, variance);
            // The circle must stay where V is far from singular.
            let gradient = DVector::from_fn(n, |i, _| small_cauchy(|z| s(&bumped(&x, i + 1, z))));
            first = first.max(near(&om.gradient.map(C::from), &gradient, 1e-8, "gradient"));
            let direction = normals(n, &mut rng);
            let along = complex(&[&[0.0], direction.as_slice()].concat());
            // The gradient has just been checked: its slope is the product.
            let gradient_at = |e: f64| {
                let moved: Vec<f64> = path.iter().zip(&along).map(|(x, d)| x + e * d.re).collect();
                action.onsager_machlup(&moved, variance).unwrap().gradient
            };
            let product = om.hessian_times(&direction);
            let exact = richardson(gradient_at);
            second = second.max(near_real(&product, &exact, 1e-7, "Hessian"));
        }
        // On a full-rank V the range is everything.
        let range = Regularisation::Range { tolerance: 1e-12 };
        let value = action.onsager_machlup_value(&path, range).unwrap();
        close(value, own.onsager_machlup(&x, 0.0).re, 1e-10, "range");
    }
    println!(
        "gradient {first:.1e}, Hessian products {second:.1e}, condition of V up to {worst:.1e}"
    );
}

/// Cauchy's integral on a circle of a tenth of the usual radius.
fn small_cauchy(f: impl Fn(C) -> C) -> C {
    cauchy(|z| f(z / 10.0)) * 10.0
}

/// Richardson extrapolation of central differences, error h^8.
fn richardson(f: impl Fn(f64) -> DVector<f64>) -> DVector<f64> {
    let central = |h: f64| (f(h) - f(-h)) / (2.0 * h);
    let mut row: Vec<DVector<f64>> = (0..4).map(|i| central(8e-4 / f64::powi(2.0, i))).collect();
    for order in 1..4 {
        let factor = f64::powi(4.0, order);
        row = row
            .windows(2)
            .map(|w| (&w[1] * factor - &w[0]) / (factor - 1.0))
            .collect();
    }
    row.swap_remove(0)
}

/// More steps than weights: V is singular, the action lives on its range.
#[test]
fn d12_2_singular_v_by_its_range_and_by_noise() {
    for (toy, seed) in cases(3) {
        let action = toy.action(1.0);
        let (own, n) = (toy.own(&action), action.len());
        assert_eq!(action.rank(), 3);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let eta = normals(3, &mut rng);
        let path = action.path(0.7, &eta).unwrap();
        let (_, rows) = own.field(&complex(&path));
        let rows = rows.map(|z| z.re);
        // (1/2) ln det B^T B by the singular values of B: the determinant itself has the rounding of its condition.
        let singular = rows.singular_values();
        let volume = singular.map(f64::ln).sum();
        let exact = 0.5 * (eta.norm_squared() + 3.0 * LOG_2_PI) + volume;
        let range = Regularisation::Range { tolerance: 1e-12 };
        let value = action.onsager_machlup_value(&path, range).unwrap();
        close(value, exact, 1e-10, "range");

        // A little noise costs its own volume on the N - r null directions, and O(variance/smallest eigenvalue) besides.
        let smallest = singular.min().powi(2);
        let excess = |e: f64| {
            let variance = e * smallest;
            let noise = Regularisation::Noise { variance };
            let own = 0.5 * (n as f64 - 3.0) * (variance.ln() + LOG_2_PI);
            action.onsager_machlup_value(&path, noise).unwrap() - own - value
        };
        let slope = log_slope(&[1e-3, 1e-4].map(|e| (e, excess(e).abs())));
        if n > 3 {
            close(slope, 1.0, 0.01, "order of the noise");
        }

        // Off the range by a hundredth of the residual.
        let mut off = path.clone();
        off[n] += 0.01 * (path[n] - path[0]).abs().max(0.1);
        assert!(matches!(
            action.onsager_machlup_value(&off, range),
            Err(ActionError::OffRange { .. })
        ));
    }
}

/// Directions of very different strength: sigma_i over five orders of magnitude, the eigenvalues of V over ten.
#[test]
fn d12_2_range_of_a_graded_v() {
    for seed in 0..6 {
        let mut toy = Toy::new(seed, (Prediction::Denoiser, Scheme::Ddim), 6, (3, 0.3));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let columns = [0.3, 3e-3, 3e-6].map(|size| normals(F, &mut rng) * size);
        let root = DMatrix::from_columns(&columns);
        toy.weights.covariance = &root * root.transpose();
        let action = toy.action(1.0);
        assert_eq!(action.rank(), 3);
        let eta = normals(3, &mut rng);
        let path = action.path(0.7, &eta).unwrap();
        let rows = toy.own(&action).field(&complex(&path)).1.map(|z| z.re);
        let singular = rows.singular_values();
        let exact = 0.5 * (eta.norm_squared() + 3.0 * LOG_2_PI) + singular.map(f64::ln).sum();
        let range = Regularisation::Range { tolerance: 1e-14 };
        let value = action.onsager_machlup_value(&path, range).unwrap();
        let condition = singular.max() / singular.min();
        // The residual's rounding, in units of the smallest sigma, times |eta|.
        let rounding = 1e-15 * condition * (1.0 + eta.norm());
        close(value, exact, rounding, "range");
        println!(
            "condition of B {condition:.1e}: {:.1e}",
            (value - exact).abs()
        );
    }
}

/// Whitened weights of a path: they make it, no smaller ones do, and the three forms agree.
#[test]
fn d12_3_three_forms_of_one_action() {
    let (mut worst, mut steps) = (0.0_f64, 0.0_f64);
    for (toy, seed) in cases(F) {
        let action = toy.action(1.0);
        let n = action.len();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let path = random_path(n, &mut rng);
        let om = action.onsager_machlup(&path, 0.0).unwrap();
        let eta = om.whitened();
        let whitened = 0.5 * eta.norm_squared();
        // Least norm, by the pseudo-inverse.
        let rows = action.jet(&path).value.transpose();
        let least = rows.clone().pseudo_inverse(1e-12).unwrap() * &action.jet(&path).residual;
        near_real(eta, &least, 1e-10, "least norm");
        // Each step of the path is made by these weights; a whole path of them would amplify rounding by its growth.
        let step = &rows * eta - &action.jet(&path).residual;
        steps = steps.max(step.amax());
        let theta = &om.response;
        let saddle = action.msr(&path, &theta.map(|t| C::i() * t)).value;
        let volume = 0.5 * (rows.clone() * rows.transpose()).determinant().ln();
        let rest = volume + 0.5 * n as f64 * LOG_2_PI;
        let gap = |a: f64| (a + rest - om.value).abs() / om.value.abs().max(1.0);
        assert!(saddle.im.abs() < 1e-12 * saddle.re);
        worst = worst.max(gap(whitened)).max(gap(saddle.re));

        let p = complex_normals(n, &mut rng);
        let shifted = &p - theta.map(|t| C::i() * t);
        let pull = rows.map(C::from).tr_mul(&shifted);
        let exact = whitened + 0.5 * pull.dot(&pull);
        let value = action.msr(&path, &p).value;
        worst = worst.max((value - exact).norm() / value.norm());
    }
    println!("forms {worst:.1e}, steps {steps:.1e}");
    assert!(worst < 1e-10 && steps < 1e-10);
}

/// J by adjoints and the Hessian as three outer products per step, with a fixed and with a random start.
#[test]
fn d12_4_flow_map_to_second_order() {
    let (mut first, mut second) = (0.0_f64, 0.0_f64);
    for (toy, seed) in cases(4) {
        let action = toy.action(1.0);
        let own = toy.own(&action);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for start in [Start::At(0.6), Start::Normal { std: 0.8 }] {
            let flow = WhitenedFlow {
                action: &action,
                start,
            };
            let eta = normals(flow.dim(), &mut rng);
            let begin = |eta: &[C]| match start {
                Start::At(x) => C::from(x),
                Start::Normal { std } => eta[4] * std,
            };
            let end = |eta: &[C]| own.end(0, begin(eta), &eta[..4]);
            let z = complex(eta.as_slice());
            let expansion = flow.second_order(&eta).unwrap();
            let (value, adjoint) = flow.gradient(&eta).unwrap();
            let path = flow.path(&eta).unwrap();
            for v in [
                value,
                expansion.end,
                flow.end(&eta).unwrap(),
                path[action.len()],
            ] {
                close(v, end(&z).re, 1e-13, "end");
            }
            let r = flow.dim();
            let exact = DVector::from_fn(r, |i, _| cauchy(|e| end(&bumped(&z, i, e))));
            first = first
                .max(near(&adjoint.map(C::from), &exact, 1e-11, "adjoint"))
                .max(near(
                    &expansion.gradient.map(C::from),
                    &exact,
                    1e-11,
                    "forward",
                ));
            let direction = normals(r, &mut rng);
            let along = complex(direction.as_slice());
            let product = expansion.hessian_times(&direction);
            let exact = DVector::from_fn(r, |i, _| {
                cauchy2(|e, w| end(&moved(&bumped(&z, i, e), &along, w)))
            });
            second = second.max(near(&product.map(C::from), &exact, 1e-9, "Hessian"));
            // Response fields: multiplier times d x_N/d x_{k+1}.
            let fields = flow.response_field(&eta, 1.7).unwrap();
            for (k, theta) in fields.iter().enumerate() {
                let later = cauchy(|e| own.end(k + 1, e + path[k + 1], &z[..4]));
                close(*theta, 1.7 * later.re, 1e-11, "response field");
            }
        }
    }
    println!("gradient {first:.1e}, Hessian products {second:.1e}");
}

/// Real response fields with the Gaussian K are the MSR action at p = i theta, derivatives too.
#[test]
fn d12_5_gaussian_cumulants_are_the_msr_action() {
    for (toy, seed) in cases(F) {
        let action = toy.action(1.0);
        let n = action.len();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (path, theta) = (random_path(n, &mut rng), normals(n, &mut rng));
        let k = GaussianCumulants {
            covariance: &toy.weights.covariance,
        };
        let real = action.with_cumulants(&k, &path, &theta);
        let p = theta.map(|t| C::i() * t);
        let msr = action.msr(&path, &p);
        close(real.value, msr.value.re, 1e-11, "value");
        near(
            &real.by_path.map(C::from),
            &msr.gradient.path,
            1e-10,
            "by path",
        );
        // d/d theta = i d/dp.
        let by_p = msr.gradient.field.map(|g| C::i() * g);
        near(&real.by_response.map(C::from), &by_p, 1e-10, "by theta");
        let (dx, dt) = (normals(n, &mut rng), normals(n, &mut rng));
        let (hx, ht) = action.cumulant_hessian_times(&k, &path, &theta, (&dx, &dt));
        let product = msr.hessian_times(&MsrVector {
            path: dx.map(C::from),
            field: dt.map(|t| C::i() * t),
        });
        near(&hx.map(C::from), &product.path, 1e-10, "H by path");
        near(
            &ht.map(C::from),
            &product.field.map(|g| C::i() * g),
            1e-10,
            "H by theta",
        );
    }
}

/// exp(-S(x, theta)) = E exp(-theta . R), R the residuals of a drawn model: by quadrature over two weights.
#[test]
fn d12_5_weight_is_the_mean_over_models() {
    let toy = Toy::new(5, (Prediction::Denoiser, Scheme::Ddim), 5, (2, 0.3));
    let action = toy.action(1.0);
    let own = toy.own(&action);
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let (path, theta) = (random_path(5, &mut rng), normals(5, &mut rng) * 0.5);
    let (r, rows) = own.field(&complex(&path));
    let rule = normal_rule(40);
    let mut mean = 0.0;
    for (a, w) in &rule {
        for (b, u) in &rule {
            let fluctuation = &rows * DVector::from_vec(vec![C::from(*a), C::from(*b)]);
            let residual = (&r - fluctuation).map(|z| z.re);
            mean += w * u * (-theta.dot(&residual)).exp();
        }
    }
    let k = GaussianCumulants {
        covariance: &toy.weights.covariance,
    };
    let value = action.with_cumulants(&k, &path, &theta).value;
    close((-value).exp(), mean, 1e-11, "mean over models");
}

/// The sum over samples has all cumulants: derivatives against sixth-order differences, the weight against draws, and its
/// saddle against its equations.
#[test]
fn d12_5_sum_over_samples() {
    let case = noisy();
    let (population, de) = case.solved();
    let sum = SampleSum::new(&population, &de, &case.training).unwrap();
    let mean = de.mean.column(0).into_owned();
    let f = mean.len();
    let covariance = DMatrix::from_columns(
        &(0..f)
            .map(|j| {
                let unit = DVector::from_fn(f, |i, _| f64::from(u8::from(i == j)));
                sum.hessian_times(&DVector::zeros(f), &unit)
            })
            .collect::<Vec<_>>(),
    );
    let weights = WeightStatistics { mean, covariance };
    let flow = PfOde::new(&case.problem, &options(Scheme::Ddim, 5));
    let kernel =
        vkernel::statistics::VKernel::new(&case.problem, &case.family, &weights, 0.0).unwrap();
    let action = Action::new(&kernel, &weights, &flow, 1.0).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let path: Vec<f64> = (0..6).map(|_| 2.0 * rng.random::<f64>() - 1.0).collect();
    // Of the size at which u . W has a standard deviation of one: beyond the Gaussian regime at P = 40.
    let jet = action.jet(&path);
    let raw = normals(5, &mut rng);
    let theta = &raw / (&jet.value * &raw).norm();

    let at = |dx: &DVector<f64>, dt: &DVector<f64>, e: f64| {
        let moved: Vec<f64> = (0..6)
            .map(|k| path[k] + if k > 0 { e * dx[k - 1] } else { 0.0 })
            .collect();
        action.with_cumulants(&sum, &moved, &(&theta + dt * e))
    };
    let zero = DVector::zeros(5);
    let here = at(&zero, &zero, 0.0);
    let unit = |k: usize| DVector::from_fn(5, |i, _| f64::from(u8::from(i == k)));
    let h = 2e-3;
    let by_path = DVector::from_fn(5, |k, _| slope(|e| at(&unit(k), &zero, e).value, 0.0, h));
    let by_theta = DVector::from_fn(5, |k, _| slope(|e| at(&zero, &unit(k), e).value, 0.0, h));
    let (dx, dt) = (normals(5, &mut rng), normals(5, &mut rng));
    let dt = dt * theta.norm();
    let (hx, ht) = action.cumulant_hessian_times(&sum, &path, &theta, (&dx, &dt));
    let exact_x = DVector::from_fn(5, |k, _| slope(|e| at(&dx, &dt, e).by_path[k], 0.0, h));
    let exact_t = DVector::from_fn(5, |k, _| slope(|e| at(&dx, &dt, e).by_response[k], 0.0, h));
    let gaps = [
        near_real(&here.by_path, &by_path, 1e-7, "by path"),
        near_real(&here.by_response, &by_theta, 1e-7, "by theta"),
        near_real(&hx, &exact_x, 1e-7, "H by path"),
        near_real(&ht, &exact_t, 1e-7, "H by theta"),
    ];
    println!("gradient and Hessian: {gaps:?}");

    // It is not the Gaussian closure.
    let gaussian = GaussianCumulants {
        covariance: &weights.covariance,
    };
    let closed = action.with_cumulants(&gaussian, &path, &theta).value;
    println!("S {:.5}, Gaussian closure {closed:.5}", here.value);
    assert!((here.value - closed).abs() > 1e-3);

    // Draws: R_k = x_{k+1} - c x_k - d D^(x_k).
    let n = 20_000;
    let mut drawn = vec![0.0; f];
    let weight: Vec<f64> = (0..n)
        .map(|_| {
            sum.draw(&mut rng, &mut drawn);
            let model = LinearDenoiser {
                family: &case.family,
                diffusion: &case.problem.diffusion,
                weights: &drawn,
            };
            let mut exponent = 0.0;
            for (k, step) in flow.steps(flow.grid().unwrap()).enumerate() {
                let mut x = [path[k]];
                step.advance(&model, &mut x, &mut Vec::new(), None);
                exponent -= theta[k] * (path[k + 1] - x[0]);
            }
            exponent.exp()
        })
        .collect();
    let average = weight.iter().sum::<f64>() / n as f64;
    let square: f64 = weight.iter().map(|w| (w - average).powi(2)).sum();
    let error = (square / (n as f64 * (n as f64 - 1.0))).sqrt();
    let score = (average - (-here.value).exp()) / error;
    println!(
        "exp(-S) = {:.5}, draws {average:.5} ({score:.2} se)",
        (-here.value).exp()
    );
    assert!(score.abs() < 5.0);

    // At given theta the path of the weights w + dK/du solves dS/dtheta = 0, and costs u.dK/du - K. Stepwise: u depends on
    // the path, which depends on u; iterate.
    let mut tilted = action.path(0.3, &DVector::zeros(action.rank())).unwrap();
    let (mut value, mut u) = (0.0, DVector::zeros(f));
    for _ in 0..200 {
        u.fill(0.0);
        for (k, step) in flow.steps(flow.grid().unwrap()).enumerate() {
            let vkernel::sampler::Step::OneStage { t, d, .. } = step else {
                unreachable!()
            };
            let mut phi = DVector::zeros(f);
            let features = &case.family.features;
            features.values(&[tilted[k]], t, phi.as_mut_slice());
            u.axpy(theta[k] * d, &phi, 1.0);
        }
        let (k, shift) = sum.value_and_gradient(&u);
        value = u.dot(&shift) - k;
        let w = &weights.mean + shift;
        let model = LinearDenoiser {
            family: &case.family,
            diffusion: &case.problem.diffusion,
            weights: w.as_slice(),
        };
        let mut x = [0.3];
        for (k, step) in flow.steps(flow.grid().unwrap()).enumerate() {
            step.advance(&model, &mut x, &mut Vec::new(), None);
            tilted[k + 1] = x[0];
        }
    }
    let saddle = action.with_cumulants(&sum, &tilted, &theta);
    assert!(
        saddle.by_response.amax() < 1e-12,
        "{:e}",
        saddle.by_response.amax()
    );
    close(saddle.value, value, 1e-12, "cost of the tilted mean");
}

/// The action's path is the sampler's, step by step, and the scheme must have one stage.
#[test]
fn d12_6_path_of_the_action_is_that_of_the_sampler() {
    let mut worst = 0.0_f64;
    for (toy, seed) in cases(F) {
        let action = toy.action(0.5);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let eta = normals(action.rank(), &mut rng);
        let weights = action.mean() + action.factor() * &eta;
        let model = LinearDenoiser {
            family: &toy.family,
            diffusion: &toy.problem.diffusion,
            weights: weights.as_slice(),
        };
        let path = action.path(0.8, &eta).unwrap();
        let mut end = [0.8];
        toy.flow.flow(&model, &mut end).unwrap();
        worst = worst.max((end[0] - path[action.len()]).abs());
        let mut x = [0.8];
        for (k, step) in toy.flow.steps(toy.flow.grid().unwrap()).enumerate() {
            step.advance(&model, &mut x, &mut Vec::new(), None);
            worst = worst.max((x[0] - path[k + 1]).abs() / (1.0 + x[0].abs()));
        }
        // strength 1/2: half the covariance.
        let half = action.factor() * action.factor().transpose();
        let gap = (half * 2.0 - &toy.weights.covariance).amax();
        assert!(gap < 1e-12 * toy.weights.covariance.amax());
    }
    println!("paths {worst:.1e}");
    assert!(worst < 1e-13, "{worst:e}");
    let toy = Toy::new(1, (Prediction::Noise, Scheme::Heun), 4, (F, 0.3));
    let refused = Action::new(&toy.kernel(), &toy.weights, &toy.flow, 1.0);
    assert!(matches!(refused, Err(ActionError::Scheme)));
}
