//! The replay estimator (Li, Chu, Langford and Wang, 2011) and its intervals.
//!
//! Where arms were logged uniformly at random, the customers whose logged arm is the one that a policy picks are a
//! fair sample of what that policy would have met: the mean over them estimates its value without bias, as long as
//! it learns from nobody else.

use serde::Serialize;

/// Two-sided 95 % point of the standard normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// What the matched customers of one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Matched {
    pub(super) customers: u64,
    pub(super) visits: u64,
    pub(super) spend_sum: f64,
    pub(super) spend_squares: f64,
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Estimate {
    pub(super) mean: f64,
    pub(super) lower: f64,
    pub(super) upper: f64,
}

/// How estimates differ between orders of the same customers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) standard_deviation: f64,
}

impl Matched {
    /// Adds a customer whose logged arm is the one that was picked.
    pub(super) fn add(&mut self, visited: bool, spend: f64) {
        self.customers += 1;
        self.visits += u64::from(visited);
        self.spend_sum += spend;
        self.spend_squares += spend * spend;
    }

    /// Share of visitors, with the interval of Wilson (1927).
    pub(super) fn visit_rate(&self) -> Estimate {
        let n = self.customers.max(1) as f64;
        let mean = self.visits as f64 / n;
        let shrink = 1.0 + Z_95 * Z_95 / n;
        let centre = (mean + Z_95 * Z_95 / (2.0 * n)) / shrink;
        let half = Z_95 / shrink * (mean * (1.0 - mean) / n + Z_95 * Z_95 / (4.0 * n * n)).sqrt();
        Estimate { mean, lower: centre - half, upper: centre + half }
    }

    /// Dollars per customer, with the normal interval.
    pub(super) fn spend(&self) -> Estimate {
        let n = self.customers.max(2) as f64;
        let mean = self.spend_sum / n;
        let variance = ((self.spend_squares - n * mean * mean) / (n - 1.0)).max(0.0);
        let half = Z_95 * (variance / n).sqrt();
        Estimate { mean, lower: mean - half, upper: mean + half }
    }
}

impl Spread {
    /// Of at least two values; `None` of fewer.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        if values.len() < 2 {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0);
        Some(Self { mean, standard_deviation: variance.sqrt() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 5e-5
    }

    #[test]
    fn wilson_interval_agrees_with_the_textbook() {
        // 15 of 148: 0.1014 with 0.0624 to 0.1605 (Newcombe, Statistics in Medicine 17, 1998, table I).
        let rate = Matched { customers: 148, visits: 15, ..Matched::default() }.visit_rate();
        assert!(close(rate.mean, 0.10135) && close(rate.lower, 0.0624) && close(rate.upper, 0.1605), "{rate:?}");
    }

    #[test]
    fn spend_has_the_mean_and_error_of_its_values() {
        let mut matched = Matched::default();
        for spend in [0.0, 0.0, 10.0, 30.0] {
            matched.add(spend > 0.0, spend);
        }
        // Mean 10, sample variance 200, standard error sqrt(50).
        let spend = matched.spend();
        assert!(close(spend.mean, 10.0) && close(spend.upper - spend.mean, Z_95 * 50_f64.sqrt()), "{spend:?}");
        assert_eq!((matched.customers, matched.visits), (4, 2));
    }

    #[test]
    fn nobody_matched_is_no_division_by_zero() {
        let nobody = Matched::default();
        assert!(nobody.visit_rate().upper.is_finite() && nobody.spend().upper.is_finite());
    }

    #[test]
    fn spread_needs_two_values() {
        assert_eq!(Spread::of(&[1.0]), None);
        assert_eq!(Spread::of(&[1.0, 3.0]), Some(Spread { mean: 2.0, standard_deviation: 2_f64.sqrt() }));
    }
}
