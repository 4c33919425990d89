//! The refresh loop: everything that changes what Rank reads happens here, one step after the other.

use super::Service;
use std::{future::Future, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often expired request ids are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);

/// Refreshes a service every `period` until `stop`; after each attempt `report` is told whether what is served is
/// fresh enough. A failed attempt is logged and repeated; Rank goes on answering from what it has.
pub async fn run<Report: Future<Output = ()>>(
    service: Arc<Service>,
    period: Duration,
    stop: CancellationToken,
    report: impl Fn(bool) -> Report,
) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut forget = tokio::time::interval(FORGET_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = forget.tick() => {
                if let Err(error) = service.store.forget_requests(service.clock.now()).await {
                    tracing::warn!(error.message = %error, "expired request ids could not be forgotten");
                }
            }
            _ = ticks.tick() => {
                if let Err(error) = service.refresh().await {
                    tracing::error!(error.message = %error, "a refresh failed; the last snapshot goes on serving");
                }
                report(!service.is_stale(service.clock.now())).await;
            }
        }
    }
}
