//! Where logs, ledgers, statistics and catalogs live: one trait, and the backends that keep its promises.
//!
//! A store knows nothing of what it keeps: records, ledgers and statistics are opaque bytes made by `crate::log`.
//! What it promises is atomicity: every verb below happens as a whole or not at all, and what it acknowledged
//! survives a kill -9 of the process. `tests/store_contract.rs` holds every backend to these words.

use crate::engine::instant::Instant;
use async_trait::async_trait;
use std::{collections::BTreeMap, fmt, sync::Arc};

pub mod documents;
pub mod embedded;
mod limits;
pub mod metered;
pub mod redis;
mod salts;
pub mod spool;

pub use documents::{ChangeOutcome, DocumentChange, DocumentKey, StoredDocument};
pub use limits::RECORD_BYTES_MAX;
use limits::{check_append, check_changes, check_document, sequence_after};
pub use salts::{FORGOTTEN_MS, OwnedSalt};

/// One partition of one placement's log, by the numbers that decision ids carry for life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The placement's number, given once and never reused.
    pub placement: u16,
    /// Partition index from 0.
    pub partition: u16,
}

/// A decision's id as bytes; starts with version, placement number and partition.
pub type DecisionKey = [u8; 20];

/// Facts about a store that never change.
#[derive(Clone)]
pub struct StoreIdentity {
    /// Random; another value means another log.
    pub epoch: [u8; 16],
    /// The key that user and unit ids are hashed with.
    pub hash_key: [u8; 32],
}

// By hand, so that the key never reaches a log.
impl fmt::Debug for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreIdentity").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// A catalog as applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCatalog {
    /// Number of the revision, from 1 without gaps.
    pub revision: u64,
    /// When it was applied.
    pub applied_at: Instant,
    /// Why it was applied.
    pub reason: String,
    /// The encoded catalog.
    pub catalog: Vec<u8>,
    /// Every placement that ever was, and its number: unique, never reused.
    pub placement_numbers: Vec<(String, u16)>,
}

/// A decision to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionAppend {
    /// Where it belongs.
    pub log: LogId,
    /// Its id.
    pub decision: DecisionKey,
    /// The encoded log record.
    pub record: Vec<u8>,
    /// The encoded first state of its ledger, before any change. Its sequence is 0.
    pub ledger: Vec<u8>,
    /// When its windows close.
    pub closes_at: Instant,
    /// The request it answers, if the caller named one.
    pub request: Option<RequestMark>,
    /// How the document of its unit changes with it, if it does.
    pub document: Option<DocumentChange>,
    /// What opens the identity in its record.
    pub salt: Option<OwnedSalt>,
}

/// Makes a request answerable once within one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMark {
    /// Digest of placement, user and request id.
    pub key: [u8; 32],
    /// Digest of the request's body.
    pub fingerprint: [u8; 32],
    /// When the mark was or would be set.
    pub marked_at: Instant,
    /// When the mark is forgotten; a mark that expires at or before another's `marked_at` does not count.
    pub expires_at: Instant,
}

/// What became of a decision's append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It stands in the log at this offset.
    Appended {
        /// Number of records before it.
        offset: u64,
    },
    /// The request had been answered before; nothing was written.
    Repeated {
        /// The decision that answers it.
        decision: DecisionKey,
        /// Digest of the body it answered.
        fingerprint: [u8; 32],
    },
    /// The request is claimed for another body, which is answered in another log; nothing was written.
    Claimed {
        /// Digest of the body that it is claimed for.
        fingerprint: [u8; 32],
    },
    /// Somebody else changed the unit's document first; nothing was written.
    DocumentMoved,
}

/// A decision as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDecision {
    /// Where its record stands in its log.
    pub offset: u64,
    /// The encoded log record.
    pub record: Arc<[u8]>,
    /// How many changes its ledger has seen.
    pub sequence: u32,
    /// The encoded ledger.
    pub ledger: Vec<u8>,
    /// What opens the identity in its record; `None`: it was destroyed, or there never was any.
    pub salt: Option<[u8; 16]>,
}

/// A change of a decision's ledger, valid only on top of the sequence it was computed from.
#[derive(Clone, Debug)]
pub struct LedgerAdvance {
    /// Where the decision belongs.
    pub log: LogId,
    /// The decision.
    pub decision: DecisionKey,
    /// The sequence that this change was computed from.
    pub from_sequence: u32,
    /// The encoded ledger after the change.
    pub ledger: Vec<u8>,
    /// The encoded log records to append, one for each step of the sequence, at least one.
    pub records: Vec<Vec<u8>>,
    /// Whether the decision's windows are closed after the change.
    pub closed: bool,
}

