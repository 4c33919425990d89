//! Exporting logs to an archive, from where the last export ended, and forgetting there whom the store has forgotten.

use super::{
    Result, ServiceError, catalog,
    log_source::{LogSource as _, record_at},
    past_catalogs::PastCatalogs,
};
use crate::{
    engine::ledger::Windows,
    log::{
        archive::{Archive, ArchiveWriter, ArchivedCatalog, Chunk},
        identity::Seals,
        record::{DecisionRecord, LogRecord},
        tables::{Entry, Table},
    },
    store::{LogId, Store, StoredCatalog},
};
use data_encoding::HEXLOWER;
use std::{collections::BTreeMap, sync::Arc};

/// Most records of a chunk unless something else is asked for: files of some megabytes.
pub const CHUNK_RECORDS: usize = 10_000;

/// What is exported, and how.
#[derive(Clone, Copy, Debug)]
pub struct Exporting<'a> {
    /// The placement whose log is exported; `None`: all.
    pub placement: Option<&'a str>,
    /// Most records of a chunk, which is held in memory; at least 1.
    pub chunk_records: usize,
}

/// What an export added to an archive.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ExportReport {
    /// Records added.
    pub records: u64,
    /// One for each log.
    pub logs: Vec<LogExport>,
}

/// What an export added of one log.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LogExport {
    /// Placement id.
    pub placement: String,
    /// Partition index.
    pub partition: u16,
    /// Where it began: the number of records that were archived before.
    pub from: u64,
    /// Where it ended.
    pub to: u64,
    /// Rows by table.
    pub rows: BTreeMap<&'static str, u64>,
}

/// Exports what a store's logs hold and the archive does not; `progress` is told of each chunk's records.
///
/// # Errors
/// Where there is no such placement, where the store is away or has lost what is archived, and where the archive cannot
/// be written. What was exported stands.
pub async fn export(
    store: &dyn Store,
    archive: &mut ArchiveWriter,
    Exporting { placement, chunk_records }: Exporting<'_>,
    mut progress: impl FnMut(u64),
) -> Result<ExportReport> {
    let newest = store.catalog(None).await?.ok_or(ServiceError::NoCatalog)?;
    let wanted = wanted(&newest, placement)?;
    for revision in 1..=newest.revision {
        if let Some(stored) = store.catalog(Some(revision)).await? {
            archive.put_catalog(&archived(&stored)?)?;
        }
    }
    for (number, placement) in &wanted {
        archive.clean(placement, *number)?;
    }
    let mut catalogs = PastCatalogs::of(store);
    let mut report = ExportReport::default();
    for (log, end) in store.log_ends().await? {
        if let Some(placement) = wanted.get(&log.placement) {
            let what = (*placement, chunk_records.max(1));
            let exported = export_log((store, &mut catalogs), archive, what, (log, end), &mut progress).await?;
            report.records += exported.to - exported.from;
            report.logs.push(exported);
        }
    }
    Ok(report)
}

/// Placements to export, by number: also those that have left the catalog, since their logs stay.
fn wanted<'a>(newest: &'a StoredCatalog, placement: Option<&str>) -> Result<BTreeMap<u16, &'a str>> {
    let all = || newest.placement_numbers.iter().map(|(id, number)| (*number, id.as_str()));
    let wanted: BTreeMap<_, _> = all().filter(|(_, id)| placement.is_none_or(|placement| placement == *id)).collect();
    match placement {
        Some(placement) if wanted.is_empty() => Err(ServiceError::PlacementNotFound {
            placement: placement.to_owned(),
            known: all().map(|(_, id)| id).collect::<Vec<_>>().join(", "),
        }),
        _ => Ok(wanted),
    }
}

fn archived(stored: &StoredCatalog) -> Result<ArchivedCatalog> {
    Ok(ArchivedCatalog {
        revision: stored.revision,
        applied_at_ms: stored.applied_at.as_ms(),
        reason: stored.reason.clone(),
        placement_numbers: stored.placement_numbers.clone(),
        catalog: catalog::to_json(stored)?,
        encoded: HEXLOWER.encode(&stored.catalog),
    })
}

