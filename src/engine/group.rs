//! Measurement groups: which units the policy decides for, and whom they are measured against.
//!
//! A unit stands at a place in [0, 1) that its keyed hash and the placement's salt determine. The holdout takes places
//! from the bottom and the uniform group from the top, so that changed shares move nobody that need not move.

use super::catalog::Selection;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

/// Fills the key beside the unit's hash.
const DOMAIN: [u8; 16] = *b"offer-ranker/gr1";

/// The measurement group of a unit at a placement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The policy decides, under the bounds.
    #[default]
    Decisioning,
    /// Every eligible arm is as probable as any other, under the same bounds.
    Uniform,
    /// The first eligible arm of a fixed order; bounds do not act, and nothing is learned.
    Holdout,
}

/// How the units of a placement are shared out.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    /// Share of the uniform group, from 0 to 1.
    pub uniform: f64,
    /// Share of the holdout, from 0 to 1 less the uniform group.
    pub holdout: f64,
    /// How the holdout is decided: in a fixed order, where it has a share.
    pub holdout_selection: Selection,
    /// What tells the placement's hash from that of others.
    pub salt: u64,
}

impl Groups {
    /// Whether there is more than one.
    #[must_use]
    pub fn divide(&self) -> bool {
        self.uniform > 0.0 || self.holdout > 0.0
    }

    /// The group of a unit by the keyed hash of its id.
    #[must_use]
    pub fn of(&self, unit_key: &[u8; 16]) -> Group {
        if !self.divide() {
            return Group::Decisioning;
        }
        let place = self.place(unit_key);
        if place < self.holdout {
            Group::Holdout
        } else if place >= 1.0 - self.uniform {
            Group::Uniform
        } else {
            Group::Decisioning
        }
    }

    /// Where a unit stands in [0, 1): the first 53 bits of a stream of its own.
    fn place(&self, unit_key: &[u8; 16]) -> f64 {
        let mut key = [0; 32];
        key[..16].copy_from_slice(unit_key);
        key[16..].copy_from_slice(&DOMAIN);
        let mut stream = ChaCha12Rng::from_seed(key);
        stream.set_stream(self.salt);
        (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    const UNITS: usize = 100_000;

    fn units() -> impl Iterator<Item = [u8; 16]> {
        (0..UNITS).map(|unit| {
            let mut key = [0; 16];
            key.copy_from_slice(&Sha256::digest(unit.to_le_bytes())[..16]);
            key
        })
    }

    fn groups(uniform: f64, holdout: f64, salt: u64) -> Groups {
        Groups { uniform, holdout, holdout_selection: Selection::Fixed(Vec::new()), salt }
    }

    fn number(group: Group) -> usize {
        group as usize
    }

    #[test]
    fn moving_the_holdout_from_5_to_2_percent_moves_3_percent_of_units_and_no_other() {
        let (before, after) = (groups(0.1, 0.05, 7), groups(0.1, 0.02, 7));
        let mut moved = 0;
        for unit in units() {
            match (before.of(&unit), after.of(&unit)) {
                (Group::Holdout, Group::Decisioning) => moved += 1,
                (before, after) => assert_eq!(before, after),
            }
        }
        // Binomial(100,000, 0.03) has a standard deviation of 54: four of them, for a fixed salt.
        assert!((2784..=3216).contains(&moved), "{moved}");
    }

    #[test]
    fn a_larger_uniform_group_takes_units_from_decisioning_alone() {
        let (before, after) = (groups(0.1, 0.05, 7), groups(0.3, 0.05, 7));
        for unit in units() {
            let change = (before.of(&unit), after.of(&unit));
            assert!(change.0 == change.1 || change == (Group::Decisioning, Group::Uniform), "{change:?}");
        }
    }

    #[test]
    fn groups_at_two_placements_are_independent() {
        let (one, other) = (groups(0.2, 0.3, 1), groups(0.3, 0.1, 2));
        let mut counts = [[0.0_f64; 3]; 3];
        for unit in units() {
            counts[number(one.of(&unit))][number(other.of(&unit))] += 1.0;
        }
        let rows = counts.map(|row| row.iter().sum::<f64>());
        let columns = [0, 1, 2].map(|column| counts.iter().map(|row| row[column]).sum::<f64>());
        let mut statistic = 0.0;
        for (row, counts) in rows.iter().zip(&counts) {
            for (column, count) in columns.iter().zip(counts) {
                let expected = row * column / UNITS as f64;
                statistic += (count - expected) * (count - expected) / expected;
            }
        }
        // Chi-square with 4 degrees of freedom exceeds 18.47 once in a thousand salts; these are fixed.
        assert!(statistic < 18.47, "{statistic}");
    }

    #[test]
    fn without_shares_everybody_is_decided_by_the_policy() {
        assert!(units().take(1000).all(|unit| groups(0.0, 0.0, 3).of(&unit) == Group::Decisioning));
    }
}
