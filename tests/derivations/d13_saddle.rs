use super::common::*;
use super::toy::*;
use nalgebra::{DMatrix, DVector, dvector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use vkernel::action::{Action, ActionError, FlowMap, MsrVector, SecondOrder, Start, WhitenedFlow};
use vkernel::density::{Bins, Branch, LineEnd, Saddle, SaddleLines, Tracing, gap_filling};
use vkernel::experiment::Scheme;
use vkernel::family::Linear;
use vkernel::family::features::{Factor, FeatureSet, Features, Polynomial, SpaceFeatures};
use vkernel::numerics::normal;
use vkernel::problem::{Diffusion, Prediction, Problem};
use vkernel::sampler::PfOde;
use vkernel::statistics::{VKernel, WeightStatistics};

const ROOT_2_PI: f64 = 2.506_628_274_631_000_7;

/// x_0 = exp(a.eta).
struct Lognormal {
    a: DVector<f64>,
}

impl FlowMap for Lognormal {
    fn dim(&self) -> usize {
        self.a.len()
    }

    fn end(&self, eta: &DVector<f64>) -> Result<f64, ActionError> {
        Ok(self.a.dot(eta).exp())
    }

    fn gradient(&self, eta: &DVector<f64>) -> Result<(f64, DVector<f64>), ActionError> {
        let x = self.end(eta)?;
        Ok((x, &self.a * x))
    }

    fn second_order(&self, eta: &DVector<f64>) -> Result<SecondOrder, ActionError> {
        let (end, gradient) = self.gradient(eta)?;
        let column = |v: DVector<f64>| DMatrix::from_columns(&[v]);
        Ok(SecondOrder {
            end,
            gradient,
            left: column(&self.a * (0.5 * end)),
            right: column(self.a.clone()),
        })
    }
}

/// x_0 = a1 eta1 + a2 eta2 + b eta2^2.
#[derive(Clone, Copy)]
struct Quadratic {
    a1: f64,
    a2: f64,
    b: f64,
}

impl FlowMap for Quadratic {
    fn dim(&self) -> usize {
        2
    }

    fn end(&self, eta: &DVector<f64>) -> Result<f64, ActionError> {
        Ok(self.a1 * eta[0] + self.a2 * eta[1] + self.b * eta[1] * eta[1])
    }

    fn gradient(&self, eta: &DVector<f64>) -> Result<(f64, DVector<f64>), ActionError> {
        Ok((
            self.end(eta)?,
            dvector![self.a1, self.a2 + 2.0 * self.b * eta[1]],
        ))
    }

    fn second_order(&self, eta: &DVector<f64>) -> Result<SecondOrder, ActionError> {
        let (end, gradient) = self.gradient(eta)?;
        Ok(SecondOrder {
            end,
            gradient,
            left: DMatrix::from_column_slice(2, 1, &[0.0, self.b]),
            right: DMatrix::from_column_slice(2, 1, &[0.0, 1.0]),
        })
    }
}

impl Quadratic {
    /// The map of sqrt(strength) eta.
    fn scaled(self, strength: f64) -> Self {
        Self {
            a1: self.a1 * strength.sqrt(),
            a2: self.a2 * strength.sqrt(),
            b: self.b * strength,
        }
    }

    /// (1/a1) int N(eta2) N((x - a2 eta2 - b eta2^2)/a1) d eta2, its largest term taken out: (ln of it, the rest).
    fn exact(&self, x: f64) -> (f64, f64) {
        let g = |e: f64| {
            let along = (x - self.a2 * e - self.b * e * e) / self.a1;
            0.5 * (e * e + along * along)
        };
        // Wide enough for every x and strength asked for here, and fine enough that the trapezoid rule is exact.
        let rule = trapezoid(60_000, -60.0, 60.0);
        let least = rule
            .iter()
            .map(|(e, _)| g(*e))
            .fold(f64::INFINITY, f64::min);
        let rest = integrate(&rule, |e| (least - g(e)).exp());
        (-least, rest / (2.0 * std::f64::consts::PI * self.a1))
    }

    /// The saddle at multiplier lambda: eta.
    fn saddle(&self, lambda: f64) -> DVector<f64> {
        let u = 1.0 - 2.0 * self.b * lambda;
        dvector![lambda * self.a1, lambda * self.a2 / u]
    }

    /// d x_0/d lambda along the lines of saddles.
    fn rise(&self, lambda: f64) -> f64 {
        let u = 1.0 - 2.0 * self.b * lambda;
        self.a1 * self.a1 + self.a2 * self.a2 / u.powi(3)
    }

    /// 1 - 2 b lambda at the fold.
    fn fold(&self) -> f64 {
        -(self.a2 / self.a1).powi(2).cbrt()
    }
}

fn tracing(largest_step: f64) -> Tracing {
    Tracing {
        largest_action: 40.0,
        range: (-1e6, 1e6),
        largest_step,
        resolution: 1e9,
    }
}

fn lines(map: &dyn FlowMap, tracing: &Tracing, searches: usize) -> SaddleLines {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    SaddleLines::find(map, tracing, searches, &mut rng).unwrap()
}

/// The Hessian as a matrix.
fn dense(expansion: &SecondOrder) -> DMatrix<f64> {
    let half = &expansion.left * expansion.right.transpose();
    &half + half.transpose()
}

/// det [ 1 - lambda H, J; J^T, 0 ].
fn bordered(form: &DMatrix<f64>, gradients: &DMatrix<f64>) -> f64 {
    let (r, d) = gradients.shape();
    let mut matrix = DMatrix::zeros(r + d, r + d);
    matrix.view_mut((0, 0), (r, r)).copy_from(form);
    matrix.view_mut((0, r), (r, d)).copy_from(gradients);
    matrix
        .view_mut((r, 0), (d, r))
        .copy_from(&gradients.transpose());
    matrix.determinant()
}

/// The form on the orthogonal complement of the gradients, in an explicit basis.
fn on_surface(form: &DMatrix<f64>, gradients: &DMatrix<f64>) -> DMatrix<f64> {
    let (r, d) = gradients.shape();
    let padded = DMatrix::from_fn(r, r, |i, j| if j < d { gradients[(i, j)] } else { 0.0 });
    // A full orthogonal basis whose first columns span the gradients.
    let mut basis = padded;
    for j in d..r {
        basis[(j, j)] = 1.0;
        basis[((j + 1) % r, j)] = 0.3;
    }
    let q = basis.qr().q();
    let perp = q.columns(d, r - d).into_owned();
    perp.transpose() * form * perp
}

/// A toy family whose fluctuations bend the flow map, at a fixed start.
fn bent(seed: u64, scheme: Scheme) -> Toy {
    Toy::new(seed, (Prediction::Denoiser, scheme), 5, (4, 0.25))
}

fn fixed<'a>(action: &'a Action<'a>) -> WhitenedFlow<'a> {
    WhitenedFlow {
        action,
        start: Start::At(0.6),
    }
}

/// Stationary points of |eta|^2/2 at given x_0 are eta = lambda J, and the closed form of the quadratic map has no others.
#[test]
fn d13_1_saddles_are_along_the_gradient() {
    let map = Quadratic {
        a1: 0.8,
        a2: 0.3,
        b: 0.35,
    };
    let found = lines(&map, &tracing(0.1), 80);
    assert_eq!(found.branches.len(), 2);
    let (mut stationary, mut closed) = (0.0_f64, 0.0_f64);
    for s in found.branches.iter().flat_map(|b| &b.saddles) {
        let (_, j) = map.gradient(&s.eta).unwrap();
        stationary = stationary.max((&s.eta - &j * s.multiplier).norm() / (1.0 + s.eta.norm()));
        closed = closed.max(
            (map.saddle(s.multiplier) - &s.eta).norm()
                / (1.0 + s.eta.norm())
                / (1.0 + 1.0 / (1.0 - 2.0 * map.b * s.multiplier).abs()),
        );
    }
    println!("eta - lambda J {stationary:.1e}, closed form {closed:.1e}");
    // On a line a saddle is accepted at 1e-7 (1 + |eta|); the closed form divides the multiplier's error by 1 - 2 b lambda.
    assert!(stationary < 1.1e-7 && closed < 1e-6);
    // At given x_0: to rounding.
    let toy = bent(4, Scheme::Ddim);
    let action = toy.action(1.0);
    let flow = fixed(&action);
    let found = lines(&flow, &tracing(0.3), 5);
    for x in [-0.4, 0.1, 0.9] {
        for s in found.at(&flow, x).unwrap() {
            let (end, j) = flow.gradient(&s.eta).unwrap();
            close(end, x, 1e-12, "end");
            assert!((&s.eta - &j * s.multiplier).norm() < 1e-11 * (1.0 + s.eta.norm()));
        }
    }
}

/// |J|^2 det_perp is minus the bordered determinant; in D dimensions (-1)^D times it.
#[test]
fn d13_2_determinant_on_the_surface_is_the_bordered_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for d in [1, 2, 3] {
        let half = DMatrix::from_fn(6, 6, |_, _| rng.sample::<f64, _>(StandardNormal));
        let form = DMatrix::identity(6, 6) - (&half + half.transpose()) * 0.2;
        let gradients = DMatrix::from_fn(6, d, |_, _| rng.sample::<f64, _>(StandardNormal));
        let perp = on_surface(&form, &gradients).determinant();
        let volume = gradients.tr_mul(&gradients).determinant();
        let sign = if d % 2 == 0 { 1.0 } else { -1.0 };
        close(
            sign * bordered(&form, &gradients),
            volume * perp,
            1e-11,
            "bordered",
        );
    }
    for scheme in SCHEMES {
        let toy = bent(5, scheme);
        let action = toy.action(1.0);
        let flow = fixed(&action);
        for s in sampled(&flow) {
            let expansion = flow.second_order(&s.eta).unwrap();
            let form = DMatrix::identity(4, 4) - dense(&expansion) * s.multiplier;
            let exact = -bordered(&form, &DMatrix::from_columns(&[expansion.gradient]));
            let sign = if s.index.is_multiple_of(2) { 1.0 } else { -1.0 };
            let own = sign * s.log_determinant.exp() * s.gradient_norm.powi(2);
            close(own, exact, 1e-9, "saddle");
            if s.index == 0 {
                let density = (-s.action).exp() / (ROOT_2_PI * exact.sqrt());
                close(s.density(), density, 1e-9, "density");
            }
        }
    }
}

