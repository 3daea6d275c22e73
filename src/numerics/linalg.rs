//! Dense factorisations: faer's kernels on nalgebra's storage, always sequential, because faer's results depend
//! on the number of threads in their last bits and ours must not.

use std::ops::Range;

use faer::diag::{DiagMut, DiagRef};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::{lblt, llt, llt_pivoting};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::perm::PermRef;
use faer::{Accum, MatMut, MatRef, Par};
use nalgebra::{DMatrix, DVector};
use thiserror::Error;

/// A factorisation that does not exist.
#[derive(Debug, Error, Clone, Copy, PartialEq)]
pub enum LinalgError {
    #[error("the {size} x {size} matrix is not positive definite (pivot {pivot})")]
    NotPositiveDefinite { size: usize, pivot: usize },
    #[error("the eigenvalue iteration did not converge for a {size} x {size} matrix")]
    Eigen { size: usize },
    #[error("the singular values of a {rows} x {columns} matrix did not converge")]
    Singular { rows: usize, columns: usize },
}

/// faer's view of a matrix.
pub fn view(m: &DMatrix<f64>) -> MatRef<'_, f64> {
    MatRef::from_column_major_slice(m.as_slice(), m.nrows(), m.ncols())
}

/// faer's mutable view of a matrix.
pub fn view_mut(m: &mut DMatrix<f64>) -> MatMut<'_, f64> {
    let (rows, cols) = m.shape();
    MatMut::from_column_major_slice_mut(m.as_mut_slice(), rows, cols)
}

/// Lower triangle of `scale * rows^T rows` into `gram`: F x F from P x F.
pub fn gram_lower(rows: MatRef<'_, f64>, scale: f64, gram: MatMut<'_, f64>) {
    triangular::matmul(
        gram,
        BlockStructure::TriangularLower,
        Accum::Replace,
        rows.transpose(),
        BlockStructure::Rectangular,
        rows,
        BlockStructure::Rectangular,
        scale,
        Par::Seq,
    );
}

/// Adds the lower triangle of `scale * lhs * rhs`.
pub fn add_product_lower(
    lhs: MatRef<'_, f64>,
    rhs: MatRef<'_, f64>,
    scale: f64,
    out: MatMut<'_, f64>,
) {
    triangular::matmul(
        out,
        BlockStructure::TriangularLower,
        Accum::Add,
        lhs,
        BlockStructure::Rectangular,
        rhs,
        BlockStructure::Rectangular,
        scale,
        Par::Seq,
    );
}

/// Adds `lhs * rhs`.
pub fn add_product(lhs: MatRef<'_, f64>, rhs: MatRef<'_, f64>, out: MatMut<'_, f64>) {
    faer::linalg::matmul::matmul(out, Accum::Add, lhs, rhs, 1.0, Par::Seq);
}

/// Columns of products of factors, the last factor fastest: the factors, of these sizes, stand one after another in the columns of
/// `factors` from row `first` on.
pub fn khatri_rao(
    factors: &DMatrix<f64>,
    first: usize,
    sizes: &[usize],
    columns: Range<usize>,
) -> DMatrix<f64> {
    let mut out = DMatrix::zeros(sizes.iter().product(), columns.len());
    for (p, mut column) in columns.zip(out.column_iter_mut()) {
        let mut rest = &factors.column(p).data.into_slice()[first..];
        let column = column.as_mut_slice();
        column[0] = 1.0;
        let mut length = 1;
        for &size in sizes {
            let (own, others) = rest.split_at(size);
            spread(column, length, own);
            rest = others;
            length *= size;
        }
    }
    out
}

/// Replaces the first `length` numbers of `all` by their products with `factor`, the latter fastest. Backwards, so that no
/// product lands on a number still to be read.
fn spread(all: &mut [f64], length: usize, factor: &[f64]) {
    for i in (0..length).rev() {
        let value = all[i];
        let products = &mut all[i * factor.len()..(i + 1) * factor.len()];
        for (product, f) in products.iter_mut().zip(factor) {
            *product = value * f;
        }
    }
}

/// `lhs * rhs`.
pub fn multiply(lhs: MatRef<'_, f64>, rhs: MatRef<'_, f64>) -> DMatrix<f64> {
    let mut out = DMatrix::zeros(lhs.nrows(), rhs.ncols());
    faer::linalg::matmul::matmul(view_mut(&mut out), Accum::Replace, lhs, rhs, 1.0, Par::Seq);
    out
}

