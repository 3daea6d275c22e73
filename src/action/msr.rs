//! The Martin-Siggia-Rose form: path and response field, S = -i p.r + (1/2) p^T V p (T6, D12.1).

use nalgebra::DVector;
use num_complex::Complex64;

use super::{Action, PathJet, add};

/// Value and gradient of the MSR action; the path integral's weight is exp(-S)/(2 pi)^N.
#[derive(Debug, Clone)]
pub struct Msr {
    pub value: Complex64,
    pub gradient: MsrVector,
    jet: PathJet,
    field: DVector<Complex64>,
    /// sum_l p_l v_l, length r.
    pull: DVector<Complex64>,
}

/// A vector over the variables of the MSR action: x_1 ... x_N and p_0 ... p_{N-1}.
#[derive(Debug, Clone, PartialEq)]
pub struct MsrVector {
    pub path: DVector<Complex64>,
    pub field: DVector<Complex64>,
}

impl Action<'_> {
    /// S on the path x_0 ... x_N with the response field p_0 ... p_{N-1}.
    ///
    /// # Panics
    /// When the lengths are not N + 1 and N.
    pub fn msr(&self, path: &[f64], field: &DVector<Complex64>) -> Msr {
        let jet = self.jet(path);
        assert_eq!(field.len(), self.len());
        let i = Complex64::i();
        let pull = jet.value.map(Complex64::from) * field;
        let phase: Complex64 = jet.residual.iter().zip(field).map(|(r, p)| p * *r).sum();
        let value = -i * phase + 0.5 * pull.dot(&pull);
        let mut msr = Msr {
            value,
            gradient: MsrVector::zeros(self.len()),
            jet,
            field: field.clone(),
            pull,
        };
        for k in 0..self.len() {
            let back = msr.field[k] * (i * msr.jet.growth[k] + msr.along(&msr.jet.slope, k));
            add(&mut msr.gradient.path, k, back, -i * msr.field[k]);
            msr.gradient.field[k] = -i * msr.jet.residual[k] + msr.along(&msr.jet.value, k);
        }
        msr
    }
}

impl Msr {
    /// Column k times sum_l p_l v_l.
    fn along(&self, columns: &nalgebra::DMatrix<f64>, k: usize) -> Complex64 {
        real_dot(columns, k, &self.pull)
    }

    /// The Hessian of S times a direction.
    pub fn hessian_times(&self, direction: &MsrVector) -> MsrVector {
        let (jet, n) = (&self.jet, self.field.len());
        let i = Complex64::i();
        let step = |k: usize| match k {
            0 => Complex64::ZERO,
            k => direction.path[k - 1],
        };
        let moved = DVector::from_fn(n, |k, _| self.field[k] * step(k));
        let pulled = jet.value.map(Complex64::from) * &direction.field
            + jet.slope.map(Complex64::from) * moved;
        let mut out = MsrVector::zeros(n);
        for k in 0..n {
            let (p, dp, dx) = (self.field[k], direction.field[k], step(k));
            out.field[k] = -i * (direction.path[k] - jet.growth[k] * dx)
                + dx * self.along(&jet.slope, k)
                + real_dot(&jet.value, k, &pulled);
            let back = i * (dp * jet.growth[k] + p * jet.curvature[k] * dx)
                + dp * self.along(&jet.slope, k)
                + p * dx * self.along(&jet.second, k)
                + p * real_dot(&jet.slope, k, &pulled);
            add(&mut out.path, k, back, -i * dp);
        }
        out
    }
}

impl MsrVector {
    pub fn zeros(steps: usize) -> Self {
        Self {
            path: DVector::zeros(steps),
            field: DVector::zeros(steps),
        }
    }
}

fn real_dot(columns: &nalgebra::DMatrix<f64>, k: usize, v: &DVector<Complex64>) -> Complex64 {
    columns.column(k).iter().zip(v).map(|(a, b)| b * *a).sum()
}
