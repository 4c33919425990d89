//! Request ids: a retry is the first answer, whatever happens in between.

use crate::common::{
    DAY_S, TestServer, attributes, boolean, number, offer_mut, placement_mut, reason, request, shop, violated_fields,
};
use offer_ranker::{
    log::record::LogRecord,
    proto::{RankRequest, RankResponse},
};
use std::collections::BTreeSet;
use tokio::task::JoinSet;
use tonic::Code;

fn named(request_id: &str) -> RankRequest {
    RankRequest { request_id: request_id.to_owned(), ..request("paywall", "anna") }
}

async fn decisions_logged(server: &TestServer) -> usize {
    server.records().await.iter().filter(|(_, record)| matches!(record, LogRecord::Decision(_))).count()
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_to_the_last_bit() {
    let server = TestServer::start().await;
    let ask = RankRequest { explain: true, include_tail: true, ..named("r1") };
    let first = server.rank(ask.clone()).await;
    server.clock.advance_s(DAY_S - 1);
    server.refresh().await;
    assert_eq!(server.rank(ask).await, first);
    assert_eq!(decisions_logged(&server).await, 1);
}

#[tokio::test]
async fn after_24_hours_a_request_id_is_new_again() {
    let server = TestServer::start().await;
    let first = server.rank(named("r1")).await;
    server.clock.advance_s(DAY_S);
    let second = server.rank(named("r1")).await;
    assert_ne!(first.decision_id, second.decision_id);
    assert_eq!(server.rank(named("r1")).await, second, "the second answer is remembered in its turn");
    assert_eq!(decisions_logged(&server).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hedged_calls_get_one_decision() {
    let server = TestServer::start().await;
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        let mut client = server.ranking.clone();
        calls.spawn(async move { client.rank(named("hedged")).await.expect("a hedged call is answered").into_inner() });
    }
    let answers: Vec<RankResponse> = calls.join_all().await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    assert_eq!((answers.len(), decisions_logged(&server).await), (32, 1));
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn without_a_request_id_every_call_decides_anew() {
    let server = TestServer::start().await;
    let (first, second) = (server.rank(named("")).await, server.rank(named("")).await);
    assert_ne!(first.decision_id, second.decision_id);
}

#[tokio::test]
async fn another_body_under_the_same_id_is_refused() {
    let server = TestServer::start().await;
    let first = server.rank(named("r1")).await;
    let bodies = [
        RankRequest { market: "US".to_owned(), ..named("r1") },
        RankRequest { platform: "ios".to_owned(), ..named("r1") },
        RankRequest { unit_id: "device".to_owned(), ..named("r1") },
        RankRequest { slots: Some(2), ..named("r1") },
        RankRequest { include_tail: true, ..named("r1") },
        RankRequest { candidate_offer_ids: vec!["monthly".to_owned()], ..named("r1") },
        RankRequest { attributes: attributes([("is_returning", boolean(true))]), ..named("r1") },
    ];
    for body in bodies {
        let status = server.try_rank(body.clone()).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"), "{body:?}");
        assert_eq!(violated_fields(&status), ["request_id"]);
    }
    assert_eq!(server.rank(named("r1")).await, first, "the first body still gets its answer");
    assert_eq!(decisions_logged(&server).await, 1);
}

#[tokio::test]
async fn another_user_or_placement_makes_another_request() {
    let server = TestServer::start().await;
    let mut ids = BTreeSet::new();
    for (placement, user) in [("paywall", "anna"), ("paywall", "berta"), ("banner", "anna"), ("banner", "berta")] {
        let ask = RankRequest { request_id: "r1".to_owned(), ..request(placement, user) };
        ids.insert(server.rank(ask).await.decision_id);
    }
    // Ids are joined with their lengths: these are not the same request either.
    for (user, request_id) in [("ab", "c"), ("a", "bc")] {
        let ask = RankRequest { request_id: request_id.to_owned(), ..request("paywall", user) };
        ids.insert(server.rank(ask).await.decision_id);
    }
    assert_eq!(ids.len(), 6, "{ids:?}");
}

#[tokio::test]
async fn asking_for_an_explanation_is_not_asking_for_something_else() {
    let server = TestServer::start().await;
    let plain = server.rank(named("r1")).await;
    let explained = server.rank(RankRequest { explain: true, ..named("r1") }).await;
    assert!(explained.explanation.is_some());
    assert_eq!(RankResponse { explanation: None, ..explained }, plain);
}

/// A request as another client may encode it: map entries in the order it likes.
#[derive(Clone, PartialEq, prost::Message)]
struct HandMade {
    #[prost(string, tag = "1")]
    placement: String,
    #[prost(string, tag = "2")]
    user_id: String,
    #[prost(message, repeated, tag = "4")]
    attributes: Vec<Entry>,
    #[prost(string, tag = "6")]
    platform: String,
    #[prost(string, tag = "9")]
    request_id: String,
}

/// An entry of a map, as the wire has it.
#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<prost_types::Value>,
}

#[tokio::test]
async fn attributes_in_another_order_are_the_same_body() {
    let server = TestServer::start().await;
    let entry = |name: &str, value| Entry { key: name.to_owned(), value: Some(value) };
    let entries = vec![
        entry("tenure_days", number(30.0)),
        entry("is_returning", boolean(true)),
        entry("local_hour", number(7.0)),
    ];
    let mut answers = Vec::new();
    for attributes in [entries.clone(), entries.into_iter().rev().collect()] {
        let ask = HandMade {
            placement: "paywall".to_owned(),
            user_id: "anna".to_owned(),
            attributes,
            platform: "web".to_owned(),
            request_id: "r1".to_owned(),
        };
        let channel = tonic::transport::Endpoint::new(server.address.clone()).unwrap().connect().await.unwrap();
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.expect("the server is there");
        let path = tonic::codegen::http::uri::PathAndQuery::from_static("/offer_ranker.v1.RankingService/Rank");
        let codec = tonic_prost::ProstCodec::<HandMade, RankResponse>::default();
        answers.push(client.unary(tonic::Request::new(ask), path, codec).await.expect("it is answered").into_inner());
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_refused_request_leaves_its_id_free() {
    let server = TestServer::start().await;
    let status = server.try_rank(RankRequest { slots: Some(9), ..named("r1") }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    server.rank(named("r1")).await;
}

#[tokio::test]
async fn a_retry_across_a_catalog_change_and_a_restart_gets_the_first_answer() {
    let server = TestServer::start().await;
    let ask = RankRequest { explain: true, include_tail: true, ..named("r1") };
    let first = server.rank(ask.clone()).await;
    let mut catalog = shop();
    offer_mut(&mut catalog, "monthly").paused = true;
    offer_mut(&mut catalog, "yearly").display.clear();
    placement_mut(&mut catalog, "paywall").offers.retain(|offer_id| offer_id != "trial");
    server.apply(catalog).await;
    assert_eq!(server.rank(ask.clone()).await, first);
    let server = server.restart(None).await;
    assert_eq!(server.rank(ask).await, first);
}

#[tokio::test]
async fn expired_request_ids_are_forgotten_and_standing_ones_kept() {
    use offer_ranker::clock::Clock as _;
    let server = TestServer::start().await;
    let old = server.rank(named("old")).await;
    server.clock.advance_s(DAY_S / 2);
    let young = server.rank(named("young")).await;
    server.clock.advance_s(DAY_S / 2);
    server.store.forget_expired(server.clock.now()).await.unwrap();
    assert_eq!(server.rank(named("young")).await, young);
    let anew = server.rank(named("old")).await;
    assert_ne!(anew.decision_id, old.decision_id);
}

#[tokio::test]
async fn a_retry_is_answered_although_the_catalog_of_today_would_refuse_it() {
    let server = TestServer::start().await;
    let first = server.rank(named("r1")).await;
    let mut catalog = shop();
    catalog.placements.retain(|placement| placement.id != "paywall");
    server.apply(catalog).await;
    assert_eq!(server.rank(named("r1")).await, first);
    let status = server.try_rank(named("r2")).await.expect_err("the placement is gone");
    assert_eq!(status.code(), Code::NotFound);
}

/// Requests of one user under one id for 32 units, which live in all the placement's partitions.
fn of_units(request_id: &str) -> Vec<RankRequest> {
    let unit = |n| RankRequest { unit_id: format!("device-{n}"), ..named(request_id) };
    (0..32).map(unit).collect()
}

#[tokio::test]
async fn another_body_is_refused_although_its_unit_is_logged_in_another_partition() {
    let mut catalog = shop();
    placement_mut(&mut catalog, "paywall").partitions = Some(8);
    let server = TestServer::start_with(catalog).await;
    // The first answer stands in the user's own partition, then in that of some device.
    for (id, first) in [("r1", named("r1")), ("r2", of_units("r2").remove(0)), ("r3", of_units("r3").remove(1))] {
        let answer = server.rank(first.clone()).await;
        for other in of_units(id).into_iter().chain([named(id)]).filter(|other| *other != first) {
            let status = server.try_rank(other).await.expect_err("the id is used");
            assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
        }
        assert_eq!(server.rank(first).await, answer, "and the first body goes on being answered");
    }
    assert_eq!(decisions_logged(&server).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_bodies_for_units_in_many_partitions_one_is_answered() {
    let mut catalog = shop();
    placement_mut(&mut catalog, "paywall").partitions = Some(8);
    let server = TestServer::start_with(catalog).await;
    let mut calls = JoinSet::new();
    for ask in of_units("hedged").into_iter().chain([named("hedged")]) {
        let mut client = server.ranking.clone();
        calls.spawn(async move { client.rank(ask).await });
    }
    let answers = calls.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(decisions_logged(&server).await, 1);
}

#[tokio::test]
async fn a_retry_for_another_unit_is_answered_although_the_catalog_of_today_would_refuse_it() {
    let server = TestServer::start().await;
    let mut asks: Vec<_> = (0..8).map(|n| of_units(&format!("r{n}")).remove(n)).collect();
    let mut answers = Vec::new();
    for ask in &asks {
        answers.push(server.rank(ask.clone()).await);
    }
    let mut catalog = shop();
    catalog.placements.retain(|placement| placement.id != "paywall");
    server.apply(catalog).await;
    for (ask, answer) in asks.drain(..).zip(answers) {
        assert_eq!(server.rank(ask).await, answer);
    }
}

#[tokio::test]
async fn a_missing_placement_hides_nothing_else() {
    let server = TestServer::start().await;
    let status = server.try_rank(RankRequest::default()).await.expect_err("nothing is named");
    assert_eq!(violated_fields(&status), ["placement", "user_id"]);
}
