//! The fallback order: what is shown where a decision can be kept nowhere, and so must not explore.
//!
//! It is deterministic, and nothing is learned from it. Eligibility, prices and exclusions are the decision's own: what
//! may not be shown is not shown here either.

use super::{
    catalog::{Placement, Selection},
    decide::{Decision, SlotArm, SlotDraw, order_tail},
    pmf::distribution::ScoreDistribution,
};

/// A decision's eligible arms in the fallback order, in at most `slots` slots.
///
/// A fixed policy keeps its order. Otherwise arms stand by falling expected value, those of equal value by offer id and
/// showing nothing after all of them; an arm that ends the slate ends it.
#[must_use]
pub fn fall_back(decision: &Decision, placement: &Placement, slots: u32, include_tail: bool) -> Decision {
    let Decision { arms, exclusions, .. } = decision;
    let order = match &placement.policy.selection {
        Selection::Fixed(order) => fixed(decision, placement, order),
        Selection::Thompson | Selection::Uniform | Selection::EpsilonGreedy(_) => by_value(decision),
    };
    let mut shown = Vec::new();
    for arm in order.into_iter().take(slots as usize) {
        shown.push(certain(decision, arm));
        if arms[arm].ends_slate {
            break;
        }
    }
    let tail = if include_tail { order_tail(arms, &shown) } else { Vec::new() };
    Decision { arms: arms.clone(), exclusions: exclusions.clone(), slots: shown, tail }
}

fn fixed(decision: &Decision, placement: &Placement, order: &[usize]) -> Vec<usize> {
    let eligible = |&arm: &usize| {
        let offer_id = &placement.arms[arm].offer.id;
        decision.arms.binary_search_by(|arm| arm.offer_id.cmp(offer_id)).ok()
    };
    order.iter().filter_map(eligible).collect()
}

fn by_value(decision: &Decision) -> Vec<usize> {
    let arms = &decision.arms;
    let mut order: Vec<usize> = (0..arms.len()).collect();
    // A stable sort: arms of equal value stay in the order of their ids.
    order.sort_by(|&a, &b| {
        let by_value = arms[b].expected_value().total_cmp(&arms[a].expected_value());
        by_value.then(arms[a].ends_slate.cmp(&arms[b].ends_slate))
    });
    order
}

/// A slot that nothing else could have taken.
fn certain(decision: &Decision, arm: usize) -> SlotDraw {
    let mut scored = decision.slots.iter().flat_map(|slot| &slot.arms);
    let score = scored.find(|scored| scored.arm == arm).map_or_else(
        || ScoreDistribution::Normal { mean: decision.arms[arm].expected_value(), standard_deviation: 0.0 },
        |scored| scored.score,
    );
    SlotDraw { arms: vec![SlotArm { arm, score, policy_probability: 1.0, probability: 1.0 }], drawn: 0, uniform: 0.0 }
}
