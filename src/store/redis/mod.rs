//! The Redis backend: standalone, or a Cluster of any size, for several instances of the service on one state.
//!
//! Everything of one log has one hash tag and so one slot: a step that must be atomic is one script there. What spans
//! logs, the list of them and the catalogs, is told by idempotent steps. Decisions and reports go through a
//! `committer`, which groups what waits for one log; reads go straight to the `connection`.
//!
//! Scripts count in doubles: offsets, sequences, tokens and times must stay below 2^53, which no log reaches.
//!
//! **Invariant:** every call that writes may arrive twice without harm, since neither a connection that is lost nor a
//! Cluster's client tells whether it arrived once.

mod address;
mod checks;
mod committer;
mod connection;
mod documents;
mod errors;
mod keys;
mod nodes;
mod reads;
mod replies;
mod salts;
mod scripts;
mod writes;

use super::{
    AdvanceOutcome, AppendOutcome, ChangeOutcome, CommitOutcome, DecisionAppend, DecisionKey, DocumentChange,
    DocumentKey, Leadership, LedgerAdvance, LogId, RequestMark, Result, StatisticsCommit, Store, StoreError,
    StoreIdentity, StoredCatalog, StoredDecision, StoredDocument, StoredStatistics,
};
use crate::engine::instant::Instant;
pub use address::{PREFIX_DEFAULT, RedisUrl, RedisUrlError};
use async_trait::async_trait;
use committer::Committer;
use connection::Link;
use keys::Keys;
use scripts::Call;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, RwLock},
};

/// The version of everything that is stored. A release that changes it learns to migrate from the one before.
const LAYOUT_VERSION: u8 = 1;

/// Above this, doubles leave numbers out.
const NUMBER_MAX: u64 = 1 << 53;

/// A store in Redis.
pub struct RedisStore {
    location: String,
    identity: StoreIdentity,
    keys: Keys,
    link: Arc<Link>,
    /// `None`: opened for reading.
    committer: Option<Committer>,
    /// Logs that this process has put into the set of logs.
    registered: RwLock<BTreeSet<LogId>>,
}

impl RedisStore {
    /// Connects, checks that the servers can be trusted with a log, and makes the store where there is none yet.
    ///
    /// `entropy` becomes the epoch (16 bytes) and the hash key (32 bytes) of a store that is made, and is not used
    /// otherwise. What may be lost as the servers are set up is logged as a warning.
    ///
    /// # Errors
    /// [`StoreError::Open`] where nobody answers, where user or password are wrong, where the servers are too old or
    /// would evict, and where a newer release wrote the store.
    pub async fn open(url: &RedisUrl, entropy: [u8; 48]) -> Result<Self> {
        let store = Self::connect(url, Some(entropy)).await?;
        let committer = Some(Committer::start(Arc::clone(&store.link)));
        Ok(Self { committer, ..store })
    }

    /// Connects for reading, whether or not anybody serves. What is read is of the moment it is read at: other than a
    /// file, Redis keeps no earlier state for its readers. Verbs that write are refused.
    ///
    /// # Errors
    /// [`StoreError::Open`] as for [`RedisStore::open`], and where there is no store.
    pub async fn open_read_only(url: &RedisUrl) -> Result<Self> {
        Self::connect(url, None).await
    }

    async fn connect(url: &RedisUrl, entropy: Option<[u8; 48]>) -> Result<Self> {
        let location = url.to_string();
        let refused = |reason: String| StoreError::Open { location: location.clone(), reason };
        let (link, said) = Link::open(url).await?;
        match said {
            None => tracing::warn!(store = %location, "its user may not ask INFO, so the server could not be checked"),
            Some(said) => {
                for (address, info) in said {
                    let findings = checks::judge(&info);
                    if !findings.refusals.is_empty() {
                        return Err(refused(format!("the server at {address}: {}", findings.refusals.join("; "))));
                    }
                    for warning in findings.warnings {
                        tracing::warn!(store = %location, server = %address, "{warning}");
                    }
                }
            }
        }
        let keys = Keys::new(url.prefix());
        let identity = identity(&link, &keys, entropy).await.map_err(|error| match error {
            StoreError::Refused { reason } => refused(reason),
            other => located(&location, other),
        })?;
        let registered = RwLock::default();
        Ok(Self { location, identity, keys, link: Arc::new(link), committer: None, registered })
    }

    /// Says which store an error is about.
    fn at<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| located(&self.location, error))
    }
}

