//! Cell masses carried along characteristics: the cumulative distribution moves with them, and a monotone cubic brings
//! it back to a grid. Conservative and positive at any step.

/// How the density at the moved edges is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slopes {
    /// From the two cells beside it: second order.
    Parabolic,
    /// From the four cells around it: fourth order.
    Quartic,
}

/// Cell masses on the grid of `cells` cells whose edge i is `edge(i)`, from `masses` in cells whose edges have moved to
/// `moved`. Characteristics never cross; where `moved` is too coarse to see that, their order is kept. All the mass
/// stays on the grid.
pub(super) fn remap(
    mut moved: Vec<f64>,
    masses: &[f64],
    cells: usize,
    edge: impl Fn(usize) -> f64,
    slopes: Slopes,
) -> Vec<f64> {
    for i in 1..moved.len() {
        moved[i] = moved[i].max(moved[i - 1]);
    }
    let mut cumulative = Vec::with_capacity(moved.len());
    let mut sum = 0.0;
    cumulative.push(0.0);
    for m in masses {
        sum += m;
        cumulative.push(sum);
    }
    let slopes = match slopes {
        Slopes::Parabolic => monotone_slopes(&moved, &cumulative),
        Slopes::Quartic => quartic_slopes(&moved, masses),
    };
    let mut out = Vec::with_capacity(cells);
    let mut before = 0.0;
    let mut cell = 0;
    for i in 1..=cells {
        let value = if i == cells {
            sum
        } else {
            let x = edge(i);
            while cell + 2 < moved.len() && moved[cell + 1] < x {
                cell += 1;
            }
            hermite(&moved, &cumulative, &slopes, cell, x)
        };
        let value = value.max(before);
        out.push(value - before);
        before = value;
    }
    out
}

/// Parabolic slopes, limited so that the cubic interpolant is monotone (Fritsch and Carlson 1980).
fn monotone_slopes(x: &[f64], y: &[f64]) -> Vec<f64> {
    let n = x.len();
    let secant = |i: usize| {
        let h = x[i + 1] - x[i];
        if h > 0.0 { (y[i + 1] - y[i]) / h } else { 0.0 }
    };
    (0..n)
        .map(|i| {
            if i == 0 || i + 1 == n {
                return 0.0;
            }
            let (l, r) = (secant(i - 1), secant(i));
            let (hl, hr) = (x[i] - x[i - 1], x[i + 1] - x[i]);
            if hl + hr == 0.0 {
                return 0.0;
            }
            let slope = (hr * l + hl * r) / (hl + hr);
            slope.max(0.0).min(3.0 * l.min(r))
        })
        .collect()
}

/// Slopes of the quartic through five points of the cumulative distribution, limited as above.
fn quartic_slopes(x: &[f64], masses: &[f64]) -> Vec<f64> {
    // Divided differences of rising order; a cell of no width has none.
    let divided = |differences: Vec<f64>, span: usize| -> Vec<f64> {
        differences
            .iter()
            .zip(x.iter().zip(&x[span..]))
            .map(|(d, (a, b))| if b > a { d / (b - a) } else { 0.0 })
            .collect()
    };
    let steps = |values: &[f64]| values.windows(2).map(|w| w[1] - w[0]).collect();
    let first = divided(masses.to_vec(), 1);
    let second = divided(steps(&first), 2);
    let third = divided(steps(&second), 3);
    let fourth = divided(steps(&third), 4);
    (0..x.len())
        .map(|i| {
            if i == 0 || i + 1 == x.len() {
                return 0.0;
            }
            let (hl, hr) = (x[i] - x[i - 1], x[i + 1] - x[i]);
            let mut slope = first[i - 1] + second[i - 1] * hl;
            if i >= 2 && i + 2 < x.len() {
                slope -= hl * hr * (third[i - 2] + fourth[i - 2] * (x[i] - x[i - 2]));
            }
            slope.max(0.0).min(3.0 * first[i - 1].min(first[i]))
        })
        .collect()
}

fn hermite(x: &[f64], y: &[f64], slopes: &[f64], cell: usize, at: f64) -> f64 {
    let h = x[cell + 1] - x[cell];
    if at <= x[cell] {
        return y[cell];
    }
    if at >= x[cell + 1] || h <= 0.0 {
        return y[cell + 1];
    }
    let z = (at - x[cell]) / h;
    let rise = y[cell + 1] - y[cell];
    let (d0, d1) = (h * slopes[cell], h * slopes[cell + 1]);
    y[cell] + z * (d0 + z * (3.0 * rise - 2.0 * d0 - d1 + z * (d0 + d1 - 2.0 * rise)))
}
