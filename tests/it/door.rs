//! The door itself: health, reflection, stopping, and what is said while the store is away.

use crate::common::{SNAPSHOT_MAX_AGE_MS, TestServer, conversion, reason, request};
use offer_ranker::{proto, service::refresh};
use std::{collections::BTreeSet, time::Duration};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

const SERVICES: [&str; 3] =
    ["offer_ranker.v1.RankingService", "offer_ranker.v1.FeedbackService", "offer_ranker.v1.CatalogService"];

async fn channel(server: &TestServer) -> Channel {
    Endpoint::new(server.address.clone()).expect("an address").connect().await.expect("the server answers")
}

#[tokio::test]
async fn health_is_told_for_the_server_and_each_service() {
    let server = TestServer::start().await;
    let mut health = HealthClient::new(channel(&server).await);
    for service in ["", SERVICES[0], SERVICES[1], SERVICES[2]] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.expect("health is told").into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(HealthCheckRequest { service: "nobody".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn who_watches_health_is_told_before_the_server_stops() {
    let server = TestServer::start().await;
    let mut health = HealthClient::new(channel(&server).await);
    let request = HealthCheckRequest { service: SERVICES[0].to_owned() };
    let mut watched = health.watch(request).await.expect("health can be watched").into_inner();
    let first = watched.next().await.expect("the state is told at once").expect("it is told");
    assert_eq!(first.status(), ServingStatus::Serving);
    server.tell_to_stop();
    let second = watched.next().await.expect("the change is told").expect("it is told");
    assert_eq!(second.status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let server = TestServer::start().await;
    let channel = channel(&server).await;
    let expected: BTreeSet<String> = SERVICES.map(str::to_owned).into();
    {
        use tonic_reflection::pb::v1::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let asked = Request::new(tokio_stream::iter([ask]));
        let mut told =
            ServerReflectionClient::new(channel.clone()).server_reflection_info(asked).await.unwrap().into_inner();
        let response = told.next().await.expect("an answer").unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = response else { panic!("{response:?}") };
        let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
        assert!(names.is_superset(&expected) && names.contains("grpc.health.v1.Health"), "{names:?}");
    }
    {
        use tonic_reflection::pb::v1alpha::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let asked = Request::new(tokio_stream::iter([ask]));
        let mut told = ServerReflectionClient::new(channel).server_reflection_info(asked).await.unwrap().into_inner();
        let response = told.next().await.expect("an answer").unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = response else { panic!("{response:?}") };
        let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
        assert!(names.is_superset(&expected), "{names:?}");
    }
}

#[tokio::test]
async fn while_the_store_is_away_no_report_is_acknowledged_and_a_retry_is_invited() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.store.close().await.expect("the store closes");
    let outcomes = vec![conversion("o1", &answer)];
    let status = server.feedback.clone().record_outcomes(proto::RecordOutcomesRequest { outcomes }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
    let retry = status.get_details_retry_info().expect("a retry is invited").retry_delay;
    assert!(retry.is_some_and(|delay| delay > Duration::ZERO), "{retry:?}");
    assert!(server.service.refresh().await.is_err());
    assert_eq!(server.served_catalog().await.revision, 1, "what is in memory is still told");
}

/// How long a learner's lease lasts, in seconds.
const LEASE_S: u32 = 3;

#[tokio::test]
async fn an_outcome_refused_while_the_store_was_away_is_recorded_when_it_is_back() {
    let server = TestServer::start().await;
    let answer = server.rank(request("banner", "anna")).await;
    server.store.close().await.expect("the store closes");
    let request = proto::RecordOutcomesRequest { outcomes: vec![conversion("o1", &answer)] };
    assert!(server.feedback.clone().record_outcomes(request).await.is_err());
    let server = server.restart(None).await;
    assert_eq!(server.report(conversion("o1", &answer)).await, proto::FeedbackCode::Recorded);
    // The store was closed before anybody could give up a lease in it.
    server.clock.advance_s(LEASE_S);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn a_snapshot_too_old_is_told_although_no_refresh_ever_ends() {
    let server = TestServer::start().await;
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let report = move |fresh| {
        // The test ends while it is still told; nobody listens then.
        let _ = told.send(fresh);
        std::future::ready(())
    };
    let stop = CancellationToken::new();
    let mut watching = JoinSet::new();
    watching.spawn(refresh::watch(server.service.clone(), Duration::from_millis(1), stop.clone(), report));
    assert_eq!(tells.recv().await, Some(true));
    server.clock.advance_s(SNAPSHOT_MAX_AGE_MS as u32 / 1000 + 1);
    while tells.recv().await.expect("it is told again and again") {}
    server.refresh().await;
    while !tells.recv().await.expect("it is told again and again") {}
    stop.cancel();
    watching.join_all().await;
}
