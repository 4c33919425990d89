//! A log that the service made with everything on is evaluated without bias: what users do is known here.
//!
//! Bounds, leases, three slots, contexts, learning all the while. Users convert on the lead with a probability that depends
//! on it and on them, and on what stands below it with one that must not matter. What a candidate's lead would have earned
//! is then a mean over the very users that came, which the estimates have to meet within their standard error.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use crate::common::{DAY_S, TestServer, attributes, catalog_of, request, text};
use offer_ranker::{
    catalog,
    log::archive::Format,
    proto::{Outcome, RankRequest},
    replay::target::Drawn,
    service::evaluate::{Belief, Candidate, Evaluated, RewardBy, evaluate},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::{fs, process::Command, sync::Arc};

const USERS: usize = 1500;
/// Users between two refreshes: decisions lag behind outcomes, as they do.
const REFRESH_EVERY: usize = 40;

/// The catalog of the log, with another policy at its placement.
fn with_policy(policy: &str) -> String {
    format!(
        "
reward_currency: SEK
markets: [{{ id: SE, currency_code: SEK }}]
default_market: SE
metrics: [{{ id: conversion, kind: COUNT }}]
offers:
  - {{ id: none, kind: NONE }}
  - {{ id: annual, kind: STANDARD, plan: a, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 9 }} }} }} }}
  - {{ id: monthly, kind: STANDARD, plan: m, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 9 }} }} }} }}
  - {{ id: trial, kind: TRIAL, plan: t, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 0 }} }} }} }}
placements:
  - id: paywall
    slots: 3
    offers: [none, annual, monthly, trial]
    context:
      attributes:
        - {{ name: segment, category: {{ values: [new, old], default: new }} }}
    policy: {policy}
    reward: {{ terms: [{{ metric: conversion, indicator: true }}], min: 0, max: 1 }}
    bounds: {{ floor: 0.05 }}
    lease_s: 3600
    attribution_window_s: 7200
    grace_s: 600
    revision_window_s: 86400
    partitions: 2
"
    )
}

const LOGGING: &str = "{ thompson: {}, linear: { precision: 1, a: 2, b: 0.4 } }";

/// How often a segment takes an offer that leads.
fn rate(offer: &str, segment: &str) -> f64 {
    match (offer, segment) {
        ("annual", "new") => 0.1,
        ("annual", _) => 0.5,
        ("monthly", "new") => 0.4,
        ("monthly", _) => 0.2,
        ("trial", _) => 0.3,
        _ => 0.0,
    }
}

/// A server whose users have come and gone, and the segment of every one of them.
async fn lived() -> (TestServer, Vec<&'static str>) {
    let server = TestServer::start_with(catalog_of(&with_policy(LOGGING))).await;
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut segments = Vec::new();
    for user in 0..USERS {
        let segment = if rng.random_bool(0.4) { "new" } else { "old" };
        segments.push(segment);
        let ask = || RankRequest {
            attributes: attributes([("segment", text(segment))]),
            ..request("paywall", &format!("user-{user}"))
        };
        let answer = server.rank(ask()).await;
        if rng.random_bool(0.3) {
            // Comes again while the lease stands.
            assert!(!server.rank(ask()).await.root_decision_id.is_empty());
        }
        let mut outcomes = Vec::new();
        for (slot, offer) in answer.offers.iter().enumerate() {
            // What stands below the lead is taken whatever it is.
            let probability = if slot == 0 { rate(&offer.offer_id, segment) } else { 0.5 };
            if rng.random_bool(probability) {
                outcomes.push(Outcome {
                    outcome_id: format!("o{slot}"),
                    decision_id: answer.decision_id.clone(),
                    offer_id: offer.offer_id.clone(),
                    metric: "conversion".to_owned(),
                    value: 1.0,
                    ..Default::default()
                });
            }
        }
        if !outcomes.is_empty() {
            server.report_all(outcomes).await;
        }
        server.clock.advance_s(10);
        if user % REFRESH_EVERY == 0 {
            server.refresh().await;
        }
    }
    server.clock.advance_s(DAY_S);
    server.refresh().await;
    (server, segments)
}

async fn rows(server: &TestServer, policy: &str, belief: Belief) -> (Vec<Drawn>, Evaluated) {
    let loaded = catalog::check("candidate.yaml", &with_policy(policy)).unwrap_or_else(|problems| panic!("{problems}"));
    let catalog = Arc::new(loaded.catalog);
    let placement = catalog.placements["paywall"].clone();
    let candidate = Candidate { catalog, placement, belief, reward: RewardBy::Candidate };
    let store = server.place.address.open_read_only().await.unwrap();
    let mut rows = Vec::new();
    let evaluated = evaluate(&store, &candidate, |drawn| rows.push(drawn.clone()), |_| {}).await.unwrap();
    (rows, evaluated)
}

