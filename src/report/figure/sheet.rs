//! What the figures over time share: the page, its heading, the names of the axes.

use super::FigureError;
use super::axis::{Plot, Scale};
use super::panel::QUIET;
use super::scene::{Align, Scene, Text, plain, upward};
use super::sweep::fitting;

pub(super) const WIDTH: f64 = 3800.0;
pub(super) const MARGIN: f64 = 60.0;
pub(super) const LABEL: f64 = 66.0;
pub(super) const TICK_LABEL: f64 = 60.0;
/// Left and right end of the frames, and their top.
pub(super) const FRAME: (f64, f64) = (380.0, 2980.0);
pub(super) const TOP: f64 = 280.0;
const TITLE: f64 = 68.0;

/// The title as over the densities, and under it what is drawn.
pub(super) fn heading(scene: &mut Scene, title: &str, what: &str) -> Result<(), FigureError> {
    let room = WIDTH - FRAME.0 - MARGIN;
    let em = fitting(title, TITLE, room)?;
    scene.text(plain(title.to_owned(), (FRAME.0, 110.0), em));
    let em = fitting(what, TICK_LABEL, room)?;
    scene.text(Text {
        color: QUIET,
        ..plain(what.to_owned(), (FRAME.0, 210.0), em)
    });
    Ok(())
}

/// The name of a frame's vertical axis.
pub(super) fn vertical_label(
    scene: &mut Scene,
    content: &str,
    plot: &Plot,
) -> Result<(), FigureError> {
    let em = fitting(content, LABEL, plot.height)?;
    let at = (100.0, plot.top + 0.5 * plot.height);
    upward(scene, content, at, em);
    Ok(())
}

/// The name of a horizontal axis of times.
pub(super) fn time_label(scene: &mut Scene, plot: &Plot) {
    let scale = match plot.x.scale {
        Scale::Log => ", log scale",
        _ => "",
    };
    let content = format!("time t, from t_max at the left to t_min at the right{scale}");
    let at = (plot.left + 0.5 * plot.width, plot.bottom() + 200.0);
    scene.text(Text {
        align: Align::Centre,
        ..plain(content, at, LABEL)
    });
}
