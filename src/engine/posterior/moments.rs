//! Sufficient statistics of weighted regression, in pairs of doubles.
//!
//! One accumulator serves every posterior: with d features the normal-inverse-gamma one, with the single feature 1 the
//! Beta one. With some 32 digits an observation taken back leaves at most 1e-30 of the largest sum there ever was, and
//! rewards around 1e6 do not cancel. Posteriors see what is left when noughts and prior are added; nothing is rounded
//! to one double on the way.

use crate::engine::math::{
    cholesky::{packed_len, row_start},
    double_double::Dd,
};

/// Sums over observations of features x, reward y and weight w.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Sum of w.
    weight: Dd,
    /// Sum of w y^2.
    yy: Dd,
    /// Sum of w x y, one for each feature.
    xy: Vec<Dd>,
    /// Sum of w x x', packed lower triangle.
    xx: Vec<Dd>,
}

/// Numbers that are no moments.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MomentsError {
    /// Not as many numbers as the features need.
    #[error("moments of {features} features have {expected} parts, not {actual}")]
    Length {
        /// Number of features.
        features: usize,
        /// Numbers needed.
        expected: usize,
        /// Numbers given.
        actual: usize,
    },
    /// NaN or an infinity among them.
    #[error("part {index} of moments is {value}, must be finite")]
    NotFinite {
        /// Which one, from 0.
        index: usize,
        /// As given.
        value: f64,
    },
}

impl Moments {
    /// Of no observations, for `features` features.
    #[must_use]
    pub fn new(features: usize) -> Self {
        Self { weight: Dd::ZERO, yy: Dd::ZERO, xy: vec![Dd::ZERO; features], xx: vec![Dd::ZERO; packed_len(features)] }
    }

    /// Number of features d.
    #[must_use]
    pub fn features(&self) -> usize {
        self.xy.len()
    }

    /// Sum of w.
    #[must_use]
    pub const fn weight(&self) -> Dd {
        self.weight
    }

    /// Sum of w x x', packed lower triangle of d rows.
    #[must_use]
    pub fn xx(&self) -> &[Dd] {
        &self.xx
    }

    /// Sum of w x y, d elements.
    #[must_use]
    pub fn xy(&self) -> &[Dd] {
        &self.xy
    }

    /// Sum of w y^2.
    #[must_use]
    pub const fn yy(&self) -> Dd {
        self.yy
    }

    /// Adds an observation: d features, its reward and its weight.
    pub fn observe(&mut self, x: &[f64], y: f64, weight: f64) {
        self.weight = self.weight + Dd::from(weight);
        self.add_features(x, weight);
        self.add_reward(x, y, weight);
    }

    /// Takes an observation back: adds the exact opposites of what [`Moments::observe`] added.
    pub fn forget(&mut self, x: &[f64], y: f64, weight: f64) {
        self.observe(x, y, -weight);
    }

    /// Replaces the reward of an observation already added; what does not depend on rewards keeps its bits.
    pub fn correct(&mut self, x: &[f64], y_before: f64, y_after: f64, weight: f64) {
        self.add_reward(x, y_before, -weight);
        self.add_reward(x, y_after, weight);
    }

