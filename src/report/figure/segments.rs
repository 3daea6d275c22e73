//! The figure of the segments between training points: how full each is, predicted beside trained. Of four points on a square,
//! are the sides filled or the diagonals?

use plotters::style::RGBColor;

use super::FigureError;
use super::axis::{Axis, Plot, Scale};
use super::curves::{BLUE, ORANGE};
use super::diagnostic::LARGEST;
use super::panel::{QUIET, tick_below};
use super::scene::{Align, Bar, INK, Scene, Text, plain, text_width, upward};
use super::sweep::fitting;
use crate::report::format::swept_title;
use crate::report::result::{
    AS_SHORT, CaseResult, DATA, LONGER_FILLING, MONTE_CARLO, Measured, PF_ODE, RunResult,
    SHORTEST_FILLING, SegmentResult,
};

/// Cases side by side, and rows of them on a page.
const COLUMNS: usize = 2;
const PAGE: usize = 6;

const TITLE: f64 = 66.0;
const LABEL: f64 = 50.0;
const TICK_LABEL: f64 = 44.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 420.0;
/// Side of a drawing of the segments, from one to the next, and the frame beside them.
const SIDE: f64 = 500.0;
const BESIDE: f64 = 70.0;
const AXIS: f64 = 250.0;
const FRAME: f64 = 850.0;
const GAP: f64 = 120.0;
const ROW_GAP: f64 = 340.0;
const MARGIN: f64 = 60.0;
const BOTTOM: f64 = 150.0;
/// Share of a drawing's side around the points.
const AIR: f64 = 0.1;
const POINT: f64 = 13.0;
/// Line widths of the fullest segment and of an empty one.
const FULLEST: f64 = 46.0;
const HAIRLINE: f64 = 3.0;
const EMPTY: RGBColor = RGBColor(170, 170, 170);
const MEAN_ALPHA: f64 = 0.3;

const WHAT: &str = "filling of the segments: mass per area in the middle of a segment, relative to that around its ends";
const HOW: &str = "lines as thick as their segments are full, the fullest of each case alike; bars are one standard error, bands that of the mean";

/// Lays all cases out that have segments, page by page; none when none has.
pub(super) fn scenes(result: &RunResult) -> Result<Vec<Scene>, FigureError> {
    let sheets: Vec<Sheet> = result
        .cases
        .iter()
        .filter_map(|case| Sheet::of(case).transpose())
        .collect::<Result<_, _>>()?;
    let title = super::run_name(result);
    sheets
        .chunks(COLUMNS * PAGE)
        .map(|sheets| page(sheets, title))
        .collect()
}

/// One density and how it is drawn.
struct Side<'a> {
    name: &'a str,
    label: String,
    color: RGBColor,
}

/// One case.
struct Sheet<'a> {
    case: &'a CaseResult,
    /// Shortest first.
    segments: Vec<&'a SegmentResult>,
    /// How many are the shortest.
    short: usize,
    sides: Vec<Side<'a>>,
}

impl<'a> Sheet<'a> {
    fn of(case: &'a CaseResult) -> Result<Option<Self>, FigureError> {
        let sides = sides(case);
        if case.segments.is_empty() || sides.is_empty() {
            return Ok(None);
        }
        for segment in &case.segments {
            check(segment, &sides)?;
        }
        let mut segments: Vec<&SegmentResult> = case.segments.iter().collect();
        segments.sort_by(|a, b| a.length.total_cmp(&b.length));
        let limit = AS_SHORT * segments[0].length;
        Ok(Some(Self {
            short: segments.partition_point(|s| s.length <= limit),
            case,
            segments,
            sides,
        }))
    }

