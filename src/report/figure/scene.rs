//! A drawing in memory, and its two renderings: SVG and PNG, both by plotters.
//!
//! A scene is laid out once, in units much finer than a pixel, so that both renderings agree and integer coordinates
//! (all that plotters' backends take) are invisible.

use std::sync::OnceLock;

use plotters::prelude::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, ShapeStyle, TextStyle, WHITE,
    register_font,
};

use super::FigureError;

/// Scene units per PNG pixel, in both directions: the PNG is drawn in scene units and averaged down, which smooths it.
pub(super) const UNITS_PER_PIXEL: u32 = 2;
/// Scene units per CSS pixel of the SVG's stated size.
const UNITS_PER_CSS_PIXEL: u32 = 4;
/// 300 dpi.
const PIXELS_PER_METRE: u32 = 11_811;

/// Name of the bundled font. As the SVG quotes it, it also lists what a viewer without DejaVu Sans may use: Verdana has the same
/// widths, both descend from one design.
const FONT: &str = "DejaVu Sans, Verdana, sans-serif";
static FONT_FILE: &[u8] = include_bytes!("../../../assets/DejaVuSans.ttf");
/// Ascent plus descent of DejaVu Sans in em: plotters' bitmap text takes this height for the size.
const LINE_HEIGHT: f64 = (1901.0 + 483.0) / 2048.0;
/// plotters' SVG text divides the size by this to have the em.
const SVG_SIZE_PER_EM: f64 = 1.24;

/// Which point of the text the position means, along the line of writing. Across it, it is the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// A step of a band or a filled histogram, in scene units: from `left` to `right`, from `top` down to `bottom`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bar {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

/// A raster of equal cells that fills a rectangle.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Image {
    pub place: Bar,
    pub columns: usize,
    pub rows: usize,
    /// Three bytes per cell, row by row from the top.
    pub rgb: Vec<u8>,
}

/// One line of text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub content: String,
    pub at: (f64, f64),
    /// Size: the em in scene units.
    pub em: f64,
    pub color: RGBColor,
    pub align: Align,
    /// Written upwards.
    pub upwards: bool,
}

#[derive(Debug, Clone)]
enum Item {
    Line {
        points: Vec<(f64, f64)>,
        color: RGBColor,
        width: f64,
    },
    /// Contiguous bars, left to right.
    Steps {
        bars: Vec<Bar>,
        color: RGBColor,
        alpha: f64,
    },
    Triangle {
        corners: [(f64, f64); 3],
        color: RGBColor,
    },
    Disc {
        centre: (f64, f64),
        radius: f64,
        color: RGBColor,
    },
    Text(Text),
}

/// A drawing: images, and over them the items in the order in which they are painted, y downwards.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    size: (u32, u32),
    images: Vec<Image>,
    items: Vec<Item>,
}

