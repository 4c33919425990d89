//! The file: its tables, the version of their layout, and how connections to it are opened.
//!
//! A file is told apart by SQLite's application id; its layout by the user version. Both are written in the one
//! transaction that creates the tables, so that a file is either empty or whole.

use super::{open_error, rows};
use crate::store::{Result, StoreError, StoreIdentity};
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, TransactionBehavior};
use sha2::{Digest as _, Sha256};
use std::{path::Path, time::Duration};

/// "OfrR" in ASCII: marks a file as ours.
const APPLICATION_ID: i32 = 0x4f66_7252;

/// The layout below. A release that changes it raises this and learns to migrate from the one before. Between releases
/// the layout may change under one version: a file also says which layout it was made with, see [`layout`].
const SCHEMA_VERSION: i32 = 1;

/// How long a connection waits for a lock that another one holds, in checkpoints and at the start.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More than there are distinct statements, so that each is prepared once per connection.
const STATEMENTS_MAX: usize = 64;

/// Keys come first and are compact; tables without rowid store a row where its key is, in the order of keys.
const TABLES: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE catalogs (
    revision INTEGER PRIMARY KEY,
    applied_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    catalog BLOB NOT NULL
) STRICT;
CREATE TABLE catalog_placements (
    revision INTEGER, ordinal INTEGER,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (revision, ordinal)
) WITHOUT ROWID, STRICT;
CREATE TABLE log (
    placement INTEGER, partition INTEGER, offset INTEGER,
    record BLOB NOT NULL,
    PRIMARY KEY (placement, partition, offset)
) WITHOUT ROWID, STRICT;
CREATE TABLE decisions (
    id BLOB PRIMARY KEY,
    placement INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    closes_at INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    ledger BLOB NOT NULL,
    salt BLOB, owner BLOB, salted_until INTEGER
) WITHOUT ROWID, STRICT;
CREATE INDEX decisions_due ON decisions (placement, partition, closes_at, id) WHERE closed = 0;
CREATE INDEX decisions_by_owner ON decisions (owner) WHERE owner IS NOT NULL;
CREATE INDEX decisions_salted ON decisions (salted_until) WHERE owner IS NOT NULL;
CREATE TABLE forgotten (
    placement INTEGER, partition INTEGER, owner BLOB,
    at INTEGER NOT NULL,
    PRIMARY KEY (placement, partition, owner)
) WITHOUT ROWID, STRICT;
CREATE INDEX forgotten_by_time ON forgotten (at);
CREATE TABLE requests (
    placement INTEGER, partition INTEGER, key BLOB,
    decision BLOB,
    fingerprint BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (placement, partition, key)
) WITHOUT ROWID, STRICT;
CREATE INDEX requests_by_expiry ON requests (expires_at);
CREATE TABLE documents (
    key BLOB PRIMARY KEY,
    version BLOB NOT NULL,
    content BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX documents_by_expiry ON documents (expires_at);
CREATE TABLE statistics (
    model TEXT, placement INTEGER, partition INTEGER,
    offset INTEGER NOT NULL,
    token INTEGER NOT NULL,
    shared BLOB NOT NULL,
    PRIMARY KEY (model, placement, partition)
) WITHOUT ROWID, STRICT;
CREATE TABLE statistics_arms (
    model TEXT, placement INTEGER, partition INTEGER, arm TEXT,
    statistics BLOB NOT NULL,
    PRIMARY KEY (model, placement, partition, arm)
) WITHOUT ROWID, STRICT;
CREATE TABLE learners (
    placement INTEGER, partition INTEGER,
    token INTEGER NOT NULL,
    holder BLOB,
    until INTEGER NOT NULL,
    PRIMARY KEY (placement, partition)
) WITHOUT ROWID, STRICT;
";

/// Why a file of our version is refused nevertheless.
const OTHER_LAYOUT: &str = "it was made by another build, between two releases, and its tables are not those of this one: \
                            run the build that made it, or move the file away and start with an empty one";

/// Tells the tables above from all others.
fn layout() -> [u8; 32] {
    Sha256::digest(TABLES).into()
}

/// The connection that writes, and the identity, which is made here if the file is empty. The file must be there.
pub(super) fn open_for_writing(path: &Path, entropy: [u8; 48]) -> Result<(Connection, StoreIdentity)> {
    let mut connection = connect(path)?;
    let empty = inspect(&connection, path)?;
    prepare(&connection).map_err(|error| describe(path, error))?;
    if empty {
        create(&mut connection, entropy).map_err(|error| describe(path, error))?;
    }
    end_leases(&connection).map_err(|error| describe(path, error))?;
    let identity = identity(&connection)?;
    Ok((connection, identity))
}

/// Whoever held a lease is gone: only one process at a time opens the file for writing.
fn end_leases(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE learners SET until = ?1", [i64::MIN]).map(drop)
}

/// One more connection that only reads, to a file that the one above has been through.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection> {
    let connection = connect(path)?;
    forbid_writes(&connection).map_err(|error| describe(path, error))?;
    Ok(connection)
}

