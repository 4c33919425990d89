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

fn write_parquet(
    file: &mut BufWriter<File>,
    table: Table,
    entries: &[Entry<'_>],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
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

/// Calls `take` with the offset and the encoded record of every row of a file.
pub(super) fn read_records(path: &Path, format: Format, mut take: impl FnMut(u64, Arc<[u8]>)) -> Result<()> {
    let unreadable = |error: String| ArchiveError::content(path, error);
    let file = File::open(path).map_err(ArchiveError::file(path, "cannot be opened"))?;
    match format {
        Format::Jsonl => {
            for (line, text) in (1..).zip(BufReader::new(file).lines()) {
                let text = text.map_err(ArchiveError::file(path, "cannot be read"))?;
                let row: JsonRow<'_> = serde_json::from_str(&text)
                    .map_err(|error| unreadable(format!("line {line} is no row: {error}")))?;
                let record = HEXLOWER.decode(row.record.as_bytes()).map_err(|error| {
                    unreadable(format!("line {line}: record is not in hexadecimal digits: {error}"))
                })?;
                take(row.offset, record.into());
            }
            Ok(())
        }
        Format::Parquet => {
            read_parquet(file, take).map_err(|error| unreadable(format!("is no table of the log: {error}")))
        }
    }
}

#[derive(Deserialize)]
struct JsonRow<'a> {
    offset: u64,
    record: &'a str,
}

fn read_parquet(
    file: File,
    mut take: impl FnMut(u64, Arc<[u8]>),
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let projection = ProjectionMask::columns(builder.parquet_schema(), ["offset", "record"]);
    for batch in builder.with_projection(projection).build()? {
        let batch = batch?;
        let column = |name: &'static str| batch.column_by_name(name).ok_or_else(|| format!("it has no column {name}"));
        let offsets: &Int64Array = column("offset")?.as_primitive_opt().ok_or("offset is not of 64-bit integers")?;
        let records: &BinaryArray = column("record")?.as_binary_opt().ok_or("record is not of bytes")?;
        for row in 0..batch.num_rows() {
            if offsets.is_null(row) || records.is_null(row) {
                return Err("a row lacks its offset or its record".into());
            }
            take(u64::try_from(offsets.value(row))?, records.value(row).into());
        }
    }
    Ok(())
}