/// `a * b * c`, from the left.
pub fn multiply_three(a: MatRef<'_, f64>, b: MatRef<'_, f64>, c: MatRef<'_, f64>) -> DMatrix<f64> {
    multiply(view(&multiply(a, b)), c)
}

/// Scratch of a Cholesky factorisation.
pub struct CholeskyScratch(MemBuffer);

impl CholeskyScratch {
    /// For matrices up to `size` x `size`.
    pub fn new(size: usize) -> Self {
        let need =
            llt::factor::cholesky_in_place_scratch::<f64>(size, Par::Seq, faer::prelude::default());
        Self(MemBuffer::new(need))
    }
}

/// Overwrites the lower triangle with its Cholesky factor.
pub fn cholesky(matrix: MatMut<'_, f64>, scratch: &mut CholeskyScratch) -> Result<(), LinalgError> {
    let size = matrix.nrows();
    llt::factor::cholesky_in_place(
        matrix,
        faer::prelude::default(),
        Par::Seq,
        MemStack::new(&mut scratch.0),
        faer::prelude::default(),
    )
    .map(|_| ())
    .map_err(|e| {
        let llt::factor::LltError::NonPositivePivot { index } = e;
        LinalgError::NotPositiveDefinite { size, pivot: index }
    })
}

/// L with L L^T = matrix, for a symmetric matrix that is positive semi-definite to rounding: its Cholesky factor with the
/// least raise of the diagonal, relative to each element of it, that makes one exist (at most 1e-9), else its
/// eigenvectors times the roots of what is positive of its eigenvalues.
pub fn semidefinite_factor(matrix: &DMatrix<f64>) -> Result<DMatrix<f64>, LinalgError> {
    let size = matrix.nrows();
    let scale = matrix.diagonal().map(|v| v.max(0.0).sqrt());
    let inverse = scale.map(|s| if s > 0.0 { 1.0 / s } else { 0.0 });
    for raise in [1e-13, 1e-12, 1e-11, 1e-10, 1e-9] {
        // Rows of no variance become those of the identity, and zero again below.
        let mut factor = DMatrix::from_fn(size, size, |i, j| match i == j {
            true => 1.0 + raise,
            false => matrix[(i, j)] * inverse[i] * inverse[j],
        });
        if cholesky(view_mut(&mut factor), &mut CholeskyScratch::new(size)).is_ok() {
            factor.fill_upper_triangle(0.0, 1);
            for mut column in factor.column_iter_mut() {
                column.component_mul_assign(&scale);
            }
            return Ok(factor);
        }
    }
    eigen_factor(matrix)
}

/// L, n x rank, with L L^T = matrix to rounding, by Cholesky with pivots: for a positive semi-definite matrix of low rank. Of any
/// other it is the factor of some part, which the caller must compare with the whole.
pub fn pivoted_factor(matrix: &DMatrix<f64>) -> Result<DMatrix<f64>, LinalgError> {
    let size = matrix.nrows();
    let mut work = matrix.clone();
    let (mut forward, mut backward) = (vec![0_usize; size], vec![0_usize; size]);
    let need = llt_pivoting::factor::cholesky_in_place_scratch::<usize, f64>(
        size,
        Par::Seq,
        faer::prelude::default(),
    );
    let (info, permutation) = llt_pivoting::factor::cholesky_in_place(
        view_mut(&mut work),
        &mut forward,
        &mut backward,
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(need)),
        faer::prelude::default(),
    )
    .map_err(|e| {
        let llt::factor::LltError::NonPositivePivot { index } = e;
        LinalgError::NotPositiveDefinite { size, pivot: index }
    })?;
    let (order, _) = permutation.arrays();
    let mut factor = DMatrix::zeros(size, info.rank);
    for (row, &original) in order.iter().enumerate() {
        for column in 0..info.rank.min(row + 1) {
            factor[(original, column)] = work[(row, column)];
        }
    }
    Ok(factor)
}

/// L with L L^T = the positive part of a symmetric matrix: its eigenvectors times the roots of its eigenvalues.
pub fn eigen_factor(matrix: &DMatrix<f64>) -> Result<DMatrix<f64>, LinalgError> {
    let (values, mut vectors) = symmetric_eigen(matrix)?;
    for (mut column, v) in vectors.column_iter_mut().zip(&values) {
        column *= v.max(0.0).sqrt();
    }
    Ok(vectors)
}

