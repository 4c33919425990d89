//! Markets: their currency, clocks and law; and plans, with the smallest price of each in every market.

use super::{
    findings::{Findings, MARKET, Seen},
    money::{self, Currencies},
};
use crate::{
    catalog::{path::Path, problem::quoted, zone},
    engine::{
        catalog::{Market, PersonalisedPricing, Plan},
        local_time::LocalClock,
        user::PLAN_BYTES_MAX,
    },
    proto,
};
use iso_currency::Currency;
use jiff::tz::TimeZone;
use std::{collections::BTreeMap, sync::Arc};

/// Most markets of one catalog.
const MARKETS_MAX: usize = 1_000;
/// Most plans of one catalog.
const PLANS_MAX: usize = 1_000;
/// Longest key of a text of the client's, in bytes.
const TEXT_KEY_BYTES_MAX: usize = 128;

/// A market as far as it could be made.
pub(super) struct MarketDraft {
    /// Its currency; `None` where that is refused.
    pub(super) currency: Option<Currency>,
    /// Its clocks.
    pub(super) zone: Zone,
    market: Option<Market>,
}

/// The clocks of a market.
pub(super) enum Zone {
    /// No time zone is declared.
    Undeclared,
    /// The one declared is refused.
    Refused,
    /// These.
    Known(TimeZone),
}

/// Markets by id.
pub(super) type Markets<'a> = BTreeMap<&'a str, MarketDraft>;

/// Checks the markets and which of them is the default.
pub(super) fn markets<'a>(
    catalog: &'a proto::Catalog,
    currencies: &Currencies,
    findings: &mut Findings,
) -> Markets<'a> {
    let root = Path::default();
    findings.check_count(&root.field("markets"), catalog.markets.len(), MARKETS_MAX);
    let mut seen = Seen::new();
    let mut markets = Markets::new();
    for (index, declared) in catalog.markets.iter().enumerate() {
        let path = root.field("markets").index(index);
        findings.check_id(&path.field("id"), &declared.id, &MARKET, &mut seen);
        let draft = market(&path, declared, currencies, findings);
        markets.entry(&declared.id).or_insert(draft);
    }
    let default = &catalog.default_market;
    if !default.is_empty() && !markets.contains_key(default.as_str()) {
        findings.refuse_unknown(&root.field("default_market"), default, "market", markets.keys().copied());
    }
    markets
}

/// Markets as the engine has them.
pub(super) fn engine_markets(markets: Markets<'_>) -> BTreeMap<Arc<str>, Market> {
    let known = markets.into_values().filter_map(|draft| draft.market);
    known.map(|market| (Arc::clone(&market.id), market)).collect()
}

fn market(path: &Path, declared: &proto::Market, currencies: &Currencies, findings: &mut Findings) -> MarketDraft {
    let currency = money::currency(&path.field("currency_code"), &declared.currency_code, findings);
    if let Some(currency) = currency {
        currencies.check_rate(currency, &format!("market {}", quoted(&declared.id)), findings);
    }
    let zone = time_zone(&path.field("time_zone"), &declared.time_zone, findings);
    if let Some(discount_max) = declared.discount_max {
        findings.check_range(&path.field("discount_max"), discount_max, 0.0, 1.0);
    }
    let personalised_pricing = personalised_pricing(path, declared, findings);
    let market = currency.map(|currency| Market {
        id: Arc::from(declared.id.as_str()),
        currency,
        clock: if let Zone::Known(zone) = &zone { zone::clock(zone) } else { LocalClock::default() },
        discount_max: declared.discount_max,
        personalised_pricing,
        disclosure_text_key: declared.disclosure_text_key.clone(),
    });
    MarketDraft { currency, zone, market }
}

fn time_zone(path: &Path, name: &str, findings: &mut Findings) -> Zone {
    if name.is_empty() {
        return Zone::Undeclared;
    }
    zone::find(name).map_or_else(
        |description| {
            findings.refuse(path, description);
            Zone::Refused
        },
        Zone::Known,
    )
}

fn personalised_pricing(path: &Path, declared: &proto::Market, findings: &mut Findings) -> PersonalisedPricing {
    let law = match proto::PersonalisedPricing::try_from(declared.personalised_pricing) {
        Ok(proto::PersonalisedPricing::Unspecified | proto::PersonalisedPricing::Allowed) => {
            PersonalisedPricing::Allowed
        }
        Ok(proto::PersonalisedPricing::Disclose) => PersonalisedPricing::Disclose,
        Ok(proto::PersonalisedPricing::Forbidden) => PersonalisedPricing::Forbidden,
        Err(_) => {
            findings.refuse_number(&path.field("personalised_pricing"), declared.personalised_pricing);
            return PersonalisedPricing::Allowed;
        }
    };
    let (key, path) = (&declared.disclosure_text_key, path.field("disclosure_text_key"));
    match law {
        PersonalisedPricing::Disclose if key.is_empty() => {
            findings.refuse(&path, "is missing: say which text of the client's discloses personalised prices");
        }
        PersonalisedPricing::Disclose => findings.check_text(&path, key, TEXT_KEY_BYTES_MAX),
        _ if !key.is_empty() => {
            findings.refuse(&path, "must be absent: nothing is disclosed unless personalised_pricing is DISCLOSE");
        }
        _ => {}
    }
    law
}

/// Checks the plans.
pub(super) fn plans<'a>(
    catalog: &'a proto::Catalog,
    markets: &Markets<'_>,
    findings: &mut Findings,
) -> BTreeMap<&'a str, Plan> {
    let path = Path::default().field("plans");
    findings.check_count(&path, catalog.plans.len(), PLANS_MAX);
    let mut seen = Seen::new();
    let mut plans = BTreeMap::new();
    for (index, declared) in catalog.plans.iter().enumerate() {
        let path = path.index(index);
        findings.check_text(&path.field("id"), &declared.id, PLAN_BYTES_MAX);
        findings.check_distinct(&path.field("id"), &declared.id, &mut seen);
        let mut floors = BTreeMap::new();
        for (market, floor) in &declared.floors {
            let path = path.field("floors").key(market);
            let Some(draft) = markets.get(market.as_str()) else {
                findings.refuse_unknown(&path, market, "market", markets.keys().copied());
                continue;
            };
            let floor = money::amount_in(&path, floor, (market, draft.currency), findings);
            floors.extend(floor.map(|floor| (Arc::from(market.as_str()), floor)));
        }
        plans.entry(declared.id.as_str()).or_insert(Plan { id: Arc::from(declared.id.as_str()), floors });
    }
    plans
}
