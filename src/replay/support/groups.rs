//! Units by measurement group, to compare with the shares that were declared: the sample-ratio test.
//!
//! A unit counts once, however often it came: its place is dealt once. Where there are very many, those are counted whose
//! keys begin with enough zeros, which has nothing to do with the group that they are dealt.

use crate::engine::{
    group::{Group, Groups},
    math::{beta, incomplete_gamma},
};
use std::collections::{BTreeMap, BTreeSet};

/// How many units there are of each group, and the share that each should have.
pub type Counts = Vec<(u64, f64)>;

/// Units of one division into groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Division {
    /// Of which decisions: "of the log", "under revision 3".
    pub of: String,
    /// By group.
    pub units: Counts,
}

/// Most units that are counted under one division, and about twice as many as are left when there are more.
const UNITS_MAX: usize = 1 << 18;

/// Units under every division that they came under.
#[derive(Clone, Debug, Default)]
pub struct Divided(BTreeMap<Shares, Units>);

/// What tells divisions apart: the bits of the shares of the uniform group and of the holdout, and the salt.
type Shares = (u64, u64, u64);

#[derive(Clone, Debug, Default)]
struct Units {
    /// With how many zeros the keys begin that are counted.
    zeros: u32,
    counted: BTreeSet<([u8; 16], Group)>,
}

impl Divided {
    /// Counts a unit that was in a group.
    pub fn count(&mut self, groups: &Groups, unit_key: &[u8; 16], group: Group) {
        if groups.divide() {
            let shares = (groups.uniform.to_bits(), groups.holdout.to_bits(), groups.salt);
            self.0.entry(shares).or_default().count(unit_key, group, UNITS_MAX);
        }
    }

    /// Every division of these decisions; groups without a share are not among its groups.
    pub fn divisions(&self, of: &str) -> impl Iterator<Item = Division> {
        let counts = |by_group: Vec<(Group, u64, f64)>| by_group.into_iter().map(|(_, units, share)| (units, share));
        self.by_group()
            .into_iter()
            .map(move |by_group| Division { of: of.to_owned(), units: counts(by_group).collect() })
    }

    /// The same with the groups: units and declared share of each.
    #[must_use]
    pub fn by_group(&self) -> Vec<Vec<(Group, u64, f64)>> {
        let division = |(&(uniform, holdout, _), units): (&Shares, &Units)| {
            let (uniform, holdout) = (f64::from_bits(uniform), f64::from_bits(holdout));
            let shares =
                [(Group::Decisioning, 1.0 - uniform - holdout), (Group::Uniform, uniform), (Group::Holdout, holdout)];
            let counted = |group| units.counted.iter().filter(|(_, own)| *own == group).count() as u64;
            let declared = shares.into_iter().filter(|(_, share)| *share > 0.0);
            declared.map(|(group, share)| (group, counted(group), share)).collect()
        };
        self.0.iter().map(division).collect()
    }
}

impl Division {
    /// How probable it is, by the binomial distribution, that chance alone leaves as few units in a group as there are, or
    /// as many: the smallest such probability of any group. Exact for any number of units. `None` where there is nothing to
    /// compare.
    #[must_use]
    pub fn chance(&self) -> Option<f64> {
        let all: u64 = self.units.iter().map(|(counted, _)| counted).sum();
        let tails = self.units.iter().map(|&(counted, share)| binomial_tail(counted, all, share));
        (all > 0 && self.units.len() > 1).then(|| tails.fold(1.0, f64::min))
    }
}

/// The probability of as few or as many of `all`, whichever is less than expected, where each is counted with a
/// probability of `share`: a tail of a Beta distribution (Clopper and Pearson, 1934).
fn binomial_tail(counted: u64, all: u64, share: f64) -> f64 {
    let (successes, failures) = (counted as f64, (all - counted) as f64);
    if successes < share * all as f64 {
        beta::tails(successes + 1.0, failures, share, 1.0 - share).upper
    } else if counted == 0 {
        1.0
    } else {
        beta::tails(successes, failures + 1.0, share, 1.0 - share).lower
    }
}

