//! The interval of Cressie and Read's divergence of power -2, dual to the empirical likelihood (Karampatziakis, Langford
//! and Mineiro, 2020): the default, because it holds at the rates at which offers are taken.
//!
//! Of all distributions over what was seen and one thing that was not, whose weights average to 1 as they must, those
//! count that the data do not speak against; the interval spans their mean values. The unseen row has the smallest or
//! the largest weight that the design allows and the reward that hurts most, which is what a sample without rewards
//! cannot say by itself. Being a quadratic problem it needs sums alone, so one pass will do.

use super::Interval;
use crate::{
    engine::math::{double_double::Dd, student_t},
    replay::evaluation::Range,
};

/// Where the variance vanishes, this much is left below and above, so that rounding excludes nothing.
const SLACK: f64 = 1e-9;

/// Sums over n observations of weights w and values z.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// How many observations.
    pub n: f64,
    /// Sum of w.
    pub weight: Dd,
    /// Sum of w w.
    pub weight_weight: Dd,
    /// Sum of z.
    pub value: Dd,
    /// Sum of w z.
    pub weight_value: Dd,
    /// Sum of z z.
    pub value_value: Dd,
}

/// An observation that the design allows and the sample does not hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unseen {
    /// Its weight; infinite if no bound is known.
    pub weight: f64,
    /// The lowest and highest value it can have; of an infinite weight, per unit of weight.
    pub values: Range,
}

/// The interval for the mean value, within `bounds`; `least` and `most` are what is unseen at the smallest and the
/// largest weight. `None` without observations.
#[must_use]
pub fn interval(sums: &Sums, least: Unseen, most: Unseen, bounds: Range, alpha: f64) -> Option<Interval> {
    if sums.n < 1.0 {
        return None;
    }
    let level = level(sums, least.weight, most.weight, alpha);
    let end = |sums: &Sums, value: fn(&Unseen) -> f64| {
        let ends = [least, most].map(|unseen| sums.lowest(unseen.weight, value(&unseen), level));
        ends.into_iter().flatten().min_by(f64::total_cmp)
    };
    let lower = end(sums, |unseen| unseen.values.min).unwrap_or(bounds.min);
    let upper = end(&sums.mirrored(), |unseen| -unseen.values.max).map_or(bounds.max, |end| -end);
    Some(Interval { lower: lower.clamp(bounds.min, bounds.max), upper: upper.clamp(bounds.min, bounds.max) })
}

/// The mean value of the distribution that fits best, within [wmin, wmax] of the weights; `mean` is what is supposed of
/// what was not seen. `None` without observations.
#[must_use]
pub fn point(sums: &Sums, least: f64, most: f64, mean_unseen: f64) -> Option<f64> {
    let n = sums.n;
    if n < 1.0 {
        return None;
    }
    let unseen = if sums.weight.to_f64() < n { most } else { least };
    // Each observation's probability is (constant + slope w) / (1 + n).
    let (constant, slope) = if unseen.is_infinite() {
        (Dd::from(1.0 + n) / Dd::from(n), Dd::ZERO)
    } else {
        let first = mean(sums.weight, unseen, n);
        let second = mean_of(sums.weight_weight, Dd::product(unseen, unseen), n);
        let variance = second - first * first;
        ((second - first) / variance, (Dd::from(1.0) - first) / variance)
    };
    let per = |plain: Dd, weighted: Dd| ((constant * plain + slope * weighted) / Dd::from(1.0 + n)).to_f64();
    let missing = (1.0 - per(sums.weight, sums.weight_weight)).max(0.0);
    Some(per(sums.value, sums.weight_value) + missing * mean_unseen)
}

/// The statistic of the constraint that weights average to 1: by how much the sample speaks against it.
#[must_use]
pub fn weight_statistic(sums: &Sums, least: f64, most: f64) -> f64 {
    let n = sums.n;
    // Where no weight exceeds 1 all are 1, and the unseen one is no exception.
    let unseen = if sums.weight.to_f64() < n || most <= 1.0 { most } else { least };
    if unseen.is_infinite() {
        return 1.0 + 1.0 / n;
    }
    let mean = mean(sums.weight, unseen, n);
    let variance = mean_of(sums.weight_weight, Dd::product(unseen, unseen), n) - mean * mean;
    let distance = mean - Dd::from(1.0);
    if distance.to_f64() == 0.0 {
        return 0.0;
    }
    ((distance * distance) / variance).to_f64() * (1.0 + n)
}

/// How far distributions may be from the sample: the best fit's statistic and the quantile of F(1, n) on top.
fn level(sums: &Sums, least: f64, most: f64, alpha: f64) -> f64 {
    let quantile = student_t::quantile(sums.n, 1.0 - alpha / 2.0);
    -(weight_statistic(sums, least, most) + quantile * quantile) / (2.0 * (1.0 + sums.n))
}

fn mean(sum: Dd, unseen: f64, n: f64) -> Dd {
    mean_of(sum, Dd::from(unseen), n)
}

fn mean_of(sum: Dd, unseen: Dd, n: f64) -> Dd {
    (sum + unseen) / Dd::from(1.0 + n)
}

