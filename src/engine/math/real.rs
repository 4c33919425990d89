//! The arithmetic that linear algebra needs, so that it is written once for doubles and pairs of doubles.

use super::double_double::Dd;
use core::{
    fmt::Debug,
    ops::{Add, Div, Mul, Neg, Sub},
};

/// A number that Cholesky's algorithm works with.
pub trait Real:
    Copy
    + Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Send
    + Sync
    + 'static
{
    /// Nought.
    const ZERO: Self;
    /// The nearest number.
    fn from_dd(value: Dd) -> Self;
    /// The nearest number.
    fn from_f64(value: f64) -> Self;
    /// The nearest double.
    fn to_f64(self) -> f64;
    /// The number as a pair, exact.
    fn to_dd(self) -> Dd;
    /// The square root; NaN for negative numbers.
    #[must_use]
    fn sqrt(self) -> Self;
}

impl Real for f64 {
    const ZERO: Self = 0.0;

    fn from_dd(value: Dd) -> Self {
        value.to_f64()
    }

    fn from_f64(value: f64) -> Self {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn to_dd(self) -> Dd {
        Dd::from(self)
    }

    fn sqrt(self) -> Self {
        libm::sqrt(self)
    }
}

impl Real for Dd {
    const ZERO: Self = Self::ZERO;

    fn from_dd(value: Dd) -> Self {
        value
    }

    fn from_f64(value: f64) -> Self {
        Self::from(value)
    }

    fn to_f64(self) -> f64 {
        Self::to_f64(self)
    }

    fn to_dd(self) -> Dd {
        self
    }

    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }
}
