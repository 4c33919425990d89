//! The use cases: ranking, feedback, catalog, learning. No wire formats here, and nothing of Redis or SQLite.
//!
//! Rank reads one immutable snapshot and waits for one append. Everything that changes what Rank reads happens in
//! one refresh loop, which folds the log and swaps the snapshot.

use crate::{
    clock::Clock,
    engine::catalog::Catalog,
    log::{DecodeError, archive::ArchiveError, identity::Seals},
    store::{LogId, Store, StoreError, spool::Spool},
};
use arc_swap::ArcSwap;
use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub mod assembly;
pub mod audit;
pub mod backlog;
pub mod catalog;
pub mod contexts;
mod documents;
mod earned;
pub mod evaluate;
pub mod export;
pub mod fairness;
pub mod feedback;
pub mod foreign;
pub mod forgetting;
pub mod import;
mod keeping;
mod kept_catalogs;
pub mod leadership;
pub mod leads;
pub mod learner;
pub mod log_source;
pub mod meters;
mod outage;
pub mod outcome_report;
pub mod past_catalogs;
pub mod placement;
pub mod pseudonym;
pub mod rank;
pub mod refold;
pub mod refresh;
mod repeats;
pub mod served;
pub mod serving;
pub mod spooling;
mod units;
pub mod users;
pub mod validate;
pub mod verify;

pub use crate::catalog::Violation;
use assembly::Learning;
use backlog::Backlog;
use kept_catalogs::KeptCatalogs;
use meters::ReportMeters;
use outage::Outages;
use pseudonym::Pseudonyms;
use serving::Serving;

/// Everything the service does, for one store.
pub struct Service {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    pseudonyms: Pseudonyms,
    seals: Seals,
    serving: ArcSwap<Serving>,
    /// When `serving` was last known to be current, in milliseconds since 1970.
    refreshed_at_ms: AtomicI64,
    /// Held while learning and while a catalog is swapped: both change what is served.
    learning: tokio::sync::Mutex<Learning>,
    /// What runs on although its caller went away.
    tasks: TaskTracker,
    /// Cuts off `tasks`.
    stopping: CancellationToken,
    /// Where `tasks` run: not on the threads that answer Rank.
    background: Handle,
    catalogs: KeptCatalogs,
    backlog: Backlog,
    /// Where decisions wait while the store is away; `None`: nowhere.
    spool: Option<Arc<Spool>>,
    outages: Outages,
    /// Of reports whose decision's id names no placement that is served.
    stray_reports: ReportMeters,
}

/// How a service behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Age from which a snapshot is flagged stale, in milliseconds.
    pub snapshot_max_age_ms: u64,
    /// How many decisions may be answered before they are logged; 0: none, every answer waits for its log record.
    pub backlog_max: usize,
    /// How long a Rank waits for the store before it is answered without it.
    pub append_timeout: Duration,
    /// How old an id without a stored decision may be before it counts as unknown, in seconds: another instance may
    /// still be storing what it answered.
    pub not_yet_s: u32,
    /// For how long it can be told whom a decision was made for, in seconds.
    pub identities_s: u64,
}

/// Why a call could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The request is wrong; everything that is wrong with it.
    #[error("the request is not valid: {}", list(violations))]
    Invalid {
        /// At least one.
        violations: Vec<Violation>,
    },
    /// The request id was used for another body.
    #[error("request_id was used within 24 hours for another request; use a new one")]
    RequestIdReused,
    /// No such placement.
    #[error("placement {placement:?} is not in the catalog, which has: {known}")]
    PlacementNotFound {
        /// As given.
        placement: String,
        /// The placements there are.
        known: String,
    },
    /// No such decision.
    #[error("decision {decision_id:?} is not stored here")]
    DecisionNotFound {
        /// As given.
        decision_id: String,
    },
    /// A decision that nothing could keep.
    #[error("decision {decision_id:?} was answered while the store was away, and is not logged")]
    DecisionNotLogged {
        /// As given.
        decision_id: String,
    },
    /// No such catalog revision.
    #[error("catalog revision {revision} does not exist; revisions are 1 to {newest}")]
    RevisionNotFound {
        /// As given.
        revision: u64,
        /// The newest there is.
        newest: u64,
    },
    /// Somebody else changed the catalog first.
    #[error(
        "the catalog has changed: its etag is \"{current}\", not {given:?}; read it again and apply your change to that"
    )]
    EtagMismatch {
        /// As given.
        given: String,
        /// Of the catalog that serves.
        current: String,
    },
    /// A store that was never given a catalog.
    #[error("the store has no catalog yet; start once with --catalog FILE")]
    NoCatalog,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A record of a log does not decode.
    #[error("record {offset} of the log of placement {} and partition {} cannot be read", log.placement, log.partition)]
    Record {
        /// Of which log.
        log: LogId,
        /// Where it stands.
        offset: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// An archive of logs cannot be written or read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What the store holds contradicts itself.
    #[error("what is stored contradicts itself: {reason}")]
    Inconsistent {
        /// What, and where.
        reason: String,
    },
}

impl ServiceError {
    /// Whether the store is away: the same may succeed later, and until then nothing else does.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}

fn list(violations: &[Violation]) -> String {
    violations
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Result of a use case.
pub type Result<T, E = ServiceError> = std::result::Result<T, E>;

impl Service {
    /// Does what takes long apart from the threads that answer Rank, and to its end although the caller goes away.
    ///
    /// # Errors
    /// Those of `work`, and where the server stops before it is done.
    pub async fn in_background<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let stopping = self.stopping.clone();
        let work = async move {
            let stopped = || StoreError::Unavailable { reason: "the server is stopping".to_owned() };
            stopping.run_until_cancelled(work).await.unwrap_or_else(|| Err(stopped().into()))
        };
        let done = self.tasks.spawn_on(work, &self.background).await;
        done.map_err(|error| ServiceError::Inconsistent { reason: format!("the work failed: {error}") })?
    }

    /// The catalog of a revision, from memory or the store.
    async fn catalog_at(&self, revision: u64) -> Result<Arc<Catalog>> {
        if let Some(catalog) = self.catalogs.get(revision) {
            return Ok(catalog);
        }
        let stored = self.store.catalog(Some(revision)).await?.ok_or_else(|| ServiceError::Inconsistent {
            reason: format!("a decision was made at catalog revision {revision}, which is not stored"),
        })?;
        let catalog = Arc::new(catalog::decode(&stored)?.1);
        self.catalogs.keep(revision, &catalog);
        Ok(catalog)
    }
}
