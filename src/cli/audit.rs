//! `offer-ranker audit`: proves that what was learned is what the log says.

use super::{client::plain_table, progress, store::StoreArgs};
use crate::{
    service::{
        ServiceError,
        audit::{AuditReport, audit},
    },
    store::StoreError,
};
use std::io::{self, Write};

/// Recompute all statistics from the log and compare them bit for bit
///
/// Also follows every decision's ledger through the log, from change to change, to what is stored. Changes nothing
/// and may run while a server serves: of a file it reads one moment, in Redis it follows the log as it grows. Exits
/// with 1 where anything differs.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Why an audit could not be made, or what it found.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds cannot be audited.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// It was made, and found differences, which have been printed.
    #[error("the statistics are not those of the log: {differences} differences")]
    Different {
        /// How many.
        differences: usize,
    },
    /// The report could not be written.
    #[error("cannot write the report")]
    Output(#[from] io::Error),
}

/// Audits and prints.
///
/// # Errors
/// Where something differs, or the store cannot be read.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), AuditError> {
    let store = args.store.store.open_read_only().await?;
    let records = store.log_ends().await?.into_iter().map(|(_, end)| end).sum();
    let bar = progress::bar(records, "{bar:40} {human_pos}/{human_len} records, {eta} left");
    let report = audit(&*store, |records| bar.inc(records)).await?;
    bar.finish_and_clear();
    if args.json {
        writeln!(out, "{:#}", serde_json::json!(report))?;
    } else {
        print(&report, out)?;
    }
    let differences = report.partitions.iter().map(|partition| partition.differences.len()).sum();
    if report.equal { Ok(()) } else { Err(AuditError::Different { differences }) }
}

fn print(report: &AuditReport, out: &mut impl Write) -> io::Result<()> {
    let header = ["placement", "partition", "records", "folded", "decisions", "erased", "ledger changes", "verdict"];
    let mut table = plain_table(&header, &[1, 2, 3, 4, 5, 6]);
    for partition in &report.partitions {
        let verdict = match (partition.differences.is_empty(), &partition.model_id) {
            (false, _) => "DIFFERENT",
            (true, Some(_)) => "equal",
            (true, None) => "ledgers only: not in the catalog",
        };
        table.add_row([
            partition.placement.clone(),
            partition.partition.to_string(),
            partition.records.to_string(),
            partition.folded.to_string(),
            partition.decisions.to_string(),
            partition.erased.to_string(),
            partition.ledger_changes.to_string(),
            verdict.to_owned(),
        ]);
    }
    writeln!(out, "{table}")?;
    for partition in &report.partitions {
        for difference in &partition.differences {
            writeln!(out, "{}, partition {}: {difference}", partition.placement, partition.partition)?;
        }
    }
    if report.partitions.is_empty() {
        writeln!(out, "nothing is logged yet, so there was nothing to compare")?;
    } else if report.equal {
        writeln!(out, "equal: every statistic is, to the last bit, what the log adds up to")?;
    }
    Ok(())
}
