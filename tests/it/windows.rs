//! Windows close by the log, and only once.

use crate::common::{DAY_S, HOUR_S, TestServer, at_s, conversion, placement_mut, request, revenue, shop, upsell};
use offer_ranker::{
    engine::instant::Instant,
    log::record::{Cause, LogRecord},
    proto::{self, FeedbackCode, LearningMode, Outcome},
};
use tokio::task::JoinSet;

/// Attribution window and grace of `banner` and `upsell`.
const CLOSES_S: u32 = HOUR_S + 600;

async fn closed_events(server: &TestServer) -> Vec<Instant> {
    let closed = |record: &LogRecord| match record {
        LogRecord::Ledger(entry) if entry.cause == Cause::Closed => Some(entry.arrived_at),
        _ => None,
    };
    server.records().await.iter().filter_map(|(_, record)| closed(record)).collect()
}

/// `banner`, learned when windows close.
async fn patient() -> TestServer {
    let mut catalog = shop();
    placement_mut(&mut catalog, "banner").learning =
        Some(proto::Learning { mode: LearningMode::AtMaturity.into(), ..Default::default() });
    TestServer::start_with(catalog).await
}

#[tokio::test]
async fn every_decision_is_closed_by_exactly_one_record() {
    let server = TestServer::start().await;
    for user in 0..10 {
        server.rank(request("banner", &format!("user-{user}"))).await;
    }
    server.clock.advance_s(1);
    let last = server.rank(request("banner", "anna")).await;
    server.clock.advance_s(CLOSES_S - 2);
    server.refresh().await;
    assert_eq!(closed_events(&server).await.len(), 0, "a second too early");
    server.clock.advance_s(1);
    server.refresh().await;
    server.refresh().await;
    assert_eq!(closed_events(&server).await.len(), 10);
    assert!(!server.decision(&last.decision_id).await.closed, "its windows end a second later");
    server.clock.advance_s(1);
    server.refresh().await;
    server.refresh().await;
    assert_eq!(closed_events(&server).await.len(), 11);
    assert!(server.decision(&last.decision_id).await.closed);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn reading_closes_nothing() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.clock.advance_s(CLOSES_S);
    assert!(!server.decision(&answer.decision_id).await.closed);
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Late, "its time has come all the same");
    assert_eq!(closed_events(&server).await.len(), 0);
}

#[tokio::test]
async fn a_backlog_of_windows_closes_within_a_few_refreshes() {
    let mut catalog = shop();
    placement_mut(&mut catalog, "banner").partitions = Some(1);
    let server = TestServer::start_with(catalog).await;
    // One more than a refresh closes of one log; all at once, so that they share their trips to the disk.
    let mut calls = JoinSet::new();
    for user in 0..1001 {
        let mut client = server.ranking.clone();
        calls.spawn(async move { client.rank(request("banner", &format!("user-{user}"))).await });
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    server.clock.advance_s(CLOSES_S);
    server.refresh().await;
    server.refresh().await;
    assert_eq!(closed_events(&server).await.len(), 1001);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn immediate_learning_counts_what_was_shown_at_once() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!(server.arm("banner", "yearly").await.shown, 0, "nothing is learned before a refresh");
    server.refresh().await;
    assert_eq!(server.arm("banner", "yearly").await.shown, 1);
    assert_eq!(server.arm("banner", "monthly").await.shown, 0, "only the lead is learned from");
    server.report(conversion("o1", &answer)).await;
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "conversion").await, 1.0);
    server.clock.advance_s(CLOSES_S);
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["conversion"]), (1, 1.0), "closing changes nothing");
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn learning_at_maturity_waits_for_the_close() {
    let server = patient().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.report(conversion("o1", &answer)).await;
    server.clock.advance_s(CLOSES_S - 1);
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals.len()), (0, 0));
    server.clock.advance_s(1);
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["conversion"]), (1, 1.0));
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn what_was_shown_and_not_rewarded_is_learned_at_maturity_too() {
    let server = patient().await;
    server.rank(request("banner", "anna")).await;
    server.clock.advance_s(CLOSES_S);
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals.len()), (1, 0));
}

