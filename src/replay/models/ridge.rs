//! Linear regression with a penalty (Hoerl and Kennard, 1970).

use super::{Example, scaling::Scaling};
use crate::engine::math::cholesky::{Cholesky, packed_len, row_start};

/// The normal equations of a penalised least-squares problem.
pub(super) struct Normal {
    dimension: usize,
    gram: Vec<f64>,
    right: Vec<f64>,
}

impl Normal {
    /// Nothing but the penalty, above 0.
    pub(super) fn new(dimension: usize, penalty: f64) -> Self {
        let mut gram = vec![0.0; packed_len(dimension)];
        (0..dimension).for_each(|row| gram[row_start(row) + row] = penalty);
        Self { dimension, gram, right: vec![0.0; dimension] }
    }

    /// Takes in a row.
    pub(super) fn add(&mut self, row: &[f64], weight: f64, right: f64) {
        for (index, &left) in row.iter().enumerate() {
            self.right[index] += right * left;
            let elements = &mut self.gram[row_start(index)..row_start(index + 1)];
            elements.iter_mut().zip(row).for_each(|(sum, other)| *sum += weight * left * other);
        }
    }

    /// Takes something off the right-hand side.
    pub(super) fn pull(&mut self, weights: &[f64], penalty: f64) {
        self.right.iter_mut().zip(weights).for_each(|(right, weight)| *right -= penalty * weight);
    }

    /// The solution; noughts where rounding leaves none, which a penalty above it prevents.
    pub(super) fn solve(self) -> Vec<f64> {
        match Cholesky::factor(self.dimension, self.gram) {
            Ok(factor) => factor.solve(&self.right),
            Err(_) => vec![0.0; self.dimension],
        }
    }
}

/// Weights on the constant and the features, of rewards less `mean`: an arm without rows is like all others.
pub(super) fn fit(examples: &[&Example<'_>], scaling: &Scaling, mean: f64, penalty: f64) -> Vec<f64> {
    let mut normal = Normal::new(1 + scaling.features(), penalty);
    for example in examples {
        normal.add(&scaling.row(example.features), 1.0, example.reward - mean);
    }
    normal.solve()
}
