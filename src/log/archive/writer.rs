//! Writing an archive, chunk by chunk.

use super::{
    ArchiveError, Format, Result,
    files::{self, ChunkFile},
    manifest::Manifest,
};
use crate::{
    lock,
    log::tables::{Entry, Table, day_of},
    store::LogId,
};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

const LOCK: &str = "_archive.lock";

/// An archive that is written to. One process at a time may.
#[derive(Debug)]
pub struct ArchiveWriter {
    folder: PathBuf,
    manifest: Manifest,
    /// The right to write, for as long as it is open.
    _lock: File,
}

/// Records of one log in a row, from the end of what is archived on.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Placement id.
    pub placement: &'a str,
    /// Which log.
    pub log: LogId,
    /// The records, at least one.
    pub entries: &'a [Entry<'a>],
}

/// A catalog revision as it is archived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchivedCatalog {
    /// Number of the revision.
    pub revision: u64,
    /// When it was applied, in milliseconds since 1970-01-01T00:00:00Z.
    pub applied_at_ms: i64,
    /// Why.
    pub reason: String,
    /// The number of every placement that ever was.
    pub placement_numbers: Vec<(String, u16)>,
    /// The catalog as the API shows it, for people.
    pub catalog: serde_json::Value,
    /// The catalog as it is stored, in hexadecimal digits.
    pub encoded: String,
}

impl ArchiveWriter {
    /// Opens an archive to go on with it, or makes one; removes what writers that were killed left half done.
    ///
    /// # Errors
    /// Where the folder holds something else, an archive of another store, or one in another format.
    pub fn open(folder: &Path, format: Option<Format>, epoch: [u8; 16]) -> Result<Self> {
        let epoch = HEXLOWER.encode(&epoch);
        fs::create_dir_all(folder).map_err(ArchiveError::file(folder, "cannot be created"))?;
        if Manifest::read(folder)?.is_none() {
            refuse_foreign(folder)?;
        }
        let lock = lock(folder)?;
        let manifest = match Manifest::read(folder)? {
            Some(manifest) => manifest,
            None => {
                let manifest = Manifest::new(format.unwrap_or(Format::Parquet), epoch.clone());
                manifest.write(folder)?;
                manifest
            }
        };
        if manifest.epoch != epoch {
            let reason = "it is the archive of another store's log; name another folder, or the store it is of";
            return Err(ArchiveError::content(folder, reason));
        }
        if format.is_some_and(|format| format != manifest.format) {
            let reason = format!(
                "its rows are written as {}; go on with that, or name another folder",
                manifest.format.extension()
            );
            return Err(ArchiveError::content(folder, reason));
        }
        Ok(Self { folder: folder.to_owned(), manifest, _lock: lock })
    }

    /// How many records of a log are archived.
    #[must_use]
    pub fn end(&self, log: LogId) -> u64 {
        self.manifest.end(log)
    }

    /// Removes what a writer that was killed left of a placement's chunks.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn clean(&self, placement: &str, number: u16) -> Result<()> {
        let is_left =
            |file: &ChunkFile| file.from >= self.manifest.end(LogId { placement: number, partition: file.partition });
        for table in Table::ALL {
            let (chunks, mut left) = files::list(&self.folder, table, placement, self.manifest.format)?;
            left.extend(chunks.into_iter().filter(is_left).map(|file| file.path));
            for path in left {
                fs::remove_file(&path).map_err(ArchiveError::file(&path, "cannot be removed"))?;
            }
        }
        Ok(())
    }

    /// Archives a catalog revision, unless it is there.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn put_catalog(&self, catalog: &ArchivedCatalog) -> Result<()> {
        let path = catalog_path(&self.folder, catalog.revision);
        if path.exists() {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(catalog)
            .map_err(|error| ArchiveError::content(&path, format!("cannot be written: {error}")))?;
        files::write_whole(&path, |file| io::Write::write_all(file, &text))
    }

    /// Archives the next records of a log: all of them or, in the eyes of readers, none.
    ///
    /// # Errors
    /// Where the file system refuses; the same chunk may be put again.
    pub fn put(&mut self, chunk: Chunk<'_>) -> Result<()> {
        let Chunk { placement, log, entries } = chunk;
        let from = self.manifest.end(log);
        debug_assert!((from..).zip(entries).all(|(offset, entry)| offset == entry.offset));
        self.write((placement, log.partition, from), entries.iter())?;
        let mut manifest = self.manifest.clone();
        manifest.extend(placement, log, from + entries.len() as u64);
        manifest.write(&self.folder)?;
        self.manifest = manifest;
        Ok(())
    }

    /// Writes the decisions of a chunk that is archived again, each file of them in place of the one that stands there.
    ///
    /// # Errors
    /// Where the file system refuses; the same chunk may be put again.
    pub fn put_decisions_again(&self, chunk: Chunk<'_>) -> Result<()> {
        let Chunk { placement, log, entries } = chunk;
        let Some(first) = entries.first() else { return Ok(()) };
        let decisions = entries.iter().filter(|entry| Table::of(entry.record) == Table::Decisions);
        self.write((placement, log.partition, first.offset), decisions)
    }

    /// Writes entries of a chunk, each to the file of its table and day.
    fn write<'a>(
        &self,
        (placement, partition, from): (&str, u16, u64),
        entries: impl Iterator<Item = &'a Entry<'a>>,
    ) -> Result<()> {
        let mut files: BTreeMap<(Table, i64), Vec<Entry<'_>>> = BTreeMap::new();
        for entry in entries {
            files.entry((Table::of(entry.record), day_of(entry.record))).or_default().push(*entry);
        }
        let format = self.manifest.format;
        for ((table, day), entries) in files {
            let path = files::path_of(&self.folder, (table, placement, day), (partition, from), format);
            files::write_rows(&path, table, format, &entries)?;
        }
        Ok(())
    }
}

/// Where a catalog revision is archived.
pub(super) fn catalog_path(folder: &Path, revision: u64) -> PathBuf {
    catalogs_in(folder).join(format!("{revision:08}.json"))
}

/// Where catalog revisions are archived.
pub(super) fn catalogs_in(folder: &Path) -> PathBuf {
    folder.join("_catalogs")
}

/// Takes the right to write to an archive.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(ArchiveError::file(&path, "cannot be opened for writing"))?;
    match lock::take(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let reason = "another process writes to this archive; wait until it is done";
            Err(ArchiveError::content(folder, reason))
        }
        Err(TryLockError::Error(error)) => Err(ArchiveError::file(&path, "cannot be locked")(error)),
    }
}

/// A folder with anything in it is somebody's, unless it is an archive that was killed before it began.
fn refuse_foreign(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let foreign = entries.flatten().any(|entry| entry.file_name() != LOCK && entry.file_name() != "._archive.json.tmp");
    let reason = "the folder is not empty and holds no archive; name an empty folder, or one that is not there yet";
    if foreign { Err(ArchiveError::content(folder, reason)) } else { Ok(()) }
}
