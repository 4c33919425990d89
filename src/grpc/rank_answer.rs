//! A Rank's answer, written as `ranking.proto` has it: straight from the decision and its catalog.

use super::explanation;
use crate::{
    engine::{
        catalog::{Catalog, Money},
        decide::{EligibleArm, SlotDraw},
        instant::Instant,
    },
    log::record::{DecisionRecord, Flag},
    proto::{self, fields::Fields},
    service::rank::Answer,
};
use prost::Message as _;

/// Most answers have at most this many bytes.
const ANSWER_BYTES_USUAL: usize = 1 << 10;

/// An encoded `RankResponse`.
pub(super) fn encode(answer: &Answer, explain: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES_USUAL);
    write_response(&mut Fields::new(&mut bytes), answer, explain);
    bytes
}

/// The same for answers of which it is a part.
pub(super) fn response(answer: &Answer, explain: bool) -> proto::RankResponse {
    proto::RankResponse::decode(&encode(answer, explain)[..]).expect("invariant: an answer is written as it is read")
}

fn write_response(fields: &mut Fields<'_>, Answer { record, catalog }: &Answer, explain: bool) {
    let decision = &record.decision;
    fields.bytes(1, record.id.to_string().as_bytes());
    for (slot, draw) in (1..).zip(&decision.slots) {
        fields.message(2, |fields| write_offer(fields, decision.drawn(draw), Some((slot, draw)), catalog));
    }
    for &arm in &decision.tail {
        fields.message(3, |fields| write_offer(fields, &decision.arms[arm], None, catalog));
    }
    for exclusion in &decision.exclusions {
        fields.element(4, &proto::Exclusion::from(exclusion).encode_to_vec());
    }
    fields.number(5, record.catalog_revision);
    fields.message(6, |fields| fields.version(&record.version));
    fields.number(7, proto::Group::from(record.group) as u64);
    fields.numbers(8, record.flags.iter().map(|&flag| proto::Flag::from(flag) as u64));
    fields.number(9, record.snapshot_age_ms);
    fields.message(10, |fields| write_timestamp(fields, record.decided_at));
    if explain {
        fields.element(11, &explanation::explanation(record, catalog).encode_to_vec());
    }
    if let Some(root) = record.root() {
        fields.bytes(12, root.to_string().as_bytes());
    }
    if let Some(lease_until) = decision.lease_until {
        fields.message(13, |fields| write_timestamp(fields, lease_until));
    }
    fields.bytes(14, disclosure_text_key(record, catalog).as_bytes());
}

/// Which text tells the user that prices are personalised; empty where nothing has to be told.
fn disclosure_text_key<'a>(record: &DecisionRecord, catalog: &'a Catalog) -> &'a str {
    let market = record.market.as_deref().filter(|_| record.flags.contains(&Flag::PersonalisedPrices));
    market.and_then(|market| catalog.markets.get(market)).map_or("", |market| &market.disclosure_text_key)
}

/// A `RankedOffer`; in the tail without a slot.
fn write_offer(fields: &mut Fields<'_>, arm: &EligibleArm, drawn: Option<(u64, &SlotDraw)>, catalog: &Catalog) {
    fields.bytes(1, arm.offer_id.as_bytes());
    if let Some((slot, draw)) = drawn {
        fields.number(2, slot);
        fields.double(3, draw.propensity());
    }
    write_money(fields, 4, Money::from_major_units(catalog.reward_currency, arm.expected_value()));
    if let Some(price) = arm.price {
        write_money(fields, 5, price.price);
        write_money(fields, 6, price.list_price);
    }
    for (key, text) in catalog.offers.get(&arm.offer_id).iter().flat_map(|offer| &offer.display) {
        fields.message(7, |fields| {
            fields.bytes(1, key.as_bytes());
            fields.bytes(2, text.as_bytes());
        });
    }
    fields.double(8, arm.expected_reward);
}

fn write_timestamp(fields: &mut Fields<'_>, at: Instant) {
    let ms = at.as_ms();
    fields.signed(1, ms.div_euclid(1000));
    fields.signed(2, ms.rem_euclid(1000) * 1_000_000);
}

fn write_money(fields: &mut Fields<'_>, tag: u32, money: Money) {
    fields.message(tag, |fields| {
        fields.bytes(1, money.currency.code().as_bytes());
        fields.signed(2, money.amount_minor);
    });
}
