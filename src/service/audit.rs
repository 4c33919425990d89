//! The audit: recomputes statistics from the log and compares them bit for bit, and follows every decision's ledger
//! from one log record to the next.
//!
//! It reads a store and changes nothing, so it runs beside a serving process. A store need not stand still: statistics
//! are compared at the offset that is stored with them, and where a ledger has gone on since the log was read, the log
//! is read on, which holds every change of a ledger as soon as the ledger does.

use super::{Result, ServiceError, catalog::decode, contexts::Lessons, log_source::record_at, rank::decode_decision};
use crate::{
    catalog::model_id,
    engine::{
        catalog::Placement,
        learn::PartitionStatistics,
        ledger::{Ledger, LedgerState, Windows},
    },
    log::{
        decision_id::DecisionId, identity::Seals, ledger_codec::decode_ledger, outline::LogOutline, record::LogRecord,
        statistics_codec,
    },
    store::{LogId, Store, StoredDecision, StoredStatistics},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Records read at a time.
const BATCH: usize = 1000;
/// Decisions whose ledgers are compared at a time.
const LEDGERS: usize = 200;

/// What an audit found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AuditReport {
    /// Whether everything is as it must be.
    pub equal: bool,
    /// One for each partition of each placement.
    pub partitions: Vec<PartitionAudit>,
}

/// What an audit found in one partition of one placement's log.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PartitionAudit {
    /// Placement id.
    pub placement: String,
    /// Partition index.
    pub partition: u16,
    /// The model whose statistics were recomputed; `None` where the placement has left the catalog, so that only its
    /// ledgers were followed.
    pub model_id: Option<String>,
    /// Records of the log that were read.
    pub records: u64,
    /// Records that the stored statistics cover.
    pub folded: u64,
    /// Decisions in the log.
    pub decisions: u64,
    /// Changes of ledgers in the log.
    pub ledger_changes: u64,
    /// Decisions of which can be told no more whom they were made for.
    pub erased: u64,
    /// Everything that is not as it must be; empty: all is.
    pub differences: Vec<String>,
}

/// Every decision after the records read so far, by what caused each change.
type Followed = BTreeMap<DecisionId, FollowedLedger>;

/// A ledger, and what it adds up to: the one is the other's cause, but costs time to add up.
struct FollowedLedger {
    ledger: Ledger,
    state: LedgerState,
}

/// Audits every log, with the models of the newest catalog; `progress` is told of each batch of records read.
///
/// # Errors
/// Where the store is away or holds what does not decode.
pub async fn audit(store: &dyn Store, mut progress: impl FnMut(u64) + Send) -> Result<AuditReport> {
    let stored = store.catalog(None).await?.ok_or(ServiceError::NoCatalog)?;
    let (_, engine) = decode(&stored)?;
    let numbers: BTreeMap<u16, &str> =
        stored.placement_numbers.iter().map(|(id, number)| (*number, id.as_str())).collect();
    let mut partitions = Vec::new();
    for (log, end) in store.log_ends().await? {
        let id = numbers.get(&log.placement).copied().unwrap_or("(unknown)");
        let placement = engine.placements.get(id);
        let model = placement.map(|placement| (&**placement, model_id(placement, engine.reward_currency)));
        partitions.push(audit_partition(store, (id, model), (log, end), &mut progress).await?);
    }
    Ok(AuditReport { equal: partitions.iter().all(|partition| partition.differences.is_empty()), partitions })
}

async fn audit_partition(
    store: &dyn Store,
    (id, model): (&str, Option<(&Placement, String)>),
    (log, end): (LogId, u64),
    progress: &mut (impl FnMut(u64) + Send),
) -> Result<PartitionAudit> {
    let committed = match &model {
        Some((_, model_id)) => store.statistics(model_id, log).await?,
        None => StoredStatistics::default(),
    };
    let mut audit = PartitionAudit {
        placement: id.to_owned(),
        partition: log.partition,
        model_id: model.as_ref().map(|(_, model_id)| model_id.clone()),
        records: end,
        folded: committed.offset,
        decisions: 0,
        ledger_changes: 0,
        erased: 0,
        differences: Vec::new(),
    };
    let mut recomputed = PartitionStatistics::default();
    let mut followed = Followed::new();
    let mut offset = 0;
    // The statistics were read after the end, and may have been committed after it too.
    while offset < end.max(committed.offset) {
        let records = store.read_log(log, offset, BATCH).await?;
        if records.is_empty() {
            break;
        }
        if let Some((placement, _)) = &model {
            let folded = records.len().min(committed.offset.saturating_sub(offset) as usize);
            let outlines = LogOutline::decode_all(&records[..folded])?;
            Lessons::of(store, placement, (log, offset), &outlines).await?.fold(&mut recomputed);
        }
        for bytes in &records {
            follow(&mut followed, &record_at(log, offset, bytes)?, offset, &mut audit);
            offset += 1;
        }
        progress(records.len() as u64);
    }
    if offset < end {
        audit.differences.push(format!("the log has no record at offset {offset} of {end}"));
    }
    if committed.offset > offset {
        let difference = format!("statistics cover {} records, the log has {offset}", committed.offset);
        audit.differences.push(difference);
    }
    if let Some((placement, _)) = model {
        let committed = statistics_codec::decode(&committed, placement.feature_count())?;
        compare(&recomputed, &committed, &mut audit.differences);
    }
    audit.records = offset;
    compare_ledgers(store, log, &mut followed, &mut audit).await?;
    Ok(audit)
}

