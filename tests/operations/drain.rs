//! Probes, and how a server goes: unready first, calls in flight finished, silent clients not waited for.

use crate::server::{PATIENCE, Server, poll, request};
use offer_ranker::proto::{RankRequest, RankResponse};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

/// What a client of HTTP/2 says first: the preface and an empty frame of settings.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const RANK_PATH: &str = "/offer_ranker.v1.RankingService/Rank";

/// A connection that is accepted and greeted, and then silent.
fn silent(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(GREETING).unwrap();
    // The server's own settings: from here on it knows the client.
    stream.read_exact(&mut [0; 9]).unwrap();
    stream
}

/// A connection with a call of Rank that never says what it asks and never ends. The headers are HPACK by hand: two
/// from the static table, and the others as literals.
fn unfinished(server: &Server) -> TcpStream {
    let mut stream = silent(server);
    let mut block = vec![0x83, 0x86];
    for (index, value) in [(4, RANK_PATH), (1, "localhost"), (31, "application/grpc")] {
        // A literal that is not indexed, with a name from the static table; indices above 14 continue in a byte.
        if index < 15 {
            block.push(index)
        } else {
            block.extend([15, index - 15])
        }
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    let length = u32::try_from(block.len()).unwrap().to_be_bytes();
    let headers = [&length[1..], &[1, 4, 0, 0, 0, 1], &block].concat();
    stream.write_all(&headers).unwrap();
    poll("the call is in flight", || in_flight(server).then_some(()));
    stream
}

/// Whether one call of Rank is under way.
fn in_flight(server: &Server) -> bool {
    server.get("/metrics").1.contains(r#"offer_ranker_requests_in_flight{method="RankingService/Rank"} 1"#)
}

#[test]
fn probes_tell_life_from_readiness() {
    let server = Server::start(&[], &[]);
    assert_eq!(server.get("/livez"), (200, "alive\n".to_owned()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(server.get("/elsewhere").0, 404);
}

#[test]
fn a_stale_snapshot_is_alive_but_not_ready() {
    // Refreshed at the start and once a minute, and stale after a millisecond.
    let server = Server::start(&[], &["--snapshot-max-age-ms", "1", "--refresh-ms", "60000"]);
    let reason = poll("it is not ready", || {
        let (status, reason) = server.get("/readyz");
        (status == 503).then_some(reason)
    });
    assert!(
        reason.starts_with("stale: what is served is ") && reason.ends_with("at most 1 ms are allowed\n"),
        "{reason}"
    );
    assert_eq!(server.get("/livez").0, 200);
    poll("metrics say so too", || server.get("/metrics").1.contains("offer_ranker_ready 0").then_some(()));
}

#[tokio::test]
async fn told_to_stop_it_turns_unready_and_still_takes_calls_for_the_delay() {
    let server = Server::start(&[], &["--drain-delay-ms", "3600000"]);
    server.terminate();
    poll("it is draining", || (server.get("/readyz") == (503, "draining\n".to_owned())).then_some(()));
    server.rank(request("anna")).await.expect("new calls on new connections are answered");
    assert_eq!(server.get("/livez").0, 200);
}

#[test]
fn a_silent_client_does_not_hold_the_shutdown() {
    let mut server = Server::start(&[], &["--drain-ms", "3600000"]);
    let idle = TcpStream::connect(&server.address).unwrap();
    let greeted = silent(&server);
    server.terminate();
    assert!(server.ended(), "{}", server.log());
    assert!(server.log().contains("stopped"), "{}", server.log());
    drop((idle, greeted));
}

#[test]
fn a_call_that_never_ends_holds_the_shutdown_no_longer_than_the_deadline() {
    let mut server = Server::start(&[], &["--drain-ms", "100"]);
    let asking = unfinished(&server);
    server.terminate();
    assert!(server.ended(), "{}", server.log());
    assert!(server.log().contains("stopped"), "{}", server.log());
    drop(asking);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_flight_is_finished_although_another_client_is_silent() {
    let mut server = Server::start(&[], &["--drain-ms", "3600000"]);
    let _silent = silent(&server);
    let (ask, asked) = mpsc::channel::<RankRequest>(1);
    let mut client = Grpc::new(server.channel().await);
    let mut calls = JoinSet::new();
    calls.spawn(async move {
        client.ready().await.unwrap();
        let asking = tonic::Request::new(ReceiverStream::new(asked));
        let codec = ProstCodec::<RankRequest, RankResponse>::default();
        client.client_streaming(asking, PathAndQuery::from_static(RANK_PATH), codec).await
    });
    poll("the call is in flight", || in_flight(&server).then_some(()));
    server.terminate();
    poll("new connections are refused", || TcpStream::connect(&server.address).is_err().then_some(()));
    assert!(server.runs(), "it waits for the call");
    ask.send(request("anna")).await.unwrap();
    drop(ask);
    let answer = tokio::time::timeout(PATIENCE, calls.join_next()).await.expect("the call ends");
    let answer = answer.unwrap().unwrap();
    assert!(!answer.expect("the call in flight is answered").into_inner().offers.is_empty());
    assert!(server.ended(), "{}", server.log());
}
