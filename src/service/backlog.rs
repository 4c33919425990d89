//! Decisions that were answered and do not stand in the log yet: what `--decision-log async` puts between the two.
//!
//! A bounded queue in memory. If the process is killed, what waits here is lost, with whatever the store has not
//! acknowledged: users were shown offers that nothing will be learned from, and outcomes reported on them are answered
//! NOT_YET, then UNKNOWN_DECISION. What the store does not take goes to the spool, where there is one, and is safe there.
//! Nothing else is lost: outcomes and exposures are always durable before they are acknowledged, and a request with a
//! request id waits for its log record, since only that can promise one answer.

use super::{Result, Service};
use crate::{
    log::decision_id::DecisionId,
    meters::QueueMeter,
    store::{
        DecisionAppend, DecisionKey, LogId, RECORD_BYTES_MAX, StoreError,
        spool::{Put, Spooled},
    },
};
use futures_util::future::join_all;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the queue is looked at. A writer that is woken by every decision costs more than the decision.
const PERIOD: Duration = Duration::from_millis(5);
/// Decisions appended at a time.
const BATCH: usize = 1024;
/// How long an append may take before the spool takes the decision, where there is one.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts while the store is away.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The queue.
#[derive(Debug)]
pub(super) struct Backlog {
    state: Mutex<State>,
    capacity: usize,
    meter: QueueMeter,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<DecisionAppend>,
    /// Decisions that wait or are being appended.
    unlogged: HashSet<DecisionKey>,
}

impl Backlog {
    /// A queue for this many decisions; 0: every decision waits for its log record.
    pub(super) fn new(capacity: usize) -> Self {
        let meter = QueueMeter::new("decision_backlog", capacity);
        Self { state: Mutex::default(), capacity, meter }
    }

    /// Whether decisions are answered before they are logged.
    pub(super) fn is_used(&self) -> bool {
        self.capacity > 0
    }

    /// Queues a decision; `false` where there is no room for it.
    pub(super) fn take(&self, append: DecisionAppend) -> bool {
        let mut state = self.lock();
        let has_room = state.unlogged.len() < self.capacity;
        if has_room {
            state.unlogged.insert(append.decision);
            state.waiting.push_back(append);
        }
        has_room
    }

    /// Whether a decision is answered and not logged.
    pub(super) fn holds(&self, id: &DecisionId) -> bool {
        self.capacity > 0 && self.lock().unlogged.contains(id.as_bytes())
    }

    /// Decisions that are answered and not logged.
    pub(super) fn len(&self) -> usize {
        self.lock().unlogged.len()
    }

    fn batch(&self) -> Arc<[DecisionAppend]> {
        let waiting = &mut self.lock().waiting;
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    fn done<'a>(&self, appends: impl Iterator<Item = &'a DecisionAppend>) {
        let unlogged = &mut self.lock().unlogged;
        for append in appends {
            unlogged.remove(&append.decision);
        }
    }

