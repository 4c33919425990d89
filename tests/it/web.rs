//! gRPC-web at the door: who may call from a page, what they may call, and that nobody may unless it is asked for.
//! The requests are written out, because what matters is their headers; a real browser is driven in `clients/web`.

use crate::common::{TestServer, request};
use offer_ranker::proto::{self, RankRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const SHOP: &str = "https://shop.example";
const STRANGER: &str = "https://stranger.example";
const RANK: &str = "/offer_ranker.v1.RankingService/Rank";
const CATALOG: &str = "/offer_ranker.v1.CatalogService/GetCatalog";

/// One answer: its first line and headers in small letters, and its body.
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends one request over HTTP/1; `None` where the server hangs up instead of answering in HTTP/1.
async fn send(server: &TestServer, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    let address = server.address.strip_prefix("http://").expect("the server's address is a URL");
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("the server reads");
    let mut answer = Vec::new();
    // A connection that is reset has been hung up just as well.
    let _ = stream.read_to_end(&mut answer).await;
    if !answer.starts_with(b"HTTP/1.1 ") {
        return None;
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the head ends");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    Some(Answer { head, body: answer.split_off(end + 4) })
}

async fn preflight(server: &TestServer, path: &str, origin: &str) -> Option<Answer> {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,grpc-timeout,x-grpc-web,x-user-agent"),
    ];
    send(server, "OPTIONS", path, &headers, b"").await
}

async fn call(server: &TestServer, path: &str, origin: &str, message: &impl prost::Message) -> Option<Answer> {
    let headers = [("origin", origin), ("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("the message is small").to_be_bytes();
    send(server, "POST", path, &headers, &[&[0], &length[..], &message].concat()).await
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_call_and_read_the_whole_error() {
    let server = TestServer::start_for_pages(SHOP).await;
    let asked = preflight(&server, RANK, SHOP).await.expect("a preflight is answered");
    assert_eq!(asked.status(), "200");
    assert_eq!(asked.header("access-control-allow-origin"), Some(SHOP));
    assert_eq!(asked.header("access-control-allow-methods"), Some("post"));
    let allowed = asked.header("access-control-allow-headers").expect("headers are allowed");
    for name in ["content-type", "grpc-timeout", "x-grpc-web", "x-user-agent"] {
        assert!(allowed.contains(name), "{name}: {allowed}");
    }

    let ranked = call(&server, RANK, SHOP, &request("paywall", "user-1")).await.expect("a call is answered");
    assert_eq!((ranked.status(), ranked.header("access-control-allow-origin")), ("200", Some(SHOP)));
    let exposed = ranked.header("access-control-expose-headers").expect("headers are exposed");
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.contains(name), "{name}: {exposed}");
    }
    let trailers = String::from_utf8_lossy(&ranked.body);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
}

#[tokio::test]
async fn a_page_of_another_origin_is_neither_promised_nor_given_anything() {
    let server = TestServer::start_for_pages(SHOP).await;
    let asked = preflight(&server, RANK, STRANGER).await.expect("a preflight is answered");
    assert_eq!((asked.status(), asked.header("access-control-allow-origin")), ("403", None));
    let refused = call(&server, RANK, STRANGER, &request("paywall", "user-1")).await.expect("a call is answered");
    assert_eq!((refused.status(), refused.header("access-control-allow-origin")), ("403", None));
    assert!(server.records().await.is_empty(), "nothing was decided");
}

#[tokio::test]
async fn every_page_may_call_where_all_origins_are_allowed() {
    let server = TestServer::start_for_pages("*").await;
    let asked = preflight(&server, RANK, STRANGER).await.expect("a preflight is answered");
    assert_eq!((asked.status(), asked.header("access-control-allow-origin")), ("200", Some("*")));
}

#[tokio::test]
async fn pages_do_not_administer() {
    let server = TestServer::start_for_pages("*").await;
    let asked = preflight(&server, CATALOG, SHOP).await.expect("a preflight is answered");
    assert_eq!((asked.status(), asked.header("access-control-allow-origin")), ("404", None));
    let refused = call(&server, CATALOG, SHOP, &proto::GetCatalogRequest::default()).await.expect("a call is answered");
    assert_eq!(refused.status(), "404");
    // Native gRPC on the same port may, as before.
    assert_eq!(server.served_catalog().await.revision, 1);
}

#[tokio::test]
async fn pages_are_shown_no_beliefs_and_told_where_operators_ask() {
    let server = TestServer::start_for_pages("*").await;
    let explained = RankRequest { explain: true, ..request("paywall", "user-1") };
    let refused = call(&server, RANK, SHOP, &explained).await.expect("a call is answered");
    assert_eq!(refused.header("grpc-status"), Some("3"), "{}", refused.head);
    let message = refused.header("grpc-message").expect("it says why");
    assert!(message.contains("explain") && message.contains("insightservice.explaindecision"), "{message}");
    assert!(server.records().await.is_empty(), "nothing was decided");
    let explanation = proto::ExplainDecisionRequest::default();
    let path = "/offer_ranker.v1.InsightService/ExplainDecision";
    let refused = call(&server, path, SHOP, &explanation).await.expect("a call is answered");
    assert_eq!(refused.status(), "404");
    // Native gRPC on the same port may ask, as before.
    assert!(server.rank(explained).await.explanation.is_some());
}

#[tokio::test]
async fn http_1_is_not_spoken_unless_origins_are_given() {
    let server = TestServer::start().await;
    assert!(preflight(&server, RANK, SHOP).await.is_none());
    assert!(call(&server, RANK, SHOP, &request("paywall", "user-1")).await.is_none());
}