/// Every tenth saddle of a map's lines.
fn sampled(map: &dyn FlowMap) -> Vec<Saddle> {
    let found = lines(map, &tracing(0.2), 10);
    let all = found.branches.iter().flat_map(|b| &b.saddles);
    all.step_by(10).cloned().collect()
}

/// Exact where every surface of constant x_0 is a plane: lognormal maps.
#[test]
fn d13_2_lognormal_is_exact() {
    for dim in [1, 2, 5] {
        let map = Lognormal {
            a: DVector::from_fn(dim, |i, _| 0.7 - 0.25 * i as f64),
        };
        let found = lines(&map, &tracing(0.3), 8);
        assert_eq!((found.branches.len(), found.lost), (1, 0));
        let width = map.a.norm();
        let mut worst = 0.0_f64;
        for x in [0.1, 0.5, 1.0, 1.7, 6.0] {
            let minima = found.at(&map, x).unwrap();
            assert_eq!(minima.len(), 1, "x = {x}");
            let exact = normal_pdf(f64::ln(x), 0.0, width * width) / x;
            worst = worst.max((minima[0].density() / exact - 1.0).abs());
        }
        println!("{dim} weights: {worst:.1e}");
        assert!(worst < 1e-12);
    }
}

/// An affine denoiser W0(t) + W1(t) x on the line.
struct Affine {
    problem: Problem,
    family: Linear,
    flow: PfOde,
    weights: WeightStatistics,
}

