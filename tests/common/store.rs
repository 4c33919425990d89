//! What the tests of stores have in common: the backends, and values to store.

#![allow(dead_code, clippy::allow_attributes, reason = "every test binary uses its own part of this")]

use offer_ranker::{
    engine::instant::Instant,
    store::{
        AppendOutcome, DecisionAppend, DecisionKey, DocumentChange, DocumentKey, LedgerAdvance, LogId, OwnedSalt,
        RequestMark, StatisticsCommit, Store, StoreError, StoredCatalog,
        embedded::EmbeddedStore,
        redis::{RedisStore, RedisUrl},
    },
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};
use tempfile::TempDir;

#[path = "redis.rs"]
pub(crate) mod redis;

/// A place where a store can be opened, closed by dropping it, and opened again.
#[async_trait::async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Opens the store; the same one every time.
    async fn open(&self) -> Arc<dyn Store>;

    /// Whether opening it ends all leases, since only one process at a time can write to it.
    fn opening_ends_leases(&self) -> bool {
        false
    }
}

/// The embedded backend in a directory of its own.
pub(crate) struct Embedded {
    directory: TempDir,
}

impl Embedded {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    pub(crate) fn open_embedded(&self) -> EmbeddedStore {
        EmbeddedStore::open(self.path(), [7; 48]).unwrap()
    }
}

#[async_trait::async_trait]
impl Backend for Embedded {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.open_embedded())
    }

    fn opening_ends_leases(&self) -> bool {
        true
    }
}

/// A prefix of its own in a Redis that others use too.
pub(crate) struct Redis {
    pub(crate) url: RedisUrl,
    opened: AtomicU8,
}

impl Redis {
    pub(crate) fn at(url: RedisUrl) -> Self {
        Self { url, opened: AtomicU8::new(0) }
    }

    pub(crate) fn standalone() -> Self {
        Self::at(redis::standalone_url())
    }

    pub(crate) fn cluster() -> Self {
        Self::at(redis::cluster_url())
    }

    /// Opens the store, each time with other entropy, as every instance has.
    pub(crate) async fn open_redis(&self) -> RedisStore {
        let entropy = [self.opened.fetch_add(1, Ordering::Relaxed); 48];
        RedisStore::open(&self.url, entropy).await.unwrap()
    }
}

#[async_trait::async_trait]
impl Backend for Redis {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.open_redis().await)
    }
}

pub(crate) fn log(placement: u16, partition: u16) -> LogId {
    LogId { placement, partition }
}

pub(crate) fn at(ms: i64) -> Instant {
    Instant::from_ms(ms)
}

/// The `n`-th decision of a log; ids of one log sort by `n`.
pub(crate) fn key(log: LogId, n: u64) -> DecisionKey {
    let mut key = [0; 20];
    key[0] = 1;
    key[1..3].copy_from_slice(&log.placement.to_be_bytes());
    key[3..5].copy_from_slice(&log.partition.to_be_bytes());
    key[12..].copy_from_slice(&n.to_be_bytes());
    key
}

/// What the record of the `n`-th decision says.
pub(crate) fn record(n: u64) -> Vec<u8> {
    format!("decision {n}").into_bytes()
}

/// An append of the `n`-th decision of a log, without a mark.
pub(crate) fn append(log: LogId, n: u64) -> DecisionAppend {
    DecisionAppend {
        log,
        decision: key(log, n),
        record: record(n),
        ledger: format!("ledger {n}").into_bytes(),
        closes_at: at(1_000),
        request: None,
        document: None,
        salt: None,
    }
}

/// A salt of an owner, of a decision that was made at `made_at`, that goes at 1,000.
pub(crate) fn salt(owner: u8, made_at: i64) -> OwnedSalt {
    OwnedSalt { owner: [owner; 16], salt: [owner ^ 0x55; 16], made_at: at(made_at), expires_at: at(1_000) }
}

