//! The fallback order: what is shown where a decision can be kept nowhere, and so must not explore.
//!
//! It is deterministic, and nothing is learned from it. Eligibility, prices and exclusions are the decision's own: what
//! may not be shown is not shown here either.

use super::{
    bounds::Relaxed,
    catalog::{Placement, Selection},
    decide::{Decision, SlotArm, SlotDraw, by_value, order_tail},
    eligibility::{Exclusion, ExclusionReason},
    pmf::distribution::ScoreDistribution,
    unit::rules::WhenUnknown,
};

/// A decision's eligible arms in the fallback order, in at most `slots` slots.
///
/// A fixed policy keeps its order. Otherwise arms stand by falling expected value, those of equal value by offer id and
/// showing nothing after all of them; an arm that ends the slate ends it.
#[must_use]
pub fn fall_back(decision: &Decision, placement: &Placement, slots: u32, include_tail: bool) -> Decision {
    // What a lease answers is no exploration either.
    if decision.root.is_some() {
        return decision.clone();
    }
    let arms = &decision.arms;
    let rules = &placement.unit_rules;
    // Nothing counts what is offered here.
    let withheld = |arm: usize| rules.when_unknown == WhenUnknown::Skip && rules.is_capped(&arms[arm].offer_id);
    let order = match &placement.policy.selection {
        Selection::Fixed(order) => fixed(decision, placement, order),
        Selection::Thompson | Selection::Uniform | Selection::EpsilonGreedy(_) | Selection::Merit(_) => by_value(arms),
    };
    let mut shown = Vec::new();
    for arm in order.into_iter().filter(|&arm| !withheld(arm)) {
        if shown.len() == slots as usize {
            break;
        }
        if shown.iter().any(|slot| arms[arm].excludes(decision.drawn(slot))) {
            continue;
        }
        shown.push(certain(decision, arm));
        if arms[arm].ends_slate {
            break;
        }
    }
    let mut tail = if include_tail { order_tail(arms, &shown) } else { Vec::new() };
    tail.retain(|&arm| !withheld(arm));
    let reason = |arm: usize| Exclusion::new(arms[arm].offer_id.clone(), ExclusionReason::LimitUnchecked);
    let mut exclusions = decision.exclusions.clone();
    exclusions.extend((0..arms.len()).filter(|&arm| withheld(arm)).map(reason));
    exclusions.sort_by(|a, b| a.offer_id.cmp(&b.offer_id));
    Decision { exclusions, slots: shown, tail, root: None, lease_until: None, bands: Vec::new(), ..decision.clone() }
}

fn fixed(decision: &Decision, placement: &Placement, order: &[usize]) -> Vec<usize> {
    let eligible = |&arm: &usize| {
        let offer_id = &placement.arms[arm].offer.id;
        decision.arms.binary_search_by(|arm| arm.offer_id.cmp(offer_id)).ok()
    };
    order.iter().filter_map(eligible).collect()
}

/// A slot that nothing else could have taken.
fn certain(decision: &Decision, arm: usize) -> SlotDraw {
    let mut scored = decision.slots.iter().flat_map(|slot| &slot.arms);
    let score = scored.find(|scored| scored.arm == arm).map_or_else(
        || ScoreDistribution::Normal { mean: decision.arms[arm].expected_value(), standard_deviation: 0.0 },
        |scored| scored.score,
    );
    let arms = vec![SlotArm { arm, score, policy_probability: 1.0, probability: 1.0 }];
    SlotDraw { arms, drawn: 0, uniform: 0.0, relaxed: Relaxed::default() }
}
