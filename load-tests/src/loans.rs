//! Real loan offers at prices drawn at random (Karlan and Zinman, American Economic Review 98, 2008) as a judge of
//! policies: 53,810 letters in three waves, each with a monthly rate that was to keep to the cap of the customer's risk
//! class.

mod letters;

pub(crate) use letters::read_file;

use crate::replay::{self, Metric, Study};
use std::{io::Write, path::PathBuf};

/// The policies compared: name, what they learn, and how, as a catalog declares them.
const POLICIES: [(&str, &str, &str); 5] = [
    ("uniform", TAKE_UP, "{ uniform: {} }"),
    // About one letter in fourteen is taken up: so do the priors expect, and the noise has a variance of 0.07.
    ("take-up, beta", TAKE_UP, "{ thompson: {}, beta: { prior: { alpha: 1, beta: 13 } } }"),
    ("take-up, linear", TAKE_UP, "{ thompson: {}, linear: { precision: 4, a: 1, b: 0.07 } }"),
    ("interest, beta", INTEREST_SHARE, "{ thompson: {}, beta: { prior: { alpha: 1, beta: 99 } } }"),
    ("interest, linear", INTEREST, "{ thompson: {}, linear: { precision: 4, a: 1, b: 1 } }"),
];
const TAKE_UP: &str = "{ terms: [{ metric: take_up, indicator: true }] }";
/// A letter's interest varies by some 260 rand.
const INTEREST: &str = "{ terms: [{ metric: interest }], unit: 260 }";
/// For posteriors of rewards up to 1, which stands for 5,000 rand: 29 loans earned more.
const INTEREST_SHARE: &str = "{ terms: [{ metric: interest, weight: 0.0002 }], min: 0, max: 1 }";
const METRICS: &[Metric] =
    &[Metric { id: "take_up", currency: None }, Metric { id: "interest", currency: Some("ZAR") }];
const CATALOG_TEMPLATE: &str = include_str!("loans/catalog.yaml");

/// What policies would have earned with real loan offers, by replay
///
/// Every customer is ranked by a server of its own with an empty store, once for each policy and order; a rule of the
/// catalog keeps rates above the cap of the customer's risk class away. Where the server picks the band of the rate that
/// was really offered, it learns what the customer did, with probability min p / p(offered) among customers of the same
/// risk class and wave: prices were not drawn evenly. Of everything else it is told that nothing was shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data, a gzipped CSV file
    #[arg(long, value_name = "FILE", default_value = "../shared/data/kz2008_loan_offers/kz_demandelasts_aer08.csv.gz")]
    data: PathBuf,
    #[command(flatten)]
    replay: replay::Args,
}

/// Runs every policy through every order and prints what came of it.
pub(crate) async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let customers = read_file(&args.data)?;
    let policies = POLICIES.iter().map(|&(name, reward, policy)| (name, catalog(reward, policy))).collect();
    Study { placement: "letter", policies, metrics: METRICS, customers }.run(&args.replay, out).await
}

fn catalog(reward: &str, policy: &str) -> String {
    CATALOG_TEMPLATE.replace("$POLICY", policy).replace("$REWARD", reward)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_makes_a_catalog_whose_oddities_are_meant() {
        for (name, reward, policy) in POLICIES {
            let loaded = offer_ranker::catalog::check("catalog.yaml", &catalog(reward, policy));
            let warnings = loaded.unwrap_or_else(|problems| panic!("{name}: {problems}")).warnings.to_string();
            // One of the two metrics is looked at, not learned from; and nobody was sent no letter.
            let meant = ["no reward uses metric", "no offer of kind NONE"];
            assert!(
                warnings.lines().all(|line| meant.iter().any(|oddity| line.contains(oddity))),
                "{name}: {warnings}"
            );
        }
    }
}
