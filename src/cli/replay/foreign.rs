//! `offer-ranker replay foreign`: what a policy would have earned by the log of another system.

use super::{
    evaluate::{self, EvaluateError},
    model::{Model, is_fitted},
    numbers,
    output::{self, OutputError},
    reward::{RewardArgs, RewardError},
    table,
};
use crate::{
    catalog::{self, Problems},
    replay::{
        assessment::{Assessment, Plan},
        estimators::Grids,
        files::{ROUNDING, mistakes::Mistakes, table::Source},
        foreign::{
            Choice, dsjson,
            mapping::{Mapping, MappingError},
            open_bandit,
            policy::Policy,
            rows::{Rows, rows},
            table as plain,
        },
        models::ModelError,
        report::Report,
        support::arms::Pmfs,
        target,
    },
    service::{ServiceError, foreign::Beginner},
};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

/// Estimate what a policy would have earned where another system made the log
///
/// Of the Open Bandit Dataset's layout, Vowpal Wabbit's dsjson, or a plain table. Where the log does not tell propensities
/// they are fitted, and only estimators that start from a reward model are offered. Exits with 2 where the log cannot
/// answer, and says why. See docs/replay.md.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// What rewards are modelled by, for estimators that correct a model
    #[arg(long, default_value = "ridge")]
    model: Model,
    /// The smallest probability with which the log's policy chose any action; default: the smallest propensity there is
    #[arg(long, value_name = "P", value_parser = numbers::probability)]
    logging_floor: Option<f64>,
    #[command(flatten)]
    reward: RewardArgs,
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

/// Where the log is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct LogArgs {
    /// A campaign's table of the Open Bandit Dataset
    #[arg(long, value_name = "FILE", requires = "items", conflicts_with_all = ["dsjson", "table"])]
    open_bandit: Option<PathBuf>,
    /// Its item_context.csv
    #[arg(long, value_name = "FILE", requires = "open_bandit")]
    items: Option<PathBuf>,
    /// Lines of Vowpal Wabbit's decision service
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    dsjson: Option<PathBuf>,
    /// A plain table: CSV, plain or gzipped
    #[arg(long, value_name = "FILE", requires = "mapping")]
    table: Option<PathBuf>,
    /// Which of its columns is what, in YAML
    #[arg(long, value_name = "FILE", requires = "table")]
    mapping: Option<PathBuf>,
}

/// What is evaluated.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct TargetArgs {
    /// Evenly whatever could be chosen
    #[arg(long, conflicts_with_all = ["always", "policy", "catalog"])]
    uniform: bool,
    /// One action
    #[arg(long, value_name = "ACTION", conflicts_with_all = ["policy", "catalog"])]
    always: Option<String>,
    /// Probabilities: CSV with the columns action, probability, and position from 1 unless it is the same in all
    #[arg(long, value_name = "FILE", conflicts_with = "catalog")]
    policy: Option<PathBuf>,
    /// The policy of a catalog by its priors, for offers that are called as the actions are
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Its placement; default: the only one
    #[arg(long, value_name = "ID", requires = "catalog")]
    placement: Option<String>,
}

/// Why nothing was estimated.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForeignError {
    /// A file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The mapping is none.
    #[error("{}: {mistake}", file.display())]
    Mapping {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        mistake: MappingError,
    },
    /// Something is wrong with the files.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// The catalog is not valid.
    #[error("{0}")]
    Catalog(Problems),
    /// The placement is not there, or not told.
    #[error(transparent)]
    Placement(#[from] EvaluateError),
    /// The catalog makes no policy.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// What rewards can be is not what was said.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// Propensities are below the declared floor.
    #[error(
        "{below} of {all} propensities are below {floor}, as --logging-floor has it, such as {first}; declare the smallest \
         with which any action could be chosen, or leave it out"
    )]
    BelowFloor {
        /// How many.
        below: usize,
        /// Of how many.
        all: usize,
        /// The first.
        first: f64,
        /// As declared.
        floor: f64,
    },
    /// Propensities have to be fitted, and there is nothing else to start from.
    #[error("the log tells no propensities: what is estimated starts from a reward model; choose one with --model")]
    NoModel,
    /// Propensities cannot be fitted.
    #[error("the log tells no propensities, and they cannot be fitted")]
    Propensities(#[source] ModelError),
    /// There is no reward model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The report cannot be given out.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What is estimated, for whoever reads the report.
#[derive(serde::Serialize)]
struct Estimated<'a> {
    choices: usize,
    left_out: u64,
    propensities: &'static str,
    #[serde(flatten)]
    report: &'a Report,
}