/// A connection that only reads and stands in one transaction: whatever it reads is of one state.
pub(super) fn open_view(path: &Path) -> Result<(Connection, StoreIdentity)> {
    let connection = connect(path)?;
    forbid_writes(&connection).map_err(|error| describe(path, error))?;
    // The state is fixed by the transaction's first read, which is the inspection's.
    connection.execute_batch("BEGIN").map_err(|error| describe(path, error))?;
    if inspect(&connection, path)? {
        return Err(open_error(path, "it is empty; a server fills it when it first starts"));
    }
    let identity = identity(&connection)?;
    Ok((connection, identity))
}

fn connect(path: &Path) -> Result<Connection> {
    // Read-only connections open like this too: only one that may write can clear the WAL away when it is the last to
    // close, and only it can read a file whose server was killed. SQLite falls back to reading where the file's
    // permissions say so. No URI flag: a path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(connection)
    };
    open().map_err(|error| describe(path, error))
}

fn forbid_writes(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "query_only", true)
}

/// Whether the file is still empty; an error if it is neither empty nor a store that this release can use.
fn inspect(connection: &Connection, path: &Path) -> Result<bool> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let look = || {
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((pragma("application_id")?, pragma("user_version")?, tables))
    };
    match look().map_err(|error| describe(path, error))? {
        (0, 0, 0) => Ok(true),
        (APPLICATION_ID, SCHEMA_VERSION, _) => {
            let known = "SELECT count(*) FROM meta WHERE name = 'layout' AND value = ?1";
            let known: i64 =
                connection.query_row(known, [layout()], |row| row.get(0)).map_err(|error| describe(path, error))?;
            if known == 1 { Ok(false) } else { Err(open_error(path, OTHER_LAYOUT)) }
        }
        (APPLICATION_ID, newer, _) if newer > SCHEMA_VERSION => Err(open_error(
            path,
            format!(
                "its schema version is {newer}, written by a newer release; this one reads up to {SCHEMA_VERSION}: \
                 run that release or a later one"
            ),
        )),
        (APPLICATION_ID, unknown, _) => Err(open_error(
            path,
            format!("its schema version is {unknown}, which no release wrote; restore the file from a copy"),
        )),
        (foreign, ..) => Err(open_error(
            path,
            format!(
                "it is another program's database (application id {foreign:#x}, ours is {APPLICATION_ID:#x}); \
                 choose another file"
            ),
        )),
    }
}

/// Sets what a connection that writes needs, after the file is known to be ours.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // Takes effect only where the file is still empty. A record of up to 2 KB then stands beside its key,
    // where pages of 4096 bytes would push it out to pages of its own and double the file.
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
        let mode: String = row.get(0)?;
        // A file system without shared memory keeps another mode, in which readers would stop the writer.
        if mode == "wal" { Ok(()) } else { Err(Error::InvalidQuery) }
    })?;
    // FULL syncs the WAL at every commit; the next two make that sync reach the disk on macOS as well.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    // Savepoints are undone from memory, and a WAL that grew under a long reader shrinks again.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // What is removed is overwritten: a salt that was destroyed must not be found in a page that is free.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // A checkpoint syncs twice while the writer waits: 32 MiB of WAL between two keeps that rare, and recovery short.
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "cache_size", -16_384)
}

fn create(connection: &mut Connection, entropy: [u8; 48]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    let (epoch, hash_key) = entropy.split_at(16);
    for (name, value) in [("epoch", epoch), ("hash_key", hash_key), ("layout", &layout())] {
        transaction.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", (name, value))?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}

fn identity(connection: &Connection) -> Result<StoreIdentity> {
    let value = |name: &str| {
        connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get::<_, Vec<u8>>(0)).map_err(
            |error| match error {
                Error::QueryReturnedNoRows => rows::corrupt("meta", name, "the row is missing"),
                other => other.into(),
            },
        )
    };
    Ok(StoreIdentity {
        epoch: rows::fixed(&value("epoch")?, "meta", "epoch")?,
        hash_key: rows::fixed(&value("hash_key")?, "meta", "hash_key")?,
    })
}

/// What SQLite says at the door, for the person who named the file.
fn describe(path: &Path, error: Error) -> StoreError {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "it is not a database; choose another file, or move this one away".to_owned(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            format!("{error}; the file and its directory must be readable and writable by this user")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("{error}; another process holds it for longer than {} s", BUSY_TIMEOUT.as_secs())
        }
        _ if matches!(error, Error::InvalidQuery) => {
            "its file system cannot share memory between processes; put the file on a local disk".to_owned()
        }
        _ => error.to_string(),
    };
    open_error(path, reason)
}
