//! What slots would be drawn from, whatever stands above them: a decision before its draws.

use super::{
    beliefs::Beliefs,
    catalog::{Catalog, Placement},
    contest::Contest,
    decide::{Decision, EligibleArm, RankRequest, decide_by, encoded},
    group::Group,
    instant::Instant,
    user::UserState,
};

/// A decision whose slots are still open. What is drawn by [`decide_by`] is drawn from these probabilities.
pub struct Odds<'a, B> {
    placement: &'a Placement,
    beliefs: &'a B,
    group: Group,
    context: Vec<f64>,
    /// Indices of the eligible arms in the placement, ascending.
    eligible: Vec<usize>,
    arms: Vec<EligibleArm>,
    /// Of every arm in the lead; empty where none is eligible.
    lead: Vec<f64>,
}

impl<'a, B: Beliefs> Odds<'a, B> {
    /// Of the decision that would be made for this request by these beliefs, were there no lease.
    #[must_use]
    pub fn of(
        (catalog, placement, beliefs): (&Catalog, &'a Placement, &'a B),
        request: &RankRequest,
        user: &UserState,
        now: Instant,
    ) -> Self {
        let request = RankRequest { slots: 1, include_tail: false, ..request.clone() };
        let mut user = user.clone();
        user.unit.state.lease = None;
        // Probabilities come before the draw: the seed does not touch them.
        let decision = decide_by((catalog, placement, beliefs), &request, &user, now, 0);
        let Decision { arms, slots, neutral_context, .. } = decision;
        let mut lead = vec![0.0; if slots.is_empty() { 0 } else { arms.len() }];
        slots.iter().flat_map(|slot| &slot.arms).for_each(|arm| lead[arm.arm] = arm.probability);
        let context = encoded(placement, &request, neutral_context);
        let eligible = arms.iter().filter_map(|arm| placement.arm_index(&arm.offer_id)).collect();
        Self { placement, beliefs, group: user.group, context, eligible, arms, lead }
    }

    /// The eligible arms, by offer id.
    #[must_use]
    pub fn arms(&self) -> &[EligibleArm] {
        &self.arms
    }

    /// What is known of user and moment, encoded.
    #[must_use]
    pub fn context(&self) -> &[f64] {
        &self.context
    }

    /// The probability of every arm in the slot below `above`, which are indices of arms: 0 where it cannot be drawn
    /// there. Empty where the slate has ended: nothing is left, or showing nothing is among those above.
    #[must_use]
    pub fn below(&self, above: &[usize]) -> Vec<f64> {
        if above.is_empty() {
            return self.lead.clone();
        }
        let Self { placement, beliefs, eligible, arms, context, .. } = self;
        let contest = Contest { placement, beliefs: *beliefs, eligible, arms, context };
        contest.below(beliefs.scores(1, eligible, context), above, self.group)
    }
}
