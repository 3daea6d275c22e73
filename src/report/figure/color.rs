//! Colours that mean numbers, and the bar that says which.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::panel::{FRAME_WIDTH, tick_right};
use super::scene::{Bar, Scene};

/// Viridis: perceptually ordered from dark to light, also in grey and to colour-blind readers.
const VIRIDIS: [RGBColor; 11] = [
    RGBColor(68, 1, 84),
    RGBColor(72, 36, 117),
    RGBColor(65, 68, 135),
    RGBColor(53, 95, 141),
    RGBColor(42, 120, 142),
    RGBColor(33, 145, 140),
    RGBColor(34, 168, 132),
    RGBColor(68, 191, 112),
    RGBColor(122, 209, 81),
    RGBColor(189, 223, 38),
    RGBColor(253, 231, 37),
];

/// Blue over white to red, after ColorBrewer's RdBu.
const DIVERGING: [RGBColor; 11] = [
    RGBColor(5, 48, 97),
    RGBColor(33, 102, 172),
    RGBColor(67, 147, 195),
    RGBColor(146, 197, 222),
    RGBColor(209, 229, 240),
    RGBColor(255, 255, 255),
    RGBColor(253, 219, 199),
    RGBColor(244, 165, 130),
    RGBColor(214, 96, 77),
    RGBColor(178, 24, 43),
    RGBColor(103, 0, 31),
];

/// Steps of a bar.
const STEPS: usize = 120;

/// Colour of a fraction from 0 to 1 of an ordered scale.
pub(super) fn ordered(fraction: f64) -> RGBColor {
    between(&VIRIDIS, fraction)
}

/// Colour of a fraction from 0 to 1 of a scale whose middle is white.
pub(super) fn diverging(fraction: f64) -> RGBColor {
    between(&DIVERGING, fraction)
}

fn between(stops: &[RGBColor; 11], fraction: f64) -> RGBColor {
    let place = fraction.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
    let index = (place as usize).min(stops.len() - 2);
    let share = place - index as f64;
    let (a, b) = (stops[index], stops[index + 1]);
    let mix = |a: u8, b: u8| (f64::from(a) + share * (f64::from(b) - f64::from(a))).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Draws an upright colour bar with the numbers of its axis to the right.
pub(super) fn color_bar(
    scene: &mut Scene,
    place: Bar,
    axis: &Axis,
    color: impl Fn(f64) -> RGBColor,
    em: f64,
) {
    let height = place.bottom - place.top;
    // From the top, each down to the foot: no seams.
    for step in (0..STEPS).rev() {
        let top = place.bottom - height * (step + 1) as f64 / STEPS as f64;
        let bar = Bar { top, ..place };
        scene.steps(vec![bar], color((step as f64 + 0.5) / STEPS as f64), 1.0);
    }
    scene.frame(
        (place.left, place.right),
        (place.top, place.bottom),
        FRAME_WIDTH,
    );
    for (value, label) in axis.ticks(5) {
        let y = place.bottom - height * axis.fraction(value);
        tick_right(scene, (place.right, y), label, em);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_and_turn_where_they_say() {
        assert_eq!(ordered(0.0), VIRIDIS[0]);
        assert_eq!(ordered(1.0), VIRIDIS[10]);
        assert_eq!(diverging(0.5), RGBColor(255, 255, 255));
        assert_eq!(diverging(-3.0), DIVERGING[0]);
        // Brighter all the way.
        let light = |f: f64| {
            let c = ordered(f);
            0.299 * f64::from(c.0) + 0.587 * f64::from(c.1) + 0.114 * f64::from(c.2)
        };
        assert!((0..100).all(|i| light(f64::from(i) / 100.0) <= light(f64::from(i + 1) / 100.0)));
    }
}