    /// Number of segments in both groups, and what the groups are called.
    fn groups(&self) -> [(usize, &'static str); 2] {
        let longer = self.segments.len() - self.short;
        let names = match self.is_square() {
            true => ["sides", "diagonals"],
            false => ["shortest", "longer"],
        };
        [(self.short, names[0]), (longer, names[1])]
    }

    /// Four equal sides and two equal diagonals: no other four points have these distances.
    fn is_square(&self) -> bool {
        let diagonal = std::f64::consts::SQRT_2 * self.segments[0].length;
        let is_diagonal = |s: &&SegmentResult| (s.length / diagonal - 1.0).abs() <= AS_SHORT - 1.0;
        let mut ends: Vec<usize> = self.segments.iter().flat_map(|s| s.ends).collect();
        ends.sort_unstable();
        ends.dedup();
        (ends.len(), self.segments.len(), self.short) == (4, 6, 4)
            && self.segments[4..].iter().all(is_diagonal)
    }

    /// Of all segments and densities.
    fn fillings(&self) -> impl Iterator<Item = Measured> {
        let names = self.sides.iter().map(|side| side.name);
        names.flat_map(|name| {
            self.segments
                .iter()
                .filter_map(|s| s.filling.get(name).copied())
        })
    }

    /// The mean over a group, as the case has it among its numbers.
    fn mean(&self, group: usize, side: &Side) -> Option<Measured> {
        let name = [SHORTEST_FILLING, LONGER_FILLING][group];
        let number = self.case.number(name)?;
        number.values.get(side.name).copied().filter(is_drawable)
    }

    /// From 0 to above all error bars.
    fn axis(&self) -> Axis {
        let groups = 0..2;
        let means = groups.flat_map(|g| self.sides.iter().filter_map(move |s| self.mean(g, s)));
        let tops = self.fillings().chain(means);
        Axis::up_to(tops.map(|m| 1.06 * (m.value + m.se.unwrap_or(0.0))), false)
    }
}

/// The leading prediction and Monte Carlo; without both, what the exact score generates, or the data.
fn sides(case: &CaseResult) -> Vec<Side<'_>> {
    let known = |name: &str| case.segments.iter().any(|s| s.filling.contains_key(name));
    let predicted = case.leading().filter(|name| known(name)).map(|name| {
        let marked = case.recommended.as_deref() == Some(name);
        let word = if marked { "recommended" } else { "predicted" };
        Side {
            name,
            label: format!("{word}: {name}"),
            color: BLUE,
        }
    });
    let plain = |name: &'static str, color| Side {
        name,
        label: name.to_owned(),
        color,
    };
    let trained = known(MONTE_CARLO).then(|| plain(MONTE_CARLO, ORANGE));
    let mut sides: Vec<Side> = predicted.into_iter().chain(trained).collect();
    if sides.is_empty() {
        let reference = [PF_ODE, DATA].into_iter().find(|name| known(name));
        sides.extend(reference.map(|name| plain(name, QUIET)));
    }
    sides
}

pub(super) fn is_drawable(measured: &Measured) -> bool {
    let ok = |v: f64| v.is_finite() && v.abs() <= LARGEST;
    ok(measured.value) && measured.se.is_none_or(ok)
}

fn check(segment: &SegmentResult, sides: &[Side]) -> Result<(), FigureError> {
    let dim = segment.from.len().max(segment.to.len());
    if dim != 2 || segment.from.len() != segment.to.len() {
        return Err(FigureError::Dimension { dim });
    }
    let places = segment.from.iter().chain(&segment.to);
    let fillings = sides
        .iter()
        .filter_map(|side| segment.filling.get(side.name));
    let ok = places
        .chain([&segment.length])
        .all(|v| v.is_finite() && v.abs() <= LARGEST)
        && fillings.into_iter().all(is_drawable);
    match ok {
        true => Ok(()),
        false => Err(FigureError::Malformed {
            part: format!("segment {} to {}", segment.ends[0], segment.ends[1]),
            message: "has a value that is no number to draw".to_owned(),
        }),
    }
}

