//! Measures every call: how many, how long, with what status; with the feature `otlp`, a span for each.
//!
//! The layer belongs inside of whatever rewrites answers (gRPC-web), because it reads the status from the answer's
//! headers or trailers. On the way of a call stand one look-up, a few atomic additions and one allocation.

#[cfg(feature = "otlp")]
use super::trace::{CallSpan, Tracing};
use crate::{meters, proto};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use metrics::{Counter, Gauge, Histogram};
use pin_project_lite::pin_project;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tonic::{Code, body::Body as AnswerBody};
use tower_layer::Layer;
use tower_service::Service;

/// Status codes by number, as the label says them.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// The label of calls of other services: health, reflection, and what does not exist.
const OTHER: &str = "other";

/// How long no call is under way before [`MeterCalls::quiet`] believes it: what was answered has left by then, and what
/// was asked before a client heard that the server goes has arrived.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks at the calls under way.
const LOOK: Duration = Duration::from_millis(20);

/// What one method counts.
#[derive(Debug)]
struct MethodMeters {
    /// As in `RankingService/Rank`.
    #[cfg(feature = "otlp")]
    method: String,
    requests: [Counter; CODES.len()],
    duration: Histogram,
    in_flight: Gauge,
}

impl MethodMeters {
    fn of(method: &str) -> Self {
        Self {
            #[cfg(feature = "otlp")]
            method: method.to_owned(),
            requests: CODES.map(|code| meters::REQUESTS.counter(&[method, code])),
            duration: meters::REQUEST_DURATION.histogram(&[method]),
            in_flight: meters::REQUESTS_IN_FLIGHT.gauge(&[method]),
        }
    }
}

/// The layer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MeterCalls {
    /// By path, as in `/offer_ranker.v1.RankingService/Rank`.
    methods: Arc<HashMap<String, Arc<MethodMeters>>>,
    others: Arc<MethodMeters>,
    /// Calls under way of the methods of the wire format. Apart from the gauge, which cannot be read.
    under_way: Arc<AtomicUsize>,
    #[cfg(feature = "otlp")]
    tracing: Tracing,
}

impl MeterCalls {
    /// Meters for every method of the wire format, and one for all others together.
    #[must_use]
    pub fn new() -> Self {
        let methods = methods().into_iter().map(|(path, method)| (path, Arc::new(MethodMeters::of(&method))));
        Self {
            methods: Arc::new(methods.collect()),
            others: Arc::new(MethodMeters::of(OTHER)),
            under_way: Arc::default(),
            #[cfg(feature = "otlp")]
            tracing: Tracing::default(),
        }
    }

    /// Waits until no call of the wire format's methods has been under way for a second.
    pub(super) async fn quiet(&self) {
        let mut last_call = Instant::now();
        while last_call.elapsed() < QUIET {
            tokio::time::sleep(LOOK).await;
            if self.under_way.load(Ordering::Relaxed) > 0 {
                last_call = Instant::now();
            }
        }
    }

    fn begin<T>(&self, request: &Request<T>) -> Call {
        let known = self.methods.get(request.uri().path());
        let meters = known.unwrap_or(&self.others).clone();
        meters.in_flight.increment(1.0);
        // Whoever watches health for ever is no call to wait for.
        let under_way = known.map(|_| self.under_way.clone());
        if let Some(under_way) = &under_way {
            under_way.fetch_add(1, Ordering::Relaxed);
        }
        Call {
            #[cfg(feature = "otlp")]
            span: self.tracing.begin(&meters.method, request.headers()),
            meters,
            under_way,
            begun: Instant::now(),
            code: Code::Cancelled,
        }
    }
}

impl Default for MeterCalls {
    fn default() -> Self {
        Self::new()
    }
}

