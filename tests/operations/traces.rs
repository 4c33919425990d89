//! Traces reach a collector, as parts of their callers' traces, and say nothing of users.

use crate::server::{PATIENCE, Server, request};
use offer_ranker::proto::ranking_service_client::RankingServiceClient;
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
    transport::Server as Transport,
};
use tonic_prost::ProstCodec;

// The part of OTLP's messages that is looked at, by their public field numbers.

#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

/// Takes spans and hands them on.
#[derive(Clone)]
struct Collector(mpsc::UnboundedSender<Span>);

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl UnaryService<Export> for Collector {
    type Response = ();
    type Future = BoxFuture<Response<()>, Status>;

    fn call(&mut self, request: Request<Export>) -> Self::Future {
        let scopes = request.into_inner().resources.into_iter().flat_map(|resource| resource.scopes);
        // The test ends while spans still come; nobody wants them then.
        scopes.flat_map(|scope| scope.spans).for_each(|span| drop(self.0.send(span)));
        Box::pin(async { Ok(Response::new(())) })
    }
}

impl Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let collector = self.clone();
        Box::pin(async { Ok(Grpc::new(ProstCodec::<(), Export>::default()).unary(collector, request).await) })
    }
}

async fn collector(
    tasks: &mut JoinSet<Result<(), tonic::transport::Error>>,
) -> (String, mpsc::UnboundedReceiver<Span>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (taken, spans) = mpsc::unbounded_channel();
    let serving =
        Transport::builder().add_service(Collector(taken)).serve_with_incoming(TcpListenerStream::new(listener));
    tasks.spawn(serving);
    (address, spans)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_a_span_of_its_callers_trace() {
    let mut tasks = JoinSet::new();
    let (endpoint, mut spans) = collector(&mut tasks).await;
    let server = Server::start(&[], &["--otlp-endpoint", &endpoint]);
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let mut asking = Request::new(request("marked-user"));
    asking.metadata_mut().insert("traceparent", format!("00-{trace}-{parent}-01").parse().unwrap());
    RankingServiceClient::new(server.channel().await).rank(asking).await.unwrap();
    // What is not sent yet is sent at the end.
    server.terminate();
    let span = tokio::time::timeout(PATIENCE, spans.recv()).await.expect("a span comes").unwrap();
    assert_eq!((hex(&span.trace_id).as_str(), hex(&span.parent_span_id).as_str()), (trace, parent));
    assert_eq!((span.name.as_str(), span.kind), ("RankingService/Rank", 2));
    let attribute = |key: &str| span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone();
    let text = |key: &str| attribute(key).and_then(|value| value.text);
    assert_eq!(text("rpc.system").as_deref(), Some("grpc"));
    assert_eq!(text("rpc.service").as_deref(), Some("offer_ranker.v1.RankingService"));
    assert_eq!(text("rpc.method").as_deref(), Some("Rank"));
    assert_eq!(attribute("rpc.grpc.status_code").and_then(|value| value.number), Some(0));
    assert!(!format!("{span:?}").contains("marked"), "{span:?}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
