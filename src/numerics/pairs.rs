//! Unordered pairs of n things, each with itself included: the entries of the lower triangle of a symmetric matrix, row by row.

/// Number of pairs.
pub fn count(n: usize) -> usize {
    n * (n + 1) / 2
}

/// Place of the pair of i and j, in either order.
pub fn place(i: usize, j: usize) -> usize {
    count(i.max(j)) + i.min(j)
}

/// Products of all pairs of numbers, in the order of their places.
pub fn products(values: &[f64]) -> impl Iterator<Item = f64> + '_ {
    (0..values.len()).flat_map(move |i| values[..=i].iter().map(move |v| values[i] * v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_one_place() {
        let values = [2.0, 3.0, 5.0, 7.0];
        let all: Vec<f64> = products(&values).collect();
        assert_eq!(all.len(), count(4));
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                assert_eq!(all[place(i, j)], a * b);
            }
        }
    }
}
