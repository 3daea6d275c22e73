//! Kernels for point masses, the dimension known to the compiler: sums stay in registers. Operations and their order are
//! those of any dimension.

use super::{
    Block, Central, CloudPosterior, LANES, Lanes, add_product, add_scaled, all_below, exp_lanes,
    relative_weights,
};

impl CloudPosterior {
    /// Fills `block.logs`; the largest of them per lane.
    pub(super) fn log_joint_points<const D: usize>(&self, block: &mut Block) -> Lanes {
        let half = 0.5 / self.sigma2;
        let x: [Lanes; D] = std::array::from_fn(|i| block.x[i]);
        let mut top = [f64::NEG_INFINITY; LANES];
        let centres = self.centres.as_chunks::<D>().0;
        for ((log, centre), norm) in block.logs.iter_mut().zip(centres).zip(&self.log_norm) {
            // Copied out: a store to `log` could otherwise touch them, as far as the compiler sees.
            let (centre, norm) = (*centre, *norm);
            let mut square = [0.0; LANES];
            for (x, c) in x.iter().zip(centre) {
                let y: Lanes = std::array::from_fn(|l| x[l] - c);
                add_product(&mut square, &y, &y);
            }
            let value: Lanes = std::array::from_fn(|l| norm - half * square[l]);
            top = std::array::from_fn(|l| if value[l] > top[l] { value[l] } else { top[l] });
            *log = value;
        }
        top
    }

    /// Sums of w and of w m over the components that count, w relative to the largest weight; the weights are left in
    /// `block.logs`.
    pub(super) fn weighted_points<const D: usize>(
        &self,
        block: &mut Block,
        top: &Lanes,
        mean: &mut [Lanes],
    ) -> Lanes {
        let cut = self.cut;
        let mut sum = [0.0; LANES];
        let mut means = [[0.0; LANES]; D];
        for (kept, point) in block.logs.iter_mut().zip(self.means.as_chunks::<D>().0) {
            let log: Lanes = std::array::from_fn(|l| kept[l] - top[l]);
            if all_below(&log, -cut) {
                *kept = [0.0; LANES];
                continue;
            }
            let w = relative_weights(&log, cut);
            *kept = w;
            add_scaled(&mut sum, &w, 1.0);
            for (mean, m) in means.iter_mut().zip(point) {
                add_scaled(mean, &w, *m);
            }
        }
        mean.copy_from_slice(&means);
        sum
    }

    /// Sums of w and of w (m - the heaviest point's m), the weights left in `block.logs`.
    pub(super) fn shifts_of_points<const D: usize>(
        &self,
        block: &mut Block,
        top: &Lanes,
        central: &mut Central,
    ) {
        let reference: [Lanes; D] = std::array::from_fn(|i| central.mean[i]);
        let mut sum = [0.0; LANES];
        let mut shift = [[0.0; LANES]; D];
        for (log, point) in block.logs.iter_mut().zip(self.means.as_chunks::<D>().0) {
            let w = exp_lanes(&std::array::from_fn(|l| log[l] - top[l]));
            *log = w;
            add_scaled(&mut sum, &w, 1.0);
            for i in 0..D {
                for l in 0..LANES {
                    shift[i][l] += w[l] * (point[i] - reference[i][l]);
                }
            }
        }
        central.sum = sum;
        central.shift.copy_from_slice(&shift);
    }

    /// Sums of w (m - E m)(m - E m)^T, lower triangle.
    pub(super) fn spread_of_points<const D: usize>(&self, block: &Block, central: &mut Central) {
        let reference: [Lanes; D] = std::array::from_fn(|i| central.mean[i]);
        let shift: [Lanes; D] = std::array::from_fn(|i| central.shift[i]);
        let mut covariance = [[[0.0; LANES]; D]; D];
        for (w, point) in block.logs.iter().zip(self.means.as_chunks::<D>().0) {
            if all_below(w, f64::MIN_POSITIVE) {
                continue;
            }
            let deviation: [Lanes; D] = std::array::from_fn(|i| {
                std::array::from_fn(|l| (point[i] - reference[i][l]) - shift[i][l])
            });
            for i in 0..D {
                for j in 0..=i {
                    for l in 0..LANES {
                        covariance[i][j][l] += w[l] * (deviation[i][l] * deviation[j][l]);
                    }
                }
            }
        }
        central
            .covariance
            .copy_from_slice(covariance.as_flattened());
    }
}