/// Estimates and prints; where the gate refuses, the exit code is 2.
pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<ExitCode, ForeignError> {
    args.reward.range()?;
    let choices = args.log.choices()?;
    let reward = args.reward.range_of(choices.iter().filter_map(|choice| choice.reward))?;
    above_floor(&choices, args.logging_floor)?;
    let mut rows = args.target.rows(&choices, args.logging_floor)?;
    let kind = args.model.kind();
    if rows.estimated && kind.is_none() {
        return Err(ForeignError::NoModel);
    }
    let modelled = match kind {
        Some(kind) => is_fitted(target::fit(kind, &mut rows.drawn))?,
        None => false,
    };
    let mut assessment = Assessment::new(Plan {
        grids: Grids::default(),
        families: Vec::new(),
        model: modelled,
        clustered: choices.iter().any(|choice| choice.user.is_some()),
        reward,
        alpha: args.alpha,
        replicates: 0,
        seed: 0,
        fitted_propensities: rows.estimated,
    });
    for drawn in &rows.drawn {
        let logged = (!drawn.logged.is_empty()).then_some(&drawn.logged[..]);
        assessment.observe(&drawn.row, &Pmfs { logged, target: Some(&drawn.target) });
    }
    let report = assessment.report(rows.weight_max, args.force);
    let estimated = Estimated {
        choices: choices.len(),
        left_out: rows.left_out,
        propensities: if rows.estimated { "estimated" } else { "logged" },
        report: &report,
    };
    output::write(&estimated, print, args.json.as_deref(), out)?;
    Ok(if report.verdict.refused && !args.force { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

fn above_floor(choices: &[Choice], floor: Option<f64>) -> Result<(), ForeignError> {
    let Some(floor) = floor else { return Ok(()) };
    let all: Vec<f64> = choices.iter().filter_map(|choice| choice.propensity).collect();
    let below: Vec<f64> = all.iter().copied().filter(|propensity| *propensity < floor * (1.0 - ROUNDING)).collect();
    match below.first() {
        None => Ok(()),
        Some(&first) => Err(ForeignError::BelowFloor { below: below.len(), all: all.len(), first, floor }),
    }
}

fn print(estimated: &Estimated<'_>, out: &mut impl Write) -> io::Result<()> {
    let Estimated { choices, left_out, propensities, report } = *estimated;
    writeln!(out, "{choices} choices, {propensities} propensities")?;
    if left_out > 0 {
        let why = "lack an attribute that the candidate requires, or are in a position that it says nothing of";
        writeln!(out, "  left out {left_out}: {why}")?;
    }
    table::print(report, out)
}

impl LogArgs {
    fn choices(&self) -> Result<Vec<Choice>, ForeignError> {
        let mut choices = Vec::new();
        let take = |choice| choices.push(choice);
        if let (Some(campaign), Some(items)) = (&self.open_bandit, &self.items) {
            open_bandit::read(source(items)?, source(campaign)?, take)?;
        } else if let Some(lines) = &self.dsjson {
            dsjson::read(source(lines)?, take)?;
        } else if let (Some(file), Some(mapping)) = (&self.table, &self.mapping) {
            let text = fs::read_to_string(mapping).map_err(|source| unreadable(mapping, source))?;
            let wrong = |mistake| ForeignError::Mapping { file: mapping.clone(), mistake };
            plain::read(source(file)?, &text.parse::<Mapping>().map_err(wrong)?, take)?;
        }
        Ok(choices)
    }
}

impl TargetArgs {
    fn rows(&self, choices: &[Choice], floor: Option<f64>) -> Result<Rows, ForeignError> {
        if let Some(file) = &self.catalog {
            let catalog = Arc::new(catalog::load(file).map_err(ForeignError::Catalog)?.catalog);
            let placement = evaluate::placement_of(&catalog, self.placement.as_deref())?;
            let beginner = Beginner::of(catalog, placement)?;
            return rows(choices, &beginner, floor).map_err(ForeignError::Propensities);
        }
        let policy = match (&self.policy, &self.always) {
            (Some(file), _) => Policy::read(source(file)?)?,
            (None, Some(action)) => Policy::Always(action.as_str().into()),
            (None, None) => Policy::Uniform,
        };
        rows(choices, &policy, floor).map_err(ForeignError::Propensities)
    }
}

fn source(path: &Path) -> Result<Source, ForeignError> {
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    Ok(Source { name: path.display().to_string(), content: Box::new(file) })
}

fn unreadable(file: &Path, source: io::Error) -> ForeignError {
    ForeignError::Unreadable { file: file.to_owned(), source }
}
