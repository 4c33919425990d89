//! Who learns from which log: one instance at a time, under a lease that others take when it ends.
//!
//! A lease only saves work. What keeps two learners apart is the token in their commits, which the store compares.

use super::Result;
use crate::{
    clock::{Clock, SystemClock, random_bytes},
    engine::instant::Instant,
    store::{Leadership, LogId, Store},
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// How long a lease lasts: an instance that dies is replaced after this, at the latest.
const LEASE_MS: u64 = 3000;
/// How often leases are extended, and asked for by those who follow.
const ASK_EVERY_MS: u64 = 1000;
/// For how long a leader may fail to learn before it lets others try.
const FAILING_MS: u64 = 10_000;
/// For how long it then does not ask for the lease: until it has ended and every other instance has asked.
const STAND_BACK_MS: u64 = 2 * LEASE_MS;

/// The leases of one instance.
pub struct Leases {
    clock: Arc<dyn Clock>,
    /// Tells this instance from all others.
    holder: [u8; 16],
    asked: BTreeMap<LogId, Asked>,
    /// Logs that this instance leads in and fails to learn from, and since when.
    failing: BTreeMap<LogId, Instant>,
}

/// What the store said last.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// The token of whoever leads; `None`: another one does.
    token: Option<u64>,
    ask_again_at: Instant,
}

// By hand, because a clock is a trait object.
impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("holder", &self.holder).field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Leases {
    /// No leases yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        // Not from the service's clock: who learns must not change what is drawn next.
        let holder = random_bytes(&SystemClock);
        Self { clock, holder, asked: BTreeMap::new(), failing: BTreeMap::new() }
    }

    /// What this instance's commits to a log carry, or `None` where another one leads.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn token(&mut self, store: &dyn Store, log: LogId) -> Result<Option<u64>> {
        let now = self.clock.now();
        if let Some(asked) = self.asked.get(&log).filter(|asked| now < asked.ask_again_at) {
            return Ok(asked.token);
        }
        let before = self.asked.get(&log).and_then(|asked| asked.token);
        let token = match store.lead(log, self.holder, now, LEASE_MS).await? {
            Leadership::Leads { token } => Some(token),
            Leadership::Follows { .. } => None,
        };
        if token != before {
            let leads = token.is_some();
            tracing::debug!(log.placement = log.placement, log.partition = log.partition, leads, "the lease changed");
        }
        self.asked.insert(log, Asked { token, ask_again_at: now.plus_ms(ASK_EVERY_MS) });
        Ok(token)
    }

    /// Asks the store anew next time, since what it said last does not hold any more.
    pub fn doubt(&mut self, log: LogId) {
        if let Some(asked) = self.asked.get_mut(&log) {
            asked.ask_again_at = Instant::from_ms(i64::MIN);
        }
    }

    /// The logs that this instance leads in, as far as the store has said.
    pub fn led(&self) -> Vec<LogId> {
        self.asked.iter().filter(|(_, asked)| asked.token.is_some()).map(|(&log, _)| log).collect()
    }

    /// Whether this instance leads in a log, as far as the store has said.
    #[must_use]
    pub fn leads(&self, log: LogId) -> bool {
        self.asked.get(&log).is_some_and(|asked| asked.token.is_some())
    }

    /// Notes that learning from logs works.
    pub fn works(&mut self, logs: impl IntoIterator<Item = LogId>) {
        for log in logs {
            self.failing.remove(&log);
        }
    }

    /// Notes that learning from logs fails. Where this instance leads and has failed for long it lets the lease end and
    /// stands back for a while: what fails here may work elsewhere, and those who follow wait for whoever leads.
    pub fn fails(&mut self, logs: impl IntoIterator<Item = LogId>) {
        let now = self.clock.now();
        for log in logs {
            let Some(asked) = self.asked.get_mut(&log).filter(|asked| asked.token.is_some()) else { continue };
            if now < self.failing.entry(log).or_insert(now).plus_ms(FAILING_MS) {
                continue;
            }
            self.failing.remove(&log);
            *asked = Asked { token: None, ask_again_at: now.plus_ms(STAND_BACK_MS) };
            tracing::warn!(
                log.placement = log.placement,
                log.partition = log.partition,
                "learning from this log has failed for long; the lease is left to others"
            );
        }
    }

    /// Gives up all leases, so that others need not wait until they end.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn resign(&mut self, store: &dyn Store) -> Result<()> {
        while let Some((log, asked)) = self.asked.pop_first() {
            if asked.token.is_some() {
                store.resign(log, self.holder).await?;
            }
        }
        Ok(())
    }
}
