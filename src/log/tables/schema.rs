//! The columns of the tables, as Arrow describes them. Numbers are signed, since few tools know others.

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use std::sync::Arc;

const INTEGER: DataType = DataType::Int64;
const SMALL: DataType = DataType::Int32;
const NUMBER: DataType = DataType::Float64;
const TEXT: DataType = DataType::Utf8;
const TRUTH: DataType = DataType::Boolean;
const BYTES: DataType = DataType::Binary;

fn column(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

/// A column that may have nothing in a row.
fn optional(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

fn list(name: &str, kind: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("element", kind, false))), false)
}

fn structure(fields: Vec<Field>) -> DataType {
    DataType::Struct(Fields::from(fields))
}

/// The columns of decisions.
pub(super) fn decisions() -> SchemaRef {
    let mut columns = identity();
    columns.extend(circumstances());
    columns.extend(decided());
    columns.push(optional("identity", BYTES));
    columns.push(column("record", BYTES));
    Arc::new(Schema::new(columns))
}

fn identity() -> Vec<Field> {
    vec![
        column("offset", INTEGER),
        column("partition", SMALL),
        column("decision_id", TEXT),
        optional("root_decision_id", TEXT),
        column("decided_at_ms", INTEGER),
        optional("attribution_ends_at_ms", INTEGER),
        optional("closes_at_ms", INTEGER),
        optional("revisions_end_at_ms", INTEGER),
        optional("lease_until_ms", INTEGER),
        column("catalog_revision", INTEGER),
        column("engine_version", SMALL),
        column("model_id", TEXT),
        list("posterior_offsets", INTEGER),
        column("snapshot_age_ms", INTEGER),
        column("seed", TEXT),
        optional("user_key", TEXT),
        optional("unit_key", TEXT),
    ]
}

fn circumstances() -> Vec<Field> {
    let attribute =
        vec![column("name", TEXT), optional("number", NUMBER), optional("category", TEXT), optional("boolean", TRUTH)];
    vec![
        optional("market", TEXT),
        column("platform", TEXT),
        list("attributes", structure(attribute)),
        optional("trial_used", TRUTH),
        optional("current_plan", TEXT),
        optional("lapsed_at_ms", INTEGER),
        list("candidates", TEXT),
        column("slots_requested", SMALL),
        column("include_tail", TRUTH),
        column("shown_assumed", TRUTH),
    ]
}

fn decided() -> Vec<Field> {
    let set = vec![column("id", TEXT), column("min", NUMBER), column("max", NUMBER), column("every_slot", TRUTH)];
    let band = ["rate", "delta", "before", "after"].map(|name| column(name, NUMBER));
    let band = [column("id", TEXT)].into_iter().chain(band).collect();
    let arm = vec![
        column("offer_id", TEXT),
        column("ends_slate", TRUTH),
        column("floor", NUMBER),
        column("cap", NUMBER),
        list("sets", TEXT),
        column("exclusion_group", SMALL),
        optional("currency", TEXT),
        optional("amount_minor", INTEGER),
        optional("list_amount_minor", INTEGER),
        column("expected_reward", NUMBER),
        column("worth", NUMBER),
    ];
    let exclusion = vec![column("offer_id", TEXT), column("reason", TEXT), optional("rule_id", TEXT)];
    let slot_arm = vec![
        column("offer_id", TEXT),
        column("score_kind", TEXT),
        optional("alpha", NUMBER),
        optional("beta", NUMBER),
        optional("degrees_of_freedom", NUMBER),
        optional("location", NUMBER),
        column("scale", NUMBER),
        column("policy_probability", NUMBER),
        column("probability", NUMBER),
    ];
    let slot = vec![
        column("slot", SMALL),
        column("offer_id", TEXT),
        column("propensity", NUMBER),
        column("uniform", NUMBER),
        list("relaxed", TEXT),
        column("relaxed_caps", TRUTH),
        list("arms", structure(slot_arm)),
    ];
    vec![
        column("personalised", TRUTH),
        column("neutral_context", TRUTH),
        list("flags", TEXT),
        column("group", TEXT),
        list("cohorts", structure(vec![column("attribute", TEXT), column("value_key", TEXT)])),
        list("sets", structure(set)),
        list("bands", structure(band)),
        list("arms", structure(arm)),
        list("exclusions", structure(exclusion)),
        list("slots", structure(slot)),
        list("tail", TEXT),
    ]
}

/// The columns of outcomes.
pub(super) fn outcomes() -> SchemaRef {
    ledgers(vec![
        column("outcome_id", TEXT),
        optional("slot", SMALL),
        optional("offer_id", TEXT),
        column("metric", TEXT),
        column("reported_value", NUMBER),
        optional("currency", TEXT),
        column("value", NUMBER),
        column("rate", NUMBER),
        column("occurred_at_ms", INTEGER),
        column("occurred_at_reported", TRUTH),
        optional("revises_outcome_id", TEXT),
    ])
}

/// The columns of exposures.
pub(super) fn exposures() -> SchemaRef {
    ledgers(vec![list("exposed_slots", SMALL)])
}

/// The columns of closings.
pub(super) fn closings() -> SchemaRef {
    ledgers(Vec::new())
}

fn ledgers(cause: Vec<Field>) -> SchemaRef {
    let total = || structure(vec![column("metric", TEXT), column("value", NUMBER)]);
    let slot = vec![column("slot", SMALL), column("offer_id", TEXT), column("shown", TRUTH), list("totals", total())];
    let mut columns = vec![
        column("offset", INTEGER),
        column("partition", SMALL),
        column("decision_id", TEXT),
        column("decision_offset", INTEGER),
        column("sequence", SMALL),
        column("decided_at_ms", INTEGER),
        column("arrived_at_ms", INTEGER),
    ];
    columns.extend(cause);
    columns.extend([
        column("closed_after", TRUTH),
        list("slots_after", structure(slot)),
        list("totals_after", total()),
        column("record", BYTES),
    ]);
    Arc::new(Schema::new(columns))
}
