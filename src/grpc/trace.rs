//! A span for every call, part of its caller's trace: the feature `otlp`.
//!
//! Spans carry the method and the status, and nothing of what was asked or answered.

use http::HeaderMap;
use opentelemetry::{
    KeyValue,
    global::{self, BoxedSpan, BoxedTracer},
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanKind, Status, Tracer as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::{fmt, sync::Arc};
use tonic::Code;

/// Begins spans. Cheap to clone; spans go nowhere unless a collector was named before this was made.
#[derive(Clone)]
pub(super) struct Tracing {
    tracer: Arc<BoxedTracer>,
    propagator: TraceContextPropagator,
}

impl Default for Tracing {
    fn default() -> Self {
        let tracer = Arc::new(global::tracer(env!("CARGO_PKG_NAME")));
        Self { tracer, propagator: TraceContextPropagator::new() }
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracing")
    }
}

/// The headers that name the caller's span (W3C Trace Context).
struct Caller<'a>(&'a HeaderMap);

impl Extractor for Caller<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

impl Tracing {
    /// Begins the span of a call. `method` is one of a fixed set, never what a client sent.
    pub(super) fn begin(&self, method: &str, headers: &HeaderMap) -> CallSpan {
        let caller = self.propagator.extract(&Caller(headers));
        let mut attributes = vec![KeyValue::new("rpc.system", "grpc")];
        if let Some((service, method)) = method.split_once('/') {
            attributes.push(KeyValue::new("rpc.service", format!("offer_ranker.v1.{service}")));
            attributes.push(KeyValue::new("rpc.method", method.to_owned()));
        }
        let span = self.tracer.span_builder(method.to_owned()).with_kind(SpanKind::Server).with_attributes(attributes);
        CallSpan(self.tracer.build_with_context(span, &caller))
    }
}

/// The span of a call under way.
pub(super) struct CallSpan(BoxedSpan);

impl fmt::Debug for CallSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallSpan").field(self.0.span_context()).finish()
    }
}

impl CallSpan {
    /// Ends the span with the call's status. Only what the server is to blame for counts as an error.
    pub(super) fn end(&mut self, code: Code) {
        self.0.set_attribute(KeyValue::new("rpc.grpc.status_code", code as i64));
        let blamed = [
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::Unimplemented,
            Code::Internal,
            Code::Unavailable,
            Code::DataLoss,
        ];
        if blamed.contains(&code) {
            self.0.set_status(Status::error(code.description()));
        }
        self.0.end();
    }
}
