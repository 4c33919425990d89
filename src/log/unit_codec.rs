//! What is kept of units to bytes and back.

use super::DecodeError;
use crate::{
    engine::{
        catalog::Money,
        history::{KeptUser, UserHistory},
        instant::Instant,
        unit::{
            links::Links,
            state::{HeldPrice, Lease, Limits, Offering, RefusalKey, UnitKey, UnitState},
        },
    },
    proto,
};
use iso_currency::Currency;
use prost::Message as _;
use std::{collections::BTreeMap, sync::Arc};

const WHAT: &str = "unit state";

fn missing(field: &'static str) -> DecodeError {
    DecodeError::Field { what: WHAT, field }
}

/// A unit's state as it is stored.
#[must_use]
pub fn encode_unit_state(state: &UnitState) -> Vec<u8> {
    row(state).encode_to_vec()
}

/// A unit's state from its stored bytes.
///
/// # Errors
/// Where the bytes were not written by [`encode_unit_state`].
pub fn decode_unit_state(bytes: &[u8]) -> Result<UnitState, DecodeError> {
    state(proto::UnitStateRow::decode(bytes).map_err(|source| DecodeError::Encoding { what: WHAT, source })?)
}

pub(super) fn row(state: &UnitState) -> proto::UnitStateRow {
    let held = |((market, offer_id), held): (&(Arc<str>, Arc<str>), &HeldPrice)| proto::HeldPriceRow {
        market: market.to_string(),
        offer_id: offer_id.to_string(),
        price: Some(held.price.into()),
        plan: held.plan.clone(),
        trial: held.trial,
        until_ms: held.until.as_ms(),
        told_at_ms: held.told_at.as_ms(),
        beside_minor: held.beside_minor,
    };
    let refusal = |((metric, offer_id, decision), at): (&RefusalKey, &Instant)| proto::RefusalRow {
        metric: metric.to_string(),
        offer_id: offer_id.to_string(),
        at_ms: at.as_ms(),
        decision_id: decision.to_vec(),
    };
    proto::UnitStateRow {
        lease: state.lease.as_ref().map(lease_row),
        held_prices: state.held.iter().map(held).collect(),
        offerings: state.offered.iter().map(|(decision, offering)| offering_row(decision, offering)).collect(),
        refusals: state.refusals.iter().map(refusal).collect(),
        origins: links(&state.links.origins),
        heirs: links(&state.links.heirs),
        first: state.links.first.map(|(key, since)| proto::LinkRow { key: key.to_vec(), since_ms: since.as_ms() }),
    }
}

fn lease_row(lease: &Lease) -> proto::LeaseRow {
    proto::LeaseRow {
        root_decision_id: lease.root.to_vec(),
        leased_at_ms: lease.leased_at.as_ms(),
        until_ms: lease.until.as_ms(),
        market: lease.market.as_deref().unwrap_or_default().to_owned(),
        offer_ids: lease.offers.iter().map(ToString::to_string).collect(),
        ended: lease.ended,
        personalised: lease.personalised,
    }
}

fn offering_row(decision: &[u8; 20], offering: &Offering) -> proto::OfferingRow {
    proto::OfferingRow {
        decision_id: decision.to_vec(),
        at_ms: offering.at.as_ms(),
        offer_ids: offering.offers.iter().map(ToString::to_string).collect(),
    }
}

fn links(links: &BTreeMap<UnitKey, Instant>) -> Vec<proto::LinkRow> {
    links.iter().map(|(unit, since)| proto::LinkRow { key: unit.to_vec(), since_ms: since.as_ms() }).collect()
}

