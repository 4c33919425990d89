//! The empirical Bernstein bound (Maurer and Pontil, 2009): holds for any bounded contributions, at several times the
//! width that most need.

use super::Interval;

/// How far the mean of `n` contributions that span `range` is from what it estimates, with probability `1 - delta` on
/// one side; `None` of fewer than two.
#[must_use]
pub fn one_sided(variance: f64, n: f64, range: f64, delta: f64) -> Option<f64> {
    let log = libm::log(2.0 / delta);
    (n >= 2.0).then(|| libm::sqrt(2.0 * variance * log / n) + 7.0 * range * log / (3.0 * (n - 1.0)))
}

/// Two-sided: half of `alpha` on either side.
#[must_use]
pub fn interval(mean: f64, variance: f64, n: f64, range: f64, alpha: f64) -> Option<Interval> {
    let half = one_sided(variance, n, range, alpha / 2.0)?;
    Some(Interval { lower: mean - half, upper: mean + half })
}
