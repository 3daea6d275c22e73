//! A heat map: values on a grid in the plane as colours, in a frame with axes.

use plotters::style::{RGBColor, WHITE};

use super::panel::{FRAME_WIDTH, tick_below, tick_left, ticks};
use super::scene::{Bar, INK, Image, Scene};

/// Widest and narrowest shape, height by width, of a frame whose two axes have the same scale; beyond, they do not.
const SHAPES: (f64, f64) = (0.4, 2.0);
/// Cells along an axis whose bins differ in width.
const RESAMPLED: usize = 600;
/// Radius of a dot where there are few, its light rim included, and the number from which on dots shrink.
const DOT: f64 = 13.0;
const FEW_DOTS: f64 = 30.0;
/// Smaller dots have no rim and are of this size; where there are many, what is under them shows through.
const SMALLEST_RIM: f64 = 6.0;
const SPECK: f64 = 2.0;
const MANY_DOTS: usize = 300;
const MANY_ALPHA: f64 = 0.5;

/// Values by cell; the first coordinate lies along x and runs slowest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    /// Increasing edges of the cells along x and along y.
    pub edges: [&'a [f64]; 2],
    pub values: &'a [f64],
}

impl Field<'_> {
    fn range(&self, axis: usize) -> (f64, f64) {
        let edges = self.edges[axis];
        (edges[0], edges[edges.len() - 1])
    }

    /// Height by width of a frame in which both coordinates have the same scale.
    pub fn shape(&self) -> f64 {
        let (x, y) = (self.range(0), self.range(1));
        ((y.1 - y.0) / (x.1 - x.0)).clamp(SHAPES.0, SHAPES.1)
    }

    /// Equal cells in the colours of the values, the last of y on top.
    fn image(&self, place: Bar, color: impl Fn(f64) -> RGBColor) -> Image {
        let [x, y] = self.edges.map(equal_cells);
        let per_column = self.edges[1].len() - 1;
        let mut rgb = Vec::with_capacity(3 * x.len() * y.len());
        for j in y.iter().rev() {
            for i in &x {
                let RGBColor(r, g, b) = color(self.values[i * per_column + j]);
                rgb.extend([r, g, b]);
            }
        }
        Image {
            place,
            columns: x.len(),
            rows: y.len(),
            rgb,
        }
    }
}

/// The cell that each of a row of equal cells shows.
fn equal_cells(edges: &[f64]) -> Vec<usize> {
    let count = edges.len() - 1;
    let (low, high) = (edges[0], edges[count]);
    let width = (high - low) / count as f64;
    let equal = edges
        .windows(2)
        .all(|pair| (pair[1] - pair[0] - width).abs() < 1e-6 * width);
    if equal {
        return (0..count).collect();
    }
    (0..RESAMPLED)
        .map(|k| {
            let at = low + (high - low) * (k as f64 + 0.5) / RESAMPLED as f64;
            (edges.partition_point(|edge| *edge <= at).max(1) - 1).min(count - 1)
        })
        .collect()
}

fn square((x, y): (f64, f64), half: f64) -> Bar {
    Bar {
        left: x - half,
        right: x + half,
        top: y - half,
        bottom: y + half,
    }
}

/// Tick marks that leave room for their numbers between panels.
fn wanted(length: f64, em: f64) -> usize {
    (length / (4.5 * em)).clamp(4.0, 6.0) as usize
}

/// Edges halfway between centres, the outer ones as far out as their neighbours are in.
pub(super) fn edges_between(centres: &[f64]) -> Vec<f64> {
    let middle = |pair: &[f64]| 0.5 * pair[0] + 0.5 * pair[1];
    let inner: Vec<f64> = centres.windows(2).map(middle).collect();
    let (first, last) = (centres[0], centres[centres.len() - 1]);
    let low = first - (inner[0] - first);
    let high = last + (last - inner[inner.len() - 1]);
    [&[low], inner.as_slice(), &[high]].concat()
}

