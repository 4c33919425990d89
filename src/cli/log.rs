//! `offer-ranker log`: the log as files, and back.

use super::{
    client::plain_table,
    progress,
    store::{StoreAddress, StoreArgs},
};
use crate::{
    clock::{SystemClock, random_bytes},
    log::archive::{Archive, ArchiveError, ArchiveWriter, Format},
    service::{
        ServiceError,
        export::{CHUNK_RECORDS, ExportReport, Exporting, ForgetReport, export, forget},
        import::{ImportReport, import},
    },
    store::StoreError,
};
use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Export logs to files and read them back
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write decisions, exposures and outcomes to files that other tools read
    ///
    /// Goes on where the last export into the same folder ended, whatever ended it. Changes nothing in the store and may
    /// run while a server serves. docs/log-format.md describes every column.
    Export(ExportArgs),
    /// Read an exported log into a new store: the same log, from which the same is learned
    ///
    /// For looking back, with `audit` and `replay verify`: the store has no keys, so it does not know the users again, and
    /// `replay evaluate` needs the exported folder itself.
    Import(ImportArgs),
    /// Remove from exported files whom decisions were made for, wherever the store cannot tell it any more
    ///
    /// After users were forgotten, and for what --identities-days has ended. Leaves everything else as it is.
    Forget(ForgetArgs),
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Folder of the export: an empty one, a new one, or one that an export has written
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Export the log of this placement alone; default: those of all
    #[arg(long, value_name = "ID")]
    placement: Option<String>,
    /// How rows are written; default: as those that are there, else as Parquet
    #[arg(long)]
    format: Option<Format>,
    /// Most records of one log that are written at a time, to a file for each table and day, and held in memory
    #[arg(long, value_name = "RECORDS", default_value_t = CHUNK_RECORDS, value_parser = chunk_records)]
    chunk: usize,
    /// Print what was exported as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// Folder that log export has written
    #[arg(long = "in", value_name = "FOLDER")]
    folder: PathBuf,
    /// The store to make: embedded:PATH, where nothing is yet
    #[command(flatten)]
    store: StoreArgs,
    /// Print what was imported as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ForgetArgs {
    /// Folder that log export has written
    #[arg(long = "in", value_name = "FOLDER")]
    folder: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Print what was forgotten as one JSON object
    #[arg(long)]
    json: bool,
}

/// Why a log could not be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds cannot be exported, or what is exported cannot be imported.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The exported files cannot be read or written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Where the imported store cannot be.
    #[error("{store}: {reason}")]
    Place {
        /// As given.
        store: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The summary could not be written.
    #[error("cannot write the summary")]
    Output(#[from] io::Error),
}

/// Exports, imports or forgets.
///
/// # Errors
/// Where store or files cannot be read or written.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), LogError> {
    match args.command {
        Command::Export(args) => run_export(args, out).await,
        Command::Import(args) => run_import(args, out).await,
        Command::Forget(args) => run_forget(args, out).await,
    }
}

async fn run_export(args: ExportArgs, out: &mut impl Write) -> Result<(), LogError> {
    let store = args.store.store.open_read_only().await?;
    let mut archive = ArchiveWriter::open(&args.out, args.format, store.identity().epoch)?;
    let ends = store.log_ends().await?;
    let missing = ends.into_iter().map(|(log, end)| end.saturating_sub(archive.end(log))).sum();
    let bar = progress::bar(missing, "{bar:40} {human_pos}/{human_len} records, {eta} left");
    let exporting = Exporting { placement: args.placement.as_deref(), chunk_records: args.chunk };
    let report = export(&*store, &mut archive, exporting, |records| bar.inc(records)).await?;
    bar.finish_and_clear();
    if args.json {
        writeln!(out, "{:#}", serde_json::json!(report))?;
    } else {
        print_export(&report, &args.out, out)?;
    }
    Ok(())
}