async fn export_log(
    (store, catalogs): (&dyn Store, &mut PastCatalogs<'_, dyn Store>),
    archive: &mut ArchiveWriter,
    (placement, chunk_records): (&str, usize),
    (log, end): (LogId, u64),
    progress: &mut impl FnMut(u64),
) -> Result<LogExport> {
    let from = archive.end(log);
    if end < from {
        let reason = format!(
            "the log of placement {placement}, partition {}, has {end} records, and {from} of it are archived: the store \
             has lost some; export into another folder",
            log.partition
        );
        return Err(ServiceError::Inconsistent { reason });
    }
    let rows = Table::ALL.map(|table| (table.name(), 0)).into();
    let mut exported = LogExport { placement: placement.to_owned(), partition: log.partition, from, to: from, rows };
    while exported.to < end {
        let records = read_chunk(store, log, exported.to, end.min(exported.to + chunk_records as u64)).await?;
        let entries = entries(catalogs, exported.to, &records).await?;
        for (_, record) in &records {
            *exported.rows.entry(Table::of(record).name()).or_default() += 1;
        }
        archive.put(Chunk { placement, log, entries: &entries })?;
        exported.to += records.len() as u64;
        progress(records.len() as u64);
    }
    Ok(exported)
}

/// Records, the first of which stands at an offset of its log, as an archive takes them.
async fn entries<'a>(
    catalogs: &mut PastCatalogs<'_, dyn Store>,
    from: u64,
    records: &'a [(Arc<[u8]>, LogRecord)],
) -> Result<Vec<Entry<'a>>> {
    let mut entries = Vec::with_capacity(records.len());
    for (offset, (bytes, record)) in (from..).zip(records) {
        let windows = match record {
            LogRecord::Decision(decision) => {
                let catalog = catalogs.at(decision.catalog_revision).await?;
                let placement = catalog.and_then(|catalog| catalog.placements.get(&decision.placement).cloned());
                placement.map(|placement| Windows::of(placement.windows, decision.decided_at))
            }
            LogRecord::Ledger(_) => None,
        };
        entries.push(Entry { offset, bytes, record, windows });
    }
    Ok(entries)
}

/// What was forgotten in an archive.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ForgetReport {
    /// Decisions that are archived.
    pub decisions: u64,
    /// Those of which the archive does not tell any more whom they were made for.
    pub erased: u64,
}

/// Removes from an archive what it tells of whom decisions were made for, wherever the store cannot tell it any more;
/// `progress` is told of each chunk's records. May be repeated, and finishes what was cut off.
///
/// # Errors
/// Where the store is away, and where the archive cannot be read or written.
pub async fn forget(
    store: &dyn Store,
    (archive, writer): (&Archive, &ArchiveWriter),
    mut progress: impl FnMut(u64),
) -> Result<ForgetReport> {
    let (mut report, mut catalogs) = (ForgetReport::default(), PastCatalogs::of(store));
    for (placement, log, _) in archive.logs() {
        for from in archive.chunks(log) {
            let decode = |(offset, bytes): (u64, Arc<[u8]>)| Ok((bytes.clone(), record_at(log, offset, &bytes)?));
            let read = (from..).zip(archive.read(log, from, usize::MAX)?);
            let mut records: Vec<_> = read.map(decode).collect::<Result<_>>()?;
            open(store, records.iter_mut().map(|(_, record)| record)).await?;
            let decisions = records.iter().filter_map(|(_, record)| match record {
                LogRecord::Decision(decision) => Some(decision),
                LogRecord::Ledger(_) => None,
            });
            let erased = decisions.clone().filter(|decision| decision.identity.is_none()).count() as u64;
            report.decisions += decisions.count() as u64;
            report.erased += erased;
            if erased > 0 {
                let entries = entries(&mut catalogs, from, &records).await?;
                writer.put_decisions_again(Chunk { placement, log, entries: &entries })?;
            }
            progress(records.len() as u64);
        }
    }
    Ok(report)
}

/// The records of a log from one offset to another.
async fn read_chunk(store: &dyn Store, log: LogId, from: u64, to: u64) -> Result<Vec<(Arc<[u8]>, LogRecord)>> {
    let wanted = (to - from) as usize;
    let mut records = Vec::with_capacity(wanted);
    while records.len() < wanted {
        let offset = from + records.len() as u64;
        for (offset, bytes) in (offset..).zip(store.read_before(log, offset, to).await?) {
            let record = record_at(log, offset, &bytes)?;
            records.push((bytes, record));
        }
    }
    open(store, records.iter_mut().map(|(_, record)| record)).await?;
    Ok(records)
}

/// Opens whom decisions were made for, where that can be told.
async fn open(store: &dyn Store, records: impl Iterator<Item = &mut LogRecord>) -> Result<()> {
    let decisions = records.filter_map(|record| match record {
        LogRecord::Decision(decision) => Some(decision),
        LogRecord::Ledger(_) => None,
    });
    open_decisions(store, decisions.collect()).await
}

/// Opens whom these decisions were made for, where that can be told.
pub(super) async fn open_decisions(store: &dyn Store, mut decisions: Vec<&mut Arc<DecisionRecord>>) -> Result<()> {
    let seals = Seals::new(&store.identity().hash_key);
    let keys: Vec<_> = decisions.iter().map(|decision| *decision.id.as_bytes()).collect();
    for (decision, stored) in decisions.iter_mut().zip(store.decisions(&keys).await?) {
        let salt = stored.and_then(|stored| stored.salt);
        **decision = decision.clone().opened(&seals, salt.as_ref())?;
    }
    Ok(())
}
