//! Where a report goes: to a terminal as tables, or as one JSON object, also to a file.

use serde::Serialize;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Why a report could not be given out.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// It cannot be written to a file.
    #[error("{}: cannot be written", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be printed.
    #[error("cannot write the report")]
    Print(#[from] io::Error),
}

/// Writes a report as one JSON object to a file, or to `out` where that is called `-`, and as tables where none is named.
pub(super) fn write<R: Serialize, W: Write>(
    report: &R,
    as_tables: impl FnOnce(&R, &mut W) -> io::Result<()>,
    json: Option<&Path>,
    out: &mut W,
) -> Result<(), OutputError> {
    // In the order in which a report is to be read, which a JSON value does not keep.
    let text = || serde_json::to_string_pretty(report).map(|text| text + "\n").map_err(io::Error::from);
    match json {
        None => as_tables(report, out)?,
        Some(path) if path.as_os_str() == "-" => out.write_all(text()?.as_bytes())?,
        Some(path) => {
            fs::write(path, text()?).map_err(|source| OutputError::File { file: path.to_owned(), source })?;
        }
    }
    Ok(())
}
