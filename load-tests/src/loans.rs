//! Real loan offers at prices drawn at random (Karlan and Zinman, American Economic Review 98, 2008) as a judge of
//! policies: 53,810 letters in three waves, each with a monthly rate that was to keep to the cap of the customer's risk
//! class.

mod letters;

pub(crate) use letters::read_file;

use crate::replay::{self, Metric, Study};
use std::{io::Write, path::PathBuf};

/// The policies compared: name, what they learn, how, and what holds them, as a catalog declares them.
const POLICIES: [(&str, &str, &str, &str); 9] = [
    ("uniform", TAKE_UP, "{ uniform: {} }", FREE),
    // About one letter in fourteen is taken up: so do the priors expect, and the noise has a variance of 0.07.
    ("take-up, beta", TAKE_UP, "{ thompson: {}, beta: { prior: { alpha: 1, beta: 13 } } }", FREE),
    ("take-up, linear", TAKE_UP, TAKE_UP_LINEAR, FREE),
    ("take-up, linear, band", TAKE_UP, TAKE_UP_LINEAR, BAND),
    ("take-up, linear, parity", TAKE_UP, TAKE_UP_LINEAR, PARITY),
    ("interest, beta", INTEREST_SHARE, "{ thompson: {}, beta: { prior: { alpha: 1, beta: 99 } } }", FREE),
    ("interest, linear", INTEREST, INTEREST_LINEAR, FREE),
    ("interest, linear, band", INTEREST, INTEREST_LINEAR, BAND),
    ("interest, linear, parity", INTEREST, INTEREST_LINEAR, PARITY),
];
const TAKE_UP_LINEAR: &str = "{ thompson: {}, linear: { precision: 4, a: 1, b: 0.07 } }";
const INTEREST_LINEAR: &str = "{ thompson: {}, linear: { precision: 4, a: 1, b: 1 } }";
/// A band that everything is inside of: access is looked at and left alone.
const FREE: &str = "rate: 0.5, delta: 1";
/// Two groups of customers, whoever they are, are at most 5 points apart.
const BAND: &str = "delta: 0.025";
/// Women and men are at most 1 point apart.
const PARITY: &str = "delta: 0.5, max_gap: 0.01";
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
/// catalog keeps rates above the cap of the customer's risk class away. How probable the cheapest rates are for women
/// and for men is told beside, with and without bounds on that. Where the server picks the band of the rate that
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
    let policies = POLICIES.iter().map(|&(name, reward, policy, band)| (name, catalog(reward, policy, band))).collect();
    Study { placement: "letter", policies, metrics: METRICS, customers }.run(&args.replay, out).await
}

fn catalog(reward: &str, policy: &str, band: &str) -> String {
    CATALOG_TEMPLATE.replace("$POLICY", policy).replace("$REWARD", reward).replace("$BAND", band)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_makes_a_catalog_whose_oddities_are_meant() {
        for (name, reward, policy, band) in POLICIES {
            let loaded = offer_ranker::catalog::check("catalog.yaml", &catalog(reward, policy, band));
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
