//! Which offers a unit may not be offered for now: frequency caps, cool-downs, and prices that hold.

use super::{
    lease::Standing,
    rules::UnitRules,
    state::{HeldPrice, Limits, UnitState, UnitView},
};
use crate::engine::{
    catalog::{Money, Offer, OfferKind, Placement, Price},
    decide::RankRequest,
    eligibility::{Exclusion, ExclusionReason},
    instant::Instant,
    objective,
};
use iso_currency::Currency;
use std::sync::Arc;

/// What may be shown to a unit.
pub struct Allowed {
    /// Indices of the placement's arms, ascending.
    pub eligible: Vec<usize>,
    /// The other candidates, by offer id.
    pub exclusions: Vec<Exclusion>,
    /// The lease that stands, of which every arm is eligible.
    pub standing: Option<Standing>,
    /// Whether what is kept of the unit had a say in what may be shown.
    pub personal: bool,
}

/// Takes from what is eligible otherwise what the unit may not be shown for now. The offers of a lease that stands were
/// counted when they were drawn: caps do not touch them, nor do prices that were told beside theirs. `forbidden` says of
/// an arm, whether it is a candidate or not, whether a legal rule keeps it from being shown.
#[must_use]
pub fn allow(
    placement: &Placement,
    request: &RankRequest,
    view: &UnitView,
    (mut eligible, mut exclusions): (Vec<usize>, Vec<Exclusion>),
    forbidden: impl Fn(usize) -> bool,
    now: Instant,
) -> Allowed {
    let rules = &placement.unit_rules;
    if !rules.keep_anything() {
        return Allowed { eligible, exclusions, standing: None, personal: false };
    }
    let offer = |arm: usize| &placement.arms[arm].offer;
    let leased = view.state.lease.as_ref().map_or(&[][..], |lease| &lease.offers);
    let market = request.market.as_deref();
    let may_stand = |arm: usize| {
        eligible.binary_search(&arm).is_ok()
            && view.refusal(rules, &offer(arm).id, now).is_none()
            && !view.state.is_dearer(offer(arm), (market, leased), now)
    };
    let standing = view.standing(placement, request, (may_stand, forbidden), now);
    let stands = |arm: &usize| standing.as_ref().is_some_and(|standing| standing.arms.contains(arm));
    let before = exclusions.len();
    let mut personal = false;
    eligible.retain(|arm| {
        let objection = if stands(arm) { None } else { view.objection(rules, offer(*arm), market, now) };
        // What cannot be checked is left out for everybody alike.
        personal |= objection.is_some_and(|reason| reason != ExclusionReason::LimitUnchecked);
        exclusions.extend(objection.map(|reason| Exclusion::new(offer(*arm).id.clone(), reason)));
        objection.is_none()
    });
    if exclusions.len() > before {
        exclusions.sort_unstable_by(|a, b| a.offer_id.cmp(&b.offer_id));
    }
    Allowed { eligible, exclusions, standing, personal }
}

impl UnitView {
    /// What an offer costs this unit in a market: the catalog's price there, or the lower one that holds for the unit,
    /// where prices hold.
    #[must_use]
    pub fn price(
        &self,
        rules: &UnitRules,
        offer_id: &str,
        catalog: Option<Price>,
        (market, now): (Option<&str>, Instant),
    ) -> Option<Price> {
        if rules.lease.is_some() { self.state.price(offer_id, catalog, market, now) } else { catalog }
    }

    /// Why the unit may not be offered this for now, if it may not.
    #[must_use]
    pub fn objection(
        &self,
        rules: &UnitRules,
        offer: &Offer,
        market: Option<&str>,
        now: Instant,
    ) -> Option<ExclusionReason> {
        self.cap(rules, &offer.id, now).or_else(|| self.refusal(rules, &offer.id, now)).or_else(|| {
            let dearer = rules.lease.is_some() && self.state.is_dearer(offer, (market, &[]), now);
            dearer.then_some(ExclusionReason::PriceHeld)
        })
    }

