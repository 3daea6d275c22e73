//! One pair of axes with its curves.

use plotters::style::RGBColor;

use super::curves::{Band, Curve, Curves, Look, QUANTILE_DOTS, Role};
use super::scene::{Align, Bar, INK, Scene, Text};

/// Colour of the marks of peaks that leave the frame.
pub(super) const MARK: RGBColor = RGBColor(90, 90, 90);
/// Colour of the second line of legend entries and of annotations.
pub(super) const QUIET: RGBColor = RGBColor(85, 85, 85);
const DATA_FILL: f64 = 0.28;
const BAND_FILL: f64 = 0.25;
pub(super) const FRAME_WIDTH: f64 = 5.0;
pub(super) const TICK: f64 = 20.0;

/// A frame in the scene and the ranges that it shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: (f64, f64),
    /// The vertical range begins at 0.
    pub y_max: f64,
    /// Size of the curves' strokes and dashes.
    pub pen: f64,
}

/// A run of bins in which some curve leaves the frame through the top.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spike {
    /// Middle of the run, in scene units.
    pub x: f64,
    /// The highest density there.
    pub peak: f64,
}

impl Panel {
    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    fn x_at(&self, x: f64) -> f64 {
        self.left + self.width * (x - self.x.0) / (self.x.1 - self.x.0)
    }

    /// Clipped to the frame.
    fn y_at(&self, density: f64) -> f64 {
        self.bottom() - self.height * (density / self.y_max).clamp(0.0, 1.0)
    }

    /// Draws the curves, from the background to the leading prediction, then the frame over their ends.
    pub fn draw(&self, scene: &mut Scene, curves: &Curves) {
        let edges = &curves.edges;
        for curve in &curves.curves {
            match (curve.role, &curve.band) {
                (Role::Data, _) => {
                    let zero = vec![0.0; curve.density.len()];
                    let bars = self.bars(edges, &zero, &curve.density);
                    scene.steps(bars, curve.look.color, DATA_FILL);
                }
                (Role::MonteCarlo, Some(band)) => {
                    let bars = self.bars(edges, &band.low, &band.high);
                    scene.steps(bars, curve.look.color, BAND_FILL);
                }
                _ => {}
            }
        }
        for curve in in_order_of_paint(curves) {
            if let (Role::Prediction, Some(band)) = (curve.role, &curve.band) {
                self.quantile_lines(scene, edges, band, curve.look.color);
            }
            self.steps(scene, edges, &curve.density, curve.look);
        }
        scene.frame(
            (self.left, self.right()),
            (self.top, self.bottom()),
            FRAME_WIDTH,
        );
    }

    fn bars(&self, edges: &[f64], low: &[f64], high: &[f64]) -> Vec<Bar> {
        edges
            .windows(2)
            .zip(low.iter().zip(high))
            .map(|(edge, (low, high))| Bar {
                left: self.x_at(edge[0]),
                right: self.x_at(edge[1]),
                top: self.y_at(*high),
                bottom: self.y_at(*low),
            })
            .collect()
    }

    fn quantile_lines(&self, scene: &mut Scene, edges: &[f64], band: &Band, color: RGBColor) {
        let look = Look {
            color,
            width: 6.0,
            dashes: QUANTILE_DOTS,
        };
        for values in [&band.low, &band.high] {
            self.steps(scene, edges, values, look);
        }
    }

    /// A density as a histogram's outline; where it leaves the frame the line ends at the top and comes back.
    fn steps(&self, scene: &mut Scene, edges: &[f64], density: &[f64], look: Look) {
        let (width, dashes) = look.scaled(self.pen);
        let mut path: Vec<(f64, f64)> = Vec::new();
        for (edge, value) in edges.windows(2).zip(density) {
            let (left, right) = (self.x_at(edge[0]), self.x_at(edge[1]));
            if *value > self.y_max {
                if !path.is_empty() {
                    path.push((left, self.top));
                    scene.line(&path, look.color, width, &dashes);
                }
                path = vec![(right, self.top)];
            } else {
                let y = self.y_at(*value);
                path.push((left, y));
                path.push((right, y));
            }
        }
        scene.line(&path, look.color, width, &dashes);
    }

    /// Tick marks below the frame, with or without numbers.
    pub fn x_ticks(&self, scene: &mut Scene, em: f64, labels: bool) {
        // A number and the air around it take about four em.
        let wanted = (self.width / (4.5 * em)).clamp(3.0, 6.0) as usize;
        for (value, label) in ticks(self.x.0, self.x.1, wanted) {
            let label = if labels { label } else { String::new() };
            tick_below(scene, (self.x_at(value), self.bottom()), label, em);
        }
    }

    /// Tick marks to the left of the frame, with or without numbers.
    pub fn y_ticks(&self, scene: &mut Scene, em: f64, labels: bool) {
        for (value, label) in ticks(0.0, self.y_max, 5) {
            let label = if labels { label } else { String::new() };
            tick_left(scene, (self.left, self.y_at(value)), label, em);
        }
    }