    /// To the end, so that a log that cannot be written does not hold up the others.
    fn put_back(&self, appends: Vec<DecisionAppend>) {
        self.lock().waiting.extend(appends);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole decisions are moved in and out: a panic elsewhere leaves no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Decisions that are answered and not logged.
    #[must_use]
    pub fn unlogged(&self) -> usize {
        self.backlog.len()
    }

    /// Appends everything that waits; what the store does not take goes to the spool.
    ///
    /// # Errors
    /// Where the store is away and no spool has room; what neither took waits on.
    pub async fn log_backlog(&self) -> Result<()> {
        let mut failure = None;
        // What fails goes to the end and is left to the next call: this one looks at each decision once.
        let mut left = self.backlog.len();
        while left > 0 {
            self.backlog.meter.set(self.backlog.len());
            let batch = self.backlog.batch();
            if batch.is_empty() {
                break;
            }
            left = left.saturating_sub(batch.len());
            let outcomes = self.log_or_spool(&batch).await;
            let (mut done, mut again) = (Vec::new(), Vec::new());
            for (append, appended) in batch.iter().zip(outcomes) {
                match appended {
                    Ok(()) => done.push(append),
                    Err(error) if !error.is_transient() && is_too_large(append) => {
                        tracing::error!(error.message = %error, "a decision was answered that cannot be logged");
                        done.push(append);
                    }
                    // Whether it was appended is unknown; appending it again is harmless.
                    Err(error) => {
                        again.push(append.clone());
                        failure = Some(error);
                    }
                }
            }
            self.backlog.done(done.into_iter());
            self.backlog.put_back(again);
        }
        self.backlog.meter.set(self.backlog.len());
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Each log's appends by themselves, so that one that is away holds up no other.
    async fn log_or_spool(&self, appends: &Arc<[DecisionAppend]>) -> Vec<Result<(), StoreError>> {
        let mut places: BTreeMap<LogId, Vec<usize>> = BTreeMap::new();
        for (place, append) in appends.iter().enumerate() {
            places.entry(append.log).or_default().push(place);
        }
        let of_log = |(log, places): (LogId, Vec<usize>)| {
            let all = places.len() == appends.len();
            let mine = if all { appends.clone() } else { places.iter().map(|&place| appends[place].clone()).collect() };
            async move { (places, self.log_or_spool_in(log, mine).await) }
        };
        let mut outcomes = vec![Ok(()); appends.len()];
        for (places, of_log) in join_all(places.into_iter().map(of_log)).await {
            places.into_iter().zip(of_log).for_each(|(place, outcome)| outcomes[place] = outcome);
        }
        outcomes
    }

    async fn log_or_spool_in(&self, log: LogId, appends: Arc<[DecisionAppend]>) -> Vec<Result<(), StoreError>> {
        let tried = if self.outages.holds(log) {
            None
        } else {
            let appending = self.store.append_decisions(appends.clone());
            match &self.spool {
                Some(_) => tokio::time::timeout(PATIENCE, appending).await.ok(),
                None => Some(appending.await),
            }
        };
        let tried = tried.unwrap_or_else(|| vec![Err(silent()); appends.len()]);
        let mut outcomes: Vec<Result<(), StoreError>> =
            tried.into_iter().map(|appended| appended.map(|_| ())).collect();
        let is_away = |place: &usize| outcomes[*place].as_ref().is_err_and(StoreError::is_transient);
        let away: Vec<usize> = (0..appends.len()).filter(is_away).collect();
        if let Some(Err(error)) = away.first().map(|&place| &outcomes[place]) {
            self.outages.begin(log, error);
        }
        // Together, so that the spool syncs them together.
        let spooled = join_all(away.iter().map(|&place| self.has_spooled(&appends[place]))).await;
        for (place, _) in away.into_iter().zip(spooled).filter(|(_, spooled)| *spooled) {
            outcomes[place] = Ok(());
        }
        outcomes
    }

    /// Whether the spool keeps an append now.
    async fn has_spooled(&self, append: &DecisionAppend) -> bool {
        let Some(spool) = &self.spool else { return false };
        let put = spool.put(Spooled { append: append.clone(), claim_in: None }).await;
        matches!(put, Ok(Put::Kept | Put::Repeated { .. }))
    }

    /// Appends what waits, until `deadline` at most; returns how many decisions are left, which are lost with the process.
    pub async fn log_rest(&self, deadline: Instant) -> usize {
        let log = async {
            while self.log_backlog().await.is_err() {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        };
        // What is left is counted below.
        let _ = tokio::time::timeout_at(deadline, log).await;
        self.unlogged()
    }
}

fn silent() -> StoreError {
    StoreError::Unavailable { reason: "it has not answered lately".to_owned() }
}

/// Whether no store ever takes it.
fn is_too_large(append: &DecisionAppend) -> bool {
    append.record.len() > RECORD_BYTES_MAX
}

/// Appends what waits until `stop`. Failures are logged where they begin and where they end.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match service.log_backlog().await {
            Ok(()) if failing => {
                tracing::info!("decisions are logged again");
                failing = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !failing {
                    tracing::error!(error.message = %error, "decisions are answered and cannot be logged yet");
                }
                failing = true;
                stop.run_until_cancelled(tokio::time::sleep(RETRY_AFTER)).await;
            }
        }
    }
}