pub(super) fn state(row: proto::UnitStateRow) -> Result<UnitState, DecodeError> {
    let at = Instant::from_ms;
    let mut held = BTreeMap::new();
    for row in row.held_prices {
        let money = row.price.ok_or_else(|| missing("held_prices.price"))?;
        let currency = Currency::from_code(&money.currency_code).ok_or_else(|| missing("held_prices.price"))?;
        let price = Money { currency, amount_minor: money.amount_minor };
        let (told_at, until) = (at(row.told_at_ms), at(row.until_ms));
        let beside_minor = row.beside_minor;
        let price = HeldPrice { price, plan: row.plan, trial: row.trial, told_at, beside_minor, until };
        held.insert((row.market.into(), row.offer_id.into()), price);
    }
    let offering = |row: proto::OfferingRow| {
        let offers = row.offer_ids.into_iter().map(Arc::from).collect();
        Ok((fixed(&row.decision_id, "offerings.decision_id")?, Offering { at: at(row.at_ms), offers }))
    };
    let refusal = |row: proto::RefusalRow| {
        let decision = fixed(&row.decision_id, "refusals.decision_id")?;
        Ok(((row.metric.into(), row.offer_id.into(), decision), at(row.at_ms)))
    };
    Ok(UnitState {
        lease: row.lease.map(lease).transpose()?,
        held,
        offered: row.offerings.into_iter().map(offering).collect::<Result<_, DecodeError>>()?,
        refusals: row.refusals.into_iter().map(refusal).collect::<Result<_, DecodeError>>()?,
        links: Links {
            origins: decode_links(row.origins)?,
            heirs: decode_links(row.heirs)?,
            first: decode_links(row.first.into_iter().collect())?.pop_first(),
        },
    })
}

fn decode_links(rows: Vec<proto::LinkRow>) -> Result<BTreeMap<UnitKey, Instant>, DecodeError> {
    rows.into_iter().map(|row| Ok((fixed(&row.key, "links.key")?, Instant::from_ms(row.since_ms)))).collect()
}

fn lease(row: proto::LeaseRow) -> Result<Lease, DecodeError> {
    Ok(Lease {
        leased_at: Instant::from_ms(row.leased_at_ms),
        root: fixed(&row.root_decision_id, "lease.root_decision_id")?,
        until: Instant::from_ms(row.until_ms),
        market: (!row.market.is_empty()).then(|| row.market.into()),
        offers: row.offer_ids.into_iter().map(Arc::from).collect(),
        ended: row.ended,
        personalised: row.personalised,
    })
}

fn fixed<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| missing(field))
}

/// What is kept of a user as it is stored.
#[must_use]
pub fn encode_user(KeptUser { history, links: of }: &KeptUser) -> Vec<u8> {
    let (subscribed_at_ms, plan) =
        history.subscribed.as_ref().map_or((0, String::new()), |(since, plan)| (since.as_ms(), plan.to_string()));
    proto::UserHistoryRow {
        trial_used_at_ms: history.trial_used_at.map(Instant::as_ms),
        plan,
        subscribed_at_ms,
        churned_at_ms: history.churned_at.map(Instant::as_ms),
        origins: links(&of.origins),
        heirs: links(&of.heirs),
    }
    .encode_to_vec()
}

/// What is kept of a user from its stored bytes.
///
/// # Errors
/// Where the bytes were not written by [`encode_user`].
pub fn decode_user(bytes: &[u8]) -> Result<KeptUser, DecodeError> {
    let row = proto::UserHistoryRow::decode(bytes)
        .map_err(|source| DecodeError::Encoding { what: "user's history", source })?;
    let subscribed = (Instant::from_ms(row.subscribed_at_ms), row.plan.as_str().into());
    let history = UserHistory {
        trial_used_at: row.trial_used_at_ms.map(Instant::from_ms),
        subscribed: (!row.plan.is_empty()).then_some(subscribed),
        churned_at: row.churned_at_ms.map(Instant::from_ms),
    };
    let links = Links { origins: decode_links(row.origins)?, heirs: decode_links(row.heirs)?, first: None };
    Ok(KeptUser { history, links })
}

impl From<Limits> for proto::LimitsMode {
    fn from(limits: Limits) -> Self {
        match limits {
            Limits::Counted => Self::Counted,
            Limits::Uncounted => Self::Uncounted,
            Limits::Skipped => Self::Skipped,
            Limits::Ignored => Self::Ignored,
        }
    }
}

impl From<proto::LimitsMode> for Limits {
    fn from(mode: proto::LimitsMode) -> Self {
        match mode {
            proto::LimitsMode::Unspecified | proto::LimitsMode::Counted => Self::Counted,
            proto::LimitsMode::Uncounted => Self::Uncounted,
            proto::LimitsMode::Skipped => Self::Skipped,
            proto::LimitsMode::Ignored => Self::Ignored,
        }
    }
}
