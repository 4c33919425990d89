//! How bands act: the rate and the spread that a partition's log has led to.
//!
//! Of each decision that the policy made for somebody who could be held to a band, the total of the band's arms under
//! all bounds but bands is kept, as if none had acted: on average that is the rate, and by cohort it tells how far
//! apart cohorts would be for any delta. A policy that still learns will not do as it did, though, so what cohorts came
//! to under the band is kept as well: the nearer they are to being too far apart, the less they may be so from now on.

use super::{Band, BandInForce, BandTotals};
use crate::engine::learn::PartitionStatistics;
use std::{collections::BTreeMap, sync::Arc};

/// Where weights are halved: what is remembered is between half as many and as many decisions of each partition.
const WEIGHT_MAX: f64 = 16_384.0;
/// Parts of [0, 1] that totals are counted by.
pub const BINS: usize = 64;
/// Decisions that a rate, or a cohort's average, needs to say anything.
const WEIGHT_MIN: f64 = 100.0;
/// The part of what is remembered that a cohort needs to count: as many decisions of all that can be. Halving everything
/// changes it for nobody, so that none comes and goes with that.
const SHARE_MIN: f64 = WEIGHT_MIN / WEIGHT_MAX;
/// The part of the largest gap that cohorts may be expected to be apart. The rest is for what bins and other bounds blur,
/// and for turning back in: where cohorts were that far apart it shrinks, until at the largest gap there is none left.
const GAP_SHARE: f64 = 0.9;
/// How many spreads are tried between the declared one and none.
const SPREADS: u32 = 128;

/// One value of a protected attribute, as a keyed hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cohort {
    /// The attribute's name.
    pub attribute: Arc<str>,
    /// Keyed hash of the value.
    pub value_key: u64,
}

/// What a band found in the leads of one partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BandStatistics {
    /// Decisions; older ones count less.
    pub weight: f64,
    /// Their totals before the band.
    pub before: f64,
    /// The same by cohort.
    pub cohorts: BTreeMap<Cohort, CohortStatistics>,
}

/// What a band found and made of the leads of one cohort.
#[derive(Clone, Debug, PartialEq)]
pub struct CohortStatistics {
    /// Decisions by their totals before the band: bin i of [`BINS`] is from i / BINS.
    pub bins: Vec<f64>,
    /// Their totals after it.
    pub after: f64,
    /// Decisions ever; these count in full.
    pub seen: u64,
}

impl BandStatistics {
    /// Counts one decision.
    pub fn observe(&mut self, found: &BandTotals, cohorts: &[Cohort]) {
        // What adds up to 1 may be rounded to a little more.
        let (before, after) = (found.before.clamp(0.0, 1.0), found.after.clamp(0.0, 1.0));
        if self.weight >= WEIGHT_MAX {
            self.halve();
        }
        self.weight += 1.0;
        self.before += before;
        for cohort in cohorts {
            let found = self.cohorts.entry(cohort.clone()).or_default();
            found.bins[((before * BINS as f64) as usize).min(BINS - 1)] += 1.0;
            found.after += after;
            found.seen += 1;
        }
    }

    /// Exactly: sums of a halved past are the same bits whenever the halving comes.
    fn halve(&mut self) {
        self.weight /= 2.0;
        self.before /= 2.0;
        for cohort in self.cohorts.values_mut() {
            cohort.bins.iter_mut().chain([&mut cohort.after]).for_each(|sum| *sum /= 2.0);
        }
    }

    /// Whether every number is finite and no count is below 0, as every stored one must be.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let of_cohorts = self.cohorts.values().flat_map(|cohort| cohort.bins.iter().chain([&cohort.after]));
        of_cohorts.chain([&self.weight, &self.before]).all(|sum| sum.is_finite() && *sum >= 0.0)
            && self.cohorts.values().all(|cohort| cohort.bins.len() == BINS)
    }
}

impl Band {
    /// How the band acts by what the partitions of a log have seen. Without a declared rate it does not act before a
    /// hundred decisions have told one.
    #[must_use]
    pub fn in_force(&self, partitions: &[PartitionStatistics]) -> BandInForce {
        let found: Vec<&BandStatistics> =
            partitions.iter().filter_map(|partition| partition.bands.get(&self.id)).collect();
        let weight: f64 = found.iter().map(|statistics| statistics.weight).sum();
        let before: f64 = found.iter().map(|statistics| statistics.before).sum();
        let rate = match self.rate {
            Some(rate) => rate,
            None if weight < WEIGHT_MIN => return BandInForce::FREE,
            None => before / weight,
        };
        let delta = self.max_gap.map_or(self.delta, |max_gap| self.narrowed(rate, max_gap, &counting(&found)));
        BandInForce { rate, delta }
    }

