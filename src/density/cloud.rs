//! Densities of single fields in D >= 2, from clouds of points (derivations/18-readouts.md).
//!
//! A density is the average over several clouds, each a low-discrepancy set with a random scrambling of its own: the average is
//! unbiased, and what the clouds differ by measures its error. The alternative, transport of the density on a grid, pays for
//! the whole grid at every step and smears what a cloud carries exactly.

use super::{DensityError, Ensemble, Estimate, Generated, Generator};
use crate::experiment::Start;
use crate::family::Denoiser;
use crate::numerics::low_discrepancy::ScrambledSobol;
use crate::numerics::normal;
use crate::numerics::random::stream;
use crate::problem::Problem;
use crate::readout::Readout;

/// Clouds that are averaged over.
pub(super) const CLOUDS: u64 = 16;
/// Points of each.
pub(super) const CLOUD_POINTS: usize = 1 << 14;

/// Most coordinates of a cloud that are held at once, and the fewest points of one.
const COORDINATES: usize = 1 << 21;
const FEWEST_POINTS: usize = 512;

/// Points of each cloud in so many dimensions.
fn most_points(dim: usize) -> usize {
    CLOUD_POINTS.min((COORDINATES / dim).max(FEWEST_POINTS))
}

/// The law of x_T carried through one denoiser: as [`super::mean_field`] on the line. `points` bounds the size of each
/// cloud where the denoiser is costly.
pub fn cloud_density<M: Denoiser>(
    generator: &Generator<'_>,
    model: &M,
    points: usize,
    seed: u64,
) -> Result<Ensemble, DensityError> {
    let generator = generator
        .clone()
        .with_start(Start::Stratified)
        .with_particles(points.min(most_points(generator.readout.dim())));
    average(&generator.readout, |i| {
        generator.generate(model, &mut stream(seed, i))
    })
}

/// The noised data distribution p(x|t).
pub fn noised_cloud(
    problem: &Problem,
    t: f64,
    readout: &Readout,
    seed: u64,
) -> Result<Ensemble, DensityError> {
    let dim = problem.dim();
    let (alpha, sigma) = (problem.diffusion.alpha(t), problem.diffusion.sigma(t));
    let points = most_points(dim);
    average(readout, |i| {
        let sequence = ScrambledSobol::new(&mut stream(seed, i));
        let mut x = vec![0.0; dim * points];
        let mut point = vec![0.0; dim];
        for k in 0..points {
            let uniform = |i: usize| sequence.coordinate(i, k as u64);
            let component = problem.data.component_at(uniform(dim));
            let normals = (0..dim).map(|i| normal::quantile(uniform(i)));
            component.noised(alpha, sigma, normals, &mut point);
            for (i, p) in point.iter().enumerate() {
                x[i * points + k] = *p;
            }
        }
        let mut reading = readout.empty();
        readout.add(&mut reading, &x, |_| 1.0 / points as f64);
        Ok(reading.into())
    })
}

/// N(0, sigma_T^2 I) carried by a map of positions (coordinate-major).
pub fn mapped_cloud(
    generator: &Generator<'_>,
    seed: u64,
    map: impl Fn(&mut [f64]) + Sync,
) -> Result<Ensemble, DensityError> {
    let generator = generator
        .clone()
        .with_start(Start::Stratified)
        .with_particles(most_points(generator.readout.dim()));
    average(&generator.readout, |i| {
        let moved = generator.read_blocks(&mut stream(seed, i), |x, _| {
            map(x);
            Ok::<(), DensityError>(())
        });
        Ok(moved?.into())
    })
}

/// The average over clouds.
pub(super) fn average(
    readout: &Readout,
    cloud: impl Fn(u64) -> Result<Generated, DensityError> + Sync,
) -> Result<Ensemble, DensityError> {
    let mut ensemble = Ensemble::with_values(readout.grid.clone(), readout.len());
    ensemble.extend(
        CLOUDS,
        || (),
        |(), i| cloud(i).map(|generated| generated.member((0.0, 0.0))),
        |_| Ok::<(), DensityError>(()),
    )?;
    Ok(ensemble)
}

/// The density with the error of the integration over starts.
pub fn cloud_estimate(ensemble: &Ensemble) -> Estimate {
    Estimate {
        masses: ensemble.mean(),
        errors: vec![("starts", ensemble.noise_floor().mean.tv)],
    }
}
