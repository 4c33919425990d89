//! Numbers as unevaluated sums of two doubles: about 32 significant digits.
//!
//! Sums of squares of rewards around 1e6 cancel in a residual, and an observation taken back must leave no residue;
//! with 106 bits neither shows. Error-free sum: Knuth (1969); split: Veltkamp (1968); product: Dekker (1971);
//! arithmetic on pairs: Hida, Li and Bailey (2001). No fused multiply-add: it is not the same on every machine.
//! Magnitudes above 2^996 overflow in the split and come out as NaN.

use core::ops::{Add, Div, Mul, Neg, Sub};

/// `high + low` with |low| at most half a unit in the last place of `high`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dd {
    high: f64,
    low: f64,
}

impl Dd {
    /// Nought.
    pub const ZERO: Self = Self { high: 0.0, low: 0.0 };

    /// The exact sum of any two doubles.
    #[must_use]
    pub fn sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let b_part = high - a;
        let low = (a - (high - b_part)) + (b - b_part);
        Self { high, low }
    }

    /// The exact product of two doubles, where nothing underflows.
    #[must_use]
    pub fn product(a: f64, b: f64) -> Self {
        let high = a * b;
        let (a_top, a_rest) = split(a);
        let (b_top, b_rest) = split(b);
        let low = ((a_top * b_top - high) + a_top * b_rest + a_rest * b_top) + a_rest * b_rest;
        Self { high, low }
    }

    /// The sum of `a` and `b` where |a| >= |b| or a is 0.
    #[must_use]
    pub fn ordered_sum(a: f64, b: f64) -> Self {
        let high = a + b;
        Self { high, low: b - (high - a) }
    }

    /// The nearest double.
    #[must_use]
    pub const fn to_f64(self) -> f64 {
        self.high
    }

    /// Both parts, the larger first.
    #[must_use]
    pub const fn parts(self) -> (f64, f64) {
        (self.high, self.low)
    }

    /// The number of two parts as [`Dd::parts`] gave them, to the bit.
    #[must_use]
    pub const fn from_parts(high: f64, low: f64) -> Self {
        Self { high, low }
    }

    /// Whether both parts are finite.
    #[must_use]
    pub const fn is_finite(self) -> bool {
        self.high.is_finite() && self.low.is_finite()
    }

    /// The square root; NaN for negative numbers.
    #[must_use]
    pub fn sqrt(self) -> Self {
        if self.high <= 0.0 {
            return Self::from(libm::sqrt(self.high));
        }
        // One Newton step doubles the digits of the double root.
        let root = libm::sqrt(self.high);
        let rest = self - Self::product(root, root);
        Self::ordered_sum(root, rest.high / (2.0 * root))
    }
}

/// Two halves of 26 bits, whose products are exact.
fn split(a: f64) -> (f64, f64) {
    let shifted = 134_217_729.0 * a; // 2^27 + 1
    let top = shifted - (shifted - a);
    (top, a - top)
}

impl From<f64> for Dd {
    fn from(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }
}

impl Neg for Dd {
    type Output = Self;

    fn neg(self) -> Self {
        Self { high: -self.high, low: -self.low }
    }
}

impl Add for Dd {
    type Output = Self;

    // The careful sum, not the quick one: sums of opposite signs must keep their digits.
    fn add(self, other: Self) -> Self {
        let high = Self::sum(self.high, other.high);
        let low = Self::sum(self.low, other.low);
        let sum = Self::ordered_sum(high.high, high.low + low.high);
        Self::ordered_sum(sum.high, sum.low + low.low)
    }
}

impl Sub for Dd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Dd {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let product = Self::product(self.high, other.high);
        Self::ordered_sum(product.high, product.low + (self.high * other.low + self.low * other.high))
    }
}

impl Mul<f64> for Dd {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        let product = Self::product(self.high, factor);
        Self::ordered_sum(product.high, product.low + self.low * factor)
    }
}

impl Div for Dd {
    type Output = Self;

    // Long division with three digits, each of them a double.
    fn div(self, divisor: Self) -> Self {
        let first = self.high / divisor.high;
        let rest = self - divisor * first;
        let second = rest.high / divisor.high;
        let rest = rest - divisor * second;
        let third = rest.high / divisor.high;
        Self::ordered_sum(first, second) + Self::from(third)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // 106 bits less a few for the rounding of the low parts.
    const RELATIVE: f64 = 1e-31;

    fn assert_close(actual: Dd, expected: Dd, size: f64) {
        let error = (actual - expected).to_f64().abs();
        assert!(error <= RELATIVE * size, "{actual:?} is not {expected:?}: {error:e}");
    }

    #[test]
    fn a_tenth_ten_times_misses_one_by_what_the_double_misses() {
        let tenth = Dd::from(1.0) / Dd::from(10.0);
        let sum = (0..10).fold(Dd::ZERO, |sum, _| sum + tenth);
        assert_close(sum, Dd::from(1.0), 1.0);
    }

    #[test]
    fn the_low_part_survives_cancellation() {
        let large = Dd::from(1e16) + Dd::from(1e-10);
        assert_eq!((large - Dd::from(1e16)).to_f64().to_bits(), 1e-10_f64.to_bits());
    }

    proptest! {
        #[test]
        fn division_undoes_multiplication_and_squaring_undoes_the_root(
            a in 1e-6..1e6_f64, b in 1e-6..1e6_f64, c in -1e-11..1e-11_f64, d in -1e-11..1e-11_f64,
        ) {
            let a = Dd::from(a) + Dd::from(c);
            let b = Dd::from(b) + Dd::from(d);
            assert_close(a * b / b, a, a.to_f64());
            assert_close(a + b - b, a, a.to_f64() + b.to_f64());
            assert_close(a.sqrt() * a.sqrt(), a, a.to_f64());
        }

        #[test]
        fn parts_round_trip_and_powers_of_two_scale_exactly(a in -1e9..1e9_f64, b in -1e-9..1e-9_f64, k in -40..40_i32) {
            let number = Dd::from(a) + Dd::from(b);
            let (high, low) = number.parts();
            prop_assert_eq!(Dd::from_parts(high, low), number);
            let factor = libm::ldexp(1.0, k);
            prop_assert_eq!(number * factor, Dd::from_parts(high * factor, low * factor));
        }
    }
}
