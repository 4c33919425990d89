//! Salts as SQL: columns of the decisions that they open, found by their owners.

use super::{rows::signed, writes::FORGET_MAX};
use crate::{
    engine::instant::Instant,
    store::{FORGOTTEN_MS, LogId, OwnedSalt, Result},
};
use rusqlite::{Connection, OptionalExtension};

/// The salt of an append, unless its owner was forgotten after the decision had been made.
pub(super) fn kept<'a>(
    connection: &Connection,
    log: LogId,
    salt: Option<&'a OwnedSalt>,
) -> Result<Option<&'a OwnedSalt>> {
    let Some(salt) = salt else { return Ok(None) };
    let forgotten: Option<i64> = connection
        .prepare_cached("SELECT at FROM forgotten WHERE placement = ?1 AND partition = ?2 AND owner = ?3")?
        .query_row((log.placement, log.partition, salt.owner), |row| row.get(0))
        .optional()?;
    Ok(Some(salt).filter(|salt| forgotten.is_none_or(|at| at < salt.made_at.as_ms())))
}

/// Destroys the salts of an owner in these logs, and remembers that it did.
pub(super) fn destroy(connection: &Connection, logs: &[LogId], owner: &[u8; 16], now: Instant) -> Result<u64> {
    let mut destroyed = 0;
    for log in logs {
        connection
            .prepare_cached(
                "INSERT INTO forgotten (placement, partition, owner, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
            )?
            .execute((log.placement, log.partition, owner, now.as_ms()))?;
        destroyed += connection
            .prepare_cached(
                "UPDATE decisions SET salt = NULL, owner = NULL, salted_until = NULL
                 WHERE owner = ?1 AND placement = ?2 AND partition = ?3",
            )?
            .execute((owner, log.placement, log.partition))? as u64;
    }
    Ok(destroyed)
}

/// Destroys expired salts, at most [`FORGET_MAX`] of them, and forgets who was forgotten long ago.
pub(super) fn forget_some(connection: &Connection, now: Instant) -> Result<u64> {
    let remembered_since = now.as_ms().saturating_sub_unsigned(FORGOTTEN_MS);
    connection.prepare_cached("DELETE FROM forgotten WHERE at < ?1")?.execute([remembered_since])?;
    let destroyed = connection
        .prepare_cached(
            "UPDATE decisions SET salt = NULL, owner = NULL, salted_until = NULL WHERE id IN (
                 SELECT id FROM decisions WHERE owner IS NOT NULL AND salted_until <= ?1
                 ORDER BY salted_until LIMIT ?2)",
        )?
        .execute((now.as_ms(), signed("limit", FORGET_MAX)?))?;
    Ok(destroyed as u64)
}
