//! Arguments and wiring; everything else is in the library.

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser};
use offer_ranker::cli;
use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

/// Ranks subscription offers with Thompson-sampling bandits, and can prove what it did
#[derive(Debug, Parser)]
#[command(name = "offer-ranker", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// What is logged to stderr: error, warn, info, debug or trace, also by module
    #[arg(
        long,
        global = true,
        env = "OFFER_RANKER_LOG_FILTER",
        value_name = "FILTER",
        default_value = "warn,offer_ranker=info"
    )]
    log_filter: String,
    /// Log one JSON object a line
    #[arg(long, global = true, env = "OFFER_RANKER_LOG_JSON")]
    log_json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Serve(cli::serve::Args),
    Rank(cli::rank::Args),
    Explain(cli::explain::Args),
    Fairness(cli::fairness::Args),
    Catalog(cli::catalog::Args),
    Audit(cli::audit::Args),
    Simulate(cli::simulate::Args),
    Replay(cli::replay::Args),
    Log(cli::log::Args),
    History(cli::history::Args),
    User(cli::user::Args),
    Health(cli::health::Args),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            // Causes on the same line; a backtrace says nothing to the person who mistyped a flag.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    start_logging(&args)?;
    let out = &mut io::stdout();
    match args.command {
        Command::Serve(args) => cli::serve::run(args, out).await?,
        Command::Rank(args) => cli::rank::run(args, out).await?,
        Command::Explain(args) => cli::explain::run(args, out).await?,
        Command::Fairness(args) => cli::fairness::run(args, out).await?,
        Command::Catalog(args) => cli::catalog::run(args, out).await?,
        Command::Audit(args) => cli::audit::run(args, out).await?,
        Command::Simulate(args) => cli::simulate::run(args, out).await?,
        Command::Replay(args) => return cli::replay::run(args, out).await,
        Command::Log(args) => cli::log::run(args, out).await?,
        Command::History(args) => cli::history::run(args, out).await?,
        Command::User(args) => cli::user::run(args, out).await?,
        Command::Health(args) => cli::health::run(args, out).await?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "offer-ranker", out);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start_logging(args: &Args) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&args.log_filter).with_context(|| {
        format!("--log-filter \"{}\" is no filter, such as info or offer_ranker=debug", args.log_filter)
    })?;
    let logging =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    if args.log_json {
        logging.json().init()
    } else {
        logging.with_target(false).init()
    }
    Ok(())
}