fn page(sheets: &[Sheet], title: &str) -> Result<Scene, FigureError> {
    let named = sheets.iter().any(|s| !s.case.case.is_empty());
    let first = if named { TOP } else { TOP - 90.0 };
    let drawings = sheets.iter().map(|s| s.sides.len()).max().unwrap_or(1) as f64;
    let own = drawings * (SIDE + BESIDE) - BESIDE + AXIS + FRAME;
    let columns = sheets.len().min(COLUMNS) as f64;
    let rows = sheets.len().div_ceil(COLUMNS) as f64;
    let width = (LEFT + columns * (own + GAP) - GAP + MARGIN).max(2400.0);
    let bottom = first + rows * (SIDE + ROW_GAP) - ROW_GAP;
    let mut scene = Scene::new(width, bottom + BOTTOM);
    let room = width - LEFT - MARGIN;
    for (content, y, most, color) in [
        (title, 100.0, TITLE, INK),
        (WHAT, 180.0, LABEL, QUIET),
        (HOW, 245.0, LABEL, QUIET),
    ] {
        let em = fitting(content, most, room)?;
        scene.text(Text {
            color,
            ..plain(content.to_owned(), (LEFT, y), em)
        });
    }
    for (index, sheet) in sheets.iter().enumerate() {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        let left = LEFT + column as f64 * (own + GAP);
        let top = first + row as f64 * (SIDE + ROW_GAP);
        draw(&mut scene, sheet, (left, top), own)?;
    }
    Ok(scene)
}

fn draw(
    scene: &mut Scene,
    sheet: &Sheet,
    (left, top): (f64, f64),
    width: f64,
) -> Result<(), FigureError> {
    let name = swept_title(&sheet.case.case);
    let em = fitting(&name, 1.15 * LABEL, width)?;
    scene.text(plain(name, (left, top - 90.0), em));
    let place = Placement::of(&sheet.segments);
    let fullest = sheet.fillings().map(|m| m.value).fold(0.0, f64::max);
    let mut label_em = LABEL;
    for side in &sheet.sides {
        label_em = label_em.min(fitting(&side.label, LABEL, SIDE + 0.5 * BESIDE)?);
    }
    let mut x = left;
    for side in &sheet.sides {
        let at = |point: &[f64]| place.at(point, (x, top));
        for segment in &sheet.segments {
            let ends = [at(&segment.from), at(&segment.to)];
            scene.line(&ends, EMPTY, HAIRLINE, &[]);
            let filling = segment.filling.get(side.name).map_or(0.0, |m| m.value);
            if filling > 0.0 {
                // A hairline is 0; thinner than one cannot be drawn.
                let width = FULLEST * filling / fullest;
                scene.line(&ends, side.color, width.max(HAIRLINE), &[]);
            }
        }
        let shrink = (30.0 / sheet.segments.len() as f64).sqrt().min(1.0);
        for point in sheet.segments.iter().flat_map(|s| [&s.from, &s.to]) {
            scene.disc(at(point), POINT * shrink, INK);
        }
        scene.text(Text {
            align: Align::Centre,
            color: side.color,
            ..plain(
                side.label.clone(),
                (x + 0.5 * SIDE, top + SIDE + 40.0),
                label_em,
            )
        });
        x += SIDE + BESIDE;
    }
    fillings(scene, sheet, (left + width - FRAME, top))
}

/// From the plane into a square drawing.
struct Placement {
    middle: [f64; 2],
    /// Scene units per unit.
    scale: f64,
}

impl Placement {
    fn of(segments: &[&SegmentResult]) -> Self {
        let range = |axis: usize| {
            let points = segments.iter().flat_map(|s| [s.from[axis], s.to[axis]]);
            points.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            })
        };
        let ranges = [range(0), range(1)];
        let widest = ranges.map(|(low, high)| high - low);
        let widest = widest[0].max(widest[1]);
        let scale = (1.0 - 2.0 * AIR) * SIDE / widest;
        Self {
            middle: ranges.map(|(low, high)| low + 0.5 * (high - low)),
            // Points at one place have no size.
            scale: if scale.is_finite() { scale } else { 0.0 },
        }
    }

    fn at(&self, point: &[f64], (left, top): (f64, f64)) -> (f64, f64) {
        (
            left + 0.5 * SIDE + self.scale * (point[0] - self.middle[0]),
            top + 0.5 * SIDE - self.scale * (point[1] - self.middle[1]),
        )
    }
}

