//! Kernels for components with widths, the dimension known to the compiler. Operations and their order are those of any
//! dimension.

use super::{
    Block, CloudPosterior, LANES, Lanes, Maps, Widths, add_product, add_scaled, all_below,
    relative_weights,
};

impl Maps {
    /// The matrix of component k times `y`.
    #[inline(always)]
    fn times<const D: usize>(&self, k: usize, y: &[Lanes; D]) -> [Lanes; D] {
        let mut out = [[0.0; LANES]; D];
        if self.diagonal {
            let entries = &self.entries[k * D..][..D];
            for i in 0..D {
                out[i] = y[i].map(|y| entries[i] * y);
            }
            return out;
        }
        let entries = &self.entries[k * D * D..][..D * D];
        for i in 0..D {
            for j in 0..D {
                add_scaled(&mut out[i], &y[j], entries[i * D + j]);
            }
        }
        out
    }
}

/// x - c.
#[inline(always)]
fn misfit<const D: usize>(x: &[Lanes; D], centre: &[f64; D]) -> [Lanes; D] {
    std::array::from_fn(|i| x[i].map(|x| x - centre[i]))
}

impl CloudPosterior {
    /// Fills `block.logs`; the largest of them per lane.
    pub(super) fn log_joint_widths<const D: usize>(
        &self,
        widths: &Widths,
        block: &mut Block,
    ) -> Lanes {
        let x: [Lanes; D] = std::array::from_fn(|i| block.x[i]);
        let mut top = [f64::NEG_INFINITY; LANES];
        let centres = self.centres.as_chunks::<D>().0;
        for (k, (log, centre)) in block.logs.iter_mut().zip(centres).enumerate() {
            let norm = self.log_norm[k];
            let whitened = widths.whiten.times(k, &misfit(&x, centre));
            let mut square = [0.0; LANES];
            for z in &whitened {
                add_product(&mut square, z, z);
            }
            let value = square.map(|s| norm - 0.5 * s);
            top = std::array::from_fn(|l| if value[l] > top[l] { value[l] } else { top[l] });
            *log = value;
        }
        top
    }

    /// Sums of w and of w E[x0|x,k] over the components that count, w relative to the largest weight; the weights are left in
    /// `block.logs`.
    pub(super) fn weighted_widths<const D: usize>(
        &self,
        widths: &Widths,
        block: &mut Block,
        top: &Lanes,
        mean: &mut [Lanes],
    ) -> Lanes {
        let cut = self.cut;
        let x: [Lanes; D] = std::array::from_fn(|i| block.x[i]);
        let mut sum = [0.0; LANES];
        let mut means = [[0.0; LANES]; D];
        let (centres, own) = (
            self.centres.as_chunks::<D>().0,
            self.means.as_chunks::<D>().0,
        );
        for (k, kept) in block.logs.iter_mut().enumerate() {
            let log: Lanes = std::array::from_fn(|l| kept[l] - top[l]);
            if all_below(&log, -cut) {
                *kept = [0.0; LANES];
                continue;
            }
            let w = relative_weights(&log, cut);
            *kept = w;
            add_scaled(&mut sum, &w, 1.0);
            let shift = widths.gain.times(k, &misfit(&x, &centres[k]));
            for i in 0..D {
                let value = shift[i].map(|shift| own[k][i] + shift);
                add_product(&mut means[i], &w, &value);
            }
        }
        mean.copy_from_slice(&means);
        sum
    }
}
