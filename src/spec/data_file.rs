//! Data from files: `.csv` with a header line, `.npy` of one or two axes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nalgebra::{DMatrix, SymmetricEigen};
use npyz::{DType, NpyFile, Order, TypeChar};

use super::error::{Fault, shorten};
use super::fields::{allowed_for, refuse};
use super::memory::available_bytes;
use super::path::FieldPath;
use super::raw::Column;
use crate::numerics::hash::fnv1a;

/// What to read and how to prepare it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileRequest<'a> {
    pub path: &'a str,
    /// Directory of the spec file.
    pub base_dir: &'a Path,
    pub columns: Option<&'a [Column]>,
    pub standardize: bool,
    pub pca: Option<u64>,
    pub scale: f64,
    pub max_rows: Option<u64>,
    /// Checksum that the file must have.
    pub checksum: Option<&'a str>,
}

/// The distinct rows of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FileData {
    /// M x D, in the order of first appearance.
    pub points: Vec<Vec<f64>>,
    /// Share of the file's rows that each point stands for.
    pub weights: Vec<f64>,
    /// FNV-1a of the whole file.
    pub checksum: String,
}

/// Reads the file and prepares its rows: columns, standardisation, projection, scale, merging; in this order.
pub(super) fn load(request: FileRequest<'_>) -> Result<FileData, Fault> {
    let bytes = read(request.path, request.base_dir)?;
    let checksum = format!("{:016x}", fnv1a(&bytes));
    if let Some(expected) = request.checksum
        && expected != checksum
    {
        return Err(Fault::value(field("checksum")).allowed(format!(
            "{checksum}, the checksum of {} as it is now; the file has changed since the spec was resolved",
            request.path
        )));
    }
    let mut table = match ending(request.path).as_str() {
        "csv" => read_csv(&bytes, &request)?,
        "npy" => read_npy(&bytes, &request)?,
        _ => return Err(refuse(field("path"))),
    };
    if table.rows.is_empty() {
        return Err(Fault::at(field("path"), "no rows")
            .allowed("at least one row")
            .in_data(request.path, None, None));
    }
    if request.standardize {
        table.standardize(request.path)?;
    }
    if let Some(k) = request.pca {
        table.project(k)?;
    }
    if request.scale != 1.0 {
        for coordinate in table.rows.iter_mut().flatten() {
            *coordinate *= request.scale;
        }
        if table.rows.iter().flatten().any(|v| !v.is_finite()) {
            return Err(
                Fault::value(field("scale")).allowed("a number that leaves all values finite")
            );
        }
    }
    let (points, weights) = merge(table.rows);
    Ok(FileData {
        points,
        weights,
        checksum,
    })
}

fn field(key: &str) -> FieldPath {
    FieldPath::of("data").key(key)
}

fn ending(path: &str) -> String {
    let ending = Path::new(path).extension().unwrap_or_default();
    ending.to_string_lossy().to_lowercase()
}

/// Relative paths start at the spec file's directory, or else at the current directory.
fn locate(path: &str, base_dir: &Path) -> PathBuf {
    let beside = base_dir.join(path);
    if beside.exists() {
        beside
    } else {
        PathBuf::from(path)
    }
}

fn read(path: &str, base_dir: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |e: std::io::Error| {
        Fault::at(field("path"), format!("{path:?}: {e}")).allowed(
            "a .csv or .npy file that can be read; relative paths start at the spec file's directory or at the current one",
        )
    };
    let file = locate(path, base_dir);
    let size = std::fs::metadata(&file).map_err(unreadable)?.len();
    let limit = available_bytes() / 4;
    if size > limit {
        return Err(
            Fault::at(field("path"), format!("a file of {size} bytes")).allowed(format!(
                "at most {limit} bytes, a quarter of the available memory"
            )),
        );
    }
    std::fs::read(&file).map_err(unreadable)
}

/// Rows of finite numbers, all of one length >= 1.
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

