//! What a client reports as an outcome, and what a ledger counts it as.

use super::{Result, Violation, list, validate};
use crate::engine::{
    catalog::{Catalog, MetricKind},
    instant::Instant,
    ledger::{Ledger, Outcome},
};
use std::sync::Arc;

/// Largest size of an outcome's value: sums of [`crate::engine::ledger::OUTCOMES_MAX`] of them and their squares
/// stay far inside what a double holds.
pub const VALUE_MAX: f64 = 1e12;

/// An outcome as a client reported it.
#[derive(Clone, Debug)]
pub struct OutcomeReport {
    /// Chosen by the client.
    pub outcome_id: String,
    /// The offer it belongs to; empty: the decision as a whole.
    pub offer_id: String,
    /// Metric id.
    pub metric: String,
    /// How much.
    pub value: f64,
    /// ISO 4217; empty: not money.
    pub currency: String,
    /// When; `Ok(None)`: now; `Err`: not a time.
    pub occurred_at: Result<Option<Instant>, String>,
    /// The outcome it replaces; empty: none.
    pub revises_outcome_id: String,
}

impl OutcomeReport {
    /// The outcome as the ledger counts it, or everything that is wrong with it. `catalogs`: the decision's own, and
    /// the one that serves.
    pub(super) fn counted(
        &self,
        ledger: &Ledger,
        catalogs: &[Arc<Catalog>; 2],
        now: Instant,
    ) -> Result<Outcome, String> {
        let mut violations = Vec::new();
        let longest = validate::CALLER_ID_BYTES_MAX;
        validate::length("outcome_id", &self.outcome_id, 1, longest, &mut violations);
        validate::length("revises_outcome_id", &self.revises_outcome_id, 0, longest, &mut violations);
        let slot = slot(self, ledger, &mut violations);
        let rate = rate(self, catalogs, &mut violations);
        if !self.value.is_finite() || self.value.abs() > VALUE_MAX {
            let description = format!("is {}, must be a finite number of size up to {VALUE_MAX:e}", self.value);
            violations.push(Violation::new("value", description));
        }
        if let Err(description) = &self.occurred_at {
            violations.push(Violation::new("occurred_at", description.clone()));
        }
        if !violations.is_empty() {
            return Err(list(&violations));
        }
        let occurred_at = self.occurred_at.as_ref().ok().copied().flatten();
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Ok(Outcome {
            slot,
            metric: self.metric.clone(),
            reported_value: self.value,
            currency: some(&self.currency),
            value: self.value * rate,
            rate,
            occurred_at: occurred_at.unwrap_or(now),
            occurred_at_reported: occurred_at.is_some(),
            revises: some(&self.revises_outcome_id),
        })
    }
}

fn slot(report: &OutcomeReport, ledger: &Ledger, violations: &mut Vec<Violation>) -> Option<u32> {
    if report.offer_id.is_empty() {
        return None;
    }
    let slot = ledger.offers.iter().position(|offer_id| **offer_id == *report.offer_id);
    if slot.is_none() {
        let start = validate::start_of(&report.offer_id);
        let slate = ledger.offers.join(", ");
        let description = format!(
            "is {start:?}, must stand in the decision's slate: {slate}; leave it empty to credit the decision as a whole"
        );
        violations.push(Violation::new("offer_id", description));
    }
    slot.map(|slot| slot as u32 + 1)
}

/// What one unit of the reported value counts as. The decision's own catalog decides; a metric that it lacks may
/// have been added since.
fn rate(report: &OutcomeReport, catalogs: &[Arc<Catalog>; 2], violations: &mut Vec<Violation>) -> f64 {
    let known = catalogs.iter().find_map(|catalog| Some((catalog, *catalog.metrics.get(report.metric.as_str())?)));
    let Some((catalog, kind)) = known else {
        let start = validate::start_of(&report.metric);
        let accepted = catalogs[1].metrics.keys().map(|id| &**id).collect::<Vec<_>>().join(", ");
        let description = format!("is {start:?}, must be a metric of the catalog: {accepted}");
        violations.push(Violation::new("metric", description));
        return 1.0;
    };
    let start = validate::start_of(&report.currency);
    match (kind, catalog.rates.get(&report.currency)) {
        (MetricKind::Money, Some(&rate)) => return rate,
        (MetricKind::Money, None) => {
            let accepted = catalog.rates.keys().cloned().collect::<Vec<_>>().join(", ");
            let description = format!("is {start:?}, must be one of: {accepted}; {} is money", report.metric);
            violations.push(Violation::new("currency", description));
        }
        (MetricKind::Count | MetricKind::Number, _) if !report.currency.is_empty() => {
            let description = format!("is {start:?}, must be empty; {} is not money", report.metric);
            violations.push(Violation::new("currency", description));
        }
        (MetricKind::Count, _) if report.value < 0.0 => {
            let description = format!("is {}, must be 0 or more; {} is a count", report.value, report.metric);
            violations.push(Violation::new("value", description));
        }
        (MetricKind::Count | MetricKind::Number, _) => {}
    }
    1.0
}