/// A frame in the scene and what it shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeatPanel<'a> {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub field: Field<'a>,
}

impl HeatPanel<'_> {
    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    fn x_at(&self, x: f64) -> f64 {
        let (low, high) = self.field.range(0);
        self.left + self.width * (x - low) / (high - low)
    }

    fn y_at(&self, y: f64) -> f64 {
        let (low, high) = self.field.range(1);
        self.bottom() - self.height * (y - low) / (high - low)
    }

    /// The values in their colours, and the dots that lie inside; where they are too many to have rims in the colour `speck`.
    pub fn draw(
        &self,
        scene: &mut Scene,
        color: impl Fn(f64) -> RGBColor,
        dots: &[[f64; 2]],
        speck: RGBColor,
    ) {
        let place = Bar {
            left: self.left,
            right: self.right(),
            top: self.top,
            bottom: self.bottom(),
        };
        scene.image(self.field.image(place, color));
        let radius = DOT * (FEW_DOTS / dots.len().max(1) as f64).sqrt().min(1.0);
        for centre in self.inside(dots) {
            if radius >= SMALLEST_RIM {
                scene.disc(centre, radius, WHITE);
                scene.disc(centre, 0.65 * radius, INK);
            } else if dots.len() <= MANY_DOTS {
                scene.disc(centre, SPECK, speck);
            } else {
                scene.steps(vec![square(centre, SPECK)], speck, MANY_ALPHA);
            }
        }
        let sides = (self.left, self.right());
        scene.frame(sides, (self.top, self.bottom()), FRAME_WIDTH);
    }

    /// Where a position lies in the scene.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x_at(x), self.y_at(y))
    }

    /// Places of the dots that lie inside.
    fn inside(&self, dots: &[[f64; 2]]) -> impl Iterator<Item = (f64, f64)> {
        let within = |at: f64, (low, high): (f64, f64)| (low..=high).contains(&at);
        dots.iter()
            .filter(move |[x, y]| {
                within(*x, self.field.range(0)) && within(*y, self.field.range(1))
            })
            .map(|[x, y]| (self.x_at(*x), self.y_at(*y)))
    }

    /// Tick marks below and to the left, with or without numbers.
    pub fn ticks(&self, scene: &mut Scene, em: f64, below: bool, left: bool) {
        let label = |wanted: bool, text: String| if wanted { text } else { String::new() };
        let (x, y) = (self.field.range(0), self.field.range(1));
        for (value, text) in ticks(x.0, x.1, wanted(self.width, em)) {
            tick_below(
                scene,
                (self.x_at(value), self.bottom()),
                label(below, text),
                em,
            );
        }
        for (value, text) in ticks(y.0, y.1, wanted(self.height, em)) {
            tick_left(scene, (self.left, self.y_at(value)), label(left, text), em);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_coordinate_lies_along_x_and_the_second_upwards() {
        let field = Field {
            edges: [&[0.0, 1.0, 2.0], &[0.0, 1.0, 2.0, 3.0]],
            values: &[0.0, 1.0, 2.0, 10.0, 11.0, 12.0],
        };
        let place = Bar {
            left: 0.0,
            right: 1.0,
            top: 0.0,
            bottom: 1.0,
        };
        let image = field.image(place, |v| RGBColor(v as u8, 0, 0));
        assert_eq!((image.columns, image.rows), (2, 3));
        let red: Vec<u8> = image.rgb.iter().step_by(3).copied().collect();
        assert_eq!(red, [2, 12, 1, 11, 0, 10]);
    }

    #[test]
    fn bins_of_any_width_take_their_share_of_the_cells() {
        let cells = equal_cells(&[0.0, 1.0, 4.0]);
        let first = cells.iter().filter(|cell| **cell == 0).count();
        assert_eq!(first, RESAMPLED / 4);
        assert_eq!(edges_between(&[0.5, 1.5, 2.5]), [0.0, 1.0, 2.0, 3.0]);
    }
}
