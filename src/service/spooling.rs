//! After an outage: what waits in the spool is offered to the store until it takes it, and logs that were away are asked
//! whether they are back.
//!
//! Offers go in the order of coming, log by log: a log that is still away is passed over and does not hold up the others.
//! A decision whose request another decision has answered meanwhile is superseded: it is not logged, since a request has
//! one decision. What no store ever takes is copied beside the spool and passed over.

use super::Service;
use crate::{
    meters,
    store::{
        AppendOutcome, DecisionKey, LogId, StoreError,
        spool::{Spool, Spooled, Waiting},
    },
};
use futures_util::future::join_all;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often a store that is away is tried.
const PERIOD: Duration = Duration::from_millis(100);
/// Decisions offered at a time.
const BATCH: usize = 256;
/// For how many periods nothing may have been away before the operator is told that the store is back.
const SETTLED: u32 = 20;

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offered {
    Logged,
    Superseded,
}

impl Service {
    /// Keeps what the store does not take in this spool.
    #[must_use]
    pub fn with_spool(self, spool: Spool) -> Self {
        if !spool.is_empty() {
            tracing::info!(decisions = spool.len(), "the spool holds decisions that are not logged yet; they are now");
        }
        Self { spool: Some(Arc::new(spool)), ..self }
    }

    /// Decisions that wait in the spool.
    #[must_use]
    pub fn spooled(&self) -> usize {
        self.spool.as_ref().map_or(0, |spool| spool.len())
    }

    /// Offers everything that waits in the spool to the store once, and asks after every log that was away.
    pub async fn offer_spooled(&self) {
        let mut away = BTreeSet::new();
        let mut there = BTreeSet::new();
        if let Some(spool) = &self.spool {
            let mut after = None;
            loop {
                let batch = spool.waiting(after, BATCH, &away).await;
                let Some(last) = batch.last() else { break };
                after = Some(last.place);
                self.offer(spool, batch, &mut there, &mut away).await;
            }
        }
        for log in self.outages.logs() {
            // What was offered and taken has shown enough.
            if !away.contains(&log) && (there.contains(&log) || self.store.read_log(log, 0, 1).await.is_ok()) {
                self.outages.end(log);
            }
        }
    }

    async fn offer(&self, spool: &Spool, batch: Vec<Waiting>, there: &mut BTreeSet<LogId>, away: &mut BTreeSet<LogId>) {
        // A claim in a log that is away says nothing of the decision's own.
        let claimable = |spooled: &Spooled| spooled.claim_in.is_none_or(|home| !away.contains(&home));
        let spooled = batch.into_iter().filter_map(|waiting| waiting.spooled).filter(claimable).collect::<Vec<_>>();
        let offers = join_all(spooled.iter().map(|spooled| self.offer_one(spooled))).await;
        let mut done: Vec<&DecisionKey> = Vec::new();
        for (Spooled { append, .. }, offered) in spooled.iter().zip(offers) {
            let result = match offered {
                Err((log, error)) if error.is_transient() => {
                    away.insert(log);
                    self.outages.begin(log, &error);
                    continue;
                }
                Err((_, error)) => {
                    let copy = spool.set_aside(&append.decision);
                    let copy = copy.map_or("there is no copy of it".to_owned(), |copy| copy.display().to_string());
                    tracing::error!(error.message = %error, spool.copy = copy, "a spooled decision cannot be logged");
                    "refused"
                }
                Ok(Offered::Superseded) => "superseded",
                Ok(Offered::Logged) => "logged",
            };
            meters::SPOOL_OFFERED.counter(&[result]).increment(1);
            there.insert(append.log);
            done.push(&append.decision);
        }
        spool.done(done);
    }

    /// Logs a decision; where that fails, also in which log.
    async fn offer_one(&self, Spooled { append, claim_in }: &Spooled) -> Result<Offered, (LogId, StoreError)> {
        let own = |error| (append.log, error);
        if let (&Some(home), Some(mark)) = (claim_in, &append.request) {
            let claimed = self.store.claim_request(home, mark).await.map_err(|error| (home, error))?;
            if claimed != mark.fingerprint {
                return Ok(Offered::Superseded);
            }
        }
        let logged = match self.store.append_decision(append.clone()).await.map_err(own)? {
            AppendOutcome::Appended { .. } => true,
            AppendOutcome::Repeated { decision, .. } => decision == append.decision,
            AppendOutcome::Claimed { .. } => false,
            AppendOutcome::DocumentMoved => {
                let reason = "a decision that changes no document lost a race for one".to_owned();
                return Err(own(StoreError::Corrupt { reason }));
            }
        };
        if !logged {
            return Ok(Offered::Superseded);
        }
        // Also one that was logged by an earlier offer, which may not have come to counting it. Twice is as once.
        self.count_spooled(append).await.map_err(own)?;
        Ok(Offered::Logged)
    }
}

/// Offers what is spooled and asks after logs that are away, until `stop`.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut settled = 0;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if service.spooled() == 0 && service.outages.logs().is_empty() {
            settled += 1;
            if settled == SETTLED {
                service.outages.tell_end();
            }
            continue;
        }
        settled = 0;
        // An offer may be cut off anywhere: making it again is harmless.
        stop.run_until_cancelled(service.offer_spooled()).await;
    }
}
