//! Whether arms were drawn as often as their propensities say, and where the target goes that the log does not.

use crate::{engine::math::sums::Sum, replay::row::Row};
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

/// Arms of one slot; sums over all its rows stand side by side, so that the processor adds several at once.
#[derive(Clone, Debug, Default)]
struct Slot {
    rows: u64,
    draws: Vec<Draws>,
    /// Of the logged probability p, and of p (1 - p).
    expected: Vec<f64>,
    variance: Vec<f64>,
    /// Of the target's probability.
    target: Vec<f64>,
}

/// Rows that drew one arm.
#[derive(Clone, Copy, Debug, Default)]
struct Draws {
    count: u64,
    inverse: Sum,
    inverse_squares: Sum,
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
        slot.make_room(known.max(row.arm + 1));
        slot.draws[row.arm].add(1.0 / row.propensity);
        let logged = pmfs.logged.unwrap_or_default();
        for ((expected, variance), p) in slot.expected.iter_mut().zip(&mut slot.variance).zip(logged) {
            *expected += p;
            *variance += p * (1.0 - p);
        }
        slot.target.iter_mut().zip(pmfs.target.unwrap_or_default()).for_each(|(target, p)| *target += p);
    }

    /// How many slots there are.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// How many arms there are in all slots together.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.values().map(|slot| slot.draws.len()).sum()
    }

    /// How many arms a row's slot has, on average; `None` without rows.
    #[must_use]
    pub fn mean_count(&self) -> Option<f64> {
        let rows: u64 = self.slots.values().map(|slot| slot.rows).sum();
        let arms: f64 = self.slots.values().map(|slot| slot.rows as f64 * slot.draws.len() as f64).sum();
        (rows > 0).then(|| arms / rows as f64)
    }

    /// The target's share of probability on arms that were drawn fewer than `draws` times in their slot.
    #[must_use]
    pub fn target_below(&self, draws: u64) -> f64 {
        let arms = self.slots.values().flat_map(|slot| slot.draws.iter().zip(&slot.target));
        let below: f64 = arms.filter(|(drawn, _)| drawn.count < draws).map(|(_, target)| target).sum();
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
            (0..slot.draws.len()).filter_map(move |arm| Some(Misfit { position, arm, distance: slot.misfit(arm)? }))
        });
        arms.max_by(|a, b| a.distance.abs().total_cmp(&b.distance.abs()))
    }
}

impl Slot {
    fn make_room(&mut self, arms: usize) {
        if arms > self.draws.len() {
            self.draws.resize(arms, Draws::default());
            for sums in [&mut self.expected, &mut self.variance, &mut self.target] {
                sums.resize(arms, 0.0);
            }
        }
    }

    fn misfit(&self, arm: usize) -> Option<f64> {
        let (draws, expected, variance) = (&self.draws[arm], self.expected[arm], self.variance[arm]);
        if expected > 0.0 {
            return (variance > 0.0).then(|| (draws.count as f64 - expected) / libm::sqrt(variance));
        }
        let rows = self.rows as f64;
        let mean = draws.inverse.total().to_f64() / rows;
        let variance = draws.inverse_squares.total().to_f64() / rows - mean * mean;
        (draws.count > 0 && variance > 0.0).then(|| ((mean - 1.0) / libm::sqrt(variance / rows)).max(0.0))
    }
}

impl Draws {
    fn add(&mut self, inverse: f64) {
        self.count += 1;
        self.inverse.add(inverse);
        self.inverse_squares.add_product(inverse, inverse);
    }
}
