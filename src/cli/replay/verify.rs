//! `offer-ranker replay verify`: makes logged decisions again and says where that comes out otherwise.

use crate::{
    cli::{
        log_path::{LogArgs, LogPathError},
        progress,
    },
    service::{
        ServiceError,
        verify::{VerifyReport, verify},
    },
};
use std::io::{self, Write};

/// Make every logged decision again and compare it bit for bit
///
/// From its record, which holds the scores: eligibility, prices, probabilities, bounds, draws, tail, leases. And from the
/// log itself, where it reaches back: the scores as well, by what was learned before. Exits with 1 where anything differs,
/// and where nothing could be made again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    log: LogArgs,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Why a log could not be verified, or what that found.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerifyError {
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] LogPathError),
    /// It cannot be read.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// It was verified, and decisions came out otherwise, which has been printed.
    #[error("decisions came out otherwise than they were logged: {mismatches} mismatches")]
    Different {
        /// How many.
        mismatches: u64,
    },
    /// There was nothing to compare.
    #[error("none of {decisions} decisions could be made again, so that nothing is verified; the report says why")]
    Nothing {
        /// How many are logged.
        decisions: u64,
    },
    /// The report could not be written.
    #[error("cannot write the report")]
    Output(#[from] io::Error),
}

/// Verifies and prints.
pub(super) async fn run(args: Args, out: &mut impl Write) -> Result<(), VerifyError> {
    let source = args.log.open().await?;
    let records: u64 = source.log_ends().await?.into_iter().map(|(_, end)| end).sum();
    let bar = progress::bar(records, "{bar:40} {human_pos}/{human_len} records and decisions, {eta} left");
    let report = verify(&*source, |done| {
        bar.inc(done);
        // Decisions are made again from the log once more, and how many there are is known by and by.
        bar.set_length(bar.length().unwrap_or(0).max(bar.position()));
    })
    .await?;
    bar.finish_and_clear();
    if args.json {
        writeln!(out, "{:#}", serde_json::json!(report))?;
    } else {
        print(&report, out)?;
    }
    let VerifyReport { equal, mismatches, decisions, .. } = report;
    match (equal, mismatches) {
        (true, _) => Ok(()),
        (false, 0) => Err(VerifyError::Nothing { decisions }),
        (false, mismatches) => Err(VerifyError::Different { mismatches }),
    }
}

fn print(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    let VerifyReport { decisions, from_record, from_log, repeats, erased, mismatches, .. } = report;
    writeln!(out, "decisions                 {decisions}")?;
    writeln!(out, "made again from record    {from_record}, of which repeats of a lease: {repeats}")?;
    writeln!(out, "  only their draws        {erased}: it cannot be told any more whom they were made for")?;
    for (reason, count) in &report.not_from_record {
        writeln!(out, "  not made again          {count}: {reason}")?;
    }
    writeln!(out, "made again from the log   {from_log}")?;
    for (reason, count) in &report.not_from_log {
        writeln!(out, "  from the record alone   {count}: {reason}")?;
    }
    writeln!(out, "mismatches                {mismatches}")?;
    for mismatch in &report.listed {
        let difference = &mismatch.difference;
        writeln!(
            out,
            "{} from {}: {} is logged as {} and comes out as {}",
            mismatch.decision_id, mismatch.made_from, difference.field, difference.logged, difference.recomputed
        )?;
    }
    if *mismatches > report.listed.len() as u64 {
        writeln!(out, "and {} more", mismatches - report.listed.len() as u64)?;
    }
    Ok(())
}
