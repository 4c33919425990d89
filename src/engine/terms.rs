//! What is settled about a placement's arms in one market before any request comes: prices, periods, what the market
//! and the plans allow, and what is left of every rule.
//!
//! Made once for a market, when it is first asked for, from the catalog alone: the same whenever that is.

use super::{
    catalog::{Arm, Catalog, Market, OfferKind, Period, PersonalisedPricing, Placement, Price},
    eligibility::ExclusionReason,
    rules::{Expr, OfferFacts, Rule, Value, Variable},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// The terms of one placement in every market, each made when it is first asked for.
#[derive(Clone, Debug, Default)]
pub struct TermsByMarket {
    markets: BTreeMap<Arc<str>, OnceLock<MarketTerms>>,
    nowhere: OnceLock<MarketTerms>,
}

impl TermsByMarket {
    /// For these markets.
    #[must_use]
    pub fn new<'a>(markets: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        let markets = markets.into_iter().map(|id| (id.clone(), OnceLock::new())).collect();
        Self { markets, nowhere: OnceLock::new() }
    }
}

impl Placement {
    /// Its terms in a market, or those of requests that have none; `catalog` is the placement's own.
    #[must_use]
    pub fn terms(&self, catalog: &Catalog, market: Option<&str>) -> &MarketTerms {
        let known = market.and_then(|id| self.terms.markets.get_key_value(id));
        match known {
            Some((id, terms)) => terms.get_or_init(|| MarketTerms::of(catalog, self, Some(id))),
            None => self.terms.nowhere.get_or_init(|| MarketTerms::of(catalog, self, None)),
        }
    }
}

/// The terms of a placement's arms in one market.
#[derive(Clone, Debug)]
pub struct MarketTerms {
    /// One for each arm, in the placement's order.
    pub arms: Vec<ArmTerms>,
    /// What requests decide, each asked at most once for a request.
    pub conditions: Vec<Condition>,
    /// Whether prices and their order may depend on what is known of the user.
    pub personalised_pricing: PersonalisedPricing,
    /// Arms that sell one plan at more than one price, plan by plan, each ascending.
    priced_apart: Vec<Vec<usize>>,
}

/// The terms of one arm.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmTerms {
    /// What it costs; `None`: it is not sold here.
    pub price: Option<Price>,
    /// When it may be shown.
    pub period: Period,
    /// Why its price keeps it from being shown.
    pub price_reason: Option<ExclusionReason>,
    /// What rules say of it, in the order of the catalog.
    pub checks: Vec<Check>,
}

/// What one rule says of one arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Index of the rule in the placement.
    pub rule: usize,
    /// What it says.
    pub verdict: Verdict,
}

/// What a rule says of an arm before any request comes; that it holds in any case is not worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It excludes the arm, for this reason.
    Never(ExclusionReason),
    /// It depends: index of the condition.
    If(usize),
}

/// What is left of a rule for some arms.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What must hold.
    pub condition: Expr,
    /// Whether it asks for facts about the person.
    pub personal: bool,
}

/// What is left of a rule for one arm.
#[derive(Clone, Debug, PartialEq)]
pub enum Remainder {
    /// Nothing: it holds.
    Holds,
    /// It excludes the arm, for this reason.
    Never(ExclusionReason),
    /// What must hold.
    If(Expr),
}

impl MarketTerms {
    /// The terms in a market, or those of requests that have none.
    #[must_use]
    pub fn of(catalog: &Catalog, placement: &Placement, market: Option<&str>) -> Self {
        let market = market.and_then(|id| catalog.markets.get(id));
        let mut conditions = Vec::new();
        let mut arms: Vec<ArmTerms> = placement.arms.iter().map(|arm| ArmTerms::of(catalog, arm, market)).collect();
        for (rule_index, rule) in placement.rules.iter().enumerate() {
            let first = conditions.len();
            for &arm in &rule.arms {
                let Some(remainder) = remainder(rule, &placement.arms[arm], market) else { continue };
                let verdict = match remainder {
                    Remainder::Holds => continue,
                    Remainder::Never(reason) => Verdict::Never(reason),
                    Remainder::If(condition) => Verdict::If(intern(&mut conditions, first, condition)),
                };
                arms[arm].checks.push(Check { rule: rule_index, verdict });
            }
        }
        let personalised_pricing = market.map_or(PersonalisedPricing::Allowed, |market| market.personalised_pricing);
        Self { priced_apart: priced_apart(placement, &arms), arms, conditions, personalised_pricing }
    }

