//! The files of an archive: their names, their rows, and that they are there whole or not at all.

use super::{ArchiveError, Format, Result};
use crate::log::tables::{Entry, Row, Table};
use arrow_array::{Array as _, BinaryArray, Int64Array, RecordBatch, cast::AsArray as _};
use arrow_json::ReaderBuilder;
use data_encoding::HEXLOWER;
use jiff::{Timestamp, tz::TimeZone};
use parquet::{
    arrow::{ArrowWriter, ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::Deserialize;
use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Rows that are turned into columns at a time: nested columns of large decisions take tens of kilobytes a row.
const ROWS_AT_ONCE: usize = 1000;

/// A file of a chunk, by its place and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChunkFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Partition index.
    pub(super) partition: u16,
    /// The offset that its chunk starts at.
    pub(super) from: u64,
}

/// Where the rows of a table and day of a placement's chunk go.
pub(super) fn path_of(
    folder: &Path,
    (table, placement, day): (Table, &str, i64),
    (partition, from): (u16, u64),
    format: Format,
) -> PathBuf {
    // What is beyond the calendar's last day stands under that.
    let midnight = Timestamp::from_second(day.saturating_mul(24 * 60 * 60)).unwrap_or(Timestamp::MAX);
    let date = TimeZone::UTC.to_datetime(midnight).date();
    let name = format!("{partition:05}-{from:015}.{}", format.extension());
    folder.join(table.name()).join(format!("placement={placement}")).join(format!("date={date}")).join(name)
}

/// The files of a placement's chunks in a table, and what writers that were killed left beside them.
pub(super) fn list(
    folder: &Path,
    table: Table,
    placement: &str,
    format: Format,
) -> Result<(Vec<ChunkFile>, Vec<PathBuf>)> {
    let (mut files, mut left) = (Vec::new(), Vec::new());
    let placement = folder.join(table.name()).join(format!("placement={placement}"));
    for date in entries(&placement)? {
        for path in entries(&date)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match chunk_of(name, format) {
                Some((partition, from)) => files.push(ChunkFile { path, partition, from }),
                None if is_temporary(name) => left.push(path),
                None => {}
            }
        }
    }
    Ok((files, left))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error| ArchiveError::file(folder, "cannot be listed")(error);
    let listed = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        listed => listed.map_err(unreadable)?,
    };
    let mut paths = listed.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

fn chunk_of(name: &str, format: Format) -> Option<(u16, u64)> {
    let stem = name.strip_suffix(format.extension())?.strip_suffix('.')?;
    let (partition, from) = stem.split_once('-')?;
    Some((partition.parse().ok()?, from.parse().ok()?))
}

fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// Writes a file under a name of its own, and gives it this one once it is on the disk: it takes the place of what had
/// the name before, at once.
pub(super) fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(ArchiveError::file(folder, "cannot be created"))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let temporary = folder.join(format!(".{name}.tmp"));
    let written = File::create(&temporary).and_then(|file| {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).map_err(ArchiveError::file(path, "cannot be written"))
}

/// Writes the rows of one file.
pub(super) fn write_rows(path: &Path, table: Table, format: Format, entries: &[Entry<'_>]) -> Result<()> {
    write_whole(path, |file| match format {
        Format::Jsonl => entries.iter().try_for_each(|entry| {
            serde_json::to_writer(&mut *file, &Row::of(entry))?;
            file.write_all(b"\n")
        }),
        Format::Parquet => write_parquet(file, table, entries).map_err(io::Error::other),
    })
}

fn write_parquet(file: &mut BufWriter<File>, table: Table, entries: &[Entry<'_>]) -> Result<(), Unreadable> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?)).build();
    let mut writer = ArrowWriter::try_new(file, table.schema(), Some(properties))?;
    for some in entries.chunks(ROWS_AT_ONCE) {
        writer.write(&columns(table, some)?)?;
    }
    writer.close()?;
    Ok(())
}

/// Rows as columns.
fn columns(table: Table, entries: &[Entry<'_>]) -> Result<RecordBatch, arrow_schema::ArrowError> {
    // A column that the schema does not know would be a mistake of this program.
    let mut decoder = ReaderBuilder::new(table.schema()).with_strict_mode(true).build_decoder()?;
    let rows: Vec<Row<'_>> = entries.iter().map(Row::of).collect();
    decoder.serialize(&rows)?;
    Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(table.schema())))
}

/// What programs of ours read of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    /// Of the record in its log.
    pub(super) offset: u64,
    /// The record.
    pub(super) record: Arc<[u8]>,
    /// Whom a decision was made for, where that is told.
    pub(super) identity: Option<Arc<[u8]>>,
}

/// Calls `take` with every row of a file.
pub(super) fn read_rows(path: &Path, format: Format, take: impl FnMut(Encoded)) -> Result<()> {
    let file = File::open(path).map_err(ArchiveError::file(path, "cannot be opened"))?;
    let read = match format {
        Format::Jsonl => read_lines(file, take),
        Format::Parquet => read_parquet(file, take),
    };
    read.map_err(|error| ArchiveError::content(path, format!("is no table of the log: {error}")))
}

type Unreadable = Box<dyn std::error::Error + Send + Sync>;

#[derive(Deserialize)]
struct JsonRow<'a> {
    offset: u64,
    record: &'a str,
    identity: Option<&'a str>,
}

fn read_lines(file: File, mut take: impl FnMut(Encoded)) -> Result<(), Unreadable> {
    let bytes = |digits: &str| HEXLOWER.decode(digits.as_bytes()).map(Arc::from);
    for (line, text) in (1..).zip(BufReader::new(file).lines()) {
        let text = text?;
        let row = || -> Result<Encoded, Unreadable> {
            let JsonRow { offset, record, identity } = serde_json::from_str(&text)?;
            Ok(Encoded { offset, record: bytes(record)?, identity: identity.map(bytes).transpose()? })
        };
        take(row().map_err(|error| format!("line {line}: {error}"))?);
    }
    Ok(())
}

fn read_parquet(file: File, mut take: impl FnMut(Encoded)) -> Result<(), Unreadable> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let projection = ProjectionMask::columns(builder.parquet_schema(), ["offset", "record", "identity"]);
    for batch in builder.with_projection(projection).build()? {
        let batch = batch?;
        let column = |name: &'static str| batch.column_by_name(name).ok_or_else(|| format!("it has no column {name}"));
        let offsets: &Int64Array = column("offset")?.as_primitive_opt().ok_or("offset is not of 64-bit integers")?;
        let records: &BinaryArray = column("record")?.as_binary_opt().ok_or("record is not of bytes")?;
        // Decisions alone have it.
        let identities: Option<&BinaryArray> = batch.column_by_name("identity").and_then(|found| found.as_binary_opt());
        for row in 0..batch.num_rows() {
            if offsets.is_null(row) || records.is_null(row) {
                return Err("a row lacks its offset or its record".into());
            }
            let identity = identities.filter(|identities| !identities.is_null(row));
            take(Encoded {
                offset: u64::try_from(offsets.value(row))?,
                record: records.value(row).into(),
                identity: identity.map(|identities| identities.value(row).into()),
            });
        }
    }
    Ok(())
}
