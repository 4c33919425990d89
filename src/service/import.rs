//! Importing an archive into an empty store: the same log, offset by offset, with its ledgers; and what it teaches is
//! learned from it again.
//!
//! Statistics are not archived: they are a fold of the log, and folding it gives the same bits. Nor is what is kept of
//! units, requests and users, and the key that ids are hashed with never leaves its store: an imported store is for
//! looking back, and serves users whom it does not recognise.

use super::{
    Result, ServiceError,
    assembly::{Learning, Revision},
    log_source::{LogSource as _, record_at},
    past_catalogs::PastCatalogs,
};
use crate::{
    clock::Clock,
    engine::ledger::{Ledger, Windows},
    log::{
        archive::Archive,
        decision_id::DecisionId,
        ledger_codec::{decode_ledger, encode_ledger},
        record::{DecisionRecord, LedgerRecord, LogRecord},
    },
    store::{AdvanceOutcome, AppendOutcome, DecisionAppend, LedgerAdvance, LogId, Store},
};
use std::{collections::BTreeMap, sync::Arc};

/// Records written at a time.
const BATCH: usize = 1000;

/// What was imported.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ImportReport {
    /// Catalog revisions.
    pub revisions: u64,
    /// Records of all logs.
    pub records: u64,
    /// Logs that have records.
    pub logs: usize,
}

/// Imports an archive into a store that is empty, and learns what it teaches; `progress` is told of each batch of
/// records.
///
/// # Errors
/// Where the archive cannot be read or is not whole, and where the store is not empty or refuses.
pub async fn import(
    archive: &Archive,
    store: &Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    mut progress: impl FnMut(u64),
) -> Result<ImportReport> {
    let revisions = import_catalogs(archive, &**store).await?;
    let mut catalogs = PastCatalogs::of(archive);
    let mut report = ImportReport { revisions, ..ImportReport::default() };
    for (log, end) in archive.log_ends().await? {
        let mut offset = 0;
        while offset < end {
            let records = archive.read(log, offset, BATCH)?;
            let batch = Batch { archive: &mut catalogs, store: &**store, log, offset };
            batch.import(&records).await?;
            offset += records.len() as u64;
            progress(records.len() as u64);
        }
        report.records += end;
        report.logs += 1;
    }
    let newest = store.catalog(None).await?.ok_or(ServiceError::NoCatalog)?;
    Learning::new(clock).assembly(&**store, None, true).build(Revision::decode(newest)?).await?;
    Ok(report)
}

async fn import_catalogs(archive: &Archive, store: &dyn Store) -> Result<u64> {
    let newest = archive.newest_revision()?;
    if newest == 0 {
        return Err(ServiceError::NoCatalog);
    }
    for revision in 1..=newest {
        let missing = || ServiceError::Inconsistent { reason: format!("catalog revision {revision} is not archived") };
        let catalog = archive.catalog(Some(revision)).await?.ok_or_else(missing)?;
        if !store.append_catalog(catalog).await? {
            let reason = "the store has catalogs already; import into one that is not there yet".to_owned();
            return Err(ServiceError::Inconsistent { reason });
        }
    }
    Ok(newest)
}

/// Records that stand in a log from `offset` on.
struct Batch<'a, 'b> {
    archive: &'a mut PastCatalogs<'b, Archive>,
    store: &'a dyn Store,
    log: LogId,
    offset: u64,
}

impl Batch<'_, '_> {
    async fn import(mut self, records: &[Arc<[u8]>]) -> Result<()> {
        let decoded = (self.offset..).zip(records).map(|(offset, bytes)| record_at(self.log, offset, bytes));
        let decoded = decoded.collect::<Result<Vec<LogRecord>>>()?;
        let mut ledgers = self.ledgers(&decoded).await?;
        let mut runs: Vec<Run> = Vec::new();
        for (offset, (bytes, record)) in (self.offset..).zip(records.iter().zip(&decoded)) {
            match record {
                LogRecord::Decision(decision) => {
                    let append = self.first(&mut ledgers, (offset, bytes), decision).await?;
                    match runs.last_mut() {
                        Some(Run::Decisions(run)) => run.push(append),
                        _ => runs.push(Run::Decisions(vec![append])),
                    }
                }
                LogRecord::Ledger(change) => {
                    let advance = self.next(&mut ledgers, (offset, bytes), change)?;
                    match runs.last_mut() {
                        Some(Run::Ledgers(run)) => run.push(advance),
                        _ => runs.push(Run::Ledgers(vec![advance])),
                    }
                }
            }
        }
        for run in runs {
            run.write(self.store).await?;
        }
        self.compare(records).await
    }

