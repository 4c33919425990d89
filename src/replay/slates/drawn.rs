//! A logged decision's slate, with what both policies would have drawn it from.
//!
//! Slot by slot the candidate is asked what it would have drawn below what was drawn. What stands in a slot whatever is in
//! the others is summed up over all slates that there could have been; where those are too many, it is not told. Nothing
//! stands in a slot where the slate had ended.

use super::Slate;
use crate::{
    engine::{beliefs::Beliefs, decide::Decision, odds::Odds},
    log::{identity::Identity, record::DecisionRecord},
};
use std::sync::Arc;

/// Ways to fill the slots above some slot, over all slots, that are still gone through.
const WAYS_MAX: usize = 1000;

/// The slate of a decision; `earned` is each slot's reward, and slots without one earned nothing. `logged` are the odds
/// it was drawn by, where a record tells them whatever stands above.
#[must_use]
pub fn slate(
    (record, identity): (&DecisionRecord, &Identity),
    earned: &[f64],
    logged: Option<&Odds<'_, impl Beliefs>>,
    candidate: &Odds<'_, impl Beliefs>,
) -> Slate {
    let slots = record.slots_requested as usize;
    let cascade = cascade(&record.decision, candidate, slots);
    let marginal = || {
        let (target, logging) = (Marginals::of(candidate, slots)?, Marginals::of(logged?, slots)?);
        let drawn = |slot: usize| record.decision.slots.get(slot).map(|slot| &record.decision.drawn(slot).offer_id);
        Some((0..slots).map(|slot| target.of_slot(slot, drawn(slot)) / logging.of_slot(slot, drawn(slot))).collect())
    };
    Slate {
        cluster: identity.cluster(),
        rewards: (0..slots).map(|slot| earned.get(slot).copied().unwrap_or(0.0)).collect(),
        joint: cascade.last().copied().unwrap_or(1.0),
        marginal: marginal(),
        cascade: Some(cascade),
        pseudo_inverse: None,
        model: None,
    }
}

/// How much likelier the candidate shows the slots from the first to each one.
fn cascade(decision: &Decision, candidate: &Odds<'_, impl Beliefs>, slots: usize) -> Vec<f64> {
    let (mut above, mut weight) = (Vec::new(), 1.0);
    let mut ratio = |slot: usize| {
        let below = candidate.below(&above);
        let Some(draw) = decision.slots.get(slot) else {
            // The log shows nothing here, for sure.
            return f64::from(u8::from(below.is_empty()));
        };
        let Some(arm) = place(candidate, &decision.drawn(draw).offer_id) else { return 0.0 };
        above.push(arm);
        below.get(arm).copied().unwrap_or(0.0) / draw.propensity()
    };
    let mut weights = Vec::with_capacity(slots);
    for slot in 0..slots {
        weight = if weight > 0.0 { weight * ratio(slot) } else { 0.0 };
        weights.push(weight);
    }
    weights
}

fn place(odds: &Odds<'_, impl Beliefs>, offer_id: &Arc<str>) -> Option<usize> {
    odds.arms().binary_search_by(|arm| arm.offer_id.cmp(offer_id)).ok()
}

/// Probabilities of what stands in each slot, whatever is in the others.
struct Marginals<'a, 'b, B> {
    odds: &'a Odds<'b, B>,
    /// By slot and arm, and of nothing after all arms.
    probabilities: Vec<Vec<f64>>,
}

impl<'a, 'b, B: Beliefs> Marginals<'a, 'b, B> {
    /// `None` where there are too many slates.
    fn of(odds: &'a Odds<'b, B>, slots: usize) -> Option<Self> {
        let arms = odds.arms().len();
        let (mut ways, mut above) = (0_usize, 1_usize);
        for slot in 0..slots {
            ways = ways.saturating_add(above);
            above = above.saturating_mul(arms.saturating_sub(slot));
        }
        if ways > WAYS_MAX {
            return None;
        }
        let mut marginals = Self { odds, probabilities: vec![vec![0.0; arms + 1]; slots] };
        marginals.add(&mut Vec::with_capacity(slots), 1.0);
        Some(marginals)
    }

    /// Adds all slates that begin with these arms, which they do with this probability.
    fn add(&mut self, above: &mut Vec<usize>, probability: f64) {
        let slot = above.len();
        if slot == self.probabilities.len() {
            return;
        }
        let below = self.odds.below(above);
        if below.is_empty() {
            self.probabilities[slot..].iter_mut().filter_map(|slot| slot.last_mut()).for_each(|p| *p += probability);
            return;
        }
        for (arm, share) in below.into_iter().enumerate().filter(|(_, share)| *share > 0.0) {
            self.probabilities[slot][arm] += probability * share;
            above.push(arm);
            self.add(above, probability * share);
            above.pop();
        }
    }

    /// Of an offer in a slot, or of nothing.
    fn of_slot(&self, slot: usize, offer_id: Option<&Arc<str>>) -> f64 {
        let arms = self.odds.arms().len();
        let place = offer_id.map_or(Some(arms), |offer_id| place(self.odds, offer_id));
        place.map_or(0.0, |place| self.probabilities[slot][place])
    }
}
