//! The action of the path integral: its discretisation is the sampler's (theory sections 3, 4 and 6).

mod white;
mod white_curve;
mod white_extremal;
mod white_loops;
mod white_step;

pub use white::WhiteAction;
pub use white_curve::{CurveEnd, CurveNode, CurveOptions, ExtremalCurve, extremal_curve};
pub use white_extremal::{Constraint, Extremal, ExtremalError, Fluctuations, pinned_extremal};
pub use white_step::{Jet, ScoreStep, Splitting, WhiteNoise, WhiteStep, score_steps};
