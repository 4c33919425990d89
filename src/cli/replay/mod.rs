//! `offer-ranker replay`: what another policy would have earned, offline.

mod estimate;
mod evaluate;
mod foreign;
mod model;
mod numbers;
mod output;
mod reward;
mod table;
mod verify;

use std::{io::Write, process::ExitCode};

/// Say what another policy would have earned, or refuse to
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Estimate(estimate::Args),
    Evaluate(evaluate::Args),
    Foreign(foreign::Args),
    Verify(verify::Args),
}

/// Runs a subcommand; where the gate refused, the exit code is 2.
///
/// # Errors
/// What the subcommand could not do.
pub async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Estimate(args) => Ok(estimate::run(args, out)?),
        Command::Evaluate(args) => Ok(evaluate::run(args, out).await?),
        Command::Foreign(args) => Ok(foreign::run(&args, out)?),
        Command::Verify(args) => verify::run(args, out).await.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
}