/// Legendre features: 2 of x times `time` of t; `moves(f)` says which fluctuate. Weights come x slowest.
fn affine(scheme: Scheme, time: usize, moves: impl Fn(usize) -> bool) -> Affine {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let problem = problem(line_mixture(), Diffusion::Ou, 0.1, 1.2);
    let f = 2 * time;
    let mean = normals(f, &mut rng) * 0.3;
    let root = DMatrix::from_fn(f, f, |i, _| {
        let z: f64 = rng.sample(StandardNormal);
        if moves(i) { 0.35 * z } else { 0.0 }
    });
    Affine {
        flow: PfOde::new(&problem, &options(scheme, 12)),
        problem,
        family: Linear {
            features: Features {
                space: SpaceFeatures::Product(vec![Factor::new(vec![FeatureSet::Polynomial(
                    Polynomial::new(2, -1.5, 1.0),
                )])]),
                time: Factor::new(vec![FeatureSet::Polynomial(Polynomial::new(
                    time, 0.1, 1.2,
                ))]),
            },
            predicts: Prediction::Denoiser,
        },
        weights: WeightStatistics {
            mean,
            covariance: &root * root.transpose(),
        },
    }
}

impl Affine {
    fn action(&self, strength: f64) -> Action<'_> {
        let kernel = VKernel::new(&self.problem, &self.family, &self.weights, 1e-13).unwrap();
        Action::new(&kernel, &self.weights, &self.flow, strength).unwrap()
    }

    /// x_0 of given weights, by the steps' definition.
    fn end(&self, weights: &DVector<f64>, start: f64) -> f64 {
        let time = weights.len() / 2;
        self.flow
            .steps(self.flow.grid().unwrap())
            .fold(start, |x, step| {
                let vkernel::sampler::Step::OneStage { t, c, d } = step else {
                    unreachable!()
                };
                let legendre = |z: f64, n: usize| [1.0, z, 1.5 * z * z - 0.5][n];
                let z = (x + 0.25) / 1.25;
                let w = |i: usize| -> f64 {
                    (0..time)
                        .map(|j| weights[i * time + j] * legendre((t - 0.65) / 0.55, j))
                        .sum()
                };
                c * x + d * (w(0) + w(1) * z)
            })
    }
}

/// Only the constant fluctuates: x_0 is linear in the weights, its law Gaussian, the expansion exact; with x_T integrated
/// as a coordinate too.
#[test]
fn d13_2_affine_family_with_a_fluctuating_constant_is_exact() {
    for scheme in SCHEMES {
        let family = affine(scheme, 3, |f| f < 3);
        let action = family.action(1.0);
        assert_eq!(action.rank(), 3);
        let centre = family.end(&family.weights.mean, 0.4);
        // Linear: unit changes of the weights are the derivatives.
        let unit = |f: usize| DVector::from_fn(6, |i, _| f64::from(u8::from(i == f)));
        let g = DVector::from_fn(6, |f, _| {
            family.end(&(&family.weights.mean + unit(f)), 0.4) - centre
        });
        let variance = g.dot(&(&family.weights.covariance * &g));
        let spread = family.end(&family.weights.mean, 1.4) - centre;
        for (start, mean, variance) in [
            (Start::At(0.4), centre, variance),
            (
                Start::Normal { std: 0.9 },
                centre - 0.4 * spread,
                variance + (0.9 * spread).powi(2),
            ),
        ] {
            let flow = WhitenedFlow {
                action: &action,
                start,
            };
            let found = lines(&flow, &tracing(0.5), 5);
            assert_eq!(found.branches.len(), 1);
            let mut worst = 0.0_f64;
            for z in [-3.0, -1.0, 0.0, 0.7, 4.0] {
                let x = mean + z * variance.sqrt();
                let minima = found.at(&flow, x).unwrap();
                assert_eq!(minima.len(), 1);
                let exact = normal_pdf(x, mean, variance);
                worst = worst.max((minima[0].density() / exact - 1.0).abs());
            }
            println!("{start:?}: {worst:.1e}");
            assert!(worst < 1e-11, "{worst:e}");
        }
    }
}

/// lambda = dS/dx_0, and det(1 - lambda H) dx_0/d lambda is minus the bordered determinant.
#[test]
fn d13_3_legendre_structure() {
    for scheme in SCHEMES {
        let toy = bent(6, scheme);
        let action = toy.action(1.0);
        let flow = fixed(&action);
        let found = lines(&flow, &tracing(0.2), 0);
        let first = &found.branches[0].saddles;
        let (low, high) = (first[0].end, first[first.len() - 1].end);
        let middle = flow.end(&DVector::zeros(4)).unwrap();
        println!("line from {low:.3} over {middle:.3} to {high:.3}");
        for x in [middle - 0.05, middle + 0.08] {
            let at = |x: f64| found.at(&flow, x).unwrap().remove(0);
            let s = at(x);
            let h = 4e-3;
            close(slope(|x| at(x).action, x, h), s.multiplier, 1e-7, "dS/dx");
            let expansion = flow.second_order(&s.eta).unwrap();
            let form = DMatrix::identity(4, 4) - dense(&expansion) * s.multiplier;
            let exact = -bordered(
                &form,
                &DMatrix::from_columns(std::slice::from_ref(&expansion.gradient)),
            );
            let rise = 1.0 / slope(|x| at(x).multiplier, x, h);
            close(form.determinant() * rise, exact, 1e-6, "dx/dlambda");
        }
    }
}

/// V -> strength V: the same saddle paths and determinants, S/strength, prefactor strength^-1/2.
#[test]
fn d13_4_one_line_serves_every_strength() {
    let toy = bent(7, Scheme::Ddim);
    let unit_action = toy.action(1.0);
    let unit = fixed(&unit_action);
    let all = lines(&unit, &tracing(0.2), 0);
    let middle = unit.end(&DVector::zeros(4)).unwrap();
    for strength in [0.1, 0.01] {
        let action = toy.action(strength);
        let flow = fixed(&action);
        let scaled = Tracing {
            largest_action: 40.0 / strength,
            ..tracing(0.2 / f64::sqrt(strength))
        };
        let own = lines(&flow, &scaled, 0);
        for x in [middle - 0.1, middle + 0.02, middle + 0.1] {
            let (a, b) = (&all.at(&unit, x).unwrap()[0], &own.at(&flow, x).unwrap()[0]);
            close(b.action * strength, a.action, 1e-11, "action");
            close(b.log_determinant, a.log_determinant, 1e-9, "determinant");
            let (p, q) = (unit.path(&a.eta).unwrap(), flow.path(&b.eta).unwrap());
            for (p, q) in p.iter().zip(&q) {
                close(*q, *p, 1e-11, "path");
            }
            let log = a.log_density() + a.action - a.action / strength - 0.5 * strength.ln();
            close(b.log_density(), log, 1e-9, "density");
        }
    }
}