/// The mark of a request, set at `marked_at` for 100 ms.
pub(crate) fn mark(request: u8, body: u8, marked_at: i64) -> RequestMark {
    RequestMark {
        key: [request; 32],
        fingerprint: [body; 32],
        marked_at: at(marked_at),
        expires_at: at(marked_at + 100),
    }
}

/// A unit's document beside a log.
pub(crate) fn unit(log: LogId, unit: u8) -> DocumentKey {
    DocumentKey::Unit { log, unit: [unit; 16] }
}

/// A change of a document to the version `version`, made at 0 for 100 ms.
pub(crate) fn document(key: DocumentKey, from_version: Option<u64>, version: u64) -> DocumentChange {
    let content = Some(format!("document at {version}").into_bytes());
    DocumentChange { key, from_version, version, content, changed_at: at(0), expires_at: at(100) }
}

/// A change of the `n`-th decision that appends one record for each of `steps`.
pub(crate) fn advance(log: LogId, n: u64, from_sequence: u32, steps: &[&str]) -> LedgerAdvance {
    LedgerAdvance {
        log,
        decision: key(log, n),
        from_sequence,
        ledger: format!("ledger {n} after {}", steps.join(", ")).into_bytes(),
        records: steps.iter().map(|step| step.as_bytes().to_vec()).collect(),
        closed: false,
    }
}

/// A commit of the model `m`, with arms as names and contents.
pub(crate) fn commit(log: LogId, token: u64, offsets: (u64, u64), arms: &[(&str, &str)]) -> StatisticsCommit {
    StatisticsCommit {
        model_id: "m".to_owned(),
        log,
        from_offset: offsets.0,
        offset: offsets.1,
        token,
        shared: format!("shared at {}", offsets.1).into_bytes(),
        arms: self::arms(arms),
    }
}

pub(crate) fn arms(arms: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    arms.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect()
}

pub(crate) fn catalog(revision: u64, reason: &str) -> StoredCatalog {
    StoredCatalog {
        revision,
        applied_at: at(-5),
        reason: reason.to_owned(),
        catalog: vec![0, 1, 255],
        placement_numbers: vec![("paywall".to_owned(), 2), ("checkout".to_owned(), 1)],
    }
}

/// The offset at which an append stands; panics if it was told of another decision.
pub(crate) fn offset(outcome: AppendOutcome) -> u64 {
    match outcome {
        AppendOutcome::Appended { offset } => offset,
        other => panic!("appended, not {other:?}"),
    }
}

/// Holds a store that was opened for reading to refusing every verb that writes.
pub(crate) async fn assert_refuses_to_write(view: &dyn Store) {
    let refusals = [
        view.append_catalog(catalog(1, "first")).await.unwrap_err(),
        view.append_decision(append(log(1, 0), 1)).await.unwrap_err(),
        view.claim_request(log(1, 0), &mark(1, 1, 0)).await.unwrap_err(),
        view.advance_ledgers(vec![advance(log(1, 0), 0, 0, &["a"])]).await.unwrap_err(),
        view.commit_statistics(commit(log(1, 0), 0, (0, 1), &[])).await.unwrap_err(),
        view.lead(log(1, 0), [1; 16], at(0), 10).await.unwrap_err(),
        view.resign(log(1, 0), [1; 16]).await.unwrap_err(),
        view.change_documents(vec![document(unit(log(1, 0), 1), None, 1)]).await.unwrap_err(),
        view.destroy_salts(&[log(1, 0)], [1; 16], at(0)).await.unwrap_err(),
        view.forget_expired(at(0)).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert!(matches!(&refusal, StoreError::Refused { reason } if reason.contains("read-only")), "{refusal}");
    }
}

/// The whole of a log, read a few records at a time.
pub(crate) async fn whole_log(store: &dyn Store, log: LogId) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    loop {
        let page = store.read_log(log, records.len() as u64, 7).await.unwrap();
        if page.is_empty() {
            return records;
        }
        records.extend(page.iter().map(|record| record.to_vec()));
    }
}
