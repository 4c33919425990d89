//! What synthetic users truly want: for every offer a probability that the user takes it, and what that is worth.

use super::{population::feature_spreads, stream::stream};
use crate::{
    cli::client::{ClientError, major_units},
    proto::{Catalog, Metric, MetricKind, Objective, Offer, OfferKind, Placement, RewardTerm},
};
use rand::RngExt as _;
use rand_distr::StandardNormal;

/// Log-odds of taking an offer of the median price: 17 %.
const TYPICAL_LOG_ODDS: f64 = -1.6;
/// Standard deviation of log-odds between offers.
const OFFER_SPREAD: f64 = 0.6;
/// Standard deviation of log-odds between users for the same offer, over all attributes together.
const CONTEXT_SPREAD: f64 = 1.2;
/// Change of log-odds for a price e times as high.
const PRICE_SENSITIVITY: f64 = -0.8;
/// Logarithms of price ratios are limited to this range: free is attractive, but not infinitely so.
const PRICE_RATIO_LOG: std::ops::RangeInclusive<f64> = -1.0..=2.5;
/// How much less likely a user is to buy when shown nothing, in log-odds.
const NOTHING_SHOWN: f64 = -1.5;

/// The true preferences over the offers of one placement.
#[derive(Debug)]
pub(super) struct Truth {
    arms: Vec<ArmTruth>,
}

/// The true preference for one offer.
#[derive(Debug)]
pub(super) struct ArmTruth {
    /// Offer id.
    pub(super) offer_id: String,
    /// What is reported when a user takes it.
    pub(super) reports: Vec<Report>,
    intercept: f64,
    weights: Vec<f64>,
    worth_taken: f64,
    worth_not_taken: f64,
}

/// One outcome of a user who takes an offer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    /// Metric id.
    pub(super) metric: String,
    /// As reported: money in major units of `currency`.
    pub(super) value: f64,
    /// Empty where the metric is not money.
    pub(super) currency: String,
    /// As the server counts it: money in major units of the reward currency.
    pub(super) counted: f64,
}

/// The parts of a catalog that preferences depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    /// Everything.
    pub(super) catalog: &'a Catalog,
    /// Where offers are shown.
    pub(super) placement: &'a Placement,
    /// Where they are sold; empty: nowhere in particular.
    pub(super) market: &'a str,
}

impl Truth {
    /// Draws preferences; the same seed gives every offer the same ones, whatever other offers there are.
    pub(super) fn draw(scene: Scene<'_>, seed: u64) -> Result<Self, ClientError> {
        let mut offer_ids = scene.placement.offers.clone();
        offer_ids.sort();
        let typical_price = scene.median_price(&offer_ids);
        let spreads = feature_spreads(&scene.placement.context.clone().unwrap_or_default());
        let total = spreads.iter().map(|spread| spread * spread).sum::<f64>().sqrt();
        let mut arms = Vec::new();
        for offer_id in offer_ids {
            let offer = scene.offer(&offer_id)?;
            let mut rng = stream(seed, &["offer", &offer_id]);
            let mut normal = || rng.sample::<f64, _>(StandardNormal);
            let mut intercept = TYPICAL_LOG_ODDS + OFFER_SPREAD * normal();
            if offer.kind() == OfferKind::None {
                intercept += NOTHING_SHOWN;
            } else if let Some(price) = scene.price(offer) {
                let ratio_log = (price / typical_price).ln();
                intercept += PRICE_SENSITIVITY * ratio_log.clamp(*PRICE_RATIO_LOG.start(), *PRICE_RATIO_LOG.end());
            }
            let weights = spreads.iter().map(|_| CONTEXT_SPREAD / total * normal()).collect();
            let reports = scene.reports(offer)?;
            let worth_taken = scene.worth(offer, &reports);
            let worth_not_taken = scene.worth(offer, &[]);
            arms.push(ArmTruth { offer_id, reports, intercept, weights, worth_taken, worth_not_taken });
        }
        Ok(Self { arms })
    }

    /// By offer id.
    pub(super) fn arms(&self) -> &[ArmTruth] {
        &self.arms
    }

    /// The place of an offer among the arms.
    pub(super) fn position(&self, offer_id: &str) -> Option<usize> {
        self.arms.iter().position(|arm| arm.offer_id == offer_id)
    }
}