/// Solves `L L^T x = rhs` in place.
pub fn cholesky_solve(factor: MatRef<'_, f64>, rhs: MatMut<'_, f64>) {
    llt::solve::solve_in_place(
        factor,
        rhs,
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(faer::dyn_stack::StackReq::EMPTY)),
    );
}

/// Inverse of a symmetric positive definite matrix (lower triangle given), symmetric to the last bit.
pub fn inverse(matrix: DMatrix<f64>) -> Result<DMatrix<f64>, LinalgError> {
    Ok(inverse_with_log_det(matrix)?.0)
}

/// The same with the logarithm of the determinant of the matrix.
pub fn inverse_with_log_det(mut matrix: DMatrix<f64>) -> Result<(DMatrix<f64>, f64), LinalgError> {
    let size = matrix.nrows();
    cholesky(view_mut(&mut matrix), &mut CholeskyScratch::new(size))?;
    let log_det = 2.0 * matrix.diagonal().map(f64::ln).sum();
    let mut inverse = DMatrix::identity(size, size);
    cholesky_solve(view(&matrix), view_mut(&mut inverse));
    symmetrise(&mut inverse);
    Ok((inverse, log_det))
}

/// Lower triangle of `matrix + scale (left right^T + right left^T)`.
pub fn rank_two_lower(
    matrix: MatMut<'_, f64>,
    left: MatRef<'_, f64>,
    right: MatRef<'_, f64>,
    scale: f64,
) {
    let mut matrix = matrix;
    for (l, r) in [(left, right), (right, left)] {
        add_product_lower(l, r.transpose(), scale, matrix.as_mut());
    }
}

/// Factorisation of a symmetric, possibly indefinite matrix: Cholesky where it is positive definite, which is the cheaper
/// by three, else Bunch-Kaufman.
pub enum SymmetricFactor {
    Definite(DMatrix<f64>),
    Indefinite(BunchKaufman),
}

/// P A P^T = L B L^T with B of 1 x 1 and 2 x 2 blocks.
pub struct BunchKaufman {
    /// L, with the diagonal of B on its own.
    matrix: DMatrix<f64>,
    /// The diagonal of B below the main one.
    below: Vec<f64>,
    order: Vec<usize>,
    inverse_order: Vec<usize>,
}

impl SymmetricFactor {
    /// Factors a matrix of which the lower triangle is given.
    pub fn new(matrix: DMatrix<f64>) -> Self {
        let mut factor = matrix.clone();
        let mut scratch = CholeskyScratch::new(matrix.nrows());
        match cholesky(view_mut(&mut factor), &mut scratch) {
            Ok(()) => Self::Definite(factor),
            Err(_) => Self::Indefinite(BunchKaufman::new(matrix)),
        }
    }

    /// Solves A x = rhs in place.
    pub fn solve(&self, rhs: &mut DVector<f64>) {
        let size = rhs.len();
        let column = MatMut::from_column_major_slice_mut(rhs.as_mut_slice(), size, 1);
        match self {
            Self::Definite(factor) => cholesky_solve(view(factor), column),
            Self::Indefinite(factor) => factor.solve(column),
        }
    }

    /// Number of negative eigenvalues, and ln |det A|.
    pub fn inertia(&self) -> (usize, f64) {
        match self {
            Self::Definite(factor) => (0, 2.0 * factor.diagonal().map(f64::ln).sum()),
            Self::Indefinite(factor) => factor.inertia(),
        }
    }
}

impl BunchKaufman {
    fn new(mut matrix: DMatrix<f64>) -> Self {
        let size = matrix.nrows();
        let mut below = vec![0.0; size];
        let (mut order, mut inverse_order) = (vec![0usize; size], vec![0usize; size]);
        let need = lblt::factor::cholesky_in_place_scratch::<usize, f64>(
            size,
            Par::Seq,
            faer::prelude::default(),
        );
        lblt::factor::cholesky_in_place(
            view_mut(&mut matrix),
            DiagMut::from_slice_mut(&mut below),
            &mut order,
            &mut inverse_order,
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(need)),
            faer::prelude::default(),
        );
        Self {
            matrix,
            below,
            order,
            inverse_order,
        }
    }

    fn solve(&self, rhs: MatMut<'_, f64>) {
        let size = self.matrix.nrows();
        let diagonal: Vec<f64> = self.matrix.diagonal().iter().copied().collect();
        let need = lblt::solve::solve_in_place_scratch::<usize, f64>(size, 1, Par::Seq);
        lblt::solve::solve_in_place(
            view(&self.matrix),
            DiagRef::from_slice(&diagonal),
            DiagRef::from_slice(&self.below),
            PermRef::new_checked(&self.order, &self.inverse_order, size),
            rhs,
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(need)),
        );
    }

    fn inertia(&self) -> (usize, f64) {
        let size = self.matrix.nrows();
        let (mut negative, mut log_det, mut k) = (0, 0.0, 0);
        while k < size {
            let a = self.matrix[(k, k)];
            if self.below[k] != 0.0 && k + 1 < size {
                let det = a * self.matrix[(k + 1, k + 1)] - self.below[k] * self.below[k];
                negative += if det < 0.0 {
                    1
                } else {
                    2 * usize::from(a < 0.0)
                };
                log_det += det.abs().ln();
                k += 2;
            } else {
                negative += usize::from(a < 0.0);
                log_det += a.abs().ln();
                k += 1;
            }
        }
        (negative, log_det)
    }
}

