//! Answers before the log: what waits, who waits for it, and that all of it gets there.

use crate::common::{TestServer, conversion, request};
use offer_ranker::{
    log::record::LogRecord,
    proto::{FeedbackCode, GetDecisionRequest, RankRequest},
};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

async fn decisions_logged(server: &TestServer) -> usize {
    server.records().await.iter().filter(|(_, record)| matches!(record, LogRecord::Decision(_))).count()
}

#[tokio::test]
async fn an_answer_comes_before_its_log_record_and_reports_on_it_are_told_to_wait() {
    let server = TestServer::start_answering_first(100).await;
    let answer = server.rank(request("banner", "anna")).await;
    assert_eq!((decisions_logged(&server).await, server.service.unlogged()), (0, 1));
    let decision_id = answer.decision_id.clone();
    let mut ranking = server.ranking.clone();
    let unknown = ranking.get_decision(GetDecisionRequest { decision_id }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let report = conversion("o1", &answer);
    assert_eq!(server.report(report.clone()).await, FeedbackCode::NotYet);

    server.service.log_backlog().await.expect("the store is there");
    assert_eq!((decisions_logged(&server).await, server.service.unlogged()), (1, 0));
    assert_eq!(server.report(report).await, FeedbackCode::Recorded);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_request_with_an_id_waits_for_its_log_record() {
    let server = TestServer::start_answering_first(100).await;
    let named = RankRequest { request_id: "r1".to_owned(), ..request("banner", "anna") };
    let first = server.rank(named.clone()).await;
    assert_eq!(decisions_logged(&server).await, 1);
    assert_eq!(server.rank(named).await, first);
}

#[tokio::test]
async fn where_there_is_no_room_answers_wait_for_their_log_records() {
    let server = TestServer::start_answering_first(2).await;
    for user in ["anna", "bert", "cleo", "dora"] {
        server.rank(request("banner", user)).await;
    }
    assert_eq!((decisions_logged(&server).await, server.service.unlogged()), (2, 2));
    server.service.log_backlog().await.expect("the store is there");
    assert_eq!((decisions_logged(&server).await, server.service.unlogged()), (4, 0));
    server.rank(request("banner", "emil")).await;
    assert_eq!(server.service.unlogged(), 1, "there is room again");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_logs_the_rest() {
    let server = TestServer::start_answering_first(5000).await;
    for user in 0..200 {
        server.rank(request("banner", &format!("user-{user}"))).await;
    }
    assert_eq!(server.service.log_rest(Instant::now() + Duration::from_secs(60)).await, 0);
    assert_eq!(decisions_logged(&server).await, 200);
    server.assert_audit_equal().await;
}
