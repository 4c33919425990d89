//! Which candidates may be shown here and now, and the named reason of each that may not.

use super::{
    catalog::{Arm, Offer, OfferKind, Placement},
    decide::RankRequest,
    instant::Instant,
    user::UserState,
};
use std::sync::Arc;

/// Why a candidate may not be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExclusionReason {
    /// The placement does not use it, or the catalog does not know it.
    UnknownOffer,
    /// Paused in the catalog.
    Paused,
    /// Its validity has not begun.
    NotStarted,
    /// Its validity is over.
    Ended,
    /// Not for the request's platform.
    Platform,
    /// No price in the request's market.
    NoPriceInMarket,
    /// A trial, of which there is one in a lifetime, and the user has used one.
    TrialUsed,
    /// It sells the plan that the user has.
    CurrentPlan,
    /// Offered to the unit as often as a frequency cap allows.
    Capped,
    /// Refused by the unit a short while ago.
    CoolingDown,
    /// A frequency cap or cool-down could not be checked or counted.
    LimitUnchecked,
    /// The unit was told a lower price of the same plan, which still holds.
    PriceHeld,
}

/// A candidate that may not be shown, and the first rule that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// As asked for.
    pub offer_id: Arc<str>,
    /// Why.
    pub reason: ExclusionReason,
    /// The rule of the catalog that says so; `None` for every reason that names none.
    pub rule: Option<Arc<str>>,
}

impl Exclusion {
    /// An exclusion for a reason that names no rule.
    #[must_use]
    pub fn new(offer_id: Arc<str>, reason: ExclusionReason) -> Self {
        Self { offer_id, reason, rule: None }
    }
}

/// Parts the candidates into indices of eligible arms, ascending, and exclusions, by offer id.
#[must_use]
pub fn sift(
    placement: &Placement,
    request: &RankRequest,
    user: &UserState,
    now: Instant,
) -> (Vec<usize>, Vec<Exclusion>) {
    let mut eligible = Vec::with_capacity(placement.arms.len());
    let mut exclusions = Vec::new();
    let mut judge = |index: usize, arm: &Arm| match reason(&arm.offer, request, user, now) {
        None => eligible.push(index),
        Some(reason) => exclusions.push(Exclusion::new(arm.offer.id.clone(), reason)),
    };
    if request.candidates.is_empty() {
        placement.arms.iter().enumerate().for_each(|(index, arm)| judge(index, arm));
        return (eligible, exclusions);
    }
    let mut unknown = Vec::new();
    for offer_id in &request.candidates {
        match placement.arm_index(offer_id) {
            Some(index) => judge(index, &placement.arms[index]),
            None => unknown.push(Exclusion::new(offer_id.clone(), ExclusionReason::UnknownOffer)),
        }
    }
    exclusions.append(&mut unknown);
    eligible.sort_unstable();
    exclusions.sort_unstable_by(|a, b| a.offer_id.cmp(&b.offer_id));
    (eligible, exclusions)
}

fn reason(offer: &Offer, request: &RankRequest, user: &UserState, now: Instant) -> Option<ExclusionReason> {
    if offer.paused {
        return Some(ExclusionReason::Paused);
    }
    if offer.starts_at.is_some_and(|starts_at| now < starts_at) {
        return Some(ExclusionReason::NotStarted);
    }
    if offer.ends_at.is_some_and(|ends_at| now >= ends_at) {
        return Some(ExclusionReason::Ended);
    }
    if !offer.platforms.is_empty() && !offer.platforms.contains(&request.platform) {
        return Some(ExclusionReason::Platform);
    }
    let priced = request.market.as_ref().is_some_and(|market| offer.prices.contains_key(market));
    if offer.kind == OfferKind::None {
        return None;
    }
    if !priced {
        return Some(ExclusionReason::NoPriceInMarket);
    }
    if offer.kind == OfferKind::Trial && user.trial_used {
        return Some(ExclusionReason::TrialUsed);
    }
    (user.current_plan.as_deref() == Some(offer.plan.as_str())).then_some(ExclusionReason::CurrentPlan)
}
