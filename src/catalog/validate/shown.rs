//! Warnings about offers that prices, floors, rules and time keep from being shown.

use crate::{
    catalog::{path::Path, problem::Warning},
    engine::{
        catalog::{Arm, Catalog, Market, OfferKind, Period, Placement},
        eligibility::ExclusionReason,
        instant::Instant,
        rules::{Expr, Rule, Value, Variable},
        terms::{ArmTerms, Remainder, remainder},
    },
    proto,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most markets that one warning says something about.
const MARKETS_SHOWN_MAX: usize = 5;

/// An arm of a placement.
type Place<'a> = (&'a Placement, usize);

/// Warns of every price that is not allowed, and of every offer that can never be shown.
pub(super) fn warn_of_hidden(declared: &proto::Catalog, catalog: &Catalog, warnings: &mut Vec<Warning>) {
    for (path, places) in places(declared, catalog) {
        let (placement, arm) = places[0];
        let arm = &placement.arms[arm];
        let markets = arm.offer.prices.keys().filter_map(|id| catalog.markets.get(id));
        warnings.extend(markets.filter_map(|market| price_warning(&path, catalog, arm, market)));
        if let Some(reasons) = hidden_everywhere(catalog, &places, None) {
            warnings.push(Warning {
                field: path.to_string(),
                description: format!("can never be shown: {}", shortened(&reasons)),
            });
        }
    }
}

/// Warns of every offer that was fit to be shown until its validity was over, which needs to know what time it is.
#[must_use]
pub fn ended(declared: &proto::Catalog, catalog: &Catalog, now: Instant) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (path, places) in places(declared, catalog) {
        let Some(reasons) = hidden_everywhere(catalog, &places, Some(now)) else { continue };
        // What is never shown whatever the time has its warning already.
        if hidden_everywhere(catalog, &places, None).is_none() {
            let reasons = shortened(&reasons);
            let description = format!("can never be shown again: {reasons}; give it another validity, or take it out");
            warnings.push(Warning { field: path.to_string(), description });
        }
    }
    super::cut_warnings(warnings)
}

/// The offers that are not paused, with where they are declared and the arms that they are; every one is some.
fn places<'a>(declared: &proto::Catalog, catalog: &'a Catalog) -> impl Iterator<Item = (Path, Vec<Place<'a>>)> {
    let mut arms: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
    for placement in catalog.placements.values() {
        for (index, arm) in placement.arms.iter().enumerate().filter(|(_, arm)| !arm.offer.paused) {
            arms.entry(&arm.offer.id).or_default().push((placement, index));
        }
    }
    let offers = Path::default().field("offers");
    declared
        .offers
        .iter()
        .enumerate()
        .filter_map(move |(index, offer)| Some((offers.index(index), arms.remove(offer.id.as_str())?)))
}

/// Why an offer can never be shown, market by market, from `now` on where that is given; `None` where it can be.
fn hidden_everywhere(catalog: &Catalog, places: &[Place<'_>], now: Option<Instant>) -> Option<BTreeSet<String>> {
    let (placement, arm) = places[0];
    let offer = &placement.arms[arm].offer;
    if offer.kind == OfferKind::None {
        // It is shown in every market, and where there is none.
        return over(offer.period, now).map(|reason| BTreeSet::from([reason]));
    }
    let mut reasons = BTreeSet::new();
    for market in offer.prices.keys().filter_map(|id| catalog.markets.get(id)) {
        for &place in places {
            // Found out at the first place where it can be shown, which for most is the first of all.
            let reason = hidden(catalog, place, market, now)?;
            reasons.insert(format!("in market {} {reason}", market.id));
        }
    }
    Some(reasons)
}

fn shortened(reasons: &BTreeSet<String>) -> String {
    let shown: Vec<_> = reasons.iter().take(MARKETS_SHOWN_MAX).map(String::as_str).collect();
    let more = if reasons.len() > shown.len() { ", and so on" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// That a period is over by now.
fn over(period: Period, now: Option<Instant>) -> Option<String> {
    let ends_at = period.ends_at.filter(|&ends_at| now.is_some_and(|now| ends_at <= now))?;
    Some(format!("its validity was over at {ends_at}"))
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

/// Whether an arm can be shown in a market to somebody, at some time, and on a platform where one is given.
pub(super) fn can_be_shown(catalog: &Catalog, (placement, arm): Place<'_>, market: &Market, on: Option<&str>) -> bool {
    let offer = &placement.arms[arm].offer;
    let is_priced = offer.kind == OfferKind::None || offer.prices.contains_key(&market.id);
    let fits = |platform| offer.platforms.is_empty() || offer.platforms.iter().any(|own| own == platform);
    let forbidden = |platform| {
        let mut rules = placement.rules.iter().filter(|rule| rule.arms.contains(&arm));
        rules.any(|rule| holds_nowhere(rule, &placement.arms[arm], market, Some(platform)))
    };
    let on_platform = on.is_none_or(|platform| fits(platform) && !forbidden(platform));
    !offer.paused && is_priced && on_platform && hidden(catalog, (placement, arm), market, None).is_none()
}

/// Why an arm can never be shown in a market that it has a price in, whatever a request says, from `now` on where that
/// is given.
fn hidden(catalog: &Catalog, (placement, arm): Place<'_>, market: &Market, now: Option<Instant>) -> Option<String> {
    let terms = ArmTerms::of(catalog, &placement.arms[arm], Some(market));
    if let Some(reason) = over(terms.period, now) {
        return Some(reason);
    }
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
