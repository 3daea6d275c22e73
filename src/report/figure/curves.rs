//! What a case's densities look like: which curve, which colour, which dashes.

use plotters::style::RGBColor;

use super::FigureError;
use crate::report::result::{CaseResult, DATA, DensityResult, MONTE_CARLO, PF_ODE};

/// What a density is to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Data,
    Exact,
    MonteCarlo,
    Prediction,
}

/// Colour, width and dashes, in scene units. Colours are those of Okabe and Ito, which colour-blind readers tell apart; dashes
/// tell the curves apart in grey. Monte Carlo is light and the prediction that is usually laid over it dark.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    pub color: RGBColor,
    pub width: f64,
    pub dashes: &'static [f64],
}

const GREY: RGBColor = RGBColor(130, 130, 130);
const BLACK: RGBColor = RGBColor(0, 0, 0);
pub(super) const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub(super) const SKY_BLUE: RGBColor = RGBColor(86, 180, 233);
pub(super) const BLUISH_GREEN: RGBColor = RGBColor(0, 158, 115);
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
pub(super) const REDDISH_PURPLE: RGBColor = RGBColor(204, 121, 167);

impl Look {
    /// The same, `factor` times as fine.
    pub fn scaled(self, factor: f64) -> (f64, Vec<f64>) {
        let dashes = self.dashes.iter().map(|length| factor * length).collect();
        (factor * self.width, dashes)
    }
}

/// Dots that mark the quantiles of a prediction over models.
pub(super) const QUANTILE_DOTS: &[f64] = &[6.0, 12.0];

/// Predictions in the order of the legend, and how each is drawn.
const PREDICTIONS: [(&str, RGBColor, &[f64]); 9] = [
    ("mean-field", BLUISH_GREEN, &[60.0, 20.0, 12.0, 20.0]),
    ("semiclassical", REDDISH_PURPLE, &[26.0, 16.0]),
    ("saddle", SKY_BLUE, &[80.0, 18.0, 12.0, 18.0, 12.0, 18.0]),
    ("gaussian-field", BLUE, &[54.0, 26.0]),
    ("fokker-planck", VERMILION, &[96.0, 24.0]),
    ("sample-sum", BLACK, &[40.0, 40.0]),
    ("gaussian-score", SKY_BLUE, &[30.0, 30.0]),
    ("smoothed-score", VERMILION, &[12.0, 24.0]),
    ("linear-rmt", REDDISH_PURPLE, &[90.0, 30.0]),
];
/// Of methods that are not in the list.
const OTHERS: [(RGBColor, &[f64]); 3] = [
    (SKY_BLUE, &[30.0, 30.0]),
    (VERMILION, &[70.0, 20.0, 30.0, 20.0]),
    (REDDISH_PURPLE, &[90.0, 30.0]),
];

/// One density as it is drawn: values per bin, probability per unit of x.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    pub name: String,
    pub role: Role,
    pub look: Look,
    pub density: Vec<f64>,
    /// Lower and upper edge of the spread over models.
    pub band: Option<Band>,
    /// Models that a Monte Carlo mean is over.
    pub models: Option<usize>,
}

/// A band around a curve.
#[derive(Debug, Clone)]
pub(super) struct Band {
    pub low: Vec<f64>,
    pub high: Vec<f64>,
    pub meaning: &'static str,
}

/// The curves of one case in the order of the legend.
#[derive(Debug, Clone)]
pub(super) struct Curves {
    pub edges: Vec<f64>,
    pub curves: Vec<Curve>,
    /// The prediction that stands out: the recommended, else the best.
    pub leading: Option<String>,
}

impl Curves {
    /// Every density of a case.
    pub fn of(case: &CaseResult) -> Result<Self, FigureError> {
        let [edges] = case.edges.as_slice() else {
            return Err(FigureError::Dimension {
                dim: case.edges.len(),
            });
        };
        let leading = case.leading().map(str::to_string);
        let mut curves = case
            .densities
            .iter()
            .map(|(name, density)| curve(name, density, edges, leading.as_deref() == Some(name)))
            .collect::<Result<Vec<_>, _>>()?;
        if curves.is_empty() {
            return Err(FigureError::Empty);
        }
        curves.sort_by_key(|c| (c.role, legend_order(&c.name)));
        give_looks_to_others(&mut curves);
        Ok(Self {
            edges: edges.clone(),
            curves,
            leading,
        })
    }

    /// Only what has room in a sweep's panel: of the predictions the leading one, without its spread.
    pub fn essential(mut self) -> Self {
        let leading = self.leading.clone();
        self.curves
            .retain(|c| c.role != Role::Prediction || Some(&c.name) == leading.as_ref());
        for curve in &mut self.curves {
            if curve.role == Role::Prediction {
                curve.band = None;
            }
        }
        self
    }

