//! A log that the service made with everything on is evaluated without bias: what users do is known here.
//!
//! Bounds, groups, leases, three slots, contexts, learning all the while. Users convert on the lead with a probability that
//! depends on it and on them, and on what stands below it with one of its own, or one that the lead has a say in. What a
//! candidate's lead, or its whole slate, would have earned is then a mean over the very users that came, which the estimates
//! have to meet within their standard error. The holdout's users are among those: which ones is a hash, and moves that mean by a thirtieth of that error.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use crate::common::{DAY_S, TestServer, attributes, catalog_of, request, text};
use offer_ranker::{
    catalog,
    log::archive::Format,
    proto::{Outcome, RankRequest},
    replay::{
        models::Kind,
        slates::{Slate, Weights, cascade_dr, modelled, untold::Untold},
        support::groups::Division,
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

/// How often an offer is taken that stands below a lead.
type RateBelow = fn(offer: &str, lead: &str) -> f64;

/// Whatever leads: slots add up.
fn added(offer: &str, _lead: &str) -> f64 {
    match offer {
        "annual" => 0.2,
        "monthly" => 0.5,
        "trial" => 0.35,
        _ => 0.0,
    }
}

/// Who was shown the annual offer first takes the monthly one the more often, and no trial.
fn interacting(offer: &str, lead: &str) -> f64 {
    match (offer, lead) {
        ("monthly", "annual") => 0.9,
        ("trial", "annual") => 0.0,
        _ => added(offer, lead),
    }
}

fn conversion(decision_id: &str, slot: usize, offer_id: &str) -> Outcome {
    Outcome {
        outcome_id: format!("o{slot}"),
        decision_id: decision_id.to_owned(),
        offer_id: offer_id.to_owned(),
        metric: "conversion".to_owned(),
        value: 1.0,
        ..Default::default()
    }
}

/// A server whose users have come and gone, and the segment of every one of them.
async fn lived(below: RateBelow) -> (TestServer, Vec<&'static str>) {
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
            let probability = if slot == 0 { rate(id, segment) } else { below(id, &answer.offers[0].offer_id) };
            if rng.random_bool(probability) {
                outcomes.push(conversion(&answer.decision_id, slot, id));
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

/// Candidates whose probabilities depend on places in an order alone.
struct Ordered<'a> {
    offers: [&'a str; 4],
    /// Of a place among so many that are left.
    share: fn(usize, usize) -> f64,
}

impl Ordered<'_> {
    /// What the lead earns.
    fn lead(&self, segment: &str) -> f64 {
        let of_offer = |(place, offer): (usize, &&str)| (self.share)(place, 4) * rate(offer, segment);
        self.offers.iter().enumerate().map(of_offer).sum()
    }

    /// What slates earn below these offers, and on top of them.
    fn slate(&self, above: &[&str], segment: &str, below: RateBelow) -> f64 {
        if above.len() == 3 || above.contains(&"none") {
            return 0.0;
        }
        let left: Vec<&str> = self.offers.iter().copied().filter(|offer| !above.contains(offer)).collect();
        let of_offer = |(place, offer): (usize, &&str)| {
            let own = above.first().map_or_else(|| rate(offer, segment), |lead| below(offer, lead));
            let rest = self.slate(&[above, &[*offer]].concat(), segment, below);
            (self.share)(place, left.len()) * (own + rest)
        };
        left.iter().enumerate().map(of_offer).sum()
    }
}

const UNIFORM: &str = "{ uniform: {} }";
const EVENLY: Ordered<'_> =
    Ordered { offers: ["none", "annual", "monthly", "trial"], share: |_, left| 1.0 / left as f64 };
/// Above floors of .1 for the others.
const FIXED: &str = "{ fixed: { order: [monthly, annual, trial, none] } }";
const MONTHLY_FIRST: Ordered<'_> = Ordered {
    offers: ["monthly", "annual", "trial", "none"],
    share: |place, left| if place == 0 { 1.0 - 0.1 * (left - 1) as f64 } else { 0.1 },
};

async fn rows(server: &TestServer, policy: &str, belief: Belief) -> (Vec<Drawn>, Evaluated) {
    rows_of(server, &with_policy(policy), belief).await
}

async fn rows_of(server: &TestServer, candidate: &str, belief: Belief) -> (Vec<Drawn>, Evaluated) {
    let loaded = catalog::check("candidate.yaml", candidate).unwrap_or_else(|problems| panic!("{problems}"));
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

/// What slates contribute, modelled.
fn slates(rows: &[Drawn]) -> Vec<Slate> {
    let mut modelled = rows.to_vec();
    modelled::fit(Kind::Ridge(10.0), &mut modelled).unwrap();
    modelled.into_iter().map(|drawn| drawn.slate.unwrap().slate).collect()
}

/// The standard error of an estimate of a candidate's whole slate, whose mean has to be the truth.
fn error_of_weights(slates: &[Slate], weights: Weights, truth: f64, what: &str) -> f64 {
    let weighted = |slate: &Slate| -> f64 {
        weights.of(slate).unwrap().iter().zip(&slate.rewards).map(|(weight, reward)| weight * reward).sum()
    };
    let values: Vec<f64> = slates.iter().map(weighted).collect();
    assert_estimates(&values, truth, &format!("{what}, {weights:?}"));
    mean(&values).1
}

fn error_of_cascade_dr(slates: &[Slate], truth: f64, what: &str) -> f64 {
    let values: Vec<f64> = slates.iter().map(|slate| cascade_dr(slate).unwrap()).collect();
    assert_estimates(&values, truth, &format!("{what}, cascade-DR"));
    mean(&values).1
}

/// Estimates of a candidate's whole slate by weights that assume ever more, where slots add up.
fn assert_slates_unbiased(rows: &[Drawn], truth: f64, what: &str) {
    let slates = slates(rows);
    let [standard, interaction, independent, pseudo_inverse] =
        [Weights::Standard, Weights::Interaction, Weights::Independent, Weights::PseudoInverse]
            .map(|weights| error_of_weights(&slates, weights, truth, what));
    let cascade = error_of_cascade_dr(&slates, truth, what);
    // Whole slates are harder to match than slots, and a model of what is left to chance helps.
    let errors = [standard, interaction, independent, pseudo_inverse, cascade];
    assert!(standard > interaction && interaction > independent && standard > pseudo_inverse, "{what}: {errors:?}");
    assert!(interaction > cascade, "{what}: {errors:?}");
    for slot in 0..3 {
        let of_slot: Vec<f64> = slates.iter().map(|slate| slate.marginal.as_ref().unwrap()[slot]).collect();
        assert_estimates(&of_slot, 1.0, &format!("{what}: weights of slot {slot}"));
    }
    let weights: Vec<f64> = slates.iter().map(|slate| slate.pseudo_inverse.unwrap()).collect();
    assert_estimates(&weights, 1.0, &format!("{what}: weights of the pseudo-inverse"));
}

#[tokio::test]
async fn a_log_with_bounds_groups_leases_and_three_slots_is_evaluated_without_bias() {
    let (server, segments) = lived(added).await;
    let over_users =
        |value: &dyn Fn(&str) -> f64| segments.iter().map(|s| value(s)).sum::<f64>() / segments.len() as f64;

    let (drawn, evaluated) = rows(&server, UNIFORM, Belief::Prior).await;
    let left_out: u64 = evaluated.left_out.values().sum();
    assert!(left_out > 300 && evaluated.decisions == evaluated.rows + left_out, "{evaluated:?}");
    assert_eq!((drawn.len() as u64, evaluated.slots_max), (evaluated.rows, 3));
    // Decisioning, uniform and holdout: everybody once, whoever came again.
    let [division] = &evaluated.divisions[..] else { panic!("{:?}", evaluated.divisions) };
    assert_eq!(division.units.iter().map(|(units, _)| units).sum::<u64>(), USERS as u64);
    assert_eq!(division.units[2].0, USERS as u64 - evaluated.rows);
    let values = |candidate: &Ordered<'_>| {
        (over_users(&|segment| candidate.lead(segment)), over_users(&|segment| candidate.slate(&[], segment, added)))
    };
    let (lead, whole) = values(&EVENLY);
    assert_unbiased(&drawn, lead, "uniform");
    assert_slates_unbiased(&drawn, whole, "uniform");

    let (drawn, _) = rows(&server, FIXED, Belief::Prior).await;
    let (lead, whole) = values(&MONTHLY_FIRST);
    assert_unbiased(&drawn, lead, "monthly first");
    assert_slates_unbiased(&drawn, whole, "monthly first");
}

#[tokio::test]
async fn slates_whose_lead_has_a_say_in_what_is_taken_below_are_evaluated_without_bias() {
    let (server, segments) = lived(interacting).await;
    for (policy, candidate, what) in [(UNIFORM, &EVENLY, "uniform"), (FIXED, &MONTHLY_FIRST, "monthly first")] {
        let whole = segments.iter().map(|segment| candidate.slate(&[], segment, interacting)).sum::<f64>();
        let truth = whole / segments.len() as f64;
        let (drawn, _) = rows(&server, policy, Belief::Prior).await;
        let slates = slates(&drawn);
        let plain = error_of_weights(&slates, Weights::Interaction, truth, what);
        let corrected = error_of_cascade_dr(&slates, truth, what);
        assert!(corrected < plain, "{what}: {corrected}, {plain}");
    }
}

#[tokio::test]
async fn the_policy_that_made_a_log_has_weights_of_one_on_it() {
    let (server, _) = lived(added).await;
    let (drawn, _) = rows(&server, LOGGING, Belief::Log).await;
    // To the last bit: the same engine on the same statistics, in the lead and in slates.
    let ones = |weights: &Result<Vec<f64>, Untold>| weights.as_ref().unwrap().iter().all(|weight| *weight == 1.0);
    let alike = |drawn: &&Drawn| {
        let slate = &drawn.slate.as_ref().unwrap().slate;
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
    let (server, _) = lived(added).await;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("export");
    crate::log::export_some(&server, &archive, None, Format::Parquet).await;
    let run = |policy: &str, slots: &str, model: &str| {
        let candidate = folder.path().join("candidate.yaml");
        fs::write(&candidate, with_policy(policy)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
        command.args(["replay", "evaluate", "--json", "-", "--slots", slots, "--model", model, "--log"]).arg(&archive);
        command.arg("--catalog").arg(&candidate);
        command.output().unwrap()
    };
    let report = |slots: &str, model: &str| -> serde_json::Value {
        let answered = run("{ uniform: {} }", slots, model);
        assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stderr));
        serde_json::from_slice(&answered.stdout).unwrap()
    };
    let lead = report("lead", "ridge");
    assert!(lead["estimand"].as_str().unwrap().contains("the logging policy's rest"), "{lead:#}");
    for estimator in ["ips", "dm", "dr"] {
        assert!(lead["estimators"][estimator]["value"].is_f64(), "{estimator}: {lead:#}");
    }
    let slates = report("all", "ridge");
    assert!(slates["estimand"].as_str().unwrap().contains("all slots together"), "{slates:#}");
    for estimator in ["sips", "snrips", "iips", "pi", "cascade_dr"] {
        assert!(slates["estimators"][estimator]["interval"].is_array(), "{estimator}: {slates:#}");
    }
    assert!(slates.get("left_out").is_none(), "{slates:#}");
    let without = report("all", "none");
    assert!(without["estimators"]["cascade_dr"]["value"].is_null(), "{without:#}");
    let left_out = without["left_out"].as_object().unwrap();
    assert_eq!(left_out.keys().collect::<Vec<_>>(), ["cascade_dr"]);
    assert!(left_out["cascade_dr"]["help"].as_str().unwrap().contains("--model"), "{without:#}");

    let refused = run("{ uniform: {} }", "all", "logistic");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("use ridge"));
    let refused = run("{ nonsense: {} }", "lead", "ridge");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nonsense"));
}

#[tokio::test]
async fn slots_with_scores_of_their_own_are_made_again_by_what_had_been_learned() {
    let of_all =
        |policy: &str| with_policy(policy).replace("    slots: 3", "    slots: 3\n    learning: { slots: ALL }");
    let server = TestServer::start_with(catalog_of(&of_all(LOGGING))).await;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for user in 0..600 {
        let attributes = attributes([("segment", text("new"))]);
        let answer = server.rank(RankRequest { attributes, ..request("paywall", &format!("user-{user}")) }).await;
        let taken = answer.offers.iter().enumerate().filter(|(slot, offer)| {
            let id = &*offer.offer_id;
            rng.random_bool(if *slot == 0 { rate(id, "new") } else { added(id, "") })
        });
        let outcomes: Vec<_> =
            taken.map(|(slot, offer)| conversion(&answer.decision_id, slot, &offer.offer_id)).collect();
        if !outcomes.is_empty() {
            server.report_all(outcomes).await;
        }
        if user % REFRESH_EVERY == 0 {
            server.refresh().await;
        }
    }
    server.clock.advance_s(DAY_S);
    server.refresh().await;

    // What served, beside itself: the same scores in every slot, to the last bit, but for the uniform group.
    let same = rows_of(&server, &of_all(LOGGING), Belief::Log).await.0;
    let (decisioning, uniform): (Vec<_>, Vec<_>) = same.iter().partition(|drawn| drawn.logged != [0.25; 4]);
    assert!(decisioning.len() > 400 && uniform.len() > 30);
    for slate in decisioning.iter().map(|drawn| &drawn.slate.as_ref().unwrap().slate) {
        assert_eq!(slate.marginal, Ok(vec![1.0; 3]));
        // By sums of some hundred items.
        assert!((slate.pseudo_inverse.unwrap() - 1.0).abs() < 1e-9, "{slate:?}");
    }
    // And another policy's weights average to 1.
    let other = rows_of(&server, &of_all(UNIFORM), Belief::Prior).await.0;
    let slates: Vec<&Slate> = other.iter().map(|drawn| &drawn.slate.as_ref().unwrap().slate).collect();
    for slot in 0..3 {
        let of_slot: Vec<f64> = slates.iter().map(|slate| slate.marginal.as_ref().unwrap()[slot]).collect();
        assert_estimates(&of_slot, 1.0, &format!("weights of slot {slot}"));
        assert!(of_slot.iter().any(|weight| (weight - 1.0).abs() > 0.1), "slot {slot}");
    }
    let weights: Vec<f64> = slates.iter().map(|slate| slate.pseudo_inverse.unwrap()).collect();
    assert_estimates(&weights, 1.0, "weights of the pseudo-inverse");
}

#[tokio::test]
async fn units_are_compared_with_their_shares_under_each_revision_as_well() {
    let server = TestServer::start_with(catalog_of(&with_policy(LOGGING))).await;
    let rank = async |user: usize| {
        server
            .rank(RankRequest {
                attributes: attributes([("segment", text("old"))]),
                ..request("paywall", &format!("user-{user}"))
            })
            .await
    };
    for user in 0..30 {
        rank(user).await;
    }
    server.apply(catalog_of(&with_policy(UNIFORM))).await;
    // Ten come again, and twenty are new.
    for user in 20..50 {
        rank(user).await;
    }
    server.clock.advance_s(DAY_S);
    server.refresh().await;
    let (_, evaluated) = rows(&server, UNIFORM, Belief::Prior).await;
    let counted = |division: &Division| division.units.iter().map(|(units, _)| units).sum::<u64>();
    let divisions: Vec<(&str, u64)> =
        evaluated.divisions.iter().map(|division| (&*division.of, counted(division))).collect();
    assert_eq!(divisions, [("of the log", 50), ("under revision 1", 30), ("under revision 2", 30)]);
}
