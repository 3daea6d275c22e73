//! A covariance as a sum over few lattice directions with non-negative weights (Selling 1874; Bonnans, Ottenwaelter and
//! Zidani 2004; Fehrenbach and Mirebeau 2014; derivations/17-plane-fokker-planck.md).

/// A symmetric 2 x 2 matrix: its elements 11, 12, 22.
pub type Symmetric = [f64; 3];

/// A lattice vector up to its sign, in cells.
pub type Offset = [i32; 2];

/// A covariance a = sum of weight * e e^T over three offsets e; the weights are not negative.
pub type Decomposition = [(Offset, f64); 3];

/// Decomposes `a`, positive semi-definite, in units of the cells, into offsets no longer than `reach` (at least 1) in each coordinate.
///
/// The exact decomposition of a nearly singular `a` needs long offsets. Where they exceed `reach`, `a` is mixed with the
/// diagonal matrix `isotropic` (the isotropic noise of the same trace, in units of the cells) just as far as needed: the
/// trace and the principal axes stay.
pub fn decompose(a: Symmetric, isotropic: [f64; 2], reach: i32) -> Decomposition {
    let mut base: [Offset; 3] = [[1, 0], [0, 1], [-1, -1]];
    loop {
        let products = [
            product(a, base[1], base[2]),
            product(a, base[2], base[0]),
            product(a, base[0], base[1]),
        ];
        let Some(k) = (0..3).find(|&k| products[k] > 0.0) else {
            return weights(&base, products);
        };
        let (v, w) = (base[(k + 1) % 3], base[(k + 2) % 3]);
        let turned = [v[0] - w[0], v[1] - w[1]];
        if turned[0].abs().max(turned[1].abs()) > reach {
            return weights(&base, flattened(&base, k, products, isotropic));
        }
        // The superbase (-v, w, v - w) is obtuse in a smaller sum of squares: the loop ends.
        base = [[-v[0], -v[1]], w, turned];
    }
}

/// Products of the superbase after mixing in as much of the isotropic noise as brings product `k` to zero.
fn flattened(base: &[Offset; 3], k: usize, products: [f64; 3], isotropic: [f64; 2]) -> [f64; 3] {
    let round = [isotropic[0], 0.0, isotropic[1]];
    let own = product(round, base[(k + 1) % 3], base[(k + 2) % 3]);
    // A diagonal matrix lies on this side of every chord that the search crosses: own < 0 (D17.2).
    let mixed = products[k] / (products[k] - own);
    let mut out = [0.0; 3];
    for j in 0..3 {
        if j != k {
            let own = product(round, base[(j + 1) % 3], base[(j + 2) % 3]);
            out[j] = (1.0 - mixed) * products[j] + mixed * own;
        }
    }
    out
}

/// Selling's formula: the weight of the vector perpendicular to b_k is -<b_i, a b_j>.
fn weights(base: &[Offset; 3], products: [f64; 3]) -> Decomposition {
    [0, 1, 2].map(|k| {
        let [x, y] = base[k];
        let e = if x > 0 || (x == 0 && y < 0) {
            [-y, x]
        } else {
            [y, -x]
        };
        (e, (-products[k]).max(0.0))
    })
}

fn product(a: Symmetric, v: Offset, w: Offset) -> f64 {
    let [v, w] = [v, w].map(|u| u.map(f64::from));
    a[0] * v[0] * w[0] + a[1] * (v[0] * w[1] + v[1] * w[0]) + a[2] * v[1] * w[1]
}
