//! Feedback: every report gets its code, and what it says is learned exactly once.

use crate::common::{
    DAY_S, HOUR_S, START_MS, TestServer, at_s, attributes, conversion, number, placement_mut, request, revenue, shop,
    upsell,
};
use offer_ranker::{
    catalog,
    engine::{
        instant::Instant,
        learn::{Change, PartitionStatistics},
        ledger::{Judgement, Ledger, LedgerState, Outcome as Counted, Windows},
    },
    log::{decision_id::DecisionId, record::LogRecord},
    proto::{self, FeedbackCode, FeedbackResult, Outcome, RankResponse},
    store::LogId,
};
use proptest::prelude::*;
use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha12Rng;
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::JoinSet;
use tonic::Code;

fn codes(results: &[FeedbackResult]) -> Vec<FeedbackCode> {
    results.iter().map(FeedbackResult::code).collect()
}

fn revising(original: &str, outcome: Outcome) -> Outcome {
    Outcome { revises_outcome_id: original.to_owned(), ..outcome }
}

fn occurring(seconds: i64, outcome: Outcome) -> Outcome {
    Outcome { occurred_at: at_s(seconds), ..outcome }
}

/// The same outcome on the decision as a whole.
fn on_the_whole(outcome: Outcome) -> Outcome {
    Outcome { offer_id: String::new(), ..outcome }
}

async fn ledger_changes(server: &TestServer) -> usize {
    server.records().await.iter().filter(|(_, record)| matches!(record, LogRecord::Ledger(_))).count()
}

/// What an offer of a decision adds up to, by metric.
async fn slot_totals(server: &TestServer, answer: &RankResponse, slot: usize) -> BTreeMap<String, f64> {
    server.decision(&answer.decision_id).await.slots[slot - 1].totals.clone()
}