/// On the line with a fold: turn and det_perp vanish together, turn^2/det_perp is regular, index and turn change there,
/// and the mass of the line is the integral of its closed form.
#[test]
fn d13_5_mass_of_a_line_through_a_fold() {
    let map = Quadratic {
        a1: 0.8,
        a2: 0.3,
        b: 0.35,
    };
    let found = lines(&map, &tracing(0.05), 60);
    assert_eq!(found.branches.len(), 2);
    let folded = &found.branches[1];
    let critical = (1.0 - map.fold()) / (2.0 * map.b);
    let mut worst = 0.0_f64;
    let mut smallest = f64::INFINITY;
    for s in folded.saddles.iter().filter(|s| s.action < 30.0) {
        let u = 1.0 - 2.0 * map.b * s.multiplier;
        // d eta/d lambda, and the closed forms.
        let speed = (map.a1.powi(2) + map.a2.powi(2) / u.powi(4)).sqrt();
        let turn = map.rise(s.multiplier) / (s.gradient_norm * speed);
        let det = u * map.rise(s.multiplier) / s.gradient_norm.powi(2);
        let regular = map.rise(s.multiplier) / (u * speed * speed);
        let sign = if s.index == 0 { 1.0 } else { -1.0 };
        let own = sign * s.turn * s.turn * (-s.log_determinant).exp();
        worst = worst.max((own - regular).abs() / (1.0 + regular.abs()));
        smallest = smallest.min(det.abs());
        assert_eq!(s.index == 0, s.multiplier < critical, "{}", s.multiplier);
        // 1e-7 (1 + |eta|) of the multiplier, over a power of u.
        close(s.turn.abs(), turn.abs(), 1e-4, "turn");
    }
    println!("turn^2/det {worst:.1e}, smallest determinant {smallest:.1e}");
    assert!(worst < 1e-5 && smallest < 0.05);
    // One fold: the turn changes sign once, together with the index.
    let changes = folded.saddles.windows(2).filter(|w| {
        assert_eq!(w[0].turn * w[1].turn < 0.0, w[0].index != w[1].index);
        w[0].index != w[1].index
    });
    assert_eq!(changes.count(), 1);
    assert!(folded.ends.iter().all(|e| *e == LineEnd::Action));

    // Mass by closed form: int e^-S |dx/dlambda / (1 - 2 b lambda)|^1/2 d lambda over the minima, (2 pi)^-1/2. The substitution
    // by u, and sqrt at the fold, are taken by a fine midpoint rule in a variable that is quadratic there.
    let mass_of = |from: f64, to: f64| {
        let n = 400_000;
        let h = 1.0 / n as f64;
        let sum: f64 = (0..n)
            .map(|i| {
                let z = (i as f64 + 0.5) * h;
                // u from `from` (fold or far) to `to` (0): u = from + (to - from) z^2.
                let u = from + (to - from) * z * z;
                let lambda = (1.0 - u) / (2.0 * map.b);
                let eta = map.saddle(lambda);
                let density =
                    (-0.5 * eta.norm_squared()).exp() * (map.rise(lambda) / u).abs().sqrt();
                density * 2.0 * z * (to - from).abs() / (2.0 * map.b)
            })
            .sum();
        sum * h / ROOT_2_PI
    };
    let bins = Bins {
        low: -4.0,
        high: 4.0,
        count: 40,
    };
    let exact = mass_of(12.0, 0.0) + mass_of(map.fold(), 0.0);
    let mut errors = Vec::new();
    for step in [0.2, 0.1, 0.05] {
        let found = lines(&map, &tracing(step), 60);
        let (masses, raw) = found.raw_density(&bins, 1);
        close(masses.total(), raw, 1e-12, "cells");
        errors.push((step, (raw - exact).abs()));
    }
    println!("raw mass {exact:.6}, errors {errors:?}");
    // No worse than straight lines between the points: h^2/8 of a curvature of order one. Better by the cubics in fact.
    assert!(errors.iter().all(|(h, e)| *e < h * h / 8.0), "{errors:?}");
}

/// At given x_0 each minimum is found once, however near to the fold.
#[test]
fn d13_5_minima_near_a_fold() {
    let map = Quadratic {
        a1: 0.8,
        a2: 0.3,
        b: 0.35,
    };
    let u = map.fold();
    let critical = map.end(&map.saddle((1.0 - u) / (2.0 * map.b))).unwrap();
    for step in [0.3, 0.1, 0.05] {
        let found = lines(&map, &tracing(step), 60);
        assert_eq!(found.branches.len(), 2);
        for beyond in [-0.5, -0.02, -1e-3, 2e-4, 1e-3, 0.01, 0.05, 0.2, 0.7, 2.0] {
            let minima = found.at(&map, critical + beyond).unwrap();
            let expected = if beyond < 0.0 { 1 } else { 2 };
            let at: Vec<f64> = minima.iter().map(|s| s.multiplier).collect();
            assert_eq!(
                minima.len(),
                expected,
                "step {step}, {beyond} beyond: {at:?}"
            );
            for s in &minima {
                // Newton's last step starts within 1e-7 (1 + |eta|) and leaves that squared over det_perp.
                let left = (1e-7 * (1.0 + s.eta.norm())).powi(2) * (-s.log_determinant).exp();
                close(s.end, critical + beyond, 1e-13 + 4.0 * left, "end");
            }
        }
    }
}

/// A map whose derivative by the angle around 0 is -k eta2 q(c) q(-c), q(c) = eta1^2 + (eta2 - c)^2 - rho^2: its saddles are
/// the axis eta2 = 0 and two circles.
struct Circles;

