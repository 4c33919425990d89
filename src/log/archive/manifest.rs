//! `_archive.json`: what an archive is of, and how far it reaches. Names that begin with an underscore are not data to
//! tools that read folders of files as one table.

use super::{ArchiveError, Result, files};
use crate::store::LogId;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Version of the layout of folders and columns; a reader of another one refuses.
const ARCHIVE_VERSION: u32 = 1;
const NAME: &str = "_archive.json";

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    Jsonl,
}

/// What an archive is of, and how far it reaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    archive_version: u32,
    /// How rows are written.
    pub(super) format: Format,
    /// The epoch of the store that the log is of, in hexadecimal digits.
    pub(super) epoch: String,
    /// How far each log reaches, by number and partition.
    pub(super) logs: Vec<LogEnd>,
}

/// How far one log reaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogEnd {
    /// Placement id.
    pub(super) placement: String,
    /// Its number.
    pub(super) number: u16,
    /// Partition index.
    pub(super) partition: u16,
    /// How many records are archived.
    pub(super) end: u64,
}

impl Format {
    /// What its files end in.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
        }
    }
}

impl LogEnd {
    pub(super) fn log(&self) -> LogId {
        LogId { placement: self.number, partition: self.partition }
    }
}

impl Manifest {
    /// Of an archive that holds nothing yet.
    pub(super) fn new(format: Format, epoch: String) -> Self {
        Self { archive_version: ARCHIVE_VERSION, format, epoch, logs: Vec::new() }
    }

    /// What stands in a folder; `None` where there is no archive.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = path_in(folder);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(ArchiveError::file(&path, "cannot be read"))?,
        };
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| ArchiveError::content(&path, format!("is no description of an archive: {error}")))?;
        if manifest.archive_version != ARCHIVE_VERSION {
            let reason = format!(
                "the archive's layout has version {}, this program reads {ARCHIVE_VERSION}; use the release that wrote it",
                manifest.archive_version
            );
            return Err(ArchiveError::content(&path, reason));
        }
        Ok(Some(manifest))
    }

    /// Takes the place of what stands in the folder, at once.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = path_in(folder);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| ArchiveError::content(&path, format!("cannot be written: {error}")))?;
        files::write_whole(&path, |file| io::Write::write_all(file, &text))
    }

    /// How many records of a log are archived.
    pub(super) fn end(&self, log: LogId) -> u64 {
        self.logs.iter().find(|end| end.log() == log).map_or(0, |end| end.end)
    }

    /// Lets a log reach further.
    pub(super) fn extend(&mut self, placement: &str, log: LogId, end: u64) {
        match self.logs.iter_mut().find(|known| known.log() == log) {
            Some(known) => known.end = end,
            None => {
                let (placement, LogId { placement: number, partition }) = (placement.to_owned(), log);
                self.logs.push(LogEnd { placement, number, partition, end });
                self.logs.sort_by_key(LogEnd::log);
            }
        }
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join(NAME)
}