#[tokio::test]
async fn results_of_a_mixed_batch_come_in_its_order() {
    let server = TestServer::start().await;
    let [anna, berta] = [server.rank(request("banner", "anna")).await, server.rank(request("banner", "berta")).await];
    server.report(conversion("known", &berta)).await;
    server.clock.advance_s(60);
    let on_its_way = DecisionId::new(LogId { placement: 2, partition: 0 }, Instant::from_ms(START_MS + 59_000), 1);
    let never_made = DecisionId::new(LogId { placement: 2, partition: 0 }, Instant::from_ms(START_MS), 1);
    let of = |decision_id: &str| Outcome { decision_id: decision_id.to_owned(), ..conversion("o1", &anna) };
    let batch = vec![
        of("nonsense"),
        conversion("o1", &anna),
        conversion("known", &berta),
        of(&on_its_way.to_string()),
        conversion("o2", &berta),
        conversion("o1", &anna),
        Outcome { value: 2.0, ..conversion("o1", &anna) },
        revising("o1", Outcome { value: 0.0, ..conversion("r1", &anna) }),
        of(&never_made.to_string()),
        Outcome { metric: "applause".to_owned(), ..conversion("o3", &anna) },
        of(""),
        occurring(i64::from(DAY_S), conversion("o4", &anna)),
        occurring(i64::from(HOUR_S) + 60, conversion("o5", &anna)),
    ];
    let results = server.report_all(batch).await;
    assert_eq!(
        codes(&results),
        [
            FeedbackCode::UnknownDecision,
            FeedbackCode::Recorded,
            FeedbackCode::Duplicate,
            FeedbackCode::NotYet,
            FeedbackCode::Recorded,
            FeedbackCode::Duplicate,
            FeedbackCode::Conflict,
            FeedbackCode::Revised,
            FeedbackCode::UnknownDecision,
            FeedbackCode::Invalid,
            FeedbackCode::Invalid,
            FeedbackCode::Invalid,
            FeedbackCode::Invalid,
        ],
        "{results:#?}"
    );
    let says_why = |result: &FeedbackResult| {
        matches!(result.code(), FeedbackCode::Recorded | FeedbackCode::Revised) == result.message.is_empty()
    };
    assert!(results.iter().all(says_why), "{results:#?}");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_decision_on_its_way_is_not_yet_and_later_unknown() {
    let server = TestServer::start().await;
    let id = DecisionId::new(LogId { placement: 2, partition: 0 }, Instant::from_ms(START_MS), 1).to_string();
    let outcome = Outcome {
        outcome_id: "o1".to_owned(),
        decision_id: id.clone(),
        metric: "conversion".to_owned(),
        value: 1.0,
        ..Default::default()
    };
    assert_eq!(server.report(outcome.clone()).await, FeedbackCode::NotYet);
    assert_eq!(server.expose(&id, &[1]).await, FeedbackCode::NotYet);
    server.clock.advance_s(60);
    assert_eq!(server.report(outcome).await, FeedbackCode::UnknownDecision);
    assert_eq!(server.expose(&id, &[1]).await, FeedbackCode::UnknownDecision);
}

#[tokio::test]
async fn an_empty_batch_is_fine_and_one_beyond_the_limit_is_refused() {
    let server = TestServer::start().await;
    assert_eq!(server.report_all(Vec::new()).await, []);
    let answer = server.rank(request("banner", "anna")).await;
    let outcomes = (0..1001).map(|index| conversion(&format!("o{index}"), &answer)).collect();
    let request = proto::RecordOutcomesRequest { outcomes };
    let status = server.feedback.clone().record_outcomes(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(crate::common::violated_fields(&status), ["outcomes"]);
    assert_eq!(ledger_changes(&server).await, 0, "all or nothing is judged");
}

#[tokio::test]
async fn the_thousand_first_outcome_of_a_decision_is_refused() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let batch: Vec<_> = (0..1000).map(|index| conversion(&format!("o{index}"), &answer)).collect();
    let results = server.report_all(batch.clone()).await;
    assert!(results.iter().all(|result| result.code() == FeedbackCode::Recorded));
    assert_eq!(server.report(conversion("one more", &answer)).await, FeedbackCode::Invalid);
    assert!(server.report_all(batch).await.iter().all(|result| result.code() == FeedbackCode::Duplicate));
    server.assert_audit_equal().await;
    assert_eq!(server.total("banner", "yearly", "conversion").await, 1000.0);
}

#[tokio::test]
async fn any_other_body_under_a_known_id_is_a_conflict() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let first = occurring(0, revenue("o1", &answer, 8.0, "SEK"));
    assert_eq!(server.report(first.clone()).await, FeedbackCode::Recorded);
    for other in [
        Outcome { value: 8.5, ..first.clone() },
        Outcome { currency: "USD".to_owned(), ..first.clone() },
        Outcome { metric: "mood".to_owned(), currency: String::new(), ..first.clone() },
        Outcome { offer_id: "monthly".to_owned(), ..first.clone() },
        on_the_whole(first.clone()),
        Outcome { occurred_at: at_s(-1), ..first.clone() },
        Outcome { occurred_at: None, ..first.clone() },
        revising("o0", first.clone()),
    ] {
        assert_eq!(server.report(other.clone()).await, FeedbackCode::Conflict, "{other:?}");
    }
    assert_eq!(server.report(first).await, FeedbackCode::Duplicate);
    assert_eq!(ledger_changes(&server).await, 1);
}

#[tokio::test]
async fn the_same_id_on_another_decision_is_another_outcome() {
    let server = TestServer::start().await;
    for user in ["anna", "berta"] {
        let answer = server.rank(request("banner", user)).await;
        assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Recorded);
    }
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "conversion").await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_outcome_64_times_at_once_counts_once() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let mut client = server.feedback.clone();
        let request = proto::RecordOutcomesRequest { outcomes: vec![conversion("o1", &answer)] };
        calls.spawn(async move { client.record_outcomes(request).await.expect("a batch is judged").into_inner() });
    }
    let codes: Vec<_> = calls.join_all().await.iter().map(|response| response.results[0].code()).collect();
    let count = |code| codes.iter().filter(|&&given| given == code).count();
    assert_eq!((count(FeedbackCode::Recorded), count(FeedbackCode::Duplicate)), (1, 63), "{codes:?}");
    assert_eq!(ledger_changes(&server).await, 1);
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["conversion"]), (1, 1.0));
    server.assert_audit_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_outcomes_racing_on_one_decision_all_count() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let mut calls = JoinSet::new();
    for index in 0..64 {
        let mut client = server.feedback.clone();
        let request = proto::RecordOutcomesRequest { outcomes: vec![conversion(&format!("o{index}"), &answer)] };
        calls.spawn(async move { client.record_outcomes(request).await.expect("a batch is judged").into_inner() });
    }
    let results = calls.join_all().await;
    assert!(results.iter().all(|response| response.results[0].code() == FeedbackCode::Recorded), "{results:?}");
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "conversion").await, 64.0);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_retry_without_a_time_is_a_duplicate_although_time_moved_on() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Recorded);
    for seconds in [HOUR_S - 1, 2, 600, DAY_S] {
        server.clock.advance_s(seconds);
        assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Duplicate);
    }
    server.refresh().await;
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Duplicate, "closed or not");
}

