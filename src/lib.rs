//! vkernel predicts what a diffusion model will typically learn, before anyone trains it.
//!
//! A model trained by denoising score matching (DSM) regresses on a noisy target. The covariance of that target,
//! filtered by the model's feature kernel (the V-kernel), makes the *average* learned distribution differ from the
//! training set: gaps get filled in (Vastola, ICLR 2025, arXiv 2504.12532). This crate evaluates the path integral
//! behind that statement, and checks it against ensembles of really trained models.
//!
//! # The map of the house
//!
//! Data flows one way; a module uses only what stands above it in this list.
//!
//! | module | what it holds |
//! |---|---|
//! | [`symbolic`] | expressions: parsed, differentiated, simplified, evaluated on tapes, printed |
//! | [`numerics`] | panel quadrature, accelerated fixed points, sequential dense linear algebra, vectorised elementary functions, low-discrepancy points, streaming quantiles |
//! | [`problem`] | data, mixtures of low-rank Gaussians among them, forward process, DSM target and its covariance, training protocol, data sets for samples that share clean points |
//! | [`family`] | score models as feature kernels: naive, linear in any dimension, kernels of (x, t), those of infinitely wide networks among them, and their expansion in features; networks of finite width; mixtures of low rank with learnable bases |
//! | [`histogram`] | binned densities on the line and in the plane |
//! | [`readout`] | what is read off clouds of points in D >= 2: projections, moments, distances from the training points, filling of segments |
//! | [`experiment`] | one resolved case: a problem, a family, a sampler, what to predict and to train |
//! | [`sampler`] | time grids, one-step schemes of the PF-ODE and their tangents, the reverse SDE |
//! | [`statistics`] | mean and covariance of the trained weights (sandwich, deterministic equivalent, gradient flow of kernel machines), the quenched layer, the sum over samples with its cumulants, the V-kernel as an operator; how many points determine subspaces, and their fluctuations |
//! | [`action`] | the discretised path integral: one action in three forms with exact derivatives; white noise with its extremals |
//! | [`compare`] | distances between densities, their noise floors, agreement of bands, gap mass |
//! | [`density`] | the solvers: mean-field, semiclassical with loop corrections, saddle (linear families and white noise), gaussian-field (with or without a layer), sample-sum, fokker-planck (line and plane), clouds of trajectories in D >= 2 |
//! | [`rivals`] | other theories of what is learned, as denoisers with their densities: the Gaussian score, random-matrix theory of linear denoisers, the smoothed score |
//! | [`monte_carlo`] | ensembles of trained models, sampled; networks trained by gradient descent, batches and Adam, and how lazy they are; subspaces learned by clustering and by descent |
//! | [`spec`] | the input edge: spec files, overrides, sweeps, and their errors |
//! | [`mod@derive`] | the formulas behind one experiment, as text, LaTeX and SymPy |
//! | [`cite`] | the works behind the methods of a spec, as BibTeX |
//! | [`report`] | the output edge: result files, the table, the figures |
//! | [`run`] | the main job: every case predicted, trained, compared; resumable |
//!
//! The command `vkernel` only parses and prints. The formulas are derived in the numbered files of `derivations/`,
//! each labelled equation with a test of its name.
//!
//! # Example
//!
//! The density that the exact score generates from two points, against the noised data:
//!
//! ```
//! use vkernel::density::{Bins, mean_field, noised_data};
//! use vkernel::experiment::{Process, SamplerOptions, Scheme, Spacing};
//! use vkernel::family::ExactDenoiser;
//! use vkernel::problem::{Data, Diffusion, Problem, StartLaw};
//! use vkernel::sampler::PfOde;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let problem = Problem {
//!     data: Data::points(&[vec![-1.0], vec![1.0]], None)?,
//!     diffusion: Diffusion::Edm,
//!     t_min: 0.1,
//!     t_max: 80.0,
//! };
//! let sampler = SamplerOptions {
//!     process: Process::PfOde,
//!     scheme: Scheme::Adaptive,
//!     steps: 1,
//!     grid: Spacing::Log,
//!     tolerance: 1e-8,
//!     start: StartLaw::Normal,
//! };
//! let bins = Bins { low: -2.0, high: 2.0, count: 40 };
//! let flow = PfOde::new(&problem, &sampler);
//! let (density, _) = mean_field(&flow, &ExactDenoiser { problem: &problem }, &bins)?;
//! let data = noised_data(&problem, problem.t_min, &bins);
//! assert!(vkernel::compare::total_variation(&density.masses, &data) < 1e-3);
//! # Ok(())
//! # }
//! ```

pub mod action;
pub mod cite;
pub mod compare;
pub mod density;
pub mod derive;
pub mod experiment;
pub mod family;
pub mod histogram;
pub mod monte_carlo;
pub mod numerics;
pub mod problem;
pub mod readout;
pub mod report;
pub mod rivals;
pub mod run;
pub mod sampler;
pub mod spec;
pub mod statistics;
pub mod symbolic;
