//! What replay estimates, and its intervals.
//!
//! Where arms were logged at random, the customers whose logged arm is the one that a policy picks are a fair sample of
//! what that policy would have met: the mean over them estimates its value without bias, as long as it learns from
//! nobody else (Li, Chu, Langford and Wang, 2011). Where arms were not equally likely, a match counts with probability
//! `min p / p(logged)` within the customer's stratum, which makes them so; strata that then match less often than others
//! are weighted by their share of all customers (post-stratification).

use serde::Serialize;

/// Two-sided 95 % point of the standard normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// Sums over some customers' values of one metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sums {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) squares: f64,
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

/// How estimates differ between orders of the same customers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    pub(crate) standard_deviation: f64,
}

impl Sums {
    /// Adds one customer's value.
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    /// Of the mean: the sample variance over the count.
    fn variance_of_mean(&self) -> f64 {
        let (count, mean) = (self.count.max(2) as f64, self.mean());
        ((self.squares - self.count as f64 * mean * mean) / (count - 1.0)).max(0.0) / count
    }

    /// A share of customers, each 0 or 1, with the interval of Wilson (1927).
    fn wilson(&self) -> Estimate {
        let (count, mean) = (self.count.max(1) as f64, self.mean());
        let shrink = 1.0 + Z_95 * Z_95 / count;
        let centre = (mean + Z_95 * Z_95 / (2.0 * count)) / shrink;
        let half = Z_95 / shrink * (mean * (1.0 - mean) / count + Z_95 * Z_95 / (4.0 * count * count)).sqrt();
        Estimate { mean, lower: centre - half, upper: centre + half }
    }
}

impl Estimate {
    /// The mean over all customers from the sums of each stratum, `(share of all customers, sums)`; the shares sum to 1.
    /// The interval is the normal one, or Wilson's for a share of customers in a single stratum.
    pub(crate) fn of(strata: &[(f64, Sums)], is_share: bool) -> Self {
        if let ([(_, sums)], true) = (strata, is_share) {
            return sums.wilson();
        }
        let mean: f64 = strata.iter().map(|(share, sums)| share * sums.mean()).sum();
        let variance: f64 = strata.iter().map(|(share, sums)| share * share * sums.variance_of_mean()).sum();
        let half = Z_95 * variance.sqrt();
        Self { mean, lower: mean - half, upper: mean + half }
    }
}

impl Spread {
    /// Of at least two values; `None` of fewer.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
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

    fn sums(values: &[f64]) -> Sums {
        let mut sums = Sums::default();
        values.iter().for_each(|&value| sums.add(value));
        sums
    }

    #[test]
    fn wilson_interval_agrees_with_the_textbook() {
        // 15 of 148: 0.1014 with 0.0624 to 0.1605 (Newcombe, Statistics in Medicine 17, 1998, table I).
        let share = Estimate::of(&[(1.0, Sums { count: 148, sum: 15.0, squares: 15.0 })], true);
        assert!(close(share.mean, 0.10135) && close(share.lower, 0.0624) && close(share.upper, 0.1605), "{share:?}");
    }

    #[test]
    fn an_amount_has_the_mean_and_error_of_its_values() {
        // Mean 10, sample variance 200, standard error sqrt(50).
        let amount = Estimate::of(&[(1.0, sums(&[0.0, 0.0, 10.0, 30.0]))], false);
        assert!(close(amount.mean, 10.0) && close(amount.upper - amount.mean, Z_95 * 50_f64.sqrt()), "{amount:?}");
    }

    #[test]
    fn strata_count_by_their_share_of_customers_not_by_how_often_they_matched() {
        // 0.25 * 2 + 0.75 * 10 = 8; the first mean has variance 2 / 2 = 1, the second (168 / 3) / 4 = 14.
        let strata = [(0.25, sums(&[1.0, 3.0])), (0.75, sums(&[2.0, 8.0, 10.0, 20.0]))];
        let amount = Estimate::of(&strata, false);
        let error = (0.0625_f64 * 1.0 + 0.5625 * 14.0).sqrt();
        assert!(close(amount.mean, 8.0) && close(amount.mean - amount.lower, Z_95 * error), "{amount:?}");
    }

    #[test]
    fn nobody_matched_is_no_division_by_zero() {
        for is_share in [true, false] {
            assert!(Estimate::of(&[(1.0, Sums::default())], is_share).upper.is_finite());
        }
    }

    #[test]
    fn spread_needs_two_values() {
        assert_eq!(Spread::of(&[1.0]), None);
        assert_eq!(Spread::of(&[1.0, 3.0]), Some(Spread { mean: 2.0, standard_deviation: 2_f64.sqrt() }));
    }
}