#[tokio::test]
async fn a_revision_replaces_its_original() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!(server.report(revenue("sale", &answer, 64.0, "EUR")).await, FeedbackCode::Recorded);
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "revenue").await, 64.0);
    assert_eq!(server.report(revising("sale", revenue("less", &answer, 32.0, "EUR"))).await, FeedbackCode::Revised);
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "revenue").await, 32.0);
    assert_eq!(slot_totals(&server, &answer, 1).await, BTreeMap::from([("revenue".to_owned(), 32.0)]));
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_refund_takes_the_sale_back_to_nothing() {
    let server = TestServer::start().await;
    let answer = server.rank(request("paywall", "anna")).await;
    let lead = answer.offers[0].offer_id.clone();
    server.report(conversion("sale", &answer)).await;
    server.refresh().await;
    assert_eq!(server.total("paywall", &lead, "conversion").await, 1.0);
    let refund = revising("sale", Outcome { value: 0.0, ..conversion("refund", &answer) });
    assert_eq!(server.report(refund).await, FeedbackCode::Revised);
    server.refresh().await;
    assert_eq!(server.total("paywall", &lead, "conversion").await, 0.0);
    assert_eq!(server.arm("paywall", &lead).await.shown, 1, "it was shown all the same");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_revision_that_comes_first_waits_for_its_original() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!(server.report(revising("sale", revenue("less", &answer, 32.0, "EUR"))).await, FeedbackCode::Revised);
    assert_eq!(slot_totals(&server, &answer, 1).await, BTreeMap::new(), "there is nothing to replace yet");
    assert_eq!(server.report(revenue("sale", &answer, 64.0, "EUR")).await, FeedbackCode::Recorded);
    assert_eq!(slot_totals(&server, &answer, 1).await, BTreeMap::from([("revenue".to_owned(), 32.0)]));
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "revenue").await, 32.0);
}

#[tokio::test]
async fn of_several_revisions_the_last_to_occur_counts_and_then_the_greater_id() {
    let server = TestServer::start().await;
    let revision = |answer: &RankResponse, id: &str, seconds, value| {
        occurring(seconds, revising("sale", revenue(id, answer, value, "EUR")))
    };
    let answer = server.rank(request("banner", "anna")).await;
    let sale = occurring(50, revenue("sale", &answer, 1.0, "EUR"));
    server.clock.advance_s(60);
    let arrivals = [
        // Even one that says it occurred before its original replaces it.
        (sale, 1.0),
        (revision(&answer, "b", 20, 2.0), 2.0),
        (revision(&answer, "c", 10, 4.0), 2.0),
        (revision(&answer, "a", 20, 8.0), 2.0),
        (revision(&answer, "d", 20, 16.0), 16.0),
        (revision(&answer, "a later one", 30, 32.0), 32.0),
        (revision(&answer, "e", 25, 64.0), 32.0),
    ];
    for (outcome, total) in arrivals {
        let id = outcome.outcome_id.clone();
        server.report(outcome).await;
        assert_eq!(slot_totals(&server, &answer, 1).await["revenue"], total, "after {id}");
    }
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_revision_of_a_revision_belongs_to_the_same_original() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.clock.advance_s(60);
    for outcome in [
        occurring(30, revising("second", revenue("third", &answer, 4.0, "EUR"))),
        occurring(20, revising("first", revenue("second", &answer, 2.0, "EUR"))),
        occurring(10, revenue("first", &answer, 1.0, "EUR")),
    ] {
        server.report(outcome).await;
    }
    assert_eq!(slot_totals(&server, &answer, 1).await["revenue"], 4.0);
}

