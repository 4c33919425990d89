//! What a ledger adds up to: all that learning sees of it.

use std::{collections::BTreeMap, sync::Arc};

/// What a ledger adds up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerState {
    /// By slot.
    pub slots: Vec<SlotState>,
    /// Totals by metric of outcomes on the decision as a whole.
    pub totals: BTreeMap<String, f64>,
    /// Whether attribution window and grace are over.
    pub closed: bool,
}

/// What one slot adds up to.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotState {
    /// The offer in it.
    pub offer_id: Arc<str>,
    /// Whether it counts as shown.
    pub shown: bool,
    /// Outcome totals by metric.
    pub totals: BTreeMap<String, f64>,
}

impl LedgerState {
    /// Of the offers in a decision's slots, before anything is reported on it.
    #[must_use]
    pub fn first(offers: impl Iterator<Item = Arc<str>>, shown: bool) -> Self {
        let slots = offers.map(|offer_id| SlotState { offer_id, shown, totals: BTreeMap::new() }).collect();
        Self { slots, ..Self::default() }
    }
}