    /// Whether the law forbids to look at the user where these arms are eligible, given ascending.
    #[must_use]
    pub fn forbids_looking(&self, eligible: &[usize]) -> bool {
        self.personalised_pricing == PersonalisedPricing::Forbidden && self.holds_prices_apart(eligible)
    }

    /// Whether some of these arms, given ascending, sell one plan at different prices.
    fn holds_prices_apart(&self, eligible: &[usize]) -> bool {
        self.priced_apart.iter().any(|arms| {
            let mut prices = arms.iter().filter(|arm| eligible.binary_search(arm).is_ok()).map(|&arm| self.paid(arm));
            let first = prices.next();
            prices.any(|price| Some(price) != first)
        })
    }

    fn paid(&self, arm: usize) -> Option<i64> {
        paid(&self.arms[arm])
    }
}

fn paid(arm: &ArmTerms) -> Option<i64> {
    arm.price.map(|price| price.price.amount_minor)
}

impl ArmTerms {
    /// The terms of an arm in a market, rules left out.
    #[must_use]
    pub fn of(catalog: &Catalog, arm: &Arm, market: Option<&Market>) -> Self {
        let offer = &arm.offer;
        let price = market.and_then(|market| offer.prices.get(&market.id).copied());
        let reason = || match (price, market) {
            (Some(price), Some(market)) => price_reason(catalog, arm, market, price),
            _ => Some(ExclusionReason::NoPriceInMarket),
        };
        Self {
            price,
            period: offer.period(market.map(|market| &*market.id)),
            price_reason: if offer.kind == OfferKind::None { None } else { reason() },
            checks: Vec::new(),
        }
    }
}

/// What a market and a plan say of a price.
fn price_reason(catalog: &Catalog, arm: &Arm, market: &Market, price: Price) -> Option<ExclusionReason> {
    // A trial is free, or nearly, for as long as it lasts; what bounds it is that there is one in a lifetime.
    if arm.offer.kind == OfferKind::Trial {
        return None;
    }
    if market.discount_max.is_some_and(|discount_max| price.discount() > discount_max) {
        return Some(ExclusionReason::DiscountTooDeep);
    }
    let floor = catalog.plans.get(arm.offer.plan.as_str()).and_then(|plan| plan.floors.get(&market.id));
    floor.is_some_and(|floor| price.price.amount_minor < floor.amount_minor).then_some(ExclusionReason::BelowFloor)
}

/// What is left of a rule for an arm in a market; `None` where the arm is not sold there.
#[must_use]
pub fn remainder(rule: &Rule, arm: &Arm, market: Option<&Market>) -> Option<Remainder> {
    let market = market?;
    let price = arm.offer.prices.get(&market.id).copied()?;
    let facts = OfferFacts { offer: &arm.offer, price };
    let condition = rule.condition.reduce(&|variable| match variable {
        Variable::Market => Some(Value::Text(market.id.clone())),
        Variable::Offer(fact) => Some(facts.value(fact)),
        _ => None,
    });
    Some(match condition {
        Expr::Constant(Value::Boolean(true)) => Remainder::Holds,
        Expr::Constant(_) => Remainder::Never(rule.reason()),
        condition if !condition.mentions(&|_| true) => Remainder::Never(ExclusionReason::RuleError),
        condition => Remainder::If(condition),
    })
}

/// The index of a condition among those of its rule, which stand from `first` on.
fn intern(conditions: &mut Vec<Condition>, first: usize, condition: Expr) -> usize {
    let known = conditions[first..].iter().position(|known| known.condition == condition);
    known.map_or_else(
        || {
            let personal = condition.mentions(&Variable::is_personal);
            conditions.push(Condition { condition, personal });
            conditions.len() - 1
        },
        |position| first + position,
    )
}

fn priced_apart(placement: &Placement, arms: &[ArmTerms]) -> Vec<Vec<usize>> {
    let mut plans: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, arm) in placement.arms.iter().enumerate() {
        if arms[index].price.is_some() {
            plans.entry(&arm.offer.plan).or_default().push(index);
        }
    }
    let differ = |plan: &Vec<usize>| plan.iter().any(|&arm| paid(&arms[arm]) != paid(&arms[plan[0]]));
    plans.into_values().filter(differ).collect()
}
