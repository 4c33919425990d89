//! A store whose every verb is timed and whose failures are counted.

use super::{
    AdvanceOutcome, AppendOutcome, ChangeOutcome, CommitOutcome, DecisionAppend, DecisionKey, DocumentChange,
    DocumentKey, Leadership, LedgerAdvance, LogId, RequestMark, Result, StatisticsCommit, Store, StoreError,
    StoreIdentity, StoredCatalog, StoredDecision, StoredDocument, StoredStatistics,
};
use crate::{engine::instant::Instant, meters};
use async_trait::async_trait;
use metrics::{Counter, Histogram};
use std::{future::Future, sync::Arc};

/// Wraps a store; does what it does.
pub struct Metered<S: ?Sized> {
    durations: [Histogram; Verb::COUNT],
    errors: [Counter; KINDS.len()],
    inner: Arc<S>,
}

/// What is timed, in the order of [`Verb::NAMES`].
#[derive(Clone, Copy)]
enum Verb {
    Catalog,
    AppendCatalog,
    AppendDecision,
    AppendDecisions,
    Answered,
    Decisions,
    AdvanceLedgers,
    Due,
    ReadLog,
    LogEnds,
    Statistics,
    CommitStatistics,
    ClaimRequest,
    Lead,
    Resign,
    Documents,
    ChangeDocuments,
    DestroySalts,
    ForgetExpired,
}

impl Verb {
    const NAMES: [&str; Self::COUNT] = [
        "catalog",
        "append_catalog",
        "append_decision",
        "append_decisions",
        "answered",
        "decisions",
        "advance_ledgers",
        "due",
        "read_log",
        "log_ends",
        "statistics",
        "commit_statistics",
        "claim_request",
        "lead",
        "resign",
        "documents",
        "change_documents",
        "destroy_salts",
        "forget_expired",
    ];
    const COUNT: usize = Self::ForgetExpired as usize + 1;
}

/// What kinds of failures are called, in the order of [`kind`].
const KINDS: [&str; 4] = ["unavailable", "corrupt", "open", "refused"];

fn kind(error: &StoreError) -> usize {
    match error {
        StoreError::Unavailable { .. } => 0,
        StoreError::Corrupt { .. } => 1,
        StoreError::Open { .. } => 2,
        StoreError::Refused { .. } => 3,
    }
}

impl<S: Store + ?Sized> Metered<S> {
    /// Measures what this store does.
    #[must_use]
    pub fn new(inner: Arc<S>) -> Self {
        Self {
            durations: Verb::NAMES.map(|name| meters::STORE_DURATION.histogram(&[name])),
            errors: KINDS.map(|kind| meters::STORE_ERRORS.counter(&[kind])),
            inner,
        }
    }

    async fn timed<T>(&self, verb: Verb, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let begun = std::time::Instant::now();
        let result = work.await;
        self.durations[verb as usize].record(begun.elapsed().as_secs_f64());
        if let Err(error) = &result {
            self.errors[kind(error)].increment(1);
        }
        result
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Metered<S> {
    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
        self.timed(Verb::Catalog, self.inner.catalog(revision)).await
    }

    async fn append_catalog(&self, catalog: StoredCatalog) -> Result<bool> {
        self.timed(Verb::AppendCatalog, self.inner.append_catalog(catalog)).await
    }

    async fn append_decision(&self, append: DecisionAppend) -> Result<AppendOutcome> {
        self.timed(Verb::AppendDecision, self.inner.append_decision(append)).await
    }

    async fn append_decisions(&self, appends: Arc<[DecisionAppend]>) -> Vec<Result<AppendOutcome>> {
        let begun = std::time::Instant::now();
        let results = self.inner.append_decisions(appends).await;
        self.durations[Verb::AppendDecisions as usize].record(begun.elapsed().as_secs_f64());
        results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .for_each(|error| self.errors[kind(error)].increment(1));
        results
    }

    async fn answered(&self, logs: &[LogId], key: [u8; 32], now: Instant) -> Result<Option<AppendOutcome>> {
        self.timed(Verb::Answered, self.inner.answered(logs, key, now)).await
    }

    async fn claim_request(&self, log: LogId, mark: &RequestMark) -> Result<[u8; 32]> {
        self.timed(Verb::ClaimRequest, self.inner.claim_request(log, mark)).await
    }

    async fn decisions(&self, decisions: &[DecisionKey]) -> Result<Vec<Option<StoredDecision>>> {
        self.timed(Verb::Decisions, self.inner.decisions(decisions)).await
    }

    async fn advance_ledgers(&self, changes: Vec<LedgerAdvance>) -> Result<Vec<AdvanceOutcome>> {
        self.timed(Verb::AdvanceLedgers, self.inner.advance_ledgers(changes)).await
    }

    async fn due(&self, log: LogId, now: Instant, limit: usize) -> Result<Vec<DecisionKey>> {
        self.timed(Verb::Due, self.inner.due(log, now, limit)).await
    }

    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        self.timed(Verb::ReadLog, self.inner.read_log(log, offset, limit)).await
    }

    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>> {
        self.timed(Verb::LogEnds, self.inner.log_ends()).await
    }

    async fn statistics(&self, model_id: &str, log: LogId) -> Result<StoredStatistics> {
        self.timed(Verb::Statistics, self.inner.statistics(model_id, log)).await
    }

    async fn commit_statistics(&self, commit: StatisticsCommit) -> Result<CommitOutcome> {
        self.timed(Verb::CommitStatistics, self.inner.commit_statistics(commit)).await
    }

    async fn lead(&self, log: LogId, holder: [u8; 16], now: Instant, lease_ms: u64) -> Result<Leadership> {
        self.timed(Verb::Lead, self.inner.lead(log, holder, now, lease_ms)).await
    }

    async fn resign(&self, log: LogId, holder: [u8; 16]) -> Result<()> {
        self.timed(Verb::Resign, self.inner.resign(log, holder)).await
    }

    async fn documents(&self, keys: &[DocumentKey]) -> Result<Vec<Option<StoredDocument>>> {
        self.timed(Verb::Documents, self.inner.documents(keys)).await
    }

    async fn change_documents(&self, changes: Vec<DocumentChange>) -> Result<Vec<ChangeOutcome>> {
        self.timed(Verb::ChangeDocuments, self.inner.change_documents(changes)).await
    }

    async fn destroy_salts(&self, logs: &[LogId], owner: [u8; 16], now: Instant) -> Result<u64> {
        self.timed(Verb::DestroySalts, self.inner.destroy_salts(logs, owner, now)).await
    }

    async fn forget_expired(&self, now: Instant) -> Result<()> {
        self.timed(Verb::ForgetExpired, self.inner.forget_expired(now)).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
