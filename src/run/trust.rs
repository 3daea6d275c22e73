//! How far a prediction is to be trusted, from quantities of the theory alone.

use std::collections::BTreeMap;

use super::predict::fluctuations;
use super::prediction::{Closure, HIGH, LIMITED, PredictionSet};
use super::subspaces;
use crate::compare::total_variation;
use crate::experiment::{Experiment, Method};
use crate::family::network::Parameterisation;
use crate::family::{Family, NetworkFamily, SubspaceFamily};
use crate::problem::{LinePosterior, Problem};
use crate::report::format::significant;
use crate::report::result::{Trust, TrustLevel};
use crate::sampler::churned_drift;

/// An error up to so many times the noise of the ensemble asked for cannot be told from it: the two together stay below
/// twice the noise. Beyond an error of `USELESS` a density is a sketch.
const RESOLVED: f64 = 1.7;
const USELESS: f64 = 0.1;
/// Share of x_T beyond which the expansion in V as a whole has failed.
const MOSTLY: f64 = 0.5;
/// Leverages up to which the first order in a sample's influence is trusted, and beyond which it is not (theory, section 7).
const SMALL_LEVERAGE: f64 = 0.2;
/// Where a sample has half of a say at its own place the Gaussian closure is trusted with care; beyond more than one, not at all.
const HALF: f64 = 0.5;
const DECIDING: f64 = 1.5;
const LARGE_LEVERAGE: f64 = 1.0;
/// Shift of trained functions by a kernel's expansion, in standard deviations: the bar for means (0.1), and
/// three times that, beyond which nothing is left of it.
const FAITHFUL: f64 = 0.1;
const UNFAITHFUL: f64 = 0.3;

/// Reliability of every prediction of a case.
pub(super) fn assess(experiment: &Experiment, set: &PredictionSet) -> BTreeMap<String, Trust> {
    set.by_method
        .keys()
        .map(|&method| {
            (
                method.name().to_owned(),
                assess_one(experiment, set, method),
            )
        })
        .collect()
}

/// The prediction the program would quote.
pub(super) fn recommend(set: &PredictionSet) -> Option<String> {
    // From the most complete treatment of the fluctuations to the least. The sum over samples keeps more cumulants than
    // the Gaussian field and loses what the fluctuations add to themselves: it comes after.
    [
        Method::FokkerPlanck,
        Method::GaussianField,
        Method::SampleSum,
        Method::Saddle,
        Method::Semiclassical,
        Method::MeanField,
    ]
    .into_iter()
    .find(|m| set.by_method.contains_key(m))
    .map(|m| m.name().to_owned())
}

/// Two digits tell how large an error is.
fn number(error: f64) -> String {
    significant(error, 2)
}

fn grade(value: f64, high: f64, limited: f64) -> TrustLevel {
    if value <= high {
        TrustLevel::High
    } else if value <= limited {
        TrustLevel::Limited
    } else {
        TrustLevel::None
    }
}

fn assess_one(experiment: &Experiment, set: &PredictionSet, method: Method) -> Trust {
    if method.is_rival() {
        return Trust {
            level: TrustLevel::None,
            reason: "a rival theory, for comparison: it knows nothing of the model".into(),
            error: None,
        };
    }
    match &experiment.family {
        Family::Linear(_) | Family::Kernel(_) => assess_linear(experiment, set, method),
        Family::Network(family) => of_networks(family, assess_linear(experiment, set, method)),
        Family::LowRank(family) => assess_subspaces(experiment, family, method),
        Family::Naive(naive) if method == Method::FokkerPlanck => {
            assess_white_noise(experiment, naive.kappa)
        }
        Family::Naive(_) if method == Method::Saddle => assess_white_saddle(set),
        Family::Naive(naive) if naive.kappa > 0.0 => Trust {
            level: TrustLevel::None,
            reason: "mean-field leaves the proxy noise out altogether".into(),
            error: None,
        },
        Family::Naive(_) => Trust {
            level: TrustLevel::High,
            reason: "the exact score has no fluctuations: the push-forward is exact".into(),
            error: None,
        },
    }
}

/// The limit of infinite width says nothing of what networks of finite width do beside it.
fn of_networks(family: &NetworkFamily, limit: Trust) -> Trust {
    let width = family.network.width();
    let (level, because) = if family.protocol.optimiser.is_adam() {
        (
            TrustLevel::None,
            "Adam does not follow the gradient flow that is solved".to_owned(),
        )
    } else if family.network.parameterisation() == Parameterisation::Standard {
        (
            TrustLevel::None,
            "the kernel is that of the NTK parameterisation".to_owned(),
        )
    } else {
        (
            TrustLevel::Limited,
            format!("of width {width} solved in the limit of infinite width"),
        )
    };
    Trust {
        level: limit.level.min(level),
        reason: format!("{because}; {}", limit.reason),
        error: None, // that of the limit
    }
}

