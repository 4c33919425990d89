//! Factors L D L' of small symmetric positive definite matrices, in place: Cholesky's without square roots.
//!
//! L has ones on its diagonal and D is diagonal. A system of a few rows, solved over and over, waits for one division in
//! each row, where [`cholesky`](super::cholesky) waits for a square root and a division, and for two more in each solution.
//! Matrices are packed in the same way. A factor holds L below its diagonal, and the reciprocals of D on it.

use super::cholesky::{packed_len, row_start};

/// Factors a packed matrix of `dimension` rows in its place; `false`, and nothing of use is left, where a pivot is not
/// above 0 or not finite.
#[must_use]
pub fn factor_in_place(dimension: usize, packed: &mut [f64]) -> bool {
    debug_assert_eq!(packed.len(), packed_len(dimension));
    for row in 0..dimension {
        let (above, current) = packed.split_at_mut(row_start(row));
        for column in 0..row {
            let other = &above[row_start(column)..row_start(column) + column];
            let (known, rest) = current.split_at_mut(column);
            known.iter().zip(other).for_each(|(known, element)| rest[0] -= known * element);
        }
        let (elements, pivot) = current.split_at_mut(row);
        for (column, element) in elements.iter_mut().enumerate() {
            let unscaled = *element;
            *element *= above[row_start(column) + column];
            pivot[0] -= *element * unscaled;
        }
        if !(pivot[0] > 0.0 && pivot[0].is_finite()) {
            return false;
        }
        pivot[0] = 1.0 / pivot[0];
    }
    true
}

/// The factored matrix's inverse times `right`, in its place, by the packed factor.
pub fn solve_in_place(factor: &[f64], right: &mut [f64]) {
    let row = |index: usize| &factor[row_start(index)..=row_start(index) + index];
    for index in 0..right.len() {
        let (known, rest) = right.split_at_mut(index);
        known.iter().zip(row(index)).for_each(|(known, element)| rest[0] -= known * element);
    }
    right.iter_mut().enumerate().for_each(|(index, value)| *value *= row(index)[index]);
    for index in (0..right.len()).rev() {
        let (rest, known) = right.split_at_mut(index);
        rest.iter_mut().zip(row(index)).for_each(|(rest, element)| *rest -= known[0] * element);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::cholesky::Cholesky, *};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_system_is_solved_as_by_cholesky(
            rows in prop::collection::vec(prop::collection::vec(-1.0..1.0_f64, 6), 1..6),
            right in prop::collection::vec(-1.0..1.0_f64, 6),
        ) {
            let dimension = rows.len();
            let mut packed: Vec<f64> = (0..dimension)
                .flat_map(|i| (0..=i).map(move |j| (i, j)))
                .map(|(i, j)| rows[i].iter().zip(&rows[j]).map(|(a, b)| a * b).sum::<f64>() + if i == j { 0.1 } else { 0.0 })
                .collect();
            let mut right = right[..dimension].to_vec();
            let expected = Cholesky::factor(dimension, packed.clone()).unwrap().solve(&right);
            prop_assert!(factor_in_place(dimension, &mut packed));
            solve_in_place(&packed, &mut right);
            // Eigenvalues are from 0.1 to 30.1, solutions below 25: a condition of 301, some hundred roundings of 2^-53.
            for (actual, expected) in right.iter().zip(&expected) {
                prop_assert!((actual - expected).abs() < 1e-10, "{actual} {expected}");
            }
        }
    }

    #[test]
    fn indefinite_and_poisoned_matrices_have_no_factor() {
        for mut packed in [vec![1.0, 2.0, 1.0], vec![0.0, 0.0, 1.0], vec![1.0, f64::NAN, 1.0]] {
            assert!(!factor_in_place(2, &mut packed));
        }
        assert!(!factor_in_place(1, &mut [f64::INFINITY]));
    }
}