fn chunk_records(given: &str) -> Result<usize, String> {
    let records = given.parse().ok().filter(|records| (1..=1_000_000).contains(records));
    records.ok_or_else(|| "must be a whole number from 1 to 1000000".to_owned())
}

fn print_export(report: &ExportReport, folder: &Path, out: &mut impl Write) -> io::Result<()> {
    let header = ["placement", "partition", "from", "to", "decisions", "exposures", "outcomes", "closings"];
    let mut table = plain_table(&header, &[1, 2, 3, 4, 5, 6, 7]);
    for log in &report.logs {
        let rows = |table| log.rows.get(table).copied().unwrap_or(0).to_string();
        table.add_row([
            log.placement.clone(),
            log.partition.to_string(),
            log.from.to_string(),
            log.to.to_string(),
            rows("decisions"),
            rows("exposures"),
            rows("outcomes"),
            rows("closings"),
        ]);
    }
    writeln!(out, "{table}")?;
    match report.records {
        0 => writeln!(out, "{} is up to date: the log has nothing that is not there", folder.display()),
        records => writeln!(out, "{records} records exported to {}", folder.display()),
    }
}

async fn run_forget(args: ForgetArgs, out: &mut impl Write) -> Result<(), LogError> {
    let archive = Archive::open(&args.folder)?;
    let store = args.store.store.open_read_only().await?;
    let writer = ArchiveWriter::open(&args.folder, None, store.identity().epoch)?;
    let records = archive.logs().map(|(_, _, end)| end).sum();
    let bar = progress::bar(records, "{bar:40} {human_pos}/{human_len} records, {eta} left");
    let report = forget(&*store, (&archive, &writer), |records| bar.inc(records)).await?;
    bar.finish_and_clear();
    let ForgetReport { decisions, erased } = report;
    if args.json {
        writeln!(out, "{:#}", serde_json::json!(report))?;
    } else {
        writeln!(out, "of {erased} of {decisions} decisions the files do not tell any more whom they were made for")?;
    }
    Ok(())
}

async fn run_import(args: ImportArgs, out: &mut impl Write) -> Result<(), LogError> {
    let archive = Archive::open(&args.folder)?;
    let path = vacant(&args.store.store)?;
    let records = archive.logs().map(|(_, _, end)| end).sum();
    let bar = progress::bar(records, "{bar:40} {human_pos}/{human_len} records, {eta} left");
    // Under another name until it is whole: a store with half a log would pass for one.
    let unfinished = beside(path, ".importing");
    remove_store(&unfinished)?;
    let store = StoreAddress::Embedded(unfinished.clone()).open(random_bytes(&SystemClock)).await?;
    let imported = import(&archive, &store, Arc::new(SystemClock), |records| bar.inc(records)).await;
    store.close().await?;
    drop(store);
    let finished = match imported {
        Ok(report) => fs::rename(&unfinished, path).map(|()| report).map_err(LogError::from),
        Err(error) => Err(error.into()),
    };
    remove_store(&unfinished)?;
    let report = finished?;
    bar.finish_and_clear();
    if args.json {
        writeln!(out, "{:#}", serde_json::json!(report))?;
    } else {
        let ImportReport { revisions, records, logs } = report;
        writeln!(
            out,
            "{records} records of {logs} logs and {revisions} catalog revisions imported into {}",
            args.store.store
        )?;
    }
    Ok(())
}

/// The path of a store that is not there yet.
fn vacant(store: &StoreAddress) -> Result<&Path, LogError> {
    let refused = |reason: &str| LogError::Place { store: store.to_string(), reason: reason.to_owned() };
    match store {
        StoreAddress::Embedded(path) if path.exists() => {
            Err(refused("the file is there already, and an import replaces nothing; name one that is not there"))
        }
        StoreAddress::Embedded(path) => Ok(path),
        StoreAddress::Redis(_) => Err(refused("an import makes a file; name one as embedded:PATH")),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Removes the files of a store, as far as they are there.
fn remove_store(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        match fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