impl Scene {
    /// An empty scene; sizes are rounded up to whole PNG pixels.
    pub fn new(width: f64, height: f64) -> Self {
        let whole = |length: f64| (length.ceil() as u32).next_multiple_of(UNITS_PER_CSS_PIXEL);
        Self {
            size: (whole(width), whole(height)),
            images: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Adds an image, under all that is not one.
    pub fn image(&mut self, image: Image) {
        self.images.push(image);
    }

    /// Adds a filled circle.
    pub fn disc(&mut self, centre: (f64, f64), radius: f64, color: RGBColor) {
        self.items.push(Item::Disc {
            centre,
            radius,
            color,
        });
    }

    /// Adds a path, with alternating lengths of dash and gap (none: solid).
    pub fn line(&mut self, points: &[(f64, f64)], color: RGBColor, width: f64, dashes: &[f64]) {
        let pieces = if dashes.is_empty() {
            vec![points.to_vec()]
        } else {
            dashed(points, dashes)
        };
        self.items
            .extend(pieces.into_iter().map(|points| Item::Line {
                points,
                color,
                width,
            }));
    }

    /// Adds contiguous filled bars.
    pub fn steps(&mut self, bars: Vec<Bar>, color: RGBColor, alpha: f64) {
        self.items.push(Item::Steps { bars, color, alpha });
    }

    /// Adds the outline of a rectangle.
    pub fn frame(&mut self, (left, right): (f64, f64), (top, bottom): (f64, f64), width: f64) {
        let mut outline = vec![
            (left, top),
            (right, top),
            (right, bottom),
            (left, bottom),
            (left, top),
        ];
        // One more segment, so that the first corner is mitred like the others.
        outline.push((left + width, top));
        self.line(&outline, INK, width, &[]);
    }

    /// Adds a filled triangle that points up, its tip at `tip`.
    pub fn arrow_head(&mut self, tip: (f64, f64), size: f64, color: RGBColor) {
        let (x, y) = tip;
        self.items.push(Item::Triangle {
            corners: [
                (x, y),
                (x + 0.6 * size, y + size),
                (x - 0.6 * size, y + size),
            ],
            color,
        });
    }

    /// Adds text.
    pub fn text(&mut self, text: Text) {
        if !text.content.is_empty() {
            self.items.push(Item::Text(text));
        }
    }

    /// The scene as an SVG document.
    pub fn to_svg(&self) -> Result<String, FigureError> {
        font()?;
        let mut svg = String::new();
        {
            let mut backend = SVGBackend::with_string(&mut svg, self.size);
            background(&mut backend, self.size)?;
            for item in &self.items {
                match item {
                    Item::Line {
                        points,
                        color,
                        width,
                    } => backend
                        .draw_path(points.iter().copied().map(whole), &stroke(*color, *width))
                        .map_err(drawing)?,
                    Item::Steps { bars, color, alpha } => {
                        let outline = bars
                            .iter()
                            .flat_map(|b| [(b.left, b.top), (b.right, b.top)])
                            .chain(
                                bars.iter()
                                    .rev()
                                    .flat_map(|b| [(b.right, b.bottom), (b.left, b.bottom)]),
                            );
                        backend
                            .fill_polygon(
                                outline.map(whole),
                                &ShapeStyle::from(color.mix(*alpha)).filled(),
                            )
                            .map_err(drawing)?;
                    }
                    Item::Triangle { corners, color } => backend
                        .fill_polygon(corners.map(whole), &ShapeStyle::from(*color).filled())
                        .map_err(drawing)?,
                    Item::Disc {
                        centre,
                        radius,
                        color,
                    } => {
                        let style = ShapeStyle::from(*color).filled();
                        backend
                            .draw_circle(whole(*centre), radius.round() as u32, &style, true)
                            .map_err(drawing)?;
                    }
                    Item::Text(text) => {
                        let style = text_style(text, text.em * SVG_SIZE_PER_EM);
                        // plotters puts the baseline of top-anchored SVG text 0.76 em below the position.
                        let at = across(text, -0.76 * text.em);
                        backend
                            .draw_text(&text.content, &style, whole(at))
                            .map_err(drawing)?;
                    }
                }
            }
            backend.present().map_err(drawing)?;
        }
        Ok(self.with_stated_size(self.with_images(svg)?))
    }

    /// Puts the images behind the first element, the background. plotters has no words for them.
    fn with_images(&self, mut svg: String) -> Result<String, FigureError> {
        const ELEMENT_END: &str = "/>\n";
        let mut elements = String::new();
        for image in &self.images {
            elements.push_str(&image.to_svg()?);
        }
        if !elements.is_empty() {
            let end = svg
                .find(ELEMENT_END)
                .ok_or_else(|| drawing("no background"))?;
            svg.insert_str(end + ELEMENT_END.len(), &elements);
        }
        Ok(svg)
    }

    /// A page-sized figure in a browser, though its units are fine.
    fn with_stated_size(&self, svg: String) -> String {
        let (width, height) = self.size;
        svg.replacen(
            &format!("width=\"{width}\" height=\"{height}\" viewBox"),
            &format!(
                "width=\"{}\" height=\"{}\" viewBox",
                width / UNITS_PER_CSS_PIXEL,
                height / UNITS_PER_CSS_PIXEL
            ),
            1,
        )
    }

    /// The scene as a PNG file, [`UNITS_PER_PIXEL`] scene units per pixel.
    pub fn to_png(&self) -> Result<Vec<u8>, FigureError> {
        font()?;
        let (width, height) = self.size;
        let mut fine = vec![0; width as usize * height as usize * 3];
        {
            let mut backend = BitMapBackend::with_buffer(&mut fine, self.size);
            background(&mut backend, self.size)?;
            for image in &self.images {
                image.paint(&mut backend)?;
            }
            for item in &self.items {
                paint(&mut backend, item)?;
            }
            backend.present().map_err(drawing)?;
        }
        let pixels = averaged(&fine, width as usize);
        encode(&pixels, width / UNITS_PER_PIXEL, height / UNITS_PER_PIXEL)
    }
}

impl Image {
    /// As an SVG element that holds a PNG.
    fn to_svg(&self) -> Result<String, FigureError> {
        let place = self.place;
        let png = encode(&self.rgb, self.columns as u32, self.rows as u32)?;
        Ok(format!(
            "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
             style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{}\"/>\n",
            place.left,
            place.top,
            place.right - place.left,
            place.bottom - place.top,
            base64(&png)
        ))
    }

    fn paint(&self, backend: &mut BitMapBackend) -> Result<(), FigureError> {
        let place = self.place;
        let x = |column: usize| {
            place.left + (place.right - place.left) * column as f64 / self.columns as f64
        };
        let y = |row: usize| place.top + (place.bottom - place.top) * row as f64 / self.rows as f64;
        for (cell, rgb) in self.rgb.chunks_exact(3).enumerate() {
            let (row, column) = (cell / self.columns, cell % self.columns);
            let bar = Bar {
                left: x(column),
                right: x(column + 1),
                top: y(row),
                bottom: y(row + 1),
            };
            let color = RGBColor(rgb[0], rgb[1], rgb[2]);
            paint_bar(backend, bar, &ShapeStyle::from(color).filled())?;
        }
        Ok(())
    }
}

/// Base 64 of RFC 4648, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let known = digit <= group.len();
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if known {
                char::from(DIGITS[index as usize])
            } else {
                '='
            });
        }
    }
    text
}

