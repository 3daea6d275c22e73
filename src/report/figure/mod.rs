//! Figures of a result: learned densities, predicted and trained, as SVG and PNG.

mod case;
mod curves;
mod decomposition;
mod panel;
mod scene;
mod sweep;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use thiserror::Error;

use super::atomic::write_atomic;
use super::format::{case_stem, swept_title};
use super::result::{CaseResult, RunResult};
use curves::Curves;
use scene::Scene;

/// Why there is no figure.
#[derive(Debug, Error)]
pub enum FigureError {
    #[error("figures are drawn for data on the line; this case has {dim} coordinates")]
    Dimension { dim: usize },
    #[error("density '{density}': {message}")]
    Malformed { density: String, message: String },
    #[error("this case has no densities to draw")]
    Empty,
    #[error("a sweep figure needs at least two cases, the result has {cases}")]
    NoSweep { cases: usize },
    #[error("cannot write the figure '{}': {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("drawing failed: {0}")]
    Draw(String),
}

/// Draws one case, titled with its swept values, and writes `<path_stem>.svg` and `<path_stem>.png`.
///
/// # Errors
/// Data of more than one dimension, densities that do not match the edges, or a file that cannot be written.
pub fn case_figure(case: &CaseResult, path_stem: &Path) -> Result<Vec<PathBuf>, FigureError> {
    titled_case_figure(case, &swept_title(&case.case), path_stem)
}

/// As [`case_figure`], with a title of one's own.
///
/// # Errors
/// As [`case_figure`].
pub fn titled_case_figure(
    case: &CaseResult,
    title: &str,
    path_stem: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    let scene = case::scene(case, &Curves::of(case)?, title)?;
    write(&scene, path_stem)
}

/// Draws all cases of a sweep as panels of one figure and writes `<path_stem>.svg` and `<path_stem>.png`; the pages of a
/// sweep too long for one page follow as `<path_stem>-2.svg`, ...
///
/// With two swept keys the one of fewer values gives the rows, the other the columns; with one the panels run in lines of
/// five; with more, the key of most values gives the columns and the combinations of the others the rows.
///
/// # Errors
/// As [`case_figure`], or fewer than two cases.
pub fn sweep_figure(result: &RunResult, path_stem: &Path) -> Result<Vec<PathBuf>, FigureError> {
    write_pages(&sweep::scenes(result)?, path_stem)
}

fn write_pages(scenes: &[Scene], path_stem: &Path) -> Result<Vec<PathBuf>, FigureError> {
    let mut written = Vec::new();
    for (page, scene) in scenes.iter().enumerate() {
        let stem = match page {
            0 => path_stem.to_path_buf(),
            _ => appended(path_stem, &format!("-{}", page + 1)),
        };
        written.extend(write(scene, &stem)?);
    }
    Ok(written)
}

/// Draws the decomposition of the deviation from the training distribution and writes `<path_stem>.svg` and
/// `<path_stem>.png` (further pages as [`sweep_figure`]); nothing when no pair of cases differs in the objective alone.
///
/// # Errors
/// A file that cannot be written.
pub fn decomposition_figure(
    result: &RunResult,
    path_stem: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    write_pages(&decomposition::scenes(result)?, path_stem)
}

/// Draws everything there is to draw of a result into the directory `dir`: `density.svg` and `.png` of a single case, or
/// `case-<n>-<swept values>.*` of every case and `sweep.*` with all of them; `decomposition.*` where objectives are swept. Returns the files in this order.
///
/// # Errors
/// As [`case_figure`].
pub fn write_figures(result: &RunResult, dir: &Path) -> Result<Vec<PathBuf>, FigureError> {
    let name = run_name(result);
    if let [case] = result.cases.as_slice() {
        let title = joined(name, &swept_title(&case.case));
        return titled_case_figure(case, &title, &dir.join(case_stem(result, 0)));
    }
    let figures: Vec<Vec<PathBuf>> = result
        .cases
        .par_iter()
        .enumerate()
        .map(|(index, case)| {
            let title = joined(name, &swept_title(&case.case));
            titled_case_figure(case, &title, &dir.join(case_stem(result, index)))
        })
        .collect::<Result<_, _>>()?;
    let mut written: Vec<PathBuf> = figures.into_iter().flatten().collect();
    if !result.cases.is_empty() {
        written.extend(sweep_figure(result, &dir.join("sweep"))?);
        written.extend(decomposition_figure(result, &dir.join("decomposition"))?);
    }
    Ok(written)
}

/// The name in the run's spec, for titles.
fn run_name(result: &RunResult) -> &str {
    result
        .spec
        .get("name")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default()
}

fn joined(name: &str, values: &str) -> String {
    match (name, values) {
        ("", text) | (text, "") => text.to_string(),
        (name, values) => format!("{name}: {values}"),
    }
}

/// Swept values contain dots, so an extension is appended, not set.
fn appended(stem: &Path, tail: &str) -> PathBuf {
    let mut name = OsString::from(stem);
    name.push(tail);
    PathBuf::from(name)
}

fn write(scene: &Scene, stem: &Path) -> Result<Vec<PathBuf>, FigureError> {
    let files = [
        (appended(stem, ".svg"), scene.to_svg()?.into_bytes()),
        (appended(stem, ".png"), scene.to_png()?),
    ];
    files
        .into_iter()
        .map(|(path, bytes)| match write_atomic(&path, &bytes) {
            Ok(()) => Ok(path),
            Err(source) => Err(FigureError::Write { path, source }),
        })
        .collect()
}