impl Units {
    fn count(&mut self, unit_key: &[u8; 16], group: Group, units_max: usize) {
        let zeros = |key: &[u8; 16]| u128::from_be_bytes(*key).leading_zeros();
        if zeros(unit_key) < self.zeros {
            return;
        }
        self.counted.insert((*unit_key, group));
        while self.counted.len() > units_max {
            self.zeros += 1;
            self.counted.retain(|(key, _)| zeros(key) >= self.zeros);
        }
    }
}

/// Pearson's chi-square of a division of units, and its degrees of freedom; `None` of fewer than two groups, and without
/// units.
fn chi_square(division: &Counts) -> Option<(f64, f64)> {
    let degrees = division.len().checked_sub(1).filter(|degrees| *degrees > 0)? as f64;
    let units: f64 = division.iter().map(|(counted, _)| *counted as f64).sum();
    let term = |(counted, share): &(u64, f64)| {
        let expected = share * units;
        (*counted as f64 - expected) * (*counted as f64 - expected) / expected
    };
    (units > 0.0).then(|| (division.iter().map(term).sum(), degrees))
}

/// How probable it is that chance alone makes units differ from their shares by as much (Pearson, 1900); `None` where there
/// is nothing to compare.
#[must_use]
pub fn p_value(division: &Counts) -> Option<f64> {
    let (statistic, degrees) = chi_square(division)?;
    Some(incomplete_gamma::tails(degrees / 2.0, statistic / 2.0).upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_units_than_are_kept_a_sample_is_counted_that_groups_have_no_part_in() {
        let mut units = Units::default();
        for unit in 0..10_000_u32 {
            let key = (u128::from(unit.wrapping_mul(2_654_435_769)) << 96).to_be_bytes();
            let group = if unit % 4 == 0 { Group::Holdout } else { Group::Decisioning };
            units.count(&key, group, 1_000);
            units.count(&key, group, 1_000);
        }
        let holdout = units.counted.iter().filter(|(_, group)| *group == Group::Holdout).count() as f64;
        let kept = units.counted.len() as f64;
        assert!(kept <= 1_000.0 && units.zeros > 3, "{kept}");
        // A binomial share of some 600: a standard deviation of 0.018, of keys that are fixed.
        assert!((holdout / kept - 0.25).abs() < 0.06, "{holdout} of {kept}");
    }

    #[test]
    fn tails_are_sums_of_binomial_probabilities() {
        let (all, share) = (12, 0.3_f64);
        let choose = |k: u64| (0..k).fold(1.0, |product, i| product * (all - i) as f64 / (i + 1) as f64);
        let probability = |k: u64| choose(k) * share.powi(k as i32) * (1.0 - share).powi((all - k) as i32);
        for counted in 0..=all {
            // 3.6 are expected.
            let summed: f64 =
                if counted < 4 { (0..=counted).map(probability).sum() } else { (counted..=all).map(probability).sum() };
            let tail = binomial_tail(counted, all, share);
            // Thirteen terms.
            assert!((tail - summed).abs() < 1e-13, "{counted}: {tail}, {summed}");
        }
        assert_eq!(binomial_tail(0, 5, 0.0), 1.0);
    }

    #[test]
    fn p_values_are_those_of_tables() {
        // Chi-square 3.841 with one degree of freedom and 5.991 with two leave 5 % above, to four digits of the tables.
        let of_two = |more: f64| p_value(&vec![((10_000.0 + more) as u64, 0.5), ((10_000.0 - more) as u64, 0.5)]);
        assert!((of_two(libm::sqrt(3.841 * 5_000.0)).unwrap() - 0.05).abs() < 1e-3);
        assert_eq!(of_two(0.0), Some(1.0));
        assert_eq!(p_value(&vec![(10, 1.0)]), None);
        assert_eq!(p_value(&vec![(0, 0.5), (0, 0.5)]), None);
    }
}
