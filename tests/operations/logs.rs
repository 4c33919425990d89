//! What the log says, and what it never says: anything of users.

use crate::server::{Server, conversion, poll, request};
use offer_ranker::proto::{Outcome, RankRequest};
use prost_types::{Value, value::Kind};

/// Everything of a request that tells of a user, marked.
fn marked() -> RankRequest {
    let text = |value: &str| Value { kind: Some(Kind::StringValue(value.to_owned())) };
    RankRequest {
        unit_id: "marked-unit".to_owned(),
        request_id: "marked-request".to_owned(),
        attributes: [("channel".to_owned(), text("marked-channel"))].into(),
        ..request("marked-user")
    }
}

#[tokio::test]
async fn nothing_of_users_is_logged_however_much_is_asked_for() {
    let server = Server::start(&["--log-filter", "trace"], &[]);
    let answer = server.rank(marked()).await.expect("an unknown category is a category of its own");
    let refused =
        RankRequest { platform: "marked-platform".to_owned(), market: "marked-market".to_owned(), ..marked() };
    assert!(server.rank(refused).await.is_err());
    let revision = Outcome {
        revises_outcome_id: "marked-earlier".to_owned(),
        ..conversion("marked-outcome", &answer.decision_id)
    };
    server.report(vec![conversion("marked-first", &answer.decision_id), revision]).await;
    let (status, metrics) = server.get("/metrics");
    assert!(status == 200 && !metrics.contains("marked"), "{metrics}");
    server.terminate();
    poll("the server stops", || server.log().contains("stopped").then_some(()));
    let log = server.log();
    assert!(log.lines().count() > 100, "everything was asked for: {log}");
    let said: Vec<_> = log.lines().filter(|line| line.contains("marked")).collect();
    assert!(said.is_empty(), "{said:#?}");
}

#[tokio::test]
async fn calls_leave_no_lines_by_default() {
    let server = Server::start(&[], &[]);
    let before = server.log();
    let answer = server.rank(request("anna")).await.unwrap();
    server.report(vec![conversion("order-1", &answer.decision_id)]).await;
    assert!(server.rank(RankRequest::default()).await.is_err());
    assert_eq!(server.log(), before);
}

#[test]
fn json_lines_have_dotted_fields() {
    let mut server = Server::start(&["--log-json"], &["--drain-ms", "100"]);
    server.terminate();
    assert!(server.ended());
    let log = server.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let draining = lines.iter().find(|line| line["fields"].get("drain.deadline_ms").is_some()).expect(&log);
    assert_eq!(draining["fields"]["drain.deadline_ms"], 100);
    assert_eq!(draining["level"], "INFO");
}
