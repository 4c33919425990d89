//! The audit beside a server that is being used.

use crate::common::{TestServer, conversion, request};
use offer_ranker::proto::RecordOutcomesRequest;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_beside_a_busy_server_finds_no_difference() {
    let server = TestServer::start().await;
    let mut clients = JoinSet::new();
    for client in 0..4 {
        let (mut ranking, mut feedback) = (server.ranking.clone(), server.feedback.clone());
        clients.spawn(async move {
            for visit in 0..40 {
                let ask = request("banner", &format!("user-{client}-{visit}"));
                let answer = ranking.rank(ask).await.expect("a valid request is answered").into_inner();
                // One by one, so that ledgers go on while they are compared.
                for n in 0..3 {
                    let outcomes = vec![conversion(&format!("o{n}"), &answer)];
                    feedback.record_outcomes(RecordOutcomesRequest { outcomes }).await.expect("it is judged");
                }
            }
        });
    }
    let mut audits = 0;
    while !clients.is_empty() {
        server.refresh().await;
        let report = server.audit().await;
        assert!(report.equal, "{:#?}", report.partitions);
        audits += 1;
        while let Some(done) = clients.try_join_next() {
            done.expect("a client was answered");
        }
    }
    assert!(audits > 0);
    server.assert_audit_equal().await;
}
