//! The figure of the decomposition: for each pair of objectives the gap mass of the data and, stacked on it, the parts of the
//! deviation, trained beside predicted.

use std::collections::BTreeMap;

use plotters::style::RGBColor;
use serde_json::Value;

use super::FigureError;
use super::curves::{BLUISH_GREEN, ORANGE, REDDISH_PURPLE, SKY_BLUE};
use super::panel::{FRAME_WIDTH, QUIET, TICK, tick_left, ticks};
use super::scene::{Align, Bar, INK, Scene, Text, plain, text_width, upward};
use super::sweep::{fitting, short_names};
use crate::report::decomposition::{Decomposition, Side, decompositions};
use crate::report::format::{swept_value, value_order};
use crate::report::result::RunResult;

/// Pairs in one panel and lines of panels on one page.
const MOST_GROUPS: usize = 10;
const PAGE: usize = 6;

const LABEL: f64 = 66.0;
const TICK_LABEL: f64 = 58.0;
const LEFT: f64 = 340.0;
const MARGIN: f64 = 60.0;
/// Under the title; with headings over the panels.
const TOP: f64 = 190.0;
const TOP_WITH_HEADINGS: f64 = 300.0;
const GAP: f64 = 60.0;
/// Between lines of panels: the numbers of one and the heading of the next.
const LINE_GAP: f64 = 260.0;
/// From a panel to the name of the axis, with labels of one line; from line to line, in units of the letters' size; and labels that
/// would be smaller are broken into lines, in units of their usual size.
const LABELS: f64 = 180.0;
const LEADING: f64 = 1.2;
const SMALL: f64 = 0.7;
/// Widths of texts are rounded.
const ROUNDED: f64 = 1.01;
const NARROW_PAGE: f64 = 3300.0;
const PAGE_WIDTH: f64 = 4300.0;
const PANEL_HEIGHT: f64 = 1150.0;
/// Least room for one pair, and the widest bar.
const GROUP: f64 = 230.0;
const WIDEST_BAR: f64 = 360.0;
const SWATCH: f64 = 110.0;
const SOLID: f64 = 0.9;
const LIGHT: f64 = 0.3;

/// A part of the deviation, as it is stacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Bias,
    Design,
    /// Where the two cannot be told apart.
    BiasAndDesign,
    TargetNoise,
}

impl Part {
    const ALL: [Self; 4] = [
        Self::Bias,
        Self::Design,
        Self::BiasAndDesign,
        Self::TargetNoise,
    ];

    fn color(self) -> RGBColor {
        match self {
            Self::Bias => BLUISH_GREEN,
            Self::Design => SKY_BLUE,
            Self::BiasAndDesign => REDDISH_PURPLE,
            Self::TargetNoise => ORANGE,
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Bias => "bias of the mean score",
            Self::Design => "design: which samples were drawn",
            Self::BiasAndDesign => "bias and design",
            Self::TargetNoise => "target noise",
        }
    }

    /// Place of the error bar across the bar, so that those of neighbours are told apart.
    fn error_at(self) -> f64 {
        match self {
            Self::Bias => 0.5,
            Self::Design | Self::BiasAndDesign => 0.3,
            Self::TargetNoise => 0.7,
        }
    }
}

/// One part in its place on the vertical axis: from the foot to the end, which is lower for a negative part.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Segment {
    part: Part,
    foot: f64,
    end: f64,
    se: Option<f64>,
}

/// Positive parts upwards and negative parts downwards from the gap mass of the data.
fn stack(row: &Decomposition) -> Vec<Segment> {
    let design = match row.bias {
        Some(_) => Part::Design,
        None => Part::BiasAndDesign,
    };
    let parts = [
        (Part::Bias, row.bias.unwrap_or(0.0), None),
        (design, row.design.value, row.design.se),
        (
            Part::TargetNoise,
            row.target_noise.value,
            row.target_noise.se,
        ),
    ];
    let (mut above, mut below) = (row.data, row.data);
    parts
        .into_iter()
        .filter(|(part, ..)| *part != Part::Bias || row.bias.is_some())
        .map(|(part, value, se)| {
            let side = if value < 0.0 { &mut below } else { &mut above };
            let foot = *side;
            *side += value;
            Segment {
                part,
                foot,
                end: *side,
                se,
            }
        })
        .collect()
}

