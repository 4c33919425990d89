//! The refresh loop: everything that changes what Rank reads happens here, one step after the other.

use super::Service;
use std::{future::Future, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often expired request ids and documents are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);

/// Refreshes a service every `period` until `stop`. A failed attempt is repeated, and logged where it fails otherwise
/// than the one before; Rank goes on answering from what it has.
pub async fn run(service: Arc<Service>, period: Duration, stop: CancellationToken) {
    // A refresh may be cut off anywhere, and one that hangs must not hold up the end.
    stop.run_until_cancelled(refresh_for_ever(&service, period)).await;
}

async fn refresh_for_ever(service: &Service, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut forget = tokio::time::interval(FORGET_EVERY);
    let mut last_failure = None;
    loop {
        tokio::select! {
            _ = forget.tick() => {
                if let Err(error) = service.store.forget_expired(service.clock.now()).await {
                    tracing::warn!(error.message = %error, "expired request ids and documents could not be forgotten");
                }
            }
            _ = ticks.tick() => {
                let failure = service.refresh().await.err().map(|error| error.to_string());
                match &failure {
                    Some(error) if failure != last_failure => {
                        tracing::error!(error.message = %error, "refreshes fail; the last snapshot goes on serving");
                    }
                    None if last_failure.is_some() => tracing::info!("refreshes work again"),
                    _ => {}
                }
                last_failure = failure;
            }
        }
    }
}

/// Tells `report` every `period` until `stop` whether what is served is fresh enough. Apart from the refreshes, so that
/// one that hangs or takes long is reported as what it is.
pub async fn watch<Report: Future<Output = ()>>(
    service: Arc<Service>,
    period: Duration,
    stop: CancellationToken,
    report: impl Fn(bool) -> Report,
) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        report(!service.is_stale(service.clock.now())).await;
    }
}
