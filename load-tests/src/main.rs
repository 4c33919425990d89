//! Drivers that put load and real data through running servers, over the wire like any other client, and print what
//! came of it.

mod coverage;
mod hillstrom;
mod loans;
mod open_bandit;
mod output;
mod replay;
mod server;
mod transport;

use clap::{Parser, Subcommand};
use std::io;

/// Put load and real data through servers and print what came of it
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    driver: Driver,
}

#[derive(Debug, Subcommand)]
enum Driver {
    Coverage(coverage::Args),
    Hillstrom(hillstrom::Args),
    Loans(loans::Args),
    OpenBandit(open_bandit::Args),
    Transport(transport::Args),
    #[command(hide = true)]
    Echo(transport::EchoArgs),
}

/// The same as the server's, so that the two differ in what they do and in nothing else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match Cli::parse().driver {
        Driver::Coverage(args) => coverage::run(&args, out),
        Driver::Hillstrom(args) => runtime()?.block_on(hillstrom::run(args, out)),
        Driver::Loans(args) => runtime()?.block_on(loans::run(args, out)),
        Driver::OpenBandit(args) => open_bandit::run(&args, out),
        Driver::Transport(args) => transport::run(&args, out),
        Driver::Echo(args) => {
            // The echo writes by itself: it never comes back.
            transport::echo(&args)
        }
    }
}
