//! Wire types to commands, answers to wire types. Everything a client may send is accepted here and judged by the
//! service, so that all that is wrong with it is said at once.

use crate::{
    engine::{
        catalog::{Catalog, Money, Placement},
        context::AttributeValue,
        decide::{EligibleArm, SlotDraw},
        instant::Instant,
        ledger::LedgerState,
        snapshot::Features,
    },
    log::record::{DecisionRecord, Flag},
    proto::{
        self,
        engine_types::{instant, partition_offsets, timestamp},
    },
    service::{
        contexts,
        feedback::{FeedbackCode, FeedbackResult, Report, Subject},
        outcome_report::OutcomeReport,
        placement::{ArmReport, PlacementReport},
        rank::{Answer, StoredAnswer},
        users::UserFacts,
        validate::{GivenValue, RankCommand},
    },
};
use prost::Message as _;
use prost_types::value::Kind;

/// A Rank as the service takes it.
#[must_use]
pub fn rank_command(request: proto::RankRequest) -> RankCommand {
    // How much is explained changes the answer's looks, not the decision: it is no part of the body. A request that
    // cannot be repeated needs no body.
    let body = if request.request_id.is_empty() {
        Vec::new()
    } else {
        proto::RankRequest { explain: false, ..request.clone() }.encode_to_vec()
    };
    RankCommand {
        placement: request.placement,
        user_id: request.user_id,
        unit_id: request.unit_id,
        attributes: request.attributes.into_iter().map(|(name, value)| (name, given_value(value))).collect(),
        market: request.market,
        platform: request.platform,
        candidates: request.candidate_offer_ids,
        slots: request.slots,
        request_id: request.request_id,
        include_tail: request.include_tail,
        trial_used: request.trial_used,
        current_plan: request.current_plan,
        lapsed_at: request.lapsed_at.map(|at| given_instant(&at)),
        body,
    }
}

fn given_instant(at: &prost_types::Timestamp) -> Result<Instant, String> {
    instant(at).ok_or_else(|| format!("is {} s and {} ns, which is no time", at.seconds, at.nanos))
}

fn given_value(value: prost_types::Value) -> GivenValue {
    match value.kind {
        Some(Kind::NumberValue(number)) => GivenValue::Value(AttributeValue::Number(number)),
        Some(Kind::StringValue(text)) => GivenValue::Value(AttributeValue::Category(text.into())),
        Some(Kind::BoolValue(truth)) => GivenValue::Value(AttributeValue::Boolean(truth)),
        Some(Kind::NullValue(_)) | None => GivenValue::Other("null"),
        Some(Kind::ListValue(_)) => GivenValue::Other("a list"),
        Some(Kind::StructValue(_)) => GivenValue::Other("an object"),
    }
}

/// An answer as the wire has it.
#[must_use]
pub fn rank_response(answer: &Answer, explain: bool) -> proto::RankResponse {
    let Answer { record, catalog } = answer;
    let decision = &record.decision;
    let slot = |(slot, draw): (u32, &SlotDraw)| proto::RankedOffer {
        slot,
        propensity: draw.propensity(),
        ..ranked_offer(decision.drawn(draw), catalog)
    };
    proto::RankResponse {
        decision_id: record.id.to_string(),
        offers: (1..).zip(&decision.slots).map(slot).collect(),
        tail: decision.tail.iter().map(|&arm| ranked_offer(&decision.arms[arm], catalog)).collect(),
        exclusions: decision.exclusions.iter().map(Into::into).collect(),
        catalog_revision: record.catalog_revision,
        posterior_version: Some((&record.version).into()),
        group: proto::Group::Decisioning.into(),
        flags: record.flags.iter().map(|&flag| proto::Flag::from(flag).into()).collect(),
        snapshot_age_ms: record.snapshot_age_ms,
        decided_at: Some(timestamp(record.decided_at)),
        explanation: explain.then(|| explanation(record, catalog)),
        root_decision_id: record.root().map(|root| root.to_string()).unwrap_or_default(),
        lease_until: decision.lease_until.map(timestamp),
        disclosure_text_key: disclosure_text_key(record, catalog),
    }
}

fn disclosure_text_key(record: &DecisionRecord, catalog: &Catalog) -> String {
    let market = record.market.as_deref().filter(|_| record.flags.contains(&Flag::PersonalisedPrices));
    let market = market.and_then(|market| catalog.markets.get(market));
    market.map_or_else(String::new, |market| market.disclosure_text_key.clone())
}

fn ranked_offer(arm: &EligibleArm, catalog: &Catalog) -> proto::RankedOffer {
    let expected_value = Money::from_major_units(catalog.reward_currency, arm.expected_value());
    proto::RankedOffer {
        offer_id: arm.offer_id.to_string(),
        expected_value: Some(expected_value.into()),
        price: arm.price.map(|price| price.price.into()),
        list_price: arm.price.map(|price| price.list_price.into()),
        display: catalog.offers.get(&arm.offer_id).map(|offer| offer.display.clone()).unwrap_or_default(),
        expected_reward: arm.expected_reward,
        slot: 0,
        propensity: 0.0,
    }
}

