//! Clopper and Pearson's interval (1934) for shares, stretched to weighted rewards.
//!
//! A row of the largest weight counts as one trial and every other one as a part of it, so that n rows make n / w_max
//! trials. Exact where all weights are 0 or w_max; elsewhere an approximation on the wide side.

use super::Interval;
use crate::engine::math::beta::{Tails, quantile};

/// For `successes` of `trials`, neither necessarily whole, `0 <= successes <= trials`.
#[must_use]
pub fn interval(successes: f64, trials: f64, alpha: f64) -> Interval {
    let below = Tails { lower: alpha / 2.0, upper: 1.0 - alpha / 2.0 };
    let lower = if successes > 0.0 { quantile(successes, trials - successes + 1.0, below).0 } else { 0.0 };
    let upper = if successes < trials { quantile(successes + 1.0, trials - successes, below.swapped()).0 } else { 1.0 };
    Interval { lower, upper }
}