#[tokio::test]
async fn a_revision_counts_though_it_occurred_before_the_revision_it_replaces() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.clock.advance_s(60);
    for (outcome, total) in [
        (occurring(10, revenue("first", &answer, 1.0, "EUR")), 1.0),
        (occurring(30, revising("first", revenue("second", &answer, 2.0, "EUR"))), 2.0),
        (occurring(20, revising("second", revenue("third", &answer, 4.0, "EUR"))), 4.0),
    ] {
        server.report(outcome).await;
        assert_eq!(slot_totals(&server, &answer, 1).await["revenue"], total);
    }
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_revision_of_another_metric_or_offer_is_refused_or_never_counts() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let wrong = |id: &str| revising("sale", revenue(id, &answer, 32.0, "EUR"));
    let early = Outcome { offer_id: "monthly".to_owned(), ..wrong("early") };
    assert_eq!(server.report(early).await, FeedbackCode::Revised, "nobody knows of what yet");
    assert_eq!(server.report(conversion("sale", &answer)).await, FeedbackCode::Recorded);
    for (other, names) in [
        (wrong("metric"), "\"conversion\" on \"yearly\", but this is \"revenue\" on \"yearly\""),
        (Outcome { offer_id: "monthly".to_owned(), ..revising("sale", conversion("offer", &answer)) }, "\"monthly\""),
        (on_the_whole(revising("sale", conversion("whole", &answer))), "the decision as a whole"),
    ] {
        let result = &server.report_all(vec![other]).await[0];
        assert_eq!(result.code(), FeedbackCode::Invalid);
        assert!(
            result.message.contains("revises_outcome_id is \"sale\"") && result.message.contains(names),
            "{result:?}"
        );
    }
    assert_eq!(slot_totals(&server, &answer, 1).await, BTreeMap::from([("conversion".to_owned(), 1.0)]));
    assert_eq!(slot_totals(&server, &answer, 2).await, BTreeMap::new());
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_thousand_revisions_of_each_other_or_of_one_outcome_are_judged_in_one_call() {
    let server = TestServer::start().await;
    let [chain, star] = [server.rank(request("banner", "anna")).await, server.rank(request("banner", "berta")).await];
    let id = |index: u32| format!("o{index:03}");
    for (answer, names) in [(&chain, (|index| index - 1) as fn(u32) -> u32), (&star, |_| 0)] {
        let report = |index: u32| match index {
            0 => conversion(&id(0), answer),
            _ => revising(&id(names(index)), Outcome { value: f64::from(index), ..conversion(&id(index), answer) }),
        };
        let results = server.report_all((0..1000).map(report).collect()).await;
        assert_eq!(results[0].code(), FeedbackCode::Recorded);
        assert!(results[1..].iter().all(|result| result.code() == FeedbackCode::Revised), "{results:?}");
        assert_eq!(slot_totals(&server, answer, 1).await["conversion"], 999.0);
    }
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "conversion").await, 2.0 * 999.0);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn revisions_in_a_circle_count_for_nothing() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!(server.report(revising("b", conversion("a", &answer))).await, FeedbackCode::Revised);
    assert_eq!(server.report(revising("a", conversion("b", &answer))).await, FeedbackCode::Revised);
    assert_eq!(server.report(revising("c", conversion("c", &answer))).await, FeedbackCode::Invalid, "of itself");
    assert_eq!(slot_totals(&server, &answer, 1).await, BTreeMap::new());
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn revisions_are_taken_after_the_close_until_their_own_window_ends() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.report(revenue("sale", &answer, 64.0, "EUR")).await;
    server.clock.advance_s(DAY_S - 1);
    server.refresh().await;
    assert!(server.decision(&answer.decision_id).await.closed);
    assert_eq!(server.report(revenue("another", &answer, 64.0, "EUR")).await, FeedbackCode::Late);
    assert_eq!(server.report(revising("sale", revenue("r1", &answer, 32.0, "EUR"))).await, FeedbackCode::Revised);
    server.clock.advance_s(1);
    assert_eq!(server.report(revising("sale", revenue("r2", &answer, 16.0, "EUR"))).await, FeedbackCode::Late);
    assert_eq!(server.report(revising("sale", revenue("r1", &answer, 32.0, "EUR"))).await, FeedbackCode::Duplicate);
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "revenue").await, 32.0);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn outcomes_of_the_whole_decision_credit_the_lead() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!(server.report(on_the_whole(conversion("o1", &answer))).await, FeedbackCode::Recorded);
    let second = Outcome { offer_id: "monthly".to_owned(), ..conversion("o2", &answer) };
    assert_eq!(server.report(second).await, FeedbackCode::Recorded);
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "conversion").await, 1.0);
    assert_eq!(server.total("banner", "monthly", "conversion").await, 0.0, "only the lead is learned from");
    let decision = server.decision(&answer.decision_id).await;
    assert_eq!(decision.totals, BTreeMap::from([("conversion".to_owned(), 1.0)]));
    assert_eq!(decision.slots[1].totals, BTreeMap::from([("conversion".to_owned(), 1.0)]));
}

