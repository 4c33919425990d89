//! Ledgers and their log records to bytes and back.

use super::{
    DecodeError,
    decision_id::DecisionId,
    record::{Cause, LedgerRecord},
};
use crate::{
    engine::{
        instant::Instant,
        ledger::{Ledger, LedgerState, Outcome, SlotState, Windows},
    },
    proto::{self, fields::Fields},
};
use prost::Message as _;

const ENTRY: &str = "ledger record";
const ROW: &str = "ledger";

/// A ledger as it is stored.
#[must_use]
pub fn encode_ledger(ledger: &Ledger) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut fields = Fields::new(&mut bytes);
    fields.number(1, ledger.sequence.into());
    for (id, outcome) in &ledger.outcomes {
        fields.element(2, &encode_outcome(id, outcome).encode_to_vec());
    }
    let exposed: Vec<u64> = ledger.exposed.iter().flatten().map(|&slot| slot.into()).collect();
    fields.numbers(3, exposed.into_iter());
    fields.truth(4, ledger.exposed.is_some());
    fields.truth(5, ledger.closed);
    ledger.offers.iter().for_each(|offer_id| fields.element(6, offer_id.as_bytes()));
    fields.truth(7, ledger.shown_assumed);
    fields.signed(8, ledger.windows.decided_at.as_ms());
    fields.signed(9, ledger.windows.attribution_ends_at.as_ms());
    fields.signed(10, ledger.windows.closes_at.as_ms());
    fields.signed(11, ledger.windows.revisions_end_at.as_ms());
    fields.truth(12, ledger.holdout);
    bytes
}

/// A ledger from its stored bytes and the offset of its decision.
///
/// # Errors
/// Where the bytes were not written by [`encode_ledger`].
pub fn decode_ledger(bytes: &[u8], decision_offset: u64) -> Result<Ledger, DecodeError> {
    let row = proto::LedgerRow::decode(bytes).map_err(|source| DecodeError::Encoding { what: ROW, source })?;
    Ok(Ledger {
        sequence: row.sequence,
        decision_offset,
        windows: Windows {
            decided_at: Instant::from_ms(row.decided_at_ms),
            attribution_ends_at: Instant::from_ms(row.attribution_ends_at_ms),
            closes_at: Instant::from_ms(row.closes_at_ms),
            revisions_end_at: Instant::from_ms(row.revisions_end_at_ms),
        },
        exposed: row.exposure_reported.then(|| row.exposed_slots.into_iter().collect()),
        outcomes: row
            .outcomes
            .into_iter()
            .map(|outcome| decode_outcome(outcome, row.offer_ids.len(), ROW))
            .collect::<Result<_, _>>()?,
        offers: row.offer_ids.iter().map(|offer_id| offer_id.as_str().into()).collect(),
        shown_assumed: row.shown_assumed,
        closed: row.closed,
        holdout: row.holdout,
    })
}

pub(super) fn encode_ledger_entry(entry: &LedgerRecord) -> proto::LedgerRecord {
    use proto::ledger_record::Cause as Wire;
    let cause = match &entry.cause {
        Cause::Outcome(id, outcome) => Wire::Outcome(encode_outcome(id, outcome)),
        Cause::Exposure(slots) => Wire::Exposure(proto::ExposureRecord { slots: slots.iter().copied().collect() }),
        Cause::Closed => Wire::Closed(proto::ClosedRecord {}),
    };
    proto::LedgerRecord {
        decision_id: entry.decision.as_bytes().to_vec(),
        decision_offset: entry.decision_offset,
        sequence: entry.sequence,
        decided_at_ms: entry.decided_at.as_ms(),
        arrived_at_ms: entry.arrived_at.as_ms(),
        before: Some(encode_state(&entry.before)),
        after: Some(encode_state(&entry.after)),
        cause: Some(cause),
        holdout: entry.holdout,
    }
}

pub(super) fn decode_ledger_entry(entry: proto::LedgerRecord) -> Result<LedgerRecord, DecodeError> {
    use proto::ledger_record::Cause as Wire;
    let missing = |field| DecodeError::Field { what: ENTRY, field };
    let after = decode_state(entry.after.ok_or_else(|| missing("after"))?);
    let cause = match entry.cause.ok_or_else(|| missing("cause"))? {
        Wire::Outcome(outcome) => {
            let (id, outcome) = decode_outcome(outcome, after.slots.len(), ENTRY)?;
            Cause::Outcome(id, outcome)
        }
        Wire::Exposure(exposure) => Cause::Exposure(exposure.slots.into_iter().collect()),
        Wire::Closed(proto::ClosedRecord {}) => Cause::Closed,
    };
    Ok(LedgerRecord {
        decision: DecisionId::from_bytes(&entry.decision_id).map_err(|_| missing("decision_id"))?,
        decision_offset: entry.decision_offset,
        sequence: entry.sequence,
        decided_at: Instant::from_ms(entry.decided_at_ms),
        arrived_at: Instant::from_ms(entry.arrived_at_ms),
        before: decode_state(entry.before.ok_or_else(|| missing("before"))?),
        after,
        cause,
        holdout: entry.holdout,
    })
}

fn encode_state(state: &LedgerState) -> proto::LedgerState {
    let slot = |slot: &SlotState| proto::SlotState {
        offer_id: slot.offer_id.to_string(),
        shown: slot.shown,
        totals: slot.totals.clone(),
    };
    proto::LedgerState {
        slots: state.slots.iter().map(slot).collect(),
        totals: state.totals.clone(),
        closed: state.closed,
    }
}

fn decode_state(state: proto::LedgerState) -> LedgerState {
    let slot =
        |slot: proto::SlotState| SlotState { offer_id: slot.offer_id.into(), shown: slot.shown, totals: slot.totals };
    LedgerState { slots: state.slots.into_iter().map(slot).collect(), totals: state.totals, closed: state.closed }
}

fn encode_outcome(id: &str, outcome: &Outcome) -> proto::OutcomeRecord {
    proto::OutcomeRecord {
        outcome_id: id.to_owned(),
        slot: outcome.slot.unwrap_or(0),
        metric: outcome.metric.clone(),
        reported_value: outcome.reported_value,
        currency: outcome.currency.clone().unwrap_or_default(),
        value: outcome.value,
        rate: outcome.rate,
        occurred_at_ms: outcome.occurred_at.as_ms(),
        occurred_at_reported: outcome.occurred_at_reported,
        revises_outcome_id: outcome.revises.clone().unwrap_or_default(),
    }
}

fn decode_outcome(
    outcome: proto::OutcomeRecord,
    slots: usize,
    what: &'static str,
) -> Result<(String, Outcome), DecodeError> {
    if outcome.slot as usize > slots || !outcome.value.is_finite() {
        return Err(DecodeError::Field { what, field: "outcomes" });
    }
    let some = |text: String| (!text.is_empty()).then_some(text);
    let decoded = Outcome {
        slot: (outcome.slot > 0).then_some(outcome.slot),
        metric: outcome.metric,
        reported_value: outcome.reported_value,
        currency: some(outcome.currency),
        value: outcome.value,
        rate: outcome.rate,
        occurred_at: Instant::from_ms(outcome.occurred_at_ms),
        occurred_at_reported: outcome.occurred_at_reported,
        revises: some(outcome.revises_outcome_id),
    };
    Ok((outcome.outcome_id, decoded))
}
