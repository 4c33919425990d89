//! Decisions that were answered and do not stand in the log yet: what `--decision-log async` puts between the two.
//!
//! A bounded queue in memory. If the process is killed, what waits here is lost, with whatever the store has not
//! acknowledged: users were shown offers that nothing will be learned from, and outcomes reported on them are answered
//! NOT_YET, then UNKNOWN_DECISION. What the store does not take goes to the spool, where there is one, and is safe there.
//! Nothing else is lost: outcomes and exposures are always durable before they are acknowledged, and a request with a
//! request id waits for its log record, since only that can promise one answer.

use super::{Result, Service};
use crate::{
    engine::ledger::Windows,
    log::{
        decision_id::DecisionId,
        ledger_codec::encode_ledger,
        record::{DecisionRecord, LogRecord},
    },
    meters::QueueMeter,
    store::{
        DecisionAppend, DocumentChange, RECORD_BYTES_MAX, RequestMark, StoreError,
        spool::{Put, Spooled},
    },
};
use futures_util::future::join_all;
use std::{
    collections::{HashSet, VecDeque},
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

/// A decision and what its log record needs besides.
#[derive(Clone, Debug)]
pub(super) struct Unlogged {
    /// What was decided.
    pub(super) record: Arc<DecisionRecord>,
    /// When its windows end.
    pub(super) windows: Windows,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Backlog {
    state: Mutex<State>,
    capacity: usize,
    meter: QueueMeter,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Unlogged>,
    /// Decisions that wait or are being appended.
    unlogged: HashSet<DecisionId>,
}

impl Unlogged {
    /// The append that logs it.
    pub(super) fn append(&self, request: Option<RequestMark>, document: Option<DocumentChange>) -> DecisionAppend {
        let id = self.record.id;
        DecisionAppend {
            log: id.log(),
            decision: *id.as_bytes(),
            // The store knows the offset; a stored ledger is told it when it is read.
            ledger: encode_ledger(&self.record.first_ledger(0, self.windows)),
            record: LogRecord::Decision(self.record.clone()).encode(),
            closes_at: self.windows.closes_at,
            request,
            document,
        }
    }

    /// Whether no store ever takes it.
    fn is_too_large(&self) -> bool {
        self.append(None, None).record.len() > RECORD_BYTES_MAX
    }
}

impl Backlog {
    /// A queue for this many decisions; 0: every decision waits for its log record.
    pub(super) fn new(capacity: usize) -> Self {
        let meter = QueueMeter::new("decision_backlog", capacity);
        Self { state: Mutex::default(), capacity, meter }
    }

    /// Queues a decision, unless there is no room for it.
    pub(super) fn take(&self, unlogged: Unlogged) -> Result<(), Unlogged> {
        if self.capacity == 0 {
            return Err(unlogged);
        }
        let mut state = self.lock();
        if state.unlogged.len() >= self.capacity {
            return Err(unlogged);
        }
        state.unlogged.insert(unlogged.record.id);
        state.waiting.push_back(unlogged);
        Ok(())
    }

    /// Whether a decision is answered and not logged.
    pub(super) fn holds(&self, id: &DecisionId) -> bool {
        self.capacity > 0 && self.lock().unlogged.contains(id)
    }

    /// Decisions that are answered and not logged.
    pub(super) fn len(&self) -> usize {
        self.lock().unlogged.len()
    }

    fn batch(&self) -> Vec<Unlogged> {
        let waiting = &mut self.lock().waiting;
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    fn done(&self, id: &DecisionId) {
        self.lock().unlogged.remove(id);
    }

    /// To the end, so that a log that cannot be written does not hold up the others.
    fn put_back(&self, unlogged: Vec<Unlogged>) {
        self.lock().waiting.extend(unlogged);
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
            let appends = batch.iter().map(|unlogged| self.log_or_spool(unlogged));
            let mut again = Vec::new();
            for (unlogged, appended) in batch.iter().zip(join_all(appends).await) {
                match appended {
                    Ok(()) => self.backlog.done(&unlogged.record.id),
                    Err(error) if !error.is_transient() && unlogged.is_too_large() => {
                        tracing::error!(error.message = %error, "a decision was answered that cannot be logged");
                        self.backlog.done(&unlogged.record.id);
                    }
                    // Whether it was appended is unknown; appending it again is harmless.
                    Err(error) => {
                        again.push(unlogged.clone());
                        failure = Some(error);
                    }
                }
            }
            self.backlog.put_back(again);
        }
        self.backlog.meter.set(self.backlog.len());
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn log_or_spool(&self, unlogged: &Unlogged) -> Result<(), StoreError> {
        let log = unlogged.record.id.log();
        let error = if self.outages.holds(log) {
            silent()
        } else {
            let appending = self.store.append_decision(unlogged.append(None, None));
            let appended = match &self.spool {
                Some(_) => tokio::time::timeout(PATIENCE, appending).await.unwrap_or_else(|_| Err(silent())),
                None => appending.await,
            };
            match appended {
                Err(error) if error.is_transient() => error,
                appended => return appended.map(|_| ()),
            }
        };
        self.outages.begin(log, &error);
        let Some(spool) = &self.spool else { return Err(error) };
        match spool.put(Spooled { append: unlogged.append(None, None), claim_in: None }).await {
            Ok(Put::Kept | Put::Repeated { .. }) => Ok(()),
            Ok(Put::Full) | Err(_) => Err(error),
        }
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
