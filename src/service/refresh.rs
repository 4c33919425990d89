//! The refresh loop: everything that changes what Rank reads happens here, one step after the other.

use super::{
    Result, Service,
    assembly::{Assembly, Learning, Revision, number_of},
    learner::Learner,
    serving::Serving,
};
use crate::{
    catalog,
    engine::catalog::{Catalog, Placement},
};
use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often expired request ids and documents are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);
/// Records that a new model learns before it lets a refresh through.
pub const LEARNED_AHEAD: u64 = 10_000;
/// Decisions of one log closed at a time.
const CLOSED_AT_ONCE: usize = 1000;
/// For how long a refresh goes on closing what is due. Every log has its turn in every refresh; what is left then
/// follows in the next.
const CLOSING: Duration = Duration::from_secs(2);
/// What fails where a revision of another instance cannot be served.
const CATCHING_UP: &str = "serving the newest catalog revision of the store";

impl Service {
    /// Closes what is due, folds what is new, and swaps what is served. What fails for one placement is logged and
    /// leaves the others as they should be.
    ///
    /// # Errors
    /// Where the store is away; what was served goes on being served.
    pub async fn refresh(&self) -> Result<()> {
        let mut learning = self.learning.lock().await;
        let now = self.clock.now();
        match self.catch_up_in_portions(&mut learning).await {
            Ok(()) => learning.failures.works(CATCHING_UP),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => learning.failures.fails(CATCHING_UP, &error),
        }
        let unclosed = self.close_all_due(&mut learning).await?;
        let serving = self.serving();
        let assembly = learning.assembly(&*self.store, Some(&serving), false);
        let fresh = Assembly { unclosed, ..assembly }.build(Revision::of(&serving)).await?;
        learning.learner.retain(|model_id, log| fresh.has_model(model_id, log));
        self.swap(fresh);
        self.refreshed_at_ms.store(now.as_ms(), Ordering::Relaxed);
        Ok(())
    }

    /// Closes what is due in the logs that this instance leads; returns the placements with a log where that fails.
    async fn close_all_due(&self, Learning { learner, failures }: &mut Learning) -> Result<BTreeSet<u16>> {
        let mut unclosed = BTreeSet::new();
        let begun = tokio::time::Instant::now();
        for (log, _) in self.store.log_ends().await? {
            if learner.leases.token(&*self.store, log).await?.is_none() {
                continue;
            }
            let what = format!("closing windows of placement number {}, partition {},", log.placement, log.partition);
            let closed = loop {
                match self.close_due(log, CLOSED_AT_ONCE).await {
                    Ok(CLOSED_AT_ONCE) if begun.elapsed() < CLOSING => {}
                    closed => break closed,
                }
            };
            match closed {
                Ok(_) => failures.works(&what),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    failures.fails(&what, &error);
                    unclosed.insert(log.placement);
                }
            }
        }
        Ok(unclosed)
    }

    /// Serves what another instance has applied, once its models have learned: a portion with every call, so that a long
    /// log does not make what is served meanwhile grow stale.
    async fn catch_up_in_portions(&self, learning: &mut Learning) -> Result<()> {
        let serving = self.serving();
        let Some(revision) = self.newer_revision(&serving).await? else { return Ok(()) };
        match self.learn_portion(&mut learning.learner, &revision.catalog, &serving).await {
            Ok(true) => return Ok(()),
            Err(error) if error.is_transient() => return Err(error),
            // What cannot be learned is served from its prior.
            Ok(false) | Err(_) => {}
        }
        let fresh = learning.assembly(&*self.store, Some(&serving), false).build(revision).await?;
        learning.learner.prepared.clear();
        self.swap(fresh);
        Ok(())
    }

    /// Learns a portion of what new models have to learn; `false` where there is less than a portion.
    async fn learn_portion(&self, learner: &mut Learner, catalog: &Catalog, serving: &Serving) -> Result<bool> {
        let ends = self.store.log_ends().await?;
        for (placement, model_id, number) in new_models(catalog, serving) {
            learner.prepared.insert(model_id.clone());
            for &(log, end) in ends.iter().filter(|(log, _)| log.placement == number) {
                let model = (placement, &model_id);
                let offset = learner.learn(&*self.store, model, (log, 0), None).await?.offset;
                if end.saturating_sub(offset) > LEARNED_AHEAD {
                    learner.learn(&*self.store, model, (log, offset + LEARNED_AHEAD), None).await?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The placements of a catalog with a model that does not serve, that model, and the placement's number.
pub(super) fn new_models<'a>(
    catalog: &'a Catalog,
    serving: &'a Serving,
) -> impl Iterator<Item = (&'a Placement, Arc<str>, u16)> + use<'a> {
    catalog.placements.iter().filter_map(|(id, placement)| {
        let model_id: Arc<str> = catalog::model_id(placement, catalog.reward_currency).into();
        let served = serving.placements.get(id).map(|served| &served.snapshot.version.model_id);
        // What has no number has no log yet.
        let number = number_of(&serving.stored, id).filter(|_| served != Some(&model_id))?;
        Some((&**placement, model_id, number))
    })
}

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
