//! The decision: probabilities first, then the draw from exactly those probabilities.
//!
//! [`decide`] is a pure function that serves and replays alike: same snapshot, request, user, time and seed, same
//! decision to the last bit, on any machine. It cannot fail: nothing eligible is a decision with reasons.

use super::{
    beliefs::Beliefs,
    bounds::{BandEffect, Relaxed},
    catalog::{Catalog, OfferKind, Placement, Price},
    contest::Contest,
    context::AttributeValue,
    eligibility::{self, Exclusion, Sifted},
    group::Group,
    instant::Instant,
    objective,
    pmf::distribution::ScoreDistribution,
    snapshot::PlacementSnapshot,
    unit::{
        lease,
        limits::{self, Allowed},
        state::DecisionBytes,
    },
    user::UserState,
};
use std::sync::Arc;

/// Version of what [`decide`] computes; stands in every logged decision.
pub const ENGINE_VERSION: u32 = 11;

/// A request as validated against a snapshot's catalog.
#[derive(Clone, Debug)]
pub struct RankRequest {
    /// A market of the catalog; `None`: prices cannot be told.
    pub market: Option<Arc<str>>,
    /// Where offers will be shown; empty matches only offers for all platforms.
    pub platform: String,
    /// One for each attribute of the placement's schema, in its order.
    pub attributes: Vec<AttributeValue>,
    /// Offers to choose from, no two equal; empty: all of the placement's.
    pub candidates: Vec<Arc<str>>,
    /// How many slots to fill, from 1 to the placement's own number.
    pub slots: u32,
    /// Whether the eligible rest is wanted in order.
    pub include_tail: bool,
}

/// What was decided, and everything that made it so.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The eligible candidates, by offer id.
    pub arms: Vec<EligibleArm>,
    /// The other candidates, by offer id.
    pub exclusions: Vec<Exclusion>,
    /// The slots that were drawn, from slot 1.
    pub slots: Vec<SlotDraw>,
    /// The eligible rest by falling expected value, as indices into `arms`; empty unless asked for.
    pub tail: Vec<usize>,
    /// The decision whose offers this one repeats; `None`: it drew its own.
    pub root: Option<DecisionBytes>,
    /// Until when it stands for its unit; `None`: not at all.
    pub lease_until: Option<Instant>,
    /// Whether what is known of the user had a say in which offers are shown in which order.
    pub personalised: bool,
    /// Whether scores are those of a neutral user, because the market's law forbids to look at this one.
    pub neutral_context: bool,
    /// Bands that the user could be held to, in the lead.
    pub bands: Vec<BandEffect>,
}

/// A candidate that may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct EligibleArm {
    /// Its offer.
    pub offer_id: Arc<str>,
    /// Showing it is showing nothing, and ends the slate.
    pub ends_slate: bool,
    /// Smallest probability in any slot, from 0 to 1.
    pub floor: f64,
    /// Largest probability in any slot, from `floor` to 1.
    pub cap: f64,
    /// The sets that it is in, as the placement's bounds number them.
    pub sets: u64,
    /// The number of its exclusion group, from 1; 0: none. One slate has at most one arm of a group.
    pub exclusion_group: u32,
    /// Its price in the request's market.
    pub price: Option<Price>,
    /// Posterior mean of the reward in the lead slot, in the reward's own unit.
    pub expected_reward: f64,
    /// What one unit of reward is worth, in major units of the reward currency.
    pub worth: f64,
}

/// One slot: what could be drawn with which probability, and what was.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotDraw {
    /// The arms that could be drawn, by offer id.
    pub arms: Vec<SlotArm>,
    /// Which of them was drawn: an index into `arms` of this slot.
    pub drawn: usize,
    /// The number in [0, 1) that drew it.
    pub uniform: f64,
    /// Bounds that could not be kept.
    pub relaxed: Relaxed,
}

/// One arm in one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotArm {
    /// Index into the decision's arms.
    pub arm: usize,
    /// Belief about its value, in units of the objective.
    pub score: ScoreDistribution,
    /// Probability under the policy.
    pub policy_probability: f64,
    /// Probability after bounds: the one that acted.
    pub probability: f64,
}

impl Decision {
    /// What the arms of a set come to in a slot, by the placement's number of the set.
    #[must_use]
    pub fn total(&self, slot: &SlotDraw, set: usize, of: impl Fn(&SlotArm) -> f64) -> f64 {
        slot.arms.iter().filter(|arm| self.arms[arm.arm].sets >> set & 1 == 1).map(of).sum()
    }

    /// The arm that took a slot's draw.
    #[must_use]
    pub fn drawn(&self, slot: &SlotDraw) -> &EligibleArm {
        &self.arms[slot.arms[slot.drawn].arm]
    }
}

impl SlotDraw {
    /// The probability with which the drawn arm was drawn, given what was drawn above.
    #[must_use]
    pub fn propensity(&self) -> f64 {
        self.arms[self.drawn].probability
    }
}

impl EligibleArm {
    /// Whether it cannot stand in one slate with another arm.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        self.exclusion_group != 0 && self.exclusion_group == other.exclusion_group
    }

    /// What showing it is expected to earn, in major units of the reward currency.
    #[must_use]
    pub fn expected_value(&self) -> f64 {
        self.expected_reward * self.worth
    }
}

/// Decides what to show: eligibility, what is kept of the unit, features, scores, probabilities, bounds, draws, tail.
///
/// Where a lease of the unit stands nothing is drawn: its offers are answered again, at the lower of the price that was
/// told and the catalog's.
#[must_use]
pub fn decide(
    snapshot: &PlacementSnapshot,
    request: &RankRequest,
    user: &UserState,
    now: Instant,
    seed: u64,
) -> Decision {
    decide_by((&snapshot.catalog, &snapshot.placement, snapshot), request, user, now, seed)
}

