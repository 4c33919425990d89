//! Real randomised tests as judges of policies: every customer of a log is ranked by a running server, over the wire.

mod estimate;
mod fairness;
mod report;
mod run;

use crate::{
    output,
    server::{Launch, Server, server_beside_us},
};
use anyhow::Context as _;
use fairness::Fairness;
use prost_types::{Value, value::Kind};
use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use report::{PolicySpread, Report, Run};
use run::Replay;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

/// The driver waits for the learner after every batch, so that should not wait for anything.
const REFRESH_MS: &str = "5";

/// What every replay can be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
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
    /// Decides the shuffled orders, and which matches count where arms were not equally likely
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// How many customers are ranked at the same time
    #[arg(long, value_name = "N", default_value = "32")]
    concurrency: NonZeroUsize,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Customer {
    /// What was known before, as the catalog's context schema names it.
    pub(crate) attributes: BTreeMap<String, Value>,
    /// What must not decide, as the catalog declares it.
    pub(crate) protected: BTreeMap<String, String>,
    /// The offer that was made, drawn at random.
    pub(crate) logged: &'static str,
    /// The offers that may be made to this customer.
    pub(crate) eligible: &'static [&'static str],
    /// The group of customers among whom offers were drawn alike; numbered from 0.
    pub(crate) stratum: usize,
    /// What the customer did, by metric; what is not here is 0.
    pub(crate) outcomes: Vec<(&'static str, f64)>,
}

/// What is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Metric {
    /// As the catalog names it.
    pub(crate) id: &'static str,
    /// Of an amount of money; `None`: 0 or 1, a share of customers.
    pub(crate) currency: Option<&'static str>,
}

/// A log and the policies that are put through it.
#[derive(Debug)]
pub(crate) struct Study {
    /// The placement of every policy's catalog.
    pub(crate) placement: &'static str,
    /// Names and catalogs.
    pub(crate) policies: Vec<(&'static str, String)>,
    /// What is estimated, and reported to the server.
    pub(crate) metrics: &'static [Metric],
    /// In the order of the file.
    pub(crate) customers: Vec<Customer>,
}

impl Study {
    /// Runs every policy through every order and prints what came of it.
    pub(crate) async fn run(self, args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
        let begun = Instant::now();
        let binary = args.server.clone().map_or_else(server_beside_us, Ok)?;
        let Self { placement, policies, metrics, mut customers } = self;
        customers.truncate(args.limit.unwrap_or(usize::MAX));
        let shares = stratum_shares(&customers);
        let customers = Arc::new(customers);
        let total = customers.len() as u64 * u64::from(args.permutations + 1) * policies.len() as u64;
        let bar = output::progress_bar(total, "customers");
        let mut runs = Vec::new();
        for permutation in 0..=args.permutations {
            let order = order(customers.len(), args.seed, permutation);
            let counting = Arc::new(counting(&customers, args.seed, permutation));
            for (policy, catalog) in &policies {
                bar.set_message(format!("{policy}, order {permutation}"));
                let launch = Launch::new(&binary, catalog.clone()).with(&["--refresh-ms", REFRESH_MS]);
                let server = Server::start(&launch).await?;
                let replay = Replay {
                    channel: server.channel(),
                    placement,
                    metrics,
                    customers: Arc::clone(&customers),
                    counting: Arc::clone(&counting),
                    concurrency: args.concurrency.get(),
                };
                let tally = replay.run(&order, args.batch.get(), |count| bar.inc(count)).await;
                let doing = || format!("{policy}, order {permutation}; the server said:\n{}", server.log_tail());
                let mut run = Run::new(policy, permutation, metrics, &shares, tally.with_context(doing)?);
                if customers.iter().any(|customer| !customer.protected.is_empty()) {
                    run.fairness = Some(Fairness::of(server.channel(), placement).await?);
                }
                runs.push(run);
            }
        }
        bar.finish_and_clear();
        let report = Report {
            customers: customers.len(),
            batch: args.batch.get(),
            seed: args.seed,
            permutations: args.permutations,
            elapsed_s: begun.elapsed().as_secs_f64(),
            policies: policies.iter().filter_map(|(policy, _)| PolicySpread::of(policy, &runs)).collect(),
            runs,
        };
        output::print(&report, args.json, out)
    }
}

/// The value of a boolean attribute.
pub(crate) fn truth(digit: u8) -> anyhow::Result<Kind> {
    anyhow::ensure!(digit <= 1, "{digit} is neither 0 nor 1");
    Ok(Kind::BoolValue(digit == 1))
}

/// Attributes by name.
pub(crate) fn attributes(kinds: impl IntoIterator<Item = (&'static str, Kind)>) -> BTreeMap<String, Value> {
    kinds.into_iter().map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) })).collect()
}

