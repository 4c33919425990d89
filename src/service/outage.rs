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
    time::{Duration, Instant},
};

/// For how long a wait in vain for what is known of a user makes others short.
const HASTE: Duration = Duration::from_secs(1);
/// How many times shorter they are.
const HASTE_FACTOR: u32 = 10;

/// The logs that are away.
#[derive(Debug, Default)]
pub(super) struct Outages {
    away: Mutex<BTreeSet<LogId>>,
    /// Whether there are any: nearly always not, and then nobody waits for the lock.
    any: AtomicBool,
    /// Whether the operator was told. An outage that comes and goes is told once.
    told: AtomicBool,
    /// When a whole wait for a user was in vain last.
    users: Mutex<Option<Instant>>,
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

    /// How long to wait for what is known of a user, of at most `limit`.
    fn patience(&self, limit: Duration, now: Instant) -> Duration {
        let waited = *self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if waited.is_some_and(|at| now.duration_since(at) < HASTE) { limit / HASTE_FACTOR } else { limit }
    }

    /// Notes that a whole wait for a user was in vain. Short ones say nothing: the store may be slow.
    fn waited_in_vain(&self, now: Instant) {
        *self.users.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
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
        within(self.settings.append_timeout, call).await
    }

    /// The same of a call about a user. Nothing tells which node of a Cluster keeps a user, so where one is away every
    /// call has to find out; one in a second waits as long as may be, and the others a tenth of that.
    pub(super) async fn of_user<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.settings.append_timeout;
        let patience = self.outages.patience(limit, Instant::now());
        let result = within(patience, call).await;
        if patience == limit && result.as_ref().is_err_and(StoreError::is_transient) {
            self.outages.waited_in_vain(Instant::now());
        }
        result
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} ms, the longest that this Rank waits", limit.as_millis());
        Err(StoreError::Unavailable { reason })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wait_for_a_user_in_vain_makes_others_short_for_a_second() {
        let (outages, begun, limit) = (Outages::default(), Instant::now(), Duration::from_millis(250));
        assert_eq!(outages.patience(limit, begun), limit);
        outages.waited_in_vain(begun);
        assert_eq!(outages.patience(limit, begun + HASTE / 2), Duration::from_millis(25));
        assert_eq!(outages.patience(limit, begun + HASTE), limit);
    }
}