/// [`decide`] for a placement of a catalog by any beliefs about its arms.
#[must_use]
pub fn decide_by(
    (catalog, placement, beliefs): (&Catalog, &Placement, &impl Beliefs),
    request: &RankRequest,
    user: &UserState,
    now: Instant,
    seed: u64,
) -> Decision {
    let market = request.market.as_deref();
    let terms = placement.terms(catalog, market);
    let Sifted { eligible, exclusions, personal } = eligibility::sift((catalog, placement), terms, request, user, now);
    let forbidden = |arm: usize| eligibility::forbids((catalog, placement), terms, request, user, (arm, now));
    let Allowed { eligible, exclusions, standing, personal: limited } =
        limits::allow(placement, request, &user.unit, (eligible, exclusions), forbidden, now);
    let neutral_context = terms.forbids_looking(&eligible);
    let context = encoded(placement, request, neutral_context);
    let lead = beliefs.scores(1, &eligible, &context);
    let describe = |(&index, score): (&usize, &ScoreDistribution)| {
        let arm_price = terms.arms[index].price;
        let price = user.unit.price(&placement.unit_rules, &placement.arms[index].offer.id, arm_price, (market, now));
        describe((catalog, placement), index, price, beliefs.expected_reward(index, score))
    };
    let arms: Vec<EligibleArm> = eligible.iter().zip(&lead).map(describe).collect();
    // A price that holds for this unit and is not the catalog's is one of its own.
    let is_own = |(&index, arm): (&usize, &EligibleArm)| arm.price != terms.arms[index].price;
    let priced_apart = placement.unit_rules.keep_anything() && eligible.iter().zip(&arms).any(is_own);
    let contest = Contest { placement, beliefs, eligible: &eligible, arms: &arms, context: &context };
    let (slots, bands) = match &standing {
        Some(standing) => (contest.repeat_slots(lead, standing), Vec::new()),
        None => contest.draw_slots(lead, request.slots, user.group, seed),
    };
    let tail = if request.include_tail { order_tail(&arms, &slots) } else { Vec::new() };
    let lease_until = match &standing {
        Some(standing) => Some(standing.until),
        None if slots.is_empty() => None,
        None => lease::lease_until(&placement.unit_rules, &user.unit, now),
    };
    let personalised = personal
        || limited
        || priced_apart
        || standing.as_ref().is_some_and(|standing| standing.personalised)
        || (arms.len() > 1 && !neutral_context && placement.policy_looks_at_users());
    let root = standing.map(|standing| standing.root);
    Decision { arms, exclusions, slots, tail, root, lease_until, personalised, neutral_context, bands }
}

/// What is known of user and moment as models see it, or where nobody in particular may be scored, of anybody.
pub(super) fn encoded(placement: &Placement, request: &RankRequest, neutral: bool) -> Vec<f64> {
    let schema = &placement.context;
    if neutral { schema.encode(&schema.neutral()) } else { schema.encode(&request.attributes) }
}

/// The slots among arms that were found eligible before, drawn by any beliefs about them for an encoded context: where
/// what made them eligible is not known any more. `indices` are the arms in their placement.
#[must_use]
pub fn draw_among(
    (placement, beliefs): (&Placement, &impl Beliefs),
    (indices, arms): (&[usize], &[EligibleArm]),
    context: &[f64],
    (slots, group, seed): (u32, Group, u64),
) -> (Vec<SlotDraw>, Vec<BandEffect>) {
    let lead = beliefs.scores(1, indices, context);
    Contest { placement, beliefs, eligible: indices, arms, context }.draw_slots(lead, slots, group, seed)
}

fn describe(
    (catalog, placement): (&Catalog, &Placement),
    index: usize,
    price: Option<Price>,
    expected_reward: f64,
) -> EligibleArm {
    let arm = &placement.arms[index];
    EligibleArm {
        offer_id: arm.offer.id.clone(),
        ends_slate: arm.offer.kind == OfferKind::None,
        floor: arm.floor,
        cap: arm.cap,
        sets: arm.sets,
        exclusion_group: arm.exclusion_group,
        price,
        expected_reward,
        worth: objective::worth(catalog, placement, &arm.offer, price),
    }
}

/// What was not drawn, by falling expected value, without what a group keeps out; nothing where the slate was ended by
/// showing nothing.
pub(super) fn order_tail(arms: &[EligibleArm], slots: &[SlotDraw]) -> Vec<usize> {
    let drawn: Vec<usize> = slots.iter().map(|slot| slot.arms[slot.drawn].arm).collect();
    if drawn.last().is_some_and(|&last| arms[last].ends_slate) {
        return Vec::new();
    }
    let mut tail = by_value(arms);
    tail.retain(|&arm| !drawn.contains(&arm) && !arms[arm].ends_slate);
    let mut shown = drawn;
    tail.retain(|&arm| {
        let fits = !shown.iter().any(|&other| arms[arm].excludes(&arms[other]));
        shown.extend(fits.then_some(arm));
        fits
    });
    tail
}

/// Arms by falling expected value; those of equal value by offer id, showing nothing after all of them.
pub(super) fn by_value(arms: &[EligibleArm]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..arms.len()).collect();
    // A stable sort: arms of equal value stay in the order of their ids.
    order.sort_by(|&a, &b| {
        let by_value = arms[b].expected_value().total_cmp(&arms[a].expected_value());
        by_value.then(arms[a].ends_slate.cmp(&arms[b].ends_slate))
    });
    order
}
