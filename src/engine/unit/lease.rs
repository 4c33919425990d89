//! Leases: a decision stands for its unit, and is answered again instead of drawn again.

use super::{
    rules::UnitRules,
    state::{DecisionBytes, HeldPrice, Lease, Limits, Offering, UnitState, UnitView},
};
use crate::engine::{
    catalog::{OfferKind, Placement},
    decide::{Decision, RankRequest},
    instant::Instant,
};
use std::sync::Arc;

/// Why a decision stands no longer, although its lease has not run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardStop {
    /// An outcome that the catalog says ends it.
    Taken,
    /// The request is for another market.
    MarketChanged,
    /// A legal rule keeps one of its offers from being shown.
    LegalRule,
    /// One of its offers was paused, or taken out of the placement.
    OfferStopped,
}

/// What of a lease stands for a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The decision that drew the offers.
    pub root: DecisionBytes,
    /// Until when it stands.
    pub until: Instant,
    /// Arms of the placement by slot: those of the lease that may still be shown.
    pub arms: Vec<usize>,
    /// Whether what is known of the user had a say in what was drawn.
    pub personalised: bool,
}

impl UnitView {
    /// The lease that stands for a request, with those of its offers that are eligible: `eligible` says so of an arm, and
    /// `forbidden` whether a legal rule keeps it from being shown.
    /// `None` where there is no lease, where it has run out or was stopped, and where nothing of it may be shown.
    #[must_use]
    pub fn standing(
        &self,
        placement: &Placement,
        request: &RankRequest,
        (eligible, forbidden): (impl Fn(usize) -> bool, impl Fn(usize) -> bool),
        now: Instant,
    ) -> Option<Standing> {
        placement.unit_rules.lease.as_ref()?;
        let lease = self.state.lease.as_ref().filter(|lease| lease.until > now)?;
        if lease.hard_stop(placement, request, forbidden).is_some() {
            return None;
        }
        let indices = lease.offers.iter().filter_map(|id| placement.arm_index(id));
        let mut arms: Vec<usize> = Vec::new();
        for arm in indices.filter(|&arm| eligible(arm)) {
            let group = placement.arms[arm].exclusion_group;
            // Groups of today's catalog: of two that exclude each other now the upper one stands.
            let excluded = group != 0 && arms.iter().any(|&upper| placement.arms[upper].exclusion_group == group);
            if !excluded && arms.len() < request.slots as usize {
                arms.push(arm);
            }
        }
        let ends = |arm: usize| placement.arms[arm].offer.kind == OfferKind::None;
        // Showing nothing stands where it was the whole decision, not where everything above it fell away.
        let only_none = arms.iter().all(|&arm| ends(arm)) && lease.offers.len() > 1;
        let Lease { root, until, personalised, .. } = *lease;
        (!arms.is_empty() && !only_none).then_some(Standing { root, until, arms, personalised })
    }
}

impl Lease {
    /// What stops it for a request, if anything does.
    #[must_use]
    pub fn hard_stop(
        &self,
        placement: &Placement,
        request: &RankRequest,
        forbidden: impl Fn(usize) -> bool,
    ) -> Option<HardStop> {
        if self.ended {
            return Some(HardStop::Taken);
        }
        if self.market != request.market {
            return Some(HardStop::MarketChanged);
        }
        if self.offers.iter().filter_map(|id| placement.arm_index(id)).any(forbidden) {
            return Some(HardStop::LegalRule);
        }
        let stopped = |id| placement.arm_index(id).is_none_or(|arm| placement.arms[arm].offer.paused);
        self.offers.iter().any(|id| stopped(id)).then_some(HardStop::OfferStopped)
    }
}

/// What is kept of the unit once a decision is made; `None`: what was kept before, or nothing.
///
/// A decision that was drawn is counted under its caps and leased, and its prices hold. One that stands for another
/// counts for nothing; where a price has fallen since, the lower one holds from now on.
#[must_use]
pub fn after(
    view: &UnitView,
    placement: &Placement,
    market: Option<&Arc<str>>,
    decision: &Decision,
    id: DecisionBytes,
    now: Instant,
) -> Option<UnitState> {
    if view.limits != Limits::Counted {
        return None;
    }
    let mut state = view.state.clone();
    if decision.root.is_none() {
        state.lease = None;
    }
    state.merge(&added(view, placement, market, decision, id, now));
    (state != view.state).then(|| {
        state.prune(&placement.unit_rules, now);
        state
    })
}

/// What a decision that was made from `view` adds to what is kept of its unit, whatever that has become meanwhile.
#[must_use]
pub fn added(
    view: &UnitView,
    placement: &Placement,
    market: Option<&Arc<str>>,
    decision: &Decision,
    id: DecisionBytes,
    now: Instant,
) -> UnitState {
    let rules = &placement.unit_rules;
    let mut state = UnitState::default();
    // What is not counted is not leased; a repeat stands by what was leased all the same, and may tell a lower price.
    if view.limits != Limits::Counted && decision.root.is_none() {
        return state;
    }
    // A repeat tells what its root told; the lease that stands is that of the root.
    let repeated = decision.root.and(view.state.lease.as_ref());
    let told_at = repeated.map_or(now, |lease| lease.leased_at);
    let drawn = || decision.slots.iter().map(|slot| decision.drawn(slot));
    if decision.root.is_none() {
        let offers = drawn().map(|arm| arm.offer_id.clone()).filter(|id| rules.is_capped(id)).collect();
        let offering = Offering { at: now, offers };
        if !offering.offers.is_empty() {
            state.offered.insert(id, offering);
        }
        state.lease = decision.lease_until.filter(|_| !decision.slots.is_empty()).map(|until| Lease {
            leased_at: now,
            root: id,
            until,
            market: market.cloned(),
            offers: drawn().map(|arm| arm.offer_id.clone()).collect(),
            ended: false,
            personalised: decision.personalised,
        });
    }
    if let (Some(until), Some(market)) = (decision.lease_until, market) {
        let told = drawn().filter_map(|arm| {
            let offer = &placement.arms[placement.arm_index(&arm.offer_id)?].offer;
            let (price, plan, trial) = (arm.price?.price, offer.plan.clone(), offer.kind == OfferKind::Trial);
            let held = HeldPrice { price, plan, trial, told_at, beside_minor: price.amount_minor, until };
            Some(((market.clone(), arm.offer_id.clone()), held))
        });
        let told: Vec<_> = told.collect();
        for (key, held) in &told {
            let of_plan = told.iter().filter(|(_, other)| other.plan == held.plan && other.trial == held.trial);
            let before = view.state.held.get(key).map(|before| before.beside_minor);
            let others = of_plan.map(|(_, other)| other.price.amount_minor);
            let beside_minor = others.chain(before).fold(held.beside_minor, i64::min);
            state.hold(key.clone(), HeldPrice { beside_minor, ..held.clone() });
        }
    }
    state
}

/// Until when a decision that is drawn now stands; `None` where it does not.
#[must_use]
pub fn lease_until(rules: &UnitRules, view: &UnitView, now: Instant) -> Option<Instant> {
    let lease = rules.lease.as_ref().filter(|lease| lease.lease_s > 0 && view.limits == Limits::Counted)?;
    Some(now.plus_s(lease.lease_s))
}
