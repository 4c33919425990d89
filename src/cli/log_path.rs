//! `--log`: a log to look back on, in a store or as it was exported.

use super::store::StoreAddress;
use crate::{
    log::archive::{Archive, ArchiveError},
    service::log_source::LogSource,
    store::StoreError,
};
use std::path::PathBuf;

/// Where the log is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArgs {
    /// The log: a folder that log export has written, a store's file, or a store's address such as redis://HOST
    #[arg(long, value_name = "PATH")]
    log: String,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogPathError {
    /// It is a store that cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is a folder that no log was exported to.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl LogArgs {
    /// Opens it for reading.
    pub(super) async fn open(&self) -> Result<Box<dyn LogSource>, LogPathError> {
        let path = PathBuf::from(&self.log);
        if path.is_dir() {
            return Ok(Box::new(Archive::open(&path)?));
        }
        // What is no address is a file's name.
        let address = self.log.parse().unwrap_or(StoreAddress::Embedded(path));
        Ok(Box::new(address.open_read_only().await?))
    }
}
