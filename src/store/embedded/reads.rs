//! The verbs that read, as SQL on one connection whose transaction the caller has opened.

use super::rows::{corrupt, fixed, hex, limit, name, number};
use crate::{
    engine::instant::Instant,
    store::{AppendOutcome, DecisionKey, LogId, Result, StoredCatalog, StoredDecision, StoredStatistics},
};
use rusqlite::{Connection, OptionalExtension, Row};
use std::sync::Arc;

/// What one answer of `log` may hold in memory, beyond its first record.
const LOG_ANSWER_BYTES: usize = 32 << 20;

/// The catalog with this revision, or the newest.
pub(super) fn catalog(connection: &Connection, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
    // A revision beyond SQLite's numbers was never written.
    let Ok(wanted) = revision.map(i64::try_from).transpose() else { return Ok(None) };
    let found = connection
        .prepare_cached(
            "SELECT revision, applied_at, reason, catalog FROM catalogs
             WHERE revision = ifnull(?1, (SELECT max(revision) FROM catalogs))",
        )?
        .query_row([wanted], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((revision, applied_at, reason, catalog)) = found else { return Ok(None) };

    let mut statement = connection
        .prepare_cached("SELECT name, number FROM catalog_placements WHERE revision = ?1 ORDER BY ordinal")?;
    let mut found = statement.query([revision])?;
    let mut placement_numbers = Vec::new();
    while let Some(row) = found.next()? {
        let placement: String = row.get(0)?;
        let number = number(row.get(1)?, "catalog_placements", &placement)?;
        placement_numbers.push((placement, number));
    }
    Ok(Some(StoredCatalog {
        revision: number(revision, "catalogs", revision)?,
        applied_at: Instant::from_ms(applied_at),
        reason,
        catalog,
        placement_numbers,
    }))
}

/// The decision with its record and its ledger.
pub(super) fn decision(connection: &Connection, key: &DecisionKey) -> Result<Option<StoredDecision>> {
    let mut statement = connection.prepare_cached(
        "SELECT d.offset, d.sequence, d.ledger, l.record, d.salt
         FROM decisions d LEFT JOIN log l
             ON l.placement = d.placement AND l.partition = d.partition AND l.offset = d.offset
         WHERE d.id = ?1",
    )?;
    let mut found = statement.query([key.as_slice()])?;
    let Some(row) = found.next()? else { return Ok(None) };
    let offset = number(row.get(0)?, "decisions", hex(key))?;
    let record = row
        .get::<_, Option<Arc<[u8]>>>(3)?
        .ok_or_else(|| corrupt("decisions", hex(key), format!("its record at offset {offset} is missing")))?;
    let sequence = number(row.get(1)?, "decisions", hex(key))?;
    let salt = row.get::<_, Option<Vec<u8>>>(4)?.map(|salt| fixed(&salt, "decisions", hex(key))).transpose()?;
    Ok(Some(StoredDecision { offset, record, sequence, ledger: row.get(2)?, salt }))
}

/// What stands for a request in a log: its fingerprint, and the decision unless it is only claimed.
pub(super) fn marked(
    connection: &Connection,
    log: LogId,
    key: &[u8; 32],
    now: Instant,
) -> Result<Option<(Option<DecisionKey>, [u8; 32])>> {
    let mut statement = connection.prepare_cached(
        "SELECT decision, fingerprint FROM requests
         WHERE placement = ?1 AND partition = ?2 AND key = ?3 AND expires_at > ?4",
    )?;
    let found: Option<(Option<Vec<u8>>, Vec<u8>)> = statement
        .query_row((log.placement, log.partition, key.as_slice(), now.as_ms()), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((decision, fingerprint)) = found else { return Ok(None) };
    let decision = decision.map(|decision| fixed(&decision, "requests", hex(key))).transpose()?;
    Ok(Some((decision, fixed(&fingerprint, "requests", hex(key))?)))
}

/// What answers a marked request already, in the first log that does.
pub(super) fn answered(
    connection: &Connection,
    logs: &[LogId],
    key: &[u8; 32],
    now: Instant,
) -> Result<Option<AppendOutcome>> {
    for log in logs {
        if let Some((Some(decision), fingerprint)) = marked(connection, *log, key, now)? {
            return Ok(Some(AppendOutcome::Repeated { decision, fingerprint }));
        }
    }
    Ok(None)
}

/// Open decisions whose windows are over.
pub(super) fn due(connection: &Connection, log: LogId, now: Instant, most: usize) -> Result<Vec<DecisionKey>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM decisions
         WHERE closed = 0 AND placement = ?1 AND partition = ?2 AND closes_at <= ?3
         ORDER BY closes_at, id LIMIT ?4",
    )?;
    let mut found = statement.query((log.placement, log.partition, now.as_ms(), limit(most)))?;
    let mut keys = Vec::new();
    while let Some(row) = found.next()? {
        let bytes = row.get_ref(0)?.as_blob().map_err(|error| corrupt("decisions", name(log), error))?;
        keys.push(fixed(bytes, "decisions", hex(bytes))?);
    }
    Ok(keys)
}

