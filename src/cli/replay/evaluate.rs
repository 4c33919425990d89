//! `offer-ranker replay evaluate`: what a candidate catalog's policy would have earned on a log.

use super::{
    model::{Model, is_fitted},
    numbers,
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
        models::ModelError,
        slates::{self, modelled, untold::Untold},
        support::arms::Pmfs,
        target::{self, Drawn},
    },
    service::{
        ServiceError,
        evaluate::{Belief, Candidate, Evaluated, RewardBy, Slots, evaluate},
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
/// The engine that serves says what the candidate would have drawn each logged slot from: exactly, nothing is simulated.
/// What is estimated is the candidate's lead with the logging policy's rest below it, or with --slots all the candidate's
/// whole slate. Exits with 2 where the log cannot
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
    /// Which slots' reward is estimated: the lead's, or that of all slots together
    #[arg(long, default_value = "lead")]
    slots: Slots,
    /// What rewards are modelled by, for estimators that correct a model. Rows are kept in memory for it: some 300 bytes, 8
    /// for each feature and 16 for each offer of each; of whole slates 500 more, and 16 for each slot and offer
    #[arg(long, default_value = "ridge")]
    model: Model,
    /// What intervals leave outside
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = numbers::probability)]
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
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] LogPathError),
    /// It cannot be read.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// There is no reward model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The report cannot be given out.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What is evaluated, for whoever reads the report.
#[derive(serde::Serialize)]
struct Evaluation<'a, R> {
    placement: &'a str,
    belief: Belief,
    reward: RewardBy,
    estimand: &'static str,
    assumption: &'static str,
    log: &'a Evaluated,
    #[serde(flatten)]
    report: &'a R,
}

/// Evaluates and prints; where the gate refuses, the exit code is 2.
pub(super) async fn run(args: Args, out: &mut impl Write) -> Result<ExitCode, EvaluateError> {
    let kind = args.model.kind();
    if let (Slots::All, Some(kind)) = (args.slots, kind) {
        modelled::accepts(kind)?;
    }
    let loaded = catalog::load(&args.catalog).map_err(EvaluateError::Catalog)?.catalog;
    let placement = placement_of(&loaded, args.placement.as_deref())?;
    let Args { belief, reward, slots, .. } = args;
    let candidate = Candidate { catalog: Arc::new(loaded), placement, belief, reward, slots };
    let source = args.log.open().await?;
    let records: u64 = source.log_ends().await?.into_iter().map(|(_, end)| end).sum();
    // Once for what was earned, once for what was drawn.
    let bar = progress::bar(2 * records, "{bar:40} {human_pos}/{human_len} records, {eta} left");
    let mut assessment = Assessment::new(plan(&candidate, false, args.alpha));
    let (mut kept, mut slates) = (Vec::new(), Vec::new());
    let take = |drawn: Drawn| match kind {
        Some(_) => kept.push(drawn),
        None => {
            observe(&mut assessment, &drawn);
            slates.extend(drawn.slate.map(|drawn| drawn.slate));
        }
    };
    let mut evaluated = evaluate(&*source, &candidate, take, |records| bar.inc(records)).await?;
    if let Some(kind) = kind {
        let modelled = is_fitted(match slots {
            Slots::Lead => target::fit(kind, &mut kept),
            Slots::All => modelled::fit(kind, &mut kept),
        })?;
        if !modelled {
            let slates = kept.iter_mut().filter_map(|drawn| drawn.slate.as_mut());
            slates.for_each(|drawn| drawn.slate.model = Err(Untold::TooFewUsers));
        }
        assessment = Assessment::new(plan(&candidate, modelled && slots == Slots::Lead, args.alpha));
        kept.iter().for_each(|drawn| observe(&mut assessment, drawn));
        slates.extend(kept.into_iter().filter_map(|drawn| drawn.slate).map(|drawn| drawn.slate));
    }
    bar.finish_and_clear();
    assessment.divide(std::mem::take(&mut evaluated.divisions));
    assessment.leave_open(evaluated.open_windows());
    let report = assessment.report(0.0, args.force);
    let refused = match slots {
        Slots::Lead => {
            print(&args, &candidate, (&evaluated, &report), table::print, out).map(|()| report.verdict.refused)
        }
        Slots::All => {
            let report =
                slates::report::report(&slates, declared(&candidate), args.alpha, (&report.verdict, args.force));
            print(&args, &candidate, (&evaluated, &report), table::print_slates, out).map(|()| report.verdict.refused)
        }
    }?;
    Ok(if refused && !args.force { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

fn observe(assessment: &mut Assessment, drawn: &Drawn) {
    assessment.observe(&drawn.row, &Pmfs { logged: Some(&drawn.logged), target: Some(&drawn.target) });
}

pub(super) fn placement_of(catalog: &Catalog, wanted: Option<&str>) -> Result<Arc<Placement>, EvaluateError> {
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

/// What one slot can earn, where it was declared.
fn declared(candidate: &Candidate) -> Option<Range> {
    let reward = &candidate.placement.reward;
    let declared = candidate.reward == RewardBy::Candidate && reward.min.is_finite() && reward.max.is_finite();
    declared.then_some(Range { min: reward.min, max: reward.max })
}

fn plan(candidate: &Candidate, model: bool, alpha: f64) -> Plan {
    Plan {
        grids: Grids::default(),
        families: Vec::new(),
        model,
        clustered: true,
        reward: declared(candidate),
        alpha,
        replicates: REPLICATES,
        seed: 0,
        fitted_propensities: false,
    }
}

fn print<R: serde::Serialize, W: Write>(
    args: &Args,
    candidate: &Candidate,
    (evaluated, report): (&Evaluated, &R),
    as_tables: fn(&R, &mut W) -> io::Result<()>,
    out: &mut W,
) -> Result<(), EvaluateError> {
    let evaluation = Evaluation {
        placement: &candidate.placement.id,
        belief: args.belief,
        reward: args.reward,
        estimand: match (args.slots, evaluated.slots_max) {
            (Slots::All, _) => "the reward of all slots together, under the candidate's slates",
            (Slots::Lead, 0 | 1) => "the reward of the slot",
            (Slots::Lead, _) => {
                "the reward of the lead slot: the candidate's lead with the logging policy's rest below it"
            }
        },
        assumption: "slots that were not shown count by intention to treat",
        log: evaluated,
        report,
    };
    let tables = |evaluation: &Evaluation<'_, R>, out: &mut W| {
        let Evaluation { estimand, assumption, log, report, .. } = *evaluation;
        writeln!(out, "estimated: {estimand}; {assumption}")?;
        writeln!(out, "{} rows of {} decisions", log.rows, log.decisions)?;
        for (reason, count) in &log.left_out {
            writeln!(out, "  left out {count}: {reason}")?;
        }
        as_tables(report, out)
    };
    Ok(output::write(&evaluation, tables, args.json.as_deref(), out)?)
}