/// Colour of frames, ticks and text.
pub(super) const INK: RGBColor = RGBColor(20, 20, 20);

/// A text in the usual colour that begins at `at`.
pub(super) fn plain(content: String, at: (f64, f64), em: f64) -> Text {
    Text {
        content,
        at,
        em,
        color: INK,
        align: Align::Left,
        upwards: false,
    }
}

/// A text that runs upwards, its middle at `at`.
pub(super) fn upward(scene: &mut Scene, content: impl Into<String>, at: (f64, f64), em: f64) {
    scene.text(Text {
        align: Align::Centre,
        upwards: true,
        ..plain(content.into(), at, em)
    });
}

/// Width of a text in scene units.
pub(super) fn text_width(content: &str, em: f64) -> Result<f64, FigureError> {
    font()?;
    // Measured large, because plotters rounds to whole units.
    let measure = 1000.0;
    let desc = FontDesc::new(
        FontFamily::Name(FONT),
        measure * LINE_HEIGHT,
        FontStyle::Normal,
    );
    let (width, _) = desc
        .box_size(content)
        .map_err(|e| FigureError::Draw(e.to_string()))?;
    Ok(f64::from(width) / measure * em)
}

/// Registers the bundled font, once per process.
fn font() -> Result<(), FigureError> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    if *REGISTERED.get_or_init(|| register_font(FONT, FontStyle::Normal, FONT_FILE).is_ok()) {
        Ok(())
    } else {
        Err(FigureError::Draw("the bundled font is damaged".to_string()))
    }
}

fn drawing(error: impl std::fmt::Display) -> FigureError {
    FigureError::Draw(error.to_string())
}

fn whole((x, y): (f64, f64)) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

fn stroke(color: RGBColor, width: f64) -> ShapeStyle {
    ShapeStyle::from(color).stroke_width(width.round() as u32)
}

