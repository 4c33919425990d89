//! A real randomised test of offers (MineThatData, K. Hillstrom, 2008) as a judge of policies: 64,000 customers, each
//! sent an e-mail about men's clothes, one about women's, or none, with equal chances.

mod customers;
mod estimate;
mod replay;
mod report;

use crate::{
    output,
    server::{Launch, Server, server_beside_us},
};
use anyhow::Context as _;
use replay::Replay;
use report::{PolicySpread, Report, Run};
use std::{io::Write, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Instant};

/// The policies compared, as a catalog declares them.
const POLICIES: [(&str, &str); 3] = [
    ("uniform", "{ uniform: {} }"),
    ("beta", "{ thompson: {}, beta: {} }"),
    // About one customer in seven visits, so the noise of a visit has a variance of an eighth.
    ("linear", "{ thompson: {}, linear: { precision: 1, a: 1, b: 0.1 } }"),
];
/// The driver waits for the learner after every batch, so that should not wait for anything.
const REFRESH_MS: &str = "5";
const CATALOG_TEMPLATE: &str = include_str!("hillstrom/catalog.yaml");

/// What policies would have earned in a real e-mail test, by replay
///
/// Every customer is ranked by a server of its own with an empty store, once for each policy and order. Where the
/// server picks the e-mail that was really sent, it learns what the customer did; of everything else it is told that
/// nothing was shown. The mean over the matched customers estimates without bias what the policy would have earned
/// (Li, Chu, Langford and Wang, 2011): each batch of customers waits until the posterior covers the one before.
/// The server's own draws come from its own entropy, so figures differ a little between runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data, a gzipped CSV file
    #[arg(long, value_name = "FILE", default_value = "../shared/data/hillstrom/hillstrom.csv.gz")]
    data: PathBuf,
    /// The server's executable; default: offer-ranker beside this one
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// How many shuffled orders follow the order of the file
    #[arg(long, value_name = "N", default_value_t = 20)]
    permutations: u32,
    /// How many customers are ranked before anything is learned of them
    #[arg(long, value_name = "N", default_value = "500")]
    batch: NonZeroUsize,
    /// Use the first customers of the file only
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Decides the shuffled orders
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// How many customers are ranked at the same time
    #[arg(long, value_name = "N", default_value = "32")]
    concurrency: NonZeroUsize,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs every policy through every order and prints what came of it.
pub(crate) async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let begun = Instant::now();
    let binary = args.server.clone().map_or_else(server_beside_us, Ok)?;
    let mut customers = customers::read_file(&args.data)?;
    customers.truncate(args.limit.unwrap_or(usize::MAX));
    let customers = Arc::new(customers);
    let total = customers.len() as u64 * u64::from(args.permutations + 1) * POLICIES.len() as u64;
    let bar = output::progress_bar(total, "customers");
    let mut runs = Vec::new();
    for permutation in 0..=args.permutations {
        let order = customers::order(customers.len(), args.seed, permutation);
        for (policy, declaration) in POLICIES {
            bar.set_message(format!("{policy}, order {permutation}"));
            let launch = Launch::new(&binary, catalog(declaration)).with(&["--refresh-ms", REFRESH_MS]);
            let server = Server::start(&launch).await?;
            let (channel, customers) = (server.channel(), Arc::clone(&customers));
            let replay = Replay { channel, customers, concurrency: args.concurrency.get() };
            let tally = replay.run(&order, args.batch.get(), |count| bar.inc(count)).await;
            let doing = || format!("{policy}, order {permutation}; the server said:\n{}", server.log_tail());
            runs.push(Run::new(policy, permutation, tally.with_context(doing)?));
        }
    }
    bar.finish_and_clear();
    let report = Report {
        customers: customers.len(),
        batch: args.batch.get(),
        seed: args.seed,
        permutations: args.permutations,
        elapsed_s: begun.elapsed().as_secs_f64(),
        policies: POLICIES.iter().filter_map(|(policy, _)| PolicySpread::of(policy, &runs)).collect(),
        runs,
    };
    output::print(&report, args.json, out)
}

fn catalog(policy: &str) -> String {
    CATALOG_TEMPLATE.replace("$POLICY", policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_makes_a_catalog_whose_only_oddity_is_meant() {
        for (policy, declaration) in POLICIES {
            let loaded = offer_ranker::catalog::check("catalog.yaml", &catalog(declaration));
            let warnings = loaded.unwrap_or_else(|problems| panic!("{policy}: {problems}")).warnings.to_string();
            // Spend is looked at, not learned from.
            let only_spend = warnings.lines().count() == 1 && warnings.contains("no reward uses metric \"spend\"");
            assert!(only_spend, "{policy}: {warnings}");
        }
    }
}