#[tokio::test]
async fn money_is_converted_at_the_rate_of_the_decisions_own_revision() {
    let server = TestServer::start().await;
    let early = server.rank(request("banner", "anna")).await;
    let mut catalog = shop();
    catalog.rates.insert("SEK".to_owned(), 0.25);
    server.apply(catalog).await;
    let late = server.rank(request("banner", "berta")).await;
    server.report(revenue("o1", &early, 80.0, "SEK")).await;
    server.report(revenue("o2", &late, 80.0, "SEK")).await;
    server.report(revenue("o3", &early, 3.0, "EUR")).await;
    server.report(revenue("o4", &early, -4.0, "USD")).await;
    assert_eq!(slot_totals(&server, &early, 1).await["revenue"], 80.0 * 0.125 + 3.0 - 4.0 * 0.5);
    assert_eq!(slot_totals(&server, &late, 1).await["revenue"], 80.0 * 0.25);
    let server = server.restart(None).await;
    server.report(revenue("o5", &early, 16.0, "SEK")).await;
    assert_eq!(slot_totals(&server, &early, 1).await["revenue"], 11.0 + 2.0, "also after a restart");
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "revenue").await, 13.0 + 20.0);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_metric_that_came_later_may_be_reported_on_earlier_decisions() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let watched = Outcome { metric: "watched".to_owned(), ..conversion("o1", &answer) };
    assert_eq!(server.report(watched.clone()).await, FeedbackCode::Invalid);
    let mut catalog = shop();
    catalog.metrics.push(proto::Metric {
        id: "watched".to_owned(),
        kind: proto::MetricKind::Count.into(),
        ..Default::default()
    });
    server.apply(catalog).await;
    assert_eq!(server.report(watched).await, FeedbackCode::Recorded);
}

#[tokio::test]
async fn clocks_may_be_five_minutes_apart() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let report = |id: &str, seconds| server.report(occurring(seconds, conversion(id, &answer)));
    assert_eq!(report("ahead", 300).await, FeedbackCode::Recorded);
    assert_eq!(report("far ahead", 301).await, FeedbackCode::Invalid);
    assert_eq!(report("behind", -300).await, FeedbackCode::Recorded);
    assert_eq!(report("far behind", -301).await, FeedbackCode::Invalid);
}

#[tokio::test]
async fn everything_wrong_with_an_outcome_is_said_at_once() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let wrong = Outcome {
        outcome_id: String::new(),
        offer_id: "german".to_owned(),
        metric: "applause".to_owned(),
        value: f64::NAN,
        occurred_at: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 }),
        revises_outcome_id: "x".repeat(129),
        ..conversion("", &answer)
    };
    let result = &server.report_all(vec![wrong]).await[0];
    assert_eq!(result.code(), FeedbackCode::Invalid);
    for field in ["outcome_id:", "offer_id:", "metric:", "value:", "occurred_at:", "revises_outcome_id:"] {
        assert!(result.message.contains(field), "{field} in {}", result.message);
    }
    assert!(result.message.contains("yearly, monthly, trial"), "the slate is named: {}", result.message);
}