fn explanation(record: &DecisionRecord, catalog: &Catalog) -> proto::Explanation {
    let features = catalog.placements.get(&record.placement).map(|placement| features(placement, record));
    let decision = &record.decision;
    let slot = |(slot, draw): (u32, &SlotDraw)| proto::SlotExplanation {
        slot,
        uniform: draw.uniform,
        arms: draw
            .arms
            .iter()
            .map(|arm| proto::ArmExplanation {
                offer_id: decision.arms[arm.arm].offer_id.to_string(),
                score: Some(arm.score.into()),
                policy_probability: arm.policy_probability,
                probability: arm.probability,
            })
            .collect(),
    };
    proto::Explanation { features: features.unwrap_or_default(), slots: (1..).zip(&decision.slots).map(slot).collect() }
}

fn features(placement: &Placement, record: &DecisionRecord) -> Vec<proto::Feature> {
    let context = &placement.context;
    let values = if record.decision.neutral_context {
        context.neutral()
    } else {
        contexts::values(context, record).unwrap_or_default()
    };
    let encoded = Features::new(context.encode(&values));
    let feature = |(name, &value)| proto::Feature { name, value };
    context.feature_names().into_iter().zip(encoded.values()).map(feature).collect()
}

/// A stored decision as the wire has it.
#[must_use]
pub fn decision_response(stored: &StoredAnswer) -> proto::GetDecisionResponse {
    let LedgerState { slots, totals, closed } = &stored.state;
    let slot = |(slot, state): (u32, &crate::engine::ledger::SlotState)| proto::SlotTotals {
        slot,
        offer_id: state.offer_id.to_string(),
        shown: state.shown,
        totals: state.totals.clone(),
    };
    proto::GetDecisionResponse {
        decision: Some(rank_response(&stored.answer, true)),
        slots: (1..).zip(slots).map(slot).collect(),
        totals: totals.clone(),
        closed: *closed,
    }
}

/// Facts of a user as the service takes them.
#[must_use]
pub fn user_facts(facts: proto::UserFacts) -> UserFacts {
    let time = |at: Option<prost_types::Timestamp>| {
        at.map(|at| instant(&at).ok_or_else(|| format!("is {} s and {} ns, which is no time", at.seconds, at.nanos)))
            .transpose()
    };
    UserFacts {
        user_id: facts.user_id,
        trial_used_at: time(facts.trial_used_at),
        plan: facts.plan,
        subscribed_at: time(facts.subscribed_at),
        lapsed_at: time(facts.lapsed_at),
    }
}

/// A reported outcome as the service takes it.
#[must_use]
pub fn outcome_report(outcome: proto::Outcome) -> Report {
    let occurred_at = outcome.occurred_at.map(|at| given_instant(&at));
    Report {
        decision_id: outcome.decision_id,
        subject: Subject::Outcome(OutcomeReport {
            outcome_id: outcome.outcome_id,
            offer_id: outcome.offer_id,
            metric: outcome.metric,
            value: outcome.value,
            currency: outcome.currency,
            occurred_at: occurred_at.transpose(),
            revises_outcome_id: outcome.revises_outcome_id,
        }),
    }
}

/// A reported exposure as the service takes it.
#[must_use]
pub fn exposure_report(exposure: proto::Exposure) -> Report {
    Report { decision_id: exposure.decision_id, subject: Subject::Exposure(exposure.slots.into_iter().collect()) }
}

/// A result as the wire has it.
#[must_use]
pub fn feedback_result(result: FeedbackResult) -> proto::FeedbackResult {
    let code = match result.code {
        FeedbackCode::Recorded => proto::FeedbackCode::Recorded,
        FeedbackCode::Revised => proto::FeedbackCode::Revised,
        FeedbackCode::Duplicate => proto::FeedbackCode::Duplicate,
        FeedbackCode::Conflict => proto::FeedbackCode::Conflict,
        FeedbackCode::Late => proto::FeedbackCode::Late,
        FeedbackCode::NotYet => proto::FeedbackCode::NotYet,
        FeedbackCode::UnknownDecision => proto::FeedbackCode::UnknownDecision,
        FeedbackCode::Invalid => proto::FeedbackCode::Invalid,
        FeedbackCode::NotLogged => proto::FeedbackCode::NotLogged,
    };
    proto::FeedbackResult { code: code.into(), message: result.message }
}

/// What a placement has learned, as the wire has it.
#[must_use]
pub fn placement_response(report: PlacementReport) -> proto::GetPlacementResponse {
    let state = if report.stale { proto::PlacementState::Stale } else { proto::PlacementState::Serving };
    let snapshot = &report.served.snapshot;
    proto::GetPlacementResponse {
        placement: snapshot.placement.id.to_string(),
        state: state.into(),
        posterior_version: Some((&snapshot.version).into()),
        log_ends: partition_offsets(&report.log_ends),
        contexts: report.standings.contexts as u32,
        catalog_revision: snapshot.catalog_revision,
        snapshot_age_ms: report.snapshot_age_ms,
        arms: report.standings.arms.iter().map(arm_state).collect(),
    }
}

fn arm_state(arm: &ArmReport) -> proto::ArmState {
    proto::ArmState {
        offer_id: arm.offer_id.to_string(),
        shown: arm.shown,
        outcome_totals: arm.totals.clone(),
        posterior_mean: arm.standing.mean,
        posterior_interval: Some(proto::Interval { lower: arm.standing.lower, upper: arm.standing.upper }),
        probability_of_leading: arm.standing.probability_of_leading,
    }
}