/// The order in which `count` customers come: permutation 0 is the order of the file, every other one a shuffle that
/// depends on the seed and its own number only.
fn order(count: usize, seed: u64, permutation: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if permutation > 0 {
        order.shuffle(&mut stream(seed, u64::from(permutation)));
    }
    order
}

/// Which customers count if they match: each with probability `min p / p(logged)`, where p are the frequencies of the
/// offers in the customer's stratum. Those who count were then made every offer of their stratum equally often.
fn counting(customers: &[Customer], seed: u64, permutation: u32) -> Vec<bool> {
    let mut frequencies: BTreeMap<(usize, &str), u32> = BTreeMap::new();
    customers.iter().for_each(|customer| *frequencies.entry((customer.stratum, customer.logged)).or_default() += 1);
    let mut rarest: BTreeMap<usize, u32> = BTreeMap::new();
    for (&(stratum, _), &frequency) in &frequencies {
        rarest.entry(stratum).and_modify(|least| *least = frequency.min(*least)).or_insert(frequency);
    }
    // Streams of even distance from those of the orders.
    let mut rng = stream(seed, (1 << 32) + u64::from(permutation));
    let probability = |customer: &Customer| {
        f64::from(rarest[&customer.stratum]) / f64::from(frequencies[&(customer.stratum, customer.logged)])
    };
    customers.iter().map(|customer| rng.random::<f64>() < probability(customer)).collect()
}

fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// Each stratum's share of all customers.
fn stratum_shares(customers: &[Customer]) -> Vec<(usize, f64)> {
    let strata: BTreeSet<usize> = customers.iter().map(|customer| customer.stratum).collect();
    let share = |stratum| {
        let members = customers.iter().filter(|customer| customer.stratum == stratum).count();
        (stratum, members as f64 / customers.len() as f64)
    };
    strata.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_zero_is_the_order_of_the_file_and_others_are_seeded() {
        assert_eq!(order(5, 1, 0), [0, 1, 2, 3, 4]);
        let shuffled = order(100, 1, 1);
        assert_eq!(shuffled, order(100, 1, 1));
        assert!(shuffled != order(100, 1, 2) && shuffled != order(100, 2, 1) && shuffled != order(100, 1, 0));
        let mut sorted = shuffled;
        sorted.sort_unstable();
        assert_eq!(sorted, order(100, 1, 0));
    }

    #[test]
    fn who_counts_was_made_every_offer_of_a_stratum_equally_often() {
        let customer = |stratum, logged| Customer {
            attributes: BTreeMap::new(),
            protected: BTreeMap::new(),
            logged,
            eligible: &["rare", "common"],
            stratum,
            outcomes: Vec::new(),
        };
        let rare = std::iter::repeat_n(customer(0, "rare"), 2000);
        let common = std::iter::repeat_n(customer(0, "common"), 8000);
        let other = std::iter::repeat_n(customer(1, "common"), 500);
        let customers: Vec<_> = rare.chain(common).chain(other).collect();
        let counting = counting(&customers, 1, 0);
        let count = |range: std::ops::Range<usize>| counting[range].iter().filter(|counts| **counts).count();
        assert_eq!((count(0..2000), count(10_000..10_500)), (2000, 500));
        // Binomial(8000, 1/4): five standard deviations are 5 * sqrt(8000 * 3 / 16) = 194.
        assert!(count(2000..10_000).abs_diff(2000) < 194, "{}", count(2000..10_000));
        assert_eq!(stratum_shares(&customers), [(0, 10_000.0 / 10_500.0), (1, 500.0 / 10_500.0)]);
    }
}