impl Circles {
    const C: f64 = 1.5;
    const RHO: f64 = 0.7;
    const SCALE: f64 = 1.0
        / (Self::C * Self::C - Self::RHO * Self::RHO)
        / (Self::C * Self::C - Self::RHO * Self::RHO);

    fn hessian(eta: &DVector<f64>) -> DMatrix<f64> {
        let (x, y, k) = (eta[0], eta[1], Self::SCALE);
        let c2 = Self::C * Self::C;
        let a = x * x + y * y + c2 - Self::RHO * Self::RHO;
        let mixed = k * (4.0 * y * a + 8.0 * x * x * y - 8.0 * c2 * y);
        DMatrix::from_row_slice(
            2,
            2,
            &[
                k * (12.0 * x * a + 8.0 * x.powi(3) - 16.0 * c2 * x) + 2.0,
                mixed,
                mixed,
                k * (4.0 * x * a + 8.0 * x * y * y - 8.0 * c2 * x) + 2.0,
            ],
        )
    }
}

impl FlowMap for Circles {
    fn dim(&self) -> usize {
        2
    }

    fn end(&self, eta: &DVector<f64>) -> Result<f64, ActionError> {
        let (x, y, c2) = (eta[0], eta[1], Self::C * Self::C);
        let a = x * x + y * y + c2 - Self::RHO * Self::RHO;
        let odd = x * a * a - 4.0 * c2 * (2.0 / 3.0 * x.powi(3) + x * y * y);
        Ok(Self::SCALE * odd + x * x + y * y)
    }

    fn gradient(&self, eta: &DVector<f64>) -> Result<(f64, DVector<f64>), ActionError> {
        let (x, y, k, c2) = (eta[0], eta[1], Self::SCALE, Self::C * Self::C);
        let a = x * x + y * y + c2 - Self::RHO * Self::RHO;
        let first = a * a + 4.0 * x * x * a - 4.0 * c2 * (2.0 * x * x + y * y);
        let second = 4.0 * x * y * a - 8.0 * c2 * x * y;
        Ok((
            self.end(eta)?,
            dvector![k * first + 2.0 * x, k * second + 2.0 * y],
        ))
    }

    fn second_order(&self, eta: &DVector<f64>) -> Result<SecondOrder, ActionError> {
        let (end, gradient) = self.gradient(eta)?;
        Ok(SecondOrder {
            end,
            gradient,
            left: Self::hessian(eta) * 0.5,
            right: DMatrix::identity(2, 2),
        })
    }
}

/// A closed line of saddles is followed once around: minima on one half of each circle, between two folds.
#[test]
fn d13_5_mass_of_a_closed_line() {
    // The closed form of the lines, and T15 on the left half of the upper circle by a midpoint rule in the angle, quadratic
    // at the folds.
    let at = |angle: f64| {
        let eta = dvector![
            Circles::RHO * angle.cos(),
            Circles::C + Circles::RHO * angle.sin()
        ];
        let (_, j) = Circles.gradient(&eta).unwrap();
        let multiplier = eta.dot(&j) / j.norm_squared();
        assert!((&eta - &j * multiplier).norm() < 1e-13);
        let form = DMatrix::identity(2, 2) - Circles::hessian(&eta) * multiplier;
        let rise = Circles::RHO * (-angle.sin() * j[0] + angle.cos() * j[1]);
        let det = -bordered(&form, &DMatrix::from_columns(&[j]));
        (-0.5 * eta.norm_squared()).exp() * rise.abs() / (ROOT_2_PI * det.sqrt())
    };
    let half = std::f64::consts::FRAC_PI_2;
    let n = 20_000;
    let exact: f64 = (0..n)
        .map(|i| {
            let z = (i as f64 + 0.5) / n as f64;
            // Angle from pi/2 to pi and back from 3 pi/2 to pi.
            (at(half + half * z * z) + at(3.0 * half - half * z * z)) * 2.0 * z * half / n as f64
        })
        .sum();
    let bins = Bins {
        low: -10.0,
        high: 10.0,
        count: 4,
    };
    for step in [0.2, 0.1, 0.05] {
        let mut found = lines(&Circles, &tracing(step), 40);
        found.branches.retain(|b| b.ends == [LineEnd::Closed; 2]);
        assert_eq!(found.branches.len(), 2);
        let (_, raw) = found.raw_density(&bins, 1);
        println!("step {step}: {raw:.7} against {:.7}", 2.0 * exact);
        // No worse than straight lines between the points of a circle of this radius.
        assert!((raw / (2.0 * exact) - 1.0).abs() < (step / Circles::RHO).powi(2) / 8.0);
        let first = &found.branches[0].saddles[0];
        let last = &found.branches[0].saddles[found.branches[0].saddles.len() - 1];
        assert_eq!(first.eta, last.eta);
    }
}

/// Masses by bins against the exact law, and their order in the step of the continuation.
#[test]
fn d13_5_bins_of_a_lognormal() {
    let map = Lognormal {
        a: dvector![0.4, -0.3, 0.2],
    };
    let bins = Bins {
        low: 0.2,
        high: 4.0,
        count: 25,
    };
    let width = map.a.norm();
    let cdf = |x: f64| normal::cdf(x.ln() / width);
    let gap = |step: f64| {
        let found = lines(&map, &tracing(step), 0);
        let (masses, raw) = found.raw_density(&bins, 1);
        let cells = masses.inside().iter().enumerate();
        let worst = cells
            .map(|(i, m)| (m - cdf(bins.edge(i + 1)) + cdf(bins.edge(i))).abs())
            .fold(0.0, f64::max);
        (worst, (raw - 1.0).abs())
    };
    // A stretch is cut in 16 pieces of length h, each spread evenly: at either edge of a bin the error is h^2/8 times the
    // slope of the mass in arclength and of the map's, that of the mass h^2/24 int |phi''|; phi the normal density.
    for step in [0.4, 0.2, 0.1] {
        let (cell, mass) = gap(step);
        let h = step / 16.0;
        println!("step {step}: bins {cell:.1e}, mass {mass:.1e}");
        assert!(cell < 2.0 * h * h / 8.0 * (0.242 + 0.399 * width));
        assert!(mass < h * h / 24.0 * 0.968);
    }
}

