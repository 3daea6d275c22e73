//! The next order of the small-noise expansion around a minimum: the terms of third and fourth order of the action, averaged
//! over its Gaussian fluctuations (two-loop diagrams), in O(N).
//!
//! In the variables x_k (fluctuation of the node before a step) and zeta_k (that of the step's own noise, in units of its
//! standard deviation) every vertex is regular as v -> 0. Nodes form a Gaussian Markov chain, so the correlation of the cubic
//! vertices needs their projection on the first and third Hermite polynomial of the next node only (D14.14).

use super::{Extremal, Jet, Splitting, WhiteStep};

/// Nodes and weights of the mean over a standard normal, exact up to degree 7: the vertices squared have degree 6.
const RULE: [(f64, f64); 4] = [
    (-2.334_414_218_338_977_3, 0.045_875_854_768_068_49),
    (-0.741_963_784_302_725_9, 0.454_124_145_231_931_5),
    (0.741_963_784_302_725_9, 0.454_124_145_231_931_5),
    (2.334_414_218_338_977_3, 0.045_875_854_768_068_49),
];

/// Vertices of one step at the extremal (D14.13).
struct Vertices {
    /// Coefficients of x^3, zeta x^2 and (zeta^2 - 1) x.
    odd: [f64; 3],
    /// Coefficients of x^4, zeta x^3, zeta^2 x^2 and x^2.
    even: [f64; 4],
}

impl Vertices {
    fn new(jet: &Jet, theta: f64) -> Self {
        let ([_, _, m2, m3, m4], [v, v1, v2, v3, v4]) = (jet.mean, jet.variance);
        // A step without noise has no fluctuation of its own.
        let (root, l1, l2) = if v > 0.0 {
            (1.0 / v.sqrt(), v1 / v, v2 / v)
        } else {
            (0.0, 0.0, 0.0)
        };
        let bend = (m2 + v2 * theta) * root;
        let twist = (m3 + v3 * theta) * root;
        Self {
            odd: [
                -theta * (m3 / 6.0 + v3 * theta / 12.0),
                -0.5 * bend,
                -0.5 * l1,
            ],
            even: [
                bend * bend / 8.0 - theta * (m4 + 0.5 * v4 * theta) / 24.0,
                0.5 * bend * l1 - twist / 6.0,
                0.5 * l1 * l1 - 0.25 * l2,
                0.25 * (l2 - l1 * l1),
            ],
        }
    }

    fn odd(&self, x: f64, zeta: f64) -> f64 {
        let [a, b, c] = self.odd;
        x * (x * (a * x + b * zeta) + c * (zeta * zeta - 1.0))
    }

    fn even(&self, x: f64, zeta: f64) -> f64 {
        let [a, b, c, d] = self.even;
        x * x * (x * (a * x + b * zeta) + c * zeta * zeta + d)
    }
}

/// Law of (x_k, zeta_k) with both ends of the path held: x has standard deviation `width`, zeta given x is
/// N(`lean` x, `spread`^2).
struct Local {
    width: f64,
    lean: f64,
    spread: f64,
    /// x_(k+1) = f x + root zeta, and its standard deviation.
    f: f64,
    root: f64,
    next: f64,
}

impl Local {
    /// Sum over the law of (x, zeta), with x in units of its width.
    fn mean<const N: usize>(&self, f: impl Fn(f64, f64, f64) -> [f64; N]) -> [f64; N] {
        let mut sum = [0.0; N];
        for (a, wa) in RULE {
            let x = self.width * a;
            for (b, wb) in RULE {
                let values = f(a, x, self.lean * x + self.spread * b);
                for (s, value) in sum.iter_mut().zip(values) {
                    *s += wa * wb * value;
                }
            }
        }
        sum
    }
}

impl Extremal {
    /// First-order correction to the logarithm of this minimum's contribution to the density, Ito's splitting (D14.13). The
    /// extremal must be a minimum.
    pub fn next_order<S: WhiteStep>(&self, steps: &[S]) -> f64 {
        let laws = self.pinned_laws(steps);
        // Projection of all earlier cubic vertices on He_1 and He_3 of this node, in units of its width.
        let (mut first, mut third) = (0.0, 0.0);
        let mut total = 0.0;
        for ((k, step), law) in steps.iter().enumerate().zip(&laws) {
            let vertices = Vertices::new(&step.jet(self.path[k]), self.response[k]);
            let [even, pairs, he1, he3] = law.mean(|z, x, zeta| {
                let own = vertices.odd(x, zeta);
                let earlier = first * z + third * z * (z * z - 3.0);
                let y = if law.next > 0.0 {
                    (law.f * x + law.root * zeta) / law.next
                } else {
                    0.0
                };
                [
                    vertices.even(x, zeta),
                    own * (own + 2.0 * earlier),
                    (own + earlier) * y,
                    (own + earlier) * y * (y * y - 3.0) / 6.0,
                ]
            });
            total += 0.5 * pairs - even;
            (first, third) = (he1, he3);
        }
        total
    }

    fn pinned_laws<S: WhiteStep>(&self, steps: &[S]) -> Vec<Local> {
        let n = steps.len();
        let lines: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(k, s)| self.linear(k, &s.jet(self.path[k]).split(Splitting::Ito)))
            .collect();
        // Curvature in x_k of the cost of reaching the end from there; infinite at the end itself.
        let mut curvature = vec![f64::INFINITY; n + 1];
        for k in (1..n).rev() {
            let (l, ahead) = (&lines[k], curvature[k + 1]);
            curvature[k] = l.f * l.f * through(l.v, ahead) - l.g;
        }
        let (mut slope, mut width) = (0.0, 0.0);
        let mut laws = Vec::with_capacity(n);
        for (k, l) in lines.iter().enumerate() {
            let ahead = curvature[k + 1];
            let loose = 1.0 - slope * l.g;
            slope = l.f * l.f * slope / loose + l.v;
            let next = if ahead.is_finite() {
                (slope / (1.0 + slope * ahead)).max(0.0).sqrt()
            } else {
                0.0
            };
            // A step without noise (v can underflow) has no zeta to lean anywhere.
            let stiff = if l.v > 0.0 { through(l.v, ahead) } else { 0.0 };
            laws.push(Local {
                width,
                lean: -l.v.sqrt() * l.f * stiff,
                spread: (1.0 - l.v * stiff).max(0.0).sqrt(),
                f: l.f,
                root: l.v.sqrt(),
                next,
            });
            width = next;
        }
        laws
    }
}

/// Curvature seen through a step's own noise, 1/(v + 1/curvature).
fn through(v: f64, curvature: f64) -> f64 {
    if curvature.is_finite() {
        curvature / (1.0 + v * curvature)
    } else {
        1.0 / v
    }
}
