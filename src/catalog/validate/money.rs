//! Currencies, rates and amounts: everything that money is counted in must convert to the reward currency.

use super::findings::Findings;
use crate::{
    catalog::{path::Path, problem::quoted},
    engine::catalog::Money,
    proto,
};
use iso_currency::Currency;
use std::collections::BTreeMap;

/// Smallest and largest rate: between the currencies of this world, with room for inflation.
const RATE_BOUNDS: (f64, f64) = (1e-9, 1e9);
/// Largest amount in minor units: far above any price, far below what doubles count exactly.
const AMOUNT_MINOR_MAX: i64 = 1_000_000_000_000_000;

/// What money can be counted in.
pub(super) struct Currencies {
    /// The currency of rewards; `None` where it is refused.
    pub(super) reward: Option<Currency>,
    /// Rates by currency code, that of the reward currency included.
    pub(super) rates: BTreeMap<String, f64>,
}

impl Currencies {
    /// Checks the reward currency and the rates.
    pub(super) fn validate(catalog: &proto::Catalog, findings: &mut Findings) -> Self {
        let root = Path::default();
        let reward = currency(&root.field("reward_currency"), &catalog.reward_currency, findings);
        let mut rates = BTreeMap::new();
        for (code, &rate) in &catalog.rates {
            let path = root.field("rates").key(code);
            let known = currency(&path, code, findings);
            let accepted = findings.check_range(&path, rate, RATE_BOUNDS.0, RATE_BOUNDS.1);
            if known.is_some() && known == reward && accepted && rate.total_cmp(&1.0).is_ne() {
                findings.refuse(&path, format!("is {rate}, must be 1 or absent: {code} is the reward currency"));
            }
            rates.insert(code.clone(), rate);
        }
        if let Some(reward) = reward {
            rates.insert(reward.code().to_owned(), 1.0);
        }
        Self { reward, rates }
    }

    /// Checks that a currency converts to the reward currency; `user` says who needs it.
    pub(super) fn check_rate(&self, currency: Currency, user: &str, findings: &mut Findings) {
        // Without a reward currency every rate would be missing.
        let Some(reward) = self.reward.filter(|_| !self.rates.contains_key(currency.code())) else { return };
        let (code, reward) = (currency.code(), reward.code());
        let path = Path::default().field("rates").key(code);
        findings.refuse(&path, format!("is missing, but {user} needs it: declare what 1 {code} is worth in {reward}"));
    }
}

/// Checks a currency code.
pub(super) fn currency(path: &Path, code: &str, findings: &mut Findings) -> Option<Currency> {
    let found = Currency::from_code(code);
    let Some(currency) = found else {
        let description = match Currency::from_code(&code.to_uppercase()) {
            _ if code.is_empty() => "is missing, must be an ISO 4217 code such as \"SEK\"".to_owned(),
            Some(currency) => format!("is {}, must be \"{}\": codes are in capitals", quoted(code), currency.code()),
            None => format!("is {}, must be an ISO 4217 code such as \"SEK\"", quoted(code)),
        };
        findings.refuse(path, description);
        return None;
    };
    if currency.exponent().is_none() {
        findings.refuse(path, format!("is \"{code}\", which has no minor units to count prices in"));
        return None;
    }
    Some(currency)
}

/// Checks an amount in the currency of a market.
pub(super) fn amount_in(
    path: &Path,
    money: &proto::Money,
    market: (&str, Option<Currency>),
    findings: &mut Findings,
) -> Option<Money> {
    let path_of_code = path.field("currency_code");
    let given = currency(&path_of_code, &money.currency_code, findings);
    let (id, expected) = market;
    let accepted = amount(path, money.amount_minor, 0, findings);
    if let (Some(given), Some(expected)) = (given, expected)
        && given != expected
    {
        let (given, expected) = (given.code(), expected.code());
        findings.refuse(&path_of_code, format!("is \"{given}\", must be \"{expected}\", the currency of market {id}"));
        return None;
    }
    let money = Money { currency: expected?, amount_minor: money.amount_minor };
    accepted.then_some(money)
}

/// Checks an amount above 0 in any currency that converts to the reward currency.
pub(super) fn worth(
    path: &Path,
    money: &proto::Money,
    currencies: &Currencies,
    findings: &mut Findings,
) -> Option<Money> {
    let accepted = amount(path, money.amount_minor, 1, findings);
    let currency = currency(&path.field("currency_code"), &money.currency_code, findings)?;
    currencies.check_rate(currency, path.as_str(), findings);
    accepted.then_some(Money { currency, amount_minor: money.amount_minor })
}

fn amount(path: &Path, amount_minor: i64, min: i64, findings: &mut Findings) -> bool {
    findings.check_range(&path.field("amount_minor"), amount_minor, min, AMOUNT_MINOR_MAX)
}