fn read_csv(bytes: &[u8], request: &FileRequest<'_>) -> Result<Table, Fault> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let header = reader
        .headers()
        .map_err(|e| csv_fault(&e, bytes, request.path))?
        .clone();
    check_header(&header, request.path)?;
    let names: Vec<String> = header.iter().map(str::to_owned).collect();
    let chosen = choose(request.columns, &names, true)?;

    let mut rows = Vec::new();
    let limit = request.max_rows.unwrap_or(u64::MAX);
    for record in reader.records() {
        if rows.len() as u64 >= limit {
            break;
        }
        let record = record.map_err(|e| csv_fault(&e, bytes, request.path))?;
        let row = csv_row(&record, &names, &chosen).map_err(|(column, fault)| {
            fault.in_data(request.path, line_of(record.position(), bytes), column)
        })?;
        rows.push(row);
    }
    Ok(Table {
        names: chosen.iter().map(|i| names[*i].clone()).collect(),
        rows,
    })
}

fn csv_fault(error: &csv::Error, bytes: &[u8], file: &str) -> Fault {
    let found = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "text that is not UTF-8".to_owned(),
        _ => shorten(&error.to_string()),
    };
    Fault::at(field("path"), found)
        .allowed("comma-separated values in UTF-8")
        .in_data(file, line_of(error.position(), bytes), None)
}

/// The line of a record: the reader's position lies before the blank lines that it skips.
fn line_of(position: Option<&csv::Position>, bytes: &[u8]) -> Option<usize> {
    let start = usize::try_from(position?.byte()).ok()?;
    let blank = bytes.get(start..)?.iter();
    let blank = blank.take_while(|b| matches!(b, b'\n' | b'\r')).count();
    let before = bytes.get(..start + blank)?;
    Some(1 + before.iter().filter(|b| **b == b'\n').count())
}

/// A header of numbers is a row of data that would be lost.
fn check_header(header: &csv::StringRecord, file: &str) -> Result<(), Fault> {
    let found = if header.is_empty() {
        "an empty file".to_owned()
    } else if header.iter().all(|cell| cell.parse::<f64>().is_ok()) {
        format!(
            "numbers only: {}",
            header.iter().collect::<Vec<_>>().join(",")
        )
    } else {
        return Ok(());
    };
    Err(Fault::at(field("path"), shorten(&found))
        .allowed("a header line with the names of the columns")
        .in_data(file, Some(1), None))
}

/// The chosen cells of a record; an error comes with the column it lies in.
fn csv_row(
    record: &csv::StringRecord,
    names: &[String],
    chosen: &[usize],
) -> Result<Vec<f64>, (Option<String>, Fault)> {
    if record.len() != names.len() {
        let fault = Fault::at(field("path"), format!("a row of length {}", record.len()))
            .allowed(format!("length {}, as the header", names.len()));
        return Err((None, fault));
    }
    let parse = |&i: &usize| {
        let cell = record.get(i).unwrap_or_default();
        let value = cell.parse().ok().filter(|v: &f64| v.is_finite());
        value.ok_or_else(|| {
            let found = match cell {
                "" => "an empty cell".to_owned(),
                text => shorten(&format!("{text:?}")),
            };
            let allowed = "a finite number; data.columns picks the columns that are used";
            let fault = Fault::at(field("path"), found).allowed(allowed);
            (Some(format!("{:?}", names[i])), fault)
        })
    };
    chosen.iter().map(parse).collect()
}

/// Indices of the wanted columns.
fn choose(columns: Option<&[Column]>, names: &[String], named: bool) -> Result<Vec<usize>, Fault> {
    let Some(columns) = columns else {
        return Ok((0..names.len()).collect());
    };
    if columns.is_empty() {
        return Err(refuse(field("columns")));
    }
    let mut chosen = Vec::with_capacity(columns.len());
    for (i, column) in columns.iter().enumerate() {
        let refused = |allowed: String| Fault::value(field("columns").index(i)).allowed(allowed);
        let index = match column {
            Column::Number(n) if *n < names.len() => *n,
            Column::Number(_) => return Err(refused(number_range(names.len()))),
            Column::Name(_) if !named => return Err(refused(number_range(names.len()))),
            Column::Name(name) => {
                let mut matching = (0..names.len()).filter(|j| names[*j] == *name);
                match (matching.next(), matching.next()) {
                    (Some(only), None) => only,
                    (Some(_), Some(_)) => {
                        return Err(refused(
                            "a name that the header has once; or the column's number".to_owned(),
                        ));
                    }
                    (None, _) => {
                        return Err(refused(shorten(&format!("one of {}", names.join(", ")))));
                    }
                }
            }
        };
        if chosen.contains(&index) {
            return Err(refused("a column that is not listed before".to_owned()));
        }
        chosen.push(index);
    }
    Ok(chosen)
}