/// The facts of a store, made here where `entropy` is given and there are none. Refused where they cannot be used.
async fn identity(link: &Link, keys: &Keys, entropy: Option<[u8; 48]>) -> Result<StoreIdentity> {
    let key = keys.identity();
    if let Some(entropy) = entropy {
        let facts = [&[LAYOUT_VERSION][..], &entropy].concat();
        // Of several instances that start at once, the first one's facts stand for all.
        let call = Call::plain("SET", &[&key, &facts, b"NX"]);
        errors::answer(link.call_one(call).await?)?;
    }
    let found = replies::bytes(link.call_one(Call::plain("GET", &[&key])).await?, "the store's identity")?;
    let refused = |reason: String| StoreError::Refused { reason };
    let facts = found.ok_or_else(|| {
        refused("there is no store under this prefix; a server makes one when it first starts".to_owned())
    })?;
    match facts.first() {
        Some(&LAYOUT_VERSION) => {}
        Some(&newer) if newer > LAYOUT_VERSION => {
            let reason = format!(
                "its layout version is {newer}, written by a newer release; this one reads up to {LAYOUT_VERSION}: \
                 run that release or a later one"
            );
            return Err(refused(reason));
        }
        _ => return Err(refused("another program's data stands under this prefix; choose another prefix".to_owned())),
    }
    let (epoch, hash_key) = facts[1..].split_at_checked(16).unwrap_or_default();
    Ok(StoreIdentity {
        epoch: replies::fixed(epoch, "the store's epoch")?,
        hash_key: replies::fixed(hash_key, "the store's hash key")?,
    })
}

fn located(location: &str, error: StoreError) -> StoreError {
    let at = |reason: String| format!("{location}: {reason}");
    match error {
        StoreError::Unavailable { reason } => StoreError::Unavailable { reason: at(reason) },
        StoreError::Corrupt { reason } => StoreError::Corrupt { reason: at(reason) },
        StoreError::Refused { reason } => StoreError::Refused { reason: at(reason) },
        open @ StoreError::Open { .. } => open,
    }
}

/// What of `log`, for messages.
fn of(what: &str, log: LogId) -> String {
    format!("{what} of placement {} partition {}", log.placement, log.partition)
}

/// Items by log, with their places in the order they came.
fn by_log<T>(items: impl IntoIterator<Item = T>, log: impl Fn(&T) -> LogId) -> BTreeMap<LogId, Vec<(usize, T)>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for (place, item) in items.into_iter().enumerate() {
        groups.entry(log(&item)).or_default().push((place, item));
    }
    groups
}

#[async_trait]
impl Store for RedisStore {
    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>> {
        self.at(self.read_catalog(revision).await)
    }

    async fn append_catalog(&self, catalog: StoredCatalog) -> Result<bool> {
        self.at(self.write_catalog(catalog).await)
    }

    async fn append_decision(&self, append: DecisionAppend) -> Result<AppendOutcome> {
        self.at(self.write_decision(append).await)
    }

    async fn append_decisions(&self, appends: Arc<[DecisionAppend]>) -> Vec<Result<AppendOutcome>> {
        self.write_decisions(&appends).await.into_iter().map(|outcome| self.at(outcome)).collect()
    }

    async fn claim_request(&self, log: LogId, mark: &RequestMark) -> Result<[u8; 32]> {
        self.at(self.write_claim(log, mark).await)
    }

    async fn answered(&self, logs: &[LogId], key: [u8; 32], now: Instant) -> Result<Option<AppendOutcome>> {
        self.at(self.read_answered(logs, key, now).await)
    }

    async fn decisions(&self, decisions: &[DecisionKey]) -> Result<Vec<Option<StoredDecision>>> {
        self.at(self.read_decisions(decisions).await)
    }

    async fn advance_ledgers(&self, changes: Vec<LedgerAdvance>) -> Result<Vec<AdvanceOutcome>> {
        self.at(self.write_ledgers(changes).await)
    }

    async fn due(&self, log: LogId, now: Instant, limit: usize) -> Result<Vec<DecisionKey>> {
        self.at(self.read_due(log, now, limit).await)
    }

    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        self.at(self.read_records(log, offset, limit).await)
    }

    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>> {
        self.at(self.read_log_ends().await)
    }

    async fn statistics(&self, model_id: &str, log: LogId) -> Result<StoredStatistics> {
        self.at(self.read_statistics(model_id, log).await)
    }

    async fn commit_statistics(&self, commit: StatisticsCommit) -> Result<CommitOutcome> {
        self.at(self.write_statistics(commit).await)
    }

    async fn lead(&self, log: LogId, holder: [u8; 16], now: Instant, lease_ms: u64) -> Result<Leadership> {
        self.at(self.write_lease(log, holder, now, lease_ms).await)
    }

    async fn resign(&self, log: LogId, holder: [u8; 16]) -> Result<()> {
        self.at(self.write_resignation(log, holder).await)
    }

    async fn documents(&self, keys: &[DocumentKey]) -> Result<Vec<Option<StoredDocument>>> {
        self.at(self.read_documents(keys).await)
    }

    async fn change_documents(&self, changes: Vec<DocumentChange>) -> Result<Vec<ChangeOutcome>> {
        self.at(self.write_documents(changes).await)
    }

    async fn destroy_salts(&self, logs: &[LogId], owner: [u8; 16], now: Instant) -> Result<u64> {
        self.at(self.write_no_salts(logs, &owner, now).await)
    }

    async fn forget_expired(&self, _now: Instant) -> Result<()> {
        // Every mark, claim, document and list of salts has a TTL.
        self.at(self.writing())?;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        if let Some(committer) = &self.committer {
            committer.close().await;
        }
        self.link.close().await;
        Ok(())
    }
}