    /// Height of the frame in which what matters is readable: Monte Carlo and the leading prediction fill it, the other
    /// predictions may stretch it to double, and the peaks of the data and of the exact score, often ten times higher, may
    /// leave it.
    pub fn readable_height(&self) -> f64 {
        let of = |wanted: &dyn Fn(&Curve) -> bool| {
            self.curves
                .iter()
                .filter(|c| wanted(c))
                .map(Curve::peak)
                .fold(0.0, f64::max)
        };
        let compared = |c: &Curve| {
            c.role == Role::MonteCarlo || Some(c.name.as_str()) == self.leading.as_deref()
        };
        let main = of(&compared);
        if main > 0.0 {
            1.25 * of(&|c| c.role == Role::Prediction)
                .min(1.6 * main)
                .max(main)
        } else {
            let any = of(&|_| true);
            // All mass may be outside the range; the empty frame is then the truth.
            if any > 0.0 { 1.1 * any } else { 1.0 }
        }
    }
}

impl Curve {
    fn peak(&self) -> f64 {
        let band = self.band.iter().flat_map(|b| &b.high);
        self.density.iter().chain(band).copied().fold(0.0, f64::max)
    }

    /// What the legend says below the name.
    pub fn meaning(&self) -> String {
        match self.role {
            Role::Data => "noised, p(x | t_min)".to_string(),
            Role::Exact => "exact score".to_string(),
            Role::MonteCarlo => {
                let mean = match self.models {
                    Some(models) => format!("mean of {models} models"),
                    None => "mean over models".to_string(),
                };
                match &self.band {
                    Some(band) => format!("{mean}, {}", band.meaning),
                    None => mean,
                }
            }
            Role::Prediction => "predicted".to_string(),
        }
    }
}

fn curve(
    name: &str,
    result: &DensityResult,
    edges: &[f64],
    leading: bool,
) -> Result<Curve, FigureError> {
    let role = match name {
        DATA => Role::Data,
        PF_ODE => Role::Exact,
        MONTE_CARLO => Role::MonteCarlo,
        _ => Role::Prediction,
    };
    let mut look = match role {
        Role::Data => Look {
            color: GREY,
            width: 6.0,
            dashes: &[],
        },
        Role::Exact => Look {
            color: BLACK,
            width: 8.0,
            dashes: &[10.0, 14.0],
        },
        Role::MonteCarlo => Look {
            color: ORANGE,
            width: 18.0,
            dashes: &[],
        },
        Role::Prediction => prediction_look(name),
    };
    if leading {
        // Still thinner than Monte Carlo, which so shows on both sides of it where the two agree.
        look.width = 11.0;
    }
    let per_length = |masses: &[f64]| -> Result<Vec<f64>, FigureError> {
        if masses.len() + 1 != edges.len() {
            return Err(FigureError::Malformed {
                part: format!("density '{name}'"),
                message: format!("{} values over {} edges", masses.len(), edges.len()),
            });
        }
        if let Some(mass) = masses.iter().find(|mass| !mass.is_finite()) {
            return Err(FigureError::Malformed {
                part: format!("density '{name}'"),
                message: format!("the mass {mass} is not finite"),
            });
        }
        Ok(masses
            .iter()
            .zip(edges.windows(2))
            .map(|(mass, edge)| mass / (edge[1] - edge[0]))
            .collect())
    };
    Ok(Curve {
        name: name.to_string(),
        role,
        look,
        density: per_length(&result.mass)?,
        band: band(result, per_length)?,
        models: result.models,
    })
}

/// The middle half of the models where the result has it, else two standard errors of their mean.
fn band(
    result: &DensityResult,
    per_length: impl Fn(&[f64]) -> Result<Vec<f64>, FigureError>,
) -> Result<Option<Band>, FigureError> {
    if let (Some(low), Some(high)) = (result.quantiles.get("0.25"), result.quantiles.get("0.75")) {
        return Ok(Some(Band {
            low: per_length(low)?,
            high: per_length(high)?,
            meaning: "25–75 %",
        }));
    }
    let Some(se) = &result.se else {
        return Ok(None);
    };
    let shifted = |factor: f64| -> Vec<f64> {
        let masses = result.mass.iter().zip(se);
        masses.map(|(m, s)| (m + factor * s).max(0.0)).collect()
    };
    Ok(Some(Band {
        low: per_length(&shifted(-2.0))?,
        high: per_length(&shifted(2.0))?,
        meaning: "± 2 s.e.",
    }))
}

fn prediction_look(name: &str) -> Look {
    let (color, dashes) = PREDICTIONS
        .iter()
        .find(|(known, ..)| *known == name)
        .map_or(OTHERS[0], |(_, color, dashes)| (*color, *dashes));
    Look {
        color,
        width: 9.0,
        dashes,
    }
}

fn legend_order(name: &str) -> usize {
    PREDICTIONS
        .iter()
        .position(|(known, ..)| *known == name)
        .unwrap_or(PREDICTIONS.len())
}

/// Methods outside the list take turns.
fn give_looks_to_others(curves: &mut [Curve]) {
    let others = curves
        .iter_mut()
        .filter(|c| c.role == Role::Prediction && legend_order(&c.name) == PREDICTIONS.len());
    for (curve, (color, dashes)) in others.zip(OTHERS.iter().cycle()) {
        curve.look.color = *color;
        curve.look.dashes = dashes;
    }
}