fn background<DB: DrawingBackend>(backend: &mut DB, size: (u32, u32)) -> Result<(), FigureError> {
    let corner = (size.0 as i32, size.1 as i32);
    backend
        .draw_rect((0, 0), corner, &ShapeStyle::from(WHITE).filled(), true)
        .map_err(drawing)
}

fn text_style(text: &Text, size: f64) -> TextStyle<'static> {
    let transform = if text.upwards {
        FontTransform::Rotate270
    } else {
        FontTransform::None
    };
    let align = match text.align {
        Align::Left => HPos::Left,
        Align::Centre => HPos::Center,
        Align::Right => HPos::Right,
    };
    FontDesc::new(FontFamily::Name(FONT), size, FontStyle::Normal)
        .transform(transform)
        .color(&text.color)
        .pos(Pos::new(align, VPos::Top))
}

/// The text's position moved by `distance` across its line of writing, towards the feet of the letters.
fn across(text: &Text, distance: f64) -> (f64, f64) {
    let (x, y) = text.at;
    if text.upwards {
        (x + distance, y)
    } else {
        (x, y + distance)
    }
}

/// Paints one item on the bitmap. Lines and bars are painted as rectangles with whole-number edges: plotters' thick lines and
/// polygons leave seams in steps, and blend twice where they overlap.
fn paint(backend: &mut BitMapBackend, item: &Item) -> Result<(), FigureError> {
    match item {
        Item::Line {
            points,
            color,
            width,
        } => {
            let style = ShapeStyle::from(*color).filled();
            if points.windows(2).any(|pair| is_slanted(pair[0], pair[1])) {
                return paint_slanted(backend, points, *width, &style);
            }
            let last = points.len().saturating_sub(2);
            for (i, pair) in points.windows(2).enumerate() {
                let bar = thick(pair[0], pair[1], *width, i > 0, i < last);
                paint_bar(backend, bar, &style)?;
            }
        }
        Item::Steps { bars, color, alpha } => {
            let style = ShapeStyle::from(color.mix(*alpha)).filled();
            for bar in bars {
                paint_bar(backend, *bar, &style)?;
            }
        }
        Item::Triangle { corners, color } => backend
            .fill_polygon(corners.map(whole), &ShapeStyle::from(*color).filled())
            .map_err(drawing)?,
        Item::Disc {
            centre,
            radius,
            color,
        } => {
            let style = ShapeStyle::from(*color).filled();
            backend
                .draw_circle(whole(*centre), radius.round() as u32, &style, true)
                .map_err(drawing)?;
        }
        Item::Text(text) => {
            let size = text.em * LINE_HEIGHT;
            // plotters puts the baseline of top-anchored bitmap text half its size below the position.
            let at = across(text, -0.5 * size);
            backend
                .draw_text(&text.content, &text_style(text, size), whole(at))
                .map_err(drawing)?;
        }
    }
    Ok(())
}

fn paint_bar(backend: &mut BitMapBackend, bar: Bar, style: &ShapeStyle) -> Result<(), FigureError> {
    let (left, top) = whole((bar.left, bar.top));
    let (right, bottom) = whole((bar.right, bar.bottom));
    if left < right && top < bottom {
        // A filled plotters rectangle on a bitmap ends before its lower right corner.
        backend
            .draw_rect((left, top), (right, bottom), style, true)
            .map_err(drawing)?;
    }
    Ok(())
}

fn is_slanted(from: (f64, f64), to: (f64, f64)) -> bool {
    from.0 != to.0 && from.1 != to.1
}

/// Paints a path of any direction with round joints, which need no thought about angles.
fn paint_slanted(
    backend: &mut BitMapBackend,
    points: &[(f64, f64)],
    width: f64,
    style: &ShapeStyle,
) -> Result<(), FigureError> {
    let half = 0.5 * width;
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        if length == 0.0 {
            continue;
        }
        let (nx, ny) = (-half * dy / length, half * dx / length);
        let corners = [
            (from.0 + nx, from.1 + ny),
            (to.0 + nx, to.1 + ny),
            (to.0 - nx, to.1 - ny),
            (from.0 - nx, from.1 - ny),
        ];
        backend
            .fill_polygon(corners.map(whole), style)
            .map_err(drawing)?;
    }
    let inner = 1..points.len().saturating_sub(1);
    for joint in points.get(inner).unwrap_or_default() {
        backend
            .draw_circle(whole(*joint), half.floor() as u32, style, true)
            .map_err(drawing)?;
    }
    Ok(())
}

