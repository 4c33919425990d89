//! What logged decisions earned, slot by slot, as far as their log tells.

use super::{
    Result,
    evaluate::{Candidate, RewardBy},
    log_source::{LogSource, record_at},
    past_catalogs::PastCatalogs,
};
use crate::{
    engine::{catalog::Reward, ledger::LedgerState},
    log::record::LogRecord,
    store::LogId,
};
use std::collections::BTreeMap;

/// What one decision earned.
#[derive(Clone, Debug, Default)]
pub(super) struct Earned {
    /// By slot, shown or not.
    pub(super) slots: Box<[f64]>,
    /// Whether its windows have closed.
    pub(super) closed: bool,
}

/// What every decision of a log earned, by offset; `progress` is told of records read.
pub(super) async fn earned<Source: LogSource + ?Sized>(
    (source, catalogs): (&Source, &mut PastCatalogs<'_, Source>),
    candidate: &Candidate,
    (log, end): (LogId, u64),
    progress: &mut impl FnMut(u64),
) -> Result<BTreeMap<u64, Earned>> {
    let mut earned = BTreeMap::new();
    // By the catalog that made a decision, its revision; changes of a ledger do not tell it.
    let mut revisions: BTreeMap<u64, u64> = BTreeMap::new();
    let mut offset = 0;
    while offset < end {
        let records = source.read_before(log, offset, end).await?;
        for bytes in &records {
            let (place, state) = match record_at(log, offset, bytes)? {
                LogRecord::Decision(decision) => {
                    revisions.insert(offset, decision.catalog_revision);
                    (offset, decision.first_state())
                }
                LogRecord::Ledger(change) => (change.decision_offset, change.after),
            };
            let revision = revisions.get(&place).copied().unwrap_or_default();
            let slots = of_slots(catalogs, candidate, revision, &state).await?;
            earned.insert(place, Earned { slots, closed: state.closed });
            offset += 1;
        }
        progress(records.len() as u64);
    }
    Ok(earned)
}

async fn of_slots<Source: LogSource + ?Sized>(
    catalogs: &mut PastCatalogs<'_, Source>,
    candidate: &Candidate,
    revision: u64,
    state: &LedgerState,
) -> Result<Box<[f64]>> {
    let of = |reward: &Reward| (0..state.slots.len()).filter_map(|slot| reward.of_slot(state, slot)).collect();
    Ok(match candidate.reward {
        RewardBy::Candidate => of(&candidate.placement.reward),
        RewardBy::Logged => {
            let catalog = catalogs.at(revision).await?;
            let logged = catalog.as_ref().and_then(|catalog| catalog.placements.get(&candidate.placement.id));
            logged.map(|logged| of(&logged.reward)).unwrap_or_default()
        }
    })
}
