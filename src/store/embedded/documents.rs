//! Documents as SQL: looked up and compared by key and version.

use super::{
    rows::{fixed, hex, signed},
    writes::FORGET_MAX,
};
use crate::{
    engine::instant::Instant,
    store::{ChangeOutcome, DocumentChange, DocumentKey, Result, StoredDocument},
};
use rusqlite::{Connection, OptionalExtension};

/// The document with this key.
pub(super) fn read(connection: &Connection, key: &DocumentKey) -> Result<Option<StoredDocument>> {
    let key = bytes(key);
    let found: Option<(Vec<u8>, Vec<u8>)> = connection
        .prepare_cached("SELECT version, content FROM documents WHERE key = ?1")?
        .query_row([&key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((version, content)) = found else { return Ok(None) };
    Ok(Some(StoredDocument { version: number(&version, &key)?, content }))
}

/// Compares, and writes where the change fits.
pub(super) fn change(connection: &Connection, change: &DocumentChange) -> Result<ChangeOutcome> {
    let key = bytes(&change.key);
    let stored: Option<Vec<u8>> = connection
        .prepare_cached("SELECT version FROM documents WHERE key = ?1")?
        .query_row([&key], |row| row.get(0))
        .optional()?;
    let stored = stored.map(|version| number(&version, &key)).transpose()?;
    if !change.fits(stored) {
        return Ok(ChangeOutcome::Moved);
    }
    match &change.content {
        Some(content) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO documents (key, version, content, expires_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((&key, change.version.to_be_bytes(), content, change.expires_at.as_ms()))?,
        None => connection.prepare_cached("DELETE FROM documents WHERE key = ?1")?.execute([&key])?,
    };
    Ok(ChangeOutcome::Changed)
}

/// Forgets expired documents, at most [`FORGET_MAX`] of them.
pub(super) fn forget_some(connection: &Connection, now: Instant) -> Result<u64> {
    let forgotten = connection
        .prepare_cached(
            "DELETE FROM documents WHERE key IN (
                 SELECT key FROM documents WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
        )?
        .execute((now.as_ms(), signed("limit", FORGET_MAX)?))?;
    Ok(forgotten as u64)
}

fn bytes(key: &DocumentKey) -> Vec<u8> {
    match key {
        DocumentKey::Unit { log, unit } => {
            [b"u".as_slice(), &log.placement.to_be_bytes(), &log.partition.to_be_bytes(), unit].concat()
        }
        DocumentKey::User(user) => [b"h".as_slice(), user].concat(),
    }
}

/// All 64 bits of a version, where SQLite's numbers have a sign.
fn number(version: &[u8], key: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(fixed(version, "documents", hex(key))?))
}