impl ArmTruth {
    /// The probability that a user with these features takes the offer.
    pub(super) fn probability(&self, features: &[f64]) -> f64 {
        let interaction: f64 = self.weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
        1.0 / (1.0 + (-(self.intercept + interaction)).exp())
    }

    /// What showing the offer to a user with these features is truly expected to earn.
    pub(super) fn expected_worth(&self, features: &[f64]) -> f64 {
        let probability = self.probability(features);
        probability * self.worth_taken + (1.0 - probability) * self.worth_not_taken
    }
}

impl Scene<'_> {
    fn offer(&self, id: &str) -> Result<&Offer, ClientError> {
        let offer = self.catalog.offers.iter().find(|offer| offer.id == id);
        offer.ok_or_else(|| ClientError::usage(format!("the catalog lacks the offer \"{id}\" of the placement")))
    }

    /// In major units of the market's currency.
    fn price(&self, offer: &Offer) -> Option<f64> {
        offer.prices.get(self.market).and_then(|price| price.price.as_ref()).map(major_units)
    }

    fn median_price(&self, offer_ids: &[String]) -> f64 {
        let offers = offer_ids.iter().filter_map(|id| self.offer(id).ok());
        let mut prices: Vec<f64> = offers.filter_map(|offer| self.price(offer)).filter(|&price| price > 0.0).collect();
        prices.sort_by(f64::total_cmp);
        prices.get(prices.len() / 2).copied().unwrap_or(1.0)
    }

    fn terms(&self) -> &[RewardTerm] {
        self.placement.reward.as_ref().map_or(&[], |reward| &reward.terms)
    }

    fn metric(&self, id: &str) -> Result<&Metric, ClientError> {
        let metric = self.catalog.metrics.iter().find(|metric| metric.id == id);
        metric.ok_or_else(|| ClientError::usage(format!("the catalog lacks the metric \"{id}\" of the reward")))
    }

    /// What a user who takes the offer reports: every metric that the reward counts in its favour.
    fn reports(&self, offer: &Offer) -> Result<Vec<Report>, ClientError> {
        let mut reports: Vec<Report> = Vec::new();
        for term in self.terms().iter().filter(|term| term.weight.unwrap_or(1.0) > 0.0) {
            if reports.iter().any(|report| report.metric == term.metric) {
                continue;
            }
            let metric = term.metric.clone();
            if self.metric(&metric)?.kind() != MetricKind::Money {
                reports.push(Report { metric, value: 1.0, currency: String::new(), counted: 1.0 });
            } else if let Some(value) = self.price(offer).filter(|&price| price > 0.0) {
                let currency = self.currency();
                let counted = value * self.rate(&currency);
                reports.push(Report { metric, value, currency, counted });
            }
        }
        Ok(reports)
    }

    fn currency(&self) -> String {
        let market = self.catalog.markets.iter().find(|market| market.id == self.market);
        market.map(|market| market.currency_code.clone()).unwrap_or_default()
    }

    fn rate(&self, currency: &str) -> f64 {
        if currency == self.catalog.reward_currency {
            return 1.0;
        }
        self.catalog.rates.get(currency).copied().unwrap_or(1.0)
    }

    /// What these reports are worth in the units that the placement's policy compares offers by.
    fn worth(&self, offer: &Offer, reports: &[Report]) -> f64 {
        let total =
            |metric: &str| reports.iter().find(|report| report.metric == metric).map_or(0.0, |report| report.counted);
        let mut sum = 0.0;
        for term in self.terms() {
            let total = total(&term.metric);
            let counted = if term.indicator { f64::from(u8::from(total > 0.0)) } else { total };
            sum += term.weight.unwrap_or(1.0) * counted;
        }
        let reward = self.placement.reward.as_ref();
        let min = reward.and_then(|reward| reward.min).unwrap_or(f64::NEG_INFINITY);
        let max = reward.and_then(|reward| reward.max).unwrap_or(f64::INFINITY);
        sum.max(min).min(max) * self.worth_per_reward(offer)
    }

    fn worth_per_reward(&self, offer: &Offer) -> f64 {
        if !self.compares_by_value() || self.is_money() {
            return 1.0;
        }
        match &offer.value {
            Some(value) => major_units(value) * self.rate(&value.currency_code),
            None => self.price(offer).unwrap_or(0.0) * self.rate(&self.currency()),
        }
    }

    fn compares_by_value(&self) -> bool {
        self.placement.policy.as_ref().is_some_and(|policy| policy.objective() == Objective::Value)
    }

    /// An indicator of money counts purchases, not money.
    fn is_money(&self) -> bool {
        let money =
            |term: &RewardTerm| self.metric(&term.metric).is_ok_and(|metric| metric.kind() == MetricKind::Money);
        self.terms().iter().any(|term| money(term) && !term.indicator)
    }

    /// The unit of worth, for people.
    pub(super) fn unit(&self) -> String {
        let money = self.compares_by_value() || self.is_money();
        if money { self.catalog.reward_currency.clone() } else { "reward".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Market, Money, Policy, Price, Reward};

    fn price(amount_minor: i64) -> Price {
        let price = Money { currency_code: "SEK".to_owned(), amount_minor };
        Price { price: Some(price), list_price: None }
    }

    fn catalog() -> Catalog {
        let offer = |id: &str, kind: OfferKind, minor: Option<i64>| Offer {
            id: id.to_owned(),
            kind: kind.into(),
            prices: minor.map(|minor| ("SE".to_owned(), price(minor))).into_iter().collect(),
            ..Offer::default()
        };
        let metric = |id: &str, kind: MetricKind| Metric { id: id.to_owned(), kind: kind.into(), ..Metric::default() };
        Catalog {
            reward_currency: "EUR".to_owned(),
            rates: [("SEK".to_owned(), 0.1)].into(),
            markets: vec![Market { id: "SE".to_owned(), currency_code: "SEK".to_owned(), ..Market::default() }],
            metrics: vec![metric("conversion", MetricKind::Count), metric("revenue", MetricKind::Money)],
            offers: vec![
                offer("annual", OfferKind::Standard, Some(100_000)),
                offer("monthly", OfferKind::Standard, Some(10_000)),
                offer("none", OfferKind::None, None),
            ],
            ..Catalog::default()
        }
    }

    fn placement(metric: &str, objective: Objective) -> Placement {
        let term = RewardTerm { metric: metric.to_owned(), ..RewardTerm::default() };
        Placement {
            offers: vec!["none".to_owned(), "monthly".to_owned(), "annual".to_owned()],
            policy: Some(Policy { objective: objective.into(), ..Policy::default() }),
            reward: Some(Reward { terms: vec![term], ..Reward::default() }),
            ..Placement::default()
        }
    }

    /// Mean probabilities of (annual, monthly, none) over many seeds, and what they are worth when taken.
    fn means(metric: &str, objective: Objective) -> ([f64; 3], [f64; 3]) {
        let (catalog, placement) = (catalog(), placement(metric, objective));
        let scene = Scene { catalog: &catalog, placement: &placement, market: "SE" };
        let mut probabilities = [0.0; 3];
        let mut worths = [0.0; 3];
        for seed in 0..200 {
            let truth = Truth::draw(scene, seed).unwrap();
            for (index, arm) in truth.arms().iter().enumerate() {
                probabilities[index] += arm.probability(&[]) / 200.0;
                worths[index] = arm.worth_taken;
            }
        }
        (probabilities, worths)
    }

    #[test]
    fn dearer_offers_sell_less_and_showing_nothing_sells_least() {
        let ([annual, monthly, none], worths) = means("conversion", Objective::Reward);
        assert!(monthly > annual && annual > none, "{monthly} {annual} {none}");
        assert_eq!(worths, [1.0, 1.0, 1.0]);
    }

    #[test]
    fn worth_follows_the_objective_in_the_reward_currency() {
        assert_eq!(means("conversion", Objective::Value).1, [100.0, 10.0, 0.0]);
        assert_eq!(means("revenue", Objective::Reward).1, [100.0, 10.0, 0.0]);
    }

    #[test]
    fn the_order_of_offers_changes_nothing() {
        let (catalog, mut placement) = (catalog(), placement("conversion", Objective::Reward));
        let draw = |placement: &Placement| {
            let truth = Truth::draw(Scene { catalog: &catalog, placement, market: "SE" }, 1).unwrap();
            truth.arms().iter().map(|arm| arm.probability(&[])).collect::<Vec<f64>>()
        };
        let before = draw(&placement);
        placement.offers.reverse();
        assert_eq!(draw(&placement), before);
    }
}