/// Path and name, such as `RankingService/Rank`, of every method of the wire format.
fn methods() -> Vec<(String, String)> {
    let descriptors =
        FileDescriptorSet::decode(proto::DESCRIPTORS).expect("invariant: the descriptors were compiled by build.rs");
    let mut methods = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let name = format!("{}/{}", service.name(), method.name());
                methods.push((format!("/{}.{name}", file.package()), name));
            }
        }
    }
    methods
}

/// A call under way; counted when it is dropped.
#[derive(Debug)]
struct Call {
    meters: Arc<MethodMeters>,
    under_way: Option<Arc<AtomicUsize>>,
    begun: Instant,
    /// Cancelled, unless its end says otherwise.
    code: Code,
    #[cfg(feature = "otlp")]
    span: CallSpan,
}

impl Call {
    /// Reads the status where there is one.
    fn read(&mut self, headers: &HeaderMap) -> bool {
        let status = headers.get("grpc-status");
        if let Some(status) = status {
            self.code = Code::from_bytes(status.as_bytes());
        }
        status.is_some()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(under_way) = &self.under_way {
            under_way.fetch_sub(1, Ordering::Relaxed);
        }
        self.meters.in_flight.decrement(1.0);
        self.meters.duration.record(self.begun.elapsed().as_secs_f64());
        self.meters.requests[self.code as usize].increment(1);
        #[cfg(feature = "otlp")]
        self.span.end(self.code);
    }
}

impl<S> Layer<S> for MeterCalls {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered { inner, meters: self.clone() }
    }
}

/// A service whose calls are measured.
#[derive(Clone, Debug)]
pub struct Metered<S> {
    inner: S,
    meters: MeterCalls,
}

impl<S, Asked> Service<Request<Asked>> for Metered<S>
where
    S: Service<Request<Asked>, Response = Response<AnswerBody>>,
{
    // The same type as before, so that other layers need not know of this one.
    type Response = Response<AnswerBody>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        let call = Some(self.meters.begin(&request));
        Answering { inner: self.inner.call(request), call }
    }
}

pin_project! {
    /// The answer of a measured call.
    #[derive(Debug)]
    pub struct Answering<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
    }
}

impl<F, Error> Future for Answering<F>
where
    F: Future<Output = Result<Response<AnswerBody>, Error>>,
{
    type Output = Result<Response<AnswerBody>, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let call = this.call;
        let response = ready!(this.inner.poll(context))?;
        // An answer that is refused outright has its status here, others after their body.
        let status_known = call.as_mut().is_some_and(|call| call.read(response.headers()));
        // Counted here where nothing follows, so that whoever has the answer finds it counted.
        let ended = status_known && response.body().is_end_stream();
        let call = call.take().filter(|_| !ended);
        if call.is_none() {
            return Poll::Ready(Ok(response));
        }
        Poll::Ready(Ok(response.map(|inner| AnswerBody::new(MeteredBody { inner, call, status_known }))))
    }
}

pin_project! {
    /// The body of a measured call's answer.
    #[derive(Debug)]
    struct MeteredBody<B> {
        #[pin]
        inner: B,
        call: Option<Call>,
        status_known: bool,
    }
}

impl<B: Body> Body for MeteredBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(call), Some(trailers)) = (this.call.as_mut(), frame.trailers_ref()) {
                    *this.status_known |= call.read(trailers);
                    drop(this.call.take());
                }
            }
            Some(Err(_)) | None => {
                // An end without a status is what clients call unknown.
                if let Some(mut call) = this.call.take()
                    && !*this.status_known
                {
                    call.code = Code::Unknown;
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_name() {
        for (number, name) in (0..).zip(CODES) {
            let debug = format!("{:?}", Code::from_i32(number));
            assert_eq!(debug.to_uppercase(), name.replace('_', ""), "{number}");
        }
    }

    #[test]
    fn every_method_of_the_wire_format_is_known_by_its_path() {
        let methods = methods();
        let rank = ("/offer_ranker.v1.RankingService/Rank".to_owned(), "RankingService/Rank".to_owned());
        assert!(methods.contains(&rank), "{methods:?}");
    }
}
