//! Whether arms were drawn as often as their propensities say, and where the target goes that the log does not.

use crate::{engine::math::double_double::Dd, replay::row::Row};
use std::collections::BTreeMap;

/// The distributions that a row was drawn from, by arm, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pmfs<'a> {
    /// Of the logging policy; 0 for arms that could not be drawn.
    pub logged: Option<&'a [f64]>,
    /// Of the target.
    pub target: Option<&'a [f64]>,
}

/// Draws of arms, slot by slot.
#[derive(Clone, Debug, Default)]
pub struct Arms {
    slots: BTreeMap<usize, Slot>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    rows: u64,
    arms: Vec<Arm>,
}

/// One arm in one slot.
#[derive(Clone, Copy, Debug, Default)]
struct Arm {
    drawn: u64,
    /// Of the rows that drew it.
    inverse: Dd,
    inverse_squares: Dd,
    /// Sums over all rows of the logged probability p, of p (1 - p), and of the target's probability.
    expected: f64,
    variance: f64,
    target: f64,
}

/// An arm whose draws do not fit its propensities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Misfit {
    /// The slot, from 0.
    pub position: usize,
    /// The arm, from 0.
    pub arm: usize,
    /// By how many standard errors.
    pub distance: f64,
}

impl Arms {
    /// Takes in a row.
    pub fn observe(&mut self, row: &Row, pmfs: &Pmfs<'_>) {
        let slot = self.slots.entry(row.position).or_default();
        slot.rows += 1;
        let known = [pmfs.logged, pmfs.target].into_iter().flatten().map(<[f64]>::len).max().unwrap_or(0);
        let count = known.max(row.arm + 1).max(slot.arms.len());
        slot.arms.resize(count, Arm::default());
        let inverse = 1.0 / row.propensity;
        let drawn = &mut slot.arms[row.arm];
        drawn.drawn += 1;
        drawn.inverse = drawn.inverse + Dd::from(inverse);
        drawn.inverse_squares = drawn.inverse_squares + Dd::product(inverse, inverse);
        for (arm, &p) in slot.arms.iter_mut().zip(pmfs.logged.unwrap_or_default()) {
            arm.expected += p;
            arm.variance += p * (1.0 - p);
        }
        for (arm, &p) in slot.arms.iter_mut().zip(pmfs.target.unwrap_or_default()) {
            arm.target += p;
        }
    }

    /// How many arms there are in all slots together.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.values().map(|slot| slot.arms.len()).sum()
    }

    /// How many arms a row's slot has, on average; `None` without rows.
    #[must_use]
    pub fn mean_count(&self) -> Option<f64> {
        let rows: u64 = self.slots.values().map(|slot| slot.rows).sum();
        let arms: f64 = self.slots.values().map(|slot| slot.rows as f64 * slot.arms.len() as f64).sum();
        (rows > 0).then(|| arms / rows as f64)
    }

    /// The target's share of probability on arms that were drawn fewer than `draws` times in their slot.
    #[must_use]
    pub fn target_below(&self, draws: u64) -> f64 {
        let arms = self.slots.values().flat_map(|slot| &slot.arms);
        let below: f64 = arms.filter(|arm| arm.drawn < draws).map(|arm| arm.target).sum();
        let rows: u64 = self.slots.values().map(|slot| slot.rows).sum();
        if rows == 0 { 0.0 } else { below / rows as f64 }
    }

    /// The arm whose draws fit its propensities worst; `None` where nothing can be said.
    ///
    /// With full PMFs, draws are compared with their sum. With propensities of drawn arms alone, the inverse propensities
    /// of an arm's draws estimate how often it could have been drawn, and that must not exceed the rows there are.
    #[must_use]
    pub fn worst_misfit(&self) -> Option<Misfit> {
        let arms = self.slots.iter().flat_map(|(&position, slot)| {
            slot.arms.iter().enumerate().filter_map(move |(index, arm)| {
                let distance = arm.misfit(slot.rows as f64)?;
                Some(Misfit { position, arm: index, distance })
            })
        });
        arms.max_by(|a, b| a.distance.abs().total_cmp(&b.distance.abs()))
    }
}

impl Arm {
    fn misfit(&self, rows: f64) -> Option<f64> {
        if self.expected > 0.0 {
            return (self.variance > 0.0).then(|| (self.drawn as f64 - self.expected) / libm::sqrt(self.variance));
        }
        let mean = self.inverse.to_f64() / rows;
        let variance = self.inverse_squares.to_f64() / rows - mean * mean;
        (self.drawn > 0 && variance > 0.0).then(|| ((mean - 1.0) / libm::sqrt(variance / rows)).max(0.0))
    }
}