/// Records of a log.
pub(super) fn log(connection: &Connection, log: LogId, offset: u64, most: usize) -> Result<Vec<Arc<[u8]>>> {
    // No log reaches beyond SQLite's numbers.
    let Ok(first) = i64::try_from(offset) else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(
        "SELECT offset, record FROM log WHERE placement = ?1 AND partition = ?2 AND offset >= ?3
         ORDER BY offset LIMIT ?4",
    )?;
    let mut found = statement.query((log.placement, log.partition, first, limit(most)))?;
    let mut records = Vec::new();
    let (mut expected, mut bytes) = (first, 0);
    while let Some(row) = found.next()? {
        let stands_at: i64 = row.get(0)?;
        if stands_at != expected {
            return Err(corrupt("log", name(log), format!("offset {expected} is missing before {stands_at}")));
        }
        let record: Arc<[u8]> = row.get(1)?;
        bytes += record.len();
        records.push(record);
        expected += 1;
        if bytes >= LOG_ANSWER_BYTES {
            break;
        }
    }
    Ok(records)
}

/// Every log and its length. Skips from log to log: no pass over the records.
pub(super) fn log_ends(connection: &Connection) -> Result<Vec<(LogId, u64)>> {
    let mut next = connection.prepare_cached(
        "SELECT placement, partition FROM log WHERE (placement, partition) > (?1, ?2)
         ORDER BY placement, partition LIMIT 1",
    )?;
    let mut ends = Vec::new();
    let mut after = (-1, -1);
    let pair = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    while let Some((placement, partition)) = next.query_row(after, pair).optional()? {
        let log = LogId {
            placement: number(placement, "log", "its placements")?,
            partition: number(partition, "log", format!("placement {placement}"))?,
        };
        ends.push((log, log_end(connection, log)?));
        after = (placement, partition);
    }
    Ok(ends)
}

/// The length of one log.
pub(super) fn log_end(connection: &Connection, log: LogId) -> Result<u64> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(offset) FROM log WHERE placement = ?1 AND partition = ?2")?
        .query_row((log.placement, log.partition), |row| row.get(0))?;
    last.map_or(Ok(0), |last| Ok(number::<u64>(last, "log", name(log))? + 1))
}

/// Offset and token of a model's statistics in a log.
pub(super) fn statistics_head(connection: &Connection, model_id: &str, log: LogId) -> Result<Option<(u64, u64)>> {
    let found: Option<(i64, i64)> = connection
        .prepare_cached("SELECT offset, token FROM statistics WHERE model = ?1 AND placement = ?2 AND partition = ?3")?
        .query_row((model_id, log.placement, log.partition), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let number = |value| number(value, "statistics", format!("model {model_id} {}", name(log)));
    found.map(|(offset, token)| Ok((number(offset)?, number(token)?))).transpose()
}

/// The statistics of a model in a log.
pub(super) fn statistics(connection: &Connection, model_id: &str, log: LogId) -> Result<StoredStatistics> {
    let Some((offset, token)) = statistics_head(connection, model_id, log)? else {
        return Ok(StoredStatistics::default());
    };
    let shared = connection
        .prepare_cached("SELECT shared FROM statistics WHERE model = ?1 AND placement = ?2 AND partition = ?3")?
        .query_row((model_id, log.placement, log.partition), |row| row.get(0))?;
    let arms = connection
        .prepare_cached(
            "SELECT arm, statistics FROM statistics_arms WHERE model = ?1 AND placement = ?2 AND partition = ?3
             ORDER BY arm",
        )?
        .query_map((model_id, log.placement, log.partition), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(StoredStatistics { offset, token, shared, arms })
}
