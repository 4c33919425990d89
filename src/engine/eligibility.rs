//! Which candidates may be shown here and now, and the named reason of each that may not.

use super::{
    catalog::{Arm, Catalog, LapseWindow, OfferKind, Placement},
    decide::RankRequest,
    instant::Instant,
    local_time::LocalClock,
    rules::{EvaluationError, Facts},
    terms::{ArmTerms, Check, MarketTerms, Verdict},
    user::UserState,
};
use std::sync::Arc;

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

/// Why a candidate may not be shown. One reason is told of each: the first that holds of what the catalog says, in this
/// order, then the first of what is known of the unit.
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
    /// It saves a larger share of its list price than the market allows.
    DiscountTooDeep,
    /// Its price is below the floor of its plan in the market.
    BelowFloor,
    /// A trial, of which there is one in a lifetime, and the user has used one.
    TrialUsed,
    /// It sells the plan that the user has.
    CurrentPlan,
    /// A win-back, and the user has not left.
    NotLapsed,
    /// A win-back, and the user left too short a time ago.
    LapseTooShort,
    /// A win-back, and the user left too long ago.
    LapseTooLong,
    /// A rule of the catalog does not hold.
    Rule,
    /// A rule of the catalog that the law demands does not hold.
    LegalRule,
    /// A rule of the catalog has no value here, such as where it divides by 0.
    RuleError,
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

/// The candidates, parted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// Indices of the arms that may be shown, ascending.
    pub eligible: Vec<usize>,
    /// The others, by offer id.
    pub exclusions: Vec<Exclusion>,
    /// Whether what is known of the user had a say in it.
    pub personal: bool,
}

/// Parts the candidates into those that may be shown and those that may not.
#[must_use]
pub fn sift(
    (catalog, placement): (&Catalog, &Placement),
    terms: &MarketTerms,
    request: &RankRequest,
    user: &UserState,
    now: Instant,
) -> Sifted {
    let mut judge = Judge::new((catalog, placement), terms, request, user, now);
    let mut sifted = Sifted::default();
    let mut sort = |index: usize| match judge.reason(index) {
        None => sifted.eligible.push(index),
        Some((reason, rule)) => {
            let rule = rule.map(|rule| placement.rules[rule].id.clone());
            sifted.exclusions.push(Exclusion { offer_id: placement.arms[index].offer.id.clone(), reason, rule });
        }
    };
    if request.candidates.is_empty() {
        (0..placement.arms.len()).for_each(sort);
    } else {
        let mut unknown = Vec::new();
        for offer_id in &request.candidates {
            match placement.arm_index(offer_id) {
                Some(index) => sort(index),
                None => unknown.push(Exclusion::new(offer_id.clone(), ExclusionReason::UnknownOffer)),
            }
        }
        sifted.exclusions.append(&mut unknown);
        sifted.eligible.sort_unstable();
        sifted.exclusions.sort_unstable_by(|a, b| a.offer_id.cmp(&b.offer_id));
    }
    Sifted { personal: judge.personal, ..sifted }
}

/// Whether a legal rule keeps an arm from being shown, whatever else does, and whether it was asked for or not.
#[must_use]
pub fn forbids(
    (catalog, placement): (&Catalog, &Placement),
    terms: &MarketTerms,
    request: &RankRequest,
    user: &UserState,
    (arm, now): (usize, Instant),
) -> bool {
    let legal = |check: &&Check| placement.rules[check.rule].reason() == ExclusionReason::LegalRule;
    let mut checks = terms.arms[arm].checks.iter().filter(legal).peekable();
    if checks.peek().is_none() {
        return false;
    }
    let mut judge = Judge::new((catalog, placement), terms, request, user, now);
    checks.any(|check| judge.verdict(*check) == Some(ExclusionReason::LegalRule))
}

/// Judges arms for one request; remembers what the conditions of rules came to.
struct Judge<'a> {
    placement: &'a Placement,
    terms: &'a MarketTerms,
    facts: Facts<'a>,
    asked: Vec<Option<Result<bool, EvaluationError>>>,
    personal: bool,
}

