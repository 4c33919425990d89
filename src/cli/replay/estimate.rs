//! `offer-ranker replay estimate`: estimates from rounds, probabilities and reward estimates that were made elsewhere.

use super::{
    numbers,
    output::{self, OutputError},
    reward::{RewardArgs, RewardError},
    table,
};
use crate::{
    cli::progress,
    replay::{
        assessment::{Assessment, Plan},
        estimators::{Estimator, Grids},
        evaluation::Range,
        files::{self, Sources, mistakes::Mistakes, table::Source},
        gate::Verdict,
        report::Report,
        slates,
        support::arms::Pmfs,
    },
};
use indicatif::ProgressBar;
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Estimate a policy's value from rounds, its probabilities and reward estimates made elsewhere
///
/// Either of single slots, with --rounds and --target, or of whole slates, with --slates. Exits with 2 where the rounds
/// cannot answer, and says why; with 1 where the files are wrong. See docs/replay.md.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What was drawn and earned: CSV, plain or gzipped, with the columns t, action, position, reward, pscore
    #[arg(long, value_name = "FILE", requires = "target", required_unless_present = "slates")]
    rounds: Option<PathBuf>,
    /// The target policy's probabilities: by round (t, position, a0, a1, ..) or the same in all (action, position, pi_e)
    #[arg(long, value_name = "FILE", requires = "rounds")]
    target: Option<PathBuf>,
    /// A reward model's estimates, laid out like the target's probabilities
    #[arg(long, value_name = "FILE", requires = "rounds")]
    rewards: Option<PathBuf>,
    /// Whole slates with their probabilities under both policies, in one JSON file
    #[arg(long, value_name = "FILE", conflicts_with = "rounds")]
    slates: Option<PathBuf>,
    /// The estimators to report, without lambda; default: all that the files allow
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "rounds", value_parser = Estimator::FAMILIES)]
    estimators: Vec<String>,
    /// Hyper-parameters to try instead of the usual grids; sub-Gaussian weights take those up to 1
    #[arg(long, value_name = "VALUE", value_delimiter = ',', requires = "rounds", value_parser = numbers::lambda)]
    lambda: Vec<f64>,
    /// The smallest probability with which the logging policy drew any arm; default: the smallest propensity there is
    #[arg(long, value_name = "P", requires = "rounds", value_parser = numbers::probability)]
    logging_floor: Option<f64>,
    #[command(flatten)]
    reward: RewardArgs,
    /// The column of the rounds that says whose they are; default: everybody has one
    #[arg(long, value_name = "COLUMN", requires = "rounds")]
    cluster: Option<String>,
    /// The column of the rounds that says their day
    #[arg(long, value_name = "COLUMN", requires = "rounds")]
    day: Option<String>,
    /// What intervals leave outside
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = numbers::probability)]
    alpha: f64,
    /// How often rows are drawn again for bootstrap intervals, which are there for comparison; 0: not at all
    #[arg(long, value_name = "N", default_value_t = 0, requires = "rounds", value_parser = numbers::replicates)]
    bootstrap: usize,
    /// Decides what is drawn again
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Print what the gate refuses, with its warning on top
    #[arg(long)]
    force: bool,
    /// Print one JSON object, or write it to a file
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// Why nothing was estimated.
#[derive(Debug, thiserror::Error)]
pub(super) enum EstimateError {
    /// A file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is nothing to estimate from.
    #[error("name --rounds and --target, or --slates")]
    Nothing,
    /// An estimator was asked for that corrects a reward model, and there is none.
    #[error("--estimators {0}: corrects a reward model; name its estimates with --rewards")]
    NoModel(String),
    /// An estimator was asked for that takes none of the hyper-parameters.
    #[error("--estimators {0}: takes a lambda from 0 to 1, and --lambda names none; add one, or leave --lambda out")]
    NoLambda(String),
    /// What rewards can be is not what was said.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// Something is wrong with the files.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// The report cannot be given out.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Estimates and prints.
pub(super) fn run(args: Args, out: &mut impl Write) -> Result<ExitCode, EstimateError> {
    let refused = match (&args.slates, &args.rounds, &args.target) {
        (Some(path), ..) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| EstimateError::Unreadable { file: path.clone(), source })?;
            let slates = slates::file::read(&path.display().to_string(), &text)?;
            let rewards = slates.iter().flat_map(|slate| &slate.rewards).copied();
            let reward = args.reward.range_of(rewards)?;
            let report = slates::report::report(&slates, reward, args.alpha, (&Verdict::default(), args.force));
            output::write(&report, table::print_slates, args.json.as_deref(), out)?;
            report.verdict.refused
        }
        (None, Some(rounds), Some(target)) => {
            let report = assess(&args, rounds, target, args.reward.range()?)?;
            output::write(&report, table::print, args.json.as_deref(), out)?;
            report.verdict.refused
        }
        // Not let through by the flags.
        _ => return Err(EstimateError::Nothing),
    };
    Ok(if refused && !args.force { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

fn assess(args: &Args, rounds: &Path, target: &Path, reward: Option<Range>) -> Result<Report, EstimateError> {
    let grids = if args.lambda.is_empty() { Grids::default() } else { Grids::of(&args.lambda) };
    let offers = |grids: &Grids, name: &str| {
        grids.estimators(args.rewards.is_some()).iter().any(|estimator| estimator.family() == name)
    };
    if let Some(name) = args.estimators.iter().find(|name| !offers(&grids, name)) {
        let told = name.clone();
        let lacks_lambda = offers(&Grids::default(), name);
        return Err(if lacks_lambda { EstimateError::NoLambda(told) } else { EstimateError::NoModel(told) });
    }
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let total = [Some(rounds), Some(target), args.rewards.as_deref()].into_iter().flatten().map(bytes).sum();
    let bar = progress::bar(total, "{bar:40} {bytes}/{total_bytes}, {eta} left");
    let sources = Sources {
        rounds: source(rounds, &bar)?,
        target: source(target, &bar)?,
        rewards: args.rewards.as_deref().map(|path| source(path, &bar)).transpose()?,
        cluster: args.cluster.clone(),
        day: args.day.clone(),
        floor: args.logging_floor,
        reward,
    };
    let mut assessment = Assessment::new(Plan {
        grids,
        families: args.estimators.clone(),
        model: args.rewards.is_some(),
        clustered: args.cluster.is_some(),
        reward,
        alpha: args.alpha,
        replicates: args.bootstrap,
        seed: args.seed,
        fitted_propensities: false,
    });
    let weight_max = files::read(sources, |row, target| {
        assessment.observe(row, &Pmfs { logged: None, target: Some(target) });
    })?;
    bar.finish_and_clear();
    Ok(assessment.report(weight_max, args.force))
}

fn source(path: &Path, bar: &ProgressBar) -> Result<Source, EstimateError> {
    let file = File::open(path).map_err(|source| EstimateError::Unreadable { file: path.to_owned(), source })?;
    Ok(Source { name: path.display().to_string(), content: Box::new(bar.wrap_read(file)) })
}
