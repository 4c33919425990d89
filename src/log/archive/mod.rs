//! The log in a folder of files: what `log export` writes, and everything that reads it (docs/log-format.md).
//!
//! A log is cut into chunks by offset. A chunk is a file for each table and day that it has rows of; files get their
//! names when they are whole, and a chunk counts once `_archive.json` says how far the log reaches. So a writer that is
//! killed leaves nothing half, and the next one goes on where the last chunk ended.
//!
//! **Invariant:** the chunks of a log hold every record from offset 0 to the end that `_archive.json` tells, once.

mod files;
mod manifest;
mod reader;
mod writer;

pub use manifest::Format;
pub use reader::Archive;
use std::{
    io,
    path::{Path, PathBuf},
};
pub use writer::{ArchiveWriter, ArchivedCatalog, Chunk};

/// Why an archive could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system refuses.
    #[error("{}: {what}", path.display())]
    File {
        /// What was touched.
        path: PathBuf,
        /// What could not be done with it.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it must.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl ArchiveError {
    fn file(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, what, source }
    }

    fn content(path: &Path, reason: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.into() }
    }
}

/// Result of reading and writing archives.
pub type Result<T, E = ArchiveError> = std::result::Result<T, E>;