#[tokio::test]
async fn an_offer_outside_the_slate_cannot_have_an_outcome() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    for offer_id in ["none", "german", "nobody-knows"] {
        let outcome = Outcome { offer_id: offer_id.to_owned(), ..conversion("o1", &answer) };
        assert_eq!(server.report(outcome).await, FeedbackCode::Invalid, "{offer_id}");
    }
    assert_eq!(ledger_changes(&server).await, 0);
}

#[tokio::test]
async fn assumed_slots_are_shown_until_a_report_says_otherwise() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let shown = || async {
        let slots = server.decision(&answer.decision_id).await.slots;
        slots.iter().map(|slot| slot.shown).collect::<Vec<_>>()
    };
    server.refresh().await;
    assert_eq!((shown().await, server.arm("banner", "yearly").await.shown), (vec![true; 3], 1));
    assert_eq!(server.expose(&answer.decision_id, &[]).await, FeedbackCode::Recorded);
    server.refresh().await;
    assert_eq!((shown().await, server.arm("banner", "yearly").await.shown), (vec![false; 3], 0));
    assert_eq!(server.expose(&answer.decision_id, &[]).await, FeedbackCode::Duplicate);
    assert_eq!(server.expose(&answer.decision_id, &[2]).await, FeedbackCode::Recorded);
    assert_eq!(server.expose(&answer.decision_id, &[1, 2]).await, FeedbackCode::Recorded, "reports add up");
    assert_eq!(server.expose(&answer.decision_id, &[1]).await, FeedbackCode::Duplicate, "nothing new in it");
    server.refresh().await;
    assert_eq!((shown().await, server.arm("banner", "yearly").await.shown), (vec![true, true, false], 1));
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_slot_that_does_not_exist_cannot_be_shown() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    for slots in [vec![0], vec![4], vec![1, u32::MAX]] {
        assert_eq!(server.expose(&answer.decision_id, &slots).await, FeedbackCode::Invalid, "{slots:?}");
    }
    assert_eq!(server.expose(&answer.decision_id, &[2, 1, 2, 1]).await, FeedbackCode::Recorded, "a set, in any order");
}

#[tokio::test]
async fn an_outcome_implies_that_its_offer_was_shown() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.expose(&answer.decision_id, &[]).await;
    server.report(conversion("o1", &answer)).await;
    server.report(on_the_whole(conversion("o2", &answer))).await;
    let slots = server.decision(&answer.decision_id).await.slots;
    assert_eq!(slots.iter().map(|slot| slot.shown).collect::<Vec<_>>(), [true, false, false]);
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["conversion"]), (1, 2.0));
}

