//! Decisions that were answered and do not stand in the log yet: what `--decision-log async` puts between the two.
//!
//! A bounded queue in memory. If the process is killed, what waits here is lost, with whatever the store has not
//! acknowledged: users were shown offers that nothing will be learned from, and outcomes reported on them are answered
//! NOT_YET, then UNKNOWN_DECISION. Nothing else is lost: outcomes and exposures are always durable before they are
//! acknowledged, and a request with a request id waits for its log record, since only that can promise one answer.

use super::{Result, Service};
use crate::{
    engine::ledger::Windows,
    log::{
        ledger_codec::encode_ledger,
        record::{DecisionRecord, LogRecord},
    },
    meters::QueueMeter,
    store::{DecisionAppend, RequestMark},
};
use futures_util::future::join_all;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often the queue is looked at. A writer that is woken by every decision costs more than the decision.
const PERIOD: Duration = Duration::from_millis(5);
/// Decisions appended at a time.
const BATCH: usize = 1024;
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
    waiting: Mutex<VecDeque<Unlogged>>,
    /// Decisions that wait or are being appended.
    unlogged: AtomicUsize,
    capacity: usize,
    meter: QueueMeter,
}

impl Unlogged {
    /// The append that logs it.
    pub(super) fn append(&self, request: Option<RequestMark>) -> DecisionAppend {
        let id = self.record.id;
        DecisionAppend {
            log: id.log(),
            decision: *id.as_bytes(),
            // The store knows the offset; a stored ledger is told it when it is read.
            ledger: encode_ledger(&self.record.first_ledger(0, self.windows)),
            record: LogRecord::Decision(self.record.clone()).encode(),
            closes_at: self.windows.closes_at,
            request,
        }
    }
}

impl Backlog {
    /// A queue for this many decisions; 0: every decision waits for its log record.
    pub(super) fn new(capacity: usize) -> Self {
        let meter = QueueMeter::new("decision_backlog", capacity);
        Self { waiting: Mutex::default(), unlogged: AtomicUsize::new(0), capacity, meter }
    }

    /// Queues a decision, unless there is no room for it.
    pub(super) fn take(&self, unlogged: Unlogged) -> Result<(), Unlogged> {
        if self.unlogged.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            self.unlogged.fetch_sub(1, Ordering::Relaxed);
            return Err(unlogged);
        }
        self.lock().push_back(unlogged);
        Ok(())
    }

    /// Decisions that are answered and not logged.
    pub(super) fn len(&self) -> usize {
        self.unlogged.load(Ordering::Relaxed)
    }

    fn batch(&self) -> Vec<Unlogged> {
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    fn put_back(&self, unlogged: Vec<Unlogged>) {
        let mut waiting = self.lock();
        unlogged.into_iter().rev().for_each(|unlogged| waiting.push_front(unlogged));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Unlogged>> {
        // Whole decisions are moved in and out: a panic elsewhere leaves no half of one.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Decisions that are answered and not logged.
    #[must_use]
    pub fn unlogged(&self) -> usize {
        self.backlog.len()
    }

    /// Appends everything that waits.
    ///
    /// # Errors
    /// Where the store is away; what it did not take waits on.
    pub async fn log_backlog(&self) -> Result<()> {
        loop {
            self.backlog.meter.set(self.backlog.len());
            let batch = self.backlog.batch();
            if batch.is_empty() {
                return Ok(());
            }
            let appends = batch.iter().map(|unlogged| self.store.append_decision(unlogged.append(None)));
            let mut again = Vec::new();
            let mut failure = None;
            for (unlogged, appended) in batch.iter().zip(join_all(appends).await) {
                match appended {
                    Ok(_) => {}
                    // Whether it was appended is unknown; appending it again is harmless.
                    Err(error) if error.is_transient() => {
                        again.push(unlogged.clone());
                        failure = Some(error);
                    }
                    Err(error) => {
                        tracing::error!(error.message = %error, "a decision was answered that cannot be logged");
                    }
                }
            }
            self.backlog.unlogged.fetch_sub(batch.len() - again.len(), Ordering::Relaxed);
            self.backlog.put_back(again);
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
    }

    /// Appends what waits, for at most `limit`; returns how many decisions are left, which are lost with the process.
    pub async fn log_rest(&self, limit: Duration) -> usize {
        let log = async {
            while self.log_backlog().await.is_err() {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        };
        // What is left is counted below.
        let _ = tokio::time::timeout(limit, log).await;
        self.unlogged()
    }
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
