//! Sums of what clusters of rows contribute, and of the products of it: everything that moment-based intervals need.
//!
//! In pairs of doubles: with rewards around 1e6 variances cancel, and with 106 bits that does not show.

use crate::engine::math::double_double::Dd;

/// Components of what a cluster contributes to an estimator; each is a sum over the cluster's rows but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 1 for every cluster.
    Cluster,
    /// How many rows it has.
    Rows,
    /// Importance weights, w.
    Weight,
    /// Weighted parts, u (r - q).
    Weighted,
    /// Baselines, d.
    Baseline,
    /// Rewards, r.
    Reward,
}

const PARTS: usize = 6;

/// Sums over clusters of the products of any two [`Part`]s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    products: [[Dd; PARTS]; PARTS],
}

/// A linear combination of [`Part`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Form {
    coefficients: [f64; PARTS],
}

impl Form {
    /// The sum of `coefficient` times the part, over all terms.
    #[must_use]
    pub fn of(terms: &[(Part, f64)]) -> Self {
        let mut form = Self::default();
        terms.iter().for_each(|&(part, coefficient)| form.coefficients[part as usize] += coefficient);
        form
    }

    /// This form and `factor` times another.
    #[must_use]
    pub fn plus(mut self, factor: f64, other: &Self) -> Self {
        for (sum, coefficient) in self.coefficients.iter_mut().zip(other.coefficients) {
            *sum += factor * coefficient;
        }
        self
    }
}

impl Moments {
    /// No cluster yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { products: [[Dd::ZERO; PARTS]; PARTS] }
    }

    /// Sets the sum of products of two parts.
    pub fn set(&mut self, left: Part, right: Part, sum: Dd) {
        self.products[left as usize][right as usize] = sum;
        self.products[right as usize][left as usize] = sum;
    }

    /// The sum over clusters of the product of two forms.
    #[must_use]
    pub fn product(&self, left: &Form, right: &Form) -> Dd {
        let mut sum = Dd::ZERO;
        for (row, &a) in self.products.iter().zip(&left.coefficients).filter(|(_, a)| **a != 0.0) {
            for (&product, &b) in row.iter().zip(&right.coefficients).filter(|(_, b)| **b != 0.0) {
                sum = sum + product * Dd::product(a, b);
            }
        }
        sum
    }

    /// The sum over clusters of a form.
    #[must_use]
    pub fn sum(&self, form: &Form) -> Dd {
        self.product(&Form::of(&[(Part::Cluster, 1.0)]), form)
    }

    /// The sum over clusters of one part.
    #[must_use]
    pub fn total(&self, part: Part) -> f64 {
        self.products[Part::Cluster as usize][part as usize].to_f64()
    }

    /// How many clusters there are.
    #[must_use]
    pub fn clusters(&self) -> f64 {
        self.total(Part::Cluster)
    }

    /// The standard error of a mean over rows whose form sums to nought over all clusters; `None` of one cluster.
    #[must_use]
    pub fn standard_error(&self, residual: &Form) -> Option<f64> {
        let clusters = self.clusters();
        if clusters < 2.0 {
            return None;
        }
        let squares = self.product(residual, residual).to_f64().max(0.0);
        Some(libm::sqrt(squares * clusters / (clusters - 1.0)) / self.total(Part::Rows))
    }
}

impl Default for Moments {
    fn default() -> Self {
        Self::new()
    }
}
