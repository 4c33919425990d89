//! A confidence sequence for weighted rewards whose weights know no bound (Waudby-Smith, Wu, Ramdas, Karampatziakis and
//! Mineiro, 2024): a gamma-exponential mixture on weighted rewards, and one on what they lack to the largest.

use super::root::bisect;
use crate::{
    engine::math::{gamma::ln_gamma, incomplete_gamma},
    replay::{evaluation::Range, intervals::Interval},
};

/// Where the mixture is tightest: the variance of one row.
const RHO: f64 = 1.0;

/// Rows in the order in which they were drawn.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    reward: Range,
    below: Side,
    above: Side,
}

/// Non-negative terms, each compared with what the ones before it made expect.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    count: f64,
    sum: f64,
    variance: f64,
}

impl Sequence {
    /// No row yet; rewards are in this range, which is not a point.
    #[must_use]
    pub fn new(reward: Range) -> Self {
        Self { reward, below: Side::default(), above: Side::default() }
    }

    /// Takes in a row.
    pub fn observe(&mut self, weight: f64, reward: f64) {
        let share = ((reward - self.reward.min) / (self.reward.max - self.reward.min)).clamp(0.0, 1.0);
        self.below.observe(weight * share);
        self.above.observe(weight * (1.0 - share));
    }

    /// The interval for the policy's value after these rows; the statement that all of them hold has probability
    /// 1 - alpha. `None` before the first row.
    #[must_use]
    pub fn interval(&self, alpha: f64) -> Option<Interval> {
        if self.below.count < 1.0 {
            return None;
        }
        let Range { min, max } = self.reward;
        let (lower, upper) = (self.below.lower_end(alpha / 2.0), 1.0 - self.above.lower_end(alpha / 2.0));
        Some(Interval { lower: min + lower * (max - min), upper: min + upper * (max - min) })
    }
}

impl Side {
    fn observe(&mut self, term: f64) {
        let expected = (self.sum + 0.5) / (self.count + 1.0);
        self.variance += (term - expected) * (term - expected);
        self.sum += term;
        self.count += 1.0;
    }

    /// Below the mean of the terms, in [0, 1].
    fn lower_end(&self, alpha: f64) -> f64 {
        let short = |mean: f64| libm::log(1.0 / alpha) - log_wealth(self.sum - self.count * mean, self.variance);
        if short(0.0) >= 0.0 {
            return 0.0;
        }
        let most = (self.sum / self.count).min(1.0);
        if short(most) <= 0.0 { most } else { bisect(0.0, most, short) }
    }
}

/// The logarithm of the mixture at the sum `s >= 0` and variance `v`.
fn log_wealth(s: f64, v: f64) -> f64 {
    let ln_lower = |a: f64, x: f64| libm::log(incomplete_gamma::tails(a, x).lower) + ln_gamma(a);
    let point = s + v + RHO;
    s + v + RHO * libm::log(RHO) - (v + RHO) * libm::log(point) + ln_lower(v + RHO, point) - ln_lower(RHO, RHO)
}