fn number_range(columns: usize) -> String {
    match columns {
        1 => "0, the number of the only column".to_owned(),
        n => format!("a column number from 0 to {}", n.saturating_sub(1)),
    }
}

fn read_npy(bytes: &[u8], request: &FileRequest<'_>) -> Result<Table, Fault> {
    let array = NpyArray::read(bytes).map_err(|(found, allowed)| {
        Fault::at(field("path"), found)
            .allowed(allowed)
            .in_data(request.path, None, None)
    })?;
    let names: Vec<String> = (0..array.columns).map(|c| c.to_string()).collect();
    let chosen = choose(request.columns, &names, false)?;
    let limit = request
        .max_rows
        .map_or(usize::MAX, |m| usize::try_from(m).unwrap_or(usize::MAX));
    let cell = |r: usize, c: usize| {
        let value = array.get(r, c);
        if value.is_finite() {
            return Ok(value);
        }
        Err(Fault::at(field("path"), value.to_string())
            .allowed("a finite number")
            .in_data(request.path, Some(r), Some(c.to_string())))
    };
    let rows = (0..array.rows.min(limit))
        .map(|r| chosen.iter().map(|c| cell(r, *c)).collect())
        .collect::<Result<_, _>>()?;
    Ok(Table {
        names: chosen.iter().map(|c| names[*c].clone()).collect(),
        rows,
    })
}

/// A `.npy` file as a matrix; one axis is one column.
struct NpyArray {
    rows: usize,
    columns: usize,
    order: Order,
    values: Vec<f64>,
}

impl NpyArray {
    /// An error is a pair: what was found, what is allowed.
    fn read(bytes: &[u8]) -> Result<Self, (String, &'static str)> {
        if !shape_fits(bytes) {
            return Err(("no valid .npy header".to_owned(), "a .npy file"));
        }
        let npy = NpyFile::new(bytes).map_err(|e| (shorten(&e.to_string()), "a .npy file"))?;
        let (rows, columns) = match *npy.shape() {
            [rows] if rows > 0 => (rows, 1),
            [rows, columns] if rows > 0 && columns > 0 => (rows, columns),
            ref shape => {
                let allowed = "1 axis (N values) or 2 axes (N x D values), none of length 0";
                return Err((format!("an array of shape {shape:?}"), allowed));
            }
        };
        let order = npy.order();
        let kind = npy.dtype().descr();
        let values = npy_values(npy).ok_or_else(|| {
            let allowed = "real numbers: f4, f8, i1 to i8, u1 to u8";
            (format!("values of type {kind}"), allowed)
        })?;
        let values = values.map_err(|e| {
            let found = match e.kind() {
                std::io::ErrorKind::UnexpectedEof => "a file that ends too early".to_owned(),
                _ => shorten(&e.to_string()),
            };
            (found, "as many values as the header announces")
        })?;
        Ok(Self {
            // As many values were read, so that both fit.
            rows: rows as usize,
            columns: columns as usize,
            order,
            values,
        })
    }

    fn get(&self, row: usize, column: usize) -> f64 {
        let at = match self.order {
            Order::C => row * self.columns + column,
            Order::Fortran => column * self.rows + row,
        };
        self.values[at]
    }
}

/// Does the header lie inside the file, and can the sizes in it be multiplied? Looked at before the header is
/// interpreted, because its reader allocates and multiplies what it is told to.
fn shape_fits(bytes: &[u8]) -> bool {
    let header = match bytes {
        [_, _, _, _, _, _, 1, _, a, b, rest @ ..] => {
            rest.get(..usize::from(u16::from_le_bytes([*a, *b])))
        }
        [_, _, _, _, _, _, _, _, a, b, c, d, rest @ ..] => {
            rest.get(..u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        _ => None,
    };
    let Some(header) = header else {
        return false;
    };
    header
        .split(|b| !b.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok())
        .try_fold(1_u64, |product, n| {
            product.checked_mul(u64::from(n?).max(1))
        })
        .is_some()
}

/// All values in the file's order; `None` for a type that is not a real number.
fn npy_values(npy: NpyFile<&[u8]>) -> Option<std::io::Result<Vec<f64>>> {
    let DType::Plain(kind) = npy.dtype() else {
        return None;
    };
    macro_rules! read_as {
        ($kind:ty) => {
            npy.into_vec::<$kind>()
                .map(|v| v.into_iter().map(|x| x as f64).collect())
        };
    }
    Some(match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 8) => npy.into_vec::<f64>(),
        (TypeChar::Float, 4) => read_as!(f32),
        (TypeChar::Int, 1) => read_as!(i8),
        (TypeChar::Int, 2) => read_as!(i16),
        (TypeChar::Int, 4) => read_as!(i32),
        (TypeChar::Int, 8) => read_as!(i64),
        (TypeChar::Uint, 1) => read_as!(u8),
        (TypeChar::Uint, 2) => read_as!(u16),
        (TypeChar::Uint, 4) => read_as!(u32),
        (TypeChar::Uint, 8) => read_as!(u64),
        _ => return None,
    })
}

