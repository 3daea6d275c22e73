//! The binned densities and the maps as plain columns, for any other program.

use std::io;
use std::path::{Path, PathBuf};

use super::atomic::write_atomic;
use super::format::{case_stem, part_stem};
use super::result::{CaseResult, DensityResult, MapResult, RunResult};

/// Writes one CSV per case beside its figures. Columns: low and high edge of the bin (of both axes in the plane), then the
/// mass of every density. On the line the first and last rows hold what lies outside, in the plane the last row.
pub fn write_densities(result: &RunResult, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut written = Vec::with_capacity(result.cases.len());
    for (index, case) in result.cases.iter().enumerate() {
        if case.densities.is_empty() {
            continue;
        }
        let path = folder.join(format!("{}.csv", case_stem(result, index)));
        write_atomic(&path, &columns(case)?)?;
        written.push(path);
    }
    Ok(written)
}

/// Writes one CSV per case that has maps. Columns: the pixel's centre along every coordinate, then one map per time.
pub fn write_maps(result: &RunResult, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (index, case) in result.cases.iter().enumerate() {
        let Some(first) = case.maps.first() else {
            continue;
        };
        let path = folder.join(format!("{}.csv", part_stem(result, index, "map")));
        write_atomic(&path, &map_columns(&first.axes, &case.maps)?)?;
        written.push(path);
    }
    Ok(written)
}

/// All maps of a case have the same pixels.
fn map_columns(axes: &[Vec<f64>], maps: &[MapResult]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let coordinates = (1..=axes.len()).map(|i| format!("x{i}"));
    let times = maps.iter().map(|map| format!("t={}", map.t));
    writer.write_record(coordinates.chain(times))?;
    let pixels: usize = axes.iter().map(Vec::len).product();
    for pixel in 0..pixels {
        let mut left = pixel;
        let mut centre: Vec<f64> = (axes.iter().rev())
            .map(|axis| {
                let index = left % axis.len();
                left /= axis.len();
                axis[index]
            })
            .collect();
        centre.reverse();
        let values = maps.iter().map(|map| map.values[pixel]);
        let row = centre.into_iter().chain(values);
        writer.write_record(row.map(|v| v.to_string()))?;
    }
    writer
        .into_inner()
        .map_err(|e| io::Error::other(e.to_string()))
}

fn columns(case: &CaseResult) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let edges = match &case.edges[..] {
        [_] => vec!["low".to_owned(), "high".to_owned()],
        axes => (1..=axes.len())
            .flat_map(|i| [format!("low{i}"), format!("high{i}")])
            .collect(),
    };
    writer.write_record(edges.iter().chain(case.densities.keys()))?;
    match &case.edges[..] {
        [edges] => line(&mut writer, edges, case)?,
        axes => plane(&mut writer, axes, case)?,
    }
    writer
        .into_inner()
        .map_err(|e| io::Error::other(e.to_string()))
}

fn line(writer: &mut csv::Writer<Vec<u8>>, edges: &[f64], case: &CaseResult) -> io::Result<()> {
    let last = edges.len() - 1;
    for row in 0..=last + 1 {
        let low = match row {
            0 => f64::NEG_INFINITY,
            r => edges[r - 1],
        };
        let high = match row > last {
            true => f64::INFINITY,
            false => edges[row],
        };
        let mass = |density: &DensityResult| {
            let [below, above] = density.tails.unwrap_or([0.0, density.outside]);
            match row {
                0 => below,
                r if r > last => above,
                r => density.mass[r - 1],
            }
        };
        record(writer, &[low, high], case, mass)?;
    }
    Ok(())
}

/// Bins in the order of the masses, the last axis running fastest.
fn plane(
    writer: &mut csv::Writer<Vec<u8>>,
    axes: &[Vec<f64>],
    case: &CaseResult,
) -> io::Result<()> {
    let bins: usize = axes.iter().map(|edges| edges.len() - 1).product();
    for bin in 0..bins {
        let mut left = bin;
        let mut ends = vec![0.0; 2 * axes.len()];
        for (pair, edges) in ends.chunks_exact_mut(2).zip(axes).rev() {
            let index = left % (edges.len() - 1);
            left /= edges.len() - 1;
            pair.copy_from_slice(&edges[index..index + 2]);
        }
        record(writer, &ends, case, |density| density.mass[bin])?;
    }
    let everywhere: Vec<f64> = axes
        .iter()
        .flat_map(|_| [f64::NEG_INFINITY, f64::INFINITY])
        .collect();
    record(writer, &everywhere, case, |density| density.outside)
}

fn record(
    writer: &mut csv::Writer<Vec<u8>>,
    ends: &[f64],
    case: &CaseResult,
    mass: impl Fn(&DensityResult) -> f64,
) -> io::Result<()> {
    let masses = case.densities.values().map(mass);
    let values = ends.iter().copied().chain(masses);
    writer.write_record(values.map(|v| v.to_string()))?;
    Ok(())
}
