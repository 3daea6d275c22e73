//! All extremals from one start. They form a curve: the image, under the steps, of all initial responses. It is followed by
//! pseudo-arclength at its end point (x_N, theta_(N-1)), through folds, from the noiseless path outwards both ways; no
//! saddle on it is missed by a poor guess.

use super::{Constraint, Extremal, ExtremalError, Splitting, WhiteStep};

/// How far and how finely a curve is followed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurveOptions {
    pub splitting: Splitting,
    /// Largest distance between neighbouring end points x_N.
    pub spacing: f64,
    /// Length of a step in units of the local standard deviation of x_N.
    pub stride: f64,
    /// End points beyond these are not followed.
    pub low: f64,
    pub high: f64,
    /// Extremals whose action is larger are not followed: exp(-cutoff) is negligible.
    pub cutoff: f64,
    /// Extremals in one direction at most.
    pub longest: usize,
}

/// What is kept of one extremal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurveNode {
    /// x_N and theta_(N-1).
    pub end: f64,
    pub response: f64,
    /// Action (extremised part) and logarithm of the contribution to the density at leading order.
    pub exponent: f64,
    pub ln_density: f64,
    /// What the next order in the noise adds to `ln_density`; 0 unless this is a minimum of Ito's splitting.
    pub next: f64,
    /// Morse index.
    pub index: usize,
}

/// Why a curve ends where it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CurveEnd {
    /// The action exceeds the cutoff.
    Unlikely,
    /// The end point left the range.
    OutOfRange,
    /// More than `longest` extremals.
    TooLong,
    /// Newton's method failed down to the smallest step.
    Failed(ExtremalError),
}

/// The extremals from one start, in order along the curve, and why each direction (down, up) ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtremalCurve {
    pub nodes: Vec<CurveNode>,
    pub ends: [CurveEnd; 2],
}

/// Steps are halved down to this part of the stride.
const LEAST_STRIDE: f64 = 1e-4;
/// Cosine between chord and tangent below which a step is too long.
const STRAIGHT: f64 = 0.8;
/// Relative change of the response in one step, beyond the Gaussian core.
const RESPONSE_RATIO: f64 = 0.1;

/// Follows the curve of extremals from `start`.
pub fn extremal_curve<S: WhiteStep>(
    steps: &[S],
    start: f64,
    options: &CurveOptions,
) -> Result<ExtremalCurve, ExtremalError> {
    let origin = Extremal::noiseless(steps, options.splitting, start);
    let (mut nodes, down) = Tracker::new(steps, options, origin.clone())?.follow(-1.0);
    nodes.reverse();
    let first = Tracker::new(steps, options, origin)?;
    nodes.push(first.node);
    let (upper, up) = first.follow(1.0);
    nodes.extend(upper);
    Ok(ExtremalCurve {
        nodes,
        ends: [down, up],
    })
}

/// One extremal on the way, with the curve's direction at its end point.
struct Tracker<'a, S> {
    steps: &'a [S],
    options: &'a CurveOptions,
    here: Extremal,
    node: CurveNode,
    /// d x_N / d theta_(N-1) along the curve.
    slope: f64,
    /// Response that moves the noiseless end point by one standard deviation, at the origin.
    unit: f64,
}

impl<'a, S: WhiteStep> Tracker<'a, S> {
    fn new(
        steps: &'a [S],
        options: &'a CurveOptions,
        here: Extremal,
    ) -> Result<Self, ExtremalError> {
        let (node, slope) = describe(steps, options.splitting, &here)?;
        Ok(Self {
            steps,
            options,
            here,
            node,
            slope,
            unit: 1.0 / slope.abs().sqrt(),
        })
    }

    /// Unit tangent (dx, dtheta) in the local metric, and the metric's units of x and theta.
    fn tangent(&self) -> ((f64, f64), (f64, f64)) {
        let o = self.options;
        let scales = (
            o.spacing,
            o.stride * self.unit + RESPONSE_RATIO * self.node.response.abs(),
        );
        let length = (self.slope / scales.0).hypot(1.0 / scales.1);
        (
            (self.slope / (length * scales.0), 1.0 / (length * scales.1)),
            scales,
        )
    }

    /// Extremals one way until the curve ends. `sign` is the direction of the response at first.
    fn follow(mut self, sign: f64) -> (Vec<CurveNode>, CurveEnd) {
        let mut nodes = Vec::new();
        let mut sense = sign;
        let mut stride = 1.0;
        loop {
            if let Some(end) = self.finished(nodes.len()) {
                return (nodes, end);
            }
            let (tangent, scales) = self.tangent();
            match self.advanced(tangent, scales, sense * stride) {
                Ok((next, turn)) => {
                    sense = turn;
                    self = next;
                    nodes.push(self.node);
                    stride = f64::min(1.0, 1.5 * stride);
                }
                Err(e) => {
                    stride *= 0.5;
                    if stride < LEAST_STRIDE {
                        return (nodes, CurveEnd::Failed(e));
                    }
                }
            }
        }
    }

    fn finished(&self, count: usize) -> Option<CurveEnd> {
        let o = self.options;
        if self.node.exponent > o.cutoff {
            Some(CurveEnd::Unlikely)
        } else if self.node.end < o.low || self.node.end > o.high {
            Some(CurveEnd::OutOfRange)
        } else if count >= o.longest {
            Some(CurveEnd::TooLong)
        } else {
            None
        }
    }

    /// The extremal `length` further along the tangent, and the sense (sign of d theta) in which the curve goes on there.
    fn advanced(
        &self,
        (dx, dtheta): (f64, f64),
        (unit_x, unit_theta): (f64, f64),
        length: f64,
    ) -> Result<(Self, f64), ExtremalError> {
        let (position, response) = (dx / unit_x, dtheta / unit_theta);
        let (x, theta) = self.here.end();
        let constraint = Constraint {
            position,
            response,
            value: position * x + response * theta + length,
        };
        let mut here = self.here.clone();
        here.solve(self.steps, self.options.splitting, constraint)?;
        let (node, slope) = describe(self.steps, self.options.splitting, &here)?;
        let next = Self {
            here,
            node,
            slope,
            ..*self
        };
        // The curve goes on as it came: the chord decides, and must nearly be the tangent at both its ends.
        let ((ahead_x, ahead_theta), (unit_x, unit_theta)) = next.tangent();
        let chord = (
            (node.end - x) / unit_x,
            (node.response - theta) / unit_theta,
        );
        let along = (ahead_x * chord.0 + ahead_theta * chord.1) / chord.0.hypot(chord.1);
        if along.abs() < STRAIGHT || chord.0.hypot(chord.1) > 2.0 * length.abs() {
            return Err(ExtremalError::Turned { x: node.end });
        }
        Ok((next, along.signum()))
    }
}

fn describe<S: WhiteStep>(
    steps: &[S],
    splitting: Splitting,
    here: &Extremal,
) -> Result<(CurveNode, f64), ExtremalError> {
    let fluctuations = here.fluctuations(steps, splitting)?;
    // Only a minimum has fluctuations to average over.
    let next = if splitting == Splitting::Ito && fluctuations.index == 0 {
        here.next_order(steps)
    } else {
        0.0
    };
    let (end, response) = here.end();
    let node = CurveNode {
        end,
        response,
        exponent: fluctuations.exponent,
        ln_density: fluctuations.ln_density(),
        next,
        index: fluctuations.index,
    };
    Ok((
        node,
        fluctuations.riccati.last().copied().unwrap_or(f64::NAN),
    ))
}
