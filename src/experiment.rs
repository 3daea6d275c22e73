//! One resolved case: everything the solvers need, with every default filled in.

use serde::{Deserialize, Serialize};

use crate::family::Family;
use crate::histogram::Bins;
use crate::numerics::random::stream;
use crate::problem::{Data, Problem, StartLaw, Training, data_sets};
use crate::readout::Readout;

/// How one trajectory is integrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Euler,
    Heun,
    Ddim,
    Adaptive,
}

impl Scheme {
    /// Name used in specs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::Heun => "heun",
            Self::Ddim => "ddim",
            Self::Adaptive => "adaptive",
        }
    }
}

/// Spacing of the time grid between t_max and t_min.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    Uniform,
    Log,
    /// Uniform in t^(1/7) (Karras et al. 2022).
    Karras,
}

/// Which reverse process is integrated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Process {
    /// The probability-flow ODE.
    PfOde,
    /// dx = [beta x + (1+h) D s] dtau + sqrt(2 h D) dW, h >= 0 (0: the probability flow, step by step).
    ReverseSde { churn: f64 },
}

/// The sampler of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerOptions {
    pub process: Process,
    pub scheme: Scheme,
    /// Number of steps (ignored by `Adaptive`).
    pub steps: usize,
    pub grid: Spacing,
    /// Relative and absolute error per step (`Adaptive` only).
    pub tolerance: f64,
    /// Law of x_T.
    pub start: StartLaw,
}

/// Statistics of the weights that the densities are built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatisticsKind {
    /// Large-sample statistics (T11).
    Sandwich,
    /// The deterministic equivalent at any ratio of features to samples (T12, T13).
    Equivalent,
    /// The equivalent given the samples that carry the weight (T19).
    QuenchedLayer,
}

impl StatisticsKind {
    pub const ALL: [Self; 3] = [Self::Sandwich, Self::Equivalent, Self::QuenchedLayer];

    /// Name used in specs and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sandwich => "sandwich",
            Self::Equivalent => "equivalent",
            Self::QuenchedLayer => "quenched-layer",
        }
    }
}

/// Density solvers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    MeanField,
    Semiclassical,
    Saddle,
    GaussianField,
    SampleSum,
    FokkerPlanck,
    GaussianScore,
    SmoothedScore,
    LinearRmt,
}

impl Method {
    pub const ALL: [Self; 9] = [
        Self::MeanField,
        Self::Semiclassical,
        Self::Saddle,
        Self::GaussianField,
        Self::SampleSum,
        Self::FokkerPlanck,
        Self::GaussianScore,
        Self::SmoothedScore,
        Self::LinearRmt,
    ];

    /// Name used in specs and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanField => "mean-field",
            Self::Semiclassical => "semiclassical",
            Self::Saddle => "saddle",
            Self::GaussianField => "gaussian-field",
            Self::SampleSum => "sample-sum",
            Self::FokkerPlanck => "fokker-planck",
            Self::GaussianScore => "gaussian-score",
            Self::SmoothedScore => "smoothed-score",
            Self::LinearRmt => "linear-rmt",
        }
    }

    /// Is this another theory of what is learned, which knows nothing of the family's features?
    pub fn is_rival(self) -> bool {
        matches!(
            self,
            Self::GaussianScore | Self::SmoothedScore | Self::LinearRmt
        )
    }
}

/// The theory side of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictOptions {
    /// `None` for the naive family, which has no trained weights.
    pub statistics: Option<StatisticsKind>,
    pub methods: Vec<Method>,
    /// Draws of each sampled prediction.
    pub draws: usize,
    /// Drawn data sets that predictions are averaged over, where samples share clean points and no closed form has that.
    pub data_sets: Option<usize>,
    /// Trajectories per draw.
    pub particles: usize,
    /// Estimated error (total variation) of the closure at which the quenched layer is large enough.
    pub tolerance: f64,
    /// Corrects mean and variance of `semiclassical` to the next order in V where that is small.
    pub one_loop: bool,
    /// Starts x_T of `saddle`.
    pub starts: usize,
    /// Width, in units of x_0, of the neighbourhood that `smoothed-score` averages over.
    pub smoothing: f64,
    /// Interval of x_0 whose filling `saddle` explains.
    pub gap: Option<(f64, f64)>,
}

