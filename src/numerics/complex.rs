//! Complex matrices, and complex values at nodes as pairs of real ones.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::lu::partial_pivoting;
use faer::{Conj, MatMut, MatRef, Par};
use nalgebra::DMatrix;
use num_complex::Complex64;

use super::linalg::{self, LinalgError};

pub type ComplexMatrix = DMatrix<Complex64>;

/// The product, by the real parts' products; of a few columns directly, which reads the left factor once.
pub fn product(a: &ComplexMatrix, b: &ComplexMatrix) -> ComplexMatrix {
    const FEW: usize = 4;
    if b.ncols() <= FEW {
        return a * b;
    }
    let [ar, ai] = [a.map(|v| v.re), a.map(|v| v.im)];
    let [br, bi] = [b.map(|v| v.re), b.map(|v| v.im)];
    let of =
        |a: &DMatrix<f64>, b: &DMatrix<f64>| linalg::multiply(linalg::view(a), linalg::view(b));
    zip(
        &(of(&ar, &br) - of(&ai, &bi)),
        &(of(&ar, &bi) + of(&ai, &br)),
    )
}

/// (A + i B)^-1 of a symmetric matrix whose imaginary part B is positive definite, as the ridge's half plane makes it:
/// B^-1 A X - i X with X = (B + A B^-1 A)^-1. Rows and columns are scaled first: in the modes the matrix is nearly diagonal, and
/// its eigenvalues span many decades.
pub fn inverse(matrix: &ComplexMatrix) -> Result<ComplexMatrix, LinalgError> {
    let n = matrix.nrows();
    let scale = balance(matrix);
    let scaled = |m: &DMatrix<f64>| DMatrix::from_fn(n, n, |i, j| m[(i, j)] * scale[i] * scale[j]);
    let (a, b) = (scaled(&matrix.map(|v| v.re)), scaled(&matrix.map(|v| v.im)));
    let of =
        |a: &DMatrix<f64>, b: &DMatrix<f64>| linalg::multiply(linalg::view(a), linalg::view(b));
    let ratio = of(&linalg::inverse(b.clone())?, &a);
    let mut sum = b + of(&a, &ratio);
    linalg::symmetrise(&mut sum);
    let x = linalg::inverse(sum)?;
    Ok(zip(&scaled(&of(&ratio, &x)), &scaled(&-x)))
}

/// Solves `matrix x = rhs` in place by elimination with row exchanges, for a symmetric matrix balanced as in [`inverse`].
pub fn solve(mut matrix: ComplexMatrix, rhs: &mut ComplexMatrix) {
    let (n, columns) = (matrix.nrows(), rhs.ncols());
    let scale = balance(&matrix);
    for (mut column, s) in matrix.column_iter_mut().zip(&scale) {
        for (v, r) in column.iter_mut().zip(&scale) {
            *v *= s * r;
        }
    }
    scale_rows(rhs, &scale);
    let (mut order, mut inverse_order) = (vec![0_usize; n], vec![0_usize; n]);
    let parameters = faer::prelude::default();
    let need = partial_pivoting::factor::lu_in_place_scratch::<usize, Complex64>(
        n,
        n,
        Par::Seq,
        parameters,
    );
    let (_, exchange) = partial_pivoting::factor::lu_in_place(
        MatMut::from_column_major_slice_mut(matrix.as_mut_slice(), n, n),
        &mut order,
        &mut inverse_order,
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(need)),
        parameters,
    );
    let factors = MatRef::from_column_major_slice(matrix.as_slice(), n, n);
    let need =
        partial_pivoting::solve::solve_in_place_scratch::<usize, Complex64>(n, columns, Par::Seq);
    partial_pivoting::solve::solve_in_place_with_conj(
        factors,
        factors,
        exchange,
        Conj::No,
        MatMut::from_column_major_slice_mut(rhs.as_mut_slice(), n, columns),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(need)),
    );
    scale_rows(rhs, &scale);
}

/// One over the roots of the diagonal's sizes.
fn balance(matrix: &ComplexMatrix) -> Vec<f64> {
    let diagonal = (0..matrix.nrows()).map(|k| matrix[(k, k)]);
    diagonal.map(|v| 1.0 / v.norm().sqrt()).collect()
}

fn scale_rows(matrix: &mut ComplexMatrix, scale: &[f64]) {
    for mut column in matrix.column_iter_mut() {
        for (v, s) in column.iter_mut().zip(scale) {
            *v *= *s;
        }
    }
}

pub fn zip(re: &DMatrix<f64>, im: &DMatrix<f64>) -> ComplexMatrix {
    re.zip_map(im, Complex64::new)
}

pub fn join(re: Vec<f64>, im: Vec<f64>) -> Vec<Complex64> {
    re.into_iter()
        .zip(im)
        .map(|(r, i)| Complex64::new(r, i))
        .collect()
}

pub fn split(values: &[Complex64]) -> (Vec<f64>, Vec<f64>) {
    values.iter().map(|v| (v.re, v.im)).unzip()
}

pub fn flat(values: &[Complex64]) -> Vec<f64> {
    values.iter().flat_map(|v| [v.re, v.im]).collect()
}

pub fn interleaved(values: &[f64]) -> Vec<Complex64> {
    values
        .chunks_exact(2)
        .map(|v| Complex64::new(v[0], v[1]))
        .collect()
}

pub fn largest_difference(a: &[Complex64], b: &[Complex64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).norm())
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::random::stream;
    use rand::RngExt;

    /// A symmetric matrix with a definite imaginary part, its diagonal over ten decades.
    fn example(n: usize) -> ComplexMatrix {
        let mut rng = stream(3, 0);
        let mut draw = || DMatrix::from_fn(n, n, |_, _| rng.random::<f64>() - 0.5);
        let (a, b) = (draw(), draw());
        let scale = |k: usize| 10_f64.powf(-10.0 * k as f64 / n as f64);
        let entry = |i: usize, j: usize| {
            let definite = b.column(i).dot(&b.column(j)) + f64::from(u8::from(i == j));
            Complex64::new(a[(i, j)] + a[(j, i)], definite) * scale(i) * scale(j)
        };
        DMatrix::from_fn(n, n, entry)
    }

    #[test]
    fn solutions_are_those_of_the_inverse() {
        for n in [1, 7, 60] {
            let matrix = example(n);
            let mut rhs = DMatrix::from_fn(n, 3, |i, j| {
                matrix.column((i * j) % n).iter().sum::<Complex64>() * (1.0 + i as f64)
            });
            let given = rhs.clone();
            let expected = product(&inverse(&matrix).unwrap(), &rhs);
            solve(matrix.clone(), &mut rhs);
            let scale = balance(&matrix);
            for j in 0..3 {
                let size = (0..n).map(|i| (expected[(i, j)] / scale[i]).norm());
                let size = size.fold(0.0, f64::max);
                for i in 0..n {
                    let off = ((rhs[(i, j)] - expected[(i, j)]) / scale[i]).norm();
                    assert!(off <= 1e-10 * size, "{n}: {i}, {j}: {off} of {size}");
                }
                // Backward error, row by row: the rows span decades.
                for i in 0..n {
                    let terms = (0..n).map(|k| matrix[(i, k)] * rhs[(k, j)]);
                    let size: f64 = terms.clone().map(|v| v.norm()).sum();
                    let residual = (terms.sum::<Complex64>() - given[(i, j)]).norm();
                    assert!(
                        residual <= 1e-12 * size,
                        "{n}: {i}, {j}: {residual} of {size}"
                    );
                }
            }
        }
    }
}
