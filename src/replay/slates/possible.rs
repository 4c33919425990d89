//! Which slates a decision could have shown: the probabilities of arms in their slots, and of two in two slots.
//!
//! Slots are drawn from distributions that depend on what stands above them, so what stands in a slot whatever is in the
//! others is a sum over everything that can stand above: exact, and as much work as there are ways to fill those slots.
//! What a slot is drawn from depends on which arms are above it and not on their order, so a distribution serves all
//! orders.

use super::untold::Untold;
use crate::engine::{
    beliefs::Beliefs,
    math::cholesky::{packed_len, row_start},
    odds::Odds,
};
use std::collections::BTreeMap;

/// The most slates of one decision that are gone through. One costs 0.2 to 0.4 microseconds, distributions of slots
/// included, so that a decision costs up to 20 ms for each of both policies; 20 arms in three slots (6,840) cost 1.5 ms.
pub const SLATES_MAX: usize = 50_000;

/// Probabilities of items, which are arms in slots, in the slates of one decision.
#[derive(Clone, Debug)]
pub struct Possible {
    slots: usize,
    arms: usize,
    /// Of two items together, as a packed symmetric matrix; of an item with itself: its own.
    pairs: Vec<f64>,
    /// By slot, of nothing in it, because the slate had ended.
    nothing: Vec<f64>,
}

impl Possible {
    /// Goes through all slates of so many slots.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn of(odds: &Odds<'_, impl Beliefs>, slots: usize) -> Result<Self, Untold> {
        let arms = odds.arms().len();
        // Of slots that arms are left for; a slate that ends early is one of fewer.
        let slates = (0..slots.min(arms)).fold(1_usize, |slates, slot| slates.saturating_mul(arms - slot));
        if slates > SLATES_MAX {
            return Err(Untold::TooManySlates { slates, most: SLATES_MAX });
        }
        let mut walk = Walk { odds, below: BTreeMap::new(), possible: Self::empty(slots, arms) };
        walk.add(&mut Vec::with_capacity(slots), 1.0);
        Ok(walk.possible)
    }

    /// Nothing added up yet.
    fn empty(slots: usize, arms: usize) -> Self {
        Self { slots, arms, pairs: vec![0.0; packed_len(slots * arms)], nothing: vec![0.0; slots] }
    }

    /// How many items there are: slot by slot, every arm in it.
    #[must_use]
    pub const fn items(&self) -> usize {
        self.slots * self.arms
    }

    /// The number of an item: of an arm in a slot from 0.
    #[must_use]
    pub const fn item(&self, slot: usize, arm: usize) -> usize {
        slot * self.arms + arm
    }

    /// The probability of an item, whatever is in the other slots.
    #[must_use]
    pub fn alone(&self, item: usize) -> f64 {
        self.together(item, item)
    }

    /// The probability of two items in one slate; of two arms in one slot it is 0.
    #[must_use]
    pub fn together(&self, item: usize, other: usize) -> f64 {
        self.pairs[row_start(item.max(other)) + item.min(other)]
    }

    /// The probability that a slot shows nothing because the slate had ended above it.
    #[must_use]
    pub fn nothing(&self, slot: usize) -> f64 {
        self.nothing[slot]
    }

    /// Adds the probability that slates begin with these arms to the last one's, alone and with each above.
    fn count(&mut self, arms: &[usize], probability: f64) {
        let Some((&last, _)) = arms.split_last() else { return };
        // Items of later slots have larger numbers.
        let row = row_start(self.item(arms.len() - 1, last));
        for (slot, &arm) in arms.iter().enumerate() {
            let column = self.item(slot, arm);
            self.pairs[row + column] += probability;
        }
    }
}

/// A way through all slates.
struct Walk<'a, 'b, B> {
    odds: &'a Odds<'b, B>,
    /// What slots below these arms, ascending, are drawn from.
    below: BTreeMap<Vec<usize>, Vec<f64>>,
    possible: Possible,
}

impl<B: Beliefs> Walk<'_, '_, B> {
    /// Adds all slates that begin with these arms, which they do with this probability.
    fn add(&mut self, above: &mut Vec<usize>, probability: f64) {
        let slot = above.len();
        if slot == self.possible.slots {
            return;
        }
        let below = self.below(above);
        if below.is_empty() {
            self.possible.nothing[slot..].iter_mut().for_each(|sum| *sum += probability);
            return;
        }
        for (arm, share) in below.into_iter().enumerate().filter(|(_, share)| *share > 0.0) {
            above.push(arm);
            self.possible.count(above, probability * share);
            self.add(above, probability * share);
            above.pop();
        }
    }

    fn below(&mut self, above: &[usize]) -> Vec<f64> {
        let mut set = above.to_vec();
        set.sort_unstable();
        let odds = self.odds;
        self.below.entry(set).or_insert_with(|| odds.below(above)).clone()
    }
}

#[cfg(test)]
impl Possible {
    /// Of whole slates with their probabilities.
    pub(super) fn of_slates(slots: usize, arms: usize, slates: impl IntoIterator<Item = (Vec<usize>, f64)>) -> Self {
        let mut possible = Self::empty(slots, arms);
        for (slate, probability) in slates {
            (1..=slots).for_each(|length| possible.count(&slate[..length], probability));
        }
        possible
    }
}
