//! Units by measurement group, to compare with the shares that were declared.
//!
//! A unit counts once, however often it came: its place is dealt once.

use crate::engine::group::{Group, Groups};
use std::collections::{BTreeMap, BTreeSet};

/// Units of one division into groups: how many there are of each, and the share that each should have.
pub type Division = Vec<(u64, f64)>;

/// Units under every division that they came under.
#[derive(Clone, Debug, Default)]
pub struct Divided(BTreeMap<Shares, BTreeSet<([u8; 16], Group)>>);

/// What tells divisions apart: the bits of the shares of the uniform group and of the holdout, and the salt.
type Shares = (u64, u64, u64);

impl Divided {
    /// Counts a unit that was in a group.
    pub fn count(&mut self, groups: &Groups, unit_key: &[u8; 16], group: Group) {
        if groups.divide() {
            let shares = (groups.uniform.to_bits(), groups.holdout.to_bits(), groups.salt);
            self.0.entry(shares).or_default().insert((*unit_key, group));
        }
    }

    /// Every division; groups without a share are not among its groups.
    #[must_use]
    pub fn divisions(&self) -> Vec<Division> {
        let division = |(&(uniform, holdout, _), units): (&Shares, &BTreeSet<([u8; 16], Group)>)| {
            let (uniform, holdout) = (f64::from_bits(uniform), f64::from_bits(holdout));
            let shares =
                [(Group::Decisioning, 1.0 - uniform - holdout), (Group::Uniform, uniform), (Group::Holdout, holdout)];
            let counted = |group| units.iter().filter(|(_, own)| *own == group).count() as u64;
            shares.into_iter().filter(|(_, share)| *share > 0.0).map(|(group, share)| (counted(group), share)).collect()
        };
        self.0.iter().map(division).collect()
    }
}
