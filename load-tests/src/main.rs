//! Drivers that put real data through a running server, over the wire like any other client, and print what it
//! learned.

mod hillstrom;
mod server;

use clap::{Parser, Subcommand};
use std::io;

/// Put real data through a server and print what it learned
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    driver: Driver,
}

#[derive(Debug, Subcommand)]
enum Driver {
    Hillstrom(hillstrom::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().driver {
        Driver::Hillstrom(args) => hillstrom::run(args, &mut io::stdout().lock()).await,
    }
}
