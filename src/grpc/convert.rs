//! Wire types to commands, answers to wire types. Everything a client may send is accepted here and judged by the
//! service, so that all that is wrong with it is said at once.

use super::rank_answer;
use crate::{
    engine::{catalog::Period, instant::Instant, ledger::LedgerState},
    proto::{
        self,
        engine_types::{instant, partition_offsets},
    },
    service::{
        ServiceError, Violation,
        feedback::{FeedbackCode, FeedbackResult, Report, Subject},
        outcome_report::OutcomeReport,
        placement::{ArmReport, PlacementReport},
        rank::StoredAnswer,
        users::UserFacts,
    },
};

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
        decision: Some(rank_answer::response(&stored.answer, false)),
        slots: (1..).zip(slots).map(slot).collect(),
        totals: totals.clone(),
        closed: *closed,
    }
}

/// A stored decision, explained.
#[must_use]
pub fn explained_decision(stored: &StoredAnswer) -> proto::ExplainDecisionResponse {
    proto::ExplainDecisionResponse { decision: Some(rank_answer::response(&stored.answer, true)) }
}

/// Facts of a user as the service takes them.
#[must_use]
pub fn user_facts(facts: proto::UserFacts) -> UserFacts {
    let time = |at: Option<prost_types::Timestamp>| at.map(|at| given_instant(&at)).transpose();
    UserFacts {
        user_id: facts.user_id,
        trial_used_at: time(facts.trial_used_at),
        plan: facts.plan,
        subscribed_at: time(facts.subscribed_at),
        lapsed_at: time(facts.lapsed_at),
    }
}

/// An instant as a client gave it, or what is wrong with it.
pub(super) fn given_instant(at: &prost_types::Timestamp) -> Result<Instant, String> {
    instant(at).ok_or_else(|| format!("is {} s and {} ns, which is no time", at.seconds, at.nanos))
}

/// A period that a client gave.
///
/// # Errors
/// Where an end of it is no time.
pub fn given_period(
    since: Option<prost_types::Timestamp>,
    until: Option<prost_types::Timestamp>,
) -> Result<Period, ServiceError> {
    let mut violations = Vec::new();
    let mut given = |field, at: Option<prost_types::Timestamp>| {
        let given = given_instant(&at?);
        given.map_err(|description| violations.push(Violation::new(field, description))).ok()
    };
    let period = Period { starts_at: given("since", since), ends_at: given("until", until) };
    if violations.is_empty() { Ok(period) } else { Err(ServiceError::Invalid { violations }) }
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
