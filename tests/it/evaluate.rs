//! A log that the service made with everything on is evaluated without bias: what users do is known here.
//!
//! Bounds, groups, leases, three slots, contexts, learning all the while. Users convert on the lead with a probability that
//! depends on it and on them, and on what stands below it with one of its own. What a candidate's lead, or its whole slate,
//! would have earned is then a mean over the very users that came, which the estimates have to meet within their standard
//! error. The holdout's users are among those: which ones is a hash, and moves that mean by a thirtieth of that error.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use crate::common::{DAY_S, TestServer, attributes, catalog_of, request, text};
use offer_ranker::{
    catalog,
    log::archive::Format,
    proto::{Outcome, RankRequest},
    replay::{
        models::Kind,
        target::{Drawn, fit},
    },
    service::evaluate::{Belief, Candidate, Evaluated, RewardBy, Slots, evaluate},
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
    bounds: {{ floor: 0.1 }}
    groups: {{ uniform: 0.1, holdout: 0.05, holdout_order: [annual] }}
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

/// How often an offer is taken that stands below the lead.
fn rate_below(offer: &str) -> f64 {
    match offer {
        "annual" => 0.2,
        "monthly" => 0.5,
        "trial" => 0.35,
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
            let id = &offer.offer_id;
            let probability = if slot == 0 { rate(id, segment) } else { rate_below(id) };
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

/// What slates earn from a slot on, of offers in this order of which each place has a share of the draws.
fn value_from(slot: usize, left: &[&str], share: fn(usize, usize) -> f64, segment: &str) -> f64 {
    let of_offer = |(place, offer): (usize, &&str)| {
        let own = if slot == 0 { rate(offer, segment) } else { rate_below(offer) };
        let rest: Vec<&str> = left.iter().copied().filter(|other| other != offer).collect();
        let below = if slot == 2 || *offer == "none" { 0.0 } else { value_from(slot + 1, &rest, share, segment) };
        share(place, left.len()) * (own + below)
    };
    left.iter().enumerate().map(of_offer).sum()
}

async fn rows(server: &TestServer, policy: &str, belief: Belief) -> (Vec<Drawn>, Evaluated) {
    let loaded = catalog::check("candidate.yaml", &with_policy(policy)).unwrap_or_else(|problems| panic!("{problems}"));
    let catalog = Arc::new(loaded.catalog);
    let placement = catalog.placements["paywall"].clone();
    let candidate = Candidate { catalog, placement, belief, reward: RewardBy::Candidate, slots: Slots::All };
    let store = server.place.address.open_read_only().await.unwrap();
    let mut rows = Vec::new();
    let evaluated = evaluate(&store, &candidate, |drawn| rows.push(drawn), |_| {}).await.unwrap();
    (rows, evaluated)
}

/// Mean and its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Asserts that a mean is what it estimates, and says enough to prove something.
fn assert_estimates(values: &[f64], truth: f64, what: &str) {
    let (value, error) = mean(values);
    // Four standard errors leave out one run in 16,000; seeds are fixed.
    assert!((value - truth).abs() < 4.0 * error, "{what}: {value} +- {error}, and the truth is {truth}");
    assert!(error < truth / 5.0, "{what}: an error of {error} would prove nothing");
}

/// Estimates of a candidate's lead, plain and doubly robust, and the mean weight.
fn assert_unbiased(rows: &[Drawn], truth: f64, what: &str) {
    let weighted: Vec<f64> = rows.iter().map(|drawn| drawn.row.weight() * drawn.row.reward().unwrap()).collect();
    assert_estimates(&weighted, truth, what);
    let mut modelled = rows.to_vec();
    fit(Kind::Ridge(10.0), &mut modelled).unwrap();
    let corrected = |drawn: &Drawn| {
        let model = drawn.row.model.unwrap();
        drawn.row.weight() * (drawn.row.reward().unwrap() - model.logged) + model.target
    };
    assert_estimates(&modelled.iter().map(corrected).collect::<Vec<_>>(), truth, &format!("{what}, doubly robust"));
    let weights: Vec<f64> = rows.iter().map(|drawn| drawn.row.weight()).collect();
    assert_estimates(&weights, 1.0, &format!("{what}: weights"));
    assert!(rows.iter().all(|drawn| drawn.row.unsupported == 0.0 && drawn.row.weight_max <= 10.0 + 1e-9), "{what}");
}

/// Estimates of a candidate's whole slate by weights that assume ever more, all of which holds here.
fn assert_slates_unbiased(rows: &[Drawn], truth: f64, what: &str) {
    let slates = || rows.iter().map(|drawn| drawn.slate.as_ref().unwrap());
    let weighted = |weights: &Option<Vec<f64>>, rewards: &[f64]| -> f64 {
        weights.as_ref().unwrap().iter().zip(rewards).map(|(weight, reward)| weight * reward).sum()
    };
    let standard: Vec<f64> = slates().map(|slate| slate.joint * slate.rewards.iter().sum::<f64>()).collect();
    let interaction: Vec<f64> = slates().map(|slate| weighted(&slate.cascade, &slate.rewards)).collect();
    let independent: Vec<f64> = slates().map(|slate| weighted(&slate.marginal, &slate.rewards)).collect();
    for (values, name) in [(&standard, "standard"), (&interaction, "interaction"), (&independent, "independent")] {
        assert_estimates(values, truth, &format!("{what}, {name}"));
    }
    // Whole slates are harder to match than slots.
    let errors = [&standard, &interaction, &independent].map(|values| mean(values).1);
    assert!(errors[0] > errors[1] && errors[1] > errors[2], "{what}: {errors:?}");
    for slot in 0..3 {
        let of_slot: Vec<f64> = slates().map(|slate| slate.marginal.as_ref().unwrap()[slot]).collect();
        assert_estimates(&of_slot, 1.0, &format!("{what}: weights of slot {slot}"));
    }
}

#[tokio::test]
async fn a_log_with_bounds_groups_leases_and_three_slots_is_evaluated_without_bias() {
    let (server, segments) = lived().await;
    let over_users =
        |value: &dyn Fn(&str) -> f64| segments.iter().map(|s| value(s)).sum::<f64>() / segments.len() as f64;

    let offers = ["none", "annual", "monthly", "trial"];
    let uniform = over_users(&|segment| offers.iter().map(|offer| rate(offer, segment)).sum::<f64>() / 4.0);
    let (drawn, evaluated) = rows(&server, "{ uniform: {} }", Belief::Prior).await;
    let left_out: u64 = evaluated.left_out.values().sum();
    assert!(left_out > 300 && evaluated.decisions == evaluated.rows + left_out, "{evaluated:?}");
    assert_eq!((drawn.len() as u64, evaluated.slots_max), (evaluated.rows, 3));
    // Decisioning, uniform and holdout: everybody once, whoever came again.
    let [division] = &evaluated.divisions[..] else { panic!("{:?}", evaluated.divisions) };
    assert_eq!(division.iter().map(|(units, _)| units).sum::<u64>(), USERS as u64);
    assert_eq!(division[2].0, USERS as u64 - evaluated.rows);
    assert_unbiased(&drawn, uniform, "uniform");
    let slates = over_users(&|segment| value_from(0, &offers, |_, left| 1.0 / left as f64, segment));
    assert_slates_unbiased(&drawn, slates, "uniform");

    // Above floors of .1 for the others.
    let ordered = ["monthly", "annual", "trial", "none"];
    let share = |place: usize, left: usize| if place == 0 { 1.0 - 0.1 * (left - 1) as f64 } else { 0.1 };
    let fixed = over_users(&|segment| {
        let of_offer = |(place, offer): (usize, &&str)| share(place, 4) * rate(offer, segment);
        ordered.iter().enumerate().map(of_offer).sum()
    });
    let order = "{ fixed: { order: [monthly, annual, trial, none] } }";
    let (drawn, _) = rows(&server, order, Belief::Prior).await;
    assert_unbiased(&drawn, fixed, "monthly first");
    assert_slates_unbiased(&drawn, over_users(&|segment| value_from(0, &ordered, share, segment)), "monthly first");
}

#[tokio::test]
async fn the_policy_that_made_a_log_has_weights_of_one_on_it() {
    let (server, _) = lived().await;
    let (drawn, _) = rows(&server, LOGGING, Belief::Log).await;
    // To the last bit: the same engine on the same statistics, in the lead and in slates.
    let ones = |weights: &Option<Vec<f64>>| weights.as_ref().unwrap().iter().all(|weight| *weight == 1.0);
    let alike = |drawn: &&Drawn| {
        let slate = drawn.slate.as_ref().unwrap();
        drawn.row.weight() == 1.0 && drawn.logged == drawn.target && ones(&slate.cascade) && ones(&slate.marginal)
    };
    // The uniform group, a tenth of the users, was decided by another policy.
    let uniform = |drawn: &&Drawn| drawn.logged == [0.25; 4];
    assert!(drawn.iter().filter(|drawn| !uniform(drawn)).all(|drawn| alike(&drawn)));
    assert!(drawn.iter().filter(uniform).count() < USERS / 6);
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
    let run = |policy: &str, slots: &str| {
        let candidate = folder.path().join("candidate.yaml");
        fs::write(&candidate, with_policy(policy)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
        command.args(["replay", "evaluate", "--json", "-", "--slots", slots, "--log"]).arg(&archive);
        command.arg("--catalog").arg(&candidate);
        command.output().unwrap()
    };
    let report = |slots: &str| -> serde_json::Value {
        let answered = run("{ uniform: {} }", slots);
        assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stderr));
        serde_json::from_slice(&answered.stdout).unwrap()
    };
    let lead = report("lead");
    assert!(lead["estimand"].as_str().unwrap().contains("the logging policy's rest"), "{lead:#}");
    for estimator in ["ips", "dm", "dr"] {
        assert!(lead["estimators"][estimator]["value"].is_f64(), "{estimator}: {lead:#}");
    }
    let slates = report("all");
    assert!(slates["estimand"].as_str().unwrap().contains("all slots together"), "{slates:#}");
    for estimator in ["sips", "snrips", "iips"] {
        assert!(slates["estimators"][estimator]["interval"].is_array(), "{estimator}: {slates:#}");
    }
    // Pairs of slots are not summed up.
    assert!(slates["estimators"]["pi"]["value"].is_null(), "{slates:#}");

    let refused = run("{ nonsense: {} }", "lead");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nonsense"));
}