/// Points determine the subspaces or they do not; where they do, what is left is how far the learned bases turn.
fn assess_subspaces(experiment: &Experiment, family: &SubspaceFamily, method: Method) -> Trust {
    let Some(fluctuations) = fluctuations(experiment, family) else {
        return Trust {
            level: TrustLevel::Limited,
            reason: "the limit of many samples of data that are no low-rank mixture of the model's ranks: how far one model is from it is not predicted".into(),
            error: None,
        };
    };
    let predicted = subspaces::predicted(family, &fluctuations);
    let rank = family.ranks.iter().sum::<usize>() as f64 / family.ranks.len() as f64;
    let turned = predicted.squared_sines_first_order / rank;
    let certain = predicted.recovered.or(predicted.spanned);
    let level = match method {
        // Draws have the fluctuations to first order; their square is left.
        Method::GaussianField => grade(turned * turned, HIGH * HIGH, LIMITED * LIMITED),
        _ => grade(turned, HIGH, LIMITED),
    };
    let of_points = certain.map_or(TrustLevel::Limited, |p| grade(1.0 - p, HIGH, LIMITED));
    Trust {
        level: level.min(of_points),
        reason: format!(
            "probability {} that the points determine the subspaces; predicted mean square of the sines of the principal angles {turned:.3}",
            certain.map_or_else(|| "unknown".to_owned(), |p| format!("{p:.3}")),
        ),
        error: None,
    }
}

/// What the closure says of the complete method, and for the others their distance from it.
fn assess_linear(experiment: &Experiment, set: &PredictionSet, method: Method) -> Trust {
    let own = set.by_method.get(&method);
    let complete = set.by_method.get(&Method::GaussianField);
    let gap = match (own, complete) {
        (Some(own), Some(complete)) if method != Method::GaussianField => Some(total_variation(
            &complete.estimate.masses,
            &own.estimate.masses,
        )),
        _ => None,
    };
    let of_effect = |effect: f64| {
        let because = format!(
            "closure {} (the whole effect of the fluctuations)",
            number(effect)
        );
        error_budget(experiment, set, method, effect, gap, &because)
    };
    let trust = match &set.closure {
        Some(Closure::LargeSamples { feature_ratio }) => large_samples(*feature_ratio, gap),
        Some(Closure::FirstOrder { leverage }) => first_order(*leverage, gap),
        Some(Closure::Kernel { effect, leverage }) => {
            let budget = effect.map_or_else(unknown_effect, of_effect);
            of_leverage(*leverage, budget)
        }
        Some(Closure::Gaussian { effect }) => of_effect(*effect),
        Some(Closure::Layered {
            error,
            layer,
            samples,
        }) => {
            let because = format!(
                "closure {} with {layer:.1} of {samples} samples in the quenched layer",
                number(*error)
            );
            error_budget(experiment, set, method, *error, gap, &because)
        }
        None => unknown_effect(),
    };
    let trust = match (method, set.loops_refused) {
        (Method::Semiclassical, Some(refused)) if refused > MOSTLY => {
            without_expansion(refused, gap.is_some(), trust)
        }
        _ => trust,
    };
    let trust = of_expansion(set.expansion_shift, trust);
    match (method, gap, trust) {
        (Method::GaussianField, _, trust) | (_, Some(_), trust) => trust,
        (_, None, trust) => Trust {
            level: trust.level.min(TrustLevel::Limited),
            reason: format!(
                "fluctuations beyond this method were not computed; {}",
                trust.reason
            ),
            ..trust
        },
    }
}

fn unknown_effect() -> Trust {
    Trust {
        level: TrustLevel::Limited,
        reason: "the size of the fluctuations was not computed".into(),
        error: None,
    }
}

/// V is too large to expand in: without a measured distance from the complete method nothing speaks for the leading order.
fn without_expansion(refused: f64, measured: bool, trust: Trust) -> Trust {
    Trust {
        level: if measured {
            trust.level
        } else {
            TrustLevel::None
        },
        reason: format!(
            "V is too large to expand in at {:.0} % of x_T, the loop corrections are left out there; {}",
            100.0 * refused,
            trust.reason
        ),
        ..trust
    }
}

/// A sample of leverage one decides the function at its place alone: whether there is one is no Gaussian's matter, and the field's
/// whole effect on the average density no longer bounds what its being Gaussian is off by.
fn of_leverage(leverage: f64, budget: Trust) -> Trust {
    Trust {
        level: budget.level.min(grade(leverage, HALF, DECIDING)),
        reason: format!("largest leverage {leverage:.2}; {}", budget.reason),
        ..budget
    }
}

/// The theory of a kernel is that of its expansion: the mean should move by far less than the machines vary.
fn of_expansion(shift: Option<f64>, trust: Trust) -> Trust {
    match shift.map(|shift| (shift, grade(shift, FAITHFUL, UNFAITHFUL))) {
        Some((shift, level)) if level < trust.level || level == TrustLevel::None => Trust {
            level,
            reason: format!(
                "the kernel's expansion moves trained functions by {shift:.2} of their standard deviation; {}",
                trust.reason
            ),
            ..trust
        },
        _ => trust,
    }
}

