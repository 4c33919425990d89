//! Cholesky factors of symmetric positive definite matrices, packed.
//!
//! A packed matrix holds the lower triangle row by row: element (i, j), j <= i, is at i (i + 1) / 2 + j. Sums run in
//! index order. At condition number 1e15 doubles keep a digit or two; the same code over [`Dd`](super::double_double::Dd)
//! keeps fifteen.

use super::real::Real;

/// Where row `row` of a packed lower triangle starts.
#[must_use]
pub const fn row_start(row: usize) -> usize {
    row * (row + 1) / 2
}

/// Number of elements of a packed lower triangle with `dimension` rows.
#[must_use]
pub const fn packed_len(dimension: usize) -> usize {
    row_start(dimension)
}

/// The matrix has no factor.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("matrix of dimension {dimension} is not positive definite: pivot {row} is {pivot}, must be finite and above 0")]
pub struct NotPositiveDefinite {
    /// Number of rows.
    pub dimension: usize,
    /// The row that failed, from 0.
    pub row: usize,
    /// What stood where a positive number must.
    pub pivot: f64,
}

/// Lower triangular L with L L' = the factored matrix; diagonal above 0.
#[derive(Clone, Debug)]
pub struct Cholesky<R> {
    dimension: usize,
    lower: Vec<R>,
}

impl<R: Real> Cholesky<R> {
    /// Factors a packed matrix of `packed_len(dimension)` elements.
    ///
    /// # Errors
    /// Says which pivot was not positive or not finite.
    pub fn factor(dimension: usize, mut packed: Vec<R>) -> Result<Self, NotPositiveDefinite> {
        debug_assert_eq!(packed.len(), packed_len(dimension));
        for row in 0..dimension {
            let (above, current) = packed.split_at_mut(row_start(row));
            for column in 0..row {
                let other = &above[row_start(column)..row_start(column + 1)];
                let rest = current[column] - dot(&current[..column], other);
                current[column] = rest / other[column];
            }
            let pivot = current[row] - dot(&current[..row], &current[..row]);
            if !(pivot.to_f64() > 0.0 && pivot.to_f64().is_finite()) {
                return Err(NotPositiveDefinite { dimension, row, pivot: pivot.to_f64() });
            }
            current[row] = pivot.sqrt();
        }
        Ok(Self { dimension, lower: packed })
    }

    /// Number of rows.
    #[must_use]
    pub const fn dimension(&self) -> usize {
        self.dimension
    }

    fn row(&self, row: usize) -> &[R] {
        &self.lower[row_start(row)..row_start(row + 1)]
    }

    /// L^-1 `right`.
    #[must_use]
    pub fn solve_lower(&self, right: &[R]) -> Vec<R> {
        debug_assert_eq!(right.len(), self.dimension);
        let mut solution = right.to_vec();
        for index in 0..self.dimension {
            let row = self.row(index);
            solution[index] = (solution[index] - dot(&row[..index], &solution[..index])) / row[index];
        }
        solution
    }

    /// L'^-1 `right`.
    #[must_use]
    pub fn solve_upper(&self, right: &[R]) -> Vec<R> {
        debug_assert_eq!(right.len(), self.dimension);
        let mut solution = right.to_vec();
        for index in (0..self.dimension).rev() {
            let row = self.row(index);
            let value = solution[index] / row[index];
            solution[index] = value;
            for (rest, &element) in solution[..index].iter_mut().zip(row) {
                *rest = *rest - element * value;
            }
        }
        solution
    }

    /// The factored matrix's inverse times `right`.
    #[must_use]
    pub fn solve(&self, right: &[R]) -> Vec<R> {
        self.solve_upper(&self.solve_lower(right))
    }

    /// L^-1, packed.
    #[must_use]
    pub fn inverse_factor(&self) -> Vec<R> {
        let mut inverse = vec![R::ZERO; self.lower.len()];
        for row in 0..self.dimension {
            let elements = self.row(row);
            let (above, current) = inverse.split_at_mut(row_start(row));
            // Row by row the inner loop runs along memory: current -= L[row][k] * inverse[k].
            for (k, &element) in elements[..row].iter().enumerate() {
                for (sum, &value) in current[..=k].iter_mut().zip(&above[row_start(k)..]) {
                    *sum = *sum - element * value;
                }
            }
            for sum in &mut current[..row] {
                *sum = *sum / elements[row];
            }
            current[row] = R::from_f64(1.0) / elements[row];
        }
        inverse
    }

