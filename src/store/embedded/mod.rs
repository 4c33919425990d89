//! The embedded backend: one SQLite file, for a laptop, a demo, a single node.
//!
//! SQLite and not redb: the file must be readable by the command line while the server serves it, and redb's lock
//! shuts every other process out. In WAL mode readers see the last commit without stopping the writer.
//!
//! One thread writes (`writer`), a few connections read (`readers`). One process at a time may write: it holds an
//! operating system's lock on `PATH.lock`, which dies with the process; the empty lock file itself stays, because
//! removing it would race with whoever is opening it. A store closed cleanly is otherwise one file.
//!
//! **Invariant:** nothing is acknowledged before the transaction that holds it is on the disk.

mod documents;
mod readers;
mod reads;
mod rows;
mod salts;
mod schema;
mod writer;
mod writes;

use super::{
    AdvanceOutcome, AppendOutcome, ChangeOutcome, CommitOutcome, DecisionAppend, DecisionKey, DocumentChange,
    DocumentKey, Leadership, LedgerAdvance, LogId, RequestMark, Result, StatisticsCommit, Store, StoreError,
    StoreIdentity, StoredCatalog, StoredDecision, StoredDocument, StoredStatistics, check_append, check_changes,
    check_document,
};
use crate::{engine::instant::Instant, lock};
use async_trait::async_trait;
use readers::Readers;
use rusqlite::Connection;
use std::{
    fs::{self, File, TryLockError},
    path::Path,
    sync::Arc,
};
use writer::Writer;
use writes::Writing;

/// Connections for reading while serving: enough to keep long folds from holding up short look-ups.
const READERS: usize = 4;

/// A store in one file. Dropping it finishes the queued writes and blocks until they are on the disk.
pub struct EmbeddedStore {
    location: String,
    identity: StoreIdentity,
    // Dropped in this order: connections that read, then the one that writes, then the right to write.
    readers: Arc<Readers>,
    writer: Option<Writer>,
    _lock: Option<File>,
}

impl EmbeddedStore {
    /// Opens the file for reading and writing, alone among all processes, and creates it where there is none.
    ///
    /// `entropy` becomes the epoch (16 bytes) and the hash key (32 bytes) of a file that is created, and is not used
    /// otherwise. The new file is readable by its owner only, since it holds that key.
    ///
    /// # Errors
    /// [`StoreError::Open`] where another process has the file open for writing, where it is not a store of this
    /// service, where a newer release wrote it, or where the file system refuses.
    pub fn open(path: impl AsRef<Path>, entropy: [u8; 48]) -> Result<Self> {
        let path = path.as_ref();
        let refused = |what: &str, error: std::io::Error| open_error(path, format!("{what}: {error}"));
        if path.is_dir() {
            return Err(open_error(path, "it is a directory; name a file in it"));
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|error| refused("its directory cannot be created", error))?;
        }
        let lock = lock(path)?;
        create_private(path).map_err(|error| refused("it cannot be created or written", error))?;

        let (connection, identity) = schema::open_for_writing(path, entropy)?;
        let readers = (0..READERS).map(|_| schema::open_for_reading(path)).collect::<Result<Vec<_>>>()?;
        let writer =
            Writer::start(connection).map_err(|error| refused("the writer's thread cannot be started", error))?;
        Ok(Self {
            location: path.display().to_string(),
            identity,
            readers: Arc::new(Readers::new(readers)),
            writer: Some(writer),
            _lock: Some(lock),
        })
    }

    /// Opens the file for reading, whether or not another process is serving it.
    ///
    /// All reads see the one state that was committed when the file was opened, so that an audit compares statistics
    /// with exactly the log they were folded from; open it again to see more. While it is open the server's WAL keeps
    /// growing beside the file, so do not hold it for longer than a job lasts. Verbs that write are refused.
    ///
    /// # Errors
    /// [`StoreError::Open`] where there is no such file, where it is not a store of this service, or where a newer
    /// release wrote it.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return Err(open_error(path, "it is a directory; name the store's file in it"));
        }
        if !path.exists() {
            return Err(open_error(path, "there is no such file; a server creates it when it first starts"));
        }
        let (connection, identity) = schema::open_view(path)?;
        Ok(Self {
            location: path.display().to_string(),
            identity,
            readers: Arc::new(Readers::new(vec![connection])),
            writer: None,
            _lock: None,
        })
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        self.readers.read(work).await.map_err(|error| self.located(error))
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(writer) = &self.writer else {
            let reason = "it was opened read-only; only the server that holds the file writes to it".to_owned();
            return Err(self.located(StoreError::Refused { reason }));
        };
        writer.write(work).await.map_err(|error| self.located(error))
    }

    /// Says which file an error is about.
    fn located(&self, error: StoreError) -> StoreError {
        let at = |reason: String| format!("{}: {reason}", self.location);
        match error {
            StoreError::Unavailable { reason } => StoreError::Unavailable { reason: at(reason) },
            StoreError::Corrupt { reason } => StoreError::Corrupt { reason: at(reason) },
            StoreError::Refused { reason } => StoreError::Refused { reason: at(reason) },
            open @ StoreError::Open { .. } => open,
        }
    }
}

fn open_error(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Open { location: path.display().to_string(), reason: reason.into() }
}