    /// The largest delta, up to the declared one, that leaves no two cohorts of an attribute further apart than allowed.
    /// Where delta is 0 they are not apart at all.
    fn narrowed(&self, rate: f64, max_gap: f64, cohorts: &BTreeMap<Cohort, CohortStatistics>) -> f64 {
        let room = (max_gap - largest_gap(cohorts, CohortStatistics::average_after)) / (1.0 - GAP_SHARE);
        let allowed = GAP_SHARE * room.clamp(0.0, max_gap);
        let spreads = (0..SPREADS).map(|step| self.delta * f64::from(SPREADS - step) / f64::from(SPREADS));
        let expected = |delta| largest_gap(cohorts, |cohort| cohort.expected(BandInForce { rate, delta }));
        spreads.into_iter().find(|&delta| expected(delta) <= allowed).unwrap_or(0.0)
    }
}

impl Default for CohortStatistics {
    fn default() -> Self {
        Self { bins: vec![0.0; BINS], after: 0.0, seen: 0 }
    }
}

impl CohortStatistics {
    fn weight(&self) -> f64 {
        self.bins.iter().sum()
    }

    /// What its totals came to on average.
    fn average_after(&self) -> f64 {
        self.after / self.weight()
    }

    /// What they would come to if they were held to a band, by what they were before.
    fn expected(&self, in_force: BandInForce) -> f64 {
        let (min, max) = in_force.ends();
        let middle = |bin: usize| (bin as f64 + 0.5) / BINS as f64;
        let held = |(bin, count): (usize, &f64)| count * middle(bin).clamp(min, max);
        self.bins.iter().enumerate().map(held).sum::<f64>() / self.weight()
    }
}

/// The cohorts that were seen often enough to count, in all partitions together.
fn counting(found: &[&BandStatistics]) -> BTreeMap<Cohort, CohortStatistics> {
    let mut pooled: BTreeMap<Cohort, CohortStatistics> = BTreeMap::new();
    let mut remembered: BTreeMap<Arc<str>, f64> = BTreeMap::new();
    for (cohort, found) in found.iter().flat_map(|statistics| &statistics.cohorts) {
        let sums = pooled.entry(cohort.clone()).or_default();
        sums.bins.iter_mut().zip(&found.bins).for_each(|(sum, count)| *sum += count);
        sums.after += found.after;
        sums.seen += found.seen;
        *remembered.entry(cohort.attribute.clone()).or_default() += found.weight();
    }
    pooled.retain(|cohort, found| {
        found.seen as f64 >= WEIGHT_MIN && found.weight() >= SHARE_MIN * remembered[&cohort.attribute]
    });
    pooled
}

