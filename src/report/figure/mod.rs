//! Figures of a result: learned densities, predicted and trained, as SVG and PNG.

mod axis;
mod case;
mod color;
mod curves;
mod decomposition;
mod diagnostic;
mod gap_filling;
mod heat;
mod map;
mod marginals;
mod memorised;
mod panel;
mod paths;
mod plane;
mod readouts;
mod recovery;
mod scene;
mod segments;
mod sheet;
mod sweep;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use thiserror::Error;

use super::atomic::write_atomic;
use super::format::{case_stem, part_stem, swept_title};
use super::result::{CaseResult, RunResult};
use curves::Curves;
use scene::Scene;

/// Why there is no figure.
#[derive(Debug, Error)]
pub enum FigureError {
    #[error("figures are drawn on the line and in the plane; this case has {dim} axes")]
    Dimension { dim: usize },
    /// A density or a diagnostic that contradicts itself.
    #[error("{part}: {message}")]
    Malformed { part: String, message: String },
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

/// Draws one case, titled with its swept values, and writes `<path_stem>.svg` and `<path_stem>.png`. Beyond the plane the
/// projections on further pairs of directions are further rows (pages as [`sweep_figure`]).
///
/// # Errors
/// Densities of more than two axes, densities that do not match the edges, or a file that cannot be written.
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
    let scenes = match case.edges.len() {
        2 => plane::case_scenes(case, title)?,
        _ => vec![case::scene(case, &Curves::of(case)?, title)?],
    };
    write_pages(&scenes, path_stem)
}

/// Draws all cases of a sweep as panels of one figure and writes `<path_stem>.svg` and `<path_stem>.png`; the pages of a
/// sweep too long for one page follow as `<path_stem>-2.svg`, ...
///
/// With two swept keys the one of fewer values gives the rows, the other the columns; with one the panels run in lines of
/// five; with more, the key of most values gives the columns and the combinations of the others the rows. In the plane every
/// case is a row: predicted, trained, and their difference. Of a sweep with cases of both kinds those on the line come first, those in
/// the plane on pages of their own; one case alone of its kind has only its own figure.
///
/// # Errors
/// As [`case_figure`], or fewer than two cases.
pub fn sweep_figure(result: &RunResult, path_stem: &Path) -> Result<Vec<PathBuf>, FigureError> {
    let cases = result.cases.len();
    if cases < 2 {
        return Err(FigureError::NoSweep { cases });
    }
    let only = |in_plane: bool| {
        let mut part = result.clone();
        part.cases
            .retain(|case| (case.edges.len() == 2) == in_plane);
        part
    };
    let (line, plane) = (only(false), only(true));
    let mut scenes = Vec::new();
    if line.cases.len() > 1 {
        scenes.extend(sweep::scenes(&line)?);
    }
    if plane.cases.len() > 1 {
        scenes.extend(plane::sweep_scenes(&plane)?);
    }
    write_pages(&scenes, path_stem)
}