/// Replaces a matrix by its symmetric part.
pub fn symmetrise(matrix: &mut DMatrix<f64>) {
    for j in 0..matrix.ncols() {
        for i in 0..j {
            let mean = 0.5 * (matrix[(i, j)] + matrix[(j, i)]);
            matrix[(i, j)] = mean;
            matrix[(j, i)] = mean;
        }
    }
}

/// Eigenvalues in increasing order and eigenvectors (columns) of a symmetric matrix.
pub fn symmetric_eigen(matrix: &DMatrix<f64>) -> Result<(Vec<f64>, DMatrix<f64>), LinalgError> {
    use faer::linalg::evd;
    let size = matrix.nrows();
    let mut values = vec![0.0; size];
    let mut vectors = DMatrix::zeros(size, size);
    let need = evd::self_adjoint_evd_scratch::<f64>(
        size,
        evd::ComputeEigenvectors::Yes,
        Par::Seq,
        faer::prelude::default(),
    );
    evd::self_adjoint_evd(
        view(matrix),
        DiagMut::from_slice_mut(&mut values),
        Some(view_mut(&mut vectors)),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(need)),
        faer::prelude::default(),
    )
    .map_err(|_| LinalgError::Eigen { size })?;
    Ok((values, vectors))
}

/// Q of the thin QR factorisation with R's diagonal not negative, rows x columns of a matrix of no more columns than rows: an
/// orthonormal basis of its columns' span, completed where they are dependent.
pub fn orthonormal(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    use faer::linalg::householder;
    use faer::linalg::qr::no_pivoting::factor;
    let (rows, columns) = matrix.shape();
    let mut work = matrix.clone();
    let block = factor::recommended_block_size::<f64>(rows, columns);
    let mut coefficients = DMatrix::zeros(block, columns);
    let parameters = faer::prelude::default();
    let need = factor::qr_in_place_scratch::<f64>(rows, columns, block, Par::Seq, parameters);
    factor::qr_in_place(
        view_mut(&mut work),
        view_mut(&mut coefficients),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(need)),
        parameters,
    );
    let mut q = DMatrix::identity(rows, columns);
    let need = householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(
        rows, block, columns,
    );
    householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
        view(&work),
        view(&coefficients),
        faer::Conj::No,
        view_mut(&mut q),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(need)),
    );
    for (k, mut column) in q.column_iter_mut().enumerate() {
        if work[(k, k)] < 0.0 {
            column.neg_mut();
        }
    }
    q
}

/// Singular values in decreasing order and right singular vectors (columns) of a matrix.
pub fn right_singular(matrix: &DMatrix<f64>) -> Result<(Vec<f64>, DMatrix<f64>), LinalgError> {
    use faer::linalg::svd::{self, ComputeSvdVectors};
    let (rows, columns) = matrix.shape();
    let size = rows.min(columns);
    let mut values = vec![0.0; size];
    let mut vectors = DMatrix::zeros(columns, size);
    let need = svd::svd_scratch::<f64>(
        rows,
        columns,
        ComputeSvdVectors::No,
        ComputeSvdVectors::Thin,
        Par::Seq,
        faer::prelude::default(),
    );
    svd::svd(
        view(matrix),
        DiagMut::from_slice_mut(&mut values),
        None,
        Some(view_mut(&mut vectors)),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(need)),
        faer::prelude::default(),
    )
    .map_err(|_| LinalgError::Singular { rows, columns })?;
    Ok((values, vectors))
}
