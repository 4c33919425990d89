//! What a log is read from: a store, or the archive of one. Whatever looks back on logs takes either.

use super::{Result, ServiceError, export::open_decisions};
use crate::{
    engine::instant::Instant,
    log::{
        archive::{Archive, ArchiveError, ArchivedCatalog},
        identity::Identity,
        record::{DecisionRecord, LogRecord},
    },
    store::{LogId, Store, StoredCatalog},
};
use async_trait::async_trait;
use data_encoding::HEXLOWER;
use std::{path::Path, sync::Arc};

/// Most records that are read at a time.
const BATCH: u64 = 1000;

/// Logs, and the catalogs that their decisions were made from.
#[async_trait]
pub trait LogSource: Send + Sync {
    /// Every log that has records, with the number of its records, in order.
    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>>;

    /// At most `limit` records of a log from `offset` on, in order; empty only at its end (or for a limit of 0).
    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>>;

    /// The next records of a log from `offset` on, of those before `end`, which the source tells: at least one, and at most
    /// `BATCH`.
    ///
    /// # Errors
    /// Where the source cannot be read, and where it does not hold what it tells.
    async fn read_before(&self, log: LogId, offset: u64, end: u64) -> Result<Vec<Arc<[u8]>>> {
        let records = self.read_log(log, offset, end.saturating_sub(offset).min(BATCH) as usize).await?;
        if records.is_empty() {
            let reason = format!("{log:?} has no record at offset {offset}, although it tells of {end}");
            return Err(ServiceError::Inconsistent { reason });
        }
        Ok(records)
    }

    /// The catalog with this revision, or the newest for `None`; `Ok(None)` where there is none.
    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>>;

    /// Opens whom decisions of a log were made for, each by its offset, where that can be told.
    async fn open(&self, log: LogId, decisions: &mut [(u64, Arc<DecisionRecord>)]) -> Result<()>;
}

#[async_trait]
impl LogSource for dyn Store {
    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>> {
        Ok(Store::log_ends(self).await?)
    }

    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        Ok(Store::read_log(self, log, offset, limit).await?)
    }

    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
        Ok(Store::catalog(self, revision).await?)
    }

    async fn open(&self, _log: LogId, decisions: &mut [(u64, Arc<DecisionRecord>)]) -> Result<()> {
        open_decisions(self, decisions.iter_mut().map(|(_, decision)| decision).collect()).await
    }
}

#[async_trait]
impl LogSource for Arc<dyn Store> {
    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>> {
        LogSource::log_ends(&**self).await
    }

    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        LogSource::read_log(&**self, log, offset, limit).await
    }

    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
        LogSource::catalog(&**self, revision).await
    }

    async fn open(&self, log: LogId, decisions: &mut [(u64, Arc<DecisionRecord>)]) -> Result<()> {
        LogSource::open(&**self, log, decisions).await
    }
}

#[async_trait]
impl LogSource for Archive {
    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>> {
        Ok(self.logs().map(|(_, log, end)| (log, end)).collect())
    }

    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        Ok(self.read(log, offset, limit)?)
    }

    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
        let revision = match revision {
            Some(revision) => revision,
            None => self.newest_revision()?,
        };
        let Some(archived) = self.archived_catalog(revision)? else { return Ok(None) };
        let ArchivedCatalog { applied_at_ms, reason, placement_numbers, encoded, .. } = archived;
        let catalog = HEXLOWER.decode(encoded.as_bytes()).map_err(|error| ArchiveError::Content {
            path: Path::new(&format!("catalog revision {revision}")).to_owned(),
            reason: format!("encoded is not in hexadecimal digits: {error}"),
        })?;
        let applied_at = Instant::from_ms(applied_at_ms);
        Ok(Some(StoredCatalog { revision, applied_at, reason, catalog, placement_numbers }))
    }

    async fn open(&self, log: LogId, decisions: &mut [(u64, Arc<DecisionRecord>)]) -> Result<()> {
        for (offset, decision) in decisions {
            if let Some(identity) = self.identity(log, *offset)? {
                Arc::make_mut(decision).identity = Some(Identity::decode(&identity)?);
            }
        }
        Ok(())
    }
}

/// The record that stands there.
///
/// # Errors
/// Where it does not decode.
pub(super) fn record_at(log: LogId, offset: u64, bytes: &[u8]) -> Result<LogRecord> {
    LogRecord::decode(bytes).map_err(|source| ServiceError::Record { log, offset, source })
}