/// Draws the maps of all cases, a row per case and a column per time (on the line one panel of curves per case), and writes
/// `<path_stem>.svg` and `<path_stem>.png` (further pages as [`sweep_figure`]); nothing when there are no maps.
///
/// # Errors
/// Maps of more than two dimensions, or a file that cannot be written.
pub fn map_figure(result: &RunResult, path_stem: &Path) -> Result<Vec<PathBuf>, FigureError> {
    write_pages(&map::scenes(result)?, path_stem)
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

/// Draws the dominant paths of a saddle-point prediction, x and the response field along them, and writes `<path_stem>.svg`
/// and `<path_stem>.png`; nothing when the case's diagnostics hold no paths.
///
/// # Errors
/// Diagnostics that contradict themselves, or a file that cannot be written.
pub fn paths_figure(
    case: &CaseResult,
    title: &str,
    path_stem: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    write_pages(paths::scene(case, title)?.as_slice(), path_stem)
}

/// Draws what fills a gap: the change of the denoiser, the paths to the gap's edges, the directions of the weights that carry
/// the change. Writes `<path_stem>.svg` and `<path_stem>.png`; nothing when the case's diagnostics hold no gap.
///
/// # Errors
/// As [`paths_figure`].
pub fn gap_filling_figure(
    case: &CaseResult,
    title: &str,
    path_stem: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    write_pages(gap_filling::scene(case, title)?.as_slice(), path_stem)
}

/// Draws a case's further densities of one axis, each in a panel: the marginals along directions, the distance to the nearest
/// training point. Writes `<path_stem>.svg` and `<path_stem>.png` (further pages as [`sweep_figure`]); nothing when there are
/// none, as in one dimension.
///
/// # Errors
/// As [`case_figure`].
pub fn marginal_figure(
    case: &CaseResult,
    title: &str,
    path_stem: &Path,
) -> Result<Vec<PathBuf>, FigureError> {
    write_pages(&marginals::scenes(case, title)?, path_stem)
}

/// Draws how full the segments between neighbouring training points are, predicted beside trained, all cases on one sheet:
/// for four points on a square, whether the sides or the diagonals. Writes `<path_stem>.svg` and `<path_stem>.png` (further
/// pages as [`sweep_figure`]); nothing when no case has segments.
///
/// # Errors
/// Segments that do not lie in the plane, numbers that cannot be drawn, or a file that cannot be written.
pub fn segment_figure(result: &RunResult, path_stem: &Path) -> Result<Vec<PathBuf>, FigureError> {
    write_pages(&segments::scenes(result)?, path_stem)
}

/// Draws how often models of low rank recover the true subspaces, a heat map over two swept keys with the predicted line, and writes
/// `<path_stem>.svg` and `<path_stem>.png`; nothing unless that was measured over two keys of numbers or more.
///
/// # Errors
/// A file that cannot be written.
pub fn recovery_figure(result: &RunResult, path_stem: &Path) -> Result<Vec<PathBuf>, FigureError> {
    write_pages(&recovery::scenes(result)?, path_stem)
}

/// Draws the memorised fraction against a swept number, predicted beside trained, and writes `<path_stem>.svg` and `<path_stem>.png`;
/// nothing unless it was measured at two of its values or more.
///
/// # Errors
/// A file that cannot be written.
pub fn memorised_figure(result: &RunResult, path_stem: &Path) -> Result<Vec<PathBuf>, FigureError> {
    write_pages(&memorised::scenes(result)?, path_stem)
}

/// Draws everything there is to draw of a result into the directory `dir`: `density.svg` and `.png` of a single case, or
/// `case-<n>-<swept values>.*` of every case and `sweep.*` with all of them; `decomposition.*` where objectives are swept.
/// Cases whose saddle points were found have `paths.*` too, and `gap-filling.*` where a gap was asked for; in a sweep these
/// names follow the case's. In more than one dimension the further densities of a case are in `marginals.*`, and in the plane
/// `segments.*` shows what lies between the training points, all cases together. `map.*` shows the maps of all cases,
/// `recovery.*` how often subspaces are recovered, `memorised.*` what share of the points is memorised. Returns the files, case by
/// case.
///
/// # Errors
/// As [`case_figure`] and [`paths_figure`].
pub fn write_figures(result: &RunResult, dir: &Path) -> Result<Vec<PathBuf>, FigureError> {
    let figures: Vec<Vec<PathBuf>> = (0..result.cases.len())
        .into_par_iter()
        .map(|index| case_figures(result, index, dir))
        .collect::<Result<_, _>>()?;
    let mut written: Vec<PathBuf> = figures.into_iter().flatten().collect();
    written.extend(map_figure(result, &dir.join("map"))?);
    written.extend(recovery_figure(result, &dir.join("recovery"))?);
    written.extend(segment_figure(result, &dir.join("segments"))?);
    written.extend(memorised_figure(result, &dir.join("memorised"))?);
    if result.cases.len() > 1 && result.cases.iter().all(has_densities) {
        written.extend(sweep_figure(result, &dir.join("sweep"))?);
        written.extend(decomposition_figure(result, &dir.join("decomposition"))?);
    }
    Ok(written)
}

/// Cases that only have maps have no figures of their own.
fn has_densities(case: &CaseResult) -> bool {
    !(case.densities.is_empty() && case.edges.is_empty())
}

/// All figures of one case.
fn case_figures(result: &RunResult, index: usize, dir: &Path) -> Result<Vec<PathBuf>, FigureError> {
    let case = &result.cases[index];
    if !has_densities(case) {
        return Ok(Vec::new());
    }
    let title = joined(run_name(result), &swept_title(&case.case));
    let mut written = titled_case_figure(case, &title, &dir.join(case_stem(result, index)))?;
    let stem = |part: &str| dir.join(part_stem(result, index, part));
    written.extend(marginal_figure(case, &title, &stem("marginals"))?);
    written.extend(paths_figure(case, &title, &stem("paths"))?);
    written.extend(gap_filling_figure(case, &title, &stem("gap-filling"))?);
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