/// What became of a ledger's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvanceOutcome {
    /// Ledger and records are written.
    Advanced,
    /// Somebody else changed the ledger first, or there is no such decision; nothing was written.
    Conflict,
}

/// Statistics of one model in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredStatistics {
    /// How many records of the log are folded in.
    pub offset: u64,
    /// The learner that wrote them.
    pub token: u64,
    /// The encoded state that all arms share.
    pub shared: Vec<u8>,
    /// The encoded statistics by arm, in the order of arms.
    pub arms: Vec<(String, Vec<u8>)>,
}

/// New statistics of one model in one partition.
#[derive(Clone, Debug)]
pub struct StatisticsCommit {
    /// What they belong to.
    pub model_id: String,
    /// The log they are folded from.
    pub log: LogId,
    /// The offset that they were folded on top of.
    pub from_offset: u64,
    /// How many records of the log are folded in now.
    pub offset: u64,
    /// The learner's fencing token.
    pub token: u64,
    /// The encoded state that all arms share.
    pub shared: Vec<u8>,
    /// The arms that changed; the others stay.
    pub arms: Vec<(String, Vec<u8>)>,
}

/// What became of a statistics commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Written, now or by the same commit before.
    Committed,
    /// A younger learner has taken over, or the offset has moved; nothing was written.
    Fenced,
}

/// Who learns from a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// The caller.
    Leads {
        /// What its commits carry; no other holder has or had it.
        token: u64,
    },
    /// Somebody else.
    Follows {
        /// When that lease ends unless it is extended, by the clock of whoever holds it.
        until: Instant,
    },
}

