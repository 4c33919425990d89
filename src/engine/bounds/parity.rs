//! How bands act: the rate and the spread that a partition's log has led to.
//!
//! Both come from what bands found before they acted, so nothing feeds on itself. Of each decision that the policy made
//! for somebody who could be held to a band, the total of its arms under every other bound is kept: on average that is
//! the rate, and by cohort it tells how far apart cohorts would be for any delta.

use super::{Band, BandInForce};
use crate::engine::learn::PartitionStatistics;
use std::{collections::BTreeMap, sync::Arc};

/// Where weights are halved: what is remembered is between half as many and as many decisions of each partition.
const WEIGHT_MAX: f64 = 16_384.0;
/// Parts of [0, 1] that totals are counted by.
pub const BINS: usize = 64;
/// Decisions that a rate, or a cohort's average, needs to say anything.
const WEIGHT_MIN: f64 = 100.0;
/// What is left of the largest gap for what bins and other bounds blur.
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
    /// Decisions of each cohort by their totals before the band: bin i of [`BINS`] is from i / BINS.
    pub cohorts: BTreeMap<Cohort, Vec<f64>>,
}

impl BandStatistics {
    /// Counts one decision; `before` is from 0 to 1.
    pub fn observe(&mut self, before: f64, cohorts: &[Cohort]) {
        if self.weight >= WEIGHT_MAX {
            self.halve();
        }
        self.weight += 1.0;
        self.before += before;
        for cohort in cohorts {
            let bins = self.cohorts.entry(cohort.clone()).or_insert_with(|| vec![0.0; BINS]);
            bins[((before * BINS as f64) as usize).min(BINS - 1)] += 1.0;
        }
    }

    /// Exactly: sums of a halved past are the same bits whenever the halving comes.
    fn halve(&mut self) {
        self.weight /= 2.0;
        self.before /= 2.0;
        self.cohorts.values_mut().flatten().for_each(|count| *count /= 2.0);
    }

    /// Whether every number is finite and no count is below 0, as every stored one must be.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let counts = self.cohorts.values().flatten().chain([&self.weight, &self.before]);
        counts.into_iter().all(|count| count.is_finite() && *count >= 0.0)
            && self.cohorts.values().all(|bins| bins.len() == BINS)
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
        let delta = self.max_gap.map_or(self.delta, |max_gap| self.narrowed(rate, max_gap, &pooled(&found)));
        BandInForce { rate, delta }
    }

    /// The largest delta, up to the declared one, that leaves no two cohorts of an attribute further apart than allowed.
    /// Where delta is 0 they are not apart at all.
    fn narrowed(&self, rate: f64, max_gap: f64, cohorts: &BTreeMap<Cohort, Vec<f64>>) -> f64 {
        let spreads = (0..SPREADS).map(|step| self.delta * f64::from(SPREADS - step) / f64::from(SPREADS));
        let holds = |&delta: &f64| largest_gap(BandInForce { rate, delta }, cohorts) <= GAP_SHARE * max_gap;
        spreads.into_iter().find(holds).unwrap_or(0.0)
    }
}

fn pooled(found: &[&BandStatistics]) -> BTreeMap<Cohort, Vec<f64>> {
    let mut pooled: BTreeMap<Cohort, Vec<f64>> = BTreeMap::new();
    for (cohort, bins) in found.iter().flat_map(|statistics| &statistics.cohorts) {
        let sums = pooled.entry(cohort.clone()).or_insert_with(|| vec![0.0; BINS]);
        sums.iter_mut().zip(bins).for_each(|(sum, count)| *sum += count);
    }
    pooled
}

/// The largest distance between the averages of two cohorts of one attribute, if totals were held to a band.
fn largest_gap(in_force: BandInForce, cohorts: &BTreeMap<Cohort, Vec<f64>>) -> f64 {
    let (min, max) = in_force.ends();
    let mut ends: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (cohort, bins) in cohorts {
        let weight: f64 = bins.iter().sum();
        if weight < WEIGHT_MIN {
            continue;
        }
        let middle = |bin: usize| (bin as f64 + 0.5) / BINS as f64;
        let held = |(bin, count): (usize, &f64)| count * middle(bin).clamp(min, max);
        let average = bins.iter().enumerate().map(held).sum::<f64>() / weight;
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

    fn partition(observations: impl IntoIterator<Item = (f64, u64)>) -> PartitionStatistics {
        let mut statistics = BandStatistics::default();
        for (before, value_key) in observations {
            statistics.observe(before, &[Cohort { attribute: "gender".into(), value_key }]);
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
    fn cohorts_hardly_seen_narrow_nothing() {
        let apart = [partition((0..1000).map(|n| if n % 11 == 0 { (0.1, 1) } else { (0.9, 2) }))];
        assert_eq!(band(None, Some(0.1)).in_force(&apart).delta, 0.2);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_follows() {
        let mut statistics = BandStatistics::default();
        (0..100_000).for_each(|_| statistics.observe(0.0, &[]));
        (0..40_000).for_each(|_| statistics.observe(1.0, &[]));
        assert!(statistics.weight <= WEIGHT_MAX && statistics.is_valid());
        assert!(statistics.before / statistics.weight > 0.8, "{statistics:?}");
    }
}
