//! What a log can say about a target policy: how much of it carries the estimate, and whether its propensities can be
//! believed.

pub mod arms;
pub mod groups;
pub mod pareto;
pub mod tally;

use super::row::{Outcome, Row};
use arms::{Arms, Pmfs};
use std::collections::BTreeMap;
use tally::Tally;

/// The shares of weights whose quantiles are reported, ascending.
pub const LEVELS: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Everything that is looked at before a number is given; 8 bytes are kept for each row.
#[derive(Clone, Debug, Default)]
pub struct Support {
    weights: Vec<f64>,
    /// Weights of all rows.
    pub weight: Tally,
    /// Weights by day.
    pub days: BTreeMap<u32, Tally>,
    /// Rewards by day.
    pub rewards: BTreeMap<u32, Tally>,
    /// Inverse propensities.
    pub inverse_propensity: Tally,
    /// The target's probability on arms that could not be drawn.
    pub unsupported: Tally,
    /// Draws of each arm in each slot.
    pub arms: Arms,
    /// Weights of rows that earned something.
    pub rewarded: Tally,
    /// The largest w r; 0 of none.
    pub largest_contribution: f64,
    /// Rows without any outcome.
    pub missing: u64,
    /// Rows whose window is still open.
    pub immature: u64,
    /// Decisions that made no row because their windows are open.
    pub left_open: u64,
    /// The largest weight that any row could have had.
    pub weight_max: f64,
}

impl Support {
    /// Takes in a row, and what is known of the distributions it was drawn from.
    pub fn observe(&mut self, row: &Row, pmfs: &Pmfs<'_>) {
        let weight = row.weight();
        self.weights.push(weight);
        self.weight.add(weight);
        self.weight_max = self.weight_max.max(weight).max(row.weight_max);
        self.inverse_propensity.add(1.0 / row.propensity);
        self.unsupported.add(row.unsupported);
        self.arms.observe(row, pmfs);
        match row.outcome {
            Outcome::Missing => self.missing += 1,
            Outcome::Immature(_) => self.immature += 1,
            Outcome::Reward(_) => {}
        }
        let reward = row.reward();
        if let Some(reward) = reward {
            let first = self.rows() == 1;
            let contribution = weight * reward;
            self.largest_contribution = if first { contribution } else { self.largest_contribution.max(contribution) };
        }
        if reward.is_some_and(|reward| reward != 0.0) {
            self.rewarded.add(weight);
        }
        if let Some(day) = row.day {
            self.days.entry(day).or_default().add(weight);
            if let Some(reward) = reward {
                self.rewards.entry(day).or_default().add(reward);
            }
        }
    }

    /// How many rows were taken in.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.weights.len() as u64
    }

    /// The target's share of probability on arms that the log never drew, or could not.
    #[must_use]
    pub fn target_unlogged(&self) -> f64 {
        self.unsupported.mean().unwrap_or(0.0).max(self.arms.target_below(1))
    }

    /// Weights in an order in which those that [`LEVELS`] ask for, and the tail of [`pareto`], stand where sorting would put
    /// them: sorting all takes several times as long.
    #[must_use]
    pub fn ranked_weights(&self) -> Vec<f64> {
        let mut weights = self.weights.clone();
        let n = weights.len();
        let tail = n.saturating_sub(pareto::tail(n) + 1);
        let places = LEVELS.iter().flat_map(|level| {
            let below = place(n, *level) as usize;
            [below, below + 1]
        });
        let mut from = 0;
        for place in places.filter(|place| *place < tail).chain([tail]) {
            if from <= place && place < n {
                weights[from..].select_nth_unstable_by(place - from, f64::total_cmp);
                from = place + 1;
            }
        }
        weights[tail..].sort_unstable_by(f64::total_cmp);
        weights
    }
}

/// The value below which a share `level` of values lies, between neighbours by line; `None` of none. They are sorted, or as
/// far as this level asks, such as [`Support::ranked_weights`] for [`LEVELS`].
#[must_use]
pub fn quantile(ranked: &[f64], level: f64) -> Option<f64> {
    let place = place(ranked.len(), level);
    let below = ranked.get(place as usize)?;
    let above = ranked.get(place as usize + 1).unwrap_or(below);
    Some(below + (above - below) * place.fract())
}

/// Where a quantile lies among so many.
fn place(n: usize, level: f64) -> f64 {
    n.saturating_sub(1) as f64 * level
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranked_weights_have_the_quantiles_and_the_tail_of_sorted_ones(
            weights in prop::collection::vec(prop_oneof![(0..4_u8).prop_map(f64::from), 0.0..9.0_f64], 0..400),
        ) {
            let mut sorted = weights.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let ranked = Support { weights, ..Support::default() }.ranked_weights();
            for level in LEVELS {
                prop_assert_eq!(quantile(&ranked, level), quantile(&sorted, level));
            }
            prop_assert_eq!(pareto::shape(&ranked), pareto::shape(&sorted));
        }
    }
}