/// The largest distance between the averages of two cohorts of one attribute.
fn largest_gap(cohorts: &BTreeMap<Cohort, CohortStatistics>, average: impl Fn(&CohortStatistics) -> f64) -> f64 {
    let mut ends: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (cohort, found) in cohorts {
        let average = average(found);
        let (low, high) = ends.entry(&cohort.attribute).or_insert((average, average));
        (*low, *high) = (low.min(average), high.max(average));
    }
    ends.values().map(|(low, high)| high - low).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(rate: Option<f64>, max_gap: Option<f64>) -> Band {
        Band { id: "benefit".into(), rate, delta: 0.2, max_gap }
    }

    fn found(before: f64, after: f64) -> BandTotals {
        BandTotals { id: "benefit".into(), before, after, in_force: BandInForce::FREE }
    }

    /// What was seen where the band made all alike.
    fn partition(observations: impl IntoIterator<Item = (f64, u64)>) -> PartitionStatistics {
        let mut statistics = BandStatistics::default();
        for (before, value_key) in observations {
            statistics.observe(&found(before, 0.5), &[Cohort { attribute: "gender".into(), value_key }]);
        }
        PartitionStatistics { bands: BTreeMap::from([("benefit".into(), statistics)]), ..Default::default() }
    }

    #[test]
    fn the_rate_is_the_average_over_all_partitions() {
        let partitions = [partition((0..300).map(|_| (0.25, 1))), partition((0..100).map(|_| (0.65, 1)))];
        // 400 additions of numbers below 1: far below 1e-12.
        assert!((band(None, None).in_force(&partitions).rate - 0.35).abs() < 1e-12);
        assert_eq!(band(Some(0.1), None).in_force(&partitions), BandInForce { rate: 0.1, delta: 0.2 });
    }

    #[test]
    fn too_few_decisions_tell_no_rate() {
        let unbound = BandInForce::FREE;
        assert_eq!(band(None, None).in_force(&[partition((0..99).map(|_| (0.25, 1)))]), unbound);
        assert_eq!(unbound.ends(), (0.0, 1.0));
    }

    #[test]
    fn cohorts_that_are_further_apart_narrow_the_band_for_all() {
        let apart = [partition((0..1000).map(|n| if n % 2 == 0 { (0.1, 1) } else { (0.9, 2) }))];
        let narrowed = band(None, Some(0.1)).in_force(&apart).delta;
        // Both cohorts lie outside the band, so they are 2 delta apart: 0.045 on a grid of 0.2 / 128.
        assert!(narrowed <= 0.045 && narrowed > 0.045 - 0.2 / 128.0, "{narrowed}");
        let alike = [partition((0..1000).map(|n| (0.5 + 0.4 * f64::from(n % 2), u64::from(n % 4 < 2))))];
        assert_eq!(band(None, Some(0.1)).in_force(&alike).delta, 0.2, "each cohort has as many of each");
    }

    #[test]
    fn cohorts_that_came_too_far_apart_are_held_together_until_they_are_not() {
        let delta_after = |apart: f64| {
            let mut statistics = BandStatistics::default();
            for value_key in (0..1000).map(|n| n % 2) {
                // What the policy wants would allow any delta.
                let after = 0.5 + apart * value_key as f64;
                statistics.observe(&found(0.5, after), &[Cohort { attribute: "gender".into(), value_key }]);
            }
            for value_key in (0..1000).map(|n| n % 2) {
                let before = if value_key == 0 { 0.45 } else { 0.53 };
                let after = 0.5 + apart * value_key as f64;
                statistics.observe(&found(before, after), &[Cohort { attribute: "gender".into(), value_key }]);
            }
            let partition =
                PartitionStatistics { bands: BTreeMap::from([("benefit".into(), statistics)]), ..Default::default() };
            band(Some(0.5), Some(0.1)).in_force(&[partition]).delta
        };
        assert_eq!(delta_after(0.0), 0.2);
        assert_eq!(delta_after(0.09), 0.2, "the margin is for turning back");
        let turning = delta_after(0.097);
        assert!(0.0 < turning && turning < 0.05, "{turning}");
        assert_eq!(delta_after(0.1), 0.0);
    }

    #[test]
    fn cohorts_hardly_seen_narrow_nothing() {
        let apart = [partition((0..1000).map(|n| if n % 11 == 0 { (0.1, 1) } else { (0.9, 2) }))];
        assert_eq!(band(None, Some(0.1)).in_force(&apart).delta, 0.2);
    }

    #[test]
    fn a_small_cohort_that_counts_goes_on_counting_when_weights_are_halved() {
        let mut statistics = BandStatistics::default();
        let mut deltas = Vec::new();
        for n in 0..60_000_u64 {
            // One in 110 is of the second cohort and far from the others.
            let value_key = u64::from(n % 110 == 0);
            let before = if value_key == 1 { 0.9 } else { 0.1 };
            statistics.observe(&found(before, 0.5), &[Cohort { attribute: "gender".into(), value_key }]);
            if n % 500 == 0 && n >= 20_000 {
                let bands = BTreeMap::from([("benefit".into(), statistics.clone())]);
                deltas.push(
                    band(Some(0.5), Some(0.1)).in_force(&[PartitionStatistics { bands, ..Default::default() }]).delta,
                );
            }
        }
        assert!(deltas.iter().all(|&delta| delta == deltas[0] && delta < 0.05), "{deltas:?}");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_follows() {
        let mut statistics = BandStatistics::default();
        (0..100_000).for_each(|_| statistics.observe(&found(0.0, 0.0), &[]));
        (0..40_000).for_each(|_| statistics.observe(&found(1.0, 1.0), &[]));
        assert!(statistics.weight <= WEIGHT_MAX && statistics.is_valid());
        assert!(statistics.before / statistics.weight > 0.8, "{statistics:?}");
    }
}
