//! `offer-ranker replay evaluate`: what a candidate catalog's policy would have earned on a log.

use super::{
    output::{self, OutputError},
    table,
};
use crate::{
    catalog::{self, Problems},
    cli::{
        log_path::{LogArgs, LogPathError},
        progress,
    },
    engine::catalog::{Catalog, Placement},
    replay::{
        assessment::{Assessment, Plan},
        estimators::Grids,
        evaluation::Range,
        report::Report,
        support::arms::Pmfs,
    },
    service::{
        ServiceError,
        evaluate::{Belief, Candidate, Evaluated, RewardBy, evaluate},
    },
};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

/// How often rows are drawn again for bootstrap intervals.
const REPLICATES: usize = 200;

/// Estimate what a candidate catalog's policy would have earned where a log was made
///
/// The engine that serves says what the candidate would have drawn each logged lead from: exactly, nothing is simulated.
/// What is estimated is the candidate's lead with the logging policy's rest below it. Exits with 2 where the log cannot
/// answer, and says why. See docs/replay.md.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    log: LogArgs,
    /// The candidate's catalog file
    #[arg(long, value_name = "FILE")]
    catalog: PathBuf,
    /// The placement, in the catalog and in the log; default: the only one of the catalog
    #[arg(long, value_name = "ID")]
    placement: Option<String>,
    /// What the candidate believes where each decision was made: what its model learns from the log up to what that
    /// decision had learned, or its priors
    #[arg(long, default_value = "log")]
    belief: Belief,
    /// Whose definition of the reward counts
    #[arg(long, default_value = "candidate")]
    reward: RewardBy,
    /// What intervals leave outside
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    alpha: f64,
    /// Print what the gate refuses, with its warning on top
    #[arg(long)]
    force: bool,
    /// Print one JSON object, or write it to a file
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// Why nothing was evaluated.
#[derive(Debug, thiserror::Error)]
pub(super) enum EvaluateError {
    /// The candidate's catalog is not valid.
    #[error("{0}")]
    Catalog(Problems),
    /// The placement is not told.
    #[error("the catalog has several placements; name one with --placement: {known}")]
    Placement {
        /// Those there are.
        known: String,
    },
    /// Nothing can be left outside of an interval.
    #[error("--alpha is {alpha}, must be above 0 and below 1")]
    Alpha {
        /// As given.
        alpha: f64,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] LogPathError),
    /// It cannot be read.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The report cannot be given out.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What is evaluated, for whoever reads the report.
#[derive(serde::Serialize)]
struct Evaluation<'a> {
    placement: &'a str,
    belief: Belief,
    reward: RewardBy,
    estimand: &'static str,
    assumption: &'static str,
    log: &'a Evaluated,
    #[serde(flatten)]
    report: &'a Report,
}

/// Evaluates and prints; where the gate refuses, the exit code is 2.
pub(super) async fn run(args: Args, out: &mut impl Write) -> Result<ExitCode, EvaluateError> {
    if !(args.alpha > 0.0 && args.alpha < 1.0) {
        return Err(EvaluateError::Alpha { alpha: args.alpha });
    }
    let loaded = catalog::load(&args.catalog).map_err(EvaluateError::Catalog)?.catalog;
    let placement = placement_of(&loaded, args.placement.as_deref())?;
    let candidate = Candidate { catalog: Arc::new(loaded), placement, belief: args.belief, reward: args.reward };
    let source = args.log.open().await?;
    let records: u64 = source.log_ends().await?.into_iter().map(|(_, end)| end).sum();
    // Once for what was earned, once for what was drawn.
    let bar = progress::bar(2 * records, "{bar:40} {human_pos}/{human_len} records, {eta} left");
    let mut assessment = Assessment::new(plan(&candidate, args.alpha));
    let take = |drawn: &crate::replay::target::Drawn| {
        assessment.observe(&drawn.row, &Pmfs { logged: Some(&drawn.logged), target: Some(&drawn.target) });
    };
    let evaluated = evaluate(&*source, &candidate, take, |records| bar.inc(records)).await?;
    bar.finish_and_clear();
    let report = assessment.report(0.0, args.force);
    print(&args, &candidate, (&evaluated, &report), out)?;
    Ok(if report.verdict.refused && !args.force { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

fn placement_of(catalog: &Catalog, wanted: Option<&str>) -> Result<Arc<Placement>, EvaluateError> {
    let known = || catalog.placements.keys().map(|id| &**id).collect::<Vec<_>>().join(", ");
    match (wanted, catalog.placements.len()) {
        (Some(wanted), _) => catalog
            .placements
            .get(wanted)
            .cloned()
            .ok_or_else(|| ServiceError::PlacementNotFound { placement: wanted.to_owned(), known: known() }.into()),
        (None, 1) => Ok(catalog.placements.values().next().expect("invariant: there is one").clone()),
        (None, _) => Err(EvaluateError::Placement { known: known() }),
    }
}

fn plan(candidate: &Candidate, alpha: f64) -> Plan {
    let reward = &candidate.placement.reward;
    let declared = candidate.reward == RewardBy::Candidate && reward.min.is_finite() && reward.max.is_finite();
    Plan {
        grids: Grids::default(),
        model: false,
        clustered: true,
        reward: declared.then_some(Range { min: reward.min, max: reward.max }),
        alpha,
        replicates: REPLICATES,
        seed: 0,
        group_shares: Vec::new(),
    }
}

fn print(
    args: &Args,
    candidate: &Candidate,
    (evaluated, report): (&Evaluated, &Report),
    out: &mut impl Write,
) -> Result<(), EvaluateError> {
    let evaluation = Evaluation {
        placement: &candidate.placement.id,
        belief: args.belief,
        reward: args.reward,
        estimand: match evaluated.slots_max {
            0 | 1 => "the reward of the slot",
            _ => "the reward of the lead slot: the candidate's lead with the logging policy's rest below it",
        },
        assumption: "slots that were not shown count by intention to treat",
        log: evaluated,
        report,
    };
    let as_tables = |evaluation: &Evaluation<'_>, out: &mut _| print_tables(evaluation, out);
    Ok(output::write(&evaluation, as_tables, args.json.as_deref(), out)?)
}

fn print_tables(evaluation: &Evaluation<'_>, out: &mut impl Write) -> io::Result<()> {
    let Evaluation { estimand, assumption, log, report, .. } = *evaluation;
    writeln!(out, "estimated: {estimand}; {assumption}")?;
    writeln!(out, "{} rows of {} decisions", log.rows, log.decisions)?;
    for (reason, count) in &log.left_out {
        writeln!(out, "  left out {count}: {reason}")?;
    }
    table::print(report, out)
}
