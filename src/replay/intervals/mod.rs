//! Intervals for a policy's value, from moments of contributions or from the rows in order.

pub mod bootstrap;
pub mod clopper_pearson;
pub mod cressie_read;
pub mod empirical_bernstein;
pub mod empirical_likelihood;
pub mod normal;

/// An interval that holds the value with a stated probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

impl Interval {
    /// How wide it is.
    #[must_use]
    pub const fn width(&self) -> f64 {
        self.upper - self.lower
    }

    /// Whether a value lies in it, ends included.
    #[must_use]
    pub const fn contains(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }
}