    fn cap(&self, rules: &UnitRules, offer_id: &str, now: Instant) -> Option<ExclusionReason> {
        let mut caps = rules.caps.iter().filter(|cap| cap.covers(offer_id));
        match self.limits {
            Limits::Ignored => None,
            Limits::Counted => caps
                .any(|cap| {
                    let within = self.state.offered.values().filter(|offering| offering.at.plus_s(cap.window_s) > now);
                    within.filter(|offering| offering.offers.iter().any(|id| cap.covers(id))).count()
                        >= cap.max as usize
                })
                .then_some(ExclusionReason::Capped),
            Limits::Uncounted | Limits::Skipped => caps.next().map(|_| ExclusionReason::LimitUnchecked),
        }
    }

    /// Why a refusal keeps the unit from being offered this, if one does.
    #[must_use]
    pub fn refusal(&self, rules: &UnitRules, offer_id: &str, now: Instant) -> Option<ExclusionReason> {
        let mut cool_downs = rules.cool_downs.iter().filter(|cool_down| cool_down.covers(offer_id));
        match self.limits {
            Limits::Ignored => None,
            Limits::Skipped => cool_downs.next().map(|_| ExclusionReason::LimitUnchecked),
            Limits::Counted | Limits::Uncounted => cool_downs
                .any(|cool_down| {
                    let mut refusals = self.state.refusals.iter();
                    refusals.any(|((metric, refused, _), at)| {
                        *metric == cool_down.metric && cool_down.covers(refused) && at.plus_s(cool_down.for_s) > now
                    })
                })
                .then_some(ExclusionReason::CoolingDown),
        }
    }
}

impl UnitState {
    /// What an offer costs this unit in a market: the catalog's price there, or the lower one that holds for the unit.
    fn price(&self, offer_id: &str, catalog: Option<Price>, market: Option<&str>, now: Instant) -> Option<Price> {
        let price = catalog?;
        let own = self.holding(market, price.price.currency, now).find(|(id, _)| ***id == *offer_id);
        let amount_minor = own.map_or(i64::MAX, |(_, held)| held.price.amount_minor).min(price.price.amount_minor);
        Some(Price { price: Money { amount_minor, ..price.price }, ..price })
    }

    /// Whether the offer costs more than the unit was told that its plan costs, since it was last told what this offer
    /// costs, and not beside it: what one decision offers side by side may have several prices, such as what the offers
    /// `beside` it cost. Trials are compared with trials alone: their price is not the plan's.
    fn is_dearer(&self, offer: &Offer, (market, beside): (Option<&str>, &[Arc<str>]), now: Instant) -> bool {
        let catalog = objective::price(offer, market);
        let Some(Price { price, .. }) = self.price(&offer.id, catalog, market, now) else { return false };
        let own = self.holding(market, price.currency, now).find(|(id, _)| *id == &offer.id).map(|(_, held)| held);
        let trial = offer.kind == OfferKind::Trial;
        self.holding(market, price.currency, now)
            .filter(|(id, held)| held.plan == offer.plan && held.trial == trial && !beside.contains(*id))
            .filter(|(_, held)| held.price.amount_minor < price.amount_minor)
            .any(|(_, held)| {
                own.is_none_or(|own| own.told_at < held.told_at || held.price.amount_minor < own.beside_minor)
            })
    }

    /// The prices that hold in a market and currency, by offer.
    fn holding(
        &self,
        market: Option<&str>,
        currency: Currency,
        now: Instant,
    ) -> impl Iterator<Item = (&Arc<str>, &HeldPrice)> {
        let holds = move |held_in: &str, held: &HeldPrice| {
            Some(held_in) == market && held.until > now && held.price.currency == currency
        };
        let all = self.held.iter().filter(move |((held_in, _), held)| holds(held_in, held));
        all.map(|((_, offer_id), held)| (offer_id, held))
    }
}