/// Why a store could not do what it was asked. Says nothing of whether it was done: every verb may be repeated.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is away or too busy for now.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What it said.
        reason: String,
    },
    /// What is stored cannot be what was written, or was written by something newer.
    #[error("the store holds what it should not: {reason}")]
    Corrupt {
        /// What was found, and where.
        reason: String,
    },
    /// It cannot be opened as asked.
    #[error("cannot open {location}: {reason}")]
    Open {
        /// What was to be opened.
        location: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// It never does this: writing where it was opened for reading, a record beyond the limits.
    #[error("the store refuses: {reason}")]
    Refused {
        /// What was asked, and what is accepted.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Result of a store's verbs.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl StoredStatistics {
    /// Whether a commit has led to this, so that doing it again would change nothing.
    fn is_after(&self, commit: &StatisticsCommit) -> bool {
        // Of an arm that is given twice, the last counts.
        let given: BTreeMap<_, _> = commit.arms.iter().map(|(arm, statistics)| (arm, statistics)).collect();
        let stored: BTreeMap<_, _> = self.arms.iter().map(|(arm, statistics)| (arm, statistics)).collect();
        (self.offset, self.token, &self.shared) == (commit.offset, commit.token, &commit.shared)
            && given.iter().all(|(arm, statistics)| stored.get(arm) == Some(statistics))
    }
}

/// Where logs, ledgers, statistics and catalogs live.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Facts that never change, made when the store was.
    fn identity(&self) -> &StoreIdentity;

    /// The catalog with this revision, or the newest for `None`; `Ok(None)` where there is none.
    async fn catalog(&self, revision: Option<u64>) -> Result<Option<StoredCatalog>>;

    /// Appends a catalog if its revision is the newest plus one; `false`, and nothing written, otherwise.
    ///
    /// `true` also where exactly this stands at its revision already: an append whose answer was lost may be sent again.
    async fn append_catalog(&self, catalog: StoredCatalog) -> Result<bool>;

    /// Appends a decision to its log, with its ledger, its closing time, its request mark, its salt and the change of its
    /// unit's document, in one step. A salt is there until it expires or is destroyed; whether it is found after its
    /// expiry is left open.
    ///
    /// Where an unexpired mark with the same key stands in this log, nothing is written and the marked decision is
    /// returned: of any number of concurrent calls with one key, one is appended and all others are told of it. A claim
    /// of the key counts like a mark where its fingerprint is another, and is replaced where it is the same.
    /// A decision whose id is already in the log is not written again, its offset is returned: an append whose answer
    /// was lost may be sent again, with a mark or without, and whatever became of the document since. Where the request
    /// was not answered before and the document is not at the version that its change was computed from, nothing is
    /// written. A salt whose owner was forgotten when the decision had been made already is not kept.
    async fn append_decision(&self, append: DecisionAppend) -> Result<AppendOutcome>;

    /// Appends decisions like [`Store::append_decision`], each in a step of its own and in no promised order. Results are
    /// in the order of the decisions.
    async fn append_decisions(&self, appends: Arc<[DecisionAppend]>) -> Vec<Result<AppendOutcome>>;

    /// Claims a request for the body of its mark, in one step: returns the fingerprint that stands for the key in this
    /// log, which is the mark's own unless an unexpired mark or claim was there before. The claim stands until the mark
    /// expires. For requests that may be answered in different logs, which no one step can compare.
    async fn claim_request(&self, log: LogId, mark: &RequestMark) -> Result<[u8; 32]>;

    /// What an append with a mark of this key would be told at `now`, by the first of these logs that has answered the
    /// request; `None` where none has. A claim is no answer.
    async fn answered(&self, logs: &[LogId], key: [u8; 32], now: Instant) -> Result<Option<AppendOutcome>>;

    /// The decisions with these ids, in their order; `None` for those that are not stored.
    async fn decisions(&self, decisions: &[DecisionKey]) -> Result<Vec<Option<StoredDecision>>>;

    /// Changes ledgers and appends their records, each change by itself in one step, compared by sequence.
    /// Results are in the order of the changes.
    async fn advance_ledgers(&self, changes: Vec<LedgerAdvance>) -> Result<Vec<AdvanceOutcome>>;

    /// At most `limit` decisions of a log that are open although their windows close at or before `now`, by closing
    /// time and id.
    async fn due(&self, log: LogId, now: Instant, limit: usize) -> Result<Vec<DecisionKey>>;

    /// At most `limit` records of a log from `offset` on, in order; empty only at its end (or for a limit of 0), but
    /// fewer where large records fill the answer's share of memory.
    async fn read_log(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<Arc<[u8]>>>;

    /// Every log that has records, with the number of its records, in order.
    async fn log_ends(&self) -> Result<Vec<(LogId, u64)>>;

    /// The statistics of a model in a log; offset 0 and nothing else where there are none.
    async fn statistics(&self, model_id: &str, log: LogId) -> Result<StoredStatistics>;

    /// Replaces statistics if the token is not older than any that wrote to or took over this log, and `from_offset`
    /// is the stored offset, in one step.
    ///
    /// A commit that is exactly what is stored is committed again, not fenced: its first answer may have been lost.
    async fn commit_statistics(&self, commit: StatisticsCommit) -> Result<CommitOutcome>;

    /// Takes or extends the lease of learning from a log, until `lease_ms` after `now`, in one step.
    ///
    /// Who holds it, though it may have expired, extends it and keeps its token. Where nobody holds it, or somebody
    /// whose lease has ended at or before `now`, the caller gets a token above every earlier one, which fences all
    /// earlier learners of this log. Leases are judged by the callers' clocks: where these disagree, a lease is
    /// taken early or late, and the token still lets only one of the two commit. Where only one process at a time can
    /// open the store for writing, opening it ends all leases: their holders are gone.
    async fn lead(&self, log: LogId, holder: [u8; 16], now: Instant, lease_ms: u64) -> Result<Leadership>;

    /// Ends the holder's lease of a log, so that another may lead at once; nothing where somebody else holds it.
    async fn resign(&self, log: LogId, holder: [u8; 16]) -> Result<()>;

    /// The documents with these keys, in their order; `None` where there is none. A document is there until it expires;
    /// whether it is found after that is left open.
    async fn documents(&self, keys: &[DocumentKey]) -> Result<Vec<Option<StoredDocument>>>;

    /// Replaces or removes documents, each by itself in one step, compared by version. Results are in the order of the
    /// changes. A change that has been made already is made again, so one whose answer was lost may be sent again.
    async fn change_documents(&self, changes: Vec<DocumentChange>) -> Result<Vec<ChangeOutcome>>;

    /// Destroys the salts of an owner in these logs, log by log; returns how many. In each log, no salt of a decision made
    /// at or before `now` is kept from the first step on, for [`FORGOTTEN_MS`] at least, whenever the decision is appended;
    /// one that was made later and is appended meanwhile may be destroyed too. May be repeated.
    async fn destroy_salts(&self, logs: &[LogId], owner: [u8; 16], now: Instant) -> Result<u64>;

    /// Forgets request marks, claims, documents and salts that have expired by `now`, where they do not go by themselves.
    /// Whether what is forgotten still counts for calls of an earlier `now` is left open.
    async fn forget_expired(&self, now: Instant) -> Result<()>;

    /// Finishes what is under way and lets go of files and connections. Verbs called later are unavailable; closing
    /// twice is no error.
    async fn close(&self) -> Result<()>;
}