/// x_0 = a.eta + eta^T M eta/2: saddles of every index.
struct SecondDegree {
    a: DVector<f64>,
    m: DMatrix<f64>,
}

impl FlowMap for SecondDegree {
    fn dim(&self) -> usize {
        self.a.len()
    }

    fn end(&self, eta: &DVector<f64>) -> Result<f64, ActionError> {
        Ok(self.a.dot(eta) + 0.5 * eta.dot(&(&self.m * eta)))
    }

    fn gradient(&self, eta: &DVector<f64>) -> Result<(f64, DVector<f64>), ActionError> {
        Ok((self.end(eta)?, &self.a + &self.m * eta))
    }

    fn second_order(&self, eta: &DVector<f64>) -> Result<SecondOrder, ActionError> {
        let (end, gradient) = self.gradient(eta)?;
        let r = self.dim();
        Ok(SecondOrder {
            end,
            gradient,
            left: &self.m * 0.5,
            right: DMatrix::identity(r, r),
        })
    }
}

fn check_inertia(map: &dyn FlowMap, indices: &mut [usize]) {
    let r = map.dim();
    let found = lines(map, &tracing(0.2), 40);
    for s in found
        .branches
        .iter()
        .flat_map(|b| b.saddles.iter().step_by(7))
    {
        let expansion = map.second_order(&s.eta).unwrap();
        let form = DMatrix::identity(r, r) - dense(&expansion) * s.multiplier;
        let j = DMatrix::from_columns(std::slice::from_ref(&expansion.gradient));
        let spectrum = on_surface(&form, &j).symmetric_eigenvalues();
        let negative = spectrum.iter().filter(|v| **v < 0.0).count();
        assert_eq!(s.index, negative);
        indices[negative] += 1;
        let log: f64 = spectrum.iter().map(|v| v.abs().ln()).sum();
        close(s.log_determinant, log, 1e-8, "determinant");
        // (1 - lambda H)^-1 J, normalised.
        let mut tangent = form.lu().solve(&expansion.gradient).unwrap();
        tangent.normalize_mut();
        close(tangent.dot(&s.tangent).abs(), 1.0, 1e-9, "tangent");
        let normal = expansion.gradient.normalize();
        close(s.turn, s.tangent.dot(&normal), 1e-12, "turn");
    }
}