    /// The factored matrix's inverse, packed: L^-1' L^-1.
    #[must_use]
    pub fn inverse(&self) -> Vec<R> {
        let factor = self.inverse_factor();
        let mut inverse = vec![R::ZERO; factor.len()];
        for k in 0..self.dimension {
            let source = &factor[row_start(k)..row_start(k + 1)];
            for (row, &left) in source.iter().enumerate() {
                let target = &mut inverse[row_start(row)..row_start(row + 1)];
                for (sum, &right) in target.iter_mut().zip(source) {
                    *sum = *sum + left * right;
                }
            }
        }
        inverse
    }

    /// The logarithm of the factored matrix's determinant.
    #[must_use]
    pub fn ln_determinant(&self) -> f64 {
        (0..self.dimension).map(|row| 2.0 * libm::log(self.row(row)[row].to_f64())).sum()
    }
}

fn dot<R: Real>(left: &[R], right: &[R]) -> R {
    left.iter().zip(right).fold(R::ZERO, |sum, (&a, &b)| sum + a * b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::math::double_double::Dd;
    use nalgebra::DMatrix;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn random_matrix(dimension: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut packed = vec![0.0; packed_len(dimension)];
        for row in 0..dimension {
            packed[row_start(row) + row] = 0.5;
        }
        for _ in 0..2 * dimension {
            let x: Vec<f64> = (0..dimension).map(|_| rng.random_range(-1.0..1.0)).collect();
            for row in 0..dimension {
                for column in 0..=row {
                    packed[row_start(row) + column] += x[row] * x[column];
                }
            }
        }
        packed
    }

    fn full(dimension: usize, packed: &[f64]) -> DMatrix<f64> {
        DMatrix::from_fn(dimension, dimension, |i, j| packed[row_start(i.max(j)) + i.min(j)])
    }

    #[test]
    fn inverse_solve_and_determinant_agree_with_nalgebra() {
        for (dimension, seed) in [(1, 1), (2, 2), (7, 3), (32, 4), (100, 5)] {
            let packed = random_matrix(dimension, seed);
            let reference = full(dimension, &packed).cholesky().unwrap();
            let ours = Cholesky::factor(dimension, packed).unwrap();
            // Condition numbers are below 1e4 here: 1e4 times the last place, and room.
            assert!((full(dimension, &ours.inverse()) - reference.inverse()).amax() < 1e-11);
            assert!((ours.ln_determinant() - reference.determinant().ln()).abs() < 1e-9);
            let right: Vec<f64> = (0..dimension).map(|index| index as f64 - 1.5).collect();
            let expected = reference.solve(&DMatrix::from_column_slice(dimension, 1, &right));
            for (actual, expected) in ours.solve(&right).iter().zip(expected.iter()) {
                assert!((actual - expected).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn pairs_of_doubles_invert_a_hilbert_matrix_of_condition_1e15() {
        // The inverse of the Hilbert matrix has whole elements; the first of the inverse of order n is n^2.
        let dimension = 11;
        let packed =
            (0..dimension).flat_map(|i| (0..=i).map(move |j| Dd::from(1.0) / Dd::from((i + j + 1) as f64))).collect();
        let inverse = Cholesky::factor(dimension, packed).unwrap().inverse();
        // 5e14 (the condition number) times 1e-31.
        assert!((inverse[0].to_f64() / 121.0 - 1.0).abs() < 1e-15);
    }

    #[test]
    fn indefinite_and_poisoned_matrices_are_refused_with_the_pivot() {
        let indefinite = Cholesky::factor(2, vec![1.0, 2.0, 1.0]).unwrap_err();
        assert_eq!(indefinite, NotPositiveDefinite { dimension: 2, row: 1, pivot: -3.0 });
        assert!(Cholesky::factor(1, vec![f64::NAN]).is_err());
        assert!(Cholesky::factor(1, vec![f64::INFINITY]).is_err());
        assert!(Cholesky::factor(1, vec![Dd::from(f64::NAN)]).is_err());
    }
}