/// The bars of one pair of cases.
struct Group<'a> {
    label: String,
    rows: Vec<&'a Decomposition>,
}

/// A panel: pairs that share all swept values but one.
struct Block<'a> {
    title: String,
    groups: Vec<Group<'a>>,
}

/// Lays the figure out, page by page; no pages without a pair.
pub(super) fn scenes(result: &RunResult) -> Result<Vec<Scene>, FigureError> {
    let rows = decompositions(result);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let (blocks, axis) = blocks(&rows);
    let sheet = Sheet {
        rows: &rows,
        y: range(&rows),
        groups: blocks.iter().map(|b| b.groups.len()).max().unwrap_or(1),
        axis,
        title: super::joined(
            super::run_name(result),
            "deviation from the training distribution",
        ),
    };
    let columns = sheet.columns(blocks.len());
    blocks
        .chunks(columns * PAGE)
        .map(|page| sheet.page(page, columns))
        .collect()
}

/// From 0, or from the lowest bar, to the highest bar or error bar.
fn range(rows: &[Decomposition]) -> (f64, f64) {
    let ends = rows.iter().flat_map(|row| {
        let measured = row.side == Side::Measured;
        stack(row).into_iter().flat_map(move |s| {
            let error = 2.0 * s.se.filter(|_| measured).unwrap_or(0.0);
            [s.end - error, s.end + error]
        })
    });
    let data = rows.iter().map(|row| row.data);
    let (low, high) = ends.chain(data).fold((0.0_f64, 0.0_f64), |(low, high), y| {
        (low.min(y), high.max(y))
    });
    let air = 0.05 * (high - low).max(1e-6);
    (if low < 0.0 { low - air } else { 0.0 }, high + air)
}

/// Groups the rows: the key of most values runs along a panel, the others make the panels. Also that key's short name.
fn blocks(rows: &[Decomposition]) -> (Vec<Block<'_>>, String) {
    let mut values: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (key, value) in rows.iter().flat_map(|row| &row.case) {
        let known = values.entry(key).or_default();
        if !known.contains(&value) {
            known.push(value);
        }
    }
    let short = short_names(values.keys().copied());
    let along = values
        .iter()
        .max_by_key(|(_, values)| values.len())
        .map(|(key, _)| *key);
    let others: Vec<&str> = values
        .keys()
        .copied()
        .filter(|k| Some(*k) != along)
        .collect();
    let order: Vec<&str> = others.iter().copied().chain(along).collect();
    let mut sorted: Vec<&Decomposition> = rows.iter().collect();
    sorted.sort_by(|a, b| {
        let value =
            |row: &'_ Decomposition, key: &str| row.case.get(key).cloned().unwrap_or_default();
        order
            .iter()
            .map(|key| value_order(&value(a, key), &value(b, key)))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let of_block = |row: &Decomposition| -> Vec<Option<Value>> {
        others
            .iter()
            .map(|key| row.case.get(*key).cloned())
            .collect()
    };
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for same in sorted.chunk_by(|a, b| of_block(a) == of_block(b)) {
        let title = others
            .iter()
            .filter_map(|key| {
                let value = same[0].case.get(*key)?;
                Some(format!("{} = {}", short.get(*key)?, swept_value(value)))
            })
            .collect::<Vec<_>>()
            .join(", ");
        let groups: Vec<Group<'_>> = same
            .chunk_by(|a, b| a.case == b.case)
            .map(|rows| Group {
                label: along
                    .and_then(|key| rows[0].case.get(key))
                    .map_or_else(String::new, swept_value),
                rows: rows.to_vec(),
            })
            .collect();
        let mut groups = groups.into_iter().peekable();
        while groups.peek().is_some() {
            blocks.push(Block {
                title: title.clone(),
                groups: groups.by_ref().take(MOST_GROUPS).collect(),
            });
        }
    }
    let axis = along.and_then(|key| short.get(key)).cloned();
    (blocks, axis.unwrap_or_default())
}

/// All that the pages share.
struct Sheet<'a> {
    rows: &'a [Decomposition],
    /// The vertical range.
    y: (f64, f64),
    /// Most groups in a panel.
    groups: usize,
    axis: String,
    title: String,
}

/// How the pairs of a page are labelled, all in one size: in lines of words where they are long.
struct Labels {
    em: f64,
    room: f64,
    most: usize,
}

impl Labels {
    fn of(blocks: &[Block<'_>], room: f64) -> Result<Self, FigureError> {
        let groups = blocks.iter().flat_map(|block| &block.groups);
        let all: Vec<&str> = groups.map(|group| group.label.as_str()).collect();
        let em = smallest(&all, TICK_LABEL, room)?;
        let mut labels = Self { em, room, most: 1 };
        if em < SMALL * TICK_LABEL {
            let words: Vec<&str> = all.iter().flat_map(|t| t.split_whitespace()).collect();
            labels.em = smallest(&words, SMALL * TICK_LABEL, room)?;
            for text in all {
                labels.most = labels.most.max(labels.lines(text)?.len());
            }
        }
        Ok(labels)
    }

    /// As many words in a line as there is room for.
    fn lines(&self, text: &str) -> Result<Vec<String>, FigureError> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let longer = lines.last().map(|line| format!("{line} {word}"));
            match (lines.last_mut(), longer) {
                (Some(line), Some(longer))
                    if text_width(&longer, self.em)? <= ROUNDED * self.room =>
                {
                    *line = longer;
                }
                _ => lines.push(word.to_owned()),
            }
        }
        Ok(lines)
    }

    /// Of all lines but the first.
    fn height(&self) -> f64 {
        self.em * LEADING * (self.most - 1) as f64
    }
}

