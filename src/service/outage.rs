//! Where the store is away, as far as the last calls tell: what one Rank has waited for in vain, the next do not.
//!
//! Log by log, since a node of a Cluster takes only its own logs with it. A log is away from a call that fails as it
//! may or does not come back in time, until what looks after outages (see `spooling`) has had an answer about it.

use super::Service;
use crate::store::{LogId, Result, StoreError};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The logs that are away.
#[derive(Debug, Default)]
pub(super) struct Outages {
    away: Mutex<BTreeSet<LogId>>,
    /// Whether there are any: nearly always not, and then nobody waits for the lock.
    any: AtomicBool,
    /// Whether the operator was told. An outage that comes and goes is told once.
    told: AtomicBool,
}

impl Outages {
    /// Whether a log is away.
    pub(super) fn holds(&self, log: LogId) -> bool {
        self.any.load(Ordering::Relaxed) && self.lock().contains(&log)
    }

    /// The logs that are away.
    pub(super) fn logs(&self) -> BTreeSet<LogId> {
        if self.any.load(Ordering::Relaxed) { self.lock().clone() } else { BTreeSet::new() }
    }

    /// Notes that a log is away.
    pub(super) fn begin(&self, log: LogId, error: &StoreError) {
        let mut away = self.lock();
        away.insert(log);
        self.any.store(true, Ordering::Relaxed);
        drop(away);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                error.message = %error,
                log.placement = log.placement,
                log.partition = log.partition,
                "the store is away; Rank answers from the last snapshot, flagged, until it is back"
            );
        }
    }

    /// Notes that a log is there.
    pub(super) fn end(&self, log: LogId) {
        let mut away = self.lock();
        away.remove(&log);
        self.any.store(!away.is_empty(), Ordering::Relaxed);
    }

    /// Tells the operator that an outage is over, once it has been for a while.
    pub(super) fn tell_end(&self) {
        if self.told.swap(false, Ordering::Relaxed) {
            tracing::info!("the store is back");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<LogId>> {
        // Nothing that holds it can panic midway.
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Makes a call on a log that a Rank waits for: in time, or not at all. Whether a call that did not come back was
    /// done is unknown.
    pub(super) async fn in_time<T>(&self, log: LogId, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.outages.holds(log) {
            return Err(StoreError::Unavailable { reason: "it has not answered lately".to_owned() });
        }
        let result = self.limited(call).await;
        if let Err(error) = &result
            && error.is_transient()
        {
            self.outages.begin(log, error);
        }
        result
    }

    /// The same of a call that tells nothing of any one log.
    pub(super) async fn limited<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.settings.append_timeout;
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} ms, the longest that a Rank waits", limit.as_millis());
            Err(StoreError::Unavailable { reason })
        })
    }
}
