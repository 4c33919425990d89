//! An outcome in a ledger.

use crate::engine::instant::Instant;

/// An outcome as reported and as counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Slot of its offer, from 1; `None`: the decision as a whole.
    pub slot: Option<u32>,
    /// Metric id.
    pub metric: String,
    /// As reported, finite.
    pub reported_value: f64,
    /// As reported; `None`: not money.
    pub currency: Option<String>,
    /// As counted: money in major units of the reward currency.
    pub value: f64,
    /// What one unit of the reported value was worth in the reward currency; 1 for what is not money.
    pub rate: f64,
    /// When it happened.
    pub occurred_at: Instant,
    /// Whether the client said when; otherwise it is when the first report arrived.
    pub occurred_at_reported: bool,
    /// The outcome it replaces.
    pub revises: Option<String>,
}

impl Outcome {
    /// Whether one may be a revision of the other.
    pub(super) fn is_about_the_same_as(&self, other: &Self) -> bool {
        (self.slot, &self.metric) == (other.slot, &other.metric)
    }

    /// Whether both say the same, as the client reported it.
    pub(super) fn same_report(&self, other: &Self) -> bool {
        let occurred = |outcome: &Self| outcome.occurred_at_reported.then_some(outcome.occurred_at);
        (self.slot, &self.metric, &self.currency, &self.revises, occurred(self))
            == (other.slot, &other.metric, &other.currency, &other.revises, occurred(other))
            && self.reported_value.total_cmp(&other.reported_value).is_eq()
    }
}
