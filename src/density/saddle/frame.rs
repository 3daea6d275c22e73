//! The constraint surface Phi(eta) = x_0 at one point: its normal, its curvature, and Newton steps on it.

use nalgebra::{DMatrix, DVector};

use crate::action::SecondOrder;
use crate::numerics::linalg::{self, SymmetricFactor};

/// The quadratic form I - lambda H of |eta|^2/2 on the surface, in coordinates whose first axis is the normal J/|J|
/// (a Householder reflection). Singular at a fold only.
pub(super) struct Frame {
    /// Unit normal J/|J| and |J|.
    pub normal: DVector<f64>,
    pub gradient_norm: f64,
    /// lambda = J . eta/|J|^2.
    pub multiplier: f64,
    /// Unit vector of the reflection that takes the normal to -sign(normal_0) times the first axis.
    mirror: DVector<f64>,
    flip: f64,
    /// First column of the form, without its first entry.
    coupling: DVector<f64>,
    /// The form on the surface.
    surface: SymmetricFactor,
    /// Part of eta along the surface: zero at a saddle. Mirrored, without its first entry.
    residual: DVector<f64>,
}

impl Frame {
    /// `None` where Phi does not depend on eta at all.
    pub fn new(expansion: &SecondOrder, eta: &DVector<f64>) -> Option<Self> {
        let norm = expansion.gradient.norm();
        if !(norm.is_finite() && norm > f64::MIN_POSITIVE) {
            return None;
        }
        let normal = &expansion.gradient / norm;
        let multiplier = normal.dot(eta) / norm;
        let flip = if normal[0] >= 0.0 { -1.0 } else { 1.0 };
        let mut mirror = normal.clone();
        mirror[0] -= flip;
        mirror.normalize_mut();
        let (left, right) = (
            reflected(&mirror, &expansion.left),
            reflected(&mirror, &expansion.right),
        );
        let below = normal.len() - 1;
        let mut form = DMatrix::identity(below, below);
        linalg::rank_two_lower(
            linalg::view_mut(&mut form),
            linalg::view(&left).subrows(1, below),
            linalg::view(&right).subrows(1, below),
            -multiplier,
        );
        let coupling = (left.rows(1, below) * right.row(0).transpose()
            + right.rows(1, below) * left.row(0).transpose())
            * -multiplier;
        let mut frame = Self {
            normal,
            gradient_norm: norm,
            multiplier,
            mirror,
            flip,
            coupling,
            surface: SymmetricFactor::new(form),
            residual: DVector::zeros(below),
        };
        frame.residual = frame.mirrored(eta).rows(1, below).into_owned();
        Some(frame)
    }

    /// Number of directions on the surface in which the action falls, and ln |det| of the form on it.
    pub fn inertia(&self) -> (usize, f64) {
        self.surface.inertia()
    }

    /// How far eta is from a saddle: its part along the surface.
    pub fn distance(&self) -> f64 {
        self.residual.norm()
    }

    fn mirrored(&self, v: &DVector<f64>) -> DVector<f64> {
        v - &self.mirror * (2.0 * self.mirror.dot(v))
    }

    /// The Newton step towards a saddle whose component along the normal is `along`.
    pub fn newton(&self, along: f64) -> DVector<f64> {
        // The first axis is flip times the normal.
        let first = self.flip * along;
        let mut step = -&self.residual - &self.coupling * first;
        self.surface.solve(&mut step);
        self.mirrored(&step.insert_row(0, first))
    }

    /// Unit tangent of the line of saddles, in the direction of `before`.
    pub fn tangent(&self, before: &DVector<f64>) -> DVector<f64> {
        let mut step = -&self.coupling;
        self.surface.solve(&mut step);
        let mut tangent = self.mirrored(&step.insert_row(0, 1.0));
        tangent.normalize_mut();
        if tangent.dot(before) < 0.0 {
            tangent.neg_mut();
        }
        tangent
    }
}

/// The reflection of every column.
fn reflected(mirror: &DVector<f64>, columns: &DMatrix<f64>) -> DMatrix<f64> {
    let along = columns.tr_mul(mirror) * -2.0;
    let mut out = columns.clone();
    out.ger(1.0, mirror, &along, 1.0);
    out
}