/// The size at which the longest of some texts has room.
fn smallest(texts: &[&str], em: f64, room: f64) -> Result<f64, FigureError> {
    let mut least = em;
    for text in texts {
        least = least.min(fitting(text, em, room)?);
    }
    Ok(least)
}

/// Upper left corner and size of a panel.
#[derive(Clone, Copy)]
struct Frame {
    left: f64,
    top: f64,
    width: f64,
}

impl Sheet<'_> {
    /// Panels in a line.
    fn columns(&self, panels: usize) -> usize {
        let room = PAGE_WIDTH - LEFT - MARGIN + GAP;
        let each = GROUP * self.groups as f64 + GAP;
        ((room / each) as usize).clamp(1, panels.max(1))
    }

    fn page(&self, blocks: &[Block<'_>], columns: usize) -> Result<Scene, FigureError> {
        let columns_here = columns.min(blocks.len());
        let least = GROUP * self.groups as f64;
        let gaps = GAP * (columns_here as f64 - 1.0);
        let room = (NARROW_PAGE - LEFT - MARGIN - gaps) / columns_here as f64;
        let width = least.max(room);
        let labels = Labels::of(blocks, 0.95 * width / self.groups as f64)?;
        let under = LABELS + labels.height();
        let line_gap = LINE_GAP + labels.height();
        let right = LEFT + width * columns_here as f64 + gaps;
        let lines = blocks.len().div_ceil(columns_here);
        let headed = blocks.iter().any(|b| !b.title.is_empty());
        let top = if headed { TOP_WITH_HEADINGS } else { TOP };
        let bottom = top + (PANEL_HEIGHT + line_gap) * lines as f64 - line_gap;
        let (entries, legend) = self.legend(bottom + under + 120.0, right)?;
        let mut scene = Scene::new(right + MARGIN, bottom + under + 120.0 + legend);
        for (index, block) in blocks.iter().enumerate() {
            let (line, column) = (index / columns_here, index % columns_here);
            let frame = Frame {
                left: LEFT + (width + GAP) * column as f64,
                top: top + (PANEL_HEIGHT + line_gap) * line as f64,
                width,
            };
            self.panel(&mut scene, frame, (block, &labels), column == 0)?;
        }
        let title = fitting(&self.title, LABEL, right - LEFT)?;
        scene.text(plain(self.title.clone(), (LEFT, 105.0), title));
        scene.text(Text {
            align: Align::Centre,
            ..plain(
                self.axis.clone(),
                (0.5 * (LEFT + right), bottom + under),
                LABEL,
            )
        });
        let middle = 0.5 * (top + bottom);
        upward(
            &mut scene,
            "mass in the gaps of the data",
            (90.0, middle),
            LABEL,
        );
        for entry in entries {
            entry.draw(&mut scene);
        }
        Ok(scene)
    }

    fn y_at(&self, frame: Frame, y: f64) -> f64 {
        frame.top + PANEL_HEIGHT * (self.y.1 - y) / (self.y.1 - self.y.0)
    }

    fn panel(
        &self,
        scene: &mut Scene,
        frame: Frame,
        (block, labels): (&Block<'_>, &Labels),
        numbered: bool,
    ) -> Result<(), FigureError> {
        let bottom = frame.top + PANEL_HEIGHT;
        let room = frame.width / block.groups.len() as f64;
        for (index, group) in block.groups.iter().enumerate() {
            let middle = frame.left + room * (index as f64 + 0.5);
            self.group(scene, frame, (group, labels), (middle, room))?;
        }
        if self.y.0 < 0.0 {
            let y = self.y_at(frame, 0.0);
            scene.line(
                &[(frame.left, y), (frame.left + frame.width, y)],
                QUIET,
                3.0,
                &[],
            );
        }
        for (value, label) in ticks(self.y.0, self.y.1, 6) {
            let y = self.y_at(frame, value);
            let label = if numbered { label } else { String::new() };
            tick_left(scene, (frame.left, y), label, TICK_LABEL);
        }
        let sides = (frame.left, frame.left + frame.width);
        scene.frame(sides, (frame.top, bottom), FRAME_WIDTH);
        let em = fitting(&block.title, LABEL, frame.width)?;
        let at = (frame.left + 0.5 * frame.width, frame.top - 40.0);
        scene.text(Text {
            align: Align::Centre,
            ..plain(block.title.clone(), at, em)
        });
        Ok(())
    }

    /// The bars of one pair, side by side around `middle`, and the data's own gap mass across them.
    fn group(
        &self,
        scene: &mut Scene,
        frame: Frame,
        (group, labels): (&Group<'_>, &Labels),
        (middle, room): (f64, f64),
    ) -> Result<(), FigureError> {
        let bars = group.rows.len() as f64;
        let width = (0.36 * room).min(WIDEST_BAR);
        let step = 1.08 * width;
        let below = frame.top + PANEL_HEIGHT + TICK + 1.05 * TICK_LABEL;
        for (index, row) in group.rows.iter().enumerate() {
            let centre = middle + step * (index as f64 - 0.5 * (bars - 1.0));
            self.bar(scene, frame, row, (centre - 0.5 * width, width));
            if group.label.is_empty() {
                scene.text(Text {
                    align: Align::Centre,
                    ..plain(name(row.side).to_owned(), (centre, below), TICK_LABEL)
                });
            }
        }
        let half = 0.5 * step * bars;
        let y = self.y_at(frame, group.rows[0].data);
        scene.line(&[(middle - half, y), (middle + half, y)], INK, 7.0, &[]);
        for (index, line) in labels.lines(&group.label)?.into_iter().enumerate() {
            let below = below + labels.em * LEADING * index as f64;
            scene.text(Text {
                align: Align::Centre,
                ..plain(line, (middle, below), labels.em)
            });
        }
        Ok(())
    }

    fn bar(&self, scene: &mut Scene, frame: Frame, row: &Decomposition, (left, width): (f64, f64)) {
        let segments = stack(row);
        for segment in &segments {
            let [a, b] = [segment.foot, segment.end].map(|y| self.y_at(frame, y));
            let bar = Bar {
                left,
                right: left + width,
                top: a.min(b),
                bottom: a.max(b),
            };
            swatch(scene, bar, segment.part.color(), row.side);
        }
        // Where parts cancel, the end of the stack is not the trained models' gap mass.
        if segments.iter().any(|s| s.end < s.foot) {
            let y = self.y_at(frame, row.data + row.total.value);
            scene.line(&[(left, y), (left + width, y)], INK, 16.0, &[]);
        }
        if row.side == Side::Predicted {
            return;
        }
        for segment in segments {
            let Some(se) = segment.se else { continue };
            let x = left + segment.part.error_at() * width;
            let [top, bottom] = [2.0, -2.0].map(|n| self.y_at(frame, segment.end + n * se));
            scene.line(&[(x, top), (x, bottom)], INK, 5.0, &[]);
            for y in [top, bottom] {
                scene.line(&[(x - 14.0, y), (x + 14.0, y)], INK, 5.0, &[]);
            }
        }
    }

    /// Places the entries of the legend in lines up to `right`; also its height.
    fn legend(&self, top: f64, right: f64) -> Result<(Vec<Entry>, f64), FigureError> {
        let stacks: Vec<Vec<Segment>> = self.rows.iter().map(stack).collect();
        let has = |part: Part| stacks.iter().flatten().any(|s| s.part == part);
        let has_side = |side: Side| self.rows.iter().any(|row| row.side == side);
        let mut entries: Vec<(Mark, &str)> = Part::ALL
            .into_iter()
            .filter(|part| has(*part))
            .map(|part| (Mark::Part(part), part.meaning()))
            .collect();
        if has_side(Side::Measured) {
            entries.push((Mark::Side(Side::Measured), "left: measured, ± 2 s.e."));
        }
        if has_side(Side::Predicted) {
            entries.push((Mark::Side(Side::Predicted), "right: predicted"));
        }
        entries.push((Mark::Line(7.0), "the data"));
        if stacks.iter().flatten().any(|s| s.end < s.foot) {
            entries.push((Mark::Line(16.0), "the models, where parts cancel"));
        }
        let line = 2.0 * TICK_LABEL;
        let (mut x, mut y) = (LEFT, top);
        let mut placed = Vec::new();
        for (mark, text) in entries {
            let width = SWATCH + 30.0 + text_width(text, TICK_LABEL)?;
            if x > LEFT && x + width > right {
                (x, y) = (LEFT, y + line);
            }
            placed.push(Entry {
                mark,
                text: text.to_owned(),
                at: (x, y),
            });
            x += width + 90.0;
        }
        Ok((placed, y - top + line))
    }
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Measured => "measured",
        Side::Predicted => "predicted",
    }
}

/// A filled rectangle: measured solid, predicted light with an outline.
fn swatch(scene: &mut Scene, bar: Bar, color: RGBColor, side: Side) {
    let alpha = match side {
        Side::Measured => SOLID,
        Side::Predicted => LIGHT,
    };
    scene.steps(vec![bar], color, alpha);
    if side == Side::Predicted && bar.bottom - bar.top > 8.0 {
        // Inside the rectangle, so that neighbours do not cover each other's.
        let (left, right) = (bar.left + 2.5, bar.right - 2.5);
        let (top, bottom) = (bar.top + 2.5, bar.bottom - 2.5);
        let outline = [
            (left, top),
            (right, top),
            (right, bottom),
            (left, bottom),
            (left, top),
            (left + 5.0, top),
        ];
        scene.line(&outline, color, 5.0, &[]);
    }
}

/// The sample of a legend entry.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mark {
    Part(Part),
    Side(Side),
    /// A line of this width.
    Line(f64),
}

/// A legend entry and the left end of its middle line.
struct Entry {
    mark: Mark,
    text: String,
    at: (f64, f64),
}

impl Entry {
    fn draw(self, scene: &mut Scene) {
        let (x, y) = self.at;
        let bar = Bar {
            left: x,
            right: x + SWATCH,
            top: y - 24.0,
            bottom: y + 24.0,
        };
        match self.mark {
            Mark::Part(part) => swatch(scene, bar, part.color(), Side::Measured),
            Mark::Side(side) => swatch(scene, bar, QUIET, side),
            Mark::Line(width) => scene.line(&[(x, y), (x + SWATCH, y)], INK, width, &[]),
        }
        let at = (x + SWATCH + 30.0, y + 0.36 * TICK_LABEL);
        scene.text(plain(self.text, at, TICK_LABEL));
    }
}