    /// Where curves leave the frame; runs of bins closer than `gap` scene units are one spike.
    pub fn spikes(&self, curves: &Curves, gap: f64) -> Vec<Spike> {
        let mut runs: Vec<(f64, f64, f64)> = Vec::new();
        for (bin, edge) in curves.edges.windows(2).enumerate() {
            let peak = curves
                .curves
                .iter()
                .map(|c| c.density[bin])
                .fold(0.0, f64::max);
            if peak <= self.y_max {
                continue;
            }
            let (left, right) = (self.x_at(edge[0]), self.x_at(edge[1]));
            match runs.last_mut() {
                Some(run) if left - run.1 <= gap => *run = (run.0, right, run.2.max(peak)),
                _ => runs.push((left, right, peak)),
            }
        }
        runs.into_iter()
            .map(|(left, right, peak)| Spike {
                x: 0.5 * (left + right),
                peak,
            })
            .collect()
    }
}

/// Background first: data, exact score, Monte Carlo, the predictions, and the leading one over all.
fn in_order_of_paint(curves: &Curves) -> Vec<&Curve> {
    let mut order: Vec<&Curve> = curves.curves.iter().collect();
    order.sort_by_key(|c| (Some(&c.name) == curves.leading.as_ref(), c.role));
    order
}

/// A tick mark under the foot of a frame, with its number.
pub(super) fn tick_below(scene: &mut Scene, (x, bottom): (f64, f64), label: String, em: f64) {
    scene.line(&[(x, bottom), (x, bottom + TICK)], INK, FRAME_WIDTH, &[]);
    let at = (x, bottom + TICK + 1.05 * em);
    number(scene, label, at, Align::Centre, em);
}

/// A tick mark to the left of a frame.
pub(super) fn tick_left(scene: &mut Scene, (left, y): (f64, f64), label: String, em: f64) {
    scene.line(&[(left - TICK, y), (left, y)], INK, FRAME_WIDTH, &[]);
    let at = (left - TICK - 0.3 * em, y + 0.36 * em);
    number(scene, label, at, Align::Right, em);
}

/// A tick mark to the right of a frame.
pub(super) fn tick_right(scene: &mut Scene, (right, y): (f64, f64), label: String, em: f64) {
    scene.line(&[(right, y), (right + TICK, y)], INK, FRAME_WIDTH, &[]);
    let at = (right + TICK + 0.3 * em, y + 0.36 * em);
    number(scene, label, at, Align::Left, em);
}

fn number(scene: &mut Scene, content: String, at: (f64, f64), align: Align, em: f64) {
    scene.text(Text {
        content,
        at,
        em,
        color: INK,
        align,
        upwards: false,
    });
}

/// Round numbers from `low` to `high`, about `wanted` of them, with their labels.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / wanted as f64;
    let decade = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .find(|f| f * decade >= rough * (1.0 - 1e-9))
        .unwrap_or(10.0);
    let step = factor * decade;
    let decimals = (0..12)
        .find(|d| {
            let scaled = step * 10_f64.powi(*d);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        })
        .unwrap_or(12) as usize;
    let slack = 1e-9 * (high - low);
    let first = ((low - slack) / step).ceil() as i64;
    let last = ((high + slack) / step).floor() as i64;
    (first..=last)
        .map(|k| {
            let value = k as f64 * step;
            // The sign of typography, not the hyphen.
            let label = format!("{value:.decimals$}").replace('-', "\u{2212}");
            (value, label)
        })
        .collect()
}

/// Draws the sample of a legend entry: the line, over the fill or the band that goes with it.
pub(super) fn legend_sample(
    scene: &mut Scene,
    curve: &Curve,
    (left, middle): (f64, f64),
    width: f64,
) {
    let swatch = |half: f64| {
        vec![Bar {
            left,
            right: left + width,
            top: middle - half,
            bottom: middle + half,
        }]
    };
    let across = |y: f64| [(left, y), (left + width, y)];
    match (curve.role, &curve.band) {
        (Role::Data, _) => scene.steps(swatch(24.0), curve.look.color, DATA_FILL),
        (Role::MonteCarlo, Some(_)) => scene.steps(swatch(24.0), curve.look.color, BAND_FILL),
        (Role::Prediction, Some(_)) => {
            for y in [middle - 24.0, middle + 24.0] {
                scene.line(&across(y), curve.look.color, 6.0, QUANTILE_DOTS);
            }
        }
        _ => {}
    }
    // The data's line is the outline of its fill.
    let y = match curve.role {
        Role::Data => middle - 24.0,
        _ => middle,
    };
    scene.line(
        &across(y),
        curve.look.color,
        curve.look.width,
        curve.look.dashes,
    );
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn ticks_are_round() {
        let labels = |low, high, n| -> Vec<String> {
            ticks(low, high, n).into_iter().map(|(_, l)| l).collect()
        };
        assert_eq!(
            labels(-1.5, 1.5, 6),
            ["−1.5", "−1.0", "−0.5", "0.0", "0.5", "1.0", "1.5"]
        );
        assert_eq!(labels(0.0, 1.3, 5), ["0.0", "0.5", "1.0"]);
        assert_eq!(labels(0.0, 40.0, 5), ["0", "10", "20", "30", "40"]);
    }
}
