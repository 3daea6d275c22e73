//! Where averages over x_t are taken in D >= 2 (derivations/16-more-dimensions.md).

use crate::family::Linear;
use crate::numerics::low_discrepancy::ScrambledSobol;
use crate::numerics::normal;
use crate::numerics::panels::union;
use crate::numerics::random::stream;
use crate::problem::Problem;

/// Components of the noised mixture are followed to this many standard deviations along each axis: beyond lies less than
/// 2e-15, and 1e-11 of a fourth moment.
const REACH: f64 = 8.0;
/// Spacing of a grid at the coarsest level, in units of the narrowest width of what is averaged. A Gaussian would bear 1
/// (D16.1: 2 exp(-2 pi^2) = 5e-9); the poles of 1/(1 + delta) ask for more (D16.2).
const COARSEST: f64 = 0.75;
/// Every level's spacing over that of the next: twice as many nodes in the plane.
const RATIO: f64 = std::f64::consts::SQRT_2;
/// Most nodes of one time on a grid at the coarsest level: where noise is so small that a grid over the data would hold
/// more, scattered points do better.
const MOST_ON_GRID: f64 = 16_384.0;
/// Scattered points of one time at the coarsest level.
const SCATTERED: usize = 1024;
/// Seed of their scramblings: they are part of the rule, not of the experiment.
const SCRAMBLING: u64 = 0x5eed_5ca7;

/// The points of one time.
pub(super) enum Points {
    /// Product of two axes: point a n_2 + b lies at (axes\[0\]\[a\], axes\[1\]\[b\]).
    Grid([Vec<f64>; 2]),
    /// n points in D dimensions, coordinate-major.
    Scattered { n: usize, x: Vec<f64> },
}

impl Points {
    pub fn len(&self) -> usize {
        match self {
            Self::Grid([first, second]) => first.len() * second.len(),
            Self::Scattered { n, .. } => *n,
        }
    }

    /// D.
    pub fn dim(&self) -> usize {
        match self {
            Self::Grid(_) => 2,
            Self::Scattered { n, x } => x.len() / n,
        }
    }

    /// Coordinates of point `k` into `x` (length D).
    pub fn coordinates(&self, k: usize, x: &mut [f64]) {
        match self {
            Self::Grid([first, second]) => {
                x[0] = first[k / second.len()];
                x[1] = second[k % second.len()];
            }
            Self::Scattered { n, x: all } => {
                for (i, x) in x.iter_mut().enumerate() {
                    *x = all[i * n + k];
                }
            }
        }
    }

    /// All coordinates, coordinate-major.
    pub fn cloud(&self) -> Vec<f64> {
        match self {
            Self::Grid([first, second]) => {
                let slow = first.iter().flat_map(|x| vec![*x; second.len()]);
                let fast = first.iter().flat_map(|_| second.iter().copied());
                slow.chain(fast).collect()
            }
            Self::Scattered { x, .. } => x.clone(),
        }
    }
}

/// A grid with the area that each of its nodes stands for.
pub(super) struct Grid {
    pub axes: [Vec<f64>; 2],
    /// Lengths that the nodes of each axis stand for.
    pub lengths: [Vec<f64>; 2],
}

impl Grid {
    /// The midpoint rule along both axes: on every interval that the noised data and the features reach.
    pub fn new(problem: &Problem, family: &Linear, t: f64, level: u32) -> Self {
        let [first, second] = [0, 1].map(|i| {
            let (mut nodes, mut lengths) = (Vec::new(), Vec::new());
            for piece in pieces(problem, family, t, i) {
                let count = piece.count(level) as usize;
                let step = (piece.high - piece.low) / count as f64;
                nodes.extend((0..count).map(|k| piece.low + step * (k as f64 + 0.5)));
                lengths.extend(std::iter::repeat_n(step, count));
            }
            (nodes, lengths)
        });
        Self {
            axes: [first.0, second.0],
            lengths: [first.1, second.1],
        }
    }
}

