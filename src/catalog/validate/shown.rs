//! Warnings about offers that prices, floors and rules keep from being shown.

use crate::{
    catalog::{path::Path, problem::Warning},
    engine::{
        catalog::{Arm, Catalog, Market, OfferKind, Placement},
        eligibility::ExclusionReason,
        rules::{Expr, Rule, Value, Variable},
        terms::{ArmTerms, Remainder, remainder},
    },
    proto,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most markets that one warning says something about.
const MARKETS_SHOWN_MAX: usize = 5;

/// Warns of every price that is not allowed, and of every offer that can never be shown.
pub(super) fn warn_of_hidden(declared: &proto::Catalog, catalog: &Catalog, warnings: &mut Vec<Warning>) {
    let offers = Path::default().field("offers");
    let mut arms: BTreeMap<&str, Vec<(&Placement, usize)>> = BTreeMap::new();
    for placement in catalog.placements.values() {
        for (index, arm) in placement.arms.iter().enumerate() {
            arms.entry(&arm.offer.id).or_default().push((placement, index));
        }
    }
    for (index, declared) in declared.offers.iter().enumerate() {
        let path = offers.index(index);
        let Some(arms) = arms.get(declared.id.as_str()) else { continue };
        let offer = &arms[0].0.arms[arms[0].1].offer;
        if offer.kind == OfferKind::None || offer.paused {
            continue;
        }
        let mut reasons = BTreeSet::new();
        let mut shown = false;
        for id in offer.prices.keys() {
            let Some(market) = catalog.markets.get(id) else { continue };
            warnings.extend(price_warning(&path, catalog, &arms[0].0.arms[arms[0].1], market));
            // Found out at the first place where it can be shown, which for most is the first of all.
            let mut places = arms.iter();
            while !shown && let Some(&(placement, arm)) = places.next() {
                let reason = hidden(catalog, placement, arm, market);
                shown = reason.is_none();
                reasons.extend(reason.map(|reason| format!("in market {id} {reason}")));
            }
        }
        if !shown {
            let all: Vec<_> = reasons.iter().take(MARKETS_SHOWN_MAX).map(String::as_str).collect();
            let more = if reasons.len() > all.len() { ", and so on" } else { "" };
            let description = format!("can never be shown: {}{more}", all.join(", "));
            warnings.push(Warning { field: path.to_string(), description });
        }
    }
}

/// What a market or plan has against a price.
fn price_warning(offer: &Path, catalog: &Catalog, arm: &Arm, market: &Market) -> Option<Warning> {
    let terms = ArmTerms::of(catalog, arm, Some(market));
    let price = terms.price?;
    let path = offer.field("prices").key(&market.id).field("price");
    let description = match terms.price_reason? {
        ExclusionReason::DiscountTooDeep => {
            let percent = |share: f64| libm::round(share * 1000.0) / 10.0;
            let (saved, most) = (percent(price.discount()), percent(market.discount_max.unwrap_or(1.0)));
            format!("saves {saved} % of the list price, but market {} allows {most} %: not shown there", market.id)
        }
        ExclusionReason::BelowFloor => {
            let floor = catalog.plans.get(arm.offer.plan.as_str()).and_then(|plan| plan.floors.get(&market.id));
            let (paid, floor) = (price.price.amount_minor, floor.map_or(0, |floor| floor.amount_minor));
            let (plan, market) = (&arm.offer.plan, &market.id);
            format!("is {paid}, below {floor}, the floor of plan {plan:?} in market {market}: not shown there")
        }
        _ => return None,
    };
    Some(Warning { field: path.to_string(), description })
}

/// Why an arm can never be shown in a market that it has a price in, whatever a request says.
fn hidden(catalog: &Catalog, placement: &Placement, arm: usize, market: &Market) -> Option<String> {
    let terms = ArmTerms::of(catalog, &placement.arms[arm], Some(market));
    match terms.price_reason {
        Some(ExclusionReason::DiscountTooDeep) => return Some("it saves more than is allowed".to_owned()),
        Some(_) => return Some("its price is below the floor of its plan".to_owned()),
        None => {}
    }
    let arm_rules = || placement.rules.iter().filter(|rule| rule.arms.contains(&arm));
    let never = arm_rules().find(|rule| holds_nowhere(rule, &placement.arms[arm], market, None));
    if let Some(rule) = never {
        return Some(format!("rule {:?} never holds for it", rule.id));
    }
    let forbidding =
        |platform: &String| arm_rules().find(|rule| holds_nowhere(rule, &placement.arms[arm], market, Some(platform)));
    let platforms = &placement.arms[arm].offer.platforms;
    let forbidden: Option<Vec<_>> = platforms.iter().map(forbidding).collect();
    let rules = forbidden.filter(|_| !platforms.is_empty())?;
    Some(format!("rule {:?} never holds for it on its platforms", rules[0].id))
}

/// Whether a rule keeps an arm from being shown in a market, and on a platform where one is given, whatever else a
/// request says.
fn holds_nowhere(rule: &Rule, arm: &Arm, market: &Market, platform: Option<&str>) -> bool {
    match (remainder(rule, arm, Some(market)), platform) {
        (Some(Remainder::Never(_)), _) => true,
        (Some(Remainder::If(condition)), Some(platform)) => {
            let known = |variable| (variable == Variable::Platform).then(|| Value::Text(platform.into()));
            condition.reduce(&known) == Expr::Constant(Value::Boolean(false))
        }
        _ => false,
    }
}