#[tokio::test]
async fn later_revisions_correct_what_was_learned_at_maturity() {
    let server = patient().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.report(revenue("sale", &answer, 64.0, "EUR")).await;
    server.clock.advance_s(CLOSES_S);
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "revenue").await, 64.0);
    let refund = Outcome { revises_outcome_id: "sale".to_owned(), ..revenue("refund", &answer, 0.0, "EUR") };
    assert_eq!(server.report(refund).await, FeedbackCode::Revised);
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["revenue"]), (1, 0.0));
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_revision_before_the_close_is_learned_once_with_it() {
    let server = patient().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.report(revenue("sale", &answer, 64.0, "EUR")).await;
    let less = Outcome { revises_outcome_id: "sale".to_owned(), ..revenue("less", &answer, 32.0, "EUR") };
    server.report(less).await;
    server.clock.advance_s(CLOSES_S);
    server.refresh().await;
    let arm = server.arm("banner", "yearly").await;
    assert_eq!((arm.shown, arm.outcome_totals["revenue"]), (1, 32.0));
}

#[tokio::test]
async fn an_outcome_in_the_window_may_arrive_during_the_grace() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.clock.advance_s(CLOSES_S - 1);
    let at_the_end = Outcome { occurred_at: at_s(i64::from(HOUR_S)), ..conversion("inside", &answer) };
    assert_eq!(server.report(at_the_end).await, FeedbackCode::Recorded, "the end belongs to the window");
    let after = prost_types::Timestamp { nanos: 1_000_000, ..at_s(i64::from(HOUR_S)).unwrap() };
    let after_the_end = Outcome { occurred_at: Some(after), ..conversion("outside", &answer) };
    assert_eq!(server.report(after_the_end.clone()).await, FeedbackCode::Late, "a millisecond later does not");
    assert_eq!(server.report(conversion("now", &answer)).await, FeedbackCode::Late, "now is after the window");
    server.clock.advance_s(1);
    let inside = Outcome { occurred_at: at_s(0), ..conversion("too late to say", &answer) };
    assert_eq!(server.report(inside).await, FeedbackCode::Late, "the grace is over");
    server.refresh().await;
    assert_eq!(server.total("banner", "yearly", "conversion").await, 1.0);
}

#[tokio::test]
async fn windows_are_those_a_decision_was_made_under() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let mut catalog = shop();
    let banner = placement_mut(&mut catalog, "banner");
    (banner.attribution_window_s, banner.grace_s, banner.revision_window_s) = (Some(60), Some(0), None);
    server.apply(catalog).await;
    server.clock.advance_s(HOUR_S);
    assert_eq!(server.report(conversion("o1", &answer)).await, FeedbackCode::Recorded);
    let short = server.rank(request("banner", "anna")).await;
    server.clock.advance_s(60);
    assert_eq!(server.report(conversion("o1", &short)).await, FeedbackCode::Late, "no grace, so the end is the end");
}

#[tokio::test]
async fn windows_close_also_where_the_placement_has_left_the_catalog() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    let mut catalog = shop();
    catalog.placements.retain(|placement| placement.id != "banner");
    server.apply(catalog).await;
    server.clock.advance_s(CLOSES_S);
    server.refresh().await;
    assert!(server.decision(&answer.decision_id).await.closed);
}

#[tokio::test]
async fn every_slot_is_learned_where_the_placement_says_so() {
    let server = TestServer::start().await;
    let answer = server.rank(upsell("anna")).await;
    assert_eq!(server.expose(&answer.decision_id, &[1, 2]).await, FeedbackCode::Recorded);
    let second = Outcome {
        offer_id: answer.offers[1].offer_id.clone(),
        occurred_at: at_s(1),
        ..revenue("sale", &answer, 16.0, "EUR")
    };
    server.report(second).await;
    server.clock.advance_s(DAY_S);
    server.refresh().await;
    for (offer, earned) in answer.offers.iter().zip([0.0, 16.0]) {
        let arm = server.arm("upsell", &offer.offer_id).await;
        assert_eq!(arm.shown, 1);
        assert_eq!(server.total("upsell", &offer.offer_id, "revenue").await, earned);
    }
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn one_refresh_closes_all_that_is_due() {
    let server = TestServer::start_answering_first(2000).await;
    for _ in 0..1500 {
        server.rank(request("banner", "anna")).await;
    }
    server.service.log_backlog().await.expect("the store is there");
    server.clock.advance_s(CLOSES_S);
    server.refresh().await;
    assert_eq!(closed_events(&server).await.len(), 1500);
}