/// Reads the log on from where it was read to, and follows its ledgers.
async fn read_on(store: &dyn Store, log: LogId, followed: &mut Followed, audit: &mut PartitionAudit) -> Result<()> {
    loop {
        let records = store.read_log(log, audit.records, BATCH).await?;
        if records.is_empty() {
            return Ok(());
        }
        for bytes in &records {
            let offset = audit.records;
            follow(followed, &record_at(log, offset, bytes)?, offset, audit);
            audit.records += 1;
        }
    }
}

/// Every change of a ledger must start where the one before it ended, and end where its cause leads.
fn follow(followed: &mut Followed, record: &LogRecord, offset: u64, audit: &mut PartitionAudit) {
    match record {
        LogRecord::Decision(decision) => {
            audit.decisions += 1;
            // Windows decide what is accepted, not what it adds up to; they are told by the stored ledger alone.
            let now = decision.decided_at;
            let windows = Windows { decided_at: now, attribution_ends_at: now, closes_at: now, revisions_end_at: now };
            let ledger = decision.first_ledger(offset, windows);
            let state = ledger.state();
            if followed.insert(decision.id, FollowedLedger { ledger, state }).is_some() {
                audit
                    .differences
                    .push(format!("decision {} stands in the log twice, again at offset {offset}", decision.id));
            }
        }
        LogRecord::Ledger(entry) => {
            audit.ledger_changes += 1;
            let id = entry.decision;
            let Some(FollowedLedger { ledger, state }) = followed.get_mut(&id) else {
                audit
                    .differences
                    .push(format!("offset {offset} changes decision {id}, which is not in the log before it"));
                return;
            };
            entry.cause.apply(ledger);
            let before = std::mem::replace(state, ledger.state());
            let expected = ledger.sequence;
            if entry.sequence != expected || entry.before != before {
                let difference = format!(
                    "offset {offset} is change {} of decision {id} and does not continue change {expected}",
                    entry.sequence
                );
                audit.differences.push(difference);
            }
            if entry.after != *state {
                let difference = format!("offset {offset} changes decision {id} to what its cause does not lead to");
                audit.differences.push(difference);
            }
        }
    }
}

fn compare(recomputed: &PartitionStatistics, committed: &PartitionStatistics, differences: &mut Vec<String>) {
    if recomputed.latest_decided_at != committed.latest_decided_at {
        differences.push("the latest decision time of the statistics is not the log's".to_owned());
    }
    for band in differing(&recomputed.bands, &committed.bands, |one, other| one == other) {
        differences.push(format!("statistics of band {band} are not those of the log"));
    }
    let same_bits = |one: &_, other: &_| statistics_codec::encode_arm(one) == statistics_codec::encode_arm(other);
    for offer_id in differing(&recomputed.arms, &committed.arms, same_bits) {
        differences.push(format!("statistics of {offer_id} are not those of the log"));
    }
}

/// The ids that one of two maps lacks or that do not lead to the same: those of the first map, then those that only the
/// second has.
fn differing<'a, V>(
    one: &'a BTreeMap<Arc<str>, V>,
    other: &'a BTreeMap<Arc<str>, V>,
    same: impl Fn(&V, &V) -> bool,
) -> impl Iterator<Item = &'a Arc<str>> {
    let changed = one.iter().filter(move |(id, value)| !other.get(*id).is_some_and(|found| same(value, found)));
    changed.map(|(id, _)| id).chain(other.keys().filter(|id| !one.contains_key(*id)))
}

async fn compare_ledgers(
    store: &dyn Store,
    log: LogId,
    followed: &mut Followed,
    audit: &mut PartitionAudit,
) -> Result<()> {
    let seals = Seals::new(&store.identity().hash_key);
    let mut erased = BTreeSet::new();
    let mut open: Vec<DecisionId> = followed.keys().copied().collect();
    while !open.is_empty() {
        let mut differing = Vec::new();
        for ids in open.chunks(LEDGERS) {
            let keys: Vec<_> = ids.iter().map(|id| *id.as_bytes()).collect();
            for (id, stored) in ids.iter().zip(store.decisions(&keys).await?) {
                if stored.as_ref().is_some_and(|stored| stored.salt.is_none()) {
                    erased.insert(*id);
                }
                if let Some(difference) = difference(*id, stored, &followed[id].ledger, (log, &seals))? {
                    differing.push((*id, followed[id].ledger.sequence, difference));
                }
            }
        }
        if differing.is_empty() {
            break;
        }
        // Whatever a ledger was read with stands in the log by now: where that adds nothing, the difference is real.
        read_on(store, log, followed, audit).await?;
        open.clear();
        for (id, sequence, difference) in differing {
            if followed[&id].ledger.sequence == sequence { audit.differences.push(difference) } else { open.push(id) }
        }
    }
    audit.erased = erased.len() as u64;
    Ok(())
}

/// What is stored of a decision and is not as it must be.
fn difference(
    id: DecisionId,
    stored: Option<StoredDecision>,
    followed: &Ledger,
    (log, seals): (LogId, &Seals),
) -> Result<Option<String>> {
    let Some(stored) = stored else {
        return Ok(Some(format!("decision {id} is in the log, but cannot be found by its id")));
    };
    let (record, ledger) = (decode_decision(&stored, log)?, decode_ledger(&stored.ledger, stored.offset)?);
    let expected = Ledger { windows: ledger.windows, ..followed.clone() };
    let equal = record.id == id && stored.sequence == expected.sequence && ledger == expected;
    if record.opened(seals, stored.salt.as_ref()).is_err() {
        return Ok(Some(format!("whom decision {id} was made for is not what was sealed")));
    }
    Ok((!equal).then(|| format!("the ledger of decision {id} is not what the log adds up to")))
}
