//! Repeats: a decision that stands for an earlier one has an id of its own, and everything reported under it belongs to
//! its root, the decision that drew the offers.

use super::{Result, Service, ServiceError, feedback::Subject, outcome_report::OutcomeReport};
use crate::{
    engine::ledger::{Ledger, LedgerState},
    log::{decision_id::DecisionId, ledger_codec::decode_ledger, record::DecisionRecord},
};
use std::{collections::BTreeSet, sync::Arc};

/// The offers of a decision by slot.
fn offers(record: &DecisionRecord) -> impl Iterator<Item = &Arc<str>> {
    record.decision.slots.iter().map(|slot| &record.decision.drawn(slot).offer_id)
}

/// What was reported on a repeat, as its root's ledger takes it: slots are told by their offers, since a repeat may have
/// lost some. `Ok(None)`: it says nothing new. `Err`: what is wrong with it.
pub(super) fn on_root(subject: &Subject, repeat: &DecisionRecord, root: &Ledger) -> Result<Option<Subject>, String> {
    match subject {
        Subject::Exposure(slots) => {
            let mut shown = BTreeSet::new();
            for &slot in slots {
                let offer = (slot as usize).checked_sub(1).and_then(|index| offers(repeat).nth(index));
                let Some(offer) = offer else {
                    let count = repeat.decision.slots.len();
                    return Err(format!("slots: slot {slot} does not exist, the decision has slots 1 to {count}"));
                };
                shown.extend(root.offers.iter().position(|id| id == offer).map(|index| index as u32 + 1));
            }
            // Nobody has said what the root itself showed, so all of it counts as shown: showing it again adds nothing,
            // and not showing it again takes nothing away.
            let adds = root.exposed.is_some() || !root.shown_assumed;
            Ok(adds.then_some(Subject::Exposure(shown)))
        }
        Subject::Outcome(outcome) => {
            let lead = offers(repeat).next();
            let of_whole = outcome.offer_id.is_empty() && lead != root.offers.first();
            let offer_id = match lead {
                Some(lead) if of_whole => lead.to_string(),
                _ => outcome.offer_id.clone(),
            };
            Ok(Some(Subject::Outcome(OutcomeReport { offer_id, ..outcome.clone() })))
        }
    }
}

impl Service {
    /// What has been reported on a repeat, which is what has been reported on its root, by the repeat's own slots.
    pub(super) async fn state_of_root(&self, root: DecisionId, repeat: &DecisionRecord) -> Result<LedgerState> {
        let stored = self.store.decisions(&[*root.as_bytes()]).await?.pop().flatten();
        let stored = stored.ok_or_else(|| ServiceError::Inconsistent {
            reason: format!("decision {} stands for decision {root}, which is not stored", repeat.id),
        })?;
        let state = decode_ledger(&stored.ledger, stored.offset)?.state();
        let of = |offer: &Arc<str>| state.slots.iter().find(|slot| slot.offer_id == *offer).cloned();
        Ok(LedgerState { slots: offers(repeat).filter_map(of).collect(), ..state })
    }
}