/// Index and determinant are those of the projected form; the tangent is that of the line.
#[test]
fn d13_6_index_is_the_inertia_of_the_projected_form() {
    let mut indices = [0; 5];
    for seed in 20..24 {
        let toy = bent(seed, Scheme::Euler);
        let action = toy.action(4.0);
        check_inertia(&fixed(&action), &mut indices);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..3 {
        let half = DMatrix::from_fn(5, 5, |_, _| 0.35 * rng.sample::<f64, _>(StandardNormal));
        let map = SecondDegree {
            a: normals(5, &mut rng) * 0.5,
            m: &half + half.transpose(),
        };
        check_inertia(&map, &mut indices);
    }
    println!("saddles by index: {indices:?}");
    assert!(indices[0] > 0 && indices[1] > 0);
}

/// The saddle in eta is the saddle of the MSR action: theta = lambda times the propagators, the two discrete equations, and
/// the determinant of its Hessian in (x, p) is |J|^2 det_perp.
#[test]
fn d13_7_saddles_solve_the_msr_equations() {
    for (seed, scheme) in [(5, Scheme::Euler), (6, Scheme::Ddim), (9, Scheme::Ddim)] {
        let toy = bent(seed, scheme);
        let action = toy.action(1.0);
        let flow = fixed(&action);
        let found = lines(&flow, &tracing(0.3), 0);
        let n = action.len();
        let middle = flow.end(&DVector::zeros(4)).unwrap();
        for shift in [-0.1, 0.15] {
            let s = found.at(&flow, middle + shift).unwrap().remove(0);
            let theta = DVector::from_vec(flow.response_field(&s.eta, s.multiplier).unwrap());
            let path = flow.path(&s.eta).unwrap();
            let jet = action.jet(&path);
            let size = theta.amax().max(1.0);
            // eta = sum theta_k v_k; r = V theta.
            near_real(&(&jet.value * &theta), &s.eta, 1e-10, "eta");
            near_real(&(jet.v() * &theta), &jet.residual, 1e-10, "forward");
            // theta_{k-1} = theta_k (dm/dx + sum_l v'_k.v_l theta_l).
            let pull = &jet.value * &theta;
            close(theta[n - 1], s.multiplier, 1e-12, "last");
            for k in 1..n {
                let back = theta[k] * (jet.growth[k] + jet.slope.column(k).dot(&pull));
                close(back, theta[k - 1], 1e-10 * size, "backward");
            }
            // The library's MSR action is stationary there but for x_N, where its slope is lambda.
            let msr = action.msr(&path, &theta.map(|t| C::i() * t));
            close(msr.value.re, s.action, 1e-10, "action");
            let mut by_path = msr.gradient.path.clone();
            close(by_path[n - 1].re, s.multiplier, 1e-12, "slope");
            by_path[n - 1] = C::ZERO;
            let residual =
                by_path.map(|z| z.norm()).max() + msr.gradient.field.map(|z| z.norm()).max();
            assert!(residual < 1e-10 * size, "{residual:e}");
            // Hessian in x_1 ... x_{N-1}, p_0 ... p_{N-1}.
            let m = 2 * n - 1;
            let mut hessian = DMatrix::zeros(m, m);
            for j in 0..m {
                let mut unit = MsrVector::zeros(n);
                if j < n - 1 {
                    unit.path[j] = C::ONE;
                } else {
                    unit.field[j + 1 - n] = C::ONE;
                }
                let h = msr.hessian_times(&unit);
                for i in 0..m {
                    hessian[(i, j)] = if i < n - 1 {
                        h.path[i]
                    } else {
                        h.field[i + 1 - n]
                    };
                }
            }
            let det = hessian.determinant();
            let exact = s.gradient_norm.powi(2) * s.log_determinant.exp();
            println!("det of the MSR Hessian {det:.9}, |J|^2 det_perp {exact:.9}");
            assert!((det - exact).norm() < 1e-9 * exact.abs());
        }
    }
}

/// Relative error of T15 in the strength of V: first order, with the two-loop coefficient; both minima count where there
/// are two.
#[test]
fn d13_8_error_is_first_order_in_v() {
    let base = Quadratic {
        a1: 0.8,
        a2: 0.3,
        b: 0.15,
    };
    for x in [-0.5, 0.4, 1.0] {
        let points = [0.02, 0.01, 0.005].map(|strength| {
            let map = base.scaled(strength);
            let far = Tracing {
                largest_action: 4.0 / strength,
                ..tracing(0.2 / f64::sqrt(strength))
            };
            let found = lines(&map, &far, 0);
            let minima = found.at(&map, x).unwrap();
            assert_eq!(minima.len(), 1);
            let (log, rest) = map.exact(x);
            let ratio = (log - minima[0].log_density()).exp() * rest;
            (strength, ratio - 1.0, minima[0].eta.clone())
        });
        let order = log_slope(&points.clone().map(|(s, e, _)| (s, e.abs())));
        // Two-loop term of int exp(-g/strength) d eta2 at the minimum of g = (eta2^2 + ((x - a2 eta2 - b eta2^2)/a1)^2)/2.
        let (strength, error, eta) = &points[2];
        let e = eta[1] * strength.sqrt();
        let (f, f1) = (
            x - base.a2 * e - base.b * e * e,
            -base.a2 - 2.0 * base.b * e,
        );
        let (a, f2) = (base.a1.powi(2), -2.0 * base.b);
        let (g2, g3, g4) = (
            1.0 + (f1 * f1 + f * f2) / a,
            3.0 * f1 * f2 / a,
            3.0 * f2 * f2 / a,
        );
        let loops = 5.0 * g3 * g3 / (24.0 * g2.powi(3)) - g4 / (8.0 * g2 * g2);
        let extrapolated = 2.0 * points[2].1 / strength - points[1].1 / points[1].0;
        println!(
            "x = {x}: order {order:.3}, error/V {extrapolated:.6}, two loops {loops:.6}, at V = {strength}: {error:.1e}"
        );
        close(order, 1.0, 0.1, "order");
        // Extrapolated once: what is left is second order in the smallest strengths, 2 (0.005)^2/0.005 of a coefficient of
        // order one.
        close(extrapolated, loops, 0.01, "coefficient");
    }

    // Symmetric double minimum: T15 needs both.
    let twin = Quadratic {
        a1: 0.5,
        a2: 0.0,
        b: 0.4,
    };
    let x = 0.9;
    // The mean line turns from minima to saddles where the pair branches off; the pair is found from draws, which reach it
    // at strength 1. The others follow by D13.4.
    let found = lines(&twin, &tracing(0.1), 60);
    let minima = found.at(&twin, x).unwrap();
    let ends: Vec<LineEnd> = found.line_ends().map(|(_, why)| why).collect();
    assert_eq!(minima.len(), 2, "{ends:?}");
    close(minima[0].action, minima[1].action, 1e-10, "twins");
    let errors = [0.1, 0.05, 0.025].map(|strength| {
        let (log, rest) = twin.scaled(strength).exact(x);
        let weigh = |s: &Saddle| {
            let own = s.log_density() + s.action - s.action / strength;
            (own - 0.5 * f64::ln(strength) - log).exp()
        };
        let sum: f64 = minima.iter().map(weigh).sum();
        (strength, (rest / sum - 1.0).abs())
    });
    println!("two minima: {errors:?}, order {:.3}", log_slope(&errors));
    close(log_slope(&errors), 1.0, 0.15, "order with two minima");
}

/// The raw mass misses 1 by minus the two-loop coefficient at the mean path, times V.
#[test]
fn d13_8_raw_mass_is_one_to_first_order() {
    let base = Quadratic {
        a1: 0.8,
        a2: 0.3,
        b: 0.15,
    };
    let bins = Bins {
        low: -4.0,
        high: 4.0,
        count: 10,
    };
    let (a1, a2, b) = (base.a1, base.a2, base.b);
    let square = a1 * a1 + a2 * a2;
    let loops = (b * a1 / square).powi(2) * (7.5 * a2 * a2 / square - 1.5);
    let errors = [0.2, 0.1, 0.05].map(|strength| {
        let found = lines(&base.scaled(strength), &tracing(0.05), 0);
        let (_, raw) = found.raw_density(&bins, 1);
        (strength, raw - 1.0)
    });
    let slopes = errors.map(|(s, e)| e / s);
    let extrapolated = (8.0 * slopes[2] - 6.0 * slopes[1] + slopes[0]) / 3.0;
    println!(
        "(mass - 1)/V {slopes:?} -> {extrapolated:.6}, minus two loops {:.6}",
        -loops
    );
    // Extrapolated twice: what is left is of third order in the strength, with (0.4, 0.2, 0.1) it is 6e-5.
    close(extrapolated, -loops, 2e-5, "slope");
}

/// The slope fluctuates too: products of random numbers. Against quadrature over the slope, the constant done exactly.
#[test]
fn d13_8_affine_family_with_a_fluctuating_slope() {
    let family = affine(Scheme::Ddim, 1, |_| true);
    let (w, c) = (&family.weights.mean, &family.weights.covariance);
    let start = 0.4;
    let mean = family.end(w, start);
    let tenth = {
        let action = family.action(1.0);
        let flow = WhitenedFlow {
            action: &action,
            start: Start::At(start),
        };
        flow.gradient(&DVector::zeros(2)).unwrap().1.norm()
    };
    for z in [-0.6, 0.5, 1.0] {
        let x = mean + z * tenth;
        let points = [0.02, 0.01, 0.005].map(|strength| {
            let action = family.action(strength);
            let flow = WhitenedFlow {
                action: &action,
                start: Start::At(start),
            };
            let far = Tracing {
                largest_action: 4.0 / strength,
                ..tracing(0.2 / f64::sqrt(strength))
            };
            let found = lines(&flow, &far, 0);
            let minima = found.at(&flow, x).unwrap();
            assert_eq!(minima.len(), 1);
            let minimum = minima[0].log_density();
            // Slope W1 normal; given it W0 normal; given both x_0 = end.
            let deviation = (strength * c[(1, 1)]).sqrt();
            let variance = strength * (c[(0, 0)] - c[(0, 1)].powi(2) / c[(1, 1)]);
            let rule = trapezoid(40_000, -40.0, 40.0);
            let ratio = integrate(&rule, |e| {
                let slope = deviation * e;
                let constant = w[0] + c[(0, 1)] / c[(1, 1)] * slope;
                let at = |w0: f64| family.end(&dvector![w0, w[1] + slope], start);
                let centre = at(constant);
                let gain = at(constant + 1.0) - centre;
                let law = gain * gain * variance;
                let log = -0.5 * (e * e + (x - centre).powi(2) / law) - 0.5 * law.ln();
                (log - minimum).exp()
            }) / (ROOT_2_PI * ROOT_2_PI);
            (strength, (ratio - 1.0).abs())
        });
        let order = log_slope(&points);
        println!("z = {z}: errors {points:?}, order {order:.3}");
        close(order, 1.0, 0.1, "order");
    }
}

/// One weight: no surface to fluctuate on, T15 is the change of variables x_0 = sinh(eta).
#[test]
fn d13_2_one_weight_is_a_change_of_variables() {
    struct Sinh;
    impl FlowMap for Sinh {
        fn dim(&self) -> usize {
            1
        }
        fn end(&self, eta: &DVector<f64>) -> Result<f64, ActionError> {
            Ok(eta[0].sinh())
        }
        fn gradient(&self, eta: &DVector<f64>) -> Result<(f64, DVector<f64>), ActionError> {
            Ok((eta[0].sinh(), dvector![eta[0].cosh()]))
        }
        fn second_order(&self, eta: &DVector<f64>) -> Result<SecondOrder, ActionError> {
            let (end, gradient) = self.gradient(eta)?;
            Ok(SecondOrder {
                end,
                gradient,
                left: DMatrix::from_element(1, 1, 0.5 * end),
                right: DMatrix::from_element(1, 1, 1.0),
            })
        }
    }
    let found = lines(&Sinh, &tracing(0.3), 5);
    assert_eq!(found.branches.len(), 1);
    // 0 is a point of the line itself: it counts once.
    for x in [-5.0_f64, 0.0, 0.7, 20.0] {
        let minima = found.at(&Sinh, x).unwrap();
        assert_eq!(minima.len(), 1, "x = {x}");
        let exact = normal_pdf(x.asinh(), 0.0, 1.0) / (1.0 + x * x).sqrt();
        close(minima[0].density(), exact, 1e-13, "density");
    }
}

/// Branches start where they are found: the mean path belongs to the first.
#[test]
fn d13_6_lines_are_followed_from_the_mean_path() {
    let toy = bent(4, Scheme::Ddim);
    let action = toy.action(1.0);
    let flow = fixed(&action);
    let found = lines(&flow, &tracing(0.2), 0);
    let branch: &Branch = &found.branches[0];
    assert!(
        branch.ends.iter().all(|e| !e.is_failure()),
        "{:?}",
        branch.ends
    );
    let least = branch.saddles.iter().map(|s| s.action);
    assert_eq!(least.fold(f64::INFINITY, f64::min), 0.0);
    // Neighbours are joined by their tangents.
    for w in branch.saddles.windows(2) {
        let step = &w[1].eta - &w[0].eta;
        assert!(step.dot(&w[0].tangent) > 0.9 * step.norm());
        assert!(w[0].tangent.dot(&w[1].tangent) > 0.7);
    }
}

/// The gap's probability by Gauss-Hermite quadrature over the two weights, with edges by bisection; and the optimum by the
/// slopes of the same function.
#[test]
fn d13_9_gap_by_quadrature() {
    let toy = Toy::new(11, (Prediction::Denoiser, Scheme::Ddim), 10, (2, 0.25));
    let action = toy.action(1.0);
    let sigma = toy.problem.diffusion.sigma(toy.problem.t_max);
    let end = |eta: &DVector<f64>, xi: f64| *action.path(sigma * xi, eta).unwrap().last().unwrap();
    let zero = DVector::zeros(2);
    let gap = (end(&zero, 1.0), end(&zero, 1.3));
    assert!(gap.0 < gap.1);
    let mass = |eta: &DVector<f64>| {
        let edge = |x: f64| {
            let (mut low, mut high) = (-9.0, 9.0);
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                if end(eta, middle) < x {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            0.5 * (low + high)
        };
        let (low, high) = (edge(gap.0), edge(gap.1));
        normal::cdf(high) - normal::cdf(low)
    };
    let rule = normal_rule(40);
    let mut truth = 0.0;
    for (a, wa) in &rule {
        for (b, wb) in &rule {
            truth += wa * wb * mass(&DVector::from_vec(vec![*a, *b]));
        }
    }
    let filling = gap_filling(&action, sigma, gap, 4000, 3).unwrap();
    println!(
        "{truth} against {} +- {}, optimum {} of action {}",
        filling.probability, filling.standard_error, filling.eta, filling.action
    );
    // Five standard errors of the draws; edges are right to a thousandth of the gap.
    let allowed = 5.0 * filling.standard_error + 2e-3 * truth;
    assert!((filling.probability - truth).abs() < allowed);
    close(filling.unfilled, mass(&zero), 1e-6, "mean model");
    close(filling.filled, mass(&filling.eta), 1e-6, "optimal model");
    // At the optimum the slopes of |eta|^2/2 - ln P vanish, to the length at which the descent stops (1e-3) and the truncation
    // of the difference.
    for i in 0..2 {
        let cost = |e: f64| {
            let mut eta = filling.eta.clone();
            eta[i] += e;
            0.5 * eta.norm_squared() - mass(&eta).ln()
        };
        let slope = slope(cost, 0.0, 1e-2);
        assert!(slope.abs() < 2e-3, "slope {slope}");
    }
    assert!(filling.action > 0.0 && filling.filled > filling.unfilled);
}
