//! What an arm's reward is worth: prices in the request's market, and expected values in the reward currency.

use super::catalog::{Catalog, Objective, Offer, Placement, Price};

/// The offer's price in a market; `None` where it has none there.
#[must_use]
pub fn price(offer: &Offer, market: Option<&str>) -> Option<Price> {
    offer.prices.get(market?).copied()
}

/// What one unit of reward is worth for an offer, in major units of the reward currency.
///
/// A reward in money is worth itself. Otherwise it is the offer's declared value, else its price, else nothing.
#[must_use]
pub fn worth(catalog: &Catalog, placement: &Placement, offer: &Offer, price: Option<Price>) -> f64 {
    if placement.reward.is_money() {
        return 1.0;
    }
    let money = offer.value.or(price.map(|price| price.price));
    money.and_then(|money| catalog.in_reward_currency(money)).unwrap_or(0.0)
}

/// The factor from the posterior's own unit to what the placement compares arms by; above 0.
#[must_use]
pub fn score_scale(placement: &Placement, worth: f64) -> f64 {
    match placement.policy.objective {
        Objective::Reward => placement.reward.unit,
        Objective::Value => placement.reward.unit * worth,
    }
}
