//! White noise in Ito form: the action of x_{k+1} = m_k(x_k) + sqrt(v_k(x_k)) xi_k, its extremals and their fluctuations
//! (theory section 4; derivations/14-white-noise-saddle.md).

mod action;
mod curve;
mod extremal;
mod loops;
mod step;

pub use action::WhiteAction;
pub use curve::{CurveEnd, CurveNode, CurveOptions, ExtremalCurve, extremal_curve};
pub use extremal::{Constraint, Extremal, ExtremalError, Fluctuations, pinned_extremal};
pub use step::{Jet, ScoreStep, Splitting, WhiteNoise, WhiteStep, score_steps};