    /// Whether the records stand in the store where they stand in the archive.
    async fn compare(&self, records: &[Arc<[u8]>]) -> Result<()> {
        let mut offset = self.offset;
        while let Some(rest) = records.get((offset - self.offset) as usize..).filter(|rest| !rest.is_empty()) {
            let stored = self.store.read_log(self.log, offset, rest.len()).await?;
            let moved = stored.iter().zip(rest).position(|(stored, record)| stored != record);
            if let Some(moved) = moved.or(stored.is_empty().then_some(0)) {
                return Err(self.inconsistent(offset + moved as u64, "was not stored where it stands in the archive"));
            }
            offset += stored.len() as u64;
        }
        Ok(())
    }

    /// The ledgers that records change whose decisions stand further up.
    async fn ledgers(&self, records: &[LogRecord]) -> Result<BTreeMap<DecisionId, Ledger>> {
        let here = |change: &LedgerRecord| change.decision_offset >= self.offset;
        let above = |record: &LogRecord| match record {
            LogRecord::Ledger(change) if !here(change) => Some(change.decision),
            LogRecord::Ledger(_) | LogRecord::Decision(_) => None,
        };
        let mut ids: Vec<DecisionId> = records.iter().filter_map(above).collect();
        ids.sort_unstable();
        ids.dedup();
        let keys: Vec<_> = ids.iter().map(|id| *id.as_bytes()).collect();
        let mut ledgers = BTreeMap::new();
        for (id, stored) in ids.into_iter().zip(self.store.decisions(&keys).await?) {
            if let Some(stored) = stored {
                ledgers.insert(id, decode_ledger(&stored.ledger, stored.offset)?);
            }
        }
        Ok(ledgers)
    }

    async fn first(
        &mut self,
        ledgers: &mut BTreeMap<DecisionId, Ledger>,
        (offset, bytes): (u64, &[u8]),
        decision: &DecisionRecord,
    ) -> Result<DecisionAppend> {
        let catalog = self.archive.at(decision.catalog_revision).await?;
        let placement = catalog.as_ref().and_then(|catalog| catalog.placements.get(&decision.placement));
        let placement = placement.ok_or_else(|| {
            let what = format!("was decided by catalog revision {}, which is not there", decision.catalog_revision);
            self.inconsistent(offset, &what)
        })?;
        let windows = Windows::of(placement.windows, decision.decided_at);
        let ledger = decision.first_ledger(offset, windows);
        let encoded = encode_ledger(&ledger);
        ledgers.insert(decision.id, ledger);
        Ok(DecisionAppend {
            log: self.log,
            decision: *decision.id.as_bytes(),
            record: bytes.to_vec(),
            ledger: encoded,
            closes_at: windows.closes_at,
            request: None,
            document: None,
            // Without its store's key nothing that is sealed can be opened.
            salt: None,
        })
    }

    fn next(
        &self,
        ledgers: &mut BTreeMap<DecisionId, Ledger>,
        (offset, bytes): (u64, &[u8]),
        change: &LedgerRecord,
    ) -> Result<LedgerAdvance> {
        let ledger = ledgers.get_mut(&change.decision);
        let ledger = ledger.ok_or_else(|| self.inconsistent(offset, "changes a decision that is not above it"))?;
        let from_sequence = ledger.sequence;
        change.cause.apply(ledger);
        if ledger.sequence != change.sequence || ledger.state() != change.after {
            return Err(self.inconsistent(offset, "does not continue the ledger of its decision"));
        }
        Ok(LedgerAdvance {
            log: self.log,
            decision: *change.decision.as_bytes(),
            from_sequence,
            ledger: encode_ledger(ledger),
            records: vec![bytes.to_vec()],
            closed: ledger.closed,
        })
    }

    fn inconsistent(&self, offset: u64, what: &str) -> ServiceError {
        let LogId { placement, partition } = self.log;
        let reason =
            format!("offset {offset} of the log of placement number {placement}, partition {partition}, {what}");
        ServiceError::Inconsistent { reason }
    }
}

/// Records of one kind in a row, which a store takes in one call and keeps in this order.
enum Run {
    Decisions(Vec<DecisionAppend>),
    Ledgers(Vec<LedgerAdvance>),
}

impl Run {
    async fn write(self, store: &dyn Store) -> Result<()> {
        let refused = |what: String| Err(ServiceError::Inconsistent { reason: what });
        match self {
            Self::Decisions(appends) => {
                for outcome in store.append_decisions(appends.into()).await {
                    match outcome? {
                        AppendOutcome::Appended { .. } => {}
                        other => return refused(format!("a decision was not appended: {other:?}")),
                    }
                }
            }
            Self::Ledgers(advances) => {
                let outcomes = store.advance_ledgers(advances).await?;
                if outcomes.iter().any(|outcome| *outcome != AdvanceOutcome::Advanced) {
                    return refused("a ledger did not take its change".to_owned());
                }
            }
        }
        Ok(())
    }
}