/// The frame with the numbers: the shortest segments at the left, the longer ones at the right.
fn fillings(scene: &mut Scene, sheet: &Sheet, (left, top): (f64, f64)) -> Result<(), FigureError> {
    let groups = sheet.groups();
    // Half a place of air around each group.
    let places = sheet.segments.len() as f64 + groups.iter().filter(|g| g.0 > 0).count() as f64;
    let plot = Plot {
        left,
        top,
        width: FRAME,
        height: SIDE,
        x: Axis {
            scale: Scale::Linear,
            ends: (0.0, places),
        },
        y: sheet.axis(),
    };
    let (mut first, mut from) = (0, 0.0);
    for (group, (count, name)) in groups.into_iter().enumerate() {
        if count == 0 {
            continue;
        }
        let to = from + count as f64 + 1.0;
        let inside = (plot.x_at(from + 0.25), plot.x_at(to - 0.25));
        // No band over a dot.
        for side in &sheet.sides {
            mean(scene, &plot, inside, sheet.mean(group, side), side.color);
        }
        for (index, side) in sheet.sides.iter().enumerate() {
            let shift = 0.36 * (index as f64 - 0.5 * (sheet.sides.len() as f64 - 1.0));
            let radius = (0.11 * FRAME / places).clamp(3.0, 15.0);
            for (k, segment) in sheet.segments[first..first + count].iter().enumerate() {
                if let Some(filling) = segment.filling.get(side.name) {
                    let x = plot.x_at(from + 1.0 + k as f64 + shift);
                    error_bar(scene, &plot, x, *filling, side.color, radius);
                }
            }
        }
        let middle = 0.5 * (plot.x_at(from) + plot.x_at(to));
        group_name(scene, &plot, name, middle, inside.1 - inside.0)?;
        (first, from) = (first + count, to);
    }
    plot.frame(scene);
    plot.y_ticks(scene, TICK_LABEL);
    upward(scene, "filling", (left - 195.0, top + 0.5 * SIDE), LABEL);
    Ok(())
}

/// The mean of a group over its width, with its standard error.
fn mean(
    scene: &mut Scene,
    plot: &Plot,
    (left, right): (f64, f64),
    mean: Option<Measured>,
    color: RGBColor,
) {
    let Some(mean) = mean else { return };
    let se = mean.se.unwrap_or(0.0);
    let band = Bar {
        left,
        right,
        top: plot.y_at(mean.value + se),
        bottom: plot.y_at(mean.value - se),
    };
    scene.steps(vec![band], color, MEAN_ALPHA);
    let y = plot.y_at(mean.value);
    scene.line(&[(left, y), (right, y)], color, 5.0, &[]);
}

fn error_bar(
    scene: &mut Scene,
    plot: &Plot,
    x: f64,
    filling: Measured,
    color: RGBColor,
    radius: f64,
) {
    let se = filling.se.unwrap_or(0.0);
    let (low, high) = (plot.y_at(filling.value - se), plot.y_at(filling.value + se));
    scene.line(&[(x, low), (x, high)], color, (0.4 * radius).max(2.0), &[]);
    scene.disc((x, plot.y_at(filling.value)), radius, color);
}

fn group_name(
    scene: &mut Scene,
    plot: &Plot,
    name: &str,
    middle: f64,
    room: f64,
) -> Result<(), FigureError> {
    // A name longer than its group may stand out on both sides, but not beyond the frame.
    let half = 0.5 * text_width(name, LABEL)?;
    let at = middle.clamp(plot.left + half, plot.right() - half);
    tick_below(scene, (middle, plot.bottom()), String::new(), TICK_LABEL);
    scene.text(Text {
        align: Align::Centre,
        ..plain(
            name.to_owned(),
            (at, plot.bottom() + 75.0),
            if half > room { 0.8 * LABEL } else { LABEL },
        )
    });
    Ok(())
}