impl Table {
    fn columns(&self) -> usize {
        self.names.len()
    }

    fn means(&self) -> Vec<f64> {
        let n = self.rows.len() as f64;
        (0..self.columns())
            .map(|c| self.rows.iter().map(|r| r[c] / n).sum())
            .collect()
    }

    /// Subtracts the mean of each column and divides by its population standard deviation.
    fn standardize(&mut self, file: &str) -> Result<(), Fault> {
        let n = self.rows.len() as f64;
        for (c, mean) in self.means().into_iter().enumerate() {
            let squares = self.rows.iter().map(|r| (r[c] - mean).powi(2));
            let std = (squares.sum::<f64>() / n).sqrt();
            if !(std.is_finite() && std > 0.0) {
                return Err(Fault::at(
                    field("standardize"),
                    format!("a standard deviation of {std:?}"),
                )
                .allowed("columns with a finite standard deviation > 0")
                .in_data(file, None, Some(format!("{:?}", self.names[c]))));
            }
            for row in &mut self.rows {
                row[c] = (row[c] - mean) / std;
            }
        }
        Ok(())
    }

    /// Replaces the columns by the leading `k` principal components.
    fn project(&mut self, k: u64) -> Result<(), Fault> {
        let d = self.columns();
        let k = usize::try_from(k).unwrap_or(usize::MAX);
        if k == 0 || k > d {
            let allowed = allowed_for(&field("pca")).unwrap_or_default();
            return Err(Fault::value(field("pca")).allowed(format!("{allowed}, here {d}")));
        }
        let means = self.means();
        let n = self.rows.len();
        let centred = DMatrix::from_fn(n, d, |r, c| self.rows[r][c] - means[c]);
        let covariance = centred.tr_mul(&centred) / n as f64;
        let failed = || {
            Fault::value(field("pca"))
                .allowed("columns whose covariance matrix is finite and can be diagonalised")
        };
        if !covariance.iter().all(|v| v.is_finite()) {
            return Err(failed());
        }
        let eigen =
            SymmetricEigen::try_new(covariance, f64::EPSILON, 1000 * d).ok_or_else(failed)?;
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
        let mut axes = DMatrix::zeros(d, k);
        for (to, from) in order.into_iter().take(k).enumerate() {
            let axis = eigen.eigenvectors.column(from);
            // An eigenvector's sign is arbitrary: fix it, so that the projection is one and the same everywhere.
            axes.set_column(to, &(axis * axis[axis.iamax()].signum()));
        }
        let projected = centred * axes;
        for (r, row) in self.rows.iter_mut().enumerate() {
            *row = projected.row(r).iter().copied().collect();
        }
        Ok(())
    }
}

/// Merges rows that are exactly equal.
fn merge(rows: Vec<Vec<f64>>) -> (Vec<Vec<f64>>, Vec<f64>) {
    let total = rows.len() as f64;
    let mut places: HashMap<Vec<u64>, usize> = HashMap::with_capacity(rows.len());
    let mut points: Vec<Vec<f64>> = Vec::new();
    let mut counts: Vec<u64> = Vec::new();
    for row in rows {
        // Adding 0 turns -0 into 0: they are equal numbers.
        let bits = row.iter().map(|v| (v + 0.0).to_bits()).collect();
        let place = *places.entry(bits).or_insert(points.len());
        if place == points.len() {
            points.push(row);
            counts.push(0);
        }
        counts[place] += 1;
    }
    let weights = counts.iter().map(|c| *c as f64 / total).collect();
    (points, weights)
}