impl Sums {
    /// Takes in an observation.
    pub fn add(&mut self, weight: f64, value: f64) {
        self.n += 1.0;
        self.weight = self.weight + Dd::from(weight);
        self.weight_weight = self.weight_weight + Dd::product(weight, weight);
        self.value = self.value + Dd::from(value);
        self.weight_value = self.weight_value + Dd::product(weight, value);
        self.value_value = self.value_value + Dd::product(value, value);
    }

    fn mirrored(&self) -> Self {
        Self { value: -self.value, weight_value: -self.weight_value, ..*self }
    }

    /// The lowest mean value within the level, where the unseen observation is this one; `None` where it fits no better.
    fn lowest(&self, weight: f64, value: f64, level: f64) -> Option<f64> {
        let (centre, spread, room) =
            if weight.is_infinite() { self.around_infinite_weight(value) } else { self.around(weight, value)? };
        let room = room + level;
        // Never positive but for rounding, of which pairs of doubles leave little.
        let product = spread.min(0.0) * room;
        if product.abs() <= SLACK * SLACK {
            return Some(centre - libm::sqrt(2.0) * SLACK);
        }
        (room <= 0.0).then(|| centre - libm::sqrt(2.0 * product))
    }

    /// Centre of the values at the weights' constraint, minus their variance there, and what the constraint costs.
    fn around(&self, weight: f64, value: f64) -> Option<(f64, f64, f64)> {
        let n = self.n;
        let w = mean(self.weight, weight, n);
        let z = mean(self.value, value, n);
        let variance = mean_of(self.weight_weight, Dd::product(weight, weight), n) - w * w;
        let distance = Dd::from(1.0) - w;
        if variance.to_f64() <= 0.0 {
            // All weights are alike: 1, which leaves the values free, or another, which fits nothing.
            let variance = mean_of(self.value_value, Dd::product(value, value), n) - z * z;
            return (distance.to_f64() == 0.0).then(|| (z.to_f64(), -variance.to_f64(), 0.0));
        }
        let covariance = mean_of(self.weight_value, Dd::product(weight, value), n) - w * z;
        let spread = mean_of(self.value_value, Dd::product(value, value), n) - z * z;
        let centre = z + distance * covariance / variance;
        let spread = covariance * covariance / variance - spread;
        let cost = (distance * distance / variance).to_f64() / 2.0;
        Some((centre.to_f64(), spread.to_f64(), cost))
    }

    /// The limit of an ever larger weight on an ever smaller probability.
    fn around_infinite_weight(&self, slope: f64) -> (f64, f64, f64) {
        let n = self.n;
        let rest = self.value - self.weight * slope;
        let centre = Dd::from(slope) + rest / Dd::from(n);
        let squares = self.weight_weight * Dd::product(slope, slope) - self.weight_value * (2.0 * slope);
        let squares = squares + self.value_value;
        let spread = rest * rest / Dd::product(n, 1.0 + n) - squares / Dd::from(1.0 + n);
        (centre.to_f64(), spread.to_f64(), 1.0 / (2.0 * n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: Range = Range { min: 0.0, max: 1.0 };

    fn unseen(weight: f64) -> Unseen {
        Unseen { weight, values: Range { min: 0.0, max: weight } }
    }

    fn sums(rows: impl IntoIterator<Item = (f64, f64)>) -> Sums {
        let mut sums = Sums::default();
        rows.into_iter().for_each(|(weight, reward)| sums.add(weight, weight * reward));
        sums
    }

    fn ends(sums: &Sums, weight_max: f64) -> (f64, f64) {
        let interval = interval(sums, unseen(0.0), unseen(weight_max), SHARES, 0.05).unwrap();
        (interval.lower, interval.upper)
    }

    #[test]
    fn a_sample_without_rewards_says_what_one_more_row_could_have_earned() {
        let (lower, upper) = ends(&sums((0..1_000).map(|index| (f64::from(index % 2) * 2.0, 0.0))), 6.0);
        assert!(lower <= 0.0, "{lower}");
        // One row of weight 6 among a thousand earns .006 in the mean, and up to twice the root of that in its interval.
        assert!(upper > 0.006 && upper < 0.03, "{upper}");
    }

    #[test]
    fn the_larger_the_weights_that_are_allowed_the_wider_the_interval() {
        let rows = || sums((0..500).map(|index| (f64::from(index % 2) * 2.0, f64::from(u8::from(index % 20 == 1)))));
        let widths = [2.0, 6.0, 20.0].map(|weight_max| {
            let (lower, upper) = ends(&rows(), weight_max);
            upper - lower
        });
        assert!(widths.is_sorted(), "{widths:?}");
    }

    #[test]
    fn weights_of_one_give_the_interval_of_a_mean_with_one_row_more() {
        let rewards = |index: u32| f64::from(index % 4) / 4.0;
        let (lower, upper) = ends(&sums((0..400).map(|index| (1.0, rewards(index)))), 1.0);
        // Student's interval of 401 rewards, the last one the worst: mean .375, standard deviation .2795.
        let half = 1.966 * 0.2795 / 401_f64.sqrt();
        assert!((lower - (0.374 - half)).abs() < 1e-3 && (upper - (0.3766 + half)).abs() < 1e-3, "{lower} {upper}");
    }

    #[test]
    fn nothing_observed_is_nothing_known() {
        assert_eq!(interval(&Sums::default(), unseen(0.0), unseen(2.0), SHARES, 0.05), None);
    }
}
