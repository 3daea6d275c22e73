//! The assignment problem: rows to columns, one to one, at the least total cost.

use nalgebra::DMatrix;

/// The column of every row in an assignment of least total cost, K x K, by shortest augmenting paths in O(K^3) (the Hungarian
/// method with potentials, Jonker & Volgenant 1987). Costs must be finite.
pub fn assign(cost: &DMatrix<f64>) -> Vec<usize> {
    let size = cost.nrows().min(cost.ncols());
    let mut search = Search {
        cost,
        size,
        row_price: vec![0.0; size],
        column_price: vec![0.0; size + 1],
        // Column `size` is a place outside, from which every path starts.
        row_of: vec![None; size + 1],
    };
    for row in 0..size {
        search.insert(row);
    }
    let mut columns = vec![0; size];
    for (column, row) in search.row_of[..size].iter().enumerate() {
        if let Some(row) = row {
            columns[*row] = column;
        }
    }
    columns
}

struct Search<'a> {
    cost: &'a DMatrix<f64>,
    size: usize,
    row_price: Vec<f64>,
    column_price: Vec<f64>,
    row_of: Vec<Option<usize>>,
}

impl Search<'_> {
    /// Gives one more row a column, moving others where that is cheaper.
    fn insert(&mut self, row: usize) {
        let outside = self.size;
        self.row_of[outside] = Some(row);
        let mut slack = vec![f64::INFINITY; self.size];
        let mut previous = vec![outside; self.size];
        let mut seen = vec![false; self.size + 1];
        let mut column = outside;
        while let Some(row) = self.row_of[column] {
            seen[column] = true;
            let (mut next, mut least) = (column, f64::INFINITY);
            for j in (0..self.size).filter(|&j| !seen[j]) {
                let reduced = self.cost[(row, j)] - self.row_price[row] - self.column_price[j];
                if reduced < slack[j] {
                    (slack[j], previous[j]) = (reduced, column);
                }
                if slack[j] < least {
                    (least, next) = (slack[j], j);
                }
            }
            self.reprice(&seen, &mut slack, least);
            column = next;
        }
        // Back along the path: every column takes the row of the one before.
        while column != outside {
            let before = previous[column];
            self.row_of[column] = self.row_of[before];
            column = before;
        }
        self.row_of[outside] = None;
    }

    fn reprice(&mut self, seen: &[bool], slack: &mut [f64], least: f64) {
        for (j, seen) in seen.iter().enumerate() {
            match self.row_of[j] {
                Some(row) if *seen => {
                    self.row_price[row] += least;
                    self.column_price[j] -= least;
                }
                _ if j < self.size => slack[j] -= least,
                _ => {}
            }
        }
    }
}
