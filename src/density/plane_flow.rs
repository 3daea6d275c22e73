//! Many trajectories of one model in the plane: every step by a table of the model where that is cheaper, with the error measured
//! on a few trajectories that are integrated both ways (derivations/18-readouts.md).

use crate::family::{Denoiser, PlaneTable, PlaneTables};
use crate::readout::Readout;
use crate::sampler::{PfOde, SamplerError, advance};

/// Largest expected share of trajectories that tables may put into another bin, which bounds the total variation.
const MISPLACED: f64 = 5e-4;

/// Fewest trajectories that repay tables and the check of them.
pub(super) const FEWEST: usize = 8192;
/// One trajectory in so many is integrated both ways, and at most so many.
const CHECKED: (usize, usize) = (16, 1024);
/// Tables leave out this part of the checked trajectories on either side, and reach beyond the others by that part of their
/// width.
const LEFT_OUT: f64 = 1.0 / 256.0;
const BEYOND: f64 = 1.0 / 16.0;

/// The model at the times of one step.
struct StepTables<'a>(Vec<PlaneTable<'a>>);

impl Denoiser for StepTables<'_> {
    fn denoise(&self, t: f64, x: &[f64], denoised: &mut [f64]) {
        self.at(t).denoise(t, x, denoised);
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.at(t).denoise_with_slope(t, x, denoised, slope);
    }
}

impl<'a> StepTables<'a> {
    fn at(&self, t: f64) -> &PlaneTable<'a> {
        let Self(tables) = self;
        &tables[tables.partition_point(|table| table.t() > t)]
    }
}

/// Carries blocks of points (each coordinate-major) from t_max to t_min on the flow's grid. Time by time, so that a table is
/// used for all points while it is in cache.
///
/// # Errors
/// Those of the exact flow: where tables miss [`MISPLACED`], there are none.
pub(super) fn carry<M: Denoiser>(
    flow: &PfOde,
    model: &M,
    readout: &Readout,
    blocks: &mut [Vec<f64>],
) -> Result<(), SamplerError> {
    let starts = blocks.to_vec();
    let points = blocks.iter().map(Vec::len).sum::<usize>() / 2;
    // The last blocks may be few.
    if points >= FEWEST
        && let Some(mut tables) = model.plane_tables()
    {
        let error = carry_by_tables(flow, model, &mut tables, readout, blocks);
        if error.is_ok_and(|error| error <= MISPLACED) {
            return Ok(());
        }
    }
    for (x, start) in blocks.iter_mut().zip(starts) {
        *x = start;
        flow.flow(model, x)?;
    }
    Ok(())
}

/// The same, whatever the error: the expected share of trajectories that end in another bin.
fn carry_by_tables<M: Denoiser>(
    flow: &PfOde,
    model: &M,
    tables: &mut PlaneTables<'_>,
    readout: &Readout,
    blocks: &mut [Vec<f64>],
) -> Result<f64, SamplerError> {
    let points = blocks.iter().map(Vec::len).sum::<usize>() / 2;
    let (one_in, most) = CHECKED;
    let mut checked = first_points(&blocks[0], (points / one_in).min(most));
    let mut scratch = Vec::new();
    for step in flow.steps(flow.grid().unwrap_or_default()) {
        let rectangle = rectangle(&checked);
        let tabulated: Option<Vec<_>> = step
            .times()
            .map(|t| tables.tabulate(t, rectangle, points))
            .collect();
        advance(&step, model, &mut checked, &mut scratch)?;
        match tabulated.map(StepTables) {
            Some(tables) => blocks
                .iter_mut()
                .try_for_each(|x| advance(&step, &tables, x, &mut scratch))?,
            None => blocks
                .iter_mut()
                .try_for_each(|x| advance(&step, model, x, &mut scratch))?,
        }
    }
    let same = first_points(&blocks[0], checked.len() / 2);
    Ok(misplaced(readout, &checked, &same))
}

/// The first points of a block, coordinate-major as it is; all if it has fewer.
fn first_points(block: &[f64], count: usize) -> Vec<f64> {
    let (x1, x2) = block.split_at(block.len() / 2);
    let count = count.min(x1.len());
    [&x1[..count], &x2[..count]].concat()
}

/// Where nearly all points are.
fn rectangle(points: &[f64]) -> [(f64, f64); 2] {
    let n = points.len() / 2;
    let left_out = (LEFT_OUT * n as f64) as usize;
    [&points[..n], &points[n..]].map(|x| {
        let mut x = x.to_vec();
        let low = *x.select_nth_unstable_by(left_out, f64::total_cmp).1;
        let high = *x.select_nth_unstable_by(n - 1 - left_out, f64::total_cmp).1;
        let beyond = BEYOND * (high - low);
        (low - beyond, high + beyond)
    })
}

/// Of points moved by so little, the share that changes its bin when the edges may lie anywhere.
fn misplaced(readout: &Readout, exact: &[f64], moved: &[f64]) -> f64 {
    let n = exact.len() / 2;
    let axes = readout.grid.axes().iter().zip(readout.directions());
    let bins: Vec<_> = axes.map(|(bins, d)| (1.0 / bins.width(), d)).collect();
    let shares = (0..n).map(|k| {
        let shift = [k, n + k].map(|place| moved[place] - exact[place]);
        let crossed = bins
            .iter()
            .map(|(per_width, d)| per_width * (d[0] * shift[0] + d[1] * shift[1]).abs());
        crossed.sum::<f64>().min(1.0)
    });
    shares.sum::<f64>() / n as f64
}