impl PredictOptions {
    /// The methods that are this program's theory.
    pub fn own_methods(&self) -> impl Iterator<Item = Method> + '_ {
        self.methods.iter().copied().filter(|m| !m.is_rival())
    }

    /// Draws that have a data set in common: 1 where all samples are fresh, or data sets are averaged over in closed form.
    pub fn draws_per_data_set(&self) -> u64 {
        self.data_sets
            .map_or(1, |sets| self.draws.div_ceil(sets) as u64)
    }

    /// The methods that are rival theories.
    pub fn rival_methods(&self) -> impl Iterator<Item = Method> + '_ {
        self.methods.iter().copied().filter(|m| m.is_rival())
    }
}

/// Where trajectories start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Stratified quantiles of the law of x_T, pushed forward as a density (PF-ODE on the line only).
    Stratified,
    /// Independent random x_T.
    Random,
}

/// The Monte Carlo side of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MonteCarloOptions {
    pub models: usize,
    pub start: Start,
    /// Trajectories per model.
    pub particles: usize,
}

/// Bins of the reported densities.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputOptions {
    /// Low and high end per coordinate, length D.
    pub range: Vec<(f64, f64)>,
    /// Bins per axis.
    pub bins: usize,
    /// Directions of the reported densities: the coordinates in D <= 2. None where no densities are reported.
    pub directions: Vec<Direction>,
}

impl OutputOptions {
    /// Are densities reported?
    pub fn has_densities(&self) -> bool {
        !self.directions.is_empty()
    }
}

/// Maps of the share of noise in the target (T3), for D = 1 and 2.
#[derive(Debug, Clone, PartialEq)]
pub struct MapOptions {
    /// One map at each of these times.
    pub times: Vec<f64>,
    /// Low and high end per coordinate, length D.
    pub range: Vec<(f64, f64)>,
    /// Pixels per coordinate.
    pub points: usize,
}

impl MapOptions {
    /// Centres of the pixels along each coordinate.
    pub fn axes(&self) -> Vec<Vec<f64>> {
        let centre = |(low, high): (f64, f64), i: usize| {
            low + (high - low) * ((i as f64 + 0.5) / self.points as f64)
        };
        self.range
            .iter()
            .map(|range| (0..self.points).map(|i| centre(*range, i)).collect())
            .collect()
    }
}

/// A direction that points are projected on.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// Unit vector, length D.
    pub along: Vec<f64>,
    /// Low and high end of its bins.
    pub range: (f64, f64),
}

/// One case of a spec, resolved.
#[derive(Debug, Clone)]
pub struct Experiment {
    pub name: String,
    pub seed: u64,
    pub problem: Problem,
    pub family: Family,
    /// `None` for the naive family.
    pub training: Option<Training>,
    pub sampler: SamplerOptions,
    pub predict: PredictOptions,
    pub monte_carlo: MonteCarloOptions,
    pub output: OutputOptions,
}

impl Experiment {
    /// The case with a data set in place of its data, fresh samples of it, and as many draws as a data set has (D27.5). `None`
    /// where predictions are not averages over data sets.
    pub fn given(&self, data: Data) -> Option<Self> {
        self.predict.data_sets?;
        Some(Self {
            problem: Problem {
                data,
                ..self.problem.clone()
            },
            training: self.training.clone().map(|training| Training {
                draws: 1,
                ..training
            }),
            predict: PredictOptions {
                draws: self.predict.draws_per_data_set() as usize,
                data_sets: None,
                ..self.predict.clone()
            },
            ..self.clone()
        })
    }

    /// The same with a data set that stands for all: what its statistics take.
    pub fn given_one(&self) -> Option<Self> {
        let training = self.training.as_ref()?;
        self.predict.data_sets?;
        let sets = data_sets(&self.problem.data, training, 1, &mut stream(self.seed, 0));
        self.given(sets.ok()?.pop()?)
    }

    /// What is read off generated points.
    ///
    /// # Panics
    /// Where no densities are reported.
    pub fn readout(&self) -> Readout {
        let bins: Vec<Bins> = self
            .output
            .directions
            .iter()
            .map(|direction| Bins {
                low: direction.range.0,
                high: direction.range.1,
                count: self.output.bins,
            })
            .collect();
        if self.problem.dim() == 1 {
            return Readout::line(bins[0]);
        }
        let along = self.output.directions.iter().map(|d| d.along.clone());
        Readout::new(&self.problem, along.collect(), &bins)
    }
}