    /// Adds the observations of another accumulator with as many features.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.features(), other.features());
        self.weight = self.weight + other.weight;
        self.yy = self.yy + other.yy;
        for (sum, &added) in self.xy.iter_mut().zip(&other.xy).chain(self.xx.iter_mut().zip(&other.xx)) {
            *sum = *sum + added;
        }
    }

    /// Multiplies every weight by `factor`; exact for powers of two.
    pub fn scale(&mut self, factor: f64) {
        self.weight = self.weight * factor;
        self.yy = self.yy * factor;
        for sum in self.xy.iter_mut().chain(&mut self.xx) {
            *sum = *sum * factor;
        }
    }

    /// The same with every weight multiplied by `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let mut scaled = self.clone();
        scaled.scale(factor);
        scaled
    }

    /// Whether every sum is finite; sums that are not must never be stored.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.sums().all(|sum| sum.is_finite())
    }

    /// Weight, yy, xy, xx as (high, low) pairs: 2 (2 + d + d (d + 1) / 2) numbers that give back the same bits.
    #[must_use]
    pub fn to_parts(&self) -> Vec<f64> {
        self.sums().flat_map(|sum| <[f64; 2]>::from(sum.parts())).collect()
    }

    /// The moments of `features` features that [`Moments::to_parts`] wrote.
    ///
    /// # Errors
    /// Says which length or number is wrong.
    pub fn from_parts(features: usize, parts: &[f64]) -> Result<Self, MomentsError> {
        let expected = 2 * (2 + features + packed_len(features));
        if parts.len() != expected {
            return Err(MomentsError::Length { features, expected, actual: parts.len() });
        }
        if let Some((index, &value)) = parts.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(MomentsError::NotFinite { index, value });
        }
        let sums: Vec<Dd> = parts.chunks_exact(2).map(|pair| Dd::from_parts(pair[0], pair[1])).collect();
        let (xy, xx) = sums[2..].split_at(features);
        Ok(Self { weight: sums[0], yy: sums[1], xy: xy.to_vec(), xx: xx.to_vec() })
    }

    fn sums(&self) -> impl Iterator<Item = Dd> + '_ {
        [self.weight, self.yy].into_iter().chain(self.xy.iter().copied()).chain(self.xx.iter().copied())
    }

    // One-hot features are mostly noughts, and adding nought changes nothing: skipping them keeps every bit.
    fn add_features(&mut self, x: &[f64], weight: f64) {
        debug_assert_eq!(x.len(), self.features());
        let present: Vec<usize> = (0..x.len()).filter(|&index| x[index] != 0.0).collect();
        for (rank, &row) in present.iter().enumerate() {
            let weighted = Dd::product(weight, x[row]);
            let sums = &mut self.xx[row_start(row)..row_start(row + 1)];
            for &column in &present[..=rank] {
                sums[column] = sums[column] + weighted * x[column];
            }
        }
    }

    fn add_reward(&mut self, x: &[f64], y: f64, weight: f64) {
        debug_assert_eq!(x.len(), self.features());
        let weighted = Dd::product(weight, y);
        self.yy = self.yy + weighted * y;
        for (sum, &feature) in self.xy.iter_mut().zip(x) {
            *sum = *sum + weighted * feature;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const FEATURES: usize = 3;

    type Observation = (Vec<f64>, f64, f64);

    fn observations() -> impl Strategy<Value = Vec<Observation>> {
        let feature = prop_oneof![Just(0.0), Just(1.0), -1.0..1.0_f64];
        vec((vec(feature, FEATURES), -1e6..1e6_f64, 0.01..3.0_f64), 0..20)
    }

    fn fold(observations: &[Observation]) -> Moments {
        observations.iter().fold(Moments::new(FEATURES), |mut sums, (x, y, weight)| {
            sums.observe(x, *y, *weight);
            sums
        })
    }

    /// Largest difference between two sums, relative to the scale on which these observations live.
    fn distance(left: &Moments, right: &Moments) -> f64 {
        // Weights up to 3, rewards up to 1e6, at most 40 observations.
        let scales = [120.0, 1.2e14].into_iter().chain([1.2e8; FEATURES]).chain([120.0; 6]);
        let differences = left.sums().zip(right.sums()).map(|(a, b)| (a - b).to_f64().abs());
        differences.zip(scales).map(|(difference, scale)| difference / scale).fold(0.0, f64::max)
    }

    // A sum of pairs is off by 2^-104 = 5e-32 of the larger operand at most; 40 of them stay below 1e-29.
    const ROUNDING: f64 = 1e-29;

    proptest! {
        #[test]
        fn one_by_one_is_batch_to_the_last_bit(observations in observations(), cut in 0..20_usize) {
            let (first, second) = observations.split_at(cut.min(observations.len()));
            let mut sums = fold(first);
            for (x, y, weight) in second {
                sums.observe(x, *y, *weight);
            }
            prop_assert_eq!(sums, fold(&observations));
        }

        #[test]
        fn merging_is_observing_both_in_any_order(left in observations(), right in observations()) {
            let mut one = fold(&left);
            one.merge(&fold(&right));
            let mut other = fold(&right);
            other.merge(&fold(&left));
            prop_assert_eq!(&one, &other);
            prop_assert!(distance(&one, &fold(&[left, right].concat())) < ROUNDING);
        }

        #[test]
        fn what_is_forgotten_leaves_no_residue(kept in observations(), gone in observations()) {
            let mut sums = fold(&kept);
            for (x, y, weight) in &gone {
                sums.observe(x, *y, *weight);
            }
            for (x, y, weight) in &gone {
                sums.forget(x, *y, *weight);
            }
            prop_assert!(distance(&sums, &fold(&kept)) < ROUNDING);
        }

        #[test]
        fn observing_and_forgetting_alone_gives_nought(gone in observations()) {
            for (x, y, weight) in &gone {
                let mut sums = fold(&[(x.clone(), *y, *weight)]);
                sums.forget(x, *y, *weight);
                prop_assert_eq!(sums, Moments::new(FEATURES));
            }
        }

        #[test]
        fn correcting_is_having_observed_the_other_reward(observations in observations(), after in -1e6..1e6_f64) {
            if let Some((x, y, weight)) = observations.last() {
                let mut sums = fold(&observations);
                sums.correct(x, *y, after, *weight);
                let mut others = observations.clone();
                others.last_mut().unwrap().1 = after;
                let expected = fold(&others);
                prop_assert!(distance(&sums, &expected) < ROUNDING);
                prop_assert_eq!((sums.weight(), sums.xx()), (expected.weight(), expected.xx()));
            }
        }

        #[test]
        fn scaling_by_a_power_of_two_commutes_with_observing(observations in observations(), k in 0..60_i32) {
            let factor = libm::ldexp(1.0, -k);
            let lighter: Vec<Observation> =
                observations.iter().map(|(x, y, weight)| (x.clone(), *y, weight * factor)).collect();
            prop_assert_eq!(fold(&observations).scaled(factor), fold(&lighter));
        }

        #[test]
        fn parts_give_back_the_same_bits(observations in observations()) {
            let sums = fold(&observations);
            prop_assert_eq!(Moments::from_parts(FEATURES, &sums.to_parts()), Ok(sums));
        }
    }

    #[test]
    fn parts_of_another_length_or_not_finite_are_refused() {
        let mut parts = Moments::new(2).to_parts();
        let length = MomentsError::Length { features: 3, expected: 22, actual: 14 };
        assert_eq!(Moments::from_parts(3, &parts), Err(length));
        parts[5] = f64::INFINITY;
        let poisoned = MomentsError::NotFinite { index: 5, value: f64::INFINITY };
        assert_eq!(Moments::from_parts(2, &parts), Err(poisoned));
    }

    #[test]
    fn overflow_shows_as_not_finite() {
        let mut sums = Moments::new(1);
        sums.observe(&[1e200], 1.0, 1.0);
        assert!(!sums.is_finite());
    }
}
