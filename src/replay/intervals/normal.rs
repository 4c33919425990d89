//! The normal approximation: right in the middle of large samples, too short for rare rewards under skewed weights.

use super::Interval;
use crate::engine::math::normal;

/// `value` and as many standard errors to either side as leave `alpha` outside, half of it on each side.
#[must_use]
pub fn interval(value: f64, standard_error: f64, alpha: f64) -> Interval {
    let half = -normal::quantile(alpha / 2.0) * standard_error;
    Interval { lower: value - half, upper: value + half }
}