/// The first order in a sample's influence needs every leverage small: its covariance was 4 % off below 0.2, a fifth at 1.7.
fn first_order(leverage: f64, gap: Option<f64>) -> Trust {
    let because = format!(
        "largest leverage lambda k_tau/P = {leverage:.3}: the first order in a sample's influence needs it small"
    );
    of_parts(
        grade(leverage, SMALL_LEVERAGE, LARGE_LEVERAGE),
        gap,
        because,
    )
}

fn large_samples(ratio: f64, gap: Option<f64>) -> Trust {
    let level = grade(ratio, HIGH, LIMITED);
    let because = format!("effective features / samples = {ratio:.3}: the sandwich needs it small");
    of_parts(level, gap, because)
}

/// What the statistics are worth, and for another method than the Gaussian field its distance from that.
fn of_parts(level: TrustLevel, gap: Option<f64>, because: String) -> Trust {
    match gap {
        None => Trust {
            level,
            reason: because,
            error: None,
        },
        Some(gap) => Trust {
            level: level.min(grade(gap, HIGH, LIMITED)),
            reason: format!(
                "total variation {} from the full Gaussian field; {because}",
                number(gap)
            ),
            error: None,
        },
    }
}

/// Estimated error against what the ensemble that is asked for could tell from the truth. Its noise is known before it is
/// trained: the draws of the prediction vary as the models do.
fn error_budget(
    experiment: &Experiment,
    set: &PredictionSet,
    method: Method,
    closure: f64,
    gap: Option<f64>,
    because: &str,
) -> Trust {
    let numerical = set
        .by_method
        .get(&method)
        .map_or(f64::INFINITY, |p| p.estimate.error());
    let gap = gap.unwrap_or(0.0);
    let error = (closure * closure + numerical * numerical + gap * gap).sqrt();
    let noise = set
        .by_method
        .get(&Method::GaussianField)
        .and_then(|p| p.ensemble.as_ref())
        .map_or(0.0, |e| e.noise_of(experiment.monte_carlo.models as f64));
    let distance = if gap > 0.0 {
        format!(", distance {} from the Gaussian field", number(gap))
    } else {
        String::new()
    };
    Trust {
        level: grade(error, RESOLVED * noise, USELESS),
        reason: format!(
            "estimated error {}: {because}, numerics {}{distance}; {} models would be uncertain by {}",
            number(error),
            number(numerical),
            experiment.monte_carlo.models,
            number(noise)
        ),
        error: Some(error),
    }
}

/// Two orders of the small-noise expansion differ by more than the second is off by.
fn assess_white_saddle(set: &PredictionSet) -> Trust {
    let error = set
        .by_method
        .get(&Method::Saddle)
        .map_or(f64::INFINITY, |p| p.estimate.error());
    Trust {
        level: grade(error, 0.0, USELESS),
        reason: format!(
            "estimated error {}, most of it the distance between the first two orders in the noise",
            number(error)
        ),
        error: Some(error),
    }
}

/// The Fokker-Planck equation is the limit of small jumps: compare one step's jump with the noise level.
fn assess_white_noise(experiment: &Experiment, kappa: f64) -> Trust {
    let problem = &experiment.problem;
    let generator = crate::density::Generator::new(experiment);
    let worst = generator
        .times()
        .windows(2)
        .map(|w| {
            let (_, b, _) = churned_drift(&problem.diffusion, w[0], generator.churn());
            let widest = widest_posterior(problem, w[0]);
            (kappa * (w[0] - w[1]) * widest).sqrt() * b / problem.diffusion.sigma(w[0])
        })
        .fold(0.0, f64::max);
    Trust {
        level: grade(worst, 0.2, 1.0),
        reason: format!(
            "largest proxy-noise jump of one step is {worst:.2} noise standard deviations; the equation is the limit of small jumps"
        ),
        error: None,
    }
}

/// Largest posterior variance (in D >= 2, the trace: an upper bound) met at time t: half-way between components, on the line between neighbours.
fn widest_posterior(problem: &Problem, t: f64) -> f64 {
    if problem.dim() == 1 {
        let posterior = LinePosterior::new(problem, t);
        return posterior
            .marginals()
            .zip(posterior.marginals().skip(1))
            .map(|(l, r)| posterior.at(0.5 * (l.0 + r.0)).variance)
            .fold(0.0, f64::max);
    }
    let alpha = problem.diffusion.alpha(t);
    let components = problem.data.components();
    // Of many components, every one with its successor.
    let reach = match components.len() {
        0..=32 => components.len(),
        _ => 1,
    };
    let pairs = (0..components.len()).flat_map(|i| (i + 1..=i + reach).map(move |j| (i, j)));
    pairs
        .filter_map(|(i, j)| Some((&components[i], components.get(j)?)))
        .map(|(a, b)| {
            let middle = (&a.mean + &b.mean) * (0.5 * alpha);
            problem.posterior(middle.as_slice(), t).covariance.trace()
        })
        .fold(0.0, f64::max)
}
