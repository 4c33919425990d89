//! Rows of the tables of what was reported on decisions, and of windows that closed.

use super::{Entry, Hex};
use crate::{
    engine::ledger::{Outcome, SlotState},
    log::record::LedgerRecord,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A change of a decision's ledger, with what it adds up to after it.
#[derive(Debug, Serialize)]
pub struct LedgerRow<'a, Columns> {
    offset: u64,
    partition: u16,
    decision_id: String,
    decision_offset: u64,
    sequence: u32,
    decided_at_ms: i64,
    arrived_at_ms: i64,
    #[serde(flatten)]
    columns: Columns,
    closed_after: bool,
    slots_after: Vec<SlotCell<'a>>,
    totals_after: Vec<TotalCell<'a>>,
    record: Hex<'a>,
}

/// An outcome.
#[derive(Debug, Serialize)]
pub struct OutcomeColumns<'a> {
    outcome_id: &'a str,
    slot: Option<u32>,
    offer_id: Option<&'a str>,
    metric: &'a str,
    reported_value: f64,
    currency: Option<&'a str>,
    value: f64,
    rate: f64,
    occurred_at_ms: i64,
    occurred_at_reported: bool,
    revises_outcome_id: Option<&'a str>,
}

/// Which slots were shown.
#[derive(Debug, Serialize)]
pub struct ExposureColumns {
    /// From 1.
    pub exposed_slots: Vec<u32>,
}

/// Windows that closed: there is nothing more to say.
#[derive(Debug, Serialize)]
pub struct ClosingColumns {}

#[derive(Debug, Serialize)]
struct SlotCell<'a> {
    slot: u32,
    offer_id: &'a str,
    shown: bool,
    totals: Vec<TotalCell<'a>>,
}

#[derive(Debug, Serialize)]
struct TotalCell<'a> {
    metric: &'a str,
    value: f64,
}

impl<'a, Columns> LedgerRow<'a, Columns> {
    pub(super) fn of(entry: &Entry<'a>, change: &'a LedgerRecord, columns: Columns) -> Self {
        let slot = |(slot, state): (u32, &'a SlotState)| SlotCell {
            slot,
            offer_id: &state.offer_id,
            shown: state.shown,
            totals: totals(&state.totals),
        };
        Self {
            offset: entry.offset,
            partition: change.decision.log().partition,
            decision_id: change.decision.to_string(),
            decision_offset: change.decision_offset,
            sequence: change.sequence,
            decided_at_ms: change.decided_at.as_ms(),
            arrived_at_ms: change.arrived_at.as_ms(),
            columns,
            closed_after: change.after.closed,
            slots_after: (1..).zip(&change.after.slots).map(slot).collect(),
            totals_after: totals(&change.after.totals),
            record: Hex(entry.bytes),
        }
    }
}

impl<'a> OutcomeColumns<'a> {
    pub(super) fn of(outcome_id: &'a str, outcome: &'a Outcome, offer_id: Option<&'a str>) -> Self {
        Self {
            outcome_id,
            slot: outcome.slot,
            offer_id,
            metric: &outcome.metric,
            reported_value: outcome.reported_value,
            currency: outcome.currency.as_deref(),
            value: outcome.value,
            rate: outcome.rate,
            occurred_at_ms: outcome.occurred_at.as_ms(),
            occurred_at_reported: outcome.occurred_at_reported,
            revises_outcome_id: outcome.revises.as_deref(),
        }
    }
}

fn totals(totals: &BTreeMap<String, f64>) -> Vec<TotalCell<'_>> {
    totals.iter().map(|(metric, &value)| TotalCell { metric, value }).collect()
}
