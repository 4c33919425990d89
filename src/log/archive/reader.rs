//! Reading an archive: the log as it was, record by record.

use super::{
    ArchiveError, ArchivedCatalog, Format, Result,
    files::{self, ChunkFile, Encoded},
    manifest::Manifest,
    writer::{catalog_path, catalogs_in},
};
use crate::{log::tables::Table, store::LogId};
use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Chunks that are kept in memory: the one that is read, and those that it points back to.
const CHUNKS_KEPT: usize = 6;

/// An archive that is read.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    manifest: Manifest,
    /// The files of each log's chunks, by the offset that a chunk starts at.
    chunks: BTreeMap<LogId, BTreeMap<u64, Vec<PathBuf>>>,
    /// The chunks read last, the latest one last.
    kept: Mutex<VecDeque<Kept>>,
}

type Kept = ((LogId, u64), Arc<[Encoded]>);

impl Archive {
    /// Opens an archive.
    ///
    /// # Errors
    /// Where the folder holds none.
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = Manifest::read(folder)?.ok_or_else(|| {
            ArchiveError::content(
                folder,
                "holds no archive: there is no _archive.json; name a folder that log export wrote",
            )
        })?;
        let mut chunks: BTreeMap<LogId, BTreeMap<u64, Vec<PathBuf>>> = BTreeMap::new();
        let mut placements: Vec<(&str, u16)> =
            manifest.logs.iter().map(|end| (end.placement.as_str(), end.number)).collect();
        placements.dedup();
        for (placement, number) in placements {
            for table in Table::ALL {
                for ChunkFile { path, partition, from } in files::list(folder, table, placement, manifest.format)?.0 {
                    let log = LogId { placement: number, partition };
                    // What reaches further was left by a writer that was killed.
                    if from < manifest.end(log) {
                        chunks.entry(log).or_default().entry(from).or_default().push(path);
                    }
                }
            }
        }
        Ok(Self { folder: folder.to_owned(), manifest, chunks, kept: Mutex::default() })
    }

    /// How its rows are written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.manifest.format
    }

    /// Every log with its placement's id and the number of its records, in order.
    pub fn logs(&self) -> impl Iterator<Item = (&str, LogId, u64)> {
        self.manifest.logs.iter().map(|end| (end.placement.as_str(), end.log(), end.end))
    }

    /// The offsets that the chunks of a log start at, in order.
    pub fn chunks(&self, log: LogId) -> impl Iterator<Item = u64> {
        self.chunks.get(&log).into_iter().flat_map(|chunks| chunks.keys().copied())
    }

    /// A catalog revision; `None` where it is not there.
    ///
    /// # Errors
    /// Where its file cannot be read.
    pub fn archived_catalog(&self, revision: u64) -> Result<Option<ArchivedCatalog>> {
        let path = catalog_path(&self.folder, revision);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(ArchiveError::file(&path, "cannot be read"))?,
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| ArchiveError::content(&path, format!("is no archived catalog: {error}")))
    }

    /// The newest catalog revision; 0 where there is none.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn newest_revision(&self) -> Result<u64> {
        let folder = catalogs_in(&self.folder);
        let listed = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            listed => listed.map_err(ArchiveError::file(&folder, "cannot be listed"))?,
        };
        let revision = |path: PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
        Ok(listed.flatten().filter_map(|entry| revision(entry.path())).max().unwrap_or(0))
    }

    /// At most `limit` records of a log from `offset` on, in order; empty only at its end, but fewer where a chunk ends.
    ///
    /// # Errors
    /// Where a file cannot be read, or rows are missing.
    pub fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        if offset >= self.manifest.end(log) {
            return Ok(Vec::new());
        }
        let (from, rows) = self.chunk_of(log, offset)?;
        Ok(rows[(offset - from) as usize..].iter().take(limit).map(|row| row.record.clone()).collect())
    }

    /// Whom the decision at an offset of a log was made for, encoded; `None` where that is not told.
    ///
    /// # Errors
    /// Where a file cannot be read, or rows are missing.
    pub fn identity(&self, log: LogId, offset: u64) -> Result<Option<Arc<[u8]>>> {
        let (from, rows) = self.chunk_of(log, offset)?;
        Ok(rows[(offset - from) as usize].identity.clone())
    }

    /// The chunk that holds an offset, and where it starts.
    fn chunk_of(&self, log: LogId, offset: u64) -> Result<(u64, Arc<[Encoded]>)> {
        let starts = self.chunks.get(&log).and_then(|chunks| chunks.range(..=offset).next_back());
        let Some((&from, paths)) = starts else { return Err(self.missing(log, offset)) };
        let rows = self.chunk((log, from), paths)?;
        if offset - from < rows.len() as u64 { Ok((from, rows)) } else { Err(self.missing(log, offset)) }
    }

    fn missing(&self, log: LogId, offset: u64) -> ArchiveError {
        let end = self.manifest.logs.iter().find(|end| end.log() == log);
        let placement = end.map_or("", |end| &end.placement);
        let reason = format!(
            "the log of placement {placement}, partition {}, has no row at offset {offset}: files are missing, export \
             it again into another folder",
            log.partition
        );
        ArchiveError::content(&self.folder, reason)
    }

    /// The rows of a chunk, in order.
    fn chunk(&self, key: (LogId, u64), paths: &[PathBuf]) -> Result<Arc<[Encoded]>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = kept.iter().position(|(known, _)| *known == key) {
            // The one that is asked for goes last, as the latest.
            let found = kept.remove(position).expect("invariant: a position that was found is there");
            kept.push_back(found.clone());
            return Ok(found.1);
        }
        let rows: Arc<[_]> = self.read_chunk(key, paths)?.into();
        if kept.len() == CHUNKS_KEPT {
            kept.pop_front();
        }
        kept.push_back((key, rows.clone()));
        Ok(rows)
    }

    fn read_chunk(&self, (log, from): (LogId, u64), paths: &[PathBuf]) -> Result<Vec<Encoded>> {
        let mut rows = BTreeMap::new();
        for path in paths {
            let mut twice = None;
            files::read_rows(path, self.manifest.format, |row| {
                twice = twice.or(rows.insert(row.offset, row).map(|other| other.offset));
            })?;
            if let Some(offset) = twice {
                let reason = format!("offset {offset} stands in the archive twice; one of its files was copied");
                return Err(ArchiveError::content(path, reason));
            }
        }
        let gap = (from..).zip(rows.keys()).find(|(expected, offset)| expected != *offset);
        if let Some((expected, _)) = gap {
            return Err(self.missing(log, expected));
        }
        Ok(rows.into_values().collect())
    }
}