/// Expected number of points at the coarsest level, on the grid where `on_grid` and it is small enough.
pub(super) fn expected(problem: &Problem, family: &Linear, t: f64, on_grid: bool) -> f64 {
    let nodes = on_grid.then(|| on_grid_at(problem, family, t, 0));
    nodes
        .filter(|n| *n <= MOST_ON_GRID)
        .unwrap_or(SCATTERED as f64)
}

/// Does the grid of one time have a bearable number of nodes? Decided alike for all levels.
pub(super) fn fits_grid(problem: &Problem, family: &Linear, t: f64) -> bool {
    on_grid_at(problem, family, t, 0) <= MOST_ON_GRID
}

fn on_grid_at(problem: &Problem, family: &Linear, t: f64, level: u32) -> f64 {
    let along = |i| {
        let pieces = pieces(problem, family, t, i);
        pieces.iter().map(|p| p.count(level)).sum::<f64>()
    };
    along(0) * along(1)
}

/// An interval of one coordinate that is averaged over.
struct Piece {
    low: f64,
    high: f64,
    /// Narrowest width of what varies there.
    width: f64,
}

impl Piece {
    fn count(&self, level: u32) -> f64 {
        let spacing = COARSEST * self.width / RATIO.powi(level as i32);
        ((self.high - self.low) / spacing).ceil().max(1.0)
    }
}

/// The intervals of coordinate `i` that hold components of x_t and where features do not vanish.
fn pieces(problem: &Problem, family: &Linear, t: f64, i: usize) -> Vec<Piece> {
    let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
    let spread = |v: f64| (alpha * alpha * v + sigma2).sqrt();
    // Reach along the axis, and the narrowest width in any direction: a tilted ellipse needs the latter.
    let components: Vec<(f64, f64, f64)> = problem
        .data
        .components()
        .iter()
        .map(|c| {
            let along = c.variance_of(i);
            let (centre, reach) = (alpha * c.mean[i], REACH * spread(along));
            (centre - reach, centre + reach, spread(c.narrowest()))
        })
        .collect();
    let features = &family.features.space;
    let (start, end) = features
        .support(i)
        .unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    // A product of two features of scale f varies over f / sqrt(2).
    let own = 2.0 / features.scale(i).powi(2);
    union(components.iter().map(|c| (c.0, c.1)).collect())
        .into_iter()
        .filter_map(|(low, high)| {
            let narrowest = components
                .iter()
                .filter(|c| c.0 < high && low < c.1)
                .fold(f64::INFINITY, |s, c| s.min(c.2));
            let piece = Piece {
                low: low.max(start),
                high: high.min(end),
                width: 1.0 / (narrowest.powi(-2) + own).sqrt(),
            };
            (piece.low < piece.high).then_some(piece)
        })
        .collect()
}

/// Points of probability p(x|t), of equal weight: a scrambled Sobol net in D + 1 dimensions, another scrambling for every
/// slice. Its first coordinate chooses the component, the others are the quantiles of its Gaussian (D16.3).
pub(super) fn scattered(problem: &Problem, t: f64, slice: usize, level: u32) -> Points {
    let (dim, n) = (problem.dim(), SCATTERED << level);
    let (alpha, sigma2) = (problem.diffusion.alpha(t), problem.diffusion.sigma2(t));
    let net = ScrambledSobol::new(&mut stream(SCRAMBLING, slice as u64));
    let (data, mut x) = (&problem.data, vec![0.0; dim * n]);
    let mut point = vec![0.0; dim];
    let mut total = 0.0;
    let cumulative: Vec<f64> = data
        .weights()
        .iter()
        .map(|w| {
            total += w;
            total
        })
        .collect();
    for k in 0..n {
        let u = |i: usize| net.coordinate(i, k as u64);
        let chosen = cumulative.partition_point(|c| *c <= u(0) * total);
        let component = &data.components()[chosen.min(cumulative.len() - 1)];
        let normals = (0..dim).map(|i| normal::quantile(u(i + 1)));
        component.noised(alpha, sigma2.sqrt(), normals, &mut point);
        for i in 0..dim {
            x[i * n + k] = point[i];
        }
    }
    Points::Scattered { n, x }
}
