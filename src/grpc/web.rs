//! gRPC-web: pages in browsers rank and report without a proxy in between.
//!
//! Only `RankingService` and `FeedbackService` are served so: browsers do not administer. Native gRPC passes through
//! untouched. CORS is a promise that browsers keep, so an origin that is not listed is also refused here.
//!
//! Invariant: what is not native gRPC reaches those two services alone, only from an allowed origin, and is marked as
//! `FromPage`: who serves it explains nothing.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    str::FromStr,
    task::{Context, Poll, ready},
    time::Duration,
};
use tonic::body::Body;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer, Service};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

/// Beginnings of the paths that pages may call.
const SERVICES: [&str; 2] = ["/offer_ranker.v1.RankingService/", "/offer_ranker.v1.FeedbackService/"];
/// What gRPC-web clients send, beyond what browsers allow every page to send.
const REQUEST_HEADERS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
];
/// What an error consists of; where a call fails at once, all of it stands in headers.
const RESPONSE_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];
/// How long browsers may remember a preflight: as long as Chromium does at most.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7200);

/// The origins of pages that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every page of every site.
    Any,
    /// These, as browsers write them in the header `origin`.
    Listed(Vec<HeaderValue>),
}

/// Why a list of origins was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} {problem}; accepted are origins as browsers send them, such as https://shop.example or \
     http://localhost:8080, separated by commas, or * alone for every origin"
)]
pub struct OriginsError {
    given: String,
    problem: &'static str,
}

impl FromStr for Origins {
    type Err = OriginsError;

    fn from_str(text: &str) -> Result<Self, OriginsError> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        text.split(',').map(|origin| parse_origin(origin.trim())).collect::<Result<_, _>>().map(Self::Listed)
    }
}

/// An origin, if browsers would write it so: one that they would write differently matches nothing, ever.
fn parse_origin(text: &str) -> Result<HeaderValue, OriginsError> {
    let refuse = |problem| OriginsError { given: text.to_owned(), problem };
    if text == "*" {
        return Err(refuse("allows everything already, so it must stand alone"));
    }
    let uri = Uri::from_str(text).map_err(|_| refuse("is not an origin"))?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(refuse("does not begin with http:// or https://"));
    };
    if text.len() != scheme.len() + "://".len() + authority.as_str().len() {
        return Err(refuse("has a path; an origin ends with the host or its port"));
    }
    if authority.as_str().contains('@') {
        return Err(refuse("has a user; an origin has only a host and perhaps a port"));
    }
    if text.contains(|letter: char| letter.is_ascii_uppercase()) {
        return Err(refuse("has capitals, which browsers send in small letters"));
    }
    if matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443))) {
        return Err(refuse("has its scheme's default port, which browsers leave out"));
    }
    HeaderValue::from_str(text).map_err(|_| refuse("is not an origin"))
}

impl Origins {
    /// Whether a request may be answered. Only browsers send an origin; what is no browser is not bound by it.
    fn allow(&self, headers: &HeaderMap) -> bool {
        match (self, headers.get(header::ORIGIN)) {
            (Self::Any, _) | (_, None) => true,
            (Self::Listed(listed), Some(origin)) => listed.contains(origin),
        }
    }

    fn cors(&self) -> CorsLayer {
        let origins = match self {
            Self::Any => AllowOrigin::any(),
            Self::Listed(listed) => AllowOrigin::list(listed.iter().cloned()),
        };
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::POST])
            .allow_headers(REQUEST_HEADERS)
            .expose_headers(RESPONSE_HEADERS)
            .max_age(PREFLIGHT_MAX_AGE)
    }
}

/// Marks a request that came from a page, whoever may be reading there.
#[derive(Clone, Copy, Debug)]
pub(super) struct FromPage;

/// Lets pages of these origins call what is beneath.
pub fn layer(origins: &Origins) -> WebLayer {
    WebLayer { origins: origins.clone() }
}

/// Adds gRPC-web to a server.
#[derive(Clone, Debug)]
pub struct WebLayer {
    origins: Origins,
}

impl<S: Clone> Layer<S> for WebLayer {
    type Service = WebService<S>;

    fn layer(&self, native: S) -> WebService<S> {
        let web = self.origins.cors().layer(GrpcWebLayer::new().layer(native.clone()));
        WebService { origins: self.origins.clone(), native, web }
    }
}

/// A server that speaks gRPC-web besides gRPC.
#[derive(Clone, Debug)]
pub struct WebService<S> {
    origins: Origins,
    native: S,
    web: Cors<GrpcWebService<S>>,
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for WebService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        ready!(self.native.poll_ready(context))?;
        Service::<Request<Body>>::poll_ready(&mut self.web, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if is_native(&request) {
            return Box::pin(self.native.call(request));
        }
        if !SERVICES.iter().any(|service| request.uri().path().starts_with(service)) {
            return refuse(StatusCode::NOT_FOUND);
        }
        if !self.origins.allow(request.headers()) {
            tracing::debug!(
                http.origin = ?request.headers().get(header::ORIGIN),
                "refused a page whose origin is not among --grpc-web-origins"
            );
            return refuse(StatusCode::FORBIDDEN);
        }
        request.extensions_mut().insert(FromPage);
        Box::pin(self.web.call(request))
    }
}

/// Whether this is gRPC itself, which no page can send: over HTTP/2, with its own content type and without an origin.
/// A page may send any other type without asking first, and a proxy in front may turn its HTTP/1 into HTTP/2.
fn is_native(request: &Request<Body>) -> bool {
    let headers = request.headers();
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let grpc = kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]));
    request.version() == Version::HTTP_2 && grpc && !headers.contains_key(header::ORIGIN)
}

fn refuse(status: StatusCode) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Box::pin(std::future::ready(Ok(response)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_as_browsers_send_them() {
        assert_eq!("*".parse(), Ok(Origins::Any));
        let listed = ["https://shop.example", "http://127.0.0.1:8080", "http://[::1]:8080"];
        let expected = listed.map(HeaderValue::from_static).to_vec();
        assert_eq!(listed.join(", ").parse(), Ok(Origins::Listed(expected)));
    }

    #[test]
    fn what_no_browser_would_send_is_refused_with_what_is_accepted() {
        for (given, problem) in [
            ("", "is not an origin"),
            ("shop.example", "does not begin with http"),
            ("null", "does not begin with http"),
            ("ftp://shop.example", "does not begin with http"),
            ("https://shop.example/", "has a path"),
            ("https://shop.example/paywall", "has a path"),
            ("https://shop.example?a", "has a path"),
            ("https://me@shop.example", "has a user"),
            ("https://Shop.example", "has capitals"),
            ("https://shop.example:443", "default port"),
            ("https://shop.example,*", "must stand alone"),
            ("https://shop.example,,", "is not an origin"),
        ] {
            let error = given.parse::<Origins>().expect_err(given).to_string();
            assert!(error.contains(problem) && error.contains("such as https://shop.example"), "{given}: {error}");
        }
    }
}