#[tokio::test]
async fn confirmed_slots_count_only_once_they_are_reported() {
    let mut catalog = shop();
    placement_mut(&mut catalog, "banner").exposure = proto::ExposureMode::Confirmed.into();
    let server = TestServer::start_with(catalog).await;
    let [seen, unseen] = [server.rank(request("banner", "anna")).await, server.rank(request("banner", "berta")).await];
    server.report(on_the_whole(conversion("o1", &unseen))).await;
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals.len()), (0, 0), "nobody knows that it was shown");
    server.expose(&seen.decision_id, &[1]).await;
    server.refresh().await;
    assert_eq!(server.arm("banner", "yearly").await.shown, 1);
    server.expose(&unseen.decision_id, &[1, 2]).await;
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["conversion"]), (2, 1.0), "with all that had been reported before");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn exposures_after_the_windows_are_late() {
    let server = TestServer::start().await;
    let answer = server.rank(upsell("anna")).await;
    assert_eq!(server.expose(&answer.decision_id, &[1]).await, FeedbackCode::Recorded);
    server.clock.advance_s(HOUR_S + 600);
    assert_eq!(server.expose(&answer.decision_id, &[2]).await, FeedbackCode::Late);
    server.refresh().await;
    assert_eq!(server.expose(&answer.decision_id, &[2]).await, FeedbackCode::Late);
    assert_eq!(server.expose(&answer.decision_id, &[1]).await, FeedbackCode::Duplicate, "a retry is a retry");
    let slots = server.decision(&answer.decision_id).await.slots;
    assert_eq!(slots.iter().map(|slot| slot.shown).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn the_order_of_arrival_changes_nothing_about_what_is_learned() {
    let server = TestServer::start().await;
    let mut random = ChaCha12Rng::seed_from_u64(11);
    let mut seen = Vec::new();
    server.clock.advance_s(60);
    for user in 0..12 {
        let answer = server.rank(request("banner", &format!("user-{user}"))).await;
        let mut outcomes = vec![
            occurring(61, revenue("a", &answer, 0.1, "SEK")),
            occurring(62, revenue("b", &answer, 0.7, "USD")),
            occurring(63, revenue("c", &answer, 1e9, "EUR")),
            occurring(64, revising("c", revenue("d", &answer, 0.3, "EUR"))),
            occurring(65, revising("b", revenue("e", &answer, 1e-3, "SEK"))),
            occurring(63, revising("b", revenue("f", &answer, 5.0, "SEK"))),
            occurring(61, on_the_whole(revenue("g", &answer, 0.2, "SEK"))),
        ];
        outcomes.extend_from_within(..);
        outcomes.shuffle(&mut random);
        for part in outcomes.chunks(3) {
            server.report_all(part.to_vec()).await;
        }
        let decision = server.decision(&answer.decision_id).await;
        let bits = |totals: &BTreeMap<String, f64>| totals.values().map(|total| total.to_bits()).collect::<Vec<_>>();
        seen.push((bits(&decision.slots[0].totals), bits(&decision.totals)));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "to the last bit: {seen:?}");
    server.assert_audit_equal().await;
}

/// A report on a decision with three slots.
#[derive(Clone, Debug)]
enum Sent {
    Outcome(String, Counted),
    Exposure(BTreeSet<u32>),
}

const LAW_NOW: Instant = Instant::from_ms(START_MS + 1_000_000);

/// A set of reports without conflicts, and two orders of arrival with repetitions. In one of `consistent` reports,
/// every revision is of the metric and the slot of the outcome it names.
fn arrivals(consistent: bool) -> impl Strategy<Value = (Vec<Sent>, Vec<Sent>)> {
    let outcome = (
        prop::option::of(1_u32..=3),
        prop::sample::select(vec!["conversion", "revenue"]),
        // Multiples of 1/4 up to 256: all their sums and squares are exact, so that equality may be demanded.
        0_u32..1024,
        0_i64..4,
        prop::option::of(0_usize..12),
    );
    let outcomes = prop::collection::vec(outcome, 0..12);
    let exposures = prop::collection::vec(prop::collection::btree_set(1_u32..=3, 0..=3), 0..4);
    let sent = (outcomes, exposures).prop_map(move |(mut outcomes, exposures)| {
        if consistent {
            // Outcomes name only their own half, which is all of one metric and slot.
            for index in 0..outcomes.len() {
                let half = index % 2;
                (outcomes[index].0, outcomes[index].1) = (outcomes[half].0, outcomes[half].1);
                outcomes[index].4 = outcomes[index].4.filter(|revised| revised % 2 == half);
            }
        }
        let outcome = |(index, (slot, metric, quarters, at, revises)): (usize, (_, &str, _, _, Option<usize>))| {
            let value = f64::from(quarters) / 4.0;
            let counted = Counted {
                slot,
                metric: metric.to_owned(),
                reported_value: value,
                currency: None,
                value,
                rate: 1.0,
                occurred_at: Instant::from_ms(START_MS + at),
                occurred_at_reported: true,
                revises: revises.filter(|&revised| revised != index).map(|revised| format!("o{revised}")),
            };
            Sent::Outcome(format!("o{index}"), counted)
        };
        let outcomes = outcomes.into_iter().enumerate().map(outcome);
        outcomes.chain(exposures.into_iter().map(Sent::Exposure)).collect::<Vec<_>>()
    });
    sent.prop_flat_map(|sent| {
        let order = {
            let sent = sent.clone();
            prop::collection::vec(0..sent.len().max(1), 0..6)
                .prop_map(move |again| {
                    let again = again.iter().filter_map(|&index| sent.get(index).cloned());
                    sent.iter().cloned().chain(again).collect::<Vec<_>>()
                })
                .prop_shuffle()
        };
        (order.clone(), order)
    })
}

/// What a ledger and a placement's statistics are after these reports and the close.
fn after(placement: &str, sent: &[Sent]) -> (LedgerState, Ledger, PartitionStatistics) {
    let (catalog, _) = catalog::validate(&shop()).expect("the test's catalog is valid");
    let placement = &catalog.placements[placement];
    let decided_at = Instant::from_ms(START_MS);
    let end = Instant::from_ms(START_MS + 10_000_000);
    let mut ledger = Ledger {
        sequence: 0,
        decision_offset: 0,
        windows: Windows { decided_at, attribution_ends_at: end, closes_at: end, revisions_end_at: end },
        offers: ["monthly", "yearly", "trial"].map(Into::into).to_vec(),
        shown_assumed: placement.exposure_assumed,
        exposed: None,
        outcomes: BTreeMap::new(),
        closed: false,
        holdout: false,
    };
    let mut statistics = PartitionStatistics::default();
    let mut fold = |before: Option<&LedgerState>, after: &LedgerState| {
        let context = [1.0, 0.5];
        let context = &context[..placement.feature_count().min(2)];
        statistics.fold(placement, &Change { decided_at, before, after, context, holdout: false });
    };
    fold(None, &ledger.state());
    for sent in sent {
        let before = ledger.state();
        let judgement = match sent {
            Sent::Outcome(id, outcome) => ledger.report_outcome(id, outcome.clone(), LAW_NOW),
            Sent::Exposure(slots) => ledger.report_exposure(slots, LAW_NOW),
        };
        match judgement {
            Judgement::Recorded | Judgement::Revised => fold(Some(&before), &ledger.state()),
            Judgement::Duplicate => {}
            Judgement::Invalid { reason } if reason.contains("must be of the same metric and offer") => {}
            other => panic!("{sent:?} is {other:?}"),
        }
    }
    let closed = ledger.close(end).expect("its time has come");
    fold(Some(&ledger.state()), &closed.state());
    // An arm or metric that was counted for a while and then no more is the same as one that never was.
    statistics.arms.values_mut().for_each(|arm| arm.totals.retain(|_, total| total.to_f64() != 0.0));
    statistics.arms.retain(|_, arm| arm.shown > 0 || !arm.totals.is_empty());
    (closed.state(), Ledger { sequence: 0, ..closed }, statistics)
}

proptest! {
    #[test]
    fn any_order_and_any_repetition_of_reports_leaves_the_same_state_and_statistics(
        (one, other) in arrivals(true),
    ) {
        // Beta, lead only, at once; and linear, every slot, at maturity.
        for placement in ["paywall", "upsell"] {
            let (one, other) = (after(placement, &one), after(placement, &other));
            prop_assert_eq!(&one.0, &other.0);
            prop_assert_eq!(&one.1, &other.1);
            prop_assert_eq!(&one.2, &other.2);
        }
    }

    #[test]
    fn revisions_of_other_metrics_or_offers_are_stored_by_arrival_but_add_nothing_in_any_order(
        (one, other) in arrivals(false),
    ) {
        for placement in ["paywall", "upsell"] {
            let (one, other) = (after(placement, &one), after(placement, &other));
            prop_assert_eq!(&one.0, &other.0);
            prop_assert_eq!(&one.2, &other.2);
        }
    }
}

#[tokio::test]
async fn attributes_of_the_decision_are_what_later_outcomes_are_learned_with() {
    let server = TestServer::start().await;
    let old = server
        .rank(proto::RankRequest { attributes: attributes([("age", number(90.0))]), ..request("upsell", "anna") });
    let answer = old.await;
    server.expose(&answer.decision_id, &[1]).await;
    server.report(revenue("sale", &answer, 16.0, "EUR")).await;
    server.clock.advance_s(DAY_S);
    server.assert_audit_equal().await;
}
