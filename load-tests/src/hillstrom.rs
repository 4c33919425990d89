//! A real randomised test of offers (MineThatData, K. Hillstrom, 2008) as a judge of policies: 64,000 customers, each
//! sent an e-mail about men's clothes, one about women's, or none, with equal chances.

mod customers;

pub(crate) use customers::read_file;

use crate::replay::{self, Metric, Study};
use std::{io::Write, path::PathBuf};

/// The policies compared, as a catalog declares them.
const POLICIES: [(&str, &str); 3] = [
    ("uniform", "{ uniform: {} }"),
    ("beta", "{ thompson: {}, beta: {} }"),
    // About one customer in seven visits, so the noise of a visit has a variance of an eighth.
    ("linear", "{ thompson: {}, linear: { precision: 1, a: 1, b: 0.1 } }"),
];
const METRICS: &[Metric] = &[Metric { id: "visit", currency: None }, Metric { id: "spend", currency: Some("USD") }];
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
    #[command(flatten)]
    replay: replay::Args,
}

/// Runs every policy through every order and prints what came of it.
pub(crate) async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let customers = read_file(&args.data)?;
    let policies = POLICIES.iter().map(|&(policy, declaration)| (policy, catalog(declaration))).collect();
    Study { placement: "email", policies, metrics: METRICS, customers }.run(&args.replay, out).await
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
