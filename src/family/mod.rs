//! Model families as feature kernels: one definition is both the model that is trained and the kernel that
//! is analysed.

mod expansion;
pub mod features;
pub mod kernel;
mod kernel_family;
mod linear;
mod low_rank;
mod naive;
pub mod network;
mod plane_table;
mod product_sums;
mod rows;
mod subspaces;
mod tabulated;

pub use expansion::ExpansionError;
pub use kernel_family::KernelFamily;
pub use linear::{Linear, LinearDenoiser};
pub(crate) use low_rank::Level;
pub use low_rank::{Assignment, LowRank, LowRankDenoiser, LowRankError};
pub use naive::{ExactDenoiser, Naive};
pub use plane_table::{PlaneTable, PlaneTables};
pub use product_sums::ProductSums;
pub use rows::SampleRows;
pub use subspaces::{CleanPoints, SubspaceFamily, SubspaceFit, SubspaceTraining};
pub use tabulated::TabulatedDenoiser;

use network::{Network, NetworkTraining, Precision};

/// A family of score models.
#[derive(Debug, Clone)]
pub enum Family {
    /// Fresh proxy noise at every sampling step (T9); kappa = 0 is the exact score.
    Naive(Naive),
    /// Linear in its weights, with fixed product features.
    Linear(Linear),
    /// In the reproducing-kernel space of a kernel.
    Kernel(Box<KernelFamily>),
    /// Networks of finite width.
    Network(Box<NetworkFamily>),
    /// Low-rank mixtures.
    LowRank(Box<SubspaceFamily>),
}

/// Networks of finite width, how they are trained, and the kernel machines that they are in the limit of infinite width.
#[derive(Debug, Clone)]
pub struct NetworkFamily {
    pub network: Network,
    pub protocol: NetworkTraining,
    pub precision: Precision,
    pub limit: KernelFamily,
}

impl Family {
    /// Name used in specs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Naive(_) => "naive",
            Self::Linear(_) => "linear",
            Self::Kernel(_) => "kernel",
            Self::Network(_) => "mlp",
            Self::LowRank(_) => "low-rank",
        }
    }

    /// The family as one that is linear in its weights: itself, or a kernel's expansion.
    pub fn linear(&self) -> Option<&Linear> {
        match self {
            Self::Linear(linear) => Some(linear),
            _ => self.kernel().map(|kernel| &kernel.linear),
        }
    }

    /// The family as kernel machines: itself, or the limit of networks.
    pub fn kernel(&self) -> Option<&KernelFamily> {
        match self {
            Self::Naive(_) | Self::Linear(_) | Self::LowRank(_) => None,
            Self::Kernel(kernel) => Some(kernel),
            Self::Network(network) => Some(&network.limit),
        }
    }
}

/// A denoiser: what every sampler integrates, x -> E[x0|x,t] as the model has it. Positions of n points in D dimensions are
/// one slice, coordinate-major: `x[i * n + k]` is coordinate i of point k.
pub trait Denoiser: Sync {
    /// Denoised position of each point: `x` and `denoised` of equal length D n.
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]);

    /// Denoised value and its exact derivative with respect to x, D = 1.
    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]);

    /// Tables at the given times that make many evaluations cheap, where the family has them and `particles`
    /// trajectories repay them.
    fn tabulate(&self, _times: &[f64], _particles: usize) -> Option<TabulatedDenoiser> {
        None
    }

    /// What tabulates the denoiser in the plane, where the family has such tables.
    fn plane_tables(&self) -> Option<PlaneTables<'_>> {
        None
    }
}
