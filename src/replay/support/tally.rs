//! Count, sums and extremes of numbers.

use crate::engine::math::{double_double::Dd, sums::Sum};

/// What is kept of numbers that came by.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// How many there were.
    pub count: u64,
    sum: Sum,
    squares: Sum,
    /// The smallest; infinite of none.
    pub min: f64,
    /// The largest; minus infinite of none.
    pub max: f64,
    /// How many were 0.
    pub zeros: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            count: 0,
            sum: Sum::default(),
            squares: Sum::default(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            zeros: 0,
        }
    }
}

impl Tally {
    /// Takes in a number.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum.add(value);
        self.squares.add_product(value, value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.zeros += u64::from(value == 0.0);
    }

    /// The sum.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum.total().to_f64()
    }

    /// The sum of squares.
    #[must_use]
    pub fn squares(&self) -> f64 {
        self.squares.total().to_f64()
    }

    /// The sum and the sum of squares with all their digits.
    #[must_use]
    pub fn sums(&self) -> (Dd, Dd) {
        (self.sum.total(), self.squares.total())
    }

    /// The mean; `None` of none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum() / self.count as f64)
    }

    /// The sample variance; `None` of fewer than two.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        if self.count < 2 {
            return None;
        }
        let count = self.count as f64;
        let (sum, squares) = self.sums();
        let residual = squares - sum * sum / Dd::from(count);
        Some(residual.to_f64().max(0.0) / (count - 1.0))
    }

    /// The standard error of the mean; `None` of fewer than two.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        Some(libm::sqrt(self.variance()? / self.count as f64))
    }

    /// By how many standard errors the mean differs from `expected`; `None` where nothing varies.
    #[must_use]
    pub fn distance(&self, expected: f64) -> Option<f64> {
        let error = self.standard_error().filter(|error| *error > 0.0)?;
        Some((self.mean()? - expected) / error)
    }

    /// How many equal weights would know as much: (sum)^2 / sum of squares (Kish, 1965); 0 of none.
    #[must_use]
    pub fn effective(&self) -> f64 {
        let (sum, squares) = self.sums();
        if squares.to_f64() > 0.0 { (sum * sum / squares).to_f64() } else { 0.0 }
    }

    /// The largest one's share of the sum; `None` where that is 0.
    #[must_use]
    pub fn largest_share(&self) -> Option<f64> {
        (self.sum() > 0.0).then(|| self.max / self.sum())
    }
}
