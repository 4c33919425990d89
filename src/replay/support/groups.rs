//! Units by measurement group, to compare with the shares that were declared: the sample-ratio test.
//!
//! A unit counts once, however often it came: its place is dealt once. Where there are very many, those are counted whose
//! keys begin with enough zeros, which has nothing to do with the group that they are dealt.

use crate::engine::{
    group::{Group, Groups},
    math::incomplete_gamma,
};
use std::collections::{BTreeMap, BTreeSet};

/// Units of one division into groups: how many there are of each, and the share that each should have.
pub type Division = Vec<(u64, f64)>;

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

    /// Every division; groups without a share are not among its groups.
    #[must_use]
    pub fn divisions(&self) -> Vec<Division> {
        let division = |by_group: Vec<(Group, u64, f64)>| by_group.into_iter().map(|(_, units, share)| (units, share));
        self.by_group().into_iter().map(|by_group| division(by_group).collect()).collect()
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
#[must_use]
pub fn chi_square(division: &Division) -> Option<(f64, f64)> {
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
pub fn p_value(division: &Division) -> Option<f64> {
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
    fn p_values_are_those_of_tables() {
        // Chi-square 3.841 with one degree of freedom and 5.991 with two leave 5 % above, to four digits of the tables.
        let of_two = |more: f64| p_value(&vec![((10_000.0 + more) as u64, 0.5), ((10_000.0 - more) as u64, 0.5)]);
        assert!((of_two(libm::sqrt(3.841 * 5_000.0)).unwrap() - 0.05).abs() < 1e-3);
        assert_eq!(of_two(0.0), Some(1.0));
        assert_eq!(p_value(&vec![(10, 1.0)]), None);
        assert_eq!(p_value(&vec![(0, 0.5), (0, 0.5)]), None);
    }
}