/// Mean and its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Inverse propensity scores of a candidate, and how far they and the mean weight are from the truth in standard errors.
fn assert_unbiased(rows: &[Drawn], truth: f64, what: &str) {
    let weighted: Vec<f64> = rows.iter().map(|drawn| drawn.row.weight() * drawn.row.reward().unwrap()).collect();
    let (value, error) = mean(&weighted);
    // Four standard errors leave out one run in 16,000; seeds are fixed.
    assert!((value - truth).abs() < 4.0 * error, "{what}: {value} +- {error}, and the truth is {truth}");
    assert!(error < 0.05, "{what}: an error of {error} would prove nothing");
    let weights: Vec<f64> = rows.iter().map(|drawn| drawn.row.weight()).collect();
    let (weight, error) = mean(&weights);
    assert!((weight - 1.0).abs() < 4.0 * error, "{what}: weights have the mean {weight} +- {error}");
    assert!(rows.iter().all(|drawn| drawn.row.unsupported == 0.0 && drawn.row.weight_max <= 20.0 + 1e-9), "{what}");
}

#[tokio::test]
async fn a_log_with_bounds_leases_and_three_slots_is_evaluated_without_bias() {
    let (server, segments) = lived().await;
    let over_users =
        |value: &dyn Fn(&str) -> f64| segments.iter().map(|s| value(s)).sum::<f64>() / segments.len() as f64;

    let offers = ["none", "annual", "monthly", "trial"];
    let uniform = over_users(&|segment| offers.iter().map(|offer| rate(offer, segment)).sum::<f64>() / 4.0);
    let (drawn, evaluated) = rows(&server, "{ uniform: {} }", Belief::Prior).await;
    assert_eq!((drawn.len(), evaluated.rows as usize), (USERS, USERS));
    let repeats: u64 = evaluated.left_out.values().sum();
    assert!(repeats > 300 && evaluated.decisions == evaluated.rows + repeats, "{evaluated:?}");
    assert_eq!(evaluated.slots_max, 3);
    assert_unbiased(&drawn, uniform, "uniform");

    // Above floors of .05 for the other three.
    let fixed = over_users(&|segment| {
        let others: f64 = ["none", "annual", "trial"].iter().map(|offer| rate(offer, segment)).sum();
        0.85 * rate("monthly", segment) + 0.05 * others
    });
    let order = "{ fixed: { order: [monthly, annual, trial, none] } }";
    let (drawn, _) = rows(&server, order, Belief::Prior).await;
    assert_unbiased(&drawn, fixed, "monthly first");
}

#[tokio::test]
async fn the_policy_that_made_a_log_has_weights_of_one_on_it() {
    let (server, _) = lived().await;
    let (drawn, _) = rows(&server, LOGGING, Belief::Log).await;
    assert_eq!(drawn.len(), USERS);
    // To the last bit: the same engine on the same statistics.
    assert!(drawn.iter().all(|drawn| drawn.row.weight() == 1.0 && drawn.logged == drawn.target));
    // By its priors alone it is another policy.
    let (drawn, _) = rows(&server, LOGGING, Belief::Prior).await;
    assert!(drawn.iter().any(|drawn| drawn.row.weight() != 1.0));
}

#[tokio::test]
async fn the_command_answers_or_refuses_and_says_what_it_estimates() {
    let (server, _) = lived().await;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("export");
    crate::log::export_some(&server, &archive, None, Format::Parquet).await;
    let run = |policy: &str| {
        let candidate = folder.path().join("candidate.yaml");
        fs::write(&candidate, with_policy(policy)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
        command.args(["replay", "evaluate", "--json", "-", "--log"]).arg(&archive).arg("--catalog").arg(&candidate);
        command.output().unwrap()
    };
    let answered = run("{ uniform: {} }");
    assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stderr));
    let report: serde_json::Value = serde_json::from_slice(&answered.stdout).unwrap();
    assert!(report["estimand"].as_str().unwrap().contains("the logging policy's rest"), "{report:#}");
    assert!(report["estimators"]["ips"]["value"].is_f64(), "{report:#}");
    assert_eq!(report["log"]["rows"], USERS);

    let refused = run("{ nonsense: {} }");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nonsense"));
}