impl<'a> Judge<'a> {
    fn new(
        (catalog, placement): (&Catalog, &'a Placement),
        terms: &'a MarketTerms,
        request: &'a RankRequest,
        user: &'a UserState,
        now: Instant,
    ) -> Self {
        let market = request.market.as_deref().and_then(|market| catalog.markets.get(market));
        let facts = Facts {
            attributes: &request.attributes,
            user,
            market: request.market.as_deref().unwrap_or_default(),
            platform: &request.platform,
            now,
            local: market.map_or_else(|| LocalClock::default().show(now), |market| market.clock.show(now)),
        };
        Self { placement, terms, facts, asked: vec![None; terms.conditions.len()], personal: false }
    }

    /// Why an arm may not be shown, with the index of the rule that says so.
    fn reason(&mut self, index: usize) -> Option<(ExclusionReason, Option<usize>)> {
        let (arm, terms) = (&self.placement.arms[index], &self.terms.arms[index]);
        let reason = moment_reason(arm, terms, &self.facts).or(terms.price_reason);
        match reason.or_else(|| self.user_reason(arm)) {
            Some(reason) => Some((reason, None)),
            None => self.rule_reason(terms),
        }
    }

    fn user_reason(&mut self, arm: &Arm) -> Option<ExclusionReason> {
        let (offer, user) = (&arm.offer, self.facts.user);
        match offer.kind {
            OfferKind::None => return None,
            OfferKind::Trial => {
                self.personal = true;
                if user.trial_used {
                    return Some(ExclusionReason::TrialUsed);
                }
            }
            _ => {}
        }
        if let Some(plan) = user.current_plan.as_deref().filter(|_| !offer.to_subscribers) {
            self.personal = true;
            if plan == offer.plan {
                return Some(ExclusionReason::CurrentPlan);
            }
        }
        let window = offer.lapse?;
        self.personal = true;
        lapse_reason(window, user.lapse_ms(self.facts.now))
    }

    fn rule_reason(&mut self, terms: &ArmTerms) -> Option<(ExclusionReason, Option<usize>)> {
        terms.checks.iter().find_map(|&check| Some((self.verdict(check)?, Some(check.rule))))
    }

    /// Why a rule does not allow an arm; `None`: it does.
    fn verdict(&mut self, check: Check) -> Option<ExclusionReason> {
        match check.verdict {
            Verdict::Never(reason) => Some(reason),
            Verdict::If(condition) => match self.ask(condition) {
                Ok(true) => None,
                Ok(false) => Some(self.placement.rules[check.rule].reason()),
                Err(_) => Some(ExclusionReason::RuleError),
            },
        }
    }

    fn ask(&mut self, index: usize) -> Result<bool, EvaluationError> {
        let condition = &self.terms.conditions[index];
        self.personal |= condition.personal;
        *self.asked[index].get_or_insert_with(|| condition.condition.holds(&self.facts))
    }
}

/// What time and place say of an arm.
fn moment_reason(arm: &Arm, terms: &ArmTerms, facts: &Facts<'_>) -> Option<ExclusionReason> {
    let offer = &arm.offer;
    if offer.paused {
        return Some(ExclusionReason::Paused);
    }
    if terms.period.starts_at.is_some_and(|starts_at| facts.now < starts_at) {
        return Some(ExclusionReason::NotStarted);
    }
    if terms.period.ends_at.is_some_and(|ends_at| facts.now >= ends_at) {
        return Some(ExclusionReason::Ended);
    }
    let elsewhere = !offer.platforms.is_empty() && !offer.platforms.iter().any(|platform| platform == facts.platform);
    elsewhere.then_some(ExclusionReason::Platform)
}

fn lapse_reason(window: LapseWindow, lapse_ms: Option<u64>) -> Option<ExclusionReason> {
    let Some(lapse_ms) = lapse_ms else { return Some(ExclusionReason::NotLapsed) };
    if lapse_ms < u64::from(window.min_days) * MS_PER_DAY {
        return Some(ExclusionReason::LapseTooShort);
    }
    let too_long = window.max_days.is_some_and(|max_days| lapse_ms > u64::from(max_days) * MS_PER_DAY);
    too_long.then_some(ExclusionReason::LapseTooLong)
}