/// Takes the right to write, for as long as the returned file is open.
fn lock(path: &Path) -> Result<File> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| open_error(path, format!("its lock file cannot be opened for writing: {error}")))?;
    match lock::take(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(open_error(
            path,
            "it is in use by another process, and one server at a time may write to it; stop that server, \
             choose another file, or open this one read-only",
        )),
        Err(TryLockError::Error(error)) => Err(open_error(
            path,
            format!("its lock file cannot be locked: {error}; put the file on a local file system"),
        )),
    }
}

/// Makes sure that the file is there; a new one is its owner's alone.
fn create_private(path: &Path) -> std::io::Result<()> {
    // Only a new file is opened here: closing any handle of a file drops all locks that this process has on it, also
    // those of SQLite's connections.
    let mut options = File::options();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
        self.read(move |connection| reads::catalog(connection, revision)).await
    }

    async fn append_catalog(&self, catalog: StoredCatalog) -> Result<bool> {
        self.write(move |writing| writing.append_catalog(&catalog)).await
    }

    async fn append_decision(&self, append: DecisionAppend) -> Result<AppendOutcome> {
        check_append(&append)?;
        self.write(move |writing| writing.append_decision(&append)).await
    }

    async fn append_decisions(&self, appends: Arc<[DecisionAppend]>) -> Vec<Result<AppendOutcome>> {
        let count = appends.len();
        let append_all = move |writing: &mut Writing<'_>| {
            let append = |append: &DecisionAppend| match check_append(append) {
                // Refused by itself: it has written nothing.
                Err(refusal) => Ok(Err(refusal)),
                Ok(()) => writing.append_decision(append).map(Ok),
            };
            appends.iter().map(append).collect::<Result<Vec<_>>>()
        };
        self.write(append_all).await.unwrap_or_else(|error| vec![Err(error); count])
    }

    async fn decisions(&self, decisions: &[DecisionKey]) -> Result<Vec<Option<StoredDecision>>> {
        let keys = decisions.to_vec();
        self.read(move |connection| keys.iter().map(|key| reads::decision(connection, key)).collect()).await
    }

    async fn advance_ledgers(&self, changes: Vec<LedgerAdvance>) -> Result<Vec<AdvanceOutcome>> {
        check_changes(&changes)?;
        self.write(move |writing| changes.iter().map(|change| writing.advance_ledger(change)).collect()).await
    }

    async fn claim_request(&self, log: LogId, mark: &RequestMark) -> Result<[u8; 32]> {
        let mark = mark.clone();
        self.write(move |writing| writing.claim_request(log, &mark)).await
    }

    async fn answered(&self, logs: &[LogId], key: [u8; 32], now: Instant) -> Result<Option<AppendOutcome>> {
        let logs = logs.to_vec();
        self.read(move |connection| reads::answered(connection, &logs, &key, now)).await
    }

    async fn due(&self, log: LogId, now: Instant, limit: usize) -> Result<Vec<DecisionKey>> {
        self.read(move |connection| reads::due(connection, log, now, limit)).await
    }

    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        self.read(move |connection| reads::log(connection, log, offset, limit)).await
    }

    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>> {
        self.read(reads::log_ends).await
    }

    async fn statistics(&self, model_id: &str, log: LogId) -> Result<StoredStatistics> {
        let model_id = model_id.to_owned();
        self.read(move |connection| reads::statistics(connection, &model_id, log)).await
    }

    async fn commit_statistics(&self, commit: StatisticsCommit) -> Result<CommitOutcome> {
        self.write(move |writing| writing.commit_statistics(&commit)).await
    }

    async fn lead(&self, log: LogId, holder: [u8; 16], now: Instant, lease_ms: u64) -> Result<Leadership> {
        self.write(move |writing| writing.lead(log, &holder, now, lease_ms)).await
    }

    async fn resign(&self, log: LogId, holder: [u8; 16]) -> Result<()> {
        self.write(move |writing| writing.resign(log, &holder)).await
    }

    async fn documents(&self, keys: &[DocumentKey]) -> Result<Vec<Option<StoredDocument>>> {
        let keys = keys.to_vec();
        self.read(move |connection| keys.iter().map(|key| documents::read(connection, key)).collect()).await
    }

    async fn change_documents(&self, changes: Vec<DocumentChange>) -> Result<Vec<ChangeOutcome>> {
        changes.iter().try_for_each(check_document)?;
        self.write(move |writing| changes.iter().map(|change| documents::change(writing.connection, change)).collect())
            .await
    }

    async fn destroy_salts(&self, logs: &[LogId], owner: [u8; 16], now: Instant) -> Result<u64> {
        let logs = logs.to_vec();
        self.write(move |writing| salts::destroy(writing.connection, &logs, &owner, now)).await
    }

    async fn forget_expired(&self, now: Instant) -> Result<()> {
        // In portions, so that a long absence is not made up for in one transaction that everybody waits for.
        while self.write(move |writing| writing.forget_some_requests(now)).await? == writes::FORGET_MAX {}
        while self.write(move |writing| documents::forget_some(writing.connection, now)).await? == writes::FORGET_MAX {}
        while self.write(move |writing| salts::forget_some(writing.connection, now)).await? == writes::FORGET_MAX {}
        Ok(())
    }

    /// Folds the WAL into the file. Unavailable if that last checkpoint failed: nothing is lost then, it stands in the
    /// WAL beside the file.
    async fn close(&self) -> Result<()> {
        self.readers.close().await;
        match &self.writer {
            Some(writer) => writer.close().await.map_err(|error| self.located(error)),
            None => Ok(()),
        }
    }
}
