//! The operators' port: metrics to scrape and probes to ask, over HTTP/1.1, apart from the port that serves clients.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | everything measured, in the text format of Prometheus |
//! | `/livez` | 200 as long as the process answers at all |
//! | `/readyz` | 200 where calls should be sent here, else 503 and why not |
//!
//! Nobody is asked who they are: keep the port inside.

pub mod probes;

use crate::meters::{self, Registry};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use probes::Probes;
use std::{io, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often histograms are summed up where nobody scrapes.
const TIDY_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Desk {
    registry: Registry,
    probes: Arc<Probes>,
}

/// Answers until `stop`, then hangs up on whoever is still asking.
///
/// # Errors
/// Where the socket fails.
pub async fn run(
    listener: TcpListener,
    registry: Registry,
    probes: Arc<Probes>,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .with_state(Desk { registry: registry.clone(), probes });
    let mut tidying = tokio::time::interval(TIDY_EVERY);
    let tidy = async {
        loop {
            tidying.tick().await;
            registry.tidy();
        }
    };
    tokio::select! {
        result = axum::serve(listener, router) => result,
        () = tidy => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}

async fn metrics(State(desk): State<Desk>) -> impl IntoResponse {
    desk.probes.tell_snapshot();
    let ready = desk.probes.readiness().is_ok();
    meters::READY.gauge(&[]).set(f64::from(u8::from(ready)));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], desk.registry.render())
}

async fn readyz(State(desk): State<Desk>) -> impl IntoResponse {
    match desk.probes.readiness() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(unready) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unready}\n")),
    }
}
