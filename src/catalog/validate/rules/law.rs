//! Where the law forbids personalised prices, no rule may do what the policy may not: tell offers of one plan at
//! different prices apart by attributes of the user.

use super::super::findings::Findings;
use crate::{
    catalog::path::Path,
    engine::{
        catalog::{Catalog, Market, PersonalisedPricing, Placement},
        rules::{Rule, Variable},
        terms::{Remainder, remainder},
    },
    proto,
};
use std::collections::BTreeMap;

/// Checks every rule in every market that forbids it. What is known of a subscription may tell offers apart, as trials
/// and win-backs do: it is the same for everybody who has done the same.
pub(in super::super) fn check_law(declared: &proto::Catalog, catalog: &Catalog, findings: &mut Findings) {
    let indices: BTreeMap<&str, usize> =
        declared.rules.iter().enumerate().map(|(index, rule)| (rule.id.as_str(), index)).collect();
    let forbids = |market: &&Market| market.personalised_pricing == PersonalisedPricing::Forbidden;
    for market in catalog.markets.values().filter(forbids) {
        for placement in catalog.placements.values() {
            for rule in &placement.rules {
                let Some([one, other]) = told_apart(placement, rule, market) else { continue };
                let Some(&index) = indices.get(&*rule.id) else { continue };
                let path = Path::default().field("rules").index(index).field("expression");
                let id = |arm: usize| &placement.arms[arm].offer.id;
                let plan = &placement.arms[one].offer.plan;
                let description = format!(
                    "tells {:?} and {:?} apart by attributes of the user, but they sell plan {plan:?} at different \
                     prices in market {}, which forbids personalised prices: treat them alike there, or leave out \
                     user",
                    id(one),
                    id(other),
                    market.id
                );
                findings.refuse(&path, description);
            }
        }
    }
}

/// An arm, what it costs in minor units, and what is left of the rule for it.
type Treated = (usize, i64, Option<Remainder>);

/// Two arms of one plan and different prices that a rule treats differently by attributes.
fn told_apart(placement: &Placement, rule: &Rule, market: &Market) -> Option<[usize; 2]> {
    if !rule.condition.mentions(&asks_for_attributes) {
        return None;
    }
    let mut plans: BTreeMap<&str, Vec<Treated>> = BTreeMap::new();
    for (index, arm) in placement.arms.iter().enumerate() {
        let Some(price) = arm.offer.prices.get(&market.id) else { continue };
        let left = rule.arms.contains(&index).then(|| remainder(rule, arm, Some(market))).flatten();
        plans.entry(&arm.offer.plan).or_default().push((index, price.price.amount_minor, left));
    }
    plans.values().find_map(|arms| {
        let personal = arms.iter().filter(|(.., left)| is_personal(left.as_ref()));
        personal.into_iter().find_map(|(one, price, left)| {
            let other = arms.iter().find(|(_, other_price, other)| other_price != price && other != left)?;
            Some([*one, other.0])
        })
    })
}

fn is_personal(left: Option<&Remainder>) -> bool {
    matches!(left, Some(Remainder::If(condition)) if condition.mentions(&asks_for_attributes))
}

fn asks_for_attributes(variable: Variable) -> bool {
    matches!(variable, Variable::User(_))
}