/// A thick horizontal or vertical segment; at an inner corner of its path it reaches half its width further.
fn thick(from: (f64, f64), to: (f64, f64), width: f64, corner: bool, next_corner: bool) -> Bar {
    let half = 0.5 * width;
    let reach = |is_corner: bool| if is_corner { half } else { 0.0 };
    if from.1 == to.1 {
        let (low, high) = if from.0 <= to.0 {
            (from.0 - reach(corner), to.0 + reach(next_corner))
        } else {
            (to.0 - reach(next_corner), from.0 + reach(corner))
        };
        Bar {
            left: low,
            right: high,
            top: from.1 - half,
            bottom: from.1 + half,
        }
    } else {
        let (low, high) = if from.1 <= to.1 {
            (from.1 - reach(corner), to.1 + reach(next_corner))
        } else {
            (to.1 - reach(next_corner), from.1 + reach(corner))
        };
        Bar {
            left: from.0 - half,
            right: from.0 + half,
            top: low,
            bottom: high,
        }
    }
}

/// The dashes of a path, measured along it.
fn dashed(points: &[(f64, f64)], pattern: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let mut dashes = Vec::new();
    let mut current = points.first().map_or_else(Vec::new, |first| vec![*first]);
    let (mut index, mut left) = (0, pattern[0]);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let inked = index % 2 == 0;
            if length <= left {
                left -= length;
                if inked && length > 0.0 {
                    current.push(to);
                }
                break;
            }
            let share = left / length;
            from = (
                from.0 + share * (to.0 - from.0),
                from.1 + share * (to.1 - from.1),
            );
            if inked {
                current.push(from);
                dashes.push(std::mem::take(&mut current));
            } else {
                current = vec![from];
            }
            index = (index + 1) % pattern.len();
            left = pattern[index];
        }
    }
    dashes.push(current);
    dashes.retain(|dash| dash.len() > 1);
    dashes
}

/// Means over squares of [`UNITS_PER_PIXEL`].
fn averaged(fine: &[u8], width: usize) -> Vec<u8> {
    let factor = UNITS_PER_PIXEL as usize;
    let samples = (factor * factor) as u32;
    let mut pixels = Vec::with_capacity(fine.len() / (factor * factor));
    for rows in fine.chunks_exact(3 * width * factor) {
        for column in 0..width / factor {
            for channel in 0..3 {
                let sum: u32 = (0..factor * factor)
                    .map(|k| (k / factor, column * factor + k % factor))
                    .map(|(row, x)| u32::from(rows[3 * (row * width + x) + channel]))
                    .sum();
                pixels.push(((sum + samples / 2) / samples) as u8);
            }
        }
    }
    pixels
}

fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, FigureError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: PIXELS_PER_METRE,
        yppu: PIXELS_PER_METRE,
        unit: png::Unit::Meter,
    }));
    let mut writer = encoder.write_header().map_err(drawing)?;
    writer.write_image_data(pixels).map_err(drawing)?;
    writer.finish().map_err(drawing)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4648.
    #[test]
    fn base64_is_that_of_the_standard() {
        let text = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let coded = [
            "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
        ];
        for (text, coded) in text.iter().zip(coded) {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }

    #[test]
    fn dashes_run_around_corners() {
        let path = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)];
        assert_eq!(
            dashed(&path, &[6.0, 2.0]),
            vec![
                vec![(0.0, 0.0), (6.0, 0.0)],
                vec![(8.0, 0.0), (10.0, 0.0), (10.0, 4.0)],
                vec![(10.0, 6.0), (10.0, 10.0)],
            ]
        );
    }
}
